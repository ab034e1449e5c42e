"""Every argument of every public function, with values that are wrong: the error names the argument, or it is valid."""

import inspect
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sdoml_store import whole, write_sdoml

import astropy.units as u
from sunpy.map import Map

import sunpy_demreg as demreg
from sunpy_demreg import ArgumentError, TemperatureResponse, sample, visualization

PACKAGE = str(Path(demreg.__file__).parent)

LINE = u.Unit("erg cm3 / (s sr)")
WRONG = {
    "None": None,
    "0.5": 0.5,
    "-1": -1,
    "NaN": float("nan"),
    "inf": float("inf"),
    "1e300": 1e300,
    "1j": 1j,
    "True": True,
    "text": "wrong",
    "empty text": "",
    "bytes": b"wrong",
    "[]": [],
    "[1]": [1],
    "ragged": [1, [2, 3]],
    "{}": {},
    "{1: 2}": {1: 2},
    "5 kg": 5 * u.kg,
    "complex array": np.full((6, 2, 2), 1j),
    "array": np.ones((7, 3, 5)),
    "kelvin": np.ones((7, 3, 5)) * u.K,
    "object": object(),
}

# What is right although it looks wrong, reviewed one by one. None is right where it is the default, and True where the
# default is True or False: these need no entry.
VALID = {
    **{
        (name, "resolved_only"): {"True"} for name in ("emission_measure", "mean_temperature", "thermal_energy_density")
    },
    ("animate", "interval"): {"0.5", "1e300"},
    ("batch_invert", "prepare_options"): {"{}"},
    ("batch_invert", "response_options"): {"{}"},
    ("dn2dem_pos", "gloci"): {"True"},  # an array of them has one for each channel
    ("dn2dem_pos", "reg_tweak"): {"0.5", "1e300"},
    ("dn2dem_pos", "rgt_fact"): {"0.5", "1e300"},  # as there, below one too
    ("drop_channels", "channels"): {"[]"},  # none is dropped
    ("invert", "chi_squared_target"): {"0.5", "1e300"},
    ("is_resolved", "max_width"): {"0.5", "1e300"},
    ("is_resolved", "min_response"): {"0.5"},
    ("invert", "memory_limit"): {"1e300"},
    ("invert", "outputs"): {"[]"},  # the status alone
    ("invert", "calibration_error"): {"0.5", "{}"},
    ("invert", "common_calibration_error"): {"0.5"},
    ("invert", "target_growth"): {"1e300"},
    ("monte_carlo", "calibration_error"): {"0.5", "{}"},
    ("monte_carlo", "common_calibration_error"): {"0.5"},
    ("plot_composite", "decades"): {"0.5", "1e300"},
    **{
        (f"plot_{name}", "color_bar"): {"True"}
        for name in ("chi_squared", "emission_measure", "mean_temperature", "residual")
    },
    ("plot_summary", "pixels"): {"[]"},  # none are marked
    ("plot_summary", "title"): {"text", "empty text"},
    ("prepare", "exposure_times"): {"{}"},
    ("prepare", "relative_floor"): {"0.5", "{}"},
    ("prepare", "saturation"): {"0.5", "inf", "1e300"},
    ("read_sdoml", "relative_floor"): {"0.5", "{}"},
    ("read_sdoml", "saturation"): {"0.5", "inf", "1e300"},
    ("TemperatureResponse", "meta"): {"{}", "{1: 2}"},
    ("TemperatureResponse.from_aia", "degradation"): {"True"},
    ("TemperatureResponse.from_arrays", "meta"): {"{}", "{1: 2}"},
    ("TemperatureResponse.from_lines", "meta"): {"{}", "{1: 2}"},
}


@pytest.fixture(scope="module")
def world(small, tmp_path_factory):
    """A valid call of each function: the function, and all of its arguments that have no default."""
    cube = small[:, :2, :2]
    edges = 10 ** np.arange(5.8, 7.1, 0.2) * u.K
    response = TemperatureResponse.from_aia(cube)
    result = demreg.invert(cube, response, edges)
    maps = [Map(smap.data[40:44, 90:94], smap.meta) for smap in sample.aia_maps()]
    folder = tmp_path_factory.mktemp("calls")
    demreg.write(result, folder / "result.fits")
    response.write(folder / "response.ecsv")
    stored = {(2014, round(m.wavelength.value)): [whole(m)] for m in sample.aia_maps()}
    write_sdoml(folder / "sdoml.zarr", stored, dict.fromkeys((94, 131, 171, 193, 211, 335), 1.0), side=64)
    quantity = {
        "data": np.asarray(cube.data) * cube.unit,
        "uncertainty": cube.uncertainty.array * cube.unit,
        "response": response,
        "temperature_bin_edges": edges,
    }
    arrays = {
        "dn_in": np.moveaxis(cube.data, 0, -1),
        "edn_in": np.moveaxis(cube.uncertainty.array, 0, -1),
        "tresp": response.response.value.T,
        "tresp_logt": np.log10(response.temperature.value),
        "temps": edges.value,
    }
    table = {"channels": ["a", "b"], "temperature": [1, 3] * u.MK, "response": np.eye(2) * u.Unit("DN cm5 / (pix s)")}
    of_result = {
        name: (getattr(demreg, name), {"result": result})
        for name in ("emission_measure", "is_resolved", "mean_temperature", "to_xarray")
    }
    of_pixel = {
        name: (getattr(demreg, name), {"result": result, "pixel": (0, 1)})
        for name in ("covariance", "em_loci", "resolution_matrix")
    }
    more = {"plot_dem": {"pixel": (0, 1)}, "plot_intensity": {"pixel": (0, 1)}, "plot_residual": {"channel": "AIA 171"}}
    plots = {
        name: (getattr(visualization, name), {"result": result} | more.get(name, {}))
        for name in visualization.__all__
        if name not in ("Explorer", "animate", "plot_response")
    }
    return {
        **of_result,
        **of_pixel,
        **plots,
        "animate": (visualization.animate, {"results": [result, result]}),
        "batch_invert": (
            demreg.batch_invert,
            {"maps": maps, "path": folder / "store.zarr", "temperature_bin_edges": edges},
        ),
        "batch_status": (demreg.batch_status, {"path": folder / "store.zarr"}),
        "combine": (demreg.combine, {"cubes": [cube]}),
        "drop_channels": (demreg.drop_channels, {"cube": cube, "channels": "AIA 94"}),
        "dn2dem_pos": (demreg.dn2dem_pos, arrays),
        "Explorer.select": (visualization.explore(result).select, {"pixel": (0, 1)}),
        "invert": (demreg.invert, quantity),
        "plot_response": (visualization.plot_response, {"response": response}),
        "monte_carlo": (demreg.monte_carlo, {"cube": cube}),
        "percentiles": (demreg.percentiles, {"cube": demreg.monte_carlo(cube, 3)}),
        "prepare": (demreg.prepare, {"maps": maps, "n_sample": 16}),
        "prepare_series": (demreg.prepare_series, {"maps": maps}),
        "region_evolution": (
            demreg.region_evolution,
            {
                "series": [cube],
                "region": np.ones((2, 2), dtype=bool),
                "temperature_bin_edges": edges,
                "response": response,  # which takes half a second to compute
            },
        ),
        "region_spectrum": (demreg.region_spectrum, {"cube": cube, "region": np.ones((2, 2), dtype=bool)}),
        "read": (demreg.read, {"path": folder / "result.fits"}),
        "read_sdoml": (
            demreg.read_sdoml,
            {"store": folder / "sdoml.zarr", "start": "2014-01-01T00:00", "stop": "2014-01-01T00:01"},
        ),
        "sample.flare_maps": (sample.flare_maps, {"step": 0}),
        "synthesize": (demreg.synthesize, {"result": result, "response": response}),
        "TemperatureResponse": (TemperatureResponse, table),
        "TemperatureResponse.at": (response.at, {"centers": [1, 2] * u.MK}),
        "TemperatureResponse.concatenate": (TemperatureResponse.concatenate, {"responses": [response]}),
        "TemperatureResponse.from_aia": (TemperatureResponse.from_aia, {"cube_or_channels": [171] * u.AA}),
        "TemperatureResponse.from_arrays": (TemperatureResponse.from_arrays, table),
        "TemperatureResponse.from_lines": (
            TemperatureResponse.from_lines,
            {"lines": ["a", "b"], "temperature": [1, 2] * u.MK, "contribution": [[1, 2], [2, 1]] * LINE},
        ),
        "TemperatureResponse.from_sav": (TemperatureResponse.from_sav, {"path": folder / "absent.sav"}),
        "TemperatureResponse.from_suvi": (TemperatureResponse.from_suvi, {"channels": [171] * u.AA}),
        "TemperatureResponse.from_xrt": (
            TemperatureResponse.from_xrt,
            {"filters": ["Be-thin"], "obstime": "2014-01-01"},
        ),
        "TemperatureResponse.plot": (response.plot, {}),
        "TemperatureResponse.read": (TemperatureResponse.read, {"path": folder / "response.ecsv"}),
        "TemperatureResponse.select": (response.select, {"channels": ["AIA 171"]}),
        "TemperatureResponse.write": (response.write, {"path": folder / "new.ecsv", "overwrite": True}),
        "thermal_energy_density": (demreg.thermal_energy_density, {"result": result, "depth": 10 * u.Mm}),
        "to_map": (demreg.to_map, {"cube": result["chi_squared"]}),
        "write": (demreg.write, {"result": result, "path": folder / "new.fits", "overwrite": True}),
    }


def functions(of, names, prefix=""):
    """Those of some names that are functions with arguments."""
    found = {name: getattr(of, name) for name in names if inspect.isroutine(getattr(of, name))}
    return [f"{prefix}{name}" for name, function in found.items() if inspect.signature(function).parameters]


NAMES = sorted(
    [
        *functions(demreg, demreg.__all__),
        *functions(visualization, visualization.__all__),
        *functions(sample, sample.__all__, "sample."),
        *functions(TemperatureResponse, [n for n in dir(TemperatureResponse) if n[0] != "_"], "TemperatureResponse."),
        "TemperatureResponse",
        "Explorer.select",
    ]
)


def answer(function, arguments, argument):
    """None if a call is taken, "" if its error says what is wrong with that argument, else what it says."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function(**arguments)
    except Exception as err:
        last = err.__traceback__
        while last.tb_next:
            last = last.tb_next
        is_ours = isinstance(err, ArgumentError) and last.tb_frame.f_code.co_filename.startswith(PACKAGE)
        return "" if is_ours and f"`{argument}" in str(err) else f"{type(err).__name__}: {err}"
    finally:
        plt.close("all")


@pytest.mark.parametrize("name", NAMES)
def test_wrong_arguments_are_named(name, world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    function, base = world[name]
    accepted, raw = {}, []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        for label, value in WRONG.items():
            if label == "None" and parameter.default is None:
                continue
            if label == "True" and isinstance(parameter.default, bool):
                continue
            said = answer(function, base | {parameter.name: value}, parameter.name)
            if said is None:
                accepted.setdefault((name, parameter.name), set()).add(label)
            elif said:
                raw.append(f"{parameter.name}={label}: {said:.200}")
    assert raw == []
    assert accepted == {key: values for key, values in VALID.items() if key[0] == name}
