"""What the header of a map says about its counts: exposure, date, quality, missing pixels."""

from collections.abc import Mapping

import numpy as np

import astropy.units as u
from sunpy.time import is_time

from sunpy_demreg._channels.read_maps import wrong_map
from sunpy_demreg._common.drms import load_drms
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.validators import by_wavelength, first_few
from sunpy_demreg._common.warnings import DataWarning, warn

__all__ = [
    "DETECTOR_SIDE",
    "as_exposure_times",
    "check_quality",
    "contains_whole_image",
    "flags_of",
    "has_date",
    "number",
    "pixel_size",
]

# Bits of QUALITY; 30 (quicklook) is harmless. The minor ones say that calibration data or some pixels are missing, or
# that the image is registered; with any other, the image does not show the Sun as it should.
_MINOR_FLAGS = (0, 1, 2, 3, 4, 8, 21)
_HARMLESS_FLAG = 30
_STATE = {"img_type": "LIGHT", "acs_mode": "SCIENCE", "acs_eclp": "NO", "acs_sunp": "YES", "acs_safe": "NO"}
_PIXEL = 0.6 * u.arcsec / u.pix
DETECTOR_SIDE = 4096  # pixels
_MIN_PERCENT = 99  # of the pixels must be there; with fewer, a flag says that more than 1 % are missing


def number(smap, keyword):
    """Value of a keyword, even if written as text; NaN if it is missing or not a number."""
    try:
        return float(smap.meta.get(keyword))
    except (TypeError, ValueError):
        return np.nan


def pixel_size(smap):
    """Side of a pixel, in pixels of AIA."""
    return float(np.sqrt(smap.scale[0] * smap.scale[1]) / _PIXEL)


def contains_whole_image(smap):
    """Whether a map covers the whole detector, possibly with larger pixels."""
    return min(smap.data.shape) * pixel_size(smap) > 0.99 * DETECTOR_SIDE


def has_date(smap):
    """Whether a header has the date of the image; without one, sunpy would take today's."""
    keywords = (smap.meta.get("date-obs"), smap.meta.get("date_obs"))
    dates = (smap.date_start, smap.date_average, smap.date_end)
    return any(is_time(each) for each in keywords) or any(each is not None for each in dates)


def as_exposure_times(exposure_times):
    """Exposure times in s, by channel."""
    if exposure_times is None:
        return {}
    name, rule = "exposure_times", "must be a dict of a time for each channel, such as {94: 2.9 * u.s}"
    if not isinstance(exposure_times, Mapping):
        raise wrong(TypeError, name, f"{rule}, but is {exposure_times!r}")
    exposure_times = by_wavelength(name, exposure_times, rule)
    try:
        times = {key: float(u.Quantity(value, u.s).value) for key, value in exposure_times.items()}
    except (TypeError, ValueError) as err:
        raise wrong(TypeError, name, f"{rule}, but is {exposure_times!r}") from err
    if not all(0 < time < np.inf for time in times.values()):
        raise wrong(ValueError, name, f"{rule}, all positive, but is {exposure_times!r}")
    return times


def check_quality(images, accept_flagged):
    """Refuse images that, by their headers, do not show the Sun as it should be; warn of minor flags."""
    bad, minor = {}, {}
    for image in images:
        reasons, lesser = flags_of(image.map) if image.flags is None else image.flags
        bad |= {image.name: reasons} if reasons else {}
        minor |= {image.name: lesser} if lesser else {}
    if bad and not accept_flagged:
        name, reasons = next(iter(bad.items()))
        more = f" (and so are {len(bad) - 1} more of `maps`)" if len(bad) > 1 else ""
        raise wrong_map(
            ValueError,
            name,
            f"is flagged by its header: {'; '.join(reasons)}{more}. Use an image of another time, or pass "
            "`accept_flagged=True`",
        )
    told = [f"{name}: {'; '.join(reasons)}" for name, reasons in (bad | minor).items()]
    if told:
        warn(DataWarning, f"contain {len(told)} that are flagged by their headers: {first_few(told, most=6)}", "maps")


def _quality(smap):
    """The bits of QUALITY, which may be written as text, also in hexadecimal; 0 if there are none."""
    value = smap.meta.get("quality")
    try:
        return int(value, 0) & 0xFFFFFFFF
    except (TypeError, ValueError):  # no text, or one such as "8192.0"
        value = number(smap, "quality")
        return int(value) & 0xFFFFFFFF if np.isfinite(value) else 0


def _percent(smap):
    """Percentage of the pixels that have values, by the header; NaN if it does not say."""
    percent = number(smap, "percentd")
    if np.isnan(percent) and contains_whole_image(smap):  # in cutouts, all pixels outside count as missing
        missing, total = number(smap, "missvals"), number(smap, "totvals")
        percent = 100 * (1 - missing / total) if total > 0 else np.nan
    return percent


def flags_of(smap):
    """What the header of a map, or of what has its `meta`, `data` and `scale`, says against it; and minor reasons."""
    load_drms()
    from aiapy.utils import check_quality_flag

    reasons, lesser = [], []
    bits = _quality(smap) & ~(1 << _HARMLESS_FLAG)
    for bit in range(32):
        if bits >> bit & 1:
            text = check_quality_flag(1 << bit)[0].partition(" (coincides")[0]
            is_reserved = text == "(empty)"
            is_minor = is_reserved or bit in _MINOR_FLAGS
            (lesser if is_minor else reasons).append(f"reserved bit {bit} of QUALITY" if is_reserved else text)
    if (percent := _percent(smap)) < _MIN_PERCENT:
        reasons.append(f"only {percent:.3g} % of its pixels have values")
    for keyword, good in _STATE.items():
        value = str(smap.meta.get(keyword, good)).strip().upper()
        if value and value != good:
            reasons.append(f"{keyword.upper()} is {value}")
    return reasons, lesser
