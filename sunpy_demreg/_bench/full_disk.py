"""The full disk from the files to the result, in a process of its own: seconds, memory, and where each pixel ends."""

import time
import warnings
from importlib.resources import files

import numpy as np

from sunpy_demreg._bench.processes import Process, available_cores

__all__ = ["invert_full_disk", "measure"]

_MAX_SECONDS, _MAX_BYTES = 180, 3e9


def measure(setting):
    """
    Invert the synoptic maps of 1024 x 1024 pixels that the demregpy wheel carries, by two rules of positivity.

    Parameters
    ----------
    setting : `sunpy_demreg._bench.running.Setting`
        A quick run inverts the middle of the maps only.

    Returns
    -------
    dict
    """
    setting.say("full-disk: from the files to the result")
    with Process(available_cores()) as process:
        return process("sunpy_demreg._bench.full_disk:invert_full_disk", size=256 if setting.is_quick else 1024)


def invert_full_disk(size):
    """What `measure` says, of the size x size pixels in the middle."""
    import sunpy.map

    import astropy.units as u

    import sunpy_demreg as demreg
    from sunpy_demreg._bench.startup import peak_memory

    seconds = {}

    def timed(name, call):
        start = time.perf_counter()
        answer = call()
        seconds[name] = time.perf_counter() - start
        return answer

    edges = 10 ** np.arange(5.6, 7.41, 0.05) * u.K
    folder = files("demregpy") / "tests" / "data" / "aia"
    warnings.simplefilter("ignore")  # the wheel's headers hold keywords that astropy complains of
    maps = timed("read", lambda: sunpy.map.Map(str(folder / "*.fits")))
    cube = timed("prepare", lambda: demreg.prepare(maps, n_sample=16))
    response = timed("from_aia", lambda: demreg.TemperatureResponse.from_aia(cube))
    first = (1024 - size) // 2
    if size < 1024:
        cube = cube[:, first : first + size, first : first + size]
    rules = {}
    for rule in ("relax", "constrain"):
        # Not to count the second or two of compiling, once in the life of a machine.
        demreg.invert(cube[:, :1, :64], response, edges, positivity=rule)
        before = sum(seconds[name] for name in ("read", "prepare", "from_aia"))
        result = timed(rule, lambda rule=rule: demreg.invert(cube, response, edges, positivity=rule))
        rules[rule] = _outcome(result) | {"total_seconds": before + seconds[rule]}
        if rule == "relax":
            rules[rule]["peak_bytes"] = peak_memory()
        del result
    if rules["relax"]["total_seconds"] > _MAX_SECONDS or rules["relax"]["peak_bytes"] > _MAX_BYTES:
        raise RuntimeError(f"took {seconds} and {rules['relax']['peak_bytes']} bytes: more than 3 minutes or 3 GB")
    return {"n_pixels": size * size, "n_bins": edges.size - 1, "seconds": seconds, "rules": rules}


def _outcome(result):
    import sunpy_demreg as demreg
    from sunpy_demreg._bench.checks import WrongAnswer
    from sunpy_demreg._bench.timing import chi_squared_quantiles

    status, chi_squared = result["status"].data, result["chi_squared"].data
    unsolved = (status & int(demreg.Status.UNSOLVED)) != 0
    finite = np.isfinite(result["dem"].data).all(axis=0) & np.isfinite(chi_squared)
    if not np.array_equal(finite, ~unsolved):
        raise WrongAnswer("full disk: a pixel is neither solved nor masked with a reason")
    return {
        "n_solved": int((~unsolved).sum()),
        "status": {bit.name: int(np.count_nonzero(status & bit)) for bit in demreg.Status if np.any(status & bit)},
        **chi_squared_quantiles(chi_squared[~unsolved]),
    }
