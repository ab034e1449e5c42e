"""
The checks of arguments that all functions share, so that each rule has one wording.

``check_x(name, value)`` raises or returns nothing; ``as_x(name, value)`` raises or returns the value to use.
"""

import inspect
import math
import warnings
from numbers import Real
from os import PathLike

import numpy as np

from sunpy_demreg._common.errors import nearest, wrong
from sunpy_demreg._common.urls import Url, file_of

__all__ = [
    "a_kind",
    "as_bool",
    "as_channel",
    "as_date",
    "as_integer",
    "as_keywords",
    "as_number",
    "as_path",
    "as_wavelength",
    "by_wavelength",
    "check_axes",
    "check_choice",
    "check_edges",
    "check_list",
    "check_no_mask",
    "check_quantity",
    "first_few",
    "in_words",
    "near_channel",
]


_NEAR = 0.015  # of a wavelength: 195 may stand for 193, but 304 not for 94


def a_kind(value):
    """The text of a wrong value, or its type if the text is long."""
    if isinstance(value, np.generic):
        value = value.item()  # it is shown as in the call: -3.0, not np.float64(-3.0)
    if value is None or isinstance(value, str | Real | complex):
        text = repr(value)
    else:
        text = str(value) if hasattr(value, "unit") and getattr(value, "shape", None) == () else ""
    return text if 0 < len(text) < 60 else f"of type {type(value).__name__}"


def as_number(name, value, *, above=None, least=None, below=None, most=None, of=""):
    """
    A finite number in a range, as a float.

    Parameters
    ----------
    name : `str`
    value
        A real number, but not a bool; an array without axes, and a Quantity without dimension, such as 10 percent, are
        accepted.
    above, least, below, most : number, optional
        Bounds: above or at least, and below or at most.
    of : `str`, optional
        What it counts, for the message: ``"of DN, such as 15000"``.
    """
    bounds = {"above": above, "at least": least, "below": below, "at most": most}
    bounds = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)
    rule = " ".join(part for part in ("must be a finite number", of, bounds) if part)
    number = _as_float(_without_unit(value))
    if number is None:
        raise wrong(TypeError, name, f"{rule}, but is {a_kind(value)}")
    is_good = math.isfinite(number)
    is_good = is_good and (above is None or number > above) and (least is None or number >= least)
    if not (is_good and (below is None or number < below) and (most is None or number <= most)):
        raise wrong(ValueError, name, f"{rule}, but is {a_kind(value)}")
    return number


def as_integer(name, value, least, most, of=""):
    """A whole number from `least` to `most`, as an int; 16.0 is one, too."""
    rule = " ".join(part for part in ("must be a whole number", of, f"from {least} to {most}") if part)
    number = _as_float(value)
    if number is None:
        raise wrong(TypeError, name, f"{rule}, but is {a_kind(value)}")
    if not (least <= number <= most and number == int(number)):
        raise wrong(ValueError, name, f"{rule}, but is {a_kind(value)}")
    return int(number)


def _without_unit(value):
    """The number of a Quantity of one without dimension; any other value as it is."""
    if getattr(value, "unit", None) is None or getattr(value, "shape", None) != ():
        return value
    import astropy.units as u

    is_number = isinstance(value, u.Quantity) and value.unit.is_equivalent(u.one)
    return value.to_value(u.one) if is_number else value


def _as_float(value):
    """The value as a float; None if it is not a real number."""
    if isinstance(value, np.ndarray) and value.ndim == 0 and not hasattr(value, "unit"):
        value = value[()]
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        return float(value)
    except OverflowError:  # whole numbers of more than 308 digits
        return math.inf


def as_bool(name, value):
    """True or False, as a bool; 1 and 0 are accepted."""
    if isinstance(value, bool | np.bool_) or (isinstance(value, int | np.integer) and value in (0, 1)):
        return bool(value)
    raise wrong(TypeError, name, f"must be True or False, but is {a_kind(value)}")


def check_choice(name, value, choices, more=""):
    """Raise unless it is one of the given words (or None, if that is among them)."""
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
        words = ", ".join(map(repr, choices))
        raise wrong(ValueError, name, f"must be one of {words}{more}, but is {a_kind(value)}{nearest(value, choices)}")


def as_channel(name, channel, channels):
    """The name of one of the channels, which may be chosen by its wavelength too: 171 * u.AA, 171 or "171"."""
    import astropy.units as u

    if isinstance(channel, str) and channel in channels:
        return str(channel)
    if isinstance(channel, u.Quantity) and channel.isscalar and channel.unit.is_equivalent(u.AA):
        number = channel.to_value(u.AA)
    else:
        number = _number_in(channel) if isinstance(channel, str) else _as_float(channel)
    if number is not None:
        last = {each: _number_in(each.rpartition(" ")[2]) for each in channels if " " in each}
        found = [each for each, own in last.items() if own is not None and math.isclose(own, number, rel_tol=1e-9)]
        if len(found) == 1:
            return found[0]
    words = ", ".join(map(repr, channels))
    rule = f"must be one of {words} (or its wavelength, such as 171 * u.AA)"
    raise wrong(ValueError, name, f"{rule}, but is {a_kind(channel)}{near_channel(channel, channels)}")


def near_channel(channel, channels):
    """As `nearest`, of channels: one of a wavelength far from what was given is not meant."""
    number = _number_in(str(channel).rpartition(" ")[2])

    def may_be_meant(each):
        other = _number_in(each.rpartition(" ")[2])
        return None in (number, other) or abs(other - number) <= _NEAR * number

    return nearest(channel, list(filter(may_be_meant, channels)))


def _number_in(text):
    """The number that a text is, or None."""
    try:
        return float(text)
    except ValueError:
        return None


def as_keywords(name, given, function, *, without=(), elsewhere=None):
    """
    Keywords for a function of this package, in a dict; None stands for none.

    Parameters
    ----------
    name : `str` or None
        Of the argument that holds them; None if they were keywords themselves.
    given : `dict`
    function : callable
    without : tuple of `str`, optional
        Keywords that must not be given.
    elsewhere : `dict`, optional
        Other functions of which the caller takes keywords, by the name of the argument that takes them; None as above.
    """
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise wrong(TypeError, name, f"must be a dict of options of `{function.__name__}`, but is {a_kind(given)}")
    known = [each for each in _keywords(function) if each not in without]
    for key in given:
        if key not in known:
            rest = f"no option of `{function.__name__}`{nearest(key, known)}, which has {', '.join(known)}"
            for argument, other in (elsewhere or {}).items():
                if key in _keywords(other) and key not in without:
                    place = f"in `{argument}`, such as `{argument}={{{key!r}: ...}}`" if argument else "as a keyword"
                    rest = f"no option of `{function.__name__}` but of `{other.__name__}`: pass it {place}"
                    break
            raise wrong(TypeError, name or key, f"has {key!r}, which is {rest}" if name else f"is {rest}")
    return dict(given)  # the caller's own stays as it is


def _keywords(function):
    return [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]


def in_words(items):
    """The items as in a sentence: "a, b and c"."""
    *others, last = items
    return f"{', '.join(others)} and {last}" if others else str(last)


def first_few(items, between=", ", most=5):
    """The first of many items, and how many more there are: "a, b, c, d, e and 7 more"."""
    items = list(map(str, items))
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return between.join(items[:most]) + more


def check_list(name, value, of, *, kinds=(list, tuple), may_be_empty=False):
    """Raise unless it is a sequence, and not empty unless that is allowed."""
    if not isinstance(value, kinds) or isinstance(value, str | bytes) or getattr(value, "shape", None) == ():
        raise wrong(TypeError, name, f"must be a list {of}, but is {a_kind(value)}")
    if len(value) == 0 and not may_be_empty:
        raise wrong(ValueError, name, f"must be a list {of}, but is empty")


def check_quantity(name, value, unit, example, *, shape=None):
    """Raise unless it is a Quantity of real numbers that converts to the unit, and of the shape if one is given."""
    import astropy.units as u

    of = f" of the shape {shape}" if shape else ""
    rule = f"must be a Quantity in {u.Unit(unit)}{of}, for instance `{example}`"
    if not isinstance(value, u.Quantity):
        raise wrong(TypeError, name, f"{rule}, but is {a_kind(value)}")
    check_no_mask(name, value)
    if not value.unit.is_equivalent(unit):
        raise wrong(ValueError, name, f"{rule}, but has the unit {str(value.unit) or 'of a pure number'!r}")
    if value.dtype.kind not in "iuf":
        raise wrong(TypeError, name, f"{rule}, but holds numbers of the type {value.dtype}")
    if shape is not None and value.shape != shape:
        raise wrong(ValueError, name, f"{rule}, but has the shape {value.shape}")


def check_no_mask(name, value):
    """Raise if a Quantity has a mask, which would be ignored here."""
    if hasattr(value, "unmasked"):
        raise wrong(
            TypeError,
            name,
            "is a Quantity with a mask, which is not supported here: drop the masked values, and pass its `unmasked`",
        )


def check_edges(name, edges):
    """Raise unless they are edges of temperature bins: plain numbers, positive and ascending, of three bins or more."""
    if edges.ndim != 1 or edges.size < 4:
        raise wrong(
            ValueError, name, f"must be at least four edges, of three or more bins, but has the shape {edges.shape}"
        )
    if not (np.all(np.isfinite(edges)) and np.all(edges > 0)):
        n_bad = np.count_nonzero(~(np.isfinite(edges) & (edges > 0)))
        raise wrong(ValueError, name, f"must be positive and finite, but {n_bad} of {edges.size} are not: drop them")
    if not np.all(np.diff(edges) > 0):
        raise wrong(ValueError, name, "must be strictly ascending: sort them and drop duplicates")


def as_path(name, value, of="a file name"):
    """A path, with ``~`` expanded, or a `Url`; the file need not exist."""
    if not isinstance(value, str | PathLike | Url) or not str(value):
        raise wrong(TypeError, name, f"must be {of}, but is {a_kind(value)}")
    if "\0" in str(value):
        raise wrong(ValueError, name, f"must be {of}, but contains a null character")
    try:
        path = file_of(value, name)
        return path if isinstance(path, Url) else path.expanduser()
    except RuntimeError as err:
        raise wrong(ValueError, name, f"{str(value)!r} cannot be expanded: {err}") from err


def as_date(name, value):
    """One date as a Time, from anything that sunpy can parse."""
    from erfa import ErfaWarning

    from sunpy.time import parse_time

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ErfaWarning)  # about years whose leap seconds are not known yet
            date = parse_time(value)
    except Exception as err:  # it raises many types of errors
        rule = "must be a date, such as '2014-01-01T00:00:00' or a Time"
        raise wrong(ValueError, name, f"{rule}, but is {value!r:.80}") from err
    if not date.isscalar:
        raise wrong(ValueError, name, f"must be one date, but has {date.size}")
    return date


def as_wavelength(channel):
    """
    The wavelength of a channel of AIA in whole Å: of its name, such as "AIA 171", a number, or a Quantity.

    Raises
    ------
    TypeError, ValueError
        If it is none of these.
    """
    import astropy.units as u

    return round(u.Quantity(channel.removeprefix("AIA ") if isinstance(channel, str) else channel, u.AA).value)


def by_wavelength(name, given, rule):
    """A dict by channel of AIA, in any of the spellings of `as_wavelength`, as one by wavelength."""
    found = {}
    for key, value in given.items():
        try:
            channel = as_wavelength(key)
        except (TypeError, ValueError) as err:
            raise wrong(TypeError, name, f"{rule}, but has {a_kind(key)}") from err
        if channel in found:
            raise wrong(ValueError, name, f"has two values for AIA {channel}: leave one out")
        found[channel] = value
    return found


def check_axes(name, value, kind="Axes"):
    """Raise unless it is Axes or a figure of matplotlib, or None."""
    if value is None:
        return
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

    if not isinstance(value, {"Axes": Axes, "Figure": FigureBase}[kind]):
        raise wrong(
            TypeError, name, f"must be matplotlib {kind}, or left out to create new ones, but is {a_kind(value)}"
        )
