"""Pictures: what is drawn is what the result holds."""

import copy
import functools

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backend_bases import KeyEvent, MouseEvent
from matplotlib.colors import LogNorm, Normalize, to_rgba
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke
from PIL import Image

import astropy.units as u
from astropy.visualization.wcsaxes import WCSAxes
from ndcube import NDCube
from sunpy.util.exceptions import SunpyUserWarning

import sunpy_demreg
from sunpy_demreg import (
    Status,
    TemperatureResponse,
    em_loci,
    emission_measure,
    invert,
    is_resolved,
    mean_temperature,
    prepare_series,
    read,
    resolution_matrix,
    visualization,
    write,
)
from sunpy_demreg._common.constants import COLORS
from sunpy_demreg._common.numbers import in_math, significant
from sunpy_demreg._results.convert import computed_result
from sunpy_demreg.visualization import _map_panel, _summary_page

mpl.use("agg")

PIXEL = 1  # by which versions of Matplotlib differ in how they measure text


@pytest.fixture(scope="module")
def result(small, response, edges):
    data = small.data.copy()
    data[:2, 0, 0] = np.nan
    bad = NDCube(data, small.wcs, unit=small.unit, uncertainty=small.uncertainty, mask=small.mask, meta=small.meta)
    with pytest.warns(SunpyUserWarning, match="NOT_FINITE 1"):
        return invert(bad, response, edges)


@pytest.fixture(scope="module")
def unsolved(small, response, edges):
    """An image without a single DEM."""
    bare = 0 * small.data * small.unit
    with pytest.warns(SunpyUserWarning, match="NO_SIGNAL"):
        return invert(bare, response, edges, uncertainty=np.ones(bare.shape) * small.unit)


@pytest.fixture(scope="module")
def without_coordinates(small, response, edges):
    return invert(small.data * small.unit, response, edges, uncertainty=small.uncertainty.array * small.unit)


@pytest.fixture(scope="module")
def whole(cube, response, edges):
    """A map of some size, so that ticks and markers are where they are in use."""
    return invert(cube[:, 30:70, 30:80], response, edges, method="lognormal", calibration_error=0.1)


def maps_of(figure):
    return [axes for axes in figure.axes if isinstance(axes, WCSAxes)]


def curves_of(figure):
    """The panel of a page with the DEMs: all others are maps and color bars."""
    [axes] = [a for a in figure.axes if not isinstance(a, WCSAxes) and a.get_position().width > 0.2]
    return axes


def limbs_of(axes):
    return [artist for artist in axes.get_children() if isinstance(artist, Circle)]


@pytest.mark.parametrize(
    ("value", "text", "math"),
    [
        (0.0, "0", "0"),
        (1.0, "1.00", "1.00"),
        (0.02731, "0.0273", "0.0273"),
        (6.372e-5, "6.37e-05", r"6.37$\times10^{-5}$"),
        (38.44, "38.4", "38.4"),
        (384.4, "384", "384"),
        (999.7, "1000", "1000"),
        (12345.6, "12346", "12346"),
        (1.234e7, "1.23e+07", r"1.23$\times10^{7}$"),
        (np.nan, "nan", "nan"),
    ],
)
def test_numbers_have_three_digits(value, text, math):
    assert (significant(value), in_math(value)) == (text, math)


def test_small_chi_squared_is_not_zero(small, response, edges):
    precise = {"uncertainty": 0.1 * small.uncertainty.array * small.unit, "mask": small.mask}
    result = invert(small.data * small.unit, response, edges, method="lognormal", **precise)
    chi_squared = result["chi_squared"].data
    faint = tuple(int(i) for i in np.unravel_index(np.argmin(chi_squared), chi_squared.shape))
    assert 0 < chi_squared[faint] < 0.005
    curve = visualization.plot_dem(result, faint)
    points, _ = visualization.plot_intensity(result, faint, axes=plt.figure().add_subplot())
    for artist in (curve, points):
        assert artist.lines[0].axes.get_title().endswith(f"$\\chi^2$ = {in_math(chi_squared[faint])}")


# The DEM of a pixel


def test_dem_curve_has_the_values_and_both_errors(result, edges):
    axes = plt.figure().add_subplot()
    artist = visualization.plot_dem(result, (2, 3), axes=axes)
    assert artist.lines[0].axes is axes
    x, y = artist.lines[0].get_data()
    dem = result["dem"].data[:, 2, 3]
    np.testing.assert_allclose(y[dem > 0], dem[dem > 0])
    assert np.all(np.isnan(y[dem <= 0]))
    horizontal, vertical = artist.lines[2]
    segments = np.array(horizontal.get_segments())[:, :, 0]
    width = 10 ** (result["temperature_resolution"].data[dem > 0, 2, 3] / 2)
    center = x[dem > 0]
    np.testing.assert_allclose(segments[:, 0], np.maximum(center / width, edges[0].value))
    np.testing.assert_allclose(segments[:, 1], np.minimum(center * width, edges[-1].value))
    assert np.any(center * width > edges[-1].value)  # or nothing was clipped
    tops = [s[1, 1] for s in vertical.get_segments()]
    np.testing.assert_allclose(tops, (dem + result["dem"].uncertainty.array[:, 2, 3])[dem > 0])
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert "K" in axes.get_xlabel()
    assert "cm" in axes.get_ylabel()
    np.testing.assert_allclose(x, result["dem"].axis_world_coords(0)[0].value)


@pytest.mark.parametrize(("faintest", "bottom"), [(1e15, 5e14), (1e3, 1e14)])
def test_dem_axes_hold_the_bins_and_five_decades_at_most(result, edges, faintest, bottom):
    values = np.full_like(result["dem"].data, 1e19)
    values[3], values[4] = faintest, -1e18
    cube = NDCube(values, result["dem"].wcs, unit=result["dem"].unit, uncertainty=result["dem"].uncertainty)
    changed = type(result)(
        [(key, cube if key == "dem" else result[key]) for key in result],
        aligned_axes=tuple(result.aligned_axes.values()),
        meta=dict(result.meta),
    )
    axes = visualization.plot_dem(changed, (2, 3)).lines[0].axes
    assert axes.get_ylim() == (pytest.approx(bottom), pytest.approx(4e19))
    low, high = axes.get_xlim()
    assert 0.9 * edges[0].value < low < edges[0].value
    assert edges[-1].value < high < 1.1 * edges[-1].value


def test_dem_axes_keep_the_limits_that_a_user_set(result):
    axes = plt.figure().add_subplot()
    axes.set(xlim=(1e6, 2e6), ylim=(1e20, 1e21))
    visualization.plot_dem(result, (2, 3), axes=axes)
    assert axes.get_xlim() == (1e6, 2e6)
    assert axes.get_ylim() == (1e20, 1e21)


def test_dem_title_names_the_pixel_and_a_legend_several(result):
    axes = visualization.plot_dem(result, (2, 3)).lines[0].axes
    assert axes.get_title().startswith("pixel (2, 3)")
    assert significant(result["chi_squared"].data[2, 3]) in axes.get_title()
    other = visualization.plot_dem(result, (-1, -1))  # into the current axes
    assert other.lines[0].axes is axes
    assert axes.get_title() == ""
    texts = [text.get_text()[:12] for text in axes.get_legend().get_texts()]
    assert texts == ["pixel (2, 3)", "pixel (5, 6)", "not resolved"]
    peaks = [np.nanmax(container.lines[0].get_ydata()) for container in axes.containers]
    assert axes.get_ylim()[1] > max(peaks) != min(peaks)


@pytest.mark.parametrize("draw", [visualization.plot_chi_squared, visualization.plot_summary])
def test_dem_is_not_drawn_into_a_map(result, draw):
    draw(result)
    before = plt.gcf()
    assert visualization.plot_dem(result, (2, 3)).lines[0].axes.figure is not before


def test_bins_that_are_not_resolved_are_faded(result):
    axes = plt.figure().add_subplot()
    curve = visualization.plot_dem(result, (2, 3), axes=axes)
    resolved = is_resolved(result).data[:, 2, 3]
    assert 0 < np.count_nonzero(resolved) < len(resolved)
    line, _, bars = curve.lines
    assert list(line.get_markevery()) == np.flatnonzero(resolved).tolist()
    [hollow] = [each for each in axes.lines if each.get_label() == "not resolved"]
    assert hollow.get_markerfacecolor() == "white"
    shown = line.get_ydata() > 0
    np.testing.assert_array_equal(np.isnan(hollow.get_ydata()), resolved | ~shown)
    log_t = np.log10(line.get_xdata())
    matrix = resolution_matrix(result, (2, 3)).value
    away = np.abs(log_t[np.argmax(matrix, axis=0)] - log_t)
    width = result["temperature_resolution"].data[:, 2, 3]
    displaced = (away > 0.06) & (away > width / 4)  # of more than a bin
    assert np.any(displaced & shown)
    for each, is_shown in zip(bars, (resolved & ~displaced, resolved), strict=True):
        is_full = np.all(each.get_colors() == to_rgba(line.get_color()), axis=1)
        np.testing.assert_array_equal(is_full, is_shown[shown])
    is_gray = np.all(bars[0].get_colors() == to_rgba("0.85"), axis=1)
    np.testing.assert_array_equal(is_gray, displaced[shown])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["not resolved"]
    # What does not tell is drawn as it is.
    untold = result.copy()
    del untold["intensity"]
    plain = visualization.plot_dem(untold, (2, 3), axes=plt.figure().add_subplot())
    assert plain.lines[0].get_markevery() is None
    assert plain.lines[0].axes.get_legend() is None


# Maps


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


def test_map_is_grayed_out_where_it_is_not_resolved(result, edges):
    resolved = is_resolved(result).data
    centers = np.sqrt(edges[1:] * edges[:-1]).value
    for bins, all_or_none in ((slice(4, 16), False), (slice(30, 36), True), (slice(20, 30), None)):
        artist = visualization.plot_emission_measure(result, edges[[bins.start, bins.stop]])
        em = result["dem"].data[bins] * centers[bins, None, None]
        expected = np.sum(em * resolved[bins], axis=0) < 0.5 * em.sum(axis=0)
        assert all_or_none is None or np.all(expected[np.isfinite(em[0])] == all_or_none)
        veils = [image for image in artist.axes.images if image is not artist]
        assert len(veils) == expected.any()
        for veil in veils:
            np.testing.assert_array_equal(veil.get_array()[..., 3] > 0, expected)
            assert veil.get_zorder() > artist.get_zorder()
            assert veil.get_extent() == artist.get_extent()


def test_map_tells_how_much_of_it_is_not_resolved(result, edges):
    ranges = [edges[i : i + 2] for i in range(len(edges) - 1)]
    resolved = is_resolved(result).data
    solved = np.isfinite(result["chi_squared"].data)
    told = []
    for pair, flags in zip(ranges, resolved, strict=True):
        artist = visualization.plot_emission_measure(result, pair)
        share = 100 * np.mean(~flags[solved])
        texts = [text.get_text() for text in artist.axes.texts]
        assert texts == ([f"{min(share, 99 if share < 100 else 100):.0f} % not resolved"] if share > 50 else [])
        told += texts
        visualization.plot_emission_measure(result, ranges[0], axes=artist.axes)  # another picture: its text alone
        assert len(artist.axes.texts) <= 1
        plt.close("all")
    assert 2 <= len(told) < len(ranges)


def test_map_of_all_temperatures_has_the_bins_that_are_resolved(result):
    artist = visualization.plot_emission_measure(result)
    expected = emission_measure(result).data
    np.testing.assert_allclose(np.ma.filled(artist.get_array(), np.nan), expected, rtol=1e-9)
    assert artist.axes.get_title().endswith("resolved bins")
    assert len(artist.axes.images) == 1
    assert visualization.plot_mean_temperature(result).axes.get_title().endswith("resolved bins")


def test_chi_squared_map(result):
    artist = visualization.plot_chi_squared(result)
    np.testing.assert_array_equal(np.ma.filled(artist.get_array(), np.nan), result["chi_squared"].data)
    [bar] = [a for a in artist.figure.axes if a is not artist.axes]
    ticks = [text.get_text() for text in bar.get_yticklabels()]
    assert [tick for tick in ticks if 0.4 < float(tick) < 60] == ["0.5", "1", "2", "5", "10", "20", "50"]


def draw_em(result, **kwargs):
    return visualization.plot_emission_measure(result, [1, 2] * u.MK, **kwargs)


MAPS = {"emission measure": draw_em, "chi-squared": visualization.plot_chi_squared}
either_map = pytest.mark.parametrize("draw", MAPS.values(), ids=MAPS.keys())


@either_map
def test_map_in_new_axes_is_complete(result, draw):
    artist = draw(result)
    assert len(artist.figure.axes) == 2
    assert artist.figure.axes[1].get_ylabel()
    artist.figure.canvas.draw()
    assert [c.get_axislabel() for c in artist.axes.coords] == ["Solar X [arcsec]", "Solar Y [arcsec]"]
    assert draw(result).figure is not artist.figure
    empty = plt.figure()
    assert draw(result).figure is empty


@either_map
def test_pyplot_knows_the_map(result, draw):
    axes = plt.subplot(projection=result["chi_squared"].wcs)
    other = plt.figure()
    artist = draw(result, axes=axes)
    assert axes.figure.axes == [axes]  # what to put beside it is left to the owner
    assert plt.gci() is artist
    assert plt.colorbar().ax.figure is axes.figure
    assert not other.axes


@pytest.mark.parametrize(
    "draw",
    [
        *MAPS.values(),
        visualization.plot_mean_temperature,
        lambda each, **kwargs: visualization.plot_residual(each, "AIA 171", **kwargs),
    ],
)
def test_map_in_given_axes_has_labels_and_if_asked_a_color_bar(result, draw):
    wcs = result["chi_squared"].wcs
    axes = plt.figure().add_subplot(projection=wcs)
    artist = draw(result, axes=axes, color_bar=True)
    assert [c.get_axislabel() for c in axes.coords] == ["Solar X [arcsec]", "Solar Y [arcsec]"]
    assert axes.coords[0].get_format_unit() == u.arcsec
    [bar] = [each for each in axes.figure.axes if each is not axes]
    assert bar.get_ylabel()
    assert artist.colorbar.ax is bar
    named = plt.figure().add_subplot(projection=wcs)
    named.coords[0].set_axislabel("X")
    named.coords[1].set_axislabel("")
    draw(result, axes=named)
    named.figure.canvas.draw()
    assert [c.get_axislabel() for c in named.coords] == ["X", ""]
    assert named.figure.axes == [named]
    assert len(draw(result, color_bar=False).figure.axes) == 1
    with pytest.raises(TypeError, match="`color_bar`"):
        draw(result, color_bar="yes")
    plt.close("all")


@either_map
def test_map_in_a_figure_without_pyplot(result, draw):
    figure = mpl.figure.Figure()
    axes = figure.add_subplot(projection=result["chi_squared"].wcs)
    assert draw(result, axes=axes).axes is axes
    assert not plt.get_fignums()


@either_map
@pytest.mark.parametrize(
    ("given", "is_log", "limits"),
    [
        ({"vmin": 2.0, "vmax": 30.0}, True, (2.0, 30.0)),
        ({"norm": Normalize(1, 2)}, False, (1, 2)),
        ({"norm": "linear", "vmin": 0.0, "vmax": 3.0}, False, (0.0, 3.0)),
    ],
)
def test_scale_of_a_map_can_be_chosen(result, draw, given, is_log, limits):
    artist = draw(result, **given, cmap="viridis")
    artist.figure.canvas.draw()
    assert isinstance(artist.norm, LogNorm) is is_log
    assert (artist.norm.vmin, artist.norm.vmax) == limits
    assert artist.get_cmap().name == "viridis"


def test_scale_of_an_emission_measure_is_that_of_its_values_but_three_decades_at_most(result):
    artist = draw_em(result)
    norm, values = artist.norm, artist.get_array().compressed()
    values = values[values > 0]
    low, high = np.percentile(values, [0.1, 99.9])
    assert (norm.vmin, norm.vmax) == (pytest.approx(max(low, 1e-3 * high)), pytest.approx(high))
    norm = draw_em(result, vmax=1e20).norm
    assert (norm.vmin, norm.vmax) == (pytest.approx(1e17), 1e20)
    norm = draw_em(result, vmax=1e3 * high).norm
    assert norm.vmin == pytest.approx(high)
    assert draw_em(result, vmin=1e25).norm.vmin == 1e25


def test_color_bar_of_less_than_three_decades_writes_powers_of_ten(result):
    bar = draw_em(result, vmin=1e26, vmax=5e27).colorbar
    bar.ax.figure.canvas.draw()
    ticks = zip(bar.ax.get_yticks(), bar.ax.get_yticklabels(), strict=True)
    # The oldest Matplotlib also has ticks beyond the ends of the axis, which are not drawn.
    assert [label.get_text() for tick, label in ticks if 0.99e26 < tick < 5.01e27 and label.get_text()] == [
        "$10^{26}$",
        r"$2\times10^{26}$",
        r"$5\times10^{26}$",
        "$10^{27}$",
        r"$2\times10^{27}$",
        r"$5\times10^{27}$",
    ]


@either_map
def test_large_image_is_smoothed_where_it_is_reduced(result, draw, monkeypatch):
    assert draw(result).get_interpolation() == "nearest"
    monkeypatch.setattr(_map_panel, "_MAX_NEAREST", 6)
    assert draw(result).get_interpolation() == "auto"
    assert draw(result, interpolation="nearest").get_interpolation() == "nearest"


@either_map
def test_solar_limb_is_drawn_where_it_is_known(result, without_coordinates, draw):
    artist = draw(result)
    [limb] = limbs_of(artist.axes)
    frame = result["chi_squared"].wcs.pixel_to_world(0, 0).frame
    expected = np.arcsin((frame.rsun / frame.observer.radius).to_value(u.one))
    assert np.radians(limb.radius) == pytest.approx(expected, rel=1e-4)
    artist.figure.canvas.draw()

    assert not limbs_of(draw(result, axes=plt.figure().add_subplot()).axes)
    artist = draw(without_coordinates)
    assert not limbs_of(artist.axes)
    artist.figure.canvas.draw()
    assert [c.get_axislabel() for c in artist.axes.coords] == ["x", "y"]


# The page


def test_summary_page_has_all_panels(result, tmp_path):
    figure = visualization.plot_summary(result, title="A title")
    maps = maps_of(figure)
    assert len(maps) == 7
    assert sum("log" in a.get_title() for a in maps) == 6
    assert all(limbs_of(a) for a in maps)
    assert len(curves_of(figure).get_legend().get_texts()) == 4
    texts = [text.get_text() for text in figure.texts]
    [caption] = [text for text in texts if text.startswith("maps: gray where there is no DEM")]
    assert r"vertical bars: 1$\sigma$ of the noise" in caption
    assert curves_of(figure).get_title() == "DEM of the marked pixels, method demreg"
    assert figure.get_suptitle() == "A title"
    figure.savefig(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10000


def test_summary_page_of_chosen_pixels(result):
    figure = visualization.plot_summary(result, pixels=[(2, 2), (-1, -2)])
    assert len(curves_of(figure).get_legend().get_texts()) == 3
    for axes in maps_of(figure)[:6]:
        assert [tuple(int(i[0]) for i in line.get_data()) for line in axes.lines] == [(2, 2), (5, 5)]
        names = [text for text in axes.texts if "resolved" not in text.get_text()]
        assert [text.get_text() for text in names] == ["A", "B"]
        for artist in (*axes.lines, *names):
            assert any(isinstance(effect, withStroke) for effect in artist.get_path_effects())


def test_summary_page_in_a_given_figure(result):
    figure = mpl.figure.Figure(figsize=(5, 6))
    assert visualization.plot_summary(result, figure=figure) is figure
    assert len(maps_of(figure)) == 7


def test_summary_page_without_pixels(result, unsolved, tmp_path):
    for each, pixels in ((result, []), (unsolved, None)):
        figure = visualization.plot_summary(each, pixels=pixels)
        figure.savefig(tmp_path / "page.png")  # warnings are errors
        curves = curves_of(figure)
        assert [text.get_text() for text in curves.texts] == ["no pixel to show"]
        assert curves.get_legend() is None


@pytest.mark.parametrize("shape", [(100, 100), (60, 100), (100, 60), (30, 120), (120, 30), (2, 500), (500, 2)])
def test_panels_of_the_page_fit_the_map_and_do_not_overlap(shape):
    page = _summary_page.arrange(shape)
    boxes = [*page.maps, page.map_bar, page.chi_squared, page.chi_squared_bar, page.dem]
    inches = np.array(boxes) * np.tile(page.size, 2)
    assert np.all(inches[:, 2:] > 0.1)
    assert np.all(inches[:, :2] + inches[:, 2:] < page.size)
    assert np.all(inches[:, :2] > 0.5)  # for the labels
    for i, (x, y, width, height) in enumerate(inches):
        for other_x, other_y, other_width, other_height in inches[:i]:
            assert (
                x >= other_x + other_width
                or other_x >= x + width
                or y >= other_y + other_height
                or other_y >= y + height
            )
    if max(shape) / min(shape) < 2:  # longer ones leave some of their panel empty
        _, _, width, height = inches[0]
        assert height / width == pytest.approx(shape[0] / shape[1])


def boxes_of(figure):
    """Each panel with its labels, and each text of the figure, as it is drawn."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    texts = [text for text in figure.texts if text.get_text()]
    return [each.get_tightbbox(renderer) for each in (*figure.axes, *texts)]


@pytest.mark.parametrize("size", [(3.5, 6.8), (7.1, 6.8), None])
def test_page_of_a_journal_has_nothing_cut_or_overlapping(whole, size):
    figure = visualization.plot_summary(whole, figure=size and plt.figure(figsize=size))
    boxes = boxes_of(figure)
    assert len(boxes) >= 11
    for i, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.width + PIXEL
        assert box.y1 <= figure.bbox.height
        for other in boxes[:i]:
            assert not box.padded(-1).overlaps(other.padded(-1))
    plt.close("all")


@pytest.mark.parametrize("size", [(3.5, 4.5), (7.1, 4.5)])
def test_grid_of_a_journal_has_nothing_cut_or_overlapping(whole, size):
    figure = plt.figure(figsize=size, layout="constrained")
    artists = visualization.plot_emission_measure_grid(whole, figure=figure)
    boxes = boxes_of(figure)
    assert len({round(artist.axes.get_position().x0, 3) for artist in artists}) == (2 if size[0] < 5 else 3)
    for i, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width + PIXEL
        assert not any(box.padded(-1).overlaps(other.padded(-1)) for other in boxes[:i])
    plt.close("all")


@pytest.mark.parametrize("size", [(3.5, 2.8), (7.1, 5)])
@pytest.mark.parametrize("layout", ["constrained", "tight", None, "tight_layout"])
@pytest.mark.parametrize("what", ["loci", "several", "one", "fit"])
def test_legend_covers_nothing(whole, size, layout, what):
    """It is below the axes with their labels, inside the figure."""
    figure, axes = plt.subplots(figsize=size, layout=None if layout == "tight_layout" else layout)
    if what == "fit":
        visualization.plot_intensity(whole, (15, 20), axes=axes)
    else:
        pixels = [(15, 20), (25, 10), (5, 30)] if what == "several" else (15, 20)
        for _ in range(2):  # the same again: room is made once
            axes.clear()
            visualization.plot_dem(whole, pixels, em_loci=what == "loci", axes=axes)
    if layout == "tight_layout":
        figure.tight_layout()
    figure.canvas.draw()
    legend, frame = axes.get_legend().get_window_extent(), axes.get_window_extent()
    assert figure.bbox.x0 - PIXEL <= legend.x0
    assert figure.bbox.y0 - PIXEL <= legend.y0
    assert legend.x1 <= frame.x1 + PIXEL
    assert legend.y1 <= axes.xaxis.get_tightbbox().y0 <= frame.y0
    assert frame.height > 0.3 * figure.bbox.height
    plt.close("all")


@pytest.mark.parametrize("size", [(3.5, 7.2), (7.1, 6.8)])
def test_names_of_close_pixels_do_not_touch(cube, response, edges, size):
    """Neither each other nor markers, and all are inside the map."""
    result = invert(cube, response, edges, method="lognormal", calibration_error=0.1)
    pixels = [(60, 60), (66, 63), (63, 75), (120, 5), (5, 122), (64, 125)]
    figure = visualization.plot_summary(result, pixels=pixels, figure=plt.figure(figsize=size))
    figure.canvas.draw()
    places = set()
    for axes in maps_of(figure)[:6]:
        names = [text for text in axes.texts if len(text.get_text()) == 1]
        boxes = [text.get_window_extent() for text in names]
        markers = axes.transData.transform(np.array(pixels)[:, ::-1])
        for i, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:i])
            assert not any(box.contains(*marker) for marker in markers)
            assert axes.bbox.padded(2).contains(*box.min)
            assert axes.bbox.padded(2).contains(*box.max)
        places.add(tuple(text.get_position() for text in names))
    assert len(places) == 1  # the same in all maps
    plt.close("all")


def test_titles_of_a_column_are_apart(whole):
    """From each other, and from the color bar beside them."""
    figure = visualization.plot_summary(whole, figure=plt.figure(figsize=(3.5, 6.8)))
    figure.canvas.draw()
    titles = [axes.title.get_window_extent() for axes in maps_of(figure)[:6]]
    [bar] = [axes for axes in figure.axes if axes.get_ylabel().startswith("Emission")]
    for left, right in zip(titles[::2], titles[1::2], strict=True):
        assert right.x0 - left.x1 > 0.05 * figure.dpi
        assert bar.get_window_extent().x0 - right.x1 > 0.03 * figure.dpi
    plt.close("all")


# Which pixels the page shows


def test_typical_pixels_are_a_bright_a_median_and_a_faint_one():
    brightness = np.random.default_rng(1).uniform(size=(40, 60))
    pixels = _summary_page.typical_pixels(brightness, np.zeros((40, 60), int), None)
    assert [brightness[pixel] for pixel in pixels] == pytest.approx([0.98, 0.5, 0.02], abs=0.03)
    assert all(2 <= y < 38 and 3 <= x < 57 for y, x in pixels)


def test_typical_pixels_are_not_close_to_each_other():
    brightness = np.zeros((40, 60))
    brightness[10:20, 20:30] = 1 + np.arange(100).reshape(10, 10)
    status = np.where(brightness > 0, 0, int(Status.NEGATIVE_DEM))
    status[30, 5:55] = 0  # as faint as the rest
    pixels = np.array(_summary_page.typical_pixels(brightness, status, None))
    assert len(pixels) == 3
    assert min(np.hypot(*(pixels[i] - pixels[j])) for i, j in ((0, 1), (0, 2), (1, 2))) >= 12
    assert brightness[tuple(pixels[0])] > 90
    status = np.full((40, 60), int(Status.MASKED))
    status[20, 20:23] = 0  # where all are close
    assert len(_summary_page.typical_pixels(brightness, status, None)) == 2


def test_typical_pixels_are_on_the_disk_if_it_is_large_enough():
    brightness = np.arange(1600.0).reshape(40, 40)
    status = np.zeros((40, 40), int)
    on_disk = np.zeros((40, 40), bool)
    on_disk[10:20, 10:20] = True
    assert all(on_disk[pixel] for pixel in _summary_page.typical_pixels(brightness, status, on_disk))
    on_disk[10, 10] = False
    assert not any(on_disk[pixel] for pixel in _summary_page.typical_pixels(brightness, status, on_disk))


def test_typical_pixels_are_the_best_there_are():
    brightness = np.arange(1600.0).reshape(40, 40)
    status = np.full((40, 40), int(Status.SATURATED))
    assert _summary_page.typical_pixels(brightness, status, None) == []
    status[0, 5] = status[39, 7] = int(Status.OK)  # on the border
    assert set(_summary_page.typical_pixels(brightness, status, None)) <= {(0, 5), (39, 7)}
    status[20, 20] = int(Status.NEGATIVE_DEM)
    assert _summary_page.typical_pixels(brightness, status, None) == [(20, 20)]
    status[21, 20] = int(Status.OK)
    assert _summary_page.typical_pixels(brightness, status, None) == [(21, 20)]


@pytest.mark.filterwarnings("ignore:.* do not fit")
def test_disk_is_told_by_the_coordinates(cube, response, without_coordinates):
    strip = cube[:, 60:62]  # across the east limb
    on_disk = _map_panel.on_disk(invert(strip, response, 10 ** np.arange(5.6, 7.3, 0.4) * u.K))
    assert not on_disk[:, 0].any()
    assert on_disk[:, -1].all()
    assert _map_panel.on_disk(without_coordinates) is None


# Bad calls


@pytest.mark.parametrize(
    ("draw", "error", "words"),
    [
        (lambda r: visualization.plot_dem(r, (0, 0)), ValueError, "was not solved.*NOT_FINITE"),
        (lambda r: visualization.plot_dem(r, 3), ValueError, "must have 2 indices"),
        (lambda r: visualization.plot_dem(r, (100, 0)), IndexError, "outside the pixel axes"),
        (lambda r: visualization.plot_dem(r, (1.9, 0)), TypeError, "`pixel` must be whole numbers"),
        (lambda r: visualization.plot_dem(r, None), ValueError, "`pixel` must be given, since `result` has"),
        (lambda r: visualization.plot_dem(r, "ab"), TypeError, "`pixel` must be whole numbers"),
        (lambda r: visualization.plot_dem(r["dem"], (2, 3)), TypeError, "`result` must be.* Cube$"),
        (lambda r: visualization.plot_dem(r["dem", "status"], (2, 3)), ValueError, "`result` lacks"),
        (lambda r: visualization.plot_chi_squared(r["chi_squared"]), TypeError, "`result` must be"),
        (lambda r: visualization.plot_summary({"dem": r["dem"]}), TypeError, "`result` must be.*dict"),
        (lambda r: visualization.plot_summary(r, pixels=[(0, 0)]), ValueError, "was not solved"),
        (lambda r: visualization.plot_summary(r, pixels=[(2, 2)] * 7), ValueError, "6 at most"),
        (lambda r: visualization.plot_emission_measure(r, [1, 2]), TypeError, "must be a Quantity in K of the shape"),
        (lambda r: visualization.plot_emission_measure(r, [1, 2] * u.m), ValueError, "a Quantity in K .*the unit 'm'"),
        (lambda r: visualization.plot_emission_measure(r, [2, 1] * u.MK), ValueError, "ascending"),
        (lambda r: visualization.plot_emission_measure(r, [1, 2] * u.GK), ValueError, "inside the temperature bins"),
        (lambda r: visualization.plot_chi_squared(r[..., 2, :]), ValueError, "must be of an image"),
        (lambda r: visualization.plot_summary(r[..., 2, :]), ValueError, "must be of an image"),
    ],
)
def test_bad_call_is_refused(result, draw, error, words):
    with pytest.raises(error, match=words):
        draw(result)
    assert not plt.get_fignums()


def test_no_plasma_is_dark_and_no_answer_is_gray(result, edges):
    values = np.where(np.isnan(result["dem"].data), np.nan, 1e20)
    values[:, 1, 1] = 0.0
    cube = NDCube(values, result["dem"].wcs, unit=result["dem"].unit, uncertainty=result["dem"].uncertainty)
    changed = type(result)(
        [(key, cube if key == "dem" else result[key]) for key in result],
        aligned_axes=tuple(result.aligned_axes.values()),
        meta=dict(result.meta),
    )
    artist = visualization.plot_emission_measure(changed, edges[[6, 12]])
    colors = artist.cmap(artist.norm(artist.get_array()))
    np.testing.assert_array_equal(colors[1, 1], artist.cmap(0.0))
    np.testing.assert_array_equal(colors[0, 0], artist.cmap.get_bad())


# The other pictures


def test_em_loci_are_drawn_under_the_dem(result, edges):
    axes = visualization.plot_dem(result, (2, 3), em_loci=True).lines[0].axes
    loci = em_loci(result, (2, 3)).value
    lines = [line for line in axes.lines if line.get_label().endswith("alone")]
    centers = np.sqrt(edges[1:] * edges[:-1]).value
    for line, locus in zip(lines, loci, strict=True):
        np.testing.assert_allclose(line.get_ydata() * centers * np.log(10) * 0.05, locus)
        assert axes.get_ylim()[0] < line.get_ydata().min() < axes.get_ylim()[1]
    assert [text.get_text() for text in axes.get_legend().get_texts()][-2:] == ["DEM", "not resolved"]
    assert len(axes.get_legend().get_texts()) == 8


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_em_loci_are_not_cut_off(result, factor):
    """Whatever the DEM: the lowest point of each locus, which is its limit, stays inside, with later curves too."""
    from astropy.nddata import StdDevUncertainty

    cube = result["intensity"]
    data, error = cube.data.copy(), cube.uncertainty.array.copy()
    data[0, 2, 3], error[0, 2, 3] = factor * data[0, 2, 3], factor * error[0, 2, 3]
    changed = result[..., :, :]
    error = StdDevUncertainty(error)
    changed["intensity"] = NDCube(data, cube.wcs, unit=cube.unit, uncertainty=error, mask=cube.mask, meta=cube.meta)
    axes = visualization.plot_dem(changed, (2, 3), em_loci=True).lines[0].axes
    visualization.plot_dem(changed, (5, 6), axes=axes)
    lines = [line for line in axes.lines if line.get_label().endswith("alone")]
    assert len(lines) == 6
    for line in lines:
        assert axes.get_ylim()[0] < line.get_ydata().min() < axes.get_ylim()[1]


@pytest.mark.parametrize("shape", [(3, 12), (8, 8), (14, 3)])
def test_caption_of_the_page_is_clear_of_the_labels(cube, response, edges, shape):
    """Whatever it has to say."""
    part = cube[:, 40 : 40 + shape[0], 60 : 60 + shape[1]]
    part.mask = part.mask.copy()
    part.mask[2, 1, 1] = True
    result = invert(part, response, edges, calibration_error=0.1, common_calibration_error=0.1)
    figure = visualization.plot_summary(result)
    [caption] = [text for text in figure.texts if text.get_text().startswith("maps:")]
    assert "1 pixel lacks a channel" in " ".join(caption.get_text().split())
    renderer = figure.canvas.get_renderer()
    figure.draw(renderer)
    box = caption.get_window_extent(renderer)
    assert box.x1 < figure.bbox.x1
    assert box.y0 > 0
    assert box.y1 < curves_of(figure).xaxis.label.get_window_extent(renderer).y0 + PIXEL


@pytest.mark.parametrize("names", [("Fe XII 186.880", "Fe XII 195.119"), ("Fe VIII 185.213", "S X 264.231 (blend)")])
@pytest.mark.parametrize("layout", ["constrained", None])
def test_fit_of_one_spectrum_of_lines(response, edges, names, layout):
    """Names of lines are whole, and inside the figure; of one spectrum no pixel has to be chosen."""
    of_lines = TemperatureResponse.from_arrays(names, response.temperature, response.response[2:4])
    intensity = [300, 500] * u.Unit("DN / (pix s)")
    single = invert(intensity, of_lines, edges, uncertainty=0.1 * intensity)
    figure = plt.figure(layout=layout)
    for result in (single, invert(intensity[:, None], of_lines, edges, uncertainty=0.1 * intensity[:, None])):
        figure.clear()
        points, _ = visualization.plot_intensity(result, axes=figure.add_subplot())
        axes = points.lines[0].axes
        np.testing.assert_allclose(points.lines[0].get_ydata(), intensity.value)
        assert tuple(label.get_text() for label in axes.get_xticklabels()) == names
        assert axes.get_title().startswith(r"$\chi^2$")
        figure.canvas.draw()
        for each in (*axes.get_xticklabels(), axes.get_legend()):
            assert each.get_window_extent().y0 >= figure.bbox.y0 - PIXEL
    intensity = np.repeat(intensity[:, None], 2, axis=1)
    two = invert(intensity, of_lines, edges, uncertainty=0.1 * intensity)
    with pytest.raises(ValueError, match=r"`pixel` must be given, as `result` has 2 of them: \(2,\)"):
        visualization.plot_intensity(two)


@pytest.mark.parametrize("size", [(3.5, 4), (12, 5), (6, 3), (2, 9)])
def test_page_that_cannot_be_read_is_refused(whole, size):
    """Its size, and one of the same width or height that suffices."""
    given = " x ".join(f"{each:.1f}" for each in size)
    with pytest.raises(ValueError, match=rf"`figure` is of {given} inches, but a page .* needs") as caught:
        visualization.plot_summary(whole, figure=plt.figure(figsize=size))
    assert not plt.gcf().axes
    needed = [float(each) for each in str(caught.value).partition("needs ")[2].partition(" to be")[0].split(" x ")]
    assert needed != list(size)
    page = visualization.plot_summary(whole, figure=plt.figure(figsize=needed))
    boxes = boxes_of(page)
    pairs = [(i, j) for i, box in enumerate(boxes) for j in range(i) if box.padded(-1).overlaps(boxes[j].padded(-1))]
    assert not pairs
    plt.close("all")


def test_summary_counts_the_pixels_that_lack_a_channel(small, response, edges):
    def caption(n):
        data = small.data.copy()
        data[1, 2, :n] = np.nan
        cube = NDCube(data, small.wcs, unit=small.unit, uncertainty=small.uncertainty, mask=small.mask, meta=small.meta)
        figure = visualization.plot_summary(invert(cube, response, edges))
        return next(text.get_text() for text in figure.texts if text.get_text().startswith("maps:"))

    assert "; 2 pixels lack a channel\n" in caption(2)
    assert "; 1 pixel lacks a channel\n" in caption(1)
    assert "lack" not in caption(0)


def test_fit_shows_what_was_seen_and_what_is_predicted(result):
    points, line = visualization.plot_intensity(result, (2, 3))
    np.testing.assert_array_equal(points.lines[0].get_ydata(), result["intensity"].data[:, 2, 3])
    np.testing.assert_array_equal(line.get_ydata(), result["predicted_intensity"].data[:, 2, 3])
    axes = line.axes
    assert [f"AIA {text.get_text()}" for text in axes.get_xticklabels()] == list(result.meta["channels"])
    assert axes.get_xlabel() == "Channel of AIA"
    residuals = [float(text.get_text().strip("$").split("\\")[0]) for text in axes.texts]
    assert np.mean(np.square(residuals)) == pytest.approx(result["chi_squared"].data[2, 3], abs=0.2)
    assert significant(result["chi_squared"].data[2, 3]) in axes.get_title()


def test_bars_of_a_fit_that_reach_zero_leave_the_axes(result):
    """Their ends are no lower limits; and the axis is as long as the other values need."""
    changed = copy.deepcopy(result)
    cube = changed["intensity"]
    cube.uncertainty.array[0, 2, 3] = 2 * cube.data[0, 2, 3]
    points, line = visualization.plot_intensity(changed, (2, 3))
    low, high = line.axes.get_ylim()
    ends = points.lines[2][0].get_segments()
    assert 0 < ends[0][0, 1] < low / 1e3
    assert low < min(end[0, 1] for end in ends[1:])
    observed = cube.data[:, 2, 3]
    assert low > min(observed.min(), line.get_ydata().min()) / 10
    assert high < 5 * max(ends[i][1, 1] for i in range(6))


def test_response_curves(response):
    lines = visualization.plot_response(response)
    assert [line.get_label() for line in lines] == list(response.channels)
    np.testing.assert_array_equal(lines[2].get_ydata(), response.response.value[2])
    assert "DN" in lines[0].axes.get_ylabel().replace("\\", "")


def test_channel_has_one_color_everywhere(result, response):
    def colors(lines):
        return {
            line.get_label().removesuffix(" alone"): line.get_color() for line in lines if "AIA" in line.get_label()
        }

    loci = visualization.plot_dem(result, (2, 3), em_loci=True).lines[0].axes
    turned = TemperatureResponse.from_arrays(
        ["XRT", *response.channels[::-1]], response.temperature, response.response[[0, *range(6)[::-1]]]
    )
    responses = colors(visualization.plot_response(turned, axes=plt.figure().add_subplot()))
    assert responses == colors(loci.lines)
    assert len(set(responses.values())) == 6
    fit = visualization.plot_intensity(result, (2, 3), axes=plt.figure().add_subplot())[1].axes
    ticks = {f"AIA {text.get_text()}": text.get_color() for text in fit.get_xticklabels()}
    assert ticks == responses
    plt.close("all")


def test_curves_have_the_colors_of_the_palette_unless_a_format_names_one(result):
    axes = plt.figure().add_subplot()
    curves = visualization.plot_dem(result, [(2, 3), (3, 3)], axes=axes)
    assert [curve.lines[0].get_color() for curve in curves] == list(COLORS[:2])
    named = visualization.plot_dem(result, (2, 3), axes=axes, fmt="rs")
    assert to_rgba(named.lines[0].get_color()) == to_rgba("r")
    plt.close("all")


def test_maps_of_temperature_and_residuals(result):
    artist = visualization.plot_mean_temperature(result, [1, 5] * u.MK)
    expected = mean_temperature(result, [1, 5] * u.MK).data / 1e6
    np.testing.assert_array_equal(np.ma.filled(artist.get_array(), np.nan), expected)
    artist = visualization.plot_residual(result, "AIA 171")
    intensity = result["intensity"]
    expected = (intensity.data - result["predicted_intensity"].data)[2] / intensity.uncertainty.array[2]
    np.testing.assert_array_equal(np.ma.filled(artist.get_array(), np.nan), expected)
    assert (artist.norm.vmin, artist.norm.vmax) == (-3, 3)
    artist.figure.canvas.draw()
    assert visualization.plot_residual(result, "AIA 171", vmin=-1, vmax=2).norm.vmax == 2


def test_grid_of_emission_measures_has_one_scale(result, edges):
    artists = visualization.plot_emission_measure_grid(result, [1, 2, 4, 8] * u.MK)
    assert len(artists) == 3
    assert {(a.norm.vmin, a.norm.vmax) for a in artists} == {(artists[0].norm.vmin, artists[0].norm.vmax)}
    np.testing.assert_allclose(artists[1].get_array()[2, 3], emission_measure(result, [2, 4] * u.MK).data[2, 3])
    assert len(visualization.plot_emission_measure_grid(result)) == 6
    figure = plt.figure()
    assert visualization.plot_emission_measure_grid(result, edges[[0, 5, 9, 20, 30, 35]], figure=figure)
    assert len(maps_of(figure)) == 5


@pytest.mark.parametrize("size", [(3.5, 3), (7.1, 5)])
@pytest.mark.parametrize("layout", ["constrained", None])
def test_legend_of_a_composite_covers_nothing(whole, size, layout):
    """It is below the map and its labels, inside the figure, and tells the scale."""
    figure = plt.figure(figsize=size, layout=layout)
    for _ in range(2):  # as in a movie
        axes = visualization.plot_composite(whole, axes=figure.axes[0] if figure.axes else None).axes
        figure.canvas.draw()
        renderer = figure.canvas.get_renderer()
        legend = axes.get_legend()
        box = legend.get_window_extent()
        assert figure.bbox.y0 - PIXEL <= box.y0
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1
        legend.set_visible(False)
        labels = axes.get_tightbbox(renderer)
        legend.set_visible(True)
        assert box.y1 <= labels.y0 + PIXEL
        assert axes.get_window_extent().height > 0.4 * figure.bbox.height
    plt.close("all")
    solved = emission_measure(whole, 10 ** np.array([6.15, 6.4]) * u.K).data
    assert f", {in_math(np.percentile(solved, 99.9), 2)}," in legend.get_title().get_text()


def test_composite_adds_the_colors_of_the_ranges(result, edges):
    values = np.where(np.isnan(result["dem"].data), np.nan, 0.0)
    values[:, 1, 1] = 1e20
    values[:8, 2, 2] = 1e20
    cube = NDCube(values, result["dem"].wcs, unit=result["dem"].unit)
    changed = type(result)(
        [(key, cube if key == "dem" else result[key]) for key in result],
        aligned_axes=tuple(result.aligned_axes.values()),
        meta=dict(result.meta),
    )
    artist = visualization.plot_composite(changed, edges[[0, 8, 16, 24]], colors=("#0000ff", "#00ff00", "#ff0000"))
    picture = artist.get_array()
    np.testing.assert_allclose(picture[1, 1], 1)
    np.testing.assert_allclose(picture[2, 2], (0, 0, 1))
    np.testing.assert_allclose(picture[3, 3], 0)
    np.testing.assert_allclose(picture[0, 0], 0.75)  # not solved
    assert len(artist.axes.get_legend().get_texts()) == 3
    artist.figure.canvas.draw()


def test_movie_has_a_frame_for_each_result_on_one_scale(result, tmp_path):
    dem = result["dem"]
    brighter = NDCube(dem.data * 3, dem.wcs, unit=dem.unit, uncertainty=dem.uncertainty)
    other = type(result)(
        [(key, brighter if key == "dem" else result[key]) for key in result],
        aligned_axes=tuple(result.aligned_axes.values()),
        meta=dict(result.meta),
    )
    movie = visualization.animate([result, other], [1, 2] * u.MK, interval=50)
    movie.save(tmp_path / "movie.gif", writer="pillow")
    with Image.open(tmp_path / "movie.gif") as saved:
        assert saved.n_frames == 2
    [axes] = maps_of(movie._fig)
    [artist] = axes.images
    np.testing.assert_allclose(artist.get_array()[2, 3], emission_measure(other, [1, 2] * u.MK).data[2, 3])
    both = limits_of([result, other], [1, 2] * u.MK)
    np.testing.assert_allclose((artist.norm.vmin, artist.norm.vmax), both)
    assert axes.get_title().endswith("2014-01-01 00:00:05 UT")
    assert len(limbs_of(axes)) == 1
    assert len(movie._fig.axes) == 2  # with one color bar
    composite = visualization.animate([result], draw=visualization.plot_composite)
    composite.save(tmp_path / "composite.gif", writer="pillow")
    with Image.open(tmp_path / "composite.gif") as saved:
        assert saved.n_frames == 1


@pytest.fixture(scope="module")
def series(series_folder):
    """A lazy result of three times, the later ones brighter."""
    cube = prepare_series(series_folder, n_sample=16)
    return invert(cube, TemperatureResponse.from_aia(cube), 10 ** np.arange(5.6, 7.41, 0.2) * u.K)


def drawn(movie, i):
    movie._draw_was_started = True  # or matplotlib would warn when it is deleted
    movie._func(i)
    [axes] = maps_of(movie._fig)
    return axes, axes.images[0]


def limits_of(results, temperature_range):
    """The lowest and the highest of the limits that maps of emission measure have; less than three decades here."""
    norms = [visualization.plot_emission_measure(each, temperature_range).norm for each in results]
    return min(norm.vmin for norm in norms), max(norm.vmax for norm in norms)


@pytest.mark.parametrize("in_memory", [False, True])
def test_movies_of_series_have_one_scale_and_the_times(series, in_memory, tmp_path):
    result = computed_result(series) if in_memory else series
    movie = visualization.animate(result, [1, 2] * u.MK)
    em = emission_measure(computed_result(series), [1, 2] * u.MK).data
    norms = []
    for i, when in enumerate(("00:00:05", "00:02:05", "00:04:05")):
        axes, artist = drawn(movie, i)
        assert axes.get_title().endswith(f"2014-01-01 {when} UT")
        np.testing.assert_allclose(artist.get_array(), em[i])
        norms.append(artist.norm)
        assert len(movie._fig.axes) == 2
    assert norms[0] is norms[2]
    assert (norms[0].vmin, norms[0].vmax) == pytest.approx(limits_of([result[i] for i in range(3)], [1, 2] * u.MK))
    movie.save(tmp_path / "movie.gif", writer="pillow")
    with Image.open(tmp_path / "movie.gif") as saved:
        assert saved.n_frames == 3


@pytest.mark.parametrize(
    ("draw", "kwargs"),
    [
        (visualization.plot_mean_temperature, {}),
        (visualization.plot_mean_temperature, {"norm": LogNorm()}),
        (visualization.plot_chi_squared, {"vmin": 0.1}),
        (functools.partial(visualization.plot_residual, channel="AIA 193"), {}),
    ],
)
def test_limits_of_movies_hold_those_of_all_frames(series, draw, kwargs):
    movie = visualization.animate(series, draw=draw, **kwargs)
    limits = []
    for i in range(3):
        own = draw(series[i], **({"norm": LogNorm()} if "norm" in kwargs else kwargs)).norm
        limits.append((own.vmin, own.vmax))
        norm = drawn(movie, i)[1].norm
    lows, highs = zip(*limits, strict=True)
    assert (norm.vmin, norm.vmax) == (min(lows), max(highs))


def test_composite_movies_have_one_scale_too(series):
    movie = visualization.animate(series, [0.6, 1.4, 2.5, 10] * u.MK, draw=visualization.plot_composite)
    pictures = [np.asarray(drawn(movie, i)[1].get_array()) for i in range(3)]
    full = []
    for low, high in ((0.6, 1.4), (1.4, 2.5), (2.5, 10)):
        em = emission_measure(computed_result(series), [low, high] * u.MK).data
        full.append(max(np.percentile(each[each > 0], 99.9) for each in em))
    for i, picture in enumerate(pictures):
        own = visualization.plot_composite(series[i], [0.6, 1.4, 2.5, 10] * u.MK, full=full * u.cm**-5)
        np.testing.assert_allclose(picture, own.get_array(), atol=1e-6)
    assert np.nanmean(pictures[2]) > np.nanmean(pictures[0])


def test_movies_of_cubes(series, series_folder):
    em = emission_measure(series, [1, 2] * u.MK)
    movie = visualization.animate(em)
    axes, artist = drawn(movie, 1)
    np.testing.assert_allclose(artist.get_array(), em[1].data.compute())
    assert axes.get_title() == "emission measure, log T 6.00-6.30  2014-01-01 00:02:05 UT"
    assert movie._fig.axes[1].get_ylabel().startswith("Emission measure [")
    data = em.data.compute()
    data[0] = np.nan  # a time without values: it tells nothing of the colors
    blank = visualization.animate(NDCube(data, em.wcs, unit=em.unit, meta=em.meta))
    of_others = drawn(visualization.animate(em[1:]), 1)[1].norm
    assert (of_blank := drawn(blank, 1)[1].norm).vmax == of_others.vmax
    assert of_blank.vmin == pytest.approx(of_others.vmin)
    channel = prepare_series(series_folder, n_sample=16)[2]
    movie = visualization.animate(channel)
    axes, artist = drawn(movie, 2)
    assert axes.get_title() == "intensity, AIA 171  2014-01-01 00:04:05 UT"
    np.testing.assert_array_equal(artist.get_array(), channel[2].data.compute())
    with pytest.raises(
        TypeError, match=r"`results` must be a list .* is a cube of the shape \(20, 22\) without a time"
    ):
        visualization.animate(em[0])
    with pytest.raises(TypeError, match=r"is a cube of the shape \(9, 3, 20, 22\)"):
        visualization.animate(series["dem"])


def test_lazy_movies_compute_one_time_at_a_time(series, monkeypatch):
    computed = []
    whole = sunpy_demreg.visualization._frames.computed_result

    def counted(result):
        computed.append(result["status"].data.shape)
        return whole(result)

    monkeypatch.setattr("sunpy_demreg.visualization._frames.computed_result", counted)
    movie = visualization.animate(series, [1, 2] * u.MK, vmin=1e25, vmax=1e28)
    drawn(movie, 0)
    assert computed == [(20, 22)]  # with both limits, no other frame is needed
    drawn(movie, 2)
    assert computed == 2 * [(20, 22)]


@pytest.mark.parametrize("in_memory", [False, True])
def test_series_are_explored_by_slider_and_keys(series, in_memory):
    result = computed_result(series) if in_memory else series
    explorer = visualization.explore(result, [1, 4] * u.MK)
    figure, [axes] = explorer.figure, maps_of(explorer.figure)
    figure.canvas.draw()
    em = emission_measure(computed_result(series), [1, 4] * u.MK).data

    def press(key):
        figure.canvas.callbacks.process("key_press_event", KeyEvent("key_press_event", figure.canvas, key))

    def is_shown(step):
        assert explorer.step == step
        assert axes.get_title().endswith(f"2014-01-01 00:0{2 * step}:05 UT")
        np.testing.assert_allclose(axes.images[0].get_array(), em[step])
        assert explorer._slider.val == step
        shown = range(3) if in_memory else [step]
        norm = axes.images[0].norm
        assert (norm.vmin, norm.vmax) == pytest.approx(limits_of([result[i] for i in shown], [1, 4] * u.MK))
        [bar] = [each._colorbar for each in figure.axes if hasattr(each, "_colorbar")]
        assert bar.norm is norm
        [dem, *_] = [each for each in figure.axes if each.get_yscale() == "log" and each.containers]
        y, x = explorer.pixel
        np.testing.assert_allclose(
            dem.containers[0].lines[0].get_ydata(), np.asarray(result["dem"].data)[:, step, y, x]
        )

    is_shown(0)
    pixel = explorer.pixel
    press("pagedown")
    is_shown(1)
    explorer._slider.set_val(2)
    is_shown(2)
    press("pagedown")
    is_shown(2)
    assert explorer.pixel == pixel
    press("up")
    assert explorer.pixel == (pixel[0] + 1, pixel[1])
    press("pageup")
    is_shown(1)
    explorer.show(-3)
    is_shown(0)
    figure.canvas.draw()
    with pytest.raises(ValueError, match="`step` must be a whole number of the 3 times from -3 to 2"):
        explorer.show(3)


def test_clicks_and_keys_explore_a_result(result):
    explorer = visualization.explore(result, [1, 4] * u.MK)
    figure = explorer.figure
    first = explorer.pixel
    figure.canvas.draw()
    [image], dem, fit = maps_of(figure), *(a for a in figure.axes if a.get_yscale() == "log")

    def click(axes, x, y):
        at = axes.transData.transform((x, y))
        figure.canvas.callbacks.process("button_press_event", MouseEvent("button_press_event", figure.canvas, *at, 1))

    click(image, 3.2, 1.9)
    assert explorer.pixel == (2, 3) != first
    np.testing.assert_allclose(dem.containers[0].lines[0].get_ydata()[5], result["dem"].data[5, 2, 3])
    np.testing.assert_allclose(fit.lines[-1].get_ydata(), result["predicted_intensity"].data[:, 2, 3])
    figure.canvas.callbacks.process("key_press_event", KeyEvent("key_press_event", figure.canvas, "up"))
    assert explorer.pixel == (3, 3)
    click(fit, *np.mean((fit.get_xlim(), fit.get_ylim()), axis=1))
    assert explorer.pixel == (3, 3)
    click(image, 0, 0)
    assert explorer.pixel == (0, 0)
    assert [text.get_text() for text in dem.texts] == ["not solved: NOT_FINITE"]
    figure.canvas.draw()
    with pytest.raises(IndexError, match="`pixel`"):
        explorer.select((99, 0))


@pytest.mark.parametrize(
    ("draw", "error", "words"),
    [
        (lambda r: visualization.plot_response(r), TypeError, "`response` must be a TemperatureResponse"),
        (lambda r: visualization.plot_residual(r, 304), ValueError, "`channel` must be one of 'AIA 94'.* but is 304$"),
        (lambda r: visualization.plot_intensity(r, (0, 0)), ValueError, "was not solved"),
        (lambda r: visualization.plot_composite(r, [1, 2] * u.MK), ValueError, r"in K of the shape \(4,\), .* \(2,\)"),
        (lambda r: visualization.plot_composite(r, colors="rg"), ValueError, "`colors` must be three"),
        (lambda r: visualization.plot_composite(r, decades=0), ValueError, "`decades` must be"),
        (lambda r: visualization.plot_emission_measure_grid(r, 3 * u.MK), ValueError, "`temperature_edges` must be"),
        (lambda r: visualization.animate(r), TypeError, "`results` must be a list"),
        (lambda r: visualization.plot_composite(r, full=[1, 2] * u.cm**-5), ValueError, r"`full` must be a Quantity"),
        (lambda r: visualization.plot_composite(r, full=[1, 2, 0] * u.cm**-5), ValueError, "`full` must be finite and"),
        (lambda r: visualization.explore(r, [1, 99] * u.MK), ValueError, "`temperature_range`"),
        (lambda r: visualization.animate([]), ValueError, "`results` must be a list of results, but is empty"),
        (lambda r: visualization.animate([r, r[..., 1:3, :]]), ValueError, "`results` must be images of one shape"),
        (lambda r: visualization.explore(r["dem"]), TypeError, "`result` must be"),
        (lambda r: visualization.explore(r[..., 2, :]), ValueError, "must be of an image, or of images in time"),
    ],
)
def test_other_bad_calls_are_refused(result, draw, error, words):
    with pytest.raises(error, match=words):
        draw(result)
    assert not plt.get_fignums()


def draw_everything(result):
    for draw in (
        lambda result: visualization.plot_dem(result, (2, 3)),
        lambda result: visualization.plot_dem(result, (2, 3), em_loci=True),
        lambda result: visualization.plot_intensity(result, (2, 3)),
        lambda result: visualization.plot_emission_measure(result, [1, 2] * u.MK),
        lambda result: visualization.plot_residual(result, "AIA 171"),
        visualization.plot_emission_measure_grid,
        visualization.plot_composite,
        visualization.plot_summary,
        visualization.explore,
        visualization.plot_chi_squared,
        visualization.plot_mean_temperature,
    ):
        plt.figure()
        draw(result)


def test_results_of_a_store_are_drawn_like_those_in_memory(result, tmp_path):
    write(result, tmp_path / "a.zarr")
    pictures = []
    for each in (result, read(tmp_path / "a.zarr")):
        draw_everything(each)
        figures = [plt.figure(number) for number in plt.get_fignums()]
        for figure in figures:
            figure.canvas.draw()
        pictures.append([np.asarray(figure.canvas.buffer_rgba()).copy() for figure in figures])
        plt.close("all")
    assert len(pictures[0]) > 8
    for one, other in zip(*pictures, strict=True):
        np.testing.assert_array_equal(one, other)


def test_summary_tells_the_date_and_how_many_pixels_fit_badly(result):
    figure = visualization.plot_summary(result)
    chi_squared = result["chi_squared"].data
    share = 100 * np.mean(chi_squared[np.isfinite(chi_squared)] > 3)
    assert figure.get_suptitle() == "AIA 2014-01-01 00:00:05 UT"
    [caption] = [text.get_text().replace("\n", " ") for text in figure.texts if text.get_text().startswith("maps:")]
    assert rf"$\chi^2$ > 3 in {significant(share, 2)} % of the pixels with a DEM" in caption
    assert visualization.plot_summary(result, title="").get_suptitle() == ""
    plt.close("all")
