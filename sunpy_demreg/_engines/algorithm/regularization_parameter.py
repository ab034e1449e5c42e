"""
Choosing lam on lane values.

Symbols as in `sunpy_demreg._engines.algorithm.invert`; the theory page has the rules.
"""

from typing import NamedTuple

from sunpy_demreg._engines.algorithm import elementary
from sunpy_demreg._engines.algorithm.linear_algebra import (
    dot,
    factor,
    inverse_diagonal,
    multiply_tridiagonal,
    solve_tridiagonal,
    total,
)
from sunpy_demreg._engines.base.precision import EPSILON

__all__ = ["choose", "discrepancy_root", "nearest_grid_sample", "next_discrepancy_root", "reference_grid"]

_NEAR = 1e-5  # relative: of a step that is the last one
_GOLDEN = 0.6180339887498949
_GCV_STEPS = 64.0  # of the search across the spectrum; it is then narrowed to the precision of a minimum


def choose(problem, system, goal):
    """By the rule of the plan: lam, and the misfit aimed at."""
    rule = problem.plan.parameter_choice
    if rule == "gcv":
        lam = least_cross_validation(problem, system)
        return lam, misfit_at(system, lam)
    if rule == "grid":
        return nearest_grid_sample(problem, system, goal, reference_grid(problem, system)), goal
    return discrepancy_root(problem, system, goal), goal


def misfit_at(system, lam):
    x = solve_tridiagonal(factor(system.T, lam), system.y)
    return lam * lam * dot(x, x)


def discrepancy_root(problem, system, goal, least=None):
    """
    Solve ``misfit(lam) = goal`` for lam, to rounding; `least` where there is no solution that is larger.

    It starts left of the root, at what Jensen's inequality implies: ``misfit >= (lam / (s + lam))^2 |d|^2`` with the
    mean ``s = d . G d / |d|^2``.
    """
    M, T, y = problem.M, system.T, system.y
    is_solvable = problem.signal > goal
    per_root_goal = 1.0 / M.sqrt(goal)
    root_ratio = M.sqrt(M.where(is_solvable, problem.signal, 4.0 * goal)) * per_root_goal
    mean = M.maximum(dot(y, multiply_tridiagonal(T, y)) / problem.signal, EPSILON * system.trace)
    bound = _Bound(problem, system, least)

    def step(beta, running):
        new, is_far, _ = _halley(M, system, beta, per_root_goal)
        go_on = bound.where_below(running & is_far, beta, new)
        return go_on, (M.where(running, bound.held(new), beta), go_on)

    beta, _ = M.iterate(step, (bound.held((root_ratio - 1.0) / mean), is_solvable), 200)
    return 1.0 / beta


def next_discrepancy_root(problem, system, goal, start, growth):
    """
    The same for a goal that follows another one, from a `start` of ``beta = 1 / lam``.

    It also returns where to start for the goal that is `growth` times as large: a step from the root, which saves one.
    """
    M = problem.M
    per_root_goal = 1.0 / M.sqrt(goal)
    per_root_next = per_root_goal * (1.0 / M.sqrt(growth))
    bound = _Bound(problem, system)

    def step(beta, onward, running):
        new, is_far, towards = _halley(M, system, beta, per_root_goal)
        go_on = bound.where_below(running & is_far, beta, new)
        onward = M.where(running, towards(per_root_next)[0], onward)
        return go_on, (M.where(running, bound.held(new), beta), onward, go_on)

    start = bound.held(start)
    beta, onward, _ = M.iterate(step, (start, start, problem.signal > goal), 200)
    return 1.0 / beta, onward


class _Bound:
    """Of beta, where there is one: with care always, as there may be no root."""

    def __init__(self, problem, system, least=None):
        self._M, self._is_none = problem.M, least is None and not problem.M.is_careful
        if not self._is_none:
            self._beta = 1.0 / ((problem.n * EPSILON) ** 2 * system.trace if least is None else least)

    def held(self, beta):
        return beta if self._is_none else self._M.minimum(beta, self._beta)

    def where_below(self, lanes, beta, new):
        """The lanes that are below it, or that a step leads below it."""
        return lanes if self._is_none else lanes & ((beta < self._beta) | (new < self._beta))


def _halley(M, system, beta, per_root_goal):
    """
    A step of Halley's iteration for ``1 / sqrt(misfit)`` as a function of ``beta = 1 / lam``.

    That function rises and is concave (Reinsch 1971): it needs neither a bracket nor a logarithm. With the residual
    ``r = lam x`` and ``e = (T + lam)^-1 T r``,

        misfit = r . r,   d misfit / d beta = -2 lam r . e,   d2 misfit / d beta2 = 6 lam^2 e . e

    Returns the next beta, whether beta is far from the root, and both as a function of what belongs to another goal.
    """
    lam = 1.0 / beta
    factors = factor(system.T, lam)
    r = [lam * x_i for x_i in solve_tridiagonal(factors, system.y)]
    e = solve_tridiagonal(factors, multiply_tridiagonal(system.T, r))
    misfit, slope, curvature = dot(r, r), dot(r, e), dot(e, e)
    root_misfit, square = M.sqrt(misfit), slope * slope

    def towards(per_root_goal):
        excess = root_misfit * per_root_goal - 1.0
        # Newton's step is excess * misfit / slope, in units of beta. The curvature lengthens it, at most to twice.
        bend = 1.5 * excess * (curvature * misfit - square)
        newton = excess * misfit * slope
        change = M.where(square > 0.0, newton / M.maximum(square - bend, 0.5 * square), excess)
        # The error after a small step is of the order of its third power.
        is_far = (M.abs(newton) > _NEAR * square) | (M.abs(bend) > _NEAR * square)
        return beta + beta * M.maximum(change, -0.5), is_far & (M.abs(excess) > 4 * EPSILON)

    return *towards(per_root_goal), towards


class Grid(NamedTuple):
    """Values of lam, even in the logarithm; in descending order, all of them are the upper end."""

    low: object
    high: object
    span: object  # the ratio of two samples, to the power of the largest bit of their numbers


def reference_grid(problem, system):
    """
    The reference's: ``n_samples`` from ``1e-4 min(s)^2`` to ``max(s)``, of the singular values s.

    The upper end is max(s) where max(s)^2 would have the unit of lam, so the grid depends on the unit of the response.
    """
    M = problem.M
    smallest, largest = system.extreme_eigenvalues(M)
    low, high = smallest * 1e-4, M.sqrt(largest)
    step = (_log(M, high) - _log(M, low)) / (M.scalar("n_samples") - 1.0)
    return Grid(low, high, _exp(M, step * M.scalar("largest_bit")))


def nearest_grid_sample(problem, system, goal, grid):
    """
    The reference's rule: the sample of the grid of nearest misfit.

    The misfit rises with lam, so it is the last sample not above the goal, found by bisection, or its successor.
    """
    M = problem.M
    last = M.scalar("n_samples") - 1.0

    def bisect(index, lam, bit, power):
        trial, trial_lam = index + bit, M.minimum(lam * power, grid.high)
        is_below = (misfit_at(system, trial_lam) <= goal) & (trial <= last)
        bit = 0.5 * bit
        state = M.where(is_below, trial, index), M.where(is_below, trial_lam, lam), bit, M.sqrt(power)
        return bit > 0.75, state

    zero = 0.0 * grid.high
    start = zero, M.minimum(grid.low, grid.high), zero + M.scalar("largest_bit"), grid.span
    index, lam, _, root_of_ratio = M.iterate(bisect, start, 64)
    successor = M.minimum(lam * root_of_ratio * root_of_ratio, grid.high)
    successor = M.where(index < last, successor, lam)
    below, above = goal - misfit_at(system, lam), misfit_at(system, successor) - goal
    # Where even the first sample is above the goal it is the nearest, whatever rounding makes of the next one.
    return M.where((below > 0.0) & (M.abs(above) < below), successor, lam)


def least_cross_validation(problem, system):
    """
    Generalized cross-validation (Golub, Heath & Wahba 1979): the minimum of ``|x|^2 / (tr (G + lam)^-1)^2``.

    It may have several, so lam is searched across the spectrum in even steps of its logarithm, and then narrowed
    about the lowest by golden sections.
    """
    M = problem.M
    smallest, largest = system.extreme_eigenvalues(M)
    low = _log(M, M.maximum(smallest, largest * EPSILON) * 1e-2)
    step = (_log(M, largest) + 4.0 - low) * (1.0 / _GCV_STEPS)

    def score(logarithm):
        factors = factor(system.T, _exp(M, logarithm))
        x = solve_tridiagonal(factors, system.y)
        trace = total(inverse_diagonal(factors))
        return dot(x, x) / (trace * trace)

    def look(index, best, least):
        value = score(low + index * step)
        is_lower = value < least
        index, best = index + 1.0, M.where(is_lower, index, best)
        return index <= _GCV_STEPS, (index, best, M.where(is_lower, value, least))

    zero = 0.0 * low
    _, best, _ = M.iterate(look, (zero, zero, zero + float("inf")), int(_GCV_STEPS) + 1)
    center = low + best * step

    def narrow(left, width):
        a, b = left + (1.0 - _GOLDEN) * width, left + _GOLDEN * width
        is_wide = width > 1e-9  # in each lane by itself
        left = M.where(is_wide & (score(b) < score(a)), a, left)
        width = M.where(is_wide, _GOLDEN * width, width)
        return width > 1e-9, (left, width)

    left, width = M.iterate(narrow, (center - step, 2.0 * step), 64)
    return _exp(M, left + 0.5 * width)


def _exp(M, x):
    return elementary.exp(M, x) if M.is_careful else M.exp(x)


def _log(M, x):
    """With care the same bits on all machines, whose own function is faster."""
    return elementary.log(M, x) if M.is_careful else M.log(x)
