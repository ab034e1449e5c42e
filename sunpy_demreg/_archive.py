"""The Zarr store of a batch: which steps it has, which of them are done, and with which settings it was made."""

import hashlib
import os
import secrets
import shutil
import warnings
from io import StringIO

import numpy as np
from erfa import ErfaWarning

import astropy.units as u
from astropy.table import Table
from astropy.time import Time
from astropy.wcs import WCS

from sunpy_demreg import _zarr
from sunpy_demreg._metadata import to_text
from sunpy_demreg._wcs import _MAX_SHIFT, _grid_shift

__all__ = ["open_archive"]

_LONG, _START = 200, 60  # characters of a setting: that is kept by its digest, and what is kept of it
_HEADER_SIZE = 4 * 2880  # bytes of a step's FITS header, filled up with spaces


def open_archive(path, result, times, settings):
    """
    Open a store for the steps of a batch, or make it.

    Parameters
    ----------
    path : `~pathlib.Path`
    result : `ndcube.NDCollection`
        Of one step, lazy.
    times : `~astropy.time.Time`
        Of all steps, ascending.
    settings : `dict`
        All that the values of a step depend on, besides its files.

    Returns
    -------
    Archive

    Raises
    ------
    ValueError
        If the store is of another kind, was made with other settings, or the new times do not come after the old.
    """
    settings = {key: _setting(value) for key, value in settings.items()}
    settings["channels"] = ", ".join(result.meta["channels"])
    settings["shape of the images"] = str(result["status"].data.shape)
    settings["outputs and their type"] = f"{', '.join(result)} in {result['dem'].data.dtype}"
    if not path.exists():
        _create(path, result, times, settings)
    archive = Archive(path, settings)
    archive.extend(times)
    return archive


def _setting(value):
    """The text of a value if it is short; else its start, and a digest of all of it."""
    if isinstance(value, Table):  # whose text is cut to the size of the terminal
        buffer = StringIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ErfaWarning)  # that dates are far off, as the ends of such tables are
            value.write(buffer, format="ascii.ecsv")
        return f"table of {len(value)} rows (sha256 {_digest(buffer.getvalue())})"
    text = to_text(value)[0]
    if isinstance(value, np.ndarray) and value.size > 1 and value.dtype.kind in "iuf":
        ends = " to ".join(f"{end:.6g}" for end in (value.min(), value.max()))
        return f"{value.size} values from {ends} (sha256 {_digest(text)})"
    return text if len(text) <= _LONG else f"{text[:_START]}... (sha256 {_digest(text)})"


def _digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _create(path, result, times, settings):
    part = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        group = _zarr.create(part, result, times, settings=settings)
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
            )

        of_images = (n_channels, n_times), ("channel", "time")
        table("image_date", of_images[0], np.int64, of_images[1], "microseconds since 1970-01-01T00:00:00")
        table("exposure_time", of_images[0], float, of_images[1], "s")
        table("fits_header", (n_times, _HEADER_SIZE), np.uint8, ("time", "byte"))
        table("step_done", (n_times,), bool, ("time",))
        os.rename(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


class Archive:
    """A store of steps; they are named by their times."""

    def __init__(self, path, settings):
        import zarr

        name = f"`path` {str(path)!r}"
        try:
            _zarr.open_store(path)
            self._group = zarr.open_group(path, mode="r+")
            old = self._group.attrs["settings"]
        except (OSError, ValueError, KeyError) as err:
            raise ValueError(f"{name} exists but is not the store of a batch ({err}): name another") from err
        different = [
            f"{key} is {old.get(key, 'not set')} there and {settings.get(key, 'not set')} now"
            for key in (old | settings)
            if old.get(key) != settings.get(key)
        ]
        if different:
            raise ValueError(
                f"{name} was made with other settings: {'; '.join(different)}; name another store, or repeat "
                "the settings"
            )
        self._wcs = WCS(_zarr.header_of(self._group))
        self._steps = {}

    def extend(self, times):
        """Make room for those of the times that are not there yet."""
        group = self._group
        old, new = group["time"][: group["step_done"].shape[0]], _zarr.to_microseconds(times)
        added = np.setdiff1d(new, old)
        if added.size and added[0] <= old[-1]:
            first = _zarr.from_microseconds(added[0])
            raise ValueError(
                f"the store has steps up to {_zarr.from_microseconds(old[-1]).isot}, but not that at {first.isot}: "
                "steps can be added after the last only; name another store for these files"
            )
        every = np.concatenate([old, added])
        if added.size:
            # The list of what is done comes last: what it does not list does not count.
            names = sorted((name for name, _ in group.arrays()), key=lambda name: name == "step_done")
            for name in names:
                dimensions = group[name].metadata.dimension_names
                if "time" in dimensions:
                    shape = list(group[name].shape)
                    shape[dimensions.index("time")] = every.size
                    group[name].resize(tuple(shape))
                    if name == "time":
                        group[name][:] = every
        self._steps = {value: step for step, value in enumerate(every.tolist())}

    def _step(self, time):
        return self._steps[int(_zarr.to_microseconds(time))]

    def is_done(self, time):
        """Whether the values of a step are there."""
        return bool(self._group["step_done"][self._step(time)])

    def store(self, result, time):
        """As `sunpy_demreg._zarr.store`."""
        shape = result["status"].data.shape
        if shape != self._group["status"].shape[1:]:
            raise ValueError(f"its images have the shape {shape}, those of the store {self._group['status'].shape[1:]}")
        if not (shift := _grid_shift(self._wcs, result["status"].wcs, shape)) <= _MAX_SHIFT:
            raise ValueError(
                f"its grid is off that of the store by up to {shift:.2f} pixels: reproject the maps to one"
            )
        return _zarr.store(self._group, result, self._step(time))

    def mark_done(self, result, time):
        """Add what is known of the images, and then that the step is done."""
        from sunpy_demreg._parts import pixel_header

        step, observation = self._step(time), result.meta["observation"]
        self._group["image_date"][:, step] = _zarr.to_microseconds(Time(observation["date"]))
        self._group["exposure_time"][:, step] = u.Quantity(observation["exposure_time"]).to_value(u.s)
        header = pixel_header(result["status"].wcs)[0].tostring(padding=False).encode("ascii")
        self._group["fits_header"][step] = np.frombuffer(header.ljust(_HEADER_SIZE), dtype=np.uint8)
        self._group["step_done"][step] = True
