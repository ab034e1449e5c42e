"""Whether two images have the same pixels."""

from itertools import product

import numpy as np

from sunpy_demreg._common.errors import wrong

__all__ = ["check_same_grid", "coordinate_kinds", "grid_difference"]

_MAX_SHIFT = 0.1  # pixels


def grid_difference(wcs, shape, other_wcs, other_shape, most=_MAX_SHIFT):
    """
    How two pixel grids differ, as the end of a sentence; None if they are the same.

    They are if they have the same shape and are nowhere shifted by more than a tenth of a pixel, or another number of
    them. World coordinates are compared as they are written, regardless of the observer.
    """
    if tuple(shape) != tuple(other_shape):
        return f"have the shapes {tuple(shape)} and {tuple(other_shape)}"
    shift = _grid_shift(wcs, other_wcs, shape)
    return None if shift <= most else f"differ by up to {shift:.2f} pixels, more than {most}"


def check_same_grid(argument, first, other, cure):
    """
    Raise unless two images have the same pixels.

    Parameters
    ----------
    argument : `str`
        The one that holds them.
    first, other : tuple of `str`, WCS, and tuple of `int`
        Name for the message, coordinates, and shape of each.
    cure : `str`
    """
    (name, *grid), (other_name, *other_grid) = first, other
    if difference := grid_difference(*grid, *other_grid):
        raise wrong(ValueError, argument, f": the grids of {name} and {other_name} {difference}: {cure}")


def coordinate_kinds(wcs):
    """The kinds of the world coordinates and their units: only the same kinds can be compared."""
    wcs = getattr(wcs, "low_level_wcs", wcs)
    return wcs.world_axis_physical_types, wcs.world_axis_units


def _grid_shift(wcs, other, shape):
    """
    Largest distance in pixels between the grids of two images, at their corners and midway between these.

    Where the first has no world coordinates (a map of the whole sky has none in its corners) nothing is compared.
    """
    wcs, other = (getattr(each, "low_level_wcs", each) for each in (wcs, other))
    pixels = np.array(list(product([0, 0.5, 1], repeat=len(shape)))).T * (np.array(shape[::-1]) - 1)[:, None]
    world = np.reshape(wcs.pixel_to_world_values(*pixels), (wcs.world_n_dim, -1))
    moved = np.reshape(other.world_to_pixel_values(*world), pixels.shape)
    return np.max(np.linalg.norm(moved - pixels, axis=0), initial=0, where=np.isfinite(world).all(axis=0))
