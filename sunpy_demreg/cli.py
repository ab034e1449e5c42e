"""The command line: ``sunpy-demreg demo`` and ``sunpy-demreg invert``."""

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np

__all__ = ["main"]


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
        The exit status: 0, 1 for bad input, 130 if interrupted.
    """
    options = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return options.run(options)
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    except (OSError, ValueError, TypeError) as err:
        _complain(f"error: {err}")
        return 1


def _parser():
    parser = argparse.ArgumentParser(
        prog="sunpy-demreg", description="Differential emission measures from SDO/AIA images."
    )
    from sunpy_demreg import __version__

    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="invert the bundled AIA sample, draw it, and write the result")
    demo.add_argument("--output", type=Path, default=Path("demo-output"), metavar="DIR", help="default: %(default)s")
    demo.set_defaults(run=_demo)

    invert = commands.add_parser("invert", help="invert AIA level 1.5 files of one time")
    invert.add_argument("files", nargs="+", metavar="FILE", help="one FITS file per channel")
    invert.add_argument(
        "--log-t",
        nargs=3,
        type=float,
        default=(5.6, 7.4, 0.05),
        metavar=("LOW", "HIGH", "STEP"),
        help="temperature bin edges as log10(T/K): first, last, width (default: 5.6 7.4 0.05)",
    )
    invert.add_argument("--output", type=Path, required=True, metavar="FILE", help="the FITS file to write")
    invert.add_argument("--plot", type=Path, metavar="PNG", help="also draw the result")
    invert.add_argument(
        "--n-sample", type=int, metavar="N", help="pixels averaged into each one (16 for the synoptic maps)"
    )
    invert.add_argument("--include-chianti", action="store_true", help="add the errors of the atomic data")
    invert.add_argument("--parameter-choice", choices=("discrepancy", "grid"), default="discrepancy")
    invert.add_argument("--positivity", choices=("relax", "none"), default="relax")
    invert.set_defaults(run=_invert)

    for command in (demo, invert):
        command.add_argument("--overwrite", action="store_true", help="replace output files that exist")
        command.add_argument("--progress", action="store_true", help="show a progress bar")
    return parser


def _demo(options):
    from sunpy_demreg import sample

    files = sample.aia_files()
    targets = (options.output / "dem.fits", options.output / "dem.png")
    # The synoptic maps are averages of 4 x 4 pixels.
    return _run(options, files, np.arange(5.6, 7.401, 0.05), targets, prepare={"n_sample": 16})


def _invert(options):
    low, high, step = options.log_t
    if not (low < high and step > 0):
        raise ValueError(f"`--log-t` must be LOW < HIGH and STEP > 0, but is {low:g} {high:g} {step:g}")
    log_edges = np.arange(low, high + 0.5 * step, step)
    if abs(log_edges[-1] - high) > 1e-6 * step:
        raise ValueError(f"`--log-t`: {low:g} to {high:g} is not a whole number of steps of {step:g}")
    return _run(
        options,
        options.files,
        log_edges,
        (options.output, options.plot),
        prepare={"n_sample": options.n_sample, "include_chianti": options.include_chianti},
        parameter_choice=options.parameter_choice,
        positivity=None if options.positivity == "none" else options.positivity,
    )


def _run(options, files, log_edges, targets, *, prepare, **choices):
    """Files to a FITS file, a picture and a summary; `targets` are the names of the first two (or None)."""
    for target in filter(None, targets):
        # Before the work, not after it.
        if target.exists() and not options.overwrite:
            raise FileExistsError(f"{target} exists and is kept: name another, or pass --overwrite")
    output, plot = targets
    if not output.name.endswith((".fits", ".fits.gz")):
        raise ValueError(f"`--output` must end in .fits or .fits.gz, but is {output.name!r}")

    import astropy.units as u

    import sunpy_demreg as demreg

    cube = demreg.prepare(files, **prepare)
    response = demreg.TemperatureResponse.from_aia(cube)
    start = time.perf_counter()
    result = demreg.invert(cube, response, 10**log_edges * u.K, progress=options.progress, **choices)
    seconds = time.perf_counter() - start

    for target in filter(None, targets):
        target.parent.mkdir(parents=True, exist_ok=True)
    demreg.write(result, output, overwrite=options.overwrite)
    if plot is not None:
        import matplotlib as mpl

        mpl.use("agg")  # a file is drawn: no screen is needed
        date = cube.meta["date"][0].strftime("%Y-%m-%d %H:%M:%S UT")
        figure = demreg.visualization.plot_summary(result, title=f"SDO/AIA  {date}")
        figure.savefig(plot, dpi=150)
    _summarize(result, seconds, [target for target in targets if target is not None])
    return 0


def _summarize(result, seconds, targets):
    from sunpy_demreg import Status

    status = result["status"].data
    chi_squared = result["chi_squared"].data
    unsolved = (status & int(Status.UNSOLVED)) != 0
    n_solved = int(status.size - unsolved.sum())
    edges = np.log10(result.meta["temperature_bin_edges"].value)
    lines = [
        ("pixels", f"{status.size}, of which {n_solved} solved and {status.size - n_solved} masked"),
        ("temperatures", f"{len(edges) - 1} bins, log T {edges[0]:.2f} to {edges[-1]:.2f}"),
        ("inversion", f"{seconds:.2f} s, {1e6 * seconds / max(n_solved, 1):.0f} µs per solved pixel"),
    ]
    if n_solved:
        median, high = np.percentile(chi_squared[~unsolved], (50, 95))
        lines.append(("chi-squared", f"median {median:.2f}, 95th percentile {high:.2f}"))
    lines += [
        (
            "masked because" if bit & Status.UNSOLVED else "solved, but",
            f"{np.count_nonzero(status & bit)} {bit.name}",
        )
        for bit in Status
        if np.any(status & bit)
    ]
    lines += [("written", str(target)) for target in targets]
    for name, text in lines:
        print(f"{name:>15}  {text}")


def _show_warning(message, category, filename, lineno, file=None, line=None):
    _complain(f"warning: {message}")


def _complain(text):
    print(f"sunpy-demreg: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
