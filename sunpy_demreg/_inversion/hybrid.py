"""CPU and GPU workers of one Dask cluster: how the pixels are divided among them, and which engine solves a block."""

import numpy as np

from sunpy_demreg._common.dask_arrays import as_blocks
from sunpy_demreg._common.errors import imported, wrong

__all__ = ["engine_here", "shared_out"]

_RESOURCE = "GPU"  # that a worker has, as by `dask worker --resources "GPU=1"`
# A GPU is taken to be worth so many threads of the CPU. An H200 was worth 40, with its copies to the host and back;
# with half of it something is left for whichever worker is free when the large blocks are done.
_THREADS = 20


def engine_here():
    """The engine of the worker that this is called on; "cpu" elsewhere."""
    return "cupy" if _is_of_gpu(_worker()) else "cpu"


def shared_out(solve, arrays, most_pixels):
    """
    Solve a part of the pixels in large blocks, on workers with a GPU, and the others in ordinary ones, on any worker.

    Large blocks are annotated with the resource that they need. Dask drops annotations when it fuses tasks, unless its
    setting "optimization.fuse.active" is False; so that each worker solves what it gets with the engine that it has.

    Parameters
    ----------
    solve : callable
        ``solve(arrays, is_large)`` returns a list of Dask arrays, with the pixel axes last, or None.
    arrays : list of Dask array, (n, ...), or None
    most_pixels : int
        Of a large block.

    Returns
    -------
    list of Dask array or None
    """
    import dask
    import dask.array as da

    share = _share_of_gpus()
    arrays = as_blocks(arrays, "data", most_pixels)
    first = arrays[0]
    axis, stop = _cut(first.chunks[1:], share)
    axis -= first.ndim - 1  # from the end
    if stop in (0, first.shape[axis]):
        return solve(arrays, stop > 0)
    large, others = (_parts(arrays, axis, some) for some in (slice(stop), slice(stop, None)))
    with dask.annotate(resources={_RESOURCE: 1}):
        large = solve(large, True)
    others = solve(others, False)
    return [a if a is None else da.concatenate([a, b], axis=axis) for a, b in zip(large, others, strict=True)]


def _parts(arrays, axis, some):
    index = (..., some, *(slice(None),) * (-axis - 1))
    return [a if a is None else a[index] for a in arrays]


def _cut(chunks, share):
    """The axis to divide the pixels along, and where: at the end of a chunk, if there are several."""
    axis = max(range(len(chunks)), key=lambda k: (len(chunks[k]), sum(chunks[k])))
    most = int(share * sum(chunks[axis]))
    if len(chunks[axis]) == 1:
        return axis, most
    ends = np.cumsum(chunks[axis])
    return axis, int(ends[ends <= most].max(initial=0))


def _worker():
    """The worker of Dask whose task this is, or None."""
    try:
        from distributed import get_worker

        return get_worker()
    except (ImportError, ValueError):
        return None


def _is_of_gpu(worker):
    return worker is not None and bool(worker.state.total_resources.get(_RESOURCE))


def _share_of_gpus():
    """How much of the pixels should go to GPUs in large blocks: in a task of a worker, all or nothing."""
    worker = _worker()
    if worker is not None:
        return float(_is_of_gpu(worker))
    distributed = imported("distributed", "`backend` 'hybrid'", "batch")
    cure = f"start those of GPUs with `dask worker --nthreads 1 --resources \"{_RESOURCE}=1\"`, or pass 'cpu' or 'cupy'"
    what = "'hybrid' divides the blocks among the workers of a Dask cluster, but"
    try:
        client = distributed.Client.current()
    except ValueError as err:
        raise wrong(ValueError, "backend", f"{what} there is no `distributed.Client`: make one; {cure}") from err
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    of_gpus = [bool(worker["resources"].get(_RESOURCE)) for worker in workers]
    if not any(of_gpus):
        raise wrong(ValueError, "backend", f"{what} none of its {len(of_gpus)} has the resource {_RESOURCE}: {cure}")
    n_threads = sum(worker["nthreads"] for worker, is_of_gpu in zip(workers, of_gpus, strict=True) if not is_of_gpu)
    worth = _THREADS * sum(of_gpus)
    return worth / (worth + n_threads)
