"""How regions evolve in time: emission measure, temperature and energy of each step."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

import astropy.units as u
from astropy.time import Time
from ndcube import NDCube

from sunpy_demreg._analysis.spectrum import region_spectrum
from sunpy_demreg._analysis.tracking import tracked
from sunpy_demreg._common.dates import mean_date
from sunpy_demreg._common.errors import ArgumentError, wrong
from sunpy_demreg._common.regions import celestial_frame, is_point
from sunpy_demreg._common.validators import a_kind, as_bool, as_keywords, check_list, check_quantity
from sunpy_demreg._common.warnings import DataWarning
from sunpy_demreg._common.wcs import sky_wcs, times_of
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
        rotation of `sunpy.coordinates.propagate_with_solar_surface`, from the time of their coordinates. Where they are
        no longer seen, or outside the image, values are NaN. By default they keep their place in the image.
    bad_pixels : {"omit", "mask"}, optional
        As of `region_spectrum`.
    **options
        Those of `invert`, such as ``method="lognormal"`` and ``calibration_error=0.1``.

    Returns
    -------
    `~astropy.timeseries.TimeSeries`
        Columns "emission_measure" (cm-5, the mean), "volume_emission_measure" (cm-3), "mean_temperature" (K) and
        "thermal_energy" (erg), each with its "..._error"; "area" (cm2), "fraction" of the pixels that count,
        "chi_squared". Of a list or dict of regions the columns have a second axis, and ``meta["region"]`` their names.
        Areas, and what follows from them, are those of the pixels that count.

    Raises
    ------
    TypeError, ValueError
        As `region_spectrum` and `invert` do, and if cubes have no date or are not in order of time.

    Notes
    -----
    The thermal energy is `thermal_energy_density` times area and depth, an upper limit. Errors are those of the result,
    of the kind that ``dem_error`` of `invert` names; those of area and depth are not included.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> import sunpy_demreg as demreg
    >>> cubes = [demreg.prepare(demreg.sample.aia_maps(), n_sample=16)]  # of one time; add more
    >>> edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K
    >>> bright = {171: 1500 * u.DN / u.pix / u.s}
    >>> series = demreg.region_evolution(cubes, bright, edges, method="lognormal", calibration_error=0.1)
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
    named, is_one = _named(region)
    of_inversion = response, temperature_bin_edges, options
    table = []
    for cube, time in zip(cubes, times, strict=True):
        spectra = [_spectrum(cube, time, each, name, track, bad_pixels) for name, each in named]
        table.append([_values(each, of_inversion, temperature_range, depth) for each in spectra])
    columns = {key: u.Quantity([u.Quantity([one[key] for one in row]) for row in table]) for key in _UNITS}
    columns = {key: column[:, 0] if is_one else column for key, column in columns.items()}
    return TimeSeries(time=times, data=columns, meta={"region": [name for name, _ in named], "track": track})


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


def _named(region):
    """Pairs of the name of a region and itself, and whether it was not in a list or dict."""
    if isinstance(region, Mapping) and region and all(isinstance(key, str) for key in region):
        return list(region.items()), False
    if isinstance(region, list) and region and not all(is_point(each) for each in region):
        return [(f"region {i + 1}", each) for i, each in enumerate(region)], False
    return [("region", region)], True


def _spectrum(cube, time, region, name, track, bad_pixels):
    """The spectrum of one region at one time; None if it is not seen any longer."""
    if track:
        region = tracked(region, *_frames(cube, time), "region" if name == "region" else f"region[{name!r}]")
        if region is None:
            return None
    try:
        with warnings.catch_warnings():  # the column "fraction" tells it of each step
            warnings.filterwarnings("ignore", ".*pixels are left out because", DataWarning)
            return region_spectrum(cube, {name: region}, bad_pixels=bad_pixels)
    except ArgumentError as err:
        if track and err.problem.startswith("holds no pixel"):  # it has left the image
            return None
        raise err.renamed("series") if err.argument == "cube" else err from None


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


def _values(spectrum, of_inversion, temperature_range, depth):
    """The values of one region at one time, by name."""
    values = {name: np.nan * unit for name, unit in _UNITS.items()} | {"fraction": 0.0 * u.one}
    if spectrum is None:
        return values
    values["fraction"] = spectrum.meta["fraction"][0] * u.one
    area = spectrum.meta["area"][0] if "area" in spectrum.meta else np.nan * u.cm**2
    values["area"] = area
    if np.all(spectrum.mask):
        return values
    response, edges, options = of_inversion
    response = TemperatureResponse.from_aia(spectrum) if response is None else response
    result = invert(spectrum, response, edges, **options)
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
