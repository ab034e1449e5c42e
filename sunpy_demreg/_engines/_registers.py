"""Lane values that are SIMD registers: what is done with them is recorded, one LLVM instruction per operation."""

from llvmlite import ir

__all__ = ["DOUBLE", "INT", "INT32", "SINGLE", "Lanes", "Recorder"]

DOUBLE, SINGLE = ir.DoubleType(), ir.FloatType()
INT, INT32 = ir.IntType(64), ir.IntType(32)

_FLAGS = ("contract",)  # a product may be fused with the sum that takes it up


class Lanes:
    """One number per lane, in a register."""

    __slots__ = ("builder", "value")

    def __init__(self, builder, value):
        self.builder, self.value = builder, value

    def _apply(self, name, other, *, swapped=False):
        pair = (self.value, self._value_of(other))
        return Lanes(self.builder, getattr(self.builder, name)(*(pair[::-1] if swapped else pair), flags=_FLAGS))

    def _compare(self, how, other):
        return Lanes(self.builder, self.builder.fcmp_ordered(how, self.value, self._value_of(other)))

    def _value_of(self, other):
        return other.value if isinstance(other, Lanes) else constant(self.value.type, other)

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
        return Lanes(self.builder, self.builder.and_(self.value, other.value))

    def __or__(self, other):
        return Lanes(self.builder, self.builder.or_(self.value, other.value))

    def __invert__(self):
        return Lanes(self.builder, self.builder.not_(self.value))


def constant(kind, number):
    """The number in every lane."""
    return ir.Constant(kind, [ir.Constant(kind.element, number)] * kind.count)


class Recorder:
    """
    Records functions, loops and memory on lanes.

    An index is a Python int, or an LLVM integer inside a loop.

    Parameters
    ----------
    builder : `llvmlite.ir.IRBuilder`
    argument : dict
        The arguments of the function that is recorded, by name.
    n_lanes : int
    """

    def __init__(self, builder, argument, n_lanes):
        self.builder, self.argument, self.n_lanes = builder, argument, n_lanes
        self._entry = builder.block
        self.vector, self.mask = (ir.VectorType(kind, n_lanes) for kind in (DOUBLE, ir.IntType(1)))

    # --- loops

    def loop(self, start, stop, body, step=1):
        counter = self.slot(INT)
        self.builder.store(self.index(start), counter)
        head, inside, after = (self.builder.append_basic_block() for _ in range(3))
        self.builder.branch(head)
        self.builder.position_at_end(head)
        index = self.builder.load(counter, typ=INT)
        self.builder.cbranch(self.builder.icmp_signed("<", index, self.index(stop)), inside, after)
        self.builder.position_at_end(inside)
        body(index)
        self.builder.store(self.sum(index, step), counter)
        self.builder.branch(head)
        self.builder.position_at_end(after)

    def reduce(self, start, stop, body, reductions, kind=None):
        """``body(index)`` gives a value for each of the reductions: "sum", "minimum" or "maximum"."""
        from_ = {"sum": 0.0, "minimum": float("inf"), "maximum": float("-inf")}
        combine = {"sum": Lanes.__add__, "minimum": self.minimum, "maximum": self.maximum}
        slots = [self.slot(kind or self.vector, from_[how]) for how in reductions]

        def step(index):
            for slot, how, value in zip(slots, reductions, body(index), strict=True):
                self.builder.store(combine[how](self.value_of(slot), value).value, slot)

        self.loop(start, stop, step)
        return tuple(self.value_of(slot) for slot in slots)

    def iterate(self, body, state, limit, pending=None, given=()):
        slots = [self.slot(value.value.type) for value in state]
        counter = self.slot(INT)
        self._store_all(state, slots)
        self.builder.store(self.index(limit), counter)

        def turn():
            pending, state = body(*given, *(self.value_of(slot) for slot in slots))
            self._store_all(state, slots)
            left = self.builder.sub(self.builder.load(counter, typ=INT), self.index(1))
            self.builder.store(left, counter)
            is_left = self.builder.icmp_signed(">", left, self.index(0))
            return self.builder.and_(self.any(pending), is_left)

        self.repeat_while(turn, None if pending is None else self.any(pending))
        return tuple(self.value_of(slot) for slot in slots)

    def repeat_while(self, body, is_needed=None):
        """Run the body, and again while what it returns is true; not at all where it is not needed."""
        inside, after = (self.builder.append_basic_block() for _ in range(2))
        if is_needed is None:
            self.builder.branch(inside)
        else:
            self.builder.cbranch(is_needed, inside, after)
        self.builder.position_at_end(inside)
        self.builder.cbranch(body(), inside, after)
        self.builder.position_at_end(after)

    def any(self, mask):
        bits = ir.IntType(self.n_lanes)
        return self.builder.icmp_unsigned("!=", self.builder.bitcast(mask.value, bits), ir.Constant(bits, 0))

    def _store_all(self, values, slots):
        for value, slot in zip(values, slots, strict=True):
            self.builder.store(value.value, slot)

    # --- functions

    def where(self, condition, a, b):
        kind = next((x.value.type for x in (a, b) if isinstance(x, Lanes)), self.vector)
        a, b = (x.value if isinstance(x, Lanes) else constant(kind, x) for x in (a, b))
        return self.lanes(self.builder.select(condition.value, a, b))

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
        kind = x.value.type
        name = f"llvm.{name}.v{kind.count}f{64 if kind.element is DOUBLE else 32}"
        module = self.builder.module
        function = module.globals.get(name) or ir.Function(module, ir.FunctionType(kind, [kind]), name)
        return self.lanes(self.builder.call(function, [x.value]))

    # --- values and addresses

    def lanes(self, value):
        return Lanes(self.builder, value)

    def index(self, i):
        return i if isinstance(i, ir.Value) else ir.Constant(INT, i)

    def sum(self, a, b):
        return self.builder.add(self.index(a), self.index(b))

    def product(self, a, b):
        return self.builder.mul(self.index(a), self.index(b))

    def address(self, name, i, kind=DOUBLE):
        return self.builder.gep(self.argument[name], [self.index(i)], source_etype=kind)

    def load(self, name, i, vector, align):
        """Neighbors in memory, one for each lane."""
        return self.lanes(self.builder.load(self.address(name, i, vector.element), typ=vector, align=align))

    def store(self, name, i, value, align):
        self.builder.store(value.value, self.address(name, i, value.value.type.element), align=align)

    def load_index(self, name, i):
        return self.builder.load(self.address(name, i, INT), typ=INT)

    def broadcast(self, name, i, kind=DOUBLE):
        """One number of a table, in all lanes."""
        return self.everywhere(self.builder.load(self.address(name, i, kind), typ=kind))

    def number(self, number, kind=DOUBLE):
        return self.lanes(constant(ir.VectorType(kind, self.n_lanes), number))

    def everywhere(self, number):
        vector = ir.VectorType(number.type, self.n_lanes)
        undefined = ir.Constant(vector, ir.Undefined)
        first = self.builder.insert_element(undefined, number, ir.Constant(INT32, 0))
        everywhere = constant(ir.VectorType(INT32, self.n_lanes), 0)
        return self.lanes(self.builder.shuffle_vector(first, undefined, everywhere))

    def slot(self, kind, number=None):
        """Memory that outlives a turn of a loop: the compiler makes registers of it. It holds the number, if any."""
        with self.builder.goto_block(self._entry):
            self.builder.position_at_start(self._entry)
            slot = self.builder.alloca(kind)
        if number is not None:
            self.builder.store(constant(kind, number), slot)
        return slot

    def value_of(self, slot):
        return self.lanes(self.builder.load(slot, typ=slot.allocated_type))
