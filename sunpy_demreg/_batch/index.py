"""The index of a batch: a table of the facts of its files, kept with the store, so that none is looked into twice."""

import json
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import batched

import numpy as np

from sunpy_demreg._channels.facts import facts_of_array, facts_of_files, facts_of_map
from sunpy_demreg._channels.sdoml import warn_of_arrays
from sunpy_demreg._channels.sdoml_store import array_name, arrays_of, check_flags, keys_of, version_of
from sunpy_demreg._channels.series import image_of, items, not_read
from sunpy_demreg._channels.time_sets import Image
from sunpy_demreg._channels.times import ALWAYS
from sunpy_demreg._common.atomic import replaced
from sunpy_demreg._common.constants import AIA_CHANNELS
from sunpy_demreg._common.urls import FILE, Url, local_copy

__all__ = ["Index"]

_NAME = "index.sqlite"
_AT_ONCE = 512  # files
_THREADS = 16  # which mostly wait for the file system
_PAUSE = 60  # s between two writings of the kept table while files are read, at least
_FILE = "path, size, mtime"
_FACTS = "channel, seconds, jd1, jd2, digest, problem, exposure, header"
_TYPES = (
    "size INTEGER, mtime INTEGER, channel INTEGER, seconds REAL, jd1 REAL, jd2 REAL, digest INTEGER, problem TEXT, "
    "exposure REAL, header TEXT"
)
_OF_DEM = f"channel IN ({', '.join(map(str, AIA_CHANNELS))})"


class Index:
    """
    The images of a run.

    They are in a private database, which SQLite puts on the disk as far as it is large: memory does not depend on their
    number. What was read of files is also kept in the folder of the store, in a table that is replaced as a whole.

    Parameters
    ----------
    folder : `~pathlib.Path` or `Url`
        Where the kept table is, or will be.
    times : Times, optional
        Images of other times are in no step.

    Attributes
    ----------
    db : `sqlite3.Connection`
        With a table ``images``, and those of who uses it.
    maps : dict
        Maps that are not in files, by the ids of their images.
    n_read : `int`
        How many files were read, because they are new or have changed.
    wanted : `str`
        Condition in SQL for the images that may be in a step.
    store : `~pathlib.Path`, Url or None
        That of SDOMLv2 which the images are in.
    """

    def __init__(self, folder, times=ALWAYS):
        self.maps, self.n_read, self.store, self._kept = {}, 0, None, folder / _NAME
        in_range = f"seconds >= {times.start!r} AND seconds < {times.stop!r}"
        self.wanted = f"{_OF_DEM} AND {in_range}"
        # Zero where the time is not known.
        self._told = f"SELECT name, problem FROM images WHERE (seconds = 0 OR {in_range})"
        self.db = sqlite3.connect("file:", uri=True, isolation_level=None)
        self.db.execute("PRAGMA synchronous = OFF")
        self.db.execute(f"CREATE TABLE images (id INTEGER PRIMARY KEY, name TEXT, path TEXT UNIQUE, {_TYPES})")
        self.db.execute("CREATE INDEX in_time ON images (seconds, name)")
        self.db.execute("ATTACH '' AS old")
        self.db.execute(f"CREATE TABLE old.files (path TEXT PRIMARY KEY, {_TYPES}) WITHOUT ROWID")
        self._open_kept()

    def _open_kept(self):
        if not self._kept.exists():
            return
        # Nobody writes to it any more, so that it needs no locks, which network file systems may lack.
        with local_copy(self._kept) as place, suppress(sqlite3.DatabaseError):  # else it is made anew
            name, columns, is_used = f"{place.absolute().as_uri()}?immutable=1", f"{_FILE}, {_FACTS}", False
            self.db.execute("ATTACH ? AS kept", (name,))
            with suppress(sqlite3.DatabaseError):  # damaged, or of another version
                if isinstance(self._kept, Url):  # of which this is a copy
                    self.db.execute(f"INSERT INTO old.files ({columns}) SELECT {columns} FROM kept.files")
                else:
                    self.db.execute(f"SELECT {columns} FROM kept.files LIMIT 1").fetchall()
                    is_used = True
            self.db.execute("DETACH kept")
            if is_used:
                self.db.execute("DETACH old")
                self.db.execute("ATTACH ? AS old", (name,))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.db.close()

    def add(self, maps):
        """Add maps, files, and the files in folders; those that are known and have not changed are not read again."""
        last = time.monotonic()
        with ThreadPoolExecutor(_THREADS) as pool:
            for some in batched(items(maps), _AT_ONCE):
                self._add_maps([(name, item) for name, item in some if not isinstance(item, FILE)])
                self._add_files([(name, item.absolute()) for name, item in some if isinstance(item, FILE)], pool)
                if time.monotonic() - last > _PAUSE:
                    self.keep()
                    last = time.monotonic()

    def _add_maps(self, pairs):
        for name, item in pairs:
            image = image_of(name, item)
            row = self._insert([(name, None, None, None, *facts_of_map(image, item.data.shape))])
            self.maps[row] = image.map

    def _add_files(self, pairs, pool):
        stats = list(pool.map(_stat, [path for _, path in pairs]))
        rows, unknown = [], []
        for (name, path), stat in zip(pairs, stats, strict=True):
            if isinstance(stat, OSError):
                rows.append((name, str(path), None, None, *facts_of_map(not_read(name, stat), None)))
                continue
            size, mtime = stat.st_size, stat.st_mtime_ns
            known = self.db.execute(
                f"SELECT {_FACTS} FROM old.files WHERE path = ? AND size = ? AND mtime = ?", (str(path), size, mtime)
            ).fetchone()
            if known:
                rows.append((name, str(path), size, mtime, *known))
            else:
                unknown.append((name, path, size, mtime))
        facts = facts_of_files([each[:3] for each in unknown], pool.map)
        rows += [(name, str(path), *file, *each) for (name, path, *file), each in zip(unknown, facts, strict=True)]
        self.n_read += len(unknown)
        self._insert(rows)

    def add_store(self, path, times, near):
        """
        Add the images of a store of SDOMLv2, of all years in which times are, or those near to them.

        The headers of a year and channel are one document, which is read again only if that has changed.
        """
        path = path.absolute()
        self.store, keys = path, keys_of(times)
        versions = {key: version_of(path, array_name(*key)) for key in keys_of(near)}
        there = {key: version for key, version in versions.items() if version is not None}
        unknown = [key for key, version in there.items() if not self._add_known(path, key, version)]
        if not there.keys() & set(keys):
            unknown = keys  # and they are missed
        if unknown:
            for key, array in arrays_of(path, "maps", unknown).items():
                facts = list(facts_of_array(path, key, array))
                self._insert([(name, f"{path}/{name}", *there[key], *each) for name, each in facts])
                self.n_read += len(facts)
        warn_of_arrays(set(there), keys, "maps")

    def _add_known(self, path, key, version):
        """Add what is kept of the images of a year and channel, if it is of this version; return whether it is."""
        # From one bracket to what follows it in the order of text.
        name = array_name(*key)
        ends = f"{path}/{name}[", f"{path}/{name}\\"
        columns = f"{_FILE}, {_FACTS}"
        known = "FROM old.files WHERE path > ? AND path < ? AND size = ? AND mtime = ?"
        self.db.execute("BEGIN")
        query = f"INSERT OR IGNORE INTO images (name, {columns}) SELECT substr(path, ?), {columns} {known}"
        n_added = self.db.execute(query, (len(str(path)) + 2, *ends, *version)).rowcount
        self.db.execute("COMMIT")
        return n_added > 0

    def add_flags(self):
        """Make problems of the flags of images in a store, after the table is kept: the next run may accept them."""
        rows = self.db.execute(f"SELECT id, header FROM images WHERE {self.wanted} AND problem IS NULL")
        found = ((i, check_flags(json.loads(header))) for i, header in rows)
        told = [(f"is flagged by its header, see `accept_flagged`: {flags}", i) for i, flags in found if flags]
        self.db.execute("BEGIN")
        self.db.executemany("UPDATE images SET problem = ? WHERE id = ?", told)
        self.db.execute("COMMIT")

    def _insert(self, rows):
        self.db.execute("BEGIN")
        marks = ", ".join("?" * (4 + len(_FACTS.split(","))))
        # A file that is named twice is one image.
        self.db.executemany(f"INSERT OR IGNORE INTO images (name, {_FILE}, {_FACTS}) VALUES ({marks})", rows)
        self.db.execute("COMMIT")
        return self.db.execute("SELECT max(id) FROM images").fetchone()[0]

    def keep(self):
        """Write what is known of all files, if it is more than before and the folder is there."""
        if not self.n_read or not (isinstance(self._kept, Url) or self._kept.parent.is_dir()):
            return
        with replaced(self._kept, overwrite=True) as part:
            self.db.execute("ATTACH ? AS new", (part.absolute().as_uri(),))
            try:
                self.db.execute("PRAGMA new.synchronous = OFF")  # `replaced` takes care of it
                self.db.execute("BEGIN")
                self.db.execute(f"CREATE TABLE new.files (path TEXT PRIMARY KEY, {_TYPES}) WITHOUT ROWID")
                columns = f"{_FILE}, {_FACTS}"
                for source in ("images WHERE size IS NOT NULL", "old.files"):
                    self.db.execute(f"INSERT OR IGNORE INTO new.files ({columns}) SELECT {columns} FROM {source}")
                self.db.execute("COMMIT")
            finally:
                with suppress(sqlite3.Error):
                    self.db.execute("ROLLBACK")
                self.db.execute("DETACH new")

    def counts(self):
        """How many images there are of each channel that a DEM can use."""
        return dict(self.db.execute(f"SELECT channel, count(*) FROM images WHERE {self.wanted} GROUP BY channel"))

    def times(self):
        """The times of the usable ones of each channel, in seconds."""
        query = f"SELECT channel, seconds FROM images WHERE {self.wanted} AND problem IS NULL ORDER BY channel, seconds"
        rows = np.array(self.db.execute(query).fetchall(), dtype=float).reshape(-1, 2)
        return {int(channel): rows[rows[:, 0] == channel, 1] for channel in np.unique(rows[:, 0])}

    def near(self, channel, seconds, n=8):
        """Times of the nearest usable ones of a channel, so many before and after, and whether they are left over."""
        found = []
        for side, order in (("<", "DESC"), (">=", "ASC")):
            query = f"SELECT seconds, id IN left_over FROM images WHERE channel = ? AND seconds {side} ?"
            query += f" AND {self.wanted} AND problem IS NULL ORDER BY seconds {order} LIMIT ?"
            found += self.db.execute(query, (channel, seconds, n)).fetchall()
        return found

    def span(self):
        """The first and the last time of these."""
        return self.db.execute(f"SELECT min(seconds), max(seconds) FROM images WHERE {self.wanted}").fetchone()

    def last_in_steps(self):
        """The last time of these that are not left over."""
        return self.db.execute(
            f"SELECT max(seconds) FROM images WHERE {self.wanted} AND id NOT IN left_over"
        ).fetchone()[0]

    def next_time(self, start):
        """The first time of these from `start` on; None if there is none."""
        query = f"SELECT min(seconds) FROM images WHERE {self.wanted} AND seconds >= ?"
        return self.db.execute(query, (start,)).fetchone()[0]

    def images(self, start, stop):
        """These from a time to before another, as `Image`, with their ids for maps."""
        query = f"SELECT name, channel, seconds, id, problem FROM images WHERE {self.wanted}"
        rows = self.db.execute(f"{query} AND seconds >= ? AND seconds < ? ORDER BY seconds, name", (start, stop))
        return [Image(*row) for row in rows]

    def problems(self):
        """Names and problems of the images that have one."""
        return self.db.execute(f"{self._told} AND problem IS NOT NULL ORDER BY id")

    def of_no_dem(self):
        """Names and problems of those that no DEM can use."""
        return self.db.execute(f"{self._told} AND NOT {_OF_DEM} ORDER BY id")


def _stat(path):
    try:
        return path.stat()
    except OSError as err:  # gone since the folder was listed, or a link to nothing
        return err
