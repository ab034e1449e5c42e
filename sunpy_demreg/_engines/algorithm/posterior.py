"""
The outputs of the log-normal method, at the mode: the DEM, what it predicts, its errors, its resolution.

Symbols as in `sunpy_demreg._engines.algorithm.lognormal`, with ``G = B B^T``, ``S = (G + lam)^-1`` (n x n) and, of each
bin j, the row ``f_j`` of F and ``c_j = B f_j``, which is the row j of ``P J^T``. To first order, noise of the data
changes xi by ``K^dagger = D P J^T S``, D = diag(xi), whose rows are ``xi_j S c_j``: that gives the covariance of the
noise and the resolution, as for every method. The covariance of the posterior,

    ``D [P - P J^T S J P] D / lam``,   element by element   ``xi_j xi_k (f_j . f_k - c_j . S c_k) / lam``,

holds what the prior leaves open too. It is what errors are made of where the plan says so.
"""

from sunpy_demreg._engines.algorithm.linear_algebra import dot, factor_dense, solve_dense, solve_dense_lower
from sunpy_demreg._engines.algorithm.lognormal_pass import gram_of, jacobian
from sunpy_demreg._engines.algorithm.outputs import put_each_bin
from sunpy_demreg._engines.algorithm.resolved import put_resolved
from sunpy_demreg._engines.base.prior import RANK

__all__ = ["ABOVE_TARGET", "SIGNIFICANT", "put_posterior"]

#: In units of the target, the misfit that does not reach it.
ABOVE_TARGET = {"prior": 1.02, "discrepancy": 1.00001}
SIGNIFICANT = 3.0  # standard deviations of ``|d|^2`` of noise alone, by which what is above zero stands out

_OF_THE_COUPLING = {
    "dem_uncertainty",
    "temperature_resolution",
    "emission_measure_uncertainty",
    "is_resolved",
    "covariance",
    "resolution_matrix",
}


def put_posterior(problem, mode):
    """Store all outputs but the status."""
    M, n, outputs = problem.M, problem.n, problem.plan.outputs

    def put_bin(j):
        M.put_output("dem", j, M.get("weight", j) * _dem_per_unknown(M, j))
        return ()

    M.over_bins(put_bin, ())
    for i in range(n):
        M.put_output("predicted_intensity", i, mode.predicted[i])
    M.put_output("chi_squared", 0, mode.misfit * (1.0 / n))
    M.put_output("regularization_parameter", 0, mode.lam)
    is_needed = problem.plan.resolved_only or _OF_THE_COUPLING.intersection(outputs)
    coupling = _Coupling(problem, mode) if is_needed else None
    if problem.plan.tells_resolved:
        put_resolved(problem, lambda j: M.get("weight", j), lambda j: coupling.dual(_row_of(problem, j)))
    if "emission_measure" in outputs:
        _put_emission_measures(problem, coupling)
    if coupling is not None:
        _put_errors(problem, coupling)


class _Coupling:
    """How bins and data are coupled: ``c = B f`` of a row f of F, and products with S."""

    def __init__(self, problem, mode):
        self.is_posterior = problem.plan.dem_error == "posterior"
        self._B, self._w = jacobian(problem), problem.inverse_sigma
        self._factors = factor_dense(gram_of(self._B), mode.lam)
        self._per_lam = 1.0 / mode.lam

    def of(self, f):
        return [dot(row, f) for row in self._B]

    def transposed(self, y):
        return [dot(column, y) for column in zip(*self._B, strict=True)]

    def solve(self, c):
        return solve_dense(self._factors, c)

    def dual(self, f):
        """What the columns of K multiply in a row of the resolution matrix, without xi."""
        return [w_i * r_i for w_i, r_i in zip(self._w, self.solve(self.of(f)), strict=True)]

    def variance(self, f):
        """Of ``f . a``."""
        if not self.is_posterior:
            row = self.solve(self.of(f))
            return dot(row, row)
        u = solve_dense_lower(self._factors, self.of(f))
        explained = dot([u_i * r_i for u_i, r_i in zip(u, self._factors.reciprocals, strict=True)], u)
        return (dot(f, f) - explained) * self._per_lam

    def covariance(self, f):
        """A function of another row, of which it gives the covariance with ``f . a``."""
        row = self.solve(self.of(f))
        if not self.is_posterior:
            return lambda other: dot(self.solve(self.of(other)), row)
        return lambda other: (dot(other, f) - dot(self.of(other), row)) * self._per_lam


def _put_emission_measures(problem, coupling):
    """The functionals ``w . xi`` and their errors: to first order, those of ``(F^T D w) . a``."""
    M, resolved_only = problem.M, problem.plan.resolved_only

    def weighted_by(q, j):
        weighted = M.functional(q, j) * M.get("weight", j)
        return weighted * M.get("scratch", j) if resolved_only else weighted

    def put_functional(q):
        (value,) = M.over_bins(lambda j: (weighted_by(q, j),), ("sum",))
        M.put_output("emission_measure", q, value * M.scalar("scale"))
        if "emission_measure_uncertainty" not in problem.plan.outputs:
            return

        def terms(j):
            weighted = weighted_by(q, j)
            return tuple(M.prior(r, j) * weighted for r in range(RANK))

        variance = coupling.variance(list(M.over_bins(terms, ("sum",) * RANK)))
        M.put_output("emission_measure_uncertainty", q, M.sqrt(M.maximum(variance, 0.0)) * M.scalar("scale"))

    M.each_functional(put_functional)


def _put_errors(problem, coupling):
    M, outputs, w = problem.M, problem.plan.outputs, problem.inverse_sigma
    find_half_maxima = M.half_maximum_finder() if "temperature_resolution" in outputs else None

    def row_of(j):
        return _row_of(problem, j)

    def put_column(name, k, element):
        def put_element(j):
            M.put_element(name, j, k, M.get("weight", j) * M.dem_per_unknown(j) * element(j))
            return ()

        M.over_bins(put_element, ())

    def put_bin(k):
        """All but the width; the coefficients ``h = B^T S A_k`` of the column ``D F h`` of the resolution matrix."""
        f, xi = row_of(k), M.get("weight", k)
        if "dem_uncertainty" in outputs:
            error = M.sqrt(M.maximum(coupling.variance(f), 0.0))
            M.put_output("dem_uncertainty", k, xi * error * _dem_per_unknown(M, k))
        if "covariance" in outputs:
            factor, of = xi * (M.scalar("scale") * _dem_per_unknown(M, k)), coupling.covariance(f)
            put_column("covariance", k, lambda j: of(row_of(j)) * factor)
        if not {"resolution_matrix", "temperature_resolution"}.intersection(outputs):
            return None
        h = coupling.transposed(coupling.solve([M.response(i, k) * w_i for i, w_i in enumerate(w)]))
        if "resolution_matrix" in outputs:
            put_column("resolution_matrix", k, lambda j: M.project_prior(h, j) / M.dem_per_unknown(k))
        return h

    put_each_bin(M, put_bin, find_half_maxima)


def _row_of(problem, j):
    return [problem.M.prior(r, j) for r in range(RANK)]


def _dem_per_unknown(M, j):
    return M.scalar("scale") * M.dem_per_unknown(j)
