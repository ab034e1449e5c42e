"""Whether two settings are the same, also if they are written differently; a setting is kept as a text."""

import hashlib
import warnings
from io import StringIO

import numpy as np
from erfa import ErfaWarning

import astropy.units as u
from astropy.table import Table

from sunpy_demreg._channels.plan import as_saturation
from sunpy_demreg._channels.uncertainty import as_floors
from sunpy_demreg._common.dask_arrays import is_lazy
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.metadata import from_text, to_text
from sunpy_demreg._inversion.calibration import as_channel_errors

__all__ = ["NOT_SET", "as_setting", "in_words", "is_same", "meaning_of", "shown"]

NOT_SET = "not set"  # of a setting that a store does not have

_SAME = 1e-12  # relative difference of numbers that were computed by two formulas
_LONG = 50_000  # characters of a setting, beyond which a digest stands for them
_SHOWN = 200  # characters of a setting in a message, beyond which it is abbreviated
_N_SHOWN = 6  # numbers of an array in a message; of more, their ends
_START = 60  # characters that are kept in front of the digest


def as_setting(name, value):
    """An identifier of a value: its text, or a digest of it if that is very long."""
    if isinstance(value, Table):  # whose text is truncated to the terminal
        buffer = StringIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ErfaWarning)  # about dates far in the future, as at the end of such tables
            value.write(buffer, format="ascii.ecsv")
        return f"table of {len(value)} rows (sha256 {_digest(buffer.getvalue())})"
    if is_lazy(value):  # its text does not show the values
        raise wrong(
            ValueError, name, "is a Dask array, but the store of a batch saves all settings: pass a NumPy array"
        )
    text = to_text(value)[0]
    return text if len(text) <= _LONG else shown(text)


def in_words(*texts):
    """Different settings in a message: in words, or, if these are the same, with a digest of each."""
    words = [_words(_value(text)) for text in texts]
    words = [each if len(each) <= _SHOWN else f"{each[:_SHOWN]}..." for each in words]
    return words if len(set(words)) == len(words) else [shown(text) for text in texts]


def _words(value):
    match value:
        case None:
            return NOT_SET
        case u.Quantity():
            return f"{_words(value.value)} {value.unit}".rstrip()
        case np.ndarray() if value.ndim > 1 and value.size <= _N_SHOWN:
            return ", ".join(f"({_words(row)})" for row in value)
        case np.ndarray() if value.size > _N_SHOWN and value.dtype.kind in "iuf":
            return f"{value.size} values from {value.min():.6g} to {value.max():.6g}"
        case np.ndarray():
            return _words(value.tolist())
        case bool() | str():
            return str(value)
        case int() | float():
            return f"{value:.15g}"
        case dict():
            return ", ".join(f"{key} {_words(each)}" for key, each in value.items()) or "nothing"
        case list() | tuple():
            return ", ".join(map(_words, value)) or "nothing"
    return str(value)


def shown(text):
    """A short form of a setting: its text, if that is short; else its ends or its start, and a digest of the whole."""
    value = _value(text)
    if isinstance(value, np.ndarray) and value.size > 1 and value.dtype.kind in "iuf":
        ends = " to ".join(f"{end:.6g}" for end in (value.min(), value.max()))
        return f"{value.size} values from {ends} (sha256 {_digest(text)})"
    return text if len(text) <= _SHOWN else f"{text[:_START]}... (sha256 {_digest(text)})"


def _value(text):
    try:
        return from_text(text)
    except ValueError:  # of a digest, for instance
        return text


def is_same(old, new, of=lambda value: value):
    """Whether two texts stand for the same setting; `of` interprets a text."""
    # Stores of the first version hold the printed form of arrays.
    return old in (new, shown(new)) or _equal(of(_value(old)), of(_value(new)))


def meaning_of(name, channels):
    """A function that interprets an option as `prepare` does, since it may be written in several ways."""

    def meaning(value):
        try:
            return {
                "saturation": lambda value: as_saturation(15000 if value is None else value),
                "calibration_error": lambda value: as_channel_errors(value, channels, {}),
                # The older stores hold None, which then accepted negative bins.
                "positivity": lambda value: "ignore" if value is None else value,
                "relative_floor": lambda value: as_floors(value, [int(c.rpartition(" ")[2]) for c in channels]),
            }[name](value)
        except (KeyError, TypeError, ValueError):  # it can only be compared as it is
            return value

    return meaning


def _equal(one, other):
    """Whether two settings are the same up to rounding."""
    match one, other:
        case (list() | tuple(), list() | tuple()):
            return len(one) == len(other) and all(map(_equal, one, other))
        case (dict(), dict()):
            return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
        case (u.Quantity(), u.Quantity()) if one.unit.is_equivalent(other.unit):
            return _equal(one.value, other.to_value(one.unit))
        case (u.Quantity(), _) | (_, u.Quantity()):
            return False
        case (bool() | str() | None, _) | (_, bool() | str() | None):
            return one is other or (type(one) is type(other) and one == other)
        case (int() | float() | np.ndarray() | np.number(), int() | float() | np.ndarray() | np.number()):
            one, other = np.asarray(one), np.asarray(other)
            if one.shape != other.shape or not all(each.dtype.kind in "iuf" for each in (one, other)):
                return bool(np.array_equal(one, other))
            return bool(np.allclose(one, other, rtol=_SAME, atol=0, equal_nan=True))
    return bool(np.all(one == other))


def _digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]
