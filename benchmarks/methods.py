"""The methods beside each other, and utu: real pixels, 36 bins of 0.05 dex, all cores and one."""

from importlib.util import find_spec

from benchmarks.checks import check_chi_squared, check_same
from benchmarks.problems import COMMON, kept_pixels, n_pixels_of_sample, problem
from benchmarks.processes import Processes
from benchmarks.timing import alternate, chi_squared_quantiles, times_per_pixel
from sunpy_demreg._common.hardware import available_cores

__all__ = ["CASES", "PEER", "measure"]

_LOG_NORMAL = {"method": "lognormal"}
_ERRORS = {"outputs": ("dem", "dem_uncertainty", "chi_squared")}
PEER = "utu (other method): DEM, chi-squared"
#: By what they give: the options of `sunpy_demreg.invert`, or of utu.
CASES = {
    "log-normal: DEM, error of the posterior, chi-squared": _LOG_NORMAL | _ERRORS,
    "log-normal, χ² = 1: the same": _LOG_NORMAL | _ERRORS | {"parameter_choice": "discrepancy"},
    "log-normal: all outputs": _LOG_NORMAL,
    "demreg: DEM, error, chi-squared": _ERRORS,
    "demreg: all outputs": {},
    "demreg, constrain: all outputs": {"positivity": "constrain"},
    PEER: {},
}
_BINS = 36


def measure(setting):
    """
    Time all cases in turn.

    Parameters
    ----------
    setting : `benchmarks.running.Setting`

    Returns
    -------
    list of dict
        One row per number of cores and case, with the time of the processor beside that of the clock.
    """
    n_pixels = COMMON if setting.is_quick else n_pixels_of_sample()
    n_slow = COMMON if setting.is_quick else 8000
    names = [name for name in CASES if name != PEER or find_spec("utu")]
    rows = []
    with Processes() as processes:
        truths = {name: _truth(processes, name) for name in names if name != PEER}
        for n_cores in (1,) if setting.is_quick else sorted({1, min(2, available_cores())}):
            setting.say(f"methods: cores: {n_cores}")
            sizes = {name: n_slow if name == PEER else n_pixels for name in names}
            runs = {name: _run(processes.of(name, n_cores), name, sizes[name]) for name in names}
            alternate(runs, 1)  # loads and compiles
            replies = alternate(runs, setting.repeats)
            rows += [_row(name, n_cores, sizes[name], of, truths.get(name)) for name, of in replies.items()]
    return _with_ratios(rows)


def _truth(processes, name):
    """Of the common pixels, on plain arrays."""
    options = CASES[name] | {"backend": "numpy"}
    return processes.of("truth", 1).run("sunpy_demreg", problem(COMMON, _BINS), options, kept_pixels(COMMON))["kept"]


def _run(process, name, n_pixels):
    code, given, kept = "utu" if name == PEER else "sunpy_demreg", problem(n_pixels, _BINS), kept_pixels(n_pixels)
    return lambda: process.run(code, given, CASES[name], kept)


def _row(name, n_cores, n_pixels, replies, truth):
    difference = None
    for reply in replies if truth is not None else ():
        what = f"{name}, cores: {n_cores}"
        check_chi_squared(what, reply)
        difference = check_same(what, reply["kept"], truth)
    times = {
        f"{prefix}{key}": value
        for prefix, of in (("", "seconds"), ("processor_", "processor_seconds"))
        for key, value in times_per_pixel([reply[of] for reply in replies], n_pixels).items()
    }
    return {
        "case": name,
        "bins": _BINS,
        "cores": n_cores,
        "pixels": n_pixels,
        **times,
        **chi_squared_quantiles(replies[-1]["chi_squared"]),
        "largest_difference": difference,
    }


def _with_ratios(rows):
    """With the times of utu in units of each row's, by the clock and by the processor."""
    peers = {row["cores"]: row for row in rows if row["case"] == PEER}
    for row in rows:
        peer = peers.get(row["cores"])
        for key in ("", "processor_"):
            of = f"{key}us_per_pixel"
            row[f"{key}times_utu"] = peer[of] / row[of] if peer else None
    return rows
