"""Atomic creation, and replacement, of files and folders: completely or not at all, and never over foreign ones."""

import errno
import os
import secrets
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.urls import Url
from sunpy_demreg._common.warnings import DemregWarning, warn

__all__ = ["created", "replaced"]

#: No room is left: on the disk, of a quota, or for so large a file.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def created(path, content):
    """Make a file, or a `Url`, with this content, unless it exists; whether this did. Only one process can."""
    if isinstance(path, Url):
        return path.create(content)
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True


@contextmanager
def replaced(path, *, overwrite=False, foreign=None, parents=False):
    """
    Yield a temporary name to write to; if nothing is raised, it finally replaces the given name.

    On any error the old file is kept and what was written is removed. A symbolic link is kept, and its target replaced.
    Permissions are kept.

    Parameters
    ----------
    path : path-like or `Url`
        The latter only of a file.
    overwrite : `bool`, optional
        Whether to replace what exists: any file, because the user named it, but only our own folders.
    foreign : callable, optional
        Only for folders. Called with the folder to be replaced; returns why it is not ours, or None if it is.
    parents : `bool`, optional
        Create the parent folders, at the end.

    Yields
    ------
    `~pathlib.Path`
        Of an empty file, or of an empty folder, on the same disk and with the same ending.

    Raises
    ------
    FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError
        If the name is taken by something that must be kept or is of another kind, or the folder does not exist.
    OSError
        If it cannot be written.
    """
    if isinstance(path, Url):
        with _uploaded(path, overwrite) as part:
            yield part
        return
    path = Path(path).expanduser()
    target, is_folder = Path(os.path.realpath(path)), foreign is not None
    _check(path, target, overwrite, foreign, parents)
    home = next(parent for parent in target.parents if parent.exists())
    # Random, so that leftovers of a killed program do not collide.
    token = secrets.token_hex(6)
    part = home / f".{token}.part{target.suffix}"
    try:
        part.mkdir() if is_folder else part.touch(exist_ok=False)
    except OSError as err:
        raise _named(err, path, part) from err
    try:
        yield part
        if parents:
            target.parent.mkdir(parents=True, exist_ok=True)
        if is_folder:
            _move_folder(part, target, path, overwrite, foreign, token)
        else:
            _move_file(part, target, path, overwrite)
    except OSError as err:
        if (named := _named(err, path, part)) is err:
            raise
        raise named from err
    finally:
        if is_folder:
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


@contextmanager
def _uploaded(url, overwrite):
    """A temporary file here, whose content the URL gets at the end, at once."""
    if not overwrite and url.exists():
        raise wrong(FileExistsError, url.argument, f"{str(url)!r} exists: choose another name, or pass overwrite=True")
    with tempfile.TemporaryDirectory(prefix="sunpy-demreg-") as folder:
        part = Path(folder, url.name)
        part.touch()
        yield part
        url.copy_from(part)


def _named(err, path, part):
    """The error with the name that the user gave instead of the temporary one."""
    if err.errno in _NO_ROOM:
        message = f"{err.strerror}: nothing was written, and any previous content is kept"
        return OSError(err.errno, message, str(path))
    if type(err) is OSError and not err.errno:  # from NumPy, if a file is shorter than its array
        return OSError(f"{str(path)!r} cannot be written: {err}")
    if err.errno and str(err.filename).startswith(str(part)):
        return OSError(err.errno, err.strerror, str(path))
    return err


def _check(path, target, overwrite, foreign, parents):
    name = repr(str(path))
    if not parents and not target.parent.is_dir():
        raise wrong(
            FileNotFoundError, "path", f"names the folder {str(target.parent)!r}, which does not exist: create it first"
        )
    if foreign is None and target.is_dir():
        raise wrong(IsADirectoryError, "path", f"{name} is a folder: name a file in it")
    if not os.path.lexists(target):
        return
    if not overwrite:
        raise wrong(FileExistsError, "path", f"{name} exists: choose another name, or pass overwrite=True")
    if foreign is None and not target.is_file():
        raise wrong(
            FileExistsError,
            "path",
            f"{name} is not a regular file, and cannot be replaced: choose another name",
        )
    if foreign is not None:
        if not target.is_dir():
            raise wrong(
                NotADirectoryError,
                "path",
                f"{name} is a file, not a folder: choose another name, or remove it",
            )
        _check_ours(name, target, foreign)


def _check_ours(name, folder, foreign):
    if reason := foreign(folder):
        raise wrong(
            FileExistsError, "path", f"{name} is not replaced: {reason}; choose another name, or remove it yourself"
        )


def _move_file(part, target, path, overwrite):
    _sync(part)  # also reports delayed errors of network file systems
    if overwrite:
        with suppress(FileNotFoundError):
            shutil.copymode(target, part)
        os.replace(part, target)
    else:
        try:
            target.touch(exist_ok=False)  # claims the name
        except FileExistsError as err:
            raise wrong(
                FileExistsError, "path", f"{str(path)!r} was created by another program in the meantime"
            ) from err
        try:
            os.replace(part, target)
        except BaseException:
            target.unlink()
            raise
    _sync_names(target.parent)


def _move_folder(part, target, path, overwrite, foreign, token):
    if not (overwrite and target.exists()):
        os.rename(part, target)
        return
    for folder, _, files in os.walk(part):
        for file in files:
            _sync(Path(folder, file))
    shutil.copymode(target, part)
    old = target.with_name(f"{target.stem}.{token}.old{target.suffix}")
    os.rename(target, old)
    try:
        # Checked again, now that no other program can replace it.
        _check_ours(repr(str(path)), old, foreign)
        os.rename(part, target)
    except BaseException:
        os.rename(old, target)
        raise
    _sync_names(target.parent)
    try:
        shutil.rmtree(old)
    except OSError as err:
        problem = f"{str(path)!r} is replaced, but its old content cannot be removed ({err}): remove {str(old)!r}"
        warn(DemregWarning, problem, "path")


def _sync(path):
    with open(path, "r+b") as file:
        os.fsync(file.fileno())


def _sync_names(folder):
    """Make the new name survive a power failure; best effort, since not every system can."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
