"""What the functions that take a result ask of their arguments."""

from operator import index

import numpy as np

import astropy.units as u
from ndcube import NDCollection

from sunpy_demreg._arguments import em_functional
from sunpy_demreg._status import Status

__all__ = ["bin_edges", "check_image", "check_result", "checked_pixel", "range_functional"]

# Of an output that a result lacks: the word for it in the argument `outputs` of `invert`.
_CURE = "ask for it with the argument `outputs` of `sunpy_demreg.invert`, whose default has it"


def check_result(result, *needed):
    """Raise a TypeError unless it is a result, a ValueError where it lacks an output."""
    if not (isinstance(result, NDCollection) and "temperature_bin_edges" in (result.meta or {})):
        raise TypeError(
            "`result` must be the collection that `sunpy_demreg.invert` returns, but is of type "
            f"{type(result).__name__}"
        )
    for key in needed:
        if key not in result:
            raise ValueError(f"`result` lacks {key!r}: {_CURE}")


def check_image(result, *needed):
    """As `check_result`, of an image."""
    check_result(result, "status", *needed)
    n_axes = result["status"].data.ndim
    if n_axes != 2:
        raise ValueError(f"`result` must be of an image, but has {n_axes} pixel axes: slice it to two")


def bin_edges(result):
    """Of the temperature bins, in K."""
    return result.meta["temperature_bin_edges"].to_value(u.K)


def range_functional(result, temperature_range):
    """The vector that takes a DEM to its emission measure in the range, or in all bins if that is None."""
    log_edges = np.log10(bin_edges(result))
    emission_per_dem = 10 ** (0.5 * (log_edges[1:] + log_edges[:-1])) * np.log(10) * np.diff(log_edges)
    if temperature_range is None:
        return emission_per_dem
    if not isinstance(temperature_range, u.Quantity) or temperature_range.shape != (2,):
        raise ValueError("`temperature_range` must be a Quantity of two temperatures, for instance `[1, 2] * u.MK`")
    return em_functional(temperature_range, log_edges, emission_per_dem, "temperature_range")[0]


def checked_pixel(result, pixel):
    """The indices of a pixel that was solved, counted from the start of each axis."""
    shape = result["status"].data.shape
    try:
        indices = tuple(map(index, pixel if isinstance(pixel, tuple | list | np.ndarray) else (pixel,)))
    except TypeError:
        raise TypeError(f"`pixel` must be whole numbers, one per pixel axis, but is {pixel!r}") from None
    if len(indices) != len(shape):
        raise ValueError(f"`pixel` must have {len(shape)} indices, one per pixel axis, but has {len(indices)}")
    if not all(-n <= i < n for i, n in zip(indices, shape, strict=True)):
        raise IndexError(f"`pixel` {indices} lies outside the pixel axes of shape {shape}")
    indices = tuple(i % n for i, n in zip(indices, shape, strict=True))
    status = Status(int(result["status"].data[indices]))
    if status & Status.UNSOLVED:
        raise ValueError(f"`pixel` {indices} was not solved ({status.name}): choose one with a DEM")
    return indices
