"""
The log-normal method: a DEM that is positive by construction, by a Gaussian prior of its logarithm.

Symbols beside those of `sunpy_demreg._engines.algorithm.invert`: the unknown xi is the emission measure per dex, and
``s = ln xi`` has the prior mean s0, which a first pass gives, and the covariance ``F F^T``, which all pixels share. The
coefficients a of ``s = s0 + F a`` minimize ``Phi(a) = |d - A xi|^2 + lam |a|^2``, with the residual r,
``J = A diag(xi)`` and ``B = J F``, by Gauss-Newton steps ``(B^T B + lam) step = B^T r - lam a``, in systems of n x n.
Such steps leave out the curvature of the exponential. Newton's step in the plane of this one and the one before makes
up for it.

lam is one where the data allow for it, which gives the mode of the posterior, and smaller where the target asks for it.

Storage of bins: "level" has s0; "exponent" and "weight" have s and xi; "step" has what the last step changes s by.
"""

from typing import NamedTuple

from sunpy_demreg._engines.algorithm.linear_algebra import dot
from sunpy_demreg._engines.algorithm.lognormal_pass import LOGARITHMIC, State, evaluate, one_pass
from sunpy_demreg._engines.algorithm.lognormal_target import meet_target
from sunpy_demreg._engines.algorithm.prior_mean import put_exponent, put_prior_mean
from sunpy_demreg._engines.base.prior import RANK

__all__ = ["Mode", "find_mode"]

_MAX_PASSES = 40


class Mode(NamedTuple):
    """Where an iteration ended; the storage "weight" has xi."""

    lam: object
    predicted: list  # intensities
    misfit: object
    is_converged: object
    is_safe: object  # whether no digits were lost, and none was too large or too small


def find_mode(problem, has_signal):
    """Iterate until all lanes are done that have a signal."""
    M, zero = problem.M, problem.zero
    a, is_safe = put_prior_mean(problem)
    _, residual, misfit = evaluate(problem)
    lam = zero + 1.0
    objective = misfit + lam * dot(a, a)

    def clear(j):
        M.put("step", j, zero * M.dlogt(j))
        return ()

    M.over_bins(clear, ())
    is_running = has_signal & (objective < float("inf"))
    state = State(
        lam=lam,
        misfit=misfit,
        past=(objective,) * 3,
        n_logarithmic=zero + LOGARITHMIC,
        length=zero + 1.0,
        is_seeking=problem.signal < 0.0,
        is_running=is_running,
        is_converged=problem.signal < 0.0,
        n_passes=zero + 1.0,
        share=zero + 1.0,
        last=zero,
        residual=tuple(residual),
        a=tuple(a),
        step=(zero,) * RANK,
    )

    def turn(problem, *values):
        state = one_pass(problem, State.of(problem.n, values))
        return state.is_running, state.flat()

    values = M.iterate(turn, state.flat(), _MAX_PASSES, pending=is_running, given=(problem,))
    state = State.of(problem.n, values)
    lam, a, is_converged = state.lam, state.a, state.is_converged
    if problem.plan.parameter_choice == "discrepancy":
        lam, a, is_converged = meet_target(problem, lam, a, is_converged, has_signal)
    # A machine may have dropped the lanes that were done: of these, its storage is old.
    put_exponent(problem, list(a))
    predicted, _, misfit = evaluate(problem)
    is_safe = is_safe & (misfit < float("inf")) & (lam > 0.0)
    return Mode(lam, predicted, misfit, is_converged, is_safe)
