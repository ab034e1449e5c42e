"""The mean date of several images."""

from astropy.time import Time

__all__ = ["mean_date"]


def mean_date(dates):
    """The mean of one or more dates, in UTC; taken in TAI, which has no leap seconds."""
    return Time(dates).tai.mean().utc
