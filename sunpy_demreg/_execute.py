"""How the pixels are worked through: which can be solved, in batches that fit a memory budget, with progress."""

import numpy as np

from sunpy_demreg._regularization import Solution, solve
from sunpy_demreg._status import Status

__all__ = ["classify", "run"]

_MEMORY_BUDGET = 32 * 2**20  # bytes of working arrays per batch; more than the cache holds is only slower
_MAX_BATCH = 1024  # measured: more lanes fall out of the cache, fewer pay for the calls


def classify(intensity, uncertainty, mask=None, saturated=None):
    """
    Tell the pixels that cannot be solved, and why.

    Parameters
    ----------
    intensity, uncertainty : array, (n, ...)
        Channels first.
    mask, saturated : array of bool, (n, ...), optional
        Values not to be used, and those of them that are saturated.

    Returns
    -------
    array of int32, (...)
        Bits of `Status`; zero where the pixel can be solved.
    """
    with np.errstate(invalid="ignore"):
        not_finite = ~np.isfinite(intensity)
        causes = {
            Status.NOT_FINITE: not_finite,
            Status.BAD_UNCERTAINTY: ~(np.isfinite(uncertainty) & (uncertainty > 0)) & ~not_finite,
            Status.NOT_POSITIVE: (intensity <= 0) & np.isfinite(intensity),
        }
    if mask is not None:
        saturated = np.zeros(mask.shape, dtype=bool) if saturated is None else saturated & mask
        # Of a value that is not finite, nothing else needs to be said.
        causes[Status.SATURATED] = saturated & ~not_finite
        causes[Status.MASKED] = mask & ~saturated & ~not_finite
    status = np.zeros(intensity.shape[1:], dtype=np.int32)
    for bit, found in causes.items():
        status |= np.where(found.any(axis=0), np.int32(bit), np.int32(0))
    return status


def run(intensity, uncertainty, status, K, dlogt, logt, options, *, progress=False, memory_budget=None):
    """
    Solve the pixels whose status is zero; the others get NaN and keep their status.

    Parameters
    ----------
    intensity, uncertainty : array, (n, ...)
    status : array of int32, (...)
        From `classify`.
    K, dlogt, logt, options
        As in `sunpy_demreg._regularization.solve`.
    progress : bool
        Show a progress bar.
    memory_budget : int, optional
        Bytes that the working arrays of one batch may take.

    Returns
    -------
    Solution
        With the pixel axes of `intensity` behind the channel or temperature axis.
    """
    n, m = K.shape
    pixel_shape = intensity.shape[1:]
    n_pixels = status.size
    intensity, uncertainty = intensity.reshape(n, -1), uncertainty.reshape(n, -1)
    status = status.reshape(-1)
    flat = Solution(
        dem=np.full((m, n_pixels), np.nan),
        dem_uncertainty=np.full((m, n_pixels), np.nan),
        temperature_resolution=np.full((m, n_pixels), np.nan),
        chi_squared=np.full(n_pixels, np.nan),
        predicted_intensity=np.full((n, n_pixels), np.nan),
        regularization_parameter=np.full(n_pixels, np.nan),
        status=status.copy(),
    )
    size = _batch_size(n, m, options, memory_budget)
    starts = range(0, n_pixels, size)
    if progress:
        from tqdm.auto import tqdm

        starts = tqdm(starts, desc="DEM inversion", unit="batch")
    for start in starts:
        lanes = slice(start, start + size)
        bad = status[lanes] != 0
        if bad.all():
            continue
        # A bad pixel keeps its lane, as data of zero with an error of one: so the others stay where they are.
        with np.errstate(all="ignore"):  # of data of extreme size, which come back as failed
            solution = solve(
                np.where(bad, 0.0, intensity[:, lanes]),
                np.where(bad, 1.0, uncertainty[:, lanes]),
                K,
                dlogt,
                logt,
                options,
            )
        flat.status[lanes] |= np.where(bad, 0, solution.status)
        unsolved = (flat.status[lanes] & int(Status.UNSOLVED)) != 0
        for whole, part in zip(flat[:-1], solution[:-1], strict=True):
            whole[..., lanes] = np.where(unsolved, np.nan, part)
    return Solution(*(array.reshape(*array.shape[:-1], *pixel_shape) for array in flat))


def _batch_size(n, m, options, memory_budget):
    """Pixels per batch: from the largest arrays alive at one time in `solve`."""
    values_per_pixel = 3 * n * m + 3 * n * n + 16 * m + 200
    if options.parameter_choice == "grid":
        values_per_pixel += 3 * options.n_samples * n
    budget = _MEMORY_BUDGET if memory_budget is None else memory_budget
    return int(min(max(budget // (8 * values_per_pixel), 1), _MAX_BATCH))
