"""Solving on a GPU: arrays that are there already, and arrays of the host, which are streamed in batches."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from queue import SimpleQueue
from threading import Event, Thread

import cupy
import numpy as np

from sunpy_demreg._engines.algorithm.invert import DIFFICULT
from sunpy_demreg._engines.arrays.difficult import solve_difficult
from sunpy_demreg._engines.base.problem import Pixels
from sunpy_demreg._engines.base.solution import Solution
from sunpy_demreg._engines.base.withhold import settle, settle_status
from sunpy_demreg._engines.gpu.memory import is_out_of_memory, no_memory_told
from sunpy_demreg._engines.gpu.page_locked import PageLocked

__all__ = ["solve_on_device", "stream"]

_N_BATCHES = 3  # while one is computed, another is filled, and a third emptied
_MOST_BYTES = 335_000_000  # of a batch on the host: 2**19 pixels of 41 bins in float32, which was the best measured
_LEAST_PARTS, _SMALL_PART = 12, 2**16  # at least so many batches, unless they would have fewer pixels than this
_LEAST_PIXELS = 2**10
_ALIGNED = 64  # pixels: rows begin at a boundary of the memory accesses of the device
_SHARE_OF_MEMORY = 0.5  # of what is free
_TASKS = 6  # into which the copy of an array is divided
_page_locked = PageLocked(_N_BATCHES * _MOST_BYTES)


def solve_on_device(launcher, pixels, into):
    """
    Solve pixels whose arrays are on the device, on the current stream.

    Parameters
    ----------
    launcher : `sunpy_demreg._engines.gpu.launcher.Launcher`
    pixels, into
        As it takes them.

    Raises
    ------
    MemoryError
        If there is not even memory to solve a few pixels.
    """
    what = f"to solve {pixels.status.size} pixels, beside the data and their answer"
    with no_memory_told(
        what, "free some, ask for fewer `outputs`, or pass arrays of the host, which go through in batches"
    ):
        launcher(pixels, into)
        difficult = cupy.flatnonzero(into.status >= DIFFICULT)
        if difficult.size:
            part = into.at(difficult).map(cupy.asnumpy)
            _solve_difficult(launcher, Pixels(*(None if a is None else a[..., difficult].get() for a in pixels)), part)
            into.put(difficult, part.map(cupy.asarray))
    settle_status(into.status, pixels.status, launcher.withheld)


def stream(launcher, pixels, into, workers=None):
    """
    Solve pixels whose arrays, of NumPy, are on the host.

    Batches go through page-locked memory, on a stream each. One thread fills them and starts the work; the caller's
    empties them. So copies of the host, copies of the bus in both directions, and the computation happen at the same
    time. If there is no memory for a batch, the following ones are half as large.

    Parameters
    ----------
    launcher : `sunpy_demreg._engines.gpu.launcher.Launcher`
    pixels : `sunpy_demreg._engines.base.problem.Pixels`
    into : `sunpy_demreg._engines.base.solution.Solution`
        Arrays that get the answer; None what is not asked for.
    workers : int, optional
        Threads that copy.

    Yields
    ------
    slice
        Pixels whose answer is there.

    Raises
    ------
    MemoryError
        If there is no memory on the device even for the smallest batch.
    """
    intensity, uncertainty, status, weight = pixels
    if not status.size:
        return
    given = [a for a in (intensity, uncertainty, weight) if a is not None]
    answers = [a.reshape(-1, status.size) for a in into[:-1] if a is not None]
    bytes_per_pixel = sum(len(a) * a.itemsize for a in (*given, *answers)) + 2 * status.itemsize
    free = cupy.cuda.Device().mem_info[0] + cupy.get_default_memory_pool().free_bytes()
    fitting = int(_SHARE_OF_MEMORY * free) // (_N_BATCHES * (bytes_per_pixel + launcher.workspace_per_pixel))
    part = max(-(-status.size // _LEAST_PARTS), _SMALL_PART)
    size = max(min(part, _MOST_BYTES // bytes_per_pixel, fitting) // _ALIGNED * _ALIGNED, _LEAST_PIXELS)
    cupy.cuda.get_current_stream().synchronize()  # the tables of the launcher came on that one
    done, batches, streams = 0, [], []
    with ThreadPoolExecutor(workers) as pool:
        while True:
            try:
                while len(streams) < _N_BATCHES:  # first: they need memory that is not in the pool
                    streams.append(cupy.cuda.Stream(non_blocking=True))
                size = min(size, status.size - done)
                for batch_stream in streams[: -(-(status.size - done) // size)]:
                    batches.append(_Batch(launcher, size, batch_stream, pool, pixels, given, into, answers))
                for block in _through(batches, done, status.size, size):
                    done = block.stop
                    yield block
                return
            except Exception as err:
                if not is_out_of_memory(err):
                    raise
                if size <= _LEAST_PIXELS:
                    raise MemoryError(
                        f"the GPU has no memory for a batch of {size} pixels, of {bytes_per_pixel} bytes each and what "
                        f"solving them needs ({err}): free some, or ask for fewer `outputs`; the input is unchanged"
                    ) from err
                size = max(size // 2, _LEAST_PIXELS)
            finally:
                while batches:
                    batches.pop().close()
            cupy.get_default_memory_pool().free_all_blocks()  # for what the pool does not serve: streams, and kernels


def _through(batches, start, stop, size):
    """Blocks of pixels, in order, as they are done."""
    idle, busy, is_over, device = SimpleQueue(), SimpleQueue(), Event(), cupy.cuda.Device()
    for batch in batches:
        idle.put(batch)

    def feed():
        with device:
            for first in range(start, stop, size):
                batch = idle.get()
                if is_over.is_set():
                    return
                try:
                    batch.begin(slice(first, min(first + size, stop)))
                except BaseException as err:
                    busy.put(err)
                    return
                busy.put(batch)

    feeder = Thread(target=feed, name="sunpy_demreg-gpu")
    feeder.start()
    try:
        for _ in range(start, stop, size):
            batch = busy.get()
            if isinstance(batch, BaseException):
                try:
                    raise batch
                finally:
                    del batch  # or the error, which refers to this frame, would keep memory of the device alive
            block = batch.finish()
            idle.put(batch)
            yield block
    finally:
        is_over.set()
        idle.put(None)
        feeder.join()


class _Batch:
    """Memory for a block of pixels, on the device and page-locked on the host, and the stream that it is used on."""

    def __init__(self, launcher, size, stream, pool, pixels, given, into, answers):
        self._launcher, self.stream, self._pool = launcher, stream, pool
        self._pixels, self._given, self._into, self._answers = pixels, given, into, answers
        status = pixels.status
        n_given, n_answers = (sum(map(len, arrays)) for arrays in (given, answers))
        dtype = answers[0].dtype if answers else np.dtype(float)
        kinds = {  # the wider numbers first, so that all are aligned
            "given": (n_given, np.dtype(float)),
            "answer": (n_answers, dtype),
            "status": (1, status.dtype),
            "bits": (1, status.dtype),
        }
        with self.stream:
            self._there = {name: cupy.empty(rows * size, kind) for name, (rows, kind) in kinds.items()}
            self._workspace = launcher.workspace(size)
        self._piece = _page_locked.take(sum(rows * size * kind.itemsize for rows, kind in kinds.values()), pool)
        self._here, self._n_rows, start = {}, {}, 0
        for name, (rows, kind) in kinds.items():
            stop = start + rows * size * kind.itemsize
            self._here[name], self._n_rows[name], start = self._piece[start:stop].view(kind), rows, stop

    def begin(self, block):
        """Queue all that is to be done for a block."""
        self._block = block
        here, there = self._rows(self._here), self._rows(self._there)
        copies = self._copy(zip(_divided(here["given"], self._given), [a[:, block] for a in self._given], strict=True))
        here["status"][0] = self._pixels.status[block]
        for copy in copies:
            copy.result()
        parts = iter(_divided(there["answer"], self._answers))
        outputs = [None if a is None else next(parts) for a in self._into[:-1]]
        intensity, uncertainty, *weight = _divided(there["given"], self._given)
        with self.stream:
            for name in ("given", "status"):
                there[name].set(here[name], stream=self.stream)
            self._launcher(
                Pixels(intensity, uncertainty, there["status"][0], *weight),
                Solution(*outputs, status=there["bits"][0]),
                self._workspace,
            )
            for name in ("answer", "bits"):
                there[name].get(out=here[name], stream=self.stream, blocking=False)

    def finish(self):
        """Wait for the block, and put its answer into the arrays."""
        self.stream.synchronize()
        block, here = self._block, self._rows(self._here)
        whole = [a[:, block] for a in self._answers]
        copies = self._copy(zip(whole, _divided(here["answer"], self._answers), strict=True))
        self._into.status[block] = here["bits"][0]
        for copy in copies:
            copy.result()
        pixels, into = self._pixels.at(block), self._into.at(block)
        _solve_difficult(self._launcher, pixels, into)
        settle_status(into.status, pixels.status, self._launcher.withheld)
        return block

    def close(self):
        """Wait until no copy is in progress, and give the memory back."""
        self.stream.synchronize()
        self._here = self._there = self._workspace = None
        _page_locked.give_back(self._piece)

    def _rows(self, memory):
        """Of the block, contiguous."""
        n_pixels = self._block.stop - self._block.start
        return {name: memory[name][: n * n_pixels].reshape(n, n_pixels) for name, n in self._n_rows.items()}

    def _copy(self, pairs):
        """Copy arrays to arrays, in a few tasks of many rows each."""
        return [
            self._pool.submit(np.copyto, to[rows[0] : rows[-1] + 1], source[rows[0] : rows[-1] + 1])
            for to, source in pairs
            for rows in np.array_split(np.arange(len(to)), _TASKS)
            if rows.size
        ]


def _divided(rows, like):
    """The rows of one array, divided into arrays with the numbers of rows of some others."""
    starts = np.cumsum([0, *map(len, like)]).tolist()
    return [rows[start:stop] for start, stop in pairwise(starts)]


def _solve_difficult(launcher, pixels, into):
    """As `solve_difficult`, with NaN for those that are withheld."""
    lanes = np.flatnonzero(into.status >= DIFFICULT)
    if not lanes.size:
        return
    pixels, part = pixels.at(lanes), into.at(lanes)
    solve_difficult(pixels, part, launcher.tables, launcher.plan)
    settle(part, pixels.status, launcher.withheld)
    into.put(lanes, part)
