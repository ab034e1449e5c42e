"""Pages of several maps: the summary of a result, and its emission measure from range to range."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm

import astropy.units as u

from sunpy_demreg._checks import bin_edges, check_image, checked_pixel
from sunpy_demreg.visualization import _map_panel, _summary_page
from sunpy_demreg.visualization._curves import COLORS, plot_dem
from sunpy_demreg.visualization._maps import EM_LABEL, emission_measure_image, plot_chi_squared, plot_emission_measure

__all__ = ["plot_emission_measure_grid", "plot_summary"]

_CAPTION = (
    "gray: no DEM, or a negative emission measure;  "
    r"bars: noise (vertical, 1$\sigma$), temperature resolution (horizontal, FWHM)"
)


def plot_summary(result, *, pixels=None, title=None, figure=None):
    """
    Draw a page: emission measure in six temperature ranges, chi-squared, and the DEM of some pixels.

    Parameters
    ----------
    result : `ndcube.NDCollection`
        From `sunpy_demreg.invert`, of an image.
    pixels : sequence of tuple of `int`, optional
        Up to six array indices (y, x) of solved pixels. By default a bright, a median and a faint one, on the
        disk if there is one, if possible away from the border and solved without a remark.
    title : `str`, optional
    figure : `matplotlib.figure.Figure`, optional
        By default a new one, as high as the shape of the image asks for.

    Returns
    -------
    `matplotlib.figure.Figure`

    Raises
    ------
    TypeError
        If ``result`` is not a result, or a pixel is something else than whole numbers.
    ValueError
        If the result is not of an image, or a pixel was not solved.
    IndexError
        If a pixel lies outside.

    Notes
    -----
    AIA constrains plasma hotter than about log T = 7 poorly: in quiet regions, the maps of the hottest ranges
    show what the regularization leaves there rather than plasma. The bars of the curves tell: the vertical
    ones how certain the DEM is, the horizontal ones from which temperatures it may come.
    """
    check_image(result, "dem", "temperature_resolution", "chi_squared")
    edges = bin_edges(result)
    shape = result["chi_squared"].data.shape
    wcs = result["chi_squared"].wcs
    if pixels is None:
        total = emission_measure_image(result, None)
        pixels = _summary_page.typical_pixels(total, result["status"].data, _map_panel.on_disk(result))
    elif len(pixels) > len(_summary_page.NAMES):
        raise ValueError(f"`pixels` may be {len(_summary_page.NAMES)} at most, but are {len(pixels)}: leave some out")
    pixels = [checked_pixel(result, pixel) for pixel in pixels]

    page = _summary_page.arrange(shape)
    figure = plt.figure(figsize=page.size) if figure is None else figure
    curves = figure.add_axes(page.dem)
    limits = np.logspace(np.log10(edges[0]), np.log10(edges[-1]), 7)
    images = [emission_measure_image(result, list(pair) * u.K) for pair in pairwise(limits)]
    norm = LogNorm(*_map_panel.log_limits(images))
    for i, box in enumerate(page.maps):
        axes = figure.add_axes(box, projection=wcs)
        artist = plot_emission_measure(result, limits[i : i + 2] * u.K, axes=axes, norm=norm)
        _summary_page.mark(axes, shape, pixels)
        _map_panel.label_coordinates(axes, wcs, left=i % 3 == 0, bottom=i // 3 == 1)
    _map_panel.add_color_bar(artist, EM_LABEL, cax=figure.add_axes(page.map_bar))
    axes = figure.add_axes(page.chi_squared, projection=wcs)
    artist = plot_chi_squared(result, axes=axes)
    _map_panel.label_coordinates(axes, wcs)
    _map_panel.add_color_bar(artist, "", cax=figure.add_axes(page.chi_squared_bar))
    figure.sca(axes)  # a map, so that `plot_dem` will not take any axes of this page for its own
    _draw_curves(result, pixels, curves)
    figure.text(*page.caption, _CAPTION, fontsize="small", color="0.3")
    if title:
        figure.suptitle(title, fontsize="large", y=1 - 0.3 / page.size[1], verticalalignment="center")
    return figure


def plot_emission_measure_grid(result, temperature_edges=None, *, figure=None, **kwargs):
    """
    Draw maps of the emission measure in adjacent temperature ranges, on one scale.

    Parameters
    ----------
    result : `ndcube.NDCollection`
        From `sunpy_demreg.invert`, of an image.
    temperature_edges : `astropy.units.Quantity`, optional
        Ends of the ranges, ascending, inside the bins; by default six ranges of the same width in log T.
    figure : `matplotlib.figure.Figure`, optional
        By default a new one.
    **kwargs
        For `plot_emission_measure`.

    Returns
    -------
    `list` of `matplotlib.image.AxesImage`

    Raises
    ------
    TypeError, ValueError
        As `plot_emission_measure` does.
    """
    check_image(result, "dem")
    if temperature_edges is None:
        temperature_edges = np.geomspace(*bin_edges(result)[[0, -1]], 7) * u.K
    elif np.size(temperature_edges) < 2 or not isinstance(temperature_edges, u.Quantity):
        raise ValueError("`temperature_edges` must be a Quantity of two temperatures or more")
    ranges = [u.Quantity(pair) for pair in pairwise(temperature_edges)]
    images = [emission_measure_image(result, pair) for pair in ranges]
    n_columns = 2 if len(ranges) in (2, 4) else min(3, len(ranges))
    n_rows = -(-len(ranges) // n_columns)
    wcs, aspect = result["status"].wcs, images[0].shape[0] / images[0].shape[1]
    if figure is None:
        figure = plt.figure(
            figsize=(1.5 + 2.6 * n_columns, 0.4 + n_rows * (np.clip(2.6 * aspect, 1, 6) + 0.3)), layout="constrained"
        )
    panels = figure.subplots(n_rows, n_columns, squeeze=False, subplot_kw={"projection": wcs})
    kwargs = {"norm": LogNorm(*_map_panel.log_limits(images)), **kwargs}
    artists = []
    for i, axes in enumerate(panels.flat):
        if i >= len(ranges):
            axes.remove()
            continue
        artists.append(plot_emission_measure(result, ranges[i], axes=axes, **kwargs))
        is_lowest = i + n_columns >= len(ranges)
        _map_panel.label_coordinates(axes, wcs, left=i % n_columns == 0, bottom=is_lowest)
    _map_panel.add_color_bar(artists[0], EM_LABEL, ax=[artist.axes for artist in artists])
    return artists


def _draw_curves(result, pixels, axes):
    """The DEMs of the pixels that are marked on the maps."""
    for name, pixel, color, marker in zip(_summary_page.NAMES, pixels, COLORS, _summary_page.MARKERS, strict=False):
        label = rf"{name}  ($\chi^2$ = {float(result['chi_squared'].data[pixel]):.1f})"
        curve = plot_dem(result, pixel, axes=axes, color=color, fmt=marker, label=label)
        # Where there are three, the long horizontal bars must not hide the rest.
        curve.lines[2][0].set_alpha(0.5)
    if pixels:
        axes.set_title("DEM of the marked pixels", fontsize="medium")
        axes.legend(frameon=False, fontsize="small")
    else:
        axes.text(0.5, 0.5, "no pixel to show", transform=axes.transAxes, ha="center", va="center", color="0.3")
        axes.set(xticks=(), yticks=())
