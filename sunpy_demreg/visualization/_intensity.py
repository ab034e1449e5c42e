"""The fit of a pixel: what was observed and what its DEM predicts in each channel."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from sunpy_demreg._common.constants import COLORS, channel_styles
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._results.checks import as_pixel, check_result
from sunpy_demreg._results.pixel_products import observed_at
from sunpy_demreg.visualization._curves import chi_squared_text, name_of, own_axes
from sunpy_demreg.visualization._legend import draw_legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import ErrorbarContainer
    from matplotlib.lines import Line2D

    from ndcube import NDCollection

    from sunpy_demreg._common.typing import Pixel

__all__ = ["plot_intensity"]


def plot_intensity(
    result: NDCollection, pixel: Pixel | None = None, *, axes: Axes | None = None
) -> tuple[ErrorbarContainer, Line2D]:
    """
    Draw the observed and the predicted intensity of a pixel in each channel.

    Parameters
    ----------
    result : `ndcube.NDCollection`
        From `sunpy_demreg.invert`, with its cubes ``"intensity"`` and ``"predicted_intensity"``.
    pixel : tuple of `int`, `~astropy.coordinates.SkyCoord` or `str`, optional
        As of `plot_dem`; only one. It need not be given if the result has no others.
    axes : `matplotlib.axes.Axes`, optional
        By default the current ones, or new ones in a new figure if these show a map.

    Returns
    -------
    `matplotlib.container.ErrorbarContainer`, `matplotlib.lines.Line2D`
        What was observed, with one standard deviation, and what the DEM predicts. The numbers are the residuals in
        standard deviations. Of a channel that was left out in this pixel only the prediction is drawn; an intensity at
        or below zero has no place on the logarithmic axis, but its residual is told.

    Raises
    ------
    TypeError, ValueError, IndexError
        As `plot_dem` does.

    Examples
    --------
    >>> import astropy.units as u
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> import sunpy_demreg as demreg
    >>> cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=16)[:, 40:50, 60:80]
    >>> response = demreg.TemperatureResponse.from_aia(cube)
    >>> edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K
    >>> result = demreg.invert(cube, response, edges)
    >>> figure, axes = plt.subplots()
    >>> observed, predicted = demreg.visualization.plot_intensity(result, (5, 10), axes=axes)
    >>> len(predicted.get_xdata())
    6
    """
    check_result(result, "intensity", "predicted_intensity", "status")
    pixel = as_pixel(result, _only_pixel(result) if pixel is None else pixel)
    observed, error, is_omitted = observed_at(result, pixel)
    observed, error = np.where(is_omitted, np.nan, (observed, error))
    predicted = np.asarray(result["predicted_intensity"].data[(slice(None), *pixel)])
    axes = own_axes(axes)
    place = np.arange(len(observed))
    points = axes.errorbar(
        place,
        observed,
        # A bar that reaches zero is to leave the axes, so that its end is not taken for a limit.
        (np.minimum(error, np.maximum(observed, 0) * (1 - 1e-9)), error),
        fmt="o",
        markersize=5,
        capsize=3,
        color=COLORS[0],
        label="observed",
    )
    (line,) = axes.plot(place, predicted, "_", markersize=18, markeredgewidth=2, color=COLORS[1], label="predicted")
    residuals = (observed - predicted) / error
    for i, residual in enumerate(residuals):
        axes.annotate(
            "left out" if is_omitted[i] else rf"${residual:+.1f}\,\sigma$",
            (i, 0),
            (0, 4),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            fontsize="small",
            color="0.3",
        )
    axes.set(yscale="log", ylabel=f"Intensity [{result['intensity'].unit:latex_inline}]", xlim=(-0.5, len(place) - 0.5))
    _label_channels(axes, place, result.meta["channels"])
    chi_squared = math.fsum(residuals[~is_omitted] ** 2) / np.count_nonzero(~is_omitted)
    axes.set_title(f"{name_of(result, pixel)}{chi_squared_text(chi_squared)}", fontsize="medium")
    ends = np.concatenate([observed - error, observed, observed + error, predicted])
    low, high = np.min(ends, where=ends > 0, initial=np.inf) / 1.3, np.nanmax(ends) * 1.3
    axes.set_ylim(low / (high / low) ** 0.12, high)  # room for the residuals
    draw_legend(axes, [points, line], ["observed", "predicted"], handlelength=2.5)
    return points, line


def _only_pixel(result):
    status = result["status"].data
    if status.size != 1:
        raise wrong(ValueError, "pixel", f"must be given, as `result` has {status.size} of them: {status.shape}")
    return (0,) * status.ndim


def _label_channels(axes, place, channels):
    """Their names, in the colors of their loci; without the instrument where that is the same for all."""
    instruments = {channel.rpartition(" ")[0] for channel in channels}
    # One word, unlike the ion in front of the wavelength of a line.
    if len(instruments) == 1 and all(len(each.split()) == 1 for each in instruments):
        axes.set_xlabel(f"Channel of {instruments.pop()}")
        short = [channel.rpartition(" ")[2] for channel in channels]
        axes.set_xticks(place, short)
    else:
        axes.set_xticks(place, channels, rotation=45, ha="right", rotation_mode="anchor")
    for label, style in zip(axes.get_xticklabels(), channel_styles(channels), strict=True):
        label.set_color(style["color"])
