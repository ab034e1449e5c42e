"""Results as FITS files."""

import numpy as np

import astropy.units as u
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS
from astropy.wcs.wcsapi import SlicedLowLevelWCS
from ndcube.wcs.tools import unwrap_wcs_to_fitswcs
from sunpy.util.exceptions import warn_user

from sunpy_demreg import __version__
from sunpy_demreg._metadata import from_text, to_text
from sunpy_demreg._parts import CARDS, arrays_of, check_is_result, check_shapes, put_together
from sunpy_demreg._wcs import _prepend_axis
from sunpy_demreg.result import _bin_centers

__all__ = ["from_file", "to_file", "unit_name"]

_FORMAT = "sunpy_demreg 1"


def to_file(result):
    """A function that writes the result to a path."""
    hdus = _to_hdus(result)
    return lambda path: hdus.writeto(path, checksum=True)


def from_file(path):
    """The result in a file."""
    with fits.open(path, disable_image_compression=True) as hdus:
        return _from_hdus(hdus)


def _to_hdus(result):
    check_is_result(result)
    arrays = arrays_of(result)
    meta = dict(result.meta)
    edges = meta.pop("temperature_bin_edges")
    check_shapes(arrays, edges, meta["channels"])
    wcs = result["status"].wcs
    of_channels = next((result[key] for key in ("predicted_intensity", "intensity") if key in result), None)
    header, dropped = _pixel_header(wcs)

    def image(key, array, unit, suffix=""):
        n_leading = array.ndim - np.count_nonzero(~dropped)
        array = np.expand_dims(array, tuple(n_leading + np.flatnonzero(dropped)))
        array.flags.writeable = False  # or astropy swaps the bytes of the caller's array, and swaps them back later
        hdu = fits.ImageHDU(array, header.copy(), name=f"{key}{suffix}".upper())
        hdu.header["BUNIT"] = unit_name(unit)
        if n_leading:
            hdu.header["WCSAXES"] = array.ndim
            cards = {
                "predicted_intensity": {"CTYPE": "CHANNEL"},
                "intensity": {"CTYPE": "CHANNEL"},
                "emission_measure": {"CTYPE": "RANGE"},
            }.get(key.removesuffix("_uncertainty"), _temperature_cards(edges))
            for axis in range(array.ndim, array.ndim - n_leading, -1):
                for keyword, value in ({"CRPIX": 1.0, "CRVAL": 1.0, "CDELT": 1.0} | cards).items():
                    hdu.header[f"{keyword}{axis}"] = value
        return hdu

    hdus = fits.HDUList([fits.PrimaryHDU()])
    primary = hdus[0].header
    primary["FORMAT"] = (_FORMAT, "read with sunpy_demreg.read")
    primary["CREATOR"] = f"sunpy_demreg {__version__}"
    primary["DROPPED"] = (" ".join(map(str, len(dropped) - np.flatnonzero(dropped))), "axes that the result lacks")
    for keyword, key in CARDS.items():
        primary[keyword] = (meta[key] if isinstance(meta[key], int | float) else str(meta[key]), key)
    primary["OUTPUTS"] = " ".join(arrays)
    for field, array in arrays.items():
        hdus.append(image(field, array, result[field.removesuffix("_uncertainty")].unit))
    # What `read` will make of the arrays alone tells what else there is to keep.
    unit, channel_wcs = (of_channels.unit, of_channels.wcs) if of_channels else (None, None)
    bare = put_together(arrays, edges, unit, wcs, channel_wcs, {})
    for key, cube in bare.items():
        if result[key].unit != cube.unit:
            raise ValueError(f"`result[{key!r}]` is in {result[key].unit}: convert it back to {cube.unit}")
        mask, derived = (np.broadcast_to(c.mask is not None and c.mask, c.data.shape) for c in (result[key], cube))
        if not np.array_equal(mask, derived):
            hdus.append(image(key, mask.astype(np.uint8), u.one, "_mask"))
    text, as_text = to_text(meta)
    text = text.encode("ascii")
    if as_text:
        warn_user(f"`result` has metadata of which only the text is written: {', '.join(as_text)}", stacklevel=4)
    labels = [label.encode("ascii", "backslashreplace") for label in meta["channels"]]
    coordinate = _channel_coordinate(of_channels) if of_channels else np.arange(1, len(labels) + 1) * u.one
    for name, columns in (
        ("TEMPERATURE_BIN_EDGES", {"edge": edges}),
        ("CHANNELS", {"channel": labels, "coordinate": coordinate}),
        ("META", {"json": [text[i : i + 80] for i in range(0, len(text), 80)]}),
    ):
        hdus.append(fits.table_to_hdu(QTable(columns)))
        hdus[-1].name = name
    return hdus


def _from_hdus(hdus):
    if (found := hdus[0].header.get("FORMAT")) != _FORMAT:
        raise ValueError(f"its card FORMAT is {found!r}, not {_FORMAT!r}")
    for hdu in hdus:
        if hdu.verify_checksum() == 0:
            raise ValueError(f"the checksum of {hdu.name} does not match")
    wcs = WCS(hdus["STATUS"].header)
    dropped = [wcs.naxis - int(axis) for axis in hdus[0].header["DROPPED"].split()]

    def image(name, kind):
        data = hdus[name].data
        if data.dtype.kind != kind:
            raise ValueError(f"{name} has values of the type {data.dtype}")
        data = np.array(data, dtype=data.dtype.newbyteorder("="))
        return np.squeeze(data, tuple(data.ndim - wcs.naxis + i for i in dropped))

    def quantity(hdu, name):
        # The numbers as they are: QTable.read would run what the comments of the table say.
        return u.Quantity(np.asarray(hdu.data)[name].ravel().astype(float), hdu.columns[name].unit or "")

    fields = hdus[0].header["OUTPUTS"].split()
    arrays = {field: image(field.upper(), "i" if field == "status" else "f") for field in fields}
    edges = quantity(hdus["TEMPERATURE_BIN_EDGES"], "edge").to(u.K)
    coordinate = quantity(hdus["CHANNELS"], "coordinate")
    text = np.asarray(hdus["META"].data)["json"].tobytes().replace(b"\0", b" ")  # FITS pads with either
    meta = from_text(text.decode("ascii"))
    for channels in (coordinate, meta["channels"]):
        check_shapes(arrays, edges, channels)
    if dropped:
        wcs = SlicedLowLevelWCS(wcs, [0 if i in dropped else slice(None) for i in range(wcs.naxis)])
    kind = ("wavelength", "em.wl") if coordinate.unit.is_equivalent(u.m) else ("channel", "custom:channel")
    of_channels = next((name for name in ("PREDICTED_INTENSITY", "INTENSITY") if name in hdus), None)
    unit = u.Unit(hdus[of_channels].header["BUNIT"]) if of_channels else None
    result = put_together(arrays, edges, unit, wcs, _prepend_axis(wcs, coordinate, *kind), meta)
    for key, cube in result.items():
        if f"{key}_MASK" in hdus:
            cube.mask = image(f"{key}_MASK", "u").astype(bool).reshape(cube.data.shape)
    return result


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
