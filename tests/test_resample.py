"""Images on another grid: against a sparse matrix that holds the weights of all pixels."""

import numpy as np
import pytest
from scipy.sparse import coo_array

from astropy.wcs import WCS

from sunpy_demreg._channels import positions, resample
from sunpy_demreg._channels.positions import Affine, locator
from sunpy_demreg._channels.resample import Grid, parts, sampler, whole_pixels

SHAPE = (67, 61)
# Degrees, pixels of the grid along one of the image, and how far the grid is from the image, in pixels.
GEOMETRIES = {
    "itself": (0, 1, (0, 0)),
    "whole pixels": (0, 1, (3, -2)),
    "half a pixel": (0, 1, (0.5, 0.5)),
    "a shift": (0, 1, (0.37, -1.62)),
    "level 1": (0.1377, 0.99891, (-0.23, 1.4)),
    "turned": (30, 1, (2.5, 1.1)),
    "on its head": (180.02, 1.003, (0.3, 0.2)),
    "mirrored": (-91, -1.1, (0.3, 0.2)),
    "finer": (-2, 0.4, (10.1, 7.2)),
    "coarser": (7, 2.7, (-3.1, 1.9)),
    "almost beside": (0, 1, (60, -66)),
    "beside": (1, 1, (70, 2)),
}


def wcs_of(rotation=0, scale=1, shift=(0, 0), middle=(30.25, 33.5)):
    """Of an image whose reference pixel is near its middle, turned around it, stretched, and shifted."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["HPLN-TAN", "HPLT-TAN"]
    wcs.wcs.cunit = ["arcsec", "arcsec"]
    wcs.wcs.cdelt = [0.6 * abs(scale), 0.6 * scale]
    angle = np.deg2rad(rotation)
    wcs.wcs.pc = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    wcs.wcs.crpix = np.array(middle) - shift
    wcs.wcs.set()
    return wcs


def by_matrix(planes, locate, grid):
    """The same with one matrix: means (NaN where not covered), and sums of squared weights."""
    n_y, n_x = planes.shape[1:]
    rows, columns = np.arange(grid.shape[0])[:, None], np.arange(grid.shape[1])
    y, x = locate(rows, columns).reshape(2, -1)
    cell = (rows // grid.bin * grid.binned_shape[1] + columns // grid.bin).ravel()
    is_inside = (x >= 0) & (x <= n_x - 1) & (y >= 0) & (y <= n_y - 1)
    x, y, inner = x[is_inside], y[is_inside], cell[is_inside]
    left, low = np.floor(x).astype(int), np.floor(y).astype(int)
    corners = [
        (weight_y * weight_x / grid.bin**2, inner, row * n_x + column)
        for weight_y, row in ((low + 1 - y, low), (y - low, np.minimum(low + 1, n_y - 1)))
        for weight_x, column in ((left + 1 - x, left), (x - left, np.minimum(left + 1, n_x - 1)))
    ]
    weights, to, of = (np.concatenate(each) for each in zip(*corners, strict=True))
    n_cells = np.prod(grid.binned_shape)
    matrix = coo_array((weights, (to, of)), shape=(n_cells, n_y * n_x)).tocsr()  # adds up duplicates
    means = matrix @ planes.reshape(len(planes), -1).T
    means[np.bincount(inner, minlength=n_cells) < grid.bin**2] = np.nan
    return means.T.reshape(-1, *grid.binned_shape), matrix.power(2).sum(axis=1).reshape(grid.binned_shape)


def resampled(planes, wcs, grid):
    """By the package, a part after the other: means, squares, whether covered, whether touched by the last plane."""
    shape = grid.binned_shape
    means, squares = np.full((len(planes), *shape), 7.0), np.full(shape, 7.0)
    is_covered, is_touched = np.zeros(shape, bool), np.zeros(shape, bool)
    samples_of = sampler(grid, wcs, planes.shape[1:])
    for part in parts(grid):
        samples = samples_of(part)
        for mean, plane in zip(means, planes, strict=True):
            mean[part] = samples.averaged(plane[samples.box])
        squares[part], is_covered[part] = samples.squares, samples.is_covered
        is_touched[part] = samples.touched(planes[-1][samples.box] != 0)
    return means, squares, is_covered, is_touched


@pytest.fixture(scope="module")
def planes():
    """Images that are as rough as can be, and flags."""
    rng = np.random.default_rng(0)
    return np.stack([rng.normal(size=SHAPE), rng.lognormal(6, 2, SHAPE), rng.uniform(size=SHAPE) < 0.02])


@pytest.mark.parametrize("bin", [1, 2, 5, 33])
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("is_affine", [True, False])
def test_everything_is_that_of_the_matrix(planes, geometry, bin, is_affine, monkeypatch):
    monkeypatch.setattr(resample, "_SIDE", 23)  # many parts
    monkeypatch.setattr(resample, "_MOST", 3000)
    if not is_affine:
        monkeypatch.setattr(positions, "_affine", lambda *args: None)
    wcs, own = wcs_of(*GEOMETRIES[geometry]), wcs_of()
    grid = Grid(wcs, tuple(length // bin * bin for length in SHAPE), bin)
    locate = locator(wcs, grid.shape, own)
    expected, expected_squares = by_matrix(planes, locate, grid)
    means, squares, is_covered, is_touched = resampled(planes, own, grid)
    np.testing.assert_array_equal(np.isnan(means), np.isnan(expected))
    np.testing.assert_array_equal(np.isnan(means), np.broadcast_to(~is_covered, means.shape))
    for mean, truth, plane in zip(means, expected, planes, strict=True):
        np.testing.assert_allclose(mean, truth, rtol=0, atol=1e-12 * np.abs(plane).max())
    np.testing.assert_allclose(squares[is_covered], expected_squares[is_covered], rtol=1e-11)
    np.testing.assert_array_equal(is_touched, expected[-1] > 0)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_positions_are_those_of_the_coordinates(geometry):
    """To a millionth of a pixel, and to the last bit on the grid of an image itself."""
    wcs, own = wcs_of(*GEOMETRIES[geometry], middle=(2047.3, 2049.8)), wcs_of(middle=(2040.61, 2051.2))
    rows, columns = np.arange(0, 4096, 97)[:, None], np.arange(0, 4096, 89)
    y, x = np.broadcast_arrays(rows, columns)
    exact = own.world_to_pixel_values(*wcs.pixel_to_world_values(x, y))[::-1]
    found = locator(wcs, (4096, 4096), own)
    assert isinstance(found, Affine)
    np.testing.assert_allclose(found(rows, columns), exact, rtol=0, atol=1.1e-6)
    np.testing.assert_array_equal(locator(own, (4096, 4096), own)(rows, columns), [y, x])


def test_cropping_the_grid_changes_no_bit(planes):
    whole = wcs_of(*GEOMETRIES["level 1"])
    for bin in (1, 4):
        means, squares, *flags = resampled(planes, wcs_of(), Grid(whole, (64, 60), bin))
        inner = resampled(planes, wcs_of(), Grid(whole[12:40, 8:52], (28, 44), bin))
        here = np.s_[..., 12 // bin : 40 // bin, 8 // bin : 52 // bin]
        for found, expected in zip(inner, (means, squares, *flags), strict=True):
            np.testing.assert_array_equal(found, expected[here])


def distorted():
    wcs = wcs_of()
    wcs.wcs.ctype = ["HPLN-TAN-SIP", "HPLT-TAN-SIP"]
    from astropy.wcs import Sip

    wcs.sip = Sip(np.array([[0, 0, 1e-4], [0, 0, 0], [0, 0, 0]]), np.zeros((3, 3)), None, None, wcs.wcs.crpix)
    wcs.wcs.set()
    return wcs


def moved(longitude):
    wcs = wcs_of()
    wcs.wcs.crval = [longitude / 3600, 0]
    wcs.wcs.set()
    return wcs


def projected(kind):
    wcs = wcs_of()
    wcs.wcs.ctype = [f"HPLN-{kind}", f"HPLT-{kind}"]
    wcs.wcs.cdelt = [0.05, 0.05]
    wcs.wcs.set()
    return wcs


@pytest.mark.parametrize(
    ("own", "is_affine"),
    [(wcs_of(), True), (moved(100), False), (moved(0.001), False), (distorted(), False), (projected("ARC"), False)],
    ids=["the same", "moved", "moved a little", "distorted", "another projection"],
)
def test_affine_only_where_it_is(planes, own, is_affine):
    wcs = wcs_of(*GEOMETRIES["level 1"])
    wcs = projected("TAN") if own.wcs.ctype[0].endswith("ARC") else wcs
    found = locator(wcs, SHAPE, own)
    assert isinstance(found, Affine) == is_affine
    rows, columns = np.arange(SHAPE[0])[:, None], np.arange(SHAPE[1])
    y, x = np.broadcast_arrays(rows, columns)
    exact = own.world_to_pixel_values(*wcs.pixel_to_world_values(x, y))[::-1]
    np.testing.assert_allclose(found(rows, columns), exact, rtol=0, atol=1.1e-6)


def test_pixels_without_coordinates_are_not_covered():
    whole_sky = WCS(naxis=2)
    whole_sky.wcs.ctype = ["HPLN-AIT", "HPLT-AIT"]
    whole_sky.wcs.cdelt = [5, 5]
    whole_sky.wcs.crpix = [36, 18]
    whole_sky.wcs.set()
    planes = np.ones((1, 35, 71))
    for bin in (1, 5):
        means, _, is_covered, _ = resampled(planes, whole_sky, Grid(whole_sky, (35, 70), bin))
        assert 0.5 < is_covered.mean() < 0.9
        np.testing.assert_array_equal(means[0] == 1, is_covered)
        np.testing.assert_array_equal(np.isnan(means[0]), ~is_covered)


@pytest.mark.parametrize("bin", [1, 3])
def test_pixels_that_stay(planes, bin):
    grid = Grid(None, (24, 30), bin)
    for part in parts(grid):
        samples = whole_pixels(grid, (5, 8))(part)
        square = planes[1, 5:29, 8:38].reshape(24 // bin, bin, 30 // bin, bin).mean(axis=(1, 3))
        np.testing.assert_allclose(samples.averaged(planes[1][samples.box]), square[part], rtol=1e-14)
        assert (samples.squares, bool(samples.is_covered)) == (bin**-2, True)


def test_half_a_pixel_by_hand(planes):
    values, half = planes[:1], wcs_of(0, 1, (0.5, 0.5))
    expected = 0.25 * (values[:, :-1, :-1] + values[:, 1:, :-1] + values[:, :-1, 1:] + values[:, 1:, 1:])
    means, squares, is_covered, _ = resampled(values, wcs_of(), Grid(half, SHAPE, 1))
    np.testing.assert_allclose(means[:, :-1, :-1], expected, atol=1e-12)
    np.testing.assert_allclose(squares[is_covered], 0.25, rtol=1e-12)
    assert is_covered[:-1, :-1].all()
    assert not is_covered[-1].any()
    assert not is_covered[:, -1].any()
    # Averages of 2 x 2 of these have weights of 1, 2 and 1 quarters along each side.
    means, squares, is_covered, _ = resampled(values, wcs_of(), Grid(half, (66, 60), 2))
    np.testing.assert_allclose(means[0, 0, 0], expected[0, :2, :2].mean(), rtol=1e-12)
    np.testing.assert_allclose(squares[is_covered], (6 / 16) ** 2, rtol=1e-12)
