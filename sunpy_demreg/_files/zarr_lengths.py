"""
The lengths of the arrays of a batch's store in time.

A request of a process that was stopped, which a server carries out late, may make an array shorter than it was: its
chunks are there, but not listed. The next run of the batch repairs it; until then it is read as it was.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from sunpy_demreg._files.zarr import PLAIN, writable

__all__ = ["as_it_was", "lengths_of", "mark", "n_steps_of"]

_AT_ONCE = 32  # requests to a server


def lengths_of(group):
    """How many steps each array has room for that has an axis of time."""
    return {
        name: array.shape[array.metadata.dimension_names.index("time")]
        for name, array in group.arrays()
        if "time" in (array.metadata.dimension_names or ())
    }


def as_it_was(group, path):
    """The group of a store of a batch, for reading, with arrays as long as those of its steps that are done."""
    if "step_done" not in group:
        return group
    lengths = lengths_of(group)
    n = max(lengths["step_done"], 1 + _last_done(group, path, lengths))
    return _Lengthened(group, n) if min(lengths.values()) < n else group


def n_steps_of(group, path, lengths):
    """How many steps the list of finished ones had: more than it has if any is done that it does not list."""
    n, longest = lengths["step_done"], max(lengths.values())
    if _last_done(group, path, lengths) < n:
        return n
    # What the tables know are the steps that were to be on it.
    tables = (_Lengthened(group, longest)[name][:, n:] for name in ("image_date", "image_digest"))
    return n + int(min(np.flatnonzero(table.any(axis=0)).max(initial=-1) for table in tables) + 1)


def mark(is_done):
    """The content of a chunk of the list of finished steps."""
    import zarr

    chunks = {}
    scratch = zarr.create_array(
        zarr.storage.MemoryStore(chunks), shape=(1,), chunks=(1,), dtype=bool, compressors=PLAIN
    )
    writable(scratch)[:] = is_done
    return chunks["c/0"].to_bytes()


def _last_done(group, path, lengths):
    """The last step beyond the list of finished ones that is done; -1 if there is none."""
    n, longest = lengths["step_done"], max(lengths.values())
    if longest == n or "sha256" not in group.attrs or "image_digest" not in group:
        return -1
    content, folder = mark(True), path / "step_done" / "c"
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        contents = pool.map(_content, (folder / str(slot) for slot in range(n, longest)))
        return max((n + i for i, each in enumerate(contents) if each == content), default=-1)


def _content(file):
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None


class _Lengthened:
    """A group whose arrays have room for so many steps, whatever their documents say."""

    def __init__(self, group, n):
        self._group, self._n, self.attrs = group, n, group.attrs

    def __contains__(self, name):
        return name in self._group

    def __getitem__(self, name):
        import zarr

        array, names = self._group[name], self._group[name].metadata.dimension_names or ()
        if "time" not in names or array.shape[names.index("time")] >= self._n:
            return array
        document = array.metadata.to_dict()
        shape = list(array.shape)
        shape[names.index("time")] = self._n
        return zarr.Array.from_dict(array.store_path, document | {"shape": tuple(shape)})
