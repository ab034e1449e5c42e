"""The command line: ``sunpy-demreg demo``, ``invert``, ``batch``, ``info`` and ``explore``."""

# Only the standard library is loaded here, so that `main` also handles an interruption of the slow imports.
import argparse
import math
import sys
from pathlib import Path

from sunpy_demreg._cli.batch import add_batch_options, run_batch
from sunpy_demreg._cli.choices import add_choice, add_choices, choices_of, log_edges, number, place
from sunpy_demreg._cli.files import add_file_commands
from sunpy_demreg._cli.messages import complain, flush, in_our_words, is_cut, options_of, silence, warnings_as_lines
from sunpy_demreg._cli.one_time import run_inversion
from sunpy_demreg._cli.slurm import with_value
from sunpy_demreg._common.errors import nearest
from sunpy_demreg._common.urls import Url

__all__ = ["main"]

_OF_PICTURE = ("dem", "dem_uncertainty", "temperature_resolution", "chi_squared", "predicted_intensity", "intensity")
#: What can be written of one time; "emission_measure" needs ranges, which batches have.
OUTPUTS = (
    "dem",
    "dem_uncertainty",
    "temperature_resolution",
    "chi_squared",
    "predicted_intensity",
    "regularization_parameter",
    "is_resolved",
    "covariance",
    "resolution_matrix",
    "intensity",
    "status",
)
_EXAMPLES = """examples:
  sunpy-demreg invert aia_*.fits --output dem.fits --plot dem.png
  sunpy-demreg invert aia_*.fits --method lognormal --calibration-error 0.1 --output dem.fits
  sunpy-demreg invert aia_*.fits --submap -200 100 0 300 --bin 2 --reference 171 --output loop.fits
  sunpy-demreg info dem.fits
  sunpy-demreg explore dem.fits"""


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
        missing, or a time step of a batch that could not be done, 130 if interrupted, 141 if what reads the output
        ended first, as ``head`` does. Commands that cannot be understood exit with 2.
    """
    try:
        try:
            return _main(arguments)
        finally:
            flush()  # here, since Python would do it at its end, and complain; also after --help, which exits
    except BrokenPipeError:  # of these streams
        silence()
        return 141


def _main(arguments):
    command = None
    try:
        arguments = with_value(sys.argv[1:] if arguments is None else arguments)
        options, unknown = _parser().parse_known_args(arguments)
        command = options.command
        if unknown:
            _refuse(unknown, command)
        options.arguments = arguments
        with warnings_as_lines(command):
            return options.run(options) or 0
    except KeyboardInterrupt:
        complain("interrupted")
        return 130
    except BrokenPipeError as err:
        if is_cut():
            raise
        complain(f"error: another program, or a server, ended before all was sent to it ({err})")
        return 1
    except (OSError, ValueError, TypeError, ImportError, MemoryError, RuntimeError) as err:
        complain(f"error: {in_our_words(err, command)}")
        return 1


def _parser():
    from sunpy_demreg import __version__

    parser = argparse.ArgumentParser(
        prog="sunpy-demreg", description="Differential emission measures from SDO/AIA images."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="invert the bundled AIA sample, draw it, and write the result")
    demo.add_argument(
        "--output",
        type=_on_disk,
        default=Path("demo-output"),
        metavar="DIR",
        help="folder for the result and its picture, which is created (default: %(default)s)",
    )
    demo.set_defaults(run=_demo, command=demo)

    invert = commands.add_parser(
        "invert",
        help="invert AIA files of one time",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EXAMPLES,
    )
    invert.add_argument("files", nargs="+", metavar="FILE", help="one FITS file, or URL, per channel")
    invert.add_argument("--output", type=_on_disk, required=True, metavar="FILE", help="the FITS file to write")
    invert.add_argument(
        "--plot",
        type=_on_disk,
        metavar="PNG",
        help="also draw the result, in a file whose name ends in .png, .pdf or .svg",
    )
    add_choice(
        invert,
        "--outputs",
        OUTPUTS,
        nargs="+",
        default=("dem", "dem_uncertainty", "chi_squared", "intensity"),
        metavar="NAME",
        help=f"what to write, of {', '.join(OUTPUTS)}; chi_squared and status are always written (default: dem "
        "dem_uncertainty intensity; with --plot also what the picture and the command explore need)",
    )
    add_choice(
        invert, "--dtype", ("float32", "float64"), default="float32", help="type of the values (default: %(default)s)"
    )
    invert.add_argument(
        "--submap",
        nargs=4,
        type=_finite,
        metavar=("X1", "Y1", "X2", "Y2"),
        help="cut out a rectangle: two opposite corners in arcsec, as seen by the first file",
    )
    add_choices(invert)
    invert.set_defaults(run=_invert, command=invert)

    for command in (demo, invert):
        command.add_argument("--overwrite", action="store_true", help="replace output files that exist")
        command.add_argument("--progress", action="store_true", help="show a progress bar")
    batch = commands.add_parser("batch", help="invert all time steps in files or folders, into one Zarr store")
    add_batch_options(batch)
    add_choices(batch)
    batch.set_defaults(run=_batch, command=batch)
    add_file_commands(commands)
    return parser


def _finite(text):
    value = number(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be finite numbers, but has {text}")
    return value


def _on_disk(text):
    path = place(text)
    if isinstance(path, Url):
        raise argparse.ArgumentTypeError(f"must be a file on a disk, but is {text!r}: copy it there when it is done")
    return path


def _refuse(unknown, command):
    """Exit with the usage of the command, and the nearest of its options."""
    near = nearest(unknown[0].partition("=")[0], options_of(command)).replace("'", "")
    command.error(f"unrecognized arguments: {' '.join(unknown)}{near}")


def _demo(options):
    from sunpy_demreg import sample

    # The synoptic maps are averages of 4 x 4 pixels; their noise is less than what the response is uncertain by.
    prepare = {"n_sample": 16}
    choices = {"method": "lognormal", "calibration_error": 0.1}
    targets = (options.output / "dem.fits", options.output / "dem.png")
    edges = log_edges(5.575, 7.425, 0.05)
    run_inversion(options, sample.aia_files(), edges, targets, prepare=prepare, makes_folder=True, **choices)


def _invert(options):
    targets = (options.output, options.plot)
    prepare, choices = choices_of(options)
    more = _OF_PICTURE if options.plot is not None else ("chi_squared",)
    choices |= {"outputs": (*options.outputs, *more), "dtype": options.dtype}
    run_inversion(options, options.files, log_edges(*options.log_t), targets, prepare=prepare, **choices)


def _batch(options):
    return run_batch(options, log_edges(*options.log_t), *choices_of(options))
