"""Dates: the mean of several, and as whole numbers."""

import numpy as np

from astropy.time import Time

__all__ = ["as_text", "from_microseconds", "mean_date", "to_microseconds"]

_EPOCH = Time("1970-01-01", scale="utc")


def mean_date(dates):
    """
    The mean of one or more dates, in UTC; taken in TAI, which has no leap seconds.

    None stands for a date that is not known, and is the mean of such only.
    """
    if not isinstance(dates, Time):
        known = [Time(date).utc for date in np.ravel(np.array(dates, dtype=object)) if date is not None]
        if not known:
            return None
        dates = Time(known)
    return dates.tai.mean().utc


def as_text(date):
    """A date as titles and messages show it, "" of None."""
    return "" if date is None else f"{date.utc.strftime('%Y-%m-%d %H:%M:%S')} UT"


def to_microseconds(times):
    """Microseconds since 1970 in UTC without leap seconds, as in xarray."""
    utc = times.utc
    return np.round(((utc.jd1 - _EPOCH.jd1) + (utc.jd2 - _EPOCH.jd2)) * 86400e6).astype(np.int64)


def from_microseconds(microseconds):
    days, rest = np.divmod(microseconds, 86_400_000_000)
    times = Time(_EPOCH.jd1 + days, _EPOCH.jd2 + rest / 86400e6, format="jd", scale="utc")
    times.format = "isot"
    return times
