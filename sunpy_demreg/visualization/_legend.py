"""Legends below the axes, where they cover no curve, no error bar, and nothing of a map."""

import matplotlib.pyplot as plt
from matplotlib.transforms import Bbox, ScaledTranslation

from astropy.visualization.wcsaxes import WCSAxes

__all__ = ["draw_legend"]

_NARROW = 3.8  # inches: the text of legends of smaller axes is smaller
_GAP = 0.04  # inches, between the name of the axis and the legend
_MOST = 0.6  # of the height of the axes
_LABELS = 2.7  # times the size of a letter: room for the labels below a map


def draw_legend(axes, handles, labels, **more):
    """
    Draw a legend in rows below the axes and the name of their axis.

    The layout of the figure makes room for it; where there is none, the axes become so much smaller.
    """
    figure = axes.get_figure(root=True)
    axes.apply_aspect()
    frame = axes.get_window_extent()
    # As wide as the axes with the labels on the left, where these are known.
    outer = _with_labels(axes, frame)
    width = frame.x1 - outer.x0
    shift, below = (outer.x0 - frame.x0) / 2 / figure.dpi, (frame.y0 - outer.y0) / figure.dpi + _GAP
    size = "x-small" if frame.width / figure.dpi < _NARROW else "small"
    style = {
        "loc": "upper center",
        "bbox_to_anchor": (0.5, 0),
        "bbox_transform": axes.transAxes + ScaledTranslation(shift, -below, figure.dpi_scale_trans),
        "borderaxespad": 0,
        "borderpad": 0,
        "columnspacing": 0.8,
        "handlelength": 1.2,
        "handletextpad": 0.4,
        "fontsize": size,
        "title_fontsize": size,
        "frameon": False,
        **more,
    }
    width = max(width, axes.legend(handles, labels, **style).get_window_extent().width)  # that of a long title
    for n_columns in range(len(handles), 0, -1):
        box = axes.legend(handles, labels, ncols=n_columns, **style).get_window_extent()
        if box.width <= width:
            break
    if axes.get_subplotspec() is None or figure.get_layout_engine() is None:
        base = axes.get_axes_locator()
        base = base.base if isinstance(base, _Raised) else base
        axes.set_axes_locator(_Raised(axes, base, box.height / figure.dpi + _GAP, below))


def _with_labels(axes, frame):
    if isinstance(axes, WCSAxes):  # whose labels have no place before they are drawn
        room = _LABELS * plt.rcParams["font.size"] / 72 * axes.get_figure(root=True).dpi
        return Bbox.from_extents(frame.x0, frame.y0 - room, frame.x1, frame.y1)
    return Bbox.union([frame, *filter(None, (axis.get_tightbbox() for axis in (axes.xaxis, axes.yaxis)))])


class _Raised:
    """Where axes are: their bottom so much higher that a legend has room below them, in inches."""

    def __init__(self, axes, base, height, below):
        self.base, self.height, self.below = base, height, below
        self.get_subplotspec = axes.get_subplotspec  # `tight_layout` asks for it

    def __call__(self, axes, renderer):
        place = axes.get_position(original=True) if self.base is None else self.base(axes, renderer)
        figure = axes.get_figure(root=False)
        inches = figure.bbox.height / figure.dpi
        # Of long names on the axis not even these may have room.
        height = self.height + max(self.below - place.y0 * inches, 0)
        part = min(height / inches, _MOST * place.height)
        return Bbox.from_bounds(place.x0, place.y0 + part, place.width, place.height - part)
