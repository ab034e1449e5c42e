"""The options of an inversion, which the commands ``invert`` and ``batch`` have in common."""

import argparse
import math

from sunpy_demreg._common.errors import ArgumentError, nearest
from sunpy_demreg._common.urls import file_of

__all__ = ["add_choice", "add_choices", "choices_of", "log_edges", "number", "place", "positive", "whole"]

_MAX_BINS = 1000


def add_choices(invert):
    """The options of an inversion."""
    invert.add_argument(
        "--log-t",
        nargs=3,
        type=number,
        default=(5.575, 7.425, 0.05),
        metavar=("LOW", "HIGH", "STEP"),
        help="temperature bin edges as log10(T/K): first, last, width (default: 5.575 7.425 0.05)",
    )
    invert.add_argument(
        "--n-sample",
        type=whole,
        metavar="N",
        help="how many pixels of AIA were averaged into each pixel of the images (16 for the synoptic maps)",
    )
    invert.add_argument(
        "--saturation",
        type=positive,
        metavar="DN",
        help="mask pixels with more counts than this, before division by the exposure time (default: 15000)",
    )
    invert.add_argument(
        "--pointing-table",
        metavar="FILE",
        help="update the pointing of level-1 images from this ECSV table, or download one from lmsal or jsoc",
    )
    invert.add_argument(
        "--reference",
        metavar="CHANNEL|FILE",
        help="put all images on the grid of this channel, such as 171 (in a batch, that of its first step), or of the "
        "image in this file",
    )
    invert.add_argument(
        "--correct-shifts",
        action="store_true",
        help="move images to match that of the shortest wavelength, where the measured shift is larger than its error; "
        "all are then interpolated",
    )
    invert.add_argument("--bin", type=whole, default=1, metavar="N", help="average blocks of N by N pixels")
    add_choice(
        invert,
        "--exposures",
        ("one", "coadd", "replace_saturated"),
        default="one",
        help="if a channel has several images: refuse them (in a batch, take the nearest in time), or add them, or "
        "take the short exposure where the long one is saturated (default: %(default)s)",
    )
    invert.add_argument(
        "--accept-flagged",
        action="store_true",
        help="take, with a warning, images that their headers flag, such as those of an eclipse",
    )
    invert.add_argument(
        "--calibration-error",
        type=number,
        metavar="FRACTION",
        help="error of the calibration of each channel, as a fraction of its intensity, such as 0.1; it is added to "
        "the noise (default: none)",
    )
    invert.add_argument(
        "--common-calibration-error",
        type=number,
        metavar="FRACTION",
        help="error of the calibration or the abundances that all channels share, such as 0.2; it is added to the "
        "errors of the result (default: none)",
    )
    invert.add_argument(
        "--include-chianti", action="store_true", help="include the errors of the atomic data in the noise"
    )
    invert.add_argument(
        "--include-eve", action="store_true", help="include the errors of the calibration with EVE in the noise"
    )
    invert.add_argument(
        "--relative-floor",
        type=number,
        default=0.0,
        metavar="FRACTION",
        help="smallest noise, as a fraction of the intensity, such as 0.05 (default: none)",
    )
    invert.add_argument(
        "--degradation-corrected",
        action="store_true",
        help="say that the images were already corrected for the degradation of the instrument",
    )
    add_choice(
        invert,
        "--weighting",
        ("self", "em_loci"),
        default="self",
        help="where the method demreg expects emission: where its first solution has it, or below the EM loci "
        "(default: %(default)s)",
    )
    invert.add_argument(
        "--chi-squared-target",
        type=positive,
        default=1.0,
        metavar="X",
        help="chi-squared per channel to aim for (default: %(default)s)",
    )
    add_choice(
        invert,
        "--method",
        ("demreg", "lognormal", "l2"),
        default="demreg",
        help="the regularization of Hannah & Kontar; or a log-normal prior, which is positive by construction and "
        "closer to the truth of smooth DEMs; or Tikhonov's regularization of zeroth order, the cheapest and least "
        "accurate (default: %(default)s)",
    )
    invert.add_argument(
        "--prior",
        nargs=2,
        type=number,
        metavar=("AMPLITUDE", "LENGTH"),
        help="for the method lognormal: how freely the natural logarithm of the DEM varies, and over how many dex it "
        "is correlated (default: 4 0.8)",
    )
    add_choice(
        invert,
        "--solve-for",
        ("dem", "emission_measure"),
        help="what the methods demreg and l2 regularize: the DEM per kelvin, or the emission measure per dex, which "
        "leaves less where nothing is seen (default: dem)",
    )
    add_choice(
        invert,
        "--parameter-choice",
        ("discrepancy", "grid", "gcv", "prior"),
        help="how strong the regularization is: such that the chi-squared target is met exactly; or the nearest on the "
        "grid of the reference implementation, which reproduces published results; or by generalized "
        "cross-validation, which does not need the scale of the noise; or as the prior of the method lognormal has it "
        "(default: prior for lognormal, otherwise discrepancy)",
    )
    add_choice(
        invert,
        "--positivity",
        ("relax", "constrain", "ignore"),
        help="raise the chi-squared target until no bin is negative; or find the DEM without negative bins at the "
        "target itself; or accept the first solution (default: relax; not for lognormal, which is positive by "
        "construction)",
    )
    add_choice(
        invert,
        "--dem-error",
        ("noise", "posterior"),
        help="what the errors of the DEM are: the propagated noise of the data; or, only for the method lognormal, the "
        "spread of the DEMs that prior and data leave possible (default: posterior for lognormal, otherwise noise)",
    )
    add_choice(
        invert,
        "--nonpositive",
        ("use", "mask"),
        default="use",
        help="use intensities of zero and below as data like any other, or mask their pixels (default: %(default)s)",
    )
    add_choice(
        invert,
        "--missing-channels",
        ("omit", "mask"),
        default="omit",
        help="if a channel has no usable value in a pixel, for instance because it is saturated: solve the pixel with "
        "the other channels, or mask it (default: %(default)s)",
    )
    invert.add_argument(
        "--max-missing-channels",
        type=whole,
        default=1,
        metavar="N",
        help="how many channels may be left out in a pixel; with more, it is masked (default: %(default)s)",
    )


def add_choice(command, option, words, metavar=None, **more):
    """An option that is one, or several, of some words; unlike the choices of argparse, it tells the nearest one."""

    def word(text):
        if text not in words:
            rule = f"must be one of {', '.join(words)}"
            raise argparse.ArgumentTypeError(f"{rule}, but is {text!r}{nearest(text, words)}")
        return text

    command.add_argument(option, type=word, metavar=metavar or f"{{{','.join(words)}}}", **more)


def number(text, rule="must be a number"):
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{rule}, but is {text!r}") from None


def place(text):
    """A file, or a URL."""
    try:
        return file_of(text)
    except ArgumentError as err:  # of another machine
        raise argparse.ArgumentTypeError(err.problem.removeprefix(": ")) from None


def whole(text):
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, but is {text!r}") from None


def positive(text):
    rule = "must be a positive number"
    value = number(text, rule)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{rule}, but is {text}")
    return value


def choices_of(options):
    """The options of `prepare` and those of `invert`."""
    names = ("n_sample", "saturation", "include_chianti", "include_eve", "relative_floor", "degradation_corrected")
    prepare = {name: getattr(options, name) for name in names}
    if options.pointing_table is not None:
        prepare["pointing_table"] = options.pointing_table
    if options.reference is not None:
        is_channel = options.reference.isdecimal()
        prepare["reference"] = f"{options.reference} Angstrom" if is_channel else options.reference
    for name in ("correct_shifts", "accept_flagged"):
        if getattr(options, name):
            prepare[name] = True
    if options.bin != 1:
        prepare["bin"] = options.bin
    if options.exposures != "one":
        prepare["exposures"] = options.exposures
    names = (
        "method",
        "solve_for",
        "calibration_error",
        "common_calibration_error",
        "chi_squared_target",
        "parameter_choice",
        "positivity",
        "dem_error",
        "nonpositive",
        "missing_channels",
        "max_missing_channels",
        "weighting",
    )
    choices = {name: getattr(options, name) for name in names}
    if options.prior is not None:
        from sunpy_demreg import LogNormalPrior

        choices["prior"] = LogNormalPrior(*options.prior)
    return prepare, choices


def log_edges(low, high, step):
    given = f"{low:g} {high:g} {step:g}"
    if not (low < high and step > 0):
        raise ValueError(f"`--log-t` must have LOW < HIGH and STEP > 0, but is {given}")
    if low < 3 or high > 9:
        kelvin = f", and {low:g} K is {math.log10(low):.4g}" if low > 1e3 else ""
        raise ValueError(
            f"`--log-t` must be log10(T/K) between 3 and 9, such as 5.575 7.425 0.05, but is {given}{kelvin}"
        )
    n_bins = (high - low) / step
    if not 2.5 < n_bins < _MAX_BINS + 0.5:
        raise ValueError(f"`--log-t` must make 3 to {_MAX_BINS} bins, but {given} makes {n_bins:.4g}")
    if abs(n_bins - round(n_bins)) > 1e-6:
        raise ValueError(f"`--log-t`: {low:g} to {high:g} is not a whole number of steps of {step:g}")
    import numpy as np

    return np.linspace(low, high, round(n_bins) + 1)
