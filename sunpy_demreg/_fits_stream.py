"""Images that are too large for the memory, written into a FITS file block by block."""

import os
from threading import Lock

import numpy as np

from astropy.io import fits

__all__ = ["append_images", "computed_images"]

_BLOCK = 2880  # FITS files grow in units of so many bytes


def append_images(path, images):
    """
    Append images to a FITS file; what they share is computed once.

    Parameters
    ----------
    path : `~pathlib.Path`
        Of a file that is a whole number of FITS blocks long.
    images : list of (`astropy.io.fits.Header`, Dask array)
        The headers are those of image extensions of these shapes and types.
    """
    import dask.array as da

    with open(path, "r+b") as file:
        file.seek(0, os.SEEK_END)
        targets, sums = [], []
        for header, array in images:
            # Its place is taken, and the sum of the data filled in at the end.
            header["DATASUM"] = ("0" * 10, "data unit checksum")
            sums.append((file.tell(), header))
            file.write(header.tostring().encode("ascii"))
            targets.append(_Target(file, file.tell(), array))
            file.seek(targets[-1].n_bytes + -targets[-1].n_bytes % _BLOCK, os.SEEK_CUR)
        file.truncate()
        file.flush()
        # Threads of this process: no other one has the file.
        da.store([array for _, array in images], targets, lock=False, scheduler="threads")
        for (place, header), target in zip(sums, targets, strict=True):
            header["DATASUM"] = (str(target.sum), "data unit checksum")
            os.pwrite(file.fileno(), header.tostring().encode("ascii"), place)


def computed_images(images):
    """The same images as a list of `astropy.io.fits.ImageHDU`, all computed at once."""
    import dask

    arrays = dask.compute(*(array for _, array in images))
    return [fits.ImageHDU(array, header) for (header, _), array in zip(images, arrays, strict=True)]


class _Target:
    """The data of an image in an open file, to assign blocks to; it keeps the checksum of the FITS standard."""

    def __init__(self, file, start, array):
        self.file, self.start, self.shape = file, start, array.shape
        self.dtype = array.dtype.newbyteorder(">")
        self.n_bytes = array.size * self.dtype.itemsize
        self.strides = np.array([self.dtype.itemsize * int(np.prod(self.shape[i + 1 :])) for i in range(array.ndim)])
        self.sum, self.lock = 0, Lock()

    def __setitem__(self, item, block):
        block = np.ascontiguousarray(block, dtype=self.dtype)
        first = [part.start or 0 for part in item]
        # Pieces that lie together in the file: rows, and what is behind them as long as the block is as wide as it.
        n_inner = 1
        while n_inner < block.ndim and block.shape[-n_inner:] == self.shape[-n_inner:]:
            n_inner += 1
        outer = block.shape[: block.ndim - n_inner]
        start = self.start + int(np.dot(first, self.strides))
        for index in np.ndindex(outer):
            place = start + int(np.dot(index, self.strides[: len(outer)]))
            os.pwrite(self.file.fileno(), block[index].data, place)
        # The order of the words does not matter to the sum, which is one of 32-bit words with the carry brought around.
        words = int(block.reshape(-1).view(">u4").sum(dtype=np.uint64))
        with self.lock:
            total = self.sum + words
            while total >> 32:
                total = (total & 0xFFFFFFFF) + (total >> 32)
            self.sum = total
