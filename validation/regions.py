"""
The uncertainty of a region against a thousand draws of the noise, from 1 to 100 000 pixels.

    python validation/regions.py

Draws ``docs/_static/validation_regions.png``, and prints the numbers. The images are those of the detector: photons,
reading, digitizing and compression of every pixel, and of each image an error of the dark level and one of the
calibration. One channel keeps its pixels, the other is interpolated to them, by scipy, and then averaged.
"""

import sys
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import map_coordinates

from sunpy.map import Map

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from sunpy_demreg import prepare, region_spectrum, sample  # noqa: E402
from validation.figures import STYLE  # noqa: E402

SIDES = (1, 2, 4, 8, 16, 32, 64, 128, 316)
N_DRAWS = 1000
MARGIN = 12  # pixels, by which the grids of the channels are shifted at most
#: Channel: DN per photon, noise of reading in DN, error of the calibration, and DN in the middle of its brightness.
CHANNELS = {94: (1.975, 1.14, 0.087, 6.0), 171: (1.122, 1.15, 0.019, 400.0)}


def maps_of(rng):
    """Maps of the two channels, with the coordinates of level-1 cutouts and a structured image."""
    side = max(SIDES) + 2 * MARGIN
    smooth = np.exp(0.7 * np.sin(np.add.outer(np.arange(side) / 9, np.arange(side) / 13)))
    for smap in sample.flare_maps(0):
        channel = round(smap.wavelength.value)
        if channel in CHANNELS:
            header = {key: value for key, value in smap.meta.items() if key not in ("keycomments", "bitpix")}
            counts = CHANNELS[channel][3] * smooth * rng.uniform(0.8, 1.2, smooth.shape)
            yield channel, Map(counts, header)


def drawn_means(smap, channel, x, y, sides, rng):
    """Means (draw, side) over squares of the grid, at the columns and rows x, y of the detector."""
    per_photon, reading, calibration, _ = CHANNELS[channel]
    counts, means = smap.data, np.empty((N_DRAWS, len(sides)))
    spread = np.sqrt(reading**2 + np.where(counts < 25, 1, 2) / 12)  # below 25 DN compression loses nothing
    for i in range(N_DRAWS):
        image = rng.poisson(counts / per_photon) * per_photon + spread * rng.standard_normal(counts.shape)
        image = (image + 0.18 * rng.standard_normal()) * (1 + calibration * rng.standard_normal())
        values = map_coordinates(image, [y, x], order=1)
        means[i] = [values[MARGIN : MARGIN + side, MARGIN : MARGIN + side].mean() for side in sides]
    return means


def measure():
    """The uncertainty of each square and the scatter of the draws, in DN / s, by channel."""
    rng = np.random.default_rng(7)
    maps = dict(maps_of(rng))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cube = prepare(list(maps.values()), include_eve=True)
    rows, columns = np.indices(cube.shape[1:])
    masks = []
    for side in SIDES:
        masks.append(np.zeros(cube.shape[1:], dtype=bool))
        masks[-1][MARGIN : MARGIN + side, MARGIN : MARGIN + side] = True
    spectrum = region_spectrum(cube, masks)
    found = {}
    for i, (channel, smap) in enumerate(sorted(maps.items())):
        world = maps[min(maps)].wcs.pixel_to_world_values(columns, rows)
        x, y = smap.wcs.world_to_pixel_values(*world)
        means = drawn_means(smap, channel, x, y, SIDES, rng)
        found[channel] = spectrum.uncertainty.array[i], means.std(axis=0) / cube.meta["exposure_time"][i].value
    return found


def main():
    """Measure, print, draw."""
    path = ROOT / "docs" / "_static" / "validation_regions.png"
    with plt.rc_context(STYLE):
        draw(measure()).savefig(path, dpi=130, metadata={"Software": None})


def draw(found):
    """The figure of what `measure` returns, with the numbers printed."""
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(6, 6), sharex=True, height_ratios=(2, 1), layout="constrained")
    n = np.array(SIDES) ** 2
    colors, markers = ("#D55E00", "#0072B2"), "os"
    for color, marker, (channel, (said, scatter)) in zip(colors, markers, found.items(), strict=True):
        print(f"AIA {channel}: uncertainty / scatter", np.round(said / scatter, 3))
        own = "its own pixels" if channel == min(CHANNELS) else "interpolated"
        top.plot(n, said, color=color, label=f"AIA {channel}, {own}: uncertainty")
        top.plot(n, scatter, marker, color=color, markerfacecolor="white", label=f"scatter of {N_DRAWS} draws")
        top.plot(n, said[0] / np.sqrt(n), ":", color=color, linewidth=1)
        bottom.plot(n, said / scatter, f"{marker}-", color=color)
    bottom.axhspan(0.9, 1.1, color="0.9", zorder=0)
    bottom.set(xscale="log", xlabel="Pixels of the region", ylabel="uncertainty / scatter", ylim=(0.8, 1.2))
    top.set(yscale="log", ylabel="Error of the mean [DN s$^{-1}$ pix$^{-1}$]", title="Regions of 1 to 100 000 pixels")
    top.legend()
    return figure


if __name__ == "__main__":
    main()
