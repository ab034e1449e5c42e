"""What one pixel takes, and what the first one takes."""

import tempfile
import time

import numpy as np

__all__ = ["first_call", "first_calls", "single_pixel"]


def single_pixel(*, cores, seconds):
    """
    The time of one pixel when all is compiled: of the arrays alone, and through `sunpy_demreg.invert`.

    Parameters
    ----------
    cores : int
    seconds : float
        How long to try each, again and again.

    Returns
    -------
    list of dict
    """
    import sunpy_demreg as demreg
    from sunpy_demreg import _execute
    from sunpy_demreg._bench._timing import many_times
    from sunpy_demreg._bench._workload import COARSE, edges, load_workload
    from sunpy_demreg._regularization import Options

    workload = load_workload()
    problem, (intensity, sigma) = workload.problem(COARSE), workload.pixels(1)
    quantity, error = workload.quantities(1)
    status, bins = np.zeros(1, dtype=np.int32), edges(COARSE)
    calls = {
        "_execute.run": lambda: _execute.run(intensity, sigma, status, *problem, Options(), workers=1),
        "invert": lambda: demreg.invert(quantity, workload.response, bins, uncertainty=error, workers=1),
    }
    rows = []
    for call in calls.values():
        call()  # compiles
    # In turns, in short stretches: what else the machine does hits both.
    times = {name: [] for name in calls}
    for _ in range(10):
        for name, call in calls.items():
            times[name] += many_times(call, seconds / 10)
    for name, found in times.items():
        quarter, half, three, high = (1e6 * np.percentile(found, (25, 50, 75, 95))).tolist()
        rows.append(
            {
                "part": "latency",
                "code": name,
                "cores": cores,
                "n_bins": COARSE,
                "n_pixels": 1,
                "n_runs": len(found),
                "us_per_pixel": half,
                "us_quartile_1": quarter,
                "us_quartile_3": three,
                "us_95": high,
                "us_least": 1e6 * min(found),
            }
        )
    return rows


def first_call(*, cores, n_bins):
    """
    The time of the first call of the compiled engine in this process, and of the second; of arrays alone.

    The problem is synthetic, for nothing but the numerics is to be loaded.
    """
    from sunpy_demreg import _execute
    from sunpy_demreg._regularization import Options

    logt = np.linspace(5.6, 7.4, n_bins)
    K = np.exp(-0.5 * ((logt - np.linspace(5.8, 7.2, 6)[:, None]) / 0.15) ** 2) + 0.02
    dlogt = np.full(n_bins, logt[1] - logt[0])
    intensity = K.sum(axis=1, keepdims=True)
    arguments = intensity, 0.05 * intensity, np.zeros(1, dtype=np.int32), K, dlogt, logt, Options()
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        _execute.run(*arguments, workers=1)
        seconds.append(time.perf_counter() - start)
    return seconds


def first_calls(cores, n_repeats):
    """
    The first call in a fresh process: with an empty cache, which means to compile, and with a full one.

    Returns
    -------
    list of dict
    """
    from sunpy_demreg._bench._process import run_task
    from sunpy_demreg._bench._workload import COARSE

    found = {"nothing in the cache": [], "from the cache": []}
    for _ in range(n_repeats):
        with tempfile.TemporaryDirectory(prefix="sunpy-demreg-") as folder:
            for name in found:
                where = {"SUNPY_DEMREG_CACHE": folder}
                found[name].append(run_task("first_call", cores, where, n_bins=COARSE)[0])
    return [
        {
            "part": "first_call",
            "code": name,
            "cores": cores,
            "n_bins": COARSE,
            "n_pixels": 1,
            "n_runs": n_repeats,
            "seconds": float(np.median(seconds)),
            "seconds_least": min(seconds),
            "seconds_most": max(seconds),
        }
        for name, seconds in found.items()
    ]
