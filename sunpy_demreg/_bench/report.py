"""What a part leaves behind: numbers as JSON and CSV, a table as reStructuredText, a figure."""

import csv
import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import sunpy_demreg
from sunpy_demreg._bench import figures, tables
from sunpy_demreg._bench.processes import available_cores

__all__ = ["environment", "write"]

_PACKAGES = ("demregpy", "utu", "numpy", "scipy", "llvmlite", "numba", "astropy", "sunpy", "ndcube", "aiapy")


def environment(setting):
    """Where and how it was measured."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "sunpy-demreg": sunpy_demreg.__version__,
        "quick": setting.is_quick,
        "repeats": setting.repeats,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": available_cores(),
        # Of a quiet machine it is near zero before.
        "load_average_before": os.getloadavg()[0],
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def _processor():
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")


def _version(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def write(part, results, environment, output):
    """Write the files of a part; their paths."""
    stem = part.replace("-", "_")
    written = [output / f"{stem}.json", output / f"{stem}.csv", output / f"{stem}.rst"]
    content = {"environment": environment, "results": results}
    written[0].write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    with open(written[1], "w", encoding="utf-8", newline="") as file:
        rows = tables.flat_rows(part, results)
        names = list(dict.fromkeys(name for row in rows for name in row))
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    written[2].write_text(tables.table(part, results, environment), encoding="utf-8")
    figure = figures.figure(part, results)
    if figure is not None:
        written.append(output / f"{stem}.png")
        figure.savefig(written[-1], dpi=150, metadata={"Software": None})
    return written
