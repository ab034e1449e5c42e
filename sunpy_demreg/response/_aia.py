"""AIA: the wavelength response of aiapy folded with the bundled emissivity, all from local files."""

import re
import warnings
from collections import OrderedDict
from functools import lru_cache
from importlib.resources import as_file, files
from os import PathLike
from pathlib import Path

import numpy as np
from erfa import ErfaWarning

import astropy.units as u
from astropy.table import Table
from astropy.time import Time

from sunpy_demreg.response._emissivity import fold, given_emissivity, read_bundled

__all__ = ["aia_response", "degradation_factors"]

EUV_CHANNELS = (94, 131, 171, 193, 211, 304, 335)
BUNDLED_TABLE = "aia_V10_20201023_180000_response_table.txt"
COLUMNS = {"DATE", "T_START", "T_STOP", "VER_NUM", "WAVE_STR", "EFF_AREA", "EFF_WVLN", "EFFA_P1", "EFFA_P2", "EFFA_P3"}


def aia_response(cube_or_channels, obstime, *, eve, crosstalk, degradation, chiantifix, emissivity, correction_table):
    """
    Compute what `sunpy_demreg.TemperatureResponse.from_aia` returns, with the same arguments.

    Returns
    -------
    `dict`
        The arguments of `sunpy_demreg.TemperatureResponse`.
    """
    wavelengths, obstime = _validated_request(cube_or_channels, obstime, degradation)
    if chiantifix and (not eve or emissivity is not None):
        raise ValueError(
            "`chiantifix` corrects the bundled CHIANTI 9.0.1 after the normalization to EVE: leave `eve=True` and "
            "`emissivity=None` with it"
        )
    emissivity = given_emissivity(emissivity)

    from aiapy.response import Channel

    with warnings.catch_warnings():
        # The tables reach to 2030, of which it is unknown how many leap seconds it will have.
        warnings.simplefilter("ignore", ErfaWarning)
        table = _read_correction_table(correction_table)
        if obstime is None:
            factors = [1.0] * len(wavelengths)
        else:
            _check_covers(table, obstime, is_bundled=correction_table is None)
            factors = degradation_factors(wavelengths, [obstime] * len(wavelengths), table)
        labels, responses, eve_factors = [f"AIA {wavelength}" for wavelength in wavelengths], [], []
        for wavelength, factor in zip(wavelengths, factors, strict=True):
            channel = Channel(wavelength * u.AA, instrument_file=_instrument())
            kernel = channel.wavelength_response(include_crosstalk=crosstalk) * channel.plate_scale
            response = fold(emissivity, channel.wavelength, kernel).to("DN cm5 / (pix s)")
            if eve:
                # The same at all dates, but aiapy wants one: the first of the table always serves.
                eve_factors.append(float(channel.eve_correction(table["T_START"].min(), **_calibration(table))))
                response = response * eve_factors[-1]
            if chiantifix and wavelength == 94:
                response = response + _chiantifix()
            responses.append(response * factor)
    version = _calibration(table)["calibration_version"]
    table_name = f"V{version} of {max(table['DATE'])[:10]}, {'bundled' if correction_table is None else 'given'}"
    return {
        "channels": labels,
        "temperature": emissivity.temperature,
        "response": u.Quantity(responses),
        "meta": {
            "instrument": "SDO/AIA, SolarSoft aia_V9_all_fullinst",
            "emissivity": emissivity.source,
            "eve": dict(zip(labels, eve_factors, strict=True)) if eve else None,
            "crosstalk": bool(crosstalk),
            "chiantifix": bool(chiantifix),
            "degradation": None if obstime is None else dict(zip(labels, factors, strict=True)),
            "obstime": None if obstime is None else obstime.utc.isot,
            "correction_table": table_name if eve or obstime is not None else None,
        },
    }


def degradation_factors(wavelengths, obstimes, correction_table=None):
    """
    Compute how much of its first sensitivity each channel has at its date.

    Parameters
    ----------
    wavelengths : sequence of `int`
        Channels, in Å.
    obstimes : sequence of `~astropy.time.Time`
        A date for each of them, within the table.
    correction_table : path or `~astropy.table.Table`, optional
        As of `sunpy_demreg.TemperatureResponse.from_aia`.

    Returns
    -------
    `list` of `float`
    """
    from aiapy.calibrate import degradation

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ErfaWarning)  # as above
        table = _read_correction_table(correction_table)
        return [
            float(degradation(wavelength * u.AA, obstime, **_calibration(table))[0])
            for wavelength, obstime in zip(wavelengths, obstimes, strict=True)
        ]


def _calibration(table):
    """What the functions of aiapy want to know of a table: those of JSOC hold several versions."""
    return {"correction_table": table, "calibration_version": int(max(table["VER_NUM"]))}


def _validated_request(cube_or_channels, obstime, degradation):
    """Wavelengths in Angstrom, and the date of the degradation: None for none."""
    from ndcube import NDCube

    if obstime is not None:
        if not degradation:
            raise ValueError(
                "`obstime` is the date of the degradation, which `degradation=False` leaves out: pass only one of them"
            )
        obstime = _one_date(obstime)
    if not isinstance(cube_or_channels, NDCube):
        return _validated_wavelengths(cube_or_channels), obstime
    meta = cube_or_channels.meta
    if "channels" not in meta:
        raise ValueError("`cube_or_channels` has no `meta['channels']`: make it with `sunpy_demreg.prepare`")
    labels = [re.fullmatch(r"AIA (\d+)", str(label)) for label in np.atleast_1d(meta["channels"])]
    if not all(labels):
        raise ValueError(
            "`cube_or_channels` must have channels of AIA, such as 'AIA 171', but has "
            f"{', '.join(map(str, np.atleast_1d(meta['channels'])))}"
        )
    wavelengths = _validated_wavelengths([int(label[1]) for label in labels] * u.AA)
    if not degradation:
        return wavelengths, None
    if np.any(meta.get("degradation_corrected", False)):
        raise ValueError(
            "`cube_or_channels` is already corrected for degradation, so its response must not be degraded: pass "
            "`degradation=False`. Correct the data or date the response, never both"
        )
    if obstime is None:
        if "date" not in meta:
            raise ValueError("`cube_or_channels` has no `meta['date']`: pass `obstime`, or `degradation=False`")
        obstime = Time(meta["date"]).tai.mean().utc  # of TAI, which has no leap seconds
    return wavelengths, obstime


def _validated_wavelengths(channels):
    try:
        wavelengths = u.Quantity(channels).to_value(u.AA).ravel()
    except (TypeError, u.UnitsError) as err:
        raise TypeError(
            "`cube_or_channels` must be a channel cube, as `sunpy_demreg.prepare` makes of maps, or wavelengths with "
            f"their unit, for instance `[94, 171] * u.AA`, but is {_kind(channels)}"
        ) from err
    unknown = [w for w in wavelengths if not np.isclose(w, EUV_CHANNELS, rtol=0, atol=0.01).any()]
    if unknown:
        raise ValueError(
            f"`cube_or_channels` must name EUV channels of AIA, {', '.join(map(str, EUV_CHANNELS))} Å, but has "
            f"{', '.join(f'{w:g}' for w in unknown)} Å"
        )
    return [round(w) for w in wavelengths]


def _kind(value):
    """Type of a wrong argument, with those of what it contains: the values themselves may fill pages."""
    if not isinstance(value, list | tuple):
        return f"a {type(value).__name__}"
    return f"a {type(value).__name__} of {', '.join(sorted({type(item).__name__ for item in value}))}"


def _one_date(obstime):
    from sunpy.time import parse_time

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ErfaWarning)
            date = parse_time(obstime)
    except (TypeError, ValueError) as err:
        raise ValueError(
            f"`obstime` must be a date, such as '2014-01-01T00:00:00' or a Time, but is {obstime!r}"
        ) from err
    if not date.isscalar:
        raise ValueError(f"`obstime` must be one date, but has {date.size}")
    return date


def _read_correction_table(table):
    """Read a response table of SolarSoft, and never let aiapy take a name for something to download."""
    from aiapy.calibrate.utils import get_correction_table

    if table is None:
        with as_file(files(__package__) / "data" / BUNDLED_TABLE) as path:
            return get_correction_table(path)
    if isinstance(table, str | PathLike):
        if not Path(table).is_file():
            raise ValueError(
                f"`correction_table` must be a file or a table, but there is no file '{table}'; nothing is "
                "downloaded: pass the table of `aiapy.calibrate.utils.get_correction_table`"
            )
        try:
            return get_correction_table(Path(table))
        except (KeyError, ValueError) as err:
            raise ValueError(f"`correction_table` must be a response table of SolarSoft, but '{table}' is not") from err
    if not isinstance(table, Table):
        raise TypeError(f"`correction_table` must be a file or a table, but is a {type(table).__name__}")
    missing = sorted(COLUMNS - set(table.colnames))
    if missing:
        raise ValueError(f"`correction_table` must be a response table of SolarSoft, but lacks {', '.join(missing)}")
    return table


def _check_covers(table, obstime, *, is_bundled):
    from sunpy.util.exceptions import warn_user

    start, stop = table["T_START"].min(), table["T_STOP"].max()
    if not start <= obstime < stop:
        raise ValueError(
            f"`obstime` must lie in the correction table, from {start.isot[:10]} to {stop.isot[:10]}, but is "
            f"{obstime.isot}: choose another date, or pass `degradation=False`"
        )
    made = max(table["DATE"])
    if is_bundled and obstime > Time(made):
        warn_user(
            f"The bundled table of the degradation of AIA was made on {made[:10]} and is extrapolated, as "
            f"constant, to {obstime.isot[:10]}: pass a newer one as `correction_table`, if there is one"
        )


@lru_cache(maxsize=1)
def _chiantifix():
    """Empirical correction of the response at 94 Å, at the temperatures of the bundled emissivity."""
    [(header, correction)] = read_bundled("aia_chiantifix.fits")
    return correction.astype(float) * u.Unit(header["BUNIT"])


@lru_cache(maxsize=1)
def _instrument():
    """Load the components of the seven EUV channels, as `aiapy.response.Channel` takes them."""
    (header, components), (_, channels) = read_bundled("aia_instrument.fits")
    wave = header["CRVAL1"] + header["CDELT1"] * np.arange(header["NAXIS1"])
    names = header["NAMES2"].lower().split(",")
    instrument = OrderedDict()
    for scalars, arrays in zip(channels, components.astype(float), strict=True):
        channel = {name.lower(): float(scalars[name]) for name in channels.dtype.names if name != "CHANNEL"}
        instrument[f"A{scalars['CHANNEL']}_FULL"] = channel | {"wave": wave} | dict(zip(names, arrays, strict=True))
    return instrument
