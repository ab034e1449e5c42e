"""The arguments of `sunpy_demreg.invert`: validation, and conversion for the numerics."""

import numpy as np
from array_api_compat import is_cupy_array

import astropy.units as u

from sunpy_demreg._common.dask_arrays import as_array
from sunpy_demreg._common.errors import nearest, wrong
from sunpy_demreg._common.validators import (
    a_kind,
    as_integer,
    as_number,
    check_choice,
    check_edges,
    check_quantity,
)
from sunpy_demreg._engines import execute
from sunpy_demreg._engines.base.options import STANDARD_OUTPUTS
from sunpy_demreg._engines.base.status import is_unsolved
from sunpy_demreg._engines.usable import MOST_CHANNELS
from sunpy_demreg._inversion.methods import check_are_used, resolved_choices
from sunpy_demreg.response._bins import are_inside
from sunpy_demreg.response._response import check_response

__all__ = [
    "RESULTS",
    "as_bin_edges",
    "as_dtype",
    "as_edges_within",
    "as_outputs",
    "as_settings",
    "as_usable_weight",
    "as_use",
    "as_weight",
    "check_engine",
    "check_matrices",
]

#: Valid names in ``outputs``, besides the status, which is always returned.
RESULTS = (*STANDARD_OUTPUTS, "emission_measure", "is_resolved", "covariance", "resolution_matrix", "intensity")
_MATRICES = ("covariance", "resolution_matrix")
_MAX_MATRIX_BYTES = 2**30
_MAX_WORKERS = 10000
_MAX_REFINEMENTS = 5  # each is compiled separately, and after the second they change little


def as_settings(
    method,
    choices,
    *,
    prior,
    weighting,
    n_refinements,
    chi_squared_target,
    target_growth,
    max_iterations,
    n_samples,
):
    """
    All that determines the solution apart from the data, the response and the bins, as a result keeps it.

    `choices` are those that each method makes by itself where they are None, see `resolved_choices`.
    """
    choices = resolved_choices(method, choices, prior)
    is_array = not isinstance(weighting, str)
    if weighting is None or not is_array:
        check_choice("weighting", weighting, ("self", "em_loci"), ", or an array of positive numbers")
    n_refinements = as_integer("n_refinements", n_refinements, 0, _MAX_REFINEMENTS)
    if choices["positivity"] == "constrain" and choices["parameter_choice"] == "grid":
        raise wrong(
            ValueError,
            "positivity",
            "'constrain' meets the target exactly, which the samples of the parameter choice 'grid' do not: "
            "leave one of them out",
        )
    if method != "demreg" and (is_array or weighting != "self" or n_refinements):
        raise wrong(
            ValueError,
            "method",
            f"{method!r} has one weight for all pixels and bins: leave `weighting` and `n_refinements` out, or pass "
            "method='demreg'",
        )
    if is_array and n_refinements:
        raise wrong(
            ValueError,
            "n_refinements",
            "applies only to the weight that `weighting` 'self' or 'em_loci' finds, not to an array: pass 0",
        )
    settings = {
        "method": method,
        **choices,
        "weighting": "uniform" if method != "demreg" else "given" if is_array else weighting,
        "n_refinements": n_refinements,
        "chi_squared_target": as_number("chi_squared_target", chi_squared_target, above=0),
        "target_growth": as_number("target_growth", target_growth, above=1),
        "max_iterations": as_integer("max_iterations", max_iterations, 1, 1000),
        "n_samples": as_integer("n_samples", n_samples, 2, 10000),
    }
    check_are_used(settings)
    return settings


def as_outputs(outputs, ranges):
    """The names of the outputs, those of errors included."""
    if outputs is None:
        outputs = (*STANDARD_OUTPUTS, "intensity", *(() if ranges is None else ("emission_measure",)))
    else:
        known = (*RESULTS, "status")
        rule = f"must be a tuple of names among {', '.join(map(repr, known))}"
        if not isinstance(outputs, list | tuple | set | frozenset):
            raise wrong(TypeError, "outputs", f"{rule}, but is {a_kind(outputs)}")
        for name in outputs:
            if not (isinstance(name, str) and name in known):
                raise wrong(ValueError, "outputs", f"{rule}, but has {a_kind(name)}{nearest(name, known)}")
    if "dem_uncertainty" in outputs and "dem" not in outputs:
        raise wrong(ValueError, "outputs", "has 'dem_uncertainty' but not 'dem', which carries it: add 'dem'")
    if ("emission_measure" in outputs) != (ranges is not None):
        raise wrong(
            ValueError,
            "outputs",
            "must contain 'emission_measure' if, and only if, `emission_measure_ranges` are given, but is "
            f"{tuple(outputs)!r} {'without' if ranges is None else 'with'} such ranges",
        )
    more = ("emission_measure_uncertainty",) if "emission_measure" in outputs else ()
    return (*(name for name in RESULTS if name in outputs), *more)


def as_use(nonpositive, missing_channels, max_missing_channels, n_channels, parameter_choice):
    """Which data are used, as `sunpy_demreg._engines.usable.examine` takes it."""
    check_choice("nonpositive", nonpositive, ("use", "mask"))
    check_choice("missing_channels", missing_channels, ("omit", "mask"))
    name = "max_missing_channels"
    most = as_integer(name, max_missing_channels, 1, MOST_CHANNELS, "of channels")
    if missing_channels == "mask":
        if most > 1:
            raise wrong(
                ValueError,
                name,
                "is not used where missing channels are masked, not omitted: leave one of them out",
            )
        return {"nonpositive": nonpositive, "most_missing": None}
    least_left = 2 if parameter_choice == "gcv" else 1
    if most > max(n_channels - least_left, 1):
        one = "one has" if least_left == 1 else "two, for `parameter_choice='gcv'`, have"
        raise wrong(
            ValueError,
            name,
            f"is {most}, but there are {n_channels} channels, of which {one} to remain: pass "
            f"{max(n_channels - least_left, 1)} at most",
        )
    return {"nonpositive": nonpositive, "most_missing": min(most, n_channels - least_left)}


def check_engine(backend, workers):
    """Raise unless there is such an engine, and the number of threads is reasonable."""
    check_choice("backend", backend, (*execute.BACKENDS, "hybrid", None))
    if workers is not None:
        as_integer("workers", workers, 1, _MAX_WORKERS, "of threads")


def as_dtype(dtype, outputs):
    """The name of the dtype, which must be able to hold the outputs."""
    try:
        name = None if dtype is None else np.dtype(dtype).name
    except (TypeError, ValueError, SyntaxError):  # from NumPy, which parses strings and lists as structured types
        name = None
    if name not in ("float64", "float32"):
        raise wrong(ValueError, "dtype", f"must be 'float64' or 'float32', but is {a_kind(dtype)}")
    if name == "float32" and "covariance" in outputs:
        raise wrong(
            ValueError,
            "dtype",
            "'float32' cannot hold the covariance of a DEM in cm-10 K-2, which exceeds 3e38: pass 'float64'",
        )
    return name


def check_matrices(outputs, n_bins, pixel_shape):
    """Raise if matrices are asked for in too many pixels."""
    n_bytes = 8 * n_bins**2 * int(np.prod(pixel_shape)) * sum(name in outputs for name in _MATRICES)
    if n_bytes > _MAX_MATRIX_BYTES:
        raise wrong(
            ValueError,
            "outputs",
            f"has matrices of {n_bins} x {n_bins} for {int(np.prod(pixel_shape))} pixels, "
            f"{n_bytes / 2**30:.1f} GiB: slice `data` to the pixels of interest",
        )


def as_weight(weighting, n_bins, pixel_shape):
    """The caller's weight as an array (m,) or (m, ...) of floats; None for the name of a rule."""
    if isinstance(weighting, str):
        return None
    try:
        weight = as_array(getattr(weighting, "value", weighting), "weighting", dtype=float)
    except (TypeError, ValueError) as err:
        raise wrong(ValueError, "weighting", f"must be 'self', 'em_loci' or an array of numbers ({err})") from err
    if weight.shape not in ((n_bins,), (n_bins, *pixel_shape)):
        raise wrong(
            ValueError,
            "weighting",
            f"has the shape {weight.shape}: it must be {(n_bins,)}, one number per temperature bin, or "
            f"{(n_bins, *pixel_shape)}, one per bin and pixel",
        )
    if weight.ndim > 1:
        return weight
    return weight.get() if is_cupy_array(weight) else np.asarray(weight)


def as_usable_weight(weight, status):
    """The weight, which must be positive wherever a pixel is to be solved."""
    if weight is None:
        return None
    unsolved = is_unsolved(status)
    is_good = np.isfinite(weight) & (weight > 0)
    if weight.ndim > 1:
        is_good |= unsolved
        weight = np.where(unsolved, 1.0, weight)
    if not is_good.all():
        raise wrong(
            ValueError,
            "weighting",
            f"must be finite and above zero, but {np.count_nonzero(~is_good)} of its {weight.size} values "
            "are not: replace them by a small fraction of the peak",
        )
    return weight


def as_bin_edges(edges):
    """Edges in kelvin, for any response."""
    name = "temperature_bin_edges"
    check_quantity(name, edges, u.K, "10 ** np.arange(5.575, 7.43, 0.05) * u.K")
    edges = edges.to(u.K).astype(float)
    check_edges(name, edges.value)
    return edges


def as_edges_within(edges, response):
    """Edges in kelvin, inside the range of the response."""
    check_response(response, ": make it with `TemperatureResponse.from_aia(cube)`, and pass it after the data")
    edges = as_bin_edges(edges)
    low, high = response.temperature[0], response.temperature[-1]
    if not are_inside(edges, low, high):
        hint = " (are they log10 of the temperature? then pass `10**edges * u.K`)" if edges[-1] < 10 * u.K else ""
        raise wrong(
            ValueError,
            "temperature_bin_edges",
            f"reach from {edges[0]:.4g} to {edges[-1]:.4g}, but `response` is tabulated from {low:.4g} to "
            f"{high:.4g}: choose edges inside this range{hint}",
        )
    return edges
