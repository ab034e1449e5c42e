"""
Temperature maps of the solar corona: regularized differential emission measures from AIA-like images.

Maps or cubes go in, aligned NDCubes with units, coordinates, uncertainties and masks come out. See `prepare`,
`TemperatureResponse.from_aia` and `invert` for the three steps.
"""

from importlib import import_module as _import_module

# Where each public name lives. They are loaded when first used, so that importing the package stays light
# and the numerics run where sunpy and matplotlib are not installed.
_HOMES = {
    "CalibrationDataError": "_network",
    "batch_invert": "batch",
    "combine": "_combine",
    "prepare": "observation",
    "prepare_series": "series",
    "TemperatureResponse": "response",
    "dn2dem_pos": "compat",
    "invert": "inversion",
    "read": "io",
    "write": "io",
    "Status": "_status",
    "sample": None,
    "visualization": None,
    "__version__": "_version",
}

__all__ = [
    "CalibrationDataError",
    "Status",
    "TemperatureResponse",
    "batch_invert",
    "combine",
    "dn2dem_pos",
    "invert",
    "prepare",
    "prepare_series",
    "read",
    "sample",
    "visualization",
    "write",
]


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    if home is None:
        return _import_module(f"{__name__}.{name}")
    value = getattr(_import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted([*globals(), *_HOMES])
