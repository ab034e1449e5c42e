"""Series of images from the stores of SDOMLv2, with the error that the way they were made leaves."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

import astropy.units as u
from astropy.nddata import StdDevUncertainty
from astropy.time import Time

from sunpy_demreg._channels.headers import flags_of
from sunpy_demreg._channels.plan import as_saturation
from sunpy_demreg._channels.sdoml_errors import AVERAGED, SIDE, calibrated
from sunpy_demreg._channels.series import check_tolerance, no_sets
from sunpy_demreg._channels.stacks import prepend_channels
from sunpy_demreg._channels.time_sets import Image, time_sets
from sunpy_demreg._channels.uncertainty import ErrorModel, as_floors, read_error_table
from sunpy_demreg._common.constants import AIA_CHANNELS
from sunpy_demreg._common.cube import Cube, Meta
from sunpy_demreg._common.dask_arrays import map_pixels
from sunpy_demreg._common.errors import imported, wrong
from sunpy_demreg._common.urls import Url
from sunpy_demreg._common.validators import as_bool, as_date, as_path, first_few
from sunpy_demreg._common.warnings import DataWarning, warn
from sunpy_demreg._common.wcs import prepend_times

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ndcube import NDCube

    from sunpy_demreg._common.typing import Date, FilePath, TableOrFile

__all__ = ["read_sdoml"]

_RADIUS = 976.0  # arcsec: that of the Sun to which they were scaled
_LEAST_EXPOSURE = 0.01  # s: they were divided by no less
_HARMLESS = 0.002  # relative: changes of the radius that move the limb by half a pixel or less
_UNDATED = np.inf
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z?")
_NEEDED = ("T_OBS", "EXPTIME", "DEG_COR", "RSUN_OBS", "CRPIX1", "CRPIX2", "CDELT1", "CDELT2")


def read_sdoml(
    store: FilePath,
    start: Date,
    stop: Date,
    *,
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
    tolerance : `~astropy.units.Quantity`, optional
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
    path = as_path("store", store, "the name of an SDOMLv2 store")
    start, stop = as_date("start", start), as_date("stop", stop)
    if not stop > start:
        raise wrong(ValueError, "stop", f"must be later than `start`, {start.isot}, but is {stop.isot}")
    check_tolerance(tolerance)
    accept_flagged = as_bool("accept_flagged", accept_flagged)
    saturation = as_saturation(saturation)
    errors = ErrorModel(
        read_error_table(error_table), as_bool("include_eve", include_eve), as_bool("include_chianti", include_chianti)
    )
    floors = as_floors(relative_floor, AIA_CHANNELS)
    for module, extra in (("dask.array", "dask"), ("zarr", "batch")):
        imported(module, "`read_sdoml`", extra)
    last = max(start, stop - 1 * u.ms)
    years = range(int(start.utc.isot[:4]), int(last.utc.isot[:4]) + 1)
    arrays = _arrays(path, years)
    images, unusable, any_flagged = [], [], False
    for key, array in arrays.items():
        for image, is_flagged in _images(key, array, start, stop, accept_flagged):
            (unusable if image.problem else images).append(image)
            any_flagged |= is_flagged
    unusable.sort(key=lambda image: image.seconds == _UNDATED)
    sets, left = time_sets(images, tolerance.to_value(u.s), n_channels=len({channel for _, channel in arrays}))
    if not sets:
        counts = {c: sum(image.channel == c for image in images) for c in AIA_CHANNELS}
        raise wrong(
            ValueError,
            "store",
            no_sets(counts, tolerance, ((i.name, i.problem) for i in unusable)).problem.replace("hold", "holds", 1),
        )
    channels, left = [image.channel for image in sets[0]], [*unusable, *left]
    _warn_of_arrays(arrays, years)
    _warn_of_images(channels, left, any_flagged)
    of_channels = dict(zip(AIA_CHANNELS, floors, strict=True))
    return _cube(arrays, sets, channels, left, errors, of_channels, saturation)


class _Channel(NamedTuple):
    """What is in the store of a channel and a year."""

    values: object  # Zarr array, (time, y, x)
    attributes: dict  # lists of the values of each keyword

    def header(self, i):
        """That of an image, as sunpy has it."""
        length = self.values.shape[0]
        return {
            key.lower(): value[i]
            for key, value in self.attributes.items()
            if isinstance(value, list) and len(value) == length and value[i] is not None
        }


def _arrays(path, years):
    """Of each year and channel that are there, a _Channel."""
    import zarr

    def opened():
        group = zarr.open_group(path.store() if isinstance(path, Url) else path, mode="r")
        found = {}
        for year in years:
            for channel in AIA_CHANNELS:
                try:
                    values = group[f"{year}/{channel}A"]
                except KeyError:
                    continue
                found[year, channel] = _Channel(values, dict(values.attrs))
        return found

    if not isinstance(path, Url) and not path.exists():
        raise wrong(FileNotFoundError, "store", f": there is no store {path}")
    try:
        if isinstance(path, Url):
            with path.reached():
                found = opened()
        else:
            found = opened()
    except FileNotFoundError as err:
        kind = FileNotFoundError if isinstance(path, Url) else ValueError
        raise wrong(kind, "store", f": there is no Zarr group at {path}") from err
    if not found:
        wanted = f"{years[0]}/94A" if len(years) == 1 else f"{years[0]}/94A to {years[-1]}/94A"
        raise wrong(
            ValueError, "store", f"has no arrays {wanted}, and so on: it is no SDOMLv2 store, or of other years"
        )
    for (year, channel), (values, attributes) in found.items():
        name = f"{year}/{channel}A"
        lacks = [key for key in _NEEDED if np.shape(attributes.get(key)) != values.shape[:1]]
        if lacks or len(values.shape) != 3 or SIDE % values.shape[1] or values.shape[1] != values.shape[2]:
            has = f"no {lacks[0]!r} of each image" if lacks else f"the shape {values.shape}"
            raise wrong(ValueError, "store", f": its array {name} has {has}: it is no SDOMLv2 store")
    return found


def _images(key, array, start, stop, accept_flagged):
    """
    Those of a year and channel in a range of times, as entries to sort, and whether their headers flag them.

    What is wrong with one is its problem. Those without a date come too, as nobody knows whether they are in the range.
    """
    year, channel = key
    texts = [str(text) for text in array.attributes["T_OBS"]]
    known = [i for i, text in enumerate(texts) if _DATE.fullmatch(text)]
    for i in sorted(set(range(len(texts))) - set(known)):
        problem = f"T_OBS is {array.attributes['T_OBS'][i]}"
        yield Image(f"{year}/{channel}A[{i}]", channel, _UNDATED, (key, i), problem), False
    # Text in this form sorts in the order of time. The limits are wider by two seconds, because the time scales differ.
    low, high = ((start - 2 * u.s).utc.isot, (stop + 2 * u.s).utc.isot)
    known = [i for i in known if low <= texts[i] <= high]
    times = Time([texts[i].removesuffix("Z") for i in known], format="isot", scale="utc") if known else []
    for i, time in zip(known, times, strict=True):
        if not start <= time < stop:
            continue
        header = array.header(i)
        problem, is_flagged = _problem(header, array.values.shape[1], accept_flagged)
        yield Image(f"{year}/{channel}A[{i}]", channel, time.unix_tai, (key, i), problem), is_flagged


def _problem(header, side, accept_flagged):
    """Why an image cannot be used, None if it can; and whether that is a flag, which may be accepted."""
    for key in ("exptime", "deg_cor", "rsun_obs"):
        value = _number(header, key)
        if not 0 < value < np.inf:
            return f"{key.upper()} is {header.get(key)}", False
    if accept_flagged:
        return None, False
    scale = u.Quantity([SIDE * 2.4 / side] * 2, u.arcsec / u.pix)
    reasons, _ = flags_of(SimpleNamespace(meta=header, data=np.broadcast_to(0.0, (side, side)), scale=scale))
    return "; ".join(reasons) or None, bool(reasons)


def _number(header, key):
    try:
        return float(header.get(key))
    except (TypeError, ValueError):
        return np.nan


def _warn_of_arrays(arrays, years):
    there, channels = {year for year, _ in arrays}, sorted({channel for _, channel in arrays})
    lacking = [str(year) for year in years if year not in there]
    lacking += [f"{year}/{c}A" for year in years if year in there for c in channels if (year, c) not in arrays]
    if lacking:
        cure = "complete the store, or read ranges without them"
        warn(DataWarning, f"has no arrays of {first_few(lacking)}: the series lacks these times; {cure}", "store")


def _warn_of_images(channels, left, any_flagged):
    missing = [f"AIA {channel}" for channel in AIA_CHANNELS if channel not in channels]
    if missing:
        text = f"lacks {', '.join(missing)} there: a DEM from fewer than six channels is poorly constrained"
        warn(DataWarning, text, "store")
    names = [image.name + (f" ({image.problem})" if image.problem else "") for image in left]
    if names:
        cures = "; flagged ones are taken with `accept_flagged`" if any_flagged else ""
        if not all(image.problem for image in left):
            cures += "; images of one time may be further apart with `tolerance`"
        text = f": {len(names)} images are in no set and left over: {first_few(names)}{cures}"
        warn(DataWarning, text, "store")


def _warn_of_radius(radius):
    first = radius[0, 0]  # that of the coordinates
    off = np.max(np.abs(radius - first))
    if off > _HARMLESS * first:
        text = (
            f": the radius of the Sun changes by {off / first:.2%} in this range, but the coordinates are those of the "
            f"first time: the limb is off by up to {off:.1f} arcsec. Read shorter ranges, of a few days"
        )
        warn(DataWarning, text, "store")


def _cube(arrays, sets, channels, left, errors, floors, saturation):
    import dask.array as da

    headers = [[arrays[image.map[0]].header(image.map[1]) for image in each] for each in sets]
    facts = np.array([[[_number(h, k) for k in ("exptime", "deg_cor", "rsun_obs")] for h in row] for row in headers])
    exposure, degradation, radius = np.moveaxis(facts, -1, 0).swapaxes(1, 2)  # (channel, time)
    _warn_of_radius(radius)
    divided = np.maximum(exposure, _LEAST_EXPOSURE)
    lazy = {key: da.from_array(array.values, chunks=array.values.chunks) for key, array in arrays.items()}
    values = da.stack([da.stack([lazy[image.map[0]][image.map[1]] for image in each]) for each in sets], axis=1)
    n, _, side, _ = values.shape
    values = values.rechunk((n, 1, side, side))
    parameters = np.array([divided * degradation, divided / exposure, _RADIUS / radius])[..., None, None]
    parameters = da.from_array(parameters, chunks=(3, n, 1, 1, 1))
    outputs = [((n,), np.dtype(kind)) for kind in (float, float, bool)]
    options = {
        "channels": tuple(channels),
        "errors": errors,
        "floors": tuple(floors[c] for c in channels),
        "saturation": saturation,
    }
    intensity, sigma, mask = map_pixels(calibrated, outputs, [values, parameters], 3, **options)
    rate = u.DN / u.pix / u.s
    common = np.array([errors.common(channel) for channel in channels])
    noise = np.array([errors.noise(channel) for channel in channels])
    dates = Time([[image.seconds for image in each] for each in sets], format="unix_tai").T.utc
    dates.format = "isot"
    per_image = {
        "exposure_time": exposure * u.s,
        "date": dates,
        "common_error": common[:, :1] / (exposure * degradation) * rate,
    }
    per_channel = {
        "channels": np.array([f"AIA {channel}" for channel in channels]),
        "relative_floor": np.array(options["floors"]),
        "common_relative_error": common[:, 1],
        "dn_per_photon": noise[:, 0],
        "compression_ratio": noise[:, 1],
    }
    done = {
        "instrument": "AIA",
        "level": 1.5,
        "steps": ["exposure", "degradation", "bin"],
        "pointing": None,
        "bin": 1,
        "saturation": saturation,
        "n_sample": AVERAGED * (SIDE // side) ** 2,
        "include_eve": errors.include_eve,
        "include_chianti": errors.include_chianti,
        "exposure_normalized": True,
        "degradation_corrected": True,
        "left_over": tuple(image.name for image in left),
    }
    axes = dict.fromkeys(per_channel, 0) | dict.fromkeys(per_image, (0, 1))
    times = dates[0] + (dates - dates[0]).mean(axis=0)
    return Cube(
        intensity,
        unit=rate,
        uncertainty=StdDevUncertainty(sigma, copy=False),
        mask=mask,
        wcs=prepend_channels(prepend_times(_wcs(headers[0][0], side), times), n, channels * u.AA),
        meta=Meta(per_channel | per_image | done, axes=axes, data_shape=intensity.shape),
    )


def _wcs(header, side):
    """The coordinates of an image, with the reference pixel where the scaling put it."""
    from sunpy.map import Map

    factor, scale = SIDE // side, _RADIUS / _number(header, "rsun_obs")
    header = header | {"naxis1": side, "naxis2": side}
    for key in ("crpix1", "crpix2"):
        # The scaling left the pixel behind the center where it was.
        fixed = SIDE / 2 + 1
        header[key] = (fixed + scale * (factor * _number(header, key) - fixed) - 0.5) / factor + 0.5
    return Map(np.broadcast_to(0.0, (side, side)), header).wcs
