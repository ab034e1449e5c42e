"""Contribution functions of spectral lines, given or computed by fiasco."""

import re
from collections.abc import Mapping

import numpy as np

import astropy.constants as const
import astropy.units as u

from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.validators import check_choice, check_quantity
from sunpy_demreg.response import _fiasco
from sunpy_demreg.response._rules import as_channels
from sunpy_demreg.response._spectra import ABUNDANCES

__all__ = ["LINE_UNIT", "line_response"]

LINE_UNIT = u.Unit("erg cm3 / (s sr)")
_LABEL = re.compile(r"([A-Z][a-z]?) ([IVXL]+|\d+) (\d+\.?\d*(?:\+\d+\.?\d*)*)")
_LEAST = 100.0  # K: below it, log T was meant
_NEAREST = 0.05  # Å: that a wavelength may be from that of the database
_ROMAN = {"L": 50, "XL": 40, "X": 10, "IX": 9, "V": 5, "IV": 4, "I": 1}


def line_response(lines, temperature, contribution, density, pressure, abundance, meta):
    """Compute what `sunpy_demreg.TemperatureResponse.from_lines` returns, as arguments of the class."""
    lines = as_channels(lines, "lines")
    if not isinstance(meta, Mapping | None):
        raise wrong(TypeError, "meta", f"must be a dict, but is a {type(meta).__name__}")
    meta = meta or {}
    given = {"temperature": temperature, "contribution": contribution}
    if (temperature is None) != (contribution is None):
        missing, there = sorted(given, key=lambda name: given[name] is not None)
        raise wrong(ValueError, missing, f"must be given with `{there}`: both, or neither to compute them with fiasco")
    if contribution is not None:
        for name, value in (("density", density), ("pressure", pressure), ("abundance", abundance)):
            if value is not None:
                rule = "is that of the contribution functions given, and cannot be changed"
                raise wrong(ValueError, name, f"{rule}: leave it out, and say it in `meta`")
        check_quantity("temperature", temperature, u.K, "10**log_t * u.K")
        if np.size(temperature) and np.max(temperature.to_value(u.K)) < _LEAST:
            rule = f"must be in kelvin, but ends at {np.max(temperature)}, which seems to be a logarithm"
            raise wrong(ValueError, "temperature", f"{rule}: 10**temperature.value * u.K")
        check_quantity("contribution", contribution, LINE_UNIT, 'g * u.Unit("erg cm3 / (s sr)")')
        shape = len(lines), temperature.size
        if contribution.shape != shape:
            rule = f"must have the shape (`lines`, `temperature`), here {shape}"
            raise wrong(ValueError, "contribution", f"{rule}, but has {contribution.shape}")
        return {
            "channels": lines,
            "temperature": temperature,
            "response": contribution.to(LINE_UNIT),
            "meta": {"instrument": "spectral lines", "emissivity": "given", **meta},
        }
    check_choice("abundance", abundance, (None, *ABUNDANCES))
    if density is not None and pressure is not None:
        raise wrong(ValueError, "density", "and `pressure` cannot both be given: leave one out")
    parsed = [_parsed(i, line) for i, line in enumerate(lines)]
    if density is None:
        pressure = _fiasco.PRESSURE if pressure is None else _positive("pressure", pressure, "K / cm3", "1e15")
        density_at, text = (lambda temperature: pressure / temperature), f"{pressure.to_value('K / cm3'):.3g} K cm-3"
    else:
        density = _positive("density", density, "1 / cm3", "1e9")
        density_at = lambda temperature: np.broadcast_to(density, temperature.shape, subok=True)  # noqa: E731
        text = f"{density.to_value('1 / cm3'):.3g} cm-3"
    temperature, rows, version, name = _computed(parsed, density_at, abundance or "coronal")
    return {
        "channels": lines,
        "temperature": temperature,
        "response": rows,
        "meta": {
            "instrument": "spectral lines",
            "emissivity": f"CHIANTI {version}, {_fiasco.abundance_text(name)}, {text}, of fiasco",
            **meta,
        },
    }


def _positive(name, value, unit, example):
    check_quantity(name, value, unit, f'{example} * u.Unit("{unit}")', shape=())
    if not 0 < value.value < np.inf:
        raise wrong(ValueError, name, f"must be positive, but is {value}")
    return value


def _parsed(i, line):
    """The ion as fiasco calls it, and the wavelengths, of a line such as "Fe XII 195.119"."""
    match = _LABEL.fullmatch(line)
    if not match:
        rule = "must be an ion and a wavelength in Å, such as 'Fe XII 195.119', or 'Fe XII 195.119+195.179' for two"
        raise wrong(ValueError, f"lines[{i}]", f"{rule}, but is {line!r}; any label will do with `contribution`")
    element, stage, wavelengths = match.groups()
    if not stage.isdigit():
        stages = [number for number in range(1, 90) if _as_roman(number) == stage]
        if not stages:
            raise wrong(ValueError, f"lines[{i}]", f"has {stage!r}, which is no Roman numeral, in {line!r}")
        [stage] = stages
    return line, f"{element} {int(stage)}", [float(each) for each in wavelengths.split("+")]


def _as_roman(number):
    text = ""
    for letters, value in _ROMAN.items():
        count, number = divmod(number, value)
        text += count * letters
    return text


def _computed(parsed, density_at, kind):
    """Temperatures, contribution functions, version of the database and name of its abundances."""
    path, _ = _fiasco.database("lines")
    import fiasco

    abundance = _fiasco.abundance_in(path, kind)
    sources = {"hdf5_dbase_root": path, "abundance": abundance, "ionization_fraction": _fiasco.IONIZATION}
    temperature = _fiasco.load_emissivity().temperature
    with _fiasco.silent(fiasco.log):
        ions = {name: _ion(fiasco, name, temperature, sources) for name in {name for _, name, _ in parsed}}
        is_known = np.all([np.isfinite(ion.ionization_fraction) for ion in ions.values()], axis=0)
        temperature = temperature[is_known]
        factory = _fiasco.ion_factory(fiasco, temperature, sources)
        rows = [_contribution(factory, *each, temperature, density_at) for each in parsed]
        version = fiasco.io.DataIndexer(path, "fe/abundance").version or "of unknown version"
    return temperature, u.Quantity(rows), version, abundance


def _ion(fiasco, name, temperature, sources):
    """An ion that the database has, with its abundance and ionization fractions."""
    from fiasco.util.exceptions import MissingDatasetException, MissingIonError

    try:
        ion = fiasco.Ion(name, temperature, **sources)
        _ = ion.abundance, ion.ionization_fraction
    except (MissingDatasetException, MissingIonError, ValueError, KeyError) as err:
        rule = f"names {name}, of which '{sources['hdf5_dbase_root']}' lacks data ({err})"
        raise wrong(
            ValueError, "lines", f"{rule}: build the database of all files of CHIANTI, or leave it out"
        ) from err
    return ion


def _contribution(factory, line, name, wavelengths, temperature, density_at):
    """Of one line, or of lines of one ion that are measured together, per pair of an electron and a hydrogen atom."""
    contribution = np.zeros(temperature.size) * LINE_UNIT
    whole = factory(name, temperature)
    transitions = whole.transitions
    bound = np.flatnonzero(transitions.is_bound_bound)
    found = []
    for wavelength in wavelengths:
        distances = np.abs(transitions.wavelength[bound].to_value(u.AA) - wavelength)
        if bound.size == 0 or distances.min() > _NEAREST:
            near = f"; the nearest is at {transitions.wavelength[bound[distances.argmin()]]:.3f}" if bound.size else ""
            problem = f": {line} is no line of {name} within {_NEAREST} Å in the database of fiasco{near}"
            raise wrong(ValueError, "lines", problem)
        nearest = bound[distances.argmin()]
        if nearest in found:
            raise wrong(
                ValueError, "lines", f": {line} names one line of {name} twice, at {wavelength} Å: leave it out"
            )
        found.append(nearest)
    for rows in _fiasco.batches(whole):
        ion = factory(name, temperature[rows])
        density = density_at(ion.temperature)
        populations = ion.level_populations(density, couple_density_to_temperature=True)[:, 0]
        per_pair = ion.abundance * ion.ionization_fraction / density
        for k in found:
            photons = per_pair * populations[:, transitions.upper_level[k] - 1] * transitions.A[k] / (4 * np.pi * u.sr)
            contribution[rows] += photons * (const.h * const.c / transitions.wavelength[k])
    return contribution
