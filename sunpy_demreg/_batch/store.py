"""The Zarr store of a batch: which steps it has, which of them are done, and with which settings it was made."""

import hashlib
import warnings
from io import StringIO

import numpy as np
from erfa import ErfaWarning

import astropy.units as u
from astropy.table import Table
from astropy.time import Time
from astropy.wcs import WCS

from sunpy_demreg._channels.plan import as_saturation
from sunpy_demreg._channels.uncertainty import as_floors
from sunpy_demreg._common.atomic import replaced
from sunpy_demreg._common.dask_arrays import is_lazy
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.grids import check_same_grid
from sunpy_demreg._common.metadata import from_text, to_text
from sunpy_demreg._files import zarr as stores
from sunpy_demreg._inversion.calibration import as_channel_errors
from sunpy_demreg._results.cubes import unwrap_result
from sunpy_demreg._results.unsolved import counts_of

__all__ = ["open_archive"]

_SAME = 1e-12  # relative difference of numbers that were computed by two formulas
_LONG = 50_000  # characters of a setting, beyond which a digest stands for them
_SHOWN = 200  # characters of a setting in a message, beyond which it is abbreviated
_START = 60  # characters that are kept in front of the digest
_ZSTD = {"name": "zstd", "configuration": {"level": 0, "checksum": False}}
_HEADER_SIZE = 4 * 2880  # bytes of a step's FITS header, filled up with spaces


def open_archive(path, result, times, settings, defaults):
    """
    Open the store of a batch, or create it.

    Parameters
    ----------
    path : `~pathlib.Path`
    result : `ndcube.NDCollection`
        Of one step, lazy.
    times : `~astropy.time.Time`
        Of all steps, ascending.
    settings : `dict`
        All that the values of a step depend on, apart from its files.
    defaults : `dict`
        Values of options that an older store lacks, because they did not exist when it was created.

    Returns
    -------
    Archive

    Raises
    ------
    ValueError
        If the store is of another kind, was made with other settings, or the new times do not come after the old.
    """
    settings = {key: _setting(key, value) for key, value in settings.items()}
    settings["channels"] = ", ".join(result.meta["channels"])
    settings["shape of the images"] = str(result["status"].data.shape)
    if not path.exists():
        _create(path, result, times, settings)
    # An attribute of every store, and not one of its settings.
    settings["outputs"] = ", ".join(unwrap_result(result)[0])
    archive = Archive(path, settings, {key: _setting(key, value) for key, value in defaults.items()})
    archive.extend(times)
    return archive


def _setting(name, value):
    """An identifier of a value: its text, or a digest of it if that is very long."""
    if isinstance(value, Table):  # whose text is truncated to the terminal
        buffer = StringIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ErfaWarning)  # about dates far in the future, as at the end of such tables
            value.write(buffer, format="ascii.ecsv")
        return f"table of {len(value)} rows (sha256 {_digest(buffer.getvalue())})"
    if is_lazy(value):  # its text does not show the values
        raise wrong(
            ValueError, name, "is a Dask array, but the store of a batch saves all settings: pass a NumPy array"
        )
    text = to_text(value)[0]
    return text if len(text) <= _LONG else _shown(text)


def _shown(text):
    """A setting in a message: its text if that is short; otherwise its ends or its start, and a digest of the whole."""
    value = _value(text)
    if isinstance(value, np.ndarray) and value.size > 1 and value.dtype.kind in "iuf":
        ends = " to ".join(f"{end:.6g}" for end in (value.min(), value.max()))
        return f"{value.size} values from {ends} (sha256 {_digest(text)})"
    return text if len(text) <= _SHOWN else f"{text[:_START]}... (sha256 {_digest(text)})"


def _value(text):
    try:
        return from_text(text)
    except ValueError:  # of a digest, for instance
        return text


def _is_same(old, new, of=lambda value: value):
    """Whether two texts stand for the same setting; `of` interprets a text."""
    # Stores of the first version hold the printed form of arrays.
    return old in (new, _shown(new)) or _equal(of(_value(old)), of(_value(new)))


def _meaning(name, channels):
    """A function that interprets an option as `prepare` does, since it may be written in several ways."""

    def meaning(value):
        try:
            return {
                "saturation": as_saturation,
                "calibration_error": lambda value: as_channel_errors(value, channels, {}),
                # The older stores hold None, which then accepted negative bins.
                "positivity": lambda value: "ignore" if value is None else value,
                "relative_floor": lambda value: as_floors(value, [int(c.rpartition(" ")[2]) for c in channels]),
            }[name](value)
        except (KeyError, TypeError, ValueError):  # it can only be compared as it is
            return value

    return meaning


def _equal(one, other):
    """Whether two settings are the same up to rounding."""
    match one, other:
        case (list() | tuple(), list() | tuple()):
            return len(one) == len(other) and all(map(_equal, one, other))
        case (dict(), dict()):
            return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
        case (u.Quantity(), u.Quantity()) if one.unit.is_equivalent(other.unit):
            return _equal(one.value, other.to_value(one.unit))
        case (u.Quantity(), _) | (_, u.Quantity()):
            return False
        case (bool() | str() | None, _) | (_, bool() | str() | None):
            return one is other or (type(one) is type(other) and one == other)
        case (int() | float() | np.ndarray() | np.number(), int() | float() | np.ndarray() | np.number()):
            one, other = np.asarray(one), np.asarray(other)
            if one.shape != other.shape or not all(each.dtype.kind in "iuf" for each in (one, other)):
                return bool(np.array_equal(one, other))
            return bool(np.allclose(one, other, rtol=_SAME, atol=0, equal_nan=True))
    return bool(np.all(one == other))


def _digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _create(path, result, times, settings):
    with replaced(path, foreign=stores.foreign, parents=True) as part:
        group = stores.create(part, result, times, settings=settings)
        n_channels, n_times = len(result.meta["channels"]), len(times)

        def table(name, shape, dtype, names, units=None):
            chunks = (*shape[:-1], 1) if names[-1] == "time" else (1, shape[1])
            attributes = {} if units is None else {"units": units}
            group.create_array(
                name,
                shape=shape,
                chunks=chunks,
                dtype=dtype,
                fill_value=0,
                dimension_names=names,
                attributes=attributes,
                compressors=stores.PLAIN if dtype is not np.uint8 else (_ZSTD, *stores.PLAIN),
            )

        of_images = (n_channels, n_times), ("channel", "time")
        table("image_date", of_images[0], np.int64, of_images[1], "microseconds since 1970-01-01T00:00:00")
        table("exposure_time", of_images[0], float, of_images[1], "s")
        table("fits_header", (n_times, _HEADER_SIZE), np.uint8, ("time", "byte"))
        table("step_done", (n_times,), bool, ("time",))
        stores.writable(group["step_done"])[:] = False  # a step is known not to be done, rather than missing
        stores.seal(part)


class Archive:
    """A store of steps, identified by their times."""

    def __init__(self, path, settings, defaults):
        import zarr

        name = repr(str(path))
        try:
            stores.open_store(path)
            self._group = zarr.open_group(path, mode="r+")
            old = dict(self._group.attrs["settings"], outputs=", ".join(self._group.attrs["outputs"]))
            edges = self._group["temperature_edge"]
            old["temperature_bin_edges"] = to_text(u.Quantity(edges[:], edges.attrs["units"]))[0]
        except (OSError, ValueError, KeyError) as err:
            raise wrong(
                ValueError,
                "path",
                f"{name} exists but is not the store of a batch ({err}): pass a path that does not exist yet",
            ) from err
        channels = settings["channels"].split(", ")
        different = [
            f"{key} is {_shown(old[key])} there and {_shown(new)} now"
            for key, new in settings.items()
            if not _is_same(old.setdefault(key, defaults.get(key, "not set")), new, _meaning(key, channels))
        ]
        if different:
            raise wrong(
                ValueError,
                "path",
                f"{name} was made with other settings: {'; '.join(different)}; repeat its settings, or pass a path "
                "that does not exist yet",
            )
        self._path, self._wcs = path, WCS(stores.header_of(self._group))
        self._steps = {}

    def extend(self, times):
        """Add steps for new times."""
        group = self._group
        old, new = group["time"][: group["step_done"].shape[0]], stores.to_microseconds(times)
        added = np.setdiff1d(new, old)
        if added.size and added[0] <= old[-1]:
            first = stores.from_microseconds(added[0])
            raise wrong(
                ValueError,
                "path",
                f": the store has steps up to {stores.from_microseconds(old[-1]).isot}, but not that at {first.isot}: "
                "steps can be added after the last only; pass a path that does not exist yet for these files",
            )
        every = np.concatenate([old, added])
        if added.size:
            names = [name for name, array in group.arrays() if "time" in array.metadata.dimension_names]
            # The list of finished steps is extended last: what it does not list does not count.
            for name in sorted(names, key=lambda name: name == "step_done"):
                if name == "step_done":
                    self._add_not_done(old.size, every.size)
                stores.set_length(self._path, name, every.size)
                if name == "time":
                    stores.writable(group[name])[:] = every
        self._steps = {value: step for step, value in enumerate(every.tolist())}

    def _add_not_done(self, start, stop):
        """Write chunks that mark new steps as not done, before the list of finished steps is extended."""
        import zarr

        if "sha256" not in self._group.attrs:
            return  # the first version did not write such chunks
        chunks = {}
        scratch = zarr.create_array(
            zarr.storage.MemoryStore(chunks), shape=(stop,), chunks=(1,), dtype=bool, compressors=stores.PLAIN
        )
        stores.writable(scratch)[start:] = False
        for name, chunk in chunks.items():
            if name != stores.JSON:
                (self._path / "step_done" / name).write_bytes(chunk.to_bytes())

    def _step(self, time):
        return self._steps[int(stores.to_microseconds(time))]

    def is_done(self, time):
        """Whether a step is complete."""
        try:
            return bool(self._group["step_done"][self._step(time)])
        except ValueError:  # damaged: the step is computed again
            return False

    def store(self, result, time):
        """As `sunpy_demreg._files.zarr.store`."""
        status = result["status"]
        check_same_grid(
            "maps",
            ("the store", self._wcs, self._group["status"].shape[1:]),
            ("this step", status.wcs, status.shape),
            "reproject the maps to one grid",
        )
        return stores.store(self._group, result, self._step(time))

    def mark_done(self, result, time):
        """Write the metadata of the images, then mark the step as done; return the counts of its statuses."""
        from sunpy_demreg._files.parts import pixel_header

        step, observation = self._step(time), result.meta["observation"]
        self._set("image_date", np.s_[:, step], stores.to_microseconds(Time(observation["date"])))
        self._set("exposure_time", np.s_[:, step], u.Quantity(observation["exposure_time"]).to_value(u.s))
        header = pixel_header(result["status"].wcs)[0].tostring(padding=False).encode("ascii")
        self._set("fits_header", step, np.frombuffer(header.ljust(_HEADER_SIZE), dtype=np.uint8))
        self._set("step_done", step, True)
        return counts_of(self._group["status"][step])

    def _set(self, name, item, value):
        stores.writable(self._group[name])[item] = value
