"""
Other codes for the same task, where they are installed.

demregpy (Hannah & Kontar 2012) is the reference of the method here. utu (Plowman & Caspi 2020) is another method,
with a positive DEM that is linear in log T between the centers of our bins, and no errors.
"""

import contextlib
import io
import os
from importlib.metadata import PackageNotFoundError, version
from unittest import mock

import numpy as np

import astropy.units as u

from sunpy_demreg._bench._workload import edges, misfit

__all__ = ["PEERS", "Demregpy", "Utu", "installed"]

_PIECE = 100  # demregpy shares out pieces of this size, from two of them on, to processes
_ELOGT = 0.5 / (2 * np.sqrt(2 * np.log(2)))  # its temperature resolution per full width at half maximum


def installed(name):
    """The version of a distribution, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


class Demregpy:
    """demregpy, called as its documentation says, with as many processes as there are cores."""

    name = "demregpy"
    outputs = "all"

    def __init__(self, workload, n_bins, n_pixels, cores):
        from demregpy import dn2dem

        intensity, sigma = workload.pixels(n_pixels)
        self._dn2dem = dn2dem
        self._pieces = [slice(0, n_pixels)]
        if cores == 1:
            # Below this number it works without processes, which on one core only cost.
            self._pieces = [slice(i, i + _PIECE) for i in range(0, n_pixels, _PIECE)]
        self._cores, self._data = cores, (intensity, sigma)
        self._log_t = np.log10(workload.response.temperature.to_value(u.K))
        self._response, self._edges = workload.response.response.value.T, edges(n_bins).value
        self._K = workload.problem(n_bins).K

    def __call__(self):
        """Its five outputs, pixels first."""
        intensity, sigma = self._data
        # It asks the system for the number of cores, which does not know how many are to be used.
        with contextlib.redirect_stderr(io.StringIO()), mock.patch.multiple(os, **self._counts()):
            answers = [
                self._dn2dem(
                    intensity.T[piece], sigma.T[piece], self._response, self._log_t, self._edges, nmu=42, warn=False
                )
                for piece in self._pieces
            ]
        return [np.concatenate(parts) for parts in zip(*answers, strict=True)]

    def _counts(self):
        return {name: lambda: self._cores for name in ("cpu_count", "process_cpu_count") if hasattr(os, name)}

    def chi_squared(self, answer):
        """Recomputed from the DEM, and as it was reported."""
        return misfit(self._K, *self._data, answer[0].T), answer[3]

    @staticmethod
    def difference(answer, result):
        """
        Of our result by the same rule, relative to each pixel's peak: the largest of each output, over the pixels.

        A temperature resolution of zero, from a kernel that is narrower than its samples, is one bin in ours.
        """
        n_pixels = len(answer[3])
        ours = {
            "dem": result["dem"].data,
            "dem_uncertainty": result["dem"].uncertainty.array,
            "temperature_resolution": result["temperature_resolution"].data * _ELOGT,
            "chi_squared": result["chi_squared"].data[None],
            "predicted_intensity": result["predicted_intensity"].data,
        }
        largest = {}
        for (name, array), other in zip(ours.items(), answer, strict=True):
            array, other = array[:, :n_pixels].T, other.reshape(n_pixels, -1)
            difference = np.where(other == 0, 0, np.abs(array - other))
            largest[name] = float(np.max(difference.max(1) / np.abs(other).max(1)))
        return largest


class Utu:
    """utu.dem.plowman, on as many threads as there are cores."""

    name = "utu"
    outputs = "DEM"

    def __init__(self, workload, n_bins, n_pixels, cores):
        with contextlib.redirect_stderr(io.StringIO()):
            import named_arrays as na
            import numba
            import utu

        numba.set_num_threads(min(cores, numba.config.NUMBA_NUM_THREADS))
        centers = 10 ** workload.problem(n_bins).logt * u.K
        response = workload.response.at(centers)
        intensity, sigma = workload.quantities(n_pixels)
        self._utu, self._data = utu, (intensity.value, sigma.value)
        self._response = response.value
        self._arguments = {
            "intensity": na.ScalarArray(intensity, axes=("channel", "pixel")),
            "uncertainty": na.ScalarArray(sigma, axes=("channel", "pixel")),
            "response": na.FunctionArray(
                inputs=na.ScalarArray(centers, axes="temperature"),
                outputs=na.ScalarArray(response, axes=("channel", "temperature")),
            ),
            "axis_channel": "channel",
            "axis_temperature": "temperature",
        }

    def __call__(self):
        """Its DEM and its chi-squared."""
        return self._utu.dem.plowman(**self._arguments)

    def chi_squared(self, answer):
        """Recomputed from the DEM, by its own rule of integration, and as it was reported."""
        dem, reported = answer
        emission = self._utu.dem.emission_measure(dem, axis_temperature="temperature")
        emission = emission.ndarray_aligned(("temperature", "pixel")).to_value(u.cm**-5)
        # One that failed has a chi-squared of -1.
        reported = np.where(reported.ndarray < 0, np.nan, reported.ndarray)
        return np.where(np.isnan(reported), np.nan, misfit(self._response, *self._data, emission)), reported


PEERS = (Demregpy, Utu)
