"""Products as files: what comes back, what plain astropy sees, and whether the headers are valid."""

import json

import numpy as np
import pytest

import astropy.units as u
from astropy.io import fits
from astropy.nddata import VarianceUncertainty
from astropy.time import Time
from astropy.wcs import WCS
from ndcube import NDCube
from ndcube.wcs.tools import unwrap_wcs_to_fitswcs
from sunpy.map import GenericMap, Map

import sunpy_demreg as demreg
from sunpy_demreg._common.dask_arrays import is_lazy
from sunpy_demreg._common.wcs import plane_wcs, sky_wcs, table_axis, times_of

#: What SOLARNET requires of an HDU with observations (Recommendations, version 1.4, appendix on mandatory keywords).
MANDATORY = {
    *("EXTNAME", "SOLARNET", "OBS_HDU", "FILENAME", "DATE", "ORIGIN", "DATEREF", "DATE-BEG", "BTYPE", "BUNIT"),
    *(
        "CHECKSUM",
        "DATASUM",
        *(f"{name}{i}" for name in ("CTYPE", "CNAME", "CUNIT", "CRPIX", "CRVAL", "CDELT") for i in "12"),
    ),
}
PRODUCTS = {
    "emission measure": lambda r: demreg.emission_measure(r, [1, 2] * u.MK),
    "emission measure of what is resolved": demreg.emission_measure,
    "mean temperature": lambda r: demreg.mean_temperature(r, [1, 4] * u.MK),
    "thermal energy": lambda r: demreg.thermal_energy_density(r, 50 * u.Mm, [1, 4] * u.MK),
    "synthesis": lambda r: demreg.synthesize(r, r_response(r)),
    "resolved": lambda r: demreg.is_resolved(r),
    "dem": lambda r: r["dem"],
    "status": lambda r: r["status"],
    "intensity": lambda r: r["intensity"],
    "omitted": lambda r: r["omitted_channels"],
    "a bin": lambda r: r["dem"][5],
    "a row": lambda r: demreg.emission_measure(r[2], [1, 2] * u.MK),
    "planes of a column": lambda r: r[:, 3]["dem"],
}
ENDINGS = (".fits", ".asdf", ".zarr")


@pytest.fixture(params=ENDINGS)
def ending(request):
    needed = {".asdf": "asdf_astropy", ".zarr": "zarr"}.get(request.param)
    if needed is not None:
        pytest.importorskip(needed)
    return request.param


def r_response(result):
    from sunpy_demreg._results.errors import response_of

    return response_of(result)


@pytest.fixture(scope="module")
def result(part, response, edges):
    with pytest.warns(demreg.UnsolvedWarning):
        return demreg.invert(part, response, edges)


def plane_of(cube):
    """The FITS WCS of the image behind a cube."""
    wcs = plane_wcs(cube.wcs)
    while table_axis(wcs):
        wcs = sky_wcs(wcs)
    return unwrap_wcs_to_fitswcs(plane_wcs(wcs))[0]


def same(found, expected):
    assert found.data.dtype == expected.data.dtype
    np.testing.assert_array_equal(found.data, expected.data)
    assert found.unit == expected.unit
    assert (found.uncertainty is None) == (expected.uncertainty is None)
    if found.uncertainty is not None:
        np.testing.assert_array_equal(found.uncertainty.array, expected.uncertainty.array)
    if expected.mask is not None:
        np.testing.assert_array_equal(found.mask, np.broadcast_to(expected.mask, expected.data.shape))
    assert plane_of(found).wcs.dateobs == plane_of(expected).wcs.dateobs
    at = np.indices(expected.data.shape)[::-1]
    worlds = (each.wcs.low_level_wcs.pixel_to_world_values(*at) for each in (found, expected))
    for a, b, unit in zip(*worlds, expected.wcs.low_level_wcs.world_axis_units, strict=True):
        if unit == "s":  # since the first time, in whole microseconds
            np.testing.assert_allclose(a - a.min(), b - b.min(), atol=2e-6)
        else:
            np.testing.assert_allclose(a, b, rtol=1e-11)
    found_types, types = (list(each.wcs.low_level_wcs.world_axis_physical_types) for each in (found, expected))
    assert found_types == types
    assert list(found.meta) == list(expected.meta)
    for key in ("content", "channels"):
        if key in expected.meta:
            np.testing.assert_array_equal(found.meta[key], expected.meta[key])


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_come_back(result, tmp_path, name, ending):
    cube = PRODUCTS[name](result)
    path = tmp_path / f"product{ending}"
    demreg.write(cube, path)
    back = demreg.read(path)
    same(back, cube)
    demreg.write(back, path, overwrite=True)
    same(demreg.read(path), cube)
    if cube.data.ndim > 1:
        same(back[1], cube[1])


@pytest.mark.parametrize("key", ["covariance", "resolution_matrix", "emission_measure"])
def test_matrices_and_ranges_come_back(part, response, edges, tmp_path, key, ending):
    ranges = [[1, 2], [2, 4]] * u.MK if key == "emission_measure" else None
    with pytest.warns(demreg.UnsolvedWarning):
        result = demreg.invert(part, response, edges, outputs=("dem", key), emission_measure_ranges=ranges)
    demreg.write(result[key], tmp_path / f"p{ending}")
    back = demreg.read(tmp_path / f"p{ending}")
    same(back, result[key])
    if key != "emission_measure":
        same(back[4, 5], result[key][4, 5])


def test_input_cubes_come_back(part, tmp_path, ending):
    demreg.write(part, tmp_path / f"p{ending}")
    back = demreg.read(tmp_path / f"p{ending}")
    same(back, part)
    assert list(back[2:4].meta["channels"]) == list(part.meta["channels"][2:4])
    assert abs(back.meta["date"] - part.meta["date"]).max() < 1 * u.us


def test_series_come_back_and_stay_lazy(series_folder, tmp_path):
    pytest.importorskip("zarr")
    series = demreg.prepare_series(series_folder, n_sample=16)
    response = demreg.TemperatureResponse.from_aia(series)
    result = demreg.invert(series, response, 10 ** np.arange(5.6, 7.41, 0.2) * u.K)
    products = {
        "em": demreg.emission_measure(result, [1, 2] * u.MK),
        "dem": result["dem"],
        "in": series,
        "last": result["dem"][:, 1:],
        "bin": result["dem"][5],
    }
    for name, cube in products.items():
        path = tmp_path / f"{name}.zarr"
        demreg.write(cube, path)
        back = demreg.read(path)
        assert is_lazy(back.data, back.uncertainty.array, back.mask)
        n_leading = cube.data.ndim - 3
        assert set(back.data.chunks[n_leading]) == {1}  # each time can be read alone
        same(back, cube)
        expected = [times_of(sky_wcs(each.wcs) if n_leading else plane_wcs(each.wcs)) for each in (back, cube)]
        assert abs(expected[0] - expected[1]).max() < 1 * u.us
        step = (slice(None), 1) if n_leading else 1
        same(back[step], cube[step])
        dates = [(each.meta.get("observation") or each.meta)["date"] for each in (back[step], cube[step])]
        assert dates[0].shape == (6,)
        assert abs(dates[0] - dates[1]).max() < 1 * u.us
        for ending in (".fits", ".asdf"):
            with pytest.raises(ValueError, match=r"`result` is a series in time.*to a .zarr store"):
                demreg.write(cube, tmp_path / f"em{ending}")
    for ending in (".fits", ".asdf"):
        demreg.write(products["em"][1], tmp_path / f"one{ending}")
        same(demreg.read(tmp_path / f"one{ending}"), products["em"][1])


def test_other_programs_open_them(result, tmp_path):
    asdf, xarray = pytest.importorskip("asdf"), pytest.importorskip("xarray")
    pytest.importorskip("asdf_astropy")
    pytest.importorskip("zarr")
    dem = result["dem"]
    demreg.write(dem, tmp_path / "dem.asdf")
    with asdf.open(tmp_path / "dem.asdf") as file:
        cube = file["cube"]
        assert type(cube) is NDCube
        np.testing.assert_array_equal(cube.data, dem.data)
        np.testing.assert_array_equal(cube.uncertainty.array, dem.uncertainty.array)
        np.testing.assert_array_equal(cube.mask, dem.mask)
        assert cube.unit == dem.unit
        np.testing.assert_allclose(file["coordinates"]["temperature"].value, dem.axis_world_coords(0)[0].value)
        header = fits.Header.fromstring(file["header"], sep="\n")
    demreg.write(dem, tmp_path / "dem.zarr")
    with xarray.open_zarr(tmp_path / "dem.zarr", consolidated=False) as dataset:
        assert dataset["image"].dims == ("temperature", "y", "x")
        assert dataset["temperature"].attrs["units"] == "K"
        np.testing.assert_array_equal(dataset["image"].values, dem.data)
        assert fits.Header.fromstring(dataset.attrs["wcs"], sep="\n") == header
    assert (header["TELESCOP"], header["INSTRUME"], header["LEVEL"]) == ("SDO", "SDO/AIA", "2")
    assert header["CONTENT"] == "differential emission measure"


def damage(path):
    """Change a byte of the values in a file, or of what a chunk of a store holds."""
    if path.suffix == ".zarr":
        path = next(each for each in sorted((path / "image" / "c").rglob("*")) if each.is_file())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_damage_is_found(result, tmp_path, ending):
    path = tmp_path / f"em{ending}"
    demreg.write(result["dem"], path)
    damage(path)
    with pytest.raises(ValueError, match="is damaged"):
        np.asarray(demreg.read(path).data)


def test_documents_and_versions_are_verified(result, tmp_path):
    pytest.importorskip("zarr")
    em = demreg.emission_measure(result, [1, 2] * u.MK)
    path = tmp_path / "em.zarr"
    demreg.write(em, path)
    document = path / "zarr.json"
    text = document.read_text()
    document.write_text(text.replace("product 1", "product 2"))
    with pytest.raises(ValueError, match="supports versions up to 1"):
        demreg.read(path)
    document.write_text(text.replace("emission measure", "emission pleasure"))
    with pytest.raises(ValueError, match=r"checksum of the store/zarr.json does not match"):
        demreg.read(path)
    document.write_text(text)
    demreg.write(em, path, overwrite=True)
    (path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"notes.txt, which sunpy_demreg did not write"):
        demreg.write(em, path, overwrite=True)
    (path / "notes.txt").unlink()
    demreg.write(result, path, overwrite=True)
    assert set(demreg.read(path)) == set(result)


def test_compressed_and_lazy_products_come_back(result, tmp_path):
    em = demreg.emission_measure(result, [1, 2] * u.MK)
    demreg.write(em, tmp_path / "em.fits.gz")
    same(demreg.read(tmp_path / "em.fits.gz"), em)
    pytest.importorskip("zarr")
    demreg.write(result, tmp_path / "all.zarr")
    demreg.write(demreg.emission_measure(demreg.read(tmp_path / "all.zarr"), [1, 2] * u.MK), tmp_path / "lazy.fits")
    same(demreg.read(tmp_path / "lazy.fits"), em)


def test_plain_astropy_and_sunpy_read_them(result, part, tmp_path):
    em = demreg.emission_measure(result, [1, 2] * u.MK)
    demreg.write(em, tmp_path / "em.fits")
    with fits.open(tmp_path / "em.fits", checksum=True) as hdus:
        assert [hdu.name for hdu in hdus] == ["IMAGE", "UNCERTAINTY", "MASK", "META"]
        np.testing.assert_array_equal(hdus[0].data, em.data)
        np.testing.assert_array_equal(hdus["MASK"].data, em.mask)
        header = hdus[0].header
        sky = WCS(header).pixel_to_world(3, 2)
        expected = em.wcs.pixel_to_world(3, 2)
        assert max(abs(sky.Tx - expected.Tx), abs(sky.Ty - expected.Ty)) < 1e-6 * u.arcsec
        np.testing.assert_array_equal(hdus["UNCERTAINTY"].data, em.uncertainty.array)
    dates, exposures = part.meta["date"], part.meta["exposure_time"]
    assert (header["TELESCOP"], header["INSTRUME"], header["LEVEL"]) == ("SDO", "SDO/AIA", "2")
    assert header["CONTENT"] == header["BTYPE"] == "emission measure, log T 6.00-6.30"
    assert (header["CUNIT1"], header["CUNIT2"], header["CDELT1"]) == ("arcsec", "arcsec", 2.4)
    assert header["CREATOR"] == f"sunpy_demreg {demreg.__version__}"
    assert json.loads(header["PRPARA1"])["method"] == "demreg"
    assert "calibration_error" not in json.loads(header["PRPARA1"])
    assert abs(Time(header["DATE-BEG"]) - dates.min()) < 1 * u.ms
    assert abs(Time(header["DATE-END"]) - (dates + exposures).max()) < 1 * u.ms
    assert abs(Time(header["DATE-AVG"]) - dates.tai.mean()) < 1 * u.ms
    [smap, *_] = Map(tmp_path / "em.fits")
    assert type(smap) is GenericMap
    assert smap.unit == em.unit
    assert smap.observatory == "SDO"


@pytest.mark.filterwarnings("ignore:.*not solved")
def test_settings_are_told_in_words_and_numbers(part, result, tmp_path):
    response, edges = demreg.TemperatureResponse.from_aia(part), result.meta["temperature_bin_edges"]
    options = {"method": "lognormal", "prior": demreg.LogNormalPrior(3, 0.6), "common_calibration_error": 0.2}
    for error, told in ((0.1, 0.1), ({"AIA 94": 0.3, "AIA 171": 0.1}, "AIA 94 0.3, ")):
        one = demreg.invert(part, response, edges, calibration_error=error, **options)
        demreg.write(demreg.emission_measure(one, [1, 2] * u.MK), tmp_path / "em.fits", overwrite=True)
        found = json.loads(fits.getheader(tmp_path / "em.fits")["PRPARA1"])
        assert found["prior"] == "amplitude 3, correlation length 0.6 dex"
        assert found["common_calibration_error"] == 0.2
        assert found["calibration_error"] == told or found["calibration_error"].startswith(told)
        assert demreg.to_xarray(one).attrs["prior"] == found["prior"]
        assert "prior = amplitude 3, correlation length 0.6 dex" in one._repr_html_()


def test_maps_carry_the_same_header_and_are_saved(result, tmp_path):
    smap = demreg.to_map(demreg.mean_temperature(result, [1, 4] * u.MK))
    for key in ("TELESCOP", "INSTRUME", "LEVEL", "DATE-BEG", "DATE-END", "DATE-AVG", "DATE-OBS", "CREATOR", "PRPARA1"):
        assert key in smap.meta
    assert smap.meta["content"] == "mean temperature, log T 6.00-6.60"
    assert smap.scale.axis1.to_value(u.arcsec / u.pix) == pytest.approx(2.4, rel=1e-14)
    smap.save(tmp_path / "t.fits")
    back = Map(tmp_path / "t.fits")
    assert type(back) is GenericMap
    assert back.meta["prpara1"] == smap.meta["prpara1"]
    planes = demreg.to_map(result["dem"])
    assert planes[4].meta["content"] == "differential emission measure, log T 5.80-5.85"
    assert demreg.to_map(result["intensity"])[1].meta["content"] == "intensity, AIA 131"
    assert demreg.to_map(result["predicted_intensity"][1]).meta["content"] == "predicted intensity, AIA 131"


@pytest.mark.parametrize("name", ["emission measure", "mean temperature", "thermal energy"])
def test_headers_follow_solarnet(result, tmp_path, name):
    path = tmp_path / "p.fits"
    demreg.write(PRODUCTS[name](result), path)
    header = fits.getheader(path)
    assert not MANDATORY - set(header)
    assert header["DATEREF"] == header["DATE-BEG"]
    assert header["FILENAME"] == "p.fits"


@pytest.mark.filterwarnings("ignore:.*not solved")
@pytest.mark.parametrize("name", ["all.fits", "row.fits.gz", "lazy.fits"])
def test_images_of_a_result_have_the_headers_of_products(result, tmp_path, name):
    whole = result[2] if name.startswith("row") else result
    if name.startswith("lazy"):  # images that are written block by block
        pytest.importorskip("zarr")
        demreg.write(whole, tmp_path / "a.zarr")
        whole = demreg.read(tmp_path / "a.zarr")
    demreg.write(whole, tmp_path / name)
    demreg.write(demreg.emission_measure(result, [1, 2] * u.MK), tmp_path / "em.fits")
    expected = fits.getheader(tmp_path / "em.fits")
    told = ("TELESCOP", "INSTRUME", "CREATOR", "SOLARNET", "ORIGIN", "TIMESYS", "DATEREF")
    told += tuple(f"{kind}-{which}" for kind in ("DATE", "MJD") for which in ("OBS", "BEG", "AVG", "END"))
    of_inversion = ("LEVEL", "PRSTEP1", "PRPROC1", "PRPARA1")
    with fits.open(tmp_path / name, checksum=True) as hdus:
        for hdu in hdus:
            header = hdu.header
            if isinstance(hdu, fits.BinTableHDU):
                continue
            keys = told if hdu.name.startswith("INTENSITY") else (*told, *of_inversion)  # that was measured
            assert {key: header[key] for key in keys} == {key: expected[key] for key in keys}
            assert header["FILENAME"] == name
            if hdu.data is not None:
                assert not MANDATORY - {*header, "CUNIT1", "CUNIT2"}
        assert hdus["DEM_UNCERTAINTY"].header["BTYPE"] == "standard deviation"
        assert hdus["DEM"].header["BTYPE"] == hdus["DEM"].header["CONTENT"] == "differential emission measure"
        assert hdus["DEM"].header["PLANE5"] == "differential emission measure, log T 5.80-5.85"
        assert hdus["STATUS"].header["CNAME1"] == "helioprojective longitude"
    back = demreg.read(tmp_path / name)
    assert list(back.meta) == list(whole.meta)
    found, expected = back["dem"].wcs, whole["dem"].wcs
    assert plane_of(back["dem"]).wcs.dateobs == plane_of(whole["dem"]).wcs.dateobs
    at = (3, 2, 1)[: whole["dem"].data.ndim]
    np.testing.assert_array_equal(*(each.low_level_wcs.pixel_to_world_values(*at) for each in (found, expected)))


@pytest.mark.parametrize("name", PRODUCTS)
def test_headers_pass_the_validation_of_solarnet(result, tmp_path, name):
    """Where that package is there: it asks for an astropy of long ago, so it is installed without its dependencies."""
    validation = pytest.importorskip("solarnet_metadata.validation")
    path = tmp_path / "p.fits"
    demreg.write(PRODUCTS[name](result), path)
    found = validation.validate_header(fits.getheader(path), is_primary=True, is_obs=True)
    # Long strings, which the recommendations allow, and their JSON in PRPARA1 needs, are not known to it.
    assert set(found) <= {one for one in found if "'PRPARA1' exceeds 80 characters" in one}


def test_bad_calls_say_what_is_wrong(result, tmp_path):
    em = demreg.emission_measure(result, [1, 2] * u.MK)
    with pytest.raises(ValueError, match="`encoding` is for whole results"):
        demreg.write(em, tmp_path / "em.fits", encoding="float32")
    with pytest.raises(ValueError, match="`contents` is for whole results"):
        demreg.write(em, tmp_path / "em.fits", contents="inputs")
    odd = NDCube(em.data, em.wcs, unit=em.unit, uncertainty=VarianceUncertainty(em.data**2))
    with pytest.raises(TypeError, match=r"`result` has an uncertainty of the kind 'var'.*represent_as"):
        demreg.write(odd, tmp_path / "em.fits")
    with pytest.raises(ValueError, match=r"`result` is of one pixel, but the file"):
        demreg.write(result["dem"][:, 2, 3], tmp_path / "em.fits")
    demreg.write(em, tmp_path / "em.fits")
    with pytest.raises(FileExistsError, match="overwrite"):
        demreg.write(em, tmp_path / "em.fits")
    with fits.open(tmp_path / "em.fits") as hdus:
        start = hdus[0].fileinfo()["datLoc"]
    with open(tmp_path / "em.fits", "r+b") as file:
        file.seek(start + 100)
        file.write(b"x")
    with pytest.raises(ValueError, match="checksum of"):
        demreg.read(tmp_path / "em.fits")
    assert [path.name for path in tmp_path.iterdir()] == ["em.fits"]
