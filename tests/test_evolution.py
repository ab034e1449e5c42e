"""How regions evolve: the same as by hand, dated responses, and regions that rotate with the Sun."""

import re
import warnings

import dask
import numpy as np
import pytest
from dask import compute

import astropy.units as u
from astropy.coordinates import SkyCoord
from astropy.time import Time
from astropy.timeseries import TimeSeries
from sunpy.coordinates import get_earth
from sunpy.map import Map
from sunpy.physics.differential_rotation import solar_rotate_coordinate
from sunpy.util.exceptions import SunpyUserWarning

from sunpy_demreg import (
    TemperatureResponse,
    emission_measure,
    invert,
    mean_temperature,
    prepare,
    prepare_series,
    region_evolution,
    region_spectrum,
    sample,
    thermal_energy_density,
    write,
)

EDGES = 10 ** np.arange(5.575, 7.63, 0.1) * u.K
RANGE = [1, 10] * u.MK
START = Time("2014-01-01T00:00:00")
MASK = np.zeros((67, 67), dtype=bool)
MASK[20:40, 25:45] = True


@pytest.fixture(scope="module")
def flare():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SunpyUserWarning)
        return [prepare(sample.flare_maps(step)) for step in (0, 1)]


def disk(days, factors=None):
    """Six channels of a Sun with a bright patch that rotates with the surface, as seen from Earth."""
    time = START + days * u.day
    observer = get_earth(time)
    patch = SkyCoord(-30 * u.deg, 10 * u.deg, frame="heliographic_stonyhurst", obstime=START)
    maps = []
    for i, smap in enumerate(sample.aia_maps()):
        header = {k: v for k, v in smap.meta.items() if k not in ("keycomments", "bitpix", "t_obs")}
        header |= {"date-obs": time.isot, "crpix1": 50.5, "crpix2": 50.5, "cdelt1": 24.0, "cdelt2": 24.0}
        header |= {"crval1": 0.0, "crval2": 0.0, "hgln_obs": 0.0, "hglt_obs": observer.lat.value, "exptime": 2.0}
        header |= {"dsun_obs": observer.radius.to_value(u.m), "crln_obs": 0.0, "crlt_obs": observer.lat.value}
        blank = Map(np.zeros((100, 100)), header)
        x, y = blank.wcs.world_to_pixel(
            solar_rotate_coordinate(patch.transform_to(SEEN), observer=blank.observer_coordinate)
        )
        rows, columns = np.indices((100, 100))
        data = 300 * (0.1 + np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 2 / 4**2))
        maps.append(Map(data * (1 if factors is None else factors[i]), header))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SunpyUserWarning)
        return prepare(maps, n_sample=1600)


SEEN = SkyCoord(
    0 * u.arcsec, 0 * u.arcsec, frame="helioprojective", obstime=START, observer=get_earth(START)
).frame.replicate_without_data()


def test_the_same_as_by_hand(flare):
    options = {"method": "lognormal", "calibration_error": 0.1}
    series = region_evolution(flare, {"core": MASK, "all": MASK | True}, EDGES, temperature_range=RANGE, **options)
    assert series.meta == {"region": ["core", "all"], "track": False}
    assert len(series) == 2
    for k, cube in enumerate(flare):
        for r, mask in enumerate((MASK, MASK | True)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SunpyUserWarning)
                spectrum = region_spectrum(cube, mask)
            result = invert(spectrum, TemperatureResponse.from_aia(spectrum), EDGES, **options)
            em, area = emission_measure(result, RANGE), spectrum.meta["area"][0]
            temperature = mean_temperature(result, RANGE)
            energy = thermal_energy_density(result, np.sqrt(area), RANGE)
            row = series[k]
            assert row["emission_measure"][r].value == pytest.approx(em.data[0])
            assert row["emission_measure_error"][r].value == pytest.approx(em.uncertainty.array[0])
            assert row["volume_emission_measure"][r].to_value("cm-3") == pytest.approx(em.data[0] * area.value)
            assert row["mean_temperature"][r].to_value("K") == pytest.approx(temperature.data[0])
            assert row["mean_temperature_error"][r].to_value("K") == pytest.approx(temperature.uncertainty.array[0])
            assert row["thermal_energy"][r].to_value("erg") == pytest.approx(energy.data[0] * area.value**1.5)
            assert row["thermal_energy_error"][r].value == pytest.approx(energy.uncertainty.array[0] * area.value**1.5)
            assert row["fraction"][r] == spectrum.meta["fraction"][0]
            assert abs((row["time"] - Time(cube.meta["date"]).mean()).to_value("s")) < 0.1
    deep = region_evolution(flare[:1], MASK, EDGES, temperature_range=RANGE, depth=100 * u.Mm, **options)
    expected = series["thermal_energy"][0, 0] * np.sqrt(100 * u.Mm / np.sqrt(series["area"][0, 0]))
    assert deep["thermal_energy"][0].to_value("erg") == pytest.approx(expected.to_value("erg"))
    assert deep["thermal_energy"].shape == (1,)


def test_a_series_is_as_its_images(series_folder):
    series = prepare_series(series_folder, n_sample=16)
    mask = np.zeros(series.shape[2:], dtype=bool)
    mask[3:9, 4:12] = True
    found = region_evolution(series, mask, EDGES)
    images = region_evolution([series[:, k] for k in range(3)], mask, EDGES)
    assert len(found) == 3
    for name in ("emission_measure", "emission_measure_error", "mean_temperature", "thermal_energy", "chi_squared"):
        np.testing.assert_array_equal(found[name], images[name])
    assert np.all(np.diff(found["emission_measure"].value) > 0)  # they brighten


@pytest.mark.parametrize("as_list", [False, True])
def test_times_at_which_a_region_holds_no_pixel(series_folder, as_list):
    """A level before the start of a flare, and masks of each time."""
    series = prepare_series(series_folder, n_sample=16)
    channel = series.data[2].compute()
    level = channel[0].max() * 1.05  # not reached at first; they brighten by 10 %
    masks = np.zeros(series.shape[1:], dtype=bool)
    masks[0, 3:9, 4:12] = masks[2, 4:10, 4:12] = True
    regions = {"level": {171: level * series.unit}, "masks": masks, "whole": np.ones(series.shape[2:], dtype=bool)}
    given = [series[:, k] for k in range(3)] if as_list else series
    found = region_evolution(given, regions, EDGES, bad_pixels="mask")
    assert found["fraction"].value.tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 1]]
    pixel = found["area"][0, 1] / 48
    expected = [[np.nan, 48, 440], [np.sum(channel[1] > level), np.nan, 440], [np.sum(channel[2] > level), 48, 440]]
    np.testing.assert_allclose((found["area"] / pixel).value, expected, rtol=1e-3)
    np.testing.assert_array_equal(np.isnan(found["emission_measure"].value), np.isnan(expected))
    alone = region_evolution([series[:, 2]], masks[2], EDGES, bad_pixels="mask")
    for name in ("emission_measure", "thermal_energy_error", "chi_squared"):
        assert found[name][2, 1] == alone[name][0]
    with pytest.raises(ValueError, match=r"`region\['never'\]` holds no pixel of the image"):
        region_evolution(given, regions | {"never": {171: 10 * level * series.unit}}, EDGES)
    with pytest.raises(ValueError, match=r"`region` is a mask of the shape \(2, 20, 22\), but `series` has 3 times"):
        region_evolution(given, masks[:2], EDGES)


def test_times_without_a_channel_are_told_once(series_folder, tmp_path):
    """With the cure, the times and the regions; that of averages that are not solved too."""
    for path in series_folder.glob("*.fits"):
        if path.name not in ("step1_211.fits",):
            (tmp_path / path.name).symlink_to(path)
    series = prepare_series(tmp_path, n_sample=16, max_missing_channels=1)
    mask = np.zeros(series.shape[2:], dtype=bool)
    mask[3:9, 4:12] = True
    regions = {"core": mask, "all": mask | True}
    with pytest.warns(SunpyUserWarning) as caught:
        found = region_evolution(series, regions, EDGES)
    [message] = [str(each.message) for each in caught]
    assert message.startswith("`region`: each pixel has a channel that is missing or saturated")
    assert "of core at 2014-01-01T00:02:0" in message
    assert "; all at 2014-01-01T00:02:0" in message
    assert "`bad_pixels='mask'`" in message
    assert found["fraction"].value.tolist() == [[1, 1], [0, 0], [1, 1]]
    kept = region_evolution(series, regions, EDGES, bad_pixels="mask")  # without a warning
    assert np.isfinite(kept["emission_measure"].value).all()
    with pytest.warns(SunpyUserWarning) as caught:
        none = region_evolution(series, regions, EDGES, bad_pixels="mask", missing_channels="mask")
    [message] = [str(each.message) for each in caught]
    assert re.match(
        r"`region`: means could not be inverted, .* NaN: core \((MASKED|NOT_FINITE)\) at 2014-01-01T00:02:0\S+; all",
        message,
    )
    assert np.isnan(none["emission_measure"].value).tolist() == [[False, False], [True, True], [False, False]]


def test_evolution_of_several_regions_is_written_and_read(flare, tmp_path):
    found = region_evolution(flare, {"core": MASK, "corner": MASK[::-1]}, EDGES)
    assert found["emission_measure"].info.description == "of the regions core, corner"
    found.write(tmp_path / "a.ecsv")
    back = TimeSeries.read(tmp_path / "a.ecsv")
    assert back.meta == found.meta == {"region": ["core", "corner"], "track": False}
    for name in found.colnames[1:]:
        np.testing.assert_array_equal(back[name], found[name])
    assert np.all(abs(back.time - found.time) < 1 * u.ms)  # as ISO 8601
    with pytest.raises(ValueError, match="ecsv"):
        found.write(tmp_path / "a.csv")
    for name in ("a.fits", "a.ecsv"):
        with pytest.raises(TypeError, match=r"`result` is a TimeSeries, .* `result.write\('evolution.ecsv'\)`"):
            write(found, tmp_path / name)


def test_many_regions_read_each_time_once(series_folder, monkeypatch):
    series = prepare_series(series_folder, n_sample=16)
    n_computed = []

    def counted(*args, **kwargs):
        n_computed.append(len(args))
        return compute(*args, **kwargs)

    monkeypatch.setattr(dask, "compute", counted)
    region_evolution(series, [square for k in range(3) if (square := MASK[18 : 18 + 20, 20 + k : 42 + k]).any()], EDGES)
    assert n_computed == [9] * 3  # values, errors and masks of three regions at three times


def test_the_response_is_that_of_each_date():
    """The same Sun, seen by a detector that ages."""
    channels = [94, 131, 171, 193, 211, 335] * u.AA
    dates = START, START + 730 * u.day
    first, second = (TemperatureResponse.from_aia(channels, date).response for date in dates)
    aging = np.nanmedian((second / first).value, axis=1)
    assert aging.min() < 0.8
    cubes = [disk(0), disk(730, aging)]
    mask = np.zeros((100, 100), dtype=bool)
    mask[2:6, 2:6] = True  # where it is flat
    found = region_evolution(cubes, mask, EDGES, temperature_range=RANGE, calibration_error=0.2)
    ratio = found["emission_measure"][1] / found["emission_measure"][0]
    assert float(ratio) == pytest.approx(1, abs=0.02)
    fixed = region_evolution(
        cubes[:1],
        mask,
        EDGES,
        temperature_range=RANGE,
        calibration_error=0.2,
        response=TemperatureResponse.from_aia(cubes[0]),
    )
    assert fixed["emission_measure"][0] == found["emission_measure"][0]


def test_regions_rotate_with_the_sun():
    cubes = [disk(days) for days in (0, 2, 4, 11)]
    patch = SkyCoord(-30 * u.deg, 10 * u.deg, frame="heliographic_stonyhurst", obstime=START)
    center = patch.transform_to(SEEN)
    x, y = center.Tx, center.Ty
    box = SkyCoord([x - 60 * u.arcsec, x + 60 * u.arcsec], [y - 60 * u.arcsec, y + 60 * u.arcsec], frame=SEEN)
    regions = {"circle": (SkyCoord(x, y, frame=SEEN), 60 * u.arcsec), "box": box}
    followed = region_evolution(cubes, regions, EDGES, track=True, temperature_range=RANGE)
    fixed = region_evolution(cubes, regions, EDGES, temperature_range=RANGE)
    em = followed["emission_measure"].value
    np.testing.assert_allclose(em[:3], em[:1] + np.zeros((3, 2)), rtol=0.1)
    assert np.all(fixed["emission_measure"].value[1:] < 0.5 * em[0])
    assert np.isnan(em[3]).all()  # behind the limb
    assert followed["fraction"].value.tolist() == [[1, 1]] * 3 + [[0, 0]]
    with pytest.raises(ValueError, match=r"`region\['circle'\]` is out of sight, behind the limb"):
        region_evolution(cubes[3:], regions, EDGES, track=True)  # at all times
    with pytest.raises(ValueError, match=r"`region\[1\]` must have a positive angle for the radius"):
        region_evolution(cubes[:1], [box, (box[0], -1 * u.arcsec)], EDGES, track=True)
    with pytest.raises(TypeError, match="`region` must be coordinates to be tracked"):
        region_evolution(cubes[:1], np.ones((100, 100), bool), EDGES, track=True)
    far = SkyCoord([900, 1100] * u.arcsec, [0, 100] * u.arcsec, frame=SEEN)
    with pytest.raises(ValueError, match="`region` must lie on the disk to be tracked"):
        region_evolution(cubes[1:2], far, EDGES, track=True)


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"series": 5}, TypeError, "`series` must be a cube of `prepare_series`, or a list .* but is 5"),
        ({"series": []}, ValueError, "`series` must be a list of cubes, but is empty"),
        ({"series": [5]}, TypeError, r"`series\[0\]` must be a cube of `prepare`, with"),
        ({"region": np.zeros((67, 67), bool)}, ValueError, "`region` holds no pixel of the image"),
        ({"depth": 5}, TypeError, "`depth` must be a Quantity"),
        ({"track": "yes"}, TypeError, "`track` must be True or False"),
        ({"response": 5}, TypeError, "`response`"),
        ({"methud": "l2"}, TypeError, "`methud` is no option of `invert` .did you mean 'method'"),
        ({"bad_pixels": "no"}, ValueError, "`bad_pixels` must be one of"),
    ],
)
def test_calls_that_are_none(flare, arguments, kind, words):
    with pytest.raises(kind, match=words):
        region_evolution(**{"series": flare, "region": MASK, "temperature_bin_edges": EDGES} | arguments)


def test_times_must_ascend(flare):
    with pytest.raises(ValueError, match="`series` must be in order of time"):
        region_evolution(flare[::-1], MASK, EDGES)
    with pytest.raises(ValueError, match=r"`series` must be a cube of `prepare_series`.* without times"):
        region_evolution(flare[0], MASK, EDGES)
