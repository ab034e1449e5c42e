"""The figures of the validation page."""

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import BoundaryNorm

from validation.accuracy import CENTERS, TRUTHS
from validation.families import WIDTHS
from validation.methods import LOGNORMAL, MAIN, PLOWMAN
from validation.setting import BIN_CENTERS, BIN_EDGES

__all__ = ["STYLE", "calibration_figure", "choice_figure", "gaussians_figure", "leading_figure", "robustness_figure"]

# Okabe & Ito (2008): told apart with any color vision; the markers and lines differ too.
COLORS = dict(zip(MAIN, ("#D55E00", "#999999", "#009E73", "#E69F00", "#0072B2"), strict=True))
MARKERS = dict(zip(MAIN, "osD^*", strict=True))
_SIZES = dict(zip(MAIN, (5, 4.5, 4.5, 5.5, 10), strict=True))
_LINES = dict(zip(MAIN, ("-", "--", ":", "-.", "-"), strict=True))
_LABELS = {
    "relax (default)": "relax (DEMREG)",
    "em_loci, constrain, 1 refinement": "em_loci, constrain, 1 refinement",
    PLOWMAN: "Plowman & Caspi (utu)",
}
STYLE = {"font.size": 9, "axes.titlesize": 9, "legend.frameon": False, "legend.fontsize": 8, "figure.dpi": 150}


def _styled(make):
    def figure(*args):
        with mpl.rc_context(STYLE):
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
def leading_figure(examples, summaries):
    """Four typical answers; and by truth, each method's error, false hot plasma, total, and how good its errors are."""
    figure = plt.figure(figsize=(10.5, 10.5), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[1, 2.25])
    for i, (axes, (name, of)) in enumerate(zip(top.subplots(1, len(examples)), examples.items(), strict=True)):
        _example(axes, name, of)
        axes.set_ylabel("EM per bin / largest true one" if i == 0 else "")
    panels = bottom.subplots(1, 4, sharey=True, gridspec_kw={"width_ratios": [1.35, 1, 1, 1]})
    methods = [method for method in MAIN if method in summaries[TRUTHS[0]]]
    rows = _rows()
    for row, name in enumerate(rows):
        for method in methods:
            of = summaries[name][method]
            style = {"color": COLORS[method], "ls": "none", "marker": MARKERS[method], "ms": _SIZES[method]}
            style |= {"zorder": 3 if method == LOGNORMAL else 2, "mew": 0}
            label = _LABELS.get(method, method) if row == 0 else None
            for axes, value in zip(panels, (of["E"], of["false_hot"], of["total"]), strict=False):
                axes.plot(value, row, label=label, **style)
            for kind, share in of["coverage"].items():
                if (kind == "posterior") == (method == LOGNORMAL):
                    panels[3].plot(share["within_1"], row, **style)
                    panels[3].plot(share["within_2"], row, **(style | {"mfc": "none", "mew": 1}))
    for axes, (nominal, label, limits) in zip(
        panels,
        (
            (None, "E: EM in the wrong bins\n(over all EM)", (0, 1.5)),
            (0.0, "false EM above log T = 6.8\n(over all EM)", (-0.03, 0.75)),
            (1.0, "total EM / true total\n", (0.3, 1.9)),
            (None, "EM in ranges within 1σ (filled),\n2σ (open) of the truth", (0, 1)),
        ),
        strict=True,
    ):
        if nominal is not None:
            axes.axvline(nominal, color="k", lw=0.8, zorder=1)
        axes.set(xlabel=label, xlim=limits)
        axes.grid(axis="x", color="0.9", lw=0.6)
        axes.axhspan(len(rows) - 2.5, len(rows) - 0.5, color="0.93", zorder=0)
        axes.set_axisbelow(True)
    for share, text in ((0.683, "68 %"), (0.954, "95 %")):
        panels[3].axvline(share, color="k", lw=0.8, ls="--", zorder=1)
        panels[3].text(share, -0.62, text, ha="center", va="bottom", fontsize=8)
    panels[0].set_yticks(range(len(rows)), rows)
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    handles, labels = panels[0].get_legend_handles_labels()
    of_top = dict(zip(*top.axes[0].get_legend_handles_labels()[::-1], strict=True))
    handles += [of_top[label] for label in ("truth", "± 1σ")]
    labels += ["truth", f"{LOGNORMAL} ± 1σ"]
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), columnspacing=1.2, handletextpad=0.4)
    return figure


def _rows():
    """From what was observed, by smooth shapes, to the sharpest."""
    sharp = ("isothermal", "narrow pairs")
    curves = TRUTHS[-2:]
    return [*curves, *(name for name in TRUTHS if name not in (*curves, *sharp)), *sharp]


def _example(axes, name, of):
    truth = of["truth"]
    peak = truth.max()
    axes.stairs(truth / peak, BIN_EDGES, color="0.82", fill=True, label="truth")
    shown = [method for method in ("relax (default)", PLOWMAN, LOGNORMAL) if method in of["em"]]
    for method in shown:
        style = {"color": COLORS[method], "ls": _LINES[method], "lw": 1.9 if method == LOGNORMAL else 1.2}
        axes.plot(BIN_CENTERS, of["em"][method] / peak, label=_LABELS.get(method, method), **style)
    em, error = of["em"][LOGNORMAL], of["error"]
    axes.fill_between(
        BIN_CENTERS, (em - error) / peak, (em + error) / peak, color=COLORS[LOGNORMAL], alpha=0.22, lw=0, label="± 1σ"
    )
    axes.set(title=name, xlabel="log$_{10}$ T [K]", xlim=(BIN_EDGES[0], BIN_EDGES[-1]))
    axes.set_ylim(-0.04, 1.05 * min(max(1.0, *(v.max() / peak for v in of["em"].values())), 2.2))


@_styled
def robustness_figure(studies):
    """The error, and the share of the truth within one reported error, by the noise, the uncertainty, the channels."""
    figure, rows = plt.subplots(
        2, 3, figsize=(10, 5.6), layout="constrained", sharey="row", gridspec_kw={"width_ratios": [1, 1, 1.6]}
    )
    labels = ("noise of each intensity", "assumed / true uncertainty", "instrument and number of channels")
    for column, (study, label, ticks) in enumerate(zip(studies, labels, (_percents, list, _channels), strict=True)):
        upper, lower = rows[:, column]
        x = np.arange(len(study))
        shown = [method for method in MAIN if method in next(iter(study.values()))]
        for shift, method in zip(np.linspace(-0.16, 0.16, len(shown)), shown, strict=True):
            style = {"color": COLORS[method], "ls": _LINES[method] if column < 2 else "none", "lw": 1.3}
            style |= {"marker": MARKERS[method], "ms": _SIZES[method], "mew": 0}
            at = x + shift * (column == 2)
            upper.plot(at, [of[method]["E"] for of in study.values()], label=_LABELS.get(method, method), **style)
            kind = "posterior" if method == LOGNORMAL else "noise"
            share = [of[method]["coverage"].get(kind, {}).get("within_1", np.nan) for of in study.values()]
            lower.plot(at, share, **style)
        lower.axhline(0.683, color="k", ls="--", lw=0.8)
        for axes in (upper, lower):
            axes.grid(axis="y", color="0.9", lw=0.6)
            axes.set_axisbelow(True)
            axes.set_xticks(x, ticks(study) if axes is lower else [])
            axes.set_xlim(-0.4, len(study) - 0.6)
        lower.set_xlabel(label)
    rows[0, 0].set(ylabel="E (mean over the families)", ylim=(0, 1.05))
    rows[1, 0].set(ylabel="EM in ranges within\n1σ of the truth", ylim=(0, 0.9))
    figure.legend(*rows[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    return figure


def _percents(study):
    return [f"{100 * float(level):g} %" for level in study]


def _channels(study):
    return ["\n".join(name.split()[:-1]).replace(",", "").replace("\n+\n", "+") for name in study]


@_styled
def gaussians_figure(maps):
    """Error of single Gaussians, by center and width, one panel per method."""
    figure, panels = plt.subplots(1, len(maps), figsize=(9.8, 2.9), layout="constrained", sharey=True)
    ticks = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 1.5, 2]
    norm = BoundaryNorm(ticks, 256, extend="max")
    for axes, (method, values) in zip(panels, maps.items(), strict=True):
        mesh = axes.pcolormesh(_edges(CENTERS), _edges(WIDTHS), values, norm=norm, cmap="viridis", rasterized=True)
        axes.set(title=_LABELS.get(method, method), xlabel="center (log$_{10}$ T [K])")
    panels[0].set_ylabel("standard deviation (dex)")
    bar = figure.colorbar(mesh, ax=panels, label="E (median)", pad=0.01, spacing="uniform", ticks=ticks)
    bar.ax.set_yticklabels([f"{tick:.3g}" for tick in ticks])
    return figure


def _edges(values):
    middle = 0.5 * (values[1:] + values[:-1])
    return np.concatenate([[values[0] - (middle[0] - values[0])], middle, [2 * values[-1] - middle[-1]]])


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
    for axes, below, (name, of) in zip(top, bottom, curves.items(), strict=True):
        truth = next(iter(of.values()))["truth"]
        peak = truth.max()
        axes.stairs(truth / peak, BIN_EDGES, color="0.82", fill=True, label="truth")
        for method, curve in of.items():
            color, line = COLORS[method], _LINES[method]
            mean, spread = curve["mean"] / peak, curve["spread"] / peak
            axes.plot(BIN_CENTERS, mean, color=color, ls=line, lw=1.4, label=f"{_LABELS.get(method, method)}: mean")
            axes.fill_between(BIN_CENTERS, mean - spread, mean + spread, color=color, alpha=0.25, lw=0)
            used = curve["mean"] > 0.01 * curve["mean"].max()
            for kind, reported in curve["reported"].items():
                ratio = np.where(used, reported / np.where(curve["spread"] > 0, curve["spread"], np.nan), np.nan)
                style = {"color": color, "ls": ":" if kind == "posterior" else line, "lw": 1.4}
                below.plot(BIN_CENTERS, ratio, label=f"{_LABELS.get(method, method)}, {kind}", **style)
        below.axhline(1, color="k", lw=0.8)
        axes.set_title(name)
        below.set(xlabel="log$_{10}$ T [K]", ylim=(0, 3), xlim=(BIN_EDGES[0], BIN_EDGES[-1]))
        below.grid(axis="y", color="0.9", lw=0.6)
    top[0].set_ylabel("EM per bin\n(over the peak of the truth)")
    top[0].set_ylim(0, 1.5)
    bottom[0].set_ylabel("reported error\n/ spread")
    handles, labels = top[0].get_legend_handles_labels()
    more, their = bottom[0].get_legend_handles_labels()
    chosen = [i for i, label in enumerate(their) if label.endswith("posterior")]
    figure.legend(
        [*handles, *(more[i] for i in chosen)],
        [*labels, *(f"{their[i]} error" for i in chosen)],
        loc="outside upper center",
        ncols=3,
    )
    return figure
