"""Smaller numbers in files: what is lost is what is said, and what must not be lost is not."""

import json

import dask.array as da
import numpy as np
import pytest
from lazy_cubes import lazily

import astropy.units as u
from astropy.io import fits

from sunpy_demreg import emission_measure, invert, read, write
from sunpy_demreg._files.encodings import decoded, encoded, encodings_for

BINS = 10 ** np.arange(5.6, 7.41, 0.2) * u.K
LOG = {"name": "log10", "step": 0.01, "code_of_1": 16384, "code_of_nan": -32768}
ODD = np.array([0, -0.0, np.nan, np.inf, -np.inf, 1, -1, 1e-30, -3.3e37, 7e22, 1.4e-45], dtype="f4")


@pytest.fixture(scope="module")
def result(small, response):
    return invert(small, response, BINS, positivity="ignore", emission_measure_ranges=[[1, 2], [2, 4]] * u.MK)


def of_sign(values):
    return np.where(np.isnan(values), 9, np.sign(values))


@pytest.mark.parametrize("lazy", [False, True])
def test_codes_of_logarithms_keep_sign_zero_and_nan(lazy):
    values = np.concatenate([ODD, np.random.default_rng(0).normal(size=5000).astype("f4") * 1e21])
    array = da.from_array(values, chunks=700) if lazy else values
    codes = encoded(array, LOG)
    assert codes.dtype == np.int16
    back = np.asarray(decoded(codes, LOG))
    assert back.dtype == np.float32
    is_tiny = np.abs(values) < 1e-44
    np.testing.assert_array_equal(of_sign(back)[~is_tiny], of_sign(values)[~is_tiny])
    np.testing.assert_array_equal(np.isinf(back), np.isinf(values))
    usual = np.isfinite(values) & (np.abs(values) > 1e-37)
    np.testing.assert_allclose(back[usual], values[usual], rtol=10**0.005 - 1 + 1e-6)
    assert np.asarray(codes)[5] == 16384
    np.testing.assert_array_equal(encoded(back[~is_tiny], LOG), np.asarray(codes)[~is_tiny])  # again, nothing is lost


@pytest.mark.parametrize("bits", [1, 5, 10, 23])
@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_rounding_keeps_so_many_bits(bits, kind):
    values = np.concatenate([ODD, np.random.default_rng(0).normal(size=999)]).astype(kind)
    rounded = encoded(values, {"name": "bitround", "mantissa_bits": bits})
    assert rounded.dtype == np.float32
    is_tiny = np.abs(values) < 1e-44
    np.testing.assert_array_equal(of_sign(rounded)[~is_tiny], of_sign(values)[~is_tiny])
    np.testing.assert_array_equal(np.isinf(rounded), np.isinf(values))
    is_usual = np.isfinite(values) & (np.abs(values) > 1e-37)
    np.testing.assert_allclose(rounded[is_usual], values[is_usual], rtol=2.0 ** -(bits + 1))
    lost = rounded[np.isfinite(rounded)].view("u4") & np.uint32(2 ** (23 - bits) - 1)
    assert not lost.any()


def test_bits_follow_from_the_median_noise():
    value = np.full((3, 40, 50), 7.0)
    for noise, bits in ((0.5, 4), (0.1, 6), (0.01, 9), (1e-9, 23)):
        arrays = {"dem": value, "dem_uncertainty": noise * value, "chi_squared": value[0], "status": np.zeros((40, 50))}
        how = encodings_for(arrays, "bitround")
        assert how["dem"]["mantissa_bits"] == how["chi_squared"]["mantissa_bits"] == bits
        assert 2.0 ** -(bits + 1) <= 0.1 * noise or bits == 23
        assert how["dem_uncertainty"]["mantissa_bits"] == 5


def test_bits_of_channels_are_those_that_the_best_needs():
    noise = np.array([0.5, 0.5, 0.5, 0.002, 0.002, np.nan])[:, None, None]
    value = 10 ** np.random.default_rng(0).uniform(0, 3, (6, 40, 50))
    arrays = {"intensity": value, "intensity_uncertainty": noise * value, "predicted_intensity": value}
    how = encodings_for(arrays | {"status": np.zeros((40, 50))}, "bitround")
    assert how["intensity"] == how["predicted_intensity"]
    change = np.abs(encoded(value, how["intensity"]) / value - 1).max()
    assert 0.01 * 0.002 < change <= 0.1 * 0.002
    # It does not matter where there are none, nor how many of the channels are bad.
    assert encodings_for(arrays | {"intensity_uncertainty": 0 * noise * value, "status": value[0]}, "bitround")[
        "intensity"
    ] == {"name": "bitround", "mantissa_bits": 23}


@pytest.mark.parametrize("ending", [".fits", ".fits.gz", ".asdf", ".zarr"])
@pytest.mark.parametrize("encoding", ["float32", "bitround", "log"])
@pytest.mark.parametrize("chunks", [None, (6, 5, 9)])
def test_encoded_results(small, response, result, tmp_path, ending, encoding, chunks):
    if chunks is not None:
        options = {"positivity": "ignore", "emission_measure_ranges": [[1, 2], [2, 4]] * u.MK}
        result = invert(lazily(small, chunks), response, BINS, **options)
    path = tmp_path / f"a{ending}"
    if encoding == "log" and ending != ".zarr":
        with pytest.raises(ValueError, match=r"`encoding` 'log' .* only a \.zarr store .* 'bitround'"):
            write(result, path, encoding=encoding)
        assert not path.exists()
        return
    write(result, path, encoding=encoding)
    back = read(path)
    assert back.meta["encoding"] == encoding
    assert back.keys() == result.keys()
    for key, cube in result.items():
        assert back[key].unit == cube.unit
        pairs = [(back[key].data, cube.data)]
        if cube.uncertainty is not None:
            pairs.append((back[key].uncertainty.array, cube.uncertainty.array))
        np.testing.assert_array_equal(np.asarray(back[key].mask), np.asarray(cube.mask))
        for found, expected in pairs:
            found, expected = np.asarray(found), np.asarray(expected)
            if expected.dtype.kind != "f":
                np.testing.assert_array_equal(found, expected)
                continue
            assert found.dtype == np.float32
            np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
            tolerance = {"float32": 1e-7, "bitround": 2.0**-6, "log": 0.0117}[encoding]
            np.testing.assert_allclose(found, expected, rtol=tolerance)
    assert np.isfinite(emission_measure(back, [1, 2] * u.MK).data).any()  # a result like any other


def test_compact_stores_are_small_and_open_to_others(result, tmp_path):
    xarray = pytest.importorskip("xarray")
    for encoding in (None, "bitround", "log"):
        write(result, tmp_path / f"{encoding}.zarr", encoding=encoding)

    def n_bytes(name):
        return sum(path.stat().st_size for path in (tmp_path / name / "dem" / "c").rglob("*") if path.is_file())

    assert n_bytes("bitround.zarr") < 0.4 * n_bytes("None.zarr")
    assert n_bytes("log.zarr") < 0.4 * n_bytes("None.zarr")
    seen = xarray.open_zarr(tmp_path / "log.zarr", consolidated=False)["dem"]
    assert seen.attrs["units"] == "dex(K-1 cm-5)"
    is_positive = result["dem"].data > 0
    np.testing.assert_allclose(seen.values[is_positive], np.log10(result["dem"].data[is_positive]), atol=0.0051)
    document = json.loads((tmp_path / "bitround.zarr" / "dem" / "zarr.json").read_text())
    assert document["attributes"]["encoding"]["mantissa_bits"] < 10


def test_streamed_and_whole_files_hold_the_same(small, response, tmp_path):
    for name, cube in (("whole", small), ("lazy", lazily(small, (6, 5, 9)))):
        write(invert(cube, response, BINS), tmp_path / f"{name}.fits", encoding="bitround")
    with fits.open(tmp_path / "whole.fits") as one, fits.open(tmp_path / "lazy.fits") as other:
        np.testing.assert_array_equal(one["DEM"].data, other["DEM"].data)
        assert one["DEM"].data.dtype == ">f4"


@pytest.mark.parametrize("encoding", ["int8", 32, "LOG"])
def test_other_encodings_are_refused(result, tmp_path, encoding):
    with pytest.raises(ValueError, match="`encoding` must be one of None, 'float32', 'bitround', 'log'"):
        write(result, tmp_path / "a.zarr", encoding=encoding)
    assert not list(tmp_path.iterdir())
