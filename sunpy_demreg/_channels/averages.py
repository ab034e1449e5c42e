"""Whether maps hold averages of pixels, as they should, or sums; and counts, or already rates."""

from typing import NamedTuple

import numpy as np

from sunpy_demreg._channels.headers import contains_whole_image, number, pixel_size
from sunpy_demreg._channels.read_maps import wrong_map
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.validators import first_few
from sunpy_demreg._common.warnings import DataWarning, warn

__all__ = ["StatedCounts", "check_n_sample", "default_n_sample", "doubt", "stated_counts", "warn_of_doubts"]

_AVERAGED = 1.5**2  # smallest area, in pixels of AIA, of pixels that may be averages or sums
_FEW = 64  # values: too few to conclude anything
_MAX_COUNTS = 1.2 * 2**14  # DN: more than the detector gives, even after flat-fielding and respiking
_MANY = 0.01  # of the pixels
_LARGE_RATIO = 1.5  # of means: larger than any change of calibration since launch, smaller than any sum
_NOISY_CHANNEL, _DN_PER_PHOTON = 94, 2.1  # the faintest channel, where noise exceeds structure
_BLOCK, _MIN_BLOCKS = 8, 36  # pixels on a side, number
# Noise relative to the expected one. Measured: 0.15 to 0.8 for averages of 1 to 256 pixels of quiet Sun, active regions
# and the limb (level 1.5 is interpolated, which smooths), and at least 1.6 for sums of 4 pixels or more.
_MAX_NOISE = 1.25
_NO_SUMS = (
    "They must not be sums, which `superpixel` makes by default: average instead, `superpixel(..., func=np.mean)`, "
    "or pass the original maps and `bin`"
)
_CORRECTED = "If they are corrected for degradation, pass `degradation_corrected=True`"


def default_n_sample(smap):
    """Return 1, with a warning where the size of the pixels suggests that they are averages."""
    factor = pixel_size(smap)
    if factor > 1.5:
        n_averaged = round(factor) ** 2
        warn(
            DataWarning,
            f"is assumed to be 1, but the pixels of `maps` are {factor:.1f} times the size of AIA's: if they are "
            f"averages of {n_averaged}, as in the synoptic series, pass {n_averaged}; if not, pass 1. {_NO_SUMS}",
            "n_sample",
        )
    return 1


def check_n_sample(images, n_sample):
    """Check that the pixels are large enough to be averages of `n_sample` pixels of AIA."""
    for image in images:
        room = pixel_size(image.map) ** 2
        if n_sample > max(1, 1.3 * room):
            raise wrong(
                ValueError,
                "n_sample",
                f"is {n_sample:g}, but the pixels of {image.name} are {room:.2g} times those of AIA in area, and "
                f"cannot be averages of so many: pass {max(1, round(room))}, or leave it out",
            )
    # Fewer may be right, as averages can be thinned out; but the root of the number is a likely slip.
    width = round(pixel_size(images[0].map))
    if n_sample == width > 1:
        warn(
            DataWarning,
            f"is {width}, and the pixels of `maps` are {width} times as wide as those of AIA: if they are averages of "
            f"{width} x {width} pixels, pass {width**2}, or their errors come out {width**0.5:.2g} times too large",
            "n_sample",
        )


class StatedCounts(NamedTuple):
    """What a header says about the counts of an image, to distinguish sums of pixels from averages."""

    name: str
    channel: int  # Å
    room: float  # area of a pixel, in those of AIA
    mean: float  # DN of a pixel of AIA; NaN if the header has none, or that of a different field
    exposure: float  # s
    is_rate: bool
    shape: tuple  # (y, x); empty where only parts of the image are at hand
    n_sample: int

    @property
    def of_parts(self):
        """The same, to examine parts of the image, of which only refusals are expected."""
        return self._replace(shape=())


def stated_counts(image, n_sample):
    """What the header of an `sunpy_demreg._channels.aia_maps.Image` says about its counts."""
    smap = image.map
    # DATAMEAN is that of the image as delivered, and does not change when a map is cropped.
    is_stated = contains_whole_image(smap) or number(smap, "datavals") == smap.data.size
    return StatedCounts(
        image.name,
        image.channel,
        pixel_size(smap) ** 2,
        number(smap, "datamean") if is_stated else np.nan,
        image.exposure,
        image.is_rate,
        smap.data.shape,
        n_sample,
    )


def doubt(stated, data, to_counts):
    """
    Refuse counts that cannot be averages of pixels; report those that merely look like sums, or like rates.

    Parameters
    ----------
    stated : StatedCounts
    data : `numpy.ndarray`
        Values of the image or of a part of it; those that are not finite count as zero.
    to_counts : float
        Values times this are in DN, before division by the exposure time.

    Returns
    -------
    (`str`, `str`)
        Why the image seems to hold sums, and why it seems to be divided by its exposure time; empty if it does not.
    """
    is_whole = data.shape == stated.shape
    may_be_sums = stated.room >= _AVERAGED
    counts = np.where(np.isfinite(data), data, 0) * to_counts if may_be_sums else None
    n_above = np.count_nonzero(counts > _MAX_COUNTS) if may_be_sums else 0
    if n_above > _MANY * data.size and (is_whole or n_above >= _FEW):
        raise wrong_map(
            ValueError,
            stated.name,
            f"holds sums of pixels, not averages, or other values than counts: {n_above / data.size:.0%} of its pixels "
            f"{'' if is_whole else 'in a block '}are above the {_MAX_COUNTS:.0f} DN that the detector can give. "
            f"{_NO_SUMS}. {_CORRECTED}",
        )
    if not is_whole or data.size < _FEW:
        return "", ""  # parts of an image are not examined further: each would repeat the warning
    mean = ratio = np.nan
    if stated.mean > 0.5:
        mean = np.sum(data, dtype=float, where=np.isfinite(data)) / data.size * to_counts
        ratio = mean / stated.mean
    words = f"its mean, {mean:.3g} DN, is {ratio:.2g} times the {stated.mean:.3g} DN of its header"
    with np.errstate(invalid="ignore", divide="ignore"):
        is_divided = abs(np.log(stated.exposure)) > 0.2 and abs(np.log(ratio * stated.exposure)) < 0.05
    if is_divided and not stated.is_rate:
        return "", f"{stated.name} ({words}, and its exposure time is {stated.exposure:.3g} s)"
    if not may_be_sums:
        return "", ""
    noise = _noise(counts) * stated.n_sample / _DN_PER_PHOTON if stated.channel == _NOISY_CHANNEL else np.nan
    why = ""
    if ratio > _LARGE_RATIO:
        why = words
    elif stated.n_sample > 1 and noise > _MAX_NOISE:
        why = f"its noise is {noise:.2g} times that of averages of {stated.n_sample} pixels"
    elif stated.n_sample > 1 and not stated.is_rate and counts.max() > 1 and np.array_equal(counts, np.round(counts)):
        why = "it holds whole numbers only, as sums of pixels do and averages do not"
    return why and f"{stated.name} ({why})", ""


def _noise(counts):
    """Variance between neighbors relative to the mean, in the quietest tenth of the image; NaN if it is too small."""
    rows, columns = (length // _BLOCK for length in counts.shape)
    blocks = counts[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns, _BLOCK)
    mean = blocks.mean(axis=(1, 3))
    # Second differences, which ignore gradients; for independent values, their variance is six times larger.
    size = np.median(np.abs(np.diff(blocks, 2, axis=3)), axis=(1, 3)) / 0.6745
    is_lit = mean > 0
    if is_lit.sum() < _MIN_BLOCKS:
        return np.nan
    return float(np.percentile(size[is_lit] ** 2 / 6 / mean[is_lit], 10))


def warn_of_doubts(doubts):
    """Warn of maps that look like sums, or like rates; `doubts` holds what `doubt` returned for each."""
    sums, rates = ([text for text in each if text] for each in zip(*doubts, strict=True))
    if sums:
        warn(DataWarning, f"may be sums of pixels: {first_few(sums, most=6)}. {_NO_SUMS}. {_CORRECTED}", "maps")
    if rates:
        warn(
            DataWarning,
            f"may already be divided by their exposure time, and are divided again: {first_few(rates, most=6)}. If "
            "so, set their keyword BUNIT to 'DN / s'",
            "maps",
        )
