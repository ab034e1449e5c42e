"""The emissivity of an optically thin plasma: the bundled one, one of xrtpy, or that of the caller."""

from functools import lru_cache
from importlib.resources import as_file, files
from typing import NamedTuple

import numpy as np

import astropy.units as u
from astropy.io import fits

__all__ = ["Emissivity", "fold", "given_emissivity", "load_emissivity", "read_bundled"]

_UNIT = u.Unit("photon cm3 / (s sr Angstrom)")
_NEEDED = 830 * u.AA  # up to which the channels of AIA leak
_XRTPY = "response/data/chianti_emission_models/XRT_emiss_model.default_CHIANTI.geny"


class Emissivity(NamedTuple):
    """Spectra per unit of volume emission measure (electrons times hydrogen). The arrays are read-only."""

    temperature: u.Quantity  # (n,), K
    wavelength: u.Quantity  # (wavelengths,), Angstrom
    width: u.Quantity  # Angstrom, of the wavelength bins, one for all or one for each
    spectrum: u.Quantity  # (n, wavelengths), photon cm3 / (s sr Angstrom)
    source: str


def fold(emissivity, wavelength, response):
    """
    Temperature response of a wavelength response: their product, summed over the wavelengths of the spectrum.

    Lines are narrower than the bins of a spectrum, and responses smooth: so the response is interpolated, not the
    spectrum. Beyond the end of a spectrum the bundled one is taken.

    Parameters
    ----------
    emissivity : Emissivity
    wavelength, response : `~astropy.units.Quantity`
        Response at wavelengths, whose unit times that of the emissivity and of a wavelength is that of the result.
    """
    response_there = _interpolated(emissivity.wavelength, wavelength, response)
    folded = (emissivity.spectrum * emissivity.width) @ response_there
    end = emissivity.wavelength[-1]
    if end >= _NEEDED:
        return folded
    bundled = load_emissivity()
    is_beyond = bundled.wavelength > end
    beyond = bundled.wavelength[is_beyond]
    rest = (bundled.spectrum[:, is_beyond] * bundled.width) @ _interpolated(beyond, wavelength, response)
    nodes, at = (np.log(each.temperature.value) for each in (bundled, emissivity))
    logarithm = np.log(np.maximum(rest.value, np.finfo(float).tiny))
    return folded + np.exp(np.interp(at, nodes, logarithm)) * rest.unit


def _interpolated(at, wavelength, response):
    return np.interp(at.to_value(u.AA), wavelength.to_value(u.AA), response.value, left=0, right=0) * response.unit


def given_emissivity(emissivity):
    """
    Interpret the `emissivity` of `sunpy_demreg.TemperatureResponse.from_aia`; warns if it ends too early.

    Returns
    -------
    Emissivity
    """
    from sunpy.util.exceptions import warn_user

    if emissivity is None:
        return load_emissivity()
    if isinstance(emissivity, str) and emissivity == "xrtpy":
        emissivity = _of_xrtpy()
    elif isinstance(emissivity, tuple) and len(emissivity) == 3:
        emissivity = _validated(*emissivity)
    else:
        raise TypeError(
            "`emissivity` must be a tuple (temperature, wavelength, spectrum) of Quantities, or 'xrtpy', but is "
            f"{emissivity!r:.80}"
        )
    if emissivity.wavelength[-1] < _NEEDED:
        warn_user(
            f"`emissivity` ends at {emissivity.wavelength[-1].value:g} Å, but channels see light up to "
            f"{_NEEDED.value:g} Å: it is continued by {load_emissivity().source}"
        )
        source = f"{emissivity.source}; beyond {emissivity.wavelength[-1].value:g} Å {load_emissivity().source}"
        emissivity = emissivity._replace(source=source)
    return emissivity


def _validated(temperature, wavelength, spectrum, source="given"):
    values = {}
    for name, quantity, unit in (
        ("temperature", temperature, u.K),
        ("wavelength", wavelength, u.AA),
        ("spectrum", spectrum, _UNIT),
    ):
        try:
            values[name] = u.Quantity(quantity).to(unit)
        except (TypeError, u.UnitsError) as err:
            raise TypeError(f"`emissivity`: its {name} must be a Quantity that converts to {unit}") from err
    temperature, wavelength, spectrum = values.values()
    for name, axis in (("temperature", temperature), ("wavelength", wavelength)):
        if axis.ndim != 1 or axis.size < 2 or not (axis[0] > 0 and np.all(np.diff(axis) > 0)):
            raise ValueError(f"`emissivity`: its {name} must be two or more positive values, strictly increasing")
    if spectrum.shape != (temperature.size, wavelength.size):
        raise ValueError(
            "`emissivity`: its spectrum must have the shape (temperatures, wavelengths), here "
            f"{(temperature.size, wavelength.size)}, but has {spectrum.shape}"
        )
    if not (np.isfinite(spectrum).all() and np.all(spectrum >= 0)):
        raise ValueError("`emissivity`: its spectrum must be finite and not negative")
    if not (temperature[0] >= 0.999e4 * u.K and temperature[-1] <= 1.001e9 * u.K):
        raise ValueError("`emissivity`: its temperature must lie between 1e4 and 1e9 K")
    steps = np.diff(wavelength)
    # Steps that differ by rounding only are one: those of numbers in single precision would bias the sum.
    is_uniform = np.ptp(steps) < 1e-3 * steps.mean()
    return Emissivity(
        temperature, wavelength, steps.mean() if is_uniform else np.gradient(wavelength), spectrum, source
    )


def _of_xrtpy():
    """CHIANTI 10. Its other two files, named hybrid and photospheric, are coronal too, and of CHIANTI 9.0.1."""
    from scipy.io import readsav

    try:
        path = files("xrtpy") / _XRTPY
    except ModuleNotFoundError as err:
        raise ImportError("`emissivity` 'xrtpy' needs xrtpy: pip install 'sunpy-demreg[instruments]'") from err
    with as_file(path) as file:
        [model] = readsav(file)["p0"]
    n_wavelengths, n_temperatures = int(model["WLENGTH"]), int(model["TLENGTH"])
    return _validated(
        10 ** np.round(np.log10(model["TEMP"][:n_temperatures].astype(float)), 4) * u.K,  # of single precision
        model["WAVE"][:n_wavelengths].astype(float) * u.AA,
        model["SPEC"][:n_temperatures, :n_wavelengths].astype(float) * _UNIT,
        f"{model['NAME'].decode().strip()}, {model['ABUND_MODEL'].decode().strip()}, of xrtpy",
    )


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
    wavelength = (header["CRVAL1"] + header["CDELT1"] * np.arange(header["NAXIS1"])) * u.AA
    spectrum = spectrum.astype(float) * u.Unit(header["BUNIT"])
    for array in (temperature, wavelength, spectrum):
        array.setflags(write=False)
    return Emissivity(temperature, wavelength, header["CDELT1"] * u.AA, spectrum, header["SOURCE"])
