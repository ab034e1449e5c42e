"""File names with wildcards."""

import glob
from pathlib import Path

__all__ = ["matching_paths"]


def matching_paths(pattern):
    """
    Find the paths that match a file name or a pattern with wildcards, with ``~`` expanded.

    Returns
    -------
    `list` of `~pathlib.Path`
        Empty if nothing matches.
    """
    path = Path(pattern).expanduser()
    return [path] if path.exists() else sorted(map(Path, glob.glob(str(path))))
