"""What is known of data and response is used: pairs that do not belong together are told, and good ones are not."""

import warnings

import dask.array as da
import numpy as np
import pytest
import xarray

import astropy.units as u
from aiapy.calibrate import correct_degradation
from astropy.nddata import StdDevUncertainty
from astropy.time import Time
from astropy.utils.masked import Masked
from astropy.wcs import WCS
from ndcube import NDCube, NDCubeSequence, NDMeta
from sunpy.map import Map
from sunpy.util.exceptions import SunpyUserWarning

from sunpy_demreg import DataWarning, ResponseWarning, Status, TemperatureResponse, invert, prepare, sample
from sunpy_demreg._common.dask_arrays import is_lazy as is_array_of_dask
from sunpy_demreg.response._aia import _calibration, _read_correction_table
from sunpy_demreg.response._provenance import Provenance, sensitivity_change

CHANNELS = [94, 131, 171, 193, 211, 335] * u.AA
LABELS = np.array([f"AIA {c:.0f}" for c in CHANNELS.value])
RATE = u.DN / u.pix / u.s
LEVEL = np.array([2.0, 8.0, 200.0, 250.0, 90.0, 3.0])
EDGES = 10 ** np.arange(5.575, 7.43, 0.15) * u.K


def observed(date="2014-01-01", corrected=False, **more):
    """A cube of two pixels with what its maker says of it; None for what is not said."""
    data = LEVEL[:, None] * [1, 2]
    meta = {"channels": LABELS, "date": None if date is None else Time([date] * 6), "degradation_corrected": corrected}
    meta = {key: value for key, value in (meta | more).items() if value is not None}
    axes = {key: 0 for key in ("channels", "date") if key in meta}
    meta = NDMeta(meta, axes=axes, data_shape=data.shape)
    return NDCube(data, WCS(naxis=2), unit=RATE, uncertainty=StdDevUncertainty(0.1 * data), meta=meta)


def dated(date=None, **options):
    return TemperatureResponse.from_aia(CHANNELS, date, **options)


def tabulated(**meta):
    """A response of which nothing is known but what is said here."""
    one = dated("2014-01-01")
    return TemperatureResponse.from_arrays(one.channels, one.temperature, one.response, meta)


def of_no_date():
    cube = observed(None)
    cube.meta["date"] = "soon"
    return cube


GOOD_PAIRS = {
    "dated as the data": (observed(), dated("2014-01-01")),
    "of the same month": (observed(), dated("2014-01-10")),
    "of the cube": (observed(), TemperatureResponse.from_aia(observed())),
    "corrected data, no date": (observed(corrected=True), dated()),
    "of the corrected cube": (observed(corrected=True), TemperatureResponse.from_aia(observed(corrected=True))),
    "corrected data, unknown response": (observed(corrected=True), tabulated()),
    "a table that says its date": (observed(), tabulated(obstime="2014-01-01")),
    "near the launch, no date": (observed("2010-03-25"), dated()),
    "data without metadata": (observed(None, None), dated()),
    "data without metadata, dated": (observed(None, None), dated("2020-01-01")),
    "nothing said of degradation, dated": (observed(corrected=None), dated("2014-01-01")),
    "nothing said of either": (observed(None, None), tabulated()),
}


@pytest.mark.parametrize(("data", "response"), GOOD_PAIRS.values(), ids=GOOD_PAIRS.keys())
def test_what_belongs_together_is_silent(data, response):
    assert np.isfinite(invert(data, response, EDGES)["dem"].data).all()


def test_bare_arrays_are_silent():
    cube = observed()
    invert(cube.data * cube.unit, dated("2020-01-01"), EDGES, uncertainty=cube.uncertainty.array * cube.unit)


BAD_PAIRS = {
    "another year": (observed("2020-01-01"), dated("2011-02-15"), r"is that of 2011-02-15, but `data` are of 2020-01-"),
    "no date, not corrected": (observed(), dated(), r"that at launch, but `data`.*not corrected.*from_aia\(cube\)"),
    "corrected and dated": (
        observed(corrected=True),
        dated("2014-01-01"),
        r"has the degradation of its date, but `data` are corrected.*never both",
    ),
    "a table of another year": (observed(), tabulated(obstime="2011-02-15"), "is that of 2011-02-15"),
    "no date": (observed(), tabulated(obstime="soon"), r"`meta\['obstime'\]` must be a date"),
    "no date of data": (of_no_date(), dated("2014-01-01"), r"`meta\['date'\]` must be a date"),
}


@pytest.mark.parametrize(("data", "response", "words"), BAD_PAIRS.values(), ids=BAD_PAIRS.keys())
def test_what_certainly_does_not_is_refused(data, response, words):
    with pytest.raises(ValueError, match=words):
        invert(data, response, EDGES)


LIKELY = {
    "some months": (observed(), dated("2014-04-01"), r"differs by [2-9]%.*from_aia\(cube\)"),
    "unknown response": (observed(), tabulated(), r"`response` has no known date.*meta\['obstime'\] ="),
    "unknown data, other year": (observed(corrected=None), dated("2020-01-01"), r"set `cube\.meta\['degrad"),
    "unknown data, no date": (
        observed(corrected=None),
        dated(),
        "`data`, of .*, do not say whether they are corrected",
    ),
    "beyond the table": (observed("2010-03-01"), dated("2020-01-01"), "differs by an unknown factor"),
}


@pytest.mark.parametrize(("data", "response", "words"), LIKELY.values(), ids=LIKELY.keys())
def test_what_is_likely_wrong_draws_one_warning_with_the_cure(data, response, words):
    with pytest.warns(SunpyUserWarning, match=words) as caught:
        invert(data, response, EDGES)
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_the_factor_is_that_of_the_worst_channel():
    with pytest.raises(ValueError, match=r"the sensitivity of AIA 335 differs by a factor of 4\.2"):
        invert(observed("2020-01-01"), dated("2011-02-15"), EDGES)


XRT = ["XRT Be-thin", "XRT Al-poly"]
SUVI = ["SUVI 171", "SUVI 195"]


def of_others(labels, date="2014-01-01", **meta):
    """A cube of two channels of any instrument."""
    data = np.full((2, 2), 10.0)
    given = {"channels": np.array(labels), "date": Time([date] * 2)} | meta
    return NDCube(data, WCS(naxis=2), unit=RATE, uncertainty=StdDevUncertainty(0.1 * data), meta=given)


def table_of(labels, **meta):
    one = dated().select(["AIA 94", "AIA 131"])
    return TemperatureResponse.from_arrays(labels, one.temperature, one.response, meta)


def joint_response(date):
    both = TemperatureResponse.from_xrt(["Be-thin", "Al-poly"], date)
    return TemperatureResponse.concatenate([dated("2014-01-01").select(["AIA 94"]), both.select(XRT[:1])])


OTHERS_SILENT = {
    "nothing known": (of_others(XRT, "2020-01-01"), table_of(XRT)),
    "XRT, own date": (of_others(XRT), lambda: TemperatureResponse.from_xrt(["Be-thin", "Al-poly"], "2014-01-20")),
    "XRT, no date in the response": (of_others(XRT, instrument="XRT"), table_of(XRT, instrument="Hinode/XRT")),
    "SUVI": (
        of_others(SUVI, "2020-01-01", instrument="GOES-16/SUVI"),
        lambda: TemperatureResponse.from_suvi([171, 195] * u.AA, 16),
    ),
    "SUVI, its name only": (
        of_others(SUVI, "2020-01-01", instrument="GOES-R Series Solar Ultraviolet Imager"),
        table_of(SUVI, instrument="GOES-16/SUVI, effective areas"),
    ),
    "AIA and XRT": (
        of_others(["AIA 94", XRT[0]], instrument=["AIA", "XRT"], degradation_corrected=False),
        lambda: joint_response("2014-01-01"),
    ),
    "AIA_3": (observed(instrument="AIA_3"), dated("2014-01-01")),
}


@pytest.mark.parametrize(("data", "response"), OTHERS_SILENT.values(), ids=OTHERS_SILENT.keys())
def test_other_instruments_that_belong_together_are_silent(data, response):
    response = response() if callable(response) else response
    assert np.isfinite(invert(data, response, EDGES)["dem"].data).all()


OTHERS_REFUSED = {
    "another instrument": (
        observed(instrument="XRT"),
        dated("2014-01-01"),
        "`response` is of AIA, but `data` are of XRT",
    ),
    "one channel of another": (
        of_others(["AIA 94", "AIA 131"], instrument=["AIA", "Hinode/XRT"]),
        table_of(["AIA 94", "AIA 131"], instrument="SDO/AIA"),
        r"but `data` are of XRT \(AIA 131;",
    ),
    "another GOES": (
        of_others(SUVI, instrument="GOES-18 SUVI"),
        table_of(SUVI, instrument="GOES-16/SUVI"),
        "`response` is of GOES-16, but `data` are of GOES-18",
    ),
    "counts": (
        observed(exposure_normalized=False),
        dated("2014-01-01"),
        r"`data` are not divided .*`meta\['exposure_normalized'\]`",
    ),
}


@pytest.mark.parametrize(("data", "response", "words"), OTHERS_REFUSED.values(), ids=OTHERS_REFUSED.keys())
def test_other_instruments_that_do_not_are_refused(data, response, words):
    with pytest.raises(ValueError, match=words):
        invert(data, response, EDGES)


def test_the_response_of_xrt_of_another_year_is_told():
    with pytest.warns(
        ResponseWarning, match=r"of XRT Be-thin is that of 2020-01-01, but `data` are of 2014-01-01, 6\.0 years apart"
    ) as caught:
        invert(of_others(XRT), table_of(XRT, obstime="2020-01-01", instrument="Hinode/XRT"), EDGES)
    assert len(caught) == 1
    assert "`TemperatureResponse.from_xrt(filters, obstime)` of their date" in str(caught[0].message)
    joint, response = of_others(["AIA 94", XRT[0]], degradation_corrected=False), joint_response("2020-01-01")
    with pytest.warns(ResponseWarning, match=r"of XRT Be-thin is that of 2020-01-01") as caught:
        invert(joint, response, EDGES)
    assert len(caught) == 1


def test_what_a_response_says_of_its_degradation_counts():
    """As one that was made with another correction table."""
    factors = dated("2014-01-01").meta["degradation"]
    own = tabulated(degradation=factors)
    assert np.isfinite(invert(observed(), own, EDGES)["dem"].data).all()
    half = {channel: factor / 2 for channel, factor in factors.items()}
    for meta in ({"degradation": half}, {"degradation": half, "obstime": "2014-02-01"}):
        with pytest.raises(ValueError, match=r"`response` .*the sensitivity of AIA \d+ differs by a factor of 2\.\d"):
            invert(observed(), tabulated(**meta), EDGES)


def test_steps_over_years_do_not_share_a_response():
    def step(date):
        cube = observed(date, exposure_time=np.full(6, 2.0) * u.s)
        plane = NDCube(
            cube.data[:, :, None], WCS(naxis=3), unit=RATE,
            uncertainty=StdDevUncertainty(cube.uncertainty.array[:, :, None]), meta=dict(cube.meta),
        )  # fmt: skip
        return plane

    steps = NDCubeSequence([step("2012-01-01"), step("2020-01-01")])
    with pytest.raises(ValueError, match=r"`data` are of 2012-01-01 to 2020-01-01.*`correct_degradation=True`"):
        invert(steps, dated("2016-01-01"), EDGES)


def test_what_is_known_of_a_channel():
    cube = observed(instrument="AIA", exposure_normalized=True)
    facts = Provenance.of_data(tuple(LABELS), dict(cube.meta))
    assert [each.wavelength for each in facts] == [94, 131, 171, 193, 211, 335]
    assert (facts[2].kind, facts[2].has_degradation, facts[2].exposure_normalized) == ("AIA", True, True)
    both = TemperatureResponse.concatenate([dated("2014-01-01").select(["AIA 94"]), dated().select(["AIA 171"])])
    first, second = Provenance.of_response(both)
    assert (first.has_degradation, second.has_degradation) == (True, False)
    assert first.dates[0].isot[:10] == "2014-01-01"
    assert second.dates is None
    assert (second.kind, second.degradation) == ("AIA", None)
    assert first.degradation == pytest.approx(0.914, abs=1e-3)


def test_change_of_sensitivity():
    dates = Time(["2012-01-01", "2020-01-01"])
    assert sensitivity_change(["AIA 335", "XRT A"], np.stack([dates, dates])) > 1
    assert sensitivity_change(["AIA 335"], Time([["2012-01-01T00:00:00", "2012-01-01T12:00:00"]])) == 0


# ---- maps


def changed(smap, data=None, **keywords):
    header = {key: value for key, value in {**smap.meta, **keywords}.items() if value is not None}
    return Map(smap.data.copy() if data is None else data, header)


@pytest.fixture(scope="module")
def maps():
    return sample.aia_maps()


def no_date(smap, **more):
    """As files are of which a script kept little."""
    return changed(smap, **(dict.fromkeys(("date-obs", "date_obs", "date-beg", "date-avg", "date-end")) | more))


def normalized(smap):
    return changed(smap, smap.data / smap.exposure_time.value, exptime=1.0)


BAD_MAPS = {
    "no date": (no_date, "has no date, so that sunpy assumes the current one: set its keyword DATE-OBS"),
    "a date that is none": (lambda m: no_date(m, **{"date-obs": "soon"}), "has no date"),
    "exposure of 1 s": (normalized, r"of 1 s, which AIA never uses.*`exposure_times=\{94: 2\.9 \* u\.s\}`"),
    "eclipse": (lambda m: changed(m, quality=1 << 13), "flagged by its header: Spacecraft eclipse.*`accept_flagged="),
    "maneuver": (lambda m: changed(m, quality=str(1 << 12)), "flagged by its header: Spacecraft is not in science"),
    "no image": (lambda m: changed(m, quality=-(1 << 31)), "Image is not available"),
    "eclipse by its keyword": (lambda m: changed(m, acs_eclp="YES"), "ACS_ECLP is YES"),
    "dark": (lambda m: changed(m, img_type="DARK"), "IMG_TYPE is DARK"),
    "sums beyond the detector": (lambda m: changed(m, m.data + 20000), "sums of pixels, not averages, .*func=np.mean"),
    "eclipse in hexadecimal": (lambda m: changed(m, quality="0x00002000"), "Spacecraft eclipse"),
    "missing data": (lambda m: changed(m, percentd=62.5), r"flagged by its header: only 62\.5 % of its pixels"),
    "nothing is left of it": (lambda m: changed(m, np.zeros((0, 0))), r"`maps\[0\]` has no pixels \(its shape is"),
    "exposure near 1 s": (lambda m: changed(normalized(m), exptime=1.0000001), "of 1 s, which AIA never uses"),
    "complex": (lambda m: changed(m, m.data * 1j), "must hold counts, as real numbers, but holds complex128"),
    "flags": (lambda m: changed(m, m.data > 0), "must hold counts, as real numbers, but holds bool"),
}


@pytest.mark.filterwarnings("ignore:Missing metadata for observation time")
@pytest.mark.parametrize(("change", "words"), BAD_MAPS.values(), ids=BAD_MAPS.keys())
def test_bad_maps(maps, change, words):
    with pytest.raises((ValueError, TypeError), match=words):
        prepare([change(maps[0]), *maps[1:]], n_sample=16)


@pytest.mark.parametrize("quality", [0, 1 << 30, None, "unknown", "0x40000000", "00000000"])
def test_good_quality_is_silent(maps, quality):
    assert prepare([changed(m, quality=quality) for m in maps], n_sample=16).shape == (6, 128, 128)


def test_minor_flags_draw_one_warning(maps):
    flagged = [changed(m, quality=1 << 30 | 1 << 8) for m in maps[:2]]
    with pytest.warns(
        SunpyUserWarning, match=r"`maps` contain 2 that are flagged.*MISSVALS keyword is nonzero"
    ) as caught:
        prepare([*flagged, *maps[2:]], n_sample=16)
    assert len(caught) == 1


def test_reserved_flags_draw_a_warning_only(maps):
    with pytest.warns(SunpyUserWarning, match="flagged by their headers: .*reserved bit 22 of QUALITY"):
        prepare([changed(maps[0], quality=1 << 22), *maps[1:]], n_sample=16)


@pytest.mark.parametrize(("size", "refused"), [(128, False), (1024, True)])
def test_missing_values_count_in_whole_images_only(maps, size, refused):
    """All that a cutout does not have is missing by its header."""
    header = {"missvals": 3e6, "totvals": 4096**2}
    given = [changed(m, np.tile(m.data, (size // 128,) * 2), **header) for m in maps]
    if refused:
        with pytest.raises(ValueError, match=r"only 82\.1 % of its pixels have values"):
            prepare(given, n_sample=16)
    else:
        assert prepare(given, n_sample=16).shape == (6, size, size)


def test_flagged_images_may_be_accepted(maps):
    flagged = changed(maps[0], quality=1 << 17)
    with pytest.warns(SunpyUserWarning, match=r"`maps` contain 1 that are flagged.*loop is open"):
        cube = prepare([flagged, *maps[1:]], n_sample=16, accept_flagged=True)
    np.testing.assert_array_equal(cube.data, prepare(maps, n_sample=16).data)


def test_true_exposure_times_of_normalized_maps_give_the_same(maps):
    expected = prepare(maps, n_sample=16, saturation=5000)
    times = {m.wavelength: m.exposure_time for m in maps[:3]} | {
        int(m.wavelength.value): m.exposure_time.value for m in maps[3:]
    }
    cube = prepare([normalized(m) for m in maps], n_sample=16, saturation=5000, exposure_times=times)
    np.testing.assert_allclose(cube.data, expected.data, rtol=1e-12)
    np.testing.assert_allclose(cube.uncertainty.array, expected.uncertainty.array, rtol=1e-9)
    np.testing.assert_array_equal(cube.mask, expected.mask)
    assert np.all(cube.meta["exposure_time"] == expected.meta["exposure_time"])


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (2.9, TypeError, "`exposure_times` must be a dict"),
        ({94: "long"}, TypeError, "`exposure_times` must be a dict"),
        ({94: 2.9 * u.m}, TypeError, "`exposure_times` must be a dict"),
        ({94: -1}, ValueError, "`exposure_times` must .*all positive"),
        ({95: 2.9}, ValueError, "`exposure_times` names 95 Å, but there is no such map"),
        ({94: 2.9}, ValueError, r"`exposure_times` has one for 94 Å, but .* has its own, 2\.90082 s: leave it out"),
    ],
)
def test_bad_exposure_times(maps, given, error, words):
    with pytest.raises(error, match=words):
        prepare(maps, n_sample=16, exposure_times=given)


def test_more_pixels_than_there_is_room_for(maps):
    small = [changed(m, cdelt1=0.6, cdelt2=0.6) for m in maps]
    with pytest.raises(
        ValueError, match=r"`n_sample` is 16, but .* cannot be averages of so many: .*pass 1, or leave it out"
    ):
        prepare(small, n_sample=16)
    with pytest.raises(ValueError, match=r"`n_sample` is 64, .*pass 16, or leave it out"):
        prepare(maps, n_sample=64)
    assert prepare(maps, n_sample=3).meta["n_sample"] == 3  # of averages that were thinned out


def noisy(maps, n_sample, size=256, scale=2.4):
    """Averages with their photon noise, and structure that the smooth Sun has."""
    rng = np.random.default_rng(0)
    y, x = np.indices((size, size)) / size
    structure = 1 + 0.5 * np.sin(20 * x) * np.cos(15 * y)
    for m in maps:
        mean = 0.1 * np.mean(m.data) * structure
        yield changed(m, 2.1 * rng.poisson(mean * n_sample / 2.1) / n_sample, cdelt1=scale, cdelt2=scale)


@pytest.mark.parametrize("n", [2, 4])
def test_sums_are_told_by_their_noise_and_averages_are_not(maps, n):
    """Of averages such as the synoptic maps, to which nothing in the header speaks."""
    given, squares = list(noisy(maps, 16)), [n, n] * u.pix
    averages = [m.superpixel(squares, func=np.mean) for m in given]
    assert prepare(averages, n_sample=16 * n**2).shape == (6, 256 // n, 256 // n)
    sums = [m.superpixel(squares) for m in given]
    with pytest.warns(DataWarning, match=r"may be sums.*noise is [\d.]+ times.*func=np\.mean") as caught:
        prepare(sums, n_sample=16 * n**2)
    assert len(caught) == 1
    assert "`degradation_corrected=True`" in str(caught[0].message)


def test_real_averages_are_silent_and_their_sums_are_not(full_disk):
    """Synoptic maps: as they are, brightened, with a hot pixel, corrected for degradation, in other pixels."""
    hot = [changed(m) for m in full_disk]
    hot[0].data[512, 512] = 16000
    calibration = _calibration(_read_correction_table(None))
    corrected = [correct_degradation(m, **calibration) for m in full_disk]
    for given in (full_disk, hot, [changed(m, 1.3 * m.data) for m in full_disk], corrected[:5]):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*lack AIA 335")
            prepare(given, n_sample=16)
    prepare(corrected, n_sample=16, degradation_corrected=True)
    with pytest.warns(DataWarning, match=r"sums of pixels: `maps\[5\]` \(.*2\.3 times.*`degradation_corrected=True`"):
        prepare(corrected, n_sample=16)
    part = [m.submap([300, 300] * u.pix, width=200 * u.pix, height=200 * u.pix) for m in full_disk]
    prepare([m.superpixel([2, 2] * u.pix, func=np.mean) for m in part], n_sample=64)
    with pytest.warns(DataWarning, match=r"may be sums of pixels: `maps\[0\]` \(its noise is 2\.\d times"):
        prepare([m.superpixel([2, 2] * u.pix) for m in part], n_sample=64)


def test_maps_divided_by_their_exposure_time_are_told_by_their_mean(full_disk):
    divided = [changed(m, m.data / m.exposure_time.value) for m in full_disk]
    with pytest.warns(DataWarning, match=r"`maps` may already be divided by their exposure time.*BUNIT") as caught:
        prepare(divided, n_sample=16)
    assert len(caught) == 1
    prepare([changed(m, bunit="DN / s") for m in divided], n_sample=16)


@pytest.fixture(scope="module")
def full_disk():
    from pathlib import Path

    import demregpy

    files = sorted((Path(demregpy.__file__).parent / "tests/data/aia").glob("*.fits"))
    found = {int(m.wavelength.value): m for m in Map(files)}
    return [found[int(channel)] for channel in CHANNELS.value]


def test_whole_numbers_are_told(maps):
    faint = [changed(m, np.floor(m.data / 50)) for m in maps]
    with pytest.warns(DataWarning, match="whole numbers only, as sums of pixels do") as caught:
        prepare(faint, n_sample=16)
    assert len(caught) == 1


def test_sums_of_the_whole_disk_are_told_by_their_mean(maps):
    """Whose mean the header has."""
    size = 64
    scale = 0.6 * 4096 / size
    header = {"cdelt1": scale, "cdelt2": scale, "datamean": 3.3}
    average = [changed(m, np.full((size, size), 3.4), **header) for m in maps]
    assert prepare(average, n_sample=16).shape == (6, size, size)
    with pytest.warns(DataWarning, match=r"its mean, 54\.4 DN, is 16 times the 3\.3 DN of its header"):
        prepare([changed(m, m.data * 16) for m in average], n_sample=16)


def test_maps_of_zeros_are_no_sums(maps):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepare([changed(m, np.zeros((16, 16))) for m in maps], n_sample=16)


# ---- masks, and what can be counts


HIDDEN = np.arange(12).reshape(6, 2) == 7


def lazy(array):
    return da.from_array(array, chunks=(6, 1))


MASKED = {
    "NumPy's, in a cube": lambda d, s: (np.ma.array(d, mask=HIDDEN), s),
    "astropy's, in a cube": lambda d, s: (Masked(d, mask=HIDDEN), s),
    "Dask's, in a cube": lambda d, s: (lazy(np.ma.array(d, mask=HIDDEN)), s),
}


@pytest.mark.parametrize("make", MASKED.values(), ids=MASKED.keys())
def test_masks_of_arrays_are_honored(make):
    cube = observed(None, None)
    data, sigma = make(cube.data, cube.uncertainty.array)
    given = NDCube(data, cube.wcs, unit=RATE, uncertainty=StdDevUncertainty(sigma), meta={"channels": LABELS})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SunpyUserWarning)  # that a pixel is masked
        status = np.asarray(invert(given, dated(), EDGES, missing_channels="mask")["status"].data)
        omitted = np.asarray(invert(given, dated(), EDGES)["omitted_channels"].data)
    assert (status & int(Status.MASKED) != 0).tolist() == [False, True]
    assert omitted.tolist() == [0, 1 << 3]


@pytest.mark.parametrize("which", [0, 1])
def test_masks_of_quantities_are_honored(which):
    cube = observed()
    pair = [cube.data * RATE, cube.uncertainty.array * RATE]
    pair[which] = Masked(pair[which], mask=HIDDEN)
    with pytest.warns(SunpyUserWarning, match="MASKED 1"):
        status = invert(pair[0], dated(), EDGES, uncertainty=pair[1], missing_channels="mask")["status"].data
    assert (status & int(Status.MASKED) != 0).tolist() == [False, True]


def test_masks_of_maps_are_honored(maps):
    hidden = maps[0].data > 50
    for data in (np.ma.array(maps[0].data, mask=hidden), da.from_array(np.ma.array(maps[0].data, mask=hidden))):
        cube = prepare([changed(maps[0], data), *maps[1:]], n_sample=16)
        np.testing.assert_array_equal(cube.mask[0], hidden)


REFUSED = {
    "complex": (lambda d: d * 1j, "`data` must hold real numbers, but is of the type complex128"),
    "truth": (lambda d: d > 3, "`data` must hold real numbers, but is of the type bool"),
}


@pytest.mark.parametrize(("change", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_counts_is_refused(change, words):
    cube = observed()
    given = NDCube(change(cube.data), cube.wcs, unit=RATE, uncertainty=cube.uncertainty, meta=cube.meta)
    with pytest.raises(TypeError, match=words):
        invert(given, dated("2014-01-01"), EDGES)


def test_radiance_is_refused():
    cube = observed()
    unit = u.W / u.m**2 / u.sr
    with pytest.raises(ValueError, match=r"`data` has the unit W / \(sr m2\)"):
        invert(cube.data * unit, dated(), EDGES, uncertainty=cube.data * unit)


def test_masked_weights_and_masks_are_refused():
    cube = observed()
    options = {"uncertainty": cube.uncertainty.array * RATE}
    masked = np.ma.array(np.zeros((6, 2), dtype=bool), mask=HIDDEN)
    with pytest.raises(TypeError, match="`mask` is a masked array"):
        invert(cube.data * RATE, dated(), EDGES, mask=masked, **options)


@pytest.mark.filterwarnings("ignore:1 of 2 pixels")
@pytest.mark.parametrize("is_lazy", [False, True])
def test_arrays_of_xarray_are_those_in_them(is_lazy):
    """Which xarray gives of a file, and which have the graph of a Dask array, or none."""
    cube, response = observed(), dated("2014-01-01")
    plain = {"mask": HIDDEN, "weighting": np.linspace(1, 2, EDGES.size - 1)}
    expected = invert(cube.data * RATE, response, EDGES, uncertainty=cube.uncertainty.array * RATE, **plain)

    def of_xarray(array):
        return xarray.DataArray(lazy(array) if is_lazy and array.ndim == 2 else array)

    given = {name: of_xarray(array) for name, array in plain.items()}
    of_cube = NDCube(
        of_xarray(cube.data),
        cube.wcs,
        unit=RATE,
        uncertainty=StdDevUncertainty(of_xarray(cube.uncertainty.array)),
        meta=cube.meta,
    )
    of_quantities = invert(cube.data * RATE, response, EDGES, uncertainty=cube.uncertainty.array * RATE, **given)
    for result in (of_quantities, invert(of_cube, response, EDGES, **given)):
        for key in ("dem", "status"):
            assert is_array_of_dask(result[key].data) == is_lazy
            np.testing.assert_array_equal(np.asarray(result[key].data), expected[key].data)
