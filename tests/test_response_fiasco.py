"""
Responses of fiasco: the real one, on a database of a few invented numbers.

The database is written as CHIANTI's files of text and built by fiasco. Each of its ions shows one kind of light alone,
at a place of its own, and what must come out is computed here from textbook formulas.
"""

import socket
import subprocess
import sys

import numpy as np
import pytest

import astropy.constants as const
import astropy.units as u

from sunpy_demreg import TemperatureResponse
from sunpy_demreg.response import _fiasco
from sunpy_demreg.response._emissivity import load_emissivity
from sunpy_demreg.response._fiasco import fiasco_emissivity

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what fiasco imports

ABUNDANCES = {"H": 12.0, "He": 10.9, "Fe": 8.1}  # as logarithms, that of hydrogen 12
FRACTIONS = {"H 1": 1e-3, "H 2": 0.999, "He 2": 0.2, "Fe 9": 0.4}  # at all temperatures
CHARGES = {"H 1": 0, "H 2": 1, "He 2": 1, "Fe 9": 8}
GAUNT = 1.2
UPSILON = 0.5
IP = 109678.77  # cm-1, of H 1
VERNER = {"E_thresh": 13.6, "E_0": 0.4298, "sigma_0": 5.475e4, "y_a": 32.88, "P": 2.963, "y_w": 0.0}  # eV, Mb
ION_FILES = {"fe_9": ("elvlc", "wgfa", "scups"), "he_2": ("elvlc", "wgfa", "scups"), "h_1": ("fblvl",)}

# Of each level: configuration, multiplicity, L, J, wavelength of the decay to the ground in Angstrom, rate in 1/s.
LEVELS = {
    "fe_9": [
        ("3p6", 1, "S", 0, None, None),
        ("3p5.3d", 1, "P", 1, 171.073, 2.3e11),
        ("3p5.3d", 3, "P", 1, 244.909, 8e7),
    ],
    "he_2": [("1s", 2, "S", 0.5, None, None), ("2s", 2, "S", 0.5, 303.78, 527.0), ("2p", 2, "P", 1.5, 303.68, 1e10)],
}


def write_database(root):
    """Write text files in the formats of CHIANTI."""
    (root / "VERSION").write_text("9.0.1\n")
    end = " -1\n%file: invented\n -1\n"

    def write(name, text):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    numbers = {"H": 1, "He": 2, "Fe": 26}
    rows = [f"{numbers[el]:2d}{value:9.3f}{el:>2}\n" for el, value in ABUNDANCES.items()]
    write("abundance/sun_coronal_1992_feldman_ext.abund", "".join(rows) + end)
    logs = np.arange(4, 9.01, 0.5)
    rows = [f"{logs.size:3d}{30:3d}\n", "".join(f"{each:6.2f}" for each in logs) + "\n"]
    for element, number in numbers.items():
        for stage in range(1, number + 2):  # fiasco wants all of an element, be they rare
            fraction = FRACTIONS.get(f"{element} {stage}", 1e-30)
            rows.append(f"{number:3d}{stage:3d}" + f"{fraction:10.2e}" * logs.size + "\n")
    write("ioneq/chianti.ioneq", "".join(rows) + end)
    write("ip/chianti.ip", f"1 1 {IP}\n" + end)
    for ion, levels in LEVELS.items():
        folder = f"{ion.split('_')[0]}/{ion}/{ion}"
        elvlc, wgfa, scups = "", "", ""
        for i, (name, multiplicity, momentum, j, wavelength, rate) in enumerate(levels, 1):
            energy = 0 if wavelength is None else 1e8 / wavelength
            elvlc += f"{i:7d}{name:>30}{'':5}{multiplicity:5d}{momentum:>5}{j:5.1f}{energy:15.3f}{energy:15.3f}\n"
            if wavelength is None:
                continue
            # A decay into two photons has no wavelength.
            wgfa += (
                f"{1:5d}{i:5d}{0 if name == '2s' else wavelength:15.3f}{0.1:15.3e}{rate:15.3e}{'a -':>30}{'b':>30}\n"
            )
            scups += f"1 {i} {energy / 109737.31568} 0.1 -1 5 2 1.0\n"  # type 2: constants are constant
            scups += "0 0.25 0.5 0.75 1\n" + f"{UPSILON} " * 5 + "\n"
        write(folder + ".elvlc", elvlc + end)
        write(folder + ".wgfa", wgfa + end)
        write(folder + ".scups", scups + end)
    write("h/h_1/h_1.fblvl", f"{1:5d}{'1s':>20}{1:5d}{0:5d}{'S':>3}{2:5d}{0:20.3f}{0:20.3f}\n" + end)
    write("continuum/verner_short.txt", "1 1 1 0 " + " ".join(map(str, VERNER.values())) + "\n")
    write("continuum/itoh.dat", (f"{GAUNT} " + "0 " * 120 + "\n") * 28)
    grid = "".join(f"{x} {y} {GAUNT}\n" for x in (0.1, 1.0) for y in (0.1, 1.0))
    write("continuum/gffgu.dat", "header\n" * 5 + grid)
    # The distribution of the photons is flat, and its integral, over the norm, is that of two photons.
    write("continuum/hseq_2photon.dat", "0 0.25 0.5 0.75 1\n" + "2 " * 5 + "\n2 527.0 0.5 1 1 1 1 1\n")


@pytest.fixture(scope="module")
def fiasco():
    return _fiasco.imported_fiasco()


@pytest.fixture(scope="module")
def database(fiasco, tmp_path_factory):
    from fiasco.util import build_hdf5_dbase

    root = tmp_path_factory.mktemp("chianti")
    write_database(root)
    names = ["sun_coronal_1992_feldman_ext.abund", "chianti.ioneq", "chianti.ip", "verner_short.txt"]
    names += ["itoh.dat", "gffgu.dat", "hseq_2photon.dat"]
    names += [f"{ion}.{ending}" for ion, endings in ION_FILES.items() for ending in endings]
    build_hdf5_dbase(root, root / "chianti.h5", files=names, show_progress=False)
    return root / "chianti.h5"


@pytest.fixture
def installed(fiasco, database, monkeypatch):
    """The database, and fewer temperatures."""
    bundled = load_emissivity()
    few = bundled._replace(temperature=bundled.temperature[::20], spectrum=bundled.spectrum[::20])
    monkeypatch.setattr(_fiasco, "load_emissivity", lambda: few)
    monkeypatch.setitem(fiasco.defaults, "hdf5_dbase_root", database)


def population(ion, level, temperature):
    """Of a level that only the ground excites, relative to all, divided by the electron density."""
    density = 1e15 / temperature
    relative = []
    for *_, j, wavelength, rate in LEVELS[ion][1:]:
        weight, ground = 2 * j + 1, 2 * LEVELS[ion][0][3] + 1
        down = density * 8.629e-6 * UPSILON / weight / np.sqrt(temperature)
        boltzmann = weight / ground * np.exp(-1.438777e8 / wavelength / temperature)
        relative.append(down * boltzmann / (rate + down))
    return relative[level - 1] / (1 + sum(relative)) / density


def abundance(ion):
    return 10 ** (ABUNDANCES[ion.split()[0]] - 12) * FRACTIONS[ion]


def free_free(wavelength, temperature):
    """Rybicki and Lightman 1979, equation 5.14a, per wavelength; over all directions."""
    charges = sum(abundance(ion) * CHARGES[ion] ** 2 for ion in FRACTIONS)
    energy = np.exp(-1.438777e8 / wavelength / temperature[:, np.newaxis])
    return 6.8423e-38 * GAUNT * charges * energy / np.sqrt(temperature)[:, np.newaxis] * 2.99792458e18 / wavelength**2


def free_bound(wavelength, temperature):
    """The Milne relation and a Maxwell distribution; the fraction is that of the bare protons."""
    energy, kt = (const.h * const.c / (wavelength * u.AA)).cgs, (const.k_B * temperature[:, np.newaxis] * u.K).cgs
    y = (energy / (VERNER["E_0"] * u.eV)).to_value(u.one)
    cross_section = VERNER["sigma_0"] * (y - 1) ** 2 * y ** (VERNER["P"] / 2 - 5.5)
    cross_section = cross_section * (1 + np.sqrt(y / VERNER["y_a"])) ** -VERNER["P"] * u.Mbarn
    kinetic = energy - (const.h * const.c * IP / u.cm).cgs
    per_energy = (
        4 * np.pi * 2 * energy**3 * cross_section / (const.m_e**3 * const.c**2) * (const.m_e / (2 * np.pi * kt)) ** 1.5
    )
    emission = per_energy * np.exp(-(kinetic / kt).to_value(u.one)) * energy**2 / (const.h * const.c)
    return abundance("H 2") * emission.to_value("erg cm3 / (s Angstrom)")


def two_photon(wavelength, temperature):
    """In photons; from the wavelength of the level on."""
    *_, limit, rate = LEVELS["he_2"][1]
    emitted = 2 * rate * population("he_2", 1, temperature)[:, np.newaxis] * limit / wavelength**2
    return abundance("He 2") * np.where(wavelength >= limit, emitted, 0)


@pytest.mark.usefixtures("installed")
def test_every_photon_is_there():
    emissivity, bundled = fiasco_emissivity(), _fiasco.load_emissivity()
    assert emissivity.spectrum.unit == bundled.spectrum.unit
    np.testing.assert_array_equal(emissivity.temperature, bundled.temperature)
    temperature, wavelength = emissivity.temperature.value, emissivity.wavelength.value
    energy = free_free(wavelength, temperature) + free_bound(wavelength, temperature)
    expected = energy * wavelength / 1.98644586e-8 + two_photon(wavelength, temperature)
    for ion, name, level in (("fe_9", "Fe 9", 1), ("fe_9", "Fe 9", 2), ("he_2", "He 2", 2)):
        *_, line, rate = LEVELS[ion][level]
        emitted = abundance(name) * population(ion, level, temperature) * rate
        expected[:, np.abs(wavelength - line).argmin()] += emitted / 0.1
    expected /= 4 * np.pi
    np.testing.assert_allclose(emissivity.spectrum.value, expected, rtol=2e-4, atol=1e-60)


@pytest.mark.usefixtures("installed")
def test_response_of_fiasco(fiasco):
    response = TemperatureResponse.from_aia([171, 304] * u.AA, emissivity="fiasco")
    assert response.meta["emissivity"] == (
        f"CHIANTI 9.0.1, Feldman 1992 coronal, 1e15 K cm-3, 32 ions, of fiasco {fiasco.__version__}"
    )
    emissivity = fiasco_emissivity()
    given = TemperatureResponse.from_aia([171, 304] * u.AA, emissivity=tuple(emissivity[i] for i in (0, 1, 3)))
    np.testing.assert_allclose(response.response, given.response, rtol=1e-10)
    assert fiasco_emissivity() is emissivity
    assert not emissivity.spectrum.flags.writeable


@pytest.mark.usefixtures("installed")
def test_batches_of_temperatures_change_nothing(monkeypatch):
    whole = fiasco_emissivity().spectrum
    _fiasco._computed.cache_clear()
    monkeypatch.setattr(_fiasco, "RATES", 8 * 7**2 * 2)
    np.testing.assert_allclose(fiasco_emissivity().spectrum, whole, rtol=1e-12)
    _fiasco._computed.cache_clear()


def test_the_bundled_spectrum_was_made_of_the_same():
    from sunpy_demreg.response._emissivity import read_bundled

    [(header, _)] = read_bundled("chianti_emissivity.fits")
    assert header["ABUNDANC"] == f"{_fiasco.ABUNDANCE}.abund"
    assert header["IONEQ"] == f"{_fiasco.IONIZATION}.ioneq"
    assert header["PRESSURE"] == _fiasco.PRESSURE.to_value("K cm-3")


@pytest.fixture
def without_database(fiasco, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("asked, or tried to use the network")

    monkeypatch.setattr("builtins.input", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setitem(fiasco.defaults, "hdf5_dbase_root", tmp_path / "none.h5")


@pytest.mark.usefixtures("without_database")
def test_a_missing_database_is_neither_asked_for_nor_downloaded():
    with pytest.raises(FileNotFoundError, match=r"`emissivity` 'fiasco' needs .*none\.h5'.*check_database"):
        TemperatureResponse.from_aia(171 * u.AA, emissivity="fiasco")


def test_a_database_without_those_abundances(fiasco, database, tmp_path, monkeypatch):
    import h5py

    path = tmp_path / "other.h5"
    path.write_bytes(database.read_bytes())
    with h5py.File(path, "a") as file:
        for element in ("h", "he", "fe"):
            del file[f"{element}/abundance/sun_coronal_1992_feldman_ext"]
    monkeypatch.setitem(fiasco.defaults, "hdf5_dbase_root", path)
    with pytest.raises(ValueError, match=r"needs a database with the abundances.*other\.h5' has them for 0 ions"):
        TemperatureResponse.from_aia(171 * u.AA, emissivity="fiasco")


@pytest.mark.usefixtures("installed")
def test_lines_of_fiasco():
    response = TemperatureResponse.from_lines(["Fe IX 171.073", "Fe 9 244.909", "Fe IX 171.07+244.91"])
    temperature = response.temperature.value
    expected = []
    for level in (1, 2):
        *_, line, rate = LEVELS["fe_9"][level]
        photons = abundance("Fe 9") * population("fe_9", level, temperature) * rate / (4 * np.pi)
        expected.append(photons * 1.98644586e-8 / line)
    expected.append(expected[0] + expected[1])
    np.testing.assert_allclose(response.response.to_value("erg cm3 / (s sr)"), expected, rtol=2e-4)
    assert response.meta["emissivity"] == "CHIANTI 9.0.1, Feldman 1992 coronal, 1e+15 K cm-3, of fiasco"
    dense = TemperatureResponse.from_lines("Fe IX 171.073", density=1e15 / 1e6 / u.cm**3)
    at = [1] * u.MK
    np.testing.assert_allclose(dense.at(at)[0], response.at(at)[0], rtol=2e-3)
    assert "1e+09 cm-3" in dense.meta["emissivity"]
    for line, words in (
        ("Fe IX 180.0", r"`lines`: Fe IX 180\.0 is no line of Fe 9 within .*; the nearest is at 171\.073 Angstrom"),
        ("Fe IX 171.07+171.08", "Fe IX 171.07.171.08 names one line of Fe 9 twice, at 171.08"),
        ("O VI 150.1", "`lines` names O 6, of which .* lacks data"),
    ):
        with pytest.raises(ValueError, match=words):
            TemperatureResponse.from_lines(line)


@pytest.mark.usefixtures("without_database")
def test_lines_without_a_database():
    with pytest.raises(FileNotFoundError, match=r"`lines` 'fiasco' needs .*none\.h5'.*check_database"):
        TemperatureResponse.from_lines("Fe IX 171.073")


@pytest.mark.usefixtures("installed")
def test_photospheric_abundances_that_the_database_lacks():
    with pytest.raises(ValueError, match=r"needs a database with the abundances 'sun_photospheric_2021_asplund'"):
        TemperatureResponse.from_aia(171 * u.AA, emissivity="fiasco", abundance="photospheric")


@pytest.mark.usefixtures("installed")
def test_photospheric_abundances_of_fiasco(fiasco, database, tmp_path, monkeypatch):
    import h5py

    path = tmp_path / "photospheric.h5"
    path.write_bytes(database.read_bytes())
    with h5py.File(path, "a") as file:
        for element in ("h", "he", "fe"):
            group = file[f"{element}/abundance"]
            group.copy("sun_coronal_1992_feldman_ext", "sun_photospheric_2015_scott")
            if element == "fe":
                group["sun_photospheric_2015_scott"][()] *= 0.25
    monkeypatch.setitem(fiasco.defaults, "hdf5_dbase_root", path)
    coronal = TemperatureResponse.from_lines("Fe IX 171.073")
    other = TemperatureResponse.from_lines("Fe IX 171.073", abundance="photospheric")
    np.testing.assert_allclose(other.response, 0.25 * coronal.response, rtol=1e-9)
    assert "Scott 2015 photospheric" in other.meta["emissivity"]


@pytest.mark.usefixtures("fiasco")
def test_the_import_asks_nobody_and_says_nothing():
    code = """
import socket
from concurrent.futures import ThreadPoolExecutor
def refuse(*args, **kwargs):
    print("tried to use the network")
socket.socket.connect = socket.getaddrinfo = refuse
from sunpy_demreg.response._fiasco import imported_fiasco
import requests
ask = requests.get
with ThreadPoolExecutor(3) as pool:
    [fiasco] = set(pool.map(lambda _: imported_fiasco(), range(3)))
assert requests.get is ask
print(fiasco.__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "fiasco\n"
