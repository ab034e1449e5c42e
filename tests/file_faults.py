"""Random faults of files: nothing that was there is lost, and nothing wrong is read."""

import shutil
import warnings
from contextlib import contextmanager

import dask.array as da
import numpy as np

from astropy.nddata import StdDevUncertainty
from ndcube import NDCube

import sunpy_demreg
from sunpy_demreg import read, write
from sunpy_demreg._common.metadata import to_text

ENDINGS = (".fits", ".streamed.fits", ".fits.gz", ".asdf", ".zarr", ".shards.zarr")


class Faults:
    """
    Faults of the files of one result.

    Parameters
    ----------
    folder : `~pathlib.Path`
        An empty one.
    eager, lazy : `ndcube.NDCollection`
        The result, with arrays of NumPy and of Dask.
    rng : `numpy.random.Generator`
    """

    def __init__(self, folder, eager, lazy, rng):
        self.folder, self.rng = folder, rng
        self.results = {ending: lazy if ending in (".streamed.fits", ".shards.zarr") else eager for ending in ENDINGS}
        self.good, self.content = {}, {}
        for ending, result in self.results.items():
            self.good[ending] = folder / f"good{ending}"
            write(result, self.good[ending])
            self.content[ending] = content(read(self.good[ending]))

    def one(self):
        """Have one fault; its kind, the file, and what became of it. What should not be is an `AssertionError`."""
        ending = ENDINGS[self.rng.integers(len(ENDINGS))]
        kinds = [self.flipped_bit, self.flipped_bit, self.cut_file, self.full_disk, self.foreign_folder]
        if ending.endswith(".zarr"):
            kinds += 4 * [self.lost_file]
        kind = kinds[self.rng.integers(len(kinds))]
        path = self.folder / f"bad{ending}"
        _copy(self.good[ending], path)
        try:
            with warnings.catch_warnings(action="ignore"):
                return kind.__name__, ending, kind(ending, path)
        finally:
            _remove(path)

    # ---- faults of what is read

    def flipped_bit(self, ending, path):
        """Any bit of any byte, those of headers and of what is between the data too."""
        file = self._file_in(path)
        data = bytearray(file.read_bytes())
        data[self.rng.integers(len(data))] ^= 1 << self.rng.integers(8)
        file.write_bytes(data)
        return self._read(ending, path)

    def cut_file(self, ending, path):
        file = self._file_in(path)
        data = file.read_bytes()
        file.write_bytes(data[: self.rng.integers(len(data))])
        return self._read(ending, path)

    def lost_file(self, ending, path):
        self._file_in(path).unlink()
        return self._read(ending, path)

    def _file_in(self, path):
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        return files[self.rng.integers(len(files))]

    def _read(self, ending, path):
        try:
            found = content(read(path))
        except ValueError:
            return "refused"
        assert found == self.content[ending], f"something wrong was read from {path.name}"
        return "the same"

    # ---- faults of what is written

    def full_disk(self, ending, path):
        """No file can grow beyond a random size."""
        files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
        limit = int(self.rng.integers(max(file.stat().st_size for file in files) + 1000))
        before = set(self.folder.iterdir())
        try:
            with file_size(limit):
                write(self.results[ending], path, overwrite=True)
        except OSError as err:
            outcome, words = "refused, the old one is kept", str(err)
        else:
            outcome, words = "written", path.name
        assert path.name in words, f"the error does not name the file: {words}"
        left = {str(p) for each in set(self.folder.iterdir()) - before for p in (each, *each.rglob("*"))}
        assert not left, f"left over: {sorted(left)[:5]}"
        assert content(read(path)) == self.content[ending], f"{path.name} was lost"
        return outcome

    def foreign_folder(self, ending, path):
        """What is at the place is a folder, with files of others, or a store with others in it."""
        if not ending.endswith(".zarr") or self.rng.integers(2):
            _remove(path)
            path.mkdir()
        (path / "notes.txt").write_text("precious")
        before = snapshot(path)
        try:
            write(self.results[ending], path, overwrite=True)
        except OSError:
            assert snapshot(path) == before, "something of others was lost"
            return "refused"
        raise AssertionError(f"{path.name} was replaced")


def content(result):
    """All that is in a result, to the last bit, as text and bytes."""
    found = {}
    for key, cube in result.items():
        error = None if cube.uncertainty is None else cube.uncertainty.array
        for name, array in {"data": cube.data, "uncertainty": error, "mask": cube.mask}.items():
            array = None if array is None else np.asarray(array)
            found[key, name] = None if array is None else (array.dtype.str, array.shape, array.tobytes())
        found[key, "unit"] = str(cube.unit)
        ends = [np.array([0, n - 1]) for n in cube.data.shape]
        world = cube.wcs.low_level_wcs.array_index_to_world_values(*ends)
        found[key, "wcs"] = str([np.asarray(each).tolist() for each in world])
    return found | {"meta": to_text(dict(result.meta))[0]}


def snapshot(folder):
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@contextmanager
def file_size(limit):
    """Let no file grow beyond so many bytes."""
    import resource

    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def _copy(path, other):
    shutil.copytree(path, other) if path.is_dir() else shutil.copy(path, other)


def _remove(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def small_results(cube, response, edges):
    """The result of a cube, with arrays of NumPy and of Dask."""
    chunks = (len(cube.data), 2, 3)
    data, error = (da.from_array(np.asarray(array), chunks=chunks) for array in (cube.data, cube.uncertainty.array))
    sigma = StdDevUncertainty(error, copy=False)
    lazy = NDCube(data, cube.wcs, unit=cube.unit, uncertainty=sigma, mask=cube.mask, meta=cube.meta)
    return tuple(sunpy_demreg.invert(each, response, edges) for each in (cube, lazy))
