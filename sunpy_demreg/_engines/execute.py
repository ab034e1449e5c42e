"""How the pixels are worked through: which can be solved, on which engine, in blocks on threads, with progress."""

from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing, nullcontext

import numpy as np
from array_api_compat import is_cupy_array

from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.hardware import available_cores, check_same_device
from sunpy_demreg._engines.arrays.engine import solve
from sunpy_demreg._engines.base.locks import lock_over_forks
from sunpy_demreg._engines.base.precision import withhold_unfit
from sunpy_demreg._engines.base.solution import Solution
from sunpy_demreg._engines.base.status import Status
from sunpy_demreg._engines.base.warn_once import warn_once

__all__ = ["BACKENDS", "classify", "run"]

BACKENDS = ("cpu", "numpy", "cupy")
_MEMORY_BUDGET = 36 * 2**20  # bytes of working arrays on NumPy, of all threads
_MAX_BLOCK = 8192  # of lanes: fewer pay more for the calls, and more are not faster
_NUMPY_THREADS = 1  # measured: more wait for each other more than they work side by side
_MAX_COMPILED_CHANNELS = 12  # all loops over channels are unrolled: more of them take minutes to compile
_UNSOLVED, _UNSOLVED_ALWAYS = int(Status.UNSOLVED), int(Status.UNSOLVED & ~Status.NO_SIGNAL)
_CPU_BLOCK = 8192  # ten milliseconds for the outputs that are standard: it can be stopped at once
_LEAST_BLOCK = 1024  # pixels; what is less costs more than it shares out
# Threads that need the same code wait for the one that compiles it.
_PREPARING = lock_over_forks()


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
        good = (intensity > 0) & (intensity < np.inf) & (uncertainty > 0) & (uncertainty < np.inf)
    if mask is not None:
        good &= ~mask
    bad = ~good.all(axis=0)
    status = np.zeros(intensity.shape[1:], dtype=np.int32, like=intensity)
    if bad.any():  # why is asked of those only: most are good
        status[bad] = _causes(*(None if a is None else a[:, bad] for a in (intensity, uncertainty, mask, saturated)))
    return status


def _causes(intensity, uncertainty, mask, saturated):
    with np.errstate(invalid="ignore"):
        not_finite = ~np.isfinite(intensity)
        causes = {
            Status.NOT_FINITE: not_finite,
            Status.BAD_UNCERTAINTY: ~(np.isfinite(uncertainty) & (uncertainty > 0)) & ~not_finite,
            Status.NOT_POSITIVE: (intensity <= 0) & ~not_finite,
        }
    if mask is not None:
        saturated = np.zeros_like(mask) if saturated is None else saturated & mask
        # Of a value that is not finite, nothing else needs to be said.
        causes[Status.SATURATED] = saturated & ~not_finite
        causes[Status.MASKED] = mask & ~saturated & ~not_finite
    return sum(int(bit) * found.any(axis=0).astype(np.int32) for bit, found in causes.items())


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
    out=None,
):
    """
    Solve the pixels whose status is zero; the others get NaN and keep their status.

    Parameters
    ----------
    intensity, uncertainty : array, (n, ...)
    status : array of int32, (...)
        From `classify`.
    K, dlogt, logt, options
        As in `sunpy_demreg._engines.arrays.engine.solve`.
    weight : array, (m, ...) or (m,), optional
        The caller's, of each pixel or one for all, with the weighting "given".
    functional : array, (q, m), optional
        As in `sunpy_demreg._engines.arrays.engine.solve`.
    dtype : {"float64", "float32"}
        Of the outputs; all arithmetic is in float64.
    backend : {"cpu", "numpy", "cupy"}
        With "cupy" the arrays (but for K, dlogt and logt) may be CuPy's, and then those of the solution are too.
    workers : int, optional
        Threads; by default as many as the process may use.
    progress : bool
        Show a progress bar.
    memory_budget : int, optional
        Bytes that the working arrays of all threads may take, with "numpy".
    keep_no_signal : bool
        Whether pixels with ``NO_SIGNAL`` keep the answer that a rule which always has one ("grid") gave.
    out : Solution, optional
        An earlier answer of the same kind, whose arrays get the new one. Memory that was used before is faster.

    Returns
    -------
    Solution
        With the pixel axes of `intensity` behind the channel or temperature axis.
    """
    of_pixels = weight if weight is not None and weight.ndim > 1 else None
    check_same_device(data=intensity, uncertainty=uncertainty, status=status, weighting=of_pixels)
    if is_cupy_array(intensity) and backend != "cupy":
        raise wrong(
            TypeError,
            "backend",
            f"{backend!r} takes arrays of NumPy, but those of the data are CuPy's: leave `backend` out, or "
            "move them to the host with `.get()`",
        )
    # Lanes that are done are computed on beside the others; those of extreme size come back flagged.
    with np.errstate(all="ignore"), intensity.device if is_cupy_array(intensity) else nullcontext():
        return _run(
            intensity,
            uncertainty,
            status,
            (K, dlogt, logt, options, weight, functional),
            dtype,
            backend,
            workers,
            progress,
            memory_budget,
            _UNSOLVED_ALWAYS if keep_no_signal else _UNSOLVED,
            out,
        )


def _run(intensity, uncertainty, status, problem, dtype, backend, workers, progress, memory_budget, withheld, out):
    K, *rest, weight, functional = problem
    n, m = K.shape
    pixel_shape, n_pixels = intensity.shape[1:], status.size
    # Contiguous: the compiled engines read memory, not arrays.
    intensity, uncertainty = (_contiguous(a.reshape(n, n_pixels), float) for a in (intensity, uncertainty))
    status = _contiguous(status.reshape(-1), np.int32)
    if weight is not None and weight.ndim > 1:
        weight = _contiguous(weight.reshape(m, n_pixels), float)
    problem = K, *rest, weight, functional
    if out is None:
        flat = _empty_solution(intensity, problem, dtype)
    else:  # contiguous, so that these are views
        flat = Solution(*(None if a is None else a.reshape(*a.shape[: a.ndim - len(pixel_shape)], -1) for a in out))

    def work(block):
        if status[block].all():
            flat.status[block] = withheld
        else:
            with np.errstate(all="ignore"):  # which each thread has its own of
                solve_range(block.start, block.stop)
        unsolved = (flat.status[block] & withheld) != 0
        if unsolved.any():
            for output in flat[:-1]:
                if output is not None:
                    output[..., block][..., unsolved] = np.nan
        if dtype == "float32":
            withhold_unfit(flat, block)
        return settle(block)

    def settle(block):
        """Bad pixels keep their status; and remarks on a solution that is not given would only confuse."""
        mine, given = flat.status[block], status[block]
        np.copyto(mine, given, where=given != 0)
        unsolved = (mine & withheld) != 0
        if unsolved.any():
            np.copyto(mine, mine & _UNSOLVED, where=unsolved)
        return block

    if backend == "cupy":
        done = _on_gpu(intensity, uncertainty, status, problem, dtype, withheld, flat, workers, settle)
    else:
        arrays = intensity, uncertainty, status, flat
        solve_range, size, workers = _solver(arrays, problem, dtype, backend, workers, memory_budget)
        done = _on_threads(work, list(_shared_out(n_pixels, size, workers)), workers)
    with closing(done):  # so that an error, or Ctrl-C, leaves no thread behind
        _finish(done, n_pixels if progress else None)
    return Solution(*(None if a is None else a.reshape(*a.shape[:-1], *pixel_shape) for a in flat))


def _contiguous(array, dtype):
    return np.ascontiguousarray(array, dtype, like=array)  # of CuPy, if that is


def _empty_solution(intensity, problem, dtype):
    """Arrays for the answer, where the intensity is."""
    K, _, _, options, _, functional = problem
    n_pixels = intensity.shape[1]
    shapes = Solution.shapes(*K.shape, 0 if functional is None else len(functional))
    shapes = {name: (*shape, n_pixels) for name, shape in shapes.items()}
    try:
        outputs = {
            name: np.empty(shape, dtype, like=intensity) if name in options.outputs else None
            for name, shape in shapes.items()
        }
        return Solution(**outputs, status=np.empty(n_pixels, np.int32, like=intensity))
    except MemoryError as err:
        values = sum(int(np.prod(shape)) for name, shape in shapes.items() if name in options.outputs)
        raise MemoryError(
            f"the `outputs` of {n_pixels} pixels take {values * np.dtype(dtype).itemsize / 2**30:.2f} GiB, more than "
            f"are free ({err}): ask for fewer, for `dtype` 'float32', or slice the data; the input is as it was"
        ) from err


def _on_gpu(intensity, uncertainty, status, problem, dtype, withheld, into, workers, settle):
    """Blocks of pixels as they are done on the current device."""
    try:
        from sunpy_demreg._engines.gpu.batches import solve_on_device, stream
        from sunpy_demreg._engines.gpu.engine import Solver
    except ImportError as err:
        raise ImportError(
            "`backend` 'cupy' needs CuPy: install 'sunpy-demreg[cuda12]' or 'sunpy-demreg[cuda13]', whichever CUDA the "
            f"driver supports, or pass backend='cpu' ({err})"
        ) from err
    solver = Solver(*problem, dtype, withheld)
    weight = problem[4]
    arrays = intensity, uncertainty, status, into, None if weight is None or weight.ndim == 1 else weight
    if is_cupy_array(intensity):
        solve_on_device(solver, *arrays)
        yield settle(slice(0, status.size))
        return
    with closing(stream(solver, *arrays, workers or available_cores())) as blocks:
        for block in blocks:
            yield settle(block)


def _solver(arrays, problem, dtype, backend, workers, memory_budget):
    """
    A function that solves a range of pixels, how many it should get at a time, and on how many threads.

    It gives bad pixels NaN.
    """
    K, dlogt, logt, options, weight, functional = problem
    n, m = K.shape
    # A matrix of more channels than bins is singular: that needs the care of the plain arrays.
    compiled = _compiled_solver(problem, dtype) if backend == "cpu" and n <= min(m, _MAX_COMPILED_CHANNELS) else None
    if compiled is not None:
        return compiled.on(*arrays), _CPU_BLOCK, workers or available_cores()

    intensity, uncertainty, status, into = arrays

    def solve_range(start, stop):
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
        for whole in into[:-1] if bad.any() else ():
            if whole is not None:
                whole[..., block][..., bad] = np.nan

    # Measured, rounded up.
    values_per_pixel = 8 * m + 3 * n * n + 10 * n + 60
    values_per_pixel += 3 * m * m * len({"covariance", "resolution_matrix"}.intersection(options.outputs))
    budget = _MEMORY_BUDGET if memory_budget is None else min(memory_budget, _MEMORY_BUDGET)
    workers = workers or _NUMPY_THREADS
    return solve_range, int(min(max(budget // (8 * workers * values_per_pixel), 1), _MAX_BLOCK)), workers


def _compiled_solver(problem, dtype):
    """None, and a warning, where llvmlite is not to be had or its code is not right: plain arrays can do the same."""
    try:
        with _PREPARING:
            from sunpy_demreg._engines.cpu.engine import NoProgramError, Solver

            try:
                return Solver(*problem, dtype)
            except NoProgramError as err:
                reason = str(err)
    except (ImportError, OSError) as err:  # the latter of a shared library
        reason = f"llvmlite cannot be imported: {err}"
    warn_once(
        "compiled",
        f"`backend` 'cpu' solves on plain arrays, whose answer is the same but at least ten times slower ({reason}): "
        "install another version of llvmlite, or pass backend='numpy' to leave it at that",
    )
    return None


def _shared_out(n_pixels, size, workers):
    """Blocks of at most a size, the last ones smaller: so all threads end at the same time."""
    start = 0
    while start < n_pixels:
        share = (n_pixels - start) // (2 * workers) // _LEAST_BLOCK * _LEAST_BLOCK
        stop = min(start + min(size, max(share, _LEAST_BLOCK) if workers > 1 else size), n_pixels)
        yield slice(start, stop)
        start = stop


def _on_threads(work, blocks, workers):
    """Blocks of pixels as they are done; an error or Ctrl-C stops after those in hand."""
    if len(blocks) == 1:  # threads cost more than a pixel
        yield work(blocks[0])
        return
    pool = ThreadPoolExecutor(workers)
    try:
        for future in as_completed([pool.submit(work, block) for block in blocks]):
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _finish(done, n_pixels):
    """Wait for all blocks; with a progress bar if their number of pixels is given."""
    if n_pixels is None:
        for _ in done:
            pass
        return
    from tqdm.auto import tqdm

    with tqdm(total=n_pixels, desc="DEM inversion", unit="px", unit_scale=True) as bar:
        for block in done:
            bar.update(block.stop - block.start)
