"""The methods of `invert`: their own choices, choices they refuse, their prior, and errors of the calibration."""

import pickle

import numpy as np
import pytest

import astropy.units as u

import sunpy_demreg as demreg
from sunpy_demreg import LogNormalPrior, TemperatureResponse, emission_measure, invert, read, write

RANGE = [1, 2] * u.MK
LOGNORMAL = {"method": "lognormal", "backend": "numpy"}  # which need not be compiled


@pytest.fixture(scope="module")
def tiny(small):
    return small[:, :3, :4]


@pytest.fixture(scope="module")
def bins():
    return 10 ** np.arange(5.675, 7.43, 0.15) * u.K


# ---- choices


@pytest.mark.parametrize("method", ["demreg", "l2"])
def test_choices_of_a_method_are_its_own_or_those_made(tiny, response, bins, method):
    own = invert(tiny, response, bins, method=method)
    made = invert(
        tiny,
        response,
        bins,
        method=method,
        parameter_choice="discrepancy",
        positivity="relax",
        solve_for="dem",
        dem_error="noise",
    )
    for key in own:
        np.testing.assert_array_equal(own[key].data, made[key].data, err_msg=key)
    told = {"parameter_choice": "discrepancy", "positivity": "relax", "solve_for": "dem", "dem_error": "noise"}
    for result in (own, made):
        assert {name: result.meta[name] for name in told} == told
        assert result.meta["prior"] is None
        assert result["dem"].meta["dem_error"] == "noise"
        assert emission_measure(result, resolved_only=False).meta["dem_error"] == "noise"


def test_negative_bins_are_accepted_where_asked_for(tiny, response, bins):
    free, relaxed = invert(tiny, response, bins, positivity="ignore"), invert(tiny, response, bins)
    assert (free.meta["positivity"], relaxed.meta["positivity"]) == ("ignore", "relax")
    assert np.any(free["dem"].data < 0)
    assert not np.any(free["status"].data & demreg.Status.RELAXED)
    np.testing.assert_allclose(free["chi_squared"].data, 1, rtol=1e-9)
    assert np.count_nonzero(relaxed["dem"].data < 0) < np.count_nonzero(free["dem"].data < 0)


REFUSED = {
    "posterior of demreg": (
        {"dem_error": "posterior"},
        "`dem_error` 'posterior' .* only 'noise': leave it out",
    ),
    "prior of demreg": ({"prior": LogNormalPrior()}, "`prior` is not used by the method 'demreg': .*'lognormal'"),
    "rule of demreg": ({"parameter_choice": "prior"}, "`parameter_choice` 'prior' .* 'discrepancy', 'grid' and 'gcv'"),
    "prior of l2": ({"method": "l2", "prior": LogNormalPrior()}, "`prior` is not used by the method 'l2'"),
    "grid": ({"method": "lognormal", "parameter_choice": "grid"}, "'grid' .* has 'prior' and 'discrepancy'"),
    "gcv": ({"method": "lognormal", "parameter_choice": "gcv"}, "'gcv' .* has 'prior' and 'discrepancy'"),
    "positivity": ({"method": "lognormal", "positivity": "relax"}, "positive by construction: leave it out"),
    "no positivity": ({"method": "lognormal", "positivity": "ignore"}, "positive by construction: leave"),
    "per kelvin": ({"method": "lognormal", "solve_for": "dem"}, "`solve_for` 'dem' .* only 'emission_measure'"),
    "weighting": ({"method": "lognormal", "weighting": "em_loci"}, "`method` 'lognormal' has one weight"),
    "own weight": ({"method": "lognormal", "weighting": np.ones(11)}, "`method` 'lognormal' has one weight"),
    "refinement": ({"method": "lognormal", "n_refinements": 1}, "`method` 'lognormal' .* pass method='demreg'"),
    "prior of a tuple": ({"method": "lognormal", "prior": (4, 0.8)}, "`prior` must be a `LogNormalPrior`.*tuple"),
    "what a result says": ({"positivity": "inherent"}, "`positivity` must be one of 'relax', 'constrain', 'ignore'"),
}


@pytest.mark.parametrize(("choices", "message"), REFUSED.values(), ids=REFUSED)
def test_choice_that_a_method_cannot_honor(tiny, response, bins, choices, message):
    with pytest.raises((ValueError, TypeError), match=message):
        invert(tiny, response, bins, **choices)


# ---- emission measure per dex


def test_emission_measure_is_solved_for(tiny, response, bins):
    """In even bins Tikhonov in EM per dex is Tikhonov with another unit of each bin: the data fit as well."""
    of_dem, of_em = (invert(tiny, response, bins, solve_for=name) for name in ("dem", "emission_measure"))
    assert of_em.meta["solve_for"] == "emission_measure"
    assert not np.allclose(of_dem["dem"].data, of_em["dem"].data, rtol=0.01)
    for result in (of_dem, of_em):
        assert result["dem"].unit == u.Unit("cm-5 K-1")
        K = response.at(np.sqrt(bins[1:] * bins[:-1])).value * np.diff(np.log(bins.value))
        K = K * np.sqrt(bins[1:] * bins[:-1]).value
        predicted = np.tensordot(K, result["dem"].data, 1)
        np.testing.assert_allclose(predicted, result["predicted_intensity"].data, rtol=1e-9)


def test_less_emission_where_nothing_is(small, response):
    """A quiet Sun without hot plasma: the DEM per kelvin puts much of its emission there, that per dex little."""
    edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K
    centers, widths = np.sqrt(edges[1:] * edges[:-1]), np.diff(np.log10(edges.value))
    logt = np.log10(centers.value)
    em = 1e27 * np.exp(-0.5 * ((logt - 6.1) / 0.15) ** 2) * widths
    intensity = response.at(centers).value @ em * small.unit
    uncertainty = 0.05 * intensity + 0.2 * small.unit
    hot = {}
    for name in ("dem", "emission_measure"):
        result = invert(intensity, response, edges, uncertainty=uncertainty, solve_for=name)
        total = emission_measure(result, resolved_only=False).data
        hot[name] = emission_measure(result, 10 ** np.array([6.825, 7.425]) * u.K).data / total
    assert hot["dem"] > 0.1
    assert hot["emission_measure"] < 0.25 * hot["dem"]


# ---- the prior


def test_prior_is_checked_and_travels():
    prior = LogNormalPrior(amplitude=3, correlation_length=0.5 * u.dex)
    assert repr(prior) == "LogNormalPrior(amplitude=3.0, correlation_length=0.5)"
    assert prior == LogNormalPrior(3, 0.5) != LogNormalPrior()
    assert hash(prior) == hash(LogNormalPrior(3, 0.5))
    assert pickle.loads(pickle.dumps(prior)) == prior
    with pytest.raises(AttributeError, match="amplitude"):
        prior.amplitude = 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"amplitude": 0}, "`amplitude` must be a finite number above 0 and at most 100, but is 0"),
        ({"amplitude": "4"}, "`amplitude` must be a finite number"),
        ({"amplitude": np.nan}, "`amplitude` must be a finite number"),
        ({"correlation_length": 0.01}, "`correlation_length` must be a finite number of dex at least 0.05"),
        ({"correlation_length": 11 * u.dex}, "`correlation_length` .* at most 10, but is 11"),
        ({"correlation_length": 0.8 * u.K}, "`correlation_length` must be a Quantity in dex, .* unit 'K'"),
        ({"correlation_length": [0.8] * u.dex}, "`correlation_length` .* shape"),
    ],
)
def test_wrong_prior(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        LogNormalPrior(**arguments)


# ---- calibration


def test_calibration_errors_of_channels_are_in_the_uncertainty(tiny, response, bins):
    fractions = {"AIA 94": 0.5, "AIA 171": 0.25}
    before = tiny.uncertainty.array.copy()
    result = invert(tiny, response, bins, calibration_error=fractions)
    np.testing.assert_array_equal(tiny.uncertainty.array, before)
    fraction = np.array([0.5, 0, 0.25, 0, 0, 0])[:, None, None]
    expected = np.sqrt(before**2 + (fraction * tiny.data) ** 2)
    np.testing.assert_allclose(result["intensity"].uncertainty.array, expected, rtol=1e-14)
    by_hand = invert(
        tiny.data * tiny.unit, response, bins, uncertainty=expected * tiny.unit, channels=response.channels
    )
    np.testing.assert_allclose(result["dem"].data, by_hand["dem"].data, rtol=1e-9)
    np.testing.assert_allclose(
        emission_measure(result, resolved_only=False).uncertainty.array,
        emission_measure(by_hand, resolved_only=False).uncertainty.array,
    )
    assert result.meta["calibration_error"] == dict.fromkeys(response.channels, 0.0) | fractions


def test_errors_of_the_atomic_data(small, response, bins):
    from sunpy_demreg import prepare, sample

    result = invert(small, response, bins, calibration_error="atomic")
    assert [*result.meta["calibration_error"].values()] == [0.5, 0.5, 0.25, 0.25, 0.25, 0.25]
    with_chianti = prepare(sample.aia_maps(), n_sample=16, include_chianti=True)
    with pytest.raises(ValueError, match=r"`calibration_error` 'atomic' would count .* twice"):
        invert(with_chianti, response, bins, calibration_error="atomic")
    other = TemperatureResponse.from_arrays(["a", "b"], [1, 2, 4, 8] * u.MK, np.ones((2, 4)) * response.response.unit)
    with pytest.raises(ValueError, match="'atomic' is known for the channels of AIA only, not for a, b"):
        invert([1, 1] * small.unit, other, [1, 2, 4, 8] * u.MK, uncertainty=1 * small.unit, calibration_error="atomic")


def test_error_that_all_channels_share(tiny, response, bins, tmp_path):
    """It scales the whole DEM: the same fraction of each value, half of it of an energy, none of a temperature."""
    options = {"outputs": ("dem", "dem_uncertainty", "intensity", "emission_measure", "covariance")}
    options["emission_measure_ranges"] = [RANGE.value] * u.MK
    without = invert(tiny, response, bins, **options)
    result = invert(tiny, response, bins, common_calibration_error=0.2, **options)
    assert result["dem"].meta["common_calibration_error"] == 0.2
    np.testing.assert_array_equal(result["dem"].data, without["dem"].data)
    np.testing.assert_array_equal(result["intensity"].uncertainty.array, without["intensity"].uncertainty.array)

    write(result, tmp_path / "a.fits")
    for one in (result, read(tmp_path / "a.fits")):
        for fraction, product in (
            (0.2, lambda r: r["dem"]),
            (0.2, lambda r: r["emission_measure"]),
            (0.2, lambda r: emission_measure(r, RANGE)),
            (0.2, lambda r: demreg.synthesize(r, response)),
            (0.1, lambda r: demreg.thermal_energy_density(r, 50 * u.Mm, RANGE)),
            (0.0, lambda r: demreg.mean_temperature(r, RANGE)),
        ):
            value, noise, total = (
                product(without).data,
                product(without).uncertainty.array,
                product(one).uncertainty.array,
            )
            np.testing.assert_allclose(total, np.sqrt(noise**2 + (fraction * value) ** 2), rtol=1e-7)
        dem, pixel = result["dem"].data[:, 1, 2], (1, 2)
        expected = without["covariance"].data[..., 1, 2] + 0.04 * np.outer(dem, dem)
        np.testing.assert_allclose(one["covariance"].data[..., 1, 2], expected, rtol=1e-12)
        np.testing.assert_allclose(demreg.covariance(one, pixel).value, expected, rtol=1e-9)


def test_shared_error_of_lazy_arrays(tiny, response, bins):
    from lazy_cubes import lazily

    lazy = lazily(tiny, (6, 2, 2))
    options = {"common_calibration_error": 0.3, "calibration_error": 0.1}
    now, later = invert(tiny, response, bins, **options), invert(lazy, response, bins, **options)
    for key in ("dem", "intensity"):
        np.testing.assert_array_equal(later[key].uncertainty.array.compute(), now[key].uncertainty.array)
    np.testing.assert_array_equal(
        emission_measure(later, RANGE).uncertainty.array.compute(), emission_measure(now, RANGE).uncertainty.array
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"n_samples": 20},
            "`n_samples` is not used by parameter_choice='discrepancy': .*choice='grid'",
        ),
        (
            {"n_samples": 20, "method": "lognormal"},
            "`n_samples` is not used by method='lognormal': leave .* out$",
        ),
        ({"target_growth": 2, "method": "lognormal"}, "`target_growth` is not used by method='lognormal': leave"),
        ({"max_iterations": 2, "method": "lognormal"}, "`max_iterations` is not used by method='lognormal': leave"),
        ({"target_growth": 2, "positivity": "ignore"}, "`target_growth` is not used by positivity='ignore': .*'relax'"),
        ({"max_iterations": 2, "positivity": "ignore", "method": "l2"}, "`max_iterations` is not used by positivity"),
        (
            {"parameter_choice": "prior"},
            "'prior' is not possible .* 'discrepancy', 'grid' and 'gcv': choose one of them",
        ),
    ],
)
def test_options_without_effect_are_refused(tiny, response, bins, options, message):
    with pytest.raises(ValueError, match=message):
        invert(tiny, response, bins, **options)


def test_covariance_says_where_there_is_no_posterior(tiny, response, bins, monkeypatch):
    from sunpy_demreg._engines.algorithm import lognormal

    monkeypatch.setattr(lognormal, "_MAX_PASSES", 4)
    result = invert(tiny, response, bins, method="lognormal", backend="numpy")
    stuck = tuple(np.argwhere(result["status"].data & demreg.Status.NOT_CONVERGED)[0])
    with pytest.warns(demreg.UnsolvedWarning, match="`pixel` is NOT_CONVERGED, so that its DEM has no posterior"):
        covariance = demreg.covariance(result, stuck)
    with pytest.warns(demreg.UnsolvedWarning, match="as with dem_error='noise'"):
        demreg.covariance(result, stuck, "posterior")
    of_noise = demreg.covariance(result, stuck, "noise")  # without a warning
    np.testing.assert_array_equal(covariance, of_noise)
    monkeypatch.undo()
    done = invert(tiny, response, bins, method="lognormal", backend="numpy")
    assert not np.any(done["status"].data & demreg.Status.NOT_CONVERGED)
    demreg.covariance(done, stuck)


@pytest.mark.parametrize("key", ["AIA 94", 94, 94.0, 94 * u.AA, 9.4 * u.nm], ids=str)
def test_channels_and_fractions_may_be_spelled_as_elsewhere(tiny, response, bins, key):
    result = invert(tiny, response, bins, calibration_error={key: 0.5, 193 * u.AA: 20 * u.percent})
    assert [*result.meta["calibration_error"].values()] == [0.5, 0.0, 0.0, 0.2, 0.0, 0.0]
    result = invert(tiny, response, bins, calibration_error=10 * u.percent, common_calibration_error=0.2 * u.one)
    assert set(result.meta["calibration_error"].values()) == {0.1}
    assert result.meta["common_calibration_error"] == 0.2


def test_intensities_below_zero_have_no_calibration_error(tiny, response, bins):
    data = tiny.data.copy()
    data[0] = -np.abs(data[0])
    cube = type(tiny)(data, tiny.wcs, unit=tiny.unit, uncertainty=tiny.uncertainty, mask=tiny.mask, meta=tiny.meta)
    error = invert(cube, response, bins, calibration_error=0.5)["intensity"].uncertainty.array
    np.testing.assert_array_equal(error[0], tiny.uncertainty.array[0])
    np.testing.assert_allclose(error[1:], np.hypot(tiny.uncertainty.array[1:], 0.5 * data[1:]), rtol=1e-14)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"calibration_error": 25}, "`calibration_error` .* at most 1, but is 25"),
        ({"calibration_error": -0.1}, "`calibration_error` .* at least 0"),
        ({"calibration_error": "chianti"}, "`calibration_error` must be .* or 'atomic', but is 'chianti'"),
        ({"calibration_error": [0.1] * 6}, "`calibration_error` must be a fraction .* of type list"),
        ({"calibration_error": {"AIA 95": 0.1}}, "`calibration_error` has 'AIA 95', but .*did you mean 'AIA 94'"),
        ({"calibration_error": {"AIA 94": "x"}}, r"`calibration_error\['AIA 94'\]` must be a finite number"),
        ({"calibration_error": {"AIA 94": 0.1, 94: 0.2}}, "`calibration_error` has two values for AIA 94"),
        ({"calibration_error": {1 * u.m: 0.1}}, "`calibration_error` has 1.0 m, but the channels are"),
        ({"calibration_error": 150 * u.percent}, "`calibration_error` .* at most 1, but is 150.0 %"),
        ({"calibration_error": 0.1 * u.DN}, "`calibration_error` must be a fraction .* but is 0.1 DN"),
        ({"common_calibration_error": 20}, "`common_calibration_error` .* at most 1, but is 20"),
        (
            {"common_calibration_error": 0.2, "outputs": ("covariance",)},
            "`outputs` has 'covariance' but not 'dem', .*: add 'dem'",
        ),
    ],
)
def test_wrong_calibration_errors(tiny, response, bins, arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        invert(tiny, response, bins, **arguments)


# ---- older results


@pytest.mark.parametrize("name", ["a.fits", "a.asdf", "a.zarr"])
def test_files_where_none_stood_for_ignore(tiny, response, bins, tmp_path, name):
    result = invert(tiny, response, bins, positivity="ignore")
    expected = emission_measure(result, RANGE)
    for newer in ("solve_for", "dem_error", "prior", "calibration_error", "common_calibration_error"):
        del result.meta[newer]
    result.meta["positivity"] = None
    write(result, tmp_path / name)
    again = read(tmp_path / name)
    assert again.meta["positivity"] == "ignore"
    np.testing.assert_array_equal(emission_measure(again, RANGE).uncertainty.array, expected.uncertainty.array)


# ---- the log-normal method and its errors


@pytest.fixture(scope="module")
def lognormal(tiny, response, bins):
    return invert(tiny, response, bins, **LOGNORMAL)


def test_own_choices_of_lognormal(tiny, response, bins, lognormal):
    told = {
        "method": "lognormal",
        "parameter_choice": "prior",
        "positivity": "inherent",
        "solve_for": "emission_measure",
        "dem_error": "posterior",
        "prior": {"amplitude": 4.0, "correlation_length": 0.8},
    }
    assert {name: lognormal.meta[name] for name in told} == told
    assert lognormal["dem"].meta["dem_error"] == "posterior"
    assert np.all(lognormal["dem"].data > 0)
    assert np.all(lognormal["chi_squared"].data <= 1.01)
    made = invert(
        tiny,
        response,
        bins,
        **LOGNORMAL,
        prior=LogNormalPrior(4, 0.8),
        parameter_choice="prior",
        solve_for="emission_measure",
        dem_error="posterior",
    )
    np.testing.assert_array_equal(made["dem"].uncertainty.array, lognormal["dem"].uncertainty.array)
    exact = invert(tiny, response, bins, **LOGNORMAL, parameter_choice="discrepancy")
    good = exact["status"].data == 0
    assert good.mean() > 0.5
    np.testing.assert_allclose(exact["chi_squared"].data[good], 1, rtol=0.01)


def test_prior_matters(tiny, response, bins, lognormal):
    """A smaller amplitude gives smaller errors, a longer correlation a smoother DEM."""
    narrow = invert(tiny, response, bins, **LOGNORMAL, prior=LogNormalPrior(amplitude=1))
    relative = [np.median(r["dem"].uncertainty.array / r["dem"].data) for r in (narrow, lognormal)]
    assert relative[0] < 0.7 * relative[1]
    smooth = invert(tiny, response, bins, **LOGNORMAL, prior=LogNormalPrior(correlation_length=3 * u.dex))
    steps = [np.abs(np.diff(np.log(r["dem"].data), 2, axis=0)).mean() for r in (smooth, lognormal)]
    assert steps[0] < 0.9 * steps[1]
    assert smooth.meta["prior"] == {"amplitude": 4.0, "correlation_length": 3.0}


@pytest.mark.parametrize("kind", ["posterior", "noise"])
def test_every_error_is_of_the_kind_asked_for(tiny, response, bins, lognormal, kind, tmp_path):
    """All of them follow from one covariance, whichever function they come from; and so they do of a file."""
    outputs = ("dem", "dem_uncertainty", "intensity", "emission_measure", "covariance", "chi_squared")
    result = invert(
        tiny,
        response,
        bins,
        **LOGNORMAL,
        dem_error=kind,
        outputs=outputs,
        emission_measure_ranges=[RANGE.value] * u.MK,
    )
    np.testing.assert_array_equal(result["dem"].data, lognormal["dem"].data)
    write(result, tmp_path / "a.asdf")
    centers = np.sqrt(bins[1:] * bins[:-1]).value
    widths = centers * np.diff(np.log(bins.value))
    K = response.at(centers * u.K).value * widths
    for one in (result, read(tmp_path / "a.asdf")):
        assert one["dem"].meta["dem_error"] == emission_measure(one, resolved_only=False).meta["dem_error"] == kind
        C = one["covariance"].data
        np.testing.assert_allclose(np.sqrt(np.einsum("jjyx->jyx", C)), one["dem"].uncertainty.array, rtol=1e-9)
        np.testing.assert_allclose(
            demreg.covariance(one, (1, 2)).value, C[..., 1, 2], rtol=1e-7, atol=1e-12 * C[..., 1, 2].max()
        )
        of_total = np.sqrt(np.einsum("j,jkyx,k->yx", widths, C, widths))
        np.testing.assert_allclose(emission_measure(one, resolved_only=False).uncertainty.array, of_total, rtol=1e-6)
        np.testing.assert_allclose(
            emission_measure(one, RANGE).uncertainty.array, one["emission_measure"].uncertainty.array[0]
        )
        of_intensity = np.sqrt(np.einsum("ij,jkyx,ik->iyx", K, C, K))
        np.testing.assert_allclose(demreg.synthesize(one, response).uncertainty.array, of_intensity, rtol=1e-6)
        total = np.tensordot(widths, one["dem"].data, 1)
        mean = np.tensordot(widths * centers, one["dem"].data, 1) / total
        f = widths[:, None, None] * (centers[:, None, None] - mean) / total
        of_mean = np.sqrt(np.einsum("jyx,jkyx,kyx->yx", f, C, f))
        np.testing.assert_allclose(
            demreg.mean_temperature(one, resolved_only=False).uncertainty.array, of_mean, rtol=1e-5
        )


def test_posterior_holds_the_noise(lognormal):
    for pixel in ((0, 0), (2, 3)):
        posterior, noise = (
            demreg.covariance(lognormal, pixel, dem_error=kind).value for kind in ("posterior", "noise")
        )
        smallest = np.linalg.eigvalsh((posterior - noise) / np.sqrt(np.outer(*2 * [posterior.diagonal()])))[0]
        assert smallest > -1e-6
        assert np.all(noise.diagonal() < posterior.diagonal())


def test_covariance_of_another_kind_is_refused(tiny, response, bins):
    result = invert(tiny, response, bins)
    np.testing.assert_array_equal(demreg.covariance(result, (0, 0)), demreg.covariance(result, (0, 0), "noise"))
    with pytest.raises(ValueError, match="`dem_error` 'posterior' needs the prior of method='lognormal'"):
        demreg.covariance(result, (0, 0), dem_error="posterior")


def test_lazy_lognormal(tiny, response, bins, lognormal):
    from lazy_cubes import lazily

    later = invert(lazily(tiny, (6, 2, 2)), response, bins, **LOGNORMAL)
    for key in ("dem", "chi_squared", "status", "temperature_resolution"):
        np.testing.assert_array_equal(later[key].data.compute(), lognormal[key].data, err_msg=key)
    np.testing.assert_array_equal(later["dem"].uncertainty.array.compute(), lognormal["dem"].uncertainty.array)
    error = emission_measure(later, RANGE).uncertainty.array.compute()
    np.testing.assert_array_equal(error, emission_measure(lognormal, RANGE).uncertainty.array)


@pytest.mark.parametrize("method", ["demreg", "lognormal"])
def test_reused_memory_and_single_precision(tiny, response, bins, method):
    """A shared error is added to that of the new solution, not to what was in the memory before."""
    options = {"method": method, "backend": "numpy", "common_calibration_error": 0.2, "dtype": "float32"}
    fresh = invert(tiny, response, bins, **options)
    error, value = fresh["dem"].uncertainty.array.copy(), fresh["dem"].data
    assert error.dtype == np.float32
    without = invert(tiny, response, bins, method=method, backend="numpy")["dem"].uncertainty.array
    np.testing.assert_allclose(error, np.hypot(without, 0.2 * value), rtol=1e-5)
    again = invert(tiny, response, bins, out=fresh, **options)
    assert np.shares_memory(again["dem"].uncertainty.array, fresh["dem"].uncertainty.array)
    np.testing.assert_array_equal(again["dem"].uncertainty.array, error)
