"""What particular wrong calls are told, and that errors and warnings carry what they are about."""

import copy
import pickle
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import astropy.units as u
from astropy.utils.masked import Masked
from ndcube import NDCube

import sunpy_demreg as demreg
from sunpy_demreg import ArgumentError, DemregWarning, TemperatureResponse, sample, visualization
from sunpy_demreg._common.errors import imported, wrong
from sunpy_demreg._common.validators import as_integer, as_keywords
from sunpy_demreg._inversion import memory

UNIT = u.Unit("DN cm5 / (pix s)")


@pytest.fixture(scope="module")
def result(small, response):
    return demreg.invert(small[:, :2, :2], response, 10 ** np.arange(5.8, 7.1, 0.2) * u.K)


def told(function, *args, **kwargs):
    with pytest.raises(ArgumentError) as caught:
        function(*args, **kwargs)
    assert str(caught.value).startswith(f"`{caught.value.argument}")
    return str(caught.value)


@pytest.mark.parametrize("kind", [ValueError, TypeError, IndexError, FileNotFoundError, ImportError, MemoryError])
def test_error_is_of_its_kind_and_travels(kind):
    err = wrong(kind, "maps[2]", "must be another")
    assert isinstance(err, ArgumentError)
    assert isinstance(err, kind)
    for same in (err, pickle.loads(pickle.dumps(err)), copy.copy(err)):
        assert str(same) == "`maps[2]` must be another"
        assert (same.argument, same.problem) == ("maps", "must be another")
    assert str(err.renamed("data")) == "`data[2]` must be another"
    assert type(pickle.loads(pickle.dumps(err))) is type(err)


def test_error_of_the_network_travels():
    err = pickle.loads(pickle.dumps(demreg.CalibrationDataError("pointing_table", ": none")))
    assert (str(err), err.argument) == ("`pointing_table`: none", "pointing_table")


def test_warnings_can_be_told_apart(small, response, edges):
    data, sigma = np.array(small.data) * small.unit, small.uncertainty.array * small.unit
    data[:2, 0, 0] = np.nan
    with pytest.warns(demreg.UnsolvedWarning, match="were not solved") as caught:
        demreg.invert(data, response, edges, uncertainty=sigma)
    assert caught[0].filename == __file__  # the line of the caller's
    with pytest.warns(demreg.DataWarning) as caught:
        demreg.prepare(sample.aia_maps())
    assert caught[0].message.argument == "n_sample"
    family = (demreg.DataWarning, demreg.MetadataWarning, demreg.ResponseWarning, demreg.UnsolvedWarning)
    assert all(issubclass(kind, DemregWarning) for kind in family)


@pytest.mark.parametrize("configured", [False, True])
def test_warnings_are_printed_once_by_the_logger_of_sunpy(configured):
    """drms, which aiapy imports, gives the root logger a handler, and its messages should come as before."""
    lines = [
        "import logging, sunpy_demreg",
        *(["logging.basicConfig(level=logging.ERROR, format='of the user: %(message)s')"] * configured),
        "root = logging.getLogger()",
        "before = root.level, list(root.handlers)",
        "sunpy_demreg.prepare(sunpy_demreg.sample.aia_maps())",
        "assert (root.level, root.handlers) == before",
        "import drms",
        "logging.getLogger('drms.client').info('waiting')",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("`n_sample` is assumed to be 1") == 1 + configured  # and by the handler of the user
    assert done.stderr.count("waiting") == (not configured)


def test_all_of_aiapy_is_loaded_with_its_logging_kept():
    package = Path(demreg.__file__).parent
    for path in package.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert len(re.findall(r"^ *from aiapy|^ *import aiapy", text, re.M)) == len(
            re.findall(r"^ *load_drms\(\)\n *(?:from|import) aiapy", text, re.M)
        ), path


@pytest.mark.parametrize(
    ("function", "given", "words"),
    [
        ("prepare_series", {"n_sampel": 16}, "`n_sampel` is no option of `prepare` (did you mean 'n_sample'?)"),
        ("batch_invert", {"chi_square_target": 1}, "did you mean 'chi_squared_target'?"),
        ("batch_invert", {"prepare_options": {"satuation": 1}}, "`prepare_options` has 'satuation'"),
        ("batch_invert", {"prepare_options": {"satuation": 1}}, "(did you mean 'saturation'?)"),
        ("batch_invert", {"response_options": {"chianti_fix": True}}, "(did you mean 'chiantifix'?)"),
        # An option of another function than that which takes it.
        (
            "batch_invert",
            {"reference": 171 * u.AA},
            "`reference` is no option of `invert` but of `prepare`: pass it in `prepare_options`, such as "
            "`prepare_options={'reference': ...}`",
        ),
        ("batch_invert", {"chiantifix": True}, "of `from_aia`: pass it in `response_options`"),
        ("batch_invert", {"prepare_options": {"chiantifix": True}}, "pass it in `response_options`, such as"),
        (
            "batch_invert",
            {"prepare_options": {"method": "l2"}},
            "has 'method', which is no option of `prepare` but of ",
        ),
        ("batch_invert", {"response_options": {"method": "l2"}}, "of `invert`: pass it as a keyword"),
        ("batch_invert", {"prepare_options": {"mask": True}}, "'mask', which is no option of `prepare`, which has psf"),
    ],
)
def test_misspelt_keyword_gets_the_nearest(function, given, words, edges):
    more = ("store.zarr", edges) if function == "batch_invert" else ()
    assert words in told(getattr(demreg, function), [], *more, **given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"parameter_choice": "discrepency"}, "(did you mean 'discrepancy'?)"),
        ({"method": "demregs"}, "(did you mean 'demreg'?)"),
        ({"weighting": "em_locus"}, "(did you mean 'em_loci'?)"),
        ({"outputs": ("dem", "chisquared")}, "(did you mean 'chi_squared'?)"),
        ({"mask": np.full((6, 7), "no")}, "`mask` must be an array of True"),
        ({"chi_squared_target": True}, "must be a finite number above 0, but is True"),
        ({"temperature_bin_edges": [1, 2, np.nan, 8, 9] * u.MK}, "positive and finite, but 1 of 5 are not"),
        ({"temperature_bin_edges": Masked([1, 2, 4, 8, 9] * u.MK, mask=[0, 1, 0, 0, 0])}, "pass its `unmasked`"),
        ({"temperature_bin_edges": [9, 8, 2, 1, 0.5] * u.MK}, "strictly ascending"),
    ],
)
def test_call_of_invert(given, words, small, response, edges):
    data = {"data": np.array(small.data) * small.unit, "response": response, "temperature_bin_edges": edges}
    assert words in told(demreg.invert, **data | {"uncertainty": 1 * small.unit} | given)


def test_complex_data(small, response, edges):
    data = np.array(small.data) * (1 + 0j) * small.unit
    assert "must hold real numbers" in told(demreg.invert, data, response, edges, uncertainty=abs(data))


def test_one_uncertainty_for_all(small, response, edges):
    data = np.array(small.data[:, :2, :2]) * small.unit
    one = demreg.invert(data, response, edges, uncertainty=3 * small.unit)
    same = demreg.invert(data, response, edges, uncertainty=np.full(data.shape, 3.0) * small.unit)
    np.testing.assert_array_equal(one["dem"].data, same["dem"].data)
    assert one["intensity"].uncertainty.array.shape == data.shape


def test_list_of_cubes_is_a_series(small, response, edges):
    planes = [small[i : i + 1, :2, :2] for i in range(6)]
    dem = demreg.invert(planes, response, edges)["dem"].data
    np.testing.assert_array_equal(dem, demreg.invert(small[:, :2, :2], response, edges)["dem"].data)


def test_result_given_as_data(result, response, edges, tmp_path):
    demreg.write(result, tmp_path / "dem.fits")
    words = "is a result that `sunpy_demreg.write` wrote: read it with `sunpy_demreg.read`"
    assert words in told(demreg.prepare, tmp_path / "dem.fits")
    message = told(demreg.invert, tmp_path / "dem.fits", response, edges)
    assert message.startswith("`data`")
    assert words in message
    assert told(demreg.invert, result, response, edges).startswith("`data` is a result of `sunpy_demreg.invert`")


def test_files(result, response, tmp_path):
    assert "there is no file 'absent.fits'" in told(demreg.read, "absent.fits")
    assert "`write(result, path)`" in told(demreg.write, tmp_path / "dem.fits", result)
    assert "does not exist: create it first" in told(response.write, tmp_path / "absent" / "r.ecsv")
    response.write(tmp_path / "r.ecsv")
    assert "overwrite=True" in told(response.write, tmp_path / "r.ecsv")


def test_maps_of_several_times():
    maps = [*sample.aia_maps(), *sample.aia_maps()]
    assert "`prepare_series` and `batch_invert`, or `sunpy-demreg batch`" in told(demreg.prepare, maps, n_sample=16)


def test_bin_larger_than_the_images():
    assert "but is 1000 for the shape (128, 128)" in told(demreg.prepare, sample.aia_maps(), n_sample=16, bin=1000)


def test_response_in_meters():
    assert "has the unit 'm'" in told(TemperatureResponse, ["a"], [1, 2] * u.MK, [[1, 2]] * u.m)
    for unit in ("DN cm5 / s", "erg cm3 / (s sr)", "1e-27 ph cm3 / (s sr)", "ct cm5 / (s arcsec2)"):
        TemperatureResponse(["a"], [1, 2] * u.MK, [[1, 2]] * u.Unit(unit))


def test_pictures(result):
    assert "is empty" in told(visualization.animate, [])
    assert "must be a finite number of milliseconds" in told(visualization.animate, [result], interval="x")
    assert "must be matplotlib Axes" in told(visualization.plot_chi_squared, result, axes=5)
    assert "must be three colors" in told(visualization.plot_composite, result, colors=5)
    by_name = visualization.plot_residual(result, "AIA 171").get_array()
    by_wavelength = visualization.plot_residual(result, 17.1 * u.nm).get_array()
    np.testing.assert_array_equal(by_name, by_wavelength)
    assert "did you mean 'AIA 171'?" in told(visualization.plot_residual, result, "AIA171")


def test_arrays_with_the_channels_first(small, response, edges):
    tresp, logt = response.response.value.T, np.log10(response.temperature.value)
    message = told(demreg.dn2dem_pos, small.data, small.data, tresp, logt, edges.value)
    assert message.startswith("`dn_in`")
    assert "np.moveaxis" in message
    spectrum = small.data[:, 0, 0]
    assert "must have no NaN" in told(demreg.dn2dem_pos, spectrum, spectrum, tresp * np.nan, logt, edges.value)
    assert "strictly ascending" in told(demreg.dn2dem_pos, spectrum, spectrum, tresp, logt, edges.value[::-1])
    assert "but 1 of 5 are not" in told(
        demreg.dn2dem_pos, spectrum, spectrum, tresp, logt, [1e6, 2e6, np.nan, 4e6, 8e6]
    )


def test_metadata_of_combined_cubes_may_be_a_dict(small):
    plain = NDCube(small.data, small.wcs, uncertainty=small.uncertainty, mask=small.mask, unit=small.unit)
    plain.meta = {key: small.meta[key] for key in ("channels", "exposure_time", "date", "instrument")}
    both = demreg.combine([plain])
    np.testing.assert_array_equal(both.meta["channels"], small.meta["channels"])
    np.testing.assert_array_equal(both.meta["exposure_time"], small.meta["exposure_time"])
    np.testing.assert_array_equal(both.data, small.data)
    plain.meta["channels"] = ["one"]
    assert "`cubes[0]` has 6 planes" in told(demreg.combine, [plain])


@pytest.mark.parametrize(
    ("filters", "date", "words"),
    [
        (["Open"], "2014-01-01", "`filters[0]` 'Open' is no filter"),
        (["Al-poly", "Al_poly"], "2014-01-01", "`filters[1]` repeats 'Al-poly'"),
        (["Be-thinn"], "2014-01-01", "(did you mean 'Be-thin'?)"),
        (["Be-thin"], "2000-01-01", "`obstime` 2000-01-01T00:00:00.000 is not covered"),
        (["Be-thin"], "2050-01-01", "`obstime` 2050-01-01T00:00:00.000 is not covered"),
    ],
)
def test_filters_of_xrt(filters, date, words):
    assert words in told(TemperatureResponse.from_xrt, filters, date)


def test_open_wheel_of_xrt():
    response = TemperatureResponse.from_xrt(["Al_poly/Open", "Ti-poly/Al-poly"], "2014-01-01")
    assert response.channels == ("XRT Al-poly", "XRT Al-poly/Ti-poly")


@pytest.mark.parametrize(
    ("module", "extra", "call"),
    [
        ("xarray", "xarray", lambda result, path: demreg.to_xarray(result)),
        ("zarr", "batch", lambda result, path: demreg.write(result, path / "dem.zarr")),
        ("dask.array", "batch", lambda result, path: demreg.write(result, path / "dem.zarr")),
        ("asdf_astropy", "asdf", lambda result, path: demreg.write(result, path / "dem.asdf")),
        ("dask.array", "dask", lambda result, path: demreg.prepare_series(sample.aia_maps())),
        ("zarr", "batch", lambda result, path: demreg.batch_invert([], path / "s.zarr", [1, 2, 3, 4] * u.MK)),
        (
            "sunkit_instruments.suvi",
            "instruments",
            lambda result, path: TemperatureResponse.from_suvi([171] * u.AA),
        ),
        (
            "xrtpy.response.temperature_response",
            "instruments",
            lambda result, path: TemperatureResponse.from_xrt(["Be-thin"], "2014-01-01"),
        ),
    ],
)
def test_missing_package_is_named_with_what_installs_it(module, extra, call, result, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install 'sunpy-demreg\[{extra}\]'"):
        call(result, tmp_path)
    with pytest.raises(ImportError, match="it needs absent"):
        imported("absent.module", "it", "extra")


def test_keywords_for_a_function():
    assert as_keywords("options", None, demreg.invert) == {}
    given = {"method": "l2"}
    taken = as_keywords("options", given, demreg.invert)
    assert taken == given
    assert taken is not given  # nobody may add to what is the caller's
    assert as_integer("n", 16.0, 1, 20) == 16


def groups(tmp_path, monkeypatch, own, **files):
    """A tree of control groups, with this process in one of them; the bytes that are available in it."""
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        path = tmp_path / "cgroup" / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(memory, "_OWN", tmp_path / "own")
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path / "cgroup")
    return memory.available_memory()


@pytest.mark.parametrize("version", [1, 2])
def test_memory_is_that_of_the_groups_of_the_process(tmp_path, monkeypatch, version):
    limit, usage, cache = memory._FILES["memory" if version == 1 else ""]
    root = "memory__" if version == 1 else ""
    own = "4:memory:/job/step\n0::/other\n" if version == 1 else "0::/job/step\n"
    unlimited = "9223372036854771712" if version == 1 else "max"

    def tree(outer, inner, used):
        files = {}
        for place, most in (("", unlimited), ("job__", outer), ("job__step__", inner)):
            files |= {f"{root}{place}{limit}": most, f"{root}{place}{usage}": used}
            files[f"{root}{place}memory_dot_stat"] = f"anon 5\n{cache} 100\n"
        return {name.replace(".", "_dot_"): text for name, text in files.items()}

    assert groups(tmp_path, monkeypatch, own, **tree("5000000", "2000000", "1000000")) == 1000100
    assert groups(tmp_path, monkeypatch, own, **tree("1500000", unlimited, "1000000")) == 500100
    assert groups(tmp_path, monkeypatch, own, **tree("500000", unlimited, "1000000")) == 0
    assert groups(tmp_path, monkeypatch, own, **tree(unlimited, unlimited, "1000000")) > 2**20
    assert groups(tmp_path, monkeypatch, "0::/absent\n") > 2**20


def test_memory_without_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_OWN", tmp_path / "absent")
    assert memory.available_memory() > 0


def test_script_without_a_guard(tmp_path, edges, monkeypatch):
    import multiprocessing

    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with warnings.catch_warnings():
        message = told(demreg.batch_invert, [], tmp_path / "s.zarr", edges, workers=1)
    assert "under `if __name__ == '__main__':`" in message
