"""What a response and temperature bins make together: the response matrix, and emission measures of ranges."""

import numpy as np

import astropy.units as u

from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.validators import check_quantity

__all__ = ["em_functional", "emission_of_bins", "response_matrix"]


def response_matrix(response, edges):
    """
    The discrete problem: intensity = K @ dem.

    Returns
    -------
    K : array, (n, m)
        In the unit of the response less cm5, per cm-5 K-1.
    log_edges : array, (m + 1,)
        log10 of the bin edges in K.
    emission_per_dem : array, (m,)
        Emission measure, in cm-5, of a bin whose DEM is 1 cm-5 K-1.
    """
    log_edges, emission_per_dem = emission_of_bins(edges)
    centers = np.sqrt(edges[1:]) * np.sqrt(edges[:-1])
    return response.at(centers).value * emission_per_dem, log_edges, emission_per_dem


def emission_of_bins(edges):
    """The last two of `response_matrix`."""
    log_edges = np.log10(edges.to_value(u.K))
    centers = np.sqrt(edges[1:]) * np.sqrt(edges[:-1])
    return log_edges, centers.to_value(u.K) * np.log(10) * np.diff(log_edges)


def em_functional(ranges, log_edges, emission_per_dem, name="emission_measure_ranges"):
    """The matrix (q, m) that takes a DEM to the emission measures in temperature ranges, which may cut bins."""
    if ranges is None:
        return None
    check_quantity(name, ranges, u.K, "[[1e6, 2e6], [2e6, 4e6]] * u.K")
    limits = np.atleast_2d(ranges.to_value(u.K)).astype(float)
    if limits.ndim != 2 or limits.shape[1] != 2 or not limits.size:
        raise wrong(ValueError, name, f"must be pairs of temperatures, of the shape (number, 2), not {ranges.shape}")
    low, high = 10 ** log_edges[[0, -1]]
    # Powers of ten are rounded differently in different places.
    is_inside = (limits >= low * (1 - 1e-9)) & (limits <= high * (1 + 1e-9))
    if not (np.all(is_inside) and np.all(limits[:, 0] < limits[:, 1])):
        raise wrong(
            ValueError,
            name,
            f"must be ascending pairs inside the temperature bins, {low:.4g} to {high:.4g} K, but are {ranges}",
        )
    limits = np.log10(limits)[:, :, None]
    inside = np.minimum(limits[:, 1], log_edges[1:]) - np.maximum(limits[:, 0], log_edges[:-1])
    return np.clip(inside / np.diff(log_edges), 0, 1) * emission_per_dem


def bin_centers(edges):
    """Geometric mean of each bin's edges."""
    return np.sqrt(edges[1:]) * np.sqrt(edges[:-1])
