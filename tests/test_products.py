"""Products of a result: sums over bins with the errors of sums, checked against matrices and repeated noise."""

import numpy as np
import pytest

import astropy.constants as const
import astropy.units as u
from astropy.time import Time
from astropy.utils.masked import Masked
from astropy.wcs import WCS
from ndcube import NDCube
from sunpy.map import GenericMap
from sunpy.util.exceptions import SunpyUserWarning

import sunpy_demreg as demreg
from sunpy_demreg import TemperatureResponse, invert

MATRICES = ("dem", "dem_uncertainty", "covariance", "resolution_matrix", "is_resolved", "intensity")
OPTIONS = {
    "defaults": {},
    "grid": {"parameter_choice": "grid", "n_samples": 20},
    "constrain": {"positivity": "constrain", "weighting": "em_loci", "n_refinements": 1},
    "own weight": {"weighting": np.linspace(1, 2, 36), "positivity": "ignore"},
    "l2": {"method": "l2", "chi_squared_target": 2.0, "max_iterations": 3},
}


@pytest.fixture(scope="module")
def result(small, response, edges):
    return invert(small, response, edges)


def widths(edges):
    return np.sqrt(edges[1:] * edges[:-1]).value * np.log(edges[1:] / edges[:-1]).value


def error_of(functional, covariance):
    """Of sums over bins, from the whole covariance (m, m, y, x); `functional` is (m,) or (m, y, x)."""
    functional = np.broadcast_to(functional.T, covariance.shape[:0:-1]).T
    return np.sqrt(np.einsum("jyx,jkyx,kyx->yx", functional, covariance, functional))


@pytest.mark.parametrize("resolved_only", [False, True])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_errors_are_those_of_the_covariance(small, response, edges, options, resolved_only):
    result = invert(small, response, edges, outputs=MATRICES, **options)
    dem, covariance = result["dem"].data, result["covariance"].data
    b, T = widths(edges)[:, None, None], np.sqrt(edges[1:] * edges[:-1]).value[:, None, None]
    choice = {} if resolved_only else {"resolved_only": False}  # without a range, it is the default
    if resolved_only:
        assert 0 < result["is_resolved"].data.mean() < 1
        b = b * result["is_resolved"].data
    em = demreg.emission_measure(result, **choice)
    assert em.unit == u.cm**-5
    np.testing.assert_allclose(em.data, np.sum(b * dem, axis=0), rtol=1e-12)
    np.testing.assert_allclose(em.uncertainty.array, error_of(b, covariance), rtol=1e-7)

    mean = demreg.mean_temperature(result, **choice)
    np.testing.assert_allclose(mean.data, np.sum(b * T * dem, axis=0) / em.data, rtol=1e-12)
    gradient = b * T / em.data - b * mean.data / em.data
    np.testing.assert_allclose(mean.uncertainty.array, error_of(gradient, covariance), rtol=1e-5)
    assert mean.unit == u.K

    energy = demreg.thermal_energy_density(result, 30 * u.Mm, **choice)
    expected = 3 * const.k_B * mean.data * u.K * np.sqrt(em.data * u.cm**-5 / (30 * u.Mm))
    np.testing.assert_allclose((energy.data * energy.unit / expected).to_value(u.one), 1, rtol=1e-12)
    gradient = energy.data * (b * T / (em.data * mean.data) - 0.5 * b / em.data)
    np.testing.assert_allclose(energy.uncertainty.array, error_of(gradient, covariance), rtol=1e-5)

    K = response.at(np.sqrt(edges[1:] * edges[:-1])).value * widths(edges)
    seen = demreg.synthesize(result, response)
    for i in range(6):
        np.testing.assert_allclose(seen.uncertainty.array[i], error_of(K[i], covariance), rtol=1e-6)

    here = np.s_[..., 2, 3]
    scale = np.abs(covariance[here]).max()
    matrix = demreg.covariance(result, (2, 3))
    np.testing.assert_allclose(matrix.to_value(u.cm**-10 / u.K**2), covariance[here], atol=1e-9 * scale)
    expected = result["resolution_matrix"].data[here]
    np.testing.assert_allclose(demreg.resolution_matrix(result, (2, -4)), expected, atol=1e-9 * expected.max())


def test_range_cuts_bins_and_is_what_invert_gives(small, response, edges):
    ranges = [[10**5.91, 10**6.33], [10**5.6, 10**7.4], [1e6, 1.01e6]] * u.K
    result = invert(small, response, edges, emission_measure_ranges=ranges)
    whole = result["emission_measure"]
    for i, pair in enumerate(ranges):
        em = demreg.emission_measure(result, pair.to(u.MK))
        np.testing.assert_allclose(em.data, whole.data[i], rtol=1e-12)
        np.testing.assert_allclose(em.uncertainty.array, whole.uncertainty.array[i], rtol=1e-7)
    # Of a part of a bin, the part's own temperature.
    mean = demreg.mean_temperature(result, [1e6, 1.01e6] * u.K)
    np.testing.assert_allclose(mean.data, np.sqrt(1.01) * 1e6)
    np.testing.assert_allclose(mean.uncertainty.array, 0, atol=1e-6 * 1e6)


def test_slices_and_masks_are_those_of_the_result(small, response, edges, result):
    whole = demreg.mean_temperature(result, [1, 3] * u.MK)
    part = demreg.mean_temperature(result[..., 1:4, 2:6], [1, 3] * u.MK)
    np.testing.assert_array_equal(part.data, whole.data[1:4, 2:6])
    np.testing.assert_array_equal(part.uncertainty.array, whole.uncertainty.array[1:4, 2:6])
    world = [p.wcs.pixel_to_world(*at).Tx.arcsec for p, at in ((whole, (2, 1)), (part, (0, 0)))]
    assert world[0] == pytest.approx(world[1], abs=1e-9)

    data = small.data.copy()
    data[2:4, 3, 4] = np.nan
    bad = NDCube(data, small.wcs, unit=small.unit, uncertainty=small.uncertainty, mask=small.mask, meta=small.meta)
    with pytest.warns(SunpyUserWarning, match="1 of 42"):
        holed = invert(bad, response, edges)
    for product in (
        demreg.emission_measure(holed, [1, 3] * u.MK),
        demreg.mean_temperature(holed, [1, 3] * u.MK),
        demreg.thermal_energy_density(holed, np.full((6, 7), 10) * u.Mm),
        demreg.synthesize(holed, response.select(["AIA 171"])),
    ):
        assert np.argwhere(product.mask).tolist() == [[0] * (product.data.ndim - 2) + [3, 4]]
        np.testing.assert_array_equal(np.isnan(product.data), product.mask)
        np.testing.assert_array_equal(np.isnan(product.uncertainty.array), product.mask)
    np.testing.assert_array_equal(
        np.delete(demreg.mean_temperature(holed, [1, 3] * u.MK).data.ravel(), 25), np.delete(whole.data.ravel(), 25)
    )


def test_mean_of_a_negative_sum_is_masked(small, response, edges):
    result = invert(small, response, edges, positivity="ignore")
    result["dem"].data[5:8, 1, 1] = -1e22
    mean = demreg.mean_temperature(result, edges[[5, 8]])
    assert mean.mask[1, 1]
    assert np.isnan(mean.data[1, 1])


def test_compiled_and_plain_errors_agree(cube, response, edges):
    """Which of the two made a result makes its errors."""
    errors = [
        demreg.emission_measure(invert(cube[:, :66, :66], response, edges, backend=backend), [1, 2] * u.MK).uncertainty
        for backend in ("cpu", "numpy")
    ]
    np.testing.assert_allclose(errors[0].array, errors[1].array, rtol=1e-9)


def test_synthesis_of_the_same_response_is_the_prediction(result, response):
    seen = demreg.synthesize(result, response)
    np.testing.assert_allclose(seen.data, result["predicted_intensity"].data, rtol=1e-9)
    assert seen.unit == result["predicted_intensity"].unit
    other = TemperatureResponse(["thick"], response.temperature, 1e-26 * np.ones((1, 101)) * u.Unit("ph cm5 / s"))
    seen = demreg.synthesize(result, other)
    assert seen.unit == u.ph / u.s
    np.testing.assert_allclose(
        seen.data[0], 1e-26 * demreg.emission_measure(result, resolved_only=False).data, rtol=1e-9
    )
    assert list(seen.meta["channels"]) == ["thick"]


def test_loci_bound_the_emission_measure_of_one_temperature(result, response, edges):
    loci = demreg.em_loci(result, (2, 3))
    centers = np.sqrt(edges[1:] * edges[:-1])
    expected = result["intensity"].data[:, 2, 3, None] * u.DN / u.pix / u.s / response.at(centers)
    np.testing.assert_allclose((loci / expected).to_value(u.one), 1, rtol=1e-12)


def test_error_is_the_spread_of_repeated_noise(cube, response, edges):
    """500 draws of the noise of an active region, where only λ follows it: no positivity, and one weight for all."""
    result = invert(cube[:, 64:65, 64:65], response, edges)
    sigma = np.repeat(result["intensity"].uncertainty.array[:, 0], 500, axis=1)
    noise = np.random.default_rng(7).standard_normal(sigma.shape)
    draws = result["predicted_intensity"].data[:, 0] + sigma * noise
    unit = result["intensity"].unit
    repeated = invert(draws * unit, response, edges, uncertainty=sigma * unit, method="l2", positivity="ignore")
    for pair in ([0.5, 1], [1, 2], [2, 5], [5, 12]):
        em = demreg.emission_measure(repeated, pair * u.MK)
        assert np.median(em.uncertainty.array) == pytest.approx(np.std(em.data), rel=0.1)
    mean = demreg.mean_temperature(repeated, resolved_only=False)
    assert np.median(mean.uncertainty.array) == pytest.approx(np.std(mean.data), rel=0.1)


def test_maps_have_the_coordinates_and_units_of_the_cubes(result):
    em = demreg.emission_measure(result, [1, 2] * u.MK)
    for cube in (em, result["status"], result["dem"][5], result[..., 1:4, 2:6]["dem"][3], result["chi_squared"]):
        new = demreg.to_map(cube)
        assert isinstance(new, GenericMap)
        np.testing.assert_array_equal(new.data, cube.data)
        assert new.unit == cube.unit
        expected = cube.wcs.pixel_to_world(2, 1)
        corner = new.pixel_to_world(2 * u.pix, 1 * u.pix)
        assert abs(corner.Tx - expected.Tx) < 1e-6 * u.arcsec
        assert abs(corner.Ty - expected.Ty) < 1e-6 * u.arcsec
        assert np.abs(new.observer_coordinate.radius - expected.observer.radius) < 1 * u.m
        assert new.date.isot.startswith("2014-01-01T00:00:0")
        np.testing.assert_array_equal(new.mask, cube.mask)
    assert demreg.to_map(em).meta["content"] == "emission measure, log T 6.00-6.30"
    np.testing.assert_array_equal(demreg.to_map(em).uncertainty.array, em.uncertainty.array)
    planes = demreg.to_map(result["dem"])
    assert len(planes) == 36
    np.testing.assert_array_equal(planes[7].data, result["dem"].data[7])


def test_dataset_has_all_of_a_result(result, edges):
    dataset = demreg.to_xarray(result)
    for key, cube in result.items():
        np.testing.assert_array_equal(dataset[key], cube.data)
        assert u.Unit(dataset[key].attrs["units"]) == cube.unit
    np.testing.assert_array_equal(dataset["dem_uncertainty"], result["dem"].uncertainty.array)
    np.testing.assert_array_equal(dataset["temperature_high"], edges[1:].value)
    assert list(dataset["channel"].values) == list(result.meta["channels"])
    world = result["status"].wcs.pixel_to_world(2, 1)
    assert float(dataset["longitude"][1, 2]) == pytest.approx(world.Tx.deg)
    near = dataset["dem"].sel(temperature=1e6, method="nearest")
    assert near.shape == (6, 7)


def test_dataset_of_a_series_of_regions_and_of_draws(cube, response, series_folder):
    edges = 10 ** np.arange(5.6, 7.41, 0.2) * u.K
    series = demreg.prepare_series(series_folder, n_sample=16)
    result = demreg.invert(series, demreg.TemperatureResponse.from_aia(series), edges)
    times = series.axis_world_coords("time")[0]
    dataset = demreg.to_xarray(result)
    assert dataset["dem"].dims == ("temperature", "time", "y", "x")
    assert np.abs((Time(dataset["time"].values) - times).to_value(u.s)).max() < 2e-6
    assert dataset["longitude"].dims == dataset["latitude"].dims == ("y", "x")
    world = result[0]["status"].wcs.pixel_to_world(2, 1)
    assert float(dataset["longitude"][1, 2]) == pytest.approx(world.Tx.deg, rel=1e-12)
    assert float(dataset["latitude"][1, 2]) == pytest.approx(world.Ty.deg, rel=1e-12)
    one = demreg.to_xarray(result[1])
    np.testing.assert_array_equal(one["dem"], dataset["dem"][:, 1])
    np.testing.assert_array_equal(one["longitude"], dataset["longitude"])
    corner = [demreg.to_xarray(result[:, 2, 3]), dataset.isel(y=2, x=3)]  # one pixel in time
    np.testing.assert_array_equal(*(each["dem"] for each in corner))
    np.testing.assert_array_equal(*(each["time"] for each in corner))

    mask = np.zeros(cube.shape[1:], dtype=bool)
    mask[40:50, 60:70] = True
    spectra = demreg.region_spectrum(cube, {"core": mask, "rest": ~mask})
    of_regions = demreg.to_xarray(demreg.invert(spectra, response, edges))
    assert of_regions["dem"].dims == ("temperature", "region")
    assert of_regions["dem"].sel(region="core").shape == (9,)

    bare = cube.data[:, :3, :4] * cube.unit
    bare = demreg.invert(bare, response, edges, uncertainty=0.1 * bare)
    assert "longitude" not in demreg.to_xarray(bare).coords  # of numbers of pixels


def test_dataset_of_a_product(result, response, cube, series_folder):
    """As the Zarr store of the product has it, and with the coordinates of the result's own dataset."""
    of_result = demreg.to_xarray(result)
    em = demreg.emission_measure(result, [1, 2] * u.MK)
    settings = of_result.attrs
    for product, content in (
        (em, "emission measure, log T 6.00-6.30"),
        (demreg.mean_temperature(result), "mean temperature, log T 5.60-7.40, resolved bins"),
        (demreg.thermal_energy_density(result, 10 * u.Mm), None),
    ):
        dataset = demreg.to_xarray(product)
        assert dataset["image"].dims == ("y", "x")
        np.testing.assert_array_equal(dataset["image"], np.where(product.mask, np.nan, product.data))
        np.testing.assert_array_equal(dataset["uncertainty"], product.uncertainty.array)
        assert dataset["image"].attrs == dataset["uncertainty"].attrs == {"units": product.unit.to_string()}
        assert {name: dataset.attrs[name] for name in settings} == settings
        assert content in (None, dataset.attrs["content"])
        for name in ("longitude", "latitude"):
            np.testing.assert_array_equal(dataset[name], of_result[name])
    row = demreg.to_xarray(em[2])
    np.testing.assert_array_equal(row["image"], demreg.to_xarray(em)["image"][2])
    np.testing.assert_array_equal(row["longitude"], of_result["longitude"][2])

    predicted = demreg.to_xarray(demreg.synthesize(result, response))
    assert predicted["image"].dims == ("channel", "y", "x")
    assert list(predicted["channel"].values) == list(response.channels)
    assert predicted["content"].sel(channel="AIA 171") == "synthesized intensity, AIA 171"
    dem = demreg.to_xarray(result["dem"])
    assert dem["image"].dims == ("temperature", "y", "x")
    np.testing.assert_array_equal(dem["image"], of_result["dem"])
    np.testing.assert_allclose(dem["temperature"], of_result["temperature"], rtol=1e-12)
    intensities = demreg.to_xarray(cube[:, :3, :4])
    assert list(intensities["channel"].values) == list(cube.meta["channels"])
    assert intensities["wavelength"].attrs == {"units": "Angstrom"}
    assert intensities["wavelength"].values.tolist() == [94, 131, 171, 193, 211, 335]

    series = demreg.prepare_series(series_folder, n_sample=16)
    lazy = demreg.to_xarray(series)
    assert lazy["image"].dims == ("channel", "time", "y", "x")
    assert lazy["image"].chunks is not None  # nothing is computed
    bare = demreg.to_xarray(NDCube(np.ones((4, 5)), WCS(naxis=2)))
    assert (list(bare), list(bare.coords), bare["image"].dims) == (["image"], [], ("y", "x"))


BAD_CALLS = {
    "not a result": (lambda r, _: demreg.emission_measure(r["dem"]), TypeError, "`result` must be"),
    "no unit": (lambda r, _: demreg.emission_measure(r, [1, 2]), TypeError, "`temperature_range` must be a Quantity"),
    "not kelvin": (
        lambda r, _: demreg.emission_measure(r, [1, 2] * u.m),
        ValueError,
        "`temperature_range`.*in K .* 'm'",
    ),
    "three": (
        lambda r, _: demreg.emission_measure(r, [1, 2, 3] * u.MK),
        ValueError,
        r"in K of the shape \(2,\), .* \(3,\)",
    ),
    "reversed": (lambda r, _: demreg.mean_temperature(r, [2, 1] * u.MK), ValueError, "`temperature_range`.*ascending"),
    "outside": (lambda r, _: demreg.mean_temperature(r, [1, 90] * u.MK), ValueError, "inside the temperature bins"),
    "no depth": (lambda r, _: demreg.thermal_energy_density(r, 30), TypeError, "`depth` must be a Quantity"),
    "complex": (lambda r, _: demreg.thermal_energy_density(r, (1 + 1j) * u.Mm), TypeError, "`depth` .* complex128"),
    "bool": (lambda r, _: demreg.thermal_energy_density(r, u.Quantity(True, u.Mm, dtype=bool)), TypeError, "bool"),
    "masked": (lambda r, _: demreg.thermal_energy_density(r, Masked(1 * u.Mm, mask=True)), TypeError, "`unmasked`"),
    "negative": (lambda r, _: demreg.thermal_energy_density(r, -3 * u.Mm), ValueError, "`depth` must be positive"),
    "shape": (lambda r, _: demreg.thermal_energy_density(r, [1, 2] * u.m), ValueError, r"`depth`.*\(6, 7\)"),
    "array": (lambda r, _: demreg.synthesize(r, 1e-26), TypeError, "`response` must be"),
    "short table": (
        lambda r, k: demreg.synthesize(r, TemperatureResponse(["a"], [1, 2] * u.MK, [[1, 1]] * k.response.unit)),
        ValueError,
        "`response` is tabulated from",
    ),
    "two indices": (lambda r, _: demreg.em_loci(r, 3), ValueError, "`pixel` must have 2 indices"),
    "outside pixel": (lambda r, _: demreg.covariance(r, (3, 99)), IndexError, "`pixel`.*outside"),
    "words": (lambda r, _: demreg.resolution_matrix(r, "center"), TypeError, "`pixel` must be whole numbers"),
    "map of an array": (lambda r, _: demreg.to_map(r["dem"].data), TypeError, "`cube` must be an NDCube"),
    "map without a sky": (
        lambda r, _: demreg.to_map(NDCube(np.ones((4, 5)), WCS(naxis=2))),
        ValueError,
        "`cube` has no coordinates on the sky",
    ),
    "map of a row": (lambda r, _: demreg.to_map(r["chi_squared"][2]), ValueError, "`cube` must be an image"),
    "dataset": (lambda r, _: demreg.to_xarray({}), TypeError, "`result` must be"),
}


@pytest.mark.parametrize(("call", "error", "words"), BAD_CALLS.values(), ids=BAD_CALLS.keys())
def test_bad_calls_say_what_is_wrong(result, response, call, error, words):
    with pytest.raises(error, match=words):
        call(result, response)


@pytest.mark.parametrize("outputs", [("dem",), ("dem", "dem_uncertainty", "covariance")])
def test_what_a_product_needs_is_named(small, response, edges, outputs):
    bare = invert(small, response, edges, outputs=outputs)
    calls = (demreg.emission_measure, demreg.mean_temperature, lambda r: demreg.covariance(r, (2, 3)))
    for call in calls:
        with pytest.raises(ValueError, match=r"`result` lacks 'intensity'.*`outputs` of `sunpy_demreg.invert`"):
            call(bare)
    weighted = invert(small, response, edges, weighting=np.ones((36, 6, 7)))
    with pytest.raises(ValueError, match=r"`weighting` per pixel.*`emission_measure_ranges`"):
        demreg.emission_measure(weighted)


def test_maps_have_the_mean_date_of_the_images(cube, result):
    """And not that of the one image whose grid was taken."""
    dates = Time(cube.meta["date"])
    mean = dates.tai.mean().utc
    assert abs(mean - dates[0]) > 1 * u.s
    smap = demreg.to_map(demreg.emission_measure(result))
    assert abs(smap.date - mean) < 1 * u.ms
    assert abs(smap.reference_date - mean) < 1 * u.ms
    for smap, date in zip(demreg.to_map(cube[:, :3, :3]), dates, strict=True):
        assert abs(smap.date - date) < 1 * u.ms
