"""
========================
First DEM in ten lines
========================

From six AIA maps to plots of the differential emission measure (DEM) with its errors.
"""

import matplotlib.pyplot as plt
import numpy as np

import astropy.units as u

import sunpy_demreg as demreg

# %%
# The sample is a cutout of the synoptic maps of 2014-01-01: active regions at the east limb. Each of its values is the
# mean of 4 × 4 AIA pixels, which `~sunpy_demreg.prepare` has to know: ``n_sample=16``. For your own maps, replace the
# first line with ``sunpy.map.Map("aia_*.fits")``. The uncertainty of the cube is the noise; ``calibration_error=0.1`` adds
# 10 % for each channel, as responses are not known better.

maps = demreg.sample.aia_maps()
cube = demreg.prepare(maps, n_sample=16)
response = demreg.TemperatureResponse.from_aia(cube)
temperature_bin_edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K
result = demreg.invert(
    cube, response, temperature_bin_edges, method="lognormal", calibration_error=0.1
)
result

# %%
# ``result`` holds one `~ndcube.NDCube` for each output. This page shows most of them: the emission measure in six
# temperature ranges, chi-squared, and the DEM of the three pixels that the letters mark.

demreg.visualization.plot_summary(result)
plt.show()

# %%
# Chi-squared per channel is below 1 where the DEM fits within the uncertainty, and with ``method="lognormal"`` well below:
# it is that of the most likely DEM, not of the true one. Where it is above 1, do not trust the DEM.

chi_squared = result["chi_squared"].data
for percentile in (50, 75, 95):
    print(
        f"chi-squared, percentile {percentile}: {np.nanpercentile(chi_squared, percentile):.2f}"
    )

# %%
# The emission measure between two temperatures comes with its error, and becomes a sunpy map on request.

em = demreg.emission_measure(result, [1, 2] * u.MK)
em_map = demreg.to_map(em)
print(em_map.unit, em_map.data.shape)
print(f"median relative error: {np.nanmedian(em.uncertainty.array / em.data):.3f}")
