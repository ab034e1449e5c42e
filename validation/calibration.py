"""
Monte-Carlo calibration of the reported errors.

Many observations of one plasma differ by their noise alone. What the inversion reports as its error is linearized: it
is the noise that passes through the operator of one pixel, whose λ and weight are held fixed. The inversion itself
finds λ and the weight anew in each observation.
"""

import numpy as np

import astropy.units as u

from validation.families import SOLAR, gaussian, only_in_bins, solar
from validation.measures import coverage, within
from validation.methods import LOGNORMAL, METHODS
from validation.setting import BIN_CENTERS, KELVIN, em_in_bins, em_in_ranges, intensity_of, inverted, observe, response

__all__ = ["COMPARED", "TRUTHS", "calibration", "fixed_operator", "truth_in_cells"]

TRUTHS = (*SOLAR, "loop")
#: Method and kind of error.
COMPARED = (("relax (default)", "noise"), ("constrain", "noise"), (LOGNORMAL, "noise"), (LOGNORMAL, "posterior"))
_FIXED = {"relax": {}, "constrain": {"positivity": "constrain"}}
_PEAK_FRACTION = 0.01  # bins of less than this fraction of the peak of the mean DEM hold next to nothing


def truth_in_cells(name):
    """Emission measure in cells, (cells,): a solar shape in the middle of its family, or a loop of width 0.1 dex."""
    return 1e28 * only_in_bins(gaussian(6.2, 0.1)) if name == "loop" else solar(name)


def calibration(n_draws, truths=TRUTHS, compared=COMPARED, seed=11):
    """
    Reported errors against the spread of the answers, and against the truth.

    Parameters
    ----------
    n_draws : int
        Observations of each truth.
    truths : sequence of str, optional
    compared : sequence of (str, str), optional
        Methods and kinds of error.
    seed : int, optional

    Returns
    -------
    curves : dict of dict of dict of array
        By truth and method: "truth", "mean", "spread", and "reported" by the kind of error, per bin and in cm-5.
    report : dict of dict of dict
        By truth and method with the kind of error: ratios of the error to the spread, over the bins, and the shares of
        the true emission measures in ranges within the errors.
    """
    curves, report = {}, {}
    for name in truths:
        em = truth_in_cells(name)
        truth = em_in_bins(em)
        observed = observe(np.repeat(intensity_of(em)[:, None], n_draws, axis=1), np.random.default_rng(seed))
        curves[name], report[name] = {}, {}
        for method in dict.fromkeys(method for method, _ in compared):
            answer = METHODS[method](*observed, response())
            good = np.isfinite(answer.em).all(axis=0)
            mean, spread = answer.em[:, good].mean(axis=1), answer.em[:, good].std(axis=1)
            reported = {kind: np.sqrt(np.mean(of[:, good] ** 2, axis=1)) for kind, of in answer.in_bins.items()}
            curves[name][method] = {"truth": truth, "mean": mean, "spread": spread, "reported": reported}
            used = mean > _PEAK_FRACTION * mean.max()
            true = np.repeat(em_in_ranges(truth)[:, None], n_draws, axis=1)
            for kind in (kind for other, kind in compared if other == method):
                ratio = reported[kind][used] / spread[used]
                report[name][f"{method}, {kind}"] = {
                    "draws": int(good.sum()),
                    "bins": int(used.sum()),
                    "ratio_smallest": float(ratio.min()),
                    "ratio_median": float(np.median(ratio)),
                    "ratio_largest": float(ratio.max()),
                    **coverage(within(em_in_ranges(answer.em), answer.in_ranges[kind], true)),
                }
    return curves, report


def fixed_operator(n_draws, truths=TRUTHS, methods=tuple(_FIXED), seed=12):
    """
    The same with the operator held fixed, where the error that is reported has to be exact.

    The operator follows from public outputs alone: the resolution matrix is ``R = P A`` for the data ``d = g / sigma``
    and ``A = K / sigma``, so that ``P = R A^+``. It is that of the noise-free intensities.

    Returns
    -------
    dict
        By truth and method: largest difference of ``P P^T`` from the reported covariance, over the latter's largest
        element; of the square root of its diagonal from the reported error; of ``P d`` from the DEM; and the smallest
        and the largest ratio of the error to the spread of ``P d`` over draws of Gaussian noise.
    """
    K = response().at(10**BIN_CENTERS * u.K).value * KELVIN
    report = {}
    for truth in truths:
        clean = intensity_of(truth_in_cells(truth))[:, None]
        # The uncertainty of one observation will do for all.
        _, sigma = observe(clean, np.random.default_rng(seed))
        noise = np.random.default_rng(seed).standard_normal((len(clean), n_draws))
        report[truth] = {}
        for method in methods:
            outputs = ("dem", "dem_uncertainty", "chi_squared", "covariance", "resolution_matrix")
            found = inverted(clean, sigma, outputs, **_FIXED[method])
            operator = found.result["resolution_matrix"].data[..., 0] @ np.linalg.pinv(K / sigma)
            covariance = found.result["covariance"].data[..., 0]
            dem, error = found.result["dem"].data[:, 0], found.result["dem"].uncertainty.array[:, 0]
            free = error > 0
            spread = (operator @ noise).std(axis=1)
            ratio = error[free] / spread[free]
            report[truth][method] = {
                "covariance": _difference(operator @ operator.T, covariance),
                "error": _difference(np.sqrt(np.diag(covariance)), error),
                "dem": _difference(operator @ (clean / sigma)[:, 0], dem),
                "ratio_smallest": float(ratio.min()),
                "ratio_largest": float(ratio.max()),
                "draws": n_draws,
                "bins": int(free.sum()),
            }
    return report


def _difference(value, reference):
    return float(np.abs(value - reference).max() / np.abs(reference).max())
