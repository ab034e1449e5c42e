"""
What faint and missing intensities do: the pixels that are gained, and the errors that they have.

    nice python validation/missing.py [--quick] [--write]

Prints the tables of the documentation; with ``--write`` into ``docs/_tables``.
"""

import argparse
import sys
import warnings
from importlib.resources import files
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

import astropy.units as u
import sunpy.map
from astropy.nddata import StdDevUncertainty
from ndcube import NDCube

import sunpy_demreg as demreg
from sunpy_demreg import Status
from sunpy_demreg._common.constants import AIA_CHANNELS
from validation.accuracy import evaluate
from validation.setting import BIN_CENTERS, EDGES, UNIT, em_in_bins, intensity_of, inverted, observe, response
from validation.truths import random_sums, solar

METHODS = {"relax": {}, "constrain": {"positivity": "constrain"}}
FAMILIES = ("quiet Sun", "active region", "flare", "five components")
_UNSOLVED = int(Status.UNSOLVED)


def leave_one_out(number, seed=0):
    """Median error ``E`` of random DEMs, by family and method, with all channels and without each of them."""
    table = {}
    for family in FAMILIES:
        rng = np.random.default_rng(seed)
        em = random_sums(number, rng, 5) if family == FAMILIES[-1] else solar(family, number, rng)
        intensity, sigma = observe(intensity_of(em), rng)
        truth = em_in_bins(em)
        for method, options in METHODS.items():
            errors = []
            for missing in (None, *range(len(AIA_CHANNELS))):
                given = intensity.copy()
                if missing is not None:
                    given[missing] = np.nan
                result = inverted(given, sigma, missing_channels="omit", **options)
                measures = evaluate(result, truth)
                errors.append([np.nanmedian(measures["E"]), np.nanmedian(measures["total"])])
            table[family, method] = np.array(errors)
    return table


def masked_fractions():
    """Fractions of the pixels of real data that are masked, by reason, for each way to treat them."""
    warnings.simplefilter("ignore")
    folder = files("demregpy") / "tests" / "data"
    cubes = {"full disk, 2014-01-01": demreg.prepare(sunpy.map.Map(str(folder / "aia" / "*.fits")), n_sample=16)}
    for name in ("01-44-07", "01-50", "01-52", "01-54"):
        paths = sorted(str(p) for p in (folder / "aia_flare").iterdir() if f"T{name}" in p.name)
        if len(paths) == 6:
            cubes[f"flare, {name[:5]}"] = demreg.prepare(paths)[:, 2:65, 2:65]
    rows = {}
    for name, cube in cubes.items():
        for nonpositive, missing in (("mask", "mask"), ("use", "mask"), ("use", "omit")):
            result = demreg.invert(
                cube,
                demreg.TemperatureResponse.from_aia(cube),
                EDGES,
                nonpositive=nonpositive,
                missing_channels=missing,
                outputs=("dem", "chi_squared"),
            )
            rows[name, nonpositive, missing] = result.meta["status_counts"], result
    return rows


if __name__ == "__main__":
    for key, value in leave_one_out(300).items():
        print(key, np.round(value[:, 0], 3), np.round(value[:, 1], 3))
    for key, (counts, _) in masked_fractions().items():
        print(key, counts)
