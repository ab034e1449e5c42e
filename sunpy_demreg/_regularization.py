"""
The mathematics: one text for every engine.

`invert_lanes` says what happens to a pixel, in arithmetic on lane values (see `sunpy_demreg._lanes`). A machine
``M`` runs it: on arrays at once, or by compiling it (see `sunpy_demreg._engines`). No lane knows of another,
and every sum has a fixed order, so the answer of a pixel depends neither on its neighbors nor on how many
pixels are worked on together.

Symbols (Hannah & Kontar 2012, A&A 539, A146, and the theory page of the documentation): n channels, m
temperature bins; g intensity, sigma uncertainty, K response matrix; A = K / sigma, d = g / sigma. The DEM xi
minimizes ``|A xi - d|^2 + lam |L xi|^2`` with L diagonal. With ``v = L^-2`` everything follows from the n x n
matrix ``G = A v A^T = Q T Q^T``, T tridiagonal: ``x = Q (T + lam)^-1 Q^T d``, ``xi = v A^T x``, and the misfit
``lam^2 |x|^2`` rises monotonically with lam.
"""

from itertools import combinations_with_replacement
from typing import NamedTuple

from sunpy_demreg import _lanes
from sunpy_demreg._lanes import apply_q, apply_q_transposed, dot, factor, solve_lower, solve_tridiagonal, total
from sunpy_demreg._status import Status

__all__ = ["REFERENCE_SCALE", "Plan", "channel_pairs", "invert_lanes"]

REFERENCE_SCALE = 1e15  # the reference multiplies the response by this; its grid of lam depends on it
_EPSILON = 2.0**-52
_PEAK_FRACTION = 1e-4  # bins of the first solution below this fraction of its peak carry no information
_FLOOR_FRACTION = 1e-6  # ... and get this fraction of the peak as their weight
_WEIGHT_MINIMUM = 1e-8  # of the smoothed weight
_N_RESOLUTION_SAMPLES = 51  # temperatures at which the width of the resolution kernel is measured
_LOST = 1e-3  # relative difference of two ways to the misfit, beyond which the arithmetic has failed
_ILL_CONDITIONED = 1e-7  # smallest over largest s2 below which squaring A costs too many digits (AIA: 4e-6)
_MAX_NEWTON_STEPS = 200  # a guard only: ten are enough for any pixel seen


class Plan(NamedTuple):
    """What is fixed before the text runs, and so compiled into it."""

    n_channels: int
    parameter_choice: str = "discrepancy"
    positivity: str | None = "relax"
    max_iterations: int = 10
    n_samples: int = 42  # of the grid of lam
    is_singular: bool = False  # G, for there are more channels than bins
    errors: bool = True  # whether dem_uncertainty is wanted
    resolution: bool = True  # whether temperature_resolution is wanted


class _System(NamedTuple):
    """``(G + lam) x = d``, reduced to tridiagonal form."""

    T: tuple
    y: list  # Q^T d
    reflectors: list
    trace: object

    def solution(self, lam):
        return apply_q(self.reflectors, solve_tridiagonal(factor(self.T, lam), self.y))


def channel_pairs(n):
    """The pairs i <= k of channels, in the order of the machine's tables of ``K_i K_k``."""
    return list(combinations_with_replacement(range(n), 2))


def invert_lanes(M, plan):
    """Invert the lanes of a machine, and put the outputs into it."""
    n = plan.n_channels
    pairs = channel_pairs(n)
    g = [M.intensity(i) for i in range(n)]
    inverse_sigma = [1.0 / M.sigma(i) for i in range(n)]
    d = [g_i * w_i for g_i, w_i in zip(g, inverse_sigma, strict=True)]
    choose = _nearest_grid_sample if plan.parameter_choice == "grid" else _discrepancy_root
    goal = M.scalar("target") + 0.0 * d[0]

    def column(j):
        return [M.response(i, j) for i in range(n)]

    def system(sums):
        """Of the sums over the bins of ``K_i K_k v``."""
        of_pair = dict(zip(pairs, sums, strict=True))
        G = [[of_pair[min(i, k), max(i, k)] * (inverse_sigma[i] * inverse_sigma[k]) for k in range(n)] for i in range(n)]
        T, y, reflectors = _lanes.tridiagonalize(M, G, d)
        return _System(T, y, reflectors, total(T[0]))

    def dual(x):
        """What the columns of K multiply: ``xi_j = v_j K_j . dual``."""
        return [w_i * x_i for w_i, x_i in zip(inverse_sigma, x, strict=True)]

    # The first pass, with L^-2 = dlogT for all pixels: its DEM, smoothed, is the weight of the second.
    first = system([M.shared_gram(p) for p in range(len(pairs))])
    z = dual(first.solution(choose(M, plan, first, goal)))
    _put_weight(M, lambda j: M.dlogt(j) * dot(column(j), z), on_grid=plan.parameter_choice == "grid")

    def add_bin(j):
        v = M.get("weight", j)
        return tuple(M.response_pair(p, j) * v for p in range(len(pairs)))

    second = system(M.over_bins(add_bin, ("sum",) * len(pairs)))

    def has_negative_bin(z):
        """v is positive, so the sign of the DEM does not need it."""
        return M.over_bins(lambda j: (dot(column(j), z),), ("minimum",))[0] < 0.0

    lam = choose(M, plan, second, goal)
    if plan.positivity == "relax" and plan.max_iterations > 1:
        # Raise the target until no bin is negative.
        def relax(lam, goal, negative):
            goal = M.where(negative, goal * M.scalar("growth"), goal)
            lam = M.where(negative, choose(M, plan, second, goal), lam)
            negative = negative & has_negative_bin(dual(second.solution(lam)))
            return negative, (lam, goal, negative)

        start = has_negative_bin(dual(second.solution(lam)))
        lam, goal, _ = M.iterate(relax, (lam, goal, start), plan.max_iterations - 1)

    z = dual(second.solution(lam))
    operator = _data_operator(M, second, lam, inverse_sigma) if plan.errors or plan.resolution else None

    def put_bin(j):
        v, K_j = M.get("weight", j), column(j)
        dem = v * dot(K_j, z)
        M.put_output("dem", j, dem * M.scalar("scale"))
        if plan.errors:
            # A row of K^dagger = v A^T (G + lam)^-1: its length is the error.
            row = [dot(o_i, K_j) for o_i in operator]
            M.put_output("dem_uncertainty", j, v * M.sqrt(dot(row, row)) * M.scalar("scale"))
        return dem, *(K_ij * dem for K_ij in K_j)

    least, *predicted = M.over_bins(put_bin, ("minimum", *("sum",) * n))
    residual = [(g_i - p_i) * w_i for g_i, p_i, w_i in zip(g, predicted, inverse_sigma, strict=True)]
    misfit = dot(residual, residual)
    for i in range(n):
        M.put_output("predicted_intensity", i, predicted[i])
    M.put_output("chi_squared", 0, misfit * (1.0 / n))
    M.put_output("regularization_parameter", 0, lam)
    status = M.where(least < 0.0, float(Status.NEGATIVE_DEM), M.zero())
    status = status + M.where(dot(d, d) <= goal, float(Status.NO_SIGNAL), M.zero())
    if plan.parameter_choice != "grid":  # whose coarse samples rarely meet the target: the bit would say nothing
        status = status + M.where(misfit > goal * (1 + 1e-6), float(Status.TARGET_NOT_REACHED), M.zero())
    M.put_output("status", 0, status)
    if plan.resolution:
        both_sides = [[w_i * o_ik for o_ik in o_i] for w_i, o_i in zip(inverse_sigma, operator, strict=True)]
        _put_resolution(M, column, both_sides)


def _put_weight(M, first_dem, *, on_grid):
    """
    ``v = L^-2`` of the second pass: the first DEM, floored, smoothed over five bins, normalized, over dlogT.

    The floor is the weight of the bins that the first DEM leaves empty: the reference's is 1 in its own units;
    otherwise it is a fraction of each pixel's peak, which no unit can change.
    """

    v = dlogt[:, None]
    spectrum = _eigensystem(xp, K, v, sigma, d)
    first = v * _project(K, _dual(spectrum, choose(spectrum.s2, spectrum.c, target, options), sigma))
    v = _self_weight(xp, first, floor=1.0 if on_grid else None) / dlogt[:, None]

    spectrum = _eigensystem(xp, K, v, sigma, d)
    lam, relaxed_target = _relaxed_parameter(xp, K, spectrum, sigma, target, choose, options)
    dem = v * _project(K, _dual(spectrum, lam, sigma))
    predicted = _sum_first(xp.permute_dims(K, (1, 0))[:, :, None], dem[:, None, :])
    chi_squared = _square_sum((g - predicted) / sigma) / K.shape[0]
    projected = _sum_first((spectrum.U / sigma[:, None, :])[:, :, None, :], K[:, None, :, None])  # U^T A, (n, m, N)
    dem_uncertainty = v * xp.sqrt(_square_sum(projected * _damping(xp, spectrum.s2, lam)[:, None, :]))
    columns = (
        # Column k of the resolution matrix is the DEM that the data of a unit DEM in bin k alone give.
        v * _project(K, _dual(spectrum._replace(c=projected[:, k, :]), lam, sigma))
        for k in range(K.shape[1])
    )
    resolution = _full_widths(xp, columns, dlogt, logt)

    sums = [xp.sum(output, axis=0) for output in (dem, dem_uncertainty, resolution, predicted)]
    is_finite = xp.isfinite(sums[0] + sums[1] + sums[2] + sums[3] + chi_squared + lam)
    # The misfit that lam was chosen for, and that of the DEM: they part where an uncertainty is so much smaller
    # than the others that the digits of the DEM do not suffice.
    misfit = _square_sum(spectrum.c * (lam / (spectrum.s2 + lam)))
    is_lost = xp.abs(chi_squared * K.shape[0] - misfit) > _LOST * misfit
    is_exact = options.parameter_choice == "discrepancy"
    status = xp.zeros(lam.shape, dtype=xp.int32, device=device(lam))
    for bit, is_set in (
        (Status.FAILED, ~is_finite | is_lost),
        (Status.NO_SIGNAL, _square_sum(d) <= target),
        (Status.RELAXED, relaxed_target > target),
        (Status.NEGATIVE_DEM, xp.any(dem < 0, axis=0)),
        # The samples of the grid rarely meet the target: there the bit would say nothing.
        (Status.TARGET_NOT_REACHED, (misfit > relaxed_target * (1 + 1e-6)) & is_exact),
    ):
        status = status + int(bit) * xp.astype(is_set, xp.int32)
    return Solution(dem * scale, dem_uncertainty * scale, resolution, chi_squared, predicted, lam, status)


def _least_lam(plan, system):
    """Below, the solution is made of rounding errors (that G has in the directions that no bin can reach)."""
    return system.trace * (_SINGULAR_MINIMUM if plan.is_singular else plan.n_channels * _EPSILON)


def _square_sum(a):
    return _sum_first(a, a)


def _project(K, z):
    """``K^T z`` for each lane: (n, m), (n, N) -> (m, N)."""
    return _sum_first(K[:, :, None], z[:, None, :])


def _dual(spectrum, lam, sigma):
    """``z = U [c / (s2 + lam)] / sigma`` (n, N), from which the DEM is ``v K^T z``."""
    xp = array_namespace(lam)
    damped = spectrum.c * _damping(xp, spectrum.s2, lam)
    U_by_column = xp.permute_dims(spectrum.U, (1, 0, 2))
    return _sum_first(U_by_column, damped[:, None, :]) / sigma


def _gram(xp, K, v, sigma):
    """``G = A v A^T`` (n, n, N), for a weight v of each lane (m, N) or one for all (m, 1)."""
    n = K.shape[0]
    # G is symmetric: sum over the bins for the pairs i <= k only, then lay them out in full.
    pairs = [(i, k) for i in range(n) for k in range(i, n)]
    position = {pair: p for p, pair in enumerate(pairs)}
    layout = [position[min(i, k), max(i, k)] for i in range(n) for k in range(n)]
    products = xp.stack([K[i, :] * K[k, :] for i, k in pairs], axis=1)
    sums = _sum_first(products[:, :, None], v[:, None, :])
    full = xp.take(sums, xp.asarray(layout, device=device(K)), axis=0)
    return xp.reshape(full, (n, n, sums.shape[1])) / (sigma[:, None, :] * sigma[None, :, :])


def _eigensystem(xp, K, v, sigma, d):
    """Eigenvalues of G in ascending order, its eigenvectors, and the data in their basis."""
    n, m = K.shape
    G = _gram(xp, K, v, sigma)
    # A lane of extreme size must not stop the others: as zero it comes to nothing, and is flagged.
    G = xp.where(xp.all(xp.isfinite(G), axis=(0, 1)), G, 0.0)
    eigenvalues, U = xp.linalg.eigh(xp.permute_dims(G, (2, 0, 1)))
    s2 = xp.permute_dims(eigenvalues, (1, 0))
    U = xp.permute_dims(U, (1, 2, 0))
    # Squaring A has squared its condition number. Where that counts (an uncertainty much smaller than the
    # others, channels that see nearly the same, more channels than bins), take the singular values of A.
    difficult = s2[0, :] < _ILL_CONDITIONED * s2[n - 1, :]
    if xp.any(difficult):
        lanes = xp.nonzero(difficult)[0]
        part = xp.take(xp.broadcast_to(v, (m, sigma.shape[1])), lanes, axis=1)
        A = K[:, :, None] * (xp.sqrt(part)[None, :, :] / xp.take(sigma, lanes, axis=1)[:, None, :])
        part_U, s, _ = xp.linalg.svd(xp.permute_dims(A, (2, 0, 1)), full_matrices=n > m)
        s = xp.permute_dims(s, (1, 0))
        s = xp.concat([s, xp.zeros((n - min(n, m), s.shape[1]), dtype=s.dtype, device=device(s))])
        # The rows and columns of U are in place; only their order is that of falling values.
        rising = xp.arange(n - 1, -1, -1, device=device(s))
        s2 = _with_lanes(xp, s2, difficult, xp.take(s * s, rising, axis=0))
        U = _with_lanes(xp, U, difficult, xp.take(xp.permute_dims(part_U, (1, 2, 0)), rising, axis=1))
    # Directions that no bin can reach: what the data hold there, no DEM can fit.
    s2 = xp.where(s2 > _rounding(xp, s2), s2, 0.0)
    return _Spectrum(s2, _sum_first(U, d[:, None, :]), U)


def _rounding(xp, s2):
    """The square of what rounding leaves of a singular value of zero."""
    return (s2.shape[0] * xp.finfo(s2.dtype).eps) ** 2 * xp.max(s2, axis=0)


def _damping(xp, s2, lam):
    """``1 / (s2 + lam)``, but none of the directions that no bin can reach."""
    return xp.where(s2 > 0, 1.0 / xp.where(s2 > 0, s2 + lam, 1.0), 0.0)


def _with_lanes(xp, array, chosen, values):
    """A copy of `array` whose chosen lanes have the given values."""
    position = xp.cumulative_sum(xp.astype(chosen, xp.int64)) - 1
    spread = xp.take(values, xp.where(chosen, position, 0), axis=values.ndim - 1)
    return xp.where(chosen, spread, array)


def _discrepancy_root(s2, c, target, options):
    """
    The exact discrepancy principle (Morozov 1966): lam with ``misfit(lam) = goal``, to rounding.

    Newton on log(misfit) as a function of log(lam), where it is nearly straight, kept inside a bracket that
    is known from the start: ``misfit <= lam^2 sum c^2/s2^2`` and ``misfit >= (lam / (s2_max + lam))^2 |c|^2``.
    Where no DEM fits down to the target, the least lam that means something. (Where no DEM at all fits to it,
    there is no answer, and the pixel will be flagged.)
    """
    xp = array_namespace(s2, c)
    s2_max = xp.max(s2, axis=0)
    floor = _rounding(xp, s2)
    total = _square_sum(c)
    solvable = total > target
    ratio = xp.sqrt(target / xp.where(solvable, total, 4.0 * target))
    steepest = _square_sum(c / xp.maximum(s2, floor))
    low = xp.maximum(xp.sqrt(target / xp.where(solvable, steepest, 1.0)), floor)
    high = xp.maximum(s2_max * ratio / (1.0 - ratio), low)

    tolerance = 4 * xp.finfo(s2.dtype).eps
    lam = low
    for _ in range(_MAX_NEWTON_STEPS):
        shrink = lam / (s2 + lam)
        residual = c * shrink
        misfit = _square_sum(residual)
        slope = 2.0 * _sum_first(residual**2, 1.0 - shrink)  # d misfit / d log(lam)
        low = xp.where(misfit < target, lam, low)
        high = xp.where(misfit >= target, lam, high)
        pending = solvable & (xp.abs(misfit - target) > tolerance * target) & (high - low > tolerance * high)
        if not xp.any(pending):
            break
        safe = pending & (slope > 0)
        step = xp.log(target / xp.where(safe, misfit, target)) * xp.where(safe, misfit, 1.0)
        newton = lam * xp.exp(xp.clip(step / xp.where(safe, slope, 1.0), -50.0, 50.0))
        inside = safe & (newton > low) & (newton < high)
        lam = xp.where(pending, xp.where(inside, newton, xp.sqrt(low) * xp.sqrt(high)), lam)
    return xp.where(solvable, lam, s2_max)


def _nearest_grid_sample(M, plan, system, goal):
    """
    The reference's rule: of ``n_samples`` values of lam, even in the logarithm, the one of nearest misfit.

    With s2 the eigenvalues of G, they reach from ``1e-4 min(s2)`` to ``sqrt(max(s2))``, where ``max(s2)`` would
    have the unit of lam: so the grid depends on the unit of the response (hence `REFERENCE_SCALE`). Should the
    ends be in descending order, all samples are the upper one. The misfit rises with lam: the nearest sample is
    the last one not above the goal, found by bisection, or its successor.
    """
    xp = array_namespace(s2, c)
    low = xp.log(1e-4 * xp.min(xp.where(s2 > 0, s2, math.inf), axis=0))
    high = 0.5 * xp.log(xp.max(s2, axis=0))
    sample = xp.arange(options.n_samples, dtype=s2.dtype, device=device(s2))[:, None]
    lam = xp.exp(xp.minimum(low + sample * ((high - low) / (options.n_samples - 1)), high))
    distance = xp.abs(_square_sum(c[:, None, :] * (lam / (s2[:, None, :] + lam))) - target)
    nearest = xp.argmin(distance, axis=0)
    return xp.take_along_axis(lam, nearest[None, :], axis=0)[0, :]


def _data_operator(M, system, lam, inverse_sigma):
    """``(G + lam)^-1 / sigma`` (n x n): with it, ``K^dagger = v K^T (...)`` follows for every bin."""
    n = len(inverse_sigma)
    factors = factor(system.T, lam)
    columns = []
    for k in range(n):
        unit = [M.zero() + float(i == k) for i in range(n)]
        solved = solve_tridiagonal(factors, apply_q_transposed(system.reflectors, unit))
        columns.append([inverse_sigma[k] * x_i for x_i in apply_q(system.reflectors, solved)])
    return [[columns[k][i] for k in range(n)] for i in range(n)]


def _put_resolution(M, column, both_sides):
    """
    Full width at half maximum, in dex, of each column of the resolution matrix ``R = K^dagger A``.

    As in the reference, each column is sampled at 51 temperatures by linear interpolation, and the width is the
    distance from the first to the last sample of at least half the column's maximum. A column without such a
    sample gets twice its bin's width. The columns come one at a time: no m x m array is ever stored.
    """

    def put_width(k):
        h = [dot(row, column(k)) for row in both_sides]

        def put_element(j):
            value = M.get("weight", j) * dot(column(j), h)
            M.put("scratch", j, value)
            return (value,)

    Returns lam (N,) and the target (N,) that it was chosen for. The exact choice stops where the next target is
    one that no plasma at all would meet too.
    """
    lam = choose(spectrum.s2, spectrum.c, target, options)
    targets = xp.full(lam.shape, target, dtype=lam.dtype, device=device(lam))
    if options.positivity is None:
        return lam, targets
    negative = _has_negative_bin(xp, K, _dual(spectrum, lam, sigma))
    for _ in range(options.max_iterations - 1):
        target = target * options.target_growth
        if options.parameter_choice == "discrepancy":
            negative = negative & (_square_sum(spectrum.c) > target)
        if not xp.any(negative):
            break
        lanes = xp.nonzero(negative)[0]
        part = _Spectrum(*(xp.take(array, lanes, axis=array.ndim - 1) for array in spectrum))
        part_lam = choose(part.s2, part.c, target, options)
        still = _has_negative_bin(xp, K, _dual(part, part_lam, xp.take(sigma, lanes, axis=1)))
        lam[negative] = part_lam
        targets[negative] = xp.full(part_lam.shape, target, dtype=lam.dtype, device=device(lam))
        negative[negative] = still
    return lam, targets

        def edges(s):
            is_above = M.sampled("scratch", s) >= half
            return M.where(is_above, M.sample(s), _FAR), M.where(is_above, M.sample(s), -_FAR)

        first, last = M.over_samples(edges, ("minimum", "maximum"))
        M.put_output("temperature_resolution", k, M.where(last > -_FAR, last - first, 2.0 * M.dlogt(k)))


def _full_widths(xp, columns, dlogt, logt):
    """
    Full width at half maximum, in dex, of each column (m, N) of the resolution matrix: (m, N).

    As in the reference, each column is sampled at 51 temperatures by linear interpolation, and the width is
    the distance from the first to the last sample of at least half the column's maximum; twice the bin's width
    where there is none. Unlike there, it is the bin's width where there is one only, not zero. The columns come
    one at a time: no m x m array is ever stored.
    """
    m = logt.shape[0]
    count = xp.arange(_N_RESOLUTION_SAMPLES, dtype=logt.dtype, device=device(logt))
    samples = logt[0] + 1e-8 + (logt[m - 1] - logt[0]) * count / _N_RESOLUTION_SAMPLES
    left = xp.clip(xp.searchsorted(logt, samples, side="right") - 1, 0, m - 2)
    fraction = (samples - xp.take(logt, left)) / (xp.take(logt, left + 1) - xp.take(logt, left))
    samples, fraction = samples[:, None], fraction[:, None]
    widths = []
    for k, column in enumerate(columns):
        lower = xp.take(column, left, axis=0)
        sampled = lower + fraction * (xp.take(column, left + 1, axis=0) - lower)
        above = sampled >= 0.5 * xp.max(column, axis=0)
        first = xp.min(xp.where(above, samples, math.inf), axis=0)
        last = xp.max(xp.where(above, samples, -math.inf), axis=0)
        width = xp.where(last > first, last - first, dlogt[k])
        widths.append(xp.where(xp.any(above, axis=0), width, 2.0 * dlogt[k]))
    return xp.stack(widths)
