"""What pixels cost that are solved with care: faint ones and spikes in real images, and the worst of random faults."""

import time
from functools import partial

import numpy as np

from benchmarks.checks import WrongAnswer, check_same
from benchmarks.problems import COMMON, faint
from benchmarks.processes import Process
from benchmarks.startup import caller, engine
from benchmarks.timing import alternate, seconds_of
from sunpy_demreg._common.hardware import available_cores

__all__ = ["RULES", "measure", "seconds_of_cases", "seconds_of_faults"]

RULES = ("relax", "constrain")
_N_PIXELS, _N_FAULTS = 200_000, 100_000
_SPIKE, _SHARE = 100.0, 0.01
_IN_BLOCK = 2048  # pixels of an image that has one spike
_SHARES = (0.5, 0.99, 0.999, 1.0)


def measure(setting):
    """
    Measure.

    Parameters
    ----------
    setting : `benchmarks.running.Setting`

    Returns
    -------
    dict
        ``rows``: of "images", one per number of bins, cores and rule, with the microseconds per pixel of faint pixels,
        and of these with spikes; of "one spike", by rule, the microseconds that it takes more; of "faults", by rule,
        the distribution of the microseconds that pixels with random faults take.
    """
    n_pixels = COMMON if setting.is_quick else _N_PIXELS
    here, rows = "benchmarks.difficult", []
    for n_bins in (41,) if setting.is_quick else (36, 41):
        given = faint(n_pixels, n_bins)
        for n_cores in sorted({min(2, available_cores()), 1}, reverse=True):
            setting.say(f"difficult: {n_bins} bins, cores: {n_cores}")
            with Process(n_cores) as process:
                answer = process(f"{here}:seconds_of_cases", problem=given, n_cores=n_cores, repeats=setting.repeats)
            for rule in RULES:
                check_same(f"difficult, {rule}, {n_bins} bins", *answer["kept"][rule])
            if not answer["deviation"] <= 1e-9:
                raise WrongAnswer(f"difficult: chi-squared differs by {answer['deviation']:.2e} from that of the DEM")
            rows += _rows(answer, n_pixels, n_bins, n_cores)
    setting.say("difficult: one spike, random faults")
    with Process(1) as process:
        n_faults = 2 * COMMON if setting.is_quick else _N_FAULTS
        single = process(f"{here}:seconds_of_spike", problem=given, repeats=10 * setting.repeats)
        faults = process(f"{here}:seconds_of_faults", n_faults=n_faults)
    for what, of in (("one spike", single), ("faults", faults)):
        rows += [{"what": what, "rule": rule, "bins": 41} | numbers for rule, numbers in of.items()]
    return {"rows": rows}


def _rows(answer, n_pixels, n_bins, n_cores):
    seconds = {name: np.array(of) for name, of in answer["seconds"].items()}
    rows = []
    for rule in RULES:
        clean, spiky = seconds[rule, False], seconds[rule, True]
        rows.append(
            {
                "what": "images",
                "bins": n_bins,
                "cores": n_cores,
                "rule": rule,
                "pixels": n_pixels,
                "us_per_pixel": 1e6 * float(np.median(clean)) / n_pixels,
                "us_with_spikes": 1e6 * float(np.median(spiky)) / n_pixels,
                "times_relax": float(np.median(clean / seconds["relax", False])),
                "times_without_spikes": float(np.median(spiky / clean)),
                "difficult": answer["difficult"][rule, False],
                "difficult_with_spikes": answer["difficult"][rule, True],
                "unsolved_with_spikes": answer["unsolved"][rule],
            }
        )
    return rows


def with_spikes(problem, pixels, seed=0):
    """The problem with one channel of some pixels a hundred times as strong, and ten times as noisy."""
    channel = np.random.default_rng(seed).integers(len(problem["intensity"]), size=len(pixels))
    arrays = {name: problem[name].copy() for name in ("intensity", "sigma")}
    arrays["intensity"][channel, pixels] *= _SPIKE
    arrays["sigma"][channel, pixels] *= _SPIKE**0.5
    return problem | arrays


def seconds_of_cases(problem, n_cores, repeats):
    """Seconds of `invert` by each rule, without spikes and with, in turn; the share of difficult pixels; answers."""
    n_pixels = problem["intensity"].shape[1]
    spikes = np.random.default_rng(1).choice(n_pixels, max(round(_SHARE * n_pixels), 1), replace=False)
    problems = {False: problem, True: with_spikes(problem, spikes)}
    calls = {
        (rule, is_spiky): partial(caller(given, slice(None)), workers=n_cores, positivity=rule)
        for is_spiky, given in problems.items()
        for rule in RULES
    }
    results = {name: call() for name, call in calls.items()}
    kept, deviation, unsolved = {}, 0.0, {}
    for rule in RULES:
        given, result = problems[True], results[rule, True]
        # The spikes first: they are what may be difficult.
        some = np.r_[spikes[: COMMON // 2], np.arange(COMMON // 2)]
        truth = caller(given, some)(backend="numpy", positivity=rule)
        is_solved = ~result["chi_squared"].mask
        kept[rule] = [
            {key: each[key].data[..., which][..., is_solved[some]] for key in ("dem", "chi_squared")}
            for each, which in ((result, some), (truth, slice(None)))
        ]
        residual = (given["intensity"] - given["matrix"] @ result["dem"].data) / given["sigma"]
        expected = np.mean(residual**2, axis=0)[is_solved]
        off = np.abs(result["chi_squared"].data[is_solved] - expected) / np.maximum(expected, 1.0)
        deviation = max(deviation, float(off.max()))
        unsolved[rule] = float(np.mean(~is_solved))
    del results
    return {
        "seconds": alternate({name: partial(seconds_of, call) for name, call in calls.items()}, repeats),
        "difficult": {(rule, s): float(np.mean(_is_difficult(g, rule))) for s, g in problems.items() for rule in RULES},
        "kept": kept,
        "deviation": deviation,
        "unsolved": unsolved,
    }


def seconds_of_spike(problem, repeats):
    """
    Microseconds that one spike takes more, by rule: in an image, and as the only pixel.

    Of pixels that are difficult as spikes, if there are such, the median.
    """
    answer = {}
    for rule in RULES:
        n_pixels = problem["intensity"].shape[1]
        spiky = with_spikes(problem, np.arange(n_pixels))
        candidates = np.flatnonzero(_is_difficult(spiky, rule))
        lanes = np.r_[candidates, np.arange(n_pixels)][: min(20, n_pixels)]
        image, found = min(_IN_BLOCK, n_pixels), {"image": [], "alone": []}
        for lane in lanes:
            some = np.r_[lane, np.delete(np.arange(n_pixels), lane)[: image - 1]]
            for name, pixels in (("image", some), ("alone", some[:1])):
                calls = {
                    key: partial(seconds_of, engine(of, pixels, positivity=rule))
                    for key, of in (("with", _with_one(problem, spiky, lane)), ("without", problem))
                }
                for call in calls.values():
                    call()
                least = {key: min(seconds) for key, seconds in alternate(calls, repeats).items()}
                found[name].append(1e6 * (least["with"] - least["without"]))
        medians = {f"us_{name}": float(np.median(of)) for name, of in found.items()}
        most = {f"us_{name}_most": float(np.max(of)) for name, of in found.items()}
        answer[rule] = {"difficult": candidates.size, **medians, **most}
    return answer


def _with_one(problem, spiky, pixel):
    """The problem with one pixel of another."""
    arrays = {name: problem[name].copy() for name in ("intensity", "sigma")}
    for name, array in arrays.items():
        array[:, pixel] = spiky[name][:, pixel]
    return problem | arrays


def _is_difficult(problem, rule):
    """Which pixels the fast program leaves to the careful one."""
    from sunpy_demreg._engines.base.options import Options
    from sunpy_demreg._engines.base.problem import Bins, Problem

    of_bins = Bins.between(np.log10(problem["edges"]))
    return _marked(
        problem["intensity"], problem["sigma"], Problem(of_bins, problem["matrix"], Options(positivity=rule))
    )


def _marked(intensity, sigma, problem):
    from sunpy_demreg._engines.algorithm.invert import DIFFICULT

    program = _program(intensity, sigma, problem)
    with np.errstate(all="ignore"):
        program.run_program(slice(0, intensity.shape[1]))
    return program.status >= DIFFICULT


def _program(intensity, sigma, problem, *, is_careful=False):
    """The engine with one of its two programs."""
    from sunpy_demreg._engines import execute
    from sunpy_demreg._engines.base.problem import Pixels
    from sunpy_demreg._engines.cpu import engine as cpu

    status = np.zeros(intensity.shape[1], np.int32)
    into = execute._empty_solution(problem, status, "float64")
    program = cpu._tested(problem.plan(), is_careful=is_careful)
    made = cpu.Engine(problem, Pixels(intensity, sigma, status, None), into, 0, 1, program)
    made.status, made.n_lanes = into.status, program.n_lanes
    return made


def seconds_of_faults(n_faults):
    """
    The distribution of the time that pixels with random faults take, six channels and 41 bins.

    Each difficult pixel fills a register by itself: the time of that is what it takes as the only difficult one, and
    divided by the lanes, what it takes where all lanes are like it.
    """
    from sunpy_demreg._engines import execute
    from sunpy_demreg._engines.base.problem import Bins, Problem
    from sunpy_demreg._engines.base.status import is_unsolved
    from validation import faults

    K, *bins = faults.instrument(faults.INSTRUMENTS[0], 6, 41)
    answer = {}
    for name, rule in (("default", "relax"), ("constrain", "constrain")):
        given = faults.faulty_pixels(K, bins[1], n_faults, np.random.default_rng(0))
        problem = Problem(Bins(*bins), K, faults.OPTIONS[name])
        is_good = ~is_unsolved(execute.classify(*given))
        given = [np.ascontiguousarray(a[:, is_good]) for a in given]
        is_difficult = _marked(*given, problem)
        given = [np.ascontiguousarray(a[:, is_difficult]) for a in given]
        micro, n_lanes = _time_each(given, problem)
        solve = partial(execute.run, *given, np.zeros(micro.size, np.int32), problem, workers=1)
        solve()
        seconds = time.process_time()
        solution = solve()
        seconds = time.process_time() - seconds
        answer[rule] = {
            "pixels": n_faults,
            "difficult": int(micro.size),
            "solved": int(np.sum(~is_unsolved(solution.status))),
            "lanes": n_lanes,
            "us_together": 1e6 * seconds / max(micro.size, 1),
            **{f"us_{share:g}": float(np.quantile(micro, share)) for share in _SHARES},
        }
    return answer


def _time_each(given, problem):
    """Microseconds of a register that each pixel fills; the least of some runs, more of them for the slowest."""
    lanes = [np.empty((len(given[0]), 16)) for _ in given]
    n_lanes = _program(*lanes, problem, is_careful=True).n_lanes
    lanes = [np.empty((len(given[0]), n_lanes)) for _ in given]
    program, block = _program(*lanes, problem, is_careful=True), slice(0, n_lanes)

    def least(pixel, n_runs):
        for lane, array in zip(lanes, given, strict=True):
            lane[:] = array[:, pixel : pixel + 1]
        return min(seconds_of(lambda: program.run_program(block)) for _ in range(n_runs))

    with np.errstate(all="ignore"):
        seconds = np.array([least(pixel, 3) for pixel in range(given[0].shape[1])])
        for pixel in np.argsort(seconds)[-max(seconds.size // 200, 20) :]:
            seconds[pixel] = least(pixel, 15)
    return 1e6 * seconds, n_lanes
