"""Reuse of the memory of an earlier result."""

import numpy as np
from array_api_compat import is_cupy_array

from sunpy_demreg._common.errors import wrong
from sunpy_demreg._engines.base.solution import Solution
from sunpy_demreg._results.checks import check_result

__all__ = ["memory_of"]


def memory_of(out, shapes, dtype, *, on_device):
    """
    The arrays of a result as a `Solution` to write into.

    Parameters
    ----------
    out : `ndcube.NDCollection`
    shapes : dict
        The shapes of the arrays of the solution, by their names.
    dtype : dtype
    on_device : bool
        Whether they have to be CuPy's.

    Raises
    ------
    TypeError, ValueError
        If it is not a result, or its arrays do not fit.
    """
    check_result(out, "status", name="out")
    arrays = {key: cube.data for key, cube in out.items()}
    for key, cube in out.items():
        if cube.uncertainty is not None:
            arrays[f"{key}_uncertainty"] = cube.uncertainty.array
    kinds = dict.fromkeys(shapes, np.dtype(dtype)) | {"status": np.dtype(np.int32)}
    found = {}
    # Of engines it is a number, of results a bool: it is the one that is made anew.
    if "is_resolved" in kinds:
        like = out["status"].data
        found["is_resolved"] = np.empty(shapes["is_resolved"], kinds.pop("is_resolved"), like=like)
    for name, kind in kinds.items():
        array = arrays.get(name)
        fault = _fault(array, shapes[name], kind, on_device)
        if fault:
            raise wrong(
                ValueError,
                "out",
                f"must have the arrays of this result, but its {name!r} {fault}: pass a whole result of a call with "
                "the same `outputs`, bins, pixels and `dtype`, or leave `out` out",
            )
        found[name] = array
    return Solution(**(dict.fromkeys(Solution._fields) | found))


def _fault(array, shape, kind, on_device):
    if array is None:
        return "is missing"
    if is_cupy_array(array) != on_device or not (on_device or isinstance(array, np.ndarray)):
        return f"is an array of {type(array).__module__.partition('.')[0]}"
    if array.shape != shape:
        return f"has the shape {array.shape}, not {shape}"
    if array.dtype != kind:
        return f"is {array.dtype}, not {kind}"
    if not array.flags.c_contiguous:
        return "is not contiguous"
    return "" if on_device or array.flags.writeable else "is read-only"
