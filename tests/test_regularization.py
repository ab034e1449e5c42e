"""The mathematics against an independent solution of the same problem, and against what must be true of any."""

import itertools

import array_api_strict
import numpy as np
import pytest
from synthetic import instrument, pixels

from sunpy_demreg._regularization import Options, solve
from sunpy_demreg._status import Status

CHOICES = [
    Options(parameter_choice=choice, positivity=positivity)
    for choice, positivity in itertools.product(("discrepancy", "grid"), ("relax", None))
]


def reference_weight(dem, absolute_floor):
    """The weight of the second pass, written with a convolution."""
    floor = 1.0 if absolute_floor else max(dem) * 1e-6
    weight = np.where((dem > 0) & (dem > 1e-4 * max(dem)), dem, floor)
    smooth = np.convolve(weight[1:-1], np.full(5, 0.2))[1:-1] / max(weight)
    return np.maximum(smooth, 1e-8)


def kdagger(A, v, lam):
    """Operator from data to DEM, from the normal equations in whichever space is smaller."""
    return v[:, None] * A.T @ np.linalg.inv((A * v) @ A.T + lam * np.eye(len(A)))


def misfit_curve(A, v, d, lam):
    """|A xi - d|^2 for each lam, by singular values of the standard form."""
    U, s, _ = np.linalg.svd(A * np.sqrt(v), full_matrices=False)
    c = U.T @ d
    return np.sum((np.outer(lam, c) / (s**2 + np.asarray(lam)[:, None])) ** 2, axis=1) + d @ d - c @ c


def grid(A, v, n_samples):
    s = np.linalg.svd(A * np.sqrt(v), compute_uv=False)
    return np.geomspace(s.min() ** 2 * 1e-4, s.max(), n_samples)


def largest_difference(array, expected):
    """Over all pixels, relative to the peak of each."""
    return np.max(np.abs(array - expected) / np.abs(expected).max(axis=0))


def width(column, logt, dlogt):
    samples = logt[0] + 1e-8 + (logt[-1] - logt[0]) * np.arange(51) / 51
    above = samples[np.interp(samples, logt, column) >= column.max() / 2]
    return above[-1] - above[0] if above.size else 2 * dlogt


@pytest.mark.parametrize("options", CHOICES)
@pytest.mark.parametrize(("n_channels", "n_bins"), [(6, 36), (3, 12), (1, 5), (4, 3), (9, 60)])
def test_equals_dense_solution(options, n_channels, n_bins):
    """Every output, pixel by pixel, from dense matrices; only lam is taken over, and checked by its own rule."""
    K, dlogt, logt = instrument(n_channels, n_bins)
    g, sigma = pixels(K, logt, 12)
    solution = solve(g, sigma, K, dlogt, logt, options)
    on_grid = options.parameter_choice == "grid"
    scale = 1e15 if on_grid else 1 / K.max()
    n = len(K)
    for p in range(g.shape[1]):
        A, d = scale * K / sigma[:, p, None], g[:, p] / sigma[:, p]

        def best(A, v, d, target):
            if on_grid:
                lam = grid(A, v, options.n_samples)
                return lam[np.argmin(np.abs(misfit_curve(A, v, d, lam) - target))]
            lam = np.geomspace(1e-14, 1e4, 4000) * np.linalg.norm((A * v) @ A.T)
            return np.interp(target, misfit_curve(A, v, d, lam), lam)

        first = kdagger(A, dlogt, best(A, dlogt, d, n)) @ d
        v = reference_weight(first, on_grid) / dlogt
        lam = solution.regularization_parameter[p]
        K_dagger = kdagger(A, v, lam)
        dem = K_dagger @ d
        # The search above is only as fine as its table, and finds the first-pass lam to 1e-3.
        tolerance = 1e-8 if on_grid else 2e-3
        if n > n_bins and on_grid:
            continue  # eigenvalues of zero: the grid starts at the smallest number there is
        peak = np.abs(dem).max() * scale
        np.testing.assert_allclose(solution.dem[:, p], dem * scale, rtol=0, atol=tolerance * peak)
        edem = np.sqrt(np.sum(K_dagger**2, axis=1)) * scale
        np.testing.assert_allclose(solution.dem_uncertainty[:, p], edem, rtol=0, atol=tolerance * edem.max())
        np.testing.assert_allclose(solution.predicted_intensity[:, p], K @ solution.dem[:, p], rtol=1e-11)
        R = K_dagger @ A
        widths = [width(R[:, k], logt, dlogt[k]) for k in range(n_bins)]
        sample = (logt[-1] - logt[0]) / 51
        atol = 1e-9 if on_grid else 1.01 * sample
        np.testing.assert_allclose(solution.temperature_resolution[:, p], widths, atol=atol)
        if options.positivity is None and on_grid:
            assert lam == pytest.approx(best(A, v, d, n), rel=1e-9)


def test_grid_handles_more_channels_than_bins():
    K, dlogt, logt = instrument(6, 4)
    g, sigma = pixels(K, logt, 8)
    solution = solve(g, sigma, K, dlogt, logt, Options(parameter_choice="grid"))
    assert np.all(np.isfinite(solution.dem))
    assert np.all(solution.chi_squared > 0)


@pytest.mark.parametrize("options", CHOICES)
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


def test_isothermal_plasma_is_found_at_its_temperature():
    K, dlogt, logt = instrument(n_bins=36)
    bins = np.arange(6, 30)
    g = 1e22 * K[:, bins]
    solution = solve(g, 0.01 * g + 1e-4, K, dlogt, logt, Options())
    # Two bins are a tenth in log T, less than the resolution of such an instrument.
    assert np.max(np.abs(np.argmax(solution.dem, axis=0) - bins)) <= 2


@pytest.mark.parametrize("options", CHOICES)
def test_no_pixel_knows_of_another(options):
    """Bit for bit: alone, in any order, in any company."""
    K, dlogt, logt = instrument()
    g, sigma = pixels(K, logt, 40)
    together = solve(g, sigma, K, dlogt, logt, options)
    order = np.random.default_rng(1).permutation(40)
    shuffled = solve(g[:, order], sigma[:, order], K, dlogt, logt, options)
    alone = solve(g[:, 7:8], sigma[:, 7:8], K, dlogt, logt, options)
    for whole, mixed, single in zip(together, shuffled, alone, strict=True):
        np.testing.assert_array_equal(whole[..., order], mixed)
        np.testing.assert_array_equal(whole[..., 7:8], single)


@pytest.mark.parametrize("options", CHOICES)
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
    """Monte Carlo at a fixed operator: lam and the weight are held by a first solution's own linearity."""
    K, dlogt, logt = instrument(n_bins=20)
    g, sigma = pixels(K, logt, 1)
    solution = solve(g, sigma, K, dlogt, logt, Options(positivity=None))
    A = K / sigma / K.max()
    first = solve(g, sigma, K, dlogt, logt, Options(positivity=None))
    lam = first.regularization_parameter[0]
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


def test_contradicting_channels_are_flagged():
    K, dlogt, logt = instrument(3, 10)
    K = K[[0, 1, 2, 2]]  # the last two see the same, and disagree
    g, sigma = pixels(K, logt, 2, noise=0.01)
    g[3, 1] *= 1.5
    solution = solve(g, sigma, K, dlogt, logt, Options(positivity=None))
    np.testing.assert_array_equal((solution.status & Status.TARGET_NOT_REACHED) != 0, [False, True])
    assert np.all(np.isfinite(solution.dem))


@pytest.mark.parametrize("options", CHOICES)
def test_runs_on_any_array_library(options):
    """A strict namespace on a device that is not the default rejects what CuPy would reject."""
    K, dlogt, logt = instrument()
    g, sigma = pixels(K, logt, 20)
    plain = solve(g, sigma, K, dlogt, logt, options)
    device = array_api_strict.Device("device1")
    arrays = [array_api_strict.asarray(a, device=device) for a in (g, sigma, K, dlogt, logt)]
    with array_api_strict.ArrayAPIStrictFlags(api_version="2024.12"):
        strict = solve(*arrays, options)
    for name, mine, theirs in zip(plain._fields, plain, strict, strict=True):
        assert theirs.device == device
        theirs = np.asarray(theirs.to_device(array_api_strict.Device("CPU_DEVICE")))
        np.testing.assert_array_equal(theirs, mine, err_msg=name)
        assert theirs.dtype == mine.dtype
