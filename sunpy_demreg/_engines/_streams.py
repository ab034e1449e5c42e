"""Pixels through a GPU: those whose arrays are there, and those of the host, which go there and back in batches."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor

import cupy
import cupyx
import numpy as np

from sunpy_demreg._engines._difficult import solve_difficult
from sunpy_demreg._engines._tables import Solution
from sunpy_demreg._engines._text import DIFFICULT

__all__ = ["solve_on_device", "stream"]

_N_STREAMS = 2  # while one computes, the other copies
_MOST_PIXELS = 2**17  # of a batch: more would only take longer to fill and to empty
_LEAST_PIXELS = 2**10
_SHARE_OF_MEMORY = 0.5  # of what is free


def solve_on_device(solver, intensity, uncertainty, status, into, weight=None):
    """
    Solve pixels whose arrays are on the device, on the current stream.

    Parameters
    ----------
    solver : `sunpy_demreg._engines.gpu.Solver`
    intensity, uncertainty, status, into, weight
        As it takes them.
    """
    solver(intensity, uncertainty, status, into, weight)
    difficult = cupy.flatnonzero(into.status >= DIFFICULT)
    if not difficult.size:
        return
    given = (None if a is None else a[:, difficult].get() for a in (intensity, uncertainty, weight))
    part = Solution(*(None if a is None else a[..., difficult].get() for a in into))
    _solve_difficult(solver, *given, part, slice(0, difficult.size))
    for whole, answer in zip(into, part, strict=True):
        if whole is not None:
            whole[..., difficult] = cupy.asarray(answer)


def stream(solver, intensity, uncertainty, status, into, weight=None, workers=None):
    """
    Solve pixels whose arrays, of NumPy, are on the host.

    Batches go through page-locked memory, on two streams of their own: the copies of one and the computation of the
    other happen at the same time. A batch that finds no memory is halved.

    Parameters
    ----------
    solver : `sunpy_demreg._engines.gpu.Solver`
    intensity, uncertainty : array, (n, N), float64
    status : array, (N,), int32
    into : `Solution`
        Arrays (..., N) that get the answer; None what is not asked for.
    weight : array, (m, N), float64, optional
    workers : int, optional
        Threads that copy.

    Yields
    ------
    slice
        Pixels whose answer is there.

    Raises
    ------
    MemoryError
        Where even the smallest batch finds no memory on the device.
    """
    if not status.size:
        return
    given = [a for a in (intensity, uncertainty, weight) if a is not None]
    answers = [a.reshape(-1, status.size) for a in into[:-1] if a is not None]
    bytes_per_pixel = sum(len(a) * a.itemsize for a in (*given, *answers)) + 2 * status.itemsize
    free = cupy.cuda.Device().mem_info[0] + cupy.get_default_memory_pool().free_bytes()
    size = int(_SHARE_OF_MEMORY * free) // (_N_STREAMS * bytes_per_pixel)
    size = max(min(size, _MOST_PIXELS), _LEAST_PIXELS)
    cupy.cuda.get_current_stream().synchronize()  # the tables of the solver came on that one
    done, batches = 0, []
    with ThreadPoolExecutor(workers) as pool:
        while done < status.size:
            try:
                size = min(size, status.size - done)
                for _ in range(_N_STREAMS):
                    batches.append(_Batch(solver, size, pool, given, status, into, answers))
                for block in _through(batches, done, status.size, size):
                    done = block.stop
                    yield block
            except cupy.cuda.memory.OutOfMemoryError as err:
                if size <= _LEAST_PIXELS:
                    raise MemoryError(
                        f"the GPU has no memory for a batch of {size} pixels, of {bytes_per_pixel} bytes each and what "
                        f"is needed to solve them ({err}): free some, or ask for fewer `outputs`; the input is as it was"
                    ) from err
                size = max(size // 2, _LEAST_PIXELS)
            finally:
                for batch in batches:
                    batch.stream.synchronize()  # nothing may be copied into memory that others have by then
                batches.clear()


def _through(batches, start, stop, size):
    """Blocks of pixels, in order, as they are done."""
    idle, busy = list(batches), deque()
    for first in range(start, stop, size):
        if not idle:
            idle.append(busy.popleft())
            yield idle[-1].finish()
        busy.append(idle.pop())
        busy[-1].begin(slice(first, min(first + size, stop)))
    for batch in busy:
        yield batch.finish()


class _Batch:
    """Memory for a block of pixels, on the device and page-locked on the host, and the stream that it is used on."""

    def __init__(self, solver, size, pool, given, status, into, answers):
        self._solver, self._pool = solver, pool
        self._given, self._status, self._into, self._answers = given, status, into, answers
        self._n_given, self._n_answers = (sum(map(len, arrays)) for arrays in (given, answers))
        dtype = answers[0].dtype if answers else np.float64
        sizes = {"given": self._n_given * size, "status": size, "answer": self._n_answers * size, "bits": size}
        kinds = {"given": np.float64, "status": np.int32, "answer": dtype, "bits": np.int32}
        self.stream = cupy.cuda.Stream(non_blocking=True)
        with self.stream:
            self._there = {name: cupy.empty(n, kinds[name]) for name, n in sizes.items()}
        self._here = {name: cupyx.empty_pinned(n, kinds[name]) for name, n in sizes.items()}

    def begin(self, block):
        """Queue all that is to be done for a block."""
        self._block = block
        given, given_there = self._rows("given", self._n_given)
        status, status_there = self._rows("status", 1)
        self._copy(given, self._rows_of(self._given))
        self._copy(status, [self._status[block]])
        answer, answer_there = self._rows("answer", self._n_answers)
        bits, bits_there = self._rows("bits", 1)
        parts = iter(np.split(np.arange(self._n_answers), np.cumsum([len(a) for a in self._answers])[:-1]))
        into = (None if a is None else answer_there[(part := next(parts))[0] : part[-1] + 1] for a in self._into[:-1])
        n = len(self._given[0])
        with self.stream:
            given_there.set(given, stream=self.stream)
            status_there.set(status, stream=self.stream)
            weight = given_there[2 * n :] if len(self._given) > 2 else None
            self._solver(
                given_there[:n], given_there[n : 2 * n], status_there[0], Solution(*into, status=bits_there[0]), weight
            )
            answer_there.get(out=answer, stream=self.stream, blocking=False)
            bits_there.get(out=bits, stream=self.stream, blocking=False)

    def finish(self):
        """Wait for the block, and put its answer into the arrays."""
        self.stream.synchronize()
        block = self._block
        self._copy(self._rows_of(self._answers), self._rows("answer", self._n_answers)[0])
        self._into.status[block] = self._rows("bits", 1)[0][0]
        intensity, uncertainty, *weight = self._given
        _solve_difficult(self._solver, intensity, uncertainty, weight[0] if weight else None, self._into, block)
        return block

    def _rows(self, name, n_rows):
        """Memory for the block, contiguous: of the host, and of the device."""
        n_pixels = self._block.stop - self._block.start
        return [memory[name][: n_rows * n_pixels].reshape(n_rows, n_pixels) for memory in (self._here, self._there)]

    def _rows_of(self, arrays):
        return [row[self._block] for array in arrays for row in array]

    def _copy(self, destinations, sources):
        for _ in self._pool.map(np.copyto, destinations, sources):
            pass


def _solve_difficult(solver, intensity, uncertainty, weight, into, block):
    """As `solve_difficult`, and NaN for the pixels that are withheld."""
    lanes = block.start + np.flatnonzero(into.status[block] >= DIFFICULT)
    if not lanes.size:
        return
    solve_difficult(intensity, uncertainty, solver.tables, solver.plan, weight, into, block.start, block.stop)
    unsolved = lanes[(into.status[lanes] & solver.withheld) != 0]
    for output in into[:-1]:
        if output is not None:
            output[..., unsolved] = np.nan
