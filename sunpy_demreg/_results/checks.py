"""Checks shared by all functions that take a result."""

from operator import index

import numpy as np

import astropy.units as u
from ndcube import NDCollection

from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.log_t import in_log_t
from sunpy_demreg._common.regions import pixel_of
from sunpy_demreg._common.validators import a_kind, check_choice, check_quantity
from sunpy_demreg._engines.base.status import Status
from sunpy_demreg.response._bins import TemperatureBins

__all__ = [
    "as_pixel",
    "bins_of",
    "check_image",
    "check_result",
    "log_range",
    "range_functional",
    "region_names",
    "stored_emission_measure",
]

_CURE = "request it with the argument `outputs` of `sunpy_demreg.invert`, which includes it by default"


def check_result(result, *needed, name="result", meta=()):
    """Raise a TypeError unless it is a result, a ValueError where it lacks an output or an entry of its metadata."""
    is_collection = isinstance(result, NDCollection)
    if not (is_collection and "temperature_bin_edges" in (result.meta or {})):
        found = "an NDCollection without its `meta`" if is_collection else a_kind(result)
        raise wrong(TypeError, name, f"must be the collection that `sunpy_demreg.invert` returns, but is {found}")
    for key in needed:
        if key not in result:
            raise wrong(ValueError, name, f"lacks {key!r}{_told_ranges(result)}: {_cure(key)}")
    missing = [f"meta[{key!r}]" for key in meta if key not in result.meta]
    if missing:
        raise wrong(ValueError, name, f"lacks {', '.join(missing)}: pass the whole result")


def _cure(key):
    return "pass the whole result" if key == "status" else _CURE


def _told_ranges(result):
    """What a result has instead of a DEM."""
    ranges = result.meta.get("emission_measure_ranges")
    if "dem" in result or "emission_measure" not in result or ranges is None:
        return ""
    logs = np.log10(ranges.to_value(u.K))
    told = ", ".join(in_log_t(*each, among=logs.flat) for each in logs)
    return f" (it holds emission measures in these ranges, of `result.meta['emission_measure_ranges']`, only: {told})"


def check_image(result, *needed, name="result"):
    """As `check_result`, for a result with two pixel axes."""
    check_result(result, "status", *needed, name=name)
    n_axes = result["status"].data.ndim
    if n_axes != 2:
        raise wrong(ValueError, name, f"must be of an image, but has {n_axes} pixel axes: slice it to two")


def stored_emission_measure(result, temperature_range):
    """The cube of a range that a result without a DEM holds; None if it has to be computed from a DEM."""
    ranges = result.meta.get("emission_measure_ranges")
    if "dem" in result or "emission_measure" not in result or ranges is None or temperature_range is None:
        return None
    range_functional(result, temperature_range)  # or it raises
    is_same = np.isclose(ranges.to_value(u.K), temperature_range.to_value(u.K), rtol=1e-9, atol=0).all(axis=1)
    return result["emission_measure"][int(is_same.argmax())] if is_same.any() else None


def bins_of(result):
    """The temperature bins of a result."""
    return TemperatureBins(result.meta["temperature_bin_edges"])


def range_functional(result, temperature_range, name="temperature_range"):
    """The vector that maps a DEM to its emission measure in the range, or in all bins if the range is None."""
    if temperature_range is None:
        return bins_of(result).emission_per_dem
    check_quantity(name, temperature_range, u.K, "[1, 2] * u.MK", shape=(2,))
    return bins_of(result).em_functional(temperature_range, name)[0]


def log_range(result, temperature_range):
    """Both ends of a range in log10 T, or of all bins if that is None."""
    if temperature_range is None:
        return bins_of(result).log_edges[[0, -1]]
    return np.log10(temperature_range.to_value(u.K))


def region_names(result):
    """The names of the regions of which a result has one pixel each; empty if it has others."""
    names = np.asarray((result.meta.get("observation") or {}).get("region", ()))
    return names.tolist() if names.ndim == 1 and names.shape == result["status"].data.shape else []


def _index_of_region(result, region, name):
    names = region_names(result)
    if not names:
        rule = "must be whole numbers, one per pixel axis, or a SkyCoord"
        raise wrong(TypeError, name, f"{rule}, as `result` has no regions with names, but is {region!r:.80}")
    check_choice(name, region, names)
    return names.index(region)


def as_pixel(result, pixel, name="pixel", *, solved=True):
    """
    Validated, non-negative array indices of a pixel; by default it must be solved.

    It may be given by a coordinate, and one of a result of regions by the name of the region.
    """
    shape = result["status"].data.shape
    if isinstance(pixel, str):
        pixel = _index_of_region(result, pixel, name)
    if hasattr(pixel, "spherical") and pixel.isscalar:
        if len(shape) != 2:
            raise wrong(ValueError, name, f"is a coordinate, but `result` has {len(shape)} pixel axes: slice it to two")
        wcs = result["status"].wcs
        pixel = pixel_of(pixel, getattr(wcs, "low_level_wcs", wcs), shape, name)
    try:
        if isinstance(pixel, bool):
            raise TypeError
        indices = tuple(map(index, pixel if isinstance(pixel, tuple | list | np.ndarray) else (pixel,)))
    except TypeError:
        raise wrong(
            TypeError, name, f"must be whole numbers, one per pixel axis, or a SkyCoord, but is {pixel!r:.80}"
        ) from None
    if len(indices) != len(shape):
        raise wrong(ValueError, name, f"must have {len(shape)} indices, one per pixel axis, but has {len(indices)}")
    if not all(-n <= i < n for i, n in zip(indices, shape, strict=True)):
        raise wrong(IndexError, name, f"{indices} lies outside the pixel axes of shape {shape}")
    indices = tuple(i % n for i, n in zip(indices, shape, strict=True))
    status = Status(int(result["status"].data[indices]))
    if solved and status & Status.UNSOLVED:
        raise wrong(ValueError, name, f"{indices} was not solved ({status.name}): choose one with a DEM")
    return indices
