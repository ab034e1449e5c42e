"""The front door: physics objects in, aligned cubes out; bad calls are told so, bad pixels are flagged."""

import re

import numpy as np
import pytest

import astropy.units as u
from astropy.coordinates import SkyCoord
from astropy.nddata import StdDevUncertainty, VarianceUncertainty
from ndcube import NDCollection, NDCube, NDCubeSequence
from sunpy.util.exceptions import SunpyUserWarning

from sunpy_demreg import Status, TemperatureResponse, UnsolvedWarning, invert, sample
from sunpy_demreg._engines.base.status import status_counts
from sunpy_demreg._results import unsolved as unsolved_pixels
from sunpy_demreg._results.unsolved import counts_of

CUBE_UNITS = {
    "dem": u.cm**-5 / u.K,
    "temperature_resolution": u.dex,
    "chi_squared": u.one,
    "predicted_intensity": u.DN / u.pix / u.s,
    "regularization_parameter": u.one,
    "intensity": u.DN / u.pix / u.s,
    "omitted_channels": u.one,
    "status": u.one,
}
STRICT = {"nonpositive": "mask", "missing_channels": "mask"}


@pytest.fixture(scope="module")
def result(small, response, edges):
    return invert(small, response, edges)


def replaced(cube, **changes):
    parts = {name: getattr(cube, name) for name in ("data", "wcs", "unit", "uncertainty", "mask", "meta")}
    return NDCube(**{**parts, **changes})


def bare(cube):
    """The same data as plain Quantities."""
    return cube.data * cube.unit, cube.uncertainty.array * cube.unit


def assert_same(one, other):
    assert list(one) == list(other)
    for key in one:
        np.testing.assert_array_equal(one[key].data, other[key].data, err_msg=key)
    np.testing.assert_array_equal(one["dem"].uncertainty.array, other["dem"].uncertainty.array)


def test_result_has_units_coordinates_and_masks(result, small, edges):
    assert isinstance(result, NDCollection)
    assert {key: result[key].unit for key in result} == CUBE_UNITS
    assert result["dem"].data.shape == (36, 6, 7)
    assert result["predicted_intensity"].data.shape == (6, 6, 7)
    assert isinstance(result["dem"].uncertainty, StdDevUncertainty)
    assert np.all(result["dem"].uncertainty.array > 0)
    assert not result["dem"].mask.any()
    centers = result["dem"].axis_world_coords(0)[0]
    assert centers.unit == u.K
    np.testing.assert_allclose(centers, np.sqrt(edges[1:] * edges[:-1]), rtol=1e-12)
    wavelengths = result["predicted_intensity"].axis_world_coords(0)[0]
    np.testing.assert_allclose(wavelengths.to_value(u.AA), [94, 131, 171, 193, 211, 335])
    there, here = (c.axis_world_coords(1, 2)[0] for c in (result["dem"], small))
    assert isinstance(there, SkyCoord)
    assert np.all(there.separation(here) < 1e-9 * u.arcsec)
    np.testing.assert_array_equal(result.meta["temperature_bin_edges"], edges)
    assert result.meta["parameter_choice"] == "discrepancy"


def test_result_slices_all_cubes_at_once(result):
    part = result[..., 2:5, 1:4]
    assert part["dem"].data.shape == (36, 3, 3)
    assert part["status"].data.shape == (3, 3)
    np.testing.assert_array_equal(part["chi_squared"].data, result["chi_squared"].data[2:5, 1:4])
    np.testing.assert_array_equal(part["dem"].uncertainty.array, result["dem"].uncertainty.array[:, 2:5, 1:4])
    assert_same(part, result[2:5, 1:4])
    assert result[..., 3, 1:4]["dem"].data.shape == (36, 3)


def test_reported_chi_squared_is_that_of_the_dem(result, small, response, edges):
    """Through the whole chain: response, bin widths, units."""
    log_edges = np.log10(edges.value)
    width = np.sqrt(edges[1:] * edges[:-1]) * np.log(10) * np.diff(log_edges)
    K = response.at(np.sqrt(edges[1:] * edges[:-1])) * width
    dem = result["dem"].data * result["dem"].unit
    predicted = np.tensordot(K, dem, axes=1).to_value(small.unit)
    np.testing.assert_allclose(result["predicted_intensity"].data, predicted, rtol=1e-10)
    chi_squared = np.mean(((small.data - predicted) / small.uncertainty.array) ** 2, axis=0)
    np.testing.assert_allclose(result["chi_squared"].data, chi_squared, rtol=1e-10)


@pytest.mark.parametrize("factor", [1e12, 1e-12])
def test_unit_of_response_changes_the_dem_alone(small, response, edges, result, factor):
    scaled = TemperatureResponse.from_arrays(
        response.channels, response.temperature, factor * response.response, response.meta
    )
    other = invert(small, scaled, edges)
    peak = np.abs(result["dem"].data).max(axis=0)
    assert np.max(np.abs(other["dem"].data * factor - result["dem"].data) / peak) < 1e-9
    error = result["dem"].uncertainty.array
    assert np.max(np.abs(other["dem"].uncertainty.array * factor - error) / error.max(axis=0)) < 1e-9
    for key in ("temperature_resolution", "chi_squared", "predicted_intensity", "regularization_parameter", "status"):
        np.testing.assert_allclose(other[key].data, result[key].data, rtol=1e-9, err_msg=key)


def test_units_convert(small, response, edges, result):
    intensity, uncertainty = bare(small)
    kilo = u.def_unit("kDN", 1000 * u.DN)
    other = invert(intensity.to(kilo / u.pix / u.s), response, edges.to(u.MK), uncertainty=uncertainty)
    peak = np.abs(result["dem"].data).max(axis=0)
    assert np.max(np.abs(other["dem"].data - result["dem"].data) / peak) < 1e-9


def test_every_kind_of_input_gives_the_same(small, response, edges, result):
    intensity, uncertainty = bare(small)
    assert_same(invert(intensity, response, edges, uncertainty=uncertainty), result)
    assert_same(invert(intensity, response, edges, uncertainty=uncertainty, channels=response.channels), result)
    planes = [small[i] for i in range(6)]
    assert_same(invert(NDCubeSequence(planes), response, edges), result)
    order = [4, 1, 0, 5, 3, 2]
    labels = small.meta["channels"]
    mixed = invert(NDCollection([(str(labels[i]), planes[i]) for i in order], aligned_axes="all"), response, edges)
    back = np.argsort(order)
    peak = np.abs(result["dem"].data).max(axis=0)
    assert np.max(np.abs(mixed["dem"].data - result["dem"].data) / peak) < 1e-9
    np.testing.assert_allclose(mixed["predicted_intensity"].data[back], result["predicted_intensity"].data, rtol=1e-9)
    variance = replaced(small, uncertainty=VarianceUncertainty(small.uncertainty.array**2))
    np.testing.assert_allclose(invert(variance, response, edges)["dem"].data, result["dem"].data, rtol=1e-6)


def test_maps_and_files_are_prepared(response, edges, cube):
    with pytest.warns(SunpyUserWarning) as record:
        result = invert(sample.aia_files(), response, edges)
    assert any("n_sample" in str(w.message) for w in record)
    assert result["dem"].data.shape == (36, *cube.data.shape[1:])


def test_response_in_another_order_is_matched_by_name(small, response, edges, result):
    shuffled = response.select(response.channels[::-1])
    assert_same(invert(small, shuffled, edges), result)


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (2, 2, 3)])
def test_any_number_of_pixel_axes(small, response, edges, shape):
    intensity, uncertainty = (q[:, 0, 0].reshape((6,) + (1,) * len(shape)) * np.ones(shape) for q in bare(small))
    result = invert(intensity, response, edges, uncertainty=uncertainty)
    assert result["dem"].data.shape == (36, *(shape or (1,)))
    first = result["dem"].data.reshape(36, -1)
    np.testing.assert_array_equal(first, first[:, :1] * np.ones(first.shape[1]))
    assert result["dem"].axis_world_coords(0)[0].unit == u.K


def test_one_pixel_of_a_cube(small, response, edges, result):
    one = invert(small[:, 2, 3], response, edges)
    np.testing.assert_array_equal(one["dem"].data[:, 0], result["dem"].data[:, 2, 3])


def test_input_is_left_alone(small, response, edges):
    before = small.data.copy(), small.uncertainty.array.copy(), edges.copy()
    invert(small, response, edges)
    for array, kept in zip((small.data, small.uncertainty.array, edges), before, strict=True):
        np.testing.assert_array_equal(array, kept)


def test_progress_bar_is_shown_on_request_only(small, response, edges, capsys):
    invert(small, response, edges)
    assert capsys.readouterr().err == ""
    invert(small, response, edges, progress=True)
    assert "DEM inversion" in capsys.readouterr().err


def test_non_uniform_bins_are_centered_on_their_own_edges(small, response):
    edges = 10 ** np.array([5.6, 5.7, 5.9, 6.2, 6.3, 6.4, 6.8, 7.2]) * u.K
    result = invert(small, response, edges)
    centers = result["dem"].axis_world_coords(0)[0]
    np.testing.assert_allclose(centers, np.sqrt(edges[1:] * edges[:-1]), rtol=1e-12)
    assert np.all(np.isfinite(result["dem"].data))


# --- bad pixels ---------------------------------------------------------------------------------------

BAD_PIXELS = {
    "nan counts": ("data", np.nan, Status.NOT_FINITE),
    "infinite counts": ("data", np.inf, Status.NOT_FINITE),
    "negative counts": ("data", -1.0, Status.MASKED | Status.NONPOSITIVE_INTENSITY),
    "zero counts": ("data", 0.0, Status.MASKED | Status.NONPOSITIVE_INTENSITY),
    "zero uncertainty": ("uncertainty", 0.0, Status.BAD_UNCERTAINTY),
    "negative uncertainty": ("uncertainty", -2.0, Status.BAD_UNCERTAINTY),
    "nan uncertainty": ("uncertainty", np.nan, Status.BAD_UNCERTAINTY),
    "infinite uncertainty": ("uncertainty", np.inf, Status.BAD_UNCERTAINTY),
    "masked": ("mask", True, Status.MASKED),
}


@pytest.mark.parametrize(
    "options",
    [{}, {"parameter_choice": "grid"}, {"positivity": "ignore"}, {"positivity": "constrain"}, {"backend": "numpy"}],
    ids=str,
)
@pytest.mark.parametrize(("part", "value", "flag"), BAD_PIXELS.values(), ids=BAD_PIXELS.keys())
def test_bad_pixel_is_flagged_and_its_neighbors_untouched(small, response, edges, part, value, flag, options):
    arrays = {"data": small.data.copy(), "uncertainty": small.uncertainty.array.copy(), "mask": small.mask.copy()}
    arrays[part][3, 2, 4] = value
    bad = replaced(
        small, data=arrays["data"], uncertainty=StdDevUncertainty(arrays["uncertainty"]), mask=arrays["mask"]
    )
    good = invert(small, response, edges, **options, **STRICT)
    cause = (flag & Status.UNSOLVED).name
    with pytest.warns(SunpyUserWarning, match=rf"1 of 42 pixels were not solved .*\({cause} 1\)"):
        result = invert(bad, response, edges, **options, **STRICT)
    here = np.zeros((6, 7), bool)
    here[2, 4] = True
    assert result["status"].data[2, 4] == flag
    for key in result.keys() - {"intensity", "status"}:
        assert np.all(np.isnan(result[key].data[..., here])), key
        assert np.all(result[key].mask[..., here]), key
        assert not result[key].mask[..., ~here].any(), key
    assert np.all(np.isnan(result["dem"].uncertainty.array[:, here]))
    assert result["intensity"].mask[:, here].sum() == (part == "mask")
    for key in result:
        np.testing.assert_array_equal(result[key].data[..., ~here], good[key].data[..., ~here], err_msg=key)


def test_saturated_pixel_is_told_from_a_masked_one(response, edges):
    import sunpy_demreg

    def prepared(value):
        maps = sample.aia_maps()
        data = maps[2].data.copy()
        data[20, 30] = value or data[20, 30]
        maps[2] = maps[2]._new_instance(data, maps[2].meta)
        return sunpy_demreg.prepare(maps, n_sample=16)[:, 18:23, 28:33]

    good = invert(prepared(None), response, edges, missing_channels="mask")
    for value, flag in ((16000.0, Status.SATURATED), (np.nan, Status.NOT_FINITE), (np.inf, Status.NOT_FINITE)):
        with pytest.warns(SunpyUserWarning, match=rf"{flag.name} 1\)"):
            result = invert(prepared(value), response, edges, missing_channels="mask")
        assert result["status"].data[2, 2] == flag
        elsewhere = np.ones((5, 5), bool)
        elsewhere[2, 2] = False
        for key in result:
            np.testing.assert_array_equal(result[key].data[..., elsewhere], good[key].data[..., elsewhere])


def test_status_of_a_pixel_can_be_read(result):
    for value in range(2 * max(Status)):
        assert Status(np.int32(value)) == value
        assert isinstance(Status(np.int32(value)), Status)
    assert isinstance(Status(result["status"].data[0, 0]), Status)
    with pytest.raises((TypeError, ValueError)):
        Status("OK")


def test_several_reasons_are_all_told(small, response, edges):
    data, uncertainty = small.data.copy(), small.uncertainty.array.copy()
    data[0, 1, 1], data[2, 1, 1], uncertainty[4, 1, 1] = np.nan, -1, 0
    bad = replaced(small, data=data, uncertainty=StdDevUncertainty(uncertainty))
    with pytest.warns(SunpyUserWarning, match="not solved"):
        result = invert(bad, response, edges)
    assert result["status"].data[1, 1] == Status.NOT_FINITE | Status.BAD_UNCERTAINTY
    with pytest.warns(SunpyUserWarning, match="not solved"):
        result = invert(bad, response, edges, nonpositive="mask")
    expected = Status.NOT_FINITE | Status.BAD_UNCERTAINTY | Status.MASKED | Status.NONPOSITIVE_INTENSITY
    assert result["status"].data[1, 1] == expected


@pytest.mark.filterwarnings("ignore:3 of 42 pixels were not solved")
def test_mask_of_the_pixels_is_one_of_all_channels(small, response, edges):
    data, sigma = small.data * small.unit, small.uncertainty.array * small.unit
    mask = np.zeros((6, 7), bool)
    mask[1:4, 2] = True
    result = invert(data, response, edges, uncertainty=sigma, mask=mask)
    same = invert(data, response, edges, uncertainty=sigma, mask=np.array([mask] * 6))
    for key, cube in result.items():
        np.testing.assert_array_equal(cube.data, same[key].data)
    assert np.all((result["status"].data == Status.MASKED) == mask)
    assert np.all(result["intensity"].mask == mask)


def test_pixel_without_significant_signal_is_masked(small, response, edges):
    sigma = small.uncertainty.array.copy()
    sigma[:, 1, 1] = 2 * small.data[:, 1, 1]
    with pytest.warns(SunpyUserWarning, match=r"1 of 42 .*\(NO_SIGNAL 1\)"):
        result = invert(replaced(small, uncertainty=StdDevUncertainty(sigma)), response, edges)
    assert np.all(np.isnan(result["dem"].data[:, 1, 1]))
    assert result["dem"].mask[:, 1, 1].all()


@pytest.mark.filterwarnings("ignore:.* do not fit")
@pytest.mark.parametrize("options", [{}, {"parameter_choice": "grid"}, {"backend": "numpy"}], ids=str)
def test_every_pixel_is_solved_or_masked_with_a_reason(small, response, options):
    """Also with fewer bins than channels, and data and uncertainties of extreme size."""
    data, sigma = small.data.copy(), small.uncertainty.array.copy()
    data[0, 0, 0], sigma[1, 0, 1], sigma[2, 0, 2], sigma[:, 0, 3], sigma[:, 0, 4] = 1e300, 5e-324, 1e-160, 1e-160, 1e150
    cube = replaced(small, data=data, uncertainty=StdDevUncertainty(sigma))
    for step in (0.05, 0.3, 0.6):
        edges = 10 ** np.arange(5.6, 7.41, step) * u.K
        with pytest.warns(SunpyUserWarning, match="FAILED"):
            result = invert(cube, response, edges, **options)
        unsolved = (result["status"].data & int(Status.UNSOLVED)) != 0
        assert 0 < unsolved.sum() <= 5
        for key in result.keys() - {"intensity", "omitted_channels", "status"}:
            assert np.all(np.isfinite(result[key].data[..., ~unsolved])), key
            assert np.all(np.isnan(result[key].data[..., unsolved])), key
            np.testing.assert_array_equal(result[key].mask, np.broadcast_to(unsolved, result[key].data.shape))


def test_counts_do_not_depend_on_how_much_is_loaded(monkeypatch):
    status = np.random.default_rng(0).choice([0, 1, 16, 128, 384, 2048], (7, 5)).astype(np.int32)
    settings = {"method": "demreg", "positivity": "relax"}
    whole = counts_of(status, settings)
    ours = {"unsolved": np.isin(status, (1, 16)).sum(), "misfit": np.sum(status == 384)}
    ours["raised"] = np.sum((status & int(Status.RELAXED)) != 0)
    assert whole == status_counts(status) | ours
    monkeypatch.setattr(unsolved_pixels, "_MOST_PIXELS", 10)
    assert counts_of(status, settings) == whole
    assert counts_of(status.ravel(), settings) == whole


@pytest.mark.parametrize(
    ("settings", "n_misfit"),
    [
        ({"method": "demreg", "positivity": "relax"}, 2),  # 512 and 384
        ({"method": "l2", "positivity": "relax"}, 1),
        ({"method": "demreg", "positivity": "relax", "weighting": "given"}, 1),
        ({"method": "l2", "positivity": "constrain"}, 4),
        ({"method": "lognormal", "positivity": "inherent"}, 4),
        ({"method": "demreg", "positivity": None}, 4),  # as files of older versions have it
    ],
)
def test_a_misfit_is_a_solved_pixel_that_misses_its_target_more_than_usual(settings, n_misfit):
    status = np.array([0, 128, 256, 384, 512, 512 | 64, 384 | 1024])
    assert counts_of(status, settings)["misfit"] == n_misfit


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "RELAXED 16384, NEGATIVE_DEM 16384"),
        ({"positivity": "constrain"}, "RELAXED 16384"),
        ({"method": "lognormal"}, "RELAXED 163, TARGET_NOT_REACHED 16221"),
    ],
)
def test_misfits_of_most_pixels_are_told_with_the_cures(cube, response, options, told):
    edges = 10 ** np.arange(6.275, 7.33, 0.05) * u.K  # without the plasma that 171 sees
    with pytest.warns(UnsolvedWarning) as caught:
        invert(cube, response, edges, outputs=["dem"], **options)
    [message] = [str(each.message) for each in caught]
    counted, told_counts = re.match(r"(.* do not fit): .* \((.*)\)\. Likely causes", message).groups()
    assert counted == "16384 of 16384 solved pixels do not fit"
    assert [word.split()[0] for word in told_counts.split(", ")] == [word.split()[0] for word in told.split(", ")]
    for cure in ("`calibration_error`", "temperature bins", "response of another date"):
        assert cure in message
    assert ("'constrain'" in message) == (not options)


def test_targets_of_nearly_all_pixels_raised_are_told(cube, response):
    """Though their DEM has no negative bin."""
    with pytest.warns(UnsolvedWarning, match=r"of 16384 solved pixels do not fit: .*RELAXED") as caught:
        found = invert(cube, response, 10 ** np.arange(5.975, 6.33, 0.05) * u.K, calibration_error=0.1)
    assert "`positivity='constrain'`" in str(caught[0].message)
    assert found.meta["status_counts"].get("NEGATIVE_DEM", 0) < 8000
    assert np.nanmedian(found["chi_squared"].data) > 3


@pytest.mark.parametrize(
    "options",
    [{}, {"solve_for": "emission_measure"}, {"positivity": "constrain"}, {"method": "lognormal"}, {"method": "l2"}],
)
def test_usual_images_get_no_warning_of_misfits(cube, response, edges, options):
    found = invert(cube, response, edges, outputs=["dem"], **options)  # a warning is an error
    n_relaxed = found.meta["status_counts"].get("RELAXED", 0)
    assert (n_relaxed > 3000) == (found.meta["positivity"] == "relax")


def test_image_without_any_signal_is_all_masked(small, response, edges):
    with pytest.warns(SunpyUserWarning, match="42 of 42 pixels"):
        result = invert(replaced(small, data=0 * small.data), response, edges)
    assert np.all(result["status"].data == Status.NO_SIGNAL)
    assert result["dem"].mask.all()
    assert np.isnan(result["dem"].data).all()


# --- bad calls ----------------------------------------------------------------------------------------

R = u.DN * u.cm**5 / (u.pix * u.s)
E = 10 ** np.arange(5.6, 7.41, 0.1)
BAD_CALLS = {
    "too few channels": (
        lambda d, s: {"data": d[:5], "uncertainty": s[:5]},
        r"`data` has 5 channels.*`response` has 6",
    ),
    "channels in the wrong order": (
        lambda d, s: {"channels": ["AIA 131", "AIA 94", "AIA 171", "AIA 193", "AIA 211", "AIA 335"]},
        r"`channels` are AIA 131, AIA 94.*`response` are AIA 94.*select",
    ),
    "unknown channels": (lambda d, s: {"channels": list("abcdef")}, r"\(a, b.*but `response` has 6"),
    "wrong number of channel names": (lambda d, s: {"channels": ["AIA 94"]}, "`channels` names 1"),
    "no unit": (lambda d, s: {"data": d.value}, "`data` must be.*Quantity.*ndarray.*attach the unit"),
    "raw counts": (lambda d, s: {"data": d * u.s}, r"`data` has the unit DN / pix.*divide raw counts by the exposure"),
    "uncertainty missing": (lambda d, s: {"uncertainty": None}, "`uncertainty` is missing"),
    "uncertainty without unit": (lambda d, s: {"uncertainty": s.value}, "`uncertainty` must be a Quantity"),
    "uncertainty in another unit": (lambda d, s: {"uncertainty": s * u.s}, "`uncertainty` has the unit"),
    "uncertainty of other channels": (
        lambda d, s: {"uncertainty": s[:5]},
        r"`uncertainty` has the shape \(5, .* but `data` has \(6, .* channels first",
    ),
    "uncertainty of another shape": (
        lambda d, s: {"uncertainty": s[:, :2]},
        r"`uncertainty` has the shape \(6, 2, 7\)",
    ),
    "mask of another shape": (lambda d, s: {"mask": np.zeros((6, 2, 7), bool)}, "`mask` has the shape"),
    "mask of more pixels": (lambda d, s: {"mask": np.zeros((4, 9), bool)}, "mask of the pixels without channels"),
    "edges in keV": (
        lambda d, s: {"temperature_bin_edges": [0.1, 0.2, 0.3, 0.4] * u.keV},
        "must be a Quantity in K.*but has the unit 'keV'",
    ),
    "all masked": (lambda d, s: {"mask": np.ones(d.shape, bool)}, "`data` is masked everywhere"),
    "scalar": (lambda d, s: {"data": d[0, 0, 0]}, "`data` must have the channel axis first, but is a scalar"),
    "edges without unit": (lambda d, s: {"temperature_bin_edges": E}, "`temperature_bin_edges` must be a Quantity"),
    "edges in another unit": (
        lambda d, s: {"temperature_bin_edges": E * u.s},
        "`temperature_bin_edges` must be a Quantity",
    ),
    "edges descend": (lambda d, s: {"temperature_bin_edges": E[::-1] * u.K}, "strictly ascending"),
    "edges repeat": (lambda d, s: {"temperature_bin_edges": np.sort(np.append(E, E[3])) * u.K}, "drop duplicates"),
    "edges not finite": (lambda d, s: {"temperature_bin_edges": np.append(E, np.inf) * u.K}, "finite"),
    "edges below the response": (
        lambda d, s: {"temperature_bin_edges": np.append(1e3, E) * u.K},
        "tabulated from 1e\\+04 K",
    ),
    "edges above the response": (lambda d, s: {"temperature_bin_edges": np.append(E, 1e10) * u.K}, "to 1e\\+09 K"),
    "edges in log T": (lambda d, s: {"temperature_bin_edges": np.log10(E) * u.K}, "log10 of the temperature"),
    "no response": (lambda d, s: {"response": None}, "`response` must be a TemperatureResponse, but is None"),
    "two bins": (lambda d, s: {"temperature_bin_edges": E[:3] * u.K}, "three or more bins"),
    "edges of two axes": (lambda d, s: {"temperature_bin_edges": [E, E] * u.K}, "has the shape"),
    "unknown choice": (lambda d, s: {"parameter_choice": "lcurve"}, "`parameter_choice` must be one of.*'lcurve'"),
    "unknown positivity": (lambda d, s: {"positivity": True}, "`positivity` must be one of"),
    "target of zero": (lambda d, s: {"chi_squared_target": 0}, "`chi_squared_target` must be.*above 0"),
    "no growth": (lambda d, s: {"target_growth": 1.0}, "`target_growth` must be.*above 1"),
    "no iterations": (lambda d, s: {"max_iterations": 0}, "`max_iterations` must be.*from 1 to"),
    "a fraction of an iteration": (lambda d, s: {"max_iterations": 2.5}, "`max_iterations` must be a whole number"),
    "a target that is no number": (lambda d, s: {"chi_squared_target": "1"}, "`chi_squared_target` must be"),
    "an array of choices": (lambda d, s: {"parameter_choice": np.array(["grid", "grid"])}, "`parameter_choice`"),
    "iterations that are a truth value": (lambda d, s: {"max_iterations": True}, "`max_iterations` must be"),
    "constraint on the grid": (
        lambda d, s: {"positivity": "constrain", "parameter_choice": "grid"},
        "`positivity` 'constrain' .*leave one of them out",
    ),
    "unknown backend": (
        lambda d, s: {"backend": "cuda"},
        "`backend` must be one of 'cpu', 'numpy', 'cupy'.*'cuda'",
    ),
    "no workers": (lambda d, s: {"workers": 0}, "`workers` must be.*from 1 to"),
    "unknown method": (lambda d, s: {"method": "L2"}, "`method` must be one of.*'L2'"),
    "unknown weighting": (lambda d, s: {"weighting": "loci"}, "`weighting` must be one of.*or an array.*'loci'"),
    "no weighting": (lambda d, s: {"weighting": None}, "`weighting` must be one of"),
    "weight of another shape": (lambda d, s: {"weighting": np.ones(35)}, r"`weighting` has the shape \(35,\).*\(36,\)"),
    "weight of zero": (lambda d, s: {"weighting": np.r_[0.0, np.ones(35)]}, "`weighting` must be.*1 of its 36"),
    "weight that is no number": (lambda d, s: {"weighting": ["a"] * 36}, "`weighting` must be"),
    "l2 with a weighting": (lambda d, s: {"method": "l2", "weighting": "em_loci"}, "`method` 'l2' has one weight"),
    "refined array": (
        lambda d, s: {"weighting": np.ones(36), "n_refinements": 1},
        "`n_refinements` applies only to the weight .*: pass 0",
    ),
    "too many refinements": (lambda d, s: {"n_refinements": 6}, "`n_refinements` must be.*to 5"),
    "unknown output": (lambda d, s: {"outputs": ("dem", "edem")}, "`outputs` must be a tuple of names among.*'edem'"),
    "outputs as one text": (lambda d, s: {"outputs": "dem"}, "`outputs` must be a tuple of names among"),
    "error without its DEM": (lambda d, s: {"outputs": ("dem_uncertainty",)}, "`outputs` has 'dem_uncertainty'"),
    "emission measure without ranges": (lambda d, s: {"outputs": ("emission_measure",)}, "emission_measure_ranges"),
    "ranges without emission measure": (
        lambda d, s: {"outputs": ("dem",), "emission_measure_ranges": [1e6, 2e6] * u.K},
        "`outputs` must contain 'emission_measure'",
    ),
    "ranges without unit": (lambda d, s: {"emission_measure_ranges": [1e6, 2e6]}, "must be a Quantity in K,"),
    "ranges outside": (
        lambda d, s: {"emission_measure_ranges": [123456.789, 2e6] * u.K},
        r"but are 1.235e\+05 to 2e\+06 K",
    ),
    "ranges that descend": (lambda d, s: {"emission_measure_ranges": [2e6, 1e6] * u.K}, "ascending pairs inside"),
    "ranges that are no pairs": (lambda d, s: {"emission_measure_ranges": [1e6, 2e6, 3e6] * u.K}, "must be pairs"),
    "integers": (lambda d, s: {"dtype": int}, "`dtype` must be 'float64' or 'float32'"),
    "covariance beyond its type": (
        lambda d, s: {"dtype": "float32", "outputs": ("covariance",)},
        "`dtype` 'float32' cannot hold the covariance .* exceeds 3e38",
    ),
    "no type": (lambda d, s: {"dtype": None}, "`dtype` must be"),
    "cross-validation of one channel": (
        lambda d, s: {
            "data": d[:1],
            "uncertainty": s[:1],
            "response": TemperatureResponse.from_arrays(["94"], [1e5, 1e8] * u.K, [[1e-25, 1e-25]] * R),
            "parameter_choice": "gcv",
        },
        "'gcv' leaves out",
    ),
    "one sample": (lambda d, s: {"n_samples": 1}, "`n_samples` must be.*from 2 to"),
}


@pytest.mark.parametrize(("change", "words"), BAD_CALLS.values(), ids=BAD_CALLS.keys())
def test_bad_call_is_refused_with_the_cure(small, response, edges, change, words):
    data, uncertainty = bare(small)
    arguments = {"data": data, "response": response, "temperature_bin_edges": edges, "uncertainty": uncertainty}
    with pytest.raises((ValueError, TypeError), match=words):
        invert(**{**arguments, **change(data, uncertainty)})


BAD_CUBES = {
    "five channels": (lambda c: c[:5], r"`data` has 5 channels \(AIA 94.*`response` has 6"),
    "no unit": (lambda c: replaced(c, unit=None, uncertainty=None), "cube without a unit"),
    "no uncertainty": (lambda c: replaced(c, uncertainty=None), "`uncertainty` is missing"),
    "all masked": (lambda c: replaced(c, mask=np.ones(c.data.shape, bool)), "`data` is masked everywhere"),
    "planes of two shapes": (
        lambda c: NDCubeSequence([c[i] if i else c[i, :3] for i in range(6)]),
        "reproject the cubes to one grid",
    ),
    "planes without uncertainty": (
        lambda c: NDCubeSequence([replaced(c[i], uncertainty=None) for i in range(6)]),
        "`uncertainty` is missing",
    ),
}


@pytest.mark.parametrize(("change", "words"), BAD_CUBES.values(), ids=BAD_CUBES.keys())
def test_bad_cube_is_refused_with_the_cure(small, response, edges, change, words):
    with pytest.raises((ValueError, TypeError), match=words):
        invert(change(small), response, edges)


@pytest.mark.parametrize("name", ["uncertainty", "mask", "channels"])
def test_cube_that_carries_its_own_refuses_another(small, response, edges, name):
    value = {"uncertainty": bare(small)[1], "mask": small.mask, "channels": response.channels}[name]
    with pytest.raises(TypeError, match=f"`{name}` was given, but the cube"):
        invert(small, response, edges, **{name: value})


def test_method_l2_is_one_pass_with_an_even_weight(small, response, edges):
    """Its answers are those of a weight that is the same everywhere, to rounding; and it meets its target."""
    l2 = invert(small, response, edges, method="l2", positivity="ignore")
    dlogt = np.diff(np.log10(edges.to_value(u.K)))
    even = invert(small, response, edges, weighting=dlogt**2, positivity="ignore")
    difference = np.abs(l2["dem"].data - even["dem"].data).max(axis=0) / np.abs(even["dem"].data).max(axis=0)
    assert difference.max() < 1e-9
    np.testing.assert_allclose(l2["chi_squared"].data, 1, rtol=1e-9)
    assert l2.meta["method"] == "l2"
    assert np.any(np.abs(l2["dem"].data - invert(small, response, edges)["dem"].data) > 0.1 * l2["dem"].data.max())


@pytest.mark.parametrize("backend", ["cpu", "numpy"])
def test_dem_as_weight_is_that_of_the_pixel(small, response, edges, backend):
    """A weight per pixel gives what each pixel gives alone, with its own as one for all."""
    weight = np.maximum(invert(small, response, edges)["dem"].data, 1e18)
    weight[:, 1, 2] = np.nan
    data, sigma = bare(small)
    data[:2, 1, 2] = np.nan * data.unit  # a bad pixel needs no weight
    with pytest.warns(SunpyUserWarning, match="1 of 42 pixels"):
        whole = invert(data, response, edges, uncertainty=sigma, weighting=weight, backend=backend)
    assert whole.meta["weighting"] == "given"
    for y, x in ((0, 0), (3, 5)):
        one = invert(
            data[:, y, x], response, edges, uncertainty=sigma[:, y, x], weighting=weight[:, y, x], backend=backend
        )
        difference = np.abs(one["dem"].data[..., 0] - whole["dem"].data[:, y, x]).max()
        assert difference < 1e-9 * one["dem"].data.max()
    assert np.isnan(whole["dem"].data[:, 1, 2]).all()


def test_emission_measures_are_sums_with_the_error_of_the_sum(small, response, edges):
    ranges = [[10**5.6, 10**7.4], [1e6, 2e6], [1.05e6, 1.06e6]] * u.K
    result = invert(small, response, edges, emission_measure_ranges=ranges)
    measure = result["emission_measure"]
    assert measure.unit == u.cm**-5
    assert measure.data.shape == (3, 6, 7)
    log_edges = np.log10(edges.to_value(u.K))
    per_dex = result["dem"].data * (10 ** (0.5 * (log_edges[1:] + log_edges[:-1])) * np.log(10))[:, None, None]
    np.testing.assert_allclose(measure.data[0], np.sum(per_dex * np.diff(log_edges)[:, None, None], axis=0), rtol=1e-9)
    # Inside one bin: its share in log T.
    np.testing.assert_allclose(measure.data[2], per_dex[8] * np.log10(1.06 / 1.05), rtol=1e-9)
    matrices = invert(small, response, edges, outputs=("dem", "covariance"))["covariance"]
    assert matrices.unit == (u.cm**-5 / u.K) ** 2
    width = (10 ** (0.5 * (log_edges[1:] + log_edges[:-1])) * np.log(10)) * np.diff(log_edges)
    variance = np.einsum("j,k,jk...->...", width, width, matrices.data)
    np.testing.assert_allclose(measure.uncertainty.array[0], np.sqrt(variance), rtol=1e-8)
    # Neighboring bins are correlated: adding their errors in quadrature would be wrong.
    quadrature = np.sqrt(np.einsum("j,jj...->...", width**2, matrices.data))
    assert np.all(np.abs(quadrature / measure.uncertainty.array[0] - 1) > 0.01)


def test_matrices_have_two_temperature_axes_and_are_for_chosen_pixels(small, cube, response, edges):
    result = invert(small, response, edges, outputs=("dem", "dem_uncertainty", "covariance", "resolution_matrix"))
    assert result[..., 2:4, 3:5]["covariance"].data.shape == (36, 36, 2, 2)
    diagonal = np.einsum("jj...->j...", result["covariance"].data)
    np.testing.assert_allclose(np.sqrt(diagonal), result["dem"].uncertainty.array, rtol=1e-9)
    for axis in (0, 1):
        centers = result["resolution_matrix"].axis_world_coords(axis)[0]
        np.testing.assert_allclose(centers, np.sqrt(edges[1:] * edges[:-1]), rtol=1e-12)
    big = np.tile(cube.data, (1, 3, 3)) * cube.unit
    with pytest.raises(ValueError, match=r"`outputs` has matrices of 36 x 36 for 147456 pixels.*slice `data`"):
        invert(big, response, edges, uncertainty=big, outputs=("covariance",))


def test_only_what_is_asked_for_comes_and_is_the_same(small, response, edges, result):
    part = invert(small, response, edges, outputs=("chi_squared", "dem"))
    assert list(part) == ["dem", "chi_squared", "omitted_channels", "status"]
    assert part["dem"].uncertainty is None
    np.testing.assert_array_equal(part["dem"].data, result["dem"].data)
    single = invert(small, response, edges, dtype=np.float32)
    np.testing.assert_array_equal(single["intensity"].data, small.data)
    for key in result.keys() - {"intensity"}:
        assert single[key].data.dtype == {"status": "int32", "omitted_channels": "uint8"}.get(key, "float32")
        np.testing.assert_array_equal(single[key].data, result[key].data.astype(single[key].data.dtype))


@pytest.mark.parametrize("options", [{"weighting": "em_loci"}, {"n_refinements": 1}, {"parameter_choice": "gcv"}])
def test_other_rules_fit_too(small, response, edges, options):
    result = invert(small, response, edges, **options)
    assert np.isfinite(result["dem"].data).all()
    unchanged = invert(small, response, edges)
    assert np.any(np.abs(result["dem"].data - unchanged["dem"].data) > 1e-3 * unchanged["dem"].data.max())
    if "parameter_choice" not in options:
        relaxed = (result["status"].data & int(Status.RELAXED)) != 0
        np.testing.assert_allclose(result["chi_squared"].data[~relaxed], 1, rtol=1e-9)


@pytest.mark.parametrize("backend", ["cpu", "numpy"])
def test_result_in_the_memory_of_an_earlier_one(small, response, edges, backend):
    brighter = small * 2
    brighter.data[:2, 1, 2], brighter.data[3, 4, 5] = np.nan, np.nan
    with pytest.warns(SunpyUserWarning, match="1 of 42 pixels"):
        truth = invert(brighter, response, edges, backend=backend)
    first = invert(small, response, edges, backend=backend)
    with pytest.warns(SunpyUserWarning, match="1 of 42 pixels"):
        second = invert(brighter, response, edges, backend=backend, out=first)
    assert list(second) == list(truth)
    for key, cube in truth.items():
        np.testing.assert_array_equal(second[key].data, cube.data)
        np.testing.assert_array_equal(second[key].mask, cube.mask)
        assert np.shares_memory(second[key].data, first[key].data) == (key not in {"intensity", "omitted_channels"})
    assert np.shares_memory(second["dem"].uncertainty.array, first["dem"].uncertainty.array)


def test_memory_of_another_kind_is_told(small, response, edges):
    import dask.array as da

    result = invert(small, response, edges)
    for kind, words, kwargs in (
        (
            TypeError,
            "`out` must be the collection that .* returns, but is of type ndarray",
            {"out": result["dem"].data},
        ),
        (ValueError, r"'dem' has the shape \(36, 3, 3\), not \(36, 6, 7\)", {"out": result[..., :3, :3]}),
        (ValueError, "'dem' is float64, not float32: pass a whole result", {"out": result, "dtype": "float32"}),
        (ValueError, "'covariance' is missing", {"out": result, "outputs": ("dem", "covariance")}),
    ):
        with pytest.raises(kind, match=words) as caught:
            invert(small, response, edges, **kwargs)
        assert caught.value.argument == "out"
    with pytest.raises(ValueError, match="'dem' is not contiguous"):
        invert(small[:, :, :3], response, edges, out=result[..., :, :3])
    result["status"].data.flags.writeable = False
    with pytest.raises(ValueError, match="'status' is read-only"):
        invert(small, response, edges, out=result)
    lazy = NDCube(da.from_array(small.data), small.wcs, uncertainty=small.uncertainty, unit=small.unit, meta=small.meta)
    with pytest.raises(ValueError, match="`out` is only for plain arrays, but those of `data` are Dask arrays"):
        invert(lazy, response, edges, out=result)
