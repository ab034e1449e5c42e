"""The spectra that a caller may choose: the bundled ones, those of xrtpy or fiasco, or their own."""

from importlib.resources import as_file, files

import numpy as np

import astropy.units as u

from sunpy_demreg._common.constants import EMISSIVITY_UNIT
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.validators import check_no_mask
from sunpy_demreg.response._emissivity import NEEDED, Emissivity, load_emissivity

__all__ = ["given_emissivity"]

_XRTPY = "response/data/chianti_emission_models/XRT_emiss_model.default_CHIANTI.geny"


def given_emissivity(emissivity):
    """
    Interpret the `emissivity` of `sunpy_demreg.TemperatureResponse.from_aia`; warns if it ends too early.

    Returns
    -------
    Emissivity
    """
    from sunpy_demreg._common.warnings import ResponseWarning, warn

    if emissivity is None:
        return load_emissivity()
    if isinstance(emissivity, str) and emissivity == "xrtpy":
        emissivity = _of_xrtpy()
    elif isinstance(emissivity, str) and emissivity == "fiasco":
        from sunpy_demreg.response._fiasco import fiasco_emissivity

        emissivity = fiasco_emissivity()
    elif isinstance(emissivity, tuple) and len(emissivity) == 3:
        emissivity = _as_emissivity(*emissivity)
    else:
        raise wrong(
            TypeError,
            "emissivity",
            "must be a tuple (temperature, wavelength, spectrum) of Quantities, 'fiasco' or 'xrtpy', "
            f"but is {emissivity!r:.80}",
        )
    if emissivity.wavelength[-1] < NEEDED:
        warn(
            ResponseWarning,
            f"ends at {emissivity.wavelength[-1].value:g} Å, but channels see light up to "
            f"{NEEDED.value:g} Å: it is continued by {load_emissivity().source}",
            "emissivity",
        )
        source = f"{emissivity.source}; beyond {emissivity.wavelength[-1].value:g} Å {load_emissivity().source}"
        emissivity = emissivity._replace(source=source)
    return emissivity


def _as_emissivity(temperature, wavelength, spectrum, source="given"):
    values = {}
    for i, each in enumerate((temperature, wavelength, spectrum)):
        check_no_mask(f"emissivity[{i}]", each)
    for name, quantity, unit in (
        ("temperature", temperature, u.K),
        ("wavelength", wavelength, u.AA),
        ("spectrum", spectrum, EMISSIVITY_UNIT),
    ):
        try:
            values[name] = u.Quantity(quantity).to(unit)
        except (TypeError, u.UnitsError) as err:
            raise wrong(TypeError, "emissivity", f": its {name} must be a Quantity that converts to {unit}") from err
    temperature, wavelength, spectrum = values.values()
    for name, axis in (("temperature", temperature), ("wavelength", wavelength)):
        if axis.ndim != 1 or axis.size < 2 or not (axis[0] > 0 and np.all(np.diff(axis) > 0)):
            raise wrong(
                ValueError, "emissivity", f": its {name} must be two or more positive values, strictly increasing"
            )
    if spectrum.shape != (temperature.size, wavelength.size):
        raise wrong(
            ValueError,
            "emissivity",
            ": its spectrum must have the shape (temperatures, wavelengths), here "
            f"{(temperature.size, wavelength.size)}, but has {spectrum.shape}",
        )
    if not (np.isfinite(spectrum).all() and np.all(spectrum >= 0)):
        raise wrong(ValueError, "emissivity", ": its spectrum must be finite and not negative")
    if not (temperature[0] >= 0.999e4 * u.K and temperature[-1] <= 1.001e9 * u.K):
        raise wrong(ValueError, "emissivity", ": its temperature must lie between 1e4 and 1e9 K")
    steps = np.diff(wavelength)
    # Uniform up to rounding: steps between numbers in single precision would bias the sum.
    is_uniform = np.ptp(steps) < 1e-3 * steps.mean()
    return Emissivity(
        temperature, wavelength, steps.mean() if is_uniform else np.gradient(wavelength), spectrum, source
    )


def _of_xrtpy():
    """CHIANTI 10. The other two files of xrtpy, named hybrid and photospheric, are coronal too, and CHIANTI 9.0.1."""
    from scipy.io import readsav

    try:
        path = files("xrtpy") / _XRTPY
    except ModuleNotFoundError as err:
        raise wrong(ImportError, "emissivity", "'xrtpy' needs xrtpy: pip install 'sunpy-demreg[instruments]'") from err
    with as_file(path) as file:
        [model] = readsav(file)["p0"]
    n_wavelengths, n_temperatures = int(model["WLENGTH"]), int(model["TLENGTH"])
    return _as_emissivity(
        10 ** np.round(np.log10(model["TEMP"][:n_temperatures].astype(float)), 4) * u.K,  # given in single precision
        model["WAVE"][:n_wavelengths].astype(float) * u.AA,
        model["SPEC"][:n_temperatures, :n_wavelengths].astype(float) * EMISSIVITY_UNIT,
        f"{model['NAME'].decode().strip()}, {model['ABUND_MODEL'].decode().strip()}, of xrtpy",
    )
