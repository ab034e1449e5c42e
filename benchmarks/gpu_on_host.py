"""The GPU's kernels, compiled for the processor at hand and run on real pixels: to count what they do."""

import ctypes
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from gpu_pixels import METHODS, ROOT, problem

sys.path.insert(0, str(ROOT / "tests"))
from cuda_on_host import SHIM

from sunpy_demreg._engines.base.options import Options
from sunpy_demreg._engines.base.tables import make_tables
from sunpy_demreg._engines.gpu.kernels import in_code_of, make_kernels, pack_tables

_RUN = """
#undef double
#undef float
extern "C" void run(void **a, long n_pixels, int *turns)
{
    blockDim = {1, 1};
    gridDim = {1, 1};
    TURNS
    for (blockIdx.x = 0; blockIdx.x < n_pixels; ++blockIdx.x) { SOLVE; }
    for (blockIdx.x = 0; blockIdx.x < n_pixels; ++blockIdx.x) { ERRORS; }
}
"""


def kernels(plan, n_bins, options):
    """As `make_kernels`, for bins that are even in the logarithm, and any number of channels, some of them alike."""
    given = problem(n_bins, options)
    tables = make_tables(given._replace(K=np.resize(given.K, (plan.n_channels, n_bins))))
    n_neighbors = 0 if tables.mean is None else tables.mean.shape[1]
    return make_kernels(plan, n_bins, 0, in_code_of(tables), n_neighbors)


@contextmanager
def on_host(n_bins, method, g, sigma, *, before="", number="double", edit=None):
    """
    A library whose ``run(arrays, n_pixels, turns)`` solves pixels one by one; its arrays; and bytes per pixel.

    Parameters
    ----------
    n_bins : int
    method : str
        A key of `METHODS`.
    g, sigma : `numpy.ndarray`, (n, N)
    before : str
        Text in front of the kernels, in which a type of the name `number` is used for numbers in double precision.
    edit : callable, optional
        Of the text of ``solve``, in which ``turns`` is what `run` was given.
    """
    given, n_pixels = problem(n_bins, Options(**METHODS[method])), g.shape[1]
    plan, tables = given.plan(), make_tables(given)
    found, n_live = kernels(plan, n_bins, given.options)
    shapes = given.output_shapes
    status = {"status_in": np.zeros(n_pixels, np.int32), "status": np.empty(n_pixels, np.int32)}
    memory = {"intensity": g, "sigma": sigma, **{name: np.empty((*shapes[name], n_pixels)) for name in plan.outputs}}
    between = {"weights": np.empty((n_bins, n_pixels)), "live": np.empty((n_live, n_pixels))}
    arrays = memory | status | between | {"tables": pack_tables(tables, plan)}
    kinds, order = dict.fromkeys(status, "(int *)a[{}]"), list(arrays)
    values = {name: kinds.get(name, f"({number} *)a[{{}}]").format(order.index(name)) for name in order}
    values |= {"n_pixels": "n_pixels", "n_lanes": "n_pixels", "first": "0", "withheld": "0"}
    parts, calls = "", {"SOLVE": "", "ERRORS": "", "TURNS": ""}
    for kernel in found:
        text = kernel.source
        if edit is not None and kernel.name == "solve":
            text, calls["TURNS"] = edit(text), "::turns = turns;"
        parts += f"namespace {kernel.name}_ {{\n{text}\n}}\n"
        arguments = ", ".join(values[name] for name in kernel.arguments)
        calls[kernel.name.upper()] = f"{kernel.name}_::{kernel.name}({arguments})"
    parts = parts.replace('extern "C" __global__', "__global__").replace("extern __shared__ double table[];", "")
    shim = SHIM.replace("double table[", "alignas(16) static double memory[").replace("_Pragma", "//")
    end = _RUN
    for name, call in calls.items():
        end = end.replace(name, call)
    text = f"{shim}static int *turns;\n{before}\n{number} *const table = ({number} *)memory;\n{parts}{end}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernels.cpp"
        path.write_text(text, encoding="utf-8")
        library = path.with_suffix(".so")
        flags = ["-std=c++17", "-O1", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC", "-w"]
        subprocess.run(["g++", *flags, path, "-o", library], check=True)
        pointers = (ctypes.c_void_p * len(order))(*(arrays[name].ctypes.data for name in order))
        # What one kernel leaves to the other is written and read once at least.
        n_bytes = sum(a.nbytes for each in (memory, status, between, between) for a in each.values()) / n_pixels
        yield ctypes.CDLL(str(library)), pointers, n_bytes
