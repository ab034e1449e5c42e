"""Series of images from the stores of SDOMLv2, with the error that the way they were made leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import astropy.units as u

from sunpy_demreg._channels.plan import as_saturation
from sunpy_demreg._channels.sdoml_cube import Choices, completed, cube_of, warn_of_radius, without_flags
from sunpy_demreg._channels.sdoml_store import array_name, arrays_of, check_exists, images_of, keys_of, sdoml_store
from sunpy_demreg._channels.time_sets import time_sets
from sunpy_demreg._channels.times import as_times, as_tolerance, check_tolerance, no_sets, why_left
from sunpy_demreg._common.constants import AIA_CHANNELS
from sunpy_demreg._common.errors import imported, wrong
from sunpy_demreg._common.validators import as_path, first_few
from sunpy_demreg._common.warnings import DataWarning, warn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ndcube import NDCube

    from sunpy_demreg._common.typing import Date, FilePath, TableOrFile

__all__ = ["check_range", "read_sdoml", "sdoml_store", "series_of_store", "warn_of_arrays"]

_LONGEST = 100 * 366 * 86400  # s: longer ranges have no ends


def read_sdoml(
    store: FilePath,
    start: Date,
    stop: Date,
    *,
    cadence: u.Quantity | None = None,
    tolerance: u.Quantity = 12 * u.s,
    accept_flagged: bool = False,
    saturation: float | u.Quantity = 15000,
    error_table: TableOrFile | None = None,
    include_eve: bool = False,
    include_chianti: bool = False,
    relative_floor: float | u.Quantity | Mapping = 0.0,
) -> NDCube:
    """
    Read a series of images from an SDOMLv2 store of SDO/AIA into one lazy cube of channels and times.

    Parameters
    ----------
    store : path-like or URL
        With groups of years, in which are the arrays ``94A``, ``131A``, ``171A``, ``193A``, ``211A`` and ``335A``.
    start, stop : `~astropy.time.Time`, `str`, or what else `sunpy.time.parse_time` takes
        The first time, and the one before which the series ends. The store has a set of images every six minutes.
    cadence, tolerance : `~astropy.units.Quantity`, optional
        As of `prepare_series`.
    accept_flagged : `bool`, optional
        Whether to take images that their headers flag, see `prepare`. By default they are left over.
    saturation, error_table, include_eve, include_chianti, relative_floor : optional
        As of `prepare`.

    Returns
    -------
    `~ndcube.NDCube`
        As from `prepare_series`, (wavelength, time, y, x), in DN / (pix s), with Dask arrays: what is needed is read
        when it is. The intensities are those that AIA would have measured at launch, so that
        `TemperatureResponse.from_aia` makes a response without degradation for it; one with degradation is refused.
        ``meta["left_over"]`` has the names of images that are in no set, such as ``"2014/171A[2]"``.

    Raises
    ------
    FileNotFoundError, ConnectionError
        If there is no such store.
    ImportError
        If zarr or dask is not installed.
    ValueError
        If it is no SDOMLv2 store, or has no complete set of images in these times.

    Warns
    -----
    DataWarning
        If channels, years, or channels of a year are missing; if images are left over, with the reason: all of these
        years that have no date count as such; and if the radius of the Sun changes by more than 0.2 %.

    Notes
    -----
    This is written from the program that made the stores, ``aia_fits_to_zarr.py`` of the repository SDOML/SDOMLv2, and
    from Galvez et al. (2019, ApJS 242, 7); no original store was at hand to test it on.

    **How the images were made.** A synoptic image (1024 × 1024 averages of 4 × 4 pixels of AIA) had values of zero and
    below set to zero; it was scaled bilinearly about its center, so that the Sun has a radius of 976 arcsec, as an
    average over the positive values; divided by exposure time (of at least 0.01 s) and degradation ``DEG_COR``; and
    averaged over 2 × 2 pixels.

    **Uncertainty.** It is that of `aiapy.calibrate.estimate_error` for the counts, ``value × EXPTIME × DEG_COR``, of as
    many independent pixels of AIA as have the same noise: ``16 / sum(w²)``, with the weights w that scaling and
    averaging gave to the pixels of the synoptic image; 64 to 114. Neighbors have part of their noise in common.
    Because values below zero are missing in the averages, faint values are too large; the mean excess, of a normal
    distribution that is cut off at zero, is added in quadrature: four fifths of the error of a synoptic pixel where
    there is no signal, and nothing above three times this error. It does not average out: means over faint pixels, as
    of `region_spectrum` or in time, are too large by about as much, and their errors do not include it.

    **Corrected here.** Images of exposures shorter than 0.01 s are divided by the true ones. The reference pixel in the
    store is that of the synoptic image divided by two; it is recomputed, which moves it by a quarter of a pixel.

    **Masked.** A value of zero, which stands for values of zero and below and for missing ones; and what is saturated,
    of which only the average is known.

    **Coordinates.** Pixels are as large as the Sun was near: 976 / 4.8 of them are a solar radius. A series has the
    coordinates of its first time; the radius changes by 0.03 % in a day at most, and by 3.4 % in half a year.

    The attributes of a year and channel, the headers of all images, are some 200 MB, and are read as a whole.

    Examples
    --------
    >>> import sunpy_demreg as demreg
    >>> url = "https://gov-nasa-hdrl-data1.s3.amazonaws.com/contrib/fdl-sdoml/fdl-sdoml-v2/sdomlv2.zarr"
    >>> series = demreg.read_sdoml(url, "2014-09-10T17:00", "2014-09-10T18:00")  # doctest: +SKIP
    >>> response = demreg.TemperatureResponse.from_aia(series)  # doctest: +SKIP
    >>> demreg.write(demreg.invert(series, response, edges, dtype="float32"), "dem.zarr")  # doctest: +SKIP
    """
    times = as_times(start, stop, cadence)
    check_tolerance(tolerance)
    options = {
        "accept_flagged": accept_flagged,
        "saturation": as_saturation(saturation),
        "error_table": error_table,
        "include_eve": include_eve,
        "include_chianti": include_chianti,
        "relative_floor": relative_floor,
    }
    path = as_path("store", store, "the name of an SDOMLv2 store")
    return series_of_store(path, "store", times, tolerance, 0, options, "`read_sdoml`")


def series_of_store(path, argument, times, tolerance, most_missing, options, needer="`prepare_series`"):
    """
    A series of images of a store.

    Parameters
    ----------
    path : `~pathlib.Path` or Url
    argument : str
        That named it.
    times : Times
    tolerance : `~astropy.units.Quantity` or None
    most_missing : int
        How many channels a time may lack.
    options : dict
        Of `sunpy_demreg.prepare`.
    needer : str
        What needs the packages that read it.
    """
    check_range(path, times, argument)
    tolerance = as_tolerance(tolerance, "one")
    choices = Choices.of(options)
    for module, extra in (("dask.array", "dask"), ("zarr", "batch")):
        imported(module, needer, extra)
    near = times.widened(tolerance.to_value(u.s))
    keys = keys_of(times)
    arrays = arrays_of(path, argument, keys, keys_of(near))
    images, unusable, any_flagged = [], [], False
    for key, array in arrays.items():
        some = images_of(path, key, array)
        some = [each for each in some if near.hold(each.seconds) or (np.isinf(each.seconds) and key in keys)]
        some, is_any = without_flags(some, choices)
        any_flagged |= is_any
        images += [image for image in some if not image.problem]
        unusable += [
            image for image in some if image.problem and (times.hold(image.seconds) or np.isinf(image.seconds))
        ]
    unusable.sort(key=lambda image: np.isinf(image.seconds))
    n_channels = len({channel for _, channel in arrays})
    sets, left = time_sets(images, tolerance.to_value(u.s), most_missing, n_channels)
    sets = times.chooser()(sets)
    whole = [each for each in sets if len(each) == n_channels]
    if not whole:
        near = [image for image in images if times.hold(image.seconds)]
        found = {c: np.sort([image.seconds for image in near if image.channel == c]) for _, c in arrays}
        problem = no_sets(found, tolerance, ((i.name, i.problem) for i in unusable)).problem
        raise wrong(ValueError, argument, problem.replace("hold", "holds", 1))
    left = [*unusable, *(image for image in left if times.hold(image.seconds))]
    sets = [completed(each, whole[0]) for each in sets]
    warn_of_arrays(set(arrays), keys, argument)
    _warn_of_images([image.channel for image in whole[0]], left, any_flagged, most_missing, tolerance, argument)
    radii = [image.map.radius for each in sets for image in each]
    warn_of_radius(radii[0], min(radii), max(radii), argument)
    return cube_of(sets, choices, [image.name for image in left])


def check_range(path, times, argument):
    """Raise unless a range of times has both ends, since a store holds years, and something is there."""
    check_exists(path, argument)
    if not np.isfinite(times.start + times.stop) or times.stop - times.start > _LONGEST:
        raise wrong(
            ValueError,
            argument,
            f"names the store {path.name}, which must be of SDOMLv2: that holds years, so say which times, with "
            "`start` and `stop`, such as '2014-09-10T17:00' and '2014-09-10T18:00'",
        )


def warn_of_arrays(there, keys, argument):
    """Warn of years and channels that are not in a store; `there` are those that are."""
    years = sorted({year for year, _ in keys})
    of_years, channels = {year for year, _ in there}, sorted({channel for _, channel in there})
    lacking = [str(year) for year in years if year not in of_years]
    lacking += [array_name(year, c) for year in years if year in of_years for c in channels if (year, c) not in there]
    if lacking:
        cure = "complete the store, or read ranges without them"
        warn(DataWarning, f"has no arrays of {first_few(lacking)}: the series lacks these times; {cure}", argument)


def _warn_of_images(channels, left, any_flagged, most_missing, tolerance, argument):
    missing = [f"AIA {channel}" for channel in AIA_CHANNELS if channel not in channels]
    if missing:
        text = f"lacks {', '.join(missing)} there: a DEM from fewer than six channels is poorly constrained"
        warn(DataWarning, text, argument)
    names = [image.name + (f" ({image.problem})" if image.problem else "") for image in left]
    if names:
        cures = "; flagged ones are taken with `accept_flagged`" if any_flagged else ""
        cures += why_left(left, channels, len(channels) - most_missing, tolerance)
        text = f": {len(names)} images are in no set and left over: {first_few(names)}{cures}"
        warn(DataWarning, text, argument)
