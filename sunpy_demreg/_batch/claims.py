"""
Claims of processes to what each of them alone is to do, as files in a folder that all of them see: without a server.

A claim is a file that can be created only once. Its process touches it again and again; one that has not been touched
for a while, as seen by the clock of who waits for it, was left by a process that is dead, and so is one whose process
has ended on the same machine. It is then superseded by the next number, which again can be created only once.

At a URL there is nothing to touch, and what is written again might come back after it was removed. There a process
writes again only the file that says that it is here, which is the touch of all of its claims.

A process that was only stopped for so long goes on when it wakes up. What claims are for must bear that: the values of
a step are the same, whoever writes them.
"""

import fnmatch
import json
import os
import random
import secrets
import socket
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from sunpy_demreg._common.atomic import created
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.urls import Url

__all__ = ["NO_PLACE", "Claims", "claims_in", "growing_pauses", "remove_ended"]

_LEASE = 60.0  # s without a touch, after which a claim is void
_BEAT = 10.0  # s between two touches
_HERE = "here"
_PAUSES = 0.1, 3.0  # s between two tries to get a claim: the first, and the longest
NO_PLACE = "write it on a disk, and copy it when it is done: `read` and `batch_status` take its URL"
_SAME_START = 2.0  # s: how far the start of a process, as the system tells it, moves when the clock is set
_BOOT = Path("/proc/sys/kernel/random/boot_id")  # of Linux: no two machines have the same


class Claims:
    """
    The claims of this process.

    Parameters
    ----------
    folder : `~pathlib.Path` or `Url`
    """

    def __init__(self, folder):
        self._folder, self._mine, self._seen = folder if isinstance(folder, Url) else Path(folder), {}, {}
        self._ends, self._beating = threading.Event(), None
        self._who = {**_this_process(), "token": secrets.token_hex(8)}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._ends.set()
        if self._beating is not None:
            self._beating.join()
        for name in reversed(self._mine.copy()):
            with suppress(OSError):  # then it will be void
                self.release(name)

    def take(self, name):
        """
        Claim something by its name.

        Returns
        -------
        `bool`
            False if another process holds it.
        `bool`
            Whether a process that died had held it.
        """
        others = self._all(name)
        if not all(map(self._is_void, others)):
            return False, False
        path = self._folder / f"{name}.{max(map(_number, others), default=-1) + 1}"
        if not created(path, self._content()):
            return False, False
        self._mine[name] = path
        if self._beating is None:
            self._beating = threading.Thread(target=self._beat, daemon=True)
            self._beating.start()
        # Whoever came in between has seen other claims: then both step back.
        others = [each for each in self._all(name) if each != path]
        if not all(map(self._is_void, others)):
            self.release(name)
            return False, False
        for each in others:
            _remove(each)
        return True, bool(others)

    @contextmanager
    def held(self, name):
        """Claim something, as soon as nobody else holds it any more, for the length of a block."""
        for pause in growing_pauses():
            if self.take(name)[0]:
                break
            time.sleep(pause)
        try:
            yield
        finally:
            self.release(name)

    def stay(self):
        """Claim to be here, as long as this object lasts: where any claim is, nobody removes the folder."""
        remove_ended(self._folder, f"{_HERE}-*")
        name = f"{_HERE}-{self._who['token']}"
        self.take(name)
        if isinstance(self._folder, Url) and created(self._mine[name], b"{}"):
            self._mine.pop(name).unlink()
            problem = "its server replaces files that are only to be created, so that several processes could do a step"
            raise wrong(ValueError, "path", f": {self._folder} is no place for a batch: {problem}; {NO_PLACE}")

    def is_mine(self, name):
        """Whether this process still holds a claim: it has lost it if it could not touch it for too long."""
        return name in self._mine and _who(self._mine[name]) == self._who

    def release(self, name):
        """Give a claim back."""
        if self.is_mine(name):
            _remove(self._mine[name])
        self._mine.pop(name, None)

    def _content(self):
        touched = {"touched": time.time_ns()} if isinstance(self._folder, Url) else {}
        return json.dumps(self._who | touched).encode()

    def _all(self, name):
        return _found(self._folder, f"{name}.*")

    def _is_void(self, path):
        """Whether the process of a claim is dead."""
        who, touched = _read(path)
        if touched is None:  # released in the meantime
            return True
        if who and who != self._who and _has_ended(who):
            return True
        # Clocks of machines differ: what counts is for how long it has not changed, as seen from here.
        now = time.monotonic()
        if self._seen.get(path, (None,))[0] != touched:
            self._seen[path] = touched, now
        return now - self._seen[path][1] > _LEASE

    def _beat(self):
        while not self._ends.wait(_BEAT):
            self._touch()

    def _touch(self):
        if isinstance(self._folder, Url):
            with suppress(Exception):  # of a network: it is tried again
                _here(self._folder, self._who).write_bytes(self._content())
            return
        for path in list(self._mine.values()):
            with suppress(OSError):
                os.utime(path)


def claims_in(folder):
    """
    Claims in a folder that are not known to be void.

    Returns
    -------
    dict
        For each name, the host of its process, and the seconds since it was touched.
    """
    found = {}
    for path in _found(folder, "*.*"):
        who, touched = _read(path)
        if who and not _has_ended(who):
            seconds = max(_now(folder) - touched / 1e9, 0.0)
            if seconds < _LEASE:
                found[path.name.rpartition(".")[0]] = who["host"], seconds
    return found


def _now(folder):
    """The time by the clock that touches files in a folder, which may be that of another machine."""
    if isinstance(folder, Url):  # there, each process touches by its own
        return time.time()
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:  # nothing may be written there
        return time.time()


def remove_ended(folder, pattern="*"):
    """Remove the claims in a folder of processes that are known to have ended."""
    for path in _found(folder, f"{pattern}.*"):
        who = _who(path)
        if who and _has_ended(who):
            _remove(path)


def growing_pauses():
    """Seconds to wait between one try and the next, without end: random, so that processes do not go in step."""
    pause, longest = _PAUSES
    while True:
        yield pause * random.uniform(0.5, 1.0)
        pause = min(1.5 * pause, longest)


def _number(path):
    return int(path.suffix[1:])


def _found(folder, pattern):
    if isinstance(folder, Url):
        return [each for each in folder.children() if fnmatch.fnmatchcase(each.name, pattern)]
    return list(folder.glob(pattern))


def _remove(path):
    if isinstance(path, Url):
        path.unlink()
    else:
        path.unlink(missing_ok=True)


def _here(folder, who):
    """What a process writes again and again at a URL."""
    return folder / f"{_HERE}-{who['token']}.0"


def _who(path):
    """Whose claim a file is; None if it is not there, or not written yet."""
    return (_read_at(path) if isinstance(path, Url) else _read(path))[0]


def _read_at(url):
    """Whose file it is, and when it was written."""
    try:
        who = json.loads(url.read_bytes())
    except FileNotFoundError:
        return None, None
    except ValueError:
        return None, 0
    return who, who.pop("touched", 0)


def _read(path):
    """Whose claim a file is, and when it was touched, in ns; None if it is not there, or not written yet."""
    if isinstance(path, Url):
        who, touched = _read_at(path)
        # As long as the claim is there, its process may be, too.
        return who, (_read_at(_here(path.parent, who))[1] or 0) if who else touched
    # Opened, not only looked up: network file systems answer that from memory.
    try:
        with path.open() as file:
            content, touched = file.read(), os.fstat(file.fileno()).st_mtime_ns
    except OSError:
        return None, None
    try:
        return json.loads(content), touched
    except ValueError:
        return None, touched


def _this_process():
    process = psutil.Process()
    return {"host": _host(), "pid": process.pid, "started": process.create_time()}


def _has_ended(who):
    """Whether a process is known to have ended, which only its own machine can tell."""
    if who["host"] != _host():
        return False
    try:
        process = psutil.Process(who["pid"])
        is_other = abs(process.create_time() - who["started"]) > _SAME_START
        return is_other or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


def _host():
    """The name of the machine, which of that name it is, and the container on it, which numbers its own processes."""
    try:
        return f"{socket.gethostname()}/{_BOOT.read_text().strip()}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux
        return socket.gethostname()
