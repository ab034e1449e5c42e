"""Images written into a FITS file block by block."""

import dask.array as da
import numpy as np
import pytest

from astropy.io import fits

from sunpy_demreg._files.fits_stream import _with_checksums, append_images


@pytest.mark.parametrize(
    ("kind", "shape", "chunks"),
    [
        ("float64", (3, 8, 7), (3, 4, 3)),
        ("float32", (3, 5, 7), (3, 5, 2)),
        ("int32", (9, 7), (4, 3)),
        ("float64", (23,), (5,)),
        ("float32", (3, 23), (3, 5)),
        ("float32", (2, 3, 4, 10, 7), (1, 3, 2, 5, 3)),
        ("uint16", (9, 7), (4, 3)),
        # Pieces that begin and end within a word of the checksum.
        ("uint8", (6, 8, 12), (6, 4, 6)),
        ("uint8", (6, 13, 11), (6, 5, 7)),
    ],
)
def test_values_and_checksum(tmp_path, kind, shape, chunks):
    path = tmp_path / "a.fits"
    fits.HDUList([fits.PrimaryHDU()]).writeto(path)
    array = np.random.default_rng(0).integers(0, 200, shape).astype(kind)
    append_images(path, [(fits.ImageHDU(array, name="A").header, da.from_array(array, chunks=chunks))])
    with fits.open(path) as hdus:
        assert hdus[1].verify_datasum() == hdus[1].verify_checksum() == 1
        assert hdus[1].data.dtype.kind == array.dtype.kind
        np.testing.assert_array_equal(hdus[1].data, array)


@pytest.mark.parametrize("n", range(20))
def test_checksum_of_a_header_is_as_astropy_computes_it(n):
    data = np.random.default_rng(n).integers(0, 255, n).astype("uint8")
    hdu = fits.ImageHDU(data, name=f"A{n * n}")
    hdu.header["NOISE"] = n**0.5
    hdu.add_checksum(when="today", checksum_keyword="CHECKSUM")
    header = hdu.header.copy()
    header["CHECKSUM"], header["DATASUM"] = 16 * "0", "0"
    assert _with_checksums(header, int(hdu.header["DATASUM"])).decode("ascii") == hdu.header.tostring()
