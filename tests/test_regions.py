"""Spectra of regions: which pixels they have, and the uncertainty of their averages."""

import warnings

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
import pytest
from lazy_cubes import lazily
from scipy.ndimage import map_coordinates

import astropy.units as u
from astropy.coordinates import SkyCoord
from astropy.nddata import StdDevUncertainty
from astropy.wcs import WCS
from ndcube import NDCube
from sunpy.map import Map
from sunpy.util.exceptions import SunpyUserWarning

from sunpy_demreg import (
    DataWarning,
    combine,
    covariance,
    em_loci,
    invert,
    prepare,
    prepare_series,
    region_spectrum,
    sample,
    visualization,
)
from sunpy_demreg._channels.resample import squared_weights
from sunpy_demreg._channels.stacks import in_time
from sunpy_demreg._common.cube import Meta
from sunpy_demreg._common.wcs import sky_wcs, wcs_from_text, wcs_text

CENTER = (-975, -110)  # arcsec, an active region of the sample


@pytest.fixture(scope="module")
def frame(cube):
    return sample.aia_maps()[0].coordinate_frame


@pytest.fixture(scope="module")
def flare():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SunpyUserWarning)
        return {bin: prepare(sample.flare_maps(0), bin=bin) for bin in (1, 2, 8)}


def at(frame, *points):
    return SkyCoord(points * u.arcsec, frame=frame)


def square(shape, i, j, n):
    mask = np.zeros(shape, dtype=bool)
    mask[n * i : n * (i + 1), n * j : n * (j + 1)] = True
    return mask


def world(cube):
    """Coordinates of all pixels, in arcsec."""
    y, x = np.indices(cube.shape[-2:])
    tx, ty = sky_wcs(cube.wcs).pixel_to_world_values(x, y)
    return (np.mod(tx * 3600 + 648000, 1296000) - 648000), ty * 3600


def same(found, expected, rtol=1e-6):
    np.testing.assert_allclose(found.data[:, 0], expected.data, rtol=1e-12)
    np.testing.assert_allclose(found.uncertainty.array[:, 0], expected.uncertainty.array, rtol=rtol)
    np.testing.assert_array_equal(found.mask[:, 0], expected.mask)


@pytest.mark.parametrize(
    "options",
    [{}, {"include_eve": True, "include_chianti": True}, {"relative_floor": {94: 0.2, 171: 0.02}, "include_eve": True}],
    ids=str,
)
def test_a_square_is_that_of_bin(options):
    maps = sample.aia_maps()
    cube, binned = (prepare(maps, n_sample=16, saturation=np.inf, bin=bin, **options) for bin in (1, 8))
    for i, j in ((2, 3), (11, 6), (0, 0), (15, 15)):
        same(region_spectrum(cube, square((128, 128), i, j, 8)), binned[:, i, j])


@pytest.mark.parametrize("place", [(2, 3), (5, 2), (7, 7)])
def test_a_square_of_interpolated_pixels_is_that_of_bin(flare, place):
    """Also of averages, and of a part of the cube."""
    i, j = place
    expected, mask = flare[8][:, i, j], square((67, 67), i, j, 8)
    same(region_spectrum(flare[1], mask, bad_pixels="mask"), expected)
    same(region_spectrum(flare[2], square((33, 33), i, j, 4), bad_pixels="mask"), expected)
    same(region_spectrum(flare[1][:, 5:, 7:], mask[5:, 7:], bad_pixels="mask"), expected)
    parts = combine([flare[1][:2], flare[1][2:]])
    same(region_spectrum(parts, mask, bad_pixels="mask"), expected)


@pytest.mark.parametrize("bin", [1, 3])
def test_squared_weights_are_those_of_interpolation(bin):
    """Against images of one pixel each, interpolated and averaged."""
    rng = np.random.default_rng(1)
    wcs, other = WCS(naxis=2), WCS(naxis=2)
    for each in (wcs, other):
        each.wcs.ctype, each.wcs.cunit = ["HPLN-TAN", "HPLT-TAN"], ["arcsec", "arcsec"]
    wcs.wcs.cdelt, other.wcs.cdelt = [0.6 * bin, 0.6 * bin], [0.59, 0.61]
    other.wcs.crpix, other.wcs.pc = [6.3, 5.8], [[0.99, 0.1], [-0.1, 0.99]]
    rows, columns = np.nonzero(rng.random((3, 3)) < 0.7)
    fine = [(np.add.outer(each * bin, np.arange(bin)) - (bin - 1) / 2) / bin for each in (rows, columns)]
    y, x = np.broadcast_arrays(fine[0][:, :, None], fine[1][:, None, :])
    x, y = other.world_to_pixel_values(*wcs.pixel_to_world_values(x.ravel(), y.ravel()))
    assert 1 < x.min() < x.max() < 23
    assert 1 < y.min() < y.max() < 23
    expected = 0.0
    for place in np.ndindex(25, 25):
        one = np.zeros((25, 25))
        one[place] = 1
        expected += map_coordinates(one, [y, x], order=1).mean() ** 2
    assert squared_weights(wcs, other, rows, columns, bin) == pytest.approx(expected, rel=1e-6)
    back = wcs_from_text(wcs_text(other))
    np.testing.assert_allclose(back.world_to_pixel_values(0.01, 0.02), other.world_to_pixel_values(0.01, 0.02))


@pytest.mark.parametrize("n", [1, 5, 40])
def test_the_uncertainty_is_the_scatter_of_draws(n):
    """Noise of every pixel and an error of the calibration that all have in common, drawn a thousand times."""
    rng = np.random.default_rng(n)
    smap, exposure, counts, dn_per_photon, eve = sample.aia_maps()[2], 2.0, 30.0, 1.122, 0.019
    header = {k: v for k, v in smap.meta.items() if k not in ("keycomments", "bitpix")}
    flat = Map(np.full((n, n), counts), header | {"exptime": exposure})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SunpyUserWarning)  # one channel only
        cube = prepare(flat, n_sample=1, include_eve=True)
    photons = rng.poisson(counts / dn_per_photon, (1000, n, n)) * dn_per_photon
    noise = rng.normal(0, np.sqrt(1.15**2 + 2 / 12), photons.shape)  # of reading; of digitizing and compression
    draws = (photons + noise).mean(axis=(1, 2)) + rng.normal(0, 0.18, 1000)  # the dark level
    draws *= 1 + rng.normal(0, eve, 1000)
    spectrum = region_spectrum(cube, np.ones((n, n), dtype=bool))
    assert spectrum.uncertainty.array[0, 0] == pytest.approx(draws.std() / exposure, rel=0.07)


def test_kinds_of_regions(cube, frame):
    tx, ty = world(cube)
    x, y = CENTER
    box = (tx > x - 50) & (tx < x + 20) & (ty > y) & (ty < y + 70)
    ring = np.hypot(tx - x, ty - y) < 60
    triangle = (ty > y - 50) & (ty - y + 50 < tx - x + 50) & (tx < x + 50)
    bright = (cube.data[2] > 800) & (cube.data[0] > 10)
    spectrum = region_spectrum(
        cube,
        {
            "box": at(frame, (x - 50, y), (x + 20, y + 70)),
            "corners": (at(frame, (x + 20, y + 70))[0], at(frame, (x - 50, y))[0]),
            "circle": (at(frame, CENTER)[0], 1 * u.arcmin),
            "polygon": list(at(frame, (x - 50, y - 50), (x + 50, y - 50), (x + 50, y + 50))),
            "mask": ring,
            "level": {171: 800 * u.DN / u.pix / u.s, 9.4 * u.nm: 600 * u.DN / u.pix / u.min},
        },
    )
    masks = [box, box, ring, triangle, ring, bright]
    assert spectrum.meta["region"].tolist() == ["box", "corners", "circle", "polygon", "mask", "level"]
    assert spectrum.meta["n_pixels"].tolist() == [mask.sum() for mask in masks]
    assert min(spectrum.meta["n_pixels"]) > 100
    for k, mask in enumerate(masks):
        np.testing.assert_allclose(spectrum.data[:, k], cube.data[:, mask].mean(axis=1), rtol=1e-12)
    # The area seen: pixels of 2.4 arcsec at the distance of SDO.
    side = (2.4 * u.arcsec).to_value(u.rad) * frame.observer.radius
    np.testing.assert_allclose(
        spectrum.meta["area"] / spectrum.meta["n_pixels"], [1] * 6 * side.to(u.cm) ** 2, rtol=1e-4
    )
    # In other coordinates: those of another time and observer, and of the solar surface; off the limb too.
    point = at(frame, (-900, -100))[0]
    on_surface = point.transform_to("heliographic_stonyhurst")
    around = region_spectrum(cube, [(each, 20 * u.arcsec) for each in (point, on_surface)])
    assert around.meta["n_pixels"][0] == around.meta["n_pixels"][1] > 100
    later = frame.replicate_without_data(obstime=frame.obstime + 10 * u.s)
    off = region_spectrum(cube, [at(f, (-1090, -100), (-1060, -50)) for f in (frame, later)])
    assert off.meta["n_pixels"][0] == off.meta["n_pixels"][1] > 100
    assert off.meta["region"].tolist() == ["region 1", "region 2"]


def test_regions_of_the_package_regions(cube, frame):
    regions = pytest.importorskip("regions")
    circle = regions.CircleSkyRegion(at(frame, CENTER)[0], 60 * u.arcsec)
    in_pixels = circle.to_pixel(sample.aia_maps()[0].wcs)
    spectrum = region_spectrum(cube, [circle, in_pixels, (at(frame, CENTER)[0], 60 * u.arcsec)])
    np.testing.assert_allclose(spectrum.data, spectrum.data[:, :1] + np.zeros(3), rtol=0.01)
    np.testing.assert_allclose(spectrum.data[:, 0], spectrum.data[:, 1], rtol=1e-12)
    with pytest.raises(ValueError, match="`region` holds no pixel"):
        region_spectrum(cube, regions.CirclePixelRegion(regions.PixCoord(-500, 3), 5))


def test_a_spectrum_can_be_inverted_and_its_area_travels_along(cube, frame, response, edges):
    center = at(frame, CENTER)[0]
    spectrum = region_spectrum(cube, {"small": (center, 20 * u.arcsec), "large": (center, 60 * u.arcsec)})
    result = invert(spectrum, response, edges)
    assert result["dem"].data.shape == (36, 2)
    alone = invert(cube[:, :1, :1], response, edges)  # any result of another shape
    assert alone["dem"].data.shape == (36, 1, 1)
    observation = result.meta["observation"]
    np.testing.assert_array_equal(observation["area"], spectrum.meta["area"])
    assert observation["region"].tolist() == ["small", "large"]
    assert result[1:].meta["observation"]["region"].tolist() == ["large"]
    assert np.all(result["dem"][:, 1].meta["observation"]["area"] == spectrum.meta["area"][1])
    assert np.all(spectrum.uncertainty.array[:, 1] < spectrum.uncertainty.array[:, 0] * 1.2)
    part = spectrum[:, 1:]
    assert part.meta["region"].tolist() == ["large"]
    assert part.meta["area"].shape == (1,)
    total = region_spectrum(cube, (center, 20 * u.arcsec), "sum")
    assert total.unit.is_equivalent(u.DN / u.s)
    np.testing.assert_allclose(total.data[:, 0], spectrum.data[:, 0] * spectrum.meta["n_pixels"][0])
    with pytest.raises(
        ValueError, match=r"`data` is a sum over pixels in DN / s, `statistic='sum'` .*: pass one of `sta"
    ):
        invert(total, response, edges)


def test_bad_pixels(cube):
    part = cube[:, 60:70, 60:72]
    data, mask, sigma = part.data.copy(), part.mask.copy(), part.uncertainty.array.copy()
    assert not mask.any()
    data[2, 3, 4], mask[2, 3, 4], sigma[2, 3, 4] = np.nan, True, np.nan
    data[3, 5, 5], mask[3, 5, 5], sigma[3, 5, 5] = 1e5, True, np.inf  # saturated
    mask[0, 1, 1] = True
    bad = NDCube(data, part.wcs, unit=part.unit, uncertainty=StdDevUncertainty(sigma), mask=mask, meta=part.meta)
    whole = np.ones(data.shape[1:], dtype=bool)
    with pytest.warns(DataWarning, match=r"`region`: pixels are left out .* region 2.5%; with `bad_pixels='mask'`"):
        left = region_spectrum(bad, whole)
    good = whole.copy()
    good[[3, 5, 1], [4, 5, 1]] = False
    same(left, region_spectrum(part, good)[:, 0])
    assert left.meta["fraction"] == [117 / 120]
    kept = region_spectrum(bad, whole, bad_pixels="mask")
    expected = region_spectrum(part, whole)
    assert kept.mask[:, 0].tolist() == [True, False, True, True, False, False]
    np.testing.assert_array_equal(kept.uncertainty.array[[0, 2, 3], 0], [np.nan, np.nan, np.inf])
    np.testing.assert_array_equal(kept.data[[1, 4, 5]], expected.data[[1, 4, 5]])
    np.testing.assert_array_equal(kept.uncertainty.array[[1, 4, 5]], expected.uncertainty.array[[1, 4, 5]])
    with pytest.warns(DataWarning, match="left out"):
        none = region_spectrum(bad, ~good & square(good.shape, 3, 4, 1))
    assert none.mask.all()
    assert np.isnan(none.data).all()
    assert none.meta["n_pixels"] == [0]


def test_cubes_from_elsewhere(cube):
    """Their noise averages out, but for what they say is common; without saying so they are refused."""
    data = np.full((2, 4, 5), 100.0)
    other = NDCube(
        data,
        WCS(naxis=3),
        unit=u.DN / u.pix / u.s,
        uncertainty=StdDevUncertainty(data / 10),
        meta={"channels": ["a", "b"]},
    )
    mask = np.ones((4, 5), dtype=bool)
    with pytest.raises(ValueError, match=r"`cube` does not tell which part .* set both to zeros"):
        region_spectrum(other, mask)
    other.meta |= {"common_error": np.zeros(2) * u.DN / u.pix / u.s, "common_relative_error": np.array([0, 0.05])}
    spectrum = region_spectrum(other, mask)
    expected = [10 / np.sqrt(20), np.sqrt((10**2 - 5**2) / 20 + 5**2)]
    np.testing.assert_allclose(spectrum.uncertainty.array[:, 0], expected)
    assert "area" not in spectrum.meta
    with pytest.raises(ValueError, match="`region` has coordinates, but the data have none"):
        region_spectrum(other, SkyCoord([1, 2] * u.deg, [3, 4] * u.deg))


def test_a_series(series_folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SunpyUserWarning)
        series = prepare_series(series_folder, n_sample=16, include_eve=True)
    mask = np.zeros(series.shape[2:], dtype=bool)
    mask[3:9, 4:12] = True
    moving = np.stack([np.roll(mask, k, axis=1) for k in range(3)])
    spectrum = region_spectrum(series, {"still": mask, "moving": moving})
    assert spectrum.shape == (6, 3, 2)
    assert isinstance(spectrum.data, np.ndarray)
    for k in range(3):
        one = region_spectrum(series[:, k], [mask, moving[k]])
        np.testing.assert_array_equal(spectrum.data[:, k], one.data)
        np.testing.assert_array_equal(spectrum.uncertainty.array[:, k], one.uncertainty.array)
    assert spectrum.meta["n_pixels"].tolist() == [[48, 48]] * 3
    assert spectrum[:, 1].meta["area"].shape == (2,)
    times = spectrum.axis_world_coords(1)[0]
    assert len(times) == 3
    # Where a level is reached at some times only, its other averages are of nothing.
    late = region_spectrum(series, {171: series.data[2, 0].max().compute() * 1.05 * series.unit})
    assert late.meta["n_pixels"][0, 0] == late.meta["area"][0, 0].value == 0
    assert np.all(late.meta["n_pixels"][1:] > 0)
    assert late.mask[:, 0].all()


@pytest.mark.parametrize("has_times", [False, True])
def test_blocks_are_read_once_for_all_regions(cube, has_times):
    """Once more for the levels, which are found first."""
    read = []

    def counted(block, block_info=None):
        if block_info is not None:
            read.append(block_info[0]["chunk-location"])
        return block

    cubes = [lazily(cube[:, :40, :60], (6, 20, 20)) for _ in range(1 + has_times)]
    for minute, lazy in enumerate(cubes):
        data = da.from_array(cube.data[:, :40, :60], chunks=(6, 20, 20), name=f"minute {minute}")
        lazy.data = data.map_blocks(counted, dtype=float)
        lazy.meta = Meta(lazy.meta | {"date": lazy.meta["date"] + minute * u.min}, axes=lazy.meta.axes)
    lazy = in_time(cubes) if has_times else cubes[0]
    masks = {f"{i}": square((40, 60), i, i, 12) for i in range(3)}
    region_spectrum(lazy, masks)
    assert len(read) == len(set(read)) * (1 + has_times)
    assert set(read) == {(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)}
    read.clear()
    levels = {f"{k}": {171: k * cube.unit} for k in (1, 2, 3)}
    region_spectrum(lazy, levels)
    assert len(read) == 2 * len(set(read)) * (1 + has_times)


@pytest.mark.parametrize(
    ("region", "kind", "words"),
    [
        (5, TypeError, "`region` must be two SkyCoords .* but is 5"),
        ([], TypeError, "`region` must be two SkyCoords"),
        (np.ones((128, 128)), TypeError, "`region` is an array of float64: a mask is of bool"),
        (np.ones((3, 3), dtype=bool), ValueError, r"`region` is a mask of the shape \(3, 3\), but the image has"),
        (np.ones((2, 128, 128), dtype=bool), ValueError, r"`region` has a mask 'region' of \(2, 128, 128\), but"),
        (np.zeros((128, 128), dtype=bool), ValueError, "`region` holds no pixel"),
        ({"a": np.zeros((128, 128), dtype=bool)}, ValueError, r"`region\['a'\]` holds no pixel"),
        ({304: 5 * u.DN / u.pix / u.s}, ValueError, "`region` names the channel 304, but the cube has AIA 94"),
        (
            {171: 1e9 * u.DN / u.pix / u.s},
            ValueError,
            "holds no pixel .*: the highest value of AIA 171 is .* lower the",
        ),
        ("levels", ValueError, "`region` holds no pixel of the image: no pixel is above all of its levels"),
        ({171: 500}, ValueError, r"`region` must have one number in DN .* has 500.0: such as `{171: 500 \* u.DN"),
        ({171: np.nan * u.DN / u.pix / u.s}, ValueError, "`region` must have one number .* but has nan"),
        ({"171": 500 * u.DN / u.pix / u.s}, TypeError, r"`region\['171'\]` must be .* 500.* a number, not by a text"),
        ({171: 5 * u.K}, ValueError, "`region` must have one number in DN .* for a level, but has 5.0 K"),
        ({171: "bright"}, TypeError, "`region` must be two SkyCoords .* but is {171: 'bright'}"),
        ([(-975, -110)], TypeError, r"`region\[0\]` must be two SkyCoords"),
        ("circle", ValueError, "`region` must have a positive angle for the radius of the circle, but has -5.0 arcsec"),
        (
            "no angle",
            TypeError,
            r"`region` must have a positive angle .*: `\(center, 40 \* u.arcsec\)`.* but is .*, 40\)",
        ),
        (
            "length",
            ValueError,
            "`region` must have a positive angle for the radius of the circle, but has 40.0 km: pass",
        ),
        ("reversed", TypeError, r"`region` must have a positive angle .* but is \(40.0 arcsec, of type SkyCoord\)"),
        ("point", ValueError, "`region` must be two SkyCoords .* but is one SkyCoord of the shape .* add its radius"),
        ("far", ValueError, "`region` holds no pixel"),
        ("unseen", ValueError, "`region` has coordinates that cannot be those of the image"),
    ],
)
def test_regions_that_are_none(cube, frame, region, kind, words):
    named = {
        "circle": (at(frame, CENTER)[0], -5 * u.arcsec),
        "levels": {94: 0.999 * np.nanmax(cube.data[0]) * cube.unit, 171: 0.999 * np.nanmax(cube.data[2]) * cube.unit},
        "no angle": (at(frame, CENTER)[0], 40),
        "length": [at(frame, CENTER)[0], 40 * u.km],
        "reversed": (40 * u.arcsec, at(frame, CENTER)[0]),
        "point": at(frame, CENTER)[0],
        "far": at(frame, (500, 500), (600, 600)),
        "unseen": SkyCoord([1, 2] * u.deg, [3, 4] * u.deg, frame="helioprojective"),  # of nobody
    }
    region = named[region] if isinstance(region, str) else region
    with pytest.raises(kind, match=words):
        region_spectrum(cube, region)


def test_a_region_beyond_the_image_is_told(cube, frame):
    with pytest.warns(DataWarning, match=r"`region` reaches \d+ pixels beyond the image: only what is inside counts"):
        region_spectrum(cube, at(frame, (-900, -100), (-700, 0)))


def test_cubes_that_are_none(cube):
    mask = np.ones((128, 128), dtype=bool)
    with pytest.raises(TypeError, match=r"`cube` must be a cube of channels, .* but is 5"):
        region_spectrum(5, mask)
    with pytest.raises(TypeError, match=r"`cube` .* has no unit, no uncertainty, or no"):
        region_spectrum(NDCube(np.ones((2, 3, 4)), WCS(naxis=3)), mask)
    with pytest.raises(ValueError, match=r"`cube` .* but is \(6, 128\)"):
        region_spectrum(cube[:, 5], mask)
    with pytest.raises(ValueError, match="`statistic` must be one of 'mean', 'sum'"):
        region_spectrum(cube, mask, "median")


@pytest.fixture(scope="module")
def result(cube, response, edges):
    return invert(cube[:, 80:110, 40:70], response, edges, method="lognormal", calibration_error=0.1)


def curve(artist):
    return artist.lines[0].get_ydata()


def test_dem_of_coordinates_and_several_pixels(result, frame):
    wcs = result["status"].wcs
    points = SkyCoord([wcs.pixel_to_world(x, y) for x, y in ((4.2, 5.1), (20, 12.4))])
    expected = [result["dem"].data[:, 5, 4], result["dem"].data[:, 12, 20]]
    one = visualization.plot_dem(result, points[0])
    np.testing.assert_array_equal(curve(one), expected[0])
    assert "pixel (5, 4)" in one.get_label()
    for pixels in (points, list(points), [(5, 4), (12, 20)], np.array([(5, 4), (12, 20)]), [(5, 4), points[1]]):
        artists = visualization.plot_dem(result, pixels, axes=plt.figure().add_subplot())
        assert len(artists) == 2
        for artist, values in zip(artists, expected, strict=True):
            np.testing.assert_array_equal(curve(artist), values)
    legend = plt.gca().get_legend()
    assert [text.get_text().partition(",  ")[0][:10] for text in legend.get_texts()][:2] == ["pixel (5, ", "pixel (12,"]
    np.testing.assert_array_equal(em_loci(result, points[1]), em_loci(result, (12, 20)))
    np.testing.assert_array_equal(covariance(result, points[1]), covariance(result, (12, 20)))
    explorer = visualization.explore(result)
    explorer.select(points[1])
    assert explorer.pixel == (12, 20)
    with pytest.raises(IndexError, match=r"`pixel` lies outside the image"):
        visualization.plot_dem(result, at(frame, (0, 0))[0])
    with pytest.raises(ValueError, match=r"`em_loci` are drawn of one pixel, but there are 2"):
        visualization.plot_dem(result, points, em_loci=True)
    with pytest.raises(ValueError, match=r"`pixel` must be given, since `result` has 900 pixels"):
        visualization.plot_dem(result)
    with pytest.raises(TypeError, match=r"`pixel\[1\]` must be whole numbers, one per pixel axis, or a SkyCoord"):
        visualization.plot_dem(result, [(5, 4), (0.5, 3)])
    with pytest.raises(ValueError, match=r"`pixel` is a coordinate, but `result` has 1 pixel axes"):
        visualization.plot_dem(result[..., 5, :], points[0])


def test_dem_of_regions_of_a_result(cube, result, response, edges, frame):
    """As if the region had been averaged and inverted."""
    regions = {"core": (at(frame, CENTER)[0], 15 * u.arcsec), "mask": square((30, 30), 1, 1, 8)}
    artists = visualization.plot_dem(result, region=regions)
    spectrum = region_spectrum(cube[:, 80:110, 40:70], regions)
    expected = invert(spectrum, response, edges, method="lognormal", calibration_error=0.1)
    for k, artist in enumerate(artists):
        np.testing.assert_allclose(curve(artist), expected["dem"].data[:, k], rtol=1e-10)
    again = visualization.plot_dem(expected, axes=plt.figure().add_subplot())
    assert [each.get_label().partition(",")[0] for each in again] == ["core", "mask"]
    with_loci = visualization.plot_dem(expected, 0, em_loci=True, axes=plt.figure().add_subplot())
    np.testing.assert_array_equal(curve(with_loci), curve(again[0]))
    assert "AIA 171 alone" in [text.get_text() for text in plt.gca().get_legend().get_texts()]
    # One or some of them, by their names.
    for chosen in ({"pixel": "mask"}, {"region": "mask"}):
        [artist] = [visualization.plot_dem(expected, **chosen, axes=plt.figure().add_subplot())]
        np.testing.assert_array_equal(curve(artist), curve(again[1]))
        assert artist.get_label().startswith("mask, ")
    several = visualization.plot_dem(expected, region=["mask", "core"], axes=plt.figure().add_subplot())
    assert [each.get_label().partition(",")[0] for each in several] == ["mask", "core"]
    points, _ = visualization.plot_intensity(expected, "mask", axes=plt.figure().add_subplot())
    np.testing.assert_array_equal(points.lines[0].get_ydata(), expected["intensity"].data[:, 1])
    np.testing.assert_array_equal(em_loci(expected, "mask"), em_loci(expected, 1))
    with pytest.raises(ValueError, match=r"`region` must be one of 'core', 'mask', but is 'cor'.*mean 'core'"):
        visualization.plot_dem(expected, region="cor")
    with pytest.raises(TypeError, match=r"`pixel` must be whole numbers, .*, as `result` has no regions with names"):
        visualization.plot_dem(result, "core")
    with pytest.raises(ValueError, match=r"`pixel` cannot be given with a `region`"):
        visualization.plot_dem(result, (1, 2), region=regions)
    bare = invert(
        spectrum, response, edges, outputs=("dem", "dem_uncertainty", "temperature_resolution", "chi_squared")
    )
    with pytest.raises(ValueError, match=r"`result` lacks 'intensity'"):
        visualization.plot_dem(bare, region=regions)


@pytest.mark.parametrize("options", [{}, {"method": "l2"}, {"weighting": np.linspace(1, 2, 36)}], ids=str)
def test_regions_are_inverted_as_the_result(cube, response, edges, options):
    result = invert(cube[:, 80:90, 40:50], response, edges, **options)
    found = visualization.plot_dem(result, region=square((10, 10), 0, 0, 10))
    spectrum = region_spectrum(cube[:, 80:90, 40:50], square((10, 10), 0, 0, 10))
    expected = invert(spectrum, response, edges, **options)["dem"].data[:, 0]
    np.testing.assert_allclose(curve(found), np.where(expected > 0, expected, np.nan), rtol=1e-8)
