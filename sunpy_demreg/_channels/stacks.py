"""Stacking of cubes: planes of channels, and channel cubes of several times along an axis of times."""

from collections.abc import Mapping

import numpy as np

import astropy.units as u
from astropy.nddata import InverseVariance, StdDevUncertainty, VarianceUncertainty
from astropy.time import Time
from ndcube import NDMeta

from sunpy_demreg._common.cube import OF_SOME, PER_IMAGE, Cube, Meta, as_column
from sunpy_demreg._common.dask_arrays import as_array, is_lazy
from sunpy_demreg._common.dates import mean_date
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.grids import check_same_grid, coordinate_kinds
from sunpy_demreg._common.wcs import plane_wcs, prepend_axis, prepend_times, sky_wcs

__all__ = [
    "PER_IMAGE",
    "channel_planes",
    "image_dates",
    "in_time",
    "meta_of",
    "prepend_channels",
    "stacked",
    "standard_deviation",
    "wavelength_of",
]


def prepend_channels(wcs, n_channels, wavelengths=None):
    """WCS with the channels in front: by wavelength if these are known and ascend, otherwise numbered from one."""
    if wavelengths is not None and wavelengths[0] > 0 and np.all(np.diff(wavelengths) > 0):
        return prepend_axis(wcs, wavelengths, "wavelength", "em.wl")
    return prepend_axis(wcs, np.arange(1, n_channels + 1) * u.one, "channel", "custom:channel")


def meta_of(cube):
    """Metadata of a cube as a dict of plain values; arrays of objects, which `as_column` makes, become lists."""
    meta = cube.meta if isinstance(cube.meta, Mapping) else {}
    return {k: v.tolist() if isinstance(v, np.ndarray) and v.dtype.hasobject else v for k, v in meta.items()}


def wavelength_of(cube):
    """The wavelength at which a cube was sliced out of a spectral axis; None if it was not."""
    names = [name for name, kind in cube.global_coords.physical_types.items() if kind == "em.wl"]
    return cube.global_coords[names[0]] if names else None


def standard_deviation(cube):
    uncertainty = cube.uncertainty
    if not isinstance(uncertainty, StdDevUncertainty | VarianceUncertainty | InverseVariance):
        raise wrong(
            TypeError,
            "data",
            f"holds a cube whose `uncertainty` is a {type(uncertainty).__name__}, of which no standard deviation "
            "is known: make it a StdDevUncertainty (`astropy.nddata`)",
        )
    kind, unit = type(uncertainty), uncertainty.unit
    array = as_array(uncertainty.array, "uncertainty")
    if kind is not StdDevUncertainty:
        own = None if unit is None else kind(1.0, unit=unit).represent_as(StdDevUncertainty).unit
        lazily = {"dtype": float, "meta": np.empty((0,) * array.ndim)}
        array = array.map_blocks(_root, kind, **lazily) if is_lazy(array) else _root(array, kind)
        unit = own
    return array, unit or cube.unit


def _root(array, kind):
    """Standard deviations; bad ones are NaN or infinite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return kind(array).represent_as(StdDevUncertainty).array


def stacked(cubes, labels=None):
    """One cube of the per-channel cubes, along a new first axis."""
    if any(cube.unit is None for cube in cubes):
        raise wrong(ValueError, "data", "holds cubes without a unit: each needs one")
    if any(cube.uncertainty is None for cube in cubes):
        raise wrong(ValueError, "uncertainty", "is missing: every cube in `data` must carry its own")
    cubes = [_as_plane(cube) for cube in cubes]
    _check_one_grid(cubes, labels or range(len(cubes)))
    metas = [meta_of(cube) for cube in cubes]
    own_labels = [meta.pop("channels", None) for meta in metas]
    if labels is None and all(label is not None for label in own_labels):
        labels = [str(np.squeeze(label)) for label in own_labels]
    wavelengths = [wavelength_of(cube) for cube in cubes]
    wavelengths = None if any(wavelength is None for wavelength in wavelengths) else u.Quantity(wavelengths)
    unit = cubes[0].unit
    try:
        data = _stacked_arrays([(as_array(cube.data, "data"), cube.unit) for cube in cubes], unit)
        sigma = _stacked_arrays([standard_deviation(cube) for cube in cubes], unit)
    except u.UnitConversionError as err:
        units = ", ".join(sorted({str(cube.unit) for cube in cubes}))
        raise wrong(
            ValueError, "data", f"holds cubes in {units}: convert them, and their uncertainties, to one unit"
        ) from err
    return Cube(
        data,
        prepend_channels(plane_wcs(cubes[0].wcs), len(cubes), wavelengths),
        uncertainty=StdDevUncertainty(sigma, copy=False),
        mask=_stacked_masks(cubes),
        unit=unit,
        meta=_gathered(metas, data.shape, labels),
    )


def channel_planes(cube):
    """Images of a channel cube, or itself if it is one."""
    labels = cube.meta["channels"]
    if np.ndim(labels) == 0:
        return [cube]
    planes = [cube[i] for i in range(cube.shape[0])]
    if not isinstance(cube.meta, NDMeta):  # a plain dict, which ndcube cannot slice by channel
        keys = [key for key in ("channels", *PER_IMAGE) if np.shape(cube.meta.get(key))[:1] == np.shape(labels)]
        for i, plane in enumerate(planes):
            plane.meta = {**cube.meta, **{key: cube.meta[key][i] for key in keys}}
    return planes


def _stacked_arrays(pairs, unit, axis=0):
    """Arrays with their units as one array in one unit."""
    for _, own in pairs:
        own.to(unit)  # or raises
    return np.stack([array if own == unit else array * own.to(unit) for array, own in pairs], axis=axis)


def _stacked_masks(cubes, axis=0):
    if all(cube.mask is None for cube in cubes):
        return None
    masks = [as_array(False if cube.mask is None else cube.mask, "mask", dtype=bool) for cube in cubes]
    return np.stack([np.broadcast_to(mask, cube.shape) for mask, cube in zip(masks, cubes, strict=True)], axis=axis)


def _as_plane(cube):
    """The cube without its channel axis, if it has one."""
    label = meta_of(cube).get("channels")
    if np.size(label) > 1:
        raise wrong(
            ValueError, "data", "holds cubes of several channels: give one for each channel, or invert each cube alone"
        )
    return cube[0] if np.ndim(label) == 1 and cube.shape[0] == 1 else cube


def _check_one_grid(cubes, labels):
    first = cubes[0]
    for label, cube in zip(labels, cubes, strict=True):
        # Coordinates of different kinds cannot be compared: the caller must then make sure that the pixels match.
        wcs = cube.wcs if coordinate_kinds(cube.wcs) == coordinate_kinds(first.wcs) else first.wcs
        check_same_grid(
            "data",
            (f"`data[{labels[0]!r}]`", first.wcs, first.shape),
            (f"`data[{label!r}]`", wcs, cube.shape),
            "reproject the cubes to one grid",
        )


def _gathered(metas, shape, labels):
    """Metadata of the planes merged: what all have (or any, of provenance), one value per plane where they differ."""
    gathered, axes = {}, {}
    for key in dict.fromkeys(key for meta in metas for key in meta):
        if key in OF_SOME or all(key in meta for meta in metas):
            values = [meta.get(key) for meta in metas]
            per_channel = key in PER_IMAGE or not all(np.array_equal(v, values[0]) for v in values)
            gathered[key] = as_column(values) if per_channel else values[0]
            length = np.shape(gathered[key])
            if per_channel and length == shape[: len(length)]:
                axes[key] = tuple(range(len(length)))
    if labels is not None:
        gathered["channels"], axes["channels"] = np.array(labels), 0
    return Meta(gathered, axes=axes, data_shape=shape)


def in_time(cubes):
    """
    Put channel cubes of several times into one, with the times as the second axis.

    Parameters
    ----------
    cubes : list of `~ndcube.NDCube`
        Axes (channel, ...), with the same channels in their metadata, on one pixel grid, ascending in time.
    """
    first = cubes[0]
    metas = [meta_of(cube) for cube in cubes]
    dates = [mean_date(meta.get("date")) for meta in metas]
    if any(date is None for date in dates):
        raise wrong(
            ValueError,
            "data",
            "holds cubes of several channels without a date, `meta['date']`: give them one, or one each",
        )
    channels = np.asarray(metas[0]["channels"])
    times = Time(dates)
    for i, (cube, meta) in enumerate(zip(cubes, metas, strict=True)):
        own = np.asarray(meta["channels"])
        if not np.array_equal(own, channels):
            raise wrong(
                ValueError,
                f"data[{i}]",
                f"has the channels {', '.join(own)} but `data[0]` {', '.join(channels)}: choose the same ones of each",
            )
        kinds = [np.asarray(each.get("exposure_type", "")) for each in (metas[0], meta)]
        if not np.array_equal(*kinds):
            raise wrong(
                ValueError,
                f"data[{i}]",
                f"has exposures of the types {', '.join(map(str, np.ravel(kinds[1])))} but `data[0]` "
                f"{', '.join(map(str, np.ravel(kinds[0])))}, whose responses differ: invert them one by one",
            )
        if i and times[i] <= times[i - 1]:
            raise wrong(ValueError, f"data[{i}]", "is not later than the cube before it: sort the cubes by time")
        check_same_grid(
            "data",
            ("`data[0]`", sky_wcs(first.wcs), first.shape[1:]),
            (f"`data[{i}]`", sky_wcs(cube.wcs), cube.shape[1:]),
            "reproject the maps to one grid",
        )
    unit = first.unit
    data = _stacked_arrays([(as_array(cube.data, "data"), cube.unit) for cube in cubes], unit, axis=1)
    sigma = _stacked_arrays([standard_deviation(cube) for cube in cubes], unit, axis=1)
    per_image = {
        key: image_dates([meta[key] for meta in metas])
        if key == "date"
        else np.stack([meta[key] for meta in metas], axis=-1)
        for key in PER_IMAGE
        if all(key in meta for meta in metas)
    }
    shared = {key: value for key, value in metas[0].items() if key not in ("channels", *PER_IMAGE)}
    axes = {"channels": 0} | dict.fromkeys(per_image, (0, 1))
    axes |= {key: 0 for key, axis in getattr(first.meta, "axes", {}).items() if key in shared and 0 in axis}
    coordinate = u.Quantity(first.axis_world_coords(0)[0])
    wavelengths = coordinate if coordinate.unit.is_equivalent(u.m) else None
    return Cube(
        data,
        unit=unit,
        uncertainty=StdDevUncertainty(sigma, copy=False),
        mask=_stacked_masks(cubes, axis=1),
        wcs=prepend_channels(prepend_times(sky_wcs(first.wcs), times), len(channels), wavelengths),
        meta=Meta({"channels": channels} | per_image | shared, axes=axes, data_shape=data.shape),
    )


def image_dates(columns):
    """Of the images, (channel, time), from those of each time."""
    if any(date is None for column in columns if isinstance(column, list) for date in column):
        dates = np.empty((len(columns[0]), len(columns)), dtype=object)
        for place in np.ndindex(dates.shape):
            dates[place] = columns[place[1]][place[0]]
        return dates
    times = [Time(column).utc for column in columns]
    dates = Time(np.stack([t.jd1 for t in times], -1), np.stack([t.jd2 for t in times], -1), format="jd", scale="utc")
    dates.format = "isot"
    return dates
