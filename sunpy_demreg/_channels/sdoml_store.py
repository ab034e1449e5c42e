"""What is in a store of SDOMLv2: arrays of a year and a channel, and the headers of their images."""

import re
from functools import cached_property
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

import astropy.units as u
from astropy.time import Time

from sunpy_demreg._channels.headers import flags_of
from sunpy_demreg._channels.sdoml_errors import SIDE
from sunpy_demreg._channels.time_sets import Image
from sunpy_demreg._common.constants import AIA_CHANNELS
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.urls import Url, file_of

__all__ = [
    "SYNOPTIC_PIXEL",
    "StoreImage",
    "Values",
    "array_name",
    "arrays_of",
    "check_exists",
    "check_flags",
    "image_in_store",
    "images_of",
    "keys_of",
    "number",
    "sdoml_store",
    "version_of",
]

SYNOPTIC_PIXEL = 2.4  # arcsec
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z?")
_SYNOPTIC, _SCALE = np.broadcast_to(0.0, (SIDE, SIDE)), u.Quantity([SYNOPTIC_PIXEL] * 2, u.arcsec / u.pix)
_NEEDED = ("T_OBS", "EXPTIME", "DEG_COR", "RSUN_OBS", "CRPIX1", "CRPIX2", "CDELT1", "CDELT2")
# What is kept of a header: counts, flags, coordinates and observer.
_KEPT = re.compile(
    "t_obs|date-obs|timesys|exptime|deg_cor|rsun_(obs|ref)|telescop|instrume|wave(lnth|unit)|lvl_num|quality|percentd|"
    "missvals|totvals|img_type|acs_(mode|eclp|sunp|safe)|(ctype|cunit|crpix|crval|cdelt)[12]|crota2|hae[xyz]_obs|"
    "dsun_(obs|ref)|(hg|cr)l[nt]_obs"
)


class StoreImage(NamedTuple):
    """An image in a store."""

    store: object  # path or URL
    array: str  # such as "2014/171A"
    index: int | None  # None stands for an image that there is not
    header: dict  # as sunpy has it, what is kept of it

    @property
    def radius(self):
        """That of the Sun, in arcsec."""
        return number(self.header, "rsun_obs")


def sdoml_store(maps):
    """The store that the argument `maps` names, alone or in a list; None if it names other things."""
    items = list(maps) if isinstance(maps, list | tuple) else [maps]
    stores = [each for each in items if isinstance(each, str) or hasattr(each, "suffix")]
    stores = [each for each in stores if str(each).rstrip("/").partition("?")[0].endswith(".zarr")]
    if not stores:
        return None
    if len(items) > 1:
        raise wrong(
            ValueError,
            "maps",
            f"hold {stores[0]} beside other things: pass an SDOMLv2 store alone, and maps or files by themselves",
        )
    return file_of(stores[0], "maps")


def array_name(year, channel):
    return f"{year}/{channel}A"


def keys_of(times):
    """The years that a range of times is in, each with all channels."""
    first, last = (int(Time(each, format="unix_tai").utc.isot[:4]) for each in (times.start, times.stop - 1e-3))
    return [(year, channel) for year in range(first, last + 1) for channel in AIA_CHANNELS]


class Array(NamedTuple):
    """What is in a store of a channel and a year."""

    shape: tuple  # (time, y, x)
    attributes: dict  # lists of the values of each keyword

    def headers(self, which):
        """What is kept of those of some images, as sunpy has them."""
        columns = {
            key.lower(): value
            for key, value in self.attributes.items()
            if _KEPT.fullmatch(key.lower()) and isinstance(value, list) and len(value) == self.shape[0]
        }
        for i in which:
            header = {key: value[i] for key, value in columns.items()}
            yield {key: value for key, value in header.items() if not (value is None or _is_infinite(value))}


def arrays_of(path, argument, keys, near=()):
    """Of those of some years and channels that are there, an Array; at least one. And of years near to them."""
    import zarr

    def opened():
        group = zarr.open_group(path.store() if isinstance(path, Url) else path, mode="r")
        found = {}
        for key in sorted({*keys, *near}):
            try:
                values = group[array_name(*key)]
            except KeyError:
                continue
            found[key] = Array(values.shape, dict(values.attrs))
        return found

    check_exists(path, argument)
    try:
        if isinstance(path, Url):
            with path.reached():
                found = opened()
        else:
            found = opened()
    except FileNotFoundError as err:
        kind = FileNotFoundError if isinstance(path, Url) else ValueError
        raise wrong(kind, argument, f": there is no Zarr group at {path}") from err
    if not found.keys() & set(keys):
        years = sorted({year for year, _ in keys})
        wanted = f"{years[0]}/94A" if len(years) == 1 else f"{years[0]}/94A to {years[-1]}/94A"
        raise wrong(
            ValueError, argument, f"has no arrays {wanted}, and so on: it is no SDOMLv2 store, or of other years"
        )
    for (year, channel), (shape, attributes) in found.items():
        lacks = [key for key in _NEEDED if np.shape(attributes.get(key)) != shape[:1]]
        if lacks or len(shape) != 3 or SIDE % shape[1] or shape[1] != shape[2]:
            has = f"no {lacks[0]!r} of each image" if lacks else f"the shape {shape}"
            raise wrong(
                ValueError, argument, f": its array {array_name(year, channel)} has {has}: it is no SDOMLv2 store"
            )
    return found


def check_exists(path, argument):
    """Raise if there is no such folder on the disk; of a URL it turns out when it is read."""
    if not isinstance(path, Url) and not path.exists():
        raise wrong(FileNotFoundError, argument, f": there is no store {path}")


def version_of(path, array):
    """Size and time of what holds the headers of an array, which change with them; None if there is none."""
    for name in (".zattrs", "zarr.json"):
        try:
            facts = (path / array / name).stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        return facts.st_size, facts.st_mtime_ns
    return None


def images_of(path, key, array):
    """
    All of a year and channel, as entries to sort.

    What is wrong with one, beside flags, is its problem. Those without a date, of which nobody knows whether they are
    in a range, have an infinite time.
    """
    name, texts = array_name(*key), [str(text) for text in array.attributes["T_OBS"]]
    known = [i for i, text in enumerate(texts) if _DATE.fullmatch(text)]
    seconds = np.full(len(texts), np.inf)
    if known:
        dates = Time([texts[i].removesuffix("Z") for i in known], format="isot", scale="utc")
        seconds[known] = dates.unix_tai
    for i, header in enumerate(array.headers(range(len(texts)))):
        problem = _problem(header) if np.isfinite(seconds[i]) else f"T_OBS is {array.attributes['T_OBS'][i]}"
        yield Image(f"{name}[{i}]", key[1], float(seconds[i]), StoreImage(path, name, i, header), problem)


def image_in_store(name, place):
    """The entry to sort for an image of a known name and place."""
    channel = int(place.array.partition("/")[2].rstrip("A"))
    return Image(name, channel, _seconds(place.header["t_obs"]), place)


def _seconds(text):
    return float(Time(text.removesuffix("Z"), format="isot", scale="utc").unix_tai)


def _problem(header):
    """Why an image cannot be used, None if it can."""
    for key in ("exptime", "deg_cor", "rsun_obs"):
        if not 0 < number(header, key) < np.inf:
            return f"{key.upper()} is {header.get(key, 'no finite number')}"
    for key in ("crpix1", "crpix2", "cdelt1", "cdelt2"):
        if not np.isfinite(number(header, key)):
            return f"{key.upper()} is {header.get(key, 'no finite number')}"
    return None


def check_flags(header):
    """What a header says against its image; None if nothing."""
    reasons, _ = flags_of(SimpleNamespace(meta=header, data=_SYNOPTIC, scale=_SCALE))
    return "; ".join(reasons) or None


def _is_infinite(value):
    """Whether it is a number that neither JSON nor FITS has."""
    return isinstance(value, float) and not np.isfinite(value)


def number(header, key):
    try:
        return float(header.get(key))
    except (TypeError, ValueError):
        return np.nan


class Values:
    """
    The images of a year and channel, (time, y, x), as an array whose elements are read when it is indexed.

    Without the attributes of the Zarr array, the headers of all images, which are hundreds of megabytes.
    """

    ndim = 3

    def __init__(self, path, array):
        self._place = path, array
        self.shape, self.dtype, self.chunks = self._zarr.shape, self._zarr.dtype, self._zarr.chunks

    @cached_property
    def _zarr(self):
        import zarr

        path, array = self._place
        store = path.store() if isinstance(path, Url) else zarr.storage.LocalStore(path, read_only=True)

        class Lean(zarr.storage.WrapperStore):
            async def get(self, key, *args, **kwargs):
                return None if key.endswith(".zattrs") else await super().get(key, *args, **kwargs)

        return zarr.open_array(Lean(store), path=array, mode="r")

    def __getitem__(self, item):
        return self._zarr[item]

    def __reduce__(self):
        return Values, self._place

    def __dask_tokenize__(self):
        return "sunpy_demreg SDOML images", str(self._place[0]), self._place[1], version_of(*self._place)
