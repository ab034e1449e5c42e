"""
Exponential and logarithm of lane values, as polynomials.

The functions of a library are slower, and differ in the last bit from one processor to the next. The relative error is
a few 1e-16, and that of the logarithm of a number near one too.
"""

__all__ = ["exp", "log"]

_LARGEST_EXPONENT = 700.0  # beyond it, and below its negative, the exponential stays the same
_PER_LN2 = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 0.6931471804855391, 7.440617110012397e-11  # the first times an integer is exact
#: ``(exp(x) - 1 - x) / x^2`` where ``|x| <= ln(2) / 2``, to 2e-17 of the exponential.
_EXP = (
    0.5000000000000001,
    0.16666666666666669,
    0.04166666666662413,
    0.008333333333330062,
    0.0013888888917213717,
    0.00019841269863053618,
    2.4801521295954376e-05,
    2.7557268459997064e-06,
    2.7620088445409746e-07,
    2.510038549551032e-08,
)
#: ``(log((1 + s) / (1 - s)) - 2 s) / s^3`` as a function of ``s^2`` between the square roots of 1/2 and 2, to 5e-18.
_LOG = (
    0.666666666666667,
    0.39999999999899444,
    0.2857142862600327,
    0.22222211130259878,
    0.18182889455674947,
    0.15331710618210773,
    0.14616585424888623,
)
_SMALLEST, _LARGEST = 2.0**-1022, 2.0**1023
_ROOT_OF_2 = 1.4142135623730951


def exp(M, x):
    x = M.maximum(M.minimum(x, _LARGEST_EXPONENT), -_LARGEST_EXPONENT)
    k = M.round(x * _PER_LN2)
    x = x - k * _LN2_HIGH - k * _LN2_LOW
    return (x * x * _polynomial(_EXP, x) + x + 1.0) * M.power_of_two(k)


def log(M, x):
    """Of a normal, positive number; with care of the nearest one that is finite."""
    if M.is_careful:
        x = M.minimum(M.maximum(x, _SMALLEST), _LARGEST)
    mantissa, exponent = M.split(x)  # from one to two
    is_large = mantissa > _ROOT_OF_2
    mantissa = M.where(is_large, 0.5 * mantissa, mantissa)
    exponent = M.where(is_large, exponent + 1.0, exponent)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    square = s * s
    return exponent * _LN2_HIGH + (2.0 * s + (s * square * _polynomial(_LOG, square) + exponent * _LN2_LOW))


def _polynomial(coefficients, x):
    """Of pairs of terms, so that not each operation waits for the one before."""
    square, pairs = x * x, []
    for i in range(0, len(coefficients) - 1, 2):
        pairs.append(coefficients[i] + coefficients[i + 1] * x)
    result = pairs.pop() if len(coefficients) % 2 == 0 else coefficients[-1]
    for pair in reversed(pairs):
        result = pair + square * result
    return result
