"""
==========
Quickstart
==========

Six images of the corona become a map of the differential emission measure (DEM): how much plasma there is at each
temperature, in every pixel.
"""

# %%
# Install
# =======
#
# From a clone of the repository, with Python 3.12 or later:
#
# .. code-block:: console
#
#    $ pip install -e .
#
# ``make demo`` does this in a fresh virtual environment, inverts the images that the package includes, and writes
# ``dem.fits`` and ``dem.png`` to ``demo-output/``.
#
# Ten lines
# =========

import matplotlib.pyplot as plt
import numpy as np

import astropy.units as u

import sunpy_demreg as demreg

maps = demreg.sample.aia_maps()
cube = demreg.prepare(maps, n_sample=16)
response = demreg.TemperatureResponse.from_aia(cube)
edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K
result = demreg.invert(cube, response, edges, method="lognormal", calibration_error=0.1)
result

# %%
# For images of your own, write ``maps = sunpy.map.Map("aia_*.fits")`` instead, and leave out ``n_sample``, which belongs
# to this sample: the next page tells why.
#
# The result on a page
# ====================
#
# The emission measure in six temperature ranges, how well the DEMs fit, and the DEM of the three pixels that the letters
# mark. What the six channels do not resolve is grayed out in the maps and faded in the curves.

demreg.visualization.plot_summary(result)
plt.show()

# %%
# What is in it
# =============
#
# ``result`` is an `~ndcube.NDCollection` of `~ndcube.NDCube` objects that share their pixels: ``result[..., 10:20,
# 30:40]`` cuts the same window out of all of them. (Negative indices work as for arrays; at least one pixel axis must
# remain.)
#
# .. list-table::
#    :header-rows: 1
#    :widths: 32 24 44
#
#    * - Key
#      - Axes
#      - What, and its unit
#    * - ``"dem"``
#      - temperature, y, x
#      - the DEM and its uncertainty, cm⁻⁵ K⁻¹
#    * - ``"temperature_resolution"``
#      - temperature, y, x
#      - full width at half maximum of the kernel of a bin, dex
#    * - ``"chi_squared"``
#      - y, x
#      - per channel: 1 or less means a fit within the uncertainty
#    * - ``"predicted_intensity"``
#      - wavelength, y, x
#      - what the DEM predicts, DN / (pix s)
#    * - ``"intensity"``
#      - wavelength, y, x
#      - the data and their uncertainty, DN / (pix s)
#    * - ``"regularization_parameter"``
#      - y, x
#      - :math:`\lambda`
#    * - ``"omitted_channels"``
#      - y, x
#      - a bit for each channel that was left out
#    * - ``"status"``
#      - y, x
#      - bits of `~sunpy_demreg.Status`: what happened to the pixel

dem = result["dem"]
brightest = np.unravel_index(np.argmax(result["intensity"].data[3]), dem.data.shape[1:])
log_t = np.log10(dem.axis_world_coords(0)[0].value)
peak = np.argmax(dem.data[:, *brightest])
value = dem.data[peak, *brightest]
error = dem.uncertainty.array[peak, *brightest]
y, x = brightest
print(f"The DEM of pixel ({y}, {x}) peaks at log T {log_t[peak]:.2f}")
print(f"with {value:.2g} ± {error:.1g} {dem.unit:fits}")

# %%
# From the command line
# =====================
#
# The same without Python; :doc:`/command_line` lists all options:
#
# .. code-block:: console
#
#    $ sunpy-demreg invert aia_*.fits --n-sample 16 \
#          --method lognormal \
#          --calibration-error 0.1 \
#          --output dem.fits --plot dem.png
