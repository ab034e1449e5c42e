"""
The small systems of equations, n x n for n channels, that the problem of a pixel comes down to.

Symbols as in `sunpy_demreg._engines.algorithm.invert`.
"""

from typing import NamedTuple

from sunpy_demreg._engines.algorithm.linear_algebra import (
    Basis,
    dot,
    extreme_eigenvalue,
    factor,
    solve_tridiagonal,
    total,
    tridiagonalize,
)
from sunpy_demreg._engines.algorithm.singular_values import singular_directions
from sunpy_demreg._engines.base.precision import EPSILON
from sunpy_demreg._engines.base.tables import channel_pairs

__all__ = ["LaneProblem", "System"]

_ILL_CONDITIONED = 1e-6  # smallest pivot of T + lam over the trace, below which squaring A costs too many digits


class System(NamedTuple):
    """``(G + lam) x = d`` as ``(T + lam) Q^T x = Q^T d`` with T tridiagonal."""

    T: tuple  # diagonal, off-diagonal
    y: list  # Q^T d
    Q: object
    trace: object
    is_reached: list | None = None  # where T is diagonal: the directions that some bin can reach

    def solution(self, lam):
        return self.Q.apply(solve_tridiagonal(factor(self.T, lam), self.y))

    def solution_in_reach(self, M, lam):
        """The solution without the directions that no bin can reach, which ``A^T`` annihilates up to rounding."""
        if self.is_reached is None:
            return self.solution(lam)
        x = solve_tridiagonal(factor(self.T, lam), self.y)
        return self.Q.apply([M.where(r, x_i, 0.0) for r, x_i in zip(self.is_reached, x, strict=True)])

    def inverse(self, M, lam):
        """``(G + lam)^-1`` (n x n), in the directions within reach."""
        n = len(self.y)
        unit = [[0.0 * lam + float(i == k) for i in range(n)] for k in range(n)]
        columns = [self._replace(y=self.Q.apply_transposed(e)).solution_in_reach(M, lam) for e in unit]
        return [[columns[k][i] for k in range(n)] for i in range(n)]

    def lost_of_dem(self, M, lam):
        """
        The square of what rounding may change in the DEM, relative to it; with care.

        A relative change of channel i changes the DEM by ``|A_i|`` times the row i of the inverse, and by
        ``|A_i x_i|``: much where channels see the same but for a few digits, and lam is too small to hide it; not
        where an uncertainty is small.
        """
        s2, n = self.T[0], len(self.y)
        c = [M.where(r, y, 0.0) for r, y in zip(self.is_reached, self.y, strict=True)]
        per = [1.0 / M.where(r, s + lam, 1.0) for r, s in zip(self.is_reached, s2, strict=True)]
        x = self.Q.apply([c_k * p_k for c_k, p_k in zip(c, per, strict=True)])
        size = dot(s2, [c_k * c_k * p_k * p_k for c_k, p_k in zip(c, per, strict=True)])
        gain, strain = 0.0 * lam, 0.0 * lam
        for row, x_i in zip(self.Q.rows, x, strict=True):
            squares = [u * u for u in row]
            square = dot(squares, s2)
            gain = M.maximum(gain, square * dot(squares, [s * p * p for s, p in zip(s2, per, strict=True)]))
            strain = strain + square * x_i * x_i
        return (n * EPSILON) ** 2 * (gain + strain / M.where(size > 0.0, size, 1.0))

    def extreme_eigenvalues(self, M):
        """The smallest one that is not zero, and the largest."""
        if self.is_reached is not None:
            largest, smallest = self.T[0][0], M.where(self.is_reached[0], self.T[0][0], float("inf"))
            for t, is_reached in zip(self.T[0][1:], self.is_reached[1:], strict=True):
                largest, smallest = M.maximum(largest, t), M.where(is_reached, M.minimum(smallest, t), smallest)
            return smallest, largest
        largest = extreme_eigenvalue(M, self.T, self.trace * (1.0 + 1e-3), largest=True)
        return extreme_eigenvalue(M, self.T, 0.0 * self.trace, largest=False), largest

    def is_safe(self, M, plan, lam, is_mostly_fitted):
        """Whether squaring A has left enough digits for a lam; False also for values that are not finite."""
        if plan.parameter_choice == "grid":  # it starts at the smallest eigenvalue, which therefore needs its digits
            smallest = extreme_eigenvalue(M, self.T, 0.0 * self.trace, largest=False)
            return smallest > _ILL_CONDITIONED * self.trace
        shift = self.trace * EPSILON
        if plan.parameter_choice == "discrepancy":  # cross-validation looks at the whole spectrum
            # Lam makes up for directions out of reach, unless most of the data is there. A tenth of it: one digit more.
            shift = M.maximum(M.where(is_mostly_fitted, 0.1 * lam, 0.0), shift)
        reciprocal = factor(self.T, shift).reciprocals
        largest = reciprocal[0]
        safe = reciprocal[0] > 0.0
        for r_i in reciprocal[1:]:
            largest = M.maximum(largest, r_i)
            safe = safe & (r_i > 0.0)
        return safe & (largest * self.trace < 1.0 / _ILL_CONDITIONED)


class LaneProblem:
    """What the lanes of a machine are given, and the systems that follow for a weight v."""

    def __init__(self, M, plan):
        self.M, self.plan, self.n = M, plan, plan.n_channels
        self.g = [M.intensity(i) for i in range(self.n)]
        self.inverse_sigma = [1.0 / M.sigma(i) for i in range(self.n)]
        self.d = [g_i * w_i for g_i, w_i in zip(self.g, self.inverse_sigma, strict=True)]
        self.signal = dot(self.d, self.d)  # the misfit of no plasma at all
        self.zero = 0.0 * self.signal
        self.target = self.zero + M.scalar("target")
        self._pairs = channel_pairs(self.n)

    def dual(self, x):
        """The vector that the columns of K multiply: ``(A^T x)_j = K_j . dual``, and the DEM is v times that."""
        return [w_i * x_i for w_i, x_i in zip(self.inverse_sigma, x, strict=True)]

    def is_best_without(self):
        """Whether plasma of any temperature, alone or with others, would only fit worse: ``A^T d <= 0``."""
        z = self.dual(self.d)
        return self.M.over_bins(lambda j: (self.M.project(z, j),), ("maximum",))[0] <= 0.0

    def shared_system(self):
        """The system for the weight that all pixels share."""
        return self._system([self.M.shared_gram(p) for p in range(len(self._pairs))], self.M.shared_weight)

    def system(self, name):
        """The system for the weight v in a storage."""
        return self._system(self.M.gram(name), lambda j: self.M.get(name, j))

    def _system(self, sums, weight):
        """The system from the sums over the bins of ``K_i K_k v``."""
        if self.M.is_careful:

            def root(i, j):  # of A L^-1
                return self.M.response(i, j) * self.inverse_sigma[i] * self.M.sqrt(weight(j))

            s2, U = singular_directions(self.M, self.n, root)
            Q, zeros = Basis(U), [0.0 * s for s in s2[1:]]
            return System((s2, zeros), Q.apply_transposed(self.d), Q, total(s2), [s > 0.0 for s in s2])
        n, w = self.n, self.inverse_sigma
        of = dict(zip(self._pairs, sums, strict=True))
        G = [[of[min(i, k), max(i, k)] * (w[i] * w[k]) for k in range(n)] for i in range(n)]
        T, y, Q = tridiagonalize(self.M, G, self.d)
        return System(T, y, Q, total(T[0]))
