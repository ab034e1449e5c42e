"""The tables of the accuracy on known truths."""

from benchmarks.reporting import file_with_table, percent, signed
from validation import SCRIPT
from validation.accuracy import MAIN, METHODS

__all__ = ["accuracy_tables", "gain_sentence"]


def accuracy_tables(results):
    """Text by the name of the file, of what `validation.accuracy` measured."""
    return {
        "validation_accuracy.rst": _medians(results["accuracy"], "E_median", METHODS),
        "validation_accuracy_kelvin.rst": _medians(results["accuracy"], "E_kelvin_median", MAIN),
        "validation_noise.rst": _medians(results["full_resolution"], "E_median", MAIN),
        "validation_details.rst": _details(results["accuracy"]),
        "validation_gain.rst": _gain(results["gain"]),
        "validation_components.rst": _components(results["components"]),
    }


def _medians(summaries, key, methods):
    rows = [(method, *(f"{of[method][key]:.2f}" for of in summaries.values())) for method in methods]
    first = {family: next(iter(of.values())) for family, of in summaries.items()}
    cases = "; ".join(f"{family} {of['cases']} ({percent(of['solved'], 1)})" for family, of in first.items())
    note = f"Cases, and how many of them have counts in all channels, so that they can be inverted: {cases}."
    return file_with_table(SCRIPT, ("method", *summaries), rows, note, [3] + [1] * len(summaries))


def _details(summaries):
    header = (
        "family",
        "method",
        "E, 90 %",
        "bias of log T",
        "false above 10 MK",
        "χ², median",
        "χ², 95 %",
        "χ², largest",
        "target raised",
        "still negative",
    )
    rows = [
        (
            family,
            method,
            f"{of[method]['E_90']:.2f}",
            signed(of[method]["log_T_bias_median"]),
            percent(of[method]["false_hot_median"]),
            *(f"{of[method][k]:.2f}" for k in ("chi_squared_median", "chi_squared_95", "chi_squared_largest")),
            percent(of[method]["relaxed"], 1),
            percent(of[method]["negative"], 1),
        )
        for family, of in summaries.items()
        for method in MAIN
    ]
    return file_with_table(SCRIPT, header, rows)


def _gain(gain):
    third = "em_loci, constrain, 1 refinement"
    header = (
        "family",
        "relax",
        "constrain",
        "lower by",
        "per kelvin: lower by",
        f"{third}: lower by",
        "target raised by relax",
        "there: relax",
        "constrain",
    )
    rows = []
    for family, row in gain["constrain"]["E"].items():
        there = (row["base_where_raised"], row["method_where_raised"])
        rows.append(
            (
                family,
                f"{row['base']:.3f}",
                f"{row['method']:.3f}",
                _lower(row),
                _lower(gain["constrain"]["E_kelvin"][family]),
                _lower(gain[third]["E"][family]),
                percent(row["raised"]),
                *("—" if value is None else f"{value:.2f}" for value in there),
            )
        )
    note = "E is that of the emission measure per bin but in one column. Errors: resampling of the cases."
    return file_with_table(SCRIPT, header, rows, note)


def _lower(row):
    return f"{signed(row['lower_percent'], 0)} ± {row['lower_percent_error']:.0f} %"


def gain_sentence(gain, method):
    """On which families a method has a lower error than "relax", and on which a higher one."""
    of = gain[method]["E"]
    met = [name for name, row in of.items() if row["lower_percent"] >= 20]
    worse = [name for name, row in of.items() if row["lower_percent"] < -2 * row["lower_percent_error"]]
    worst = min(row["lower_percent"] for row in of.values())
    text = f"is at least 20 % below that of ``relax`` on {len(met)} of the {len(of)} families ({'; '.join(met)})"
    if worse:
        return f"{text}, and above it, by {-worst:.0f} % at most, on {len(worse)} ({'; '.join(worse)})"
    return f"{text}, and on none above it by more than twice its sampling error"


def _components(components):
    header = ("Gaussians in a sum", *MAIN, "target raised by relax")
    rows = [
        (n, *(f"{of[m]['E_median']:.2f}" for m in MAIN), percent(of["relax (default)"]["relaxed"]))
        for n, of in components.items()
    ]
    cases = next(iter(components.values()))["constrain"]["cases"]
    return file_with_table(SCRIPT, header, rows, f"Median E of {cases} random sums each.")
