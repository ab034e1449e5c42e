"""
Emission measures of known truth: fifteen families that are drawn at random, and two published curves.

A family is a function of a random generator and of the number of cases; it gives the emission measure in the cells of
`validation.setting`, ``(cells, number)`` in cm-5. ``U(a, b)`` in the comments is an even distribution, ``g(c, w)`` a
Gaussian in log T of center c, standard deviation w and unit sum.
"""

import numpy as np

from validation.setting import BIN_EDGES, CELL_WIDTH, CELLS, EXPOSURE, SATURATION, intensity_of

__all__ = ["CURVES", "FAMILIES", "SOLAR", "TOTALS", "WIDTHS", "draw", "gaussian", "only_in_bins", "solar"]

WIDTHS = np.array([0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5])  # dex
TOTALS = {"quiet": 1e27, "active": 3e28}  # cm-5, of the single Gaussians

#: Solar shapes: (share, center, width) of their Gaussians, and log10 of the least and the largest total. Analytic
#: approximations, made for this validation, of the curves that CHIANTI distributes: quiet Sun and active region of
#: Vernazza & Reeves (1978, ApJS 37, 485), flare of Dere & Cook (1979, ApJ 229, 772). The first Gaussian of each is the
#: cool foot that the bins do not cover, and that AIA sees through the tails of its responses.
SOLAR = {
    "quiet Sun": (((0.18, 5.0, 0.25), (1.0, 6.1, 0.235)), (26.5, 27.5)),
    "active region": (((0.08, 5.0, 0.3), (0.2, 6.05, 0.2), (0.8, 6.38, 0.2)), (28.0, 29.0)),
    "flare": (((0.01, 5.2, 0.3), (0.04, 6.3, 0.3), (0.06, 6.75, 0.15), (0.9, 7.12, 0.14)), (28.7, 29.7)),
}


def gaussian(center, width):
    """Emission measure in the cells, (cells, ...), of a Gaussian in log T of one in total."""
    x = (CELLS.reshape(-1, *np.ones(np.ndim(center), dtype=int)) - center) / width
    return np.exp(-0.5 * x**2) * (CELL_WIDTH / np.sqrt(2 * np.pi)) / width


def only_in_bins(em):
    """Take away the plasma that is colder or hotter than the bins."""
    is_inside = (BIN_EDGES[0] < CELLS) & (BIN_EDGES[-1] > CELLS)
    return em * is_inside.reshape(-1, *np.ones(em.ndim - 1, dtype=int))


def scaled(em, total):
    """The same shapes with these totals."""
    return em * (total / em.sum(axis=0))


def _power(rng, low, high, number):
    return 10 ** rng.uniform(low, high, number)


def _five(rng, number):
    """Of the tests in Plowman & Caspi (2020, ApJ 905, 17): five g(U(6, 7), U(.05, .15)) of U(1e27, 1e28) each."""
    return sum(
        rng.uniform(1e27, 1e28, number) * gaussian(rng.uniform(6, 7, number), rng.uniform(0.05, 0.15, number))
        for _ in range(5)
    )


def _gaussians(rng, number):
    shapes = gaussian(rng.uniform(5.9, 6.8, number), rng.uniform(0.05, 0.3, number))
    return shapes * _power(rng, 26.5, 28.5, number)


def _of_total(total):
    def family(rng, number):
        shapes = gaussian(rng.uniform(5.8, 7.1, number), rng.choice(WIDTHS, number))
        return scaled(only_in_bins(shapes), total)

    return family


def _random_sums(n_components):
    def family(rng, number):
        em = sum(
            _power(rng, -1.5, 0, number) * gaussian(rng.uniform(5.7, 7.2, number), rng.uniform(0.05, 0.3, number))
            for _ in range(n_components)
        )
        return scaled(only_in_bins(em), _power(rng, 27, 29, number))

    return family


def solar(name, shift=0.0, total=None):
    """
    A solar shape, (cells,), or several, (cells, N).

    Parameters
    ----------
    name : str
    shift, total : float or array, optional
        In log T, and in cm-5; by default none, and the middle of its range.
    """
    components, limits = SOLAR[name]
    shift, total = np.broadcast_arrays(shift, 10 ** np.mean(limits) if total is None else total)
    em = total * sum(share * gaussian(center + shift, width) for share, center, width in components)
    # The brightest flares would saturate: they are as faint as it takes for the exposures not to. (Of other families
    # some do that too: a shorter exposure is meant, with the same noise.)
    counts = (intensity_of(em).T * EXPOSURE).T
    return em * np.minimum(1.0, 0.8 * SATURATION / counts.max(axis=0))


def _solar(name):
    def family(rng, number):
        return solar(name, rng.uniform(-0.1, 0.1, number), _power(rng, *SOLAR[name][1], number))

    return family


def _isothermal(rng, number):
    em = np.zeros((CELLS.size, number))
    em[np.searchsorted(CELLS, rng.uniform(5.8, 7.1, number)), np.arange(number)] = _power(rng, 27, 28.5, number)
    return em


def _flat(rng, number):
    """Slopes of U(-1, 1) in log-log between U(5.6, 6) and U(6.5, 7.2), with edges of 0.03 dex."""
    x = CELLS[:, None]
    em = 10 ** (rng.uniform(-1, 1, number) * (x - 6.3))
    em /= 1 + np.exp((rng.uniform(5.6, 6.0, number) - x) / 0.03)
    em /= 1 + np.exp((x - rng.uniform(6.5, 7.2, number)) / 0.03)
    return scaled(em, _power(rng, 27, 28.7, number))


def _power_laws(rng, number):
    """Slopes of U(1, 5) below a peak at U(6, 6.8), and of -U(4, 12) above."""
    x = CELLS[:, None] - rng.uniform(6.0, 6.8, number)
    em = 10 ** np.where(x < 0, rng.uniform(1, 5, number) * x, -rng.uniform(4, 12, number) * x)
    return scaled(em, _power(rng, 27, 28.7, number))


def _boxes(rng, number):
    em = 0.0
    for _ in range(2):
        center, width = rng.uniform(5.9, 7.0, number), rng.uniform(0.05, 0.5, number)
        box = np.abs(CELLS[:, None] - center) < 0.5 * width
        em = em + scaled(box, _power(rng, -1, 0, number))
    return scaled(em, _power(rng, 27, 28.7, number))


def _with_hot(rng, number):
    em = _solar("active region")(rng, number)
    hot = gaussian(rng.uniform(6.8, 7.0, number), rng.uniform(0.05, 0.15, number))
    return em + hot * em.sum(axis=0) * _power(rng, -2, -0.7, number)


def _narrow_pairs(rng, number):
    em = sum(gaussian(rng.uniform(5.8, 7.0, number), 0.03) * _power(rng, -1, 0, number) for _ in range(2))
    return scaled(em, _power(rng, 27, 28.7, number))


FAMILIES = {
    "five components (P&C)": _five,
    "Gaussians": _gaussians,
    "Gaussians, quiet": _of_total(TOTALS["quiet"]),
    "Gaussians, active": _of_total(TOTALS["active"]),
    "two components": _random_sums(2),
    "five components": _random_sums(5),
    **{name: _solar(name) for name in SOLAR},
    "active region + hot": _with_hot,
    "flat": _flat,
    "power law": _power_laws,
    "two boxes": _boxes,
    "isothermal": _isothermal,
    "narrow pairs": _narrow_pairs,
}

# log10 of the DEM (cm-5 K-1) as CHIANTI distributes it, at log T from the first number in steps of the second.
_PUBLISHED = {
    # quiet_sun_eis: Brooks et al. 2009, ApJ 705, 1522.
    "quiet Sun (EIS)": (
        *(5.40, 0.05, 1.0),
        "19.9875 19.9559 19.9374 19.9327 19.9417 19.9647 20.0022 20.0554 20.1255 20.2144 20.3246 20.4589 20.6000 "
        "20.6776 20.5869 20.2784 19.7839 19.1360 18.3631 17.4904 16.5403 15.5330 14.4873 13.4210 12.3514 11.2953 "
        "10.2705 9.2950 8.3887",
    ),
    # flare: Dere & Cook 1979, ApJ 229, 772; a tenth of it, since all of it would saturate.
    "flare (Dere & Cook)": (
        *(4.5, 0.1, 0.1),
        "25.779 25.498 25.184 24.881 24.615 24.376 24.126 23.851 23.588 23.383 23.190 23.014 22.888 22.724 22.644 "
        "22.632 22.630 22.707 22.863 23.041 23.235 23.490 23.818 24.138 24.400 24.580 24.646 24.491 24.103 23.523",
    ),
}


def _published(name):
    first, step, factor, numbers = _PUBLISHED[name]
    log_dem = np.array(numbers.split(), dtype=float)
    nodes = first + step * np.arange(log_dem.size)
    dem = 10 ** np.interp(CELLS, nodes, log_dem, left=-np.inf, right=-np.inf)
    return factor * dem * 10**CELLS * np.log(10) * CELL_WIDTH


#: The published curves, (cells,) in cm-5.
CURVES = {name: _published(name) for name in _PUBLISHED}


def draw(name, number, rng):
    """Emission measure in the cells, (cells, number): cases of a family, or a published curve so often."""
    if name in CURVES:
        return np.repeat(CURVES[name][:, None], number, axis=1)
    return FAMILIES[name](rng, number)
