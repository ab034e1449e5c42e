"""
Measure files: the codecs and the encodings of stores, what they lose, and how fast files are written.

    python benchmarks/bench_files.py [--tiles 2] [--repeats 3]

The pixels are those of the 1024 x 1024 synoptic maps that the demregpy wheel carries. Three measurements:

* what each codec of a store takes, on one thread, and what it leaves;
* bytes per pixel, and what is lost, of whole stores in each encoding;
* files of the maps, tiled: a Zarr store from a lazy result, a FITS file from this store, and the bytes of that file
  written by ``dd``, in turn. Each is synced to the disk.

Prints the tables, and writes them to ``docs/_tables/files*.rst`` and ``benchmarks/results/files.json``.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from importlib.resources import files
from pathlib import Path

import dask.array as da
import numcodecs
import numpy as np
from bench_dask import EDGES, environment
from reporting import list_table, number, written_by
from timing import peak_bytes

import astropy.units as u
from astropy.nddata import StdDevUncertainty
from ndcube import NDCube

import sunpy_demreg as demreg
from sunpy_demreg._files.inputs import rounded

ROOT = Path(__file__).parent.parent
CODECS = [("lz4", 5, 2), ("lz4", 5, 1), ("zstd", 1, 2), ("zstd", 3, 2), ("zstd", 3, 1), ("zstd", 5, 2)]
SHUFFLES = {1: "bytes", 2: "bits"}
RANGES = 10 ** (5.7 + 0.2 * np.arange(6)[:, None] + np.array([0, 0.2]))
LOSSES = ("largest_relative_change", "median_change_in_errors", "p99_change_in_errors")
OUTPUTS = ("dem", "dem_uncertainty", "temperature_resolution", "chi_squared", "predicted_intensity", "intensity")


def main():
    parser = argparse.ArgumentParser(description="Measure files.")
    parser.add_argument("--tiles", type=int, default=2, help="tile the maps so often along each axis")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--apart", nargs=2, help=argparse.SUPPRESS)  # a process of its own: what to write, and where
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # the wheel's headers hold keywords that astropy complains of
    if options.apart:
        print(json.dumps(write_apart(*options.apart, options)))
        return
    cube, response = maps_and_response()
    result = demreg.invert(rounded(cube), response, EDGES, dtype="float32", emission_measure_ranges=RANGES * u.K)
    report = {"environment": environment(), "n_pixels": result["status"].data.size, "codecs": codecs(result)}
    with tempfile.TemporaryDirectory(dir=".") as folder:
        report["encodings"] = encodings(result, Path(folder))
        report["speed"] = speed(options, folder)
    for name, text in tables(report).items():
        print(text)
        (ROOT / "docs" / "_tables" / f"{name}.rst").write_text(text, encoding="utf-8")
    path = ROOT / "benchmarks" / "results" / "files.json"
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def maps_and_response():
    import sunpy.map

    maps = sunpy.map.Map(str(files("demregpy") / "tests" / "data" / "aia" / "*.fits"))
    cube = demreg.prepare(maps, n_sample=16)
    return cube, demreg.TemperatureResponse.from_aia(cube)


def codecs(result):
    """Bytes per pixel, and seconds of the processor per GB, of chunks on the disk and at the limb."""
    numcodecs.blosc.set_nthreads(1)
    rows = []
    for name in OUTPUTS:
        key = name.removesuffix("_uncertainty")
        array = result[key].data if key == name else result[key].uncertainty.array
        array = array.astype(np.float32)
        chunks = [np.ascontiguousarray(array[..., y : y + 256, x : x + 256]) for y, x in ((384, 384), (128, 384))]
        for codec in (numcodecs.Blosc(*each) for each in CODECS):
            written, read, size = 0, 0, 0
            for chunk in chunks:
                packed, seconds = least(lambda chunk=chunk, codec=codec: codec.encode(chunk))
                written, size = written + seconds, size + len(packed)
                out = np.empty_like(chunk)
                read += least(lambda packed=packed, out=out, codec=codec: codec.decode(packed, out=out))[1]
            n_gb = sum(chunk.nbytes for chunk in chunks) / 1e9
            rows.append(
                {
                    "output": name,
                    "codec": f"{codec.cname} {codec.clevel}, shuffled {SHUFFLES[codec.shuffle]}",
                    "bytes_per_pixel": size / (len(chunks) * 256**2),
                    "seconds_per_gb_written": written / n_gb,
                    "seconds_per_gb_read": read / n_gb,
                }
            )
    return rows


def least(call, repeats=3):
    """What a call returns, and the least seconds of the processor that it takes."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        answer = call()
        seconds.append(time.process_time() - start)
    return answer, min(seconds)


def encodings(result, folder):
    """Bytes per pixel of stores on the disk of the Sun, and how far what is read is from what was written."""
    on_disk = np.s_[..., 256:768, 256:768]
    parts = {
        "DEM": (("dem",), False),
        "DEM and its error": (("dem",), True),
        "six emission measures": (("emission_measure",), False),
        "six emission measures and their errors": (("emission_measure",), True),
    }
    rows = []
    for encoding in (None, "bitround", "log"):
        path = folder / f"{encoding}.zarr"
        demreg.write(result[on_disk], path, encoding=encoding)
        back = demreg.read(path)
        for title, (keys, with_errors) in parts.items():
            names = [name for key in keys for name in (key, *([f"{key}_uncertainty"] if with_errors else []))]
            size = sum(bytes_of(path / name / "c") for name in names)
            row = {"what": title, "encoding": encoding, "bytes_per_pixel": size / 512**2}
            rows.append(row | loss(result[on_disk], back, keys[0]))
        rows.append(
            {"what": "all outputs", "encoding": encoding, "bytes_per_pixel": bytes_of(path) / 512**2}
            | loss(result[on_disk], back, "dem")
        )
    path = folder / "inputs.zarr"
    demreg.write(result[on_disk], path, contents="inputs")
    rows.append(
        {"what": "inputs, computed again", "encoding": "inputs", "bytes_per_pixel": bytes_of(path) / 512**2}
        | loss(result[on_disk], demreg.read(path), "dem")
    )
    return rows


def loss(result, back, key):
    """The largest relative change of a value, and the median and largest change in units of its error."""
    old, error, new = result[key].data, result[key].uncertainty.array, np.asarray(back[key].data)
    if not np.array_equal(np.isnan(old), np.isnan(new)):
        raise SystemExit("what is missing is not what was missing")
    with np.errstate(all="ignore"):
        change = np.abs(new.astype(float) - old)
        return {
            "largest_relative_change": float(np.nanmax(np.where(old == 0, 0, change / np.abs(old)))),
            "median_change_in_errors": float(np.nanmedian(change / error)),
            "p99_change_in_errors": float(np.nanpercentile(change / error, 99)),
        }


def bytes_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def speed(options, folder):
    """The store, written in a fresh process, and in another one its file and ``dd`` in turn."""
    command = [sys.executable, __file__, "--tiles", str(options.tiles), "--repeats", str(options.repeats), "--apart"]
    store, runs = (
        json.loads(subprocess.run([*command, what, folder], check=True, stdout=subprocess.PIPE, text=True).stdout)
        for what in ("zarr", "fits")
    )
    return {"n_pixels": (1024 * options.tiles) ** 2, "zarr": store, "runs": runs}


def write_apart(what, folder, options):
    """
    Write a Zarr store; or a FITS file from it and as many bytes with ``dd``, in turn.

    The first turn is not counted: pages of memory for files are slow to come by for who takes them first on a
    virtual machine, by seconds that say nothing of either.
    """
    store, file, zeros = (Path(folder, name) for name in ("tiled.zarr", "tiled.fits", "zeros"))
    if what == "zarr":
        cube, response = maps_and_response()
        demreg.invert(cube[:, :1, :64], response, EDGES, dtype="float32")  # not to count the second of compiling
        result = demreg.invert(tiled(cube, options.tiles), response, EDGES, dtype="float32")
        return timed(lambda: (demreg.write(result, store), os.sync()), store)
    result = demreg.read(store)
    runs = []
    for _ in range(options.repeats + 1):
        run = {"fits": timed(lambda: demreg.write(result, file), file)}
        command = ["dd", "if=/dev/zero", f"of={zeros}", "bs=1M", f"count={run['fits']['bytes'] >> 20}", "conv=fsync"]
        run["dd"] = timed(lambda command=command: subprocess.run(command, check=True, stderr=subprocess.DEVNULL), zeros)
        del run["dd"]["peak_bytes"]
        for path in (file, zeros):
            path.unlink()
        runs.append(run)
    return runs[1:]


def timed(write, path):
    """Seconds of a call and of the processor, the peak memory, and the number and bytes of the files written."""
    before, start = processor(), time.perf_counter()
    write()
    clock, taken = time.perf_counter() - start, processor() - before
    written = [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]
    size = sum(each.stat().st_size for each in written)
    return {"clock": clock, "processor": taken, "peak_bytes": peak_bytes(), "bytes": size, "files": len(written)}


def processor():
    """Seconds of the processor that this process and those that it ran took."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def tiled(cube, tiles):
    """The cube as Dask arrays, as often side by side along each axis."""
    blocks = (da.from_array(each, chunks=(6, 256, 1024)) for each in (cube.data, cube.uncertainty.array, cube.mask))
    data, sigma, mask = (da.concatenate(tiles * [da.concatenate(tiles * [each], 2)], 1) for each in blocks)
    uncertainty = StdDevUncertainty(sigma, copy=False)
    return NDCube(data, cube.wcs, unit=cube.unit, uncertainty=uncertainty, mask=mask, meta=dict(cube.meta))


def tables(report):
    machine, speed = report["environment"], report["speed"]
    note = written_by("benchmarks/bench_files.py", machine["date"])
    host = f"{machine['processor']}, {machine['cores']} cores, load average {machine['load']:.1f} before"
    of_codecs = [
        [
            f"``{row['output']}``",
            row["codec"],
            *(number(row[key]) for key in ("bytes_per_pixel", "seconds_per_gb_written", "seconds_per_gb_read")),
        ]
        for row in report["codecs"]
    ]
    of_encodings = [
        [
            row["what"],
            {None: "float32", "inputs": '``contents="inputs"``'}.get(row["encoding"], f'``"{row["encoding"]}"``'),
            number(row["bytes_per_pixel"]),
            *(
                number(row[key])
                for key in ("largest_relative_change", "median_change_in_errors", "p99_change_in_errors")
            ),
        ]
        for row in report["encodings"]
    ]
    best = {what: min((run[what] for run in speed["runs"]), key=lambda run: run["clock"]) for what in speed["runs"][0]}
    best = {"zarr": speed["zarr"], **best}
    titles = {
        "zarr": "lazy result to Zarr, with the inversion",
        "fits": "Zarr to FITS",
        "dd": "``dd`` of as many bytes",
    }
    of_speed = [
        [
            title,
            number(best[what]["clock"]),
            number(best[what]["processor"]),
            number(best[what]["bytes"] / 1e9),
            number(best[what]["files"]),
            number(best[what]["peak_bytes"] / 1e9) if "peak_bytes" in best[what] else "",
        ]
        for what, title in titles.items()
    ]
    ratios = ", ".join(f"{run['fits']['clock'] / run['dd']['clock']:.2f}" for run in speed["runs"])
    of_processor = ", ".join(f"{run['fits']['processor'] / run['dd']['processor']:.2f}" for run in speed["runs"])
    return {
        "files_codecs": note
        + "\n".join(list_table(["output", "codec", "bytes per pixel", "s / GB written", "s / GB read"], of_codecs))
        + f"\n\nSeconds of one core per GB of values ({host}).\n",
        "files_encodings": note
        + "\n".join(
            list_table(
                ["what", "encoding", "bytes per pixel", "largest change", "median change / error", "99 % / error"],
                of_encodings,
            )
        )
        + "\n\nOf 512 × 512 pixels on the disk of the Sun, 36 bins.\n",
        "files_speed": note
        + f"{speed['n_pixels'] / 1e6:.1f} million pixels, 36 bins, all outputs, float32 ({host}); the last two lines: "
        f"the best of {len(speed['runs'])} runs in turn, after one that is not counted. Zarr to FITS took {ratios} "
        f"times as long as ``dd`` with as many bytes, and {of_processor} times as much of the processor.\n\n"
        + "\n".join(list_table(["", "s on the clock", "s of the processor", "GB", "files", "GB at the peak"], of_speed))
        + "\n",
    }


if __name__ == "__main__":
    main()
