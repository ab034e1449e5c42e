"""
Write Zarr arrays block by block, in shards: many chunks in one file.

Zarr itself needs all values of a shard at once, which are gigabytes. Here chunks are compressed where they are
computed, and appended to their shard row by row of chunks. The layout is that of Zarr's codec ``sharding_indexed``:
the chunks, then a table of where each of them is, then a checksum of this table.
"""

import os
from pathlib import Path
from uuid import uuid4

import numpy as np

__all__ = ["remove_unfinished", "shard_shape", "stored_in"]

#: A full disk: a file of two gigabytes, of all temperatures.
_MAX_PIXELS = 2**24
_NOTHING = np.uint64(2**64 - 1)  # place and length of a chunk that lies beyond the edge of the array
_UNFINISHED = ".partial"


def shard_shape(pixel_shape, chunks):
    """The shape in pixels of nearly equal shards of whole chunks; None if every shard would be one chunk."""
    budget, shape = max(_MAX_PIXELS // int(np.prod(chunks)), 1), []
    for length, chunk in zip(reversed(pixel_shape), reversed(chunks), strict=True):
        n_chunks = -(-length // chunk)
        n_shards = -(-n_chunks // min(n_chunks, budget))
        n_chunks = -(-n_chunks // n_shards)
        budget //= n_chunks
        shape.insert(0, n_chunks * chunk)
    return None if tuple(shape) == tuple(chunks) else tuple(shape)


def stored_in(targets, arrays, starts):
    """
    Prepare to write values of Dask arrays into whole shards, or chunks; computing all that is returned writes them.

    Parameters
    ----------
    targets : list of `zarr.Array`
        With shards or, if small or of an older version, without.
    arrays : list of Dask array
    starts : list of tuple of `int`
        Where in its target each array begins: at the start of a shard.

    Returns
    -------
    list of `dask.delayed.Delayed`
        One for each shard.
    """
    return [
        each
        for target, array, start in zip(targets, arrays, starts, strict=True)
        for each in _stored_shards(_compressed_chunks(array, target), target, start)
    ]


def _compressed_chunks(array, target):
    """A Dask array with one element for each chunk, its bytes."""
    blocks = array.rechunk(target.chunks)
    options = {name: getattr(target, name) for name in ("dtype", "fill_value", "filters", "serializer", "compressors")}
    return blocks.map_blocks(
        _compressed,
        meta=np.empty(array.ndim * (0,), dtype=object),
        chunks=tuple((1,) * len(lengths) for lengths in blocks.chunks),
        shape=target.chunks,
        options=options,
    )


def _compressed(block, shape, options):
    answer = np.empty(block.ndim * (1,), dtype=object)
    answer[...] = _as_stored(block, shape=shape, **options)
    return answer


def _as_stored(values, shape, **options):
    """The bytes of a chunk of this shape, filled up behind the values."""
    import zarr

    files = {}
    scratch = zarr.create_array(zarr.storage.MemoryStore(files), shape=shape, chunks=shape, **options)
    scratch.with_config({"write_empty_chunks": True})[tuple(slice(n) for n in values.shape)] = values
    return files[scratch.metadata.encode_chunk_key(values.ndim * (0,))].to_bytes()


def _stored_shards(chunks, target, start):
    import dask

    write, append = (dask.delayed(function, pure=False) for function in (_write, _append))
    shards = target.shards or target.chunks
    per_shard = tuple(long // short for long, short in zip(shards, target.chunks, strict=True))
    first = tuple(place // length for place, length in zip(start, shards, strict=True))
    for shard in np.ndindex(*(-(-n // m) for n, m in zip(chunks.shape, per_shard, strict=True))):
        of_shard = chunks[tuple(slice(i * m, (i + 1) * m) for i, m in zip(shard, per_shard, strict=True))]
        key = target.metadata.encode_chunk_key(tuple(a + b for a, b in zip(first, shard, strict=True)))
        place = target.store_path / key
        row = (*of_shard.ndim * (1,), -1)[1:]
        if not _is_local(target) or of_shard.rechunk(row).npartitions == 1:
            yield write(place, of_shard.rechunk(-1).to_delayed(optimize_graph=False).item(), per_shard, target.shards)
            continue
        path = Path(target.store_path.store.root, place.path)
        part = path.with_name(f"{path.name}.{uuid4().hex}{_UNFINISHED}")
        state = None
        rows = of_shard.rechunk(row).to_delayed(optimize_graph=False)
        for position, piece in np.ndenumerate(rows):
            state = append(part, state, piece, position, per_shard)
        yield dask.delayed(_finish, pure=False)(part, state, path)


def _is_local(target):
    from zarr.storage import LocalStore

    return isinstance(target.store_path.store, LocalStore)


def _write(place, chunks, per_shard, is_sharded):
    """Write a shard at once."""
    from zarr.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    index, _ = _indexed(None, chunks, chunks.ndim * (0,), per_shard)
    parts = [*chunks.flat, *([_table(index)] if is_sharded else ())]
    sync(place.set(default_buffer_prototype().buffer.from_bytes(b"".join(parts))))


def _append(part, state, chunks, position, per_shard):
    """Append chunks to a file; the state says what it holds, so that this can be repeated."""
    end = 0 if state is None else state[1]
    part.parent.mkdir(parents=True, exist_ok=True)
    with open(part, "wb" if state is None else "r+b") as file:
        file.seek(end)
        file.writelines(chunks.flat)
    return _indexed(state, chunks, position, per_shard)


def _finish(part, state, path):
    index, end = state
    with open(part, "r+b") as file:
        file.seek(end)
        file.write(_table(index))
    os.replace(part, path)


def _indexed(state, chunks, position, per_shard):
    """The table with more chunks, which are behind the others, and where they end."""
    index, end = (np.full((*per_shard, 2), _NOTHING), 0) if state is None else state
    index = index.copy()
    for at, chunk in np.ndenumerate(chunks):
        index[tuple(np.add(at, position))] = end, len(chunk)
        end += len(chunk)
    return index, end


def _table(index):
    return _as_stored(index, index.shape, dtype="<u8", compressors={"name": "crc32c"})


def remove_unfinished(target, step):
    """Remove what a killed or failed process left on the disk of the shards, or chunks, of a step of a series."""
    if not _is_local(target):  # elsewhere each is written at once
        return
    path = Path(target.store_path.store.root, target.path, "c")
    names = target.metadata.dimension_names
    leading = names.index("time") * ("*",)
    # The last axis is the name of the file.
    own = (f"{step}.*{_UNFINISHED}",) if names[-1] == "time" else (str(step), "**", f"*{_UNFINISHED}")
    for part in path.glob("/".join([*leading, *own])):
        part.unlink(missing_ok=True)
