"""A response as text: its channels in a table, and where it comes from."""

from collections.abc import Mapping
from numbers import Real

import numpy as np

from sunpy_demreg._common.log_t import log_t_texts

__all__ = ["describe", "is_per_channel"]


def describe(response):
    """The text representation of a `TemperatureResponse`."""
    logt = np.log10(response.temperature.value)
    per_channel = {key: value for key, value in response.meta.items() if _is_column(value, response.channels)}
    width = max(7, *map(len, response.channels))
    lines = [
        f"<TemperatureResponse: {len(response.channels)} channels at {logt.size} temperatures, "
        f"log T [K] = {' to '.join(log_t_texts(logt[[0, -1]]))}>",
        " ".join((f"{'channel':>{width}}", f"{'peak':>9}", "at log T", *(f"{name:>6}" for name in per_channel))),
    ]
    for channel, row in zip(response.channels, response.response.value, strict=True):
        factors = (
            f"{'-' if v[channel] is None else format(v[channel], '.4g'):>{max(6, len(name))}}"
            for name, v in per_channel.items()
        )
        peak = row.argmax()
        at = log_t_texts([logt[peak]], logt)[0]
        lines.append(" ".join((f"{channel:>{width}}", f"{row[peak]:>9.3e}", f"{at:>8}", *factors)))
    lines.append(f"unit: {response.response.unit}")
    for key, value in response.meta.items():
        if key not in per_channel:
            lines.append(f"{key}: {_grouped(value, response.channels)}")
    return "\n".join(lines)


def is_per_channel(value, channels):
    return isinstance(value, Mapping) and set(value) == set(channels)


def _is_column(value, channels):
    """Whether an entry of the metadata has a number for each channel, or for some of them."""
    if not is_per_channel(value, channels):
        return False
    numbers = [number for number in value.values() if number is not None]
    return bool(numbers) and all(isinstance(number, Real) and not isinstance(number, bool) for number in numbers)


def _grouped(value, channels):
    """An entry of the metadata as text; if there is one per channel, every value once with its channels."""
    if not is_per_channel(value, channels):
        return "none" if value is None else str(value)
    groups = {}
    for channel in channels:
        groups.setdefault(_grouped(value[channel], ()), []).append(channel)
    return "; ".join(f"{text} ({', '.join(group)})" for text, group in groups.items())
