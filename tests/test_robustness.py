"""
Both engines against a solution in extended precision: digits are lost as told here, or the pixel is flagged.

The comments beside the cases are the largest differences that were measured: of the DEM and its errors (relative to
the peak of each), of lam, and of chi-squared and the predicted intensities.
"""

import numpy as np
import pytest
from losses import TOLD, losses, run
from scipy.optimize import nnls
from synthetic import BACKENDS, instrument, pixels

from sunpy_demreg import Status
from sunpy_demreg._engines.base.options import OUTPUTS, Options
from sunpy_demreg._engines.base.problem import Bins
from validation import constraint, extended
from validation.faults import instrument as faulty_instrument

MODES = (None, "relax", "constrain")
FREE = Options(positivity=None)


def near_duplicate(distance, n_pixels):
    """Pixels of an instrument whose last channel sees nearly what the third one does."""
    K, dlogt, logt = instrument(4, 16)
    K = np.concatenate([K, K[2:3] * (1 + distance * np.sin(np.arange(16)))])
    return *pixels(K, logt, n_pixels), K, dlogt, logt


@pytest.mark.parametrize("positivity", MODES)
@pytest.mark.parametrize("distance", [1e-2, 1e-4, 1e-6, 1e-8])
def test_channels_that_see_nearly_the_same(distance, positivity):
    """Where they agree within the noise, nothing is lost. Measured, at any distance: 6e-14, 4e-14, 2e-13."""
    worst, status = losses(*near_duplicate(distance, 3), Options(positivity=positivity))
    assert np.all(worst < 1e-11)
    assert not np.any(status & TOLD)


@pytest.mark.parametrize(
    ("distance", "tolerance", "n_failed"),
    [
        (1e-2, (1e-11, 1e-11, 1e-10), 0),  # 7e-13, 1e-13, 2e-12
        (1e-4, (1e-9, 1e-9, 1e-6), 0),  # 5e-11, 7e-12, 5e-8
        (1e-6, (1e-7, 1e-7, 2e-3), 1),  # 7e-9, 2e-9, 3e-4; the pixel that disagrees most has lost too many
        (1e-8, (1e-11, 1e-11, 1e-11), 5),  # failed, but for the pixel that agrees
    ],
)
def test_channels_that_see_nearly_the_same_but_disagree(distance, tolerance, n_failed):
    """They ask for a DEM that swings by noise / distance, of which the intensities are a small difference."""
    g, sigma, K, dlogt, logt = near_duplicate(distance, 6)
    g[4] = g[2] + sigma[2] * np.array([3, 4, 5, 7, 10, 20])
    worst, status = losses(g, sigma, K, dlogt, logt, FREE)
    assert np.all(worst < tolerance)
    assert np.all(np.sum((status & Status.FAILED) != 0, axis=1) == n_failed)


@pytest.mark.parametrize("positivity", [None, "relax"])
@pytest.mark.parametrize(
    ("ratio", "tolerance"),
    [
        (1e-2, (1e-9, 1e-9, 1e-8)),  # 2e-11, 3e-11, 2e-10
        (1e-4, (1e-9, 1e-9, 1e-8)),  # 2e-11, 6e-12, 5e-11
        (1e-6, (1e-8, 1e-8, 1e-3)),  # 2e-10, 2e-10, 6e-6
        (1e-8, (1e-8, 1e-8, 1e-3)),
        (1e3, (1e-11, 1e-11, 1e-11)),  # 3e-14, 6e-14, 5e-14
        (1e6, (1e-11, 1e-11, 1e-11)),  # 1e-14, 2e-14, 7e-14
    ],
)
def test_one_uncertainty_of_another_size(ratio, tolerance, positivity):
    K, dlogt, logt = instrument(5, 16)
    g, sigma = pixels(K, logt, 3)
    sigma[2] *= ratio
    worst, status = losses(g, sigma, K, dlogt, logt, Options(positivity=positivity))
    assert np.all(worst < tolerance)
    assert not np.any(status & TOLD)


@pytest.mark.parametrize("ratio", [1e-2, 1e3, 1e6])
def test_one_uncertainty_of_another_size_with_the_constraint(ratio):
    """Measured: 3e-11, 2e-11, 2e-10."""
    K, dlogt, logt = instrument(5, 16)
    g, sigma = pixels(K, logt, 3)
    sigma[2] *= ratio
    worst, status = losses(g, sigma, K, dlogt, logt, Options(positivity="constrain"))
    assert np.all(worst < 1e-8)
    assert np.all(status == 0)


def test_uncertainty_that_leaves_no_digits_is_told():
    K, dlogt, logt = instrument(5, 16)
    g, sigma = pixels(K, logt, 3)
    sigma[2] *= 1e-14
    _, status = losses(g, sigma, K, dlogt, logt, FREE)
    assert np.all(status & Status.FAILED)


@pytest.mark.parametrize("positivity", MODES)
@pytest.mark.parametrize(
    ("counts", "tolerance"),
    [
        (1e-6, 1e-11),  # 3e-13, 5e-13, 2e-13
        (1, 1e-11),  # 3e-13, 4e-13, 2e-13
        (1e3, 1e-11),  # 4e-13, 6e-13, 8e-14
        (1e6, 1e-10),  # 5e-14, 2e-13, 4e-12
        (1e9, 1e-9),  # 3e-13, 6e-13, 5e-11
    ],
)
def test_counts_of_any_size(counts, tolerance, positivity):
    """With the noise of the photons, at least a thousand in the best channel: small rates are of long exposures."""
    K, dlogt, logt = instrument(5, 16)
    dem = np.exp(-0.5 * ((logt[:, None] - [6.0, 6.3, 6.6]) / [0.1, 0.2, 0.3]) ** 2)
    clean = K @ dem * (counts / (K @ dem).max(axis=0))
    sigma = np.sqrt(clean / max(1, 1e3 / counts))
    g = np.abs(clean + sigma * np.random.default_rng(5).standard_normal(clean.shape))
    worst, status = losses(g, sigma, K, dlogt, logt, Options(positivity=positivity))
    assert np.all(worst < (1e-11, 1e-11, tolerance))
    assert not np.any(status & TOLD)


@pytest.mark.parametrize("factor", [1e30, 1e-30])
def test_response_in_any_unit(factor):
    """Measured: 7e-13, 2e-12, 2e-13."""
    K, dlogt, logt = instrument(5, 16)
    worst, status = losses(*pixels(K, logt, 3), factor * K, dlogt, logt, FREE)
    assert np.all(worst < 3e-11)
    assert not np.any(status & TOLD)


@pytest.mark.parametrize("positivity", MODES)
@pytest.mark.parametrize(
    ("excess", "tolerance"),
    [
        (1e-1, 1e-12),  # 1e-14
        (1e-3, 2e-11),  # 1e-12
        (1e-6, 2e-8),  # 6e-10
        (1e-9, 2e-5),  # 8e-7
        (1e-12, 2e-2),  # 2e-3
        (-1e-12, 0),
        (-1e-3, 0),
    ],
)
def test_signal_at_the_target(excess, tolerance, positivity):
    """The DEM goes with the excess of the signal above the target, of which digits are lost; or there is none."""
    K, dlogt, logt = instrument(5, 16)
    g, sigma = pixels(K, logt, 2)
    sigma *= np.sqrt(np.mean((g / sigma) ** 2, axis=0) / (1 + excess))
    worst, status = losses(g, sigma, K, dlogt, logt, Options(positivity=positivity))
    assert np.all(worst <= tolerance)
    assert np.all((status == Status.NO_SIGNAL) == (excess < 0))


@pytest.mark.parametrize(
    ("target", "tolerance"),
    [
        (1e-4, 1e-9),  # 2e-11
        (1e-8, 1e-7),  # 2e-9
        (1e-12, 1e-5),  # 2e-8
        (1e-16, 1e-4),  # 3e-6
        (1e-20, 2e-3),  # 4e-4
        (1e-24, 0),  # failed
    ],
)
def test_target_far_below_the_noise(target, tolerance):
    """The misfit is a difference of numbers that agree. The DEM keeps its digits: 7e-13, and lam 2e-12."""
    K, dlogt, logt = instrument(5, 16)
    worst, status = losses(*pixels(K, logt, 3), K, dlogt, logt, FREE._replace(chi_squared_target=target))
    assert np.all(worst <= (3e-11, 3e-11, tolerance))
    assert np.all(((status & Status.FAILED) != 0) == (target < 1e-20))


@pytest.mark.parametrize("positivity", MODES)
@pytest.mark.parametrize("n_bins", [3, 4, 5])
def test_more_channels_than_bins(n_bins, positivity):
    """Measured: 1e-13, 2e-14, 4e-13."""
    K, dlogt, logt = instrument(6, n_bins)
    worst, status = losses(*pixels(K, logt, 2), K, dlogt, logt, Options(positivity=positivity))
    assert np.all(worst < 1e-11)
    assert not np.any(status & TOLD)


@pytest.mark.parametrize(
    ("excess", "tolerance"),
    [
        (1e-1, (1e-11, 3e-11)),  # 6e-14, 9e-13
        (1e-3, (1e-11, 1e-9)),  # 7e-14, 4e-11
        (1e-6, (1e-10, 1e-6)),  # 2e-12, 3e-8
        (1e-9, (2e-9, 2e-3)),  # 8e-11, 7e-5
        (1e-12, (1e-7, 1)),  # 4e-9, 2e-1
        (-1e-5, (0, 0)),
    ],
)
def test_target_at_the_least_misfit(excess, tolerance):
    """With more channels than bins not every target is reached. Where it hardly is, lam matters little to the DEM."""
    K, dlogt, logt = instrument(6, 4)
    g, sigma = pixels(K, logt, 3)
    for p in range(3):
        A, d = (extended.exact(a) for a in (K / K.max() / sigma[:, p, None], g[:, p] / sigma[:, p]))
        least = float(extended.System(A, extended.exact(dlogt), d).least_misfit()) / 6
        problem = g[:, [p]], sigma[:, [p]], K, dlogt, logt, FREE._replace(chi_squared_target=least * (1 + excess))
        worst, status = losses(*problem)
        assert np.all(worst <= (*tolerance, max(tolerance[0], 1e-11)))
        assert np.all(((status & Status.TARGET_NOT_REACHED) != 0) == (excess < 0))
        if excess < 0:
            for backend in BACKENDS:
                assert run(backend, *problem).chi_squared == pytest.approx(least, rel=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_constrained_dem_fulfills_its_conditions(backend):
    """Those of Karush, Kuhn and Tucker, at the DEM and the lam that come out, in extended precision."""
    K, dlogt, logt = instrument(5, 16)
    g, sigma = pixels(K, logt, 6, noise=0.02)
    options = Options(positivity="constrain")
    answer = run(backend, g, sigma, K, dlogt, logt, options)
    assert np.all(answer.status == 0)
    assert np.any(answer.dem == 0)
    for p in range(6):
        system = extended.weighted_system(
            *(extended.exact(a) for a in (g[:, p], sigma[:, p], K / K.max(), dlogt)), options
        )
        dem = extended.exact(answer.dem[:, p] * K.max())
        residual = system.d - system.A @ dem
        from_gradient = extended.rounded(system.v * (system.A.T @ residual) / answer.regularization_parameter[p])
        dem = extended.rounded(dem)
        assert np.all(dem >= 0)
        assert np.max(np.abs(from_gradient - dem)[dem > 0]) < 1e-8 * dem.max()
        assert np.all(from_gradient[dem == 0] < 1e-8 * dem.max())
        assert float(residual @ residual) == pytest.approx(5, abs=1e-8)


@pytest.mark.parametrize("backend", BACKENDS)
def test_constrained_dem_of_extreme_pixels(backend):
    """Uncertainties from 1e-5 to 1e5 of what they should be, everything times 1e-200 to 1e200; of 4700, 2e-11."""
    K, *bins = faulty_instrument("plain")
    g, sigma = constraint.extreme_pixels(K, bins[1], 60, np.random.default_rng(1))
    _, *found = constraint.violations(g, sigma, K, Bins(*bins), constraint.OPTIONS["uniform"], backend)
    assert np.sum(np.isnan(found[0])) < 20
    assert np.nanmax(found) < constraint.TOLERANCE


FUNCTIONAL = np.array([np.arange(14) < 7, np.linspace(0.5, 2, 14)], dtype=float)
WEIGHTS = np.random.default_rng(1).uniform(-0.5, 2, (14, 3))


@pytest.mark.parametrize(
    ("choices", "weight"),
    [
        ({"weighting": "em_loci", "loci": (0, 1, 2, 3)}, None),
        ({"weighting": "em_loci", "loci": (0, 2)}, None),
        ({"weighting": "em_loci", "loci": (0, 1, 2, 3), "n_refinements": 1}, None),
        ({"weighting": "uniform"}, None),
        ({"weighting": "given"}, WEIGHTS[:, 0]),
        ({"weighting": "given"}, WEIGHTS),
        ({"weighting": "given", "is_squared": True}, WEIGHTS),
        ({"n_refinements": 1}, None),
        ({"n_refinements": 2}, None),
        ({"is_squared": True}, None),
        ({"positivity": "relax"}, None),
        ({"positivity": "constrain"}, None),
    ],
)
def test_every_weighting_and_output(choices, weight):
    """Measured: 3e-11, 8e-13, 5e-11."""
    K, dlogt, logt = instrument(4, 14)
    options = Options(**{"positivity": None, "outputs": OUTPUTS} | choices)
    worst, status = losses(*pixels(K, logt, 3), K, dlogt, logt, options, weight, FUNCTIONAL)
    assert np.all(worst < 2e-9)
    assert not np.any(status & TOLD)


@pytest.mark.parametrize(
    "choices", [{}, {"weighting": "uniform", "positivity": "relax"}, {"weighting": "em_loci", "loci": (0, 1, 2, 3)}]
)
def test_cross_validation(choices):
    """Its minimum is flat, which costs half of the digits (6e-7). Where it has none, lam leaves the spectrum."""
    K, dlogt, logt = instrument(4, 14)
    g, sigma = pixels(K, logt, 10, noise=0.2, seed=1)
    options = Options(**{"parameter_choice": "gcv", "positivity": None} | choices)
    truths = [extended.solve(g[:, p], sigma[:, p], K, dlogt, options) for p in range(10)]
    has_minimum = np.array([truth is not None for truth in truths])
    assert 4 <= np.sum(has_minimum) < 10
    worst, status = losses(g[:, has_minimum], sigma[:, has_minimum], K, dlogt, logt, options)
    assert np.all(worst < 1e-5)
    assert not np.any(status & TOLD)
    assert np.any(status & Status.RELAXED) == (options.positivity == "relax")
    for backend in BACKENDS if "weighting" in choices else ():
        answer = run(backend, g, sigma, K, dlogt, logt, options)
        for p in np.flatnonzero(~has_minimum):
            system = extended.weighted_system(
                *(extended.exact(a) for a in (g[:, p], sigma[:, p], K / K.max(), dlogt)), options
            )
            assert not min(system.s2) < answer.regularization_parameter[p] < max(system.s2)


@pytest.mark.parametrize("backend", BACKENDS)
def test_outputs_agree_with_each_other(backend):
    K, dlogt, logt = instrument(4, 14)
    answer = run(backend, *pixels(K, logt, 5), K, dlogt, logt, Options(outputs=OUTPUTS), functional=FUNCTIONAL)
    np.testing.assert_allclose(np.sqrt(np.einsum("jjp->jp", answer.covariance)), answer.dem_uncertainty, rtol=1e-10)
    np.testing.assert_allclose(answer.emission_measure, FUNCTIONAL @ answer.dem, rtol=1e-10)
    variance = np.einsum("qj,jkp,qk->qp", FUNCTIONAL, answer.covariance, FUNCTIONAL)
    np.testing.assert_allclose(answer.emission_measure_uncertainty, np.sqrt(variance), rtol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_positive_dem_that_fits_no_better_than_none(backend):
    """Of noise mostly below zero, as off the limb; how well any DEM that is not negative fits, scipy tells."""
    K, dlogt, logt = instrument(6, 36)
    rng = np.random.default_rng(8)
    d = rng.normal(-0.8, 1.3, (6, 700))
    sigma = 0.05 * K.max() * 1e20 * rng.uniform(0.5, 2, d.shape)
    d = d[:, np.sum(d**2, axis=0) > 6.0]
    sigma = sigma[:, : d.shape[1]]
    answer = run(backend, d * sigma, sigma, K, dlogt, logt, Options(positivity="constrain"))
    left = np.array(
        [nnls(K / K.max() / sigma[:, [p]] * sigma.max(), d[:, p])[1] ** 2 for p in range(d.shape[1])]
    ) / np.sum(d**2, axis=0)
    is_nothing, is_something = left > 0.99901, left < 0.99899
    assert is_nothing.sum() > 5
    assert is_something.sum() > 100
    is_without = (answer.status & Status.NO_SIGNAL) != 0
    assert np.all(is_without[is_nothing])
    assert not np.any(is_without[is_something])
    assert not np.any(answer.status & Status.FAILED)
