"""
The log-normal method once more, in plain NumPy: what the engines of the package are held to.

It shares no line with them. They solve n x n systems, this one those of the coefficients; they have an exponential of
their own, this one NumPy's. Logarithmic first steps, then Newton's in a plane.

    em, sigma_em, status = invert(g, s, K, dlogt)

g, s: (N, n) intensity and uncertainty (s = inf: channel missing there); K: (n, m), intensity of a unit emission measure
in each bin; dlogt: (m,), widths in dex, even or not. em: (N, m), emission measure per bin (cm-5). Not fast.
"""

import numpy as np

__all__ = ["invert", "prior_table"]


def prior_table(dlogt, amplitude=4.0, length=0.8, constant=100.0, rank=12):
    """F (m, rank + 1), P ~ F F^T: covariance of ln(em per dex) at the centers; eigenvectors under the measure dlogt."""
    c = np.cumsum(dlogt) - 0.5 * dlogt
    r = np.sqrt(3.0) * np.abs(np.subtract.outer(c, c)) / length
    P = amplitude**2 * (1 + r) * np.exp(-r) + constant
    h = np.sqrt(dlogt / dlogt.mean())
    w, V = np.linalg.eigh(h[:, None] * P * h)
    k = min(rank + 1, len(c))
    return V[:, ::-1][:, :k] * np.sqrt(np.maximum(w[::-1][:k], 0)) / h[:, None]


def mean_table(dlogt, width=0.25):
    """W (m, m): mean of em per dex over `width`, by overlap; the end bins count as empty."""
    edge = np.concatenate([[0.0], np.cumsum(dlogt)])
    c, half = 0.5 * (edge[1:] + edge[:-1]), np.maximum(0.5 * width, 0.5 * dlogt)[:, None]
    W = np.minimum(c[:, None] + half, edge[None, 1:]) - np.maximum(c[:, None] - half, edge[None, :-1])
    W = np.maximum(W, 0) / (2 * half)
    W[:, [0, -1]] = 0
    return W


def root(w, c, goal):
    """lam at which sum (lam c / (w + lam))^2 = goal."""
    low, high = np.full(len(w), -74.0) + np.log(w.max(1)), np.full(len(w), 69.0) + np.log(w.max(1))
    for _ in range(120):
        mid = 0.5 * (low + high)
        lam = np.exp(mid)[:, None]
        below = ((lam * c / (w + lam)) ** 2).sum(1) < goal
        low, high = np.where(below, mid, low), np.where(below, high, mid)
    return np.exp(0.5 * (low + high))


def scale(d, p):
    """Factor that fits d best with k p, at least that of a signal of one sigma in all channels together."""
    pp = np.maximum((p * p).sum(1), 1e-300)
    return np.maximum((d * p).sum(1), np.sqrt(pp)) / pp


def prior_mean(A, d, target, dlogt, share=0.7, floor=1e-2):
    """s1 and s0: logarithms of the smoothed first pass, and of it drawn toward its mean. A: per em per dex."""
    w, U = np.linalg.eigh(np.einsum("pim,pjm,m->pij", A, A, 1 / dlogt, optimize=True))
    w, c = np.maximum(w, 0), np.einsum("pji,pj->pi", U, d)
    lam = root(w, c, np.minimum(target, 0.98 * (d * d).sum(1)))
    z = np.einsum("pij,pj->pi", U, c / (w + lam[:, None]))
    x = np.maximum(np.einsum("pim,pi->pm", A, z) / dlogt, 0) @ mean_table(dlogt).T
    top = x.max(1, keepdims=True)
    x = np.maximum(x, floor * top)
    empty = ~(top[:, 0] > 0)  # nothing positive in the first pass: level
    x[empty] = 1.0
    x[empty] *= scale(d[empty], A[empty].sum(2))[:, None]
    s1, weight = np.log(x), dlogt / dlogt.sum()
    return s1, share * s1 + (1 - share) * (s1 @ weight)[:, None]


def solve(M, lam, b):
    """(M + lam)^-1 b. With fewer channels than coefficients the same by Woodbury: M = B^T B, (B B^T + lam), n x n."""
    return np.linalg.solve(M + lam[:, None, None] * np.eye(M.shape[1]), b[:, :, None])[:, :, 0]


def plane(M, q, F, lam, gradient, before):
    """Newton in the plane of the Gauss-Newton step and the step before; along the first alone if not convex there."""
    D = np.stack([-solve(M, lam, gradient), before], 1)
    DF = D @ F.T
    H = np.einsum("pkr,prs,pls->pkl", D, M, D, optimize=True) + np.einsum("pkm,pm,plm->pkl", DF, q, DF, optimize=True)
    H += lam[:, None, None] * (D @ D.transpose(0, 2, 1))
    b = -np.einsum("pkr,pr->pk", D, gradient)
    det = H[:, 0, 0] * H[:, 1, 1] - H[:, 0, 1] ** 2
    good = (det > 1e-6 * np.abs(H[:, 0, 0] * H[:, 1, 1])) & (H[:, 0, 0] > 0)
    safe = np.where(good, det, 1.0)
    one = np.where(H[:, 0, 0] > 0, np.clip(b[:, 0] / np.where(H[:, 0, 0] > 0, H[:, 0, 0], 1), 0.3, 2.0), 1.0)
    x = np.where(good, (b[:, 0] * H[:, 1, 1] - b[:, 1] * H[:, 0, 1]) / safe, one)
    y = np.where(good, (b[:, 1] * H[:, 0, 0] - b[:, 0] * H[:, 0, 1]) / safe, 0.0)
    return x[:, None] * D[:, 0] + y[:, None] * D[:, 1]


def invert(
    g,
    s,
    K,
    dlogt,
    chi_squared_target=1.0,
    largest_lam=1.0,
    least_lam=0.1,
    steps=40,
    tolerance=3e-3,
    start=None,
    mean=None,
):
    dlogt = np.asarray(dlogt, float)
    seen = np.isfinite(s) & np.isfinite(g) & (s > 0)
    weight = np.where(seen, 1 / np.where(seen, s, 1), 0.0)
    A, d = (K * dlogt)[None] * weight[:, :, None], np.where(seen, g, 0) * weight  # A: of em per dex
    usable = A.max((1, 2)) > 0
    target = np.maximum(seen.sum(1), 1) * chi_squared_target
    F = prior_table(dlogt)
    s1, s0 = prior_mean(A, d, target, dlogt) if mean is None else mean
    N, r = len(g), F.shape[1]
    # Start: s1 as s0 + F a, with a little ridge.
    Q = F @ np.linalg.inv(F.T @ F + 1e-3 * (F * F).sum() / len(F) * np.eye(r))
    a = (s1 - s0) @ Q if start is None else start.copy()

    def model(i, a):
        xi = np.exp(np.minimum(s0[i] + a @ F.T, 300))
        return xi, d[i] - np.einsum("pim,pm->pi", A[i], xi)

    everything = np.arange(N)
    xi, res = model(everything, a)
    misfit = (res * res).sum(1)
    lam = np.full(N, min(1.0, largest_lam))
    past = np.repeat(misfit[:, None] + (lam * (a * a).sum(1))[:, None], 3, 1)  # the last three objectives
    logs, shorter, seeking, running = np.full(N, 6), np.ones(N), np.zeros(N, bool), usable.copy()
    passes, rejected, before = np.ones(N, int), np.zeros(N, int), np.zeros_like(a)
    for _ in range(steps):
        i = everything[running]
        if not i.size:
            break
        # 1. The step's system: M and q, gradient of half the misfit. Logarithmic rows far from the data.
        p, di = d[i] - res[i], d[i]
        far = (logs[i] > 0) & (misfit[i] > 10 * target[i])
        logs[i] = np.where(far, logs[i], 0)
        up = np.maximum(di, 1.0)
        row = np.where((di < 1) & (p < 1), 0, up)
        c = np.where(far[:, None], row / np.maximum(p, 1e-300), 1.0)
        e = np.where(far[:, None], row * np.log(up / np.maximum(p, 1e-300)), res[i])
        J = A[i] * xi[i][:, None, :]
        v = np.einsum("pim,pi->pm", J, c * e)
        B = np.einsum("pi,pim,mr->pir", c, J, F, optimize=True)
        M, gm = np.einsum("pir,pis->prs", B, B), -v @ F
        q = np.where(far[:, None], 0, -v)
        near = ~far
        step = plane(M, q, F, lam[i], -v @ F + lam[i, None] * a[i], before[i])
        # 2. lam: from the misfit that this step will reach, and its slope in ln lam.
        new = lam[i].copy()
        ds = step @ F.T
        near &= np.abs(ds).max(1) < 0.5
        coming = (
            misfit[i] + 2 * (gm * step).sum(1) + ((B @ step[:, :, None])[:, :, 0] ** 2).sum(1) + (q * ds * ds).sum(1)
        )
        coming = np.where(coming > 0, coming, misfit[i])
        seeking[i] |= near & ((coming > 1.01 * target[i]) | (largest_lam > 1))
        k = np.flatnonzero(near & seeking[i])
        if k.size:
            ik, b = i[k], a[i[k]] + step[k]
            slope = 2 * lam[ik] ** 2 * (b * solve(M[k], lam[ik], b)).sum(1) / coming[k]
            change = np.clip(np.log(target[ik] / coming[k]) / np.clip(slope, 0.02, 2.0), -1.5, 1.5)
            new[k] = np.clip(lam[ik] * np.exp(change), least_lam, largest_lam)
            new[k] = np.where(passes[ik] > 16, np.minimum(new[k], lam[ik]), new[k])  # the misfit can jump with lam:
            new[k] = np.where(passes[ik] > 24, lam[ik], new[k])  # first only down, then held
            new[k] = np.where(np.abs(np.log(new[k] / lam[ik])) > 0.005, new[k], lam[ik])
            k = k[new[k] != lam[ik]]
            if k.size:
                step[k] = plane(M[k], q[k], F, new[k], gm[k] + new[k, None] * a[i[k]], before[i[k]])
        off = np.abs(np.log(new / lam[i]))
        moved = off > 0
        past[i] = np.where(moved[:, None], (misfit[i] + new * (a[i] ** 2).sum(1))[:, None], past[i])
        lam[i] = new
        # 3. Length, trial, acceptance.
        largest = np.abs(step @ F.T).max(1)
        step *= (shorter[i] * np.minimum(1, np.where(far, 3.0, 2.0) / np.maximum(largest, 1e-300)))[:, None]
        trial = a[i] + step
        xn, rn = model(i, trial)
        mn = (rn * rn).sum(1)
        objective = mn + lam[i] * (trial * trial).sum(1)
        small = ~far & (largest < tolerance)
        fall = 2e-4 * ((-np.einsum("pim,pi,pm->pm", A[i], res[i], xi[i]) @ F + lam[i, None] * a[i]) * step).sum(1)
        take = (objective <= past[i].max(1) * (1 + 1e-12) + np.minimum(fall, 0)) | small
        before[i] = step
        t = i[take]
        a[t], xi[t], res[t], misfit[t] = trial[take], xn[take], rn[take], mn[take]
        past[t] = np.concatenate([past[t][:, 1:], objective[take][:, None]], 1)
        shorter[i] = np.where(take, 1.0, 0.3 * shorter[i])
        logs[i] = np.maximum(logs[i] - np.where(take, 1, 3), 0)
        passes[i] += 1
        rejected[i] += ~take
        running[i] = ~(small & (shorter[i] >= 1) & ((off < 0.03) | ~seeking[i]))
    J = A * xi[:, None, :]
    B = J @ F
    C = np.linalg.cholesky(B.transpose(0, 2, 1) @ B + lam[:, None, None] * np.eye(r))
    Y = np.linalg.solve(C, np.repeat(F.T[None], N, 0))  # (N, r, m)
    em = np.where(usable[:, None], xi * dlogt, np.nan)
    status = {
        "above_target": misfit > 1.02 * target,
        "not_converged": running,
        "lam": lam,
        "passes": passes,
        "rejected": rejected,
        "misfit": misfit,
        "a": a,
        "s0": s0,
        "s1": s1,
        "F": F,
        "objective": misfit + lam * (a * a).sum(1),
    }
    return em, em * np.sqrt((Y * Y).sum(1)), status
