"""From the counts of a detector to intensities, on plain arrays: the same for whole images and for parts of them."""

from dataclasses import dataclass

import numpy as np

from sunpy_demreg._channels.averages import StatedCounts, doubt, warn_of_doubts
from sunpy_demreg._channels.level1 import deconvolved
from sunpy_demreg._channels.resample import Grid, block_mean, resample
from sunpy_demreg._channels.uncertainty import ErrorModel
from sunpy_demreg._common.dask_arrays import unmasked

__all__ = ["ChannelPlan", "Plan", "calibrate"]


@dataclass(frozen=True, eq=False)
class ChannelPlan:
    """What is to be done to the images of one channel."""

    channel: int  # Å
    stated: StatedCounts
    to_counts: float  # values of the map times this are raw counts
    to_intensity: float  # values of the map divided by this are intensities
    floor: float  # least uncertainty, as a fraction of the intensity
    psf: object = None  # point spread function, "aiapy", or None
    wcs: object = None  # of the map, where it is interpolated

    @property
    def counts_per_intensity(self):
        """Raw counts, in DN, that one DN / s stands for."""
        return self.to_counts * self.to_intensity


@dataclass(frozen=True, eq=False)
class Plan:
    """What is to be done to the images of one time: all that headers and options say, and no pixels."""

    channels: tuple  # of ChannelPlan
    n_sample: int  # pixels averaged into one in the maps
    saturation: float  # DN
    errors: ErrorModel
    grid: Grid  # of the cube
    corner: tuple = (0, 0)  # row and column where it starts in the maps, if these are not interpolated
    is_resampled: bool = False


def calibrate(planes, plan):
    """
    Calibrate images of one time.

    Parameters
    ----------
    planes : iterable of (array, array or None)
        Values and mask of the image of each channel, in the order of the plan.
    plan : Plan

    Returns
    -------
    intensity, uncertainty, mask : `numpy.ndarray`
        (n, y, x), as described at `sunpy_demreg.prepare`. `sunpy_demreg._channels.uncertainty.common_uncertainty`
        returns the part of the uncertainty that pixels have in common.
    """
    shape = (len(plan.channels), *plan.grid.binned_shape)
    intensity, uncertainty, mask = np.empty(shape), np.empty(shape), np.empty(shape, dtype=bool)
    doubts = []
    for i, ((data, hidden), channel) in enumerate(zip(planes, plan.channels, strict=True)):
        images = _images(data, hidden, channel, plan.saturation)
        doubts.append(doubt(channel.stated, images[1]))
        (value, counts, is_saturated, is_masked, is_bad), squares = _on_grid(images, channel, plan)
        bad = ~(is_bad == 0)  # also NaN, where it is not covered
        saturated = ~bad & (is_saturated > 0)
        with np.errstate(divide="ignore"):  # not covered
            n_effective = plan.n_sample / squares
        error = plan.errors.of_counts(np.where(bad, 0, counts), channel.channel, n_effective)
        # So that the reason for the mask survives whatever is done to the cube: slicing, factors, other units.
        error[saturated], error[bad] = np.inf, np.nan
        intensity[i] = np.where(bad, np.nan, value) / channel.to_intensity
        uncertainty[i] = np.fmax(error / channel.counts_per_intensity, channel.floor * np.abs(intensity[i]))
        mask[i] = saturated | bad | (is_masked > 0)
    warn_of_doubts(doubts)
    return intensity, uncertainty, mask


def _images(data, mask, channel, saturation):
    """The planes of a map, all finite: value, counts, and three flags (saturated, masked, not finite), (5, y, x)."""
    data, hidden = unmasked(data)
    data = np.asarray(data, dtype=float)
    finite = np.isfinite(data)
    data = np.where(finite, data, 0)
    value = data if channel.psf is None else deconvolved(data, channel.channel, channel.psf)
    counts = data * channel.to_counts
    mask = np.zeros(data.shape, bool) if mask is None else np.asarray(mask, dtype=bool)
    if hidden is not None:  # a masked array of Dask; any other is already in the mask of the map
        mask = mask | np.asarray(hidden)
    return np.stack([value, counts, counts > saturation, mask, ~finite])


def _on_grid(images, channel, plan):
    """Images on the grid of the cube, and the sums of the squared weights of their pixels."""
    if plan.is_resampled:
        return resample(images, channel.wcs, plan.grid)
    (y, x), (height, width), size = plan.corner, plan.grid.shape, plan.grid.bin
    return block_mean(images[:, y : y + height, x : x + width], size), size**-2
