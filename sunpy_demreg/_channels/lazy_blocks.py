"""Blocks of a cube that are interpolated, averaged or cut out of what they need of the images, when they are needed."""

from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from uuid import uuid4

import numpy as np

from sunpy_demreg._channels.averages import doubt, warn_of_doubts
from sunpy_demreg._channels.calibrate import calibrate, sharpened
from sunpy_demreg._channels.fits_maps import reader_of
from sunpy_demreg._channels.positions import locator, reach
from sunpy_demreg._channels.resample import Window
from sunpy_demreg._common.dask_arrays import as_lazy, unmasked

__all__ = ["examined", "in_blocks_of_grid"]

_BLOCK = 256, -1  # pixels: compressed files are read by whole rows
_MOST = 0.5  # of the rows of an image: if fewer are needed, it is not read as a whole only to examine it, but once


@dataclass(frozen=True, eq=False)
class _Block:
    """What is to be done for a block: all but the arrays."""

    shape: tuple  # of pixels before averaging
    windows: tuple  # of each image; None where pixels are not interpolated
    cuts: tuple  # of each image: of its values, mask and deconvolved values, which slices of which blocks are needed


def in_blocks_of_grid(preparation, is_first=False):
    """
    What `calibrate` returns for each block of a cube, as the blocks of a Dask array.

    Of files on a disk each reads what it needs by itself: blocks that share what was read would be computed in an order
    that keeps much of it in memory.

    Parameters
    ----------
    preparation : Preparation
        Of maps with Dask arrays.
    is_first : bool, optional
        Whether it is the first of several times, which stands for the others where few of their rows are needed.
    """
    import dask.array as da
    from dask.highlevelgraph import HighLevelGraph

    plan, name = preparation.plan, f"prepared-{uuid4().hex}"
    chunks = da.core.normalize_chunks(_BLOCK, plan.grid.binned_shape, dtype=float)
    rows, columns = (_slices([length * plan.grid.bin for length in lengths]) for lengths in chunks)
    planes = [_lazy_planes(*each) for each in zip(preparation.maps, plan.channels, strict=True)]
    places = [_places(plan, channel, planes[k][0].shape, rows, columns) for k, channel in enumerate(plan.channels)]
    # A task of its own, which each worker is sent once; without coordinates, which follow from the windows.
    channels = tuple(replace(channel, psf=None, wcs=None) for channel in plan.channels)
    plan_key = f"{name}-plan"
    bare = replace(plan, channels=channels, grid=plan.grid._replace(wcs=None), corner=(0, 0))
    layer = {plan_key: bare.of_parts}
    n_rows = [sum(boxes[i, 0][0].stop - boxes[i, 0][0].start for i in range(len(rows))) for _, boxes in places]
    n_rows = None if is_first else n_rows
    looks = examined(preparation, [arrays[0] for arrays in planes], chunks, n_rows)
    for i, j in np.ndindex(len(rows), len(columns)):
        windows, cuts, keys = [], [], []
        for arrays, (locate, boxes) in zip(planes, places, strict=True):
            box = boxes[i, j]
            start, corner = (rows[i].start, columns[j].start), (box[0].start, box[1].start)
            windows.append(None if locate is None else Window(locate, arrays[0].shape, start, corner))
            needed = [_needed(array, box) for array in arrays]
            cuts.append([cut for cut, _ in needed])
            keys.append([some for _, some in needed])
        shape = rows[i].stop - rows[i].start, columns[j].stop - columns[j].start
        layer[name, i, j] = (_answer, plan_key, _Block(shape, tuple(windows), tuple(cuts)), keys, (looks.name, i, j))
    inputs = [looks, *(array for arrays in planes for array in arrays if array is not None)]
    graph = HighLevelGraph.from_collections(name, layer, dependencies=inputs)
    return da.Array(graph, name, chunks, meta=np.empty((0, 0), dtype=object))


def examined(preparation, values, chunks, n_rows=None):
    """
    Look for sums of pixels and for rates in whole images, as `prepare` does, once for each time.

    Parameters
    ----------
    preparation : Preparation
    values : list of Dask array
        Of its images.
    chunks : tuple of tuple of int
        Of the cube.
    n_rows : list of int, optional
        How many rows of each image its blocks need; by default all.

    Returns
    -------
    Dask array
        Its blocks are None, for the blocks of the cube to depend on. That of the first one examines the images, and
        warns: thus it is done once, and a part of the cube is not held up by it.
    """
    import dask.array as da
    from dask.highlevelgraph import HighLevelGraph

    name = f"examined-{uuid4().hex}"
    layer = {(name, i, j): None for i, j in np.ndindex(*map(len, chunks))}
    inputs = []
    # With shifts to be corrected, images were examined when these were measured.
    if not preparation.plan.corrects_shifts:
        for k, (channel, array) in enumerate(zip(preparation.plan.channels, values, strict=True)):
            if channel.stated is None or (n_rows is not None and n_rows[k] < _MOST * array.shape[0]):
                continue
            cut, keys = _needed(array, tuple(slice(0, length) for length in array.shape))
            look = partial(_doubt, stated=channel.stated, to_counts=channel.to_counts, cut=cut)
            layer[f"{name}-{k}"] = (look, keys)
            inputs.append(array)
        looks = [key for key in layer if isinstance(key, str)]
        if looks:
            layer[name, 0, 0] = (warn_of_doubts, looks)
    graph = HighLevelGraph.from_collections(name, layer, dependencies=inputs)
    return da.Array(graph, name, chunks, meta=np.empty((0, 0), dtype=object))


def _doubt(parts, stated, to_counts, cut):
    return doubt(stated, np.asarray(_joined(parts, *cut)), to_counts)


def _slices(lengths):
    ends = np.cumsum([0, *lengths]).tolist()
    return [slice(*each) for each in pairwise(ends)]


def _lazy_planes(smap, channel):
    """Values and mask of a map, and, of deconvolved ones, these, which need the whole image."""
    values, own = unmasked(smap.data)
    masks = [as_lazy(each).astype(bool) for each in (smap.mask, own) if each is not None]
    mask = None if not masks else masks[0] if len(masks) == 1 else masks[0] | masks[1]
    if channel.psf is None:
        return values, mask, None
    how = {"name": f"deconvolved-{uuid4().hex}", "meta": np.empty((0, 0))}
    return values, mask, values.rechunk(-1).map_blocks(sharpened, channel.channel, channel.psf, **how)


def _places(plan, channel, shape, rows, columns):
    """Where pixels of the grid lie in an image, if they are interpolated; and for each block, what it needs of it."""
    if plan.is_resampled:
        locate = locator(plan.grid.wcs, plan.grid.shape, channel.wcs)
        return locate, reach(locate, rows, columns, shape)
    y, x = (
        [slice(s.start + at, s.stop + at) for s in some] for some, at in zip((rows, columns), plan.corner, strict=True)
    )
    return None, {(i, j): (y[i], x[j]) for i, j in np.ndindex(len(y), len(x))}


def _needed(array, box):
    """What is needed of an array: for rows and columns of its blocks, the slices of them; and the keys of these."""
    if array is None:
        return None, None
    reader = reader_of(array)
    if reader is not None:
        y, x = (slice(each.start, min(each.stop, length)) for each, length in zip(box, array.shape, strict=True))
        return ([y], [x]), [[reader]]
    (which_y, y), (which_x, x) = (_within(*each) for each in zip(array.chunks, box, strict=True))
    return (y, x), [[(array.name, i, j) for j in which_x] for i in which_y]


def _within(lengths, wanted):
    """Which blocks along an axis overlap with a slice, and which slices of them."""
    which, slices, start = [], [], 0
    for i, length in enumerate(lengths):
        first, last = max(wanted.start, start), min(wanted.stop, start + length)
        if first < last:
            which.append(i)
            slices.append(slice(first - start, last - start))
        start += length
    return which, slices


def _answer(plan, block, arrays, _):
    """Intensity, uncertainty and mask of a block, after what `examined` does."""
    planes = [
        [None if parts is None else _joined(parts, *cut) for parts, cut in zip(of_image, cuts, strict=True)]
        for of_image, cuts in zip(arrays, block.cuts, strict=True)
    ]
    pairs = zip(plan.channels, block.windows, strict=True)
    channels = tuple(replace(channel, window=window) for channel, window in pairs)
    return calibrate(planes, replace(plan, channels=channels, grid=plan.grid._replace(shape=block.shape)))


def _joined(parts, rows, columns):
    """One array of slices of blocks."""
    cut = [[part[y, x] for x, part in zip(columns, line, strict=True)] for y, line in zip(rows, parts, strict=True)]
    return cut[0][0] if len(rows) == len(columns) == 1 else np.block(cut)
