"""The inversion: from physics objects to plain arrays and back. Validate, unwrap, solve, wrap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from array_api_compat import is_cupy_array

import astropy.units as u

from sunpy_demreg._channels.cubes import as_channel_data
from sunpy_demreg._common.dask_arrays import as_lazy, is_lazy
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.validators import as_bool
from sunpy_demreg._engines.base.problem import Bins, Problem
from sunpy_demreg._inversion import blocks
from sunpy_demreg._inversion.arguments import (
    as_dtype,
    as_edges_within,
    as_outputs,
    as_settings,
    as_use,
    as_weight,
    check_engine,
    check_matrices,
)
from sunpy_demreg._inversion.calibration import (
    as_channel_errors,
    as_common_error,
    with_channel_errors,
)
from sunpy_demreg._inversion.memory import as_memory_limit
from sunpy_demreg._results.cubes import wrap_result
from sunpy_demreg._results.errors import with_common_error
from sunpy_demreg._results.resolved import seen_bins
from sunpy_demreg._results.settings import options_of
from sunpy_demreg._results.unsolved import counts_of, warn_of_unsolved
from sunpy_demreg.response._bins import TemperatureBins
from sunpy_demreg.response._provenance import check_pair

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from ndcube import NDCollection, NDCube, NDCubeSequence

    from sunpy_demreg._common.typing import Backend, Maps
    from sunpy_demreg._inversion.prior import LogNormalPrior
    from sunpy_demreg.response import TemperatureResponse

__all__ = ["invert"]


def invert(
    data: NDCube | NDCollection | NDCubeSequence | u.Quantity | Maps,
    response: TemperatureResponse,
    temperature_bin_edges: u.Quantity,
    *,
    uncertainty: u.Quantity | None = None,
    mask: npt.ArrayLike | None = None,
    channels: Sequence[str] | None = None,
    method: Literal["demreg", "lognormal", "l2"] = "demreg",
    prior: LogNormalPrior | None = None,
    solve_for: Literal["dem", "emission_measure"] | None = None,
    parameter_choice: Literal["discrepancy", "grid", "gcv", "prior"] | None = None,
    positivity: Literal["relax", "constrain", "ignore"] | None = None,
    weighting: Literal["self", "em_loci"] | npt.ArrayLike = "self",
    n_refinements: int = 0,
    chi_squared_target: float = 1.0,
    target_growth: float = 1.5,
    max_iterations: int = 10,
    n_samples: int = 42,
    nonpositive: Literal["use", "mask"] = "use",
    missing_channels: Literal["omit", "mask"] = "omit",
    max_missing_channels: int = 1,
    dem_error: Literal["noise", "posterior"] | None = None,
    calibration_error: float | u.Quantity | Mapping[Any, float | u.Quantity] | Literal["atomic"] | None = None,
    common_calibration_error: float | u.Quantity | None = None,
    outputs: Sequence[str] | None = None,
    emission_measure_ranges: u.Quantity | None = None,
    dtype: npt.DTypeLike = "float64",
    backend: Backend | Literal["hybrid"] | None = None,
    workers: int | None = None,
    memory_limit: int | u.Quantity | None = None,
    progress: bool = False,
    out: NDCollection | None = None,
) -> NDCollection:
    r"""
    Differential emission measures by regularized inversion, with errors, for every pixel.

    Parameters
    ----------
    data : `ndcube.NDCube`, `ndcube.NDCollection`, `ndcube.NDCubeSequence`, maps, or `astropy.units.Quantity`
        Intensities per unit time, usually the channel cube of `prepare`. Also an ``NDCollection`` whose keys
        are the channels of the response or an ``NDCubeSequence``, of per-channel cubes that share a pixel
        grid and carry uncertainties; maps or file names, which go through `prepare` with its defaults; or a
        bare Quantity with the channel axis first, which needs ``uncertainty``. A single spectrum of shape
        ``(n_channels,)`` is a pixel axis of length one. (demreg: ``dn_in``) There may be any number of pixel
        axes, of time for instance: the cube of `prepare_series`, or an ``NDCubeSequence`` of channel cubes. If its
        arrays are Dask's, so are those of the result, and nothing is computed until asked for.
    response : `TemperatureResponse`
        Of the same channels. Where the data name their channels, the order is matched by name.
    temperature_bin_edges : `astropy.units.Quantity`
        Edges of at least three temperature bins, in K, ascending, inside the response's range. The center of
        a bin is the geometric mean of its edges. (demreg: ``temps``)
    uncertainty : `astropy.units.Quantity`, optional
        One standard deviation of ``data``, of its shape or one for all, where the data carry none.
        (demreg: ``edn_in``)
    mask : array of bool, optional
        True where a value must not be used, of the shape of ``data`` or of its pixels, where the data carry none.
    channels : sequence of `str`, optional
        The channels of a bare array in their order: they are checked against those of ``response``.
    method : {"demreg", "lognormal", "l2"}, optional
        ``"demreg"``: the regularized inversion of Hannah & Kontar in two passes, the first of which finds the weight L
        of the second. ``"lognormal"``: the most likely DEM where its logarithm is a Gaussian process (see ``prior``);
        it is positive everywhere, has 0.4 to 0.8 of the error of ``positivity="constrain"`` for DEMs that are smooth,
        and errors that hold the truth about as often as they should. ``"l2"``: one pass with the same weight everywhere
        (Tikhonov's zeroth order); cheaper and less accurate. All report the errors and chi-squared of their own
        solution.
    prior : `LogNormalPrior`, optional
        That of ``"lognormal"``, by default ``LogNormalPrior()``.
    solve_for : {"dem", "emission_measure"}, optional
        What is regularized: the DEM per kelvin, as in the reference, or the emission measure per dex; the outputs are
        the same. By default the DEM; ``"lognormal"`` always solves for the emission measure. The regularization of a
        DEM per kelvin favors hot bins and fills them where the channels see nothing.
    parameter_choice : {"discrepancy", "grid", "gcv", "prior"}, optional
        How the regularization parameter λ is chosen. ``"discrepancy"``, the default but for ``"lognormal"``: the exact
        discrepancy principle, chi-squared equals its target; independent of units. ``"grid"``: the rule of the
        reference implementation, the nearest of ``n_samples`` values; it reproduces published results, and depends on
        the unit of the response as they do. ``"gcv"``: generalized cross-validation, which needs only the ratios of
        the uncertainties, not their scale. It is unreliable with few channels: its score often has no minimum, and λ
        is then an end of the search range, without a warning. ``"prior"``, only of ``"lognormal"``, and its default:
        λ is 1, as the prior has it, or less where chi-squared would be above its target.
    positivity : {"relax", "constrain", "ignore"}, optional
        ``"relax"``, the rule of the reference and the default, raises the chi-squared target by ``target_growth``
        until no bin is negative or ``max_iterations`` solutions were tried. ``"constrain"`` finds the smoothest DEM
        without negative bins *at* the target; only where there is none, which is rare, the target is raised. It needs
        ``parameter_choice`` ``"discrepancy"`` or ``"gcv"``. ``"ignore"`` accepts the first solution. (demreg:
        ``non_pos``) A solution of ``"lognormal"`` is positive by construction, so it takes none of these.
    weighting : {"self", "em_loci"} or array, optional
        The weight of the regularization, which the DEM is drawn to. ``"self"``: the solution of a first pass, smoothed
        over five bins. ``"em_loci"``: the least of the EM loci in each bin, smoothed likewise. An array of positive
        numbers, one per temperature bin or of the shape of the DEM, is taken as it is; only its shape matters, but for
        ``parameter_choice="grid"``. (demreg: ``gloci``, ``dem_norm0``)
    n_refinements : `int`, optional
        How often to replace the weight by the solution that it gives, smoothed likewise, before the last pass; at
        most 5.
    chi_squared_target : `float`, optional
        Sum of squared residuals per channel to aim at. (demreg: ``reg_tweak``)
    target_growth : `float`, optional
        Factor, above one, by which the target is raised for positivity. (demreg: ``rgt_fact``)
    max_iterations : `int`, optional
        Targets tried for positivity, at least one. (demreg: ``max_iter``)
    n_samples : `int`, optional
        Number of values of λ for ``parameter_choice="grid"``, at least two. (demreg: ``nmu``)
    nonpositive : {"use", "mask"}, optional
        What an intensity of zero or below is. ``"use"``: data as any other, with its uncertainty, as noise about a
        faint signal is; its pixel has the remark ``Status.NONPOSITIVE_INTENSITY``, and for ``weighting="em_loci"`` the
        locus of the channel is that of its uncertainty. ``"mask"``: its pixel is masked, which leaves the brighter half
        of the noise and so makes means over faint pixels too large.
    missing_channels : {"omit", "mask"}, optional
        What happens to a pixel in which a channel has no usable value: is masked, saturated, not finite, or has an
        uncertainty that is not finite and positive. ``"omit"``: it is solved with the other channels, exactly as if
        there were no more, and the missing intensity is predicted; ``result["omitted_channels"]`` tells which were left
        out, and the remark ``Status.MISSING_CHANNEL`` that some were. A saturated channel is a lower limit: where the
        DEM predicts less, by however little, the remark is ``Status.SATURATION_CONTRADICTED``. ``"mask"``: it is
        masked.
    max_missing_channels : `int`, optional
        How many channels may be left out in a pixel: with more, it is masked. One channel has to remain, or two for
        ``parameter_choice="gcv"``. (With more than 64 channels none can be left out, as the bits of a number cannot
        tell which: a pixel that lacks one is an error then, unless ``missing_channels="mask"``.)
    dem_error : {"noise", "posterior"}, optional
        What the uncertainty of the DEM is, and of all that is computed from it. ``"noise"``: the noise of the data,
        propagated. ``"posterior"``, only of ``"lognormal"``, and its default: the standard deviation of the DEMs that
        prior and data leave possible, which holds the noise and what the data do not determine.
    calibration_error : `float`, `~astropy.units.Quantity`, `dict`, or "atomic", optional
        Relative error of the response of each channel, independent between the channels: a fraction such as 0.25 for
        all, one for each in a dict such as ``{"AIA 94": 0.5}`` or ``{94 * u.AA: 50 * u.percent}``, where others have
        none, or ``"atomic"``, that of the atomic data by the error table of AIA: 50 % for 94 and 131 Å, 25 % for the
        others. It adds to the uncertainty of the intensity in quadrature, so that the DEM need not fit a channel better
        than that; to an intensity below zero, which is noise, it adds nothing. (The same as ``include_chianti`` of
        `prepare`, but for all instruments.)
    common_calibration_error : `float` or `~astropy.units.Quantity`, optional
        Relative error that all channels share, such as 0.2, of the calibration or the abundances. It scales the whole
        DEM and changes nothing else, so it is no matter of the fit: that fraction of each value adds to its error in
        quadrature. A mean temperature has none of it.
    outputs : sequence of `str`, optional
        Names of the cubes to return, where less or more is wanted than the standard ones: also ``"dem_uncertainty"``,
        without which ``"dem"`` has none, ``"is_resolved"``, ``"covariance"`` and ``"resolution_matrix"``. What is not
        asked for is not computed; the temperature resolution is the most expensive. ``"status"`` is always returned.
        Without ``"intensity"`` the functions that derive products from a result cannot compute errors.
    emission_measure_ranges : `astropy.units.Quantity`, optional
        Pairs of temperatures, of the shape ``(number, 2)``: the emission measure in each, with its error, becomes
        the cube ``"emission_measure"``. Bins are cut at the ends of a range, evenly in log T.
    dtype : {"float64", "float32"}, optional
        Type of the numbers returned. All arithmetic is in double precision; a pixel of which an output, such as the
        covariance in these units, does not fit into single precision is ``Status.FAILED``.
    backend : {"cpu", "numpy", "cupy", "hybrid"}, optional
        The engine; by default ``"cupy"`` if the arrays in ``data`` are CuPy's, else ``"cpu"``. ``"cpu"``: code compiled
        for the processor at hand, at least ten times faster (with more than 12 channels, or fewer bins than channels,
        it uses plain arrays too). ``"numpy"``: plain arrays, the reference that it is tested against. ``"cupy"``: an
        NVIDIA GPU, through CuPy: the arrays of the result stay there if those of ``data`` are there; arrays of the host
        go there and back in batches. The engines agree to 1e-9; with "gcv", whose minimum is flat, to 1e-6; with
        "lognormal" in all but one of 10 000 pixels (three, with "discrepancy"), those whose iteration is long.
        ``"hybrid"``, for Dask arrays and a cluster: workers that have the resource ``GPU`` solve their blocks on it, in
        larger blocks, and all other workers solve theirs on the CPU; ``result["solved_on_gpu"]`` tells which.
    workers : `int`, optional
        Number of threads; by default as many as the process may use, or one for plain arrays, which do not profit from
        more. The result does not depend on it. With Dask arrays the scheduler runs several blocks at once, each on one
        thread; ``workers`` is then the largest number of blocks that a process solves at the same time, by default as
        many as the scheduler runs.
    memory_limit : `int` or `astropy.units.Quantity`, optional
        Bytes that the inversion may take for its result and its working arrays, by default 80 percent of what is
        available. With Dask arrays it bounds the memory of the blocks in progress in a process: larger blocks are
        divided.
    progress : `bool`, optional
        Show a progress bar. Not for Dask arrays, whose scheduler has its own.
    out : `ndcube.NDCollection`, optional
        A result of an earlier call with the same outputs, bins, pixels and ``dtype``, whose memory is reused: its
        values are overwritten. Allocating new memory can cost more than the inversion. Not for Dask arrays.

    Returns
    -------
    `ndcube.NDCollection`
        Aligned along the pixel axes, so that ``result[..., 10:20, 30:40]`` slices every cube. Its cubes:

        ``"dem"``
            (temperature, ...), cm-5 K-1; its ``uncertainty`` is what ``dem_error`` says, as does its ``meta``.
        ``"temperature_resolution"``
            (temperature, ...), dex; full width at half maximum of the resolution kernel. (demreg: ``elogt``
            times 2 times 2.355)
        ``"chi_squared"``
            (...); sum of squared residuals divided by the number of channels that were used.
        ``"predicted_intensity"``
            (channel, ...); what the DEM gives in each channel, also in one that was left out. (demreg: ``dn_reg``)
        ``"intensity"``
            (channel, ...); the data, with their uncertainty, to which ``calibration_error`` is added, and mask.
        ``"regularization_parameter"``
            (...); λ for a response matrix (response times bin width) scaled to a maximum of one, or times
            1e15 with ``"grid"``; with ``"lognormal"`` the factor of the prior's term, 1 at most unless it follows from
            the discrepancy principle.
        ``"emission_measure"``
            (range, ...), cm-5, with ``emission_measure_ranges``; its ``uncertainty`` is that of the sum over the
            bins, whose errors are not independent.
        ``"is_resolved"``
            (temperature, ...), bool, if asked for: which bins are resolved, see `is_resolved`.
        ``"covariance"``, ``"resolution_matrix"``
            (temperature, temperature, ...), cm-10 K-2 and 1, if asked for, of chosen pixels: covariance of the
            errors of the DEM, of the kind that ``dem_error`` says, and the DEM recovered (first axis) from plasma in
            one bin (second axis).
        ``"omitted_channels"``
            (...); unsigned integers, with ``missing_channels="omit"``: bit i is set, by ``2**i``, where channel i was
            left out. Zero is none.
        ``"solved_on_gpu"``
            (...), bool, with ``backend="hybrid"``: which pixels were solved on a GPU.
        ``"status"``
            (...); bits of `Status`. Pixels that could not be solved are NaN and masked in the other cubes.

        ``result.meta`` holds the bin edges, the options (with the method's own choice where none was made), and the
        metadata of data and response; of arrays that are not Dask's also "status_counts", how many pixels have which
        bit of `Status`. What the data know of each time or region, such as ``meta["observation"]["date"]``, is sliced
        with the result. Slice with ranges that count from the front: ndcube takes neither negative starts nor the
        removal of all axes.

    Raises
    ------
    ValueError, TypeError
        Where an argument breaks a rule above; the message names it and the cure. Bad *pixels* never raise: they are
        flagged, and do not change their neighbors by a bit.
    MemoryError
        If the result would be larger than ``memory_limit``.

    Warns
    -----
    UnsolvedWarning
        If pixels were not solved, once for all, with the reasons. If more than half of those that were solved, and ten
        at least, do not fit, with the likely causes: no DEM without negative bins reaches the chi-squared target, or
        ``positivity="relax"`` has raised that of nearly all of a thousand or more.
        (With Dask arrays nothing is computed yet: `write` and `batch_invert` warn then. Or look at
        ``result["status"]`` once it is computed, or at the counts that a notebook shows for a result read from a file.)

    Notes
    -----
    ``"demreg"`` is the method of Hannah & Kontar (2012, A&A 539, A146; 2013, A&A 553, A10), with the exact
    discrepancy principle of Morozov (1966). The weight of the regularization is the solution of a first pass,
    smoothed over five bins.

    ``"lognormal"`` finds the most likely logarithm of the emission measure per dex under the data and a Gaussian
    process. Its chi-squared is usually well below one, as that of a most likely value should be: a value of one is what
    the *true* DEM has. It shrinks what little the data say to its smooth mean: isothermal plasma and two components
    closer than 0.2 dex come out too broad, with errors that are too small, and hot plasma next to much cooler plasma
    comes out weaker than it is. A pixel in which the iteration does not end has
    ``Status.NOT_CONVERGED``, and the constrained emission measure of ``"demreg"`` with its λ and the errors of its
    noise, which are zero in bins that are.

    With ``parameter_choice="grid"`` the outputs equal those of the Python DEMREG to rounding, with these
    deliberate departures: the centers of non-uniform bins; pixels with an intensity of zero or less are solved (there
    zeros with a chi-squared of zero), and those without significant signal are masked; a temperature resolution of
    zero, from a kernel narrower than the 51 samples that measure it, is one bin's width; with fewer bins than
    channels the grid starts at the smallest singular value that is not zero.

    With ``positivity="constrain"`` the bins that are zero have an uncertainty of zero: errors and resolution are
    those of the other bins, linearized about the solution. Where even the best DEM without negative bins fits
    badly, chi-squared says so, however large.

    Keep in mind: ``"relax"`` trades misfit for positivity, so look at chi-squared (it may grow to ``1.5**9``, 38 times
    its target) and at ``Status.RELAXED``. The propagated noise includes neither the bias of the regularization nor
    errors of the response. Six AIA channels hardly constrain plasma beyond log T = 7: in the quiet Sun the hottest bins
    of ``"demreg"`` show residuals of the method, not plasma. The response is taken at the centers of the bins: bins
    much wider than 0.1 in log T fit badly.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> import sunpy_demreg as demreg
    >>> cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=16)[:, 40:50, 60:80]
    >>> response = demreg.TemperatureResponse.from_aia(cube)
    >>> edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K
    >>> result = demreg.invert(cube, response, edges, method="lognormal")
    >>> result["dem"].shape, result["dem"].unit
    ((37, 10, 20), Unit("1 / (K cm5)"))
    >>> result[2:4, 5]["chi_squared"].shape
    (2,)
    >>> {demreg.Status(value).name for value in np.unique(result["status"].data)}
    {'OK'}
    """
    settings = as_settings(
        method,
        {
            "parameter_choice": parameter_choice,
            "positivity": positivity,
            "solve_for": solve_for,
            "dem_error": dem_error,
        },
        prior=prior,
        weighting=weighting,
        n_refinements=n_refinements,
        chi_squared_target=chi_squared_target,
        target_growth=target_growth,
        max_iterations=max_iterations,
        n_samples=n_samples,
    )
    outputs = as_outputs(outputs, emission_measure_ranges)
    check_engine(backend, workers)
    dtype = as_dtype(dtype, outputs)
    common_calibration_error = as_common_error(common_calibration_error, outputs)
    progress, memory_limit = as_bool("progress", progress), as_memory_limit(memory_limit)
    edges = as_edges_within(temperature_bin_edges, response)
    # The intensity that a DEM of 1 cm-5 K-1 over 1 K predicts has the unit of the response less cm5.
    unit = response.response.unit / u.cm**5
    pixels = as_channel_data(data, unit, uncertainty=uncertainty, mask=mask, channels=channels)
    response = _matched_response(response, pixels.labels, pixels.intensity.shape[0], is_bare=channels is not None)
    check_pair(response.channels, pixels.meta, response)
    calibration_error = as_channel_errors(calibration_error, response.channels, pixels.meta)
    pixels = with_channel_errors(pixels, calibration_error)
    observation = {key: value for key, value in pixels.meta.items() if key != "calibration_error"}
    backend = backend or ("cupy" if is_cupy_array(pixels.intensity) else "cpu")
    lazy = is_lazy(pixels.intensity, pixels.uncertainty, pixels.mask)
    if pixels.mask is not None and not lazy and pixels.mask.all():
        raise wrong(
            ValueError,
            "data",
            "is masked everywhere, so nothing can be inverted: check its `mask`, or the `saturation`",
        )

    if backend == "hybrid" and not lazy:
        raise wrong(
            ValueError,
            "backend",
            "'hybrid' is only for Dask arrays, but those of `data` are plain arrays: chunk them, as with "
            "`dask.array.from_array`, or pass 'cpu' or 'cupy'",
        )
    if out is not None and lazy:
        raise wrong(ValueError, "out", "is only for plain arrays, but those of `data` are Dask arrays: leave `out` out")
    if progress and lazy:
        raise wrong(
            ValueError,
            "progress",
            "is only for plain arrays, but those of `data` are Dask arrays, of which nothing is computed yet: leave it "
            "out, and show that of the scheduler, such as `dask.diagnostics.ProgressBar`",
        )
    n_channels = len(response.channels)
    if settings["parameter_choice"] == "gcv" and n_channels < 2:
        raise wrong(ValueError, "parameter_choice", "'gcv' leaves out one channel at a time: it needs at least two")
    use = as_use(nonpositive, missing_channels, max_missing_channels, n_channels, settings["parameter_choice"])
    temperature_bins = TemperatureBins(edges)
    bins = Bins.between(temperature_bins.log_edges)
    pixel_shape = pixels.intensity.shape[1:]
    if not lazy:
        check_matrices(outputs, bins.widths.size, pixel_shape)
    solution, omitted, on_gpu = (blocks.solve_lazily if lazy else blocks.solve_now)(
        pixels,
        Problem(
            bins,
            temperature_bins.response_matrix(response),
            options_of(settings, n_channels, outputs),
            as_weight(weighting, bins.widths.size, pixel_shape),
            temperature_bins.em_functional(emission_measure_ranges),
            seen_bins(response, temperature_bins) if "is_resolved" in outputs else None,
        ),
        use,
        dtype=dtype,
        backend=backend,
        workers=workers,
        memory_limit=memory_limit,
        **({} if lazy else {"progress": progress, "out": out}),
    )
    if solution.is_resolved is not None:
        solution = solution._replace(is_resolved=solution.is_resolved > 0.5)
    solution = with_common_error(solution, common_calibration_error)
    counts = None if lazy else counts_of(solution.status, settings)
    if not lazy:
        warn_of_unsolved(counts)
    meta = {
        **settings,
        "calibration_error": calibration_error,
        "common_calibration_error": common_calibration_error,
        "backend": backend,
        "nonpositive": nonpositive,
        "missing_channels": missing_channels,
        "max_missing_channels": int(max_missing_channels),
        "channels": response.channels,
        "response": dict(response.meta),
        "temperature_response": {"temperature": response.temperature, "response": response.response},
        "observation": observation,
    }
    if settings["weighting"] == "given" and np.ndim(weighting) == 1:
        meta["weight"] = np.array(getattr(weighting, "value", weighting), dtype=float)
    if emission_measure_ranges is not None:
        meta["emission_measure_ranges"] = np.atleast_2d(emission_measure_ranges.to(u.K))
    observed = None
    if not lazy:
        meta["status_counts"] = {name: count for name, count in counts.items() if name not in ("unsolved", "misfit")}
    if "intensity" in outputs:  # copies: the caller may overwrite the input
        observed, mask = (pixels.intensity, pixels.uncertainty), pixels.mask
        if lazy:
            observed = tuple(as_lazy(array).copy() for array in observed)
            mask = None if mask is None else as_lazy(mask).copy()
        else:
            # In one allocation: large ones are far faster, and the two live equally long.
            observed, mask = np.stack(observed), None if mask is None else mask.copy()
        observed = *observed, mask
    return wrap_result(solution, edges, unit, pixels.wcs, pixels.channel_wcs, meta, observed, omitted, on_gpu)


def _matched_response(response, labels, n_channels, *, is_bare):
    """The response with its channels in the order of the data, which must have the same channels."""
    known = response.channels
    if len(known) != n_channels or (labels is not None and set(labels) != set(known)):
        has = "" if labels is None else f" ({', '.join(labels)})"
        raise wrong(
            ValueError,
            "data",
            f"has {n_channels} channels{has} but `response` has {len(known)} ({', '.join(known)}): they must "
            "be the same; build the response from the cube with `TemperatureResponse.from_aia(cube)`, or choose "
            "its channels with `response.select(...)`",
        )
    if labels is None or labels == known:
        return response
    if is_bare:
        raise wrong(
            ValueError,
            "channels",
            f"are {', '.join(labels)} but those of `response` are {', '.join(known)}: sort `data`, or "
            "pass `response.select(channels)`",
        )
    return response.select(labels)
