"""NDCube and NDMeta as all our cubes are: they slice like arrays, are pickled, and are reprojected, whole."""

from copy import copy
from operator import index

import numpy as np

from ndcube import NDCube, NDMeta

__all__ = ["Cube", "Meta", "as_index"]


class Cube(NDCube):
    """
    An `~ndcube.NDCube` that takes every index that an array with coordinates can.

    That of ndcube knows neither negative ones nor ends beyond the array where a WCS has no shape, gives other planes
    for ``[0, 1]`` than an array would, and is left without its metadata by an index that it refuses, or while another
    thread slices it.
    """

    def __getitem__(self, item):
        item = as_index(item, self.shape)
        return NDCube.__getitem__(self.__copy__(), item)  # whose metadata it takes away meanwhile

    def rebin(self, *args, **kwargs):
        # Where it propagates uncertainties, ndcube writes to the arrays, for bins of some shapes.
        other = self.__copy__()
        other.data = self.data.copy()
        if self.uncertainty is not None:
            other.uncertainty = type(self.uncertainty)(self.uncertainty.array.copy(), unit=self.uncertainty.unit)
        return NDCube.rebin(other, *args, **kwargs)

    def __copy__(self):
        """One that shares the arrays, but neither the way back from the uncertainty nor that from the coordinates."""
        return self.to_nddata(
            nddata_type=type(self),
            extra_coords=_copied(self.extra_coords),
            global_coords=_copied(self.global_coords),
        )


def _copied(coords):
    """The same coordinates, for another cube: each knows the cube that it belongs to."""
    own = copy(coords)
    own.__dict__.update({name: copy(value) for name, value in vars(coords).items() if isinstance(value, list | dict)})
    return own


class Meta(NDMeta):
    """
    An `~ndcube.NDMeta` that can be pickled, and whose cube may get other lengths along axes that it has nothing for.

    ``pickle`` sets the items of a dict before its attributes, which `~ndcube.NDMeta` needs by then; and reprojecting
    a cube would be refused by the shape that the metadata remember.
    """

    def __reduce__(self):
        own = {"_axes": dict(self._axes), "_key_comments": dict(self._key_comments)}
        return _restored, (type(self), dict(self), self.__dict__ | own)

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


def _restored(kind, values, attributes):
    meta = kind.__new__(kind)
    dict.update(meta, values)
    meta.__dict__.update(attributes)
    return meta


def as_index(item, shape, what="cube"):
    """
    An index of an array as one whole number, or one slice from start to stop, for each axis.

    Raises
    ------
    IndexError
        If it is one that an array would refuse, or that coordinates cannot follow.
    """
    parts = list(item) if isinstance(item, tuple) else [item]
    ellipses = [i for i, part in enumerate(parts) if part is Ellipsis]
    if len(ellipses) > 1:
        raise IndexError(f"a {what} can be sliced with one ellipsis (...) only, but got {len(ellipses)}")
    if len(parts) - len(ellipses) > len(shape):
        raise IndexError(f"the {what} has {len(shape)} axes to slice, of shape {shape}, but got {len(parts)} indices")
    place = ellipses[0] if ellipses else len(parts)
    parts[place : place + 1] = [slice(None)] * (len(shape) - len(parts) + len(ellipses))
    parts = tuple(_as_part(*each, what) for each in zip(parts, shape, range(len(shape)), strict=True))
    if not any(isinstance(part, slice) for part in parts):
        ranges = ", ".join(f"{part}:{part + 1}" for part in parts)
        raise IndexError(
            f"a {what} needs an axis, but {parts} leaves none: slice with [{ranges}], or take single numbers from the "
            "`data` of a cube"
        )
    return parts


def _as_part(part, length, axis, what):
    """One part of an index, of an axis of that length."""
    if isinstance(part, slice):
        try:
            start, stop, step = part.indices(length)
        except (TypeError, ValueError) as err:
            raise IndexError(f"a {what} is sliced from whole number to whole number, but got {part}") from err
        if step != 1:
            raise IndexError(
                f"a {what} cannot be sliced in steps, because its coordinates cannot follow, but got {part}: average "
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
            "of a cube, or channels that are no neighbors with `sunpy_demreg.combine([cube[i] for i in (0, 2, 3)])`"
        ) from None
    if not -length <= part < length:
        raise IndexError(f"index {part} lies outside axis {axis} of the {what}, which has the length {length}")
    return part % length
