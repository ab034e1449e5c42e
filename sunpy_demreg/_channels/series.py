"""From maps of many times to one lazy cube of channels and times."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import astropy.units as u
from astropy.time import Time

from sunpy_demreg._channels.fits_maps import lazy_map
from sunpy_demreg._channels.grid import share_covered
from sunpy_demreg._channels.headers import has_date
from sunpy_demreg._channels.lazy_prepare import plan_of, prepared_lazily
from sunpy_demreg._channels.prepare import prepare
from sunpy_demreg._channels.read_maps import NamedMaps, maps_or_names
from sunpy_demreg._channels.sdoml import sdoml_store, series_of_store
from sunpy_demreg._channels.stacks import image_dates, in_time
from sunpy_demreg._channels.time_sets import NO_IMAGE, Image, exposure_sets, time_sets
from sunpy_demreg._channels.times import ALWAYS, NO_CHANNEL, as_times, as_tolerance, no_sets, why_left
from sunpy_demreg._common.constants import AIA_CHANNELS
from sunpy_demreg._common.dask_arrays import is_lazy
from sunpy_demreg._common.dates import mean_date
from sunpy_demreg._common.errors import first_line, imported, wrong
from sunpy_demreg._common.paths import matching_paths
from sunpy_demreg._common.urls import FILE, Url
from sunpy_demreg._common.validators import as_integer, as_keywords, first_few
from sunpy_demreg._common.warnings import DataWarning, warn
from sunpy_demreg._common.wcs import wcs_text
from sunpy_demreg.response._provenance import HARMLESS, sensitivity_change

if TYPE_CHECKING:
    from ndcube import NDCube

    from sunpy_demreg._common.typing import Date, Maps

__all__ = [
    "filled",
    "image_of",
    "items",
    "no_channel",
    "not_read",
    "prepare_series",
    "series_sets",
    "table_for",
]

_LEAST_SHARE = 0.5  # of the grid of a series that a time should cover


def prepare_series(
    maps: Maps,
    *,
    tolerance: u.Quantity | None = None,
    start: Date | None = None,
    stop: Date | None = None,
    cadence: u.Quantity | None = None,
    max_missing_channels: int = 0,
    **options: Any,
) -> NDCube:
    """
    Put AIA maps of many times into one lazy cube of channels and times, on one pixel grid.

    Parameters
    ----------
    maps : list of maps or file names, `~sunpy.map.MapSequence`, file name, or folder
        As for `prepare`, but of AIA only, of any number of times and in any order. (Of SUVI or XRT, `prepare` the maps
        of each time, all with one map as ``reference``, and pass an `~ndcube.NDCubeSequence` of these cubes to
        `invert`.) Of a folder all FITS files are taken, also of one at a URL; of files only the headers are read. Or an
        SDOMLv2 store, whose name ends in ``.zarr``, see `read_sdoml`: with ``start`` and ``stop``, and the options that
        function has.
    tolerance : `~astropy.units.Quantity`, optional
        The automatic exposure control gives channels different times: how far an image may be from that of the
        channel with the fewest images to belong to the same set, by default 12 s. The nearest one is taken, and each
        only once. With ``exposures`` other than "one" all are taken, and it is also how long a set of that channel
        lasts, at most: by default 15 s, for pairs of a long and a short one, 12 s apart.
    start, stop : `~astropy.time.Time`, `str`, or what else `sunpy.time.parse_time` takes, optional
        The first time, and the one before which the series ends; by default all.
    cadence : `~astropy.units.Quantity`, optional
        Take only the first good set in each interval of this length, the first of which begins with ``start``, or at
        midnight of the first day.
    max_missing_channels : int, optional
        How many channels a time may lack: their planes are NaN and masked, and `invert` leaves them out. (Their
        exposure times are those of another time.) By default none: what is incomplete is left over.
    **options
        Those of `prepare`. All times are put on the grid of the first, or on that of the ``reference``, a wavelength
        being that of a map of the first time; level 1.5 only where pixels are shifted by a tenth or more, and nothing
        with ``align=False``. By default ``correct_degradation`` is True if the sensitivity of a channel changes by
        more than 1 % over the series (within weeks to months), so that one response serves all times.

    Returns
    -------
    `~ndcube.NDCube`
        As from `prepare`, with Dask arrays and a second axis of times, (wavelength, time, y, x): reading, calibration
        and inversion are done together, block by block, when something of the result is asked for. So it is not known
        how far channels are shifted, which `prepare` tells, except with ``correct_shifts``: then all images are read
        once more, at once, to measure it. "exposure_time" and "date" in its ``meta`` have both axes; "left_over" has
        the names of the maps that are in no set, and "degradation_corrected" says whether intensities are those that
        AIA would have measured at launch.

    Raises
    ------
    ValueError
        If there is no complete set, a file cannot be read or is flagged by its header, or two times differ in their
        channels, or with ``align=False`` in their pixel grids.
    TypeError, FileNotFoundError
        As `prepare`.

    Warns
    -----
    DataWarning
        If maps are left over: of channels that no DEM can use, such as 304 Å, or without the others of a set; and if
        some times cover less than half of the grid. With the first block of a time, if its maps look like sums, or like
        rates without that unit; where less than half of their rows are needed, only those of the first time are
        examined. Of shifts only as said above.

    Examples
    --------
    >>> import sunpy_demreg as demreg
    >>> maps = demreg.sample.aia_maps()  # of one time; add more
    >>> series = demreg.prepare_series(maps, n_sample=16)
    >>> series.shape
    (6, 1, 128, 128)
    >>> type(series.data).__module__  # nothing is computed yet
    'dask.array.core'
    """
    as_keywords(None, options, prepare)
    times = as_times(start, stop, cadence)
    store = sdoml_store(maps)
    if store is not None:
        most = as_integer("max_missing_channels", max_missing_channels, 0, len(AIA_CHANNELS) - 1, "of channels")
        return series_of_store(store, "maps", times, tolerance, most, options)
    imported("dask.array", "`prepare_series`", "dask")
    most = as_integer("max_missing_channels", max_missing_channels, 0, len(AIA_CHANNELS) - 1, "of channels")
    sets, left_over = series_sets(maps, tolerance, most, options.get("exposures", "one"), times)
    for image in (image for each in sets for image in each):
        if image.problem:
            raise wrong(ValueError, "maps", f": cannot use {image.name} ({image.problem}): leave it out")
    if left_over:
        names = [image.name + (f" ({image.problem})" if image.problem else "") for image in left_over]
        channels = [channel for channel in AIA_CHANNELS if any(image.channel == channel for image in sets[0])]
        tolerance = as_tolerance(tolerance, options.get("exposures", "one"))
        or_else = ", or let sets lack channels with `max_missing_channels`"
        why = why_left(left_over, channels, len(channels) - most, tolerance, or_else)
        warn(DataWarning, f": {len(names)} are in no set and left over: {first_few(names)}{why}", "maps")
    if "correct_degradation" not in options and not options.get("degradation_corrected"):
        first = [list({image.channel: image for image in each}.values()) for each in sets]  # one of each channel
        labels = [f"AIA {image.channel}" for image in first[0]]
        dates = image_dates([Time([image.map.date for image in each]) for each in first])
        change = sensitivity_change(labels, dates, options.get("correction_table"))
        options["correct_degradation"] = not change <= HARMLESS
    if options.get("correct_degradation") or options.get("degradation_corrected"):
        latest = max(image.map.date for each in sets for image in each)
        options["correction_table"] = table_for(latest, options.get("correction_table"))
    cubes = _on_one_grid(sets, options)
    cube = in_time(cubes)
    cube.meta["steps"] = max((each.meta["steps"] for each in cubes), key=len)  # not all may have been interpolated
    cube.meta["left_over"] = tuple(image.name for image in left_over)
    return cube


def _on_one_grid(sets, options):
    """Cubes of all times, on the grid of the first."""
    plans, grid = [], None
    for each in sets:
        plans.append(plan_of(NamedMaps((image.name, image.map) for image in each), options, grid))
        grid = plans[0].plan.grid
    if any("source_wcs" in each.per_channel for each in plans):  # one metadata entry for all times
        for each in plans:  # what was not interpolated has each pixel of the grid from one
            each.per_channel.setdefault("source_wcs", np.array([wcs_text(grid.wcs)] * len(each.maps)))
    few = []
    for each in plans:
        images = zip((channel.wcs for channel in each.plan.channels), (m.data.shape for m in each.maps), strict=True)
        if each.plan.is_resampled and (share := share_covered(grid, images)) < _LEAST_SHARE:
            few.append(f"{each.maps[0].date.isot[:19]} {share:.0%}")
    if few:
        warn(
            DataWarning,
            f": {len(few)} of {len(plans)} times cover less than half of the grid of all, as cutouts do that follow "
            f"the rotation for long ({', '.join(few[:3])}{', ...' * (len(few) > 3)}): pass fewer times, or another "
            "`reference`",
            "maps",
        )
    return [prepared_lazily(plan, is_first=i == 0) for i, plan in enumerate(plans)]


def series_sets(maps, tolerance=None, most_missing=0, exposures="one", times=ALWAYS):
    """
    Sort maps, or files, into sets of one time.

    Returns
    -------
    list of list of `Image`, list of `Image`
        The sets in order of time, at least one of them complete, and the images left over. Of channels that a set
        lacks it has an image without values, whose name says so. A file whose data are known to be bad has
        a ``problem``; if its headers are good, it is in a set nevertheless.
    """
    tolerance = as_tolerance(tolerance, exposures)
    images = [image_of(name, item) for name, item in items(maps)]
    near = times.widened(tolerance.to_value(u.s))
    images = [image for image in images if image.map is None or near.hold(image.seconds)]
    of_dem = [image for image in images if image.channel in AIA_CHANNELS]
    make_sets = time_sets if exposures == "one" else exposure_sets
    sets, left_over = make_sets(of_dem, tolerance.to_value(u.s), most_missing)
    sets = times.chooser()(sets)
    channels = {image.channel for image in of_dem}
    whole = [each for each in sets if {image.channel for image in each} == channels]
    left_over += [image for image in images if image.channel not in AIA_CHANNELS]
    left_over = [image for image in left_over if image.map is None or times.hold(image.seconds)]
    if not whole:
        near = [image for image in of_dem if times.hold(image.seconds)]
        found = {c: np.sort([image.seconds for image in near if image.channel == c]) for c in channels}
        raise no_sets(found, tolerance, ((i.name, i.problem) for i in images if i.problem))
    return [filled(each, whole[0]) for each in sets], left_over


def filled(images, whole):
    """A set with images without values for the channels that it lacks and another one has."""
    found = {}
    for image in images:
        found.setdefault(image.channel, []).append(image)
    likes = {like.channel: like for like in whole}
    return [image for channel, like in likes.items() for image in found.get(channel) or [_nothing(like, images)]]


def _nothing(like, images):
    """An image of the channel and the exposure of another one, at the time and on the grid of these, without values."""
    import dask.array as da

    from sunpy.map import Map

    date, own = mean_date([image.map.date for image in images]), images[0].map
    header = {key: value for key, value in own.meta.items() if not key.startswith(("date", "t_obs", "t_rec"))}
    header |= {key: like.map.meta[key] for key in ("wavelnth", "waveunit", "exptime") if key in like.map.meta}
    data = da.full(own.data.shape, np.nan, chunks=own.data.chunks)
    smap = Map(data, header | {"date-obs": date.utc.isot})
    return Image(f"{NO_IMAGE} {like.channel} Å", like.channel, date.unix_tai, smap)


def table_for(latest, correction_table):
    """Read the table of the degradation, once for all steps; warns, once, if the latest is later than its end."""
    from sunpy_demreg.response._aia import read_correction_table

    return read_correction_table(correction_table, latest)


def items(maps):
    """
    Maps and paths with their names for messages, one after the other; a folder stands for the FITS files in it.

    Raises
    ------
    ValueError
        At the end, if there were none.
    """
    n_items = 0
    for name, item in maps_or_names(maps):
        if not isinstance(item, str | Path | Url):
            n_items += 1
            yield name, item
            continue
        paths = matching_paths(item)
        if not paths:
            raise wrong(FileNotFoundError, "maps", f": there is no file {item}")
        for path in paths:
            inside = sorted(path.glob("*.f*ts*")) if path.is_dir() else [path]
            n_items += len(inside)
            yield from ((str(each), each) for each in inside)
    if not n_items:
        raise wrong(ValueError, "maps", "is empty: give maps of each channel, their files, or a folder of these")


def no_channel(instrument, wavelength):
    return f"{instrument or 'unknown instrument'} {wavelength} {NO_CHANNEL}"


def not_read(name, err):
    """The entry to sort for a file that cannot be read."""
    return Image(name, 0, 0.0, None, f"cannot be read, {type(err).__name__}: {first_line(err)}")


def image_of(name, item):
    """The entry to sort for a map or a file, with a lazy map in either case."""
    from sunpy.map import Map
    from sunpy.map.sources import AIAMap

    problem = None
    if isinstance(item, FILE):
        try:
            item, problem = lazy_map(item)
        except Exception as err:  # readers fail in as many ways as files do
            return not_read(name, err)
    elif not is_lazy(item.data):
        import dask.array as da

        item = Map(da.from_array(item.data), item.meta, mask=item.mask)
    channel = round(item.wavelength.to_value(u.AA)) if isinstance(item, AIAMap) else 0
    if channel not in AIA_CHANNELS:
        problem = problem or no_channel(item.instrument, item.wavelength)
    if not has_date(item):
        return Image(name, 0, 0.0, None, "has no date, keyword DATE-OBS")
    return Image(name, channel, item.date.unix_tai, item, problem)
