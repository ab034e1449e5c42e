"""
Six pictures, and that of the README, compared with what they looked like: with ``--mpl``, as ``make test`` does.

Text is drawn differently by other versions of matplotlib, so the tolerance is that of a picture, not of its letters;
on the oldest dependencies they are not compared.
"""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

import astropy.units as u

from sunpy_demreg import invert, visualization

pytest.importorskip("pytest_mpl")
mpl.use("agg")

picture = pytest.mark.mpl_image_compare(
    baseline_dir="data/pictures", style="default", tolerance=12, savefig_kwargs={"dpi": 45}
)


@pytest.mark.mpl_image_compare(
    baseline_dir="../docs/images", filename="demo.png", style="default", tolerance=12, savefig_kwargs={"dpi": 80}
)
def test_picture_of_the_readme_is_what_the_demo_draws(cube, response):
    edges = 10 ** np.linspace(5.575, 7.425, 38) * u.K
    return visualization.plot_summary(invert(cube, response, edges, method="lognormal", calibration_error=0.1))


@pytest.fixture(scope="module")
def result(cube, response, edges):
    return invert(cube[:, 30:78, 30:90], response, edges, method="lognormal", calibration_error=0.1)


@picture
def test_summary_of_one_column(result):
    return visualization.plot_summary(result, figure=plt.figure(figsize=(3.5, 6.8)))


@picture
def test_summary_of_a_page(result):
    return visualization.plot_summary(result, figure=plt.figure(figsize=(7.1, 6.8)))


@picture
def test_grid(result):
    figure = plt.figure(figsize=(7.1, 4), layout="constrained")
    visualization.plot_emission_measure_grid(result, figure=figure)
    return figure


@picture
def test_dem_with_loci(result):
    figure, axes = plt.subplots(figsize=(3.5, 2.8), layout="constrained")
    visualization.plot_dem(result, (15, 20), em_loci=True, axes=axes)
    return figure


@picture
def test_dems_and_fit(result):
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.1, 3), layout="constrained")
    visualization.plot_dem(result, [(15, 20), (25, 10)], axes=left)
    visualization.plot_intensity(result, (15, 20), axes=right)
    return figure


@picture
def test_maps_in_given_axes(result):
    figure = plt.figure(figsize=(7.1, 3), layout="constrained")
    left, right = (figure.add_subplot(1, 2, i, projection=result["status"].wcs) for i in (1, 2))
    visualization.plot_mean_temperature(result, axes=left, color_bar=True)
    visualization.plot_composite(result, [0.6, 1.4, 2.5, 10] * u.MK, axes=right)
    return figure
