"""
Where the time of one pixel goes, stage by stage, against what is computed there and what the processor can do.

A stage is what an inversion takes longer than one that does without it. Times and operations are of the compiled
engine on one thread, over the same real pixels.
"""

import tempfile

import numpy as np

from sunpy_demreg._bench.problems import COMMON, n_pixels_of_sample, problem
from sunpy_demreg._bench.processes import Process
from sunpy_demreg._bench.startup import _caller, _engine, _seconds
from sunpy_demreg._bench.timing import alternate

__all__ = ["STAGES", "count", "measure", "seconds_of_plans"]

_FIRST = {"weighting": "uniform", "positivity": None, "outputs": ("dem", "chi_squared")}
_OWN = _FIRST | {"weighting": "self"}
_RELAXED = _OWN | {"positivity": "relax"}
_PREDICTED = (*_FIRST["outputs"], "predicted_intensity", "regularization_parameter")
_ERRORS = (*_PREDICTED, "dem_uncertainty")
_ALL = (*_ERRORS, "temperature_resolution")
#: What each stage adds to the one before: the options of the inversion up to there.
STAGES = {
    # Of a target that is met by no plasma at all, the search for λ ends at once.
    "one system, DEM, chi-squared": _FIRST | {"chi_squared_target": 1e12},
    "λ of that system": _FIRST,
    "weight from that DEM; a second system, λ": _OWN,
    "raising the target until positive": _RELAXED,
    "prediction": _RELAXED | {"outputs": _PREDICTED},
    "errors": _RELAXED | {"outputs": _ERRORS},
    "temperature resolution": _RELAXED | {"outputs": _ALL},
}
_CONSTRAINED = "constrained instead of relaxed"
_SEAM = "units, checks and cubes"
_DIVISIONS = ("divide", "square root")


def measure(setting):
    """
    Measure.

    Parameters
    ----------
    setting : `sunpy_demreg._bench.running.Setting`

    Returns
    -------
    dict
        ``limits``, operations per second of the processor; ``rows``, one per stage, with its nanoseconds and its
        operations per pixel, and the nanoseconds that these take at the limits; the last ones say what the whole
        takes, what ``positivity="constrain"`` takes more, and what `invert` takes beyond the engine.
    """
    n_pixels = COMMON if setting.is_quick else n_pixels_of_sample()
    given = problem(n_pixels, 41)
    names = list(STAGES)
    plans = STAGES if not setting.is_quick else {name: STAGES[name] for name in (names[0], names[-2], names[-1])}
    plans = plans | {_CONSTRAINED: STAGES[names[-1]] | {"positivity": "constrain"}}
    setting.say("profile: times")
    with Process(1) as process:
        here = "sunpy_demreg._bench.stages"
        seconds = process(f"{here}:seconds_of_plans", problem=given, plans=plans, repeats=2 * setting.repeats)
        limits = process("sunpy_demreg._bench.limits:arithmetic_limits")
    setting.say("profile: operations")
    with (
        tempfile.TemporaryDirectory() as folder,
        Process(1, variables={"SUNPY_DEMREG_CACHE": folder}) as process,
    ):
        counts = process(f"{here}:count", problem=given, plans=plans)
    return {"n_pixels": n_pixels, "n_bins": 41, "limits": limits, "rows": _rows(seconds, counts, limits, n_pixels)}


def seconds_of_plans(problem, plans, repeats):
    """Seconds of each run of the engine by each plan, in turn; and of `invert`, by the last but one of them."""
    runs = {name: _engine(problem, slice(None), **options) for name, options in plans.items()}
    invert = _caller(problem, slice(None))
    runs[_SEAM] = lambda: invert(workers=1)
    for run in runs.values():
        run()
    return alternate({name: lambda run=run: _seconds(run) for name, run in runs.items()}, repeats)


def count(problem, plans):
    """Operations per pixel of each plan."""
    from sunpy_demreg._bench.operations import OperationCounter

    n_pixels, counts = problem["intensity"].shape[1], {}
    with OperationCounter() as counter:
        for name, options in plans.items():
            total = counter.count(_engine(problem, slice(None), **options))
            counts[name] = {kind: number / n_pixels for kind, number in total.items()}
    return counts


def _rows(seconds, counts, limits, n_pixels):
    time = {name: 1e9 * float(np.median(of)) / n_pixels for name, of in seconds.items()}
    stages = [name for name in counts if name != _CONSTRAINED]
    whole = stages[-1]
    rows, before = [], None
    for name in stages:
        rows.append(_row(name, time, counts, before, limits))
        before = name
    rows.append(_row("the engine", time, counts, None, limits, of=whole))
    rows.append(_row(_CONSTRAINED, time, counts, whole, limits))
    # What is no arithmetic on pixels has no limit.
    rows.append({"stage": _SEAM, "ns_per_pixel": time[_SEAM] - time[whole]})
    return rows


def _row(name, time, counts, before, limits, of=None):
    """What a plan takes beyond the one before."""
    of = of or name
    operations = {
        kind: counts[of].get(kind, 0.0) - (counts[before].get(kind, 0.0) if before else 0.0)
        for kind in sorted({kind for each in counts.values() for kind in each})
    }
    return {
        "stage": name,
        "ns_per_pixel": time[of] - (time[before] if before else 0.0),
        "ns_at_limit": 1e9 * _seconds_at_limit(operations, limits),
        "operations": operations,
    }


def _seconds_at_limit(operations, limits):
    """
    The least time that the arithmetic can take.

    If every sum were fused with a product, and comparing, choosing, loading and storing cost nothing. Divisions and
    square roots have a unit of their own, which works beside the others.
    """

    def fused(prefix):
        pair = [operations.get(f"{prefix}{kind}", 0.0) for kind in ("add", "multiply")]
        single = sum(operations.get(f"{prefix}{kind}", 0.0) for kind in ("multiply-add",))
        return (sum(pair) / 2 + single) / limits[f"{prefix}multiply-add"]

    # Of divisions in single precision there is no measurement: they cost no more than those in double precision.
    divisions = sum(operations.get(kind, 0.0) / limits[kind] for kind in _DIVISIONS)
    return max(fused("") + fused("single "), divisions)
