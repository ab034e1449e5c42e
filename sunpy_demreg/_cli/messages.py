"""Errors and warnings, as a user of the command line reads them."""

import re
import sys
import warnings
from contextlib import contextmanager

from sunpy_demreg._common.errors import message_of

__all__ = ["complain", "in_our_words", "options_of", "warnings_as_lines"]

#: Names on the command line of what messages of the library mention, where the options are named otherwise.
_WORDS = {
    "amplitude": "the amplitude in `--prior`",
    "correlation_length": "the correlation length in `--prior`",
    "emission_measure_ranges": "`--em-ranges`",
    "maps": "the files",
    "path": "`--output`",
    "temperature_bin_edges": "`--log-t`",
}


@contextmanager
def warnings_as_lines(command):
    """Show every warning once, as a line on the standard error output, as it occurs."""
    # sunpy's logger takes the warnings over when sunpy is loaded: that must have happened before.
    from sunpy.util.exceptions import SunpyWarning

    seen = set()

    def show(message, category, filename, lineno, file=None, line=None):
        if str(message) not in seen:
            seen.add(str(message))
            complain(f"warning: {in_our_words(message, command)}")

    with warnings.catch_warnings():
        # Regardless of warning filters in the environment: these are part of the output.
        warnings.simplefilter("always", SunpyWarning)
        warnings.showwarning = show
        yield


def in_our_words(message, command):
    """The text of an error or a warning, with its argument under its name on the command line."""
    argument = getattr(message, "argument", None)
    option = f"--{argument}".replace("_", "-")
    options = [] if command is None else options_of(command)
    if argument == "path" and command is not None and "--output" not in options:  # a command on a file
        name = "`FILE`"
    elif argument in _WORDS:
        name = _WORDS[argument]
    elif option in options:
        name = f"`{option}`"
    else:
        return str(message) or type(message).__name__
    return message_of(name, message.problem)


def options_of(command):
    """All options of a command, such as ``--output``."""
    return re.findall(r"--[a-z-]+", command.format_usage())


def complain(text):
    print(f"sunpy-demreg: {text}", file=sys.stderr)
