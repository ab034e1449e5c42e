"""Accuracy on emission measures of known truth, and whether the reported errors hold the truth."""

import numpy as np

from validation.families import CURVES, FAMILIES, TOTALS, WIDTHS, draw, gaussian, only_in_bins, scaled
from validation.measures import MEASURES, coverage, measures, within
from validation.methods import LOGNORMAL, METHODS, OTHERS, PRIORS, is_available
from validation.setting import em_in_bins, em_in_ranges, intensity_of, observe, response

__all__ = ["CENTERS", "TRUTHS", "accuracy", "available", "examples", "gaussian_maps", "means", "pooled", "run"]

TRUTHS = (*FAMILIES, *CURVES)
CENTERS = np.round(np.arange(5.8, 7.101, 0.05), 2)


def available(names):
    """Those of the methods that can be run here."""
    return tuple(name for name in names if is_available(name))


def run(intensity, sigma, truth, methods, response_):
    """
    Invert observations of a truth with each method.

    A case counts for all methods or for none, so that none profits from leaving out what is difficult.

    Parameters
    ----------
    intensity, sigma : array, (channels, N)
    truth : array, (bins, N)
        cm-5.
    methods : sequence of str
    response_ : `sunpy_demreg.TemperatureResponse`

    Returns
    -------
    cases : dict of dict of array, (N,)
        By method: the measures, chi-squared and convergence.
    departures : dict of dict of array
        By method and kind of error: how many errors the emission measures in ranges are off.
    """
    answers = {name: (METHODS | OTHERS | PRIORS)[name](intensity, sigma, response_) for name in methods}
    common = np.all([np.isfinite(answer.em).all(axis=0) for answer in answers.values()], axis=0)
    cases, departures = {}, {}
    for name, answer in answers.items():
        em = np.where(common, answer.em, np.nan)
        cases[name] = {
            **measures(em, truth),
            "chi_squared": np.where(common, answer.chi_squared, np.nan),
            "solved": np.isfinite(answer.em).all(axis=0),
            "converged": answer.converged,
        }
        departures[name] = {
            kind: within(em_in_ranges(em), error, em_in_ranges(truth)) for kind, error in answer.in_ranges.items()
        }
    return cases, departures


def summary(cases, departures=None):
    """Medians and tails of the cases, and the coverage of the errors, as plain numbers."""
    return {
        "cases": int(cases["E"].size),
        "compared": float(np.mean(np.isfinite(cases["E"]))),
        "solved": float(np.mean(cases["solved"])),
        "not_converged": int(np.sum(cases["solved"] & ~cases["converged"])),
        **{name: float(np.nanmedian(cases[name])) for name in (*MEASURES, "chi_squared")},
        **{f"{name}_90": float(np.nanpercentile(cases[name], 90)) for name in ("E", "false_hot")},
        "E_sampling_error": _error_of_median(cases["E"]),
        "chi_squared_95": float(np.nanpercentile(cases["chi_squared"], 95)),
        "coverage": {kind: coverage(values) for kind, values in (departures or {}).items()},
    }


def _error_of_median(values, n_resampled=200):
    """Standard deviation of the median, from resampling the cases."""
    values = values[np.isfinite(values)]
    chosen = np.random.default_rng(0).integers(0, values.size, (n_resampled, values.size))
    return float(np.median(values[chosen], axis=1).std())


def accuracy(number, methods=tuple(METHODS), truths=TRUTHS, seed=1):
    """
    All families and curves with all the methods.

    Parameters
    ----------
    number : int
        Cases of each.
    methods, truths : sequence of str, optional
    seed : int, optional

    Returns
    -------
    cases : dict of dict of dict of array
        By truth, method and measure.
    departures : dict of dict of dict of array
        By truth, method and kind of error.
    summaries : dict of dict of dict
        Of these, as plain numbers.
    """
    cases, departures, summaries = {}, {}, {}
    for i, name in enumerate(truths):
        rng = np.random.default_rng([seed, i])
        em = draw(name, number, rng)
        observed = observe(intensity_of(em), rng)
        cases[name], departures[name] = run(*observed, em_in_bins(em), available(methods), response())
        summaries[name] = {m: summary(cases[name][m], departures[name][m]) for m in cases[name]}
    return cases, departures, summaries


def examples(number, names, methods, seed=2):
    """
    Of each truth, the observation whose log-normal answer is as good as the median one.

    Returns
    -------
    dict of dict
        By truth: "truth" and "em" by method, (bins,), and "error", the posterior one of the log-normal answer.
    """
    chosen = {}
    for i, name in enumerate(names):
        rng = np.random.default_rng([seed, i])
        em = draw(name, number, rng)
        observed, truth = observe(intensity_of(em), rng), em_in_bins(em)
        answers = {m: METHODS[m](*observed, response()) for m in available(methods)}
        error = measures(answers[LOGNORMAL].em, truth)["E"]
        solved = np.flatnonzero(np.all([np.isfinite(a.em).all(axis=0) for a in answers.values()], axis=0))
        case = solved[np.argsort(error[solved])[solved.size // 2]]
        chosen[name] = {
            "truth": truth[:, case],
            "em": {m: answer.em[:, case] for m, answer in answers.items()},
            "error": answers[LOGNORMAL].in_bins["posterior"][:, case],
        }
    return chosen


def means(summaries, truths=tuple(FAMILIES)):
    """Means over the families of the medians of each method, and how many of all cases did not converge."""
    names = (*MEASURES, "chi_squared", "false_hot_90")
    table = {}
    for method in summaries[truths[0]]:
        of = [summaries[truth][method] for truth in truths]
        table[method] = {name: float(np.mean([each[name] for each in of])) for name in names}
        table[method] |= {name: sum(each[name] for each in of) for name in ("not_converged", "cases")}
    return table


def pooled(departures, truths=tuple(FAMILIES)):
    """Shares of the true values within the errors, of all families together, by method and kind of error."""
    methods = departures[truths[0]]
    return {
        method: {
            kind: coverage(np.concatenate([departures[t][method][kind] for t in truths])) for kind in methods[method]
        }
        for method in methods
    }


def gaussian_maps(n_draws, methods, total=TOTALS["active"], seed=3):
    """Median error of single Gaussians of that total, (widths, centers), by method."""
    width, center = np.meshgrid(WIDTHS, CENTERS, indexing="ij")
    em = np.repeat(scaled(only_in_bins(gaussian(center.ravel(), width.ravel())), total), n_draws, axis=1)
    observed = observe(intensity_of(em), np.random.default_rng(seed))
    cases, _ = run(*observed, em_in_bins(em), available(methods), response())
    shape = (WIDTHS.size, CENTERS.size, n_draws)
    return {method: np.nanmedian(of["E"].reshape(shape), axis=-1) for method, of in cases.items()}
