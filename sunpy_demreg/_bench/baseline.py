"""Two versions of ours side by side: the other one in a checkout, or in the folder that it is installed in."""

from pathlib import Path

from sunpy_demreg._bench.checks import check_chi_squared, check_same, largest_difference
from sunpy_demreg._bench.peers import DEM_ONLY
from sunpy_demreg._bench.problems import COMMON, kept_pixels, n_pixels_of_sample, problem
from sunpy_demreg._bench.processes import HERE, Processes, available_cores
from sunpy_demreg._bench.timing import alternate, times_per_pixel

__all__ = ["CASES", "measure"]

CASES = {
    "relax": {},
    "relax, DEM only": {"outputs": DEM_ONLY},
    "constrain": {"positivity": "constrain"},
    "no positivity": {"positivity": None},
    "grid": {"parameter_choice": "grid"},
    "numpy": {"backend": "numpy"},
}


def measure(setting):
    """
    Time both in turn.

    The answers of this version are held to its plain arrays; how much those of the other one differ is reported, since
    a method may change.

    Parameters
    ----------
    setting : `sunpy_demreg._bench.running.Setting`

    Returns
    -------
    dict
        ``versions``, and ``rows``: one per number of bins and case.

    Raises
    ------
    ValueError
        If it is not the version in that folder that Python imports.
    """
    folder = setting.baseline.resolve()
    n_cores = min(2, available_cores())
    rows = []
    with Processes({"this": HERE, "baseline": folder}) as processes:
        both = {name: processes.of(name, n_cores) for name in ("this", "baseline")}
        versions = {name: process("about", module="sunpy_demreg") for name, process in both.items()}
        for name, where in (("this", HERE), ("baseline", folder)):
            found = Path(versions[name][0]).resolve().parent.parent
            if found != where:
                raise ValueError(f"`--baseline`: sunpy_demreg of {where} was asked for, but {found} was imported")
        for n_bins in (41,) if setting.is_quick else (41, 200):
            for name, options in CASES.items():
                setting.say(f"baseline: {n_bins} bins, {name}")
                rows.append(_measure(both, name, options, n_bins, setting))
    return {"versions": {name: version for name, (_, version) in versions.items()}, "rows": rows}


def _measure(both, name, options, n_bins, setting):
    n_pixels = COMMON if setting.is_quick or "backend" in options else n_pixels_of_sample()
    given, kept = problem(n_pixels, n_bins), kept_pixels(n_pixels)

    def run(process):
        return lambda: process.run("sunpy_demreg", given, options, kept)

    runs = {of: run(process) for of, process in both.items()}
    runs["this"]()  # loads and compiles
    try:
        runs["baseline"]()
    except RuntimeError as err:  # it may be older than an option
        setting.say(f"baseline: cannot do it: {str(err).splitlines()[-1]}")
        return {"case": name, "bins": n_bins}
    replies = alternate(runs, setting.repeats)
    what = f"baseline, {name}, {n_bins} bins"
    truth = both["this"].run("sunpy_demreg", problem(COMMON, n_bins), options | {"backend": "numpy"}, range(COMMON))
    for reply in replies["this"]:
        check_chi_squared(what, reply)
        check_same(what, reply["kept"], truth["kept"])
    times = {of: times_per_pixel([reply["seconds"] for reply in each], n_pixels) for of, each in replies.items()}
    ratios = [b["seconds"] / a["seconds"] for a, b in zip(replies["this"], replies["baseline"], strict=True)]
    return {
        "case": name,
        "bins": n_bins,
        "pixels": n_pixels,
        "cores": both["this"].n_cores,
        **{f"{of}_{key}": value for of, each in times.items() for key, value in each.items()},
        "times_baseline": times["baseline"]["us_per_pixel"] / times["this"]["us_per_pixel"],
        "times_least": min(ratios),
        "times_most": max(ratios),
        "largest_difference": largest_difference(replies["this"][-1]["kept"], replies["baseline"][-1]["kept"]),
    }
