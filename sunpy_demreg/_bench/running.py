"""Run the parts that are asked for, and write what they measured."""

import os
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from sunpy_demreg._bench.command import PARTS

__all__ = ["Setting", "run"]

_MODULES = {name: name.replace("-", "_") for name in PARTS} | {"profile": "stages"}


class Setting(NamedTuple):
    """What all parts are told."""

    is_quick: bool
    repeats: int
    say: Callable  # takes a line that tells how far the run is
    baseline: Path | None = None


def run(parts, setting, output):
    """
    Measure, check and write.

    Parameters
    ----------
    parts : sequence of str
        Of `sunpy_demreg._bench.command.PARTS`.
    setting : Setting
    output : path
        The folder for all files: ``environment.json``; ``.json``, ``.csv``, ``.rst`` and, but for a few, ``.png`` of
        each part. It is made; files of the same names are replaced, once their part has been measured.

    Returns
    -------
    list of path
        The files.

    Raises
    ------
    sunpy_demreg._bench.checks.WrongAnswer
        If a code gives a wrong answer. Nothing of its part is written.
    """
    from sunpy_demreg._bench import report
    from sunpy_demreg._bench.environment import environment

    if os.name != "posix":
        raise OSError("the benchmarks need a POSIX system, such as Linux or macOS, to measure memory and pin cores")
    if {"peers", "full-disk"}.intersection(parts) and not find_spec("demregpy"):
        raise ImportError("the benchmarks need demregpy: pip install 'sunpy-demreg[bench]'")
    output.mkdir(parents=True, exist_ok=True)
    if "peers" in parts and not find_spec("utu"):
        setting.say("peers: utu is not installed, so it is left out; pip install 'sunpy-demreg[bench]'")
    measured_on = environment() | {"quick": setting.is_quick, "repeats": setting.repeats}
    written = []
    for part in parts:
        results = import_module(f"sunpy_demreg._bench.{_MODULES[part]}").measure(setting)
        written += report.write(part, results, measured_on, output)
    return written
