"""Regions of an image: from coordinates, contour levels and masks to pixels."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np

import astropy.units as u
from astropy.wcs.wcsapi import HighLevelWCSWrapper

from sunpy_demreg._common.errors import first_line, wrong
from sunpy_demreg._common.validators import a_kind
from sunpy_demreg._common.warnings import DataWarning, warn

__all__ = [
    "NamedRegion",
    "NoPixelError",
    "as_circle",
    "as_corners",
    "as_masks",
    "box_outline",
    "celestial_frame",
    "is_mask",
    "named_regions",
    "pixel_area",
    "pixel_of",
]

_RULE = (
    "must be two SkyCoords (corners of a box) or more (of a polygon), a SkyCoord and an angle (a circle), a mask of "
    "the shape of the image, a level such as {171: 500 * u.DN / u.pix / u.s}, a region of the package regions, or a "
    "list or a dict of these"
)
_N_SIDE, _N_CIRCLE = 30, 360  # points along the side of a box, which may be curved, and around a circle


class NoPixelError(ValueError):
    """Of a region that an image does not show; it may be seen in another."""


class NamedRegion(NamedTuple):
    """One of the regions that were given."""

    name: str
    argument: str  # what messages call it
    region: Any


def named_regions(region):
    """Each of the regions that were given as the argument ``region``: one, a list, or a dict of them by name."""
    if isinstance(region, Mapping) and region and all(isinstance(key, str) for key in region):
        return [NamedRegion(key, f"region[{key!r}]", each) for key, each in region.items()]
    # A center and a radius are one region.
    if isinstance(region, list) and region and not all(_is_point(each) or _is_angle(each) for each in region):
        return [NamedRegion(f"region {i + 1}", f"region[{i}]", each) for i, each in enumerate(region)]
    return [NamedRegion("region", "region", region)]


def as_masks(regions, wcs, shape, level=None):
    """
    The pixels of regions.

    Parameters
    ----------
    regions : list of NamedRegion
        See the rule above.
    wcs : low-level WCS
        Of the image.
    shape : tuple of int
        Of the image, (y, x); masks may have any number of axes before these.
    level : callable, optional
        From a wavelength in Å and a Quantity, to where the image of that channel is above that.

    Returns
    -------
    dict of bool arrays, dict of NoPixelError
        By name: the pixels, or the error if there are none.
    """
    masks, errors = {}, {}
    for name, argument, region in regions:
        try:
            masks[name] = _mask(region, wcs, shape, level, argument)
        except NoPixelError as err:
            errors[name] = err.with_traceback(None)  # whose frames hold the image
    return masks, errors


def celestial_frame(wcs):
    """The frame of the coordinates of an image; None if it has none."""
    point = HighLevelWCSWrapper(wcs).pixel_to_world(*np.zeros(wcs.pixel_n_dim))
    return getattr(point, "frame", None)


def pixel_area(wcs, y, x):
    """Area of a pixel in cm², seen by the observer at the distance of the Sun's center; None if that is not known."""
    frame = celestial_frame(wcs)
    observer = getattr(frame, "observer", None)
    if not hasattr(observer, "radius"):
        return None
    world = wcs.pixel_to_world_values(x + np.array([0, 1, 0]), y + np.array([0, 0, 1]))
    lon, lat = (u.Quantity(each, unit).to_value(u.rad) for each, unit in zip(world, wcs.world_axis_units, strict=True))
    lon = np.angle(np.exp(1j * (lon - lon[0])))
    east, north = lon[1:] * np.cos(lat[0]), lat[1:] - lat[0]
    return abs(east[0] * north[1] - east[1] * north[0]) * observer.radius.to(u.cm) ** 2


def pixel_of(point, wcs, shape, name):
    """Index (y, x) of the pixel that holds a coordinate."""
    x, y = _to_pixels(point, wcs, name)
    index = round(float(y)), round(float(x))
    if not all(0 <= i < n for i, n in zip(index, shape, strict=True)):
        raise wrong(IndexError, name, f"lies outside the image, at the pixel {index} of {tuple(shape)}")
    return index


def is_mask(region):
    """Whether it is an array, rather than coordinates or another kind of region."""
    return hasattr(region, "dtype") and not hasattr(region, "unit")


def _is_point(value):
    return hasattr(value, "spherical") and value.isscalar


def _is_angle(value):
    return isinstance(value, u.Quantity) and not hasattr(value, "spherical")


def _mask(region, wcs, shape, level, name):
    """The pixels of one region, (y, x), or (..., y, x) of a mask or a level in a series."""
    why = "the center of a pixel must lie inside"
    if isinstance(region, Mapping) and region:
        mask, why = _above(region, level, name), "no pixel is above all of its levels: lower them"
    elif (hasattr(region, "to_pixel") and not hasattr(region, "spherical")) or hasattr(region, "to_mask"):
        mask = _of_regions(region, wcs, shape, name)
    elif is_mask(region):
        mask = np.asarray(region)
        if mask.dtype != bool:
            raise wrong(TypeError, name, f"is an array of {mask.dtype}: a mask is of bool, such as `image > 500`")
        if mask.ndim < 2 or mask.shape[-2:] != tuple(shape):
            raise wrong(
                ValueError,
                name,
                f"is a mask of the shape {mask.shape}, but the image has {tuple(shape)}: make it from the cube, such "
                "as `cube.data[2] > 500`",
            )
        why = "it is False everywhere"
    else:
        x, y = _to_pixels(_outline(region, wcs, name), wcs, name)
        outside = max(-0.5 - x.min(), x.max() - shape[1] + 0.5, -0.5 - y.min(), y.max() - shape[0] + 0.5)
        mask = _inside(x, y, shape)
        if outside > 1 and mask.any():
            warn(DataWarning, f"reaches {outside:.0f} pixels beyond the image: only what is inside counts", name)
    if not mask.any():
        raise wrong(NoPixelError, name, f"holds no pixel of the image: {why}")
    return mask


def _above(levels, level, name):
    if level is None:
        raise wrong(TypeError, name, f"{_RULE}, but levels are for cubes of channels: pass a mask")
    try:
        pairs = [(float(u.Quantity(key, u.AA).value), u.Quantity(value)) for key, value in levels.items()]
    except (TypeError, ValueError, u.UnitsError) as err:
        raise wrong(TypeError, name, f"{_RULE}, but is {levels!r:.80}") from err
    return np.logical_and.reduce([level(channel, value, name) for channel, value in pairs])


def _of_regions(region, wcs, shape, name):
    """Of a region of the package regions, on the sky or in pixels."""
    if hasattr(region, "to_pixel"):
        from ndcube.wcs.tools import unwrap_wcs_to_fitswcs

        try:
            region = region.to_pixel(unwrap_wcs_to_fitswcs(wcs)[0])
        except Exception as err:  # regions and astropy raise many kinds
            raise wrong(ValueError, name, f"has no place in the image ({first_line(err)})") from err
    image = region.to_mask(mode="center").to_image(shape)
    return np.zeros(shape, dtype=bool) if image is None else image > 0


def _outline(region, wcs, name):
    """The outline of a box, circle or polygon as one SkyCoord."""
    circle = as_circle(region, name)
    if circle is None:
        return box_outline(as_corners(region, name))
    center, radius = circle
    # As seen in the image, whatever the frame of its center.
    center = HighLevelWCSWrapper(wcs).pixel_to_world(*_to_pixels(center, wcs, name))
    return center.directional_offset_by(np.linspace(0, 360, _N_CIRCLE, endpoint=False) * u.deg, radius)


def as_circle(region, name):
    """Center and radius of a circle; None if the region is none."""
    is_pair = isinstance(region, tuple | list) and len(region) == 2
    if not (is_pair and any(map(_is_point, region)) and not all(map(_is_point, region))):
        return None
    center, radius = region
    rule = "must have a positive angle for the radius of the circle"
    if not (_is_point(center) and _is_angle(radius)):
        came = ", ".join(a_kind(each) for each in region)
        raise wrong(TypeError, name, f"{rule}: `(center, 40 * u.arcsec)`, a SkyCoord and an angle, but is ({came})")
    if not (radius.isscalar and radius.unit.is_equivalent(u.arcsec) and radius > 0):
        raise wrong(ValueError, name, f"{rule}, but has {radius}: pass one such as `40 * u.arcsec`")
    return center, radius


def as_corners(region, name, rule=_RULE):
    """The corners of a box or a polygon as one SkyCoord; or raise an error that tells the rule."""
    from astropy.coordinates import SkyCoord

    if isinstance(region, tuple | list) and region and all(_is_point(each) for each in region):
        try:
            region = SkyCoord([SkyCoord(each) for each in region])
        except (TypeError, ValueError) as err:
            raise wrong(ValueError, name, f"must have coordinates in one frame ({first_line(err)})") from err
    if not hasattr(region, "spherical"):
        cure = ": a level names its channel by a number, not by a text" if isinstance(region, u.Quantity) else ""
        raise wrong(TypeError, name, f"{rule}, but is {a_kind(region)}{cure}")
    if region.isscalar or region.ndim > 1 or len(region) < 2:
        cure = ": for a circle, add its radius, `(center, 40 * u.arcsec)`" if region.size == 1 else ""
        raise wrong(ValueError, name, f"{rule}, but is one SkyCoord of the shape {region.shape}{cure}")
    return SkyCoord(region)


def box_outline(points):
    """Points all around the box between two, which are its opposite corners; more are returned as they are."""
    from astropy.coordinates import SkyCoord

    if len(points) > 2:
        return points
    lon, lat = points.spherical.lon, points.spherical.lat
    width = (lon[1] - lon[0]).wrap_at(180 * u.deg)
    along = np.arange(_N_SIDE) / _N_SIDE
    right = np.concatenate([along, np.ones(_N_SIDE), 1 - along, np.zeros(_N_SIDE)])
    up = np.roll(right, _N_SIDE)
    frame = points.frame.replicate_without_data()
    return SkyCoord(lon[0] + right * width, lat[0] + up * (lat[1] - lat[0]), frame=frame)


def _to_pixels(points, wcs, name):
    """Columns and rows of coordinates in an image, with fractions."""
    from sunpy.coordinates import SphericalScreen

    frame = celestial_frame(wcs)
    if frame is None:
        raise wrong(ValueError, name, "has coordinates, but the data have none: pass a mask")
    # What is off the limb has no distance; it would be lost between observers or times.
    observer = getattr(frame, "observer", None)
    screen = SphericalScreen(observer, only_off_disk=True) if hasattr(observer, "radius") else nullcontext()
    try:
        with screen:
            x, y = HighLevelWCSWrapper(wcs).world_to_pixel(points)
    except Exception as err:  # of many kinds, such as that of coordinates without an observer
        raise wrong(ValueError, name, f"has coordinates that cannot be those of the image ({first_line(err)})") from err
    if not np.all(np.isfinite(x) & np.isfinite(y)):
        raise wrong(NoPixelError, name, "has coordinates that the image does not see, such as behind the limb")
    return np.asarray(x), np.asarray(y)


def _inside(x, y, shape):
    """Pixels whose center lies in a polygon."""
    from matplotlib.path import Path

    (left, right), (low, high) = (
        (max(0, int(np.ceil(each.min()))), min(length, int(np.floor(each.max())) + 1))
        for each, length in ((x, shape[1]), (y, shape[0]))
    )
    mask = np.zeros(shape, dtype=bool)
    if left < right and low < high:
        rows, columns = np.mgrid[low:high, left:right]
        points = np.column_stack([columns.ravel(), rows.ravel()])
        mask[low:high, left:right] = Path(np.column_stack([x, y])).contains_points(points).reshape(rows.shape)
    return mask
