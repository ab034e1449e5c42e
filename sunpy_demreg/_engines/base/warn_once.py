"""Warnings that are given once per process, from whichever call or thread comes first."""

import sys
import warnings
from pathlib import Path

__all__ = ["warn_once"]

_PACKAGE = str(Path(__file__).parents[2])
_said = {}


def warn_once(kind, message):
    """Warn, with the line that called the package, unless something of this kind was said before."""
    mine = object()
    if _said.setdefault(kind, mine) is not mine:  # of several threads, one is the first
        return
    module = sys.modules.get("sunpy_demreg._common.warnings")  # whose classes are sunpy's, which a bare node has not
    warnings.warn(message, getattr(module, "EngineWarning", UserWarning), skip_file_prefixes=(_PACKAGE,))
