"""Temperatures as labels and messages show them: log10(T/K), with the decimals that they need."""

import numpy as np

__all__ = ["in_log_t", "log_t_texts"]

_DECIMALS = (2, 3, 4)
_ROUNDING = 1e-6


def log_t_texts(values, among=()):
    """
    Values of log10(T/K) as text, all with the same number of decimals.

    Two, or more where a value has more, as 5.575, or where values would look the same. A value that is rounded in any
    case, such as that of 2 MK, asks for no more.

    Parameters
    ----------
    values : sequence of float
    among : sequence of float, optional
        Others beside which they are shown, and which are to look the same.
    """
    together = np.array([*values, *among], dtype=float)
    gaps = np.diff(np.sort(together))
    narrowest = gaps[gaps > _ROUNDING].min(initial=1.0)
    decimals = max(*map(_decimals_of, together), int(np.ceil(-np.log10(narrowest))))
    return [f"{value:.{decimals}f}" for value in values]


def in_log_t(low, high, among=()):
    """A range of log10(T/K) in words."""
    return f"log T {'-'.join(log_t_texts((low, high), among))}"


def _decimals_of(value):
    exact = (n for n in _DECIMALS if abs(np.round(value, n) - value) < _ROUNDING)
    return next(exact, _DECIMALS[0])
