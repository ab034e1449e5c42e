"""
The instrument, the noise and the bins that all parts of the validation share.

Truths are given as the emission measure in cells of 0.005 in log T, and their intensities follow from the response
at the centers of these cells. The inversion knows the response at the centers of bins ten times as wide, so it never
inverts the very sum that made its data.
"""

import warnings
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

import astropy.units as u
from aiapy.calibrate import estimate_error
from aiapy.calibrate.utils import get_error_table
from sunpy.util.exceptions import SunpyUserWarning

import sunpy_demreg as demreg
from sunpy_demreg._common.constants import AIA_CHANNELS

__all__ = [
    "BIN_CENTERS",
    "BIN_WIDTH",
    "CELLS",
    "CELL_WIDTH",
    "EDGES",
    "ROOT",
    "Inverted",
    "em_in_bins",
    "intensity_of",
    "inverted",
    "observe",
    "response",
    "sample_cube",
    "sample_pixels",
]

ROOT = Path(__file__).parent.parent
DATE = "2014-01-01"  # of the bundled sample: the response has the degradation of that day
EXPOSURE = np.array([2.9, 2.9, 2.0, 2.0, 2.9, 2.9])  # s, of the bundled sample
SATURATION = 15000  # DN
UNIT = u.DN / u.pix / u.s

EDGES = 10 ** np.arange(5.6, 7.41, 0.05) * u.K
BIN_WIDTH = 0.05
BIN_CENTERS = np.round(np.arange(5.625, 7.4, BIN_WIDTH), 3)
CELL_WIDTH = 0.005
CELLS = np.round(np.arange(5.0025, 8.0, CELL_WIDTH), 4)
_CELLS_PER_BIN = round(BIN_WIDTH / CELL_WIDTH)
_FIRST_CELL = int(np.searchsorted(CELLS, 5.6))
#: K per bin times its DEM (per K) is its emission measure.
KELVIN = 10**BIN_CENTERS * np.log(10) * BIN_WIDTH


class Inverted(NamedTuple):
    """What the validation needs of a result, pixels last; the pixels that could not be solved are NaN."""

    em: np.ndarray  # (bins, N), cm-5, emission measure of each bin
    sigma: np.ndarray | None  # of `em`
    chi_squared: np.ndarray  # (N,)
    status: np.ndarray  # (N,)
    result: object

    @property
    def is_solved(self):
        """Whether a pixel has a solution."""
        return (self.status & int(demreg.Status.UNSOLVED)) == 0

    def has(self, bit):
        """Whether a pixel's status has that bit."""
        return (self.status & int(bit)) != 0


@cache
def response():
    """The temperature response of AIA at the date of the sample."""
    return demreg.TemperatureResponse.from_aia(AIA_CHANNELS * u.AA, obstime=DATE)


@cache
def _response_in_cells():
    return response().at(10**CELLS * u.K).value


@cache
def _errors():
    return get_error_table(ROOT / "sunpy_demreg" / "_channels" / "data" / "aia_V3_error_table.txt")


def em_in_bins(em_in_cells):
    """The emission measure in the bins of the inversion, (bins, ...), of that in the cells."""
    inside = em_in_cells[_FIRST_CELL : _FIRST_CELL + _CELLS_PER_BIN * BIN_CENTERS.size]
    return inside.reshape(BIN_CENTERS.size, _CELLS_PER_BIN, *inside.shape[1:]).sum(axis=1)


def only_in_bins(em_in_cells):
    """Take away the plasma that is colder or hotter than the bins."""
    em = em_in_cells.copy()
    em[:_FIRST_CELL] = 0.0
    em[_FIRST_CELL + _CELLS_PER_BIN * BIN_CENTERS.size :] = 0.0
    return em


def intensity_of(em_in_cells):
    """Noise-free intensities, (channels, ...), DN / (pix s)."""
    return np.tensordot(_response_in_cells(), em_in_cells, axes=1)


def observe(intensity, rng, n_sample=16):
    """
    Draw the noise of AIA.

    Photons are Poisson's; all the other terms of `aiapy.calibrate.estimate_error` (read-out, dark, quantization,
    compression) are drawn from one Gaussian.

    Parameters
    ----------
    intensity : array, (channels, N)
        DN / (pix s).
    rng : `numpy.random.Generator`
    n_sample : int, optional
        Averaged detector pixels: 16 in the synoptic series, 1 at full resolution.

    Returns
    -------
    intensity, uncertainty : array, (channels, N)
        With noise; and as `sunpy_demreg.prepare` estimates it, from the noisy counts.
    """
    noisy, sigma = np.empty_like(intensity), np.empty_like(intensity)
    for i, (channel, exposure) in enumerate(zip(AIA_CHANNELS, EXPOSURE, strict=True)):
        counts = intensity[i] * exposure
        dn_per_photon = float(_errors()["DNPERPHT"][_errors()["WAVELNTH"] == channel * u.AA][0].value) / n_sample
        other = np.sqrt(np.clip(_count_error(counts, channel, n_sample) ** 2 - counts * dn_per_photon, 0, None))
        drawn = rng.poisson(counts / dn_per_photon) * dn_per_photon + other * rng.standard_normal(counts.shape)
        noisy[i] = drawn / exposure
        sigma[i] = _count_error(np.clip(drawn, 0, None), channel, n_sample) / exposure
    return noisy, sigma


def _count_error(counts, channel, n_sample):
    error = estimate_error(counts * u.DN / u.pix, channel * u.AA, n_sample=n_sample, error_table=_errors())
    return error.to_value(u.DN / u.pix)


def inverted(intensity, sigma, outputs=("dem", "chi_squared"), **options):
    """Invert plain arrays, (channels, N); masked pixels are counted by the caller, so they are no warning here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "[0-9]+ of [0-9]+ pixels were not solved", SunpyUserWarning)
        result = demreg.invert(
            intensity * UNIT, response(), EDGES, uncertainty=sigma * UNIT, outputs=outputs, **options
        )
    dem = result["dem"]
    factor = KELVIN[:, None]
    error = None if dem.uncertainty is None else dem.uncertainty.array * factor
    chi_squared = result["chi_squared"].data if "chi_squared" in outputs else None
    return Inverted(dem.data * factor, error, chi_squared, result["status"].data, result)


@cache
def sample_cube():
    """The bundled sample: active regions at the limb, their corona, and quiet Sun."""
    return demreg.prepare(demreg.sample.aia_maps(), n_sample=16)


def sample_pixels(number):
    """Intensity and uncertainty, (channels, number), of pixels spread evenly over the sample that can be solved."""
    cube = sample_cube()
    good = np.flatnonzero(np.all(cube.data > 0, axis=0) & ~np.any(cube.mask, axis=0))
    chosen = good[np.linspace(0, good.size - 1, min(number, good.size)).astype(int)]
    shape = (len(AIA_CHANNELS), -1)
    return cube.data.reshape(shape)[:, chosen], cube.uncertainty.array.reshape(shape)[:, chosen]
