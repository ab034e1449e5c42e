"""The pixels that a compiled engine marks, solved again on plain arrays of NumPy."""

import numpy as np

from sunpy_demreg._engines.algorithm.invert import DIFFICULT
from sunpy_demreg._engines.arrays.engine import solve_carefully

__all__ = ["solve_difficult"]

_BLOCK = 256  # lanes at once: plain arrays need memory


def solve_difficult(pixels, into, tables, plan):
    """
    Overwrite the answers that are marked as ``DIFFICULT``.

    Parameters
    ----------
    pixels : `sunpy_demreg._engines.base.problem.Pixels`
    into : `sunpy_demreg._engines.base.solution.Solution`
    tables, plan
        As in `sunpy_demreg._engines.arrays.machine.invert_arrays`.
    """
    difficult = np.flatnonzero(into.status >= DIFFICULT)
    for i in range(0, difficult.size, _BLOCK):
        lanes = difficult[i : i + _BLOCK]
        intensity, uncertainty, _, weight = pixels.at(lanes)
        into.put(lanes, solve_carefully(intensity, uncertainty, tables, plan, weight))
