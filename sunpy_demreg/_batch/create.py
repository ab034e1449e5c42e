"""The beginning of a store of a batch, which any number of processes may make at once: one of them does."""

import secrets
import shutil
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np

from astropy.time import Time

from sunpy_demreg._batch.claims import NO_PLACE, Claims, remove_ended
from sunpy_demreg._common.atomic import created, permitted, replaced
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.metadata import from_text
from sunpy_demreg._common.urls import Url
from sunpy_demreg._files import zarr as stores
from sunpy_demreg._files import zarr_documents as documents

__all__ = ["CLAIMS", "HEADER_SIZE", "NOT_STORED", "N_STEPS", "begun", "check_place", "create", "is_begun", "no_store"]

#: Protocols of URLs where only one process can create a file, by what fsspec says of them.
_EXCLUSIVE = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory")
CLAIMS = "claims"  # folder
HEADER_SIZE = 4 * 2880  # bytes of a step's FITS header, filled up with spaces
N_STEPS = 4096  # in a chunk of a table
#: Errors of what is no store, or a damaged one; any other OSError is of the network or the disk, and tells that itself.
NOT_STORED = (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError, KeyError)
_TRIES = 10
_ZSTD = {"name": "zstd", "configuration": {"level": 0, "checksum": False}}


def check_place(path):
    """Raise if no batch can write to a URL."""
    if not isinstance(path, Url):
        return
    if path.caches:
        cure = f"pass {str(path).rpartition('::')[2]!r}"
        raise wrong(ValueError, "path", f"must be where the store is, without caches, but is {str(path)!r}: {cure}")
    if path.protocol not in _EXCLUSIVE:
        rule = f"must be on a disk, or begin with {', '.join(f'{each}://' for each in _EXCLUSIVE)}"
        reason = "a step is claimed by a file that only one process can create"
        raise wrong(ValueError, "path", f"{rule}, since {reason}, but is {str(path)!r}: {NO_PLACE}")


@contextmanager
def begun(path):
    """
    Make the folder of a store, with nothing but that for the processes that will write it, unless it exists.

    After an error it is removed, if no store has come of it and no other process is about to make one.

    Yields
    ------
    `~pathlib.Path` or `Url`
        Of the folder for the processes.
    Claims
        In it, of which one says that this process is here.
    """
    with permitted(path):
        stack, folder, claims = _begin_and_stay(path)
    with stack:
        yield folder, claims


def _begin_and_stay(path):
    for i in range(_TRIES):
        try:
            folder = _begin_at(path) if isinstance(path, Url) else _begin(path)
            with ExitStack() as stack:
                claims = stack.enter_context(_tidied(path, Claims(folder / CLAIMS)))
                claims.stay()
                if isinstance(path, Url):  # it may have been removed just before this process was seen to be here
                    created(folder / documents.JSON, _about_folder())
                return stack.pop_all(), folder, claims
        except FileNotFoundError:  # removed just now, by another process that could make no store
            if i == _TRIES - 1:
                raise


@contextmanager
def _tidied(path, claims):
    """Claims that end with the block; after an error, what `_begin` has made is removed, unless it is of use."""
    try:
        with claims:
            yield claims
    except Exception:
        with suppress(OSError):
            _forget_at(path) if isinstance(path, Url) else _forget(path)
        raise


def _begin(path):
    import zarr

    folder = path / documents.BOOKKEEPING
    if path.exists() and not path.is_dir():
        raise no_store(path, "it is a file")
    if not path.exists():
        try:
            with replaced(path, foreign=documents.foreign, parents=True) as part:
                (part / folder.name / CLAIMS).mkdir(parents=True)
                zarr.create_group(part / folder.name)  # so that nobody wonders what this folder is
        except OSError:
            if not folder.exists():  # made by another process in the meantime
                raise
    if not (path / documents.JSON).exists() and not is_begun(path):
        raise no_store(path, "it holds other things" if any(path.iterdir()) else "it is empty")
    if not folder.exists():  # in a store of an older version
        _check_is_store(path)
        (folder / CLAIMS).mkdir(parents=True, exist_ok=True)
        zarr.create_group(folder, overwrite=False)
    (folder / CLAIMS).mkdir(exist_ok=True)
    return folder


def _begin_at(url):
    """As `_begin`, where there are no folders, and what is in them is there at once."""
    folder = url / documents.BOOKKEEPING
    if not (folder / documents.JSON).exists():
        if (url / documents.JSON).exists():
            _check_is_store(url)
        elif set(url.children()) - {folder}:
            raise no_store(url, "it holds other things")
        created(folder / documents.JSON, _about_folder())
    return folder


def _about_folder():
    """The document that makes it a Zarr group, so that nobody wonders what it is."""
    import zarr

    files = {}
    zarr.create_group(zarr.storage.MemoryStore(files))
    return files[documents.JSON].to_bytes()


def is_begun(path):
    """Whether a folder holds what `begun` made, and what `create` may have added to it, but no store yet."""
    if isinstance(path, Url):
        return (path / documents.BOOKKEEPING / documents.JSON).exists() and not (path / documents.JSON).exists()
    return (path / documents.BOOKKEEPING / documents.JSON).exists() and all(each.is_dir() for each in path.iterdir())


def _forget(path):
    path = path.resolve()
    claims = path / documents.BOOKKEEPING / CLAIMS
    if (path / documents.JSON).exists():
        return
    try:
        remove_ended(claims)
        claims.rmdir()  # fails where there is a claim, and where there is no folder there will be none
        part = path.with_name(f".{secrets.token_hex(6)}.part{path.suffix}")
        path.rename(part)
    except OSError:
        return
    shutil.rmtree(part, ignore_errors=True)


def _forget_at(url):
    folder = url / documents.BOOKKEEPING
    remove_ended(folder / CLAIMS)
    if url.children() == [folder] and not (folder / CLAIMS).children():
        for each in folder.children():
            each.unlink()
        # One that came in between says so before it looks for the document: either it makes that again, or this does.
        if (folder / CLAIMS).children():
            created(folder / documents.JSON, _about_folder())


def _check_is_store(path):
    try:
        group = documents.open_store(path)
        if "settings" not in group.attrs:
            raise ValueError("it holds one result")
    except NOT_STORED as err:
        raise no_store(path, err) from err


def no_store(path, err, cure="pass a path that does not exist yet"):
    """The error that something is at this path, but no store of a batch."""
    return wrong(ValueError, "path", f"{str(path)!r} exists but is not the store of a batch ({err}): {cure}")


def create(path, result, settings, check):
    """Make a store without steps; it is there as soon as it is complete. `check` is as of `Archive.allocate`."""
    check()
    if isinstance(path, Url):
        with tempfile.TemporaryDirectory(prefix="sunpy-demreg-") as place:
            part = Path(place, path.name)
            _make(part, result, settings)
            _upload(part, path, check)
        return
    for leftover in path.glob(".*.part"):
        shutil.rmtree(leftover)
    part = path / f".{secrets.token_hex(6)}.part"
    _make(part, result, settings)
    for each in part.iterdir():
        check()
        if each.is_dir():
            shutil.rmtree(path / each.name, ignore_errors=True)  # of a process that died here
            each.rename(path / each.name)
    check()
    (part / documents.JSON).replace(path / documents.JSON)
    part.rmdir()


def _upload(part, url, check):
    files = [each for each in part.rglob("*") if each.is_file()]
    for file in sorted(files, key=lambda file: file.parent == part):  # the document of the store last
        check()
        place, content = url / file.relative_to(part).as_posix(), file.read_bytes()
        # A request that comes late must not undo what another process has made of it since.
        if created(place, content):
            continue
        if file.parent == part or (url / documents.JSON).exists():
            return  # another process has made the store, which is opened now
        check()
        place.write_bytes(content)  # over that of a process with other settings, which died here


def _make(part, result, settings):
    times, encoding = Time([], format="jd", scale="utc"), from_text(settings["encoding"])
    group = stores.create(part, result, times, encoding, settings=settings)
    n_channels = len(result.meta["channels"])

    def table(name, shape, dtype, names, chunk, units=None):
        group.create_array(
            name,
            shape=shape,
            chunks=tuple(chunk if name == "time" else n for n, name in zip(shape, names, strict=True)),
            dtype=dtype,
            fill_value=0,
            dimension_names=names,
            attributes={} if units is None else {"units": units},
            compressors=stores.PLAIN if dtype is not np.uint8 else (_ZSTD, *stores.PLAIN),
        )

    of_images = (n_channels, 0), ("channel", "time")
    table("image_date", of_images[0], np.int64, of_images[1], N_STEPS, "microseconds since 1970-01-01T00:00:00")
    table("image_digest", of_images[0], np.int64, of_images[1], N_STEPS)
    # What is known when a step is done has chunks of single steps: many processes may write it.
    table("exposure_time", of_images[0], float, of_images[1], 1, "s")
    if result.meta["observation"].get("exposures", "one") != "one":
        # From the date of a channel to where its first exposure starts, and where its last one ends.
        table("exposure_span", (2, *of_images[0]), float, ("end", *of_images[1]), 1, "s")
    table("fits_header", (0, HEADER_SIZE), np.uint8, ("time", "byte"), 1)
    table("step_done", (0,), bool, ("time",), 1)
    documents.seal(part)
