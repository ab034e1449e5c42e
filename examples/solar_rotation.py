"""
==============================
A region while the Sun rotates
==============================

An active region from limb to limb, which heats up on its way: emission measure and temperature with errors, from maps to
a figure and a file. The maps are synthetic, so the truth is known.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm

import astropy.units as u
from astropy.coordinates import SkyCoord
from astropy.time import Time
from sunpy.coordinates import HeliographicStonyhurst, get_earth
from sunpy.map import Map, all_coordinates_from_map, coordinate_is_on_solar_disk
from sunpy.sun.models import differential_rotation

import sunpy_demreg as demreg

# %%
# A synthetic Sun
# ===============
#
# Six channels a day for 27 days, a rotation, as averages of 40 × 40 pixels of AIA. The quiet Sun has 1e27 cm-5 at 1.4 MK; a
# patch of 7 degrees, which rotates with the surface, has ten times as much in addition, and heats from 2 to 4 MK.

edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K
centers = np.sqrt(edges[1:] * edges[:-1])
days, latitude, start = np.arange(27), 12 * u.deg, Time("2014-01-01T00:00")
longitudes = -75 * u.deg + differential_rotation(
    days * u.day, latitude, frame_time="synodic"
)
temperatures = np.linspace(2, 4, 27) * u.MK


def intensities(emission_measure, temperature, response):
    """In all channels, of a Gaussian of 0.1 dex around a temperature."""
    profile = np.exp(-0.5 * (np.log10(centers / temperature) / 0.1) ** 2)
    return (
        (response.at(centers) @ (profile / profile.sum()) * emission_measure)
        .to("DN / (pix s)")
        .value
    )


def observed(day):
    """The maps of a day: what each patch of the surface sends, and the noise of photons."""
    date, rng = start + day * u.day, np.random.default_rng(day)
    earth = get_earth(date)
    response = demreg.TemperatureResponse.from_aia(
        [94, 131, 171, 193, 211, 335] * u.AA, date
    )
    header = {
        "telescop": "SDO/AIA",
        "instrume": "AIA_1",
        "lvl_num": 1.5,
        "waveunit": "angstrom",
    }
    header |= {
        "ctype1": "HPLN-TAN",
        "ctype2": "HPLT-TAN",
        "cunit1": "arcsec",
        "cunit2": "arcsec",
    }
    header |= {
        "crpix1": 50.5,
        "crpix2": 50.5,
        "crval1": 0,
        "crval2": 0,
        "cdelt1": 24,
        "cdelt2": 24,
    }
    header |= {
        "date-obs": date.isot,
        "exptime": 2.9,
        "hgln_obs": 0,
        "hglt_obs": earth.lat.value,
    }
    header |= {"dsun_obs": earth.radius.to_value("m"), "rsun_ref": 695700000.0}
    pixels = all_coordinates_from_map(
        Map(np.zeros((100, 100)), header | {"wavelnth": 171})
    )
    on_disk = coordinate_is_on_solar_disk(pixels)
    surface = SkyCoord(
        pixels[on_disk].transform_to(HeliographicStonyhurst(obstime=date))
    )
    middle = SkyCoord(longitudes[day], latitude, frame=surface.frame)
    share = np.zeros((100, 100))
    share[on_disk] = np.exp(-0.5 * (surface.separation(middle) / (7 * u.deg)) ** 2)
    quiet = intensities(1e27 * u.cm**-5, 1.4 * u.MK, response)
    active = intensities(1e28 * u.cm**-5, temperatures[day], response)
    counts = (
        2.9 * (q * np.where(on_disk, 1, 0.1) + a * share)
        for q, a in zip(quiet, active, strict=True)
    )
    return [
        Map(rng.poisson(1600 * each) / 1600, header | {"wavelnth": wavelength})
        for wavelength, each in zip((94, 131, 171, 193, 211, 335), counts, strict=True)
    ]


# %%
# From maps to a figure and a file
# ================================

all_maps = [observed(day) for day in days]
cubes = [demreg.prepare(maps, n_sample=1600, include_eve=True) for maps in all_maps]

# %%
# The region is given once, as coordinates of the seventh day; ``track=True`` moves it with the surface, by sunpy's
# differential rotation. The response is that of each date. Behind the limb there is nothing to see: values are NaN.

middle = SkyCoord(
    longitudes[6], latitude, frame="heliographic_stonyhurst", obstime=start + 6 * u.day
)
around = middle.directional_offset_by(np.linspace(0, 345, 24) * u.deg, 6 * u.deg)
region = around.transform_to(all_maps[6][0].coordinate_frame)
evolution = demreg.region_evolution(
    cubes,
    region,
    edges,
    track=True,
    temperature_range=[1, 6] * u.MK,
    method="lognormal",
    calibration_error=0.1,
)

evolution.time.format = "iso"
evolution.time.out_subfmt = "date"
for name in ("emission_measure", "emission_measure_error", "mean_temperature"):
    evolution[name].info.format = ".2e"
evolution["time", "emission_measure", "mean_temperature", "fraction"][::2]

# %%
# The black lines are the truth, averaged over the region. The DEM of the method is smoother than the truth, so the
# temperature is a few percent too high, and the emission measure up to 15 % too low: about their errors, which are those
# of the posterior and include 10 % for the calibration. (The maps have no such error, hence the small chi-squared.)

cap = 2 * (7 / 6) ** 2 * (1 - np.exp(-0.5 * (6 / 7) ** 2))  # mean of the patch
quiet, active = 1e27, 1e28 * cap
mean = (quiet * 1.4 * u.MK + active * temperatures) / (quiet + active)
truths = {
    "emission_measure": np.full(27, quiet + active) * u.cm**-5,
    "mean_temperature": mean,
}

seen = all_maps[6][4]
figure = plt.figure(figsize=(10, 4.2), layout="constrained")
grid = figure.add_gridspec(2, 2)
picture = figure.add_subplot(grid[:, 0], projection=seen)
seen.plot(axes=picture, norm=LogNorm(30, 20000), title=f"211 Å, {seen.date.iso[:10]}")
picture.plot_coord(region[[*range(24), 0]], color="white")
track = SkyCoord(longitudes[:13], latitude, frame=middle.frame)
picture.plot_coord(track, color="white", marker=".", linestyle=":")
columns = {
    "emission_measure": (u.cm**-5, "EM, 1-6 MK [cm$^{-5}$]"),
    "mean_temperature": (u.MK, "Mean T [MK]"),
}
for k, (name, (unit, label)) in enumerate(columns.items()):
    axes = figure.add_subplot(grid[k, 1], xlim=(-1, 13), ylabel=label)
    value, error = (evolution[each].to_value(unit) for each in (name, f"{name}_error"))
    axes.errorbar(days, value, error, fmt="o", capsize=2, label="found")
    axes.plot(days, truths[name].to_value(unit), color="black", label="truth")
    axes.set_ylim(bottom=0)
axes.legend(loc="lower right", frameon=False)
axes.set_xlabel("Days since 2014-01-01")
plt.show()

deviation = (evolution["mean_temperature"] / mean - 1).to_value(u.percent)
chi_squared = np.nanmedian(evolution["chi_squared"])
print(f"temperature: {np.nanmin(deviation):+.0f} to {np.nanmax(deviation):+.0f} %")
print(f"median chi-squared {chi_squared:.2f}")

# %%
# A time series is a table, and a file.

path = Path(tempfile.mkdtemp()) / "rotation.ecsv"
evolution.write(path, format="ascii.ecsv")
print(len(path.read_text().splitlines()), "lines")
