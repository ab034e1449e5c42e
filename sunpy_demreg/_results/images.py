"""Images of a result as plain arrays, for plots."""

import numpy as np

from sunpy_demreg._common.sums import contract
from sunpy_demreg._results.checks import range_functional

__all__ = ["emission_measure_image", "log_limits"]


def emission_measure_image(result, temperature_range, name="temperature_range"):
    """Emission measure in cm-5, without its error."""
    return np.asarray(contract(range_functional(result, temperature_range, name)[None], result["dem"].data)[0])


def log_limits(images, vmin=None, vmax=None):
    """Color limits: three decades, ending at the 99.9th percentile of all images."""
    if vmax is None:
        values = np.concatenate([image[np.isfinite(image) & (image > 0)] for image in images])
        vmax = np.percentile(values, 99.9) if values.size else 1.0
    return (vmax * 1e-3 if vmin is None else vmin), vmax
