"""Make the data of `sunpy_demreg.response` again: run ``python tools/make_response_data.py``.

It needs pyeuvtools 0.2.1 (MIT) and SciPy in the environment: the wheel carries the AIA instrument components
of SolarSoft and the CHIANTI spectra that SolarSoft folds them with. The correction table is taken out of the
source distribution of aiapy 0.4.0 (BSD), which pip downloads; it is in no wheel.
"""

import hashlib
import subprocess
import sys
import tarfile
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
from scipy.io import readsav

from astropy.io import fits

OUTPUT = Path(__file__).parents[1] / "sunpy_demreg" / "response" / "data"

EXPORT = "data/aia/genx-exports/aia_V9/aia_hybrid_genx_export_v1.sav"
CHIANTIFIX = "data/aia/chiantifix-exports/aia_V9/aia_chiantifix_export_v1.sav"
CHANNELS = (94, 131, 171, 193, 211, 304, 335)
COMPONENTS = ("PRIMARY", "SECONDARY", "ENT_FILTER", "FP_FILTER", "CCD", "CONTAM")
SCALARS = ("GEOAREA", "PLATESCALE", "ELECPERDN", "ELECPEREV")
WAVE = (25.0, 900.0, 0.1)  # Angstrom: first, last, step, of the instrument components
LOG_T = (4.0, 9.0, 0.05)
# Bits kept of the mantissas of the spectra: errors up to 1.5e-5, at 60 % of the size of all 24.
MANTISSA = 16

TABLE_SDIST = "aiapy==0.4.0"
TABLE = "aia_V10_20201023_180000_response_table.txt"
TABLE_SHA256 = "e84fca736bd757a9c9b46593a9d4089aceff312fd9299ee8d928f2773380b820"


def grid(first, last, step):
    return first + step * np.arange(round((last - first) / step) + 1)


def rounded(values, bits):
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.round(np.ldexp(mantissa, bits)), exponent - bits)


def image(values, name, cards):
    """A losslessly compressed image, in one tile; GZIP_2 compresses the bytes of like weight together."""
    hdu = fits.CompImageHDU(
        values.astype(">f4"), name=name, compression_type="GZIP_2", quantize_level=0, tile_shape=values.shape
    )
    hdu.header.update({"CTYPE1": "WAVE", "CUNIT1": "Angstrom", "CRPIX1": 1.0, "CRVAL1": WAVE[0], "CDELT1": WAVE[2]})
    hdu.header.update(cards)
    return hdu


def write(name, *hdus):
    path = OUTPUT / name
    # gzip stamps the time on each tile: stop the clock, so that the same data give the same bytes.
    with patch("time.time", return_value=0):
        fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path, overwrite=True)
    print(f"{path.name}: {path.stat().st_size} bytes")


def make_instrument(export):
    channels = [export[f"A{channel}"][0] for channel in CHANNELS]
    for channel in channels:
        np.testing.assert_allclose(channel["WAVE"], grid(*WAVE), rtol=1e-6)
    components = np.array([[channel[name] for name in COMPONENTS] for channel in channels])
    cards = {
        "CTYPE2": "COMPONENT",
        "NAMES2": ",".join(COMPONENTS),
        "CTYPE3": "CHANNEL",
        "SOURCE": "aia_V9_all_fullinst.genx of SolarSoft, from pyeuvtools 0.2.1",
    }
    columns = [fits.Column("CHANNEL", "J", unit="Angstrom", array=CHANNELS)]
    for name, unit in zip(SCALARS, ("cm2", "sr / pixel", "electron / adu", "electron / eV"), strict=True):
        columns.append(fits.Column(name, "D", unit=unit, array=[channel[name] for channel in channels]))
    table = fits.BinTableHDU.from_columns(columns, name="CHANNELS")
    write("aia_instrument.fits", image(components, "COMPONENTS", cards), table)


def make_emissivity(export):
    first = np.argmin(np.abs(export["EMISS_WAVE"] - WAVE[0]))
    wave = slice(first, first + grid(*WAVE).size)
    np.testing.assert_allclose(export["EMISS_WAVE"][wave], grid(*WAVE), rtol=1e-6)
    np.testing.assert_allclose(export["EMISS_LOGTE"], grid(*LOG_T), rtol=1e-6)
    cards = {
        "CTYPE2": "LOG10(T/K)",
        "CRPIX2": 1.0,
        "CRVAL2": LOG_T[0],
        "CDELT2": LOG_T[2],
        "BUNIT": "photon cm3 s-1 sr-1 Angstrom-1",
        "SOURCE": f"CHIANTI {export['EMISS_VERSION_NAME'].decode()}, Feldman 1992 coronal, 1e15 K cm-3",
        "ABUNDANC": export["ABUNDFILE"].decode().rpartition("/")[2],
        "IONEQ": export["IONEQ_NAME"].decode().rpartition("/")[2],
        "PRESSURE": (1e15, "K cm-3, of the electrons"),
        "FILE": ("aia_V9_fullemiss.genx", "of SolarSoft, from pyeuvtools 0.2.1"),
    }
    spectra = rounded(export["EMISSIVITY"][:, wave].astype(float), MANTISSA)
    write("chianti_emissivity.fits", image(spectra, "EMISSIVITY", cards))


def make_chiantifix(export):
    correction = export["EMPIRICAL_MINUS_RAW"].astype(float)
    np.testing.assert_allclose(export["LOGTE"], grid(*LOG_T), rtol=1e-6)
    if export["CHANNELS"][0] != b"A94" or np.any(correction[1:]):
        raise RuntimeError("the correction is not of 94 Angstrom alone")
    hdu = fits.ImageHDU(correction[0].astype(">f4"), name="A94")
    cards = {
        "CTYPE1": "LOG10(T/K)",
        "CRPIX1": 1.0,
        "CRVAL1": LOG_T[0],
        "CDELT1": LOG_T[2],
        "BUNIT": "DN cm5 s-1 pix-1",
        "SOURCE": "aia_V9_chiantifix.genx of SolarSoft, from pyeuvtools 0.2.1",
    }
    hdu.header.update(cards)
    write("aia_chiantifix.fits", hdu)


def make_correction_table():
    with TemporaryDirectory() as folder:
        download = ["-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest"]
        subprocess.run([sys.executable, *download, folder, TABLE_SDIST], check=True)
        [sdist] = Path(folder).iterdir()
        with tarfile.open(sdist) as archive:
            content = archive.extractfile(f"{TABLE_SDIST.replace('==', '-')}/joss/{TABLE}").read()
    if hashlib.sha256(content).hexdigest() != TABLE_SHA256:
        raise RuntimeError(f"{TABLE} is not the file that it was")
    (OUTPUT / TABLE).write_bytes(content)


if __name__ == "__main__":
    OUTPUT.mkdir(exist_ok=True)
    with as_file(files("pyeuvtools") / EXPORT) as path:
        export = readsav(path)["hybrid_export"][0]
    make_instrument(export)
    make_emissivity(export)
    with as_file(files("pyeuvtools") / CHIANTIFIX) as path:
        make_chiantifix(readsav(path)["chiantifix_export"][0])
    make_correction_table()
