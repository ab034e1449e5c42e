"""Stores of SDOMLv2, made here in their layout, as no original was at hand: values, errors, coordinates, ..."""

import re
import shutil
import warnings

import numpy as np
import pytest
import zarr
from scipy.ndimage import map_coordinates
from sdoml_store import SIDE, scaled, whole, write_sdoml

import astropy.units as u
from astropy.io import fits
from astropy.time import Time

from sunpy_demreg import (
    DataWarning,
    TemperatureResponse,
    batch_invert,
    batch_status,
    invert,
    prepare,
    prepare_series,
    read,
    read_sdoml,
    sample,
    write,
)
from sunpy_demreg._channels.sdoml_errors import MODEL, excess, squared_weights
from sunpy_demreg._channels.uncertainty import ErrorModel, read_error_table
from sunpy_demreg._cli.main import main
from sunpy_demreg.response._aia import degradation_factors

pytestmark = pytest.mark.filterwarnings("ignore:.*pixels (were not solved|do not fit)")
START, STOP = "2014-01-01T00:00", "2014-01-01T01:00"
BINS = 10 ** np.arange(5.6, 7.41, 0.2) * u.K
CHANNELS = (94, 131, 171, 193, 211, 335)
CORNER = slice(184, 248), slice(26, 90)  # where the bundled maps are in images of 512 x 512


def at(smap, minutes):
    return {"t_obs": (Time(smap.meta["t_obs"][:-1]) + minutes * u.min).isot + "Z"}


@pytest.fixture(scope="module")
def degradation():
    dates = [smap.date for smap in sample.aia_maps()]
    return dict(zip(CHANNELS, degradation_factors(CHANNELS, dates), strict=True))


@pytest.fixture(scope="module")
def store(tmp_path_factory, degradation):
    """Two times six minutes apart, the later one first; and one that is flagged in a channel."""
    images = {}
    for smap in sample.aia_maps():
        channel = round(smap.wavelength.value)
        flagged = {"quality": 1 << 17} if channel == 171 else {}
        images[2014, channel] = [
            whole(smap, 1.25, **at(smap, 6)),
            whole(smap),
            whole(smap, **at(smap, 12), **flagged),
        ]
    return write_sdoml(tmp_path_factory.mktemp("sdoml") / "sdomlv2.zarr", images, degradation)


@pytest.fixture(scope="module")
def series(store):
    with pytest.warns(DataWarning, match=r"6 images are in no set and left over: .*171A\[2\] \(.*\)"):
        return read_sdoml(store, START, STOP)


@pytest.fixture(scope="module")
def prepared():
    """The same images as `prepare` averages them."""
    return prepare(sample.aia_maps(), n_sample=16, bin=2, correct_degradation=True)


def test_intensities_and_errors_are_those_of_prepare(series, prepared):
    assert series.shape == (6, 2, 512, 512)
    assert tuple(series.meta["channels"]) == tuple(prepared.meta["channels"])
    assert series.unit == prepared.unit
    data, sigma = (np.asarray(a[:, :, *CORNER]) for a in (series.data, series.uncertainty.array))
    # Well inside of the corner, and where noise does not matter; the store is larger by 4e-5, a fiftieth of a pixel.
    inside = (slice(None), slice(2, -2), slice(2, -2))
    is_bright = prepared.data[inside] > 30 * prepared.uncertainty.array[inside]
    assert is_bright.mean() > 0.3
    for k, factor in enumerate((1, 1.25)):
        ratio = data[:, k][inside] / (factor * prepared.data[inside])
        np.testing.assert_allclose(ratio[is_bright], 1, atol=0.015)
    ratio = sigma[:, 0][inside] / prepared.uncertainty.array[inside]
    np.testing.assert_allclose(ratio[is_bright], 1, atol=0.02)
    assert ratio[np.isfinite(ratio)].min() > 0.97  # larger where values below zero are missing
    np.testing.assert_allclose(series.meta["common_error"][:, 0].value, prepared.meta["common_error"].value, rtol=1e-6)
    assert series.meta["exposure_time"].shape == series.meta["date"].shape == (6, 2)
    np.testing.assert_allclose((series.meta["date"][:, 1] - series.meta["date"][:, 0]).to_value(u.s), 360, atol=1e-3)


def test_coordinates(series, prepared):
    """Those of the maps, though the reference pixel of the store is a quarter of a pixel off."""
    plane = series[0, 0]
    here = plane.wcs.pixel_to_world(26 + 10.0, 184 + 20.0)
    there = prepared[0].wcs.pixel_to_world(10.0, 20.0)
    assert here.Tx.to_value("arcsec") == pytest.approx(there.Tx.to_value("arcsec"), abs=0.06)
    assert here.Ty.to_value("arcsec") == pytest.approx(there.Ty.to_value("arcsec"), abs=0.06)
    times = series.axis_world_coords("time")[0]
    assert [time.isot[:16] for time in times] == ["2014-01-01T00:00", "2014-01-01T00:06"]


def test_coordinates_of_a_scaled_image(tmp_path):
    """In July the Sun is small: a spot is where it was in the synoptic image, in arcsec."""
    x, y = 300.3, 801.6  # pixels of the synoptic image, from zero
    rows, columns = np.mgrid[:SIDE, :SIDE]
    spot = 100 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 60) + 1e-9
    images = {}
    for smap in sample.aia_maps()[:2]:
        _, header = whole(smap, rsun_obs=944.0)
        images[2014, round(smap.wavelength.value)] = [(spot, header)]
    write_sdoml(tmp_path / "a.zarr", images, dict.fromkeys(CHANNELS, 1.0))
    with pytest.warns(DataWarning, match="lacks AIA 171, AIA 193, AIA 211, AIA 335 there"):
        series = read_sdoml(tmp_path / "a.zarr", START, STOP)
    image = np.nan_to_num(np.asarray(series.data[0, 0]))
    rows, columns = np.mgrid[:512, :512]
    image[image < 1e-3 * image.max()] = 0
    place = [np.sum(axis * image) / image.sum() for axis in (columns, rows)]
    found = series[0, 0].wcs.pixel_to_world(*place)
    assert found.Tx.to_value("arcsec") == pytest.approx(2.4 * (x + 1 - 512.5), abs=0.05)
    assert found.Ty.to_value("arcsec") == pytest.approx(2.4 * (y + 1 - 512.5), abs=0.05)


# ---- the error model


@pytest.mark.parametrize("scale", [1.0, 976 / 944, 976 / 960])
@pytest.mark.parametrize("side", [512, 256])
def test_squared_weights_are_those_of_the_scaling(scale, side):
    column = 437
    answers = []  # of a row in which one pixel is one
    for k in range(column, column + 9):
        line = np.zeros((SIDE, SIDE))
        line[:, k] = 1
        places = np.meshgrid(*[SIDE / 2 + (np.arange(SIDE) - SIDE / 2) / scale] * 2, indexing="ij")
        moved = map_coordinates(line, [p[:1] for p in places], order=1, mode="nearest")[0]
        answers.append(moved.reshape(side, -1).mean(axis=1))
    squares = np.sum(np.square(answers), axis=0)
    is_whole = np.isclose(np.sum(answers, axis=0), 1)  # all of what the pixel is made of was asked for
    assert is_whole.any()
    np.testing.assert_allclose(squared_weights(side, scale)[is_whole], squares[is_whole], rtol=1e-9)


@pytest.mark.parametrize("radius", [975.96, 944.0])
@pytest.mark.parametrize("dn", [0.0, 1.0, 20.0])
def test_errors_hold_the_scatter_of_noise(radius, dn, tmp_path):
    """Synthetic images of one brightness with the noise of synoptic ones, through the whole of it."""
    rng = np.random.default_rng(1)
    model = ErrorModel(read_error_table(None), False, False)
    images, exposure, degradation = {}, 2.9, dict.fromkeys(CHANNELS, 0.8)
    for smap in sample.aia_maps()[:2]:
        channel = round(smap.wavelength.value)
        total, (dark, _) = model.of_counts(np.array([dn]), channel, 16)[0], model.common(channel)
        noise = rng.normal(dn, np.sqrt(total**2 - dark**2), (SIDE, SIDE))
        images[2014, channel] = [(noise, whole(smap, rsun_obs=radius, exptime=exposure)[1])]
    write_sdoml(tmp_path / "a.zarr", images, degradation)
    with pytest.warns(DataWarning, match="lacks"):
        series = read_sdoml(tmp_path / "a.zarr", START, STOP)
    dark = series.meta["common_error"][:, 0].value
    for i in range(2):
        data, sigma = (np.asarray(a[i, 0]) for a in (series.data, series.uncertainty.array))
        off = data - dn / (exposure * 0.8)
        ratio = np.sqrt(np.nanmean(off**2) / np.nanmean(sigma**2 - dark[i] ** 2))
        if dn == 20:
            assert ratio == pytest.approx(1, abs=0.02)
        else:
            assert 0.6 < ratio < 1.05  # the excess is a limit


def test_excess_of_averages_over_positive_values():
    rng = np.random.default_rng(2)
    for mean in (0.0, 0.5, 1.5, 4.0):
        values = rng.normal(mean, 1, 400_000)
        above = values[values > 0].mean() - mean
        assert excess(np.array([mean + above]), np.array([1.0]))[0] == pytest.approx(above, abs=5e-3)
    assert excess(np.array([0.1, 50.0]), np.ones(2)) == pytest.approx([0.798, 0], abs=1e-3)


def test_short_exposures_zeros_and_saturation(tmp_path):
    images = {}
    for smap in sample.aia_maps():
        image = np.full((SIDE, SIDE), 60.0)
        image[:100], image[200:300] = -1.0, 15500
        images[2014, round(smap.wavelength.value)] = [(image, whole(smap, exptime=0.005)[1])]
    write_sdoml(tmp_path / "a.zarr", images, dict.fromkeys(CHANNELS, 0.5))
    series = read_sdoml(tmp_path / "a.zarr", START, STOP, relative_floor={94: 0.3})
    data, sigma, mask = (np.asarray(a[:, 0]) for a in (series.data, series.uncertainty.array, series.mask))
    np.testing.assert_allclose(data[:, 200:], 60 / 0.005 / 0.5, rtol=1e-5)  # and not / 0.01
    assert mask[:, :48].all()
    assert np.isnan(sigma[:, :48]).all()
    assert mask[:, 102:148].all()
    assert np.isinf(sigma[:, 102:148]).all()
    assert not mask[:, 152:].any()
    np.testing.assert_allclose(sigma[0, 200:], 0.3 * data[0, 200:], rtol=1e-6)
    of_counts = ErrorModel(read_error_table(None), False, False).of_counts(np.array([60.0]), 131, 64)[0]
    np.testing.assert_allclose(sigma[1, 300, 300], of_counts / 0.005 / 0.5, rtol=0.05)


# ---- degradation, sets, and what follows


def test_degradation_is_known_as_divided_out(series):
    corner = series[:, 0, 200:206, 40:46]
    response = TemperatureResponse.from_aia(series)
    assert response.meta["obstime"] is None
    for wrong in ({"degradation": True}, {"obstime": "2014-01-01"}):
        with pytest.raises(ValueError, match="already corrected for degradation"):
            TemperatureResponse.from_aia(series, **wrong)
    dated = TemperatureResponse.from_aia(CHANNELS * u.AA, "2014-01-01")
    with pytest.raises(ValueError, match="`data` are corrected for degradation"):
        invert(corner, dated, BINS)
    result = invert(corner, response, BINS)
    assert np.isfinite(result["dem"].data.compute()).all()


def test_inversion_is_that_of_the_maps(series, prepared, tmp_path):
    small = series[:, :, 200:212, 40:52]
    response = TemperatureResponse.from_aia(small)
    result = invert(small, response, BINS)
    write(result, tmp_path / "dem.zarr")
    again = read(tmp_path / "dem.zarr")
    assert again["dem"].data.shape == (BINS.size - 1, 2, 12, 12)
    there = invert(prepared[:, 16:28, 14:26], TemperatureResponse.from_aia(prepared), BINS)
    one, other = again["dem"].data[:, 0].compute(), there["dem"].data
    assert np.nanmedian(np.abs(one - other)) < 0.02 * np.nanmedian(np.abs(other))


def test_flagged_images_are_left_over_or_taken(store, series):
    assert len(series.meta["left_over"]) == 6
    assert {"2014/171A[2]", "2014/94A[2]"} <= set(series.meta["left_over"])
    assert read_sdoml(store, START, STOP, accept_flagged=True).shape[1] == 3
    assert read_sdoml(store, "2014-01-01T00:06", "2014-01-01T00:10").shape[1] == 1


def small_store(path, images, side=512):
    return write_sdoml(path, images, dict.fromkeys(CHANNELS, 1.0), side)


def test_cures_are_told_where_they_help(tmp_path):
    images = {}
    for smap in sample.aia_maps():
        channel = round(smap.wavelength.value)
        later = {94: {"exptime": 0.0}, 131: {"quality": 1 << 17}}.get(channel)
        images[2014, channel] = [whole(smap)] + ([whole(smap, **at(smap, 6), **later)] if later else [])
    store = small_store(tmp_path / "a.zarr", images)
    with pytest.warns(DataWarning, match=r"EXPTIME is 0.* with `accept_flagged`") as told:
        read_sdoml(store, START, STOP)
    assert not any("tolerance" in str(each.message) for each in told)
    with pytest.warns(
        DataWarning, match=r"94A\[1\] \(EXPTIME is 0.*131A\[1\]; a set of these lacks 94 Å, .*: give such"
    ) as told:
        read_sdoml(store, START, STOP, accept_flagged=True)
    assert not any("accept_flagged" in str(each.message) for each in told)


def test_missing_years_and_images_without_a_date_are_told(tmp_path):
    images = {}
    for smap in sample.aia_maps():
        channel = round(smap.wavelength.value)
        later = {"t_obs": "2016-01-01T00:00:00Z"}
        images[2014, channel] = [whole(smap), whole(smap, t_obs="unknown")]
        if channel != 335:
            images[2016, channel] = [whole(smap, **later)]
    store = small_store(tmp_path / "a.zarr", images)
    with pytest.warns(DataWarning) as told:
        series = read_sdoml(store, START, "2017-01-01")
    texts = " ".join(str(each.message) for each in told)
    assert "`store` has no arrays of 2015, 2016/335A: the series lacks these times" in texts
    assert "2014/94A[1]" in series.meta["left_over"]
    with pytest.warns(DataWarning, match=r"6 images .* 2014/94A\[1\] \(T_OBS is unknown\)") as told:
        read_sdoml(store, START, "2015-01-01")  # 2015 itself is not in the range
    assert len(told) == 1


@pytest.mark.parametrize(("change", "is_told"), [(1.0015, False), (0.9975, True)])
def test_one_set_of_coordinates_serves_only_short_ranges(tmp_path, change, is_told):
    images = {}
    for smap in sample.aia_maps():
        later = whole(smap, **at(smap, 6), rsun_obs=smap.meta["rsun_obs"] * change)
        images[2014, round(smap.wavelength.value)] = [whole(smap), later]
    store = small_store(tmp_path / "a.zarr", images)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        read_sdoml(store, START, STOP)
    texts = [str(each.message) for each in told if issubclass(each.category, DataWarning)]
    words = "the radius of the Sun changes by 0.25% from that of the first time, .* up to 2.4 arcsec. Take shorter"
    assert [bool(re.search(words, text)) for text in texts] == [True] * is_told


def test_only_what_is_needed_is_read(store, series, monkeypatch):
    """Nothing but one chunk of each channel for a corner of one time."""
    loaded = []
    get = zarr.storage.LocalStore.get

    async def counted(self, key, *args, **kwargs):
        loaded.append(key)
        return await get(self, key, *args, **kwargs)

    monkeypatch.setattr(zarr.storage.LocalStore, "get", counted)
    series.data[:, 0, :5, :5].compute()
    assert sorted(loaded) == sorted(f"2014/{channel}A/0.0.0" for channel in CHANNELS)


def test_store_at_a_url(store, series):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(str(store), "/sdoml/a.zarr", recursive=True)
    try:
        there = read_sdoml("memory://sdoml/a.zarr", "2014-01-01T00:06", "2014-01-01T00:10")
        np.testing.assert_array_equal(there.data[:, 0].compute(), series.data[:, 1].compute())
    finally:
        memory.rm("/sdoml", recursive=True)


def test_bad_calls(store, tmp_path):
    other = zarr.create_group(tmp_path / "other.zarr", zarr_format=2)
    other.create_group("2014").create_array("94A", data=np.zeros((2, 512, 512), "float32"))
    cases = (
        ((tmp_path / "none.zarr", START, STOP), {}, FileNotFoundError, r"`store`: there is no store .*none\.zarr"),
        (
            ("memory://none.zarr", START, STOP),
            {},
            FileNotFoundError,
            r"`store`: there is no Zarr group at memory://none",
        ),
        ((tmp_path, START, STOP), {}, ValueError, r"`store`: there is no Zarr group at"),
        ((store, STOP, START), {}, ValueError, "`stop` must be later than `start`"),
        ((store, "2011-01-01", "2011-01-02"), {}, ValueError, r"`store` has no arrays 2011/94A, and so on"),
        ((store, "2014-03-01", "2014-03-02"), {}, ValueError, r"`store` holds no image of each channel .*found: none"),
        ((store, "2014-01-01T00:12", "2014-01-01T00:15"), {}, ValueError, r"171A\[2\]: "),
        ((tmp_path / "other.zarr", START, STOP), {}, ValueError, "its array 2014/94A has no 'T_OBS' of each image"),
        ((store, START, STOP), {"tolerance": 3}, TypeError, "`tolerance`"),
    )
    for arguments, options, kind, words in cases:
        with pytest.raises(kind, match=words):
            read_sdoml(*arguments, **options)


def test_scaled_is_as_wide_as_it_should_be():
    """The maker's program as it is written here: the radius of the Sun becomes 976 / 4.8 pixels."""
    rows, columns = np.mgrid[:SIDE, :SIDE] - 512.0
    disk = (np.hypot(rows, columns) < 944 / 2.4).astype(float)
    assert np.sqrt(scaled(disk, 944.0, 1.0, 512).sum() / np.pi) == pytest.approx(976 / 4.8, rel=2e-3)


# ---- series and batches of a store


@pytest.fixture
def small(tmp_path):
    """Four times six minutes apart, out of order."""
    return small_store(tmp_path / "sdomlv2.zarr", some_images(2, 0, 1, 3), 64)


def some_images(*steps, **changes):
    """Images of these times, brighter each time; `changes` are of their headers."""
    return {
        (2014, round(smap.wavelength.value)): [whole(smap, 1 + 0.1 * k, **at(smap, 6 * k), **changes) for k in steps]
        for smap in sample.aia_maps()
    }


def test_series_of_a_store_is_what_is_read_of_it(small):
    expected = read_sdoml(small, START, STOP, relative_floor=0.1)
    for given in (small, str(small), [small]):
        series = prepare_series(given, start=START, stop=STOP, relative_floor=0.1)
        np.testing.assert_array_equal(series.data, expected.data)
        np.testing.assert_array_equal(series.uncertainty.array, expected.uncertainty.array)
    assert expected.shape[1] == 4
    for function in (
        read_sdoml,
        lambda store, start, stop, **options: prepare_series(store, start=start, stop=stop, **options),
    ):
        thin = function(small, START, STOP, cadence=12 * u.min)
        np.testing.assert_array_equal(thin.meta["date"].isot, expected.meta["date"][:, ::2].isot)
        assert thin.meta["left_over"] == ()


def test_store_in_a_batch(small, tmp_path):
    """Two parts, one after the other, and then all: each step once, as of the series; with its settings."""
    expected = prepare_series(small, start=START, stop=STOP)
    expected = invert(expected, TemperatureResponse.from_aia(expected), BINS)
    path, options = tmp_path / "a.zarr", {"start": START, "stop": STOP}
    for k in (1, 2):
        report = batch_invert(small, path, BINS, part=(k, 2), **options)
        assert [step.outcome for step in report.steps] == ["done"] * 2
    assert batch_invert(small, path, BINS, **options).counts == {"done": 0, "kept": 4, "failed": 0}
    result = read(path)
    for name in ("dem", "chi_squared", "status"):
        np.testing.assert_array_equal(result[name].data, expected[name].data)
    np.testing.assert_array_equal(result.meta["observation"]["date"].isot, expected.meta["observation"]["date"].isot)
    settings = zarr.open_group(path, mode="r").attrs["settings"]
    assert settings["error model"].strip('"') == MODEL
    assert settings["degradation_corrected"] == "true"
    with pytest.raises(ValueError, match="saturation is 15000 there and 14000 now"):
        batch_invert(small, path, BINS, prepare_options={"saturation": 14000}, **options)
    with pytest.raises(ValueError, match=r"error model is SDOMLv2, 1: .* there and of counts now"):
        batch_invert(sample.aia_files(), path, BINS, prepare_options={"n_sample": 16})


def test_headers_of_a_store_are_read_once(small, tmp_path, monkeypatch):
    """By the run that sees them first: neither by the steps, nor by later runs, whatever part or times they do."""
    loaded = []
    get = zarr.storage.LocalStore.get

    async def counted(self, key, *args, **kwargs):
        loaded.append(key)
        return await get(self, key, *args, **kwargs)

    monkeypatch.setattr(zarr.storage.LocalStore, "get", counted)
    batch_invert(small, tmp_path / "a.zarr", BINS, start=START, stop="2014-01-01T00:08")
    headers = [key for key in loaded if key.endswith("A/.zattrs")]
    assert sorted(headers) == sorted(f"2014/{channel}A/.zattrs" for channel in CHANNELS)
    loaded.clear()
    report = batch_invert(small, tmp_path / "a.zarr", BINS, start=START, stop=STOP)
    assert report.counts == {"done": 2, "kept": 2, "failed": 0}
    assert not [key for key in loaded if key.endswith("A/.zattrs")]


def test_images_that_come_late_and_those_that_are_bad(tmp_path):
    small = small_store(tmp_path / "sdomlv2.zarr", some_images(0, 2), 64)
    path, options = tmp_path / "a.zarr", {"start": START, "stop": STOP}
    assert batch_invert(small, path, BINS, **options).counts["done"] == 2
    before = read(path)["dem"].data.compute()
    shutil.rmtree(small)
    images = some_images(0, 2, 1)
    for channel in (94, 131):
        images[2014, channel][2][1].update({"exptime": 0.0} if channel == 94 else {"quality": 1 << 17})
    images[2014, 171].append(whole(sample.aia_maps()[2], t_obs="unknown"))
    small_store(small, images, 64)
    report = batch_invert(small, path, BINS, **options)
    assert [step.outcome for step in report.steps] == ["kept", "failed", "kept"]
    assert "2014/94A[2]: EXPTIME is 0.0" in report.steps[1].reason
    assert report.left_over == [("2014/171A[3]", "T_OBS is unknown")]
    shutil.rmtree(small)
    images[2014, 94][2][1]["exptime"] = 2.9
    small_store(small, images, 64)
    report = batch_invert(small, path, BINS, **options)
    assert [step.outcome for step in report.steps] == ["kept", "failed", "kept"]
    assert re.search(r"2014/131A\[2\]: is flagged by its header", report.steps[1].reason)
    shutil.rmtree(small)
    images[2014, 131][2][1]["quality"] = 0
    small_store(small, images, 64)
    assert [step.outcome for step in batch_invert(small, path, BINS, **options).steps] == ["kept", "done", "kept"]
    after = read(path)["dem"].data.compute()
    np.testing.assert_array_equal(after[:, ::2], before)
    assert batch_status(path).is_complete


def test_step_of_a_store_without_a_channel(tmp_path):
    images = some_images(0, 1)
    del images[2014, 335][1]
    small = small_store(tmp_path / "sdomlv2.zarr", images, 64)
    report = batch_invert(small, tmp_path / "a.zarr", BINS, start=START, stop=STOP)
    assert [step.reason for step in report.steps] == [
        None,
        "no image of 335 Å within `tolerance`, 12 s: the nearest that another step has is 368.27 s away",
    ]
    result = read(tmp_path / "a.zarr")
    series = prepare_series(small, start=START, stop=STOP, max_missing_channels=1)
    expected = invert(series, TemperatureResponse.from_aia(series), BINS)
    np.testing.assert_array_equal(result["dem"].data, expected["dem"].data)
    assert np.isfinite(expected["dem"].data[:, 1].compute()).any()
    assert np.isnan(series.data[5, 1].compute()).all()


def test_steps_of_a_store_on_the_workers_and_on_the_command_line(small, tmp_path, capsys):
    pytest.importorskip("distributed")
    batch_invert(small, tmp_path / "a.zarr", BINS, start=START, stop=STOP, workers=1, dtype="float32")
    command = ["batch", str(small), "--output", str(tmp_path / "b.zarr"), "--log-t", "5.6", "7.4", "0.2"]
    assert main([*command, "--start", START, "--stop", STOP, "--part", "1/2"]) == 0
    assert main(["batch", "--output", str(tmp_path / "b.zarr"), "--status"]) == 0
    assert "2 of 4 time steps" in capsys.readouterr().out
    assert main([*command, "--start", START, "--stop", STOP]) == 0
    one, other = (read(tmp_path / f"{name}.zarr")["dem"].data.compute() for name in "ab")
    np.testing.assert_array_equal(one, other)
    assert (
        main(
            [*command[:3], str(tmp_path / "c.zarr"), *command[4:], "--start", START, "--stop", STOP, "--cadence", "720"]
        )
        == 0
    )
    assert read(tmp_path / "c.zarr")["dem"].data.shape[1] == 2
    assert main(command) == 1
    assert (
        "names the store sdomlv2.zarr, which must be of SDOMLv2: that holds years, so say which times"
        in capsys.readouterr().err
    )


def test_batch_of_a_store_at_a_url(small, tmp_path):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(str(small), "/sdoml/b.zarr", recursive=True)
    try:
        options = {"start": "2014-01-01T00:06", "stop": "2014-01-01T00:13"}
        for name, store in (("a", small), ("b", "memory://sdoml/b.zarr")):
            batch_invert(store, tmp_path / f"{name}.zarr", BINS, **options)
        one, other = (read(tmp_path / f"{name}.zarr")["dem"].data.compute() for name in "ab")
        np.testing.assert_array_equal(one, other)
        assert one.shape[1] == 2
    finally:
        memory.rm("/sdoml", recursive=True)


def test_radii_of_months_are_told(tmp_path):
    images = some_images(0, 1)
    for channel in CHANNELS:
        images[2014, channel][1][1]["rsun_obs"] *= 0.99
    small = small_store(tmp_path / "sdomlv2.zarr", images, 64)
    with pytest.warns(DataWarning, match="`maps`: the radius of the Sun changes by 1.00% from that of the first time"):
        report = batch_invert(small, tmp_path / "a.zarr", BINS, start=START, stop=STOP)
    assert report.counts["done"] == 2
    headers = zarr.open_group(tmp_path / "a.zarr", mode="r")["fits_header"][:]
    scales = [fits.Header.fromstring(header.tobytes().decode("ascii"))["CDELT1"] for header in headers]
    assert scales[1] / scales[0] == pytest.approx(0.99, rel=1e-9)  # each has its own


def test_radii_are_those_of_good_steps_against_the_store(tmp_path):
    images = some_images(0, 1, 20)
    for channel in CHANNELS:
        images[2014, channel][2][1]["rsun_obs"] *= 1.03
    images[2014, 94][1][1]["rsun_obs"] = 1e-9  # so that the store can be made
    small = small_store(tmp_path / "sdomlv2.zarr", images, 64)
    array = zarr.open_group(small)["2014/94A"]
    array.attrs["RSUN_OBS"] = [array.attrs["RSUN_OBS"][0], 0.0, array.attrs["RSUN_OBS"][2]]
    report = batch_invert(small, tmp_path / "a.zarr", BINS, start=START, stop=STOP)  # and warns of nothing
    assert [step.reason for step in report.steps] == [None, "2014/94A[1]: RSUN_OBS is 0.0"]
    with pytest.warns(DataWarning, match="the radius of the Sun changes by 3.00% from that of the first time"):
        batch_invert(small, tmp_path / "a.zarr", BINS, start="2014-01-01T02:00", stop="2014-01-01T02:01")


def test_numbers_that_are_not_finite_in_headers(tmp_path):
    images = some_images(0, 1)
    images[2014, 94][0][1]["percentd"] = np.nan
    small = small_store(tmp_path / "sdomlv2.zarr", images, 64)
    array = zarr.open_group(small)["2014/131A"]
    array.attrs["EXPTIME"] = [array.attrs["EXPTIME"][0], np.nan]
    array = zarr.open_group(small)["2014/171A"]
    array.attrs["CRPIX1"] = [array.attrs["CRPIX1"][0], np.inf]
    report = batch_invert(small, tmp_path / "a.zarr", BINS, start=START, stop=STOP)
    reason = "2014/131A[1]: EXPTIME is no finite number; 2014/171A[1]: CRPIX1 is no finite number"
    assert [step.reason for step in report.steps] == [None, reason]
    with pytest.warns(DataWarning, match="EXPTIME is no finite number"):
        series = read_sdoml(small, START, STOP)
    expected = invert(series, TemperatureResponse.from_aia(series), BINS)["dem"].data
    np.testing.assert_array_equal(read(tmp_path / "a.zarr")["dem"].data, expected)


def test_cadence_passes_over_sets_that_cannot_be_used(tmp_path):
    """As in a series; where an interval has no other, the step fails; and the next run may accept flags."""
    images = some_images(0, 1, 10, 20)
    for k in (0, 2):  # of the first interval, and alone in the second
        images[2014, 94][k][1]["quality"] = 1 << 17
    small = small_store(tmp_path / "sdomlv2.zarr", images, 64)
    of_times = {"start": START, "stop": "2014-01-01T03:00", "cadence": 1 * u.hour}
    report = batch_invert(small, tmp_path / "a.zarr", BINS, **of_times)
    assert [str(step.time)[11:16] for step in report.steps] == ["00:06", "01:00", "02:00"]
    assert [step.outcome for step in report.steps] == ["done", "failed", "done"]
    assert "2014/94A[2]: is flagged by its header, see `accept_flagged`" in report.steps[1].reason
    assert [name for name, _ in report.left_over] == ["2014/94A[0]"]
    with pytest.warns(DataWarning, match="left over"):
        series = prepare_series(small, **of_times)
    dates = series.meta["date"]
    np.testing.assert_array_equal(read(tmp_path / "a.zarr").meta["observation"]["date"].isot, dates.isot)
    accepted = {"prepare_options": {"accept_flagged": True}}
    with pytest.raises(ValueError, match="accept_flagged is False there and True now"):
        batch_invert(small, tmp_path / "a.zarr", BINS, **of_times, **accepted)
    report = batch_invert(small, tmp_path / "b.zarr", BINS, **of_times, **accepted)
    assert [str(step.time)[11:16] for step in report.steps] == ["00:00", "01:00", "02:00"]
    assert report.counts["done"] == 3


def test_options_of_the_caller_are_left_alone(small, tmp_path):
    options = {"relative_floor": 0.1}
    batch_invert(small, tmp_path / "a.zarr", BINS, start=START, stop="2014-01-01T00:03", prepare_options=options)
    assert options == {"relative_floor": 0.1}


@pytest.mark.parametrize("start", ["2013-12-31T23:50", "2014-01-01T00:00"])
def test_set_at_new_year(start, tmp_path):
    """Whose images are in the arrays of two years."""
    images = some_images(0, 1)
    for channel in (94, 131):
        header = images[2014, channel][0][1] | {"t_obs": "2013-12-31T23:59:59.90Z"}
        images[2013, channel] = [(images[2014, channel].pop(0)[0], header)]
    for channel in CHANNELS:
        images.setdefault((2013, channel), [(images[2014, channel][0][0], header | {"t_obs": "2013-06-01T00:00:00Z"})])
    small = small_store(tmp_path / "sdomlv2.zarr", images, 64)
    report = batch_invert(small, tmp_path / "a.zarr", BINS, start=start, stop=STOP, tolerance=15 * u.s)
    assert report.counts["done"] == 2
    assert report.left_over == []
    assert read_sdoml(small, start, STOP, tolerance=15 * u.s).meta["left_over"] == ()


def test_bad_calls_with_a_store(small, tmp_path):
    of_times = {"start": START, "stop": STOP}
    cases = (
        (
            (small,),
            {},
            r"`maps` names the store sdomlv2\.zarr, .* say which times, with `start` and `stop`",
        ),
        ((small,), {"start": START}, "say which times"),
        (([small, *sample.aia_files()],), of_times, r"`maps` hold .*sdomlv2\.zarr beside other things"),
        (
            (small,),
            of_times | {"bin": 2},
            "`bin` is for maps and their files, but `maps` names a store, which must be of SDOMLv2",
        ),
        ((small,), of_times | {"correct_degradation": True}, "`correct_degradation` is for maps"),
        ((small,), of_times | {"cadence": 0 * u.s}, "`cadence` must be positive"),
        ((small,), {"start": STOP, "stop": START}, "`stop` must be later than `start`"),
        ((small,), {"start": "2011-01-01", "stop": "2011-01-02"}, "`maps` has no arrays 2011/94A"),
    )
    for arguments, options, words in cases:
        with pytest.raises(ValueError, match=words):
            prepare_series(*arguments, **options)
        prepare_options = {key: options.pop(key) for key in ("bin", "correct_degradation") if key in options}
        with pytest.raises(ValueError, match=words):
            batch_invert(*arguments, tmp_path / "a.zarr", BINS, prepare_options=prepare_options, **options)
        assert not (tmp_path / "a.zarr").exists()
    with pytest.raises(FileNotFoundError, match=r"`maps`: there is no store .*none\.zarr"):
        batch_invert(tmp_path / "none.zarr", tmp_path / "a.zarr", BINS)
    other = tmp_path / "dem.zarr"
    batch_invert(small, other, BINS, start=START, stop="2014-01-01T00:03")
    with pytest.raises(ValueError, match=r"`maps` names the store dem\.zarr, which must be of SDOMLv2"):
        prepare_series(other)
    with pytest.raises(ValueError, match=r"`maps` has no arrays 2014/94A, and so on: it is no SDOMLv2 store"):
        prepare_series(other, **of_times)
