"""
The widths of the columns of the resolution matrix, on arrays.

They are the most expensive output: m^2 n operations. Single precision takes half the time; where a bound of its
rounding cannot exclude another answer, the column is computed again in double precision.
"""

from array_api_compat import array_namespace, device

from sunpy_demreg._engines.arrays.operations import contract, with_lanes
from sunpy_demreg._engines.base.precision import LEAST, roundoff
from sunpy_demreg._engines.base.tables import N_SAMPLES

__all__ = ["widths_finder"]


def widths_finder(tables, response, weight, largest_response):
    """
    The ``half_maximum_finder`` that `sunpy_demreg._engines` describes.

    Parameters
    ----------
    tables : `sunpy_demreg._engines.base.tables.Tables`
    response : array, (m, n)
        Or the prior: what the columns are made of.
    weight : array, (m, N)
    largest_response : array, ()
    """
    xp = array_namespace(weight)
    n_terms = response.shape[1]
    # Relative to the largest weight and response, the range of single precision suffices.
    largest_weight = xp.max(weight, axis=0)
    single_weight = xp.astype(weight / largest_weight, xp.float32)
    factor = largest_weight * largest_response
    response = xp.permute_dims(response, (1, 0))
    single_response = xp.astype(response / largest_response, xp.float32)
    fraction = xp.astype(tables.fraction, xp.float32)
    sizes = xp.abs(single_response)
    largest_terms = [xp.max(single_weight * sizes[i, :, None], axis=0) for i in range(n_terms)]
    bounds = roundoff(n_terms) * xp.stack(largest_terms)

    def find_one(h):
        h = xp.stack(h)
        h_single = xp.astype(h * factor, xp.float32)
        tolerance = xp.sum(bounds * xp.abs(h_single), axis=0)
        column = contract(single_response, h_single)
        column *= single_weight
        largest = xp.max(column, axis=0)
        half = 0.5 * largest
        first, last, least = _ends_above(tables, fraction, column, half - tolerance)
        is_uncertain = ~((least >= half + tolerance) & (largest > LEAST))
        if xp.any(is_uncertain):
            lanes = xp.nonzero(is_uncertain)[0]
            column = contract(response, xp.take(h, lanes, axis=1)) * xp.take(weight, lanes, axis=1)
            *again, _ = _ends_above(tables, tables.fraction, column, 0.5 * xp.max(column, axis=0))
            first, last = (with_lanes(xp, a, is_uncertain, b) for a, b in zip((first, last), again, strict=True))
        return tuple(xp.astype(number, weight.dtype) for number in (first, last))

    return lambda *columns: [find_one(h) for h in columns]


def _ends_above(tables, fraction, column, level):
    """The numbers of the first and the last sample above a level, -1 as the last where none is; their lower value."""
    xp = array_namespace(column)
    lower, sample = xp.take(column, tables.left, axis=0), xp.take(column, tables.left + 1, axis=0)
    sample -= lower
    sample *= fraction[:, None]
    sample += lower
    is_above = xp.astype(sample >= level, xp.uint8)
    # The number of the last one, from 1, and that of the first one from the other end.
    number = xp.arange(1, N_SAMPLES + 1, dtype=xp.uint8, device=device(column))[:, None]
    last = xp.astype(xp.max(is_above * number, axis=0), xp.int64) - 1
    first = N_SAMPLES - xp.astype(xp.max(is_above * xp.flip(number), axis=0), xp.int64)
    n_lanes = column.shape[1]
    samples, lanes = xp.reshape(sample, (-1,)), xp.arange(n_lanes, device=device(column))
    first_value, last_value = (xp.take(samples, end % N_SAMPLES * n_lanes + lanes) for end in (first, last))
    return first, last, xp.minimum(first_value, last_value)
