"""Random faults in a hundred thousand pixels: none fails silently, with either engine and in either precision."""

import sys
from pathlib import Path

import numpy as np
import pytest
from synthetic import BACKENDS, instrument, pixels, run

from sunpy_demreg import Status
from sunpy_demreg._engines import execute
from sunpy_demreg._engines.base.options import OUTPUTS, Options
from sunpy_demreg._engines.base.problem import Bins, Problem

sys.path.insert(0, str(Path(__file__).parents[1]))

from validation import faults

#: So that each engine and kind of numbers gets twenty thousand; searches on plain arrays take long.
NUMBERS = {"default": 14000, "grid": 3000, "gcv": 600, "l2": 1400, "em_loci": 1000, "constrain": 60}
NUMBERS |= {"lognormal": 1000, "lognormal, discrepancy": 1000}


@pytest.mark.parametrize("most_missing", [None, 2])
@pytest.mark.parametrize("name", NUMBERS)
def test_none_is_silent(name, most_missing):
    options, rng = faults.OPTIONS[name], np.random.default_rng(5)
    n_solved = 0
    for kind in faults.INSTRUMENTS:
        number = NUMBERS[name] // (1 if most_missing is None else 2) // len(faults.INSTRUMENTS)
        counts, wrong = faults.inspect(options, kind, number, rng, most_missing=most_missing)
        assert not wrong, f"{kind}: {wrong}"
        n_solved += min(numbers[0] for numbers in counts.values())
    assert n_solved > 0.1 * NUMBERS[name]


def test_what_is_silent_would_be_found():
    """Of each reason, one."""
    K, dlogt, logt = faults.instrument("plain")
    g, sigma = pixels(K * 1e-3, logt, 40)
    status = execute.classify(g, sigma)

    def reasons(spoil):
        answer = run(g, sigma, status, K, dlogt, logt, Options(), backend="numpy")
        spoil(answer)
        return {
            reason: np.flatnonzero(p).tolist() for reason, p in faults.silent(g, sigma, K, Options(), answer).items()
        }

    def set_to(name, value, row=...):
        def spoil(answer):
            getattr(answer, name)[..., 3] = value

        return spoil

    assert reasons(lambda answer: None) == {}
    assert reasons(set_to("chi_squared", np.inf))["chi_squared not finite"] == [3]
    assert reasons(set_to("chi_squared", 0.9))["chi_squared"] == [3]
    assert reasons(set_to("predicted_intensity", 0.0))["predicted_intensity"] == [3]
    assert reasons(set_to("dem", 0.0)).keys() >= {"no DEM", "chi_squared"}
    assert reasons(set_to("dem", -1.0))["negative"] == [3]
    assert reasons(set_to("regularization_parameter", 0.0))["no lambda"] == [3]
    assert reasons(set_to("status", Status.FAILED))["dem of an unsolved pixel"] == [3]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("factor", [1e-70, 1e-45, 1e-39, 1.0, 1e21, 1e30, 1e70])
def test_outputs_that_leave_single_precision_are_told(factor, backend):
    """Also while NumPy is to raise; and what fits beside them is that of double precision."""
    K, dlogt, logt = instrument(3, 14)
    g, sigma = pixels(K, logt, 20)
    K = K / K.max()
    g[:, 1::2], sigma[:, 1::2] = g[:, 1::2] * factor, sigma[:, 1::2] * factor
    problem = g, sigma, execute.classify(g, sigma), K, dlogt, logt, Options(outputs=OUTPUTS)
    functional = np.ones((1, 14))
    with np.errstate(all="raise"):
        double, single = (
            run(*problem, functional=functional, dtype=d, backend=backend) for d in ("float64", "float32")
        )
    fits = np.isin(np.arange(20) % 2, 0 if factor != 1.0 else (0, 1))
    np.testing.assert_array_equal((single.status & Status.FAILED) == 0, fits)
    np.testing.assert_array_equal(single.status[fits], double.status[fits])
    assert not np.any(double.status & Status.FAILED)
    for name in OUTPUTS:
        ours, truth = getattr(single, name), getattr(double, name)
        assert np.all(np.isnan(ours[..., ~fits]))
        np.testing.assert_array_equal(ours[..., fits], truth[..., fits].astype(np.float32))


@pytest.mark.parametrize("backend", ["cpu", "numpy"])
@pytest.mark.parametrize("faint", [5e-324, 1e-310, 1e-300, 1e-200])
def test_a_dem_that_underflows_is_no_answer(backend, faint):
    """One channel is far more precise than the others, and sees nearly nothing."""
    K, dlogt, logt = faults.instrument(faults.INSTRUMENTS[1])
    g = np.array([[0.46], [0.029], [8.9], [faint]])
    sigma = np.array([[0.031], [0.01], [0.44], [1e-150]])
    problem = Problem(Bins(dlogt, logt), K, faults.OPTIONS["grid"])
    answer = execute.run(g, sigma, execute.classify(g, sigma), problem, backend=backend)
    assert answer.status[0] & int(Status.FAILED)
    assert np.all(np.isnan(answer.dem))
