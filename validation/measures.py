"""
How far an answer is from the truth, and whether its errors say so.

All measures are of emission measures in bins, ``(bins, N)`` in cm-5, so that none depends on the unit of the DEM. Sums
over a DEM per kelvin would see little but the coolest bins.
"""

import numpy as np

from validation.setting import BIN_CENTERS, BIN_WIDTH, em_in_ranges

__all__ = ["HOT", "MEASURES", "coverage", "measures", "within"]

HOT = 6.8  # log T, above which there is little in all but the flares
_SIGNIFICANT = 0.05  # of the true emission measure: ranges that hold less have hardly a truth to be tested by
MEASURES = ("E", "E_ranges", "distance", "false_hot", "total", "log_T_bias", "log_T_error")


def measures(em, truth):
    """
    The measures of each case.

    Parameters
    ----------
    em, truth : array, (bins, N)

    Returns
    -------
    dict of array, (N,)
        ``E``: the sum of ``|EM - EM0|`` over the bins, over the sum of EM0; 0 is perfect, 1 is what no plasma at all
        would get, 2 is the worst of the same total. ``E_ranges``: the same in ranges of 0.3 dex. ``distance``: the
        Wasserstein distance in dex, the mean way by which plasma is at the wrong temperature, of DEMs scaled to the
        same total. ``false_hot``: emission measure above log T = 6.8 in excess of the true one there, over the true
        total. ``total``: over the true one. ``log_T_bias``, ``log_T_error``: of the mean log T, weighted with the
        emission measure, and its size.
    """
    total, found = truth.sum(axis=0), em.sum(axis=0)
    difference = np.abs(np.cumsum(em / found, axis=0) - np.cumsum(truth / total, axis=0))
    hot = BIN_CENTERS > HOT
    bias = BIN_CENTERS @ (em / found) - BIN_CENTERS @ (truth / total)
    return {
        "E": np.abs(em - truth).sum(axis=0) / total,
        "E_ranges": np.abs(em_in_ranges(em) - em_in_ranges(truth)).sum(axis=0) / total,
        "distance": BIN_WIDTH * difference.sum(axis=0),
        "false_hot": np.maximum((em - truth)[hot].sum(axis=0), 0.0) / total,
        "total": found / total,
        "log_T_bias": bias,
        "log_T_error": np.abs(bias),
    }


def within(values, sigma, truth):
    """
    By how many of its errors a value departs from the truth, of those that hold a share of it worth testing.

    Parameters
    ----------
    values, sigma, truth : array, (ranges, N)
        Emission measures in ranges and the reported errors; values that are not finite are left out.

    Returns
    -------
    array, (M,)
    """
    used = (truth > _SIGNIFICANT * truth.sum(axis=0)) & np.isfinite(values)
    # Ranges that a constraint holds at zero have no error at all: the truth is infinitely many of it away.
    with np.errstate(divide="ignore"):
        return np.abs(values - truth)[used] / sigma[used]


def coverage(departures):
    """Shares within one and two errors of the truth, and of how many; 0.683 and 0.954 were right."""
    shares = {f"within_{k}": float(np.mean(departures <= k)) if departures.size else None for k in (1, 2)}
    return {**shares, "values": int(departures.size)}
