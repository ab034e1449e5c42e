"""Products of a single pixel: its EM loci, covariance and resolution matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

import astropy.units as u

from sunpy_demreg._common.constants import DEM_UNIT, EM_UNIT
from sunpy_demreg._common.dask_arrays import computed
from sunpy_demreg._common.errors import wrong
from sunpy_demreg._common.validators import check_choice
from sunpy_demreg._common.warnings import UnsolvedWarning, warn
from sunpy_demreg._engines.base.status import Status
from sunpy_demreg._results.checks import as_pixel, bins_of, check_result
from sunpy_demreg._results.errors import response_of, solve_again, with_common_error

if TYPE_CHECKING:
    from ndcube import NDCollection

    from sunpy_demreg._common.typing import Pixel

__all__ = ["covariance", "em_loci", "observed_at", "resolution_matrix"]


def em_loci(result: NDCollection, pixel: Pixel) -> u.Quantity:
    r"""
    EM loci of a pixel: the emission measure of an isothermal plasma that alone explains one channel.

    Parameters
    ----------
    result : `ndcube.NDCollection`
        From `sunpy_demreg.invert`, with its cube ``"intensity"``.
    pixel : tuple of `int`, `~astropy.coordinates.SkyCoord` or `str`
        Array index, in the order of the cubes' last axes: (y, x) for a map; or a coordinate in it; or the name of a
        region, in the result of `region_spectrum`.

    Returns
    -------
    `astropy.units.Quantity`
        (channel, temperature bin), in cm-5: :math:`g_i / R_i(T_j)`; of an intensity at or below zero, that of its
        uncertainty; NaN for a channel that was left out in this pixel. No plasma of one temperature lies above any
        of them, and one that explains all channels lies where they cross. Divided by the widths of the bins in K, the
        DEM of a bin that explains the channel alone.

    Raises
    ------
    TypeError
        If ``result`` is not a result, or ``pixel`` something else than whole numbers.
    ValueError
        If the result lacks that cube, the pixel has the wrong number of indices, or was not solved.
    IndexError
        If it lies outside.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> import sunpy_demreg as demreg
    >>> cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=16)[:, 40:50, 60:80]
    >>> response = demreg.TemperatureResponse.from_aia(cube)
    >>> edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K
    >>> result = demreg.invert(cube, response, edges)
    >>> loci = demreg.em_loci(result, (5, 10))
    >>> loci.shape, loci.unit
    ((6, 37), Unit("1 / cm5"))
    >>> lowest = loci.min(axis=0)  # no isothermal plasma is above it
    """
    check_result(result, "intensity", "status")
    intensity, error, is_omitted = observed_at(result, as_pixel(result, pixel))
    locus = np.where(is_omitted, np.nan, np.where(intensity > 0, intensity, error))
    bins = bins_of(result)
    return locus[:, None] / bins.response_matrix(response_of(result)) * bins.emission_per_dem * EM_UNIT


def observed_at(result, pixel):
    """Intensity and uncertainty of each channel, and whether it was left out."""
    cube = result["intensity"]
    here = (slice(None), *pixel)
    omitted = result["omitted_channels"].data[pixel] if "omitted_channels" in result else 0
    intensity, error, omitted = computed(cube.data[here], cube.uncertainty.array[here], omitted)
    is_omitted = np.array([bool(int(omitted) >> i & 1) for i in range(len(intensity))])
    return np.asarray(intensity), np.asarray(error), is_omitted


def covariance(
    result: NDCollection, pixel: Pixel, dem_error: Literal["noise", "posterior"] | None = None
) -> u.Quantity:
    r"""
    Covariance of the errors of the DEM of a pixel.

    Parameters
    ----------
    result : `ndcube.NDCollection`
        From `sunpy_demreg.invert`, with its cube ``"intensity"``.
    pixel : tuple of `int`, `~astropy.coordinates.SkyCoord` or `str`
        Array index, in the order of the cubes' last axes: (y, x) for a map; or a coordinate in it; or the name of a
        region, in the result of `region_spectrum`.
    dem_error : {"noise", "posterior"}, optional
        Of the propagated noise, or of the DEMs that prior and data leave possible, which only ``method="lognormal"``
        has. By default the one that the errors of the result are of.

    Returns
    -------
    `astropy.units.Quantity`
        (temperature, temperature), in cm-10 K-2, of the noise :math:`K^\dagger K^{\dagger\mathsf T}`. By default its
        diagonal is the square of the ``uncertainty`` of ``result["dem"]``. An error of the calibration that all
        channels share is in it.

    Raises
    ------
    TypeError, ValueError, IndexError
        As `em_loci` does.

    Warns
    -----
    UnsolvedWarning
        If it would be that of the posterior, but the iteration did not end in this pixel (``Status.NOT_CONVERGED``):
        then its DEM is another, and what is returned is of the noise.

    See Also
    --------
    sunpy_demreg.invert : with ``outputs=(..., "covariance")``, those of many pixels at once.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> import sunpy_demreg as demreg
    >>> cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=16)[:, 40:50, 60:80]
    >>> response = demreg.TemperatureResponse.from_aia(cube)
    >>> edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K
    >>> result = demreg.invert(cube, response, edges)
    >>> covariance = demreg.covariance(result, (5, 10))
    >>> covariance.shape, covariance.unit
    ((37, 37), Unit("1 / (K2 cm10)"))
    >>> error = result["dem"].uncertainty.array[:, 5, 10]
    >>> np.allclose(np.sqrt(np.diag(covariance.value)), error)
    True
    """
    check_choice("dem_error", dem_error, ("noise", "posterior", None))
    check_result(result, meta=("method",))
    if dem_error == "posterior" and result.meta["method"] != "lognormal":
        raise wrong(
            ValueError,
            "dem_error",
            f"'posterior' needs the prior of method='lognormal', but `result` is of method={result.meta['method']!r}: "
            "leave it out",
        )
    matrix = _matrix(result, pixel, "covariance", dem_error)
    status = Status(int(computed(result["status"].data[as_pixel(result, pixel)])[0]))
    if status & Status.NOT_CONVERGED and (dem_error or result.meta.get("dem_error")) == "posterior":
        warn(
            UnsolvedWarning,
            "is NOT_CONVERGED, so that its DEM has no posterior: the covariance is that of the noise of the "
            "constrained emission measure, as with dem_error='noise'",
            "pixel",
        )
    return matrix * DEM_UNIT**2


def resolution_matrix(result: NDCollection, pixel: Pixel) -> u.Quantity:
    r"""
    Resolution matrix of a pixel: how the inversion recovers plasma in each temperature bin.

    Parameters
    ----------
    result : `ndcube.NDCollection`
        From `sunpy_demreg.invert`, with its cube ``"intensity"``.
    pixel : tuple of `int`, `~astropy.coordinates.SkyCoord` or `str`
        Array index, in the order of the cubes' last axes: (y, x) for a map; or a coordinate in it; or the name of a
        region, in the result of `region_spectrum`.

    Returns
    -------
    `astropy.units.Quantity`
        (temperature, temperature), without a unit: :math:`K^\dagger A`. Column j is the DEM recovered from noise-free
        plasma with a DEM of one in bin j alone, at the weight and λ of the pixel. The ideal is the identity matrix.

    Raises
    ------
    TypeError, ValueError, IndexError
        As `em_loci` does.

    See Also
    --------
    sunpy_demreg.invert : with ``outputs=(..., "resolution_matrix")``, those of many pixels at once.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> import sunpy_demreg as demreg
    >>> cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=16)[:, 40:50, 60:80]
    >>> response = demreg.TemperatureResponse.from_aia(cube)
    >>> edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K
    >>> result = demreg.invert(cube, response, edges)
    >>> matrix = demreg.resolution_matrix(result, (5, 10))
    >>> matrix.shape, matrix.unit
    ((37, 37), Unit(dimensionless))
    >>> peak = int(matrix[:, 15].argmax())  # where plasma of bin 15 is put
    >>> peak
    15
    """
    return _matrix(result, pixel, "resolution_matrix") * u.one


def _matrix(result, pixel, output, dem_error=None):
    check_result(result, "intensity", "status")
    pixel = as_pixel(result, pixel)
    solution = solve_again(result, ("dem", output), pixel=pixel, dem_error=dem_error)
    matrix = getattr(with_common_error(solution, result.meta.get("common_calibration_error")), output)
    return matrix.reshape(2 * matrix.shape[:1])
