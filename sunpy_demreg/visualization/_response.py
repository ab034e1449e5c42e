"""Temperature responses of all channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sunpy_demreg.response._plot import draw
from sunpy_demreg.response._response import check_response
from sunpy_demreg.visualization._curves import own_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

    from sunpy_demreg.response import TemperatureResponse

__all__ = ["plot_response"]


def plot_response(response: TemperatureResponse, *, axes: Axes | None = None, **kwargs: Any) -> list[Line2D]:
    """
    Draw the temperature responses of all channels.

    Parameters
    ----------
    response : `sunpy_demreg.TemperatureResponse`
    axes : `matplotlib.axes.Axes`, optional
        By default the current ones, or new ones in a new figure if these show a map.
    **kwargs
        For `matplotlib.axes.Axes.plot`.

    Returns
    -------
    `list` of `matplotlib.lines.Line2D`
        One for each channel. Values that are not positive have no place on the logarithmic axis, and those more than
        six decades below the highest peak are outside the limits.

    Raises
    ------
    TypeError
        If ``response`` is not a response.

    Examples
    --------
    >>> import astropy.units as u
    >>> import sunpy_demreg as demreg
    >>> response = demreg.TemperatureResponse.from_aia([171, 193] * u.AA)
    >>> lines = demreg.visualization.plot_response(response)
    >>> [line.get_label() for line in lines]
    ['AIA 171', 'AIA 193']
    """
    check_response(response)
    return draw(response, own_axes(axes), **kwargs)
