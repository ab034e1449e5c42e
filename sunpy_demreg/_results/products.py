"""Maps derived from a result: emission measures, temperatures, energies, and intensities in other channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import astropy.constants as const
import astropy.units as u
from astropy.nddata import StdDevUncertainty

from sunpy_demreg._common.cube import Cube, Meta
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.log_t import in_log_t
from sunpy_demreg._common.sums import contract
from sunpy_demreg._common.validators import as_bool, check_quantity
from sunpy_demreg._common.wcs import prepend_axis
from sunpy_demreg._engines.base.status import is_unsolved
from sunpy_demreg._results.checks import (
    bins_of,
    check_result,
    log_range,
    range_functional,
    stored_emission_measure,
)
from sunpy_demreg._results.cubes import pixel_mask
from sunpy_demreg._results.errors import errors_of
from sunpy_demreg._results.moments import energies, means, sums
from sunpy_demreg._results.settings import meta_of_product
from sunpy_demreg.response import TemperatureResponse
from sunpy_demreg.response._bins import are_inside
from sunpy_demreg.response._response import check_response

if TYPE_CHECKING:
    from ndcube import NDCollection, NDCube

__all__ = ["emission_measure", "mean_temperature", "synthesize", "thermal_energy_density"]


def emission_measure(
    result: NDCollection, temperature_range: u.Quantity | None = None, *, resolved_only: bool | None = None
) -> NDCube:
    r"""
    Emission measure between two temperatures, with its error.

    Parameters
    ----------
    result : `ndcube.NDCollection`
        From `sunpy_demreg.invert`, with its cubes ``"dem"`` and ``"intensity"``; or without, such as from a batch that
        stored emission measures only, if the range is one of its ``emission_measure_ranges``.
    temperature_range : `astropy.units.Quantity`, optional
        Two temperatures, ascending, inside the bins; by default all of them that are resolved. Bins are cut at the ends
        of the range, evenly in log T.
    resolved_only : `bool`, optional
        Whether to leave out the bins that are not resolved, pixel by pixel (`is_resolved` says which); by default only
        where no range is given. False with no range gives the sum over all bins.

    Returns
    -------
    `ndcube.NDCube`
        On the pixel axes, in cm-5. Masked where there is no DEM, and, then NaN too, where no bin is resolved but those
        only were asked for. The ``uncertainty`` is one standard deviation, of the kind that ``dem_error`` says in its
        ``meta``: see `sunpy_demreg.invert`.

    Raises
    ------
    TypeError
        If ``result`` is not a result, or ``resolved_only`` not a bool.
    ValueError
        If it lacks one of those cubes, or the range is not one or not inside the bins.

    See Also
    --------
    sunpy_demreg.invert : its ``emission_measure_ranges`` give the same during the inversion itself.

    Notes
    -----
    The errors of the bins are not independent: those of neighboring bins are anticorrelated. That of the sum :math:`f
    \cdot \xi` is :math:`\lVert K^{\dagger\mathsf T} f \rVert`, for which the inversion is repeated from the data in the
    result (at lower cost). That is the propagated noise at the weight and λ of the pixel, without the bias of the
    regularization and the errors of the response; where the errors of the result are those of the posterior, it is the
    square root of :math:`f \cdot C f` with its covariance :math:`C`. A calibration error that all channels share is
    added in quadrature.

    Bins that the channels do not see hold what the method leaves there: in the quiet Sun, a fifth to a half of the
    sum over all bins is above log T = 6.8, where there is nearly nothing.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> import sunpy_demreg as demreg
    >>> cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=16)[:, 40:50, 60:80]
    >>> response = demreg.TemperatureResponse.from_aia(cube)
    >>> edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K
    >>> result = demreg.invert(cube, response, edges, calibration_error=0.1)
    >>> em = demreg.emission_measure(result, [1, 2] * u.MK)
    >>> em.shape, em.unit
    ((10, 20), Unit("1 / cm5"))
    >>> f"{np.median(100 * em.uncertainty.array / em.data):.0f} %"
    '8 %'
    """
    check_result(result)
    resolved_only = _only_resolved(resolved_only, temperature_range)
    stored = None if resolved_only else stored_emission_measure(result, temperature_range)
    if stored is not None:
        return stored
    check_result(result, "dem", "intensity")
    functional = range_functional(result, temperature_range)[None]
    [value], [error], is_empty = sums(result, functional, functional, resolved_only)
    content = f"emission measure{_words(result, temperature_range, resolved_only)}"
    return _cube(result, value, error, u.cm**-5, content, is_empty)


def mean_temperature(
    result: NDCollection, temperature_range: u.Quantity | None = None, *, resolved_only: bool | None = None
) -> NDCube:
    r"""
    Mean temperature, weighted by the emission measure, with its error.

    Parameters
    ----------
    result : `ndcube.NDCollection`
        From `sunpy_demreg.invert`, with its cubes ``"dem"`` and ``"intensity"``.
    temperature_range : `astropy.units.Quantity`, optional
        Two temperatures, ascending, inside the bins, between which to take the mean; by default all of them that are
        resolved.
    resolved_only : `bool`, optional
        As of `emission_measure`: whether to leave out the bins that are not resolved, by default only where no range is
        given. False with no range gives the mean over all bins.

    Returns
    -------
    `ndcube.NDCube`
        On the pixel axes, in K. Masked, and NaN, where there is no DEM, where no bin is resolved but those only were
        asked for, and where the sum is not positive. The ``uncertainty`` is one standard deviation, as of
        `emission_measure`.

    Raises
    ------
    TypeError, ValueError
        As `emission_measure` does.

    Notes
    -----
    :math:`\bar T = \int T \xi\, \mathrm dT / \int \xi\, \mathrm dT`, with the center of a bin, or of the part inside
    the range, for its temperature. The error is that of the quotient to first order,
    :math:`\lVert K^{\dagger\mathsf T} (a - \bar T b) \rVert / b \cdot \xi` of the two sums :math:`a \cdot \xi` and
    :math:`b \cdot \xi`.

    Over all bins, the hot ones that six AIA channels do not see dominate this mean: that of a synthetic active region,
    of 2.3 MK, becomes 5 MK, and that of the quiet Sun, of 1.4 MK, 6.6 MK; over those that are resolved they are
    2.1 MK and 1.4 MK. That of a flare of 12.5 MK becomes 11 MK, as the bins above log T = 7.2 are not resolved: pass a
    range. The error is that of the bins which are resolved; noise may also change which ones they are.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> import sunpy_demreg as demreg
    >>> cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=16)[:, 40:50, 60:80]
    >>> response = demreg.TemperatureResponse.from_aia(cube)
    >>> edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K
    >>> result = demreg.invert(cube, response, edges)
    >>> temperature = demreg.mean_temperature(result)
    >>> f"{np.nanmedian(temperature.data) / 1e6:.2f} MK"
    '3.50 MK'
    """
    resolved_only = _only_resolved(resolved_only, temperature_range)
    value, error, is_empty = means(result, temperature_range, resolved_only)
    content = f"mean temperature{_words(result, temperature_range, resolved_only)}"
    return _cube(result, value, error, u.K, content, is_empty)


def thermal_energy_density(
    result: NDCollection,
    depth: u.Quantity,
    temperature_range: u.Quantity | None = None,
    *,
    resolved_only: bool | None = None,
) -> NDCube:
    r"""
    Thermal energy density of plasma that fills a given depth, with its error.

    Parameters
    ----------
    result : `ndcube.NDCollection`
        From `sunpy_demreg.invert`, with its cubes ``"dem"`` and ``"intensity"``.
    depth : `astropy.units.Quantity`
        Length of the plasma along the line of sight: one for all, or one for each pixel.
    temperature_range : `astropy.units.Quantity`, optional
        Two temperatures, ascending, inside the bins, the range to include; by default all bins that are resolved.
    resolved_only : `bool`, optional
        As of `emission_measure`: whether to leave out the bins that are not resolved, by default only where no range is
        given.

    Returns
    -------
    `ndcube.NDCube`
        On the pixel axes, in erg cm-3. Masked, and NaN, where there is no DEM, where no bin is resolved but those only
        were asked for, and where the sum is not positive. The ``uncertainty`` is one standard deviation, as of
        `emission_measure`; the error of the depth is not included.

    Raises
    ------
    TypeError, ValueError
        As `emission_measure` does, and if ``depth`` is not a positive length.

    Notes
    -----
    :math:`3\, k_\mathrm{B} \bar T \sqrt{EM / h}`, for a fully ionized hydrogen plasma of one density, :math:`n_e =
    \sqrt{EM / h}`, along the depth :math:`h`. Plasma that fills only a part of the depth is denser and has less energy
    in the column: this is an upper limit of the mean over the depth.

    References
    ----------
    Aschwanden et al. 2015, ApJ, 802, 53.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> import sunpy_demreg as demreg
    >>> cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=16)[:, 40:50, 60:80]
    >>> response = demreg.TemperatureResponse.from_aia(cube)
    >>> edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K
    >>> result = demreg.invert(cube, response, edges)
    >>> energy = demreg.thermal_energy_density(result, 10 * u.Mm)
    >>> energy.shape, energy.unit
    ((10, 20), Unit("erg / cm3"))
    """
    check_result(result, "dem", "intensity")
    resolved_only = _only_resolved(resolved_only, temperature_range)
    shape = result["status"].data.shape
    check_quantity("depth", depth, u.Mm, "50 * u.Mm")
    if depth.shape not in ((), shape) or not np.all(np.isfinite(depth) & (depth > 0)):
        raise wrong(
            ValueError,
            "depth",
            f"must be positive, and one number or one for each pixel, {shape}, but is of shape {depth.shape}"
            f" with values from {depth.min():.3g} to {depth.max():.3g}",
        )
    factor = (3 * const.k_B * u.MK * np.sqrt(u.cm**-5 / depth)).to_value(u.erg / u.cm**3)
    value, error, is_empty = energies(result, np.broadcast_to(factor, shape), temperature_range, resolved_only)
    content = f"thermal energy density{_words(result, temperature_range, resolved_only)}"
    return _cube(result, value, error, u.erg / u.cm**3, content, is_empty)


def synthesize(result: NDCollection, response: TemperatureResponse) -> NDCube:
    r"""
    Intensities predicted by a result in other channels, of any instrument.

    Parameters
    ----------
    result : `ndcube.NDCollection`
        From `sunpy_demreg.invert`, with its cubes ``"dem"`` and ``"intensity"``.
    response : `sunpy_demreg.TemperatureResponse`
        Response of the channels to predict, evaluated at the centers of the temperature bins.

    Returns
    -------
    `ndcube.NDCube`
        (channel, ...), in the unit of the response less cm5, usually DN / (pix s). The ``uncertainty`` is one
        standard deviation, as of `emission_measure`.

    Raises
    ------
    TypeError
        If ``result`` is not a result, or ``response`` not a response.
    ValueError
        If the result lacks one of those cubes, or its bins reach beyond the response.

    Notes
    -----
    The pixels are those of the result: the spatial resolution of the other instrument is not taken into account. Plasma
    outside the temperature bins is missing from the prediction and from its error.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> import sunpy_demreg as demreg
    >>> cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=16)[:, 40:50, 60:80]
    >>> response = demreg.TemperatureResponse.from_aia(cube)
    >>> edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K
    >>> result = demreg.invert(cube, response, edges)
    >>> aia_304 = demreg.TemperatureResponse.from_aia([304] * u.AA)
    >>> predicted = demreg.synthesize(result, aia_304)
    >>> predicted.shape, predicted.unit
    ((1, 10, 20), Unit("DN / (pix s)"))
    """
    check_result(result, "dem", "intensity")
    check_response(response)
    bins = bins_of(result)
    edges, (low, high) = bins.edges, response.temperature[[0, -1]]
    if not are_inside(edges, low, high):
        raise wrong(
            ValueError,
            "response",
            f"is tabulated from {low:.4g} to {high:.4g}, but the bins of `result` reach from {edges[0]:.4g} "
            f"to {edges[-1]:.4g}: extend its table",
        )
    K = bins.response_matrix(response)
    unit = response.response.unit / u.cm**5
    numbers = np.arange(1, len(K) + 1) * u.one
    wcs = prepend_axis(result["status"].wcs, numbers, "channel", "custom:channel")
    content = np.array([f"synthesized intensity, {channel}" for channel in response.channels])
    cube = _cube(result, contract(K, result["dem"].data), errors_of(result, K), unit, content, wcs=wcs)
    cube.meta = Meta(
        cube.meta | {"channels": np.array(response.channels)},
        axes={"channels": 0, "content": 0},
        data_shape=cube.data.shape,
    )
    return cube


def _only_resolved(resolved_only, temperature_range):
    return temperature_range is None if resolved_only is None else as_bool("resolved_only", resolved_only)


def _words(result, temperature_range, resolved_only):
    """The temperature range in words, for the metadata."""
    return f", {in_log_t(*log_range(result, temperature_range))}{', resolved bins' if resolved_only else ''}"


def _cube(result, value, error, unit, content, is_bad=False, wcs=None):
    is_bad = is_unsolved(result["status"].data) | is_bad
    return Cube(
        value,
        result["status"].wcs if wcs is None else wcs,
        unit=unit,
        uncertainty=StdDevUncertainty(error, copy=False),
        mask=pixel_mask(is_bad, value.shape),
        meta={"content": content, **meta_of_product(result.meta)},
    )
