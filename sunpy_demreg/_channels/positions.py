"""Where the pixels of one grid lie in an image with another one."""

from dataclasses import dataclass

import numpy as np

from astropy.wcs import WCS

__all__ = ["Affine", "ByWcs", "box_along", "locator", "reach"]

_DECIMALS = 6  # of pixel coordinates: an image on its own grid then stays the same to the last bit
_AFFINE = 1e-6  # pixels: how far a position may be from that by the WCS


def locator(wcs, shape, other):
    """
    A function from rows and columns of a WCS, which are broadcast, to those of another one, (2, y, x).

    It gives the same bits in whatever process.
    """
    affine = _affine(wcs, other)
    if affine is not None:
        rows, columns = (np.linspace(0, length - 1, min(length, 33)).round() for length in shape)
        with np.errstate(invalid="ignore"):
            error = np.abs(affine(rows[:, None], columns) - ByWcs(wcs, other)(rows[:, None], columns))
        if np.all(error <= 2 * _AFFINE):  # half of it is the rounding of both
            return affine
    return ByWcs(wcs, other)


@dataclass(frozen=True)
class ByWcs:
    """As `locator`, for any coordinates; -1 where there are none."""

    wcs: object
    other: object

    def __call__(self, rows, columns):
        y, x = np.broadcast_arrays(rows, columns)
        world = self.wcs.pixel_to_world_values(x.ravel(), y.ravel())
        x, y = (np.round(each, _DECIMALS).reshape(y.shape) for each in self.other.world_to_pixel_values(*world))
        return np.nan_to_num(np.stack([y, x]), copy=False, nan=-1, posinf=-1, neginf=-1)

    def __reduce__(self):
        return _restored, (_numbers(self.wcs), _numbers(self.other))


def _numbers(wcs):
    """What a WCS follows from: astropy would pickle it as a header, of which the last digits are rounded."""
    if not isinstance(wcs, WCS) or wcs.has_distortion:
        return wcs
    own = wcs.wcs
    names = ("ctype", "cunit", "crval", "crpix", "lonpole", "latpole")
    values = {name: np.array(getattr(own, name)).tolist() for name in names}
    values["cunit"] = [str(unit) for unit in own.cunit]
    return values | {"cdelt": own.get_cdelt().tolist(), "pc": own.get_pc().tolist()}, own.get_pv()


def _restored(*both):
    return ByWcs(*(_from_numbers(*each) if isinstance(each, tuple) else each for each in both))


def _from_numbers(values, pv):
    wcs = WCS(naxis=len(values["crpix"]))
    for name, value in values.items():
        setattr(wcs.wcs, name, value)
    wcs.wcs.set_pv(pv)
    wcs.wcs.set()
    return wcs


def _affine(wcs, other):
    """
    As `locator`, if both have the same projection around the same point, as images of level 1 have; or None.

    Only the pixels are then turned, stretched and shifted.
    """
    if not (isinstance(wcs, WCS) and isinstance(other, WCS)) or wcs.has_distortion or other.has_distortion:
        return None
    (a, b), (c, d) = other.pixel_scale_matrix
    (e, f), (g, h) = wcs.pixel_scale_matrix
    determinant = a * d - b * c
    if determinant == 0:
        return None
    turned = np.array([[d * e - b * g, d * f - b * h], [a * g - c * e, a * h - c * f]]) / determinant
    (x_x, x_y), (y_x, y_y) = turned.round(12)
    # Around the reference pixel, so that the position in the other image does not change if the grid is cropped.
    middle_x, middle_y = np.round(wcs.wcs.crpix)
    off_x, off_y = wcs.wcs.crpix - (middle_x, middle_y)
    at_x, at_y = other.wcs.crpix - 1 - (x_x * off_x + x_y * off_y, y_x * off_x + y_y * off_y)
    at_x, at_y = np.round((at_x, at_y), _DECIMALS)
    return Affine((y_y, y_x), (x_y, x_x), (at_y, at_x), (middle_y - 1, middle_x - 1))


@dataclass(frozen=True)
class Affine:
    """Rows and columns in another image, turned, stretched and shifted."""

    of_row: tuple  # by how much the row changes from one row to the next, and from one column
    of_column: tuple
    at: tuple  # the row and the column of the middle
    middle: tuple

    def __call__(self, rows, columns):
        rows, columns = rows - self.middle[0], columns - self.middle[1]
        places = np.empty((2, rows.size, columns.size))
        for (by_row, by_column), at, out in zip((self.of_row, self.of_column), self.at, places, strict=True):
            np.add(by_row * rows + at, by_column * columns, out=out)
        return places


def reach(locate, rows, columns, shape):
    """
    What is needed of an image for rectangles of a grid.

    Parameters
    ----------
    locate : callable
        As of `locator`.
    rows, columns : list of slice
        Of pixels before averaging; the rectangles are those of each of the rows with each of the columns.
    shape : tuple of int
        Of the image.

    Returns
    -------
    dict
        For each place among the rows and the columns, two slices.
    """
    if not isinstance(locate, Affine):  # anything may be anywhere
        whole = tuple(slice(0, length) for length in shape)
        return {(i, j): whole for i in range(len(rows)) for j in range(len(columns))}
    # The extremes of a plane are at its corners, also after rounding.
    ends = [np.array([(each.start, each.stop - 1) for each in some]).ravel() for some in (rows, columns)]
    places = locate(ends[0][:, None], ends[1]).reshape(2, len(rows), 2, len(columns), 2)
    least, most = places.min(axis=(2, 4)), places.max(axis=(2, 4))
    return {
        at: tuple(box_along(least[k][at], most[k][at], length) for k, length in enumerate(shape))
        for at in np.ndindex(len(rows), len(columns))
    }


def box_along(least, most, length):
    """What is needed along an axis of so many pixels to interpolate at positions of this range."""
    first, last = (int(min(max(each, 0), length - 1)) for each in (least, most))
    return slice(first, last + 2)
