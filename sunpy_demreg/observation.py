"""From AIA maps of one time to one cube of channels."""

import glob
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

import astropy.units as u
from astropy.nddata import StdDevUncertainty
from astropy.time import Time
from ndcube import NDCube, NDMeta
from sunpy.util.exceptions import warn_user

from sunpy_demreg._wcs import _prepend_axis

__all__ = ["prepare"]

_CHANNELS = (94, 131, 171, 193, 211, 335)
_COUNTS = (u.dimensionless_unscaled, u.DN, u.DN / u.pix, u.ct, u.ct / u.pix)
_PIXEL = 0.6 * u.arcsec / u.pix
_MAX_SHIFT = 0.1  # pixels
_MAX_SPAN = 60 * u.s
_ERROR_TABLE = Path(__file__).parent / "data" / "aia_V3_error_table.txt"


class _Image(NamedTuple):
    """A map that passed its own checks, with what `prepare` needs of it."""

    name: str
    map: object
    channel: int
    exposure: float  # s
    is_rate: bool  # already divided by the exposure time


def prepare(maps, *, n_sample=None, include_chianti=False, saturation=15000, error_table=None):
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
    saturation : float, optional
        Values above this many DN, before division by the exposure time, are masked.
    error_table : str, `~pathlib.Path` or `~astropy.table.QTable`, optional
        Error table as `aiapy.calibrate.utils.get_error_table` reads or returns it. By default the
        version 3 that comes with this package; nothing is downloaded.

    Returns
    -------
    `~ndcube.NDCube`
        Intensity in DN / (pix s), float64, axes (wavelength, y, x), ascending in wavelength.
        ``uncertainty`` is the standard deviation that `aiapy.calibrate.estimate_error` gives for the raw
        counts, negative ones taken as zero, divided by the exposure time. ``mask`` is True where a value
        is not finite, saturated, or masked in its map; counts of zero and below are kept. ``wcs`` has the
        coordinates of the map with the shortest wavelength. ``meta``, an `~ndcube.NDMeta`, holds per
        channel "channels", "exposure_time" and "date", sliced with the cube, and what was done.

    Raises
    ------
    TypeError
        If something else than maps and file names was given.
    FileNotFoundError
        If a file does not exist.
    ValueError
        If a file cannot be read, or a map is not one of those described above.

    Warns
    -----
    sunpy.util.exceptions.SunpyUserWarning
        If the maps are more than a minute apart, or look averaged and `n_sample` was not given.

    Notes
    -----
    Degradation is not corrected here: it belongs in the temperature response, see
    `sunpy_demreg.TemperatureResponse.from_aia`.
    """
    if not saturation > 0:
        raise ValueError(f"`saturation` must be a positive number of DN, got {saturation}")
    if n_sample is not None and not (n_sample >= 1 and n_sample % 1 == 0):
        raise ValueError(f"`n_sample` must be a whole number of averaged pixels, 1 or more, got {n_sample}")

    images = sorted((_checked(name, each) for name, each in _named(maps)), key=lambda image: image.channel)
    dates, wcs = _check_together(images)
    if n_sample is None:
        n_sample = _default_n_sample(images[0].map)
    table = _read_error_table(error_table)

    shape = (len(images), *images[0].map.data.shape)
    intensity, uncertainty, mask = np.empty(shape), np.empty(shape), np.empty(shape, dtype=bool)
    for i, image in enumerate(images):
        values = np.asarray(image.map.data, dtype=float)
        counts = values * image.exposure if image.is_rate else values
        intensity[i] = values if image.is_rate else values / image.exposure
        uncertainty[i] = _count_error(counts, image.channel, n_sample, include_chianti, table) / image.exposure
        mask[i] = ~np.isfinite(counts) | (counts > saturation)
        if image.map.mask is not None:
            mask[i] |= image.map.mask

    per_channel = {
        "channels": np.array([f"AIA {image.channel}" for image in images]),
        "exposure_time": [image.exposure for image in images] * u.s,
        "date": dates,
    }
    done = {
        "instrument": "AIA",
        "level": 1.5,
        "saturation": float(saturation),
        "n_sample": int(n_sample),
        "include_chianti": bool(include_chianti),
        "exposure_normalized": True,
        "degradation_corrected": False,
    }
    wavelengths = [image.channel for image in images] * u.AA
    return NDCube(
        intensity,
        unit=u.DN / u.pix / u.s,
        uncertainty=StdDevUncertainty(uncertainty, copy=False),
        mask=mask,
        wcs=_prepend_axis(wcs, wavelengths, "wavelength", "em.wl"),
        meta=NDMeta(per_channel | done, axes=dict.fromkeys(per_channel, 0), data_shape=shape),
    )


def _named(maps):
    """List pairs of a name for error messages and a map, from whatever `prepare` was given."""
    from sunpy.map import GenericMap, MapSequence

    if isinstance(maps, GenericMap | str | Path):
        items = [("`maps`", maps)]
    elif isinstance(maps, dict):
        items = [(f"`maps[{key!r}]`", item) for key, item in maps.items()]
    elif isinstance(maps, list | tuple | MapSequence):
        items = [(f"`maps[{i}]`", item) for i, item in enumerate(maps)]
    else:
        raise TypeError(f"`maps` must be a list or dict of maps or file names, got {type(maps).__name__}")

    pairs = []
    for name, item in items:
        if isinstance(item, GenericMap):
            pairs.append((name, item))
        elif isinstance(item, str | Path):
            pairs += _read(item)
        else:
            raise TypeError(f"{name} must be a sunpy map or a file name, got {type(item).__name__}")
    if not pairs:
        raise ValueError("`maps` is empty: give one map for each channel")
    return pairs


def _read(pattern):
    """Read the maps in the file, or the files, that a name or a pattern with wildcards stands for."""
    from sunpy.map import Map

    path = Path(pattern).expanduser()
    paths = [path] if path.exists() else sorted(map(Path, glob.glob(str(path))))
    if not paths:
        raise FileNotFoundError(f"`maps`: there is no file {pattern}")
    pairs = []
    for path in paths:
        try:
            loaded = Map(path)
        except Exception as error:  # readers fail in as many ways as files do
            reason = str(error).partition("\n")[0]
            raise ValueError(f"`maps`: cannot read {path} as a map ({reason}): give FITS files of AIA") from error
        pairs += [(str(path), each) for each in (loaded if isinstance(loaded, list) else [loaded])]
    return pairs


def _checked(name, smap):
    """Check what can be told from one map alone."""
    from sunpy.map.sources import AIAMap

    if not isinstance(smap, AIAMap):
        kind = f"{type(smap).__name__}, instrument {smap.instrument or 'unknown'}"
        raise ValueError(f"{name} is not a map of SDO/AIA ({kind}): leave it out")
    channel = smap.meta.get("wavelnth")
    if channel == 304:
        raise ValueError(f"{name} is AIA 304 Å, which is optically thick: no DEM can describe it, leave it out")
    if channel not in _CHANNELS:
        channels = ", ".join(map(str, _CHANNELS))
        raise ValueError(f"{name} is AIA {channel} Å, but a DEM needs channels among {channels} Å: leave it out")
    if smap.processing_level != 1.5:
        raise ValueError(
            f"{name} is level {smap.processing_level}, but `maps` must be level 1.5: use "
            "`aiapy.calibrate.register` on full-disk images; put cutouts on one grid with `reproject_to`, "
            "and into the new headers INSTRUME, WAVELNTH, WAVEUNIT, EXPTIME, DATE-OBS and LVL_NUM = 1.5"
        )
    try:
        exposure = float(smap.meta.get("exptime"))
    except (TypeError, ValueError):  # no keyword, or one that is not a number
        exposure = np.nan
    if not 0 < exposure < np.inf:
        value = smap.meta.get("exptime")
        raise ValueError(f"{name} must have a positive exposure time, got {value}: set its keyword EXPTIME, in s")
    return _Image(name, smap, int(channel), exposure, _is_rate(name, smap))


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
    """Check that the images, sorted by channel, fit together; their dates, and the WCS of the first."""
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
    dates = Time([image.map.date for image in images])
    span = dates.max() - dates.min()
    if span > _MAX_SPAN:
        warn_user(
            f"`maps` span {span.to_value(u.s):.0f} s, but a DEM takes all channels to show the same plasma: "
            "give maps at most a minute apart"
        )
    return dates, wcs


def _grid_shift(wcs, other, shape):
    """Largest distance in pixels between the grids of two images, at the corners and in the center."""
    x, y = np.array([[0, 1, 0, 1, 0.5], [0, 0, 1, 1, 0.5]]) * (np.array(shape[::-1]) - 1)[:, None]
    x_other, y_other = other.world_to_pixel_values(*wcs.pixel_to_world_values(x, y))
    return np.max(np.hypot(x_other - x, y_other - y))


def _default_n_sample(smap):
    """Return 1, with a warning where the size of the pixels suggests that they are averages."""
    factor = (smap.scale[0] / _PIXEL).to_value(u.dimensionless_unscaled)
    if factor > 1.5:
        n_averaged = round(factor) ** 2
        warn_user(
            f"`maps` have pixels {factor:.1f} times the size of AIA's: pass `n_sample={n_averaged}` if they "
            f"are averages of {n_averaged} pixels, as in the synoptic series, or `n_sample=1`, used now, if not"
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

    with np.errstate(invalid="ignore"):  # infinite counts, which are masked
        return estimate_error(
            np.clip(counts, 0, None) << u.DN / u.pix,
            channel * u.AA,
            n_sample=n_sample,
            include_chianti=include_chianti,
            error_table=table,
        ).to_value(u.DN / u.pix)
