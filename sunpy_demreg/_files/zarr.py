"""Results, and single cubes, written to Zarr stores: chunked, block by block; also plain arrays for xarray."""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

import astropy.units as u
from astropy.time import Time

from sunpy_demreg import __version__
from sunpy_demreg._common.dask_arrays import as_lazy, is_lazy
from sunpy_demreg._common.dates import to_microseconds
from sunpy_demreg._common.hardware import available_cores
from sunpy_demreg._common.metadata import to_text, unit_name, warn_of_text
from sunpy_demreg._common.urls import Url
from sunpy_demreg._common.wcs import sky_wcs, times_of
from sunpy_demreg._engines.base.status import Status
from sunpy_demreg._files.encodings import CODE_OF_NAN, described, encoded, encodings_for
from sunpy_demreg._files.shards import remove_unfinished, shard_shape, stored_in
from sunpy_demreg._files.zarr_documents import FORMAT, PRODUCT, seal
from sunpy_demreg._results.cubes import unwrap_result
from sunpy_demreg.response._bins import TemperatureBins

__all__ = ["PLAIN", "create", "store", "writable", "write_product", "write_store"]

#: Codecs of small tables: not compressed, but with a checksum, like all arrays.
PLAIN = ({"name": "crc32c"},)
# Chunks of only the fill value are written too, so that a missing chunk is a lost one.
_WRITABLE = {"write_empty_chunks": True}
_CHUNK = 256  # pixels: 36 temperatures of such a chunk are 9 MB in float32, before compression
#: Of integers, and of what is told of pixels.
_FILL = {"status": int(Status.MASKED), "omitted_channels": 0, "is_resolved": False, "solved_on_gpu": False}
_FILL_OF = {"b": True, "f": np.nan, "i": CODE_OF_NAN}  # of the others, by the kind of their type
#: Values with noise in all of their bits.
_CONTINUOUS = ("dem", "predicted_intensity", "intensity", "emission_measure", "covariance", "resolution_matrix")
_LEADING = {
    "dem": ("temperature",),
    "temperature_resolution": ("temperature",),
    "is_resolved": ("temperature",),
    "predicted_intensity": ("channel",),
    "intensity": ("channel",),
    "emission_measure": ("range",),
    "covariance": ("temperature", "temperature_2"),
    "resolution_matrix": ("temperature", "temperature_of_plasma"),
}


def create(path, result, times=None, encoding=None, **attributes):
    """
    Create a store without values.

    Parameters
    ----------
    path : `~pathlib.Path` or `Url`
    result : `ndcube.NDCollection`
        A result like those to be stored; its values are not used.
    times : `~astropy.time.Time`, optional
        Of the steps of a series of results like this one.
    encoding : str, optional
        As of `sunpy_demreg.write`.
    **attributes
        More attributes of the group, of JSON types.

    Returns
    -------
    `zarr.Group`
        To be sealed with `seal` when it has all its arrays.
    """
    import zarr

    from sunpy_demreg._files.parts import OF_CHANNELS, VERSION, channel_coordinate, pixel_header

    (arrays, masks), meta = unwrap_result(result), dict(result.meta)
    encodings = encodings_for(arrays, encoding)
    if encoding is not None:
        meta["encoding"] = encoding
    status = arrays["status"]
    edges, wcs, pixel_shape = meta.pop("temperature_bin_edges"), result["status"].wcs, status.shape
    if times is not None:
        pixel_shape = (len(times), *pixel_shape)
    elif (times := times_of(wcs)) is not None:
        wcs = sky_wcs(wcs)
    header, dropped = pixel_header(wcs)
    pixels = _pixels_like(status, pixel_shape, times is not None)
    of_channels = next((result[key] for key in OF_CHANNELS if key in result), None)
    coordinate = channel_coordinate(of_channels) if of_channels else np.arange(1, len(meta["channels"]) + 1) * u.one
    text, as_text = to_text(meta)
    warn_of_text(as_text)
    group = zarr.create_group(
        _place(path),
        attributes={
            "format": f"{FORMAT} {VERSION}",
            "creator": f"sunpy_demreg {__version__}",
            "outputs": list(arrays),
            "masks": list(masks),
            "channels": list(meta["channels"]),
            "wcs": header.tostring(sep="\n", endcard=False, padding=False),
            "dropped_axes": np.flatnonzero(dropped).tolist(),
            "meta": text,
            **attributes,
        },
    )
    arrays |= {f"{key}_mask": mask for key, mask in masks.items()}
    for name, array in arrays.items():
        base = name.removesuffix("_uncertainty").removesuffix("_mask")
        leading = array.shape[: array.ndim - status.ndim]
        how, unit = encodings.get(name), unit_name(result[base].unit if array.dtype != bool else u.one)
        dtype, about = (array.dtype, {"units": unit}) if how is None else described(how, unit)
        is_noise = base in _CONTINUOUS and dtype.kind == "f" and (how is None or how["name"] == "float32")
        _add_array(
            group,
            name,
            dtype,
            (_LEADING.get(base, ()), leading),
            pixels,
            fill_value=_FILL[name] if name in _FILL else _FILL_OF[dtype.kind],
            compressors=_compressors(is_noise),
            attributes=about,
        )
    tables = {"temperature": TemperatureBins(edges).centers, "temperature_edge": edges, "channel": coordinate}
    if times is not None:
        tables["time"] = times
    for name, values in tables.items():
        _add_table(group, name, values)
    return group


class _Pixels(NamedTuple):
    """The last axes of the arrays of a store: those of the pixels, with time as the first of them."""

    shape: tuple
    names: tuple
    chunks: tuple
    shards: tuple | None


def _pixels_like(array, shape, has_times):
    # Named from the end: the last two are rows and columns.
    names = [*(f"axis_{i}" for i in range(len(shape) - 2)), "y", "x"][-len(shape) :]
    # Not larger than the computed blocks, which would otherwise have to be kept in memory to be joined.
    blocks = [max(each) for each in array.chunks] if is_lazy(array) else array.shape
    chunks = [min(_CHUNK, n) for n in blocks][-len(shape) :]
    if not has_times:
        return _Pixels(shape, names, chunks, shard_shape(shape, chunks))
    names[0] = "time"
    chunks = [1, *chunks[len(chunks) - len(shape) + 1 :]]
    # One step can be written without the others.
    return _Pixels(shape, names, chunks, shard_shape((1, *shape[1:]), chunks))


def _add_array(group, name, dtype, leading, pixels, **options):
    """Add an array: the names and lengths of its first axes, which are not divided, and the pixels after them."""
    names, lengths = leading
    group.create_array(
        name,
        shape=(*lengths, *pixels.shape),
        chunks=(*lengths, *pixels.chunks),
        shards=None if pixels.shards is None else (*lengths, *pixels.shards),
        dtype=dtype,
        dimension_names=(*names, *pixels.names),
        **options,
    )


def _add_table(group, name, values):
    """Add the coordinate of an axis: a quantity, or times, to which more may be appended."""
    if isinstance(values, Time):
        options = {"data": to_microseconds(values), "chunks": (4096,)}
        about = {"units": "microseconds since 1970-01-01T00:00:00", "calendar": "standard"}
    else:
        options, about = {"data": values.value}, {"units": unit_name(values.unit)}
    table = group.create_array(name, **options, dimension_names=(name,), compressors=PLAIN, config=_WRITABLE)
    table.attrs.update(about)


def _place(path):
    """What zarr writes to."""
    return path.store(read_only=False) if isinstance(path, Url) else path


def _compressors(is_noise):
    """Codecs of values: of those that hardly shrink the fast one, with a few percent more bytes."""
    import zarr

    name, level = ("lz4", 5) if is_noise else ("zstd", 3)
    return [zarr.codecs.BloscCodec(cname=name, clevel=level, shuffle="bitshuffle"), zarr.codecs.Crc32cCodec()]


def store(group, result, step=None):
    """
    Prepare to write the values of a result, or of one step of a series; computing the return value writes them.

    Parameters
    ----------
    group : `zarr.Group`, or `dict` of its arrays
    result : `ndcube.NDCollection`
    step : `int`, optional

    Returns
    -------
    list of `dask.delayed.Delayed`
        To be computed together, so that each block is computed once for all outputs.
    """
    import dask.array as da

    arrays, masks = unwrap_result(result)
    arrays |= {f"{key}_mask": mask for key, mask in masks.items()}
    n_axes = arrays["status"].ndim
    targets, sources, starts = [group[name] for name in arrays], [], []
    for target, array in zip(targets, arrays.values(), strict=True):
        array, start = as_lazy(array), array.ndim * (0,)
        if step is not None:
            remove_unfinished(target, step)
            axis = array.ndim - n_axes
            array, start = da.expand_dims(array, axis), (*start[:axis], step, *start[axis:])
        how = target.attrs.get("encoding")
        sources.append(array if how is None else encoded(array, how))
        starts.append(start)
    return stored_in(targets, sources, starts)


def write_store(result, path, encoding=None):
    """Write a result to a store in an empty folder; return the array of its statuses."""
    from sunpy_demreg._files.parts import check_is_whole

    check_is_whole(result)
    group = create(path, result, encoding=encoding)
    _compute(store(group, result))
    seal(path)
    return group["status"]


def write_product(cube, path):
    """Write a single cube, or a series of it in time, to a store in an empty folder."""
    import zarr

    from sunpy_demreg._files.products import PRODUCT_VERSION, to_product

    arrays, header, axes, about = to_product(cube)
    text, as_text = to_text(about)
    warn_of_text(as_text)
    names = [name for _, name, _ in axes]
    group = zarr.create_group(
        _place(path),
        attributes={
            "format": f"{PRODUCT} {PRODUCT_VERSION}",
            "creator": f"sunpy_demreg {__version__}",
            "outputs": list(arrays),
            "tables": names,
            "masks": [],
            "wcs": header.tostring(sep="\n", endcard=False, padding=False),
            "meta": text,
        },
    )
    # The times of a series are the first of the pixel axes: each is in chunks of its own.
    n_leading = len(axes) - (names[-1:] == ["time"])
    leading = names[:n_leading], cube.data.shape[:n_leading]
    pixels = _pixels_like(cube.data, cube.data.shape[n_leading:], n_leading < len(axes))
    for name, array in arrays.items():
        _add_array(
            group,
            name,
            array.dtype,
            leading,
            pixels,
            fill_value=np.nan if array.dtype.kind == "f" else 0,
            compressors=_compressors(is_noise=array.dtype.kind == "f"),
            attributes={"units": unit_name(u.one if name == "mask" else cube.unit)},
        )
    for values, name, _ in axes:
        _add_table(group, name, values)
    lazy = [as_lazy(array) for array in arrays.values()]
    _compute(stored_in([group[name] for name in arrays], lazy, [cube.data.ndim * (0,)] * len(lazy)))
    seal(path)


def _compute(stored):
    import dask

    # After an error, threads of Dask's own pool would keep writing into the removed folder.
    pool = ThreadPoolExecutor(dask.config.get("num_workers", None) or available_cores())
    try:
        with dask.config.set(pool=pool):
            dask.compute(*stored)
    finally:
        pool.shutdown(cancel_futures=True)


def writable(array):
    """An array of a store, opened for writing."""
    return array.with_config(_WRITABLE)
