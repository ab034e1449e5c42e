"""Wrap plain arrays as an NDCollection of aligned cubes: units, coordinates and masks are attached here."""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

import astropy.units as u
from astropy.nddata import StdDevUncertainty
from ndcube import NDCollection, NDCube

from sunpy_demreg._common.constants import DEM_UNIT, EM_UNIT
from sunpy_demreg._common.cube import (
    Cube,
    Meta,
    as_index,
    meta_by_axis,
    meta_by_channel,
    sliced_observation,
)
from sunpy_demreg._common.dask_arrays import is_lazy
from sunpy_demreg._common.log_t import in_log_t
from sunpy_demreg._common.wcs import prepend_axis
from sunpy_demreg._engines.base.solution import Solution
from sunpy_demreg._engines.base.status import is_unsolved, status_counts
from sunpy_demreg._results.settings import as_of_today, meta_of_product
from sunpy_demreg.response._bins import TemperatureBins

__all__ = ["KEYS", "pixel_mask", "rewrap_result", "unwrap_result", "wrap_result"]

#: The keys of all cubes that an inversion can return.
KEYS = (
    *(field for field in Solution._fields[:-1] if not field.endswith("_uncertainty")),
    "intensity",
    "omitted_channels",
    "solved_on_gpu",
    "status",
)
#: What each of them is, in words.
_CONTENT = {
    "dem": "differential emission measure",
    "temperature_resolution": "temperature resolution (FWHM)",
    "chi_squared": "chi-squared per channel",
    "predicted_intensity": "predicted intensity",
    "regularization_parameter": "regularization parameter",
    "emission_measure": "emission measure",
    "is_resolved": "whether the bin is resolved",
    "covariance": "covariance of the DEM",
    "resolution_matrix": "resolution matrix",
    "omitted_channels": "omitted channels, as bits",
    "solved_on_gpu": "whether a GPU solved the pixel",
    "status": "status flags",
}
_WITH_ERRORS = ("dem", "emission_measure", "covariance")


class _Result(NDCollection):
    """
    An NDCollection that slices like its cubes, for instance ``result[..., 10:20, -40:]``, and can be pickled.

    Cubes of the same pixels are added with ``result["name"] = cube``.
    """

    def __getitem__(self, item):
        names = item if isinstance(item, list | tuple) else [item]
        if names and all(isinstance(name, str) for name in names):
            return super().__getitem__(item)
        item = as_index(item, self._pixel_shape, "result")
        sliced = super().__getitem__(item)
        if (observation := sliced_observation(self.meta, item)) is not None:
            sliced.meta = self.meta | {"observation": observation}
            for cube in sliced.values():  # one for all of them, as in the whole result
                if "observation" in (cube.meta or {}):
                    cube.meta["observation"] = observation
        if "status" in self and is_lazy(self["status"].data):
            # Derived again rather than stored in files: see `unwrap_result`.
            changed = unwrap_result(self)[1]
            unsolved = is_unsolved(sliced["status"].data)
            for key in sliced.keys() - {"intensity", "status", *changed}:
                sliced[key].mask = pixel_mask(unsolved, sliced[key].data.shape)
        return sliced

    def __setitem__(self, key, cube):
        self._check(key, cube)
        dict.__setitem__(self, key, cube)
        self.aligned_axes[key] = tuple(range(cube.data.ndim - self.n_aligned_axes, cube.data.ndim))

    def update(self, other, *aligned_axes):
        """Add the cubes of another collection, a dict, or pairs of names and cubes; all must have the same pixels."""
        cubes = dict(other)
        for key, cube in cubes.items():
            self._check(key, cube)
        if aligned_axes:
            super().update(list(cubes.items()), *aligned_axes)
        elif isinstance(other, NDCollection):
            super().update(other)
        else:
            for key, cube in cubes.items():
                self[key] = cube

    def __ior__(self, other):
        self.update(other)
        return self

    def __or__(self, other):
        if not isinstance(other, Mapping):
            return NotImplemented
        joined = self.copy()
        joined.update(other)
        return joined

    def __reduce__(self):
        # `pickle` would set the items of a dict before its attributes, which `__setitem__` needs.
        return _collection, (type(self), list(self.items()), self.aligned_axes, self.meta)

    @property
    def _pixel_shape(self):
        return tuple(self.aligned_dimensions)

    def _check(self, key, cube):
        if not isinstance(key, str):
            raise TypeError(f"the names of cubes in a result are strings, but got {key!r}")
        if not isinstance(cube, NDCube):
            raise TypeError(f"a result holds cubes, but `result[{key!r}]` would be a {type(cube).__name__}")
        if cube.shape[-self.n_aligned_axes :] != self._pixel_shape:
            raise ValueError(
                f"`result[{key!r}]` must have the pixels of the result, {self._pixel_shape}, as its last axes, but the "
                f"cube is of shape {cube.shape}"
            )

    def __str__(self):  # which `repr` of a collection shows, too
        status = self["status"].data if "status" in self else None
        if isinstance(status, np.ndarray):
            told = ", ".join(f"{count} {name}" for name, count in status_counts(status).items())
        else:
            told = "not computed yet"
        return f"{super().__str__()}\nStatus: {told}"

    def _repr_html_(self):
        from sunpy_demreg._results.html import result_html

        return result_html(self)


def _collection(kind, cubes, aligned_axes, meta):
    return kind(cubes, tuple(aligned_axes.values()), meta, sanitize_inputs=False)


def wrap_result(solution, edges, intensity_unit, wcs, channel_wcs, meta, observed=None, omitted=None, on_gpu=None):
    """
    Make the cubes of a result.

    Parameters
    ----------
    solution : `sunpy_demreg._engines.base.solution.Solution`
        Plain arrays, channel or temperature axis first.
    edges : `astropy.units.Quantity`
        Temperature bin edges.
    intensity_unit : `astropy.units.Unit`
    wcs : WCS
        Of the pixel axes.
    channel_wcs : WCS
        Of the channel axis and the pixel axes.
    meta : dict
        Becomes the metadata of the collection, with the bin edges added.
    observed : tuple of array, (n, ...), optional
        The intensity that was inverted, its uncertainty, and its mask or None.
    omitted : array of unsigned integers, (...), optional
        The channels that were left out, as bits.
    on_gpu : array of bool, (...), optional
        Which pixels a GPU solved.

    Returns
    -------
    `ndcube.NDCollection`
    """
    if "channels" in meta and meta.get("observation"):
        shape = len(meta["channels"]), *solution.status.shape
        meta = meta | {"observation": meta_by_axis(meta["observation"], shape)}
    unsolved = is_unsolved(solution.status)
    centers = TemperatureBins(edges).centers
    temperature_wcs = prepend_axis(wcs, centers, "temperature", "phys.temperature")

    def range_wcs():
        return prepend_axis(wcs, np.arange(1, len(solution.emission_measure) + 1) * u.one, "range", "custom:range")

    def matrix_wcs():
        of_plasma = prepend_axis(wcs, centers, "temperature_of_plasma", "phys.temperature")
        return prepend_axis(of_plasma, centers, "temperature", "phys.temperature")

    one = u.dimensionless_unscaled
    cubes = {}
    for key, unit, make_wcs in (
        ("dem", DEM_UNIT, lambda: temperature_wcs),
        ("temperature_resolution", u.dex, lambda: temperature_wcs),
        ("chi_squared", one, lambda: wcs),
        ("predicted_intensity", intensity_unit, lambda: channel_wcs),
        ("regularization_parameter", one, lambda: wcs),
        ("emission_measure", EM_UNIT, range_wcs),
        ("is_resolved", one, lambda: temperature_wcs),
        ("covariance", DEM_UNIT**2, matrix_wcs),
        ("resolution_matrix", one, matrix_wcs),
    ):
        array = getattr(solution, key)
        if array is None:
            continue
        error = getattr(solution, f"{key}_uncertainty", None)
        cubes[key] = Cube(
            array,
            make_wcs(),
            unit=unit,
            uncertainty=None if error is None else StdDevUncertainty(error, copy=False),
            mask=pixel_mask(unsolved, array.shape),
            meta=_meta_of_output(key, meta, edges, array.shape),
        )
    if observed is not None:
        intensity, error, mask = observed
        cubes["intensity"] = Cube(
            intensity,
            channel_wcs,
            unit=intensity_unit,
            uncertainty=StdDevUncertainty(error, copy=False),
            mask=np.zeros_like(intensity, dtype=bool) if mask is None else mask,
            meta=_meta_of_data(meta, intensity.shape),
        )
    for key, array in (("omitted_channels", omitted), ("solved_on_gpu", on_gpu)):
        if array is not None:
            mask, about = pixel_mask(unsolved, array.shape), _meta_of_output(key, meta, edges, None)
            cubes[key] = Cube(array, wcs, unit=one, mask=mask, meta=about)
    cubes["status"] = Cube(solution.status, wcs, unit=one, meta=_meta_of_output("status", meta, edges, None))
    n_pixel_axes = solution.status.ndim
    aligned = tuple(tuple(range(c.data.ndim - n_pixel_axes, c.data.ndim)) for c in cubes.values())
    return _Result(list(cubes.items()), aligned_axes=aligned, meta={"temperature_bin_edges": edges, **meta})


def _meta_of_output(key, meta, edges, shape):
    """What the values of an output are, plane by plane where it has planes, and how they were made."""
    about = meta_of_product(meta)
    if key not in _WITH_ERRORS:
        about = {name: value for name, value in about.items() if name in ("observation", "settings")}
    words, planes = _CONTENT[key], None
    log_edges = np.log10(edges.to_value(u.K))
    if key in ("dem", "temperature_resolution", "is_resolved"):
        planes = [in_log_t(*each, among=log_edges) for each in pairwise(log_edges)]
    elif key == "emission_measure" and meta.get("emission_measure_ranges") is not None:
        ranges = np.log10(meta["emission_measure_ranges"].to_value(u.K))
        planes = [in_log_t(*each, among=ranges.flat) for each in ranges]
    elif key == "predicted_intensity" and "channels" in meta:
        planes = list(meta["channels"])
    if planes is None or len(planes) != shape[0]:
        return {"content": words, **about}
    content = np.array([f"{words}, {plane}" for plane in planes])
    return Meta({"content": content, **about}, axes={"content": 0}, data_shape=shape)


def _meta_of_data(meta, shape):
    """What the data said of themselves, so that they can be inverted again in the same way."""
    if "channels" not in meta:
        return None
    own = dict(meta.get("observation") or {})
    if meta.get("calibration_error") is not None:  # which is in their uncertainty
        own["calibration_error"] = np.array([meta["calibration_error"][label] for label in meta["channels"]])
    return meta_by_channel(meta["channels"], own, shape)


def unwrap_result(result):
    """
    The plain arrays in a result, NumPy's or Dask's.

    Returns
    -------
    dict
        The arrays of the cubes by their keys, and those of uncertainties as "dem_uncertainty".
    dict
        The masks that were changed since the inversion, by the keys of their cubes.
    """
    arrays = {}
    for key in KEYS:
        if key in result:
            arrays[key] = _plain(result[key].data)
            if result[key].uncertainty is not None:
                arrays[f"{key}_uncertainty"] = _plain(result[key].uncertainty.array)
    unsolved = is_unsolved(arrays["status"])
    masks = {}
    for key, cube in result.items():
        shape = cube.data.shape
        mask, derived = _plain(False if cube.mask is None else cube.mask), np.zeros(shape, dtype=bool)
        if key == "intensity":
            derived = np.zeros_like(arrays[key], dtype=bool)
        elif key != "status":
            derived = pixel_mask(unsolved, shape)
        if is_lazy(mask, derived):
            # Dask arrays that are built in the same way have the same name.
            is_same = getattr(mask, "name", None) == getattr(derived, "name", None)
        else:
            is_same = np.array_equal(np.broadcast_to(mask, shape), derived)
        if not is_same:
            masks[key] = np.broadcast_to(mask, shape)
    return arrays, masks


def rewrap_result(arrays, edges, intensity_unit, wcs, channel_wcs, meta):
    """The inverse of `unwrap_result`; the other arguments are those of `wrap_result`."""
    arrays, observed = dict(arrays), None
    if "intensity" in arrays:
        observed = arrays.pop("intensity"), arrays.pop("intensity_uncertainty"), None
    omitted, on_gpu = (arrays.pop(key, None) for key in ("omitted_channels", "solved_on_gpu"))
    solution = Solution(**(dict.fromkeys(Solution._fields) | arrays))
    return wrap_result(solution, edges, intensity_unit, wcs, channel_wcs, as_of_today(meta), observed, omitted, on_gpu)


def pixel_mask(unsolved, shape):
    """The mask of a cube of this shape: its pixels without a solution, in all planes."""
    if is_lazy(unsolved) or unsolved.ndim == 0 or unsolved.any():
        return np.broadcast_to(unsolved, shape).copy()
    return np.zeros(shape, dtype=bool, like=unsolved)  # allocated lazily by the operating system


def _plain(array):
    return array if is_lazy(array) else np.asarray(array)
