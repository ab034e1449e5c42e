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
from sunpy_demreg._engines.base.prior import RANK
from sunpy_demreg._engines.base.solution import Solution
from sunpy_demreg._engines.base.status import Status
from sunpy_demreg._engines.base.tables import make_tables
from sunpy_demreg._engines.base.withhold import settle

__all__ = ["Engine", "flag_failed", "solve", "solve_carefully"]

_CAREFUL_LANES = 256  # at once: singular values need memory
_MEMORY_BUDGET = 36 * 2**20  # bytes of working arrays on NumPy, of all threads
_MAX_BLOCK = 8192  # lanes: fewer spend more on the calls, and more are not faster
_N_THREADS = 1  # measured: more threads mostly wait for each other


class Engine:
    """
    Solves on plain arrays: see `sunpy_demreg._engines`, which has the parameters too.

    Parameters
    ----------
    memory_budget : int, optional
        Bytes that the working arrays of all threads may take.
    """

    def __init__(self, problem, pixels, into, withheld, workers=None, memory_budget=None):
        self._pixels, self._into, self._withheld = pixels, into, withheld
        self._tables, self._plan = make_tables(problem), problem.plan()
        self.n_threads = workers or _N_THREADS
        n, m = problem.K.shape
        # Measured, rounded up.
        values_per_pixel = 8 * m + 3 * n * n + 10 * n + 60
        values_per_pixel += 12 * m * self._plan.tells_resolved
        values_per_pixel += 3 * m * m * len({"covariance", "resolution_matrix"}.intersection(problem.options.outputs))
        if self._plan.method == "lognormal":
            values_per_pixel += 8 * m + (2 * n + 12) * RANK
        budget = _MEMORY_BUDGET if memory_budget is None else min(memory_budget, _MEMORY_BUDGET)
        self.block_size = int(min(max(budget // (8 * self.n_threads * values_per_pixel), 1), _MAX_BLOCK))

    def solve_into(self, block):
        intensity, uncertainty, status, weight = self._pixels.at(block)
        into, bad = self._into.at(block), status != 0
        if not bad.all():
            xp = array_namespace(intensity)
            # A bad pixel keeps its lane, as data of zero with an error of one: the others stay where they are.
            intensity, uncertainty = xp.where(bad, 0.0, intensity), xp.where(bad, 1.0, uncertainty)
            into.put(slice(None), _solve(intensity, uncertainty, self._tables, self._plan, weight))
        settle(into, status, self._withheld)
        return [block]


def solve(g, sigma, problem):
    """
    Invert a stack of pixels, all of them good.

    Parameters
    ----------
    g, sigma : array, (n, N)
        Intensity and its uncertainty, finite, ``sigma > 0``.
    problem : `sunpy_demreg._engines.base.problem.Problem`
        With arrays of the same library; its weight may be (m, N).

    Returns
    -------
    Solution
    """
    weight = problem.weight if problem.has_weight_of_pixels else None
    return _solve(g, sigma, make_tables(problem), problem.plan(), weight)


def _solve(g, sigma, tables, plan, weight):
    if plan.weighting != "given":
        weight = None
    # Squaring a matrix of more channels than bins makes it singular.
    if plan.n_channels > tables.response.shape[0]:
        return solve_carefully(g, sigma, tables, plan, weight)
    xp = array_namespace(g, sigma)
    solution = invert_arrays(g, sigma, tables, plan, weight)
    is_difficult = solution.status >= DIFFICULT
    if not xp.any(is_difficult):
        return solution
    lanes = xp.nonzero(is_difficult)[0]
    part_weight = None if weight is None else xp.take(weight, lanes, axis=1)
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

    These are pixels with one uncertainty much smaller than the others, and those of channels that see nearly the same
    plasma. The arguments are those of `sunpy_demreg._engines.arrays.machine.invert_arrays`.
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
    return flag_failed(invert_arrays(g, sigma, tables, plan, weight, is_careful=True), g, plan)


def flag_failed(solution, g, plan):
    """
    Give what is not finite, and a DEM that has come to nothing, the status ``FAILED``: of `solve_carefully`.

    But not where there is no signal, which says enough, unless there is a rule that has an answer all the same.
    """
    xp = array_namespace(g)
    is_there = xp.ones(g.shape[1:], dtype=xp.bool, device=device(g))
    for output in solution[:-1]:
        if output is not None:
            is_there = is_there & xp.all(xp.isfinite(xp.reshape(output, (-1, g.shape[1]))), axis=0)
    if solution.dem is not None:  # the signal implies a DEM: one of zeros has underflowed
        is_there = is_there & (xp.any(solution.dem != 0, axis=0) | ~xp.any(g != 0, axis=0))
    told = int(Status.FAILED if plan.parameter_choice == "grid" else Status.FAILED | Status.NO_SIGNAL)
    has_failed = ~is_there & ((solution.status & told) == 0)
    return solution._replace(status=solution.status + int(Status.FAILED) * xp.astype(has_failed, xp.int32))
