"""
Measure a full-disk set of level 1 on its whole way: from compressed FITS files to a Zarr store, and on to a FITS file.

    python benchmarks/bench_whole.py [--size 4096] [--baseline ../other]

The files are those of ``bench_level1.py``. Each stage runs in a fresh process, with ``--baseline`` in turn with that of
another checkout: a batch of one step (float32; DEM, error, chi-squared, status), and the FITS file of its store. In a
third process the same step is prepared, and nothing else, to tell what part that is.

Prints the table, and with the default size writes it to ``docs/_tables/whole.rst`` and
``benchmarks/results/whole.json``.
"""

import argparse
import json
import tempfile
import warnings
from pathlib import Path

import numpy as np
from bench_level1 import ROOT, in_process, make_files, usage
from reporting import list_table, number, written_by
from timing import peak_bytes

import astropy.units as u

LIMIT = 3e9  # bytes resident
OUTPUTS = ("dem", "dem_uncertainty", "chi_squared")
STAGES = {
    "prepare": "six files to a cube of channels",
    "batch": "six files to a Zarr store",
    "fits": "Zarr store to a FITS file",
}


def main():
    parser = argparse.ArgumentParser(description="Measure a full-disk set of level 1 on its whole way.")
    parser.add_argument("--size", type=int, default=4096, help="pixels on a side, a multiple of 1024")
    parser.add_argument("--baseline", type=Path, help="a checkout of another version")
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
        make_files(Path(folder) / "files", options.size)
        for stage in STAGES:
            for name, checkout in versions.items():
                report["rows"].append(
                    {"stage": stage, "version": name} | in_process(__file__, checkout, folder, stage, name)
                )
                print(report["rows"][-1], flush=True)
    print(table(report, list(versions)))
    if options.size == parser.get_default("size"):
        (ROOT / "docs" / "_tables" / "whole.rst").write_text(table(report), encoding="utf-8")
        path = ROOT / "benchmarks" / "results" / "whole.json"
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if any(row["peak_bytes"] > LIMIT for row in report["rows"] if row["version"] == "now"):
        raise SystemExit(f"more than {LIMIT / 1e9:.0f} GB resident")


def measured(folder, stage, name):
    """Seconds on the clock and of the processor, the peak of the memory, and the files that are written."""
    import sunpy.map

    import sunpy_demreg as demreg

    folder = Path(folder)
    store, file = folder / f"{name}.zarr", folder / f"{name}.fits"
    edges = 10 ** np.arange(5.6, 7.41, 0.05) * u.K
    before = usage()
    if stage == "prepare":
        written = None
        demreg.prepare(sunpy.map.Map(str(folder / "files" / "*.fits")), n_sample=1)
    elif stage == "batch":
        written = store
        options = {"dtype": "float32", "outputs": OUTPUTS, "prepare_options": {"n_sample": 1}}
        demreg.batch_invert(folder / "files", store, edges, progress=False, **options)
    else:
        written = file
        demreg.write(demreg.read(store)[0], file)
    after = usage()
    paths = [] if written is None else [p for p in (written, *written.rglob("*")) if p.is_file()]
    return {
        "clock": after[0] - before[0],
        "processor": after[1] - before[1],
        "peak_bytes": peak_bytes(),
        "bytes": sum(path.stat().st_size for path in paths),
        "files": len(paths),
    }


def table(report, versions=("now",)):
    """The table, of this version alone on the page."""
    env, size = report["environment"], report["size"]
    head = ["stage", "s on the clock", "s of the processor", "peak memory, GB", "GB written", "files"]
    rows = [
        [
            STAGES[row["stage"]] + (f", {row['version']}" if len(versions) > 1 else ""),
            number(row["clock"]),
            number(row["processor"]),
            f"{row['peak_bytes'] / 1e9:.2f}",
            f"{row['bytes'] / 1e9:.2f}" if row["files"] else "",
            str(row["files"] or ""),
        ]
        for row in report["rows"]
        if row["version"] in versions
    ]
    note = (
        f"Six images of {size} × {size} pixels of level 1, from RICE-compressed FITS files; 36 bins, float32, DEM, "
        f"error, chi-squared and status; each in a fresh process (Python {env['python']}, {env['processor']}, "
        f"{env['cores']} cores, load average {env['load']:.1f} before)."
    )
    return "\n".join([written_by("benchmarks/bench_whole.py", env["date"]) + note, "", *list_table(head, rows), ""])


if __name__ == "__main__":
    main()
