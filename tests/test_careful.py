"""Difficult pixels: whatever solves them, the same bits come out; and the code for them is compiled when they come."""

import sys
from pathlib import Path

import numpy as np
import pytest
from synthetic import instrument, make_problem, pixels
from test_engines import as_problem, empty_solution

from sunpy_demreg import Status
from sunpy_demreg._engines import execute
from sunpy_demreg._engines.algorithm import positivity
from sunpy_demreg._engines.algorithm.regularization_parameter import discrepancy_root
from sunpy_demreg._engines.arrays.engine import solve_carefully
from sunpy_demreg._engines.base.options import Options
from sunpy_demreg._engines.base.tables import make_tables
from sunpy_demreg._engines.cpu import engine

sys.path.insert(0, str(Path(__file__).parents[1]))

from validation import faults

LOG_NORMAL = Options(method="lognormal", parameter_choice="prior", dem_error="posterior")
SAME = ("dem", "dem_uncertainty", "chi_squared", "predicted_intensity", "regularization_parameter")
UNSOLVED = int(Status.UNSOLVED)


@pytest.fixture(scope="module")
def compiled():
    def solve(g, sigma, *problem):
        problem, given = as_problem(g, sigma, *problem, None, None, None)
        into = empty_solution(problem, g.shape[1])
        return engine.Engine(problem, given, into, 0)._solve_carefully(given, into, np.arange(g.shape[1]))

    return solve


def on_arrays(g, sigma, *problem):
    problem = make_problem(*problem)
    return solve_carefully(g, sigma, make_tables(problem), problem.plan())


def assert_same_bits(ours, theirs):
    np.testing.assert_array_equal(ours.status, theirs.status)
    is_solved = (ours.status & UNSOLVED) == 0
    for name in SAME:
        np.testing.assert_array_equal(getattr(ours, name)[..., is_solved], getattr(theirs, name)[..., is_solved], name)


@pytest.mark.parametrize("kind", faults.INSTRUMENTS)
@pytest.mark.parametrize("name", [*faults.OPTIONS, "lognormal"])
def test_same_bits_on_all_machines(name, kind, compiled):
    options = LOG_NORMAL if name == "lognormal" else faults.OPTIONS[name]
    K, *bins = faults.instrument(kind)
    g, sigma = faults.faulty_pixels(K, bins[1], 60 if name == "constrain" else 300, np.random.default_rng(3))
    is_good = execute.classify(g, sigma) == 0
    given = g[:, is_good], sigma[:, is_good], K, *bins, options
    ours = compiled(*given)
    assert_same_bits(ours, on_arrays(*given))
    assert np.sum((ours.status & UNSOLVED) == 0) > 0.2 * is_good.sum()


@pytest.mark.parametrize("n_channels", [1, 2, 5, 6, 9])
def test_any_number_of_channels(n_channels, compiled):
    K, *bins = instrument(n_channels, 16)
    g, sigma = pixels(K, bins[1], 40)
    sigma[0] *= 10.0 ** np.linspace(-9, 9, 40)
    given = g, sigma, K, *bins, Options(positivity="constrain")
    ours = compiled(*given)
    assert_same_bits(ours, on_arrays(*given))
    assert np.mean((ours.status & UNSOLVED) == 0) > 0.5


def test_single_pixel_and_its_neighbors(compiled):
    K, *bins = instrument(5, 16)
    g, sigma = pixels(K, bins[1], 40)
    sigma[2] *= 1e-5
    given = K, *bins, Options(positivity="constrain")
    together, alone = compiled(g, sigma, *given), compiled(g[:, 7:8], sigma[:, 7:8], *given)
    assert_same_bits(together.at(slice(7, 8)), alone)


@pytest.mark.parametrize("name", ["constrain", "default"])
def test_answers_do_not_depend_on_neighbors(name, compiled):
    """Those of a register wait for each other, and what happens to one meanwhile must not change the others."""
    K, *bins = faults.instrument(faults.INSTRUMENTS[0])
    g, sigma = faults.faulty_pixels(K, bins[1], 4000, np.random.default_rng(5))
    is_good = execute.classify(g, sigma) == 0
    g, sigma = g[:, is_good], sigma[:, is_good]
    order = np.random.default_rng(0).permutation(g.shape[1])
    given = K, *bins, faults.OPTIONS[name]
    assert_same_bits(compiled(g[:, order], sigma[:, order], *given), compiled(g, sigma, *given).at(order))


@pytest.mark.parametrize("power", [0, 12])
def test_bounded_cost_of_the_constraint(power, monkeypatch):
    """Rounding hides which bins are zero: it is given up after some steps, not ten times a hundred."""
    K, *bins = faults.instrument(faults.INSTRUMENTS[0], 6, 41)
    g = np.array([[0.36415865], [0.31926934], [0.64529806], [4.0046589], [8.90818311], [9.48498917]])
    sigma = np.array([[6.63], [6.72], [10.6], [50.6], [133.0], [99.9]]) * 10.0 ** (power - 18)
    n_steps = []

    def counted(*arguments, **options):
        n_steps.append(1)
        return discrepancy_root(*arguments, **options)

    monkeypatch.setattr(positivity, "discrepancy_root", counted)
    answer = on_arrays(g, sigma, K, *bins, Options(positivity="constrain"))
    assert 0 < len(n_steps) <= 32
    assert ((answer.status[0] & UNSOLVED) == 0) == (power == 12)


@pytest.mark.parametrize("n_bins", [3, 4, 5])
def test_relaxing_with_fewer_bins_than_channels(n_bins):
    """Lower targets are out of reach, where lam has no root but its least value; a higher one is met."""
    K, _, logt = instrument(6, 41)
    g, sigma = pixels(K, logt, 300)
    answer = on_arrays(g, 0.1 * sigma, *instrument(6, n_bins), Options(positivity="relax"))
    assert not (answer.status & int(Status.FAILED)).any()
    assert np.mean((answer.status & int(Status.TARGET_NOT_REACHED)) != 0) > 0.8


@pytest.mark.parametrize("n_bins", [4, 5])
def test_relaxing_meets_the_first_target_in_reach(n_bins):
    """Which is one of those that it tries, with fewer bins than channels too."""
    K, _, logt = instrument(6, 41)
    g, sigma = pixels(K, logt, 300)
    answer = on_arrays(g, 3.0 * sigma, *instrument(6, n_bins), Options(positivity="relax"))
    is_met = (answer.status & int(Status.RELAXED | Status.TARGET_NOT_REACHED)) == int(Status.RELAXED)
    assert is_met.sum() > 5
    raised = np.log(answer.chi_squared[is_met]) / np.log(1.5)
    np.testing.assert_allclose(raised, np.round(raised), atol=1e-9)
    assert not (answer.status & int(Status.FAILED)).any()


def test_strong_spikes_have_an_answer(compiled):
    """That takes many steps, but no more than there are."""
    K, *bins = instrument(6, 41)
    g, sigma = pixels(K, bins[1], 400)
    channel, lanes = np.arange(400) % 6, np.arange(400)
    g[channel, lanes] *= 1e2
    sigma[channel, lanes] *= 1e1
    answer = compiled(g, sigma, K, *bins, Options(positivity="constrain"))
    assert np.mean((answer.status & UNSOLVED) != 0) < 0.01


def test_interrupted_while_the_code_is_made(monkeypatch):
    """Ctrl-C ends the inversion, and the next one is none the worse for it."""
    K, *bins = instrument(3, 11)
    g, sigma = pixels(K, bins[1], 20)
    sigma[1] *= 1e-5
    given = g, sigma, execute.classify(g, sigma), make_problem(K, *bins, Options(weighting="uniform"))
    engine._tested.cache_clear()
    make = engine.make_module

    def interrupted(*arguments, is_careful):
        if is_careful:
            raise KeyboardInterrupt
        return make(*arguments, is_careful=is_careful)

    monkeypatch.setattr(engine, "make_module", interrupted)
    with pytest.raises(KeyboardInterrupt):
        execute.run(*given, backend="cpu")
    monkeypatch.undo()
    after = execute.run(*given, backend="cpu")
    np.testing.assert_array_equal(after.dem, execute.run(*given, backend="numpy").dem)
    assert np.all((after.status & UNSOLVED) == 0)
