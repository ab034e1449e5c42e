"""The uncertainty of images in stores of SDOMLv2, which follows from how they were made: see `read_sdoml`."""

from functools import lru_cache

import numpy as np

__all__ = ["AVERAGED", "MODEL", "SIDE", "calibrated", "excess", "squared_weights"]

SIDE = 1024  # pixels of the synoptic images that the store was made of
#: What a batch records; another number stands for another model.
MODEL = "SDOMLv2, 1: weights of scaling and averages, excess of averages over positive values"
AVERAGED = 16  # pixels of AIA in each of theirs


def calibrated(values, parameters, *, channels, errors, floors, saturation):
    """Intensity, uncertainty and mask of images, (channel, time, y, x)."""
    values = values.astype(float)
    is_bad = ~(values > 0) | ~np.isfinite(values)
    values[is_bad] = np.nan
    sigma = np.empty_like(values)
    counts = values * parameters[0]
    for i, channel in enumerate(channels):
        for k in range(values.shape[1]):
            weights = squared_weights(values.shape[-1], float(parameters[2, i, k, 0, 0]))
            raw = np.where(is_bad[i, k], 0.0, counts[i, k])
            noise = errors.of_counts(raw, channel, AVERAGED / np.outer(weights, weights))
            of_one = errors.of_counts(raw, channel, AVERAGED)
            sigma[i, k] = np.hypot(noise, excess(raw, of_one)) / parameters[0, i, k]
    with np.errstate(invalid="ignore"):
        is_saturated = counts > saturation
        values *= parameters[1]
        sigma *= parameters[1]
        floor = np.reshape(floors, (-1, 1, 1, 1)) * values
        np.fmax(sigma, floor, out=sigma)
    sigma[is_bad], sigma[is_saturated] = np.nan, np.inf
    return values, sigma, is_bad | is_saturated


@lru_cache(maxsize=64)
def squared_weights(side, scale):
    """Along an axis, the sum of the squared weights that synoptic pixels have in each pixel of the store."""
    factor, rows = SIDE // side, np.arange(side)
    sampled = SIDE / 2 + (factor * rows[:, None] + np.arange(factor) - SIDE / 2) / scale
    sampled = np.clip(sampled, 0, SIDE - 1)
    below = np.floor(sampled).astype(int)
    weights = np.zeros((side, factor + 3 + int(factor / scale)))
    for j in range(factor):
        place = below[:, j] - below[:, 0]
        weights[rows, place] += (1 - sampled[:, j] + below[:, j]) / factor
        weights[rows, place + 1] += (sampled[:, j] - below[:, j]) / factor
    return np.sum(weights**2, axis=1)


@lru_cache(maxsize=1)
def _cut_off():
    """Of a normal distribution that is cut off at zero: its mean, and by how much it is above that of the whole."""
    from scipy.special import log_ndtr

    mean = np.linspace(0, 8, 801)
    above = np.exp(-(mean**2) / 2 - log_ndtr(mean)) / np.sqrt(2 * np.pi)
    return mean + above, above


def excess(counts, sigma):
    """By how much averages over positive values are too large on average, if those of all would not be negative."""
    return sigma * np.interp(counts / sigma, *_cut_off(), right=0.0)
