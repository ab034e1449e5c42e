"""What comes before and beside the arithmetic: compiling, one single pixel, memory. Each in a fresh process."""

import tempfile
import time

import numpy as np

from sunpy_demreg._bench.problems import COMMON, n_pixels_of_sample, problem
from sunpy_demreg._bench.processes import Process, available_cores

__all__ = ["first_call", "measure", "memory", "one_pixel", "peak_memory"]

_N_BINS = 41


def measure(setting):
    """
    Measure.

    Parameters
    ----------
    setting : `sunpy_demreg._bench.running.Setting`

    Returns
    -------
    dict
        Seconds: ``compile`` into an empty cache and ``from_cache``, each the first call less the second; of ``invert``
        and of ``dn2dem_pos`` for ``one_pixel``. Bytes: ``memory`` beyond input and output.
    """
    setting.say("startup: compiling, one pixel, memory")
    few = problem(COMMON, _N_BINS)
    seconds = {"compile": [], "from_cache": []}
    for _ in range(1 if setting.is_quick else 3):
        with tempfile.TemporaryDirectory() as folder:
            for name in seconds:  # the second finds what the first has left
                with Process(1, variables={"SUNPY_DEMREG_CACHE": folder}) as process:
                    seconds[name].append(process("sunpy_demreg._bench.startup:first_call", problem=few))
    with Process(1) as process:
        n_calls = 20 if setting.is_quick else 300
        single = process("sunpy_demreg._bench.startup:one_pixel", problem=few, n_calls=n_calls)
    many = problem(4000 if setting.is_quick else n_pixels_of_sample(), _N_BINS)
    copies = 1 if setting.is_quick else 16
    memories = {}
    for backend in ("cpu", "numpy"):
        with Process(available_cores()) as process:
            tiles = copies if backend == "cpu" else 1  # which is bounded as well, but slower
            memories[backend] = process(
                "sunpy_demreg._bench.startup:memory", problem=many, copies=tiles, backend=backend
            )
    return {
        "n_bins": _N_BINS,
        **{name: {"median": float(np.median(of)), "all": of} for name, of in seconds.items()},
        "one_pixel": single,
        "memory": memories,
    }


def first_call(problem):
    """Seconds that the first call takes beyond the next ones, all modules but the compiler's being loaded."""
    call = _caller(problem, slice(0, 16))
    call(backend="numpy")
    seconds = [_seconds(call) for _ in range(4)]
    return seconds[0] - min(seconds[1:])


def one_pixel(problem, n_calls):
    """Seconds per call for one pixel: median and fastest."""
    import sunpy_demreg as demreg

    invert = _caller(problem, slice(0, 1))
    counts, sigma = problem["intensity"][:, 0].copy(), problem["sigma"][:, 0].copy()
    tables = problem["response"].T, np.log10(problem["temperature"]), problem["edges"]
    calls = {
        "invert": lambda: invert(workers=1),
        "dn2dem_pos": lambda: demreg.dn2dem_pos(counts, sigma, *tables, workers=1),
        "engine": _engine(problem, slice(0, 1)),
    }
    answer = {}
    for name, call in calls.items():
        for _ in range(5):
            call()
        seconds = [_seconds(call) for _ in range(n_calls)]
        answer[name] = {"median": float(np.median(seconds)), "fastest": min(seconds)}
    return answer


def memory(problem, copies, backend):
    """
    Bytes that a call needs beyond its input and its output, at the peak.

    Of what Python and NumPy allocate: what a process has resident also tells of pages that the system took back.
    """
    import tracemalloc

    many = problem | {name: np.tile(problem[name], copies) for name in ("intensity", "sigma")}
    _caller(problem, slice(0, 2000))(backend=backend)  # modules, threads
    call = _engine(many, slice(None), backend=backend, workers=available_cores())
    tracemalloc.start()
    solution = call()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    n_output = sum(a.nbytes for a in solution if a is not None)
    n_pixels = many["intensity"].shape[1]
    return {"n_pixels": n_pixels, "output_bytes": n_output, "beyond_bytes": max(peak - n_output, 0)}


def peak_memory():
    """Most bytes that this process ever had resident."""
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _caller(problem, pixels):
    """`invert` of some pixels, as a function of its options."""
    import astropy.units as u

    import sunpy_demreg as demreg

    unit = u.DN / u.pix / u.s
    response = demreg.TemperatureResponse.from_arrays(
        problem["channels"], problem["temperature"] * u.K, problem["response"] * unit * u.cm**5
    )
    intensity, sigma = (problem[name][:, pixels] * unit for name in ("intensity", "sigma"))
    edges = problem["edges"] * u.K
    return lambda **options: demreg.invert(intensity, response, edges, uncertainty=sigma, **options)


def _engine(problem, pixels, backend="cpu", workers=1, **options):
    """The numerics alone, without units, checks and cubes."""
    from sunpy_demreg import _execute
    from sunpy_demreg._regularization import Options

    log_edges = np.log10(problem["edges"])
    intensity, sigma = (np.ascontiguousarray(problem[name][:, pixels]) for name in ("intensity", "sigma"))
    arguments = (
        intensity,
        sigma,
        np.zeros(intensity.shape[1], dtype=np.int32),
        problem["matrix"],
        np.diff(log_edges),
        0.5 * (log_edges[1:] + log_edges[:-1]),
        Options(**options),
    )
    return lambda: _execute.run(*arguments, backend=backend, workers=workers, keep_no_signal=True)
