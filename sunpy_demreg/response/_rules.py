"""What the channels, temperatures and values of a response may be."""

from collections.abc import Mapping

import numpy as np

import astropy.units as u

from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.validators import a_kind, check_no_mask, check_quantity

__all__ = ["as_channels", "checked_parts", "in_kelvin"]


def checked_parts(channels, temperature, response, meta):
    """The fields of a `TemperatureResponse`, of its arguments of the same names."""
    channels = as_channels(channels)
    temperature = in_kelvin(temperature, "temperature")
    if not isinstance(response, u.Quantity):
        raise wrong(
            TypeError,
            "response",
            f"must be a Quantity, but is {a_kind(response)}: attach its unit, "
            "for instance `response * u.Unit('DN cm5 / (pix s)')`",
        )
    check_no_mask("response", response)
    _check_unit(response)
    if not isinstance(meta, Mapping):
        raise wrong(TypeError, "meta", f"must be a dict, but is a {type(meta).__name__}")
    if temperature.ndim != 1 or temperature.size < 2:
        raise wrong(
            ValueError,
            "temperature",
            f"must be a one-dimensional array of two or more nodes, but has the shape {temperature.shape}",
        )
    if not (np.isfinite(temperature).all() and temperature[0] > 0 and (np.diff(temperature) > 0).all()):
        raise wrong(ValueError, "temperature", "must be finite, positive and strictly increasing: sort the nodes")
    if response.shape != (len(channels), temperature.size):
        raise wrong(
            ValueError,
            "response",
            f"must have the shape (`channels`, `temperature`), here "
            f"{(len(channels), temperature.size)}, but has {response.shape}",
        )
    if not np.isfinite(response).all():
        raise wrong(ValueError, "response", "must be finite: remove the temperatures where it is unknown")
    empty = [c for c, positive in zip(channels, (response.value > 0).any(axis=1), strict=True) if not positive]
    if empty:
        raise wrong(
            ValueError, "response", f"must be positive at some temperature, but never is for {', '.join(empty)}"
        )
    return {
        "channels": channels,
        "temperature": _read_only(temperature * u.K),
        "response": _read_only(response),
        "meta": dict(meta),
    }


def as_channels(channels, name="channels"):
    """Labels, all different, as a tuple of `str`."""
    if isinstance(channels, str):
        channels = (channels,)
    if not isinstance(channels, list | tuple | np.ndarray) or getattr(channels, "ndim", 1) == 0:
        raise wrong(TypeError, name, f"must be labels such as 'AIA 171', but is {a_kind(channels)}")
    channels = tuple(channels)
    if not (channels and all(isinstance(c, str) for c in channels)):
        raise wrong(TypeError, name, f"must be one or more labels such as 'AIA 171', but is {channels}")
    if len(set(channels)) < len(channels):
        raise wrong(ValueError, name, f"must all be different, but are {', '.join(channels)}")
    return tuple(str(c) for c in channels)  # of NumPy strings, plain ones


def _check_unit(response):
    """Raise unless it can be an intensity per emission measure."""
    unit = response.unit.decompose()
    powers = dict(zip(unit.bases, unit.powers, strict=True))
    # That of DN cm5 / s, and of lines per area of the source: erg cm3 / (s sr), photon cm3 / (s sr).
    if not (powers.get(u.m, 0) >= 3 and powers.get(u.s, 0) <= -1):
        rule = "must be an intensity per emission measure, such as DN cm5 / (pix s)"
        raise wrong(ValueError, "response", f"{rule}, but has the unit '{response.unit}'")
    if response.dtype.kind not in "iuf":
        raise wrong(TypeError, "response", f"must hold real numbers, but is of the type {response.dtype}")


def in_kelvin(temperature, name):
    """The values in K of a Quantity of temperatures."""
    check_quantity(name, temperature, "K", "10**logt * u.K")
    return temperature.to_value(u.K)


def _read_only(quantity):
    """A copy in double precision that cannot be written to."""
    quantity = u.Quantity(quantity, dtype=float, copy=True)
    quantity.setflags(write=False)
    return quantity
