"""
Stores of the inputs of an inversion alone, from which its result is computed again when it is read.

The intensities and their uncertainties are rounded to float32 before the inversion, so that the file holds exactly what
was inverted.
"""

import platform

import numpy as np

from ndcube import NDCube

from sunpy_demreg import __version__
from sunpy_demreg._common.dask_arrays import map_pixels
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.validators import check_choice
from sunpy_demreg._common.warnings import DataWarning, warn
from sunpy_demreg._engines.base.solution import Solution
from sunpy_demreg._engines.base.status import Status, status_counts
from sunpy_demreg._results.checks import bins_of, check_result
from sunpy_demreg._results.cubes import rewrap_result, unwrap_result
from sunpy_demreg._results.errors import response_of, solve_again, with_common_error
from sunpy_demreg._results.resolved import seen_bins

__all__ = ["CONTENTS", "check_contents", "computed_again", "inputs_of", "rounded"]

CONTENTS = ("result", "inputs")
_KEPT = ("intensity", "intensity_uncertainty", "omitted_channels", "status")
_OF_DATA = int(Status.NONPOSITIVE_INTENSITY | Status.MISSING_CHANNEL | Status.SATURATION_CONTRADICTED)
_SAME = 1e-6  # relative difference of two values of λ that say the same in float32


def check_contents(contents, encoding, ending=".zarr"):
    """Raise unless a file of this kind can have these contents, encoded in this way."""
    check_choice("contents", contents, CONTENTS)
    if contents == "inputs" and ending != ".zarr":
        raise wrong(
            ValueError,
            "contents",
            f"'inputs' is computed again block by block, as only a .zarr store is read, but `path` ends in {ending}: "
            "leave `contents` out, or name a .zarr store",
        )
    if contents == "inputs" and encoding is not None:
        raise wrong(
            ValueError,
            "encoding",
            f"{encoding!r} would change the inputs, which `contents` 'inputs' keeps exactly: leave one of the two out",
        )


def rounded(cube):
    """A cube of channels with its intensities and their uncertainties rounded to float32."""
    uncertainty = cube.uncertainty
    return NDCube(
        _rounded(cube.data),
        cube.wcs,
        uncertainty=type(uncertainty)(_rounded(uncertainty.array), copy=False),
        mask=cube.mask,
        unit=cube.unit,
        meta=cube.meta,
    )


def _rounded(array):
    return array.astype(np.float32).astype(float)


def inputs_of(result, outputs=None, dtype=None):
    """
    What of a result has to be stored to compute it again.

    Parameters
    ----------
    result : `ndcube.NDCollection`
    outputs : tuple of `str`, optional
        Names of a `Solution` to be computed again; by default those in the result. If they are given, it is the
        result of a `rounded` cube.
    dtype : `str`, optional
        That of the outputs, by default as they are in the result.

    Returns
    -------
    `ndcube.NDCollection`
        With the cubes "intensity", "regularization_parameter", "omitted_channels" and "status" only.
    """
    check_result(result, "status", "intensity")
    _check_weight(result.meta)
    arrays, masks = unwrap_result(result)
    if changed := sorted(masks.keys() - {"intensity"}):
        raise wrong(
            ValueError,
            "contents",
            f"'inputs' cannot hold the mask of result[{changed[0]!r}], which was changed after the inversion: leave "
            "`contents` out",
        )
    kept = {name: arrays[name] for name in _KEPT if name in arrays}
    if outputs is None:
        outputs = tuple(name for name in arrays if name not in _KEPT)
        dtype = next((arrays[name].dtype.name for name in outputs), "float64")
        for name in ("intensity", "intensity_uncertainty"):
            kept[name] = _rounded(kept[name])
        again = solve_again(_like(result, kept, masks), ("regularization_parameter",), dtype=dtype)
        kept["regularization_parameter"] = again.regularization_parameter
        kept["status"] = again.status | (kept["status"] & (_OF_DATA | int(Status.UNSOLVED)))
    else:
        kept["regularization_parameter"] = arrays["regularization_parameter"]
    for name in ("intensity", "intensity_uncertainty"):
        kept[name] = kept[name].astype(np.float32)
    inputs = _like(result, kept, masks)
    if "status_counts" in inputs.meta:
        inputs.meta["status_counts"] = status_counts(kept["status"])
    made_with = _versions(result.meta.get("backend"))
    inputs.meta["computed_again"] = {"outputs": list(outputs), "dtype": dtype, "made_with": made_with}
    return inputs


def _check_weight(meta):
    if meta["weighting"] == "given" and "weight" not in meta:
        raise wrong(
            ValueError,
            "contents",
            "'inputs' cannot hold a `weighting` of each pixel, which the result does not keep: leave `contents` out",
        )


def _like(result, arrays, masks):
    """A result of the same pixels, with these arrays and masks."""
    meta, of_channels = dict(result.meta), result["intensity"]
    edges = meta.pop("temperature_bin_edges")
    new = rewrap_result(arrays, edges, of_channels.unit, result["status"].wcs, of_channels.wcs, meta)
    for key, mask in masks.items():
        new[key].mask = mask
    return new


def _versions(backend):
    """What the bits of a result depend on."""
    try:
        import llvmlite
        import llvmlite.binding as llvm
    except ImportError:
        version, processor = "none", platform.machine()
    else:
        version, processor = llvmlite.__version__, llvm.get_host_cpu_name()
    backend = "cpu" if backend is None else backend
    return {"sunpy_demreg": __version__, "llvmlite": version, "processor": processor, "backend": backend}


def computed_again(inputs, path):
    """
    The lazy result whose inputs a store holds.

    Warns
    -----
    DataWarning
        If this package, llvmlite, the processor or the backend are not those that it was made with.
    """
    asked = inputs.meta["computed_again"]
    backend = inputs.meta.get("backend")
    now = _versions(backend if backend == "numpy" else "cpu")
    different = [f"{name} {old} (now {now[name]})" for name, old in asked["made_with"].items() if now[name] != old]
    if different:
        warn(
            DataWarning,
            f"{str(path)!r} holds the inputs of a result that was made with {', '.join(different)}: what is computed "
            "from them now may differ by rounding, some 1e-9 of the values",
            "path",
        )
    arrays, masks = unwrap_result(inputs)
    stored = arrays.pop("regularization_parameter")
    for name in ("intensity", "intensity_uncertainty"):
        arrays[name] = arrays[name].astype(float)
    data, outputs = _like(inputs, arrays, masks), tuple(asked["outputs"])
    del data.meta["computed_again"]
    ranges, seen = data.meta.get("emission_measure_ranges"), None
    if "is_resolved" in outputs:
        seen = seen_bins(response_of(data), bins_of(data))
    functional = None if "emission_measure" not in outputs else bins_of(data).em_functional(ranges)
    solution = solve_again(
        data,
        tuple(dict.fromkeys((*outputs, "regularization_parameter"))),
        functional,
        seen=seen,
        dtype=asked["dtype"],
    )
    if not different:
        solution = _verified(solution, stored, path)
    if "regularization_parameter" not in outputs:
        solution = solution._replace(regularization_parameter=None)
    if solution.is_resolved is not None:
        solution = solution._replace(is_resolved=solution.is_resolved > 0.5)
    solution = with_common_error(solution, data.meta.get("common_calibration_error"))
    found = {name: array for name, array in solution._asdict().items() if array is not None}
    return _like(data, found | arrays, masks)


def _verified(solution, stored, path):
    """The solution, whose blocks raise if their λ is not the one that is stored."""
    fields = [name for name, array in zip(Solution._fields, solution, strict=True) if array is not None]
    n_axes = solution.status.ndim
    found = [getattr(solution, name) for name in fields]
    answers = map_pixels(
        _verify,
        [(array.shape[: array.ndim - n_axes], array.dtype) for array in found],
        [stored.rechunk(solution.status.chunks), *found],
        n_axes,
        position=fields.index("regularization_parameter"),
        path=str(path),
    )
    return solution._replace(**dict(zip(fields, answers, strict=True)))


def _verify(stored, *found, position, path):
    again = found[position]
    is_same = np.isclose(again, stored, rtol=_SAME, atol=0, equal_nan=True)
    if not is_same.all():
        n = np.count_nonzero(~is_same)
        problem = f"{path!r} holds inputs whose λ is another than is found now, in {n} pixels of a block"
        raise wrong(ValueError, "path", f"{problem}: it is damaged, or another program wrote it")
    return found
