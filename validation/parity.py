"""The array function `sunpy_demreg.compat.dn2dem_pos` against demregpy's, over its options, on real pixels."""

import contextlib
import io
import time
import warnings
from importlib.metadata import version

import numpy as np
from demregpy import dn2dem

import astropy.units as u

from sunpy_demreg.compat import dn2dem_pos
from validation.setting import BIN_CENTERS, EDGES, response, sample_pixels

__all__ = ["APART", "OPTIONS", "OUTPUTS", "ROUNDING", "parity"]

OUTPUTS = ("dem", "edem", "elogt", "chisq", "dn_reg")
APART = 1e-6  # a pixel that differs by more than this took another path, not another rounding
ROUNDING = 1e-14
_WEIGHT = 0.02 + np.exp(-0.5 * ((BIN_CENTERS - 6.3) / 0.25) ** 2)
OPTIONS = {
    "defaults": {},
    "nmu=100": {"nmu": 100},
    "reg_tweak=0.3": {"reg_tweak": 0.3},
    "reg_tweak=3": {"reg_tweak": 3.0},
    "max_iter=3": {"max_iter": 3},
    "rgt_fact=1.1": {"rgt_fact": 1.1},
    "non_pos=True": {"non_pos": True},
    "gloci=1": {"gloci": 1},
    "gloci=[1, 0, 1, 1, 1, 0]": {"gloci": [1, 0, 1, 1, 1, 0]},
    "dem_norm0=...": {"dem_norm0": _WEIGHT},
    "l_emd=True": {"l_emd": True},
    "emd_ret=True": {"emd_ret": True},
    "emd_int=True, non_pos=True": {"emd_int": True, "non_pos": True},
    "emd_int=True": {"emd_int": True},
    "emd_int=True, emd_ret=True": {"emd_int": True, "emd_ret": True},
    "emd_int=True, l_emd=True, gloci=1": {"emd_int": True, "l_emd": True, "gloci": 1},
    "gloci=1, nmu=60, rgt_fact=2, reg_tweak=0.5": {"gloci": 1, "nmu": 60, "rgt_fact": 2.0, "reg_tweak": 0.5},
}


def parity(number, options=OPTIONS):
    """
    Largest difference of each output, over the pixels, relative to the pixel's own peak.

    Parameters
    ----------
    number : int
        Pixels of the bundled sample.
    options : dict of dict, optional
        Sets of keyword arguments by name.

    Returns
    -------
    dict
    """
    intensity, sigma = (values.T for values in sample_pixels(number))
    table = response()
    given = (intensity, sigma, table.response.value.T, np.log10(table.temperature.to_value(u.K)), EDGES.to_value(u.K))
    sets, seconds = {}, {"demregpy": 0.0, "compat": 0.0}
    for name, keywords in options.items():
        weight = keywords.get("dem_norm0")
        # The reference takes a weight per pixel.
        spread = {} if weight is None else {"dem_norm0": np.broadcast_to(weight, (len(intensity), weight.size)).copy()}
        start = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            theirs = dn2dem(*given, **keywords | spread)
        middle = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ours = dn2dem_pos(*given, **keywords)
        seconds["demregpy"] += middle - start
        seconds["compat"] += time.perf_counter() - middle
        sets[name] = _comparison(ours, theirs)
    return {"pixels": len(intensity), "demregpy": version("demregpy"), "sets": sets, "seconds": seconds}


def _comparison(ours, theirs):
    differences = {
        key: _relative(a, b) for key, a, b in zip(OUTPUTS, map(_rows, ours), map(_rows, theirs), strict=True)
    }
    differs = np.max(list(differences.values()), axis=0) > APART
    # The reference looks for negative bins with the signs that rounding gives to bins which are empty.
    least, peak = _rows(theirs[0]).min(axis=1), np.abs(_rows(theirs[0])).max(axis=1)
    return {
        **{key: float(value.max()) for key, value in differences.items()},
        "apart": int(np.count_nonzero(differs)),
        "largest_of_others": float(max(value[~differs].max() for value in differences.values())),
        "reference_negative": int(np.count_nonzero(least < 0)),
        "reference_negative_by_rounding": int(np.count_nonzero((least < 0) & (-least < ROUNDING * peak))),
        "ours_negative": int(np.count_nonzero(_rows(ours[0]).min(axis=1) < 0)),
    }


def _rows(output):
    return np.asarray(output).reshape(len(output), -1)


def _relative(ours, theirs):
    """Largest difference of each pixel over the pixel's peak."""
    peak = np.abs(theirs).max(axis=1)
    return np.abs(ours - theirs).max(axis=1) / np.where(peak > 0, peak, 1.0)
