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
            unsolved = _unsolved(_unwrap(sliced)[0])
            for key in sliced.keys() - {"status", *changed}:
                sliced[key].mask = _mask(unsolved, sliced[key].data.shape)
        return sliced


def _bin_centers(edges):
    """Geometric mean of each bin's edges."""
    return np.sqrt(edges[1:]) * np.sqrt(edges[:-1])


def _wrap(solution, edges, intensity_unit, wcs, channel_wcs, meta):
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

    Returns
    -------
    `ndcube.NDCollection`
    """
    unsolved = _unsolved(solution)
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
    cubes["status"] = NDCube(solution.status, wcs, unit=one)
    n_pixel_axes = solution.status.ndim
    aligned = tuple(tuple(range(c.data.ndim - n_pixel_axes, c.data.ndim)) for c in cubes.values())
    return _Result(list(cubes.items()), aligned_axes=aligned, meta={"temperature_bin_edges": edges, **meta})


def _unwrap(result):
    """
    The plain arrays in a result, NumPy's or Dask's.

    Returns
    -------
    `sunpy_demreg._regularization.Solution`
    dict
        The masks that were changed since the inversion, by the keys of their cubes.
    """
    arrays = dict.fromkeys(Solution._fields)
    for key in arrays:
        if key in result:
            arrays[key] = _plain(result[key].data)
            if f"{key}_uncertainty" in arrays and result[key].uncertainty is not None:
                arrays[f"{key}_uncertainty"] = _plain(result[key].uncertainty.array)
    solution = Solution(**arrays)
    unsolved = _unsolved(solution)
    masks = {}
    for key, cube in result.items():
        shape = cube.data.shape
        mask, derived = _plain(False if cube.mask is None else cube.mask), np.zeros(shape, dtype=bool)
        if key != "status":
            derived = _mask(unsolved, shape)
        if is_lazy(mask, derived):
            # Dask gives arrays the same name if they are made alike.
            is_same = getattr(mask, "name", None) == getattr(derived, "name", None)
        else:
            is_same = np.array_equal(np.broadcast_to(mask, shape), derived)
        if not is_same:
            masks[key] = np.broadcast_to(mask, shape)
    return solution, masks


def _mask(unsolved, shape):
    return np.broadcast_to(unsolved, shape).copy()


def _unsolved(solution):
    return (solution.status & int(Status.UNSOLVED)) != 0


def _plain(array):
    return array if is_lazy(array) else np.asarray(array)
