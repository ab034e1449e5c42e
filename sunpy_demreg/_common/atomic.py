"""Atomic creation, and replacement, of files and folders: completely or not at all, and never over foreign ones."""

import errno
import os
import secrets
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

from sunpy_demreg._common.errors import ArgumentError, wrong
from sunpy_demreg._common.urls import Url
from sunpy_demreg._common.warnings import DemregWarning, warn

__all__ = ["created", "permitted", "replaced"]

#: No room is left: on the disk, of a quota, or for so large a file.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: The user, or anybody, may not write there.
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


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
def replaced(path, *, overwrite=False, foreign=None, parents=False, argument="path"):
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
    argument : `str`, optional
        That named it, for messages.

    Yields
    ------
    `~pathlib.Path`
        Of an empty file, or of an empty folder, on the same disk and with the same ending.

    Raises
    ------
    FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError
        If the name is taken by something that must be kept or is of another kind, or the folder does not exist.
    PermissionError
        If the folder cannot be written to.
    OSError
        If it cannot be written.
    """
    if isinstance(path, Url):
        with _uploaded(path, overwrite) as part:
            yield part
        return
    path = Path(path).expanduser()
    target, is_folder = Path(os.path.realpath(path)), foreign is not None
    # Random, so that leftovers of a killed program do not collide.
    token = secrets.token_hex(6)
    with _told(path, target, argument):
        _check(path, target, overwrite, foreign, parents, argument)
        home = next(parent for parent in target.parents if parent.exists())
        part = home / f".{token}.part{''.join(path.suffixes[-2:])}"
        part.mkdir() if is_folder else part.touch(exist_ok=False)
    with _told(path, target, argument, part):
        try:
            yield part
            if parents:
                target.parent.mkdir(parents=True, exist_ok=True)
            if is_folder:
                _move_folder(part, target, path, overwrite, foreign, token, argument)
            else:
                _move_file(part, target, path, overwrite, argument)
        finally:
            if is_folder:
                shutil.rmtree(part, ignore_errors=True)
            else:
                part.unlink(missing_ok=True)


@contextmanager
def _uploaded(url, overwrite):
    """A temporary file here, whose content the URL gets at the end, at once."""
    if not overwrite and url.exists():
        raise wrong(
            FileExistsError, url.argument, f"{str(url)!r} exists: choose another name, or pass `overwrite=True`"
        )
    with tempfile.TemporaryDirectory(prefix="sunpy-demreg-") as folder:
        part = Path(folder, url.name)
        part.touch()
        yield part
        url.copy_from(part)


@contextmanager
def _told(path, target, argument, part=None):
    """Errors of the system in words, with the name that the user gave instead of the temporary one."""
    try:
        yield
    except ArgumentError:
        raise
    except OSError as err:
        where = str(err.filename)
        is_here = part is None or where.startswith(str(part)) or where in map(str, (target, *target.parents))
        if err.errno in _NO_ROOM:
            message = f"{err.strerror}: nothing was written, and any previous content is kept"
            raise OSError(err.errno, message, str(path)) from err
        if err.errno in _REFUSED and is_here:
            raise _not_allowed(argument, path, err) from err
        if type(err) is OSError and not err.errno:  # from NumPy, if a file is shorter than its array
            raise wrong(OSError, argument, f"{str(path)!r} cannot be written: {err}") from err
        if err.errno and is_here:
            raise OSError(err.errno, err.strerror, str(path)) from err
        raise


@contextmanager
def permitted(path, argument="path"):
    """A block that writes a file or in a folder: if this user may not, the error is about the argument."""
    try:
        yield
    except OSError as err:
        if err.errno not in _REFUSED:
            raise
        raise _not_allowed(argument, path, err) from err


def _not_allowed(argument, path, err):
    problem = f"{str(path)!r} cannot be written ({err.strerror}): choose a folder that you may write to"
    return wrong(PermissionError, argument, problem)


def _check(path, target, overwrite, foreign, parents, argument):
    name = repr(str(path))
    near = next(parent for parent in target.parents if parent.exists())
    if not near.is_dir():
        problem = f"{name} cannot be written: {str(near)!r} is a file, not a folder: choose another name"
        raise wrong(NotADirectoryError, argument, problem)
    if not parents and near != target.parent:
        problem = f"names the folder {str(target.parent)!r}, which does not exist: create it first"
        raise wrong(FileNotFoundError, argument, problem)
    if foreign is None and target.is_dir():
        raise wrong(IsADirectoryError, argument, f"{name} is a folder: name a file in it")
    if not os.path.lexists(target):
        return
    if not overwrite:
        problem = f"{name} exists and is kept: choose another name, or pass `overwrite=True`"
        raise wrong(FileExistsError, argument, problem)
    if foreign is None and not target.is_file():
        problem = f"{name} is not a regular file, and cannot be replaced: choose another name"
        raise wrong(FileExistsError, argument, problem)
    if foreign is not None:
        if not target.is_dir():
            problem = f"{name} is a file, not a folder: choose another name, or remove it"
            raise wrong(NotADirectoryError, argument, problem)
        _check_ours(name, target, foreign, argument)


def _check_ours(name, folder, foreign, argument):
    if reason := foreign(folder):
        problem = f"{name} is not replaced: {reason}; choose another name, or remove it yourself"
        raise wrong(FileExistsError, argument, problem)


def _move_file(part, target, path, overwrite, argument):
    _sync(part)  # also reports delayed errors of network file systems
    if overwrite:
        with suppress(FileNotFoundError):
            shutil.copymode(target, part)
        os.replace(part, target)
    else:
        try:
            target.touch(exist_ok=False)  # claims the name
        except FileExistsError as err:
            problem = f"{str(path)!r} was created by another program in the meantime: choose another name"
            raise wrong(FileExistsError, argument, problem) from err
        try:
            os.replace(part, target)
        except BaseException:
            target.unlink()
            raise
    _sync_names(target.parent)


def _move_folder(part, target, path, overwrite, foreign, token, argument):
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
        _check_ours(repr(str(path)), old, foreign, argument)
        os.rename(part, target)
    except BaseException:
        os.rename(old, target)
        raise
    _sync_names(target.parent)
    try:
        shutil.rmtree(old)
    except OSError as err:
        problem = f"{str(path)!r} is replaced, but its old content cannot be removed ({err}): remove {str(old)!r}"
        warn(DemregWarning, problem, argument)


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
