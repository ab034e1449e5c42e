"""Against demregpy 1.0, the reference's rule, on every pixel of the real sample that it can solve."""

import numpy as np
import pytest
from demregpy import dn2dem

import astropy.units as u

from sunpy_demreg import invert


@pytest.fixture(scope="module")
def pixels(cube):
    good = np.all(cube.data > 0, axis=0)
    return cube.data[:, good] * cube.unit, cube.uncertainty.array[:, good] * cube.unit


@pytest.fixture(scope="module", params=["cpu", "numpy"])
def ours(request, pixels, response, edges):
    """Our five outputs, in their units and order: pixels first."""
    intensity, sigma = pixels
    result = invert(intensity, response, edges, uncertainty=sigma, parameter_choice="grid", backend=request.param)
    return {
        "dem": result["dem"].data.T,
        "edem": result["dem"].uncertainty.array.T,
        "elogt": result["temperature_resolution"].data.T / 2 / (2 * np.sqrt(2 * np.log(2))),
        "chisq": result["chi_squared"].data[:, None],
        "dn_reg": result["predicted_intensity"].data.T,
    }


@pytest.fixture(scope="module")
def theirs(pixels, response, edges):
    intensity, sigma = (q.value.T for q in pixels)
    log_t = np.log10(response.temperature.to_value(u.K))
    dem, edem, elogt, chisq, dn_reg = dn2dem(
        intensity, sigma, response.response.value.T, log_t, edges.to_value(u.K), nmu=42
    )
    return {"dem": dem, "edem": edem, "elogt": elogt, "chisq": chisq[:, None], "dn_reg": dn_reg}


@pytest.mark.parametrize("output", ["dem", "edem", "elogt", "chisq", "dn_reg"])
def test_grid_rule_equals_demregpy(ours, theirs, output):
    assert len(ours[output]) > 10000
    difference = np.abs(ours[output] - theirs[output]).max(axis=1) / np.abs(theirs[output]).max(axis=1)
    assert difference.max() < 1e-9
