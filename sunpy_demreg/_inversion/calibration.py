"""Calibration errors: what the uncertainty of the data does not hold, because it is no noise."""

from collections.abc import Mapping

import numpy as np

from ndcube import NDCube

from sunpy_demreg._channels.uncertainty import read_error_table
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.validators import a_kind, as_number, as_wavelength, near_channel

__all__ = ["as_channel_errors", "as_common_error", "cube_with_channel_errors", "with_channel_errors"]

_RULE = "must be a fraction of the intensity such as 0.25, a dict of one for each channel, or 'atomic'"


def as_channel_errors(value, channels, meta):
    """
    The relative error of each channel, in a dict by its label; None where there is none.

    Parameters
    ----------
    value
        The argument `calibration_error` of `sunpy_demreg.invert`.
    channels : tuple of `str`
        Labels, such as "AIA 171".
    meta : dict
        Of the data, which may tell that they have such errors, or those of the atomic data, already.
    """
    name, known = "calibration_error", errors_in(meta, channels)
    if value is None:
        return known
    if known is not None:
        raise wrong(
            ValueError,
            name,
            f"is in the uncertainty of `data` already, as their `meta` says ({_told(known)}), and would count twice: "
            "leave it out, or pass the original data",
        )
    if isinstance(value, str):
        if value != "atomic":
            raise wrong(ValueError, name, f"{_RULE}, but is {a_kind(value)}")
        if meta.get("include_chianti"):
            raise wrong(
                ValueError,
                name,
                "'atomic' would count the errors of the atomic data twice, as `data` were prepared with "
                "`include_chianti=True`: leave one of them out",
            )
        return _of_atomic_data(channels)
    if isinstance(value, Mapping):
        fractions = {}
        for key, fraction in value.items():
            channel = _as_label(key, channels)
            if channel is None:
                raise wrong(
                    ValueError,
                    name,
                    f"has {a_kind(key)}, but the channels are {', '.join(map(repr, channels))}"
                    f"{near_channel(key, channels)}",
                )
            if channel in fractions:
                raise wrong(ValueError, name, f"has two values for {channel}: leave one out")
            fractions[channel] = _as_fraction(f"{name}[{channel!r}]", fraction)
        return {channel: fractions.get(channel, 0.0) for channel in channels}
    try:
        return dict.fromkeys(channels, _as_fraction(name, value))
    except TypeError:
        raise wrong(TypeError, name, f"{_RULE}, but is {a_kind(value)}") from None


def errors_in(meta, channels):
    """The relative errors that the uncertainty of the data holds already, by channel; None if it holds none."""
    known = meta.get("calibration_error")
    if np.shape(known) != (len(channels),):
        return None
    return {channel: float(error or 0.0) for channel, error in zip(channels, known, strict=True)}


def as_common_error(value, outputs):
    """The relative error that all channels share, or None."""
    if value is None:
        return None
    if "covariance" in outputs and "dem" not in outputs:
        raise wrong(
            ValueError,
            "outputs",
            "has 'covariance' but not 'dem', which `common_calibration_error` is a fraction of: add 'dem'",
        )
    return _as_fraction("common_calibration_error", value)


def with_channel_errors(pixels, errors):
    """
    The channel data with these errors in their uncertainty, unless they have them.

    Those of the channels are independent, so they add to the noise of each in quadrature. An intensity below zero is
    noise, which has none.
    """
    if errors is None or errors_in(pixels.meta, tuple(errors)) is not None:
        return pixels
    return pixels._replace(uncertainty=_with_errors(pixels.intensity, pixels.uncertainty, errors))


def cube_with_channel_errors(cube, value):
    """
    The cube of `sunpy_demreg.prepare` with these errors in its uncertainty, as its ``meta`` then tells `invert`.

    Parameters
    ----------
    cube : `ndcube.NDCube`
    value
        The argument `calibration_error` of `sunpy_demreg.invert`.
    """
    channels = tuple(cube.meta["channels"])
    errors = as_channel_errors(value, channels, cube.meta)
    if value is None or errors is None:
        return cube
    error = cube.uncertainty
    uncertainty = type(error)(_with_errors(cube.data, error.array, errors), copy=False)
    meta = dict(cube.meta) | {"calibration_error": tuple(errors[channel] for channel in channels)}
    return NDCube(cube.data, cube.wcs, uncertainty=uncertainty, mask=cube.mask, unit=cube.unit, meta=meta)


def _with_errors(intensity, uncertainty, errors):
    fraction = np.array([*errors.values()], dtype=float, like=intensity).reshape(-1, *(1,) * (intensity.ndim - 1))
    return np.hypot(uncertainty, fraction * np.fmax(intensity, 0.0))


def _told(errors):
    return ", ".join(f"{channel}: {fraction:g}" for channel, fraction in errors.items())


def _as_label(key, channels):
    """The channel of a name, or of AIA, a wavelength; None if it is none of them."""
    if isinstance(key, str) and key in channels:
        return key
    try:
        label = f"AIA {as_wavelength(key)}"
    except (TypeError, ValueError):
        return None
    return label if label in channels else None


def _as_fraction(name, value):
    return as_number(name, value, least=0, most=1, of="(a fraction of the intensity)")


def _of_atomic_data(channels):
    """Those of the CHIANTI emissivities by the error table of AIA."""
    table = read_error_table(None)
    known = {f"AIA {row['WAVELNTH'].value:g}": float(row["CHIANTI"]) for row in table}
    unknown = [channel for channel in channels if channel not in known]
    if unknown:
        raise wrong(
            ValueError,
            "calibration_error",
            f"'atomic' is known for the channels of AIA only, not for {', '.join(unknown)}: pass a dict of fractions",
        )
    return {channel: known[channel] for channel in channels}
