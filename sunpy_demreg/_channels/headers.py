"""What the header of a map tells of its counts: exposure, date, quality, and whether they are averages."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

import astropy.units as u
from sunpy.time import is_time

from sunpy_demreg._channels.read_maps import wrong_map
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.warnings import DataWarning, warn

__all__ = [
    "StatedCounts",
    "as_exposure_times",
    "check_n_sample",
    "check_quality",
    "default_n_sample",
    "has_date",
    "may_be_sums",
    "number",
    "stated_counts",
    "warn_of_sums",
]

# By the bit of QUALITY; 30 (quicklook) does no harm. The minor ones are of what else is known of an image, or of a few
# missing pixels; with the others it does not show the Sun as it should.
_MINOR_FLAGS = (0, 1, 2, 3, 4, 8, 21)
_HARMLESS_FLAG = 30
_STATE = {"img_type": "LIGHT", "acs_mode": "SCIENCE", "acs_eclp": "NO", "acs_sunp": "YES", "acs_safe": "NO"}
_PIXEL = 0.6 * u.arcsec / u.pix
_FEW = 64  # values, of which nothing is concluded
_FULL_DISK = 4096  # pixels on a side
_MAX_COUNTS = 2**14  # of the detector, in DN
_NO_SUMS = (
    "They must not be sums, as `superpixel` makes them by default: average instead, `superpixel(..., func=np.mean)`, "
    "or give the maps as they were and pass `bin`"
)


def number(smap, keyword):
    """Value of a keyword, also if it was written as text; NaN if there is no such keyword or no such number."""
    try:
        return float(smap.meta.get(keyword))
    except (TypeError, ValueError):
        return np.nan


def has_date(smap):
    """Whether a header tells the date of an image, for which sunpy would else take today's."""
    keywords = (smap.meta.get("date-obs"), smap.meta.get("date_obs"))
    dates = (smap.date_start, smap.date_average, smap.date_end)
    return any(is_time(each) for each in keywords) or any(each is not None for each in dates)


def as_exposure_times(exposure_times):
    """In s, by channel."""
    if exposure_times is None:
        return {}
    name, rule = "exposure_times", "must be a dict of a time for each channel, such as {94: 2.9 * u.s}"
    if not isinstance(exposure_times, Mapping):
        raise wrong(TypeError, name, f"{rule}, got {exposure_times!r}")
    try:
        times = {
            round(u.Quantity(key, u.AA).value): float(u.Quantity(value, u.s).value)
            for key, value in exposure_times.items()
        }
    except (TypeError, ValueError) as err:
        raise wrong(TypeError, name, f"{rule}, got {exposure_times!r}") from err
    if not all(0 < time < np.inf for time in times.values()):
        raise wrong(ValueError, name, f"{rule}, all positive, got {exposure_times!r}")
    return times


def check_quality(images, accept_flagged):
    """Refuse images that show something else than the Sun as it is, by their headers; warn of lesser flags."""
    bad, minor = {}, {}
    for image in images:
        reasons, lesser = _flags(image.map)
        bad |= {image.name: reasons} if reasons else {}
        minor |= {image.name: lesser} if lesser else {}
    if bad and not accept_flagged:
        name, reasons = next(iter(bad.items()))
        more = f" (and {len(bad) - 1} more of `maps` likewise)" if len(bad) > 1 else ""
        raise wrong_map(
            ValueError,
            name,
            f"is flagged by its header: {'; '.join(reasons)}{more}. Take an image of another time, or pass "
            "`accept_flagged=True`",
        )
    told = [f"{name}: {'; '.join(reasons)}" for name, reasons in (bad | minor).items()]
    if told:
        warn(DataWarning, f"contain {len(told)} that are flagged by their headers: {', '.join(told)}", "maps")


def _flags(smap):
    """What a header says against an image: reasons not to use it, and others."""
    from aiapy.utils import check_quality_flag

    quality = number(smap, "quality")
    bits = int(quality) & 0xFFFFFFFF if np.isfinite(quality) else 0
    bits &= ~(1 << _HARMLESS_FLAG)
    minor = sum(1 << bit for bit in _MINOR_FLAGS) & bits
    texts = [check_quality_flag(each) if each else [] for each in (bits & ~minor, minor)]
    reasons, lesser = ([text.partition(" (coincides")[0] for text in each] for each in texts)
    for keyword, good in _STATE.items():
        value = str(smap.meta.get(keyword, good)).strip().upper()
        if value and value != good:
            reasons.append(f"{keyword.upper()} is {value}")
    return reasons, lesser


def _pixel_size(smap):
    """Side of a pixel in those of AIA."""
    return float(np.sqrt(smap.scale[0] * smap.scale[1]) / _PIXEL)


def default_n_sample(smap):
    """Return 1, with a warning where the size of the pixels suggests that they are averages."""
    factor = _pixel_size(smap)
    if factor > 1.5:
        n_averaged = round(factor) ** 2
        warn(
            DataWarning,
            f"is taken as 1, but the pixels of `maps` are {factor:.1f} times the size of AIA's: if they are averages "
            f"of {n_averaged} pixels, as in the synoptic series, pass {n_averaged}; if not, pass 1. {_NO_SUMS}",
            "n_sample",
        )
    return 1


def check_n_sample(images, n_sample):
    """Check that as many pixels as are said to be averaged into one have room in it."""
    for image in images:
        room = _pixel_size(image.map) ** 2
        if n_sample > max(1, 1.3 * room):
            raise wrong(
                ValueError,
                "n_sample",
                f"is {n_sample:g}, but the pixels of {image.name} are {room:.2g} times those of AIA in area, and "
                f"cannot be averages of so many: pass {max(1, round(room))}, or none",
            )


def warn_of_sums(names):
    """Of maps that look like sums."""
    if names:
        warn(
            DataWarning,
            f"may be sums: {', '.join(names)} {'holds' if len(names) == 1 else 'hold'} whole numbers only, as sums of "
            f"pixels do and averages do not. {_NO_SUMS}",
            "maps",
        )


class StatedCounts(NamedTuple):
    """What a header says of the counts of an image, to tell sums of pixels from averages."""

    name: str
    room: float  # area of a pixel, in those of AIA
    highest: float  # DN of a pixel of AIA, or NaN
    mean: float  # likewise
    shape: tuple  # (y, x), or None where it is not stated
    is_average: bool  # of which whole numbers would be strange


def stated_counts(image, n_sample):
    """What the header of an `sunpy_demreg._channels.aia_maps.Image` says of its counts."""
    smap = image.map
    return StatedCounts(
        image.name,
        _pixel_size(smap) ** 2,
        number(smap, "datamax"),
        number(smap, "datamean"),
        (smap.meta.get("naxis2"), smap.meta.get("naxis1")),
        n_sample > 1 and not image.is_rate,
    )


def may_be_sums(stated, counts):
    """Refuse counts that are sums of pixels, and tell of others whether they look like it."""
    room = stated.room
    if room < 1.5**2 or not counts.size:
        return False
    highest = counts.max()
    is_whole_disk = min(counts.shape) * np.sqrt(room) > 0.99 * _FULL_DISK
    if highest > _MAX_COUNTS * 1.2:
        why = f"{highest:.0f} DN are more than the detector gives"
    elif highest > 1.1 * stated.highest > 0 and stated.highest > 1:
        why = (
            f"its highest value, {highest:.0f} DN, is above the {stated.highest:g} DN of its header, of the pixels of "
            "AIA"
        )
    elif is_whole_disk and stated.mean > 0 and counts.mean() > np.sqrt(room) * stated.mean:
        why = (
            f"its mean, {counts.mean():.1f} DN, is far above the {stated.mean:g} DN of its header, of the pixels of AIA"
        )
    else:
        # Blocks of larger images are not judged: a warning in each would be one too many.
        shape = tuple(own if length is None else length for length, own in zip(stated.shape, counts.shape, strict=True))
        is_judged = stated.is_average and counts.size >= _FEW and shape == counts.shape
        return is_judged and highest > 1 and np.array_equal(counts, np.round(counts))
    raise wrong_map(ValueError, stated.name, f"holds sums of pixels, not averages: {why}. {_NO_SUMS}")
