"""The methods of `sunpy_demreg.invert`: their own choices, and which others they can honor."""

from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.validators import check_choice, in_words
from sunpy_demreg._engines.base.options import Options
from sunpy_demreg._inversion.prior import as_prior

__all__ = ["CHOICES", "VALUE_OPTIONS", "check_are_used", "resolved_choices"]

#: The arguments that are left to the method where they are None.
CHOICES = ("parameter_choice", "positivity", "solve_for", "dem_error")
#: Arguments of `sunpy_demreg.invert` that change values, and that a result keeps under the same name, beside "prior".
VALUE_OPTIONS = (
    "method",
    *CHOICES,
    "weighting",
    "n_refinements",
    "chi_squared_target",
    "target_growth",
    "max_iterations",
    "n_samples",
    "nonpositive",
    "missing_channels",
    "max_missing_channels",
    "calibration_error",
    "common_calibration_error",
)

_TIKHONOV = {
    "parameter_choice": ("discrepancy", "grid", "gcv"),
    "positivity": ("relax", "constrain", "ignore"),
    "solve_for": ("dem", "emission_measure"),
    "dem_error": ("noise",),
}
#: What each method can do, its own choice first.
_CHOICES = {
    "demreg": _TIKHONOV,
    "lognormal": {
        "parameter_choice": ("prior", "discrepancy"),
        "positivity": ("inherent",),
        "solve_for": ("emission_measure",),
        "dem_error": ("posterior", "noise"),
    },
    "l2": _TIKHONOV,
}
_INHERENT = "inherent"  # is no choice: it is what a result says of its positivity


def resolved_choices(method, choices, prior):
    """
    The choices of a method, with its own where none was made.

    Parameters
    ----------
    method : `str`
    choices : dict
        By the names in `CHOICES`; None is the method's own.
    prior : `sunpy_demreg.LogNormalPrior` or None

    Returns
    -------
    dict
        Of these, as a result keeps them: the prior as a dict of its parameters, or None for a method without one.

    Raises
    ------
    ValueError, TypeError
        If there is no such choice, or the method cannot honor it.
    """
    check_choice("method", method, tuple(_CHOICES))
    resolved = {}
    for name, value in choices.items():
        known = dict.fromkeys(word for of in _CHOICES.values() for word in of[name] if word != _INHERENT)
        check_choice(name, value, (*known, None))
        possible = _CHOICES[method][name]
        if value is not None and value not in possible:
            raise wrong(ValueError, name, f"{value!r} is not possible with the method {method!r}, {_cure(possible)}")
        resolved[name] = possible[0] if value is None else value
    if method == "lognormal":
        prior = as_prior(prior)
        resolved["prior"] = {"amplitude": prior.amplitude, "correlation_length": prior.correlation_length}
    elif prior is not None:
        raise wrong(ValueError, "prior", f"is not used by the method {method!r}: leave it out, or choose 'lognormal'")
    else:
        resolved["prior"] = None
    return resolved


def check_are_used(settings):
    """Raise if an option that the choices leave without effect has another value than its default."""
    uses = {
        "n_samples": ("parameter_choice", ("grid",)),
        "target_growth": ("positivity", ("relax", "constrain")),
        "max_iterations": ("positivity", ("relax", "constrain")),
    }
    for name, (choice, users) in uses.items():
        if settings[choice] in users or settings[name] == getattr(Options(), name):
            continue
        possible = [user for user in users if user in _CHOICES[settings["method"]][choice]]
        told, cure = f"method={settings['method']!r}", "leave it out"
        if possible:
            told, cure = f"{choice}={settings[choice]!r}", f"{cure}, or pass {choice}={possible[0]!r}"
        raise wrong(ValueError, name, f"is not used by {told}: {cure}")


def _cure(possible):
    if possible == (_INHERENT,):
        return "whose DEM is positive by construction: leave it out"
    if len(possible) == 1:
        return f"which has only {possible[0]!r}: leave it out"
    return f"which has {in_words(map(repr, possible))}: choose one of them, or leave it out"
