"""The engine of a GPU, for arrays that are there and for those of the host."""

from array_api_compat import is_cupy_array

from sunpy_demreg._common.hardware import available_cores
from sunpy_demreg._engines.gpu.batches import solve_on_device, stream
from sunpy_demreg._engines.gpu.launcher import Launcher

__all__ = ["Engine"]


class Engine:
    """
    Solves on the current device: see `sunpy_demreg._engines`, which has the parameters too.

    Arrays on the host are divided into batches here: the executor should pass them on whole.
    """

    n_threads = 1

    def __init__(self, problem, pixels, into, withheld, workers=None):
        self._pixels, self._into = pixels, into
        self._launcher = Launcher(problem, into.dtype, withheld)
        self._n_copying = workers or available_cores()
        self.block_size = max(pixels.status.size, 1)

    def solve_into(self, block):
        pixels, into = self._pixels.at(block), self._into.at(block)
        if not is_cupy_array(pixels.status):
            return stream(self._launcher, pixels, into, self._n_copying)
        solve_on_device(self._launcher, pixels, into)
        return [block]
