"""Channel cubes of several instruments, as one."""

import copy

import numpy as np
import pytest

import astropy.units as u
from astropy.nddata import StdDevUncertainty, VarianceUncertainty
from ndcube import NDCube, NDMeta

from sunpy_demreg import (
    DataWarning,
    TemperatureResponse,
    combine,
    drop_channels,
    emission_measure,
    invert,
    prepare_series,
    read,
    sample,
    to_map,
    write,
)
from sunpy_demreg._channels import stacks
from sunpy_demreg._common.dask_arrays import is_lazy
from sunpy_demreg._common.dates import mean_date
from sunpy_demreg._common.wcs import plane_wcs, prepend_axis

EDGES = 10 ** np.arange(5.6, 7.41, 0.1) * u.K
RATE = u.DN / u.pix / u.s


@pytest.fixture(scope="module")
def patch(cube):
    return cube[:, 30:50, 40:64]


def image(patch, step=1.7, shape=(30, 30), label="XRT Be-thin", value=50.0):
    """An image of other pixels that covers the patch, flat but for a slope along x."""
    wcs = sample.aia_maps()[0].wcs[30:50, 40:64]
    crpix = wcs.wcs.crpix.copy()
    wcs.wcs.cdelt = np.array(wcs.wcs.cdelt) / step
    wcs.wcs.crpix = (crpix - 0.5) * step + 0.5 + 1
    wcs.array_shape = shape
    wcs.wcs.set()
    data = value + np.broadcast_to(np.arange(shape[1], dtype=float), shape)
    sigma = StdDevUncertainty(np.full(shape, 2.0))
    return NDCube(data, wcs, uncertainty=sigma, unit=RATE, meta={"channels": label})


@pytest.mark.filterwarnings("ignore:.* do not fit")
def test_joint_inversion(patch):
    other = image(patch, shape=(60, 60))
    joint = combine([patch, other])
    assert joint.shape == (7, 20, 24)
    assert joint.meta["channels"].tolist() == [*patch.meta["channels"], "XRT Be-thin"]
    assert isinstance(joint.meta, NDMeta)
    assert joint[5:].meta["channels"].tolist() == ["AIA 335", "XRT Be-thin"]
    np.testing.assert_array_equal(joint.data[:6], patch.data)
    np.testing.assert_array_equal(joint.uncertainty.array[:6], patch.uncertainty.array)
    response = TemperatureResponse.concatenate(
        [TemperatureResponse.from_aia(patch), TemperatureResponse.from_xrt("Be-thin", "2014-01-01")]
    )
    result = invert(joint, response, EDGES)
    assert result.meta["channels"] == response.channels
    here = result["dem"].wcs.low_level_wcs.pixel_to_world_values(3, 4, 0)[:2]
    np.testing.assert_allclose(here, patch.wcs.low_level_wcs.pixel_to_world_values(3, 4, 0)[:2], rtol=1e-12)
    # As one may give the channels by hand.
    bare = invert(
        joint.data * RATE, response, EDGES, uncertainty=joint.uncertainty.array * RATE, channels=response.channels
    )
    np.testing.assert_array_equal(result["dem"].data, bare["dem"].data)


def test_values_and_errors_are_interpolated(patch):
    other = image(patch, shape=(60, 60))
    joint = combine([patch, other])
    x, y = other.wcs.low_level_wcs.world_to_pixel_values(
        *(w for w in patch.wcs.low_level_wcs.pixel_to_world_values(*np.indices((20, 24))[::-1], 0)[:2])
    )
    assert not joint.mask[6].any()
    np.testing.assert_allclose(joint.data[6], 50 + x, rtol=1e-6)
    fx, fy = x % 1, y % 1
    squares = (fx**2 + (1 - fx) ** 2) * (fy**2 + (1 - fy) ** 2)
    np.testing.assert_allclose(joint.uncertainty.array[6], 2 * np.sqrt(squares), rtol=1e-4)


def test_spread_of_noise_is_the_error(patch):
    other = image(patch, shape=(60, 60))
    expected = combine([patch, other])
    rng = np.random.default_rng(3)
    labels = [f"XRT {i}" for i in range(40)]
    drawn = [
        cube_of(other, data=other.data + rng.normal(0, 2, other.shape), meta={"channels": label}) for label in labels
    ]
    joint = combine([patch, *drawn])
    pull = (joint.data[6:] - expected.data[6]) / joint.uncertainty.array[6:]
    assert abs(pull.std() - 1) < 0.05


def test_what_is_bad_or_not_covered_is_masked(patch):
    other = image(patch, shape=(60, 30))
    other.data[20, 12] = np.nan
    joint = combine([patch, other])
    assert joint.mask[6, :, -3:].all()
    assert not joint.mask[:6].any()
    assert np.isnan(joint.data[6][joint.mask[6]]).all()
    inner = joint.mask[6, :, :12]
    assert 1 <= inner.sum() <= 4


def test_one_grid_is_left_as_it_is(patch):
    joint = combine([patch[:3], patch[3:]])
    np.testing.assert_array_equal(joint.data, patch.data)
    np.testing.assert_array_equal(joint.uncertainty.array, patch.uncertainty.array)
    assert joint.axis_world_coords(0)[0][0] == 94 * u.AA
    assert joint.meta["saturation"] == 15000
    assert np.all(joint.meta["exposure_time"] == patch.meta["exposure_time"])
    np.testing.assert_array_equal(joint.meta["date"].isot, patch.meta["date"].isot)


def test_units_and_kinds_of_uncertainty(patch):
    other = image(patch, shape=(60, 60))
    expected = combine([patch, other])
    scaled = NDCube(
        other.data / 1000,
        other.wcs,
        unit=u.def_unit("kDN", 1000 * u.DN) / u.pix / u.s,
        uncertainty=VarianceUncertainty((other.uncertainty.array / 1000) ** 2),
        meta=other.meta,
    )
    joint = combine([patch, scaled])
    np.testing.assert_allclose(joint.data, expected.data, rtol=1e-12)
    np.testing.assert_allclose(joint.uncertainty.array, expected.uncertainty.array, rtol=1e-12)


def elsewhere(patch):
    other = image(patch)
    wcs = other.wcs.deepcopy()
    wcs.wcs.aux.hgln_obs = 30.0
    return NDCube(other.data, wcs, uncertainty=other.uncertainty, unit=RATE, meta=other.meta)


def cube_of(other, **changes):
    kept = {
        "data": other.data,
        "uncertainty": other.uncertainty,
        "unit": other.unit,
        "meta": other.meta,
        "wcs": other.wcs,
    }
    return NDCube(**{**kept, **changes})


def table(patch):
    wcs = prepend_axis(None, [1, 2, 3] * u.one, "channel", "custom:channel")
    return NDCube(np.ones(3), wcs, unit=RATE, uncertainty=StdDevUncertainty(np.ones(3)), meta={"channels": "A"})


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (lambda p: p, TypeError, "`cubes` must be a list of channel cubes"),
        (lambda p: [], ValueError, "`cubes` must be a list of channel cubes"),
        (lambda p: [p, p.data], TypeError, r"`cubes\[1\]` must be an NDCube, but is of type ndarray"),
        (lambda p: [p, cube_of(image(p), unit=None)], ValueError, r"`cubes\[1\]` must have a unit, an uncertainty"),
        (lambda p: [p, cube_of(image(p), uncertainty=None)], ValueError, r"`cubes\[1\]` must have a unit"),
        (lambda p: [p, cube_of(image(p), meta=None)], ValueError, r"`cubes\[1\]` must have .*`meta\['channels'\]`"),
        (
            lambda p: [p, cube_of(image(p), unit=u.ph, uncertainty=StdDevUncertainty(np.ones((30, 30))))],
            ValueError,
            "convert them",
        ),
        (lambda p: [p, elsewhere(p)], ValueError, r"`cubes`: XRT Be-thin and AIA 94 .* \d\d\.\d\d degrees apart"),
        (lambda p: [p, table(p)], ValueError, "`cubes`: A must be an image"),
        (lambda p: [p, cube_of(image(p), wcs=_linear())], ValueError, "are of different kinds"),
    ],
)
def test_wrong_cubes(patch, given, error, words):
    with pytest.raises(error, match=words):
        combine(given(patch))


def _linear():
    from sunpy_demreg._common.wcs import pixel_wcs

    return pixel_wcs((30, 30))


def test_input_is_left_alone(patch):
    other = image(patch)
    before = other.data.copy(), plane_wcs(other.wcs)
    joint = combine([patch, other])
    joint.data[...] = 0
    np.testing.assert_array_equal(other.data, before[0])
    assert patch.data.max() > 0


def test_images_of_other_times_are_told(patch):
    later = patch[3:]
    meta = dict(later.meta) | {"date": later.meta["date"] + 6 * u.year}
    later = NDCube(later.data, later.wcs, unit=later.unit, uncertainty=later.uncertainty, mask=later.mask, meta=meta)
    with pytest.warns(DataWarning, match=r"`cubes` span 219\d days \(AIA \d+ is of 2014-01-01T.*20(19|20)-") as caught:
        joint = combine([patch[:3], later])
    assert len(caught) == 1
    np.testing.assert_array_equal(joint.data, patch.data)


@pytest.mark.filterwarnings("ignore:.* do not fit")
def test_what_some_channels_lack_is_kept_of_the_others(patch, tmp_path):
    """A response of another year shows, whatever the other instrument says of itself."""
    joint = combine([image(patch, shape=(60, 60)), patch])
    assert joint.meta["date"][0] is None
    assert list(joint.meta["date"][1:]) == list(patch.meta["date"])
    assert list(joint.meta["degradation_corrected"]) == [None, *[False] * 6]
    assert "exposure_time" not in joint.meta  # which nothing is checked against
    of_xrt = TemperatureResponse.from_xrt("Be-thin", "2014-01-01")
    good, late = (
        TemperatureResponse.concatenate([of_xrt, TemperatureResponse.from_aia(patch, obstime=year)])
        for year in ("2014-01-01", "2020-01-01")
    )
    with pytest.raises(ValueError, match=r"the sensitivity of AIA 335 differs by a factor of 2\.\d"):
        invert(joint, late, EDGES)
    result = invert(joint[:, 5:7, 5:8], good, EDGES)
    assert TemperatureResponse.from_aia(joint[1:]) == TemperatureResponse.from_aia(patch)
    undated = joint[:1]
    undated.meta["channels"] = np.array(["AIA 94"])
    with pytest.raises(ValueError, match=r"no `meta\['date'\]`"):
        TemperatureResponse.from_aia(undated)
    # All that asks for the date.
    mean = mean_date(patch.meta["date"])
    assert abs(to_map(emission_measure(result)).date - mean) < 1 * u.ms
    write(result, tmp_path / "a.fits")
    dates = read(tmp_path / "a.fits").meta["observation"]["date"]
    assert dates[0] is None
    assert abs(mean_date(dates) - mean) < 1 * u.us
    later = copy.deepcopy(joint)
    later.meta["date"][1:] = [date + 1 * u.min for date in later.meta["date"][1:]]
    series = stacks.in_time([joint, later])
    assert list(series.meta["date"][0]) == [None, None]
    assert list(series.meta["date"][1]) == [joint.meta["date"][1], later.meta["date"][1]]
    dem = invert(series[:, :, 5:7, 5:8], good, EDGES)["dem"].data
    np.testing.assert_array_equal(dem[:, 0], result["dem"].data)


# ---- fewer channels


def test_a_channel_is_dropped_from_a_cube_with_a_plain_dict(cube):
    plain = NDCube(cube.data, cube.wcs, unit=cube.unit, meta=dict(cube.meta))
    fewer = drop_channels(plain, "AIA 94")
    assert list(fewer.meta["channels"]) == list(cube.meta["channels"][1:])
    assert len(fewer.meta["exposure_time"]) == len(fewer.data) == 5


@pytest.mark.parametrize(
    "channels", ["AIA 94", 94 * u.AA, ["AIA 94"], [94] * u.AA, 9.4 * u.nm, ["AIA 94", 94 * u.AA], ("AIA 94",)]
)
def test_a_channel_is_dropped_by_its_name(cube, channels):
    fewer = drop_channels(cube, channels)
    np.testing.assert_array_equal(fewer.data, cube.data[1:])
    np.testing.assert_array_equal(fewer.uncertainty.array, cube.uncertainty.array[1:])
    np.testing.assert_array_equal(fewer.mask, cube.mask[1:])
    assert fewer.meta["channels"].tolist() == cube.meta["channels"][1:].tolist()
    assert fewer.axis_world_coords(0)[0].to_value(u.AA).tolist() == [131, 171, 193, 211, 335]
    same = cube[1:]
    at = 3, 5, 2
    np.testing.assert_allclose(*(each.wcs.low_level_wcs.pixel_to_world_values(*at) for each in (fewer, same)))
    assert list(fewer.meta) == list(same.meta)
    for key in ("exposure_time", "date", "common_error"):
        assert np.all(fewer.meta[key] == same.meta[key])


def test_a_dem_without_a_channel_is_that_of_the_others(cube, response, edges):
    part = cube[:, 40:44, 90:95]
    fewer = drop_channels(part, ["AIA 171", "AIA 335"])
    assert fewer.meta["channels"].tolist() == ["AIA 94", "AIA 131", "AIA 193", "AIA 211"]
    assert fewer[1].meta["channels"] == "AIA 131"
    own = TemperatureResponse.from_aia(fewer)
    chosen = response.select(fewer.meta["channels"])
    for each in (own, chosen):
        result = invert(fewer, each, edges)
        kept = [0, 1, 3, 4]
        expected = invert(
            part.data[kept] * part.unit, each, edges, uncertainty=part.uncertainty.array[kept] * part.unit
        )
        np.testing.assert_array_equal(result["dem"].data, expected["dem"].data)
    with pytest.raises(ValueError, match=r"`data` has 4 channels .* choose its channels with `response.select"):
        invert(fewer, response, edges)


def test_channels_of_series_and_spectra_are_dropped(series_folder, cube):
    pytest.importorskip("dask")
    series = prepare_series(series_folder, n_sample=16)
    fewer = drop_channels(series, "AIA 193")
    assert is_lazy(fewer.data, fewer.uncertainty.array, fewer.mask)
    assert fewer.shape == (5, 3, 20, 22)
    assert np.all(fewer.axis_world_coords("time")[0] == series.axis_world_coords("time")[0])
    assert fewer.meta["date"].shape == (5, 3)
    np.testing.assert_array_equal(fewer[:, 1].data.compute(), np.delete(series[:, 1].data.compute(), 3, axis=0))
    pixel = drop_channels(cube[:, 3, 4], 131 * u.AA)
    assert pixel.meta["channels"].tolist() == ["AIA 94", "AIA 171", "AIA 193", "AIA 211", "AIA 335"]
    np.testing.assert_array_equal(pixel.data, np.delete(cube.data[:, 3, 4], 1))


@pytest.mark.parametrize("channel", ["AIA 94", "94", 94, 94.0, np.int64(94), 94 * u.AA, 9.4 * u.nm], ids=repr)
def test_a_channel_is_named_or_chosen_by_its_wavelength(cube, channel):
    for channels in (channel, [channel]):
        assert drop_channels(cube, channels).meta["channels"].tolist() == cube.meta["channels"].tolist()[1:]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda c: drop_channels(c, "AIA 304"), ValueError, "`channels` must be one of 'AIA 94'.*but is 'AIA 304'$"),
        (lambda c: drop_channels(c, "304"), ValueError, "but is '304'$"),  # far from all others
        (lambda c: drop_channels(c, "AIA 195"), ValueError, r"but is 'AIA 195' \(did you mean 'AIA 193'\?\)$"),
        (lambda c: drop_channels(c, "AIA193"), ValueError, r"but is 'AIA193' \(did you mean 'AIA 193'\?\)$"),
        (lambda c: drop_channels(c, True), ValueError, "but is True$"),
        (lambda c: drop_channels(c, 304 * u.AA), ValueError, r"such as 171 \* u.AA\), but is 304"),
        (lambda c: drop_channels(c, 3), ValueError, "`channels` must be one of"),
        (lambda c: drop_channels(c, c.meta["channels"]), ValueError, "`channels` are all of the cube"),
        (lambda c: drop_channels(c.data, "AIA 94"), TypeError, "`cube` must be an NDCube"),
        (lambda c: drop_channels(c[2], "AIA 171"), ValueError, "`cube` must name each plane"),
    ],
)
def test_bad_drops(cube, call, error, words):
    with pytest.raises(error, match=words):
        call(cube)
