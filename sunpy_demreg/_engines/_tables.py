"""What all pixels share, made once per inversion."""

from typing import NamedTuple

import numpy as np

from sunpy_demreg._engines._text import channel_pairs
from sunpy_demreg._regularization import N_RESOLUTION_SAMPLES as N_SAMPLES

__all__ = ["FLOAT_TABLES", "N_SAMPLES", "OUTPUTS", "SCALARS", "Tables", "make_tables"]

#: The outputs of the text: the names of `sunpy_demreg._regularization.Solution`.
OUTPUTS = (
    "dem",
    "dem_uncertainty",
    "temperature_resolution",
    "chi_squared",
    "predicted_intensity",
    "regularization_parameter",
    "status",
)
SCALARS = ("target", "growth", "scale")
FLOAT_TABLES = ("response", "response_pair", "shared_gram", "dlogt", "sample", "fraction")


class Tables(NamedTuple):
    """Plain arrays, bins first; n channels, m bins, pairs of channels as in `channel_pairs`."""

    response: np.ndarray  # (m, n), scaled
    response_pair: np.ndarray  # (m, pairs): K_i K_k
    shared_gram: np.ndarray  # (pairs,): K dlogT K^T
    dlogt: np.ndarray  # (m,)
    sample: np.ndarray  # (N_SAMPLES,): temperatures at which the width of the resolution is measured, log10
    fraction: np.ndarray  # (N_SAMPLES,): how far from the bin to its left to the next one
    left: np.ndarray  # (N_SAMPLES,), int64: the bin to the left
    scalars: np.ndarray  # in the order of SCALARS


def make_tables(K, dlogt, logt, *, scale, target, growth):
    """Tabulate; the arguments are those of `sunpy_demreg._regularization.solve` and the numbers of the text."""
    K = K * scale
    pair = np.array([K[i] * K[k] for i, k in channel_pairs(len(K))])
    sample = logt[0] + 1e-8 + (logt[-1] - logt[0]) * np.arange(N_SAMPLES) / N_SAMPLES
    left = np.clip(np.searchsorted(logt, sample, side="right") - 1, 0, logt.size - 2)
    return Tables(
        response=np.ascontiguousarray(K.T),
        response_pair=np.ascontiguousarray(pair.T),
        shared_gram=pair @ dlogt,
        dlogt=np.ascontiguousarray(dlogt),
        sample=sample,
        fraction=(sample - logt[left]) / (logt[left + 1] - logt[left]),
        left=left.astype(np.int64),
        scalars=np.array([target, growth, scale], dtype=float),
    )
