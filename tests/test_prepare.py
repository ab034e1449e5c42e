"""From maps to a channel cube: `prepare`, and the coordinates that it makes."""

import copy
import pickle
import socket

import numpy as np
import pytest

import astropy.units as u
from aiapy.calibrate import correct_degradation, estimate_error
from aiapy.calibrate.utils import get_error_table
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from ndcube import NDCube, NDMeta
from ndcube.wcs.tools import unwrap_wcs_to_fitswcs
from sunpy.map import Map

from sunpy_demreg import DataWarning, TemperatureResponse, prepare, sample
from sunpy_demreg._channels import uncertainty as channels_uncertainty
from sunpy_demreg._common.grids import _grid_shift
from sunpy_demreg._common.wcs import pixel_wcs, plane_wcs, prepend_axis, sky_wcs
from sunpy_demreg.response._aia import _calibration, _read_correction_table

CHANNELS = np.array([94, 131, 171, 193, 211, 335])
LABELS = [f"AIA {channel}" for channel in CHANNELS]
RATE = u.DN / u.pix / u.s


@pytest.fixture(scope="module")
def maps():
    return sample.aia_maps()


@pytest.fixture(scope="module")
def prepared(maps):
    return prepare(maps, n_sample=16)


def changed(smap, data=None, mask=None, **keywords):
    """Copy a map with other data, another mask, or other keywords; None deletes a keyword."""
    header = {key: value for key, value in {**smap.meta, **keywords}.items() if value is not None}
    return Map(smap.data.copy() if data is None else data, header, mask=mask)


def replaced(maps, i, **changes):
    return [changed(m, **changes) if j == i else m for j, m in enumerate(maps)]


def assert_same(one, other):
    np.testing.assert_array_equal(one.data, other.data)
    np.testing.assert_array_equal(one.uncertainty.array, other.uncertainty.array)
    np.testing.assert_array_equal(one.mask, other.mask)
    assert one.meta["channels"].tolist() == other.meta["channels"].tolist()
    assert np.all(one.meta["exposure_time"] == other.meta["exposure_time"])
    assert np.all(one.meta["date"] == other.meta["date"])
    for pixel in ((0, 0, 0), (127, 3, 5)):
        assert one.wcs.low_level_wcs.pixel_to_world_values(*pixel) == (
            other.wcs.low_level_wcs.pixel_to_world_values(*pixel)
        )


def test_the_cube(prepared, maps):
    assert isinstance(prepared, NDCube)
    assert prepared.unit == RATE
    assert prepared.data.shape == (6, 128, 128)
    assert prepared.data.dtype == prepared.uncertainty.array.dtype == np.float64
    assert prepared.uncertainty.uncertainty_type == "std"
    assert np.all(prepared.uncertainty.array > 0)
    assert not prepared.mask.any()
    for intensity, m in zip(prepared.data, maps, strict=True):
        np.testing.assert_array_equal(intensity, m.data / m.exposure_time.value)


def test_the_order_and_kind_of_input_do_not_matter(prepared, maps, tmp_path):
    shuffled = [maps[i] for i in (3, 0, 5, 1, 4, 2)]
    for path in sample.aia_files():
        (tmp_path / path.name).symlink_to(path)
    for given in (
        shuffled,
        tuple(shuffled),
        {m.wavelength: m for m in shuffled},
        Map(shuffled, sequence=True),
        sample.aia_files()[::-1],
        [str(path) for path in sample.aia_files()],
        [maps[0], *sample.aia_files()[1:]],
        tmp_path / "*.fits",
        str(tmp_path / "aia_2014*.fits"),
    ):
        assert_same(prepare(given, n_sample=16), prepared)


def test_fewer_channels_draw_a_warning(prepared, maps):
    lacking = r"`maps` lack AIA 94, AIA 131, AIA 211, AIA 335: a DEM from fewer than six channels is poorly"
    with pytest.warns(DataWarning, match=lacking) as caught:
        two = prepare(maps[2:4], n_sample=16)
    assert len(caught) == 1
    with pytest.warns(DataWarning, match=lacking):
        assert_same(two, prepare([maps[3], maps[2]], n_sample=16))
    with pytest.warns(DataWarning, match="`maps` lack AIA 94, AIA 131, AIA 193"):
        one = prepare(maps[2], n_sample=16)
    assert one.meta["channels"].tolist() == ["AIA 171"]
    np.testing.assert_array_equal(one.data[0], prepared.data[2])
    assert one.axis_world_coords(0)[0] == [171] * u.AA


def test_the_input_is_left_alone(maps):
    data = [m.data.copy() for m in maps]
    meta = [copy.deepcopy(dict(m.meta)) for m in maps]
    given = list(reversed(maps))
    cube = prepare(given, n_sample=16)
    cube.data[...] = -1
    assert given == list(reversed(maps))
    for m, before, header in zip(maps, data, meta, strict=True):
        np.testing.assert_array_equal(m.data, before)
        assert dict(m.meta) == header


@pytest.mark.parametrize("unit", ["", "DN", "DN / pix", "ct", "ct / pix"])
def test_units_of_counts(prepared, maps, unit):
    assert_same(prepare([changed(m, bunit=unit) for m in maps], n_sample=16), prepared)


@pytest.mark.parametrize("unit", ["1 / s", "DN / s", "DN / (pix s)", "ct / s", "ct / (pix s)"])
def test_maps_divided_by_their_exposure_time_give_the_same(prepared, maps, unit):
    rates = [changed(m, data=m.data / m.exposure_time.value, bunit=unit) for m in maps]
    cube = prepare(rates, n_sample=16)
    np.testing.assert_allclose(cube.data, prepared.data, rtol=1e-12)
    np.testing.assert_allclose(cube.uncertainty.array, prepared.uncertainty.array, rtol=1e-12)


def test_maps_divided_by_sunpy_give_the_same(prepared, maps):
    cube = prepare([m / m.exposure_time for m in maps], n_sample=16)
    np.testing.assert_allclose(cube.data, prepared.data, rtol=1e-12)
    np.testing.assert_allclose(cube.uncertainty.array, prepared.uncertainty.array, rtol=1e-12)


@pytest.mark.parametrize("n_sample", [1, 16])
@pytest.mark.parametrize("include_chianti", [False, True])
def test_uncertainty_is_that_of_aiapy(maps, n_sample, include_chianti):
    cube = prepare(maps, n_sample=n_sample, include_chianti=include_chianti)
    table = get_error_table(channels_uncertainty._ERROR_TABLE)
    for m, uncertainty in zip(maps, cube.uncertainty.array, strict=True):
        expected = estimate_error(
            m.data * u.DN / u.pix,
            m.wavelength,
            n_sample=n_sample,
            include_chianti=include_chianti,
            error_table=table,
        )
        np.testing.assert_array_equal(uncertainty, (expected / m.exposure_time).to_value(RATE))
    assert cube.meta["n_sample"] == n_sample
    assert cube.meta["include_chianti"] is include_chianti


@pytest.mark.parametrize(("n_sample", "expected"), [(1, 33.59834985), (16, 8.382505642)])
def test_uncertainty_of_one_pixel_by_hand(maps, n_sample, expected):
    # 1000 DN at 171 A: 1.122 DN per photon, compression 14.4, read noise 1.15 of camera 3, dark 0.18,
    # rounding 1 / sqrt(12); n_sample = 1: sqrt(1122 + 1122 / 14.4^2 + 0.18^2 + 1.15^2 + 1 / 12);
    # n_sample = 16: all of these but the dark noise / 16, and that of the compression twice
    data = maps[2].data.copy()
    data[7, 11] = 1000
    cube = prepare(replaced(maps, 2, data=data), n_sample=n_sample)
    exposure = maps[2].exposure_time.value
    assert cube.uncertainty.array[2, 7, 11] == pytest.approx(expected / exposure, rel=1e-9)


def test_error_table_is_the_bundled_one_unless_given(prepared, maps, tmp_path):
    table = get_error_table(channels_uncertainty._ERROR_TABLE)
    assert_same(prepare(maps, n_sample=16, error_table=table), prepared)
    assert_same(prepare(maps, n_sample=16, error_table=str(channels_uncertainty._ERROR_TABLE)), prepared)
    table["DNPERPHT"] *= 4
    assert np.all(prepare(maps, error_table=table, n_sample=16).uncertainty.array > prepared.uncertainty.array)
    with pytest.raises(ValueError, match="`error_table` must have one row for 94 Å but has 0"):
        prepare(maps, n_sample=16, error_table=table[1:])
    with pytest.raises(FileNotFoundError):
        prepare(maps, n_sample=16, error_table="SSW")  # for aiapy, the name of a download


def test_nothing_is_downloaded(prepared, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was used")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    assert_same(prepare(sample.aia_files(), n_sample=16), prepared)


def test_mask_and_values_that_are_not_counts(prepared, maps):
    data = maps[1].data.copy()
    values = {(0, 0): np.nan, (0, 1): np.inf, (0, 2): -np.inf, (0, 3): 15000.5, (0, 4): 15000, (0, 5): 0, (0, 6): -3}
    for index, value in values.items():
        data[index] = value
    given_mask = np.zeros(data.shape, dtype=bool)
    given_mask[5, 6] = True
    cube = prepare(replaced(maps, 1, data=data, mask=given_mask), n_sample=16)

    masked = [(0, 0), (0, 1), (0, 2), (0, 3), (5, 6)]
    assert sorted(zip(*np.nonzero(cube.mask[1]), strict=True)) == masked
    assert not cube.mask[[0, 2, 3, 4, 5]].any()
    uncertainty = cube.uncertainty.array[1]
    assert np.isnan(uncertainty[0, :3]).all()
    assert np.isinf(uncertainty).sum() == np.isinf(uncertainty[0, 3]) == 1  # saturated: only a lower limit
    assert uncertainty[0, 5] == uncertainty[0, 6] > 0  # negative counts have the noise of none
    assert cube.data[1, 0, 6] == -3 / maps[1].exposure_time.value
    untouched = np.ones(data.shape, dtype=bool)
    untouched[0, :7] = False
    np.testing.assert_array_equal(uncertainty[untouched], prepared.uncertainty.array[1][untouched])
    np.testing.assert_array_equal(cube.data[1][untouched], prepared.data[1][untouched])


@pytest.mark.parametrize("is_rate", [False, True])
def test_saturation_is_judged_on_raw_counts(maps, is_rate):
    given = [m / m.exposure_time for m in maps] if is_rate else maps
    cube = prepare(given, n_sample=16, saturation=5000)
    np.testing.assert_array_equal(cube.mask, [m.data > 5000 for m in maps])
    np.testing.assert_array_equal(np.isinf(cube.uncertainty.array), cube.mask)
    assert cube.mask.any()
    assert cube.meta["saturation"] == 5000
    assert_same(prepare(given, n_sample=16, saturation=5 * u.def_unit("kDN", 1000 * u.DN)), cube)


@pytest.mark.parametrize("is_rate", [False, True])
def test_maps_corrected_for_degradation_have_the_errors_of_raw_counts(maps, is_rate):
    raw = prepare(maps, n_sample=16, saturation=5000)
    calibration = _calibration(_read_correction_table(None))
    corrected = [correct_degradation(m, **calibration) for m in maps]
    if is_rate:
        corrected = [m / m.exposure_time for m in corrected]
    cube = prepare(corrected, n_sample=16, saturation=5000, degradation_corrected=True)
    factors = np.array(list(TemperatureResponse.from_aia(raw).meta["degradation"].values()))[:, None, None]
    assert factors.min() < 0.5
    np.testing.assert_allclose(cube.data, raw.data / factors, rtol=1e-7)
    # Not closer: the noise of the compression sets in at 25 DN, which counts that were divided before may just miss.
    np.testing.assert_allclose(cube.uncertainty.array, raw.uncertainty.array / factors, rtol=5e-3)
    np.testing.assert_array_equal(cube.mask, raw.mask)
    assert cube.meta["degradation_corrected"] is True
    with pytest.raises(ValueError, match=r"already corrected for degradation.*never both"):
        TemperatureResponse.from_aia(cube, degradation=True)
    assert TemperatureResponse.from_aia(cube).meta["degradation"] is None


def test_metadata_is_sliced_with_the_cube(prepared, maps):
    meta = prepared.meta
    assert isinstance(meta, NDMeta)
    assert meta["channels"].tolist() == LABELS
    assert meta["exposure_time"].to_value(u.s).tolist() == [m.exposure_time.value for m in maps]
    assert meta["date"].isot.tolist() == [m.date.isot for m in maps]
    assert meta["exposure_normalized"] is True
    assert meta["degradation_corrected"] is False
    assert (meta["instrument"], meta["level"], meta["saturation"], meta["n_sample"]) == ("AIA", 1.5, 15000, 16)

    some = prepared[1:3, 4:6].meta
    assert some["channels"].tolist() == LABELS[1:3]
    assert np.all(some["exposure_time"] == meta["exposure_time"][1:3])
    assert np.all(some["date"] == meta["date"][1:3])
    assert some["n_sample"] == 16
    one = prepared[4].meta
    assert one["channels"] == "AIA 211"
    assert one["date"] == maps[4].date
    assert prepared[..., 3].meta["channels"].tolist() == LABELS


def test_coordinates_are_those_of_the_first_map(prepared, maps):
    assert np.all(prepared.axis_world_coords(0)[0] == CHANNELS * u.AA)
    coordinates = prepared.axis_world_coords(1, 2)[0]
    y, x = np.array([[0, 0, 64, 127, 100], [0, 127, 31, 127, 5]])
    expected = maps[0].pixel_to_world(x * u.pix, y * u.pix)
    assert np.max(np.abs(coordinates[y, x].Tx - expected.Tx)) < 1e-9 * u.arcsec
    assert np.max(np.abs(coordinates[y, x].Ty - expected.Ty)) < 1e-9 * u.arcsec
    assert coordinates.observer.separation_3d(maps[0].observer_coordinate) < 1 * u.m
    others = maps[2].pixel_to_world(x * u.pix, y * u.pix)
    assert np.max(np.hypot(others.Tx - expected.Tx, others.Ty - expected.Ty)) < 0.24 * u.arcsec


def test_cube_can_be_cropped_to_channels_and_sky(prepared, maps):
    corners = [maps[0].pixel_to_world(x * u.pix, y * u.pix) for x, y in ((10, 20), (30, 50))]
    cropped = prepared.crop([corners[0], 150 * u.AA], [corners[1], 21 * u.nm])
    assert cropped.shape == (3, 31, 21)
    np.testing.assert_array_equal(cropped.data, prepared.data[2:5, 20:51, 10:31])
    assert cropped.meta["channels"].tolist() == LABELS[2:5]


def test_plot_has_the_axes_of_the_map(prepared, tmp_path):
    import matplotlib.pyplot as plt

    figure = plt.figure()
    axes = prepared[2].plot()
    figure.savefig(tmp_path / "plot.png")
    assert [axes.coords[i].coord_type for i in (0, 1)] == ["longitude", "latitude"]
    plt.close(figure)


def test_dask_maps(maps):
    import dask.array as dask_array

    data, masks = [m.data for m in maps], [m.data > 1000 for m in maps]
    eager, lazy = (
        prepare([changed(*each) for each in zip(maps, *arrays, strict=True)], n_sample=16)
        for arrays in ((data, masks), [[dask_array.from_array(a, chunks=64) for a in both] for both in (data, masks)])
    )
    assert type(lazy.data) is type(lazy.mask) is np.ndarray
    assert lazy.mask.any()
    assert_same(lazy, eager)


def test_maps_that_look_averaged_draw_a_warning(prepared, maps):
    with pytest.warns(
        DataWarning, match=r"`n_sample` is assumed to be 1.*4\.0 times.*pass 16; if not, pass 1"
    ) as caught:
        cube = prepare(maps)
    assert len(caught) == 1
    assert cube.meta["n_sample"] == 1
    assert np.all(cube.uncertainty.array > prepared.uncertainty.array)


def test_root_of_the_number_of_averaged_pixels_draws_a_warning(prepared, maps):
    with pytest.warns(
        DataWarning, match=r"`n_sample` is 4, .* of 4 x 4 pixels, pass 16, or their errors come out 2 times too large"
    ) as caught:
        cube = prepare(maps, n_sample=4)
    assert len(caught) == 1
    np.testing.assert_allclose(np.median(cube.uncertainty.array / prepared.uncertainty.array), 2, rtol=0.1)


def test_pixels_of_aia_draw_no_warning(maps):
    assert prepare([changed(m, cdelt1=0.6, cdelt2=0.6) for m in maps]).meta["n_sample"] == 1


@pytest.mark.parametrize(("second", "warns"), [("01", False), ("59", False), ("95", True)])
def test_maps_far_apart_in_time_draw_a_warning(maps, second, warns):
    minute, second = divmod(int(second), 60)
    given = replaced(maps, 2, **{"date-obs": f"2014-01-01T00:{minute:02d}:{second:02d}"})
    if warns:
        with pytest.warns(DataWarning, match=r"`maps` span 95 s.*at most a minute apart"):
            prepare(given, n_sample=16)
    else:
        assert prepare(given, n_sample=16).meta["date"][2].isot.endswith(f"{second:02d}.000")


def test_keywords_may_be_text(prepared, maps):
    as_text = [
        changed(m, wavelnth=str(m.meta["wavelnth"]), lvl_num="1.5", exptime=str(m.meta["exptime"])) for m in maps
    ]
    assert_same(prepare(as_text, n_sample=16), prepared)


def without_type(smap, **keywords):
    """Build a map whose header was written after it was made, as one may do with the outcome of `reproject_to`."""
    generic = changed(smap, instrume=None)
    generic.meta.update(keywords)
    return generic


def shifted(maps, pixels):
    return replaced(maps, 3, crpix1=maps[3].meta["crpix1"] + pixels)


def test_grids_may_differ_by_a_tenth_of_a_pixel(maps):
    assert prepare(shifted(maps, 0.09), n_sample=16).shape == (6, 128, 128)


def wrong_file(tmp_path, content):
    path = tmp_path / "wrong.fits"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        fits.writeto(path, content)
    return path


BAD_CALLS = {
    "shifted grid": (
        lambda m, _: shifted(m, 0.11),
        ValueError,
        r"differ by up to 0\.11 pixels.*`reference`, .*171 \* u\.AA",
    ),
    "scaled grid": (lambda m, _: replaced(m, 5, cdelt1=2.41), ValueError, r"grids of .*AIA 335 Å.*`reference`"),
    "rotated grid": (lambda m, _: replaced(m, 1, crota2=1), ValueError, r"grids of .*AIA 131 Å.*`reference`"),
    "shape": (lambda m, _: replaced(m, 2, data=m[2].data[1:]), ValueError, r"\(128, 128\) and \(127, 128\)"),
    "no level": (lambda m, _: replaced(m, 0, lvl_num=None), ValueError, "level None, but .* level 1 or 1.5.*LVL_NUM"),
    "level 2": (lambda m, _: replaced(m, 0, lvl_num=2), ValueError, "level 2, but .* level 1 or 1.5"),
    "mixed levels": (lambda m, _: replaced(m, 2, lvl_num=1), ValueError, "level 1.5 but .* is level 1: .* one level"),
    "304": (lambda m, _: replaced(m, 4, wavelnth=304), ValueError, r"`maps\[4\]` is AIA 304 Å.*optically thick"),
    "1600": (lambda m, _: replaced(m, 4, wavelnth=1600), ValueError, "AIA 1600 Å, but .*94, 131, 171, 193, 211, 335"),
    "twice": (lambda m, _: [*m, m[1]], ValueError, r"`maps\[1\]` and `maps\[6\]` are both AIA 131 Å"),
    "no exposure": (lambda m, _: replaced(m, 2, exptime=None), ValueError, r"`maps\[2\]` .*exposure.*None.*EXPTIME"),
    "zero exposure": (lambda m, _: replaced(m, 2, exptime=0.0), ValueError, r"positive exposure time, but has 0\.0"),
    "negative exposure": (lambda m, _: replaced(m, 2, exptime=-2.0), ValueError, r"exposure time, but has -2\.0"),
    "exposure is text": (lambda m, _: replaced(m, 2, exptime="nan"), ValueError, "exposure time, but has nan"),
    "unit": (lambda m, _: replaced(m, 2, bunit="erg"), ValueError, r"`maps\[2\]` is in 'erg', but .*BUNIT"),
    "unit per minute": (lambda m, _: replaced(m, 2, bunit="DN / min"), ValueError, "is in 'DN / min'"),
    "not AIA": (
        lambda m, _: replaced(m, 0, instrume="other"),
        ValueError,
        r"`maps\[0\]` is not a map of SDO/AIA, GOES/SUVI or Hinode/XRT \(GenericMap, instrument other\): leave it out$",
    ),
    "reprojected": (
        lambda m, _: [without_type(m[0])],
        ValueError,
        r"`maps\[0\]` is not a map of SDO/AIA, GOES/SUVI or Hinode/XRT \(GenericMap, instrument unknown\): "
        ".*`prepare` aligns maps itself",
    ),
    "reprojected, header changed": (
        lambda m, _: [without_type(m[0], instrume="AIA_4")],
        ValueError,
        r"\(GenericMap, instrument AIA 4\): .*lost its type.*`sunpy\.map\.Map\(smap\.data, smap\.meta\)`",
    ),
    "not FITS": (
        lambda _, p: wrong_file(p, b"some text"),
        ValueError,
        r"cannot read .*wrong\.fits .*: give FITS files",
    ),
    "an image without header": (lambda _, p: wrong_file(p, np.ones((9, 9))), ValueError, r"wrong\.fits"),
    "no file": (lambda _, p: p / "none.fits", FileNotFoundError, r"there is no file .*none\.fits"),
    "no match": (lambda _, p: [str(p / "*.fits")], FileNotFoundError, r"there is no file .*\*\.fits"),
    "folder": (lambda _, p: p, ValueError, r"is a folder, not a file: name its files, for instance '.*/\*\.fits'"),
    "no name": (lambda *_: "", ValueError, r"'' is a folder, not a file: .*'\*\.fits'"),
    "web address": (lambda *_: "http://127.0.0.1:9/a.fits", ConnectionError, r"`maps`: http://127.*cannot be reached"),
    "empty": (lambda *_: [], ValueError, "`maps` is empty"),
    "array": (lambda m, _: m[0].data, TypeError, "`maps` must be a list or dict of maps .*, but is of type ndarray"),
    "list of arrays": (lambda m, _: [m[0].data], TypeError, r"`maps\[0\]` must be a sunpy map or a file name"),
    "dict": (lambda m, _: {"a": m[0], "b": 3}, TypeError, r"`maps\['b'\]` must be a sunpy map .*, but is 3"),
}


@pytest.mark.parametrize(("given", "error", "message"), BAD_CALLS.values(), ids=BAD_CALLS.keys())
def test_bad_maps(maps, tmp_path, given, error, message):
    with pytest.raises(error, match=message):
        prepare(given(maps, tmp_path), n_sample=16)


def test_a_unit_that_sunpy_cannot_read_is_not_taken_for_none(maps):
    with (
        pytest.warns(UserWarning, match="Could not parse unit"),
        pytest.raises(ValueError, match="is in 'sausage', but must be in DN"),
    ):
        prepare(replaced(maps, 2, bunit="sausage"), n_sample=16)


@pytest.mark.parametrize(
    ("argument", "value", "error", "message"),
    [
        ("n_sample", 0, ValueError, "`n_sample` must be a whole number .* but is 0$"),
        ("n_sample", 2.5, ValueError, "`n_sample` must be a whole number .* but is 2.5$"),
        ("n_sample", np.inf, ValueError, "`n_sample` must be a whole number .* but is inf$"),
        ("n_sample", "16", TypeError, "`n_sample` must be a whole number .* such as 16, .* but is '16'$"),
        ("saturation", 0, ValueError, "`saturation` must be a finite number of DN, .* above 0, but is 0$"),
        ("saturation", np.nan, ValueError, "`saturation` must be a finite number of DN, .* above 0, but is nan$"),
        ("saturation", -3 * u.DN, ValueError, "`saturation` must be a finite number of DN, .* above 0, but is -3.0$"),
        (
            "saturation",
            "much",
            TypeError,
            "`saturation` must be a finite number of DN, such as 15000, .* but is .much.$",
        ),
        ("saturation", "15000", TypeError, "`saturation` must be a finite number of DN, .* but is '15000'$"),
        ("saturation", 15000 * u.DN / u.s, TypeError, "`saturation` must be a finite .*but is 15000.0 DN / s$"),
        ("saturation", [1e4] * u.DN, TypeError, "`saturation` must be a finite number of DN, .*of type Quantity$"),
        ("n_sample", True, TypeError, "`n_sample` must be a whole number .* but is True$"),
        ("bin", 0, ValueError, "`bin` must be a whole number of pixels from 1 to 4096, but is 0$"),
        ("bin", 2.5, ValueError, "`bin` must be a whole number of pixels"),
        ("bin", (2, 2), TypeError, "`bin` must be a whole number of pixels"),
        ("bin", 129, ValueError, "`bin` must not be larger than the field, but is 129"),
        ("align", None, TypeError, "`align` must be True or False"),
        ("include_eve", "yes", TypeError, "`include_eve` must be True or False"),
        ("include_chianti", 2, TypeError, "`include_chianti` must be True or False, but is 2$"),
        ("correct_degradation", "no", TypeError, "`correct_degradation` must be True or False, but is 'no'$"),
        (
            "relative_floor",
            1.5,
            ValueError,
            "`relative_floor` must be .*fraction of the intensity.* is 1.5",
        ),
        ("relative_floor", {94: -0.1}, ValueError, "`relative_floor` must be .*a fraction of the intensity"),
        ("relative_floor", {94: 0.1, "AIA 94": 0.2}, ValueError, "`relative_floor` has two values for AIA 94"),
        ("exposure_times", {94: 2, 94 * u.AA: 3}, ValueError, "`exposure_times` has two values for AIA 94"),
        ("exposure_times", {"AIA": 2}, TypeError, "`exposure_times` must be a dict of a time .* but has 'AIA'"),
        ("relative_floor", {95: 0.1}, ValueError, "`relative_floor` names 95 Å, but there is no such map"),
        ("relative_floor", {"94 s": 0.1}, TypeError, "`relative_floor` must be one number, or a dict"),
        ("relative_floor", "large", TypeError, "`relative_floor` must be one number"),
        (
            "reference",
            304 * u.AA,
            ValueError,
            "`reference` must be the wavelength of one of the maps, 94, .* but is 304",
        ),
        ("reference", 3, TypeError, "`reference` must be a map, its file, or the wavelength of one"),
        ("reference", "first", FileNotFoundError, "`reference`: there is no file first: give a map, its file, or the"),
        ("reference", __file__, ValueError, r"`reference`: cannot read .*test_prepare.py as a map \("),
        ("submap", (1, 2), TypeError, "`submap` must be a pair of coordinates"),
        ("psf", {94: np.ones((3, 3))}, ValueError, "`psf` is for level 1, but .* is level 1.5, .*already registered"),
        ("pointing_table", "lmsal", ValueError, "`pointing_table` is for level 1, but .* is level 1.5"),
        ("degradation_corrected", [True], TypeError, "`degradation_corrected` must be True or False, .* type list$"),
    ],
)
def test_bad_arguments(maps, argument, value, error, message):
    with pytest.raises(error, match=message):
        prepare(maps, **{"n_sample": 16, argument: value})


# Coordinates with a table in front, as all cubes of this package have them.


def temperature_cube(celestial, n=36, shape=(4, 5)):
    centers = 10 ** (5.625 + 0.05 * np.arange(n)) * u.K
    wcs = prepend_axis(celestial, centers, "temperature", "phys.temperature")
    return centers, NDCube(np.zeros((n, *shape)), wcs=wcs)


@pytest.fixture
def celestial(maps):
    return maps[0].wcs


def test_temperature_axis(celestial):
    centers, cube = temperature_cube(celestial)
    assert cube.wcs.world_axis_physical_types[2] == "phys.temperature"
    assert cube.wcs.low_level_wcs.world_axis_names[2] == "temperature"
    assert np.all(cube.axis_world_coords("phys.temperature")[0] == centers)
    assert np.all(cube[3:7, 1].axis_world_coords(0)[0] == centers[3:7])
    assert cube[3].global_coords["temperature"] == centers[3]
    assert isinstance(cube[:, 1, 2].global_coords["helioprojective"], SkyCoord)
    np.testing.assert_array_equal(cube.wcs.low_level_wcs.world_to_pixel_values(0, 0, centers.value)[2], np.arange(36))


def test_pixel_corners_of_logarithmic_bins_are_their_edges(celestial):
    _, cube = temperature_cube(celestial)
    edges = cube.axis_world_coords(0, pixel_corners=True)[0]
    np.testing.assert_allclose(np.log10(edges.to_value(u.K)), 5.6 + 0.05 * np.arange(37), rtol=1e-14)


def test_cropping_beyond_the_table_keeps_all(celestial):
    _, cube = temperature_cube(celestial)
    assert cube.crop([None, 1e4 * u.K], [None, 1e9 * u.K]).shape == (36, 4, 5)
    assert cube.crop([None, 1.1 * u.MK], [None, 1e9 * u.K]).shape == (28, 4, 5)


def test_table_axis_goes_both_ways_and_passes_nan(celestial):
    for n in (1, 2, 36):
        _, cube = temperature_cube(celestial, n)
        table = cube.wcs.low_level_wcs._wcs[-1]
        pixels = np.linspace(-3, n + 2, 41)
        np.testing.assert_allclose(table.world_to_pixel_values(table.pixel_to_world_values(pixels)), pixels, atol=1e-12)
        assert np.isnan(table.pixel_to_world_values(np.nan))
        assert np.isnan(table.world_to_pixel_values(-1.0))


def test_one_entry_is_enough(celestial):
    centers, cube = temperature_cube(celestial, 1)
    assert np.all(cube.axis_world_coords(0)[0] == centers)
    assert np.all(cube[:, 1:3].axis_world_coords(0)[0] == centers)
    assert cube[0].global_coords["temperature"] == centers[0]


def test_coordinates_survive_pickling(celestial):
    centers, cube = temperature_cube(celestial)
    assert np.all(pickle.loads(pickle.dumps(cube)).axis_world_coords(0)[0] == centers)


@pytest.mark.parametrize("item", [np.s_[:], np.s_[2:5], np.s_[:, 1:3, 2:], np.s_[:, 1:3, 2], np.s_[2:5, 3]])
def test_celestial_undoes_prepend_axis(celestial, item):
    cube = temperature_cube(celestial)[1][item]
    wcs = sky_wcs(cube.wcs)
    assert wcs.pixel_n_dim == cube.data.ndim - 1
    pixel = np.arange(wcs.pixel_n_dim)
    expected = cube.wcs.low_level_wcs.pixel_to_world_values(*pixel, 0)[:2]
    np.testing.assert_array_equal(wcs.pixel_to_world_values(*pixel), expected)
    assert unwrap_wcs_to_fitswcs(wcs)[0].to_header()["CTYPE1"] == "HPLN-TAN"


def test_celestial_of_other_cubes(celestial):
    assert sky_wcs(temperature_cube(celestial)[1].wcs) is celestial
    assert sky_wcs(temperature_cube(celestial)[1][:, 1, 1].wcs) is None
    assert sky_wcs(temperature_cube(celestial)[1][3].wcs).pixel_n_dim == 1
    fits_wcs = WCS(naxis=3)
    fits_wcs.wcs.ctype = ["HPLN-TAN", "HPLT-TAN", "WAVE"]
    assert sky_wcs(fits_wcs).world_n_dim == 2


@pytest.mark.parametrize("item", [np.s_[3], np.s_[3, 1:3, 2:], np.s_[3, 1:3, 2]])
def test_plane_undoes_prepend_axis(celestial, item):
    plane = temperature_cube(celestial)[1][item]
    wcs = plane_wcs(plane.wcs)
    pixel = np.arange(plane.data.ndim)
    expected = plane.wcs.low_level_wcs.pixel_to_world_values(*pixel)
    np.testing.assert_array_equal(wcs.pixel_to_world_values(*pixel), expected)
    assert unwrap_wcs_to_fitswcs(wcs)[0].to_header()["CTYPE1"] == "HPLN-TAN"
    assert plane_wcs(celestial) is celestial


@pytest.mark.parametrize("axis", [0, 1])
def test_grid_shift_is_in_pixels(celestial, axis):
    other = celestial.deepcopy()
    other.wcs.crpix[axis] += 0.3
    other.wcs.set()
    assert _grid_shift(celestial, other, (4, 5)) == pytest.approx(0.3)
    assert _grid_shift(celestial, celestial, (4, 5)) < 1e-9
    slits = (
        temperature_cube(wcs)[1][0, :, 2] if axis else temperature_cube(wcs)[1][0, 1] for wcs in (celestial, other)
    )
    assert _grid_shift(*(slit.wcs for slit in slits), (4 if axis else 5,)) == pytest.approx(0.3)


def test_grid_shift_is_not_known_off_the_sky():
    def whole_sky(crpix):
        wcs = WCS(naxis=2)
        wcs.wcs.ctype, wcs.wcs.cdelt = ["HGLN-AIT", "HGLT-AIT"], [-4, 4]
        wcs.wcs.crpix = [crpix, 23]
        wcs.wcs.set()
        return wcs

    assert not np.isfinite(whole_sky(45.5).pixel_to_world_values(0, 0)).any()
    assert _grid_shift(whole_sky(45.5), whole_sky(45.5), (45, 90)) < 1e-9
    assert not _grid_shift(whole_sky(45.5), whole_sky(45.7), (45, 90)) <= 0.1


@pytest.mark.parametrize("shape", [(), (5,), (4, 5), (3, 4, 5)])
def test_pixel_wcs(shape):
    wcs = pixel_wcs(shape) if shape else None
    centers, cube = temperature_cube(wcs, 6, shape)
    assert np.all(cube.axis_world_coords(0)[0] == centers)
    assert np.all(cube[2:4].axis_world_coords(0)[0] == centers[2:4])
    for axis, length in enumerate(shape):
        assert np.all(cube[0].axis_world_coords(axis)[0] == np.arange(length) * u.one)
    inner = sky_wcs(cube.wcs)
    assert inner is None if not shape else inner.pixel_n_dim == len(shape)
