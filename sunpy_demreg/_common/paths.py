"""File names with wildcards."""

import glob
from pathlib import Path

from sunpy_demreg._common.urls import Url, file_of

__all__ = ["matching_paths"]


def matching_paths(pattern, argument="maps"):
    """
    Find the files that match a file name, a URL, or a pattern with wildcards, with ``~`` expanded.

    Returns
    -------
    `list` of `~pathlib.Path`, or of `~sunpy_demreg._common.urls.Url`
        Empty if nothing matches.
    """
    path = file_of(pattern, argument)
    if isinstance(path, Url):
        return path.matches()
    path = path.expanduser()
    return [path] if path.exists() else sorted(map(Path, glob.glob(str(path))))
