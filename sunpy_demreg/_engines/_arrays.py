"""A machine whose lane values are arrays (N,), of any library that keeps to the array API: NumPy, CuPy."""

import numpy as np
from array_api_compat import array_namespace, device, is_numpy_namespace

from sunpy_demreg._engines._problem import EPSILON
from sunpy_demreg._engines._tables import N_SAMPLES, OUTPUTS, SCALARS, Solution
from sunpy_demreg._engines._text import invert_lanes

__all__ = ["invert_arrays", "with_lanes"]


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
    n_lanes = g.shape[1]
    if n_lanes == 1:  # einsum takes the terms of a lone lane in another order
        xp = array_namespace(g)
        g, sigma = (xp.concat([a, a], axis=1) for a in (g, sigma))
        weight = None if weight is None else xp.concat([weight, weight], axis=1)
    machine = _ArrayMachine(g, sigma, tables, plan, weight, is_careful=is_careful)
    # Lanes that are done are computed on beside the others, and those of extreme size come back as failed.
    with np.errstate(all="ignore"):
        invert_lanes(machine, plan)
    outputs = dict.fromkeys(OUTPUTS) | {name: a[..., :n_lanes] for name, a in machine.outputs.items()}
    return Solution(**outputs, status=machine.status[:n_lanes])


_ALL = slice(None)  # the bin j of a body that is run for all bins at once


def with_lanes(xp, array, chosen, values):
    """A copy of `array` whose chosen lanes have the given values."""
    position = xp.cumulative_sum(xp.astype(chosen, xp.int64)) - 1
    spread = xp.take(values, xp.where(chosen, position, 0), axis=values.ndim - 1)
    return xp.where(chosen, spread, array)


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


def _sum_of_rows(a):
    """
    Over the first axis: the first half of the rows plus the second, and so on.

    In an order of our own: that of a library may depend on how many lanes there are.
    """
    odd = []
    while a.shape[0] > 1:
        half = a.shape[0] // 2
        if a.shape[0] % 2:
            odd.append(a[2 * half, :])
        a = a[:half, :] + a[half : 2 * half, :]
    return _sum([a[0, :], *odd])


def _contract(a, b):
    """``sum_k a[k, i] b[k, lane]``, in an order that does not depend on the lanes: (K, I), (K, N) -> (I, N)."""
    if is_numpy_namespace(array_namespace(b)):
        return np.einsum("ki,kn->in", a, b)  # without BLAS, whose order may
    result = a[0, :, None] * b[0, None, :]
    for k in range(1, a.shape[0]):
        result = result + a[k, :, None] * b[k, None, :]
    return result


class _ArrayMachine:
    """
    What `sunpy_demreg._engines` lists.

    The body of a loop over bins runs once, on arrays (m, N); but for `each_bin`, where j is a number.
    """

    def __init__(self, g, sigma, tables, plan, weight, *, is_careful):
        self._xp = xp = array_namespace(g, sigma)
        self.is_careful, self._weight = is_careful, weight
        self._g, self._sigma, self._tables = g, sigma, tables
        self._m, self._q = tables.response.shape[0], tables.functional.shape[0]
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
        return self._tables.scalars[SCALARS.index(name)]

    def response(self, i, j):
        return self._column(self._tables.response[:, i], j)

    def project(self, z, j):
        z = self._xp.stack(z)
        if j is not _ALL:
            return _contract(self._tables.response[j, :, None], z)[0, :]
        return _contract(self._xp.permute_dims(self._tables.response, (1, 0)), z)

    def gram(self, name):
        shape = self._m, self._g.shape[1]
        sums = _contract(self._tables.response_pair, self._xp.broadcast_to(self._store[name], shape))
        return [sums[p, :] for p in range(sums.shape[0])]

    def shared_gram(self, p):
        return self._tables.shared_gram[p]

    def shared_weight(self, j):
        return self._column(self._tables.shared_weight, j)

    def dlogt(self, j):
        return self._column(self._tables.dlogt, j)

    def functional(self, q, j):
        return self._column(self._tables.functional[q, :], j)

    def _column(self, table, j):
        return table[:, None] if j is _ALL else table[j]

    # --- storage

    def get(self, name, j):
        return self._store[name][j, :]

    def put(self, name, j, value):
        self._store[name] = value

    def sum_of_inner_neighbors(self, name, j):
        xp, m = self._xp, self._m
        zeros = xp.zeros((3, self._g.shape[1]), **self._kind)
        padded = xp.concat([zeros, self._store[name][1 : m - 1, :], zeros])
        return _sum([padded[i : i + m, :] for i in range(5)])

    def put_output(self, name, j, value):
        if name in self.outputs:
            output = self.outputs[name]
            output[(j, ...) if output.ndim > 1 else ...] = value

    def put_element(self, name, j, k, value):
        self.outputs[name][j, k, :] = value

    def put_status(self, value):
        self.status = self._xp.astype(value, self._xp.int32)

    def half_maximum_finder(self):
        def find(h):
            column = self._store["weight"] * self.project(h, _ALL)
            return self._ends_above(column, 0.5 * self._largest(column))

        return find

    def _ends_above(self, column, level):
        """From the first and the last bin that are above, sample by sample until the line between bins is."""
        xp = self._xp
        is_above = column >= level
        number = xp.arange(self._m, dtype=xp.int16, device=device(column))[:, None]
        first = xp.min(xp.where(is_above, number, self._m), axis=0)
        last = xp.max(xp.where(is_above, number, -1), axis=0)
        is_any = last >= 0
        lanes = xp.arange(is_any.shape[0], device=device(column))
        values, tables = xp.reshape(column, (-1,)), self._tables
        first = xp.take(tables.first_sample, xp.where(is_any, first, 0))
        last = xp.take(tables.last_sample, xp.where(is_any, last, 0))
        first, last = (self._end_above(values, level, lanes, s, step) for s, step in ((first, 1), (last, -1)))
        return first, xp.where(is_any, last, -1.0)

    def _end_above(self, values, level, lanes, s, step):
        xp, tables, n_lanes = self._xp, self._tables, self._g.shape[1]
        position = xp.take(tables.left, s) * n_lanes + lanes
        lower, upper = xp.take(values, position), xp.take(values, position + n_lanes)
        is_above = lower + xp.take(tables.fraction, s) * (upper - lower) >= level
        found = xp.where(is_above, xp.astype(s, level.dtype), -1.0 if step < 0 else float(N_SAMPLES))
        is_pending = ~is_above & (s != (N_SAMPLES - 1 if step > 0 else 0))
        if xp.any(is_pending):  # the few lanes left go on
            chosen = xp.nonzero(is_pending)[0]
            rest = (xp.take(a, chosen) for a in (level, lanes, s + step))
            found = with_lanes(xp, found, is_pending, self._end_above(values, *rest, step))
        return found

    # --- loops

    def over_bins(self, body, reductions):
        reduce = {"sum": _sum_of_rows, "minimum": self._least, "maximum": self._largest}
        return [reduce[how](value) for how, value in zip(reductions, body(_ALL), strict=True)]

    def _least(self, value):
        return self._xp.min(value, axis=0)

    def _largest(self, value):
        return self._xp.max(value, axis=0)

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
        A = xp.permute_dims(xp.stack([element(i, _ALL) for i in range(n)]), (2, 0, 1))  # (N, n, m)
        # A lane of extreme size must not stop the others: as zero it comes to nothing, and is flagged.
        A = xp.where(xp.all(xp.isfinite(A), axis=(1, 2), keepdims=True), A, 0.0)
        U, s, _ = xp.linalg.svd(A, full_matrices=n > m)
        # Directions that no bin can reach: what the data hold there, no DEM can fit.
        rounding = n * EPSILON * s[:, 0]
        zero = xp.zeros_like(s[:, 0])
        s = [xp.where(s[:, i] > rounding, s[:, i], 0.0) if i < min(n, m) else zero for i in range(n)]
        return [s_i * s_i for s_i in s], _Basis(U), [s_i > 0 for s_i in s]
