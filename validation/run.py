"""
Measure everything that the validation page of the documentation reports.

    python validation/run.py [--quick] [--output FOLDER]

Writes ``validation/results.json``, the tables ``docs/_tables/validation_*.rst`` and the figures
``docs/_static/validation_*.png``; with ``--quick``, from a twentieth of the cases and into ``build/validation`` so that
what is committed stays. All random numbers have fixed seeds.
"""

import argparse
import json
import logging
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from validation import accuracy, calibration, choice, figures, parity, robustness, tables  # noqa: E402
from validation.families import FAMILIES  # noqa: E402
from validation.methods import LOGNORMAL, MAIN, OTHERS, PLOWMAN  # noqa: E402

FULL = {
    "pixels": 2000,
    "choice_pixels": 10000,
    "cases": 700,
    "options_cases": 200,
    "robustness_cases": 150,
    "channels_cases": 40,
    "gaussian_draws": 5,
    "draws": 1500,
}
QUICK = {name: max(number // 20, 2) for name, number in FULL.items()}
EXAMPLES = ("quiet Sun (EIS)", "active region", "flare (Dere & Cook)", "isothermal")
STUDIES = {
    "noise": robustness.noise_levels,
    "wrong_uncertainty": robustness.wrong_uncertainties,
    "channels": robustness.channels,
}
_SHOWN = ("relax (default)", "constrain", PLOWMAN, LOGNORMAL)


def main(arguments=None):
    """Parse the command line, measure, write."""
    parser = argparse.ArgumentParser(description="Measure what the validation page of the documentation reports.")
    parser.add_argument("--quick", action="store_true", help="a twentieth of the cases")
    parser.add_argument("--output", type=Path, help="folder for all files, instead of those of the repository")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    output = options.output
    if output is None and options.quick:
        output = ROOT / "build" / "validation"
    results, drawings = measure(QUICK if options.quick else FULL)
    write(results, drawings, output)


def measure(size):
    """
    Measure all parts.

    Parameters
    ----------
    size : dict
        Numbers of pixels, cases and draws: see ``FULL``.

    Returns
    -------
    results : dict
        Plain numbers.
    drawings : dict of `~matplotlib.figure.Figure`
    """
    steps = _Steps()
    results, drawings = {"size": size}, {}
    known_truths(size, steps, results, drawings)
    results["parity"] = steps("parity", parity.parity, size["pixels"])
    arrays, results["choice"] = steps("choice of λ", choice.grid_against_exact, size["choice_pixels"])
    drawings["choice"] = figures.choice_figure(arrays)
    results["units"] = steps("units", choice.units, size["pixels"])
    results["fixed_operator"] = steps("fixed operator", calibration.fixed_operator, 2 * size["draws"])
    curves, results["calibration"] = steps("calibration", calibration.calibration, size["draws"])
    drawings["calibration"] = figures.calibration_figure(curves)
    return results, drawings


def known_truths(size, steps, results, drawings, studies=STUDIES):
    """Measure what has a known truth, into ``results`` and ``drawings``."""
    _, departures, summaries = steps("accuracy", accuracy.accuracy, size["cases"])
    results["accuracy"] = summaries
    results["means"], results["coverage"] = accuracy.means(summaries), accuracy.pooled(departures)
    _, _, others = steps("options", accuracy.accuracy, size["options_cases"], tuple(OTHERS), tuple(FAMILIES))
    results["options"] = accuracy.means(others)
    examples = steps("examples", accuracy.examples, size["robustness_cases"], EXAMPLES, MAIN)
    drawings["leading"] = figures.leading_figure(examples, summaries)
    for name, function in studies.items():
        results[name] = steps(name, function, size["channels_cases" if name == "channels" else "robustness_cases"])
    results["priors"] = steps("priors", robustness.priors, size["robustness_cases"])
    drawings["robustness"] = figures.robustness_figure([results[name] for name in studies])
    maps = steps("single Gaussians", accuracy.gaussian_maps, size["gaussian_draws"], _SHOWN)
    drawings["gaussians"] = figures.gaussians_figure(maps)


class _Steps:
    """Runs the parts and tells how long each took."""

    def __call__(self, name, function, *arguments):
        start = time.perf_counter()
        answer = function(*arguments)
        logging.getLogger("validation").info("%s: %.1f s", name, time.perf_counter() - start)
        return answer


def write(results, drawings, output=None):
    """Write results, tables and figures, into one folder or to where they belong in the repository."""
    folders = (ROOT / "validation", ROOT / "docs" / "_tables", ROOT / "docs" / "_static")
    of_results, of_tables, of_figures = folders if output is None else (output,) * 3
    for folder in (of_results, of_tables, of_figures):
        folder.mkdir(parents=True, exist_ok=True)
    (of_results / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for name, text in tables.all_tables(results).items():
        (of_tables / name).write_text(text, encoding="utf-8")
    for name, figure in drawings.items():
        figure.savefig(of_figures / f"validation_{name}.png", dpi=130, metadata={"Software": None})


if __name__ == "__main__":
    main()
