"""
Random faults in pixels: each pixel is solved, with the chi-squared that its DEM gives, or its status says why not.

    nice python validation/faults.py [--number 1000000] [--seed 0]

Makes so many faults for each of "cpu" and "numpy" in float64 and float32, each set over the instruments and options
below, and prints how many pixels were solved, how many were flagged, and how many were neither: zero, or the
command fails. With ``--options``, of those options alone.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from sunpy_demreg import Status
from sunpy_demreg._engines import execute
from sunpy_demreg._engines.base.options import STANDARD_OUTPUTS, Options
from sunpy_demreg._engines.base.problem import Bins, Problem

BACKENDS, DTYPES = ("cpu", "numpy"), ("float64", "float32")
OPTIONS = {
    "default": Options(),
    "constrain": Options(positivity="constrain"),
    "grid": Options(parameter_choice="grid"),
    "gcv": Options(parameter_choice="gcv", positivity=None),
    "l2": Options(weighting="uniform", positivity=None),
    "em_loci": Options(weighting="em_loci", loci=(0, 1, 2, 3)),
    "lognormal": Options(method="lognormal", parameter_choice="prior", dem_error="posterior"),
    "lognormal, discrepancy": Options(method="lognormal", dem_error="posterior"),
}
#: How many of a million faults: searches for the constraint take longest.
SHARES = {
    **{"default": 0.4, "constrain": 0.01, "grid": 0.19, "gcv": 0.08, "l2": 0.06, "em_loci": 0.06},
    **{"lognormal": 0.1, "lognormal, discrepancy": 0.1},
}
INSTRUMENTS = ("plain", "a channel that sees nothing", "a channel that sees hardly anything", "two that see the same")
VALUES = (
    0.0,
    -1.0,
    np.nan,
    np.inf,
    -np.inf,
    5e-324,
    1e-310,
    *(10.0**e for e in (-300, -150, -70, -38, 38, 70, 150, 300)),
)
FACTORS = tuple(10.0**power for power in (-70, -30, -10, -5, -2, 2, 5, 10, 30, 70))
_UNSOLVED = int(Status.UNSOLVED)


def instrument(kind, n=4, m=12):
    """Response matrix, widths and centers of the bins."""
    edges = np.linspace(5.6, 7.4, m + 1)
    dlogt, logt = np.diff(edges), 0.5 * (edges[1:] + edges[:-1])
    peaks = np.linspace(5.75, 7.2, n)[:, None]
    K = 1e-18 * dlogt * (np.exp(-0.5 * ((logt - peaks) / 0.15) ** 2) + 0.02)
    if kind == INSTRUMENTS[1]:
        K[1] = 0.0
    elif kind == INSTRUMENTS[2]:
        K[1] *= 1e-290
    elif kind == INSTRUMENTS[3]:
        K[1] = K[2] * (1.0 + 1e-9 * np.sin(np.arange(m)))
    return K, dlogt, logt


def faulty_pixels(K, logt, n_pixels, rng):
    """Intensities and uncertainties with one to three faults in each pixel."""
    n = len(K)
    centers = rng.uniform(5.8, 7.2, n_pixels)
    dem = 10 ** rng.uniform(19, 22, n_pixels) * np.exp(-0.5 * ((logt[:, None] - centers) / 0.2) ** 2)
    clean = K @ dem
    sigma = (0.05 * clean + 0.01) * 10 ** rng.uniform(-1, 1, n_pixels)
    given = np.stack([np.abs(clean + sigma * rng.standard_normal(clean.shape)), sigma])
    pixel = np.arange(n_pixels)
    with np.errstate(all="ignore"):
        for turn in range(3):
            kind = rng.integers(8, size=n_pixels) if turn == 0 else rng.integers(24, size=n_pixels)
            which, channel = rng.integers(2, size=n_pixels), rng.integers(n, size=n_pixels)
            here = which, channel, pixel
            value, factor = rng.choice(VALUES, n_pixels), rng.choice(FACTORS, n_pixels)
            given[here] = np.where(kind == 0, value, np.where(kind <= 2, given[here] * factor, given[here]))
            given[which, :, pixel] = np.where((kind == 3)[:, None], value[:, None], given[which, :, pixel])
            given[which, :, pixel] *= np.where(kind == 4, factor, 1.0)[:, None]
            given *= np.where(kind == 5, factor, np.where(kind == 6, 10 ** rng.uniform(-300, 300, n_pixels), 1.0))
            scale = np.where(kind == 7, 10 ** rng.uniform(-20, 20, n_pixels), 1.0)
            given[which, :, pixel] *= scale[:, None]
    return given[0], given[1]


def hidden_values(shape, rng):
    """Values that are masked, and those of them that are saturated: one or two in a tenth of the pixels."""
    hidden = (rng.random(shape) < 0.6 / shape[0]) & (rng.random(shape[1]) < 0.2)
    return hidden, hidden & (rng.random(shape) < 0.5)


def silent(g, sigma, K, options, answer, used=True, saturated=False):
    """
    Find pixels that fail silently.

    Parameters
    ----------
    g, sigma : array, (n, N)
    K : array, (n, m)
    options : `sunpy_demreg._engines.base.options.Options`
    answer : `sunpy_demreg._engines.base.solution.Solution`
    used, saturated : array of bool, (n, N), optional
        The values that the answer is of, and those of the others that are lower limits.

    Returns
    -------
    dict of array of bool
        For each reason, the pixels.
    """
    status = answer.status
    is_solved = (status & _UNSOLVED) == 0
    used, saturated = np.broadcast_to(used, g.shape), np.broadcast_to(saturated, g.shape)
    given = np.where(used, g, 1.0), np.where(used, sigma, 1.0)
    wrong = {"bad data solved": is_solved & (execute.classify(*given) & _UNSOLVED != 0)}
    wrong["missing channel not told"] = is_solved & (used.all(axis=0) == ((status & Status.MISSING_CHANNEL) != 0))
    for name in STANDARD_OUTPUTS:
        values = np.atleast_2d(getattr(answer, name))
        is_there = np.isfinite(values).all(axis=0)
        wrong[f"{name} not finite"] = is_solved & ~is_there
        wrong[f"{name} of an unsolved pixel"] = ~is_solved & ~np.isnan(values).all(axis=0)
    wrong["no DEM"] = is_solved & ~np.any(answer.dem, axis=0)
    wrong["no lambda"] = is_solved & ~(answer.regularization_parameter > 0)
    is_negative = (status & Status.NEGATIVE_DEM) != 0
    wrong["negative"] = is_solved & (np.any(answer.dem < 0, axis=0) != is_negative)
    has_fallen_back = (status & Status.NOT_CONVERGED) != 0
    if options.method == "lognormal":
        wrong["not positive"] = is_solved & ~has_fallen_back & ~np.all(answer.dem > 0, axis=0)

    # What the DEM gives, with a wider range and more digits than that of the numbers that go in.
    wide, single = np.longdouble, answer.dem.dtype == np.float32
    lanes = np.flatnonzero(is_solved)
    limit = np.where(saturated, g, -np.inf)[:, lanes]
    used, g, sigma, dem = used[:, lanes], *(a[:, lanes].astype(wide) for a in (*given, answer.dem))
    n_used = used.sum(axis=0)
    digits = wide(2.0**-23 if single else 2.0**-52)
    predicted = np.einsum("ij,jp->ip", K.astype(wide), dem)
    terms = np.einsum("ij,jp->ip", K.astype(wide), np.abs(dem) + (1.5e-38 if single else 1e-307))
    residual = np.where(used, g - predicted, 0.0) / sigma
    chi_squared = np.sum(residual**2, axis=0) / n_used
    rounding = (4.0 if single else 0.0) * digits * (np.abs(g) + terms) / sigma
    rounding += 4 * wide(2.0**-52) * (np.abs(g) + K.shape[1] * terms) / sigma
    rounding = np.where(used, rounding, 0.0)
    tolerance = np.sum((2 * np.abs(residual) + rounding) * rounding, axis=0) / n_used
    tolerance += (4 * digits + 1e-12) * chi_squared
    reported = answer.chi_squared[lanes].astype(wide)
    tiny = np.finfo(answer.dem.dtype).tiny
    wrong["chi_squared"] = _at(lanes, is_solved, ~(np.abs(reported - chi_squared) <= tolerance + tiny))
    ours = answer.predicted_intensity[:, lanes].astype(wide)
    off = np.abs(ours - predicted) > 4 * K.shape[1] * digits * terms + tiny
    wrong["predicted_intensity"] = _at(lanes, is_solved, off.any(axis=0))
    contradicted = (status[lanes] & Status.SATURATION_CONTRADICTED) != 0
    wrong["saturation"] = _at(lanes, is_solved, contradicted != (ours < limit).any(axis=0))
    goal = options.chi_squared_target
    told = (status[lanes] & int(Status.RELAXED | Status.TARGET_NOT_REACHED)) != 0
    if options.parameter_choice == "discrepancy":
        off = ~(np.abs(chi_squared - goal) <= tolerance + 1e-2 * goal)
        if options.method == "lognormal":  # where the mean of the prior is below the target, nothing is nearer to it
            off = off & ~((chi_squared < goal) & (answer.regularization_parameter[lanes] >= 1e6))
        wrong["target"] = _at(lanes, is_solved, off & ~told)
    elif options.method == "lognormal":
        wrong["target"] = _at(lanes, is_solved, ~(chi_squared <= tolerance + 1.02 * goal) & ~told)
    return {reason: pixels for reason, pixels in wrong.items() if pixels.any()}


def _at(lanes, like, values):
    whole = np.zeros_like(like)
    whole[lanes] = values
    return whole


def inspect(options, kind, n_pixels, rng, dtypes=DTYPES, backends=BACKENDS, most_missing=None):
    """
    Solve faulty pixels in all ways.

    Parameters
    ----------
    options : `sunpy_demreg._engines.base.options.Options`
    kind : str
        One of ``INSTRUMENTS``.
    n_pixels : int
    rng : `numpy.random.Generator`
    dtypes, backends : sequence of str, optional
    most_missing : int, optional
        How many channels may be left out in a pixel, by default none; otherwise some are masked or saturated too.

    Returns
    -------
    counts : dict
        Of each way: the pixels solved, told, and different between the engines because they hang on the last digits.
    wrong : dict
        Of each way and reason: what was silent, as pairs of intensities and uncertainties.
    """
    K, dlogt, logt = instrument(kind)
    g, sigma = faulty_pixels(K, logt, n_pixels, rng)
    problem, used, mask, saturated = Problem(Bins(dlogt, logt), K, options), True, None, None
    if most_missing is not None:
        mask, saturated = hidden_values(g.shape, rng)
    with np.errstate(all="raise"):
        status, omitted = execute.examine(g, sigma, mask, saturated, most_missing=most_missing)
    more = {"omitted": omitted, "saturated": saturated}
    if omitted is not None:
        used = (omitted & (1 << np.arange(len(g)))[:, None]) == 0
    counts, wrong = {}, {}
    for dtype in dtypes:
        answers = {}
        for backend in backends:
            with np.errstate(all="raise"):
                answer = execute.run(g, sigma, status, problem, dtype=dtype, backend=backend, **more)
            answers[backend] = answer
            n_solved = int(np.sum((answer.status & _UNSOLVED) == 0))
            counts[backend, dtype] = np.array([n_solved, n_pixels - n_solved, 0])
            for reason, pixels in silent(
                g, sigma, K, options, answer, used, False if saturated is None else saturated & np.logical_not(used)
            ).items():
                wrong[backend, dtype, reason] = (g[:, pixels].T, sigma[:, pixels].T)
        if len(answers) == 2:
            ours, theirs = answers.values()
            differ, off = _different(ours, theirs, _tolerance(options, dtype))
            if options.method == "lognormal" and (differ | off).any():
                moves = _moves(problem, (g, sigma, status, omitted, saturated), differ | off, answers)
                counts["cpu", dtype][2] = np.count_nonzero(moves)
                differ, off = differ & ~moves, off & ~moves
            if differ.any():
                pairs = np.stack([ours.status[differ], theirs.status[differ]])
                wrong["both", dtype, "status"] = (g[:, differ].T, sigma[:, differ].T, pairs.T)
            if off.any():
                wrong["both", dtype, "dem"] = (g[:, off].T, sigma[:, off].T)
    return counts, wrong


def _tolerance(options, dtype):
    """Of the DEM, in units of its peak."""
    if options.method == "lognormal":
        return 1e-9 if dtype == "float64" else 1e-6
    return 1e-3 if options.parameter_choice == "gcv" else 1e-5


def _different(ours, theirs, tolerance):
    """The pixels of another status, and those of another DEM."""
    is_solved = ((ours.status | theirs.status) & _UNSOLVED) == 0
    with np.errstate(all="ignore"):
        off = np.abs(ours.dem - theirs.dem).max(axis=0) > tolerance * np.abs(theirs.dem).max(axis=0)
    return ours.status != theirs.status, off & is_solved


def _moves(problem, given, chosen, answers):
    """
    Find the chosen pixels whose answers move as far if the last digits of all numbers change as between the engines.

    Where an iteration is long, or has two ends, no two engines whose rounding differs can agree on them.
    """
    rng, lanes = np.random.default_rng(0), np.flatnonzero(chosen)
    g, sigma, status, omitted, saturated = (None if a is None else np.take(a, lanes, axis=-1) for a in given)
    answers = {backend: answer.at(lanes) for backend, answer in answers.items()}

    def changed(a):
        return a * (1.0 + 2.0**-52 * rng.integers(-2, 3, a.shape))

    def distance(a, b):
        with np.errstate(all="ignore"):
            peak = np.maximum(np.abs(a.dem).max(axis=0), np.abs(b.dem).max(axis=0))
            return np.nan_to_num(np.abs(a.dem - b.dem).max(axis=0) / peak)

    ours, theirs = answers.values()
    apart, moved, flips = distance(ours, theirs), np.zeros(lanes.size), np.zeros(lanes.size, bool)
    for backend, answer in answers.items():
        for _ in range(4):
            with np.errstate(all="ignore"):
                other = execute.run(
                    *(changed(g), changed(sigma), status, problem._replace(K=changed(problem.K))),
                    **{"backend": backend, "dtype": answer.dtype, "omitted": omitted, "saturated": saturated},
                )
            moved = np.maximum(moved, distance(other, answer))
            flips |= other.status != answer.status
    whole = np.zeros(chosen.shape, bool)
    whole[lanes] = (flips | (ours.status == theirs.status)) & (flips | (apart <= 10 * moved))
    return whole


def main(arguments=None):
    """Parse the command line, make faults, print."""
    parser = argparse.ArgumentParser(description="Random faults in pixels: none may fail silently.")
    parser.add_argument("--number", type=int, default=10**6, help="of faults, for each engine and type of numbers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most-missing", type=int, help="how many channels may be left out in a pixel")
    parser.add_argument("--options", nargs="+", choices=OPTIONS, default=list(OPTIONS), help="by default all")
    chosen = parser.parse_args(arguments)
    all_shares = sum(SHARES[name] for name in chosen.options)
    start, total, n_wrong = time.perf_counter(), {}, 0
    for name in chosen.options:
        for kind in INSTRUMENTS:
            rng = np.random.default_rng([chosen.seed, len(total), len(name), INSTRUMENTS.index(kind)])
            n_pixels = max(round(SHARES[name] / all_shares * chosen.number) // len(INSTRUMENTS), 1)
            counts, wrong = inspect(OPTIONS[name], kind, n_pixels, rng, most_missing=chosen.most_missing)
            for way, numbers in counts.items():
                total[way] = total.get(way, 0) + numbers
            for way, pixels in wrong.items():
                n_wrong += len(pixels[0])
                print(name, "|", kind, "|", *way, len(pixels[0]), "of", n_pixels)
                for example in zip(*(p[:3].tolist() for p in pixels), strict=True):
                    print("   ", *example)
    for way, (n_solved, n_told, n_moving) in total.items():
        print(*way, f"{n_solved} solved, {n_told} told" + (f", {n_moving} hang on the last digits" if n_moving else ""))
    print(f"{n_wrong} silent or different between the engines; {time.perf_counter() - start:.0f} s")
    return 1 if n_wrong else 0


if __name__ == "__main__":
    sys.exit(main())
