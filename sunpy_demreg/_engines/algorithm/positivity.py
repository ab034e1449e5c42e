"""
Positivity of the DEM: by relaxing the fit, or as a constraint.

Symbols as in `sunpy_demreg._engines.algorithm.invert`. The weight v of the bins is in the storage "weight" of the
machine.
"""

from sunpy_demreg._engines.algorithm.linear_algebra import dot
from sunpy_demreg._engines.algorithm.regularization_parameter import (
    discrepancy_root,
    nearest_grid_sample,
    reference_grid,
)

__all__ = ["constrain", "relax"]

_MAX_STEPS = 20  # a guard only: real AIA pixels take five at most
_MAX_TARGETS = 400  # until a DEM of zero fits too
_LEAST_GOAL = 1e-12  # of the misfit of no plasma at all, once a goal has to be raised
# Of the trace of G, on the way: the misfit of a few bins alone may not reach the target. With singular values there
# are digits for a lam that is smaller.
_LEAST_LAM, _LEAST_LAM_WITH_CARE = 1e-10, 1e-16


def relax(problem, system, lam, goal):
    """
    Raise the misfit aimed at until no bin is negative: lam and the misfit.

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
        return M.over_bins(lambda j: (M.project(z, j),), ("minimum",))[0] < 0.0

    def step(problem, system, grid, lam, goal, count, negative):
        goal = M.where(negative, goal * growth, goal)
        if on_grid:
            new = nearest_grid_sample(problem, system, goal, grid)
        else:
            new = discrepancy_root(problem, system, goal, near=lam)
        lam, count = M.where(negative, new, lam), count + 1.0
        negative = negative & may_be_raised(problem, goal, count) & has_negative_bin(problem, system, lam)
        return negative, (lam, goal, count, negative)

    count = 0.0 * lam + 1.0
    negative = may_be_raised(problem, goal, count) & has_negative_bin(problem, system, lam)
    state, given = (lam, goal, count, negative), (problem, system, grid)
    lam, goal, *_ = M.iterate(step, state, 1000, pending=negative, given=given)
    return lam, goal


def constrain(problem, system, lam, goal):
    """
    Of all ``xi >= 0`` with the misfit aimed at, find the one of least ``|L xi|``.

    It starts from the lam, and the system, of the solution without the constraint.

    Its dual variable ``x = (d - A xi) / lam``, with ``xi = v (A^T x)_+``, minimizes the convex function

        psi(x) = 1/2 sum v (A^T x)_+^2 - d . x + sqrt(goal) |x|

    in no more unknowns than there are channels. On the bins where ``A^T x > 0``, psi is that of the problem without
    a constraint, whose minimum is known: so step there, or less far while psi does not fall, until the bins no
    longer change. Then the answer is exact, lam included. Where no ``xi >= 0`` fits, the misfit aimed at is raised
    as in `relax`, but until one does: after ``max_iterations`` by factors of at least two.

    Sets the weight of the bins that are zero to zero. Returns the system of the others, the misfit aimed at, and the
    lanes that were solved.
    """
    M, d, signal = problem.M, problem.d, problem.signal
    most, growth = M.scalar("max_iterations"), M.scalar("growth")
    least = _LEAST_LAM_WITH_CARE if M.is_careful else _LEAST_LAM
    x = system.solution(M.maximum(lam, least * system.trace))

    def project(x, j):
        return M.project(problem.dual(x), j)

    def put_active(name, x):
        def put(j):
            M.put(name, j, M.where(project(x, j) > 0.0, M.get("weight", j), 0.0))
            return ()

        M.over_bins(put, ())

    def psi(x, goal):
        def term(j):
            positive = M.maximum(project(x, j), 0.0)
            return (M.get("weight", j) * positive * positive,)

        return 0.5 * M.over_bins(term, ("sum",))[0] - dot(d, x) + M.sqrt(goal * dot(x, x))

    def minimize(goal, running, *x):
        def step(running, *x):
            put_active("scratch", x)
            active = problem.system("scratch")
            lam = discrepancy_root(problem, active, goal, least=least)
            there = active.solution(lam)

            def differs(j):
                before, after = (M.where(project(y, j) > 0.0, 1.0, 0.0) for y in (x, there))
                return (M.abs(before - after),)

            arrived = (M.over_bins(differs, ("maximum",))[0] < 0.5) & (lam > 2.0 * least * active.trace)
            start = psi(x, goal)

            def between(fraction):
                return [x_i + fraction * (t_i - x_i) for x_i, t_i in zip(x, there, strict=True)]

            def shorten(fraction):
                too_far = running & ~arrived & (psi(between(fraction), goal) > start)
                return too_far, (M.where(too_far, 0.5 * fraction, fraction),)

            (fraction,) = M.iterate(shorten, (0.0 * lam + 1.0,), _MAX_STEPS)
            x = [M.where(running, new, x_i) for new, x_i in zip(between(fraction), x, strict=True)]
            running = running & ~arrived
            return running, (running, *x)

        return M.iterate(step, (running, *x), _MAX_STEPS)

    def attempt(goal, count, running, *x):
        running, *x = minimize(goal, running, *x)
        # It ends at the latest just below the misfit of no plasma at all, which any weak DEM meets.
        end = 0.999 * signal
        again = running & (goal < end)
        factor = M.where(count < most, growth, M.maximum(growth, 2.0))
        # From a goal near zero, which cross-validation may set, it would take many steps.
        goal = M.where(again, M.minimum(M.maximum(goal * factor, _LEAST_GOAL * signal), end), goal)
        return again, (goal, count + 1.0, running & again, *x)

    state = (goal, 0.0 * goal + 1.0, signal > goal, *x)
    goal, _, running, *x = M.iterate(attempt, state, _MAX_TARGETS, pending=state[2])

    put_active("weight", x)
    return problem.system("weight"), goal, ~running
