"""The mean date of several images."""

import numpy as np

from astropy.time import Time

__all__ = ["mean_date"]


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
