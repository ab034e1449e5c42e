"""
Positivity of the DEM: by relaxing the fit, or as a constraint.

Symbols as in `sunpy_demreg._engines.algorithm.invert`. The weight v of the bins is in the storage "weight" of the
machine.
"""

from sunpy_demreg._engines.algorithm.dual import Dual
from sunpy_demreg._engines.algorithm.regularization_parameter import (
    discrepancy_root,
    nearest_grid_sample,
    next_discrepancy_root,
    reference_grid,
)

__all__ = ["constrain", "relax"]

_MAX_STEPS = 20  # and halvings of one; a guard only: real AIA pixels take five at most
_MAX_ATTEMPTS = 10  # likewise: of goals that are tried
# With care: steps of all attempts together. Strong spikes take up to thirty; what takes more is rarely solved by any
# number, as rounding then hides which bins are zero.
_MOST_STEPS_WITH_CARE = 32
_MAX_TARGETS = 10_000
_LEAST_GOAL = 1e-12  # of the misfit of no plasma at all, once a goal has to be raised
# Of the trace of G, on the way: the misfit of a few bins alone may not reach the target. With singular values there
# are digits for a lam that is smaller.
_LEAST_LAM, _LEAST_LAM_WITH_CARE = 1e-10, 1e-16


def relax(problem, system, lam, goal, is_wanted):
    """
    Raise the misfit aimed at until no bin is negative: lam and the misfit, in the lanes whose answer is wanted.

    It stops before a misfit that no plasma at all would meet too; the reference's rule stops after it.
    """
    M = problem.M
    on_grid = problem.plan.parameter_choice == "grid"
    grid = reference_grid(problem, system) if on_grid else None
    growth, most = M.scalar("growth"), M.scalar("max_iterations")

    def may_be_raised(problem, goal, count):
        return ((goal if on_grid else goal * growth) < problem.signal) & (count < most)

    def has_negative_bin(problem, system, lam):
        M = problem.M
        # v is positive: the sign of the DEM does not depend on it.
        z = problem.dual(system.solution_in_reach(M, lam))
        return M.any_negative(lambda j: M.project(z, j))

    def step(problem, system, grid, lam, start, goal, count, negative):
        goal = M.where(negative, goal * growth, goal)
        if on_grid:
            new = nearest_grid_sample(problem, system, goal, grid)
        else:
            new, start = next_discrepancy_root(problem, system, goal, start, growth)
        lam, count = M.where(negative, new, lam), count + 1.0
        negative = negative & may_be_raised(problem, goal, count) & has_negative_bin(problem, system, lam)
        return negative, (lam, start, goal, count, negative)

    count = 0.0 * lam + 1.0
    negative = is_wanted & may_be_raised(problem, goal, count) & has_negative_bin(problem, system, lam)
    state, given = (lam, 1.0 / lam, goal, count, negative), (problem, system, grid)
    lam, _, goal, *_ = M.iterate(step, state, 1000, pending=negative, given=given)
    return lam, goal


def constrain(problem, system, lam, goal, is_wanted):
    """
    Of all ``xi >= 0`` with the misfit aimed at, find the one of least ``|L xi|``.

    It starts from the lam, and the system, of the solution without the constraint, in the lanes whose answer is wanted.

    Its `Dual` variable x minimizes psi. On the bins where ``A^T x > 0``, psi is that of the problem without a
    constraint, whose minimum is known: so step there, or less far while psi does not fall (with care, to where psi is
    least), until the bins no longer change. Then the answer is exact, lam included.

    Where no ``xi >= 0`` fits, psi has no minimum, so lam is held at a floor. What is found then is the best fit, whose
    misfit tells which goal can be met: the misfit aimed at is raised as in `relax`, but until one can; after
    ``max_iterations`` by factors of at least two.

    Sets the weight of the bins that are zero to zero. Returns the system of the others, the misfit aimed at, the lanes
    that were solved (without care, only those where each lower goal is known to be out of reach), and those where all
    ``xi >= 0`` are known to fit hardly better than none.
    """
    M, dual, signal = problem.M, Dual(problem), problem.signal
    most, growth = M.scalar("max_iterations"), M.scalar("growth")
    most_steps, most_attempts = _MAX_STEPS, _MAX_ATTEMPTS
    if M.is_careful:
        most_steps = most_attempts = _MOST_STEPS_WITH_CARE
    least = (_LEAST_LAM_WITH_CARE if M.is_careful else _LEAST_LAM) * system.trace
    x = system.solution(M.maximum(lam, least))
    # It ends at the latest hardly below the misfit of no plasma at all, to which any weak DEM fits.
    end = 0.999 * signal

    def minimize(goal, floor, running, left, *x):
        def step(running, fits, is_lost, left, *x):
            if M.is_careful:
                left = left - M.where(running, 1.0, 0.0)
            dual.put_active("scratch", x)
            active = problem.system("scratch")
            lam = discrepancy_root(problem, active, goal, least=floor)
            there = active.solution(lam)

            def differs(j):
                before, after = (M.where(dual.project(y, j) > 0.0, 1.0, 0.0) for y in (x, there))
                return (M.abs(before - after),)

            arrived = M.over_bins(differs, ("maximum",))[0] < 0.5

            def between(fraction):
                return [x_i + fraction * (t_i - x_i) for x_i, t_i in zip(x, there, strict=True)]

            if M.is_careful:
                place = dual.least_along(x, there, goal, floor, running & ~arrived)
                fraction = M.where(arrived, 1.0, place)
            else:
                start = dual.value(x, goal, floor)

                def shorten(fraction, too_far):
                    too_far = running & ~arrived & (dual.value(between(fraction), goal, floor) > start)
                    return too_far, (M.where(too_far, 0.5 * fraction, fraction), too_far)

                fraction, _ = M.iterate(shorten, (0.0 * lam + 1.0, running), _MAX_STEPS)
            x = [M.where(running, new, x_i) for new, x_i in zip(between(fraction), x, strict=True)]
            fits = fits | (running & arrived & (lam > 2.0 * floor))
            running = running & ~arrived
            if M.is_careful:
                running = running & ~(dual.least_misfit(x) > goal)  # which no further step can meet
                is_lost = is_lost | (running & (left < 0.5))
                running = running & ~is_lost
            return running, (running, fits, is_lost, left, *x)

        never = running & ~running
        running, fits, is_lost, left, *x = M.iterate(step, (running, ~running, never, left, *x), most_steps)
        return running | is_lost, fits, left, *x

    def attempt(goal, count, floor, bound, pending, is_sure, is_lost, left, *x):
        running, fits, left, *x = minimize(goal, floor, pending, left, *x)
        is_lost = (is_lost & ~pending) | running
        pending = pending & ~fits

        def settle(goal, count, floor, bound, is_sure):
            bound = M.where(pending, M.maximum(bound, dual.least_misfit(x)), bound)
            is_unknown = goal > bound
            is_guessed = pending & is_unknown & (floor <= least)

            def raised(goal, count, rising):
                factor = M.where(count < most, growth, M.maximum(growth, 2.0))
                # From a goal of nearly nothing, as cross-validation may set it, the way would be long.
                new = M.minimum(M.maximum(goal * factor, _LEAST_GOAL * signal), end)
                goal, count = M.where(rising, new, goal), M.where(rising, count + 1.0, count)
                rising = rising & (goal <= bound) & (goal < end)
                return rising, (goal, count, rising)

            rising = pending & (~is_unknown | is_guessed) & (goal < end)
            goal, count, _ = M.iterate(raised, (goal, count, rising), _MAX_TARGETS, pending=rising)
            floor = M.where(is_unknown, M.maximum(1e-3 * floor, least), floor)
            return pending, (goal, count, floor, bound, is_sure & ~is_guessed)

        again = pending & ((goal < end) | (floor > least)) & (left > 0.5)
        *state, is_sure = M.iterate(settle, (goal, count, floor, bound, is_sure), 1, pending=pending)
        return again, (*state, again, is_sure, is_lost, left, *x)

    pending = is_wanted & (signal > goal)
    zero = 0.0 * goal
    is_sure, is_lost = pending | ~pending, pending & ~pending
    left = zero + (float(most_steps) if M.is_careful else float("inf"))
    state = (goal, zero + 1.0, M.maximum(1e-3 * lam, least), zero, pending, is_sure, is_lost, left, *x)
    goal, _, _, bound, running, is_sure, is_lost, _, *x = M.iterate(attempt, state, most_attempts, pending=pending)

    dual.put_active("weight", x)
    is_solved = ~running & ~is_lost if M.is_careful else ~running & ~is_lost & is_sure
    return problem.system("weight"), goal, is_solved, bound >= end
