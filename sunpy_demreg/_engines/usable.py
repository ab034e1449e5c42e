"""Which pixels can be solved, which of their channels say nothing there, and why the others cannot."""

import numpy as np

from sunpy_demreg._common.errors import wrong
from sunpy_demreg._engines.base.status import Status

__all__ = ["MOST_CHANNELS", "classify", "examine", "kind_of_bits"]

_KINDS = ((8, np.uint8), (16, np.uint16), (32, np.uint32), (64, np.uint64))
#: Channels that the bits of an integer can tell.
MOST_CHANNELS = _KINDS[-1][0]


def kind_of_bits(n):
    """The least type of unsigned integers that has a bit for each of n channels."""
    return next(kind for n_bits, kind in _KINDS if n <= n_bits or n_bits == MOST_CHANNELS)


def classify(intensity, uncertainty, mask=None, saturated=None):
    """The status of `examine`, with no channel left out."""
    return examine(intensity, uncertainty, mask, saturated)[0]


def examine(intensity, uncertainty, mask=None, saturated=None, *, nonpositive="use", most_missing=None):
    """
    Tell the pixels that cannot be solved, and why; and those that can be without some channels.

    Parameters
    ----------
    intensity, uncertainty : array, (n, ...)
        Channels first.
    mask, saturated : array of bool, (n, ...), optional
        Values not to be used, and those of them that are saturated.
    nonpositive : {"use", "mask"}
        Whether an intensity of zero or below is one like others, or its pixel is masked.
    most_missing : int, optional
        How many channels without a usable value may be left out, by default none.

    Returns
    -------
    status : array of int32, (...)
        Bits of `Status`: of ``UNSOLVED`` where the pixel cannot be solved, and remarks.
    omitted : array of unsigned integers, (...), or None
        Bit i is set where channel i is to be left out. None if there is no such pixel.

    Raises
    ------
    ValueError
        If there is such a pixel, but more channels than bits.
    """
    with np.errstate(invalid="ignore"):
        plain = (intensity > 0) & (intensity < np.inf) & (uncertainty > 0) & (uncertainty < np.inf)
    if mask is not None:
        plain &= ~mask
    others = ~plain.all(axis=0)
    status, omitted = np.zeros(intensity.shape[1:], dtype=np.int32, like=intensity), None
    if others.any():  # more is asked of those only: most are plain
        given = (None if a is None else a[:, others] for a in (intensity, uncertainty, mask, saturated))
        status[others], bits = _examined(*given, nonpositive, min(most_missing or 0, len(intensity) - 1))
        if bits.any():
            omitted = np.zeros(intensity.shape[1:], dtype=bits.dtype, like=intensity)
            omitted[others] = bits
    return status, omitted


def _examined(intensity, uncertainty, mask, saturated, nonpositive, most_missing):
    with np.errstate(invalid="ignore"):
        not_finite, bad_uncertainty = ~np.isfinite(intensity), ~(np.isfinite(uncertainty) & (uncertainty > 0))
        usable = ~(not_finite | bad_uncertainty)
        if mask is not None:
            usable &= ~mask
        is_nonpositive = (usable & (intensity <= 0)).any(axis=0)
        has_nothing = ~(usable & (intensity != 0)).any(axis=0)
    # Of a value that is not finite, nothing else needs to be said; of one that is saturated, not its uncertainty.
    causes = {Status.NOT_FINITE: not_finite, Status.BAD_UNCERTAINTY: bad_uncertainty & ~not_finite}
    if mask is not None:
        saturated = np.zeros_like(mask) if saturated is None else saturated & mask
        causes[Status.BAD_UNCERTAINTY] &= ~saturated
        causes[Status.SATURATED] = saturated & ~not_finite
        causes[Status.MASKED] = mask & ~saturated & ~not_finite
    status = sum(_bits(bit, found.any(axis=0)) for bit, found in causes.items())
    n_missing = (~usable).sum(axis=0)
    is_omitted = (n_missing > 0) & (n_missing <= most_missing)
    remarks = _bits(Status.NONPOSITIVE_INTENSITY, is_nonpositive)
    if nonpositive == "mask":
        is_omitted &= ~is_nonpositive
        status |= remarks | _bits(Status.MASKED, is_nonpositive)
    status[is_omitted] = 0
    status |= _bits(Status.NO_SIGNAL, (status == 0) & has_nothing)  # zeros need no engine to tell that
    remarks |= _bits(Status.MISSING_CHANNEL, is_omitted)
    status = np.where(status == 0, remarks, status)
    n = len(usable)
    if n > MOST_CHANNELS and is_omitted.any():
        raise wrong(
            ValueError,
            "missing_channels",
            f"'omit' tells the channels left out as bits of a number, of {MOST_CHANNELS} at most, but there are {n}, "
            f"and {np.count_nonzero(is_omitted)} pixels lack some: pass missing_channels='mask'",
        )
    kind = kind_of_bits(n)
    omitted = np.zeros(status.shape, dtype=kind, like=status)
    for i in range(n if most_missing > 0 else 0):
        omitted[is_omitted & ~usable[i]] |= kind(1 << i)
    return status, omitted


def _bits(bit, found):
    return int(bit) * found.astype(np.int32)
