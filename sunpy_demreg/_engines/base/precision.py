"""The limits of double and single precision, for all engines."""

__all__ = ["EPSILON", "LARGEST", "LEAST", "SMALLEST", "UNIT_ROUNDOFF", "roundoff"]

EPSILON = 2.0**-52

# Of single precision:
UNIT_ROUNDOFF = 2.0**-24
SMALLEST = 2.0**-126  # number with all digits
LARGEST = (2.0 - UNIT_ROUNDOFF) * 2.0**127  # what is below is rounded to a finite number
#: Columns of the resolution matrix of a lower maximum near the end of the range.
LEAST = 1e-30


def roundoff(n_channels):
    """
    Bound how far a sample may be from half the maximum of its column by rounding alone.

    In units of ``sum_i max_j |v_j K_ij| |h_i|``. With the roundings of K, h, v and their products, the n sums, the
    interpolation between two bins, and half the maximum, it is 1.5 n + 15 units of roundoff at most.
    """
    return (2 * n_channels + 16) * UNIT_ROUNDOFF
