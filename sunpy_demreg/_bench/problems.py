"""The real pixels that are inverted: the bundled sample, six channels of AIA, with all counts positive."""

from functools import cache

import numpy as np

import astropy.units as u

import sunpy_demreg as demreg

__all__ = ["COMMON", "kept_pixels", "n_pixels_of_sample", "problem"]

#: Pixels that every problem holds, so that the answers of all codes can be compared.
COMMON = 200
LOW, HIGH = 5.6, 7.4  # log T


@cache
def _sample():
    cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=16)
    good = np.all(cube.data > 0, axis=0)
    return cube.data[:, good], cube.uncertainty.array[:, good], demreg.TemperatureResponse.from_aia(cube)


def n_pixels_of_sample():
    """How many there are."""
    return _sample()[0].shape[1]


def _chosen(n_pixels):
    """Pixels spread evenly over the sample, in the order of the image, the common ones among them."""
    n_all = n_pixels_of_sample()
    common = _evenly(np.arange(n_all), COMMON)
    others = _evenly(np.setdiff1d(np.arange(n_all), common), n_pixels - COMMON)
    return np.sort(np.concatenate([common, others])), common


def _evenly(values, number):
    return values[np.linspace(0, values.size - 1, number).astype(int)]


def kept_pixels(n_pixels):
    """Where the common pixels are in a problem of so many."""
    chosen, common = _chosen(n_pixels)
    return np.searchsorted(chosen, common).tolist()


def problem(n_pixels, n_bins):
    """
    What a code is given.

    Parameters
    ----------
    n_pixels : int
        At least `COMMON`; at most as many as the sample has.
    n_bins : int
        Even in log T from 5.6 to 7.4.

    Returns
    -------
    dict
        Plain arrays: ``intensity`` and ``sigma``, (channels, pixels), DN / (pix s); ``response``, (channels,
        temperatures), DN cm5 / (pix s), at ``temperature``, K; ``at_centers``, the same at the ``centers`` of the bins
        with the ``edges``; ``matrix``, (channels, bins), which makes intensities of a DEM.
    """
    intensity, sigma, response = _sample()
    chosen, _ = _chosen(n_pixels)
    edges = 10 ** np.linspace(LOW, HIGH, n_bins + 1)
    centers = np.sqrt(edges[1:] * edges[:-1])
    at_centers = response.at(centers * u.K).value
    return {
        "key": (n_pixels, n_bins),
        "channels": response.channels,
        "intensity": np.ascontiguousarray(intensity[:, chosen]),
        "sigma": np.ascontiguousarray(sigma[:, chosen]),
        "temperature": response.temperature.to_value(u.K),
        "response": response.response.value,
        "edges": edges,
        "centers": centers,
        "at_centers": at_centers,
        "matrix": at_centers * centers * np.log(edges[1:] / edges[:-1]),
    }
