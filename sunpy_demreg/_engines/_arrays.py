"""A machine whose lane values are arrays (N,), of any library that keeps to the array API: NumPy, CuPy."""

import numpy as np
from array_api_compat import array_namespace, device, is_numpy_namespace

from sunpy_demreg._engines._problem import EPSILON
from sunpy_demreg._engines._tables import FLOAT_TABLES, OUTPUTS, SCALARS, Solution
from sunpy_demreg._engines._text import invert_lanes

__all__ = ["invert_arrays"]

_FAR = 1e300


def invert_arrays(g, sigma, tables, plan, weight=None, *, is_careful=False):
    """
    Run the text on arrays.

    Parameters
    ----------
    g, sigma : array, (n, N)
        Finite, ``sigma > 0``.
    tables : `sunpy_demreg._engines._tables.Tables`
    plan : `sunpy_demreg._engines._problem.Plan`
    weight : array, (m, N), optional
        For the weighting "given".
    is_careful : bool
        Take the singular values of ``A L^-1`` instead of squaring it: for nearly singular systems.

    Returns
    -------
    `Solution`
    """
    machine = _ArrayMachine(g, sigma, tables, plan, weight, is_careful=is_careful)
    # Lanes that are done are computed on beside the others, and those of extreme size come back as failed.
    with np.errstate(all="ignore"):
        invert_lanes(machine, plan)
    return Solution(**{name: machine.outputs.get(name) for name in OUTPUTS}, status=machine.status)


def _rows(array):
    """As nested lists of numbers: Python's, where reading them costs nothing, or arrays without axes."""
    if is_numpy_namespace(array_namespace(array)):
        return array.tolist()
    if array.ndim == 1:
        return [array[i] for i in range(array.shape[0])]
    return [_rows(array[i, :]) for i in range(array.shape[0])]


class _Basis:
    """An orthogonal matrix of each lane, (N, n, n)."""

    def __init__(self, U):
        n = U.shape[1]
        self._U = [[U[:, i, k] for k in range(n)] for i in range(n)]

    def apply(self, x):
        return [_sum([u * x_k for u, x_k in zip(row, x, strict=True)]) for row in self._U]

    def apply_transposed(self, x):
        return [_sum([u * x_i for u, x_i in zip(column, x, strict=True)]) for column in zip(*self._U, strict=True)]


def _sum(values):
    result = values[0]
    for value in values[1:]:
        result = result + value
    return result


class _ArrayMachine:
    """What `sunpy_demreg._engines` lists."""

    def __init__(self, g, sigma, tables, plan, weight, *, is_careful):
        self._xp = xp = array_namespace(g, sigma)
        self.is_careful, self._weight = is_careful, weight
        self._g, self._sigma, self._tables = g, sigma, tables
        self._m, self._q = tables.response.shape[0], tables.functional.shape[0]
        self._rows = {name: _rows(getattr(tables, name)) for name in FLOAT_TABLES}
        self._kind = {"dtype": g.dtype, "device": device(g)}
        self._store = {}
        shapes = Solution.shapes(plan.n_channels, self._m, self._q)
        self.outputs = {name: xp.empty((*shapes[name], g.shape[1]), **self._kind) for name in plan.outputs}

    # --- what is given

    def intensity(self, i):
        return self._g[i, :]

    def sigma(self, i):
        return self._sigma[i, :]

    def given_weight(self, j):
        return self._weight[j, :]

    def scalar(self, name):
        return self._rows["scalars"][SCALARS.index(name)]

    def response(self, i, j):
        return self._rows["response"][j][i]

    def response_pair(self, p, j):
        return self._rows["response_pair"][j][p]

    def shared_gram(self, p):
        return self._rows["shared_gram"][p]

    def shared_weight(self, j):
        return self._rows["shared_weight"][j]

    def dlogt(self, j):
        return self._rows["dlogt"][j]

    def functional(self, q, j):
        return self._rows["functional"][q][j]

    # --- storage

    def get(self, name, j):
        return self._store[name, j]

    def put(self, name, j, value):
        self._store[name, j] = value

    def sum_of_inner_neighbors(self, name, j):
        return _sum([self._store[name, i] for i in range(max(j - 2, 1), min(j + 3, self._m - 1))])

    def put_output(self, name, j, value):
        if name in self.outputs:
            output = self.outputs[name]
            output[(j, ...) if output.ndim > 1 else ...] = value

    def put_element(self, name, j, k, value):
        self.outputs[name][j, k, :] = value

    def put_status(self, value):
        self.status = self._xp.astype(value, self._xp.int32)

    def ends_above(self, name, level):
        xp, tables = self._xp, self._tables
        column = xp.stack([self._store[name, j] for j in range(self._m)])
        lower, upper = (xp.take(column, tables.left + i, axis=0) for i in (0, 1))
        is_above = lower + tables.fraction[:, None] * (upper - lower) >= level
        count = xp.astype(is_above, xp.int8)
        first = xp.take(tables.sample, xp.argmax(count, axis=0))
        last = xp.take(xp.flip(tables.sample), xp.argmax(xp.flip(count, axis=0), axis=0))
        is_any = xp.any(is_above, axis=0)
        return xp.where(is_any, first, _FAR), xp.where(is_any, last, -_FAR)

    # --- loops

    def over_bins(self, body, reductions):
        add, minimum, maximum = (lambda a, b: a + b), self.minimum, self.maximum
        combine = [{"sum": add, "minimum": minimum, "maximum": maximum}[how] for how in reductions]
        results = body(0)
        for j in range(1, self._m):
            results = [f(a, b) for f, a, b in zip(combine, results, body(j), strict=True)]
        return results

    def each_bin(self, body):
        for j in range(self._m):
            body(j)

    def each_functional(self, body):
        for q in range(self._q):
            body(q)

    def iterate(self, body, state, limit, pending=None):
        if pending is None or self._xp.any(pending):
            for _ in range(limit):
                pending, state = body(*state)
                if not self._xp.any(pending):
                    break
        return state

    # --- functions

    def where(self, condition, a, b):
        if isinstance(a, float) and isinstance(b, float):
            a = self._xp.asarray(a, **self._kind)
        return self._xp.where(condition, a, b)

    def maximum(self, a, b):
        return self._xp.maximum(a, b)

    def minimum(self, a, b):
        return self._xp.minimum(a, b)

    def abs(self, x):
        return self._xp.abs(x)

    def sqrt(self, x):
        return self._xp.sqrt(x)

    def exp(self, x):
        return self._xp.exp(x)

    def log(self, x):
        return self._xp.log(x)

    # --- with care

    def diagonalize(self, n, element):
        """``G = U diag(s2) U^T`` from the singular values of ``element(i, j)``: s2, U, and where s2 is not zero."""
        xp, m = self._xp, self._m
        A = xp.stack([xp.stack([element(i, j) for j in range(m)], axis=-1) for i in range(n)], axis=1)  # (N, n, m)
        # A lane of extreme size must not stop the others: as zero it comes to nothing, and is flagged.
        A = xp.where(xp.all(xp.isfinite(A), axis=(1, 2), keepdims=True), A, 0.0)
        U, s, _ = xp.linalg.svd(A, full_matrices=n > m)
        # Directions that no bin can reach: what the data hold there, no DEM can fit.
        rounding = n * EPSILON * s[:, 0]
        zero = xp.zeros_like(s[:, 0])
        s = [xp.where(s[:, i] > rounding, s[:, i], 0.0) if i < min(n, m) else zero for i in range(n)]
        return [s_i * s_i for s_i in s], _Basis(U), [s_i > 0 for s_i in s]
