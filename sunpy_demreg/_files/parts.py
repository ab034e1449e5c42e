"""Conversion between a result and the contents of a file: arrays and headers."""

import re
from typing import NamedTuple

import numpy as np

import astropy.units as u
from astropy.wcs import WCS
from astropy.wcs.wcsapi import SlicedLowLevelWCS
from ndcube.wcs.tools import unwrap_wcs_to_fitswcs

from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.wcs import plane_wcs, prepend_axis, table_axis
from sunpy_demreg._engines.base.solution import Solution
from sunpy_demreg._files.encodings import encoded, encodings_for
from sunpy_demreg._results.checks import check_result
from sunpy_demreg._results.cubes import KEYS, rewrap_result, unwrap_result
from sunpy_demreg.response._bins import TemperatureBins

__all__ = [
    "CARDS",
    "OF_CHANNELS",
    "VERSION",
    "NewerFormat",
    "Parts",
    "channel_coordinate",
    "check_is_whole",
    "format_version",
    "from_contents",
    "pixel_header",
    "to_contents",
]

#: Version of the file formats, written as "sunpy_demreg 2". All versions from 1 on can be read; from 2 on everything
#: has a checksum.
VERSION = 2
#: Options that are written to the primary header.
CARDS = {"PARCHOIC": "parameter_choice", "POSITIV": "positivity", "CHI2TARG": "chi_squared_target"}
#: Cubes with an axis of channels.
OF_CHANNELS = ("predicted_intensity", "intensity")


class NewerFormat(ValueError):
    """A file is sound, but was written by a later version of this package."""


def format_version(found, kind="sunpy_demreg", newest=VERSION):
    """The version in a file's "sunpy_demreg 2"; raises, with the reason, if it cannot be read."""
    match = re.fullmatch(rf"{kind} ([1-9]\d{{0,3}})", str(found))
    if not match:
        raise ValueError(f"its FORMAT is {found!r}, not '{kind} {newest}'")
    if (version := int(match[1])) > newest:
        raise NewerFormat(
            f"has the format {found!r}, but this version of sunpy_demreg supports versions up to {newest}: "
            "`pip install --upgrade sunpy-demreg`"
        )
    return version


class Parts(NamedTuple):
    """Contents of a file. Pixel axes that were dropped, as by ``result[5]``, have the length one."""

    arrays: dict  # of the cubes by their keys, and of uncertainties as "dem_uncertainty"
    masks: dict  # of cubes whose mask differs from that of the unsolved pixels
    headers: dict  # FITS headers with the coordinates of each array
    units: dict  # of each array
    dropped: tuple  # the pixel axes that were dropped
    edges: u.Quantity
    coordinate: u.Quantity  # of each channel
    meta: dict


def to_contents(result, encoding=None):
    """
    The contents of the file of a result, with its values encoded.

    Raises
    ------
    TypeError, ValueError
        If it is not a result, or has coordinates that a FITS header cannot hold.
    """
    check_is_whole(result)
    meta = dict(result.meta)
    edges = meta.pop("temperature_bin_edges")
    flat, masks = unwrap_result(result)
    units = {name: result[name.removesuffix("_uncertainty")].unit for name in flat}
    _check_shapes(flat, edges, meta["channels"])
    wcs = result["status"].wcs
    header, is_dropped = pixel_header(wcs)
    dropped = np.flatnonzero(is_dropped)
    of_channels = next((result[key] for key in OF_CHANNELS if key in result), None)
    coordinate = channel_coordinate(of_channels) if of_channels else np.arange(1, len(meta["channels"]) + 1) * u.one

    def expanded(array):
        return np.expand_dims(array, tuple(array.ndim - (is_dropped.size - dropped.size) + dropped))

    # Cubes rebuilt from the arrays have standard units.
    unit, channel_wcs = (of_channels.unit, of_channels.wcs) if of_channels else (None, None)
    for key, bare in rewrap_result(flat, edges, unit, wcs, channel_wcs, {}).items():
        if units[key] != bare.unit:
            raise wrong(ValueError, f"result[{key!r}]", f"is in {units[key]}: convert it back to {bare.unit}")
    if encoding is not None:
        flat |= {name: encoded(flat[name], how) for name, how in encodings_for(flat, encoding).items()}
        meta["encoding"] = encoding
    arrays = {name: expanded(array) for name, array in flat.items()}
    headers = {name: _header(header, name, array.ndim, is_dropped.size, edges) for name, array in arrays.items()}
    masks = {key: expanded(mask) for key, mask in masks.items()}
    return Parts(arrays, masks, headers, units, tuple(dropped.tolist()), edges, coordinate, meta)


def from_contents(parts):
    """
    The inverse of `to_contents`; of the headers only that of the status is needed, of the units one of a channel.

    Raises
    ------
    ValueError
        If the shapes do not fit together.
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
    unit = next((parts.units[key] for key in OF_CHANNELS if key in parts.units), None)
    result = rewrap_result(arrays, parts.edges, unit, wcs, prepend_axis(wcs, parts.coordinate, *kind), parts.meta)
    for key, mask in parts.masks.items():
        result[key].mask = squeezed(mask).reshape(result[key].data.shape)
    return result


def check_is_whole(result):
    """Raise unless it is a result with all that its file has to name."""
    check_result(result, "status", meta=("channels", *CARDS.values()))
    if added := [key for key in result if key not in KEYS]:
        key = repr(added[0])
        raise wrong(
            ValueError,
            "result",
            f"has {', '.join(map(repr, added))}, but a file can only hold what `sunpy_demreg.invert` returns: "
            f"`del result[{key}]`, and write it separately, `sunpy_demreg.write(result[{key}], ...)`",
        )


def _check_shapes(arrays, edges, channels):
    n, pixels = len(channels), arrays["status"].shape
    expected = Solution.shapes(n, len(edges) - 1, len(arrays.get("emission_measure", ())))
    expected |= {"intensity": (n,), "intensity_uncertainty": (n,)}
    for name, array in arrays.items():
        shape = (*expected.get(name, ()), *pixels)
        if array.shape != shape:
            raise wrong(
                ValueError,
                "result",
                f"has {name} of shape {array.shape}, not {shape}: slice all its cubes in the same way, along pixel "
                "axes",
            )


def pixel_header(wcs):
    """Header with the coordinates of the pixel axes, and which of these axes were dropped from the arrays."""
    if (named := table_axis(wcs)) is not None and named[0] == "draw":
        raise wrong(
            ValueError,
            "result",
            "has an axis of draws, which the file of a whole result does not hold: write single cubes, such as "
            "`write(result['dem'], path)`, or the percentiles of one, `write(percentiles(result['dem']), path)`",
        )
    try:
        wcs, dropped = unwrap_wcs_to_fitswcs(plane_wcs(wcs))
    except TypeError:
        wcs = None
    # Coordinates in tables outside the header would be lost.
    if wcs is None or wcs.wcs.tab or any((wcs.cpdis1, wcs.cpdis2, wcs.det2im1, wcs.det2im2)):
        raise wrong(
            ValueError,
            "result",
            "has coordinates that do not fit into a FITS header: invert maps, or a cube with the FITS WCS of an image "
            "(for a series, write one time, `result[0]`, or all of them to a .zarr store)",
        )
    return wcs.to_header(relax=True, key=" "), dropped


def _header(of_pixels, name, n_axes, n_pixel_axes, edges):
    """Header of the pixel axes and those before them."""
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
    """A logarithmic axis in K for bins that are uniform in log T, otherwise bin numbers (the edges have a table)."""
    step = np.diff(np.log(edges.to_value(u.K)))
    if not np.allclose(step, step[0], rtol=1e-9):
        return {"CTYPE": "TEMP_BIN"}
    first = TemperatureBins(edges).centers[0].to_value(u.K)
    return {"CTYPE": "TEMP-LOG", "CUNIT": "K", "CRVAL": first, "CDELT": first * step.mean()}


def channel_coordinate(cube):
    """Wavelengths of the channels, or their numbers."""
    coordinate, *others = cube.axis_world_coords(0)
    if others or not isinstance(coordinate, u.Quantity) or coordinate.shape != cube.data.shape[:1]:
        raise wrong(
            ValueError, "result", "has no coordinate of the channels alone, such as a wavelength: invert other cubes"
        )
    return u.Quantity(coordinate)
