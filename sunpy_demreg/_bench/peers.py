"""Ours, per engine, beside demregpy and utu: real pixels, by the number of bins and of cores."""

from importlib.util import find_spec
from typing import NamedTuple

from sunpy_demreg._bench.checks import check_chi_squared, check_same
from sunpy_demreg._bench.problems import COMMON, kept_pixels, n_pixels_of_sample, problem
from sunpy_demreg._bench.processes import Processes, available_cores
from sunpy_demreg._bench.timing import alternate, chi_squared_quantiles, times_per_pixel

__all__ = ["CASES", "DEM_ONLY", "measure"]

DEM_ONLY = ("dem", "chi_squared")
# Of whole hundreds for both processes of demregpy; then all.
_SIZES = (400, 1000, 2000, 4000, 8000, 16000, 32000, 64000)
_SLOW = 3  # seconds, beyond which a run is repeated three times only


class Case(NamedTuple):
    """A code with its options."""

    code: str
    options: dict
    gives: str  # "all": DEM, its error, its resolution, chi-squared, prediction; or "DEM": DEM and chi-squared


CASES = {
    "demregpy": Case("demregpy", {}, "all"),
    "utu": Case("utu", {}, "DEM"),
    "cpu": Case("sunpy_demreg", {}, "all"),
    "cpu, grid": Case("sunpy_demreg", {"parameter_choice": "grid"}, "all"),
    "cpu, DEM only": Case("sunpy_demreg", {"outputs": DEM_ONLY}, "DEM"),
    "numpy": Case("sunpy_demreg", {"backend": "numpy"}, "all"),
    "numpy, DEM only": Case("sunpy_demreg", {"backend": "numpy", "outputs": DEM_ONLY}, "DEM"),
}


def measure(setting):
    """
    Time all cases.

    Parameters
    ----------
    setting : `sunpy_demreg._bench.running.Setting`

    Returns
    -------
    list of dict
        One row per number of bins, number of cores and case.
    """
    # demregpy gives the answers to check by; utu may be missing.
    cases = {name: case for name, case in CASES.items() if case.code != "utu" or find_spec("utu")}
    bins, budget = ((41,), 0.05) if setting.is_quick else ((21, 41, 81, 200, 400), 1.5)
    cores = [1] if setting.is_quick else [n for n in (1, 2) if n <= available_cores()]
    rows = []
    with Processes() as processes:
        for n_bins in bins:
            for n_cores in cores:
                setting.say(f"peers: {n_bins} bins, cores: {n_cores}")
                rows += _measure(processes, cases, n_bins, n_cores, setting.repeats, budget)
    return rows


def _measure(processes, cases, n_bins, n_cores, repeats, budget):
    sizes, runs, turns = {}, {}, {}
    for name, case in cases.items():
        process = processes.of(name, n_cores)
        few = problem(COMMON, n_bins)
        seconds = process.run(case.code, few, case.options)["seconds"]
        if seconds < _SLOW:  # the first run loads and compiles
            seconds = process.run(case.code, few, case.options)["seconds"]
        turns[name] = repeats if seconds < _SLOW else min(repeats, 3)
        sizes[name] = _largest_size(process, case, n_bins, seconds, budget)
        runs[name] = _run(process, case, problem(sizes[name], n_bins))
    replies = alternate(runs, turns)
    differences = _check(processes, replies, n_bins, n_cores)
    times = {name: times_per_pixel([reply["seconds"] for reply in of], sizes[name]) for name, of in replies.items()}
    return [
        {
            "case": name,
            "gives": cases[name].gives,
            "bins": n_bins,
            "cores": n_cores,
            "pixels": sizes[name],
            **times[name],
            **{f"times_{peer}": _ratio(times, peer, name) for peer in ("demregpy", "utu")},
            "bytes_per_pixel": of[-1]["n_bytes"] / sizes[name],
            **chi_squared_quantiles(of[-1]["chi_squared"]),
            "largest_difference": differences.get(name),
        }
        for name, of in replies.items()
    ]


def _largest_size(process, case, n_bins, seconds, budget):
    """How many pixels a run of so many seconds has time for; step by step, since few pixels cost more each."""
    size = COMMON
    for more in (*_SIZES, n_pixels_of_sample()):
        if seconds * more > budget * size:
            break
        size, seconds = more, process.run(case.code, problem(more, n_bins), case.options)["seconds"]
    return size


def _run(process, case, problem_):
    kept = kept_pixels(problem_["intensity"].shape[1])
    return lambda: process.run(case.code, problem_, case.options, kept)


def _ratio(times, peer, name):
    return times[peer]["us_per_pixel"] / times[name]["us_per_pixel"] if peer in times else None


def _check(processes, replies, n_bins, n_cores):
    """
    Hold the answers of each round, in the common pixels, to others; the largest differences.

    Those of the rule of demregpy to demregpy's, of both engines; the compiled ones to those of plain arrays; those
    without the other outputs to those with them.
    """
    where = f"{n_bins} bins, cores: {n_cores}"
    truth = {"cpu, grid": "demregpy", "cpu": "numpy", "cpu, DEM only": "cpu", "numpy, DEM only": "numpy"}
    for name, of in replies.items():
        for reply in of if name != "utu" else ():
            check_chi_squared(f"{name}, {where}", reply)
    differences = {
        name: max(
            check_same(f"{name} and {other}, {where}", reply["kept"], replies[other][0]["kept"])
            for reply in replies[name]
        )
        for name, other in truth.items()
    }
    grid = {"backend": "numpy", "parameter_choice": "grid"}
    reply = processes.of("numpy", n_cores).run("sunpy_demreg", problem(COMMON, n_bins), grid, kept_pixels(COMMON))
    name = f"numpy, grid, and demregpy, {where}"
    differences["numpy"] = check_same(name, reply["kept"], replies["demregpy"][0]["kept"])
    return differences
