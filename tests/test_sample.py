"""The bundled sample against the files that it was made from."""

import importlib.util
import warnings
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

import astropy.units as u
from astropy.io import fits
from sunpy.map import Map
from sunpy.map.sources import AIAMap

from sunpy_demreg import sample

CHANNELS = [94, 131, 171, 193, 211, 335]
CORNER = np.array([52, 368])
SOURCE = files("demregpy") / "tests" / "data"
DATA = Path(sample.__file__).parent / "data"


def source_files(folder, pattern):
    return sorted((SOURCE / folder).glob(pattern), key=lambda path: int(path.stem[-3:]))


def read_source(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the source has BLANK keywords where they do not belong
        return Map(path)


def test_aia_maps_are_the_source_cut_out():
    maps = sample.aia_maps()
    assert [m.wavelength.to_value(u.AA) for m in maps] == CHANNELS
    for m, path in zip(maps, source_files("aia", "*.fits"), strict=True):
        whole = read_source(path)
        assert isinstance(m, AIAMap)
        assert m.processing_level == 1.5
        assert m.data.shape == (128, 128)
        assert m.data.dtype == np.float64
        x, y = CORNER
        np.testing.assert_array_equal(m.data, whole.data[y : y + 128, x : x + 128])
        assert m.exposure_time == whole.exposure_time
        assert m.date == whole.date
        here = m.pixel_to_world([0, 127] * u.pix, [0, 99] * u.pix)
        there = whole.pixel_to_world([x, x + 127] * u.pix, [y, y + 99] * u.pix)
        assert np.max(here.separation(there)) < 1e-9 * u.arcsec
        assert m.observer_coordinate.separation_3d(whole.observer_coordinate) < 1 * u.m


def test_the_sample_shows_a_limb_and_no_empty_pixel():
    for m in sample.aia_maps():
        corners = m.pixel_to_world([0, 127] * u.pix, [64, 64] * u.pix)
        radius = np.hypot(corners.Tx, corners.Ty) / m.rsun_obs
        assert radius[0] > 1.1
        assert radius[1] < 0.9
        assert m.data.min() > 0


@pytest.mark.parametrize(("step", "minute"), [(0, "01-44"), (1, "01-46")])
def test_flare_maps_are_the_source(step, minute):
    maps = sample.flare_maps(step)
    assert [m.wavelength.to_value(u.AA) for m in maps] == CHANNELS
    for m, path in zip(maps, source_files("aia_flare", f"*T{minute}-*.fits"), strict=True):
        whole = read_source(path)
        assert isinstance(m, AIAMap)
        assert m.processing_level == 1
        np.testing.assert_array_equal(m.data, whole.data)
        here, there = (each.pixel_to_world(3 * u.pix, 60 * u.pix) for each in (m, whole))
        assert here.separation(there) < 1e-9 * u.arcsec
        assert m.observer_coordinate.separation_3d(whole.observer_coordinate) < 1 * u.m


@pytest.mark.parametrize(("step", "error"), [(-1, ValueError), (2, ValueError), ("0", TypeError), (None, TypeError)])
def test_flare_maps_has_two_steps(step, error):
    rule = r"`step` must be a whole number \(0 for 01:44 UT, 1 for 01:46 UT\) from 0 to 1, but is "
    with pytest.raises(error, match=f"{rule}{step!r}$"):
        sample.flare_maps(step)


def test_files_are_small_credited_and_without_empty_keywords():
    paths = sorted(DATA.glob("*.fits"))
    assert len(paths) == 18
    assert sample.aia_files() == paths[:6]
    assert sum(path.stat().st_size for path in DATA.iterdir()) < 700_000
    for path in paths:
        header = fits.getheader(path, 1)
        assert "Courtesy of NASA/SDO and the AIA science team." in header["COMMENT"]
        assert not {"BLANK", "DATAMIN", "HEADSUM"} & set(header)
        for value in header.values():
            assert value not in ("nan", -(2**31))
            assert not isinstance(value, fits.card.Undefined)


def test_the_script_makes_the_same_files(tmp_path, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("make_sample", Path(__file__).parents[1] / "tools" / "make_sample.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(script, "OUTPUT", tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script.main()
    assert "in all" in capsys.readouterr().out
    for path in DATA.glob("*.fits"):
        assert fits.FITSDiff(path, tmp_path / path.name).identical, path.name
