"""A machine whose lane values are arrays (N,), of any library that keeps to the array API: NumPy, CuPy."""

from copy import copy
from functools import reduce

import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj

from sunpy_demreg._engines.algorithm.invert import invert_lanes
from sunpy_demreg._engines.algorithm.linear_algebra import Basis, Reflections, total
from sunpy_demreg._engines.algorithm.systems import LaneProblem
from sunpy_demreg._engines.arrays.operations import contract, contract_in_order, sum_in_order, sum_of_rows, with_lanes
from sunpy_demreg._engines.arrays.singular_values import orthogonalize
from sunpy_demreg._engines.arrays.widths import widths_finder
from sunpy_demreg._engines.base.options import OUTPUTS
from sunpy_demreg._engines.base.solution import Solution
from sunpy_demreg._engines.base.tables import SCALARS

__all__ = ["invert_arrays"]


def invert_arrays(g, sigma, tables, plan, weight=None, *, is_careful=False):
    """
    Run the algorithm on arrays.

    Parameters
    ----------
    g, sigma : array, (n, N)
        Finite, ``sigma > 0``.
    tables : `sunpy_demreg._engines.base.tables.Tables`
    plan : `sunpy_demreg._engines.base.options.Plan`
    weight : array, (m, N), optional
        For the weighting "given".
    is_careful : bool
        Take the singular values of ``A L^-1`` instead of squaring it: for nearly singular systems.

    Returns
    -------
    `Solution`
    """
    machine = _ArrayMachine(g, sigma, tables, plan, weight, is_careful=is_careful)
    # Finished lanes are still computed along with the others, and those of extreme size come back as failed.
    with np.errstate(all="ignore"):
        invert_lanes(machine, plan)
    return Solution(**dict.fromkeys(OUTPUTS) | machine.outputs, status=machine.status)


_LEAST_POWER, _MOST_POWER = -1022, 1023  # of two
_FEW_BINS = 8  # at a time, where a body makes many values of each


class _ArrayMachine:
    """
    What `sunpy_demreg._engines` lists.

    The body of a loop over bins gets a slice as j, and works on arrays (bins, N); but for `each_bins`, where j is a
    number.
    """

    is_split = False

    def __init__(self, g, sigma, tables, plan, weight, *, is_careful):
        self._xp = xp = array_namespace(g, sigma)
        self.is_careful, self._weight = is_careful, weight
        # With care, to the last bit what compiled code does.
        self._contract, self._sum = (contract_in_order, sum_in_order) if is_careful else (contract, sum_of_rows)
        self._g, self._sigma, self._tables = g, sigma, tables
        self._m, self._q = tables.response.shape[0], tables.functional.shape[0]
        self._kind = {"dtype": g.dtype, "device": device(g)}
        self._store, self._powers = {}, None
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
        return self._product(self._tables.response, z, j)

    def _product(self, table, z, j):
        if isinstance(j, slice):
            return self._contract(self._xp.permute_dims(table[j, :], (1, 0)), self._xp.stack(z))
        if id(z) not in self._stacks:  # the same few lists for each bin
            self._stacks[id(z)] = z, self._xp.stack(z)
        return self._contract(table[j, :, None], self._stacks[id(z)][1])[0, :]

    def gram(self, name):
        sums = self._contract(self._tables.response_pair, self._store[name])
        return [sums[p, :] for p in range(sums.shape[0])]

    def project_prior(self, a, j):
        """As `project`, of the prior in place of the response."""
        return self._product(self._tables.prior, a, j)

    def prior(self, r, j):
        return self._column(self._tables.prior[:, r], j)

    def prior_gram(self, name):
        sums = self._contract(self._tables.response_prior, self._store[name])
        n = self._g.shape[0]
        rank = sums.shape[0] // n
        return [[sums[i * rank + r, :] for r in range(rank)] for i in range(n)]

    def start_projection(self, name):
        sums = self._contract(self._tables.to_prior, self._store[name])
        return [sums[r, :] for r in range(sums.shape[0])]

    def mean(self, name, j):
        xp, mean, start = self._xp, self._tables.mean, self._tables.mean_start
        terms = (xp.take(self._store[name], start + k, axis=0) * mean[:, k, None] for k in range(mean.shape[1]))
        return sum(terms, next(terms))[j, :]

    def shared_gram(self, p):
        return self._tables.shared_gram[p]

    def shared_weight(self, j):
        return self._column(self._tables.shared_weight, j)

    def dlogt(self, j):
        return self._column(self._tables.dlogt, j)

    def dem_per_unknown(self, j):
        return self._column(self._tables.dem_per_unknown, j)

    def place(self, j):
        return self._column(self._tables.place, j)

    def functional(self, q, j):
        return self._column(self._tables.functional[q, :], j)

    def _column(self, table, j):
        return table[j, None] if isinstance(j, slice) else table[j]

    # --- storage

    def get(self, name, j):
        return self._store[name][j, :]

    def put(self, name, j, value):
        if j == slice(0, self._m):
            self._store[name] = value
            return
        if name not in self._store:
            self._store[name] = self._xp.empty((self._m, self._g.shape[1]), **self._kind)
        self._store[name][j, :] = value

    def inner_neighbors(self):
        xp, m = self._xp, self._m
        zeros = xp.zeros((3, self._g.shape[1]), **self._kind)
        padded = xp.concat([zeros, self._store["scratch"][1 : m - 1, :], zeros])
        return lambda j: total([padded[i : i + m, :] for i in range(5)])

    def put_output(self, name, j, value):
        if name in self.outputs:
            output = self.outputs[name]
            output[(j, ...) if output.ndim > 1 else ...] = value

    def put_element(self, name, j, k, value):
        self.outputs[name][j, k, :] = value

    def put_status(self, value):
        self.status = self._xp.astype(value, self._xp.int32)

    def half_maximum_finder(self):
        tables, weight = self._tables, self._store["weight"]
        if tables.prior is not None:
            return widths_finder(tables, tables.prior, weight, self.scalar("largest_prior"))
        return widths_finder(tables, tables.response, weight, self.scalar("largest_response"))

    # --- loops

    def over_bins(self, body, reductions):
        combine = {"sum": self._sum, "minimum": self._least, "maximum": self._largest}
        # Of a body of many values, a few bins at a time stay in the cache.
        step = self._m if len(reductions) < 2 else _FEW_BINS
        if self.is_careful:  # the sums of parts would be in another order
            step = self._m
        slices = [slice(j, min(j + step, self._m)) for j in range(0, self._m, step)]
        parts = [[combine[how](value) for how, value in zip(reductions, body(j), strict=True)] for j in slices]
        return [
            combine[how](self._xp.stack(part)) if len(part) > 1 else part[0]
            for how, part in zip(reductions, zip(*parts, strict=True), strict=True)
        ]

    def any_negative(self, body):
        return self.over_bins(lambda j: (body(j),), ("minimum",))[0] < 0.0

    def _least(self, value):
        return self._xp.min(value, axis=0) if not self.is_careful else reduce(self.minimum, self._rows(value))

    def _largest(self, value):
        return self._xp.max(value, axis=0) if not self.is_careful else reduce(self.maximum, self._rows(value))

    def _rows(self, value):
        return [value[j, :] for j in range(value.shape[0])]

    def carry_over_bins(self, body, state):
        for j in range(self._m):
            state = body(j, *state)
        return state

    def each_bins(self, body):
        self._stacks = {}
        for j in range(self._m):
            body(j)

    def each_functional(self, body):
        for q in range(self._q):
            body(q)

    def iterate(self, body, state, limit, pending=None, given=()):
        xp = self._xp
        for turn in range(limit):
            if pending is not None:
                n_pending = int(xp.count_nonzero(pending))
                if n_pending == 0:
                    break
                if given and n_pending <= pending.shape[0] // 2:  # the others continue without them
                    lanes = xp.nonzero(pending)[0]
                    some, still_pending, given = (self._at(lanes, value) for value in (state, pending, given))
                    some = self.iterate(body, some, limit - turn, still_pending, given)
                    return tuple(with_lanes(xp, a, pending, b) for a, b in zip(state, some, strict=True))
            pending, state = body(*given, *state)
        return state

    def _at(self, lanes, value):
        """The given lanes of an array, or of a structure of arrays."""
        if isinstance(value, list | tuple):
            values = [self._at(lanes, v) for v in value]
            return type(value)(*values) if hasattr(value, "_fields") else type(value)(values)
        if isinstance(value, dict):
            return {name: self._at(lanes, v) for name, v in value.items()}
        if isinstance(value, _ArrayMachine):
            part = copy(value)
            names = ("_g", "_sigma", "_weight", "_store")
            vars(part).update((name, self._at(lanes, getattr(value, name))) for name in names)
            return part
        if isinstance(value, LaneProblem | Reflections | Basis):
            part = copy(value)
            vars(part).update(self._at(lanes, vars(value)))
            return part
        return self._xp.take(value, lanes, axis=value.ndim - 1) if is_array_api_obj(value) else value

    # --- functions

    def where(self, condition, a, b):
        if isinstance(a, float) and isinstance(b, float):
            a = self._xp.asarray(a, **self._kind)
        return self._xp.where(condition, a, b)

    def maximum(self, a, b):
        # That of a library differs from the comparison of compiled code in what is not a number.
        return self.where(a > b, a, b) if self.is_careful else self._xp.maximum(a, b)

    def minimum(self, a, b):
        return self.where(a < b, a, b) if self.is_careful else self._xp.minimum(a, b)

    def abs(self, x):
        return self._xp.abs(x)

    def sqrt(self, x):
        return self._xp.sqrt(x)

    def round(self, x):
        return self._xp.round(x)

    def power_of_two(self, k):
        xp = self._xp
        if self._powers is None:
            self._powers = xp.asarray([2.0**i for i in range(_LEAST_POWER, _MOST_POWER + 1)], **self._kind)
        # An index, even of what is not a number.
        k = xp.clip(xp.where(k == k, k, 0.0), float(_LEAST_POWER), float(_MOST_POWER))
        return xp.reshape(xp.take(self._powers, xp.astype(xp.reshape(k, (-1,)), xp.int64) - _LEAST_POWER), k.shape)

    def split(self, x):
        # The logarithm of a library may be off by one where x is next to a power of two.
        exponent = self._xp.floor(self._xp.log2(x))
        mantissa = x * self.power_of_two(-exponent)
        exponent = exponent + self.where(mantissa >= 2.0, 1.0, 0.0) - self.where(mantissa < 1.0, 1.0, 0.0)
        return x * self.power_of_two(-exponent), exponent

    def exp(self, x):
        return self._xp.exp(x)

    def log(self, x):
        return self._xp.log(x)

    # --- with care

    def orthogonalize(self, columns):
        return orthogonalize(self, columns)
