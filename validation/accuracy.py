"""
Accuracy on differential emission measures of known truth.

The measure is ``E = sum |EM_j - EM0_j| / sum EM0_j`` over the bins of the inversion, EM_j being the emission measure
of a bin (cm-5) and EM0_j the true one: 0 is perfect, and 1 is what no plasma at all would get. As
``EM_j = xi_j dT_j``, this is also ``sum |xi - xi0| dT / sum xi0 dT``. The same per unit log T, ``sum |xi - xi0| /
sum xi0`` with xi per kelvin, is dominated by the coolest bins, and is reported as ``E_kelvin``.
"""

import numpy as np

from sunpy_demreg import Status
from validation.setting import BIN_CENTERS, KELVIN, em_in_bins, intensity_of, inverted, observe
from validation.truths import CENTERS, WIDTHS, families, random_sums

__all__ = ["METHODS", "accuracy", "by_components", "comparison", "evaluate", "gaussian_maps"]

METHODS = {
    "relax (default)": {},
    "constrain": {"positivity": "constrain"},
    "ignore": {"positivity": "ignore"},
    "grid, relax": {"parameter_choice": "grid"},
    "relax, 1 refinement": {"n_refinements": 1},
    "relax, 2 refinements": {"n_refinements": 2},
    "constrain, 1 refinement": {"positivity": "constrain", "n_refinements": 1},
    "constrain, 2 refinements": {"positivity": "constrain", "n_refinements": 2},
    "em_loci, relax": {"weighting": "em_loci"},
    "em_loci, relax, 1 refinement": {"weighting": "em_loci", "n_refinements": 1},
    "em_loci, constrain": {"weighting": "em_loci", "positivity": "constrain"},
    "em_loci, constrain, 1 refinement": {"weighting": "em_loci", "positivity": "constrain", "n_refinements": 1},
    "l2, relax": {"method": "l2"},
    "l2, constrain": {"method": "l2", "positivity": "constrain"},
    "gcv, relax": {"parameter_choice": "gcv"},
    "gcv, constrain": {"parameter_choice": "gcv", "positivity": "constrain"},
    "constrain, target 0.5": {"positivity": "constrain", "chi_squared_target": 0.5},
    "constrain, target 2": {"positivity": "constrain", "chi_squared_target": 2.0},
}
#: Those that the figures and the longer tables show.
MAIN = ("relax (default)", "constrain", "em_loci, constrain, 1 refinement", "l2, relax", "l2, constrain")
COMPONENTS = (1, 2, 3, 5, 10)
_HOT = BIN_CENTERS > 7.0


def evaluate(result, truth):
    """
    The measures of each case.

    Parameters
    ----------
    result : `validation.setting.Inverted`
    truth : array, (bins, N)
        True emission measure of the bins.

    Returns
    -------
    dict of array, (N,)
        NaN where a pixel could not be solved.
    """
    em, per_kelvin = result.em, KELVIN[:, None]
    total, found = truth.sum(axis=0), em.sum(axis=0)
    mean = (BIN_CENTERS[:, None] * em).sum(axis=0) / found
    true_mean = (BIN_CENTERS[:, None] * truth).sum(axis=0) / total
    return {
        "E": np.abs(em - truth).sum(axis=0) / total,
        "E_kelvin": (np.abs(em - truth) / per_kelvin).sum(axis=0) / (truth / per_kelvin).sum(axis=0),
        "log_T_bias": mean - true_mean,
        "false_hot": np.clip(em - truth, 0.0, None)[_HOT].sum(axis=0) / total,
        "total": found / total,
        "chi_squared": result.chi_squared,
        "relaxed": np.where(result.is_solved, result.has(Status.RELAXED), np.nan),
        "negative": np.where(result.is_solved, result.has(Status.NEGATIVE_DEM), np.nan),
    }


def _summary(cases):
    """Medians and tails of the cases, as plain numbers."""

    def at(name, percent):
        return float(np.nanpercentile(cases[name], percent))

    return {
        "cases": int(cases["E"].size),
        "solved": float(np.mean(np.isfinite(cases["E"]))),
        "E_median": at("E", 50),
        "E_90": at("E", 90),
        "E_kelvin_median": at("E_kelvin", 50),
        "log_T_bias_median": at("log_T_bias", 50),
        "false_hot_median": at("false_hot", 50),
        "false_hot_90": at("false_hot", 90),
        "total_median": at("total", 50),
        "chi_squared_median": at("chi_squared", 50),
        "chi_squared_95": at("chi_squared", 95),
        "chi_squared_largest": at("chi_squared", 100),
        "relaxed": float(np.nanmean(cases["relaxed"])),
        "negative": float(np.nanmean(cases["negative"])),
    }


def run_cases(em, methods, seed, n_sample=16):
    """Observe and invert a family of emission measures in cells with each of the methods."""
    intensity, sigma = observe(intensity_of(em), np.random.default_rng(seed), n_sample)
    truth = em_in_bins(em)
    return {name: evaluate(inverted(intensity, sigma, **METHODS[name]), truth) for name in methods}


def accuracy(number, n_draws, methods=tuple(METHODS), n_sample=16, seed=1):
    """
    All families with all the methods.

    Parameters
    ----------
    number : int
        Cases of each random family.
    n_draws : int
        Draws of the noise for each single Gaussian.
    methods : sequence of str, optional
    n_sample : int, optional
        Averaged detector pixels.
    seed : int, optional

    Returns
    -------
    cases : dict of dict of dict of array
        By family, method and measure.
    summaries : dict of dict of dict
        Of these, as plain numbers.
    """
    truths = families(number, np.random.default_rng(seed), n_draws)
    cases = {name: run_cases(em, methods, seed + i, n_sample) for i, (name, em) in enumerate(truths.items())}
    summaries = {family: {m: _summary(c) for m, c in of.items()} for family, of in cases.items()}
    return cases, summaries


def comparison(cases, method="constrain", base="relax (default)", measure="E", seed=0):
    """
    How much lower the median error of one method is than that of another, in percent, by family.

    With the standard deviation of that, from 400 resamplings of the cases, and the medians of those cases alone whose
    target the base method had to raise.
    """
    table = {}
    for family, of in cases.items():
        good = np.isfinite(of[base][measure]) & np.isfinite(of[method][measure])
        ours, theirs = of[method][measure][good], of[base][measure][good]
        rng = np.random.default_rng(seed)
        chosen = rng.integers(0, ours.size, (400, ours.size))
        resampled = 1 - np.median(ours[chosen], axis=1) / np.median(theirs[chosen], axis=1)
        raised = of[base]["relaxed"][good] > 0
        table[family] = {
            "base": float(np.median(theirs)),
            "method": float(np.median(ours)),
            "lower_percent": float(100 * (1 - np.median(ours) / np.median(theirs))),
            "lower_percent_error": float(100 * resampled.std()),
            "raised": float(raised.mean()),
            "base_where_raised": float(np.median(theirs[raised])) if raised.any() else None,
            "method_where_raised": float(np.median(ours[raised])) if raised.any() else None,
        }
    return table


def by_components(number, methods=MAIN, seed=7):
    """The random sums again, of different numbers of components: the fewer they are, the more a DEM is peaked."""
    table = {}
    for n_components in COMPONENTS:
        rng = np.random.default_rng(seed)
        em = random_sums(number, rng, n_components)
        table[str(n_components)] = {name: _summary(c) for name, c in run_cases(em, methods, seed).items()}
    return table


def gaussian_maps(cases, n_draws):
    """Median over the draws of the noise, (widths, centers), of each method's error and chi-squared."""
    shape = (WIDTHS.size, CENTERS.size, n_draws)
    return {
        method: {key: np.nanmedian(of[key].reshape(shape), axis=-1) for key in ("E", "chi_squared")}
        for method, of in cases.items()
    }
