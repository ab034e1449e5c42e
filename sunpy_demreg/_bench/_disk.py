"""The full disk of the Sun: from files to the result, and the memory that the inversion takes beyond its answer."""

import ctypes
import gc
import time
import tracemalloc
from importlib.resources import files
from pathlib import Path

import numpy as np

import sunpy_demreg as demreg
from sunpy_demreg._bench._workload import edges

__all__ = ["full_disk", "memory"]

_N_BINS = 36
_STATUS = Path("/proc/self/status")


def full_disk(*, cores):
    """
    Read, prepare and invert the 1024 x 1024 synoptic maps that demregpy carries, in a process of its own.

    Returns
    -------
    dict
    """
    import sunpy.map

    seconds = {}

    def timed(name, call):
        start = time.perf_counter()
        answer = call()
        seconds[name] = time.perf_counter() - start
        return answer

    maps = timed("read", lambda: sunpy.map.Map(_files()))
    cube = timed("prepare", lambda: demreg.prepare(maps, n_sample=16))
    response = timed("from_aia", lambda: demreg.TemperatureResponse.from_aia(cube))
    result = timed("invert", lambda: demreg.invert(cube, response, edges(_N_BINS)))
    status = result["status"].data
    unsolved = (status & int(demreg.Status.UNSOLVED)) != 0
    finite = np.isfinite(result["dem"].data).all(axis=0) & np.isfinite(result["chi_squared"].data)
    if not np.array_equal(finite, ~unsolved):
        raise RuntimeError("a pixel of the full disk is neither solved nor masked with a reason")
    median, high = np.percentile(result["chi_squared"].data[~unsolved], (50, 95)).tolist()
    return {
        "part": "full_disk",
        "cores": cores,
        "n_bins": _N_BINS,
        "n_pixels": int(status.size),
        "n_solved": int((~unsolved).sum()),
        "status": {bit.name: int(np.count_nonzero(status & bit)) for bit in demreg.Status if np.any(status & bit)},
        "chi2_median": median,
        "chi2_95": high,
        "steps": seconds,
        "seconds": sum(seconds.values()),
        "us_per_pixel": 1e6 * seconds["invert"] / status.size,
        "peak_gib": _peak() / 2**30,
    }


def memory(*, cores):
    """
    The memory that `sunpy_demreg.invert` takes on the full disk, beyond its arguments and what it returns.

    Measured twice: as the system sees it (pages in use at the peak, less before, less the answer), and as the sum of
    the arrays (traced by Python: exact, but blind to what is not Python's).

    Returns
    -------
    dict
    """
    cube = demreg.prepare(_files(), n_sample=16)
    response = demreg.TemperatureResponse.from_aia(cube)
    bins = edges(_N_BINS)
    demreg.invert(cube[:, 500:510, 500:510], response, bins)  # compiles, and loads what is loaded when first used
    resident = None
    _give_back()
    if _STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
        before = _field("VmRSS")
        result = demreg.invert(cube, response, bins)
        resident = _field("VmHWM") - before - _size(result)
        del result
    tracemalloc.start()
    result = demreg.invert(cube, response, bins)
    traced = tracemalloc.get_traced_memory()[1] - _size(result)
    tracemalloc.stop()
    return {
        "part": "memory",
        "cores": cores,
        "n_bins": _N_BINS,
        "n_pixels": int(result["status"].data.size),
        "answer_mb": _size(result) / 1e6,
        "arguments_mb": (cube.data.nbytes + cube.uncertainty.array.nbytes + cube.mask.nbytes) / 1e6,
        "resident_beyond_mb": None if resident is None else resident / 1e6,
        "traced_beyond_mb": traced / 1e6,
    }


def _files():
    folder = files("demregpy") / "tests" / "data" / "aia"
    return sorted(str(path) for path in Path(str(folder)).glob("*.fits"))


def _size(result):
    """Bytes of all arrays of a result."""
    arrays = []
    for cube in result.values():
        arrays += [cube.data, cube.mask, cube.uncertainty.array if cube.uncertainty is not None else None]
    return sum({a.ctypes.data: a.nbytes for a in arrays if a is not None}.values())


def _field(name):
    """Bytes, from what the system tells of this process."""
    lines = _STATUS.read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))


def _peak():
    """The most memory that this process has had, in bytes."""
    if _STATUS.exists():
        return _field("VmHWM")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS: in bytes


def _give_back():
    """Let the system have what is free, so that it is counted when it is used again."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):  # elsewhere than with glibc
        return
