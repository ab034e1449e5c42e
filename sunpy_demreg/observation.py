"""From AIA maps of one time to one cube of channels."""

from itertools import pairwise
from numbers import Real
from pathlib import Path
from typing import NamedTuple

import numpy as np

import astropy.units as u
from astropy.nddata import StdDevUncertainty
from astropy.time import Time
from ndcube import NDCube, NDMeta
from sunpy.util.exceptions import warn_user

from sunpy_demreg._maps import named_maps
from sunpy_demreg._wcs import _MAX_SHIFT, _grid_shift, _prepend_axis
from sunpy_demreg.response._aia import degradation_factors

__all__ = ["prepare"]

_CHANNELS = (94, 131, 171, 193, 211, 335)
_COUNTS = (u.dimensionless_unscaled, u.DN, u.DN / u.pix, u.ct, u.ct / u.pix)
_PIXEL = 0.6 * u.arcsec / u.pix
_MAX_SPAN = 60 * u.s
_ERROR_TABLE = Path(__file__).parent / "data" / "aia_V3_error_table.txt"


class _Image(NamedTuple):
    """A map that passed its own checks, with what `prepare` needs of it."""

    name: str
    map: object
    channel: int
    exposure: float  # s
    is_rate: bool  # already divided by the exposure time


def prepare(
    maps, *, n_sample=None, include_chianti=False, saturation=15000, error_table=None, degradation_corrected=False
):
    """
    Put AIA maps of one time, on one pixel grid, into one cube of channels with uncertainties.

    Parameters
    ----------
    maps : list, tuple or dict of maps or file names, `~sunpy.map.MapSequence`, map, or file name
        Level 1.5 maps of the channels 94, 131, 171, 193, 211 and 335 Å, each at most once, in any order.
        A file name may hold wildcards. The grids must agree to a tenth of a pixel. The unit of a map is
        DN (also if it has none, as in the synoptic series), DN / pix or ct, or one of these per second,
        which says that the map was divided by its exposure time.
    n_sample : int, optional
        How many pixels were averaged into one: 16 for the synoptic series. By default 1, with a warning
        if the pixels are larger than those of AIA.
    include_chianti : bool, optional
        Whether the uncertainty includes that of the atomic data (25 to 50 percent of the intensity).
    saturation : float or `~astropy.units.Quantity`, optional
        Values above this many DN, before division by the exposure time, are masked. Of averaged pixels it
        sees the average only, and so misses those that are saturated in part.
    error_table : str, `~pathlib.Path` or `~astropy.table.QTable`, optional
        Error table as `aiapy.calibrate.utils.get_error_table` reads or returns it. By default the
        version 3 that comes with this package; nothing is downloaded.
    degradation_corrected : bool, optional
        Whether the maps went through `aiapy.calibrate.correct_degradation`, which leaves no trace in them.
        If so, uncertainty and saturation are those of the raw counts, from the factors of the bundled
        table (see `sunpy_demreg.TemperatureResponse.from_aia`), and the intensity stays corrected.

    Returns
    -------
    `~ndcube.NDCube`
        Intensity in DN / (pix s), float64, axes (wavelength, y, x), ascending in wavelength.
        ``uncertainty`` is the standard deviation that `aiapy.calibrate.estimate_error` gives for the raw
        counts, negative ones taken as zero, divided by the exposure time; infinite where a value is
        saturated, and thus only a lower limit, and NaN where it is not finite. ``mask`` is True there, and
        where a value is masked in its map; counts of zero and below are kept. ``wcs`` has the
        coordinates of the map with the shortest wavelength. ``meta``, an `~ndcube.NDMeta`, holds per
        channel "channels", "exposure_time" and "date", sliced with the cube, and what was done.

    Raises
    ------
    TypeError
        If something else than maps and file names was given, or another argument has a wrong type.
    FileNotFoundError
        If a file does not exist.
    ValueError
        If a file cannot be read, a map is not one of those described above, or a number is out of range.

    Warns
    -----
    sunpy.util.exceptions.SunpyUserWarning
        If there are fewer than six channels, the maps are more than a minute apart, or they look averaged
        and `n_sample` was not given.

    Notes
    -----
    Degradation is not corrected here: it belongs in the temperature response, which
    `sunpy_demreg.TemperatureResponse.from_aia` dates. It refuses to date the response of a cube that was made
    with ``degradation_corrected=True``: correct the data or date the response, never both.
    """
    saturation = _validated_saturation(saturation)
    _validate_options(n_sample, degradation_corrected)

    images = sorted((_checked(name, each) for name, each in named_maps(maps)), key=lambda image: image.channel)
    dates, wcs = _check_together(images)
    if n_sample is None:
        n_sample = _default_n_sample(images[0].map)
    table = _read_error_table(error_table)
    channels = [image.channel for image in images]
    factors = degradation_factors(channels, dates) if degradation_corrected else np.ones(len(images))

    shape = (len(images), *images[0].map.data.shape)
    intensity, uncertainty, mask = np.empty(shape), np.empty(shape), np.empty(shape, dtype=bool)
    for i, (image, factor) in enumerate(zip(images, factors, strict=True)):
        values = np.asarray(image.map.data, dtype=float)
        intensity[i] = values if image.is_rate else values / image.exposure
        counts = (values * image.exposure if image.is_rate else values) * factor
        finite = np.isfinite(counts)
        saturated = finite & (counts > saturation)
        error = _count_error(np.where(finite, counts, 0), image.channel, n_sample, include_chianti, table)
        # So that the reason for the mask stays known whatever is done to the cube: slices, factors, other units.
        error[saturated], error[~finite] = np.inf, np.nan
        uncertainty[i] = error / (image.exposure * factor)
        mask[i] = saturated | ~finite
        if image.map.mask is not None:
            mask[i] |= np.asarray(image.map.mask, dtype=bool)

    per_channel = {
        "channels": np.array([f"AIA {channel}" for channel in channels]),
        "exposure_time": [image.exposure for image in images] * u.s,
        "date": dates,
    }
    done = {
        "instrument": "AIA",
        "level": 1.5,
        "saturation": saturation,
        "n_sample": int(n_sample),
        "include_chianti": bool(include_chianti),
        "exposure_normalized": True,
        "degradation_corrected": degradation_corrected,
    }
    return NDCube(
        intensity,
        unit=u.DN / u.pix / u.s,
        uncertainty=StdDevUncertainty(uncertainty, copy=False),
        mask=mask,
        wcs=_prepend_axis(wcs, channels * u.AA, "wavelength", "em.wl"),
        meta=NDMeta(per_channel | done, axes=dict.fromkeys(per_channel, 0), data_shape=shape),
    )


def _validated_saturation(saturation):
    """Return it as a plain number of DN."""
    value = saturation
    if isinstance(value, u.Quantity) and value.unit.is_equivalent(u.DN):
        value = value.to_value(u.DN)
    if not isinstance(value, Real):
        raise TypeError(f"`saturation` must be a number of DN, such as 15000 or 15000 * u.DN, got {saturation!r}")
    if not value > 0:
        raise ValueError(f"`saturation` must be a positive number of DN, got {saturation}")
    return float(value)


def _validate_options(n_sample, degradation_corrected):
    if n_sample is not None:
        if not isinstance(n_sample, Real):
            raise TypeError(f"`n_sample` must be a whole number of averaged pixels, such as 16, got {n_sample!r}")
        if not (n_sample >= 1 and n_sample % 1 == 0):
            raise ValueError(f"`n_sample` must be a whole number of averaged pixels, 1 or more, got {n_sample}")
    if not isinstance(degradation_corrected, bool):
        raise TypeError(f"`degradation_corrected` must be True or False for all maps, got {degradation_corrected!r}")


def _checked(name, smap):
    """Check what can be told from one map alone."""
    from sunpy.map.sources import AIAMap

    if not isinstance(smap, AIAMap):
        cure = "leave it out"
        if smap.instrument.startswith("AIA"):
            cure = "it has lost its type; make a new map of it, `sunpy.map.Map(smap.data, smap.meta)`"
        elif not smap.instrument:
            cure += ", or if `reproject_to` made it, give it a header, as `sunpy_demreg.sample.flare_maps` shows"
        kind = f"{type(smap).__name__}, instrument {smap.instrument or 'unknown'}"
        raise ValueError(f"{name} is not a map of SDO/AIA ({kind}): {cure}")
    channel = _number(smap, "wavelnth")
    if channel == 304:
        raise ValueError(f"{name} is AIA 304 Å, which is optically thick: no DEM can describe it, leave it out")
    if channel not in _CHANNELS:
        channels = ", ".join(map(str, _CHANNELS))
        raise ValueError(
            f"{name} is AIA {smap.meta.get('wavelnth')} Å, but a DEM needs channels among {channels} Å: leave it out"
        )
    if _number(smap, "lvl_num") != 1.5:
        raise ValueError(
            f"{name} is level {smap.processing_level}, but `maps` must be level 1.5: use `aiapy.calibrate.register` "
            "on full-disk images; put cutouts on one grid with `reproject_to` and make new maps, "
            "`sunpy.map.Map(reprojected.data, header)`, whose headers have the new coordinates, the old INSTRUME, "
            "WAVELNTH, WAVEUNIT, EXPTIME and DATE-OBS, and LVL_NUM = 1.5 (`sunpy_demreg.sample.flare_maps` shows it)"
        )
    exposure = _number(smap, "exptime")
    if not 0 < exposure < np.inf:
        value = smap.meta.get("exptime")
        raise ValueError(f"{name} must have a positive exposure time, got {value}: set its keyword EXPTIME, in s")
    return _Image(name, smap, int(channel), exposure, _is_rate(name, smap))


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


def _check_together(images):
    """Check that the images, sorted by channel, fit together; return their dates, and the WCS of the first."""
    first = images[0]
    wcs = first.map.wcs
    for before, image in pairwise(images):
        if image.channel == before.channel:
            raise ValueError(f"{before.name} and {image.name} are both AIA {image.channel} Å: leave one out")
        if image.map.data.shape != first.map.data.shape:
            raise ValueError(
                f"{first.name} has shape {first.map.data.shape} but {image.name} has "
                f"{image.map.data.shape}: cut or reproject the maps to one grid"
            )
        shift = _grid_shift(wcs, image.map.wcs, first.map.data.shape)
        if not shift <= _MAX_SHIFT:
            raise ValueError(
                f"the grids of {first.name} (AIA {first.channel} Å) and {image.name} (AIA {image.channel} Å) "
                f"differ by up to {shift:.2f} pixels, more than {_MAX_SHIFT}: reproject the maps to one grid"
            )
    missing = [f"AIA {channel}" for channel in _CHANNELS if channel not in {image.channel for image in images}]
    if missing:
        warn_user(f"`maps` lack {', '.join(missing)}: a DEM from fewer than six channels is poorly constrained")
    dates = Time([image.map.date for image in images])
    span = dates.max() - dates.min()
    if span > _MAX_SPAN:
        warn_user(
            f"`maps` span {span.to_value(u.s):.0f} s, but a DEM takes all channels to show the same plasma: "
            "give maps at most a minute apart"
        )
    return dates, wcs


def _default_n_sample(smap):
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


def _read_error_table(error_table):
    """Read an error table from a file, the bundled one by default, without ever using the network."""
    from aiapy.calibrate.utils import get_error_table

    if error_table is None:
        error_table = _ERROR_TABLE
    if isinstance(error_table, str | Path):
        if not Path(error_table).is_file():
            raise FileNotFoundError(f"`error_table`: there is no file {error_table}")
        error_table = get_error_table(Path(error_table))  # as a str, "SSW" would mean a download
    for channel in _CHANNELS:
        n_rows = np.count_nonzero(error_table["WAVELNTH"] == channel * u.AA)
        if n_rows != 1:
            raise ValueError(f"`error_table` must have one row for {channel} Å but has {n_rows}")
    return error_table


def _count_error(counts, channel, n_sample, include_chianti, table):
    """Standard deviation of raw counts, in DN / pix."""
    from aiapy.calibrate import estimate_error

    return estimate_error(
        np.clip(counts, 0, None) << u.DN / u.pix,
        channel * u.AA,
        n_sample=n_sample,
        include_chianti=include_chianti,
        error_table=table,
    ).to_value(u.DN / u.pix)
