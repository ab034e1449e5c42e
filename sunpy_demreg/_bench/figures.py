"""The figures of the performance page."""

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

__all__ = ["figure"]

# Okabe & Ito (2008): told apart with any color vision; the markers differ too.
_STYLES = {
    "demregpy": ("demregpy 1.0", "#000000", "s"),
    "utu": ("utu 0.5 (DEM only)", "#E69F00", "^"),
    "numpy": ("numpy", "#CC79A7", "v"),
    "numpy, DEM only": ("numpy, DEM only", "#CC79A7", "v"),
    "cpu": ("cpu", "#0072B2", "o"),
    "cpu, grid": ("cpu, grid", "#009E73", "D"),
    "cpu, DEM only": ("cpu, DEM only", "#0072B2", "o"),
    "relax": ("relax", "#D55E00", "o"),
    "constrain": ("constrain", "#0072B2", "s"),
    "relax, DEM only": ("relax, DEM only", "#E69F00", "^"),
}
_RC = {"font.size": 9, "axes.titlesize": 9, "legend.frameon": False, "legend.fontsize": 8}


def figure(part, results):
    """The figure of a part; None where a table says all."""
    if part not in _FIGURES:
        return None
    with rc_context(_RC):
        return _FIGURES[part](results)


def _plain(axis, ticks=None):
    """Plain numbers on a logarithmic axis."""
    if ticks is not None:
        axis.set_ticks(ticks)
        axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _peers(rows):
    drawing = Figure(figsize=(8.8, 4.2), layout="constrained")
    panels = drawing.subplots(1, 2, sharey=True)
    bins = sorted({row["bins"] for row in rows})
    cores = sorted({row["cores"] for row in rows})
    shown = (
        ("All outputs", ("demregpy", "numpy", "cpu, grid", "cpu")),
        ("DEM and chi-squared", ("demregpy", "numpy, DEM only", "utu", "cpu, DEM only")),
    )
    for axes, (title, names) in zip(panels, shown, strict=True):
        for name in names:
            label, color, marker = _STYLES[name]
            for n_cores, line in zip(cores[::-1], ("-", ":"), strict=False):
                chosen = [row for row in rows if row["case"] == name and row["cores"] == n_cores]
                if not chosen:
                    continue
                middle = np.array([row["us_per_pixel"] for row in chosen])
                ends = np.array([[row["us_fastest"], row["us_slowest"]] for row in chosen]).T
                axes.errorbar(
                    [row["bins"] for row in chosen],
                    middle,
                    np.abs(ends - middle),
                    color=color,
                    marker=marker,
                    ls=line,
                    ms=4.5,
                    lw=1.3,
                    capsize=2,
                    mfc=color if line == "-" else "white",
                    label=label if line == "-" else None,
                )
        axes.set(title=title, xlabel="temperature bins", xscale="log", yscale="log")
        _plain(axes.xaxis, bins)
        _plain(axes.yaxis)
        axes.grid(which="major", color="0.9", lw=0.6)
        axes.set_axisbelow(True)
        axes.legend(loc="upper left", ncols=2)
        axes.set_ylim(top=axes.get_ylim()[1] * 4)
    panels[0].set_ylabel("µs per pixel")
    if len(cores) > 1:
        drawing.supxlabel(f"solid, filled: {cores[-1]} cores; dotted, open: one; bars: fastest to slowest", fontsize=8)
    return drawing


def _sweep(rows):
    drawing = Figure(figsize=(8.8, 3.9), layout="constrained")
    left, right = drawing.subplots(1, 2)
    bins, pixels = (sorted({row[name] for row in rows}) for name in ("bins", "pixels"))
    names = list(dict.fromkeys(row["case"] for row in rows))
    for name in names:
        label, color, marker = _STYLES[name]
        for n_bins, line in zip(bins, ("-", "--"), strict=False):
            chosen = [row for row in rows if row["case"] == name and row["bins"] == n_bins]
            middle = np.array([row["us_per_pixel"] for row in chosen])
            ends = np.array([[row["us_fastest"], row["us_slowest"]] for row in chosen]).T
            x = [row["pixels"] for row in chosen]
            style = {"color": color, "marker": marker, "ls": line, "ms": 4.5, "lw": 1.3, "capsize": 2}
            left.errorbar(x, middle, np.abs(ends - middle), label=f"{label}, {n_bins} bins", **style)
    left.set(xscale="log", yscale="log", xlabel="pixels", ylabel="µs per pixel (bars: fastest to slowest)")
    _plain(left.xaxis, pixels)
    _plain(left.yaxis)
    left.set_ylim(top=left.get_ylim()[1] * 6)
    left.legend(loc="upper left", ncols=2)
    most = [row for row in rows if row["pixels"] == pixels[-1] and row["case"] in ("relax", "constrain")]
    for x, row in enumerate(most):
        color = _STYLES[row["case"]][1]
        low, middle, high, top = (row[f"chi_squared_{q}"] for q in ("25", "median", "75", "95"))
        right.plot([x, x], [low, high], color=color, lw=9, alpha=0.35, solid_capstyle="butt")
        right.plot(x, middle, "o", color=color, ms=5)
        right.plot([x - 0.18, x + 0.18], [top, top], color=color, lw=2)
    right.set_xticks(range(len(most)), [f"{row['case']}\n{row['bins']} bins" for row in most])
    right.set(
        yscale="log",
        xlim=(-0.6, len(most) - 0.4),
        ylabel=f"χ² per channel, {pixels[-1]} pixels\n(dot: median; bar: quartiles; line: 95 %)",
    )
    _plain(right.yaxis)
    for axes in (left, right):
        axes.grid(which="major", axis="y", color="0.9", lw=0.6)
        axes.set_axisbelow(True)
    return drawing


def _profile(results):
    rows = [row for row in results["rows"] if row["stage"] != "the engine"]
    drawing = Figure(figsize=(8.8, 0.5 * len(rows) + 1.2), layout="constrained")
    axes = drawing.subplots()
    y = np.arange(len(rows))[::-1]
    axes.barh(y + 0.18, [row["ns_per_pixel"] for row in rows], 0.36, color="#0072B2", label="measured")
    limits = [row.get("ns_at_limit", 0.0) for row in rows]
    axes.barh(y - 0.18, limits, 0.36, color="#E69F00", label="its arithmetic at the limit of the core")
    for position, row in zip(y, rows, strict=True):
        axes.annotate(
            f"{row['ns_per_pixel']:.0f}",
            (max(row["ns_per_pixel"], 0.0), position + 0.18),
            (3, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set_yticks(y, [row["stage"] for row in rows])
    axes.set_xlabel(f"ns per pixel that a stage adds, {results['n_bins']} bins, one core")
    axes.axvline(0, color="k", lw=0.8)
    axes.margins(x=0.08)
    axes.grid(axis="x", color="0.9", lw=0.6)
    axes.set_axisbelow(True)
    axes.legend(loc="best")
    return drawing


def _baseline(results):
    rows = [row for row in results["rows"] if "times_baseline" in row]
    if not rows:
        return None
    drawing = Figure(figsize=(8.0, 0.3 * len(rows) + 1.2), layout="constrained")
    axes = drawing.subplots()
    y = np.arange(len(rows))[::-1]
    middle = np.array([row["times_baseline"] for row in rows])
    ends = np.array([[row["times_least"], row["times_most"]] for row in rows]).T
    axes.errorbar(middle, y, xerr=np.abs(ends - middle), fmt="o", color="#0072B2", ms=5, capsize=2)
    axes.axvline(1, color="k", lw=0.8)
    axes.set_yticks(y, [f"{row['case']}, {row['bins']} bins" for row in rows])
    versions = results["versions"]
    axes.set(
        xscale="log",
        xlabel=f"times faster than {versions['baseline']} (bars: least to most of the rounds)",
        ylim=(-0.6, len(rows) - 0.4),
    )
    _plain(axes.xaxis)
    _plain_minor(axes.xaxis)
    axes.grid(axis="x", color="0.9", lw=0.6)
    axes.set_axisbelow(True)
    return drawing


def _plain_minor(axis):
    axis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


_FIGURES = {"peers": _peers, "sweep": _sweep, "profile": _profile, "baseline": _baseline}
