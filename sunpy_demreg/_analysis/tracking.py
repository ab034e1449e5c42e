"""Regions that follow the rotation of the Sun."""

import numpy as np

from astropy.coordinates import SkyCoord

from sunpy_demreg._common.errors import first_line, wrong
from sunpy_demreg._common.regions import NoPixelError, as_circle, as_corners, box_outline

__all__ = ["tracked"]

_RULE = "must be coordinates to be tracked: those of a box, a polygon, or a circle"


def tracked(region, frame, of_image, name):
    """
    A region of coordinates, moved with the surface of the Sun.

    Parameters
    ----------
    region
        A box, polygon or circle, as `sunpy_demreg.region_spectrum` takes it.
    frame : `~sunpy.coordinates.Helioprojective`
        With the time to move it to, and the observer.
    of_image : `~sunpy.coordinates.Helioprojective`
        The frame of the coordinates of the image, in which they are written as in `frame`.
    name : str
        Of the argument.

    Returns
    -------
    The moved region, as far as it is seen.

    Raises
    ------
    NoPixelError
        If it is out of sight.
    """
    circle = as_circle(region, name)
    if circle is None:
        moved = _moved(box_outline(as_corners(region, name, _RULE)), frame, of_image, name)
        is_seen = len(moved) > 2
    else:
        center, radius = circle
        moved = _moved(SkyCoord([SkyCoord(center)]), frame, of_image, name)
        is_seen = len(moved) > 0
    if not is_seen:
        raise wrong(NoPixelError, name, "is out of sight, behind the limb")
    return moved if circle is None else (moved[0], radius)


def _moved(points, frame, of_image, name):
    """Those of the points that are seen."""
    from sunpy.coordinates import propagate_with_solar_surface

    try:
        with propagate_with_solar_surface():
            moved = points.transform_to(frame).frame.make_3d()
    except Exception as err:  # of many kinds, such as that of coordinates without a time
        raise wrong(ValueError, name, f"has coordinates that cannot be tracked ({first_line(err)})") from err
    if not np.all(np.isfinite(moved.distance)):
        raise wrong(ValueError, name, "must lie on the disk to be tracked, but some of it does not")
    # Radii of the Sun differ a little between frames, so that points may lie just below the surface of this one.
    seen = moved[moved.distance < np.sqrt(frame.observer.radius**2 - frame.rsun**2)]
    return SkyCoord(seen.Tx, seen.Ty, frame=of_image.replicate_without_data())
