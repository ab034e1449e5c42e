"""
The outputs, at the lam that was chosen: the DEM, what it predicts, its errors, its resolution.

Symbols as in `sunpy_demreg._engines._text`. The weight v of the bins is in the storage "weight" of the machine. Errors
and resolution are those of the linear map ``K^dagger = v A^T (G + lam)^-1`` from d to xi.
"""

from typing import NamedTuple

from sunpy_demreg._engines._lanes import dot

__all__ = ["put_answer"]

_FAR = 1e299

#: The outputs that need the inverse of ``G + lam``.
_OF_THE_OPERATOR = {
    "dem_uncertainty",
    "temperature_resolution",
    "emission_measure_uncertainty",
    "covariance",
    "resolution_matrix",
}


class _Answer(NamedTuple):
    """What the status is made of."""

    misfit: object  # of the DEM
    expected_misfit: object  # of lam
    least: object  # bin of the DEM


def put_answer(problem, system, lam):
    """Put all outputs but the status."""
    M, n, outputs, w = problem.M, problem.n, problem.plan.outputs, problem.inverse_sigma
    x = system.solution_in_reach(M, lam)
    z = problem.dual(x)
    operator = None
    if _OF_THE_OPERATOR.intersection(outputs):
        operator = [[w_k * x_k for x_k, w_k in zip(row, w, strict=True)] for row in system.inverse(M, lam)]

    def row(j):
        """Of ``K^dagger``, without v."""
        return [M.project(o_i, j) for o_i in operator]

    def put_bin(j):
        v = M.get("weight", j)
        # A bin that is held at zero is zero, and not minus zero.
        dem = M.where(v > 0.0, v * M.project(z, j), 0.0)
        M.put_output("dem", j, dem * M.scalar("scale"))
        if "dem_uncertainty" in outputs:
            row_j = row(j)
            M.put_output("dem_uncertainty", j, v * M.sqrt(dot(row_j, row_j)) * M.scalar("scale"))
        return dem, *(M.response(i, j) * dem for i in range(n))

    least, *predicted = M.over_bins(put_bin, ("minimum", *("sum",) * n))
    residual = [(g_i - p_i) * w_i for g_i, p_i, w_i in zip(problem.g, predicted, w, strict=True)]
    misfit = dot(residual, residual)
    for i in range(n):
        M.put_output("predicted_intensity", i, predicted[i])
    M.put_output("chi_squared", 0, misfit * (1.0 / n))
    M.put_output("regularization_parameter", 0, lam)
    if "emission_measure" in outputs:
        _put_emission_measures(problem, z, operator)
    if "covariance" in outputs:
        _put_covariance(problem, row)
    if "temperature_resolution" in outputs or "resolution_matrix" in outputs:
        _put_resolution(problem, operator)
    full = system.solution(lam)
    return _Answer(misfit, lam * lam * dot(full, full), least)


def _put_emission_measures(problem, z, operator):
    """
    The functionals ``f . xi`` and their errors ``|K^daggerT f|``: no covariance is needed for that.

    Both follow from the n sums ``h = sum f v K``: ``f . xi = h . z``, and ``K^daggerT f = (G + lam)^-1 h / sigma``.
    """
    M = problem.M

    def put_functional(q):
        def terms(j):
            weighted = M.functional(q, j) * M.get("weight", j)
            return tuple(M.response(i, j) * weighted for i in range(problem.n))

        h = M.over_bins(terms, ("sum",) * problem.n)
        M.put_output("emission_measure", q, dot(h, z) * M.scalar("scale"))
        if "emission_measure_uncertainty" in problem.plan.outputs:
            error = [dot(o_i, h) for o_i in operator]
            M.put_output("emission_measure_uncertainty", q, M.sqrt(dot(error, error)) * M.scalar("scale"))

    M.each_functional(put_functional)


def _put_covariance(problem, row):
    """Of the noise: ``K^dagger K^daggerT``."""
    M = problem.M

    def put_column(k):
        row_k = [M.get("weight", k) * r_i for r_i in row(k)]

        def put_element(j):
            value = M.get("weight", j) * dot(row(j), row_k)
            M.put_element("covariance", j, k, value * (M.scalar("scale") * M.scalar("scale")))
            return ()

        M.over_bins(put_element, ())

    M.each_bin(put_column)


def _put_resolution(problem, operator):
    """
    The resolution matrix ``R = K^dagger A``, and the widths of its columns: no m x m array is needed for these.

    Column k is the DEM that the data of a unit DEM in bin k alone give. As in the reference, it is sampled at 51
    temperatures by linear interpolation, and its full width at half maximum, in dex, is the distance from the first
    to the last sample of at least half its maximum; twice the bin's width where there is none. Unlike there, it is
    the bin's width where there is one only, not zero.
    """
    M, outputs = problem.M, problem.plan.outputs
    both_sides = [[w_i * o_ik for o_ik in o_i] for w_i, o_i in zip(problem.inverse_sigma, operator, strict=True)]

    def put_column(k):
        h = [M.project(row, k) for row in both_sides]

        def element(j):
            value = M.get("weight", j) * M.project(h, j)
            M.put("scratch", j, value)
            if "resolution_matrix" in outputs:
                M.put_element("resolution_matrix", j, k, value)
            return (value,)

        half = 0.5 * M.over_bins(element, ("maximum",))[0]
        if "temperature_resolution" in outputs:
            first, last = M.ends_above("scratch", half)
            width = M.where(last > first, last - first, M.dlogt(k))
            M.put_output("temperature_resolution", k, M.where(last > -_FAR, width, 2.0 * M.dlogt(k)))

    M.each_bin(put_column)
