"""Against demregpy 1.0, the reference's rule, on every pixel of the real sample that it can solve."""

import numpy as np
import pytest
from demregpy import dn2dem

import astropy.units as u

from sunpy_demreg import invert


@pytest.fixture(scope="module")
def both(cube, response, edges):
    """Our five outputs and theirs, in their units and order: pixels first."""
    good = np.all(cube.data > 0, axis=0)
    intensity, sigma = cube.data[:, good], cube.uncertainty.array[:, good]
    result = invert(intensity * cube.unit, response, edges, uncertainty=sigma * cube.unit, parameter_choice="grid")
    ours = {
        "dem": result["dem"].data.T,
        "edem": result["dem"].uncertainty.array.T,
        "elogt": result["temperature_resolution"].data.T / 2 / (2 * np.sqrt(2 * np.log(2))),
        "chisq": result["chi_squared"].data[:, None],
        "dn_reg": result["predicted_intensity"].data.T,
    }
    log_t = np.log10(response.temperature.to_value(u.K))
    dem, edem, elogt, chisq, dn_reg = dn2dem(
        intensity.T, sigma.T, response.response.value.T, log_t, edges.to_value(u.K), nmu=42
    )
    theirs = {"dem": dem, "edem": edem, "elogt": elogt, "chisq": chisq[:, None], "dn_reg": dn_reg}
    return ours, theirs


@pytest.mark.parametrize("output", ["dem", "edem", "elogt", "chisq", "dn_reg"])
def test_grid_rule_equals_demregpy(both, output):
    ours, theirs = (outputs[output] for outputs in both)
    assert len(ours) > 10000
    difference = np.abs(ours - theirs).max(axis=1) / np.abs(theirs).max(axis=1)
    assert difference.max() < 1e-9
