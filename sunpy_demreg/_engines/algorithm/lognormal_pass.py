"""
One pass of the iteration of the log-normal method: a step, its length, and the lam that comes with it.

Symbols and storage as in `sunpy_demreg._engines.algorithm.lognormal`.
"""

from typing import NamedTuple

from sunpy_demreg._engines.algorithm.elementary import exp, log
from sunpy_demreg._engines.algorithm.linear_algebra import dot, factor_dense, solve_dense
from sunpy_demreg._engines.base.precision import EPSILON
from sunpy_demreg._engines.base.prior import RANK

__all__ = [
    "LEAST_LAM",
    "LOGARITHMIC",
    "RULES",
    "State",
    "evaluate",
    "gram_of",
    "is_met",
    "jacobian",
    "least_in_plane",
    "one_pass",
    "times",
    "times_transposed",
]

LEAST_LAM = 0.1
LOGARITHMIC = 6.0  # passes at first, whose rows are logarithmic
_FAR = 10.0  # ... where the misfit is so many targets
_MOST_FAR, _MOST = 3.0, 2.0  # that a step may change s by
_NEAR = 0.5  # a step near the end, where lam may be sought
_ABOVE_TARGET = 1.01  # ... if so many targets are left
_MOST_CHANGE = 1.5  # of ln lam at once
_FALL = 2e-4  # of what the gradient promises, that a step has to keep
_ROUNDING = 16.0 * EPSILON  # of an intensity
_TINY = 1e-300


class _Rule(NamedTuple):
    """Of lam, and of the end of the iteration."""

    largest_lam: float
    moved: float  # change of ln lam that is worth another step
    grain: float  # whose multiples ln lam changes by, or zero: they keep nothing of what rounding did on the way
    only_down: float  # passes after which lam may only fall: the misfit may jump with it
    held: float  # ... and may not change
    small: float  # change of s by the last step
    many: float  # passes on which rounding may have grown
    smaller: float  # ... change of s by the last step after so many, which shrinks it again
    at_rest: float  # change of ln lam in the last pass
    is_damped: bool  # whether lam changes by less where it has turned back, or it may go round in circles
    off: float  # relative difference of misfit and target, where lam is between its limits


RULES = {
    "prior": _Rule(1.0, 5e-3, 1e-6, 16.0, 24.0, 3e-3, 15.0, 3e-6, 0.03, False, float("inf")),
    "discrepancy": _Rule(1e6, 1e-7, 0.0, 99.0, 99.0, 1e-4, 99.0, 1e-4, 1e-3, True, 1e-6),
}


class State(NamedTuple):
    """What goes from one pass to the next, beside the storage."""

    lam: object
    misfit: object
    past: tuple  # the last three of Phi
    n_logarithmic: object  # passes that are left
    length: object  # of the next step
    is_seeking: object  # whether lam has to be found
    is_running: object
    is_converged: object
    n_passes: object
    share: object  # of a change of ln lam that is made
    last: object  # change of ln lam
    residual: tuple
    a: tuple
    step: tuple

    def flat(self):
        return tuple(x for value in self for x in (value if isinstance(value, tuple) else (value,)))

    @classmethod
    def of(cls, n, values):
        lam, misfit, p0, p1, p2, *values = values
        more, lists = values[:8], values[8:]
        lists = tuple(lists[:n]), tuple(lists[n : n + RANK]), tuple(lists[n + RANK :])
        return cls(lam, misfit, (p0, p1, p2), *more, *lists)


def evaluate(problem):
    """Put xi into "weight"; the intensities that it predicts, the residual and the misfit."""
    M, n = problem.M, problem.n

    def put_exponential(j):
        xi = exp(M, M.get("exponent", j))
        M.put("weight", j, xi)
        return tuple(M.response(i, j) * xi for i in range(n))

    sums = M.over_bins(put_exponential, ("sum",) * n)
    residual = [d_i - w_i * s_i for d_i, w_i, s_i in zip(problem.d, problem.inverse_sigma, sums, strict=True)]
    return sums, residual, dot(residual, residual)


def jacobian(problem):
    """``B = J F`` (n x RANK) of the xi in "weight"."""
    return [
        [w_i * b for b in row] for w_i, row in zip(problem.inverse_sigma, problem.M.prior_gram("weight"), strict=True)
    ]


def gram_of(B):
    """``B B^T``: its lower triangle."""
    return [[dot(B[i], B[k]) for k in range(i + 1)] for i in range(len(B))]


def _scaled(c, x):
    return [c_i * x_i for c_i, x_i in zip(c, x, strict=True)]


def times(B, x):
    return [dot(row, x) for row in B]


def times_transposed(B, y):
    return [dot(column, y) for column in zip(*B, strict=True)]


def least_in_plane(M, h11, h12, h22, b1, b2):
    """Of ``x H x / 2 - b x``; along the first direction alone where it is not convex."""
    det = h11 * h22 - h12 * h12
    good = (det > 1e-6 * M.abs(h11 * h22)) & (h11 > 0.0)
    per_det = 1.0 / M.where(good, det, 1.0)
    alone = M.where(h11 > 0.0, M.minimum(M.maximum(b1 / M.where(h11 > 0.0, h11, 1.0), 0.3), 2.0), 1.0)
    x = M.where(good, (b1 * h22 - b2 * h12) * per_det, alone)
    return x, M.where(good, (b2 * h11 - b1 * h12) * per_det, 0.0)


def is_met(problem, misfit):
    """Whether a misfit is the target, to what the rule asks for or rounding leaves of it."""
    M, target = problem.M, problem.target
    rounding = _ROUNDING * M.sqrt(problem.signal * target)
    return M.abs(misfit - target) < M.maximum(RULES["discrepancy"].off * target, rounding)


def one_pass(problem, state):
    """The next state."""
    M, n, d, target = problem.M, problem.n, problem.d, problem.target
    running, residual, a, before = state.is_running, list(state.residual), list(state.a), list(state.step)
    rule = RULES[problem.plan.parameter_choice]

    # 1. The system of the step.
    B = jacobian(problem)
    far = (state.n_logarithmic > 0.5) & (state.misfit > _FAR * target)
    n_logarithmic = M.where(far, state.n_logarithmic, 0.0)
    c, e = _logarithmic_rows(M, far, d, residual)
    G = [[c[i] * c[k] * g for k, g in enumerate(row)] for i, row in enumerate(gram_of(B))]
    Ba, B_before = _scaled(c, times(B, a)), times(B, before)
    right = [e_i + b_i for e_i, b_i in zip(e, Ba, strict=True)]
    e_scaled, c_before = _scaled(c, e), _scaled(c, B_before)
    z = problem.dual([M.where(far, 0.0, r_i) for r_i in residual])
    aa, a_before, before_before = dot(a, a), dot(a, before), dot(before, before)

    def plane(lam):
        """Gauss-Newton's step, and how much of it and of the step before to take."""
        u = solve_dense(factor_dense(G, lam), right)
        newton = [t - a_r for t, a_r in zip(times_transposed(B, _scaled(c, u)), a, strict=True)]
        B_newton = times(B, newton)
        c_newton = _scaled(c, B_newton)

        def curve(j):
            here, there = M.project_prior(newton, j), M.get("step", j)
            M.put("scratch", j, here)
            q = M.get("weight", j) * M.project(z, j)
            return q * here * here, q * here * there, q * there * there

        q11, q12, q22 = M.over_bins(curve, ("sum",) * 3)
        # The residual curves the other way.
        h11 = dot(c_newton, c_newton) + lam * dot(newton, newton) - q11
        h12 = dot(c_newton, c_before) + lam * dot(newton, before) - q12
        h22 = dot(c_before, c_before) + lam * before_before - q22
        b1 = dot(e_scaled, B_newton) - lam * dot(a, newton)
        b2 = dot(e_scaled, B_before) - lam * a_before
        x, y = least_in_plane(M, h11, h12, h22, b1, b2)
        largest = M.over_bins(lambda j: (M.abs(x * M.get("scratch", j) + y * M.get("step", j)),), ("maximum",))[0]
        B_step = [x * p + y * q for p, q in zip(B_newton, B_before, strict=True)]
        # Of the misfit that the step will reach.
        c_step = _scaled(c, B_step)
        coming = state.misfit - 2.0 * dot(e, c_step) + dot(c_step, c_step)
        coming = coming - (x * x * q11 + 2.0 * x * y * q12 + y * y * q22)
        return newton, x, y, largest, B_step, M.where(coming > 0.0, coming, state.misfit)

    def seek(first, lam, seeking, off, old_share, last, *_):
        newton, x, y, largest, B_step, coming = plane(lam)
        near = ~far & (largest < _NEAR)
        seeking = seeking | (near & (coming > _ABOVE_TARGET * target) if rule.largest_lam == 1.0 else near)
        b = [a_r + x * p + y * q for a_r, p, q in zip(a, newton, before, strict=True)]
        Bb = [p + q for p, q in zip(Ba, _scaled(c, B_step), strict=True)]
        inverse = dot(b, b) - dot(Bb, solve_dense(factor_dense(G, lam), Bb))  # lam b (B^T B + lam)^-1 b
        slope = M.minimum(M.maximum(2.0 * lam * inverse / coming, 0.02), 2.0)
        change = M.minimum(M.maximum(log(M, target / coming) / slope, -_MOST_CHANGE), _MOST_CHANGE)
        if rule.is_damped:
            share = M.where(change * last < 0.0, 0.5 * old_share, M.minimum(1.5 * old_share, 1.0))
            change = share * change
        else:
            share = old_share
        if rule.grain:
            change = rule.grain * M.round(change * (1.0 / rule.grain))
        new = M.minimum(M.maximum(lam * exp(M, change), LEAST_LAM), rule.largest_lam)
        new = M.where(state.n_passes > rule.only_down + 0.5, M.minimum(new, lam), new)
        shift = M.abs(log(M, new / lam))
        moved = running & near & seeking & (first > 0.5) & (shift > rule.moved) & (state.n_passes < rule.held + 0.5)
        lam, off = M.where(moved, new, lam), M.where(moved, shift, off)
        share, last = M.where(moved, share, old_share), M.where(moved, change, last)
        return moved, (0.0 * first, lam, seeking, off, share, last, x, y, largest, *newton, *B_step)

    zero = problem.zero
    fill = (zero,) * (3 + RANK + n)
    start = zero + 1.0, state.lam, state.is_seeking, zero, state.share, state.last, *fill
    _, lam, seeking, off, share, last, x, y, largest, *rest = M.iterate(seek, start, 2)
    newton, B_step = rest[:RANK], rest[RANK:]
    objective = state.misfit + lam * aa
    past = [M.where(off > 0.0, objective, p) for p in state.past]

    # 2. Its length, and the trial.
    limit = M.where(far, _MOST_FAR, _MOST)
    length = M.where(running, state.length * M.minimum(1.0, limit / M.maximum(largest, _TINY)), 0.0)
    x, y = length * x, length * y
    step = [x * p + y * q for p, q in zip(newton, before, strict=True)]

    def move(j):
        change = x * M.get("scratch", j) + y * M.get("step", j)
        M.put("step", j, change)
        xi = exp(M, M.get("exponent", j) + change)
        M.put("scratch", j, xi)
        return tuple(M.response(i, j) * xi for i in range(n))

    sums = M.over_bins(move, ("sum",) * n)
    new_residual = [d_i - w_i * s_i for d_i, w_i, s_i in zip(d, problem.inverse_sigma, sums, strict=True)]
    new_a = [a_r + s_r for a_r, s_r in zip(a, step, strict=True)]
    new_misfit = dot(new_residual, new_residual)
    new_objective = new_misfit + lam * dot(new_a, new_a)
    small = ~far & (largest < rule.small)
    fall = _FALL * (lam * dot(a, step) - length * dot(residual, B_step))
    highest = M.maximum(M.maximum(past[0], past[1]), past[2])
    at_rest = small & ((off < rule.at_rest) | ~seeking)
    # What was at rest, and went on, stays where it was if that leads away.
    leaves = state.is_converged & ~at_rest
    lam = M.where(leaves, state.lam, lam)
    take = running & ~leaves & ((new_objective <= highest * (1.0 + 1e-12) + M.minimum(fall, 0.0)) | small)

    def accept(j):
        exponent = M.get("exponent", j)
        M.put("exponent", j, M.where(take, exponent + M.get("step", j), exponent))
        M.put("weight", j, M.where(take, M.get("scratch", j), M.get("weight", j)))
        return ()

    M.over_bins(accept, ())
    next_length = M.where(take, 1.0, 0.3 * state.length)
    at_end = running & at_rest & (next_length > 0.99)
    if rule.off < float("inf"):
        is_above, is_least, is_largest = new_misfit > target, lam < LEAST_LAM * 1.001, lam > rule.largest_lam * 0.999
        at_end = at_end & ((is_above & is_least) | (~is_above & is_largest) | is_met(problem, new_misfit))
    goes_on = (state.n_passes > rule.many + 0.5) & (largest > rule.smaller)
    past = [M.where(take, new, old) for new, old in zip((past[1], past[2], new_objective), past, strict=True)]
    return State(
        lam=lam,
        misfit=M.where(take, new_misfit, state.misfit),
        past=tuple(past),
        n_logarithmic=M.maximum(n_logarithmic - M.where(take, 1.0, 3.0), 0.0),
        length=next_length,
        is_seeking=seeking,
        is_running=running & (~at_end | goes_on) & ~leaves & (largest < float("inf")),  # nor what is not a number
        is_converged=state.is_converged | at_end,
        n_passes=state.n_passes + 1.0,
        share=share,
        last=last,
        residual=tuple(M.where(take, new, old) for new, old in zip(new_residual, residual, strict=True)),
        a=tuple(M.where(take, new, old) for new, old in zip(new_a, a, strict=True)),
        step=tuple(step),
    )


def _logarithmic_rows(M, far, d, residual):
    """
    Factors c of the rows of J, and what stands for the residual: both as they are but for lanes that are `far`.

    There it is ``w (ln up - ln p)`` with ``up = max(d, 1)`` and ``w = up``, and nothing where neither stands out.
    """
    n = len(d)

    def take(*_):
        factors, differences = [], []
        for d_i, r_i in zip(d, residual, strict=True):
            p = d_i - r_i
            up = M.maximum(d_i, 1.0)
            row = M.where((d_i < 1.0) & (p < 1.0), 0.0, up)
            p = M.maximum(p, EPSILON * up)  # a difference: less is rounding
            factors.append(M.where(far, row / p, 1.0))
            differences.append(M.where(far, row * log(M, up / p), r_i))
        return far, (*factors, *differences)

    one = [0.0 * r_i + 1.0 for r_i in residual]
    found = M.iterate(take, (*one, *residual), 1, pending=far)
    return found[:n], list(found[n:])
