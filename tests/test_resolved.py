"""Which bins are resolved: the rule, on known kernels and on those of all methods, and what follows it."""

import fake_cupy
import numpy as np
import pytest
from lazy_cubes import lazily
from synthetic import BACKENDS, instrument, make_problem, pixels, run

import astropy.units as u
from ndcube import NDCube
from sunpy.util.exceptions import SunpyUserWarning

import sunpy_demreg as demreg
from sunpy_demreg import TemperatureResponse, invert
from sunpy_demreg._engines import execute
from sunpy_demreg._engines.base.options import STANDARD_OUTPUTS, Options

EDGES = 10 ** np.arange(5.575, 7.43, 0.05) * u.K
LOG_T = 0.5 * np.log10(EDGES[1:] * EDGES[:-1] / u.K**2).value
EM_PER_DEM = 10**LOG_T * np.log(10) * 0.05
OUTPUTS = (*STANDARD_OUTPUTS, "intensity", "is_resolved")
FWHM = np.sqrt(8 * np.log(2))
METHODS = {
    "relax": {},
    "constrain": {"positivity": "constrain"},
    "ignore": {"positivity": None},
    "grid": {"parameter_choice": "grid"},
    "em_loci": {"weighting": "em_loci", "loci": tuple(range(5)), "n_refinements": 1},
    "uniform": {"weighting": "uniform"},
    "per dex": {"solve_for": "emission_measure"},
    "lognormal": {"method": "lognormal", "parameter_choice": "prior"},
}


def by_definition(R, dem, dlogt, logt, max_width=0.6):
    """The rule, word for word: what the plasma of each bin (second axis) adds to the DEM of each bin (first axis)."""
    density = R * dem[None] / dlogt[:, None]
    power = density**2 * dlogt[:, None]
    total = power.sum(axis=1, keepdims=True)
    power = power / np.where(total > 0, total, 1.0)
    center = np.sum(power * logt[:, None], axis=1)
    variance = np.sum(power * (logt[:, None] - center[:, None]) ** 2, axis=1) + dlogt[:, None] ** 2 / 12
    width = FWHM * np.sqrt(2 * variance)  # of a Gaussian whose square has this variance
    return (np.abs(center - logt[:, None]) <= width) & (width < max_width)


@pytest.mark.parametrize("max_width", [0.6, 0.3])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("options", METHODS.values(), ids=METHODS.keys())
def test_rule_is_the_same_for_all_methods(options, backend, max_width):
    K, _, logt = instrument(5, 24)
    dlogt = np.where(np.arange(24) % 3, 0.06, 0.09)  # bins may differ
    g, sigma = pixels(K, logt, 60)
    outputs = ("dem", "resolution_matrix", "is_resolved")
    options = Options(outputs=outputs, max_width=max_width, **options)
    answer = run(g, sigma, execute.classify(g, sigma), K, dlogt, logt, options, backend=backend)
    expected = by_definition(answer.resolution_matrix, answer.dem, dlogt, logt, max_width)
    is_kept = answer.dem != 0  # one that is held at zero has a kernel too, but not in this matrix
    np.testing.assert_array_equal(answer.is_resolved[is_kept], expected[is_kept])
    assert 0.05 < expected[is_kept].mean() < 0.95  # or there is nothing to tell


def test_max_width_is_no_limit_of_what_is_nearly_a_line():
    """A channel for each bin: the kernel is the bin, and its width that of an even distribution."""
    m, dlogt = 6, 0.1
    K, logt = 1e-25 * np.eye(m), 6 + dlogt * np.arange(m)
    g = 1e20 * np.ones((m, 3)) * 1e-25
    width = FWHM * np.sqrt(2 / 12) * dlogt
    for max_width, expected in ((1.01 * width, 1), (0.99 * width, 0)):
        options = Options(outputs=("is_resolved",), max_width=max_width)
        answer = run(g, 0.05 * g, np.zeros(3, np.int32), K, np.full(m, dlogt), logt, options)
        assert np.all(answer.is_resolved == expected)


@pytest.mark.parametrize("apart", [0.1, 0.4])
def test_two_bins_of_one_channel_are_one(apart):
    """Nothing tells them apart: the center of both kernels is between them, and so is their width."""
    K = 1e-25 * np.kron(np.eye(3), [1.0, 1.0])
    logt, dlogt = 6 + apart * np.arange(6), np.full(6, apart)
    g = np.ones((3, 2)) * 1e-5
    answer = run(g, 0.05 * g, np.zeros(2, np.int32), K, dlogt, logt, Options(outputs=("is_resolved",)))
    width = FWHM * np.sqrt(2 * (0.5**2 + 1 / 12)) * apart
    assert (width < 0.6) == (apart == 0.1)
    assert np.all(answer.is_resolved == (width < 0.6))


@pytest.mark.parametrize("hot", [1.0, 1e-4])
def test_what_a_bin_is_made_of_decides(hot):
    """A channel sees cool plasma, and hot plasma 20 times less; another one only what is between."""
    logt, dlogt = np.array([5.8, 6.3, 6.8, 7.1]), np.full(4, 0.05)
    K = 1e-25 * np.array([[1.0, 0, 0, 0.05], [0, 1, 0.5, 0]])
    dem = 1e20 * np.array([1e-4 if hot == 1 else 1, 1, 1, 20 * hot])
    g = (K @ dem)[:, None]
    weight = dem[:, None] / dem.max()  # the regularization knows where the plasma is
    options = Options(outputs=("dem", "is_resolved"), positivity=None, weighting="given")
    answer = run(g, 0.05 * g, np.zeros(1, np.int32), K, dlogt, logt, options, weight=weight[:, 0])
    resolved = answer.is_resolved[:, 0]
    assert resolved[3] == (hot == 1)
    assert resolved[0] == (hot < 1)


def aia_pixels(response, family, n=40):
    """Intensities of synthetic DEMs: their uncertainties, and the EM in each bin."""
    fine = np.arange(4.5, 8, 0.005)
    rng = np.random.default_rng(5)

    def gauss(center, width):
        return np.exp(-0.5 * ((fine - center) / width) ** 2) / (width * np.sqrt(2 * np.pi))

    def one():
        s = rng.uniform(-0.1, 0.1)
        if family == "quiet Sun":
            return 10 ** rng.uniform(26.5, 27.5) * (0.18 * gauss(5 + s, 0.25) + gauss(6.1 + s, 0.235))
        if family == "active region":
            shape = 0.08 * gauss(5 + s, 0.3) + 0.2 * gauss(6.05 + s, 0.2) + 0.8 * gauss(6.38 + s, 0.2)
            return 10 ** rng.uniform(28, 29) * shape
        shape = 0.04 * gauss(6.3 + s, 0.3) + 0.06 * gauss(6.75 + s, 0.15) + 0.9 * gauss(7.07 + 0.5 * s, 0.1)
        return 10 ** rng.uniform(28.7, 29.2) * shape

    truth = np.array([one() for _ in range(n)])
    g = response.at(10**fine * u.K).value @ truth.T * 0.005
    exposure = np.array([2.9, 2.9, 2, 2, 2.9, 2.9])[:, None]
    sigma = np.sqrt(1.2**2 + g * exposure + (0.05 * g * exposure) ** 2) / exposure
    g = np.maximum(g + sigma * rng.standard_normal(g.shape), 0.01)
    place = np.digitize(fine, np.log10(EDGES.value)) - 1
    em = np.array([truth[:, place == j].sum(axis=1) * 0.005 for j in range(len(LOG_T))])
    unit = response.response.unit / u.cm**5
    return g * unit, sigma * unit, em


def temperature_of(em):
    return np.sum(em * 10 ** LOG_T[:, None], axis=0) / em.sum(axis=0)


AIA_METHODS = {
    "relax": {},
    "constrain": {"positivity": "constrain"},
    "l2": {"method": "l2"},
    "lognormal": {"method": "lognormal"},
}


@pytest.mark.parametrize("options", AIA_METHODS.values(), ids=AIA_METHODS.keys())
@pytest.mark.parametrize("family", ["quiet Sun", "active region"])
def test_hot_plasma_that_is_not_there_is_not_resolved(response, family, options):
    g, sigma, em = aia_pixels(response, family)
    result = invert(g, response, EDGES, uncertainty=sigma, outputs=OUTPUTS, **options)
    resolved, found = result["is_resolved"].data, result["dem"].data * EM_PER_DEM[:, None]
    hot = LOG_T > 6.99
    has_none = result.meta["method"] == "lognormal"  # which leaves hardly any
    assert has_none or found[hot].sum() > 3 * em[hot].sum()
    assert found[hot & ~resolved.any(axis=1)].sum() > 0.8 * found[hot].sum()
    assert resolved[(LOG_T > 6) & (LOG_T < 6.3)].mean() > 0.95
    truth = np.median(temperature_of(em))
    with_all = np.median(demreg.mean_temperature(result, resolved_only=False).data)
    without = np.median(demreg.mean_temperature(result).data)
    assert has_none or with_all > 1.7 * truth
    assert without == pytest.approx(truth, rel=0.2)


@pytest.mark.parametrize("options", AIA_METHODS.values(), ids=AIA_METHODS.keys())
def test_hot_plasma_of_a_flare_is_resolved(response, options):
    g, sigma, em = aia_pixels(response, "flare")
    result = invert(g, response, EDGES, uncertainty=sigma, outputs=OUTPUTS, **options)
    resolved = result["is_resolved"].data
    assert resolved[(LOG_T > 6.87) & (LOG_T < 7.13)].mean() > 0.95
    assert np.sum(em * resolved) > 0.7 * em.sum()


def test_a_response_far_below_its_peak_sees_nothing(response):
    """In a flare, where all kernels are as they should be; each channel has its own peak, in any unit."""
    g, sigma, _ = aia_pixels(response, "flare")
    factor = np.array([1, 1e3, 1, 1, 1e-2, 1])[:, None]
    scaled = TemperatureResponse(response.channels, response.temperature, response.response * factor)
    found = []
    for which, scale in ((response, 1.0), (scaled, factor)):
        result = invert(g * scale, which, EDGES, uncertainty=sigma * scale, positivity="ignore")
        found.append(demreg.is_resolved(result).data)
        relative = np.max(which.at(10**LOG_T * u.K) / which.response.max(axis=1, keepdims=True), axis=0).value
        for least in (0.05, 0.5):
            kernels = demreg.is_resolved(result, min_response=0)
            only = demreg.is_resolved(result, min_response=least)
            np.testing.assert_array_equal(only.data, kernels.data & (relative > least)[:, None])
            assert np.any(only.data != kernels.data) == (least == 0.5)
    np.testing.assert_array_equal(*found)


def test_thresholds(small, response):
    result = invert(small, response, EDGES, outputs=OUTPUTS)
    again = demreg.is_resolved(result, max_width=0.6 * (1 + 1e-15))  # other than the default: by another inversion
    assert again is not result["is_resolved"]
    np.testing.assert_array_equal(again.data, result["is_resolved"].data)
    assert demreg.is_resolved(result) is result["is_resolved"]
    narrow, wide = (demreg.is_resolved(result, max_width=width).data for width in (0.3, 1.0))
    assert narrow.sum() < again.data.sum() < wide.sum()
    assert np.all(wide[narrow])
    with pytest.raises(TypeError, match="`result` must be the collection"):
        demreg.is_resolved(result["dem"])
    with pytest.raises(ValueError, match="`max_width` must be a finite number of dex above 0, but is 0"):
        demreg.is_resolved(result, max_width=0)
    with pytest.raises(ValueError, match="`min_response` must be a finite number at least 0 and below 1, but is 5"):
        demreg.is_resolved(result, min_response=5)
    with pytest.raises(ValueError, match="`result` lacks 'intensity'"):
        demreg.is_resolved(invert(small, response, EDGES, outputs=("dem",)))
    with pytest.raises(TypeError, match="`resolved_only` must be True or False, but is 'no'"):
        demreg.mean_temperature(result, resolved_only="no")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_output_is_the_function_in_any_slice(part, response, dtype):
    with pytest.warns(SunpyUserWarning, match="1 of 221"):
        result = invert(part, response, EDGES, outputs=OUTPUTS, dtype=dtype)
    flags = result["is_resolved"]
    assert flags.data.dtype == bool
    assert flags.data.shape == result["dem"].data.shape
    assert flags.axis_world_coords(0)[0].unit == u.K
    np.testing.assert_array_equal(flags.mask, result["dem"].mask)
    assert flags.mask.any()
    assert not flags.data[flags.mask].any()
    del result["is_resolved"]
    whole = demreg.is_resolved(result)
    np.testing.assert_array_equal(whole.data, flags.data)
    np.testing.assert_array_equal(whole.mask, flags.mask)
    sliced = result[..., 2:9, 3:4]
    np.testing.assert_array_equal(demreg.is_resolved(sliced).data, flags.data[:, 2:9, 3:4])
    for product in (demreg.emission_measure, demreg.mean_temperature):
        one, other = product(result), product(sliced)
        np.testing.assert_array_equal(other.data, one.data[2:9, 3:4])
        np.testing.assert_array_equal(other.uncertainty.array, one.uncertainty.array[2:9, 3:4])
        assert one.meta["content"].endswith(", resolved bins")
        assert not product(result, [1, 3] * u.MK).meta["content"].endswith("bins")


def test_memory_is_reused(small, response):
    result = invert(small, response, EDGES, outputs=OUTPUTS)
    flags = result["is_resolved"].data.copy()
    again = invert(small, response, EDGES, outputs=OUTPUTS, out=result)
    assert np.shares_memory(again["dem"].data, result["dem"].data)
    np.testing.assert_array_equal(again["is_resolved"].data, flags)


def test_lazy_results_stay_lazy(part, response):
    with pytest.warns(SunpyUserWarning, match="1 of 221"):
        expected = invert(part, response, EDGES, outputs=OUTPUTS)
    result = invert(lazily(part, (6, 5, 8)), response, EDGES, outputs=OUTPUTS)
    flags, again = result["is_resolved"], demreg.is_resolved(result, max_width=0.6 * (1 + 1e-15))
    for cube in (flags, again):
        assert hasattr(cube.data, "dask")
        assert cube.data.dtype == bool
        np.testing.assert_array_equal(cube.data.compute(), expected["is_resolved"].data)
        np.testing.assert_array_equal(cube.mask.compute(), expected["is_resolved"].mask)
    mean, whole = demreg.mean_temperature(result), demreg.mean_temperature(expected)
    assert hasattr(mean.data, "dask")
    np.testing.assert_array_equal(mean.data.compute(), whole.data)
    np.testing.assert_array_equal(mean.uncertainty.array.compute(), whole.uncertainty.array)


@pytest.mark.parametrize("name", ["result.fits", "result.fits.gz", "result.asdf", "result.zarr"])
@pytest.mark.parametrize("is_lazy", [False, True])
def test_files_keep_it(part, response, tmp_path, name, is_lazy):
    with pytest.warns(SunpyUserWarning, match="1 of 221"):
        expected = invert(part, response, EDGES, outputs=OUTPUTS)
    result = invert(lazily(part, (6, 13, 8)), response, EDGES, outputs=OUTPUTS) if is_lazy else expected
    if is_lazy:
        with pytest.warns(SunpyUserWarning, match="1 of 221"):
            demreg.write(result, tmp_path / name)
    else:
        demreg.write(result, tmp_path / name)
    flags = demreg.read(tmp_path / name)["is_resolved"]
    assert flags.data.dtype == bool
    np.testing.assert_array_equal(np.asarray(flags.data), expected["is_resolved"].data)
    np.testing.assert_array_equal(np.asarray(flags.mask), expected["is_resolved"].mask)


def test_batches_keep_it(series_folder, tmp_path):
    edges = EDGES[::4]
    path, outputs = tmp_path / "batch.zarr", ("dem", "is_resolved", "intensity")
    demreg.batch_invert(series_folder, path, edges, prepare_options={"n_sample": 16}, outputs=outputs)
    stored = demreg.read(path)[1]
    files = sorted(series_folder.glob("step1_*"))
    cube = demreg.prepare(files, n_sample=16)
    alone = invert(cube, TemperatureResponse.from_aia(cube), edges, outputs=outputs)
    np.testing.assert_array_equal(np.asarray(stored["is_resolved"].data), alone["is_resolved"].data)


def test_other_packages_take_it(small, response, tmp_path):
    result = invert(small, response, EDGES, outputs=OUTPUTS)
    variable = demreg.to_xarray(result)["is_resolved"]
    assert variable.dims == ("temperature", "y", "x")
    np.testing.assert_array_equal(variable, result["is_resolved"].data)
    smap = demreg.to_map(result["is_resolved"][12])
    np.testing.assert_array_equal(smap.data, result["is_resolved"].data[12])
    smap.save(tmp_path / "map.fits")
    assert "% true" in result._repr_html_()


def test_gpu_tells_the_same(small, response, monkeypatch):
    expected = invert(small, response, EDGES, outputs=OUTPUTS)
    with fake_cupy.installed(monkeypatch):
        result = invert(small, response, EDGES, outputs=OUTPUTS, backend="cupy")
        np.testing.assert_array_equal(result["is_resolved"].data, expected["is_resolved"].data)
        em = demreg.emission_measure(result)
    whole = demreg.emission_measure(expected)
    np.testing.assert_allclose(em.data, whole.data, rtol=1e-9)
    np.testing.assert_allclose(em.uncertainty.array, whole.uncertainty.array, rtol=1e-9)


@pytest.mark.parametrize("method", [{}, {"method": "lognormal", "parameter_choice": "prior", "dem_error": "posterior"}])
def test_sums_of_engines_leave_the_others_out(method, monkeypatch):
    K, dlogt, logt = instrument(4, 12)
    g, sigma = pixels(K, logt, 300)
    functional = np.array([np.ones(12), np.arange(12.0)])
    outputs = ("dem", "emission_measure", "emission_measure_uncertainty", "is_resolved")
    options = Options(outputs=outputs, resolved_only=True, **method)
    problem = make_problem(K, dlogt, logt, options, functional=functional)
    answers = []
    with fake_cupy.installed(monkeypatch):
        for backend in ("cpu", "numpy", "cupy"):
            answers.append(execute.run(g, sigma, np.zeros(300, np.int32), problem, backend=backend))
    first = answers[0]
    assert 0 < first.is_resolved.mean() < 1
    by_hand = functional @ (first.dem * first.is_resolved)
    np.testing.assert_allclose(first.emission_measure, by_hand, rtol=1e-11, atol=1e-11 * np.abs(by_hand).max())
    for other in answers[1:]:
        np.testing.assert_array_equal(other.is_resolved, first.is_resolved)
        for name in ("emission_measure", "emission_measure_uncertainty"):
            expected = getattr(first, name)
            np.testing.assert_allclose(getattr(other, name), expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


def test_nothing_resolved_is_no_number(response):
    """One channel, which sees all DEMs alike: there is a sum over all bins, but none over those that are resolved."""
    temperature = np.logspace(5, 8, 40) * u.K
    unit = u.DN * u.cm**5 / (u.pix * u.s)
    flat = TemperatureResponse(["flat"], temperature, 1e-26 * (1 * u.MK / temperature).to_value(u.one)[None] * unit)
    counts = [[100.0, 200.0]] * u.DN / (u.pix * u.s)
    result = invert(counts, flat, EDGES, uncertainty=0.05 * counts)
    assert not demreg.is_resolved(result, min_response=0).data.any()
    assert not demreg.is_resolved(result).data.any()
    for product in (demreg.emission_measure, demreg.mean_temperature):
        nothing, everything = product(result), product(result, resolved_only=False)
        assert nothing.mask.all()
        assert np.all(np.isnan(nothing.data))
        assert np.all(np.isnan(nothing.uncertainty.array))
        assert not everything.mask.any()
        assert np.all(everything.data > 0)
        assert np.all(product(result, EDGES[[0, -1]]).data == everything.data)
    energy = demreg.thermal_energy_density(result, 10 * u.Mm)
    assert energy.mask.all()


def test_range_may_be_cut_to_what_is_resolved(small, response):
    result = invert(small, response, EDGES, outputs=OUTPUTS)
    pair = [1, 12] * u.MK
    em = demreg.emission_measure(result, pair, resolved_only=True)
    dem = np.where(result["is_resolved"].data, result["dem"].data, 0)
    masked = NDCube(dem, result["dem"].wcs, unit=result["dem"].unit, uncertainty=result["dem"].uncertainty)
    changed = type(result)(
        [(key, masked if key == "dem" else result[key]) for key in result],
        aligned_axes=tuple(result.aligned_axes.values()),
        meta=dict(result.meta),
    )
    expected = demreg.emission_measure(changed, pair)
    np.testing.assert_allclose(em.data, expected.data, rtol=1e-12)
    assert np.all(em.uncertainty.array < demreg.emission_measure(result, pair).uncertainty.array)
