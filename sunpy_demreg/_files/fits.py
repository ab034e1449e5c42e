"""Results, and single cubes, as FITS files."""

import numpy as np

import astropy.units as u
from astropy.io import fits
from astropy.table import QTable
from astropy.time import Time
from astropy.wcs import WCS

from sunpy_demreg._common.dask_arrays import is_lazy
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.metadata import from_text, to_text, unit_name, warn_of_text
from sunpy_demreg._engines.base.status import Status
from sunpy_demreg._files.fits_stream import append_images, computed_images
from sunpy_demreg._files.parts import CARDS, VERSION, Parts, format_version, from_contents, to_contents
from sunpy_demreg._files.products import (
    PRODUCT,
    PRODUCT_VERSION,
    Product,
    expanded,
    from_product,
    name_axes,
    squeezed,
    to_product,
)
from sunpy_demreg._results.convert import as_computed
from sunpy_demreg._results.headers import dates_of, describe, with_dates
from sunpy_demreg._results.settings import meta_of_product

__all__ = ["from_file", "product_to_file", "to_file"]

#: Of numbers, but for bytes that stand for bools; those of the other outputs are floats.
_KINDS = {"status": "i", "omitted_channels": "u", "is_resolved": "b", "solved_on_gpu": "b"}
#: Entry of the metadata in a file: the dates of the coordinates, as those in the headers are of the observation.
_DATES = "dates_of_coordinates"


def to_file(result, encoding=None, file_name=""):
    """
    Return a function that writes the result to a path, and returns the statuses in it.

    The headers tell the name of the file, which may not be that of the path yet.
    """
    parts = to_contents(result, encoding)
    hdus = fits.HDUList([fits.PrimaryHDU()])
    primary = hdus[0].header
    primary["FORMAT"] = (f"sunpy_demreg {VERSION}", "read with sunpy_demreg.read")
    describe(primary, meta_of_product(result.meta))
    primary.update(_of_file(file_name))
    n_axes = parts.arrays["status"].ndim
    primary["DROPPED"] = (" ".join(str(n_axes - axis) for axis in parts.dropped), "axes that the result lacks")
    for keyword, key in CARDS.items():
        value = parts.meta[key]
        primary[keyword] = (value if isinstance(value, int | float) else str(value), key)
    primary["OUTPUTS"] = " ".join(parts.arrays)
    primary["MASKS"] = " ".join(parts.masks)
    images = [(name, array, parts.headers[name], parts.units[name]) for name, array in parts.arrays.items()]
    images += [(f"{name}_mask", mask, parts.headers[name], u.one) for name, mask in parts.masks.items()]
    lazy = []  # images to write block by block, with their headers
    for name, array, header, unit in images:
        if array.dtype == bool:  # which FITS does not know
            array = array.astype(np.uint8)
        hdu = _image(name, array, header, unit)
        hdu.header.update(_meaning_of_bits(name, parts.meta["channels"]))
        describe(hdu.header, result[name.removesuffix("_uncertainty").removesuffix("_mask")].meta or {})
        hdu.header.update(_kind_of_values(hdu.name))
        hdu.header.update(_of_file(file_name) | {"OBS_HDU": 1})
        name_axes(hdu.header)
        if is_lazy(array):
            lazy.append((hdu.header, array))
        else:
            hdus.append(hdu)
    labels = [label.encode("ascii", "backslashreplace") for label in parts.meta["channels"]]
    for name, columns in (
        ("TEMPERATURE_BIN_EDGES", {"edge": parts.edges}),
        ("CHANNELS", {"channel": labels, "coordinate": parts.coordinate}),
    ):
        hdus.append(_table(name, columns))
    hdus.append(_meta_table(parts.meta | {_DATES: dates_of(parts.headers["status"])}))

    def save(path):
        if path.suffix == ".gz":  # which can only be written sequentially
            whole = fits.HDUList([*hdus, *computed_images(lazy)])
            whole.writeto(path, checksum=True)
            return whole["STATUS"].data
        hdus.writeto(path, checksum=True)
        if not lazy:
            return parts.arrays["status"]
        append_images(path, lazy)
        with fits.open(path, memmap=True) as written:
            return np.array(written["STATUS"].data)

    return save


def product_to_file(cube, file_name):
    """
    Return a function that writes a single cube to a path: the image in the primary HDU, then what belongs to it.

    The header tells the name of the file, which may not be that of the path yet.
    """
    cube = as_computed(cube)
    arrays, header, axes, about = to_product(cube)
    if any(isinstance(values, Time) for values, *_ in axes):
        raise wrong(
            ValueError,
            "result",
            "is a series in time, but a FITS file holds one of its images, or the planes of one: write one of its "
            "steps, such as `cube[0]`, or all of them to a .zarr store",
        )
    hdus = fits.HDUList()
    for name, array in arrays.items():
        array = expanded(array, about)
        array = array.astype(np.uint8) if array.dtype == bool else np.array(array)
        hdus.append((fits.ImageHDU if hdus else fits.PrimaryHDU)(array, header.copy()))
        hdus[-1].header["EXTNAME"] = name.upper()
        hdus[-1].header.update(_kind_of_values(name.upper()))
    hdus += [_table(_axis(i), {"coordinate": values}) for i, (values, *_) in enumerate(axes)]
    hdus.append(_meta_table(about | {"dtype": str(cube.data.dtype)}))

    hdus[0].header.update(
        {
            "FORMAT": (f"{PRODUCT} {PRODUCT_VERSION}", "read with sunpy_demreg.read"),
            "OBS_HDU": 1,
            **_of_file(file_name),
        }
    )
    return lambda path: hdus.writeto(path, checksum=True)


def _of_file(name):
    """Cards that SOLARNET wants in every header."""
    return {
        "SOLARNET": (0.5, "partly"),
        "FILENAME": name,
        "DATE": (Time.now().utc.isot, "of this file"),
        "ORIGIN": "not stated",
    }


def _kind_of_values(hdu_name):
    """Cards of an image that belongs to another one."""
    if hdu_name.endswith("UNCERTAINTY"):
        return {"BTYPE": "standard deviation"}
    return {"BTYPE": "1 where there is no value", "BUNIT": ""} if hdu_name.endswith("MASK") else {}


def _product(hdus):
    """The single cube in a file whose checksums were verified."""
    about = _meta_of(hdus)
    types = {"IMAGE": about["dtype"], "UNCERTAINTY": float, "MASK": bool}
    arrays = {
        name.lower(): squeezed(np.array(hdus[name].data, dtype=dtype), about)
        for name, dtype in types.items()
        if name in hdus
    }
    axes = [(_quantity(hdus[_axis(i)], "coordinate"), *named) for i, named in enumerate(about["planes"])]
    return from_product(Product(arrays, hdus[0].header, axes, about))


def _axis(i):
    """Name of the table with the coordinate of an axis in front of the pixels."""
    return f"AXIS_{i + 1}" if i else "AXIS"


def from_file(path):
    """The result, or the single cube, in a file."""
    with fits.open(path, disable_image_compression=True) as hdus:
        found = hdus[0].header.get("FORMAT")
        is_product = str(found).startswith(PRODUCT)
        version = VERSION
        if is_product:
            format_version(found, PRODUCT, PRODUCT_VERSION)
        else:
            version = format_version(found)
        for hdu in hdus:
            found = {hdu.verify_checksum(), hdu.verify_datasum()}
            if 0 in found:
                raise ValueError(f"the checksum of {hdu.name} does not match")
            if 2 in found and version > 1:
                raise ValueError(f"{hdu.name} has no checksum")
        if is_product:
            return _product(hdus)
        names = hdus[0].header["OUTPUTS"].split()
        masks = hdus[0].header["MASKS"].split() if version > 1 else [n for n in names if f"{n}_MASK" in hdus]
        meta, header = _meta_of(hdus), hdus["STATUS"].header
        if _DATES in meta:
            header = with_dates(header, meta.pop(_DATES))
        n_axes = WCS(header).naxis
        return from_contents(
            Parts(
                arrays={name: _array(hdus[name.upper()], _KINDS.get(name, "f")) for name in names},
                masks={name: _array(hdus[f"{name}_MASK"], "b") for name in masks},
                headers={"status": header},
                units={
                    name: u.Unit(hdus[name.upper()].header["BUNIT"]) for name in names if name.endswith("intensity")
                },
                dropped=tuple(n_axes - int(axis) for axis in hdus[0].header["DROPPED"].split()),
                edges=_quantity(hdus["TEMPERATURE_BIN_EDGES"], "edge").to(u.K),
                coordinate=_quantity(hdus["CHANNELS"], "coordinate"),
                meta=meta,
            )
        )


def _table(name, columns):
    table = fits.table_to_hdu(QTable(columns))
    table.name = name
    return table


def _meta_table(meta):
    """Metadata as JSON, in lines of a table."""
    text, as_text = to_text(meta)
    warn_of_text(as_text)
    text = text.encode("ascii")
    return _table("META", {"json": [text[i : i + 80] for i in range(0, len(text), 80)]})


def _meta_of(hdus):
    text = np.asarray(hdus["META"].data)["json"].tobytes().replace(b"\0", b" ")  # FITS pads with either
    return from_text(text.decode("ascii"))


def _image(name, array, header, unit):
    # For a lazy array, a stand-in of its shape and type that takes no memory.
    array = np.broadcast_to(np.zeros((), array.dtype), array.shape) if is_lazy(array) else array.view()
    array.flags.writeable = False  # or astropy would swap the bytes of the caller's array, and swap them back later
    hdu = fits.ImageHDU(array, header.copy(), name=name.upper())
    hdu.header["BUNIT"] = unit_name(unit)
    return hdu


def _meaning_of_bits(name, channels):
    """Cards that tell what each bit of a value stands for."""
    if name == "status":
        unsolved = Status.UNSOLVED
        return {
            f"FLAG{bit.bit_length() - 1}": (bit.name, f"value & {bit:d}: {'no DEM' if bit & unsolved else 'a remark'}")
            for bit in Status
        }
    if name == "omitted_channels":
        labels = [label.encode("ascii", "backslashreplace").decode() for label in channels]
        return {f"FLAG{i}": (label, f"value & {1 << i}: left out") for i, label in enumerate(labels)}
    return {}


def _array(hdu, kind):
    if hdu.data.dtype.kind != kind.replace("b", "u"):
        raise ValueError(f"{hdu.name} has values of the type {hdu.data.dtype}")
    return np.array(hdu.data, dtype=bool if kind == "b" else hdu.data.dtype.newbyteorder("="))


def _quantity(hdu, name):
    # Plain columns: QTable.read would interpret the comments of the table.
    return u.Quantity(np.asarray(hdu.data)[name].ravel().astype(float), hdu.columns[name].unit or "")
