"""How far both engines are from the solution in extended precision."""

import sys
from pathlib import Path

import numpy as np
import synthetic

from sunpy_demreg import Status
from sunpy_demreg._engines import execute

sys.path.insert(0, str(Path(__file__).parents[1]))

from validation.extended import solve

UNSOLVED, TOLD = int(Status.UNSOLVED), int(Status.NO_SIGNAL | Status.FAILED | Status.TARGET_NOT_REACHED)
KINDS = (
    ("dem", "dem_uncertainty", "emission_measure", "emission_measure_uncertainty", "covariance", "resolution_matrix"),
    ("regularization_parameter",),
    ("chi_squared", "predicted_intensity"),
)


def run(backend, g, sigma, K, dlogt, logt, options, **more):
    return synthetic.run(g, sigma, execute.classify(g, sigma), K, dlogt, logt, options, backend=backend, **more)


def losses(g, sigma, K, dlogt, logt, options, weight=None, functional=None):
    """The largest differences of both engines from the truth, for each of the kinds; and the status (engine, pixel)."""
    worst, known, status = np.zeros(len(KINDS)), {}, []
    for backend in ("cpu", "numpy"):
        answer = run(backend, g, sigma, K, dlogt, logt, options, weight=weight, functional=functional)
        status.append(answer.status)
        for p in range(g.shape[1]):
            pixel = {name: a[..., p] for name, a in answer._asdict().items() if a is not None}
            bits = int(pixel.pop("status"))
            if bits & UNSOLVED:
                assert all(np.all(np.isnan(value)) for value in pixel.values())
                continue
            assert all(np.all(np.isfinite(value)) for value in pixel.values())
            guess = {}
            if options.positivity == "constrain":
                growth = np.log(pixel["chi_squared"] / options.chi_squared_target) / np.log(options.target_growth)
                guess = {"active": pixel["dem"] > 0, "n_raised": round(growth) if bits & Status.RELAXED else 0}
            key = p, str(guess)
            if key not in known:
                given = weight if weight is None or weight.ndim == 1 else weight[:, p]
                known[key] = solve(g[:, p], sigma[:, p], K, dlogt, options, given, **guess)
            truth = known[key]
            if truth is None:
                assert bits & TOLD
                continue
            assert truth.violation < 1e-8
            assert bool(bits & Status.RELAXED) == (truth.n_raised > 0)
            worst = np.maximum(worst, differences(pixel, truth, functional))
    return worst, np.array(status)


def differences(pixel, truth, functional):
    expected = dict(vars(truth))
    if functional is not None:
        expected["emission_measure"] = functional @ truth.dem
        variance = np.sum((functional @ truth.covariance) * functional, axis=1)
        expected["emission_measure_uncertainty"] = np.sqrt(variance)
    return [
        max(
            np.max(np.abs(pixel[name] - expected[name])) / np.max(np.abs(expected[name]))
            for name in kind
            if name in pixel
        )
        for kind in KINDS
    ]
