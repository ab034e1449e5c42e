"""Operations on arrays whose last axis is that of the lanes; no lane affects another, to the last bit."""

import numpy as np
from array_api_compat import array_namespace, is_numpy_namespace

from sunpy_demreg._engines.algorithm.linear_algebra import total

__all__ = ["contract", "contract_in_order", "sum_in_order", "sum_of_rows", "with_lanes"]


def with_lanes(xp, array, chosen, values):
    """A copy of `array` whose chosen lanes have the given values."""
    position = xp.cumulative_sum(xp.astype(chosen, xp.int64)) - 1
    spread = xp.take(values, xp.where(chosen, position, 0), axis=values.ndim - 1)
    return xp.where(chosen, spread, array)


def sum_of_rows(a):
    """
    Over the first axis: the first half of the rows plus the second, and so on.

    In an order of our own: that of a library may depend on how many lanes there are.
    """
    odd = []
    while a.shape[0] > 1:
        half = a.shape[0] // 2
        if a.shape[0] % 2:
            odd.append(a[2 * half, :])
        a = a[:half, :] + a[half : 2 * half, :]
    return total([a[0, :], *odd])


def sum_in_order(a):
    """Over the first axis, one row after the other: as compiled code does."""
    return total([a[i, ...] for i in range(a.shape[0])])


def contract(a, b):
    """``a.T @ b``, its sums in an order that does not depend on the lanes: (K, I), (K, N) -> (I, N)."""
    if is_numpy_namespace(array_namespace(b)):
        # Not BLAS, whose order may; and einsum takes the terms of a single lane in another order, too.
        lone = b.shape[1] == 1
        product = np.einsum("ki,kn->in", a, np.repeat(b, 2, axis=1) if lone else b)
        return product[:, :1] if lone else product
    return contract_in_order(a, b)


def contract_in_order(a, b):
    """The same, one term after the other and each of them rounded: as compiled code does with care."""
    result = a[0, :, None] * b[0, None, :]
    for k in range(1, a.shape[0]):
        result = result + a[k, :, None] * b[k, None, :]
    return result
