"""Dask arrays: nothing is computed until asked for, and then the same to the last bit, whatever the chunks."""

import subprocess
import sys
import threading

import dask
import dask.array as da
import numpy as np
import pytest
from lazy_cubes import lazily

import astropy.units as u
from astropy.nddata import StdDevUncertainty, VarianceUncertainty
from ndcube import NDCollection, NDCube
from sunpy.util.exceptions import SunpyUserWarning

import sunpy_demreg
from sunpy_demreg import UnsolvedWarning, invert, write
from sunpy_demreg._engines import execute

pytestmark = pytest.mark.filterwarnings("ignore:.*pixels were not solved")


@pytest.fixture(scope="module")
def edges():
    return 10 ** np.arange(5.6, 7.41, 0.15) * u.K


@pytest.fixture(scope="module")
def eager(part, response, edges):
    return invert(part, response, edges)


def parts_of(result):
    for key, cube in result.items():
        yield key, cube.data
        if cube.mask is not None:
            yield f"mask of {key}", cube.mask
        if cube.uncertainty is not None:
            yield f"uncertainty of {key}", cube.uncertainty.array


def assert_same(lazy, eager):
    lazy, eager = dict(parts_of(lazy)), dict(parts_of(eager))
    assert lazy.keys() == eager.keys()
    assert all(isinstance(array, da.Array) for array in lazy.values())
    for (name, expected), computed in zip(eager.items(), dask.compute(*lazy.values()), strict=True):
        assert computed.dtype == expected.dtype
        np.testing.assert_array_equal(computed, expected, err_msg=name)


@pytest.mark.parametrize("chunks", [(6, 13, 17), (6, 5, 4), (6, 1, 17), ((6,), (2, 11), (1, 16))])
def test_answer_does_not_depend_on_the_chunks(part, response, edges, eager, chunks):
    lazy = invert(lazily(part, chunks), response, edges)
    assert lazy["dem"].data.chunks[1:] == da.core.normalize_chunks(chunks, part.shape)[1:]
    assert_same(lazy, eager)
    one, other = (each["dem"].wcs.low_level_wcs.pixel_to_world_values(1, 2, 3) for each in (lazy, eager))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "options",
    [
        {"backend": "numpy", "positivity": "constrain"},
        {"dtype": "float32", "outputs": ("dem", "chi_squared")},
        {"emission_measure_ranges": [[1e6, 2e6], [2e6, 1e7]] * u.K, "parameter_choice": "grid"},
        {"outputs": ("dem", "dem_uncertainty", "covariance")},
    ],
)
def test_options(part, response, edges, options):
    part = part[:, :4, :6]
    assert_same(invert(lazily(part, (6, 3, 4)), response, edges, **options), invert(part, response, edges, **options))


def test_one_bit_of_dask_is_enough(part, response, edges, eager):
    mixed = NDCube(
        part.data, part.wcs, unit=part.unit, mask=da.from_array(part.mask, chunks=(6, 4, 4)), meta=part.meta,
        uncertainty=StdDevUncertainty(part.uncertainty.array),
    )  # fmt: skip
    assert_same(invert(mixed, response, edges), eager)


def test_variances_and_collections_of_planes(part, response, edges):
    variances = NDCube(
        part.data, part.wcs, unit=part.unit, mask=part.mask, meta=part.meta,
        uncertainty=VarianceUncertainty(part.uncertainty.array**2),
    )  # fmt: skip
    eager = invert(variances, response, edges)
    lazy = NDCube(
        da.from_array(part.data, chunks=(6, 4, 9)), part.wcs, unit=part.unit, mask=part.mask, meta=part.meta,
        uncertainty=VarianceUncertainty(da.from_array(part.uncertainty.array, chunks=(6, 4, 9)) ** 2),
    )  # fmt: skip
    assert_same(invert(lazy, response, edges), eager)
    planes = [lazily(part, (1, 5, 9))[i] for i in range(6)]
    collection = NDCollection([(label, plane) for label, plane in zip(part.meta["channels"], planes, strict=True)])
    with pytest.warns(SunpyUserWarning, match="chunked along its channels"):
        lazy = invert(collection, response, edges)
    np.testing.assert_array_equal(lazy["dem"].data.compute(), invert(part, response, edges)["dem"].data)


def test_nothing_is_computed_before_it_is_asked_for(part, response, edges, monkeypatch):
    def explode(block):
        raise RuntimeError("computed")

    lazy = lazily(part, (6, 5, 9))
    data = lazy.data.map_blocks(explode, meta=np.empty((0, 0, 0)))
    lazy = NDCube(
        data, lazy.wcs, unit=lazy.unit, meta=lazy.meta, mask=lazy.mask,
        uncertainty=lazy.uncertainty,
    )  # fmt: skip
    result = invert(lazy, response, edges)[..., 1:3, 2:5]
    assert result["dem"].data.shape == (12, 2, 3)
    with pytest.raises(RuntimeError, match="computed"):
        result["dem"].data.compute()


@pytest.mark.parametrize("ending", [None, ".zarr", ".fits"])
def test_a_block_is_solved_once_for_all_outputs_on_one_thread(part, response, edges, tmp_path, monkeypatch, ending):
    calls = []
    run = execute.run

    def counted(*args, workers, **options):
        calls.append(workers)
        return run(*args, workers=workers, **options)

    monkeypatch.setattr(execute, "run", counted)
    result = invert(lazily(part, (6, 5, 9)), response, edges)
    assert not calls
    if ending is None:
        dask.compute(*(array for _, array in parts_of(result)))
    else:
        write(result, tmp_path / f"a{ending}")
    assert calls == [1] * 6


def test_workers_bound_the_blocks_in_hand(part, response, edges, monkeypatch):
    now, most, lock, run = [0], [0], threading.Lock(), execute.run

    def watched(*args, **options):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        try:
            return run(*args, **options)
        finally:
            with lock:
                now[0] -= 1

    monkeypatch.setattr(execute, "run", watched)
    result = invert(lazily(part, (6, 2, 3)), response, edges, workers=2)
    result["dem"].data.compute(scheduler="threads", num_workers=8)
    assert 1 <= most[0] <= 2


def test_the_result_keeps_its_own_mask(part, response, edges):
    lazy = lazily(part, (6, 5, 5))
    result = invert(lazy, response, edges)
    lazy.mask[:], lazy.data[:] = True, 1e9
    np.testing.assert_array_equal(result["intensity"].mask.compute(), part.mask)
    np.testing.assert_array_equal(result["intensity"].data.compute(), part.data)


def test_weights_of_pixels(part, response, edges):
    weight = np.random.default_rng(1).uniform(1, 2, (12, *part.shape[1:]))
    eager = invert(part, response, edges, weighting=weight)
    for given in (weight, da.from_array(weight, chunks=(12, 5, 5))):
        assert_same(invert(lazily(part, (6, 4, 6)), response, edges, weighting=given), eager)
    weight[3] = -1
    result = invert(lazily(part, (6, 4, 6)), response, edges, weighting=weight)
    with pytest.raises(ValueError, match="`weighting` must be finite and above zero"):
        result["dem"].data.compute()


def test_chunks_along_the_channels_are_joined_with_one_warning(part, response, edges, eager):
    with pytest.warns(SunpyUserWarning) as caught:
        result = invert(lazily(part, (2, 13, 9)), response, edges)
    assert [str(w.message)[:36] for w in caught] == ["`data` is chunked along its channels"]
    assert_same(result, eager)


@pytest.mark.parametrize("argument", ["data", "uncertainty"])
def test_chunks_of_unknown_size_are_refused(part, response, edges, argument):
    known = lazily(part, (6, 13, 17)).data
    unknown = known[:, :, da.from_array(np.ones(17, dtype=bool))]
    data, sigma = (unknown, known) if argument == "data" else (known, unknown)
    cube = NDCube(data, part.wcs, unit=part.unit, uncertainty=StdDevUncertainty(sigma))
    words = f"`{argument}` is a Dask array with chunks of unknown size.*compute_chunk_sizes"
    with pytest.raises(ValueError, match=words):
        invert(cube, response, edges)


@pytest.mark.parametrize("ending", [".fits", ".fits.gz", ".asdf", ".zarr"])
def test_unsolved_pixels_are_told_once_when_they_are_written(part, response, edges, tmp_path, ending):
    data, sigma = np.array(part.data), part.uncertainty.array
    data[1:3, 2, 3], data[:, 4, 5:8] = np.nan, 0
    parts = {"uncertainty": StdDevUncertainty(sigma), "mask": np.zeros(data.shape, bool)}
    bad = NDCube(data, part.wcs, unit=part.unit, meta=part.meta, **parts)
    with pytest.warns(UnsolvedWarning) as eager:
        invert(bad, response, edges)
    result = invert(lazily(bad, (6, 4, 6)), response, edges)  # says nothing yet
    with pytest.warns(UnsolvedWarning) as caught:
        write(result, tmp_path / f"dem{ending}")
    [warning] = caught
    assert str(warning.message) == str(eager[0].message)
    assert "(NOT_FINITE 2, NO_SIGNAL 3)" in str(warning.message)
    assert warning.filename == __file__


@pytest.mark.parametrize("positivity", ["relax", "constrain"])
def test_misfits_are_told_when_they_are_written(part, response, tmp_path, positivity):
    edges = 10 ** np.arange(6.3, 7.31, 0.1) * u.K  # without the plasma that 171 sees
    with pytest.warns(UnsolvedWarning, match="solved pixels do not fit") as eager:
        invert(part, response, edges, positivity=positivity)
    result = invert(lazily(part, (6, 4, 6)), response, edges, positivity=positivity)  # says nothing yet
    with pytest.warns(UnsolvedWarning, match="solved pixels do not fit") as caught:
        write(result, tmp_path / "dem.zarr")
    assert [str(each.message) for each in caught] == [str(each.message) for each in eager]


# ---- memory


def test_memory_limit_divides_blocks_and_changes_nothing(part, response, edges, eager):
    result = invert(lazily(part, (6, 13, 17)), response, edges, memory_limit=100 * u.kbyte, workers=1)
    assert result["dem"].data.npartitions > 2
    assert_same(result, eager)


def test_result_beyond_the_memory_limit_is_refused(part, response, edges):
    words = r"`memory_limit` is 1e-05 GB but the result takes .* GB: ask for fewer `outputs`, pass dtype='float32'"
    with pytest.raises(MemoryError, match=words):
        invert(part, response, edges, memory_limit=10_000)
    assert invert(part, response, edges, memory_limit=100_000, outputs=("chi_squared",))["chi_squared"].data.size


@pytest.mark.parametrize(
    ("limit", "error", "came"),
    [
        (0, ValueError, "0"),
        (-1, ValueError, "-1"),
        (float("nan"), ValueError, "nan"),
        (float("inf"), ValueError, "inf"),
        (-3 * u.kbyte, ValueError, "-3000.0"),
        (True, TypeError, "True"),
        ("4 GB", TypeError, "'4 GB'"),
        (3 * u.s, TypeError, "3.0 s"),
        ([1, 2] * u.byte, TypeError, "of type Quantity"),
    ],
)
def test_bad_memory_limits(part, response, edges, limit, error, came):
    rule = r"`memory_limit` must be a finite number of bytes \(or a Quantity: `4 \* u.Gbyte`\) above 0"
    with pytest.raises(error, match=f"^{rule}, but is {came}$"):
        invert(part, response, edges, memory_limit=limit)


PEAK = """
import resource, sys
import dask.array as da, numpy as np, astropy.units as u
from astropy.nddata import StdDevUncertainty
from astropy.wcs import WCS
from ndcube import NDCube
import sunpy_demreg

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

channels = ["AIA 94", "AIA 131", "AIA 171", "AIA 193", "AIA 211", "AIA 335"]
level = np.array([2.0, 8.0, 200.0, 250.0, 90.0, 3.0])[:, None, None]
def cube(n):
    data = da.ones((6, n, n), chunks=(6, 128, 128)) * level
    return NDCube(data, WCS(naxis=3), unit=u.DN / u.pix / u.s, uncertainty=StdDevUncertainty(data / 10, copy=False),
                  meta={"channels": channels})
response = sunpy_demreg.TemperatureResponse.from_aia([94, 131, 171, 193, 211, 335] * u.AA, degradation=False)
edges = 10 ** np.arange(5.6, 7.41, 0.1) * u.K
limit = 60e6
def work(n, name):
    result = sunpy_demreg.invert(cube(n), response, edges, memory_limit=limit, workers=2, backend=sys.argv[2])
    sunpy_demreg.write(result, f"{sys.argv[1]}/{name}.zarr")
work(64, "warm")
before = peak()
work(512, "large")
print(peak() - before)
"""


def test_peak_stays_below_the_limit(tmp_path):
    command = [sys.executable, "-c", PEAK, str(tmp_path), "cpu"]
    peak = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    result = sunpy_demreg.read(tmp_path / "large.zarr")
    whole = sum(array.nbytes for _, array in parts_of(result))
    assert whole > 2 * 60e6
    assert peak < 60e6
