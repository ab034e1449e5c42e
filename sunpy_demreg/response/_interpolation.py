"""Responses between the temperatures of their tables: at any others, and of several responses at the same."""

import numpy as np

import astropy.units as u

from sunpy_demreg._common.errors import wrong
from sunpy_demreg.response._rules import in_kelvin
from sunpy_demreg.response._text import is_per_channel

__all__ = ["concatenated", "interpolated"]

_ROUNDING = 1e-6  # in log T, of nodes that count as one


def interpolated(response, centers):
    """Compute what `sunpy_demreg.TemperatureResponse.at` returns."""
    nodes = np.log10(response.temperature.value)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_centers = np.log10(in_kelvin(centers, "centers"))
    # Centers are means of edges: one that is an end of the range but for rounding belongs to it.
    if not ((log_centers >= nodes[0] - 1e-9) & (log_centers <= nodes[-1] + 1e-9)).all():
        raise wrong(
            ValueError,
            "centers",
            f"must lie between the first and the last temperature of the response, "
            f"{response.temperature[0]:.4g} and {response.temperature[-1]:.4g}, but are {centers}",
        )
    rows = []
    for row in response.response.value:
        positive = np.where(row > 0, row, row[row > 0].min())
        rows.append(np.exp(np.interp(log_centers, nodes, np.log(positive))))
    return np.array(rows) * response.response.unit


def concatenated(responses, kind):
    """Compute what `sunpy_demreg.TemperatureResponse.concatenate` returns, as arguments of the class, `kind`."""
    responses = list(responses) if isinstance(responses, list | tuple) else [responses]
    others = [type(each).__name__ for each in responses if not isinstance(each, kind)]
    if others or not responses:
        raise wrong(
            TypeError, "responses", f"must be a list of TemperatureResponse, but holds {', '.join(others) or 'nothing'}"
        )
    unit = responses[0].response.unit
    for each in responses:
        if not each.response.unit.is_equivalent(unit):
            raise wrong(
                ValueError,
                "responses",
                f"have the units {unit} and {each.response.unit}, which do not convert into each other",
            )
    low = max(each.temperature[0] for each in responses)
    high = min(each.temperature[-1] for each in responses)
    nodes = np.sort(np.concatenate([each.temperature.to_value(u.K) for each in responses]))
    nodes = nodes[np.diff(np.log10(nodes), prepend=0) > _ROUNDING]
    temperature = nodes[(nodes >= low.value * (1 - _ROUNDING)) & (nodes <= high.value * (1 + _ROUNDING))] * u.K
    if temperature.size < 2:
        raise wrong(ValueError, "responses", "must share a range of temperatures, but have none in common")
    channels = [channel for each in responses for channel in each.channels]
    meta = {}
    for key in dict.fromkeys(key for each in responses for key in each.meta):
        of_channel = {}
        for each in responses:
            value = each.meta.get(key)
            is_of_channels = is_per_channel(value, each.channels)
            of_channel |= {channel: value[channel] if is_of_channels else value for channel in each.channels}
        values = list(of_channel.values())
        meta[key] = values[0] if all(value == values[0] for value in values) else of_channel
    return {
        "channels": channels,
        "temperature": temperature,
        "response": np.concatenate(
            [each.at(np.clip(temperature, each.temperature[0], each.temperature[-1])).to(unit) for each in responses]
        ),
        "meta": meta,
    }
