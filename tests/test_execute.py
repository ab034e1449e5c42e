"""Batches: they bound the memory, and change nothing."""

import time
import tracemalloc

import numpy as np
import pytest
from synthetic import instrument, pixels, run

from sunpy_demreg import Status
from sunpy_demreg._engines import execute
from sunpy_demreg._engines.arrays import engine
from sunpy_demreg._engines.base.options import Options
from sunpy_demreg._engines.cpu import engine as cpu


@pytest.mark.parametrize("parameter_choice", ["discrepancy", "grid"])
def test_answer_does_not_depend_on_the_batches(parameter_choice, monkeypatch):
    K, dlogt, logt = instrument(4, 12)
    g, sigma = pixels(K, logt, 400)
    g[1, ::7] = np.nan
    g, sigma = g.reshape(4, 20, 20), sigma.reshape(4, 20, 20)
    status = execute.classify(g, sigma)
    options = Options(parameter_choice=parameter_choice)
    sizes = []
    solve = engine._solve
    monkeypatch.setattr(engine, "_solve", lambda g, *args: sizes.append(g.shape[1]) or solve(g, *args))
    answers = []
    for budget in (None, 2**20, 2**17, 1):
        sizes.clear()
        answers.append(run(g, sigma, status, K, dlogt, logt, options, backend="numpy", memory_budget=budget))
        # A batch of nothing but bad pixels is left out: here, where each has its own.
        assert sum(sizes) == (400 if budget != 1 else np.count_nonzero(status == 0))
        if budget == 2**17:
            assert max(sizes) < 100
    assert set(sizes) == {1}
    assert answers[0].dem.shape == (12, 20, 20)
    for answer in answers[1:]:
        for one, other in zip(answers[0], answer, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("n", "m", "workers"), [(6, 41, None), (6, 41, 2), (3, 200, None)])
def test_memory_beyond_the_outputs_is_bounded(n, m, workers):
    K, dlogt, logt = instrument(n, m)
    g, sigma = pixels(K, logt, 9000 if m < 100 else 3000)
    status, options = execute.classify(g, sigma), Options()
    tracemalloc.start()
    try:
        answer = run(g, sigma, status, K, dlogt, logt, options, backend="numpy", workers=workers)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    outputs = sum(a.nbytes for a in answer if a is not None)
    assert peak - outputs < 64e6


def test_batch_of_bad_pixels_costs_nothing(monkeypatch):
    K, dlogt, logt = instrument(4, 12)
    g, sigma = pixels(K, logt, 3000)
    g[0, :2048] = np.nan
    calls = []
    solve = engine._solve
    monkeypatch.setattr(engine, "_solve", lambda g, *args: calls.append(g.shape) or solve(g, *args))
    status = execute.classify(g, sigma)
    solution = run(g, sigma, status, K, dlogt, logt, Options(), backend="numpy")
    assert len(calls) == 1
    assert np.all(solution.status[:2048] == Status.NOT_FINITE)
    assert np.all(np.isfinite(solution.dem[:, 2048:]))


@pytest.mark.parametrize("keep_no_signal", [False, True])
def test_compiled_blocks_of_bad_pixels(keep_no_signal):
    K, dlogt, logt = instrument(4, 12)
    g, sigma = pixels(K, logt, 300)
    g, sigma = np.tile(g, 100), np.tile(sigma, 100)
    g[0, :20000] = np.nan
    status, kwargs = execute.classify(g, sigma), {"workers": 2, "keep_no_signal": keep_no_signal}
    solution = run(g, sigma, status, K, dlogt, logt, Options(), **kwargs)
    good = run(g[:, 20000:], sigma[:, 20000:], status[20000:], K, dlogt, logt, Options(), **kwargs)
    for whole, part in zip(solution, good, strict=True):
        if whole is not None:
            np.testing.assert_array_equal(whole[..., 20000:], part)
    assert np.all(solution.status[:20000] == Status.NOT_FINITE)
    for output in solution[:-1]:
        assert output is None or np.all(np.isnan(output[..., :20000]))


@pytest.mark.parametrize("size", [1, 700, 8192])
@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("n_pixels", [1, 1023, 8193, 100000])
def test_blocks_cover_all_pixels_once_and_get_no_larger(n_pixels, size, workers):
    blocks = list(execute._shared_out(n_pixels, size, workers))
    assert [block.start for block in blocks] == [0, *(block.stop for block in blocks[:-1])]
    assert blocks[-1].stop == n_pixels
    sizes = [block.stop - block.start for block in blocks]
    assert min(sizes) > 0
    assert max(sizes) <= size
    assert sizes == sorted(sizes, reverse=True)
    # No thread can have to wait for long.
    for block in blocks if workers > 1 else ():
        assert block.stop - block.start <= max(1024, (n_pixels - block.start) // (2 * workers))


def test_reasons_of_one_value_are_not_mixed():
    values = np.array([[np.nan, np.inf, 1.0, -1.0, 1.0, 1.0]])
    sigma = np.array([[np.nan, np.nan, 0.0, 1.0, 1.0, 1.0]])
    mask = np.array([[True, True, False, False, True, True]])
    saturated = np.array([[False, True, False, False, False, True]])
    expected = [
        Status.NOT_FINITE,
        Status.NOT_FINITE,
        Status.BAD_UNCERTAINTY,
        Status.NONPOSITIVE_INTENSITY,
        Status.MASKED,
        Status.SATURATED,
    ]
    np.testing.assert_array_equal(execute.classify(values, sigma, mask, saturated), expected)


@pytest.mark.parametrize("backend", ["cpu", "numpy"])
def test_answer_does_not_depend_on_the_number_of_threads(backend, monkeypatch):
    monkeypatch.setattr(cpu, "_BLOCK", 37)
    monkeypatch.setattr(engine, "_MAX_BLOCK", 37)
    K, dlogt, logt = instrument(4, 12)
    g, sigma = pixels(K, logt, 500)
    g[1, ::7], g[2, ::5] = np.nan, -1
    status = execute.classify(g, sigma)
    one, several = (
        run(g, sigma, status, K, dlogt, logt, Options(), backend=backend, workers=workers) for workers in (1, 5)
    )
    for a, b in zip(one, several, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("backend", ["cpu", "numpy"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_error_or_interrupt_stops_the_rest(backend, error, monkeypatch):
    K, dlogt, logt = instrument(4, 12)
    g, sigma = pixels(K, logt, 4000)
    started = []

    class Broken:
        block_size, n_threads = 10, 2

        def solve_into(self, block):
            started.append(block.start)
            time.sleep(0.01)  # or all are done before the first is looked at
            raise error

    monkeypatch.setattr(execute, "_engine", lambda *args: Broken())
    with pytest.raises(error):
        run(g, sigma, execute.classify(g, sigma), K, dlogt, logt, Options(), backend=backend, workers=2)
    assert len(started) < 400
