"""The bundled emissivity of an optically thin plasma, and how bundled FITS files are read."""

from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np

import astropy.units as u
from astropy.io import fits

__all__ = ["Emissivity", "load_emissivity", "read_bundled"]


class Emissivity(NamedTuple):
    """Spectra per unit of volume emission measure (electrons times hydrogen). The arrays are read-only."""

    temperature: u.Quantity  # (n,), K
    wavelength_step: u.Quantity  # Angstrom, uniform
    spectrum: u.Quantity  # (n, wavelengths), photon cm3 / (s sr Angstrom)
    source: str


def read_bundled(name):
    """
    Read a bundled FITS file.

    Returns
    -------
    `list` of (`astropy.io.fits.Header`, `numpy.ndarray`)
        One for each extension, with tables as structured arrays.
    """
    with (files(__package__) / "data" / name).open("rb") as file, fits.open(file) as hdus:
        return [(hdu.header, np.array(hdu.data)) for hdu in hdus[1:]]


@lru_cache(maxsize=1)
def load_emissivity():
    """
    Load the CHIANTI 9.0.1 emissivity that SolarSoft folds with the AIA channels.

    Returns
    -------
    Emissivity
        On the wavelengths of the AIA instrument files.
    """
    [(header, spectrum)] = read_bundled("chianti_emissivity.fits")
    # Rounded to the decimals of the grid: 10**5.6 and not 10**5.6000000000000005.
    log_temperature = np.round(header["CRVAL2"] + header["CDELT2"] * np.arange(header["NAXIS2"]), 6)
    temperature = 10**log_temperature * u.K
    spectrum = spectrum.astype(float) * u.Unit(header["BUNIT"])
    for array in (temperature, spectrum):
        array.setflags(write=False)
    return Emissivity(temperature, header["CDELT1"] * u.AA, spectrum, header["SOURCE"])
