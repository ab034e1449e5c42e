"""Warnings that are given once per process, from whichever call or thread comes first."""

import sys
import warnings
from pathlib import Path

__all__ = ["warn_once"]

_PACKAGE = str(Path(__file__).parents[2])
_said = {}


def warn_once(kind, message):
    """Warn, pointing at the line that called the package, unless there was a warning of this kind before."""
    mine = object()
    if _said.setdefault(kind, mine) is not mine:  # one of several threads comes first
        return
    module = sys.modules.get("sunpy_demreg._common.warnings")  # not loaded on a bare node
    warnings.warn(message, getattr(module, "EngineWarning", UserWarning), skip_file_prefixes=(_PACKAGE,))
