"""The inversion of one time: from files to a FITS file, a picture and a summary."""

# Only the standard library is loaded before the work begins: see `main`.
import os
import shutil
import tempfile
import time
import warnings
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sunpy_demreg._common.paths import matching_paths
from sunpy_demreg._common.urls import is_url, local_copy

__all__ = ["run_inversion"]


def run_inversion(options, files, log_edges, targets, *, prepare, **choices):
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
        from sunpy_demreg._common.dates import as_text, mean_date

        # The summary counts them.
        warnings.filterwarnings("ignore", ".* were not solved", demreg.UnsolvedWarning)
        if getattr(options, "submap", None) is not None:
            prepare = prepare | {"submap": _corners(files, options.submap)}
        cube = demreg.prepare(files, **prepare)
        response = demreg.TemperatureResponse.from_aia(cube)
        start = time.perf_counter()
        result = demreg.invert(cube, response, 10**log_edges * u.K, progress=options.progress, **choices)
        seconds = time.perf_counter() - start
        date = as_text(mean_date(cube.meta["date"]))
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


def _corners(files, corners):
    """Two opposite corners in arcsec as coordinates, as seen by the first file."""
    import astropy.units as u
    from astropy.coordinates import SkyCoord
    from sunpy.map import Map

    with local_copy(next(path for file in files for path in matching_paths(file))) as first:
        image = Map(first)
    frame = (image[0] if isinstance(image, list) else image).coordinate_frame
    return tuple(SkyCoord(*pair * u.arcsec, frame=frame) for pair in (corners[:2], corners[2:]))


def _check_target(target, files, overwrite):
    if target.is_dir():
        raise IsADirectoryError(f"{target} is a folder: name a file")
    if not target.exists():
        return
    if not overwrite:
        raise FileExistsError(f"{target} exists and is kept: choose another name, or pass --overwrite")
    here = [path for file in files if not is_url(file) for path in matching_paths(file)]
    if any(target.samefile(path) for path in here if path.exists()):
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
    from sunpy_demreg._common.log_t import log_t_texts
    from sunpy_demreg._common.numbers import significant

    status = result["status"].data
    chi_squared = result["chi_squared"].data
    unsolved = result["chi_squared"].mask
    n_solved = int(status.size - unsolved.sum())
    edges = np.log10(result.meta["temperature_bin_edges"].value)
    lines = [
        ("channels", ", ".join(result.meta["channels"])),
        ("date", f"{date}, the mean of the channels"),
        ("pixels", f"{status.size}, of which {n_solved} solved and {status.size - n_solved} masked"),
        ("temperatures", f"{len(edges) - 1} bins, log T {' to '.join(log_t_texts(edges[[0, -1]]))}"),
        ("inversion", f"{seconds:.2f} s, including the start of the engine"),
    ]
    if n_solved:
        median, high = np.percentile(chi_squared[~unsolved], (50, 95))
        lines.append(("chi-squared", f"median {significant(median)}, 95th percentile {significant(high)}"))
    for bit in Status:
        is_cause = bool(bit & Status.UNSOLVED)
        if n := np.count_nonzero((status & bit)[unsolved if is_cause else ~unsolved]):
            lines.append(("masked because" if is_cause else "solved, but", f"{n} {bit.name}"))
    lines += [("written", str(target)) for target in targets]
    for name, text in lines:
        print(f"{name:>15}  {text}")
