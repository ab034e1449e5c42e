"""A result taken apart into the arrays that a file holds, and put together again."""

import numpy as np

from ndcube import NDCollection

from sunpy_demreg._regularization import Solution
from sunpy_demreg.result import _wrap

__all__ = ["CARDS", "arrays_of", "check_is_result", "check_shapes", "put_together"]

#: Options that a file names in its header.
CARDS = {"PARCHOIC": "parameter_choice", "POSITIV": "positivity", "CHI2TARG": "chi_squared_target"}
_NEEDED = ("dem", "status")
_CUBES = (*(field for field in Solution._fields[:-1] if not field.endswith("_uncertainty")), "intensity", "status")


def arrays_of(result):
    """The arrays of the cubes by name, those of uncertainties as "dem_uncertainty"."""
    arrays = {}
    for key in _CUBES:
        if key in result:
            arrays[key] = np.asarray(result[key].data)
            if result[key].uncertainty is not None:
                arrays[f"{key}_uncertainty"] = np.asarray(result[key].uncertainty.array)
    return arrays


def put_together(arrays, edges, intensity_unit, wcs, channel_wcs, meta):
    """The inverse of `arrays_of`; the other arguments are those of `sunpy_demreg.result._wrap`."""
    arrays, observed = dict(arrays), None
    if "intensity" in arrays:
        observed = arrays.pop("intensity"), arrays.pop("intensity_uncertainty"), None
    solution = Solution(**(dict.fromkeys(Solution._fields) | arrays))
    return _wrap(solution, edges, intensity_unit, wcs, channel_wcs, meta, observed)


def check_is_result(result):
    """Raise an error that says what is missing, if anything is."""
    rule = "`result` must be what `invert` returns"
    if not isinstance(result, NDCollection):
        raise TypeError(f"{rule}, an NDCollection of its cubes, but is a {type(result).__name__}")
    missing = [repr(key) for key in _NEEDED if key not in result]
    meta = ("temperature_bin_edges", "channels", *CARDS.values())
    missing += [f"meta[{key!r}]" for key in meta if key not in (result.meta or {})]
    if missing:
        raise ValueError(f"{rule}, but lacks {', '.join(missing)}: write it whole")


def check_shapes(arrays, edges, channels):
    """Raise a ValueError unless the arrays belong to one result."""
    n, pixels = len(channels), arrays["status"].shape
    expected = Solution.shapes(n, len(edges) - 1, len(arrays.get("emission_measure", ())))
    expected |= {"intensity": (n,), "intensity_uncertainty": (n,)}
    for field, array in arrays.items():
        shape = (*expected.get(field, ()), *pixels)
        if array.shape != shape:
            raise ValueError(
                f"`result` has {field} of shape {array.shape}, not {shape}: slice all its cubes alike, along pixel axes"
            )
