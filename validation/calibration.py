"""
Monte-Carlo calibration of the reported errors.

Many observations of one plasma differ by their noise alone. What the inversion reports as its error is linearized: it
is the noise that passes through the operator of one pixel, whose λ and weight are held fixed. The inversion itself
finds λ and the weight anew in each observation.
"""

import numpy as np

import astropy.units as u

from validation.setting import BIN_CENTERS, KELVIN, em_in_bins, intensity_of, inverted, observe, only_in_bins, response
from validation.truths import gaussian, solar

__all__ = ["METHODS", "RANGES", "TRUTHS", "calibration", "fixed_operator", "truth_in_cells"]

METHODS = {"relax": {}, "constrain": {"positivity": "constrain"}}
TRUTHS = ("quiet Sun", "active region", "flare", "loop")
#: log T of the ranges whose emission measures are tested.
RANGES = ((5.6, 6.0), (6.0, 6.3), (6.3, 6.6), (6.6, 7.0), (7.0, 7.4))
_PEAK_FRACTION = 0.01  # bins of less than this fraction of the peak of the mean DEM hold next to nothing
_OUTPUTS = ("dem", "dem_uncertainty", "chi_squared", "resolution_matrix", "emission_measure")


class _Unshifted:
    """A generator whose uniform draws are the middle: the shape itself, neither shifted nor scaled."""

    @staticmethod
    def uniform(low, high, number):
        return np.full(number, 0.5 * (low + high))


def truth_in_cells(name):
    """Emission measure in cells, (cells,): the middle of a family, or a loop at log T = 6.2 of width 0.1."""
    if name == "loop":
        return 1e28 * only_in_bins(gaussian(6.2, 0.1))
    return solar(name, 1, _Unshifted)[:, 0]


def calibration(n_draws, truths=TRUTHS, methods=tuple(METHODS), seed=11):
    """
    Reported errors against the spread of the answers.

    Parameters
    ----------
    n_draws : int
        Observations of each truth.
    truths, methods : sequence of str, optional
    seed : int, optional

    Returns
    -------
    curves : dict of dict of dict of array
        By truth and method, per bin: "truth", "mean", "spread", "reported", all cm-5.
    report : dict
        By truth: how far the intensities are, in standard deviations, from what the bins alone can explain, because
        of plasma outside of them and because of their width; and the measures of each method, some of them also
        ("ideal") for data without these two.
    """
    curves, report = {}, {}
    for truth in truths:
        em = truth_in_cells(truth)
        clean = intensity_of(em)
        # What the bins alone would send, by the matrix of the inversion: no plasma outside, no width of the bins.
        ideal = response().at(10**BIN_CENTERS * u.K).value @ em_in_bins(em)
        sigma = observe(clean[:, None], np.random.default_rng(seed))[1][:, 0]
        curves[truth] = {}
        report[truth] = {
            "outside_in_sigma": float(np.abs((clean - intensity_of(only_in_bins(em))) / sigma).max()),
            "binning_in_sigma": float(np.abs((intensity_of(only_in_bins(em)) - ideal) / sigma).max()),
            "methods": {},
        }
        for method in methods:
            curves[truth][method], numbers = _one(em_in_bins(em), _observed(clean, n_draws, seed), METHODS[method])
            _, of_ideal = _one(em_in_bins(em), _observed(ideal, n_draws, seed), METHODS[method])
            numbers |= {f"ideal_{key}": of_ideal[key] for key in ("within_1_of_smoothed", "within_2_of_smoothed")}
            report[truth]["methods"][method] = numbers
    return curves, report


def _observed(clean, n_draws, seed):
    return observe(np.repeat(clean[:, None], n_draws, axis=1), np.random.default_rng(seed))


def _one(truth, observed, options):
    ranges = 10 ** np.array(RANGES) * u.K
    found = inverted(*observed, _OUTPUTS, emission_measure_ranges=ranges, **options)
    good = found.is_solved
    values, sigma = found.em[:, good], found.sigma[:, good]
    # DEM per kelvin in and out.
    matrix = found.result["resolution_matrix"].data[..., good]
    smoothed = np.einsum("ijp,j->ip", matrix, truth / KELVIN) * KELVIN[:, None]
    mean, spread, reported = values.mean(axis=1), values.std(axis=1), np.sqrt(np.mean(sigma**2, axis=1))
    used = mean > _PEAK_FRACTION * mean.max()
    ratio = reported[used] / spread[used]
    shown = used[:, None] & (sigma > 0)  # bins that "constrain" holds at zero have no error to be tested
    by_range = found.result["emission_measure"]
    em_values, em_sigma = by_range.data[:, good], by_range.uncertainty.array[:, good]
    em_truth = [truth[(low < BIN_CENTERS) & (high > BIN_CENTERS)].sum() for low, high in RANGES]
    report = {
        "draws": int(values.shape[1]),
        "bins": int(used.sum()),
        "ratio_smallest": float(ratio.min()),
        "ratio_median": float(np.median(ratio)),
        "ratio_largest": float(ratio.max()),
        "within_1_of_smoothed": _within(values - smoothed, sigma, shown, 1),
        "within_2_of_smoothed": _within(values - smoothed, sigma, shown, 2),
        "within_1_of_truth": _within(values - truth[:, None], sigma, shown, 1),
        "within_2_of_truth": _within(values - truth[:, None], sigma, shown, 2),
        "ranges": [
            {
                "log_T": list(limits),
                "truth": float(true),
                "mean": float(v.mean()),
                "spread": float(v.std()),
                "reported": float(np.sqrt(np.mean(s**2))),
            }
            for limits, true, v, s in zip(RANGES, em_truth, em_values, em_sigma, strict=True)
        ],
    }
    return {"truth": truth, "mean": mean, "spread": spread, "reported": reported}, report


def _within(difference, sigma, shown, number):
    return float(np.mean(np.abs(difference[shown]) <= number * sigma[shown]))


def fixed_operator(n_draws, truths=TRUTHS, methods=tuple(METHODS), seed=12):
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
            found = inverted(clean, sigma, outputs, **METHODS[method])
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
