"""Pictures of a result. Every function takes ``axes=`` (or ``figure=``) and returns what it drew."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm

import astropy.units as u

from sunpy_demreg._status import Status

__all__ = ["plot_chi_squared", "plot_dem", "plot_emission_measure", "plot_summary"]

_UNSOLVED_COLOR = "0.75"
_PIXEL_COLORS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
)  # Okabe & Ito, colorblind safe
_PIXEL_MARKERS = "osD^vP"


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
        The current ones by default.
    **kwargs
        For `matplotlib.axes.Axes.errorbar`.

    Returns
    -------
    `matplotlib.container.ErrorbarContainer`
        Vertical bars: one standard deviation of the propagated noise. Horizontal bars: the full width at half
        maximum of the temperature resolution. Bins with a negative DEM have no place on the logarithmic axis.

    Raises
    ------
    ValueError
        If the pixel has the wrong number of indices, or was not solved.
    IndexError
        If it lies outside.
    """
    pixel = _checked_pixel(result, pixel)
    dem = result["dem"]
    here = (slice(None), *pixel)
    status = Status(int(result["status"].data[pixel]))
    if status & Status.UNSOLVED:
        raise ValueError(f"`pixel` {pixel} was not solved ({status.name}): choose one with a DEM")
    edges = result.meta["temperature_bin_edges"].to_value(u.K)
    center = np.sqrt(edges[1:] * edges[:-1])
    half_width = result["temperature_resolution"].data[here] / 2
    error = dem.uncertainty.array[here]
    value = np.where(dem.data[here] > 0, dem.data[here], np.nan)
    axes = plt.gca() if axes is None else axes
    artist = axes.errorbar(
        center,
        value,
        # A bar that reaches zero would be drawn to the end of the axis: cut it at a thousandth of the value.
        yerr=(np.minimum(error, value * 0.999), error),
        xerr=(center * (1 - 10**-half_width), center * (10**half_width - 1)),
        **{"fmt": "o", "markersize": 3.5, "elinewidth": 0.7, **kwargs},
    )
    axes.set(xscale="log", yscale="log", xlabel="Temperature [K]", ylabel=f"DEM [{dem.unit:latex_inline}]")
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
        New ones, with the coordinates of the image, by default.
    **kwargs
        For `matplotlib.axes.Axes.imshow`; the norm is logarithmic by default.

    Returns
    -------
    `matplotlib.image.AxesImage`
        Gray where no DEM was found, or where the sum of a DEM with negative bins is negative.

    Raises
    ------
    ValueError
        If the result is not of an image, or the range holds none of its temperatures.
    """
    edges = result.meta["temperature_bin_edges"].to_value(u.K)
    low, high = _checked_range(temperature_range, edges)
    image = _emission_measure(result, low, high)
    axes = _map_axes(result, axes)
    if "norm" not in kwargs:
        kwargs["norm"] = _log_norm([image])
    kwargs = {"cmap": "inferno", "origin": "lower", "interpolation": "nearest", **kwargs}
    artist = axes.imshow(image, **kwargs)
    axes.set_title(rf"log $T$ {np.log10(low):.2f}–{np.log10(high):.2f}", fontsize="medium")
    return artist


def plot_chi_squared(result, *, axes=None, **kwargs):
    """
    Draw the map of chi-squared (the sum of squared residuals divided by the number of channels).

    Parameters
    ----------
    result : `ndcube.NDCollection`
        From `sunpy_demreg.invert`, of an image.
    axes : `astropy.visualization.wcsaxes.WCSAxes`, optional
        New ones, with the coordinates of the image, by default.
    **kwargs
        For `matplotlib.axes.Axes.imshow`.

    Returns
    -------
    `matplotlib.image.AxesImage`
        Gray where no DEM was found.
    """
    axes = _map_axes(result, axes)
    defaults = {"cmap": "cividis", "norm": LogNorm(0.5, 50), "origin": "lower", "interpolation": "nearest"}
    artist = axes.imshow(result["chi_squared"].data, **{**defaults, **kwargs})
    axes.set_title(r"$\chi^2$ per channel", fontsize="medium")
    return artist


def plot_summary(result, *, pixels=None, title=None, figure=None):
    """
    Draw a page: emission measure in six temperature ranges, chi-squared, and the DEM of some pixels.

    Parameters
    ----------
    result : `ndcube.NDCollection`
        From `sunpy_demreg.invert`, of an image.
    pixels : sequence of tuple of `int`, optional
        Up to six array indices (y, x). By default three solved pixels: a bright, a median and a faint one.
    title : `str`, optional
    figure : `matplotlib.figure.Figure`, optional
        A new one by default.

    Returns
    -------
    `matplotlib.figure.Figure`
    """
    pixels = _typical_pixels(result) if pixels is None else [_checked_pixel(result, p) for p in pixels]
    figure = plt.figure(figsize=(10, 10.2)) if figure is None else figure
    grid = figure.add_gridspec(
        3,
        4,
        width_ratios=(1, 1, 1, 0.05),
        left=0.085,
        right=0.9,
        top=0.93,
        bottom=0.06,
        wspace=0.17,
        hspace=0.27,
    )
    edges = result.meta["temperature_bin_edges"].to_value(u.K)
    limits = np.logspace(np.log10(edges[0]), np.log10(edges[-1]), 7)
    images = [_emission_measure(result, *pair) for pair in pairwise(limits)]
    norm = _log_norm(images)
    for i in range(6):
        axes = figure.add_subplot(grid[i // 3, i % 3], projection=result["chi_squared"].wcs)
        artist = plot_emission_measure(result, limits[i : i + 2] * u.K, axes=axes, norm=norm)
        _mark(axes, pixels)
        _label_outer(axes, left=i % 3 == 0, bottom=i // 3 == 1)
    figure.colorbar(artist, cax=figure.add_subplot(grid[:2, 3]), label=r"Emission measure [cm$^{-5}$]", extend="both")

    axes = figure.add_subplot(grid[2, 0], projection=result["chi_squared"].wcs)
    artist = plot_chi_squared(result, axes=axes)
    _label_outer(axes, left=True, bottom=True)
    box = axes.get_position()
    cax = figure.add_axes((box.x1 + 0.008, box.y0, 0.012, box.height))
    figure.colorbar(artist, cax=cax, extend="both", ticks=(1, 10)).ax.set_yticklabels(("1", "10"))

    axes = figure.add_subplot(grid[2, 1:3])
    box = axes.get_position()
    axes.set_position((box.x0 + 0.1, box.y0, box.width - 0.02, box.height))
    dems = result["dem"].data
    top = 0.0
    for name, pixel, color, marker in zip("ABCDEF", pixels, _PIXEL_COLORS, _PIXEL_MARKERS, strict=False):
        chi_squared = result["chi_squared"].data[pixel]
        label = rf"{name}  ($\chi^2$ = {chi_squared:.1f})"
        plot_dem(result, pixel, axes=axes, color=color, fmt=marker, label=label)
        top = max(top, np.nanmax(dems[(slice(None), *pixel)]))
    axes.set(ylim=(top * 1e-4, top * 4), xlim=(edges[0] / 1.1, edges[-1] * 1.1), title="DEM of the marked pixels")
    axes.title.set_fontsize("medium")
    axes.legend(frameon=False, fontsize="small")
    if title:
        figure.suptitle(title, fontsize="large", y=0.98)
    return figure


def _emission_measure(result, low, high):
    """Sum of DEM dT over the part of each bin inside the range, in cm-5: bins are even in log T."""
    log_edges = np.log10(result.meta["temperature_bin_edges"].to_value(u.K))
    overlap = np.minimum(log_edges[1:], np.log10(high)) - np.maximum(log_edges[:-1], np.log10(low))
    # Edges that are equal but for rounding must not leave a sliver of a bin.
    overlap = np.where(overlap > 1e-9, overlap, 0.0)
    width = 10 ** (0.5 * (log_edges[1:] + log_edges[:-1])) * np.log(10) * overlap
    return np.tensordot(width, result["dem"].data, axes=1)


def _checked_range(temperature_range, edges):
    if not isinstance(temperature_range, u.Quantity) or temperature_range.shape != (2,):
        raise ValueError("`temperature_range` must be a Quantity of two temperatures, for instance `[1, 2] * u.MK`")
    low, high = temperature_range.to_value(u.K)
    if not (low < high and low < edges[-1] and high > edges[0]):
        raise ValueError(
            f"`temperature_range` must ascend and touch the bins, from {edges[0]:.3g} to {edges[-1]:.3g} K, but is "
            f"{low:.3g} to {high:.3g} K"
        )
    return low, high


def _checked_pixel(result, pixel):
    shape = result["status"].data.shape
    pixel = tuple(int(i) for i in np.atleast_1d(pixel))
    if len(pixel) != len(shape):
        raise ValueError(f"`pixel` must have {len(shape)} indices, one per pixel axis, but has {len(pixel)}")
    if not all(-n <= i < n for i, n in zip(pixel, shape, strict=True)):
        raise IndexError(f"`pixel` {pixel} lies outside the pixel axes of shape {shape}")
    return pixel


def _map_axes(result, axes):
    cube = result["chi_squared"]
    if cube.data.ndim != 2:
        raise ValueError(f"`result` must be of an image, but has {cube.data.ndim} pixel axes: slice it to two")
    axes = plt.subplot(projection=cube.wcs) if axes is None else axes
    axes.set_facecolor(_UNSOLVED_COLOR)
    return axes


def _log_norm(images):
    """Three decades below the brightest of the images, but for the brightest thousandth of its pixels."""
    values = np.concatenate([image[np.isfinite(image) & (image > 0)] for image in images])
    top = np.percentile(values, 99.9) if values.size else 1.0
    return LogNorm(top * 1e-3, top)


def _typical_pixels(result):
    """A bright, a median and a faint pixel, of those that were solved without a remark, off the border."""
    total = np.nansum(result["dem"].data, axis=0)
    good = result["status"].data == Status.OK
    if not good.any():
        good = ~result["dem"].mask[0]
    inner = np.zeros_like(good)
    inner[tuple(slice(n // 20, n - n // 20) for n in good.shape)] = True
    candidates = np.argwhere(good & inner)
    order = candidates[np.argsort(total[tuple(candidates.T)])]
    ranks = [int(fraction * (len(order) - 1)) for fraction in (0.98, 0.5, 0.02)] if len(order) else []
    return [tuple(int(i) for i in order[rank]) for rank in ranks]


def _mark(axes, pixels):
    for name, (y, x), color, marker in zip("ABCDEF", pixels, _PIXEL_COLORS, _PIXEL_MARKERS, strict=False):
        axes.plot(x, y, marker=marker, color="white", markersize=6, markeredgecolor=color, markeredgewidth=1.5)
        axes.annotate(name, (x, y), (5, 4), textcoords="offset points", color="white", fontsize="small", weight="bold")


def _label_outer(axes, *, left, bottom):
    """Coordinates with labels at the outer panels of a grid only."""
    names = ("Solar X [arcsec]", "Solar Y [arcsec]")
    for coordinate, show, name in zip(axes.coords, (bottom, left), names, strict=False):
        celestial = coordinate.coord_type in ("longitude", "latitude")
        if celestial:
            coordinate.set_format_unit(u.arcsec, decimal=True, show_decimal_unit=False)
        coordinate.set_ticklabel_visible(show)
        coordinate.set_ticklabel(size="x-small", exclude_overlapping=True)
        coordinate.set_ticks(number=4)
        coordinate.set_axislabel((name if celestial else "") if show else "", minpad=0.6)
    axes.set_facecolor(_UNSOLVED_COLOR)
