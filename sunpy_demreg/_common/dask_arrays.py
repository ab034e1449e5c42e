"""Apply functions of pixels to the blocks of Dask arrays; the scheduler decides where and when."""

from itertools import count

import numpy as np
from array_api_compat import is_cupy_array

from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.warnings import DataWarning, warn

__all__ = [
    "apply_to_pixels",
    "as_array",
    "as_blocks",
    "as_lazy",
    "computed",
    "is_lazy",
    "is_masked",
    "map_pixels",
    "taken_apart",
    "unmasked",
]


def is_lazy(*arrays):
    """Whether one of the arrays is a Dask array; does not import Dask."""
    # Arrays of xarray have a graph too, which may be None.
    return any(hasattr(array, "__dask_graph__") and hasattr(array, "rechunk") for array in arrays)


def as_lazy(array):
    """The array as a Dask array."""
    import dask.array as da

    return da.asarray(array)


def computed(*arrays):
    """The arrays, with Dask arrays computed together, so that each block is solved once for all of them."""
    if not is_lazy(*arrays):
        return arrays
    import dask

    return dask.compute(*arrays)


def is_masked(array):
    """Whether an array has a mask of its own: NumPy's, astropy's, or one of Dask with blocks of these."""
    from astropy.utils.masked import Masked

    return isinstance(getattr(array, "_meta", array), np.ma.MaskedArray | Masked)


def unmasked(array):
    """The array without a mask, and its mask or None."""
    if not is_masked(array):
        return array, None
    if is_lazy(array):
        mask = array.map_blocks(_mask_of, dtype=bool, meta=np.empty((0,) * array.ndim, dtype=bool))
        plain = array.map_blocks(_data_of, dtype=array.dtype, meta=np.empty((0,) * array.ndim, dtype=array.dtype))
        return plain, mask
    return _data_of(array), _mask_of(array)


def _mask_of(array):
    return np.ma.getmaskarray(array) if isinstance(array, np.ma.MaskedArray) else np.asarray(array.mask)


def _data_of(array):
    return np.ma.getdata(array) if isinstance(array, np.ma.MaskedArray) else np.asarray(array.unmasked)


def as_array(array, name, dtype=None):
    """The array with elements of the given type: NumPy's unless it is Dask's or CuPy's, or one of these in xarray's."""
    if hasattr(array, "dims"):  # xarray's
        array = array.data
    if is_cupy_array(array):
        return array if dtype is None else array.astype(dtype, copy=False)
    if is_masked(array):
        raise wrong(TypeError, name, "is a masked array, which is not supported here: pass its mask as `mask`")
    if not is_lazy(array):
        return np.asarray(array, dtype=dtype)
    if any(np.isnan(length) for length in array.shape):
        raise wrong(
            ValueError, name, "is a Dask array with chunks of unknown size: call its `compute_chunk_sizes()` first"
        )
    return array if dtype is None else array.astype(dtype)


def as_blocks(arrays, name, max_pixels):
    """
    Rechunk arrays to the same blocks of pixels, undivided along the axes before the pixels.

    Parameters
    ----------
    arrays : list of array or None
        NumPy's or Dask's, with one axis and then those of the pixels.
    name : `str`
        Of the argument that holds them, for the warning.
    max_pixels : `int`
        Larger blocks are divided.

    Returns
    -------
    list of Dask array or None

    Warns
    -----
    DataWarning
        Once, if blocks have to be joined along the first axis.
    """
    import dask.array as da

    lazy = next(array for array in arrays if is_lazy(array))
    if any(len(array.chunks[0]) > 1 for array in arrays if is_lazy(array)):
        warn(
            DataWarning,
            "is chunked along its channels, which an inversion needs together: these chunks are joined; to avoid "
            "the transfers, create it with all channels in one chunk, as `rechunk({0: -1})` does",
            name,
        )
    longest = [max(lengths) for lengths in lazy.chunks[1:]]
    # Halved along the longest axis until they fit: blocks stay compact, and old chunk edges are kept.
    while np.prod(longest) > max_pixels and max(longest) > 1:
        axis = int(np.argmax(longest))
        longest[axis] = -(-longest[axis] // 2)
    pixel_chunks = [_divided(lengths, most) for lengths, most in zip(lazy.chunks[1:], longest, strict=True)]

    def blocks(array):
        chunks = (array.shape[0], *pixel_chunks)
        return array.rechunk(chunks) if is_lazy(array) else da.from_array(array, chunks=chunks)

    return [None if array is None else blocks(array) for array in arrays]


def _divided(lengths, most):
    """Chunks of at most the given length, with the old edges kept."""
    return tuple(min(most, length - start) for length in lengths for start in range(0, length, most))


def map_pixels(function, outputs, arrays, n_pixel_axes, **kwargs):
    """
    Apply a function with several outputs to each block of pixels, once for all of its outputs.

    Parameters
    ----------
    function : callable
        Called with one block of each array, and the keywords. Returns a sequence of arrays with the pixel axes of
        the blocks last.
    outputs : list of (tuple of `int`, dtype) or None
        Shape of each output before its pixel axes, and its type; None for an output that is None.
    arrays : list of Dask array or None
        With the same blocks of pixels behind any number of axes that are not divided.
    n_pixel_axes : `int`

    Returns
    -------
    list of Dask array or None
    """
    import dask.array as da

    pixels = tuple(range(n_pixel_axes))

    counter = count(n_pixel_axes)  # each axis before the pixels has a label of its own

    def axes(n_leading):
        return (*(next(counter) for _ in range(n_leading)), *pixels)

    pairs = [(a, None if a is None else axes(a.ndim - n_pixel_axes)) for a in arrays]
    answers = da.blockwise(
        _answers,
        pixels,
        *(item for pair in pairs for item in pair),
        function=function,
        dtype=object,
        meta=np.empty((0,) * n_pixel_axes, dtype=object),
        **kwargs,
    )
    return taken_apart(answers, outputs)


def taken_apart(answers, outputs):
    """
    The outputs of a function whose answers are the blocks of a Dask array.

    Parameters
    ----------
    answers : Dask array
        Of pixel axes only.
    outputs
        As of `map_pixels`.

    Returns
    -------
    list of Dask array or None
    """
    import dask.array as da

    pixels = tuple(range(answers.ndim))

    def picked(position, shape, dtype):
        index = (*range(answers.ndim, answers.ndim + len(shape)), *pixels)
        meta = np.empty((0,) * len(index), dtype=dtype)
        new_axes = dict(zip(index, shape, strict=False))
        return da.blockwise(
            _picked, index, answers, pixels, position=position, new_axes=new_axes, dtype=dtype, meta=meta
        )

    return [None if output is None else picked(i, *output) for i, output in enumerate(outputs)]


def apply_to_pixels(function, outputs, arrays, n_pixel_axes, **kwargs):
    """
    Apply a function to the pixels of arrays: at once, or lazily to each block if one of them is a Dask array.

    The arguments are those of `map_pixels`, but arrays may be NumPy's or CuPy's, and may have any chunks.

    Returns
    -------
    sequence of array
    """
    if not is_lazy(*arrays):
        return function(*arrays, **kwargs)
    import dask.array as da

    lazy = next(array for array in arrays if is_lazy(array))
    chunks = lazy.chunks[lazy.ndim - n_pixel_axes :]

    def blocks(array):
        whole = (*array.shape[: array.ndim - n_pixel_axes], *chunks)
        return array.rechunk(whole) if is_lazy(array) else da.from_array(array, chunks=whole)

    return map_pixels(function, outputs, [blocks(array) for array in arrays], n_pixel_axes, **kwargs)


def _answers(*blocks, function, **kwargs):
    # Along an axis that is not divided, Dask hands over a list with the one block.
    return function(*(_unpacked(block) for block in blocks), **kwargs)


def _unpacked(block):
    return _unpacked(block[0]) if isinstance(block, list) else block


def _picked(answers, position):
    return answers[position]
