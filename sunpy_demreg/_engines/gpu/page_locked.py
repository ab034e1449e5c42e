"""Page-locked memory on the host, which a GPU copies at full speed in the background."""

import weakref
from contextlib import suppress
from threading import Lock

import cupy
import numpy as np

__all__ = ["PageLocked"]

_PORTABLE = 1  # cudaHostRegisterPortable: for all devices


class PageLocked:
    """
    Pieces of page-locked memory, kept for reuse.

    New memory is touched by several threads, and then registered. Allocating it by the driver would take many times as
    long, because that touches all of it on one thread.

    Parameters
    ----------
    most_kept : int
        Bytes that are kept.
    """

    def __init__(self, most_kept):
        self._most_kept, self._kept, self._lock = most_kept, [], Lock()

    def take(self, n_bytes, pool):
        """An array of at least so many bytes; the threads of `pool` touch it."""
        with self._lock:
            fitting = [piece for piece in self._kept if piece.size >= n_bytes]
            if fitting:
                best = min(fitting, key=len)
                self._kept = [piece for piece in self._kept if piece is not best]
                return best
        piece = np.empty(n_bytes, np.uint8)
        for _ in pool.map(lambda part: part.fill(0), np.array_split(piece, 16)):
            pass
        # If the system does not allow this much to be locked, copies are merely slower.
        with suppress(cupy.cuda.runtime.CUDARuntimeError):
            cupy.cuda.runtime.hostRegister(piece.ctypes.data, n_bytes, _PORTABLE)
            weakref.finalize(piece, _unregister, piece.ctypes.data)
        return piece

    def give_back(self, piece):
        """Give an array back; nothing may still be copying from or to it."""
        with self._lock:
            self._kept.append(piece)
            while sum(map(len, self._kept)) > self._most_kept:
                self._kept.pop(0)


def _unregister(pointer):
    with suppress(cupy.cuda.runtime.CUDARuntimeError):  # when the process ends, the driver may be gone already
        cupy.cuda.runtime.hostUnregister(pointer)
