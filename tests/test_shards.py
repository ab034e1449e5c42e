"""Shards of Zarr stores: what Zarr reads is what was stored, damage is found, and there are few files."""

import dask
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
        dimension_names=("temperature", "time", "y", "x"),
        config={"write_empty_chunks": True, "read_missing_chunks": False},
    )


def contents(store):
    if isinstance(store, dict):
        return {key: value.to_bytes() for key, value in store.items()}
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}


@pytest.mark.parametrize("shard", [None, (3, 1, 8, 16), (3, 1, 24, 32), (3, 1, 40, 64)])
@pytest.mark.parametrize("where", ["folder", "memory"])
def test_zarr_reads_every_value_and_writes_the_same_chunks(where, shard, tmp_path):
    values = np.random.default_rng(0).normal(size=(3, 2, 37, 53)).astype("f4")
    values[:, :, :8, :16] = np.nan  # a chunk of nothing but the fill value
    ours, by_zarr = ({}, {}) if where == "memory" else (tmp_path / "ours", tmp_path / "by_zarr")
    target = array(ours, shard)
    for step in (1, 0):  # in any order
        blocks = da.from_array(values[:, step : step + 1], chunks=(2, 1, 10, 53))
        dask.compute(*shards.stored_in([target], [blocks], [(0, step, 0, 0)]))
    array(by_zarr, shard)[...] = values
    np.testing.assert_array_equal(target[...], values)
    ours, by_zarr = contents(ours), contents(by_zarr)
    assert ours.keys() == by_zarr.keys()
    if shard is None or shard == target.chunks:  # else Zarr chooses another order of the chunks
        assert ours == by_zarr


def test_every_bit_of_a_shard_is_guarded():
    values = np.random.default_rng(1).normal(size=(3, 1, 16, 16)).astype("f4")
    store = {}
    target = array(store, (3, 1, 16, 16), values.shape)
    dask.compute(*shards.stored_in([target], [da.from_array(values)], [(0, 0, 0, 0)]))
    good = store["c/0/0/0/0"].to_bytes()
    for place in np.random.default_rng(2).integers(len(good), size=200):
        bad = bytearray(good)
        bad[place] ^= 1 << int(place % 8)
        store["c/0/0/0/0"] = zarr.buffer.cpu.Buffer.from_bytes(bytes(bad))
        with pytest.raises(Exception, match=r"(?i)checksum|blosc|error|range"):
            target[...]
    store["c/0/0/0/0"] = zarr.buffer.cpu.Buffer.from_bytes(good)
    np.testing.assert_array_equal(target[...], values)


def test_what_a_failure_leaves_is_removed_and_an_append_can_be_repeated(tmp_path):
    target = array(tmp_path, (3, 1, 40, 64))
    values = np.random.default_rng(3).normal(size=(3, 1, 37, 53)).astype("f4")

    def fail(block):
        if block[0, 0, 0, 0] == values[0, 0, 32, 0]:
            raise OSError("no")
        return block

    before = contents(tmp_path)
    blocks = da.from_array(values, chunks=(3, 1, 8, 16))
    with pytest.raises(OSError, match="no"):
        dask.compute(*shards.stored_in([target], [blocks.map_blocks(fail, dtype="f4")], [(0, 1, 0, 0)]))
    assert [name.endswith(".partial") for name in contents(tmp_path).keys() - before.keys()] == [True]
    shards.remove_unfinished(target, 0)
    assert len(contents(tmp_path)) == len(before) + 1
    shards.remove_unfinished(target, 1)
    assert contents(tmp_path) == before

    part, chunks = tmp_path / "part", np.array([[b"one", b"three"]], dtype=object)
    state = shards._append(part, None, chunks, (0, 0), (2, 2))
    for _ in range(2):
        index, end = shards._append(part, state, chunks, (1, 0), (2, 2))
    assert part.read_bytes() == b"onethreeonethree"
    assert index.tolist() == [[[0, 3], [3, 5]], [[8, 3], [11, 5]]]
    assert end == 16


@pytest.mark.parametrize(
    ("pixels", "chunks", "shard"),
    [
        ((4096, 4096), (256, 256), (4096, 4096)),
        ((4300, 4096), (256, 256), (2304, 4096)),
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
        assert each.shards[-3:] == (1, 4096, 4096)
        assert each.chunks[-3:] == (1, 256, 256)
