"""Pictures of a result. Every function takes ``axes=`` (or ``figure=``) and returns what it drew."""

from itertools import pairwise
from operator import index

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.container import ErrorbarContainer

import astropy.units as u
from astropy.visualization.wcsaxes import WCSAxes
from ndcube import NDCollection

from sunpy_demreg import _map_panel, _summary_page
from sunpy_demreg._status import Status

__all__ = ["plot_chi_squared", "plot_dem", "plot_emission_measure", "plot_summary"]

_NEEDED = {"chi_squared", "dem", "status", "temperature_resolution"}
_EM_LABEL = r"Emission measure [cm$^{-5}$]"
_CHI_SQUARED_LABEL = r"$\chi^2$ per channel"
_CAPTION = (
    "gray: no DEM, or a negative emission measure;  "
    r"bars: noise (vertical, 1$\sigma$), temperature resolution (horizontal, FWHM)"
)
_DECADES = 1e-5  # of the DEM that are drawn at most, below its peak


def plot_dem(result, pixel, *, axes=None, **kwargs):
    """
    Draw the DEM of a pixel with both error bars.

    Parameters
    ----------
    result : `ndcube.NDCollection`
        From `sunpy_demreg.invert`.
    pixel : tuple of `int`
        Array index, in the order of the cubes' last axes: (y, x) for a map.
    axes : `matplotlib.axes.Axes`, optional
        By default the current ones, or new ones in a new figure if these show a map. Several curves in the
        same axes get a legend in place of the title.
    **kwargs
        For `matplotlib.axes.Axes.errorbar`.

    Returns
    -------
    `matplotlib.container.ErrorbarContainer`
        Vertical bars: one standard deviation of the propagated noise. Horizontal bars: the full width at half
        maximum of the temperature resolution, as far as it lies inside the bins. Bins with a negative DEM have
        no place on the logarithmic axis, and those more than five decades below the peak are outside the limits.

    Raises
    ------
    TypeError
        If ``result`` is not a result, or ``pixel`` is something else than whole numbers.
    ValueError
        If the pixel has the wrong number of indices, or was not solved.
    IndexError
        If it lies outside.
    """
    _check_result(result)
    pixel = _checked_pixel(result, pixel)
    dem = result["dem"]
    here = (slice(None), *pixel)
    edges = result.meta["temperature_bin_edges"].to_value(u.K)
    center = np.sqrt(edges[1:] * edges[:-1])
    half_width = result["temperature_resolution"].data[here] / 2
    error = dem.uncertainty.array[here]
    value = np.where(dem.data[here] > 0, dem.data[here], np.nan)
    place = ", ".join(map(str, pixel))
    label = rf"pixel ({place}), $\chi^2$ = {result['chi_squared'].data[pixel]:.2f}"
    if axes is None:
        axes = plt.gca()
        axes = plt.figure().add_subplot() if isinstance(axes, WCSAxes) else axes
    artist = axes.errorbar(
        center,
        value,
        # A bar that reaches zero would be drawn to the end of the axis: cut it at a thousandth of the value.
        yerr=(np.minimum(error, value * 0.999), error),
        xerr=(
            center - np.maximum(center * 10**-half_width, edges[0]),
            np.minimum(center * 10**half_width, edges[-1]) - center,
        ),
        **{"fmt": "o", "markersize": 3.5, "elinewidth": 0.7, "label": label, **kwargs},
    )
    axes.set(xscale="log", yscale="log", xlabel="Temperature [K]", ylabel=f"DEM [{dem.unit:latex_inline}]")
    curves = [container for container in axes.containers if isinstance(container, ErrorbarContainer)]
    _limit_to(axes, edges, curves)
    if len(curves) == 1:
        axes.set_title(label, fontsize="medium")
    else:
        axes.set_title("")
        axes.legend(frameon=False, fontsize="small")
    return artist


def plot_emission_measure(result, temperature_range, *, axes=None, **kwargs):
    """
    Draw a map of the emission measure between two temperatures.

    Parameters
    ----------
    result : `ndcube.NDCollection`
        From `sunpy_demreg.invert`, of an image.
    temperature_range : `astropy.units.Quantity`
        Two temperatures, ascending. Bins that they cut count in part.
    axes : `astropy.visualization.wcsaxes.WCSAxes`, optional
        By default new ones, with the coordinates of the image and a color bar, in the current figure if it is
        empty and in a new one otherwise.
    **kwargs
        For `matplotlib.axes.Axes.imshow`. The norm is logarithmic by default, over three decades;
        ``vmin`` and ``vmax`` change its limits.

    Returns
    -------
    `matplotlib.image.AxesImage`
        Gray where no DEM was found, or where the sum of a DEM with negative bins is negative. The dashed line
        is the solar limb, where the coordinates tell where it is.

    Raises
    ------
    TypeError
        If ``result`` is not a result.
    ValueError
        If the result is not of an image, or the range holds none of its temperatures.

    Notes
    -----
    AIA constrains plasma hotter than about log T = 7 poorly: in quiet regions, maps of the hottest ranges show
    what the regularization leaves there rather than plasma. The temperature resolution and the noise of the
    bins, which `plot_dem` draws, tell.
    """
    _check_image(result)
    low, high = _checked_range(result, temperature_range)
    image = _emission_measure(result, low, high)
    limits = _map_panel.log_limits([image], **{key: kwargs[key] for key in ("vmin", "vmax") if key in kwargs})
    title = rf"log $T$ {np.log10(low):.2f}–{np.log10(high):.2f}"
    # A logarithm has no zero, but no plasma is an answer: it gets the darkest color, not that of no answer.
    image = np.where(image == 0, np.finfo(float).tiny, image)
    return _map_panel.draw_map(result, image, axes, limits, title, _EM_LABEL, **{"cmap": "inferno", **kwargs})


def plot_chi_squared(result, *, axes=None, **kwargs):
    """
    Draw the map of chi-squared (the sum of squared residuals divided by the number of channels).

    Parameters
    ----------
    result : `ndcube.NDCollection`
        From `sunpy_demreg.invert`, of an image.
    axes : `astropy.visualization.wcsaxes.WCSAxes`, optional
        By default new ones, with the coordinates of the image and a color bar, in the current figure if it is
        empty and in a new one otherwise.
    **kwargs
        For `matplotlib.axes.Axes.imshow`. The norm is logarithmic by default, from 0.5 to 50; ``vmin`` and
        ``vmax`` change its limits.

    Returns
    -------
    `matplotlib.image.AxesImage`
        Gray where no DEM was found. The dashed line is the solar limb, where the coordinates tell where it is.

    Raises
    ------
    TypeError
        If ``result`` is not a result.
    ValueError
        If the result is not of an image.
    """
    _check_image(result)
    image = result["chi_squared"].data
    return _map_panel.draw_map(result, image, axes, (0.5, 50), _CHI_SQUARED_LABEL, _CHI_SQUARED_LABEL, **kwargs)


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
    _check_image(result)
    edges = result.meta["temperature_bin_edges"].to_value(u.K)
    shape = result["chi_squared"].data.shape
    wcs = result["chi_squared"].wcs
    if pixels is None:
        total = _emission_measure(result, edges[0], edges[-1])
        pixels = _summary_page.typical_pixels(total, result["status"].data, _map_panel.on_disk(result))
    elif len(pixels) > len(_summary_page.NAMES):
        raise ValueError(f"`pixels` may be {len(_summary_page.NAMES)} at most, but are {len(pixels)}: leave some out")
    pixels = [_checked_pixel(result, pixel) for pixel in pixels]

    page = _summary_page.arrange(shape)
    figure = plt.figure(figsize=page.size) if figure is None else figure
    curves = figure.add_axes(page.dem)
    limits = np.logspace(np.log10(edges[0]), np.log10(edges[-1]), 7)
    norm = LogNorm(*_map_panel.log_limits([_emission_measure(result, *pair) for pair in pairwise(limits)]))
    for i, box in enumerate(page.maps):
        axes = figure.add_axes(box, projection=wcs)
        artist = plot_emission_measure(result, limits[i : i + 2] * u.K, axes=axes, norm=norm)
        _summary_page.mark(axes, shape, pixels)
        _map_panel.label_coordinates(axes, wcs, left=i % 3 == 0, bottom=i // 3 == 1)
    _map_panel.add_color_bar(artist, _EM_LABEL, cax=figure.add_axes(page.map_bar))
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


def _draw_curves(result, pixels, axes):
    """The DEMs of the pixels that are marked on the maps."""
    for name, pixel, color, marker in zip(
        _summary_page.NAMES, pixels, _summary_page.COLORS, _summary_page.MARKERS, strict=False
    ):
        label = rf"{name}  ($\chi^2$ = {result['chi_squared'].data[pixel]:.1f})"
        curve = plot_dem(result, pixel, axes=axes, color=color, fmt=marker, label=label)
        # Where there are three, the long horizontal bars must not hide the rest.
        curve.lines[2][0].set_alpha(0.5)
    if pixels:
        axes.set_title("DEM of the marked pixels", fontsize="medium")
        axes.legend(frameon=False, fontsize="small")
    else:
        axes.text(0.5, 0.5, "no pixel to show", transform=axes.transAxes, ha="center", va="center", color="0.3")
        axes.set(xticks=(), yticks=())


def _limit_to(axes, edges, curves):
    """Limits that hold the bins and the curves, but not points that are nothing next to the peak."""
    values = np.concatenate([curve.lines[0].get_ydata() for curve in curves])
    values = values[values > 0]
    # What a user has set stays, and what is drawn later may scale again.
    if axes.get_autoscalex_on():
        axes.set_xlim(edges[0] / 1.05, edges[-1] * 1.05, auto=None)
    if axes.get_autoscaley_on() and values.size:
        axes.set_ylim(max(values.min() / 2, values.max() * _DECADES), values.max() * 4, auto=None)


def _emission_measure(result, low, high):
    """Sum of DEM dT over the part of each bin inside the range, in cm-5: bins are even in log T."""
    log_edges = np.log10(result.meta["temperature_bin_edges"].to_value(u.K))
    overlap = np.minimum(log_edges[1:], np.log10(high)) - np.maximum(log_edges[:-1], np.log10(low))
    # Edges that are equal but for rounding must not leave a sliver of a bin.
    overlap = np.where(overlap > 1e-9, overlap, 0.0)
    width = 10 ** (0.5 * (log_edges[1:] + log_edges[:-1])) * np.log(10) * overlap
    return np.tensordot(width, result["dem"].data, axes=1)


def _check_result(result):
    is_result = isinstance(result, NDCollection) and result.keys() >= _NEEDED
    if not (is_result and "temperature_bin_edges" in (result.meta or {})):
        raise TypeError(
            "`result` must be the collection that `sunpy_demreg.invert` returns, with all of its cubes, but is "
            f"of type {type(result).__name__}"
        )


def _check_image(result):
    _check_result(result)
    n_axes = result["chi_squared"].data.ndim
    if n_axes != 2:
        raise ValueError(f"`result` must be of an image, but has {n_axes} pixel axes: slice it to two")


def _checked_range(result, temperature_range):
    edges = result.meta["temperature_bin_edges"].to_value(u.K)
    is_one = isinstance(temperature_range, u.Quantity) and temperature_range.shape == (2,)
    if not (is_one and temperature_range.unit.is_equivalent(u.K)):
        raise ValueError("`temperature_range` must be a Quantity of two temperatures, for instance `[1, 2] * u.MK`")
    low, high = temperature_range.to_value(u.K)
    if not (low < high and low < edges[-1] and high > edges[0]):
        raise ValueError(
            f"`temperature_range` must ascend and touch the bins, from {edges[0]:.3g} to {edges[-1]:.3g} K, but is "
            f"{low:.3g} to {high:.3g} K"
        )
    return low, high


def _checked_pixel(result, pixel):
    """The indices of a pixel that was solved, counted from the start of each axis."""
    shape = result["status"].data.shape
    try:
        indices = tuple(map(index, pixel if isinstance(pixel, tuple | list | np.ndarray) else (pixel,)))
    except TypeError:
        raise TypeError(f"`pixel` must be whole numbers, one per pixel axis, but is {pixel!r}") from None
    if len(indices) != len(shape):
        raise ValueError(f"`pixel` must have {len(shape)} indices, one per pixel axis, but has {len(indices)}")
    if not all(-n <= i < n for i, n in zip(indices, shape, strict=True)):
        raise IndexError(f"`pixel` {indices} lies outside the pixel axes of shape {shape}")
    indices = tuple(i % n for i, n in zip(indices, shape, strict=True))
    status = Status(int(result["status"].data[indices]))
    if status & Status.UNSOLVED:
        raise ValueError(f"`pixel` {indices} was not solved ({status.name}): choose one with a DEM")
    return indices
