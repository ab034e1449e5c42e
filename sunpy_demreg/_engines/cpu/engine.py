"""The algorithm compiled by LLVM for the processor at hand, and run over blocks of pixels on threads."""

import ctypes
import hashlib
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import llvmlite
import llvmlite.binding as llvm
import numpy as np

from sunpy_demreg._common.hardware import available_cores
from sunpy_demreg._engines.algorithm.invert import DIFFICULT
from sunpy_demreg._engines.arrays.engine import flag_failed, solve_carefully
from sunpy_demreg._engines.base.locks import lock_over_forks
from sunpy_demreg._engines.base.prior import RANK
from sunpy_demreg._engines.base.problem import Bins, Pixels, Problem
from sunpy_demreg._engines.base.tables import make_tables
from sunpy_demreg._engines.base.warn_once import warn_once
from sunpy_demreg._engines.base.withhold import settle
from sunpy_demreg._engines.cpu.code_cache import load_code, save_code
from sunpy_demreg._engines.cpu.machine import ARGUMENTS, BUFFERS, CHANNEL_BUFFERS, NUMBERS, SINGLE_TABLES, make_module
from sunpy_demreg._engines.cpu.self_test import SelfTest
from sunpy_demreg._engines.cpu.widths import CHUNK

__all__ = ["Engine", "NoProgramError"]

_BLOCK = 8192  # pixels: ten milliseconds with the standard outputs, so that it can be stopped promptly
_OPTIMIZATION = 3
_IS_UNROLLED = False  # several bins at once would not fit into the registers
_LAYOUT = 2  # version of the file: the expected answer of the test, and the machine code
# Per block: two registers, so that one works while the other waits.
_LANES = 16 if llvm.get_host_cpu_features().get("avx512f") else 8
# Difficult pixels are few, and take different numbers of steps: more lanes would wait for each other.
_CAREFUL_LANES = 4
# Threads that meet their first difficult pixels wait for the one that compiles the code for them.
_PREPARING = lock_over_forks()


class NoProgramError(RuntimeError):
    """The code cannot be compiled here, or gives wrong answers."""


class Engine:
    """
    Solves by compiled code, from any number of threads: see `sunpy_demreg._engines`, which has the parameters too.

    Only one thread at a time may make one.

    Parameters
    ----------
    program : callable, optional
        The compiled function, by default one that has been tested.

    Raises
    ------
    NoProgramError
        Where there is none.
    """

    def __init__(self, problem, pixels, into, withheld, workers=None, program=None):
        self._pixels, self._into, self._withheld = pixels, into, withheld
        self._plan = problem.plan(into.dtype)
        shared_weight = None if problem.has_weight_of_pixels else problem.weight
        arrays = *problem.bins, problem.K, shared_weight, problem.functional
        self._tables = _tabulated(problem.options, *map(_key, arrays))
        self.block_size, self.n_threads = _BLOCK, workers or available_cores()
        program = program or _tested(self._plan)
        if isinstance(program, str):
            raise NoProgramError(program)
        self._task = _Task(program, self._tables, self._plan, pixels, into)

    def solve_into(self, block):
        pixels, into = self._pixels, self._into
        if block != slice(0, pixels.status.size):  # slicing would take a twentieth of the time of a single pixel
            pixels, into = pixels.at(block), into.at(block)
        has_good = not pixels.status.all()
        if has_good:
            self.run_program(block)
            difficult = np.flatnonzero(into.status >= DIFFICULT)
            if difficult.size:
                into.put(difficult, self._solve_carefully(pixels, into, difficult))
        settle(into, pixels.status, self._withheld, bad_is_nan=has_good)
        return [block]

    def run_program(self, block):
        """Solve a block, except for difficult pixels and those without an answer, which are left to others."""
        self._task.run(block)

    def _solve_carefully(self, pixels, into, lanes):
        # In double precision, as on plain arrays: what does not fit into single precision is told by others.
        plan = self._plan._replace(dtype="float64")
        with _PREPARING:
            program = _tested(plan, is_careful=True)
        # Copies, side by side.
        part = Pixels(*(None if a is None else np.take(a, lanes, axis=-1) for a in pixels))
        if isinstance(program, str):
            warn_once(
                "careful",
                "`backend` 'cpu' solves difficult pixels on plain arrays, whose answer is the same but slower "
                f"({program}): install another version of llvmlite, or pass backend='numpy' to leave it at that",
            )
            intensity, uncertainty, _, weight = part
            return solve_carefully(intensity, uncertainty, self._tables.careful, plan, weight)
        answer = into.map(lambda a: np.empty((*a.shape[:-1], lanes.size), np.promote_types(a.dtype, np.float64)))
        answer = answer._replace(status=np.empty(lanes.size, np.int32))
        _Task(program, self._tables, plan, part, answer).run(slice(0, lanes.size))
        return flag_failed(answer, part.intensity, plan)


class _Task:
    """A program, and the pixels that it is to solve; the parameters are those of `Engine`."""

    def __init__(self, program, tables, plan, pixels, into):
        self._program, self._tables, self._plan, self._into = program, tables, plan, into
        self._n_lanes = n_lanes = program.n_lanes
        intensity, uncertainty, status, weight = pixels
        self._given = {"intensity": intensity, "sigma": uncertainty, "given_weight": weight, "status_in": status}
        # Fewer pixels than a block are solved in arrays of their own.
        arrays = self._given | into._asdict() if status.size >= n_lanes else {}
        self._addresses = {name: _address(array) for name, array in arrays.items()}

    def run(self, block):
        n_full = (block.stop - block.start) // self._n_lanes * self._n_lanes
        middle = block.start + n_full
        if n_full:
            self._run(self._addresses, self._into.status.size, block.start, middle)
        if middle < block.stop:
            self._run_beside(slice(middle, block.stop))

    def _run_beside(self, rest):
        """Solve less than a block of pixels, in arrays of their own that are filled up with bad pixels."""
        arrays, n_lanes = self._given | self._into._asdict(), self._n_lanes
        offsets, size = {}, 0
        for name, array in arrays.items():
            if array is not None:
                offsets[name] = size
                size += -(-array.nbytes // array.shape[-1] * n_lanes // 64) * 64
        memory, address = _aligned(size // 8)
        padded = {
            name: np.ndarray((*arrays[name].shape[:-1], n_lanes), arrays[name].dtype, memory, offset)
            for name, offset in offsets.items()
        }
        n_rest = rest.stop - rest.start
        padded["status_in"][n_rest:] = 1
        for name in self._given.keys() & padded.keys():
            padded[name][..., :n_rest] = self._given[name][..., rest]
        self._run({name: address + offset for name, offset in offsets.items()}, n_lanes, 0, n_lanes)
        for name in padded.keys() - self._given.keys():
            arrays[name][..., rest] = padded[name][..., :n_rest]

    def _run(self, addresses, stride, start, stop):
        tables, m = self._tables.compiled, self._tables.compiled["dlogt"].size
        n_terms = RANK if self._plan.method == "lognormal" else self._plan.n_channels
        n_each = [1] * len(BUFFERS) + [n_terms] * len(CHANNEL_BUFFERS)
        *offsets, size = accumulate((8 * self._n_lanes * _padded(m) * n for n in n_each), initial=0)
        _memory, address = _aligned(size // 8)  # kept by its name until the call returns
        buffers = {name: address + offset for name, offset in zip((*BUFFERS, *CHANNEL_BUFFERS), offsets, strict=True)}
        addresses = addresses | self._tables.addresses | buffers
        pointers = [addresses.get(name) for name in ARGUMENTS]
        n_neighbors = tables["mean"].shape[1] if "mean" in tables else 0
        self._program(*pointers, stride, start, stop, m, len(tables["functional"]), n_neighbors)


def _aligned(size):
    """Zeros aligned to 64 bytes, for fast loads into registers, and their address."""
    memory = np.zeros(size + 8)
    address = _address(memory)
    skipped = -address // 8 % 8
    return memory[skipped:], address + 8 * skipped


def _address(array):
    return None if array is None else array.__array_interface__["data"][0]


def _key(array):
    return None if array is None else (array.shape, np.ascontiguousarray(array, dtype=float).tobytes())


class _Tabulated(NamedTuple):
    """The tables of a problem: as plain arrays take them, and as compiled code reads them."""

    careful: object
    compiled: dict
    addresses: dict


@lru_cache(maxsize=64)  # also for callers whose pixels lack one channel or another
def _tabulated(options, *keys):
    """The tables of a problem, made once for callers that invert pixel by pixel."""
    *bins, K, weight, functional = (None if key is None else np.frombuffer(key[1]).reshape(key[0]) for key in keys)
    careful_tables = make_tables(Problem(Bins(*bins), K, options, weight, functional))
    # The compiled code reads memory, not arrays.
    tables = careful_tables._asdict().items()
    tables = {name: np.ascontiguousarray(table) for name, table in tables if table is not None}
    of_columns = "prior" if "prior" in tables else "response"
    columns = tables[of_columns]
    columns = np.pad(columns, ((0, _padded(len(columns)) - len(columns)), (0, 0)))
    tables[of_columns] = columns
    singles = columns / np.abs(columns).max(), tables["fraction"]
    tables |= {name: t.astype(np.float32) for name, t in zip(SINGLE_TABLES, singles, strict=True)}
    return _Tabulated(careful_tables, tables, {name: _address(table) for name, table in tables.items()})


def _padded(n_bins):
    """To whole chunks."""
    return -(-n_bins // CHUNK) * CHUNK


@lru_cache(maxsize=64)
def _tested(plan, *, is_careful=False):
    """The function of a plan, or why there is none. Its machine code is kept on disk, with the answer to the test."""
    try:
        n_lanes = _CAREFUL_LANES if is_careful else _LANES
        test = SelfTest(plan, 2 * n_lanes + 7, is_careful=is_careful)
        name, machine, text = _machine_and_text(plan, test, n_lanes, is_careful)
        kept = load_code(name)
        code, expected = (_compiled(machine, text), test.expected()) if kept is None else _divided(kept)
        program = _loaded(machine, code)
        program.n_lanes = n_lanes
        pixels, into = test.pixels, test.new_solution()
        Engine(test.problem, pixels, into, 0, program=program).run_program(slice(0, pixels.status.size))
        fault = test.find_fault(into, expected)
    except MemoryError:
        raise
    except Exception as err:  # an llvmlite of the future may raise anything
        return f"the code cannot be compiled: {type(err).__name__}: {err}"
    if fault is not None:
        return f"the compiled code is wrong: {fault}"
    if kept is None:
        save_code(name, _joined(code, expected))
    return program


def _joined(code, expected):
    return np.array(expected.shape).tobytes() + expected.tobytes() + code


def _divided(kept):
    shape = np.frombuffer(kept, int, 2)
    expected = np.frombuffer(kept, float, np.prod(shape), shape.nbytes).reshape(shape)
    return kept[shape.nbytes + expected.nbytes :], expected


def _machine_and_text(plan, test, n_lanes, is_careful):
    """The name of the machine code on disk, and the target machine and the text that it is compiled from."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    text = make_module(plan, n_lanes, is_careful=is_careful)
    target = llvm.Target.from_default_triple()
    cpu, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    machine = target.create_target_machine(cpu=cpu, features=features, opt=_OPTIMIZATION)
    versions = llvmlite.__version__, llvm.llvm_version_info
    key = text, cpu, features, target.triple, *versions, _OPTIMIZATION, _IS_UNROLLED, test.given(), _LAYOUT
    return f"{hashlib.sha256(repr(key).encode()).hexdigest()}.o", machine, text


def _compiled(machine, text):
    """
    Machine code, as an object file.

    Nothing here calls back into Python, where Ctrl-C would be lost: it takes effect between two calls.
    """
    module = llvm.parse_assembly(text)
    tuning = llvm.create_pipeline_tuning_options(speed_level=_OPTIMIZATION)
    tuning.loop_unrolling = _IS_UNROLLED
    builder = llvm.create_pass_builder(machine, tuning)
    builder.getModulePassManager().run(module, builder)
    return machine.emit_object(module)


def _loaded(machine, code):
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    pointer = engine.get_function_address("invert")
    if not pointer:
        raise RuntimeError("the object file has no function")
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(ARGUMENTS), *[ctypes.c_int64] * len(NUMBERS))(pointer)
    function.engine = engine  # which owns the code
    return function
