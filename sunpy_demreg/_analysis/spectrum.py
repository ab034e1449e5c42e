"""Spectra of regions, with the uncertainty of an average."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

import astropy.units as u
from astropy.nddata import StdDevUncertainty

from sunpy_demreg._channels.resample import squared_weights
from sunpy_demreg._channels.stacks import standard_deviation
from sunpy_demreg._channels.uncertainty import common_uncertainty, uncertainty_of_means
from sunpy_demreg._common.cube import Cube, Meta
from sunpy_demreg._common.dask_arrays import computed
from sunpy_demreg._common.errors import ArgumentError, wrong
from sunpy_demreg._common.regions import NoPixelError, as_masks, named_regions, pixel_area
from sunpy_demreg._common.validators import a_kind, check_choice
from sunpy_demreg._common.warnings import DataWarning, warn
from sunpy_demreg._common.wcs import pixel_wcs, prepend_axis, prepend_times, sky_wcs, times_of, wcs_from_text

if TYPE_CHECKING:
    from ndcube import NDCube

    from sunpy_demreg._common.typing import Regions

__all__ = ["masks_in", "region_spectrum"]

#: What an average has no longer, as it is of the pixels.
_OF_SHIFTS = tuple(
    f"{kind}_{axis}" for kind in ("residual_shift", "residual_shift_error", "applied_shift") for axis in "xy"
)
_OF_PIXELS = ("source_wcs", *_OF_SHIFTS, "n_sample", "bin")


def region_spectrum(
    cube: NDCube,
    region: Regions,
    statistic: Literal["mean", "sum"] = "mean",
    *,
    bad_pixels: Literal["omit", "mask"] = "omit",
) -> NDCube:
    """
    Mean intensities of regions, with the uncertainty that an average has: a spectrum each, for `invert`.

    Parameters
    ----------
    cube : `~ndcube.NDCube`
        From `prepare`, or a part of one; or from `prepare_series`, for a spectrum at each time.
    region : `~astropy.coordinates.SkyCoord`, tuple, array of bool, dict, region of the package regions, or list
        * Two coordinates, opposite corners of a box in their own frame; three or more, the corners of a polygon. One
          `~astropy.coordinates.SkyCoord` of all, or a tuple or list of them.
        * ``(center, radius)``, a `~astropy.coordinates.SkyCoord` and an angle: a circle.
        * A mask, True in the region, of the shape of the image, or with the times of a series before it.
        * A level, such as ``{171: 500 * u.DN / u.pix / u.s}``: where that channel (of several, each) is above it. Of
          a noisy channel this picks the bright side of the noise.
        * A ``SkyRegion`` or ``PixelRegion`` of the package `regions <https://astropy-regions.readthedocs.io>`__.
        * A list of these, or a dict of them by name.

        A pixel belongs to a region if its center does.
    statistic : {"mean", "sum"}, optional
        ``"sum"`` is over the pixels, a light curve of all that a region emits: `invert` takes means only.
    bad_pixels : {"omit", "mask"}, optional
        Pixels with a channel that is masked or not finite, saturated ones among them: leave them out of all channels,
        so that these see the same plasma; or keep the region whole and mask the channel, as averages in `prepare`
        are, so that `invert` leaves that channel out.

    Returns
    -------
    `~ndcube.NDCube`
        (wavelength, region), or (wavelength, time, region), in the unit of the cube (of a sum, times pix), never lazy.
        In its ``meta``, per region: "region", its name; "n_pixels", those that count; "fraction", of all in the
        region; "area", theirs in cm², as seen by the observer at the distance of the center of the Sun. A result keeps
        them in ``result.meta["observation"]``.

    Raises
    ------
    TypeError
        If ``cube`` is not a cube of channels, or a region is none of those above.
    ValueError
        If a region holds no pixel, lies where there are no coordinates, or the cube does not tell which part of its
        uncertainty pixels have in common.

    Warns
    -----
    DataWarning
        If pixels are left out, or a region reaches beyond the image.

    Notes
    -----
    The noise of photons, reading, digitizing and compression averages out. The errors of the dark level, the
    calibration and the atomic data, as far as `prepare` included them, do not. Interpolated neighbors that were made
    from the same pixels of the detector have part of their noise in common, which is counted. For a square the result
    is that of ``prepare(..., bin=...)``. A ``relative_floor`` of the cube is applied to the mean.

    Without ``include_eve`` or a floor the error of a large region becomes very small, 0.03 % of 171 Å, far below that
    of any calibration: include one, or pass `invert` a ``calibration_error``.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.coordinates import SkyCoord
    >>> import sunpy_demreg as demreg
    >>> maps = demreg.sample.aia_maps()
    >>> cube = demreg.prepare(maps, n_sample=16, include_eve=True)
    >>> center = SkyCoord(-975 * u.arcsec, -110 * u.arcsec, frame=maps[0].coordinate_frame)
    >>> spectrum = demreg.region_spectrum(cube, {"core": (center, 40 * u.arcsec)})
    >>> spectrum.shape
    (6, 1)
    """
    check_choice("statistic", statistic, ("mean", "sum"))
    check_choice("bad_pixels", bad_pixels, ("omit", "mask"))
    image_wcs, times = _checked(cube)
    by_name, empty = masks_in(cube, named_regions(region))
    for err in empty.values():
        raise err
    names, masks = list(by_name), list(by_name.values())
    for name, mask in by_name.items():
        if mask.shape not in (cube.shape[-2:], cube.shape[1:]):
            raise wrong(ValueError, "region", f"has a mask {name!r} of {mask.shape}, but `cube` is {cube.shape[1:]}")
    try:
        if times is None:
            averages = [_averages(cube, masks, image_wcs, bad_pixels)]
        else:
            averages = [
                _averages(cube[:, k], [each if each.ndim == 2 else each[k] for each in masks], image_wcs, bad_pixels)
                for k in range(len(times))
            ]
        total = _gathered(averages, has_times=times is not None)
        error = uncertainty_of_means(cube, np.nan_to_num(total.mean), total.squares, _n_averaged(cube), total.noise)
    except ArgumentError as err:
        raise err.renamed("cube") if err.argument == "data" else err from None
    _warn_of_bad(names, total)
    error = np.where(total.is_saturated, np.inf, np.where(total.is_bad, np.nan, error))
    factor, unit = (total.n_used, cube.unit * u.pix) if statistic == "sum" else (1, cube.unit)
    mask = total.is_saturated | total.is_bad
    of_regions = {"n_pixels": total.n_used, "fraction": total.n_used / np.maximum(total.n_all, 1)}
    middles = [np.mean(np.nonzero(each)[-2:], axis=1) for each in masks]
    areas = [pixel_area(image_wcs, *middle) for middle in middles]
    if all(area is not None for area in areas):
        of_regions["area"] = total.n_used * u.Quantity(areas)
    shared = {"region": np.array(names), "statistic": statistic}
    return _spectrum(cube, (total.mean * factor, error * factor, mask), unit, times, of_regions, shared)


def masks_in(cube, regions):
    """
    The pixels of regions in a cube of channels.

    Returns
    -------
    dict of bool arrays, dict of NoPixelError
        See `as_masks`.
    """
    image_wcs, _ = _checked(cube)

    @cache  # a channel is read once for the levels of all regions
    def plane(i):
        return np.asarray(*computed(cube.data[i]))

    return as_masks(regions, image_wcs, cube.shape[-2:], lambda *args: _above(cube, plane, *args))


class _Average(NamedTuple):
    """Of one region at one time, or arrays of those of all."""

    n_used: int
    n_all: int
    mean: np.ndarray  # (channel), as all that follows
    squares: np.ndarray  # see `sunpy_demreg._channels.uncertainty.uncertainty_of_means`
    noise: np.ndarray  # the same
    is_saturated: np.ndarray
    is_bad: np.ndarray


def _checked(cube):
    """The WCS of an image of the cube, and its times or None."""
    from ndcube import NDCube

    rule = "must be a cube of channels, as `prepare` or `prepare_series` returns"
    if not isinstance(cube, NDCube):
        raise wrong(TypeError, "cube", f"{rule}, but is {a_kind(cube)}")
    if cube.unit is None or cube.uncertainty is None or np.ndim((cube.meta or {}).get("channels")) != 1:
        raise wrong(TypeError, "cube", f"{rule}, but has no unit, no uncertainty, or no `meta['channels']`")
    if cube.data.ndim == 3:
        return sky_wcs(cube.wcs), None
    times = times_of(sky_wcs(cube.wcs)) if cube.data.ndim == 4 else None
    if times is None:
        raise wrong(ValueError, "cube", f"{rule}, (wavelength, y, x) or (wavelength, time, y, x), but is {cube.shape}")
    return sky_wcs(sky_wcs(cube.wcs)), times


def _above(cube, plane, channel, level, name):
    """Where a channel is above a level; `plane` returns the values of one."""
    labels = [str(label) for label in cube.meta["channels"]]
    found = [i for i, label in enumerate(labels) if label.split()[-1] == f"{channel:g}"]
    if len(found) != 1:
        cure = "choose one of these, by its wavelength in Å"
        raise wrong(ValueError, name, f"names the channel {channel:g}, but the cube has {', '.join(labels)}: {cure}")
    if not level.unit.is_equivalent(cube.unit) or not level.isscalar or not np.isfinite(level):
        raise wrong(
            ValueError,
            name,
            f"must have one number in {cube.unit} for a level, but has {level}: such as "
            "`{171: 500 * u.DN / u.pix / u.s}`",
        )
    values, level = plane(found[0]), level.to(cube.unit)
    is_above = values > level.value
    if not is_above.any():
        most = np.max(values, initial=-np.inf, where=np.isfinite(values))
        told = f"the highest value of {labels[found[0]]} is {most:.4g}, and its level {level.value:.4g} {cube.unit}"
        raise wrong(NoPixelError, name, f"holds no pixel of the image: {told}; lower the level")
    return is_above


def _averages(cube, masks, image_wcs, bad_pixels):
    """The `_Average` of each region at one time, of which all blocks are read once."""
    boxes = [_box_of(mask) for mask in masks]
    arrays = []
    for box in boxes:
        part = cube[(slice(None), *box)]
        sigma, unit = standard_deviation(part)
        arrays += [part.data, sigma, np.zeros(part.shape, dtype=bool) if part.mask is None else part.mask]
    arrays = iter(computed(*arrays))
    averages = []
    for mask, box in zip(masks, boxes, strict=True):
        values, sigma, hidden = (np.asarray(next(arrays))[:, mask[box]] for _ in range(3))
        pixels = values, sigma * unit.to(cube.unit), hidden
        averages.append(_average(cube, pixels, *np.nonzero(mask), image_wcs, bad_pixels))
    return averages


def _box_of(mask):
    """The smallest box around its pixels; one that holds nothing of it, if it has none."""
    if not mask.any():
        return slice(0, 1), slice(0, 1)
    return tuple(slice(int(each.min()), int(each.max()) + 1) for each in np.nonzero(mask))


def _average(cube, pixels, rows, columns, image_wcs, bad_pixels):
    """The `_Average` of one region at one time, from its values, their sigma and mask, each (channel, pixel)."""
    n, n_all = cube.shape[0], rows.size
    nothing = _Average(0, n_all, np.full(n, np.nan), np.ones(n), np.zeros(n), np.zeros(n, bool), np.ones(n, bool))
    values, sigma, hidden = pixels
    is_bad = ~np.isfinite(values) | np.isnan(sigma)
    is_saturated = hidden & np.isinf(sigma) & ~is_bad  # how `prepare` marks it
    is_bad |= (hidden | ~np.isfinite(sigma)) & ~is_saturated
    if bad_pixels == "omit":
        good = ~(is_bad | is_saturated).any(axis=0)
        values, sigma, is_saturated, is_bad = (each[:, good] for each in (values, sigma, is_saturated, is_bad))
        rows, columns = rows[good], columns[good]
    if rows.size == 0:
        return nothing
    with np.errstate(invalid="ignore"):
        noise = np.maximum(sigma**2 - common_uncertainty(cube, values) ** 2, 0).sum(axis=1) / rows.size**2
    squares = np.full(n, 1 / rows.size)
    if "source_wcs" in cube.meta:
        bin = cube.meta.get("bin", 1)
        sources = [wcs_from_text(text) for text in np.ravel(cube.meta["source_wcs"])]
        squares = np.array([squared_weights(image_wcs, source, rows, columns, bin) for source in sources])
    return _Average(rows.size, n_all, values.mean(axis=1), squares, noise, is_saturated.any(axis=1), is_bad.any(axis=1))


def _gathered(averages, has_times):
    """One `_Average` of arrays ([channel, time,] region), of those of each time and region."""
    arrays = (np.array([[each[i] for each in row] for row in averages]) for i in range(len(_Average._fields)))
    arrays = [array if array.ndim == 2 else np.moveaxis(array, -1, 0) for array in arrays]
    return _Average(*(array if has_times else array[..., 0, :] for array in arrays))


def _n_averaged(cube):
    """How many pixels of AIA were averaged into one of the maps: before ``bin``, where these were interpolated."""
    n_sample = cube.meta.get("n_sample")
    return n_sample / cube.meta.get("bin", 1) ** 2 if n_sample is not None and "source_wcs" in cube.meta else n_sample


def _warn_of_bad(names, total):
    used, of_all = (each.reshape(-1, len(names)).sum(axis=0) for each in (total.n_used, total.n_all))
    shares = zip(names, 1 - used / np.maximum(of_all, 1), strict=True)
    told = [f"{name} {share:.1%}" for name, share in shares if share > 0]
    if told:
        warn(
            DataWarning,
            f": pixels are left out because a channel is masked, saturated or not finite there, {', '.join(told)}; "
            "with `bad_pixels='mask'` that channel is masked instead",
            "region",
        )


def _spectrum(cube, arrays, unit, times, of_regions, shared):
    """The cube, with metadata of each region (and time), and others."""
    values, error, mask = arrays
    wcs = pixel_wcs(values.shape[-1:])
    wavelengths = u.Quantity(cube.axis_world_coords(0)[0])
    kind = ("wavelength", "em.wl") if wavelengths.unit.is_equivalent(u.m) else ("channel", "custom:channel")
    meta = {key: value for key, value in cube.meta.items() if key not in _OF_PIXELS} | of_regions | shared
    axes = {key: axis for key, axis in getattr(cube.meta, "axes", {}).items() if key in meta}
    last = values.ndim - 1
    axes |= dict.fromkeys(of_regions, tuple(range(1, values.ndim))) | {"region": (last,)}
    return Cube(
        values,
        prepend_axis(wcs if times is None else prepend_times(wcs, times), wavelengths, *kind),
        unit=unit,
        uncertainty=StdDevUncertainty(error, copy=False),
        mask=mask,
        meta=Meta(meta, axes=axes, data_shape=values.shape),
    )
