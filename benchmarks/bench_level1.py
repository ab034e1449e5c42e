"""
Measure the preparation of full-disk images of level 1, stage by stage, each case in a fresh process.

    python benchmarks/bench_level1.py [--size 4096] [--baseline ../other]

Six files of 4096 x 4096 pixels, compressed as the archive delivers them (RICE): the 1024 x 1024 synoptic maps that the
demregpy wheel carries, tiled, with noise drawn anew, and the plate scale, the rotation and the center that each channel
has in the level-1 cutouts of the sample. ``--baseline`` runs another checkout in turn with this one, and compares what
both prepare.

Prints the tables, and with the default size writes them to ``docs/_tables/level1.rst`` and
``benchmarks/results/level1.json``. Seconds of the processor, of all threads, hardly change with what else the machine
does; those on the clock do.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import defaultdict
from importlib import import_module
from importlib.resources import files
from pathlib import Path

import numpy as np
from reporting import list_table, number, power, written_by

import astropy.units as u
from astropy.io import fits

ROOT = Path(__file__).parent.parent
LIMIT = 3e9  # bytes resident
#: What is done with the same files: how far the second map's coordinates are moved first, and options.
CASES = {
    "one grid": (0, {}),
    "one grid, 2 × 2 averages": (0, {"bin": 2}),
    "one grid, other reference points": (1, {}),
    "own grids": (0, {"align": False}),
}
COMPARED = ("one grid", "own grids")  # with the baseline, which takes minutes
#: Which functions belong to a stage of preparing.
STAGES = {
    "headers, plan": [("prepare", "planned")],
    "positions, weights": [("calibrate", "sampler")],
    "interpolation": [("resample", "Samples.averaged")],
    "uncertainty": [("uncertainty", "ErrorModel.of_counts")],
    "residual shifts": [("prepare", "residual_shifts")],
}


def main():
    parser = argparse.ArgumentParser(description="Measure the preparation of full-disk images of level 1.")
    parser.add_argument("--size", type=int, default=4096, help="pixels on a side, a multiple of 1024")
    parser.add_argument("--baseline", type=Path, help="a checkout of another version")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--of", nargs=3, help=argparse.SUPPRESS)  # the process of its own
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # the wheel's headers hold keywords that astropy complains of
    if options.of:
        print(json.dumps(measured(*options.of)))
        return
    from bench_dask import environment

    versions = {"before": options.baseline, "now": ROOT} if options.baseline else {"now": ROOT}
    report = {"environment": environment(), "size": options.size, "rows": []}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        make_files(folder / "files", options.size)
        for case in options.cases:
            for name, checkout in versions.items():
                if name == "before" and case not in COMPARED:
                    continue
                row = {"case": case, "version": name} | in_process(__file__, checkout, folder, case, name)
                if options.baseline and name == "now" and case in COMPARED:
                    row |= compared(*(np.load(folder / f"{each}.npz") for each in versions))
                report["rows"].append(row)
                print(row, flush=True)
        report["stages"] = in_process(__file__, ROOT, folder, options.cases[0], "stages")
    print(tables(report))
    if options.size == parser.get_default("size") and options.cases == list(CASES):
        (ROOT / "docs" / "_tables" / "level1.rst").write_text(tables(report), encoding="utf-8")
        path = ROOT / "benchmarks" / "results" / "level1.json"
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if any(row["peak_bytes"] > LIMIT for row in report["rows"] if row["version"] == "now"):
        raise SystemExit(f"more than {LIMIT / 1e9:.0f} GB resident")


def make_files(folder, size):
    """Six files of size x size whole numbers."""
    from sunpy_demreg import sample

    folder.mkdir()
    random = np.random.default_rng(0)
    cutouts = {round(smap.meta["wavelnth"]): smap.meta for smap in sample.flare_maps(0)}
    for path in sorted((files("demregpy") / "tests" / "data" / "aia").glob("*.fits")):
        with fits.open(path) as hdus:
            header, data = hdus[0].header, np.asarray(hdus[0].data, dtype=float)
        data = np.tile(data, (size // 1024, size // 1024))
        data += np.sqrt(np.clip(data, 0, None) + 2) * random.standard_normal(data.shape)
        own = cutouts[header["WAVELNTH"]]
        header.update({"LVL_NUM": 1.0, "CROTA2": own["crota2"], "CRVAL1": 0.0, "CRVAL2": 0.0})
        for axis, middle in ((1, -286.5), (2, 401.5)):
            header[f"CDELT{axis}"] = own[f"cdelt{axis}"] * 4096 / size
            header[f"CRPIX{axis}"] = (size + 1) / 2 + own[f"crpix{axis}"] - middle
        for keyword in ("BZERO", "BSCALE", "BLANK", "DATAMEAN", "PC1_1", "PC1_2", "PC2_1", "PC2_2"):
            header.remove(keyword, ignore_missing=True)
        data = np.clip(np.rint(data), -32768, 16383).astype(np.int16)
        fits.CompImageHDU(data, header, compression_type="RICE_1").writeto(folder / path.name)


def in_process(program, checkout, folder, case, name):
    """What the ``measured`` of a benchmark says in a fresh process, of the package in a checkout."""
    command = [sys.executable, "-P", program, "--of", str(folder), case, name]
    path = os.pathsep.join([str(checkout.resolve()), str(Path(__file__).parent)])
    return json.loads(subprocess.check_output(command, env={**os.environ, "PYTHONPATH": path}, text=True))


def measured(folder, case, name):
    """Open the files and prepare the maps: seconds on the clock and of the processor, and peaks; or times of stages."""
    import sunpy.map

    import sunpy_demreg as demreg

    moved, options = CASES[case]
    seconds = staged() if name == "stages" else None
    before = usage()
    maps = sunpy.map.Map(str(Path(folder) / "files" / "*.fits"))
    opened = usage()
    if moved:
        maps[1] = maps[1].shift_reference_coord(moved * u.arcsec, 0 * u.arcsec)
    if not options.get("align", True):
        for smap in maps:
            smap.meta.update({key: maps[0].meta[key] for key in ("crpix1", "crpix2", "cdelt1", "cdelt2", "crota2")})
    started = usage()
    cube = demreg.prepare(maps, n_sample=1, **options)
    prepared = usage()
    if seconds is not None:
        inner = sum(seconds.values())
        return seconds | {"all else": float(prepared[1] - started[1] - inner)}
    some = np.s_[:, ::37, ::41]
    kept = {"data": cube.data[some], "sigma": cube.uncertainty.array[some], "mask": cube.mask[some]}
    np.savez(Path(folder) / f"{name}.npz", **kept)
    return {
        "open": [float(b - a) for a, b in zip(before[:2], opened[:2], strict=True)],
        "prepare": [float(b - a) for a, b in zip(started[:2], prepared[:2], strict=True)],
        "opened_bytes": opened[2],
        "peak_bytes": prepared[2],
    }


def usage():
    """Clock, processor, and the peak of the memory."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), used.ru_utime + used.ru_stime, used.ru_maxrss * 1024


def staged():
    """Let the stages add up the seconds of the processor that they take on all threads."""
    seconds, lock = defaultdict(float), threading.Lock()

    def timed(function, stage):
        def call(*args, **kwargs):
            start = time.thread_time()
            answer = function(*args, **kwargs)
            with lock:
                seconds[stage] += time.thread_time() - start
            return timed(answer, stage) if callable(answer) else answer

        return call

    for stage, functions in STAGES.items():
        for module, name in functions:
            owner = import_module(f"sunpy_demreg._channels.{module}")
            *of_class, name = name.split(".")
            for each in of_class:
                owner = getattr(owner, each)
            setattr(owner, name, timed(getattr(owner, name), stage))
    return seconds


def compared(one, other):
    """How much the cubes of two versions differ: of the brightest value, of each uncertainty, in masked pixels."""
    good = ~one["mask"]
    brightest = np.nanmax(np.abs(one["data"]), axis=(1, 2), keepdims=True)
    return {
        "difference": float(np.max(np.abs(one["data"] - other["data"]) / brightest, where=good, initial=0)),
        "difference_of_sigma": float(np.max(np.abs(other["sigma"] / one["sigma"] - 1), where=good, initial=0)),
        "masked_differently": int(np.count_nonzero(one["mask"] != other["mask"])),
    }


def tables(report):
    env, size = report["environment"], report["size"]
    head = ["case", "opening, s (processor)", "preparing, s (processor)", "peak memory, GB"]
    rows = []
    for row in report["rows"]:
        times = [f"{number(row[name][0])} ({number(row[name][1])})" for name in ("open", "prepare")]
        rows.append([row["case"], *times, f"{row['peak_bytes'] / 1e9:.2f}"])
    compared = ""
    if any(row["version"] == "before" for row in report["rows"]):
        compared = "; differences from the other version are relative to the brightest pixel of a channel"
        head += ["version", "largest difference"]
        for row, of in zip(rows, report["rows"], strict=True):
            row += [of["version"], power(of["difference"]) if "difference" in of else ""]
    stages = [[name, number(seconds)] for name, seconds in report["stages"].items()]
    machine = f"Python {env['python']}, {env['processor']}, {env['cores']} cores, load average {env['load']:.1f} before"
    note = (
        f"Six images of {size} × {size} pixels of level 1, from RICE-compressed FITS files{compared}: seconds on the "
        f"clock, and, in parentheses, of the processor ({machine})."
    )
    return "\n".join(
        [
            written_by("benchmarks/bench_level1.py", env["date"]) + note,
            "",
            *list_table(head, rows),
            "",
            "The stages of the first case:",
            "",
            *list_table(["stage", "s of the processor"], stages),
            "",
        ]
    )


if __name__ == "__main__":
    main()
