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
# brightens, and still pixels saturate. They are masked, and `~sunpy_demreg.region_evolution` leaves them out of all channels:
# the column "fraction" tells how many pixels count, and with ``bad_pixels="mask"`` the channel is left out instead of the
# pixels.

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
flare["time", "fraction", "chi_squared"]

# %%
# Where few pixels count, or chi-squared is large, do not trust the rest. Areas, volume emission measures and energies are
# those of the pixels that count.

figure, rows = plt.subplots(4, 1, figsize=(7, 8), sharex=True, layout="constrained")
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
        error = (
            flare[f"{name}_error"][:, k].to_value(unit) if name != "fraction" else None
        )
        axes.errorbar(
            minutes, value, error, fmt="o-", capsize=2, color=f"C{k}", label=region
        )
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
