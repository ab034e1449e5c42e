"""
=====================================
Quiet Sun, active region and flare
=====================================

What the DEM of six AIA channels looks like in three kinds of plasma, and where to be careful.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np

import astropy.units as u

import sunpy_demreg as demreg

edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K

# sphinx_gallery_thumbnail_number = 2

# %%
# Quiet Sun and active region
# ===========================
#
# Both are in the sample of 2014-01-01.

cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=16)
response = demreg.TemperatureResponse.from_aia(cube)
demreg.visualization.plot_response(response)
plt.xlim(1e5, 1e8)
plt.show()

# %%
# ``method="lognormal"`` finds the most likely DEM, which is positive everywhere. 10 % for the calibration of each channel
# is added to the noise.

options = {"method": "lognormal", "calibration_error": 0.1}
result = demreg.invert(cube, response, edges, **options)
demreg.visualization.plot_composite(result)
plt.show()

# %%
# A flare
# =======
#
# The other sample is the start of the X2.2 flare of 2011-02-15, as level-1 cutouts: each channel has a grid of its own,
# and `~sunpy_demreg.prepare` puts them on one. It warns that two channels are still shifted by more than a pixel;
# :doc:`level1_to_dem` moves them.

flare_cube = demreg.prepare(demreg.sample.flare_maps(0))
inside = np.s_[:, 2:65, 2:65]  # the border has no value in all channels
flare_cube = flare_cube[inside]
flare_response = demreg.TemperatureResponse.from_aia(flare_cube)
flare = demreg.invert(flare_cube, flare_response, edges, **options)
demreg.visualization.plot_emission_measure_grid(flare)
plt.show()

# %%
# Where the flare saturates
# =========================
#
# Six minutes later 193 or 211 Å are saturated in two thirds of this field. To show what that means, let the detector
# saturate at 4000 DN here. A pixel without one channel is solved with the other five, and has a remark in its status;
# ``"omitted_channels"`` tells which one is missing. Pixels without two are masked, and so would be all of these with
# ``missing_channels="mask"``.

with warnings.catch_warnings():
    warnings.simplefilter("ignore", demreg.DemregWarning)  # of shifts, and of the gaps
    cut = demreg.prepare(demreg.sample.flare_maps(0), saturation=4000)[inside]
    with_gaps = demreg.invert(cut, flare_response, edges, **options)
status = with_gaps["status"].data
for flag in demreg.Status:
    if n_pixels := np.count_nonzero(status & int(flag)):
        print(f"{flag.name}: {n_pixels} of {status.size} pixels")
without = (status & demreg.Status.MISSING_CHANNEL) != 0
ratio = (
    demreg.emission_measure(with_gaps).data[without]
    / demreg.emission_measure(flare).data[without]
)
low, middle, high = np.percentile(ratio, (5, 50, 95))
print("emission measure without a channel / with all six:")
print(f"median {middle:.2f}, 90 % of the pixels {low:.2f} to {high:.2f}")
demreg.visualization.plot_emission_measure_grid(with_gaps)
plt.show()

# %%
# A saturated channel is a lower limit. Where the DEM of the others predicts less, the status has
# ``SATURATION_CONTRADICTED``: here that is nearly everywhere, since by the errors of the responses the prediction is a
# quarter too low in the channel that is missing. What is predicted for a missing channel is that uncertain.
#
# Three pixels
# ============
#
# Vertical bars are the error, horizontal ones the temperature resolution. The thin lines are the EM loci: the DEM
# that plasma in a single bin would need to explain one channel alone. No DEM can lie far above the lowest of them.

total = demreg.emission_measure(flare).data
pixels = {
    "quiet Sun": (result, (20, 115)),
    "active region": (result, (64, 64)),
    "flare": (flare, np.unravel_index(np.nanargmax(total), total.shape)),
}
figure, panels = plt.subplots(
    1, 3, figsize=(10, 3.8), layout="constrained", sharey=True
)
for axes, (name, (each, pixel)) in zip(panels, pixels.items(), strict=True):
    demreg.visualization.plot_dem(each, tuple(map(int, pixel)), em_loci=True, axes=axes)
    chi_squared = each["chi_squared"].data[tuple(pixel)]
    axes.set_title(rf"{name}, $\chi^2$ = {chi_squared:.2f}")
    axes.get_legend().remove()
    axes.set_ylabel(axes.get_ylabel() if axes is panels[0] else "")
panels[0].set_ylim(1e18, 1e24)
lines = [line for line in axes.lines if line.get_label().endswith("alone")]
figure.legend(handles=lines, loc="outside lower center", ncols=6, frameon=False)
plt.show()

# %%
# Bins that are not resolved are faded. Above log T = 7 in the quiet Sun the six channels are hardly sensitive to plasma,
# and the data set an upper limit. (:doc:`which_method` shows what the other method makes of it.)

for name, each in (("active regions at the limb", result), ("flare", flare)):
    chi_squared = each["chi_squared"].data
    print(f"{name}: chi-squared")
    print(
        f"    median {np.nanmedian(chi_squared):.2f}, max {np.nanmax(chi_squared):.2f}"
    )
