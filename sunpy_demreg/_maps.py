"""Whatever holds maps, or names the files of maps, as one list."""

import glob
from pathlib import Path

__all__ = ["named_maps"]


def named_maps(maps):
    """
    Unwrap the first argument of `sunpy_demreg.prepare`.

    Returns
    -------
    `list` of (`str`, `~sunpy.map.GenericMap`)
        Each map with its name for error messages.
    """
    from sunpy.map import GenericMap, MapSequence

    if isinstance(maps, GenericMap | str | Path):
        items = [("`maps`", maps)]
    elif isinstance(maps, dict):
        items = [(f"`maps[{key!r}]`", item) for key, item in maps.items()]
    elif isinstance(maps, list | tuple | MapSequence):
        items = [(f"`maps[{i}]`", item) for i, item in enumerate(maps)]
    else:
        raise TypeError(f"`maps` must be a list or dict of maps or file names, got {type(maps).__name__}")

    pairs = []
    for name, item in items:
        if isinstance(item, GenericMap):
            pairs.append((name, item))
        elif isinstance(item, str | Path):
            pairs += _read(item)
        else:
            raise TypeError(f"{name} must be a sunpy map or a file name, got {type(item).__name__}")
    if not pairs:
        raise ValueError("`maps` is empty: give one map for each channel")
    return pairs


def _read(pattern):
    """Read the maps in the file, or the files, that a name or a pattern with wildcards stands for."""
    from sunpy.map import Map

    path = Path(pattern).expanduser()
    if path.is_dir():
        files = str(path / "*.fits")
        raise ValueError(f"`maps`: {str(pattern)!r} is a folder, not a file: name its files, for instance {files!r}")
    paths = [path] if path.exists() else sorted(map(Path, glob.glob(str(path))))
    if not paths:
        raise FileNotFoundError(f"`maps`: there is no file {pattern}")
    pairs = []
    for path in paths:
        try:
            loaded = Map(path)
        except Exception as error:  # readers fail in as many ways as files do
            reason = str(error).partition("\n")[0]
            raise ValueError(f"`maps`: cannot read {path} as a map ({reason}): give FITS files of AIA") from error
        pairs += [(str(path), each) for each in (loaded if isinstance(loaded, list) else [loaded])]
    return pairs
