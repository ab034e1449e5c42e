r"""
=====================
Errors and resolution
=====================

What the two kinds of error bars mean, why those of neighboring bins must not be added in quadrature, and what to report
with an emission measure.
"""

import matplotlib.pyplot as plt
import numpy as np

import astropy.units as u

import sunpy_demreg as demreg

cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=16)
response = demreg.TemperatureResponse.from_aia(cube)
edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K
result = demreg.invert(cube, response, edges)
pixel = (64, 64)

# sphinx_gallery_thumbnail_number = 2

# %%
# The fit
# =======
#
# One pixel of an active region, inverted with the defaults: what was observed in each channel, and what its DEM predicts.

demreg.visualization.plot_intensity(result, pixel)
plt.show()

# %%
# Vertical and horizontal bars
# ============================
#
# The inversion is linear once λ and the weight are chosen: noise in the data gives the covariance of the bins, and
# plasma in one bin gives a column of the resolution matrix. The vertical bars of a DEM are the square roots of the
# diagonal of the former, the horizontal bars the widths of the columns of the latter.

covariance = demreg.covariance(result, pixel).value
resolution = demreg.resolution_matrix(result, pixel).value
correlation = covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
extent = np.log10(edges.value)[[0, -1, 0, -1]]
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
image = left.imshow(
    correlation, origin="lower", extent=extent, cmap="RdBu_r", vmin=-1, vmax=1
)
left.set(title="Correlation of the noise", xlabel="log $T$", ylabel="log $T$")
figure.colorbar(image, ax=left, label="Correlation coefficient")
columns = resolution / resolution.max(axis=0)
image = right.imshow(
    columns, origin="lower", extent=extent, cmap="cividis", vmin=0, vmax=1
)
right.set(title="Resolution matrix", ylabel="log $T$ where it is found")
right.set_xlabel("log $T$ of the plasma")
figure.colorbar(image, ax=right, label="Relative to the peak of each column")
plt.show()

# %%
# The bins are strongly correlated or anticorrelated. So the error of a sum over bins is not the sum of their errors in
# quadrature; `~sunpy_demreg.emission_measure` propagates it through the inversion. The last column shows what the sum in
# quadrature would be.

centers = np.sqrt(edges[1:] * edges[:-1]).value
widths = centers * np.log(edges[1:] / edges[:-1]).value
bin_errors = result["dem"].uncertainty.array[(slice(None), *pixel)] * widths
print("log T    EM [cm-5]     error  in quadrature")
for first, last in ((0, 8), (8, 14), (14, 22), (22, 28), (0, 36)):
    em = demreg.emission_measure(result, edges[[first, last]])
    quadrature = np.sqrt(np.sum(bin_errors[first:last] ** 2))
    limits = "-".join(f"{limit:.1f}" for limit in np.log10(edges[[first, last]].value))
    value, error = em.data[pixel], em.uncertainty.array[pixel]
    print(f"{limits}   {value:.2e}   {error:.1e}        {quadrature:.1e}")

# %%
# Comparison with repeated observations
# =====================================
#
# Take the intensities that the DEM of this pixel predicts, add noise 500 times, invert again, and compare the spread of
# the results with the reported errors. With a fixed weight (``method="l2"``) they agree within a tenth. With the
# default the weight depends on the noise, which the reported error does not include: it is then too small. The table
# gives the reported error over the spread, for four ranges in MK:

sigma = (
    np.repeat(result["intensity"].uncertainty.array[:, 64, 64, None], 500, axis=1)
    * cube.unit
)
truth = result["predicted_intensity"].data[:, 64, 64, None] * cube.unit
draws = truth + sigma * np.random.default_rng(0).standard_normal(sigma.shape)
ranges = [[0.5, 1], [1, 2], [2, 5], [5, 12]] * u.MK
names = [f"{low.value:g}-{high.value:g}" for low, high in ranges]
print(f"{'':17}" + "".join(f"{name:>7}" for name in names))
for name, options in {
    "l2, no positivity": {"method": "l2", "positivity": "ignore"},
    "default": {},
    "constrain": {"positivity": "constrain"},
}.items():
    repeated = demreg.invert(draws, response, edges, uncertainty=sigma, **options)
    ratios = []
    for each in ranges:
        em = demreg.emission_measure(repeated, each)
        ratios.append(np.nanmedian(em.uncertainty.array) / np.nanstd(em.data))
    print(f"{name:17}" + "".join(f"{ratio:7.2f}" for ratio in ratios))

# %%
# What the error bars do not include
# ==================================
#
# Noise is not the only source of error: the regularization introduces a bias, which the resolution matrix describes,
# and the response is uncertain too. Report these three separately with an emission measure; :doc:`/paper` gives their
# sizes.
#
# The other error
# ===============
#
# Noise is not all that is uncertain: at most temperatures the data leave room for many DEMs. ``method="lognormal"`` has a
# prior that says which of them are likely, and its error is that of the posterior by default. The noise is the smaller
# part of it. (A calibration error can be added to either.)

lognormal = demreg.invert(
    cube[:, 60:68, 60:68], response, edges, method="lognormal", calibration_error=0.1
)
errors = {
    kind: np.sqrt(np.diag(demreg.covariance(lognormal, (4, 4), kind)).value)
    for kind in ("posterior", "noise")
}
dem = lognormal["dem"].data[:, 4, 4]
figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
for (kind, error), color in zip(errors.items(), ("0.8", "0.5"), strict=True):
    axes.fill_between(
        centers, np.maximum(dem - error, 1e10), dem + error, color=color, label=kind
    )
axes.plot(centers, dem, color="black", label="DEM")
axes.set(xscale="log", yscale="log", ylim=(dem.max() / 1e4, dem.max() * 3))
axes.set(xlabel="Temperature [K]", ylabel="DEM [cm$^{-5}$ K$^{-1}$]")
axes.legend(frameon=False)
plt.show()
