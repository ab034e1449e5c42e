"""
The widths of the columns of the resolution matrix, on SIMD registers.

They are the dearest output: m^2 n operations. Single precision halves that, and a bound of its rounding tells where it
might change an answer: there, the column is made again in double precision. So the answer is that of double precision.
"""

from llvmlite import ir

from sunpy_demreg._engines._lanes import dot
from sunpy_demreg._engines._registers import DOUBLE, INT, SINGLE
from sunpy_demreg._engines._single import LEAST, roundoff
from sunpy_demreg._engines._tables import N_SAMPLES

__all__ = ["CHUNK", "widths_finder"]

CHUNK = 4  # bins, whose largest element is kept, so that the search can pass over them


def widths_finder(M):
    """What `sunpy_demreg._engines` says of ``half_maximum_finder``, for the weights that M holds now."""
    single, double = _Columns(M, SINGLE), _Columns(M, DOUBLE)
    # Relative to the largest weight and response, single precision has the range.
    (largest_weight,) = M.over_bins(lambda j: (M.get("weight", j),), ("maximum",))
    unit = 1.0 / largest_weight
    M.each_bin(lambda j: single.put("weight", j, M.to_single(M.get("weight", j) * unit)))
    factor = largest_weight * M.scalar("largest_response")
    bounds = single.largest_terms()

    def find(h):
        h_single = [M.to_single(h_i * factor) for h_i in h]
        tolerance = dot(bounds, [M.abs(h_i) for h_i in h_single]) * roundoff(M.n_channels)
        largest = single.fill(h_single)
        half = 0.5 * largest
        *ends, is_certain = single.ends(half - tolerance, half + tolerance)
        slots = [M.slot(M.vector) for _ in ends]
        for slot, end in zip(slots, ends, strict=True):
            M.builder.store(M.to_double(end).value, slot)

        def again():
            half = 0.5 * double.fill(h)
            for slot, end in zip(slots, double.ends(half, half), strict=False):
                M.builder.store(end.value, slot)
            return ir.Constant(ir.IntType(1), 0)

        M.repeat_while(again, M.any(M.good & ~(is_certain & (largest > LEAST))))
        return tuple(M.value_of(slot) for slot in slots)

    return find


class _Columns:
    """
    A column of ``v K^T h`` at a time, in one precision.

    The memory of the bins is a whole number of chunks, and the response and the weight of the bins too many are zero.
    """

    def __init__(self, M, kind):
        self._M, self._kind, self._vector = M, kind, ir.VectorType(kind, M.n_lanes)
        self._suffix = "_single" if kind is SINGLE else ""
        n_bins = M.argument["n_bins"]
        self._n_chunks = M.builder.sdiv(M.sum(n_bins, CHUNK - 1), M.index(CHUNK))

    def get(self, name, j):
        return self._M.load(name + self._suffix, self._M.product(j, self._M.n_lanes), self._vector, 32)

    def put(self, name, j, value):
        self._M.store(name + self._suffix, self._M.product(j, self._M.n_lanes), value, 32)

    def _response(self, j):
        M = self._M
        first = M.product(j, M.n_channels)
        return [M.broadcast("response" + self._suffix, M.sum(first, i), self._kind) for i in range(M.n_channels)]

    def largest_terms(self):
        """Of ``v K_i``, over the bins."""
        M = self._M

        def terms(j):
            v = self.get("weight", j)
            return [v * k for k in self._response(j)]

        return M.reduce(0, M.argument["n_bins"], terms, ("maximum",) * M.n_channels, self._vector)

    def fill(self, h):
        """Make a column: its largest element."""
        M = self._M

        def chunk(c):
            first, largest = M.product(c, CHUNK), None
            for r in range(CHUNK):
                j = M.sum(first, r)
                value = self.get("weight", j) * dot(self._response(j), h)
                self.put("scratch", j, value)
                largest = value if largest is None else M.maximum(largest, value)
            self.put("largest", c, largest)
            return (largest,)

        return M.reduce(0, self._n_chunks, chunk, ("maximum",), self._vector)[0]

    def ends(self, level, certainly):
        """
        The numbers of the first and the last sample above a level, and whether both are certainly so.

        Where none is above, they are far on the other side, and that is not certain. No step waits for a branch but
        the last ones, from sample to sample, which are few.
        """
        M = self._M
        last_bin = M.sum(M.argument["n_bins"], -1)
        first, last = self._ends_above("largest", M.index(0), self._n_chunks, level)
        first, _ = self._ends_above("scratch", M.product(first, CHUNK), CHUNK, level)
        _, last = self._ends_above("scratch", M.product(last, CHUNK), CHUNK, level)
        # Where none is above, or only a bin too many, they are the last bin.
        first, last = (self._select("<", j, last_bin, j, last_bin) for j in (first, last))
        start_first, start_last = M.load_index("first_sample", first), M.load_index("last_sample", last)
        turn = self._int_slot(M.index(0))

        def look(first, first_value, last, last_value):
            count = M.builder.load(turn, typ=INT)
            M.builder.store(M.sum(count, 1), turn)
            after, before = M.sum(start_first, count), M.builder.sub(start_last, count)
            after = self._select("<", after, M.index(N_SAMPLES), after, M.index(N_SAMPLES - 1))
            before = self._select(">", before, M.index(0), before, M.index(0))
            first, first_value = self._take(after, level, first > N_SAMPLES - 0.5, first, first_value)
            last, last_value = self._take(before, level, last < -0.5, last, last_value)
            return (first > N_SAMPLES - 0.5) | (last < -0.5), (first, first_value, last, last_value)

        none = M.number(float("-inf"), self._kind)
        state = M.number(N_SAMPLES, self._kind), none, M.number(-1, self._kind), none
        first, first_value, last, last_value = M.iterate(look, state, N_SAMPLES)
        return first, last, (first_value >= certainly) & (last_value >= certainly)

    def _take(self, sample, level, is_sought, number, value):
        """The number and the value of a sample, in the lanes that seek one and where it is above the level."""
        M = self._M
        left = M.load_index("left", sample)
        lower, upper = self.get("scratch", left), self.get("scratch", M.sum(left, 1))
        fraction = M.broadcast("fraction", sample)
        there = lower + (M.to_single(fraction) if self._kind is SINGLE else fraction) * (upper - lower)
        is_here = is_sought & (there >= level)
        here = M.everywhere(M.builder.sitofp(sample, self._kind))
        return M.where(is_here, here, number), M.where(is_here, there, value)

    def _ends_above(self, name, start, count, level):
        """Of the positions from a start on, the first and the last that are above in any lane."""
        M = self._M
        end = M.sum(start, count)
        first, last = self._int_slot(M.sum(end, -1)), self._int_slot(start)

        def look(at):
            is_above = M.any(self.get(name, at) >= level)
            for slot, how in ((first, "<"), (last, ">")):
                known = M.builder.load(slot, typ=INT)
                is_new = M.builder.and_(is_above, M.builder.icmp_signed(how, at, known))
                M.builder.store(M.builder.select(is_new, at, known), slot)

        if isinstance(count, int):
            for r in range(count):
                look(M.sum(start, r))
        else:
            M.loop(start, end, look)
        return tuple(M.builder.load(slot, typ=INT) for slot in (first, last))

    def _select(self, how, a, b, if_true, if_false):
        builder = self._M.builder
        return builder.select(builder.icmp_signed(how, a, b), if_true, if_false)

    def _int_slot(self, value):
        slot = self._M.slot(INT)
        self._M.builder.store(value, slot)
        return slot
