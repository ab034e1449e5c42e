"""Choosing lam on lane values. Symbols as in `sunpy_demreg._engines._text`; the theory page has the rules."""

from sunpy_demreg._engines._lanes import (
    dot,
    factor,
    inverse_diagonal,
    multiply_tridiagonal,
    solve_tridiagonal,
    total,
)
from sunpy_demreg._engines._problem import EPSILON

__all__ = ["choose", "discrepancy_root", "misfit_at"]

_NEAR = 1e-5  # relative: of a step that is the last one
_GOLDEN = 0.6180339887498949
_GCV_STEPS = 64.0  # of the search across the spectrum; it is then narrowed to the precision of a minimum


def choose(problem, system, goal):
    """By the rule of the plan: lam, and the misfit aimed at."""
    rule = problem.plan.parameter_choice
    if rule == "gcv":
        lam = least_cross_validation(problem, system)
        return lam, misfit_at(system, lam)
    return (nearest_grid_sample if rule == "grid" else discrepancy_root)(problem, system, goal), goal


def misfit_at(system, lam):
    x = solve_tridiagonal(factor(system.T, lam), system.y)
    return lam * lam * dot(x, x)


def discrepancy_root(problem, system, goal, least=0.0):
    """
    Solve ``misfit(lam) = goal`` for lam, to rounding; `least`, in units of the trace of G, where it has no solution.

    Halley's iteration for ``1 / sqrt(misfit)`` as a function of ``beta = 1 / lam``, which rises and is concave (Reinsch
    1971): it needs neither a bracket nor a logarithm. With the residual ``r = lam x`` and ``e = (T + lam)^-1 T r``,

        misfit = r . r,   d misfit / d beta = -2 lam r . e,   d2 misfit / d beta2 = 6 lam^2 e . e

    It starts left of the root, at what Jensen's inequality implies: ``misfit >= (lam / (s + lam))^2 |d|^2`` with the
    mean ``s = d . G d / |d|^2``.
    """
    M, T, y = problem.M, system.T, system.y
    if M.is_careful:
        least = max(least, (problem.n * EPSILON) ** 2)
    is_solvable = problem.signal > goal
    per_root_goal = 1.0 / M.sqrt(goal)
    root_ratio = M.sqrt(M.where(is_solvable, problem.signal, 4.0 * goal)) * per_root_goal
    mean = M.maximum(dot(y, multiply_tridiagonal(T, y)) / problem.signal, EPSILON * system.trace)
    start = (root_ratio - 1.0) / mean
    end = 1.0 / (system.trace * least) if least else None

    def step(beta, running):
        lam = 1.0 / beta
        factors = factor(T, lam)
        r = [lam * x_i for x_i in solve_tridiagonal(factors, y)]
        e = solve_tridiagonal(factors, multiply_tridiagonal(T, r))
        misfit, slope, curvature = dot(r, r), dot(r, e), dot(e, e)
        excess = M.sqrt(misfit) * per_root_goal - 1.0
        # Newton's step is excess * misfit / slope, in units of beta. The curvature lengthens it, at most to twice.
        square = slope * slope
        bend = 1.5 * excess * (curvature * misfit - square)
        newton = excess * misfit * slope
        change = M.where(square > 0.0, newton / M.maximum(square - bend, 0.5 * square), excess)
        new = beta + beta * M.maximum(change, -0.5)
        # What a small step leaves is of the order of its third power.
        is_far = (M.abs(newton) > _NEAR * square) | (M.abs(bend) > _NEAR * square)
        go_on = running & is_far & (M.abs(excess) > 4 * EPSILON)
        if end is not None:
            new, go_on = M.minimum(new, end), go_on & (beta < end)
        return go_on, (M.where(running, new, beta), go_on)

    beta, _ = M.iterate(step, (start, is_solvable), 200)
    return 1.0 / beta


def nearest_grid_sample(problem, system, goal):
    """
    The reference's rule: of ``n_samples`` values of lam, even in the logarithm, the one of nearest misfit.

    The upper end is max(s) where max(s)^2 would have the unit of lam, so the grid depends on the unit of the
    response. Should the ends be in descending order, all samples are the upper one. The misfit rises with lam, so
    the nearest sample is the last one not above the goal, found by bisection, or its successor.
    """
    M = problem.M
    smallest, largest = system.extreme_eigenvalues(M)
    last = M.scalar("n_samples") - 1.0
    low, high = M.log(smallest * 1e-4), 0.5 * M.log(largest)
    step = (high - low) / last

    def distance(index):
        lam = M.exp(M.minimum(low + index * step, high))
        return misfit_at(system, lam) - goal, lam

    def bisect(index, bit):
        trial = index + bit
        index = M.where((distance(trial)[0] <= 0.0) & (trial <= last), trial, index)
        bit = 0.5 * bit
        return bit > 0.75, (index, bit)

    index, _ = M.iterate(bisect, (0.0 * high, 0.0 * high + M.scalar("largest_bit")), 64)
    here, lam = distance(index)
    there, successor = distance(M.minimum(index + 1.0, last))
    return M.where(M.abs(there) < M.abs(here), successor, lam)


def least_cross_validation(problem, system):
    """
    Generalized cross-validation (Golub, Heath & Wahba 1979): the minimum of ``|x|^2 / (tr (G + lam)^-1)^2``.

    It may have several, so lam is searched across the spectrum in even steps of its logarithm, and then narrowed
    about the lowest by golden sections.
    """
    M = problem.M
    smallest, largest = system.extreme_eigenvalues(M)
    low = M.log(M.maximum(smallest, largest * EPSILON) * 1e-2)
    step = (M.log(largest) + 4.0 - low) * (1.0 / _GCV_STEPS)

    def score(logarithm):
        factors = factor(system.T, M.exp(logarithm))
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
        left = M.where(score(b) < score(a), a, left)
        width = _GOLDEN * width
        return width > 1e-9, (left, width)

    left, width = M.iterate(narrow, (center - step, 2.0 * step), 64)
    return M.exp(left + 0.5 * width)
