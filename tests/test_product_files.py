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
from sunpy_demreg._common.wcs import plane_wcs, sky_wcs, table_axis

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


def r_response(result):
    from sunpy_demreg._results.errors import response_of

    return response_of(result)


@pytest.fixture(scope="module")
def result(part, response, edges):
    with pytest.warns(demreg.UnsolvedWarning):
        return demreg.invert(part, response, edges)


def plane_of(cube):
    """The FITS WCS of the image behind a cube."""
    wcs = sky_wcs(cube.wcs) if table_axis(cube.wcs) else cube.wcs
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
    for a, b in zip(
        found.wcs.low_level_wcs.pixel_to_world_values(*at),
        expected.wcs.low_level_wcs.pixel_to_world_values(*at),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-11)
    found_types, types = (list(each.wcs.low_level_wcs.world_axis_physical_types) for each in (found, expected))
    assert found_types == types
    assert list(found.meta) == list(expected.meta)
    for key in ("content", "channels"):
        if key in expected.meta:
            np.testing.assert_array_equal(found.meta[key], expected.meta[key])


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_come_back(result, tmp_path, name):
    cube = PRODUCTS[name](result)
    path = tmp_path / "product.fits"
    demreg.write(cube, path)
    back = demreg.read(path)
    same(back, cube)
    demreg.write(back, path, overwrite=True)
    same(demreg.read(path), cube)
    if cube.data.ndim > 1:
        same(back[1], cube[1])


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
    assert abs(Time(header["DATE-BEG"]) - dates.min()) < 1 * u.ms
    assert abs(Time(header["DATE-END"]) - (dates + exposures).max()) < 1 * u.ms
    assert abs(Time(header["DATE-AVG"]) - dates.tai.mean()) < 1 * u.ms
    [smap, *_] = Map(tmp_path / "em.fits")
    assert type(smap) is GenericMap
    assert smap.unit == em.unit
    assert smap.observatory == "SDO"


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
    for ending in ("asdf", "zarr"):
        with pytest.raises(ValueError, match=r"`path` must end in .fits or .fits.gz for a single cube"):
            demreg.write(em, tmp_path / f"em.{ending}")
    with pytest.raises(ValueError, match="`encoding` is for whole results"):
        demreg.write(em, tmp_path / "em.fits", encoding="float32")
    with pytest.raises(ValueError, match="`contents` is for whole results"):
        demreg.write(em, tmp_path / "em.fits", contents="inputs")
    odd = NDCube(em.data, em.wcs, unit=em.unit, uncertainty=VarianceUncertainty(em.data**2))
    with pytest.raises(TypeError, match=r"`result` has an uncertainty of the kind 'var'.*represent_as"):
        demreg.write(odd, tmp_path / "em.fits")
    with pytest.raises(ValueError, match=r"`result` is a series in time, or of one pixel"):
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
