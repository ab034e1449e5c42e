"""Several exposures of one channel at one time: added, or the short ones where the long one is saturated."""

import numpy as np

import astropy.units as u
from astropy.time import Time

from sunpy_demreg._common.dates import mean_date

__all__ = ["EXPOSURES", "combined", "groups_of", "meta_of_groups"]

#: What to do with several exposures of a channel; "one" refuses, or takes the nearest in time.
EXPOSURES = ("one", "coadd", "replace_saturated")


def groups_of(images):
    """The positions of the images of each channel, the longest exposure first; images of a channel are adjacent."""
    groups = {}
    for i, image in enumerate(images):
        groups.setdefault(image.channel, []).append(i)
    return tuple(tuple(sorted(group, key=lambda i: -images[i].exposure)) for group in groups.values())


def meta_of_groups(per_image, plans, groups, exposures):
    """The metadata of each channel from those of each image."""
    first = [group[0] for group in groups]
    meta = {key: values[first] for key, values in per_image.items()}
    times = per_image["exposure_time"]
    dates = per_image["date"]
    if exposures == "coadd":
        errors = per_image["common_error"]
        meta["exposure_time"] = u.Quantity([times[list(group)].sum() for group in groups])
        meta["date"] = Time([mean_date(dates[list(group)]) for group in groups])
        counts = [[plans[i].counts_per_intensity for i in group] for group in groups]
        # The dark level is that of all exposures.
        meta["common_error"] = u.Quantity(
            [np.average(errors[list(group)], weights=of) for group, of in zip(groups, counts, strict=True)]
        )
    else:  # the noise of a pixel is not that of its channel
        meta.pop("dn_per_photon", None), meta.pop("compression_ratio", None)
    # From the date of the channel, to where its first exposure starts and its last one ends.
    after = [(dates[list(group)] - date).to(u.s) for group, date in zip(groups, meta["date"], strict=True)]
    meta["start_offset"] = u.Quantity([each.min() for each in after])
    meta["end_offset"] = u.Quantity(
        [(each + times[list(group)]).max() for group, each in zip(groups, after, strict=True)]
    )
    # Of so many a value is made: in place of a saturated one it is that of another exposure, but of one only.
    meta["n_exposures"] = np.array([len(group) if exposures == "coadd" else 1 for group in groups])
    meta["shortest_exposure_time"] = u.Quantity([times[list(group)].min() for group in groups])
    return meta


def combined(intensity, uncertainty, mask, plan):
    """
    Combine the planes of all exposures, calibrated without a floor, to planes of channels.

    A sum is that of the counts, over the time of the exposures that have a value in the pixel. Noise of photons and
    reading of each adds in quadrature; errors of dark level, calibration and atomic data are the same in all of them.

    Parameters
    ----------
    intensity, uncertainty, mask : `numpy.ndarray`
        (image, y, x)
    plan : `sunpy_demreg._channels.calibrate.Plan`

    Returns
    -------
    intensity, uncertainty, mask : `numpy.ndarray`
        (n, y, x)
    """
    n, shape = len(plan.groups), intensity.shape[1:]
    values, errors, is_masked = np.empty((n, *shape)), np.empty((n, *shape)), np.empty((n, *shape), dtype=bool)
    for k, group in enumerate(plan.groups):
        planes = intensity[list(group)], uncertainty[list(group)]
        is_good = ~mask[list(group)]
        # The longest exposure with a value, and of those without one the highest of their lower limits.
        best = is_good.argmax(axis=0)[None]
        values[k], errors[k] = (np.take_along_axis(each, best, 0)[0] for each in planes)
        is_masked[k] = ~is_good.any(axis=0)
        if len(group) > 1:
            values[k] = np.where(is_masked[k], _highest(planes[0]), values[k])
            errors[k] = np.where(is_masked[k], np.where(np.isinf(planes[1]).any(axis=0), np.inf, np.nan), errors[k])
        if len(group) > 1 and plan.exposures == "coadd":
            several = is_good.sum(axis=0) > 1
            value, error = _sum(*planes, is_good, [plan.channels[i] for i in group], plan.errors)
            values[k], errors[k] = np.where(several, value, values[k]), np.where(several, error, errors[k])
        errors[k] = np.fmax(errors[k], plan.channels[group[0]].floor * np.abs(values[k]))
    return values, errors, is_masked


def _highest(planes):
    """The largest of values, some of which may be NaN."""
    return np.fmax.reduce(planes, axis=0)


def _sum(intensity, uncertainty, is_good, channels, errors):
    """Sum of the counts of exposures, as intensity, and its error."""
    dark, fraction = errors.common(channels[0].channel)
    counts = np.array([channel.counts_per_intensity for channel in channels]).reshape(-1, 1, 1)
    weight = counts * is_good
    total = weight.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):  # where there is none
        value = np.sum(weight * np.where(is_good, intensity, 0), axis=0) / total
        common = (dark / counts) ** 2 + (fraction * np.clip(intensity, 0, None)) ** 2
        noise = np.where(is_good, np.clip(uncertainty**2 - common, 0, None), 0)
        variance = np.sum(weight**2 * noise, axis=0) / total**2
        variance += (dark * is_good.sum(axis=0) / total) ** 2 + (fraction * np.clip(value, 0, None)) ** 2
    return value, np.sqrt(variance)
