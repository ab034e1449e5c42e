"""Responses of instruments like AIA, and of several of them together."""

import numpy as np

import astropy.units as u

from sunpy_demreg.response._emissivity import fold, given_emissivity

__all__ = ["concatenated", "suvi_response", "xrt_response"]

_UNIT = u.Unit("DN cm5 / (pix s)")


def suvi_response(channels, spacecraft, ccd_temperature, exposure_type, emissivity):
    """Compute what `sunpy_demreg.TemperatureResponse.from_suvi` returns, as arguments of the class."""
    try:
        from sunkit_instruments.suvi import get_response
    except ModuleNotFoundError as err:
        raise ImportError("responses of SUVI need sunkit-instruments: pip install 'sunpy-demreg[instruments]'") from err
    try:
        wavelengths = [round(w) for w in np.atleast_1d(u.Quantity(channels).to_value(u.AA))]
    except (TypeError, u.UnitsError) as err:
        raise TypeError(f"`channels` must be wavelengths, such as [94, 171] * u.AA, but is {channels!r:.80}") from err
    emissivity = given_emissivity(emissivity)
    responses = []
    for wavelength in wavelengths:
        try:
            parts = get_response(
                wavelength, spacecraft=spacecraft, ccd_temperature=ccd_temperature, exposure_type=exposure_type
            )
        except (KeyError, ValueError) as err:
            raise ValueError(
                f"no response of SUVI for `channels` {wavelength} Å, `spacecraft` {spacecraft!r}, `ccd_temperature` "
                f"{ccd_temperature!r} and `exposure_type` {exposure_type!r}: {err}"
            ) from err
        kernel = parts["response"].value * u.cm**2 * u.DN / u.photon * parts["solid_angle"] / u.pix
        responses.append(fold(emissivity, parts["wavelength"], kernel).to(_UNIT))
    return {
        "channels": [f"SUVI {wavelength}" for wavelength in wavelengths],
        "temperature": emissivity.temperature,
        "response": u.Quantity(responses),
        "meta": {
            "instrument": f"GOES-{spacecraft}/SUVI, effective areas of sunkit-instruments",
            "emissivity": emissivity.source,
            "ccd_temperature": float(ccd_temperature),
            "exposure_type": exposure_type,
        },
    }


def xrt_response(filters, obstime):
    """Compute what `sunpy_demreg.TemperatureResponse.from_xrt` returns, as arguments of the class."""
    try:
        from xrtpy.response.temperature_response import TemperatureResponseFundamental
    except ModuleNotFoundError as err:
        raise ImportError("responses of XRT need xrtpy: pip install 'sunpy-demreg[instruments]'") from err
    from sunpy.time import parse_time

    filters = [filters] if isinstance(filters, str) else list(filters)
    try:
        date = parse_time(obstime)
    except (TypeError, ValueError) as err:
        raise ValueError(f"`obstime` must be a date, such as '2014-01-01T00:00:00', but is {obstime!r}") from err
    models = []
    for name in filters:
        try:
            models.append(TemperatureResponseFundamental(name, date.isot))
        except (TypeError, ValueError) as err:
            reason = " ".join(str(err).split())
            raise ValueError(f"no response of XRT for `filters` {name!r} and `obstime` {date.isot}: {reason}") from err
    if not models:
        raise ValueError("`filters` must name at least one filter, such as 'Be-thin'")
    temperature = models[0].CHIANTI_temperature.to_value(u.K).astype(float)
    return {
        "channels": [f"XRT {name}" for name in filters],
        "temperature": 10 ** np.round(np.log10(temperature), 4) * u.K,  # of single precision
        "response": u.Quantity([model.temperature_response().to(_UNIT) for model in models]),
        "meta": {
            "instrument": "Hinode/XRT, by xrtpy",
            "emissivity": _text(models[0].chianti_abundance_version),
            "obstime": date.utc.isot,
        },
    }


def _text(value):
    return value.decode() if isinstance(value, bytes) else str(value)


def concatenated(responses):
    """Compute what `sunpy_demreg.TemperatureResponse.concatenate` returns, as arguments of the class."""
    from sunpy_demreg.response._response import TemperatureResponse

    responses = list(responses) if isinstance(responses, list | tuple) else [responses]
    wrong = [type(each).__name__ for each in responses if not isinstance(each, TemperatureResponse)]
    if wrong or not responses:
        raise TypeError(f"`responses` must be a list of TemperatureResponse, but holds {', '.join(wrong) or 'nothing'}")
    unit = responses[0].response.unit
    for each in responses:
        if not each.response.unit.is_equivalent(unit):
            raise ValueError(f"`responses` have the units {unit} and {each.response.unit}, which do not convert")
    low = max(each.temperature[0] for each in responses)
    high = min(each.temperature[-1] for each in responses)
    # Nodes that differ by rounding only are one.
    nodes = 10 ** np.unique(np.round(np.log10(np.concatenate([e.temperature.to_value(u.K) for e in responses])), 6))
    temperature = nodes[(nodes >= low.value * (1 - 1e-9)) & (nodes <= high.value * (1 + 1e-9))] * u.K
    if temperature.size < 2:
        raise ValueError("`responses` must share a range of temperatures, but have none in common")
    channels = [channel for each in responses for channel in each.channels]
    meta = {}
    for key in dict.fromkeys(key for each in responses for key in each.meta):
        of_channel = {}
        for each in responses:
            value = each.meta.get(key)
            is_per_channel = isinstance(value, dict) and set(value) == set(each.channels)
            of_channel |= {channel: value[channel] if is_per_channel else value for channel in each.channels}
        values = list(of_channel.values())
        meta[key] = values[0] if all(value == values[0] for value in values) else of_channel
    return {
        "channels": channels,
        "temperature": temperature,
        "response": np.concatenate([each.at(temperature).to(unit) for each in responses]),
        "meta": meta,
    }
