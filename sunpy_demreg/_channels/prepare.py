"""From maps of one time to one cube of channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import astropy.units as u
from astropy.nddata import StdDevUncertainty

from sunpy_demreg._channels.align import aligned, calibrated
from sunpy_demreg._channels.plan import planned
from sunpy_demreg._channels.stacks import prepend_channels
from sunpy_demreg._common.cube import Cube, Meta

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from astropy.coordinates import SkyCoord
    from ndcube import NDCube
    from sunpy.map import GenericMap

    from sunpy_demreg._common.typing import FilePath, Maps, TableOrFile

__all__ = ["prepare", "prepared", "wrapped"]


def prepare(
    maps: Maps,
    *,
    psf: Mapping[Any, npt.ArrayLike] | Literal["aiapy"] | None = None,
    pointing_table: TableOrFile | None = None,
    align: bool = True,
    correct_shifts: bool = False,
    reference: u.Quantity | GenericMap | FilePath | None = None,
    submap: tuple[SkyCoord, SkyCoord] | None = None,
    bin: int = 1,
    n_sample: int | None = None,
    exposures: Literal["one", "coadd", "replace_saturated"] = "one",
    exposure_times: Mapping[Any, float | u.Quantity] | None = None,
    accept_flagged: bool = False,
    saturation: float | u.Quantity | None = None,
    error_table: TableOrFile | None = None,
    include_eve: bool = False,
    include_chianti: bool = False,
    relative_floor: float | u.Quantity | Mapping[Any, float | u.Quantity] = 0.0,
    correct_degradation: bool = False,
    degradation_corrected: bool = False,
    correction_table: TableOrFile | None = None,
) -> NDCube:
    """
    Put maps of AIA, SUVI or XRT of one time into one cube of channels with uncertainties.

    The steps, in this order: deconvolution, pointing, one grid for all channels, cropping, averaging, uncertainty,
    exposure time, degradation. ``meta["steps"]`` of the cube names those that were done. Spikes are left to the caller
    (`aiapy.calibrate.respike`).

    Parameters
    ----------
    maps : list, tuple or dict of maps or file names, `~sunpy.map.MapSequence`, map, or file name
        Maps of the channels 94, 131, 171, 193, 211 and 335 Å, in any order, each at most once unless ``exposures``
        says what becomes of several, all of level 1 or all of level 1.5. A file name may hold wildcards, and may be a
        URL (see :doc:`/large`). The unit of a map is DN (also if it has none, as in the synoptic series), DN / pix or
        ct, or one of these per second, which says that the map was divided by its exposure time. Or maps of GOES/SUVI,
        level 1b, or of Hinode/XRT, level 1: see Notes, also for which options are for maps of AIA only.
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
        that of the ``reference``. Interpolation is bilinear.
    correct_shifts : bool, optional
        Whether maps are moved to match that of the shortest wavelength, where the measured shift is larger than its
        error and a tenth of a pixel: see Notes. All maps are then interpolated. A warning names the maps that are
        not moved because the error is not known.
    reference : `~astropy.units.Quantity`, map or file name, optional
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
        `sunpy.map.GenericMap.superpixel` does by default: sums draw a warning where they can be told, see Notes.
    exposures : {"one", "coadd", "replace_saturated"}, optional
        What to do with several maps of a channel: by default they are refused. ``"coadd"`` adds the counts of all
        that have a value in a pixel, over the sum of their exposure times. ``"replace_saturated"`` takes the longest
        exposure, and where it is saturated or has no value the longest of the others that does, as for the short
        exposures that AIA takes in flares. See Notes for the errors.
    exposure_times : dict, optional
        Of maps that were divided by their exposure time and have 1 s in their headers since: the true one of each
        channel, such as ``{94: 2.9 * u.s}``, in s if it has no unit.
    accept_flagged : bool, optional
        Whether to take, with a warning, images that their headers flag: taken in eclipse, in a maneuver, out of
        focus, dark, with much missing. By default they are refused.
    saturation : float or `~astropy.units.Quantity`, optional
        Values above this many DN, before division by the exposure time, are masked, and what is interpolated or
        averaged from them. By default 15000 for AIA, 12000 for SUVI, 2490 for XRT. Of pixels averaged before it sees
        the average only, and so misses those that are saturated in part.
    error_table : str, `~pathlib.Path` or `~astropy.table.QTable`, optional
        Error table as `aiapy.calibrate.utils.get_error_table` reads or returns it. By default the
        version 3 that comes with this package; nothing is downloaded.
    include_eve : bool, optional
        Whether the uncertainty includes that of the calibration by SDO/EVE.
    include_chianti : bool, optional
        Whether the uncertainty includes that of the atomic data (25 to 50 percent of the intensity).
    relative_floor : float or dict, optional
        The least uncertainty, as a fraction of the intensity: of all channels, or of some, such as ``{94: 0.2}``. A
        channel may be named in any dict here by its wavelength in Å, a Quantity, or as in ``meta``, ``"AIA 94"``;
        one of XRT by its name, ``"XRT Be-thin"``.
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
        Intensity in DN / (pix s), float64, axes (wavelength, y, x), ascending in wavelength. Pixels are those of the
        detector also where they were averaged, as in the response.
        ``uncertainty`` is the standard deviation that `aiapy.calibrate.estimate_error` gives for the raw
        counts, negative ones taken as zero, scaled as the intensity; infinite where a value is
        saturated, and thus only a lower limit, and NaN where it is not finite or not covered. ``mask`` is True there,
        and where a value is masked in its map; counts of zero and below are kept. ``wcs`` has the
        coordinates of the reference, or of the map with the shortest wavelength. ``meta``, an `~ndcube.NDMeta`,
        holds per channel "channels", "exposure_time", "date", "relative_floor", "common_error",
        "common_relative_error", "dn_per_photon", "compression_ratio" and, of interpolated maps, "residual_shift_x",
        "residual_shift_y" and "source_wcs", sliced with the cube, and what was done.

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
        If there are fewer than six channels, the maps are more than a minute apart, they look averaged and
        ``n_sample`` was not given, or like sums, or divided by their exposure time already, headers have minor
        flags (a missing flat field, some missing pixels), or maps are still shifted by more than a pixel, and than
        the error of this.

    Notes
    -----
    Correct the data or date the response, never both: `sunpy_demreg.TemperatureResponse.from_aia` refuses to date the
    response of a cube that was corrected for degradation.

    Sums of pixels are told from averages by what they hold: more counts than the detector gives, in many pixels; a mean
    far above that in the header, which is that of the whole image; noise in the channel 94 Å that is larger than that
    of averages of ``n_sample`` pixels; or whole numbers only. Of small parts of images, below some 48 pixels on a side,
    they cannot be told, and bright structure may look like them: the warning is a `DataWarning`, which a filter can
    silence. Maps that were divided by their exposure time, but have no unit that says so, can be told only by their
    mean, which cropped maps do not have in their headers.

    Arithmetic and rebinning by ndcube leave ``meta`` as it was: it tells how the maps were prepared, not what was
    done to the cube since, such as a factor for the degradation. Reprojecting by ndcube drops unit, uncertainty, mask.

    The uncertainty of a value that was interpolated or averaged with the weights w is that of ``n_sample / sum(w²)``
    pixels of its counts: noise that is independent between pixels gets less, the terms of the calibration do not.
    Neighbors that were interpolated from the same pixels have part of their noise in common.

    Of the variance, ``common_error² + (common_relative_error · intensity)²`` is common to all pixels: the part of the
    dark level, and that of the calibration and of the atomic data as far as they are included. Averaging over pixels
    does not reduce it, but the rest: `region_spectrum` does so, for which the cube also tells what its noise depends on
    ("dn_per_photon", "compression_ratio") and the coordinates of the maps it was interpolated from ("source_wcs").

    **Several exposures.** In a sum the variances of photons, reading, digitization and compression of all exposures
    add up; the errors of the dark level, the calibration and the atomic data are the same in each, and do not average
    out. ``meta["exposure_time"]`` is then the sum, and ``meta["date"]`` the mean; of replaced pixels the channel has
    those of its longest exposure, and a pixel the uncertainty of that it was taken from. ``meta["n_exposures"]`` tells
    how many exposures a value is the sum of, 1 where the short ones only replace. ``meta["shortest_exposure_time"]`` is
    that of all exposures there are of the channel, ``meta["start_offset"]`` and ``meta["end_offset"]`` tell from when
    to when they are, counted from the date, and ``meta["exposures"]`` how they are combined. A pixel is masked where no
    exposure has a value; where all are saturated, its intensity is the highest of their lower limits.

    ``meta["residual_shift_x"]`` and ``..._y`` tell how far, in pixels before averaging, an interpolated map has to be
    moved to match that of the shortest wavelength, from the phase correlation of their logarithms; NaN where
    that finds no significant match. ``meta["residual_shift_error_x"]`` and ``..._y`` are the scatter of what is found
    in four or nine fields of the image: plasma of different temperatures does not lie in the same places, so channels
    differ by more than their pointing. (NaN for images below 96 pixels on a side.) Shifts are measured, and corrected
    only by ``correct_shifts=True``; ``meta["applied_shift_x"]`` and ``..._y`` then tell by how much, and the others
    what is left. `sunpy.map.GenericMap.shift_reference_coord` moves a map by any amount.

    **Other instruments**, alone here and together with AIA by `combine`. ``psf``, ``pointing_table``, ``n_sample``,
    ``exposure_times``, ``error_table``, ``include_eve``, ``include_chianti`` and what is about degradation are for AIA:
    use ``relative_floor`` for errors of the calibration, which are not included. Maps are put on the grid of the
    first, or of the ``reference``, unless ``align=False``.

    *GOES/SUVI, level 1b.* Radiances, in W m-2 sr-1, become DN per second with the response and the photon energy that
    the header says they were made with (INSTRESP, PHOT_ENG); if it does not, with the response of sunkit-instruments at
    the temperature of the detector, which is needed in any case: ``pip install "sunpy-demreg[instruments]"``. Files
    with the names of NOAA, FITS or netCDF, are read by it too; pixels that their quality flags call spikes (4) are
    masked. The variance in DN² of a value N is ``q N + r²``: q the DN per photon, electrons of 3.65 eV over the gain
    (0.3 to 1), r 20 electrons of reading, and the digitization. These 20 electrons are those of AIA, since none are
    published for SUVI; with the digitization they are the 0.6 DN in ``meta["read_noise"]``, about the noise of the
    photons of one DN. If you know better, replace the uncertainty of the cube.
    Composites (level 2) are refused: the exposure of a pixel, and so its error, is not known.
    `TemperatureResponse.from_suvi` takes the cube.

    *Hinode/XRT, level 1*, from ``xrt_prep``, in DN or normalized to DN per second. Values are divided by ``CHIP_SUM²``,
    the pixels that were summed on the chip, since the response is that of one pixel of 1.03 arcsec. The variance in
    DN² of a value N, as it was read, is ``q N + r²``: q the DN per photon for plasma of 3 MK, 3.7 (Al-mesh) to 9
    (Be-thick), from the effective areas, spectra and gain of xrtpy 0.5.1 as by Narukage et al. 2011 (Sol. Phys. 269,
    169), and r = 2 DN of reading, digitization and compression, as measured in a faint part of the image that comes
    with xrtpy. Photon noise is the larger part (Kobelski et al. 2014, Sol. Phys. 289, 2781); in plasma of 1.6 MK it is
    overestimated by up to 40 %. Missing (-999) and saturated pixels are masked. Channels are named as by
    `TemperatureResponse.from_xrt`, which takes the cube; the first is the one with the largest pixels.

    Examples
    --------
    >>> import astropy.units as u
    >>> import sunpy_demreg as demreg
    >>> maps = demreg.sample.aia_maps()
    >>> cube = demreg.prepare(maps, n_sample=16, relative_floor=0.05)
    >>> cube.shape, cube.unit
    ((6, 128, 128), Unit("DN / (pix s)"))
    >>> cube.meta["channels"].tolist()
    ['AIA 94', 'AIA 131', 'AIA 171', 'AIA 193', 'AIA 211', 'AIA 335']
    >>> cube.meta["steps"]
    ['exposure']
    """
    preparation = planned(
        maps,
        psf=psf,
        pointing_table=pointing_table,
        align=align,
        correct_shifts=correct_shifts,
        reference=reference,
        submap=submap,
        bin=bin,
        n_sample=n_sample,
        exposures=exposures,
        exposure_times=exposure_times,
        accept_flagged=accept_flagged,
        saturation=saturation,
        error_table=error_table,
        include_eve=include_eve,
        include_chianti=include_chianti,
        relative_floor=relative_floor,
        correct_degradation=correct_degradation,
        degradation_corrected=degradation_corrected,
        correction_table=correction_table,
    )
    return prepared(preparation)


def prepared(preparation):
    """The cube of maps that have been planned."""
    if preparation.plan.is_resampled:
        preparation, arrays, measured = aligned(preparation)
        return wrapped(preparation, *arrays, measured)
    return wrapped(preparation, *calibrated(preparation))


def wrapped(preparation, intensity, uncertainty, mask, measured=None):
    """The cube of calibrated arrays, NumPy's or Dask's, with what was measured on them for each channel."""
    plan, per_channel = preparation.plan, preparation.per_channel | (measured or {})
    channels = [channel.channel for channel in plan.leading]
    wavelengths = channels * u.AA if all(isinstance(channel, int) for channel in channels) else None
    return Cube(
        intensity,
        unit=u.DN / u.pix / u.s,
        uncertainty=StdDevUncertainty(uncertainty, copy=False),
        mask=mask,
        wcs=prepend_channels(plan.grid.binned_wcs, len(channels), wavelengths),
        meta=Meta(per_channel | preparation.done, axes=dict.fromkeys(per_channel, 0), data_shape=intensity.shape),
    )
