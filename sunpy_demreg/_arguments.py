"""The arguments of `sunpy_demreg.invert`: what they may be, and what the numerics make of them."""

from numbers import Integral, Real

import numpy as np
from array_api_compat import is_cupy_array

import astropy.units as u

from sunpy_demreg import _execute
from sunpy_demreg._engines._tables import STANDARD_OUTPUTS, Options
from sunpy_demreg._lazy import as_array
from sunpy_demreg.response import TemperatureResponse

__all__ = [
    "RESULTS",
    "check_matrices",
    "checked_edges",
    "checked_engine",
    "checked_numbers",
    "checked_options",
    "checked_weight",
    "em_functional",
    "response_matrix",
]

#: What ``outputs`` may name, besides the status that always comes.
RESULTS = (*STANDARD_OUTPUTS, "emission_measure", "covariance", "resolution_matrix", "intensity")
_MATRICES = ("covariance", "resolution_matrix")
_MAX_MATRIX_BYTES = 2**30
_MAX_REFINEMENTS = 5  # each one is compiled, and none changes much after the second


def checked_options(
    method,
    parameter_choice,
    positivity,
    weighting,
    n_refinements,
    chi_squared_target,
    target_growth,
    max_iterations,
    n_samples,
    outputs,
    ranges,
):
    """The `Options` of the numerics, but for what the shape of the data decides."""
    is_array = not isinstance(weighting, str)
    for name, value, allowed in (
        ("method", method, ("demreg", "l2")),
        ("parameter_choice", parameter_choice, ("discrepancy", "grid", "gcv")),
        ("positivity", positivity, ("relax", "constrain", None)),
        ("weighting", "self" if is_array and weighting is not None else weighting, ("self", "em_loci")),
    ):
        if not any(value is choice or (isinstance(value, str) and value == choice) for choice in allowed):
            cure = ", or an array of positive numbers" if name == "weighting" else ""
            raise ValueError(f"`{name}` must be one of {allowed}{cure}, but is {value!r}")
    for name, value, least in (
        ("chi_squared_target", chi_squared_target, 0),
        ("target_growth", target_growth, 1),
    ):
        if not (isinstance(value, Real | np.ndarray) and np.ndim(value) == 0 and least < value < np.inf):
            raise ValueError(f"`{name}` must be a finite number above {least}, but is {value!r}")
    for name, value, least, most in (
        ("max_iterations", max_iterations, 1, 1000),
        ("n_samples", n_samples, 2, 10000),
        ("n_refinements", n_refinements, 0, _MAX_REFINEMENTS),
    ):
        if isinstance(value, bool) or not (isinstance(value, Integral) and least <= value <= most):
            raise ValueError(f"`{name}` must be a whole number of at least {least} (and {most} at most), not {value!r}")
    if positivity == "constrain" and parameter_choice == "grid":
        raise ValueError(
            "`positivity` 'constrain' meets the chi-squared target exactly, which the samples of `parameter_choice` "
            "'grid' do not: pass parameter_choice='discrepancy'"
        )
    if method == "l2" and (is_array or weighting != "self" or n_refinements):
        raise ValueError(
            "`method` 'l2' has one weight for all pixels and bins: leave `weighting` and `n_refinements` out, or pass "
            "method='demreg'"
        )
    if is_array and n_refinements:
        raise ValueError("`n_refinements` refine the weight that `weighting` 'self' or 'em_loci' finds, not an array")
    return Options(
        parameter_choice,
        positivity,
        float(chi_squared_target),
        float(target_growth),
        int(max_iterations),
        int(n_samples),
        weighting="uniform" if method == "l2" else "given" if is_array else weighting,
        n_refinements=int(n_refinements),
        outputs=_checked_outputs(outputs, ranges),
    )


def _checked_outputs(outputs, ranges):
    if outputs is None:
        outputs = (*STANDARD_OUTPUTS, "intensity", *(() if ranges is None else ("emission_measure",)))
    elif isinstance(outputs, str) or not all(
        isinstance(name, str) and name in (*RESULTS, "status") for name in outputs
    ):
        raise ValueError(f"`outputs` must be some of {RESULTS}, in a tuple, but is {outputs!r}")
    if "dem_uncertainty" in outputs and "dem" not in outputs:
        raise ValueError("`outputs` has 'dem_uncertainty' but not 'dem', which carries it: add 'dem'")
    if ("emission_measure" in outputs) != (ranges is not None):
        raise ValueError(
            "`outputs` must have 'emission_measure' where `emission_measure_ranges` are given, and only there: "
            f"they are {outputs!r} and {ranges!r}"
        )
    more = ("emission_measure_uncertainty",) if "emission_measure" in outputs else ()
    return (*(name for name in RESULTS if name in outputs), *more)


def checked_engine(backend, workers, dtype, outputs):
    """The dtype by its name."""
    if backend is not None and backend not in _execute.BACKENDS:
        raise ValueError(f"`backend` must be one of {_execute.BACKENDS}, but is {backend!r}")
    if workers is not None and (isinstance(workers, bool) or not (isinstance(workers, Integral) and workers >= 1)):
        raise ValueError(f"`workers` must be a whole number of threads, at least 1, but is {workers!r}")
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = None
    if dtype is None or name not in ("float64", "float32"):
        raise ValueError(f"`dtype` must be 'float64' or 'float32', but is {dtype!r}")
    if name == "float32" and "covariance" in outputs:
        raise ValueError("`dtype` 'float32' ends at 3e38, below the covariance of a DEM in cm-10 K-2: pass 'float64'")
    return name


def check_matrices(outputs, n_bins, pixel_shape):
    """Matrices are for chosen pixels."""
    n_bytes = 8 * n_bins**2 * int(np.prod(pixel_shape)) * sum(name in outputs for name in _MATRICES)
    if n_bytes > _MAX_MATRIX_BYTES:
        raise ValueError(
            f"`outputs` has matrices of {n_bins} x {n_bins} for {int(np.prod(pixel_shape))} pixels, "
            f"{n_bytes / 2**30:.1f} GiB: slice `data` to the pixels that you want them of"
        )


def checked_weight(weighting, n_bins, pixel_shape):
    """An array of the caller's as (m,) or (m, ...) floats; None for the name of a rule."""
    if isinstance(weighting, str):
        return None
    try:
        weight = as_array(getattr(weighting, "value", weighting), "weighting", dtype=float)
    except (TypeError, ValueError) as err:
        raise ValueError(f"`weighting` must be 'self', 'em_loci' or an array of numbers ({err})") from err
    if weight.shape not in ((n_bins,), (n_bins, *pixel_shape)):
        raise ValueError(
            f"`weighting` has the shape {weight.shape}: it must be {(n_bins,)}, one number per temperature bin, or "
            f"{(n_bins, *pixel_shape)}, one per bin and pixel"
        )
    if weight.ndim > 1:
        return weight
    return weight.get() if is_cupy_array(weight) else np.asarray(weight)


def checked_numbers(weight, status):
    """The weight, if its numbers may be used wherever the status is zero."""
    if weight is None:
        return None
    is_good = np.isfinite(weight) & (weight > 0)
    if weight.ndim > 1:
        is_good |= status != 0  # nothing is done there anyway
        weight = np.where(status != 0, 1.0, weight)
    if not is_good.all():
        raise ValueError(
            f"`weighting` must be finite and above zero, but {np.count_nonzero(~is_good)} of its {weight.size} values "
            "are not: raise them to a small fraction of the peak"
        )
    return weight


def response_matrix(response, edges):
    """
    The discrete problem: intensity = K @ dem.

    Returns
    -------
    K : array, (n, m)
        In the unit of the response less cm5, per cm-5 K-1.
    log_edges : array, (m + 1,)
        log10 of the bin edges in K.
    emission_per_dem : array, (m,)
        Emission measure, in cm-5, of a bin whose DEM is 1 cm-5 K-1.
    """
    centers = np.sqrt(edges[1:]) * np.sqrt(edges[:-1])
    log_edges = np.log10(edges.to_value(u.K))
    emission_per_dem = centers.to_value(u.K) * np.log(10) * np.diff(log_edges)
    return response.at(centers).value * emission_per_dem, log_edges, emission_per_dem


def em_functional(ranges, log_edges, emission_per_dem, name="emission_measure_ranges"):
    """The matrix (q, m) that takes a DEM to the emission measures in temperature ranges, which may cut bins."""
    if ranges is None:
        return None
    name = f"`{name}`"
    if not isinstance(ranges, u.Quantity) or not ranges.unit.is_equivalent(u.K):
        raise ValueError(f"{name} must be a Quantity in kelvin, for instance `[[1e6, 2e6], [2e6, 4e6]] * u.K`")
    limits = np.atleast_2d(ranges.to_value(u.K)).astype(float)
    if limits.ndim != 2 or limits.shape[1] != 2 or not limits.size:
        raise ValueError(f"{name} must be pairs of temperatures, of the shape (number, 2), not {ranges.shape}")
    low, high = 10 ** log_edges[[0, -1]]
    # Powers of ten are rounded differently in different places.
    is_inside = (limits >= low * (1 - 1e-9)) & (limits <= high * (1 + 1e-9))
    if not (np.all(is_inside) and np.all(limits[:, 0] < limits[:, 1])):
        raise ValueError(
            f"{name} must be ascending pairs inside the temperature bins, {low:.4g} to {high:.4g} K, but are {ranges}"
        )
    limits = np.log10(limits)[:, :, None]
    inside = np.minimum(limits[:, 1], log_edges[1:]) - np.maximum(limits[:, 0], log_edges[:-1])
    return np.clip(inside / np.diff(log_edges), 0, 1) * emission_per_dem


def checked_edges(edges, response):
    if not isinstance(response, TemperatureResponse):
        raise TypeError(
            f"`response` must be a TemperatureResponse, but is a {type(response).__name__}: make it with "
            "`TemperatureResponse.from_aia(cube)`, and pass it after the data"
        )
    name = "`temperature_bin_edges`"
    if not isinstance(edges, u.Quantity) or not edges.unit.is_equivalent(u.K):
        raise ValueError(f"{name} must be a Quantity in kelvin, for instance `10 ** np.arange(5.6, 7.4, 0.05) * u.K`")
    edges = edges.to(u.K).astype(float)
    if edges.ndim != 1 or edges.size < 4:
        raise ValueError(f"{name} must be four edges or more of at least three bins, but has the shape {edges.shape}")
    if not (np.all(np.isfinite(edges)) and np.all(edges > 0) and np.all(np.diff(edges) > 0)):
        raise ValueError(f"{name} must be positive, finite and strictly ascending: sort them and drop repeated ones")
    low, high = response.temperature[0], response.temperature[-1]
    # Powers of ten are rounded differently in different places: an edge on the table's end is inside it.
    if edges[0] < low * (1 - 1e-9) or edges[-1] > high * (1 + 1e-9):
        hint = " (are they log10 of the temperature? then pass `10**edges * u.K`)" if edges[-1] < 10 * u.K else ""
        raise ValueError(
            f"{name} reach from {edges[0]:.4g} to {edges[-1]:.4g}, but `response` is tabulated from {low:.4g} to "
            f"{high:.4g}: choose edges inside{hint}"
        )
    return edges
