"""
A cache of machine code on disk.

The code is run as it is, so it is only loaded from files that are complete and that nobody but the user can write to.
Without a usable folder, code is compiled in each process: this is never an error, but there is a warning, once.
"""

import contextlib
import hashlib
import os
import tempfile
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG

from sunpy_demreg._engines.base.warn_once import warn_once

__all__ = ["load_code", "save_code"]

_DIGEST = 32  # bytes, in front of the code


def load_code(name):
    """The code that was saved under a name; None if there is none, or if it cannot be trusted."""
    folder = _folder()
    if folder is None:
        return None
    try:
        with open(folder / name, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not (S_ISREG(status.st_mode) and _is_private(status) and _is_private(os.stat(folder))):
                return None
            content = file.read()
    except OSError:
        return None
    digest, code = content[:_DIGEST], content[_DIGEST:]
    return code if hashlib.sha256(code).digest() == digest else None


def _open_at_once(path, flags):
    """Open without blocking, in case it is a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def save_code(name, code):
    """Save code under a name, if there is a usable folder. The file is complete, or it does not exist."""
    folder = _folder()
    if folder is None:
        return
    part = None
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not _is_private(os.stat(folder)):
            _tell(f"others could write into its folder {folder}", f"run `chmod go-w '{folder}'`, if it is yours, or ")
            return
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            part = file.name
            file.write(hashlib.sha256(code).digest() + code)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, folder / name)
        part = None
    except OSError as err:
        _tell(str(err))
    finally:
        if part is not None:
            with contextlib.suppress(OSError):
                os.unlink(part)


def _tell(reason, cure=""):
    warn_once(
        "cache",
        f"compiled code cannot be cached ({reason}), so each new process compiles again, about a second for each set "
        f"of options: {cure}set the environment variable SUNPY_DEMREG_CACHE to a folder that only you can write to",
    )


def _folder():
    """``SUNPY_DEMREG_CACHE``, or the cache folder of the system; None if there is none."""
    chosen = os.environ.get("SUNPY_DEMREG_CACHE")
    if chosen:
        return _resolved(chosen)
    base = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME")
    try:
        base = Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache"
    except RuntimeError:  # no home directory
        return None
    return base / "sunpy_demreg" if base.is_absolute() else None


@lru_cache
def _resolved(chosen):
    """Once: a program that changes its working directory keeps its folder, and one whose directory is gone has none."""
    try:
        return Path(chosen).expanduser().absolute()
    except (OSError, RuntimeError) as err:
        _tell(f"SUNPY_DEMREG_CACHE is {chosen!r}: {err}")
        return None


def _is_private(stat):
    """Whether only this user can have written there (elsewhere than on POSIX, the folder of the user must do)."""
    return os.name != "posix" or (stat.st_uid == os.geteuid() and not stat.st_mode & 0o022)
