"""Singular values of a stack of matrices whose rows may be of very different size, on arrays."""

from array_api_compat import array_namespace, device

from sunpy_demreg._engines.algorithm.linear_algebra import MAX_SWEEPS, next_round, rotation
from sunpy_demreg._engines.arrays.operations import sum_of_rows
from sunpy_demreg._engines.base.precision import EPSILON

__all__ = ["singular_directions"]


def singular_directions(M, A):
    """
    What `sunpy_demreg._engines` says of ``diagonalize``.

    All pairs of a round are rotated at once.

    Parameters
    ----------
    M
        The machine.
    A : array, (n, m, N)
    """
    xp = array_namespace(A)
    n, _, n_lanes = A.shape
    kind = {"dtype": A.dtype, "device": device(A)}
    # A lane of extreme size comes to nothing, and is flagged.
    A = xp.where(xp.all(xp.isfinite(A), axis=(0, 1), keepdims=True), A, 0.0)
    R = xp.linalg.qr(xp.permute_dims(A, (2, 1, 0))).R  # (N, k, n)
    R = xp.permute_dims(R, (2, 1, 0))
    size = xp.max(xp.abs(R), axis=(0, 1))
    per_size = 1.0 / xp.where(size > 0.0, size, 1.0)
    # Below each column of R, one of the rotations so far.
    k, n_even = R.shape[1], n + n % 2
    unit = xp.broadcast_to(xp.eye(n, **kind)[:, :, None], (n, n, n_lanes))
    columns = xp.concat([R * per_size, unit], axis=1)
    if n_even > n:
        columns = xp.concat([columns, xp.zeros((1, k + n, n_lanes), **kind)])
    half, order = n_even // 2, xp.asarray(next_round(n_even), device=device(A))

    def square(a, b):
        return sum_of_rows(xp.permute_dims(a[:, :k, :] * b[:, :k, :], (1, 0, 2)))

    def sweep(columns):
        pending = columns[0, 0, :] != columns[0, 0, :]
        for _ in range(n_even - 1):
            a, b = columns[:half, ...], columns[half:, ...]
            c, s, is_needed = rotation(M, n, square(a, a), square(b, b), square(a, b))
            pending = pending | xp.any(is_needed, axis=0)
            c, s = c[:, None, :], s[:, None, :]
            columns = xp.take(xp.concat([c * a - s * b, s * a + c * b]), order, axis=0)
        return pending, (columns,)

    (columns,) = M.iterate(sweep, (columns,), MAX_SWEEPS, pending=size > 0.0)
    s2 = square(columns, columns)[:n, :]
    # Directions that no bin can reach: what the data hold there, no DEM can fit.
    s2 = xp.where(s2 > (n * EPSILON) ** 2 * xp.max(s2, axis=0), s2, 0.0) * size * size
    return [s2[i, :] for i in range(n)], [[columns[i, k + r, :] for i in range(n)] for r in range(n)]
