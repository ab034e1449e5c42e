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
from sunpy_demreg._engines.omit import solve_without
from sunpy_demreg._engines.usable import classify, examine

__all__ = ["BACKENDS", "classify", "examine", "run"]

BACKENDS = ("cpu", "numpy", "cupy")
_UNSOLVED, _UNSOLVED_ALWAYS = int(Status.UNSOLVED), int(Status.UNSOLVED & ~Status.NO_SIGNAL)
_NOT_CONVERGED, _UPPER_LIMIT = int(Status.NOT_CONVERGED), int(Status.UPPER_LIMIT)
_LEAST_BLOCK = 1024  # pixels; smaller blocks cost more than they save
# Threads that need the same code wait for the one that is compiling it.
_PREPARING = lock_over_forks()


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
    omitted=None,
    saturated=None,
    out=None,
):
    """
    Solve the pixels whose status has no bit of ``UNSOLVED``; the others get NaN and keep their status.

    Parameters
    ----------
    intensity, uncertainty : array, (n, ...)
    status : array of int32, (...)
        From `examine`; its remarks are added to those of the solution.
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
    omitted : array of unsigned integers, (...), optional
        From `examine`: the channels to leave out, as bits.
    saturated : array of bool, (n, ...), optional
        Where an intensity that is left out is a lower limit.
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
        status = _contiguous(status.reshape(-1), np.int32)
        if out is None:
            into = _empty_solution(problem, status, dtype)
        else:  # contiguous, so that these are views
            into = out.map(lambda a: a.reshape(*a.shape[: a.ndim - len(pixel_shape)], n_pixels))
        given = status & _UNSOLVED
        if omitted is not None:
            omitted = np.where(given == 0, omitted.reshape(-1), omitted.dtype.type(0))
            given[omitted != 0] = int(Status.FAILED)  # until they are solved without
        pixels = Pixels(
            _contiguous(intensity.reshape(len(intensity), n_pixels), float),
            _contiguous(uncertainty.reshape(len(uncertainty), n_pixels), float),
            given,
            None if weight is None else _contiguous(weight.reshape(len(weight), n_pixels), float),
        )
        withheld = _UNSOLVED_ALWAYS if keep_no_signal else _UNSOLVED
        how = backend, withheld, workers, memory_budget
        with closing(_done(problem, pixels, into, omitted, saturated, how)) as done:
            _finish(done, n_pixels if progress else None)
        _add_remarks(into.status, status)
    return into.map(lambda a: a.reshape(*a.shape[:-1], *pixel_shape))


def _done(problem, pixels, into, omitted, saturated, how):
    """Solve all pixels, and yield how many are done, as they are done."""
    with closing(_solved(problem, pixels, into, how)) as blocks:
        for block in blocks:
            yield block.stop - block.start - (0 if omitted is None else np.count_nonzero(omitted[block]))
    if omitted is None:
        return

    def solve(problem, pixels, dtype):
        part = _empty_solution(problem, pixels.status, dtype)
        with closing(_solved(problem, pixels, part, how)) as blocks:
            for _ in blocks:
                pass
        return part

    if saturated is not None:
        saturated = saturated.reshape(len(saturated), -1)
    yield from solve_without(solve, problem, pixels, into, omitted, saturated)


def _add_remarks(status, given):
    """Add those on the data to those on the solution; of what was not solved they may be part of the reason."""
    remarks = given & ~np.int32(_UNSOLVED)
    if remarks.any():
        status |= np.where(((status & _UNSOLVED) == 0) | ((given & _UNSOLVED) != 0), remarks, np.int32(0))


def _solve_unconverged(problem, pixels, into, how):
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
    backend, _, workers, memory_budget = how
    answer = run(
        some.intensity,
        some.uncertainty,
        some.status,
        problem._replace(options=options),
        dtype=into.dtype,
        backend=backend,
        workers=workers,
        memory_budget=memory_budget,
    )
    # What is said of the data alone stays true.
    kept = into.status[lanes] & (_NOT_CONVERGED | _UPPER_LIMIT)
    is_solved = (answer.status & _UNSOLVED) == 0
    answer.status[is_solved] |= kept[is_solved]
    into.put(lanes, answer)


def _contiguous(array, dtype):
    return np.ascontiguousarray(array, dtype, like=array)  # CuPy's, if that is


def _empty_solution(problem, here, dtype):
    """Arrays for the answer of pixels, where an array of a value for each is."""
    n_pixels = here.size
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


def _engine(problem, pixels, into, backend, withheld, workers, memory_budget):
    """The engine of a backend: see `sunpy_demreg._engines` for what it offers."""
    if backend == "cupy":
        try:
            from sunpy_demreg._engines.gpu.engine import Engine
        except ImportError as err:
            raise ImportError(
                "`backend` 'cupy' needs CuPy: install 'sunpy-demreg[cuda12]' or 'sunpy-demreg[cuda13]', whichever CUDA "
                f"the driver supports, or pass `backend='cpu'` ({err})"
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


def _solved(problem, pixels, into, how):
    """Solve all of the pixels, and yield parts of them as they are done. To be closed, so that no thread is left."""
    seen = None if problem.seen is None else problem.seen.any(axis=0)
    if seen is not None and problem.options.resolved_only and problem.functional is not None:
        problem = problem._replace(functional=problem.functional * seen)
    engine = _engine(problem, pixels, into, *how)
    blocks = list(_shared_out(pixels.status.size, engine.block_size, engine.n_threads))
    with closing(_solved_by(engine, blocks)) as done:
        yield from done
    if problem.options.method == "lognormal":
        _solve_unconverged(problem, pixels, into, how)
    if seen is not None and into.is_resolved is not None:
        into.is_resolved[np.flatnonzero(~seen)] = 0.0


def _solved_by(engine, blocks):
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
        for n_done in done:
            bar.update(int(n_done))
