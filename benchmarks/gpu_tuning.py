"""
Time the GPU's two kernels in other shapes than those that they have: what the constants in the code were chosen by.

    python benchmarks/gpu_tuning.py [--limit SECONDS] [--output FOLDER]

It needs what `gpu.py` needs, and checks each shape's answers with those of the present one.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from gpu import check_requirements, seconds_on_device
from gpu_pixels import ROOT, pixels, problem

from sunpy_demreg._engines.base.options import Options
from sunpy_demreg._engines.base.problem import Pixels
from sunpy_demreg._engines.base.solution import Solution
from sunpy_demreg._engines.gpu import kernels, machine

MODULES = {"_UNROLLED": machine}  # where a constant is, if not with the kernels
# Bins, pixels, whether neighbors are alike; and the constants to be tried, each with the others as they are.
CASES = [
    (bins, n_pixels, coherent, shape)
    for bins, n_pixels, coherent, shapes in (
        (
            41,
            2**20,
            False,
            [
                {},
                *({"_BLOCKS_TO_SOLVE": k} for k in (3, 4, 5)),
                *({"_BLOCKS_OF_STATIC": k} for k in (2, 4)),
                *({"_UNROLLED": k} for k in (1, 2, 8)),
                {"_BLOCKS_TO_SOLVE": 3, "_UNROLLED": 2},
            ],
        ),
        (41, 2**20, True, [{}, {"_BLOCKS_TO_SOLVE": 3}, {"_BLOCKS_TO_SOLVE": 4}]),
        (81, 2**20, False, [{}, {"_BLOCKS_TO_SOLVE": 3}, {"_BLOCKS_OF_STATIC": 2}, {"_MOST_STATIC_BINS": 0}]),
        (128, 2**18, False, [{}, {"_BLOCKS_OF_STATIC": 2}, {"_MOST_STATIC_BINS": 0}]),
        (400, 5000, False, [{}, {"_BLOCKS_TO_SOLVE": 3}, {"_BLOCKS_OF_WIDE": 3}]),
    )
    for shape in shapes
]


def main():
    parser = argparse.ArgumentParser(description="Time the GPU's kernels in other shapes.")
    parser.add_argument("--limit", type=float, default=120, help="seconds, after which no other shape is begun")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    chosen = parser.parse_args()
    check_requirements()
    start, rows, answers = time.perf_counter(), [], {}
    for bins, n_pixels, coherent, shape in CASES:
        if time.perf_counter() - start > chosen.limit:
            print("time is up before", bins, coherent, shape)
            continue
        rows.append(measured(bins, n_pixels, coherent, shape, answers))
        print(json.dumps(rows[-1]), flush=True)
        (chosen.output / "gpu_tuning.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def measured(n_bins, n_pixels, coherent, shape, answers):
    """Milliseconds of each kernel and of both; `answers` has the present shape's of the case."""
    import cupy

    from sunpy_demreg._engines.gpu import launcher

    modules = {name: MODULES.get(name, kernels) for name in shape}
    before = {name: getattr(module, name) for name, module in modules.items()}
    for name, module in modules.items():
        setattr(module, name, shape[name])
    launcher._compiled.cache_clear()
    try:
        key = n_bins, n_pixels, coherent
        if key not in answers:
            answers.clear()
            given = [cupy.asarray(a) for a in (*pixels(n_pixels, coherent=coherent), np.zeros(n_pixels, np.int32))]
            outputs = Solution.shapes(6, n_bins, 0).items()
            into = {k: cupy.empty((*s, n_pixels)) if k in Options().outputs else None for k, s in outputs}
            answers[key] = Pixels(*given), Solution(**into, status=cupy.empty(n_pixels, np.int32)), None
        given, into, truth = answers[key]
        solver = launcher.Launcher(problem(n_bins))
        workspace = solver.workspace(n_pixels)
        row = {"bins": n_bins, "pixels": n_pixels, "coherent": coherent, "shape": shape}
        row["both_ms"] = 1e3 * seconds_on_device(cupy, lambda: solver(given, into, workspace))
        answer = Solution(*(None if a is None else a.copy() for a in into))
        answers[key] = given, into, truth or answer
        row["widths_that_differ"] = int((answer[2] != answers[key][2][2]).sum())
        row["largest_difference"] = float((abs(answer.dem - answers[key][2].dem) / abs(answer.dem).max(axis=0)).max())
        every = solver._described
        for kernel in every:
            solver._described = [kernel]
            seconds = seconds_on_device(cupy, lambda: solver(given, into, workspace))
            row[f"{kernel.name}_ms"] = 1e3 * seconds
            compiled = solver.kernels[kernel.name]
            row[f"{kernel.name}_registers"] = compiled.num_regs, compiled.local_size_bytes
        return row
    finally:
        for name, module in modules.items():
            setattr(module, name, before[name])
        launcher._compiled.cache_clear()


if __name__ == "__main__":
    main()
