"""How regions evolve in time: emission measure, temperature and energy of each step."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

import astropy.units as u
from astropy.time import Time
from ndcube import NDCube

from sunpy_demreg._analysis.spectrum import masks_in, region_spectrum
from sunpy_demreg._analysis.tracking import tracked
from sunpy_demreg._common.dates import mean_date
from sunpy_demreg._common.errors import ArgumentError, wrong
from sunpy_demreg._common.regions import NoPixelError, celestial_frame, is_mask, named_regions
from sunpy_demreg._common.validators import a_kind, as_bool, as_keywords, check_list, check_quantity
from sunpy_demreg._common.warnings import DataWarning, UnsolvedWarning, warn
from sunpy_demreg._common.wcs import sky_wcs, times_of
from sunpy_demreg._engines.base.status import Status
from sunpy_demreg._inversion.invert import invert
from sunpy_demreg._results.products import emission_measure, mean_temperature, thermal_energy_density
from sunpy_demreg.response import TemperatureResponse
from sunpy_demreg.response._response import check_response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from astropy.timeseries import TimeSeries

    from sunpy_demreg._common.typing import Regions

__all__ = ["region_evolution"]

_WITH_ERROR = {
    "emission_measure": u.cm**-5,
    "volume_emission_measure": u.cm**-3,
    "mean_temperature": u.K,
    "thermal_energy": u.erg,
}
_SAME_TIME = 60  # s
_N_TOLD = 3  # times of each region that a warning names
_UNITS = {f"{name}{end}": unit for name, unit in _WITH_ERROR.items() for end in ("", "_error")}
_UNITS |= {"area": u.cm**2, "fraction": u.one, "chi_squared": u.one}


def region_evolution(
    series: NDCube | Sequence[NDCube],
    region: Regions,
    temperature_bin_edges: u.Quantity,
    *,
    response: TemperatureResponse | None = None,
    temperature_range: u.Quantity | None = None,
    depth: u.Quantity | None = None,
    track: bool = False,
    bad_pixels: Literal["omit", "mask"] = "omit",
    **options: Any,
) -> TimeSeries:
    """
    Emission measure, temperature and thermal energy of regions in time, with errors.

    Parameters
    ----------
    series : `~ndcube.NDCube`, or list of these
        From `prepare_series`; or cubes from `prepare` in order of time, each on a grid of its own. Of Dask arrays only
        the pixels of the regions are computed, one step after the other.
    region : see `region_spectrum`
        Regions are averaged, and then inverted.
    temperature_bin_edges : `~astropy.units.Quantity`
        As of `invert`.
    response : `TemperatureResponse`, optional
        By default that of AIA at each step (`TemperatureResponse.from_aia`), which takes care of the degradation over
        months and years.
    temperature_range : `~astropy.units.Quantity`, optional
        As of `emission_measure`: by default all bins that are resolved.
    depth : `~astropy.units.Quantity`, optional
        Length of the plasma along the line of sight, for the energy; by default the square root of the area.
    track : bool, optional
        Whether regions, which must then be coordinates on the disk, follow the rotation of the Sun, by the differential
        rotation of `sunpy.coordinates.propagate_with_solar_surface`, from the time of their coordinates. By default
        they keep their place in the image.
    bad_pixels : {"omit", "mask"}, optional
        As of `region_spectrum`. ``"omit"`` is right for a few bad pixels, the same plasma in all channels being worth
        more than each of them. ``"mask"`` is right where times lack a channel (``max_missing_channels`` of
        `prepare_series`), of which ``"omit"`` would leave no pixel, and where the brightest pixels of a flare are
        saturated in one channel, without which the region would be a different one.
    **options
        Those of `invert`, such as ``method="lognormal"`` and ``calibration_error=0.1``.

    Returns
    -------
    `~astropy.timeseries.TimeSeries`
        Columns "emission_measure" (cm-5, the mean), "volume_emission_measure" (cm-3), "mean_temperature" (K) and
        "thermal_energy" (erg), each with its "..._error"; "area" (cm2), "fraction" of the pixels that count,
        "chi_squared". Of a list or dict of regions the columns have a second axis, along which ``meta["region"]`` has
        their names: ``series["emission_measure"][:, series.meta["region"].index("core")]``. Write them with
        ``series.write("evolution.ecsv")``, which keeps units and names; CSV has no columns of several regions.
        Areas, and what follows from them, are those of the pixels that count. At a time at which a region holds no
        pixel, such as that of a level before the start of a flare, or one that has rotated out of sight, its values are
        NaN, and "fraction" is zero.

    Raises
    ------
    TypeError, ValueError
        As `region_spectrum` and `invert` do, where a region must hold a pixel at one of the times; and if cubes have no
        date or are not in order of time.

    Warns
    -----
    DataWarning
        If at some times all pixels of a region are left out, because each lacks a channel.
    UnsolvedWarning
        If the average of a region could not be inverted at some times.

    Notes
    -----
    The thermal energy is `thermal_energy_density` times area and depth, an upper limit. Errors are those of the result,
    of the kind that ``dem_error`` of `invert` names; those of area and depth are not included.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> import sunpy_demreg as demreg
    >>> maps = demreg.sample.aia_maps()  # of one time; add more
    >>> cubes = [demreg.prepare(maps, n_sample=16)]
    >>> edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K
    >>> bright = {171: 1500 * u.DN / u.pix / u.s}
    >>> options = {"method": "lognormal", "calibration_error": 0.1}
    >>> series = demreg.region_evolution(cubes, bright, edges, **options)
    >>> series["volume_emission_measure"].unit, len(series)
    (Unit("1 / cm3"), 1)
    """
    from astropy.timeseries import TimeSeries

    cubes, times = _steps(series)
    track = as_bool("track", track)
    if response is not None:
        check_response(response)
    if depth is not None:
        check_quantity("depth", depth, u.Mm, "50 * u.Mm", shape=())
    as_keywords(None, options, invert, without=("out", "outputs", "emission_measure_ranges"))
    regions = named_regions(region)
    of_inversion = response, temperature_bin_edges, options
    table, not_seen, told = [], [], _Told(bad_pixels)
    for k, (cube, time) in enumerate(zip(cubes, times, strict=True)):
        here = [each._replace(region=_of_time(each, k, len(times))) for each in regions]
        spectra, errors = _spectra(cube, time, here, track, bad_pixels)
        told.time = time.utc.isot[:19]
        table.append(
            [_values(spectra.get(each.name), of_inversion, temperature_range, depth, told) for each in regions]
        )
        not_seen.append(errors)
    for each in regions:
        if all(each.name in errors for errors in not_seen):
            raise not_seen[0][each.name]
    told.warn()
    columns = {key: u.Quantity([u.Quantity([one[key] for one in row]) for row in table]) for key in _UNITS}
    if regions[0].argument == "region":  # one that was not in a list or dict
        columns = {key: column[:, 0] for key, column in columns.items()}
    names = [each.name for each in regions]
    evolution = TimeSeries(time=times, data=columns, meta={"region": names, "track": track})
    if regions[0].argument != "region":
        for key in columns:
            evolution[key].info.description = f"of the regions {', '.join(names)}"
    return evolution


class _Told:
    """What went wrong at which times, to be told of all together."""

    def __init__(self, bad_pixels):
        self.time, self._empty, self._unsolved = "", {}, {}
        self._omits = bad_pixels == "omit"

    def has_no_channel(self, name):
        """A region of which no pixel is left; or no channel, where pixels are not left out."""
        if self._omits:
            self._empty.setdefault(name, []).append(self.time)
        else:
            self.is_unsolved(name, "no channel has a mean")

    def is_unsolved(self, name, reason):
        self._unsolved.setdefault(f"{name} ({reason})", []).append(self.time)

    def warn(self):
        if self._empty:
            warn(
                DataWarning,
                f": each pixel has a channel that is missing or saturated, so that none is left and values are NaN, of "
                f"{_words(self._empty)}; with `bad_pixels='mask'` that channel is left out instead",
                "region",
            )
        if self._unsolved:
            warn(
                UnsolvedWarning,
                f": means could not be inverted, and values are NaN: {_words(self._unsolved)}",
                "region",
            )


def _words(found):
    return "; ".join(
        f"{what} at {', '.join(times[:_N_TOLD])}{f' and {len(times) - _N_TOLD} more times' * (len(times) > _N_TOLD)}"
        for what, times in found.items()
    )


def _steps(series):
    """The cube of each time, and the times."""
    rule = "must be a cube of `prepare_series`, or a list of cubes of `prepare`"
    if isinstance(series, NDCube):
        times = times_of(sky_wcs(series.wcs)) if series.data.ndim == 4 else None
        if times is None:
            raise wrong(ValueError, "series", f"{rule}, but has the shape {series.shape}, without times")
        return [series[:, k] for k in range(len(times))], times
    if not isinstance(series, list | tuple):
        raise wrong(TypeError, "series", f"{rule}, but is {a_kind(series)}")
    check_list("series", series, "of cubes")
    dates = []
    for i, cube in enumerate(series):
        date = mean_date((cube.meta or {}).get("date")) if isinstance(cube, NDCube) else None
        if date is None:
            raise wrong(
                TypeError, f"series[{i}]", f"must be a cube of `prepare`, with `meta['date']`, but is {a_kind(cube)}"
            )
        dates.append(date)
    times = Time(dates)
    if np.any(np.diff(times.jd) <= 0):
        raise wrong(ValueError, "series", "must be in order of time: sort the cubes by date")
    return list(series), times


def _of_time(named, k, n_times):
    """A region at one of the times, which a mask may have as its first axis."""
    region = named.region
    if not is_mask(region) or np.ndim(region) < 3:
        return region
    if np.ndim(region) > 3 or len(region) != n_times:
        raise wrong(
            ValueError, named.argument, f"is a mask of the shape {np.shape(region)}, but `series` has {n_times} times"
        )
    return region[k]


def _spectra(cube, time, regions, track, bad_pixels):
    """The spectra of regions at one time, and the errors of those that hold no pixel then, both by name."""
    errors = {}
    if track:
        regions, errors = _all_tracked(regions, *_frames(cube, time))
    try:
        masks, empty = masks_in(cube, regions)
        with warnings.catch_warnings():  # the column "fraction" tells it of each step
            warnings.filterwarnings("ignore", ".*pixels are left out because", DataWarning)
            spectra = region_spectrum(cube, masks, bad_pixels=bad_pixels) if masks else None
    except ArgumentError as err:
        raise err.renamed("series") if err.argument == "cube" else err from None
    return {name: spectra[:, i : i + 1] for i, name in enumerate(masks)}, errors | empty


def _all_tracked(regions, frame, of_image):
    """Those that are seen, moved; and the errors of others."""
    moved, errors = [], {}
    for each in regions:
        try:
            moved.append(each._replace(region=tracked(each.region, frame, of_image, each.argument)))
        except NoPixelError as err:
            errors[each.name] = err.with_traceback(None)
    return moved, errors


def _frames(cube, time):
    """
    The frame at the time of an image, and that of its coordinates.

    In a series these are those of its first image, and the others are written in the same, as seen from Earth.
    """
    from sunpy.coordinates import get_earth

    of_image = celestial_frame(sky_wcs(cube.wcs))
    if getattr(of_image, "observer", None) is None or getattr(of_image, "obstime", None) is None:
        raise wrong(ValueError, "track", "needs images whose coordinates have an observer and a time: pass False")
    if abs((of_image.obstime - time).to_value(u.s)) < _SAME_TIME:
        return of_image, of_image
    return of_image.replicate_without_data(obstime=time, observer=get_earth(time)), of_image


def _values(spectrum, of_inversion, temperature_range, depth, told):
    """The values of one region at one time, by name."""
    values = {name: np.nan * unit for name, unit in _UNITS.items()} | {"fraction": 0.0 * u.one}
    if spectrum is None:
        return values
    values["fraction"] = spectrum.meta["fraction"][0] * u.one
    area = spectrum.meta["area"][0] if "area" in spectrum.meta else np.nan * u.cm**2
    values["area"] = area
    name = str(spectrum.meta["region"][0])
    if np.all(spectrum.mask):
        told.has_no_channel(name)
        return values
    response, edges, options = of_inversion
    response = TemperatureResponse.from_aia(spectrum) if response is None else response
    with warnings.catch_warnings():  # which names neither the region nor the time
        warnings.simplefilter("ignore", UnsolvedWarning)
        result = invert(spectrum, response, edges, **options)
    status = Status(int(result["status"].data[0]))
    if status & Status.UNSOLVED:
        told.is_unsolved(name, status.name)
    values["chi_squared"] = result["chi_squared"].data[0] * u.one

    def put(name, cube, factor):
        for end, array in (("", cube.data), ("_error", cube.uncertainty.array)):
            values[name + end] = (array[0] * cube.unit * factor).to(_UNITS[name])

    em = emission_measure(result, temperature_range)
    put("emission_measure", em, 1)
    put("volume_emission_measure", em, area)
    put("mean_temperature", mean_temperature(result, temperature_range), 1)
    depth = np.sqrt(area) if depth is None else depth
    if np.isfinite(depth):
        put("thermal_energy", thermal_energy_density(result, depth, temperature_range), area * depth)
    return values
