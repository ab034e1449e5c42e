"""Maps that have been planned, as arrays: interpolated ones are measured, and moved where that is planned."""

import numpy as np

import astropy.units as u

from sunpy_demreg._channels.calibrate import calibrate
from sunpy_demreg._channels.plan import moved
from sunpy_demreg._channels.shifts import LEAST_SIDE, residual_shifts, shift_errors, why_unknown
from sunpy_demreg._common.hardware import available_cores
from sunpy_demreg._common.warnings import DataWarning, warn

__all__ = ["aligned", "calibrated"]

_MAX_RESIDUAL = 1.0  # pixels
_MIN_MOVE = 0.1  # pixels: less is not worth an interpolation


def calibrated(preparation):
    """Intensity, uncertainty and mask of maps that have been planned, as from `calibrate`."""
    planes = [(smap.data, smap.mask, None) for smap in preparation.maps]
    return calibrate(planes, preparation.plan, available_cores())


def aligned(preparation):
    """
    Interpolate maps that have been planned, measure how far they are still shifted, and correct it if that is planned.

    Returns
    -------
    Preparation
        That of the maps where they are now.
    (`numpy.ndarray`, `numpy.ndarray`, `numpy.ndarray`)
        As from `calibrate`.
    dict
        The metadata of the shifts.
    """
    arrays = calibrated(preparation)
    measured, applied, unknown = _measured(preparation.plan, *arrays), {}, None
    if preparation.plan.corrects_shifts:
        moves = _beyond_errors(**measured)
        if np.any(moves):
            preparation = moved(preparation, moves)
            arrays = calibrated(preparation)
            measured = _measured(preparation.plan, *arrays)
        unknown = _without_error(**measured)
        applied = {"applied_shift_x": moves[:, 0] * u.pix, "applied_shift_y": moves[:, 1] * u.pix}
    shape = arrays[0].shape[1:]
    _warn_of_shifts([channel.label for channel in preparation.plan.leading], shape, unknown, **measured)
    return preparation, arrays, measured | applied


def _measured(plan, intensity, _, mask):
    """Shifts and their errors, in pixels before averaging."""
    shifts, errors = (measure(intensity, mask) * plan.grid.bin * u.pix for measure in (residual_shifts, shift_errors))
    return {
        "residual_shift_x": shifts[:, 0],
        "residual_shift_y": shifts[:, 1],
        "residual_shift_error_x": errors[:, 0],
        "residual_shift_error_y": errors[:, 1],
    }


def _beyond_errors(residual_shift_x, residual_shift_y, residual_shift_error_x, residual_shift_error_y):
    """Those of the shifts, (n, 2), that are larger than their error; zero for the others."""
    shifts = np.stack([residual_shift_x.value, residual_shift_y.value], axis=-1)
    errors = np.stack([residual_shift_error_x.value, residual_shift_error_y.value], axis=-1)
    distance = np.hypot(*shifts.T)
    is_beyond = (distance > np.hypot(*errors.T)) & (distance > _MIN_MOVE)  # False for NaN
    return np.where(is_beyond[:, None], shifts, 0)


def _without_error(residual_shift_x, residual_shift_y, residual_shift_error_x, residual_shift_error_y):
    """Where it cannot be told whether a shift is larger than its error, (n,)."""
    distance = np.hypot(residual_shift_x, residual_shift_y).to_value(u.pix)
    has_error = np.isfinite(np.hypot(residual_shift_error_x, residual_shift_error_y))
    return np.isnan(distance) | (~has_error & (distance > _MIN_MOVE))


def _warn_of_shifts(channels, shape, unknown, **measured):
    """Tell what is still shifted; `unknown` are the channels that were to be moved and could not, if any were."""
    x, y, *errors = (values.to_value(u.pix) for values in measured.values())
    distances, errors = np.hypot(x, y), np.nan_to_num(np.hypot(*errors))
    was_asked = unknown is not None
    told = unknown if was_asked else np.zeros(len(channels), dtype=bool)
    where = "(`meta['residual_shift_x']` and `..._y` of the cube tell how far)"
    if told.any():
        reasons = {}
        for name, distance in zip(np.array(channels)[told], distances[told], strict=True):
            by = f" (by {distance:.1f} pixels)" if np.isfinite(distance) else ""
            reasons.setdefault(why_unknown(distance, shape, channels[0]), []).append(f"{name}{by}")
        names = "; ".join(f"{', '.join(of)}: {reason}" for reason, of in reasons.items())
        larger = "a larger image or a smaller `bin`, " if min(shape) < LEAST_SIDE else ""
        cures = f"give a `pointing_table`, {larger}or move the maps with `shift_reference_coord` {where}"
        warn(DataWarning, f": `correct_shifts` did not move {names}; {cures}", "maps")
    is_far = (distances > np.maximum(_MAX_RESIDUAL, errors)) & ~told
    if is_far.any():
        pairs = zip(np.array(channels)[is_far], distances[is_far], strict=True)
        warn(
            DataWarning,
            f"are still shifted against {channels[0]}, in pixels: "
            f"{', '.join(f'{name} by {distance:.1f}' for name, distance in pairs)}; give a `pointing_table`, or move "
            f"them, with {'' if was_asked else '`correct_shifts=True` or '}`shift_reference_coord` {where}",
            "maps",
        )
