"""Draws of errors, and their percentiles."""

import numpy as np
import pytest

import astropy.units as u
from astropy.nddata import StdDevUncertainty
from astropy.wcs import WCS
from ndcube import NDCube

from sunpy_demreg import (
    TemperatureResponse,
    emission_measure,
    invert,
    monte_carlo,
    percentiles,
    prepare,
    prepare_series,
    read,
    region_spectrum,
    sample,
    write,
)
from sunpy_demreg._analysis import draws

UNIT = u.DN / u.pix / u.s


@pytest.fixture(scope="module")
def field():
    return prepare(sample.aia_maps(), n_sample=16, include_eve=True)[:, 90:96, 50:57]


def test_draws_scatter_as_the_uncertainty_says(field):
    ensemble = monte_carlo(field, 2000, seed=5)
    values = ensemble.data.compute()
    assert values.shape == ensemble.shape == (6, 2000, 6, 7)
    np.testing.assert_allclose(values.std(axis=1), field.uncertainty.array, rtol=0.08)
    np.testing.assert_allclose(values.mean(axis=1), field.data, atol=5 * field.uncertainty.array.max() / np.sqrt(2000))
    # The mean over pixels scatters as that of a region: what they have in common does not average out.
    whole = np.ones((6, 7), dtype=bool)
    error = region_spectrum(field, whole).uncertainty.array[:, 0]
    np.testing.assert_allclose(values.mean(axis=(2, 3)).std(axis=1), error, rtol=0.08)
    np.testing.assert_array_equal(ensemble.uncertainty.array[:, 1234].compute(), field.uncertainty.array)
    assert ensemble.meta["seed"] == 5


def test_calibration_errors_are_common_to_the_pixels(field):
    bright = 200
    big = NDCube(
        np.full((2, 3, 4), 1e4),
        WCS(naxis=3),
        unit=UNIT,
        uncertainty=StdDevUncertainty(np.ones((2, 3, 4))),
        meta={"channels": ["a", "b"]},
    )
    values = monte_carlo(big, bright * 5, seed=2, calibration_error={"a": 0.1}, common_calibration_error=0.03)
    logs = np.log(values.data.compute() / 1e4)
    np.testing.assert_allclose(logs[:, :, 0, 0].std(axis=1), [np.hypot(0.1, 0.03), 0.03], rtol=0.07)
    np.testing.assert_allclose(logs, logs[..., :1, :1] + 0 * logs, atol=1e-3)
    assert 0.2 < np.corrcoef(logs[:, :, 0, 0])[0, 1] < 0.4


@pytest.mark.parametrize("shape", ["cube", "regions", "spectrum"])
def test_draws_depend_on_the_seed_alone(field, shape, monkeypatch):
    cube = {"cube": field, "regions": region_spectrum(field, [np.ones((6, 7), bool)] * 3)}.get(shape)
    if shape == "spectrum":
        cube = NDCube(
            np.arange(1.0, 7),
            field[:, 0, 0].wcs,
            unit=UNIT,
            uncertainty=StdDevUncertainty(np.ones(6)),
            meta={"channels": [f"AIA {c}" for c in (94, 131, 171, 193, 211, 335)]},
        )
    whole = monte_carlo(cube, 20, seed=1).data.compute()
    assert np.isfinite(whole).all()
    more = monte_carlo(cube, 25, seed=1).data
    monkeypatch.setattr(draws, "_VALUES", 200)
    np.testing.assert_array_equal(monte_carlo(cube, 20, seed=1).data.compute(scheduler="threads"), whole)
    np.testing.assert_array_equal(more[:, :20].compute(), whole)
    assert not np.array_equal(monte_carlo(cube, 20, seed=2).data.compute(), whole)
    one, other = (monte_carlo(cube, 2).data.compute() for _ in range(2))
    assert not np.array_equal(one, other)
    for i in range(1, 20):
        assert not np.array_equal(whole[:, 0], whole[:, i])


def test_a_series_has_the_errors_of_each_image(series_folder):
    series = prepare_series(series_folder, n_sample=16, include_eve=True)[..., 3:6, 4:7]
    values = monte_carlo(series, 500, seed=1).data.compute()
    assert values.shape == (6, 500, 3, 3, 3)
    np.testing.assert_allclose(values.std(axis=1), series.uncertainty.array.compute(), rtol=0.2)


def test_an_ensemble_is_inverted_and_has_percentiles(field, edges):
    response = TemperatureResponse.from_aia(field)
    small = field[:, :2, :3]
    ensemble = invert(monte_carlo(small, 60, seed=1), response, edges)
    one = invert(
        NDCube(
            monte_carlo(small, 60, seed=1).data[:, 7].compute(),
            small.wcs,
            unit=small.unit,
            uncertainty=small.uncertainty,
            mask=small.mask,
            meta=small.meta,
        ),
        response,
        edges,
    )
    dem = ensemble["dem"].data.compute()
    np.testing.assert_array_equal(dem[:, 7], one["dem"].data)
    found = percentiles(ensemble["dem"])
    assert found.shape == (3, 36, 2, 3)
    np.testing.assert_allclose(found.data.compute(), np.nanpercentile(dem, [16, 50, 84], axis=1))
    assert not found.mask.compute().any()
    em = percentiles(emission_measure(ensemble, [1, 4] * u.MK), [50])
    assert em.shape == (1, 2, 3)
    expected = emission_measure(invert(small, response, edges), [1, 4] * u.MK)
    np.testing.assert_allclose(em.data.compute()[0], expected.data, rtol=0.2)
    assert em.unit == u.cm**-5


def test_ensembles_are_written_as_single_cubes(field, edges, tmp_path):
    spectrum = region_spectrum(field, {"left": np.arange(7) < 3 + np.zeros((6, 1)), "all": np.ones((6, 7), bool)})
    ensemble = invert(monte_carlo(spectrum, 4, seed=1), TemperatureResponse.from_aia(field), edges)
    for ending in (".zarr", ".fits", ".asdf"):
        with pytest.raises(
            ValueError, match=r"`result` has an axis of draws.*: write single cubes, .* or the percentiles"
        ):
            write(ensemble, tmp_path / f"all{ending}")
        for name, cube in (("dem", ensemble["dem"]), ("percentiles", percentiles(ensemble["dem"]))):
            write(cube, tmp_path / f"{name}{ending}")
            back = read(tmp_path / f"{name}{ending}")
            np.testing.assert_array_equal(np.asarray(back.data), np.asarray(cube.data))
            assert back.wcs.world_axis_physical_types == cube.wcs.world_axis_physical_types


def test_percentiles_without_some_draws():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(9, 4, 5))
    values[rng.random(values.shape) < 0.3] = np.nan
    values[:, 0, 0] = np.nan
    values[1:, 0, 1] = np.nan
    found = draws._percentiles(values, 0, np.array([10, 50, 97]))
    assert np.isnan(found[:, 0, 0]).all()
    np.testing.assert_allclose(found[:, 1:], np.nanpercentile(values[:, 1:], [10, 50, 97], axis=0))
    np.testing.assert_allclose(found[:, 0, 1], values[0, 0, 1])


@pytest.mark.parametrize(
    ("argument", "value", "kind", "words"),
    [
        ("cube", 3, TypeError, "`cube` must be a cube of channels with uncertainties, .* but is 3"),
        ("n", 0, ValueError, "`n` must be a whole number of draws from 1"),
        ("seed", -1, ValueError, "`seed` must be a whole number from 0"),
        ("calibration_error", 2, ValueError, "`calibration_error` must be"),
        ("common_calibration_error", -1, ValueError, "`common_calibration_error` must be"),
    ],
)
def test_calls_that_are_none(field, argument, value, kind, words):
    with pytest.raises(kind, match=words):
        monte_carlo(**{"cube": field, argument: value})


def test_percentiles_need_draws(field):
    with pytest.raises(ValueError, match=r"`cube` must be a cube with an axis of draws, .* but has only axes"):
        percentiles(field)
    with pytest.raises(TypeError, match=r"`cube` must be a cube with an axis of draws"):
        percentiles(3)
    for levels in ((50, 16), (0, 50), (), 100):
        with pytest.raises(ValueError, match="`levels` must be ascending, between 0 and 100"):
            percentiles(monte_carlo(field, 2), levels)
    for levels, cure in (((0.16, 0.5, 0.84), "16, 50, 84"), (0.5, "50"), ([0.5, 1], "50, 100")):
        with pytest.raises(
            ValueError, match=rf"`levels` must be percentages, .* fractions: multiply by 100 \({cure}\)"
        ):
            percentiles(monte_carlo(field, 2), levels)
    assert percentiles(monte_carlo(field, 2), (0.135, 50)).data.shape[0] == 2
    with pytest.raises(TypeError, match="`levels` must be percentages"):
        percentiles(monte_carlo(field, 2), "median")
