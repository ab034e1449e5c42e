"""
The system ``(G + lam) x = d`` of each lane, by eigenvectors, and the choice of lam.

For the symbols see `sunpy_demreg._regularization`.
"""

import math
from typing import NamedTuple

from array_api_compat import array_namespace, device

__all__ = [
    "Spectrum",
    "damping",
    "discrepancy_root",
    "dual",
    "eigensystem",
    "nearest_grid_sample",
    "project",
    "square_sum",
    "sum_first",
    "with_lanes",
]

_ILL_CONDITIONED = 1e-7  # smallest over largest s2 below which squaring A costs too many digits (AIA: 4e-6)
_MAX_NEWTON_STEPS = 200  # a guard only: ten are enough for any pixel seen


class Spectrum(NamedTuple):
    """Eigenvalues (n, N), data in the eigenbasis (n, N), eigenvectors (n, n, N) of G."""

    s2: object
    c: object
    U: object


def sum_first(a, b):
    """Sum of ``a * b`` over the first axis, in a fixed order (a library's reduction promises none)."""
    total = a[0, ...] * b[0, ...]
    for i in range(1, a.shape[0]):
        total += a[i, ...] * b[i, ...]
    return total


def square_sum(a):
    return sum_first(a, a)


def project(K, z):
    """``K^T z`` for each lane: (n, m), (n, N) -> (m, N)."""
    return sum_first(K[:, :, None], z[:, None, :])


def dual(spectrum, lam, sigma):
    """``z = U [c / (s2 + lam)] / sigma`` (n, N), from which the DEM is ``v K^T z``."""
    xp = array_namespace(lam)
    damped = spectrum.c * damping(xp, spectrum.s2, lam)
    U_by_column = xp.permute_dims(spectrum.U, (1, 0, 2))
    return sum_first(U_by_column, damped[:, None, :]) / sigma


def _gram(xp, K, v, sigma):
    """``G = A v A^T`` (n, n, N), for a weight v of each lane (m, N) or one for all (m, 1)."""
    n = K.shape[0]
    # G is symmetric: sum over the bins for the pairs i <= k only, then lay them out in full.
    pairs = [(i, k) for i in range(n) for k in range(i, n)]
    position = {pair: p for p, pair in enumerate(pairs)}
    layout = [position[min(i, k), max(i, k)] for i in range(n) for k in range(n)]
    products = xp.stack([K[i, :] * K[k, :] for i, k in pairs], axis=1)
    sums = sum_first(products[:, :, None], v[:, None, :])
    full = xp.take(sums, xp.asarray(layout, device=device(K)), axis=0)
    return xp.reshape(full, (n, n, sums.shape[1])) / (sigma[:, None, :] * sigma[None, :, :])


def eigensystem(xp, K, v, sigma, d):
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
        s2 = with_lanes(xp, s2, difficult, xp.take(s * s, rising, axis=0))
        U = with_lanes(xp, U, difficult, xp.take(xp.permute_dims(part_U, (1, 2, 0)), rising, axis=1))
    # Directions that no bin can reach: what the data hold there, no DEM can fit.
    s2 = xp.where(s2 > _rounding(xp, s2), s2, 0.0)
    return Spectrum(s2, sum_first(U, d[:, None, :]), U)


def _rounding(xp, s2):
    """The square of what rounding leaves of a singular value of zero."""
    return (s2.shape[0] * xp.finfo(s2.dtype).eps) ** 2 * xp.max(s2, axis=0)


def damping(xp, s2, lam):
    """``1 / (s2 + lam)``, but none of the directions that no bin can reach."""
    return xp.where(s2 > 0, 1.0 / xp.where(s2 > 0, s2 + lam, 1.0), 0.0)


def with_lanes(xp, array, chosen, values):
    """A copy of `array` whose chosen lanes have the given values."""
    position = xp.cumulative_sum(xp.astype(chosen, xp.int64)) - 1
    spread = xp.take(values, xp.where(chosen, position, 0), axis=values.ndim - 1)
    return xp.where(chosen, spread, array)


def discrepancy_root(s2, c, target, options):
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
    total = square_sum(c)
    solvable = total > target
    ratio = xp.sqrt(target / xp.where(solvable, total, 4.0 * target))
    steepest = square_sum(c / xp.maximum(s2, floor))
    low = xp.maximum(xp.sqrt(target / xp.where(solvable, steepest, 1.0)), floor)
    high = xp.maximum(s2_max * ratio / (1.0 - ratio), low)

    tolerance = 4 * xp.finfo(s2.dtype).eps
    lam = low
    for _ in range(_MAX_NEWTON_STEPS):
        shrink = lam / (s2 + lam)
        residual = c * shrink
        misfit = square_sum(residual)
        slope = 2.0 * sum_first(residual**2, 1.0 - shrink)  # d misfit / d log(lam)
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


def nearest_grid_sample(s2, c, target, options):
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
    distance = xp.abs(square_sum(c[:, None, :] * (lam / (s2[:, None, :] + lam))) - target)
    nearest = xp.argmin(distance, axis=0)
    return xp.take_along_axis(lam, nearest[None, :], axis=0)[0, :]
