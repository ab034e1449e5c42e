"""Pixels without an answer: their outputs are NaN, and their status gives the reason."""

import numpy as np
from array_api_compat import array_namespace

from sunpy_demreg._engines.base.precision import SMALLEST
from sunpy_demreg._engines.base.status import Status

__all__ = ["settle", "settle_status"]

#: Outputs that may be zero everywhere.
_MAY_VANISH = {"chi_squared", "emission_measure", "emission_measure_uncertainty", "is_resolved"}
_UNSOLVED, _FAILED = int(Status.UNSOLVED), int(Status.FAILED)


def settle(into, given, withheld, *, bad_is_nan=False):
    """
    Withhold the outputs of all pixels that have no answer.

    Parameters
    ----------
    into : `Solution`
        As an engine has left it, with anything for bad pixels.
    given : array of int32, (N,)
        Not zero where a pixel is bad: it keeps this status.
    withheld : int
        Bits of `Status`: pixels that have one get NaN.
    bad_is_nan : bool
        Whether bad pixels are NaN already. Compiled code writes it along with the other outputs, at no cost; doing it
        here, if every second pixel is bad, takes a sixth of the time of solving all.
    """
    if into.dtype == "float32" and not given.all():
        _flag_unfit(into)
    unsolved = settle_status(into.status, given, withheld)
    if bad_is_nan:
        unsolved &= given == 0
    if unsolved.any():
        into.withhold(slice(None) if unsolved.all() else unsolved)


def settle_status(status, given, withheld):
    """Give bad pixels their status, and drop remarks on withheld solutions; return which pixels these are."""
    np.copyto(status, given, where=given != 0)
    unsolved = (status & withheld) != 0
    if unsolved.any():
        np.copyto(status, status & _UNSOLVED, where=unsolved)
    return unsolved


def _flag_unfit(into):
    """
    Flag pixels with an output that does not fit into single precision as ``FAILED``.

    An output does not fit if a value is infinite, or if its largest value is outside the range of numbers with full
    precision. (A single bin may be outside: it is then negligible next to the peak.)
    """
    status = into.status
    xp, is_unfit = array_namespace(status), status != status
    for name, output in into._asdict().items():
        if output is None or name == "status":
            continue
        values = abs(output)
        largest = xp.max(values, axis=tuple(range(values.ndim - 1))) if values.ndim > 1 else values
        is_unfit = is_unfit | ~(largest < np.inf)
        if name in _MAY_VANISH:
            is_unfit = is_unfit | ((largest > 0) & (largest < SMALLEST) & (name != "chi_squared"))
        else:
            is_unfit = is_unfit | (largest < SMALLEST)
    is_unfit = is_unfit & ((status & _UNSOLVED) == 0)
    if is_unfit.any():
        status[is_unfit] |= _FAILED
