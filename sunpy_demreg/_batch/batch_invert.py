"""Invert any number of time steps, from files into one Zarr store; can be interrupted and resumed."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import astropy.units as u

from sunpy_demreg._batch.create import begun, check_place
from sunpy_demreg._batch.index import Index
from sunpy_demreg._batch.report import BatchReport, Step
from sunpy_demreg._batch.run import as_part, part_of, reason_of, run
from sunpy_demreg._batch.settings import DEFAULTS, OF_EACH_STEP, corrected, settings_of
from sunpy_demreg._batch.steps import Steps
from sunpy_demreg._batch.store import open_archive
from sunpy_demreg._batch.where import check_can_start, connected
from sunpy_demreg._batch.work import Work
from sunpy_demreg._channels.prepare import prepare
from sunpy_demreg._channels.sdoml import check_range, sdoml_store
from sunpy_demreg._channels.sdoml_cube import Choices, warn_of_radius
from sunpy_demreg._channels.sdoml_errors import MODEL
from sunpy_demreg._channels.series import table_for
from sunpy_demreg._channels.stacks import PER_IMAGE
from sunpy_demreg._channels.times import as_times, as_tolerance
from sunpy_demreg._common.errors import imported, wrong
from sunpy_demreg._common.validators import a_kind, as_integer, as_keywords, as_path, first_few
from sunpy_demreg._files.encodings import check_encoding
from sunpy_demreg._files.inputs import check_contents
from sunpy_demreg._inversion.arguments import as_bin_edges, as_outputs
from sunpy_demreg._inversion.invert import invert
from sunpy_demreg.response import TemperatureResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sunpy_demreg._common.typing import Date, FilePath, Maps

__all__ = ["BatchReport", "Step", "batch_invert"]

_MAX_WORKERS = 10000
_OF_THE_BATCH = ("uncertainty", "mask", "channels", "workers", "out", *OF_EACH_STEP)  # no options of a caller


def batch_invert(
    maps: Maps,
    path: FilePath,
    temperature_bin_edges: u.Quantity,
    *,
    tolerance: u.Quantity | None = None,
    start: Date | None = None,
    stop: Date | None = None,
    cadence: u.Quantity | None = None,
    encoding: Literal["float32", "bitround", "log"] | None = None,
    contents: Literal["result", "inputs"] = "result",
    prepare_options: Mapping[str, Any] | None = None,
    response_options: Mapping[str, Any] | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    part: tuple[int, int] | None = None,
    on_step: Callable[[int, Step], object] | None = None,
    **options: Any,
) -> BatchReport:
    """
    Invert all time steps in a set of files, and write them to one Zarr store.

    Parameters
    ----------
    maps, tolerance, start, stop, cadence
        As for `prepare_series`; ``maps`` may be an SDOMLv2 store, in a range of times.
    path : path-like or URL
        Ends in ``.zarr``; a URL must be of S3, of a similar service (see :doc:`/large`), or of the memory. If the store
        exists, it must have been made with the same settings: steps that are done with the same files are kept, all
        others are done. If not, it is created, together with the folders that it is to be in.
    temperature_bin_edges : `~astropy.units.Quantity`
        As for `invert`.
    encoding, contents : optional
        As for `write`. With ``contents="inputs"`` the images are rounded to float32 before the inversion, so that
        `sunpy_demreg.read` returns its result.
    prepare_options : `dict`, optional
        Options of `prepare`, with ``exposures`` as for `prepare_series`; ``correct_degradation`` is True, unless the
        maps are ``degradation_corrected``. Steps are put on the grid of the first one, or on that of the ``reference``,
        as by `prepare_series`.
    response_options : `dict`, optional
        Options of `TemperatureResponse.from_aia`, but for ``obstime`` and ``degradation``: one response serves all
        steps, since their data are corrected for the degradation, with the same ``correction_table``.
    workers : `int`, optional
        Start so many processes of a local cluster. By default everything is done on threads of this process.
    scheduler : `str`, optional
        Address of a running Dask scheduler, such as ``"tcp://10.0.0.1:8786"``, whose workers can read the same files.
    part : (`int`, `int`), optional
        Do only a part of the steps: ``(3, 16)`` is the third of sixteen, which follow each other in time. By default
        all.
    on_step : callable, optional
        Called with the number of steps and each `Step` as it is finished.
    **options
        Options of `invert`. With ``backend="hybrid"``, steps are done on the GPU by workers of the ``scheduler`` that
        have the resource ``GPU``, and on the CPU by the others.

    Returns
    -------
    `BatchReport`

    Raises
    ------
    ValueError
        If no step can be done, an argument breaks a rule, or the store was made with other settings: the message says
        which.
    ConnectionError
        If no scheduler answers at the address, or a URL cannot be reached. Finished steps are kept.
    ImportError
        If ``workers`` or ``scheduler`` is given and distributed is not installed.
    PermissionError
        If the folder, or the URL, cannot be written to.
    OSError
        If nothing more can be written, for instance because the disk is full. Finished steps are kept.

    Warns
    -----
    DataWarning
        As `prepare_series`, for each step that is done. Maps that are shifted by more than a pixel are told of only
        with ``correct_shifts``, as there.
    UnsolvedWarning
        Once, if pixels of the steps that were done were not solved; and once, if many do not fit, as `invert` does.

    Notes
    -----
    A step is marked as done after its last value was written, so however a run ends, `sunpy_demreg.read` returns the
    complete steps. A file that cannot be read, or a step that fails, does not stop the others.

    With ``missing_channels="omit"``, the default, a time that lacks the file of a channel is a step too: that channel
    is left out in all of its pixels, and the reason of the `Step` says so; `sunpy_demreg.read` gives its image no date
    (masked) and no exposure time (NaN). If the file comes later, or a file is repaired, so that its size or its header
    changes, the step is done again, at another place of the store. Of steps with an image in common,
    `sunpy_demreg.read` returns the one with the most images, and of these the last one.

    Any number of processes, on any machines that see the same folders or URLs, may write one store at the same time, of
    the same parts or of different ones: each step is claimed by one of them, with a file that it touches every ten
    seconds. Those of a process that died are taken over by the others, at once on the same machine, else after a
    minute, and three at a URL. A process ends when all steps of its part are done, by whichever.

    Files are sorted a day at a time: the channel with the fewest images is that of each day.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import astropy.units as u
    >>> import numpy as np
    >>> import sunpy_demreg as demreg
    >>> edges = 10 ** np.arange(5.6, 7.41, 0.1) * u.K
    >>> with TemporaryDirectory() as folder:
    ...     report = demreg.batch_invert(
    ...         demreg.sample.aia_files(),
    ...         f"{folder}/dem.zarr",
    ...         edges,
    ...         outputs=("dem",),
    ...         dtype="float32",
    ...         prepare_options={"n_sample": 16},
    ...     )
    ...     shape = demreg.read(f"{folder}/dem.zarr")["dem"].shape
    >>> report.counts
    {'done': 1, 'kept': 0, 'failed': 0}
    >>> shape
    (18, 1, 128, 128)
    """
    path = as_path("path", path)
    check_place(path)
    if path.suffix != ".zarr":
        raise wrong(ValueError, "path", f"must end in .zarr, but is {str(path)!r}")
    check_encoding(encoding)
    check_contents(contents, encoding)
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
    part = as_part(part)
    from_aia = TemperatureResponse.from_aia
    takers = {None: invert, "prepare_options": prepare, "response_options": from_aia}
    options_of = partial(as_keywords, without=_OF_THE_BATCH, elsewhere=takers)
    prepare_options = options_of("prepare_options", prepare_options, prepare)
    own = sorted(OF_EACH_STEP.intersection(response_options if isinstance(response_options, dict) else ()))
    if own:
        raise wrong(
            ValueError,
            "response_options",
            f"has {own[0]!r}, which follows from each step: leave it out; the data are corrected for the degradation",
        )
    response_options = options_of("response_options", response_options, from_aia)
    times, source = as_times(start, stop, cadence), sdoml_store(maps)
    if source is not None:
        check_range(source, times, "maps")
        prepare_options = prepare_options | {"degradation_corrected": True}
    choices = None if source is None else Choices.of(prepare_options)
    prepare_options = corrected(prepare_options, response_options)
    options_of(None, options, invert)
    if options.get("backend") == "hybrid" and scheduler is None:
        raise wrong(
            ValueError,
            "backend",
            "'hybrid' is for a cluster that runs, some of whose workers have the resource GPU: pass its address as "
            "`scheduler`, or pass 'cpu' or 'cupy'",
        )
    as_bin_edges(temperature_bin_edges)
    for module, extra in (("dask.array", "batch"), ("zarr", "batch")):
        imported(module, "`batch_invert`", extra)
    if workers is not None:
        check_can_start()
    client = None if scheduler is None else connected(scheduler)
    most = as_integer("max_missing_channels", options.get("max_missing_channels", 1), 1, 64, "of channels")
    tolerance = as_tolerance(tolerance, prepare_options.get("exposures", "one"))
    settings = settings_of(prepare_options, response_options, options)
    settings |= {"temperature_bin_edges": temperature_bin_edges, "tolerance": tolerance}
    settings |= {"error model": MODEL if source is not None else DEFAULTS["error model"]}
    if contents == "inputs":  # the outputs are part of what is kept
        names = as_outputs(options.get("outputs"), options.get("emission_measure_ranges"))
        settings |= {"contents": f"inputs of {', '.join(names)}"}
    settings |= {"encoding": encoding, "contents": "result"} | settings
    with begun(path) as (folder, claims):
        with claims.held("index"):
            near = times.widened(tolerance.to_value(u.s))
            index = Index(folder, near)
            if source is None:
                index.add(maps)
            else:
                index.add_store(source, times, near)
            index.keep()
        with index:
            if source is not None and not choices.accept_flagged:
                index.add_flags()
            n_lacking = most if options.get("missing_channels", "omit") == "omit" else 0
            steps = Steps(index, tolerance, n_lacking, prepare_options.get("exposures", "one"), times)
            if source is None:
                table = table_for(steps.latest(), prepare_options.get("correction_table"))
                prepare_options |= {"correction_table": table}
            how = temperature_bin_edges, prepare_options, choices, response_options, options, contents
            work = Work(path, steps.like(), *how)
            # Where `backend` is "hybrid", the workers are those of this client.
            with nullcontext() if client is None else client.as_current():
                template = _first(work, steps)
            with claims.held("store"):
                check = partial(_check_held, claims, "store")
                archive = open_archive(path, template, settings, DEFAULTS, check)
                archive.allocate(steps, check)
            if source is not None:
                warn_of_radius(archive.radius(), *steps.radii(), "maps")
            outcomes = run(part_of(len(steps), part), work, steps, archive, claims, workers, client, on_step)
            return BatchReport(outcomes, steps.left_over())


def _check_held(claims, name):
    if not claims.is_mine(name):
        why = "this process was stopped for so long that another one does its work now"
        raise wrong(RuntimeError, "path", f": {why}: start it again if that has ended")


def _first(work, steps):
    """The lazy result of the first step that has one."""
    problems = {}
    for number, *_, problem in steps.facts(0, len(steps)):
        if not problem:
            try:
                result = work.begin(steps.task(number))
            except Exception as err:  # other steps may still be good
                if getattr(err, "argument", "maps") not in ("maps", "data"):
                    raise
                problem = reason_of(err)
                steps.set_problem(number, problem)
            else:
                kept = {"date", "exposure_time", "start_offset", "end_offset"}
                for key in set(PER_IMAGE) - kept:  # the store does not hold them per step
                    result.meta["observation"].pop(key, None)
                return result
        problems[problem] = None
    raise wrong(ValueError, "maps", f": no time step can be done: {first_few(problems, '; ')}")
