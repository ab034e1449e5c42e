"""What an inversion is asked for, and the plan that follows from it: what shapes the algorithm."""

from functools import lru_cache
from typing import NamedTuple

__all__ = ["OUTPUTS", "STANDARD_OUTPUTS", "Options", "Plan", "make_plan"]

#: The default outputs.
STANDARD_OUTPUTS = (
    "dem",
    "dem_uncertainty",
    "temperature_resolution",
    "chi_squared",
    "predicted_intensity",
    "regularization_parameter",
)
OUTPUTS = (
    *STANDARD_OUTPUTS,
    "emission_measure",
    "emission_measure_uncertainty",
    "covariance",
    "resolution_matrix",
)


class Options(NamedTuple):
    """How to regularize: see `sunpy_demreg.invert`, which validates the values."""

    parameter_choice: str = "discrepancy"  # or "grid", "gcv"
    positivity: str | None = "relax"  # or "constrain"
    chi_squared_target: float = 1.0
    target_growth: float = 1.5
    max_iterations: int = 10
    n_samples: int = 42
    weighting: str = "self"  # or "em_loci"; "given", as an array; "uniform", the weight of the first pass
    loci: tuple = ()  # the channels of "em_loci"
    n_refinements: int = 0
    is_squared: bool = False  # L^-2 = w^2, as the reference's l_emd
    outputs: tuple = STANDARD_OUTPUTS


@lru_cache(maxsize=64)  # for callers that invert pixel by pixel
def make_plan(n, options, is_of_pixels=False, dtype="float64"):
    """The plan for n channels; a given weight may be one per pixel, or one for all."""
    weighting = options.weighting
    if weighting == "uniform" or (weighting == "given" and not is_of_pixels):
        weighting = "shared"
    positivity = options.positivity
    if positivity == "relax" and options.max_iterations == 1:
        positivity = None
    return Plan(
        n,
        options.parameter_choice,
        positivity,
        weighting,
        options.loci if weighting == "em_loci" else (),
        options.n_refinements,
        options.is_squared,
        tuple(name for name in OUTPUTS if name in options.outputs),
        dtype,
    )


class Plan(NamedTuple):
    """What shapes the compiled code, and so is fixed before it is made."""

    n_channels: int
    parameter_choice: str = "discrepancy"
    positivity: str | None = "relax"
    weighting: str = "self"  # or "em_loci"; "given" for each pixel; "shared" by all, as the first pass's
    loci: tuple = ()  # the channels of "em_loci"
    n_refinements: int = 0
    is_squared: bool = False  # L^-2 = w^2 instead of w / dlogT
    outputs: tuple = ()
    dtype: str = "float64"  # of the outputs
