"""The inversion: the seam between physics objects and the numerics. Validate, strip, solve, wrap."""

from numbers import Integral, Real

import numpy as np

import astropy.units as u
from sunpy.util.exceptions import warn_user

from sunpy_demreg import _execute
from sunpy_demreg._channels import as_channel_data
from sunpy_demreg._regularization import Options
from sunpy_demreg._status import Status
from sunpy_demreg.response import TemperatureResponse
from sunpy_demreg.result import _bin_centers, _wrap

__all__ = ["invert"]


def invert(
    data,
    response,
    temperature_bin_edges,
    *,
    uncertainty=None,
    mask=None,
    channels=None,
    parameter_choice="discrepancy",
    positivity="relax",
    chi_squared_target=1.0,
    target_growth=1.5,
    max_iterations=10,
    n_samples=42,
    backend="cpu",
    workers=None,
    progress=False,
):
    r"""
    Differential emission measures by regularized inversion, with errors, for every pixel.

    Parameters
    ----------
    data : `ndcube.NDCube`, `ndcube.NDCollection`, `ndcube.NDCubeSequence`, maps, or `astropy.units.Quantity`
        Intensities per unit time, usually the channel cube of `prepare`. Also an ``NDCollection`` whose keys
        are the channels of the response or an ``NDCubeSequence``, of per-channel cubes that share a pixel
        grid and carry uncertainties; maps or file names, which go through `prepare` with its defaults; or a
        bare Quantity with the channel axis first, which needs ``uncertainty``. A single spectrum of shape
        ``(n_channels,)`` is a pixel axis of length one. (demreg: ``dn_in``)
    response : `TemperatureResponse`
        Of the same channels. Where the data name their channels, the order is matched by name.
    temperature_bin_edges : `astropy.units.Quantity`
        Edges of at least three temperature bins, in K, ascending, inside the response's range. The center of
        a bin is the geometric mean of its edges. (demreg: ``temps``)
    uncertainty : `astropy.units.Quantity`, optional
        One standard deviation of ``data``, of its shape, where the data carry none. (demreg: ``edn_in``)
    mask : array of bool, optional
        True where a value must not be used, of the shape of ``data``, where the data carry none.
    channels : sequence of `str`, optional
        The channels of a bare array in their order: it is then checked that they are those of ``response``.
    parameter_choice : {"discrepancy", "grid"}, optional
        How the regularization parameter λ is chosen. ``"discrepancy"``: the exact discrepancy principle,
        chi-squared equals its target; independent of units. ``"grid"``: the rule of the reference
        implementation, the nearest of ``n_samples`` values; it reproduces published results, and depends
        on the unit of the response as they do.
    positivity : {"relax", "constrain", None}, optional
        ``"relax"``, the reference's rule, raises the chi-squared target by ``target_growth`` until no bin is
        negative or ``max_iterations`` solutions were tried. ``"constrain"`` finds the smoothest DEM without
        negative bins *at* the target; only where there is none, which is rare, the target is raised. It needs
        ``parameter_choice="discrepancy"``. None accepts the first solution. (demreg: ``non_pos``)
    chi_squared_target : `float`, optional
        Sum of squared residuals per channel to aim at. (demreg: ``reg_tweak``)
    target_growth : `float`, optional
        Factor, above one, by which the target is raised. (demreg: ``rgt_fact``)
    max_iterations : `int`, optional
        Targets tried for positivity, at least one. (demreg: ``max_iter``)
    n_samples : `int`, optional
        Number of values of λ for ``parameter_choice="grid"``, at least two. (demreg: ``nmu``)
    backend : {"cpu", "numpy"}, optional
        What computes. ``"cpu"``: code compiled for the processor at hand, some fifteen times faster (with more
        than 12 channels, or fewer bins than channels, it uses plain arrays too). ``"numpy"``: plain arrays, the
        truth that it is held to; their answers agree to 1e-9.
    workers : `int`, optional
        Number of threads; by default as many as the process may use. The answer does not depend on it.
    progress : `bool`, optional
        Show a progress bar.

    Returns
    -------
    `ndcube.NDCollection`
        Aligned along the pixel axes, so that ``result[..., 10:20, 30:40]`` slices every cube. Its cubes:

        ``"dem"``
            (temperature, ...), cm-5 K-1; its ``uncertainty`` is the propagated noise.
        ``"temperature_resolution"``
            (temperature, ...), dex; full width at half maximum of the resolution kernel. (demreg: ``elogt``
            times 2 times 2.355)
        ``"chi_squared"``
            (...); sum of squared residuals divided by the number of channels.
        ``"predicted_intensity"``
            (channel, ...); what the DEM gives in each channel. (demreg: ``dn_reg``)
        ``"regularization_parameter"``
            (...); λ for a response matrix (response times bin width) scaled to a maximum of one, or times
            1e15 with ``"grid"``.
        ``"status"``
            (...); bits of `Status`. Pixels that could not be solved are NaN and masked in the other cubes.

        ``result.meta`` holds the bin edges, the options, and the metadata of data and response. Slice with
        ranges that count from the front: ndcube takes neither negative starts nor the removal of all axes.

    Raises
    ------
    ValueError, TypeError
        Where an argument breaks a rule above; the message names it and the cure. Bad *pixels* never raise:
        they are flagged, counted in one warning, and leave their neighbors alone, to the last bit.

    Notes
    -----
    The method is that of Hannah & Kontar (2012, A&A 539, A146; 2013, A&A 553, A10), with the exact
    discrepancy principle of Morozov (1966). The weight of the regularization is the solution of a first pass,
    smoothed over five bins.

    With ``parameter_choice="grid"`` the outputs equal those of the Python DEMREG to rounding, with these
    deliberate departures: the centers of non-uniform bins; pixels with an intensity of zero or less (there
    zeros with a chi-squared of zero) or without significant signal are masked; a temperature resolution of
    zero, from a kernel narrower than the 51 samples that measure it, is one bin's width; with fewer bins than
    channels the grid starts at the smallest singular value that is not zero.

    With ``positivity="constrain"`` the bins that are zero have an uncertainty of zero: errors and resolution are
    those of the other bins, linearized about the solution. Where even the best DEM without negative bins fits
    badly, chi-squared says so, however large.

    What to keep in mind: ``"relax"`` buys positivity with misfit, so look at chi-squared (it may grow to
    ``1.5**9``, 38 times its target) and at ``Status.RELAXED``. The uncertainty is the propagated noise; it says
    nothing of the bias of the regularization, nor of errors of the response. Six AIA channels hardly constrain
    plasma beyond log T = 7: in the quiet Sun the hottest bins show what the method leaves there, not plasma.
    The response is taken at the centers of the bins: bins much wider than 0.1 in log T fit badly.
    """
    options = _validated_options(
        parameter_choice, positivity, chi_squared_target, target_growth, max_iterations, n_samples
    )
    if backend not in _execute.BACKENDS:
        raise ValueError(f"`backend` must be one of {_execute.BACKENDS}, but is {backend!r}")
    if workers is not None and (isinstance(workers, bool) or not (isinstance(workers, Integral) and workers >= 1)):
        raise ValueError(f"`workers` must be a whole number of threads, at least 1, but is {workers!r}")
    edges = _validated_edges(temperature_bin_edges, response)
    # The intensity that a DEM of 1 cm-5 K-1 over 1 K predicts has the unit of the response less cm5.
    unit = response.response.unit / u.cm**5
    pixels = as_channel_data(data, unit, uncertainty=uncertainty, mask=mask, channels=channels)
    response = _matched_response(response, pixels.labels, pixels.intensity.shape[0], is_bare=channels is not None)
    if pixels.mask is not None and pixels.mask.all():
        raise ValueError("every value of `data` is masked: nothing can be inverted; look at its mask")

    centers = _bin_centers(edges)
    log_edges = np.log10(edges.to_value(u.K))
    dlogt = np.diff(log_edges)
    K = response.at(centers).to_value(unit * u.cm**5) * centers.to_value(u.K) * np.log(10) * dlogt
    status = _execute.classify(pixels.intensity, pixels.uncertainty, pixels.mask, pixels.saturated)
    solution = _execute.run(
        pixels.intensity,
        pixels.uncertainty,
        status,
        K,
        dlogt,
        0.5 * (log_edges[1:] + log_edges[:-1]),
        options,
        backend=backend,
        workers=workers,
        progress=progress,
    )
    _warn_of_unsolved(solution.status)
    meta = {
        **options._asdict(),
        "channels": response.channels,
        "response": dict(response.meta),
        "observation": pixels.meta,
    }
    return _wrap(solution, edges, unit, pixels.wcs, pixels.channel_wcs, meta)


def _validated_options(parameter_choice, positivity, chi_squared_target, target_growth, max_iterations, n_samples):
    for name, value, allowed in (
        ("parameter_choice", parameter_choice, ("discrepancy", "grid")),
        ("positivity", positivity, ("relax", "constrain", None)),
    ):
        if not any(value is choice or (isinstance(value, str) and value == choice) for choice in allowed):
            raise ValueError(f"`{name}` must be one of {allowed}, but is {value!r}")
    for name, value, least in (
        ("chi_squared_target", chi_squared_target, 0),
        ("target_growth", target_growth, 1),
    ):
        if not (isinstance(value, Real | np.ndarray) and np.ndim(value) == 0 and least < value < np.inf):
            raise ValueError(f"`{name}` must be a finite number above {least}, but is {value!r}")
    for name, value, least, most in (("max_iterations", max_iterations, 1, 1000), ("n_samples", n_samples, 2, 10000)):
        if isinstance(value, bool) or not (isinstance(value, Integral) and least <= value <= most):
            raise ValueError(f"`{name}` must be a whole number of at least {least} (and {most} at most), not {value!r}")
    if positivity == "constrain" and parameter_choice != "discrepancy":
        raise ValueError(
            "`positivity` 'constrain' meets the chi-squared target exactly, which the samples of `parameter_choice` "
            "'grid' do not: pass parameter_choice='discrepancy'"
        )
    return Options(
        parameter_choice,
        positivity,
        float(chi_squared_target),
        float(target_growth),
        int(max_iterations),
        int(n_samples),
    )


def _validated_edges(edges, response):
    if not isinstance(response, TemperatureResponse):
        raise TypeError(
            f"`response` must be a TemperatureResponse, but is a {type(response).__name__}: make it with "
            "`TemperatureResponse.from_aia(cube)`, and pass it after the data"
        )
    name = "`temperature_bin_edges`"
    if not isinstance(edges, u.Quantity) or not edges.unit.is_equivalent(u.K):
        raise ValueError(f"{name} must be a Quantity in kelvin, for instance `10 ** np.arange(5.6, 7.4, 0.05) * u.K`")
    edges = edges.to(u.K).astype(float)
    if edges.ndim != 1 or edges.size < 4:
        raise ValueError(f"{name} must be four edges or more of at least three bins, but has the shape {edges.shape}")
    if not (np.all(np.isfinite(edges)) and np.all(edges > 0) and np.all(np.diff(edges) > 0)):
        raise ValueError(f"{name} must be positive, finite and strictly ascending: sort them and drop repeated ones")
    low, high = response.temperature[0], response.temperature[-1]
    # Powers of ten are rounded differently in different places: an edge on the table's end is inside it.
    if edges[0] < low * (1 - 1e-9) or edges[-1] > high * (1 + 1e-9):
        hint = " (are they log10 of the temperature? then pass `10**edges * u.K`)" if edges[-1] < 10 * u.K else ""
        raise ValueError(
            f"{name} reach from {edges[0]:.4g} to {edges[-1]:.4g}, but `response` is tabulated from {low:.4g} to "
            f"{high:.4g}: choose edges inside{hint}"
        )
    return edges


def _matched_response(response, labels, n_channels, *, is_bare):
    """The response with its channels in the order of the data, which must have the same ones."""
    known = response.channels
    if len(known) != n_channels or (labels is not None and set(labels) != set(known)):
        has = "" if labels is None else f" ({', '.join(labels)})"
        raise ValueError(
            f"`data` has {n_channels} channels{has} but `response` has {len(known)} ({', '.join(known)}): they must "
            "be the same; build the response from the cube with `TemperatureResponse.from_aia(cube)`, or choose "
            "its channels with `response.select(...)`"
        )
    if labels is None or labels == known:
        return response
    if is_bare:
        raise ValueError(
            f"`channels` are {', '.join(labels)} but those of `response` are {', '.join(known)}: sort `data`, or "
            "pass `response.select(channels)`"
        )
    return response.select(labels)


def _warn_of_unsolved(status):
    n_unsolved = int(np.count_nonzero(status & int(Status.UNSOLVED)))
    if n_unsolved:
        counts = ((bit.name, np.count_nonzero(status & bit)) for bit in Status.UNSOLVED)
        reasons = ", ".join(f"{name} {count}" for name, count in counts if count)
        warn_user(
            f"{n_unsolved} of {status.size} pixels were not solved and are masked ({reasons}); "
            "see result['status'] and sunpy_demreg.Status",
            stacklevel=3,
        )
