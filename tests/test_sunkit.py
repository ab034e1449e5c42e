"""
The model of sunkit-dem, which no package index has: against a stand-in that keeps to what its base class promises.

That is: subclasses are registered by their ``defines_model_for``; ``data``, ``kernel``, ``kernel_temperatures``,
``temperature_bin_edges``, ``combined_mask`` and the sorted ``_keys`` are attributes; ``fit`` calls ``_model``.
"""

import sys
from types import ModuleType

import numpy as np
import pytest

import astropy.units as u
from ndcube import NDCollection, NDCube

from sunpy_demreg import invert


class StandIn:
    registry = {}  # noqa: RUF012

    def __init_subclass__(cls):
        StandIn.registry[cls] = cls.defines_model_for

    def __init__(self, data, kernel, temperature_bin_edges, kernel_temperatures=None, **_):
        self.data, self.kernel, self.temperature_bin_edges = data, kernel, temperature_bin_edges
        centers = (temperature_bin_edges[1:] + temperature_bin_edges[:-1]) / 2
        self.kernel_temperatures = centers if kernel_temperatures is None else kernel_temperatures
        self._keys = sorted(kernel)
        self.combined_mask = np.any([data[key].mask for key in kernel], axis=0)

    def fit(self, **options):
        return self._model(**options)


@pytest.fixture
def model(monkeypatch):
    package, base = ModuleType("sunkit_dem"), ModuleType("sunkit_dem.base_model")
    base.GenericModel = StandIn
    monkeypatch.setitem(sys.modules, "sunkit_dem", package)
    monkeypatch.setitem(sys.modules, "sunkit_dem.base_model", base)
    monkeypatch.delitem(sys.modules, "sunpy_demreg.sunkit", raising=False)
    from sunpy_demreg.sunkit import DemregModel

    yield DemregModel
    monkeypatch.delitem(sys.modules, "sunpy_demreg.sunkit")


@pytest.fixture
def data(small, response):
    return NDCollection([(name, small[i]) for i, name in enumerate(response.channels)])


def test_model_is_registered_and_gives_what_invert_gives(model, data, small, response, edges):
    assert [each for each, defines in StandIn.registry.items() if defines(data, model="demreg")] == [model]
    assert not any(defines(data, model="hk12") for defines in StandIn.registry.values())
    kernel = dict(zip(response.channels, response.response, strict=True))
    outcome = model(data, kernel, edges, kernel_temperatures=response.temperature).fit(positivity="constrain")
    expected = invert(small, response, edges, positivity="constrain")
    assert outcome["dem"].unit == u.cm**-5 / u.K
    peak = expected["dem"].data.max()
    np.testing.assert_allclose(outcome["dem"].value, expected["dem"].data, rtol=1e-7, atol=1e-9 * peak)
    np.testing.assert_allclose(
        outcome["uncertainty"].value, expected["dem"].uncertainty.array, rtol=1e-7, atol=1e-9 * peak
    )
    np.testing.assert_allclose(outcome["temperature_resolution"].value, expected["temperature_resolution"].data)


def test_kernel_at_the_centers_of_the_bins_is_enough(model, data, small, response, edges):
    centers = np.sqrt(edges[1:] * edges[:-1])
    kernel = dict(zip(response.channels, response.at(centers), strict=True))
    outcome = model(data, kernel, edges, kernel_temperatures=centers).fit()
    expected = invert(small, response, edges)
    np.testing.assert_allclose(outcome["dem"].value, expected["dem"].data, rtol=1e-6)


def test_cube_without_uncertainty_is_named(model, data, response, edges):
    first = response.channels[0]
    bare = NDCube(data[first].data, data[first].wcs, unit=data[first].unit, mask=data[first].mask)
    changed = NDCollection([(key, bare if key == first else cube) for key, cube in data.items()])
    kernel = dict(zip(response.channels, response.response, strict=True))
    with pytest.raises(ValueError, match=r"`data\['AIA 94'\]` has no uncertainty"):
        model(changed, kernel, edges, kernel_temperatures=response.temperature).fit()
