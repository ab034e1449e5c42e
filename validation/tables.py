"""The tables of the validation page, as reStructuredText."""

from validation.accuracy import MAIN, METHODS
from validation.choice import N_SAMPLES
from validation.parity import APART, OUTPUTS

__all__ = ["all_tables"]

_HEAD = ".. Written by validation/run.py: do not edit.\n\n"


def list_table(header, rows, note="", widths=None):
    """A list-table, and a paragraph above it."""
    lines = [_HEAD.rstrip(), ""]
    if note:
        lines += [note, ""]
    lines += [".. list-table::", "   :header-rows: 1"]
    if widths:
        lines.append(f"   :widths: {' '.join(map(str, widths))}")
    lines.append("")
    for row in (header, *rows):
        lines += [f"   {'*' if i == 0 else ' '} - {cell}".rstrip() for i, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


def all_tables(results):
    """
    Make all tables.

    Parameters
    ----------
    results : dict
        As `validation/run.py` writes them to ``results.json``.

    Returns
    -------
    dict of str
        Text by the name of its file.
    """
    return {
        "validation_parity.rst": _parity(results["parity"]),
        "validation_choice.rst": _choice(results["choice"]),
        "validation_units.rst": _units(results["units"]),
        "validation_accuracy.rst": _medians(results["accuracy"], "E_median", METHODS),
        "validation_accuracy_kelvin.rst": _medians(results["accuracy"], "E_kelvin_median", MAIN),
        "validation_details.rst": _details(results["accuracy"]),
        "validation_gain.rst": _gain(results["gain"]),
        "validation_components.rst": _components(results["components"]),
        "validation_noise.rst": _medians(results["full_resolution"], "E_median", MAIN),
        "validation_fixed.rst": _fixed(results["fixed_operator"]),
        "validation_calibration.rst": _calibration(results["calibration"]),
        "validation_ranges.rst": _ranges(results["calibration"]),
    }


def _small(value):
    return "0" if value == 0 else f"{value:.1e}"


def _percent(value, digits=0):
    return f"{100 * value:.{digits}f} %"


def _parity(parity):
    header = ("options", *(f"``{name}``" for name in OUTPUTS), "pixels apart", "largest of the others")
    rows = [
        (
            f"``{name}``" if "=" in name else name,
            *(_small(row[key]) for key in OUTPUTS),
            row["apart"],
            _small(row["largest_of_others"]),
        )
        for name, row in parity["sets"].items()
    ]
    note = (
        f"Largest difference over {parity['pixels']} pixels of the bundled sample, relative to the pixel's own peak of "
        f"that output; demregpy {parity['demregpy']}. “Pixels apart” differ by more than {APART:g} in some output."
    )
    return list_table(header, rows, note)


def _spread(of, digits=2):
    return [f"{of[key]:.{digits}f}" for key in ("smallest", "median", "largest")]


def _choice(choice):
    header = (
        "samples",
        "λ / λ exact: smallest",
        "median",
        "largest",
        "χ²: smallest",
        "median",
        "largest",
        "DEM off by: median",
        "largest",
    )
    rows = [
        (
            n,
            *_spread(choice["grid"][str(n)]["ratio"]),
            *_spread(choice["grid"][str(n)]["chi_squared"]),
            *(_percent(choice["grid"][str(n)]["difference"][key], 1) for key in ("median", "largest")),
        )
        for n in N_SAMPLES
        if str(n) in choice["grid"]
    ]
    note = (
        f"{choice['pixels']} pixels of the bundled sample, ``positivity=None``. The exact choice meets its target to "
        f"{choice['exact_chi_squared_off_target']:.0e} at most. The DEM is off by its largest difference from the "
        "exact one in any bin, over the pixel's peak."
    )
    return list_table(header, rows, note)


def _units(units):
    header = ("response times", "rule", "DEM off by: median", "largest", "χ²: smallest", "largest")
    rows = [
        (
            scale,
            f"``{rule}``",
            *_off(row["difference"]),
            *(f"{row['chi_squared'][k]:.2f}" for k in ("smallest", "largest")),
        )
        for scale in units["rules"]["grid"]
        for rule, row in ((rule, of[scale]) for rule, of in units["rules"].items())
    ]
    return list_table(header, rows, f"{units['pixels']} pixels of the bundled sample, ``positivity=None``.")


def _off(of):
    return [_percent(of[key], 1) if of[key] > 1e-6 else _small(of[key]) for key in ("median", "largest")]


def _medians(summaries, key, methods):
    rows = [(m, *(f"{of[m][key]:.2f}" for of in summaries.values())) for m in methods]
    n = ", ".join(
        f"{family} {of[methods[0] if isinstance(methods, tuple) else next(iter(methods))]['cases']}"
        for family, of in summaries.items()
    )
    solved = min(of[m]["solved"] for of in summaries.values() for m in of)
    note = f"Cases: {n}. Of them at least {_percent(solved)} could be inverted, in each family."
    return list_table(("method", *summaries), rows, note, [3] + [1] * len(summaries))


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
            f"{of[method]['log_T_bias_median']:+.2f}",
            _percent(of[method]["false_hot_median"]),
            *(f"{of[method][k]:.2f}" for k in ("chi_squared_median", "chi_squared_95", "chi_squared_largest")),
            _percent(of[method]["relaxed"], 1),
            _percent(of[method]["negative"], 1),
        )
        for family, of in summaries.items()
        for method in MAIN
    ]
    note = "“90 %” and “95 %” are percentiles; the bias and the false emission measure are medians."
    return list_table(header, rows, note)


def _gain(gain):
    header = (
        "family",
        "E per bin: relax",
        "constrain",
        "lower by",
        "E per kelvin: lower by",
        "target raised by relax",
        "there: relax",
        "constrain",
    )
    rows = []
    for family, row in gain["constrain"]["E"].items():
        there = ["—" if row[key] is None else f"{row[key]:.2f}" for key in ("base_where_raised", "method_where_raised")]
        rows.append(
            (
                family,
                f"{row['base']:.3f}",
                f"{row['method']:.3f}",
                _lower(row),
                _lower(gain["constrain"]["E_kelvin"][family]),
                _percent(row["raised"]),
                *there,
            )
        )
    return list_table(header, rows, verdict(gain))


def _lower(row):
    return f"{row['lower_percent']:+.0f} ± {row['lower_percent_error']:.0f} %".replace("-", "−")


def verdict(gain):
    """What the table says, in a sentence."""
    of = gain["constrain"]["E"]
    met = [name for name, row in of.items() if row["lower_percent"] >= 20]
    worse = [name for name, row in of.items() if row["lower_percent"] < -2 * row["lower_percent_error"]]
    return (
        f"The median E of ``constrain`` is at least 20 % below that of ``relax`` in {len(met)} of {len(of)} families "
        f"({', '.join(met) or 'none'}), and above it by more than twice its error in {len(worse)} "
        f"({', '.join(worse) or 'none'}). Errors are those of resampling the cases."
    )


def _components(components):
    header = ("Gaussians in the sum", *MAIN, "target raised by relax")
    rows = [
        (n, *(f"{of[m]['E_median']:.2f}" for m in MAIN), _percent(of["relax (default)"]["relaxed"]))
        for n, of in components.items()
    ]
    cases = next(iter(components.values()))["constrain"]["cases"]
    return list_table(header, rows, f"Median E of {cases} random sums each.")


def _fixed(report):
    header = ("plasma", "method", "covariance", "DEM", "error / spread: smallest", "largest", "bins")
    rows = [
        (
            truth,
            method,
            _small(r["covariance"]),
            _small(r["dem"]),
            *(f"{r[k]:.3f}" for k in ("ratio_smallest", "ratio_largest")),
            r["bins"],
        )
        for truth, of in report.items()
        for method, r in of.items()
    ]
    draws = next(iter(next(iter(report.values())).values()))["draws"]
    note = (
        f"{draws} draws of Gaussian noise; the ratio of an exact error would scatter by {100 / (2 * draws) ** 0.5:.1f} "
        "% from bin to bin. Differences are over the largest value."
    )
    return list_table(header, rows, note)


def _calibration(report):
    header = (
        "plasma",
        "method",
        "error / spread: smallest",
        "median",
        "largest",
        "within 1σ, 2σ of R ξ₀",
        "same, ideal data",
        "within 1σ, 2σ of ξ₀",
    )
    rows = []
    for truth, of in report.items():
        for method, r in of["methods"].items():
            rows.append(
                (
                    truth,
                    method,
                    *(f"{r[f'ratio_{k}']:.2f}" for k in ("smallest", "median", "largest")),
                    *(
                        ", ".join(_percent(r[key.format(n)]) for n in (1, 2))
                        for key in ("within_{}_of_smoothed", "ideal_within_{}_of_smoothed", "within_{}_of_truth")
                    ),
                )
            )
    draws = max(r["draws"] for of in report.values() for r in of["methods"].values())
    model = "; ".join(f"{t} {of['outside_in_sigma']:.1f} and {of['binning_in_sigma']:.1f}" for t, of in report.items())
    note = (
        f"{draws} observations of each plasma; bins of more than 1 % of the peak. Largest departure of a channel's "
        f"intensity, in standard deviations, that comes from plasma outside the bins and from their width: {model}."
    )
    return list_table(header, rows, note)


def _ranges(report):
    header = (
        "plasma",
        "method",
        "log T",
        "truth (cm\\ :sup:`-5`)",
        "mean answer",
        "spread",
        "reported error",
        "error / spread",
    )
    rows = [
        (
            truth,
            method,
            "{:.1f}–{:.1f}".format(*part["log_T"]),
            *(f"{part[k]:.1e}" for k in ("truth", "mean", "spread", "reported")),
            f"{part['reported'] / part['spread']:.2f}",
        )
        for truth, of in report.items()
        for method, r in of["methods"].items()
        for part in r["ranges"]
    ]
    return list_table(header, rows)
