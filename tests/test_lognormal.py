"""The log-normal method: its rules, its errors, and what may not change it."""

import fake_cupy
import lognormal_truth as truth
import numpy as np
import pytest
from array_api_strict import Device, asarray
from synthetic import BACKENDS, instrument, make_problem, run

from sunpy_demreg import Status, invert
from sunpy_demreg._engines.algorithm import elementary, lognormal
from sunpy_demreg._engines.algorithm.lognormal_pass import RULES
from sunpy_demreg._engines.arrays import engine
from sunpy_demreg._engines.arrays.machine import _ArrayMachine
from sunpy_demreg._engines.base.options import OUTPUTS, Options, make_plan
from sunpy_demreg._engines.base.prior import RANK, make_prior
from sunpy_demreg._engines.base.tables import make_tables

OPTIONS = Options(method="lognormal", parameter_choice="prior", dem_error="posterior", outputs=OUTPUTS)
UNEVEN = np.tile([0.025, 0.05, 0.1, 0.05], 8)


def bins(dlogt, low=5.6):
    edges = low + np.concatenate([[0.0], np.cumsum(dlogt)])
    return dlogt, 0.5 * (edges[1:] + edges[:-1])


def response_of(logt, dlogt, n_channels):
    """Response matrix to the DEM: smooth, overlapping, with a second peak each."""
    peaks = np.linspace(logt[0] + 0.15, logt[-1] - 0.15, n_channels)[:, None]
    R = np.exp(-0.5 * ((logt - peaks) / 0.15) ** 2) + 0.05 * np.exp(-0.5 * ((logt - peaks + 0.5) / 0.2) ** 2) + 1e-3
    return 1e-25 * R * 10**logt * np.log(10) * dlogt


def pixels(K, logt, n_pixels, seed=0, noise=0.05):
    """Emission measures of one to three components, of very different brightness, with noise: (n, N)."""
    rng = np.random.default_rng(seed)
    em = np.zeros((logt.size, n_pixels))
    for _ in range(3):
        center, width = rng.uniform(logt[0], logt[-1], n_pixels), rng.uniform(0.03, 0.35, n_pixels)
        em += 10 ** rng.uniform(-1.5, 0, n_pixels) * np.exp(-0.5 * ((logt[:, None] - center) / width) ** 2)
    g = K @ (10 ** rng.uniform(26, 28.5, n_pixels) * em / (10.0**logt * np.log(10))[:, None])
    sigma = np.sqrt((noise * g) ** 2 + g / 30 + 0.3**2)
    return g + sigma * rng.standard_normal(g.shape), sigma


def case(n_channels=6, dlogt=None, n_pixels=300, **more):
    dlogt, logt = bins(np.full(36, 0.05) if dlogt is None else dlogt)
    K = response_of(logt, dlogt, n_channels)
    return (*pixels(K, logt, n_pixels, **more), np.zeros(n_pixels, np.int32), K, dlogt, logt)


def per_dex(logt):
    return (10**logt * np.log(10))[:, None]


def of_truth(g, sigma, status, K, dlogt, logt, **more):
    return truth.invert(g.T, sigma.T, K / per_dex(logt).T, dlogt, **more)


def is_solved(solution):
    return (solution.status & int(Status.UNSOLVED)) == 0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("n_channels", "dlogt"), [(6, None), (1, None), (4, UNEVEN), (9, np.full(10, 0.15)), (6, np.full(60, 0.03))]
)
def test_agrees_with_the_truth(backend, n_channels, dlogt):
    """Also with fewer bins than coefficients, and uneven bins."""
    given = case(n_channels, dlogt)
    ours, expected = run(*given, OPTIONS, backend=backend), of_truth(*given)
    solved = is_solved(ours)
    assert solved.mean() > 0.8
    assert expected["is_converged"][solved].all()
    assert expected["passes"].max() > 10  # lanes that are done wait for others
    xi, error = (a * per_dex(given[-1]) for a in (ours.dem, ours.dem_uncertainty))
    for a, b in ((xi, expected["xi"].T), (error, expected["error"].T)):
        assert np.max(np.abs(a - b)[:, solved] / np.max(b, axis=0)[solved]) < 1e-8
    np.testing.assert_allclose(ours.regularization_parameter[solved], expected["lam"][solved], rtol=1e-8)
    np.testing.assert_allclose(ours.chi_squared[solved], expected["misfit"][solved] / n_channels, rtol=1e-7)
    is_above = (ours.status & int(Status.TARGET_NOT_REACHED)) != 0
    np.testing.assert_array_equal(is_above[solved], (expected["misfit"] > 1.02 * n_channels)[solved])
    is_bad = (ours.status & int(Status.NOT_CONVERGED | Status.FAILED)) != 0
    has_signal = np.sum((given[0] / given[1]) ** 2, axis=0) > n_channels
    # Where plasma of any temperature would fit worse, none is the best.
    has_signal &= np.any(given[3].T @ (given[0] / given[1] ** 2) > 0, axis=0)
    np.testing.assert_array_equal(is_bad, has_signal & ~expected["is_converged"])
    np.testing.assert_array_equal(solved | is_bad, has_signal)


@pytest.mark.parametrize("dem_error", ["posterior", "noise"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_outputs_are_those_of_the_whole_matrices(backend, dem_error):
    """Errors, covariance, resolution and functionals, by the formulas with m x m matrices."""
    g, sigma, status, K, dlogt, logt = case(n_pixels=60)
    functional = np.array([np.arange(36) < 12, np.linspace(-1, 1, 36)]) * (10**logt * np.log(10) * dlogt)
    options = OPTIONS._replace(dem_error=dem_error)
    ours = run(g, sigma, status, K, dlogt, logt, options, functional=functional, backend=backend)
    solved = is_solved(ours)
    assert solved.sum() > 50
    c, F = per_dex(logt), truth.prior_factor(dlogt)
    xi, lam = (ours.dem * c).T, ours.regularization_parameter
    A = (K / c.T) / sigma.T[:, :, None]
    operator = truth.noise_operator(A, xi, F, lam)
    covariance = operator @ operator.transpose(0, 2, 1)
    if dem_error == "posterior":
        covariance = xi[:, :, None] * truth.posterior_covariance(A, xi, F, lam) * xi[:, None, :]
    ratio = c / c.T
    of_dem = covariance / (c * c.T)
    expected = {
        "dem_uncertainty": np.sqrt(np.diagonal(of_dem, axis1=1, axis2=2)).T,
        "covariance": np.moveaxis(of_dem, 0, -1),
        "resolution_matrix": np.moveaxis(operator @ A / ratio, 0, -1),
        "emission_measure": functional @ ours.dem,
        "emission_measure_uncertainty": np.sqrt(np.einsum("qj,pjk,qk->qp", functional, of_dem, functional)),
        "predicted_intensity": K @ ours.dem,
        "chi_squared": np.mean(((g - K @ ours.dem) / sigma) ** 2, axis=0),
    }
    for name, b in expected.items():
        a = getattr(ours, name)
        scale = np.max(np.abs(b), axis=tuple(range(b.ndim - 1)))
        assert np.max((np.abs(a - b) / scale)[..., solved]) < 1e-8, name
    assert np.all(ours.dem[:, solved] > 0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_temperature_resolution_is_the_width_of_the_kernel(backend):
    """Of the column of the resolution matrix of the emission measure per dex, at 51 temperatures."""
    g, sigma, status, K, dlogt, logt = case(n_pixels=40)
    ours = run(g, sigma, status, K, dlogt, logt, OPTIONS, backend=backend)
    solved, sample = is_solved(ours), logt[0] + 1e-8 + (logt[-1] - logt[0]) * np.arange(51) / 51
    c = per_dex(logt)
    for p in np.flatnonzero(solved)[:20]:
        R = ours.resolution_matrix[:, :, p] * (c / c.T)
        for k in range(36):
            column = np.interp(sample, logt, R[:, k])
            above = np.flatnonzero(column >= 0.5 * R[:, k].max())
            width = (above[-1] - above[0]) * (logt[-1] - logt[0]) / 51 if above.size else 2 * dlogt[k]
            assert ours.temperature_resolution[k, p] == pytest.approx(width or dlogt[k], rel=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_discrepancy_meets_the_target(backend):
    """Chi-squared is its target wherever lam is not at its least."""
    given = case(n_pixels=400)
    options = OPTIONS._replace(
        parameter_choice="discrepancy", outputs=("dem", "chi_squared", "regularization_parameter")
    )
    for target in (1.0, 0.7):
        ours = run(*given, options._replace(chi_squared_target=target), backend=backend)
        clean = ours.status == 0
        assert clean.mean() > 0.8
        np.testing.assert_allclose(ours.chi_squared[clean], target, rtol=2e-6)
        assert np.nanmax(ours.regularization_parameter) > 1.5


@pytest.mark.parametrize("backend", BACKENDS)
def test_discrepancy_where_the_mode_jumps_over_the_target(backend):
    """Faint pixels that no lam has a minimum for: a stationary point at the target, or the mean of the prior below."""
    options = OPTIONS._replace(
        parameter_choice="discrepancy", outputs=("dem", "chi_squared", "regularization_parameter")
    )
    curvatures, n_below = [], 0
    for seed, which in ((0, [1507, 3806]), (2, [708, 1453]), (4, [3452]), (5, [1679, 3792])):
        g, sigma, status, K, dlogt, logt = case(n_pixels=4000, seed=seed)
        g, sigma, status = g[:, which], sigma[:, which], status[which]
        ours = run(g, sigma, status, K, dlogt, logt, options, backend=backend)
        assert not np.any(ours.status & int(Status.NOT_CONVERGED | Status.UNSOLVED))
        A, d, F = (K / per_dex(logt).T) / sigma.T[:, :, None], (g / sigma).T, truth.prior_factor(dlogt)
        _, s0 = truth.prior_mean(A, d, np.full(len(which), 6.0), dlogt)
        for p, lam in enumerate(ours.regularization_parameter):
            xi = ours.dem[:, p] * per_dex(logt)[:, 0]
            a = np.linalg.lstsq(F, np.log(xi) - s0[p])[0]
            if lam >= 1e6:
                assert ours.chi_squared[p] < 1
                assert np.abs(F @ a).max() < 1e-4
                n_below += 1
                continue
            assert ours.chi_squared[p] == pytest.approx(1, abs=1e-6)
            v = (A[p] * xi).T @ (d[p] - A[p] @ xi)
            assert np.linalg.norm(F.T @ v - lam * a) < 2e-3 * np.linalg.norm(lam * a)
            B = A[p] * xi @ F
            curvatures.append(np.linalg.eigvalsh(B.T @ B - F.T @ (v[:, None] * F) + lam * np.eye(RANK))[0] / lam)
    assert n_below == 2
    assert len(curvatures) == 5
    assert min(curvatures) < -0.01


def test_noise_is_what_the_data_change_the_dem_by():
    """To some ten percent: how the Jacobian and the prior mean move with the data is left out."""
    g, sigma, *problem = case(n_pixels=300)
    options = OPTIONS._replace(dem_error="noise", outputs=("dem", "dem_uncertainty", "regularization_parameter"))
    ours, variance, h = run(g, sigma, *problem, options), 0, 1e-2
    for i in range(6):
        shift = h * sigma * (np.arange(6) == i)[:, None]
        up, down = (run(g + sign * shift, sigma, *problem, options).dem for sign in (1, -1))
        variance = variance + ((up - down) / (2 * h)) ** 2
    keep = is_solved(ours) & (ours.regularization_parameter == 1)
    error = ours.dem_uncertainty[:, keep]
    difference = np.abs(np.sqrt(variance[:, keep]) - error).sum(axis=0) / error.sum(axis=0)
    assert keep.sum() > 150
    assert 0.05 < np.median(difference) < 0.15
    assert np.quantile(difference, 0.95) < 0.3


@pytest.mark.parametrize("backend", BACKENDS)
def test_unit_of_the_data_does_not_matter(backend):
    g, sigma, status, K, dlogt, logt = case(n_pixels=200)
    one = run(g, sigma, status, K, dlogt, logt, OPTIONS, backend=backend)
    for unit in (1e-12, 3e20):
        other = run(unit * g, unit * sigma, status, K, dlogt, logt, OPTIONS, backend=backend)
        np.testing.assert_allclose(other.dem, unit * one.dem, rtol=1e-6)
        np.testing.assert_allclose(other.dem_uncertainty, unit * one.dem_uncertainty, rtol=1e-6)
        np.testing.assert_array_equal(other.status, one.status)


@pytest.mark.parametrize("backend", BACKENDS)
def test_order_of_the_channels_does_not_matter(backend):
    g, sigma, status, K, dlogt, logt = case(n_pixels=200)
    one, order = run(g, sigma, status, K, dlogt, logt, OPTIONS, backend=backend), [3, 0, 5, 1, 4, 2]
    other = run(g[order], sigma[order], status, K[order], dlogt, logt, OPTIONS, backend=backend)
    np.testing.assert_allclose(other.dem, one.dem, rtol=1e-6, atol=1e-9 * np.nanmax(one.dem))
    np.testing.assert_array_equal(other.status, one.status)


@pytest.mark.parametrize("backend", BACKENDS)
def test_neighbors_do_not_matter(backend):
    """To the last bit, even of bad neighbors."""
    g, sigma, status, *problem = case(n_pixels=300)
    whole = run(g, sigma, status, *problem, OPTIONS, backend=backend)
    for part in (slice(7, 8), slice(3, 90), slice(None, None, 5)):
        some = run(g[:, part], sigma[:, part], status[part], *problem, OPTIONS, backend=backend)
        for a, b in zip(some, whole.at(part), strict=True):
            if a is not None:
                np.testing.assert_array_equal(a, b)
    bad = np.where(np.arange(300) % 3 == 0, 1, 0).astype(np.int32)
    g[:, bad != 0] = np.nan
    among = run(g, sigma, bad, *problem, OPTIONS, backend=backend)
    np.testing.assert_array_equal(among.dem[:, bad == 0], whole.dem[:, bad == 0])
    assert np.isnan(among.dem[:, bad != 0]).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_other_starts_end_at_the_same(backend, monkeypatch):
    """Although the problem is not convex."""
    given = case(n_pixels=300)
    options = OPTIONS._replace(outputs=("dem",))
    one = run(*given, options, backend=backend)
    tables = make_prior(given[4], 4.0, 0.8)
    monkeypatch.setattr(
        "sunpy_demreg._engines.base.tables.make_prior", lambda *_: tables._replace(to_prior=0 * tables.to_prior)
    )
    from sunpy_demreg._engines.cpu.engine import _tabulated

    _tabulated.cache_clear()
    other = run(*given, options, backend=backend)
    _tabulated.cache_clear()
    difference = np.max(np.abs(one.dem - other.dem), axis=0) / np.max(one.dem, axis=0)
    assert np.nanmax(difference) > 0
    assert np.nanmean(difference > 0.01) < 0.02


@pytest.mark.parametrize("backend", BACKENDS)
def test_intensities_of_zero_or_less_are_data(backend):
    """They are used as they are, and any sign of all of them gives a DEM or a reason."""
    g, sigma, status, *problem = case(n_pixels=300)
    g[2, ::3], g[5, ::4], g[:, 1::50] = -0.5 * sigma[2, ::3], 0.0, -3 * sigma[:, 1::50]
    ours, expected = run(g, sigma, status, *problem, OPTIONS, backend=backend), of_truth(g, sigma, status, *problem)
    solved = is_solved(ours) & expected["is_converged"]
    assert solved[::3].mean() > 0.8
    xi = (ours.dem * per_dex(problem[-1])).T
    difference = np.abs(xi - expected["xi"]).max(axis=1) / expected["xi"].max(axis=1)
    assert np.max(difference[solved]) < 1e-7
    assert np.all(ours.dem[:, solved] > 0)
    assert np.all(ours.status[1::50] & int(Status.TARGET_NOT_REACHED | Status.NO_SIGNAL))


def test_far_from_an_intensity_that_no_plasma_gives():
    """Of an intensity and an error beyond all others, what is predicted is no more than rounding."""
    g, sigma, *problem = case(n_pixels=60)
    g[1], sigma[1] = 2e70, 1e70
    g[0] = 300 * sigma[0]
    ours, theirs = (run(g, sigma, *problem, OPTIONS, backend=backend) for backend in BACKENDS)
    np.testing.assert_array_equal(ours.status, theirs.status)
    assert is_solved(ours).all()
    has_ended = (ours.status & int(Status.NOT_CONVERGED)) == 0
    assert has_ended.mean() > 0.8
    difference = (np.abs(ours.dem - theirs.dem).max(axis=0) / theirs.dem.max(axis=0))[has_ended]
    assert np.median(difference) < 1e-10
    assert np.max(difference) < 1e-6  # of many passes


@pytest.mark.parametrize("backend", BACKENDS)
def test_signals_that_hardly_stand_out_are_flagged(backend):
    g, sigma, status, *problem = case(n_pixels=200)
    size = np.geomspace(0.5, 60, 200)
    g = sigma * np.sqrt(size / 6)
    ours = run(g, sigma, status, *problem, OPTIONS, backend=backend)
    np.testing.assert_array_equal(ours.status & int(Status.NO_SIGNAL) != 0, size <= 6)
    is_limit = ours.status & int(Status.UPPER_LIMIT) != 0
    np.testing.assert_array_equal(is_limit, (size > 6) & (size < 6 + 3 * 12**0.5))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "options",
    [OPTIONS, OPTIONS._replace(parameter_choice="discrepancy"), Options(positivity="constrain")],
    ids=["prior", "discrepancy", "constrain"],
)
def test_noise_below_zero_is_no_signal(options, backend):
    """However far: where plasma of any temperature would fit worse than none, a DEM that is not negative has none."""
    _, sigma, _, K, *bins = case(n_pixels=8)
    d = -np.full((6, 8), 5.0)
    d[:, 1], d[0, 2], d[2, 3], d[:, 4], d[1, 5], d[3, 6], d[:, 7] = -1.1, 0.1, 4.0, 0.0, 40.0, -500.0, -1e-3
    ours = run(
        d * sigma, sigma, np.zeros(8, np.int32), K, *bins, options._replace(outputs=OUTPUTS[:6]), backend=backend
    )
    size = np.sum(d**2, axis=0)
    has_none = (size <= 6) | np.all(K.T @ (d / sigma) <= 0, axis=0)
    assert has_none.tolist() == [True, True, True, False, True, False, True, True]
    np.testing.assert_array_equal((ours.status & int(Status.NO_SIGNAL)) != 0, has_none)
    np.testing.assert_array_equal(np.isnan(ours.dem).all(axis=0), has_none)
    if options.method == "lognormal":  # one channel of four sigma among others below zero is hardly a detection
        assert ours.status[3] & Status.UPPER_LIMIT
        assert not ours.status[5] & Status.UPPER_LIMIT
        assert np.all(ours.status[[3, 5]] & int(Status.TARGET_NOT_REACHED))


@pytest.mark.parametrize("backend", BACKENDS)
def test_pixels_that_do_not_converge_are_solved_with_a_constraint(backend, monkeypatch, tmp_path):
    """Of the emission measure, and flagged."""
    monkeypatch.setattr(lognormal, "_MAX_PASSES", 6)
    given = case(n_pixels=200)
    from sunpy_demreg._engines.cpu.engine import _tested

    _tested.cache_clear()
    monkeypatch.setenv("SUNPY_DEMREG_CACHE", str(tmp_path / "cache"))
    ours = run(*given, OPTIONS._replace(outputs=OUTPUTS[:6]), backend=backend)
    _tested.cache_clear()
    is_stuck = ours.status & int(Status.NOT_CONVERGED) != 0
    assert 10 < is_stuck.sum() < 190
    options = Options(positivity="constrain", solve_for="emission_measure", outputs=OUTPUTS[:6])
    other = run(*given, options, backend=backend)
    for name in OUTPUTS[:6]:
        np.testing.assert_array_equal(getattr(ours, name)[..., is_stuck], getattr(other, name)[..., is_stuck])
    assert np.all(np.isfinite(ours.dem[:, is_stuck]))


def test_engines_agree_in_real_pixels(cube, response, edges):
    """Also after many passes, on which what rounding has done grows."""
    ours, plain = (invert(cube, response, edges, method="lognormal", backend=backend) for backend in BACKENDS)
    np.testing.assert_array_equal(ours["status"].data, plain["status"].data)
    of_dem, of_error = (
        np.max(np.abs(a - b), axis=0) / np.max(b, axis=0)
        for a, b in zip(*((r["dem"].data, r["dem"].uncertainty.array) for r in (ours, plain)), strict=True)
    )
    assert np.mean(of_dem > 1e-9) < 1e-4
    assert max(np.max(of_dem), np.max(of_error)) < 1e-8


@pytest.mark.parametrize("backend", BACKENDS)
def test_lam_keeps_nothing_of_what_rounding_did(backend):
    """Its logarithm is a multiple of some grain, counted from the largest or from the least lam."""
    lam = run(*case(n_pixels=600), OPTIONS, backend=backend).regularization_parameter
    between = lam[(lam > 0.1) & (lam < 1)]
    assert between.size > 30
    grains = np.log([between, between / 0.1]) / RULES["prior"].grain
    assert np.max(np.min(np.abs(grains - np.round(grains)), axis=0)) < 1e-6


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [1e-200, 1e-100, 1e-30, 1e30, 1e100, 1e200])
def test_extreme_sizes_are_solved_or_flagged(backend, size):
    """Never wrong in silence: chi-squared and the prediction are those of the DEM."""
    g, sigma, status, K, dlogt, logt = case(n_pixels=64)
    options = OPTIONS._replace(outputs=OUTPUTS[:6])
    for factors in (np.full(6, size), np.where(np.arange(6) == 2, size, 1.0)):
        data = g * factors[:, None], sigma * factors[:, None]
        ours = run(*data, status, K, dlogt, logt, options, backend=backend)
        solved = is_solved(ours)
        assert np.isnan(ours.dem[:, ~solved]).all()
        if solved.any():
            predicted = K @ ours.dem[:, solved]
            np.testing.assert_allclose(ours.predicted_intensity[:, solved], predicted, rtol=1e-9)
            with np.errstate(all="ignore"):
                chi_squared = np.mean(((data[0][:, solved] - predicted) / data[1][:, solved]) ** 2, axis=0)
            np.testing.assert_allclose(ours.chi_squared[solved], chi_squared, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("n_channels", "dlogt", "dtype", "more"),
    [
        (6, None, "float64", {}),
        (4, UNEVEN, "float32", {"dem_error": "noise", "outputs": OUTPUTS[:8]}),
        (3, np.full(80, 0.02), "float64", {"parameter_choice": "discrepancy", "outputs": OUTPUTS[:8]}),
    ],
)
def test_gpu_agrees_with_the_plain_arrays(n_channels, dlogt, dtype, more, monkeypatch):
    """Its text, compiled for the processor at hand: also of so many bins that a block of threads shares a pixel."""
    g, sigma, status, *problem = case(n_channels, dlogt, n_pixels=130)
    functional = np.arange(problem[1].size)[None] * problem[0].max(axis=0)
    status[::9] = 1
    options = OPTIONS._replace(**more)
    with fake_cupy.installed(monkeypatch):
        ours = run(g, sigma, status, *problem, options, functional=functional, dtype=dtype, backend="cupy")
    expected = run(g, sigma, status, *problem, options, functional=functional, dtype=dtype, backend="numpy")
    np.testing.assert_array_equal(ours.status, expected.status)
    solved = is_solved(expected)
    assert solved.sum() > 90
    for name, a, b in zip(expected._fields[:-1], ours, expected, strict=False):
        if b is not None:
            np.testing.assert_array_equal(np.isnan(a), np.isnan(b), err_msg=name)
            scale = np.max(np.abs(b), axis=tuple(range(b.ndim - 1)))
            difference = (np.abs(a - b) / scale)[..., solved]
            if name == "temperature_resolution":
                assert np.mean(difference > 1e-9) < 1e-3
            else:
                assert np.max(difference) < (1e-8 if dtype == "float64" else 1e-6), name


@pytest.mark.parametrize("n_channels", [13, 24])
def test_many_channels(n_channels):
    """On plain arrays, whichever engine is asked for."""
    given = case(n_channels, n_pixels=60)
    ours, expected = run(*given, OPTIONS._replace(outputs=("dem", "dem_uncertainty"))), of_truth(*given)
    solved = is_solved(ours) & expected["is_converged"]
    assert solved.sum() > 55
    xi = (ours.dem * per_dex(given[-1])).T
    assert np.max(np.abs(xi - expected["xi"])[solved] / expected["xi"][solved].max(axis=1)[:, None]) < 1e-7


def test_more_channels_than_bins():
    given = case(9, np.full(6, 0.3), n_pixels=60)
    ours, expected = run(*given, OPTIONS._replace(outputs=("dem",))), of_truth(*given)
    solved = is_solved(ours) & expected["is_converged"]
    assert solved.sum() > 40
    xi = (ours.dem * per_dex(given[-1])).T
    # What no bin can reach is rounding there, and weighs in the first pass.
    difference = np.abs(xi - expected["xi"]).max(axis=1) / expected["xi"].max(axis=1)
    assert np.median(difference[solved]) < 1e-6
    assert np.max(difference[solved]) < 1e-2


def test_other_arrays():
    """Of a strict library, on another device than the default: the same text, the same numbers."""
    g, sigma, _, K, dlogt, logt = case(n_pixels=40)
    truth_ = engine.solve(g, sigma, make_problem(K, dlogt, logt, OPTIONS))
    device = Device("device1")
    arrays = [asarray(a, device=device) for a in (g, sigma, K, dlogt, logt)]
    strict = engine.solve(*arrays[:2], make_problem(*arrays[2:], OPTIONS))
    assert strict.dem.device == device
    solved = is_solved(truth_)
    for name, a, b in zip(strict._fields, strict, truth_, strict=True):
        if a is not None and b.size:
            a = np.asarray(asarray(a, device=Device("CPU_DEVICE")))
            scale = np.maximum(np.max(np.abs(b), axis=tuple(range(b.ndim - 1))), 1e-300)
            assert np.max((np.abs(a - b) / scale)[..., solved]) < 1e-9, name


def machine(values):
    K, dlogt, logt = instrument(1, 4)
    tables = make_tables(make_problem(K, dlogt, logt, OPTIONS))
    return _ArrayMachine(values[None], values[None], tables, make_plan(1, OPTIONS), None, is_careful=False)


def test_exponential_and_logarithm():
    x = np.concatenate([np.linspace(-700, 700, 20001), np.linspace(-1, 1, 20001), [0.0]])
    ours = elementary.exp(machine(x), x)
    np.testing.assert_allclose(ours, np.exp(x), rtol=6e-16)
    assert ours[-1] == 1
    x = np.concatenate([np.geomspace(1e-300, 1e300, 20001), np.linspace(0.4, 2.5, 20001), 2.0 ** np.arange(-20, 20)])
    ours, expected = elementary.log(machine(x), x), np.log(x.astype(np.longdouble)).astype(float)
    np.testing.assert_allclose(ours, expected, rtol=6e-16)
    assert np.isnan(elementary.exp(machine(x), np.array([np.nan]))).all()


def test_tables_of_the_prior():
    for dlogt in (np.full(36, 0.05), UNEVEN, np.full(8, 0.2), np.full(7, 0.4)):
        tables, m = make_prior(dlogt, 4.0, 0.8), dlogt.size
        F = truth.prior_factor(dlogt)
        assert tables.prior.shape == (m, RANK)
        np.testing.assert_allclose(tables.prior @ tables.prior.T, F @ F.T, rtol=1e-9, atol=1e-9)
        mean = np.zeros((m, m))
        for j, start in enumerate(tables.mean_start):
            mean[j, start : start + tables.mean.shape[1]] = tables.mean[j]
        np.testing.assert_allclose(mean, truth.mean_matrix(dlogt), atol=1e-14)
    wide = make_prior(np.full(36, 0.05), 2.0, 0.8)
    assert (wide.prior**2).sum() < (make_prior(np.full(36, 0.05), 4.0, 0.8).prior ** 2).sum()
