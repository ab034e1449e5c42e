"""A machine whose lane values are SIMD registers: running the text emits one LLVM instruction per operation."""

from llvmlite import ir

from sunpy_demreg._engines._lanes import dot
from sunpy_demreg._engines._problem import channel_pairs
from sunpy_demreg._engines._tables import FLOAT_TABLES, INTEGER_TABLES, N_SAMPLES, OUTPUTS, SCALARS
from sunpy_demreg._engines._text import invert_lanes

__all__ = ["ARGUMENTS", "NUMBERS", "make_module"]

_BUFFERS = ("scratch", "weight")
#: The arguments of the function: pointers, then numbers.
ARGUMENTS = (
    "intensity",
    "sigma",
    "given_weight",
    "status_in",
    *FLOAT_TABLES,
    *INTEGER_TABLES,
    *_BUFFERS,
    *OUTPUTS,
    "status",
)
NUMBERS = ("stride", "start", "stop", "n_bins", "n_functionals")

_FLAGS = ("contract",)  # a product may be fused with the sum that takes it up

_double, _int = ir.DoubleType(), ir.IntType(64)
_float32, _bit, _int32 = ir.FloatType(), ir.IntType(1), ir.IntType(32)
_FAR = 1e300


def make_module(plan, n_lanes):
    """The LLVM module, as text, of ``invert(pointers..., numbers...)`` for the pixels start to stop."""
    module = ir.Module("sunpy_demreg")
    arguments = [ir.PointerType()] * len(ARGUMENTS) + [_int] * len(NUMBERS)
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), "invert")
    for argument in function.args[: len(ARGUMENTS)]:
        argument.add_attribute("noalias")
    builder = ir.IRBuilder(function.append_basic_block())
    machine = _SimdMachine(builder, dict(zip((*ARGUMENTS, *NUMBERS), function.args, strict=True)), plan, n_lanes)

    def block(pixel):
        machine.begin(pixel)
        invert_lanes(machine, plan)

    start, stop = (machine.argument[name] for name in ("start", "stop"))
    machine.loop(start, stop, block, step=n_lanes)
    builder.ret_void()
    return str(module)


def _constant(kind, number):
    """The number in every lane."""
    return ir.Constant(kind, [ir.Constant(kind.element, number)] * kind.count)


class _Lanes:
    """One number per lane, in a register."""

    __slots__ = ("builder", "value")

    def __init__(self, builder, value):
        self.builder, self.value = builder, value

    def _apply(self, name, other, *, swapped=False):
        other = other.value if isinstance(other, _Lanes) else _constant(self.value.type, other)
        pair = (other, self.value) if swapped else (self.value, other)
        return _Lanes(self.builder, getattr(self.builder, name)(*pair, flags=_FLAGS))

    def _compare(self, how, other):
        other = other.value if isinstance(other, _Lanes) else _constant(self.value.type, other)
        return _Lanes(self.builder, self.builder.fcmp_ordered(how, self.value, other))

    def __add__(self, other):
        return self._apply("fadd", other)

    def __mul__(self, other):
        return self._apply("fmul", other)

    def __sub__(self, other):
        return self._apply("fsub", other)

    def __truediv__(self, other):
        return self._apply("fdiv", other)

    def __rsub__(self, other):
        return self._apply("fsub", other, swapped=True)

    def __rtruediv__(self, other):
        return self._apply("fdiv", other, swapped=True)

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self):
        return self * -1.0

    def __lt__(self, other):
        return self._compare("<", other)

    def __le__(self, other):
        return self._compare("<=", other)

    def __gt__(self, other):
        return self._compare(">", other)

    def __ge__(self, other):
        return self._compare(">=", other)

    def __and__(self, other):
        return _Lanes(self.builder, self.builder.and_(self.value, other.value))

    def __or__(self, other):
        return _Lanes(self.builder, self.builder.or_(self.value, other.value))

    def __invert__(self):
        return _Lanes(self.builder, self.builder.not_(self.value))


class _SimdMachine:
    """What `sunpy_demreg._engines` lists. An index is a Python int, or an LLVM integer inside a loop."""

    is_careful = False

    def __init__(self, builder, argument, plan, n_lanes):
        self.builder, self.argument, self._n, self._plan = builder, argument, plan.n_channels, plan
        self._n_pairs = len(channel_pairs(plan.n_channels))
        self._entry = builder.block
        self._n_lanes = n_lanes
        self._vector, self._mask, self._integers = (ir.VectorType(kind, n_lanes) for kind in (_double, _bit, _int32))

    def begin(self, pixel):
        """Start a block of lanes at a pixel. A bad one keeps its lane, as data of zero with an error of one."""
        self._pixel = pixel
        status = self._load(self._address("status_in", pixel, _int32), self._integers, 4)
        self._good = self._lanes(self.builder.icmp_signed("==", status, _constant(self._integers, 0)))

    # --- what is given

    def intensity(self, i):
        return self.where(self._good, self._pixels("intensity", i), 0.0)

    def sigma(self, i):
        return self.where(self._good, self._pixels("sigma", i), 1.0)

    def scalar(self, name):
        return self._shared("scalars", SCALARS.index(name))

    def response(self, i, j):
        return self._shared("response", self._sum(self._product(j, self._n), i))

    def _response_pair(self, p, j):
        return self._shared("response_pair", self._sum(self._product(j, self._n_pairs), p))

    def project(self, z, j):
        return dot([self.response(i, j) for i in range(self._n)], z)

    def gram(self, weight):
        def terms(j):
            v = weight(j)
            return tuple(self._response_pair(p, j) * v for p in range(self._n_pairs))

        return self.over_bins(terms, ("sum",) * self._n_pairs)

    def shared_gram(self, p):
        return self._shared("shared_gram", p)

    def shared_weight(self, j):
        return self._shared("shared_weight", j)

    def given_weight(self, j):
        return self.where(self._good, self._pixels("given_weight", j), 1.0)

    def dlogt(self, j):
        return self._shared("dlogt", j)

    def functional(self, q, j):
        return self._shared("functional", self._sum(self._product(q, self.argument["n_bins"]), j))

    # --- storage

    def get(self, name, j):
        return self._lanes(self._load(self._address(name, self._product(j, self._n_lanes)), self._vector, 64))

    def put(self, name, j, value):
        self.builder.store(value.value, self._address(name, self._product(j, self._n_lanes)), align=64)

    def sum_of_inner_neighbors(self, name, j):
        """Of the bins j - 2 to j + 2 that are neither the first nor the last of all."""
        result = None
        last = self.builder.sub(self.argument["n_bins"], self._index(1))
        for offset in range(-2, 3):
            k = self._sum(j, offset)
            is_inner = self.builder.and_(
                self.builder.icmp_signed(">", k, self._index(0)), self.builder.icmp_signed("<", k, last)
            )
            value = self.get(name, self.builder.select(is_inner, k, self._index(0)))
            value = self._lanes(self.builder.select(is_inner, value.value, self._number(0.0)))
            result = value if result is None else result + value
        return result

    def put_output(self, name, j, value):
        if name in self._plan.outputs:
            value = self.where(self._good, value, float("nan")).value
            if self._plan.dtype == "float32":
                value = self.builder.fptrunc(value, ir.VectorType(_float32, self._n_lanes))
            index = self._sum(self._product(j, self.argument["stride"]), self._pixel)
            address = self._address(name, index, value.type.element)
            self.builder.store(value, address, align=4)

    def put_element(self, name, j, k, value):
        self.put_output(name, self._sum(self._product(j, self.argument["n_bins"]), k), value)

    def put_status(self, value):
        bits = self.builder.fptosi(self.where(self._good, value, 0.0).value, self._integers)
        self.builder.store(bits, self._address("status", self._pixel, _int32), align=4)

    def ends_above(self, name, level):
        """From both ends: to the first bin that is above in any lane, and then sample by sample until all are."""
        return (
            self._end_above(name, level, self._index(0), 1, "first_sample"),
            self._end_above(name, level, self.builder.sub(self.argument["n_bins"], self._index(1)), -1, "last_sample"),
        )

    def _end_above(self, name, level, start, step, first_of):
        end = self.argument["n_bins"] if step > 0 else self._index(-1)
        bin_, sample, pending, found = (self._slot(kind) for kind in (_int, _int, self._mask, self._vector))
        self.builder.store(start, bin_)

        def look_at_bin():
            j = self.builder.load(bin_, typ=_int)
            is_none = self.builder.not_(self._any((self.get(name, j) >= level).value))
            self.builder.store(self._sum(j, step), bin_)
            return self.builder.and_(is_none, self.builder.icmp_signed("!=", self._sum(j, step), end))

        self._repeat_while(look_at_bin)
        j = self.builder.sub(self.builder.load(bin_, typ=_int), self._index(step))
        self.builder.store(self.builder.load(self._address(first_of, j, _int), typ=_int), sample)
        self.builder.store(_constant(self._mask, 1), pending)
        self.builder.store(self._number(step * _FAR), found)

        def look_at_sample():
            s = self.builder.load(sample, typ=_int)
            still = self.builder.load(pending, typ=self._mask)
            is_above = self.builder.and_((self._sampled(name, s) >= level).value, still)
            so_far = self.builder.load(found, typ=self._vector)
            self.builder.store(self.builder.select(is_above, self._shared("sample", s).value, so_far), found)
            still = self.builder.and_(still, self.builder.not_(is_above))
            self.builder.store(still, pending)
            s = self._sum(s, step)
            self.builder.store(s, sample)
            is_inside = self.builder.icmp_unsigned("<", s, self._index(N_SAMPLES))
            return self.builder.and_(self._any(still), is_inside)

        self._repeat_while(look_at_sample)
        return self._lanes(self.builder.load(found, typ=self._vector))

    def _sampled(self, name, s):
        left = self.builder.load(self._address("left", s, _int), typ=_int)
        lower = self.get(name, left)
        return lower + self._shared("fraction", s) * (self.get(name, self._sum(left, 1)) - lower)

    # --- loops

    def over_bins(self, body, reductions):
        start = {"sum": 0.0, "minimum": float("inf"), "maximum": float("-inf")}
        combine = {"sum": _Lanes.__add__, "minimum": self.minimum, "maximum": self.maximum}
        slots = [self._slot(self._vector) for _ in reductions]
        for slot, how in zip(slots, reductions, strict=True):
            self.builder.store(self._number(start[how]), slot)

        def step(j):
            for slot, how, value in zip(slots, reductions, body(j), strict=True):
                so_far = self._lanes(self.builder.load(slot, typ=self._vector))
                self.builder.store(combine[how](so_far, value).value, slot)

        self.each_bin(step)
        return tuple(self._lanes(self.builder.load(slot, typ=self._vector)) for slot in slots)

    def each_bin(self, body):
        self.loop(self._index(0), self.argument["n_bins"], body)

    def each_functional(self, body):
        self.loop(self._index(0), self.argument["n_functionals"], body)

    def loop(self, start, stop, body, step=1):
        counter = self._slot(_int)
        self.builder.store(start, counter)
        head, inside, after = (self.builder.append_basic_block() for _ in range(3))
        self.builder.branch(head)
        self.builder.position_at_end(head)
        index = self.builder.load(counter, typ=_int)
        self.builder.cbranch(self.builder.icmp_signed("<", index, stop), inside, after)
        self.builder.position_at_end(inside)
        body(index)
        self.builder.store(self._sum(index, step), counter)
        self.builder.branch(head)
        self.builder.position_at_end(after)

    def iterate(self, body, state, limit, pending=None):
        slots = [self._slot(value.value.type) for value in state]
        counter = self._slot(_int)
        self._store_all(state, slots)
        self.builder.store(self._index(limit), counter)

        def turn():
            pending, state = body(*self._load_all(slots))
            self._store_all(state, slots)
            left = self.builder.sub(self.builder.load(counter, typ=_int), self._index(1))
            self.builder.store(left, counter)
            is_left = self.builder.icmp_signed(">", left, self._index(0))
            return self.builder.and_(self._any(pending.value), is_left)

        self._repeat_while(turn, None if pending is None else self._any(pending.value))
        return self._load_all(slots)

    def _repeat_while(self, body, is_needed=None):
        """Run the body, and again while what it returns is true; not at all where it is not needed."""
        inside, after = (self.builder.append_basic_block() for _ in range(2))
        if is_needed is None:
            self.builder.branch(inside)
        else:
            self.builder.cbranch(is_needed, inside, after)
        self.builder.position_at_end(inside)
        self.builder.cbranch(body(), inside, after)
        self.builder.position_at_end(after)

    def _any(self, mask):
        bits = ir.IntType(self._n_lanes)
        return self.builder.icmp_unsigned("!=", self.builder.bitcast(mask, bits), ir.Constant(bits, 0))

    # --- functions

    def where(self, condition, a, b):
        a, b = (x.value if isinstance(x, _Lanes) else self._number(x) for x in (a, b))
        return self._lanes(self.builder.select(condition.value, a, b))

    def maximum(self, a, b):
        return self.where(a > b, a, b)

    def minimum(self, a, b):
        return self.where(a < b, a, b)

    def abs(self, x):
        return self._call("fabs", x)

    def sqrt(self, x):
        return self._call("sqrt", x)

    def exp(self, x):
        return self._call("exp", x)

    def log(self, x):
        return self._call("log", x)

    def _call(self, name, x):
        name = f"llvm.{name}.v{self._n_lanes}f64"
        module = self.builder.module
        function = module.globals.get(name) or ir.Function(module, ir.FunctionType(self._vector, [self._vector]), name)
        return self._lanes(self.builder.call(function, [x.value]))

    # --- addresses and values

    def _number(self, number):
        return _constant(self._vector, number)

    def _lanes(self, value):
        return _Lanes(self.builder, value)

    def _index(self, i):
        return i if isinstance(i, ir.Value) else ir.Constant(_int, i)

    def _sum(self, a, b):
        return self.builder.add(self._index(a), self._index(b))

    def _product(self, a, b):
        return self.builder.mul(self._index(a), self._index(b))

    def _address(self, name, i, kind=_double):
        return self.builder.gep(self.argument[name], [self._index(i)], source_etype=kind)

    def _load(self, address, kind, align):
        return self.builder.load(address, typ=kind, align=align)

    def _pixels(self, name, i):
        index = self._sum(self._product(i, self.argument["stride"]), self._pixel)
        return self._lanes(self._load(self._address(name, index), self._vector, 8))

    def _shared(self, name, i):
        """One number of a table, in all lanes."""
        number = self._load(self._address(name, i), _double, 8)
        undefined = ir.Constant(self._vector, ir.Undefined)
        first = self.builder.insert_element(undefined, number, ir.Constant(_int32, 0))
        everywhere = _constant(self._integers, 0)
        return self._lanes(self.builder.shuffle_vector(first, undefined, everywhere))

    def _slot(self, kind):
        """Memory that outlives a turn of a loop: the compiler makes registers of it."""
        with self.builder.goto_block(self._entry):
            self.builder.position_at_start(self._entry)
            return self.builder.alloca(kind)

    def _store_all(self, values, slots):
        for value, slot in zip(values, slots, strict=True):
            self.builder.store(value.value, slot)

    def _load_all(self, slots):
        return tuple(self._lanes(self.builder.load(slot, typ=slot.allocated_type)) for slot in slots)
