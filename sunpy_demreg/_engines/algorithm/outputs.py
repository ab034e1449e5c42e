"""
The outputs, at the lam that was chosen: the DEM, what it predicts, its errors, its resolution.

What is solved for may be the emission measure per dex; the outputs are those of the DEM all the same, but for the
temperature resolution, which is the width of the kernel of what is solved for.

Symbols as in `sunpy_demreg._engines.algorithm.invert`. The weight v of the bins is in the storage "weight" of the
machine. Errors and resolution are those of the linear map ``K^dagger = v A^T (G + lam)^-1`` from d to xi.
"""

from typing import NamedTuple

from sunpy_demreg._engines.algorithm.linear_algebra import dot
from sunpy_demreg._engines.algorithm.resolved import put_resolved

__all__ = ["put_answer", "put_each_bin"]

#: The outputs that need the inverse of ``G + lam``.
_OF_THE_OPERATOR = {
    "dem_uncertainty",
    "temperature_resolution",
    "emission_measure_uncertainty",
    "is_resolved",
    "covariance",
    "resolution_matrix",
}


class _Answer(NamedTuple):
    """What the status is derived from."""

    misfit: object  # of the DEM
    size: object  # of the terms that cancel in it; with care only
    expected_misfit: object  # the one that lam implies
    least: object  # DEM of any bin


def put_answer(problem, system, lam):
    """Store all outputs but the status."""
    M, n, outputs, w = problem.M, problem.n, problem.plan.outputs, problem.inverse_sigma
    x = system.solution_in_reach(M, lam)
    z = problem.dual(x)
    operator = None
    if problem.plan.resolved_only or _OF_THE_OPERATOR.intersection(outputs):
        operator = (_SplitOperator if M.is_split else _Operator)(problem, system.inverse(M, lam))

    def put_bin(j):
        v = M.get("weight", j)
        # A bin that is held at zero must not become minus zero.
        unknown = M.where(v > 0.0, v * M.project(z, j), 0.0)
        M.put_output("dem", j, unknown * _dem_per_unknown(problem, j))
        terms = [M.response(i, j) * unknown for i in range(n)]
        return unknown, *terms, *(M.abs(term) for term in terms if M.is_careful)

    least, *sums = M.over_bins(put_bin, ("minimum", *("sum",) * (2 * n if M.is_careful else n)))
    predicted, size = sums[:n], None
    if M.is_careful:
        sizes = [
            (M.abs(g_i) + s_i) * w_i for g_i, s_i, w_i in zip(problem.g, sums[n:], problem.inverse_sigma, strict=True)
        ]
        size = dot(sizes, sizes)
    residual = [(g_i - p_i) * w_i for g_i, p_i, w_i in zip(problem.g, predicted, w, strict=True)]
    misfit = dot(residual, residual)
    for i in range(n):
        M.put_output("predicted_intensity", i, predicted[i])
    M.put_output("chi_squared", 0, misfit * (1.0 / n))
    M.put_output("regularization_parameter", 0, lam)
    if problem.plan.tells_resolved:
        put_resolved(
            problem,
            lambda j: M.get("weight", j) * M.project(z, j),
            lambda j: operator.row_and_dual(lambda o_i: M.project(o_i, j))[1],
        )
    if "emission_measure" in outputs:
        _put_emission_measures(problem, z, operator)
    if operator:
        _put_errors(problem, operator)
    full = system.solution(lam)
    return _Answer(misfit, size, lam * lam * dot(full, full), least)


def _put_emission_measures(problem, z, operator):
    """
    The functionals ``f . xi`` and their errors ``|K^daggerT f|``: no covariance is needed for that.

    Both follow from the n sums ``h = sum f v K``: ``f . xi = h . z``, and ``K^daggerT f = (G + lam)^-1 h / sigma``.
    Where bins that are not resolved are left out, "scratch" holds which ones are.
    """
    M, resolved_only = problem.M, problem.plan.resolved_only

    def put_functional(q):
        def terms(j):
            weighted = M.functional(q, j) * M.get("weight", j)
            if resolved_only:
                weighted = weighted * M.get("scratch", j)
            return tuple(M.response(i, j) * weighted for i in range(problem.n))

        h = M.over_bins(terms, ("sum",) * problem.n)
        M.put_output("emission_measure", q, dot(h, z) * M.scalar("scale"))
        if "emission_measure_uncertainty" in problem.plan.outputs:
            error = operator.row(lambda o_i: dot(o_i, h))
            M.put_output("emission_measure_uncertainty", q, M.sqrt(dot(error, error)) * M.scalar("scale"))

    M.each_functional(put_functional)


def _dem_per_unknown(problem, j):
    """In the unit of the result. The solver's own differs from it by the scale of the response."""
    M = problem.M
    return M.scalar("scale") if problem.plan.solve_for == "dem" else M.scalar("scale") * M.dem_per_unknown(j)


class _Operator:
    """``O = (G + lam)^-1 / sigma``: row j of ``K^dagger``, without v, is ``O K_j``."""

    def __init__(self, problem, inverse):
        self._w = problem.inverse_sigma
        self._rows = [[w_k * x_k for x_k, w_k in zip(row, self._w, strict=True)] for row in inverse]

    def row(self, product):
        """``product(o_i)`` for each row o_i of O."""
        return [product(o_i) for o_i in self._rows]

    def row_and_dual(self, product):
        """The same row, and ``h = row / sigma``, what the columns of K multiply."""
        row = self.row(product)
        return row, [w_i * r_i for w_i, r_i in zip(self._w, row, strict=True)]


class _SplitOperator:
    """The same by the symmetric ``S = (G + lam)^-1 / (sigma sigma^T)``, half as many numbers: ``h = S K_j``."""

    def __init__(self, problem, inverse):
        self._M, n, w = problem.M, problem.n, problem.inverse_sigma
        upper = {(i, k): w[i] * w[k] * inverse[i][k] for i in range(n) for k in range(i, n)}
        self._rows = [[upper[min(i, k), max(i, k)] for k in range(n)] for i in range(n)]

    def row(self, product):
        return self.row_and_dual(product)[0]

    def row_and_dual(self, product):
        dual = [product(s_i) for s_i in self._rows]
        return [self._M.sigma(i) * h_i for i, h_i in enumerate(dual)], dual


def _put_errors(problem, operator):
    """
    What follows from each row of ``K^dagger``, without v: the errors of a bin, and the spread of its DEM.

    The noise has the covariance ``K^dagger K^daggerT``. Column k of the resolution matrix ``R = K^dagger A`` is the DEM
    that the data of a unit DEM in bin k alone give; both matrices are only stored where they are asked for.
    """
    M, outputs = problem.M, problem.plan.outputs
    is_of_em = problem.plan.solve_for == "emission_measure"
    find_half_maxima = M.half_maximum_finder() if "temperature_resolution" in outputs else None

    def at(j):
        return lambda o_i: M.project(o_i, j)

    def put_column(name, k, element):
        def put_element(j):
            weight = M.get("weight", j) * M.dem_per_unknown(j) if is_of_em else M.get("weight", j)
            M.put_element(name, j, k, weight * element(j))
            return ()

        M.over_bins(put_element, ())

    def put_bin(k):
        """Store all but the width; return what the column is computed from."""
        (row_k, h), v = operator.row_and_dual(at(k)), M.get("weight", k)
        if "dem_uncertainty" in outputs:
            M.put_output("dem_uncertainty", k, v * M.sqrt(dot(row_k, row_k)) * _dem_per_unknown(problem, k))
        if "covariance" in outputs:
            factor = v * (M.scalar("scale") * _dem_per_unknown(problem, k))
            put_column("covariance", k, lambda j: dot(operator.row(at(j)), row_k) * factor)
        if "resolution_matrix" in outputs:
            # Of what is solved for, times the ratio of the two units.
            if is_of_em:
                put_column("resolution_matrix", k, lambda j: M.project(h, j) / M.dem_per_unknown(k))
            else:
                put_column("resolution_matrix", k, lambda j: M.project(h, j))
        return h

    put_each_bin(M, put_bin, find_half_maxima)


def put_each_bin(M, put_bin, find_half_maxima):
    """Store what ``put_bin(k)`` stores, and the widths of the columns that it returns, if there is what finds them."""

    def put_bins(*bins):
        columns = [put_bin(k) for k in bins]
        if find_half_maxima is not None:
            for k, (first, last) in zip(bins, find_half_maxima(*columns), strict=True):
                M.put_output("temperature_resolution", k, _width(M, k, first, last))

    M.each_bins(put_bins)


def _width(M, k, first, last):
    """
    The full width at half maximum, in dex, of a column of the resolution matrix.

    As in the reference, the column is sampled at 51 temperatures by linear interpolation, and the width is the distance
    from the first to the last sample of at least half its maximum; twice the bin's width where there is none. Unlike
    there, it is the bin's width where there is one only, not zero.
    """
    width = M.where(last > first, (last - first) * M.scalar("sample_width"), M.dlogt(k))
    return M.where(last >= 0.0, width, 2.0 * M.dlogt(k))
