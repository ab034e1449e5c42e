"""Maps: emission measure, mean temperature, chi-squared, and the residuals of a channel."""

import numpy as np
from matplotlib.colors import Normalize

import astropy.units as u

from sunpy_demreg._checks import bin_edges, check_image, range_functional
from sunpy_demreg.products import mean_temperature
from sunpy_demreg.visualization import _map_panel

__all__ = [
    "EM_LABEL",
    "emission_measure_image",
    "plot_chi_squared",
    "plot_emission_measure",
    "plot_mean_temperature",
    "plot_residual",
    "range_title",
]

EM_LABEL = r"Emission measure [cm$^{-5}$]"
_CHI_SQUARED_LABEL = r"$\chi^2$ per channel"


def plot_emission_measure(result, temperature_range=None, *, axes=None, **kwargs):
    """
    Draw a map of the emission measure between two temperatures.

    Parameters
    ----------
    result : `ndcube.NDCollection`
        From `sunpy_demreg.invert`, of an image.
    temperature_range : `astropy.units.Quantity`, optional
        Two temperatures, ascending, inside the bins; by default all of them. Bins that they cut count in part.
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
        If the result is not of an image, or the range is not inside its temperatures.

    Notes
    -----
    AIA constrains plasma hotter than about log T = 7 poorly: in quiet regions, maps of the hottest ranges show
    what the regularization leaves there rather than plasma. The temperature resolution and the noise of the
    bins, which `plot_dem` draws, tell.
    """
    check_image(result, "dem")
    image = emission_measure_image(result, temperature_range)
    limits = _map_panel.log_limits([image], **{key: kwargs[key] for key in ("vmin", "vmax") if key in kwargs})
    title = range_title(result, temperature_range)
    # A logarithm has no zero, but no plasma is an answer: it gets the darkest color, not that of no answer.
    image = np.where(image == 0, np.finfo(float).tiny, image)
    return _map_panel.draw_map(result, image, axes, limits, title, EM_LABEL, **{"cmap": "inferno", **kwargs})


def plot_mean_temperature(result, temperature_range=None, *, axes=None, **kwargs):
    """
    Draw a map of the mean temperature, weighted by the emission measure.

    Parameters
    ----------
    result : `ndcube.NDCollection`
        From `sunpy_demreg.invert`, of an image, with its cube ``"intensity"``.
    temperature_range : `astropy.units.Quantity`, optional
        Two temperatures, ascending, inside the bins, between which to take the mean; by default all of them. Leave
        out hot bins that the channels do not constrain: they dominate the mean.
    axes : `astropy.visualization.wcsaxes.WCSAxes`, optional
        By default new ones, with the coordinates of the image and a color bar, in the current figure if it is
        empty and in a new one otherwise.
    **kwargs
        For `matplotlib.axes.Axes.imshow`. The norm is logarithmic by default, over all but the extreme hundredth of
        the pixels; ``vmin`` and ``vmax``, in MK, change its limits.

    Returns
    -------
    `matplotlib.image.AxesImage`
        In MK. Gray where there is no mean. The dashed line is the solar limb, where the coordinates tell where it is.

    Raises
    ------
    TypeError, ValueError
        As `sunpy_demreg.mean_temperature` does, and if the result is not of an image.
    """
    check_image(result, "dem", "intensity")
    image = mean_temperature(result, temperature_range).data / 1e6
    values = image[np.isfinite(image)]
    limits = tuple(np.percentile(values, (1, 99))) if values.size else (0.5, 10)
    title = f"Mean temperature, {range_title(result, temperature_range)}"
    kwargs = {"cmap": "plasma", **kwargs}
    return _map_panel.draw_map(result, image, axes, limits, title, "Mean temperature [MK]", **kwargs)


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
    check_image(result, "chi_squared")
    image = np.asarray(result["chi_squared"].data)
    return _map_panel.draw_map(result, image, axes, (0.5, 50), _CHI_SQUARED_LABEL, _CHI_SQUARED_LABEL, **kwargs)


def plot_residual(result, channel, *, axes=None, **kwargs):
    """
    Draw a map of what is observed in a channel less what the DEM predicts, in standard deviations.

    Parameters
    ----------
    result : `ndcube.NDCollection`
        From `sunpy_demreg.invert`, of an image, with its cubes ``"intensity"`` and ``"predicted_intensity"``.
    channel : `str`
        Name of a channel, one of ``result.meta["channels"]``.
    axes : `astropy.visualization.wcsaxes.WCSAxes`, optional
        By default new ones, with the coordinates of the image and a color bar, in the current figure if it is
        empty and in a new one otherwise.
    **kwargs
        For `matplotlib.axes.Axes.imshow`. The norm is linear by default, from -3 to 3; ``vmin`` and ``vmax`` change its limits.

    Returns
    -------
    `matplotlib.image.AxesImage`
        Gray where no DEM was found. The dashed line is the solar limb, where the coordinates tell where it is.

    Raises
    ------
    TypeError
        If ``result`` is not a result.
    ValueError
        If the result is not of an image, lacks one of those cubes, or has no such channel.
    """
    check_image(result, "intensity", "predicted_intensity")
    channels = list(result.meta["channels"])
    if channel not in channels:
        raise ValueError(f"`channel` must be one of {', '.join(channels)}, but is {channel!r}")
    i = channels.index(channel)
    observed = result["intensity"]
    image = (observed.data[i] - result["predicted_intensity"].data[i]) / observed.uncertainty.array[i]
    if "norm" not in kwargs:
        kwargs["norm"] = Normalize(kwargs.pop("vmin", -3), kwargs.pop("vmax", 3))
    label = r"(observed − predicted) / $\sigma$"
    return _map_panel.draw_map(result, np.asarray(image), axes, None, channel, label, **{"cmap": "RdBu_r", **kwargs})


def emission_measure_image(result, temperature_range):
    """In cm-5, without its error."""
    return np.tensordot(range_functional(result, temperature_range), np.asarray(result["dem"].data), axes=1)


def range_title(result, temperature_range):
    low, high = np.log10(bin_edges(result)[[0, -1]] if temperature_range is None else temperature_range.to_value(u.K))
    return rf"log $T$ {low:.2f}–{high:.2f}"
