"""
Positivity of the DEM: by relaxing the fit, or as a constraint.

For the symbols see `sunpy_demreg._regularization`.
"""

from array_api_compat import device

from sunpy_demreg._spectrum import (
    Spectrum,
    discrepancy_root,
    dual,
    eigensystem,
    project,
    square_sum,
    sum_first,
    with_lanes,
)

__all__ = ["constrained", "relaxed_parameter"]

_MAX_STEPS = 20  # a guard only: real AIA pixels take five at most
_LEAST_LAM = 1e-10  # of the largest s2, on the way: the misfit of a few bins alone may not reach the target


def relaxed_parameter(xp, K, spectrum, sigma, target, choose, options):
    """
    Choose lam, raising the misfit target until no bin is negative.

    Returns lam (N,) and the target (N,) that it was chosen for.
    """
    lam = choose(spectrum.s2, spectrum.c, target, options)
    targets = xp.full(lam.shape, target, dtype=lam.dtype, device=device(lam))
    negative = _has_negative_bin(xp, K, dual(spectrum, lam, sigma))
    for _ in range(options.max_iterations - 1):
        before, target = target, target * options.target_growth
        # The grid, as the reference, ends at a target that no plasma at all would meet too; the exact choice before.
        negative = negative & (square_sum(spectrum.c) > (before if options.parameter_choice == "grid" else target))
        if not xp.any(negative):
            break
        lanes = xp.nonzero(negative)[0]
        part = Spectrum(*(xp.take(array, lanes, axis=array.ndim - 1) for array in spectrum))
        part_lam = choose(part.s2, part.c, target, options)
        still = _has_negative_bin(xp, K, dual(part, part_lam, xp.take(sigma, lanes, axis=1)))
        lam[negative] = part_lam
        targets[negative] = xp.full(part_lam.shape, target, dtype=lam.dtype, device=device(lam))
        negative[negative] = still
    return lam, targets


def _has_negative_bin(xp, K, z):
    """Whether ``xi = v K^T z`` has a negative bin: v is positive, so its sign is not needed."""
    return xp.any(project(K, z) < 0, axis=0)


def constrained(xp, K, v, sigma, d, spectrum, target, options):
    """
    The bins that are not zero in the DEM ``xi >= 0`` that fits to the target.

    Where no DEM >= 0 does, the target is raised as by "relax", but until one does: after ``max_iterations`` by
    factors of at least two.

    Returns
    -------
    array of bool, (m, N), and array, (N,)
        The mask of the bins, and the target of each lane.
    """
    targets = xp.full(d.shape[1:], target, dtype=d.dtype, device=device(d))
    v = xp.broadcast_to(v, (K.shape[1], d.shape[1]))
    x = _full_dual(xp, spectrum, discrepancy_root(spectrum.s2, spectrum.c, target, options))
    signal = square_sum(d)
    pending = signal > target
    n_raised = 0
    while xp.any(pending):
        lanes = xp.nonzero(pending)[0]
        parts = (xp.take(array, lanes, axis=array.ndim - 1) for array in (v, sigma, d, targets, x))
        part, arrived = _minimize_dual(xp, K, *parts)
        x = with_lanes(xp, x, pending, part)
        pending[pending] = ~arrived
        n_raised += 1
        growth = options.target_growth if n_raised < options.max_iterations else max(2.0, options.target_growth)
        # It ends at the latest hardly below the misfit of no plasma at all, to which any weak DEM fits.
        pending = pending & (targets < 0.999 * signal)
        targets = xp.where(pending, xp.minimum(targets * growth, 0.999 * signal), targets)
    return project(K, x / sigma) > 0, targets


def _minimize_dual(xp, K, v, sigma, d, target, x):
    """
    Find the dual variable ``x = (d - A xi) / lam`` of the smoothest ``xi = v (A^T x)_+`` with the misfit `target`.

    Of all ``xi >= 0`` with that misfit, the one of least ``|L xi|`` minimizes the convex function

        psi(x) = 1/2 sum v (A^T x)_+^2 - d . x + sqrt(target) |x|

    in no more unknowns than there are channels. On the bins where ``A^T x > 0``, psi is that of the problem without
    a constraint, whose minimum is known: so step there, or less far while psi does not fall, until the bins no
    longer change. Then the answer is exact, lam included.

    Returns
    -------
    array, (n, N), and array of bool, (N,)
        x, and the lanes that have arrived. (The others have no DEM >= 0 that fits.)
    """
    pending = target > 0
    for _ in range(_MAX_STEPS):
        if not xp.any(pending):
            break
        lanes = xp.nonzero(pending)[0]
        v_, sigma_, d_, target_, x_ = (xp.take(a, lanes, axis=a.ndim - 1) for a in (v, sigma, d, target, x))
        is_active = project(K, x_ / sigma_) > 0
        system = eigensystem(xp, K, xp.where(is_active, v_, 0.0), sigma_, d_)
        lam = discrepancy_root(system.s2, system.c, target_, None)
        least = _LEAST_LAM * xp.max(system.s2, axis=0)
        goal = _full_dual(xp, system, xp.maximum(lam, least))
        arrived = xp.all((project(K, goal / sigma_) > 0) == is_active, axis=0) & (lam > least)

        def psi(x, v=v_, sigma=sigma_, d=d_, target=target_):
            positive = project(K, x / sigma)
            positive = xp.where(positive > 0, positive, 0.0)
            return 0.5 * sum_first(v, positive**2) - sum_first(d, x) + xp.sqrt(target * square_sum(x))

        fraction, start = xp.ones_like(lam), psi(x_)
        for _ in range(_MAX_STEPS):
            too_far = ~arrived & (psi(x_ + fraction * (goal - x_)) > start)
            if not xp.any(too_far):
                break
            fraction = xp.where(too_far, 0.5 * fraction, fraction)
        x = with_lanes(xp, x, pending, x_ + fraction * (goal - x_))
        pending[pending] = ~arrived
    return x, ~pending


def _full_dual(xp, spectrum, lam):
    """``(G + lam)^-1 d``, with the directions that no bin can reach."""
    damped = spectrum.c / (spectrum.s2 + lam)
    return sum_first(xp.permute_dims(spectrum.U, (1, 0, 2)), damped[:, None, :])
