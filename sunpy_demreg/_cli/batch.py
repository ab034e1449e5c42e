"""The command ``sunpy-demreg batch``."""

# As in `cli`, only the standard library is loaded before the work begins.
import argparse
import logging
import math
import re
import signal
import sys
import threading
from contextlib import contextmanager
from itertools import pairwise

from sunpy_demreg._cli.choices import add_choice, number, place, positive, whole
from sunpy_demreg._cli.messages import in_our_words
from sunpy_demreg._cli.slurm import part_of_array, submit

__all__ = ["add_batch_options", "run_batch"]


def add_batch_options(batch):
    """Add the options that only this command has."""
    batch.add_argument(
        "files",
        nargs="*",
        metavar="FILES-OR-FOLDER",
        help="FITS files of any number of times, in any order; or their URLs, such as s3://bucket/aia/*.fits; or an "
        "SDOMLv2 store, whose name or URL ends in .zarr, with --start and --stop",
    )
    batch.add_argument(
        "--output",
        type=place,
        required=True,
        metavar="STORE.zarr",
        help="the store to create, with its folders, or to continue; or its URL, such as s3://bucket/dem.zarr",
    )
    batch.add_argument(
        "--tolerance",
        type=number,
        metavar="SECONDS",
        help="largest time difference between the channels of one step (default: 12; with --exposures, 15)",
    )
    batch.add_argument("--start", metavar="DATE", help="first time, such as 2014-09-10T17:00 (default: of all files)")
    batch.add_argument("--stop", metavar="DATE", help="time before which it ends")
    batch.add_argument(
        "--cadence",
        type=number,
        metavar="SECONDS",
        help="do only the first step in each interval of this length, from --start or midnight on",
    )
    batch.add_argument(
        "--em-ranges",
        type=_em_ranges,
        metavar="LOG-T,LOG-T,...",
        help="store no DEM, but the emission measures between these log10(T/K), such as 5.7,6.0,6.3,6.6, with errors",
    )
    add_choice(
        batch,
        "--encoding",
        ("float32", "bitround", "log"),
        help="store fewer bits, as sunpy_demreg.write does; the last two need a third of the bytes",
    )
    add_choice(
        batch,
        "--contents",
        ("result", "inputs"),
        default="result",
        help="store the result, or only its inputs, from which sunpy_demreg.read computes it (default: %(default)s)",
    )
    parts = batch.add_mutually_exclusive_group()
    parts.add_argument(
        "--part",
        type=_part,
        metavar="K/N",
        help="do only part K of N, such as 3/16 (default: that of the task of a SLURM array, otherwise all)",
    )
    parts.add_argument(
        "--slurm",
        metavar="OPTIONS",
        help="submit this to SLURM as an array of jobs, one for each part, with these options of sbatch, such as "
        '"--partition=main --array=1-16"',
    )
    batch.add_argument(
        "--status", action="store_true", help="only tell how many steps of the store are done; needs no files"
    )
    where = batch.add_mutually_exclusive_group()
    where.add_argument(
        "--workers", type=whole, metavar="N", help="start this many processes, instead of threads of one"
    )
    where.add_argument(
        "--scheduler", metavar="ADDRESS", help="address of a running Dask scheduler, such as tcp://10.0.0.1:8786"
    )
    add_choice(
        batch, "--dtype", ("float32", "float64"), default="float32", help="type of the values (default: %(default)s)"
    )
    batch.add_argument(
        "--memory-limit",
        type=positive,
        metavar="GB",
        help="memory that the blocks in progress may take in each process (default: 80 %% of what is available)",
    )
    add_choice(
        batch,
        "--backend",
        ("cpu", "numpy", "cupy", "hybrid"),
        default="cpu",
        help="what computes, see sunpy_demreg.batch_invert (default: %(default)s)",
    )


_MOST_LOG_T = 100  # of a temperature in K no logarithm is as large


def _em_ranges(text):
    try:
        edges = [float(each) for each in text.split(",")]
    except ValueError:
        edges = []
    if edges and min(edges) > _MOST_LOG_T:  # kelvin
        told = ",".join(f"{math.log10(each):.4g}" for each in edges)
        raise argparse.ArgumentTypeError(
            f"must be log10(T/K), but {text!r} seems to be in kelvin, for which it is {told}"
        )
    if len(edges) < 2 or not all(low < high for low, high in pairwise(edges)):
        raise argparse.ArgumentTypeError(f"must be two or more ascending log10(T/K), as 5.7,6.0,6.3, but is {text!r}")
    return edges


def _check_em_ranges(ranges, log_edges):
    from sunpy_demreg._common.log_t import log_t_texts

    (first, last), (low, high) = (log_t_texts([values[0], values[-1]]) for values in (ranges, log_edges))
    if ranges[0] < log_edges[0] - 1e-9 or ranges[-1] > log_edges[-1] + 1e-9:
        rule = f"must lie within the bins of `--log-t`, log10(T/K) = {low} to {high}"
        raise ValueError(f"`--em-ranges` {rule}, but are from {first} to {last}")


def run_batch(options, log_edges, prepare_options, choices):
    """Run the batch, report progress, and return the exit status."""
    if options.status:
        return _tell_status(options.output)
    if not options.files:
        options.command.error("the files are missing: name them, or folders of them (only --status needs none)")
    if options.slurm is not None:
        return submit(options)
    part = options.part or part_of_array()
    import numpy as np

    import astropy.units as u

    from sunpy_demreg import batch_invert

    if options.em_ranges is not None:
        _check_em_ranges(options.em_ranges, log_edges)
        edges = 10.0 ** np.array(options.em_ranges) * u.K
        choices |= {
            "emission_measure_ranges": u.Quantity([edges[:-1], edges[1:]]).T,
            "outputs": ("emission_measure", "chi_squared"),
        }
    # Messages about single workers are noise here.
    logging.getLogger("distributed").setLevel(logging.ERROR)
    with _terminable(), _progress(options.command) as on_step:
        report = batch_invert(
            options.files,
            options.output,
            10**log_edges * u.K,
            tolerance=None if options.tolerance is None else options.tolerance * u.s,
            start=options.start,
            stop=options.stop,
            cadence=None if options.cadence is None else options.cadence * u.s,
            encoding=options.encoding,
            contents=options.contents,
            prepare_options=prepare_options,
            workers=options.workers,
            scheduler=options.scheduler,
            part=part,
            on_step=on_step,
            dtype=options.dtype,
            backend=options.backend,
            memory_limit=None if options.memory_limit is None else options.memory_limit * u.Gbyte,
            **choices,
        )
    if part is not None:
        print(f"{'part':>18}  {part[0]} of {part[1]}")
    for outcome, text in (("done", "done"), ("kept", "kept from before"), ("failed", "failed")):
        print(f"{text:>18}  {report.counts[outcome]} of {len(report.steps)} time steps")
    for step in report.failed:
        print(f"{'':>18}  {step.time.isot}  {in_our_words(step.reason, options.command)}")
    if report.left_over:
        print(f"{'left over':>18}  {len(report.left_over)} files")
        for name, reason in report.left_over:
            print(f"{'':>18}  {name}: {in_our_words(reason, options.command)}")
    print(f"{'written':>18}  {options.output}")
    return 0 if report.is_complete else 1


def _part(text):
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        rule = "must be K/N with K from 1 to N, such as 3/16 for the third of sixteen parts"
        raise argparse.ArgumentTypeError(f"{rule}, but is {text!r}")
    return int(match[1]), int(match[2])


def _tell_status(path):
    from sunpy_demreg import batch_status

    status = batch_status(path)
    if not status.n_steps:
        print("sunpy-demreg: the files are being looked at, no time step is known yet")
        return 0
    print(f"{'done':>18}  {status.n_done} of {status.n_steps} time steps")
    print(f"{'in progress':>18}  {len(status.in_progress)}")
    for claim in status.in_progress:
        print(f"{'':>18}  {claim.time.isot}  on {claim.host}, seen {claim.seconds:.0f} s ago")
    return 0


@contextmanager
def _terminable():
    """Handle what ends a job, before it is killed, as Ctrl-C: then claims are given back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _progress(command):
    """A bar on a terminal, and a line for each step elsewhere."""
    from tqdm.auto import tqdm

    with tqdm(desc="DEM inversion", unit="step", disable=not sys.stderr.isatty()) as bar:

        def on_step(n_steps, step):
            bar.total = n_steps
            bar.update()
            if bar.disable:
                took = f", {step.seconds:.1f} s" if step.outcome == "done" else ""
                why = f": {in_our_words(step.reason, command)}" if step.reason else ""
                print(f"sunpy-demreg: {step.time.isot} {step.outcome}{took}{why}", file=sys.stderr, flush=True)

        yield on_step
