"""Responses of other channels than the six of AIA: subsets of them, X-ray filters, another imager, spectral lines."""

from functools import cache

import numpy as np

import astropy.units as u

import sunpy_demreg as demreg
from sunpy_demreg._common.constants import AIA_CHANNELS
from sunpy_demreg.response._emissivity import load_emissivity
from validation.setting import DATE, UNIT, in_cells, response

__all__ = ["EIS_LINES", "INSTRUMENTS", "intensity_in"]

#: Wavelengths (Å) of lines that Hinode/EIS observes, from cool to hot.
EIS_LINES = {
    "Mg V 276.58": 276.58,
    "Mg VI 268.99": 268.99,
    "Si VII 275.36": 275.36,
    "Mg VII 280.74": 280.74,
    "Fe VIII 186.60": 186.60,
    "Fe IX 197.86": 197.86,
    "Fe X 184.54": 184.54,
    "Fe XI 188.22": 188.22,
    "Si X 258.37": 258.37,
    "S X 264.23": 264.23,
    "Fe XII 195.12": 195.12,
    "Fe XIII 202.04": 202.04,
    "Fe XIII 203.83": 203.83,
    "Fe XIV 264.79": 264.79,
    "Fe XIV 274.20": 274.20,
    "S XIII 256.69": 256.69,
    "Fe XV 284.16": 284.16,
    "Fe XVI 262.98": 262.98,
    "Ca XIV 193.87": 193.87,
    "Ca XV 200.97": 200.97,
    "Ca XVII 192.85": 192.85,
    "Fe XVII 254.87": 254.87,
    "Fe XXIII 263.76": 263.76,
    "Fe XXIV 192.03": 192.03,
}
_HALF_WIDTH = 0.15  # Å, around a line
_XRT = ("Al-mesh", "Ti-poly", "Be-thin", "Be-med", "Al-thick")


def _of_aia(*channels):
    """A subset of the channels of AIA."""
    whole = response()
    chosen = [AIA_CHANNELS.index(channel) for channel in channels]
    names = [whole.channels[i] for i in chosen]
    return demreg.TemperatureResponse.from_arrays(names, whole.temperature, whole.response[chosen])


def _eis():
    """Lines with what is blended with them: the spectrum that SolarSoft folds with the channels of AIA."""
    emissivity = load_emissivity()
    wavelength = emissivity.wavelength.to_value(u.AA)
    table = [
        emissivity.spectrum.value[:, np.abs(wavelength - line) < _HALF_WIDTH].sum(axis=1) for line in EIS_LINES.values()
    ]
    # On a scale of its own: no method depends on it.
    table = np.array(table) / np.max(table) * 1e-24
    return demreg.TemperatureResponse.from_arrays(list(EIS_LINES), emissivity.temperature, table * UNIT * u.cm**5)


def _xrt():
    return demreg.TemperatureResponse.from_xrt(_XRT, DATE)


INSTRUMENTS = {
    "AIA, 4 channels": lambda: _of_aia(131, 171, 193, 211),
    "AIA, 5 channels": lambda: _of_aia(94, 131, 171, 193, 211),
    "AIA, 6 channels": response,
    "SUVI, 5 channels": lambda: demreg.TemperatureResponse.from_suvi([94, 131, 171, 195, 284] * u.AA),
    "XRT, 5 filters": _xrt,
    "AIA + XRT, 11 channels": lambda: demreg.TemperatureResponse.concatenate([response(), _xrt()]),
    "EIS, 24 lines": _eis,
}


@cache
def instrument(name):
    """The response of an instrument, and the same in cells."""
    its_response = INSTRUMENTS[name]()
    return its_response, in_cells(its_response)


def intensity_in(name, em):
    """Noise-free intensities of an instrument, (channels, N)."""
    return np.einsum("ij,jn->in", instrument(name)[1], em)  # without BLAS, some of which crash on such shapes
