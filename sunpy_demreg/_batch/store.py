"""
The Zarr store of a batch: which steps it has, which of them are done, and with which settings it was made.

A step has a place of its own on the axis of time, in the order in which steps became known: `sunpy_demreg.read` sorts
them. What is written there follows from the settings of the store and from the files of the step, whose digests are
kept: files that were repaired, or came late, make another step at another place, and no place ever gets other values.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial

import numpy as np

import astropy.units as u
from astropy.wcs import WCS

from sunpy_demreg._batch.create import HEADER_SIZE, N_STEPS, NOT_STORED, create, no_store
from sunpy_demreg._batch.same import NOT_SET, as_setting, in_words, is_same, meaning_of
from sunpy_demreg._batch.steps import key_of
from sunpy_demreg._channels.sdoml_cube import radius_of
from sunpy_demreg._common.atomic import created
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.grids import check_same_grid
from sunpy_demreg._common.metadata import to_text
from sunpy_demreg._common.urls import Url
from sunpy_demreg._files import zarr as stores
from sunpy_demreg._files import zarr_documents as documents
from sunpy_demreg._files.shards import remove_unfinished
from sunpy_demreg._files.zarr_lengths import lengths_of, mark, n_steps_of
from sunpy_demreg._files.zarr_read import header_of, superseded
from sunpy_demreg._results.cubes import unwrap_result
from sunpy_demreg._results.unsolved import counts_of

__all__ = ["Archive", "Writer", "open_archive"]

_AT_ONCE = 32  # requests to a server


def open_archive(path, result, settings, defaults, check):
    """
    Open the store of a batch, or create it, without steps.

    Parameters
    ----------
    path : `~pathlib.Path` or `Url`
    result : `ndcube.NDCollection`
        Of one step, lazy.
    settings : `dict`
        All that the values of a step depend on, apart from its files.
    defaults : `dict`
        Values of options that an older store lacks, because they did not exist when it was created.
    check : callable
        As of `Archive.allocate`.

    Returns
    -------
    Archive

    Raises
    ------
    ValueError
        If the store is of another kind, or was made with other settings.
    """
    settings = {key: as_setting(key, value) for key, value in settings.items()}
    settings["channels"] = ", ".join(result.meta["channels"])
    settings["shape of the images"] = str(result["status"].data.shape)
    if not (path / documents.JSON).exists():
        create(path, result, settings, check)
    # An attribute of every store, and not one of its settings.
    settings["outputs"] = ", ".join(unwrap_result(result)[0])
    return Archive(path, settings, {key: as_setting(key, value) for key, value in defaults.items()})


class Archive:
    """A store of steps."""

    def __init__(self, path, settings, defaults):
        self._path = path
        try:
            with self._reached():
                documents.open_store(path)
                self._group = documents.group_in(path, mode="r+")
                old = dict(self._group.attrs["settings"], outputs=", ".join(self._group.attrs["outputs"]))
                edges = self._group["temperature_edge"]
                old["temperature_bin_edges"] = to_text(u.Quantity(edges[:], edges.attrs["units"]))[0]
        except NOT_STORED as err:
            raise no_store(path, err) from err
        channels = settings["channels"].split(", ")
        different = [
            f"{key} is {{}} there and {{}} now".format(*in_words(old[key], new))
            for key, new in settings.items()
            if not is_same(old.setdefault(key, defaults.get(key, NOT_SET)), new, meaning_of(key, channels))
        ]
        if different:
            raise wrong(
                ValueError,
                "path",
                f"{str(path)!r} was made with other settings: {'; '.join(different)}; repeat its settings, or pass a "
                "path that does not exist yet",
            )

    def radius(self):
        """That of the Sun in arcsec, in the coordinates of a store that holds images of SDOMLv2."""
        with self._reached():
            return radius_of(WCS(header_of(self._group)), self._group["status"].shape[-1])

    def _reached(self):
        """For what Zarr does there: errors of a network become errors about the URL."""
        return self._path.reached() if isinstance(self._path, Url) else nullcontext()

    def allocate(self, steps, check):
        """
        Give each step of a run its place in the store: the one that it has, or a new one.

        Only one process at a time may do this; `check` raises if this one no longer is it.
        """
        with self._reached():
            self._allocate(steps, check)

    def _allocate(self, steps, check):
        self._repair(check)
        self._done = self._group["step_done"]
        old = self._done.shape[0]
        is_told = steps.find_slots(self._known(old))
        new = steps.add_slots(old)
        if (is_told or new > old) and "image_digest" not in self._group:
            check()
            self._add_digests(old)
        if is_told:
            self._write_tables(steps.places(0, old, N_STEPS), check)
        if new > old:
            self._extend(steps, old, new, check)
        self._done = self._group["step_done"]

    def _repair(self, check):
        """Give arrays their lengths again that a process, whose last request came late, has made shorter."""
        lengths = lengths_of(self._group)
        old, n = lengths["step_done"], n_steps_of(self._group, self._path, lengths)
        if n > old:
            check()
            self._add_not_done(old, n)
        for name, length in lengths.items():
            if length < n:
                check()
                documents.set_length(self._path, name, n)

    def _add_digests(self, n_steps):
        """Add to the store of an older version what it lacks."""
        n_channels = self._group["image_date"].shape[0]
        self._group.create_array(
            "image_digest",
            shape=(n_channels, n_steps),
            chunks=(n_channels, N_STEPS),
            dtype=np.int64,
            fill_value=0,
            dimension_names=("channel", "time"),
            compressors=stores.PLAIN,
        )
        documents.seal(self._path)

    def _known(self, n_steps):
        """
        Place, time and key of each step in the store; the key is None in stores of older versions.

        But for those that are superseded: what has such a key is done again, at a new place.
        """
        without = superseded(self._group, n_steps, self.is_done)
        for start in range(0, n_steps, N_STEPS):
            some = slice(start, min(start + N_STEPS, n_steps))
            times, dates = self._group["time"][some].tolist(), self._group["image_date"][:, some].T
            digests = self._group["image_digest"][:, some].T if "image_digest" in self._group else np.zeros_like(dates)
            keys = [key_of(*each) if each[1].any() else None for each in zip(dates, digests, strict=True)]
            rows = zip(range(start, some.stop), times, keys, strict=True)
            yield from (row for row in rows if row[0] not in without)

    def _extend(self, steps, old, new, check):
        names = [name for name, array in self._group.arrays() if "time" in array.metadata.dimension_names]
        for name in names:
            if name != "step_done":
                check()
                documents.set_length(self._path, name, new)
        self._write_tables(steps.places(old, new, N_STEPS), check)
        self._add_not_done(old, new)
        check()
        # The list of finished steps is extended last: what it does not list does not count.
        documents.set_length(self._path, "step_done", new)

    def _write_tables(self, places, check):
        """Write what the index knows of steps: (slot, microseconds, dates, digests), ascending in the slot."""
        arrays = [stores.writable(self._group[name]) for name in ("time", "image_date", "image_digest")]
        for slots, *columns in places:
            check()
            some = slice(slots[0], slots[-1] + 1)
            for array, values in zip(arrays, columns, strict=True):
                block = array[..., some]
                block[..., np.array(slots) - some.start] = values.T
                array[..., some] = block

    def _add_not_done(self, start, stop):
        """Write chunks that mark new steps as not done, before the list of finished steps is extended."""
        if "sha256" not in self._group.attrs:
            return  # the first version did not write such chunks
        content = mark(False)
        folder = self._path / "step_done" / "c"
        # What another process has written in the meantime may already say that the step is done.
        if isinstance(folder, Url):
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                list(pool.map(partial(created, content=content), (folder / str(slot) for slot in range(start, stop))))
            return
        folder.mkdir(exist_ok=True)
        for slot in range(start, stop):
            file = folder / str(slot)
            created(file, content)
            if file.stat().st_size != len(content):  # of a process that died here
                file.write_bytes(content)

    def clear(self, slot):
        """Remove what a process that died has half written of a step, but for its values, as `store` does."""
        for name in ("exposure_time", "exposure_span", "fits_header", "step_done"):
            if name in self._group:
                remove_unfinished(self._group[name], slot)

    def is_done(self, slot):
        """Whether a step is complete."""
        try:
            with self._reached():
                return bool(self._done[slot])
        except ValueError:  # damaged: the step is computed again
            return False

    def were_done(self, slots):
        """Whether steps are complete, asked for at once, which a server answers sooner."""
        try:
            with self._reached():
                return self._done.oindex[np.array(slots)].tolist()
        except ValueError:
            return [self.is_done(slot) for slot in slots]

    def mark_done(self, slot):
        """Mark a step as done, when all of it is written."""
        with self._reached():
            stores.writable(self._done)[slot] = True


class Writer:
    """
    Writes the values of steps to their places, from any process.

    Without one grid, pixels are those of the detector in all steps, whatever their coordinates.
    """

    def __init__(self, path, has_one_grid=True):
        group = documents.group_in(path, mode="r+")
        self._arrays = dict(group.arrays())
        self._wcs = WCS(header_of(group)) if has_one_grid else None

    def store(self, result, slot):
        """As `sunpy_demreg._files.zarr.store`."""
        status = result["status"]
        check_same_grid(
            "maps",
            ("the store", status.wcs if self._wcs is None else self._wcs, self._arrays["status"].shape[1:]),
            ("this step", status.wcs, status.shape),
            "reproject the maps to one grid",
        )
        return stores.store(self._arrays, result, slot)

    def write_facts(self, result, slot):
        """Write the metadata of the images of a step that is written; return the counts of its statuses."""
        from sunpy_demreg._files.parts import pixel_header

        about = result.meta["observation"]
        stores.writable(self._arrays["exposure_time"])[:, slot] = u.Quantity(about["exposure_time"]).to_value(u.s)
        if "exposure_span" in self._arrays:
            span = u.Quantity([about["start_offset"], about["end_offset"]]).to_value(u.s)
            stores.writable(self._arrays["exposure_span"])[:, :, slot] = span
        header = pixel_header(result["status"].wcs)[0].tostring(padding=False).encode("ascii")
        stores.writable(self._arrays["fits_header"])[slot] = np.frombuffer(header.ljust(HEADER_SIZE), dtype=np.uint8)
        return counts_of(self._arrays["status"][slot], result.meta)
