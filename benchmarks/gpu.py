"""
Measure the GPU engine on real pixels, and check its answers.

    python benchmarks/gpu.py [--largest 4096] [--quick]

It needs NumPy and CuPy, and array-api-compat, of which SciPy has a copy too; not an installed package: the checkout
that it is in will do. If llvmlite and demregpy are there, they are measured as well. Takes less than eight minutes.

The pixels of ``benchmarks/data/aia_pixels.npz`` (of the bundled sample: ``--make-pixels`` makes the file) are repeated
as often as needed, each time with other factors, so that no two threads do the same.

Prints tables, and writes ``benchmarks/results/gpu.json``.
"""

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
PIXELS = ROOT / "benchmarks" / "data" / "aia_pixels.npz"
sys.path.insert(0, str(ROOT))
try:
    import array_api_compat  # noqa: F401
except ImportError:
    sys.modules["array_api_compat"] = import_module("scipy._lib.array_api_compat")

METHODS = {
    "defaults": {},
    "positivity=None": {"positivity": None},
    'positivity="constrain"': {"positivity": "constrain"},
    'parameter_choice="grid"': {"parameter_choice": "grid"},
    'parameter_choice="gcv"': {"parameter_choice": "gcv"},
    'method="l2"': {"weighting": "uniform"},
    "without resolution": {"outputs": ("dem", "dem_uncertainty", "chi_squared", "predicted_intensity")},
}
TOLERANCE = 1e-9  # of a pixel's peak
# Multiplications fused with additions per clock of a multiprocessor, in double precision, by compute capability.
FP64_LANES = {"60": 32, "70": 32, "80": 32, "90": 64, "100": 64}


def problem(n_bins):
    """Response matrix (n, m), widths and centers of the bins in log T."""
    with np.load(PIXELS) as stored:
        log_t, response = stored["log_t"], stored["response"]
    edges = np.linspace(5.6, 7.65, n_bins + 1)
    centers, widths = 0.5 * (edges[1:] + edges[:-1]), np.diff(edges)
    K = np.array([np.exp(np.interp(centers, log_t, np.log(row))) for row in response])
    return K * 10**centers * np.log(10) * widths, widths, centers


def pixels(n_pixels):
    """Intensity and uncertainty (n, N)."""
    with np.load(PIXELS) as stored:
        g, sigma = (stored[name].astype(float) for name in ("intensity", "uncertainty"))
    repeats = -(-n_pixels // g.shape[1])
    factors = np.random.default_rng(0).uniform(0.8, 1.25, (1, repeats, 1))
    return tuple(np.ascontiguousarray((a[:, None] * factors).reshape(len(a), -1)[:, :n_pixels]) for a in (g, sigma))


def main():
    parser = argparse.ArgumentParser(description="Measure the GPU engine, and check its answers.")
    parser.add_argument("--largest", type=int, default=4096, help="side of the largest image, in pixels")
    parser.add_argument("--quick", action="store_true", help="small images only")
    parser.add_argument("--make-pixels", action="store_true", help="needs sunpy: make the file of pixels")
    chosen = parser.parse_args()
    if chosen.make_pixels:
        make_pixels()
        return
    import cupy

    start = time.perf_counter()
    report = {"environment": environment(cupy), "cases": [], "peers": []}
    side = 256 if chosen.quick else 1024
    cases = [(side**2, 41, name, "float64") for name in METHODS]
    cases += [(side**2, n_bins, "defaults", "float64") for n_bins in (20, 81)]
    cases += [(5000, 400, "defaults", "float64"), (side**2, 41, "defaults", "float32")]
    if not chosen.quick:
        cases.append((chosen.largest**2, 41, "defaults", "float32"))
    for case in cases:
        report["cases"].append(measured(cupy, report["environment"], *case))
        show(report["cases"][-1])
    for name, peer in (("plain arrays of CuPy", on_cupy), ("CPU engine", on_cpu), ("demregpy", on_demregpy)):
        row = peer(cupy, name)
        if row:
            report["peers"].append(row)
            print(f"{name:26} {row['n_pixels']:9d} px  {1e6 * row['seconds_per_pixel']:10.3f} us/px")
    report["seconds"] = time.perf_counter() - start
    path = ROOT / "benchmarks" / "results" / "gpu.json"
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"{report['seconds']:.0f} s in all; written to {path.relative_to(ROOT)}")


def environment(cupy):
    device = cupy.cuda.Device()
    attributes, capability = device.attributes, device.compute_capability
    a = cupy.zeros(2**28, np.float32)
    b = cupy.empty_like(a)
    copy = seconds_on_device(cupy, lambda: cupy.copyto(b, a))
    lanes = FP64_LANES.get(capability)
    clock = attributes["ClockRate"] * 1e3
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "device": cupy.cuda.runtime.getDeviceProperties(device.id)["name"].decode(),
        "compute_capability": capability,
        "multiprocessors": attributes["MultiProcessorCount"],
        "cupy": cupy.__version__,
        "numpy": np.__version__,
        "bandwidth": 2 * a.nbytes / copy,  # bytes per second, read and written
        "fp64_peak": None if lanes is None else 2 * lanes * attributes["MultiProcessorCount"] * clock,
    }


def seconds_on_device(cupy, work, repeats=5):
    """Median, by events on the stream."""
    work()
    times = []
    for _ in range(repeats):
        begin, end = cupy.cuda.Event(), cupy.cuda.Event()
        begin.record()
        work()
        end.record()
        end.synchronize()
        times.append(1e-3 * cupy.cuda.get_elapsed_time(begin, end))
    return float(np.median(times))


def seconds_on_host(work, repeats=3):
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)


def measured(cupy, environment, n_pixels, n_bins, method, dtype):
    """Kernel alone and host to host; the answer is compared with plain arrays of NumPy, on some of the pixels."""
    from sunpy_demreg import _execute
    from sunpy_demreg._engines.gpu import Solver
    from sunpy_demreg._regularization import Options, Solution

    K, dlogt, logt = problem(n_bins)
    n = len(K)
    g, sigma = pixels(n_pixels)
    status = np.zeros(n_pixels, np.int32)
    options = Options(**METHODS[method])
    solver = Solver(K, dlogt, logt, options, dtype=dtype)
    there = [cupy.asarray(a) for a in (g, sigma, status)]
    shapes = Solution.shapes(n, n_bins, 0)
    outputs = {k: cupy.empty((*shapes[k], n_pixels), dtype) if k in options.outputs else None for k in shapes}
    into = Solution(**outputs, status=cupy.empty(n_pixels, np.int32))
    kernel = seconds_on_device(cupy, lambda: solver(*there, into))
    n_bytes = sum(a.nbytes for a in (*there, *into) if a is not None)
    del there, into, outputs
    answers = []

    def host_to_host():
        answers[:] = [_execute.run(g, sigma, status, K, dlogt, logt, options, dtype=dtype, backend="cupy")]

    host = seconds_on_host(host_to_host, 2)
    check(answers[0], g, sigma, K, dlogt, logt, options, dtype)
    operations = counted(n_bins, method)
    return {
        "n_pixels": n_pixels,
        "n_bins": n_bins,
        "method": method,
        "dtype": dtype,
        "kernel_seconds": kernel,
        "host_to_host_seconds": host,
        "bytes_per_pixel": n_bytes / n_pixels,
        "bandwidth_fraction": n_bytes / kernel / environment["bandwidth"],
        "fp64_fraction": operations
        and environment["fp64_peak"]
        and operations * n_pixels / kernel / environment["fp64_peak"],
        "registers": solver.kernel.num_regs,
        "local_bytes": solver.kernel.local_size_bytes,
    }


def check(answer, g, sigma, K, dlogt, logt, options, dtype):
    """Against the plain arrays of NumPy: a fast wrong answer cannot win."""
    from sunpy_demreg import _execute

    some = np.random.default_rng(1).permutation(g.shape[1])[:300]
    truth = _execute.run(
        g[:, some], sigma[:, some], np.zeros(some.size, np.int32), K, dlogt, logt, options, backend="numpy"
    )
    np.testing.assert_array_equal(answer.status[some], truth.status)
    # The minimum of cross-validation is flat: it is known to half the digits.
    tolerance = 1e-4 if options.parameter_choice == "gcv" else TOLERANCE if dtype == "float64" else 1e-6
    for name, ours, theirs in zip(truth._fields[:-1], answer, truth, strict=False):
        if theirs is None:
            continue
        ours, theirs = np.atleast_2d(ours[..., some]), np.atleast_2d(theirs)
        difference = np.abs(ours - theirs) / np.nanmax(np.abs(theirs), axis=0)
        if name == "temperature_resolution":  # a sample on half the maximum, to rounding, is on either side
            assert np.nanmean(difference > tolerance) < 1e-3, name
        else:
            assert np.nanmax(difference) < tolerance, (name, np.nanmax(difference))


def counted(n_bins, method):
    """Operations in double precision per pixel, as `gpu_estimate.py` counted them; None if it did not."""
    path = ROOT / "benchmarks" / "results" / "gpu_operations.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["operations"] if path.exists() else []
    found = [row["double"] for row in rows if (row["n_bins"], row["method"]) == (n_bins, method)]
    return found[0] if found else None


def show(row):
    rate = row["n_pixels"] / row["kernel_seconds"] / 1e6
    fp64 = "   ?" if row["fp64_fraction"] is None else f"{row['fp64_fraction']:4.0%}"
    print(
        f"{row['method']:26} {row['dtype']} {row['n_pixels']:9d} px {row['n_bins']:4d} bins  kernel "
        f"{1e3 * row['kernel_seconds']:9.2f} ms ({rate:7.1f} million/s, fp64 {fp64}, bandwidth "
        f"{row['bandwidth_fraction']:4.0%})  host to host {1e3 * row['host_to_host_seconds']:9.1f} ms  "
        f"{row['registers']} registers, {row['local_bytes']} B"
    )


def on_cupy(cupy, name):
    from sunpy_demreg._regularization import Options, solve

    arrays = [cupy.asarray(a) for a in (*pixels(2**16), *problem(41))]

    def work():
        solve(*arrays, Options())
        cupy.cuda.Device().synchronize()

    work()
    return {"name": name, "n_pixels": 2**16, "seconds_per_pixel": seconds_on_host(work) / 2**16}


def on_cpu(cupy, name):
    try:
        import llvmlite  # noqa: F401
    except ImportError:
        return None
    from sunpy_demreg import _execute
    from sunpy_demreg._regularization import Options

    g, sigma = pixels(2**18)
    status = np.zeros(2**18, np.int32)

    def work():
        _execute.run(g, sigma, status, *problem(41), Options())

    work()
    return {"name": name, "n_pixels": 2**18, "seconds_per_pixel": seconds_on_host(work) / 2**18}


def on_demregpy(cupy, name):
    try:
        from demregpy import dn2dem
    except ImportError:
        return None
    n_pixels = 1000
    g, sigma = pixels(n_pixels)
    with np.load(PIXELS) as stored:
        log_t, response = stored["log_t"], stored["response"]
    edges = 10 ** np.linspace(5.6, 7.65, 42)
    seconds = seconds_on_host(lambda: dn2dem(g.T, sigma.T, response.T, log_t, edges, nmu=42), 1)
    return {"name": name, "n_pixels": n_pixels, "seconds_per_pixel": seconds / n_pixels}


def make_pixels():
    import sunpy_demreg as demreg

    cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=16)
    response = demreg.TemperatureResponse.from_aia(cube)
    good = np.all(cube.data > 0, axis=0)
    some = np.random.default_rng(0).permutation(np.count_nonzero(good))[:4096]
    PIXELS.parent.mkdir(exist_ok=True)
    np.savez_compressed(
        PIXELS,
        intensity=cube.data[:, good][:, some].astype(np.float32),
        uncertainty=cube.uncertainty.array[:, good][:, some].astype(np.float32),
        log_t=np.log10(response.temperature.value),
        response=response.response.value,
    )


if __name__ == "__main__":
    main()
