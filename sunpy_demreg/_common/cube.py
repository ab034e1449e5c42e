"""NDCube and NDMeta that slice like arrays, can be pickled, and can be reprojected; metadata of channel cubes."""

from collections.abc import Mapping
from copy import copy
from operator import index

import numpy as np

import astropy.units as u
from astropy.time import Time
from ndcube import NDCube, NDCubeSequence, NDMeta

__all__ = [
    "OF_SOME",
    "PER_IMAGE",
    "Cube",
    "Meta",
    "as_column",
    "as_index",
    "meta_by_axis",
    "meta_by_channel",
    "observation_shape",
    "sliced_observation",
]

#: Metadata of each image of a channel cube, beside "channels".
PER_IMAGE = (
    "exposure_time",
    "n_exposures",
    "shortest_exposure_time",
    "start_offset",
    "end_offset",
    "date",
    "common_error",
    "common_relative_error",
    "residual_shift_x",
    "residual_shift_y",
    "residual_shift_error_x",
    "residual_shift_error_y",
    "applied_shift_x",
    "applied_shift_y",
    "ccd_temperature",
    "source_wcs",
)
#: Metadata that are kept where only some channels have them, with None for the others: what a response is checked
#: against, and the calibration error that their uncertainty holds.
OF_SOME = ("date", "instrument", "degradation_corrected", "exposure_normalized", "calibration_error")
_PER_CHANNEL = {*PER_IMAGE, *OF_SOME, "channels", "relative_floor", "dn_per_photon", "compression_ratio"}
_PER_REGION = ("n_pixels", "fraction", "area")  # of a spectrum, and of each time


class Cube(NDCube):
    """
    An `~ndcube.NDCube` that accepts every index that makes sense for an array with coordinates.

    ndcube itself fails for negative indices and for ends beyond the array where a WCS has no shape, returns other
    planes for ``[0, 1]`` than an array would, and loses the metadata of the cube after an invalid index, or while
    another thread slices it.
    """

    def __getitem__(self, item):
        item = as_index(item, self.shape)
        whole = self.__copy__()  # because ndcube removes the metadata while slicing
        if (observation := _observation_of(self.meta)) is None:
            return NDCube.__getitem__(whole, item)
        # Without what ndcube would only copy, which takes longer than all the rest.
        whole.meta = _without(self.meta, "observation")
        sliced = NDCube.__getitem__(whole, item)
        sliced_too = sliced_observation(self.meta, item)
        return _observed(sliced, observation if sliced_too is None else sliced_too)

    def _repr_html_(self):
        from sunpy_demreg._common.cube_html import cube_html

        return cube_html(self)

    def explode_along_axis(self, axis):
        """As in ndcube, which however takes the metadata from the cubes of the sequence."""
        before = (slice(None),) * range(self.data.ndim)[axis]
        return NDCubeSequence([self[(*before, i)] for i in range(self.data.shape[axis])], meta=self.meta)

    def rebin(self, *args, **kwargs):
        # For some shapes of bins ndcube writes to the arrays when it propagates uncertainties.
        other = self.__copy__()
        other.data = self.data.copy()
        if self.uncertainty is not None:
            other.uncertainty = type(self.uncertainty)(self.uncertainty.array.copy(), unit=self.uncertainty.unit)
        binned = NDCube.rebin(other, *args, **kwargs)
        if (observation := _observation_of(self.meta)) is not None:
            factors = [long // short for long, short in zip(self.shape, binned.shape, strict=True)]
            observation = observation.rebin((1, *factors[len(factors) - len(observation.data_shape) + 1 :]))
        return _observed(binned, observation)

    def __copy__(self):
        """A copy that shares the arrays, but has uncertainty and coordinates of its own that refer to it."""
        return self.to_nddata(
            nddata_type=type(self),
            extra_coords=_copied(self.extra_coords),
            global_coords=_copied(self.global_coords),
        )


def _observation_of(meta):
    observation = meta.get("observation") if isinstance(meta, Mapping) else None
    return observation if isinstance(observation, Meta) else None


def _without(meta, name):
    """Metadata without an entry that has no axes."""
    rest = {key: value for key, value in meta.items() if key != name}
    return rest if not isinstance(meta, NDMeta) else Meta(rest, axes=meta.axes, data_shape=meta.data_shape)


def _observed(cube, observation):
    """A new cube with this part of its metadata replaced, unless it is None."""
    if observation is not None:
        # ndcube makes a new Meta, but leaves a dict as it is, shared.
        cube.meta = cube.meta if isinstance(cube.meta, NDMeta) else dict(cube.meta)
        cube.meta["observation"] = observation
    return cube


def _copied(coords):
    """A copy of the coordinates, for another cube."""
    own = copy(coords)
    own.__dict__.update({name: copy(value) for name, value in vars(coords).items() if isinstance(value, list | dict)})
    return own


class Meta(NDMeta):
    """
    An `~ndcube.NDMeta` that can be pickled, and that allows new lengths of axes for which it has no entry.

    ``pickle`` sets the items of a dict before its attributes, which `~ndcube.NDMeta` needs by then; and it refuses the
    new shape of a reprojected cube.
    """

    def __reduce__(self):
        own = {"_axes": dict(self._axes), "_key_comments": dict(self._key_comments)}
        return _restored, (type(self), dict(self), self.__dict__ | own)

    def pop(self, key, *default):
        self._axes.pop(key, None)  # which ndcube would keep, of what is no longer there
        return super().pop(key, *default)

    @NDMeta.data_shape.setter  # type: ignore[attr-defined]  # mypy does not know setters of other classes
    def data_shape(self, shape):
        shape = np.array(shape, dtype=int)
        for key, axes in self.axes.items():
            value = np.shape(self[key])
            if len(value) == len(axes) and (max(axes) >= len(shape) or value != tuple(shape[axes])):
                raise ValueError(
                    f"`meta[{key!r}]` has the shape {value} along the axes {tuple(map(int, axes))} of a cube, which "
                    f"now is of shape {tuple(map(int, shape))}: reproject along the other axes only"
                )
        self._data_shape = shape


def meta_by_channel(channels, meta, shape):
    """
    The metadata of a cube of channels: what each channel or image has is sliced with the cube.

    Parameters
    ----------
    channels : sequence of `str`
    meta : mapping
        Of plain values, as `sunpy_demreg._channels.stacks.meta_of` returns.
    shape : tuple of `int`
        Of the cube, channels first.

    Returns
    -------
    Meta
    """
    return meta_by_axis({"channels": np.array(channels)} | dict(meta), shape)


def meta_by_axis(meta, shape):
    """Metadata of which those of each channel, image or region know their axes in data of a shape, channels first."""
    values, axes = dict(meta), {}
    for key in _PER_CHANNEL.intersection(meta):
        if isinstance(meta[key], list | tuple):  # where the channels have different kinds of values
            values[key] = as_column(meta[key])
        length = np.shape(values[key])
        if length and length == tuple(shape[: len(length)]):
            axes[key] = tuple(range(len(length)))
    if "region" in meta and np.shape(meta["region"]) == tuple(shape[-1:]):
        axes["region"] = (len(shape) - 1,)
        of_regions = [key for key in _PER_REGION if key in meta and np.shape(meta[key]) == tuple(shape[1:])]
        axes |= dict.fromkeys(of_regions, tuple(range(1, len(shape))))
    return Meta(values, axes=axes, data_shape=shape)


def observation_shape(meta):
    """The shape in which the "observation" in metadata knows its axes, to make it again; None if there is none."""
    observation = _observation_of(meta)
    return None if observation is None else [int(n) for n in observation.data_shape]


def sliced_observation(meta, item):
    """
    The metadata of the data that a result was made of, sliced with its pixels; None if none of them are per pixel.

    Parameters
    ----------
    meta : mapping
        Of a cube, or of a result, with the "observation" of `meta_by_axis`, the axes of whose pixels come last.
    item : tuple
        From `as_index`, of a cube or of the pixels alone.
    """
    observation = _observation_of(meta)
    if observation is None or all(max(axes) == 0 for axes in observation.axes.values()):
        return None
    n_pixel_axes = len(observation.data_shape) - 1
    return observation.slice[(slice(None), *item[len(item) - n_pixel_axes :])]


def as_column(values):
    """One array with the value of each channel, of whatever kind, or of each channel and time, from a list of lists."""
    for kind in (u.Quantity, Time):
        if all(isinstance(value, kind) for value in values):
            return kind(values)
    if values and all(isinstance(value, list) and len(value) == len(values[0]) for value in values):
        rows = [as_column(value) for value in values]
        if all(type(row) is np.ndarray for row in rows):
            return np.array(rows)
    column = np.empty(len(values), dtype=object)  # an array, so that it is sliced with the cube
    for i, value in enumerate(values):
        column[i] = value
    return column


def _restored(kind, values, attributes):
    meta = kind.__new__(kind)
    dict.update(meta, values)
    meta.__dict__.update(attributes)
    return meta


def as_index(item, shape, what="cube"):
    """
    Normalize an index to one whole number, or one slice from start to stop, per axis.

    Raises
    ------
    IndexError
        If it is not a valid index, or one that coordinates cannot follow.
    """
    parts = list(item) if isinstance(item, tuple) else [item]
    ellipses = [i for i, part in enumerate(parts) if part is Ellipsis]
    if len(ellipses) > 1:
        raise IndexError(f"a {what} can be sliced with only one ellipsis (...), but got {len(ellipses)}")
    if len(parts) - len(ellipses) > len(shape):
        raise IndexError(f"the {what} has {len(shape)} axes to slice, of shape {shape}, but got {len(parts)} indices")
    place = ellipses[0] if ellipses else len(parts)
    parts[place : place + 1] = [slice(None)] * (len(shape) - len(parts) + len(ellipses))
    parts = tuple(_as_part(*each, what) for each in zip(parts, shape, range(len(shape)), strict=True))
    if not any(isinstance(part, slice) for part in parts):
        ranges = ", ".join(f"{part}:{part + 1}" for part in parts)
        raise IndexError(
            f"a {what} must keep an axis, but {parts} leaves none: slice with [{ranges}], or take single numbers from "
            "the `data` of a cube"
        )
    return parts


def _as_part(part, length, axis, what):
    """Normalize the index of one axis."""
    if isinstance(part, slice):
        try:
            start, stop, step = part.indices(length)
        except (TypeError, ValueError) as err:
            raise IndexError(f"a {what} is sliced with whole numbers, but got {part}") from err
        if step != 1:
            raise IndexError(
                f"a {what} cannot be sliced in steps, which its coordinates do not support, but got {part}: average "
                "with `rebin` of a cube, or take its `data`"
            )
        return slice(start, max(start, stop))
    try:
        if isinstance(part, bool) or np.ndim(part):
            raise TypeError
        part = index(part)
    except (TypeError, ValueError):
        raise IndexError(
            f"a {what} is sliced with whole numbers and ranges such as 2:5, but got {part!r}: take the `data` "
            "of a cube, or leave channels out with `sunpy_demreg.drop_channels(cube, names)`"
        ) from None
    if not -length <= part < length:
        raise IndexError(f"index {part} lies outside axis {axis} of the {what}, which has the length {length}")
    return part % length
