"""The plan for maps of one time, from headers and options: all checks and warnings that need no pixel."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

import astropy.units as u
from astropy.table import Table

from sunpy_demreg._channels.aia_maps import as_images, check_one_grid, common_dates
from sunpy_demreg._channels.averages import check_n_sample, default_n_sample, stated_counts
from sunpy_demreg._channels.calibrate import ChannelPlan, Plan
from sunpy_demreg._channels.exposures import EXPOSURES, groups_of, meta_of_groups
from sunpy_demreg._channels.grid import cropped, own_grid, reference_grid, seen_as
from sunpy_demreg._channels.headers import DETECTOR_SIDE
from sunpy_demreg._channels.level1 import point_spreads, repointed
from sunpy_demreg._channels.uncertainty import DetectorErrors, ErrorModel, as_floors, read_error_table
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.grids import grid_difference
from sunpy_demreg._common.validators import as_bool, as_integer, as_number, as_path, check_choice
from sunpy_demreg._common.wcs import wcs_text
from sunpy_demreg.response._aia import degradation_factors

__all__ = ["SATURATION", "Preparation", "as_saturation", "moved", "planned"]

# DN: where the detector of AIA ends, that of level 2 of SUVI, and just below what `xrt_prep` sets saturated pixels to.
SATURATION = {"AIA": 15000.0, "SUVI": 12000.0, "XRT": 2490.0}


class Preparation(NamedTuple):
    """Maps, the plan for them, and the metadata of the cube that are known in advance."""

    maps: list  # by wavelength, as the images of the plan
    plan: Plan
    per_channel: dict  # metadata
    done: dict  # metadata that all channels share

    @property
    def is_local(self):
        """Whether each pixel of the cube depends only on the same pixel of the maps, and none is cut off."""
        plan = self.plan
        is_whole = plan.grid.shape == self.maps[0].data.shape and plan.grid.bin == 1
        return is_whole and not plan.is_resampled and all(channel.psf is None for channel in plan.channels)


def planned(
    maps,
    *,
    psf,
    pointing_table,
    align,
    correct_shifts,
    reference,
    submap,
    bin,
    n_sample,
    exposures,
    exposure_times,
    accept_flagged,
    saturation,
    error_table,
    include_eve,
    include_chianti,
    relative_floor,
    correct_degradation,
    degradation_corrected,
    correction_table,
    grid=None,
):
    """
    Check maps and options, and plan what to do.

    Parameters
    ----------
    maps and others
        As of `sunpy_demreg.prepare`. Dask arrays are not computed.
    grid : Grid, optional
        Of the plan for the first of several times. Maps that are interpolated are put on it, instead of on a grid of
        their own; with `align` also those of level 1.5, if their pixels are others.

    Returns
    -------
    Preparation
    """
    saturation = None if saturation is None else as_saturation(saturation)
    bin = as_integer("bin", bin, 1, DETECTOR_SIDE, "of pixels")
    if n_sample is not None:
        n_sample = as_integer("n_sample", n_sample, 1, DETECTOR_SIDE**2, "of averaged pixels, such as 16,")
    align, accept_flagged = as_bool("align", align), as_bool("accept_flagged", accept_flagged)
    correct_shifts = as_bool("correct_shifts", correct_shifts)
    include_eve = as_bool("include_eve", include_eve)
    include_chianti = as_bool("include_chianti", include_chianti)
    correct_degradation = as_bool("correct_degradation", correct_degradation)
    degradation_corrected = as_bool("degradation_corrected", degradation_corrected)
    if correction_table is not None and not isinstance(correction_table, Table):
        path = as_path("correction_table", correction_table, "a table or a file")
        if not path.is_file():
            raise wrong(ValueError, "correction_table", f"must be a table or a file, but there is no file {path}")
    check_choice("exposures", exposures, EXPOSURES)
    images = as_images(maps, exposure_times, accept_flagged, may_repeat=exposures != "one")
    is_aia = images[0].instrument == "AIA"
    if not is_aia:
        _refuse_foreign(
            images[0],
            psf=psf,
            pointing_table=pointing_table,
            n_sample=n_sample,
            exposure_times=exposure_times or None,
            error_table=error_table,
            include_eve=include_eve,
            include_chianti=include_chianti,
            correct_degradation=correct_degradation,
            degradation_corrected=degradation_corrected,
            correction_table=correction_table,
        )
    saturation = SATURATION[images[0].instrument] if saturation is None else saturation
    _refuse_twice(images, psf, pointing_table, correct_degradation, degradation_corrected)
    channels = [image.channel for image in images]
    floors = as_floors(relative_floor, channels, images[0].instrument)
    dates = common_dates(images)
    if is_aia:
        errors = ErrorModel(read_error_table(error_table), include_eve, include_chianti)
        if n_sample is None:
            n_sample = default_n_sample(images[0].map)
        check_n_sample(images, n_sample)
    else:
        errors, n_sample = DetectorErrors({image.channel: image.noise for image in images}), 1
    is_corrected = correct_degradation or degradation_corrected
    factors = degradation_factors(channels, dates, correction_table) if is_corrected else np.ones(len(images))

    steps, pointing = [], None
    psfs = [None] * len(images)
    if psf is not None:
        psfs = point_spreads(images, psf)
        steps.append("psf")
    if pointing_table is not None:
        images, pointing = repointed(images, pointing_table)
        steps.append("pointing")
    is_resampled = reference is not None or correct_shifts or (align and images[0].level == 1)
    corner = 0, 0
    if not is_resampled:
        check_one_grid(images)
        own, corner = cropped(own_grid(images[0].map), submap, bin)
        is_resampled = align and grid is not None and not _is_same(own, grid)
        grid = seen_as(grid, images[0].map) if is_resampled else own
    elif grid is None:
        grid, _ = cropped(reference_grid(images, reference), submap, bin)
    else:
        grid = seen_as(grid, images[0].map)
    steps += ["align"] * is_resampled
    steps += ["submap"] * (submap is not None) + ["bin"] * (bin > 1)
    steps += ["exposure"] + ["degradation"] * correct_degradation

    plans = tuple(
        ChannelPlan(
            image.channel,
            image.label,
            stated_counts(image, n_sample) if is_aia else None,
            to_counts=(image.exposure * image.rate if image.is_rate else 1.0)
            * (factor if degradation_corrected else 1.0),
            to_intensity=(1 / image.rate if image.is_rate else image.exposure)
            * image.summed
            * (factor if correct_degradation else 1.0),
            floor=floor,
            least=-np.inf if is_aia else image.noise.least,
            psf=each_psf,
            wcs=image.map.wcs if is_resampled else None,
        )
        for image, factor, floor, each_psf in zip(images, factors, floors, psfs, strict=True)
    )
    common = [errors.common(each.channel) for each in plans]
    rate = u.DN / u.pix / u.s
    per_channel = {
        "channels": np.array([image.label for image in images]),
        "exposure_time": [image.exposure for image in images] * u.s,
        "date": dates,
        "relative_floor": np.array(floors),
        "common_error": [dn / each.counts_per_intensity for (dn, _), each in zip(common, plans, strict=True)] * rate,
        "common_relative_error": np.array([fraction for _, fraction in common]),
    }
    if is_aia:
        noise = np.array([errors.noise(each.channel) for each in plans])
        per_channel |= {"dn_per_photon": noise[:, 0], "compression_ratio": noise[:, 1]}
    else:
        per_channel |= {key: np.array([image.facts[key] for image in images]) for key in images[0].facts}
        per_channel["read_noise"] = [image.noise.reading for image in images] * u.DN
    if is_resampled:
        per_channel["source_wcs"] = np.array([wcs_text(each.wcs) for each in plans])
    groups = ()
    if exposures != "one":
        groups = groups_of(images)
        _refuse_other_responses(images, groups)
        per_channel = meta_of_groups(per_channel, plans, groups, exposures)
    done = {
        "instrument": images[0].source,
        "level": 1.5 if is_resampled and is_aia else images[0].level,
        "steps": steps,
        "pointing": pointing,
        "bin": bin,
        "saturation": saturation,
        "n_sample": n_sample * bin**2,
        "exposures": exposures,
        "include_eve": include_eve,
        "include_chianti": include_chianti,
        "exposure_normalized": True,
        "degradation_corrected": is_corrected,
    }
    plan = Plan(plans, n_sample, saturation, errors, grid, corner, is_resampled, exposures, correct_shifts, groups)
    return Preparation([image.map for image in images], plan, per_channel, done)


def moved(preparation, shifts):
    """The same, with the images of each channel moved on the grid by so many pixels along x and y, (n, 2)."""
    plan = preparation.plan
    channels = list(plan.channels)
    for group, shift in zip(plan.groups or [(i,) for i in range(len(channels))], shifts, strict=True):
        for i in group if np.any(shift) else ():
            wcs = channels[i].wcs.deepcopy()
            # The same distance in the pixels of the image, which may be turned and of another size.
            wcs.wcs.crpix -= np.linalg.solve(wcs.pixel_scale_matrix, plan.grid.wcs.pixel_scale_matrix @ shift)
            wcs.wcs.set()
            channels[i] = replace(channels[i], wcs=wcs)
    plan = replace(plan, channels=tuple(channels)).of_parts  # images were examined where they were
    sources = {"source_wcs": np.array([wcs_text(each.wcs) for each in plan.leading])}
    steps = [*preparation.done["steps"]]
    steps.insert(steps.index("align") + 1, "shift")
    return preparation._replace(
        plan=plan, per_channel=preparation.per_channel | sources, done=preparation.done | {"steps": steps}
    )


def _refuse_foreign(image, **options):
    """Refuse what only maps of AIA need."""
    for name, value in options.items():
        if value is not None and value is not False:
            cure = "leave it out"
            if name == "n_sample":
                cure += ", and pass maps of the original pixels, which `bin` averages"
            raise wrong(ValueError, name, f"is for maps of AIA, but {image.name} is of {image.source}: {cure}")


def _refuse_other_responses(images, groups):
    """Refuse exposures of one channel that need different responses, as the long and short ones of SUVI do."""
    for group in groups:
        first = images[group[0]]
        for other in (images[i] for i in group[1:]):
            kinds = [(image.facts or {}).get("exposure_type") for image in (first, other)]
            if kinds[0] != kinds[1]:
                raise wrong(
                    ValueError,
                    "exposures",
                    f"combines exposures of one response, but of {first.label} {first.name} is {kinds[0]!r} and "
                    f"{other.name} {kinds[1]!r}, whose responses differ: pass those of one type, as SCI_OBJ tells it",
                )


def _is_same(grid, other):
    return grid_difference(grid.wcs, grid.shape, other.wcs, other.shape) is None


def as_saturation(saturation):
    """Return it as a plain number of DN."""
    if isinstance(saturation, u.Quantity) and saturation.unit.is_equivalent(u.DN) and saturation.isscalar:
        saturation = saturation.to_value(u.DN)
    if isinstance(saturation, float) and saturation == np.inf:  # nothing is saturated
        return np.inf
    return as_number("saturation", saturation, above=0, of="of DN, such as 15000,")


def _refuse_twice(images, psf, pointing_table, correct_degradation, degradation_corrected):
    """Refuse steps that were already applied to the maps."""
    if images[0].level != 1:
        for name, value in (("psf", psf), ("pointing_table", pointing_table)):
            if value is not None:
                raise wrong(
                    ValueError,
                    name,
                    f"is for level 1, but {images[0].name} is level {images[0].level:g}, which is already "
                    "registered: leave it out, or pass maps of level 1",
                )
    if correct_degradation and degradation_corrected:
        raise wrong(
            ValueError,
            "correct_degradation",
            "would correct maps that `degradation_corrected` says are corrected: pass only one",
        )
    if psf is not None and (degradation_corrected or any(image.is_rate for image in images)):
        raise wrong(ValueError, "psf", "must be the first step: pass the original maps, in DN and not corrected")
