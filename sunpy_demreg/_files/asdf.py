"""Results as ASDF files that ndcube alone can read: an NDCollection with FITS coordinates."""

import hashlib
import re

import numpy as np

from astropy.nddata import StdDevUncertainty
from astropy.wcs import WCS
from ndcube import NDCollection, NDCube

from sunpy_demreg import __version__
from sunpy_demreg._common.errors import imported
from sunpy_demreg._common.metadata import from_text, to_text, warn_of_text
from sunpy_demreg._files.parts import VERSION, Parts, format_version, from_contents, to_contents

__all__ = ["from_file", "to_file"]

_FIRST_BLOCK = b"\xd3BLK"  # marks the start of the binary blocks


def to_file(result, encoding=None):
    """Return a function that writes the result to a path, and returns the statuses in it."""
    asdf = _asdf()
    parts = to_contents(result, encoding)
    arrays = {name: np.asarray(array) for name, array in parts.arrays.items()}
    text, as_text = to_text(parts.meta)
    warn_of_text(as_text)
    cubes, n_pixel_axes = {}, parts.arrays["status"].ndim
    for key, cube in result.items():
        array, error = arrays[key], arrays.get(f"{key}_uncertainty")
        cubes[key] = NDCube(  # without our subclasses, which asdf cannot serialize
            array,
            WCS(parts.headers[key]),
            uncertainty=None if error is None else StdDevUncertainty(error, copy=False),
            mask=None
            if cube.mask is None
            else np.array(np.broadcast_to(cube.mask, cube.data.shape)).reshape(array.shape),
            unit=parts.units[key],
        )
    aligned = tuple(tuple(range(cube.data.ndim - n_pixel_axes, cube.data.ndim)) for cube in cubes.values())
    tree = {
        "format": f"sunpy_demreg {VERSION}",
        "sha256": 64 * "0",
        "creator": f"sunpy_demreg {__version__}",
        "result": NDCollection(list(cubes.items()), aligned_axes=aligned),
        "temperature_bin_edges": parts.edges,
        "channel_coordinate": parts.coordinate,
        "dropped": list(parts.dropped),
        "meta": text,  # as JSON: YAML would not keep the order, nor all numbers
    }

    def save(path):
        # Given a name, asdf would write to a temporary file of its own, and leave it behind when the disk is full.
        with open(path, "w+b") as file:
            asdf.AsdfFile(tree).write_to(file, all_array_compression="zlib")
            file.seek(0)
            place, digest, _ = _digest(file)
            file.seek(place)
            file.write(digest)
        return arrays["status"]

    return save


def from_file(path):
    """The result in a file."""
    asdf = _asdf()
    with asdf.open(path, lazy_load=False, memmap=False, validate_checksums=True) as file:
        tree = file.tree
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
