"""The array function of the Python DEMREG, under its name, on the solver of this package."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from sunpy_demreg._common.validators import as_bool
from sunpy_demreg._engines import execute
from sunpy_demreg._engines.base.problem import Problem
from sunpy_demreg._engines.base.status import Status
from sunpy_demreg._inversion.dn2dem_arguments import (
    as_counts,
    as_floats,
    as_loci,
    as_options,
    as_weight,
    check_engine,
    check_order,
    tabulated,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from sunpy_demreg._common.typing import Backend

__all__ = ["dn2dem_pos"]

_ZERO = int(Status.NOT_FINITE | Status.FAILED)  # in all outputs
_FWHM_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))


def dn2dem_pos(
    dn_in: npt.ArrayLike,
    edn_in: npt.ArrayLike,
    tresp: npt.ArrayLike,
    tresp_logt: npt.ArrayLike,
    temps: npt.ArrayLike,
    reg_tweak: float = 1.0,
    max_iter: int = 10,
    gloci: int | npt.ArrayLike = 0,
    rgt_fact: float = 1.5,
    dem_norm0: npt.ArrayLike | None = None,
    nmu: int = 40,
    warn: bool = False,
    emd_int: bool = False,
    emd_ret: bool = False,
    l_emd: bool = False,
    non_pos: bool = False,
    rscl: bool = False,
    *,
    backend: Backend = "cpu",
    workers: int | None = None,
    progress: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | float, np.ndarray]:
    r"""
    Differential emission measures of plain arrays, with the arguments and return values of the Python DEMREG.

    For scripts that call ``dn2dem_pos`` or, of demregpy, ``dn2dem``. Prefer `invert` in new code: it handles units,
    coordinates and masks, and has a better rule for λ.

    Parameters
    ----------
    dn_in, edn_in : array, (..., nf)
        Counts per second of nf channels, zero or more, and one standard deviation of them. Any number of axes may
        come before; without any it is one pixel. Masked values count as bad.
    tresp : array, (nt_resp, nf)
        Temperature response. Values that are not positive become the least positive one of the channel.
    tresp_logt : array, (nt_resp,)
        Its log10 of the temperature in K, ascending. The response is constant beyond its ends.
    temps : array, (nt + 1,)
        Edges in K of at least three temperature bins, ascending.
    reg_tweak : `float`, optional
        Chi-squared per channel to aim at.
    max_iter : `int`, optional
        Solutions tried until none of its bins is negative, 1 to 1000; the last one is returned.
    gloci : 0, 1 or array of 0 and 1, (nf,), optional
        The channels whose EM loci make the weight; none for the weight of a first solution.
    rgt_fact : `float`, optional
        Factor by which the target grows with each solution.
    dem_norm0 : array, (nt,) or (..., nt), optional
        The weight instead, of all pixels or of each; of order one, because the samples of λ depend on its size.
        A pixel where all of it is one, or its first bin is zero, does without; so do all if all of it is zero, or
        not finite.
    nmu : `int`, optional
        Samples of λ; 40 or less stands for 500 for one pixel and 42 for more.
    warn : `bool`, optional
        Warn of DEMs that are still negative somewhere, and of an ``rgt_fact`` that is not above one.
    emd_int : `bool`, optional
        Solve for the emission measure per bin, DEM times T ln(10) Δlog T; implies ``l_emd``.
    emd_ret : `bool`, optional
        Return the emission measure per bin.
    l_emd : `bool`, optional
        Use the square of the weight, without the width of the bin.
    non_pos : `bool`, optional
        Return the first solution, as with ``max_iter=1``, without warnings of negative bins.
    rscl : `bool`, optional
        Multiply the DEM, its error and ``dn_reg`` of each pixel by the mean over the channels of
        ``dn_in / dn_reg``, where that is positive and finite; the chi-squared is that of the scaled DEM. (In the
        original the mean runs over the wrong axis.)
    backend, workers, progress
        As in `invert`.

    Returns
    -------
    dem, edem : array, (..., nt)
        DEM, or emission measure with ``emd_ret``, and its error.
    elogt : array, (..., nt)
        Temperature resolution: full width at half maximum of the kernel, in dex, divided by 2 and by 2.355.
    chisq : array, (...), or `float`
        Sum of squared residuals divided by the number of channels.
    dn_reg : array, (..., nf)
        Counts that the DEM gives.

    Raises
    ------
    ValueError, TypeError
        Where an argument breaks a rule above; the message names it and the cure.

    Warns
    -----
    UnsolvedWarning
        Once, where pixels were not solved; and as ``warn`` says. Nothing is printed.

    Notes
    -----
    The reference is demregpy 1.0.0. On 2000 AIA pixels for the main options, 250 for the others, and on twelve
    synthetic channels, all outputs agree to 2e-11 of the pixel's peak, and no pixel takes another sample of λ. These
    departures are deliberate:

    * The center of a bin is the geometric mean of its own edges. demregpy counts bins of the width of bin i from the
      first edge, which is the same for uniform bins only. With 16 bins of 0.05 dex and then 10 of 0.1, its centers
      are off by up to 0.8 dex, its median chi-squared on 1000 AIA pixels is 19 instead of 1.1, and the DEMs differ
      by their own size.
    * Bad pixels are zero in all five arrays, as in the original, and are counted in one warning. They are those with
      counts that are negative or not finite, an uncertainty that is not positive and finite, or no counts in
      any channel of ``gloci``; and those of such extreme size that no digits are left. demregpy raises, and returns
      no pixel at all.
    * A kernel that only one of the 51 sampled temperatures sees has the width of the bin, not zero. In 2000 AIA pixels
      there is none; where the response is larger by 1e10, as in other units, a tenth of all values.
    * Where the response is so large that all samples of λ are far too low (of order one, say, instead of 1e-24), the
      DEM gives the counts to all digits and swings as it likes, there as here. While singular values stay below 1e15
      the two agree (2e-5); beyond, the pseudo-inverse in demregpy drops what it takes for rounding, and it returns
      another such DEM, by a tenth of the peak to ten times it.
    * With more channels than bins there is an answer, where demregpy fails.
    * The signs of bins are computed exactly. With ``emd_int``, without ``gloci`` and ``dem_norm0``, empty bins have a
      weight of 1e-16, and demregpy finds some negative by a rounding error of 1e-15 of the peak. It then relaxes the
      fit for nothing: in a third of 2000 AIA pixels, to a median chi-squared of 33 instead of 0.8. ``l_emd`` alone does
      so in one of 2000. The others agree to 2e-7 and 1e-8.
    * A zero in ``dem_norm0`` beyond the first bin is an error here, and ends in another one there.
    * With ``rgt_fact`` below one, a pixel without any more signal than the target keeps its first solution. Of 400
      faint AIA pixels none differs by that; where the response is larger by 1e8, 77 do.
    * Any number of axes is supported, and ``warn`` is not switched on automatically for a single pixel.

    Examples
    --------
    >>> import numpy as np
    >>> import astropy.units as u
    >>> from sunpy_demreg import TemperatureResponse, dn2dem_pos
    >>> response = TemperatureResponse.from_aia([94, 131, 171, 193, 211, 335] * u.AA)
    >>> tresp, tresp_logt = response.response.value.T, np.log10(response.temperature.value)
    >>> dn = np.array([3.2, 12.9, 541.0, 801.0, 265.0, 15.6])  # DN/s
    >>> edn = 0.1 * dn
    >>> temps = 10 ** np.arange(5.6, 7.1, 0.05)
    >>> dem, edem, elogt, chisq, dn_reg = dn2dem_pos(dn, edn, tresp, tresp_logt, temps)
    >>> dem.shape, round(float(chisq), 3)
    ((29,), 0.985)
    """
    warn, progress = as_bool("warn", warn), as_bool("progress", progress)
    emd_int, emd_ret = as_bool("emd_int", emd_int), as_bool("emd_ret", emd_ret)
    l_emd, non_pos, rscl = as_bool("l_emd", l_emd), as_bool("non_pos", non_pos), as_bool("rscl", rscl)
    dn, edn = as_counts(dn_in, edn_in)
    pixel_shape, n_channels = dn.shape[:-1], dn.shape[-1]
    tables = [as_floats(*of) for of in (("temps", temps), ("tresp", tresp), ("tresp_logt", tresp_logt))]
    check_order(dn, tables[1])
    tables = [(table.shape, table.tobytes()) for table in tables]
    bins, emission_per_dem, response = tabulated(n_channels, *tables)
    max_iter, loci = 1 if non_pos else max_iter, as_loci(gloci, n_channels)
    options = as_options(reg_tweak, max_iter, rgt_fact, nmu, loci, l_emd or emd_int, dn.ndim == 1)
    check_engine(backend, workers)

    # Pixels last, as in the numerics.
    dn, edn = dn.reshape(-1, n_channels).T, edn.reshape(-1, n_channels).T
    is_bad = ~np.all((dn >= 0) & (dn < np.inf) & (edn > 0) & (edn < np.inf), axis=0)
    weight, has_weight = as_weight(dem_norm0, bins.widths.size, pixel_shape, is_bad)
    if options.loci:  # the loci of no counts at all weigh nothing
        is_bad |= ~has_weight & ~np.any(dn[list(options.loci)], axis=0)

    K = response if emd_int else response * emission_per_dem
    engine = {"backend": backend, "workers": workers, "progress": progress}
    solution = _solve_kinds(dn, edn, is_bad, has_weight, Problem(bins, K, options, weight), engine)
    dem, edem, width, chisq, dn_reg, *_ = solution
    is_zero = (solution.status & _ZERO) != 0
    if is_zero.any():
        for array in (dem, edem, width, chisq, dn_reg):
            array[..., is_zero] = 0.0
    if emd_int != emd_ret:
        factor = emission_per_dem if emd_ret else 1 / emission_per_dem
        dem *= factor[:, None]
        edem *= factor[:, None]
    if rscl:
        chisq = _rescale(dn, edn, dem, edem, dn_reg, ~is_zero)

    _warn_of(is_zero, is_bad, solution.status, warn and not non_pos, options)
    dem, edem, elogt, dn_reg = (
        array.T.reshape(*pixel_shape, len(array)) for array in (dem, edem, width / (2 * _FWHM_PER_SIGMA), dn_reg)
    )
    return dem, edem, elogt, chisq.reshape(pixel_shape)[()], dn_reg


def _solve_kinds(dn, edn, is_bad, has_weight, problem, engine):
    """Solve the pixels with a weight of the caller's and those without; `Solution`, with NaN where there is none."""
    # Without counts any lam fits as well as any other. The reference takes its first sample: that of a target which
    # is too low for all of them.
    is_empty = ~np.any(dn, axis=0)
    kind_of_pixel = np.where(is_bad, -1, 2 * has_weight + is_empty)
    whole = None
    for kind in [kind for kind in range(4) if kind in kind_of_pixel] or [0]:
        lanes, is_given, is_dark = kind_of_pixel == kind, kind >= 2, kind % 2 == 1
        # The first kind is solved in place, and freed before the others.
        chosen = slice(None) if whole is None else lanes
        options, weight = problem.options, problem.weight
        options = options._replace(
            weighting="given" if is_given else options.weighting,
            chi_squared_target=-1.0 if is_dark else options.chi_squared_target,
        )
        if not is_given:
            weight = None
        elif problem.has_weight_of_pixels:
            weight = weight[:, chosen]
        part = execute.run(
            dn[:, chosen],
            edn[:, chosen],
            np.where(lanes[chosen], 0, int(Status.NOT_FINITE)).astype(np.int32),
            problem._replace(options=options, weight=weight),
            keep_no_signal=True,
            **engine,
        )
        if whole is None:
            whole = part
        else:
            whole.put(lanes, part)
    return whole


def _rescale(dn, edn, dem, edem, dn_reg, is_solved):
    """Scale, in place, by the mean ratio of the counts to those of the DEM; the chi-squared that follows."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # Channel by channel: `numpy.mean` of nine or more has another order for one pixel than for many.
        factor = sum(dn / dn_reg) / len(dn)
        factor = np.where(is_solved & np.isfinite(factor) & (factor > 0), factor, 1.0)
        for array in (dem, edem, dn_reg):
            array *= factor
        return np.where(is_solved, sum(((dn - dn_reg) / edn) ** 2) / len(dn), 0.0)


def _warn_of(is_zero, is_bad, status, is_wanted, options):
    n_zero, n_bad = np.count_nonzero(is_zero), np.count_nonzero(is_bad)
    if n_zero:
        reasons = {"with bad counts or uncertainties": n_bad, "of extreme size": n_zero - n_bad}
        reasons = ", ".join(f"{count} {reason}" for reason, count in reasons.items() if count)
        _warn(f"{n_zero} of {is_zero.size} pixels were not solved and are zero in all outputs: {reasons}")
    remarks = []
    if is_wanted and options.target_growth <= 1:
        remarks.append(f"`rgt_fact` is {options.target_growth:g}, so the chi-squared target does not grow: pass 1.5")
    n_negative = np.count_nonzero(((status & int(Status.NEGATIVE_DEM)) != 0) & ~is_zero) if is_wanted else 0
    if n_negative:
        remarks.append(
            f"{n_negative} of {is_zero.size} DEMs are negative in some bins after {options.max_iterations} solutions: "
            "raise `max_iter` or `rgt_fact`"
        )
    if remarks:
        _warn("; ".join(remarks))


def _warn(message):
    try:
        from sunpy_demreg._common.warnings import UnsolvedWarning, warn
    except ImportError:  # a bare node
        warnings.warn(message, stacklevel=4)
    else:
        warn(UnsolvedWarning, message)
