"""Temperature responses of other spectra, instruments and files, and several of them together."""

import re
import socket
from types import MappingProxyType

import numpy as np
import pytest
from demregpy import tresp
from scipy.io import readsav

import astropy.units as u
from astropy.table import QTable
from astropy.time import Time
from sunpy.util.exceptions import SunpyUserWarning

from sunpy_demreg import TemperatureResponse
from sunpy_demreg.response import _files
from sunpy_demreg.response._emissivity import load_emissivity
from sunpy_demreg.response._spectra import given_emissivity

SIX = [94, 131, 171, 193, 211, 335] * u.AA
UNIT = u.Unit("DN cm5 / (pix s)")
SPECTRUM = u.Unit("photon cm3 / (s sr Angstrom)")
ENDS = r"`emissivity` ends at 400 Å, .* up to 830 Å: continued by CHIANTI 9\.0\.1"
SPECTRA_END = r"`abundance` '\w+' has spectra that end at 400 Å, .* continued by CHIANTI 9\.0\.1, .*coronal"


@pytest.fixture(scope="module")
def plain():
    return TemperatureResponse.from_aia(SIX)


@pytest.fixture(scope="module")
def xrt():
    return TemperatureResponse.from_xrt(["Be-thin", "Al-poly/Ti-poly"], "2014-01-01")


def bundled(stop=None, step=1):
    emissivity = load_emissivity()
    kept = emissivity.wavelength <= (np.inf * u.AA if stop is None else stop)
    return emissivity.temperature[::step], emissivity.wavelength[kept], emissivity.spectrum[::step, kept]


# ---- emissivities


def test_the_bundled_spectrum_given_is_the_bundled_one(plain):
    given = TemperatureResponse.from_aia(SIX, emissivity=bundled())
    np.testing.assert_allclose(given.response, plain.response, rtol=1e-10)
    assert given.meta["emissivity"] == "given"


def test_units_and_temperatures_of_a_spectrum_are_its_own(plain):
    temperature, wavelength, spectrum = bundled(step=4)
    given = TemperatureResponse.from_aia(
        SIX, emissivity=(temperature.to(u.MK), wavelength.to(u.nm), spectrum.to("photon m3 / (s sr nm)"))
    )
    np.testing.assert_allclose(given.temperature, plain.temperature[::4], rtol=1e-12)
    np.testing.assert_allclose(given.response, plain.response[:, ::4], rtol=1e-6)


def test_a_short_spectrum_is_continued_and_it_is_said(plain):
    with pytest.warns(SunpyUserWarning, match=ENDS) as caught:
        given = TemperatureResponse.from_aia(SIX, emissivity=bundled(400 * u.AA))
    assert len(caught) == 1
    np.testing.assert_allclose(given.response, plain.response, rtol=1e-9)
    assert given.meta["emissivity"].startswith("given; beyond 400 Å CHIANTI 9.0.1")


def test_what_the_end_of_a_spectrum_would_cost(plain):
    """Up to 65 % of 335 Å at log T 5.5: the reason that spectra are continued."""
    temperature, wavelength, spectrum = bundled()
    cut = np.where(wavelength <= 400 * u.AA, spectrum, 0 * SPECTRUM)
    short = TemperatureResponse.from_aia(SIX, emissivity=(temperature, wavelength, cut))
    assert (1 - short.response / plain.response)[5, 30].value == pytest.approx(0.65, abs=0.01)


def test_bins_of_any_width(plain):
    """Coarser where the responses are smooth."""
    temperature, wavelength, spectrum = bundled()
    wavelength, spectrum = wavelength[:-1], spectrum[:, :-1]
    coarse = spectrum[:, 4250:].reshape(101, -1, 5).mean(axis=2), wavelength[4250:].reshape(-1, 5).mean(axis=1)
    spectrum, wavelength = np.hstack([spectrum[:, :4250], coarse[0]]), np.hstack([wavelength[:4250], coarse[1]])
    given = TemperatureResponse.from_aia(SIX, emissivity=(temperature, wavelength, spectrum))
    np.testing.assert_allclose(given.response[:, 20:80], plain.response[:, 20:80], rtol=0.02)


def test_chianti_10_of_xrtpy(plain):
    with pytest.warns(SunpyUserWarning, match=ENDS):
        given = TemperatureResponse.from_aia(SIX, emissivity="xrtpy")
    assert given.meta["emissivity"].startswith("CHIANTI version 10.0 with coronal abundances, sun_coronal_1992_feldman")
    np.testing.assert_allclose(np.log10(given.temperature.value), np.linspace(5, 8, 61), atol=1e-12)
    ratio = given.response / plain.at(given.temperature)
    hot = given.temperature > 10**6.95 * u.K
    np.testing.assert_allclose(ratio[:, hot], 1, atol=0.03)  # hardly changed between the versions
    assert 1.3 < ratio[3].max() < 1.5  # 193 Å near log T 5.6


# Of Feldman et al. 1992, as CHIANTI has them, and of Scott et al. 2015 and Schmelz et al. 2012.
IRON = {"coronal": 8.10, "photospheric": 7.47, "hybrid": 7.85}
OXYGEN = {"coronal": 8.89, "photospheric": 8.69, "hybrid": 8.61}


@pytest.mark.parametrize("abundance", ["photospheric", "hybrid"])
def test_abundances_are_those_of_the_lines(abundance):
    """Lines of two elements in the spectra of xrtpy, whose own labels call them coronal."""
    with pytest.warns(SunpyUserWarning, match=SPECTRA_END):
        other = given_emissivity(None, abundance)
    assert abundance in other.source
    bundled = load_emissivity()
    for line, temperature, of in ((93.93, 6.8, IRON), (195.12, 6.2, IRON), (150.1, 5.5, OXYGEN)):
        strengths = []
        for each in (other, bundled):
            row = np.abs(np.log10(each.temperature.value) - temperature).argmin()
            near = np.abs(each.wavelength.value - line) < 0.3
            strengths.append(np.sum((each.spectrum[row] * each.width).value[near]))
        assert np.log10(strengths[0] / strengths[1]) == pytest.approx(of[abundance] - of["coronal"], abs=0.05)


def test_a_flare_of_photospheric_abundances(plain):
    with pytest.warns(SunpyUserWarning, match=SPECTRA_END):
        given = TemperatureResponse.from_aia(SIX, abundance="photospheric")
    assert "photospheric" in given.meta["emissivity"]
    hot = np.abs(np.log10(given.temperature.value) - 7.0).argmin()
    ratio = (given.response / plain.at(given.temperature))[:, hot].value
    assert 0.23 < ratio[1] < 0.45  # 131 Å: iron, and the continuum
    assert TemperatureResponse.from_aia(SIX, abundance="coronal") == plain
    with pytest.warns(SunpyUserWarning, match=SPECTRA_END):
        suvi = TemperatureResponse.from_suvi([131] * u.AA, abundance="photospheric")
    assert suvi.response.max() < 0.5 * TemperatureResponse.from_suvi([131] * u.AA).response.max()
    xrt = TemperatureResponse.from_xrt("Be-thin", "2014-01-01", abundance="photospheric")
    assert xrt.meta["emissivity"] == "CHIANTI version 9.0.1 with photospheric abundances (as of Scott et al. 2015)"
    assert 0.2 < (xrt.response.max() / TemperatureResponse.from_xrt("Be-thin", "2014-01-01").response.max()) < 0.6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"abundance": "solar"}, "`abundance` must be .*'coronal', 'hybrid'.*'solar'"),
        ({"abundance": "photospheric", "chiantifix": True}, "`chiantifix` corrects the bundled CHIANTI"),
        ({"abundance": "coronal", "emissivity": "own"}, "`abundance` is that of the spectra given as `emissivity`"),
    ],
)
def test_wrong_abundances(options, words):
    if options.get("emissivity") == "own":
        options = options | {"emissivity": bundled()}
    with pytest.raises(ValueError, match=words):
        TemperatureResponse.from_aia(SIX, **options)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda t, w, s: "chianti", TypeError, "`emissivity` must be .*'fiasco' or 'xrtpy', but is 'chianti'"),
        (lambda t, w, s: (t, w), TypeError, "`emissivity` must be a tuple"),
        (lambda t, w, s: (t.value, w, s), TypeError, "`emissivity`: its temperature must be a Quantity"),
        (lambda t, w, s: (t, w, s.value), TypeError, "`emissivity`: its spectrum must be a Quantity"),
        (lambda t, w, s: (t[::-1], w, s), ValueError, "`emissivity`: its temperature must be .* increasing"),
        (lambda t, w, s: (t, w[:-1], s), ValueError, r"`emissivity`: its spectrum must have the shape .*\(101, 8750\)"),
        (lambda t, w, s: (t, w, -s), ValueError, "`emissivity`: its spectrum must be finite and not negative"),
        (lambda t, w, s: (t / 10, w, s), ValueError, "`emissivity`: its temperature must lie between 1e4 and 1e9 K"),
    ],
)
def test_wrong_spectra(change, error, words):
    with pytest.raises(error, match=words):
        TemperatureResponse.from_aia(171 * u.AA, emissivity=change(*bundled()))


def test_chiantifix_is_that_of_solarsoft(plain):
    from importlib.resources import as_file, files

    with as_file(files("pyeuvtools") / "data/aia/chiantifix-exports/aia_V9/aia_chiantifix_export_v1.sav") as path:
        correction = readsav(path)["chiantifix_export"][0]["EMPIRICAL_MINUS_RAW"]
    fixed = TemperatureResponse.from_aia(SIX, chiantifix=True)
    np.testing.assert_allclose((fixed.response - plain.response)[0].value, correction[0], rtol=1e-4, atol=1e-35)
    np.testing.assert_array_equal(fixed.response[1:], plain.response[1:])
    peak = plain.response[0].argmax()
    assert (fixed.response / plain.response)[0, peak].value == pytest.approx(1 - 0.235, abs=1e-3)
    # It degrades with the rest.
    factor = TemperatureResponse.from_aia(SIX[:1], "2014-01-01", chiantifix=True).response / fixed.response[:1]
    np.testing.assert_allclose(factor, 0.9137, rtol=1e-4)
    for options in ({"eve": False}, {"emissivity": bundled()}):
        with pytest.raises(ValueError, match="`chiantifix` corrects the bundled CHIANTI"):
            TemperatureResponse.from_aia(SIX, chiantifix=True, **options)


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("2011-02-15", [1.155, 0.874, 0.993, 0.988, 0.982, 0.753]),
        ("2014-01-01", [0.914, 0.753, 0.876, 0.887, 0.825, 0.444]),
        ("2020-01-01", [0.903, 0.510, 0.740, 0.525, 0.447, 0.177]),
    ],
)
def test_degradation_of_v10(date, expected):
    factors = TemperatureResponse.from_aia(SIX, date).meta["degradation"].values()
    np.testing.assert_allclose(list(factors), expected, atol=6e-4)


# ---- other instruments


def test_xrt_is_that_of_xrtpy(xrt):
    from xrtpy.response.temperature_response import TemperatureResponseFundamental

    assert xrt.channels == ("XRT Be-thin", "XRT Al-poly/Ti-poly")
    for channel, row in zip(xrt.channels, xrt.response, strict=True):
        model = TemperatureResponseFundamental(channel[4:], "2014-01-01T00:00:00")
        np.testing.assert_array_equal(row.value, model.temperature_response().to_value(UNIT))
    np.testing.assert_allclose(np.log10(xrt.temperature.value), np.linspace(5, 8, 61), atol=1e-12)
    assert 6.9 < np.log10(xrt.temperature[xrt.response[0].argmax()].value) < 7.1
    assert xrt.meta["emissivity"] == "CHIANTI version 10.0 with coronal abundances"
    one = TemperatureResponse.from_xrt("Be-thin", Time("2014-01-01"))
    np.testing.assert_array_equal(one.response[0], xrt.response[0])


def test_suvi_against_a_sum_by_hand():
    from sunkit_instruments.suvi import get_response

    suvi = TemperatureResponse.from_suvi([94, 131, 171, 195, 284, 304] * u.AA, 17)
    assert suvi.channels == ("SUVI 94", "SUVI 131", "SUVI 171", "SUVI 195", "SUVI 284", "SUVI 304")
    log_peaks = np.log10(suvi.temperature[suvi.response.argmax(axis=1)].value)
    np.testing.assert_allclose(log_peaks, [6.85, 5.75, 5.9, 6.2, 6.35, 4.95], atol=0.06)
    parts = get_response(195, spacecraft=17)
    emissivity = load_emissivity()
    row = np.interp(emissivity.wavelength.value, parts["wavelength"].value, parts["response"].value)
    # Photons of a pixel of 2.5 arcsec, in bins of 0.1 Angstrom.
    expected = emissivity.spectrum.value @ row * (2.5 / 206264.806) ** 2 * 0.1
    np.testing.assert_allclose(suvi.response[3].value, expected, rtol=1e-6)


def test_aia_and_suvi_agree_on_what_they_see(plain):
    """Two instruments with the same lines: their shapes near the peak are alike."""
    suvi = TemperatureResponse.from_suvi([171] * u.AA)
    ratio = (suvi.response[0] / plain.response[2])[34:46]
    np.testing.assert_allclose(ratio / ratio.mean(), 1, atol=0.15)


def test_any_table_makes_an_instrument():
    euvi = TemperatureResponse.from_arrays(
        ["EUVI 171", "EUVI 195"], [0.5, 1, 2, 4] * u.MK, [[2, 9, 3, 1], [1, 4, 8, 2]] * u.Unit("1e-25 DN cm5 / (pix s)")
    )
    both = TemperatureResponse.concatenate([euvi, TemperatureResponse.from_aia(SIX)])
    assert both.channels[:2] == euvi.channels
    assert both.response.unit == euvi.response.unit
    np.testing.assert_allclose(both.at([1] * u.MK)[:2, 0], euvi.response[:, 1], rtol=1e-9)


def test_instruments_need_no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("tried to use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert TemperatureResponse.from_xrt("Ti-poly", "2012-01-01").response.shape == (1, 61)
    assert TemperatureResponse.from_suvi([94] * u.AA).response.shape == (1, 101)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: TemperatureResponse.from_xrt("No-such", "2014-01-01"), ValueError, "'No-such'"),
        (
            lambda: TemperatureResponse.from_xrt([], "2014-01-01"),
            ValueError,
            "`filters` must be.*empty",
        ),
        (lambda: TemperatureResponse.from_xrt("Be-thin", "1990-01-01"), ValueError, "`obstime` 1990"),
        (lambda: TemperatureResponse.from_xrt("Be-thin", "soon"), ValueError, "`obstime` must be a date.*'soon'"),
        (lambda: TemperatureResponse.from_suvi([193] * u.AA), ValueError, "`channels`: SUVI has no response for 193 Å"),
        (lambda: TemperatureResponse.from_suvi([171] * u.AA, 15), ValueError, "`spacecraft` must be.*15"),
        (
            lambda: TemperatureResponse.from_suvi([171] * u.AA, exposure_type="x"),
            ValueError,
            "`exposure_type`.*'x'",
        ),
        (lambda: TemperatureResponse.from_suvi([171] * u.AA, ccd_temperature=90.0), ValueError, "`ccd_temperature` 90"),
        (lambda: TemperatureResponse.from_suvi([171]), TypeError, r"`channels` must be a cube, or wavelengths.*u\.AA"),
    ],
)
def test_wrong_instruments(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize(
    ("module", "extra", "call"),
    [
        ("xrtpy", "instruments", lambda: TemperatureResponse.from_xrt("Be-thin", "2014-01-01")),
        ("sunkit_instruments", "instruments", lambda: TemperatureResponse.from_suvi([171] * u.AA)),
        ("xrtpy", "instruments", lambda: TemperatureResponse.from_aia(SIX, emissivity="xrtpy")),
        ("fiasco", "fiasco", lambda: TemperatureResponse.from_aia(SIX, emissivity="fiasco")),
    ],
)
def test_missing_packages_are_named_with_the_cure(monkeypatch, module, extra, call):
    import sys

    for name in list(sys.modules):
        if name.partition(".")[0] == module:
            monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install 'sunpy-demreg\[{extra}\]'"):
        call()


# ---- several together


def test_concatenate_keeps_nodes_and_provenance(plain, xrt):
    both = TemperatureResponse.concatenate([plain, xrt])
    assert both.channels == plain.channels + xrt.channels
    np.testing.assert_allclose(both.temperature, xrt.temperature, rtol=1e-9)
    np.testing.assert_allclose(both.response[:6], plain.response[:, 20:81], rtol=1e-6)
    np.testing.assert_allclose(both.response[6:], xrt.response, rtol=1e-6)
    assert both.meta["instrument"]["XRT Be-thin"] == "Hinode/XRT, by xrtpy"
    assert both.meta["eve"]["AIA 94"] == plain.meta["eve"]["AIA 94"]
    assert both.meta["eve"]["XRT Be-thin"] is None
    assert both.select(["AIA 94", "XRT Be-thin"]).meta["eve"]["AIA 94"] == plain.meta["eve"]["AIA 94"]
    shown = repr(both)
    assert "by xrtpy (XRT Be-thin, XRT Al-poly/Ti-poly)" in shown
    assert re.search("XRT Be-thin +[^ ]+ +7.00 +-\n", shown)


def test_concatenate_and_select_take_any_mapping_for_an_entry_per_channel(plain):
    gains = MappingProxyType({"B": 2.0, "C": 3.0})
    odd = TemperatureResponse.from_arrays(["B", "C"], [1, 3] * u.MK, np.ones((2, 2)) * UNIT, {"gain": gains})
    assert odd.select("B").meta["gain"] == {"B": 2.0}
    assert TemperatureResponse.concatenate([plain, odd]).select(["C", "B"]).meta["gain"] == {"B": 2.0, "C": 3.0}


def test_concatenate_alone_and_on_other_nodes(plain):
    alone = TemperatureResponse.concatenate([plain])
    np.testing.assert_allclose(alone.response, plain.response, rtol=1e-9)
    assert alone.meta == plain.meta
    odd = TemperatureResponse.from_arrays(["B"], [1.1, 2.2, 3.3] * u.MK, [[1, 2, 3]] * UNIT)
    both = TemperatureResponse.concatenate([plain, odd])
    assert both.temperature[0].to_value(u.MK) == pytest.approx(1.1)
    assert both.temperature.size == 3 + np.count_nonzero(
        (plain.temperature > 1.1 * u.MK) & (plain.temperature < 3.3 * u.MK)
    )


@pytest.mark.parametrize(
    ("others", "error", "words"),
    [
        ([], TypeError, "`responses` must be a list of TemperatureResponse, but holds nothing"),
        (["AIA"], TypeError, "`responses` must be a list of TemperatureResponse, but holds str"),
        ([("C", [1, 2] * u.MK, u.Unit("erg cm3 / (s sr)"))], ValueError, "`responses` have the units"),
        ([("C", [1e10, 2e10] * u.K, UNIT)], ValueError, "`responses` must share a range of temperatures"),
        ([("AIA 94", [1, 2] * u.MK, UNIT)], ValueError, "`channels` must all be different"),
    ],
)
def test_wrong_concatenations(plain, others, error, words):
    made = [
        TemperatureResponse.from_arrays([o[0]], o[1], [[1, 2]] * o[2]) if isinstance(o, tuple) else o for o in others
    ]
    with pytest.raises(error, match=words):
        TemperatureResponse.concatenate([plain, *made] if others else [])


# ---- files


def test_ecsv_keeps_everything(tmp_path, xrt):
    dated = TemperatureResponse.from_aia(SIX, "2014-01-01")
    for i, response in enumerate((dated, xrt, TemperatureResponse.concatenate([dated, xrt]))):
        path = tmp_path / f"{i}.ecsv"
        response.write(path)
        again = TemperatureResponse.read(str(path))
        assert again.channels == response.channels
        assert again.meta == response.meta
        assert again.response.unit == response.response.unit
        np.testing.assert_array_equal(again.response, response.response)
        np.testing.assert_array_equal(again.temperature, response.temperature)
    assert "AIA 94: 0.9137" in (tmp_path / "0.ecsv").read_text()  # a reader sees where it is from
    with pytest.raises(OSError, match="exists"):
        dated.write(tmp_path / "0.ecsv")
    xrt.write(tmp_path / "0.ecsv", overwrite=True)
    assert TemperatureResponse.read(tmp_path / "0.ecsv").channels == xrt.channels
    with pytest.raises(ValueError, match=r"`path` must end in \.ecsv, but is 'a\.txt'"):
        dated.write(tmp_path / "a.txt")


def test_a_table_by_hand_can_be_read(tmp_path):
    QTable({"temperature": [1, 2] * u.MK, "EUVI 171": [3, 4] * UNIT}).write(tmp_path / "a.ecsv")
    response = TemperatureResponse.read(tmp_path / "a.ecsv")
    assert response.channels == ("EUVI 171",)
    assert response.meta == {}


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"T": [1, 2] * u.MK, "A": [3, 4] * UNIT}, "must have a column 'temperature' .* but has T, A"),
        ({"temperature": [1, 2] * u.MK}, "one for each channel, but has temperature"),
        ({"temperature": [1, 2] * u.MK, "A": [3, 4]}, "has no units for A"),
        ({"temperature": [1, 2] * u.MK, "A": [3, 4] * UNIT, "B": [3, 4] * u.s}, "units that do not convert"),
    ],
)
def test_wrong_tables(tmp_path, table, words):
    QTable(table).write(tmp_path / "a.ecsv")
    with pytest.raises(ValueError, match=words):
        TemperatureResponse.read(tmp_path / "a.ecsv")


def test_wrong_files(tmp_path):
    for reader in (TemperatureResponse.read, TemperatureResponse.from_sav):
        with pytest.raises(FileNotFoundError, match="`path`: there is no file"):
            reader(tmp_path / "none")
        with pytest.raises(ValueError, match=r"`path`: .* is not a"):
            reader(__file__)


@pytest.mark.parametrize("name", ["aia_tresp", "aia_tresp_nb", "aia_tresp_v9"])
def test_sav_of_demreg(name):
    path = getattr(tresp, name)
    channels, log_t, values = tresp.load_aia_response(path)
    response = TemperatureResponse.from_sav(path)
    assert response.channels == tuple(f"AIA {channel[1:]}" for channel in channels)
    np.testing.assert_allclose(np.log10(response.temperature.value), log_t, atol=1e-6)
    np.testing.assert_array_equal(response.response.value, values.T)
    assert response.response.unit == UNIT
    assert response.meta["file"] == path.name


def structure(units=b"DN cm^5 s^-1 pix^-1", tag="TRESP"):
    """What `readsav` makes of `tr = aia_get_response(/temperature) & save, tr`."""
    nodes = np.linspace(4, 9, 101).astype(">f4")
    tables = []
    for i in range(2):
        table = np.recarray(1, dtype=[("NAME", "O"), ("LOGTE", "O"), (tag, "O")])
        table[0] = (b"A", nodes, np.full(101, 1e-25 * (i + 1)))
        tables.append(table)
    names = ("NAME", "DATE", "EFFAREA_VERSION", "CHANNELS", "UNITS", "LOGTE", "A94", "A171")
    record = np.recarray(1, dtype=[(name, "O") for name in names])
    channels = np.array([b"A94", b"A171"], dtype=object)
    record[0] = (b"AIA", b"20140101_000000", b"10", channels, units, nodes, *tables)
    return {"tr": record}


def test_sav_of_solarsoft(monkeypatch, tmp_path):
    path = tmp_path / "tr.sav"
    path.write_bytes(b"SR")
    monkeypatch.setattr("scipy.io.readsav", lambda _: structure())
    response = TemperatureResponse.from_sav(path)
    assert response.channels == ("AIA 94", "AIA 171")
    np.testing.assert_array_equal(response.response[:, 0].value, [1e-25, 2e-25])
    assert response.meta["date"] == "20140101_000000"
    for saved, words in (
        (structure(b"phot cm^5 s^-1 pix^-1"), r"is in phot .*`aia_get_response\(/temperature, /dn\)`"),
        (structure(tag="EFFAREA"), r"holds tr, but must hold what `aia_get_response"),
        ({"x": 3}, r"holds x, but must hold"),
    ):
        monkeypatch.setattr("scipy.io.readsav", lambda _, saved=saved: saved)
        with pytest.raises(ValueError, match=words):
            TemperatureResponse.from_sav(path)


def test_label_of_other_names():
    assert [_files._label(name) for name in ("A94", "a335_THIN", "Al-poly")] == ["AIA 94", "AIA 335", "Al-poly"]


# ---- plot


def test_plot_draws_every_channel(plain, tmp_path):
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2)
    assert plain.plot(left) is left
    assert plain.select("AIA 94").plot() is right  # the current axes
    assert [line.get_label() for line in left.lines] == list(plain.channels)
    np.testing.assert_array_equal(left.lines[2].get_ydata(), plain.response[2].value)
    assert left.get_xscale() == left.get_yscale() == "log"
    low, high = left.get_ylim()
    assert low < plain.response.max(axis=1).min().value
    assert high > plain.response.max().value
    figure.savefig(tmp_path / "a.png")
    dark = TemperatureResponse.from_arrays(["A"], [1, 2] * u.MK, [[0, 1]] * UNIT)
    assert np.isnan(dark.plot(left).lines[-1].get_ydata()[0])
