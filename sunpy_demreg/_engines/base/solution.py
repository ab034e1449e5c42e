"""What an inversion answers, as plain arrays."""

from typing import NamedTuple

from sunpy_demreg._engines.base.options import OUTPUTS

__all__ = ["Solution"]


class Solution(NamedTuple):
    """The outputs; N lanes, m bins, n channels, q functionals. None where they were not asked for."""

    dem: object  # (m, N), unit of g / unit of K
    dem_uncertainty: object  # (m, N), same unit
    temperature_resolution: object  # (m, N), dex
    chi_squared: object  # (N,)
    predicted_intensity: object  # (n, N), unit of g
    regularization_parameter: object  # (N,)
    emission_measure: object  # (q, N)
    emission_measure_uncertainty: object  # (q, N)
    covariance: object  # (m, m, N), unit of the dem squared
    resolution_matrix: object  # (m, m, N)
    status: object  # (N,), int32, bits of Status

    @staticmethod
    def shapes(n, m, q):
        """Of each output but the status, without the lanes."""
        return dict(zip(OUTPUTS, ((m,), (m,), (m,), (), (n,), (), (q,), (q,), (m, m), (m, m)), strict=True))
