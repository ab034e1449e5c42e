"""Results, and single cubes, as ASDF files that ndcube alone can read: with FITS coordinates."""

import hashlib
import re

import numpy as np

from astropy.io import fits
from astropy.nddata import StdDevUncertainty
from astropy.time import Time
from astropy.wcs import WCS
from ndcube import NDCollection, NDCube

from sunpy_demreg import __version__
from sunpy_demreg._common.dask_arrays import computed
from sunpy_demreg._common.errors import imported, wrong
from sunpy_demreg._common.metadata import from_text, to_text, warn_of_text
from sunpy_demreg._files.parts import VERSION, Parts, format_version, from_contents, to_contents
from sunpy_demreg._files.products import (
    PRODUCT,
    PRODUCT_VERSION,
    Product,
    expanded,
    from_product,
    squeezed,
    to_product,
)
from sunpy_demreg._results.convert import as_computed

__all__ = ["from_file", "product_to_file", "to_file"]

_FIRST_BLOCK = b"\xd3BLK"  # marks the start of the binary blocks


def to_file(result, encoding=None, _=None):
    """Return a function that writes the result to a path, and returns the statuses in it."""
    _asdf()
    parts = to_contents(result, encoding)
    masks = {key: cube.mask for key, cube in result.items() if cube.mask is not None}
    # All at once: each block of Dask arrays is solved only once.
    values = iter(computed(*parts.arrays.values(), *masks.values()))
    arrays = {name: np.asarray(next(values)) for name in parts.arrays}
    masks = {key: np.asarray(next(values)) for key in masks}
    text, as_text = to_text(parts.meta)
    warn_of_text(as_text)
    cubes, n_pixel_axes = {}, parts.arrays["status"].ndim
    for key, cube in result.items():
        array, error = arrays[key], arrays.get(f"{key}_uncertainty")
        cubes[key] = NDCube(  # without our subclasses, which asdf cannot serialize
            array,
            WCS(parts.headers[key]),
            uncertainty=None if error is None else StdDevUncertainty(error, copy=False),
            mask=np.array(np.broadcast_to(masks[key], cube.data.shape)).reshape(array.shape) if key in masks else None,
            unit=parts.units[key],
        )
    aligned = tuple(tuple(range(cube.data.ndim - n_pixel_axes, cube.data.ndim)) for cube in cubes.values())
    tree = {
        "result": NDCollection(list(cubes.items()), aligned_axes=aligned),
        "temperature_bin_edges": parts.edges,
        "channel_coordinate": parts.coordinate,
        "dropped": list(parts.dropped),
        "meta": text,  # as JSON: YAML would not keep the order, nor all numbers
    }

    def save(path):
        _save(tree, f"sunpy_demreg {VERSION}", path)
        return arrays["status"]

    return save


def product_to_file(cube, _):
    """Return a function that writes a single cube to a path."""
    _asdf()
    arrays, header, axes, about = to_product(as_computed(cube))
    if any(isinstance(values, Time) for values, *_ in axes):
        raise wrong(
            ValueError,
            "result",
            "is a series in time, but an ASDF file holds one of its images, or the planes of one: write one of its "
            "steps, such as `cube[0]`, or all of them to a .zarr store",
        )
    arrays = {key: expanded(np.asarray(array), about) for key, array in arrays.items()}
    error, mask = arrays.get("uncertainty"), arrays.get("mask")
    text, as_text = to_text(about)
    warn_of_text(as_text)
    tree = {
        "cube": NDCube(
            arrays["image"],
            WCS(header),
            unit=cube.unit,
            uncertainty=None if error is None else StdDevUncertainty(error, copy=False),
            mask=None if mask is None else mask.copy(),
        ),
        "header": header.tostring(sep="\n", endcard=False, padding=False),
        "coordinates": {axis: values for values, axis, _ in axes},
        "meta": text,
    }
    return lambda path: _save(tree, f"{PRODUCT} {PRODUCT_VERSION}", path)


def _save(tree, form, path):
    tree = {"format": form, "sha256": 64 * "0", "creator": f"sunpy_demreg {__version__}"} | tree
    # Given a name, asdf would write to a temporary file of its own, and leave it behind when the disk is full.
    with open(path, "w+b") as file:
        _asdf().AsdfFile(tree).write_to(file, all_array_compression="zlib")
        file.seek(0)
        place, digest, _ = _digest(file)
        file.seek(place)
        file.write(digest)


def from_file(path):
    """The result, or the single cube, in a file."""
    asdf = _asdf()
    with asdf.open(path, lazy_load=False, memmap=False, validate_checksums=True) as file:
        tree = file.tree
        if str(tree.get("format")).startswith(PRODUCT):
            format_version(tree["format"], PRODUCT, PRODUCT_VERSION)
            _verify(path)
            return _product(tree)
        if format_version(tree.get("format")) > 1 or "sha256" in tree:
            _verify(path)
        cubes = tree["result"]
        arrays = {key: np.asarray(cube.data) for key, cube in cubes.items()}
        for key, cube in cubes.items():
            if cube.uncertainty is not None:
                arrays[f"{key}_uncertainty"] = np.asarray(cube.uncertainty.array)
        return from_contents(
            Parts(
                arrays=arrays,
                masks={key: np.asarray(cube.mask) for key, cube in cubes.items() if cube.mask is not None},
                headers={"status": cubes["status"].wcs.to_header(relax=True)},
                units={key: cube.unit for key, cube in cubes.items()},
                dropped=tuple(tree["dropped"]),
                edges=tree["temperature_bin_edges"],
                coordinate=tree["channel_coordinate"],
                meta=from_text(tree["meta"]),
            )
        )


def _product(tree):
    cube, about = tree["cube"], from_text(tree["meta"])
    error = None if cube.uncertainty is None else cube.uncertainty.array
    arrays = {"image": cube.data, "uncertainty": error, "mask": cube.mask}
    arrays = {key: squeezed(np.asarray(array), about) for key, array in arrays.items() if array is not None}
    axes = [(tree["coordinates"][name], name, kind) for name, kind in about["planes"]]
    return from_product(Product(arrays, fits.Header.fromstring(tree["header"], sep="\n"), axes, about))


def _verify(path):
    """Verify the checksum of the text; the arrays after it have their own."""
    with open(path, "rb") as file:
        _, digest, found = _digest(file)
    if digest != found:
        raise ValueError("the checksum of its text does not match")


def _digest(file):
    """Position of the checksum of the text in a file, its expected value, and its actual value."""
    text = b""
    while (end := text.find(_FIRST_BLOCK)) < 0 and (more := file.read(1 << 20)):
        text += more
    text = text[:end] if end >= 0 else text
    [match] = re.finditer(rb"^sha256: '?([0-9a-f]{64})'?$", text, flags=re.MULTILINE)
    start, stop = match.span(1)
    blank = text[:start] + 64 * b"0" + text[stop:]
    return start, hashlib.sha256(blank).hexdigest().encode(), match[1]


def _asdf():
    imported("asdf_astropy", "an ASDF file", "asdf")  # asdf finds its converters through entry points
    return imported("asdf", "an ASDF file", "asdf")
