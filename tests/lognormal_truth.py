"""
The log-normal method in plain NumPy, as an independent truth: all matrices whole, all systems in the coefficients.

The rules are those of the theory page; `sunpy_demreg._engines.algorithm.lognormal` is held to it.
"""

import numpy as np

RANK = 13


def prior_factor(dlogt, amplitude=4.0, length=0.8, constant=100.0):
    """F (m, at most RANK), with the covariance ``F F^T`` of the logarithm; eigenvectors under the measure of log T."""
    centers = np.cumsum(dlogt) - 0.5 * dlogt
    r = np.sqrt(3.0) * np.abs(np.subtract.outer(centers, centers)) / length
    covariance = amplitude**2 * (1 + r) * np.exp(-r) + constant
    root = np.sqrt(dlogt / dlogt.mean())
    values, vectors = np.linalg.eigh(root[:, None] * covariance * root)
    rank = min(RANK, len(centers))
    return vectors[:, ::-1][:, :rank] * np.sqrt(np.maximum(values[::-1][:rank], 0)) / root[:, None]


def mean_matrix(dlogt, width=0.25):
    """The mean over a width, by overlap (m, m); the end bins count as empty."""
    edge = np.concatenate([[0.0], np.cumsum(dlogt)])
    center, half = 0.5 * (edge[1:] + edge[:-1]), np.maximum(0.5 * width, 0.5 * dlogt)[:, None]
    low, high = center[:, None] - half, center[:, None] + half
    share = np.maximum(np.minimum(high, edge[None, 1:]) - np.maximum(low, edge[None, :-1]), 0) / (2 * half)
    share[:, [0, -1]] = 0
    return share


def discrepancy_root(values, c, goal):
    """The lam at which ``sum (lam c / (values + lam))^2`` is the goal, by bisection."""
    low, high = (bound + np.log(values.max(1)) for bound in (-74.0, 69.0))
    for _ in range(120):
        middle = 0.5 * (low + high)
        lam = np.exp(middle)[:, None]
        is_below = ((lam * c / (values + lam)) ** 2).sum(1) < goal
        low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
    return np.exp(0.5 * (low + high))


def prior_mean(A, d, target, dlogt, share=0.7, floor=1e-2):
    """The logarithm of the smoothed first pass, and of it drawn toward its mean. A is per dex."""
    values, vectors = np.linalg.eigh(np.einsum("pim,pjm,m->pij", A, A, 1 / dlogt, optimize=True))
    values, c = np.maximum(values, 0), np.einsum("pji,pj->pi", vectors, d)
    lam = discrepancy_root(values, c, np.minimum(target, 0.98 * (d * d).sum(1)))
    z = np.einsum("pij,pj->pi", vectors, c / (values + lam[:, None]))
    x = np.maximum(np.einsum("pim,pi->pm", A, z) / dlogt, 0) @ mean_matrix(dlogt).T
    top = x.max(1, keepdims=True)
    x = np.maximum(x, floor * top)
    empty = ~(top[:, 0] > 0)
    p = A[empty].sum(2)  # level: what fits best, but a signal of one sigma at least
    square = np.maximum((p * p).sum(1), 1e-300)
    x[empty] = (np.maximum((d[empty] * p).sum(1), np.sqrt(square)) / square)[:, None]
    s1, weight = np.log(x), dlogt / dlogt.sum()
    return s1, share * s1 + (1 - share) * (s1 @ weight)[:, None]


def solve(M, lam, b):
    return np.linalg.solve(M + lam[:, None, None] * np.eye(M.shape[1]), b[:, :, None])[:, :, 0]


def plane(M, q, F, lam, gradient, before):
    """Newton in the plane of the Gauss-Newton step and the step before; along the first alone if not convex there."""
    D = np.stack([-solve(M, lam, gradient), before], 1)
    DF = D @ F.T
    H = np.einsum("pkr,prs,pls->pkl", D, M, D, optimize=True)
    H += np.einsum("pkm,pm,plm->pkl", DF, q, DF, optimize=True) + lam[:, None, None] * (D @ D.transpose(0, 2, 1))
    b = -np.einsum("pkr,pr->pk", D, gradient)
    det = H[:, 0, 0] * H[:, 1, 1] - H[:, 0, 1] ** 2
    good = (det > 1e-6 * np.abs(H[:, 0, 0] * H[:, 1, 1])) & (H[:, 0, 0] > 0)
    safe, h = np.where(good, det, 1.0), np.where(H[:, 0, 0] > 0, H[:, 0, 0], 1)
    alone = np.where(H[:, 0, 0] > 0, np.clip(b[:, 0] / h, 0.3, 2.0), 1.0)
    x = np.where(good, (b[:, 0] * H[:, 1, 1] - b[:, 1] * H[:, 0, 1]) / safe, alone)
    y = np.where(good, (b[:, 1] * H[:, 0, 0] - b[:, 0] * H[:, 0, 1]) / safe, 0.0)
    return x[:, None] * D[:, 0] + y[:, None] * D[:, 1]


def invert(g, sigma, K, dlogt, target=1.0, least_lam=0.1, n_passes=40, tolerance=3e-3, many=15, fine=3e-6, grain=1e-6):
    """
    Solve pixels by the parameter choice "prior".

    Parameters
    ----------
    g, sigma : array, (N, n)
    K : array, (n, m)
        Intensity of a unit emission measure per dex in each bin.
    dlogt : array, (m,)

    Returns
    -------
    dict
        ``xi`` (N, m), emission measure per dex; ``error``, of the posterior; ``lam``, ``misfit``, ``passes`` and
        ``is_converged`` (N,).
    """
    N, (n, _) = len(g), K.shape
    A, d, target = K / sigma[:, :, None], g / sigma, n * target
    F = prior_factor(dlogt)
    rank = F.shape[1]
    s1, s0 = prior_mean(A, d, target, dlogt)
    ridge = 1e-3 * (F * F).sum() / len(F) * np.eye(rank)
    a = (s1 - s0) @ F @ np.linalg.inv(F.T @ F + ridge)

    def model(i, a):
        xi = np.exp(s0[i] + a @ F.T)
        return xi, d[i] - np.einsum("pim,pm->pi", A[i], xi)

    xi, residual = model(slice(None), a)
    misfit, lam = (residual**2).sum(1), np.ones(N)
    past = np.repeat((misfit + lam * (a * a).sum(1))[:, None], 3, 1)  # the last three of Phi
    logs, shorter, seeking, running = np.full(N, 6), np.ones(N), np.zeros(N, bool), np.ones(N, bool)
    passes, before, is_converged = np.ones(N, int), np.zeros_like(a), np.zeros(N, bool)
    for _ in range(n_passes):
        i = np.flatnonzero(running)
        if not i.size:
            break
        # 1. The system of the step, of logarithmic rows far from the data.
        p, di = d[i] - residual[i], d[i]
        far = (logs[i] > 0) & (misfit[i] > 10 * target)
        logs[i] = np.where(far, logs[i], 0)
        up = np.maximum(di, 1.0)
        row, positive = np.where((di < 1) & (p < 1), 0, up), np.maximum(p, 1e-300)
        c = np.where(far[:, None], row / positive, 1.0)
        e = np.where(far[:, None], row * np.log(up / positive), residual[i])
        J = A[i] * xi[i][:, None, :]
        v = np.einsum("pim,pi->pm", J, c * e)
        B = np.einsum("pi,pim,mr->pir", c, J, F, optimize=True)
        M, gm = np.einsum("pir,pis->prs", B, B), -v @ F
        q = np.where(far[:, None], 0, -v)
        step = plane(M, q, F, lam[i], gm + lam[i, None] * a[i], before[i])
        # 2. lam: from the misfit that this step will reach, and its slope in ln lam.
        new, ds = lam[i].copy(), step @ F.T
        near = ~far & (np.abs(ds).max(1) < 0.5)
        coming = misfit[i] + 2 * (gm * step).sum(1) + (q * ds * ds).sum(1)
        coming += ((B @ step[:, :, None])[:, :, 0] ** 2).sum(1)
        coming = np.where(coming > 0, coming, misfit[i])
        seeking[i] |= near & (coming > 1.01 * target)
        k = np.flatnonzero(near & seeking[i])
        if k.size:
            ik, b = i[k], a[i[k]] + step[k]
            slope = 2 * lam[ik] ** 2 * (b * solve(M[k], lam[ik], b)).sum(1) / coming[k]
            change = np.clip(np.log(target / coming[k]) / np.clip(slope, 0.02, 2.0), -1.5, 1.5)
            found = np.clip(lam[ik] * np.exp(grain * np.round(change / grain)), least_lam, 1.0)
            found = np.where(passes[ik] > 16, np.minimum(found, lam[ik]), found)
            found = np.where(passes[ik] > 24, lam[ik], found)
            new[k] = np.where(np.abs(np.log(found / lam[ik])) > 0.005, found, lam[ik])
            k = k[new[k] != lam[ik]]
            if k.size:
                step[k] = plane(M[k], q[k], F, new[k], gm[k] + new[k, None] * a[i[k]], before[i[k]])
        off = np.abs(np.log(new / lam[i]))
        past[i] = np.where((off > 0)[:, None], (misfit[i] + new * (a[i] ** 2).sum(1))[:, None], past[i])
        old, lam[i] = lam[i], new
        # 3. Length, trial, acceptance.
        largest = np.abs(step @ F.T).max(1)
        step *= (shorter[i] * np.minimum(1, np.where(far, 3.0, 2.0) / np.maximum(largest, 1e-300)))[:, None]
        trial = a[i] + step
        xi_new, residual_new = model(i, trial)
        misfit_new = (residual_new**2).sum(1)
        objective = misfit_new + lam[i] * (trial * trial).sum(1)
        small = ~far & (largest < tolerance)
        gradient = -np.einsum("pim,pi,pm->pm", A[i], residual[i], xi[i]) @ F + lam[i, None] * a[i]
        fall = 2e-4 * (gradient * step).sum(1)
        at_rest = small & ((off < 0.03) | ~seeking[i])
        leaves = is_converged[i] & ~at_rest
        lam[i] = np.where(leaves, old, new)
        take = ((objective <= past[i].max(1) * (1 + 1e-12) + np.minimum(fall, 0)) | small) & ~leaves
        before[i], t = step, i[take]
        a[t], xi[t], residual[t], misfit[t] = trial[take], xi_new[take], residual_new[take], misfit_new[take]
        past[t] = np.concatenate([past[t][:, 1:], objective[take][:, None]], 1)
        shorter[i] = np.where(take, 1.0, 0.3 * shorter[i])
        logs[i] = np.maximum(logs[i] - np.where(take, 1, 3), 0)
        is_end = at_rest & (shorter[i] >= 1)
        is_converged[i] |= is_end
        running[i] = ~(is_end & ((passes[i] <= many) | (largest <= fine))) & ~leaves
        passes[i] += 1
    return {
        "xi": xi,
        "error": xi * np.sqrt(np.diagonal(posterior_covariance(A, xi, F, lam), axis1=1, axis2=2)),
        "lam": lam,
        "misfit": misfit,
        "passes": passes,
        "is_converged": is_converged,
        "F": F,
    }


def posterior_covariance(A, xi, F, lam):
    """Of the logarithm (N, m, m): ``(P - P J^T (G + lam)^-1 J P) / lam`` with P, of the rank of F, whole."""
    P, J = F @ F.T, A * xi[:, None, :]
    G = J @ P @ J.transpose(0, 2, 1)
    JP = J @ P
    inside = np.linalg.solve(G + lam[:, None, None] * np.eye(G.shape[1]), JP)
    return (P - JP.transpose(0, 2, 1) @ inside) / lam[:, None, None]


def noise_operator(A, xi, F, lam):
    """``K^dagger = D P J^T (G + lam)^-1``, (N, m, n): the change of xi with d."""
    P, J = F @ F.T, A * xi[:, None, :]
    G = J @ P @ J.transpose(0, 2, 1)
    inverse = np.linalg.inv(G + lam[:, None, None] * np.eye(G.shape[1]))
    return xi[:, :, None] * (P @ J.transpose(0, 2, 1)) @ inverse
