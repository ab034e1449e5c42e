"""Choosing lam on lane values. Symbols as in `sunpy_demreg._engines._text`; the theory page has the rules."""

from sunpy_demreg._engines._lanes import dot, factor, inverse_diagonal, solve_lower, solve_tridiagonal, total
from sunpy_demreg._engines._problem import EPSILON

__all__ = ["choose", "discrepancy_root", "misfit_at"]

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

    Newton on ``1 / sqrt(misfit)`` as a function of ``beta = 1 / lam`` (Reinsch 1971), which is concave: from the
    left it rises to the root without ever passing it, and needs neither a bracket nor a logarithm. It starts at
    what ``misfit >= (lam / (trace + lam))^2 |d|^2`` implies.
    """
    M = problem.M
    if M.is_careful:
        least = max(least, (problem.n * EPSILON) ** 2)
    is_solvable = problem.signal > goal
    root_goal = M.sqrt(goal)
    ratio = root_goal / M.sqrt(M.where(is_solvable, problem.signal, 4.0 * goal))
    start = (1.0 - ratio) / (system.trace * ratio)
    end = 1.0 / (system.trace * least) if least else None

    def newton(beta, running):
        lam = 1.0 / beta
        lower, reciprocal = factors = factor(system.T, lam)
        x = solve_tridiagonal(factors, system.y)
        u = solve_lower(lower, x)
        misfit = lam * lam * dot(x, x)
        # - lam / 2 d misfit / d lam = misfit - lam^3 x . (T + lam)^-1 x
        slope = misfit - lam * lam * lam * dot(u, [u_i * r_i for u_i, r_i in zip(u, reciprocal, strict=True)])
        excess = M.sqrt(misfit) / root_goal - 1.0
        step = beta * excess * misfit / M.where(slope > 0.0, slope, misfit)
        running = running & (excess > 4 * EPSILON) & (step > 2 * EPSILON * beta)
        new = beta + step
        if end is not None:
            new, running = M.minimum(new, end), running & (beta < end)
        return running, (M.where(running, new, beta), running)

    beta, _ = M.iterate(newton, (start, is_solvable), 200)
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
        trace = total(inverse_diagonal(system.T, factors))
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
