"""
Which bins are resolved: whether the DEM reported in a bin is that of plasma of its temperature.

Symbols as in `sunpy_demreg._engines.algorithm.invert`. The DEM recovered in bin j is the sum over the bins k of
``R_jk xi_k``, R the resolution matrix: the plasma of each bin contributes to it. The *kernel* of bin j is how these
contributions, of the DEM that was found, are spread over log T. Its center and its width are the mean and the spread
of its square (Backus & Gilbert 1970, Phil. Trans. R. Soc. A, 266, 123), which needs no sign, and none of its peaks.

Row j of R is ``h_j . K_k`` times a factor of its own, with the h_j of n channels that errors are made of too. So all
moments are ``h_j P h_j``, with three matrices (n x n) ``P = sum_k K_k xi_k^2 x_k^p K_k^T`` for a pixel: a bin takes n^2
operations, and not n m.
"""

from math import log

from sunpy_demreg._engines.algorithm.linear_algebra import total
from sunpy_demreg._engines.base.tables import channel_pairs

__all__ = ["put_resolved"]

_LEAST = 1e-290  # a divisor, where all is zero
#: The square of the full width at half maximum of a Gaussian, over the variance of its square.
_SQUARED_WIDTH = 16.0 * log(2.0)


def put_resolved(problem, unknown, dual):
    """
    Put 1 for the bins that are resolved, 0 for the others, into the storage "scratch" and the outputs.

    ``unknown(j)`` is xi, of whatever is solved for, and ``dual(j)`` gives the h of a bin.
    """
    M, n = problem.M, problem.n
    moments = [_moment(problem, unknown, power) for power in range(3)]
    limit = M.scalar("max_width")

    def put(j):
        h = dual(j)
        largest = problem.zero + _LEAST
        for h_i in h:
            largest = M.maximum(largest, M.abs(h_i))
        unit = 1.0 / largest
        h = [h_i * unit for h_i in h]
        products = [h[i] * h[k] for i, k in channel_pairs(n)]
        size, first, second = (total([a * b for a, b in zip(products, P, strict=True)]) for P in moments)
        # All that follows is times the size, or its square: so nothing is divided.
        offset = first - M.place(j) * size
        # A kernel is as wide as a bin at least, evenly.
        spread = second * size - first * first + size * size * (M.dlogt(j) * M.dlogt(j) * (1.0 / 12.0))
        width = _SQUARED_WIDTH * spread
        is_resolved = (size > 0.0) & (offset * offset <= width) & (width < limit * limit * size * size)
        flag = M.where(is_resolved, 1.0, 0.0)
        M.put("scratch", j, flag)
        M.put_output("is_resolved", j, flag)
        return ()

    M.over_bins(put, ())


def _moment(problem, unknown, power):
    """``sum_k K_k xi_k^2 x_k^power K_k^T / dlogT``: the pairs of channels, twice those of different channels."""
    M = problem.M
    (largest,) = M.over_bins(lambda j: (M.abs(unknown(j)),), ("maximum",))
    unit = 1.0 / M.maximum(largest, problem.zero + _LEAST)

    def put(j):
        # The square of a density, over log T, is that of what is in the bin over its width.
        size = unknown(j) * unit
        square = size * size / M.dlogt(j)
        for _ in range(power):
            square = square * M.place(j)
        M.put("scratch", j, square)
        return ()

    M.over_bins(put, ())
    gram = M.gram("scratch")
    return [g if i == k else 2.0 * g for (i, k), g in zip(channel_pairs(problem.n), gram, strict=True)]
