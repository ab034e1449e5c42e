"""The outputs of an inversion, as plain arrays."""

from typing import NamedTuple

from sunpy_demreg._engines.base.options import OUTPUTS

__all__ = ["Solution"]


class Solution(NamedTuple):
    """The outputs; N lanes, m bins, n channels, q functionals. None if not requested."""

    dem: object  # (m, N), unit of g / unit of K
    dem_uncertainty: object  # (m, N), same unit
    temperature_resolution: object  # (m, N), dex
    chi_squared: object  # (N,)
    predicted_intensity: object  # (n, N), unit of g
    regularization_parameter: object  # (N,)
    emission_measure: object  # (q, N)
    emission_measure_uncertainty: object  # (q, N)
    is_resolved: object  # (m, N), 1 or 0
    covariance: object  # (m, m, N), unit of the dem squared
    resolution_matrix: object  # (m, m, N)
    status: object  # (N,), int32, bits of Status

    @staticmethod
    def shapes(n, m, q):
        """The shape of each output but the status, without the lanes."""
        return dict(zip(OUTPUTS, ((m,), (m,), (m,), (), (n,), (), (q,), (q,), (m,), (m, m), (m, m)), strict=True))

    @property
    def dtype(self):
        """The name of the dtype of the outputs but the status."""
        for array in self[:-1]:
            if array is not None:
                return "float32" if array.dtype.itemsize == 4 else "float64"  # faster than `dtype.name`
        return "float64"

    def map(self, function):
        """Apply a function to each array."""
        return Solution(*(None if a is None else function(a) for a in self))

    def at(self, pixels):
        """The lanes that an index of the last axis selects."""
        return self.map(lambda a: a[..., pixels])

    def put(self, pixels, part):
        """Replace the answer of the pixels that an index of the last axis selects."""
        for whole, values in zip(self, part, strict=True):
            if whole is not None:
                whole[..., pixels] = values

    def withhold(self, pixels):
        """Replace all outputs of pixels but their status by NaN."""
        for output in self[:-1]:
            if output is not None:
                output[..., pixels] = float("nan")
