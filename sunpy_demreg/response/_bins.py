"""Temperature bins, their response matrix, and emission measures of temperature ranges."""

import numpy as np

import astropy.units as u

from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.validators import check_quantity

__all__ = ["TemperatureBins", "are_inside"]

_ROUNDING = 1e-9  # relative: powers of ten are rounded differently on different platforms


class TemperatureBins:
    """
    Temperature bins, given by their edges.

    Attributes
    ----------
    edges : `~astropy.units.Quantity`, (m + 1,)
        In K.
    log_edges : array, (m + 1,)
        Their log10.
    centers : `~astropy.units.Quantity`, (m,)
        The geometric mean of the edges of each bin, in K.
    emission_per_dem : array, (m,)
        Emission measure, in cm-5, of a bin whose DEM is 1 cm-5 K-1.
    """

    def __init__(self, edges):
        self.edges = edges.to(u.K)
        self.log_edges = np.log10(self.edges.value)
        self.centers = np.sqrt(self.edges[1:]) * np.sqrt(self.edges[:-1])
        self.emission_per_dem = self.centers.to_value(u.K) * np.log(10) * np.diff(self.log_edges)

    def response_matrix(self, response):
        """K (n, m), in the unit of the response less cm5 per cm-5 K-1: intensity = K @ dem."""
        return response.at(self.centers).value * self.emission_per_dem

    def em_functional(self, ranges, name="emission_measure_ranges"):
        """The matrix (q, m) that maps a DEM to the emission measures in temperature ranges, which may cut bins."""
        if ranges is None:
            return None
        check_quantity(name, ranges, u.K, "[[1e6, 2e6], [2e6, 4e6]] * u.K")
        limits = np.atleast_2d(ranges.to_value(u.K)).astype(float)
        if limits.ndim != 2 or limits.shape[1] != 2 or not limits.size:
            raise wrong(
                ValueError, name, f"must be pairs of temperatures, of the shape (number, 2), not {ranges.shape}"
            )
        low, high = 10 ** self.log_edges[[0, -1]]
        if not (are_inside(limits, low, high) and np.all(limits[:, 0] < limits[:, 1])):
            raise wrong(
                ValueError,
                name,
                f"must be ascending pairs inside the temperature bins, {low:.4g} to {high:.4g} K, but are "
                f"{_told(limits)}",
            )
        limits = np.log10(limits)[:, :, None]
        inside = np.minimum(limits[:, 1], self.log_edges[1:]) - np.maximum(limits[:, 0], self.log_edges[:-1])
        return np.clip(inside / np.diff(self.log_edges), 0, 1) * self.emission_per_dem


def _told(limits):
    """Pairs of temperatures as text, the first few of many."""
    told = [f"{low:.4g} to {high:.4g} K" for low, high in limits[:3]]
    return ", ".join(told) + (", ..." if len(limits) > 3 else "")


def are_inside(temperatures, low, high):
    """Whether all temperatures are between two others, up to rounding."""
    return bool(np.all((temperatures >= low * (1 - _ROUNDING)) & (temperatures <= high * (1 + _ROUNDING))))
