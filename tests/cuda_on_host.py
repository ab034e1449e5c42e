"""CUDA C++ compiled for the processor at hand, where a thread of the device becomes a thread of OpenMP."""

import atexit
import ctypes
import hashlib
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

_TABLE = 1 << 16  # doubles: the largest shared memory of a block here

# What the kernel takes for granted on a device. The blocks run one after the other, the threads of one all at once, so
# that a barrier is one. The shared memory holds NaN before, and is only as large as was asked for.
SHIM = f"""
#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>
#include <omp.h>
using std::max;
struct Index {{ unsigned x, y; }};
static thread_local Index threadIdx;
static Index blockIdx, blockDim, gridDim;
double table[{_TABLE}];
#define __global__ static
#define __device__
#define __forceinline__
#define __noinline__
#define __shared__
#define __launch_bounds__(threads, blocks)
#define __syncthreads() _Pragma("omp barrier")
template <class To, class From> static inline To bits_of(From x) {{ To y; std::memcpy(&y, &x, sizeof y); return y; }}
static inline double __longlong_as_double(long long bits) {{ return bits_of<double>(bits); }}
static inline long long __double_as_longlong(double x) {{ return bits_of<long long>(x); }}
static inline int __float_as_int(float x) {{ return bits_of<int>(x); }}
static inline float __int_as_float(int bits) {{ return bits_of<float>(bits); }}
static inline unsigned __float_as_uint(float x) {{ return bits_of<unsigned>(x); }}
static inline unsigned __funnelshift_l(unsigned low, unsigned high, int n) {{ return high << n | low >> (32 - n); }}
static inline int __clz(unsigned x) {{ return x ? __builtin_clz(x) : 32; }}
static inline int __ffs(int x) {{ return __builtin_ffs(x); }}
struct alignas(16) float4 {{ float x, y, z, w; }};
template <class T> static void atomicMax(T *at, T value)
{{
#pragma omp critical
    *at = *at < value ? value : *at;
}}
// As of a device: of x and of the result, the upper half; of what is subnormal, zero.
static double flushed(double x) {{ return std::fabs(x) < 2.2250738585072014e-308 ? std::copysign(0.0, x) : x; }}
static double upper_half(double x) {{ return __longlong_as_double(__double_as_longlong(flushed(x)) & ~0xffffffffll); }}
static double approximate_reciprocal(double x) {{ return upper_half(1.0 / upper_half(x)); }}
static double approximate_reciprocal_root(double x) {{ return upper_half(1.0 / std::sqrt(upper_half(x))); }}
"""
_LAUNCH = """
template <class... P, std::size_t... I>
static void call(void (*kernel)(P...), void **arguments, std::index_sequence<I...>)
{
    kernel(*static_cast<std::remove_reference_t<P> *>(arguments[I])...);
}

template <class... P>
static void launch_all(void (*kernel)(P...), unsigned grid_x, unsigned grid_y, unsigned block, void **arguments)
{
    blockDim.x = block;
    gridDim = {grid_x, grid_y};
    for (blockIdx.y = 0; blockIdx.y < grid_y; ++blockIdx.y)
        for (blockIdx.x = 0; blockIdx.x < grid_x; ++blockIdx.x) {
            for (double &x : table) x = NOT_A_NUMBER;
#pragma omp parallel num_threads(block)
            {
                threadIdx.x = omp_get_thread_num();
                call(kernel, arguments, std::index_sequence_for<P...>());
            }
        }
}

extern "C" long launch(unsigned grid_x, unsigned grid_y, unsigned block, void **arguments, long shared)
{
    launch_all(KERNEL, grid_x, grid_y, block, arguments);
    long used = sizeof table / sizeof *table;
    while (used && std::isnan(table[used - 1])) --used;
    return used * (long)sizeof *table <= shared;
}
"""


def _text(source, name):
    source = source.replace('extern "C" __global__', "__global__")
    return SHIM + source + _LAUNCH.replace("KERNEL", name)


@cache
def _folder():
    folder = Path(tempfile.mkdtemp(prefix="cuda-on-host-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def compiled(source, name):
    """Of a kernel, ``launch(grid x, grid y, block, arguments, bytes of shared memory)``: whether these were enough."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++, to run the text of the GPU's kernel on the processor at hand")
    stem = _folder() / hashlib.sha256(source.encode()).hexdigest()[:16]
    path = stem.with_suffix(".cpp")
    path.write_text(_text(source, name), encoding="utf-8")
    # A product may be fused with the sum that takes it up, as on a device.
    flags = ["-std=c++17", "-O1", "-march=native", "-ffp-contract=fast", "-fopenmp", "-shared", "-fPIC", "-w"]
    library = stem.with_suffix(".so")
    subprocess.run([compiler, *flags, path, "-o", library], check=True, capture_output=True, text=True)
    launch = ctypes.CDLL(str(library)).launch
    launch.restype = ctypes.c_long
    launch.argtypes = [ctypes.c_uint, ctypes.c_uint, ctypes.c_uint, ctypes.POINTER(ctypes.c_void_p), ctypes.c_long]
    return launch
