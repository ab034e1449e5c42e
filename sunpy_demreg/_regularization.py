"""
The mathematics: stacks of pixels in, stacks of DEMs out.

Everything here is written against the Python array API, so the same text runs on NumPy and on CuPy.
A *lane* is a pixel, and lanes are the last axis of every array: all arithmetic is elementwise along it and
every sum runs over a leading axis in a fixed order. So the answer of a pixel does not depend, to the last
bit, on its neighbors or on how many pixels are solved together.

Symbols (of Hannah & Kontar 2012, A&A 539, A146, and of the theory page of the documentation): n channels,
m temperature bins; g intensity, sigma uncertainty, K response matrix, A = K / sigma, d = g / sigma. The DEM
xi minimizes ``|A xi - d|^2 + lam |L xi|^2`` with L diagonal. With ``v = L^-2`` everything follows from the
n x n eigenproblem ``G = A v A^T = U s2 U^T``: c = U^T d, xi = v A^T U [c / (s2 + lam)], and the misfit is
``sum (lam c / (s2 + lam))^2``, which rises monotonically with lam.
"""

import math
from typing import NamedTuple

from array_api_compat import array_namespace, device

from sunpy_demreg._status import Status

__all__ = ["Options", "Solution", "solve"]

REFERENCE_SCALE = 1e15  # the reference multiplies the response by this; its grid of lam depends on it
PEAK_FRACTION = 1e-4  # bins of the first solution below this fraction of its peak carry no information
FLOOR_FRACTION = 1e-6  # ... and get this fraction of the peak as their weight
WEIGHT_MINIMUM = 1e-8  # of the smoothed weight
N_RESOLUTION_SAMPLES = 51  # temperatures at which the width of the resolution kernel is measured
_LOST = 1e-3  # relative difference of two ways to the misfit, beyond which the arithmetic has failed
_ILL_CONDITIONED = 1e-7  # smallest over largest s2 below which squaring A costs too many digits (AIA: 4e-6)
_MAX_NEWTON_STEPS = 200  # a guard only: ten are enough for any pixel seen


class Options(NamedTuple):
    """How to regularize: see `sunpy_demreg.invert`, which validates the values."""

    parameter_choice: str = "discrepancy"
    positivity: str | None = "relax"
    chi_squared_target: float = 1.0
    target_growth: float = 1.5
    max_iterations: int = 10
    n_samples: int = 42


class Solution(NamedTuple):
    """The outputs of `solve`; N lanes, m bins, n channels."""

    dem: object  # (m, N), unit of g / unit of K
    dem_uncertainty: object  # (m, N), same unit
    temperature_resolution: object  # (m, N), dex
    chi_squared: object  # (N,)
    predicted_intensity: object  # (n, N), unit of g
    regularization_parameter: object  # (N,)
    status: object  # (N,), int32, bits of Status


class _Spectrum(NamedTuple):
    """Eigenvalues (n, N), data in the eigenbasis (n, N), eigenvectors (n, n, N) of G."""

    s2: object
    c: object
    U: object


def solve(g, sigma, K, dlogt, logt, options):
    """
    Invert a stack of pixels.

    Parameters
    ----------
    g, sigma : array, (n, N)
        Intensity and its uncertainty, finite, ``sigma > 0``.
    K : array, (n, m)
        Response matrix: intensity = K @ dem.
    dlogt, logt : array, (m,)
        Widths and centers of the temperature bins in log10 T.
    options : Options

    Returns
    -------
    Solution
    """
    xp = array_namespace(g, sigma, K)
    on_grid = options.parameter_choice == "grid"
    choose = _nearest_grid_sample if on_grid else _discrepancy_root
    # The scale makes lam a pure number. It is the reference's own where its grid is to be reproduced;
    # otherwise it follows the response, so that no unit can change the answer.
    scale = REFERENCE_SCALE if on_grid else 1.0 / xp.max(K)
    K = K * scale
    d = g / sigma
    target = K.shape[0] * options.chi_squared_target

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


def _sum_first(a, b):
    """Sum of ``a * b`` over the first axis, in a fixed order (a library's reduction promises none)."""
    total = a[0, ...] * b[0, ...]
    for i in range(1, a.shape[0]):
        total += a[i, ...] * b[i, ...]
    return total


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
    The exact discrepancy principle (Morozov 1966): lam with ``misfit(lam) = target``, to rounding.

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


def _nearest_grid_sample(s2, c, target, options):
    """
    The reference's rule: of ``n_samples`` values of lam, even in the logarithm, the one of nearest misfit.

    The upper end is max(s) where max(s)^2 would have the unit of lam, so the grid depends on the unit of the
    response (hence the fixed scale in `solve`). Should the ends be in descending order, all samples are the
    upper one.
    """
    xp = array_namespace(s2, c)
    low = xp.log(1e-4 * xp.min(xp.where(s2 > 0, s2, math.inf), axis=0))
    high = 0.5 * xp.log(xp.max(s2, axis=0))
    sample = xp.arange(options.n_samples, dtype=s2.dtype, device=device(s2))[:, None]
    lam = xp.exp(xp.minimum(low + sample * ((high - low) / (options.n_samples - 1)), high))
    distance = xp.abs(_square_sum(c[:, None, :] * (lam / (s2[:, None, :] + lam))) - target)
    nearest = xp.argmin(distance, axis=0)
    return xp.take_along_axis(lam, nearest[None, :], axis=0)[0, :]


def _self_weight(xp, dem, floor):
    """
    The weight of the second pass: the first solution, floored, smoothed over five bins, normalized.

    `floor` is the weight of the bins that the first solution leaves empty: the reference's is 1 in its own
    units; None takes a fraction of each pixel's peak, which no unit can change.
    """
    peak = xp.max(dem, axis=0)
    floor = xp.where(peak > 0, peak * FLOOR_FRACTION, 1.0) if floor is None else floor
    weight = xp.where((dem > 0) & (dem > PEAK_FRACTION * peak), dem, floor)
    m = weight.shape[0]
    # A moving mean over five bins that leaves the two end bins out, as in the reference: where the response
    # is small, the ends of the first solution are the least certain.
    rows = []
    for j in range(m):
        inner = [weight[i, :] for i in range(max(j - 2, 1), min(j + 3, m - 1))]
        rows.append(sum(inner[1:], inner[0]) / 5.0)
    smooth = xp.stack(rows) / xp.max(weight, axis=0)
    return xp.where(smooth <= WEIGHT_MINIMUM, WEIGHT_MINIMUM, smooth)


def _relaxed_parameter(xp, K, spectrum, sigma, target, choose, options):
    """
    Choose lam; with ``positivity="relax"``, raise the misfit target until no bin is negative.

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


def _has_negative_bin(xp, K, z):
    """Whether ``xi = v K^T z`` has a negative bin: v is positive, so its sign is not needed."""
    return xp.any(_project(K, z) < 0, axis=0)


def _full_widths(xp, columns, dlogt, logt):
    """
    Full width at half maximum, in dex, of each column (m, N) of the resolution matrix: (m, N).

    As in the reference, each column is sampled at 51 temperatures by linear interpolation, and the width is
    the distance from the first to the last sample of at least half the column's maximum; twice the bin's width
    where there is none. Unlike there, it is the bin's width where there is one only, not zero. The columns come
    one at a time: no m x m array is ever stored.
    """
    m = logt.shape[0]
    count = xp.arange(N_RESOLUTION_SAMPLES, dtype=logt.dtype, device=device(logt))
    samples = logt[0] + 1e-8 + (logt[m - 1] - logt[0]) * count / N_RESOLUTION_SAMPLES
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
