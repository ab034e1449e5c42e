"""Parts of the benchmark in processes of their own: fresh, with a given number of cores, and without a network."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["available_cores", "environment_for", "pin", "run_task", "stop_network"]

_TIMEOUT = 1800  # seconds, of a part: a guard only


def available_cores():
    """Of this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def pin(cores):
    """Keep to that many cores, before any thread is there; where the system cannot, each code is told the number."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def stop_network():
    """
    Let every look-up of a host fail at once.

    A peer asks a web site for news when it is imported, which would hang where packets are dropped.
    """
    import socket

    def refuse(*args, **kwargs):
        raise socket.gaierror("the benchmark uses no network")

    socket.getaddrinfo = socket.gethostbyname = refuse


def environment_for(cores, **more):
    """The environment of a process that is to find this package first, and to use that many threads."""
    home = str(Path(__file__).parents[2])
    threads = ("OMP", "OPENBLAS", "MKL", "NUMBA")
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH")))),
        **{f"{name}_NUM_THREADS": str(cores) for name in threads},
        **more,
    }


def run_task(name, cores, environment=None, **arguments):
    """
    Run a function of `sunpy_demreg._bench._tasks` in a fresh process.

    Parameters
    ----------
    name : str
    cores : int
    environment : dict, optional
        More variables.
    **arguments
        Of the function; as JSON.

    Returns
    -------
    object
        What the function returned, through JSON.
    """
    with tempfile.TemporaryDirectory(prefix="sunpy-demreg-") as folder:
        answer = Path(folder) / "answer.json"
        specification = json.dumps({"task": name, "cores": cores, "arguments": arguments, "answer": str(answer)})
        ended = subprocess.run(
            [sys.executable, "-m", "sunpy_demreg._bench._tasks", specification],
            env=environment_for(cores, **(environment or {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            check=False,
        )
        if ended.returncode:
            last = ended.stderr.strip().splitlines()[-1:] or [f"it ended with {ended.returncode}"]
            raise RuntimeError(f"the part {name!r} of the benchmark failed: {last[0]}")
        return json.loads(answer.read_text(encoding="utf-8"))
