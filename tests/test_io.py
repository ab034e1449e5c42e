"""Files hold everything, are complete or absent, and foreign, damaged and hostile ones are refused."""

import json
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import asdf
import astropy.units as u
from astropy.coordinates import Angle, EarthLocation
from astropy.io import fits
from astropy.table import Table
from astropy.time import Time
from astropy.wcs import WCS, DistortionLookupTable
from ndcube import NDCollection, NDCube
from ndcube.wcs.tools import unwrap_wcs_to_fitswcs
from ndcube.wcs.wrappers import CompoundLowLevelWCS
from sunpy.util import MetaDict
from sunpy.util.exceptions import SunpyUserWarning

from sunpy_demreg import Status, __version__, emission_measure, invert, mean_temperature, read, write
from sunpy_demreg._common.wcs import TableWCS, plane_wcs, prepend_axis

IMAGES = (
    "DEM",
    "DEM_UNCERTAINTY",
    "TEMPERATURE_RESOLUTION",
    "CHI_SQUARED",
    "PREDICTED_INTENSITY",
    "REGULARIZATION_PARAMETER",
    "INTENSITY",
    "INTENSITY_UNCERTAINTY",
    "OMITTED_CHANNELS",
    "STATUS",
)
TABLES = ("TEMPERATURE_BIN_EDGES", "CHANNELS", "META")


either_format = pytest.mark.parametrize("ending", [".fits", ".asdf"])


@pytest.fixture(scope="module")
def result(small, response, edges):
    return invert(small, response, edges)


@pytest.fixture(scope="module")
def good(result, tmp_path_factory):
    """A sound file, to be copied and spoiled."""
    path = tmp_path_factory.mktemp("good") / "dem.fits"
    write(result, path)
    return path


def with_meta(result, **meta):
    changed = result.copy()
    changed.meta = result.meta | meta
    return changed


def assert_same(back, result):
    assert list(back) == list(result)
    for key in result:
        np.testing.assert_array_equal(back[key].data, result[key].data, err_msg=key)
        assert back[key].data.dtype == result[key].data.dtype
        assert back[key].unit == result[key].unit
        np.testing.assert_array_equal(back[key].mask, result[key].mask)
    np.testing.assert_array_equal(back["dem"].uncertainty.array, result["dem"].uncertainty.array)
    np.testing.assert_array_equal(back.meta["temperature_bin_edges"], result.meta["temperature_bin_edges"])
    for key in ("dem", "predicted_intensity"):
        np.testing.assert_array_equal(*(r[key].axis_world_coords(0)[0] for r in (result, back)))
    for key in ("dem", "chi_squared"):
        a, b = (r[key].axis_world_coords(*range(-r["status"].data.ndim, 0))[0] for r in (result, back))
        assert np.all(np.abs(a.Tx - b.Tx) < 1e-9 * u.arcsec)
        assert np.all(np.abs(a.Ty - b.Ty) < 1e-9 * u.arcsec)
        assert np.abs(a.observer.radius - b.observer.radius) < 1 * u.m
        assert a.obstime.isot == b.obstime.isot


@either_format
def test_round_trip_is_exact(result, tmp_path, ending):
    write(result, tmp_path / f"dem{ending}")
    back = read(tmp_path / f"dem{ending}")
    assert_same(back, result)
    assert list(back.meta) == list(result.meta)
    observation = dict(result.meta["observation"])
    read_observation = dict(back.meta["observation"])
    assert list(read_observation) == list(observation)
    assert np.all(read_observation.pop("date") == observation.pop("date"))
    for key in [key for key, value in observation.items() if isinstance(value, np.ndarray)]:
        there, here = read_observation.pop(key), observation.pop(key)
        assert type(there) is type(here)
        assert there.dtype == here.dtype
        np.testing.assert_array_equal(there, here)
    assert read_observation == observation
    for table in ("temperature", "response"):
        np.testing.assert_array_equal(*(r.meta["temperature_response"][table] for r in (back, result)))
    separate = ("observation", "temperature_bin_edges", "temperature_response")
    rest = [{k: v for k, v in r.meta.items() if k not in separate} for r in (back, result)]
    assert rest[0] == rest[1]
    assert isinstance(back.meta["channels"], tuple)


@pytest.mark.parametrize(
    "item",
    [np.s_[..., 1:4, 2:6], np.s_[2], np.s_[..., 3], np.s_[..., 2:3, 4:5]],
    ids=["rectangle", "row", "column", "one pixel"],
)
@either_format
def test_slice_can_be_written(result, tmp_path, item, ending):
    part = result[item]
    write(part, tmp_path / f"part{ending}")
    assert_same(read(tmp_path / f"part{ending}"), part)


@pytest.mark.parametrize("item", [np.s_[:, 2], np.s_[:, :, 3]], ids=["row", "column"])
def test_result_of_a_row_can_be_written(small, response, edges, tmp_path, item):
    result = invert(small[item], response, edges)
    write(result, tmp_path / "line.fits")
    back = read(tmp_path / "line.fits")
    assert_same(back, result)
    write(back[1:3], tmp_path / "again.fits")
    assert_same(read(tmp_path / "again.fits"), result[1:3])


def test_every_image_stands_alone(result, tmp_path, edges):
    write(result, tmp_path / "dem.fits")
    write(result[2], tmp_path / "row.fits", overwrite=True)
    for path in (tmp_path / "dem.fits", tmp_path / "row.fits"):
        with fits.open(path, checksum=True) as hdus:
            hdus.verify("exception")
            assert [hdu.name for hdu in hdus[1:]] == [*IMAGES, *TABLES]
            for hdu in hdus[1 : len(IMAGES) + 1]:
                assert hdu.header["WCSAXES"] == hdu.header["NAXIS"] == WCS(hdu.header).naxis
                assert list(hdu.header).index("WCSAXES") < list(hdu.header).index("CTYPE1")
    primary = fits.getheader(tmp_path / "dem.fits")
    assert primary["FORMAT"] == "sunpy_demreg 2"
    assert primary["CREATOR"] == f"sunpy_demreg {__version__}"
    assert primary["CHI2TARG"] == 1.0
    header = fits.getheader(tmp_path / "dem.fits", "DEM")
    assert header["BUNIT"] in ("K-1 cm-5", "cm-5 K-1")
    temperature = WCS(header).pixel_to_world_values(0, 0, np.arange(36))[2]
    np.testing.assert_allclose(temperature, np.sqrt(edges[1:] * edges[:-1]).value, rtol=1e-9)
    channel = WCS(fits.getheader(tmp_path / "dem.fits", "PREDICTED_INTENSITY")).pixel_to_world_values(0, 0, [0, 5])[2]
    np.testing.assert_allclose(channel, [1, 6])
    text = "".join(row.ljust(80) for row in fits.getdata(tmp_path / "dem.fits", "META")["json"])
    assert json.loads(text)["observation"]["n_sample"] == 16


def test_data_without_coordinates_round_trip(small, response, tmp_path):
    edges = 10 ** np.array([5.6, 5.8, 6.1, 6.5, 7.0]) * u.K
    data, sigma = small.data[:, 0] * small.unit, small.uncertainty.array[:, 0] * small.unit
    result = invert(data, response, edges, uncertainty=sigma)
    write(result, tmp_path / "line.fits.gz")
    assert (tmp_path / "line.fits.gz").read_bytes().startswith(b"\x1f\x8b")
    back = read(tmp_path / "line.fits.gz")
    for key in result:
        np.testing.assert_array_equal(back[key].data, result[key].data)
    np.testing.assert_allclose(back["dem"].axis_world_coords(0)[0], result["dem"].axis_world_coords(0)[0])


@either_format
def test_changed_mask_is_kept(small, response, edges, tmp_path, ending):
    result = invert(small, response, edges)
    result["dem"].mask[4:, 1, 2] = True
    result["status"].mask = result["status"].data == 0
    result["chi_squared"].mask = None
    write(result, tmp_path / f"dem{ending}")
    if ending == ".fits":
        with fits.open(tmp_path / "dem.fits") as hdus:
            assert [hdu.name for hdu in hdus if hdu.name.endswith("MASK")] == ["DEM_MASK", "STATUS_MASK"]
    back = read(tmp_path / f"dem{ending}")
    for key in set(result) - {"chi_squared"}:
        np.testing.assert_array_equal(back[key].mask, result[key].mask)
    assert not back["chi_squared"].mask.any()


def test_writing_does_not_touch_the_arrays(result, tmp_path, monkeypatch):
    before = {key: cube.data.tobytes() for key, cube in result.items()}

    def interrupt(hdus, *args, **kwargs):
        # astropy swaps bytes in place where it may, which an interrupt or another thread would see.
        assert not any(hdu.data.flags.writeable for hdu in hdus[1:] if isinstance(hdu, fits.ImageHDU))
        raise KeyboardInterrupt

    monkeypatch.setattr(fits.HDUList, "writeto", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(result, tmp_path / "dem.fits")
    assert {key: cube.data.tobytes() for key, cube in result.items()} == before
    assert all(cube.data.flags.writeable for cube in result.values())


VALUES = {
    "nothing": None,
    "truth": True,
    "large integer": 10**30,
    "float": 0.1,
    "infinity": -np.inf,
    "text": 'Å \\ " \n \0 \ud800 ' + 200 * " " + "end",
    "tuple in list": [(1, (2.5, None)), []],
    "dict by number": {94: "a", (1, 2): {"x": 1}},
    "dict with our marks": {"__time__": "now", "__array__": 3},
    "time": Time("2014-01-01T00:00:01.123456789", scale="tai"),
    "times": Time(["2014-01-01T00:00:01.12", "2015-01-01"]),
    "quantity": 3.25 * u.km / u.s,
    "integer quantity": u.Quantity([1, 2], u.DN / u.pix / u.s, dtype=int),
    "array": np.array([[1.5, np.nan], [np.inf, -0.0]]),
    "float32 array": np.array([0.1, 0.2], dtype=">f4"),
    "array of bool": np.array([True, False]),
    "array of str": np.array(["AIA 94", "Å"]),
    "number in an array": np.array(5),
    "empty array": np.zeros((0, 3)),
    "empty quantity": np.zeros((2, 0, 3)) * u.s,
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
def test_metadata_come_back_as_they_were(result, tmp_path, value):
    write(with_meta(result, extra=value, after=1), tmp_path / "dem.fits")
    meta = read(tmp_path / "dem.fits").meta
    assert list(meta)[-2:] == ["extra", "after"]
    back = meta["extra"]
    assert type(back) is type(value)
    if isinstance(value, Time):
        assert np.all(np.abs((back - value).to_value(u.ns)) < 1)
        assert back.scale == value.scale
    elif isinstance(value, np.ndarray):
        assert back.dtype == value.dtype.newbyteorder("=")
        assert getattr(back, "unit", None) == getattr(value, "unit", None)
        np.testing.assert_array_equal(back, value)
    else:
        assert back == value


def test_values_of_simple_kinds_become_simple(result, tmp_path):
    header = fits.Header([("EXPTIME", 2.9), ("EMPTY", None), ("HISTORY", "first"), ("HISTORY", "second")])
    extra = {
        "header": header,
        "sunpy": MetaDict({"WAVELNTH": 171, "keycomments": {"WAVELNTH": "Å"}}),
        "path": Path("a") / "b.fits",
        "status": Status.MASKED,
        "integer": np.int16(7),
        "truth": np.True_,
        "single": np.float32(0.5),
        "angle": Angle(3, u.deg),
    }
    write(with_meta(result, extra=extra), tmp_path / "dem.fits")
    assert read(tmp_path / "dem.fits").meta["extra"] == {
        "header": {"EXPTIME": 2.9, "EMPTY": None, "HISTORY": "first\nsecond"},
        "sunpy": {"wavelnth": 171, "keycomments": {"WAVELNTH": "Å"}},
        "path": str(Path("a") / "b.fits"),
        "status": int(Status.MASKED),
        "integer": 7,
        "truth": True,
        "single": 0.5,
        "angle": 3 * u.deg,
    }


def test_values_of_other_kinds_become_text_with_one_warning(small, response, edges, tmp_path):
    strange = {
        "table": Table({"a": [1, 2]}),
        "inner": [{"masked": np.ma.masked_array([1.0, 2.0], [False, True]), "objects": np.array([None, {}])}],
        "complex": np.array([1j]),
        "own unit": 3 * u.def_unit("flop"),
        "magnitude": 5 * u.ABmag,
        "decibel": u.Decibel([3.0, 4.0]),
        "local date": Time("2014-01-01", location=EarthLocation(1 * u.m, 2 * u.m, 3 * u.m)),
        "no dates": Time(["2014-01-01"])[:0],
        "far date": Time(1e8, format="jd", scale="tai"),
    }
    meta = dict(small.meta) | strange | {"several kinds": np.array([None, "a"])}  # is a list in the result
    cube = NDCube(small.data, small.wcs, uncertainty=small.uncertainty, unit=small.unit, meta=meta)
    result = invert(cube, response, edges)
    with pytest.warns(SunpyUserWarning, match="only be written as text") as record:
        write(result, tmp_path / "dem.fits")
    assert len(record) == 1
    assert record[0].filename == __file__
    inner = ("['inner'][0]['masked']", "['inner'][0]['objects']")
    for name in (*inner, *(f"['{key}']" for key in strange if key != "inner")):
        assert f"meta['observation']{name}" in str(record[0].message)
    back = read(tmp_path / "dem.fits").meta["observation"]
    assert back["table"] == str(strange["table"])
    assert back["own unit"] == "3.0 flop"
    assert back["magnitude"] == "5.0 mag(AB)"
    assert back["several kinds"] == [None, "a"]
    assert back["n_sample"] == 16


def test_metadata_that_contain_themselves_are_refused(result, tmp_path):
    loop = []
    loop.append({"again": loop})
    with pytest.raises(ValueError, match="`result` has metadata that contain themselves"):
        write(with_meta(result, extra=loop), tmp_path / "dem.fits")
    assert list(tmp_path.iterdir()) == []


BAD_RESULTS = {
    "nothing": (lambda r: None, TypeError, "but is None"),
    "an array": (lambda r: r["dem"].data, TypeError, "is of type ndarray"),
    "some cubes": (lambda r: r["chi_squared", "predicted_intensity"], ValueError, "lacks 'status'"),
    "no metadata": (lambda r: changed(r, meta=None), TypeError, "is an NDCollection without its `meta`"),
    "few temperatures": (lambda r: changed(r, dem=r["dem"][3:]), ValueError, r"dem of shape \(33, 6, 7\), not \(36"),
    "other unit": (lambda r: changed(r, dem=r["dem"].to(u.m**-5 / u.K)), ValueError, "dem.* convert it back"),
}


def changed(result, meta=(), **cubes):
    return type(result)(list((dict(result.items()) | cubes).items()), meta=result.meta if meta == () else meta)


@pytest.mark.parametrize(("change", "error", "words"), BAD_RESULTS.values(), ids=BAD_RESULTS.keys())
def test_other_things_than_results_are_refused(result, tmp_path, change, error, words):
    with pytest.raises(error, match=f"`result.*{words}"):
        write(change(result), tmp_path / "dem.fits")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options",
    [
        {"outputs": ("dem",)},
        {"outputs": ("dem", "dem_uncertainty", "chi_squared"), "dtype": "float32"},
        {"emission_measure_ranges": [[1e6, 2e6], [2e6, 1e7]] * u.K},
        {"outputs": ("dem", "covariance", "resolution_matrix")},
    ],
)
@either_format
def test_any_outputs_round_trip(small, response, edges, tmp_path, options, ending):
    written = invert(small, response, edges, **options)
    write(written, tmp_path / f"dem{ending}")
    back = read(tmp_path / f"dem{ending}")
    assert list(back) == list(written)
    for key, cube in written.items():
        np.testing.assert_array_equal(back[key].data, cube.data, err_msg=key)
        assert back[key].data.dtype == cube.data.dtype
        assert back[key].unit == cube.unit
        assert (back[key].uncertainty is None) == (cube.uncertainty is None)
        if cube.uncertainty is not None:
            np.testing.assert_array_equal(back[key].uncertainty.array, cube.uncertainty.array)
        assert list(back[key].wcs.world_axis_physical_types) == list(cube.wcs.world_axis_physical_types)
    if "emission_measure_ranges" in options:
        ranges = back.meta["emission_measure_ranges"]
        np.testing.assert_array_equal(ranges.to_value(u.K), options["emission_measure_ranges"].to_value(u.K))


def test_coordinates_that_fits_cannot_hold_are_refused(small, response, edges, result, tmp_path):
    tables = [TableWCS(np.arange(1, n + 1) * u.arcsec, name, f"custom:{name}") for name, n in (("x", 7), ("y", 6))]
    channels = np.arange(1, 7) * u.one
    wcs = prepend_axis(CompoundLowLevelWCS(*tables), channels, "channel", "custom:channel")
    cube = NDCube(small.data, wcs, uncertainty=small.uncertainty, unit=small.unit)
    distorted = unwrap_wcs_to_fitswcs(result["status"].wcs.low_level_wcs)[0].deepcopy()
    distorted.cpdis1 = DistortionLookupTable(np.zeros((2, 2), np.float32), (1, 1), (1, 1), (6, 6))
    status = NDCube(result["status"].data, distorted, unit=u.one)
    for bad in (invert(cube, response, edges), changed(result, status=status)):
        with pytest.raises(ValueError, match="`result` has coordinates that do not fit into a FITS header"):
            write(bad, tmp_path / "dem.fits")


def test_channels_without_a_coordinate_of_their_own_are_refused(result, tmp_path):
    wcs = WCS(naxis=3)
    wcs.wcs.ctype = 3 * ["LINEAR"]
    wcs.wcs.pc = [[1, 0, 0.1], [0, 1, 0], [0, 0, 1]]  # the first one changes along the channels too
    cube = NDCube(result["predicted_intensity"].data, wcs, unit=result["predicted_intensity"].unit)
    with pytest.raises(ValueError, match="`result` has no coordinate of the channels alone"):
        write(changed(result, predicted_intensity=cube), tmp_path / "dem.fits")


def test_cube_of_a_fits_wcs_round_trips(small, response, edges, tmp_path):
    wcs = WCS(naxis=3)
    wcs.wcs.ctype = ["HPLN-TAN", "HPLT-TAN", "WAVE"]
    wcs.wcs.cunit = ["arcsec", "arcsec", "Angstrom"]
    wcs.wcs.cdelt = [2.4, 2.4, 40]
    wcs.wcs.crval = [0, 0, 94]
    wcs.wcs.crpix = [3, 3, 1]
    wcs.wcs.dateobs = "2014-01-01T00:00:00"
    wcs.wcs.mjdobs = 56658.0
    wcs.wcs.aux.dsun_obs, wcs.wcs.aux.hgln_obs, wcs.wcs.aux.hglt_obs = 1.47e11, 0.0, -3.0
    result = invert(NDCube(small.data, wcs, uncertainty=small.uncertainty, unit=small.unit), response, edges)
    write(result, tmp_path / "dem.fits")
    assert_same(read(tmp_path / "dem.fits"), result)


def test_existing_file_is_kept(result, tmp_path):
    path = tmp_path / "dem.fits"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match=r"exists.*overwrite=True"):
        write(result, path)
    assert path.read_text() == "precious"
    write(result, path, overwrite=True)
    assert read(path)["dem"].data.shape == result["dem"].data.shape
    assert list(tmp_path.iterdir()) == [path]


def test_file_that_appears_meanwhile_is_kept(result, tmp_path, monkeypatch):
    path = tmp_path / "dem.fits"
    writeto = fits.HDUList.writeto

    def slow(hdus, *args, **kwargs):
        writeto(hdus, *args, **kwargs)
        path.write_text("precious")

    monkeypatch.setattr(fits.HDUList, "writeto", slow)
    with pytest.raises(FileExistsError):
        write(result, path)
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


def test_failed_write_leaves_nothing(result, tmp_path, monkeypatch):
    def fail(hdus, name, **kwargs):
        Path(name).write_text("half")
        raise OSError("no space left on device")

    monkeypatch.setattr(fits.HDUList, "writeto", fail)
    with pytest.raises(OSError, match="no space"):
        write(result, tmp_path / "dem.fits")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="permissions are those of POSIX")
def test_permissions_and_links_are_kept(result, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "plain").touch()
    target, link = tmp_path / "data" / "dem.fits", tmp_path / "link.fits"
    link.symlink_to(target)
    write(result, link)
    assert link.is_symlink()
    assert target.stat().st_mode == (tmp_path / "plain").stat().st_mode
    target.chmod(0o640)
    with pytest.raises(FileExistsError):
        write(result, link)
    before = target.stat().st_ino
    write(result, link, overwrite=True)
    assert link.is_symlink()
    assert target.stat().st_ino != before
    assert target.stat().st_mode & 0o777 == 0o640
    assert_same(read(link), result)


def test_bad_names_are_refused(result, tmp_path):
    with pytest.raises(ValueError, match=r"`path` must end in \.fits"):
        write(result, tmp_path / "dem.sav")
    with pytest.raises(FileNotFoundError, match=r"`path`.*'.*absent', which does not exist"):
        write(result, tmp_path / "absent" / "dem.fits")
    for name in (".fits", ".fits.gz", ".asdf", ".zarr"):
        with pytest.raises(ValueError, match=rf"`path` .* is only an extension: choose a name, such as 'dem{name}'"):
            write(result, tmp_path / name)
    (tmp_path / "folder.fits").mkdir()
    with pytest.raises(IsADirectoryError, match=r"`path` .* is a folder"):
        write(result, tmp_path / "folder.fits", overwrite=True)
    with pytest.raises(FileNotFoundError, match=r"absent\.fits"):
        read(tmp_path / "absent.fits")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.fits"]


@pytest.mark.parametrize("ending", [".fits", ".asdf", ".zarr"])
def test_added_cubes_are_refused_and_not_lost(result, tmp_path, ending):
    more = result.copy()
    more["em"], more["mean"] = emission_measure(result), mean_temperature(result)
    with pytest.raises(
        ValueError, match=r"`result` has 'em', 'mean', but .*`del result\['em'\]`.*`sunpy_demreg.write\(result\['em'\]"
    ):
        write(more, tmp_path / f"a{ending}")
    assert not list(tmp_path.iterdir())
    del more["em"], more["mean"]
    write(more, tmp_path / f"a{ending}")
    assert set(read(tmp_path / f"a{ending}")) == set(result)


def spoiled(good, path, change):
    """Copy of a file with its HDUs changed, and with checksums that fit."""
    with fits.open(good) as hdus:
        change(hdus)
        hdus.writeto(path, checksum=True)
    return path


def assert_refused(path, words=""):
    # Whether the user has made warnings errors or not.
    for action in ("error", "ignore"):
        with warnings.catch_warnings(action=action), pytest.raises(ValueError, match=r"(?s)`path` .*" + words) as info:
            read(path)
        assert str(path) in str(info.value)


def test_files_of_other_kinds_are_refused(tmp_path):
    (tmp_path / "empty.fits").touch()
    (tmp_path / "text.fits").write_text("not FITS at all")
    (tmp_path / "broken.fits.gz").write_bytes(b"\x1f\x8b\x08" + bytes(50))
    fits.PrimaryHDU(np.zeros((2, 2))).writeto(tmp_path / "other.fits")
    for name in ("empty.fits", "text.fits", "broken.fits.gz"):
        assert_refused(tmp_path / name)
    assert_refused(tmp_path / "other.fits", "FORMAT is None")


@pytest.mark.parametrize("name", [*IMAGES, *TABLES])
def test_missing_or_exchanged_extension_is_refused(good, tmp_path, name):
    def exchange(hdus):
        other = fits.ImageHDU(np.zeros(3), name=name) if name in TABLES else fits.table_to_hdu(Table({"a": [1]}))
        other.name = name
        hdus[name] = other

    assert_refused(spoiled(good, tmp_path / "without.fits", lambda hdus: hdus.pop(hdus.index_of(name))), name)
    assert_refused(spoiled(good, tmp_path / "exchanged.fits", exchange))


@pytest.mark.parametrize("index", range(len(IMAGES) + len(TABLES) + 1))
def test_one_wrong_bit_is_noticed(good, tmp_path, index):
    with fits.open(good) as hdus:
        info = hdus.fileinfo(index)
    for offset in (info["hdrLoc"] + 200, info["datLoc"] + 5):
        data = bytearray(good.read_bytes())
        data[offset] ^= 1
        (tmp_path / "bad.fits").write_bytes(data)
        if offset < info["datLoc"] or info["datSpan"]:
            assert_refused(tmp_path / "bad.fits")


@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.9, 0.999])
def test_truncated_file_is_refused(good, tmp_path, fraction):
    data = good.read_bytes()
    (tmp_path / "bad.fits").write_bytes(data[: int(fraction * len(data))])
    assert_refused(tmp_path / "bad.fits")


OBJECT_YAML = "!numpy.ndarray\nbuffer: !!binary |\n  QUFBQUFBQUE=\ndtype: O\norder: C\nshape: !!python/tuple [1]\n"
HOSTILE_METADATA = {
    "YAML": f"channels: {OBJECT_YAML}",
    "YAML command": "!!python/object/apply:os.mkdir [OUT]",
    "not a dict": "[1, 2]",
    "no channels": "{}",
    "wrong channels": '{"channels": ["AIA 94"]}',
    "nested too deeply": 200000 * "[",
    "empty": " ",
}
HOSTILE_VALUES = {
    "object array": '{"__array__": [1], "dtype": "O", "shape": [1]}',
    "object array in a quantity": '{"__quantity__": {"__array__": [1], "dtype": "object", "shape": [1]}, "unit": "s"}',
    "record array": '{"__array__": [1], "dtype": [["a", "O"]], "shape": [1]}',
    "ragged array": '{"__array__": [1, [2]], "dtype": "float64", "shape": [2]}',
    "huge text": '{"__array__": [1], "dtype": "U2000000000", "shape": [1]}',
    "wrong shape": '{"__array__": [1], "dtype": "int64", "shape": [2000000000]}',
    "unknown mark": '{"__import__": "os"}',
    "no tuple": '{"__tuple__": 3}',
    "bad key": '{"__dict__": [[[], 1]]}',
    "bad time": '{"__time__": "never", "scale": "utc"}',
    "bad unit": '{"__quantity__": 1, "unit": "__import__(\\"os\\").mkdir(\\"OUT\\")"}',
}
HOSTILE_METADATA |= {
    name: f'{{"channels": ["1", "2", "3", "4", "5", "6"], "x": {value}}}' for name, value in HOSTILE_VALUES.items()
}


@pytest.mark.parametrize("text", HOSTILE_METADATA.values(), ids=HOSTILE_METADATA.keys())
def test_hostile_metadata_are_refused(good, tmp_path, text):
    text = text.replace("OUT", str(tmp_path / "out")).encode()
    rows = np.array([text[i : i + 80] for i in range(0, len(text), 80)])

    def change(hdus):
        hdus["META"] = fits.BinTableHDU.from_columns([fits.Column("json", "80A", array=rows)], name="META")

    assert_refused(spoiled(good, tmp_path / "hostile.fits", change))
    assert [path.name for path in tmp_path.iterdir()] == ["hostile.fits"]


def test_comments_of_tables_are_not_run(good, result, tmp_path):
    """QTable.read would load YAML from them, which can make objects of any bytes and so crash the interpreter."""
    name = "temperature_bin_edges"
    text = (
        "datatype:\n- {name: edge, datatype: float64}\nmeta:\n  __serialized_columns__:\n    edge:\n"
        "      __class__: astropy.table.column.Column\n      data:\n        !numpy.ndarray\n"
        "        buffer: !!binary |\n          QUFBQUFBQUE=\n        dtype: O\n        order: C\n        shape: [1]\n"
    )

    def change(hdus):
        for table in TABLES:
            for line in (
                "--BEGIN-ASTROPY-SERIALIZED-COLUMNS--",
                *text.splitlines(),
                "--END-ASTROPY-SERIALIZED-COLUMNS--",
            ):
                hdus[table].header["COMMENT"] = line

    back = read(spoiled(good, tmp_path / "hostile.fits", change))
    np.testing.assert_array_equal(back.meta[name], result.meta[name])


def test_columns_of_pointers_are_refused(good, tmp_path):
    def change(hdus):
        for table, name in zip(TABLES, ("edge", "coordinate", "json"), strict=True):
            column = fits.Column(name, "PD()", array=np.array([np.arange(3.0), np.arange(2.0)], dtype=object))
            hdus[table] = fits.BinTableHDU.from_columns([column], name=table)

    assert_refused(spoiled(good, tmp_path / "pointers.fits", change))


@pytest.mark.parametrize("dropped", ["1", "7", "-3", "x", "1 2"])
def test_wrong_dropped_axes_are_refused(good, tmp_path, dropped):
    assert_refused(spoiled(good, tmp_path / "bad.fits", lambda hdus: hdus[0].header.set("DROPPED", dropped)))


# ASDF


def test_asdf_is_a_collection_for_those_without_this_package(result, edges, tmp_path):
    write(result, tmp_path / "dem.asdf")
    with asdf.open(tmp_path / "dem.asdf") as file:
        collection = file["result"]
        assert type(collection) is NDCollection
        assert set(collection) == set(result)
        dem = collection["dem"]
        np.testing.assert_array_equal(dem.data, result["dem"].data)
        [temperature], [corners] = dem.axis_world_coords(0), dem.axis_world_coords(1, 2)
        centers = np.sqrt(edges[1:] * edges[:-1])
        np.testing.assert_allclose(u.Quantity(temperature).to_value(u.K), centers.value, rtol=1e-9)
        expected = result["status"].axis_world_coords(0, 1)[0]
        assert np.all(np.abs(corners.Tx - expected.Tx) < 1e-9 * u.arcsec)
        np.testing.assert_array_equal(collection[1:3, 2:4]["status"].data, result["status"].data[1:3, 2:4])
    assert b"!!python" not in (tmp_path / "dem.asdf").read_bytes()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data.replace(b"sunpy_demreg 2", b"sunpy_demreg 0"),
        lambda data: data.replace(b"format:", b"former:"),
        lambda data: data.replace(b"dropped: []", b"dropped: !!python/object/apply:os.mkdir [made]"),
        lambda data: data[:-1000] + bytes(data[-1000] ^ 1 for _ in range(1)) + data[-999:],
        lambda data: b"SIMPLE  =" + data,
    ],
    ids=["empty", "half", "other version", "other kind", "code", "one bit", "other format"],
)
def test_other_asdf_files_are_refused(result, tmp_path, spoil, monkeypatch):
    write(result, tmp_path / "dem.asdf")
    data = (tmp_path / "dem.asdf").read_bytes()
    spoiled = spoil(data)
    assert spoiled != data
    (tmp_path / "dem.asdf").write_bytes(spoiled)
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=r"`path` .*dem.asdf' is not a result that sunpy_demreg.write wrote"):
            read(tmp_path / "dem.asdf")
    assert [path.name for path in tmp_path.iterdir()] == ["dem.asdf"]


def test_asdf_without_its_package_names_the_extra(result, tmp_path, monkeypatch):
    there = tmp_path / "there.asdf"
    there.touch()
    monkeypatch.setitem(sys.modules, "asdf", None)
    for call in (lambda: write(result, tmp_path / "dem.asdf"), lambda: read(there)):
        with pytest.raises(ImportError, match=r"ASDF file needs asdf .*pip install 'sunpy-demreg\[asdf\]'"):
            call()
    assert list(tmp_path.iterdir()) == [there]


# Coordinates of all kinds


def rotated(wcs):
    header = wcs.to_header()
    header.update({"PC1_1": 0.8, "PC1_2": -0.6, "PC2_1": 0.6, "PC2_2": 0.8})
    return WCS(header)


def without_observer(wcs):
    header = wcs.to_header()
    for key in ("DSUN_OBS", "HGLN_OBS", "HGLT_OBS", "RSUN_REF"):
        header.pop(key, None)
    return WCS(header)


@pytest.mark.filterwarnings("ignore:.* do not fit")
@either_format
@pytest.mark.parametrize("change", [rotated, without_observer])
@pytest.mark.parametrize("step", [0.05, None], ids=["even bins", "uneven bins"])
def test_odd_coordinates_are_right_for_plain_astropy(cube, small, response, tmp_path, change, step, ending):
    image_wcs = change(unwrap_wcs_to_fitswcs(plane_wcs(small[0].wcs))[0])
    edges = 10 ** (np.arange(5.6, 7.41, step) if step else np.array([5.6, 5.8, 6.1, 6.5, 7.0])) * u.K
    channels = np.arange(1, 7) * u.one
    data = small.data.copy()
    data[1:3, 2, 3], data[4, 5, 5] = np.nan, np.nan
    wcs = prepend_axis(image_wcs, channels, "channel", "custom:channel")
    odd = NDCube(data, wcs, uncertainty=small.uncertainty, unit=small.unit)
    with pytest.warns(SunpyUserWarning, match="1 of 42"):
        result = invert(odd, response, edges)
    path = tmp_path / f"dem{ending}"
    write(result, path)
    back = read(path)
    centers = np.sqrt(edges[1:] * edges[:-1]).value
    y, x = np.array([0, 0, 5, 5]), np.array([0, 6, 0, 6])
    expected = image_wcs.pixel_to_world_values(x, y)
    for key, values in result.items():
        np.testing.assert_array_equal(back[key].data, values.data)
        np.testing.assert_array_equal(back[key].mask, values.mask)
    np.testing.assert_allclose(back["status"].wcs.low_level_wcs.pixel_to_world_values(x, y), expected, rtol=1e-12)
    if ending == ".fits":
        with fits.open(path) as hdus:
            plain = WCS(hdus["DEM"].header).pixel_to_world_values(x, y, np.array([0, 1, 2, len(centers) - 1]))
            np.testing.assert_allclose(plain[:2], expected, rtol=1e-12)
            if step:
                np.testing.assert_allclose(plain[2], centers[[0, 1, 2, -1]], rtol=1e-9)
            np.testing.assert_allclose(hdus["TEMPERATURE_BIN_EDGES"].data["edge"].ravel(), edges.value, rtol=1e-15)


@either_format
def test_folder_that_cannot_be_written_keeps_what_is_there(result, tmp_path, monkeypatch, ending):
    path = tmp_path / f"dem{ending}"
    path.write_text("mine")

    def refuse(*args, **kwargs):
        raise PermissionError("read-only")

    monkeypatch.setattr(fits.HDUList, "writeto", refuse)
    monkeypatch.setattr(asdf.AsdfFile, "write_to", refuse)
    with pytest.raises(PermissionError, match="read-only"):
        write(result, path, overwrite=True)
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]
