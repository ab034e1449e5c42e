"""From AIA maps of one time to one cube of channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

import astropy.units as u
from astropy.nddata import StdDevUncertainty
from astropy.table import Table

from sunpy_demreg._channels.aia_maps import as_images, check_one_grid, common_dates
from sunpy_demreg._channels.grid import cropped, own_grid, reference_grid
from sunpy_demreg._channels.headers import check_n_sample, default_n_sample, may_be_sums, warn_of_sums
from sunpy_demreg._channels.level1 import deconvolved, repointed
from sunpy_demreg._channels.resample import block_mean, resample
from sunpy_demreg._channels.shifts import residual_shifts
from sunpy_demreg._channels.uncertainty import as_floors, count_error, read_error_table
from sunpy_demreg._common.cube import Cube, Meta
from sunpy_demreg._common.dask_arrays import unmasked
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.validators import as_bool, as_integer, as_number, as_path
from sunpy_demreg._common.warnings import DataWarning, warn
from sunpy_demreg._common.wcs import prepend_axis
from sunpy_demreg.response._aia import degradation_factors

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from astropy.coordinates import SkyCoord
    from ndcube import NDCube
    from sunpy.map import GenericMap

    from sunpy_demreg._common.typing import Maps, TableOrFile

__all__ = ["as_saturation", "prepare"]

_MAX_RESIDUAL = 1.0  # pixels
_MAX_SIDE = 4096  # pixels, of AIA


def prepare(
    maps: Maps,
    *,
    psf: Mapping[int, npt.ArrayLike] | Literal["aiapy"] | None = None,
    pointing_table: TableOrFile | None = None,
    align: bool = True,
    reference: u.Quantity | GenericMap | None = None,
    submap: tuple[SkyCoord, SkyCoord] | None = None,
    bin: int = 1,
    n_sample: int | None = None,
    exposure_times: Mapping[int, float | u.Quantity] | None = None,
    accept_flagged: bool = False,
    saturation: float | u.Quantity = 15000,
    error_table: TableOrFile | None = None,
    include_eve: bool = False,
    include_chianti: bool = False,
    relative_floor: float | Mapping[int, float] = 0.0,
    correct_degradation: bool = False,
    degradation_corrected: bool = False,
    correction_table: TableOrFile | None = None,
) -> NDCube:
    """
    Put AIA maps of one time into one cube of channels with uncertainties.

    The steps, in this order: deconvolution, pointing, one grid for all channels, cropping, averaging, uncertainty,
    exposure time, degradation. ``meta["steps"]`` of the cube names those that were done. Spikes are left to the caller
    (`aiapy.calibrate.respike`).

    Parameters
    ----------
    maps : list, tuple or dict of maps or file names, `~sunpy.map.MapSequence`, map, or file name
        Maps of the channels 94, 131, 171, 193, 211 and 335 Å, each at most once, in any order, all of level 1 or
        all of level 1.5. A file name may hold wildcards. The unit of a map is DN (also if it has none, as in the
        synoptic series), DN / pix or ct, or one of these per second, which says that the map was divided by its
        exposure time.
    psf : dict or "aiapy", optional
        Level 1 only: deconvolve with `aiapy.psf.deconvolve`. A dict of one array for each wavelength, of the shape of
        the images, centered, of sum 1; or ``"aiapy"`` for `aiapy.psf.calculate_psf`, of full images, which takes
        minutes. The uncertainty stays that of the counts before, to which deconvolution adds. Cutouts wrap around.
    pointing_table : path, `~astropy.table.Table`, "lmsal" or "jsoc", optional
        Level 1 only: update the pointing with `aiapy.calibrate.update_pointing` from this table, a file of which
        keeps its units (ECSV); or fetch it from one of these two, within a minute. By default the pointing is
        that of the headers.
    align : bool, optional
        Whether level-1 maps are put on one grid: full-disk images on that of `aiapy.calibrate.register`, cutouts on
        that of the `reference`. Interpolation is bilinear.
    reference : `~astropy.units.Quantity` or map, optional
        The map whose grid the others are interpolated to, by its wavelength, or another one. By default that
        of the shortest wavelength for level-1 cutouts, and for maps of level 1.5 none: their grids must then agree to
        a tenth of a pixel.
    submap : (`~astropy.coordinates.SkyCoord`, `~astropy.coordinates.SkyCoord`), optional
        Bottom left and top right corner of the field to keep, as of `sunpy.map.GenericMap.submap`.
    bin : int, optional
        Average squares of this many pixels on a side. Rows and columns left over, at the top and the right, are cut.
    n_sample : int, optional
        How many pixels were averaged into one in the maps: 16 for the synoptic series. By default 1, with a
        warning if the pixels are larger than those of AIA. Averaged, not summed, as
        `sunpy.map.GenericMap.superpixel` does by default.
    exposure_times : dict, optional
        Of maps that were divided by their exposure time and have 1 s in their headers since: the true one of each
        channel, such as ``{94: 2.9 * u.s}``, in s if it has no unit.
    accept_flagged : bool, optional
        Whether to take, with a warning, images that their headers flag: taken in eclipse, in a maneuver, out of
        focus, dark, with much missing. By default they are refused.
    saturation : float or `~astropy.units.Quantity`, optional
        Values above this many DN, before division by the exposure time, are masked, and what is interpolated
        or averaged from them. Of pixels averaged before it sees the average only, and so misses those that are
        saturated in part.
    error_table : str, `~pathlib.Path` or `~astropy.table.QTable`, optional
        Error table as `aiapy.calibrate.utils.get_error_table` reads or returns it. By default the
        version 3 that comes with this package; nothing is downloaded.
    include_eve : bool, optional
        Whether the uncertainty includes that of the calibration by SDO/EVE.
    include_chianti : bool, optional
        Whether the uncertainty includes that of the atomic data (25 to 50 percent of the intensity).
    relative_floor : float or dict, optional
        The least uncertainty, as a fraction of the intensity: of all channels, or of some, such as ``{94: 0.2}``.
    correct_degradation : bool, optional
        Divide by the sensitivity that is left at the date, of which the response must then know nothing. By default
        the response takes care of it.
    degradation_corrected : bool, optional
        Whether the maps went through `aiapy.calibrate.correct_degradation`, which leaves no trace in them.
        If so, uncertainty and saturation are those of the raw counts, and the intensity stays corrected.
    correction_table : path or `~astropy.table.Table`, optional
        The table for these two, as of `sunpy_demreg.TemperatureResponse.from_aia`.

    Returns
    -------
    `~ndcube.NDCube`
        Intensity in DN / (pix s), float64, axes (wavelength, y, x), ascending in wavelength. Pixels are those of AIA
        also where they were averaged, as in the response.
        ``uncertainty`` is the standard deviation that `aiapy.calibrate.estimate_error` gives for the raw
        counts, negative ones taken as zero, scaled as the intensity; infinite where a value is
        saturated, and thus only a lower limit, and NaN where it is not finite or not covered. ``mask`` is True there,
        and where a value is masked in its map; counts of zero and below are kept. ``wcs`` has the
        coordinates of the reference, or of the map with the shortest wavelength. ``meta``, an `~ndcube.NDMeta`,
        holds per channel "channels", "exposure_time", "date", "relative_floor" and, of interpolated maps,
        "residual_shift_x" and "residual_shift_y", sliced with the cube, and what was done.

    Raises
    ------
    TypeError
        If something else than maps and file names was given, or another argument has a wrong type.
    FileNotFoundError
        If a file does not exist.
    ValueError
        If a file cannot be read, a map is not one of those described above, has no date, is flagged, or holds sums,
        or a number is out of range; and if a step would be done twice.
    CalibrationDataError
        If the pointing table cannot be fetched.

    Warns
    -----
    DataWarning
        If there are fewer than six channels, the maps are more than a minute apart, they look averaged
        and `n_sample` was not given, or like sums, headers have minor flags (a missing flat field, some missing
        pixels), or maps are still shifted by more than a pixel.

    Notes
    -----
    Correct the data or date the response, never both: `sunpy_demreg.TemperatureResponse.from_aia` refuses to date the
    response of a cube that was corrected for degradation.

    Arithmetic and rebinning by ndcube leave ``meta`` as it was: it tells how the maps were prepared, not what was
    done to the cube since, such as a factor for the degradation. Reprojecting by ndcube drops unit, uncertainty, mask.

    The uncertainty of a value that was interpolated or averaged with the weights w is that of ``n_sample / sum(w²)``
    pixels of its counts: noise that is independent between pixels gets less, the terms of the calibration do not.
    Neighbors that were interpolated from the same pixels have part of their noise in common.

    ``meta["residual_shift_x"]`` and ``..._y`` tell how far, in pixels before averaging, an interpolated map has to be
    moved to match that of the shortest wavelength, from the phase correlation of their logarithms; NaN where
    that finds no significant match. Shifts are measured, not corrected: `sunpy.map.GenericMap.shift_reference_coord`
    does that.
    """
    saturation = as_saturation(saturation)
    bin = as_integer("bin", bin, 1, _MAX_SIDE, "of pixels")
    if n_sample is not None:
        n_sample = as_integer("n_sample", n_sample, 1, _MAX_SIDE**2, "of averaged pixels, such as 16,")
    align, accept_flagged = as_bool("align", align), as_bool("accept_flagged", accept_flagged)
    include_eve = as_bool("include_eve", include_eve)
    include_chianti = as_bool("include_chianti", include_chianti)
    correct_degradation = as_bool("correct_degradation", correct_degradation)
    degradation_corrected = as_bool("degradation_corrected", degradation_corrected)
    if correction_table is not None and not isinstance(correction_table, Table):
        path = as_path("correction_table", correction_table, "a table or a file")
        if not path.is_file():
            raise wrong(ValueError, "correction_table", f"must be a table or a file, but there is no file {path}")
    images = as_images(maps, exposure_times, accept_flagged)
    _refuse_twice(images, psf, pointing_table, correct_degradation, degradation_corrected)
    channels = [image.channel for image in images]
    floors = as_floors(relative_floor, channels)
    table = read_error_table(error_table)
    dates = common_dates(images)
    if n_sample is None:
        n_sample = default_n_sample(images[0].map)
    check_n_sample(images, n_sample)
    is_corrected = correct_degradation or degradation_corrected
    factors = degradation_factors(channels, dates, correction_table) if is_corrected else np.ones(len(images))

    steps, pointing = [], None
    values = [None] * len(images)
    if psf is not None:
        values = deconvolved(images, psf)
        steps.append("psf")
    if pointing_table is not None:
        images, pointing = repointed(images, pointing_table)
        steps.append("pointing")
    is_resampled = reference is not None or (align and images[0].level == 1)
    if is_resampled:
        grid = reference_grid(images, reference)
        steps.append("align")
    else:
        check_one_grid(images)
        grid = own_grid(images[0].map)
    grid, corner = cropped(grid, submap, int(bin))
    steps += ["submap"] * (submap is not None) + ["bin"] * (bin > 1)
    steps += ["exposure"] + ["degradation"] * correct_degradation

    shape = (len(images), *grid.binned_shape)
    intensity, uncertainty, mask = np.empty(shape), np.empty(shape), np.empty(shape, dtype=bool)
    sums = []
    for i, image in enumerate(images):
        to_counts = (image.exposure if image.is_rate else 1.0) * (factors[i] if degradation_corrected else 1.0)
        planes = _planes(image.map, values[i], to_counts, saturation)
        sums += [image.name] * may_be_sums(image, planes[1], n_sample)
        if is_resampled:
            planes, squares = resample(planes, image.map.wcs, grid)
        else:
            (y, x), (height, width) = corner, grid.shape
            planes, squares = block_mean(planes[:, y : y + height, x : x + width], grid.bin), grid.bin**-2
        value, counts, is_saturated, is_masked, is_bad = planes
        bad = ~(is_bad == 0)  # also where it is not covered, which is NaN
        saturated = ~bad & (is_saturated > 0)
        with np.errstate(divide="ignore"):  # not covered
            n_effective = n_sample / squares
        error = count_error(np.where(bad, 0, counts), image.channel, n_effective, include_eve, include_chianti, table)
        # So that the reason for the mask stays known whatever is done to the cube: slices, factors, other units.
        error[saturated], error[bad] = np.inf, np.nan
        to_intensity = (1.0 if image.is_rate else image.exposure) * (factors[i] if correct_degradation else 1.0)
        intensity[i] = np.where(bad, np.nan, value) / to_intensity
        uncertainty[i] = np.fmax(error / (to_counts * to_intensity), floors[i] * np.abs(intensity[i]))
        mask[i] = saturated | bad | (is_masked > 0)

    warn_of_sums(sums)

    per_channel = {
        "channels": np.array([f"AIA {channel}" for channel in channels]),
        "exposure_time": [image.exposure for image in images] * u.s,
        "date": dates,
        "relative_floor": np.array(floors),
    }
    if is_resampled:
        shifts = residual_shifts(intensity, mask) * grid.bin
        _warn_of_shifts(channels, shifts)
        per_channel |= {"residual_shift_x": shifts[:, 0] * u.pix, "residual_shift_y": shifts[:, 1] * u.pix}
    done = {
        "instrument": "AIA",
        "level": 1.5 if is_resampled else images[0].level,
        "steps": steps,
        "pointing": pointing,
        "bin": int(bin),
        "saturation": saturation,
        "n_sample": int(n_sample) * int(bin) ** 2,
        "include_eve": include_eve,
        "include_chianti": include_chianti,
        "exposure_normalized": True,
        "degradation_corrected": is_corrected,
    }
    return Cube(
        intensity,
        unit=u.DN / u.pix / u.s,
        uncertainty=StdDevUncertainty(uncertainty, copy=False),
        mask=mask,
        wcs=prepend_axis(grid.binned_wcs, channels * u.AA, "wavelength", "em.wl"),
        meta=Meta(per_channel | done, axes=dict.fromkeys(per_channel, 0), data_shape=shape),
    )


def as_saturation(saturation):
    """Return it as a plain number of DN."""
    if isinstance(saturation, u.Quantity) and saturation.unit.is_equivalent(u.DN) and saturation.isscalar:
        saturation = saturation.to_value(u.DN)
    if isinstance(saturation, float) and saturation == np.inf:  # nothing is saturated
        return np.inf
    return as_number("saturation", saturation, above=0, of="of DN, such as 15000,")


def _refuse_twice(images, psf, pointing_table, correct_degradation, degradation_corrected):
    """Refuse steps that the maps have behind them."""
    if images[0].level != 1:
        for name, value in (("psf", psf), ("pointing_table", pointing_table)):
            if value is not None:
                raise wrong(
                    ValueError,
                    name,
                    f"is for level 1, but {images[0].name} is level {images[0].level:g}, which is registered "
                    "already: leave it out, or give the maps of level 1",
                )
    if correct_degradation and degradation_corrected:
        raise wrong(
            ValueError,
            "correct_degradation",
            "would correct maps that `degradation_corrected` says are corrected: pass only one",
        )
    if psf is not None and (degradation_corrected or any(image.is_rate for image in images)):
        raise wrong(
            ValueError, "psf", "comes before any other step: give the maps as they were, in DN and not corrected"
        )


def _planes(smap, value, to_counts, saturation):
    """What becomes of a map, as images without a value that is not finite: (value, counts, and three flags, y, x)."""
    data, hidden = unmasked(smap.data)
    data = np.asarray(data, dtype=float)
    finite = np.isfinite(data)
    data = np.where(finite, data, 0)
    counts = data * to_counts
    mask = np.zeros(data.shape, bool) if smap.mask is None else np.asarray(smap.mask, dtype=bool)
    if hidden is not None:  # by a masked array of Dask: of others a map has it already
        mask = mask | np.asarray(hidden)
    return np.stack([data if value is None else value, counts, counts > saturation, mask, ~finite])


def _warn_of_shifts(channels, shifts):
    distances = zip(channels, np.hypot(*shifts.T), strict=True)
    far = [f"AIA {channel} by {distance:.1f}" for channel, distance in distances if distance > _MAX_RESIDUAL]
    if far:
        warn(
            DataWarning,
            f"are still shifted against AIA {channels[0]}, in pixels: {', '.join(far)}; give a "
            "`pointing_table`, or move them with `shift_reference_coord` (`meta['residual_shift_x']` and `..._y` of "
            "the cube tell how far)",
            "maps",
        )
