"""
==========================
Response and inversion
==========================

What the instrument sees of plasma at each temperature, and how the DEM is found from it.
"""

import matplotlib.pyplot as plt
import numpy as np

import astropy.units as u

import sunpy_demreg as demreg

cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=16)

# %%
# The response
# ============
#
# `~sunpy_demreg.TemperatureResponse.from_aia` folds the wavelength responses of aiapy with a spectrum of CHIANTI, for
# the channels of the cube and the degradation at its date. All tables are included in the package, and nothing is
# downloaded.

response = demreg.TemperatureResponse.from_aia(cube)
response

# %%
# ``emissivity`` chooses another spectrum: that of xrtpy or fiasco, or your own. For other instruments there are
# `~sunpy_demreg.TemperatureResponse.from_suvi`, `~sunpy_demreg.TemperatureResponse.from_xrt` and, for any table,
# `~sunpy_demreg.TemperatureResponse.from_arrays` (:doc:`/instruments`); `~sunpy_demreg.TemperatureResponse.concatenate` and
# `~sunpy_demreg.combine` join the responses and cubes of several.
#
# The bins
# ========
#
# The response is tabulated at log T = 4, 4.05, ... 9, and these edges put the centers of the bins on its nodes. Midway
# between them, interpolation (linear in the logarithms) is off by 4 to 7 % where the response is most curved: edges that
# are half a step off make chi-squared half as large again where it is large.

edges = 10 ** np.arange(5.575, 7.43, 0.05) * u.K

# %%
# The inversion
# =============
#
# Six intensities do not determine 37 bins: a DEM that only has to fit is mostly amplified noise, so that something has
# to be known beforehand. ``method="lognormal"`` finds the most likely DEM, given that its logarithm is smooth;
# ``method="demreg"``, the default, is the regularized inversion of Hannah & Kontar, which looks for the smallest DEM that
# fits. ``calibration_error=0.1`` adds 10 % of the intensity, in quadrature, to the uncertainty of each channel, which is
# otherwise the noise alone: no response is known that well. (``"atomic"`` is the error of AIA's atomic data, and
# ``common_calibration_error`` one that all channels share.)

options = {"calibration_error": 0.1}
smooth = demreg.invert(cube, response, edges, method="lognormal", **options)
smallest = demreg.invert(
    cube, response, edges, method="demreg", positivity="constrain", **options
)

figure, panels = plt.subplots(
    1, 2, figsize=(10, 4.2), layout="constrained", sharey=True
)
results = {"lognormal": smooth, "demreg, constrain": smallest}
for axes, pixel in zip(panels, [(60, 60), (15, 109)], strict=True):
    for name, result in results.items():
        demreg.visualization.plot_dem(result, pixel, axes=axes, label=name)
    axes.set_title(f"pixel {pixel}", fontsize="medium")
panels[0].set_ylim(1e17, 1e23)
panels[1].set_ylabel("")
plt.show()

# %%
# Both fit. Where they agree the data speak, and where they differ the method does: at temperatures that six channels
# hardly see, ``"demreg"`` leaves plasma rather than none. :doc:`/gallery/which_method` compares them on known DEMs.
#
# What can be chosen
# ==================
#
# :doc:`/theory` explains these arguments of `~sunpy_demreg.invert`, and :doc:`/paper` which to take:
#
# ``method``, ``prior``
#    ``"demreg"`` (default); ``"lognormal"``, whose prior is `~sunpy_demreg.LogNormalPrior`; ``"l2"``, cheaper and less
#    accurate.
# ``solve_for``
#    ``"dem"`` (default), per kelvin, or ``"emission_measure"``, per dex, which leaves less plasma where the channels see
#    nothing. ``"lognormal"`` always solves for the latter.
# ``parameter_choice``
#    ``"discrepancy"`` (default) solves the discrepancy principle exactly; ``"grid"`` takes the nearest of 42 samples, as
#    the original code does, to reproduce published results; ``"prior"`` is the default of ``"lognormal"``.
# ``positivity``
#    Of ``"demreg"`` and ``"l2"``: ``"relax"`` (default), the rule of the original code, relaxes the fit until the DEM is
#    positive; ``"constrain"`` finds the DEM without negative bins that reaches the target; ``"ignore"`` accepts the first
#    solution.
# ``chi_squared_target``
#    The chi-squared per channel to aim for: 1 by default. With ``"lognormal"`` it is an upper limit, and most pixels are
#    far below it.
# ``dem_error``
#    ``"noise"`` (default), the propagated noise, or ``"posterior"``, the default of ``"lognormal"``: what data and prior
#    leave open.
# ``nonpositive``, ``missing_channels``, ``max_missing_channels``
#    Intensities of zero and below are data: noise about a faint signal. A pixel in which one channel has no usable value,
#    because it is saturated, masked or not finite, is solved with the others. ``"mask"`` masks these pixels instead.
#
# A pixel that cannot be inverted, because more channels are missing or there is no significant signal at all, is NaN and
# masked, and its ``"status"`` gives the reason. Its neighbors are not affected.
