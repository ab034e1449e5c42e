"""The array function of the Python DEMREG, on the solver of this package: for scripts that call it by its name."""

import warnings
from numbers import Integral, Real

import numpy as np

from sunpy_demreg import _execute
from sunpy_demreg._regularization import Options
from sunpy_demreg._status import Status

__all__ = ["dn2dem_pos"]

_FWHM_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))


def dn2dem_pos(
    dn_in,
    edn_in,
    tresp,
    tresp_logt,
    temps,
    reg_tweak=1.0,
    max_iter=10,
    gloci=0,
    rgt_fact=1.5,
    dem_norm0=None,
    nmu=40,
    warn=False,
    emd_int=False,
    emd_ret=False,
    l_emd=False,
    non_pos=False,
    rscl=False,
    *,
    backend="cpu",
    workers=None,
    progress=False,
):
    """Doc."""
    dn, edn = _checked_counts(dn_in, edn_in)
    pixel_shape, n_channels = dn.shape[:-1], dn.shape[-1]
    log_edges = _checked_log_edges(temps)
    dlogt, logt = np.diff(log_edges), 0.5 * (log_edges[1:] + log_edges[:-1])
    response = _response_at(logt, tresp, tresp_logt, n_channels)
    options = _checked_options(
        reg_tweak, 1 if non_pos else max_iter, rgt_fact, nmu, _checked_loci(gloci, n_channels), dn.ndim == 1
    )._replace(is_squared=bool(l_emd or emd_int))
    _check_engine(backend, workers)

    # Pixels last, as the numerics have them.
    dn, edn = dn.reshape(-1, n_channels).T, edn.reshape(-1, n_channels).T
    is_bad = ~np.all(np.isfinite(dn) & (dn >= 0) & np.isfinite(edn) & (edn > 0), axis=0)
    weight, has_weight = _checked_weight(dem_norm0, dlogt.size, pixel_shape, is_bad)
    if options.loci:  # the loci of no counts at all weigh nothing
        is_bad |= ~has_weight & ~np.any(dn[list(options.loci)], axis=0)

    emission_per_dem = 10**logt * np.log(10) * dlogt
    K = response if emd_int else response * emission_per_dem
    engine = {"backend": backend, "workers": workers, "progress": progress}
    solution = _solve_kinds(dn, edn, is_bad, weight, has_weight, (K, dlogt, logt), options, engine)
    dem, edem, width, chisq, dn_reg, *_ = solution
    is_zero = (solution.status & int(Status.NOT_FINITE | Status.FAILED)) != 0
    for array in (dem, edem, width, chisq, dn_reg):
        array[..., is_zero] = 0.0
    if bool(emd_int) != bool(emd_ret):
        factor = emission_per_dem if emd_ret else 1 / emission_per_dem
        dem *= factor[:, None]
        edem *= factor[:, None]
    if rscl:
        chisq = _rescale(dn, edn, dem, edem, dn_reg, ~is_zero)

    _warn_of(is_zero, is_bad, solution.status, warn and not non_pos, options)
    dem, edem, elogt, dn_reg = (
        np.moveaxis(array.reshape(-1, *pixel_shape), 0, -1)
        for array in (dem, edem, width / (2 * _FWHM_PER_SIGMA), dn_reg)
    )
    return dem, edem, elogt, chisq.reshape(pixel_shape)[()], dn_reg


def _solve_kinds(dn, edn, is_bad, weight, has_weight, problem, options, engine):
    """Solve the pixels with a weight of the caller's and those without; `Solution`, with NaN where there is none."""
    # Without counts any lam fits as well as any other. The reference takes its first sample: that of a target which
    # is too low for all of them.
    is_empty = ~np.any(dn, axis=0)
    kinds = [
        (~is_bad & (has_weight == is_given) & (is_empty == is_dark), is_given, is_dark)
        for is_given in (False, True)
        for is_dark in (False, True)
    ]
    whole = None
    for lanes, is_given, is_dark in [kind for kind in kinds if kind[0].any()] or kinds[:1]:
        # The first kind is solved where it lies, and makes room for the others.
        chosen = slice(None) if whole is None else lanes
        of_kind = options._replace(
            weighting="given" if is_given else options.weighting,
            chi_squared_target=-1.0 if is_dark else options.chi_squared_target,
        )
        part = _execute.run(
            dn[:, chosen],
            edn[:, chosen],
            np.where(lanes[chosen], 0, int(Status.NOT_FINITE)).astype(np.int32),
            *problem,
            of_kind,
            weight=None if not is_given else weight if weight.ndim == 1 else weight[:, chosen],
            keep_no_signal=True,
            **engine,
        )
        if whole is None:
            whole = part
            continue
        for into, values in zip(whole, part, strict=True):
            if into is not None:
                into[..., lanes] = values
    return whole


def _rescale(dn, edn, dem, edem, dn_reg, is_solved):
    """Scale, in place, by the mean ratio of the counts to those of the DEM; the chi-squared that follows."""
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.mean(dn / dn_reg, axis=0)
        factor = np.where(is_solved & np.isfinite(factor) & (factor > 0), factor, 1.0)
        for array in (dem, edem, dn_reg):
            array *= factor
        return np.where(is_solved, np.mean(((dn - dn_reg) / edn) ** 2, axis=0), 0.0)


def _checked_counts(dn_in, edn_in):
    dn, edn = _floats("dn_in", dn_in), _floats("edn_in", edn_in)
    if dn.ndim == 0 or dn.shape[-1] == 0:
        raise ValueError(f"`dn_in` must have the channels along its last axis, but has the shape {dn.shape}")
    if edn.shape != dn.shape:
        raise ValueError(f"`edn_in` has the shape {edn.shape} but `dn_in` has {dn.shape}: they must be the same")
    return dn, edn


def _checked_log_edges(temps):
    temps = _floats("temps", temps)
    if temps.ndim != 1 or temps.size < 4:
        raise ValueError(f"`temps` must be four edges or more of at least three bins, but has the shape {temps.shape}")
    if not (np.all(np.isfinite(temps)) and np.all(temps > 0) and np.all(np.diff(temps) > 0)):
        raise ValueError("`temps` must be positive, finite and strictly ascending: sort them and drop repeated ones")
    return np.log10(temps)


def _response_at(logt, tresp, tresp_logt, n_channels):
    """The response at the centers of the bins, (nf, nt): linear in its logarithm, constant beyond the table."""
    tresp, tresp_logt = _floats("tresp", tresp), _floats("tresp_logt", tresp_logt)
    if tresp_logt.ndim != 1 or not (np.all(np.isfinite(tresp_logt)) and np.all(np.diff(tresp_logt) > 0)):
        raise ValueError(
            "`tresp_logt` must be one axis of finite, strictly ascending log10 of the temperature: sort it"
        )
    if tresp.shape != (tresp_logt.size, n_channels):
        transposed = "; transpose it" if tresp.shape == (n_channels, tresp_logt.size) else ""
        raise ValueError(
            f"`tresp` has the shape {tresp.shape}: it must be {(tresp_logt.size, n_channels)}, one row per "
            f"temperature of `tresp_logt` and one column per channel of `dn_in`{transposed}"
        )
    if logt[-1] < tresp_logt[0] or logt[0] > tresp_logt[-1]:
        raise ValueError(
            f"`temps` reach from about 10**{logt[0]:.4g} to 10**{logt[-1]:.4g} K, but `tresp_logt` from "
            f"{tresp_logt[0]:.4g} to {tresp_logt[-1]:.4g}: pass `temps` in K, and `tresp_logt` as log10 of K"
        )
    is_good = tresp > 0
    dark = np.flatnonzero(~is_good.any(axis=0))
    if dark.size or np.any(np.isposinf(tresp)):
        which = f"channel {dark[0]} has none" if dark.size else "some are infinite"
        raise ValueError(f"`tresp` must have finite, positive values in each channel, but {which}: leave it out")
    tresp = np.where(is_good, tresp, np.min(tresp, axis=0, where=is_good, initial=np.inf))
    return np.array([10 ** np.interp(logt, tresp_logt, np.log10(column)) for column in tresp.T])


def _checked_options(reg_tweak, max_iter, rgt_fact, nmu, loci, is_single):
    for name, value in (("reg_tweak", reg_tweak), ("rgt_fact", rgt_fact)):
        if not (isinstance(value, Real | np.ndarray) and np.ndim(value) == 0 and 0 <= value < np.inf):
            raise ValueError(f"`{name}` must be a finite number, zero or more, but is {value!r}")
    for name, value, least, most in (("max_iter", max_iter, 1, 1000), ("nmu", nmu, -np.inf, 10**6)):
        if isinstance(value, bool) or not (isinstance(value, Real) and least <= value <= most and value == int(value)):
            rule = f"a whole number of at most {most}" + (f", at least {least}" if least > 0 else "")
            raise ValueError(f"`{name}` must be {rule}, but is {value!r}")
    return Options(
        parameter_choice="grid",
        chi_squared_target=float(reg_tweak),
        target_growth=float(rgt_fact),
        max_iterations=int(max_iter),
        n_samples=int(nmu) if nmu > 40 else 500 if is_single else 42,
        weighting="em_loci" if loci else "self",
        loci=loci,
    )


def _checked_loci(gloci, n_channels):
    """The channels whose EM loci make the weight; none for the weight of a first solution."""
    mask = _floats("gloci", gloci)
    if mask.shape not in ((), (n_channels,)) or not np.all((mask == 0) | (mask == 1)):
        raise ValueError(f"`gloci` must be 0, 1, or a 0 or 1 for each of the {n_channels} channels, but is {gloci!r}")
    return tuple(np.flatnonzero(np.broadcast_to(mask, n_channels)).tolist())


def _checked_weight(dem_norm0, n_bins, pixel_shape, is_bad):
    """The weight, (nt,) or (nt, N), and the pixels that have one which says anything."""
    none = np.zeros(is_bad.shape, dtype=bool)
    if dem_norm0 is None:
        return None, none
    weight = _floats("dem_norm0", dem_norm0)
    if weight.shape not in ((n_bins,), (*pixel_shape, n_bins)):
        raise ValueError(
            f"`dem_norm0` has the shape {weight.shape}: it must be {(n_bins,)}, one number per bin, or "
            f"{(*pixel_shape, n_bins)}, one per pixel and bin"
        )
    if not np.any(np.isfinite(weight)) or not np.any(weight):
        return None, none
    if weight.ndim > 1:
        weight = weight.reshape(-1, n_bins).T
    is_automatic = np.all(weight == 1, axis=0) | (weight[0] == 0)
    has_weight = ~is_bad & ~is_automatic
    is_wrong = np.any(~np.isfinite(weight), axis=0) | (np.any(weight == 0, axis=0) & ~is_automatic)
    if np.any(is_wrong & ~is_bad):
        raise ValueError(
            "`dem_norm0` must be finite, and zero nowhere but in the first bin of a pixel that is to do without: "
            f"it is not in {np.count_nonzero(is_wrong & ~is_bad)} pixels; raise zeros to a small fraction of the peak"
        )
    return weight, has_weight


def _check_engine(backend, workers):
    if backend not in _execute.BACKENDS:
        raise ValueError(f"`backend` must be one of {_execute.BACKENDS}, but is {backend!r}")
    if workers is not None and (isinstance(workers, bool) or not (isinstance(workers, Integral) and workers >= 1)):
        raise ValueError(f"`workers` must be a whole number of threads, at least 1, but is {workers!r}")


def _floats(name, value):
    """As plain float64; masked values become NaN."""
    if hasattr(value, "unit"):
        raise TypeError(f"`{name}` must be a plain array, but is a {type(value).__name__}: pass its `value`")
    try:
        return np.ma.filled(np.asanyarray(value, dtype=float), np.nan)
    except (TypeError, ValueError) as err:
        raise TypeError(f"`{name}` must be an array of real numbers ({err})") from err


def _warn_of(is_zero, is_bad, status, is_wanted, options):
    n_zero, n_bad = np.count_nonzero(is_zero), np.count_nonzero(is_bad)
    if n_zero:
        _warn(
            f"{n_zero} of {is_zero.size} pixels were not solved and are zero in all outputs: {n_bad} with counts that "
            f"are negative or not finite, uncertainties that are not above zero, or no counts in the channels of "
            f"`gloci`; {n_zero - n_bad} of extreme size"
        )
    remarks = []
    if is_wanted and options.target_growth <= 1:
        remarks.append(f"`rgt_fact` is {options.target_growth:g}, so the chi-squared target does not grow: pass 1.5")
    n_negative = np.count_nonzero(((status & int(Status.NEGATIVE_DEM)) != 0) & ~is_zero)
    if is_wanted and n_negative:
        remarks.append(
            f"{n_negative} of {is_zero.size} DEMs are negative in some bins after {options.max_iterations} solutions: "
            "raise `max_iter` or `rgt_fact`"
        )
    if remarks:
        _warn("; ".join(remarks))


def _warn(message):
    try:
        from sunpy.util.exceptions import warn_user
    except ImportError:  # a bare node
        warnings.warn(message, stacklevel=4)
    else:
        warn_user(message, stacklevel=4)
