"""Warnings of this package, each of a kind that a filter can name."""

import warnings
from pathlib import Path

from sunpy.util.exceptions import SunpyUserWarning

from sunpy_demreg._common.errors import message_of

__all__ = [
    "DataWarning",
    "DemregWarning",
    "EngineWarning",
    "MetadataWarning",
    "ResponseWarning",
    "UnsolvedWarning",
    "warn",
]

_PACKAGE = str(Path(__file__).parents[1])


class DemregWarning(SunpyUserWarning):
    """What all warnings of this package are."""

    # Where it is about an argument, as of `ArgumentError`.
    argument: str | None = None
    problem: str | None = None


class DataWarning(DemregWarning):
    """Of images that may not be what they should be: channels, dates, averages, pointing, chunks."""


class ResponseWarning(DemregWarning):
    """Of a response that is continued beyond what its tables know."""


class UnsolvedWarning(DemregWarning):
    """Of pixels that were not solved, or whose DEM is negative in some bins."""


class MetadataWarning(DemregWarning):
    """Of metadata that a file cannot hold as they are."""


class EngineWarning(DemregWarning):
    """Of an engine that is slower than it might be: without compiled code, or a place to keep it."""


def warn(kind, message, argument=None):
    """
    Warn, at the line of the caller's that called this package.

    Parameters
    ----------
    kind : type
        One of the above.
    message : `str`
        If an argument is named, without it: it then goes in front.
    argument : `str`, optional
        Its name.
    """
    warning = kind(message if argument is None else message_of(f"`{argument}`", message))
    if argument is not None:
        warning.argument, warning.problem = argument, message
    warnings.warn(warning, stacklevel=2, skip_file_prefixes=(_PACKAGE,))
