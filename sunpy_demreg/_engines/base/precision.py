"""Single precision: of outputs, of the columns of the resolution matrix, and where it is to be trusted."""

import numpy as np
from array_api_compat import array_namespace

from sunpy_demreg._engines.base.status import Status

__all__ = ["EPSILON", "LEAST", "roundoff", "withhold_unfit"]

EPSILON = 2.0**-52

#: Columns of a lower maximum near the end of the range.
LEAST = 1e-30
_UNIT_ROUNDOFF = 2.0**-24
_SMALLEST = 2.0**-126  # number with all digits


def roundoff(n_channels):
    """
    Bound how far a sample may be from half the maximum of its column by rounding alone.

    In units of ``sum_i max_j |v_j K_ij| |h_i|``. With the roundings of K, h, v and their products, the n sums, the
    interpolation between two bins, and half the maximum, it is 1.5 n + 12 units of roundoff at most.
    """
    return (2 * n_channels + 16) * _UNIT_ROUNDOFF


#: Outputs that may be zero everywhere.
_MAY_VANISH = {"chi_squared", "emission_measure", "emission_measure_uncertainty"}


def withhold_unfit(into, block):
    """
    Flag pixels of which an output does not fit into single precision as ``FAILED``, and give them NaN.

    These are outputs with an infinite value, and those whose largest value has left the range of numbers that have
    all their digits. (A single bin may: it is then nothing beside the peak.)

    Parameters
    ----------
    into : `sunpy_demreg._engines.base.solution.Solution`
        Arrays (..., N) of float32.
    block : slice
        Pixels whose answer is there.
    """
    outputs = {name: a for name, a in into._asdict().items() if a is not None and name != "status"}
    status = into.status[block]
    xp, is_unfit = array_namespace(status), status != status
    for name, output in outputs.items():
        values = abs(output[..., block])
        largest = xp.max(values, axis=tuple(range(values.ndim - 1))) if values.ndim > 1 else values
        is_unfit = is_unfit | ~(largest < np.inf)
        if name in _MAY_VANISH:
            is_unfit = is_unfit | ((largest > 0) & (largest < _SMALLEST) & (name != "chi_squared"))
        else:
            is_unfit = is_unfit | (largest < _SMALLEST)
    is_unfit = is_unfit & ((status & int(Status.UNSOLVED)) == 0)
    if is_unfit.any():
        status[is_unfit] |= int(Status.FAILED)
        for output in outputs.values():
            output[..., block][..., is_unfit] = np.nan
