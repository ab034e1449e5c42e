r"""
================================
Choosing λ and positivity
================================

The regularization parameter λ weighs smoothness against fit. This example shows what the choices of
`~sunpy_demreg.invert` do to chi-squared and to the DEM.
"""

import matplotlib.pyplot as plt
import numpy as np

import astropy.units as u

import sunpy_demreg as demreg

cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=16)
response = demreg.TemperatureResponse.from_aia(cube)
edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K

CHOICES = {
    "default": {},
    "grid": {"parameter_choice": "grid"},
    "no positivity": {"positivity": "ignore"},
    "constrain": {"positivity": "constrain"},
    "constrain, EM loci, refined": {
        "positivity": "constrain",
        "weighting": "em_loci",
        "n_refinements": 1,
    },
}

# sphinx_gallery_thumbnail_number = 1

# %%
# The default solves the discrepancy principle: chi-squared per channel is 1. Where the DEM is then negative somewhere,
# its positivity rule, that of the reference code, repeatedly raises the target by half. ``"grid"`` takes the nearest of
# a few λ, as the reference code does. ``"constrain"`` does not have to relax the fit. The table has the median of
# chi-squared, its 95th percentile, and the share of bins that are negative:

results = {}
print(f"{'':27}median  95 % negative")
for name, options in CHOICES.items():
    results[name] = demreg.invert(cube, response, edges, **options)
    median, high = np.nanpercentile(results[name]["chi_squared"].data, [50, 95])
    negative = np.mean(results[name]["dem"].data < 0)
    print(f"{name:27}{median:6.2f}{high:6.1f}{100 * negative:7.2f} %")

# %%
# Chi-squared
# ===========

figure = plt.figure(figsize=(10, 3.2), layout="constrained")
shown = ("default", "grid", "constrain")
panels = [figure.add_subplot(1, 3, i + 1, projection=cube[0].wcs) for i in range(3)]
for axes, name in zip(panels, shown, strict=True):
    artist = demreg.visualization.plot_chi_squared(results[name], axes=axes)
    axes.set_title(name)
    if axes is not panels[0]:
        axes.coords[1].set_axislabel(" ")
        axes.coords[1].set_ticklabel_visible(False)
figure.colorbar(artist, ax=panels, label=r"$\chi^2$ per channel")
plt.show()

# %%
# One pixel
# =========
#
# A pixel off the limb where the rule raises the target seven times. At the chi-squared of 17 where the default ends, its
# DEM is not that of the data: a residual of eight standard deviations is left, and the plasma of 3 to 8 MK is lost. The
# grid ends nearby. ``"constrain"`` fits, and so does the DEM with negative bins (which have no place on the axis).

pixel = (20, 3)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
channels = np.arange(6)
for i, (name, result) in enumerate(results.items()):
    label = rf"{name}, $\chi^2$ = {result['chi_squared'].data[pixel]:.2f}"
    curve = demreg.visualization.plot_dem(
        result, pixel, axes=left, label=label, fmt="osD^v"[i]
    )
    curve.lines[2][0].set_visible(False)  # the horizontal bars, for clarity
    observed, predicted = result["intensity"], result["predicted_intensity"]
    residual = observed.data[:, *pixel] - predicted.data[:, *pixel]
    residual /= observed.uncertainty.array[:, *pixel]
    color = curve.lines[0].get_color()
    right.plot(channels + 0.1 * (i - 2), residual, "osD^v"[i], color=color)
left.set_ylim(1e17, 1e24)
right.axhspan(-1, 1, color="0.9", zorder=0)
right.set_xticks(
    channels, [name.removeprefix("AIA ") for name in result.meta["channels"]]
)
right.set_xlabel("Channel of AIA")
right.set_ylabel(r"(observed − predicted) / $\sigma$")
right.set_title("Residuals", fontsize="medium")
plt.show()

# %%
# Over all resolved bins, how much of the plasma of ``"constrain"`` the others put elsewhere, in percent of it: the median
# of all pixels, and the 95th percentile.

widths = np.diff(edges.value)[:, None, None]
resolved = demreg.is_resolved(results["constrain"]).data
reference = results["constrain"]["dem"].data * widths * resolved
for name, result in results.items():
    moved = np.abs(result["dem"].data * widths * resolved - reference).sum(axis=0)
    share = 100 * moved / reference.sum(axis=0)
    median, high = np.nanpercentile(share, [50, 95])
    print(f"{name:27} {median:5.1f} {high:6.1f}")

# %%
# Where the choices agree, the DEM is determined by the data; where they differ, by the method. :doc:`/validation`
# compares all of them with known DEMs.
