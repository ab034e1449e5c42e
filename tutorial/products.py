"""
=========================
Products and publication
=========================

Maps of emission measure and temperature with their errors, figures of the width of a column, files, and what to cite.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import astropy.units as u
from astropy.coordinates import SkyCoord

import sunpy_demreg as demreg

maps = demreg.sample.aia_maps()
cube = demreg.prepare(maps, n_sample=16)
response = demreg.TemperatureResponse.from_aia(cube)
edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K
options = {"method": "lognormal", "calibration_error": 0.1}
result = demreg.invert(cube, response, edges, **options)

# %%
# Maps with errors
# ================
#
# Quote the emission measure of a range rather than of a bin: errors of neighboring bins are correlated, and that of the
# sum takes it into account. Without a range, sums and means are over the bins that are resolved. The medians of the maps:

em = demreg.emission_measure(result, [1, 4] * u.MK)
temperature = demreg.mean_temperature(result)
energy = demreg.thermal_energy_density(result, 50 * u.Mm)
for name, product in {"EM": em, "mean T": temperature, "energy": energy}.items():
    error = 100 * np.nanmedian(product.uncertainty.array / product.data)
    value = np.nanmedian(product.data)
    print(f"{name:7} {value:.3g} {product.unit:fits}, ± {error:.0f} %")

# %%
# Each is an `~ndcube.NDCube`, and a sunpy map on request:

em_map = demreg.to_map(em)
brightest = np.unravel_index(np.nanargmax(em_map.data), em_map.data.shape)
y, x = brightest
place = em_map.pixel_to_world(x * u.pix, y * u.pix)
print(f"{em_map.data[y, x]:.1e} {em_map.unit:fits}")
print(f"at Solar X, Y = {place.Tx:.0f}, {place.Ty:.0f}")

# %%
# A figure for a column
# =====================
#
# Plots take ``axes=`` or ``figure=`` and fit what they are given. A column of a journal is 3.5 inches wide, a page 7.1.
# In axes of your own, ``color_bar=True`` adds the color bar.

figure = plt.figure(figsize=(7.1, 2.9), layout="constrained")
wcs = result["status"].wcs
left, right = (figure.add_subplot(1, 2, i, projection=wcs) for i in (1, 2))
demreg.visualization.plot_emission_measure(
    result, [1, 4] * u.MK, axes=left, color_bar=True
)
demreg.visualization.plot_mean_temperature(result, axes=right, color_bar=True)
plt.show()

# %%
# A region
# ========
#
# For a region, average the intensities and invert the mean: noise averages out, errors of the calibration do not, and
# `~sunpy_demreg.region_spectrum` keeps the two apart.


def at(x, y):
    """Helioprojective coordinates of the first image."""
    return SkyCoord(x * u.arcsec, y * u.arcsec, frame=maps[0].coordinate_frame)


regions = {
    "core": (at(-975, -110), 20 * u.arcsec),
    "loops": (at(-1050, -260), at(-1010, -180)),
    "quiet": (at(-870, -340), at(-830, -280)),
}
spectra = demreg.region_spectrum(cube, regions)
of_regions = demreg.invert(spectra, response, edges, **options)
figure, axes = plt.subplots(figsize=(5, 3.8), layout="constrained")
demreg.visualization.plot_dem(of_regions, axes=axes)
plt.show()

# %%
# :doc:`/gallery/regions` goes on from here, :doc:`/gallery/flare_in_time` follows a region in time, and :doc:`/how_to`
# has short recipes.
#
# Save it
# =======
#
# A file holds all cubes, all settings and where the data come from: archive it with the paper. FITS is read by
# everything; ASDF and Zarr keep every detail too.

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "dem.fits"
    demreg.write(result, path)
    print(f"{path.stat().st_size / 1e6:.1f} MB")
    print(*demreg.read(path), sep="\n")

# %%
# Publish it
# ==========
#
# :doc:`/paper` has the checklist, a paragraph for the methods section, and BibTeX entries for what is to be cited. Three
# sentences that a referee will look for: which errors the error bars hold, the share of pixels whose chi-squared is
# above 1, and which temperatures are resolved:

chi_squared = result["chi_squared"].data
resolved = demreg.is_resolved(result).data.mean(axis=(1, 2))
log_t = np.log10(result["dem"].axis_world_coords(0)[0].value)
most = log_t[resolved > 0.5]
calibration = 100 * options["calibration_error"]
print(f"errors: {result.meta['dem_error']}, calibration {calibration:.0f} %")
print(f"chi-squared above 1 in {100 * np.mean(chi_squared > 1):.2f} % of the pixels")
print(f"resolved in most pixels: log T {most.min():.2f} to {most.max():.2f}")
