"""
Write Zarr arrays block by block, in shards: many compressed chunks in one file, joined only when they are compressed.

Zarr itself needs all values of a shard at once, which are gigabytes. The layout is that of its codec
``sharding_indexed``: the chunks, then a table of where each of them is, then a checksum of this table.
"""

import numpy as np

__all__ = ["shard_shape", "stored_in"]

#: Half of a full disk: a file of a gigabyte, of all temperatures.
_MAX_PIXELS = 2**23
_NOTHING = np.uint64(2**64 - 1)  # place and length of a chunk that lies beyond the edge of the array


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


def stored_in(target, array, start):
    """
    Prepare to write the values of a Dask array into whole shards, or chunks; computing the return value writes them.

    Parameters
    ----------
    target : `zarr.Array`
        With shards or, if small or of an older version, without.
    array : Dask array
    start : tuple of `int`
        Where in ``target`` the array begins: at the start of a shard.

    Returns
    -------
    Dask array of bool
        Small, with one element per shard.
    """
    blocks = array.rechunk(target.chunks)
    options = {name: getattr(target, name) for name in ("dtype", "fill_value", "filters", "serializer", "compressors")}
    compressed = blocks.map_blocks(
        _compressed,
        meta=np.empty(array.ndim * (0,), dtype=object),
        chunks=_ones(blocks),
        shape=target.chunks,
        options=options,
    )
    shards = target.shards or target.chunks
    per_shard = tuple(long // short for long, short in zip(shards, target.chunks, strict=True))
    joined = compressed.rechunk(per_shard)
    return joined.map_blocks(
        _write,
        meta=np.empty(array.ndim * (0,), dtype=bool),
        chunks=_ones(joined),
        target=target,
        first=tuple(place // length for place, length in zip(start, shards, strict=True)),
        per_shard=per_shard,
    )


def _ones(array):
    return tuple((1,) * len(lengths) for lengths in array.chunks)


def _compressed(block, shape, options):
    """A chunk as it is stored, in an array of one element."""
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


def _write(chunks, target, first, per_shard, block_id):
    from zarr.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    parts = list(chunks.flat)
    if target.shards is not None:
        index, place = np.full((*per_shard, 2), _NOTHING), 0
        for position, chunk in np.ndenumerate(chunks):
            index[position] = place, len(chunk)
            place += len(chunk)
        parts.append(_as_stored(index, index.shape, dtype="<u8", compressors={"name": "crc32c"}))
    key = target.metadata.encode_chunk_key(tuple(a + b for a, b in zip(first, block_id, strict=True)))
    shard = default_buffer_prototype().buffer.from_bytes(b"".join(parts))
    sync((target.store_path / key).set(shard))
    return np.ones(chunks.ndim * (1,), dtype=bool)
