"""Choosing lam on lane values. Symbols as in `sunpy_demreg._engines._text`; the theory page has the rules."""

from sunpy_demreg._engines._lanes import dot, extreme_eigenvalue, factor, solve_lower, solve_tridiagonal

__all__ = ["EPSILON", "discrepancy_root", "nearest_grid_sample"]

EPSILON = 2.0**-52


def discrepancy_root(M, plan, system, signal, goal, least=0.0):
    """
    Solve ``misfit(lam) = goal`` for lam, to rounding; `least`, in units of the trace of G, where it has no solution.

    Newton on ``1 / sqrt(misfit)`` as a function of ``beta = 1 / lam`` (Reinsch 1971), which is concave: from the
    left it rises to the root without ever passing it, and needs neither a bracket nor a logarithm. It starts at
    what ``misfit >= (lam / (trace + lam))^2 |d|^2`` implies.
    """
    is_solvable = signal > goal
    root_goal = M.sqrt(goal)
    ratio = root_goal / M.sqrt(M.where(is_solvable, signal, 4.0 * goal))
    start = (1.0 - ratio) / (system.trace * ratio)
    end = 1.0 / (system.trace * least) if least else None

    def newton(beta, running):
        lam = 1.0 / beta
        lower, reciprocal = factors = factor(system.T, lam)
        x = solve_tridiagonal(factors, system.y)
        u = solve_lower(lower, x)
        misfit = lam * lam * dot(x, x)
        # - lam / 2 d misfit / d lam = misfit - lam^3 x . (T + lam)^-1 x
        slope = misfit - lam * lam * lam * dot(u, [u_i * r_i for u_i, r_i in zip(u, reciprocal, strict=True)])
        excess = M.sqrt(misfit) / root_goal - 1.0
        step = beta * excess * misfit / M.where(slope > 0.0, slope, misfit)
        running = running & (excess > 4 * EPSILON) & (step > 2 * EPSILON * beta)
        new = beta + step
        if end is not None:
            new, running = M.minimum(new, end), running & (beta < end)
        return running, (M.where(running, new, beta), running)

    beta, _ = M.iterate(newton, (start, is_solvable), 200)
    return 1.0 / beta


def nearest_grid_sample(M, plan, system, signal, goal):
    """
    The reference's rule: of ``n_samples`` values of lam, even in the logarithm, the one of nearest misfit.

    The misfit rises with lam, so the nearest sample is the last one not above the goal, found by bisection, or
    its successor.
    """
    largest = extreme_eigenvalue(M, system.T, system.trace * (1.0 + 1e-3), largest=True)
    smallest = extreme_eigenvalue(M, system.T, 0.0 * system.trace, largest=False)
    low, high = M.log(smallest * 1e-4), 0.5 * M.log(largest)
    step = (high - low) * (1.0 / (plan.n_samples - 1))
    last = plan.n_samples - 1.0

    def distance(index):
        lam = M.exp(M.minimum(low + index * step, high))
        x = solve_tridiagonal(factor(system.T, lam), system.y)
        return lam * lam * dot(x, x) - goal, lam

    index = 0.0 * high
    for bit in reversed(range((plan.n_samples - 1).bit_length())):
        trial = index + float(2**bit)
        index = M.where((distance(trial)[0] <= 0.0) & (trial <= last), trial, index)
    here, lam = distance(index)
    there, successor = distance(M.minimum(index + 1.0, last))
    return M.where(M.abs(there) < M.abs(here), successor, lam)
