"""Maps of many times to one lazy cube of channels and times."""

from pathlib import Path

import numpy as np

import astropy.units as u
from astropy.nddata import StdDevUncertainty
from astropy.time import Time
from ndcube import NDCube, NDMeta
from sunpy.util.exceptions import warn_user

from sunpy_demreg._channels import _channel_wcs, _meta, _stacked, _stacked_masks, _standard_deviation
from sunpy_demreg._fits_maps import lazy_map
from sunpy_demreg._lazy import as_array, is_lazy
from sunpy_demreg._lazy_prepare import prepare_lazily
from sunpy_demreg._maps import matching_paths
from sunpy_demreg._time_sets import Image, time_sets
from sunpy_demreg._wcs import _MAX_SHIFT, _celestial, _grid_shift, _prepend_times

__all__ = ["prepare_series"]

_CHANNELS = (94, 131, 171, 193, 211, 335)  # Å
_TOLERANCE = 12 * u.s  # the cadence of AIA


def prepare_series(maps, *, tolerance=_TOLERANCE, **options):
    """
    Put AIA maps of many times, on one pixel grid, into one lazy cube of channels and times.

    Parameters
    ----------
    maps : list of maps or file names, `~sunpy.map.MapSequence`, file name, or folder
        As for `prepare`, of any number of times and in any order. Of a folder all FITS files are taken; of files only
        the headers are read.
    tolerance : `~astropy.units.Quantity`, optional
        The automatic exposure control gives channels different times: how far an image may be from that of the
        channel with the fewest images to belong to the same set. The nearest one is taken, and each only once.
    **options
        Those of `prepare`.

    Returns
    -------
    `~ndcube.NDCube`
        As from `prepare`, with Dask arrays and a second axis of times, (wavelength, time, y, x): reading, calibration
        and inversion are done together, block by block, when something of the result is asked for. "exposure_time"
        and "date" in its ``meta`` have both axes; "left_over" has the names of the maps that are in no set.

    Raises
    ------
    ValueError
        If there is no complete set, a file cannot be read, or two times differ in their channels or pixel grids.
    TypeError, FileNotFoundError
        As `prepare`.

    Warns
    -----
    sunpy.util.exceptions.SunpyUserWarning
        If maps are left over: of channels that no DEM can use, such as 304 Å, or without the others of a set.
    """
    sets, left_over = series_sets(maps, tolerance)
    for image in (image for each in sets for image in each):
        if image.problem:
            raise ValueError(f"`maps`: cannot use {image.name} ({image.problem}): leave it out")
    if left_over:
        names = [image.name + (f" ({image.problem})" if image.problem else "") for image in left_over]
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        warn_user(f"{len(names)} of `maps` are in no set and left over: {', '.join(names[:5])}{more}")
    cube = in_time([prepare_lazily({image.name: image.map for image in each}, options) for each in sets])
    cube.meta["left_over"] = tuple(image.name for image in left_over)
    return cube


def series_sets(maps, tolerance=_TOLERANCE):
    """
    Sort maps, or files, into sets of one time.

    Returns
    -------
    list of list of `Image`, list of `Image`
        The sets by time, of at least one, and what is left over. Files whose data are known to be bad have a
        ``problem``; where their headers are good, they are in a set.
    """
    if not (isinstance(tolerance, u.Quantity) and tolerance.unit.is_equivalent(u.s) and tolerance.isscalar):
        raise TypeError(f"`tolerance` must be a time, such as 12 * u.s, but is {tolerance!r}")
    if not 0 <= tolerance < np.inf:
        raise ValueError(f"`tolerance` must be finite and not negative, but is {tolerance}")
    images = [_image(name, item) for name, item in _items(maps)]
    if not images:
        raise ValueError("`maps` is empty: give maps of each channel, their files, or a folder of these")
    sets, left_over = time_sets([image for image in images if image.channel in _CHANNELS], tolerance.to_value(u.s))
    left_over += [image for image in images if image.channel not in _CHANNELS]
    if not sets:
        counts = {c: sum(image.channel == c for image in images) for c in _CHANNELS}
        found = ", ".join(f"{channel} Å {count}" for channel, count in counts.items() if count) or "none"
        raise ValueError(
            f"`maps` hold no image of each channel within {tolerance} of each other (found: {found}): give the missing "
            "ones, or a longer `tolerance`" + "".join(f"; {i.name}: {i.problem}" for i in images if i.problem)
        )
    return sets, left_over


def _items(maps):
    """Maps and paths with their names for messages; a folder stands for the FITS files in it."""
    from sunpy.map import GenericMap, MapSequence

    if isinstance(maps, GenericMap | str | Path):
        maps = [maps]
    if not isinstance(maps, list | tuple | MapSequence):
        raise TypeError(f"`maps` must be a list of maps or file names, or a folder, got {type(maps).__name__}")
    for i, item in enumerate(maps):
        if isinstance(item, GenericMap):
            yield f"`maps[{i}]`", item
        elif isinstance(item, str | Path):
            paths = matching_paths(item)
            if not paths:
                raise FileNotFoundError(f"`maps`: there is no file {item}")
            for path in paths:
                inside = sorted(path.glob("*.f*ts*")) if path.is_dir() else [path]
                yield from ((str(each), each) for each in inside)
        else:
            raise TypeError(f"`maps[{i}]` must be a sunpy map or a file name, got {type(item).__name__}")


def _image(name, item):
    """What a map or a file is to the sorting; a lazy map, whichever it was."""
    from sunpy.map import Map
    from sunpy.map.sources import AIAMap

    problem = None
    if isinstance(item, Path):
        try:
            item, problem = lazy_map(item)
        except Exception as err:  # readers fail in as many ways as files do
            return Image(name, 0, 0.0, None, f"cannot be read, {type(err).__name__}: {str(err).partition('\n')[0]}")
    elif not is_lazy(item.data):
        import dask.array as da

        item = Map(da.from_array(item.data), item.meta, mask=item.mask)
    channel = round(item.wavelength.to_value(u.AA)) if isinstance(item, AIAMap) else 0
    if channel not in _CHANNELS:
        problem = problem or f"{item.instrument or 'unknown instrument'} {item.wavelength} is no channel for a DEM"
    return Image(name, channel, item.date.unix_tai, item, problem)


def in_time(cubes):
    """
    Put channel cubes of several times into one, with the times as the second axis.

    Parameters
    ----------
    cubes : list of `~ndcube.NDCube`
        Axes (channel, ...), with the same channels in their metadata, on one pixel grid, ascending in time.
    """
    first = cubes[0]
    metas = [_meta(cube) for cube in cubes]
    if any("date" not in meta for meta in metas):
        raise ValueError(
            "`data` holds cubes of several channels without a date, `meta['date']`: give them one, or one each"
        )
    channels = np.asarray(metas[0]["channels"])
    times = Time([Time(meta["date"]).tai.mean().utc for meta in metas])
    for i, (cube, meta) in enumerate(zip(cubes, metas, strict=True)):
        own = np.asarray(meta["channels"])
        if not np.array_equal(own, channels):
            raise ValueError(
                f"`data[{i}]` has the channels {', '.join(own)} but `data[0]` {', '.join(channels)}: choose the "
                "same ones of each"
            )
        if cube.shape != first.shape:
            raise ValueError(
                f"`data[{i}]` has the shape {cube.shape} but `data[0]` {first.shape}: cut them to one grid"
            )
        if i and times[i] <= times[i - 1]:
            raise ValueError(f"`data[{i}]` is not later than the cube before it: sort the cubes by time")
        if not (shift := _grid_shift(_celestial(first.wcs), _celestial(cube.wcs), first.shape[1:])) <= _MAX_SHIFT:
            raise ValueError(
                f"the grids of `data[0]` and `data[{i}]` differ by up to {shift:.2f} pixels, more than {_MAX_SHIFT}: "
                "reproject the maps to one grid"
            )
    unit = first.unit
    data = _stacked([(as_array(cube.data, "data"), cube.unit) for cube in cubes], unit, axis=1)
    sigma = _stacked([_standard_deviation(cube) for cube in cubes], unit, axis=1)
    per_image = {
        "exposure_time": u.Quantity([meta["exposure_time"] for meta in metas]).T,
        "date": _dates([Time(meta["date"]).utc for meta in metas]),
    }
    shifts = ("residual_shift_x", "residual_shift_y")  # of maps that were interpolated
    if all(key in meta for key in shifts for meta in metas):
        per_image |= {key: u.Quantity([meta[key] for meta in metas]).T for key in shifts}
    shared = {key: value for key, value in metas[0].items() if key not in ("channels", *per_image, *shifts)}
    axes = {"channels": 0} | dict.fromkeys(per_image, (0, 1))
    coordinate = u.Quantity(first.axis_world_coords(0)[0])
    wavelengths = coordinate if coordinate.unit.is_equivalent(u.m) else None
    return NDCube(
        data,
        unit=unit,
        uncertainty=StdDevUncertainty(sigma, copy=False),
        mask=_stacked_masks(cubes, axis=1),
        wcs=_channel_wcs(_prepend_times(_celestial(first.wcs), times), len(channels), wavelengths),
        meta=NDMeta({"channels": channels} | per_image | shared, axes=axes, data_shape=data.shape),
    )


def _dates(times):
    """Of the images, (channel, time)."""
    dates = Time(np.stack([t.jd1 for t in times], -1), np.stack([t.jd2 for t in times], -1), format="jd", scale="utc")
    dates.format = "isot"
    return dates
