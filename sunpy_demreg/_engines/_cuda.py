"""A machine whose lane values are variables of CUDA C++: running the text writes one statement per operation."""

import numpy as np

from sunpy_demreg._engines._cuda_columns import COLUMNS
from sunpy_demreg._engines._symbols import Symbol
from sunpy_demreg._engines._tables import INTEGER_TABLES, N_SAMPLES, SCALARS, Solution
from sunpy_demreg._engines._text import DIFFICULT, invert_lanes

__all__ = ["arguments", "make_source", "pack_tables"]

#: The tables that a block of threads keeps in its shared memory. Products of responses are multiplied where they are
#: needed: that is cheaper than to read them.
_PACKED = ("response", "shared_weight", "shared_gram", "dlogt", "functional", "fraction", "scalars")
_INFINITIES = {float("inf"): "INFINITE", float("-inf"): "-INFINITE"}

_CONSTANTS = """\
#define INFINITE __longlong_as_double(0x7ff0000000000000LL)
#define NOT_A_NUMBER __longlong_as_double(0x7ff8000000000000LL)
"""


def arguments(plan):
    """
    The names of the kernel's arguments: pointers, then numbers.

    ``intensity``, ``sigma``, ``status_in``, the outputs of the plan and ``status`` are arrays (..., n_pixels), and
    ``given_weight`` too where there is one; ``tables`` is what `pack_tables` makes. Pixels that get a bit of
    ``withheld`` as their status get NaN, and so do those whose ``status_in`` is not zero, with a status of zero.
    """
    given = ("given_weight",) if plan.weighting == "given" else ()
    pointers = ("intensity", "sigma", *given, "status_in", "tables", *plan.outputs, "status")
    return pointers, ("n_pixels", "withheld")


def pack_tables(tables):
    """The tables of NumPy as the kernel reads them: one array of float64, the shorter numbers at its end in pairs."""
    doubles = [np.ravel(getattr(tables, name)) for name in _PACKED]
    singles = (tables.response / tables.response.max()).astype(np.float32).view(np.int32)
    short = [singles.ravel(), *(getattr(tables, name).astype(np.int32) for name in INTEGER_TABLES)]
    short = np.concatenate([*short, np.zeros(sum(part.size for part in short) % 2, np.int32)])
    return np.concatenate([*doubles, short.view(np.float64)])


def make_source(plan, n_bins, n_functionals, block_size):
    """The source of the kernel ``invert``, for so many bins, functionals, and threads per block."""
    machine = _CudaMachine(plan, n_bins, n_functionals)
    invert_lanes(machine, plan)
    real = "float" if plan.dtype == "float32" else "double"
    kinds = dict.fromkeys(plan.outputs, f"{real} *") | {"status_in": "const int *", "status": "int *"}
    pointers, numbers = arguments(plan)
    parameters = [f"{kinds.get(name, 'const double *')}__restrict__ {name}" for name in pointers]
    parameters += [f"const long long {name}" for name in numbers]
    shapes = Solution.shapes(plan.n_channels, n_bins, n_functionals)
    no_answer = [
        f"for (int row = 0; row < {int(np.prod(shapes[name]))}; ++row) {name}[row * n_pixels + pixel] = NOT_A_NUMBER;"
        for name in plan.outputs
    ]
    lines = [
        f'extern "C" __global__ void __launch_bounds__({block_size})',
        f"invert({', '.join(parameters)})",
        "{",
        "extern __shared__ double table[];",
        f"for (int k = threadIdx.x; k < {machine.n_packed}; k += blockDim.x) table[k] = tables[k];",
        "__syncthreads();",
        "const long long pixel = (long long)blockIdx.x * blockDim.x + threadIdx.x;",
        "if (pixel >= n_pixels) return;",
        "int bits = 0;",
        "const bool is_bad = status_in[pixel] != 0;",
        "if (!is_bad) {",
        f"const float *const response_single = (const float *)(table + {machine.n_doubles});",
        f"const int *const whole = (const int *)response_single + {plan.n_channels * n_bins};",
        "double weight[N_BINS], scratch[N_BINS];",
        *machine.lines,
        "}",
        "if (is_bad || (bits & withheld)) {",
        *no_answer,
        "}",
        "status[pixel] = bits;",
        "}",
    ]
    sizes = f"enum {{ N_CHANNELS = {plan.n_channels}, N_BINS = {n_bins}, N_SAMPLES = {N_SAMPLES} }};\n"
    return sizes + _CONSTANTS + COLUMNS + "\n".join(lines) + "\n"


class _CudaMachine:
    """What `sunpy_demreg._engines` lists. An index is a Python int, or the name of an integer variable."""

    is_careful = False

    def __init__(self, plan, n_bins, n_functionals):
        self.lines = []
        self._plan, self._n, self._m, self._q = plan, plan.n_channels, n_bins, n_functionals
        n, m = self._n, self._m
        sizes = m * n, m, n * (n + 1) // 2, m, n_functionals * m, N_SAMPLES, len(SCALARS)
        self._offset = dict(zip(_PACKED, np.cumsum([0, *sizes[:-1]]).tolist(), strict=True))
        self.n_doubles = sum(sizes)
        self.n_packed = self.n_doubles + (n * m + N_SAMPLES + 2 * m + 1) // 2
        self._n_names = 0

    # --- what is given

    def intensity(self, i):
        return self._pixels("intensity", i)

    def sigma(self, i):
        return self._pixels("sigma", i)

    def scalar(self, name):
        return self._shared("scalars", SCALARS.index(name))

    def response(self, i, j):
        return self._shared("response", f"{j} * {self._n} + {i}")

    def project(self, z, j):
        result = self.response(0, j) * z[0]
        for i in range(1, self._n):
            result = result + self.response(i, j) * z[i]
        return result

    def gram(self, name):
        n = self._n

        def terms(j):
            v = self.get(name, j)
            K = [self.response(i, j) for i in range(n)]
            scaled = [K_i * v for K_i in K]
            return tuple(scaled[i] * K[k] for i in range(n) for k in range(i, n))

        return self.over_bins(terms, ("sum",) * (n * (n + 1) // 2))

    def shared_gram(self, p):
        return self._shared("shared_gram", p)

    def shared_weight(self, j):
        return self._shared("shared_weight", j)

    def given_weight(self, j):
        return self._pixels("given_weight", j)

    def dlogt(self, j):
        return self._shared("dlogt", j)

    def functional(self, q, j):
        return self._shared("functional", f"{q} * {self._m} + {j}")

    # --- storage

    def get(self, name, j):
        return self._new("double", f"{name}[{j}]")

    def put(self, name, j, value):
        self._write(f"{name}[{j}] = {value.value};")

    def sum_of_inner_neighbors(self, name, j):
        """Of the bins j - 2 to j + 2 that are neither the first nor the last of all."""
        result = None
        for offset in range(-2, 3):
            k = self._new("int", f"{j} + {offset}").value
            value = self._new("double", f"{k} > 0 && {k} < {self._m - 1} ? {name}[{k}] : 0.0")
            result = value if result is None else result + value
        return result

    def put_output(self, name, j, value):
        if name in self._plan.outputs:
            self._write(f"{name}[({j}) * n_pixels + pixel] = {value.value};")

    def put_element(self, name, j, k, value):
        self.put_output(name, f"{j} * {self._m} + {k}", value)

    def put_status(self, value):
        self._write(f"bits = (int){value.value};")
        # Those that are solved again, elsewhere, get their answer there.
        self._write(f"if (bits >= {DIFFICULT}) bits = {DIFFICULT};")

    def half_maximum_finder(self):
        """Single precision finds them where rounding cannot change the answer; double precision does elsewhere."""
        finder = self._name("finder")
        tables = (
            "table",
            self.scalar("largest_response").value,
            f"table + {self._offset['fraction']}",
            "response_single",
        )
        self._write("float weight_single[N_BINS];")
        self._write(f"const Columns {finder}({', '.join(tables)}, whole, weight, scratch, weight_single);")

        def find(h):
            first, last = self._variable("double", 0.0), self._variable("double", 0.0)
            values = ", ".join(h_i.value for h_i in h)
            self._write(f"{{ const double h[N_CHANNELS] = {{{values}}}; {finder}.find(h, {first}, {last}); }}")
            return self._symbol(first), self._symbol(last)

        return find

    # --- loops

    def over_bins(self, body, reductions):
        start = {"sum": 0.0, "minimum": float("inf"), "maximum": float("-inf")}
        combine = {"sum": lambda a, b: a + b, "minimum": self.minimum, "maximum": self.maximum}
        results = [self._symbol(self._variable("double", start[how])) for how in reductions]

        def step(j):
            for result, how, value in zip(results, reductions, body(j), strict=True):
                self._write(f"{result.value} = {combine[how](result, value).value};")

        self._loop(self._m, step)
        return tuple(results)

    def each_bin(self, body):
        # Where there are few pixels, several threads share the bins of one.
        self._loop(self._m, body, "blockIdx.y", "gridDim.y")

    def each_functional(self, body):
        self._loop(self._q, body)

    def _loop(self, stop, body, start=0, step=1):
        j = self._name("j")
        self._write(f"#pragma unroll 1\nfor (int {j} = {start}; {j} < {stop}; {j} += {step}) {{")
        body(j)
        self._write("}")

    def iterate(self, body, state, limit, pending=None, given=()):
        names = [self._variable(self._kind(value), value.value) for value in state]
        go_on = self._variable("bool", "true" if pending is None else pending.value)
        turn = self._name("turn")
        self._write(f"#pragma unroll 1\nfor (int {turn} = 0; {turn} < {limit} && {go_on}; ++{turn}) {{")
        # Constants: the next state may hold parts of this one in another order.
        now = [self._new(self._kind(value), name) for value, name in zip(state, names, strict=True)]
        pending, after = body(*given, *now)
        for name, value in zip(names, after, strict=True):
            self._write(f"{name} = {value.value};")
        self._write(f"{go_on} = {pending.value};")
        self._write("}")
        return tuple(self._new(self._kind(value), name) for value, name in zip(state, names, strict=True))

    # --- functions

    def where(self, condition, a, b):
        return self._new("double", f"{condition.value} ? {self._text(a)} : {self._text(b)}")

    def maximum(self, a, b):
        return self.where(a > b, a, b)

    def minimum(self, a, b):
        return self.where(a < b, a, b)

    def abs(self, x):
        return self._new("double", f"fabs({x.value})")

    def sqrt(self, x):
        return self._new("double", f"sqrt({x.value})")

    def exp(self, x):
        return self._new("double", f"exp({x.value})")

    def log(self, x):
        return self._new("double", f"log({x.value})")

    # --- statements

    def _record(self, operator, a, b=None):
        if b is None:
            return self._new("bool", f"!{a.value}")
        kind = "bool" if operator in ("<", "<=", ">", ">=", "&", "|") else "double"
        return self._new(kind, f"{self._text(a)} {operator} {self._text(b)}")

    def _pixels(self, name, i):
        return self._new("double", f"{name}[({i}) * n_pixels + pixel]")

    def _shared(self, name, i):
        """One number of a table."""
        return self._new("double", f"table[{self._offset[name]} + {i}]")

    def _new(self, kind, expression):
        name = self._name("b" if kind == "bool" else "v")
        self._write(f"const {kind} {name} = {expression};")
        return self._symbol(name)

    def _variable(self, kind, value):
        name = self._name("b" if kind == "bool" else "x")
        self._write(f"{kind} {name} = {self._text(value)};")
        return name

    def _kind(self, symbol):
        return "bool" if symbol.value.startswith("b") else "double"

    def _symbol(self, name):
        return Symbol(self._record, name)

    def _name(self, prefix):
        self._n_names += 1
        return f"{prefix}{self._n_names}"

    def _text(self, value):
        if isinstance(value, Symbol):
            return value.value
        return value if isinstance(value, str) else _INFINITIES.get(value) or repr(float(value))

    def _write(self, line):
        self.lines.append(line)
