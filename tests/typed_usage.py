"""
What a user's type checker makes of the public names: mypy reads this file, and nothing runs it.

``assert_type`` says what an expression is; a ``type: ignore`` that names the error says that mypy must complain there.
"""

from pathlib import Path
from typing import Any, assert_type

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

import astropy.units as u
from ndcube import NDCollection, NDCube
from sunpy.map import GenericMap

import sunpy_demreg as demreg
from sunpy_demreg import TemperatureResponse, visualization

edges: u.Quantity = 10 ** np.arange(5.575, 7.43, 0.05) * u.K


def three_steps() -> NDCollection:
    maps = demreg.sample.aia_maps()
    assert_type(maps, list[GenericMap])
    cube = demreg.prepare(maps, n_sample=16, relative_floor={94: 0.2}, exposure_times={94: 2.9 * u.s})
    assert_type(cube, NDCube)
    response = TemperatureResponse.from_aia(cube, "2014-01-01", emissivity="xrtpy")
    assert_type(response, TemperatureResponse)
    assert_type(response.channels, tuple[str, ...])
    result = demreg.invert(cube, response, edges, positivity="constrain", backend="numpy", dtype=np.float32)
    assert_type(result, NDCollection)
    return result


def inputs(response: TemperatureResponse) -> None:
    demreg.prepare("aia_*.fits")
    demreg.prepare({"a": Path("a.fits")})
    demreg.prepare_series([Path("a.fits")], tolerance=6 * u.s, bin=2)
    assert_type(demreg.read_sdoml("s3://bucket/sdomlv2.zarr", "2014-01-01", "2014-01-02"), NDCube)
    demreg.invert(np.ones((6, 4)) * u.DN / u.s, response, edges, uncertainty=1 * u.DN / u.s, weighting=np.ones(37))
    prior = demreg.LogNormalPrior(amplitude=3, correlation_length=0.8 * u.dex)
    demreg.invert("aia_*.fits", response, edges, method="lognormal", prior=prior, dem_error="noise")
    demreg.invert("aia_*.fits", response, edges, solve_for="emission_measure", calibration_error={"AIA 94": 0.5})
    demreg.combine([three_steps()["dem"]])
    report = demreg.batch_invert(["a.fits"], "out.zarr", edges, prepare_options={"bin": 2}, method="l2", part=(1, 2))
    assert demreg.batch_status("out.zarr").is_complete
    assert_type(report.is_complete, bool)
    assert_type(report.steps[0].reason, str | None)
    dem, *_ = demreg.dn2dem_pos([1.0], [1.0], np.ones((9, 1)), np.ones(9), [1e6, 2e6, 3e6, 4e6], gloci=[1])
    assert_type(dem, np.ndarray)


def products(result: NDCollection, response: TemperatureResponse) -> None:
    assert_type(demreg.emission_measure(result, [1, 2] * u.MK), NDCube)
    assert_type(demreg.mean_temperature(result), NDCube)
    assert_type(demreg.emission_measure(result, resolved_only=False), NDCube)
    assert_type(demreg.is_resolved(result, max_width=0.5, min_response=0.1), NDCube)
    assert_type(demreg.thermal_energy_density(result, 10 * u.Mm), NDCube)
    assert_type(demreg.synthesize(result, response), NDCube)
    assert_type(demreg.em_loci(result, (4, 2)), u.Quantity)
    assert_type(demreg.covariance(result, (4, 2), dem_error="posterior"), u.Quantity)
    assert_type(demreg.to_map(result["dem"]), GenericMap | list[GenericMap])
    demreg.write(result, "dem.asdf", overwrite=True)
    assert_type(demreg.read(Path("dem.asdf")), Any)
    assert_type(demreg.Status.MASKED | demreg.Status.SATURATED, demreg.Status)


def pictures(result: NDCollection) -> None:
    figure, axes = plt.subplots()
    assert_type(
        visualization.plot_dem(result, (4, 2), axes=axes, color="red"), ErrorbarContainer | list[ErrorbarContainer]
    )
    assert_type(visualization.plot_emission_measure(result, [1, 2] * u.MK), AxesImage)
    assert_type(visualization.plot_summary(result, pixels=[(4, 2)], figure=figure), Figure)
    assert_type(visualization.explore(result).pixel, tuple[int, ...] | None)
    visualization.animate([result], draw=visualization.plot_chi_squared)


def complaints(error: demreg.ArgumentError, warning: demreg.DataWarning) -> None:
    assert_type(error.argument, str)
    assert_type(warning.argument, str | None)


def mistakes(cube: NDCube, response: TemperatureResponse, result: NDCollection, options: dict[str, Any]) -> None:
    demreg.invert(cube, response, edges, method="demregg")  # type: ignore[arg-type]
    demreg.invert(cube, response, edges, parameter="grid")  # type: ignore[call-arg]
    demreg.invert(cube, response, edges, prior=(4, 0.8))  # type: ignore[arg-type]
    demreg.invert(cube, response)  # type: ignore[call-arg]
    demreg.prepare([1])  # type: ignore[list-item]
    demreg.write("dem.fits", result)  # type: ignore[arg-type]
    demreg.sample.flare_maps(2)  # type: ignore[arg-type]
    _ = demreg.no_such_name  # type: ignore[attr-defined]
    demreg.dn2dem_pos(**options)
