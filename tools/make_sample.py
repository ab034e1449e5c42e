"""
Make the AIA sample of `sunpy_demreg.sample` again, from the data in the demregpy wheel.

Run ``python tools/make_sample.py`` in an environment that has demregpy 1.0.0 (MIT). The wheel carries
AIA data of the Joint Science Operations Center (JSOC): the six 1024 x 1024 level-1.5 synoptic maps of
2014-01-01 00:00 UT and level-1 cutouts of the flare of 2011-02-15. Written are, as tile-compressed FITS,

* a 128 x 128 cutout of each synoptic map: active regions at the east limb, their corona, and quiet Sun;
* the first two times of the flare cutouts, whole.

Nothing is lost: the values are multiples of 1/16 DN (means of 4 x 4 pixels) or whole DN, so they are
stored as scaled integers with lossless compression, which `main` verifies by reading each file back.
"""

from importlib.resources import as_file, files
from pathlib import Path

import numpy as np

from astropy.io import fits

OUTPUT = Path(__file__).parents[1] / "sunpy_demreg" / "sample" / "data"
CREDIT = "Courtesy of NASA/SDO and the AIA science team."

CORNER = (52, 368)  # x, y of the lower left pixel of the cutout in the synoptic maps
SIZE = 128
FLARE_TIMES = ("01-44", "01-46")

# Keywords that describe other pixels than those kept, or a file that no longer exists.
STALE = {"BLANK", "HISTORY", "COMMENT", "LONGSTRN", "HEADSUM", "TOTVALS", "MISSVALS", "PERCENTD"}
MISSING = -(2**31)  # how JSOC marks an integer without a value


def clean(header):
    """Copy a JSOC header without structural, stale and empty keywords, and add the credit."""
    kept = fits.Header()
    for card in header.copy(strip=True).cards:
        value = card.value
        empty = value in ("nan", "", MISSING) or isinstance(value, fits.card.Undefined)
        if not (empty or card.keyword in STALE or card.keyword.startswith("DATA")):
            kept.append(card)
    kept.add_comment(CREDIT)
    return kept


def write(path, data, header, step):
    """Store `data`, whole multiples of `step`, as compressed integers and check that none changed."""
    # A copy, because astropy scales in place.
    hdu = fits.CompImageHDU(data.copy(), header, compression_type="RICE_1", tile_shape=data.shape)
    hdu.scale("int32", bscale=step)
    hdu.writeto(path, overwrite=True)
    if not np.array_equal(fits.getdata(path), data):
        raise RuntimeError(f"{path.name} does not hold the values it was made from")


def read(path):
    """Read an image and its header, cleaned."""
    data, header = fits.getdata(path, header=True)
    return data.astype(float), clean(header)


def cut(data, header, corner, size):
    """Cut a square out of an image, with its header."""
    x, y = corner
    header["CRPIX1"] -= x
    header["CRPIX2"] -= y
    return data[y : y + size, x : x + size], header


def main():
    """Write the files, and say how large they are."""
    with as_file(files("demregpy") / "tests" / "data") as source:
        for path in sorted((source / "aia").glob("*.fits")):
            data, header = cut(*read(path), CORNER, SIZE)
            write(OUTPUT / path.name.replace("synoptic_", ""), data, header, 1 / 16)
        for time in FLARE_TIMES:
            for path in sorted((source / "aia_flare").glob(f"*T{time}-*.fits")):
                channel = path.stem.rpartition("_")[2]
                write(OUTPUT / f"aia_flare_2011-02-15T{time}_{channel}.fits", *read(path), 1)
    sizes = {path.name: path.stat().st_size for path in sorted(OUTPUT.glob("*.fits"))}
    print(*(f"{size:7d} {name}" for name, size in sizes.items()), f"{sum(sizes.values()):7d} in all", sep="\n")


if __name__ == "__main__":
    main()
