"""The pixels that a compiled engine marks, solved again on plain arrays of NumPy."""

import numpy as np

from sunpy_demreg._engines.algorithm.invert import DIFFICULT
from sunpy_demreg._engines.arrays.engine import solve_carefully

__all__ = ["solve_difficult"]

_BLOCK = 256  # lanes at once: plain arrays need memory


def solve_difficult(intensity, uncertainty, tables, plan, weight, into, start, stop):
    """
    Overwrite the answers that are marked as ``DIFFICULT``, of the pixels `start` to `stop`.

    Parameters
    ----------
    intensity, uncertainty : array, (n, N)
    tables, plan
        As in `sunpy_demreg._engines.arrays.machine.invert_arrays`.
    weight : array, (m, N), or None
    into : `Solution`
        Arrays (..., N).
    start, stop : int
    """
    difficult = start + np.flatnonzero(into.status[start:stop] >= DIFFICULT)
    for i in range(0, difficult.size, _BLOCK):
        lanes = difficult[i : i + _BLOCK]
        part_weight = None if weight is None else weight[:, lanes]
        careful = solve_carefully(intensity[:, lanes], uncertainty[:, lanes], tables, plan, part_weight)
        for whole, part in zip(into, careful, strict=True):
            if whole is not None:
                whole[..., lanes] = part
