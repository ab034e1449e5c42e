"""Read and write results: what all formats have in common."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

from astropy.table import Table
from ndcube import NDCube

from sunpy_demreg._common.atomic import replaced
from sunpy_demreg._common.dask_arrays import is_lazy
from sunpy_demreg._common.errors import imported, wrong
from sunpy_demreg._common.urls import Url, local_copy
from sunpy_demreg._common.validators import as_bool, as_path
from sunpy_demreg._files.encodings import check_encoding
from sunpy_demreg._files.inputs import check_contents, inputs_of
from sunpy_demreg._files.parts import NewerFormat
from sunpy_demreg._results.unsolved import counts_of, warn_of_unsolved

if TYPE_CHECKING:
    from ndcube import NDCollection

    from sunpy_demreg._common.typing import FilePath

__all__ = ["read", "write"]

_ENDINGS = (".fits", ".fits.gz", ".asdf", ".zarr")


def write(
    result: NDCollection | NDCube,
    path: FilePath,
    *,
    overwrite: bool = False,
    encoding: Literal["float32", "bitround", "log"] | None = None,
    contents: Literal["result", "inputs"] = "result",
) -> None:
    """
    Write a result, or a product of it, to a FITS or ASDF file, or to a Zarr store.

    Parameters
    ----------
    result : `ndcube.NDCollection` or `ndcube.NDCube`
        From `sunpy_demreg.invert`; it may be sliced along the pixel axes. Or a cube that `emission_measure`,
        `mean_temperature`, `thermal_energy_density` or `synthesize` returns, or one of the cubes of a result, or a cube
        of intensities, as from `prepare`.
    path : path-like or URL
        Ends in ``.fits``, in ``.fits.gz`` for a compressed FITS file, in ``.asdf``, or in ``.zarr`` for a Zarr store.
    overwrite : `bool`, optional
        Whether to replace an existing file of this name, whatever its content. A folder is replaced only if it is a
        Zarr store that this function or `batch_invert` wrote and nothing else is in it. On any error the old one is
        kept. Of a link the target is replaced; permissions are kept. A store at a URL is never replaced.
    encoding : {"float32", "bitround", "log"}, optional
        Smaller numbers, which `read` returns as they are stored. ``"float32"`` stores all values in this type.
        ``"bitround"`` rounds them, in this type, to the bits that the noise leaves: no value changes by more than a
        tenth of the median relative error of its output (of intensities, that of the best channel), nor an error by
        more than 1.6 %; so they are compressed to a third, in a ``.zarr`` store or ``.fits.gz`` file. ``"log"`` stores
        whole hundredths of the decimal logarithm, an error of at most 1.2 %, with the sign, zero and NaN; only for
        ``.zarr``. By default nothing is changed. See :doc:`/large` for what is lost, and how many bytes are left.
    contents : {"result", "inputs"}, optional
        ``"inputs"`` stores, in a ``.zarr`` store, the intensities and their uncertainties, rounded to float32, with λ,
        the status and all settings: some 40 bytes per pixel. `read` then returns a lazy result with the same outputs,
        which are computed from these, block by block, when they are needed. Its values are those of the rounded
        intensities and uncertainties (with a ``calibration_error`` in them), as of `batch_invert`, which rounds
        before it inverts.

    Raises
    ------
    FileExistsError, FileNotFoundError, IsADirectoryError
        If the file exists and is to be kept, its folder does not exist, or ``path`` is a folder.
    NotADirectoryError
        If the name of a Zarr store is that of a file.
    OSError
        If the disk is full; nothing is written then.
    ImportError
        If an ASDF file is asked for without the package asdf-astropy.
    PermissionError
        If the folder cannot be written to.
    TypeError, ValueError
        If ``result`` is not what `sunpy_demreg.invert` returns, its coordinates are of a kind that the file cannot
        hold, or the name has another ending.

    Warns
    -----
    UnsolvedWarning
        If pixels of a result that holds Dask arrays were not solved, or many do not fit, as `invert` warns of one in
        memory.
    MetadataWarning
        If the metadata hold anything but numbers, text, dates, quantities, arrays, and collections of these:
        of such values only the text is written. (Subclasses of Quantity, such as Angle, come back as Quantity.)

    Notes
    -----
    **FITS.** Every output has its own image extension (``DEM``, ``DEM_UNCERTAINTY``, ``TEMPERATURE_RESOLUTION``,
    ``CHI_SQUARED``, ``PREDICTED_INTENSITY``, ``REGULARIZATION_PARAMETER``, ``INTENSITY``, ``INTENSITY_UNCERTAINTY``,
    ``STATUS``, and others if there) with the celestial coordinates of the image and the unit of the values; bins that
    are even in log T are an axis ``TEMP-LOG`` in K, others are numbered. A mask that was changed after the inversion
    has one too, such as ``DEM_MASK``. Each of these headers says what its values are, of which instrument and time,
    and with which settings, as those of products do, see there. The tables ``TEMPERATURE_BIN_EDGES``, ``CHANNELS`` and
    ``META`` (the metadata, as JSON) complete it. A pixel axis that was dropped, as by ``result[5]``, has the length one
    in the file.

    **Products.** Of a cube in a FITS file, the primary HDU holds the values, so that any program shows them, and the
    extensions ``UNCERTAINTY`` and ``MASK`` its errors and where it has no value; the table ``META`` completes it, and
    ``AXIS`` has the coordinate of the planes where it has several. The header follows the recommendations of SOLARNET:
    TELESCOP, INSTRUME, DATE-BEG, DATE-AVG and DATE-END of all channels, LEVEL, BTYPE and CONTENT with the temperature
    range, coordinates in arcsec, CREATOR, and the settings of the inversion in PRPARA1. In DATE-OBS is the mean of the
    channels. ``sunpy.map.Map(path)`` makes a map of each of these HDUs, and so returns a list, with the values first;
    ``to_map(read(path))`` is one map with error and mask. In an ASDF file ``["cube"]`` is an `ndcube.NDCube`,
    ``["header"]`` the same header, a card a line, and ``["coordinates"]`` has those of the planes. A Zarr store has the
    arrays "image", "uncertainty" and "mask", those of the coordinates, and this header in its attribute ``wcs``; it
    alone holds a cube of many times.

    **ASDF.** The cubes are an `ndcube.NDCollection` as ndcube itself writes them, with the coordinates of the FITS
    file: with ndcube and asdf-astropy, but without this package, ``asdf.open(path)["result"]`` is that collection.
    ``["temperature_bin_edges"]`` and ``["meta"]``, as JSON, are beside it. The arrays are compressed, without loss.

    With m temperature bins and n channels a file takes ``8 (3 m + 3 n + 3)`` bytes per pixel: 1.1 GB for 1024 x 1024
    pixels, 36 bins and 6 channels; about half of that with ``dtype="float32"``. The name ``.fits.gz`` compresses it,
    without loss.

    **Zarr.** A store holds compressed chunks, 256 x 256 pixels each, with all temperatures; up to 256 of them, a
    full disk, are a shard: one file, from which each can be read alone. It is the only format for a series in time,
    and is written and read block by block, so neither needs memory for the whole of a result that holds Dask arrays.
    Each output is an array named as above, in lower case, with its axes by name and its ``units``; "temperature",
    "temperature_edge", "channel" and "time" are coordinates; the coordinates of the image are a FITS header in the
    attribute ``wcs``, one card per line. So xarray opens it too, ``xarray.open_zarr(path, consolidated=False)``.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import astropy.units as u
    >>> import numpy as np
    >>> import sunpy_demreg as demreg
    >>> cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=16)[:, 40:50, 60:80]
    >>> response = demreg.TemperatureResponse.from_aia(cube)
    >>> edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K
    >>> result = demreg.invert(cube, response, edges)
    >>> with TemporaryDirectory() as folder:
    ...     demreg.write(result, f"{folder}/dem.fits")
    ...     again = demreg.read(f"{folder}/dem.fits")
    >>> np.array_equal(again["dem"].data, result["dem"].data, equal_nan=True)
    True
    """
    if isinstance(result, str | PathLike) and not isinstance(path, str | PathLike):
        raise wrong(
            TypeError, "result", "is a file name: pass first the result and then the path, `write(result, path)`"
        )
    if isinstance(result, Table):
        kind = type(result).__name__
        raise wrong(
            TypeError,
            "result",
            f"is a {kind}, not a result or a cube: it writes itself, `result.write('evolution.ecsv')`, and "
            f"`{kind}.read` of astropy reads it",
        )
    path, overwrite = as_path("path", path), as_bool("overwrite", overwrite)
    if path.is_dir() and path.suffix != ".zarr":
        raise wrong(IsADirectoryError, "path", f"{str(path)!r} is a folder: name a file in it")
    if not path.name.endswith(_ENDINGS):
        raise wrong(
            ValueError, "path", f"must end in {', '.join(_ENDINGS[:-1])} or {_ENDINGS[-1]}, but is {path.name!r}"
        )
    if path.name in _ENDINGS:
        raise wrong(ValueError, "path", f"{str(path)!r} is only an extension: choose a name, such as 'dem{path.name}'")
    if isinstance(result, NDCube):
        _write_product(result, path, overwrite, encoding, contents)
        return
    check_encoding(encoding, path.suffix)
    check_contents(contents, encoding, path.suffix)
    if contents == "inputs":
        result = inputs_of(result)
    if path.suffix == ".zarr":
        _check_installed()
        from sunpy_demreg._files.zarr import write_store

        with _store_at(path, overwrite) as place:
            counts = counts_of(write_store(result, place, encoding), result.meta)
    else:
        with replaced(path, overwrite=overwrite) as part:
            counts = counts_of(_format(path).to_file(result, encoding, path.name)(part), result.meta)
    if is_lazy(result["status"].data):  # otherwise `invert` has warned already
        warn_of_unsolved(counts)


@contextmanager
def _store_at(path, overwrite):
    """Where to write a store; after an error nothing of it is left. At a URL none is replaced."""
    if not isinstance(path, Url):
        from sunpy_demreg._files.zarr_documents import foreign

        with replaced(path, overwrite=overwrite, foreign=foreign) as part:
            yield part
        return
    if path.exists():
        problem = f"{str(path)!r} exists, and no store at a URL is replaced: choose another name, or remove it yourself"
        raise wrong(FileExistsError, "path", problem)
    try:
        yield path
    except BaseException:
        with suppress(Exception):
            path.remove()
        raise


def _write_product(cube, path, overwrite, encoding, contents):
    for name, value, default in (("encoding", encoding, None), ("contents", contents, "result")):
        if value != default:
            raise wrong(ValueError, name, "is for whole results, but `result` is a single cube: leave it out")
    if path.suffix == ".zarr":
        _check_installed()
        from sunpy_demreg._files.zarr import write_product

        with _store_at(path, overwrite) as place:
            write_product(cube, place)
        return
    with replaced(path, overwrite=overwrite) as part:
        _format(path).product_to_file(cube, path.name)(part)


def read(path: FilePath) -> Any:
    """
    Read a result, or a product, that `write` wrote.

    No code in the file is run, so files from any source are safe to read.

    Parameters
    ----------
    path : path-like or URL
        Of a Zarr store at a URL only the chunks that are needed are fetched; any other file is fetched as a whole.

    Returns
    -------
    `ndcube.NDCollection` or `ndcube.NDCube`
        A result, as from `sunpy_demreg.invert`, or the cube that was written. What is read from a Zarr store holds Dask
        arrays.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    IsADirectoryError
        If it is a folder, but no store.
    ImportError
        If it is an ASDF file and the package asdf-astropy is not installed.
    ConnectionError, PermissionError
        If a URL cannot be reached, or may not be read.
    ValueError
        If it is not a result of this package, or is damaged: every checksum is verified, that of a chunk of a Zarr
        store when it is loaded.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import astropy.units as u
    >>> import numpy as np
    >>> import sunpy_demreg as demreg
    >>> cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=16)[:, 40:50, 60:80]
    >>> response = demreg.TemperatureResponse.from_aia(cube)
    >>> edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K
    >>> result = demreg.invert(cube, response, edges)
    >>> with TemporaryDirectory() as folder:
    ...     demreg.write(result, f"{folder}/dem.fits")
    ...     again = demreg.read(f"{folder}/dem.fits")
    >>> sorted(again)[:3]
    ['chi_squared', 'dem', 'intensity']
    >>> again.meta["method"]
    'demreg'
    """
    path = as_path("path", path)
    if not path.exists():
        raise wrong(FileNotFoundError, "path", f": there is no file {str(path)!r}")
    if path.suffix != ".zarr" and path.is_dir():
        problem = f"{str(path)!r} is a folder: name a file in it, or a store, which ends in .zarr"
        raise wrong(IsADirectoryError, "path", problem)
    try:
        if path.suffix == ".zarr" and path.is_dir():
            _check_installed()
            from sunpy_demreg._files.zarr_read import read_store

            return read_store(path)
        with local_copy(path) as place:
            return _format(path).from_file(place)
    except (IsADirectoryError, PermissionError, ConnectionError, MemoryError, ImportError):
        raise
    except NewerFormat as err:
        raise wrong(ValueError, "path", f"{str(path)!r} {err}") from None
    except Exception as err:  # damaged files raise many types of errors
        if isinstance(err, FileNotFoundError) and not path.exists():
            raise  # and no file of a store is missing
        raise wrong(
            ValueError,
            "path",
            f"{str(path)!r} is not a result that sunpy_demreg.write wrote, or is damaged ({type(err).__name__}: {err})",
        ) from err


def _check_installed():
    for module in ("dask.array", "zarr"):
        imported(module, "a Zarr store", "batch")


def _format(path):
    """The module for that kind of file."""
    if path.name.endswith(".asdf"):
        from sunpy_demreg._files import asdf

        return asdf
    from sunpy_demreg._files import fits

    return fits
