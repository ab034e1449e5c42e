"""The tables of the accuracy on known truths."""

from benchmarks.reporting import file_with_table, percent, signed
from validation import SCRIPT
from validation.families import FAMILIES
from validation.methods import LOGNORMAL, PLOWMAN

__all__ = ["accuracy_sentences", "accuracy_tables"]

_SHORT = {
    "relax (default)": "relax (DEMREG)",
    PLOWMAN: "Plowman & Caspi",
}
_BASE = "relax (default)"


def accuracy_tables(results):
    """Text by the name of the file, of what `validation.accuracy` and `validation.robustness` measured."""
    return {
        "validation_accuracy.rst": _errors(results["accuracy"]),
        "validation_means.rst": _means(results["means"], results["coverage"]),
        "validation_coverage.rst": _coverage(results["accuracy"]),
        "validation_robustness.rst": _robustness(results),
        "validation_priors.rst": _priors(results["priors"]),
        "validation_options.rst": _options(results["options"]),
    }


def _errors(summaries):
    methods = list(next(iter(summaries.values())))
    rows = []
    for name, of in summaries.items():
        values = [f"{of[method]['E']:.3f}" for method in methods]
        least = min(values)
        rows.append((name, *(f"**{value}**" if value == least else value for value in values)))
    first = next(iter(next(iter(summaries.values())).values()))
    error = max(of["E_sampling_error"] / of["E"] for each in summaries.values() for of in each.values())
    note = (
        f"Median E of {first['cases']} cases each, whose sampling error is {percent(error)} at most; the smallest of "
        "each row is in bold."
    )
    header = ("truth", *(_SHORT.get(method, method) for method in methods))
    return file_with_table(SCRIPT, header, rows, note, [2] + [1] * len(methods))


def _means(means, shares):
    rows = [
        (
            _SHORT.get(method, method),
            f"{of['E']:.3f}",
            f"{of['E_ranges']:.3f}",
            f"{of['distance']:.3f}",
            f"{of['false_hot']:.3f}, {of['false_hot_90']:.2f}",
            f"{of['total']:.2f}",
            f"{of['chi_squared']:.2f}",
            f"{signed(of['log_T_bias'], 3)}, {of['log_T_error']:.3f}",
            *(_kinds(shares[method], k) for k in (1, 2)),
        )
        for method, of in means.items()
    ]
    header = (
        "method",
        "E",
        "E in 0.3 dex",
        "distance (dex)",
        "false hot EM: median, 90 %",
        "total EM",
        "χ²",
        "mean log T: bias, error",
        "within 1σ",
        "within 2σ",
    )
    note = (
        f"Means over the {len(FAMILIES)} families of the median of each. The last columns are shares of all cases "
        "together: within the noise error, and, after a semicolon, within the posterior error."
    )
    return file_with_table(SCRIPT, header, rows, note)


def _kinds(shares, number):
    """The shares within so many errors of each kind."""
    return "; ".join(percent(of[f"within_{number}"]) for of in shares.values()) or "no errors"


def _coverage(summaries):
    shown = (("constrain", "noise"), (LOGNORMAL, "noise"), (LOGNORMAL, "posterior"))
    rows = []
    for name, of in summaries.items():
        shares = [of[method]["coverage"][kind] for method, kind in shown]
        rows.append((name, *(f"{percent(s['within_1'])}, {percent(s['within_2'])}" for s in shares)))
    header = ("truth", *(f"{method}, {kind}" for method, kind in shown))
    note = (
        "How often the emission measure of a range of 0.3 dex is within 1σ and 2σ of the truth; 68 % and 95 % would be "
        "right."
    )
    return file_with_table(SCRIPT, header, rows, note)


def _robustness(results):
    studies = {
        "noise of each intensity {}": {f"{100 * float(k):g} %": of for k, of in results["noise"].items()},
        "uncertainty times {}": results["wrong_uncertainty"],
        "{}": results["channels"],
    }
    first = next(iter(results["noise"].values()))
    rows = []
    for text, study in studies.items():
        for name, of in study.items():
            posterior = of[LOGNORMAL]["coverage"]["posterior"]
            rows.append(
                (
                    text.format(name),
                    *(f"{of[method]['E']:.2f}" for method in first),
                    ", ".join(percent(posterior[f"within_{k}"]) for k in (1, 2)),
                    percent(of[LOGNORMAL]["not_converged"] / of[LOGNORMAL]["cases"], 2),
                )
            )
    header = (
        "observations",
        *(f"E: {_SHORT.get(method, method)}" for method in first),
        "lognormal: within 1σ, 2σ",
        "lognormal: not converged",
    )
    return file_with_table(
        SCRIPT, header, rows, "Means over the families of the median E, and how the log-normal method fares besides."
    )


def _priors(study):
    rows = [
        (
            name,
            *(f"{of[key]:.3f}" for key in ("E", "E_ranges", "false_hot")),
            f"{of['total']:.2f}",
            ", ".join(percent(of["coverage"]["posterior"][f"within_{k}"]) for k in (1, 2)),
        )
        for name, of in study.items()
    ]
    header = ("amplitude, correlation length", "E", "E in 0.3 dex", "false hot EM", "total EM", "within 1σ, 2σ")
    return file_with_table(
        SCRIPT, header, rows, "Means over the families, as above; the first row is the default prior."
    )


def _options(means):
    rows = [
        (name, *(f"{of[key]:.3f}" for key in ("E", "E_ranges", "false_hot")), f"{of['total']:.2f}")
        for name, of in means.items()
    ]
    header = ("options", "E", "E in 0.3 dex", "false hot EM", "total EM")
    return file_with_table(
        SCRIPT, header, rows, 'Means over the families, as above; ``positivity="relax"`` unless another rule is named.'
    )


def accuracy_sentences(results):
    """The findings on known truths, weaknesses too."""
    summaries, means, shares = results["accuracy"], results["means"], results["coverage"]
    peers = [method for method in means if not method.startswith(LOGNORMAL)]

    best = {name: min(of[m]["E"] for m in peers) for name, of in summaries.items()}
    ours = {name: of[LOGNORMAL]["E"] for name, of in summaries.items()}
    won = [name for name in summaries if ours[name] < best[name]]
    lost = [f"{name} ({ours[name]:.2f}; the best other {best[name]:.2f})" for name in summaries if name not in won]
    ratio = [ours[name] / summaries[name]["constrain"]["E"] for name in won]
    posterior, noise = shares[LOGNORMAL]["posterior"], shares["constrain"]["noise"]
    worst = sorted(summaries, key=lambda name: summaries[name][LOGNORMAL]["coverage"]["posterior"]["within_1"])[:3]
    curve = "quiet Sun (EIS)"
    hot = {m: summaries[curve][m]["false_hot"] for m in (_BASE, "constrain", LOGNORMAL)}
    cases, least = means[LOGNORMAL]["cases"], min(results["noise"], key=float)
    quiet = results["noise"][least][LOGNORMAL]
    return [
        f'``method="lognormal"`` has the least error of all methods on {len(won)} of {len(summaries)} truths, '
        f"{min(ratio):.2f} to {max(ratio):.2f} times that of ``constrain``.",
        f"The exceptions are {' and '.join(lost)}: "
        "six channels cannot tell that plasma is that sharp in temperature, and the prior assumes that it is smooth."
        if lost
        else "There are no exceptions.",
        f"On the published quiet Sun, {percent(hot[_BASE])} of the true emission measure is added above log T = 6.8, "
        f"where there is next to nothing, by ``relax``, {percent(hot['constrain'])} by ``constrain``, and "
        f"{percent(hot[LOGNORMAL], 1)} by ``lognormal``.",
        f"Its posterior errors hold the truth in {percent(posterior['within_1'])} (1σ) and "
        f"{percent(posterior['within_2'])} (2σ) of the ranges, the errors of ``constrain`` in "
        f"{percent(noise['within_1'])} and {percent(noise['within_2'])}. They are too small for what is sharper than "
        "the prior expects: "
        + ", ".join(
            f"{name} {percent(summaries[name][LOGNORMAL]['coverage']['posterior']['within_1'])}" for name in worst
        )
        + " within 1σ.",
        f"It did not converge in {means[LOGNORMAL]['not_converged']} of {cases} cases; with noise of only "
        f"{percent(float(least), 1)} in {percent(quiet['not_converged'] / quiet['cases'], 1)} of them.",
    ]
