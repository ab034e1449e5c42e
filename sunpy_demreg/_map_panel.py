"""One map of `sunpy_demreg.visualization`: the image with its color scale, coordinates and the solar limb."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import LogLocator

import astropy.units as u
from astropy.coordinates import SkyCoord
from astropy.visualization.wcsaxes import WCSAxes
from sunpy.coordinates import Helioprojective

_UNSOLVED_COLOR = "0.75"
_NAMES = {
    "custom:pos.helioprojective.lon": "Solar X [arcsec]",
    "custom:pos.helioprojective.lat": "Solar Y [arcsec]",
}
_MAX_NEAREST = 512  # pixels: larger images are drawn smaller than they are


def draw_map(result, image, axes, limits, title, label, **kwargs):
    """Draw an image in the axes, or in new ones with a color bar of that label; `limits` are of a logarithm."""
    is_new = axes is None
    if is_new:
        figure = plt.figure() if plt.gcf().axes else plt.gcf()
        wcs = result["chi_squared"].wcs
        axes = figure.add_subplot(projection=wcs)
        label_coordinates(axes, wcs)
    defaults = {
        "cmap": "cividis",
        "origin": "lower",
        # Every pixel as it is, or where there are more of them than the picture has, their mean color.
        "interpolation": "auto" if max(image.shape) > _MAX_NEAREST else "nearest",
    }
    if not isinstance(kwargs.get("norm"), Normalize):
        defaults |= {"norm": "log", "vmin": limits[0], "vmax": limits[1]}
    artist = axes.imshow(image, **{**defaults, **kwargs})
    axes.set_facecolor(_UNSOLVED_COLOR)
    axes.set_title(title, fontsize="medium")
    frame = solar_frame(result)
    if frame is not None and isinstance(axes, WCSAxes):
        from sunpy.visualization.drawing import limb

        style = {"color": "white", "linewidth": 0.7, "linestyle": (0, (5, 4)), "zorder": 1.5}
        limb(axes, SkyCoord(frame.observer), rsun=frame.rsun, **style)
    if is_new:
        add_color_bar(artist, label, ax=axes)
    if axes.get_figure(root=True).canvas.manager is not None:
        # For `plt.colorbar` and the like, as after `plt.imshow`.
        plt.sca(axes)
        plt.sci(artist)
    return artist


def add_color_bar(artist, label, **where):
    ticks = {}
    if isinstance(artist.norm, LogNorm) and artist.norm.vmax < 200 * artist.norm.vmin:
        ticks = {"ticks": LogLocator(subs=(1, 2, 5)), "format": "%g"}
    bar = artist.get_figure(root=False).colorbar(artist, label=label, extend="both", **ticks, **where)
    if ticks:
        bar.minorticks_off()


def label_coordinates(axes, wcs, *, left=True, bottom=True):
    """Names and tick labels of the coordinates, in arcseconds on the Sun; in a grid only at the outer panels."""
    kinds = wcs.low_level_wcs.world_axis_physical_types
    for letter, coordinate, kind, show in zip("xy", axes.coords, kinds, (bottom, left), strict=False):
        coordinate.set_ticks(number=4)
        coordinate.set_ticklabel(size="small", exclude_overlapping=True)
        coordinate.set_ticklabel_visible(show)
        if not show:
            coordinate.set_axislabel("")
        elif kind in _NAMES:
            coordinate.set_format_unit(u.arcsec, decimal=True, show_decimal_unit=False)
            coordinate.set_axislabel(_NAMES[kind], minpad=0.6)
        elif kind is None:
            coordinate.set_axislabel(letter)


def log_limits(images, vmin=None, vmax=None):
    """Three decades below the brightest of the images, but for the brightest thousandth of its pixels."""
    if vmax is None:
        values = np.concatenate([image[np.isfinite(image) & (image > 0)] for image in images])
        vmax = np.percentile(values, 99.9) if values.size else 1.0
    return (vmax * 1e-3 if vmin is None else vmin), vmax


def solar_frame(result):
    """The helioprojective frame of the pixels, if they have one and it has an observer."""
    corner = result["chi_squared"].wcs.pixel_to_world(0, 0)
    is_solar = isinstance(corner, SkyCoord) and isinstance(corner.frame, Helioprojective)
    return corner.frame if is_solar and corner.frame.observer is not None else None


def on_disk(result):
    """Which pixels are on the solar disk; None where the coordinates do not tell."""
    if solar_frame(result) is None:
        return None
    from sunpy.map import coordinate_is_on_solar_disk

    y, x = np.indices(result["status"].data.shape)
    return coordinate_is_on_solar_disk(result["chi_squared"].wcs.pixel_to_world(x, y))
