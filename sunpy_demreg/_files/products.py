"""Single cubes, such as an emission measure: between a cube and the contents of its file, which all formats share."""

from typing import NamedTuple

import numpy as np

import astropy.units as u
from astropy.io import fits
from astropy.nddata import StdDevUncertainty
from astropy.time import Time
from astropy.wcs import WCS
from astropy.wcs.wcsapi import SlicedLowLevelWCS

from sunpy_demreg._common.cube import Cube, Meta, meta_by_axis, observation_shape
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.wcs import plane_wcs, prepend_axis, prepend_times, sky_wcs, table_axis, table_values
from sunpy_demreg._files.parts import pixel_header
from sunpy_demreg._results.headers import dates_of, describe_image, with_dates

__all__ = [
    "PRODUCT",
    "PRODUCT_VERSION",
    "Product",
    "expanded",
    "from_product",
    "name_axes",
    "to_product",
]

PRODUCT, PRODUCT_VERSION = "sunpy_demreg product", 1
_CNAMES = {"HPLN": "helioprojective longitude", "HPLT": "helioprojective latitude"}


class Product(NamedTuple):
    """Contents of the file of a single cube."""

    arrays: dict  # "image" and, where the cube has them, "uncertainty" and "mask"; NumPy's or Dask's
    header: fits.Header  # of all axes, with those that were dropped, as by ``result[5]``
    axes: list  # of those in front of the pixels: values, name and physical type of each
    about: dict  # what neither the arrays nor the header hold, for `sunpy_demreg._common.metadata.to_text`


def to_product(cube):
    """
    The contents of the file of a cube.

    Raises
    ------
    TypeError, ValueError
        If the cube has coordinates, or errors, that do not fit into a file.
    """
    if not isinstance(cube.uncertainty, StdDevUncertainty | None):
        raise wrong(
            TypeError,
            "result",
            f"has an uncertainty of the kind {cube.uncertainty.uncertainty_type!r}, but a file holds standard "
            "deviations: `cube.uncertainty.represent_as(StdDevUncertainty)`",
        )
    axes, wcs = [], plane_wcs(cube.wcs)
    while wcs is not None and (named := table_axis(wcs)) is not None:
        axes.append((table_values(wcs), *named))
        wcs = sky_wcs(wcs)
    if wcs is None:
        raise wrong(ValueError, "result", "is of one pixel, but the file of a single cube holds images: `[2:3, 4:5]`")
    header, is_dropped = pixel_header(wcs)
    dates = dates_of(header)
    describe_image(header, cube)
    _add_planes(header, is_dropped.size, axes)
    arrays = {"image": cube.data}
    if cube.uncertainty is not None:
        arrays["uncertainty"] = cube.uncertainty.array
    if cube.mask is not None:
        arrays["mask"] = np.broadcast_to(cube.mask, cube.data.shape)
    meta = cube.meta or {}
    about = {
        "meta": dict(meta),
        "axes": {key: np.atleast_1d(value).tolist() for key, value in getattr(meta, "axes", {}).items()},
        "observation_shape": observation_shape(meta),
        "unit": cube.unit.to_string(),
        "dates": dates,  # of the coordinates: those in the header are of the observation
        "n_pixel_axes": is_dropped.size,
        "dropped": np.flatnonzero(is_dropped).tolist(),
        "planes": [[name, kind] for _, name, kind in axes],
    }
    return Product(arrays, header, axes, about)


def from_product(product):
    """The inverse of `to_product`."""
    about = product.about
    wcs = WCS(with_dates(product.header, about["dates"])).sub(about["n_pixel_axes"])
    if dropped := about["dropped"]:
        wcs = SlicedLowLevelWCS(wcs, [0 if i in dropped else slice(None) for i in range(wcs.naxis)])
    for values, name, kind in reversed(product.axes):
        wcs = prepend_times(wcs, values) if isinstance(values, Time) else prepend_axis(wcs, values, name, kind)
    data, error = product.arrays["image"], product.arrays.get("uncertainty")
    meta = about["meta"]
    if (shape := about.get("observation_shape")) is not None:
        meta["observation"] = meta_by_axis(meta["observation"], shape)
    if about["axes"]:
        meta = Meta(meta, axes={key: tuple(value) for key, value in about["axes"].items()}, data_shape=data.shape)
    return Cube(
        data,
        wcs,
        unit=u.Unit(about["unit"]),
        uncertainty=None if error is None else StdDevUncertainty(error, copy=False),
        mask=product.arrays.get("mask"),
        meta=meta,
    )


def expanded(array, about):
    """An array with the length one along the axes that were dropped, so that it has those of the header."""
    return np.expand_dims(array, _dropped_of(array.ndim + len(about["dropped"]), about))


def squeezed(array, about):
    """The inverse of `expanded`."""
    return np.squeeze(array, _dropped_of(array.ndim, about))


def _dropped_of(n_axes, about):
    return tuple(n_axes - about["n_pixel_axes"] + i for i in about["dropped"])


def _add_planes(header, n_pixel_axes, axes):
    n_axes = n_pixel_axes + len(axes)
    if axes:
        header["WCSAXES"] = n_axes
    names = {n_axes - i: name for i, (_, name, _) in enumerate(axes)}
    for i, name in names.items():
        for keyword, value in {"CTYPE": name.upper()[:8], "CRPIX": 1.0, "CRVAL": 1.0, "CDELT": 1.0}.items():
            header[f"{keyword}{i}"] = value
    name_axes(header, names)


def name_axes(header, names=()):
    """Add the names of the axes, of some of which they are given."""
    for i in range(1, header.get("WCSAXES", 2) + 1):
        kind = header.get(f"CTYPE{i}", "")
        header[f"CNAME{i}"] = dict(names).get(i) or _CNAMES.get(kind.partition("-")[0], kind.lower())
