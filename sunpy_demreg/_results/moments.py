"""Sums of a DEM over its bins, weighted with temperature or not, and what follows from two of them; with errors."""

import math

import numpy as np

import astropy.units as u

from sunpy_demreg._common.dask_arrays import apply_to_pixels
from sunpy_demreg._common.sums import contract
from sunpy_demreg._results.checks import bins_of, check_result, range_functional
from sunpy_demreg._results.errors import errors_of, response_of, solve_again, with_common_error
from sunpy_demreg._results.resolved import seen_bins
from sunpy_demreg.response._bins import TemperatureBins

__all__ = ["energies", "means", "sums"]


def sums(result, functionals, of_errors, resolved_only):
    """
    Sums over the bins, (q, m) to (q, ...), the errors of others, and where no bin is left for either.

    Which bins are resolved is found with the errors, by the same repetition of the inversion.
    """
    dem, common = result["dem"].data, result.meta.get("common_calibration_error")
    if not resolved_only:
        return contract(functionals, dem), errors_of(result, of_errors), False
    seen = seen_bins(response_of(result), bins_of(result))
    outputs = ("emission_measure", "emission_measure_uncertainty", "is_resolved")
    solution = solve_again(result, outputs, of_errors, seen=seen, resolved_only=True)
    solution = with_common_error(solution, common)
    resolved = solution.is_resolved > 0.5
    # Where none is left, there is no sum: NaN, and not zero.
    is_empty = ~resolved[np.any(functionals != 0, axis=0)].any(axis=0)
    values = np.where(is_empty, np.nan, contract(functionals, np.where(resolved, dem, 0.0)))
    return values, np.where(is_empty, np.nan, solution.emission_measure_uncertainty), is_empty


def means(result, temperature_range, resolved_only):
    """Mean temperatures, in K, their errors, and where the sum is not positive."""
    moments, errors, scale = _moments(result, temperature_range, resolved_only)
    value = _of_pixels(_mean, moments)
    return value, _of_pixels(_error_of_mean, moments, errors, scale=scale), ~(moments[1] > 0)


def energies(result, factor, temperature_range, resolved_only):
    """The factor times mean temperature (MK) and root of the sum (cm-5), the error, and where it is not positive."""
    moments, errors, scale = _moments(result, temperature_range, resolved_only)
    value = _of_pixels(_energy, moments, factor)
    return value, _of_pixels(_error_of_energy, moments, factor, errors, scale=scale), ~(moments[1] > 0)


def _moments(result, temperature_range, resolved_only):
    """
    The sums ``a . xi`` of T xi dT (in MK cm-5) and ``b . xi`` of xi dT, (2, ...); and the inputs of their errors.

    These are the errors of a, b, and ``a / scale + b`` and ``a / scale - b``, (4, ...), and the scale.
    """
    check_result(result, "dem", "intensity")
    b = range_functional(result, temperature_range)
    bins = bins_of(result)
    if temperature_range is not None:
        # Only the part of a cut bin that is inside.
        bins = TemperatureBins(np.clip(bins.edges, *temperature_range))
    a = b * bins.centers.to_value(u.MK)
    scale = math.fsum(a) / math.fsum(b)  # so that neither is lost to rounding in their sum and difference
    of_errors = np.array([a, b, a / scale + b, a / scale - b])
    moments, errors, _ = sums(result, np.array([a, b]), of_errors, resolved_only)
    return moments, errors, scale


def _of_pixels(function, *arrays, **kwargs):
    """Apply a function of arrays (..., pixels), block by block if they are Dask's."""
    n_pixel_axes = arrays[0].ndim - 1
    [answer] = apply_to_pixels(_quietly, [((), np.dtype(float))], arrays, n_pixel_axes, of=function, **kwargs)
    return answer


def _quietly(*arrays, of, **kwargs):
    with np.errstate(divide="ignore", invalid="ignore"):
        return [np.where(arrays[0][1] > 0, of(*arrays, **kwargs), np.nan)]


def _mean(moments):
    return moments[0] / moments[1] * 1e6


def _error_of_mean(moments, errors, scale):
    moment, total = moments
    return _error_of_combination(errors, scale, 1 / total, -(moment / total) / total) * 1e6


def _energy(moments, factor):
    return factor * moments[0] / np.sqrt(moments[1])


def _error_of_energy(moments, factor, errors, scale):
    total = moments[1]
    return _error_of_combination(errors, scale, factor / np.sqrt(total), -_energy(moments, factor) / (2 * total))


def _error_of_combination(errors, scale, x, y):
    """The error of ``x a + y b``, from what `_moments` returns."""
    of_a, of_b, of_sum, of_difference = errors * errors
    covariance = (of_sum - of_difference) * scale / 4
    return np.sqrt(np.maximum(x * x * of_a + 2 * x * y * covariance + y * y * of_b, 0))
