"""The small linear algebra against dense matrices, and the root that is found with it."""

from types import SimpleNamespace

import numpy as np
import pytest

from sunpy_demreg._engines.algorithm.linear_algebra import (
    factor,
    inverse_diagonal,
    multiply_tridiagonal,
    solve_lower,
    solve_tridiagonal,
    tridiagonalize,
)
from sunpy_demreg._engines.algorithm.regularization_parameter import discrepancy_root, next_discrepancy_root


class Arrays:
    """What the algebra asks of a machine."""

    sqrt, where, abs = staticmethod(np.sqrt), staticmethod(np.where), staticmethod(np.abs)
    maximum, minimum = staticmethod(np.maximum), staticmethod(np.minimum)
    is_careful = False

    def __init__(self):
        self.n_turns = 0

    def iterate(self, body, state, limit):
        for _ in range(limit):
            pending, state = body(*state)
            self.n_turns += 1
            if not pending.any():
                return state
        raise AssertionError("no end")


def positive(n, n_lanes=5):
    """Symmetric positive definite matrices, (n_lanes, n, n), and their elements as lanes."""
    A = np.random.default_rng(n).normal(size=(n_lanes, n, n + 1))
    G = A @ A.transpose(0, 2, 1)
    return G, [[G[:, i, j] for j in range(n)] for i in range(n)]


@pytest.fixture(params=range(1, 9))
def system(request):
    """Tridiagonal matrices, (n_lanes, n, n) and as lanes, and a right-hand side, (n, n_lanes)."""
    n = request.param
    _, G = positive(n)
    y = np.random.default_rng(99).normal(size=(n, 5))
    T, *_ = tridiagonalize(Arrays, G, list(y))
    dense = np.zeros((5, n, n))
    for i in range(n):
        dense[:, i, i] = T[0][i]
    for i in range(n - 1):
        dense[:, i, i + 1] = dense[:, i + 1, i] = T[1][i]
    return dense, T, y


def test_tridiagonal_of_the_same_spectrum(system):
    dense, _, y = system
    G, _ = positive(len(y))
    np.testing.assert_allclose(np.linalg.eigvalsh(dense), np.linalg.eigvalsh(G), rtol=1e-12)


def test_solution_from_both_ends(system):
    dense, T, y = system
    shifted = dense + 0.3 * np.eye(len(y))
    factors = factor(T, 0.3)
    truth = np.linalg.solve(shifted, y.T[:, :, None])[:, :, 0].T
    np.testing.assert_allclose(solve_tridiagonal(factors, list(y)), truth, rtol=1e-10, atol=1e-12)
    u = solve_lower(factors, list(y))
    energy = sum(u_i * u_i * r_i for u_i, r_i in zip(u, factors.reciprocals, strict=True))
    np.testing.assert_allclose(energy, np.sum(truth * y, axis=0), rtol=1e-10)
    inverse = np.linalg.inv(shifted)
    np.testing.assert_allclose(inverse_diagonal(factors), np.diagonal(inverse, axis1=1, axis2=2).T, rtol=1e-10)


def test_product(system):
    dense, T, y = system
    np.testing.assert_allclose(
        multiply_tridiagonal(T, list(y)), np.einsum("lij,jl->il", dense, y), rtol=1e-12, atol=1e-12
    )


def test_root_of_the_next_goal(system):
    """It is that from the beginning, in fewer turns than from the root before."""
    dense, T, y = system
    machine, square, growth = Arrays(), np.sum(y * y, axis=0), 1.5
    problem = SimpleNamespace(M=machine, signal=square, n=len(y))
    system = SimpleNamespace(T=T, y=list(y), trace=np.trace(dense, axis1=1, axis2=2))

    def turns(is_onward):
        goal = 0.01 * square
        start, machine.n_turns = 1.0 / discrepancy_root(problem, system, goal), 0
        for _ in range(8):
            goal = goal * growth
            lam, onward = next_discrepancy_root(problem, system, goal, start, growth)
            start = onward if is_onward else 1.0 / lam
            x = np.linalg.solve(dense + lam[:, None, None] * np.eye(len(y)), y.T[:, :, None])[:, :, 0]
            np.testing.assert_allclose(lam**2 * np.sum(x * x, axis=1), goal, rtol=1e-11)
        before = machine.n_turns
        np.testing.assert_allclose(lam, discrepancy_root(problem, system, goal), rtol=1e-13)
        return before

    assert turns(is_onward=True) <= turns(is_onward=False) - 4
