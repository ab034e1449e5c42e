"""What an answer must be like before its time counts."""

import numpy as np

__all__ = ["WrongAnswer", "check_chi_squared", "check_same", "largest_difference"]

TOLERANCE = 1e-9


class WrongAnswer(RuntimeError):
    """A code gave an answer that it must not give: its speed means nothing."""


def largest_difference(ours, theirs):
    """Over the pixels and the outputs that both have, relative to each pixel's peak."""
    shared = [name for name in ours if name in theirs and name not in ("status", "regularization_parameter")]
    worst = 0.0
    for name in shared:
        a, b = np.atleast_2d(ours[name]), np.atleast_2d(theirs[name])
        worst = max(worst, float(np.max(np.abs(a - b).max(axis=0) / np.abs(b).max(axis=0))))
    return worst if shared else np.nan


def check_same(name, ours, theirs, tolerance=TOLERANCE):
    """The largest difference, which must not be larger than the tolerance; an answer that is not finite is."""
    difference = largest_difference(ours, theirs)
    if not difference <= tolerance:
        raise WrongAnswer(f"{name}: the answers differ by {difference:.2e} of a pixel's peak, more than {tolerance:g}")
    return difference


def check_chi_squared(name, reply):
    """Chi-squared must be that of the DEM."""
    if not reply["deviation"] <= TOLERANCE:
        raise WrongAnswer(f"{name}: chi-squared differs by {reply['deviation']:.2e} from that of the DEM")
