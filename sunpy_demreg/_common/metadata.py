"""Serialize metadata of a result: numbers, text, dates, quantities, arrays, and collections of these."""

import json
import math
from collections.abc import Mapping
from pathlib import PurePath

import numpy as np

import astropy.units as u
from astropy.io import fits
from astropy.time import Time
from astropy.units.function import FunctionQuantity

from sunpy_demreg._common.cube import Meta
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.warnings import MetadataWarning, warn

__all__ = ["from_text", "to_text", "unit_name", "warn_of_text"]

_NUMBERS = {"bool", "float32", "float64"} | {f"{sign}int{n}" for sign in ("", "u") for n in (8, 16, 32, 64)}
_ANY_DATE = "2000-01-01T00:00:00"  # below a mask


def to_text(meta):
    """
    Write metadata as JSON, in ASCII.

    Subclasses are saved as their base: an `~astropy.coordinates.Angle` as a quantity, a named tuple as a tuple.

    Returns
    -------
    str, list of str
        The text, and the names of values that could only be saved as their `str`, because `from_text` cannot restore
        them, such as magnitudes, and times with a location.

    Raises
    ------
    ValueError
        If a collection contains itself.
    """
    as_text = []
    try:
        return json.dumps(_encoded(meta, "meta", as_text), allow_nan=False), as_text
    except RecursionError:
        raise wrong(
            ValueError, "result", "has metadata that contain themselves, or are nested too deeply: remove them"
        ) from None


def warn_of_text(names):
    """Warn of the values that `to_text` could only save as their `str`."""
    if names:
        warn(MetadataWarning, f"has metadata that can only be written as text: {', '.join(names)}", "result")


def from_text(text):
    """Read what `to_text` wrote. Only a few types are restored; no code is run."""
    return json.loads(text, object_hook=_decoded)


def _encoded(value, name, as_text):
    """Encode `value` for JSON, see `_decoded`; `as_text` collects the names of values without an encoding."""

    def each(items):
        return [_encoded(item, f"{name}[{i}]", as_text) for i, item in enumerate(items)]

    # A mask, or a type such as complex or object, would be lost.
    is_plain = hasattr(value, "dtype") and (value.dtype.name in _NUMBERS or value.dtype.kind == "U")
    is_plain = is_plain and not hasattr(value, "mask")
    match value:
        case None | bool() | int() | str():
            return value
        case np.bool_() | np.integer():
            return value.item()
        case float() | np.floating():
            return float(value) if math.isfinite(value) else {"__float__": str(value)}
        case PurePath():
            return str(value)
        case fits.card.Undefined():
            return None
        case list():
            return each(value)
        case tuple():
            return {"__tuple__": each(value)}
        case fits.Header():
            remarks = {key: str(value[key]) for key in ("COMMENT", "HISTORY", "") if key in value}
            return _encoded({key: value[key] for key in value} | remarks, name, as_text)
        case Meta():  # whose arrays of objects are columns of several kinds of values
            arrays = {key: value[key] for key in value.axes if isinstance(value[key], np.ndarray)}
            columns = {key: array.tolist() for key, array in arrays.items() if array.dtype.hasobject}
            return _encoded(dict(value) | columns, name, as_text)
        case Mapping() if all(isinstance(key, str) and not key.startswith("__") for key in value):
            return {key: _encoded(item, f"{name}[{key!r}]", as_text) for key, item in value.items()}
        case Mapping():
            return {"__dict__": each(value.items())}
        case Time() if value.isscalar and value.masked:
            return None
        case Time() if _is_plain_time(value):
            dates = Time(value.unmasked, format="isot", precision=9).value
            dates = np.where(value.mask, None, dates) if value.masked else np.asarray(dates)
            return {"__time__": dates.tolist(), "scale": value.scale}
        case FunctionQuantity():
            pass  # `Quantity` refuses these units
        case u.Quantity() if is_plain and value.unit == u.Unit(str(value.unit), parse_strict="silent"):
            return {"__quantity__": _encoded(value.value, name, as_text), "unit": str(value.unit)}
        case np.ndarray() if is_plain and not isinstance(value, u.Quantity):
            kind = "str" if value.dtype.kind == "U" else value.dtype.name
            flat = _encoded(value.ravel().tolist(), name, as_text)
            return {"__array__": flat, "dtype": kind, "shape": list(value.shape)}
    as_text.append(name)
    return str(value)


def _is_plain_time(time):
    """Whether a `Time` holds only dates that ISO 8601 can express, with years of four digits."""
    days = time.unmasked.jd
    return time.size and time.location is None and np.all((days > 1721060) & (days < 5373484))


def _decoded(node):
    """The inverse of `_encoded` for one JSON object."""
    match node:
        case {"__float__": str(text)}:
            return float(text)
        case {"__tuple__": list(items)}:
            return tuple(items)
        case {"__dict__": list(pairs)}:
            return dict(pairs)
        case {"__time__": dates, "scale": scale}:
            dates = np.array(dates, dtype=object)
            is_unknown = np.equal(dates, None)
            time = Time(np.where(is_unknown, _ANY_DATE, dates).tolist(), format="isot", scale=scale)
            if is_unknown.any():
                time[is_unknown] = np.ma.masked
            return time
        case {"__quantity__": values, "unit": str(unit)}:
            return u.Quantity(values, unit, dtype=None)
        case {"__array__": values, "dtype": kind, "shape": shape} if kind == "str" or kind in _NUMBERS:
            return np.array(values, dtype=kind).reshape(shape)
    if any(key.startswith("__") for key in node):
        raise ValueError(f"its metadata have values of an unknown kind: {', '.join(node)}")
    return node


def unit_name(unit):
    """A unit as text in the FITS standard, or in astropy's format if that lacks it (such as DN and dex)."""
    try:
        return unit.to_string("fits")
    except ValueError:
        return unit.to_string()
