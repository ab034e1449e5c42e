"""The spectra that a caller may choose: the bundled ones, those of xrtpy or fiasco, or their own."""

from importlib.resources import as_file, files

import numpy as np

import astropy.units as u

from sunpy_demreg._common.constants import EMISSIVITY_UNIT
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.validators import a_kind, check_choice, check_no_mask
from sunpy_demreg.response._emissivity import NEEDED, Emissivity, load_emissivity

__all__ = ["ABUNDANCES", "given_emissivity", "source_of_xrtpy"]

_XRTPY = "response/data/chianti_emission_models/XRT_emiss_model.default_CHIANTI{}.geny"
# Files of xrtpy that say they are coronal, by mistake: the ratios of their lines to those of the coronal one are those
# of the abundances named here (iron 7.47, oxygen 8.68, neon 7.92; and 7.85, 8.59, 7.87).
_NOT_CORONAL = {
    "photospheric": "photospheric abundances (as of Scott et al. 2015)",
    "hybrid": "hybrid abundances (as of Schmelz et al. 2012)",
}
ABUNDANCES = ("coronal", "hybrid", "photospheric")


def given_emissivity(emissivity, abundance=None):
    """
    Interpret `emissivity` and `abundance` of `sunpy_demreg.TemperatureResponse.from_aia`; warns if it ends too early.

    Returns
    -------
    Emissivity
    """
    from sunpy_demreg._common.warnings import ResponseWarning, warn

    check_choice("abundance", abundance, (None, *ABUNDANCES))
    if emissivity is None and abundance in (None, "coronal"):
        return load_emissivity()
    argument, subject = "emissivity", "ends at"
    if emissivity is None:
        emissivity = _of_xrtpy("abundance", abundance)
        argument, subject = "abundance", f"{abundance!r} has spectra that end at"
    elif isinstance(emissivity, str) and emissivity == "xrtpy":
        emissivity = _of_xrtpy("emissivity", abundance)
    elif isinstance(emissivity, str) and emissivity == "fiasco":
        from sunpy_demreg.response._fiasco import fiasco_emissivity

        emissivity = fiasco_emissivity(abundance or "coronal")
    elif isinstance(emissivity, tuple) and len(emissivity) == 3:
        if abundance is not None:
            rule = "is that of the spectra given as `emissivity`, and cannot be changed"
            raise wrong(ValueError, "abundance", f"{rule}: leave it out, and give spectra of other abundances")
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
            f"{subject} {emissivity.wavelength[-1].value:g} Å, but channels see light up to "
            f"{NEEDED.value:g} Å: continued by {load_emissivity().source}",
            argument,
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
            rule = f"must be a Quantity that converts to {unit}"
            came = getattr(quantity, "unit", None) or a_kind(quantity)
            raise wrong(TypeError, "emissivity", f": its {name} {rule}, but is {came}") from err
    temperature, wavelength, spectrum = values.values()
    for name, axis in (("temperature", temperature), ("wavelength", wavelength)):
        if axis.ndim != 1 or axis.size < 2 or not (axis[0] > 0 and np.all(np.diff(axis) > 0)):
            raise wrong(
                ValueError,
                "emissivity",
                f": its {name} must be two or more positive values, strictly increasing: sort them",
            )
    if spectrum.shape != (temperature.size, wavelength.size):
        raise wrong(
            ValueError,
            "emissivity",
            ": its spectrum must have the shape (temperatures, wavelengths), here "
            f"{(temperature.size, wavelength.size)}, but has {spectrum.shape}",
        )
    if not (np.isfinite(spectrum).all() and np.all(spectrum >= 0)):
        raise wrong(ValueError, "emissivity", ": its spectrum must be finite and not negative: set such values to zero")
    if not (temperature[0] >= 0.999e4 * u.K and temperature[-1] <= 1.001e9 * u.K):
        told = f"{temperature[0]:.3g} to {temperature[-1]:.3g}"
        raise wrong(ValueError, "emissivity", f": its temperature must lie between 1e4 and 1e9 K, but is {told}")
    steps = np.diff(wavelength)
    # Uniform up to rounding: steps between numbers in single precision would bias the sum.
    is_uniform = np.ptp(steps) < 1e-3 * steps.mean()
    return Emissivity(
        temperature, wavelength, steps.mean() if is_uniform else np.gradient(wavelength), spectrum, source
    )


def _of_xrtpy(argument, abundance):
    """CHIANTI 10, coronal; or CHIANTI 9.0.1 with other abundances."""
    from scipy.io import readsav

    is_coronal = abundance in (None, "coronal")
    try:
        path = files("xrtpy") / _XRTPY.format("" if is_coronal else f"_{abundance}")
    except ModuleNotFoundError as err:
        value = "'xrtpy'" if argument == "emissivity" else repr(abundance)
        raise wrong(ImportError, argument, f"{value} needs xrtpy: pip install 'sunpy-demreg[instruments]'") from err
    with as_file(path) as file:
        [model] = readsav(file)["p0"]
    n_wavelengths, n_temperatures = int(model["WLENGTH"]), int(model["TLENGTH"])
    source = source_of_xrtpy(model["NAME"], abundance)
    if is_coronal:
        source += f", {model['ABUND_MODEL'].decode().strip()}"
    return _as_emissivity(
        10 ** np.round(np.log10(model["TEMP"][:n_temperatures].astype(float)), 4) * u.K,  # given in single precision
        model["WAVE"][:n_wavelengths].astype(float) * u.AA,
        model["SPEC"][:n_temperatures, :n_wavelengths].astype(float) * EMISSIVITY_UNIT,
        f"{source}, of xrtpy",
    )


def source_of_xrtpy(name, abundance):
    """Where spectra of xrtpy come from: their own name, unless it states other abundances than they have."""
    name = (name.decode() if isinstance(name, bytes) else str(name)).strip()
    if abundance in _NOT_CORONAL:
        name = f"{name.partition(' with ')[0].replace('9.01', '9.0.1')} with {_NOT_CORONAL[abundance]}"
    return name
