"""
Families of differential emission measures of known truth.

All are sums of Gaussians in log T. The solar shapes are analytic approximations, made for this validation, of the
curves that CHIANTI distributes: quiet Sun and active region of Vernazza & Reeves (1978, ApJS 37, 485), flare of
Dere & Cook (1979, ApJ 229, 772). Only the shape is theirs; the total emission measure varies from case to case.
"""

from typing import NamedTuple

import numpy as np

from validation.setting import CELL_WIDTH, CELLS, EXPOSURE, SATURATION, intensity_of, only_in_bins

__all__ = ["CENTERS", "TOTALS", "WIDTHS", "Component", "families", "gaussian_grid", "random_sums", "solar"]

CENTERS = np.round(np.arange(5.8, 7.101, 0.05), 2)
WIDTHS = np.array([0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5])
TOTALS = {"quiet": 1e27, "active": 3e28}  # cm-5, of the single Gaussians


class Component(NamedTuple):
    """A Gaussian in log T."""

    center: float
    width: float
    share: float


# Shares are of the total in the corona. The first component of each is the cool foot that AIA sees through the
# low-temperature tails of its responses, and that the bins do not cover.
_SOLAR = {
    "quiet Sun": ((Component(5.0, 0.25, 0.18), Component(6.1, 0.235, 1.0)), (26.5, 27.5)),
    "active region": ((Component(5.0, 0.3, 0.08), Component(6.05, 0.2, 0.2), Component(6.38, 0.2, 0.8)), (28.0, 29.0)),
    "flare": (
        (Component(5.2, 0.3, 0.01), Component(6.3, 0.3, 0.04), Component(6.75, 0.15, 0.06), Component(7.12, 0.14, 0.9)),
        (28.7, 29.7),
    ),
}


def gaussian(center, width):
    """Emission measure in the cells, (cells, ...), of a Gaussian of one in total."""
    x = (CELLS.reshape(-1, *np.ones(np.ndim(center), dtype=int)) - center) / width
    return np.exp(-0.5 * x**2) * (CELL_WIDTH / np.sqrt(2 * np.pi)) / width


def gaussian_grid(total, n_draws):
    """Single Gaussians within the bins, (cells, centers * widths * draws), of one total emission measure."""
    width, center = np.meshgrid(WIDTHS, CENTERS, indexing="ij")
    em = only_in_bins(gaussian(center.ravel(), width.ravel()))
    em *= total / em.sum(axis=0)
    return np.repeat(em, n_draws, axis=1)


def random_sums(number, rng, n_components):
    """Sums of Gaussians within the bins, with random centers, widths and shares; (cells, number)."""
    em = 0.0
    for _ in range(n_components):
        share = 10 ** rng.uniform(-1.5, 0, number)
        em = em + share * gaussian(rng.uniform(5.7, 7.2, number), rng.uniform(0.05, 0.3, number))
    em = only_in_bins(em)
    return em * (10 ** rng.uniform(27, 29, number) / em.sum(axis=0))


def solar(name, number, rng):
    """A solar shape, shifted by up to 0.1 and scaled at random; (cells, number), also outside the bins."""
    components, (low, high) = _SOLAR[name]
    shift = rng.uniform(-0.1, 0.1, number)
    em = sum(part.share * gaussian(part.center + shift, part.width * np.ones(number)) for part in components)
    em = em * 10 ** rng.uniform(low, high, number)
    counts = intensity_of(em) * EXPOSURE[:, None]
    # The brightest flares would saturate: they are as faint as it takes for the exposures not to.
    return em * np.minimum(1.0, 0.8 * SATURATION / counts.max(axis=0))


def families(number, rng, n_draws):
    """All families by name: the emission measure in the cells, (cells, cases)."""
    return {
        "Gaussians, quiet": gaussian_grid(TOTALS["quiet"], n_draws),
        "Gaussians, active": gaussian_grid(TOTALS["active"], n_draws),
        "two components": random_sums(number, rng, n_components=2),
        "five components": random_sums(number, rng, n_components=5),
        **{name: solar(name, number, rng) for name in _SOLAR},
    }
