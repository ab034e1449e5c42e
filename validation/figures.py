"""The figures of the validation page."""

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import BoundaryNorm

from validation.accuracy import COMPONENTS
from validation.calibration import RANGES
from validation.setting import BIN_CENTERS, BIN_WIDTH
from validation.truths import CENTERS, WIDTHS

__all__ = ["calibration_figure", "choice_figure", "families_figure", "gaussians_figure"]

# Okabe & Ito (2008): told apart with any color vision; the markers and lines differ too.
COLORS = {
    "relax (default)": "#D55E00",
    "constrain": "#0072B2",
    "em_loci, constrain, 1 refinement": "#009E73",
    "l2, relax": "#CC79A7",
    "l2, constrain": "#999999",
}
MARKERS = dict(zip(COLORS, "osD^v", strict=True))
_TITLES = {
    "em_loci, constrain, 1 refinement": "em_loci, constrain,\n1 refinement",
    "relax (default)": "relax (default)",
}
_STYLE = {"font.size": 9, "axes.titlesize": 9, "legend.frameon": False, "legend.fontsize": 8, "figure.dpi": 150}


def _styled(make):
    def figure(*args):
        with mpl.rc_context(_STYLE):
            return make(*args)

    figure.__doc__ = make.__doc__
    return figure


@_styled
def choice_figure(arrays):
    """Histograms of what the grid chooses, over what is exact."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3.2), layout="constrained")
    colors, lines = ("#D55E00", "#0072B2", "#009E73"), ("-", "--", ":")
    limits = 1.05 * max(np.abs(np.log10(of["ratio"])).max() for of in arrays.values())
    low = min(of["chi_squared"].min() for of in arrays.values()) - 0.05
    high = max(of["chi_squared"].max() for of in arrays.values()) + 0.05
    for (n, of), color, line in zip(arrays.items(), colors, lines, strict=True):
        style = {"histtype": "step", "color": color, "ls": line, "lw": 1.6, "label": f"{n} samples"}
        weights = np.full(of["ratio"].size, 100 / of["ratio"].size)
        left.hist(np.log10(of["ratio"]), np.linspace(-limits, limits, 61), weights=weights, **style)
        right.hist(of["chi_squared"], np.linspace(low, high, 61), weights=weights, **style)
    for axes, exact in ((left, 0.0), (right, 1.0)):
        axes.axvline(exact, color="k", lw=0.8)
        axes.set(yscale="log", ylabel="pixels (%)")
    left.set_xlabel("log$_{10}$ (λ of the grid / λ exact)")
    right.set_xlabel("χ² per channel, with λ of the grid (exact: 1)")
    right.legend(loc="upper right")
    return figure


@_styled
def gaussians_figure(maps, total):
    """Error and chi-squared of single Gaussians, by center and width, one column per method."""
    figure, rows = plt.subplots(
        2, len(maps), figsize=(9.5, 4.9), layout="constrained", sharex=True, sharey=True, squeeze=False
    )
    # A chi-squared of one is one but for rounding.
    levels = {"E": [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 1.5, 2], "chi_squared": [0, 1.001, 1.5, 3, 6, 12, 25]}
    labels = {"E": "E (median)", "chi_squared": "χ² per channel (median)"}
    for axes, (key, ticks) in zip(rows, levels.items(), strict=True):
        norm = BoundaryNorm(ticks, 256, extend="max")
        for ax, (method, values) in zip(axes, maps.items(), strict=True):
            x, y = _edges(CENTERS), _edges(WIDTHS)
            mesh = ax.pcolormesh(x, y, values[key], norm=norm, cmap="viridis", rasterized=True)
            if key == "E":
                ax.set_title(_TITLES.get(method, method))
        bar = figure.colorbar(mesh, ax=axes, label=labels[key], pad=0.01, spacing="uniform", ticks=ticks)
        bar.ax.set_yticklabels([f"{tick:.3g}" for tick in ticks])
        bar.ax.tick_params(labelsize=8)
        axes[0].set_ylabel("width σ (dex)")
    for ax in rows[-1]:
        ax.set_xlabel("center (log$_{10}$ T [K])")
    factor, power = f"{total:.0e}".split("e+")
    figure.suptitle(rf"Single Gaussians of {factor} $\times$ 10$^{{{power}}}$ cm$^{{-5}}$", fontsize=10)
    return figure


def _edges(values):
    middle = 0.5 * (values[1:] + values[:-1])
    return np.concatenate([[values[0] - (middle[0] - values[0])], middle, [2 * values[-1] - middle[-1]]])


@_styled
def families_figure(cases, components):
    """Median and spread of the error by family, and the median by the number of components."""
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9.5, 3.9), layout="constrained", gridspec_kw={"width_ratios": [2.3, 1]}, sharey=True
    )
    names = list(cases)
    offset = np.linspace(-0.3, 0.3, len(COLORS))
    for shift, (method, color) in zip(offset, COLORS.items(), strict=True):
        low, median, high = np.array([np.nanpercentile(cases[f][method]["E"], [10, 50, 90]) for f in names]).T
        x = np.arange(len(names)) + shift
        left.errorbar(
            x, median, [median - low, high - median], fmt=MARKERS[method], color=color, ms=4.5, lw=1.2, label=method
        )
        y = [components[str(n)][method]["E_median"] for n in COMPONENTS]
        right.plot(range(len(COMPONENTS)), y, MARKERS[method] + "-", color=color, ms=4.5, lw=1.2)
    left.set_xticks(range(len(names)), [name.replace(", ", ",\n").replace(" ", "\n") for name in names])
    left.set(ylabel="E (median; bars: 10 to 90 %)", ylim=(0, 2.4), xlim=(-0.5, len(names) - 0.5))
    for x in np.arange(len(names) - 1) + 0.5:
        left.axvline(x, color="0.85", lw=0.8)
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=len(COLORS))
    right.set_xticks(range(len(COMPONENTS)), COMPONENTS)
    right.set(xlabel="Gaussians in a random sum", ylabel="E (median)")
    right.tick_params(labelleft=True)
    for axes in (left, right):
        axes.grid(axis="y", color="0.9", lw=0.6)
        axes.set_axisbelow(True)
    return figure


@_styled
def calibration_figure(curves):
    """Truth and answers by truth and method, and below them the reported error over the spread."""
    figure, (top, bottom) = plt.subplots(
        2,
        len(curves),
        figsize=(9.8, 5.0),
        layout="constrained",
        sharex=True,
        sharey="row",
        squeeze=False,
        gridspec_kw={"height_ratios": [1.6, 1]},
    )
    methods = {"relax": (COLORS["relax (default)"], "-"), "constrain": (COLORS["constrain"], "--")}
    edges = np.append(BIN_CENTERS - BIN_WIDTH / 2, BIN_CENTERS[-1] + BIN_WIDTH / 2)
    for ax, below, (name, of) in zip(top, bottom, curves.items(), strict=True):
        peak = 1.0
        for method, (color, line) in methods.items():
            curve = of[method]
            peak = curve["truth"].max()
            mean, spread = curve["mean"] / peak, curve["spread"] / peak
            ax.stairs(curve["truth"] / peak, edges, color="k", lw=1.4, label="truth" if method == "relax" else None)
            ax.plot(BIN_CENTERS, mean, color=color, ls=line, lw=1.4, label=f"{method}: mean")
            ax.fill_between(BIN_CENTERS, mean - spread, mean + spread, color=color, alpha=0.25, lw=0)
            used = curve["mean"] > 0.01 * curve["mean"].max()
            ratio = np.where(used, curve["reported"] / np.where(curve["spread"] > 0, curve["spread"], np.nan), np.nan)
            below.plot(BIN_CENTERS, ratio, color=color, ls=line, lw=1.4, marker=".", ms=4, label=method)
        below.axhline(1, color="k", lw=0.8)
        for low, _ in RANGES[1:]:
            ax.axvline(low, color="0.85", lw=0.8, zorder=0)
        ax.set_title(name)
        below.set(xlabel="log$_{10}$ T [K]", ylim=(0, 1.6), xlim=(5.6, 7.4))
        below.grid(axis="y", color="0.9", lw=0.6)
    top[0].set_ylabel("emission measure per bin\n(over the peak of the truth)")
    top[0].set_ylim(0, 1.35)
    bottom[0].set_ylabel("reported error\n/ spread")
    top[0].legend(loc="upper right")
    return figure
