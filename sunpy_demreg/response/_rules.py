"""What the channels, temperatures and values of a response may be."""

import numpy as np

import astropy.units as u

from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.validators import a_kind, check_quantity

__all__ = ["as_channels", "check_unit", "in_kelvin", "read_only"]


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


def check_unit(response):
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


def read_only(quantity):
    """A copy in double precision that cannot be written to."""
    quantity = u.Quantity(quantity, dtype=float, copy=True)
    quantity.setflags(write=False)
    return quantity
