"""Convert any supported input to plain channel-first arrays: units are stripped here."""

from typing import NamedTuple

import numpy as np
from array_api_compat import is_cupy_array

import astropy.units as u
from ndcube import NDCollection, NDCube, NDCubeSequence

from sunpy_demreg._channels.read_maps import maps_or_names
from sunpy_demreg._channels.stacks import in_time, meta_of, prepend_channels, stacked, standard_deviation, wavelength_of
from sunpy_demreg._common.dask_arrays import as_array, is_lazy, is_masked, unmasked
from sunpy_demreg._common.errors import ArgumentError, wrong
from sunpy_demreg._common.hardware import check_same_device
from sunpy_demreg._common.validators import a_kind
from sunpy_demreg._common.wcs import pixel_wcs, sky_wcs

__all__ = ["ChannelData", "as_channel_data"]


class ChannelData(NamedTuple):
    """Intensities without units, channels first, with all that is needed to wrap the answer in cubes."""

    intensity: np.ndarray  # (n, ...), float64, in the requested unit; all arrays may be Dask's or CuPy's
    uncertainty: np.ndarray  # (n, ...), the same unit; infinite where saturated
    mask: np.ndarray | None  # (n, ...), True where invalid
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
        The unit to convert the intensities to.
    uncertainty, mask, channels
        For data that do not carry their own.

    Returns
    -------
    ChannelData
    """
    if isinstance(data, NDCollection) and "temperature_bin_edges" in (data.meta or {}):
        raise wrong(
            TypeError,
            "data",
            "is a result of `sunpy_demreg.invert`, whose DEM is `result['dem']`: to invert again, pass the "
            "original data, or `result['intensity']`",
        )
    if isinstance(data, NDCollection):
        data = stacked(list(data.values()), [str(key) for key in data])
    elif isinstance(data, NDCubeSequence):
        data = _sequence(data.data)
    elif isinstance(data, list | tuple) and data and all(isinstance(cube, NDCube) for cube in data):
        data = _sequence(data)
    elif not isinstance(data, NDCube | u.Quantity) and _holds_maps(data):
        from sunpy_demreg._channels.prepare import prepare

        try:
            data = prepare(data)
        except ArgumentError as err:
            raise err.renamed("data") if err.argument == "maps" else err from err.__cause__
    if isinstance(data, NDCube):
        return _from_cube(data, unit, uncertainty, mask, channels)
    if isinstance(data, u.Quantity):
        return _from_quantity(data, unit, uncertainty, mask, channels)
    raise wrong(
        TypeError,
        "data",
        f"must be a channel cube (see `sunpy_demreg.prepare`), a list of cubes or of maps, or a Quantity with the "
        f"channel axis first, but is {a_kind(data)}"
        + (": attach the unit, for instance `data * u.DN / u.pix / u.s`" if hasattr(data, "dtype") else ""),
    )


def _holds_maps(data):
    try:
        maps_or_names(data)
    except TypeError:
        return False
    return True


def _from_cube(cube, unit, uncertainty, mask, channels):
    meta = meta_of(cube)
    own_channels = meta.pop("channels", None)
    for name, value, own in (
        ("uncertainty", uncertainty, cube.uncertainty),
        ("mask", mask, cube.mask),
        ("channels", channels, own_channels),
    ):
        if value is not None and own is not None:
            raise wrong(
                TypeError,
                name,
                f"was given, but the cube in `data` carries its own: leave `{name}` out, or change the cube's",
            )
    if cube.unit is None:
        raise wrong(ValueError, "data", f"is a cube without a unit: it needs one that converts to {unit}")
    if meta.get("statistic") == "sum" and not cube.unit.is_equivalent(unit):
        raise wrong(
            ValueError,
            "data",
            f"is a sum over pixels in {cube.unit}, `statistic='sum'` of `region_spectrum`, but a DEM is of means in "
            f"{unit}: pass one of `statistic='mean'`, whose DEM times its `meta['area']` is that of the whole region",
        )
    one_label = own_channels is not None and np.ndim(own_channels) == 0
    if wavelength_of(cube) is not None or (one_label and cube.shape[0] != 1):
        left = f" ({own_channels} is left)" if one_label else ""
        raise wrong(ValueError, "data", f"has lost its channel axis{left}: slice a channel cube with 2:3, not with 2")
    sigma = None if uncertainty is None else _with_unit(uncertainty)
    if uncertainty is None and cube.uncertainty is not None:
        sigma = standard_deviation(cube)
    plain = _from_arrays(
        (cube.data, cube.unit),
        unit,
        sigma,
        cube.mask if mask is None else mask,
        channels if own_channels is None else own_channels,
    )._replace(meta=meta)
    if "saturation" in meta and plain.mask is not None:
        # This is how `prepare` marks saturated values: their mask is not due to a bad uncertainty.
        saturated = plain.mask & np.isinf(plain.uncertainty) & np.isfinite(plain.intensity)
        plain = plain._replace(saturated=saturated)
    if cube.data.ndim == 1:
        wavelengths = _spectral_axis(cube)
        return plain._replace(channel_wcs=prepend_channels(plain.wcs, plain.intensity.shape[0], wavelengths))
    return plain._replace(wcs=sky_wcs(cube.wcs), channel_wcs=cube.wcs)


def _from_quantity(intensity, unit, uncertainty, mask, channels):
    if intensity.ndim == 0:
        raise wrong(ValueError, "data", "must have the channel axis first, but is a scalar")
    sigma = None if uncertainty is None else _with_unit(uncertainty)
    return _from_arrays((intensity.value, intensity.unit), unit, sigma, mask, channels)


def _with_unit(uncertainty):
    if not isinstance(uncertainty, u.Quantity):
        raise wrong(TypeError, "uncertainty", f"must be a Quantity, but is {a_kind(uncertainty)}: attach the unit")
    return uncertainty.value, uncertainty.unit


def _from_arrays(intensity, unit, sigma, mask, channels):
    """From pairs of an array and its unit, because a Quantity cannot hold arrays of Dask or CuPy."""
    if sigma is None:
        raise wrong(
            ValueError,
            "uncertainty",
            "is missing: pass a Quantity of the shape of `data`, or data that carry their own "
            "(as the cubes of `sunpy_demreg.prepare` do)",
        )
    values, hidden = unmasked(intensity[0])
    errors, hidden_too = unmasked(sigma[0])
    values = _to(as_array(values, "data"), intensity[1], unit, "data")
    sigma = _to(as_array(errors, "uncertainty"), sigma[1], unit, "uncertainty")
    if sigma.shape == () and values.shape:  # one for all
        sigma = np.full(values.shape, sigma, like=values)
    if mask is not None:
        mask = _as_mask(mask)
        if mask.shape == () and values.shape:
            mask = (
                np.full(values.shape, mask, like=values)
                if is_cupy_array(values)
                else np.broadcast_to(mask, values.shape)
            )
        elif mask.shape == values.shape[1:]:  # of the pixels
            mask = np.broadcast_to(mask, values.shape)
    check_same_device(data=values, uncertainty=sigma, mask=mask)
    for name, array in (("uncertainty", sigma), ("mask", mask)):
        if array is not None and array.shape != values.shape:
            raise wrong(
                ValueError,
                name,
                f"has the shape {array.shape} but `data` has {values.shape}, with the channels first: they "
                "must be the same"
                + (
                    ", or that of a mask of the pixels without channels"
                    if name == "mask"
                    else ", or one number for all"
                ),
            )
    for own in (hidden, hidden_too):  # arrays that carry a mask
        if own is not None:
            mask = own if mask is None else mask | own
    labels = None
    if channels is not None:
        labels = tuple(np.atleast_1d(np.asarray(channels, dtype=object)))
        if not all(isinstance(label, str) for label in labels):
            raise wrong(TypeError, "channels", f"must be labels such as 'AIA 171', but is {channels!r:.80}")
        labels = tuple(map(str, labels))
        if len(labels) != values.shape[0]:
            raise wrong(ValueError, "channels", f"names {len(labels)} channels but `data` has {values.shape[0]}")
    if values.ndim == 1:  # one pixel: cubes need a pixel axis
        values, sigma = values[:, None], sigma[:, None]
        mask = None if mask is None else mask[:, None]
    wcs = pixel_wcs(values.shape[1:])
    return ChannelData(values, sigma, mask, None, labels, wcs, prepend_channels(wcs, values.shape[0]), {})


def _as_mask(mask):
    try:
        mask = as_array(mask, "mask")
    except ValueError as err:  # nested lists of different lengths
        raise wrong(TypeError, "mask", f"must be an array of True and False, but is not ({err})") from err
    if mask.dtype.kind not in "biu":
        rule = "must be an array of True (not to be used) and False"
        raise wrong(
            TypeError, "mask", f"{rule}, but is of the type {mask.dtype}: convert it, for instance with `mask == 1`"
        )
    return mask.astype(bool)


def _to(array, own, unit, name):
    if array.dtype.kind not in "iuf":
        raise wrong(TypeError, name, f"must hold real numbers, but is of the type {array.dtype}")
    try:
        own.to(unit)
    except u.UnitConversionError as err:
        raise wrong(
            ValueError,
            name,
            f"has the unit {own} but must convert to {unit}, as the response has it: divide raw counts by "
            "the exposure time, and name a unit that is per pixel where that is (`sunpy_demreg.prepare` does both)",
        ) from err
    if is_lazy(array):
        array = as_array(array, name)
        return array.map_blocks(_converted, own, unit, dtype=float, meta=np.empty((0,) * array.ndim))
    return _converted(array, own, unit)


def _converted(array, own, unit):
    if is_masked(array):
        raise TypeError(
            "a block of a Dask array is a masked array, although the Dask array is not: create it from masked arrays"
        )
    if is_cupy_array(array):
        return array.astype(float, copy=False) * own.to(unit)
    return np.asarray(u.Quantity(np.asarray(array), own, copy=False).to_value(unit), dtype=float)


def _spectral_axis(cube):
    """Wavelengths along the only axis of a spectrum; None if its coordinate is something else."""
    coordinates = cube.axis_world_coords(0)
    lengths = [c for c in coordinates if isinstance(c, u.Quantity) and c.unit.is_equivalent(u.m)]
    return u.Quantity(lengths[0]) if lengths else None


def _sequence(cubes):
    """One cube from a sequence of cubes: channel cubes become a time series, planes a stack of channels."""
    if all(np.size(meta_of(cube).get("channels")) > 1 for cube in cubes):
        return in_time(cubes)
    return stacked(cubes)
