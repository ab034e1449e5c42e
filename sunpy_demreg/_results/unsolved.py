"""The one warning about unsolved pixels, given as soon as their statuses are known."""

from collections import Counter

import numpy as np
from array_api_compat import is_cupy_array

from sunpy_demreg._common.warnings import UnsolvedWarning, warn
from sunpy_demreg._engines.base.status import Status, is_unsolved, status_counts

__all__ = ["counts_of", "warn_of_unsolved"]

_MOST_PIXELS = 2**20  # loaded at a time


def counts_of(status):
    """As `status_counts`, with the number of unsolved pixels; a stored array is loaded some rows at a time."""
    status = status if status.ndim else np.reshape(status[()], 1)
    counts = Counter()
    n_rows = max(_MOST_PIXELS // max(int(np.prod(status.shape[1:])), 1), 1)
    for start in range(0, status.shape[0], n_rows):
        rows = status[start : start + n_rows]
        rows = rows.get() if is_cupy_array(rows) else np.asarray(rows)
        counts.update(status_counts(rows), unsolved=np.count_nonzero(is_unsolved(rows)))
    return counts


def warn_of_unsolved(counts):
    """Warn of unsolved pixels, if any, with the reasons."""
    if counts["unsolved"]:
        reasons = ", ".join(f"{bit.name} {counts[bit.name]}" for bit in Status.UNSOLVED if counts[bit.name])
        warn(
            UnsolvedWarning,
            f"{counts['unsolved']} of {counts['pixels']} pixels were not solved and are masked ({reasons}); "
            "see result['status'] and sunpy_demreg.Status",
        )
