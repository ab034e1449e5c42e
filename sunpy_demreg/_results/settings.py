"""The settings of an inversion, which a result keeps in its metadata so that the inversion can be repeated."""

from sunpy_demreg._engines.base.options import Options

__all__ = ["as_of_today", "kind_of_errors", "meta_of_errors", "meta_of_product", "options_of", "told_settings"]

#: Settings with the same name and meaning for the numerics.
_SAME = (
    "parameter_choice",
    "chi_squared_target",
    "target_growth",
    "max_iterations",
    "n_samples",
    "weighting",
    "n_refinements",
    "solve_for",
    "dem_error",
)
#: Settings that tell one method from another, for people to read.
_TOLD = ("method", "prior", "solve_for", "parameter_choice", "positivity", "weighting")
#: Settings that say what the errors are.
_OF_ERRORS = ("dem_error", "calibration_error", "common_calibration_error")


def options_of(settings, n_channels, outputs):
    """
    The `Options` of the numerics.

    Parameters
    ----------
    settings : mapping
        From the metadata of a result, perhaps of an older version, which had fewer.
    n_channels : `int`
    outputs : tuple of `str`

    Returns
    -------
    `sunpy_demreg._engines.base.options.Options`
    """
    prior = settings.get("prior")
    of_prior = {} if prior is None else {f"prior_{name}": value for name, value in prior.items()}
    positivity = settings["positivity"]
    return Options(
        **{name: settings[name] for name in _SAME if name in settings},
        **of_prior,
        method="lognormal" if settings["method"] == "lognormal" else "tikhonov",
        positivity=positivity if positivity in ("relax", "constrain") else None,
        loci=tuple(range(n_channels)),
        outputs=outputs,
    )


def as_of_today(settings):
    """Settings of an older version, where None stood for the positivity "ignore"."""
    return settings | {"positivity": "ignore"} if settings.get("positivity", "") is None else settings


def meta_of_errors(settings):
    """What a cube with errors says of them in its metadata."""
    return {name: settings[name] for name in _OF_ERRORS if settings.get(name) is not None}


def meta_of_product(settings):
    """What a cube made of a result says of the observation, the inversion and its errors in its metadata."""
    known = {"observation": settings.get("observation"), "settings": told_settings(settings)}
    return {name: value for name, value in known.items() if value} | meta_of_errors(settings)


def kind_of_errors(settings):
    """What the errors are, in a word or two."""
    kind = settings.get("dem_error", "noise")
    return f"{kind} and calibration" if settings.get("common_calibration_error") else kind


def told_settings(settings):
    """The method, the choices made, and what the errors are, as far as the result says: text or a number by name."""
    names = (*_TOLD, *_OF_ERRORS)
    return {name: _told(name, settings[name]) for name in names if settings.get(name) is not None}


def _told(name, value):
    if name == "prior":
        return f"amplitude {value['amplitude']:g}, correlation length {value['correlation_length']:g} dex"
    if name == "calibration_error":  # of each channel
        each = {channel: float(error) for channel, error in value.items()}
        if len(set(each.values())) == 1:
            return next(iter(each.values()))
        return ", ".join(f"{channel} {error:g}" for channel, error in each.items())
    return float(value) if name == "common_calibration_error" else str(value)
