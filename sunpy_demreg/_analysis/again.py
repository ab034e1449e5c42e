"""Inversions repeated on other data: means over regions of a result."""

from sunpy_demreg._analysis.spectrum import region_spectrum
from sunpy_demreg._common.errors import ArgumentError, wrong
from sunpy_demreg._inversion.invert import invert
from sunpy_demreg._inversion.methods import VALUE_OPTIONS
from sunpy_demreg._inversion.prior import LogNormalPrior
from sunpy_demreg._results.checks import bins_of, check_result
from sunpy_demreg._results.errors import response_of

__all__ = ["invert_again", "invert_regions"]


def invert_again(result, data):
    """Invert other data of the same channels with the response, the bins and the settings of a result."""
    settings = {name: result.meta[name] for name in VALUE_OPTIONS if name in result.meta}
    if "calibration_error" in data.meta:  # in their uncertainty
        del settings["calibration_error"]
    # What a result says of itself, and is no choice.
    settings = {name: value for name, value in settings.items() if value not in ("inherent", "uniform")}
    if settings.get("weighting") == "given":
        if "weight" not in result.meta:
            raise wrong(ValueError, "result", "was made with a `weighting` per pixel, which other data do not have")
        settings["weighting"] = result.meta["weight"]
    if settings["method"] == "lognormal":
        settings["prior"] = LogNormalPrior(**result.meta["prior"])
    return invert(data, response_of(result), bins_of(result).edges, **settings)


def invert_regions(result, region):
    """The result of the mean intensities of regions of the image of a result."""
    check_result(result, "intensity", "status")
    try:
        return invert_again(result, region_spectrum(result["intensity"], region))
    except ArgumentError as err:
        raise err.renamed("result") if err.argument == "cube" else err from None
