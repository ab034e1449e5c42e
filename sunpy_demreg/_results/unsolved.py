"""The warnings about pixels that have no DEM or none that fits, given as soon as their statuses are known."""

from collections import Counter

import numpy as np
from array_api_compat import is_cupy_array

from sunpy_demreg._common.warnings import UnsolvedWarning, warn
from sunpy_demreg._engines.base.status import Status, is_unsolved, status_counts

__all__ = ["counts_of", "warn_of_unsolved"]

_MOST_PIXELS = 2**20  # loaded at a time
# Larger shares of the solved pixels are told. Quiet Sun, active regions, the full disk and the corona beyond the limb
# have up to 7 % misfits, and some binnings of an image without calibration error up to 34 %; bins, units or responses
# that are wrong mostly have all of them. Relaxing raises the target of up to two thirds of usual pixels.
_MOST_MISFITS, _MOST_RAISED = 0.5, 0.9
_FEWEST_MISFITS, _FEWEST_RAISED = 10, 1000  # to be told: of a few pixels it may be the plasma


def counts_of(status, settings):
    """
    As `status_counts`, with the numbers of pixels that are unsolved, of misfits, and of targets raised by relaxing.

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
        unsolved = is_unsolved(rows)
        misfit, raised = _misfit_and_raised(rows, settings)
        counts.update(
            status_counts(rows),
            unsolved=np.count_nonzero(unsolved),
            misfit=np.count_nonzero(misfit & ~unsolved),
            raised=np.count_nonzero(raised & ~unsolved),
        )
    return counts


def _misfit_and_raised(status, settings):
    """Whether no DEM reached the chi-squared target, where that is unusual; and whether relaxing raised it."""
    missed = (status & int(Status.TARGET_NOT_REACHED)) != 0
    raised = (status & int(Status.RELAXED)) != 0
    if settings.get("positivity") != "relax":
        return missed | raised, np.zeros_like(raised)
    # Which raises the target of many a good pixel; with a flat weight, that of most.
    raised &= settings.get("method") != "l2" and settings.get("weighting") != "given"
    gave_up = raised & ((status & int(Status.NEGATIVE_DEM)) != 0)
    gave_up &= (status & int(Status.NONPOSITIVE_INTENSITY)) == 0  # where noise makes the DEM negative
    return missed | gave_up, raised


def warn_of_unsolved(counts):
    """Warn of unsolved pixels, if any, with the reasons; and of misfits, if they are many."""
    if counts["unsolved"]:
        warn(
            UnsolvedWarning,
            f"{counts['unsolved']} of {counts['pixels']} pixels were not solved and are masked "
            f"({_told(counts, Status.UNSOLVED)}); see result['status'] and sunpy_demreg.Status",
        )
    n_solved = counts["pixels"] - counts["unsolved"]
    n_misfits = counts["misfit"]
    if counts["raised"] > max(_MOST_RAISED * n_solved, _FEWEST_RAISED):
        n_misfits = max(n_misfits, counts["raised"])
    if n_misfits >= _FEWEST_MISFITS and n_misfits > _MOST_MISFITS * n_solved:
        bits, hint = Status.TARGET_NOT_REACHED | Status.RELAXED, ""
        if counts["raised"]:
            bits |= Status.NEGATIVE_DEM
            hint = "; relaxing gives up early, and `positivity='constrain'` does not"
        warn(
            UnsolvedWarning,
            f"{n_misfits} of {n_solved} solved pixels do not fit: their chi-squared target was missed or raised "
            f"({_told(counts, bits)}). Likely causes are uncertainties that are too small (invert with a "
            "`calibration_error`, such as 0.1), temperature bins that are too wide or do not reach as far as the "
            "plasma (extend their range), and a response of another date, unit or order of channels"
            f"{hint}; see result['chi_squared']",
        )


def _told(counts, bits):
    return ", ".join(f"{bit.name} {counts[bit.name]}" for bit in bits if counts[bit.name])
