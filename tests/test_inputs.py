"""Stores of inputs alone: the result that is read is that of the inversion, to the last bit."""

import json

import numpy as np
import pytest
from lazy_cubes import lazily

import astropy.units as u

import sunpy_demreg._files.inputs as module
from sunpy_demreg import emission_measure, invert, read, write
from sunpy_demreg._common.warnings import DataWarning
from sunpy_demreg._files import zarr_documents as documents
from sunpy_demreg._files.inputs import rounded

BINS = 10 ** np.arange(5.6, 7.41, 0.2) * u.K
RANGES = {"emission_measure_ranges": [[1, 2], [2, 4]] * u.MK}


@pytest.fixture(scope="module")
def spoiled(small):
    cube = rounded(small)
    cube.data[0, 2, 3], cube.data[1, 3, 4:6] = np.nan, -3.0
    cube.data[:, 4, 4] = np.nan
    return cube


def check_same(found, expected):
    assert found.keys() == expected.keys()
    assert found.meta.keys() == expected.meta.keys()
    for key, cube in expected.items():
        pairs = [(found[key].data, cube.data), (found[key].mask, cube.mask)]
        if cube.uncertainty is not None:
            pairs.append((found[key].uncertainty.array, cube.uncertainty.array))
        for one, other in pairs:
            one, other = np.asarray(one), np.asarray(other)
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


@pytest.mark.filterwarnings("ignore:.*pixels were not solved")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dtype": "float32", "positivity": "constrain"},
        {"method": "lognormal", "common_calibration_error": 0.1, **RANGES},
        {"outputs": ("emission_measure", "is_resolved", "intensity"), "backend": "numpy", **RANGES},
        {"missing_channels": "mask", "weighting": np.linspace(1, 2, 9), "nonpositive": "mask"},
        {"method": "l2", "outputs": ("intensity", "covariance")},
    ],
)
@pytest.mark.parametrize("chunks", [None, (6, 5, 9)])
def test_what_is_read_is_the_result_to_the_last_bit(spoiled, response, tmp_path, options, chunks):
    expected = invert(spoiled, response, BINS, **options)
    result = expected if chunks is None else invert(lazily(spoiled, chunks), response, BINS, **options)
    path = tmp_path / "a.zarr"
    write(result, path, contents="inputs")
    names = {each.name for each in path.iterdir() if each.is_dir()}
    assert not names & {"dem", "dem_uncertainty", "temperature_resolution", "emission_measure", "covariance"}
    found = read(path)
    if chunks is not None:
        del expected.meta["status_counts"]
    check_same(found, expected)
    check_same(found[1:5, 2:7], expected[1:5, 2:7])  # a part of it as well
    write(found, tmp_path / "b.zarr")
    check_same(read(tmp_path / "b.zarr"), expected)


def test_products_are_the_same(spoiled, response, tmp_path):
    with pytest.warns(UserWarning, match="not solved"):
        expected = invert(spoiled, response, BINS)
    write(expected, tmp_path / "a.zarr", contents="inputs")
    one, other = (emission_measure(each, [1, 2] * u.MK) for each in (read(tmp_path / "a.zarr"), expected))
    np.testing.assert_array_equal(one.data, other.data)
    np.testing.assert_array_equal(one.uncertainty.array, other.uncertainty.array)


def test_other_intensities_are_rounded_and_few_bytes(small, response, tmp_path):
    result = invert(small, response, BINS)
    write(result, tmp_path / "a.zarr", contents="inputs")
    found, expected = read(tmp_path / "a.zarr"), invert(rounded(small), response, BINS)
    del found.meta["status_counts"], expected.meta["status_counts"]
    check_same(found, expected)
    np.testing.assert_allclose(found["dem"].data, result["dem"].data, rtol=1e-3, atol=1e-5 * np.max(result["dem"].data))
    folders = [path / "c" for path in (tmp_path / "a.zarr").iterdir() if path.is_dir() and path.name != "temperature"]
    values = [p for each in folders for p in each.rglob("*") if p.is_file()]
    assert sum(path.stat().st_size for path in values) < 100 * small.data[0].size  # of so small an image


def edited(path, change):
    document = json.loads((path / "zarr.json").read_text())
    meta = document["attributes"]["meta"]
    assert change[0] in meta
    document["attributes"]["meta"] = meta.replace(*change)
    (path / "zarr.json").write_text(json.dumps(document))
    documents.seal(path)


def test_other_versions_are_told(small, response, tmp_path, monkeypatch):
    write(invert(small, response, BINS), tmp_path / "a.zarr", contents="inputs")
    versions = module._versions
    monkeypatch.setattr(module, "_versions", lambda backend: versions(backend) | {"llvmlite": "99.0"})
    with pytest.warns(DataWarning, match=r"a\.zarr' .* llvmlite .* \(now 99\.0\): .* 1e-9"):
        found = read(tmp_path / "a.zarr")
    monkeypatch.undo()
    np.testing.assert_array_equal(found["dem"].data, read(tmp_path / "a.zarr")["dem"].data)


def test_another_answer_is_not_returned_silently(small, response, tmp_path):
    path = tmp_path / "a.zarr"
    write(invert(small, response, BINS), path, contents="inputs")
    edited(path, ('"chi_squared_target": 1.0', '"chi_squared_target": 1.5'))
    with pytest.raises(ValueError, match=r"`path` .*a\.zarr' holds inputs whose λ is another .* in \d+ pixels"):
        read(path)["dem"].data.compute()


def test_refusals(small, response, tmp_path):
    result = invert(small, response, BINS)
    for ending in (".fits", ".asdf"):
        with pytest.raises(ValueError, match=r"`contents` 'inputs' .* only a \.zarr store"):
            write(result, tmp_path / f"a{ending}", contents="inputs")
    with pytest.raises(ValueError, match=r"`encoding` 'log' would change the inputs"):
        write(result, tmp_path / "a.zarr", contents="inputs", encoding="log")
    with pytest.raises(ValueError, match=r"`contents` must be one of 'result', 'inputs'"):
        write(result, tmp_path / "a.zarr", contents="everything")
    each = invert(small, response, BINS, weighting=np.ones((9, *small.data.shape[1:])))
    with pytest.raises(ValueError, match=r"`contents` 'inputs' cannot hold a `weighting` of each pixel"):
        write(each, tmp_path / "a.zarr", contents="inputs")
    with pytest.raises(ValueError, match=r"`result` lacks 'intensity'"):
        write(invert(small, response, BINS, outputs=("dem",)), tmp_path / "a.zarr", contents="inputs")
    result["dem"].mask = result["dem"].data > 0
    with pytest.raises(ValueError, match=r"`contents` 'inputs' cannot hold the mask of result\['dem'\]"):
        write(result, tmp_path / "a.zarr", contents="inputs")
    assert not list(tmp_path.iterdir())
