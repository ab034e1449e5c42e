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

from sunpy_demreg._positivity import constrained, relaxed_parameter
from sunpy_demreg._spectrum import (
    damping,
    discrepancy_root,
    dual,
    eigensystem,
    nearest_grid_sample,
    project,
    square_sum,
    sum_first,
)
from sunpy_demreg._status import Status

__all__ = ["Options", "Solution", "solve"]

REFERENCE_SCALE = 1e15  # the reference multiplies the response by this; its grid of lam depends on it
PEAK_FRACTION = 1e-4  # bins of the first solution below this fraction of its peak carry no information
FLOOR_FRACTION = 1e-6  # ... and get this fraction of the peak as their weight
WEIGHT_MINIMUM = 1e-8  # of the smoothed weight
N_RESOLUTION_SAMPLES = 51  # temperatures at which the width of the resolution kernel is measured
_LOST = 1e-3  # relative difference of two ways to the misfit, beyond which the arithmetic has failed


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
    choose = nearest_grid_sample if on_grid else discrepancy_root
    # The scale makes lam a pure number. It is the reference's own where its grid is to be reproduced;
    # otherwise it follows the response, so that no unit can change the answer.
    scale = REFERENCE_SCALE if on_grid else 1.0 / xp.max(K)
    K = K * scale
    d = g / sigma
    target = K.shape[0] * options.chi_squared_target

    v = dlogt[:, None]
    spectrum = eigensystem(xp, K, v, sigma, d)
    first = v * project(K, dual(spectrum, choose(spectrum.s2, spectrum.c, target, options), sigma))
    v = _self_weight(xp, first, floor=1.0 if on_grid else None) / dlogt[:, None]

    spectrum = eigensystem(xp, K, v, sigma, d)
    relaxed_target = xp.full(d.shape[1:], target, dtype=d.dtype, device=device(d))
    if options.positivity == "relax":
        lam, relaxed_target = relaxed_parameter(xp, K, spectrum, sigma, target, choose, options)
    else:
        if options.positivity == "constrain":
            is_active, relaxed_target = constrained(xp, K, v, sigma, d, spectrum, target, options)
            # Without the bins that are zero, it is a problem without a constraint.
            v = xp.where(is_active, v, 0.0)
            spectrum = eigensystem(xp, K, v, sigma, d)
        lam = choose(spectrum.s2, spectrum.c, relaxed_target, options)
    dem = xp.where(v > 0, v * project(K, dual(spectrum, lam, sigma)), 0.0)
    predicted = sum_first(xp.permute_dims(K, (1, 0))[:, :, None], dem[:, None, :])
    chi_squared = square_sum((g - predicted) / sigma) / K.shape[0]
    projected = sum_first((spectrum.U / sigma[:, None, :])[:, :, None, :], K[:, None, :, None])  # U^T A, (n, m, N)
    dem_uncertainty = v * xp.sqrt(square_sum(projected * damping(xp, spectrum.s2, lam)[:, None, :]))
    columns = (
        # Column k of the resolution matrix is the DEM that the data of a unit DEM in bin k alone give.
        v * project(K, dual(spectrum._replace(c=projected[:, k, :]), lam, sigma))
        for k in range(K.shape[1])
    )
    resolution = _full_widths(xp, columns, dlogt, logt)

    sums = [xp.sum(output, axis=0) for output in (dem, dem_uncertainty, resolution, predicted)]
    is_finite = xp.isfinite(sums[0] + sums[1] + sums[2] + sums[3] + chi_squared + lam)
    # The misfit that lam was chosen for, and that of the DEM: they part where an uncertainty is so much smaller
    # than the others that the digits of the DEM do not suffice.
    misfit = square_sum(spectrum.c * (lam / (spectrum.s2 + lam)))
    is_lost = xp.abs(chi_squared * K.shape[0] - misfit) > _LOST * misfit
    is_exact = options.parameter_choice == "discrepancy"
    status = xp.zeros(lam.shape, dtype=xp.int32, device=device(lam))
    for bit, is_set in (
        (Status.FAILED, ~is_finite | is_lost),
        (Status.NO_SIGNAL, square_sum(d) <= target),
        (Status.RELAXED, relaxed_target > target),
        (Status.NEGATIVE_DEM, xp.any(dem < 0, axis=0)),
        # The samples of the grid rarely meet the target: there the bit would say nothing.
        (Status.TARGET_NOT_REACHED, (misfit > relaxed_target * (1 + 1e-6)) & is_exact),
    ):
        status = status + int(bit) * xp.astype(is_set, xp.int32)
    return Solution(dem * scale, dem_uncertainty * scale, resolution, chi_squared, predicted, lam, status)


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
