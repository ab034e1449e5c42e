"""
============================
Which response, which error
============================

The result of an inversion is only as good as the response. This page shows the effect of each choice, and gives
recommendations.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np

import astropy.units as u

import sunpy_demreg as demreg

channels = [94, 131, 171, 193, 211, 335] * u.AA
response = demreg.TemperatureResponse.from_aia(channels)
print(response)


def compare(others, title, temperature=response.temperature):
    """Draw ratios of responses to the one above, a panel for each channel."""
    figure, panels = plt.subplots(
        2, 3, figsize=(10, 5), layout="constrained", sharex=True, sharey=True
    )
    for i, axes in enumerate(panels.flat):
        for label, other in others.items():
            axes.plot(
                np.log10(temperature.value),
                (other.at(temperature) / response.at(temperature))[i],
                label=label,
            )
        axes.axhline(1, color="gray", lw=0.8)
        axes.set(title=response.channels[i], xlim=(5.5, 7.5))
    figure.supxlabel("log T [K]")
    figure.supylabel("Ratio of responses")
    panels[0, 0].legend()
    figure.suptitle(title)
    plt.show()


# %%
# The date: correct the data or date the response, never both
# ===========================================================
#
# AIA loses sensitivity, and regains some when it is baked out. `~sunpy_demreg.TemperatureResponse.from_aia` takes
# the date from the cube. If instead the data are corrected (``prepare(..., correct_degradation=True)``), it leaves the
# degradation out; and `~sunpy_demreg.invert` refuses data and a response that do not match. In both cases the
# error of the intensity is that of the counts.

dates = ["2011-02-15", "2014-01-01", "2020-01-01"]
names = [label[4:] for label in response.channels]
place = np.arange(len(names))


def bars(groups, ylabel):
    """Draw one factor for each channel, side by side for each group."""
    axes = plt.figure(figsize=(7, 3.2), layout="constrained").add_subplot()
    width = 0.8 / len(groups)
    for i, (label, factors) in enumerate(groups.items()):
        axes.bar(
            place + width * (i - (len(groups) - 1) / 2),
            factors.values(),
            width,
            label=label,
        )
    axes.axhline(1, color="gray", lw=0.8)
    axes.set(xlabel="Channel [Å]", ylabel=ylabel, xticks=place, xticklabels=names)
    if len(groups) > 1:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    plt.show()


bars(
    {
        date: demreg.TemperatureResponse.from_aia(channels, date).meta["degradation"]
        for date in dates
    },
    "Sensitivity that is left",
)

# %%
# EVE: normalize
# ==============
#
# The effective areas measured in the laboratory are scaled so that the observed spectra of SDO/EVE, folded with them,
# give the observed counts: by the same factor at all dates and temperatures. Leave it on (``eve=True``), unless you
# compare with results obtained without it.

bars({"EVE": response.meta["eve"]}, "Response with / without EVE")

# %%
# Crosstalk: always
# =================
#
# Two channels share each telescope, and 335 Å receives light from the band of 131 Å: 93 % of its response at
# log T = 7.1.

compare(
    {
        "without crosstalk": demreg.TemperatureResponse.from_aia(
            channels, crosstalk=False
        )
    },
    "Crosstalk",
)

# %%
# The atomic data: CHIANTI 9 or 10
# ================================
#
# The bundled spectra are those that SolarSoft uses: CHIANTI 9.0.1 at constant pressure. xrtpy includes CHIANTI 10 at
# constant density, up to 400 Å; beyond that the bundled spectra are used, with a warning.
# ``emissivity="fiasco"`` computes the spectra, with the abundances and the pressure of the bundled ones, from the
# CHIANTI database that you have built with `fiasco <https://fiasco.readthedocs.io>`__, and any other spectrum can be
# passed as ``emissivity=(temperature, wavelength, spectrum)``. The difference between them is a measure of the errors
# of the atomic data; it is largest where there are few lines.

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about the continuation beyond 400 Å
    newer = demreg.TemperatureResponse.from_aia(channels, emissivity="xrtpy")
inside = newer.temperature[
    (newer.temperature > 10**5.45 * u.K) & (newer.temperature < 10**7.55 * u.K)
]
compare({"CHIANTI 10 / 9": newer}, "Atomic data", inside)

# %%
# The missing lines at 94 Å
# =========================
#
# SolarSoft offers an empirical correction, ``chiantifix=True``, for lines missing from CHIANTI at 94 Å around
# log T = 6. It also lowers the hot peak by a quarter, and is off by default.

fixed = demreg.TemperatureResponse.from_aia([94] * u.AA, chiantifix=True)
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
for label, each in {
    "CHIANTI 9": response.select("AIA 94"),
    "with chiantifix": fixed,
}.items():
    axes.plot(np.log10(each.temperature.value), each.response[0], label=label)
axes.set(
    xlim=(5.5, 7.5),
    ylim=(1e-29, 1e-26),
    yscale="log",
    xlabel="log T [K]",
    title="AIA 94",
)
axes.set_ylabel(f"Response [{response.response.unit:latex_inline}]")
axes.legend()
plt.show()

# %%
# Between the nodes
# =================
#
# The response is tabulated every 0.05 in log T. In between, its logarithm is interpolated linearly, which is inaccurate
# where it is curved: by 4 to 7 %, and with twice the step, as shown here, by up to 30 %. Put the centers of the bins on
# nodes, with edges such as ``10 ** np.arange(5.575, 7.43, 0.05) * u.K``.

half = demreg.TemperatureResponse.from_arrays(
    response.channels,
    response.temperature[::2],
    response.response[:, ::2],
    response.meta,
)
compare({"every other node": half}, "Interpolation over 0.1 in log T")

# %%
# Which error
# ===========
#
# `~sunpy_demreg.prepare` gives each intensity the error of its counts: photons, read noise, digitization, compression
# and dark current. Two more, which averaging does not reduce, can be included: that of the calibration,
# ``include_eve=True`` (1.4 to 9.7 %), and that of the atomic data, ``include_chianti=True`` (25 to 50 %). These are not
# noise: every pixel has the same error. Include them to compare different instruments or times; leave them out to
# compare pixels of one image, and keep in mind that chi-squared then reflects the errors of the response as well. As a
# compromise, ``relative_floor=0.1`` prevents errors of bright pixels that are smaller than the accuracy of the
# response.

maps = demreg.sample.aia_maps()
kinds = {
    "counts": {},
    "relative_floor=0.1": {"relative_floor": 0.1},
    "include_eve": {"include_eve": True},
    "include_chianti": {"include_chianti": True},
}
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for label, options in kinds.items():
    cube = demreg.prepare(maps, n_sample=16, **options)
    relative = np.median(cube.uncertainty.array / cube.data, axis=(1, 2))
    axes.plot(place, 100 * relative, "o-", label=label)
axes.set(
    xlabel="Channel [Å]",
    ylabel="Median error [%]",
    yscale="log",
    xticks=place,
    xticklabels=names,
)
axes.legend()
plt.show()
