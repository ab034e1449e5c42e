"""The methods that the validation compares, each as one function of intensities, uncertainties and a response."""

from importlib.util import find_spec
from typing import NamedTuple

import numpy as np

import astropy.units as u

from validation import lognormal_reference
from validation.setting import BIN_CENTERS, BIN_EDGES, BIN_WIDTH, RANGES, em_in_ranges, inverted

__all__ = ["LOGNORMAL", "MAIN", "METHODS", "OTHERS", "PLOWMAN", "REFERENCE", "Answer", "is_available"]

_OUTPUTS = ("dem", "dem_uncertainty", "chi_squared", "emission_measure")


class Answer(NamedTuple):
    """What the validation needs to know of an answer, pixels last; what was not solved is NaN."""

    em: np.ndarray  # (bins, N), cm-5
    in_bins: dict  # reported error by its kind, "noise" or "posterior": (bins, N), of `em`
    in_ranges: dict  # the same of the emission measure in `RANGES`, (ranges, N)
    chi_squared: np.ndarray  # (N,)
    converged: np.ndarray  # (N,), whether the method itself says that it got to its end


def _ours(**options):
    """A method of `sunpy_demreg.invert`."""

    def method(intensity, sigma, response):
        found = _inverted(intensity, sigma, response, options)
        in_ranges = {"noise": found.result["emission_measure"].uncertainty.array}
        return Answer(found.em, {"noise": found.sigma}, in_ranges, found.chi_squared, found.is_solved)

    return method


def _inverted(intensity, sigma, response, options):
    return inverted(intensity, sigma, _OUTPUTS, response, emission_measure_ranges=10**RANGES * u.K, **options)


def _reference(largest_lam=1.0):
    """The rules of the log-normal method in plain NumPy, which the compiled one is held to."""

    def method(intensity, sigma, response):
        K, dlogt = response.at(10**BIN_CENTERS * u.K).value, np.full(BIN_CENTERS.size, BIN_WIDTH)
        with np.errstate(all="ignore"):
            em, _, status = lognormal_reference.invert(intensity.T, sigma.T, K, dlogt, largest_lam=largest_lam)
        J = (K / sigma.T[:, :, None]) * em[:, None, :]
        functionals = (np.eye(BIN_CENTERS.size), em_in_ranges(np.eye(BIN_CENTERS.size)))
        in_bins, in_ranges = (_reference_errors(em, J, status["F"], status["lam"], W) for W in functionals)
        chi_squared = status["misfit"] / len(intensity)
        return Answer(em.T, in_bins, in_ranges, chi_squared, ~status["not_converged"])

    return method


def _reference_errors(em, J, F, lam, functional):
    """Errors of sums of `em`: of the noise alone, and of the posterior, W D F (B'B + lam)^-1 F' D W' with B = J F."""
    B = J @ F
    inverse = np.linalg.inv(B.transpose(0, 2, 1) @ B + lam[:, None, None] * np.eye(F.shape[1]))
    W = (em[:, None, :] * functional) @ F  # (N, sums, coefficients)
    noise = ((W @ inverse @ B.transpose(0, 2, 1)) ** 2).sum(axis=2)
    posterior = ((W @ inverse) * W).sum(axis=2)
    return {"noise": np.sqrt(noise).T, "posterior": np.sqrt(posterior).T}


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


PLOWMAN, LOGNORMAL, REFERENCE = "Plowman & Caspi", "lognormal", "lognormal, plain NumPy"
_EM_LOCI = {"weighting": "em_loci", "positivity": "constrain", "n_refinements": 1}

METHODS = {
    "relax (default)": _ours(),
    "constrain": _ours(positivity="constrain"),
    "em_loci, constrain, 1 refinement": _ours(**_EM_LOCI),
    "EM per dex, constrain": _ours(solve_for="emission_measure", positivity="constrain"),
    PLOWMAN: _plowman,
    LOGNORMAL: _reference(),
    "lognormal, χ² = 1": _reference(largest_lam=np.inf),
}
#: Those that the figures show.
MAIN = ("relax (default)", "constrain", "em_loci, constrain, 1 refinement", PLOWMAN, LOGNORMAL)
#: Other options of the regularized method, in one table of means.
OTHERS = {
    "no positivity": _ours(positivity="ignore"),
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


def is_available(name):
    """Whether a method can be run here: utu may not be installed."""
    return name != PLOWMAN or bool(find_spec("utu"))
