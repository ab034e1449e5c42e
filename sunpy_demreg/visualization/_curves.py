"""Curves: the DEM of a pixel, its fit, and the temperature responses."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.container import ErrorbarContainer

from astropy.visualization.wcsaxes import WCSAxes

from sunpy_demreg._checks import bin_edges, check_result, checked_pixel
from sunpy_demreg._pixel_products import em_loci as loci_of
from sunpy_demreg.response import TemperatureResponse

__all__ = ["COLORS", "plot_dem", "plot_intensity", "plot_response"]

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")  # Okabe & Ito, colorblind safe
_DASHES = ("-", "--", "-.", ":")
_DECADES = 1e-5  # of the DEM that are drawn at most, below its peak


def plot_dem(result, pixel, *, em_loci=False, axes=None, **kwargs):
    """
    Draw the DEM of a pixel with both error bars.

    Parameters
    ----------
    result : `ndcube.NDCollection`
        From `sunpy_demreg.invert`.
    pixel : tuple of `int`
        Array index, in the order of the cubes' last axes: (y, x) for a map.
    em_loci : `bool`, optional
        Also draw what each channel alone allows (`sunpy_demreg.em_loci`), as a DEM: a thin line for each. The result
        must have its cube ``"intensity"``.
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
        If the result lacks an output, the pixel has the wrong number of indices, or was not solved.
    IndexError
        If it lies outside.
    """
    check_result(result, "dem", "temperature_resolution", "chi_squared", "status")
    pixel = checked_pixel(result, pixel)
    dem = result["dem"]
    if dem.uncertainty is None:
        raise ValueError("`result` has a DEM without its errors: ask `invert` for the output 'dem_uncertainty'")
    here = (slice(None), *pixel)
    edges = bin_edges(result)
    center = np.sqrt(edges[1:] * edges[:-1])
    half_width = np.asarray(result["temperature_resolution"].data[here]) / 2
    error, value = np.asarray(dem.uncertainty.array[here]), np.asarray(dem.data[here])
    value = np.where(value > 0, value, np.nan)
    place = ", ".join(map(str, pixel))
    label = rf"pixel ({place}), $\chi^2$ = {float(result['chi_squared'].data[pixel]):.2f}"
    axes = _own_axes(axes)
    style = {"color": "black", "zorder": 3} if em_loci else {}
    artist = axes.errorbar(
        center,
        value,
        # A bar that reaches zero would be drawn to the end of the axis: cut it at a thousandth of the value.
        yerr=(np.minimum(error, value * 0.999), error),
        xerr=(
            center - np.maximum(center * 10**-half_width, edges[0]),
            np.minimum(center * 10**half_width, edges[-1]) - center,
        ),
        **{"fmt": "o", "markersize": 3.5, "elinewidth": 0.7, "label": label, **style, **kwargs},
    )
    lowest = _draw_loci(result, pixel, axes) if em_loci else 0
    axes.set(xscale="log", yscale="log", xlabel="Temperature [K]", ylabel=f"DEM [{dem.unit:latex_inline}]")
    curves = [container for container in axes.containers if isinstance(container, ErrorbarContainer)]
    _limit_to(axes, edges, curves, lowest)
    axes.set_title(label if len(curves) == 1 else "", fontsize="medium")
    if len(curves) > 1 or em_loci:
        axes.legend(frameon=False, fontsize="small")
    return artist


def plot_intensity(result, pixel, *, axes=None):
    """
    Draw the observed and the predicted intensity of a pixel in each channel.

    Parameters
    ----------
    result : `ndcube.NDCollection`
        From `sunpy_demreg.invert`, with its cubes ``"intensity"`` and ``"predicted_intensity"``.
    pixel : tuple of `int`
        Array index, in the order of the cubes' last axes: (y, x) for a map.
    axes : `matplotlib.axes.Axes`, optional
        By default the current ones, or new ones in a new figure if these show a map.

    Returns
    -------
    `matplotlib.container.ErrorbarContainer`, `matplotlib.lines.Line2D`
        What was observed, with one standard deviation, and what the DEM predicts. The numbers are the residuals in
        standard deviations.

    Raises
    ------
    TypeError, ValueError, IndexError
        As `plot_dem` does.
    """
    check_result(result, "intensity", "predicted_intensity", "status")
    pixel = checked_pixel(result, pixel)
    here = (slice(None), *pixel)
    observed, predicted = (np.asarray(result[key].data[here]) for key in ("intensity", "predicted_intensity"))
    error = np.asarray(result["intensity"].uncertainty.array[here])
    axes = _own_axes(axes)
    place = np.arange(len(observed))
    points = axes.errorbar(
        place,
        observed,
        (np.minimum(error, observed * 0.999), error),
        fmt="o",
        markersize=5,
        capsize=3,
        color=COLORS[0],
        label="observed",
    )
    (line,) = axes.plot(place, predicted, "_", markersize=18, markeredgewidth=2, color=COLORS[1], label="predicted")
    for i, residual in enumerate((observed - predicted) / error):
        axes.annotate(
            rf"${residual:+.1f}\,\sigma$",
            (i, 0),
            (0, 4),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            fontsize="small",
            color="0.3",
        )
    axes.set(yscale="log", ylabel=f"Intensity [{result['intensity'].unit:latex_inline}]", xlim=(-0.5, len(place) - 0.5))
    axes.set_xticks(place, result.meta["channels"])
    chi_squared = np.mean(((observed - predicted) / error) ** 2)
    axes.set_title(rf"pixel ({', '.join(map(str, pixel))}), $\chi^2$ = {chi_squared:.2f}", fontsize="medium")
    low, high = axes.get_ylim()
    axes.set_ylim(low / (high / low) ** 0.12, high)  # room for the residuals
    axes.legend(frameon=False, fontsize="small")
    return points, line


def plot_response(response, *, axes=None, **kwargs):
    """
    Draw the temperature responses of all channels.

    Parameters
    ----------
    response : `sunpy_demreg.TemperatureResponse`
    axes : `matplotlib.axes.Axes`, optional
        By default the current ones, or new ones in a new figure if these show a map.
    **kwargs
        For `matplotlib.axes.Axes.plot`.

    Returns
    -------
    `list` of `matplotlib.lines.Line2D`
        One for each channel. Values that are not positive have no place on the logarithmic axis, and those more than
        six decades below the highest peak are outside the limits.

    Raises
    ------
    TypeError
        If ``response`` is not a response.
    """
    if not isinstance(response, TemperatureResponse):
        raise TypeError(f"`response` must be a TemperatureResponse, but is a {type(response).__name__}")
    axes = _own_axes(axes)
    lines = []
    for i, (channel, row) in enumerate(zip(response.channels, response.response.value, strict=True)):
        style = {"color": COLORS[i % len(COLORS)], "linestyle": _DASHES[i // len(COLORS) % len(_DASHES)]}
        values = np.where(row > 0, row, np.nan)
        lines += axes.plot(response.temperature.value, values, **{"label": channel, **style, **kwargs})
    peak = response.response.value.max()
    axes.set(xscale="log", yscale="log", ylim=(peak * 1e-6, peak * 3))
    axes.set(xlabel="Temperature [K]", ylabel=f"Response [{response.response.unit:latex_inline}]")
    axes.legend(frameon=False, fontsize="small")
    return lines


def _own_axes(axes):
    """The axes given, or the current ones unless these show a map."""
    if axes is None:
        axes = plt.gca()
        axes = plt.figure().add_subplot() if isinstance(axes, WCSAxes) else axes
    return axes


def _draw_loci(result, pixel, axes):
    """Draw them, and return a DEM above the lowest point of each."""
    edges = bin_edges(result)
    centers = np.sqrt(edges[1:] * edges[:-1])
    width = centers * np.log(edges[1:] / edges[:-1])
    loci = loci_of(result, pixel).value / width
    for i, (channel, locus) in enumerate(zip(result.meta["channels"], loci, strict=True)):
        color = COLORS[i % len(COLORS)]
        axes.plot(centers, locus, color=color, linewidth=0.9, label=f"{channel} alone")
    return loci.min(axis=1).max()


def _limit_to(axes, edges, curves, least):
    """Limits that hold the bins, the curves and `least`, but not points that are nothing next to the peak."""
    values = np.concatenate([curve.lines[0].get_ydata() for curve in curves])
    values = values[values > 0]
    # What a user has set stays, and what is drawn later may scale again.
    if axes.get_autoscalex_on():
        axes.set_xlim(edges[0] / 1.05, edges[-1] * 1.05, auto=None)
    if axes.get_autoscaley_on() and values.size:
        axes.set_ylim(max(values.min() / 2, values.max() * _DECADES), max(values.max() * 4, least * 1.5), auto=None)
