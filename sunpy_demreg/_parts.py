"""A result taken apart into what a file holds, arrays and headers, and put together again."""

from typing import NamedTuple

import numpy as np

import astropy.units as u
from astropy.wcs import WCS
from astropy.wcs.wcsapi import SlicedLowLevelWCS
from ndcube import NDCollection
from ndcube.wcs.tools import unwrap_wcs_to_fitswcs

from sunpy_demreg._regularization import Solution
from sunpy_demreg._wcs import _prepend_axis
from sunpy_demreg.result import _bin_centers, _wrap

__all__ = ["CARDS", "FORMAT", "Parts", "put_together", "take_apart", "unit_name"]

#: Of a file, whatever its kind.
FORMAT = "sunpy_demreg 1"
#: Options that a file names at its beginning.
CARDS = {"PARCHOIC": "parameter_choice", "POSITIV": "positivity", "CHI2TARG": "chi_squared_target"}
_NEEDED = ("dem", "status")
_CUBES = (*(field for field in Solution._fields[:-1] if not field.endswith("_uncertainty")), "intensity", "status")
_OF_CHANNELS = ("predicted_intensity", "intensity")


class Parts(NamedTuple):
    """What a file holds. Pixel axes that the result lacks, as ``result[5]`` does, have the length one."""

    arrays: dict  # of the cubes by their keys, and of uncertainties as "dem_uncertainty"
    masks: dict  # of the cubes whose mask is another than that of the unsolved pixels
    headers: dict  # FITS headers with the coordinates of each array
    units: dict  # of each array
    dropped: tuple  # the pixel axes that the result lacks
    edges: u.Quantity
    coordinate: u.Quantity  # of each channel
    meta: dict


def take_apart(result):
    """
    The parts of a result.

    Raises
    ------
    TypeError, ValueError
        If it is none, or has coordinates that no FITS header holds.
    """
    _check_is_result(result)
    meta = dict(result.meta)
    edges = meta.pop("temperature_bin_edges")
    flat, units = {}, {}
    for key in _CUBES:
        if key in result:
            flat[key], units[key] = np.asarray(result[key].data), result[key].unit
            if result[key].uncertainty is not None:
                flat[f"{key}_uncertainty"] = np.asarray(result[key].uncertainty.array)
                units[f"{key}_uncertainty"] = result[key].unit
    _check_shapes(flat, edges, meta["channels"])
    wcs = result["status"].wcs
    header, is_dropped = _pixel_header(wcs)
    dropped = np.flatnonzero(is_dropped)
    of_channels = next((result[key] for key in _OF_CHANNELS if key in result), None)
    coordinate = _channel_coordinate(of_channels) if of_channels else np.arange(1, len(meta["channels"]) + 1) * u.one

    def expanded(array):
        return np.expand_dims(array, tuple(array.ndim - (is_dropped.size - dropped.size) + dropped))

    # What will be made of the arrays alone tells what else there is to keep.
    unit, channel_wcs = (of_channels.unit, of_channels.wcs) if of_channels else (None, None)
    masks = {}
    for key, bare in _cubes(flat, edges, unit, wcs, channel_wcs, {}).items():
        if units[key] != bare.unit:
            raise ValueError(f"`result[{key!r}]` is in {units[key]}: convert it back to {bare.unit}")
        mask, derived = (np.broadcast_to(c.mask is not None and c.mask, c.data.shape) for c in (result[key], bare))
        if not np.array_equal(mask, derived):
            masks[key] = expanded(mask)
    arrays = {name: expanded(array) for name, array in flat.items()}
    headers = {name: _header(header, name, array.ndim, is_dropped.size, edges) for name, array in arrays.items()}
    return Parts(arrays, masks, headers, units, tuple(dropped.tolist()), edges, coordinate, meta)


def put_together(parts):
    """
    The inverse of `take_apart`; of the headers only that of the status is needed, of the units one of a channel.

    Raises
    ------
    ValueError
        If the shapes do not belong to one result.
    """
    wcs = WCS(parts.headers["status"])
    n_axes = wcs.naxis

    def squeezed(array):
        return np.squeeze(array, tuple(array.ndim - n_axes + axis for axis in parts.dropped))

    arrays = {name: squeezed(array) for name, array in parts.arrays.items()}
    for channels in (parts.coordinate, parts.meta["channels"]):
        _check_shapes(arrays, parts.edges, channels)
    if parts.dropped:
        wcs = SlicedLowLevelWCS(wcs, [0 if i in parts.dropped else slice(None) for i in range(n_axes)])
    kind = ("wavelength", "em.wl") if parts.coordinate.unit.is_equivalent(u.m) else ("channel", "custom:channel")
    unit = next((parts.units[key] for key in _OF_CHANNELS if key in parts.units), None)
    result = _cubes(arrays, parts.edges, unit, wcs, _prepend_axis(wcs, parts.coordinate, *kind), parts.meta)
    for key, mask in parts.masks.items():
        result[key].mask = squeezed(mask).reshape(result[key].data.shape)
    return result


def _cubes(arrays, edges, intensity_unit, wcs, channel_wcs, meta):
    """The result of these arrays; the other arguments are those of `sunpy_demreg.result._wrap`."""
    arrays, observed = dict(arrays), None
    if "intensity" in arrays:
        observed = arrays.pop("intensity"), arrays.pop("intensity_uncertainty"), None
    solution = Solution(**(dict.fromkeys(Solution._fields) | arrays))
    return _wrap(solution, edges, intensity_unit, wcs, channel_wcs, meta, observed)


def _check_is_result(result):
    rule = "`result` must be what `invert` returns"
    if not isinstance(result, NDCollection):
        raise TypeError(f"{rule}, an NDCollection of its cubes, but is a {type(result).__name__}")
    missing = [repr(key) for key in _NEEDED if key not in result]
    meta = ("temperature_bin_edges", "channels", *CARDS.values())
    missing += [f"meta[{key!r}]" for key in meta if key not in (result.meta or {})]
    if missing:
        raise ValueError(f"{rule}, but lacks {', '.join(missing)}: write it whole")


def _check_shapes(arrays, edges, channels):
    n, pixels = len(channels), arrays["status"].shape
    expected = Solution.shapes(n, len(edges) - 1, len(arrays.get("emission_measure", ())))
    expected |= {"intensity": (n,), "intensity_uncertainty": (n,)}
    for name, array in arrays.items():
        shape = (*expected.get(name, ()), *pixels)
        if array.shape != shape:
            raise ValueError(
                f"`result` has {name} of shape {array.shape}, not {shape}: slice all its cubes alike, along pixel axes"
            )


def _pixel_header(wcs):
    """Header with the coordinates of the pixel axes, and which of these axes the arrays lack."""
    try:
        wcs, dropped = unwrap_wcs_to_fitswcs(wcs.low_level_wcs)
    except TypeError:
        wcs = None
    # Coordinates in tables outside the header would be lost.
    if wcs is None or wcs.wcs.tab or any((wcs.cpdis1, wcs.cpdis2, wcs.det2im1, wcs.det2im2)):
        raise ValueError(
            "`result` has coordinates that no FITS header holds: invert maps, or a cube with the FITS WCS of an image"
        )
    return wcs.to_header(relax=True, key=" "), dropped


def _header(of_pixels, name, n_axes, n_pixel_axes, edges):
    """Of the pixel axes and those in front."""
    header = of_pixels.copy()
    if n_axes > n_pixel_axes:
        header["WCSAXES"] = n_axes
        cards = {
            "predicted_intensity": {"CTYPE": "CHANNEL"},
            "intensity": {"CTYPE": "CHANNEL"},
            "emission_measure": {"CTYPE": "RANGE"},
        }.get(name.removesuffix("_uncertainty"), _temperature_cards(edges))
        for axis in range(n_axes, n_pixel_axes, -1):
            for keyword, value in ({"CRPIX": 1.0, "CRVAL": 1.0, "CDELT": 1.0} | cards).items():
                header[f"{keyword}{axis}"] = value
    return header


def _temperature_cards(edges):
    """A logarithmic axis in K where the bins are even; their number otherwise (the edges are in their table)."""
    step = np.diff(np.log(edges.to_value(u.K)))
    if not np.allclose(step, step[0], rtol=1e-9):
        return {"CTYPE": "TEMP_BIN"}
    first = _bin_centers(edges)[0].to_value(u.K)
    return {"CTYPE": "TEMP-LOG", "CUNIT": "K", "CRVAL": first, "CDELT": first * step.mean()}


def _channel_coordinate(cube):
    coordinate, *others = cube.axis_world_coords(0)
    if others or not isinstance(coordinate, u.Quantity) or coordinate.shape != cube.data.shape[:1]:
        raise ValueError("`result` has no coordinate of the channels alone, such as a wavelength: invert other cubes")
    return u.Quantity(coordinate)


def unit_name(unit):
    """In the notation of the FITS standard, unless it lacks the unit (as DN and dex): then in astropy's."""
    try:
        return unit.to_string("fits")
    except ValueError:
        return unit.to_string()
