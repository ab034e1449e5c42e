"""Results to and from files. The formats are in `_fits` and `_asdf`; here is what all files have in common."""

import os
import secrets
import shutil
from pathlib import Path

__all__ = ["read", "write"]

_ENDINGS = (".fits", ".fits.gz", ".asdf", ".zarr")


def write(result, path, *, overwrite=False):
    """
    Write a result to a FITS or ASDF file, or to a Zarr store.

    Parameters
    ----------
    result : `ndcube.NDCollection`
        From `sunpy_demreg.invert`; it may be sliced along the pixel axes.
    path : path-like
        Ends in ``.fits``, in ``.fits.gz`` for a compressed FITS file, in ``.asdf``, or in ``.zarr`` for a Zarr store.
    overwrite : `bool`, optional
        Whether to replace a file that exists. Its permissions are kept, and of a link the target is replaced.

    Raises
    ------
    FileExistsError, FileNotFoundError, IsADirectoryError
        If the file exists and is to be kept, its folder does not exist, or ``path`` is a folder.
    ImportError
        If an ASDF file is asked for without the package asdf-astropy.
    PermissionError
        If the folder cannot be written to.
    TypeError, ValueError
        If ``result`` is not what `sunpy_demreg.invert` returns, its coordinates are of a kind that the file cannot
        hold, or the name has another ending.

    Warns
    -----
    sunpy.util.exceptions.SunpyUserWarning
        If the metadata hold anything but numbers, text, dates, quantities, arrays, and collections of these:
        of such values only the text is written. (Subclasses of Quantity, such as Angle, come back as Quantity.)

    Notes
    -----
    **FITS.** Every output has its own image extension (``DEM``, ``DEM_UNCERTAINTY``, ``TEMPERATURE_RESOLUTION``,
    ``CHI_SQUARED``, ``PREDICTED_INTENSITY``, ``REGULARIZATION_PARAMETER``, ``INTENSITY``, ``INTENSITY_UNCERTAINTY``,
    ``STATUS``, and others if there) with the celestial coordinates of the image and the unit of the values; bins that
    are even in log T are an axis ``TEMP-LOG`` in K, others are numbered. A mask that was changed after the inversion
    has one too, such as ``DEM_MASK``. The tables ``TEMPERATURE_BIN_EDGES``, ``CHANNELS`` and ``META`` (the metadata,
    as JSON) complete it. A pixel axis that was dropped, as by ``result[5]``, has the length one in the file.

    **ASDF.** The cubes are an `ndcube.NDCollection` as ndcube itself writes them, with the coordinates of the FITS
    file: with ndcube and asdf-astropy, but without this package, ``asdf.open(path)["result"]`` is that collection.
    ``["temperature_bin_edges"]`` and ``["meta"]``, as JSON, are beside it. The arrays are compressed, without loss.

    With m temperature bins and n channels a file takes ``8 (3 m + 3 n + 3)`` bytes per pixel: 1.1 GB for 1024 x 1024
    pixels, 36 bins and 6 channels; about half of that with ``dtype="float32"``. The name ``.fits.gz`` compresses it,
    without loss. Of Dask arrays a FITS file holds, instead of the checksum of a whole image extension, that of its
    data.

    **Zarr.** A store is a folder of compressed chunks, 256 x 256 pixels each, with all temperatures. It needs the
    ``batch`` extra, is the only format for a series in time, and is written and read block by block, so neither
    needs memory for the whole of a result that holds Dask arrays. Each output is an array named as above, in lower
    case, with its axes by name and its ``units``; "temperature", "temperature_edge", "channel" and "time" are
    coordinates; the coordinates of the image are a FITS header in the attribute ``wcs``, one card per line. So
    xarray opens it too, ``xarray.open_zarr(path, consolidated=False)``.
    """
    path = Path(path).expanduser()
    if path.is_dir() and path.suffix != ".zarr":
        raise IsADirectoryError(f"`path` {str(path)!r} is a folder: name a file in it")
    if not path.name.endswith(_ENDINGS):
        raise ValueError(f"`path` must end in {', '.join(_ENDINGS[:-1])} or {_ENDINGS[-1]}, but is {path.name!r}")
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(f"`path` names the folder {str(target.parent)!r}, which does not exist: make it first")
    if target.exists() and not overwrite:
        raise FileExistsError(f"`path` {str(path)!r} exists: choose another name, or pass overwrite=True")
    if path.suffix == ".zarr":
        return _write_store(result, target)
    file = _format(path).to_file(result)
    # A file that is written halfway must not carry the name: it is moved there when it is complete.
    part = target.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        file(part)
        if not overwrite:
            target.touch(exist_ok=False)  # claims the name, or raises if another program was faster
        elif target.exists():
            shutil.copymode(target, part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def read(path):
    """
    Read a result that `write` wrote. Nothing in the file is run, wherever it comes from.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    `ndcube.NDCollection`
        As from `sunpy_demreg.invert`. That of a Zarr store holds Dask arrays.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If it is an ASDF file and the package asdf-astropy is not installed.
    ValueError
        If it is not a result of this package, or is damaged: every checksum is verified, that of a chunk of a Zarr
        store when it is loaded.
    """
    path = Path(path).expanduser()
    try:
        if path.suffix == ".zarr" and path.is_dir():
            from sunpy_demreg._zarr import read_store

            return read_store(path)
        return _format(path).from_file(path)
    except (FileNotFoundError, IsADirectoryError, PermissionError, MemoryError, ImportError):
        raise
    except Exception as err:  # damage shows in as many ways as there are bytes
        raise ValueError(
            f"`path` {str(path)!r} is not a result that sunpy_demreg.write wrote, or is damaged "
            f"({type(err).__name__}: {err})"
        ) from err


def _write_store(result, target):
    import dask

    from sunpy_demreg._parts import check_is_result
    from sunpy_demreg._zarr import create, store

    check_is_result(result)
    part = target.with_name(f".{secrets.token_hex(4)}.{target.name}")
    try:
        dask.compute(*store(create(part, result), result))
        if target.exists():
            old = part.with_suffix(".old")
            target.replace(old)
            part.replace(target)
            shutil.rmtree(old)
        else:
            part.replace(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _format(path):
    """The module for that kind of file."""
    if path.name.endswith(".asdf"):
        from sunpy_demreg import _asdf

        return _asdf
    from sunpy_demreg import _fits

    return _fits
