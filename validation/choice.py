"""
The choice of λ: the exact discrepancy principle against the reference's grid of samples.

Both are compared without the search for positivity, which would move λ once more.
"""

import numpy as np

import astropy.units as u

from sunpy_demreg._engines.arrays import engine
from sunpy_demreg._engines.base.options import Options
from sunpy_demreg._engines.base.problem import Bins, Problem
from validation.setting import BIN_CENTERS, BIN_WIDTH, KELVIN, inverted, response, sample_pixels

__all__ = ["N_SAMPLES", "SCALES", "grid_against_exact", "units"]

N_SAMPLES = (42, 100, 500)
SCALES = (1e-3, 1e3, 1e6)
_OUTPUTS = ("dem", "chi_squared", "regularization_parameter")
_REFERENCE_SCALE = 1e15  # of the response, with parameter_choice="grid": λ goes with its square


def _response_matrix():
    return response().at(10**BIN_CENTERS * u.K).value * KELVIN


def grid_against_exact(number, n_samples=N_SAMPLES):
    """
    λ, chi-squared and DEM of the grid next to those of the exact choice.

    Parameters
    ----------
    number : int
        Pixels of the bundled sample.
    n_samples : sequence of int, optional
        Numbers of samples of the grid.

    Returns
    -------
    arrays : dict of dict of array
        By the number of samples: "ratio" of λ, "chi_squared", largest "difference" of the DEM over its peak.
    report : dict
        Of these, as plain numbers; and the largest distance of chi-squared from its target by the exact choice.
    """
    intensity, sigma = sample_pixels(number)
    exact = inverted(intensity, sigma, _OUTPUTS, positivity="ignore")
    lam = exact.result["regularization_parameter"].data
    to_exact_unit = (_REFERENCE_SCALE * _response_matrix().max()) ** -2
    arrays, grids = {}, {}
    for n in n_samples:
        grid = inverted(intensity, sigma, _OUTPUTS, positivity="ignore", parameter_choice="grid", n_samples=n)
        good = grid.is_solved & exact.is_solved
        ratio = grid.result["regularization_parameter"].data[good] * to_exact_unit / lam[good]
        difference = np.abs(grid.em - exact.em)[:, good].max(axis=0) / np.abs(exact.em[:, good]).max(axis=0)
        arrays[n] = {"ratio": ratio, "chi_squared": grid.chi_squared[good], "difference": difference}
        grids[str(n)] = {
            "ratio": _spread(ratio),
            "chi_squared": _spread(grid.chi_squared[good]),
            "difference": _spread(difference),
        }
    return arrays, {
        "pixels": int(intensity.shape[1]),
        "exact_chi_squared_off_target": float(np.nanmax(np.abs(exact.chi_squared - 1.0))),
        "grid": grids,
    }


def units(number, scales=SCALES):
    """
    What becomes of the answer when the response is given in another unit.

    The same problem is solved with the response multiplied by a number, which ought to divide the DEM by it and to do
    nothing else. `sunpy_demreg.invert` always takes the response in cm5, so this goes to the numerics.

    Returns
    -------
    dict
        By rule and scale: largest and median difference of the DEM, relative to the pixel's peak, and chi-squared.
    """
    intensity, sigma = sample_pixels(number)
    K, dlogt = _response_matrix(), np.full(BIN_CENTERS.size, BIN_WIDTH)
    rules = {}
    for rule in ("discrepancy", "grid"):
        options = Options(parameter_choice=rule, positivity=None, outputs=("dem", "chi_squared"))

        def solved(scale, options=options):
            problem = Problem(Bins(dlogt, BIN_CENTERS), K * scale, options)
            solution = engine.solve(intensity, sigma, problem)
            return solution.dem * scale * KELVIN[:, None], solution.chi_squared

        em, _ = solved(1.0)
        rules[rule] = {}
        for scale in scales:
            other, chi_squared = solved(scale)
            difference = np.abs(other - em).max(axis=0) / np.abs(em).max(axis=0)
            rules[rule][f"{scale:g}"] = {"difference": _spread(difference), "chi_squared": _spread(chi_squared)}
    return {"pixels": int(intensity.shape[1]), "rules": rules}


def _spread(values):
    low, median, high = np.nanpercentile(values, [5, 50, 95])
    return {
        "smallest": float(np.nanmin(values)),
        "percentile_5": float(low),
        "median": float(median),
        "percentile_95": float(high),
        "largest": float(np.nanmax(values)),
    }
