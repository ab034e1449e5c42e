"""From the counts of a detector to intensities, on plain arrays: the same for whole images and for parts of them."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from sunpy_demreg._channels.averages import StatedCounts, doubt, warn_of_doubts
from sunpy_demreg._channels.exposures import combined
from sunpy_demreg._channels.level1 import deconvolved
from sunpy_demreg._channels.resample import Grid, Window, parts, sampler, sampler_in, whole_pixels
from sunpy_demreg._channels.uncertainty import ErrorModel
from sunpy_demreg._common.dask_arrays import unmasked

__all__ = ["ChannelPlan", "Plan", "calibrate", "sharpened"]


@dataclass(frozen=True, eq=False)
class ChannelPlan:
    """What is to be done to one image."""

    channel: int | str  # Å, or the name of a filter
    label: str  # with the instrument
    stated: StatedCounts | None  # None where sums of pixels cannot be
    to_counts: float  # values of the map times this are raw counts
    to_intensity: float  # values of the map divided by this are intensities
    floor: float  # least uncertainty, as a fraction of the intensity
    psf: object = None  # point spread function, "aiapy", or None
    wcs: object = None  # of the map, where it is interpolated
    window: Window | None = None  # in place of the WCS, of a part of the grid
    least: float = -np.inf  # DN: values below stand for missing pixels

    @property
    def counts_per_intensity(self):
        """Raw counts, in DN, that one DN / s stands for."""
        return self.to_counts * self.to_intensity


@dataclass(frozen=True, eq=False)
class Plan:
    """What is to be done to the images of one time: all that headers and options say, and no pixels."""

    channels: tuple  # of ChannelPlan: for each image, which may be several of a channel
    n_sample: int  # pixels averaged into one in the maps
    saturation: float  # DN
    errors: ErrorModel
    grid: Grid  # of the cube
    corner: tuple = (0, 0)  # row and column where it starts in the maps, if these are not interpolated
    is_resampled: bool = False
    exposures: str = "one"  # what becomes of several images of a channel
    corrects_shifts: bool = False  # whether images are moved to match the first
    groups: tuple = ()  # their positions, for each channel; none where each channel has one image

    @property
    def leading(self):
        """The plan for the first image of each channel."""
        return tuple(self.channels[group[0]] for group in self.groups) or self.channels

    @property
    def of_parts(self):
        """The same for parts of the images, or for what was examined as a whole before: it is not warned of again."""
        stated = [channel.stated and channel.stated.of_parts for channel in self.channels]
        pairs = zip(self.channels, stated, strict=True)
        return replace(self, channels=tuple(replace(channel, stated=own) for channel, own in pairs))


def calibrate(planes, plan, workers=1):
    """
    Calibrate images of one time.

    Parameters
    ----------
    planes : iterable of (array, array or None, array or None)
        Values and mask of each image, in the order of the plan; and the deconvolved values, where that was done before.
    plan : Plan
    workers : int, optional
        Threads to calibrate images on, all at the same time if there are as many.

    Returns
    -------
    intensity, uncertainty, mask : `numpy.ndarray`
        (n, y, x), as described at `sunpy_demreg.prepare`. `sunpy_demreg._channels.uncertainty.common_uncertainty`
        returns the part of the uncertainty that pixels have in common.
    """
    shape = (len(plan.channels), *plan.grid.binned_shape)
    intensity, uncertainty, mask = np.empty(shape), np.empty(shape), np.empty(shape, dtype=bool)

    def one(image, channel, *into):
        return _calibrate_channel(*image, channel, plan, *into)

    given = (planes, plan.channels, intensity, uncertainty, mask)
    if workers == 1:
        doubts = list(map(one, *given))
    else:
        with ThreadPoolExecutor(min(workers, len(plan.channels))) as pool:
            doubts = list(pool.map(one, *given))
    warn_of_doubts(doubts)
    if plan.groups:
        return combined(intensity, uncertainty, mask, plan)
    return intensity, uncertainty, mask


def _calibrate_channel(data, mask, sharp, channel, plan, intensity, uncertainty, is_masked):
    """Calibrate one image into arrays for it, a part after the other; return what `doubt` does."""
    data, own_mask = unmasked(data)
    data = np.asarray(data)
    # Only Dask's masked arrays have a mask of their own: any other is already in the mask of the map.
    masks = [np.asarray(each, dtype=bool) for each in (mask, own_mask) if each is not None]
    if np.isfinite(channel.least):
        data = np.where(data * channel.to_counts < channel.least, np.nan, data)
    doubts = ("", "") if channel.stated is None else doubt(channel.stated, data, channel.to_counts)
    if channel.psf is not None:
        sharp = sharpened(data, channel.channel, channel.psf)
    if channel.window is not None:
        samples_of = sampler_in(channel.window, plan.grid.bin)
    elif plan.is_resampled:
        samples_of = sampler(plan.grid, channel.wcs, data.shape)
    else:
        samples_of = whole_pixels(plan.grid, plan.corner)
    for part in parts(plan.grid):
        samples = samples_of(part)
        raw, is_bad = _finite(data[samples.box])
        counts = raw * channel.to_counts if channel.to_counts != 1 else raw
        bad = samples.touched(is_bad) | ~samples.is_covered
        saturated = samples.touched(counts > plan.saturation) & ~bad
        is_masked[part] = saturated | bad
        for each in masks:
            is_masked[part] |= samples.touched(each[samples.box])
        value = samples.averaged(raw if sharp is None else sharp[samples.box])
        counts = value if sharp is None and counts is raw else samples.averaged(counts)
        error = plan.errors.of_counts(np.where(bad, 0, counts), channel.channel, plan.n_sample / samples.squares)
        # So that the reason for the mask survives whatever is done to the cube: slicing, factors, other units.
        error[saturated], error[bad] = np.inf, np.nan
        np.divide(np.where(bad, np.nan, value), channel.to_intensity, out=intensity[part])
        # Of several exposures, the floor comes last.
        least = (0 if plan.groups else channel.floor) * np.abs(intensity[part])
        np.fmax(error / channel.counts_per_intensity, least, out=uncertainty[part])
    return doubts


def sharpened(data, channel, psf):
    """The values of a whole image, deconvolved."""
    return deconvolved(_finite(np.asarray(data))[0], channel, psf)


def _finite(data):
    """Values as float64, zero where they are not finite, and where that is."""
    data = np.array(data, dtype=float)
    is_bad = ~np.isfinite(data)
    data[is_bad] = 0
    return data, is_bad
