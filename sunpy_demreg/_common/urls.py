"""Files and stores that are elsewhere: URLs, as fsspec opens them, with what is used of paths here."""

import hashlib
import io
import posixpath
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from types import SimpleNamespace
from urllib.parse import unquote

from sunpy_demreg._common.errors import ArgumentError, first_line, imported, wrong

__all__ = ["FILE", "Url", "file_of", "is_url", "local_copy"]

_OF_ZARR = ("zarr.json", ".zgroup")
_LOCAL = ("file", "local")
_HTTP = ("http", "https")
_CONNECT, _READ = 10, 60  # s without an answer, after which a web server counts as unreachable
_TRIES, _PAUSE = 5, 0.1  # to create a file while others create and remove it; s between them
_S3 = "for a public bucket of S3, set the environment variable FSSPEC_S3_ANON=true"
#: What file systems tell of a file that is another one when its content has changed.
_VERSION = ("ETag", "LastModified", "Last-Modified", "mtime", "updated", "created", "last_modified", "md5Hash")


def is_url(value):
    """Whether a file name is a URL, such as ``s3://bucket/name`` or ``simplecache::s3://bucket/name``."""
    return isinstance(value, Url) or (isinstance(value, str) and "://" in value)


def file_of(name, argument="path"):
    """
    The file, or folder, of a name.

    Parameters
    ----------
    name : `str`, path-like or `Url`
    argument : `str`, optional
        That named it, for messages.

    Returns
    -------
    `~pathlib.Path` or `Url`
        The first also for ``file://``.

    Raises
    ------
    ValueError
        If it is ``file://`` of another machine.
    """
    if isinstance(name, Url) or not is_url(name):
        return name if isinstance(name, Url) else Path(name)
    protocol, _, place = name.partition("://")
    if protocol in _LOCAL:
        host, slash, inside = place.partition("/")
        if host not in ("", "localhost"):
            raise wrong(
                ValueError,
                argument,
                f": {name} names a file of the machine {host!r}, which cannot be opened: of a file of this machine, "
                "write the path alone, or file:/// with the path from the root",
            )
        return Path(unquote(slash + inside))
    return Url(name, argument)


@contextmanager
def local_copy(path):
    """Yield a path that any reader opens: the given one, or that of a temporary copy of what a URL names."""
    if not isinstance(path, Url):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="sunpy-demreg-") as folder:
        place = Path(folder, path.name)
        path.copy_to(place)
        yield place


class Url:
    """
    A URL.

    Errors name the argument that it came from: `FileNotFoundError`, `PermissionError` and, of all else that goes wrong
    on the way, `ConnectionError`; `ImportError` if the package for its protocol is not installed.

    Parameters
    ----------
    url : `str`
    argument : `str`
    """

    def __init__(self, url, argument="path"):
        self._text, self.argument = url.rstrip("/"), argument

    def __str__(self):
        return self._text

    def __repr__(self):
        return f"Url({self._text!r})"

    def __eq__(self, other):
        return isinstance(other, Url) and self._text == other._text

    def __hash__(self):
        return hash(self._text)

    def __lt__(self, other):
        return self._text < str(other)

    def __truediv__(self, name):
        place, mark, query = self._text.partition("?") if self.protocol in _HTTP else (self._text, "", "")
        return Url(posixpath.join(place, *PurePath(name).parts) + mark + query, self.argument)

    def __reduce__(self):
        return Url, (self._text, self.argument)

    def __dask_tokenize__(self):
        return "sunpy_demreg URL", self._text

    @property
    def caches(self):
        """The prefixes of fsspec's caches."""
        return self._text.rpartition("::")[0]

    @property
    def protocol(self):
        """Of the place itself, behind caches."""
        return self._text.rpartition("::")[2].partition("://")[0]

    @property
    def name(self):
        """The last part."""
        return posixpath.basename(self._text.partition("?")[0] if self.protocol in _HTTP else self._text)

    @property
    def parent(self):
        """The folder that it is in."""
        return Url(posixpath.dirname(self._text), self.argument)

    @property
    def suffix(self):
        """The ending of the last part."""
        return PurePath(self.name).suffix

    def absolute(self):
        """Itself."""
        return self

    def exists(self):
        """Whether there is such a file or folder."""
        if self.protocol in _HTTP and self.suffix == ".zarr":  # of a folder, web servers know nothing
            self._check_no_query()
            return any((self / name).exists() for name in _OF_ZARR)
        try:
            with self._reached_anew() as (files, path):
                files.info(path)  # `exists` of fsspec says no where a server does not answer
        except FileNotFoundError:
            return False
        return True

    def is_dir(self):
        """Whether it is a folder; over HTTP a Zarr store is known by its name, and no other one."""
        if self.protocol in _HTTP:
            return self.suffix == ".zarr"
        with self.reached() as (files, path):
            return files.isdir(path)

    def is_file(self):
        """Whether it is a file."""
        return not self.is_dir() and self.exists()

    def stat(self):
        """Its size, and a number that is another one when its content has changed, as far as the server tells."""
        with self.reached() as (files, path):
            info = files.info(path)
        version = repr([(key, str(info[key])) for key in _VERSION if key in info])
        digest = int.from_bytes(hashlib.blake2b(version.encode(), digest_size=8).digest(), "little") >> 1
        return SimpleNamespace(st_size=-1 if info.get("size") is None else info["size"], st_mtime_ns=digest)

    def start(self, n):
        """Its first bytes."""
        with self.reached() as (files, path):
            return files.cat_file(path, start=0, end=n)[:n]

    def read_bytes(self):
        """Its content."""
        with self._reached_anew() as (files, path):
            return files.cat_file(path)

    def write_bytes(self, content):
        """Replace its content, at once."""
        with self.reached() as (files, path):
            files.pipe_file(path, content)

    def create(self, content):
        """
        Make it with this content, if there is no such file.

        Returns
        -------
        `bool`
            Whether what is there now is from here, provided that nobody else writes the same.
        """
        with self.reached() as (files, path):
            for i in range(_TRIES):
                try:
                    files.pipe_file(path, content, mode="create")
                    return True
                except Exception as err:  # there are several errors for a file that exists
                    error = err
                files.invalidate_cache()
                with suppress(FileNotFoundError):  # removed just now, or never made
                    # Perhaps it is from here: of a request whose answer is lost, the client asks again.
                    return files.cat_file(path) == content
                time.sleep(2**i * _PAUSE)
            raise error

    def unlink(self):
        """Remove this file, if it is there."""
        with self.reached() as (files, path), suppress(FileNotFoundError, KeyError):
            files.rm_file(path)

    @contextmanager
    def open(self):
        """Open it for reading; parts are fetched when they are read, as far as the server can give parts."""
        with self.reached() as (files, path):
            is_whole = self.protocol in _HTTP and not self.caches and not files.info(path).get("partial")
            file = io.BytesIO(files.cat_file(path)) if is_whole else files.open(path, "rb")
        with file:
            yield file

    def copy_to(self, place):
        """Copy it to a local file."""
        with self.reached() as (files, path):
            if not self.caches:
                files.get_file(path, str(place))
                return
            with files.open(path, "rb") as source, place.open("wb") as target:
                shutil.copyfileobj(source, target)

    def copy_from(self, place):
        """Replace its content by that of a local file."""
        with self.reached() as (files, path):
            files.put_file(str(place), path)

    def remove(self):
        """Remove it with all that is in it."""
        with self.reached() as (files, path):
            files.rm(path, recursive=True)

    def matches(self):
        """What it stands for, in order: itself, if it is there, and what its wildcards ``*`` and ``[...]`` match."""
        if not set("*[") & set(self._text):
            return [self] if self.exists() else []
        return self._found(lambda files, path: files.glob(path))

    def glob(self, pattern):
        """What matches a pattern in the folder that it names."""
        return self._found(lambda files, path: files.glob(posixpath.join(path, pattern)))

    def children(self):
        """The files and folders in the folder that it names; none if there is no such folder."""
        with self._reached_anew() as (files, path):
            try:
                found = files.ls(path, detail=False)
            except FileNotFoundError:
                return []
        return [self / posixpath.basename(name.rstrip("/")) for name in sorted(found)]

    def _found(self, function):
        with self._reached_anew() as (files, path):
            found = function(files, path)
            names = found if self.protocol in _HTTP else [f"{self.protocol}://{each.lstrip('/')}" for each in found]
        start = f"{self.caches}::" if self.caches else ""
        return sorted(Url(f"{start}{name}", self.argument) for name in names)

    def store(self, *, read_only=True):
        """The Zarr store that it names."""
        self._check_no_query()
        storage = imported("zarr.storage", "a Zarr store", "batch")
        with self.reached():
            return storage.FsspecStore.from_url(self._text, self._options(), read_only=read_only)

    def _check_no_query(self):
        """Raise if it has one: Zarr would put the names of the files in a store behind it."""
        if self.protocol in _HTTP and "?" in self._text:
            raise wrong(
                ValueError,
                self.argument,
                f": {self._text} has a query ('?...'), but is a Zarr store, of which each file has an address of its "
                "own: pass the address of the store alone, or copy the store to the disk",
            )

    def _options(self):
        """Limits in time, which are minutes by default, unless the settings of fsspec have other ones."""
        config = imported("fsspec.config", self._text, "remote").conf
        if self.protocol == "s3" and "config_kwargs" not in config.get("s3", {}):
            # Two clients, one inside the other, try again; only the outer one should.
            return {"s3": {"config_kwargs": {"retries": {"total_max_attempts": 1}}}}
        if self.protocol in _HTTP and not any("client_kwargs" in config.get(protocol, {}) for protocol in _HTTP):
            timeout = imported("aiohttp", self._text, "remote").ClientTimeout
            limits = timeout(total=None, sock_connect=_CONNECT, sock_read=_READ)
            return {self.protocol: {"client_kwargs": {"timeout": limits}}}
        return {}

    @contextmanager
    def reached(self):
        """Yield the file system and the path in it; what goes wrong becomes an error about the URL."""
        core = imported("fsspec.core", self._text, "remote")
        try:
            try:
                files, path = core.url_to_fs(self._text, **self._options())
            except ImportError as err:
                cure = "pip install 'sunpy-demreg[remote]'"
                raise ImportError(f"{self._text} needs another package ({err}): {cure}") from err
            except ValueError as err:  # no such protocol
                raise wrong(ValueError, self.argument, f": {self._text} cannot be opened: {first_line(err)}") from err
            yield files, path
        except (ArgumentError, ImportError, MemoryError, LookupError, TypeError, ValueError):  # not of the network
            raise
        except Exception as err:  # clients fail in as many ways as networks do
            raise self._told(err) from err

    @contextmanager
    def _reached_anew(self):
        """As `reached`, without the lists of folders that the file system keeps: others may have added files."""
        with self.reached() as (files, path):
            files.invalidate_cache()
            yield files, path

    def _told(self, err):
        """The error about the URL that stands for one of its client."""
        # That of HTTP finds no file also if there is no network.
        if self.protocol in _HTTP and isinstance(err, FileNotFoundError) and isinstance(err.__cause__, Exception):
            err = err.__cause__
        status = getattr(err, "status", None)
        if isinstance(err, FileNotFoundError) or status in (404, 410):
            return wrong(FileNotFoundError, self.argument, f": there is no file {self._text}")
        reason = f"{type(err).__name__}: {first_line(err)}".rstrip(": ")
        is_refused = isinstance(err, PermissionError) or status in (401, 403) or "redentials" in reason
        hint = f"; {_S3}" if is_refused and self.protocol == "s3" else ""
        kind = PermissionError if is_refused else ConnectionError
        return wrong(kind, self.argument, f": {self._text} cannot be reached ({reason}){hint}")


#: Types of what `file_of` returns.
FILE = (Path, Url)
