"""What is solved for: the DEM, or the emission measure per dex of log T."""

import fake_cupy
import numpy as np
import pytest
from synthetic import instrument, pixels, run

from sunpy_demreg._engines import execute
from sunpy_demreg._engines.base.options import OUTPUTS, Options


@pytest.mark.parametrize("backend", ["cpu", "numpy", "cupy"])
@pytest.mark.parametrize(
    "options",
    [{}, {"positivity": "constrain"}, {"parameter_choice": "gcv", "weighting": "em_loci", "loci": tuple(range(6))}],
)
def test_emission_measure_is_the_dem_of_a_response_per_dex(backend, options, monkeypatch):
    """The same problem put the other way, and its outputs translated by hand."""
    K, dlogt, logt = instrument(6, 24)
    g, sigma = pixels(K, logt, 200)
    status, functional = execute.classify(g, sigma), np.array([np.arange(24) < 9, np.linspace(0, 1, 24)], float)
    options = Options(outputs=OUTPUTS, **options)
    dem_per_unknown = 1 / (10**logt * np.log(10))

    def solve(K, functional, solve_for):
        problem = K, dlogt, logt, options._replace(solve_for=solve_for)
        return run(g, sigma, status, *problem, functional=functional, backend=backend)

    with fake_cupy.installed(monkeypatch):
        ours = solve(K, functional, "emission_measure")
        truth = solve(K * dem_per_unknown, functional * dem_per_unknown, "dem")
    assert np.isfinite(ours.dem).all(axis=0).sum() > 190
    np.testing.assert_array_equal(ours.status, truth.status)
    column = dem_per_unknown[:, None]
    factors = {
        "dem": column,
        "dem_uncertainty": column,
        "covariance": column[:, None] * column,
        "resolution_matrix": column[:, None] / column,
    }
    for name in OUTPUTS:
        a, b = getattr(ours, name), getattr(truth, name) * factors.get(name, 1)
        scale = np.nanmax(np.abs(b), axis=tuple(range(b.ndim - 1)))
        assert np.nanmax(np.abs(a - b) / scale) < 1e-9, name


@pytest.mark.parametrize("backend", ["cpu", "numpy"])
def test_default_solves_for_the_dem(backend):
    K, dlogt, logt = instrument(4, 12)
    g, sigma = pixels(K, logt, 40)
    problem = g, sigma, execute.classify(g, sigma), K, dlogt, logt
    default, dem, em = (
        run(*problem, Options(**o), backend=backend)
        for o in ({}, {"solve_for": "dem"}, {"solve_for": "emission_measure"})
    )
    np.testing.assert_array_equal(default.dem, dem.dem)
    assert np.nanmax(np.abs(default.dem / em.dem - 1)) > 0.1
