"""Run the numerics on channel data: all pixels at once, or lazily block by block for Dask arrays."""

import os
from contextlib import nullcontext
from functools import lru_cache
from threading import BoundedSemaphore

import numpy as np
from array_api_compat import is_cupy_array

from sunpy_demreg._common.dask_arrays import as_blocks, map_pixels
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.hardware import available_cores, check_same_device
from sunpy_demreg._engines import execute
from sunpy_demreg._engines.base.locks import lock_over_forks
from sunpy_demreg._engines.base.solution import Solution
from sunpy_demreg._engines.base.status import is_unsolved
from sunpy_demreg._engines.usable import kind_of_bits
from sunpy_demreg._inversion.arguments import as_usable_weight
from sunpy_demreg._inversion.hybrid import engine_here, shared_out
from sunpy_demreg._inversion.reuse import memory_of

__all__ = ["solve_lazily", "solve_now"]

_LOCK = lock_over_forks()
_COPIES = 3  # of a Dask block: it waits to be compressed or concatenated while the next is solved
# Of a block: next to this much work, the overhead of a task, and of a call of the GPU engine, is negligible.
_MAX_PIXELS, _MAX_PIXELS_OF_GPU = 2**16, 2**20


def solve_now(pixels, problem, use, *, dtype, backend, workers, memory_limit, progress, out=None):
    """
    Solve all pixels.

    Parameters
    ----------
    pixels : `sunpy_demreg._channels.cubes.ChannelData`
    problem : `sunpy_demreg._engines.base.problem.Problem`
        The values of its weight are checked here.
    use : dict
        Which data to use: see `sunpy_demreg._engines.execute.examine`.
    dtype, backend, workers, progress
        As in `sunpy_demreg._engines.execute.run`.
    memory_limit : `int`
        Bytes.
    out : `ndcube.NDCollection`, optional
        A result whose memory is reused.

    Returns
    -------
    `sunpy_demreg._engines.base.solution.Solution`
    array of unsigned integers or None
        The channels that were left out, as bits; None where none may be.
    array of bool or None
        Which pixels a GPU solved: only of the backend "hybrid", which is for `solve_lazily`.
    """
    pixel_shape = pixels.intensity.shape[1:]
    if out is not None:
        shapes = {name: (*shape, *pixel_shape) for name, shape in problem.output_shapes.items()}
        out = memory_of(out, shapes | {"status": pixel_shape}, dtype, on_device=is_cupy_array(pixels.intensity))
    n_bytes = int(np.prod(pixel_shape)) * _bytes_per_pixel(problem, dtype)
    if out is not None:  # already allocated
        n_bytes -= sum(a.nbytes for a in out if a is not None)
    if n_bytes > memory_limit and not is_cupy_array(pixels.intensity):
        raise wrong(
            MemoryError,
            "memory_limit",
            f"is {memory_limit / 1e9:.3g} GB but the result takes {n_bytes / 1e9:.3g} GB: ask for fewer "
            "`outputs`, pass dtype='float32', slice `data`, or use Dask arrays (`dask.array`) and write the "
            "result to a file",
        )
    if problem.has_weight_of_pixels:
        check_same_device(data=pixels.intensity, weighting=problem.weight)
    solution, omitted = _solve(
        *pixels[:4],
        problem.weight,
        problem,
        use,
        dtype=dtype,
        backend=backend,
        workers=workers,
        memory_budget=max(memory_limit - n_bytes, 0),
        progress=progress,
        out=out,
    )
    return solution, omitted, None


def solve_lazily(pixels, problem, use, *, dtype, backend, workers, memory_limit):
    """
    Prepare to solve the pixels block by block: as `solve_now`, but the arrays of the solution are Dask's.

    Each block is solved once, on one thread of the scheduler, for all outputs.
    """
    pixel_shape = pixels.intensity.shape[1:]
    of_pixels = problem.weight if problem.has_weight_of_pixels else None
    share = memory_limit // (workers or available_cores())  # of a thread
    n_bytes = _COPIES * _bytes_per_pixel(problem, dtype)
    arrays = [pixels.intensity, pixels.uncertainty, pixels.mask, pixels.saturated, of_pixels]
    small, large = (max(min(share // n_bytes, most), 1) for most in (_MAX_PIXELS, _MAX_PIXELS_OF_GPU))
    bits = ((), np.dtype(kind_of_bits(len(problem.K)))) if use["most_missing"] is not None else None
    is_hybrid = backend == "hybrid"

    def solve(arrays, is_large):
        return map_pixels(
            _solve_block,
            [*problem.output_kinds(dtype), bits, ((), np.dtype(bool)) if is_hybrid else None],
            as_blocks(arrays, "data", large if is_large else small),
            len(pixel_shape),
            problem=problem if of_pixels is None else problem._replace(weight=None),
            use=use,
            workers=workers,
            backend=backend,
            more={"dtype": dtype, "memory_budget": share // 4},
        )

    *answers, omitted, on_gpu = shared_out(solve, arrays, large) if is_hybrid else solve(arrays, backend == "cupy")
    return Solution(*answers), omitted, on_gpu


def _solve_block(intensity, uncertainty, mask, saturated, of_pixels, *, problem, use, workers, backend, more):
    weight = problem.weight if of_pixels is None else of_pixels
    given, more = (intensity, uncertainty, mask, saturated, weight, problem, use), more | {"workers": 1}
    is_hybrid = backend == "hybrid"
    backend = engine_here() if is_hybrid else backend
    with _turn(workers) if workers else nullcontext():
        solution, omitted = _solve(*given, backend=backend, **more)
    return *solution, omitted, np.full(solution.status.shape, backend == "cupy") if is_hybrid else None


def _solve(intensity, uncertainty, mask, saturated, weight, problem, use, **more):
    status, omitted = execute.examine(intensity, uncertainty, mask, saturated, **use)
    problem = problem._replace(weight=as_usable_weight(weight, status))
    solution = execute.run(intensity, uncertainty, status, problem, omitted=omitted, saturated=saturated, **more)
    if omitted is None and use["most_missing"] is not None:  # of no pixel
        omitted = np.zeros(status.shape, kind_of_bits(len(intensity)), like=status)
    elif omitted is not None:
        omitted[is_unsolved(solution.status)] = 0
    return solution, omitted


def _turn(workers):
    """A semaphore that limits how many threads of this process solve at once."""
    with _LOCK:
        return _semaphore(workers)


_semaphore = lru_cache(BoundedSemaphore)
if hasattr(os, "register_at_fork"):  # the threads that hold the semaphore do not exist in the child
    os.register_at_fork(after_in_child=_semaphore.cache_clear)


def _bytes_per_pixel(problem, dtype):
    """Bytes per pixel of the result with its masks and of working copies of the data."""
    n = len(problem.K)
    values = sum(int(np.prod(shape)) for shape in problem.output_shapes.values())
    kept = 2 * 8 * n if "intensity" in problem.options.outputs else 0
    return values * (np.dtype(dtype).itemsize + 1) + 2 * 4 + 3 * 8 * n + kept
