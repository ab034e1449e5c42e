"""
===========================
Temperature maps and movies
===========================

Maps of the mean temperature and of the thermal energy, with errors, as sunpy maps; and a movie of a flare.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm

import astropy.units as u

import sunpy_demreg as demreg

cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=16)
response = demreg.TemperatureResponse.from_aia(cube)
edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K
options = {"method": "lognormal", "calibration_error": 0.1}
result = demreg.invert(cube, response, edges, **options)
print(f"median chi-squared: {np.nanmedian(result['chi_squared'].data):.2f}")

# %%
# Mean temperature
# ================
#
# It is weighted by the emission measure, over the bins that are resolved: those above log T = 7 that the six channels
# do not see would dominate the mean.

temperature = demreg.mean_temperature(result)
error = np.nanmedian(temperature.uncertainty.array / temperature.data)
print(f"median relative error: {error:.3f}")
demreg.visualization.plot_mean_temperature(result)
plt.show()

# %%
# As a sunpy map
# ==============

temperature_map = demreg.to_map(temperature)
figure = plt.figure()
axes = figure.add_subplot(projection=temperature_map)
temperature_map.plot(
    axes=axes, cmap="plasma", norm=LogNorm(1.5e6, 5e6), title="Resolved bins"
)
temperature_map.draw_limb(axes=axes, color="white")
bar = figure.colorbar(axes.images[0], label="Mean temperature [MK]", extend="both")
bar.set_ticks([2e6, 3e6, 4e6, 5e6], labels=["2", "3", "4", "5"])
bar.minorticks_off()
plt.show()

# %%
# Thermal energy
# ==============
#
# The emission measure is the square of the density times the depth. The depth has to be assumed: here 50 Mm, filled
# evenly.

energy = demreg.thermal_energy_density(result, 50 * u.Mm)
brightest = np.unravel_index(np.nanargmax(energy.data), energy.data.shape)
value, error = energy.data[brightest], energy.uncertainty.array[brightest]
print(f"maximum: {value:.1f} ± {error:.1f} {energy.unit:fits}")

# %%
# A movie
# =======
#
# `~sunpy_demreg.visualization.animate` takes a list of results, one for each time, or the result of a series. The
# package includes two times of the start of the flare of 2011-02-15, two minutes apart; with your own series the movie
# can be longer.

flare = []
for step in (0, 1):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", demreg.DemregWarning)  # of shifts of a pixel
        flare_cube = demreg.prepare(demreg.sample.flare_maps(step))
    flare_cube = flare_cube[:, 2:65, 2:65]  # the border has no value in all channels
    flare_response = demreg.TemperatureResponse.from_aia(flare_cube)
    flare.append(demreg.invert(flare_cube, flare_response, edges, **options))
    chi_squared = np.nanmedian(flare[-1]["chi_squared"].data)
    print(f"step {step}: median chi-squared {chi_squared:.2f}")

movie = demreg.visualization.animate(flare, [8, 20] * u.MK, interval=800)
plt.show()

# %%
# ``movie.save("flare.gif")`` saves it, ``movie.to_jshtml()`` shows it in a notebook.
