"""
The table of the GPU page, of what ``gpu.py`` measured; needs no GPU.

    python benchmarks/gpu_table.py

Writes ``docs/_tables/gpu_measured.rst`` from ``benchmarks/results/gpu.json``.
"""

import json
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "gpu.json"
TABLE = ROOT / "docs" / "_tables" / "gpu_measured.rst"


def table(report):
    """In reStructuredText."""
    where = report["environment"]
    lines = [
        f".. list-table:: Measured on one {where['device']}, {where['date']}, CuPy {where['cupy']}",
        "   :header-rows: 1",
        "",
        *_row("pixels", "bins", "options", "output", "kernel, ms", "million DEMs/s", "host to host, ms"),
    ]
    for case in report["cases"]:
        milliseconds = 1e3 * case["kernel_seconds"]
        lines += _row(
            case["n_pixels"],
            case["n_bins"],
            f"``{case['method']}``" if "=" in case["method"] else case["method"],
            case["dtype"],
            number(milliseconds),
            number(1e-3 * case["n_pixels"] / milliseconds),
            number(1e3 * case["host_to_host_seconds"]),
        )
    lines += [
        "",
        f".. list-table:: All standard outputs in 41 bins otherwise, on that machine with its {where['device']}",
        "   :header-rows: 1",
        "",
        *_row("", "pixels", "million DEMs/s"),
    ]
    for peer in report["peers"]:
        lines += _row(peer["name"], peer["n_pixels"], number(1e-6 / peer["seconds_per_pixel"]))
    return "\n".join(lines) + "\n"


def number(value):
    """Three digits."""
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"


def _row(first, *rest):
    return [f"   * - {first}", *(f"     - {cell}" for cell in rest)]


def main():
    TABLE.write_text(table(json.loads(RESULTS.read_text(encoding="utf-8"))), encoding="utf-8")
    print(f"written to {TABLE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
