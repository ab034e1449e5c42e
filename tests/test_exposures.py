"""Several exposures of a channel, with known truth: added, or the short ones where the long one saturates."""

import warnings

import numpy as np
import pytest

import astropy.units as u
from aiapy.calibrate import estimate_error
from aiapy.calibrate.utils import get_error_table
from astropy.io import fits
from astropy.time import Time
from sunpy.map import Map

from sunpy_demreg import (
    TemperatureResponse,
    batch_invert,
    emission_measure,
    invert,
    prepare,
    prepare_series,
    read,
    region_spectrum,
    sample,
    write,
)
from sunpy_demreg._channels.time_sets import Image, exposure_sets
from sunpy_demreg._channels.uncertainty import _ERROR_TABLE
from sunpy_demreg._cli.main import main

TABLE = get_error_table(_ERROR_TABLE)
DARK = 0.18  # DN, of aiapy's model
SHAPE = 30, 40
START = Time("2014-01-01T00:00:00")
RATES = {94: 20, 131: 60, 171: 900, 193: 1200, 211: 500, 335: 30}  # DN/s
PER_PHOTON = {row["WAVELNTH"].value: row["DNPERPHT"].value for row in TABLE}
pytestmark = pytest.mark.filterwarnings("ignore:.*pixels were not solved")


def exposed(channel, rate, time, seconds=0.0, rng=None):
    """A level-1.5 map of AIA that was exposed so long: photons and reading as of the detector, up to where it ends."""
    like = next(m for m in sample.aia_maps() if m.wavelength.value == channel)
    header = {k: v for k, v in like.meta.items() if k not in ("keycomments", "bitpix", "t_obs", "datamean", "datavals")}
    date = START + (seconds + channel / 100) * u.s
    header |= {"exptime": time, "date-obs": date.isot, "cdelt1": 0.6, "cdelt2": 0.6}
    counts = np.broadcast_to(rate * time, SHAPE)
    if rng is not None:
        counts = rng.poisson(counts / PER_PHOTON[channel]) * PER_PHOTON[channel] + rng.normal(0, 1.15, SHAPE)
    return Map(np.clip(np.round(counts, 0 if rng is not None else 9), -10, 16383.0), header)


def maps_of(*times, rates=RATES, rng=None, seconds=(0.0, 6.0, 12.0)):
    return [
        exposed(channel, rate, time, at, rng)
        for channel, rate in rates.items()
        for time, at in zip(times, seconds, strict=False)
    ]


def of_aiapy(counts, channel, **options):
    """Standard deviation of counts, without the dark level."""
    sigma = estimate_error(np.atleast_1d(counts) * u.DN / u.pix, channel * u.AA, error_table=TABLE, **options).value
    return np.sqrt(sigma**2 - DARK**2)


def test_two_of_a_channel_are_refused_with_the_cure():
    with pytest.raises(ValueError, match=r"are both AIA 94 Å: leave one out, or combine them with `exposures`"):
        prepare(maps_of(2.9, 2.0))
    with pytest.raises(ValueError, match="`exposures` must be one of 'one', 'coadd', 'replace_saturated'"):
        prepare(maps_of(2.9), exposures="co-add")


@pytest.mark.parametrize("exposures", ["coadd", "replace_saturated"])
def test_one_exposure_stays_as_it_is(exposures):
    maps = maps_of(2.9, rng=np.random.default_rng(1))
    plain, cube = prepare(maps, relative_floor=0.03), prepare(maps, exposures=exposures, relative_floor=0.03)
    for array, expected in ((cube.data, plain.data), (cube.uncertainty.array, plain.uncertainty.array)):
        np.testing.assert_array_equal(array, expected)
    assert np.all(cube.meta["date"] == plain.meta["date"])
    assert cube.meta["n_exposures"].tolist() == 6 * [1]


def test_a_sum_has_the_counts_and_errors_of_both():
    cube = prepare(maps_of(2.9, 1.2), exposures="coadd")
    for i, (channel, rate) in enumerate(RATES.items()):
        np.testing.assert_allclose(cube.data[i], rate, rtol=1e-9)
        noise = np.hypot(of_aiapy(2.9 * rate, channel), of_aiapy(1.2 * rate, channel))
        expected = np.hypot(noise, 2 * DARK) / 4.1
        np.testing.assert_allclose(cube.uncertainty.array[i], expected[0], rtol=1e-9)
    assert not cube.mask.any()
    np.testing.assert_allclose(cube.meta["exposure_time"].to_value(u.s), 4.1)
    np.testing.assert_allclose(cube.meta["shortest_exposure_time"].to_value(u.s), 1.2)
    assert cube.meta["n_exposures"].tolist() == 6 * [2]
    assert cube.meta["exposures"] == "coadd"
    single = prepare(maps_of(2.9))
    assert np.all(abs(cube.meta["date"] - single.meta["date"] - 3 * u.s) < 1 * u.ms)


def test_errors_of_calibration_do_not_average_out():
    options = {"include_eve": True, "include_chianti": True}
    cube, single = (prepare(maps_of(*times), exposures="coadd", **options) for times in ((2.9, 2.9), (2.9,)))
    fraction = single.meta["common_relative_error"]
    common = cube.data[:, 0, 0] * fraction
    assert np.all(cube.uncertainty.array[:, 0, 0] > common)
    for i, (channel, rate) in enumerate(RATES.items()):
        expected = np.hypot(np.hypot(np.sqrt(2) * of_aiapy(2.9 * rate, channel), 2 * DARK) / 5.8, common[i])
        np.testing.assert_allclose(cube.uncertainty.array[i, 0, 0], expected[0], rtol=1e-9)
    np.testing.assert_allclose(cube.meta["common_error"].value, single.meta["common_error"].value)
    assert np.all(cube.meta["common_relative_error"] == fraction)
    floored = prepare(maps_of(2.9, 2.9), exposures="coadd", relative_floor=0.3)
    np.testing.assert_allclose(floored.uncertainty.array, 0.3 * floored.data)


def test_errors_are_the_scatter_of_sums_of_noisy_exposures():
    cube = prepare(maps_of(2.9, 0.5, 2.0, rng=np.random.default_rng(2)), exposures="coadd")
    n = np.prod(SHAPE)
    for i, rate in enumerate(RATES.values()):
        scatter, error = cube.data[i].std(), cube.uncertainty.array[i].mean()
        assert abs(cube.data[i].mean() - rate) < 4 * scatter / np.sqrt(n)
        # Without the dark level, which is the same in all pixels, and the compression, which these maps did not suffer.
        assert 0.97 < np.sqrt(error**2 - cube.meta["common_error"][i].value ** 2) / scatter < 1.25


def bright():
    """Rates of a flare: a spot that the long exposures cannot take, and in its middle, not even the short ones."""
    y, x = np.indices(SHAPE)
    spot = np.exp(-((y - 15) ** 2 + (x - 20) ** 2) / 2 / 4**2)
    return {channel: rate * (1 + 60 * spot + 20000 * (spot > 0.99)) for channel, rate in RATES.items()}


def test_saturated_pixels_have_the_short_exposure_and_its_error():
    rates, long, short = bright(), 2.9, 0.1
    maps = maps_of(short, long, rates=rates)
    cube = prepare(maps, exposures="replace_saturated")
    alone = {time: prepare(maps_of(time, rates=rates)) for time in (long, short)}
    for i, (channel, rate) in enumerate(rates.items()):
        is_saturated, is_lost = rate * long > 15000, rate * short > 15000
        assert is_lost.any()
        assert channel in (94, 131, 335) or is_saturated.sum() > 10 * is_lost.sum()
        np.testing.assert_array_equal(cube.mask[i], is_lost)
        np.testing.assert_array_equal(np.isinf(cube.uncertainty.array[i]), is_lost)
        np.testing.assert_allclose(cube.data[i][~is_lost], rate[~is_lost], rtol=1e-9)
        np.testing.assert_array_equal(cube.data[i][~is_saturated], alone[long].data[i][~is_saturated])
        sigma = np.where(is_saturated, alone[short].uncertainty.array[i], alone[long].uncertainty.array[i])
        np.testing.assert_array_equal(cube.uncertainty.array[i][~is_lost], sigma[~is_lost])
        # The highest of the lower limits is that of the short one.
        np.testing.assert_allclose(cube.data[i][is_lost], 16383 / short)
    assert cube.mask.any()
    assert np.all(cube.meta["exposure_time"] == long * u.s)
    assert np.all(cube.meta["shortest_exposure_time"] == short * u.s)
    assert np.all(cube.meta["date"] == maps_dates(maps, long))


def maps_dates(maps, time):
    return [m.date for m in maps if m.exposure_time == time * u.s]


def test_sums_leave_saturated_and_missing_exposures_out():
    rates = bright()
    maps = maps_of(2.9, 0.1, rates=rates)
    maps[5].data[3, 4] = np.nan  # the short exposure of 171 Å
    cube = prepare(maps, exposures="coadd")
    is_saturated, is_lost = rates[171] * 2.9 > 15000, rates[171] * 0.1 > 15000
    np.testing.assert_allclose(cube.data[2][~is_lost], rates[171][~is_lost], rtol=1e-9)
    short = prepare(maps_of(0.1, rates=rates)).uncertainty.array[2]
    only_short = is_saturated & ~is_lost
    np.testing.assert_allclose(cube.uncertainty.array[2][only_short], short[only_short], rtol=1e-9)
    long = prepare(maps_of(2.9, rates=rates)).uncertainty.array[2]
    np.testing.assert_allclose(cube.uncertainty.array[2, 3, 4], long[3, 4], rtol=1e-9)


def test_a_region_of_a_sum_is_what_binning_gives():
    maps = maps_of(2.9, 2.9, rng=np.random.default_rng(3))
    square = np.zeros(SHAPE, dtype=bool)
    square[8:12, 12:16] = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        region = region_spectrum(prepare(maps, exposures="coadd"), square)
    binned = prepare(maps, exposures="coadd", bin=4)[:, 2, 3]
    np.testing.assert_allclose(region.data.ravel(), binned.data, rtol=1e-9)
    np.testing.assert_allclose(region.uncertainty.array.ravel(), binned.uncertainty.array, rtol=1e-6)


def test_exposures_of_level_1_are_put_on_one_grid():
    early, late = sample.flare_maps(0), sample.flare_maps(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        both = prepare([*early, *late], exposures="coadd", reference=early[0])
        each = [prepare(maps, reference=early[0]) for maps in (early, late)]
    times = [cube.meta["exposure_time"].value.reshape(-1, 1, 1) for cube in each]
    is_good = ~(each[0].mask | each[1].mask)
    expected = (each[0].data * times[0] + each[1].data * times[1]) / (times[0] + times[1])
    np.testing.assert_allclose(both.data[is_good], expected[is_good], rtol=1e-9)
    ratio = both.uncertainty.array[is_good] / np.hypot(*(c.uncertainty.array for c in each))[is_good]
    assert 0.49 < ratio.min() < ratio.max() < 0.75
    assert both.data.shape == each[0].data.shape


# ---- many times


def images(times, problem=None):
    return [Image(f"{c} {t}", c, float(t), None, problem) for c, seconds in times.items() for t in seconds]


@pytest.mark.parametrize(
    ("times", "expected", "left"),
    [
        # Long and short ones in turn, every 12 s, of channels that are shifted against each other.
        (
            {94: [0, 12, 24, 36], 171: [3, 15, 27, 39], 335: [-2, 10, 22, 34]},
            [[0, 12, 3, 15, -2, 10], [24, 36, 27, 39, 22, 34]],
            0,
        ),
        # One channel takes only long ones.
        ({94: [0, 24], 171: [3, 15, 27, 39]}, [[0, 3], [24, 15, 27, 39]], 0),
        # An image may be the tolerance before or after those of the rarest channel.
        ({94: [0, 12], 171: [-15, 27, -16, 28]}, [[0, 12, -15, 27]], 2),
        ({94: [0], 171: [4, 90]}, [[0, 4]], 1),
        ({94: [0, 40], 171: [4]}, [[0, 4]], 1),
        ({}, [], 0),
    ],
)
def test_sets_of_several_exposures(times, expected, left):
    for order in (images(times), images(times)[::-1]):
        sets, left_over = exposure_sets(order, 15)
        assert [[image.seconds for image in each] for each in sets] == expected
        assert len(left_over) == left


def test_a_bad_exposure_is_left_out_where_there_is_another():
    given = [*images({94: [0], 171: [4]}), *images({94: [5]}, "truncated")]
    sets, left = exposure_sets(given, 12)
    assert [[image.name for image in each] for each in sets] == [["94 0", "171 4"]]
    assert [image.name for image in left] == ["94 5"]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Files of two steps of a long and a short exposure each, and how they were made."""
    folder, rates = tmp_path_factory.mktemp("pairs"), bright()
    for k, seconds in enumerate((0, 12, 24, 36)):
        for smap in maps_of((2.9, 0.1)[k % 2], rates=rates, seconds=(seconds,)):
            Map(smap.data.astype("float32"), smap.meta).save(folder / f"{k}_{smap.wavelength.value:03.0f}.fits")
    return folder


def by_hand(pairs, step, exposures, **options):
    files = [str(path) for k in (2 * step, 2 * step + 1) for path in sorted(pairs.glob(f"{k}_*"))]
    return prepare(files, exposures=exposures, **options)


@pytest.mark.parametrize("exposures", ["coadd", "replace_saturated"])
def test_a_series_of_pairs(pairs, exposures):
    series = prepare_series(str(pairs), tolerance=15 * u.s, exposures=exposures)
    assert series.shape == (6, 2, *SHAPE)
    assert series.meta["left_over"] == ()
    for step in range(2):
        cube = by_hand(pairs, step, exposures)
        np.testing.assert_array_equal(series[:, step].data.compute(), cube.data)
        np.testing.assert_array_equal(series[:, step].uncertainty.array.compute(), cube.uncertainty.array)
        np.testing.assert_array_equal(series[:, step].mask.compute(), cube.mask)
        assert np.all(series.meta["n_exposures"][:, step] == (2 if exposures == "coadd" else 1))
        assert np.all(series.meta["shortest_exposure_time"][:, step] == cube.meta["shortest_exposure_time"])
        assert np.all(series.meta["exposure_time"][:, step] == cube.meta["exposure_time"])
        assert np.all(abs(series.meta["date"][:, step] - cube.meta["date"]) < 1 * u.us)
    # As before, each exposure is a time of its own.
    assert prepare_series(str(pairs)).shape == (6, 4, *SHAPE)


@pytest.mark.parametrize("exposures", ["coadd", "replace_saturated"])
def test_pairs_stay_together_by_default(tmp_path, exposures):
    """A cadence is a little more than 12 s at times; and what a store dates is what a series does."""
    for k, seconds in enumerate((0, 12.01, 24, 36.01)):
        for smap in maps_of((0.1, 2.9)[k % 2], seconds=(seconds,)):
            Map(smap.data.astype("float32"), smap.meta).save(tmp_path / f"{k}_{smap.wavelength.value:03.0f}.fits")
    series = prepare_series(str(tmp_path), exposures=exposures)
    n = 2 if exposures == "coadd" else 1  # of a sum, or of what one was taken from
    assert series.meta["n_exposures"].tolist() == 6 * [[n, n]]
    np.testing.assert_allclose(series.meta["shortest_exposure_time"].to_value(u.s), 0.1)
    bins = 10 ** np.arange(5.6, 7.41, 0.2) * u.K
    options = {"exposures": exposures}
    batch_invert(str(tmp_path), tmp_path / "a.zarr", bins, prepare_options=options)
    store = read(tmp_path / "a.zarr")
    assert np.max(abs(store.meta["observation"]["date"] - series.meta["date"])) < 2 * u.us
    # That of the long one, which is the second; or the mean.
    after = 6.005 if exposures == "coadd" else 12.01
    first = START + (after + np.array(list(RATES)) / 100) * u.s
    assert np.max(abs(store.meta["observation"]["date"][:, 0] - first)) < 1 * u.ms
    times = [store[k]["chi_squared"].meta["observation"]["date"] for k in range(2)]
    assert np.max(abs(times[1] - times[0] - 24 * u.s)) < 2 * u.us
    report = batch_invert(str(tmp_path), tmp_path / "a.zarr", bins, prepare_options=options)
    assert [step.outcome for step in report.steps] == 2 * ["kept"]
    # Where the first exposure starts and the last one ends: the short one begins, the long one is the last.
    write(emission_measure(store[1], (1, 2) * u.MK), tmp_path / "em.fits")
    header = fits.getheader(tmp_path / "em.fits")
    offsets = np.array(list(RATES)) / 100
    assert abs(Time(header["DATE-BEG"]) - (START + (24 + offsets.min()) * u.s)) < 2 * u.ms
    assert abs(Time(header["DATE-END"]) - (START + (36.01 + 2.9 + offsets.max()) * u.s)) < 2 * u.ms
    for name in ("start_offset", "end_offset"):
        found, expected = store.meta["observation"][name], series.meta[name]
        np.testing.assert_allclose(found.to_value(u.s), expected.to_value(u.s), atol=1e-5)


@pytest.mark.parametrize("exposures", ["coadd", "replace_saturated"])
def test_files_of_combined_exposures_tell_where_they_start_and_end(tmp_path, exposures):
    cube = prepare(maps_of(2.0, 2.0, seconds=(0, 12)), exposures=exposures)
    bins = 10 ** np.arange(5.6, 7.41, 0.2) * u.K
    result = invert(cube, TemperatureResponse.from_aia(cube), bins)
    write(emission_measure(result, (1, 2) * u.MK), tmp_path / "em.fits")
    header = fits.getheader(tmp_path / "em.fits")
    assert header["DATEREF"] == header["DATE-BEG"]
    # From the first of 94 Å to the last of 335 Å.
    for key, seconds in (("DATE-BEG", 0.94), ("DATE-END", 3.35 + 12 + 2)):
        assert abs(Time(header[key]) - START - seconds * u.s) < 1 * u.ms
    # What each is made of is sliced with the cube.
    write(cube[5], tmp_path / "one.fits")
    assert abs(Time(fits.getheader(tmp_path / "one.fits")["DATE-BEG"]) - START - 3.35 * u.s) < 1 * u.ms


def test_a_batch_of_pairs_and_the_command(pairs, tmp_path, capsys):
    bins = 10 ** np.arange(5.6, 7.41, 0.2) * u.K
    options = {"exposures": "replace_saturated"}
    report = batch_invert(str(pairs), tmp_path / "a.zarr", bins, tolerance=15 * u.s, prepare_options=options)
    assert [step.outcome for step in report.steps] == 2 * ["done"]
    assert not report.left_over
    store = read(tmp_path / "a.zarr")
    for step in range(2):
        cube = by_hand(pairs, step, **options, correct_degradation=True)
        result = invert(cube, TemperatureResponse.from_aia(cube), bins)
        np.testing.assert_array_equal(store[step]["dem"].data.compute(), result["dem"].data)
        assert np.all(store.meta["observation"]["exposure_time"][:, step] == 2.9 * u.s)
    # Nothing is done twice, and other settings are another store.
    report = batch_invert(str(pairs), tmp_path / "a.zarr", bins, tolerance=15 * u.s, prepare_options=options)
    assert [step.outcome for step in report.steps] == 2 * ["kept"]
    with pytest.raises(ValueError, match="exposures is replace_saturated there and one now"):
        batch_invert(str(pairs), tmp_path / "a.zarr", bins, tolerance=15 * u.s)
    command = ["batch", str(pairs), "--output", str(tmp_path / "b.zarr"), "--log-t", "5.6", "7.4", "0.2"]
    assert main([*command, "--tolerance", "15", "--exposures", "replace_saturated"]) == 0
    assert "2 of 2 time steps" in capsys.readouterr().out
    np.testing.assert_allclose(
        read(tmp_path / "b.zarr")["chi_squared"].data, store["chi_squared"].data, rtol=1e-3, atol=1e-6
    )
