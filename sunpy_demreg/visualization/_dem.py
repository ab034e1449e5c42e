"""The DEM of pixels and regions, with both error bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import to_rgb, to_rgba, to_rgba_array
from matplotlib.container import ErrorbarContainer

from sunpy_demreg._analysis.again import invert_regions
from sunpy_demreg._common.constants import COLORS, channel_styles
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.validators import as_bool, check_axes
from sunpy_demreg._results.checks import as_pixel, bins_of, check_result
from sunpy_demreg._results.pixel_products import em_loci as loci_of
from sunpy_demreg._results.resolved import known_displaced, known_resolved
from sunpy_demreg.visualization._curves import chi_squared_text, name_of, own_axes
from sunpy_demreg.visualization._legend import draw_legend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from ndcube import NDCollection

    from sunpy_demreg._common.typing import Pixel, Regions

__all__ = ["plot_dem"]

_DECADES = 1e-5  # largest range below the peak of the DEM
_NOT_RESOLVED = "not resolved"
_LOCUS = "EM locus"  # marks these lines among others in the axes
_MOST_CURVES = 10
_FADED = 0.35  # of the strength of a color
_ELSEWHERE = "0.85"  # color of the bars of kernels that peak elsewhere


def plot_dem(
    result: NDCollection,
    pixel: Pixel | Sequence[Pixel] | None = None,
    *,
    region: Regions = None,
    em_loci: bool = False,
    axes: Axes | None = None,
    **kwargs: Any,
) -> ErrorbarContainer | list[ErrorbarContainer]:
    """
    Draw the DEM of a pixel with both error bars; or those of several, or of regions.

    Parameters
    ----------
    result : `ndcube.NDCollection`
        From `sunpy_demreg.invert`.
    pixel : tuple of `int`, `~astropy.coordinates.SkyCoord`, `str`, or list of these, optional
        Array index, in the order of the cubes' last axes, (y, x) for a map; or a coordinate in it; or the name of a
        region, in the result of a `sunpy_demreg.region_spectrum`; or several of these. By default all, of a result of
        up to ten.
    region : optional
        Regions of the image, as of `sunpy_demreg.region_spectrum`, in place of pixels: their mean intensities are
        inverted as the result was. Or names of those that the result is of.
    em_loci : `bool`, optional
        Also draw what each channel alone allows (`sunpy_demreg.em_loci`), as a DEM: a thin line for each. The result
        must have its cube ``"intensity"``. Of one pixel only.
    axes : `matplotlib.axes.Axes`, optional
        By default the current ones, or new ones in a new figure if these show a map. Several curves in the
        same axes get no title. The legend is below the axes, which make room for it.
    **kwargs
        For `matplotlib.axes.Axes.errorbar`.

    Returns
    -------
    `matplotlib.container.ErrorbarContainer`, or list of these if there are several pixels
        Vertical bars: one standard deviation, of the kind that ``result.meta["dem_error"]`` names (of the noise in a
        pixel with ``Status.NOT_CONVERGED``). Horizontal bars: the
        full width at half maximum of the temperature resolution, as far as it lies inside the bins; gray where plasma
        of the bin would be put elsewhere, so that the width is not that of a peak there. Bins that are not
        resolved are faded, with hollow markers (see `sunpy_demreg.is_resolved`; not in a result without its cube
        ``"intensity"``, which does not tell). A resolved bin may have a wide bar: it shows plasma of its temperature,
        but plasma of that temperature also appears in the other bins that the bar spans. Bins with a negative DEM have
        no place on the logarithmic axis, and those more than five decades below the peak are outside the limits.

    Raises
    ------
    TypeError
        If ``result`` is not a result, or ``pixel`` something else than whole numbers and coordinates.
    ValueError
        If the result lacks an output, the pixel has the wrong number of indices, or was not solved.
    IndexError
        If it lies outside.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> import sunpy_demreg as demreg
    >>> cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=16)[:, 40:50, 60:80]
    >>> response = demreg.TemperatureResponse.from_aia(cube)
    >>> edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K
    >>> result = demreg.invert(cube, response, edges, method="lognormal")
    >>> bars = demreg.visualization.plot_dem(result, pixel=(5, 10), em_loci=True)
    >>> bars[0].axes.get_yscale()
    'log'
    """
    check_result(result, "dem", "temperature_resolution", "chi_squared", "status")
    em_loci, name = as_bool("em_loci", em_loci), "pixel"
    check_axes("axes", axes)
    if region is not None:
        if pixel is not None:
            raise wrong(ValueError, "pixel", "cannot be given with a `region`: leave one of them out")
        if _are_names(region):
            pixel, name = region, "region"
        else:
            result = invert_regions(result, region)
    pixels, is_one = _as_pixels(result, pixel, name)
    if em_loci and len(pixels) > 1:
        raise wrong(ValueError, "em_loci", f"are drawn of one pixel, but there are {len(pixels)}: choose one")
    if result["dem"].uncertainty is None:
        raise wrong(ValueError, "result", "has a DEM without its errors: ask `invert` for the output 'dem_uncertainty'")
    axes = own_axes(axes)
    artists = [_draw_dem(result, each, em_loci, axes, kwargs) for each in pixels]
    return artists[0] if is_one else artists


def _are_names(region):
    return isinstance(region, str) or (isinstance(region, list) and region and all(isinstance(i, str) for i in region))


def _as_pixels(result, pixel, name="pixel"):
    """Indices of one or several pixels, and whether it is one."""
    if pixel is None:
        shape = result["status"].data.shape
        if np.prod(shape) > _MOST_CURVES:
            raise wrong(ValueError, "pixel", f"must be given, since `result` has {np.prod(shape)} pixels, {shape}")
        pixels = [as_pixel(result, index) for index in np.ndindex(shape)]
        return pixels, len(pixels) == 1
    if hasattr(pixel, "spherical"):
        several = not pixel.isscalar
    else:
        several = isinstance(pixel, list | tuple) or getattr(pixel, "ndim", 0) > 1
        several = several and len(pixel) > 0
        several = several and all(
            isinstance(i, list | tuple | np.ndarray | str) or hasattr(i, "spherical") for i in pixel
        )
    if not several:
        return [as_pixel(result, pixel, name)], True
    return [as_pixel(result, each, f"{name}[{i}]") for i, each in enumerate(pixel)], False


def _draw_dem(result, pixel, em_loci, axes, kwargs):
    """One curve with its errors, title or legend."""
    dem = result["dem"]
    here = (slice(None), *pixel)
    bins = bins_of(result)
    edges, center = bins.edges.value, bins.centers.value
    half_width = np.asarray(result["temperature_resolution"].data[here]) / 2
    error, value = np.asarray(dem.uncertainty.array[here]), np.asarray(dem.data[here])
    value = np.where(value > 0, value, np.nan)
    label = f"{name_of(result, pixel)}{chi_squared_text(result['chi_squared'].data[pixel])}"
    style = {"color": "black", "zorder": 3} if em_loci else {"color": COLORS[len(_curves_of(axes)) % len(COLORS)]}
    if set(kwargs.get("fmt", "")) & set("bgrcmykwC"):  # it has a color of its own
        style = {}
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
    _fade(axes, artist, known_resolved(result, pixel))
    _gray(artist, known_displaced(result, pixel))
    if em_loci:
        _draw_loci(result, pixel, axes)
    axes.set(xscale="log", yscale="log", xlabel="Temperature [K]", ylabel=f"DEM [{dem.unit:latex_inline}]")
    curves = _curves_of(axes)
    _limit_to(axes, edges, curves)
    axes.set_title(label if len(curves) == 1 else "", fontsize="medium")
    _draw_legend(axes, curves)
    return artist


def _curves_of(axes):
    return [container for container in axes.containers if isinstance(container, ErrorbarContainer)]


def _draw_legend(axes, curves):
    """A legend of all curves, what is not resolved last; of the only curve, whose name is the title, only the rest."""
    handles = sorted(axes.get_legend_handles_labels()[0], key=lambda each: each.get_label() == _NOT_RESOLVED)
    labels = [each.get_label() for each in handles]
    if len(curves) == 1:
        labels = ["DEM" if each is curves[0] else label for each, label in zip(handles, labels, strict=True)]
        if not set(labels) - {"DEM", _NOT_RESOLVED}:
            handles, labels = handles[1:], labels[1:]
    if handles:
        draw_legend(axes, handles, labels)


def _fade(axes, artist, resolved):
    """Fade the bins of a curve that are not resolved."""
    line, _, bars = artist.lines
    x, y = line.get_data()
    if resolved is None or np.all(resolved | np.isnan(y)):
        return
    full, faded = to_rgb(line.get_color()), tuple(1 - _FADED * (1 - c) for c in to_rgb(line.get_color()))
    for each in bars:
        is_drawn = ~np.isnan(y)
        each.set_color([full if is_full else faded for is_full in resolved[is_drawn]])
    line.set_markevery(np.flatnonzero(resolved).tolist())
    is_first = not any(other.get_label() == _NOT_RESOLVED for other in axes.lines)
    axes.plot(
        np.where(resolved, np.nan, x),
        np.where(resolved, np.nan, y),
        marker=line.get_marker(),
        markersize=line.get_markersize(),
        linestyle="none",
        color=faded,
        markerfacecolor="white",
        label=_NOT_RESOLVED if is_first else "_nolegend_",
        zorder=line.get_zorder(),
    )


def _gray(artist, displaced):
    """Gray the horizontal bars whose width is not that of a peak at their bin."""
    if displaced is None:
        return
    bars = artist.lines[2][0]
    shown = displaced[~np.isnan(artist.lines[0].get_ydata())]
    colors = np.resize(to_rgba_array(bars.get_color()), (len(shown), 4))
    colors[shown] = to_rgba(_ELSEWHERE)
    bars.set_color(colors)


def _draw_loci(result, pixel, axes):
    """Draw the EM loci."""
    bins = bins_of(result)
    loci = loci_of(result, pixel).value / bins.emission_per_dem
    channels = result.meta["channels"]
    for channel, locus, style in zip(channels, loci, channel_styles(channels), strict=True):
        if not np.isnan(locus).all():
            axes.plot(bins.centers.value, locus, **style, linewidth=0.9, label=f"{channel} alone", gid=_LOCUS)


def _limit_to(axes, edges, curves):
    """Set limits that include the bins, the curves but for points far below the peak, and the lowest of each locus."""
    values = np.concatenate([curve.lines[0].get_ydata() for curve in curves])
    values = values[values > 0]
    # Limits set by the user are kept, and later curves may rescale.
    if axes.get_autoscalex_on():
        axes.set_xlim(edges[0] / 1.05, edges[-1] * 1.05, auto=None)
    if axes.get_autoscaley_on() and values.size:
        low, high = max(values.min() / 2, values.max() * _DECADES), values.max() * 4
        minima = [np.nanmin(line.get_ydata()) for line in axes.lines if line.get_gid() == _LOCUS]
        if minima:
            low, high = min(low, min(minima) / 2), max(high, max(minima) * 10)
        axes.set_ylim(low, high, auto=None)
