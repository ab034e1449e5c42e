"""Errors and warnings, as a user of the command line reads them."""

import os
import re
import select
import sys
import warnings
from contextlib import contextmanager, suppress

from sunpy_demreg._common.errors import message_of

__all__ = ["complain", "flush", "in_our_words", "is_cut", "options_of", "silence", "warnings_as_lines"]

#: Names on the command line of what messages of the library mention, where the options are named otherwise.
_WORDS = {
    "amplitude": "the amplitude in `--prior`",
    "correlation_length": "the correlation length in `--prior`",
    "data": "the data",
    "emission_measure_ranges": "`--em-ranges`",
    "maps": "the files",
    "path": "`--output`",
    "response": "the response",
    "temperature_bin_edges": "`--log-t`",
}
#: What messages say of Python, as it is said on the command line.
_PHRASES = {
    " * u.AA": "",
    " or a Time": "",
    "`prepare_series` and `batch_invert`, or `sunpy-demreg batch`": "`sunpy-demreg batch`",
    "`read` and `batch_status` take its URL": "`sunpy-demreg info` and `--status` take its URL",
    "see result['status'] and sunpy_demreg.Status": "the output 'status' tells it of each pixel",
    "see result['chi_squared']": "the output 'chi_squared' tells how well each pixel fits",
}
_ARGUMENT = re.compile(r"`([a-z_]+)(?:=([^`]*))?`")


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
    """The text of an error or a warning, with the arguments in it under their names on the command line."""
    options = None if command is None else options_of(command)
    argument = getattr(message, "argument", None)
    name = _option(argument, None, options)
    text = (str(message) or type(message).__name__) if name is None else message_of(name, message.problem)
    for python, ours in _PHRASES.items():
        text = text.replace(python, ours)
    return _ARGUMENT.sub(lambda found: _option(*found.groups(), options) or found[0], text)


def _option(argument, value, options):
    """An argument, perhaps with its value, as it is typed; None where the command has no such option."""
    if argument == "path" and options is not None and "--output" not in options:  # a command on a file
        return "`FILE`"
    if argument in _WORDS and value is None:
        return _WORDS[argument]
    option = f"--{argument}".replace("_", "-")
    if option not in (options or ()) or value == "False":
        return None
    value = "" if value in (None, "True") else f" {value.strip('\'"')}"
    return f"`{option}{value}`"


def options_of(command):
    """All options of a command, such as ``--output``."""
    return re.findall(r"--[a-z-]+", command.format_usage())


def complain(text):
    print(f"sunpy-demreg: {text}", file=sys.stderr)


def flush():
    """Write what is held back; raises BrokenPipeError if what was to read it has ended."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def is_cut():
    """Whether what was to read the output has ended; where the system cannot tell, it has."""
    if not hasattr(select, "poll"):
        return True
    poll = select.poll()
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError, OSError):  # there is none, or it is no file of the system
            poll.register(stream.fileno(), 0)  # errors are always told
    return bool(poll.poll(0))


def silence():
    """Let the rest of the output go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
