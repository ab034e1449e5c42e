"""A machine whose lane values are variables of CUDA C++: running the algorithm writes one statement per operation."""

import re

import numpy as np

from sunpy_demreg._engines.algorithm.invert import DIFFICULT
from sunpy_demreg._engines.algorithm.linear_algebra import total
from sunpy_demreg._engines.base.prior import RANK
from sunpy_demreg._engines.base.symbols import Symbol
from sunpy_demreg._engines.base.tables import N_SAMPLES, SCALARS
from sunpy_demreg._engines.gpu.prior import PriorOperations

__all__ = ["CudaMachine", "Part"]

_INFINITIES = {float("inf"): "INFINITE", float("-inf"): "-INFINITE"}
_UNROLLED = 4  # turns of a loop over bins


class Part:
    """The statements of a kernel, and the outputs that it writes."""

    def __init__(self):
        self.lines, self.outputs = [], []

    def unknown_names(self):
        """The names of variables that are used here and defined elsewhere."""
        text = "\n".join(self.lines)
        known = set(re.findall(r"\b(?:double|bool|int) ([a-z]\d+) =", text))
        return [name for name in dict.fromkeys(re.findall(r"\b[a-z]\d+\b", text)) if name not in known]


class CudaMachine(PriorOperations):
    """
    What `sunpy_demreg._engines` lists. An index is a Python int, or the name of an integer variable.

    It writes two parts: what is inside `each_bins` is a kernel of its own. One needs many registers, the other little
    memory: separately, both are faster. The weights, and the variables in ``live``, are passed from one to the other
    through the memory of the device.

    Parameters
    ----------
    plan, n_bins, n_functionals, n_neighbors
        As of `sunpy_demreg._engines.gpu.kernels.make_kernels`.
    packed : sequence of `str`
        The tables in the shared memory, in this order.
    n_at_once : int
        Bins that `each_bins` takes at once.
    """

    is_careful, is_split = False, True

    def __init__(self, plan, n_bins, n_functionals, n_neighbors, packed, n_at_once):
        self.solve, self.errors, self.live = Part(), Part(), []
        self._part, self._n_at_once = self.solve, n_at_once
        self._plan, self._n, self.n_bins, self.n_functionals = plan, plan.n_channels, n_bins, n_functionals
        self.n_neighbors = n_neighbors
        n, m = self._n, self.n_bins
        # What the columns of the resolution matrix are made of: the response, or the prior.
        self.n_terms, columns = (RANK, "prior") if plan.method == "lognormal" else (n, "response")
        sizes = {
            "response": m * n,
            "shared_gram": n * (n + 1) // 2,
            "functional": n_functionals * m,
            "fraction": N_SAMPLES,
            "scalars": len(SCALARS),
            "prior": m * RANK,
            "to_prior": m * RANK,
            "mean": m * n_neighbors,
            "largest": self.n_terms,
        }
        sizes = [sizes.get(name, m) for name in packed]
        self.offset = dict(zip(packed, np.cumsum([0, *sizes[:-1]]).tolist(), strict=True))
        self.offset_of_columns = self.offset[columns]
        self.n_doubles = sum(sizes)
        n_short = self.n_terms * m + N_SAMPLES + (3 if columns == "prior" else 2) * m
        self.n_packed = self.n_doubles + (n_short + 1) // 2
        self._n_names = 0

    @property
    def _is_fast(self):
        """
        Whether quotients and roots may omit cases that hardly ever occur; a pixel where they do is marked as difficult.

        The eigenvalues of the other rules are found where a pivot is zero: there, a division by it is no accident.
        """
        return self._plan.parameter_choice in ("discrepancy", "prior")

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

    def dem_per_unknown(self, j):
        return self._shared("dem_per_unknown", j)

    def place(self, j):
        return self._shared("place", j)

    def functional(self, q, j):
        return self._shared("functional", f"{q} * {self.n_bins} + {j}")

    # --- storage

    def get(self, name, j):
        return self._new("double", self._stored(name, j))

    def put(self, name, j, value):
        self._write(f"{self._stored(name, j)} = {value.value};")

    def _stored(self, name, j):
        return f"weights[({j}) * n_lanes + lane]" if name == "weight" else f"{name}[{j}]"

    def inner_neighbors(self):
        # The storage goes on for two bins at both ends. With zeros there, no bin needs a case of its own.
        for j in (-2, -1, 0, self.n_bins - 1, self.n_bins, self.n_bins + 1):
            self._write(f"scratch[{j}] = 0.0;")
        return lambda j: total([self.get("scratch", f"{j} + {offset}") for offset in range(-2, 3)])

    def put_output(self, name, j, value):
        if name in self._plan.outputs:
            if name not in self._part.outputs:
                self._part.outputs.append(name)
            self._write(f"{name}[({j}) * n_pixels + pixel] = {value.value};")
            if self._plan.dtype == "float32":
                self._write(
                    f"is_broken |= !fits_single({value.value}, {'true' if name == 'chi_squared' else 'false'});"
                )

    def put_element(self, name, j, k, value):
        self.put_output(name, f"{j} * {self.n_bins} + {k}", value)

    def put_status(self, value):
        self._write(f"bits = (int){value.value};")
        # Pixels that are solved again elsewhere get their answer there.
        self._write(f"if (is_broken || bits >= {DIFFICULT}) bits = {DIFFICULT};")

    def half_maximum_finder(self):
        def find(*columns):
            name = self._name("ends")
            rows = ", ".join("{" + ", ".join(h_i.value for h_i in h) + "}" for h in columns)
            self._write(f"const double of_{name}[AT_ONCE][N_TERMS] = {{{rows}}};")
            self._write(f"double {name}[AT_ONCE][2];")
            self._write(f"columns.find(of_{name}, {name});")
            return [[self._symbol(f"{name}[{q}][{end}]") for end in (0, 1)] for q in range(len(columns))]

        return find

    # --- loops

    def over_bins(self, body, reductions):
        start = {"sum": 0.0, "minimum": float("inf"), "maximum": float("-inf")}
        combine = {"sum": lambda a, b: a + b, "minimum": self.minimum, "maximum": self.maximum}
        results = [self._symbol(self._variable("double", start[how])) for how in reductions]

        def step(j):
            for result, how, value in zip(results, reductions, body(j), strict=True):
                self._write(f"{result.value} = {combine[how](result, value).value};")

        self._loop(self.n_bins, step)
        return tuple(results)

    def any_negative(self, body):
        """A few bins at a time, from the last one down, as the hottest are negative most often; until there is one."""
        found, top, j = self._variable("bool", "false"), self._name("top"), self._name("j")
        self._write(
            f"#pragma unroll 1\nfor (int {top} = {self.n_bins - 1}; {top} >= 0 && !{found}; {top} -= {_UNROLLED})"
        )
        self._write(f"#pragma unroll\nfor (int {j} = {top}; {j} > {top} - {_UNROLLED}; --{j}) {{")
        bin_ = self._new("int", f"{j} > 0 ? {j} : 0").value
        self._write(f"{found} |= {(body(bin_) < 0.0).value};")
        self._write("}")
        return self._symbol(found)

    def each_bins(self, body):
        self._part = self.errors
        j, stride = self._name("j"), -(-self.n_bins // self._n_at_once)
        # The bins of a thread are far apart, so that those of neighboring threads in a warp are neighbors.
        self._write(f"#pragma unroll 1\nfor (int {j} = my_bin; {j} < {stride}; {j} += bins_apart) {{")
        others = (f"{j} + {c * stride}" for c in range(1, self._n_at_once))
        body(j, *(self._new("int", f"{k} < {self.n_bins} ? {k} : {self.n_bins - 1}").value for k in others))
        self._write("}")
        self._part, self.live = self.solve, self.errors.unknown_names()
        for i, name in enumerate(self.live):
            self._write(f"live[{i} * n_lanes + lane] = {name};")

    def each_functional(self, body):
        self._loop(self.n_functionals, body, 1)

    def _loop(self, stop, body, unrolled=None):
        j = self._name("j")
        self._write(f"#pragma unroll {unrolled or _UNROLLED}\nfor (int {j} = 0; {j} < {stop}; ++{j}) {{")
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
        return self._new("double", f"root({x.value}, is_broken)" if self._is_fast else f"sqrt({x.value})")

    def exp(self, x):
        return self._new("double", f"exp({x.value})")

    def log(self, x):
        return self._new("double", f"log({x.value})")

    # --- statements

    def _record(self, operator, a, b=None):
        if b is None:
            return self._new("bool", f"!{a.value}")
        if operator == "/" and self._is_fast:
            return self._new("double", f"{self._text(a)} * reciprocal({self._text(b)}, is_broken)")
        kind = "bool" if operator in ("<", "<=", ">", ">=", "&", "|") else "double"
        return self._new(kind, f"{self._text(a)} {operator} {self._text(b)}")

    def _pixels(self, name, i):
        return self._new("double", f"{name}[({i}) * n_pixels + pixel]")

    def _shared(self, name, i):
        """One number of a table."""
        return self._new("double", f"table[{self.offset[name]} + {i}]")

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
        self._part.lines.append(line)
