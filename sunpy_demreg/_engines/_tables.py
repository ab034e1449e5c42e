"""What all pixels share, made once per inversion."""

from typing import NamedTuple

import numpy as np

from sunpy_demreg._regularization import channel_pairs

__all__ = ["N_SAMPLES", "OUTPUTS", "Tables", "make_tables", "output_length"]

#: Temperatures at which the width of the resolution kernel is measured.
N_SAMPLES = 51

#: The outputs of the text, in the order of `Solution`, and the number of values of each per pixel.
OUTPUTS = {
    "dem": "bins",
    "dem_uncertainty": "bins",
    "temperature_resolution": "bins",
    "chi_squared": "one",
    "predicted_intensity": "channels",
    "regularization_parameter": "one",
    "status": "one",
}


class Tables(NamedTuple):
    """Plain float64 arrays; n channels, m bins, pairs of channels as in `channel_pairs`."""

    response: np.ndarray  # (n, m), scaled
    response_pair: np.ndarray  # (pairs, m): K_i K_k
    shared_gram: np.ndarray  # (pairs,): K dlogT K^T
    dlogt: np.ndarray  # (m,)
    sample: np.ndarray  # (N_SAMPLES,), log10 T
    left: np.ndarray  # (N_SAMPLES,), int64: the bin to the left of each sample
    fraction: np.ndarray  # (N_SAMPLES,): how far from there to the next bin
    scalars: dict  # target, growth, scale


def make_tables(K, dlogt, logt, *, scale, target, growth):
    """
    Tabulate what the text asks for.

    Parameters
    ----------
    K : array, (n, m)
        Response matrix.
    dlogt, logt : array, (m,)
        Widths and centers of the bins in log10 T.
    scale : float
        The response is multiplied by it, and so is the DEM afterwards.
    target, growth : float
        Misfit to aim at, and the factor by which it is relaxed.
    """
    K = K * scale
    pair = np.array([K[i] * K[k] for i, k in channel_pairs(len(K))])
    count = np.arange(N_SAMPLES)
    sample = logt[0] + 1e-8 + (logt[-1] - logt[0]) * count / N_SAMPLES
    left = np.clip(np.searchsorted(logt, sample, side="right") - 1, 0, logt.size - 2)
    return Tables(
        response=K,
        response_pair=pair,
        # Summed bin by bin: the order must not depend on a library.
        shared_gram=np.cumsum(pair * dlogt, axis=1)[:, -1],
        dlogt=dlogt,
        sample=sample,
        left=left.astype(np.int64),
        fraction=(sample - logt[left]) / (logt[left + 1] - logt[left]),
        scalars={"target": target, "growth": growth, "scale": scale},
    )


def output_length(name, n, m):
    """How many values per pixel an output has."""
    return {"bins": m, "channels": n, "one": 1}[OUTPUTS[name]]
