"""Images of a store of SDOMLv2 as a lazy cube of channels and times."""

import inspect
from typing import NamedTuple

import numpy as np

import astropy.units as u
from astropy.nddata import StdDevUncertainty
from astropy.time import Time

from sunpy_demreg._channels.plan import as_saturation
from sunpy_demreg._channels.prepare import prepare
from sunpy_demreg._channels.sdoml_errors import AVERAGED, SIDE, calibrated
from sunpy_demreg._channels.sdoml_store import SYNOPTIC_PIXEL, StoreImage, Values, check_flags, number
from sunpy_demreg._channels.stacks import prepend_channels
from sunpy_demreg._channels.time_sets import NO_IMAGE, Image
from sunpy_demreg._channels.uncertainty import ErrorModel, as_floors, read_error_table
from sunpy_demreg._common.constants import AIA_CHANNELS
from sunpy_demreg._common.cube import Cube, Meta
from sunpy_demreg._common.dask_arrays import map_pixels
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.validators import as_bool
from sunpy_demreg._common.warnings import DataWarning, warn
from sunpy_demreg._common.wcs import prepend_times

__all__ = ["Choices", "completed", "cube_of", "radius_of", "warn_of_radius", "without_flags"]

_RADIUS = 976.0  # arcsec: that of the Sun to which they were scaled
_LEAST_EXPOSURE = 0.01  # s: they were divided by no less
_HARMLESS = 0.002  # relative: changes of the radius that move the limb by half a pixel or less
# Options of `prepare` that are something here too, and what is true of all stores.
_OPTIONS = ("accept_flagged", "saturation", "error_table", "include_eve", "include_chianti", "relative_floor")
_DONE = "degradation_corrected"


class Choices(NamedTuple):
    """The options of `sunpy_demreg.read_sdoml` that change values."""

    accept_flagged: bool
    saturation: float
    errors: ErrorModel
    floors: dict  # of each channel

    @classmethod
    def of(cls, options):
        """
        From options of `sunpy_demreg.prepare`.

        Parameters
        ----------
        options : dict

        Raises
        ------
        ValueError
            If one has no meaning for a store.
        """
        parameters = inspect.signature(prepare).parameters.values()
        defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        for name, value in options.items():
            is_default = value is defaults[name] or (isinstance(value, int | str) and value == defaults[name])
            if name not in (*_OPTIONS, _DONE) and not is_default:
                raise wrong(
                    ValueError,
                    name,
                    "is for maps and their files, but `maps` names a store, which must be of SDOMLv2: its images are "
                    "averages on one grid already, divided by exposure time and degradation: leave it out",
                )
        given = defaults | options
        flags = {name: as_bool(name, given[name]) for name in ("accept_flagged", "include_eve", "include_chianti")}
        level = given["saturation"]
        return cls(
            flags["accept_flagged"],
            as_saturation(15000 if level is None else level),
            ErrorModel(read_error_table(given["error_table"]), flags["include_eve"], flags["include_chianti"]),
            dict(zip(AIA_CHANNELS, as_floors(given["relative_floor"], AIA_CHANNELS), strict=True)),
        )


def without_flags(images, choices):
    """Images with their flags as problems, unless these are accepted; and whether there is any."""
    checked, any_flagged = [], False
    for image in images:
        flags = None if image.problem or choices.accept_flagged else check_flags(image.map.header)
        checked.append(image._replace(problem=flags) if flags else image)
        any_flagged |= flags is not None
    return checked, any_flagged


def completed(images, like):
    """A set with images without values for the channels of another set that it lacks."""
    found = {image.channel: image for image in images}
    middle = sum(image.seconds for image in images) / len(images)
    names = {each.channel: f"{NO_IMAGE} {each.channel} Å" for each in like}
    return [
        found.get(each.channel)
        or Image(names[each.channel], each.channel, middle, StoreImage(*each.map[:2], None, each.map.header))
        for each in like
    ]


def radius_of(wcs, side):
    """The radius of the Sun in arcsec by which coordinates of an image are scaled."""
    scale = u.Quantity(wcs.proj_plane_pixel_scales()[0]).to_value(u.arcsec)
    return scale * _RADIUS * side / (SIDE * SYNOPTIC_PIXEL)


def warn_of_radius(first, least, most, argument):
    """Warn if radii of the Sun in arcsec are too far from that of the coordinates."""
    off = max(abs(least - first), abs(most - first))
    if off > _HARMLESS * first:
        text = (
            f": the radius of the Sun changes by {off / first:.2%} from that of the first time, whose coordinates the "
            f"series has: the limb is off by up to {off:.1f} arcsec. Take shorter ranges, of a few days, by themselves"
        )
        warn(DataWarning, text, argument)


def cube_of(sets, choices, left=()):
    """
    A lazy cube, (channel, time, y, x).

    Parameters
    ----------
    sets : list of list of Image
        Of the same channels, each with a StoreImage.
    choices : Choices
    left : sequence of str
        Names of images that are in no set.
    """
    import dask.array as da

    channels, errors = [image.channel for image in sets[0]], choices.errors
    headers = [[image.map.header for image in each] for each in sets]
    facts = np.array([[[number(h, k) for k in ("exptime", "deg_cor", "rsun_obs")] for h in row] for row in headers])
    exposure, degradation, radius = np.moveaxis(facts, -1, 0).swapaxes(1, 2)  # (channel, time)
    divided = np.maximum(exposure, _LEAST_EXPOSURE)
    readers = {place: Values(*place) for place in {image.map[:2] for each in sets for image in each}}
    lazy = {place: da.from_array(each, chunks=each.chunks, inline_array=True) for place, each in readers.items()}

    def plane(image):
        array = lazy[image.map[:2]]
        if image.map.index is None:
            return da.full(array.shape[1:], np.nan, dtype=array.dtype, chunks=array.chunks[1:])
        return array[image.map.index]

    values = da.stack([da.stack([plane(image) for image in each]) for each in sets], axis=1)
    n, _, side, _ = values.shape
    values = values.rechunk((n, 1, side, side))
    parameters = np.array([divided * degradation, divided / exposure, _RADIUS / radius])[..., None, None]
    parameters = da.from_array(parameters, chunks=(3, n, 1, 1, 1))
    outputs = [((n,), np.dtype(kind)) for kind in (float, float, bool)]
    options = {
        "channels": tuple(channels),
        "errors": errors,
        "floors": tuple(choices.floors[c] for c in channels),
        "saturation": choices.saturation,
    }
    intensity, sigma, mask = map_pixels(calibrated, outputs, [values, parameters], 3, **options)
    rate = u.DN / u.pix / u.s
    common = np.array([errors.common(channel) for channel in channels])
    noise = np.array([errors.noise(channel) for channel in channels])
    dates = Time([[image.seconds for image in each] for each in sets], format="unix_tai").T.utc
    dates.format = "isot"
    per_image = {
        "exposure_time": exposure * u.s,
        "date": dates,
        "common_error": common[:, :1] / (exposure * degradation) * rate,
    }
    per_channel = {
        "channels": np.array([f"AIA {channel}" for channel in channels]),
        "relative_floor": np.array(options["floors"]),
        "common_relative_error": common[:, 1],
        "dn_per_photon": noise[:, 0],
        "compression_ratio": noise[:, 1],
    }
    done = {
        "instrument": "AIA",
        "level": 1.5,
        "steps": ["exposure", "degradation", "bin"],
        "pointing": None,
        "bin": 1,
        "saturation": choices.saturation,
        "n_sample": AVERAGED * (SIDE // side) ** 2,
        "include_eve": errors.include_eve,
        "include_chianti": errors.include_chianti,
        "exposure_normalized": True,
        "degradation_corrected": True,
        "left_over": tuple(left),
    }
    axes = dict.fromkeys(per_channel, 0) | dict.fromkeys(per_image, (0, 1))
    times = dates[0] + (dates - dates[0]).mean(axis=0)
    return Cube(
        intensity,
        unit=rate,
        uncertainty=StdDevUncertainty(sigma, copy=False),
        mask=mask,
        wcs=prepend_channels(prepend_times(_wcs(headers[0][0], side), times), n, channels * u.AA),
        meta=Meta(per_channel | per_image | done, axes=axes, data_shape=intensity.shape),
    )


def _wcs(header, side):
    """The coordinates of an image, with the reference pixel where the scaling put it."""
    from sunpy.map import Map

    factor, scale = SIDE // side, _RADIUS / number(header, "rsun_obs")
    header = header | {"naxis1": side, "naxis2": side}
    for key in ("crpix1", "crpix2"):
        # The scaling left the pixel behind the center where it was.
        fixed = SIDE / 2 + 1
        header[key] = (fixed + scale * (factor * number(header, key) - fixed) - 0.5) / factor + 0.5
    return Map(np.broadcast_to(0.0, (side, side)), header).wcs
