"""Results in Zarr stores: chunked, compressed, written and read block by block; also plain arrays for xarray.

All that is read is verified: each chunk ends in a checksum and must exist, and each ``zarr.json`` holds a checksum of
itself.
"""

import hashlib
import json
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import astropy.units as u
from astropy.io import fits
from astropy.time import Time
from astropy.wcs import WCS
from astropy.wcs.wcsapi import SlicedLowLevelWCS

from sunpy_demreg import __version__
from sunpy_demreg._common.atomic import replaced
from sunpy_demreg._common.dask_arrays import as_lazy, is_lazy
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.hardware import available_cores
from sunpy_demreg._common.metadata import from_text, to_text, warn_of_text
from sunpy_demreg._common.wcs import prepend_axis, prepend_times, sky_wcs, times_of
from sunpy_demreg._engines.base.status import Status
from sunpy_demreg._files.encodings import CODE_OF_NAN, decoded, described, encoded, encodings_for, unit_of
from sunpy_demreg._files.inputs import computed_again
from sunpy_demreg._files.shards import remove_unfinished, shard_shape, stored_in
from sunpy_demreg._results.cubes import rewrap_result, unwrap_result
from sunpy_demreg.response._bins import TemperatureBins

__all__ = [
    "BOOKKEEPING",
    "JSON",
    "PLAIN",
    "create",
    "done_steps",
    "foreign",
    "from_microseconds",
    "header_of",
    "latest_steps",
    "open_store",
    "read_store",
    "seal",
    "set_length",
    "store",
    "to_microseconds",
    "writable",
    "write_store",
]

_FORMAT = "sunpy_demreg zarr"
JSON = "zarr.json"
_TABLES = ("temperature", "temperature_edge", "channel", "time")
_OF_BATCH = ("image_date", "image_digest", "exposure_time", "fits_header", "step_done")
#: Folder of a batch: what the processes that write the store need to know.
BOOKKEEPING = "batch"
#: Codecs of small tables: not compressed, but with a checksum, like all arrays.
PLAIN = ({"name": "crc32c"},)
# Chunks of only the fill value are written too, so that a missing chunk is a lost one.
_WRITABLE = {"write_empty_chunks": True}
_CHUNK = 256  # pixels: 36 temperatures of such a chunk are 9 MB in float32, before compression
#: Besides its arrays. Zarr and this package leave the other two where they are killed.
_OF_GROUP = r"zarr\.json|zarr\.[0-9a-f]{32}\.partial|\.[0-9a-f]{12}\.part\.json"
_OF_ARRAY = re.compile(rf"{_OF_GROUP}|c(/\d+)*(\.[0-9a-f]{{32}}\.partial)?")
_OF_GROUP = re.compile(_OF_GROUP)
_OF_BOOKKEEPING = re.compile(r"zarr\.json|index\.sqlite|\.[0-9a-f]{12}\.part\.(sqlite|json)|claims(/[\w.-]+)?")
_EPOCH = Time("1970-01-01", scale="utc")
_FILL = {"status": int(Status.MASKED), "omitted_channels": 0, "is_resolved": False}  # of integers
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
    path : `~pathlib.Path`
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

    from sunpy_demreg._common.metadata import unit_name
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
    # Named from the end: the last two are rows and columns.
    names = [*(f"axis_{i}" for i in range(len(pixel_shape) - 2)), "y", "x"][-len(pixel_shape) :]
    if times is not None:
        names[0] = "time"
    # Not larger than the computed blocks, which would otherwise have to be kept in memory to be joined.
    blocks = [max(each) for each in status.chunks] if is_lazy(status) else status.shape
    chunks = [min(_CHUNK, n) for n in blocks]
    if times is not None:
        chunks = [1, *chunks[len(chunks) - len(pixel_shape) + 1 :]]
        shards = shard_shape((1, *pixel_shape[1:]), chunks)  # one step can be written without the others
    else:
        shards = shard_shape(pixel_shape, chunks)
    of_channels = next((result[key] for key in OF_CHANNELS if key in result), None)
    coordinate = channel_coordinate(of_channels) if of_channels else np.arange(1, len(meta["channels"]) + 1) * u.one
    text, as_text = to_text(meta)
    warn_of_text(as_text)
    group = zarr.create_group(
        path,
        attributes={
            "format": f"{_FORMAT} {VERSION}",
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
        group.create_array(
            name,
            shape=(*leading, *pixel_shape),
            chunks=(*leading, *chunks),
            shards=None if shards is None else (*leading, *shards),
            dtype=dtype,
            fill_value=_FILL[name] if name in _FILL else _FILL_OF[dtype.kind],
            dimension_names=(*_LEADING.get(base, ()), *names),
            compressors=_compressors(is_noise),
            attributes=about,
        )
    tables = {"temperature": TemperatureBins(edges).centers, "temperature_edge": edges, "channel": coordinate}
    for name, values in tables.items():
        table = group.create_array(
            name, data=values.value, dimension_names=(name,), compressors=PLAIN, config=_WRITABLE
        )
        table.attrs["units"] = unit_name(values.unit)
    if times is not None:
        table = group.create_array(
            "time",
            data=to_microseconds(times),
            chunks=(4096,),
            dimension_names=("time",),
            compressors=PLAIN,
            config=_WRITABLE,
        )
        table.attrs.update(units="microseconds since 1970-01-01T00:00:00", calendar="standard")
    return group


def _compressors(is_noise):
    """Codecs of values: of those that hardly shrink the fast one, with a few percent more bytes."""
    import zarr

    name, level = ("lz4", 5) if is_noise else ("zstd", 3)
    return [zarr.codecs.BloscCodec(cname=name, clevel=level, shuffle="bitshuffle"), zarr.codecs.Crc32cCodec()]


def to_microseconds(times):
    """Microseconds since 1970 in UTC without leap seconds, as in xarray."""
    utc = times.utc
    return np.round(((utc.jd1 - _EPOCH.jd1) + (utc.jd2 - _EPOCH.jd2)) * 86400e6).astype(np.int64)


def from_microseconds(microseconds):
    days, rest = np.divmod(microseconds, 86_400_000_000)
    times = Time(_EPOCH.jd1 + days, _EPOCH.jd2 + rest / 86400e6, format="jd", scale="utc")
    times.format = "isot"
    return times


def store(group, result, step=None):
    """
    Prepare to write the values of a result, or of one step of a series; computing the return value writes them.

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
    import dask

    from sunpy_demreg._files.parts import check_is_whole

    check_is_whole(result)
    group = create(path, result, encoding=encoding)
    stored = store(group, result)
    # After an error, threads of Dask's own pool would keep writing into the removed folder.
    pool = ThreadPoolExecutor(dask.config.get("num_workers", None) or available_cores())
    try:
        with dask.config.set(pool=pool):
            dask.compute(*stored)
    finally:
        pool.shutdown(cancel_futures=True)
    seal(path)
    return group["status"]


def writable(array):
    """An array of a store, opened for writing."""
    return array.with_config(_WRITABLE)


def foreign(path):
    """Why a folder is not a store written by this package, and nothing else; None if it is."""
    try:
        attributes = json.loads((path / JSON).read_bytes())["attributes"]
        is_ours = attributes["format"].startswith(f"{_FORMAT} ")
        own = {*_TABLES, *_OF_BATCH, *attributes["outputs"], *(f"{key}_mask" for key in attributes["masks"])}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        is_ours = False
    if not is_ours:
        return "it is a folder, but not a store that sunpy_demreg wrote"

    def is_foreign(name):
        array, _, rest = name.partition("/")
        if array in own:
            return bool(rest) and not _OF_ARRAY.fullmatch(rest)
        if array == BOOKKEEPING:
            return bool(rest) and not _OF_BOOKKEEPING.fullmatch(rest)
        return not _OF_GROUP.fullmatch(name)

    others = sorted(filter(is_foreign, (each.relative_to(path).as_posix() for each in path.rglob("*"))))
    return f"it holds {', '.join(others[:3])}, which sunpy_demreg did not write" if others else None


def seal(path):
    """Give each file ``zarr.json`` of a store its checksum."""
    names = sorted(each.name for each in path.iterdir() if each.is_dir() and each.name != BOOKKEEPING)
    for name in ("", *names):
        document = _document(path, name)
        if not name:
            document["attributes"]["arrays"] = names
        document["attributes"]["sha256"] = _digest(document, name)
        (path / name / JSON).write_text(json.dumps(document, indent=2))


def set_length(path, name, n):
    """Change the number of time steps of an array, together with its checksum."""
    document = _document(path, name)
    document["shape"][document["dimension_names"].index("time")] = n
    if "sha256" in document["attributes"]:
        document["attributes"]["sha256"] = _digest(document, name)
    with replaced(path / name / JSON, overwrite=True) as part:
        part.write_text(json.dumps(document, indent=2))


def _document(path, name):
    return json.loads((path / name / JSON).read_bytes())


def _digest(document, name):
    attributes = {key: value for key, value in document["attributes"].items() if key != "sha256"}
    text = json.dumps([name, document | {"attributes": attributes}], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _verify(path, name):
    document = _document(path, name)
    if document["attributes"]["sha256"] != _digest(document, name):
        raise ValueError(f"the checksum of {name or 'the store'}/{JSON} does not match")


def open_store(path):
    """Open a store that `create` made, for reading; everything but the chunks is verified."""
    import zarr

    from sunpy_demreg._files.parts import format_version

    try:
        group = zarr.open_group(path, mode="r")
    except FileNotFoundError as err:
        raise ValueError("there is no Zarr group in it") from err
    if format_version(group.attrs.get("format"), _FORMAT) > 1 or "sha256" in group.attrs:
        for name in ("", *group.attrs["arrays"]):
            _verify(path, name)
    return group


def _sound(group, name):
    """An array of a store; a missing chunk is an error if the store was written with all of them."""
    return group[name].with_config({"read_missing_chunks": "sha256" not in group.attrs})


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


def latest_steps(group, steps):
    """
    Of some steps of a batch, given by their places, those that count.

    With a file that was repaired, or came late, a step is done again at another place: of those with an image in
    common, the last one counts.
    """
    if "image_digest" not in group:  # of an older version
        return steps
    # Not beyond: there another process may be about to add steps.
    some = slice(steps.max(initial=-1) + 1)
    dates = _sound(group, "image_date")[:, some][:, steps]
    has_image = _sound(group, "image_digest")[:, some][:, steps] != 0
    counts = np.ones(steps.size, dtype=bool)
    for dates_of_channel, there in zip(dates, has_image, strict=True):
        some = np.flatnonzero(there)
        some = some[np.lexsort((steps[some], dates_of_channel[some]))]
        counts[some[:-1][dates_of_channel[some[:-1]] == dates_of_channel[some[1:]]]] = False
    return steps[counts]


def done_steps(group):
    """The places of the finished steps of a batch, ascending in time."""
    done = latest_steps(group, np.flatnonzero(_sound(group, "step_done")[:]))
    times = _sound(group, "time")[: done.max(initial=-1) + 1]
    return done[np.argsort(times[done], kind="stable")]


def read_store(path):
    """
    Read a store.

    Returns
    -------
    `ndcube.NDCollection`
        With Dask arrays; for a series, only the steps that are done.
    """
    import dask.array as da

    group = open_store(path)
    attributes = dict(group.attrs)
    meta = from_text(attributes["meta"])
    wcs = WCS(header_of(group))
    if dropped := attributes["dropped_axes"]:
        wcs = SlicedLowLevelWCS(wcs, [0 if i in dropped else slice(None) for i in range(wcs.naxis)])
    done = done_steps(group) if "step_done" in group else None
    if done is not None and not done.size:
        raise ValueError("none of its steps is done yet")
    n_axes = group["status"].ndim

    def lazily(name):
        array = _sound(group, name)
        how = array.attrs.get("encoding")
        array = da.from_array(
            _Chunks(path, name, array), chunks=array.chunks, meta=np.empty(array.ndim * (0,), array.dtype)
        )
        array = array if how is None else decoded(array, how)
        # No selection if all steps are done, and in order: it would only add tasks.
        if done is None or np.array_equal(done, np.arange(array.shape[array.ndim - n_axes])):
            return array
        return da.take(array, done, axis=array.ndim - n_axes)

    arrays = {name: lazily(name) for name in attributes["outputs"]}
    if "time" in group:
        times = _sound(group, "time")
        wcs = prepend_times(wcs, from_microseconds(times[:] if done is None else times.oindex[done]))
    if done is not None:
        # Steps that are not done have no values yet.
        meta["observation"]["date"] = from_microseconds(_sound(group, "image_date").oindex[:, done])
        meta["observation"]["exposure_time"] = _sound(group, "exposure_time").oindex[:, done] * u.s
    edges, coordinate = (
        u.Quantity(_sound(group, name)[:], group[name].attrs["units"]) for name in ("temperature_edge", "channel")
    )
    kind = ("wavelength", "em.wl") if coordinate.unit.is_equivalent(u.m) else ("channel", "custom:channel")
    unit = next(
        (u.Unit(unit_of(group[name].attrs)) for name in ("predicted_intensity", "intensity") if name in group), None
    )
    result = rewrap_result(arrays, edges, unit, wcs, prepend_axis(wcs, coordinate, *kind), meta)
    for key in attributes["masks"]:
        result[key].mask = lazily(f"{key}_mask")
    return computed_again(result, path) if "computed_again" in meta else result
