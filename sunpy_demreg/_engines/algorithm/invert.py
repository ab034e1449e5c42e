"""
The algorithm: the inversion of one pixel, in arithmetic on lane values.

A *lane* is a pixel, and a lane value is whatever holds one number per lane: an array, a SIMD register, or a variable of
a GPU's thread. Nothing here calls a library: a *machine* (see `sunpy_demreg._engines`) gives the operations a meaning,
and so makes array operations, LLVM instructions or CUDA C++ of the same code.

Symbols (of Hannah & Kontar 2012, A&A 539, A146, and of the theory page of the documentation): n channels,
m temperature bins; g intensity, sigma uncertainty, K response matrix, A = K / sigma, d = g / sigma. The DEM
xi minimizes ``|A xi - d|^2 + lam |L xi|^2`` with L diagonal. With ``v = L^-2``, ``G = A v A^T`` (n x n) and
``x = (G + lam)^-1 d`` it is ``xi = v A^T x``, of the misfit ``lam^2 |x|^2``, which rises monotonically with lam.
G is made tridiagonal, so that each trial of lam costs O(n).
"""

from sunpy_demreg._engines.algorithm.linear_algebra import dot, total
from sunpy_demreg._engines.algorithm.lognormal import find_mode
from sunpy_demreg._engines.algorithm.outputs import put_answer
from sunpy_demreg._engines.algorithm.positivity import constrain, relax
from sunpy_demreg._engines.algorithm.posterior import ABOVE_TARGET, SIGNIFICANT, put_posterior
from sunpy_demreg._engines.algorithm.regularization_parameter import choose, discrepancy_root
from sunpy_demreg._engines.algorithm.systems import LaneProblem
from sunpy_demreg._engines.base.precision import EPSILON
from sunpy_demreg._engines.base.status import Status

__all__ = ["DIFFICULT", "invert_lanes"]

DIFFICULT = 2**20  # a bit of the status: this lane is to be solved with more care
PEAK_FRACTION = 1e-4  # bins of the first solution below this fraction of its peak carry no information
FLOOR_FRACTION = 1e-6  # ... and get this fraction of the peak as their weight
WEIGHT_MINIMUM = 1e-8  # of the smoothed weight
_FAR = 1e300
# Relative difference of two ways to the misfit beyond which the lane needs care; and, with care, has failed.
_DOUBTFUL, _LOST = 1e-8, 1e-3
_LOST_DEM = 1e-6  # of the DEM, what rounding may change with care
# Traces of G and signals above it, or below its inverse, need care: their powers may overflow or underflow, on some
# machines before others. With care, only a signal has no answer that is more than all digits of its noise, and traces
# of far greater size.
_EXTREME, _EXTREME_SIGNAL, _EXTREME_TRACE = 1e60, EPSILON**-2, 1e250
# What may turn out with care to have lost its digits, with a wide margin: so fit so many of them, or so strong signals.
_FEW_DIGITS, _HIGH_SIGNAL = 1e-18, 1e-6 * _EXTREME_SIGNAL
_MISSED = 1.000001  # times the misfit aimed at
_MOSTLY_FITTED = 0.9  # of the signal: of a larger misfit, what no DEM can reach may be nearly all there is
_NOTHING = 1e-20  # of the signal: a smaller misfit is rounding; the DEM explains all that was seen, to ten digits


def invert_lanes(M, plan):
    """Invert the lanes of a machine, which stores the outputs."""
    problem = LaneProblem(M, plan)
    remarks = (_log_normal if plan.method == "lognormal" else _tikhonov)(problem)
    M.put_status(total([M.where(is_set, float(bit), 0.0) for bit, is_set in remarks.items()]))


def _log_normal(problem):
    """Store the outputs; which bits of the status are set where."""
    M, n = problem.M, problem.n
    # Noise below zero is no plasma, however far below.
    has_signal = (problem.signal > problem.target) & ~problem.is_best_without()
    above_zero = [M.maximum(d_i, 0.0) for d_i in problem.d]
    mode = find_mode(problem, has_signal)
    put_posterior(problem, mode)
    return {
        Status.NO_SIGNAL: ~has_signal,
        Status.TARGET_NOT_REACHED: mode.misfit > ABOVE_TARGET[problem.plan.parameter_choice] * problem.target,
        Status.UPPER_LIMIT: dot(above_zero, above_zero) < n + SIGNIFICANT * (2 * n) ** 0.5,
        Status.NOT_CONVERGED: has_signal & ~mode.is_converged,
        Status.FAILED if M.is_careful else DIFFICULT: has_signal & ~mode.is_safe,
    }


def _tikhonov(problem):
    M, plan = problem.M, problem.plan
    system, is_safe = _weighted_system(problem)
    ranges = [(problem.signal, 0.0, _EXTREME_SIGNAL), (system.trace, 1.0 / _EXTREME_TRACE, _EXTREME_TRACE)]
    if not M.is_careful:
        ranges = [(problem.signal, 1.0 / _EXTREME, _HIGH_SIGNAL), (system.trace, 1.0 / _EXTREME, _EXTREME)]
    for size, low, high in ranges:
        is_safe = is_safe & (size >= low) & (size <= high)
    # Without care, lanes that need it wait for no others here, nor these for them.
    is_wanted = problem.signal >= 0.0 if M.is_careful else is_safe
    lam, aimed_at = choose(problem, system, problem.target)
    goal = aimed_at
    least = lam
    if plan.positivity == "relax":
        lam, goal = relax(problem, system, lam, goal, is_wanted)
    elif plan.positivity == "constrain":
        system, goal, is_solved, is_nothing = constrain(problem, system, lam, goal, is_wanted)
        least = lam = discrepancy_root(problem, system, goal)
        is_safe = is_safe & is_solved
    # Of relaxing, the first lam: that of the least misfit, whose signs were looked at.
    is_safe = is_safe & _is_safe(problem, system, least, goal)

    answer = put_answer(problem, system, lam)
    # The misfit that lam was chosen for and that of the DEM differ where digits have been lost.
    difference = M.abs(answer.misfit - answer.expected_misfit)
    no_signal = problem.signal <= problem.target
    if plan.positivity == "constrain" and M.is_careful:  # where all bins are zero, squaring has left nothing
        no_signal = no_signal | problem.is_best_without() | is_nothing
    remarks = {
        Status.NO_SIGNAL: no_signal,
        Status.NEGATIVE_DEM: answer.least < 0.0,
        Status.RELAXED: goal > aimed_at,
    }
    if M.is_careful:
        is_right = difference <= _LOST * answer.expected_misfit
        # No DEM, in double precision, fits with more digits.
        rounding = 16.0 * EPSILON * EPSILON * answer.size
        is_right = is_right & (rounding <= _LOST * _LOST * answer.expected_misfit)
        if plan.parameter_choice == "grid":  # all of whose samples may be too low, so that none meets the target
            least = _NOTHING * problem.signal
            is_right = is_right | ((answer.expected_misfit <= least) & (rounding <= least))
        is_right = is_right & is_safe
        # Only a rule that always has an answer has one that may be of use where there is no signal.
        remarks[Status.FAILED] = ~is_right if plan.parameter_choice == "grid" else ~is_right & ~no_signal
        if plan.parameter_choice == "discrepancy":  # the samples of a grid rarely meet the target
            remarks[Status.TARGET_NOT_REACHED] = answer.expected_misfit > _MISSED * goal
    else:
        is_safe = is_safe & (difference <= _DOUBTFUL * answer.expected_misfit)
        is_safe = is_safe & (answer.expected_misfit >= _FEW_DIGITS * problem.signal)
        if plan.parameter_choice == "discrepancy":
            is_safe = is_safe & (answer.expected_misfit <= _MISSED * goal)
        remarks[DIFFICULT] = ~is_safe
    return remarks


def _weighted_system(problem):
    """Put v into the storage "weight"; the system that follows, and whether it was reached without loss of digits."""
    M, plan = problem.M, problem.plan

    def weight(j):
        return M.get("weight", j)

    if plan.weighting == "shared":

        def fill(j):
            M.put("weight", j, problem.zero + M.shared_weight(j))
            return ()

        M.over_bins(fill, ())
        return problem.shared_system(), problem.signal >= 0.0
    if plan.weighting == "given":

        def take(j):
            M.put("weight", j, _inverse_square(M, plan, M.given_weight(j), j))
            return ()

        M.over_bins(take, ())
        return problem.system("weight"), problem.signal >= 0.0
    if plan.weighting == "em_loci":
        _put_weight(problem, lambda j: _least_locus(problem, j), is_dem=False)
        system, is_safe = problem.system("weight"), problem.signal >= 0.0
    else:
        system = problem.shared_system()
        dem, is_safe = _dem(problem, system, M.shared_weight)
        _put_weight(problem, dem)
        system = problem.system("weight")
    for _ in range(plan.n_refinements):
        dem, is_still_safe = _dem(problem, system, weight)
        _put_weight(problem, dem)
        is_safe = is_safe & is_still_safe
        system = problem.system("weight")
    return system, is_safe


def _dem(problem, system, weight):
    """The solution at the target, as a function of the bin; whether it was reached without loss of digits."""
    M = problem.M
    lam, goal = choose(problem, system, problem.target)
    z = problem.dual(system.solution_in_reach(M, lam))
    return lambda j: weight(j) * M.project(z, j), _is_safe(problem, system, lam, goal)


def _is_safe(problem, system, lam, goal):
    """Whether enough digits are left for a lam of a misfit."""
    if problem.M.is_careful:
        return system.lost_of_dem(problem.M, lam) <= _LOST_DEM * _LOST_DEM
    return system.is_safe(problem.M, problem.plan, lam, goal < _MOSTLY_FITTED * problem.signal)


def _least_locus(problem, j):
    """The least of the DEMs in bin j alone that each explain one channel, or its noise: the EM loci."""
    M = problem.M
    least = problem.zero + _FAR
    for i in problem.plan.loci:
        K, g = M.response(i, j), problem.g[i]
        if problem.plan.is_noise_locus:
            g = M.where(g > 0.0, g, M.sigma(i))
        locus = M.where(K > 0.0, g / M.where(K > 0.0, K, 1.0), _FAR)
        least = M.minimum(least, M.where(locus > 0.0, locus, _FAR))
    return M.where(least < _FAR, least, 0.0)


def _inverse_square(M, plan, w, j):
    """``v = L^-2`` of the weight w."""
    return w * w if plan.is_squared else M.abs(w) / M.dlogt(j)


def _put_weight(problem, model, *, is_dem=True):
    """
    Put ``v = L^-2`` for a model of the DEM as the weight: smoothed over five bins, normalized.

    Of a solution, the bins that it leaves empty are first raised to a floor. The reference's is 1 in its own units;
    else it is a fraction of each pixel's peak, which no unit can change.
    """
    M, plan = problem.M, problem.plan

    def keep(j):
        value = model(j)
        M.put("scratch", j, value)
        return (value,)

    peak = M.maximum(M.over_bins(keep, ("maximum",))[0], 0.0)
    if is_dem:
        cut = peak * PEAK_FRACTION
        is_reference = plan.parameter_choice == "grid" and plan.solve_for == "dem"
        floor = 1.0 if is_reference else M.where(peak > 0.0, peak * FLOOR_FRACTION, 1.0)

        def raise_to_floor(j):
            value = M.get("scratch", j)
            value = M.where(value > cut, value, floor)
            M.put("scratch", j, value)
            return (value,)

        peak = M.over_bins(raise_to_floor, ("maximum",))[0]
    normalization = 1.0 / (5.0 * peak)

    # The moving mean leaves the two end bins out, as in the reference: where the response is small, the ends of
    # the first solution are the least certain.
    sum_of_neighbors = M.inner_neighbors()

    def smooth(j):
        value = sum_of_neighbors(j) * normalization
        M.put("weight", j, _inverse_square(M, plan, M.maximum(value, WEIGHT_MINIMUM), j))
        return ()

    M.over_bins(smooth, ())
