"""The algorithm compiled by CuPy for a GPU, where each pixel is a thread, and its launch."""

from functools import lru_cache

import cupy

from sunpy_demreg._engines.arrays import engine as arrays
from sunpy_demreg._engines.base.problem import Bins
from sunpy_demreg._engines.base.tables import make_tables
from sunpy_demreg._engines.gpu.kernels import (
    BLOCK_SIZE,
    in_code_of,
    is_wide,
    make_kernels,
    pack_tables,
)
from sunpy_demreg._engines.gpu.memory import is_out_of_memory, no_memory_told

__all__ = ["Launcher", "check_device"]

_LEAST_CAPABILITY = 60  # compute capability times ten: the oldest that the kernel is compiled for in the tests
_THREADS_TO_FILL = 512  # of a multiprocessor
_LEAST_SHARE = 8  # bins: a column's weights are read once for each share
_LEAST_BLOCK = 64  # threads, where there are few pixels
_WORKSPACE = 2**29  # bytes that one kernel passes to the other
_LEAST_WORKSPACE = 2**10  # pixels
_MOST_LANES = 2**16  # for the plain arrays at a time


def check_device():
    """Raise, with the cure, if there is no usable GPU."""
    cure = "pass backend='cpu' and NumPy arrays"
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


class Launcher:
    """
    Solves pixels that are on the current device, on the current stream.

    Parameters
    ----------
    problem : `sunpy_demreg._engines.base.problem.Problem`
        Of NumPy; a weight of each pixel is given again with the pixels, and only its shape matters here.
    dtype : {"float64", "float32"}
        Of the outputs.
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
        Bytes that the kernels pass to each other.
    """

    def __init__(self, problem, dtype="float64", withheld=0):
        check_device()
        self.plan, self.tables = problem.plan(dtype), make_tables(problem)
        self._problem, self.withheld = problem, int(withheld)
        self.kernels, self.workspace_per_pixel = {}, 0
        if not problem.can_be_compiled:
            return
        m = len(self.tables.dlogt)
        n_neighbors = 0 if self.tables.mean is None else self.tables.mean.shape[1]
        described, kernels, n_live = _compiled(
            self.plan, m, len(self.tables.functional), in_code_of(self.tables), n_neighbors
        )
        attributes = cupy.cuda.Device().attributes
        if any(kernel.n_shared > attributes["MaxSharedMemoryPerBlockOptin"] for kernel in described):
            return
        with no_memory_told("for the code of the kernels and their tables", "free some"):
            for kernel in described:
                _allow_shared(kernels[kernel.name], kernel.n_shared)
            tables = cupy.asarray(pack_tables(self.tables, self.plan))
        self._described, self.kernels = described, kernels
        self._n_rows, self._n_multiprocessors = m + n_live, attributes["MultiProcessorCount"]
        self.workspace_per_pixel = 8 * self._n_rows
        self._given = {"tables": tables, "withheld": self.withheld}

    def workspace(self, n_pixels):
        """
        Memory for what the kernels pass to each other, for as many of the pixels at a time as fit.

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

    def __call__(self, pixels, into, workspace=None):
        """
        Solve pixels; the kernels are not waited for.

        Bad and withheld pixels get NaN: the kernels write it along with the other outputs, at no cost.

        Parameters
        ----------
        pixels : `sunpy_demreg._engines.base.problem.Pixels`
            C-contiguous arrays of CuPy.
        into : `sunpy_demreg._engines.base.solution.Solution`
            C-contiguous arrays that get the answer; None what is not asked for.
        workspace : `cupy.ndarray`, optional
            Made by the method of that name; nothing else may use it before the kernels are done.
        """
        intensity, uncertainty, status, weight = pixels
        if not status.size:
            return
        if not self.kernels:
            self._solve_plainly(pixels, into)
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
        """The number of blocks, and of threads in each."""
        m = len(self.tables.dlogt)
        if kernel.name == "errors" and is_wide(self.plan, m):
            return (n_pixels, 1), (BLOCK_SIZE,)
        block = BLOCK_SIZE
        while block > _LEAST_BLOCK and -(-n_pixels // block) < self._n_multiprocessors:
            block //= 2
        shares = self._n_shares(n_pixels) if kernel.name == "errors" else 1
        return (-(-n_pixels // block), shares), (block,)

    def _n_shares(self, n_pixels):
        """How many threads share the bins in the errors of a pixel, so that even few pixels keep a device busy."""
        n_threads = self._n_multiprocessors * _THREADS_TO_FILL
        return min(max(n_threads // n_pixels, 1), max(len(self.tables.dlogt) // _LEAST_SHARE, 1))

    def _solve_plainly(self, pixels, into):
        bins, K, _, weight, functional, _ = self._problem
        problem = self._problem._replace(
            bins=Bins(*map(cupy.asarray, bins)),
            K=cupy.asarray(K),
            weight=weight if weight is None or self._problem.has_weight_of_pixels else cupy.asarray(weight),
            functional=None if functional is None else cupy.asarray(functional),
        )
        engine = arrays.Engine(problem, pixels, into, self.withheld)
        for start in range(0, pixels.status.size, _MOST_LANES):
            engine.solve_into(slice(start, start + _MOST_LANES))


@lru_cache(maxsize=64)
def _compiled(plan, n_bins, n_functionals, in_code, n_neighbors):
    """The kernels of a plan, which CuPy compiles for each device once, and keeps on disk."""
    described, n_live = make_kernels(plan, n_bins, n_functionals, in_code, n_neighbors)
    return described, {k.name: cupy.RawKernel(k.source, k.name, ("--std=c++14",)) for k in described}, n_live


def _allow_shared(kernel, n_bytes):
    """Allow a block of threads this much shared memory. This compiles the kernel, unless it is compiled already."""
    try:
        kernel.max_dynamic_shared_size_bytes = n_bytes
    except cupy.cuda.compiler.CompileException as err:
        raise RuntimeError(
            "`backend` 'cupy' cannot compile for this GPU, of compute capability "
            f"{int(cupy.cuda.Device().compute_capability) / 10}, with the CUDA of this CuPy: see `cupy.show_config()`"
        ) from err
