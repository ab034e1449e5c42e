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
    """
    Base class of all warnings of this package.

    Examples
    --------
    >>> import warnings
    >>> import sunpy_demreg as demreg
    >>> maps = demreg.sample.aia_maps()[:5]  # a channel is missing
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore", demreg.DataWarning)  # the others are still given
    ...     cube = demreg.prepare(maps, n_sample=16)
    >>> cube.shape
    (5, 128, 128)
    """

    # Set if it is about an argument, as in `ArgumentError`.
    argument: str | None = None
    problem: str | None = None


class DataWarning(DemregWarning):
    """Images may be unsuitable: channels, dates, averages, pointing, chunks."""


class ResponseWarning(DemregWarning):
    """A response is extrapolated beyond its tables."""


class UnsolvedWarning(DemregWarning):
    """Pixels were not solved, or not as asked: many DEMs do not fit or are negative, or an iteration did not end."""


class MetadataWarning(DemregWarning):
    """Metadata cannot be saved as they are."""


class EngineWarning(DemregWarning):
    """An engine is slower than it could be: compiled code is missing or cannot be cached."""


def warn(kind, message, argument=None):
    """
    Warn, pointing at the line that called this package.

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
