"""The compiled engines against the mathematics on plain arrays, and the machinery around them."""

import itertools

import fake_cupy
import numpy as np
import pytest
from synthetic import instrument, make_problem, pixels, solve

from sunpy_demreg import Status
from sunpy_demreg._engines.arrays import difficult
from sunpy_demreg._engines.base.options import OUTPUTS, STANDARD_OUTPUTS, Options
from sunpy_demreg._engines.base.problem import Pixels
from sunpy_demreg._engines.base.solution import Solution
from sunpy_demreg._engines.cpu import engine
from sunpy_demreg._engines.cpu import widths as cpu_widths

CHOICES = [
    Options(parameter_choice=choice, positivity=positivity)
    for choice, positivity in itertools.product(("discrepancy", "grid"), ("relax", None))
] + [Options(positivity="constrain")]


@pytest.fixture(autouse=True)
def careful(monkeypatch):
    """Counts the lanes that need care: those left to the plain arrays would be compared with themselves."""
    lanes = []
    solve_here = engine.Engine._solve_carefully

    def count(self, pixels, into, difficult_lanes):
        lanes.append(difficult_lanes.size)
        return solve_here(self, pixels, into, difficult_lanes)

    monkeypatch.setattr(engine.Engine, "_solve_carefully", count)
    solve_carefully = difficult.solve_carefully
    monkeypatch.setattr(difficult, "solve_carefully", lambda g, *a: lanes.append(g.shape[1]) or solve_carefully(g, *a))
    return lanes


# The GPU's kernel: as it is compiled for the processor at hand, and the real one.
@pytest.fixture(params=["cpu", "kernel on the host", pytest.param("gpu", marks=pytest.mark.gpu)])
def run(request, monkeypatch):
    """All lanes through an engine."""
    if request.param == "cpu":
        yield run_on_cpu
    elif request.param == "gpu":
        yield run_on_gpu
    else:
        with fake_cupy.installed(monkeypatch):
            yield run_on_gpu


def run_on_cpu(g, sigma, K, dlogt, logt, options, status=None, weight=None, functional=None):
    problem, pixels = as_problem(g, sigma, K, dlogt, logt, options, status, weight, functional)
    into = empty_solution(problem, g.shape[1])
    engine.Engine(problem, pixels, into, 0).solve_into(slice(0, g.shape[1]))
    return into


def run_on_gpu(g, sigma, K, dlogt, logt, options, status=None, weight=None, functional=None):
    import cupy

    from sunpy_demreg._engines.gpu.engine import Engine

    problem, pixels = as_problem(g, sigma, K, dlogt, logt, options, status, weight, functional)
    into = empty_solution(problem, g.shape[1]).map(cupy.asarray)
    pixels = Pixels(*(None if a is None else cupy.asarray(a) for a in pixels))
    engine = Engine(problem, pixels, into, 0)
    assert engine._launcher.kernels
    engine.solve_into(slice(0, g.shape[1]))
    return into.map(cupy.asnumpy)


def as_problem(g, sigma, K, dlogt, logt, options, status, weight, functional):
    problem = make_problem(K, dlogt, logt, options, weight, functional)
    status = np.zeros(g.shape[1], np.int32) if status is None else status
    return problem, Pixels(g, sigma, status, weight if problem.has_weight_of_pixels else None)


def empty_solution(problem, n_pixels):
    outputs = {name: np.full((*shape, n_pixels), np.inf) for name, shape in problem.output_shapes.items()}
    return Solution(**dict.fromkeys(OUTPUTS) | outputs, status=np.full(n_pixels, -1, np.int32))


def assert_equal(ours, truth, tolerance=1e-9):
    for name, a, b in zip(truth._fields[:-1], ours, truth, strict=False):
        if a is None and b is None:
            continue
        a, b = np.atleast_2d(a), np.atleast_2d(b)
        if name == "temperature_resolution":
            # A sample that is on half the maximum to rounding may fall on either side.
            assert np.mean(np.abs(a - b) > 1e-9) < 1e-3
        else:
            # A chi-squared far below one is a difference of numbers that agree: it has no digits of its own.
            scale = np.maximum(np.abs(b), 1e-3 if name == "chi_squared" else 0.0).max(axis=0)
            assert np.max(np.abs(a - b) / scale) < tolerance, name
    np.testing.assert_array_equal(ours.status, truth.status)


@pytest.mark.parametrize("options", CHOICES)
@pytest.mark.parametrize(("n_channels", "n_bins"), [(6, 36), (1, 5), (2, 3), (3, 12), (5, 5), (6, 200), (8, 40)])
def test_equals_plain_arrays(run, options, n_channels, n_bins, careful):
    K, dlogt, logt = instrument(n_channels, n_bins)
    g, sigma = pixels(K, logt, 203, noise=0.02)  # not a whole number of blocks
    with np.errstate(all="ignore"):
        assert_equal(run(g, sigma, K, dlogt, logt, options), solve(g, sigma, K, dlogt, logt, options))
    assert sum(careful) <= 0.2 * g.shape[1]  # some of these synthetic systems are nearly singular


@pytest.mark.parametrize(
    "options",
    [
        Options(chi_squared_target=0.4),
        Options(target_growth=1.1, max_iterations=30),
        Options(max_iterations=1),
        Options(positivity="constrain", max_iterations=1),
        Options(positivity="constrain", chi_squared_target=3, target_growth=1.2),
        Options(parameter_choice="grid", n_samples=2),
        Options(parameter_choice="grid", n_samples=500),
        Options(parameter_choice="grid", chi_squared_target=3, target_growth=2, max_iterations=4),
    ],
)
def test_every_option_is_passed_on(run, options, careful):
    K, dlogt, logt = instrument(6, 30)
    g, sigma = pixels(K, logt, 300, noise=0.02)
    with np.errstate(all="ignore"):
        assert_equal(run(g, sigma, K, dlogt, logt, options), solve(g, sigma, K, dlogt, logt, options))
    assert sum(careful) <= 0.2 * g.shape[1]  # some of these synthetic systems are nearly singular


@pytest.mark.parametrize("options", CHOICES)
def test_non_uniform_bins(run, options, careful):
    log_edges = np.cumsum([5.6, 0.02, 0.1, 0.2, 0.05, 0.05, 0.3, 0.1, 0.1, 0.4, 0.2])
    logt, dlogt = 0.5 * (log_edges[1:] + log_edges[:-1]), np.diff(log_edges)
    fine, _, fine_logt = instrument(6, 200)
    K = np.array([np.interp(logt, fine_logt, row) for row in fine]) * dlogt
    g, sigma = pixels(K, logt, 100)
    assert_equal(run(g, sigma, K, dlogt, logt, options), solve(g, sigma, K, dlogt, logt, options))
    assert sum(careful) <= 0.2 * g.shape[1]  # some of these synthetic systems are nearly singular


@pytest.mark.parametrize("options", CHOICES)
def test_no_lane_knows_of_another(run, options):
    """Bit for bit: alone, in another order, beside bad pixels."""
    K, dlogt, logt = instrument()
    g, sigma = pixels(K, logt, 40)
    together = run(g, sigma, K, dlogt, logt, options)
    order = np.random.default_rng(1).permutation(40)
    shuffled = run(g[:, order].copy(), sigma[:, order].copy(), K, dlogt, logt, options)
    alone = run(g[:, 7:8].copy(), sigma[:, 7:8].copy(), K, dlogt, logt, options)
    status = np.zeros(40, np.int32)
    status[[3, 9, 20, 39]] = Status.MASKED
    broken = g.copy()
    broken[:, status != 0] = np.nan
    beside = run(broken, sigma, K, dlogt, logt, options, status)
    for name in (*STANDARD_OUTPUTS, "status"):
        whole, mixed, single, other = (getattr(solution, name) for solution in (together, shuffled, alone, beside))
        np.testing.assert_array_equal(whole[..., order], mixed)
        np.testing.assert_array_equal(whole[..., 7:8], single)
        np.testing.assert_array_equal(other[..., status == 0], whole[..., status == 0])
        assert np.all(np.isnan(other[..., status != 0]) if name != "status" else other[status != 0] == Status.MASKED)


@pytest.mark.parametrize("options", CHOICES)
def test_difficult_lanes_are_left_to_the_plain_arrays(run, options, careful):
    """Those that lose digits when A is squared: the answers are then the same to the last bit."""
    K, dlogt, logt = instrument()
    K = np.concatenate([K, K[2:3] * (1 + 1e-5 * np.sin(np.arange(K.shape[1])))])
    g, sigma = pixels(K, logt, 50)
    sigma[1] *= 1e-5
    sigma[:, 5], sigma[2, 6] = 1e-160, 5e-324
    with np.errstate(all="ignore"):
        ours, truth = run(g, sigma, K, dlogt, logt, options), solve(g, sigma, K, dlogt, logt, options)
    np.testing.assert_array_equal(ours.status, truth.status)
    is_solved = (ours.status & int(Status.UNSOLVED)) == 0
    assert is_solved.sum() >= 40
    assert_equal(ours.at(is_solved), truth.at(is_solved))
    assert sum(careful) >= 40


def test_real_pixels_are_not_difficult(cube, response, edges, careful):
    from sunpy_demreg import invert

    for options in ({}, {"parameter_choice": "grid"}, {"positivity": "constrain"}):
        invert(cube, response, edges, **options)
    assert sum(careful) == 0


@pytest.mark.parametrize("excess", [0.5, 1.001, 1.3])
def test_faint_pixels(run, excess, careful):
    K, dlogt, logt = instrument()
    g, sigma = pixels(K, logt, 40)
    sigma *= np.sqrt(np.mean((g / sigma) ** 2, axis=0) / excess)
    ours, truth = run(g, sigma, K, dlogt, logt, Options()), solve(g, sigma, K, dlogt, logt, Options())
    np.testing.assert_array_equal(ours.status, truth.status)
    assert np.all((ours.status.astype(int) & Status.NO_SIGNAL != 0) == (excess < 1))
    if excess > 1:
        assert_equal(ours, truth)


def assert_identical(before, after):
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(np.asarray(a, dtype=float), np.asarray(b, dtype=float))


def forget():
    """What was made in this process."""
    engine._tabulated.cache_clear()
    engine._tested.cache_clear()


@pytest.mark.parametrize("options", [Options(), Options(positivity="constrain"), Options(weighting="uniform")])
def test_single_precision_changes_no_width(cube, response, edges, monkeypatch, options):
    """The bound of its rounding calls for double precision wherever that might tell."""
    good = np.all(cube.data > 0, axis=0)
    centers = np.sqrt(edges[1:] * edges[:-1])
    K = response.at(centers).value * centers.value
    logt = np.log10(centers.value)
    problem = cube.data[:, good], cube.uncertainty.array[:, good], K, np.full(logt.size, 0.05), logt
    options = options._replace(outputs=("dem", "temperature_resolution"))
    widths = []
    for least in (cpu_widths.LEAST, np.inf):  # with the latter, all columns are made in double precision
        monkeypatch.setattr(cpu_widths, "LEAST", least)
        forget()
        widths.append(run_on_cpu(*problem, options).temperature_resolution)
    forget()
    np.testing.assert_array_equal(*widths)


def test_the_bound_of_single_precision_is_needed_and_enough(monkeypatch):
    """Of weights over twenty decades, columns have many samples near half their maximum."""
    K, dlogt, logt = instrument(2, 7)
    g, sigma = pixels(K, logt, 40000)
    weight = 10 ** np.random.default_rng(3).uniform(-20, 0, (7, g.shape[1]))
    options = Options(weighting="given", is_squared=True, outputs=("dem", "temperature_resolution"))
    bound, widths = cpu_widths.roundoff, {}
    for name, least, roundoff in (
        ("as is", cpu_widths.LEAST, bound),
        ("double", np.inf, bound),
        ("unbounded", cpu_widths.LEAST, lambda n_channels: 0.0),
    ):
        monkeypatch.setattr(cpu_widths, "LEAST", least)
        monkeypatch.setattr(cpu_widths, "roundoff", roundoff)
        forget()
        widths[name] = run_on_cpu(g, sigma, K, dlogt, logt, options, weight=weight).temperature_resolution
    forget()
    np.testing.assert_array_equal(widths["as is"], widths["double"])
    assert np.any(widths["unbounded"] != widths["double"])


def test_lanes_without_an_answer_read_no_memory_of_others():
    """A register of bad pixels beside one of good ones, of bins that are no whole number of chunks."""
    K, dlogt, logt = instrument(4, 33)
    g, sigma = pixels(K, logt, 2 * engine._LANES)
    status = np.zeros(g.shape[1], np.int32)
    status[: engine._LANES] = 1
    problem = make_problem(K, dlogt, logt, Options(positivity="constrain"))
    into = empty_solution(problem, g.shape[1])
    solver = engine.Engine(problem, Pixels(g, sigma, status), into, 0)
    tables = solver._tables
    guarded = np.concatenate([tables.compiled["first_sample"], np.full(8, -(2**40))])  # far away, should it be read
    addresses = tables.addresses | {"first_sample": engine._address(guarded)}
    solver._task._tables = tables._replace(addresses=addresses)
    solver.solve_into(slice(0, g.shape[1]))
    assert np.isfinite(into.temperature_resolution[:, engine._LANES :]).all()
