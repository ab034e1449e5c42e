"""Run an inversion: which pixels can be solved, on which engine, in blocks on threads, with progress."""

from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing, nullcontext

import numpy as np
from array_api_compat import is_cupy_array

from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.hardware import check_same_device
from sunpy_demreg._engines.arrays import engine as arrays
from sunpy_demreg._engines.base.locks import lock_over_forks
from sunpy_demreg._engines.base.options import OUTPUTS
from sunpy_demreg._engines.base.problem import Pixels
from sunpy_demreg._engines.base.solution import Solution
from sunpy_demreg._engines.base.status import Status
from sunpy_demreg._engines.base.warn_once import warn_once

__all__ = ["BACKENDS", "classify", "run"]

BACKENDS = ("cpu", "numpy", "cupy")
_UNSOLVED, _UNSOLVED_ALWAYS = int(Status.UNSOLVED), int(Status.UNSOLVED & ~Status.NO_SIGNAL)
_NOT_CONVERGED = int(Status.NOT_CONVERGED)
_LEAST_BLOCK = 1024  # pixels; smaller blocks cost more than they save
# Threads that need the same code wait for the one that is compiling it.
_PREPARING = lock_over_forks()


def classify(intensity, uncertainty, mask=None, saturated=None):
    """
    Find the pixels that cannot be solved, and why.

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
    if bad.any():  # the reasons are found for these only: most are good
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
        # A value that is not finite needs no further reason.
        causes[Status.SATURATED] = saturated & ~not_finite
        causes[Status.MASKED] = mask & ~saturated & ~not_finite
    return sum(int(bit) * found.any(axis=0).astype(np.int32) for bit, found in causes.items())


def run(
    intensity,
    uncertainty,
    status,
    problem,
    *,
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
    problem : `sunpy_demreg._engines.base.problem.Problem`
        Of NumPy, but for a weight of each pixel, (m, ...).
    dtype : {"float64", "float32"}
        Of the outputs; all arithmetic is in float64.
    backend : {"cpu", "numpy", "cupy"}
        With "cupy" the arrays of the pixels may be CuPy's, and then those of the solution are too.
    workers : int, optional
        Threads; by default as many as the process may use.
    progress : bool
        Show a progress bar.
    memory_budget : int, optional
        Bytes that the working arrays of all threads may take, with "numpy".
    keep_no_signal : bool
        Whether pixels with ``NO_SIGNAL`` keep the answer that a rule which always has one ("grid") gave.
    out : Solution, optional
        An earlier answer of the same kind, whose arrays receive the new one: memory that was used before is faster.

    Returns
    -------
    Solution
        With the pixel axes of `intensity` behind the channel or temperature axis.
    """
    weight = problem.weight if problem.has_weight_of_pixels else None
    check_same_device(data=intensity, uncertainty=uncertainty, status=status, weighting=weight)
    if is_cupy_array(intensity) and backend != "cupy":
        raise wrong(
            TypeError,
            "backend",
            f"{backend!r} takes NumPy arrays, but those of the data are CuPy arrays: leave `backend` out, or "
            "move them to the host with `.get()`",
        )
    pixel_shape, n_pixels = intensity.shape[1:], status.size
    # Finished lanes are still computed along with the others; those of extreme size come back flagged.
    with np.errstate(all="ignore"), intensity.device if is_cupy_array(intensity) else nullcontext():
        # Contiguous: the compiled engines read memory, not arrays.
        pixels = Pixels(
            _contiguous(intensity.reshape(len(intensity), n_pixels), float),
            _contiguous(uncertainty.reshape(len(uncertainty), n_pixels), float),
            _contiguous(status.reshape(-1), np.int32),
            None if weight is None else _contiguous(weight.reshape(len(weight), n_pixels), float),
        )
        if out is None:
            into = _empty_solution(problem, pixels, dtype)
        else:  # contiguous, so that these are views
            into = out.map(lambda a: a.reshape(*a.shape[: a.ndim - len(pixel_shape)], n_pixels))
        withheld = _UNSOLVED_ALWAYS if keep_no_signal else _UNSOLVED
        engine = _engine(backend, problem, pixels, into, withheld, workers, memory_budget)
        blocks = list(_shared_out(n_pixels, engine.block_size, engine.n_threads))
        with closing(_solved(engine, blocks)) as done:  # so that an error, or Ctrl-C, leaves no thread behind
            _finish(done, n_pixels if progress else None)
        if problem.options.method == "lognormal":
            _solve_unconverged(pixels, into, problem, backend=backend, workers=workers, memory_budget=memory_budget)
    return into.map(lambda a: a.reshape(*a.shape[:-1], *pixel_shape))


def _solve_unconverged(pixels, into, problem, **more):
    """Give pixels whose iteration did not end the emission measure that is constrained to be positive."""
    lanes = (into.status & _NOT_CONVERGED).nonzero()[0]
    if not lanes.size:
        return
    options = problem.options._replace(
        method="tikhonov",
        solve_for="emission_measure",
        parameter_choice="discrepancy",
        positivity="constrain",
        weighting="self",
    )
    some = pixels.at(lanes)
    answer = run(
        some.intensity, some.uncertainty, some.status, problem._replace(options=options), dtype=into.dtype, **more
    )
    answer.status[(answer.status & _UNSOLVED) == 0] |= _NOT_CONVERGED
    into.put(lanes, answer)


def _contiguous(array, dtype):
    return np.ascontiguousarray(array, dtype, like=array)  # CuPy's, if that is


def _empty_solution(problem, pixels, dtype):
    """Arrays for the answer, where those of the pixels are."""
    n_pixels, here = pixels.status.size, pixels.status
    shapes = {name: (*shape, n_pixels) for name, shape in problem.output_shapes.items()}
    try:
        outputs = {name: np.empty(shape, dtype, like=here) for name, shape in shapes.items()}
        return Solution(**dict.fromkeys(OUTPUTS) | outputs, status=np.empty(n_pixels, np.int32, like=here))
    except MemoryError as err:
        values = sum(int(np.prod(shape)) for shape in shapes.values())
        raise MemoryError(
            f"the `outputs` of {n_pixels} pixels take {values * np.dtype(dtype).itemsize / 2**30:.2f} GiB, more than "
            f"are free ({err}): ask for fewer, for `dtype` 'float32', or slice the data; the input is unchanged"
        ) from err


def _engine(backend, problem, pixels, into, withheld, workers, memory_budget):
    """The engine of a backend: see `sunpy_demreg._engines` for what it offers."""
    if backend == "cupy":
        try:
            from sunpy_demreg._engines.gpu.engine import Engine
        except ImportError as err:
            raise ImportError(
                "`backend` 'cupy' needs CuPy: install 'sunpy-demreg[cuda12]' or 'sunpy-demreg[cuda13]', whichever CUDA "
                f"the driver supports, or pass backend='cpu' ({err})"
            ) from err
        return Engine(problem, pixels, into, withheld, workers)
    if backend == "cpu" and problem.can_be_compiled:
        engine = _compiled_engine(problem, pixels, into, withheld, workers)
        if engine is not None:
            return engine
    return arrays.Engine(problem, pixels, into, withheld, workers, memory_budget)


def _compiled_engine(*arguments):
    """The compiled engine; None, with a warning, if llvmlite is missing or its code wrong: plain arrays serve too."""
    try:
        with _PREPARING:
            from sunpy_demreg._engines.cpu.engine import Engine, NoProgramError

            try:
                return Engine(*arguments)
            except NoProgramError as err:
                reason = str(err)
    except (ImportError, OSError) as err:  # the latter if a shared library is missing
        reason = f"llvmlite cannot be imported: {err}"
    warn_once(
        "compiled",
        f"`backend` 'cpu' falls back on plain arrays, with the same results but at least ten times slower ({reason}): "
        "install another version of llvmlite, or pass backend='numpy' to avoid this warning",
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


def _solved(engine, blocks):
    """Parts of the blocks as they are done; an error or Ctrl-C stops after those in progress."""
    if len(blocks) == 1:  # a thread would cost more than a pixel
        yield from engine.solve_into(blocks[0])
        return

    def work(block):
        with np.errstate(all="ignore"):  # each thread has a setting of its own
            return engine.solve_into(block)

    pool = ThreadPoolExecutor(engine.n_threads)
    try:
        for future in as_completed([pool.submit(work, block) for block in blocks]):
            yield from future.result()
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
