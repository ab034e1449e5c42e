"""The command line: ``sunpy-demreg demo``, ``invert`` and ``batch``."""

# Only the standard library is loaded here, so that `main` also handles an interruption of the slow imports.
import argparse
import difflib
import math
import os
import re
import shutil
import sys
import tempfile
import time
import warnings
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sunpy_demreg._cli.batch import add_batch_options, run_batch
from sunpy_demreg._common.errors import message_of
from sunpy_demreg._common.paths import matching_paths

__all__ = ["main"]

# Command line names of the arguments that messages of the library mention.
_WORDS = {
    "backend": "`--backend`",
    "bin": "`--bin`",
    "calibration_error": "`--calibration-error`",
    "contents": "`--contents`",
    "chi_squared_target": "`--chi-squared-target`",
    "dtype": "`--dtype`",
    "emission_measure_ranges": "`--em-ranges`",
    "encoding": "`--encoding`",
    "include_chianti": "`--include-chianti`",
    "maps": "the files",
    "max_missing_channels": "`--max-missing-channels`",
    "method": "`--method`",
    "memory_limit": "`--memory-limit`",
    "missing_channels": "`--missing-channels`",
    "n_sample": "`--n-sample`",
    "nonpositive": "`--nonpositive`",
    "parameter_choice": "`--parameter-choice`",
    "path": "`--output`",
    "pointing_table": "`--pointing-table`",
    "positivity": "`--positivity`",
    "reference": "`--reference`",
    "saturation": "`--saturation`",
    "scheduler": "`--scheduler`",
    "solve_for": "`--solve-for`",
    "temperature_bin_edges": "`--log-t`",
    "tolerance": "`--tolerance`",
    "workers": "`--workers`",
}
_MAX_BINS = 1000


def main(arguments=None):
    """
    Run the command line.

    Parameters
    ----------
    arguments : sequence of `str`, optional
        ``sys.argv[1:]`` by default.

    Returns
    -------
    `int`
        The exit status: 0, 1 for bad input and other failures, such as too little memory, a module that is
        missing, or a time step of a batch that could not be done, 130 if interrupted. Commands that cannot be
        understood exit with 2.
    """
    try:
        options, unknown = _parser().parse_known_args(arguments)
        if unknown:
            _refuse(unknown, options.command)
        with _warnings_as_lines():
            return options.run(options) or 0
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    except (OSError, ValueError, TypeError, ImportError, MemoryError, RuntimeError) as err:
        _complain(f"error: {_in_our_words(err)}")
        return 1


def _parser():
    from sunpy_demreg import __version__

    parser = argparse.ArgumentParser(
        prog="sunpy-demreg", description="Differential emission measures from SDO/AIA images."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="invert the bundled AIA sample, draw it, and write the result")
    demo.add_argument("--output", type=Path, default=Path("demo-output"), metavar="DIR", help="default: %(default)s")
    demo.set_defaults(run=_demo, command=demo)

    invert = commands.add_parser("invert", help="invert AIA files of one time")
    invert.add_argument("files", nargs="+", metavar="FILE", help="one FITS file per channel")
    invert.add_argument("--output", type=Path, required=True, metavar="FILE", help="the FITS file to write")
    invert.add_argument("--plot", type=Path, metavar="PNG", help="also draw the result (or .pdf, .svg, ...)")
    _add_choices(invert)
    invert.set_defaults(run=_invert, command=invert)

    for command in (demo, invert):
        command.add_argument("--overwrite", action="store_true", help="replace output files that exist")
        command.add_argument("--progress", action="store_true", help="show a progress bar")
    batch = commands.add_parser("batch", help="invert all time steps in files or folders, into one Zarr store")
    add_batch_options(batch)
    _add_choices(batch)
    batch.set_defaults(run=_batch, command=batch)
    return parser


def _refuse(unknown, command):
    """Exit with the usage of the command, and the nearest of its options."""
    known = re.findall(r"--[a-z-]+", command.format_usage())
    near = difflib.get_close_matches(unknown[0].partition("=")[0], known, n=1)
    command.error(f"unrecognized arguments: {' '.join(unknown)}{f' (did you mean {near[0]}?)' if near else ''}")


def _add_choices(invert):
    """The options of an inversion."""
    invert.add_argument(
        "--log-t",
        nargs=3,
        type=float,
        default=(5.575, 7.425, 0.05),
        metavar=("LOW", "HIGH", "STEP"),
        help="temperature bin edges as log10(T/K): first, last, width (default: 5.575 7.425 0.05)",
    )
    invert.add_argument(
        "--n-sample", type=int, metavar="N", help="pixels averaged into each pixel (16 for the synoptic maps)"
    )
    invert.add_argument(
        "--saturation",
        type=_positive,
        default=15000,
        metavar="DN",
        help="mask values above this many counts (default: %(default)s)",
    )
    invert.add_argument(
        "--pointing-table", metavar="FILE", help="update the pointing of level 1: an ECSV table, lmsal or jsoc"
    )
    invert.add_argument(
        "--reference", type=int, metavar="CHANNEL", help="put all channels on the grid of this one, such as 171"
    )
    invert.add_argument("--bin", type=int, default=1, metavar="N", help="average blocks of N by N pixels")
    invert.add_argument(
        "--calibration-error",
        type=float,
        metavar="FRACTION",
        help="of the intensity, such as 0.1: error of the calibration of each channel, to add to the noise",
    )
    invert.add_argument("--include-chianti", action="store_true", help="include the errors of the atomic data")
    invert.add_argument(
        "--chi-squared-target",
        type=_positive,
        default=1.0,
        metavar="X",
        help="chi-squared per channel to aim for (default: %(default)s)",
    )
    invert.add_argument(
        "--method",
        choices=("demreg", "lognormal", "l2"),
        default="demreg",
        help="regularization of Hannah & Kontar, or a log-normal prior, which halves the error of smooth DEMs and is "
        "positive by construction, or the cheapest, Tikhonov's of zeroth order (default: %(default)s)",
    )
    invert.add_argument(
        "--solve-for",
        choices=("dem", "emission_measure"),
        help="what demreg and l2 regularize: the DEM per kelvin, or the emission measure per dex, which leaves less "
        "where nothing is seen (default: dem)",
    )
    invert.add_argument(
        "--parameter-choice",
        choices=("discrepancy", "grid", "prior"),
        help="regularization that meets the chi-squared target exactly, or the nearest on the grid of the "
        "reference implementation, which reproduces published results, or that of the prior of the method lognormal "
        "(default: prior for lognormal, else discrepancy)",
    )
    invert.add_argument(
        "--positivity",
        choices=("relax", "constrain", "ignore"),
        help="raise the chi-squared target until no bin is negative, or find the DEM without negative bins at the "
        "target, or accept the first solution (default: %(default)s)",
    )
    invert.add_argument(
        "--nonpositive",
        choices=("use", "mask"),
        default="use",
        help="intensities of zero or below are data as any other, or mask their pixel (default: %(default)s)",
    )
    invert.add_argument(
        "--missing-channels",
        choices=("omit", "mask"),
        default="omit",
        help="a pixel without a usable value in a channel, as where that is saturated, is solved with the others, or "
        "masked (default: %(default)s)",
    )
    invert.add_argument(
        "--max-missing-channels",
        type=int,
        default=1,
        metavar="N",
        help="how many channels may be left out in a pixel (default: %(default)s)",
    )


def _positive(text):
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a positive number, but is {text}")
    return value


def _demo(options):
    from sunpy_demreg import sample

    # The synoptic maps are averages of 4 x 4 pixels; their noise is less than what the response is uncertain by.
    prepare = {"n_sample": 16}
    choices = {"method": "lognormal", "calibration_error": 0.1}
    targets = (options.output / "dem.fits", options.output / "dem.png")
    _run(options, sample.aia_files(), _log_edges(5.575, 7.425, 0.05), targets, prepare=prepare, **choices)


def _invert(options):
    targets = (options.output, options.plot)
    prepare, choices = _choices(options)
    _run(options, options.files, _log_edges(*options.log_t), targets, prepare=prepare, **choices)


def _choices(options):
    """The options of `prepare` and those of `invert`."""
    names = ("n_sample", "saturation", "include_chianti")
    prepare = {name: getattr(options, name) for name in names}
    # Only if given, since these need whole images.
    if options.pointing_table is not None:
        prepare["pointing_table"] = options.pointing_table
    if options.reference is not None:
        prepare["reference"] = f"{options.reference} Angstrom"
    if options.bin != 1:
        prepare["bin"] = options.bin
    names = (
        "method",
        "solve_for",
        "calibration_error",
        "chi_squared_target",
        "parameter_choice",
        "positivity",
        "nonpositive",
        "missing_channels",
        "max_missing_channels",
    )
    choices = {name: getattr(options, name) for name in names}
    return prepare, choices


def _batch(options):
    return run_batch(options, _log_edges(*options.log_t), *_choices(options))


def _log_edges(low, high, step):
    given = f"{low:g} {high:g} {step:g}"
    if not (low < high and step > 0):
        raise ValueError(f"`--log-t` must have LOW < HIGH and STEP > 0, but is {given}")
    if low < 3 or high > 9:
        raise ValueError(f"`--log-t` must be log10(T/K) between 3 and 9, such as 5.575 7.425 0.05, but is {given}")
    n_bins = (high - low) / step
    if not 2.5 < n_bins < _MAX_BINS + 0.5:
        raise ValueError(f"`--log-t` must make 3 to {_MAX_BINS} bins, but {given} makes {n_bins:.4g}")
    if abs(n_bins - round(n_bins)) > 1e-6:
        raise ValueError(f"`--log-t`: {low:g} to {high:g} is not a whole number of steps of {step:g}")
    import numpy as np

    return np.linspace(low, high, round(n_bins) + 1)


def _run(options, files, log_edges, targets, *, prepare, **choices):
    """From files to a FITS file, a picture and a summary; `targets` are the names of the first two, or None."""
    output, plot = targets
    targets = [target for target in targets if target is not None]
    # Fail before the work, not after it.
    for target in targets:
        _check_target(target, files, options.overwrite)
    if not output.name.endswith((".fits", ".fits.gz")):
        raise ValueError(f"`--output` must end in .fits or .fits.gz, but is {output.name!r}")
    if plot is not None:
        _check_picture(plot)

    with _staged(targets) as staged:
        import astropy.units as u

        import sunpy_demreg as demreg
        from sunpy_demreg._common.dates import mean_date

        warnings.simplefilter("ignore", demreg.UnsolvedWarning)  # the summary counts them
        cube = demreg.prepare(files, **prepare)
        response = demreg.TemperatureResponse.from_aia(cube)
        start = time.perf_counter()
        result = demreg.invert(cube, response, 10**log_edges * u.K, progress=options.progress, **choices)
        seconds = time.perf_counter() - start
        date = mean_date(cube.meta["date"]).strftime("%Y-%m-%d %H:%M:%S UT")
        if plot is not None:
            _draw(result, f"SDO/AIA {date}", staged[plot])
        demreg.write(result, staged[output])
        for target in targets:
            # As `sunpy_demreg.write` does: links stay, and so do the permissions of a file that is replaced.
            place = _place(target)
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.exists():
                shutil.copymode(place, staged[target])
            os.replace(staged[target], place)
    _summarize(result, date, seconds, targets)


def _check_target(target, files, overwrite):
    if target.is_dir():
        raise IsADirectoryError(f"{target} is a folder: name a file")
    if not target.exists():
        return
    if not overwrite:
        raise FileExistsError(f"{target} exists and is kept: choose another name, or pass --overwrite")
    if any(target.samefile(path) for file in files for path in matching_paths(file) if path.exists()):
        raise ValueError(f"{target} is one of the files to invert: choose another name")


def _place(target):
    """Where a target is written: the target of a link, or the name itself."""
    return Path(os.path.realpath(target))


def _check_picture(path):
    import matplotlib as mpl
    from matplotlib.backend_bases import FigureCanvasBase

    mpl.use("agg")  # a file is drawn: no screen is needed
    kinds = sorted(FigureCanvasBase.get_supported_filetypes())
    if path.suffix[1:].lower() not in kinds:
        raise ValueError(f"`--plot` must end in .png or one of .{', .'.join(kinds)}, but is {path.name!r}")


@contextmanager
def _staged(targets):
    """
    Yield temporary names for the targets, on their own disks, until all are complete.

    Creating the temporary folders also proves, before the work, that the targets can be written.
    """
    with ExitStack() as stack:
        staged = {}
        for target in targets:
            folder = next(parent for parent in _place(target).parents if parent.exists())
            if not folder.is_dir():
                raise NotADirectoryError(f"{target} cannot be written: {folder} is a file, not a folder")
            temporary = stack.enter_context(tempfile.TemporaryDirectory(prefix=".sunpy-demreg-", dir=folder))
            staged[target] = Path(temporary) / target.name
        yield staged


def _draw(result, title, path):
    import matplotlib.pyplot as plt

    from sunpy_demreg import visualization

    figure = visualization.plot_summary(result, title=title)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _summarize(result, date, seconds, targets):
    import numpy as np

    from sunpy_demreg import Status

    status = result["status"].data
    chi_squared = result["chi_squared"].data
    unsolved = (status & int(Status.UNSOLVED)) != 0
    n_solved = int(status.size - unsolved.sum())
    edges = np.log10(result.meta["temperature_bin_edges"].value)
    lines = [
        ("channels", ", ".join(result.meta["channels"])),
        ("date", f"{date}, the mean of the channels"),
        ("pixels", f"{status.size}, of which {n_solved} solved and {status.size - n_solved} masked"),
        ("temperatures", f"{len(edges) - 1} bins, log T {edges[0]:.2f} to {edges[-1]:.2f}"),
        ("inversion", f"{seconds:.2f} s, including the start of the engine"),
    ]
    if n_solved:
        median, high = np.percentile(chi_squared[~unsolved], (50, 95))
        lines.append(("chi-squared", f"median {median:.2f}, 95th percentile {high:.2f}"))
    for bit in Status:
        is_cause = bool(bit & Status.UNSOLVED)
        if n := np.count_nonzero((status & bit)[unsolved if is_cause else ~unsolved]):
            lines.append(("masked because" if is_cause else "solved, but", f"{n} {bit.name}"))
    lines += [("written", str(target)) for target in targets]
    for name, text in lines:
        print(f"{name:>15}  {text}")


@contextmanager
def _warnings_as_lines():
    """Show every warning once, as a line on the standard error output, as it occurs."""
    # sunpy's logger takes the warnings over when sunpy is loaded: that must have happened before.
    from sunpy.util.exceptions import SunpyWarning

    seen = set()

    def show(message, category, filename, lineno, file=None, line=None):
        if str(message) not in seen:
            seen.add(str(message))
            _complain(f"warning: {_in_our_words(message)}")

    with warnings.catch_warnings():
        # Regardless of warning filters in the environment: these are part of the output.
        warnings.simplefilter("always", SunpyWarning)
        warnings.showwarning = show
        yield


def _in_our_words(message):
    """The text of an error or a warning, with its argument under its command line name."""
    argument = getattr(message, "argument", None)
    if argument not in _WORDS:
        return str(message) or type(message).__name__
    return message_of(_WORDS[argument], message.problem)


def _complain(text):
    print(f"sunpy-demreg: {text}", file=sys.stderr)
