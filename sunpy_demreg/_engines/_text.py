"""
The text that the fused engines compile: the inversion of one pixel, in arithmetic on lane values.

The same mathematics as `sunpy_demreg._regularization`, which is the truth that it is held to, without a call of a
library. G is reduced to tridiagonal form, ``G = Q T Q^T``; then each trial of lam costs O(n):
``x = (T + lam)^-1 Q^T d``, misfit ``lam^2 |x|^2``, ``xi = v A^T Q x``. The rare lanes where that may cost digits get
the bit `DIFFICULT`, and are left to `sunpy_demreg._regularization`.

Symbols as there: n channels, m bins; g, sigma, K, d = g / sigma, ``v = L^-2``, xi. ``M`` is the machine (see
`sunpy_demreg._engines`).
"""

from itertools import combinations_with_replacement
from typing import NamedTuple

from sunpy_demreg._engines._choice import EPSILON, discrepancy_root, nearest_grid_sample
from sunpy_demreg._engines._lanes import (
    apply_q,
    apply_q_transposed,
    dot,
    extreme_eigenvalue,
    factor,
    solve_tridiagonal,
    total,
    tridiagonalize,
)
from sunpy_demreg._regularization import FLOOR_FRACTION, PEAK_FRACTION, WEIGHT_MINIMUM
from sunpy_demreg._status import Status

__all__ = ["DIFFICULT", "Plan", "channel_pairs", "invert_lanes"]

DIFFICULT = 2**20  # a bit of the status: this lane is to be solved with more care
_ILL_CONDITIONED = 1e-6  # smallest pivot of T over its trace
_LOST = 1e-8  # relative difference of two ways to the misfit
_LEAST_LAM = 1e-10  # of the trace of G, on the way to the bins that are not zero
_MAX_STEPS = 20
_FAR = 1e300


class Plan(NamedTuple):
    """What is fixed before the text is compiled."""

    n_channels: int
    parameter_choice: str
    positivity: str | None
    max_iterations: int
    n_samples: int


class _System(NamedTuple):
    """``(G + lam) x = d`` in tridiagonal form."""

    T: tuple
    y: list  # Q^T d
    reflectors: list
    trace: object

    def solution(self, lam):
        return apply_q(self.reflectors, solve_tridiagonal(factor(self.T, lam), self.y))


def channel_pairs(n):
    """The pairs i <= k of channels, in the order of the table of ``K_i K_k``."""
    return list(combinations_with_replacement(range(n), 2))


def invert_lanes(M, plan):
    """Invert the lanes of a machine, and put the outputs into it."""
    n = plan.n_channels
    pairs = channel_pairs(n)
    on_grid = plan.parameter_choice == "grid"
    choose = nearest_grid_sample if on_grid else discrepancy_root
    g = [M.intensity(i) for i in range(n)]
    inverse_sigma = [1.0 / M.sigma(i) for i in range(n)]
    d = [g_i * w_i for g_i, w_i in zip(g, inverse_sigma, strict=True)]
    signal = dot(d, d)
    target = M.scalar("target")

    def column(j):
        return [M.response(i, j) for i in range(n)]

    def system(sums):
        """Of the sums over the bins of ``K_i K_k v``."""
        of = dict(zip(pairs, sums, strict=True))
        G = [[of[min(i, k), max(i, k)] * (inverse_sigma[i] * inverse_sigma[k]) for k in range(n)] for i in range(n)]
        T, y, reflectors = tridiagonalize(M, G, d)
        return _System(T, y, reflectors, total(T[0]))

    def dual(x):
        """What the columns of K multiply: ``xi_j = v_j K_j . dual``."""
        return [w_i * x_i for w_i, x_i in zip(inverse_sigma, x, strict=True)]

    first = system([M.shared_gram(p) for p in range(len(pairs))])
    z = dual(first.solution(choose(M, plan, first, signal, target)))
    _put_weight(M, lambda j: M.dlogt(j) * dot(column(j), z), on_grid=on_grid)
    second = system(_gram_sums(M, len(pairs), lambda j: M.get("weight", j)))

    def has_negative_bin(lam):
        # v is positive, so the sign of the DEM does not need it.
        z = dual(second.solution(lam))
        return M.over_bins(lambda j: (dot(column(j), z),), ("minimum",))[0] < 0.0

    def relax(lam, goal, negative):
        goal = M.where(negative, goal * M.scalar("growth"), goal)
        lam = M.where(negative, choose(M, plan, second, signal, goal), lam)
        negative = negative & may_be_raised(goal) & has_negative_bin(lam)
        return negative, (lam, goal, negative)

    def may_be_raised(goal):
        # Not to a target that no plasma at all would meet too; the reference's rule ends after one that it would.
        return goal < signal if on_grid else goal * M.scalar("growth") < signal

    lam, goal = choose(M, plan, second, signal, target), target
    is_solved = signal > 0.0
    if plan.positivity == "relax" and plan.max_iterations > 1:
        negative = may_be_raised(goal) & has_negative_bin(lam)
        lam, goal, _ = M.iterate(relax, (lam, goal, negative), plan.max_iterations - 1)
    elif plan.positivity == "constrain":
        second, lam, is_solved = _constrain(M, plan, column, system, second.solution(lam), d, inverse_sigma, target)

    x = second.solution(lam)
    z = dual(x)
    operator = _data_operator(M, second, lam, inverse_sigma)

    def put_bin(j):
        v, K_j = M.get("weight", j), column(j)
        dem = M.where(v > 0.0, v * dot(K_j, z), 0.0)
        row = [dot(o_i, K_j) for o_i in operator]  # of K^dagger = v A^T (G + lam)^-1: its length is the error
        M.put_output("dem", j, dem * M.scalar("scale"))
        M.put_output("dem_uncertainty", j, v * M.sqrt(dot(row, row)) * M.scalar("scale"))
        return dem, *(K_ij * dem for K_ij in K_j)

    least, *predicted = M.over_bins(put_bin, ("minimum", *("sum",) * n))
    residual = [(g_i - p_i) * w_i for g_i, p_i, w_i in zip(g, predicted, inverse_sigma, strict=True)]
    misfit, chosen = dot(residual, residual), lam * lam * dot(x, x)
    for i in range(n):
        M.put_output("predicted_intensity", i, predicted[i])
    M.put_output("chi_squared", 0, misfit * (1.0 / n))
    M.put_output("regularization_parameter", 0, lam)

    is_solved = is_solved & _is_safe(M, plan, first) & _is_safe(M, plan, second)
    is_solved = is_solved & (M.abs(misfit - chosen) <= _LOST * chosen)
    bits = {
        DIFFICULT: ~is_solved,
        int(Status.NO_SIGNAL): signal <= target,
        int(Status.RELAXED): goal > target,
        int(Status.NEGATIVE_DEM): least < 0.0,
    }
    M.put_output("status", 0, total([M.where(is_set, float(bit), 0.0) for bit, is_set in bits.items()]))
    both_sides = [[w_i * o_ik for o_ik in o_i] for w_i, o_i in zip(inverse_sigma, operator, strict=True)]
    _put_resolution(M, column, both_sides)


def _gram_sums(M, n_pairs, weight):
    """``K v K^T`` for the weight ``v = weight(j)``."""

    def terms(j):
        v = weight(j)
        return tuple(M.response_pair(p, j) * v for p in range(n_pairs))

    return M.over_bins(terms, ("sum",) * n_pairs)


def _is_safe(M, plan, system):
    """Whether squaring A has left enough digits: false too for what is not finite."""
    if plan.parameter_choice == "grid":  # which starts at the smallest eigenvalue: so that one needs its digits
        smallest = extreme_eigenvalue(M, system.T, 0.0 * system.trace, largest=False)
        return smallest > _ILL_CONDITIONED * system.trace
    _, reciprocal = factor(system.T, system.trace * EPSILON)
    largest = reciprocal[0]
    safe = reciprocal[0] > 0.0
    for r_i in reciprocal[1:]:
        largest = M.maximum(largest, r_i)
        safe = safe & (r_i > 0.0)
    return safe & (largest * system.trace < 1.0 / _ILL_CONDITIONED)


def _put_weight(M, first_dem, *, on_grid):
    """``v = L^-2`` of the second pass: see ``_self_weight`` in `sunpy_demreg._regularization`."""

    def keep(j):
        value = first_dem(j)
        M.put("scratch", j, value)
        return (value,)

    peak = M.maximum(M.over_bins(keep, ("maximum",))[0], 0.0)
    cut = peak * PEAK_FRACTION
    floor = 1.0 if on_grid else M.where(peak > 0.0, peak * FLOOR_FRACTION, 1.0)

    def raise_to_floor(j):
        value = M.get("scratch", j)
        value = M.where(value > cut, value, floor)
        M.put("scratch", j, value)
        return (value,)

    normalization = 1.0 / (5.0 * M.over_bins(raise_to_floor, ("maximum",))[0])

    def smooth(j):
        value = M.sum_of_inner_neighbors("scratch", j) * normalization
        M.put("weight", j, M.maximum(value, WEIGHT_MINIMUM) / M.dlogt(j))
        return ()

    M.over_bins(smooth, ())


def _constrain(M, plan, column, system, x, d, inverse_sigma, target):
    """
    Find the DEM >= 0 that fits to the target: see ``_minimize_dual`` in `sunpy_demreg._positivity`.

    Sets the weight of the bins that are zero to zero; gives the system without them, its lam, and the lanes that
    were solved.
    """
    n_pairs = len(channel_pairs(len(d)))
    signal, root_target = dot(d, d), M.sqrt(target)

    def project(x, j):
        return dot(column(j), [w_i * x_i for w_i, x_i in zip(inverse_sigma, x, strict=True)])

    def active_weight(x, j):
        return M.where(project(x, j) > 0.0, M.get("weight", j), 0.0)

    def psi(x):
        def term(j):
            positive = M.maximum(project(x, j), 0.0)
            return (M.get("weight", j) * positive * positive,)

        return 0.5 * M.over_bins(term, ("sum",))[0] - dot(d, x) + root_target * M.sqrt(dot(x, x))

    def step(running, *x):
        active = system(_gram_sums(M, n_pairs, lambda j: active_weight(x, j)))
        lam = discrepancy_root(M, plan, active, signal, target, least=_LEAST_LAM)
        there = active.solution(lam)

        def differs(j):
            before, after = (M.where(project(y, j) > 0.0, 1.0, 0.0) for y in (x, there))
            return (M.abs(before - after),)

        arrived = (M.over_bins(differs, ("maximum",))[0] < 0.5) & (lam > 2.0 * _LEAST_LAM * active.trace)
        start = psi(x)

        def between(fraction):
            return [x_i + fraction * (t_i - x_i) for x_i, t_i in zip(x, there, strict=True)]

        def shorten(fraction):
            too_far = running & ~arrived & (psi(between(fraction)) > start)
            return too_far, (M.where(too_far, 0.5 * fraction, fraction),)

        (fraction,) = M.iterate(shorten, (0.0 * lam + 1.0,), _MAX_STEPS)
        x = [M.where(running, new, x_i) for new, x_i in zip(between(fraction), x, strict=True)]
        running = running & ~arrived
        return running, (running, *x)

    running, *x = M.iterate(step, (signal > target, *x), _MAX_STEPS)

    def put_active(j):
        M.put("weight", j, active_weight(x, j))
        return ()

    M.over_bins(put_active, ())
    active = system(_gram_sums(M, n_pairs, lambda j: M.get("weight", j)))
    return active, discrepancy_root(M, plan, active, signal, target), ~running


def _data_operator(M, system, lam, inverse_sigma):
    """``(G + lam)^-1 / sigma`` (n x n), from which ``K^dagger = v K^T (...)`` follows for every bin."""
    n = len(inverse_sigma)
    factors = factor(system.T, lam)
    columns = []
    for k in range(n):
        unit = [0.0 * lam + float(i == k) for i in range(n)]
        solved = solve_tridiagonal(factors, apply_q_transposed(system.reflectors, unit))
        columns.append([inverse_sigma[k] * x_i for x_i in apply_q(system.reflectors, solved)])
    return [[columns[k][i] for k in range(n)] for i in range(n)]


def _put_resolution(M, column, both_sides):
    """Widths of the columns of the resolution matrix: see ``_full_widths`` in `sunpy_demreg._regularization`."""

    def put_width(k):
        h = [dot(row, column(k)) for row in both_sides]

        def put_element(j):
            value = M.get("weight", j) * dot(column(j), h)
            M.put("scratch", j, value)
            return (value,)

        half = 0.5 * M.over_bins(put_element, ("maximum",))[0]

        def ends(s):
            is_above = M.sampled("scratch", s) >= half
            return M.where(is_above, M.sample(s), _FAR), M.where(is_above, M.sample(s), -_FAR)

        first, last = M.over_samples(ends, ("minimum", "maximum"))
        width = M.where(last > first, last - first, M.dlogt(k))
        M.put_output("temperature_resolution", k, M.where(last > -_FAR, width, 2.0 * M.dlogt(k)))

    M.each_bin(put_width)
