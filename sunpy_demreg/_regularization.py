"""
The mathematics: one text for every engine.

`invert_lanes` says what happens to a pixel, in arithmetic on lane values (see `sunpy_demreg._lanes`). A machine
``M`` runs it: on arrays at once, or by compiling it (see `sunpy_demreg._engines`). No lane knows of another,
and every sum has a fixed order, so the answer of a pixel depends neither on its neighbors nor on how many
pixels are worked on together.

Symbols (Hannah & Kontar 2012, A&A 539, A146, and the theory page of the documentation): n channels, m
temperature bins; g intensity, sigma uncertainty, K response matrix; A = K / sigma, d = g / sigma. The DEM xi
minimizes ``|A xi - d|^2 + lam |L xi|^2`` with L diagonal. With ``v = L^-2`` everything follows from the n x n
matrix ``G = A v A^T = Q T Q^T``, T tridiagonal: ``x = Q (T + lam)^-1 Q^T d``, ``xi = v A^T x``, and the misfit
``lam^2 |x|^2`` rises monotonically with lam.
"""

from itertools import combinations_with_replacement
from typing import NamedTuple

from sunpy_demreg import _lanes
from sunpy_demreg._lanes import apply_q, apply_q_transposed, dot, factor, solve_lower, solve_tridiagonal, total
from sunpy_demreg._status import Status

__all__ = ["REFERENCE_SCALE", "Plan", "channel_pairs", "invert_lanes"]

REFERENCE_SCALE = 1e15  # the reference multiplies the response by this; its grid of lam depends on it
_EPSILON = 2.0**-52
_PEAK_FRACTION = 1e-4  # bins of the first solution below this fraction of its peak carry no information
_FLOOR_FRACTION = 1e-6  # ... and get this fraction of the peak as their weight
_WEIGHT_MINIMUM = 1e-8  # of the smoothed weight
_LAM_MAXIMUM = 100.0  # in units of the trace of G: beyond, the DEM is damped to less than a percent
_SINGULAR_MINIMUM = 1e-10  # of lam in units of the trace of G, where G is singular
_FAR = 1e300


class Plan(NamedTuple):
    """What is fixed before the text runs, and so compiled into it."""

    n_channels: int
    parameter_choice: str = "discrepancy"
    positivity: str | None = "relax"
    max_iterations: int = 10
    n_samples: int = 42  # of the grid of lam
    is_singular: bool = False  # G, for there are more channels than bins
    errors: bool = True  # whether dem_uncertainty is wanted
    resolution: bool = True  # whether temperature_resolution is wanted


class _System(NamedTuple):
    """``(G + lam) x = d``, reduced to tridiagonal form."""

    T: tuple
    y: list  # Q^T d
    reflectors: list
    trace: object

    def solution(self, lam):
        return apply_q(self.reflectors, solve_tridiagonal(factor(self.T, lam), self.y))


def channel_pairs(n):
    """The pairs i <= k of channels, in the order of the machine's tables of ``K_i K_k``."""
    return list(combinations_with_replacement(range(n), 2))


def invert_lanes(M, plan):
    """Invert the lanes of a machine, and put the outputs into it."""
    n = plan.n_channels
    pairs = channel_pairs(n)
    g = [M.intensity(i) for i in range(n)]
    inverse_sigma = [1.0 / M.sigma(i) for i in range(n)]
    d = [g_i * w_i for g_i, w_i in zip(g, inverse_sigma, strict=True)]
    choose = _nearest_grid_sample if plan.parameter_choice == "grid" else _discrepancy_root
    goal = M.scalar("target") + 0.0 * d[0]

    def column(j):
        return [M.response(i, j) for i in range(n)]

    def system(sums):
        """Of the sums over the bins of ``K_i K_k v``."""
        of_pair = dict(zip(pairs, sums, strict=True))
        G = [[of_pair[min(i, k), max(i, k)] * (inverse_sigma[i] * inverse_sigma[k]) for k in range(n)] for i in range(n)]
        T, y, reflectors = _lanes.tridiagonalize(M, G, d)
        return _System(T, y, reflectors, total(T[0]))

    def dual(x):
        """What the columns of K multiply: ``xi_j = v_j K_j . dual``."""
        return [w_i * x_i for w_i, x_i in zip(inverse_sigma, x, strict=True)]

    # The first pass, with L^-2 = dlogT for all pixels: its DEM, smoothed, is the weight of the second.
    first = system([M.shared_gram(p) for p in range(len(pairs))])
    z = dual(first.solution(choose(M, plan, first, goal)))
    _put_weight(M, lambda j: M.dlogt(j) * dot(column(j), z), on_grid=plan.parameter_choice == "grid")

    def add_bin(j):
        v = M.get("weight", j)
        return tuple(M.response_pair(p, j) * v for p in range(len(pairs)))

    second = system(M.over_bins(add_bin, ("sum",) * len(pairs)))

    def has_negative_bin(z):
        """v is positive, so the sign of the DEM does not need it."""
        return M.over_bins(lambda j: (dot(column(j), z),), ("minimum",))[0] < 0.0

    lam = choose(M, plan, second, goal)
    if plan.positivity == "relax" and plan.max_iterations > 1:
        # Raise the target until no bin is negative.
        def relax(lam, goal, negative):
            goal = M.where(negative, goal * M.scalar("growth"), goal)
            lam = M.where(negative, choose(M, plan, second, goal), lam)
            negative = negative & has_negative_bin(dual(second.solution(lam)))
            return negative, (lam, goal, negative)

        start = has_negative_bin(dual(second.solution(lam)))
        lam, goal, _ = M.iterate(relax, (lam, goal, start), plan.max_iterations - 1)

    z = dual(second.solution(lam))
    operator = _data_operator(M, second, lam, inverse_sigma) if plan.errors or plan.resolution else None

    def put_bin(j):
        v, K_j = M.get("weight", j), column(j)
        dem = v * dot(K_j, z)
        M.put_output("dem", j, dem * M.scalar("scale"))
        if plan.errors:
            # A row of K^dagger = v A^T (G + lam)^-1: its length is the error.
            row = [dot(o_i, K_j) for o_i in operator]
            M.put_output("dem_uncertainty", j, v * M.sqrt(dot(row, row)) * M.scalar("scale"))
        return dem, *(K_ij * dem for K_ij in K_j)

    least, *predicted = M.over_bins(put_bin, ("minimum", *("sum",) * n))
    residual = [(g_i - p_i) * w_i for g_i, p_i, w_i in zip(g, predicted, inverse_sigma, strict=True)]
    misfit = dot(residual, residual)
    for i in range(n):
        M.put_output("predicted_intensity", i, predicted[i])
    M.put_output("chi_squared", 0, misfit * (1.0 / n))
    M.put_output("regularization_parameter", 0, lam)
    status = M.where(least < 0.0, float(Status.NEGATIVE_DEM), M.zero())
    status = status + M.where(dot(d, d) <= goal, float(Status.NO_SIGNAL), M.zero())
    if plan.parameter_choice != "grid":  # whose coarse samples rarely meet the target: the bit would say nothing
        status = status + M.where(misfit > goal * (1 + 1e-6), float(Status.TARGET_NOT_REACHED), M.zero())
    M.put_output("status", 0, status)
    if plan.resolution:
        both_sides = [[w_i * o_ik for o_ik in o_i] for w_i, o_i in zip(inverse_sigma, operator, strict=True)]
        _put_resolution(M, column, both_sides)


def _put_weight(M, first_dem, *, on_grid):
    """
    ``v = L^-2`` of the second pass: the first DEM, floored, smoothed over five bins, normalized, over dlogT.

    The floor is the weight of the bins that the first DEM leaves empty: the reference's is 1 in its own units;
    otherwise it is a fraction of each pixel's peak, which no unit can change.
    """

    def keep(j):
        value = first_dem(j)
        M.put("scratch", j, value)
        return (value,)

    (peak,) = M.over_bins(keep, ("maximum",))
    peak = M.maximum(peak, 0.0)
    cut = peak * _PEAK_FRACTION
    floor = 1.0 if on_grid else M.where(peak > 0.0, peak * _FLOOR_FRACTION, 1.0)

    def raise_to_floor(j):
        value = M.get("scratch", j)
        value = M.where(value > cut, value, floor)
        M.put("scratch", j, value)
        return (value,)

    (top,) = M.over_bins(raise_to_floor, ("maximum",))
    normalization = 1.0 / (5.0 * top)

    def smooth(j):
        # A moving mean over five bins that leaves the two end bins out, as in the reference: where the
        # response is small, the ends of the first DEM are the least certain.
        value = M.sum_of_inner_neighbors("scratch", j) * normalization
        M.put("weight", j, M.maximum(value, _WEIGHT_MINIMUM) / M.dlogt(j))
        return ()

    M.over_bins(smooth, ())


def _least_lam(plan, system):
    """Below, the solution is made of rounding errors (that G has in the directions that no bin can reach)."""
    return system.trace * (_SINGULAR_MINIMUM if plan.is_singular else plan.n_channels * _EPSILON)


def _discrepancy_root(M, plan, system, goal):
    """
    The exact discrepancy principle (Morozov 1966): lam with ``misfit(lam) = goal``, to rounding.

    Newton on ``1 / sqrt(misfit)`` as a function of ``beta = 1 / lam`` (Reinsch 1971), which is concave: from the
    left it rises to the root without ever passing it. Where no lam meets the goal, the end of the range in
    which lam means something.
    """
    end = 1.0 / _least_lam(plan, system)
    root_goal = M.sqrt(goal)

    def newton(beta, running):
        lam = 1.0 / beta
        lower, reciprocal = factors = factor(system.T, lam)
        x = solve_tridiagonal(factors, system.y)
        u = solve_lower(lower, x)
        misfit = lam * lam * dot(x, x)
        # - lam/2 d misfit / d lam = misfit - lam^3 x . (T + lam)^-1 x
        slope = misfit - lam * lam * lam * dot(u, [u_i * r_i for u_i, r_i in zip(u, reciprocal, strict=True)])
        excess = M.sqrt(misfit) / root_goal - 1.0
        step = beta * excess * misfit / M.where(slope > 0.0, slope, misfit)
        running = running & (excess > 4 * _EPSILON) & (step > 2 * _EPSILON * beta) & (beta < end)
        return running, (M.where(running, M.minimum(beta + step, end), beta), running)

    start = 1.0 / (_LAM_MAXIMUM * system.trace)
    beta, _ = M.iterate(newton, (start, dot(system.y, system.y) > goal), 200)
    return 1.0 / beta


def _nearest_grid_sample(M, plan, system, goal):
    """
    The reference's rule: of ``n_samples`` values of lam, even in the logarithm, the one of nearest misfit.

    With s2 the eigenvalues of G, they reach from ``1e-4 min(s2)`` to ``sqrt(max(s2))``, where ``max(s2)`` would
    have the unit of lam: so the grid depends on the unit of the response (hence `REFERENCE_SCALE`). Should the
    ends be in descending order, all samples are the upper one. The misfit rises with lam: the nearest sample is
    the last one not above the goal, found by bisection, or its successor.
    """
    largest = _lanes.eigenvalue_bound(M, system.T, system.trace * (1.0 + 1e-3), largest=True)
    if plan.is_singular:
        smallest = 0.0 * system.trace
    else:
        smallest = _lanes.eigenvalue_bound(M, system.T, 0.0 * system.trace, largest=False)
    low = M.log(M.maximum(smallest * 1e-4, 2.2250738585072014e-308))
    high = 0.5 * M.log(largest)
    step = (high - low) * (1.0 / (plan.n_samples - 1))

    def distance(k):
        lam = M.maximum(M.exp(M.minimum(low + k * step, high)), _least_lam(plan, system))
        x = solve_tridiagonal(factor(system.T, lam), system.y)
        return lam * lam * dot(x, x) - goal, lam

    index = M.zero()
    for bit in reversed(range((plan.n_samples - 1).bit_length())):
        trial = index + float(2**bit)
        is_below = (distance(trial)[0] <= 0.0) & (trial <= plan.n_samples - 1.0)
        index = M.where(is_below, trial, index)
    here, lam = distance(index)
    there, successor = distance(M.minimum(index + 1.0, plan.n_samples - 1.0))
    return M.where(M.abs(there) < M.abs(here), successor, lam)


def _data_operator(M, system, lam, inverse_sigma):
    """``(G + lam)^-1 / sigma`` (n x n): with it, ``K^dagger = v K^T (...)`` follows for every bin."""
    n = len(inverse_sigma)
    factors = factor(system.T, lam)
    columns = []
    for k in range(n):
        unit = [M.zero() + float(i == k) for i in range(n)]
        solved = solve_tridiagonal(factors, apply_q_transposed(system.reflectors, unit))
        columns.append([inverse_sigma[k] * x_i for x_i in apply_q(system.reflectors, solved)])
    return [[columns[k][i] for k in range(n)] for i in range(n)]


def _put_resolution(M, column, both_sides):
    """
    Full width at half maximum, in dex, of each column of the resolution matrix ``R = K^dagger A``.

    As in the reference, each column is sampled at 51 temperatures by linear interpolation, and the width is the
    distance from the first to the last sample of at least half the column's maximum. A column without such a
    sample gets twice its bin's width. The columns come one at a time: no m x m array is ever stored.
    """

    def put_width(k):
        h = [dot(row, column(k)) for row in both_sides]

        def put_element(j):
            value = M.get("weight", j) * dot(column(j), h)
            M.put("scratch", j, value)
            return (value,)

        (top,) = M.over_bins(put_element, ("maximum",))
        half = 0.5 * top

        def edges(s):
            is_above = M.sampled("scratch", s) >= half
            return M.where(is_above, M.sample(s), _FAR), M.where(is_above, M.sample(s), -_FAR)

        first, last = M.over_samples(edges, ("minimum", "maximum"))
        M.put_output("temperature_resolution", k, M.where(last > -_FAR, last - first, 2.0 * M.dlogt(k)))

    M.each_bin(put_width)
