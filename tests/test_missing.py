"""Channels that a pixel lacks are left out there, and intensities at or below zero are data: with every engine."""

import numpy as np
import pytest
from synthetic import instrument, pixels

import astropy.units as u
from astropy.nddata import StdDevUncertainty
from ndcube import NDCube
from sunpy.util.exceptions import SunpyUserWarning

import sunpy_demreg as demreg
from sunpy_demreg import Status, invert
from sunpy_demreg._engines import execute
from sunpy_demreg._engines.base.options import OUTPUTS, Options
from sunpy_demreg._engines.base.problem import Bins, Problem

BACKENDS = ("cpu", "numpy")
OPTIONS = {
    "default": Options(outputs=OUTPUTS),
    "constrain": Options(positivity="constrain", outputs=OUTPUTS),
    "grid": Options(parameter_choice="grid", outputs=OUTPUTS),
    "gcv": Options(parameter_choice="gcv", positivity=None, outputs=OUTPUTS),
    "l2": Options(weighting="uniform", outputs=OUTPUTS),
    "em_loci": Options(weighting="em_loci", loci=(0, 1, 2, 3, 4), n_refinements=1, outputs=OUTPUTS),
    "of emission measure": Options(solve_for="emission_measure", outputs=OUTPUTS),
    "weight of each pixel": Options(weighting="given", outputs=OUTPUTS),
    "nothing more": Options(outputs=("dem",)),
}


def replaced(cube, **changes):
    parts = {name: getattr(cube, name) for name in ("data", "wcs", "unit", "uncertainty", "mask", "meta")}
    return NDCube(**{**parts, **changes})


def without(cube, *missing):
    """A cube in which value (channel, y, x) is NaN."""
    data = cube.data.copy()
    for at in missing:
        data[at] = np.nan
    return replaced(cube, data=data)


def faulty(n_pixels=600, seed=0):
    """An instrument of five channels, and pixels of which many lack one or two in one of four ways."""
    K, dlogt, logt = instrument(5, 14)
    K[4] *= 30  # so that the scale of lambda depends on which are there
    g, sigma = pixels(K, logt, n_pixels, seed=seed)
    mask, saturated = np.zeros(g.shape, bool), np.zeros(g.shape, bool)
    rng = np.random.default_rng(seed)
    for pixel in range(0, n_pixels, 2):
        for channel in rng.permutation(5)[: 1 + pixel % 3 // 2]:
            how = rng.integers(5)
            g[channel, pixel] = (np.nan, np.inf, 7.0, 7.0, 7.0)[how]
            sigma[channel, pixel] = (1.0, np.nan, 0.0, 1.0, 1.0)[how]
            mask[channel, pixel], saturated[channel, pixel] = how >= 3, how == 4
    return K, dlogt, logt, g, sigma, mask, saturated


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", OPTIONS)
def test_pixel_is_solved_as_if_there_were_no_more_channels(name, backend):
    options = OPTIONS[name]
    K, dlogt, logt, g, sigma, mask, saturated = faulty()
    functional = np.vstack([np.ones(14), np.linspace(0, 1, 14)]) if "emission_measure" in options.outputs else None
    weight = None
    if options.weighting == "given":
        weight = 1 + 0.5 * np.sin(np.arange(14)[:, None] + np.arange(g.shape[1]))
    problem = Problem(Bins(dlogt, logt), K, options, weight, functional)
    status, omitted = execute.examine(g, sigma, mask, saturated, most_missing=2)
    whole = execute.run(g, sigma, status, problem, omitted=omitted, saturated=saturated, backend=backend)
    usable = np.isfinite(g) & np.isfinite(sigma) & (sigma > 0) & ~mask
    np.testing.assert_array_equal(omitted, ((~usable) * 2 ** np.arange(5)[:, None]).sum(axis=0))
    assert omitted.dtype == np.uint8
    assert np.unique(omitted).size > 8
    for pattern in np.unique(omitted):
        lanes = np.flatnonzero(omitted == pattern)
        left, gone = np.flatnonzero(usable[:, lanes[0]]), np.flatnonzero(~usable[:, lanes[0]])
        loci = tuple(range(len(left))) if options.loci else ()
        sub = Problem(
            Bins(dlogt, logt),
            K[left],
            options._replace(loci=loci),
            None if weight is None else weight[:, lanes],
            functional,
        )
        alone = execute.run(
            g[np.ix_(left, lanes)], sigma[np.ix_(left, lanes)], np.zeros(lanes.size, np.int32), sub, backend=backend
        )
        remark = int(Status.MISSING_CHANNEL) if pattern else 0
        np.testing.assert_array_equal(whole.status[lanes] & ~int(Status.SATURATION_CONTRADICTED), alone.status | remark)
        for key in set(options.outputs) - {"predicted_intensity", "regularization_parameter"}:
            np.testing.assert_array_equal(getattr(whole, key)[..., lanes], getattr(alone, key), err_msg=key)
        if "predicted_intensity" not in options.outputs:
            continue
        predicted = whole.predicted_intensity[:, lanes]
        np.testing.assert_array_equal(predicted[left], alone.predicted_intensity)
        np.testing.assert_allclose(predicted[gone], K[gone] @ alone.dem, rtol=1e-12, atol=1e-12 * predicted.max())
        em = options.solve_for == "emission_measure"
        R = K / 10**logt if em else K
        factor = 1.0 if options.parameter_choice == "grid" else (R[left].max() / R.max()) ** 2
        lam = whole.regularization_parameter[lanes]
        np.testing.assert_allclose(lam, factor * alone.regularization_parameter, rtol=1e-12)
        is_less = (saturated[:, lanes] & (predicted < g[:, lanes])).any(axis=0)
        np.testing.assert_array_equal((whole.status[lanes] & Status.SATURATION_CONTRADICTED) != 0, is_less)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_others_are_not_touched_nor_is_there_one_too_many(backend, dtype):
    K, dlogt, logt, g, sigma, mask, saturated = faulty()
    problem = Problem(Bins(dlogt, logt), K, Options())
    more = {"dtype": dtype, "backend": backend}
    strict = execute.classify(g, sigma, mask, saturated)
    before = execute.run(g, sigma, strict, problem, **more)
    status, omitted = execute.examine(g, sigma, mask, saturated, most_missing=1)
    after = execute.run(g, sigma, status, problem, omitted=omitted, **more)
    for one, other in zip(before[:-1], after[:-1], strict=True):
        if one is not None:
            np.testing.assert_array_equal(one[..., omitted == 0], other[..., omitted == 0])
            assert np.all(np.isfinite(other[..., omitted != 0]))
            assert other.dtype == dtype
    np.testing.assert_array_equal(after.status[omitted == 0], before.status[omitted == 0])
    n_missing = (~(np.isfinite(g) & np.isfinite(sigma) & (sigma > 0) & ~mask)).sum(axis=0)
    np.testing.assert_array_equal(omitted != 0, n_missing == 1)
    assert np.all(after.status[n_missing == 2] & int(Status.UNSOLVED))
    assert np.all(np.isnan(after.dem[:, n_missing == 2]))


def test_chunks_and_threads_change_nothing(monkeypatch):
    from sunpy_demreg._engines import omit

    K, dlogt, logt, g, sigma, mask, saturated = faulty()
    problem = Problem(Bins(dlogt, logt), K, Options())
    status, omitted = execute.examine(g, sigma, mask, saturated, most_missing=2)
    truth = execute.run(g, sigma, status, problem, omitted=omitted, saturated=saturated)
    monkeypatch.setattr(omit, "_MOST_PIXELS", 11)
    shape = (5, 20, 30)
    again = execute.run(
        g.reshape(shape),
        sigma.reshape(shape),
        status.reshape(shape[1:]),
        problem,
        omitted=omitted.reshape(shape[1:]),
        saturated=saturated.reshape(shape),
        workers=3,
        progress=True,
    )
    for one, other in zip(truth, again, strict=True):
        if one is not None:
            np.testing.assert_array_equal(one, other.reshape(one.shape))


def test_what_is_left_may_see_nothing():
    K, dlogt, logt = instrument(2, 14)
    K[1] = 0.0
    g, sigma = np.array([[np.nan, 2.0], [1.0, np.nan]]), np.ones((2, 2)) * 0.1
    status, omitted = execute.examine(g, sigma, most_missing=1)
    answer = execute.run(g, sigma, status, Problem(Bins(dlogt, logt), K, Options()), omitted=omitted)
    assert answer.status[0] & int(Status.UNSOLVED)
    assert np.isnan(answer.dem[:, 0]).all()
    assert not answer.status[1] & int(Status.UNSOLVED)
    assert answer.predicted_intensity[1, 1] == 0.0


@pytest.mark.parametrize(("n", "kind"), [(8, "uint8"), (9, "uint16"), (17, "uint32"), (33, "uint64"), (64, "uint64")])
def test_bits_have_room_for_all_channels(n, kind):
    g, sigma = np.ones((n, 2)), np.ones((n, 2))
    g[n - 1, 1] = np.nan
    _, omitted = execute.examine(g, sigma, most_missing=1)
    assert omitted.dtype == kind
    assert omitted.tolist() == [0, 2 ** (n - 1)]


def test_what_is_missing_is_told_where_it_is_too_much():
    g, sigma = np.ones((3, 7)), np.ones((3, 7))
    mask, saturated = np.zeros((3, 7), bool), np.zeros((3, 7), bool)
    g[0, 1], g[0, 2], g[1, 2] = np.nan, np.nan, -1.0
    mask[2, 3] = saturated[2, 3] = mask[1, 3] = True
    sigma[0, 4], g[:, 5] = np.inf, 0.0
    g[:, 6], mask[0, 6] = 0.0, True
    none = execute.examine(g, sigma, mask, saturated)
    one = execute.examine(g, sigma, mask, saturated, most_missing=1)
    two = execute.examine(g, sigma, mask, saturated, most_missing=5)
    low, gone, silent = Status.NONPOSITIVE_INTENSITY, Status.MISSING_CHANNEL, Status.NO_SIGNAL
    both = Status.SATURATED | Status.MASKED
    assert none[0].tolist() == [0, 1, 1, both, 2, silent, Status.MASKED]
    assert none[1] is None
    assert one[0].tolist() == [0, gone, gone | low, both, gone, silent, silent]
    assert one[1].tolist() == [0, 1, 1, 0, 1, 0, 1]
    assert two[0].tolist() == [0, gone, gone | low, gone, gone, silent, silent]
    assert two[1].tolist() == [0, 1, 1, 6, 1, 0, 1]
    masked = execute.examine(g, sigma, mask, saturated, nonpositive="mask", most_missing=1)
    low |= Status.MASKED
    assert masked[0].tolist() == [0, gone, 1 | low, both, gone, low, low]
    assert masked[1].tolist() == [0, 1, 0, 0, 1, 0, 0]


# --- intensities at or below zero


@pytest.mark.filterwarnings("ignore:.* do not fit")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "options",
    [
        {"positivity": None, "parameter_choice": "grid"},
        {"positivity": None, "parameter_choice": "grid", "missing": 1},
        {"positivity": None, "parameter_choice": "grid", "method": "l2"},
    ],
    ids=str,
)
def test_noise_about_a_faint_signal_is_not_biased(small, response, options, backend):
    """At a fixed weight and lambda the DEM is linear in the intensities, also in those below zero."""
    edges, rng, n_copies = 10 ** np.arange(5.6, 7.41, 0.1) * u.K, np.random.default_rng(0), 1000
    options, sigma = dict(options), np.array([1.0, 1.0, 8.0, 15.0, 5.0, 1.5])
    truth = np.array([0.2, 0.3, 20.0, 25.0, 6.0, 0.2])  # a faint corona
    noisy = truth[:, None] + sigma[:, None] * rng.standard_normal((6, n_copies))
    if (missing := options.pop("missing", None)) is not None:
        truth[missing], noisy[missing] = np.nan, np.nan
    if "method" not in options:
        options["weighting"] = np.exp(-0.5 * ((np.arange(18) - 7) / 4) ** 2) + 0.05
    # The target cannot be met: lambda is the lowest sample for all.
    options |= {"n_samples": 2, "chi_squared_target": 1e-12, "backend": backend}

    def solved(intensity):
        return invert(
            intensity * small.unit,
            response,
            edges,
            uncertainty=np.repeat(sigma[:, None], intensity.shape[1], 1) * small.unit,
            **options,
        )

    result, exact = solved(noisy), solved(truth[:, None])
    faint = (noisy <= 0).any(axis=0)
    assert 0.3 < faint.mean() < 0.99
    np.testing.assert_array_equal((result["status"].data & Status.NONPOSITIVE_INTENSITY) != 0, faint)
    assert not np.any(result["status"].data & int(Status.UNSOLVED))
    lam = result["regularization_parameter"].data
    np.testing.assert_allclose(lam, lam[0], rtol=1e-9)
    dem, expected = result["dem"].data, exact["dem"].data[:, 0]
    departure = (dem.mean(axis=1) - expected) / (dem.std(axis=1) / np.sqrt(n_copies))
    assert np.all(np.abs(departure) < 4)
    assert np.sqrt(np.mean(departure**2)) < 2
    # Without those that have an intensity at or below zero it is not.
    kept = dem[:, ~faint]
    biased = (kept.mean(axis=1) - expected) / (kept.std(axis=1) / np.sqrt(kept.shape[1]))
    assert np.max(np.abs(biased)) > 5


@pytest.mark.parametrize("backend", BACKENDS)
def test_loci_of_noise_are_those_of_its_uncertainty(small, response, edges, backend):
    data, error = small.data[:, 0, :3].copy(), small.uncertainty.array[:, 0, :3]
    data[0] = -0.5 * error[0]
    same = data.copy()
    same[0] = error[0]
    options = {"weighting": "em_loci", "positivity": None, "backend": backend}
    noise, weight = (
        invert(d * small.unit, response, edges, uncertainty=error * small.unit, **options) for d in (data, same)
    )
    loci = demreg.em_loci(noise, 1)
    np.testing.assert_allclose(loci, demreg.em_loci(weight, 1), rtol=1e-14)
    assert np.all(loci > 0)
    # The weight as an array, from these loci.
    least = (loci / demreg._results.checks.bins_of(noise).emission_per_dem).value.min(axis=0)
    padded = np.concatenate([[0, 0, 0], least[1:-1], [0, 0, 0]])
    w = np.maximum(sum(padded[i : i + least.size] for i in range(5)) / (5 * least.max()), 1e-8)
    given = invert(
        data[:, 1:2] * small.unit,
        response,
        edges,
        uncertainty=error[:, 1:2] * small.unit,
        **options | {"weighting": w},
    )
    np.testing.assert_allclose(noise["dem"].data[:, 1], given["dem"].data[:, 0], atol=1e-8 * given["dem"].data.max())


def test_nonpositive_can_be_masked(small, response, edges):
    data = small.data.copy()
    data[0, 1, 1], data[0, 2, 2], data[1, 2, 2] = -1, -1, np.nan
    with pytest.warns(SunpyUserWarning, match=r"2 of 42 .*\(NOT_FINITE 1, MASKED 2\)"):
        result = invert(replaced(small, data=data), response, edges, nonpositive="mask")
    assert result["status"].data[1, 1] == Status.MASKED | Status.NONPOSITIVE_INTENSITY
    used = invert(replaced(small, data=data), response, edges)
    assert used["status"].data[1, 1] & ~int(Status.RELAXED | Status.NEGATIVE_DEM) == Status.NONPOSITIVE_INTENSITY
    assert used["omitted_channels"].data[2, 2] == 2
    assert used.meta["nonpositive"] == "use"


# --- results


@pytest.fixture(scope="module")
def lacking(small):
    return without(small, (0, 1, 1), (2, 3, 4), (2, 3, 5), (5, 0, 0))


@pytest.fixture(scope="module")
def result(lacking, response, edges):
    return invert(lacking, response, edges)


def test_result_tells_what_was_left_out(result, lacking, response, edges):
    omitted = result["omitted_channels"]
    assert omitted.data.dtype == np.uint8
    found = {(y, x): int(omitted.data[y, x]) for y, x in np.argwhere(omitted.data)}
    assert found == {(1, 1): 1, (3, 4): 4, (3, 5): 4, (0, 0): 32}
    assert result.meta["status_counts"]["MISSING_CHANNEL"] == 4
    assert (result.meta["missing_channels"], result.meta["max_missing_channels"]) == ("omit", 1)
    part = result[..., 3:4, 4:6]
    assert part["omitted_channels"].data.tolist() == [[4, 4]]
    with pytest.warns(SunpyUserWarning, match="NOT_FINITE 4"):
        strict = invert(lacking, response, edges, missing_channels="mask")
    assert "omitted_channels" not in strict
    np.testing.assert_array_equal(strict["dem"].data[:, omitted.data == 0], result["dem"].data[:, omitted.data == 0])


def test_later_errors_are_of_the_channels_that_were_used(result, lacking, response, edges):
    """Of a result, and of what is read from one: as of an inversion of the other channels."""
    pixel = (3, 4)
    left = [0, 1, 3, 4, 5]
    alone = invert(
        lacking.data[left, 3, 4] * lacking.unit,
        response.select([response.channels[i] for i in left]),
        edges,
        uncertainty=lacking.uncertainty.array[left, 3, 4] * lacking.unit,
    )
    for product in (demreg.covariance, demreg.resolution_matrix):
        np.testing.assert_allclose(product(result, pixel), product(alone, 0), rtol=1e-12)
    for of in (
        lambda r: demreg.emission_measure(r, [1, 3] * u.MK),
        lambda r: demreg.mean_temperature(r, [1, 3] * u.MK),
        lambda r: demreg.synthesize(r, response.select(["AIA 171"])),
    ):
        ours, theirs = of(result), of(alone)
        np.testing.assert_allclose(ours.data[..., 3, 4], theirs.data[..., 0], rtol=1e-12)
        np.testing.assert_allclose(ours.uncertainty.array[..., 3, 4], theirs.uncertainty.array[..., 0], rtol=1e-12)
    resolved, resolved_alone = demreg.is_resolved(result), demreg.is_resolved(alone)
    np.testing.assert_array_equal(resolved.data[..., 3, 4], resolved_alone.data[..., 0])
    predicted = demreg.synthesize(result, response.select(["AIA 171"]))
    np.testing.assert_allclose(predicted.data[0], result["predicted_intensity"].data[2], rtol=1e-9)
    incomplete = type(result)(
        [(key, result[key]) for key in result if key != "omitted_channels"],
        aligned_axes=tuple(a for k, a in result.aligned_axes.items() if k != "omitted_channels"),
        meta=result.meta,
    )
    with pytest.raises(ValueError, match="`result` lacks 'omitted_channels'"):
        demreg.emission_measure(incomplete)


@pytest.mark.parametrize("method", ["demreg", "lognormal"])
def test_what_only_a_missing_channel_sees_is_not_resolved(method, cube, response, edges):
    cube = cube[:, 40:60, 40:60]
    out = ("dem", "is_resolved", "chi_squared", "intensity")
    cube = without(cube, (1, slice(None), slice(None)))
    left = [0, 2, 3, 4, 5]
    result = invert(cube, response, edges, method=method, outputs=out)
    alone = invert(
        cube.data[left] * cube.unit,
        response.select([response.channels[i] for i in left]),
        edges,
        uncertainty=cube.uncertainty.array[left] * cube.unit,
        method=method,
        outputs=out,
    )
    same = {"again": (demreg.is_resolved(result), demreg.is_resolved(alone))}
    same |= {"output": (result["is_resolved"], alone["is_resolved"])}
    for name in ("emission_measure", "mean_temperature"):
        product = getattr(demreg, name)
        same[name] = product(result), product(alone)
        same[f"error of {name}"] = tuple(p.uncertainty.array for p in same[name])
    for name, (ours, theirs) in same.items():
        ours, theirs = (getattr(a, "data", a) if not isinstance(a, np.ndarray) else a for a in (ours, theirs))
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, err_msg=name)


def test_intensity_of_a_result_gives_it_again(result, response, edges):
    again = invert(result["intensity"], response, edges)
    for key in result:
        np.testing.assert_array_equal(again[key].data, result[key].data, err_msg=key)


@pytest.fixture(scope="module")
def difficult(small):
    """Of real data: saturated, masked, NaN, bad, negative, faint and doubly missing values."""
    data, sigma, mask = small.data.copy(), small.uncertainty.array.copy(), small.mask.copy()
    for channel, pixel, value in ((2, (0, 0), 1e-3), (2, (0, 1), 1e6), (3, (0, 2), 5.0), (0, (0, 3), -1.0)):
        data[channel, *pixel] = value
        if channel != 0:  # as `prepare` marks what is saturated
            sigma[channel, *pixel], mask[channel, *pixel] = np.inf, True
    data[2, 0, 3], mask[2, 0, 3], sigma[2, 0, 3] = 3.0, True, np.inf  # saturated, where another is negative
    data[1, 1, 0] = sigma[1, 1, 0] = np.nan
    sigma[4, 1, 1] = np.inf  # but neither masked nor saturated
    mask[5, 1, 2] = True
    data[1, 1, 3], mask[4, 1, 3], sigma[4, 1, 3] = np.nan, True, np.inf
    data[:, 1, 4] = 0.1 * sigma[:, 1, 4]
    data[:, 1, 5], mask[3, 1, 5] = 0.1 * sigma[:, 1, 5], True
    return replaced(small, data=data, uncertainty=StdDevUncertainty(sigma), mask=mask)


@pytest.mark.filterwarnings("ignore::sunpy_demreg.UnsolvedWarning")
@pytest.mark.parametrize("ending", ["", ".fits", ".asdf", ".zarr"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"missing_channels": "mask"},
        {"nonpositive": "mask", "max_missing_channels": 2},
        {"missing_channels": "mask", "nonpositive": "mask"},
        {"method": "lognormal", "calibration_error": {94: 0.2, "AIA 171": 20 * u.percent}},
    ],
    ids=str,
)
def test_result_is_inverted_again_as_the_data_were(tmp_path, difficult, response, edges, options, ending):
    """With the same status: what is saturated stays a lower limit, in files too."""
    result = first = invert(difficult, response, edges, **options)
    if ending:
        demreg.write(result, tmp_path / f"dem{ending}")
        result = demreg.read(tmp_path / f"dem{ending}")
    error = np.asarray(result["intensity"].uncertainty.array)
    np.testing.assert_array_equal(np.isinf(error), np.isinf(difficult.uncertainty.array))
    assert np.isinf(error[2, 0, :2]).all()
    same = {key: value for key, value in options.items() if key != "calibration_error"}
    again = invert(result["intensity"], response, edges, **same)
    for key in first:
        np.testing.assert_array_equal(np.asarray(again[key].data), first[key].data, err_msg=key)
    assert again.meta["calibration_error"] == first.meta["calibration_error"]
    if "calibration_error" in options:
        with pytest.raises(ValueError, match=r"`calibration_error` is in the uncertainty of `data` already, .*twice"):
            invert(result["intensity"], response, edges, **options)
    status = first["status"].data
    if options.get("missing_channels") == "mask":
        assert status[0, :3].tolist() == [Status.SATURATED] * 3
        assert status[1, 3] == Status.NOT_FINITE | Status.SATURATED
    else:
        assert status[0, 1] & (Status.SATURATION_CONTRADICTED | Status.MISSING_CHANNEL) == 4096 + 2048
    # One channel of it is one, with its own metadata.
    plane = result["intensity"][2:3]
    assert plane.meta["channels"].tolist() == ["AIA 171"]
    assert plane.meta["exposure_time"].shape == (1,)


def test_response_can_be_made_of_the_intensity_of_a_result(small, response, edges):
    result = invert(small, response, edges)
    again = demreg.TemperatureResponse.from_aia(result["intensity"])
    assert again.channels == response.channels
    np.testing.assert_array_equal(again.response.value, response.response.value)
    part = demreg.TemperatureResponse.from_aia(result["intensity"][1:3, :2, :2])
    same = demreg.TemperatureResponse.from_aia(small[1:3, :2, :2])  # of the mean date of the two
    np.testing.assert_array_equal(part.response.value, same.response.value)
    assert demreg.to_map(result["intensity"])[0].date == small.meta["date"][0]
    bare = invert(
        small.data * small.unit, response, edges, uncertainty=small.uncertainty.array * small.unit, mask=small.mask
    )
    with pytest.raises(ValueError, match=r"`cube_or_channels` has no `meta\['date'\]`: pass `obstime`"):
        demreg.TemperatureResponse.from_aia(bare["intensity"])


@pytest.mark.filterwarnings("ignore::sunpy_demreg.UnsolvedWarning")
@pytest.mark.parametrize("method", ["demreg", "lognormal"])
@pytest.mark.parametrize("is_lazy", [False, True])
def test_channels_are_left_out_only_where_there_is_a_solution(difficult, response, edges, method, is_lazy):
    """So that ``omitted_channels`` and the remark say the same: not where too little is left, as in NO_SIGNAL."""
    import dask.array as da

    cube = difficult
    if is_lazy:
        data, sigma = (da.from_array(a, chunks=(6, 3, 4)) for a in (cube.data, cube.uncertainty.array))
        cube = replaced(cube, data=data, uncertainty=StdDevUncertainty(sigma), mask=da.from_array(cube.mask))
    result = invert(cube, response, edges, method=method, max_missing_channels=2)
    status, omitted = np.asarray(result["status"].data), np.asarray(result["omitted_channels"].data)
    assert status[1, 4:6].tolist() == [Status.NO_SIGNAL] * 2
    assert omitted[1, 3:6].tolist() == [2 + 16, 0, 0]
    np.testing.assert_array_equal(omitted != 0, (status & Status.MISSING_CHANNEL) != 0)


def test_lazy_pixels_lack_the_same(lacking, result, response, edges):
    import dask.array as da

    lazy = replaced(
        lacking,
        data=da.from_array(lacking.data, chunks=(6, 2, 3)),
        uncertainty=StdDevUncertainty(da.from_array(lacking.uncertainty.array, chunks=(6, 2, 3))),
        mask=da.from_array(lacking.mask, chunks=(6, 2, 3)),
    )
    ours = invert(lazy, response, edges)
    assert list(ours) == list(result)
    for key, cube in result.items():
        assert ours[key].data.dtype == cube.data.dtype
        np.testing.assert_array_equal(ours[key].data.compute(), cube.data, err_msg=key)
    np.testing.assert_array_equal(
        demreg.emission_measure(ours).uncertainty.array.compute(), demreg.emission_measure(result).uncertainty.array
    )


@pytest.mark.parametrize("ending", [".fits", ".fits.gz", ".asdf", ".zarr"])
@pytest.mark.parametrize("is_lazy", [False, True])
@pytest.mark.parametrize("n", [3, 9])
def test_files_keep_the_channels_that_were_left_out(tmp_path, n, is_lazy, ending):
    import dask.array as da

    K, _, logt = instrument(n, 14, 5.6, 7.0)
    temperature = 10**logt * u.K
    table = (K / K.max() * 1e-24)[:, :] * u.DN * u.cm**5 / u.pix / u.s
    channels = [f"X {i}" for i in range(n)]
    response = demreg.TemperatureResponse.from_arrays(channels, temperature, table)
    g, sigma = pixels(table.value * 1e5, logt, 6)
    g[n - 1, 4] = np.nan
    g, sigma = g.reshape(n, 2, 3), sigma.reshape(n, 2, 3)
    if is_lazy:
        g, sigma = da.from_array(g, chunks=(n, 1, 3)), da.from_array(sigma, chunks=(n, 1, 3))
    wcs = demreg._common.wcs.prepend_axis(
        demreg._common.wcs.pixel_wcs((2, 3)), np.arange(1, n + 1) * u.one, "channel", "custom:channel"
    )
    cube = NDCube(g, wcs, unit=u.DN / u.pix / u.s, uncertainty=StdDevUncertainty(sigma), meta={"channels": channels})
    result = invert(cube, response, 10 ** np.linspace(5.7, 6.9, 10) * u.K)
    path = tmp_path / f"dem{ending}"
    demreg.write(result, path)
    back = demreg.read(path)
    omitted = np.asarray(back["omitted_channels"].data)
    assert omitted.dtype.newbyteorder("=") == (np.uint8 if n == 3 else np.uint16)
    assert omitted.tolist() == [[0, 0, 0], [0, 2 ** (n - 1), 0]]
    np.testing.assert_array_equal(back["dem"].data, result["dem"].data)
    assert back.meta["missing_channels"] == "omit"


def test_fits_headers_explain_the_bits(tmp_path, result):
    from astropy.io import fits

    demreg.write(result, tmp_path / "dem.fits")
    with fits.open(tmp_path / "dem.fits") as hdus:
        header = hdus["STATUS"].header
        for bit in Status:
            assert header[f"FLAG{bit.bit_length() - 1}"] == bit.name
        assert header.comments["FLAG5"] == "value & 32: no DEM"
        assert header.comments["FLAG12"] == "value & 4096: a remark"
        header = hdus["OMITTED_CHANNELS"].header
        assert [header[f"FLAG{i}"] for i in range(6)] == list(result.meta["channels"])
        assert header.comments["FLAG2"] == "value & 4: left out"
        assert "FLAG0" not in hdus["DEM"].header
    assert demreg.read(tmp_path / "dem.fits")["status"].data.tolist() == result["status"].data.tolist()


def test_status_reads_as_words():
    assert str(Status(6144)) == f"{Status(6144)}" == "MISSING_CHANNEL|SATURATION_CONTRADICTED"
    assert str(Status(0)) == "OK"
    assert f"{Status(6144):d}" == "6144"
    assert str(Status(1 << 20)) == "1048576"  # of a later version


def test_other_packages_get_the_channels_too(result):
    pytest.importorskip("xarray")
    data = demreg.to_xarray(result)["omitted_channels"]
    assert data.dims == ("y", "x")
    np.testing.assert_array_equal(data.values, result["omitted_channels"].data)
    np.testing.assert_array_equal(demreg.to_map(result["omitted_channels"]).data, result["omitted_channels"].data)
    assert "omitted_channels" in result._repr_html_()
    assert "4 MISSING_CHANNEL" in repr(result)


def test_saturated_channel_that_should_be_brighter_is_told(small, response, edges):
    """As `prepare` marks it: masked, with an infinite error; what was seen is a lower limit."""
    data, sigma, mask = small.data.copy(), small.uncertainty.array.copy(), small.mask.copy()
    sigma[2, :, :2], mask[2, :, :2] = np.inf, True
    data[2, :, 0], data[2, :, 1] = 1e-3, 1e6
    cube = replaced(small, data=data, uncertainty=StdDevUncertainty(sigma), mask=mask)
    status = invert(cube, response, edges, outputs=("dem",))["status"].data
    assert np.all(status[:, :2] & Status.MISSING_CHANNEL)
    contradicted = (status & Status.SATURATION_CONTRADICTED) != 0
    assert contradicted[:, 1].all()
    assert not contradicted[:, 0].any()
    assert not contradicted[:, 2:].any()
    masked = replaced(cube, uncertainty=small.uncertainty)  # for another reason
    assert not np.any(invert(masked, response, edges)["status"].data & Status.SATURATION_CONTRADICTED)


def test_what_was_left_out_is_not_drawn_as_data(result, small, response, edges):
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    visualization = demreg.visualization
    axes = plt.figure().add_subplot()
    points, line = visualization.plot_intensity(result, (3, 4), axes=axes)
    assert np.isnan(points.lines[0].get_ydata()).tolist() == [False, False, True, False, False, False]
    np.testing.assert_array_equal(line.get_ydata(), result["predicted_intensity"].data[:, 3, 4])
    assert [text.get_text() == "left out" for text in axes.texts] == [False, False, True, False, False, False]
    assert f"{result['chi_squared'].data[3, 4]:.2f}" in axes.get_title()
    visualization.plot_dem(result, (3, 4), em_loci=True, axes=(axes := plt.figure().add_subplot()))
    drawn = [text.get_text() for text in axes.get_legend().get_texts()]
    assert sum(label.endswith("alone") for label in drawn) == 5
    assert "AIA 171 alone" not in drawn
    image = visualization.plot_residual(result, "AIA 171").get_array()
    assert np.ma.getmaskarray(np.ma.masked_invalid(image)).sum() == 2
    loci = demreg.em_loci(result, (3, 4))
    assert np.isnan(loci).all(axis=1).tolist() == [False, False, True, False, False, False]
    # An intensity below zero has no place on the axis, but its residual is told.
    data = small.data.copy()
    data[0, 1, 1] = -1
    faint = invert(replaced(small, data=data), response, edges)
    axes = plt.figure().add_subplot()
    visualization.plot_intensity(faint, (1, 1), axes=axes)
    assert axes.texts[0].get_text().startswith("$-")
    axes.figure.canvas.draw()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"missing_channels": "drop"}, "`missing_channels` must be"),
        ({"missing_channels": True}, "`missing_channels` must be"),
        ({"nonpositive": None}, "`nonpositive` must be"),
        ({"max_missing_channels": 0}, "`max_missing_channels` must be"),
        ({"max_missing_channels": 1.5}, "`max_missing_channels` must be"),
        ({"max_missing_channels": 6}, "`max_missing_channels` is 6, but there are 6 .* one has to remain: pass 5 at"),
        (
            {"max_missing_channels": 5, "parameter_choice": "gcv"},
            "`max_missing_channels` is 5, .* of which two, .* have to remain: pass 4 at most",
        ),
        (
            {"max_missing_channels": 2, "missing_channels": "mask"},
            "`max_missing_channels` is not used where missing channels are masked",
        ),
    ],
)
def test_wrong_choices_are_told(small, response, edges, options, words):
    with pytest.raises((TypeError, ValueError), match=words):
        invert(small, response, edges, **options)


@pytest.mark.parametrize(("choice", "most"), [("discrepancy", 1), ("gcv", 0)])
def test_some_channels_have_to_be_left(small, response, edges, choice, most):
    """Of two, the cross-validation can do without none."""
    pair = response.select(["AIA 171", "AIA 193"])
    data = small.data[2:4].copy()
    data[0, 1, 1], data[:, 2, 2] = np.nan, np.nan
    sigma = small.uncertainty.array[2:4] * small.unit
    with pytest.warns(SunpyUserWarning, match=f"{2 - most} of 42"):
        result = invert(
            data * small.unit,
            pair,
            edges,
            uncertainty=sigma,
            parameter_choice=choice,
            positivity=None,
        )
    assert np.count_nonzero(result["omitted_channels"].data) == most


@pytest.mark.filterwarnings("ignore::sunpy_demreg.UnsolvedWarning")
@pytest.mark.parametrize("is_lazy", [False, True])
def test_more_channels_than_bits_are_inverted_where_none_is_missing(is_lazy):
    import dask.array as da

    K, _, logt = instrument(65, 12, 5.6, 7.0)
    response = demreg.TemperatureResponse.from_arrays(
        [f"X {i}" for i in range(65)], 10**logt * u.K, K / K.max() * 1e-24 * u.Unit("DN cm5 / (pix s)")
    )
    g, sigma = pixels(response.response.value * 1e5, logt, 3)
    bins, unit = 10 ** np.linspace(5.7, 6.9, 10) * u.K, u.DN / u.pix / u.s

    def solved(g, **options):
        if not is_lazy:
            return invert(g * unit, response, bins, uncertainty=sigma * unit, **options)
        wcs = demreg._common.wcs.prepend_axis(
            demreg._common.wcs.pixel_wcs((3,)), np.arange(1, 66) * u.one, "channel", "custom:channel"
        )
        g, error = da.from_array(g, chunks=(65, 2)), da.from_array(sigma, chunks=(65, 2))
        return invert(NDCube(g, wcs, unit=unit, uncertainty=StdDevUncertainty(error)), response, bins, **options)

    plain, strict = solved(g), solved(g, missing_channels="mask")
    np.testing.assert_array_equal(np.asarray(plain["dem"].data), np.asarray(strict["dem"].data))
    assert not np.asarray(plain["omitted_channels"].data).any()
    g[64, 1] = np.nan
    with pytest.raises(ValueError, match=r"`missing_channels` 'omit' .* 65, and 1 pixels .*pass"):
        np.asarray(solved(g)["dem"].data)
    assert np.asarray(solved(g, missing_channels="mask")["status"].data)[1] == Status.NOT_FINITE
