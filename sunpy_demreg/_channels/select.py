"""Channels of a cube, chosen by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import astropy.units as u
from ndcube import NDCube

from sunpy_demreg._channels.stacks import PER_IMAGE, prepend_channels
from sunpy_demreg._common.cube import Cube, Meta
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.validators import a_kind, as_channel
from sunpy_demreg._common.wcs import sky_wcs

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["drop_channels"]


def drop_channels(cube: NDCube, channels: str | float | u.Quantity | Sequence[str | float | u.Quantity]) -> NDCube:
    """
    Leave channels out of a cube, by name: to see what a DEM owes to them, or because they are bad.

    Parameters
    ----------
    cube : `~ndcube.NDCube`
        Channels first, with their names in ``meta["channels"]``, such as from `prepare`, `prepare_series` or `combine`.
    channels : `str`, `float` or `~astropy.units.Quantity`, or list of these
        Names, such as ``"AIA 94"``, or wavelengths, such as ``94 * u.AA``; without a unit they are in Å.

    Returns
    -------
    `~ndcube.NDCube`
        The other channels, in their order, with all that belongs to them; Dask arrays stay lazy. For `invert`, with a
        response of the same channels: `TemperatureResponse.from_aia` of this cube, or
        ``response.select(cube.meta["channels"])``.

    Raises
    ------
    TypeError
        If ``cube`` is not an NDCube.
    ValueError
        If it does not name its channels, or has none of such a name, or if none is left.

    See Also
    --------
    sunpy_demreg.invert : leaves a channel out in the pixels where it has no usable value, and predicts it there.

    Examples
    --------
    >>> import astropy.units as u
    >>> import sunpy_demreg as demreg
    >>> cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=16)
    >>> demreg.drop_channels(cube, [94 * u.AA, "AIA 335"]).meta["channels"].tolist()
    ['AIA 131', 'AIA 171', 'AIA 193', 'AIA 211']
    """
    if not isinstance(cube, NDCube):
        raise wrong(TypeError, "cube", f"must be an NDCube, but is {a_kind(cube)}")
    labels = (cube.meta or {}).get("channels")
    if labels is None or np.shape(labels) != cube.data.shape[:1]:
        raise wrong(
            ValueError, "cube", "must name each plane along its first axis in `meta['channels']`, as `prepare` does"
        )
    labels = [str(label) for label in labels]
    is_several = isinstance(channels, list | tuple | np.ndarray) and getattr(channels, "shape", None) != ()
    dropped = {as_channel("channels", channel, labels) for channel in (channels if is_several else [channels])}
    keep = [i for i, label in enumerate(labels) if label not in dropped]
    if not keep:
        raise wrong(ValueError, "channels", f"are all of the cube, {', '.join(labels)}: leave one at least")
    axes = dict(getattr(cube.meta, "axes", {}))
    if not axes:  # a plain dict
        of_each = ("channels", *PER_IMAGE)
        axes = {key: 0 for key in of_each if np.shape(cube.meta.get(key))[:1] == np.shape(labels)}
    meta = {key: _kept(value, keep) if 0 in np.ravel(axes.get(key, ())) else value for key, value in cube.meta.items()}
    data, uncertainty = cube.data[keep], cube.uncertainty
    if uncertainty is not None:
        uncertainty = type(uncertainty)(uncertainty.array[keep], unit=uncertainty.unit, copy=False)
    coordinate = u.Quantity(cube.axis_world_coords(0)[0])[keep]
    wavelengths = coordinate if coordinate.unit.is_equivalent(u.m) else None
    return Cube(
        data,
        prepend_channels(sky_wcs(cube.wcs), len(keep), wavelengths),
        unit=cube.unit,
        uncertainty=uncertainty,
        mask=None if np.ndim(cube.mask) == 0 else cube.mask[keep],
        meta=Meta(meta, axes=axes, data_shape=data.shape),
    )


def _kept(value, keep):
    return value[keep] if hasattr(value, "shape") else [value[i] for i in keep]
