"""The methods that the validation compares, each as one function of intensities, uncertainties and a response."""

from importlib.util import find_spec
from typing import NamedTuple

import numpy as np

import astropy.units as u

from sunpy_demreg import LogNormalPrior, Status
from validation.setting import BIN_EDGES, BIN_WIDTH, RANGES, inverted

__all__ = ["LOGNORMAL", "MAIN", "METHODS", "OTHERS", "PLOWMAN", "PRIORS", "Answer", "is_available"]

_OUTPUTS = ("dem", "dem_uncertainty", "chi_squared", "emission_measure")


class Answer(NamedTuple):
    """What the validation needs to know of an answer, pixels last; what was not solved is NaN."""

    em: np.ndarray  # (bins, N), cm-5
    in_bins: dict  # reported error by its kind, "noise" or "posterior": (bins, N), of `em`
    in_ranges: dict  # the same of the emission measure in `RANGES`, (ranges, N)
    chi_squared: np.ndarray  # (N,)
    converged: np.ndarray  # (N,), whether the method itself says that it got to its end


def _ours(errors=("noise",), **options):
    """A method of `sunpy_demreg.invert`, with its kinds of errors."""

    def method(intensity, sigma, response):
        ranges = 10**RANGES * u.K
        answers = {}
        for kind in errors:
            answers[kind] = inverted(
                intensity, sigma, _OUTPUTS, response, emission_measure_ranges=ranges, dem_error=kind, **options
            )
        found = answers[errors[-1]]
        in_bins = {kind: answer.sigma for kind, answer in answers.items()}
        in_ranges = {kind: answer.result["emission_measure"].uncertainty.array for kind, answer in answers.items()}
        converged = found.is_solved & ~found.has(Status.NOT_CONVERGED)
        return Answer(found.em, in_bins, in_ranges, found.chi_squared, converged)

    return method


def _plowman(intensity, sigma, response):
    """
    Plowman & Caspi (2020), as utu has it: linear between temperatures, which are here the edges of the bins.

    The bins then hold exactly what it means by its answer; it gives no errors.
    """
    import named_arrays as na
    import utu.dem

    unit, axes = u.DN / u.pix / u.s, ("pixel", "channel")
    edges = 10**BIN_EDGES * u.K
    dem, chi_squared = utu.dem.plowman(
        intensity=na.ScalarArray(np.ascontiguousarray(intensity.T) * unit, axes=axes),
        uncertainty=na.ScalarArray(np.ascontiguousarray(sigma.T) * unit, axes=axes),
        response=na.FunctionArray(
            inputs=na.ScalarArray(edges, axes="temperature"),
            outputs=na.ScalarArray(response.at(edges), axes=("channel", "temperature")),
        ),
        axis_channel="channel",
        axis_temperature="temperature",
    )
    dem, chi_squared = dem.outputs.ndarray.value.T, np.array(chi_squared.ndarray)
    em = np.where(chi_squared >= 0, 0.5 * (dem[1:] + dem[:-1]) * BIN_WIDTH, np.nan)
    return Answer(em, {}, {}, chi_squared, chi_squared >= 0)


PLOWMAN, LOGNORMAL = "Plowman & Caspi", "lognormal"
_BOTH = ("noise", "posterior")
_EM_LOCI = {"weighting": "em_loci", "positivity": "constrain", "n_refinements": 1}

METHODS = {
    "relax (default)": _ours(),
    "constrain": _ours(positivity="constrain"),
    "em_loci, constrain, 1 refinement": _ours(**_EM_LOCI),
    "EM per dex, constrain": _ours(solve_for="emission_measure", positivity="constrain"),
    PLOWMAN: _plowman,
    LOGNORMAL: _ours(_BOTH, method="lognormal"),
    "lognormal, χ² = 1": _ours(_BOTH, method="lognormal", parameter_choice="discrepancy"),
}
#: Those that the figures show.
MAIN = ("relax (default)", "constrain", "em_loci, constrain, 1 refinement", PLOWMAN, LOGNORMAL)
#: Other options of the regularized method, in one table of means.
OTHERS = {
    "ignore": _ours(positivity="ignore"),
    "grid": _ours(parameter_choice="grid"),
    "gcv": _ours(parameter_choice="gcv"),
    "gcv, constrain": _ours(parameter_choice="gcv", positivity="constrain"),
    "1 refinement": _ours(n_refinements=1),
    "constrain, 1 refinement": _ours(positivity="constrain", n_refinements=1),
    "em_loci": _ours(weighting="em_loci"),
    "em_loci, constrain": _ours(weighting="em_loci", positivity="constrain"),
    "constrain, target 0.5": _ours(positivity="constrain", chi_squared_target=0.5),
    "constrain, target 2": _ours(positivity="constrain", chi_squared_target=2.0),
    "l2": _ours(method="l2"),
    "l2, constrain": _ours(method="l2", positivity="constrain"),
}
#: The log-normal method with other priors, by the amplitude of the logarithm and the correlation length in dex.
PRIORS = {
    f"{amplitude:g}, {length:g} dex": _ours(
        _BOTH, method="lognormal", prior=LogNormalPrior(amplitude=amplitude, correlation_length=length)
    )
    for amplitude, length in ((4, 0.8), (2, 0.8), (8, 0.8), (4, 0.4), (4, 1.6))
}


def is_available(name):
    """Whether a method can be run here: utu may not be installed."""
    return name != PLOWMAN or bool(find_spec("utu"))
