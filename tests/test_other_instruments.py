"""Maps of SUVI and XRT through `prepare`: real headers where packages have them, synthetic images of known DEMs."""

import numpy as np
import pytest

import astropy.units as u
from astropy.io import fits
from astropy.nddata import StdDevUncertainty
from ndcube import NDCube, NDCubeSequence
from sunpy.data.test import get_dummy_map_from_header, get_test_filepath
from sunpy.map import Map

from sunpy_demreg import (
    DataWarning,
    TemperatureResponse,
    combine,
    emission_measure,
    invert,
    prepare,
    prepare_series,
    region_spectrum,
    sample,
    to_map,
)
from sunpy_demreg._channels.other_maps import _XRT_DN_PER_PHOTON, _stated_rate
from sunpy_demreg.response._instruments import XRT_COMBINATIONS, suvi_conversion, suvi_rate

EDGES = 10 ** np.arange(5.575, 7.43, 0.05) * u.K
DATE = "2019-04-03T09:32:33.340"
SUVI = [94, 131, 171, 195, 284]
COLD = -61.5  # °C
RATE = u.DN / u.pix / u.s
NAMES = {94: "Fe093", 131: "Fe131", 171: "Fe171", 195: "Fe195", 284: "Fe284"}


def suvi_header(channel, exposure, *, stated=True, size=40):
    """A header with the keywords of level 1b that matter here, as sunkit-instruments lists them."""
    rate, *_ = suvi_conversion(channel, 16, COLD, "long")
    header = {
        "telescop": "G16",
        "instrume": "GOES-R Series Solar Ultraviolet Imager",
        "wavelnth": channel,
        "waveunit": "angstrom",
        "date-obs": DATE,
        "exptime": exposure,
        "bunit": "W m-2 sr-1",
        "sci_obj": "SUVI_dynamic_coronal_imaging_long_exposure",
        "ccd_tmp1": COLD - 0.5,
        "ccd_tmp2": COLD + 0.5,
        "eclipse": 0,
        "miss_pix": 0,
        "level": "National Aeronautics and Space Administration (NASA) L1b",
        "ctype1": "HPLN-TAN",
        "ctype2": "HPLT-TAN",
        "cunit1": "arcsec",
        "cunit2": "arcsec",
        "cdelt1": 2.5,
        "cdelt2": 2.5,
        "crpix1": size / 2 + 0.5,
        "crpix2": size / 2 + 0.5,
        "crval1": 0.0,
        "crval2": 0.0,
        "dsun_obs": 1.49564385e11,
        "hgln_obs": 0.0,
        "hglt_obs": -6.438,
        "rsun_ref": 695700000.0,
    }
    if stated:
        energy = 1e-17
        header |= {"phot_eng": energy, "instresp": rate / suvi_rate(1, energy)}
    return header


def xrt_header(**changes):
    """The header of a real image, of level 1, normalized: Be-thin of 2006-11-11, in which 8 x 8 pixels were summed."""
    header = fits.Header.fromtextfile(get_test_filepath("HinodeXRT.header"))
    header = {key.lower(): value for key, value in header.items() if key and key != "HISTORY"}
    return header | changes


def truth():
    """A smooth DEM in 40 x 40 pixels: 1e27 to 5e27 cm-5 at log T = 6.2, with a tenth of it at 6.7."""
    log_t = 0.5 * np.log10(EDGES[1:].value * EDGES[:-1].value)
    profile = np.exp(-0.5 * ((log_t - 6.2) / 0.15) ** 2) + 0.1 * np.exp(-0.5 * ((log_t - 6.7) / 0.1) ** 2)
    profile = profile / np.sum(profile * np.diff(EDGES).value)
    total = np.linspace(1e27, 5e27, 1600).reshape(40, 40)
    return profile[:, None, None] * total, total


def expected(response, dem):
    matrix = response.at(np.sqrt(EDGES[1:] * EDGES[:-1])).value * np.diff(EDGES).value
    return np.tensordot(matrix, dem, 1)


def observed(rate, exposure, summed, dn_per_photon, reading, rng):
    """Counts in DN: Poisson in photons, and normal for all else."""
    photons = rng.poisson(rate * exposure * summed / dn_per_photon)
    return photons * dn_per_photon + reading * rng.standard_normal(rate.shape)


@pytest.fixture(scope="module")
def suvi():
    """Five maps of one known DEM, and the intensities without noise."""
    rng = np.random.default_rng(1)
    response = TemperatureResponse.from_suvi(SUVI * u.AA, 16, ccd_temperature=COLD)
    clean = expected(response, truth()[0])
    maps = []
    for channel, rate in zip(SUVI, clean, strict=True):
        exposure = min(40.0, 6000 / rate.mean())
        header = suvi_header(channel, exposure)
        per_radiance, dn_per_photon, gain = suvi_conversion(channel, 16, COLD, "long")
        counts = observed(rate, exposure, 1, dn_per_photon, np.hypot(20 / gain, 12**-0.5), rng)
        maps.append(Map(counts / per_radiance / exposure, header))
    return maps, clean


def xrt_maps(side=2, *, normalized=False):
    rng = np.random.default_rng(2)
    filters = {"Al-poly": ("Al_poly", "Open", 2.0 / side**2), "Be-thin": ("Be_thin", "Open", 24.0 / side**2)}
    clean = expected(TemperatureResponse.from_xrt(list(filters), DATE), truth()[0])
    maps = []
    for (name, (first, second, exposure)), rate in zip(filters.items(), clean, strict=True):
        size = 1.0286 * side
        header = xrt_header(
            ec_fw1_=first,
            ec_fw2_=second,
            exptime=exposure,
            chip_sum=side,
            date_obs=DATE,
            cdelt1=size,
            cdelt2=size,
            crpix1=20.5,
            crpix2=20.5,
            crval1=0.0,
            crval2=0.0,
            crota1=0.0,
            crota2=0.0,
            solar_b0=-6.438,
            dsun_obs=1.49564385e11,
        )
        header["date-obs"] = DATE
        counts = observed(rate, exposure, side**2, _XRT_DN_PER_PHOTON[name], 2.0, rng)
        if normalized:
            header["history"] = "XRT_PREP v2014-Oct-20: (XRT_RENORMALIZE) Normalized"
        maps.append(Map(counts / exposure if normalized else counts, header))
    return maps, clean


def deviations(cube, clean):
    """In standard deviations."""
    return (cube.data - clean) / cube.uncertainty.array


def test_suvi_counts_and_their_error(suvi):
    maps, clean = suvi
    cube = prepare(maps[::-1])
    assert cube.unit == RATE
    assert cube.meta["channels"].tolist() == [f"SUVI {channel}" for channel in SUVI]
    assert cube.axis_world_coords(0)[0].to_value("AA").tolist() == SUVI
    assert cube.meta["instrument"] == "GOES-16/SUVI"
    assert cube.meta["exposure_type"].tolist() == ["long"] * 5
    assert cube.meta["saturation"] == 12000
    reading = [np.hypot(20 / suvi_conversion(channel, 16, COLD, "long")[2], 12**-0.5) for channel in SUVI] * u.DN
    np.testing.assert_allclose(cube.meta["read_noise"], reading)  # it is assumed, and told
    assert cube[1:3].meta["read_noise"].shape == (2,)
    assert not cube.mask.any()
    away = deviations(cube, clean)
    np.testing.assert_allclose(away.mean(axis=(1, 2)), 0, atol=0.1)
    np.testing.assert_allclose(away.std(axis=(1, 2)), 1, atol=0.06)
    binned = prepare(maps, bin=2)
    np.testing.assert_allclose(np.mean(binned.uncertainty.array / cube.uncertainty.array[:, ::2, ::2]), 0.5, rtol=0.02)


def test_suvi_is_inverted_as_it_was_made(suvi):
    cube = prepare(suvi[0])
    response = TemperatureResponse.from_suvi(cube)
    assert response == TemperatureResponse.from_suvi(SUVI * u.AA, 16, ccd_temperature=COLD)
    result = invert(cube, response, EDGES, method="lognormal")
    ratio = emission_measure(result, (10**5.8, 10**7) * u.K).data / truth()[1]
    assert 0.85 < np.median(ratio) < 1.15
    assert np.median(result["chi_squared"].data) < 1.3


def test_suvi_without_the_keywords_of_the_conversion(suvi):
    maps, _ = suvi
    bare = [Map(m.data, {k: v for k, v in m.meta.items() if k not in ("instresp", "phot_eng")}) for m in maps]
    np.testing.assert_allclose(prepare(bare).data, prepare(maps).data, rtol=1e-12)
    # The header is right, to the last digit, if it is within a factor of two; beyond it is in another unit.
    near, far = (Map(maps[0].data, maps[0].meta | {"instresp": k * maps[0].meta["instresp"]}) for k in (1.2, 1e4))
    rate = suvi_conversion(94, 16, COLD, "long")[0]
    np.testing.assert_allclose(_stated_rate("a", near, rate), 1.2 * rate)
    with pytest.warns(DataWarning, match=r"`maps`: by its keywords INSTRESP and PHOT_ENG, `maps\[0\]` has .* is taken"):
        np.testing.assert_array_equal(prepare([far, *maps[1:]]).data, prepare([bare[0], *maps[1:]]).data)


def test_a_real_radiance_is_what_the_quiet_sun_gives(cube):
    """The mean of a real image of SUVI, 195 Å, by its header, and what a DEM by AIA of a quiet region predicts."""
    header = get_test_filepath("dr_suvi-l2-ci195_g16_s20190403T093200Z_e20190403T093600Z_v1-0-0_rebinned.header")
    header = fits.Header.fromtextfile(header)
    share_of_disk = np.pi / 4 * (header["DIAM_SUN"] / 1280) ** 2
    measured = header["IMG_MEAN"] / share_of_disk * suvi_conversion(195, 16, -60.0, "long")[0]
    quiet = region_spectrum(cube, cube.data[3] < np.percentile(cube.data[3], 10))
    result = invert(quiet, TemperatureResponse.from_aia(cube), EDGES, method="lognormal")
    predicted = expected(TemperatureResponse.from_suvi([195] * u.AA), np.ravel(result["dem"].data)[:, None])
    # Of other years, and of other parts of the cycle: but an error of units would be a larger factor.
    assert 0.4 < measured / predicted.item() < 2.5


@pytest.mark.parametrize("exposures", ["coadd", "replace_saturated"])
def test_exposures_of_suvi_with_other_responses_are_not_combined(suvi, exposures):
    maps, _ = suvi
    flare = {"sci_obj": "SUVI_dynamic_coronal_imaging_short_flare_exposure", "exptime": 0.01}
    short = Map(maps[2].data, {k: v for k, v in maps[2].meta.items() if k not in ("instresp", "phot_eng")} | flare)
    with pytest.raises(ValueError, match=r"`exposures` combines .* SUVI 171 .*'long' .* 'short_flare'.*SCI_OBJ"):
        prepare([*maps, short], exposures=exposures)
    again = Map(maps[2].data, maps[2].meta)
    n = 2 if exposures == "coadd" else 1
    assert prepare([*maps, again], exposures=exposures).meta["n_exposures"].tolist() == [1, 1, n, 1, 1]


def test_times_of_suvi_have_one_type_of_exposure(suvi):
    maps, _ = suvi
    first = prepare(maps)
    warmer = [
        Map(m.data, m.meta | {"date-obs": "2019-04-03T09:36:33.340", "ccd_tmp1": COLD + 1, "ccd_tmp2": COLD + 1})
        for m in maps
    ]
    second = prepare(warmer)
    response = TemperatureResponse.from_suvi(first)
    both = invert([first, second], response, EDGES, method="lognormal").meta["observation"]
    np.testing.assert_allclose(both["ccd_temperature"], 5 * [[COLD, COLD + 1]])
    assert both["exposure_type"].tolist() == ["long"] * 5
    second.meta["exposure_type"] = np.array(["long"] * 4 + ["short_flare"])
    with pytest.raises(
        ValueError, match=r"`data\[1\]` has exposures of the types long, .*short_flare but .*one by one"
    ):
        invert([first, second], response, EDGES, method="lognormal")


def test_files_of_suvi_are_recognized(suvi, tmp_path):
    for channel, smap in zip(SUVI, suvi[0], strict=True):
        flags = np.zeros((40, 40), dtype=np.int16)
        flags[3, 4], flags[5, 6] = 4, 1
        name = f"OR_SUVI-L1b-{NAMES[channel]}_G16_s20190930932333_e20190930932343_c20190930932575.fits"
        hdus = [fits.PrimaryHDU(smap.data.astype("float32"), smap.fits_header), fits.ImageHDU(flags)]
        fits.HDUList(hdus).writeto(tmp_path / name)
    cube = prepare(tmp_path / "OR_SUVI*.fits")
    np.testing.assert_allclose(cube.data, prepare(suvi[0]).data, rtol=1e-5)
    assert cube.mask[:, 3, 4].all()
    assert np.count_nonzero(cube.mask) == 5


def test_saturation_of_suvi(suvi):
    maps, _ = suvi
    data = maps[2].data.copy()
    data[0, 0] *= 1e4
    cube = prepare([*maps[:2], Map(data, maps[2].meta), *maps[3:]])
    assert np.argwhere(cube.mask).tolist() == [[2, 0, 0]]
    assert np.isinf(cube.uncertainty.array[2, 0, 0])


@pytest.mark.parametrize("side", [1, 2, 4])
@pytest.mark.parametrize("normalized", [False, True])
def test_xrt_counts_and_their_error(side, normalized):
    maps, clean = xrt_maps(side, normalized=normalized)
    cube = prepare(maps)
    assert cube.meta["channels"].tolist() == ["XRT Al-poly", "XRT Be-thin"]
    assert cube.meta["chip_sum"].tolist() == [side, side]
    away = deviations(cube, clean)
    np.testing.assert_allclose(away.mean(axis=(1, 2)), 0, atol=0.1)
    np.testing.assert_allclose(away.std(axis=(1, 2)), 1, atol=0.06)


def test_a_real_header_of_xrt():
    smap = get_dummy_map_from_header(get_test_filepath("HinodeXRT.header"))  # of this one sunpy made up the data
    cube = prepare(smap)
    assert cube.meta["channels"].tolist() == ["XRT Be-thin"]
    assert cube.meta["exposure_time"].to_value("s").tolist() == [0.129392]
    assert cube.meta["chip_sum"].tolist() == [8]
    good = ~cube.mask[0]
    assert good.sum() > 1000
    np.testing.assert_allclose(cube.data[0][good], smap.data[good] / 64, rtol=1e-12)
    counts = np.clip(smap.data[good].astype(float) * 0.129392, 0, None)
    expected = np.sqrt(4.8 * counts + 4) / 0.129392 / 64
    np.testing.assert_allclose(cube.uncertainty.array[0][good], expected, rtol=1e-9)
    assert TemperatureResponse.from_xrt(cube).meta["obstime"].startswith("2006-11-11")


def test_missing_and_saturated_pixels_of_xrt():
    maps, _ = xrt_maps()
    data = maps[0].data.copy()
    data[0, 0], data[1, 1] = -999, 2500
    cube = prepare([Map(data, maps[0].meta), maps[1]])
    assert np.argwhere(cube.mask).tolist() == [[0, 0, 0], [0, 1, 1]]
    assert np.isnan(cube.uncertainty.array[0, 0, 0])
    assert np.isinf(cube.uncertainty.array[0, 1, 1])


def test_the_largest_pixels_come_first():
    fine, coarse = xrt_maps(1)[0], xrt_maps(2)[0]
    cube = prepare([fine[0], coarse[1]])
    assert cube.meta["channels"].tolist() == ["XRT Be-thin", "XRT Al-poly"]
    assert cube.shape == (2, 40, 40)
    assert cube.mask[1].any()  # the smaller field does not cover the other one
    assert not cube.mask[0].any()
    by_name = prepare([fine[0], coarse[1]], reference="XRT Al-poly")
    assert not by_name.mask[1].any()


def test_suvi_and_xrt_together(suvi):
    """A pair of synthetic images of one DEM, on different pixels."""
    total = truth()[1]
    both = combine([prepare(suvi[0])[:, 14:26, 14:26], prepare(xrt_maps(2)[0])])
    assert both.shape == (7, 12, 12)
    assert both.meta["instrument"].tolist() == ["GOES-16/SUVI"] * 5 + ["Hinode/XRT"] * 2
    response = TemperatureResponse.concatenate(
        [TemperatureResponse.from_suvi(prepare(suvi[0])), TemperatureResponse.from_xrt(prepare(xrt_maps(2)[0]))]
    )
    # Not the same gradient: one image covers less of it. In the middle both see nearly the same.
    result = invert(both, response, EDGES, method="lognormal", calibration_error=0.1)
    ratio = emission_measure(result, (10**5.8, 10**7.2) * u.K).data[4:8, 4:8] / total[18:22, 18:22]
    assert 0.8 < np.median(ratio) < 1.2


def test_headers_of_products_name_the_instrument(suvi):
    for maps, telescope, instrument in ((suvi[0], "GOES-16", "SUVI"), (xrt_maps()[0], "Hinode", "XRT")):
        cube = prepare(maps)[:, :3, :3]
        response = TemperatureResponse.from_suvi(cube) if instrument == "SUVI" else TemperatureResponse.from_xrt(cube)
        em = emission_measure(invert(cube, response, EDGES, method="lognormal"), [2, 8] * u.MK)
        header = to_map(em).meta
        assert (header["telescop"], header["instrume"]) == (telescope, f"{telescope}/{instrument}")


def test_noise_averages_over_a_region(suvi):
    maps, _ = suvi
    square = np.zeros((40, 40), dtype=bool)
    square[8:16, 8:16] = True
    mean, binned = region_spectrum(prepare(maps, align=False), square), prepare(maps, bin=8, align=False)
    np.testing.assert_allclose(mean.data[:, 0], binned.data[:, 1, 1], rtol=1e-12)
    np.testing.assert_allclose(mean.uncertainty.array[:, 0], binned.uncertainty.array[:, 1, 1], rtol=0.01)


def test_sorting_of_times_still_is_for_aia(suvi):
    words = r"only those of AIA .* one map as `reference`, .*`NDCubeSequence`.*Solar Ultraviolet Imager 94"
    with pytest.raises(ValueError, match=words):
        prepare_series(suvi[0])


@pytest.mark.filterwarnings("ignore:.* do not fit")
def test_times_of_suvi_as_a_sequence(suvi):
    later = {"date-obs": DATE.replace("09:32", "09:36"), "crpix1": 20.9}  # and the pointing another one
    times = suvi[0], [changed(smap, **later) for smap in suvi[0]]
    cubes = [prepare(maps, reference=suvi[0][0])[:, 18:21, 18:20] for maps in times]
    response = TemperatureResponse.from_suvi(cubes[0])
    both = invert(NDCubeSequence(cubes), response, EDGES)["dem"].data
    np.testing.assert_array_equal(both, np.stack([invert(c, response, EDGES)["dem"].data for c in cubes], axis=1))


@pytest.mark.parametrize("changes", [{"eclipse": ""}, {"eclipse": None}, {"filename": "small2.fits"}])
def test_good_maps_of_suvi(suvi, changes):
    assert prepare([changed(suvi[0][0], **changes), suvi[0][1]]).shape[0] == 2


def test_every_filter_of_xrt_has_an_error():
    assert sorted(_XRT_DN_PER_PHOTON) == sorted(XRT_COMBINATIONS)


@pytest.mark.parametrize("name", ["Al-mesh", "Be-thin", "Be-thick", "Al-poly/Ti-poly"])
def test_photons_of_xrt(name):
    """The table of DN per photon, from the areas and spectra of xrtpy."""
    from xrtpy.response.temperature_response import TemperatureResponseFundamental

    model = TemperatureResponseFundamental(name, "2014-01-01")
    wavelength = model.wavelength.to_value("AA").astype(float)
    warm = np.argmin(np.abs(np.log10(model.CHIANTI_temperature.value) - 6.5))
    dn = (12398.42 / wavelength) / model.ev_per_electron.value / model.ccd_gain_right.value
    weights = model.spectra().value[warm] * model.effective_area().value * np.gradient(wavelength)
    assert _XRT_DN_PER_PHOTON[name] == pytest.approx(np.sum(weights * dn**2) / np.sum(weights * dn), rel=0.02)


def changed(smap, **keywords):
    header = {key: value for key, value in {**smap.meta, **keywords}.items() if value is not None}
    return Map(smap.data, header)


SUVI_CHANGES = {
    "304": ({"wavelnth": 304}, "is SUVI 304 Å, which is optically thick"),
    "wavelength": ({"wavelnth": 193}, "is SUVI 193 Å, but a DEM needs channels among 94, 131, 171, 195, 284 Å"),
    "composite": ({"mrg_mthd": "ci_std_merge"}, "is a composite of several exposures .level 2.*level-1b"),
    "composite by name": ({"filename": "dr_suvi-l2-ci094_g16.fits"}, "is a composite of several exposures"),
    "unit": ({"bunit": "DN"}, "is in 'DN', but level 1b of SUVI is in W m-2 sr-1: correct its keyword BUNIT"),
    "exposure": ({"exptime": 0}, "must have a positive exposure time, but has 0"),
    "spacecraft": ({"telescop": "GOES-R"}, "lacks TELESCOP, such as 'G16'"),
    "temperature": ({"ccd_tmp1": None}, "lacks CCD_TMP1 and CCD_TMP2"),
    "kind": ({"sci_obj": None}, "lacks SCI_OBJ"),
    "too warm": ({"ccd_tmp1": 99.0, "ccd_tmp2": 99.0}, "has no known response: SUVI has no response for 94 Å"),
    "pixels": ({"cdelt1": 5.0, "cdelt2": 5.0}, r"has pixels of 5 arcsec, but should have 2\.5, .*`bin`"),
    "eclipse": ({"eclipse": 1}, "is flagged by its header: ECLIPSE is 1"),
    "missing": ({"miss_pix": 400}, "is flagged by its header: only 75 % of its pixels have values"),
    "other satellite": ({"telescop": "G17"}, r"is of GOES-17/SUVI, but `maps\[1\]` of GOES-16/SUVI: .*`combine`"),
}


@pytest.mark.parametrize(("changes", "words"), SUVI_CHANGES.values(), ids=SUVI_CHANGES)
def test_bad_maps_of_suvi(suvi, changes, words):
    with pytest.raises(ValueError, match=rf"`maps\[0\]` {words}"):
        prepare([changed(suvi[0][0], **changes), suvi[0][1]])


XRT_CHANGES = {
    "open": ({"ec_fw1_": "Open"}, "is taken with the filters Open and Open"),
    "visible": ({"ec_fw1_": "Open", "ec_fw2_": "Gband"}, "is visible light"),
    "pair": ({"ec_fw2_": "Be_thick", "ec_fw1_": "C_poly"}, "is taken with the filters C-poly and Be-thick"),
    "level 0": ({"data_lev": 0}, "is level 0, but must be level 1 of XRT: calibrate it with `xrt_prep`"),
    "composite": ({"data_lev": 2}, "is level 2, but must be level 1 of XRT: it is a composite"),
    "no sum": ({"chip_sum": None}, "must say by CHIP_SUM how many pixels .* but has None: set it"),
    "other sum": ({"chip_sum": 4}, r"has pixels of 2\.057 arcsec, but should have 4\.114"),
    "unit": ({"bunit": "erg"}, "is in 'erg', but level 1 of XRT is in DN or DN / s"),
    "dark": ({"ec_imty_": "dark"}, "is flagged by its header: EC_IMTY_ is dark"),
    "twice": ({"ec_fw1_": "Be_thin"}, r"and `maps\[\d\]` are both XRT Be-thin: leave one out"),
}


@pytest.mark.parametrize(("changes", "words"), XRT_CHANGES.values(), ids=XRT_CHANGES)
def test_bad_maps_of_xrt(changes, words):
    maps, _ = xrt_maps()
    with pytest.raises(ValueError, match=rf"`maps\[\d\]` {words}"):
        prepare([changed(maps[0], **changes), maps[1]])


def test_the_anomaly_is_told():
    maps, _ = xrt_maps()
    with pytest.warns(DataWarning, match="flagged by their headers: .*taken in the South Atlantic Anomaly"):
        prepare([changed(maps[0], saa="IN"), maps[1]])


def test_instruments_are_prepared_one_by_one(suvi):
    words = r"`maps\[0\]` is of GOES-16/SUVI, but `maps\[1\]` of AIA: prepare the maps of each .*`combine`"
    with pytest.raises(ValueError, match=words):
        prepare([suvi[0][0], sample.aia_maps()[0]])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("psf", "aiapy"),
        ("pointing_table", "jsoc"),
        ("n_sample", 4),
        ("include_eve", True),
        ("include_chianti", True),
        ("correct_degradation", True),
        ("degradation_corrected", True),
    ],
)
def test_options_for_aia_only(suvi, option, value):
    with pytest.raises(ValueError, match=rf"`{option}` is for maps of AIA, but `maps\[0\]` is of GOES-16/SUVI: leave"):
        prepare(suvi[0], **{option: value})


def test_floors_of_other_channels(suvi):
    cube = prepare(suvi[0], relative_floor={"SUVI 94": 0.2, 171: 0.1})
    assert cube.meta["relative_floor"].tolist() == [0.2, 0, 0.1, 0, 0]
    assert np.all(cube.uncertainty.array[0] >= 0.2 * np.abs(cube.data[0]))
    maps, _ = xrt_maps()
    assert prepare(maps, relative_floor={"XRT Be-thin": 0.3}).meta["relative_floor"].tolist() == [0, 0.3]
    for given, kind, words in (
        ({"XRT Ti-poly": 0.3}, ValueError, "names Ti-poly, but there is no such map"),
        ({171: 0.3}, TypeError, "must be one number, or a dict of one for each filter"),
    ):
        with pytest.raises(kind, match=f"`relative_floor` {words}"):
            prepare(maps, relative_floor=given)
    with pytest.raises(ValueError, match="`relative_floor` names AIA 171, but the maps are of SUVI"):
        prepare(suvi[0], relative_floor={"AIA 171": 0.3})


def test_responses_of_cubes(suvi, cube):
    of_suvi = prepare(suvi[0])
    for call, words in (
        (lambda: TemperatureResponse.from_suvi(cube), "`channels` must be a cube of SUVI, but has the channels AIA 94"),
        (lambda: TemperatureResponse.from_xrt(of_suvi), "`filters` must be a cube of XRT, but has the channels SUVI"),
        (lambda: TemperatureResponse.from_suvi(of_suvi, 17), "`spacecraft` is not to be given with a cube"),
        (lambda: TemperatureResponse.from_xrt("Be-thin"), "`obstime` must be given with filters"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    with pytest.raises(ValueError, match=r"`reference` must be one of the maps, SUVI 94, .* but is 'SUVI 193'"):
        prepare(suvi[0], reference="SUVI 193")


def test_euvi_from_a_table(tmp_path):
    """As the page about instruments has it, from a real header; the data are made up by sunpy, the response is ours."""
    smap = get_dummy_map_from_header(get_test_filepath("euvi_20090615_000900_n4euA_s.header"))
    log_t = np.arange(5.5, 7.01, 0.1)
    table = [1e-26 * np.exp(-0.5 * ((log_t - center) / 0.2) ** 2) for center in (5.95, 6.15, 6.3)]
    labels = ["EUVI 171", "EUVI 195", "EUVI 284"]
    meta = {"instrument": "STEREO-A/EUVI"}
    response = TemperatureResponse.from_arrays(labels, 10**log_t * u.K, table * u.Unit("DN cm5 / (pix s)"), meta)
    response.write(tmp_path / "euvi.ecsv")

    def image(smap):
        channel = round(smap.wavelength.to_value("Angstrom"))
        dn_per_photon = 12398.4 / channel / 3.65 / 15
        error = np.sqrt(dn_per_photon * np.clip(smap.data, 0, None) + 1)
        exposure = smap.exposure_time.to_value("s")
        known = {"channels": f"EUVI {channel}", "date": smap.date, "instrument": "STEREO-A/EUVI"}
        error = StdDevUncertainty(error / exposure)
        return NDCube(smap.data / exposure, smap.wcs, uncertainty=error, unit="DN / (pix s)", meta=known)

    maps = []
    for label, row in zip(labels, response.response.value, strict=True):
        data = np.full((6, 6), 1e27 * np.interp(6.1, log_t, row) * 16)
        maps.append(Map(data, smap.meta | {"wavelnth": int(label[5:])}))
    cube = combine([image(smap) for smap in maps])
    assert cube.meta["channels"].tolist() == labels
    edges = 10 ** np.arange(5.55, 6.96, 0.1) * u.K
    result = invert(cube, TemperatureResponse.read(tmp_path / "euvi.ecsv"), edges, method="lognormal")
    assert emission_measure(result, (10**5.75, 10**6.45) * u.K).data.mean() == pytest.approx(1e27, rel=0.3)
    with pytest.raises(ValueError, match=r"EUVIMap, instrument SECCHI\): make a cube of it, and use `combine`"):
        prepare(smap)
