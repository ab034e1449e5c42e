"""Checks of the arguments of `dn2dem_pos`, and the plain arrays and options that they stand for."""

from functools import lru_cache

import numpy as np

from sunpy_demreg._common.errors import ArgumentError, wrong
from sunpy_demreg._common.validators import as_integer, as_number, check_choice, check_edges
from sunpy_demreg._engines import execute
from sunpy_demreg._engines.base.options import Options
from sunpy_demreg._engines.base.problem import Bins

__all__ = [
    "as_counts",
    "as_floats",
    "as_loci",
    "as_options",
    "as_weight",
    "check_engine",
    "check_order",
    "tabulated",
]


def as_counts(dn_in, edn_in):
    dn, edn = as_floats("dn_in", dn_in), as_floats("edn_in", edn_in)
    if dn.ndim == 0 or dn.shape[-1] == 0:
        raise wrong(ValueError, "dn_in", f"must have the channels along its last axis, but has the shape {dn.shape}")
    if edn.shape != dn.shape:
        raise wrong(
            ValueError, "edn_in", f"has the shape {edn.shape} but `dn_in` has {dn.shape}: they must be the same"
        )
    return dn, edn


def check_order(dn, tresp):
    n = tresp.shape[-1] if tresp.ndim else 0
    if dn.ndim > 1 and dn.shape[-1] != n and dn.shape[0] == n:
        raise wrong(
            ValueError,
            "dn_in",
            f"has the shape {dn.shape}, but its channels, {n} as in `tresp`, must be the last axis: pass "
            "`np.moveaxis(dn_in, 0, -1)`, and `edn_in` likewise",
        )


@lru_cache(maxsize=16)
def tabulated(n_channels, *tables):
    """The bins, emission measure per DEM, response. Cached for callers that loop over pixels."""
    temps, tresp, tresp_logt = (np.frombuffer(buffer).reshape(shape) for shape, buffer in tables)
    check_edges("temps", temps)
    bins = Bins.between(np.log10(temps))
    dlogt, logt = bins
    per_dem, response = 10**logt * np.log(10) * dlogt, _response_at(logt, tresp, tresp_logt, n_channels)
    for array in (*bins, per_dem, response):
        array.setflags(write=False)  # since it is cached
    return bins, per_dem, response


def _response_at(logt, tresp, tresp_logt, n_channels):
    """The response at the centers of the bins, (nf, nt): linear in its logarithm, constant beyond the table."""
    if tresp_logt.ndim != 1 or not (np.all(np.isfinite(tresp_logt)) and np.all(np.diff(tresp_logt) > 0)):
        raise wrong(
            ValueError, "tresp_logt", "must be one axis of finite, strictly ascending log10 of the temperature: sort it"
        )
    if tresp.shape != (tresp_logt.size, n_channels):
        transposed = "; transpose it" if tresp.shape == (n_channels, tresp_logt.size) else ""
        raise wrong(
            ValueError,
            "tresp",
            f"has the shape {tresp.shape}: it must be {(tresp_logt.size, n_channels)}, one row per "
            f"temperature of `tresp_logt` and one column per channel of `dn_in`{transposed}",
        )
    if logt[-1] < tresp_logt[0] or logt[0] > tresp_logt[-1]:
        raise wrong(
            ValueError,
            "temps",
            f"reach from about 10**{logt[0]:.4g} to 10**{logt[-1]:.4g} K, but `tresp_logt` from "
            f"{tresp_logt[0]:.4g} to {tresp_logt[-1]:.4g}: pass `temps` in K, and `tresp_logt` as log10 of K",
        )
    if np.any(np.isnan(tresp)):
        raise wrong(ValueError, "tresp", "must have no NaN: leave out the temperatures where it is unknown")
    is_good = tresp > 0
    dark = np.flatnonzero(~is_good.any(axis=0))
    if dark.size or np.any(np.isposinf(tresp)):
        which = f"channel {dark[0]} has none" if dark.size else "some are infinite"
        raise wrong(
            ValueError, "tresp", f"must have finite, positive values in each channel, but {which}: leave it out"
        )
    tresp = np.where(is_good, tresp, np.min(tresp, axis=0, where=is_good, initial=np.inf))
    return np.array([10 ** np.interp(logt, tresp_logt, np.log10(column)) for column in tresp.T])


def as_options(reg_tweak, max_iter, rgt_fact, nmu, loci, is_squared, is_single):
    nmu = as_integer("nmu", nmu, 0, 10**6)
    return Options(
        parameter_choice="grid",
        chi_squared_target=as_number("reg_tweak", reg_tweak, least=0),
        target_growth=as_number("rgt_fact", rgt_fact, least=0),
        max_iterations=as_integer("max_iter", max_iter, 1, 1000),
        n_samples=nmu if nmu > 40 else 500 if is_single else 42,
        weighting="em_loci" if loci else "self",
        loci=loci,
        is_squared=is_squared,
        is_noise_locus=False,
    )


def as_loci(gloci, n_channels):
    """The channels whose EM loci give the weight; none if a first solution gives it."""
    if isinstance(gloci, int) and gloci == 0:
        return ()
    mask = as_floats("gloci", gloci)
    if mask.shape not in ((), (n_channels,)) or not np.all((mask == 0) | (mask == 1)):
        raise wrong(
            ValueError, "gloci", f"must be 0, 1, or a 0 or 1 for each of the {n_channels} channels, but is {gloci!r}"
        )
    return tuple(np.flatnonzero(np.broadcast_to(mask, n_channels)).tolist())


def as_weight(dem_norm0, n_bins, pixel_shape, is_bad):
    """The weight, (nt,) or (nt, N), and which pixels have a usable one."""
    none = np.zeros(is_bad.shape, dtype=bool)
    if dem_norm0 is None:
        return None, none
    weight = as_floats("dem_norm0", dem_norm0)
    if weight.shape not in ((n_bins,), (*pixel_shape, n_bins)):
        raise wrong(
            ValueError,
            "dem_norm0",
            f"has the shape {weight.shape}: it must be {(n_bins,)}, one number per bin, or "
            f"{(*pixel_shape, n_bins)}, one per pixel and bin",
        )
    if not np.any(np.isfinite(weight)) or not np.any(weight):
        return None, none
    if weight.ndim > 1:
        weight = weight.reshape(-1, n_bins).T
    is_automatic = np.all(weight == 1, axis=0) | (weight[0] == 0)
    has_weight = ~is_bad & ~is_automatic
    is_wrong = np.any(~np.isfinite(weight), axis=0) | (np.any(weight == 0, axis=0) & ~is_automatic)
    if np.any(is_wrong & ~is_bad):
        raise wrong(
            ValueError,
            "dem_norm0",
            "must be finite and not zero, except in the first bin of pixels that are to have no weight, but is not in "
            f"{np.count_nonzero(is_wrong & ~is_bad)} pixels: replace zeros by a small fraction of the peak",
        )
    return weight, has_weight


def check_engine(backend, workers):
    check_choice("backend", backend, execute.BACKENDS)
    if workers is not None:
        as_integer("workers", workers, 1, 10000, "of threads")


def as_floats(name, value):
    """As plain float64; masked values become NaN."""
    if type(value) is np.ndarray and value.dtype == float:
        return value
    if hasattr(value, "unit"):
        raise wrong(TypeError, name, f"must be a plain array, but is a {type(value).__name__}: pass its `value`")
    try:
        value = np.asanyarray(value)
        if hasattr(value, "unmasked"):  # astropy's, whose mask `numpy.ma` would ignore
            value = np.ma.array(value.unmasked, mask=value.mask)
        if np.iscomplexobj(value):
            raise wrong(TypeError, name, "must be an array of real numbers, but is complex")
        return np.asarray(np.ma.filled(value.astype(float), np.nan))
    except (TypeError, ValueError) as err:
        if isinstance(err, ArgumentError):
            raise
        raise wrong(TypeError, name, f"must be an array of real numbers ({err})") from err
