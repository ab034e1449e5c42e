"""
The table of the GPU page, of what ``gpu.py`` measured; needs no GPU.

    python benchmarks/gpu_table.py

Writes ``docs/_tables/gpu_measured.rst`` from ``benchmarks/results/gpu.json``.
"""

import json
from pathlib import Path

from reporting import list_table

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "gpu.json"
TABLE = ROOT / "docs" / "_tables" / "gpu_measured.rst"
_HOSTS = {"host to host, ms": "host_to_host_seconds", "into used memory, ms": "touched_host_to_host_seconds"}


def table(report):
    """In reStructuredText."""
    where = report["environment"]
    measured = [
        (
            case["n_pixels"],
            case["n_bins"],
            _label(case),
            case["dtype"],
            number(1e3 * case["kernel_seconds"]),
            number(1e-6 * case["n_pixels"] / case["kernel_seconds"]),
            *(number(1e3 * case[name]) if name in case else "–" for name in _HOSTS.values()),
        )
        for case in report["cases"]
    ]
    head = ("pixels", "bins", "options", "output", "kernels, ms", "million DEMs/s", *_HOSTS)
    title = f"Measured on one {where['device']}, {where['date']}, CuPy {where['cupy']}"
    lines = [*list_table(head, measured, title=title), ""]
    peers = [(peer["name"], peer["n_pixels"], number(1e-6 / peer["seconds_per_pixel"])) for peer in report["peers"]]
    title = f"All standard outputs in 41 bins otherwise, on that machine with its {where['device']}"
    lines += list_table(("", "pixels", "million DEMs/s"), peers, title=title)
    return "\n".join(lines) + "\n"


def _label(case):
    method = f"``{case['method']}``" if "=" in case["method"] else case["method"]
    if case.get("lacking"):
        return f"{method}, {case['lacking']} % lack a channel"
    return f"{method}, smooth image" if case.get("coherent") else method


def number(value):
    """Three digits."""
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"


def main():
    TABLE.write_text(table(json.loads(RESULTS.read_text(encoding="utf-8"))), encoding="utf-8")
    print(f"written to {TABLE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
