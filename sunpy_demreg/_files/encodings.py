"""
Smaller numbers in files: float32, rounded to the bits that the noise leaves, or codes of logarithms.

What an array was encoded with is a dict of JSON types, which the store keeps in its attributes.
"""

import numpy as np

from sunpy_demreg._common.dask_arrays import computed, is_lazy
from sunpy_demreg._common.errors import imported, wrong
from sunpy_demreg._common.validators import check_choice

__all__ = ["CODE_OF_NAN", "ENCODINGS", "check_encoding", "decoded", "described", "encoded", "encodings_for", "unit_of"]

ENCODINGS = ("float32", "bitround", "log")
_FRACTION = 0.1  # of the median noise, by channel that of the best: what rounding changes at most
_MANTISSA = 23  # bits of a float32
_OF_ERRORS = 5  # bits of an error: rounding changes it by at most 1.6 %
_SAMPLE = 256  # pixels of each axis, from the middle, whose noise is looked at
#: Values whose noise is that of others.
_NOISE_OF = {"predicted_intensity": ("intensity",)}
_BY_CHANNEL = ("intensity",)
_NOISE_OF_DEM = ("dem", "emission_measure", "intensity")
_STEP, _UNITY = 0.01, 16384  # of the logarithms, and the code of the number 1
CODE_OF_NAN = -32768


def check_encoding(encoding, ending=".zarr"):
    """Raise unless it is None, or the name of an encoding that files of this kind can have."""
    check_choice("encoding", encoding, (None, *ENCODINGS))
    if encoding == "log" and ending != ".zarr":
        raise wrong(
            ValueError,
            "encoding",
            f"'log' makes codes of logarithms, which only a .zarr store can hold, but `path` ends in {ending}: pass "
            "'bitround'",
        )


def encodings_for(arrays, encoding):
    """
    How to encode each array of a result.

    Parameters
    ----------
    arrays : dict
        From `unwrap_result`. For "bitround" the middle of them is computed if they are Dask's.
    encoding : str or None

    Returns
    -------
    dict
        By the names of the arrays; those that stay as they are, such as bits and matrices, are not in it.
    """
    # The covariance of a DEM exceeds the range of float32.
    names = [name for name, array in arrays.items() if array.dtype.kind == "f" and name != "covariance"]
    if encoding is None:
        return {}
    if encoding == "float32":
        return {name: {"name": "float32"} for name in names}
    if encoding == "log":
        return {
            name: {"name": "log10", "step": _STEP, "code_of_1": _UNITY, "code_of_nan": CODE_OF_NAN} for name in names
        }
    bits = _bits_by_noise(arrays)

    def bits_of(name):
        if name.endswith("_uncertainty"):
            return _OF_ERRORS
        return next((bits[key] for key in (name, *_NOISE_OF.get(name, _NOISE_OF_DEM)) if key in bits), _MANTISSA)

    return {name: {"name": "bitround", "mantissa_bits": bits_of(name)} for name in names}


def _bits_by_noise(arrays):
    """The mantissa bits to keep of each array that has errors."""
    n_axes = arrays["status"].ndim
    middle = tuple(
        slice(max((n - _SAMPLE) // 2, 0), max((n - _SAMPLE) // 2, 0) + (_SAMPLE if i >= n_axes - 2 else 1))
        for i, n in enumerate(arrays["status"].shape)
    )
    pairs = {key: (arrays[key][(..., *middle)], array[(..., *middle)]) for key, array in _errors_in(arrays)}
    values = computed(*(each for pair in pairs.values() for each in pair))
    bits = {}
    for key, value, error in zip(pairs, values[::2], values[1::2], strict=True):
        with np.errstate(all="ignore"):
            noise = np.abs(error / value)
        # Channels differ so much that what is noise in one is signal in another.
        groups = noise if key in _BY_CHANNEL else [noise]
        medians = [np.median(good) for each in groups if (good := each[np.isfinite(each) & (each > 0)]).size]
        if medians:
            # Rounding to k bits changes a number by a fraction of at most 2 ** -(k + 1).
            bits[key] = int(np.clip(np.ceil(-np.log2(_FRACTION * min(medians))) - 1, 1, _MANTISSA))
    return bits


def _errors_in(arrays):
    for name, array in arrays.items():
        if name.endswith("_uncertainty"):
            yield name.removesuffix("_uncertainty"), array


def described(how, unit):
    """The type of the numbers that are stored, and their attributes; tools that know those of CF see logarithms."""
    if how["name"] != "log10":
        return np.dtype(np.float32), {"units": unit, "encoding": how}
    scale = {"scale_factor": how["step"], "add_offset": -how["step"] * how["code_of_1"]}
    return np.dtype(np.int16), {"units": f"dex({unit or 1})", "encoding": how | {"unit": unit}, **scale}


def unit_of(attributes):
    """The unit of the values that `decoded` returns."""
    return attributes.get("encoding", {}).get("unit", attributes["units"])


def encoded(array, how):
    """An array of NumPy or Dask as it is stored."""
    return _mapped(array, _ENCODERS[how["name"]], how)


def decoded(array, how):
    """The inverse of `encoded`, as far as there is one."""
    return _mapped(array, _from_codes, how) if how["name"] == "log10" else array


def _mapped(array, function, how):
    if not is_lazy(array):
        return function(array, how)
    return array.map_blocks(function, how, meta=function(np.zeros(array.ndim * (0,), array.dtype), how))


def _as_float32(values, how):
    with np.errstate(over="ignore", under="ignore"):
        return values.astype(np.float32, copy=False)


def _rounded(values, how):
    values = _as_float32(values, how)
    if how["mantissa_bits"] == _MANTISSA or not values.size:
        return values
    codec = imported("numcodecs", "`encoding` 'bitround'", "batch").BitRound(how["mantissa_bits"])
    bits = np.asarray(codec.encode(np.ascontiguousarray(values)))
    rounded = np.frombuffer(bits.tobytes(), dtype=np.float32).reshape(values.shape)
    return np.where(np.isfinite(rounded), rounded, values)  # NaN, and the largest numbers


def _as_codes(values, how):
    """Whole steps of the logarithm, from 1; the sign is that of the number, and zero is zero."""
    values = np.asarray(values, dtype=float)
    with np.errstate(all="ignore"):
        codes = np.rint(np.log10(np.abs(values)) / how["step"]) + how["code_of_1"]
    codes = np.where(values == 0, 0, np.clip(codes, 1, 2 * how["code_of_1"] - 1) * np.sign(values))
    return np.where(np.isnan(values), how["code_of_nan"], codes).astype(np.int16)


def _from_codes(codes, how):
    values = np.sign(codes) * 10.0 ** ((np.abs(codes.astype(float)) - how["code_of_1"]) * how["step"])
    values[codes == how["code_of_nan"]] = np.nan
    values[codes == 0] = 0
    return _as_float32(values, how)


_ENCODERS = {"float32": _as_float32, "bitround": _rounded, "log10": _as_codes}
