"""Results to and from FITS files."""

import os
import secrets
import shutil
from pathlib import Path

import numpy as np

import astropy.units as u
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS
from astropy.wcs.wcsapi import SlicedLowLevelWCS
from ndcube import NDCollection
from ndcube.wcs.tools import unwrap_wcs_to_fitswcs
from sunpy.util.exceptions import warn_user

from sunpy_demreg import __version__
from sunpy_demreg._fits_stream import append_images, computed_images
from sunpy_demreg._lazy import is_lazy
from sunpy_demreg._metadata import from_text, to_text
from sunpy_demreg._regularization import Solution
from sunpy_demreg._wcs import _plane, _prepend_axis
from sunpy_demreg.result import _bin_centers, _unwrap, _wrap

__all__ = ["read", "write"]

_FORMAT = "sunpy_demreg 1"
_CUBES = tuple(field for field in Solution._fields if not field.endswith("_uncertainty"))
_NEEDED = ("dem", "status")
_CARDS = {"PARCHOIC": "parameter_choice", "POSITIV": "positivity", "CHI2TARG": "chi_squared_target"}


def write(result, path, *, overwrite=False):
    """
    Write a result to a FITS file or a Zarr store.

    Parameters
    ----------
    result : `ndcube.NDCollection`
        From `sunpy_demreg.invert`; it may be sliced along the pixel axes.
    path : path-like
        Ends in ``.fits``, in ``.fits.gz`` for a compressed file, or in ``.zarr`` for a Zarr store.
    overwrite : `bool`, optional
        Whether to replace a file that exists. Its permissions are kept, and of a link the target is replaced.

    Raises
    ------
    FileExistsError, FileNotFoundError, IsADirectoryError
        If the file exists and is to be kept, its folder does not exist, or ``path`` is a folder.
    TypeError, ValueError
        If ``result`` is not what `sunpy_demreg.invert` returns, its coordinates are of a kind that FITS cannot
        hold, or the name has another ending.

    Warns
    -----
    sunpy.util.exceptions.SunpyUserWarning
        If the metadata hold anything but numbers, text, dates, quantities, arrays, and collections of these:
        of such values only the text is written. (Subclasses of Quantity, such as Angle, come back as Quantity.)

    Notes
    -----
    Every output has its own image extension (``DEM``, ``DEM_UNCERTAINTY``, ``TEMPERATURE_RESOLUTION``,
    ``CHI_SQUARED``, ``PREDICTED_INTENSITY``, ``REGULARIZATION_PARAMETER``, ``STATUS``, and others if there) with the
    celestial coordinates of the image and the unit of the values. A mask that was changed after the inversion has
    one too, such as ``DEM_MASK``. The tables ``TEMPERATURE_BIN_EDGES``, ``CHANNELS`` and ``META`` (the metadata, as
    JSON) complete it. A pixel axis that was dropped, as by ``result[5]``, has the length one in the file.

    With m temperature bins and n channels a file takes ``8 (3 m + n + 3)`` bytes per pixel: 1 GB for 1024 x 1024
    pixels, 36 bins and 6 channels; half of that with ``dtype="float32"``. The name ``.fits.gz`` compresses it,
    without loss. Of Dask arrays a file holds, instead of the checksum of a whole image extension, that of its data.

    A Zarr store is a folder of compressed chunks, 256 x 256 pixels each, with all temperatures. It needs the ``batch``
    extra, is the only format for a series in time, and is written and read block by block, so neither needs memory
    for the whole of a result that holds Dask arrays. Each output is an array named as above, in lower case, with its
    axes by name and its ``units``; "temperature", "temperature_edge", "channel" and "time" are coordinates; the
    coordinates of the image are a FITS header in the attribute ``wcs``, one card per line. So xarray opens it too,
    ``xarray.open_zarr(path, consolidated=False)``.
    """
    path = Path(path).expanduser()
    if path.is_dir() and path.suffix != ".zarr":
        raise IsADirectoryError(f"`path` {str(path)!r} is a folder: name a file in it")
    if not path.name.endswith((".fits", ".fits.gz", ".zarr")):
        raise ValueError(f"`path` must end in .fits, .fits.gz or .zarr, but is {path.name!r}")
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(f"`path` names the folder {str(target.parent)!r}, which does not exist: make it first")
    if target.exists() and not overwrite:
        raise FileExistsError(f"`path` {str(path)!r} exists: choose another name, or pass overwrite=True")
    if path.suffix == ".zarr":
        return _write_store(result, target)
    hdus, lazy = _to_hdus(result)
    if path.suffix == ".gz":  # which can only be written from end to end
        hdus, lazy = fits.HDUList([*hdus, *computed_images(lazy)]), []
    # A file that is written halfway must not carry the name: it is moved there when it is complete.
    part = target.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        hdus.writeto(part, checksum=True)
        append_images(part, lazy)
        if not overwrite:
            target.touch(exist_ok=False)  # claims the name, or raises if another program was faster
        elif target.exists():
            shutil.copymode(target, part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def read(path):
    """
    Read a result that `write` wrote. Nothing in the file is run, wherever it comes from.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    `ndcube.NDCollection`
        As from `sunpy_demreg.invert`. That of a Zarr store holds Dask arrays.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a result of this package, or is damaged: every checksum is verified, that of a chunk of a Zarr
        store when it is loaded.
    """
    path = Path(path).expanduser()
    try:
        if path.suffix == ".zarr" and path.is_dir():
            from sunpy_demreg._zarr import read_store

            return read_store(path)
        with fits.open(path, disable_image_compression=True) as hdus:
            return _from_hdus(hdus)
    except (FileNotFoundError, IsADirectoryError, PermissionError, MemoryError):
        raise
    except Exception as err:  # damage shows in as many ways as there are bytes
        raise ValueError(
            f"`path` {str(path)!r} is not a result that sunpy_demreg.write wrote, or is damaged "
            f"({type(err).__name__}: {err})"
        ) from err


def _write_store(result, target):
    import dask

    from sunpy_demreg._zarr import create, store

    _check_is_result(result)
    part = target.with_name(f".{secrets.token_hex(4)}.{target.name}")
    try:
        dask.compute(*store(create(part, result), result))
        if target.exists():
            old = part.with_suffix(".old")
            target.replace(old)
            part.replace(target)
            shutil.rmtree(old)
        else:
            part.replace(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _to_hdus(result):
    _check_is_result(result)
    solution, masks = _unwrap(result)
    meta = dict(result.meta)
    edges = meta.pop("temperature_bin_edges")
    _check_shapes(solution, edges, meta["channels"])
    wcs, predicted = result["status"].wcs, result.get("predicted_intensity")
    header, dropped = _pixel_header(wcs)

    def add_image(key, array, unit, suffix=""):
        n_leading = array.ndim - np.count_nonzero(~dropped)
        array = np.expand_dims(array, tuple(n_leading + np.flatnonzero(dropped)))
        given = array
        if is_lazy(given):
            array = np.broadcast_to(np.zeros((), given.dtype), given.shape)
        array.flags.writeable = False  # or astropy swaps the bytes of the caller's array, and swaps them back later
        hdu = fits.ImageHDU(array, header.copy(), name=f"{key}{suffix}".upper())
        hdu.header["BUNIT"] = _unit_name(unit)
        if n_leading:
            hdu.header["WCSAXES"] = array.ndim
            cards = {
                "predicted_intensity": {"CTYPE": "CHANNEL"},
                "emission_measure": {"CTYPE": "RANGE"},
            }.get(key.removesuffix("_uncertainty"), _temperature_cards(edges))
            for axis in range(array.ndim, array.ndim - n_leading, -1):
                for keyword, value in ({"CRPIX": 1.0, "CRVAL": 1.0, "CDELT": 1.0} | cards).items():
                    hdu.header[f"{keyword}{axis}"] = value
        if is_lazy(given):
            lazy.append((hdu.header, given))
        else:
            hdus.append(hdu)

    lazy = []  # images to write block by block, with their headers
    hdus = fits.HDUList([fits.PrimaryHDU()])
    primary = hdus[0].header
    primary["FORMAT"] = (_FORMAT, "read with sunpy_demreg.read")
    primary["CREATOR"] = f"sunpy_demreg {__version__}"
    primary["DROPPED"] = (" ".join(map(str, len(dropped) - np.flatnonzero(dropped))), "axes that the result lacks")
    for keyword, key in _CARDS.items():
        primary[keyword] = (meta[key] if isinstance(meta[key], int | float) else str(meta[key]), key)
    fields = [field for field, array in solution._asdict().items() if array is not None]
    primary["OUTPUTS"] = " ".join(fields)
    for field, array in solution._asdict().items():
        if field in fields:
            add_image(field, array, result[field.removesuffix("_uncertainty")].unit)
    for key, mask in masks.items():
        add_image(key, mask.astype(np.uint8), u.one, "_mask")
    unit, channel_wcs = (predicted.unit, predicted.wcs) if predicted else (None, None)
    bare = _wrap(solution, edges, unit, wcs, channel_wcs, {})
    for key, cube in bare.items():
        if result[key].unit != cube.unit:
            raise ValueError(f"`result[{key!r}]` is in {result[key].unit}: convert it back to {cube.unit}")
    text, as_text = to_text(meta)
    text = text.encode("ascii")
    if as_text:
        warn_user(f"`result` has metadata of which only the text is written: {', '.join(as_text)}", stacklevel=3)
    labels = [label.encode("ascii", "backslashreplace") for label in meta["channels"]]
    coordinate = _channel_coordinate(predicted) if predicted else np.arange(1, len(labels) + 1) * u.one
    for name, columns in (
        ("TEMPERATURE_BIN_EDGES", {"edge": edges}),
        ("CHANNELS", {"channel": labels, "coordinate": coordinate}),
        ("META", {"json": [text[i : i + 80] for i in range(0, len(text), 80)]}),
    ):
        hdus.append(fits.table_to_hdu(QTable(columns)))
        hdus[-1].name = name
    return hdus, lazy


def _from_hdus(hdus):
    if (found := hdus[0].header.get("FORMAT")) != _FORMAT:
        raise ValueError(f"its card FORMAT is {found!r}, not {_FORMAT!r}")
    for hdu in hdus:
        if hdu.verify_checksum() == 0 or hdu.verify_datasum() == 0:
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
    solution = Solution(**(dict.fromkeys(Solution._fields) | arrays))
    edges = quantity(hdus["TEMPERATURE_BIN_EDGES"], "edge").to(u.K)
    coordinate = quantity(hdus["CHANNELS"], "coordinate")
    text = np.asarray(hdus["META"].data)["json"].tobytes().replace(b"\0", b" ")  # FITS pads with either
    meta = from_text(text.decode("ascii"))
    for channels in (coordinate, meta["channels"]):
        _check_shapes(solution, edges, channels)
    if dropped:
        wcs = SlicedLowLevelWCS(wcs, [0 if i in dropped else slice(None) for i in range(wcs.naxis)])
    kind = ("wavelength", "em.wl") if coordinate.unit.is_equivalent(u.m) else ("channel", "custom:channel")
    unit = u.Unit(hdus["PREDICTED_INTENSITY"].header["BUNIT"]) if "PREDICTED_INTENSITY" in hdus else None
    result = _wrap(solution, edges, unit, wcs, _prepend_axis(wcs, coordinate, *kind), meta)
    for key, cube in result.items():
        if f"{key}_MASK" in hdus:
            cube.mask = image(f"{key}_MASK", "u").astype(bool).reshape(cube.data.shape)
    return result


def _check_is_result(result):
    rule = "`result` must be what `invert` returns"
    if not isinstance(result, NDCollection):
        raise TypeError(f"{rule}, an NDCollection of its cubes, but is a {type(result).__name__}")
    missing = [repr(key) for key in _NEEDED if key not in result]
    meta = ("temperature_bin_edges", "channels", *_CARDS.values())
    missing += [f"meta[{key!r}]" for key in meta if key not in (result.meta or {})]
    if missing:
        raise ValueError(f"{rule}, but lacks {', '.join(missing)}: write it whole")


def _check_shapes(solution, edges, channels):
    pixels, q = solution.status.shape, 0 if solution.emission_measure is None else len(solution.emission_measure)
    expected = Solution.shapes(len(channels), len(edges) - 1, q)
    for field, array in solution._asdict().items():
        shape = (*expected.get(field, ()), *pixels)
        if array is not None and array.shape != shape:
            raise ValueError(
                f"`result` has {field} of shape {array.shape}, not {shape}: slice all its cubes alike, along pixel axes"
            )


def _pixel_header(wcs):
    """Header with the coordinates of the pixel axes, and which of these axes the arrays lack."""
    try:
        wcs, dropped = unwrap_wcs_to_fitswcs(_plane(wcs))
    except TypeError:
        wcs = None
    # Coordinates in tables outside the header would be lost.
    if wcs is None or wcs.wcs.tab or any((wcs.cpdis1, wcs.cpdis2, wcs.det2im1, wcs.det2im2)):
        raise ValueError(
            "`result` has coordinates that no FITS header holds: invert maps, or a cube with the FITS WCS of an image "
            "(of a series write one time, `result[0]`, or all of them to a .zarr store)"
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


def _unit_name(unit):
    """In the notation of the FITS standard, unless it lacks the unit (as DN and dex): then in astropy's."""
    try:
        return unit.to_string("fits")
    except ValueError:
        return unit.to_string()
