"""Which bins are resolved: where the DEM is that of plasma of the bin's temperature, and where channels see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import astropy.units as u

from sunpy_demreg._common.cube import Cube
from sunpy_demreg._common.dask_arrays import computed
from sunpy_demreg._common.validators import as_number
from sunpy_demreg._common.wcs import prepend_axis
from sunpy_demreg._engines.base.options import MAX_WIDTH
from sunpy_demreg._engines.base.status import is_unsolved
from sunpy_demreg._results.checks import bins_of, check_result
from sunpy_demreg._results.cubes import pixel_mask
from sunpy_demreg._results.errors import response_of, solve_again
from sunpy_demreg._results.settings import meta_of_product

if TYPE_CHECKING:
    from ndcube import NDCollection, NDCube

__all__ = ["is_resolved", "known_displaced", "known_resolved", "seen_bins"]

_MIN_RESPONSE = 0.05


def is_resolved(result: NDCollection, *, max_width: float = MAX_WIDTH, min_response: float = _MIN_RESPONSE) -> NDCube:
    r"""
    Which temperature bins of each pixel are resolved: where the DEM is that of plasma of this temperature.

    Parameters
    ----------
    result : `ndcube.NDCollection`
        From `sunpy_demreg.invert`, with its cube ``"intensity"``.
    max_width : `float`, optional
        Kernels that are this wide or wider, in dex, tell nothing of a bin.
    min_response : `float`, optional
        Fraction of the peak of its temperature response that some channel must have at the center of a bin.

    Returns
    -------
    `ndcube.NDCube`
        (temperature, ...), of bool: true where a bin is resolved. Masked, and false, where there is no DEM. For a lazy
        result it is lazy too.

    Raises
    ------
    TypeError
        If ``result`` is not a result.
    ValueError
        If it lacks that cube, or a threshold is not such a number.

    See Also
    --------
    sunpy_demreg.invert : with ``outputs=(..., "is_resolved")``, the same during the inversion itself, with the default
        thresholds.

    Notes
    -----
    The rule is the same for all methods. A bin j is resolved where

    * the center of its kernel is no farther from the center of the bin, in log T, than the kernel is wide;
    * the kernel is narrower than ``max_width``;
    * at the center of the bin, the channel that sees it best has more than ``min_response`` of the peak of its response
      (per unit emission measure, over all temperatures of its table). Channels that were left out in a pixel do not
      count there.

    The kernel of a bin is what its DEM is made of. With the resolution matrix R it is :math:`\xi_j = \sum_k R_{jk}
    \xi_k` but for noise: plasma in bin k contributes :math:`R_{jk} \xi_k`, row j of the matrix times the DEM that was
    found. (A column of R, whose width is the ``"temperature_resolution"``, tells where plasma of one bin would be put:
    of little use for a bin that has none, and other for a DEM per kelvin than for one per dex. The contributions are
    the same for both.) Its center is the mean of :math:`\log T`, weighted by the square of the contributions, as in
    Backus & Gilbert (1970); its width the full width at half maximum of the Gaussian with the same spread, including
    the width of the bin itself. The mean, rather than the maximum, moves steadily with the data, and squares need no
    contribution to be positive.

    In the quiet Sun and in active regions, six AIA channels see the plasma of a few MK 100 times better than that
    of 15 MK: what is found above log T = 7 is made of what is seen at 6, and is not resolved. In a flare it is made of
    itself, and is. A bin that is held at zero, with ``positivity="constrain"``, may be resolved.

    So the rule tells where the plasma is that a bin shows, not whether there is any, which is for the error to tell.
    With ``method="lognormal"``, hot loops beside brighter plasma of 2 MK are partly not resolved, since some of it
    has a part in their hot bins, although the error of their emission measure is small; and some faint pixels are
    resolved, with errors as large as the value.

    References
    ----------
    Backus & Gilbert 1970, Phil. Trans. R. Soc. A, 266, 123.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> import sunpy_demreg as demreg
    >>> cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=16)[:, 40:50, 60:80]
    >>> response = demreg.TemperatureResponse.from_aia(cube)
    >>> edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K
    >>> result = demreg.invert(cube, response, edges, method="lognormal")
    >>> resolved = demreg.is_resolved(result)
    >>> np.log10(edges[:-1][resolved.data[:, 5, 10]].value).round(2)
    array([6.07, 6.12, 6.17, 6.22, 6.27, 6.32, 6.37, 6.42, 6.47, 6.52, 6.57,
           6.62, 6.72])
    """
    check_result(result, "status")
    max_width = as_number("max_width", max_width, above=0, of="of dex")
    min_response = as_number("min_response", min_response, least=0, below=1)
    if "is_resolved" in result and (max_width, min_response) == (MAX_WIDTH, _MIN_RESPONSE):
        return result["is_resolved"]
    check_result(result, "intensity")
    seen = seen_bins(response_of(result), bins_of(result), min_response)
    data = solve_again(result, ("is_resolved",), seen=seen, max_width=max_width).is_resolved > 0.5
    status = result["status"]
    return Cube(
        data,
        prepend_axis(status.wcs, bins_of(result).centers, "temperature", "phys.temperature"),
        unit=u.dimensionless_unscaled,
        mask=pixel_mask(is_unsolved(status.data), data.shape),
        meta={
            "content": "resolved bins",
            "max_width": max_width,
            "min_response": min_response,
            **meta_of_product(result.meta),
        },
    )


def seen_bins(response, bins, min_response=_MIN_RESPONSE):
    """Which bins each channel sees, (n, m)."""
    table = response.response.value
    return response.at(bins.centers).value > min_response * table.max(axis=1, keepdims=True)


def known_resolved(result, pixel=None):
    """
    Which bins are resolved, (m, ...) or (m,) of a pixel, of pictures; None where the result does not hold what tells.

    That of a lazy result is computed.
    """
    here = (slice(None), *(() if pixel is None else pixel))
    if "is_resolved" in result:
        return computed(result["is_resolved"].data[here])[0]
    if not _can_be_repeated(result):
        return None
    seen = seen_bins(response_of(result), bins_of(result))
    [flags] = computed(solve_again(result, ("is_resolved",), pixel=pixel, seen=seen).is_resolved)
    resolved = flags > 0.5
    return resolved if pixel is None else resolved.reshape(len(resolved))


def known_displaced(result, pixel):
    """
    Of which bins of a pixel the plasma would be put elsewhere, (m,): None where the result does not hold what tells.

    There the width of the kernel, a column of the resolution matrix, is not that of a peak at the bin: its maximum is
    more than a bin, and a quarter of the width, away.
    """
    if not _can_be_repeated(result):
        return None
    matrix = solve_again(result, ("dem", "resolution_matrix"), pixel=pixel).resolution_matrix
    [matrix, width] = computed(matrix, result["temperature_resolution"].data[(slice(None), *pixel)])
    log_t = np.log10(bins_of(result).centers.value)
    n = len(log_t)
    peak = np.argmax(np.reshape(matrix, (n, n)), axis=0)
    is_away = np.abs(peak - np.arange(n)) > 1
    return is_away & (np.abs(log_t[peak] - log_t) > np.asarray(width) / 4)


def _can_be_repeated(result):
    """Whether the inversion can be repeated from what the result holds."""
    is_kept = "weight" in result.meta or result.meta.get("weighting") != "given"
    return "intensity" in result and is_kept
