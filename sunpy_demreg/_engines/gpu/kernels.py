"""The CUDA C++ of the two kernels: ``solve``, and ``errors`` for the outputs that take a loop over bins."""

from typing import NamedTuple

import numpy as np

from sunpy_demreg._engines.algorithm.invert import DIFFICULT, invert_lanes
from sunpy_demreg._engines.base.precision import LARGEST, SMALLEST
from sunpy_demreg._engines.base.prior import RANK
from sunpy_demreg._engines.base.solution import Solution
from sunpy_demreg._engines.base.tables import N_SAMPLES
from sunpy_demreg._engines.gpu.machine import CudaMachine
from sunpy_demreg._engines.gpu.widths import columns

__all__ = [
    "ARITHMETIC",
    "BLOCK_SIZE",
    "InCode",
    "Kernel",
    "in_code_of",
    "is_wide",
    "make_kernels",
    "pack_tables",
]

BLOCK_SIZE = 128  # threads that share the tables
#: Blocks that a multiprocessor should hold at once, which limits the registers of a thread. Measured on prototypes.
_BLOCKS_TO_SOLVE, _BLOCKS_OF_STATIC, _BLOCKS_OF_WIDE = 2, 3, 4
#: Bins up to which a thread keeps a whole column in its registers. Measured: it is faster at 81 bins, and impossible at
#: 400; the value in between is a guess.
_MOST_STATIC_BINS = 128
_MOST_IN_CODE = 900  # numbers of the response, which then are instructions
_WIDE_AT_ONCE = 2  # bins of a thread
#: The tables that a block of threads keeps in its shared memory. Products of responses are computed where they are
#: needed, which is cheaper than reading them.
_PACKED = ("response", "largest", "shared_weight", "shared_gram", "dlogt", "functional", "fraction", "scalars")
_PACKED_INTEGERS = ("left", "first_sample", "last_sample")
_PACKED_OF_PRIOR = ("prior", "to_prior", "mean")

ARITHMETIC = (
    f"""\
#define LARGEST {LARGEST!r}
#define SMALLEST {SMALLEST!r}
"""
    + """\
extern __shared__ double table[];
#define INFINITE __longlong_as_double(0x7ff0000000000000LL)
#define NOT_A_NUMBER __longlong_as_double(0x7ff8000000000000LL)
#ifdef __CUDACC__
__device__ __forceinline__ double approximate_reciprocal(double x)
{ double r; asm("rcp.approx.ftz.f64 %0, %1;" : "=d"(r) : "d"(x)); return r; }
__device__ __forceinline__ double approximate_reciprocal_root(double x)
{ double r; asm("rsqrt.approx.ftz.f64 %0, %1;" : "=d"(r) : "d"(x)); return r; }
#endif

// To rounding, as the error of the approximation, 2^-19 at most, is raised to its third power. Of zero, infinity and
// what is nearly so it is zero or not a number: it is broken.
__device__ __forceinline__ double reciprocal(double x, bool &is_broken)
{
    double r = approximate_reciprocal(x);
    const double e = fma(-x, r, 1.0);
    r = fma(r, fma(e, e, e), r);
    is_broken |= !(fabs(r) > 0.0);
    return r;
}

// To rounding, likewise; of what is negative, infinite or nearly zero it is not finite: then it is broken.
__device__ __forceinline__ double root(double x, bool &is_broken)
{
    const double y = approximate_reciprocal_root(x), h = 0.5 * y, t = x * y, e = fma(-t, y, 1.0);
    double s = fma(t * e, fma(0.375, e, 0.5), t);
    s = fma(fma(-s, s, x), h, s);
    s = x == 0.0 ? 0.0 : s;
    is_broken |= !(s < INFINITE);
    return s;
}

// Of pixels where an output does not, whether it matters is told elsewhere.
__device__ __forceinline__ bool fits_single(double x, bool may_vanish)
{
    const double size = fabs(x);
    return size < LARGEST && (size >= SMALLEST || size == 0.0 || may_vanish);
}
"""
)

_TABLES_OF_A_BLOCK = """\
for (int k = threadIdx.x; k < N_PACKED; k += blockDim.x) table[k] = tables[k];
__syncthreads();"""


class Kernel(NamedTuple):
    """A kernel, with the names of its arguments in their order, and the bytes of shared memory that it needs."""

    name: str
    source: str
    arguments: tuple
    n_shared: int


def _packed(plan):
    of_em = () if plan.solve_for == "dem" else ("dem_per_unknown",)
    of_prior = _PACKED_OF_PRIOR if plan.method == "lognormal" else ()
    return (*of_prior, *of_em, *(("place",) if plan.tells_resolved else ()), *_PACKED)


def pack_tables(tables, plan):
    """The tables of NumPy as the kernels read them: one array of float64, the shorter numbers at its end in pairs."""
    response = _of_columns(tables)
    given = tables._asdict() | {"largest": abs(response).max(axis=0)}
    doubles = [np.ravel(given[name]) for name in _packed(plan)]
    short = [(response / abs(response).max()).astype(np.float32).ravel().view(np.int32)]
    integers = (*_PACKED_INTEGERS, "mean_start") if plan.method == "lognormal" else _PACKED_INTEGERS
    short += [given[name].astype(np.int32) for name in integers]
    short = np.concatenate([*short, np.zeros(sum(part.size for part in short) % 2, np.int32)])
    return np.concatenate([*doubles, short.view(np.float64)])


class InCode(NamedTuple):
    """
    Numbers that the static form of the columns has in its code, in single precision.

    They are those of a temperature grid and of an instrument, whatever the sensitivity of its channels: the response is
    in units of the largest of each channel.
    """

    samples: tuple  # of (int, float): the bin to the left of each, and its position between that and the next one
    largest_terms: tuple  # of int: which element of each row of the response is the largest
    pivots: tuple  # its value
    ratios: tuple  # of tuple: the row, in units of that


def in_code_of(tables):
    """Bins, and responses, that differ only by rounding nearly always have the same numbers."""
    fractions = np.round(2**24 * tables.fraction) / 2**24
    response = _of_columns(tables)
    largest = abs(response).max(axis=0)
    response = response / np.where(largest > 0, largest, 1)
    largest_terms = np.argmax(abs(response), axis=1)
    pivots = np.take_along_axis(response, largest_terms[:, None], 1)
    ratios = np.divide(response, pivots, out=np.zeros_like(response), where=pivots != 0)
    pivots, ratios = (np.where(abs(a) < SMALLEST, 0, a).astype(np.float32).tolist() for a in (pivots[:, 0], ratios))
    samples = tuple(zip(tables.left.tolist(), fractions.tolist(), strict=True))
    return InCode(samples, tuple(largest_terms.tolist()), tuple(pivots), tuple(map(tuple, ratios)))


def _of_columns(tables):
    return tables.response if tables.prior is None else tables.prior


def is_wide(plan, n_bins):
    """Whether a block of threads shares a pixel, in ``errors``; else each thread has one."""
    n_terms = RANK if plan.method == "lognormal" else plan.n_channels
    return n_bins > _MOST_STATIC_BINS or n_terms * n_bins > _MOST_IN_CODE


def make_kernels(plan, n_bins, n_functionals, in_code, n_neighbors=0):
    """
    The kernels that solve pixels, in the order in which they run.

    ``intensity``, ``sigma``, ``status_in``, the outputs of the plan and ``status`` are arrays (..., n_pixels), and
    ``given_weight`` too where there is one; ``tables`` is what `pack_tables` makes.
    The ``n_lanes`` pixels from ``first`` on are solved. ``weights`` and ``live`` (..., n_lanes) are passed from
    ``solve`` to ``errors``. Pixels whose status has a bit of ``withheld`` get NaN, and so do those whose
    ``status_in`` is not zero; their status becomes zero.

    Parameters
    ----------
    plan : `sunpy_demreg._engines.base.options.Plan`
    n_bins, n_functionals : int
    in_code : InCode
    n_neighbors : int
        Of the table "mean" of the log-normal method.

    Returns
    -------
    list of Kernel
        The second one only where an output needs it.
    int
        Rows of ``live``.
    """
    wide = is_wide(plan, n_bins)
    at_once = _WIDE_AT_ONCE if wide else 1
    machine = CudaMachine(plan, n_bins, n_functionals, n_neighbors, _packed(plan), at_once)
    invert_lanes(machine, plan)
    sizes = {
        "N_TERMS": machine.n_terms,
        "N_BINS": n_bins,
        "N_SAMPLES": N_SAMPLES,
        "N_PACKED": machine.n_packed,
        "COLUMNS": machine.offset_of_columns,
        "LARGEST_OF": machine.offset["largest"],
        "FRACTION": machine.offset["fraction"],
        "SHORT": machine.n_doubles,
        "AT_ONCE": at_once,
    }
    head = f"enum {{ {', '.join(f'{name} = {size}' for name, size in sizes.items())} }};\n" + ARITHMETIC
    kernels = [_solve(plan, machine, head)]
    if machine.errors.outputs:
        kernels.append(_errors(plan, machine, head, wide, in_code))
    return kernels, len(machine.live)


def _solve(plan, machine, head):
    given = ("given_weight",) if plan.weighting == "given" else ()
    pointers = (
        "intensity",
        "sigma",
        *given,
        "status_in",
        "tables",
        *machine.solve.outputs,
        "status",
        "weights",
        "live",
    )
    storage = ("level", "exponent", "step") if plan.method == "lognormal" else ()
    lines = [
        _TABLES_OF_A_BLOCK,
        "const long long lane = (long long)blockIdx.x * blockDim.x + threadIdx.x, pixel = first + lane;",
        "if (lane >= n_lanes) return;",
        "int bits = 0;",
        "const bool is_bad = status_in[pixel] != 0;",
        "if (!is_bad) {",
        "double with_ends[N_BINS + 4], *const scratch = with_ends + 2;",
        *(f"double {name}[N_BINS];" for name in storage),
        "bool is_broken = false;",
        *machine.solve.lines,
        "}",
        "if (is_bad || (bits & withheld)) {",
        *_no_answer(plan, machine, machine.solve.outputs, "0", "1"),
        "}",
        "status[pixel] = bits;",
    ]
    signature, arguments = _signature("solve", plan, pointers, _BLOCKS_TO_SOLVE)
    return Kernel("solve", head + _body(signature, lines), arguments, 8 * machine.n_packed)


def _errors(plan, machine, head, wide, in_code):
    pointers = ("sigma", "status_in", "status", "tables", *machine.errors.outputs, "weights", "live")
    lines = [_TABLES_OF_A_BLOCK]
    if wide:
        lines += [
            "const long long lane = blockIdx.x, pixel = first + lane;",
            "const int my_bin = threadIdx.x, bins_apart = blockDim.x;",
        ]
    else:
        lines += [
            "const long long lane = (long long)blockIdx.x * blockDim.x + threadIdx.x, pixel = first + lane;",
            "if (lane >= n_lanes) return;",
            "const int my_bin = blockIdx.y, bins_apart = gridDim.y;",  # with few pixels, several threads share the bins
        ]
    lines += [
        f"if (status_in[pixel] != 0 || (status[pixel] & (withheld | {DIFFICULT}))) {{",
        *_no_answer(plan, machine, machine.errors.outputs, "my_bin", "bins_apart"),
        "return;",
        "}",
    ]
    has_columns = "temperature_resolution" in machine.errors.outputs
    if has_columns:
        lines += [
            "const Exact exact = {weights + lane, n_lanes};",
            f"const Columns columns(exact{', table + N_PACKED + N_PACKED % 2' if wide else ''});",
        ]
    lines += [f"const double {name} = live[{i} * n_lanes + lane];" for i, name in enumerate(machine.live)]
    lines += ["bool is_broken = false;", *machine.errors.lines, f"if (is_broken) status[pixel] = {DIFFICULT};"]
    blocks = _BLOCKS_OF_WIDE if wide else _BLOCKS_OF_STATIC
    signature, arguments = _signature("errors", plan, pointers, blocks)
    text, more_shared = columns(machine.n_terms, machine.n_bins, in_code, wide) if has_columns else ("", 0)
    n_packed = machine.n_packed + machine.n_packed % 2  # the memory behind it is read four numbers at a time
    return Kernel("errors", head + text + _body(signature, lines), arguments, 8 * n_packed + more_shared)


def _no_answer(plan, machine, outputs, start, step):
    shapes = Solution.shapes(plan.n_channels, machine.n_bins, machine.n_functionals)
    for name in outputs:
        n_rows = int(np.prod(shapes[name]))
        yield f"for (int row = {start}; row < {n_rows}; row += {step}) {name}[row * n_pixels + pixel] = NOT_A_NUMBER;"


def _signature(name, plan, pointers, n_blocks):
    """Of a kernel, and the names of its arguments."""
    real = "float" if plan.dtype == "float32" else "double"
    kinds = dict.fromkeys(plan.outputs, f"{real} *") | {"status_in": "const int *", "status": "int *"}
    if name == "solve":
        kinds |= {"weights": "double *", "live": "double *"}
    numbers = ("n_pixels", "first", "n_lanes", "withheld")
    parameters = [f"{kinds.get(pointer, 'const double *')}__restrict__ {pointer}" for pointer in pointers]
    parameters += [f"const long long {number}" for number in numbers]
    bounds = f"__launch_bounds__({BLOCK_SIZE}, {n_blocks})"
    return f'extern "C" __global__ void {bounds}\n{name}({", ".join(parameters)})', (*pointers, *numbers)


def _body(signature, lines):
    return "\n".join([signature, "{", *lines, "}"]) + "\n"
