"""The maps of one time: what can be told from each of them alone, and whether they belong together."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

import astropy.units as u
from astropy.time import Time
from sunpy.util.exceptions import warn_user

from sunpy_demreg._maps import named_maps
from sunpy_demreg._wcs import _MAX_SHIFT, _grid_shift

__all__ = ["CHANNELS", "Image", "check_one_grid", "checked_images", "common_dates", "default_n_sample"]

CHANNELS = (94, 131, 171, 193, 211, 335)
_COUNTS = (u.dimensionless_unscaled, u.DN, u.DN / u.pix, u.ct, u.ct / u.pix)
_PIXEL = 0.6 * u.arcsec / u.pix
_MAX_SPAN = 60 * u.s


class Image(NamedTuple):
    """A map that passed its own checks, with what `sunpy_demreg.prepare` needs of it."""

    name: str
    map: object
    channel: int
    level: float
    exposure: float  # s
    is_rate: bool  # already divided by the exposure time


def checked_images(maps):
    """
    Check maps each for itself, and that they are of different channels and of one level.

    Returns
    -------
    list of Image
        Ascending in wavelength.
    """
    images = sorted((_checked(name, each) for name, each in named_maps(maps)), key=lambda image: image.channel)
    for before, image in pairwise(images):
        if image.channel == before.channel:
            raise ValueError(f"{before.name} and {image.name} are both AIA {image.channel} Å: leave one out")
        if image.level != before.level:
            raise ValueError(
                f"{before.name} is level {before.level:g} but {image.name} is level {image.level:g}: give maps of one "
                "level, all before or all after `aiapy.calibrate.register`"
            )
    return images


def _checked(name, smap):
    """Check what can be told from one map alone."""
    from sunpy.map.sources import AIAMap

    if not isinstance(smap, AIAMap):
        cure = "leave it out"
        if smap.instrument.startswith("AIA"):
            cure = "it has lost its type; make a new map of it, `sunpy.map.Map(smap.data, smap.meta)`"
        elif not smap.instrument:
            cure += ", or if `reproject_to` made it, give the map that it was made of: `prepare` aligns maps itself"
        kind = f"{type(smap).__name__}, instrument {smap.instrument or 'unknown'}"
        raise ValueError(f"{name} is not a map of SDO/AIA ({kind}): {cure}")
    channel = _number(smap, "wavelnth")
    if channel == 304:
        raise ValueError(f"{name} is AIA 304 Å, which is optically thick: no DEM can describe it, leave it out")
    if channel not in CHANNELS:
        channels = ", ".join(map(str, CHANNELS))
        raise ValueError(
            f"{name} is AIA {smap.meta.get('wavelnth')} Å, but a DEM needs channels among {channels} Å: leave it out"
        )
    level = _number(smap, "lvl_num")
    if level not in (1, 1.5):
        raise ValueError(
            f"{name} is level {smap.meta.get('lvl_num')}, but `maps` must be level 1 or 1.5: correct its keyword "
            "LVL_NUM"
        )
    exposure = _number(smap, "exptime")
    if not 0 < exposure < np.inf:
        value = smap.meta.get("exptime")
        raise ValueError(f"{name} must have a positive exposure time, got {value}: set its keyword EXPTIME, in s")
    return Image(name, smap, int(channel), level, exposure, _is_rate(name, smap))


def _number(smap, keyword):
    """Value of a keyword, also if it was written as text; NaN if there is no such keyword or no such number."""
    try:
        return float(smap.meta.get(keyword))
    except (TypeError, ValueError):
        return np.nan


def _is_rate(name, smap):
    """Whether the unit of a map says that it was divided by its exposure time."""
    written = smap.meta.get("bunit", smap.meta.get("pixlunit"))
    # sunpy gives no unit both for a map without the keyword, which is in DN, and for one it cannot parse.
    unit = u.dimensionless_unscaled if written is None else smap.unit
    if unit in _COUNTS:
        return False
    if unit is not None and unit * u.s in _COUNTS:
        return True
    raise ValueError(
        f"{name} is in '{written}', but must be in DN, DN / pix or ct, or one of these per second: "
        "convert it, or correct its keyword BUNIT"
    )


def common_dates(images):
    """Dates of the images; warns where they are few, or far apart."""
    missing = [f"AIA {channel}" for channel in CHANNELS if channel not in {image.channel for image in images}]
    if missing:
        warn_user(f"`maps` lack {', '.join(missing)}: a DEM from fewer than six channels is poorly constrained")
    dates = Time([image.map.date for image in images])
    span = dates.max() - dates.min()
    if span > _MAX_SPAN:
        warn_user(
            f"`maps` span {span.to_value(u.s):.0f} s, but a DEM takes all channels to show the same plasma: "
            "give maps at most a minute apart"
        )
    return dates


def check_one_grid(images):
    """Check that the images share the pixels of the first."""
    first = images[0]
    cure = "put them on one grid with `reference`, such as `reference=171 * u.AA`"
    for image in images[1:]:
        if image.map.data.shape != first.map.data.shape:
            raise ValueError(
                f"{first.name} has shape {first.map.data.shape} but {image.name} has {image.map.data.shape}: {cure}"
            )
        shift = _grid_shift(first.map.wcs, image.map.wcs, first.map.data.shape)
        if not shift <= _MAX_SHIFT:
            raise ValueError(
                f"the grids of {first.name} (AIA {first.channel} Å) and {image.name} (AIA {image.channel} Å) "
                f"differ by up to {shift:.2f} pixels, more than {_MAX_SHIFT}: {cure}"
            )


def default_n_sample(smap):
    """Return 1, with a warning where the size of the pixels suggests that they are averages."""
    factor = (smap.scale[0] / _PIXEL).to_value(u.dimensionless_unscaled)
    if factor > 1.5:
        n_averaged = round(factor) ** 2
        warn_user(
            f"`maps` have pixels {factor:.1f} times the size of AIA's: if they are averages of {n_averaged} pixels, as "
            f"in the synoptic series, call `sunpy_demreg.prepare(maps, n_sample={n_averaged})`; if not, pass "
            "`n_sample=1`, which is used now"
        )
    return 1
