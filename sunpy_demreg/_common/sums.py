"""Sums over the bins of a DEM in a fixed order: bin after bin, elementwise over the pixels."""

import numpy as np
from array_api_compat import is_cupy_array

from sunpy_demreg._common.dask_arrays import apply_to_pixels, is_lazy

__all__ = ["contract"]

_BLOCK = 2**14  # values, so that the sums stay in the processor's cache


def contract(functionals, array):
    """
    Sums over the first axis of an array: ``functionals @ array``, (q, m) and (m, ...) to (q, ...).

    The sum of a pixel is the same to the last bit in a slice, in a block and in the whole, in any memory layout and on
    any processor: each product and each sum is rounded once. BLAS, `numpy.einsum` and `numpy.sum` choose an order by
    shape, strides and processor instead.

    Parameters
    ----------
    functionals : array, (q, m)
        Of NumPy.
    array : array, (m, ...)
        NumPy's, CuPy's or Dask's; the sums are of the same kind.

    Returns
    -------
    array, (q, ...)
        In double precision.
    """
    if is_lazy(array):
        outputs = [((len(functionals),), np.dtype(float))]
        [sums] = apply_to_pixels(_contracted, outputs, [array], array.ndim - 1, functionals=functionals)
        return sums
    return _contract(functionals, array)


def _contracted(array, functionals):
    return [_contract(functionals, array)]


def _contract(functionals, array):
    sums = np.empty((len(functionals), *array.shape[1:]), dtype=float, like=array)
    if array.ndim == 1 or is_cupy_array(array):
        blocks = [(...,)]
    else:
        step = max(_BLOCK // max(sums[0, 0].size, 1), 1)
        blocks = [(slice(start, start + step), ...) for start in range(0, array.shape[1], step)]
    for block in blocks:
        for q, functional in enumerate(functionals):
            total = sums[q, *block]
            np.multiply(array[0, *block], functional[0], out=total, dtype=float)
            for j in range(1, len(functional)):
                total += np.multiply(array[j, *block], functional[j], dtype=float)
    return sums
