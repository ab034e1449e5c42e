"""The text compiled by CuPy for a GPU, where each pixel is a thread."""

from functools import lru_cache

import cupy
import numpy as np

from sunpy_demreg._engines.arrays.engine import solve
from sunpy_demreg._engines.base.options import make_plan
from sunpy_demreg._engines.base.precision import withhold_unfit
from sunpy_demreg._engines.base.tables import make_tables
from sunpy_demreg._engines.gpu.kernels import (
    BLOCK_SIZE,
    is_wide,
    make_kernels,
    pack_single,
    pack_tables,
    samples_of,
)
from sunpy_demreg._engines.gpu.memory import is_out_of_memory, no_memory_told

__all__ = ["MAX_CHANNELS", "Solver", "check_device"]

MAX_CHANNELS = 12  # all loops over channels are unrolled: more of them take minutes to compile
_LEAST_CAPABILITY = 60  # compute capability times ten: the oldest that the kernel is compiled for in the tests
_THREADS_TO_FILL = 512  # of a multiprocessor
_LEAST_SHARE = 8  # bins: a column's weights are read once for each share
_LEAST_BLOCK = 64  # threads, where there are few pixels
_WORKSPACE = 2**29  # bytes, of what one kernel leaves to the other
_LEAST_WORKSPACE = 2**10  # pixels
_MOST_LANES = 2**16  # of the plain arrays at once


def check_device():
    """Raise what tells the cure if there is no GPU that can be used."""
    cure = "pass backend='cpu', and arrays of NumPy"
    try:
        n_devices = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as err:
        raise RuntimeError(f"`backend` 'cupy' finds no GPU that CuPy can use ({err}): {cure}") from err
    if not n_devices:
        raise RuntimeError(f"`backend` 'cupy' finds no GPU: {cure}")
    capability = cupy.cuda.Device().compute_capability
    if int(capability) < _LEAST_CAPABILITY:
        raise RuntimeError(
            f"`backend` 'cupy' needs a GPU of compute capability {_LEAST_CAPABILITY / 10} or more, but this one has "
            f"{int(capability) / 10}: {cure}"
        )


class Solver:
    """
    Solves stacks of pixels as `sunpy_demreg._engines.arrays.engine.solve` does, on the current device and stream.

    Parameters
    ----------
    K, dlogt, logt, functional
        As there, of NumPy.
    options, dtype
        As of `sunpy_demreg._engines.cpu.engine.Solver`.
    weight : array, (m,) or (m, N), optional
        Of NumPy, but that of each pixel is given again with the pixels, and only its shape matters here.
    withheld : int
        Bits of `Status`: pixels that have one get NaN.

    Attributes
    ----------
    tables, plan, withheld
        Of NumPy: for the pixels that the kernel marks as ``DIFFICULT``.
    kernels : dict of `cupy.RawKernel`
        By their names, in the order in which they run. Empty where there are too many channels, or tables that are
        too large: then the plain arrays of CuPy solve.
    workspace_per_pixel : int
        Bytes, of what the kernels leave to each other.
    """

    def __init__(self, K, dlogt, logt, options, weight=None, functional=None, dtype="float64", withheld=0):
        check_device()
        n, m = K.shape
        self.plan = make_plan(n, options, weight is not None and weight.ndim > 1, dtype)
        self.tables = make_tables(K, dlogt, logt, options, weight, functional)
        self._problem = K, dlogt, logt, options, functional
        self._shared_weight = weight if self.plan.weighting == "shared" else None
        self.withheld = int(withheld)
        self.kernels, self.workspace_per_pixel = {}, 0
        # A matrix of more channels than bins is singular: that needs the care of the plain arrays.
        if n > min(m, MAX_CHANNELS):
            return
        described, kernels, n_live = _compiled(self.plan, m, len(self.tables.functional), samples_of(self.tables))
        attributes = cupy.cuda.Device().attributes
        if any(kernel.n_shared > attributes["MaxSharedMemoryPerBlockOptin"] for kernel in described):
            return
        with no_memory_told("for the code of the kernels and their tables", "free some"):
            for kernel in described:
                _allow_shared(kernels[kernel.name], kernel.n_shared)
            tables = cupy.asarray(pack_tables(self.tables))
        self._described, self.kernels = described, kernels
        self._n_rows, self._n_multiprocessors = m + n_live, attributes["MultiProcessorCount"]
        self.workspace_per_pixel = 8 * self._n_rows
        self._given = {
            "tables": tables,
            "single": pack_single(self.tables),
            "withheld": self.withheld,
        }

    def workspace(self, n_pixels):
        """
        Memory for what the kernels leave to each other, of as many of the pixels at a time as there is memory for.

        None where no kernel needs it.
        """
        if not self.kernels:
            return None
        most = _WORKSPACE // self.workspace_per_pixel // BLOCK_SIZE * BLOCK_SIZE
        n_lanes = min(n_pixels, max(most, BLOCK_SIZE))
        while True:
            try:
                return cupy.empty((self._n_rows, n_lanes))
            except Exception as err:
                if n_lanes <= _LEAST_WORKSPACE or not is_out_of_memory(err):
                    raise
                n_lanes //= 2

    def __call__(self, intensity, uncertainty, status, into, weight=None, workspace=None):
        """
        Solve pixels; the kernels are not waited for.

        Parameters
        ----------
        intensity, uncertainty : `cupy.ndarray`, (n, N), float64, C-contiguous
        status : `cupy.ndarray`, (N,), int32
            Not zero where a pixel is bad.
        into : `Solution`
            C-contiguous arrays (..., N) that get the answer; None what is not asked for.
        weight : `cupy.ndarray`, (m, N), float64, C-contiguous, optional
            Of each pixel, where the weighting asks for it.
        workspace : `cupy.ndarray`, optional
            Made by the method of that name; nothing else may use it before the kernels are done.
        """
        if not status.size:
            return
        if not self.kernels:
            self._solve_plainly(intensity, uncertainty, status, into, weight)
            return
        workspace = self.workspace(status.size) if workspace is None else workspace
        given = {"intensity": intensity, "sigma": uncertainty, "given_weight": weight, "status_in": status}
        given |= {"n_pixels": status.size} | self._given | into._asdict()
        for first in range(0, status.size, workspace.shape[1]):
            n_lanes = min(workspace.shape[1], status.size - first)
            parts = workspace.reshape(-1)[: self._n_rows * n_lanes].reshape(self._n_rows, n_lanes)
            m = len(self.tables.dlogt)
            given |= {"first": first, "n_lanes": n_lanes, "weights": parts[:m], "live": parts[m:]}
            for kernel in self._described:
                arguments = tuple(given[name] for name in kernel.arguments)
                self.kernels[kernel.name](*self._grid(kernel, n_lanes), arguments, shared_mem=kernel.n_shared)

    def _grid(self, kernel, n_pixels):
        """Blocks, and threads of each."""
        m = len(self.tables.dlogt)
        if kernel.name == "errors" and is_wide(self.plan.n_channels, m):
            return (n_pixels, 1), (BLOCK_SIZE,)
        block = BLOCK_SIZE
        while block > _LEAST_BLOCK and -(-n_pixels // block) < self._n_multiprocessors:
            block //= 2
        shares = self._n_shares(n_pixels) if kernel.name == "errors" else 1
        return (-(-n_pixels // block), shares), (block,)

    def _n_shares(self, n_pixels):
        """Into how many shares of the bins the errors of a pixel are divided, so that few pixels fill a device too."""
        n_threads = self._n_multiprocessors * _THREADS_TO_FILL
        return min(max(n_threads // n_pixels, 1), max(len(self.tables.dlogt) // _LEAST_SHARE, 1))

    def _solve_plainly(self, intensity, uncertainty, status, into, weight):
        K, dlogt, logt, options, functional = self._problem
        tables = [None if a is None else cupy.asarray(a) for a in (K, dlogt, logt, functional, self._shared_weight)]
        K, dlogt, logt, functional, shared_weight = tables
        for start in range(0, status.size, _MOST_LANES):
            block = slice(start, start + _MOST_LANES)
            bad = status[block] != 0
            # A bad pixel keeps its lane, as data of zero with an error of one: the others stay where they are.
            solution = solve(
                cupy.where(bad, 0.0, intensity[:, block]),
                cupy.where(bad, 1.0, uncertainty[:, block]),
                K,
                dlogt,
                logt,
                options,
                shared_weight if weight is None else cupy.where(bad, 1.0, weight[:, block]),
                functional,
            )
            is_nan = bad | ((solution.status & self.withheld) != 0)
            for whole, part in zip(into[:-1], solution[:-1], strict=True):
                if whole is not None:
                    whole[..., block] = cupy.where(is_nan, np.nan, part)
            into.status[block] = cupy.where(bad, 0, solution.status)
            if self.plan.dtype == "float32":
                withhold_unfit(into, block)


@lru_cache(maxsize=64)
def _compiled(plan, n_bins, n_functionals, samples):
    """The kernels of a plan, which CuPy compiles for each device once, and keeps on disk."""
    described, n_live = make_kernels(plan, n_bins, n_functionals, samples)
    return described, {k.name: cupy.RawKernel(k.source, k.name, ("--std=c++14",)) for k in described}, n_live


def _allow_shared(kernel, n_bytes):
    """Let a block of threads have so much shared memory. The kernel is compiled here, if it was not before."""
    try:
        kernel.max_dynamic_shared_size_bytes = n_bytes
    except cupy.cuda.compiler.CompileException as err:
        raise RuntimeError(
            "`backend` 'cupy' cannot compile for this GPU, of compute capability "
            f"{int(cupy.cuda.Device().compute_capability) / 10}, with the CUDA of this CuPy: see `cupy.show_config()`"
        ) from err
