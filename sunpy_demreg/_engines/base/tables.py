"""
Tables that all pixels share, made once per inversion.

The unknown of an inversion is the DEM, or the emission measure per dex: the response matrix and the functionals are
those of the unknown.
"""

from itertools import combinations_with_replacement
from math import log
from typing import NamedTuple

from array_api_compat import array_namespace, device

from sunpy_demreg._engines.base.prior import make_prior

__all__ = [
    "FLOAT_TABLES",
    "INTEGER_TABLES",
    "N_SAMPLES",
    "SCALARS",
    "Tables",
    "channel_pairs",
    "make_tables",
    "scale_of",
]

N_SAMPLES = 51  # temperatures at which the width of the resolution kernel is measured, as in the reference
REFERENCE_SCALE = 1e15  # the reference multiplies the response by this; its grid of lam depends on it
_SMALLEST = 2.0**-1022  # number with all digits
SCALARS = (
    "target",
    "growth",
    "scale",
    "max_iterations",
    "n_samples",
    "largest_bit",
    "largest_response",
    "sample_width",
    "max_width",
    "per_range",
    "largest_prior",
)


class Tables(NamedTuple):
    """Bins first; n channels, m bins, pairs of channels as in `channel_pairs`."""

    response: object  # (m, n), scaled
    response_pair: object  # (m, pairs): K_i K_k
    shared_weight: object  # (m,): v = L^-2 of the first pass
    shared_gram: object  # (pairs,): K v K^T
    dlogt: object  # (m,)
    functional: object  # (q, m)
    dem_per_unknown: object  # (m,): the DEM that a unit of the unknown is
    place: object  # (m,): log10 T, from the middle of all bins
    scalars: object  # in the order of SCALARS
    # Of the samples of log10 T at which the width of the resolution is measured:
    fraction: object  # (N_SAMPLES,): position between the bin to its left and the next one
    left: object  # (N_SAMPLES,), int64: the bin to the left
    first_sample: object  # (m,), int64: the first sample that is not left of the previous bin
    last_sample: object  # (m,), int64: the last sample that is not right of the next bin
    # Of the log-normal method, as in `Prior`; else None:
    prior: object  # (m, RANK)
    response_prior: object  # (m, n RANK): K_i F_r
    to_prior: object  # (m, RANK)
    mean: object  # (m, neighbors)
    mean_start: object  # (m,), int64


INTEGER_TABLES = ("left", "first_sample", "last_sample", "mean_start")
FLOAT_TABLES = tuple(name for name in Tables._fields if name not in INTEGER_TABLES)


def make_tables(problem):
    """Tabulate a `Problem`, with the arrays of its library."""
    (dlogt, logt), K, options, weight, functional, _ = problem
    xp = array_namespace(K, dlogt, logt)
    kind = {"dtype": K.dtype, "device": device(K)}
    n, m = K.shape
    dem_per_unknown = xp.ones_like(dlogt)
    is_of_em = _is_of_em(options)
    if is_of_em:
        dem_per_unknown = _dem_per_em(logt)
        functional = None if functional is None else functional * dem_per_unknown
    of_unknown = K * dem_per_unknown
    scale = _scale(of_unknown, options, is_of_em)
    # What is too small for all its digits on the way is multiplied at once.
    is_small = xp.abs(of_unknown) < _SMALLEST
    K = xp.where(is_small, K * (dem_per_unknown * scale), of_unknown * scale)
    pairs = xp.stack([K[i, :] * K[k, :] for i, k in channel_pairs(n)])
    # The first pass of "lognormal" is in the logarithm of T, whatever the bins: the response has dlogT in it.
    v = 1.0 / dlogt if options.method == "lognormal" else dlogt
    if weight is not None and weight.ndim == 1:
        v = weight * weight if options.is_squared else xp.abs(weight) / dlogt
    count = xp.arange(N_SAMPLES, **kind)
    sample = logt[0] + 1e-8 + (logt[m - 1] - logt[0]) * count / N_SAMPLES
    left = xp.clip(xp.searchsorted(logt, sample, side="right") - 1, 0, m - 2)
    bins = xp.arange(m, dtype=left.dtype, device=device(K))
    lower, upper = xp.take(logt, left), xp.take(logt, left + 1)
    prior, *prior_tables = _prior_tables(K, dlogt, options)
    numbers = (  # in the order of SCALARS
        n * options.chi_squared_target,
        options.target_growth,
        scale,
        options.max_iterations,
        options.n_samples,
        2 ** ((options.n_samples - 1).bit_length() - 1),
        float(xp.max(K)),
        float(logt[m - 1] - logt[0]) / N_SAMPLES,
        options.max_width,
        1.0 / float(xp.sum(dlogt)),
        0.0 if prior is None else float(xp.max(xp.abs(prior))),
    )
    return Tables(
        response=xp.permute_dims(K, (1, 0)),
        response_pair=xp.permute_dims(pairs, (1, 0)),
        shared_weight=v,
        shared_gram=xp.sum(pairs * v, axis=1),
        dlogt=dlogt,
        functional=xp.zeros((0, m), **kind) if functional is None else functional,
        dem_per_unknown=dem_per_unknown,
        place=logt - 0.5 * (logt[0] + logt[m - 1]),
        scalars=xp.asarray(numbers, **kind),
        fraction=(sample - lower) / (upper - lower),
        left=xp.astype(left, xp.int64),
        first_sample=xp.clip(xp.astype(xp.searchsorted(left, bins - 1), xp.int64), 0, N_SAMPLES - 1),
        last_sample=xp.clip(xp.astype(xp.searchsorted(left, bins, side="right") - 1, xp.int64), 0, N_SAMPLES - 1),
        prior=prior,
        **dict(zip(Tables._fields[-4:], prior_tables, strict=True)),
    )


def scale_of(problem):
    """What the response is multiplied by; lam goes with its square."""
    K, options = problem.K, problem.options
    is_of_em = _is_of_em(options)
    return _scale(K * _dem_per_em(problem.bins.centers) if is_of_em else K, options, is_of_em)


def _is_of_em(options):
    return options.solve_for == "emission_measure" or options.method == "lognormal"


def _dem_per_em(logt):
    """Per dex: dEM = DEM T ln(10) dlogT."""
    return 1.0 / (10.0**logt * log(10.0))


def _scale(K, options, is_of_em):
    """
    Make lam a pure number.

    It is the reference's own where its grid is to be reproduced; otherwise it follows the response, so that no unit can
    change the answer.
    """
    if options.parameter_choice == "grid" and not is_of_em:
        return REFERENCE_SCALE
    return 1.0 / float(array_namespace(K).max(K))


def _prior_tables(K, dlogt, options):
    """In the order of `Tables`."""
    if options.method != "lognormal":
        return (None,) * 5
    xp, kind = array_namespace(K), {"dtype": K.dtype, "device": device(K)}
    widths = [float(width) for width in dlogt]  # of whichever library
    *floats, mean_start = make_prior(widths, options.prior_amplitude, options.prior_correlation_length)
    prior, to_prior, mean = (xp.asarray(table, **kind) for table in floats)
    response_prior = xp.reshape(xp.permute_dims(K, (1, 0))[:, :, None] * prior[:, None, :], (dlogt.shape[0], -1))
    return prior, response_prior, to_prior, mean, xp.asarray(mean_start, device=device(K))


def channel_pairs(n):
    """The pairs i <= k of channels, in the order of the table of ``K_i K_k``."""
    return list(combinations_with_replacement(range(n), 2))
