"""
What the GPU's kernel asks of a device, without one: registers, spills, operations per pixel, and the time they imply.

    python benchmarks/gpu_estimate.py

NVIDIA's compiler tells registers and spills. The operations are counted while the kernel, compiled for the processor at
hand with numbers that count, inverts real pixels. A device is limited by its arithmetic in double precision, its
arithmetic in single precision and its bandwidth: the estimate is the largest of the three times, so it is a bound that
no measurement can beat, not a promise.

Prints the tables, and writes ``docs/_tables/gpu.rst`` and ``benchmarks/results/gpu_operations.json``.
"""

import ctypes
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from gpu import METHODS, ROOT, pixels, problem
from nvrtc import compile_kernel

sys.path.insert(0, str(ROOT / "tests"))
from cuda_on_host import SHIM

from sunpy_demreg._engines._cuda import make_source, pack_tables
from sunpy_demreg._engines._tables import Options, Solution, make_plan, make_tables

N_PIXELS = 500
# Instructions that a division, a square root, an exponential or a logarithm becomes, roughly: of those in double
# precision in the machine code for sm_90.
WEIGHTS = {"fused": 1, "divisions": 10, "roots": 12, "transcendental": 30}
# Per second: fused multiplications and additions in double and in single precision, and bytes. By the data sheets.
DEVICES = {"H200": (16.75e12, 33.5e12, 4.8e12), "A100": (4.85e12, 9.7e12, 2.0e12)}

COUNTING = """
#include <algorithm>
static double counts[8];  // in double precision: sums, products, divisions, roots, others; in single: sums, products
template <class T> struct Counted {
    T x;
    Counted() = default;
    template <class U> Counted(U y) : x((T)y) {}
    template <class U> Counted(Counted<U> y) : x((T)y.x) {}
    explicit operator int() const { return (int)x; }
    Counted &operator+=(Counted b) { return *this = *this + b; }
    Counted &operator*=(Counted b) { return *this = *this * b; }
};
template <class T> constexpr int at(int i) { return sizeof(T) == 8 ? i : 5 + (i > 1 ? 1 : i); }
#define BINARY(sign, i) \\
    template <class T> Counted<T> operator sign(Counted<T> a, Counted<T> b) \\
    { ++counts[at<T>(i)]; return a.x sign b.x; } \\
    template <class T> Counted<T> operator sign(Counted<T> a, T b) { ++counts[at<T>(i)]; return a.x sign b; } \\
    template <class T> Counted<T> operator sign(T a, Counted<T> b) { ++counts[at<T>(i)]; return a sign b.x; }
BINARY(+, 0) BINARY(-, 0) BINARY(*, 1) BINARY(/, 2)
#define COMPARE(sign) \\
    template <class T> bool operator sign(Counted<T> a, Counted<T> b) { ++counts[at<T>(0)]; return a.x sign b.x; } \\
    template <class T> bool operator sign(Counted<T> a, T b) { ++counts[at<T>(0)]; return a.x sign b; }
COMPARE(<) COMPARE(<=) COMPARE(>) COMPARE(>=)
typedef Counted<double> D;
typedef Counted<float> F;
static D fabs(D a) { return std::fabs(a.x); }
static F fabsf(F a) { return std::fabs(a.x); }
static F fmaxf(F a, F b) { ++counts[5]; return std::max(a.x, b.x); }
static D sqrt(D a) { ++counts[3]; return std::sqrt(a.x); }
static D exp(D a) { ++counts[4]; return std::exp(a.x); }
static D log(D a) { ++counts[4]; return std::log(a.x); }
#define double D
#define float F
"""
CALL = """
#undef double
#undef float
extern "C" const double *count(void **a, long n_pixels)
{
    blockDim = {1, 1};
    gridDim = {1, 1};
    for (blockIdx.x = 0; blockIdx.x < n_pixels; ++blockIdx.x) { RUN; }
    return counts;
}
"""


def main():
    rows = [
        operations(n_bins, method)
        for n_bins in (20, 41, 81, 400)
        for method in METHODS
        if n_bins == 41 or not METHODS[method]
    ]
    compiled = []
    for n_channels in (3, 4, 5, 6, 7, 8, 12):
        source = make_source(make_plan(n_channels, Options(), None), 41, 0, 128)
        reports = {a: compile_kernel(source, a)._asdict() for a in ("sm_80", "sm_90")}
        compiled.append({"n_channels": n_channels, **reports})
    text = table(rows, compiled)
    print(text)
    report = {"operations": rows, "compiled": compiled, "weights": WEIGHTS, "devices": DEVICES}
    (ROOT / "docs" / "_tables" / "gpu.rst").write_text(text, encoding="utf-8")
    path = ROOT / "benchmarks" / "results" / "gpu_operations.json"
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def operations(n_bins, method):
    """Per pixel: instructions in double and in single precision, and bytes to and from the device's memory."""
    K, dlogt, logt = problem(n_bins)
    g, sigma = pixels(N_PIXELS)
    options = Options(**METHODS[method])
    plan = make_plan(len(K), options, None)
    shapes = Solution.shapes(len(K), n_bins, 0)
    arrays = [g, sigma, np.zeros(N_PIXELS, np.int32), pack_tables(make_tables(K, dlogt, logt, options))]
    arrays += [np.empty((*shapes[name], N_PIXELS)) for name in plan.outputs] + [np.empty(N_PIXELS, np.int32)]
    kinds = ["D *"] * len(arrays)
    kinds[2] = kinds[-1] = "int *"
    call = ", ".join([*(f"({kind})a[{i}]" for i, kind in enumerate(kinds)), "n_pixels", "0"])
    source = make_source(plan, n_bins, 0, 1).replace('extern "C" __global__', "__global__")
    shim = SHIM.replace("double table[", "static double memory[").replace("_Pragma", "//")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "counted.cpp"
        text = shim + COUNTING + "D *const table = (D *)memory;\n" + source + CALL.replace("RUN", f"invert({call})")
        path.write_text(text.replace("extern __shared__ double table[];", ""), encoding="utf-8")
        library = path.with_suffix(".so")
        flags = ["-std=c++17", "-O2", "-shared", "-fPIC", "-w"]
        subprocess.run(["g++", *flags, path, "-o", library], check=True)
        count = ctypes.CDLL(str(library)).count
        count.restype = ctypes.POINTER(ctypes.c_double)
        pointers = (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))
        counts = np.array(count(pointers, ctypes.c_long(N_PIXELS))[:7]) / N_PIXELS
    sums, products, divisions, roots, others, single_sums, single_products = counts
    # Each product is fused with a sum where there is one.
    weighted = dict(zip(WEIGHTS, (max(sums, products), divisions, roots, others), strict=True))
    return {
        "n_bins": n_bins,
        "method": method,
        "double_instructions": sum(WEIGHTS[name] * value for name, value in weighted.items()),
        "double": sums + products + divisions + roots + others,
        "single_instructions": max(single_sums, single_products),
        "bytes": sum(a.nbytes for a in (*arrays[:3], *arrays[4:])) / N_PIXELS,
    }


def table(rows, compiled):
    lines = [
        ".. list-table:: Per pixel, of six channels",
        "   :header-rows: 1",
        "",
    ]
    lines += _row("bins", "options", "double precision", "single precision", "bytes", *(f"{d}, ns" for d in DEVICES))
    for row in rows:
        limits = (_limit(row, device) for device in DEVICES.values())
        lines += _row(
            row["n_bins"],
            "defaults"
            if row["method"] == "defaults"
            else f"``{row['method']}``"
            if "=" in row["method"]
            else row["method"],
            f"{row['double_instructions']:.0f}",
            f"{row['single_instructions']:.0f}",
            f"{row['bytes']:.0f}",
            *(f"{1e9 * seconds:.2f}" for seconds in limits),
        )
    lines += [
        "",
        ".. list-table:: The compiled kernel, for 41 bins and all standard outputs",
        "   :header-rows: 1",
        "",
    ]
    lines += _row("channels", *(f"{a}: {what}" for a in ("sm_80", "sm_90") for what in ("registers", "spilled, bytes")))
    for row in compiled:
        lines += _row(row["n_channels"], *(row[a][k] for a in ("sm_80", "sm_90") for k in ("registers", "spilled")))
    return "\n".join(lines) + "\n"


def _limit(row, device):
    double, single, bandwidth = device
    return max(row["double_instructions"] / double, row["single_instructions"] / single, row["bytes"] / bandwidth)


def _row(first, *rest):
    return [f"   * - {first}", *(f"     - {cell}" for cell in rest)]


if __name__ == "__main__":
    main()
