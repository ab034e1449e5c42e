r"""
=============
Which method?
=============

``method="demreg"``, the default, is the regularized inversion of Hannah & Kontar: the smallest DEM that fits.
``method="lognormal"`` finds the most likely DEM if its logarithm is smooth. This page compares them where the truth is
known, and on real pixels of the quiet Sun, an active region and a flare.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm

import astropy.units as u

import sunpy_demreg as demreg

edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K
centers = np.sqrt(edges[1:] * edges[:-1])
METHODS = {
    "demreg": {},
    "demreg, constrained, EM": {
        "positivity": "constrain",
        "solve_for": "emission_measure",
    },
    "lognormal": {"method": "lognormal"},
}
COLORS = dict(zip(METHODS, ("tab:orange", "tab:blue", "black"), strict=True))

# sphinx_gallery_thumbnail_number = 2

# %%
# Known truth
# ===========
#
# Sums of Gaussians in log T stand for three kinds of plasma: (log T, width, share) of each, and the total emission
# measure. The intensities get the noise of a 2 s exposure and 5 %.

PLASMAS = {
    "quiet Sun": ([(6.1, 0.235, 1)], 1e27),
    "active region": ([(6.05, 0.2, 0.2), (6.38, 0.2, 0.8)], 3e28),
    "flare": ([(6.3, 0.3, 0.04), (6.75, 0.15, 0.06), (7.12, 0.14, 0.9)], 1e29),
}
cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=16)
response = demreg.TemperatureResponse.from_aia(cube)
log_t = np.log10(centers.value)
per_dem = np.diff(edges.value)  # the emission measure of a DEM of one in each bin
rng = np.random.default_rng(1)

truths, results = {}, {}
for name, (components, total) in PLASMAS.items():
    shape = sum(
        share * np.exp(-0.5 * ((log_t - center) / width) ** 2) / width
        for center, width, share in components
    )
    em = total * shape / shape.sum()
    intensity = response.at(centers).value @ em
    sigma = np.sqrt(0.3**2 + intensity / 2 + (0.05 * intensity) ** 2)
    noisy = intensity[:, None] + sigma[:, None] * rng.standard_normal((6, 200))
    sigma = np.repeat(sigma[:, None], 200, axis=1)
    truths[name] = em
    results[name] = {
        method: demreg.invert(
            noisy * cube.unit,
            response,
            edges,
            uncertainty=sigma * cube.unit,
            **options,
        )
        for method, options in METHODS.items()
    }


def draw_dem(axes, result, pixel, color, label):
    """Draw the DEM of a pixel with its error as a band."""
    dem = result["dem"].data[(slice(None), *pixel)]
    error = result["dem"].uncertainty.array[(slice(None), *pixel)]
    axes.step(log_t, dem, where="mid", color=color, label=label)
    axes.fill_between(
        log_t,
        np.maximum(dem - error, 1e10),
        dem + error,
        step="mid",
        color=color,
        alpha=0.2,
        linewidth=0,
    )


figure, panels = plt.subplots(1, 3, figsize=(10, 3.8), layout="constrained")
for axes, (name, of_methods) in zip(panels, results.items(), strict=True):
    truth = truths[name] / per_dem
    axes.plot(log_t, truth, color="tab:red", linewidth=3, alpha=0.6, label="truth")
    for method, result in of_methods.items():
        draw_dem(axes, result, (0,), COLORS[method], method)
    axes.set(yscale="log", xlabel="log T [K]", title=name, xticks=[6, 6.5, 7])
    axes.set_ylim(truth.max() / 3e4, truth.max() * 5)
panels[0].set_ylabel("DEM [cm$^{-5}$ K$^{-1}$]")
handles, labels = panels[0].get_legend_handles_labels()
figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
plt.show()

# %%
# Each panel shows the first of 200 noisy observations; the bands are one reported standard deviation. The table is of all
# of them:
#
# * error: the sum of the differences from the truth in all bins over the total emission measure;
# * hot: the emission measure above log T = 6.8, as a share of the total;
# * within: how many of the bins that matter (more than 1 % of the truth's peak) lie within the reported error. If the
#   errors hold the truth, it is 68 %.

hot = log_t > 6.8
print(f"{'':23}  error    hot  within")
for name, of_methods in results.items():
    truth = truths[name][:, None]
    print(f"{name + ', truth':23} {0:6.2f} {truth[hot].sum() / truth.sum():6.3f}")
    matters = truth[:, 0] / per_dem > 0.01 * (truth[:, 0] / per_dem).max()
    for method, result in of_methods.items():
        em = result["dem"].data * per_dem[:, None]
        error = result["dem"].uncertainty.array * per_dem[:, None]
        off = np.median(np.nansum(np.abs(em - truth), axis=0)) / truth.sum()
        share = np.nanmedian(em[hot].sum(axis=0) / em.sum(axis=0))
        within = np.nanmean((np.abs(em - truth) < error)[matters])
        print(f"{method:23} {off:6.2f} {share:6.3f} {100 * within:5.0f} %")

# %%
# A regularization of the DEM per kelvin favors hot bins, and fills them where the channels see nothing.
# ``solve_for="emission_measure"`` takes most of that away from the method of Hannah & Kontar, but some of the flare with
# it. ``"lognormal"`` has the smallest error of the three in each case, and its error bars tell what the data leave open,
# not only the noise: see its band where it is far off.
#
# Its chi-squared is below one. That is right for a most likely DEM; :doc:`/theory` says why.

for method, result in results["active region"].items():
    chi_squared = np.nanmedian(result["chi_squared"].data)
    print(f"{method:23}  median chi-squared {chi_squared:.2f}")

# %%
# Where it is not the better one
# ==============================
#
# What is not smooth is broadened: plasma of a single temperature, or of two that are close. There the errors of
# ``"lognormal"`` are too small as well, since its prior holds such a DEM for next to impossible.

isothermal = np.where(np.arange(log_t.size) == np.argmin(abs(log_t - 6.4)), 3e28, 0)
intensity = response.at(centers).value @ isothermal
sigma = np.sqrt(0.3**2 + intensity / 2 + (0.05 * intensity) ** 2)
figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
axes.step(
    log_t, isothermal / per_dem, where="mid", color="tab:red", label="truth", lw=3
)
for method, options in METHODS.items():
    result = demreg.invert(
        intensity[:, None] * cube.unit,
        response,
        edges,
        uncertainty=sigma[:, None] * cube.unit,
        **options,
    )
    draw_dem(axes, result, (0,), COLORS[method], method)
peak = isothermal.max() / per_dem[isothermal.argmax()]
axes.set(yscale="log", ylim=(peak / 1e4, peak * 3), xlabel="log T [K]")
axes.set_ylabel("DEM [cm$^{-5}$ K$^{-1}$]")
axes.legend(frameon=False)
plt.show()

# %%
# Real pixels
# ===========
#
# The two samples: active regions at the limb with quiet Sun, and the start of an X2.2 flare. Their uncertainty is the
# noise, 2 % in the median, and responses are not known that well. ``calibration_error=0.1`` adds 10 % to each channel.

calibration = {"calibration_error": 0.1}
maps = {
    method: demreg.invert(cube, response, edges, **calibration, **options)
    for method, options in METHODS.items()
}
with warnings.catch_warnings():
    warnings.simplefilter("ignore", demreg.DemregWarning)  # of shifts of a pixel
    flare_cube = demreg.prepare(demreg.sample.flare_maps(0))[:, 2:65, 2:65]
flare_response = demreg.TemperatureResponse.from_aia(flare_cube)
flares = {
    method: demreg.invert(flare_cube, flare_response, edges, **calibration, **options)
    for method, options in METHODS.items()
}

# %%
# The emission measure above log T = 6.8, in all bins, whether they are resolved or not. The last panel is of the noise
# alone.

noise_only = demreg.invert(cube, response, edges, method="lognormal")
shown = maps | {"lognormal, noise only": noise_only}
figure = plt.figure(figsize=(10, 2.6), layout="constrained")
for number, (method, result) in enumerate(shown.items(), 1):
    axes = figure.add_subplot(1, 4, number)
    em = demreg.emission_measure(result, 10 ** np.array([6.825, 7.425]) * u.K)
    image = axes.imshow(
        em.data, origin="lower", cmap="inferno", norm=LogNorm(1e25, 1e28)
    )
    axes.set_title(method, fontsize="medium")
    axes.set(xticks=(), yticks=())
figure.colorbar(image, ax=figure.axes, label="EM, log T > 6.8 [cm$^{-5}$]")
plt.show()

# %%
# The hot loops of the active regions above the limb are in all panels. Around them ``"demreg"`` shows hot plasma
# everywhere, and ``"lognormal"`` less.
#
# The islands with sharp borders in the last panel are not plasma either. Two solutions, with hot plasma and without,
# explain these pixels nearly as well, and which of them is the more likely changes from pixel to pixel. With an
# uncertainty that holds the errors of the response they are gone, so do include one.

total = demreg.emission_measure(flares["lognormal"]).data
pixels = {
    "quiet Sun": (maps, (20, 115)),
    "active region": (maps, (64, 64)),
    "flare": (flares, np.unravel_index(np.nanargmax(total), total.shape)),
}
figure, panels = plt.subplots(1, 3, figsize=(10, 3.8), layout="constrained")
for axes, (name, (of_methods, pixel)) in zip(panels, pixels.items(), strict=True):
    for method, result in of_methods.items():
        draw_dem(axes, result, tuple(pixel), COLORS[method], method)
    top = np.nanmax(of_methods["lognormal"]["dem"].data[(slice(None), *pixel)])
    axes.set(yscale="log", ylim=(top / 3e4, top * 5), xlabel="log T [K]", title=name)
    axes.set_xticks([6, 6.5, 7])
panels[0].set_ylabel("DEM [cm$^{-5}$ K$^{-1}$]")
handles, labels = panels[0].get_legend_handles_labels()
figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
plt.show()

# %%
# Which one, then?
# ================
#
# * ``method="lognormal"`` for what is usually asked: how much plasma there is at which temperature, with an error.
# * ``method="demreg"`` to compare with published work, and where the DEM should assume as little as possible; with
#   ``positivity="constrain"`` it fits, and with ``solve_for="emission_measure"`` it leaves less hot plasma behind.
# * Both, if a conclusion rests on it. Where they differ by more than their errors, the data do not decide.
#
# :doc:`/validation` repeats the comparison for many families of DEMs.
