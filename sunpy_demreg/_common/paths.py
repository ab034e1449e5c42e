"""Names of files with wildcards."""

import glob
from pathlib import Path

__all__ = ["matching_paths"]


def matching_paths(pattern):
    """
    Find what a file name, or a pattern with wildcards, stands for; either may start with ``~``.

    Returns
    -------
    `list` of `~pathlib.Path`
        Empty if there is nothing of that name.
    """
    path = Path(pattern).expanduser()
    return [path] if path.exists() else sorted(map(Path, glob.glob(str(path))))
