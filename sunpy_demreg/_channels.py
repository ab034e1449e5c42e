"""Whatever holds the intensities of several channels, taken apart into plain arrays: units end here."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

import astropy.units as u
from astropy.nddata import StdDevUncertainty
from ndcube import NDCollection, NDCube, NDCubeSequence

from sunpy_demreg._wcs import _celestial, _pixel_wcs, _prepend_axis

__all__ = ["ChannelData", "as_channel_data"]


class ChannelData(NamedTuple):
    """Intensities without units, channels first, with all that is needed to make cubes of the answer."""

    intensity: np.ndarray  # (n, ...), float64, in the unit that was asked for
    uncertainty: np.ndarray  # (n, ...), the same unit
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
        labels = tuple(str(key) for key in data)
        data = _stack(list(data.values()), labels)
    elif isinstance(data, NDCubeSequence):
        data = _stack(list(data.data), tuple(_label(cube) for cube in data.data))
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
    for name, value, own in (
        ("uncertainty", uncertainty, cube.uncertainty),
        ("mask", mask, cube.mask),
        ("channels", channels, cube.meta.get("channels") if isinstance(cube.meta, Mapping) else None),
    ):
        if value is not None and own is not None:
            raise TypeError(f"`{name}` was given, but the cube in `data` carries its own: give only one of them")
    if cube.unit is None:
        raise ValueError(f"`data` is a cube without a unit: it needs one that converts to {unit}")
    meta = dict(cube.meta) if isinstance(cube.meta, Mapping) else {}
    if uncertainty is None and cube.uncertainty is not None:
        sigma = _standard_deviation(cube.uncertainty)
        uncertainty = u.Quantity(sigma.array, sigma.unit or cube.unit, copy=False)
    intensity = u.Quantity(np.asarray(cube.data), cube.unit, copy=False)
    plain = _from_quantity(
        intensity, unit, uncertainty, cube.mask if mask is None else mask, meta.pop("channels", channels)
    )
    return plain._replace(
        wcs=_celestial(cube.wcs) if cube.data.ndim > 1 else plain.wcs,
        channel_wcs=cube.wcs if cube.data.ndim > 1 else plain.channel_wcs,
        saturated=_saturated(intensity, meta),
        meta=meta,
    )


def _from_quantity(intensity, unit, uncertainty, mask, channels):
    if intensity.ndim == 0:
        raise ValueError("`data` must have the channel axis first, but is a scalar")
    if uncertainty is None:
        raise ValueError(
            "`uncertainty` is missing: pass a Quantity of the shape of `data`, or data that carry their own "
            "(as the cubes of `sunpy_demreg.prepare` do)"
        )
    if not isinstance(uncertainty, u.Quantity):
        raise TypeError(f"`uncertainty` must be a Quantity, but is a {type(uncertainty).__name__}: attach the unit")
    values = _to(intensity, unit, "data")
    sigma = _to(uncertainty, unit, "uncertainty")
    if mask is not None:
        mask = np.asarray(mask, dtype=bool)
        if mask.shape == () and values.shape:
            mask = np.broadcast_to(mask, values.shape)
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


def _channel_wcs(wcs, n_channels):
    """Of channels whose wavelengths are not known: they are numbered from one."""
    return _prepend_axis(wcs, np.arange(1, n_channels + 1) * u.one, "channel", "custom:channel")


def _to(quantity, unit, name):
    try:
        return np.asarray(quantity.to_value(unit), dtype=float)
    except u.UnitConversionError as err:
        raise ValueError(
            f"`{name}` has the unit {quantity.unit} but must convert to {unit}, the unit of the response less "
            "that of an emission measure: divide raw counts by the exposure time (`sunpy_demreg.prepare` does)"
        ) from err


def _standard_deviation(uncertainty):
    """As such, whatever it was: converted from itself it would lose its sign, and with it a bad pixel."""
    is_one = isinstance(uncertainty, StdDevUncertainty)
    return uncertainty if is_one else uncertainty.represent_as(StdDevUncertainty)


def _saturated(intensity, meta):
    """Which values exceed the saturation that the cube was made with: read from the data, so slices know it."""
    if not {"saturation", "exposure_time"} <= meta.keys():
        return None
    exposure = np.reshape(u.Quantity(meta["exposure_time"]).to_value(u.s), (-1,) + (1,) * (intensity.ndim - 1))
    with np.errstate(invalid="ignore"):
        saturated = intensity.value * exposure > u.Quantity(meta["saturation"]).value * (1 - 1e-12)
    return saturated[:, None] if saturated.ndim == 1 else saturated


def _label(cube):
    label = cube.meta.get("channels") if isinstance(cube.meta, Mapping) else None
    return None if label is None else str(np.squeeze(label))


def _stack(cubes, labels):
    """One cube of the per-channel cubes, along a new first axis."""
    shapes = [tuple(cube.shape) for cube in cubes]
    if len(set(shapes)) > 1:
        raise ValueError(f"`data` holds cubes of the shapes {shapes}: they must share one pixel grid; reproject them")
    if any(cube.uncertainty is None for cube in cubes):
        raise ValueError("`uncertainty` is missing: every cube in `data` must carry its own")
    unit = cubes[0].unit
    if any(cube.unit is None for cube in cubes):
        raise ValueError("`data` holds cubes without a unit: each needs one")
    sigmas = [_standard_deviation(cube.uncertainty) for cube in cubes]
    masks = [np.zeros(shapes[0], bool) if c.mask is None else np.broadcast_to(c.mask, shapes[0]) for c in cubes]
    meta = {} if None in labels else {"channels": np.array(labels)}
    for key in ("exposure_time", "saturation"):
        if all(isinstance(cube.meta, Mapping) and key in cube.meta for cube in cubes):
            values = [cube.meta[key] for cube in cubes]
            meta[key] = u.Quantity(values) if key == "exposure_time" else values[0]
    return NDCube(
        np.stack([c.data * c.unit.to(unit) for c in cubes]),
        _channel_wcs(cubes[0].wcs, len(cubes)),
        uncertainty=StdDevUncertainty(
            np.stack([s.array * (s.unit or c.unit).to(unit) for s, c in zip(sigmas, cubes, strict=True)])
        ),
        mask=np.stack(masks),
        unit=unit,
        meta=meta,
    )
