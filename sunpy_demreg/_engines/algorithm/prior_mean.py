"""
The mean of the prior of the log-normal method, and where its iteration starts.

Both follow from a first pass: the emission measure per dex, without a weight or a constraint, by the discrepancy
principle. Symbols and storage as in `sunpy_demreg._engines.algorithm.lognormal`.
"""

from sunpy_demreg._engines.algorithm.elementary import log
from sunpy_demreg._engines.algorithm.linear_algebra import dot
from sunpy_demreg._engines.algorithm.regularization_parameter import discrepancy_root

__all__ = ["put_exponent", "put_prior_mean"]

_SHARE, _FLOOR = 0.7, 1e-2  # of the first pass in the prior mean, the rest being its mean; of its peak
_MOST_SIGNAL = 0.98  # that the first pass may leave unexplained
_LEAST_OF_TRACE = 1e-10  # of G, a lam of the first pass that leaves digits where A was squared
_EXTREME = 1e60  # size of G, and of the signal: powers of it may overflow
_TINY = 1e-300


def put_prior_mean(problem):
    """Put s0 and a first s into the storage; its coefficients, and whether they have all their digits."""
    M = problem.M
    system = problem.shared_system()
    goal = M.minimum(problem.target, _MOST_SIGNAL * problem.signal)
    lam = discrepancy_root(problem, system, goal)
    z = problem.dual(system.solution_in_reach(M, lam))
    is_safe = lam > (0.0 if M.is_careful else _LEAST_OF_TRACE) * system.trace
    for size in (system.trace, problem.signal):
        is_safe = is_safe & (size > 1.0 / _EXTREME) & (size < _EXTREME)

    def clip(j):
        M.put("scratch", j, M.maximum(M.shared_weight(j) * M.project(z, j), 0.0))
        return ()

    M.over_bins(clip, ())

    def smooth(j):
        value = M.mean("scratch", j)
        M.put("level", j, value)
        return (value,)

    top = M.over_bins(smooth, ("maximum",))[0]
    is_empty = ~(top > 0.0)  # nothing positive in the first pass: level
    level = _level(problem)
    floor = M.where(is_empty, level, _FLOOR * top)

    def take_logarithm(j):
        value = log(M, M.maximum(M.where(is_empty, level, M.get("level", j)), floor))
        M.put("level", j, value)
        return (value * M.dlogt(j),)

    rest = (1.0 - _SHARE) * M.scalar("per_range") * M.over_bins(take_logarithm, ("sum",))[0]

    def draw_to_mean(j):
        s1 = M.get("level", j)
        s0 = _SHARE * s1 + rest
        M.put("level", j, s0)
        M.put("scratch", j, s1 - s0)
        return ()

    M.over_bins(draw_to_mean, ())
    a = M.start_projection("scratch")

    put_exponent(problem, a)
    return a, is_safe


def put_exponent(problem, a):
    M = problem.M

    def put(j):
        M.put("exponent", j, M.get("level", j) + M.project_prior(a, j))
        return ()

    M.over_bins(put, ())


def _level(problem):
    """Of the level xi that fits best, but of a signal of one sigma at least, in all channels together."""
    M, n = problem.M, problem.n
    sums = M.over_bins(lambda j: tuple(problem.zero + M.response(i, j) for i in range(n)), ("sum",) * n)
    p = [w_i * s_i for w_i, s_i in zip(problem.inverse_sigma, sums, strict=True)]
    square = M.maximum(dot(p, p), _TINY)
    return M.maximum(dot(problem.d, p), M.sqrt(square)) / square
