"""The text compiled for the processor at hand, and run over blocks of pixels on threads."""

import ctypes
import hashlib
from functools import lru_cache

import llvmlite
import llvmlite.binding as llvm
import numpy as np

from sunpy_demreg._engines._cache import load_code, save_code
from sunpy_demreg._engines._simd import ARGUMENTS, LANES, make_module
from sunpy_demreg._engines._tables import make_tables
from sunpy_demreg._engines._text import DIFFICULT, Plan
from sunpy_demreg._regularization import REFERENCE_SCALE, Solution, solve

__all__ = ["Solver"]

_OPTIMIZATION = 3
_CAREFUL_BLOCK = 256  # lanes that are solved again at once: on plain arrays, which need memory


class Solver:
    """
    Solves stacks of pixels as `sunpy_demreg._regularization.solve` does, from any number of threads.

    Parameters
    ----------
    K, dlogt, logt, options
        As there.
    """

    def __init__(self, K, dlogt, logt, options):
        n = len(K)
        scale = REFERENCE_SCALE if options.parameter_choice == "grid" else 1.0 / K.max()
        self._shared = make_tables(
            K, dlogt, logt, scale=scale, target=n * options.chi_squared_target, growth=options.target_growth
        )
        self._arguments = K, dlogt, logt, options
        plan = Plan(n, options.parameter_choice, options.positivity, options.max_iterations, options.n_samples)
        self._invert = _compiled(plan)

    def __call__(self, intensity, uncertainty, status, into, start, stop):
        """
        Solve the pixels `start` to `stop`.

        Parameters
        ----------
        intensity, uncertainty : array, (n, N), float64, C-contiguous
        status : array, (N,), int32
            Not zero where a pixel is bad.
        into : `sunpy_demreg._regularization.Solution`
            C-contiguous float64 arrays (..., N) that get the answer; its status may hold `DIFFICULT`.
        start, stop : int
        """
        n_full = (stop - start) // LANES * LANES
        if n_full:
            self._run(intensity, uncertainty, status, into, start, start + n_full)
        if start + n_full < stop:
            # The last block is filled up with bad pixels, beside the arrays.
            rest = slice(start + n_full, stop)
            padded = Solution(*(np.empty((*a.shape[:-1], LANES)) for a in into))
            bad = np.ones(LANES, dtype=np.int32)
            bad[: rest.stop - rest.start] = status[rest]
            g, sigma = (np.ones((len(a), LANES)) for a in (intensity, uncertainty))
            g[:, : rest.stop - rest.start], sigma[:, : rest.stop - rest.start] = (
                intensity[:, rest],
                uncertainty[:, rest],
            )
            self._run(g, sigma, bad, padded, 0, LANES)
            for whole, part in zip(into, padded, strict=True):
                whole[..., rest] = part[..., : rest.stop - rest.start]
        self._solve_difficult(intensity, uncertainty, into, start, stop)

    def _run(self, intensity, uncertainty, status, into, start, stop):
        m = self._shared.dlogt.size
        buffers = [_aligned(m * LANES) for _ in range(2)]
        given = {"intensity": intensity, "sigma": uncertainty, "status_in": status}
        given |= self._shared._asdict() | dict(zip(("scratch", "weight"), buffers, strict=True)) | into._asdict()
        self._invert(*(given[name].ctypes.data for name in ARGUMENTS), status.size, start, stop, m)

    def _solve_difficult(self, intensity, uncertainty, into, start, stop):
        with np.errstate(invalid="ignore"):
            difficult = start + np.flatnonzero(into.status[start:stop] >= DIFFICULT)
        for i in range(0, difficult.size, _CAREFUL_BLOCK):
            lanes = difficult[i : i + _CAREFUL_BLOCK]
            with np.errstate(all="ignore"):
                careful = solve(intensity[:, lanes], uncertainty[:, lanes], *self._arguments)
            for whole, part in zip(into, careful, strict=True):
                whole[..., lanes] = part


def _aligned(size):
    """Memory on a boundary of 64 bytes, which registers are loaded from at once."""
    memory = np.empty(size + 8)
    return memory[(-memory.ctypes.data // 8) % 8 :][:size]


@lru_cache(maxsize=64)
def _compiled(plan):
    """The function of a plan; its machine code is kept on disk."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    text = make_module(plan)
    target = llvm.Target.from_default_triple()
    cpu, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    machine = target.create_target_machine(cpu=cpu, features=features, opt=_OPTIMIZATION)
    key = (text, cpu, features, target.triple, llvmlite.__version__, llvm.llvm_version_info, _OPTIMIZATION)
    name = f"{hashlib.sha256(repr(key).encode()).hexdigest()}.o"
    kept = load_code(name)
    module = llvm.parse_assembly(text)
    if kept is None:
        tuning = llvm.create_pipeline_tuning_options(speed_level=_OPTIMIZATION)
        builder = llvm.create_pass_builder(machine, tuning)
        builder.getModulePassManager().run(module, builder)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.set_object_cache(lambda module, code: save_code(name, code), lambda module: kept)
    engine.finalize_object()
    pointer = engine.get_function_address("invert")
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(ARGUMENTS), *[ctypes.c_int64] * 4)(pointer)
    function.engine = engine  # which owns the code
    return function
