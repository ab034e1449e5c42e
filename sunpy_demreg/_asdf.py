"""Results as ASDF files, which ndcube alone can read: its collections, with the coordinates of FITS."""

import numpy as np

from astropy.nddata import StdDevUncertainty
from astropy.wcs import WCS
from ndcube import NDCollection, NDCube

from sunpy_demreg import __version__
from sunpy_demreg._metadata import from_text, to_text, warn_of_text
from sunpy_demreg._parts import FORMAT, Parts, put_together, take_apart

__all__ = ["from_file", "to_file"]


def to_file(result):
    """A function that writes the result to a path."""
    asdf = _asdf()
    parts = take_apart(result)
    text, as_text = to_text(parts.meta)
    warn_of_text(as_text, stacklevel=4)
    cubes, n_pixel_axes = {}, parts.arrays["status"].ndim
    for key, cube in result.items():
        array, error = parts.arrays[key], parts.arrays.get(f"{key}_uncertainty")
        cubes[key] = NDCube(
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
        "format": FORMAT,
        "creator": f"sunpy_demreg {__version__}",
        "result": NDCollection(list(cubes.items()), aligned_axes=aligned),
        "temperature_bin_edges": parts.edges,
        "channel_coordinate": parts.coordinate,
        "dropped": list(parts.dropped),
        "meta": text,  # as JSON: YAML would not keep the order, nor all numbers
    }
    return lambda path: asdf.AsdfFile(tree).write_to(path, all_array_compression="zlib")


def from_file(path):
    """The result in a file."""
    asdf = _asdf()
    with asdf.open(path, lazy_load=False, memmap=False, validate_checksums=True) as file:
        tree = file.tree
        if (found := tree.get("format")) != FORMAT:
            raise ValueError(f"its format is {found!r}, not {FORMAT!r}")
        cubes = tree["result"]
        arrays = {key: np.asarray(cube.data) for key, cube in cubes.items()}
        for key, cube in cubes.items():
            if cube.uncertainty is not None:
                arrays[f"{key}_uncertainty"] = np.asarray(cube.uncertainty.array)
        return put_together(
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


def _asdf():
    try:
        import asdf_astropy  # noqa: F401 (asdf finds its converters by their entry points)

        import asdf
    except ImportError as err:
        raise ImportError("ASDF files need asdf-astropy: install sunpy-demreg[asdf]") from err
    return asdf
