"""
Measure the inversion on real data, next to demregpy in the same run, and check the answer.

    python benchmarks/bench_inversion.py [--repeats 3]

Two measurements:

* the bundled sample (128 x 128 pixels, 36 bins, all outputs) against demregpy 1.0, alternating, so that what
  else the machine does hits both; with ``parameter_choice="grid"`` the answers must agree to 1e-9;
* the full-disk synoptic maps of 1024 x 1024 pixels that the demregpy wheel carries, from the files to the
  result, in a process of its own, whose peak memory is reported; every pixel must be solved, or masked with a
  reason, in less than 3 minutes and 3 GB.

Prints the tables, and writes them to ``docs/_tables/inversion.rst`` and ``benchmarks/results/inversion.json``.
"""

import argparse
import contextlib
import io
import json
import os
import platform
import resource
import subprocess
import sys
import time
import warnings
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import numpy as np

import astropy.units as u

import sunpy_demreg as demreg

ROOT = Path(__file__).parent.parent
EDGES = 10 ** np.arange(5.6, 7.41, 0.05) * u.K


def main():
    parser = argparse.ArgumentParser(description="Measure the inversion next to demregpy, and check the answer.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--full-disk", action="store_true", help=argparse.SUPPRESS)  # the process of its own
    options = parser.parse_args()
    if options.full_disk:
        print(json.dumps(full_disk()))
        return
    report = {
        "environment": environment(),
        "sample": sample(options.repeats),
        "full_disk": json.loads(
            subprocess.run(
                [sys.executable, __file__, "--full-disk"], check=True, stdout=subprocess.PIPE, text=True
            ).stdout
        ),
    }
    text = table(report)
    print(text)
    for path, content in (
        (ROOT / "docs" / "_tables" / "inversion.rst", text),
        (ROOT / "benchmarks" / "results" / "inversion.json", json.dumps(report, indent=2) + "\n"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


def environment():
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    cpu = next((line.split(":")[1].strip() for line in cpuinfo if line.startswith("model name")), "unknown")
    names = ("sunpy-demreg", "demregpy", "numpy", "llvmlite", "astropy", "sunpy", "ndcube", "aiapy")
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "processor": cpu,
        "cores": len(os.sched_getaffinity(0)),
        **{name: version(name) for name in names},
    }


def sample(repeats):
    from demregpy import dn2dem

    cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=16)
    response = demreg.TemperatureResponse.from_aia(cube)
    good = np.all(cube.data > 0, axis=0)
    intensity, sigma = cube.data[:, good], cube.uncertainty.array[:, good]
    log_t = np.log10(response.temperature.to_value(u.K))

    def ours(**options):
        unit = cube.unit
        return demreg.invert(intensity * unit, response, EDGES, uncertainty=sigma * unit, **options)

    def theirs():
        with contextlib.redirect_stderr(io.StringIO()):
            return dn2dem(intensity.T, sigma.T, response.response.value.T, log_t, EDGES.value, nmu=42)

    runs = {
        "demregpy 1.0": theirs,
        'parameter_choice="grid"': lambda: ours(parameter_choice="grid"),
        "defaults": ours,
        "workers=1": lambda: ours(workers=1),
        "positivity=None": lambda: ours(positivity=None),
        'positivity="constrain"': lambda: ours(positivity="constrain"),
        'backend="numpy"': lambda: ours(backend="numpy"),
        'backend="numpy", parameter_choice="grid"': lambda: ours(backend="numpy", parameter_choice="grid"),
    }
    for name in list(runs)[1:]:
        runs[name]()  # compiles
    seconds = {name: [] for name in runs}
    answers = {}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            answers[name] = run()
            seconds[name].append(time.perf_counter() - start)
    peer, *_ = answers.values()
    difference = {
        name: max(largest_difference(answer, peer).values()) for name, answer in answers.items() if "grid" in name
    }
    if not max(difference.values()) < 1e-9:
        raise SystemExit(f"the answers differ: {difference}")
    chi_squared = {
        name: np.percentile(answer[3] if isinstance(answer, tuple) else answer["chi_squared"].data, (50, 95)).tolist()
        for name, answer in answers.items()
    }
    n_pixels = int(good.sum())
    return {
        "n_pixels": n_pixels,
        "n_bins": EDGES.size - 1,
        "repeats": repeats,
        "seconds": seconds,
        "microseconds_per_pixel": {name: 1e6 * float(np.median(s)) / n_pixels for name, s in seconds.items()},
        "chi_squared_median_and_95th_percentile": chi_squared,
        "largest_relative_difference": difference,
    }


def largest_difference(result, peer):
    """Over all pixels, relative to each pixel's peak, for the five outputs of demregpy."""
    to_elogt = 0.5 / (2 * np.sqrt(2 * np.log(2)))
    ours = {
        "dem": result["dem"].data.T,
        "edem": result["dem"].uncertainty.array.T,
        "elogt": result["temperature_resolution"].data.T * to_elogt,
        "chisq": result["chi_squared"].data[:, None],
        "dn_reg": result["predicted_intensity"].data.T,
    }
    return {
        name: float(
            np.max(np.abs(array - other.reshape(array.shape)).max(1) / np.abs(other.reshape(array.shape)).max(1))
        )
        for (name, array), other in zip(ours.items(), peer, strict=True)
    }


def full_disk():
    folder = files("demregpy") / "tests" / "data" / "aia"
    warnings.simplefilter("ignore")  # the wheel's headers hold keywords that astropy complains of
    seconds = {}

    def timed(name, call):
        start = time.perf_counter()
        answer = call()
        seconds[name] = time.perf_counter() - start
        return answer

    import sunpy.map

    maps = timed("read", lambda: sunpy.map.Map(str(folder / "*.fits")))
    cube = timed("prepare", lambda: demreg.prepare(maps, n_sample=16))
    response = timed("from_aia", lambda: demreg.TemperatureResponse.from_aia(cube))
    result = timed("invert", lambda: demreg.invert(cube, response, EDGES))
    status = result["status"].data
    unsolved = (status & int(demreg.Status.UNSOLVED)) != 0
    finite = np.isfinite(result["dem"].data).all(axis=0) & np.isfinite(result["chi_squared"].data)
    if not np.array_equal(finite, ~unsolved):
        raise SystemExit("a pixel is neither solved nor masked with a reason")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if sum(seconds.values()) > 180 or peak * 2**30 > 3e9:
        raise SystemExit(f"took {seconds} and {peak:.2f} GiB, more than 3 minutes or 3 GB")
    return {
        "n_pixels": int(status.size),
        "n_solved": int((~unsolved).sum()),
        "status": {bit.name: int(np.count_nonzero(status & bit)) for bit in demreg.Status if np.any(status & bit)},
        "chi_squared_median_and_95th_percentile": np.percentile(
            result["chi_squared"].data[~unsolved], (50, 95)
        ).tolist(),
        "seconds": seconds,
        "peak_memory_gib": peak,
    }


def table(report):
    env, few, full = report["environment"], report["sample"], report["full_disk"]
    speed = few["microseconds_per_pixel"]
    peer = next(iter(speed.values()))
    rows = [
        (
            name,
            f"{time_:.3g}",
            f"{peer / time_:.3g}",
            *(f"{value:.2f}" for value in few["chi_squared_median_and_95th_percentile"][name]),
        )
        for name, time_ in speed.items()
    ]
    head = ("code", "µs per pixel", "times demregpy", "chi-squared, median", "95th percentile")
    worst = max(few["largest_relative_difference"].values())
    total = sum(full["seconds"].values())
    steps = ", ".join(f"{name} {s:.1f} s" for name, s in full["seconds"].items())
    reasons = ", ".join(f"{name} {count}" for name, count in full["status"].items())
    median, high = full["chi_squared_median_and_95th_percentile"]
    return "\n".join(
        [
            f".. Written by benchmarks/bench_inversion.py on {env['date']}: do not edit.",
            "",
            f"The bundled sample, {few['n_pixels']} pixels with counts in all channels, {few['n_bins']} bins, all "
            f"outputs, median of {few['repeats']} alternating runs (Python {env['python']}, NumPy {env['numpy']}, "
            f"{env['processor']}, {env['cores']} cores):",
            "",
            ".. list-table::",
            "   :header-rows: 1",
            "",
            *(f"   {'*' if i == 0 else ' '} - {cell}" for row in (head, *rows) for i, cell in enumerate(row)),
            "",
            "All but the first row are sunpy_demreg. Largest difference from demregpy of the same rule (grid), "
            "relative to each pixel's peak, over all pixels, the five outputs and both engines: "
            f"{worst:.1e}.",
            "",
            f"The full-disk synoptic maps of 2014-01-01, {full['n_pixels']} pixels, {few['n_bins']} bins, from the "
            f"files to the result: {total:.0f} s ({steps}), {full['peak_memory_gib']:.2f} GiB resident at the peak. "
            f"{full['n_solved']} pixels solved, the others masked with a reason; status: {reasons}. Chi-squared of "
            f"the solved: median {median:.2f}, 95th percentile {high:.2f}.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
