"""Every supported input becomes the same plain arrays, with its flags, metadata and coordinates."""

import numpy as np
import pytest

import astropy.units as u
from astropy.nddata import InverseVariance, StdDevUncertainty, UnknownUncertainty, VarianceUncertainty
from astropy.time import Time
from astropy.wcs import WCS
from ndcube import NDCollection, NDCube, NDCubeSequence
from sunpy.map import Map

from sunpy_demreg import prepare, sample
from sunpy_demreg._channels.cubes import as_channel_data

RATE = u.DN / u.pix / u.s
CHANNELS = [94, 131, 171, 193, 211, 335]


@pytest.fixture(scope="module")
def marked():
    """A cube with a value of each kind that `prepare` masks, in the channel 171 Å."""
    maps = sample.aia_maps()
    data, mask = maps[2].data.copy(), np.zeros(maps[2].data.shape, bool)
    data[0, :3] = np.nan, np.inf, 16000
    mask[0, 2:4] = True
    maps[2] = Map(data, maps[2].meta, mask=mask)
    return prepare(maps, n_sample=16)[:, 0:4, 0:6]


def replaced(cube, **changes):
    parts = {name: getattr(cube, name) for name in ("data", "wcs", "unit", "uncertainty", "mask", "meta")}
    return NDCube(**{**parts, **changes})


@pytest.fixture(scope="module")
def planes():
    """Images of six channels, each with a FITS WCS and a dict of metadata of its own."""
    images = []
    for m in sample.aia_maps():
        meta = {"channels": f"AIA {m.meta['wavelnth']}", "exposure_time": m.exposure_time, "date": m.date}
        meta |= {"n_sample": 16, "degradation_corrected": False, "file": f"{m.meta['wavelnth']}.fits"}
        data = m.data[:4, :6] / m.exposure_time.value
        wcs = sample.aia_maps()[0].wcs.deepcopy()
        wcs.array_shape = data.shape
        images.append(NDCube(data, wcs, unit=RATE, uncertainty=StdDevUncertainty(0.1 * data + 1), meta=meta))
    return images


# ---- what prepare marked


SAME_DATA = {
    "itself": lambda cube: cube,
    "in another unit": lambda cube: cube.to(u.def_unit("kDN", 1000 * u.DN) / u.pix / u.s),
    "per hour": lambda cube: cube.to(u.DN / u.pix / u.h),
    "multiplied": lambda cube: cube * 0.5,
    "divided": lambda cube: cube / (7 * u.one),
    "planes": lambda cube: NDCubeSequence([cube[i] for i in range(6)]),
    "planes that kept their channel axis": lambda cube: NDCubeSequence([cube[i : i + 1] for i in range(6)]),
}


@pytest.mark.parametrize("change", SAME_DATA.values(), ids=SAME_DATA.keys())
def test_saturation_is_remembered(marked, change):
    plain = as_channel_data(change(marked), RATE)
    assert list(zip(*np.nonzero(plain.saturated), strict=True)) == [(2, 0, 2)]
    assert list(zip(*np.nonzero(plain.mask), strict=True)) == [(2, 0, x) for x in range(4)]
    # A saturated value is a lower limit, of infinite error; a value that is not finite is nothing else.
    assert np.isinf(plain.uncertainty[2, 0, 2])
    assert np.isfinite(plain.uncertainty[2, 0, 3:]).all()
    assert np.isnan(plain.uncertainty[2, 0, :2]).all()


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (np.s_[2:3, 0:2, 1:4], [(0, 0, 1)]),
        (np.s_[:, 0], [(2, 2)]),
        (np.s_[1:4, 0:2, 2], [(1, 0)]),
        (np.s_[:, 0, 2], [(2, 0)]),
        (np.s_[:, 0, 3], []),
        (np.s_[:, 1:3], []),
    ],
)
def test_slices_remember_their_saturation(marked, item, expected):
    plain = as_channel_data(marked[item], RATE)
    assert list(zip(*np.nonzero(plain.saturated), strict=True)) == expected
    assert plain.saturated.shape == plain.mask.shape == plain.intensity.shape


def test_infinite_uncertainty_of_other_data_is_not_saturation(marked):
    plain = as_channel_data(replaced(marked, meta={"channels": marked.meta["channels"]}), RATE)
    assert plain.saturated is None
    assert np.isinf(plain.uncertainty[2, 0, 2])


# ---- kinds of uncertainty


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        (StdDevUncertainty, [4.0, -4.0, 0.0, np.nan], [4.0, -4.0, 0.0, np.nan]),
        (VarianceUncertainty, [4.0, -4.0, 0.0, np.nan], [2.0, np.nan, 0.0, np.nan]),
        (InverseVariance, [0.25, -0.25, 0.0, np.inf], [2.0, np.nan, np.inf, 0.0]),
    ],
)
@pytest.mark.parametrize("as_planes", [False, True])
def test_bad_uncertainties_stay_bad_without_a_word(planes, kind, values, expected, as_planes):
    array = np.full((4, 6), 1.0)
    array[0, :4] = values
    given = [replaced(plane, uncertainty=kind(array)) for plane in planes]
    if as_planes:
        sigma = as_channel_data(NDCubeSequence(given), RATE).uncertainty[3]
    else:
        cube = NDCube(planes[0].data[None], WCS(naxis=3), unit=RATE, uncertainty=kind(array[None]))
        sigma = as_channel_data(cube, RATE).uncertainty[0]
    np.testing.assert_array_equal(sigma[0, :4], expected)
    assert np.all(sigma[1:] == 1)


def test_unknown_uncertainty_is_refused(marked):
    cube = replaced(marked, uncertainty=UnknownUncertainty(marked.uncertainty.array))
    with pytest.raises(
        TypeError, match=r"`data` holds a cube whose `uncertainty` is a UnknownUncertainty.*StdDevUncertainty"
    ):
        as_channel_data(cube, RATE)


@pytest.mark.parametrize("kind", [StdDevUncertainty, VarianceUncertainty])
@pytest.mark.parametrize("as_planes", [False, True])
def test_dask_arrays(planes, kind, as_planes):
    import dask.array as dask_array

    data = np.stack([plane.data for plane in planes])
    lazy, lazy_mask = (dask_array.from_array(a, chunks=3) for a in (data, data > 2))
    cube = NDCube(lazy, WCS(naxis=3), unit=RATE, uncertainty=kind(lazy**2), mask=lazy_mask)
    if as_planes:
        cube = NDCubeSequence([cube[i] for i in range(6)])
    plain = as_channel_data(cube, RATE)
    assert {type(a) for a in (plain.intensity, plain.uncertainty, plain.mask)} == {dask_array.Array}
    np.testing.assert_array_equal(plain.intensity, data)
    np.testing.assert_allclose(plain.uncertainty, data if kind is VarianceUncertainty else data**2)
    np.testing.assert_array_equal(plain.mask, data > 2)


# ---- planes of several cubes


@pytest.mark.parametrize("collect", [NDCubeSequence, lambda p: NDCollection([(c.meta["channels"], c) for c in p])])
def test_planes_keep_their_metadata(planes, collect):
    plain = as_channel_data(collect(planes), RATE)
    assert plain.labels == tuple(f"AIA {channel}" for channel in CHANNELS)
    assert plain.meta["n_sample"] == 16
    assert plain.meta["degradation_corrected"] is False
    assert np.all(plain.meta["exposure_time"] == u.Quantity([m.exposure_time for m in sample.aia_maps()]))
    assert isinstance(plain.meta["date"], Time)
    assert plain.meta["date"].isot.tolist() == [m.date.isot for m in sample.aia_maps()]
    assert plain.meta["file"] == [f"{channel}.fits" for channel in CHANNELS]
    np.testing.assert_array_equal(plain.intensity, [plane.data for plane in planes])


def test_planes_of_a_cube_are_the_cube(marked):
    whole = as_channel_data(marked, RATE)
    plain = as_channel_data(NDCubeSequence([marked[i] for i in range(6)]), RATE)
    assert plain.meta.keys() == whole.meta.keys()
    assert np.all(plain.meta["exposure_time"] == whole.meta["exposure_time"])
    assert np.all(plain.meta["date"] == whole.meta["date"])
    for wcs, other in ((plain.wcs, whole.wcs), (plain.channel_wcs.low_level_wcs, whole.channel_wcs.low_level_wcs)):
        assert list(wcs.world_axis_physical_types) == list(other.world_axis_physical_types)
        pixel = range(wcs.pixel_n_dim)
        np.testing.assert_array_equal(wcs.pixel_to_world_values(*pixel), other.pixel_to_world_values(*pixel))


@pytest.mark.parametrize("order", [[5, 4, 3, 2, 1, 0], [0, 2, 1, 3, 4, 5]])
def test_planes_that_do_not_ascend_in_wavelength_are_numbered(marked, order):
    plain = as_channel_data(NDCubeSequence([marked[i] for i in order]), RATE)
    assert plain.labels == tuple(f"AIA {CHANNELS[i]}" for i in order)
    assert plain.channel_wcs.world_axis_physical_types[2] == "custom:channel"


def test_planes_may_have_different_units_of_one_kind(planes):
    given = [planes[0].to(u.DN / u.pix / u.h), *planes[1:]]
    plain = as_channel_data(NDCubeSequence(given), RATE)
    np.testing.assert_allclose(plain.intensity[0], planes[0].data)
    np.testing.assert_allclose(plain.uncertainty[0], planes[0].uncertainty.array)


def test_grids_of_planes_may_differ_by_a_tenth_of_a_pixel(planes):
    plain = as_channel_data(NDCubeSequence([*planes[:5], moved(planes[5], 0.09)]), RATE)
    assert plain.intensity.shape == (6, 4, 6)


def test_planes_whose_coordinates_cannot_be_compared_are_taken_as_they_are(planes):
    bare = replaced(planes[5], wcs=WCS(naxis=2))
    assert as_channel_data(NDCubeSequence([*planes[:5], bare]), RATE).intensity.shape == (6, 4, 6)


def moved(plane, pixels):
    wcs = plane.wcs.low_level_wcs.deepcopy()
    wcs.wcs.crpix[0] += pixels
    wcs.wcs.set()
    return replaced(plane, wcs=wcs)


def in_counts(plane):
    return replaced(plane, unit=u.DN, uncertainty=StdDevUncertainty(plane.uncertainty.array))


BAD_PLANES = {
    "grids": (
        lambda p, _: [*p[:5], moved(p[5], 0.11)],
        r"grids of `data\[0\]` and `data\[\d\]` differ by up to 0\.11 pixels, more than 0\.1: reproject",
    ),
    "shapes": (
        lambda p, _: [*p[:5], p[5][1:]],
        r"grids of `data\[0\]` and `data\[5\]` have the shapes \(4, 6\) and \(3, 6\)",
    ),
    "units": (lambda p, _: [*p[:5], in_counts(p[5])], r"holds cubes in DN, DN / \(pix s\): convert them"),
    "no unit": (lambda p, _: [*p[:5], replaced(p[5], unit=None)], "cubes without a unit"),
    "no uncertainty": (lambda p, _: [*p[:5], replaced(p[5], uncertainty=None)], "`uncertainty` is missing"),
    "one of whole cubes": (lambda p, cube: [*p[:5], cube], "cubes of several channels: give one for each"),
    "the same time twice": (lambda _, cube: [cube, cube], r"`data\[1\]` is not later than the cube before it: sort"),
}


@pytest.mark.parametrize(("change", "words"), BAD_PLANES.values(), ids=BAD_PLANES.keys())
def test_bad_planes(planes, marked, change, words):
    with pytest.raises(ValueError, match=words):
        as_channel_data(NDCubeSequence(change(planes, marked)), RATE)


# ---- cubes that lost an axis


@pytest.mark.parametrize("item", [np.s_[2], np.s_[2, 0:1], np.s_[2, 1:3, 2:5], np.s_[2, 1]])
def test_lost_channel_axis_is_noticed(marked, item):
    lost = r"`data` has lost its channel axis \(AIA 171 is left\): slice a channel cube with 2:3, not with 2"
    with pytest.raises(ValueError, match=lost):
        as_channel_data(marked[item], RATE)


def test_lost_channel_axis_is_noticed_without_labels(marked):
    wcs = WCS(naxis=3)
    wcs.wcs.ctype, wcs.wcs.cunit = ["LINEAR", "LINEAR", "WAVE"], ["deg", "deg", "m"]
    cube = NDCube(marked.data, wcs, unit=RATE, uncertainty=marked.uncertainty)
    assert as_channel_data(cube, RATE).labels is None
    with pytest.raises(ValueError, match="`data` has lost its channel axis: slice"):
        as_channel_data(cube[2], RATE)


def test_one_channel_may_have_a_plain_label(marked):
    plain = as_channel_data(replaced(marked[2:3], meta={"channels": "AIA 171"}), RATE)
    assert plain.labels == ("AIA 171",)


def test_one_pixel_keeps_its_wavelengths(marked):
    plain = as_channel_data(marked[:, 3, 4], RATE)
    np.testing.assert_array_equal(plain.intensity, marked.data[:, 3, 4:5])
    assert list(plain.channel_wcs.world_axis_physical_types) == [None, "em.wl"]
    np.testing.assert_array_equal(plain.channel_wcs.pixel_to_world_values(0, np.arange(6))[1], CHANNELS)
    spectrum = NDCube(marked.data[:, 3, 4], WCS(naxis=1), unit=RATE, uncertainty=StdDevUncertainty(np.ones(6)))
    assert as_channel_data(spectrum, RATE).channel_wcs.world_axis_physical_types[1] == "custom:channel"
