"""
==========
Six images
==========

Which images are needed, how to look at them, and what `~sunpy_demreg.prepare` makes of them: one cube of intensities
with their uncertainties and a mask.
"""

import matplotlib.pyplot as plt
import numpy as np

import astropy.units as u

import sunpy_demreg as demreg

# %%
# Get them
# ========
#
# One image in each of the channels 94, 131, 171, 193, 211 and 335 Å, of about the same time, all of level 1 or all of
# level 1.5. (`~sunpy_demreg.prepare` refuses 304 Å, whose line is optically thick, and warns if the images are more than
# a minute apart.) :doc:`/event` shows how to find and download them with sunpy.
#
# Here we use six that the package includes, courtesy of NASA/SDO and the AIA science team: a cutout, active regions at
# the east limb, of the synoptic maps of that time, which are of level 1.5 and have a quarter of the resolution.

maps = demreg.sample.aia_maps()
for smap in maps:
    date = smap.date.strftime("%Y-%m-%d %H:%M:%S")
    print(f"{smap.wavelength.value:3.0f} Å, {date} UT, {smap.exposure_time:.2f}")

# %%
# Look at them
# ============
#
# They have to show the same place, without stray light, particle hits, eclipses or saturated flares. Plasma of 1 MK
# dominates 171 Å, that of 2 MK 193 and 211 Å; 94 and 131 Å see both cool and very hot plasma.

figure = plt.figure(figsize=(10, 6.4), layout="constrained")
for i, smap in enumerate(maps):
    axes = figure.add_subplot(2, 3, i + 1, projection=smap)
    smap.plot(axes=axes, clip_interval=(1, 99.7) * u.percent, title=False)
    axes.set_title(f"AIA {smap.wavelength.value:.0f} Å", fontsize="medium")
    axes.coords[0].set_axislabel("Solar X" if i > 2 else " ")
    axes.coords[1].set_axislabel("Solar Y" if i % 3 == 0 else " ")
plt.show()

# %%
# Prepare them
# ============
#
# The cube has the axes wavelength, y and x: intensity in DN / (pix s), in order of wavelength; its uncertainty, from
# `aiapy.calibrate.estimate_error`; and a mask of what is saturated or not finite.
#
# Each value of these maps is the mean of 4 × 4 pixels of the detector, which is less noisy than a single one: hence
# ``n_sample=16``. Leave it out for maps at full resolution.

cube = demreg.prepare(maps, n_sample=16)
cube

# %%
# The noise is about 1 % in 171, 193 and 211 Å, but 3 to 50 % in 94 Å and 1 to 15 % in 131 Å, the two channels that see
# plasma of 7 and 10 MK best; and both of them see plasma below 1 MK as well.

noise = cube.uncertainty.array / np.maximum(cube.data, 1e-3)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
response = demreg.TemperatureResponse.from_aia(cube)
lines = demreg.visualization.plot_response(response, axes=left)
left.legend(loc="lower center", ncols=3, frameon=False, fontsize="small")
left.set(xlim=(2e5, 4e7), ylim=(1e-30, 3e-24), title="Temperature responses")
for line, values in zip(lines, noise, strict=True):
    shares = np.linspace(0, 100, values.size)
    right.plot(shares, 100 * np.sort(values.ravel()), color=line.get_color())
right.set(yscale="log", xlabel="Pixels with less noise [%]", title="Noise")
right.set_ylabel("Noise [% of the intensity]")
plt.show()

# %%
# What `~sunpy_demreg.prepare` asks of the images
# ===============================================
#
# * **Do not correct them for degradation**: the response includes it. If they are corrected, pass
#   ``degradation_corrected=True``; the response of the cube then omits it. `~sunpy_demreg.invert` compares the dates of
#   data and response: it warns if the sensitivity of a channel differs by 1 %, and refuses 10 %.
# * **Saturation**: values above 15000 DN (before division by the exposure time) are masked; ``saturation`` sets another
#   limit.
# * **Flagged images**, such as those taken during an eclipse or a maneuver, are refused unless ``accept_flagged=True``;
#   maps without a date are always refused.
# * **Averages, not sums**: `sunpy.map.GenericMap.superpixel` sums by default: pass it ``func=np.mean``, or use the
#   argument ``bin``. Sums draw a warning where they can be recognized.
# * **Exposure times**: maps that were divided by theirs, and whose headers now say 1 s, need the true ones for the noise
#   and the saturation: ``exposure_times={94: 2.9 * u.s, ...}``.
#
# Level 1, fields, averages
# =========================
#
# Level-1 images have a plate scale, a rotation and a center of their own in every channel. `~sunpy_demreg.prepare`
# interpolates them to one grid, with their errors and masks: full-disk images to that of `aiapy.calibrate.register`,
# cutouts to that of one of them. What else is asked for is done in this order, whatever the order of the arguments, and
# ``cube.meta["steps"]`` lists it:
#
# .. list-table::
#    :header-rows: 1
#    :widths: 46 54
#
#    * - Argument
#      - Step
#    * - ``psf={171: array, ...}``
#      - deconvolve (level 1)
#    * - ``pointing_table="pointing.ecsv"``
#      - update the pointing (level 1); ``"lmsal"`` or ``"jsoc"`` fetches the table
#    * - ``reference=171 * u.AA``
#      - put all maps on the grid of this one, or of another map or its file
#    * - ``submap=(bottom_left, top_right)``
#      - crop to this field
#    * - ``bin=4``
#      - average blocks of 4 × 4 pixels
#    * - ``correct_degradation=True``
#      - divide by the remaining sensitivity at the date
#
# After images have been put on another grid, the residual shift between the channels is measured
# (``cube.meta["residual_shift_x"]``), with a warning if it is more than a pixel. Nothing is downloaded unless a pointing
# table is requested by name; if that fails, or takes more than a minute, a `~sunpy_demreg.CalibrationDataError` names
# the argument that takes a local file instead. :doc:`/gallery/level1_to_dem` shows all of this.
