"""
Temperature maps of the solar corona: regularized differential emission measures from AIA-like images.

Maps or cubes go in, aligned NDCubes with units, coordinates, uncertainties and masks come out. See `prepare`,
`TemperatureResponse.from_aia` and `invert` for the three steps.
"""

from importlib import import_module as _import_module

# Where each public name lives. They are loaded when first used, so that importing the package stays light
# and the numerics run where sunpy and matplotlib are not installed.
_HOMES = {
    "batch_invert": "batch",
    "prepare": "observation",
    "prepare_series": "series",
    "TemperatureResponse": "response",
    "dn2dem_pos": "compat",
    "invert": "inversion",
    "emission_measure": "products",
    "mean_temperature": "products",
    "synthesize": "products",
    "thermal_energy_density": "products",
    "covariance": "_pixel_products",
    "em_loci": "_pixel_products",
    "resolution_matrix": "_pixel_products",
    "to_map": "convert",
    "to_xarray": "convert",
    "read": "io",
    "write": "io",
    "Status": "_status",
    "sample": None,
    "visualization": None,
    "__version__": "_version",
}

__all__ = [
    "Status",
    "TemperatureResponse",
    "batch_invert",
    "covariance",
    "dn2dem_pos",
    "em_loci",
    "emission_measure",
    "invert",
    "mean_temperature",
    "prepare",
    "prepare_series",
    "read",
    "resolution_matrix",
    "sample",
    "synthesize",
    "thermal_energy_density",
    "to_map",
    "to_xarray",
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
