"""Conversion to types of other packages: sunpy maps and xarray datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import astropy.units as u
from astropy.coordinates import Longitude
from astropy.nddata import StdDevUncertainty
from astropy.time import Time
from ndcube import NDCube
from ndcube.wcs.tools import unwrap_wcs_to_fitswcs

from sunpy_demreg._common.cube import Cube
from sunpy_demreg._common.dask_arrays import computed, is_lazy
from sunpy_demreg._common.dates import to_microseconds
from sunpy_demreg._common.errors import imported, wrong
from sunpy_demreg._common.wcs import plane_wcs, sky_wcs, table_axis, table_values
from sunpy_demreg._results.checks import bins_of, check_result
from sunpy_demreg._results.headers import describe_image
from sunpy_demreg._results.settings import told_settings

if TYPE_CHECKING:
    from xarray import Dataset

    from ndcube import NDCollection
    from sunpy.map import GenericMap

__all__ = ["as_computed", "computed_result", "to_map", "to_xarray"]


def to_map(cube: NDCube) -> GenericMap | list[GenericMap]:
    """
    Make a sunpy map of an image, or of each plane of a cube.

    Parameters
    ----------
    cube : `ndcube.NDCube`
        An image, such as what `emission_measure` returns, ``result["chi_squared"]`` or ``result["dem"][5]``; or a
        cube with one axis in front, such as what `synthesize` returns, or ``result["dem"]``.

    Returns
    -------
    `sunpy.map.GenericMap`, or `list` of them
        With the unit, coordinates, mask and uncertainty of the cube. The header says what the values are, of which
        instrument and with which settings, and has the mean date of the channels, or that of the channel. For a cube,
        one map for each index of its first axis. The data are shared, not copied; Dask arrays are computed, all in one
        pass.

    Raises
    ------
    TypeError
        If ``cube`` is not an NDCube.
    ValueError
        If it has no image axes, or coordinates of a kind that a map cannot have.

    Examples
    --------
    >>> import numpy as np
    >>> import astropy.units as u
    >>> import sunpy_demreg as demreg
    >>> cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=16)[:, 40:50, 60:80]
    >>> response = demreg.TemperatureResponse.from_aia(cube)
    >>> result = demreg.invert(cube, response, 10 ** np.arange(5.575, 7.43, 0.05) * u.K)
    >>> em = demreg.to_map(demreg.emission_measure(result, [1, 2] * u.MK))
    >>> em.unit, em.data.shape
    (Unit("1 / cm5"), (10, 20))
    """
    from sunpy.map import Map

    if not isinstance(cube, NDCube):
        raise wrong(
            TypeError, "cube", f"must be an NDCube, such as `result['chi_squared']`, but is a {type(cube).__name__}"
        )
    cube = as_computed(cube)
    if cube.data.ndim == 3:
        return [to_map(cube[i]) for i in range(len(cube.data))]  # type: ignore[misc]  # each is an image
    try:
        if cube.data.ndim != 2:
            raise TypeError
        wcs, _ = unwrap_wcs_to_fitswcs(plane_wcs(cube.wcs))
    except TypeError:
        raise wrong(
            ValueError,
            "cube",
            f"must be an image with the FITS coordinates of one, but has the shape {cube.data.shape} and the "
            f"coordinates {cube.wcs.world_axis_physical_types}",
        ) from None
    if not wcs.has_celestial:
        raise wrong(
            ValueError,
            "cube",
            "has no coordinates on the sky, which a map needs: invert maps, or a cube with their WCS, not bare arrays",
        )
    header = describe_image(wcs.to_header(relax=True), cube)
    data = np.asarray(cube.data)
    data = data.astype(np.uint8) if data.dtype == bool else data  # FITS files have no bools
    new = Map(data, header, mask=cube.mask, uncertainty=cube.uncertainty)
    if "CONTENT" in header:
        new.nickname = header["CONTENT"]
    return new


def as_computed(cube):
    """The cube with its Dask arrays computed; the cube itself if it has none."""
    error = None if cube.uncertainty is None else cube.uncertainty.array
    if not is_lazy(cube.data, cube.mask, error):
        return cube
    data, mask, error = computed(cube.data, cube.mask, error)
    uncertainty = None if error is None else type(cube.uncertainty)(error, unit=cube.uncertainty.unit, copy=False)
    return Cube(data, cube.wcs, uncertainty=uncertainty, mask=mask, unit=cube.unit, meta=cube.meta)


def computed_result(result):
    """The result with the Dask arrays of all its cubes computed, in one pass; the result itself if it has none."""
    arrays = [
        array
        for cube in result.values()
        for array in (cube.data, cube.mask, None if cube.uncertainty is None else cube.uncertainty.array)
    ]
    if not is_lazy(*arrays):
        return result
    each = iter(computed(*arrays))
    cubes = []
    for key, cube in result.items():
        data, mask, error = next(each), next(each), next(each)
        uncertainty = None if error is None else type(cube.uncertainty)(error, unit=cube.uncertainty.unit, copy=False)
        new = Cube(data, cube.wcs, uncertainty=uncertainty, mask=mask, unit=cube.unit, meta=cube.meta)
        cubes.append((key, new))
    return type(result)(cubes, tuple(result.aligned_axes.values()), result.meta, sanitize_inputs=False)


def to_xarray(result: NDCollection | NDCube) -> Dataset:
    """
    Make an xarray dataset of a result, or of a product of it.

    Parameters
    ----------
    result : `ndcube.NDCollection` or `ndcube.NDCube`
        From `sunpy_demreg.invert`. Or a cube that `emission_measure`, `mean_temperature`, `thermal_energy_density` or
        `synthesize` returns, or one of the cubes of a result, or a cube of intensities, as from `prepare`.

    Returns
    -------
    `xarray.Dataset`
        Of a result, one variable for each output and each uncertainty, such as ``dem`` and ``dem_uncertainty``, with
        its unit in ``attrs["units"]``. The coordinates are the centers and edges of the temperature bins and the ends
        of the ranges of emission measures, in K, the names of the channels, "time", in UTC, of a series, "region" of a
        result of regions, and the two world coordinates of each pixel of an image where it has them. Masked values are
        NaN; the arrays are copies, or Dask's where those of the result are. Of a cube, the variables are ``image`` and,
        if it has errors, ``uncertainty``, as in the Zarr store that `write` makes of it, with the coordinates that it
        has; what it shows is in ``attrs["content"]``, or for each plane in the coordinate "content".

    Raises
    ------
    ImportError
        If xarray is not installed.
    TypeError
        If ``result`` is neither a result nor a cube.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> import sunpy_demreg as demreg
    >>> cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=16)[:, 40:50, 60:80]
    >>> response = demreg.TemperatureResponse.from_aia(cube)
    >>> edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K
    >>> result = demreg.invert(cube, response, edges)
    >>> dataset = demreg.to_xarray(result)
    >>> dict(dataset["dem"].sizes), dataset["dem"].attrs["units"]
    ({'temperature': 37, 'y': 10, 'x': 20}, '1 / (K cm5)')
    >>> demreg.to_xarray(demreg.emission_measure(result, [1, 2] * u.MK))["image"].dims
    ('y', 'x')
    """
    xarray = imported("xarray", "`to_xarray`", "xarray")
    if isinstance(result, NDCube):
        return xarray.Dataset(*_contents_of_cube(result))
    check_result(result, "status")
    status = result["status"]
    pixel_axes, of_pixels = _coordinates(status, result.meta)
    first_axes = {
        "predicted_intensity": ("channel",),
        "intensity": ("channel",),
        "emission_measure": ("range",),
        "covariance": ("temperature", "temperature_of_plasma"),
        "resolution_matrix": ("temperature", "temperature_of_plasma"),
    }
    bins = bins_of(result)
    edges, centers = bins.edges.value, bins.centers.value
    variables = {}
    for key, cube in result.items():
        axes = (*first_axes.get(key, ("temperature",) * (cube.data.ndim - status.data.ndim)), *pixel_axes)
        attributes = {"units": cube.unit.to_string()}
        variables[key] = (axes, _unmasked(cube), attributes)
        if cube.uncertainty is not None:
            variables[f"{key}_uncertainty"] = (axes, cube.uncertainty.array.copy(), attributes)
    used = {axis for axes, *_ in variables.values() for axis in axes}
    coordinates = {
        "temperature": ("temperature", centers, {"units": "K"}),
        "temperature_of_plasma": ("temperature_of_plasma", centers, {"units": "K"}),
        "channel": ("channel", list(result.meta["channels"])),
    }
    coordinates = {name: value for name, value in coordinates.items() if name in used}
    if "temperature" in used:
        coordinates["temperature_low"] = ("temperature", edges[:-1], {"units": "K"})
        coordinates["temperature_high"] = ("temperature", edges[1:], {"units": "K"})
    ranges = result.meta.get("emission_measure_ranges")
    if "range" in used and ranges is not None:
        low, high = ranges.to_value(u.K).T
        coordinates["range_low"] = ("range", low, {"units": "K"})
        coordinates["range_high"] = ("range", high, {"units": "K"})
    return xarray.Dataset(variables, coordinates | of_pixels, told_settings(result.meta))


def _contents_of_cube(cube):
    """Variables, coordinates and attributes of the dataset of a cube."""
    meta = cube.meta or {}
    axes, coordinates = _coordinates(cube, meta)
    if axes[:1] in (("wavelength",), ("channel",)):
        name, names = axes[0], np.asarray(meta.get("channels", ()))
        if names.shape == cube.data.shape[:1]:
            axes = ("channel", *axes[1:])
            values = coordinates.pop(name)[1:]
            coordinates |= {"wavelength": ("channel", *values)} if name == "wavelength" else {}
            coordinates["channel"] = ("channel", names.tolist())
    attributes = {"units": "" if cube.unit is None else cube.unit.to_string()}
    variables = {"image": (axes, _unmasked(cube), attributes)}
    if cube.uncertainty is not None:
        error = cube.uncertainty.represent_as(StdDevUncertainty)
        variables["uncertainty"] = (axes, error.array.copy(), attributes)
    about, content = dict(meta.get("settings") or {}), meta.get("content")
    if np.shape(content) == cube.data.shape[:1] != ():
        coordinates["content"] = (axes[0], np.asarray(content).tolist())
    elif content is not None:
        about["content"] = str(content)
    return variables, coordinates, about


def _unmasked(cube):
    """A copy of its values, with NaN where they are masked."""
    values = cube.data.copy()
    if cube.mask is not None and values.dtype.kind == "f":
        values = np.where(cube.mask, np.asarray(np.nan, values.dtype), values)
    return values


def _coordinates(cube, meta):
    """Names of the axes, and their coordinates: those with tables, names of regions, longitude and latitude."""
    axes, coordinates, wcs = [], {}, plane_wcs(cube.wcs)
    while wcs is not None and (named := table_axis(wcs)) is not None:
        name, values = named[0], table_values(wcs)
        if isinstance(values, Time):  # in UTC, as numpy has it; older versions of xarray warn of other units than ns
            coordinates[name] = (name, to_microseconds(values).astype("datetime64[us]").astype("datetime64[ns]"))
        else:
            coordinates[name] = (name, values.value, {"units": values.unit.to_string()})
        axes.append(name)
        wcs = sky_wcs(wcs)
    shape = cube.data.shape[len(axes) :]
    names = np.asarray((meta.get("observation") or meta).get("region", ()))
    if names.shape == shape and len(shape) == 1:
        coordinates["region"] = ("region", names.tolist())
        return (*axes, "region"), coordinates
    of_image = {0: (), 1: ("x",), 2: ("y", "x"), 3: ("t", "y", "x")}.get(len(shape))
    of_image = of_image or tuple(f"pixel_{i}" for i in range(len(shape)))
    is_of_sky = wcs is not None and wcs.pixel_n_dim == len(shape) and wcs.world_n_dim == 2
    if is_of_sky and None not in wcs.world_axis_physical_types:
        world = wcs.pixel_to_world_values(*np.indices(shape)[::-1])
        for name, values, unit in zip(("longitude", "latitude"), world, wcs.world_axis_units, strict=True):
            values = u.Quantity(values, unit)
            if name == "longitude" and values.unit.is_equivalent(u.deg):
                values = Longitude(values, wrap_angle=180 * u.deg)
            coordinates[name] = (of_image, values.value, {"units": unit})
    return (*axes, *of_image), coordinates
