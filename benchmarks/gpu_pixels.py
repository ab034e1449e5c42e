"""
The real pixels that the GPU engine is measured on, and the options that it is measured with.

    python benchmarks/gpu_pixels.py

makes their file anew, ``benchmarks/data/aia_pixels.npz``, of the bundled sample; that needs the whole package.
"""

import sys
from pathlib import Path

import numpy as np

from sunpy_demreg._engines.base.options import Options
from sunpy_demreg._engines.base.problem import Bins, Problem

ROOT = Path(__file__).parent.parent
PIXELS = ROOT / "benchmarks" / "data" / "aia_pixels.npz"
sys.path.insert(0, str(ROOT))  # the package need not be installed

METHODS = {
    "defaults": {},
    'positivity="ignore"': {"positivity": None},
    'positivity="constrain"': {"positivity": "constrain"},
    'parameter_choice="grid"': {"parameter_choice": "grid"},
    'parameter_choice="gcv"': {"parameter_choice": "gcv"},
    'method="l2"': {"weighting": "uniform"},
    'method="lognormal"': {"method": "lognormal", "parameter_choice": "prior", "dem_error": "posterior"},
    "without resolution": {"outputs": ("dem", "dem_uncertainty", "chi_squared", "predicted_intensity")},
}
N_STORED = 4096


def problem(n_bins, options=Options()):  # noqa: B008 (it does not change)
    """What is to be inverted, in bins that are even in log T."""
    with np.load(PIXELS) as stored:
        log_t, response = stored["log_t"], stored["response"]
    edges = np.linspace(5.6, 7.65, n_bins + 1)
    centers, widths = 0.5 * (edges[1:] + edges[:-1]), np.diff(edges)
    K = np.array([np.exp(np.interp(centers, log_t, np.log(row))) for row in response])
    return Problem(Bins(widths, centers), K * 10**centers * np.log(10) * widths, options)


def pixels(n_pixels, *, coherent=False):
    """
    Intensity and uncertainty (n, N): the stored pixels, again and again, each time with other factors.

    They are in random order, unless `coherent`: then neighbors are alike, as in an image that is very smooth.
    """
    with np.load(PIXELS) as stored:
        g, sigma = (stored[name].astype(float) for name in ("intensity", "uncertainty"))
    repeats = -(-n_pixels // g.shape[1])
    factors = np.random.default_rng(0).uniform(0.8, 1.25, (1, repeats, 1))
    arrays = ((a[:, None] * factors).swapaxes(1, 1 + coherent).reshape(len(a), -1)[:, :n_pixels] for a in (g, sigma))
    return tuple(np.ascontiguousarray(a) for a in arrays)


def make_pixels():
    import sunpy_demreg as demreg

    cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=16)
    response = demreg.TemperatureResponse.from_aia(cube)
    good = np.all(cube.data > 0, axis=0)
    some = np.random.default_rng(0).permutation(np.count_nonzero(good))[:N_STORED]
    PIXELS.parent.mkdir(exist_ok=True)
    np.savez_compressed(
        PIXELS,
        intensity=cube.data[:, good][:, some].astype(np.float32),
        uncertainty=cube.uncertainty.array[:, good][:, some].astype(np.float32),
        log_t=np.log10(response.temperature.value),
        response=response.response.value,
    )


if __name__ == "__main__":
    make_pixels()
