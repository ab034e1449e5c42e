"""Images of a result as plain arrays, for plots."""

import numpy as np

from sunpy_demreg._common.sums import contract
from sunpy_demreg._results.checks import range_functional, stored_emission_measure

__all__ = ["emission_measure_image", "log_limits", "unresolved_image"]


def emission_measure_image(result, temperature_range, name="temperature_range", resolved=None):
    """
    Emission measure in cm-5, without its error.

    Of the bins that are resolved only, (m, ...), where these are given; then NaN where there is none.
    """
    if (stored := stored_emission_measure(result, temperature_range)) is not None:
        return np.asarray(stored.data)
    functional = range_functional(result, temperature_range, name)[None]
    dem = result["dem"].data
    if resolved is None:
        return np.asarray(contract(functional, dem)[0])
    image = np.asarray(contract(functional, np.where(resolved, dem, 0.0))[0])
    return np.where(np.any(resolved, axis=0), image, np.nan)


def unresolved_image(result, temperature_range, resolved):
    """Where most of the emission measure in a range is in bins that are not resolved."""
    whole = emission_measure_image(result, temperature_range)
    functional = range_functional(result, temperature_range)[None]
    part = np.asarray(contract(functional, np.where(resolved, result["dem"].data, 0.0))[0])
    return part < 0.5 * whole  # False for NaN


def log_limits(images, vmin=None, vmax=None):
    """Color limits: the 0.1st and the 99.9th percentile of all images, but at most three decades below the latter."""
    values = np.concatenate([image[np.isfinite(image) & (image > 0)] for image in images])
    low, high = np.percentile(values, [0.1, 99.9]) if values.size else (0.0, 1.0)
    if vmax is None:
        vmax = high
    if vmin is None:
        vmin = max(low, vmax * 1e-3) if low < vmax else vmax * 1e-3
    return vmin, vmax
