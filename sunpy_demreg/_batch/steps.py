"""The time steps of a batch, from its index: which images each one is made of."""

import hashlib
import json
from functools import partial
from itertools import groupby
from typing import NamedTuple

import numpy as np

from astropy.time import Time

from sunpy_demreg._channels.sdoml_store import StoreImage
from sunpy_demreg._channels.time_sets import NO_IMAGE, exposure_sets, time_sets
from sunpy_demreg._channels.times import ALWAYS, MARGIN, in_seconds, no_sets
from sunpy_demreg._common.dates import to_microseconds
from sunpy_demreg._common.urls import file_of

__all__ = ["Steps", "Task", "key_of"]

_DAY = 86400  # s: as much as is sorted at once
# The ids of the images that are in steps.
_OF_STEPS = "SELECT image.value FROM steps, json_each(steps.images) AS channel, json_each(channel.value) AS image"


class Task(NamedTuple):
    """A time step to be computed."""

    number: int
    slot: int  # its place in the store
    images: tuple  # for each image its name, and its path or its map; None for a channel that has none


class Steps:
    """
    The steps of a run, in a table of the index: ascending in time, and numbered from zero.

    Parameters
    ----------
    index : Index
    tolerance : `~astropy.units.Quantity`
    most_missing : `int`
        How many channels a step may lack.
    exposures : `str`
        As of `sunpy_demreg.prepare`.
    times : Times, optional
        Which of the sets are steps.

    Raises
    ------
    ValueError
        If there is no complete step.
    """

    def __init__(self, index, tolerance, most_missing, exposures="one", times=ALWAYS):
        self._db, self._index, self._exposures = index.db, index, exposures
        self.channels = sorted(index.counts())
        self._tolerance, self._least = tolerance.to_value("s"), max(len(self.channels) - most_missing, 1)
        self._db.execute(
            "CREATE TABLE steps (number INTEGER PRIMARY KEY, microseconds INTEGER, key INTEGER, slot INTEGER, "
            "images TEXT, dates BLOB, digests BLOB, lacking TEXT, problem TEXT)"
        )
        self._db.execute("CREATE TABLE left_over (id INTEGER PRIMARY KEY)")
        make_sets = partial(
            time_sets if exposures == "one" else exposure_sets,
            tolerance=self._tolerance,
            most_missing=most_missing,
            n_channels=len(self.channels),
        )
        chosen = times.chooser()
        for sets, left in _windows(index, self._tolerance, make_sets):
            self._db.execute("BEGIN")
            self._db.executemany(
                "INSERT INTO left_over VALUES (?)", [(image.map,) for image in left if times.hold(image.seconds)]
            )
            self._insert(chosen(sets, are_last=False))
            self._db.execute("COMMIT")
        self._insert(chosen([]))
        # From zero.
        self._db.execute("UPDATE steps SET number = number - 1")
        if times.cadence is not None:  # the images for which others of an interval were taken
            self._db.execute(
                f"INSERT OR IGNORE INTO left_over SELECT id FROM images WHERE {index.wanted} AND problem IS NOT NULL "
                f"AND seconds >= ? AND seconds < ? AND id NOT IN ({_OF_STEPS})",
                times[:2],
            )
        query = "SELECT images FROM steps WHERE lacking IS NULL ORDER BY problem IS NOT NULL, number LIMIT 1"
        whole = self._db.execute(query).fetchone()
        if whole is None:
            found = index.times()
            raise no_sets({c: found.get(c, ()) for c in self.channels}, tolerance, index.problems())
        self._whole = json.loads(whole[0])
        if self._count("lacking IS NOT NULL"):  # they are told how far the nearest image is
            self._db.execute("CREATE INDEX by_channel ON images (channel, seconds)")
        self._db.execute("CREATE INDEX by_key ON steps (key)")

    def __len__(self):
        return self._count("TRUE")

    def _insert(self, sets):
        self._db.executemany(
            "INSERT INTO steps (microseconds, key, images, dates, digests, lacking, problem) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            self._rows(sets),
        )

    def radii(self):
        """The smallest and largest radius of the Sun in arcsec of the images of a store that are in good steps."""
        radius = "json_extract(header, '$.rsun_obs')"
        query = f"SELECT min({radius}), max({radius}) FROM images WHERE id IN ({_OF_STEPS} WHERE steps.problem IS NULL)"
        return self._db.execute(query).fetchone()

    def _rows(self, sets):
        """What the table says of sets of images."""
        if not sets:
            return []
        ids = [[[] for _ in self.channels] for _ in sets]
        digests = np.zeros((len(sets), len(self.channels)), dtype=int)
        facts = np.full((*digests.shape, 2), np.nan)
        several = {}
        for i, images in enumerate(sets):
            for image in images:
                k = self.channels.index(image.channel)
                query = "SELECT digest, jd1, jd2, exposure FROM images WHERE id = ?"
                digest, *date, exposure = self._db.execute(query, (image.map,)).fetchone()
                several.setdefault((i, k), []).append((*date, exposure or 0.0))
                digests[i, k] = digest if not ids[i][k] else key_of(digests[i, k], digest)
                ids[i][k].append(image.map)
        for place, images in several.items():
            facts[place] = _date_of(images, self._exposures)
        times, dates = np.zeros(len(sets), dtype=int), np.zeros_like(digests)
        has_image = digests != 0
        for pattern in np.unique(has_image, axis=0):
            which = np.flatnonzero((has_image == pattern).all(axis=1))
            some = Time(*np.moveaxis(facts[which][:, pattern], -1, 0), format="jd", scale="utc")
            # The mean as in `mean_date`, of many sets at once.
            times[which] = to_microseconds(some.tai.mean(axis=1).utc)
            dates[np.ix_(which, pattern)] = to_microseconds(some)
        return [
            (
                int(times[i]),
                key_of(dates[i], digests[i]),
                json.dumps(ids[i]),
                dates[i].tobytes(),
                digests[i].tobytes(),
                self._lacking(has_image[i]),
                "; ".join(f"{image.name}: {image.problem}" for image in sets[i] if image.problem) or None,
            )
            for i in np.argsort(times, kind="stable")
        ]

    def _lacking(self, has_image):
        lacking = [channel for channel, there in zip(self.channels, has_image, strict=True) if not there]
        return json.dumps(lacking) if lacking else None

    def _told(self, lacking, images):
        """The channels that a step lacks, each with why it does."""
        ids = [i for of_channel in json.loads(images) for i in of_channel]
        query = f"SELECT min(seconds), max(seconds) FROM images WHERE id IN ({', '.join(map(str, ids))})"
        first, last = self._db.execute(query).fetchone()
        return "; ".join(f"{NO_IMAGE} {channel} Å{self._why(channel, first, last)}" for channel in json.loads(lacking))

    def _why(self, channel, first, last):
        """How far the nearest image of a channel is from the images of a step, which are from `first` to `last`."""
        middle, half = (first + last) / 2, (last - first) / 2
        # Those of other steps are no choice.
        near = [(not is_left, abs(time - middle) + half) for time, is_left in self._index.near(channel, middle)]
        if not near:
            return ""
        is_used, distance = min(near)
        of = " that another step has" if is_used else ""
        return f" within `tolerance`, {in_seconds(self._tolerance)}: the nearest{of} is {in_seconds(distance)} away"

    def find_slots(self, known):
        """
        Find the places that steps have.

        Parameters
        ----------
        known : iterable of (slot, microseconds, key or None)
            Of a store.

        Returns
        -------
        `bool`
            Whether it is to be told what is known of them now.
        """
        self._db.execute("CREATE TABLE slots (slot INTEGER PRIMARY KEY, microseconds INTEGER, key INTEGER)")
        self._db.execute("BEGIN")
        self._db.executemany("INSERT INTO slots VALUES (?, ?, ?)", known)
        self._db.execute("COMMIT")
        self._db.execute("CREATE INDEX slots_by_key ON slots (key)")
        self._db.execute("UPDATE steps SET slot = (SELECT max(slot) FROM slots WHERE slots.key = steps.key)")
        n_found = self._count("slot IS NOT NULL")
        # Of older versions only the time is known.
        self._db.execute("CREATE INDEX slots_by_time ON slots (microseconds)")
        self._db.execute(
            "UPDATE steps SET slot = (SELECT max(slot) FROM slots WHERE slots.microseconds = steps.microseconds "
            "AND slots.key IS NULL) WHERE slot IS NULL"
        )
        self._db.execute("DROP TABLE slots")
        return self._count("slot IS NOT NULL") > n_found

    def add_slots(self, first):
        """Give steps without a place one from `first` on; return the number of places that there are then."""
        n_new = self._count("slot IS NULL")
        self._db.execute(
            "UPDATE steps SET slot = new.slot FROM (SELECT number, ? - 1 + row_number() OVER (ORDER BY number) AS slot "
            "FROM steps WHERE slot IS NULL) AS new WHERE steps.number = new.number",
            (first,),
        )
        self._db.execute("CREATE INDEX by_slot ON steps (slot)")
        return first + n_new

    def places(self, start, stop, n_together):
        """
        What a store is told of the steps that have places in a range.

        Yields
        ------
        slots, microseconds, dates, digests : `numpy.ndarray`
            (n,), (n,), (n, channel), (n, channel): of the places in one chunk of `n_together`, ascending.
        """
        query = "SELECT slot, microseconds, dates, digests FROM steps WHERE slot >= ? AND slot < ? ORDER BY slot"
        rows = self._db.execute(query, (start, stop))
        for _, some in groupby(rows, lambda row: row[0] // n_together):
            slots, times, *of_images = zip(*some, strict=True)
            arrays = (np.array([np.frombuffer(each, dtype=np.int64) for each in column]) for column in of_images)
            yield np.array(slots), np.array(times), *arrays

    def set_problem(self, number, problem):
        """Note why a step cannot be done."""
        self._db.execute("UPDATE steps SET problem = ? WHERE number = ?", (problem, number))

    def _count(self, condition):
        return self._db.execute(f"SELECT count(*) FROM steps WHERE {condition}").fetchone()[0]

    def facts(self, start, stop):
        """Number, slot, time in microseconds, lacking channels and problem of the steps in a range of numbers."""
        columns = "number, slot, microseconds, lacking, images, problem"
        query = f"SELECT {columns} FROM steps WHERE number >= ? AND number < ? ORDER BY number"
        for *step, lacking, images, problem in self._db.execute(query, (start, stop)):
            yield *step, lacking and self._told(lacking, images), problem

    def task(self, number):
        """What has to be known to compute a step."""
        slot, images = self._db.execute("SELECT slot, images FROM steps WHERE number = ?", (number,)).fetchone()
        return Task(number, slot, self._items(json.loads(images)))

    def like(self):
        """The images of the first step that lacks none, by which others stand for what they lack."""
        return self._items(self._whole)

    def _items(self, ids):
        return tuple(self._item(i) if i else None for of_channel in ids for i in of_channel or [0])

    def _item(self, i):
        query = "SELECT name, path, header FROM images WHERE id = ?"
        name, path, header = self._db.execute(query, (i,)).fetchone()
        if header is not None:
            array, _, number = name.partition("[")
            return name, StoreImage(self._index.store, array, int(number[:-1]), json.loads(header))
        return name, self._index.maps[i] if path is None else file_of(path, "maps")

    def latest(self):
        """The date of the latest image in any step."""
        last = self._index.last_in_steps()
        return Time(last, format="unix_tai").utc

    def left_over(self):
        """Names of the files that are in no step, and why."""
        rows = self._db.execute("SELECT name, problem FROM images NATURAL JOIN left_over ORDER BY id").fetchall()
        n, tolerance = self._least, in_seconds(self._tolerance)
        of = f"all {n} channels" if n == len(self.channels) else f"{n} channels or more"
        why = f"in no set of {of} within `tolerance`, {tolerance}"
        return [(name, problem or why) for name, problem in [*rows, *self._index.of_no_dem()]]


def _date_of(images, exposures):
    """The date of exposures (jd1, jd2, seconds) that are combined, as in `exposures.meta_of_groups`."""
    if exposures == "coadd":
        (first, fraction, _), *_ = images
        return first, fraction + sum((jd1 - first) + (jd2 - fraction) for jd1, jd2, _ in images) / len(images)
    return max(images, key=lambda image: image[2])[:2]  # the first of the longest


def key_of(dates, digests):
    """A number that tells a step from others, and from one of the same time with other files."""
    content = np.asarray(dates, dtype="<i8").tobytes() + np.asarray(digests, dtype="<i8").tobytes()
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little") >> 1


def _windows(index, tolerance, make_sets):
    """
    Sets and images left over, a day at a time, so that memory does not depend on their number.

    The sets around the end of a day are looked for among images of both days; those before the end are taken, and
    what they leave belongs to the next day.
    """
    margin = MARGIN * max(tolerance, 1.0)
    loaded, _ = index.span()  # up to here, and from here on
    waiting, end = [], None
    while loaded is not None:
        end = end + _DAY if waiting else (loaded // _DAY + 1) * _DAY
        images = waiting + index.images(loaded, end + margin)
        loaded = index.next_time(max(loaded, end + margin))
        sets, left = make_sets(images)
        if loaded is not None:
            sets = [each for each in sets if sum(image.seconds for image in each) / len(each) < end]
            used = {image.map for each in sets for image in each}
            rest = [image for image in images if image.map not in used]
            waiting = [image for image in rest if image.seconds >= end - margin]
            left = [image for image in rest if image.seconds < end - margin]
        yield sets, left
