"""
The mathematics on plain arrays: stacks of pixels in, stacks of DEMs out.

The algorithm is that of `sunpy_demreg._engines.algorithm.invert`, on arrays of any library that keeps to the Python
array API. A *lane* is a pixel, and lanes are the last axis of every array: all arithmetic is elementwise along it and
every sum runs over a leading axis in a fixed order. So the answer of a pixel does not depend, to the last bit, on its
neighbors or on how many pixels are solved together.
"""

from array_api_compat import array_namespace, device

from sunpy_demreg._engines.algorithm.invert import DIFFICULT
from sunpy_demreg._engines.arrays.machine import invert_arrays
from sunpy_demreg._engines.arrays.operations import with_lanes
from sunpy_demreg._engines.base.options import make_plan
from sunpy_demreg._engines.base.solution import Solution
from sunpy_demreg._engines.base.status import Status
from sunpy_demreg._engines.base.tables import make_tables

__all__ = ["solve", "solve_carefully"]

_CAREFUL_LANES = 256  # at once: singular values need memory


def solve(g, sigma, K, dlogt, logt, options, weight=None, functional=None):
    """
    Invert a stack of pixels.

    Parameters
    ----------
    g, sigma : array, (n, N)
        Intensity and its uncertainty, finite, ``sigma > 0``.
    K : array, (n, m)
        Response matrix: intensity = K @ dem.
    dlogt, logt : array, (m,)
        Widths and centers of the temperature bins in log10 T.
    options : Options
    weight : array, (m, N) or (m,), optional
        The caller's, for the weighting "given": of each lane, or one for all.
    functional : array, (q, m), optional
        The "emission_measure" is ``functional @ dem``.

    Returns
    -------
    Solution
    """
    tables = make_tables(K, dlogt, logt, options, weight, functional)
    plan = make_plan(K.shape[0], options, weight is not None and weight.ndim > 1)
    lane_weight = weight if plan.weighting == "given" else None
    # Squaring a matrix of more channels than bins makes it singular.
    if K.shape[0] > K.shape[1]:
        return solve_carefully(g, sigma, tables, plan, lane_weight)
    xp = array_namespace(g, sigma)
    solution = invert_arrays(g, sigma, tables, plan, lane_weight)
    is_difficult = solution.status >= DIFFICULT
    if not xp.any(is_difficult):
        return solution
    lanes = xp.nonzero(is_difficult)[0]
    part_weight = None if lane_weight is None else xp.take(lane_weight, lanes, axis=1)
    careful = solve_carefully(xp.take(g, lanes, axis=1), xp.take(sigma, lanes, axis=1), tables, plan, part_weight)
    return Solution(
        *(
            None if whole is None else with_lanes(xp, whole, is_difficult, part)
            for whole, part in zip(solution, careful, strict=True)
        )
    )


def solve_carefully(g, sigma, tables, plan, weight=None):
    """
    Invert the pixels that lose digits when A is squared, by singular values.

    These are pixels of which an uncertainty is much smaller than the others, and those of channels that see nearly
    the same. The arguments are those of `sunpy_demreg._engines.arrays.machine.invert_arrays`.
    """
    xp = array_namespace(g, sigma)
    parts = []
    for start in range(0, g.shape[1], _CAREFUL_LANES):
        lanes = slice(start, start + _CAREFUL_LANES)
        part_weight = None if weight is None else weight[:, lanes]
        parts.append(_solve_carefully(g[:, lanes], sigma[:, lanes], tables, plan, part_weight))
    if len(parts) == 1:
        return parts[0]
    return Solution(*(None if a[0] is None else xp.concat(a, axis=-1) for a in zip(*parts, strict=True)))


def _solve_carefully(g, sigma, tables, plan, weight):
    xp = array_namespace(g, sigma)
    solution = invert_arrays(g, sigma, tables, plan, weight, is_careful=True)
    is_finite = xp.ones(g.shape[1:], dtype=xp.bool, device=device(g))
    for output in solution[:-1]:
        if output is not None:
            is_finite = is_finite & xp.all(xp.isfinite(xp.reshape(output, (-1, g.shape[1]))), axis=0)
    has_failed = ~is_finite & ((solution.status & int(Status.FAILED)) == 0)
    status = solution.status + int(Status.FAILED) * xp.astype(has_failed, xp.int32)
    return solution._replace(status=status)
