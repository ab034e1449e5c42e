"""Results to and from FITS files."""

import os
import tempfile
from pathlib import Path

import numpy as np

import astropy.units as u
from astropy.io import fits
from astropy.io.misc import yaml
from astropy.table import QTable, Table
from astropy.wcs import WCS
from ndcube.wcs.tools import unwrap_wcs_to_fitswcs

from sunpy_demreg._regularization import Solution
from sunpy_demreg._wcs import _prepend_axis
from sunpy_demreg.result import _bin_centers, _wrap

__all__ = ["read", "write"]

_FORMAT = "sunpy_demreg 1"
# The extension of each array of a solution. The names are those of the result's keys.
_EXTENSIONS = {field: field.upper() for field in Solution._fields}


def write(result, path, *, overwrite=False):
    """
    Write a result to a FITS file.

    Every output has its own image extension (``DEM``, ``DEM_UNCERTAINTY``, ``TEMPERATURE_RESOLUTION``,
    ``CHI_SQUARED``, ``PREDICTED_INTENSITY``, ``REGULARIZATION_PARAMETER``, ``STATUS``) with the celestial
    coordinates of the image and the unit of the values. The tables ``TEMPERATURE_BIN_EDGES``, ``CHANNELS`` and
    ``META`` (the metadata, as YAML text) complete it.

    Parameters
    ----------
    result : `ndcube.NDCollection`
        From `sunpy_demreg.invert`; it may be sliced along the pixel axes.
    path : path-like
        Ends in ``.fits`` or ``.fits.gz``.
    overwrite : `bool`, optional
        Whether to replace a file that exists.

    Raises
    ------
    FileExistsError
        If the file exists and is to be kept.
    ValueError
        If the name has another ending, or the coordinates are of a kind that FITS cannot hold.
    """
    path = Path(path)
    if not path.name.endswith((".fits", ".fits.gz")):
        raise ValueError(f"`path` must end in .fits or .fits.gz, but is {path.name!r}")
    if path.exists() and not overwrite:
        raise FileExistsError(f"`path` {str(path)!r} exists: choose another name, or pass overwrite=True")
    hdus = _to_hdus(result)
    # A file that is written halfway must not carry the name: it is moved there when it is complete.
    suffix = ".fits.gz" if path.name.endswith(".gz") else ".fits"
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=suffix)
    os.close(handle)
    try:
        hdus.writeto(part, overwrite=True, checksum=True)
        os.chmod(part, 0o666 & ~_umask())
        os.replace(part, path)
    except BaseException:
        os.unlink(part)
        raise


def read(path):
    """
    Read a result that `write` wrote.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    `ndcube.NDCollection`
        As from `sunpy_demreg.invert`.

    Raises
    ------
    ValueError
        If the file is not FITS, or not a result of this package.
    """
    try:
        hdus = fits.open(path)
    except OSError as err:
        if isinstance(err, FileNotFoundError):
            raise
        raise ValueError(f"`path` {str(path)!r} cannot be read as FITS: {err}") from err
    with hdus:
        if hdus[0].header.get("FORMAT") != _FORMAT:
            raise ValueError(f"`path` {str(path)!r} is not a result that sunpy_demreg.write wrote")
        arrays = {
            field: np.array(hdus[name].data).astype(hdus[name].data.dtype.newbyteorder("="))
            for field, name in _EXTENSIONS.items()
        }
        solution = Solution(**arrays)
        edges = u.Quantity(QTable.read(hdus["TEMPERATURE_BIN_EDGES"])["edge"])
        wcs = WCS(hdus["CHI_SQUARED"].header)
        unit = u.Unit(hdus["PREDICTED_INTENSITY"].header["BUNIT"])
        channels = QTable.read(hdus["CHANNELS"])
        meta = yaml.load("\n".join(str(line) for line in Table.read(hdus["META"])["yaml"]))
    axis = u.Quantity(channels["coordinate"])
    kind = ("wavelength", "em.wl") if axis.unit.is_equivalent(u.m) else ("channel", "custom:channel")
    return _wrap(solution, edges, unit, wcs, _prepend_axis(wcs, axis, *kind), meta)


def _to_hdus(result):
    edges = result.meta["temperature_bin_edges"]
    m = len(edges) - 1
    if result["dem"].data.shape[0] != m:
        raise ValueError(
            f"`result` has {result['dem'].data.shape[0]} temperatures but {m} bins: do not slice that axis"
        )
    try:
        wcs, dropped = unwrap_wcs_to_fitswcs(result["chi_squared"].wcs.low_level_wcs)
    except TypeError as err:
        raise ValueError("`result` has coordinates that are not a FITS WCS: a FITS file cannot hold them") from err
    if dropped.any():
        raise ValueError("`result` has lost a pixel axis: keep it by slicing with a range, such as 5:6, not with 5")
    n_pixel_axes = result["status"].data.ndim
    meta = {key: value for key, value in result.meta.items() if key != "temperature_bin_edges"}
    primary = fits.PrimaryHDU()
    primary.header["FORMAT"] = (_FORMAT, "read with sunpy_demreg.read")
    for keyword, key in (
        ("PARCHOIC", "parameter_choice"),
        ("POSITIV", "positivity"),
        ("CHI2TARG", "chi_squared_target"),
    ):
        primary.header[keyword] = (str(meta[key]), key)
    hdus = [primary]
    for field, name in _EXTENSIONS.items():
        cube = result["dem" if field == "dem_uncertainty" else field]
        array = cube.uncertainty.array if field == "dem_uncertainty" else cube.data
        hdu = fits.ImageHDU(array, wcs.to_header(relax=True), name=name)
        hdu.header["BUNIT"] = _unit_name(cube.unit)
        if array.ndim > n_pixel_axes and field != "predicted_intensity":
            _add_temperature_axis(hdu.header, edges, n_pixel_axes + 1)
        hdus.append(hdu)
    coordinate = result["predicted_intensity"].axis_world_coords(0)[0]
    hdus += [
        _table_hdu(QTable({"edge": edges}), "TEMPERATURE_BIN_EDGES"),
        _table_hdu(QTable({"channel": list(meta["channels"]), "coordinate": u.Quantity(coordinate)}), "CHANNELS"),
        _table_hdu(Table({"yaml": yaml.dump(meta).splitlines()}), "META"),
    ]
    return fits.HDUList(hdus)


def _add_temperature_axis(header, edges, axis):
    """A logarithmic axis in K where the bins are even; their number otherwise (the edges are in their table)."""
    log_edges = np.log(edges.to_value(u.K))
    step = np.diff(log_edges)
    header["WCSAXES"] = axis
    header[f"CRPIX{axis}"] = 1.0
    if np.allclose(step, step[0], rtol=1e-9):
        first = _bin_centers(edges)[0].to_value(u.K)
        header[f"CTYPE{axis}"] = "TEMP-LOG"
        header[f"CUNIT{axis}"] = "K"
        header[f"CRVAL{axis}"] = first
        header[f"CDELT{axis}"] = first * step.mean()
    else:
        header[f"CTYPE{axis}"] = "TEMP_BIN"
        header[f"CRVAL{axis}"] = 0.0
        header[f"CDELT{axis}"] = 1.0


def _unit_name(unit):
    """In the notation of the FITS standard, unless it lacks the unit (as DN and dex): then in astropy's."""
    try:
        return unit.to_string("fits")
    except ValueError:
        return unit.to_string()


def _table_hdu(table, name):
    hdu = fits.table_to_hdu(table)
    hdu.name = name
    return hdu


def _umask():
    """The permissions that a new file would not get (only setting the mask tells it)."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
