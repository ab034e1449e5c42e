"""What an inversion is asked for, and the plan that follows from it: what shapes the algorithm."""

from functools import lru_cache
from typing import NamedTuple

__all__ = ["MAX_WIDTH", "OUTPUTS", "STANDARD_OUTPUTS", "Options", "Plan", "make_plan"]

#: Kernels that are wider tell nothing of a bin: see `sunpy_demreg.is_resolved`.
MAX_WIDTH = 0.6  # dex
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
    "is_resolved",
    "covariance",
    "resolution_matrix",
)


class Options(NamedTuple):
    """How to regularize: see `sunpy_demreg.invert`, which validates the values."""

    parameter_choice: str = "discrepancy"  # or "grid", "gcv"; of "lognormal", "prior" or "discrepancy"
    positivity: str | None = "relax"  # or "constrain"; of no meaning to "lognormal", which is positive by construction
    chi_squared_target: float = 1.0
    target_growth: float = 1.5
    max_iterations: int = 10
    n_samples: int = 42
    weighting: str = "self"  # or "em_loci"; "given", as an array; "uniform", the weight of the first pass
    loci: tuple = ()  # the channels of "em_loci"
    n_refinements: int = 0
    is_squared: bool = False  # L^-2 = w^2, as the reference's l_emd
    outputs: tuple = STANDARD_OUTPUTS
    method: str = "tikhonov"  # or "lognormal"
    solve_for: str = "dem"  # or "emission_measure", per dex, as "lognormal" always does
    prior_amplitude: float = 4.0  # of "lognormal": standard deviation of the logarithm
    prior_correlation_length: float = 0.8  # of "lognormal": dex
    dem_error: str = "noise"  # or, of "lognormal", "posterior": what the uncertainties of DEM and functionals are
    is_noise_locus: bool = True  # an intensity <= 0 has the locus of its uncertainty; the reference's has none
    max_width: float = MAX_WIDTH  # dex: of the kernel of a bin that is resolved
    resolved_only: bool = False  # whether functionals leave out the bins that are not resolved


@lru_cache(maxsize=64)  # for callers that invert pixel by pixel
def make_plan(n, options, is_of_pixels=False, dtype="float64"):
    """The plan for n channels; a given weight may be one per pixel, or one for all."""
    outputs = tuple(name for name in OUTPUTS if name in options.outputs)
    if options.method == "lognormal":
        return Plan(
            n,
            options.parameter_choice,
            None,
            "shared",
            outputs=outputs,
            dtype=dtype,
            method="lognormal",
            solve_for="emission_measure",
            dem_error=options.dem_error,
            resolved_only=options.resolved_only,
        )
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
        outputs,
        dtype,
        solve_for=options.solve_for,
        is_noise_locus=options.is_noise_locus or weighting != "em_loci",
        resolved_only=options.resolved_only,
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
    method: str = "tikhonov"  # or "lognormal"
    solve_for: str = "dem"  # or "emission_measure"
    dem_error: str = "noise"  # or "posterior"
    is_noise_locus: bool = True  # of an intensity <= 0, the locus is that of its uncertainty
    resolved_only: bool = False  # whether functionals leave out the bins that are not resolved

    @property
    def tells_resolved(self):
        """Whether the bins that are resolved have to be told from the others."""
        return self.resolved_only or "is_resolved" in self.outputs
