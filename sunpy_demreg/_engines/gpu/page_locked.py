"""Page-locked memory of the host, from which a GPU copies at full speed while other work goes on."""

import weakref
from contextlib import suppress
from threading import Lock

import cupy
import numpy as np

__all__ = ["PageLocked"]

_PORTABLE = 1  # cudaHostRegisterPortable: for all devices


class PageLocked:
    """
    Pieces of page-locked memory, kept to be used again.

    New memory is touched by several threads and registered then. To have the driver make it takes many times as long:
    it touches all of it on one thread.

    Parameters
    ----------
    most_kept : int
        Bytes that are kept.
    """

    def __init__(self, most_kept):
        self._most_kept, self._kept, self._lock = most_kept, [], Lock()

    def take(self, n_bytes, pool):
        """An array of at least so many bytes; `pool` has threads that touch it."""
        with self._lock:
            fitting = [piece for piece in self._kept if piece.size >= n_bytes]
            if fitting:
                best = min(fitting, key=len)
                self._kept = [piece for piece in self._kept if piece is not best]
                return best
        piece = np.empty(n_bytes, np.uint8)
        for _ in pool.map(lambda part: part.fill(0), np.array_split(piece, 16)):
            pass
        # Where the system does not let so much be locked, the copies are only slower.
        with suppress(cupy.cuda.runtime.CUDARuntimeError):
            cupy.cuda.runtime.hostRegister(piece.ctypes.data, n_bytes, _PORTABLE)
            weakref.finalize(piece, _unregister, piece.ctypes.data)
        return piece

    def give_back(self, piece):
        """Nothing may be copied from or to it any more."""
        with self._lock:
            self._kept.append(piece)
            while sum(map(len, self._kept)) > self._most_kept:
                self._kept.pop(0)


def _unregister(pointer):
    with suppress(cupy.cuda.runtime.CUDARuntimeError):  # at the end of the process, the driver may have gone before
        cupy.cuda.runtime.hostUnregister(pointer)
