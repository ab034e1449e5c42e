"""
==============================
A loop and what lies behind it
==============================

The mean DEM of a region with its error, of the background beside it, and both from maps to a figure and a file.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import astropy.units as u
from astropy.coordinates import SkyCoord

import sunpy_demreg as demreg

# %%
# Intensities are averaged first, and then inverted: the error of a mean is not the mean of errors. Noise averages out,
# but the error of the calibration (``include_eve=True``) does not, and `~sunpy_demreg.region_spectrum` knows which is which.
# Regions are coordinates, here polygons in an active region at the limb; masks, circles, levels of brightness and regions
# of the package `regions <https://astropy-regions.readthedocs.io>`__ are possible too.

maps = demreg.sample.aia_maps()
cube = demreg.prepare(maps, n_sample=16, include_eve=True)


def at(*points):
    return SkyCoord(points * u.arcsec, frame=maps[0].coordinate_frame)


outline = [
    (-1022, -193),
    (-1003, -173),
    (-977, -158),
    (-977, -167),
    (-1000, -182),
    (-1015, -197),
]
regions = {
    "loop": at(*outline),
    "background": at(*((x - 14, y + 14) for x, y in outline)),
}
spectra = demreg.region_spectrum(cube, regions)
for k, name in enumerate(spectra.meta["region"]):
    relative = 100 * spectra.uncertainty.array[:, k] / spectra.data[:, k]
    print(f"{name}: {spectra.meta['n_pixels'][k]} pixels, errors [%]:")
    print("   ", *(f"{each:.1f}" for each in relative))

# %%
# The spectra are inverted like any other data; 10 % is how well the response of each channel is known.

response = demreg.TemperatureResponse.from_aia(spectra)
edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K
options = {"method": "lognormal", "calibration_error": 0.1}
result = demreg.invert(spectra, response, edges, **options)

# %%
# The same from draws: 300 repetitions of the observation, each with errors of the calibration of its own, which take
# about as long as an image of so many pixels. Their percentiles are the spread of repeated observations. The errors of the
# posterior, the bars in the figure, are larger where the data do not tell: they include all DEMs that fit.

draws = demreg.monte_carlo(spectra, 300, seed=1, calibration_error=0.1)
ensemble = demreg.invert(draws, response, edges, **options)
low, median, high = demreg.percentiles(ensemble["dem"], [16, 50, 84]).data.compute()

figure = plt.figure(figsize=(10, 4.2), layout="constrained")
image = figure.add_subplot(1, 2, 1, projection=maps[0].wcs)
image.imshow(maps[2].data, cmap="sdoaia171", norm="log", vmin=100, origin="lower")
image.set(xlabel="Solar X", ylabel="Solar Y", title="AIA 171 Å")
axes = figure.add_subplot(1, 2, 2)
for k, (name, corners) in enumerate(regions.items()):
    closed = np.append(np.arange(len(corners)), 0)
    image.plot(
        *maps[0].wcs.world_to_pixel(corners[closed]), color=f"C{k + 1}", linewidth=2
    )
    demreg.visualization.plot_dem(result, k, axes=axes, color=f"C{k + 1}")
    axes.fill_between(
        result["dem"].axis_world_coords(0)[0].value,
        low[:, k],
        high[:, k],
        color=f"C{k + 1}",
        alpha=0.25,
        label=f"{name}, draws",
    )
axes.set_ylim(1e18, 1e24)
axes.legend(fontsize="small", ncols=2, loc="upper center", frameon=False)
plt.show()

# %%
# Emission measures with errors of both kinds, and the volume emission measure, from the area of the region.

em_range = [1, 4] * u.MK
em = demreg.emission_measure(result, em_range)
of_draws = demreg.percentiles(
    demreg.emission_measure(ensemble, em_range)
).data.compute()
for k, name in enumerate(regions):
    area = result.meta["observation"]["area"][k]
    spread = (of_draws[2, k] - of_draws[0, k]) / 2
    volume_em = (em.data[k] * em.unit * area).to("cm-3")
    print(f"{name}: EM {em.data[k]:.2e} cm-5")
    print(f"    ± {em.uncertainty.array[k]:.1e} (posterior), ± {spread:.1e} (draws)")
    print(f"    volume EM {volume_em.value:.2e} cm-3")

# %%
# One file holds all of it.

path = Path(tempfile.mkdtemp()) / "regions.fits"
demreg.write(result, path)
print(demreg.read(path).meta["observation"]["region"])
