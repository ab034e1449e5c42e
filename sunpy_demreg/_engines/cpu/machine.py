"""A machine whose lane values are SIMD registers: running the algorithm emits one LLVM instruction per operation."""

from llvmlite import ir

from sunpy_demreg._engines.algorithm.invert import invert_lanes
from sunpy_demreg._engines.algorithm.linear_algebra import dot, total
from sunpy_demreg._engines.base.options import OUTPUTS
from sunpy_demreg._engines.base.prior import RANK
from sunpy_demreg._engines.base.tables import FLOAT_TABLES, INTEGER_TABLES, SCALARS, channel_pairs
from sunpy_demreg._engines.cpu.recorder import INT, INT32, SINGLE, Recorder, constant
from sunpy_demreg._engines.cpu.singular_values import orthogonalize
from sunpy_demreg._engines.cpu.widths import widths_finder

__all__ = ["ARGUMENTS", "BUFFERS", "CHANNEL_BUFFERS", "NUMBERS", "SINGLE_TABLES", "make_module"]

#: Tables that also exist in single precision.
SINGLE_TABLES = ("columns_single", "fraction_single")
#: Storage of one value per bin and lane.
BUFFERS = (
    "scratch",
    "weight",
    "level",
    "exponent",
    "step",
    "largest",
    "scratch_single",
    "largest_single",
    "scratch_single_1",
    "largest_single_1",
)
#: Storage of one value per bin, channel (or coefficient of the prior) and lane.
CHANNEL_BUFFERS = ("weighted_single",)
#: The arguments of the function: pointers, then numbers.
ARGUMENTS = (
    "intensity",
    "sigma",
    "given_weight",
    "status_in",
    *FLOAT_TABLES,
    *SINGLE_TABLES,
    *INTEGER_TABLES,
    *BUFFERS,
    *CHANNEL_BUFFERS,
    *OUTPUTS,
    "status",
)
NUMBERS = ("stride", "start", "stop", "n_bins", "n_functionals", "n_neighbors")

_ROWS_AHEAD = 4  # of an output, to prefetch into the cache
_SUMS_OF_PRIOR = 13  # with AVX-512, of 32 registers
_SUMS_AT_ONCE = 6  # of two registers each: so that they and their operands fit into 16 registers


def make_module(plan, n_lanes, *, is_careful=False):
    """The LLVM module, as text, of ``invert(pointers..., numbers...)`` for the pixels start to stop."""
    module = ir.Module("sunpy_demreg")
    arguments = [ir.PointerType()] * len(ARGUMENTS) + [INT] * len(NUMBERS)
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), "invert")
    # On an aligned stack, each spilled register lies in one cache line. llvmlite drops this attribute if there is no
    # other.
    function.attributes.add("nounwind")
    function.attributes.alignstack = 64
    for argument in function.args[: len(ARGUMENTS)]:
        argument.add_attribute("noalias")
    builder = ir.IRBuilder(function.append_basic_block())
    argument = dict(zip((*ARGUMENTS, *NUMBERS), function.args, strict=True))
    machine = _SimdMachine(builder, argument, plan, n_lanes, is_careful=is_careful)

    def block(pixel):
        machine.begin(pixel)
        invert_lanes(machine, plan)

    machine.loop(machine.argument["start"], machine.argument["stop"], block, step=n_lanes)
    builder.ret_void()
    return str(module)


class _SimdMachine(Recorder):
    """What `sunpy_demreg._engines` lists."""

    is_split = False

    def __init__(self, builder, argument, plan, n_lanes, *, is_careful):
        # Fused operations round once less than those of plain arrays, which are to give the same bits with care.
        super().__init__(builder, argument, n_lanes, is_fused=not is_careful)
        self.is_careful = is_careful
        self.n_channels, self._plan = plan.n_channels, plan
        self._n_pairs = len(channel_pairs(plan.n_channels))
        # What the columns of the resolution matrix are made of.
        self.of_columns = "prior" if plan.method == "lognormal" else "response"
        self.n_terms = RANK if plan.method == "lognormal" else plan.n_channels
        self._integers = ir.VectorType(INT32, n_lanes)

    def begin(self, pixel):
        """Start a block of lanes at a pixel. A bad pixel keeps its lane, as data of zero with an error of one."""
        self._pixel = pixel
        status = self.load("status_in", pixel, self._integers, 4)
        self.good = self.lanes(self.builder.icmp_signed("==", status.value, constant(self._integers, 0)))

    # --- what is given

    def intensity(self, i):
        return self.where(self.good, self._pixels("intensity", i), 0.0)

    def sigma(self, i):
        return self.where(self.good, self._pixels("sigma", i), 1.0)

    def scalar(self, name):
        return self.broadcast("scalars", SCALARS.index(name))

    def response(self, i, j):
        return self.broadcast("response", self.sum(self.product(j, self.n_channels), i))

    def project(self, z, j):
        return dot([self.response(i, j) for i in range(self.n_channels)], z)

    def gram(self, name):
        def sums(start, stop):
            def terms(j):
                v = self.get(name, j)
                first = self.product(j, self._n_pairs)
                return tuple(self.broadcast("response_pair", self.sum(first, p)) * v for p in range(start, stop))

            return self.over_bins(terms, ("sum",) * (stop - start))

        starts = range(0, self._n_pairs, _SUMS_AT_ONCE)
        return [s for start in starts for s in sums(start, min(start + _SUMS_AT_ONCE, self._n_pairs))]

    def prior(self, r, j):
        return self.broadcast("prior", self.sum(self.product(j, RANK), r))

    def project_prior(self, a, j):
        return dot([self.prior(r, j) for r in range(RANK)], a)

    def prior_gram(self, name):
        sums = self._sums_of("response_prior", self.n_channels * RANK, name)
        return [sums[i * RANK : (i + 1) * RANK] for i in range(self.n_channels)]

    def start_projection(self, name):
        return self._sums_of("to_prior", RANK, name)

    def _sums_of(self, table, n_columns, name):
        """``sum_j table_ji get(name, j)`` for each column i, a few at a time."""

        def sums(start, stop):
            def terms(j):
                first, value = self.product(j, n_columns), self.get(name, j)
                return tuple(self.broadcast(table, self.sum(first, i)) * value for i in range(start, stop))

            return self.over_bins(terms, ("sum",) * (stop - start))

        starts = range(0, n_columns, _SUMS_OF_PRIOR)
        return [s for start in starts for s in sums(start, min(start + _SUMS_OF_PRIOR, n_columns))]

    def mean(self, name, j):
        n_neighbors, start = self.argument["n_neighbors"], self.load_index("mean_start", j)

        def term(k):
            share = self.broadcast("mean", self.sum(self.product(j, n_neighbors), k))
            return (share * self.get(name, self.sum(start, k)),)

        return self.reduce(0, n_neighbors, term, ("sum",))[0]

    def shared_gram(self, p):
        return self.broadcast("shared_gram", p)

    def shared_weight(self, j):
        return self.broadcast("shared_weight", j)

    def given_weight(self, j):
        return self.where(self.good, self._pixels("given_weight", j), 1.0)

    def dlogt(self, j):
        return self.broadcast("dlogt", j)

    def dem_per_unknown(self, j):
        return self.broadcast("dem_per_unknown", j)

    def place(self, j):
        return self.broadcast("place", j)

    def functional(self, q, j):
        return self.broadcast("functional", self.sum(self.product(q, self.argument["n_bins"]), j))

    def _pixels(self, name, i):
        return self.load(name, self._position(i), self.vector, 8)

    def _position(self, row):
        return self.sum(self.product(row, self.argument["stride"]), self._pixel)

    # --- storage

    def get(self, name, j):
        return self.load(name, self.product(j, self.n_lanes), self.vector, min(8 * self.n_lanes, 64))

    def put(self, name, j, value):
        self.store(name, self.product(j, self.n_lanes), value, min(8 * self.n_lanes, 64))

    def inner_neighbors(self):
        last = self.builder.sub(self.argument["n_bins"], self.index(1))

        def value(k):
            is_inner = self.builder.and_(
                self.builder.icmp_signed(">", k, self.index(0)), self.builder.icmp_signed("<", k, last)
            )
            stored = self.get("scratch", self.builder.select(is_inner, k, self.index(0)))
            return self.lanes(self.builder.select(is_inner, stored.value, constant(self.vector, 0.0)))

        return lambda j: total([value(self.sum(j, offset)) for offset in range(-2, 3)])

    def half_maximum_finder(self):
        return widths_finder(self)

    def orthogonalize(self, columns):
        return orthogonalize(self, columns)

    def put_output(self, name, j, value, ahead=None):
        if name in self._plan.outputs:
            value = self.where(self.good, value, float("nan"))  # at no cost, unlike in another pass
            if self._plan.dtype == "float32":
                value = self.to_single(value)
            self.store(name, self._position(j), value, 4)
            ahead = self.sum(j, _ROWS_AHEAD) if ahead is None else ahead
            self.prefetch(name, self._position(ahead), value.value.type.element)

    def put_element(self, name, j, k, value):
        row, ahead = (self.sum(self.product(i, self.argument["n_bins"]), k) for i in (j, self.sum(j, _ROWS_AHEAD)))
        self.put_output(name, row, value, ahead)

    def put_status(self, value):
        bits = self.builder.fptosi(self.where(self.good, value, 0.0).value, self._integers)
        self.store("status", self._pixel, self.lanes(bits), 4)

    def to_single(self, value):
        return self.lanes(self.builder.fptrunc(value.value, ir.VectorType(SINGLE, self.n_lanes)))

    def to_double(self, value):
        return self.lanes(self.builder.fpext(value.value, self.vector))

    # --- loops

    def over_bins(self, body, reductions):
        return self.reduce(0, self.argument["n_bins"], body, reductions)

    def any_negative(self, body):
        return self.over_bins(lambda j: (body(j),), ("minimum",))[0] < 0.0

    def carry_over_bins(self, body, state):
        return self.carry(0, self.argument["n_bins"], body, state)

    def each_bins(self, body):
        """Two at a time: the columns of two bins share what is loaded. The last bin may come twice."""
        last = self.builder.sub(self.argument["n_bins"], self.index(1))

        def pair(j):
            after = self.sum(j, 1)
            body(j, self.builder.select(self.builder.icmp_signed("<", after, last), after, last))

        self.loop(0, self.argument["n_bins"], pair, step=2)

    def each_functional(self, body):
        self.loop(0, self.argument["n_functionals"], body)
