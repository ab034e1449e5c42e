"""The page of `sunpy_demreg.visualization.plot_summary`: where its panels are, and which pixels it shows."""

from typing import NamedTuple

import numpy as np
from matplotlib.patheffects import withStroke

from sunpy_demreg._status import Status
from sunpy_demreg.visualization._curves import COLORS

MARKERS = "osD^vP"
NAMES = "ABCDEF"

OUTLINE = [withStroke(linewidth=2.5, foreground="black")]
_MIN_ON_DISK = 100  # pixels: with fewer, the image is not one of the disk


class Page(NamedTuple):
    """Size of the page in inches; its panels as (left, bottom, width, height) in fractions of the size."""

    size: tuple
    maps: list
    map_bar: tuple
    chi_squared: tuple
    chi_squared_bar: tuple
    dem: tuple
    caption: tuple


def arrange(shape):
    """
    Arrange the page for maps of this shape: two rows of three, and a third of chi-squared and the DEMs.

    Maps of any shape have about the same area, and rows as high as they are, but for those so long that no
    room would be left for the labels.
    """
    aspect = shape[0] / shape[1]
    width = np.clip(2.75 / np.sqrt(aspect), 1.7, 3.5)
    height = np.clip(width * aspect, 0.5, 4.0)
    last_height = max(height, 2.2)

    left, top, gap_x = 0.85, 0.75, 0.42
    gap_y = max(0.4, 1.25 - height)  # the length of the labels of the coordinates
    last_bottom = 0.85
    row_bottoms = last_bottom + last_height + 0.85 + np.array([height + gap_y, 0])
    columns = left + np.arange(3) * (width + gap_x)
    maps_right = columns[-1] + width
    bar_left, bar_width = maps_right + 0.14, 0.16
    # A bar that is higher than its map is in the way of the tick labels.
    chi_squared_bar_left = left + width + (0.1 if last_height == height else 0.3)
    dem_left = chi_squared_bar_left + 1.45
    size = (bar_left + bar_width + 0.85, row_bottoms[0] + height + top)

    def fractions(x, y, dx, dy):
        return (x / size[0], y / size[1], dx / size[0], dy / size[1])

    return Page(
        size,
        [fractions(x, y, width, height) for y in row_bottoms for x in columns],
        fractions(bar_left, row_bottoms[1], bar_width, 2 * height + gap_y),
        fractions(left, last_bottom, width, last_height),
        fractions(chi_squared_bar_left, last_bottom, 0.12, last_height),
        fractions(dem_left, last_bottom, bar_left + bar_width - dem_left, last_height),
        (left / size[0], 0.17 / size[1]),
    )


def typical_pixels(brightness, status, on_disk):
    """
    Choose a bright, a median and a faint pixel.

    Of those that were solved without a remark, away from the border; where there are none, of all solved
    ones away from the border, or of all solved ones. On the disk, if enough of them are.

    Parameters
    ----------
    brightness : array
        What "bright" means. NaN where a pixel was not solved.
    status : array of int
        Bits of `sunpy_demreg.Status`.
    on_disk : array of bool, or None
        None where this is not known.

    Returns
    -------
    list of tuple of int
        Three array indices at most.
    """
    solved = (status & int(Status.UNSOLVED)) == 0
    inner = np.zeros_like(solved)
    inner[tuple(slice(n // 20, n - n // 20) for n in solved.shape)] = True
    steps = ((status == int(Status.OK)) & inner, solved & inner, solved)
    candidates = next((step for step in steps if step.any()), None)
    if candidates is None:
        return []
    if on_disk is not None and np.count_nonzero(candidates & on_disk) >= _MIN_ON_DISK:
        candidates = candidates & on_disk
    indices = np.argwhere(candidates)
    indices = indices[np.argsort(brightness[candidates], kind="stable")]
    ranks = [int(fraction * (len(indices) - 1)) for fraction in (0.98, 0.5, 0.02)]
    return [tuple(indices[rank].tolist()) for rank in dict.fromkeys(ranks)]


def mark(axes, shape, pixels):
    """Mark the pixels on a map with the markers of their curves, and name them."""
    for name, (y, x), color, marker in zip(NAMES, pixels, COLORS, MARKERS, strict=False):
        axes.plot(
            x,
            y,
            marker=marker,
            color="white",
            markersize=6,
            markeredgecolor=color,
            markeredgewidth=1.5,
            path_effects=OUTLINE,
        )
        # Towards the middle of the map where the letter would leave it.
        side_x, side_y = (-1 if i > 0.85 * n else 1 for i, n in zip((x, y), shape[::-1], strict=True))
        axes.annotate(
            name,
            (x, y),
            (5 * side_x, 4 * side_y),
            textcoords="offset points",
            horizontalalignment="left" if side_x > 0 else "right",
            verticalalignment="bottom" if side_y > 0 else "top",
            color="white",
            weight="bold",
            path_effects=OUTLINE,
        )
