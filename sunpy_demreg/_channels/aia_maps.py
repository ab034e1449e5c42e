"""The maps of one time: checks of each map of AIA by itself, and whether maps belong together."""

from itertools import combinations, pairwise

import astropy.units as u
from astropy.time import Time

from sunpy_demreg._channels.headers import as_exposure_times, check_quality, number
from sunpy_demreg._channels.images import Image, check_channel, check_image
from sunpy_demreg._channels.other_maps import suvi_image, xrt_image
from sunpy_demreg._channels.read_maps import named_maps, wrong_map
from sunpy_demreg._common.constants import AIA_CHANNELS
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.grids import check_same_grid
from sunpy_demreg._common.warnings import DataWarning, warn

__all__ = ["MAX_SPAN", "as_images", "check_one_grid", "common_dates"]

_COUNTS = (u.dimensionless_unscaled, u.DN, u.DN / u.pix, u.ct, u.ct / u.pix)
MAX_SPAN = 60 * u.s  # in which the plasma is taken to be the same
# Starts of the keywords of the coordinates of pixels.
_GEOMETRY = ("crpix", "crval", "crota", "ctype", "cunit", "cd", "pc", "pv", "ps", "lonpole", "latpole", "wcs")
_SEVERAL = "for several times use `prepare_series` and `batch_invert`, or `sunpy-demreg batch`"
_NORMALIZED, _NEAR = 1.0, 1e-3  # s: an exposure that AIA never takes, and how near to it values count as it


def as_images(maps, exposure_times=None, accept_flagged=False, may_repeat=False):
    """
    Check each map by itself, and that all are of one level and, unless they may repeat, of different channels.

    Parameters
    ----------
    maps, exposure_times, accept_flagged
        As of `sunpy_demreg.prepare`.

    Returns
    -------
    list of Image
        Ascending in wavelength, then in time.
    """
    times = as_exposure_times(exposure_times)
    images = [_as_image(name, each, times) for name, each in named_maps(maps)]
    for image in images[1:]:
        if image.source != images[0].source:
            raise wrong_map(
                ValueError,
                images[0].name,
                f"is of {images[0].source}, but {image.name} of {image.source}: prepare the maps of each "
                "instrument by themselves, and put the cubes together with `combine`",
            )
    images.sort(key=lambda image: (image.order, image.map.date))
    unknown = [f"{channel}" for channel in times if channel not in [image.channel for image in images]]
    if unknown:
        raise wrong(ValueError, "exposure_times", f"names {', '.join(unknown)} Å, but there is no such map")
    check_quality(images, accept_flagged)
    for before, image in combinations(images, 2):
        if image.channel == before.channel and not may_repeat:
            cure = "leave one out, or combine them with `exposures`"
            problem = f"and {image.name} are both {image.label}{image.unit}: {cure}; {_SEVERAL}"
            raise wrong_map(ValueError, before.name, problem)
    for before, image in pairwise(images):
        if image.level != before.level:
            raise wrong_map(
                ValueError,
                before.name,
                f"is level {before.level:g} but {image.name} is level {image.level:g}: pass maps of one "
                "level, all before or all after `aiapy.calibrate.register`",
            )
    return images


def _as_image(name, smap, times):
    """Check one map by itself."""
    from sunpy.map.sources import AIAMap, SUVIMap, XRTMap

    if isinstance(smap, SUVIMap):
        return suvi_image(name, smap)
    if isinstance(smap, XRTMap):
        return xrt_image(name, smap)
    if not isinstance(smap, AIAMap):
        cure = "leave it out"
        if smap.instrument.startswith("AIA"):
            cure = "it has lost its type; create a new map from it, `sunpy.map.Map(smap.data, smap.meta)`"
        elif not smap.instrument:
            cure += ", or if it comes from `reproject_to`, pass the original map: `prepare` aligns maps itself"
        elif smap.detector == "EUVI":
            cure = "make a cube of it, and use `combine`: the page about instruments of the documentation shows how"
        kind = f"{type(smap).__name__}, instrument {smap.instrument or 'unknown'}"
        raise wrong_map(ValueError, name, f"is not a map of SDO/AIA, GOES/SUVI or Hinode/XRT ({kind}): {cure}")
    channel = number(smap, "wavelnth")
    check_channel(name, "AIA", channel, AIA_CHANNELS, smap.meta.get("wavelnth"))
    level = number(smap, "lvl_num")
    if level not in (1, 1.5):
        raise wrong_map(
            ValueError,
            name,
            f"is level {smap.meta.get('lvl_num')}, but `maps` must be level 1 or 1.5: correct its keyword LVL_NUM",
        )
    exposure = number(smap, "exptime")
    check_image(name, smap, exposure)
    is_rate = _is_rate(name, smap)
    if abs(exposure - _NORMALIZED) < _NEAR:
        if channel not in times:
            raise wrong_map(
                ValueError,
                name,
                "has an exposure time of 1 s, which AIA never uses: the map was divided by the true one, which errors "
                f"and saturation depend on. Pass `exposure_times={{{channel:g}: 2.9 * u.s}}` with the original "
                "exposure time (1 s if that is correct), or pass the original map",
            )
        exposure, is_rate = times[int(channel)], True
    elif channel in times:
        raise wrong(
            ValueError,
            "exposure_times",
            f"has one for {channel:g} Å, but {name} has its own, {exposure:g} s: leave it out (it is only for maps "
            "that were divided by it and have 1 s in their header)",
        )
    return Image(name, smap, int(channel), level, exposure, is_rate)


def _is_rate(name, smap):
    """Whether the unit of a map says that it was divided by its exposure time."""
    written = smap.meta.get("bunit", smap.meta.get("pixlunit"))
    # sunpy gives no unit both for a map without the keyword, which is in DN, and for one it cannot parse.
    unit = u.dimensionless_unscaled if written is None else smap.unit
    if unit in _COUNTS:
        return False
    if unit is not None and unit * u.s in _COUNTS:
        return True
    raise wrong_map(
        ValueError,
        name,
        f"is in '{written}', but must be in DN, DN / pix or ct, or one of these per second: "
        "convert it, or correct its keyword BUNIT",
    )


def common_dates(images):
    """Dates of the images; warns if there are too few images, or if they are far apart."""
    missing = [f"AIA {channel}" for channel in AIA_CHANNELS if channel not in {image.channel for image in images}]
    if missing and images[0].instrument == "AIA":
        warn(
            DataWarning,
            f"lack {', '.join(missing)}: a DEM from fewer than six channels is poorly constrained",
            "maps",
        )
    dates = Time([image.map.date for image in images])
    span = dates.max() - dates.min()
    if span > MAX_SPAN:
        warn(
            DataWarning,
            f"span {span.to_value(u.s):.0f} s, but a DEM requires all channels to show the same plasma: "
            "pass maps at most a minute apart",
            "maps",
        )
    return dates


def check_one_grid(images):
    """Raise unless the images have the pixels of the first."""
    first, *others = images
    for other in others:
        if _geometry(other.map) != _geometry(first.map):  # sunpy's coordinates take long to make
            named = ((f"{i.name} ({i.label}{i.unit})", i.map.wcs, i.map.data.shape) for i in (first, other))
            check_same_grid("maps", *named, "put them on one grid with `reference`, such as 171 * u.AA")


def _geometry(smap):
    """All that the coordinates of its pixels follow from, regardless of the observer."""
    return smap.data.shape, {key: value for key, value in smap.meta.items() if key.startswith(_GEOMETRY)}
