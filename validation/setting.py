"""
The instrument, the noise and the bins that all parts of the validation share.

Truths are given as the emission measure in cells of 0.005 in log T, and their intensities follow from the response
at the centers of these cells. The inversion knows the response at the centers of bins ten times as wide, so it never
inverts the very sum that made its data. The cells reach beyond the bins, as plasma does.
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
    "BIN_EDGES",
    "BIN_WIDTH",
    "CELLS",
    "CELL_WIDTH",
    "EDGES",
    "EXPOSURE",
    "RANGES",
    "ROOT",
    "SATURATION",
    "Inverted",
    "em_in_bins",
    "em_in_ranges",
    "intensity_of",
    "inverted",
    "observe",
    "observe_relative",
    "response",
    "sample_cube",
    "sample_pixels",
]

ROOT = Path(__file__).parent.parent
DATE = "2014-01-01"  # of the bundled sample: the response has the degradation of that day
EXPOSURE = np.array([2.9, 2.9, 2.0, 2.0, 2.9, 2.9])  # s, of the bundled sample
SATURATION = 15000  # DN
UNIT = u.DN / u.pix / u.s

BIN_WIDTH = 0.05
BIN_EDGES = np.round(np.arange(5.6, 7.41, BIN_WIDTH), 2)  # log T, as all without a unit
BIN_CENTERS = np.round(0.5 * (BIN_EDGES[1:] + BIN_EDGES[:-1]), 3)
EDGES = 10**BIN_EDGES * u.K
#: Ranges of 0.3 dex, as wide as what six channels can tell apart.
RANGES = np.round(5.6 + 0.3 * np.arange(6)[:, None] + [0.0, 0.3], 1)
CELL_WIDTH = 0.005
CELLS = np.round(np.arange(4.5025, 8.0, CELL_WIDTH), 4)
_CELLS_PER_BIN = round(BIN_WIDTH / CELL_WIDTH)
_FIRST_CELL = int(np.searchsorted(CELLS, BIN_EDGES[0]))
_BINS_PER_RANGE = round(0.3 / BIN_WIDTH)
RELATIVE = 0.05  # of the intensity: noise beyond that of the detector, as of the calibration from image to image
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


def in_cells(response_):
    """A response at the centers of the cells, (channels, cells); none where it is not known."""
    low, high = np.log10(response_.temperature.to_value(u.K)[[0, -1]])
    known = (low <= CELLS) & (high >= CELLS)
    table = np.zeros((len(response_.channels), CELLS.size))
    table[:, known] = response_.at(10 ** CELLS[known] * u.K).value
    return table


@cache
def _aia_in_cells():
    return in_cells(response())


@cache
def _errors():
    return get_error_table(ROOT / "sunpy_demreg" / "_channels" / "data" / "aia_V3_error_table.txt")


def em_in_bins(em_in_cells):
    """The emission measure in the bins of the inversion, (bins, ...), of that in the cells."""
    inside = em_in_cells[_FIRST_CELL : _FIRST_CELL + _CELLS_PER_BIN * BIN_CENTERS.size]
    return inside.reshape(BIN_CENTERS.size, _CELLS_PER_BIN, *inside.shape[1:]).sum(axis=1)


def em_in_ranges(em_in_bins):
    """The emission measure in `RANGES`, (ranges, ...), of that in the bins."""
    return em_in_bins.reshape(len(RANGES), _BINS_PER_RANGE, *em_in_bins.shape[1:]).sum(axis=1)


def intensity_of(em_in_cells):
    """Noise-free intensities of AIA, (channels, ...), DN / (pix s)."""
    return np.tensordot(_aia_in_cells(), em_in_cells, axes=1)


def observe(intensity, rng, relative=RELATIVE, n_sample=1):
    """
    Draw the noise of AIA: ``sigma^2 = photons + detector + (relative * intensity)^2``.

    Photons are Poisson's; all the other terms of `aiapy.calibrate.estimate_error` (read-out, dark, quantization,
    compression) and the relative one are drawn from Gaussians.

    Parameters
    ----------
    intensity : array, (channels, N)
        DN / (pix s).
    rng : `numpy.random.Generator`
    relative : float, optional
        Share of the intensity.
    n_sample : int, optional
        Averaged detector pixels: 16 in the synoptic series, 1 at full resolution.

    Returns
    -------
    intensity, uncertainty : array, (channels, N)
        With noise; and as `sunpy_demreg.prepare` estimates it, from the noisy counts, with that relative error.
    """
    noisy, sigma = np.empty_like(intensity), np.empty_like(intensity)
    for i, (channel, exposure) in enumerate(zip(AIA_CHANNELS, EXPOSURE, strict=True)):
        counts = intensity[i] * exposure
        dn_per_photon = float(_errors()["DNPERPHT"][_errors()["WAVELNTH"] == channel * u.AA][0].value) / n_sample
        detector = np.clip(_count_error(counts, channel, n_sample) ** 2 - counts * dn_per_photon, 0, None)
        other = np.sqrt(detector + (relative * counts) ** 2)
        drawn = rng.poisson(counts / dn_per_photon) * dn_per_photon + other * rng.standard_normal(counts.shape)
        noisy[i] = drawn / exposure
        seen = np.clip(drawn, 0, None)
        sigma[i] = np.hypot(_count_error(seen, channel, n_sample), relative * seen) / exposure
    return noisy, sigma


def observe_relative(intensity, rng, relative):
    """Draw noise that is the same share of each intensity, and nothing else."""
    sigma = relative * intensity
    return intensity + sigma * rng.standard_normal(intensity.shape), sigma


def _count_error(counts, channel, n_sample):
    error = estimate_error(counts * u.DN / u.pix, channel * u.AA, n_sample=n_sample, error_table=_errors())
    return error.to_value(u.DN / u.pix)


def inverted(intensity, sigma, outputs=("dem", "chi_squared"), response_=None, **options):
    """Invert plain arrays, (channels, N); masked pixels and misfits are counted by the caller, not warned of."""
    response_ = response() if response_ is None else response_
    with warnings.catch_warnings():
        told = "[0-9]+ of [0-9]+ (pixels were not solved|solved pixels do not fit)"
        warnings.filterwarnings("ignore", told, SunpyUserWarning)
        result = demreg.invert(intensity * UNIT, response_, EDGES, uncertainty=sigma * UNIT, outputs=outputs, **options)
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
