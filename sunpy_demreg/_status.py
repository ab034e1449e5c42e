"""What happened to a pixel (in a file of its own, because the numerics need it and import nothing heavy)."""

from enum import IntFlag

__all__ = ["Status"]


class Status(IntFlag):
    """
    What happened to a pixel during the inversion: the bits of ``result["status"]``.

    A pixel with any of the bits of `Status.UNSOLVED` has no solution: its outputs are NaN and masked.
    The other bits belong to pixels that were solved, and tell what to know about the solution.

    Examples
    --------
    >>> from sunpy_demreg import Status
    >>> Status(4 | 16)
    <Status.NOT_POSITIVE|MASKED: 20>
    >>> bool(Status.NOT_POSITIVE & Status.UNSOLVED)
    True
    """

    #: Solved, and nothing to report.
    OK = 0
    #: An intensity is NaN or infinite.
    NOT_FINITE = 1
    #: An uncertainty is NaN, infinite, zero or negative.
    BAD_UNCERTAINTY = 2
    #: An intensity is zero or negative: usually off the limb, where the signal is below the noise.
    NOT_POSITIVE = 4
    #: A channel is saturated.
    SATURATED = 8
    #: A channel is masked in the input (for another reason than saturation).
    MASKED = 16
    #: Solved, but the DEM is still negative in some bins after the last iteration.
    NEGATIVE_DEM = 32
    #: Solved, but a DEM of zero fits to the target too: the pixel holds no significant signal.
    NO_SIGNAL = 64
    #: Solved, but no DEM fits down to the chi-squared target.
    TARGET_NOT_REACHED = 128

    #: The bits of the pixels that have no solution.
    UNSOLVED = NOT_FINITE | BAD_UNCERTAINTY | NOT_POSITIVE | SATURATED | MASKED
