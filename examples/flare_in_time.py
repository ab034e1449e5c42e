"""
===============
A flare in time
===============

The X2.2 flare of 2011-02-15 from level-1 cutouts: emission measure, temperature and energy of a region, with errors, while
the detector saturates.
"""

import tempfile
import warnings
from importlib.util import find_spec
from itertools import batched
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import astropy.units as u
from astropy.coordinates import SkyCoord
from sunpy.map import Map

import sunpy_demreg as demreg

# %%
# The sample has two times before the peak. Ten come with the package demregpy: they are taken if it is installed.

sets = [demreg.sample.flare_maps(step) for step in (0, 1)]
if spec := find_spec("demregpy"):
    folder = Path(spec.origin).parent / "tests" / "data" / "aia_flare"
    maps = sorted(map(Map, sorted(folder.glob("*.fits"))), key=lambda smap: smap.date)
    sets = [list(each) for each in batched(maps, 6)]

# %%
# All are put on the grid of the first, as the cutouts move by up to a pixel. The exposure times of AIA shrink as the flare
# brightens, and still pixels saturate. They are masked, and `~sunpy_demreg.region_evolution` leaves them out of all
# channels: the column "fraction" tells how many pixels count, here in the core and beside it. With
# ``bad_pixels="mask"`` the pixels are kept, and the channel in which some are bad is left out instead. This helps if one
# or two channels saturate; at the peak of this flare nearly all of them do.

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of shifts of a pixel
    cubes = [
        demreg.prepare(each, reference=sets[0][0], include_eve=True) for each in sets
    ]
frame = sets[0][0].coordinate_frame
center = sets[0][0].center
regions = {
    "core": (center, 12 * u.arcsec),
    "beside": SkyCoord(
        [center.Tx - 18 * u.arcsec, center.Tx + 18 * u.arcsec],
        [center.Ty - 18 * u.arcsec, center.Ty - 13 * u.arcsec],
        frame=frame,
    ),
}
edges = 10 ** np.arange(5.575, 7.63, 0.05) * u.K
with warnings.catch_warnings():
    warnings.simplefilter("ignore", demreg.DemregWarning)  # of steps without a DEM
    flare = demreg.region_evolution(
        cubes,
        regions,
        edges,
        track=True,
        temperature_range=[0.5, 30] * u.MK,
        method="lognormal",
        calibration_error=0.1,
        max_missing_channels=3,
    )
flare.time.format = "iso"
flare.time.precision = 0
for name in ("fraction", "chi_squared"):
    flare[name].info.format = ".2f"
flare["time", "fraction", "chi_squared"]

# %%
# Areas, volume emission measures and energies are those of the pixels that count, which are the fainter ones. So what
# rests on less than 90 % of a region is drawn hollow: it is no longer the region, and at the peak there is nothing left
# of its core. Only shorter exposures would tell more.

figure, rows = plt.subplots(4, 1, figsize=(7, 7), sharex=True, layout="constrained")
columns = {
    "volume_emission_measure": (u.cm**-3, "Volume EM [cm$^{-3}$]"),
    "mean_temperature": (u.MK, "Mean T [MK]"),
    "thermal_energy": (u.erg, "Energy [erg]"),
    "fraction": (u.percent, "Pixels [%]"),
}
minutes = (flare.time - flare.time[0]).to_value(u.min)
for axes, (name, (unit, label)) in zip(rows, columns.items(), strict=True):
    for k, region in enumerate(flare.meta["region"]):
        value = flare[name][:, k].to_value(unit)
        error = np.zeros_like(value)
        if name != "fraction":
            error = flare[f"{name}_error"][:, k].to_value(unit)
        whole = flare["fraction"][:, k] >= 0.9
        for these, style in (
            (whole, {"fmt": "o-", "label": region}),
            (~whole, {"fmt": "o", "markerfacecolor": "white", "alpha": 0.5}),
        ):
            shown = np.where(these, value, np.nan)
            axes.errorbar(minutes, shown, error, capsize=2, color=f"C{k}", **style)
    axes.set_ylabel(label)
    if name in ("volume_emission_measure", "thermal_energy"):
        axes.set_yscale("log")
rows[0].legend(frameon=False)
rows[-1].set_xlabel(f"Minutes since {flare.time[0].strftime('%Y-%m-%d %H:%M')} UT")
plt.show()

# %%
# A time series is a table, and a file.

path = Path(tempfile.mkdtemp()) / "flare.ecsv"
flare.write(path, format="ascii.ecsv")
print(len(path.read_text().splitlines()), "lines")
