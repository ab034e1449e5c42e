"""Shards of Zarr stores: what Zarr reads is what was stored, damage is found, and there are few files."""

import dask.array as da
import numpy as np
import pytest
import zarr

import astropy.units as u
from astropy.nddata import StdDevUncertainty
from astropy.time import Time
from ndcube import NDCube

from sunpy_demreg import invert
from sunpy_demreg._files import shards
from sunpy_demreg._files import zarr as stores

CODECS = ({"name": "blosc", "configuration": {"cname": "zstd", "shuffle": "bitshuffle"}}, {"name": "crc32c"})


def array(store, shard, shape=(3, 2, 37, 53), dtype="f4"):
    return zarr.create_array(
        store,
        shape=shape,
        chunks=(3, 1, 8, 16),
        shards=shard,
        dtype=dtype,
        fill_value=np.nan,
        compressors=CODECS,
        config={"write_empty_chunks": True, "read_missing_chunks": False},
    )


@pytest.mark.parametrize("shard", [None, (3, 1, 8, 16), (3, 1, 24, 32), (3, 1, 40, 64)])
def test_zarr_reads_every_value_and_writes_the_same_chunks(shard):
    values = np.random.default_rng(0).normal(size=(3, 2, 37, 53)).astype("f4")
    values[:, :, :8, :16] = np.nan  # a chunk of nothing but the fill value
    ours, by_zarr = {}, {}
    target = array(zarr.storage.MemoryStore(ours), shard)
    for step in (1, 0):  # in any order
        blocks = da.from_array(values[:, step : step + 1], chunks=(2, 1, 10, 53))
        assert shards.stored_in(target, blocks, (0, step, 0, 0)).compute().all()
    array(zarr.storage.MemoryStore(by_zarr), shard)[...] = values
    np.testing.assert_array_equal(target[...], values)
    assert ours.keys() == by_zarr.keys()
    if shard is None or shard == target.chunks:  # else Zarr chooses another order of the chunks
        assert {key: each.to_bytes() for key, each in ours.items()} == {k: e.to_bytes() for k, e in by_zarr.items()}


def test_every_bit_of_a_shard_is_guarded():
    values = np.random.default_rng(1).normal(size=(3, 1, 16, 16)).astype("f4")
    store = {}
    target = array(zarr.storage.MemoryStore(store), (3, 1, 16, 16), values.shape)
    shards.stored_in(target, da.from_array(values), (0, 0, 0, 0)).compute()
    good = store["c/0/0/0/0"].to_bytes()
    for place in np.random.default_rng(2).integers(len(good), size=200):
        bad = bytearray(good)
        bad[place] ^= 1 << int(place % 8)
        store["c/0/0/0/0"] = zarr.buffer.cpu.Buffer.from_bytes(bytes(bad))
        with pytest.raises(Exception, match=r"(?i)checksum|blosc|error|range"):
            target[...]
    store["c/0/0/0/0"] = zarr.buffer.cpu.Buffer.from_bytes(good)
    np.testing.assert_array_equal(target[...], values)


@pytest.mark.parametrize(
    ("pixels", "chunks", "shard"),
    [
        ((4096, 4096), (256, 256), (2048, 4096)),
        ((4300, 4096), (256, 256), (1536, 4096)),
        ((1, 64, 64), (1, 64, 64), None),
        ((1, 1024, 1024), (1, 256, 256), (1, 1024, 1024)),
        ((5000,), (256,), (5120,)),
    ],
)
def test_few_and_nearly_equal_shards(pixels, chunks, shard):
    assert shards.shard_shape(pixels, chunks) == shard


def test_full_disk_is_few_files(small, response, tmp_path):
    data, sigma = (da.broadcast_to(np.float32(value), (6, 4096, 4096), chunks=(6, 256, 4096)) for value in (9, 1))
    uncertainty = StdDevUncertainty(sigma, copy=False)
    cube = NDCube(data, small.wcs, unit=small.unit, uncertainty=uncertainty, meta=small.meta)
    result = invert(cube, response, 10 ** np.arange(5.6, 7.41, 0.05) * u.K)
    group = stores.create(tmp_path / "a.zarr", result, Time(["2024-01-01", "2024-01-02"]))
    arrays = [each for _, each in group.arrays() if each.ndim > 2]
    assert len(arrays) == 10
    for each in arrays:
        assert each.shards[-3:] == (1, 2048, 4096)
        assert each.chunks[-3:] == (1, 256, 256)
