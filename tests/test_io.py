"""Files hold everything, are complete or absent, and foreign ones are refused."""

import numpy as np
import pytest

import astropy.units as u
from astropy.io import fits
from astropy.wcs import WCS

from sunpy_demreg import invert, read, write


@pytest.fixture(scope="module")
def result(small, response, edges):
    return invert(small, response, edges)


def test_round_trip_is_exact(result, tmp_path):
    write(result, tmp_path / "dem.fits")
    back = read(tmp_path / "dem.fits")
    assert list(back) == list(result)
    for key in result:
        np.testing.assert_array_equal(back[key].data, result[key].data, err_msg=key)
        assert back[key].data.dtype == result[key].data.dtype
        assert back[key].unit == result[key].unit
        np.testing.assert_array_equal(back[key].mask, result[key].mask)
    np.testing.assert_array_equal(back["dem"].uncertainty.array, result["dem"].uncertainty.array)
    np.testing.assert_array_equal(back.meta["temperature_bin_edges"], result.meta["temperature_bin_edges"])
    a, b = (r["dem"].axis_world_coords(1, 2)[0] for r in (result, back))
    assert np.all(np.abs(a.Tx - b.Tx) < 1e-9 * u.arcsec)
    assert np.all(np.abs(a.Ty - b.Ty) < 1e-9 * u.arcsec)
    assert np.abs(a.observer.radius - b.observer.radius) < 1 * u.m
    assert a.obstime.isot == b.obstime.isot
    for key in ("dem", "predicted_intensity"):
        np.testing.assert_array_equal(*(r[key].axis_world_coords(0)[0] for r in (result, back)))
    assert back.meta["parameter_choice"] == result.meta["parameter_choice"]
    assert tuple(back.meta["channels"]) == tuple(result.meta["channels"])
    observation = result.meta["observation"]
    np.testing.assert_array_equal(back.meta["observation"]["exposure_time"], observation["exposure_time"])
    assert set(back.meta["observation"]) == set(observation)


def test_slice_can_be_written(result, tmp_path):
    part = result[..., 1:4, 2:6]
    write(part, tmp_path / "part.fits")
    back = read(tmp_path / "part.fits")
    np.testing.assert_array_equal(back["dem"].data, part["dem"].data)
    a, b = (r["chi_squared"].axis_world_coords(0, 1)[0] for r in (part, back))
    assert np.all(np.abs(a.Tx - b.Tx) < 1e-9 * u.arcsec)


def test_temperature_axis_is_understood_by_astropy(result, tmp_path, edges):
    write(result, tmp_path / "dem.fits")
    header = fits.getheader(tmp_path / "dem.fits", "DEM")
    assert header["BUNIT"] in ("K-1 cm-5", "cm-5 K-1")
    temperature = WCS(header).pixel_to_world_values(0, 0, np.arange(36))[2]
    np.testing.assert_allclose(temperature, np.sqrt(edges[1:] * edges[:-1]).value, rtol=1e-9)


def test_data_without_coordinates_round_trip(small, response, tmp_path):
    edges = 10 ** np.array([5.6, 5.8, 6.1, 6.5, 7.0]) * u.K
    data, sigma = small.data[:, 0] * small.unit, small.uncertainty.array[:, 0] * small.unit
    result = invert(data, response, edges, uncertainty=sigma)
    write(result, tmp_path / "line.fits.gz")
    back = read(tmp_path / "line.fits.gz")
    for key in result:
        np.testing.assert_array_equal(back[key].data, result[key].data)
    np.testing.assert_allclose(back["dem"].axis_world_coords(0)[0], result["dem"].axis_world_coords(0)[0])


def test_existing_file_is_kept(result, tmp_path):
    path = tmp_path / "dem.fits"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match=r"exists.*overwrite=True"):
        write(result, path)
    assert path.read_text() == "precious"
    write(result, path, overwrite=True)
    assert read(path)["dem"].data.shape == result["dem"].data.shape


def test_failed_write_leaves_nothing(result, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(fits.HDUList, "writeto", fail)
    with pytest.raises(OSError, match="no space"):
        write(result, tmp_path / "dem.fits")
    assert list(tmp_path.iterdir()) == []


def test_bad_names_and_files_are_refused(result, tmp_path):
    with pytest.raises(ValueError, match=r"`path` must end in \.fits"):
        write(result, tmp_path / "dem.sav")
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "absent.fits")
    (tmp_path / "text.fits").write_text("not FITS at all")
    with pytest.raises(ValueError, match="cannot be read as FITS"):
        read(tmp_path / "text.fits")
    fits.PrimaryHDU(np.zeros((2, 2))).writeto(tmp_path / "other.fits")
    with pytest.raises(ValueError, match="is not a result"):
        read(tmp_path / "other.fits")
    with pytest.raises(ValueError, match="lost a pixel axis"):
        write(result[..., 3, :], tmp_path / "line.fits")
