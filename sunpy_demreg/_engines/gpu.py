"""The text compiled by CuPy for a GPU, where each pixel is a thread."""

from functools import lru_cache

import cupy
import numpy as np

from sunpy_demreg._engines._cuda import arguments, make_source, pack_tables
from sunpy_demreg._engines._tables import make_plan, make_tables
from sunpy_demreg._regularization import solve

__all__ = ["BLOCK_SIZE", "MAX_CHANNELS", "Solver", "check_device"]

BLOCK_SIZE = 128  # threads that share the tables
MAX_CHANNELS = 12  # all loops over channels are unrolled: more of them take minutes to compile
_LEAST_CAPABILITY = 60  # compute capability times ten: the oldest that the kernel is compiled for in the tests
_THREADS_TO_FILL = 512  # of a multiprocessor
_LEAST_SHARE = 8  # bins: all that comes before the errors is done once for each share
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
    Solves stacks of pixels as `sunpy_demreg._regularization.solve` does, on the current device and stream.

    Parameters
    ----------
    K, dlogt, logt, functional
        As there, of NumPy.
    options, dtype
        As of `sunpy_demreg._engines.cpu.Solver`.
    weight : array, (m,) or (m, N), optional
        Of NumPy, but that of each pixel is given again with the pixels, and only its shape matters here.
    withheld : int
        Bits of `Status`: pixels that have one get NaN.

    Attributes
    ----------
    tables, plan, withheld
        Of NumPy: for the pixels that the kernel marks as ``DIFFICULT``.
    kernel : `cupy.RawKernel` or None
        None where there are too many channels, or tables that are too large: then the plain arrays of CuPy solve.
    """

    def __init__(self, K, dlogt, logt, options, weight=None, functional=None, dtype="float64", withheld=0):
        check_device()
        n, m = K.shape
        self.plan = make_plan(n, options, weight)._replace(dtype=dtype)
        self.tables = make_tables(K, dlogt, logt, options, weight, functional)
        self._problem = K, dlogt, logt, options, functional
        self._shared_weight = weight if self.plan.weighting == "shared" else None
        self.withheld = int(withheld)
        packed = pack_tables(self.tables)
        self.kernel = None
        # A matrix of more channels than bins is singular: that needs the care of the plain arrays.
        if n <= min(m, MAX_CHANNELS) and packed.nbytes <= cupy.cuda.Device().attributes["MaxSharedMemoryPerBlockOptin"]:
            self.kernel = _compiled(self.plan, m, len(self.tables.functional))
            _allow_shared(self.kernel, packed.nbytes)
            self._packed = cupy.asarray(packed)

    def __call__(self, intensity, uncertainty, status, into, weight=None):
        """
        Solve pixels; the kernel is not waited for.

        Parameters
        ----------
        intensity, uncertainty : `cupy.ndarray`, (n, N), float64, C-contiguous
        status : `cupy.ndarray`, (N,), int32
            Not zero where a pixel is bad.
        into : `Solution`
            C-contiguous arrays (..., N) that get the answer; None what is not asked for.
        weight : `cupy.ndarray`, (m, N), float64, C-contiguous, optional
            Of each pixel, where the weighting asks for it.
        """
        if not status.size:
            return
        if self.kernel is None:
            self._solve_plainly(intensity, uncertainty, status, into, weight)
            return
        given = {"intensity": intensity, "sigma": uncertainty, "given_weight": weight, "status_in": status}
        given |= {"tables": self._packed, "n_pixels": status.size, "withheld": self.withheld} | into._asdict()
        self.kernel(
            (-(-status.size // BLOCK_SIZE), self._n_shares(status.size)),
            (BLOCK_SIZE,),
            tuple(given[name] for names in arguments(self.plan) for name in names),
            shared_mem=self._packed.nbytes,
        )

    def _n_shares(self, n_pixels):
        """Into how many shares of the bins the errors of a pixel are divided, so that few pixels fill a device too."""
        n_threads = cupy.cuda.Device().attributes["MultiProcessorCount"] * _THREADS_TO_FILL
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


@lru_cache(maxsize=64)
def _compiled(plan, n_bins, n_functionals):
    """The kernel of a plan, which CuPy compiles for each device once, and keeps on disk."""
    return cupy.RawKernel(make_source(plan, n_bins, n_functionals, BLOCK_SIZE), "invert", ("--std=c++14",))


def _allow_shared(kernel, n_bytes):
    """Let a block of threads have so much shared memory. The kernel is compiled here, if it was not before."""
    try:
        kernel.max_dynamic_shared_size_bytes = n_bytes
    except cupy.cuda.compiler.CompileException as err:
        raise RuntimeError(
            "`backend` 'cupy' cannot compile for this GPU, of compute capability "
            f"{int(cupy.cuda.Device().compute_capability) / 10}, with the CUDA of this CuPy: see `cupy.show_config()`"
        ) from err
