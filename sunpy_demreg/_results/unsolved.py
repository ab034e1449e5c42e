"""The warnings about pixels that have no DEM or none that fits, given as soon as their statuses are known."""

from collections import Counter

import numpy as np
from array_api_compat import is_cupy_array

from sunpy_demreg._common.warnings import UnsolvedWarning, warn
from sunpy_demreg._engines.base.status import Status, is_unsolved, status_counts

__all__ = ["counts_of", "warn_of_unsolved"]

_MOST_PIXELS = 2**20  # loaded at a time
# More misfits than this share of the solved pixels are told. Quiet Sun, active regions, the full disk and the corona
# beyond the limb have up to 7 %; bins, units or responses that are wrong make 25 to 100 %.
_MOST_MISFITS = 0.25
_FEWEST_MISFITS = 10  # to be told: of a few pixels it may be the plasma


def counts_of(status, settings):
    """
    As `status_counts`, with the numbers of pixels that are unsolved, and of those that are misfits.

    Parameters
    ----------
    status : array
        A stored one is loaded some rows at a time.
    settings : mapping
        Of the inversion, as in the metadata of a result.

    Returns
    -------
    `collections.Counter`
        Those of several results can be added.
    """
    status = status if status.ndim else np.reshape(status[()], 1)
    counts = Counter()
    n_rows = max(_MOST_PIXELS // max(int(np.prod(status.shape[1:])), 1), 1)
    for start in range(0, status.shape[0], n_rows):
        rows = status[start : start + n_rows]
        rows = rows.get() if is_cupy_array(rows) else np.asarray(rows)
        unsolved, misfit = is_unsolved(rows), _is_misfit(rows, settings)
        counts.update(
            status_counts(rows), unsolved=np.count_nonzero(unsolved), misfit=np.count_nonzero(misfit & ~unsolved)
        )
    return counts


def _is_misfit(status, settings):
    """Whether no DEM reached the chi-squared target, where that is unusual."""
    missed = (status & int(Status.TARGET_NOT_REACHED)) != 0
    raised = (status & int(Status.RELAXED)) != 0
    if settings.get("positivity") == "relax":  # which raises the target of many a good pixel
        raised &= (status & int(Status.NEGATIVE_DEM)) != 0
        raised &= (status & int(Status.NONPOSITIVE_INTENSITY)) == 0  # where noise makes the DEM negative
        # A flat weight leaves more than half of the usual pixels so.
        raised &= settings.get("method") != "l2" and settings.get("weighting") != "given"
    return missed | raised


def warn_of_unsolved(counts):
    """Warn of unsolved pixels, if any, with the reasons; and of misfits, if they are many."""
    if counts["unsolved"]:
        warn(
            UnsolvedWarning,
            f"{counts['unsolved']} of {counts['pixels']} pixels were not solved and are masked "
            f"({_told(counts, Status.UNSOLVED)}); see result['status'] and sunpy_demreg.Status",
        )
    n_solved = counts["pixels"] - counts["unsolved"]
    if counts["misfit"] >= _FEWEST_MISFITS and counts["misfit"] > _MOST_MISFITS * n_solved:
        bits = Status.TARGET_NOT_REACHED | Status.RELAXED | Status.NEGATIVE_DEM
        hint = "; positivity='relax' gives up early, 'constrain' does not" if counts["NEGATIVE_DEM"] else ""
        warn(
            UnsolvedWarning,
            f"{counts['misfit']} of {n_solved} solved pixels do not fit: no DEM without negative bins was found at "
            f"their chi-squared target ({_told(counts, bits)}). Likely causes are uncertainties that are too small "
            "(invert with a `calibration_error`, such as 0.1), temperature bins that are too wide or end where there "
            f"is plasma, and a response of another date, unit or order of channels{hint}; see result['chi_squared']",
        )


def _told(counts, bits):
    return ", ".join(f"{bit.name} {counts[bit.name]}" for bit in bits if counts[bit.name])
