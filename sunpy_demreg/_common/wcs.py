"""World coordinates of cubes: a table along the first array axis, image coordinates along the others."""

import numpy as np

import astropy.units as u
from astropy.io.fits import Header
from astropy.time import Time
from astropy.wcs import WCS
from astropy.wcs.wcsapi import BaseLowLevelWCS, SlicedLowLevelWCS
from ndcube.wcs.wrappers import CompoundLowLevelWCS


class TableWCS(BaseLowLevelWCS):
    """
    One pixel axis whose world coordinate is read from a table of ascending positive values.

    Between entries the coordinate is interpolated geometrically, and beyond them continued with the nearest ratio: so
    every pixel corner has a coordinate, those of bins evenly spaced in log T are the bin edges, and cropping to a range
    wider than the table keeps all of it. (The tabular model of gwcs gives NaN beyond the table, for which ndcube
    silently crops to the wrong planes, and it cannot write the unit Angstrom without a warning.)
    """

    def __init__(self, values, name, physical_type):
        self._values = np.array(values.value, dtype=float)
        self._unit = values.unit
        self._name = name
        self._physical_type = physical_type
        # A lone value has no spacing: any ratio keeps the mapping invertible.
        ratio = self._values[1:] / self._values[:-1] if self._values.size > 1 else np.array([2.0])
        self._ratio = np.resize(np.append(ratio, ratio[-1]), self._values.size)

    pixel_n_dim = world_n_dim = 1
    world_axis_physical_types = property(lambda self: [self._physical_type])
    world_axis_units = property(lambda self: [self._unit.to_string()])
    world_axis_names = property(lambda self: [self._name])
    world_axis_object_classes = property(lambda self: {self._name: (u.Quantity, (), {"unit": self._unit})})
    array_shape = pixel_shape = property(lambda self: self._values.shape)

    @property
    def world_axis_object_components(self):
        return [(self._name, 0, lambda quantity: quantity.to_value(self._unit))]

    def pixel_to_world_values(self, pixel):
        pixel = np.asarray(pixel, dtype=float)
        index = np.clip(np.nan_to_num(np.floor(pixel)), 0, self._values.size - 1).astype(int)
        return self._values[index] * self._ratio[index] ** (pixel - index)

    def world_to_pixel_values(self, world):
        world = np.asarray(world, dtype=float)
        index = np.clip(np.searchsorted(self._values, world, side="right") - 1, 0, self._values.size - 1)
        with np.errstate(divide="ignore", invalid="ignore"):  # coordinates that are not positive: no pixel
            return index + np.log(world / self._values[index]) / np.log(self._ratio[index])


class _TimesWCS(TableWCS):
    """The same for ascending times: the coordinate is a `~astropy.time.Time`, interpolated linearly."""

    def __init__(self, times):
        self.times_of = times
        seconds = (times - times[0]).to_value(u.s)
        # A lone time has no step: any step keeps the mapping invertible.
        step = np.diff(seconds) if seconds.size > 1 else np.array([1.0])
        self._values, self._step = seconds, np.resize(np.append(step, step[-1]), seconds.size)
        self._unit, self._name, self._physical_type = u.s, "time", "time"

    @property
    def world_axis_object_classes(self):
        start = self.times_of[0]
        return {"time": (Time, (), {}, lambda seconds, **_: start + seconds * u.s)}

    @property
    def world_axis_object_components(self):
        start = self.times_of[0]
        return [("time", 0, lambda time: (time - start).to_value(u.s))]

    def pixel_to_world_values(self, pixel):
        pixel = np.asarray(pixel, dtype=float)
        index = np.clip(np.nan_to_num(np.floor(pixel)), 0, self._values.size - 1).astype(int)
        return self._values[index] + self._step[index] * (pixel - index)

    def world_to_pixel_values(self, world):
        world = np.asarray(world, dtype=float)
        index = np.clip(np.searchsorted(self._values, world, side="right") - 1, 0, self._values.size - 1)
        return index + (world - self._values[index]) / self._step[index]


def prepend_times(wcs, times):
    """WCS of a series of cubes or images that share the given one, with the times as its first array axis."""
    return CompoundLowLevelWCS(_for_grids(wcs), _TimesWCS(times))


def prepend_axis(celestial_wcs, values, name, physical_type):
    """
    WCS of a cube whose first array axis is a table and whose others are those of `celestial_wcs`.

    Parameters
    ----------
    celestial_wcs : WCS of any kind and any number of axes, or None
        Usually the FITS WCS of an image. None where the cube has no axis but the table.
    values : `~astropy.units.Quantity`
        One ascending, positive value per pixel of the first axis.
    name, physical_type : str
        World axis name and UCD1+ physical type, such as "temperature" and "phys.temperature".
    """
    table = TableWCS(values, name, physical_type)
    if celestial_wcs is None:
        return table
    return CompoundLowLevelWCS(_for_grids(celestial_wcs), table)


def _for_grids(wcs):
    """The low-level WCS; if it is FITS's of one axis, one that can evaluate the grids of more which a cube asks for."""
    wcs = getattr(wcs, "low_level_wcs", wcs)
    if not (isinstance(wcs, WCS) and wcs.naxis == 1):
        return wcs
    shape = wcs.array_shape
    wcs = wcs.sub([1, 0])
    wcs.array_shape = shape and (1, *shape)
    return SlicedLowLevelWCS(wcs, 0)


def wcs_text(wcs):
    """The FITS WCS of an image as text, a keyword a line, without comments."""
    return "\n".join(str(card).partition(" / ")[0].rstrip() for card in wcs.to_header(relax=True).cards)


def wcs_from_text(text):
    """The inverse of `wcs_text`."""
    return WCS(Header.fromstring(str(text), sep="\n"))


def sky_wcs(wcs):
    """
    WCS of all array axes of a cube but the first; None if there is no other.

    Wrappers are undone where `prepend_axis` made the WCS, also if the cube was sliced since: the outcome
    is the WCS that went in, or an `~astropy.wcs.wcsapi.SlicedLowLevelWCS` of it, which
    `ndcube.wcs.tools.unwrap_wcs_to_fitswcs` turns into a FITS WCS.
    """
    wcs = getattr(wcs, "low_level_wcs", wcs)
    if wcs.pixel_n_dim == 1:
        return None
    celestial, slices = _unwrapped(wcs)
    if celestial is None or not isinstance(slices[0], slice):
        return SlicedLowLevelWCS(wcs, 0)
    return SlicedLowLevelWCS(celestial, slices[1:]) if isinstance(wcs, SlicedLowLevelWCS) else celestial


def plane_wcs(wcs):
    """WCS of one plane of a cube, as ``cube[2]`` is one, without the wrappers of `prepend_axis`."""
    wcs = getattr(wcs, "low_level_wcs", wcs)
    celestial, slices = _unwrapped(wcs)
    if celestial is None or isinstance(slices[0], slice):
        return wcs
    table = _table(wcs)
    if isinstance(table, _TimesWCS) and isinstance(celestial, WCS):
        celestial = _dated(celestial, table.times_of[slices[0]])
    # In the DEM of a series, the times come after the temperatures.
    return plane_wcs(SlicedLowLevelWCS(celestial, slices[1:]))


def _dated(celestial, time):
    """The WCS of an image at another time."""
    dated = celestial.deepcopy()
    dated.wcs.dateobs, dated.wcs.mjdobs = time.utc.isot, time.utc.mjd
    for name in ("datebeg", "dateavg", "dateend"):
        setattr(dated.wcs, name, "")
    for name in ("mjdbeg", "mjdavg", "mjdend"):
        setattr(dated.wcs, name, np.nan)
    return dated


def _table(wcs):
    """The WCS of the prepended table."""
    return (wcs._wcs if isinstance(wcs, SlicedLowLevelWCS) else wcs)._wcs[-1]


def times_of(wcs):
    """Times along the first array axis; None if it is another axis."""
    wcs = getattr(wcs, "low_level_wcs", wcs)
    celestial, slices = _unwrapped(wcs)
    table = None if celestial is None else _table(wcs)
    is_kept = isinstance(table, _TimesWCS) and isinstance(slices[0], slice)
    return table.times_of[slices[0]] if is_kept else None


def table_axis(wcs):
    """Name and physical type of the first array axis if `prepend_axis` or `prepend_times` made it, otherwise None."""
    wcs = getattr(wcs, "low_level_wcs", wcs)
    celestial, slices = _unwrapped(wcs)
    if celestial is None or not isinstance(slices[0], slice):
        return None
    return wcs.world_axis_names[-1], wcs.world_axis_physical_types[-1]


def table_values(wcs):
    """The coordinate along the first array axis, which `table_axis` names: a quantity, or times."""
    wcs = getattr(wcs, "low_level_wcs", wcs)
    of_axis, table = _unwrapped(wcs)[1][0], _table(wcs)
    return table.times_of[of_axis] if isinstance(table, _TimesWCS) else (table._values * table._unit)[of_axis]


def _unwrapped(wcs):
    """The WCS that went into `prepend_axis` and how the cube was sliced since; (None, None) for any other WCS."""
    sliced = isinstance(wcs, SlicedLowLevelWCS)
    inner = wcs._wcs if sliced else wcs
    if not (isinstance(inner, CompoundLowLevelWCS) and isinstance(inner._wcs[-1], TableWCS)):
        return None, None
    return inner._wcs[0], wcs._slices_array if sliced else [slice(None)] * inner.pixel_n_dim


def pixel_wcs(shape):
    """FITS WCS for data that came without one: along each axis the index of the pixel, without a unit."""
    wcs = WCS(naxis=len(shape))
    wcs.wcs.ctype = ["LINEAR"] * len(shape)
    wcs.wcs.crpix = np.ones(len(shape))
    wcs.array_shape = shape
    return wcs
