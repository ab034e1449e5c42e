"""
Claims of processes to what each of them alone is to do, as files in a folder that all of them see: without a server.

A claim is a file that can be created only once. Its process touches it again and again; one that has not been touched
for a while, as seen by the clock of who waits for it, was left by a process that is dead, and so is one whose process
has ended on the same machine. It is then superseded by the next number, which again can be created only once.

A process that was only stopped for so long goes on when it wakes up. What claims are for must bear that: the values of
a step are the same, whoever writes them.
"""

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

__all__ = ["Claims", "claims_in", "growing_pauses", "remove_ended"]

_LEASE = 60.0  # s without a touch, after which a claim is void
_BEAT = 10.0  # s between two touches
_HERE = "here"
_PAUSES = 0.1, 3.0  # s between two tries to get a claim: the first, and the longest
_SAME_START = 2.0  # s: how far the start of a process, as the system tells it, moves when the clock is set
_BOOT = Path("/proc/sys/kernel/random/boot_id")  # of Linux: no two machines have the same


class Claims:
    """
    The claims of this process.

    Parameters
    ----------
    folder : `~pathlib.Path`
    """

    def __init__(self, folder):
        self._folder, self._mine, self._seen = Path(folder), {}, {}
        self._ends, self._beating = threading.Event(), None
        self._who = {**_this_process(), "token": secrets.token_hex(8)}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._ends.set()
        for name in list(self._mine):
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
        try:
            with path.open("x") as file:
                json.dump(self._who, file)
        except FileExistsError:
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
            each.unlink(missing_ok=True)
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
        self.take(f"{_HERE}-{self._who['token']}")

    def is_mine(self, name):
        """Whether this process still holds a claim: it has lost it if it could not touch it for too long."""
        return name in self._mine and _read(self._mine[name])[0] == self._who

    def release(self, name):
        """Give a claim back."""
        if self.is_mine(name):
            self._mine[name].unlink(missing_ok=True)
        self._mine.pop(name, None)

    def _all(self, name):
        return list(self._folder.glob(f"{name}.*"))

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
    for path in Path(folder).glob("*.*"):
        who, touched = _read(path)
        if who and not _has_ended(who):
            seconds = max(_now(folder) - touched / 1e9, 0.0)
            if seconds < _LEASE:
                found[path.stem] = who["host"], seconds
    return found


def _now(folder):
    """The time by the clock that touches files in a folder, which may be that of another machine."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:  # nothing may be written there
        return time.time()


def remove_ended(folder, pattern="*"):
    """Remove the claims in a folder of processes that are known to have ended."""
    for path in Path(folder).glob(f"{pattern}.*"):
        who, _ = _read(path)
        if who and _has_ended(who):
            path.unlink(missing_ok=True)


def growing_pauses():
    """Seconds to wait between one try and the next, without end: random, so that processes do not go in step."""
    pause, longest = _PAUSES
    while True:
        yield pause * random.uniform(0.5, 1.0)
        pause = min(1.5 * pause, longest)


def _number(path):
    return int(path.suffix[1:])


def _read(path):
    """Whose claim a file is, and when it was touched, in ns; None if it is not there, or not written yet."""
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
