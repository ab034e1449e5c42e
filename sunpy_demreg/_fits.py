"""Results as FITS files."""

import numpy as np

import astropy.units as u
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS

from sunpy_demreg import __version__
from sunpy_demreg._metadata import from_text, to_text, warn_of_text
from sunpy_demreg._parts import CARDS, FORMAT, Parts, put_together, take_apart, unit_name

__all__ = ["from_file", "to_file"]


def to_file(result):
    """A function that writes the result to a path."""
    parts = take_apart(result)
    hdus = fits.HDUList([fits.PrimaryHDU()])
    primary = hdus[0].header
    primary["FORMAT"] = (FORMAT, "read with sunpy_demreg.read")
    primary["CREATOR"] = f"sunpy_demreg {__version__}"
    n_axes = parts.arrays["status"].ndim
    primary["DROPPED"] = (" ".join(str(n_axes - axis) for axis in parts.dropped), "axes that the result lacks")
    for keyword, key in CARDS.items():
        value = parts.meta[key]
        primary[keyword] = (value if isinstance(value, int | float) else str(value), key)
    primary["OUTPUTS"] = " ".join(parts.arrays)
    for name, array in parts.arrays.items():
        hdus.append(_image(name, array, parts.headers[name], parts.units[name]))
    for name, mask in parts.masks.items():
        hdus.append(_image(f"{name}_mask", mask.astype(np.uint8), parts.headers[name], u.one))
    text, as_text = to_text(parts.meta)
    warn_of_text(as_text, stacklevel=4)
    text = text.encode("ascii")
    labels = [label.encode("ascii", "backslashreplace") for label in parts.meta["channels"]]
    for name, columns in (
        ("TEMPERATURE_BIN_EDGES", {"edge": parts.edges}),
        ("CHANNELS", {"channel": labels, "coordinate": parts.coordinate}),
        ("META", {"json": [text[i : i + 80] for i in range(0, len(text), 80)]}),
    ):
        hdus.append(fits.table_to_hdu(QTable(columns)))
        hdus[-1].name = name
    return lambda path: hdus.writeto(path, checksum=True)


def from_file(path):
    """The result in a file."""
    with fits.open(path, disable_image_compression=True) as hdus:
        if (found := hdus[0].header.get("FORMAT")) != FORMAT:
            raise ValueError(f"its card FORMAT is {found!r}, not {FORMAT!r}")
        for hdu in hdus:
            if hdu.verify_checksum() == 0:
                raise ValueError(f"the checksum of {hdu.name} does not match")
        names = hdus[0].header["OUTPUTS"].split()
        text = np.asarray(hdus["META"].data)["json"].tobytes().replace(b"\0", b" ")  # FITS pads with either
        header = hdus["STATUS"].header
        n_axes = WCS(header).naxis
        return put_together(
            Parts(
                arrays={name: _array(hdus[name.upper()], "i" if name == "status" else "f") for name in names},
                masks={name: _array(hdus[f"{name}_MASK"], "u") != 0 for name in names if f"{name}_MASK" in hdus},
                headers={"status": header},
                units={
                    name: u.Unit(hdus[name.upper()].header["BUNIT"]) for name in names if name.endswith("intensity")
                },
                dropped=tuple(n_axes - int(axis) for axis in hdus[0].header["DROPPED"].split()),
                edges=_quantity(hdus["TEMPERATURE_BIN_EDGES"], "edge").to(u.K),
                coordinate=_quantity(hdus["CHANNELS"], "coordinate"),
                meta=from_text(text.decode("ascii")),
            )
        )


def _image(name, array, header, unit):
    array = array.view()
    array.flags.writeable = False  # or astropy swaps the bytes of the caller's array, and swaps them back later
    hdu = fits.ImageHDU(array, header.copy(), name=name.upper())
    hdu.header["BUNIT"] = unit_name(unit)
    return hdu


def _array(hdu, kind):
    if hdu.data.dtype.kind != kind:
        raise ValueError(f"{hdu.name} has values of the type {hdu.data.dtype}")
    return np.array(hdu.data, dtype=hdu.data.dtype.newbyteorder("="))


def _quantity(hdu, name):
    # The numbers as they are: QTable.read would run what the comments of the table say.
    return u.Quantity(np.asarray(hdu.data)[name].ravel().astype(float), hdu.columns[name].unit or "")
