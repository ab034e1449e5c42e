"""
=======================
From level 1 to a DEM
=======================

Level-1 images of AIA have a plate scale, a rotation and a center of their own in every channel. `~sunpy_demreg.prepare`
brings them to one grid with their errors and masks, in the correct order, and records the steps.
"""

import matplotlib.pyplot as plt
import numpy as np

import astropy.units as u

import sunpy_demreg as demreg

# sphinx_gallery_thumbnail_number = 2

# %%
# Six cutouts of the start of the X2.2 flare of 2011-02-15, as delivered by the Joint Science Operations Center. For
# your own files: ``maps = sunpy.map.Map("aia.lev1*.fits")``. Plate scale (arcsec / pixel), rotation, exposure
# time and brightest pixel:

maps = demreg.sample.flare_maps(1)
for smap in maps:
    angle, exposure = smap.meta["crota2"], smap.exposure_time.value
    print(f"{smap.wavelength.value:3.0f} Å  {smap.scale[0].value:.4f}  ", end="")
    print(f"{angle:+.3f}°  {exposure:.3f} s {smap.data.max():6} DN")

# %%
# One grid
# ========
#
# The images are interpolated to the grid of 171 Å. (Full-disk images are put on the grid of level 1.5, as by
# `aiapy.calibrate.register`.) The headers of some channels are off by more than a pixel: the residual shift is
# measured, with a warning.

cube = demreg.prepare(maps, reference=171 * u.AA)
print(cube.meta["steps"])
for name, x, y in zip(
    *(cube.meta[key] for key in ("channels", "residual_shift_x", "residual_shift_y")),
    strict=True,
):
    print(f"{name}: {x.value:+.2f}, {y.value:+.2f} pixels")

# %%
# A newer pointing table corrects this: ``prepare(maps, pointing_table="lmsal")`` downloads one, and
# ``pointing_table="pointing.ecsv"`` reads one that you saved. Without either, ``correct_shifts=True`` moves the maps by
# the measured shifts if these are certain enough, which takes images of 96 pixels on a side. These are smaller, so we
# look at the numbers and move them ourselves:

moved = []
for smap, x, y in zip(
    maps, cube.meta["residual_shift_x"], cube.meta["residual_shift_y"], strict=True
):
    moved.append(smap.shift_reference_coord(x * smap.scale[0], y * smap.scale[1]))
cube = demreg.prepare(moved, reference=171 * u.AA)
shift = np.hypot(cube.meta["residual_shift_x"], cube.meta["residual_shift_y"])
print(f"shifts now: up to {shift.max().value:.2f} pixels")

# %%
# All further steps are arguments of the same call, and are done in this order whatever the order of the arguments:
# ``psf`` (deconvolution), ``pointing_table``, ``reference``, ``submap`` (cropping), ``bin`` (averaging of pixels, with
# the matching errors), ``correct_degradation``. Steps that have already been done are refused: pointing and
# deconvolution for level 1.5, or a response with degradation for data that were corrected.
#
# Each channel has its own errors and mask. Black is masked: the borders that a channel does not cover.

figure, panels = plt.subplots(
    2, 6, figsize=(10, 3.7), layout="constrained", sharex=True, sharey=True
)
for i, (top, bottom) in enumerate(panels.T):
    intensity = np.where(cube.mask[i], np.nan, cube.data[i])
    for axes, image, color in (
        (top, np.sqrt(intensity), "inferno"),
        (bottom, cube.uncertainty.array[i], "viridis"),
    ):
        axes.imshow(image, origin="lower", cmap=color)
        axes.set_facecolor("black")
    top.set_title(cube.meta["channels"][i], fontsize="medium")
panels[0, 0].set_ylabel("√ intensity")
panels[1, 0].set_ylabel("uncertainty")
figure.supxlabel("Pixels", fontsize="medium")
plt.show()

# %%
# The inversion
# =============
#
# The response takes the date from the cube.

response = demreg.TemperatureResponse.from_aia(cube)
edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K
result = demreg.invert(
    cube[:, 3:-3, 3:-3], response, edges, method="lognormal", calibration_error=0.1
)
demreg.visualization.plot_summary(result)
plt.show()

# %%
# The result records what was done.

observation = result.meta["observation"]
for key in ("level", "steps", "bin", "n_sample", "degradation_corrected"):
    print(f"{key}: {observation[key]}")
