"""
The widths of the columns of the resolution matrix, on SIMD registers.

They are the most expensive output: m^2 n operations. Single precision takes half the time; where a bound of its
rounding cannot exclude another answer, the column is computed again in double precision.
"""

from functools import reduce
from operator import or_

from llvmlite import ir

from sunpy_demreg._engines.algorithm.linear_algebra import dot, total
from sunpy_demreg._engines.base.precision import LEAST, roundoff
from sunpy_demreg._engines.base.tables import N_SAMPLES
from sunpy_demreg._engines.cpu.recorder import DOUBLE, INT, SINGLE

__all__ = ["CHUNK", "widths_finder"]

CHUNK = 4  # bins, whose largest element is kept, so that the search can skip them


def widths_finder(M):
    """The ``half_maximum_finder`` that `sunpy_demreg._engines` describes, for the weights that M holds now."""
    single, double = _Columns(M, SINGLE), _Columns(M, DOUBLE)
    # Relative to the largest weight and response, the range of single precision suffices.
    (largest_weight,) = M.over_bins(lambda j: (M.get("weight", j),), ("maximum",))
    unit = 1.0 / largest_weight
    single.keep_weighted(lambda j: M.to_single(M.get("weight", j) * unit))
    factor = largest_weight * M.scalar(f"largest_{M.of_columns}")
    bounds = single.largest_terms()

    def find(*columns):
        singles = [[M.to_single(h_i * factor) for h_i in h] for h in columns]
        tolerances = [dot(bounds, [M.abs(h_i) for h_i in h]) * roundoff(M.n_terms) for h in singles]
        largest = single.fill(singles)
        levels = [0.5 * each - tolerance for each, tolerance in zip(largest, tolerances, strict=True)]
        certainly = [0.5 * each + tolerance for each, tolerance in zip(largest, tolerances, strict=True)]
        found = single.ends(levels, certainly)
        answers = []
        for h, (*ends, is_certain), most in zip(columns, found, largest, strict=True):
            slots = [M.slot(M.vector) for _ in ends]
            for slot, end in zip(slots, ends, strict=True):
                M.builder.store(M.to_double(end).value, slot)

            def again(h=h, slots=slots):
                half = [0.5 * each for each in double.fill([h])]
                for slot, end in zip(slots, double.ends(half, half)[0], strict=False):
                    M.builder.store(end.value, slot)
                return ir.Constant(ir.IntType(1), 0)

            M.repeat_while(again, M.any(M.good & ~(is_certain & (most > LEAST))))
            answers.append(tuple(M.value_of(slot) for slot in slots))
        return answers

    return find


class _Columns:
    """
    Columns of ``v K^T h``, one or several at a time, in one precision; M tells what K is.

    The memory of the bins is a whole number of chunks, and K and the weight of the bins too many are zero.
    """

    def __init__(self, M, kind):
        self._M, self._kind, self._vector = M, kind, ir.VectorType(kind, M.n_lanes)
        self._suffix, self._align = "_single" if kind is SINGLE else "", min(4 * M.n_lanes, 32)
        n_bins = M.argument["n_bins"]
        self._n_chunks = M.builder.sdiv(M.sum(n_bins, CHUNK - 1), M.index(CHUNK))

    def get(self, name, j, column=0):
        return self._M.load(self._name(name, column), self._M.product(j, self._M.n_lanes), self._vector, self._align)

    def put(self, name, j, value, column=0):
        self._M.store(self._name(name, column), self._M.product(j, self._M.n_lanes), value, self._align)

    def _name(self, name, column):
        return f"{name}{self._suffix}{f'_{column}' if column else ''}"

    def keep_weighted(self, weight):
        """Keep ``v K_i`` of each bin: computing them once pays if there are many columns."""
        M = self._M

        def keep(j):
            v = weight(j)
            for i, k in enumerate(self._response(j)):
                self.put("weighted", self._position(i, j), v * k)

        M.loop(0, M.argument["n_bins"], keep)

    def _position(self, i, j):
        return self._M.sum(self._M.product(j, self._M.n_terms), i)

    def _response(self, j):
        M = self._M
        name = "columns_single" if self._kind is SINGLE else M.of_columns
        return [M.broadcast(name, self._position(i, j), self._kind) for i in range(M.n_terms)]

    def _weighted(self, j):
        M = self._M
        if self._kind is SINGLE:
            return [self.get("weighted", self._position(i, j)) for i in range(M.n_terms)]
        v = M.get("weight", j)
        return [v * k for k in self._response(j)]

    def largest_terms(self):
        """The largest ``v K_i`` over the bins, by their size."""
        M = self._M

        def sizes(j):
            terms = self._weighted(j)
            return [M.abs(term) for term in terms] if M.of_columns == "prior" else terms

        return M.reduce(0, M.argument["n_bins"], sizes, ("maximum",) * M.n_terms, self._vector)

    def fill(self, columns):
        """Compute columns; return the largest element of each."""
        M = self._M

        def chunk(c):
            first = M.product(c, CHUNK)

            def bin_(j):
                weighted = self._weighted(j)
                values = [_dot(weighted, h) for h in columns]
                for q, value in enumerate(values):
                    self.put("scratch", j, value, q)
                return values

            largest = M.reduce(first, M.sum(first, CHUNK), bin_, ("maximum",) * len(columns), self._vector)
            for q, value in enumerate(largest):
                self.put("largest", c, value, q)
            return largest

        return M.reduce(0, self._n_chunks, chunk, ("maximum",) * len(columns), self._vector)

    def ends(self, levels, certainly):
        """
        Of each column the numbers of the first and the last sample above its level, and whether both certainly are.

        Where none is above, they are far on the other side, and that is not certain. Neighboring columns are alike, so
        they are searched together. No step waits for a branch but the last ones, from sample to sample, which are few.
        """
        M = self._M
        last_bin = M.sum(M.argument["n_bins"], -1)
        first_chunk, last_chunk = self._ends_above("largest", M.index(0), self._n_chunks, levels)
        first, _ = self._ends_above("scratch", M.product(first_chunk, CHUNK), CHUNK, levels)
        _, last = self._ends_above("scratch", M.product(last_chunk, CHUNK), CHUNK, levels)
        # If only a padding bin is above, the last bin stands for it; if none is, they are arbitrary.
        first, last = (self._select("<", j, last_bin, j, last_bin) for j in (first, last))
        start_first, start_last = M.load_index("first_sample", first), M.load_index("last_sample", last)
        turn = self._int_slot(M.index(0))

        def look(*state):
            count = M.builder.load(turn, typ=INT)
            M.builder.store(M.sum(count, 1), turn)
            after, before = M.sum(start_first, count), M.builder.sub(start_last, count)
            after = self._sample(self._select("<", after, M.index(N_SAMPLES), after, M.index(N_SAMPLES - 1)))
            before = self._sample(self._select(">", before, M.index(0), before, M.index(0)))
            pending, new = None, []
            for q, level in enumerate(levels):
                first, first_value, last, last_value = state[4 * q : 4 * q + 4]
                first, first_value = self._take(q, after, level, first > N_SAMPLES - 0.5, first, first_value)
                last, last_value = self._take(q, before, level, last < -0.5, last, last_value)
                new += first, first_value, last, last_value
                is_sought = (first > N_SAMPLES - 0.5) | (last < -0.5)
                pending = is_sought if pending is None else pending | is_sought
            return pending, tuple(new)

        none = M.number(float("-inf"), self._kind)
        state = M.number(N_SAMPLES, self._kind), none, M.number(-1, self._kind), none
        found = M.iterate(look, state * len(levels), N_SAMPLES)
        return [
            (first, last, (first_value >= least) & (last_value >= least))
            for least, first, first_value, last, last_value in zip(
                certainly, found[::4], found[1::4], found[2::4], found[3::4], strict=True
            )
        ]

    def _sample(self, sample):
        """The number of a sample, the bins beside it, and its position between them."""
        M = self._M
        left = M.load_index("left", sample)
        fraction = M.broadcast("fraction" + self._suffix, sample, self._kind)
        return M.everywhere(M.builder.sitofp(sample, self._kind)), left, M.sum(left, 1), fraction

    def _take(self, column, sample, level, is_sought, number, value):
        """The number and the value of a sample, in the lanes that seek one and where it is above the level."""
        M = self._M
        here, left, right, fraction = sample
        lower, upper = self.get("scratch", left, column), self.get("scratch", right, column)
        there = lower + fraction * (upper - lower)
        is_here = is_sought & (there >= level)
        return M.where(is_here, here, number), M.where(is_here, there, value)

    def _ends_above(self, name, start, count, levels):
        """Of the positions from a start on, the first and the last where any column is above its level in any lane."""
        M = self._M
        end = M.sum(start, count)
        slots = self._int_slot(M.sum(end, -1)), self._int_slot(start)

        def look(at):
            above = [self.get(name, at, q) >= level for q, level in enumerate(levels)]
            is_above = M.any(reduce(or_, above))
            for slot, how in zip(slots, "<>", strict=True):
                known = M.builder.load(slot, typ=INT)
                is_new = M.builder.and_(is_above, M.builder.icmp_signed(how, at, known))
                M.builder.store(M.builder.select(is_new, at, known), slot)

        M.loop(start, end, look)
        return tuple(M.builder.load(slot, typ=INT) for slot in slots)

    def _select(self, how, a, b, if_true, if_false):
        builder = self._M.builder
        return builder.select(builder.icmp_signed(how, a, b), if_true, if_false)

    def _int_slot(self, value):
        slot = self._M.slot(INT)
        self._M.builder.store(value, slot)
        return slot


def _dot(a, b):
    """In two halves, which do not wait for each other."""
    middle = (len(a) + 1) // 2
    parts = [dot(a[part], b[part]) for part in (slice(middle), slice(middle, None)) if a[part]]
    return total(parts)
