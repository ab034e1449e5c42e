"""Invert any number of time steps, from files into one Zarr store; can be interrupted and resumed."""

from __future__ import annotations

import errno
import inspect
import multiprocessing
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import astropy.units as u
from astropy.time import Time

from sunpy_demreg._batch.store import open_archive
from sunpy_demreg._channels.lazy_prepare import prepare_lazily
from sunpy_demreg._channels.prepare import prepare
from sunpy_demreg._channels.read_maps import NamedMaps
from sunpy_demreg._channels.series import NO_IMAGE, series_sets, table_for
from sunpy_demreg._channels.stacks import PER_IMAGE
from sunpy_demreg._common.dates import mean_date
from sunpy_demreg._common.errors import first_line, imported, wrong
from sunpy_demreg._common.hardware import available_cores
from sunpy_demreg._common.validators import a_kind, as_bool, as_integer, as_keywords, as_path
from sunpy_demreg._inversion.arguments import as_bin_edges
from sunpy_demreg._inversion.invert import invert
from sunpy_demreg._inversion.methods import CHOICES, resolved_choices
from sunpy_demreg._results.unsolved import warn_of_unsolved
from sunpy_demreg.response import TemperatureResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sunpy_demreg._common.typing import FilePath, Maps

__all__ = ["BatchReport", "Step", "batch_invert"]

_MAX_WORKERS = 10000
_GUARD = "in a script, the call must stand under `if __name__ == '__main__':`"
# The options of `invert` that change values. The others only affect where and how fast; outputs are compared
# separately.
_SETTINGS = (
    "uncertainty",
    "mask",
    "method",
    "prior",
    *CHOICES,
    "weighting",
    "n_refinements",
    "chi_squared_target",
    "target_growth",
    "max_iterations",
    "n_samples",
    "nonpositive",
    "missing_channels",
    "max_missing_channels",
    "calibration_error",
    "common_calibration_error",
    "emission_measure_ranges",
    "dtype",
)
_CONNECT = 5  # seconds that a scheduler has to answer
_OF_EACH_STEP = {"obstime", "degradation"}  # options of a response that follow from the step
_OF_THE_BATCH = ("uncertainty", "mask", "channels", "workers", "out", *_OF_EACH_STEP)  # no options of a caller
_NO_MORE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # nothing more can be written, for any step


class Step(NamedTuple):
    """
    The outcome of one time step: ``"done"``, ``"kept"`` from an earlier run, or ``"failed"``.

    The reason is that of a failure, or the channels that a step was done without.
    """

    number: int
    time: Time
    outcome: Literal["done", "kept", "failed"]
    reason: str | None = None
    seconds: float = 0.0


class BatchReport(NamedTuple):
    """The outcome of a batch."""

    steps: list[Step]
    left_over: list[tuple[str, str]]  # the files that are in no time step, and why

    @property
    def is_complete(self) -> bool:
        """Whether no step failed and every file could be read."""
        return all(step.outcome != "failed" for step in self.steps) and not any(
            reason.startswith("cannot be read") for _, reason in self.left_over
        )


def batch_invert(
    maps: Maps,
    path: FilePath,
    temperature_bin_edges: u.Quantity,
    *,
    tolerance: u.Quantity = 12 * u.s,
    prepare_options: Mapping[str, Any] | None = None,
    response_options: Mapping[str, Any] | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    on_step: Callable[[int, Step], object] | None = None,
    **options: Any,
) -> BatchReport:
    """
    Invert all time steps in a set of files, and write them to one Zarr store.

    Parameters
    ----------
    maps, tolerance
        As for `prepare_series`.
    path : path-like
        Ends in ``.zarr``. If the store exists, it must have been made with the same settings: steps that are done are
        kept, all others are done (again), and later ones are added.
    temperature_bin_edges : `~astropy.units.Quantity`
        As for `invert`.
    prepare_options : `dict`, optional
        Options of `prepare`; ``correct_degradation`` is True, unless the maps are ``degradation_corrected``.
    response_options : `dict`, optional
        Options of `TemperatureResponse.from_aia`, but for ``obstime`` and ``degradation``: one response serves all
        steps, since their data are corrected for the degradation, with the same ``correction_table``.
    workers : `int`, optional
        Start so many processes of a local cluster. By default everything is done on threads of this process.
    scheduler : `str`, optional
        Address of a running Dask scheduler, such as ``"tcp://10.0.0.1:8786"``, whose workers can read the same files.
    on_step : callable, optional
        Called with the number of steps and each `Step` as it is finished.
    **options
        Options of `invert`.

    Returns
    -------
    `BatchReport`

    Raises
    ------
    ValueError
        If no step can be done, an argument breaks a rule, or the store was made with other settings: the message says
        which.
    ConnectionError
        If no scheduler answers at the address.
    ImportError
        If ``workers`` or ``scheduler`` is given and distributed is not installed.
    OSError
        If nothing more can be written, for instance because the disk is full. Finished steps are kept.

    Warns
    -----
    UnsolvedWarning
        Once, if pixels of the steps that were done were not solved.

    Notes
    -----
    A step is marked as done after its last value was written, so however a run ends, `sunpy_demreg.read` returns the
    complete steps. A file that cannot be read, or a step that fails, does not stop the others.

    With ``missing_channels="omit"``, the default, a time that lacks the file of a channel is a step too: that channel
    is left out in all of its pixels, and the reason of the `Step` says so. (The store has the exposure time of another
    step for it.) It counts as done: to use a file that comes later, make another store.
    """
    path = as_path("path", path)
    if path.suffix != ".zarr":
        raise wrong(ValueError, "path", f"must end in .zarr, but is {path.name!r}")
    if workers is not None and scheduler is not None:
        raise wrong(ValueError, "workers", "start a cluster and `scheduler` names one that runs: pass only one of them")
    if workers is not None:
        workers = as_integer("workers", workers, 1, _MAX_WORKERS, "of processes")
    if scheduler is not None and not (isinstance(scheduler, str) and scheduler):
        rule = "must be the address of a scheduler, such as 'tcp://10.0.0.1:8786'"
        raise wrong(TypeError, "scheduler", f"{rule}, but is {a_kind(scheduler)}")
    if on_step is not None and not callable(on_step):
        raise wrong(
            TypeError, "on_step", f"must be a function of the number of steps and a step, but is {a_kind(on_step)}"
        )
    from_aia = TemperatureResponse.from_aia
    takers = {None: invert, "prepare_options": prepare, "response_options": from_aia}
    options_of = partial(as_keywords, without=_OF_THE_BATCH, elsewhere=takers)
    prepare_options = options_of("prepare_options", prepare_options, prepare)
    own = sorted(_OF_EACH_STEP.intersection(response_options if isinstance(response_options, dict) else ()))
    if own:
        raise wrong(
            ValueError,
            "response_options",
            f"has {own[0]!r}, which follows from each step: leave it out; the data are corrected for the degradation",
        )
    response_options = options_of("response_options", response_options, from_aia)
    prepare_options = _corrected(prepare_options, response_options)
    options_of(None, options, invert)
    as_bin_edges(temperature_bin_edges)
    for module, extra in (("dask.array", "batch"), ("zarr", "batch")):
        imported(module, "`batch_invert`", extra)
    if workers is not None:
        # A spawned process runs the script again and must not start a batch itself: it would wait forever.
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise wrong(RuntimeError, "workers", f"are processes, which read this script again: {_GUARD}")
        _distributed("workers")
    client = None if scheduler is None else _client(scheduler)
    most = as_integer("max_missing_channels", options.get("max_missing_channels", 1), 1, 64, "of channels")
    sets, left_over = series_sets(maps, tolerance, most if options.get("missing_channels", "omit") == "omit" else 0)
    lacking = ["; ".join(i.name for i in each if i.name.startswith(NO_IMAGE)) or None for each in sets]
    times = Time([mean_date([image.map.date for image in each]) for each in sets])
    problems = ["; ".join(f"{i.name}: {i.problem}" for i in each if i.problem) for each in sets]
    table = prepare_options.get("correction_table")
    make = partial(
        _result,
        edges=temperature_bin_edges,
        prepare_options=prepare_options | {"correction_table": table_for(sets, table)},
        response_options=response_options,
        options=options,
    )
    # Of stores that are older than an option: what was done then.
    defaults = _settings({}, {}, {}) | {"nonpositive": "mask", "missing_channels": "mask"}
    settings = _settings(prepare_options, response_options, options)
    settings |= {"temperature_bin_edges": temperature_bin_edges, "tolerance": tolerance}
    template = _first(make, sets, problems)
    for key in set(PER_IMAGE) - {"date", "exposure_time"}:  # the store does not hold them per step
        template.meta["observation"].pop(key, None)
    archive = open_archive(path, template, times, settings, defaults)

    steps = []

    def finish(number, outcome, reason=None, seconds=0.0):
        steps.append(Step(number, times[number], outcome, reason, seconds))
        if on_step is not None:
            on_step(len(sets), steps[-1])

    to_do = []
    for number, problem in enumerate(problems):
        if archive.is_done(times[number]):
            finish(number, "kept")
        elif problem:
            finish(number, "failed", problem)
        else:
            to_do.append(number)

    def begin(number):
        result = make(sets[number])
        return result, archive.store(result, times[number])

    counts = Counter()
    with closing(_computed(to_do, begin, workers, client)) as computed:
        for number, result, seconds, error in computed:
            if error is None:
                counts += archive.mark_done(result, times[number])
                finish(number, "done", lacking[number], seconds)
            elif isinstance(error, OSError) and error.errno in _NO_MORE:
                raise error
            else:
                finish(number, "failed", _reason(error), seconds)
    warn_of_unsolved(counts)
    steps.sort(key=lambda step: step.number)
    return BatchReport(steps, [(image.name, image.problem or "in no set of all channels") for image in left_over])


def _settings(prepare_options, response_options, options):
    """All options that change values, with defaults for those not given."""

    def every(function, given):
        parameters = inspect.signature(function).parameters.values()
        values = {p.name: given.get(p.name, p.default) for p in parameters if p.default is not p.empty}
        # For these functions, True and 1 are the same.
        is_bool = {p.name for p in parameters if isinstance(p.default, bool)}
        return {name: as_bool(name, value) if name in is_bool else value for name, value in values.items()}

    of_response, of_invert = every(TemperatureResponse.from_aia, response_options), every(invert, options)
    choices = {name: of_invert[name] for name in CHOICES}
    of_invert |= resolved_choices(of_invert["method"], choices, of_invert["prior"])
    return {
        **every(prepare, prepare_options),
        **{f"response {name}": value for name, value in of_response.items() if name not in _OF_EACH_STEP},
        **{name: value for name, value in of_invert.items() if name in _SETTINGS},
    }


def _corrected(prepare_options, response_options):
    """Options of `prepare` with the correction for degradation, so that all data have the same response."""
    is_corrected = prepare_options.get("degradation_corrected", False)
    correct = prepare_options.get("correct_degradation", not is_corrected)
    if not (correct or is_corrected):
        raise wrong(
            ValueError,
            "prepare_options",
            "has 'correct_degradation' False, but a store has one response for all of its steps, whose data must be "
            "corrected for the degradation: leave it out",
        )
    table = response_options.get("correction_table")
    return ({} if table is None else {"correction_table": table}) | prepare_options | {"correct_degradation": correct}


def _reason(err):
    return f"{type(err).__name__}: {first_line(err)}"


def _result(images, *, edges, prepare_options, response_options, options):
    """The lazy result of one time step."""
    cube = prepare_lazily(NamedMaps((image.name, image.map) for image in images), prepare_options)
    response = TemperatureResponse.from_aia(cube, **response_options)
    return invert(cube, response, edges, **options)


def _first(make, sets, problems):
    """The lazy result of the first step that has one."""
    for number, images in enumerate(sets):
        if not problems[number]:
            try:
                return make(images)
            except Exception as err:  # other steps may still be good
                if getattr(err, "argument", "maps") not in ("maps", "data"):
                    raise
                problems[number] = _reason(err)
    raise wrong(ValueError, "maps", f": no time step can be done: {'; '.join(dict.fromkeys(problems))}")


def _computed(numbers, begin, workers, client):
    """
    Compute steps, a few at a time.

    `begin` returns the result of the step with a number, and what to compute. Yields each step as it ends: its number,
    its result, the seconds it took, and its exception or None.
    """
    if not numbers:
        return
    waiting = list(reversed(numbers))
    with _submitter(workers, client) as (submit, n_at_once):
        running = {}
        while waiting or running:
            while waiting and len(running) < n_at_once:
                number, start = waiting.pop(), time.perf_counter()
                try:
                    result, stored = begin(number)
                except Exception as err:
                    yield number, None, 0.0, err
                else:
                    running[submit(stored)] = number, result, start
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                number, result, start = running.pop(future)
                yield number, result, time.perf_counter() - start, future.exception()


@contextmanager
def _submitter(workers, client):
    """A function that computes collections and returns a future, and how many steps to run at once."""
    if workers is None and client is None:
        import dask

        # Two steps, so that threads solve blocks of the next one while the last blocks of the other are written.
        pool, drivers = ThreadPoolExecutor(available_cores()), ThreadPoolExecutor(2)
        try:
            yield lambda stored: drivers.submit(dask.compute, *stored, scheduler="threads", pool=pool), 2
        finally:
            for each in (pool, drivers):
                each.shutdown(cancel_futures=True)
        return
    with ExitStack() as stack:
        if client is None:
            distributed = _distributed("workers")
            # One thread each: the global interpreter lock then does not matter, and a block is solved on one thread
            # anyway.
            options = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": ":0"}
            try:
                cluster = stack.enter_context(distributed.LocalCluster(**options))
            except RuntimeError as err:
                raise wrong(RuntimeError, "workers", f"cannot be started ({err}): {_GUARD}") from err
            client = stack.enter_context(distributed.Client(cluster, set_as_default=False))
        n_at_once = max(sum(client.nthreads().values()), 1) + 1
        drivers = ThreadPoolExecutor(n_at_once)
        try:
            yield lambda stored: drivers.submit(client.gather, client.compute(list(stored))), n_at_once
        finally:
            client.close()  # ends the waiting of the drivers
            drivers.shutdown(cancel_futures=True)


def _distributed(argument):
    try:
        import distributed
    except ImportError as err:
        raise wrong(
            ImportError,
            argument,
            f"needs the package distributed: pip install 'sunpy-demreg[batch]'; without it, all cores "
            f"are used by threads: leave `{argument}` out",
        ) from err
    return distributed


def _client(scheduler):
    distributed = _distributed("scheduler")
    try:
        return distributed.Client(scheduler, timeout=_CONNECT, set_as_default=False)
    except (OSError, ValueError) as err:
        raise wrong(
            ConnectionError,
            "scheduler",
            f"{scheduler!r}: no scheduler answers at this address within {_CONNECT} s ({err}); start one "
            "with `dask scheduler`, which prints its address",
        ) from err
