"""What is inverted: real pixels, in an order whose beginning is a fair sample, and the bins."""

from functools import cache
from typing import NamedTuple

import numpy as np

import astropy.units as u

__all__ = ["COARSE", "Problem", "Workload", "edges", "load_workload", "misfit"]

COARSE = 41  # bins of the measurements that do not vary them
_PATCH = 100  # neighbors stay together: an image is what comes in reality
_LOG_RANGE = 5.6, 7.4


class Problem(NamedTuple):
    """Of a number of bins; n channels, m bins."""

    K: object  # (n, m): intensity = K @ dem
    dlogt: object
    logt: object


class Workload(NamedTuple):
    """Pixels with counts in all channels; n channels, N pixels."""

    intensity: object  # (n, N)
    sigma: object  # (n, N)
    unit: object
    response: object  # TemperatureResponse

    def pixels(self, number):
        """The first ones."""
        return tuple(np.ascontiguousarray(a[:, :number]) for a in (self.intensity, self.sigma))

    def quantities(self, number):
        """The same with their unit."""
        return tuple(a * self.unit for a in self.pixels(number))

    def problem(self, n_bins):
        """The response matrix, from the response alone: what all answers are checked with."""
        log_edges = np.log10(edges(n_bins).to_value(u.K))
        dlogt, logt = np.diff(log_edges), 0.5 * (log_edges[1:] + log_edges[:-1])
        return Problem(self.response.at(10**logt * u.K).value * 10**logt * np.log(10) * dlogt, dlogt, logt)


def edges(n_bins):
    """Of even bins."""
    return 10 ** np.linspace(*_LOG_RANGE, n_bins + 1) * u.K


@cache
def load_workload():
    """The bundled sample, cut into runs of neighbors, in random order."""
    import sunpy_demreg as demreg

    cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=16)
    good = np.all(cube.data > 0, axis=0)
    order = np.random.default_rng(0).permutation(good.sum() // _PATCH)
    order = (order[:, None] * _PATCH + np.arange(_PATCH)).ravel()
    intensity, sigma = (a[:, good][:, order] for a in (cube.data, cube.uncertainty.array))
    return Workload(intensity, sigma, cube.unit, demreg.TemperatureResponse.from_aia(cube))


def misfit(K, intensity, sigma, dem):
    """Chi-squared per channel of DEMs (m, N)."""
    return np.mean(((intensity - K @ dem) / sigma) ** 2, axis=0)
