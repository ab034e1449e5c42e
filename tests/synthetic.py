"""A synthetic instrument and data for the numerics, which know neither units nor sunpy."""

import numpy as np

from sunpy_demreg._engines import execute
from sunpy_demreg._engines.arrays import engine
from sunpy_demreg._engines.base.problem import Bins, Problem

BACKENDS = ("cpu", "numpy")  # that need no GPU: `test_gpu.py` is about the other one


def instrument(n_channels=6, n_bins=30, low=5.6, high=7.4):
    """Response matrix (n, m), widths and centers of the bins in log T: smooth, overlapping responses."""
    log_edges = np.linspace(low, high, n_bins + 1)
    logt = 0.5 * (log_edges[1:] + log_edges[:-1])
    dlogt = np.diff(log_edges)
    peaks = np.linspace(low + 0.15, high - 0.15, n_channels)
    width = 0.12 + 0.05 * np.arange(n_channels) / max(n_channels - 1, 1)
    response = 1e-25 * (np.exp(-0.5 * ((logt - peaks[:, None]) / width[:, None]) ** 2) + 0.02)
    return response * 10**logt * np.log(10) * dlogt, dlogt, logt


def pixels(K, logt, n_pixels=50, noise=0.05, seed=0):
    """Intensities (n, N) of random two-component DEMs with noise, and their uncertainties."""
    rng = np.random.default_rng(seed)
    dem = np.zeros((logt.size, n_pixels))
    for _ in range(2):
        center = rng.uniform(logt[0] + 0.2, logt[-1] - 0.2, n_pixels)
        width = rng.uniform(0.05, 0.3, n_pixels)
        height = 10 ** rng.uniform(20.5, 22, n_pixels)
        dem += height * np.exp(-0.5 * ((logt[:, None] - center) / width) ** 2)
    clean = K @ dem
    sigma = noise * clean + 0.01
    return np.clip(clean + sigma * rng.standard_normal(clean.shape), 0.1 * sigma, None), sigma


def make_problem(K, dlogt, logt, options, weight=None, functional=None):
    return Problem(Bins(dlogt, logt), K, options, weight, functional)


def solve(g, sigma, *problem, **more):
    """On plain arrays, all at once; the arguments are those of `make_problem`."""
    return engine.solve(g, sigma, make_problem(*problem, **more))


def run(g, sigma, status, K, dlogt, logt, options, *, weight=None, functional=None, **more):
    """On the engine of a backend."""
    return execute.run(g, sigma, status, make_problem(K, dlogt, logt, options, weight, functional), **more)
