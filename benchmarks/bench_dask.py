"""
Measure the inversion of Dask arrays: what it costs over plain arrays, how it scales, and how little memory it needs.

    python benchmarks/bench_dask.py [--repeats 3]

Two measurements:

* full-disk images of 4096 x 4096 pixels, from compressed FITS files to a Zarr store and from there to a FITS file, in
  a fresh process, whose peak memory must stay below 4 GB. The images are the 1024 x 1024 synoptic maps that the
  demregpy wheel carries, tiled four by four, with the noise of single pixels drawn anew;
* the same maps in one image, of plain arrays and of Dask arrays in chunks of several sizes, in turn, with the same
  answer to the last bit; images of several sizes; and threads and processes that write a Zarr store.

Prints the tables, and writes them to ``docs/_tables/dask*.rst`` and ``benchmarks/results/dask.json``. The times of the
processor, of all threads and processes, hardly change with what else the machine does; those on the clock do.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import dask
import dask.array as da
import numpy as np

import astropy.units as u
from astropy.io import fits
from astropy.nddata import StdDevUncertainty
from ndcube import NDCube

import sunpy_demreg as demreg

ROOT = Path(__file__).parent.parent
EDGES = 10 ** np.arange(5.6, 7.41, 0.05) * u.K
LIMIT = 4e9  # bytes resident
TILES = 4
CHUNKS = (32, 64, 128, 256, 512, 1024)
_TYPICAL = ("256", "256 joined")
SIZES = (128, 256, 512, 1024, 2048)


def main():
    parser = argparse.ArgumentParser(description="Measure the inversion of Dask arrays.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--full-disk", type=Path, help=argparse.SUPPRESS)  # the process of its own
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # the wheel's headers hold keywords that astropy complains of
    if options.full_disk:
        print(json.dumps(full_disk(options.full_disk)))
        return
    report = {"environment": environment()}
    with tempfile.TemporaryDirectory() as folder:
        make_files(Path(folder) / "files")
        command = [sys.executable, __file__, "--full-disk", folder]
        report["full_disk"] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    report["scaling"] = scaling(options.repeats)
    finish(report)


def finish(report):
    """Write the results, and the tables made of them."""
    report["year"] = year(report)
    for name, text in tables(report).items():
        print(text)
        (ROOT / "docs" / "_tables" / f"{name}.rst").write_text(text, encoding="utf-8")
    path = ROOT / "benchmarks" / "results" / "dask.json"
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def environment():
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "processor": next((line.split(":")[1].strip() for line in cpuinfo if line.startswith("model name")), "unknown"),
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        **{name: version(name) for name in ("sunpy-demreg", "dask", "zarr", "numpy")},
    }


def make_files(folder):
    """Six files of 4096 x 4096 whole numbers, compressed as the archive delivers them."""
    from aiapy.calibrate import estimate_error
    from aiapy.calibrate.utils import get_error_table

    table = get_error_table(Path(demreg.__file__).parent / "data" / "aia_V3_error_table.txt")
    folder.mkdir()
    random = np.random.default_rng(0)
    for path in sorted((files("demregpy") / "tests" / "data" / "aia").glob("*.fits")):
        with fits.open(path) as hdus:
            header, data = hdus[0].header, np.asarray(hdus[0].data, dtype=float)
        data = np.tile(data, (TILES, TILES))
        counts = np.clip(data, 0, None) << u.DN / u.pix
        sigma = estimate_error(counts, header["WAVELNTH"] * u.AA, error_table=table).value
        data = np.clip(np.rint(data + sigma * random.standard_normal(data.shape)), -32768, 16383).astype(np.int16)
        for axis in (1, 2):
            header[f"CDELT{axis}"] /= TILES
            header[f"CRPIX{axis}"] = (header[f"CRPIX{axis}"] - 0.5) * TILES + 0.5
        for keyword in ("BZERO", "BSCALE", "BLANK"):
            header.remove(keyword, ignore_missing=True)
        fits.CompImageHDU(data, header, compression_type="RICE_1").writeto(folder / path.name)


def full_disk(folder):
    seconds = {}

    def timed(name, call):
        start = time.perf_counter()
        answer = call()
        seconds[name] = time.perf_counter() - start
        return answer

    store, file = folder / "dem.zarr", folder / "dem.fits"
    options = {"dtype": "float32", "memory_limit": 1 * u.Gbyte}
    report = timed("FITS to Zarr", lambda: demreg.batch_invert(folder / "files", store, EDGES, **options))
    if not report.is_complete:
        raise SystemExit(report)
    peak_of_batch = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    result = demreg.read(store)[0]
    timed("Zarr to FITS", lambda: demreg.write(result, file))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    if usage.ru_maxrss * 1024 > LIMIT:
        raise SystemExit(f"{usage.ru_maxrss * 1024 / 1e9:.2f} GB resident, more than {LIMIT / 1e9:.0f} GB")
    # What the file holds is what the store holds.
    rows = np.s_[:, 2000:2010]
    with fits.open(file) as hdus:
        if not np.array_equal(hdus["DEM"].section[rows], result["dem"].data[rows].compute(), equal_nan=True):
            raise SystemExit("the file and the store differ")
    status = result["status"].data.compute()
    return {
        "n_pixels": int(status.size),
        "n_solved": int(np.count_nonzero((status & int(demreg.Status.UNSOLVED)) == 0)),
        "seconds": seconds,
        "processor_seconds": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * 1024,
        "peak_bytes_of_the_batch": peak_of_batch,
        "bytes_of_the_store": sum(path.stat().st_size for path in store.rglob("*") if path.is_file()),
        "bytes_of_dem_in_the_store": sum(path.stat().st_size for path in (store / "dem").rglob("*") if path.is_file()),
        "bytes_of_the_file": file.stat().st_size,
        "files_of_the_store": sum(path.is_file() for path in store.rglob("*")),
    }


def synoptic(size):
    """The channel cube of the synoptic maps, cut or tiled to a size."""
    import sunpy.map

    maps = sunpy.map.Map(str(files("demregpy") / "tests" / "data" / "aia" / "*.fits"))
    cube = demreg.prepare(maps, n_sample=16)
    start = (1024 - size) // 2 if size < 1024 else 0
    tiles = (1, max(size // 1024, 1), max(size // 1024, 1))
    arrays = (np.tile(a[:, start : start + size, start : start + size], tiles) for a in (
        cube.data, cube.uncertainty.array, cube.mask))  # fmt: skip
    data, sigma, mask = arrays
    return NDCube(data, cube.wcs, unit=cube.unit, uncertainty=StdDevUncertainty(sigma), mask=mask, meta=dict(cube.meta))


def in_chunks(cube, size):
    data, sigma, mask = (
        da.from_array(array, chunks=(6, size, size)) for array in (cube.data, cube.uncertainty.array, cube.mask)
    )
    return NDCube(
        data, cube.wcs, unit=cube.unit, uncertainty=StdDevUncertainty(sigma, copy=False), mask=mask, meta=cube.meta
    )


def computed(result, how=dask.persist):
    """All arrays of a result; in the blocks that they were made in, or joined with `dask.compute`."""
    arrays = [
        a for cube in result.values() for a in (cube.data, cube.uncertainty and cube.uncertainty.array) if a is not None
    ]
    return how(*arrays, scheduler="threads", num_workers=len(os.sched_getaffinity(0)))


def usage():
    return sum(
        each.ru_utime + each.ru_stime
        for each in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def in_turn(runs, repeats):
    """The least seconds on the clock and of the processor of some calls, made in turn: more is what else went on."""
    clock, processor = ({name: [] for name in runs} for _ in range(2))
    for _ in range(repeats):
        for name, run in runs.items():
            before, start = usage(), time.perf_counter()
            run()
            clock[name].append(time.perf_counter() - start)
            processor[name].append(usage() - before)
    return {name: {"clock": min(clock[name]), "processor": min(processor[name])} for name in runs}


def scaling(repeats):
    cube = synoptic(1024)
    response = demreg.TemperatureResponse.from_aia(cube)
    plain = demreg.invert(cube, response, EDGES)
    lazy = demreg.invert(in_chunks(cube, 256), response, EDGES)
    if not np.array_equal(plain["dem"].data, computed(lazy, dask.compute)[0], equal_nan=True):
        raise SystemExit("the answers of plain and of Dask arrays differ")
    del plain, lazy
    runs = {"plain": lambda: demreg.invert(cube, response, EDGES)}
    for size in CHUNKS:
        divided = in_chunks(cube, size)
        for name, how in (("", dask.persist), (" joined", dask.compute)):
            runs[f"{size}{name}"] = lambda divided=divided, how=how: computed(
                demreg.invert(divided, response, EDGES), how
            )
    report = {"chunks": in_turn(runs, repeats)}
    cubes = {size: in_chunks(synoptic(size), 256) for size in SIZES}
    runs = {
        str(size): lambda each=each: computed(demreg.invert(each, response, EDGES, dtype="float32"))
        for size, each in cubes.items()
    }
    report["sizes"] = in_turn(runs, repeats)
    with tempfile.TemporaryDirectory() as folder:
        report["workers"] = in_turn(
            {
                f"{n} {kind}": lambda n=n, kind=kind: stored(in_chunks(cube, 256), response, folder, n, kind)
                for n in (1, 2)
                for kind in ("threads", "processes")
            },
            repeats,
        )
    return report


def stored(cube, response, folder, n, kind):
    result = demreg.invert(cube, response, EDGES, dtype="float32")
    path = Path(folder) / "a.zarr"
    if kind == "threads":
        with dask.config.set(scheduler="threads", num_workers=n):
            demreg.write(result, path, overwrite=True)
        return
    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=n, threads_per_worker=1, dashboard_address=":0") as cluster, Client(cluster):
        demreg.write(result, path, overwrite=True)


def year(report):
    """What all full-disk sets of a year would take, from the figures above."""
    full = report["full_disk"]
    n_sets = 365.25 * 86400 / 12
    batch = full["processor_seconds"] * full["seconds"]["FITS to Zarr"] / sum(full["seconds"].values())
    return {
        "sets": n_sets,
        "core_years": n_sets * batch / (365.25 * 86400),
        "petabytes": n_sets * full["bytes_of_the_store"] / 1e15,
        "petabytes_of_dem": n_sets * full["bytes_of_dem_in_the_store"] / 1e15,
    }


def list_table(head, rows):
    lines = (f"   {'*' if i == 0 else ' '} - {cell}" for row in (head, *rows) for i, cell in enumerate(row))
    return "\n".join([".. list-table::", "   :header-rows: 1", "", *lines, ""])


def tables(report):
    env, full, scale, whole = (report[name] for name in ("environment", "full_disk", "scaling", "year"))
    note = f".. Written by benchmarks/bench_dask.py on {env['date']}: do not edit.\n\n"
    n_pixels = 1024**2
    machine = (
        f"Python {env['python']}, Dask {env['dask']}, Zarr {env['zarr']}, {env['processor']}, {env['cores']} cores"
        f", load average {env['load']:.1f} before"
    )

    def row(name, times, n):
        return (name, f"{times['clock']:.2f}", f"{times['processor']:.2f}", f"{1e6 * times['processor'] / n:.2f}")

    head = ("seconds", "of the processor", "µs of it per pixel")
    chunks = [(*row("plain arrays", scale["chunks"]["plain"], n_pixels), "")]
    for size in CHUNKS:
        joined = f"{scale['chunks'][f'{size} joined']['clock']:.2f}"
        chunks.append((*row(f"chunks of {size} × {size}", scale["chunks"][str(size)], n_pixels), joined))
    sizes = [row(f"{size} × {size}", scale["sizes"][str(size)], size**2) for size in SIZES]
    workers = [row(name, times, n_pixels) for name, times in scale["workers"].items()]
    overhead, joined = (scale["chunks"][name]["clock"] / scale["chunks"]["plain"]["clock"] - 1 for name in _TYPICAL)
    steps = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in full["seconds"].items())
    return {
        "dask_full_disk": note + f"One set of 4096 × 4096 pixels ({full['n_solved']} of {full['n_pixels']} solved, "
        f"{EDGES.size - 1} bins, all outputs, float32), from RICE-compressed FITS files to a Zarr store, and from "
        f"there to a FITS file: {steps} on the clock, {full['processor_seconds']:.0f} s of the processor, "
        f"**{full['peak_bytes'] / 1e9:.2f} GB** resident at the peak ({full['peak_bytes_of_the_batch'] / 1e9:.2f} GB "
        f"before the FITS file). The store takes {full['bytes_of_the_store'] / 1e9:.2f} GB in "
        f"{full['files_of_the_store']} files, the FITS file {full['bytes_of_the_file'] / 1e9:.2f} GB ({machine}).\n",
        "dask_scaling": note
        + f"1024 × 1024 pixels, {EDGES.size - 1} bins, all outputs, in memory ({machine}):\n\n"
        + list_table(("", *head, "seconds, joined"), chunks)
        + f"\nIn chunks of 256 × 256 Dask takes {100 * overhead:+.0f} % of the time of plain arrays, if the result is "
        "left in these blocks (``dask.persist``). To join them to whole arrays (``dask.compute``) moves all of it "
        f"once more, on one thread: {100 * joined:+.0f} %.\n\n"
        + "Images of several sizes, in chunks of 256 × 256, float32:\n\n"
        + list_table(("pixels", *head), sizes)
        + "\n1024 × 1024 pixels into a Zarr store, float32; of processes the seconds include their start:\n\n"
        + list_table(("", *head), workers),
        "dask_year": note + f"A year of full-disk sets every 12 s has {whole['sets'] / 1e6:.2f} million sets. At the "
        f"processor's time measured here it takes **{whole['core_years']:.0f} cores** to keep up with it, and "
        f"{whole['petabytes']:.1f} PB for all outputs in float32 ({whole['petabytes_of_dem']:.1f} PB for the DEM "
        "alone).\n",
    }


if __name__ == "__main__":
    main()
