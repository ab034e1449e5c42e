"""
The constraint `xi >= 0` in extreme pixels: each DEM is the optimum, to 1e-8, or its status says so.

    nice python validation/constraint.py [--number 4700] [--seed 0]

The conditions of Karush, Kuhn and Tucker, with sixty digits: the bins that are not zero give a system whose solution,
of the same misfit, is compared with the DEM; and in the bins that are zero the gradient must not point upwards. In
these pixels the uncertainties differ by ten orders of magnitude, or everything is of an extreme size, or one intensity
belongs to no plasma. The command fails if one that carries no flag is off by more than 1e-8 of its peak.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from sunpy_demreg import Status
from sunpy_demreg._engines import execute
from sunpy_demreg._engines.base.options import Options
from sunpy_demreg._engines.base.problem import Bins, Problem
from validation.extended import solve
from validation.faults import instrument

__all__ = ["TOLERANCE", "extreme_pixels", "violations"]

TOLERANCE = 1e-8
#: Statuses that say that the DEM may not be the optimum for the target.
_TOLD = int(Status.UNSOLVED | Status.TARGET_NOT_REACHED)
OPTIONS = {
    "self": Options(positivity="constrain"),
    "uniform": Options(positivity="constrain", weighting="uniform"),
}


def extreme_pixels(K, logt, n_pixels, rng):
    """Intensities and uncertainties."""
    centers = rng.uniform(5.8, 7.2, n_pixels)
    dem = 10 ** rng.uniform(19, 22, n_pixels) * np.exp(-0.5 * ((logt[:, None] - centers) / 0.2) ** 2)
    clean = K @ dem
    kind, n = rng.integers(3, size=n_pixels), len(K)
    sigma = 0.05 * clean + 0.01
    sigma = np.where(kind == 0, sigma * 10 ** rng.uniform(-5, 5, (n, n_pixels)), sigma)
    g = np.abs(clean + sigma * rng.standard_normal(clean.shape))
    g[rng.integers(n, size=n_pixels), np.arange(n_pixels)] *= np.where(kind == 2, 10 ** rng.uniform(-9, 9, n_pixels), 1)
    size = np.where(kind == 1, 10 ** rng.uniform(-200, 200, n_pixels), 1.0)
    return g * size, sigma * size


def violations(g, sigma, K, bins, options, backend="cpu"):
    """
    Compare with extended precision.

    Parameters
    ----------
    g, sigma : array, (n, N)
    K : array, (n, m)
    bins : `sunpy_demreg._engines.base.problem.Bins`
    options : `sunpy_demreg._engines.base.options.Options`
    backend : str, optional

    Returns
    -------
    status : array, (N,)
    violation, difference, lam : array, (N,)
        The largest gradient that a bin at zero or not at zero should not have, relative to the largest of all; the
        largest difference of the DEM, relative to its peak; that of lam. NaN where the status says that there is none.
    """
    answer = execute.run(g, sigma, execute.classify(g, sigma), Problem(bins, K, options), backend=backend)
    found = np.full((3, g.shape[1]), np.nan)
    for p in np.flatnonzero((answer.status & _TOLD) == 0):
        dem, chi_squared = answer.dem[:, p], answer.chi_squared[p]
        # Where the target was raised, the DEM is to be the best one of the misfit that it has.
        goal = len(g) * (float(chi_squared) if answer.status[p] & Status.RELAXED else options.chi_squared_target)
        truth = solve(g[:, p], sigma[:, p], K, bins.widths, options, active=dem > 0, goal=goal)
        if truth is None:
            found[:, p] = np.inf
            continue
        lam = answer.regularization_parameter[p] / truth.regularization_parameter
        found[:, p] = truth.violation, np.max(np.abs(dem - truth.dem)) / np.max(truth.dem), abs(lam - 1.0)
    return answer.status, *found


def main(arguments=None):
    """Parse the command line, compare, print."""
    parser = argparse.ArgumentParser(description="The constraint in extreme pixels, against extended precision.")
    parser.add_argument("--number", type=int, default=4700)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    start, n_wrong = time.perf_counter(), 0
    K, dlogt, logt = instrument("plain")
    for i, (name, options) in enumerate(OPTIONS.items()):
        rng = np.random.default_rng([chosen.seed, i])
        g, sigma = extreme_pixels(K, logt, chosen.number // len(OPTIONS), rng)
        status, violation, difference, lam = violations(g, sigma, K, Bins(dlogt, logt), options)
        is_told = np.isnan(violation)
        is_wrong = ~is_told & ~(np.maximum(violation, difference) <= TOLERANCE)
        n_wrong += int(is_wrong.sum())
        print(
            f"weighting {name}: {status.size} pixels, {is_told.sum()} told, {is_wrong.sum()} wrong in silence; the "
            f"others: gradient {violation[~is_told].max():.1e}, DEM {difference[~is_told].max():.1e}, "
            f"lambda {lam[~is_told].max():.1e}"
        )
        for p in np.flatnonzero(is_wrong)[:5]:
            print("   ", Status(int(status[p])), violation[p], difference[p], g[:, p].tolist(), sigma[:, p].tolist())
    print(f"{time.perf_counter() - start:.0f} s")
    return 1 if n_wrong else 0


if __name__ == "__main__":
    sys.exit(main())
