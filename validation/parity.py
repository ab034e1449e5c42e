"""The array function `~sunpy_demreg.dn2dem_pos` against demregpy's, over its options, on real pixels."""

import contextlib
import io
import time
import warnings
from importlib.metadata import version

import numpy as np
from demregpy import dn2dem

import astropy.units as u

from sunpy_demreg import dn2dem_pos
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
    instrument = (table.response.value.T, np.log10(table.temperature.to_value(u.K)), EDGES.to_value(u.K))
    sets, seconds = {}, {"demregpy": 0.0, "compat": 0.0}
    for name, keywords in options.items():
        start = time.perf_counter()
        theirs = _reference(intensity, sigma, *instrument, **keywords)
        middle = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ours = dn2dem_pos(intensity, sigma, *instrument, **keywords)
        seconds["demregpy"] += middle - start
        seconds["compat"] += time.perf_counter() - middle

        def again(pixels, max_iter, keywords=keywords):
            return _reference(intensity[pixels], sigma[pixels], *instrument, **keywords | {"max_iter": max_iter})[0]

        sets[name] = _comparison(ours, theirs, again, 1 if "non_pos" in keywords else keywords.get("max_iter", 10))
    return {"pixels": len(intensity), "demregpy": version("demregpy"), "sets": sets, "seconds": seconds}


def _reference(intensity, *others, dem_norm0=None, **keywords):
    if dem_norm0 is not None:  # it takes a weight per pixel
        keywords["dem_norm0"] = np.broadcast_to(dem_norm0, (len(intensity), dem_norm0.size)).copy()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return dn2dem(intensity, *others, **keywords)


def _comparison(ours, theirs, again, max_iter):
    """Largest differences; and of the pixels apart, how many are so for one of the two known reasons."""
    differences = {key: _relative(_rows(a), _rows(b)) for key, a, b in zip(OUTPUTS, ours, theirs, strict=True)}
    apart = np.max(list(differences.values()), axis=0) > APART
    # A kernel that falls between the temperatures at which its width is measured: zero there, a bin's width here.
    in_width_only = apart & (np.max([differences[k] for k in OUTPUTS if k != "elogt"], axis=0) <= APART)
    is_narrow = in_width_only & np.any((theirs[2] == 0) & (ours[2] > 0), axis=1)
    # A bin without plasma, which the rounding of the reference makes negative, so that it relaxes the fit.
    has_stumbled = apart & _is_negative_by_rounding(theirs[0])
    for steps in range(1, max_iter):
        left = np.flatnonzero(apart & ~in_width_only & ~has_stumbled)
        if not left.size:
            break
        has_stumbled[left] = _is_negative_by_rounding(again(left, steps))
    return {
        **{key: float(value.max()) for key, value in differences.items()},
        "apart": int(np.count_nonzero(apart)),
        "apart_by_sign": int(np.count_nonzero(has_stumbled & ~is_narrow)),
        "apart_by_narrow_kernel": int(np.count_nonzero(is_narrow)),
        "apart_otherwise": int(np.count_nonzero(apart & ~has_stumbled & ~is_narrow)),
        "largest_of_others": float(max(value[~apart].max(initial=0.0) for value in differences.values())),
        "median_chi_squared_apart": [
            float(np.median(np.asarray(output[3])[has_stumbled])) if has_stumbled.any() else None
            for output in (ours, theirs)
        ],
    }


def _is_negative_by_rounding(dem):
    least, peak = dem.min(axis=1), np.abs(dem).max(axis=1)
    return (least < 0) & (-least < ROUNDING * peak)


def _rows(output):
    return np.asarray(output).reshape(len(output), -1)


def _relative(ours, theirs):
    """Largest difference of each pixel over the pixel's peak."""
    peak = np.abs(theirs).max(axis=1)
    return np.abs(ours - theirs).max(axis=1) / np.where(peak > 0, peak, 1.0)
