"""
The tables of the log-normal method: its prior of the logarithm of the emission measure per dex.

They are of the bins alone, and made by NumPy.
"""

from typing import NamedTuple

import numpy as np

__all__ = ["RANK", "Prior", "make_prior"]

#: Coefficients of a pixel: the leading eigenvectors of the covariance. With fewer bins, the others are zero.
RANK = 13
_CONSTANT = 100.0  # variance of a constant that is added to the logarithm: nothing is known of its level
_MEAN_WIDTH = 0.25  # dex, that the first pass is averaged over
_RIDGE = 1e-3  # of the start, in units of the mean variance of a bin


class Prior(NamedTuple):
    """m bins, ``RANK`` coefficients."""

    prior: np.ndarray  # F (m, RANK): the covariance is F F^T
    to_prior: np.ndarray  # (m, RANK): whose transpose takes a logarithm to its coefficients
    mean: np.ndarray  # (m, neighbors): what a mean over some width takes of a bin and those beside it
    mean_start: np.ndarray  # (m,), int64: the first of these bins


def make_prior(dlogt, amplitude, correlation_length):
    """
    Tabulate.

    Parameters
    ----------
    dlogt : array, (m,)
        Widths of the bins in log10 T, which adjoin.
    amplitude : float
        Standard deviation of the logarithm.
    correlation_length : float
        Dex.
    """
    dlogt = np.asarray(dlogt, dtype=float)
    edges = np.concatenate([[0.0], np.cumsum(dlogt)])
    centers = 0.5 * (edges[1:] + edges[:-1])
    distance = np.sqrt(3.0) * np.abs(np.subtract.outer(centers, centers)) / correlation_length
    covariance = amplitude**2 * (1.0 + distance) * np.exp(-distance) + _CONSTANT  # Matern, of the order 3/2
    # Eigenvectors under the measure of log T, so that they are the same for bins of other widths.
    root = np.sqrt(dlogt / dlogt.mean())
    values, vectors = np.linalg.eigh(root[:, None] * covariance * root)
    rank = min(RANK, dlogt.size)
    prior = np.zeros((dlogt.size, RANK))
    prior[:, :rank] = vectors[:, ::-1][:, :rank] * np.sqrt(np.maximum(values[::-1][:rank], 0.0)) / root[:, None]
    ridge = _RIDGE * (prior * prior).sum() / dlogt.size
    to_prior = prior @ np.linalg.inv(prior.T @ prior + ridge * np.eye(RANK))
    return Prior(prior, to_prior, *_mean_table(edges, centers, dlogt))


def _mean_table(edges, centers, dlogt):
    """Of the first pass, the two end bins count as empty: where the response is small, they are the least certain."""
    half = np.maximum(0.5 * _MEAN_WIDTH, 0.5 * dlogt)[:, None]
    overlap = np.minimum(centers[:, None] + half, edges[1:]) - np.maximum(centers[:, None] - half, edges[:-1])
    share = np.maximum(overlap, 0.0) / (2.0 * half)
    share[:, [0, -1]] = 0.0
    m = dlogt.size
    is_near = share > 0.0
    first = np.where(is_near.any(axis=1), is_near.argmax(axis=1), 0)
    last = np.where(is_near.any(axis=1), m - 1 - is_near[:, ::-1].argmax(axis=1), 0)
    n_neighbors = int((last - first).max()) + 1
    first = np.minimum(first, m - n_neighbors)
    neighbors = first[:, None] + np.arange(n_neighbors)
    return np.take_along_axis(share, neighbors, axis=1), first.astype(np.int64)
