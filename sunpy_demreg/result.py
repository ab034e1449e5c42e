"""From plain arrays to an NDCollection of aligned cubes: units, coordinates and masks are attached here."""

import numpy as np

import astropy.units as u
from astropy.nddata import StdDevUncertainty
from ndcube import NDCollection, NDCube

from sunpy_demreg._lazy import is_lazy
from sunpy_demreg._regularization import Solution
from sunpy_demreg._status import Status
from sunpy_demreg._wcs import _prepend_axis

__all__ = []

_KEYS = (*(field for field in Solution._fields[:-1] if not field.endswith("_uncertainty")), "intensity", "status")


class _Result(NDCollection):
    """An NDCollection that may be sliced with an ellipsis, as ``result[..., 10:20, 30:40]``."""

    def __getitem__(self, item):
        if isinstance(item, tuple) and any(part is Ellipsis for part in item):
            position = next(i for i, part in enumerate(item) if part is Ellipsis)
            n_missing = self.n_aligned_axes - (len(item) - 1)
            item = item[:position] + (slice(None),) * n_missing + item[position + 1 :]
        elif item is Ellipsis:
            item = (slice(None),) * self.n_aligned_axes
        sliced = super().__getitem__(item)
        if isinstance(sliced, NDCollection) and is_lazy(self["status"].data):
            # Made again, so that files need not hold them: see `_unwrap`.
            changed = _unwrap(self)[1]
            unsolved = _unsolved(sliced["status"].data)
            for key in sliced.keys() - {"intensity", "status", *changed}:
                sliced[key].mask = _mask(unsolved, sliced[key].data.shape)
        return sliced

    def _repr_html_(self):
        from sunpy_demreg._html import result_html

        return result_html(self)


def _bin_centers(edges):
    """Geometric mean of each bin's edges."""
    return np.sqrt(edges[1:]) * np.sqrt(edges[:-1])


def _wrap(solution, edges, intensity_unit, wcs, channel_wcs, meta, observed=None):
    """
    Make the cubes of a result.

    Parameters
    ----------
    solution : `sunpy_demreg._regularization.Solution`
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

    Returns
    -------
    `ndcube.NDCollection`
    """
    unsolved = _unsolved(solution.status)
    centers = _bin_centers(edges)
    temperature_wcs = _prepend_axis(wcs, centers, "temperature", "phys.temperature")
    dem_unit = u.cm**-5 / u.K

    def range_wcs():
        return _prepend_axis(wcs, np.arange(1, len(solution.emission_measure) + 1) * u.one, "range", "custom:range")

    def matrix_wcs():
        of_plasma = _prepend_axis(wcs, centers, "temperature_of_plasma", "phys.temperature")
        return _prepend_axis(of_plasma, centers, "temperature", "phys.temperature")

    one = u.dimensionless_unscaled
    cubes = {}
    for key, unit, make_wcs in (
        ("dem", dem_unit, lambda: temperature_wcs),
        ("temperature_resolution", u.dex, lambda: temperature_wcs),
        ("chi_squared", one, lambda: wcs),
        ("predicted_intensity", intensity_unit, lambda: channel_wcs),
        ("regularization_parameter", one, lambda: wcs),
        ("emission_measure", u.cm**-5, range_wcs),
        ("covariance", dem_unit**2, matrix_wcs),
        ("resolution_matrix", one, matrix_wcs),
    ):
        array = getattr(solution, key)
        if array is None:
            continue
        error = getattr(solution, f"{key}_uncertainty", None)
        cubes[key] = NDCube(
            array,
            make_wcs(),
            unit=unit,
            uncertainty=None if error is None else StdDevUncertainty(error, copy=False),
            mask=_mask(unsolved, array.shape),
        )
    if observed is not None:
        intensity, error, mask = observed
        cubes["intensity"] = NDCube(
            intensity,
            channel_wcs,
            unit=intensity_unit,
            uncertainty=StdDevUncertainty(error, copy=False),
            mask=np.zeros_like(intensity, dtype=bool) if mask is None else mask,
        )
    cubes["status"] = NDCube(solution.status, wcs, unit=one)
    n_pixel_axes = solution.status.ndim
    aligned = tuple(tuple(range(c.data.ndim - n_pixel_axes, c.data.ndim)) for c in cubes.values())
    return _Result(list(cubes.items()), aligned_axes=aligned, meta={"temperature_bin_edges": edges, **meta})


def _unwrap(result):
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
    for key in _KEYS:
        if key in result:
            arrays[key] = _plain(result[key].data)
            if result[key].uncertainty is not None:
                arrays[f"{key}_uncertainty"] = _plain(result[key].uncertainty.array)
    unsolved = _unsolved(arrays["status"])
    masks = {}
    for key, cube in result.items():
        shape = cube.data.shape
        mask, derived = _plain(False if cube.mask is None else cube.mask), np.zeros(shape, dtype=bool)
        if key == "intensity":
            derived = np.zeros_like(arrays[key], dtype=bool)
        elif key != "status":
            derived = _mask(unsolved, shape)
        if is_lazy(mask, derived):
            # Dask gives arrays the same name if they are made alike.
            is_same = getattr(mask, "name", None) == getattr(derived, "name", None)
        else:
            is_same = np.array_equal(np.broadcast_to(mask, shape), derived)
        if not is_same:
            masks[key] = np.broadcast_to(mask, shape)
    return arrays, masks


def _rewrap(arrays, edges, intensity_unit, wcs, channel_wcs, meta):
    """The inverse of `_unwrap`; the other arguments are those of `_wrap`."""
    arrays, observed = dict(arrays), None
    if "intensity" in arrays:
        observed = arrays.pop("intensity"), arrays.pop("intensity_uncertainty"), None
    solution = Solution(**(dict.fromkeys(Solution._fields) | arrays))
    return _wrap(solution, edges, intensity_unit, wcs, channel_wcs, meta, observed)


def _mask(unsolved, shape):
    if is_lazy(unsolved) or unsolved.any():
        return np.broadcast_to(unsolved, shape).copy()
    return np.zeros(shape, dtype=bool, like=unsolved)  # takes no memory before it is written to


def _unsolved(status):
    return (status & int(Status.UNSOLVED)) != 0


def _plain(array):
    return array if is_lazy(array) else np.asarray(array)
