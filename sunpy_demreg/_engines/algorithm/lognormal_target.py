"""
The log-normal method where lam is to meet the target, and the iteration did not end: the least ``|a|`` at the target.

As lam falls, the mode may jump to one far away, whose misfit is on the other side of the target. Then no lam has a mode
that meets the target, and the iteration goes to and fro. But of all a at the target, one is the least all the same: a
stationary point of Phi, though not a minimum, for a lam that is the multiplier of this constraint.

It is found by Newton's steps for a constraint (sequential quadratic programming): along ``u = (B^T B + lam)^-1 B^T r``
to the target, and, across it, in the plane of Gauss-Newton's step and the step before.

Symbols and storage as in `sunpy_demreg._engines.algorithm.lognormal`.
"""

from itertools import pairwise
from typing import NamedTuple

from sunpy_demreg._engines.algorithm.elementary import exp
from sunpy_demreg._engines.algorithm.linear_algebra import dot, factor_dense, solve_dense
from sunpy_demreg._engines.algorithm.lognormal_pass import (
    LEAST_LAM,
    RULES,
    State,
    evaluate,
    gram_of,
    is_met,
    jacobian,
    least_in_plane,
    times,
    times_transposed,
)
from sunpy_demreg._engines.algorithm.prior_mean import put_exponent
from sunpy_demreg._engines.base.prior import RANK

__all__ = ["meet_target"]

_MAX_STEPS = 30
_MOST = 1.0  # that a step may change s by
_LEAST_SHARE, _MOST_GROWTH = 0.5, 4.0  # of lam; what would be less tells that ``|a|`` is far from the least
_PENALTY = 2.0  # of a misfit off the target, in units of the multiplier: beyond one, the answer is the minimum
_TINY = 1e-300


class _State(NamedTuple):
    """What goes from one step to the next, beside the storage."""

    is_running: object
    is_converged: object
    lam: object
    misfit: object
    length: object  # of the next step
    sizes: tuple  # the last three of |a|^2
    misfits: tuple  # ... and their misfits
    residual: tuple
    a: tuple
    step: tuple

    def flat(self):
        return State.flat(self)

    @classmethod
    def of(cls, n, values):
        ends = 5, 8, 11, 11 + n, 11 + n + RANK, 11 + n + 2 * RANK
        return cls(*values[:5], *(tuple(values[i:j]) for i, j in pairwise(ends)))


def meet_target(problem, lam, a, is_converged, is_usable):
    """Go on with the lanes that can be solved and have not converged: lam, a, and which have converged."""
    is_running = is_usable & ~is_converged

    def go_on(problem, lam, is_converged, is_running, *a):
        # Where the mean of the prior is below the target already, nothing is less, and lam is the largest.
        M = problem.M
        put_exponent(problem, [problem.zero] * RANK)
        is_below = evaluate(problem)[2] < problem.target
        lam = M.where(is_running & is_below, RULES["discrepancy"].largest_lam, lam)
        a = [M.where(is_running & is_below, 0.0, a_r) for a_r in a]
        put_exponent(problem, a)
        _, residual, misfit = evaluate(problem)
        start = _State(
            is_running=is_running & (misfit < float("inf")),
            is_converged=is_converged,
            lam=lam,
            misfit=misfit,
            length=problem.zero + 1.0,
            sizes=(dot(a, a),) * 3,
            misfits=(misfit,) * 3,
            residual=tuple(residual),
            a=tuple(a),
            step=(problem.zero,) * RANK,
        )

        def turn(problem, *values):
            state = _one_step(problem, _State.of(problem.n, values))
            return state.is_running, state.flat()

        values = M.iterate(turn, start.flat(), _MAX_STEPS, pending=start.is_running, given=(problem,))
        end = _State.of(problem.n, values)
        return is_running, (end.lam, end.is_converged, is_running, *end.a)

    state = lam, is_converged, is_running, *a
    lam, is_converged, _, *a = problem.M.iterate(go_on, state, 1, pending=is_running, given=(problem,))
    return lam, a, is_converged


def _one_step(problem, state):
    """The next state."""
    M, target, running = problem.M, problem.target, state.is_running
    a, r, rule = list(state.a), list(state.residual), RULES["discrepancy"]
    B = jacobian(problem)
    Ba = times(B, a)

    # 1. The multiplier: ``B^T r = lam a`` in the end, now by least squares. At its least or its largest value, the
    # misfit may stay above or below the target: then there is no constraint.
    lam = dot(r, Ba) / M.maximum(dot(a, a), _TINY)
    lam = M.where(lam > _LEAST_SHARE * state.lam, M.minimum(lam, _MOST_GROWTH * state.lam), state.lam)
    is_least = (state.misfit > target) & (M.minimum(lam, state.lam) <= LEAST_LAM)
    is_largest = (state.misfit < target) & (lam >= rule.largest_lam)
    is_free = is_least | is_largest
    lam = M.where(is_least, LEAST_LAM, M.minimum(M.maximum(lam, LEAST_LAM), rule.largest_lam))
    lam = M.where(running, lam, state.lam)

    # 2. The step.
    step = _step(problem, lam, is_free, B, Ba, state)
    largest = M.over_bins(lambda j: (M.abs(M.project_prior(step, j)),), ("maximum",))[0]
    length = M.where(running, state.length * M.minimum(1.0, _MOST / M.maximum(largest, _TINY)), 0.0)
    step = [length * x for x in step]

    # 3. The trial.
    def move(j):
        exponent = M.get("exponent", j) + M.project_prior(step, j)
        M.put("scratch", j, exponent)
        xi = exp(M, exponent)
        return tuple(M.response(i, j) * xi for i in range(problem.n))

    sums = M.over_bins(move, ("sum",) * problem.n)
    new_r = [d_i - w_i * s_i for d_i, w_i, s_i in zip(problem.d, problem.inverse_sigma, sums, strict=True)]
    new_a = [a_r + s_r for a_r, s_r in zip(a, step, strict=True)]
    new_misfit, new_size = dot(new_r, new_r), dot(new_a, new_a)

    def merit(size, misfit):
        return lam * size + M.where(is_free, misfit, _PENALTY * M.abs(misfit - target))

    highest = merit(state.sizes[0], state.misfits[0])
    for size, misfit in zip(state.sizes[1:], state.misfits[1:], strict=True):
        highest = M.maximum(highest, merit(size, misfit))
    small = largest < rule.small
    take = running & ((merit(new_size, new_misfit) <= highest) | small)

    def accept(j):
        exponent = M.where(take, M.get("scratch", j), M.get("exponent", j))
        M.put("exponent", j, exponent)
        M.put("weight", j, exp(M, exponent))
        return ()

    M.over_bins(accept, ())
    is_limited = ((new_misfit > target) & is_least) | ((new_misfit < target) & is_largest)
    at_end = running & small & (state.length > 0.99) & (is_limited | is_met(problem, new_misfit))

    def taken(new, old):
        return tuple(M.where(take, x, y) for x, y in zip(new, old, strict=True))

    return _State(
        is_running=running & ~at_end & (largest < float("inf")),  # nor what is not a number
        is_converged=state.is_converged | at_end,
        lam=lam,
        misfit=M.where(take, new_misfit, state.misfit),
        length=M.where(take, 1.0, 0.3 * state.length),
        sizes=taken((*state.sizes[1:], new_size), state.sizes),
        misfits=taken((*state.misfits[1:], new_misfit), state.misfits),
        residual=taken(new_r, r),
        a=taken(new_a, a),
        step=tuple(step),
    )


def _step(problem, lam, is_free, B, Ba, state):
    """Newton's step of the coefficients."""
    M, a, r = problem.M, list(state.a), list(state.residual)
    factors = factor_dense(gram_of(B), lam)
    u = times_transposed(B, solve_dense(factors, r))
    Bu = times(B, u)
    per_slope = M.where(is_free, 0.0, 1.0 / M.maximum(dot(r, Bu), _TINY))

    def across(direction):
        """Without what changes the misfit to first order; and B times that."""
        B_direction = times(B, direction)
        share = per_slope * dot(r, B_direction)
        return _less(direction, share, u), _less(B_direction, share, Bu)

    right = [r_i + b_i for r_i, b_i in zip(r, Ba, strict=True)]
    newton, B_newton = across(_less(times_transposed(B, solve_dense(factors, right)), 1.0, a))
    before, B_before = across(list(state.step))
    share = 0.5 * per_slope * (state.misfit - problem.target)
    along, B_along = [share * x for x in u], [share * x for x in Bu]
    z = problem.dual(r)

    def curve(j):
        q = M.get("weight", j) * M.project(z, j)
        f, g, h = (M.project_prior(x, j) for x in (newton, before, along))
        return q * f * f, q * f * g, q * g * g, q * f * h, q * g * h

    q11, q12, q22, q1, q2 = M.over_bins(curve, ("sum",) * 5)
    h11 = dot(B_newton, B_newton) + lam * dot(newton, newton) - q11
    h12 = dot(B_newton, B_before) + lam * dot(newton, before) - q12
    h22 = dot(B_before, B_before) + lam * dot(before, before) - q22
    b1 = dot(r, B_newton) - lam * dot(a, newton) - (dot(B_newton, B_along) + lam * dot(newton, along) - q1)
    b2 = dot(r, B_before) - lam * dot(a, before) - (dot(B_before, B_along) + lam * dot(before, along) - q2)
    x, y = least_in_plane(M, h11, h12, h22, b1, b2)
    return [p + x * f + y * g for p, f, g in zip(along, newton, before, strict=True)]


def _less(x, factor, y):
    return [x_i - factor * y_i for x_i, y_i in zip(x, y, strict=True)]
