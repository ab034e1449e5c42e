"""
==========================
A dozen spectral lines
==========================

A spectrometer such as Hinode/EIS measures lines, each of which shows a narrower range of temperatures than a channel of
AIA does. They are inverted in the same way: instead of the response of a channel, a line has a contribution function,
and `~sunpy_demreg.TemperatureResponse.from_lines` takes it. In this example the truth is known: the intensities are
computed from DEMs, with noise.
"""

import matplotlib.pyplot as plt
import numpy as np

import astropy.units as u

import sunpy_demreg as demreg

# %%
# Contribution functions
# ======================
#
# With fiasco and its database they are computed, ``from_lines(["Fe XII 195.119", ...], density=1e9 * u.cm**-3)``. Here
# they are a table, of log G at log T = (first, first + 0.1, ...): what CHIANTI 9.0.1 has within 0.1 Å of the wavelength,
# at a constant pressure of 1e15 K cm-3 and with coronal abundances.

TABLE = {
    "Fe VIII 185.213": (5.4, "-25.34 -24.61 -24.22 -24.07 -24.10 -24.30 -24.73 -25.48"),
    "Fe IX 197.862": (5.4, "-26.77 -26.38 -26.14 -25.68 -25.23 -25.01 -25.06 -25.46 -26.43"),
    "Fe X 184.536": (5.7, "-26.47 -25.31 -24.65 -24.33 -24.41 -24.91 -25.88 -26.73"),
    "Fe XI 188.216": (5.8, "-26.20 -24.92 -24.13 -23.79 -23.95 -24.71 -26.15"),
    "Fe XII 195.119": (6.0, "-24.87 -24.07 -23.84 -24.25 -25.35"),
    "Fe XIII 202.044": (6.0, "-26.39 -24.85 -24.13 -24.12 -24.83 -25.80"),
    "Fe XIV 264.787": (5.9, "-26.42 -25.65 -25.24 -24.69 -24.40 -24.81 -25.50 -26.20 -26.85"),
    "Fe XV 284.160": (6.1, "-26.09 -24.47 -23.67 -23.68 -24.04 -24.47 -24.92 -25.43 -26.08"),
    "Fe XVI 262.984": (6.1, "-27.22 -26.20 -25.37 -25.02 -25.05 -25.21 -25.43 -25.75 -26.23 -26.97"),
    "Ca XIV 193.874": (6.3, "-26.27 -26.16 -25.83 -25.77 -26.13 -26.96 -28.06"),
    "Ca XV 200.972": (6.4, "-27.26 -26.31 -25.88 -25.93 -26.48 -27.15 -27.28 -27.53 -28.23"),
    "Fe XVII 254.870": (6.3, "-28.35 -27.03 -26.55 -26.29 -26.16 -26.17 -26.37 -26.86 -27.78"),
}  # fmt: skip
log_t = np.round(np.arange(5.4, 7.21, 0.1), 1)
contribution = np.zeros((len(TABLE), log_t.size))
for row, (first, values) in zip(contribution, TABLE.values(), strict=True):
    start = int(np.argmin(np.abs(log_t - first)))
    logs = np.array(values.split(), dtype=float)
    row[start : start + logs.size] = 10**logs

response = demreg.TemperatureResponse.from_lines(
    list(TABLE), 10**log_t * u.K, contribution * u.Unit("erg cm3 / (s sr)")
)
print(response)

figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
colors = plt.get_cmap("turbo")(np.linspace(0.05, 0.95, len(TABLE)))
for label, row, color in zip(
    response.channels, response.response.value, colors, strict=True
):
    axes.plot(
        log_t[row > 0], row[row > 0], color=color, label=label, marker=".", lw=1.5
    )
axes.set(
    yscale="log",
    xlabel="log T [K]",
    ylabel=r"G [erg cm$^3$ s$^{-1}$ sr$^{-1}$]",
    ylim=(1e-28, 1e-23),
)
axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.01, 0.5))
plt.show()

# %%
# Two ways to invert them
# =======================
#
# An active region: quiet corona around log T = 6.1, and a core at log T = 6.55. Each intensity has an error of 10 %, and
# 200 realizations are drawn. Intensities are in erg / (cm2 s sr), and the bins are centered on the nodes of the table.
# Both methods find the two components; the regularized inversion damps the hot one. Below log T = 5.7 and above 6.8 no
# line says much: what stands there is what the prior of the log-normal method allows.

edges = 10 ** np.arange(5.45, 7.06, 0.1) * u.K
centers = np.sqrt(edges[1:] * edges[:-1])
widths = np.diff(edges)


def gaussian(center, width, emission_measure):
    """DEM of a Gaussian in log T."""
    profile = np.exp(-0.5 * ((np.log10(centers.value) - center) / width) ** 2)
    return emission_measure * profile / np.sum(profile * widths)


def observe(dem, rng):
    """Intensities, (line, ...), of DEMs, (bin, ...), and their errors."""
    emission = dem * widths.reshape(-1, *[1] * (dem.ndim - 1))
    clean = np.tensordot(response.at(centers), emission, 1).to("erg / (cm2 s sr)")
    return clean * (1 + 0.1 * rng.standard_normal(clean.shape)), 0.1 * clean


truth = gaussian(6.1, 0.15, 1e27 * u.cm**-5) + gaussian(6.55, 0.1, 3e27 * u.cm**-5)
rng = np.random.default_rng(1)
intensity, error = observe(np.repeat(truth[:, None], 200, axis=1), rng)

options = {
    "demreg": {"method": "demreg", "positivity": "constrain"},
    "lognormal": {"method": "lognormal"},
}
figure, panels = plt.subplots(
    1, 2, figsize=(10, 4), layout="constrained", sharex=True, sharey=True
)
total = np.sum(truth * widths)
for axes, (name, chosen) in zip(panels, options.items(), strict=True):
    result = demreg.invert(intensity, response, edges, uncertainty=error, **chosen)
    dem = result["dem"].data
    low, middle, high = np.percentile(dem, (16, 50, 84), axis=1)
    axes.stairs(truth.value, np.log10(edges.value), color="black", lw=2, label="truth")
    axes.stairs(middle, np.log10(edges.value), color="tab:red", label="median of 200")
    axes.fill_between(
        np.log10(edges.value),
        np.append(low, low[-1]),
        np.append(high, high[-1]),
        step="post",
        color="tab:red",
        alpha=0.3,
        lw=0,
        label="68 % of them",
    )
    axes.set(title=name, yscale="log", ylim=(1e18, 1e22), xlabel="log T [K]")
    em = demreg.emission_measure(result, edges[[0, -1]]).data / total.value
    distance = np.sum(
        np.abs(dem - truth.value[:, None]) * widths.value[:, None], axis=0
    )
    print(f"{name}: median chi-squared {np.median(result['chi_squared'].data):.2f}")
    print(f"    total emission measure / true {np.median(em):.2f}")
    print(f"    error of the DEM {np.median(distance) / total.value:.2f}")
panels[0].set_ylabel("DEM [cm$^{-5}$ K$^{-1}$]")
panels[1].legend(loc="upper left")
plt.show()

# %%
# A bad line is left out, pixel by pixel
# ======================================
#
# A raster of 48 × 64 pixels with a hot core. In a stripe Fe XV 284.160 is lost, the strongest line there, and in one
# pixel out of twenty the fit of Fe XII 195.119 has failed: both are NaN. With ``missing_channels="omit"``, which is the
# default, such a pixel is inverted with the lines that it has; two at once have to be allowed by ``max_missing_channels``.

y, x = np.mgrid[:48, :64]
core = np.exp(-(((x - 36) / 12) ** 2) - ((y - 24) / 9) ** 2)
dems = gaussian(6.1, 0.15, 1e27 * u.cm**-5)[:, None, None] * (1 + core)
dems = dems + gaussian(6.55, 0.1, 4e27 * u.cm**-5)[:, None, None] * core
intensity, error = observe(dems, rng)
lines = list(TABLE)
intensity[lines.index("Fe XV 284.160"), :, 30:36] = np.nan
intensity[lines.index("Fe XII 195.119"), rng.random((48, 64)) < 0.05] = np.nan

result = demreg.invert(
    intensity,
    response,
    edges,
    uncertainty=error,
    method="lognormal",
    missing_channels="omit",
    max_missing_channels=2,
)
em = demreg.emission_measure(result, 10 ** np.array([6.35, 6.75]) * u.K)
inside = (centers > 10**6.35 * u.K) & (centers < 10**6.75 * u.K)
true_em = np.sum((dems * widths[:, None, None])[inside], axis=0)
omitted = result["omitted_channels"].data
n_omitted = np.array([int(bits).bit_count() for bits in omitted.flat]).reshape(
    omitted.shape
)

figure, panels = plt.subplots(
    1, 3, figsize=(10, 2.9), layout="constrained", sharex=True, sharey=True
)
limits = {"origin": "lower", "vmin": 0, "vmax": 4.5, "cmap": "inferno"}
panels[0].imshow(true_em.value / 1e27, **limits)
panels[0].set_title("truth, log T 6.35–6.75")
image = panels[1].imshow(em.data / 1e27, **limits)
panels[1].set_title("found")
label = "EM [$10^{27}$ cm$^{-5}$]"
figure.colorbar(image, ax=panels[:2], label=label, shrink=0.8)
image = panels[2].imshow(
    n_omitted,
    origin="lower",
    cmap=plt.get_cmap("Greys", 3),
    vmin=-0.5,
    vmax=2.5,
)
panels[2].set_title("lines left out")
figure.colorbar(image, ax=panels[2], ticks=[0, 1, 2], label="Lines", shrink=0.8)
for axes in panels:
    axes.set_xlabel("x [pixels]")
panels[0].set_ylabel("y [pixels]")
plt.show()

bright = true_em > 1e27 * u.cm**-5
ratio = em.data / true_em.value
for title, where in {
    "all lines": n_omitted == 0,
    "without some": n_omitted > 0,
}.items():
    here = ratio[bright & where]
    chi_squared = np.median(result["chi_squared"].data[bright & where])
    print(f"{title}: found / true {np.median(here):.2f} ± {np.std(here):.2f}")
    print(f"    median chi-squared {chi_squared:.2f}")
