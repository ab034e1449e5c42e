"""How the pixels are worked through: which can be solved, on which engine, in blocks on threads, with progress."""

import os
from concurrent.futures import ThreadPoolExecutor, as_completed

import numpy as np

from sunpy_demreg._regularization import Solution, solve
from sunpy_demreg._status import Status

__all__ = ["BACKENDS", "available_cores", "classify", "run"]

BACKENDS = ("cpu", "numpy")
_MEMORY_BUDGET = 36 * 2**20  # bytes of working arrays on NumPy, of all threads
_MAX_BLOCK = 8192  # of lanes: fewer pay more for the calls, and more are not faster
_NUMPY_THREADS = 1  # measured: more wait for each other more than they work side by side
_MAX_COMPILED_CHANNELS = 12  # all loops over channels are unrolled: more of them take minutes to compile
_CPU_BLOCK = 2048  # a few milliseconds: fine enough to share the work out evenly, and to stop at once


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


def run(
    intensity,
    uncertainty,
    status,
    K,
    dlogt,
    logt,
    options,
    *,
    weight=None,
    functional=None,
    dtype="float64",
    backend="cpu",
    workers=None,
    progress=False,
    memory_budget=None,
    keep_no_signal=False,
):
    """
    Solve the pixels whose status is zero; the others get NaN and keep their status.

    Parameters
    ----------
    intensity, uncertainty : array, (n, ...)
    status : array of int32, (...)
        From `classify`.
    K, dlogt, logt, options
        As in `sunpy_demreg._regularization.solve`.
    weight : array, (m, ...) or (m,), optional
        The caller's, of each pixel or one for all, with the weighting "given".
    functional : array, (q, m), optional
        As in `sunpy_demreg._regularization.solve`.
    dtype : {"float64", "float32"}
        Of the outputs; all arithmetic is in float64.
    backend : {"cpu", "numpy"}
    workers : int, optional
        Threads; by default as many as the process may use.
    progress : bool
        Show a progress bar.
    memory_budget : int, optional
        Bytes that the working arrays of all threads may take, with "numpy".
    keep_no_signal : bool
        Whether pixels with ``NO_SIGNAL`` keep the answer that a rule which always has one ("grid") gave.

    Returns
    -------
    Solution
        With the pixel axes of `intensity` behind the channel or temperature axis.
    """
    n, m = K.shape
    pixel_shape, n_pixels = intensity.shape[1:], status.size
    # Contiguous: the compiled engine reads memory, not arrays.
    intensity, uncertainty = (np.ascontiguousarray(a.reshape(n, -1), dtype=float) for a in (intensity, uncertainty))
    status = status.reshape(-1)
    if weight is not None:
        weight = np.asarray(weight, dtype=float).reshape((m, -1) if np.ndim(weight) > 1 else (m,))
    n_functionals = 0 if functional is None else len(functional)
    shapes = Solution.shapes(n, m, n_functionals)
    outputs = {name: np.empty((*shapes[name], n_pixels), dtype) if name in options.outputs else None for name in shapes}
    flat = Solution(**outputs, status=np.empty(n_pixels, np.int32))
    problem = K, dlogt, logt, options, weight, functional
    solver, size, workers = _solver(backend, problem, dtype, workers, memory_budget)
    final_status = status.copy()
    withheld = int(Status.UNSOLVED & ~Status.NO_SIGNAL if keep_no_signal else Status.UNSOLVED)

    def work(start):
        block = slice(start, min(start + size, n_pixels))
        bad = status[block] != 0
        if not bad.all():
            solver(intensity, uncertainty, status, flat, block.start, block.stop)
            final_status[block] |= np.where(bad, 0, flat.status[block])
        unsolved = (final_status[block] & withheld) != 0
        if unsolved.any():
            # Remarks on a solution that is not given would only confuse.
            final_status[block][unsolved] &= int(Status.UNSOLVED)
            for output in flat[:-1]:
                if output is not None:
                    output[..., block][..., unsolved] = np.nan
        return block.stop - block.start

    _for_each(work, range(0, n_pixels, size), workers, n_pixels if progress else None)
    flat = flat._replace(status=final_status)
    return Solution(*(None if a is None else a.reshape(*a.shape[:-1], *pixel_shape) for a in flat))


def _solver(backend, problem, dtype, workers, memory_budget):
    """A function that solves a range of pixels, how many it should get at a time, and on how many threads."""
    K, dlogt, logt, options, weight, functional = problem
    n, m = K.shape
    # A matrix of more channels than bins is singular: that needs the care of the plain arrays.
    if backend == "cpu" and n <= min(m, _MAX_COMPILED_CHANNELS):
        try:
            from sunpy_demreg._engines.cpu import Solver
        except ImportError as err:
            raise ImportError("backend='cpu' needs llvmlite: install it, or pass backend='numpy'") from err
        return Solver(*problem, dtype), _CPU_BLOCK, workers or available_cores()

    def solve_block(intensity, uncertainty, status, into, start, stop):
        block = slice(start, stop)
        bad = status[block] != 0
        # A bad pixel keeps its lane, as data of zero with an error of one: the others stay where they are.
        solution = solve(
            np.where(bad, 0.0, intensity[:, block]),
            np.where(bad, 1.0, uncertainty[:, block]),
            K,
            dlogt,
            logt,
            options,
            weight[:, block] if weight is not None and weight.ndim > 1 else weight,
            functional,
        )
        for whole, part in zip(into, solution, strict=True):
            if whole is not None:
                whole[..., block] = part

    # Measured, rounded up.
    values_per_pixel = 8 * m + 3 * n * n + 10 * n + 60
    values_per_pixel += 3 * m * m * len({"covariance", "resolution_matrix"}.intersection(options.outputs))
    budget = _MEMORY_BUDGET if memory_budget is None else min(memory_budget, _MEMORY_BUDGET)
    workers = workers or _NUMPY_THREADS
    return solve_block, int(min(max(budget // (8 * workers * values_per_pixel), 1), _MAX_BLOCK)), workers


def _for_each(work, starts, workers, n_pixels):
    """Run ``work(start)`` for each start on threads; an error or Ctrl-C stops after the blocks in hand."""
    if len(starts) == 1 and n_pixels is None:  # threads cost more than a pixel
        work(starts[0])
        return
    pool = ThreadPoolExecutor(workers)
    try:
        done = as_completed([pool.submit(work, start) for start in starts])
        if n_pixels is None:
            for future in done:
                future.result()
        else:
            from tqdm.auto import tqdm

            with tqdm(total=n_pixels, desc="DEM inversion", unit="px", unit_scale=True) as bar:
                for future in done:
                    bar.update(future.result())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def available_cores():
    """Of the process, where the system tells it: a batch system may have given it fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
