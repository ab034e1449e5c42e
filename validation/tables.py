"""The tables of the validation page, as reStructuredText."""

from benchmarks.reporting import file_with_table, list_table, percent, power, written_by
from validation import SCRIPT
from validation.choice import N_SAMPLES
from validation.parity import APART, OUTPUTS
from validation.tables_accuracy import accuracy_sentences, accuracy_tables

__all__ = ["all_tables"]


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
        "validation_summary.rst": _summary(results),
        "validation_parity.rst": _parity(results["parity"]),
        "validation_choice.rst": _choice(results["choice"]),
        "validation_units.rst": _units(results["units"]),
        "validation_fixed.rst": _fixed(results["fixed_operator"]),
        "validation_calibration.rst": _calibration(results["calibration"]),
        **accuracy_tables(results),
    }


def _parity(parity):
    sets = {f"``{name}``" if "=" in name else name: row for name, row in parity["sets"].items()}
    header = ("options", *(f"``{name}``" for name in OUTPUTS), "pixels that differ")
    rows = [(name, *(power(row[key]) for key in OUTPUTS), row["apart"]) for name, row in sets.items()]
    note = (
        f"The largest difference of each output over {parity['pixels']} pixels, relative to the peak of that output in "
        f"the pixel; and how many pixels differ by more than {APART:g} in some output:"
    )
    reasons = (
        "options",
        "sign of empty bins",
        "narrow kernel",
        "another reason",
        "largest difference of all other pixels",
    )
    apart = [
        (
            name,
            *(row[f"apart_{key}"] for key in ("by_sign", "by_narrow_kernel", "otherwise")),
            power(row["largest_of_others"]),
        )
        for name, row in sets.items()
        if row["apart"]
    ]
    if not apart:
        return file_with_table(SCRIPT, header, rows, note)
    why = (
        "Pixels that differ, by reason: demregpy finds an empty bin negative by a rounding error, and relaxes the fit; "
        "or it gives a kernel that is narrower than the spacing of the samples a width of zero:"
    )
    return file_with_table(SCRIPT, header, rows, note) + "\n".join(["", why, "", *list_table(reasons, apart)]) + "\n"


def _spread(of, digits=2):
    return [f"{of[key]:.{digits}f}" for key in ("smallest", "median", "largest")]


def _choice(choice):
    header = (
        "samples of λ",
        "λ / exact λ: smallest",
        "λ / exact λ: median",
        "λ / exact λ: largest",
        "χ²: smallest",
        "χ²: median",
        "χ²: largest",
        "DEM off by: median",
        "DEM off by: largest",
    )
    rows = [
        (
            n,
            *_spread(choice["grid"][str(n)]["ratio"]),
            *_spread(choice["grid"][str(n)]["chi_squared"]),
            *(percent(choice["grid"][str(n)]["difference"][key], 1) for key in ("median", "largest")),
        )
        for n in N_SAMPLES
        if str(n) in choice["grid"]
    ]
    note = (
        f'{choice["pixels"]} pixels of the bundled sample, ``positivity="ignore"``, by the number of samples of λ on '
        "the grid. The exact choice meets its target of χ² = 1 "
        f'to {choice["exact_chi_squared_off_target"]:.0e}. "DEM off by" is the largest difference from the DEM of the '
        "exact choice in any bin, relative to the peak of the pixel."
    )
    return file_with_table(SCRIPT, header, rows, note)


def _units(units):
    header = (
        "response multiplied by",
        "rule",
        "DEM off by: median",
        "DEM off by: largest",
        "χ²: smallest",
        "χ²: largest",
    )
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
    note = (
        f'{units["pixels"]} pixels of the bundled sample, ``positivity="ignore"``, with the response in other units: '
        "how far the DEM is off the one with the response as it is."
    )
    return file_with_table(SCRIPT, header, rows, note)


def _off(of):
    return [percent(of[key], 1) if of[key] > 1e-6 else power(of[key]) for key in ("median", "largest")]


def _fixed(report):
    header = (
        "plasma",
        "method",
        "covariance off by",
        "DEM off by",
        "error / spread: smallest",
        "error / spread: largest",
        "bins",
    )
    rows = [
        (
            truth,
            method,
            power(r["covariance"]),
            power(r["dem"]),
            *(f"{r[k]:.3f}" for k in ("ratio_smallest", "ratio_largest")),
            r["bins"],
        )
        for truth, of in report.items()
        for method, r in of.items()
    ]
    draws = next(iter(next(iter(report.values())).values()))["draws"]
    note = (
        f"{draws} draws of Gaussian noise; the ratio of an exact error would scatter by {100 / (2 * draws) ** 0.5:.1f} "
        '% from bin to bin. "Off by" is the largest difference between what the package reports and what follows from '
        'its resolution matrix, relative to the largest value; "bins" are those that are not held at zero.'
    )
    return file_with_table(SCRIPT, header, rows, note)


def _calibration(report):
    header = (
        "plasma",
        "method, error",
        "error / spread: smallest",
        "error / spread: median",
        "error / spread: largest",
        "within 1σ, 2σ of the truth",
    )
    rows = [
        (
            truth,
            name,
            *(f"{r[f'ratio_{k}']:.2f}" for k in ("smallest", "median", "largest")),
            ", ".join(percent(r[f"within_{n}"]) for n in (1, 2)),
        )
        for truth, of in report.items()
        for name, r in of.items()
    ]
    draws = max(r["draws"] for of in report.values() for r in of.values())
    note = (
        f"{draws} observations of each plasma. The reported error is compared with the spread of the answers, in bins "
        "of more than 1 % of the peak, and with the distance from the truth, in ranges of 0.3 dex that hold more than "
        "5 % of the emission measure."
    )
    return file_with_table(SCRIPT, header, rows, note)


def _summary(results):
    """The findings, in sentences."""
    parity, choice, units = (results[key] for key in ("parity", "choice", "units"))
    together = {name: row for name, row in parity["sets"].items() if not row["apart"]}
    largest = max(row["largest_of_others"] for row in together.values())
    apart = {name: row for name, row in parity["sets"].items() if row["apart"]}
    most = max(row["apart"] for row in apart.values()) if apart else 0
    grid = choice["grid"]["42"]
    fixed = [r for of in results["fixed_operator"].values() for r in of.values()]
    lines = [
        *accuracy_sentences(results),
        f"With {len(together)} of {len(parity['sets'])} sets of options, `~sunpy_demreg.dn2dem_pos` equals "
        f"demregpy to {power(largest)} of the pixel's peak in all outputs, on all of {parity['pixels']} pixels. With "
        f"the other {len(apart)}, up to {most} pixels differ, for reasons given below.",
        f"The grid of 42 samples misses the exact λ by a factor of {grid['ratio']['smallest']:.2f} to "
        f"{grid['ratio']['largest']:.2f}; its χ² is {grid['chi_squared']['smallest']:.2f} to "
        f"{grid['chi_squared']['largest']:.2f} where 1 is asked for, and its DEM is off by up to "
        f"{percent(grid['difference']['largest'])} of the peak.",
        "A response that is a million times as large changes the DEM of the grid by up to "
        f"{percent(units['rules']['grid']['1e+06']['difference']['largest'])} of the peak, and that of the exact rule "
        f"by {power(units['rules']['discrepancy']['1e+06']['difference']['largest'])}.",
        "With λ and weight held fixed, the reported error is the spread of the answers, to the precision of the draws "
        f"({min(r['ratio_smallest'] for r in fixed):.3f} to {max(r['ratio_largest'] for r in fixed):.3f} of it).",
    ]
    return written_by(SCRIPT) + "\n".join(f"* {line}" for line in lines) + "\n"
