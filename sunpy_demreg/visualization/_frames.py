"""The images of a series, one after the other, and the colors that all of them share."""

from copy import copy

import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from ndcube import NDCollection, NDCube

from sunpy_demreg._common.dates import as_text, mean_date
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.wcs import plane_wcs, times_of
from sunpy_demreg._results.checks import check_image, check_result
from sunpy_demreg._results.convert import as_computed, computed_result

__all__ = ["Frames", "common_norm"]


class Frames:
    """
    The images of a list of results, or of a result or a cube of many times; Dask arrays are computed one at a time.

    Parameters
    ----------
    series : sequence of `ndcube.NDCollection`, or one, or `ndcube.NDCube`
    name : `str`
        Of the argument, for messages.
    """

    def __init__(self, series, name):
        self.is_of_cube = isinstance(series, NDCube)
        self._series, self._last = series, (None, None)
        if not isinstance(series, NDCube | NDCollection):
            for i, result in enumerate(series):
                check_image(result, name=f"{name}[{i}]")
            shapes = {result["status"].data.shape for result in series}
            if len(shapes) > 1:
                raise wrong(ValueError, name, f"must be images of one shape, but are of {sorted(shapes)}")
            self._n, self._dates = len(series), [_date_of(result) for result in series]
            return
        if not self.is_of_cube:
            check_result(series, "status", name=name)
        pixels = series if self.is_of_cube else series["status"]
        times = times_of(plane_wcs(pixels.wcs))
        if pixels.data.ndim != 3 or (self.is_of_cube and times is None):
            kind = "a cube" if self.is_of_cube else "a result with pixels"
            raise wrong(
                TypeError,
                name,
                "must be a list of results, or a result or a cube of images in time, (time, y, x), but is "
                f"{kind} of the shape {pixels.data.shape}{'' if times is not None else ' without a time axis'}",
            )
        self._n = len(pixels.data)
        self._dates = [None] * self._n if times is None else list(times)

    def __len__(self):
        return self._n

    def __getitem__(self, i):
        if self._last[0] != i:
            frame = self._series[i]
            self._last = i, as_computed(frame) if self.is_of_cube else computed_result(frame)
        return self._last[1]

    def wcs(self, i):
        return self[i].wcs if self.is_of_cube else self[i]["status"].wcs

    def when(self, i):
        """Its time in UT; where that is not known its number, if there are several."""
        if self._dates[i] is not None:
            return as_text(self._dates[i])
        return f"{i + 1} of {len(self)}" if len(self) > 1 else ""


def _date_of(result):
    return mean_date((result.meta.get("observation") or {}).get("date"))


def common_norm(frames, draw, args, kwargs):
    """
    A norm for all frames, in the limits of which are those that ``draw`` chooses for each; None for pictures of colors.

    Each is drawn once, but nowhere: unless the arguments tell both limits.
    """
    given = kwargs.get("norm")
    norms, blank = [], []
    for i in range(len(frames)):
        # A norm without limits would keep those of the first frame.
        own = kwargs | ({"norm": copy(given)} if isinstance(given, Normalize) else {})
        axes = Figure().add_subplot(projection=frames.wcs(i))
        artist = draw(frames[i], *args, axes=axes, **own)
        if np.ndim(artist.get_array()) == 3:
            return None
        is_blank = not np.isfinite(np.ma.filled(artist.get_array(), np.nan)).any()
        (blank if is_blank else norms).append(artist.norm)
        if (isinstance(given, Normalize) and given.scaled()) or None not in (kwargs.get("vmin"), kwargs.get("vmax")):
            break
    norms = norms or blank
    norm = copy(norms[0])
    low, high = min(each.vmin for each in norms), max(each.vmax for each in norms)
    if isinstance(norm, LogNorm) and all(each.vmax / each.vmin < 1001 for each in norms):
        low = max(low, high * 1e-3)  # three decades for each frame, and for all
    norm.vmin, norm.vmax = low, high
    return norm
