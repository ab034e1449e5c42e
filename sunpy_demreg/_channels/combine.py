"""Channel cubes of several instruments, on one grid."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

import astropy.units as u
from astropy.nddata import StdDevUncertainty
from ndcube import NDCube
from sunpy.time import parse_time

from sunpy_demreg._channels.aia_maps import MAX_SPAN
from sunpy_demreg._channels.resample import Grid, parts, sampler
from sunpy_demreg._channels.stacks import channel_planes, stacked, standard_deviation
from sunpy_demreg._common.cube import Cube
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.grids import coordinate_kinds, grid_difference
from sunpy_demreg._common.validators import a_kind, check_list
from sunpy_demreg._common.warnings import DataWarning, warn

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["combine"]

_MAX_SEPARATION = 0.1 * u.deg  # seen from the Sun; shifts the center of the disk by 1.7 arcsec


def combine(cubes: Sequence[NDCube]) -> NDCube:
    """
    Put channel cubes of several instruments, such as AIA and XRT, into one, on the grid of the first.

    Parameters
    ----------
    cubes : sequence of `~ndcube.NDCube`
        Channel cubes, see `prepare`, or single images with ``meta["channels"]`` their label; with unit and
        uncertainty. The first says which grid: give the coarser one first, averaged if need be (`prepare` has
        ``bin``), since between pixels the others are interpolated, bilinearly.

    Returns
    -------
    `~ndcube.NDCube`
        For `invert`, with a response of `TemperatureResponse.concatenate`. Channels in the order given; their axis
        is numbered, or in wavelength where this ascends.

    Raises
    ------
    TypeError
        If something else than cubes was given.
    ValueError
        If a cube lacks its label, unit or uncertainty; if units do not convert, coordinates are of other kinds, or
        the images were taken from places more than 0.1 degrees apart, seen from the Sun.

    Warns
    -----
    DataWarning
        If the images, as far as ``meta["date"]`` tells, were taken more than a minute apart.

    Notes
    -----
    Intensities per pixel and second stay those of the pixels of their own instrument, whose size is in its response.
    The variance of an interpolated value is the interpolated one, times the sum of the squared weights. Coordinates
    are compared as they are written, as by `prepare`.

    Examples
    --------
    >>> import sunpy_demreg as demreg
    >>> cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=16)
    >>> hot, cool = cube[:2], cube[2:]  # as from two instruments
    >>> demreg.combine([cool, hot]).meta["channels"].tolist()
    ['AIA 171', 'AIA 193', 'AIA 211', 'AIA 335', 'AIA 94', 'AIA 131']
    """
    check_list("cubes", cubes, "of channel cubes")
    for i, cube in enumerate(cubes):
        if not isinstance(cube, NDCube):
            raise wrong(TypeError, f"cubes[{i}]", f"must be an NDCube, but is {a_kind(cube)}")
        has = {
            "unit": cube.unit is not None,
            "uncertainty": cube.uncertainty is not None,
            "`meta['channels']`": "channels" in (cube.meta or {}),
        }
        if not all(has.values()):
            rule = "must have a unit, an uncertainty and `meta['channels']`, as `prepare` gives them"
            raise wrong(ValueError, f"cubes[{i}]", f"{rule}, but has no {next(name for name in has if not has[name])}")
        labels = np.shape(cube.meta["channels"])
        if labels not in ((), cube.shape[:1]):
            rule = f"has {cube.shape[0]} planes along its first axis"
            raise wrong(ValueError, f"cubes[{i}]", f"{rule}, but {np.size(cube.meta['channels'])} `meta['channels']`")
    planes = [plane for cube in cubes for plane in channel_planes(cube)]
    first = planes[0]
    for plane in planes[1:]:
        _check_comparable(first, plane)
    _check_dates(planes)
    planes = [_on_grid(plane, first) for plane in planes]
    return stacked(planes)


def _check_comparable(first, plane):
    label, other = (str(each.meta["channels"]) for each in (plane, first))
    if plane.data.ndim != 2:
        raise wrong(ValueError, "cubes", f": {label} must be an image, but has the shape {plane.shape}")
    if coordinate_kinds(first.wcs) != coordinate_kinds(plane.wcs):
        raise wrong(
            ValueError,
            "cubes",
            f": the coordinates of {label} and {other} are of different kinds: reproject one image to the other",
        )
    places = [_observer(each) for each in (first, plane)]
    if None not in places:
        separation = np.hypot((places[0].lon - places[1].lon).wrap_at(180 * u.deg), places[0].lat - places[1].lat)
        if separation > _MAX_SEPARATION:
            raise wrong(
                ValueError,
                "cubes",
                f": {label} and {other} were taken from positions {separation.to_value(u.deg):.2f} degrees apart, "
                "as seen from the Sun: reproject their maps first (`sunpy.map.GenericMap.reproject_to`)",
            )


def _check_dates(planes):
    """Warn of images that do not show the same plasma."""
    dated = []
    for plane in planes:
        with suppress(KeyError, TypeError, ValueError):
            dated.append((parse_time(plane.meta["date"]), str(plane.meta["channels"])))
    dated = sorted((each for each in dated if each[0].isscalar and not each[0].masked), key=lambda each: each[0])
    if dated and (span := dated[-1][0] - dated[0][0]) > MAX_SPAN:
        first, last = (f"{label} is of {date.utc.isot[:19]}" for date, label in (dated[0], dated[-1]))
        seconds = span.to_value(u.s)
        words = f"{seconds:.0f} s" if seconds < 86400 else f"{seconds / 86400:.0f} days"
        warn(
            DataWarning,
            f"span {words} ({first}, {last}), but a DEM requires all channels to show the same plasma: pass images at "
            "most a minute apart",
            "cubes",
        )


def _observer(plane):
    """Where an image was taken from, in Stonyhurst coordinates; None if unknown."""
    from sunpy.coordinates import HeliographicStonyhurst

    for _, _, keywords in plane.wcs.low_level_wcs.world_axis_object_classes.values():
        observer = getattr(keywords.get("frame"), "observer", None)
        if observer is not None and not isinstance(observer, str):
            return observer.transform_to(HeliographicStonyhurst(obstime=observer.obstime))
    return None


def _on_grid(plane, first):
    shape = first.shape
    if grid_difference(first.wcs, shape, plane.wcs, plane.shape) is None:
        return plane
    unit = plane.unit
    sigma, own = standard_deviation(plane)
    data, sigma = np.asarray(plane.data), np.asarray(sigma) * own.to(unit)
    bad = ~(np.isfinite(data) & np.isfinite(sigma))
    if plane.mask is not None:
        bad |= np.asarray(plane.mask)
    data, variance = (np.where(bad, 0, each) for each in (data, np.square(sigma)))
    grid = Grid(first.wcs.low_level_wcs, shape, 1)
    samples_of = sampler(grid, plane.wcs.low_level_wcs, plane.shape)
    value, error, mask = np.empty(shape), np.empty(shape), np.empty(shape, dtype=bool)
    for part in parts(grid):
        samples = samples_of(part)
        mask[part] = samples.touched(bad[samples.box]) | ~samples.is_covered
        value[part] = samples.averaged(data[samples.box])
        error[part] = np.sqrt(samples.averaged(variance[samples.box]) * samples.squares)
    value[mask] = error[mask] = np.nan
    return Cube(
        value, first.wcs, uncertainty=StdDevUncertainty(error, copy=False), mask=mask, unit=unit, meta=plane.meta
    )
