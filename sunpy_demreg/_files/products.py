"""Products of a result, such as an emission measure, as FITS files: one image with its error and mask."""

import numpy as np

import astropy.units as u
from astropy.io import fits
from astropy.nddata import StdDevUncertainty
from astropy.table import QTable
from astropy.time import Time
from astropy.wcs import WCS
from astropy.wcs.wcsapi import SlicedLowLevelWCS

from sunpy_demreg._common.cube import Cube, Meta
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.metadata import from_text, to_text, unit_name, warn_of_text
from sunpy_demreg._common.wcs import prepend_axis, sky_wcs, table_axis
from sunpy_demreg._files.parts import pixel_header
from sunpy_demreg._results.convert import as_computed
from sunpy_demreg._results.headers import describe_image

__all__ = ["FORMAT", "cube_of", "product_hdus"]

FORMAT = "sunpy_demreg product"
_VERSION = 1
_CNAMES = {"HPLN": "helioprojective longitude", "HPLT": "helioprojective latitude"}


def product_hdus(cube, name):
    """
    The contents of the file of a product: the image in the primary HDU, then what belongs to it.

    Parameters
    ----------
    cube : `ndcube.NDCube`
    name : str
        Of the file.

    Raises
    ------
    TypeError, ValueError
        If the cube has coordinates, or errors, that do not fit into the file.
    """
    cube = as_computed(cube)
    if not isinstance(cube.uncertainty, StdDevUncertainty | None):
        raise wrong(
            TypeError,
            "result",
            f"has an uncertainty of the kind {cube.uncertainty.uncertainty_type!r}, but a file holds standard "
            "deviations: `cube.uncertainty.represent_as(StdDevUncertainty)`",
        )
    header, is_dropped, axis = _coordinates(cube)
    data, dropped = np.asarray(cube.data), np.flatnonzero(is_dropped)
    at = tuple(data.ndim - (is_dropped.size - dropped.size) + dropped)

    def image(array, of_name, unit):
        array = np.expand_dims(np.broadcast_to(array, data.shape), at)
        array = array.astype(np.uint8) if array.dtype == bool else np.array(array)
        kind = fits.ImageHDU if of_name != "IMAGE" else fits.PrimaryHDU
        hdu = kind(array, describe_image(header.copy(), cube))
        _name_axes(hdu.header, axis)
        hdu.header["BUNIT"] = unit_name(unit)
        hdu.header["EXTNAME"] = of_name
        return hdu

    hdus = fits.HDUList([image(data, "IMAGE", cube.unit)])
    now = Time.now().utc
    for keyword, value in {
        "FORMAT": (f"{FORMAT} {_VERSION}", "read with sunpy_demreg.read"),
        "SOLARNET": (0.5, "partly"),
        "OBS_HDU": 1,
        "FILENAME": name,
        "DATE": (now.isot, "of this file"),
        "ORIGIN": "not stated",
        "DROPPED": (" ".join(str(is_dropped.size - i) for i in dropped), "axes that the product lacks"),
    }.items():
        hdus[0].header[keyword] = value
    if cube.uncertainty is not None:
        hdus.append(image(cube.uncertainty.array, "UNCERTAINTY", cube.unit))
        hdus[-1].header["BTYPE"] = "standard deviation"
    if cube.mask is not None:
        hdus.append(image(np.asarray(cube.mask, dtype=bool), "MASK", u.one))
        hdus[-1].header["BTYPE"] = "1 where there is no value"
    meta = cube.meta or {}
    axes = {key: np.atleast_1d(value).tolist() for key, value in getattr(meta, "axes", {}).items()}
    about = {"meta": dict(meta), "axes": axes, "dtype": str(data.dtype), "unit": cube.unit.to_string()}
    about["dates"] = {key: value for key, value in header.items() if _is_date(key)}  # of the coordinates
    if axis is not None:
        about["axis"] = axis[1:]
        hdus.append(fits.table_to_hdu(QTable({"coordinate": axis[0]})))
        hdus[-1].name = "AXIS"
    text, as_text = to_text(about)
    warn_of_text(as_text)
    text = text.encode("ascii")
    hdus.append(fits.table_to_hdu(QTable({"json": [text[i : i + 80] for i in range(0, len(text), 80)]})))
    hdus[-1].name = "META"
    return hdus


def cube_of(hdus):
    """The product in a file whose checksums were verified."""
    found = str(hdus[0].header["FORMAT"])
    if found != f"{FORMAT} {_VERSION}":
        raise ValueError(f"its FORMAT is {found!r}, but this version reads '{FORMAT} {_VERSION}': update sunpy_demreg")
    about = from_text(np.asarray(hdus["META"].data)["json"].tobytes().replace(b"\0", b" ").decode("ascii"))
    header = hdus[0].header.copy()
    for key in filter(_is_date, list(header)):
        del header[key]
    header.update(about["dates"])
    wcs = WCS(header).sub(2 if "axis" not in about else hdus[0].header["NAXIS"] - 1)
    dropped = [wcs.naxis - (int(i)) for i in hdus[0].header["DROPPED"].split()]
    at = tuple(hdus[0].header["NAXIS"] - wcs.naxis + i for i in dropped)

    def array(name, dtype):
        return np.squeeze(np.array(hdus[name].data, dtype=dtype), at)

    data = array("IMAGE", about["dtype"])
    if dropped:
        wcs = SlicedLowLevelWCS(wcs, [0 if i in dropped else slice(None) for i in range(wcs.naxis)])
    if "axis" in about:
        table = hdus["AXIS"]
        values = u.Quantity(np.asarray(table.data)["coordinate"].astype(float), table.columns[0].unit or "")
        wcs = prepend_axis(wcs, values, *about["axis"])
    meta = about["meta"]
    if about["axes"]:
        meta = Meta(meta, axes={key: tuple(value) for key, value in about["axes"].items()}, data_shape=data.shape)
    return Cube(
        data,
        wcs,
        unit=u.Unit(about["unit"]),
        uncertainty=StdDevUncertainty(array("UNCERTAINTY", float), copy=False) if "UNCERTAINTY" in hdus else None,
        mask=array("MASK", bool) if "MASK" in hdus else None,
        meta=meta,
    )


def _coordinates(cube):
    """The header of the pixel axes, which of these were dropped, and the axis before them: values, name, type."""
    if (named := table_axis(cube.wcs)) is None:
        return *pixel_header(cube.wcs), None
    if named[1] == "time" or cube.data.ndim == 1:
        raise wrong(
            ValueError,
            "result",
            "is a series in time, or of one pixel, but a file of a product holds an image, or planes of one: write one "
            "of its steps, such as `cube[0]`, or the whole result",
        )
    [values] = cube.axis_world_coords(0)
    return *pixel_header(sky_wcs(cube.wcs)), (u.Quantity(values), *named)


def _is_date(key):
    return key.startswith(("DATE-", "MJD-", "DATEREF", "MJDREF", "TIMESYS"))


def _name_axes(header, axis):
    n_axes = header["NAXIS"]
    if axis is not None:
        header["WCSAXES"] = n_axes
        for keyword, value in {"CTYPE": axis[1].upper()[:8], "CRPIX": 1.0, "CRVAL": 1.0, "CDELT": 1.0}.items():
            header[f"{keyword}{n_axes}"] = value
    for i in range(1, n_axes + 1):
        kind = header.get(f"CTYPE{i}", "")
        header[f"CNAME{i}"] = _CNAMES.get(kind.partition("-")[0], axis[1] if axis and i == n_axes else kind.lower())
