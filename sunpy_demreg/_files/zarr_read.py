"""Results read from Zarr stores, as Dask arrays."""

from functools import cache

import numpy as np

import astropy.units as u
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.wcsapi import SlicedLowLevelWCS

from sunpy_demreg._common.dates import from_microseconds
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.metadata import from_text
from sunpy_demreg._common.wcs import prepend_axis, prepend_times
from sunpy_demreg._files.encodings import decoded, unit_of
from sunpy_demreg._files.inputs import computed_again
from sunpy_demreg._files.products import Product, from_product
from sunpy_demreg._files.zarr_documents import PRODUCT, open_store, sound
from sunpy_demreg._files.zarr_lengths import as_it_was
from sunpy_demreg._results.cubes import rewrap_result

__all__ = ["done_steps", "header_of", "latest_steps", "read_store", "superseded"]


def read_store(path):
    """
    Read a store.

    Returns
    -------
    `ndcube.NDCollection` or `~sunpy_demreg._common.cube.Cube`
        With Dask arrays; for a series, only the steps that are done.
    """
    import dask.array as da

    group = as_it_was(open_store(path, or_product=True), path)
    attributes = dict(group.attrs)
    if attributes["format"].startswith(PRODUCT):
        return _product(group, path)
    meta = from_text(attributes["meta"])
    wcs = WCS(header_of(group))
    if dropped := attributes["dropped_axes"]:
        wcs = SlicedLowLevelWCS(wcs, [0 if i in dropped else slice(None) for i in range(wcs.naxis)])
    done = done_steps(group) if "step_done" in group else None
    if done is not None and not done.size:
        raise ValueError("none of its steps is done yet")
    n_axes = group["status"].ndim

    def lazily(name):
        array = _lazily(group, path, name)
        # No selection if all steps are done, and in order: it would only add tasks.
        if done is None or np.array_equal(done, np.arange(array.shape[array.ndim - n_axes])):
            return array
        return da.take(array, done, axis=array.ndim - n_axes)

    arrays = {name: lazily(name) for name in attributes["outputs"]}
    if "time" in group:
        wcs = prepend_times(wcs, _table(group, "time")[... if done is None else done])
    if done is not None:
        # Steps that are not done have no values yet.
        dates, exposures = (sound(group, name).oindex[:, done] for name in ("image_date", "exposure_time"))
        is_missing = dates == 0  # an image that a step lacks
        meta["observation"]["date"] = from_microseconds(dates)
        if is_missing.any():
            meta["observation"]["date"][is_missing] = np.ma.masked
        meta["observation"]["exposure_time"] = np.where(is_missing, np.nan, exposures) * u.s
        if "exposure_span" in group:  # of several exposures for each channel
            span = sound(group, "exposure_span").oindex[:, :, done]
            for name, values in zip(("start_offset", "end_offset"), span, strict=True):
                meta["observation"][name] = np.where(is_missing, np.nan, values) * u.s
    edges, coordinate = (_table(group, name) for name in ("temperature_edge", "channel"))
    kind = ("wavelength", "em.wl") if coordinate.unit.is_equivalent(u.m) else ("channel", "custom:channel")
    unit = next(
        (u.Unit(unit_of(group[name].attrs)) for name in ("predicted_intensity", "intensity") if name in group), None
    )
    result = rewrap_result(arrays, edges, unit, wcs, prepend_axis(wcs, coordinate, *kind), meta)
    for key in attributes["masks"]:
        result[key].mask = lazily(f"{key}_mask")
    return computed_again(result, path) if "computed_again" in meta else result


def _product(group, path):
    about = from_text(group.attrs["meta"])
    arrays = {name: _lazily(group, path, name) for name in group.attrs["outputs"]}
    axes = [(_table(group, name), name, kind) for name, kind in about["planes"]]
    return from_product(Product(arrays, header_of(group), axes, about))


def _table(group, name):
    """The coordinate of an axis: a quantity, or times."""
    table = sound(group, name)
    return from_microseconds(table[:]) if name == "time" else u.Quantity(table[:], table.attrs["units"])


def _lazily(group, path, name):
    """An array of a store as a Dask array."""
    import dask.array as da

    array = sound(group, name)
    how = array.attrs.get("encoding")
    array = da.from_array(
        _Chunks(path, name, array), chunks=array.chunks, meta=np.empty(array.ndim * (0,), array.dtype)
    )
    return array if how is None else decoded(array, how)


class _Chunks:
    """An array of a store, to be loaded by Dask."""

    def __init__(self, path, name, array):
        self.path, self.name, self.array = str(path), name, array
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def __getitem__(self, item):
        try:
            return self.array[item]
        except (OSError, MemoryError):
            raise
        except Exception as err:  # damaged chunks raise many types of errors
            what = "; ".join(line.strip() for line in str(err).splitlines() if "Set the" not in line)
            problem = f"{self.path!r} is damaged: {self.name} cannot be read ({type(err).__name__}: {what})"
            raise wrong(ValueError, "path", problem) from err

    def __dask_tokenize__(self):
        return ("sunpy_demreg store", self.path, self.name, self.shape, self.array.attrs.get("sha256"))


def header_of(group):
    """FITS header with the coordinates of the pixels; for a series those of its first step."""
    return fits.Header.fromstring(group.attrs["wcs"], sep="\n")


def latest_steps(group, steps, by_images=True):
    """
    Of some steps of a batch, given by their places, those that count.

    With a file that was repaired, or came late, a step is done again at another place: of those with an image in
    common, the one with the most images counts, and of these the last one; or simply the last one.
    """
    if "image_digest" not in group:  # of an older version
        return steps
    dates, has_image = _images(group, steps)
    n_images = has_image.sum(axis=0) if by_images else np.zeros(steps.size)
    rank = np.empty(steps.size, dtype=int)
    rank[np.lexsort((steps, n_images))] = np.arange(steps.size)
    channels = [
        (there, *np.unique(of_channel[there], return_inverse=True))
        for of_channel, there in zip(dates, has_image, strict=True)
    ]
    # The best of all with these images counts, then the best of those that have no image in common with it, ...
    counts, is_open = np.zeros(steps.size, dtype=bool), np.ones(steps.size, dtype=bool)
    while is_open.any():
        wins = is_open.copy()
        for there, different, which in channels:
            best = np.full(different.size, -1)
            np.maximum.at(best, which, np.where(is_open, rank, -1)[there])
            wins[there] &= rank[there] == best[which]
        counts |= wins
        for there, different, which in channels:
            is_taken = np.zeros(different.size, dtype=bool)
            is_taken[which[wins[there]]] = True
            is_open[there] &= ~is_taken[which]
        is_open &= ~wins
    return steps[counts]


def superseded(group, n_steps, is_done):
    """
    The places of a batch that a later one supersedes: it is done, has an image in common, and as many of them.

    What would be done there, `latest_steps` may never return.

    Parameters
    ----------
    group : `zarr.Group`
    n_steps : `int`
        How many places there are.
    is_done : callable
        Called with places of which that matters: they are few.

    Returns
    -------
    `set` of `int`
    """
    if "image_digest" not in group:
        return set()
    found, is_done = set(), cache(is_done)
    dates, has_image = _images(group, np.arange(n_steps))
    n_images = has_image.sum(axis=0)
    for of_channel, there in zip(dates, has_image, strict=True):
        places = np.flatnonzero(there)
        places = places[np.argsort(of_channel[places], kind="stable")]
        is_same = np.diff(of_channel[places]) == 0
        places = places[np.append(is_same, False) | np.append(False, is_same)] if is_same.any() else places[:0]
        for same in np.split(places, np.flatnonzero(np.diff(of_channel[places])) + 1):
            for i, place in enumerate(same.tolist()):
                later = same[i + 1 :]
                if any(map(is_done, later[n_images[later] >= n_images[place]].tolist())):
                    found.add(place)
    return found


def _images(group, steps):
    """The dates of the images of some steps, and which of them there are, (channel, step)."""
    # Not beyond: there another process may be about to add steps.
    some = slice(steps.max(initial=-1) + 1)
    names = ("image_date", "image_digest")
    dates, digests = (sound(group, name)[:, some][:, steps] for name in names)
    return dates, digests != 0


def done_steps(group):
    """The places of the finished steps of a batch, ascending in time."""
    done = latest_steps(group, np.flatnonzero(sound(group, "step_done")[:]))
    times = sound(group, "time")[: done.max(initial=-1) + 1]
    return done[np.argsort(times[done], kind="stable")]
