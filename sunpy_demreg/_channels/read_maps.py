"""Maps, or files of maps, from any argument that holds or names them."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sunpy_demreg._common.errors import first_line, imported, wrong
from sunpy_demreg._common.paths import matching_paths
from sunpy_demreg._common.urls import Url, local_copy
from sunpy_demreg._common.validators import a_kind

__all__ = ["NamedMaps", "maps_or_names", "named_maps", "wrong_map"]

_OF_SUVI = re.compile(r"suvi-l(1b|2)-(fe|he|ci)", re.IGNORECASE)  # names of NOAA's files
_SPIKE = 4  # of the quality flags


class NamedMaps(dict):
    """Maps by the names to use in messages: arguments in backticks, or file names."""


def named_maps(maps):
    """
    Unwrap the first argument of `sunpy_demreg.prepare`.

    Returns
    -------
    `list` of (`str`, `~sunpy.map.GenericMap`)
        Each map with its name for error messages.
    """
    from sunpy.map import GenericMap

    pairs = []
    for name, item in maps_or_names(maps):
        pairs += [(name, item)] if isinstance(item, GenericMap) else _read(item)
    if not pairs:
        raise wrong(ValueError, "maps", "is empty: give one map for each channel")
    return pairs


def maps_or_names(maps):
    """
    What functions of maps take: one or several maps, or names of files.

    Returns
    -------
    `list` of (`str`, `~sunpy.map.GenericMap` or `str` or `~pathlib.Path`)
        Each with its name for error messages.

    Raises
    ------
    TypeError
        If it is something else.
    """
    from sunpy.map import GenericMap, MapSequence

    if isinstance(maps, GenericMap | str | Path | Url):
        items = [("`maps`", maps)]
    elif isinstance(maps, NamedMaps):
        items = list(maps.items())
    elif isinstance(maps, Mapping):
        items = [(f"`maps[{key!r}]`", item) for key, item in maps.items()]
    elif isinstance(maps, list | tuple | MapSequence):
        items = [(f"`maps[{i}]`", item) for i, item in enumerate(maps)]
    else:
        raise wrong(TypeError, "maps", f"must be a list or dict of maps or file names, but is {a_kind(maps)}")
    for name, item in items:
        if not isinstance(item, GenericMap | str | Path | Url):
            raise wrong_map(TypeError, name, f"must be a sunpy map or a file name, but is {a_kind(item)}")
    return items


def wrong_map(kind, name, problem):
    """The error about one of the maps, `name` being that of an item of the argument or of a file."""
    is_item = name.startswith("`maps")
    return wrong(kind, name.strip("`") if is_item else "maps", problem if is_item else f": {name} {problem}")


def _is_result(path):
    """Whether this package wrote a file."""
    if path.name.endswith(".asdf"):
        return True  # maps are never in such files
    from astropy.io import fits

    try:
        return str(fits.getval(path, "CREATOR", 0)).startswith("sunpy_demreg")
    except (OSError, KeyError, ValueError):
        return False


def _read(pattern):
    """Read the maps in the file, or the files, that a name or a pattern with wildcards stands for."""
    from sunpy.map import Map

    paths = matching_paths(pattern)
    if not paths:
        raise wrong(FileNotFoundError, "maps", f": there is no file {pattern}")
    pairs = []
    for path in paths:
        if path.is_dir() and path.suffix == ".zarr":
            raise wrong(ValueError, "maps", f": {path} is a Zarr store: read it with `sunpy_demreg.read`")
        if path.is_dir():
            files = str(path / "*.fits")
            raise wrong(
                ValueError,
                "maps",
                f": {str(pattern)!r} is a folder, not a file: name its files, for instance {files!r}",
            )
        with local_copy(path) as place:
            if _is_result(place):
                raise wrong(
                    ValueError,
                    "maps",
                    f": {path} is a result that `sunpy_demreg.write` wrote: read it with `sunpy_demreg.read`",
                )
            try:
                loaded = _suvi_map(place) if _OF_SUVI.search(path.name) else Map(place)
            except ImportError:
                raise
            except Exception as error:  # readers fail in as many ways as files do
                raise wrong(
                    ValueError, "maps", f": cannot read {path} as a map ({first_line(error)}): give FITS files of AIA"
                ) from error
        pairs += [(str(path), each) for each in (loaded if isinstance(loaded, list) else [loaded])]
    return pairs


def _suvi_map(path):
    """A file of level 1b: its headers break the rules of FITS, and its flags tell the pixels that are spikes."""
    from sunpy.map import Map

    read_suvi = imported("sunkit_instruments.suvi", "A file of SUVI", "instruments").read_suvi
    header, data, flags = read_suvi(str(path))
    return Map(data, header, mask=None if flags is None else np.asarray(flags) == _SPIKE)
