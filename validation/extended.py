"""
The method of the theory page in extended precision, one pixel at a time.

All numbers that go in are taken to be exact. Arrays hold mpmath's numbers; the answer is rounded to float64. No line
is shared with the package.
"""

from types import SimpleNamespace

import mpmath
import numpy as np

DIGITS = 60
mp = mpmath.MPContext()
mp.dps = DIGITS
_exact = np.frompyfunc(lambda value: mp.mpf(float(value)), 1, 1)
_square_root = np.frompyfunc(mp.sqrt, 1, 1)


def exact(values):
    return _exact(np.asarray(values, dtype=float))


def rounded(values):
    return np.asarray(values).astype(float)


class System:
    """``min |A xi - d|^2 + lam |xi / sqrt(v)|^2`` by the eigenvalues of ``A v A^T``: the digits allow to square A."""

    def __init__(self, A, v, d):
        self.A, self.v, self.d = A, v, d
        s2, U = mp.eigsy(mp.matrix(((A * v) @ A.T).tolist()))
        self.s2 = np.array(list(s2), dtype=object)
        self.U = np.array(U.tolist(), dtype=object).reshape(len(d), len(d))
        self.c = self.U.T @ d
        # Directions that no bin can reach: their eigenvalues are zero but for the last digits.
        self.is_reached = self.s2 > max(self.s2) * mp.mpf(10) ** (-DIGITS * 3 // 4)
        self.s2 = np.where(self.is_reached, self.s2, mp.zero)

    def misfit(self, lam):
        return sum((self.c / (self.s2 + lam)) ** 2) * lam**2

    def least_misfit(self):
        """That of a vanishing lam."""
        return sum(self.c[~self.is_reached] ** 2, mp.zero)

    def root(self, goal):
        """The lam of this misfit, by bisection and then Newton's method; None where there is none."""
        if not self.least_misfit() < goal < self.d @ self.d:
            return None
        low, high = max(self.s2) * mp.mpf(10) ** -DIGITS, max(self.s2) * mp.mpf(10) ** DIGITS
        while high / low > 1.001:
            middle = mp.sqrt(low * high)
            low, high = (middle, high) if self.misfit(middle) < goal else (low, middle)
        for _ in range(4):
            slope = 2 * low * sum(self.s2 * self.c**2 / (self.s2 + low) ** 3)
            low -= (self.misfit(low) - goal) / slope
        assert abs(self.misfit(low) / goal - 1) < mp.mpf(10) ** -20
        return low

    def cross_validation(self, lam):
        x = self.c / (self.s2 + lam)
        return x @ x / sum(1 / (self.s2 + lam)) ** 2

    def least_cross_validation(self, n_scanned=1000):
        """The lam of the least score on a fine grid about the spectrum, narrowed by thirds; None where it is an end."""
        s2 = rounded(self.s2[self.is_reached])
        scan = np.geomspace(max(s2.min(), s2.max() * 2.0**-52) * 1e-2, s2.max() * np.exp(4), n_scanned)
        terms = rounded(self.s2)[:, None] + scan
        score = np.sum((rounded(self.c)[:, None] / terms) ** 2, axis=0) / np.sum(1 / terms, axis=0) ** 2
        best = np.argmin(score)
        if best in (0, n_scanned - 1):
            return None
        low, high = (mp.log(float(scan[best + i])) for i in (-1, 1))
        while high - low > mp.mpf(10) ** -12:
            a, b = low + (high - low) / 3, high - (high - low) / 3
            is_left = self.cross_validation(mp.exp(a)) < self.cross_validation(mp.exp(b))
            low, high = (low, b) if is_left else (a, high)
        return mp.exp(low)

    def operator(self, lam):
        """From the data to the DEM."""
        U = self.U[:, self.is_reached]
        return self.v[:, None] * (self.A.T @ ((U / (self.s2[self.is_reached] + lam)) @ U.T))


def smoothed(model, *, is_solution):
    """The weight of a model of the DEM; of a solution, its empty bins are raised to a floor."""
    peak = max(max(model), mp.zero)
    if is_solution:
        floor = peak * mp.mpf(1e-6) if peak > 0 else mp.one
        model = np.where(model > peak * mp.mpf(1e-4), model, floor)
        peak = max(model)
    inner = np.concatenate([[mp.zero] * 3, model[1:-1], [mp.zero] * 3])
    mean = np.array([sum(inner[j : j + 5]) / 5 for j in range(len(model))], dtype=object)
    return np.maximum(mean / peak, mp.mpf(1e-8))


def least_locus(g, K, channels):
    """In each bin, the least DEM that explains one of the channels."""
    return np.array([min(g[i] / K[i, j] for i in channels) for j in range(K.shape[1])], dtype=object)


def weighted_system(g, sigma, K, dlogt, options, weight=None):
    """The system of the last pass, all in extended precision; None where a pass before it has no solution."""
    A, d = K / sigma[:, None], g / sigma
    goal = len(d) * mp.mpf(options.chi_squared_target)

    def squared(w):
        return w * w if options.is_squared else w / dlogt

    if options.weighting == "given":
        return System(A, squared(abs(exact(weight))), d)
    if options.weighting == "em_loci":
        system = System(A, squared(smoothed(least_locus(g, K, options.loci), is_solution=False)), d)
    else:
        system = System(A, dlogt, d)
    for _ in range({"self": 1, "uniform": 0, "em_loci": 0}[options.weighting] + options.n_refinements):
        lam = choose(system, options, goal)
        if lam is None:
            return None
        system = System(A, squared(smoothed(system.operator(lam) @ d, is_solution=True)), d)
    return system


def choose(system, options, goal):
    return system.least_cross_validation() if options.parameter_choice == "gcv" else system.root(goal)


def solve(g, sigma, K, dlogt, options, weight=None, active=None, n_raised=0, goal=None):
    """
    One pixel, or None where lam does not exist.

    With the positivity "constrain", `active` tells the bins that are guessed not to be zero, and `n_raised` how many
    times the target was raised, unless the `goal` of the misfit is given. The answer then has the largest violation of
    the conditions of Karush, Kuhn and Tucker, relative to the largest gradient: where there is none the guess is right,
    because the problem is convex.
    """
    g, sigma, K, dlogt = exact(g), exact(sigma), exact(K), exact(dlogt)
    # As the package does, or lam could not be compared.
    scale = K.max()
    system = weighted_system(g, sigma, K / scale, dlogt, options, weight)
    if system is None:
        return None
    growth, violation = mp.mpf(options.target_growth), 0.0
    if goal is None:
        goal = len(g) * mp.mpf(options.chi_squared_target) * growth**n_raised
    if active is not None:
        system = System(system.A, np.where(active, system.v, mp.zero), system.d)
    lam = choose(system, options, goal)
    if lam is None:
        return None
    dem = system.operator(lam) @ system.d
    if options.positivity == "relax":
        if options.parameter_choice == "gcv":
            goal = system.misfit(lam)
        while min(dem) < 0 and n_raised < options.max_iterations - 1 and goal * growth < system.d @ system.d:
            goal, n_raised = goal * growth, n_raised + 1
            lam = system.root(goal)
            dem = system.operator(lam) @ system.d
    if active is not None:
        gradient = system.A.T @ (system.d - system.A @ dem)
        wrong = np.where(active, -gradient, gradient)
        violation = float(max(max(wrong), mp.zero) / max(abs(gradient)))
    operator = system.operator(lam)
    residual = system.A @ dem - system.d
    return SimpleNamespace(
        dem=rounded(dem / scale),
        dem_uncertainty=rounded(_square_root(np.sum(operator * operator, axis=1)) / scale),
        covariance=rounded(operator @ operator.T / scale**2),
        resolution_matrix=rounded(operator @ system.A),
        regularization_parameter=float(lam),
        chi_squared=float(residual @ residual / len(g)),
        predicted_intensity=rounded(K @ dem / scale),
        n_raised=n_raised,
        violation=violation,
        system=system,
    )
