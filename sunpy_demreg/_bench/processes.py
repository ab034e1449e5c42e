"""Processes that codes run in."""

import os
import pickle
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import sunpy_demreg
from sunpy_demreg._bench import worker

__all__ = ["HERE", "Process", "Processes", "available_cores"]

#: The folder that this very package is imported from.
HERE = Path(sunpy_demreg.__file__).resolve().parent.parent
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")


def available_cores():
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


class Process:
    """
    A Python of its own, on a number of cores of its own: see `sunpy_demreg._bench.worker`.

    Parameters
    ----------
    n_cores : int
        It is pinned to as many, where the system can do that, and gets as many threads of any library.
    folder : path
        Where `sunpy_demreg` is imported from.
    variables : dict
        More variables of its environment.
    """

    def __init__(self, n_cores=1, folder=HERE, variables=None):
        self.n_cores = n_cores
        path = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            **os.environ,
            **dict.fromkeys(_THREADS, str(n_cores)),
            # Whatever looks for the network is told at once that there is none.
            **dict.fromkeys(_PROXIES, "http://127.0.0.1:9"),
            "PYTHONPATH": os.pathsep.join(path),
            **(variables or {}),
        }
        self._loaded = set()
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process)
        # -P: the folder of the script is no place to import from.
        self._process = subprocess.Popen(
            [sys.executable, "-P", worker.__file__, str(n_cores)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
        )

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if exception[0] is not None:
            self._process.kill()
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._complaints.close()

    def __call__(self, name, **arguments):
        """Call a function of the worker, or "module:function", there; its answer."""
        try:
            pickle.dump((name, arguments), self._process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
            self._process.stdin.flush()
            is_done, answer = pickle.load(self._process.stdout)
        except (BrokenPipeError, EOFError):
            code = self._process.wait()
            self._complaints.seek(0)
            last = self._complaints.read().decode(errors="replace").strip()[-2000:]
            raise RuntimeError(f"the process of {name} ended with the code {code}: {last}") from None
        if not is_done:
            raise RuntimeError(f"{name} failed in its process:\n{answer}")
        return answer

    def run(self, code, problem, options, kept=()):
        """Run a code on a problem once: see `sunpy_demreg._bench.worker.run`."""
        if problem["key"] not in self._loaded:
            self("load", problem=problem)
            self._loaded.add(problem["key"])
        return self("run", code=code, key=problem["key"], n_cores=self.n_cores, options=options, kept=tuple(kept))


class Processes(ExitStack):
    """One process for each code and number of cores, started when it is first asked for."""

    def __init__(self, folders=None):
        super().__init__()
        self._folders, self._processes = folders or {}, {}

    def of(self, code, n_cores):
        """The process; `code` is also a key of the folders that were given."""
        if (code, n_cores) not in self._processes:
            process = Process(n_cores, self._folders.get(code, HERE))
            self._processes[code, n_cores] = self.enter_context(process)
        return self._processes[code, n_cores]
