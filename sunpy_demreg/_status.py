"""What happened to a pixel (in a file of its own, because the numerics need it and import nothing heavy)."""

from enum import IntFlag

__all__ = ["Status"]


class Status(IntFlag):
    """
    What happened to a pixel: the bits of ``result["status"]``.

    A pixel with any of these bits, together ``Status.UNSOLVED``, has no solution; its outputs are NaN and masked:

    ``NOT_FINITE``
        an intensity is NaN or infinite;
    ``BAD_UNCERTAINTY``
        an uncertainty is NaN, infinite, zero or negative;
    ``NOT_POSITIVE``
        an intensity is zero or negative: usually off the limb, where the signal is below the noise;
    ``SATURATED``
        a channel is saturated;
    ``MASKED``
        a channel is masked in the input, for another reason than saturation;
    ``NO_SIGNAL``
        no plasma at all would fit to the chi-squared target too: the discrepancy principle has no solution;
    ``FAILED``
        the arithmetic broke down, for data or uncertainties of extreme size.

    A pixel with these bits was solved, but with a remark:

    ``RELAXED``
        the chi-squared target was raised, because the first solution was negative somewhere;
    ``NEGATIVE_DEM``
        the DEM is negative in some bins (with ``positivity="relax"``: even after the last iteration);
    ``TARGET_NOT_REACHED``
        no DEM fits down to the chi-squared target.

    ``Status.OK``, zero, is a pixel solved without remark.

    Examples
    --------
    >>> from sunpy_demreg import Status
    >>> Status(4 | 16)
    <Status.NOT_POSITIVE|MASKED: 20>
    >>> bool(Status.NOT_POSITIVE & Status.UNSOLVED)
    True
    """

    OK = 0
    NOT_FINITE = 1
    BAD_UNCERTAINTY = 2
    NOT_POSITIVE = 4
    SATURATED = 8
    MASKED = 16
    NO_SIGNAL = 32
    FAILED = 64
    RELAXED = 128
    NEGATIVE_DEM = 256
    TARGET_NOT_REACHED = 512

    UNSOLVED = NOT_FINITE | BAD_UNCERTAINTY | NOT_POSITIVE | SATURATED | MASKED | NO_SIGNAL | FAILED
