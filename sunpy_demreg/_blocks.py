"""From channel data to the numerics and back: all pixels now, or each block of Dask arrays when asked for."""

from contextlib import nullcontext
from functools import lru_cache
from threading import BoundedSemaphore

import numpy as np
from array_api_compat import is_cupy_array

from sunpy_demreg import _execute
from sunpy_demreg._arguments import checked_numbers, checked_weight
from sunpy_demreg._lazy import as_blocks, map_pixels
from sunpy_demreg._regularization import Solution

__all__ = ["solve_lazily", "solve_now"]

_COPIES = 3  # of a block of Dask arrays: it waits, and is compressed or put together, while the next is solved
_MAX_PIXELS = 2**16  # of a block: a third of a second of work, before which the cost of a task is nothing


def solve_now(
    pixels, K, dlogt, logt, options, *, weighting, functional, dtype, backend, workers, memory_limit, progress
):
    """
    Solve all pixels.

    Parameters
    ----------
    pixels : `sunpy_demreg._channels.ChannelData`
    K, dlogt, logt, options, functional, dtype, backend, workers, progress
        As in `sunpy_demreg._execute.run`.
    weighting : `str` or array
    memory_limit : `int`
        Bytes.

    Returns
    -------
    `sunpy_demreg._regularization.Solution`
    """
    pixel_shape = pixels.intensity.shape[1:]
    n_bytes = int(np.prod(pixel_shape)) * _bytes_per_pixel(K, options, functional, dtype)
    if n_bytes > memory_limit and not is_cupy_array(pixels.intensity):
        raise MemoryError(
            f"`memory_limit` is {memory_limit / 1e9:.3g} GB but the result takes {n_bytes / 1e9:.3g} GB: ask for fewer "
            "`outputs`, pass dtype='float32', slice `data`, or make its arrays Dask's (`dask.array`) and write the "
            "result to a file"
        )
    weight = checked_weight(weighting, dlogt.size, pixel_shape)
    if weight is not None and weight.ndim > 1:
        _execute.check_home(data=pixels.intensity, weighting=weight)
    status = _execute.classify(pixels.intensity, pixels.uncertainty, pixels.mask, pixels.saturated)
    return _execute.run(
        pixels.intensity,
        pixels.uncertainty,
        status,
        K,
        dlogt,
        logt,
        options,
        weight=checked_numbers(weight, status),
        functional=functional,
        dtype=dtype,
        backend=backend,
        workers=workers,
        memory_budget=max(memory_limit - n_bytes, 0),
        progress=progress,
    )


def solve_lazily(pixels, K, dlogt, logt, options, *, weighting, functional, dtype, backend, workers, memory_limit):
    """
    Prepare to solve the pixels block by block: as `solve_now`, but the arrays of the solution are Dask's.

    A block is solved on one thread, whichever the scheduler gives it, once for all outputs.
    """
    pixel_shape = pixels.intensity.shape[1:]
    weight = checked_weight(weighting, dlogt.size, pixel_shape)
    of_pixels = weight if weight is not None and weight.ndim > 1 else None
    share = memory_limit // (workers or _execute.available_cores())  # of a thread
    n_bytes = _COPIES * _bytes_per_pixel(K, options, functional, dtype)
    arrays = [pixels.intensity, pixels.uncertainty, pixels.mask, pixels.saturated, of_pixels]
    blocks = as_blocks(arrays, "data", max(min(share // n_bytes, _MAX_PIXELS), 1))
    shapes = Solution.shapes(*K.shape, 0 if functional is None else len(functional))
    outputs = [(shape, np.dtype(dtype)) if name in options.outputs else None for name, shape in shapes.items()]
    answers = map_pixels(
        _solve_block,
        [*outputs, ((), np.dtype(np.int32))],
        blocks,
        len(pixel_shape),
        problem=(K, dlogt, logt, options),
        weight=None if of_pixels is not None else weight,
        workers=workers,
        more={"functional": functional, "dtype": dtype, "backend": backend, "memory_budget": share // 4},
    )
    return Solution(*answers)


def _solve_block(intensity, uncertainty, mask, saturated, of_pixels, *, problem, weight, workers, more):
    status = _execute.classify(intensity, uncertainty, mask, saturated)
    weight = checked_numbers(weight if of_pixels is None else of_pixels, status)
    with _turn(workers) if workers else nullcontext():
        return _execute.run(intensity, uncertainty, status, *problem, weight=weight, workers=1, **more)


@lru_cache
def _turn(workers):
    """What lets so many threads of this process through at once."""
    return BoundedSemaphore(workers)


def _bytes_per_pixel(K, options, functional, dtype):
    """Of a result with its masks, and of what is made of the data on the way to it."""
    shapes = Solution.shapes(*K.shape, 0 if functional is None else len(functional))
    values = sum(int(np.prod(shapes[name])) for name in options.outputs if name in shapes)
    kept = 2 * 8 * len(K) if "intensity" in options.outputs else 0
    return values * (np.dtype(dtype).itemsize + 1) + 2 * 4 + 3 * 8 * len(K) + kept
