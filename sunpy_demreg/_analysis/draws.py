"""Draws of the errors of a cube, to be inverted like data, and the percentiles of what comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import astropy.units as u
from astropy.nddata import StdDevUncertainty

from sunpy_demreg._channels.stacks import standard_deviation
from sunpy_demreg._channels.uncertainty import common_uncertainty
from sunpy_demreg._common.cube import Cube, Meta
from sunpy_demreg._common.dask_arrays import is_lazy
from sunpy_demreg._common.errors import imported, wrong
from sunpy_demreg._common.validators import a_kind, as_integer
from sunpy_demreg._common.wcs import prepend_axis, sky_wcs
from sunpy_demreg._inversion.calibration import as_channel_errors, as_common_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    from ndcube import NDCube

__all__ = ["monte_carlo", "percentiles"]

_VALUES = 2**22  # of a block: 32 MB
_DRAW = "custom:draw"


def monte_carlo(
    cube: NDCube,
    n: int = 100,
    *,
    seed: int | None = None,
    calibration_error: float | Mapping[str, float] | Literal["atomic"] | None = None,
    common_calibration_error: float | None = None,
) -> NDCube:
    """
    Draw the errors of a cube many times: an ensemble for `invert`, made when it is needed.

    Parameters
    ----------
    cube : `~ndcube.NDCube`
        From `prepare`, `prepare_series` or `region_spectrum`, or any other with axes (channel, ...) and uncertainties.
    n : int, optional
        How many draws.
    seed : int, optional
        Of the random numbers: the same one gives the same draws, whatever the blocks, workers and processors. By
        default a new one, which ``meta["seed"]`` tells.
    calibration_error : `float`, `dict`, or "atomic", optional
        As of `invert`: relative error of each channel, of its calibration or of its response, independent between
        channels and the same for all pixels of a draw.
    common_calibration_error : `float`, optional
        As of `invert`: a relative error that all channels and pixels of a draw share.

    Returns
    -------
    `~ndcube.NDCube`
        (channel, draw, ...), with Dask arrays: about the intensity, the noise of each pixel, and the errors that
        pixels have in common, of the dark level and of what `prepare` included. Uncertainties and masks are those of
        the cube. Whatever is computed from it has an axis of draws, whose `percentiles` are the errors.

    Raises
    ------
    TypeError, ValueError
        If ``cube`` is no cube of channels with uncertainties, or a number is out of range.

    Notes
    -----
    Relative errors are drawn as :math:`e^{f z}`, which keeps intensities positive. Noise is Gaussian. It is added to
    data that have noise already: the spread of an ensemble is that of repeated observations, its center is not.

    Errors of the response that depend on temperature, and the bias of the regularization, are not in it.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> import sunpy_demreg as demreg
    >>> cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=16)[:, 90:92, 50:53]
    >>> response = demreg.TemperatureResponse.from_aia(cube)
    >>> edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K
    >>> draws = demreg.monte_carlo(cube, 200, seed=1, calibration_error=0.1)
    >>> draws.shape
    (6, 200, 2, 3)
    >>> options = {"method": "lognormal", "calibration_error": 0.1}
    >>> ensemble = demreg.invert(draws, response, edges, **options)
    >>> low, median, high = demreg.percentiles(ensemble["dem"], [16, 50, 84]).data.compute()
    >>> low.shape, bool((low <= high).all())
    ((37, 2, 3), True)
    """
    da = imported("dask.array", "`monte_carlo`", "dask")
    labels = _checked(cube)
    n = as_integer("n", n, 1, 10**6, "of draws")
    if seed is None:
        seed = np.random.SeedSequence().entropy % 2**63
    seed = as_integer("seed", seed, 0, 2**63 - 1)
    meta = dict(cube.meta or {})
    errors = as_channel_errors(calibration_error, labels, meta) or {}
    shared = as_common_error(common_calibration_error, ()) or 0.0

    is_split = "common_error" in meta
    constant = u.Quantity(meta["common_error"]).to_value(cube.unit) if is_split else np.zeros(len(labels))
    relative = np.asarray(meta["common_relative_error"], dtype=float) if is_split else np.zeros(len(labels))
    sigma, unit = standard_deviation(cube)
    sigma = sigma * unit.to(cube.unit)
    common = common_uncertainty(cube) if is_split else 0.0
    noise = np.sqrt(np.maximum(sigma**2 - common**2, 0))

    # Those that all pixels have in common, from a stream of their own.
    z = np.random.default_rng((seed, 0)).standard_normal((n, 3, len(labels)))
    own = np.array([errors.get(label, 0.0) for label in labels])
    factors = own * z[:, 2] + shared * np.random.default_rng((seed, 1)).standard_normal((n, 1))
    fixed = {"seed": seed, "constant": constant, "relative": relative, "z": z[:, :2], "factors": factors}

    n_axes = cube.data.ndim - 1
    rows = cube.shape[1] if n_axes > 1 else 1
    per_row = max(1, cube.data.size // max(rows, 1))
    lengths = (max(1, min(rows, _VALUES // per_row)),) if n_axes > 1 else ()
    chunks = (-1, *lengths, *(-1,) * (n_axes - len(lengths)))
    values, noise = (
        each.rechunk(chunks) if is_lazy(each) else da.from_array(each, chunks) for each in (cube.data, noise)
    )
    in_block = max(1, _VALUES // int(np.prod(values.chunksize)))
    numbers = da.arange(n, chunks=in_block)
    pixels = tuple(range(2, 2 + n_axes))
    at = da.arange(rows, chunks=values.chunks[1]) if n_axes > 1 else da.zeros(1, dtype=int, chunks=1)
    row_axis = (2,) if n_axes > 1 else (99,)
    data = da.blockwise(
        _drawn,
        (0, 1, *pixels),
        values,
        (0, *pixels),
        noise,
        (0, *pixels),
        numbers,
        (1,),
        at,
        row_axis,
        concatenate=True,
        dtype=float,
        meta=np.empty((0,) * (n_axes + 2)),
        **fixed,
    )

    def repeated(array):
        lazy = array if is_lazy(array) else da.from_array(np.asarray(array), chunks)
        lazy = lazy.rechunk(chunks)[:, None]
        return da.broadcast_to(lazy, data.shape, chunks=data.chunks)

    return Cube(
        data,
        _with_draws(cube, n),
        unit=cube.unit,
        uncertainty=StdDevUncertainty(repeated(sigma), copy=False),
        mask=None if cube.mask is None else repeated(cube.mask),
        meta=Meta(meta | {"seed": seed}, axes=_moved_axes(cube.meta), data_shape=data.shape),
    )


def percentiles(cube: NDCube, levels: Sequence[float] = (16, 50, 84)) -> NDCube:
    """
    Percentiles of an ensemble, over its draws.

    Parameters
    ----------
    cube : `~ndcube.NDCube`
        With an axis of draws: of the result of `invert` on draws of `monte_carlo`, such as its ``"dem"``, or a product
        of it, such as `emission_measure`.
    levels : sequence of float, optional
        Percentages between 0 and 100, ascending: ``(16, 50, 84)`` and not ``(0.16, 0.5, 0.84)``. By default the median,
        and what is one standard deviation about it.

    Returns
    -------
    `~ndcube.NDCube`
        (percentile, ...), without the axis of draws, and lazy if the cube is. Draws without a value are left out; where
        none has one it is NaN, and masked.

    Raises
    ------
    TypeError, ValueError
        If ``cube`` has no axis of draws, or ``levels`` are none, or all are 1 at most, as fractions would be.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> import sunpy_demreg as demreg
    >>> cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=16)[:, 90:92, 50:53]
    >>> response = demreg.TemperatureResponse.from_aia(cube)
    >>> edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K
    >>> ensemble = demreg.invert(demreg.monte_carlo(cube, 50, seed=1), response, edges)
    >>> em = demreg.emission_measure(ensemble, [1, 2] * u.MK)
    >>> low, median, high = demreg.percentiles(em).data.compute()
    >>> median.shape
    (2, 3)
    """
    from ndcube import NDCube

    rule = "must be a cube with an axis of draws, such as the `['dem']` of an inverted ensemble of `monte_carlo`"
    if not isinstance(cube, NDCube):
        raise wrong(TypeError, "cube", f"{rule}, but is {a_kind(cube)}")
    axes = [i for i, kinds in enumerate(cube.array_axis_physical_types) if _DRAW in kinds]
    if not axes:
        raise wrong(ValueError, "cube", f"{rule}, but has only axes of {cube.array_axis_physical_types}")
    [axis] = axes
    if isinstance(levels, bool | str | bytes | u.Quantity):
        raise wrong(TypeError, "levels", f"must be percentages such as (16, 50, 84), but is {a_kind(levels)}")
    try:
        values = np.atleast_1d(np.asarray(levels, dtype=float))
    except (TypeError, ValueError) as err:
        raise wrong(TypeError, "levels", f"must be percentages such as (16, 50, 84), but is {a_kind(levels)}") from err
    if values.ndim != 1 or not values.size or not np.all((values > 0) & (values < 100)) or np.any(np.diff(values) <= 0):
        raise wrong(
            ValueError, "levels", f"must be ascending, between 0 and 100, such as (16, 50, 84), but is {levels}"
        )
    if values[-1] <= 1:
        cure = ", ".join(f"{value:.6g}" for value in 100 * values)
        raise wrong(
            ValueError,
            "levels",
            f"must be percentages, but {levels} would be fractions: multiply by 100 ({cure}), or, for percentages "
            "below 1, add another one, such as 50",
        )
    data = cube.data
    if is_lazy(data):
        data = data.rechunk({axis: -1})
        kept = [chunks for i, chunks in enumerate(data.chunks) if i != axis]
        lazily = {"dtype": float, "drop_axis": axis, "new_axis": 0, "chunks": ((values.size,), *kept)}
        data = data.map_blocks(_percentiles, axis=axis, levels=values, meta=np.empty((0,) * cube.data.ndim), **lazily)
    else:
        data = _percentiles(np.asarray(data), axis, values)
    rest = cube[(slice(None),) * axis + (0,)].wcs if cube.data.ndim > 1 else None
    content = {key: value for key, value in (cube.meta or {}).items() if key in ("content", "observation")}
    return Cube(
        data,
        prepend_axis(rest, values * u.one, "percentile", "custom:percentile"),
        unit=cube.unit,
        mask=np.isnan(data),
        meta=content,
    )


def _checked(cube):
    """The names of the channels."""
    from ndcube import NDCube

    rule = "must be a cube of channels with uncertainties, as `prepare` or `region_spectrum` returns"
    if not isinstance(cube, NDCube):
        raise wrong(TypeError, "cube", f"{rule}, but is {a_kind(cube)}")
    if cube.unit is None or cube.uncertainty is None:
        raise wrong(ValueError, "cube", f"{rule}, but has no {'unit' if cube.unit is None else 'uncertainty'}")
    labels = (cube.meta or {}).get("channels")
    if np.ndim(labels) != 1 or len(labels) != cube.shape[0]:
        raise wrong(ValueError, "cube", f"{rule}, but its `meta` does not name its channels")
    return tuple(map(str, labels))


def _drawn(values, noise, draws, rows, *, seed, constant, relative, z, factors):
    """A block of draws: (channel, draw, ...), each row of pixels of each draw with a stream of its own."""
    answer = np.empty((values.shape[0], len(draws), *values.shape[1:]))
    has_rows = values.ndim > 2

    def of_channels(array, row):
        array = array[:, row] if array.ndim > 1 and has_rows else array  # of the times of a series
        array = array.reshape(len(values), -1)[:, :1] if array.ndim > 1 else array
        return array.reshape((-1,) + (1,) * (values.ndim - 1 - has_rows))

    spread = np.where(np.isfinite(noise), noise, 0.0)
    for i, draw in enumerate(draws):
        for j, row in enumerate(rows):
            here = (slice(None), j) if has_rows else slice(None)
            rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence((seed, 2, int(draw), int(row)))))
            value = values[here]
            off = of_channels(constant, row) * z[draw, 0].reshape((-1,) + (1,) * (value.ndim - 1))
            log = of_channels(relative, row) * z[draw, 1].reshape((-1,) + (1,) * (value.ndim - 1))
            log = log + factors[draw].reshape((-1,) + (1,) * (value.ndim - 1))
            scaled = value + np.maximum(value, 0) * np.expm1(log)
            into = (slice(None), i, j) if has_rows else (slice(None), i)
            answer[into] = scaled + off + spread[here] * rng.standard_normal(value.shape)
    return answer


def _percentiles(values, axis, levels):
    """As `numpy.nanpercentile`, which takes a pixel at a time where some are NaN."""
    ordered = np.sort(np.moveaxis(values, axis, 0), axis=0)  # NaN last
    last = np.count_nonzero(~np.isnan(ordered), axis=0) - 1
    place = np.maximum(last, 0) * (levels.reshape((-1,) + (1,) * last.ndim) / 100)
    below = np.floor(place).astype(int)
    low, high = (
        np.take_along_axis(ordered, each, axis=0) for each in (below, np.minimum(below + 1, np.maximum(last, 0)))
    )
    return low + (place - below) * (high - low)


def _with_draws(cube, n):
    """The WCS with the draws as the second axis."""
    wavelengths = u.Quantity(cube.axis_world_coords(0)[0])
    kind = ("wavelength", "em.wl") if wavelengths.unit.is_equivalent(u.m) else ("channel", "custom:channel")
    draws = prepend_axis(sky_wcs(cube.wcs), np.arange(1, n + 1) * u.one, "draw", _DRAW)
    return prepend_axis(draws, wavelengths, *kind)


def _moved_axes(meta):
    """The axes of metadata, those of pixels one further."""
    axes = getattr(meta, "axes", {"channels": 0})
    return {key: tuple(int(a) + (a > 0) for a in np.atleast_1d(of)) for key, of in axes.items()}
