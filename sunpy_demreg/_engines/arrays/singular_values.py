"""The columns of a matrix in each lane made orthogonal, on arrays."""

from array_api_compat import array_namespace, device

from sunpy_demreg._engines.algorithm.singular_values import MAX_SWEEPS, next_round, rotation
from sunpy_demreg._engines.arrays.operations import sum_in_order

__all__ = ["orthogonalize"]


def orthogonalize(M, columns):
    """What `sunpy_demreg._engines` says of it; all pairs of a round are rotated at once."""
    n, xp = len(columns), array_namespace(columns[0][0])
    like = columns[0][0]
    kind = {"dtype": like.dtype, "device": device(like)}
    # Below each column, one of the rotations so far.
    unit = xp.broadcast_to(xp.eye(n, **kind)[:, :, None], (n, n, *like.shape))
    stack = xp.concat([xp.stack([xp.stack(column) for column in columns]), unit], axis=1)
    n_even = n + n % 2
    if n_even > n:
        stack = xp.concat([stack, xp.zeros((1, *stack.shape[1:]), **kind)])
    half, order = n_even // 2, xp.asarray(next_round(n_even), device=device(like))

    def products(a, b):
        return sum_in_order(xp.permute_dims(a[:, :n, :] * b[:, :n, :], (1, 0, 2)))

    def sweep(stack):
        pending = stack[0, 0, :] != stack[0, 0, :]
        for _ in range(n_even - 1):
            a, b = stack[:half, ...], stack[half:, ...]
            c, s, is_needed = rotation(M, n, products(a, a), products(b, b), products(a, b))
            pending = pending | xp.any(is_needed, axis=0)
            c, s = c[:, None, :], s[:, None, :]
            stack = xp.take(xp.concat([c * a - s * b, s * a + c * b]), order, axis=0)
        return pending, (stack,)

    (stack,) = M.iterate(sweep, (stack,), MAX_SWEEPS)
    s2 = products(stack, stack)
    return [s2[i, :] for i in range(n)], [[stack[i, n + r, :] for r in range(n)] for i in range(n)]
