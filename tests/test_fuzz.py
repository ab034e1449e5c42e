"""Whatever goes in: each pixel is solved, or it is told why not; and nothing but its own data changes its answer."""

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from losses import UNSOLVED, run
from synthetic import BACKENDS, instrument, pixels

from sunpy_demreg import Status
from sunpy_demreg._engines import execute
from sunpy_demreg._engines.arrays import engine as arrays_engine
from sunpy_demreg._engines.base.options import OUTPUTS, STANDARD_OUTPUTS, Options
from sunpy_demreg._engines.cpu import engine as cpu_engine

LOG_NORMAL = Options(method="lognormal", parameter_choice="prior", dem_error="posterior")
#: With arrays, any number of channels and any options. What is compiled takes a second each: a few are given.
ENGINES = [
    ("numpy", None, None),
    ("cpu", 6, Options()),
    ("cpu", 4, Options(positivity="constrain")),
    ("cpu", 3, Options(positivity=None, n_refinements=1)),
    ("cpu", 2, Options(parameter_choice="grid", is_squared=True)),
    ("cpu", 1, Options(weighting="uniform")),
    ("cpu", 5, Options(parameter_choice="gcv")),
    ("cpu", 3, Options(positivity="constrain", weighting="em_loci", loci=(0, 1, 2))),
    ("cpu", 6, LOG_NORMAL),
    ("numpy", 4, LOG_NORMAL._replace(parameter_choice="discrepancy", dem_error="noise")),
]


FUNCTIONAL = np.array([np.arange(14) < 7, np.linspace(0.5, 2, 14)], dtype=float)


def examples(count):
    """The same ones each time, and no minutes of looking for a smaller one that fails too."""
    return settings(max_examples=count, deadline=None, derandomize=True, database=None, phases=[Phase.generate])


@st.composite
def any_options(draw, n):
    choice = draw(st.sampled_from(["discrepancy", "grid", "gcv"]))
    positivity = draw(st.sampled_from([None, "relax", "constrain"]))
    weighting = draw(st.sampled_from(["self", "em_loci", "uniform"]))
    return Options(
        parameter_choice="discrepancy" if positivity == "constrain" else choice,
        positivity=positivity,
        weighting=weighting,
        loci=tuple(range(n)) if weighting == "em_loci" else (),
        n_refinements=draw(st.integers(0, 2)),
        is_squared=draw(st.booleans()),
    )


@st.composite
def problems(draw, n, options):
    """Any response, counts over fifteen decades, uncertainties over six, and some bad pixels."""
    if n is None:
        n = draw(st.integers(1, 7))
        options = draw(any_options(n))
    options = options._replace(
        chi_squared_target=draw(st.sampled_from([0.01, 0.5, 1.0, 5.0])),
        target_growth=draw(st.sampled_from([1.1, 1.5, 3.0])),
        max_iterations=draw(st.integers(2, 15)),
        n_samples=draw(st.integers(2, 60)),
    )
    m, n_pixels = draw(st.integers(3, 40)), draw(st.integers(1, 19))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    K, dlogt, logt = instrument(n, m)
    if draw(st.booleans()):
        dlogt = rng.uniform(0.01, 0.3, m)
        logt = 5.5 + np.cumsum(dlogt) - dlogt / 2
        K = 10 ** rng.uniform(-3, 0, (n, m)) * 10 ** rng.uniform(-30, 30)
    # What a DEM gives, with noise, or what none gives: of which the constraint makes a long search.
    is_possible = options.positivity == "constrain" or draw(st.booleans())
    g = K @ 10 ** rng.uniform(-3, 3, (m, n_pixels)) if is_possible else 10 ** rng.uniform(-8, 0, (n, n_pixels))
    g *= 10 ** rng.uniform(-6, 9, n_pixels) / g.max(axis=0)
    sigma = g * 10 ** rng.uniform(-5, 1, g.shape if draw(st.booleans()) else n_pixels)
    if is_possible:
        g = np.abs(g + sigma * rng.standard_normal(g.shape))
    for values, bad in ((g, np.nan), (g, np.inf), (g, -1.0), (sigma, 0.0), (sigma, np.nan)):
        if draw(st.integers(0, 3)) == 0:
            values[rng.integers(n), rng.integers(n_pixels)] = bad
    return g, sigma, K, dlogt, logt, options


def assert_identical(ours, theirs, lanes=slice(None)):
    for a, b in zip(ours, theirs, strict=True):
        if a is not None:
            np.testing.assert_array_equal(a[..., lanes], b)


@pytest.mark.parametrize(("backend", "n", "options"), ENGINES)
def test_each_pixel_is_solved_or_told(backend, n, options):
    @examples(40 if backend == "numpy" else 6)
    @given(problems(n, options))
    def check(problem):
        g, sigma, K, *_ = problem
        answer = run(backend, *problem)
        unsolved = (answer.status & UNSOLVED) != 0
        assert np.all(unsolved[(execute.classify(g, sigma) & UNSOLVED) != 0])
        for name in STANDARD_OUTPUTS:
            values = getattr(answer, name)
            assert np.all(np.isnan(values[..., unsolved]))
            assert np.all(np.isfinite(values[..., ~unsolved]))
        g, sigma, dem = g[:, ~unsolved], sigma[:, ~unsolved], answer.dem[:, ~unsolved]
        residual = (g - K @ dem) / sigma
        chi_squared = np.mean(residual**2, axis=0)
        rounding = 4 * 2**-52 * (g + K.shape[1] * K @ np.abs(dem)) / sigma
        tolerance = np.mean((2 * np.abs(residual) + rounding) * rounding, axis=0) + 1e-12 * chi_squared
        assert np.all(np.abs(answer.chi_squared[~unsolved] - chi_squared) <= tolerance)
        is_negative = (answer.status[~unsolved] & Status.NEGATIVE_DEM) != 0
        np.testing.assert_array_equal(is_negative, np.any(dem < 0, axis=0))

    check()


@pytest.mark.parametrize(("backend", "n", "options"), ENGINES)
def test_no_pixel_changes_another(backend, n, options):
    """To the last bit: in any order, beside bad ones, in blocks of any size, on any number of threads."""

    @examples(10 if backend == "numpy" else 2)
    @given(problems(n, options), st.integers(0, 2**32 - 1), st.integers(4, 20), st.integers(1, 4))
    def check(problem, seed, block, workers):
        g, sigma, *rest = problem
        n_pixels = g.shape[1]
        whole = run(backend, *problem, workers=1)
        order = np.random.default_rng(seed).permutation(n_pixels)
        assert_identical(whole, run(backend, g[:, order], sigma[:, order], *rest), order)
        spoiled = g.copy()
        spoiled[0, order[: n_pixels // 2]] = np.nan
        others = order[n_pixels // 2 :]
        beside = run(backend, spoiled, sigma, *rest)
        assert_identical(whole, [None if a is None else a[..., others] for a in beside], others)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cpu_engine, "_BLOCK", block)
            patch.setattr(arrays_engine, "_MAX_BLOCK", block)
            assert_identical(whole, run(backend, *problem, workers=workers))

    check()


# Rounding may lead the log-normal method, which is not convex, to another minimum where a signal is 1e5 times its
# uncertainty: for ordinary data, see its own tests.
@pytest.mark.parametrize(("backend", "n", "options"), [e for e in ENGINES if LOG_NORMAL.method not in (e[2] or ())])
def test_order_of_channels_changes_digits_only(backend, n, options):
    """Or leaves none, which is told."""

    @examples(25 if backend == "numpy" else 4)
    @given(problems(n, options), st.integers(0, 2**32 - 1))
    def check(problem, seed):
        g, sigma, K, dlogt, logt, chosen = problem
        order = np.random.default_rng(seed).permutation(len(K))
        plain = run(backend, *problem)
        mixed = run(backend, g[order], sigma[order], K[order], dlogt, logt, chosen)
        either = plain.status | mixed.status
        is_failed = (either & Status.FAILED) != 0
        np.testing.assert_array_equal(plain.status[~is_failed], mixed.status[~is_failed])
        is_comparable = (either & UNSOLVED) == 0
        if chosen.positivity == "constrain":  # how far the target is raised is a matter of whole steps
            is_comparable &= (either & Status.RELAXED) == 0
        difference = np.abs(mixed.dem - plain.dem)[:, is_comparable]
        tolerance = 1e-3 if chosen.parameter_choice == "gcv" else 1e-5  # measured: 2e-6 and 2e-8
        assert np.all(difference <= tolerance * np.abs(plain.dem[:, is_comparable]).max(axis=0))

    check()


@pytest.mark.parametrize("backend", BACKENDS)
def test_kernel_between_the_samples_of_its_width(backend):
    """Of ninety bins the last ones lie behind the last of the 51 samples: a kernel there has two bins' width."""
    edges = np.linspace(5.6, 7.4, 91)
    logt, dlogt = 0.5 * (edges[1:] + edges[:-1]), np.diff(edges)
    K = 1e-3 + np.exp(-0.5 * ((logt - [[6.0], [7.4]]) / [[0.1], [0.005]]) ** 2)
    options = Options(positivity=None, weighting="uniform")
    answer = run(backend, np.full((2, 8), 100.0), np.full((2, 8), 5.0), K, dlogt, logt, options)
    np.testing.assert_allclose(answer.temperature_resolution[-3:], 0.04, rtol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "outputs",
    [("dem",), ("chi_squared",), STANDARD_OUTPUTS, ("covariance", "emission_measure"), ("resolution_matrix",)],
)
def test_part_of_the_outputs(outputs, backend):
    """Also of a pixel that needs care."""
    K, dlogt, logt = instrument(3, 14)
    g, sigma = pixels(K, logt, 20)
    sigma[1, 3] *= 1e-5
    whole = run(backend, g, sigma, K, dlogt, logt, Options(outputs=OUTPUTS), functional=FUNCTIONAL)
    part = run(backend, g, sigma, K, dlogt, logt, Options(outputs=outputs), functional=FUNCTIONAL)
    for name in OUTPUTS:
        if name in outputs:
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name))
        else:
            assert getattr(part, name) is None
    np.testing.assert_array_equal(part.status, whole.status)


@pytest.mark.parametrize("backend", BACKENDS)
def test_single_precision_is_that_of_the_outputs_only(backend):
    K, dlogt, logt = instrument(3, 14)
    g, sigma = pixels(K, logt, 20)
    sigma[1, 3] *= 1e-5
    # In this unit the covariance is not beyond the range of float32.
    problem = g, sigma, 1e20 * K, dlogt, logt, Options(outputs=OUTPUTS)
    double, single = (run(backend, *problem, functional=FUNCTIONAL, dtype=d) for d in ("float64", "float32"))
    for name in OUTPUTS:
        assert getattr(single, name).dtype == np.float32
        np.testing.assert_array_equal(getattr(single, name), getattr(double, name).astype(np.float32))
    np.testing.assert_array_equal(single.status, double.status)
