"""Results in Zarr stores: chunked, compressed, written and read block by block; also plain arrays for xarray."""

import numpy as np

import astropy.units as u
from astropy.io import fits
from astropy.time import Time
from astropy.wcs import WCS
from astropy.wcs.wcsapi import SlicedLowLevelWCS

from sunpy_demreg import __version__
from sunpy_demreg._lazy import is_lazy
from sunpy_demreg._metadata import from_text, to_text
from sunpy_demreg._regularization import Solution
from sunpy_demreg._status import Status
from sunpy_demreg._wcs import _celestial, _prepend_axis, _prepend_times, _times
from sunpy_demreg.result import _bin_centers, _unwrap, _wrap

__all__ = ["create", "from_microseconds", "header_of", "open_store", "read_store", "store", "to_microseconds"]

_FORMAT = "sunpy_demreg zarr 1"
_CHUNK = 256  # pixels: 36 temperatures of such a chunk are 9 MB in float32, before compression
_EPOCH = Time("1970-01-01", scale="utc")
_LEADING = {
    "dem": ("temperature",),
    "temperature_resolution": ("temperature",),
    "predicted_intensity": ("channel",),
    "emission_measure": ("range",),
    "covariance": ("temperature", "temperature_2"),
    "resolution_matrix": ("temperature", "temperature_of_plasma"),
}


def create(path, result, times=None, **attributes):
    """
    Make a store without values in it.

    Parameters
    ----------
    path : `~pathlib.Path`
    result : `ndcube.NDCollection`
        What the store is to hold; its arrays are not looked at.
    times : `~astropy.time.Time`, optional
        Of the steps of a series of results like this one.
    **attributes
        More of the group, in terms of JSON.

    Returns
    -------
    `zarr.Group`
    """
    import zarr

    from sunpy_demreg.io import _channel_coordinate, _pixel_header, _unit_name

    (solution, masks), meta = _unwrap(result), dict(result.meta)
    edges, wcs, pixel_shape = meta.pop("temperature_bin_edges"), result["status"].wcs, solution.status.shape
    if times is not None:
        pixel_shape = (len(times), *pixel_shape)
    elif (times := _times(wcs)) is not None:
        wcs = _celestial(wcs)
    header, dropped = _pixel_header(wcs)
    # Named from the end: an image has rows and columns, and whatever else is in front of them.
    names = [*(f"axis_{i}" for i in range(len(pixel_shape) - 2)), "y", "x"][-len(pixel_shape) :]
    if times is not None:
        names[0] = "time"
    # Not larger than the blocks that are computed: to join these, they would have to wait for each other in memory.
    blocks = [max(each) for each in solution.status.chunks] if is_lazy(solution.status) else solution.status.shape
    chunks = [min(_CHUNK, n) for n in blocks]
    if times is not None:
        chunks = [1, *chunks[len(chunks) - len(pixel_shape) + 1 :]]
    predicted = result.get("predicted_intensity")
    coordinate = _channel_coordinate(predicted) if predicted else np.arange(1, len(meta["channels"]) + 1) * u.one
    arrays = {name: array for name, array in solution._asdict().items() if array is not None}
    group = zarr.create_group(
        path,
        attributes={
            "format": _FORMAT,
            "creator": f"sunpy_demreg {__version__}",
            "outputs": list(arrays),
            "masks": list(masks),
            "channels": list(meta["channels"]),
            "wcs": header.tostring(sep="\n", endcard=False, padding=False),
            "dropped_axes": np.flatnonzero(dropped).tolist(),
            "meta": to_text(meta)[0],
            **attributes,
        },
    )
    arrays |= {f"{key}_mask": mask for key, mask in masks.items()}
    compressors = [zarr.codecs.BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"), zarr.codecs.Crc32cCodec()]
    for name, array in arrays.items():
        base = name.removesuffix("_uncertainty").removesuffix("_mask")
        leading = array.shape[: array.ndim - solution.status.ndim]
        group.create_array(
            name,
            shape=(*leading, *pixel_shape),
            chunks=(*leading, *chunks),
            dtype=array.dtype,
            fill_value={"status": int(Status.MASKED)}.get(name, True if array.dtype == bool else np.nan),
            dimension_names=(*_LEADING.get(base, ()), *names),
            compressors=compressors,
            attributes={"units": _unit_name(result[base].unit if array.dtype != bool else u.one)},
        )
    tables = {"temperature": _bin_centers(edges), "temperature_edge": edges, "channel": coordinate}
    for name, values in tables.items():
        table = group.create_array(name, data=values.value, dimension_names=(name,))
        table.attrs["units"] = _unit_name(values.unit)
    if times is not None:
        table = group.create_array("time", data=to_microseconds(times), chunks=(4096,), dimension_names=("time",))
        table.attrs.update(units="microseconds since 1970-01-01T00:00:00", calendar="standard")
    return group


def to_microseconds(times):
    """Since 1970 in UTC without leap seconds, as xarray counts."""
    utc = times.utc
    return np.round(((utc.jd1 - _EPOCH.jd1) + (utc.jd2 - _EPOCH.jd2)) * 86400e6).astype(np.int64)


def from_microseconds(microseconds):
    days, rest = np.divmod(microseconds, 86_400_000_000)
    times = Time(_EPOCH.jd1 + days, _EPOCH.jd2 + rest / 86400e6, format="jd", scale="utc")
    times.format = "isot"
    return times


def store(group, result, step=None):
    """
    Write the values of a result, or of one step of a series, when what is returned is computed.

    Returns
    -------
    tuple
        To be computed together: then each block is computed once for all outputs. Each is written to its own chunks.
    """
    import dask.array as da

    solution, masks = _unwrap(result)
    arrays = {name: array for name, array in solution._asdict().items() if array is not None}
    arrays |= {f"{key}_mask": mask for key, mask in masks.items()}
    n_axes = solution.status.ndim
    sources, targets, regions = [], [], []
    for name, array in arrays.items():
        pixels = (slice(None),) * n_axes
        leading = (slice(None),) * (array.ndim - n_axes)
        if step is not None:
            array = array[(*leading, None, *pixels)]
            pixels = (slice(step, step + 1), *pixels)
        target = group[name]
        # Blocks are written by many threads and processes: no two of them may share a chunk.
        sources.append(da.asarray(array).rechunk(target.chunks))
        targets.append(target)
        regions.append((*leading, *pixels))
    stored = da.store(sources, targets, regions=regions, lock=False, compute=False)
    return stored if isinstance(stored, tuple) else (stored,)


def open_store(path):
    """The group of a store that `create` made, to read."""
    import zarr

    try:
        group = zarr.open_group(path, mode="r")
    except FileNotFoundError as err:
        raise ValueError("there is no Zarr group in it") from err
    if (found := group.attrs.get("format")) != _FORMAT:
        raise ValueError(f"its attribute 'format' is {found!r}, not {_FORMAT!r}")
    return group


def header_of(group):
    """FITS header with the coordinates of the pixels, of a series those of its first step."""
    return fits.Header.fromstring(group.attrs["wcs"], sep="\n")


def read_store(path):
    """
    Read a store.

    Returns
    -------
    `ndcube.NDCollection`
        With Dask arrays; of a series only the steps that are done.
    """
    import dask.array as da

    group = open_store(path)
    attributes = dict(group.attrs)
    meta = from_text(attributes["meta"])
    wcs = WCS(header_of(group))
    if dropped := attributes["dropped_axes"]:
        wcs = SlicedLowLevelWCS(wcs, [0 if i in dropped else slice(None) for i in range(wcs.naxis)])
    done = np.flatnonzero(group["step_done"][:]) if "step_done" in group else None
    if done is not None and not done.size:
        raise ValueError("no step of it is done yet")
    n_axes = group["status"].ndim

    def lazily(name):
        array = da.from_zarr(group[name])
        # All of the steps need no selection, which would only be in the way.
        if done is None or done.size == array.shape[array.ndim - n_axes]:
            return array
        return da.take(array, done, axis=array.ndim - n_axes)

    solution = Solution(**(dict.fromkeys(Solution._fields) | {name: lazily(name) for name in attributes["outputs"]}))
    if "time" in group:
        wcs = _prepend_times(wcs, from_microseconds(group["time"][:] if done is None else group["time"][:][done]))
    if done is not None:
        meta["observation"]["date"] = from_microseconds(group["image_date"][:][:, done])
        meta["observation"]["exposure_time"] = group["exposure_time"][:][:, done] * u.s
    edges, coordinate = (
        u.Quantity(group[name][:], group[name].attrs["units"]) for name in ("temperature_edge", "channel")
    )
    kind = ("wavelength", "em.wl") if coordinate.unit.is_equivalent(u.m) else ("channel", "custom:channel")
    unit = u.Unit(group["predicted_intensity"].attrs["units"]) if "predicted_intensity" in group else None
    result = _wrap(solution, edges, unit, wcs, _prepend_axis(wcs, coordinate, *kind), meta)
    for key in attributes["masks"]:
        result[key].mask = lazily(f"{key}_mask")
    return result
