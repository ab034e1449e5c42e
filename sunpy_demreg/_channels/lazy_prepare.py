"""`sunpy_demreg.prepare` applied to the blocks of maps that hold Dask arrays."""

import inspect
from dataclasses import replace

import numpy as np

from sunpy_demreg._channels.align import aligned
from sunpy_demreg._channels.calibrate import calibrate
from sunpy_demreg._channels.lazy_blocks import examined, in_blocks_of_grid
from sunpy_demreg._channels.plan import planned
from sunpy_demreg._channels.prepare import prepare, wrapped
from sunpy_demreg._channels.resample import Grid
from sunpy_demreg._common.dask_arrays import as_lazy, map_pixels, taken_apart, unmasked

__all__ = ["plan_of", "prepare_lazily", "prepared_lazily"]


def plan_of(maps, options, grid=None):
    """
    Check and plan, without computing the Dask arrays of maps.

    Parameters
    ----------
    maps : NamedMaps
        Of one time.
    options : dict
        Of `sunpy_demreg.prepare`.
    grid : Grid, optional
        Of the plan for the first of several times, see `sunpy_demreg._channels.plan.planned`.

    Returns
    -------
    Preparation
    """
    defaults = {p.name: p.default for p in inspect.signature(prepare).parameters.values() if p.default is not p.empty}
    return planned(maps, **defaults | options, grid=grid)


def prepare_lazily(maps, options, grid=None, is_first=False):
    """As `prepared_lazily`, with the arguments of `plan_of`."""
    return prepared_lazily(plan_of(maps, options, grid), is_first)


def prepared_lazily(preparation, is_first=False):
    """
    Prepare maps of one time when their values are needed, block by block.

    How far images are shifted shows only in the whole of them: it is measured only to correct it, and then now. Whether
    they are sums or rates, too: they are examined with the first block.

    Parameters
    ----------
    preparation : Preparation
        Of maps with Dask arrays.
    is_first : bool, optional
        As of `in_blocks_of_grid`.

    Returns
    -------
    `~ndcube.NDCube`
        As from `sunpy_demreg.prepare`, with Dask arrays.
    """
    measured = {}
    if preparation.plan.corrects_shifts:
        preparation, _, measured = aligned(preparation)
    n = len(preparation.plan.leading)
    outputs = [((n,), np.dtype(kind)) for kind in (float, float, bool)]
    if not preparation.is_local:
        return wrapped(preparation, *taken_apart(in_blocks_of_grid(preparation, is_first), outputs), measured)
    arrays = [smap.data for smap in preparation.maps] + [smap.mask for smap in preparation.maps]
    values = [as_lazy(unmasked(smap.data)[0]) for smap in preparation.maps]
    chunks, arrays = _in_common_chunks(arrays)
    arrays.append(examined(preparation, values, chunks))
    plan = replace(preparation.plan.of_parts, grid=Grid(None, (), 1))  # that of a block
    return wrapped(preparation, *map_pixels(_calibrated, outputs, arrays, 2, plan=plan))


def _in_common_chunks(arrays):
    """The chunks of images and masks, where there are any, once all have the same; and these."""
    from dask.array.core import unify_chunks

    given = [array for array in arrays if array is not None]
    chunks, given = unify_chunks(*(item for array in given for item in (array, (0, 1))))
    given = iter(given)
    return (chunks[0], chunks[1]), [None if array is None else next(given) for array in arrays]


def _calibrated(*arrays, plan):
    """Intensity, uncertainty and mask of the same part of each map, after what `examined` does."""
    n = len(plan.channels)
    *arrays, _ = arrays
    plan = replace(plan, grid=plan.grid._replace(shape=arrays[0].shape))
    return calibrate(zip(arrays[:n], arrays[n:], [None] * n, strict=True), plan)
