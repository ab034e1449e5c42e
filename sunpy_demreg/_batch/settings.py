"""The options of a batch: those that a store is made with, and those of one response for all of its steps."""

import inspect

from sunpy_demreg._channels.plan import SATURATION, as_saturation
from sunpy_demreg._channels.prepare import prepare
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.validators import as_bool
from sunpy_demreg._inversion.invert import invert
from sunpy_demreg._inversion.methods import CHOICES, VALUE_OPTIONS, resolved_choices
from sunpy_demreg.response import TemperatureResponse

__all__ = ["DEFAULTS", "OF_EACH_STEP", "SETTINGS", "corrected", "settings_of"]

# The options of `invert` that change values. The others only affect where and how fast; outputs are compared
# separately.
SETTINGS = ("uncertainty", "mask", "prior", *VALUE_OPTIONS, "emission_measure_ranges", "dtype")
OF_EACH_STEP = {"obstime", "degradation"}  # options of a response that follow from the step


def settings_of(prepare_options, response_options, options):
    """All options that change values, with defaults for those not given."""

    def every(function, given):
        parameters = inspect.signature(function).parameters.values()
        values = {p.name: given.get(p.name, p.default) for p in parameters if p.default is not p.empty}
        # For these functions, True and 1 are the same.
        is_bool = {p.name for p in parameters if isinstance(p.default, bool)}
        return {name: as_bool(name, value) if name in is_bool else value for name, value in values.items()}

    of_response, of_invert = every(TemperatureResponse.from_aia, response_options), every(invert, options)
    choices = {name: of_invert[name] for name in CHOICES}
    of_invert |= resolved_choices(of_invert["method"], choices, of_invert["prior"])
    of_prepare = every(prepare, prepare_options)
    level = of_prepare["saturation"]
    of_prepare["saturation"] = SATURATION["AIA"] if level is None else as_saturation(level)
    return {
        **of_prepare,
        **{f"response {name}": value for name, value in of_response.items() if name not in OF_EACH_STEP},
        **{name: value for name, value in of_invert.items() if name in SETTINGS},
    }


def corrected(prepare_options, response_options):
    """Options of `prepare` with the correction for degradation, so that all data have the same response."""
    is_corrected = prepare_options.get("degradation_corrected", False)
    correct = prepare_options.get("correct_degradation", not is_corrected)
    if not (correct or is_corrected):
        raise wrong(
            ValueError,
            "prepare_options",
            "has 'correct_degradation' False, but a store has one response for all of its steps, whose data must be "
            "corrected for the degradation: leave it out",
        )
    table = response_options.get("correction_table")
    return ({} if table is None else {"correction_table": table}) | prepare_options | {"correct_degradation": correct}


# Of stores that are older than an option: what was done then.
DEFAULTS = settings_of({}, {}, {}) | {
    "nonpositive": "mask",
    "missing_channels": "mask",
    "encoding": None,
    "contents": "result",
    "error model": "of counts",
}
