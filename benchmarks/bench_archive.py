"""
Measure what an archive costs beside the inversion: the index of its files, the driver, many writers that are killed.

    python benchmarks/bench_archive.py [--steps 2000]

Synthetic steps of 64 x 64 pixels, of six RICE-compressed files each, with the headers of the bundled sample:

* the index, made and resumed, and the steps in the store, each in a fresh process with its peak memory;
* the driver of a cluster of two workers: its time per step, and its peak memory for an eighth of the steps and for all;
* two and eight processes that write one store, and processes of which twenty are killed at random: in each case the
  store must equal that of one process bit for bit.

Prints a table, and writes it to ``docs/_tables/archive.rst`` and the numbers to ``benchmarks/results/archive.json``.
"""

import argparse
import json
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from bench_dask import environment
from reporting import list_table, written_by

import astropy.units as u
from astropy.io import fits
from astropy.time import Time

import sunpy_demreg as demreg
from sunpy_demreg._batch import run
from sunpy_demreg._batch.index import Index
from sunpy_demreg._batch.steps import Steps

ROOT = Path(__file__).parent.parent
LOG_T = ("5.6", "7.4", "0.2")
EDGES = 10 ** np.linspace(5.6, 7.4, 10) * u.K
OPTIONS = {"prepare_options": {"n_sample": 16, "saturation": 15000}, "dtype": "float32"}
N_KILLS, N_SMALL = 20, 40  # steps of the stores with many writers
PARTS = ("index", "alone", "driver", "writers")
YEAR = 365.25 * 86400 / 12  # steps, every 12 s
_DATE = "2014-01-01T00:00:00.00"


def main():
    parser = argparse.ArgumentParser(description="Measure what an archive costs beside the inversion.")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)  # a process of its own: what, folder, steps
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.run:
        what, folder, n_steps = options.run
        print(json.dumps(RUNS[what](Path(folder), int(n_steps))))
        return
    results, numbers = ROOT / "benchmarks" / "results" / "archive.json", (options.steps // 8, options.steps)
    report = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_files(folder, options.steps)
        for part in options.parts:
            report[part] = {"environment": environment(), "steps": options.steps}
            if part == "writers":
                report[part] |= writers(folder)
            else:
                report[part] |= {("few", "all")[i]: fresh(part, folder, n) for i, n in enumerate(numbers)}
            if part == "index":
                report[part]["again"] = fresh(part, folder, options.steps)
    results.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if set(PARTS) <= report.keys():
        text = table(report)
        print(text)
        (ROOT / "docs" / "_tables" / "archive.rst").write_text(text, encoding="utf-8")


def make_files(folder, n_steps):
    """Files in folders of 50 steps; those of a channel differ in their dates only."""
    for smap in demreg.sample.aia_maps():
        keep = {key.upper(): v for key, v in smap.meta.items() if key not in ("keycomments", "comment", "t_obs")}
        header = fits.Header({key: value for key, value in keep.items() if len(key) <= 8})
        header["DATE-OBS"] = _DATE
        for keyword in ("BZERO", "BSCALE", "BLANK", "BITPIX"):
            header.remove(keyword, ignore_missing=True)
        data = np.rint(smap.data[40:104, 60:124]).astype(np.int16)
        path = folder / "one.fits"
        fits.CompImageHDU(data, header, compression_type="RICE_1").writeto(path, overwrite=True)
        content = path.read_bytes()
        assert content.count(_DATE.encode()) == 1
        for k in range(n_steps):
            place = folder / f"files{k // 50}"
            place.mkdir(exist_ok=True)
            date = Time("2014-01-01") + 120 * k * u.s + header["WAVELNTH"] % 100 / 100 * u.s
            changed = content.replace(_DATE.encode(), date.isot[:22].encode())
            place.joinpath(f"{k}_{header['WAVELNTH']}.fits").write_bytes(changed)


def files_of(folder, n_steps):
    return [folder / f"files{i}" for i in range(-(-n_steps // 50))]


def fresh(what, folder, n_steps):
    command = [sys.executable, __file__, "--run", what, str(folder), str(n_steps)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def timed(run):
    start, before = time.perf_counter(), time.process_time()
    run()
    return {"clock": time.perf_counter() - start, "processor": time.process_time() - before}


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def index(folder, n_steps):
    kept = folder / f"kept{n_steps}"
    kept.mkdir(exist_ok=True)
    with Index(kept) as table:
        before = peak()
        report = {"read": timed(lambda: table.add(files_of(folder, n_steps)))}
        report |= {"files": table.n_read, "keep": timed(table.keep)}
        report["steps"] = timed(lambda: report.update(n_steps=len(Steps(table, 12 * u.s, 1))))
    return report | {"peak": peak(), "peak_before": before, "bytes": (kept / "index.sqlite").stat().st_size}


def driver(folder, n_steps):
    path = folder / f"driver{n_steps}.zarr"
    begun = {}

    def on_step(n, step):
        if not begun:  # now the workers are there
            begun.update(clock=time.perf_counter(), processor=time.process_time())

    report = demreg.batch_invert(
        files_of(folder, n_steps), path, EDGES, workers=2, outputs=("chi_squared",), on_step=on_step, **OPTIONS
    )
    used = {"clock": time.perf_counter() - begun["clock"], "processor": time.process_time() - begun["processor"]}
    if not report.is_complete or len(report.steps) != n_steps:
        raise SystemExit(f"{len(report.steps)} steps, complete: {report.is_complete}")
    workers = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"per_step": {name: value / (n_steps - 1) for name, value in used.items()}, "peak": peak(),
            "workers_per_step": (workers.ru_utime + workers.ru_stime) / n_steps}  # fmt: skip


def alone(folder, n_steps):
    """The driver without workers: what it does itself for each step, all but Dask's part, at which no value is made."""
    begun = {}

    def nowhere(tasks, *_):
        for task in tasks:
            yield task, Counter(), 0.0, None, []

    def on_step(n, step):
        if not begun:
            begun.update(clock=time.perf_counter(), processor=time.process_time())

    run.computed = nowhere
    demreg.batch_invert(files_of(folder, n_steps), folder / f"alone{n_steps}.zarr", EDGES, on_step=on_step, **OPTIONS)
    used = {"clock": time.perf_counter() - begun["clock"], "processor": time.process_time() - begun["processor"]}
    return {"per_step": {name: value / (n_steps - 1) for name, value in used.items()}, "peak": peak()}


RUNS = {"index": index, "driver": driver, "alone": alone}


def writers(folder):
    """Stores that many processes write, some of which are killed: the seconds each took."""
    few = folder / "few"
    few.mkdir()
    for path in files_of(folder, 1)[0].glob("*.fits"):
        if int(path.name.partition("_")[0]) < N_SMALL:
            (few / path.name).hardlink_to(path)
    whole, report = folder / "one.zarr", {}
    demreg.batch_invert(few, whole, EDGES, **OPTIONS)
    for n in (2, 8):
        path, start = folder / f"{n}.zarr", time.perf_counter()
        processes = [start_one(few, path) for _ in range(n)]
        errors = [process.communicate()[1] for process in processes]
        if any(process.returncode for process in processes):
            raise SystemExit("\n".join(errors))
        report[f"{n} writers"] = time.perf_counter() - start
        check_same(whole, path)
    report["20 kills"] = kills(few, folder / "killed.zarr", whole)
    return report


def start_one(files, path):
    command = [sys.executable, "-m", "sunpy_demreg", "batch", files, "--output", path, "--n-sample", "16", "--log-t"]
    return subprocess.Popen([*command, *LOG_T], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def kills(files, path, whole):
    """Two processes at a time, each killed a random time after a step was done, twenty in all; then one that ends."""
    chance, start, n_done = random.Random(0), time.perf_counter(), []
    processes = [start_one(files, path) for _ in range(2)]
    for k in range(N_KILLS):
        victim = processes.pop(0)
        if k % 2:  # every other one while it starts, the others while they work
            victim.stderr.readline()
        time.sleep(chance.uniform(0, 1))
        if victim.poll() is None:
            victim.send_signal(signal.SIGKILL)
        victim.communicate()
        n_done.append(demreg.batch_status(path).n_done if path.exists() else 0)
        if k < N_KILLS - 2:
            processes.append(start_one(files, path))
    last = start_one(files, path)
    errors = last.communicate()[1]
    if last.returncode:
        raise SystemExit(errors)
    check_same(whole, path)
    return {"seconds": time.perf_counter() - start, "done_at_each": n_done}


def check_same(one, other):
    contents = [
        {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file() and "batch" not in p.parts}
        for path in (one, other)
    ]
    if contents[0] != contents[1]:
        names = set(contents[0]) ^ set(contents[1])
        raise SystemExit(f"{one} and {other} differ: {names or 'in values'}")


def table(report):
    index, drive, many = (report[part] for part in ("index", "driver", "writers"))
    whole, few, again, kept = index["all"], index["few"], index["again"], many["20 kills"]
    n_files, n_steps = whole["files"], drive["steps"]
    rows = [
        ("a file, read and kept", {key: value / n_files for key, value in whole["read"].items()}, 6),
        ("a file that is known", {key: value / n_files for key, value in again["read"].items()}, 6),
        ("a step, sorted from its files", {key: value / whole["n_steps"] for key, value in whole["steps"].items()}, 1),
        ("a step, in the driver alone", report["alone"]["all"]["per_step"], 1),
        ("a step, in the driver with Dask's scheduler", drive["all"]["per_step"], 1),
        ("a step of 64 × 64 pixels, in a worker", {"processor": drive["all"]["workers_per_step"]}, 1),
    ]
    cells = [
        (
            name,
            f"{1e3 * seconds['clock']:.2f}" if "clock" in seconds else "",
            f"{1e3 * seconds['processor']:.2f}",
            f"{n * YEAR * seconds['processor'] / 3600:.1f} h",
        )
        for name, seconds, n in rows
    ]
    env, size, mb = index["environment"], whole["bytes"] / n_files, 1e6
    return (
        written_by("benchmarks/bench_archive.py", env["date"])
        + f"An index of {n_files} files, and {n_steps} steps of 64 × 64 pixels (Python {env['python']}, "
        f"{env['processor']}, {env['cores']} cores, load average {env['load']:.1f} before); a year has "
        f"{YEAR / 1e6:.2f} million steps:\n\n"
        + "\n".join([*list_table(("", "ms on the clock", "ms of the processor", "a year of it"), cells), ""])
        + f"\nThe process of the index took {whole['peak'] / mb:.0f} MB at the peak for {n_files} files, and "
        f"{few['peak'] / mb:.0f} MB for {few['files']}; that of the driver {drive['all']['peak'] / mb:.0f} MB for "
        f"{n_steps} steps and {drive['few']['peak'] / mb:.0f} MB for {n_steps // 8}. The index takes {size:.0f} bytes "
        f"per file on the disk, {6 * YEAR * size / 1e9:.1f} GB for a year.\n\n"
        f"Two processes wrote {N_SMALL} steps into one store in {many['2 writers']:.0f} s, eight in "
        f"{many['8 writers']:.0f} s; where {N_KILLS} processes were killed at random times, the last when "
        f"{kept['done_at_each'][-1]} steps were done, it took {kept['seconds']:.0f} s. Each store equals that of one "
        "process bit for bit.\n"
    )


if __name__ == "__main__":
    main()
