"""The commands ``sunpy-demreg info`` and ``sunpy-demreg explore``, on files that exist."""

__all__ = ["add_file_commands"]


def add_file_commands(commands):
    """Add both commands to the parser."""
    for name, run, text in (
        ("info", _info, "tell what a file of this package contains"),
        (
            "explore",
            _explore,
            "open a map in a window: click on a pixel for its DEM; for files of invert --plot or sunpy_demreg.write",
        ),
    ):
        command = commands.add_parser(name, help=text, epilog=f"example: sunpy-demreg {name} dem.fits")
        command.add_argument("path", metavar="FILE-OR-URL", help="a .fits or .asdf file, or a .zarr store")
        command.set_defaults(run=run, command=command)


def _info(options):
    import numpy as np

    from sunpy_demreg import read
    from sunpy_demreg._common.dates import in_words
    from sunpy_demreg._common.log_t import log_t_texts
    from sunpy_demreg._results.settings import told_settings

    content = read(options.path)
    is_cube = not hasattr(content, "items")
    meta = content.meta or {}
    cubes = {str(meta.get("content", "cube")): content} if is_cube else dict(content.items())
    observation = meta.get("observation") or {}
    lines = [
        ("instrument", str(observation.get("instrument") or "")),
        ("date", in_words(observation.get("date"))),
    ]
    if not is_cube:
        edges = np.log10(meta["temperature_bin_edges"].value)
        ranges = meta.get("emission_measure_ranges")
        lines += [
            ("channels", ", ".join(meta["channels"])),
            ("temperatures", f"{len(edges) - 1} bins, log T {' to '.join(log_t_texts(edges[[0, -1]]))}"),
            ("ranges", "" if ranges is None else f"{_told(np.log10(ranges.value))}, of emission_measure"),
            ("settings", ", ".join(f"{name} = {value}" for name, value in told_settings(meta).items())),
        ]
    for name, cube in cubes.items():
        shape = " x ".join(map(str, cube.data.shape))
        error = "" if cube.uncertainty is None else ", with errors"
        lines.append((name, f"{shape}, {cube.data.dtype}, {cube.unit.to_string() or '1'}{error}"))
    width = max(len(name) for name, _ in lines)
    for name, text in lines:
        if text:
            print(f"{name:>{width}}  {text}")


def _told(ranges):
    from sunpy_demreg._common.log_t import log_t_texts

    return "log T " + ", ".join("-".join(log_t_texts(each, among=ranges.flat)) for each in ranges)


def _explore(options):
    import matplotlib.pyplot as plt

    from sunpy_demreg import read, visualization

    result = read(options.path)
    window = visualization.explore(result)  # kept until the window is closed
    plt.show()
    del window
