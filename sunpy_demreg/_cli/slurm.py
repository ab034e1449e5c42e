"""A batch as an array of SLURM: each task does its part, into one store."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from sunpy_demreg._common.urls import Url

__all__ = ["part_of_array", "submit", "with_value"]

_FIRST = "# Written by sunpy-demreg: each task of the array does its part of the batch."
_DEFAULTS = ("--job-name=sunpy-demreg", "--requeue", "--open-mode=append")


def part_of_array():
    """The part that the task of an array of SLURM is to do, by the variables of that; None outside of one."""
    if "SLURM_ARRAY_TASK_ID" not in os.environ:
        return None
    try:
        task, first, last, count, step = (
            int(os.environ.get(f"SLURM_ARRAY_TASK_{name}", default))
            for name, default in (("ID", ""), ("MIN", ""), ("MAX", ""), ("COUNT", ""), ("STEP", 1))
        )
        is_regular = (last - first) // step + 1 == count and (task - first) % step == 0
    except (ValueError, ZeroDivisionError):
        is_regular = False
    if not is_regular:
        raise ValueError("the numbers of the SLURM array are no plain range: pass `--part`, or use --array=1-N")
    return (task - first) // step + 1, count


def with_value(arguments):
    """The arguments with the value of ``--slurm`` in one with it: one that begins with a dash would be an option."""
    joined, rest = [], iter(arguments)
    for each in rest:
        value = next(rest, None) if _is_slurm(each) and "=" not in each else None
        joined.append(each if value is None else f"{each}={value}")
    return joined


def submit(options):
    """Write the script of an array beside the store, unless that is at a URL, and submit it."""
    try:
        given = shlex.split(options.slurm)
    except ValueError as err:
        raise ValueError(f"`--slurm` must be options of sbatch, but is {options.slurm!r} ({err})") from err
    if not any(each.startswith(("--array", "-a")) for each in given) or not given[0].startswith("-"):
        raise ValueError(
            f'`--slurm` must be options of sbatch with --array, such as "--array=1-16", but is {options.slurm!r}'
        )
    script = None if isinstance(options.output, Url) else options.output.with_suffix(".slurm")
    if script is not None and script.exists() and _FIRST not in script.read_text(errors="replace"):
        raise FileExistsError(f"{script} exists, and sunpy-demreg did not write it: rename it")
    command = [sys.executable, "-m", "sunpy_demreg", *_without_slurm(options.arguments)]
    lines = [
        "#!/bin/bash",
        _FIRST,
        *(f"#SBATCH {each}" for each in (*_DEFAULTS, *_joined(given))),
        f"cd {shlex.quote(str(Path.cwd()))} || exit 1",
        f"exec {shlex.join(command)}",
    ]
    text, where = "\n".join(lines) + "\n", ""
    if script is not None:
        from sunpy_demreg._common.atomic import permitted  # here, since it loads sunpy

        with permitted(script, "output"):
            script.parent.mkdir(parents=True, exist_ok=True)  # as the batch does for the store
            script.write_text(text)
        where = f"; the script is {script}"
    try:  # without the name of a script, it is read from the standard input
        command = ["sbatch"] if script is None else ["sbatch", str(script)]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    except OSError as err:
        raise ValueError(f"`--slurm`: sbatch cannot be run ({err.strerror}){where}") from err
    if done.returncode:
        raise ValueError(f"`--slurm`: sbatch refused {script or 'the script'}: {done.stderr.strip()}")
    if script is not None:
        print(f"{'script':>18}  {script}")
    print(f"{'sbatch':>18}  {done.stdout.strip()}")
    return 0


def _joined(given):
    """Options one per line: a value that follows its option belongs to it."""
    lines = []
    for each in given:
        if each.startswith("-") or not lines:
            lines.append(shlex.quote(each))
        else:
            lines[-1] += f" {shlex.quote(each)}"
    return lines


def _is_slurm(argument):
    name = argument.partition("=")[0]
    return len(name) > 3 and "--slurm".startswith(name)


def _without_slurm(arguments):
    """The arguments but for this option, which may be abbreviated."""
    kept, skips = [], False
    for each in arguments:
        name, is_joined, _ = each.partition("=")
        if skips:
            skips = False
        elif _is_slurm(name):
            skips = not is_joined
        else:
            kept.append(each)
    return kept
