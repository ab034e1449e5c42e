"""The input of an inversion: the problem that all pixels share, and the pixels."""

from typing import NamedTuple

from sunpy_demreg._engines.base.options import OUTPUTS, Options, make_plan
from sunpy_demreg._engines.base.solution import Solution

__all__ = ["Bins", "Pixels", "Problem"]

MAX_COMPILED_CHANNELS = 12  # compiled code unrolls all loops over channels: more of them take minutes to compile


class Bins(NamedTuple):
    """The temperature bins, in log10 T."""

    widths: object  # (m,)
    centers: object  # (m,)

    @classmethod
    def between(cls, log_edges):
        """The bins between the given edges."""
        return cls(log_edges[1:] - log_edges[:-1], 0.5 * (log_edges[1:] + log_edges[:-1]))


class Problem(NamedTuple):
    """What all pixels share; n channels, m bins, q functionals."""

    bins: Bins
    K: object  # (n, m), the response matrix: intensity = K @ dem
    options: Options
    weight: object = None  # for the weighting "given": (m,), one for all pixels, or (m, ...), one for each
    functional: object = None  # (q, m): the "emission_measure" is functional @ dem

    @property
    def has_weight_of_pixels(self):
        """Whether each pixel has a weight of its own."""
        return self.weight is not None and self.weight.ndim > 1

    @property
    def can_be_compiled(self):
        """Whether an engine may compile it; with more channels than bins it is singular, and needs more care."""
        n, m = self.K.shape
        return n <= min(m, MAX_COMPILED_CHANNELS)

    @property
    def output_shapes(self):
        """The shape of each requested output, without the pixels."""
        shapes = Solution.shapes(*self.K.shape, 0 if self.functional is None else self.functional.shape[0])
        return {name: shape for name, shape in shapes.items() if name in self.options.outputs}

    def output_kinds(self, dtype="float64"):
        """The shape and the dtype of each array of a `Solution`, without the pixels; None if it is not requested."""
        shapes = self.output_shapes
        return [*((shapes[name], dtype) if name in shapes else None for name in OUTPUTS), ((), "int32")]

    def plan(self, dtype="float64"):
        """Make the `Plan` of the algorithm, for outputs of a dtype."""
        return make_plan(self.K.shape[0], self.options, self.has_weight_of_pixels, dtype)


class Pixels(NamedTuple):
    """The data of N pixels."""

    intensity: object  # (n, N), float64
    uncertainty: object  # (n, N), float64
    status: object  # (N,), int32: not zero where a pixel is bad
    weight: object = None  # (m, N), float64, where each pixel has its own

    def at(self, pixels):
        """The pixels that an index of the last axis selects."""
        return Pixels(*(None if a is None else a[..., pixels] for a in self))
