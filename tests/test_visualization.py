"""Pictures: what is drawn is what the result holds."""

import matplotlib as mpl
import numpy as np
import pytest

import astropy.units as u
from astropy.visualization.wcsaxes import WCSAxes
from sunpy.util.exceptions import SunpyUserWarning

from sunpy_demreg import invert, visualization

mpl.use("agg")


@pytest.fixture(autouse=True)
def _closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


@pytest.fixture(scope="module")
def result(small, response, edges):
    data = small.data.copy()
    data[1, 0, 0] = -1
    from ndcube import NDCube

    bad = NDCube(data, small.wcs, unit=small.unit, uncertainty=small.uncertainty, mask=small.mask, meta=small.meta)
    with pytest.warns(SunpyUserWarning, match="NOT_POSITIVE 1"):
        return invert(bad, response, edges)


def test_dem_curve_has_the_values_and_both_errors(result):
    import matplotlib.pyplot as plt

    axes = plt.figure().add_subplot()
    artist = visualization.plot_dem(result, (2, 3), axes=axes)
    assert artist.lines[0].axes is axes
    x, y = artist.lines[0].get_data()
    dem = result["dem"].data[:, 2, 3]
    np.testing.assert_allclose(y[dem > 0], dem[dem > 0])
    assert np.all(np.isnan(y[dem <= 0]))
    horizontal, vertical = artist.lines[2]
    widths = [np.log10(s[1, 0] / s[0, 0]) for s in horizontal.get_segments()]
    np.testing.assert_allclose(widths, result["temperature_resolution"].data[dem > 0, 2, 3])
    tops = [s[1, 1] for s in vertical.get_segments()]
    np.testing.assert_allclose(tops, (dem + result["dem"].uncertainty.array[:, 2, 3])[dem > 0])
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert "K" in axes.get_xlabel()
    assert "cm" in axes.get_ylabel()
    np.testing.assert_allclose(x, result["dem"].axis_world_coords(0)[0].value)


def test_emission_measure_map_is_the_sum_of_its_bins(result, edges):
    centers = result["dem"].axis_world_coords(0)[0].value
    widths = centers * np.log(10) * 0.05
    artist = visualization.plot_emission_measure(result, edges[[6, 12]])
    assert isinstance(artist.axes, WCSAxes)
    expected = np.sum(result["dem"].data[6:12] * widths[6:12, None, None], axis=0)
    np.testing.assert_allclose(np.ma.filled(artist.get_array(), np.nan), expected, rtol=1e-9)
    half = visualization.plot_emission_measure(result, [10**5.9, 10**5.925] * u.K)
    expected = 0.5 * result["dem"].data[6] * widths[6]
    np.testing.assert_allclose(np.ma.filled(half.get_array(), np.nan), expected, rtol=1e-6)


def test_chi_squared_map(result):
    artist = visualization.plot_chi_squared(result)
    np.testing.assert_array_equal(np.ma.filled(artist.get_array(), np.nan), result["chi_squared"].data)


def test_summary_page_has_all_panels(result, tmp_path):
    figure = visualization.plot_summary(result, title="A title")
    maps = [a for a in figure.axes if isinstance(a, WCSAxes)]
    assert len(maps) == 7
    assert sum("log" in a.get_title() for a in maps) == 6
    curves = [a for a in figure.axes if a.get_ylabel().startswith("DEM")]
    assert len(curves) == 1
    assert len(curves[0].get_legend().get_texts()) == 3
    figure.savefig(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10000


def test_summary_page_of_chosen_pixels(result):
    figure = visualization.plot_summary(result, pixels=[(2, 2)])
    [curves] = [a for a in figure.axes if a.get_ylabel().startswith("DEM")]
    assert len(curves.get_legend().get_texts()) == 1


@pytest.mark.parametrize(
    ("draw", "error", "words"),
    [
        (lambda r: visualization.plot_dem(r, (0, 0)), ValueError, "was not solved.*NOT_POSITIVE"),
        (lambda r: visualization.plot_dem(r, 3), ValueError, "must have 2 indices"),
        (lambda r: visualization.plot_dem(r, (100, 0)), IndexError, "outside the pixel axes"),
        (lambda r: visualization.plot_emission_measure(r, [1, 2]), ValueError, "Quantity of two temperatures"),
        (lambda r: visualization.plot_emission_measure(r, [2, 1] * u.MK), ValueError, "must ascend"),
        (lambda r: visualization.plot_emission_measure(r, [1, 2] * u.GK), ValueError, "touch the bins"),
        (lambda r: visualization.plot_chi_squared(r[..., 2, :]), ValueError, "must be of an image"),
    ],
)
def test_bad_call_is_refused(result, draw, error, words):
    with pytest.raises(error, match=words):
        draw(result)
