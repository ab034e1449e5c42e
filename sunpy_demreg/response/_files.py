"""Responses from and to files: tables of text, and what IDL saved."""

import json
import re
from pathlib import Path

import numpy as np

import astropy.units as u
from astropy.table import QTable

from sunpy_demreg._metadata import from_text, to_text

__all__ = ["read", "read_sav", "write"]

_UNIT = u.Unit("DN cm5 / (pix s)")


def write(response, path, overwrite):
    """Write an ECSV table, see `sunpy_demreg.TemperatureResponse.write`."""
    path = Path(path).expanduser()
    if path.suffix != ".ecsv":
        raise ValueError(f"`path` must end in .ecsv, but is {path.name!r}")
    table = QTable({"temperature": response.temperature})
    for channel, row in zip(response.channels, response.response, strict=True):
        table[channel] = row
    # As text that YAML shows in the clear, and that is read back with no more than a few kinds of values.
    table.meta["provenance"] = json.loads(to_text(response.meta)[0])
    table.write(path, format="ascii.ecsv", overwrite=overwrite)


def read(path):
    """Read what `write` wrote, as arguments of the class."""
    path = _file(path)
    try:
        table = QTable.read(path, format="ascii.ecsv")
        meta = from_text(json.dumps(table.meta.get("provenance", {})))
    except Exception as err:  # readers fail in as many ways as files do
        raise ValueError(f"`path`: {path} is not a table in ECSV ({str(err).partition(chr(10))[0]})") from err
    channels = [name for name in table.colnames if name != "temperature"]
    if "temperature" not in table.colnames or not channels:
        raise ValueError(
            f"`path`: {path} must have a column 'temperature' and one of every channel, but has "
            f"{', '.join(table.colnames)}"
        )
    bare = [name for name in table.colnames if not isinstance(table[name], u.Quantity)]
    if bare:
        raise ValueError(f"`path`: {path} has no units for {', '.join(bare)}")
    try:
        response = u.Quantity([table[channel] for channel in channels])
    except u.UnitsError as err:
        raise ValueError(f"`path`: the channels in {path} have units that do not convert") from err
    return {"channels": channels, "temperature": table["temperature"], "response": response, "meta": meta}


def read_sav(path):
    """Read what IDL saved, as arguments of the class."""
    from scipy.io import readsav

    path = _file(path)
    try:
        saved = {name.lower(): value for name, value in readsav(path).items()}
    except Exception as err:  # as above
        raise ValueError(f"`path`: {path} is not a file that IDL saved ({err})") from err
    if {"logt", "tr", "channels"} <= set(saved):
        log_t, responses, channels, units = saved["logt"], saved["tr"], saved["channels"], saved.get("units")
        meta = {}
    else:
        channels, log_t, responses, units, meta = _of_structure(path, saved)
    text = _text(units) if units is not None else "DN cm^5 s^-1 pix^-1"
    if "phot" in text.lower():
        raise ValueError(f"`path`: {path} is in {text}: compute it with `aia_get_response(/temperature, /dn)`")
    return {
        "channels": [_label(_text(channel)) for channel in channels],
        # Of single precision in these files.
        "temperature": 10 ** np.round(np.asarray(log_t, dtype=float), 4) * u.K,
        "response": np.asarray(responses, dtype=float) * _UNIT,
        "meta": {"instrument": "SDO/AIA, by SolarSoft", "file": path.name, **meta},
    }


def _of_structure(path, saved):
    """What `aia_get_response` returns: a structure with one of its own for each channel."""
    for value in saved.values():
        names = getattr(getattr(value, "dtype", None), "names", None) or ()
        if not {"CHANNELS", "LOGTE"} <= set(names):
            continue
        record = value[0]
        channels = [_text(channel) for channel in record["CHANNELS"]]
        channels = [channel for channel in channels if channel.upper() in names]
        tables = [record[channel.upper()] for channel in channels]
        tables = [table[0] if getattr(table, "ndim", 0) else table for table in tables]
        if channels and all("TRESP" in table.dtype.names for table in tables):
            kept = ("NAME", "DATE", "EFFAREA_VERSION", "EMISS_VERSION")
            meta = {name.lower(): _text(record[name]) for name in kept if name in names}
            units = record["UNITS"] if "UNITS" in names else None
            return channels, record["LOGTE"], [table["TRESP"] for table in tables], units, meta
    raise ValueError(
        f"`path`: {path} holds {', '.join(saved)}, but must hold what `aia_get_response(/temperature, /dn)` returns, "
        "or logt, tr and channels"
    )


def _label(name):
    match = re.fullmatch(r"A(\d+)(_THIN|_FULL)?", name, flags=re.IGNORECASE)
    return f"AIA {match[1]}" if match else name


def _text(value):
    value = np.asarray(value).ravel()[0] if isinstance(value, np.ndarray) else value
    return (value.decode() if isinstance(value, bytes) else str(value)).strip()


def _file(path):
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"`path`: there is no file {path}")
    return path
