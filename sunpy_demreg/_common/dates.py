"""Dates: the mean of several, and as whole numbers."""

import numpy as np

from astropy.time import Time

__all__ = ["as_text", "from_microseconds", "in_words", "known_dates", "mean_date", "to_microseconds"]

_EPOCH = Time("1970-01-01", scale="utc")


def mean_date(dates):
    """
    The mean of one or more dates, in UTC; taken in TAI, which has no leap seconds.

    None stands for a date that is not known, as a masked one does, and is the mean of such only.
    """
    dates, _ = known_dates(dates)
    return None if dates is None else dates.tai.mean().utc


def known_dates(dates):
    """
    Those of one or more dates that are known, one after the other in one Time, in UTC; or None if none is.

    Returns
    -------
    Time or None
    array of bool
        Which of them these are.
    """
    if isinstance(dates, Time):
        dates = dates.utc.reshape(-1)
        is_known = ~np.broadcast_to(dates.mask, dates.shape)
        return (dates[is_known].unmasked if is_known.any() else None), is_known
    each = np.ravel(np.array(dates, dtype=object))
    is_known = np.array([date is not None and not np.any(Time(date).mask) for date in each], dtype=bool)
    return (Time([Time(date).utc for date in each[is_known]]) if is_known.any() else None), is_known


def as_text(date):
    """A date as titles and messages show it, "" of None."""
    return "" if date is None else f"{date.utc.strftime('%Y-%m-%d %H:%M:%S')} UT"


def in_words(dates):
    """The mean date of all channels, or of a series, (channel, time), the first, the last, and how many there are."""
    if isinstance(dates, Time) and dates.ndim == 2:
        first, last = (as_text(mean_date(dates[:, i])) for i in (0, -1))
        return f"{first.removesuffix(' UT')} to {last}, {dates.shape[1]} times"
    return as_text(mean_date(dates)) if np.ndim(dates) < 2 else ""


def to_microseconds(times):
    """Microseconds since 1970 in UTC without leap seconds, as in xarray."""
    utc = times.utc
    return np.round(((utc.jd1 - _EPOCH.jd1) + (utc.jd2 - _EPOCH.jd2)) * 86400e6).astype(np.int64)


def from_microseconds(microseconds):
    days, rest = np.divmod(microseconds, 86_400_000_000)
    times = Time(_EPOCH.jd1 + days, _EPOCH.jd2 + rest / 86400e6, format="jd", scale="utc")
    times.format = "isot"
    return times
