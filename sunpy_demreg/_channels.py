"""Whatever holds the intensities of several channels, taken apart into plain arrays: units end here."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from array_api_compat import is_cupy_array

import astropy.units as u
from astropy.nddata import InverseVariance, StdDevUncertainty, VarianceUncertainty
from astropy.time import Time
from ndcube import NDCollection, NDCube, NDCubeSequence

from sunpy_demreg._execute import check_home
from sunpy_demreg._lazy import as_array, is_lazy
from sunpy_demreg._wcs import _MAX_SHIFT, _celestial, _grid_shift, _pixel_wcs, _plane, _prepend_axis

__all__ = ["ChannelData", "as_channel_data", "channel_planes", "stacked"]


class ChannelData(NamedTuple):
    """Intensities without units, channels first, with all that is needed to make cubes of the answer."""

    intensity: np.ndarray  # (n, ...), float64, in the unit that was asked for; all arrays may be Dask's or CuPy's
    uncertainty: np.ndarray  # (n, ...), the same unit; one where saturated
    mask: np.ndarray | None  # (n, ...), True where not to be used
    saturated: np.ndarray | None  # (n, ...), True where masked because of saturation
    labels: tuple | None  # of str, where the data name their channels
    wcs: object  # of the pixel axes
    channel_wcs: object  # of the data
    meta: dict


def as_channel_data(data, unit, *, uncertainty=None, mask=None, channels=None):
    """
    Unwrap any input of `sunpy_demreg.invert`.

    Parameters
    ----------
    data : `ndcube.NDCube`, `ndcube.NDCollection`, `ndcube.NDCubeSequence`, maps, or `astropy.units.Quantity`
        See `sunpy_demreg.invert`.
    unit : `astropy.units.Unit`
        The unit that the intensities are to have.
    uncertainty, mask, channels
        For data that do not carry their own.

    Returns
    -------
    ChannelData
    """
    if isinstance(data, NDCollection):
        data = stacked(list(data.values()), [str(key) for key in data])
    elif isinstance(data, NDCubeSequence):
        data = _sequence(data.data)
    elif not isinstance(data, NDCube | u.Quantity) and _holds_maps(data):
        from sunpy_demreg.observation import prepare

        data = prepare(data)
    if isinstance(data, NDCube):
        return _from_cube(data, unit, uncertainty, mask, channels)
    if isinstance(data, u.Quantity):
        return _from_quantity(data, unit, uncertainty, mask, channels)
    raise TypeError(
        f"`data` must be a channel cube (see `sunpy_demreg.prepare`), maps, or a Quantity with the channel "
        f"axis first, but is a {type(data).__name__}: attach the unit, for instance `data * u.DN / u.pix / u.s`"
    )


def _holds_maps(data):
    from sunpy.map import GenericMap, MapSequence

    if isinstance(data, str | Path | GenericMap | MapSequence):
        return True
    items = list(data.values()) if isinstance(data, Mapping) else data
    return isinstance(items, list | tuple) and all(isinstance(i, str | Path | GenericMap) for i in items)


def _from_cube(cube, unit, uncertainty, mask, channels):
    meta = _meta(cube)
    own_channels = meta.pop("channels", None)
    for name, value, own in (
        ("uncertainty", uncertainty, cube.uncertainty),
        ("mask", mask, cube.mask),
        ("channels", channels, own_channels),
    ):
        if value is not None and own is not None:
            raise TypeError(f"`{name}` was given, but the cube in `data` carries its own: give only one of them")
    if cube.unit is None:
        raise ValueError(f"`data` is a cube without a unit: it needs one that converts to {unit}")
    one_label = own_channels is not None and np.ndim(own_channels) == 0
    if _wavelength(cube) is not None or (one_label and cube.shape[0] != 1):
        left = f" ({own_channels} is left)" if one_label else ""
        raise ValueError(f"`data` has lost its channel axis{left}: slice a channel cube with 2:3, not with 2")
    data = as_array(cube.data, "data")
    sigma = None if uncertainty is None else _with_unit(uncertainty)
    if uncertainty is None and cube.uncertainty is not None:
        sigma = _standard_deviation(cube)
    plain = _from_arrays(
        (data, cube.unit),
        unit,
        sigma,
        cube.mask if mask is None else mask,
        channels if own_channels is None else own_channels,
    )._replace(meta=meta)
    if "saturation" in meta and plain.mask is not None:
        # `prepare` marks saturated values so; the reason for the mask is then not a bad uncertainty.
        saturated = plain.mask & np.isinf(plain.uncertainty) & np.isfinite(plain.intensity)
        plain = plain._replace(saturated=saturated, uncertainty=np.where(saturated, 1.0, plain.uncertainty))
    if cube.data.ndim == 1:
        wavelengths = _spectral_axis(cube)
        return plain._replace(channel_wcs=_channel_wcs(plain.wcs, plain.intensity.shape[0], wavelengths))
    return plain._replace(wcs=_celestial(cube.wcs), channel_wcs=cube.wcs)


def _from_quantity(intensity, unit, uncertainty, mask, channels):
    if intensity.ndim == 0:
        raise ValueError("`data` must have the channel axis first, but is a scalar")
    sigma = None if uncertainty is None else _with_unit(uncertainty)
    return _from_arrays((intensity.value, intensity.unit), unit, sigma, mask, channels)


def _with_unit(uncertainty):
    if not isinstance(uncertainty, u.Quantity):
        raise TypeError(f"`uncertainty` must be a Quantity, but is a {type(uncertainty).__name__}: attach the unit")
    return uncertainty.value, uncertainty.unit


def _from_arrays(intensity, unit, sigma, mask, channels):
    """From pairs of arrays and their units, because a Quantity holds no array of Dask or CuPy."""
    if sigma is None:
        raise ValueError(
            "`uncertainty` is missing: pass a Quantity of the shape of `data`, or data that carry their own "
            "(as the cubes of `sunpy_demreg.prepare` do)"
        )
    values = _to(*intensity, unit, "data")
    sigma = _to(*sigma, unit, "uncertainty")
    if mask is not None:
        mask = as_array(mask, "mask", dtype=bool)
        if mask.shape == () and values.shape:
            mask = (
                np.full(values.shape, mask, like=values)
                if is_cupy_array(values)
                else np.broadcast_to(mask, values.shape)
            )
    check_home(data=values, uncertainty=sigma, mask=mask)
    for name, array in (("uncertainty", sigma), ("mask", mask)):
        if array is not None and array.shape != values.shape:
            of_channels = array.ndim and array.shape[0] != values.shape[0]
            raise ValueError(
                f"`{name}` has {array.shape[0]} channels but `data` has {values.shape[0]}: pass one of each"
                if of_channels
                else f"`{name}` has the shape {array.shape} but `data` has {values.shape}: they must be the same"
            )
    labels = None
    if channels is not None:
        labels = tuple(str(c) for c in np.atleast_1d(channels))
        if len(labels) != values.shape[0]:
            raise ValueError(f"`channels` names {len(labels)} channels but `data` has {values.shape[0]}")
    if values.ndim == 1:  # one pixel: cubes must have an axis for it
        values, sigma = values[:, None], sigma[:, None]
        mask = None if mask is None else mask[:, None]
    wcs = _pixel_wcs(values.shape[1:])
    return ChannelData(values, sigma, mask, None, labels, wcs, _channel_wcs(wcs, values.shape[0]), {})


def _channel_wcs(wcs, n_channels, wavelengths=None):
    """WCS with the channels in front: by wavelength where these are known and ascend, otherwise numbered from one."""
    if wavelengths is not None and wavelengths[0] > 0 and np.all(np.diff(wavelengths) > 0):
        return _prepend_axis(wcs, wavelengths, "wavelength", "em.wl")
    return _prepend_axis(wcs, np.arange(1, n_channels + 1) * u.one, "channel", "custom:channel")


def _to(array, own, unit, name):
    try:
        own.to(unit)
    except u.UnitConversionError as err:
        raise ValueError(
            f"`{name}` has the unit {own} but must convert to {unit}, the unit of the response less "
            "that of an emission measure: divide raw counts by the exposure time (`sunpy_demreg.prepare` does)"
        ) from err
    if is_lazy(array):
        array = as_array(array, name)
        return array.map_blocks(_converted, own, unit, dtype=float, meta=np.empty((0,) * array.ndim))
    return _converted(array, own, unit)


def _converted(array, own, unit):
    if is_cupy_array(array):
        return array.astype(float, copy=False) * own.to(unit)
    return np.asarray(u.Quantity(array, own, copy=False).to_value(unit), dtype=float)


def _meta(cube):
    return dict(cube.meta) if isinstance(cube.meta, Mapping) else {}


def _wavelength(cube):
    """Where a cube was sliced along a spectral axis; None if it was not."""
    names = [name for name, kind in cube.global_coords.physical_types.items() if kind == "em.wl"]
    return cube.global_coords[names[0]] if names else None


def _spectral_axis(cube):
    """Wavelengths of the only axis of a spectrum, None if its coordinate is another."""
    coordinates = cube.axis_world_coords(0)
    lengths = [c for c in coordinates if isinstance(c, u.Quantity) and c.unit.is_equivalent(u.m)]
    return u.Quantity(lengths[0]) if lengths else None


def _standard_deviation(cube):
    uncertainty = cube.uncertainty
    if not isinstance(uncertainty, StdDevUncertainty | VarianceUncertainty | InverseVariance):
        raise TypeError(
            f"the `uncertainty` of a cube in `data` is a {type(uncertainty).__name__}, of which no standard deviation "
            "is known: make it a StdDevUncertainty (`astropy.nddata`)"
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
    """Standard deviations: NaN and infinity are the marks of bad ones."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return kind(array).represent_as(StdDevUncertainty).array


def _sequence(cubes):
    """One cube of cubes in sequence: of channel cubes a series in time, of planes a stack of channels."""
    if all(np.size(_meta(cube).get("channels")) > 1 for cube in cubes):
        from sunpy_demreg.series import in_time

        return in_time(cubes)
    return stacked(cubes)


def stacked(cubes, labels=None):
    """One cube of the per-channel cubes, along a new first axis."""
    if any(cube.unit is None for cube in cubes):
        raise ValueError("`data` holds cubes without a unit: each needs one")
    if any(cube.uncertainty is None for cube in cubes):
        raise ValueError("`uncertainty` is missing: every cube in `data` must carry its own")
    cubes = [_as_plane(cube) for cube in cubes]
    _check_one_grid(cubes)
    metas = [_meta(cube) for cube in cubes]
    own_labels = [meta.pop("channels", None) for meta in metas]
    if labels is None and all(label is not None for label in own_labels):
        labels = [str(np.squeeze(label)) for label in own_labels]
    wavelengths = [_wavelength(cube) for cube in cubes]
    wavelengths = None if any(wavelength is None for wavelength in wavelengths) else u.Quantity(wavelengths)
    unit = cubes[0].unit
    try:
        data = _stacked([(as_array(cube.data, "data"), cube.unit) for cube in cubes], unit)
        sigma = _stacked([_standard_deviation(cube) for cube in cubes], unit)
    except u.UnitConversionError as err:
        units = ", ".join(sorted({str(cube.unit) for cube in cubes}))
        raise ValueError(f"`data` holds cubes in {units}: convert them, and their uncertainties, to one unit") from err
    return NDCube(
        data,
        _channel_wcs(_plane(cubes[0].wcs), len(cubes), wavelengths),
        uncertainty=StdDevUncertainty(sigma, copy=False),
        mask=_stacked_masks(cubes),
        unit=unit,
        meta=_gathered(metas) | ({} if labels is None else {"channels": np.array(labels)}),
    )


def channel_planes(cube):
    """Images of a channel cube, or itself if it is one."""
    is_plane = np.ndim(cube.meta["channels"]) == 0
    return [cube] if is_plane else [cube[i] for i in range(cube.shape[0])]


def _stacked(pairs, unit, axis=0):
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
    label = _meta(cube).get("channels")
    if np.size(label) > 1:
        raise ValueError("`data` holds cubes of several channels: give one for each channel, or invert each cube alone")
    return cube[0] if np.ndim(label) == 1 and cube.shape[0] == 1 else cube


def _check_one_grid(cubes):
    first = cubes[0]
    shapes = [tuple(cube.shape) for cube in cubes]
    if len(set(shapes)) > 1:
        raise ValueError(f"`data` holds cubes of the shapes {shapes}: they must share one pixel grid; reproject them")
    kinds = [(c.wcs.low_level_wcs.world_axis_physical_types, c.wcs.low_level_wcs.world_axis_units) for c in cubes]
    for i, cube in enumerate(cubes):
        # Coordinates of different kinds cannot be compared: it is then up to the caller that the pixels match.
        shift = _grid_shift(first.wcs, cube.wcs, first.shape) if kinds[i] == kinds[0] else 0
        if not shift <= _MAX_SHIFT:
            raise ValueError(
                f"`data` holds cubes whose grids differ by up to {shift:.2f} pixels, more than {_MAX_SHIFT}: reproject "
                "them to one grid"
            )


def _gathered(metas):
    """Metadata of the planes as one: an entry of all of them, and one value for each where they differ."""
    gathered = {}
    for key in metas[0]:
        if all(key in meta for meta in metas):
            values = [meta[key] for meta in metas]
            kind = next((k for k in (u.Quantity, Time) if all(isinstance(value, k) for value in values)), list)
            per_channel = key in ("exposure_time", "date") or not all(np.array_equal(v, values[0]) for v in values)
            gathered[key] = kind(values) if per_channel else values[0]
    return gathered
