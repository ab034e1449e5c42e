"""
The log-normal method where lam has to be found and the iteration does not end: the least ``|a|`` at the target itself.

As lam falls, the mode may jump to another one far away, whose misfit is on the other side of the target: then no lam
has a mode that meets it, and the iteration goes to and fro. But the least ``|a|^2`` of the misfit aimed at is there
all the same: a stationary point of Phi, if not its minimum, for some lam, the multiplier of the constraint.

Each step is Newton's of such a problem (sequential quadratic programming): along ``u = (B^T B + lam)^-1 B^T r`` to the
misfit aimed at, and, where the misfit does not change to first order, in the plane of Gauss-Newton's step and the step
before. Symbols and storage as in `sunpy_demreg._engines.algorithm.lognormal`.
"""

from typing import NamedTuple

from sunpy_demreg._engines.algorithm.elementary import exp
from sunpy_demreg._engines.algorithm.linear_algebra import dot, factor_dense, solve_dense
from sunpy_demreg._engines.algorithm.lognormal_pass import (
    LEAST_LAM,
    RULES,
    gram_of,
    jacobian,
    minimum_in_plane,
    times,
    times_transposed,
)
from sunpy_demreg._engines.base.prior import RANK

__all__ = ["meet_target"]

_MAX_STEPS = 30
_MOST = 1.0  # that a step may change s by
_MOST_CHANGE = 4.0  # of lam, by a factor
_PENALTY = 2.0  # of a misfit off the target, in units of the multiplier: more than one makes the answer the minimum
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
        return tuple(x for value in self for x in (value if isinstance(value, tuple) else (value,)))

    @classmethod
    def of(cls, n, values):
        single, values = values[:5], values[5:]
        ends = 3, 6, 6 + n, 6 + n + RANK, 6 + n + 2 * RANK
        return cls(*single, *(tuple(values[i:j]) for i, j in zip((0, *ends), ends, strict=False)))


def meet_target(problem, state):
    """The lanes of a state of the iteration that did not end go on: lam, a, and which have converged."""
    M, zero = problem.M, problem.zero
    is_running = ~state.is_converged & (problem.signal > problem.target) & (state.misfit < float("inf"))
    start = _State(
        is_running=is_running,
        is_converged=state.is_converged,
        lam=state.lam,
        misfit=state.misfit,
        length=zero + 1.0,
        sizes=(dot(state.a, state.a),) * 3,
        misfits=(state.misfit,) * 3,
        residual=state.residual,
        a=state.a,
        step=(zero,) * RANK,
    )

    def turn(problem, *values):
        state = _one_step(problem, _State.of(problem.n, values))
        return state.is_running, state.flat()

    values = M.iterate(turn, start.flat(), _MAX_STEPS, pending=is_running, given=(problem,))
    end = _State.of(problem.n, values)
    return end.lam, end.a, end.is_converged


def _one_step(problem, state):
    M, n, target = problem.M, problem.n, problem.target
    running, residual, a, before = state.is_running, list(state.residual), list(state.a), list(state.step)
    rule = RULES["discrepancy"]
    B = jacobian(problem)
    Ba, aa, r = times(B, a), dot(a, a), residual

    # 1. The multiplier, by least squares: of B^T r = lam a.
    lam = dot(r, Ba) / M.maximum(aa, _TINY)
    lam = M.minimum(M.maximum(lam, state.lam / _MOST_CHANGE), state.lam * _MOST_CHANGE)
    is_limited = (lam < LEAST_LAM) & (state.misfit > target)
    lam = M.minimum(M.maximum(lam, LEAST_LAM), rule.largest_lam)
    lam = M.where(running, lam, state.lam)

    # 2. The step.
    factors = factor_dense(gram_of(B), lam)
    u = times_transposed(B, solve_dense(factors, r))
    Bu = times(B, u)
    per_gamma = M.where(is_limited, 0.0, 1.0 / M.maximum(dot(r, Bu), _TINY))

    def along(direction, B_direction):
        """Without what changes the misfit to first order."""
        share = per_gamma * dot(r, B_direction)
        return _minus(direction, share, u), _minus(B_direction, share, Bu)

    newton = times_transposed(B, solve_dense(factors, [r_i + b_i for r_i, b_i in zip(r, Ba, strict=True)]))
    newton = _minus(newton, 1.0, a)
    newton, B_newton = along(newton, times(B, newton))
    before, B_before = along(before, times(B, before))
    share = 0.5 * per_gamma * (state.misfit - target)
    normal, B_normal = [share * x for x in u], [share * x for x in Bu]
    z = problem.dual(r)

    def curve(j):
        q = M.get("weight", j) * M.project(z, j)
        f, g, h = (M.project_prior(x, j) for x in (newton, before, normal))
        return q * f * f, q * f * g, q * g * g, q * f * h, q * g * h

    q11, q12, q22, q1n, q2n = M.over_bins(curve, ("sum",) * 5)
    h11 = dot(B_newton, B_newton) + lam * dot(newton, newton) - q11
    h12 = dot(B_newton, B_before) + lam * dot(newton, before) - q12
    h22 = dot(B_before, B_before) + lam * dot(before, before) - q22
    b1 = dot(r, B_newton) - lam * dot(a, newton) - (dot(B_newton, B_normal) + lam * dot(newton, normal) - q1n)
    b2 = dot(r, B_before) - lam * dot(a, before) - (dot(B_before, B_normal) + lam * dot(before, normal) - q2n)
    x, y = minimum_in_plane(M, h11, h12, h22, b1, b2)
    step = [p + x * f + y * g for p, f, g in zip(normal, newton, before, strict=True)]
    largest = M.over_bins(lambda j: (M.abs(M.project_prior(step, j)),), ("maximum",))[0]

    # 3. Its length, and the trial.
    length = M.where(running, state.length * M.minimum(1.0, _MOST / M.maximum(largest, _TINY)), 0.0)
    step = [length * x for x in step]
    new_a = [a_r + s_r for a_r, s_r in zip(a, step, strict=True)]

    def move(j):
        exponent = M.get("exponent", j) + M.project_prior(step, j)
        M.put("scratch", j, exponent)
        xi = exp(M, exponent)
        return tuple(M.response(i, j) * xi for i in range(n))

    sums = M.over_bins(move, ("sum",) * n)
    new_residual = [d_i - w_i * s_i for d_i, w_i, s_i in zip(problem.d, problem.inverse_sigma, sums, strict=True)]
    new_misfit, new_size = dot(new_residual, new_residual), dot(new_a, new_a)

    def merit(size, misfit):
        return lam * size + M.where(is_limited, misfit, _PENALTY * M.abs(misfit - target))

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
    is_met = is_limited | (M.abs(new_misfit - target) < rule.off * target)
    at_end = running & small & (state.length > 0.99) & is_met

    def shifted(values, new):
        return tuple(M.where(take, x, old) for x, old in zip((*values[1:], new), values, strict=True))

    def taken(new, old):
        return tuple(M.where(take, x, y) for x, y in zip(new, old, strict=True))

    return _State(
        is_running=running & ~at_end & (largest < float("inf")),
        is_converged=state.is_converged | at_end,
        lam=lam,
        misfit=M.where(take, new_misfit, state.misfit),
        length=M.where(take, 1.0, 0.3 * state.length),
        sizes=shifted(state.sizes, new_size),
        misfits=shifted(state.misfits, new_misfit),
        residual=taken(new_residual, residual),
        a=taken(new_a, a),
        step=tuple(step),
    )


def _minus(x, factor, y):
    return [x_i - factor * y_i for x_i, y_i in zip(x, y, strict=True)]
