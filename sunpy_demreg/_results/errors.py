"""
Errors of quantities computed from a DEM, by repeating its inversion with the same options and other outputs.

A sum over bins is a functional ``f . xi`` of the DEM, whose error is ``|K^dagger^T f|``: the errors of the bins are not
independent. ``K^dagger`` follows from the data, the response and the options, which a result holds, so the same
engine simply repeats the inversion. The solution of a pixel does not depend on other pixels: a slice, a block and the
whole agree to the last bit.
"""

import numpy as np
from array_api_compat import is_cupy_array

from sunpy_demreg._common.dask_arrays import apply_to_pixels, as_blocks, as_lazy, computed, is_lazy
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._engines import execute
from sunpy_demreg._engines.base.problem import Bins, Problem
from sunpy_demreg._engines.base.solution import Solution
from sunpy_demreg._engines.base.status import Status
from sunpy_demreg._results.checks import bins_of, check_result
from sunpy_demreg._results.settings import options_of
from sunpy_demreg.response import TemperatureResponse

__all__ = ["errors_of", "response_of", "solve_again", "with_common_error"]

_MAX_PIXELS = 2**16  # of a block of Dask arrays


def response_of(result):
    """The temperature response used for a result."""
    table = result.meta["temperature_response"]
    meta = result.meta["response"]
    return TemperatureResponse(tuple(result.meta["channels"]), table["temperature"], table["response"], meta)


def solve_again(result, outputs, functional=None, pixel=None, dem_error=None, seen=None, dtype="float64", **options):
    """
    Repeat the inversion of a result.

    Parameters
    ----------
    result : `ndcube.NDCollection`
    outputs : tuple of str
        Of `sunpy_demreg._engines.base.solution.Solution`.
    functional : array, (q, m), optional
        For the output "emission_measure".
    pixel : tuple of int, optional
        The only one to solve, immediately; by default all are solved.
    dem_error : {"noise", "posterior"}, optional
        By default that of the result.
    seen : array of bool, (n, m), optional
        Which bins each channel sees, for what is resolved.
    dtype : {"float64", "float32"}, optional
        Of the outputs.
    **options
        More of the `Options`, that do not change the DEM.

    Returns
    -------
    `sunpy_demreg._engines.base.solution.Solution`
        With Dask arrays if the result has them.
    """
    check_result(result, "intensity", "status")
    meta = result.meta
    if meta["weighting"] == "given" and "weight" not in meta:
        raise wrong(
            ValueError,
            "result",
            "was made with a `weighting` per pixel, which is not stored in it, so errors cannot be computed "
            "afterwards: request them from `invert` with `emission_measure_ranges`, or with `outputs`",
        )
    here = (slice(None), *(() if pixel is None else (slice(i, i + 1) for i in pixel)))
    cube = result["intensity"]
    arrays = result["status"].data[here[1:]], cube.data[here], cube.uncertainty.array[here]
    if meta.get("missing_channels") == "omit":
        check_result(result, "omitted_channels")
        arrays = *arrays, result["omitted_channels"].data[here[1:]]
    if pixel is not None:
        arrays = computed(*arrays)
    K, log_edges = bins_of(result).response_matrix(response_of(result)), bins_of(result).log_edges
    settings = meta if dem_error is None else dict(meta) | {"dem_error": dem_error}
    options = options_of(settings, len(K), outputs)._replace(**options)
    problem = Problem(Bins.between(log_edges), K, options, meta.get("weight"), functional, seen)
    # A result read from a file has NumPy arrays, even if it was computed on a GPU.
    backend = "cupy" if is_cupy_array(arrays[0]) else "numpy" if meta.get("backend") == "numpy" else "cpu"
    if not is_lazy(*arrays):
        return _solve(*arrays, problem=problem, more={"backend": backend, "dtype": dtype})
    [status] = as_blocks([as_lazy(arrays[0])[None]], "result", _MAX_PIXELS)
    return Solution(
        *apply_to_pixels(
            _solve,
            problem.output_kinds(dtype),
            [status[0], *arrays[1:]],
            status.ndim - 1,
            problem=problem,
            more={"backend": backend, "dtype": dtype, "workers": 1},
        )
    )


def _solve(status, intensity, uncertainty, omitted=None, *, problem, more):
    status = (status & int(Status.UNSOLVED)).astype(np.int32)
    return execute.run(intensity, uncertainty, status, problem, omitted=omitted, **more)


def errors_of(result, functional):
    """The errors (q, ...) of functionals (q, m) of the DEM."""
    solution = solve_again(result, ("emission_measure", "emission_measure_uncertainty"), functional)
    return with_common_error(solution, result.meta.get("common_calibration_error")).emission_measure_uncertainty


def with_common_error(solution, fraction):
    """
    The solution with a calibration error that all channels share, such as 0.2, in its errors.

    It scales the whole DEM, and so is the same fraction of each value; it is independent of the noise.
    """
    if not fraction:
        return solution

    def total(error, value):
        if error is None:
            return None
        return np.hypot(error, fraction * value, **({} if is_lazy(error) else {"out": error}))

    covariance, dem = solution.covariance, solution.dem
    if covariance is not None:
        covariance = covariance + (fraction * dem)[:, None] * (fraction * dem)
    return solution._replace(
        dem_uncertainty=total(solution.dem_uncertainty, dem),
        emission_measure_uncertainty=total(solution.emission_measure_uncertainty, solution.emission_measure),
        covariance=covariance,
    )
