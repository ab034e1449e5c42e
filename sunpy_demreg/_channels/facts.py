"""What sorting needs to know about files of images, from their headers, without building a map of each."""

import hashlib
import json
import math
import re
from typing import NamedTuple

import numpy as np

import astropy.units as u
from astropy.io import fits
from astropy.time import Time

from sunpy_demreg._channels.sdoml_store import images_of, number
from sunpy_demreg._channels.series import image_of, no_channel
from sunpy_demreg._common.constants import AIA_CHANNELS
from sunpy_demreg._common.urls import Url

__all__ = ["Facts", "facts_of_array", "facts_of_files", "facts_of_map"]

_BLOCK, _CARD = 2880, 80
_START = 16 * _BLOCK  # bytes of a file that are read: enough for its headers
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z?")  # others are left to sunpy
_ANGSTROM = {"angstrom", "Angstrom", "AA"}
# Keywords, and what a header means that lacks them.
_WANTED = {"INSTRUME": "", "WAVELNTH": None, "WAVEUNIT": "", "DATE-OBS": "", "TIMESYS": "UTC", "EXPTIME": None}


class Facts(NamedTuple):
    """Of an image: what sorts it, and what tells it from another version of it."""

    channel: int  # Å; 0 for what can be in no set
    seconds: float  # of its date, as `unix_tai`
    jd1: float  # its date, in UTC
    jd2: float
    digest: int  # of its header and the size of the file, 63 bits, not zero
    problem: str | None  # why it cannot be used
    exposure: float | None = None  # s
    header: str | None = None  # what is kept of that of an image in a store, as JSON


def facts_of_files(files, run):
    """
    Read the facts of some files.

    Parameters
    ----------
    files : list of (`str`, `~pathlib.Path` or `Url`, `int`)
        Name for messages, path, and size in bytes.
    run : callable
        As `map`; it may call its function on several threads.

    Returns
    -------
    list of Facts
    """
    headers = list(run(lambda file: _header(*file[1:]), files))
    dates = _dates([None if header is None else header[1] for header in headers])
    return [
        _facts_by_map(*file) if date is None else Facts(header[0], *date, *header[2:])
        for file, header, date in zip(files, headers, dates, strict=True)
    ]


def facts_of_map(image, content):
    """
    The facts of an image that was looked at as a map; `content` tells it from others of the same header.

    Parameters
    ----------
    image : Image
    content : object
    """
    if image.map is None:
        return Facts(0, 0.0, 0.0, 0.0, _digest(repr(content).encode()), image.problem)
    date = image.map.date.utc
    digest = _digest(repr((sorted(image.map.meta.items()), content)).encode())
    return Facts(
        image.channel, image.seconds, date.jd1, date.jd2, digest, image.problem, _seconds(image.map.meta.get("exptime"))
    )


def facts_of_array(path, key, array):
    """
    The facts of all images of a year and channel in a store of SDOMLv2.

    Yields
    ------
    str
        The name of the image.
    Facts
        Those without a date can be in no set.
    """
    images = list(images_of(path, key, array))
    seconds = np.array([image.seconds for image in images])
    is_dated = np.isfinite(seconds)
    dates = Time(np.where(is_dated, seconds, 0.0), format="unix_tai").utc
    for image, has_date, jd1, jd2 in zip(images, is_dated, dates.jd1.tolist(), dates.jd2.tolist(), strict=True):
        header = json.dumps(image.map.header, separators=(",", ":"))
        digest = _digest(header.encode(), str(array.shape[1:]).encode())
        date = (image.channel, image.seconds, jd1, jd2) if has_date else (0, 0.0, 0.0, 0.0)
        yield image.name, Facts(*date, digest, image.problem, number(image.map.header, "exptime"), header)


def _seconds(value):
    """An exposure time as a header has it; None for what is no number."""
    return float(value) if isinstance(value, int | float) else None


def _facts_by_map(name, path, size):
    return facts_of_map(image_of(name, path), size)


def _digest(*parts):
    return (int.from_bytes(hashlib.blake2b(b"".join(parts), digest_size=8).digest(), "little") >> 1) | 1


def _dates(texts):
    """Seconds and Julian dates of each text, or None; parsed all at once, which is hundreds of times faster."""
    known = [i for i, text in enumerate(texts) if text is not None]
    dates = [None] * len(texts)
    try:
        times = Time([texts[i].removesuffix("Z") for i in known], format="isot", scale="utc") if known else ()
    except ValueError:  # one of them is no date: sunpy tells which
        return dates
    for i, values in zip(known, np.transpose([times.unix_tai, times.jd1, times.jd2]) if known else (), strict=True):
        dates[i] = values.tolist()
    return dates


def _header(path, size):
    """
    Channel, date as text, digest, problem and exposure time of a file of the usual kind; None for all others.

    Usual is one image of two axes, plain or compressed, with a header of AIA, and nothing after it.
    """
    try:
        if isinstance(path, Url):
            content = path.start(_START)
        else:
            with open(path, "rb", buffering=0) as file:
                content = file.read(_START)
        cards, end = _cards(content, 0)
        if _integer(cards, "NAXIS") == 0:
            cards, end = _cards(content, end)
        n_axes = _integer(cards, "ZNAXIS" if "ZIMAGE" in cards else "NAXIS")
        if n_axes != 2 or end + _data_size(cards) != size:
            return None
        instrument, wavelength, unit, date, scale, exposure = (
            fits.Card.fromstring(cards[key]).value if key in cards else default for key, default in _WANTED.items()
        )
        is_usual = (
            instrument.startswith("AIA")
            and unit in _ANGSTROM
            and not isinstance(wavelength, str | bool)
            and scale.upper() == "UTC"
            and _DATE.fullmatch(date)
        )
    except (OSError, LookupError, ValueError, TypeError, AttributeError, fits.VerifyError):
        return None
    if not is_usual:
        return None
    channel = round(wavelength)
    problem = None if channel in AIA_CHANNELS else no_channel(instrument.replace("_", " "), wavelength * u.AA)
    return channel, date, _digest(content[:end], str(size).encode()), problem, _seconds(exposure)


def _cards(content, start):
    """The cards of a header by their keywords, the first of each, and where the header ends."""
    cards = {}
    for i in range(start, len(content) - _CARD + 1, _CARD):
        keyword = content[i : i + 8]
        if keyword == b"END     ":
            return cards, _padded(i + _CARD)
        cards.setdefault(keyword.decode("ascii").rstrip(), content[i : i + _CARD])
    raise ValueError("the header has no end")


def _integer(cards, keyword, default=None):
    if keyword not in cards and default is not None:
        return default
    return int(cards[keyword][10:30])


def _data_size(cards):
    """Bytes that the data of a header take in the file."""
    n_values = math.prod(_integer(cards, f"NAXIS{i + 1}") for i in range(_integer(cards, "NAXIS")))
    n_values = (n_values + _integer(cards, "PCOUNT", 0)) * _integer(cards, "GCOUNT", 1)
    return _padded(n_values * abs(_integer(cards, "BITPIX")) // 8)


def _padded(size):
    return -(-size // _BLOCK) * _BLOCK
