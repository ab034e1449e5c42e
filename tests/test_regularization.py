"""The mathematics against an independent solution of the same problem, and against what must be true of any."""

import itertools

import array_api_strict
import numpy as np
import pytest
from scipy.optimize import nnls
from synthetic import instrument, pixels, solve

from sunpy_demreg import Status
from sunpy_demreg._engines.base.options import STANDARD_OUTPUTS, Options

CHOICES = [
    Options(parameter_choice=choice, positivity=positivity)
    for choice, positivity in itertools.product(("discrepancy", "grid"), ("relax", None))
]
CONSTRAIN = Options(positivity="constrain")
OUTPUTS = (*STANDARD_OUTPUTS, "status")


def reference_weight(dem, absolute_floor):
    """The weight of the second pass, written with a convolution."""
    floor = 1.0 if absolute_floor else max(dem) * 1e-6
    weight = np.where((dem > 0) & (dem > 1e-4 * max(dem)), dem, floor)
    smooth = np.convolve(weight[1:-1], np.full(5, 0.2))[1:-1] / max(weight)
    return np.maximum(smooth, 1e-8)


def kdagger(A, v, lam):
    """Operator from data to DEM, from the normal equations in whichever space is smaller."""
    n, m = A.shape
    if n > m:
        return np.linalg.solve(A.T @ A + lam * np.diag(1 / v), A.T)
    return v[:, None] * A.T @ np.linalg.inv((A * v) @ A.T + lam * np.eye(n))


def misfit_curve(A, v, d, lam):
    """|A xi - d|^2 for each lam, by singular values of the standard form."""
    U, s, _ = np.linalg.svd(A * np.sqrt(v), full_matrices=False)
    c = U.T @ d
    return np.sum((np.outer(lam, c) / (s**2 + np.asarray(lam)[:, None])) ** 2, axis=1) + d @ d - c @ c


def nearest_on_grid(A, v, d, target, n_samples=42):
    """The reference's rule. Where there are more channels than bins, its zero singular values are left out."""
    s = np.linalg.svd(A * np.sqrt(v), compute_uv=False)
    lam = np.geomspace(s.min() ** 2 * 1e-4, s.max(), n_samples)
    return lam[np.argmin(np.abs(misfit_curve(A, v, d, lam) - target))]


def exact_root(A, v, d, target):
    """The discrepancy principle by bisection; the least lam that means something where it has no solution."""
    low, high = (len(A) * 2.0**-52) ** 2 * np.linalg.norm((A * v) @ A.T, 2), 1e30
    if misfit_curve(A, v, d, [low])[0] > target:
        return low
    for _ in range(300):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if misfit_curve(A, v, d, [middle])[0] < target else (low, middle)
    return low


def largest_difference(array, expected):
    """Over all pixels, relative to the peak of each."""
    return np.max(np.abs(array - expected) / np.abs(expected).max(axis=0))


def width(column, logt, dlogt):
    samples = logt[0] + 1e-8 + (logt[-1] - logt[0]) * np.arange(51) / 51
    above = samples[np.interp(samples, logt, column) >= column.max() / 2]
    return (above[-1] - above[0] or dlogt) if above.size else 2 * dlogt


@pytest.mark.parametrize("options", CHOICES)
@pytest.mark.parametrize(("n_channels", "n_bins"), [(6, 36), (3, 12), (1, 5), (4, 3), (6, 4), (9, 60), (6, 400)])
def test_equals_dense_solution(options, n_channels, n_bins):
    """Every output, pixel by pixel, from dense matrices and lam by bisection or a table."""
    K, dlogt, logt = instrument(n_channels, n_bins)
    g, sigma = pixels(K, logt, 12)
    solution = solve(g, sigma, K, dlogt, logt, options)
    on_grid = options.parameter_choice == "grid"
    choose = nearest_on_grid if on_grid else exact_root
    scale = 1e15 if on_grid else 1 / K.max()
    n = len(K)
    for p in range(g.shape[1]):
        A, d = scale * K / sigma[:, p, None], g[:, p] / sigma[:, p]
        first = kdagger(A, dlogt, choose(A, dlogt, d, n)) @ d
        v = reference_weight(first, on_grid) / dlogt
        n_raised = 0
        while True:
            lam = choose(A, v, d, n * 1.5**n_raised)
            K_dagger = kdagger(A, v, lam)
            dem = K_dagger @ d
            may_be_raised = n_raised < 9 and (on_grid or d @ d > n * 1.5 ** (n_raised + 1))
            if options.positivity is None or np.all(dem >= 0) or not may_be_raised:
                break
            n_raised += 1
        # Where there are more channels than bins, both invert a singular matrix, the one here without care.
        tolerance = 1e-8 if n <= n_bins else 1e-4
        assert solution.regularization_parameter[p] == pytest.approx(lam, rel=tolerance)
        edem = np.sqrt(np.sum(K_dagger**2, axis=1))
        for name, expected in (("dem", dem * scale), ("dem_uncertainty", edem * scale)):
            difference = np.abs(getattr(solution, name)[:, p] - expected).max() / np.abs(expected).max()
            assert difference < tolerance, name
        np.testing.assert_allclose(solution.predicted_intensity[:, p], K @ solution.dem[:, p], rtol=1e-11)
        R = K_dagger @ A
        widths = [width(R[:, k], logt, dlogt[k]) for k in range(n_bins)]
        # A sample that is on half the maximum to rounding may fall on either side.
        off = np.abs(solution.temperature_resolution[:, p] - widths) > 1e-9
        assert np.mean(off) < (0.01 if n <= n_bins else 0.5)
        assert bool(solution.status[p] & Status.RELAXED) == (n_raised > 0)
        assert bool(solution.status[p] & Status.NEGATIVE_DEM) == np.any(solution.dem[:, p] < 0)


@pytest.mark.parametrize("options", [*CHOICES, CONSTRAIN])
def test_reported_chi_squared_is_that_of_the_dem(options):
    K, dlogt, logt = instrument()
    g, sigma = pixels(K, logt)
    solution = solve(g, sigma, K, dlogt, logt, options)
    recomputed = np.mean(((g - K @ solution.dem) / sigma) ** 2, axis=0)
    np.testing.assert_allclose(solution.chi_squared, recomputed, rtol=1e-10)


@pytest.mark.parametrize("target", [0.3, 1.0, 4.0])
def test_discrepancy_meets_its_target_exactly(target):
    K, dlogt, logt = instrument()
    g, sigma = pixels(K, logt, noise=0.02)
    solution = solve(g, sigma, K, dlogt, logt, Options(positivity=None, chi_squared_target=target))
    np.testing.assert_allclose(solution.chi_squared, target, rtol=1e-10)


def test_relaxation_raises_the_target_by_whole_steps_until_positive():
    K, dlogt, logt = instrument()
    g, sigma = pixels(K, logt, 300, noise=0.01)
    solution = solve(g, sigma, K, dlogt, logt, Options())
    steps = np.log(solution.chi_squared) / np.log(1.5)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-8)
    assert steps.min() > -1e-8
    assert steps.max() < 9 + 1e-8
    assert (np.round(steps) > 0).any()
    negative = np.any(solution.dem < 0, axis=0)
    np.testing.assert_array_equal((solution.status & Status.NEGATIVE_DEM) != 0, negative)
    np.testing.assert_array_equal(np.round(steps[negative]), 9)


@pytest.mark.parametrize("noise", [0.2, 0.05, 0.01])
@pytest.mark.parametrize("target", [1.0, 2.5])
def test_constrained_dem_is_that_of_another_solver(noise, target):
    """At its lam, non-negative least squares finds the same DEM; and it meets the target, and is not negative."""
    K, dlogt, logt = instrument(6, 36)
    g, sigma = pixels(K, logt, 60, noise=noise)
    solution = solve(g, sigma, K, dlogt, logt, Options(positivity="constrain", chi_squared_target=target))
    assert np.all(solution.dem >= 0)
    assert np.count_nonzero(np.any(solution.dem == 0, axis=0)) > 10
    solved = (solution.status & (Status.RELAXED | Status.NO_SIGNAL)) == 0
    assert np.mean(solved) > 0.95
    np.testing.assert_allclose(solution.chi_squared[solved], target, rtol=1e-9)
    for p in np.flatnonzero(solved):
        A, d = K / K.max() / sigma[:, p, None], g[:, p] / sigma[:, p]
        first = kdagger(A, dlogt, exact_root(A, dlogt, d, 6 * target)) @ d
        v = reference_weight(first, absolute_floor=False) / dlogt
        # In the standard form: xi = sqrt(v) u, |L xi| = |u|.
        lam = solution.regularization_parameter[p]
        stacked = np.concatenate([A * np.sqrt(v), np.sqrt(lam) * np.eye(36)])
        u = nnls(stacked, np.concatenate([d, np.zeros(36)]), maxiter=10000)[0]
        dem = np.sqrt(v) * u / K.max()
        assert np.abs(solution.dem[:, p] - dem).max() < 1e-7 * dem.max()
        # The conditions of Karush, Kuhn and Tucker: no bin that is zero would lower the misfit.
        gradient = A.T @ (d - A @ (solution.dem[:, p] * K.max())) / lam
        is_zero = solution.dem[:, p] == 0
        assert np.all(gradient[is_zero] <= 1e-8 * gradient.max())
        np.testing.assert_allclose(v * gradient * ~is_zero, solution.dem[:, p] * K.max(), rtol=1e-6, atol=1e-12)


def test_constraint_is_free_where_the_dem_is_positive_anyway():
    K, dlogt, logt = instrument()
    g, sigma = pixels(K, logt, 100)
    free = solve(g, sigma, K, dlogt, logt, Options(positivity=None))
    constrained = solve(g, sigma, K, dlogt, logt, CONSTRAIN)
    positive = np.all(free.dem > 0, axis=0)
    assert positive.sum() > 10
    for name in ("dem", "dem_uncertainty", "chi_squared", "regularization_parameter", "temperature_resolution"):
        ours, theirs = (getattr(s, name)[..., positive] for s in (constrained, free))
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, err_msg=name)


def test_target_is_raised_where_no_dem_without_negative_bins_fits():
    """A channel that is too bright for its neighbors: the best non-negative fit is known from another solver."""
    K, dlogt, logt = instrument()
    g, sigma = pixels(K, logt, 40, noise=0.05)
    g[3] *= np.linspace(1, 12, 40)
    sigma[3] *= np.linspace(1, 12, 40)
    solution = solve(g, sigma, K, dlogt, logt, CONSTRAIN)
    assert np.all(solution.dem >= 0)
    best = np.array([nnls(K / K.max() / s[:, None], y / s)[1] ** 2 / 6 for y, s in zip(g.T, sigma.T, strict=True)])
    relaxed = (solution.status & Status.RELAXED) != 0
    assert relaxed.any()
    assert np.all(best[~relaxed] <= 1 + 1e-6)
    assert np.all(best[relaxed] > 0.99)
    assert np.all(solution.chi_squared >= best - 1e-6)
    assert np.all(solution.chi_squared[relaxed] < 2.1 * best[relaxed])


def test_isothermal_plasma_is_found_at_its_temperature():
    K, dlogt, logt = instrument(n_bins=36)
    bins = np.arange(6, 30)
    g = 1e22 * K[:, bins]
    solution = solve(g, 0.01 * g + 1e-4, K, dlogt, logt, Options())
    # Two bins are a tenth in log T, less than the resolution of such an instrument.
    assert np.max(np.abs(np.argmax(solution.dem, axis=0) - bins)) <= 2


@pytest.mark.parametrize("options", [*CHOICES, CONSTRAIN])
def test_no_pixel_knows_of_another(options):
    """Bit for bit: alone, in any order, in any company."""
    K, dlogt, logt = instrument()
    g, sigma = pixels(K, logt, 40)
    together = solve(g, sigma, K, dlogt, logt, options)
    order = np.random.default_rng(1).permutation(40)
    shuffled = solve(g[:, order], sigma[:, order], K, dlogt, logt, options)
    alone = solve(g[:, 7:8], sigma[:, 7:8], K, dlogt, logt, options)
    for name in OUTPUTS:
        whole, mixed, single = (getattr(solution, name) for solution in (together, shuffled, alone))
        np.testing.assert_array_equal(whole[..., order], mixed)
        np.testing.assert_array_equal(whole[..., 7:8], single)


@pytest.mark.parametrize("options", [*CHOICES, CONSTRAIN])
def test_order_of_channels_does_not_matter(options):
    K, dlogt, logt = instrument()
    g, sigma = pixels(K, logt, 40)
    order = [3, 0, 5, 1, 4, 2]
    plain = solve(g, sigma, K, dlogt, logt, options)
    mixed = solve(g[order], sigma[order], K[order], dlogt, logt, options)
    assert largest_difference(mixed.dem, plain.dem) < 1e-9
    np.testing.assert_allclose(mixed.predicted_intensity, plain.predicted_intensity[order], rtol=1e-9)


@pytest.mark.parametrize("factor", [1e12, 1e-12, 1e30, 1e-30])
def test_unit_of_response_does_not_matter(factor):
    K, dlogt, logt = instrument()
    g, sigma = pixels(K, logt)
    plain = solve(g, sigma, K, dlogt, logt, Options())
    scaled = solve(g, sigma, factor * K, dlogt, logt, Options())
    assert_same_but_for_unit(plain, scaled, factor)


@pytest.mark.parametrize("factor", [1e-6, 1e9])
def test_unit_of_intensity_does_not_matter(factor):
    K, dlogt, logt = instrument()
    g, sigma = pixels(K, logt)
    plain = solve(g, sigma, K, dlogt, logt, Options())
    scaled = solve(factor * g, factor * sigma, K, dlogt, logt, Options())
    assert largest_difference(scaled.dem / factor, plain.dem) < 1e-9
    np.testing.assert_allclose(scaled.chi_squared, plain.chi_squared, rtol=1e-9)


def assert_same_but_for_unit(plain, scaled, factor):
    for name in ("dem", "dem_uncertainty"):
        assert largest_difference(getattr(scaled, name) * factor, getattr(plain, name)) < 1e-9
    for name in ("chi_squared", "predicted_intensity", "regularization_parameter", "temperature_resolution"):
        np.testing.assert_allclose(getattr(scaled, name), getattr(plain, name), rtol=1e-9)
    np.testing.assert_array_equal(scaled.status, plain.status)


def test_errors_are_the_spread_of_the_noise():
    """Monte Carlo at the operator of one solution."""
    K, dlogt, logt = instrument(n_bins=20)
    g, sigma = pixels(K, logt, 1)
    solution = solve(g, sigma, K, dlogt, logt, Options(positivity=None))
    A = K / sigma / K.max()
    lam = solution.regularization_parameter[0]
    # The weight follows from the solution: dem = v A^T y with y the solution's own dual.
    dual = (g / sigma - A @ (solution.dem * K.max())) / lam
    v = (solution.dem * K.max() / (A.T @ dual))[:, 0]
    draws = kdagger(A, v, lam) @ np.random.default_rng(2).standard_normal((6, 20000)) / K.max()
    np.testing.assert_allclose(solution.dem_uncertainty[:, 0], draws.std(axis=1), rtol=0.03)


def test_pixel_without_signal_is_flagged():
    K, dlogt, logt = instrument()
    g, sigma = pixels(K, logt, 3)
    sigma[:, 1] = 3 * g[:, 1]
    solution = solve(g, sigma, K, dlogt, logt, Options())
    np.testing.assert_array_equal((solution.status & Status.NO_SIGNAL) != 0, [False, True, False])
    assert np.all(np.isfinite(solution.dem))


@pytest.mark.parametrize("excess", [1.001, 1.1, 2, 5])
def test_pixel_with_hardly_any_signal_meets_its_target(excess):
    """However strong the damping must be, and without relaxing to a target that no plasma at all would meet."""
    K, dlogt, logt = instrument()
    g, sigma = pixels(K, logt, 40)
    sigma *= np.sqrt(np.mean((g / sigma) ** 2, axis=0) / excess)
    exact = solve(g, sigma, K, dlogt, logt, Options(positivity=None))
    np.testing.assert_allclose(exact.chi_squared, 1, rtol=1e-10)
    relaxed = solve(g, sigma, K, dlogt, logt, Options())
    assert not np.any(relaxed.status & Status.NO_SIGNAL)
    assert np.all(relaxed.chi_squared < excess)


@pytest.mark.parametrize("ratio", [1e-2, 1e-4, 1e-6, 1e3, 1e6])
def test_one_uncertainty_of_another_size(ratio):
    """The exact choice still meets its target: squaring A would cost twice the digits of the ratio."""
    K, dlogt, logt = instrument()
    g, sigma = pixels(K, logt, 100)
    sigma[2] *= ratio
    solution = solve(g, sigma, K, dlogt, logt, Options(positivity=None))
    np.testing.assert_allclose(solution.chi_squared, 1, rtol=1e-7 if ratio > 1e-5 else 1e-3)
    assert not np.any(solution.status & (Status.TARGET_NOT_REACHED | Status.FAILED))


@pytest.mark.parametrize("ratio", [1e-4, 1e-5, 1e-6])
def test_constraint_meets_its_target_with_one_uncertainty_of_another_size(ratio):
    K, dlogt, logt = instrument()
    g, sigma = pixels(K, logt, 100)
    sigma[2] *= ratio
    solution = solve(g, sigma, K, dlogt, logt, CONSTRAIN)
    np.testing.assert_allclose(solution.chi_squared, 1, rtol=1e-3)
    assert np.all(solution.dem >= 0)
    assert not np.any(solution.status & (Status.RELAXED | Status.FAILED))


def test_contradicting_channels_raise_the_target_of_the_constraint():
    K, sigma = np.array([[1.0, 2, 3], [1, 2, 3]]), np.array([[1.0], [2.0]])
    solution = solve(10 * sigma, sigma, K, np.full(3, 0.1), np.array([6, 6.1, 6.2]), CONSTRAIN)
    assert solution.status[0] == Status.RELAXED
    assert np.all(solution.dem >= 0)
    # The least misfit of any DEM, per channel: of the one intensity that both channels should have seen.
    best = np.sum(((10 * sigma - 12) / sigma) ** 2) / 2
    assert best <= solution.chi_squared[0] < 2 * best


@pytest.mark.parametrize(("factor", "is_told"), [(1e-8, False), (1e-14, True)])
def test_lost_digits_are_told(factor, is_told):
    """An uncertainty of 1e-14 of the others asks for more digits of the DEM than there are; one of 1e-8 does not."""
    K, dlogt, logt = instrument()
    g, sigma = pixels(K, logt, 100)
    sigma[2] *= factor
    solution = solve(g, sigma, K, dlogt, logt, Options(positivity=None))
    is_off = np.abs(solution.chi_squared - 1) > 1e-3
    assert is_off.any() == is_told
    np.testing.assert_array_equal((solution.status & Status.FAILED) != 0, is_told)


@pytest.mark.parametrize("distance", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("options", CHOICES)
def test_channels_that_see_nearly_the_same(distance, options):
    K, dlogt, logt = instrument()
    K = np.concatenate([K, K[2:3] * (1 + distance * np.sin(np.arange(K.shape[1])))])
    g, sigma = pixels(K, logt, 50)
    solution = solve(g, sigma, K, dlogt, logt, options)
    assert np.all(np.isfinite(solution.dem))
    np.testing.assert_allclose(solution.predicted_intensity, K @ solution.dem, rtol=1e-9)


@pytest.mark.parametrize("options", [*CHOICES, CONSTRAIN])
@pytest.mark.parametrize("sigma_there", [5e-324, 1e-160, 1e150])
def test_extreme_uncertainty_fails_alone(options, sigma_there):
    K, dlogt, logt = instrument()
    g, sigma = pixels(K, logt, 5)
    extreme = sigma.copy()
    extreme[:, 2] = sigma_there
    with np.errstate(all="ignore"):
        plain, other = (solve(g, s, K, dlogt, logt, options) for s in (sigma, extreme))
    assert other.status[2] & (Status.FAILED | Status.NO_SIGNAL | Status.TARGET_NOT_REACHED)
    good = [0, 1, 3, 4]
    np.testing.assert_array_equal(other.dem[:, good], plain.dem[:, good])


def test_contradicting_channels_are_flagged():
    K, dlogt, logt = instrument(3, 10)
    K = K[[0, 1, 2, 2]]  # the last two see the same, and disagree
    g, sigma = pixels(K, logt, 2, noise=0.01)
    g[3, 1] *= 1.5
    solution = solve(g, sigma, K, dlogt, logt, Options(positivity=None))
    np.testing.assert_array_equal((solution.status & Status.TARGET_NOT_REACHED) != 0, [False, True])
    assert np.all(np.isfinite(solution.dem))


@pytest.mark.parametrize("options", [*CHOICES, CONSTRAIN])
def test_runs_on_any_array_library(options):
    """A strict namespace on a device that is not the default rejects what CuPy would reject."""
    K, dlogt, logt = instrument()
    g, sigma = pixels(K, logt, 20)
    plain = solve(g, sigma, K, dlogt, logt, options)
    device = array_api_strict.Device("device1")
    arrays = [array_api_strict.asarray(a, device=device) for a in (g, sigma, K, dlogt, logt)]
    with array_api_strict.ArrayAPIStrictFlags(api_version="2024.12"):
        strict = solve(*arrays, options)
    for name in OUTPUTS:
        mine, theirs = getattr(plain, name), getattr(strict, name)
        assert theirs.device == device
        theirs = np.asarray(theirs.to_device(array_api_strict.Device("CPU_DEVICE")))
        np.testing.assert_array_equal(theirs, mine, err_msg=name)
        assert theirs.dtype == mine.dtype
