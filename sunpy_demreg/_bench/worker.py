"""
A process that runs codes, and checks what they answer. It is started as a script, with the number of its cores.

It imports `sunpy_demreg` only to run it, so that it can run that of another checkout. Requests come pickled on the
standard input: the name of a function and its arguments. Replies go to the standard output likewise.
"""

import contextlib
import importlib
import os
import pickle
import sys
import time
import traceback
import warnings

_FWHM_PER_SIGMA = 2.3548200450309493
_PAUSE = 0.5  # seconds, in which the threads of BLAS and the like, busy waiting for more to check, fall asleep
_problems = {}


def main(n_cores):
    """Answer requests until there are no more."""
    # What the codes print must not get among the replies.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:n_cores])
    warnings.simplefilter("ignore")
    while True:
        try:
            name, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            reply = True, _function(name)(**arguments)
        except Exception:
            reply = False, traceback.format_exc()
        pickle.dump(reply, replies, protocol=pickle.HIGHEST_PROTOCOL)
        replies.flush()


def _function(name):
    """Of this file, or "module:function"."""
    if ":" not in name:
        return globals()[name]
    module, name = name.split(":")
    return getattr(importlib.import_module(module), name)


def about(module):
    """Where a module is, and its version."""
    module = importlib.import_module(module)
    return module.__file__, module.__version__


def load(problem):
    """Keep a problem under its key."""
    _problems[problem["key"]] = problem


def run(code, key, n_cores, options, kept=()):
    """
    Run a code once.

    Parameters
    ----------
    code : {"sunpy_demreg", "demregpy", "utu"}
    key : object
        Of a problem: see `sunpy_demreg._bench.problems`.
    n_cores : int
    options : dict
        Of the code.
    kept : sequence of int
        Pixels whose whole answer is wanted.

    Returns
    -------
    dict
        ``seconds``; ``n_bytes`` of input and output; ``chi_squared``; ``deviation`` of that from the one that the DEM
        gives, relative to one or more; ``kept``, the outputs of some pixels.
    """
    import numpy as np

    problem = _problems[key]
    call, read = _CODES[code](problem, n_cores, options)
    time.sleep(_PAUSE)
    start = time.perf_counter()
    answer = call()
    seconds = time.perf_counter() - start
    outputs = read(answer)
    chi_squared, deviation = outputs["chi_squared"], None
    if code != "utu":  # whose DEM is linear between temperatures, not constant in bins
        residual = (problem["intensity"] - problem["matrix"] @ outputs["dem"]) / problem["sigma"]
        expected = np.mean(residual**2, axis=0)
        deviation = float(np.max(np.abs(chi_squared - expected) / np.maximum(expected, 1.0)))
    arrays = (problem["intensity"], problem["sigma"], *outputs.values())
    return {
        "seconds": seconds,
        "n_bytes": sum(a.nbytes for a in arrays),
        "chi_squared": chi_squared,
        "deviation": deviation,
        "kept": {name: a[..., list(kept)] for name, a in outputs.items()} if len(kept) else {},
    }


# Each of these makes two functions: one to be timed, and one that reads its answer as arrays, pixels last.


def _sunpy_demreg(problem, n_cores, options):
    import astropy.units as u

    import sunpy_demreg as demreg

    unit = u.DN / u.pix / u.s
    response = demreg.TemperatureResponse.from_arrays(
        problem["channels"], problem["temperature"] * u.K, problem["response"] * unit * u.cm**5
    )
    intensity, sigma, edges = problem["intensity"] * unit, problem["sigma"] * unit, problem["edges"] * u.K

    # Plain arrays choose better themselves how many threads to use.
    workers = None if options.get("backend") == "numpy" else n_cores

    def call():
        return demreg.invert(intensity, response, edges, uncertainty=sigma, workers=workers, **options)

    def read(result):
        outputs = {name: cube.data for name, cube in result.items()}
        if result["dem"].uncertainty is not None:
            outputs["dem_uncertainty"] = result["dem"].uncertainty.array
        return outputs

    return call, read


def _demregpy(problem, n_cores, options):
    from concurrent.futures import ProcessPoolExecutor
    from functools import partial

    import demregpy.demmap
    import numpy as np

    # It has no argument for the number of its processes, which may be that of all cores, whether it may use them or
    # not.
    demregpy.demmap.ProcessPoolExecutor = partial(ProcessPoolExecutor, n_cores)
    arguments = (
        np.ascontiguousarray(problem["intensity"].T),
        np.ascontiguousarray(problem["sigma"].T),
        problem["response"].T,
        np.log10(problem["temperature"]),
        problem["edges"],
    )

    def call():
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):  # its progress bar
            return demregpy.dn2dem(*arguments, **options)

    def read(answer):
        dem, error, elogt, chi_squared, predicted = answer
        return {
            "dem": dem.T,
            "dem_uncertainty": error.T,
            "temperature_resolution": elogt.T * (2 * _FWHM_PER_SIGMA),
            "chi_squared": chi_squared,
            "predicted_intensity": predicted.T,
        }

    return call, read


def _utu(problem, n_cores, options):
    import named_arrays as na
    import numba
    import numpy as np
    import utu.dem

    import astropy.units as u

    numba.set_num_threads(n_cores)
    unit = u.DN / u.pix / u.s
    axes = ("pixel", "channel")
    arguments = {
        "intensity": na.ScalarArray(np.ascontiguousarray(problem["intensity"].T) * unit, axes=axes),
        "uncertainty": na.ScalarArray(np.ascontiguousarray(problem["sigma"].T) * unit, axes=axes),
        "response": na.FunctionArray(
            inputs=na.ScalarArray(problem["centers"] * u.K, axes="temperature"),
            outputs=na.ScalarArray(problem["at_centers"] * unit * u.cm**5, axes=("channel", "temperature")),
        ),
        "axis_channel": "channel",
        "axis_temperature": "temperature",
    }

    def call():
        return utu.dem.plowman(**arguments, **options)

    def read(answer):
        dem, chi_squared = answer
        return {"dem": dem.outputs.ndarray.value.T, "chi_squared": np.asarray(chi_squared.ndarray)}

    return call, read


_CODES = {"sunpy_demreg": _sunpy_demreg, "demregpy": _demregpy, "utu": _utu}

if __name__ == "__main__":
    main(int(sys.argv[1]))
