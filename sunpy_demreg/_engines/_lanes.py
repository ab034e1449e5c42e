"""
Small linear algebra on lanes.

A *lane* is a pixel, and a lane value is whatever holds one number per lane: an array, or a SIMD register.
Vectors and matrices are Python lists of lane values, so every loop here is over a few channels and disappears
when the text is compiled. ``M`` is the machine (see `sunpy_demreg._engines`) that supplies what operators do
not.
"""

__all__ = [
    "Reflections",
    "dot",
    "extreme_eigenvalue",
    "factor",
    "inverse_diagonal",
    "solve_lower",
    "solve_tridiagonal",
    "total",
    "tridiagonalize",
]


def total(values):
    result = values[0]
    for value in values[1:]:
        result = result + value
    return result


def dot(a, b):
    # Term by term: of arrays, only two are in the cache at a time.
    result = a[0] * b[0]
    for x, y in zip(a[1:], b[1:], strict=True):
        result = result + x * y
    return result


def tridiagonalize(M, G, y):
    """
    Reduce symmetric G (n x n) by Householder reflections: ``T = Q^T G Q``.

    Returns
    -------
    (a, b), list, Reflections
        Diagonal and off-diagonal of T; ``Q^T y``; Q.
    """
    n = len(y)
    G, y = [list(row) for row in G], list(y)
    a, b, reflectors = [], [], []
    for k in range(n - 2):
        rest = range(k + 1, n)
        head, *tail = (G[i][k] for i in rest)
        below = dot(tail, tail)
        norm = M.sqrt(head * head + below)
        b.append(M.where(head > 0.0, -norm, norm))
        a.append(G[k][k])
        v = [head - b[-1], *tail]
        square = v[0] * v[0] + below
        beta = M.where(square > 0.0, 2.0 / M.where(square > 0.0, square, 1.0), 0.0)
        p = [beta * dot([G[i][j] for j in rest], v) for i in rest]
        half = 0.5 * beta * dot(p, v)
        w = [p_i - half * v_i for p_i, v_i in zip(p, v, strict=True)]
        for i in rest:
            for j in range(k + 1, i + 1):
                update = v[i - k - 1] * w[j - k - 1] + w[i - k - 1] * v[j - k - 1]
                G[i][j] = G[j][i] = G[i][j] - update
        reflectors.append((k + 1, v, beta))
        y = _reflect(reflectors[-1], y)
    a += [G[i][i] for i in range(max(n - 2, 0), n)]
    if n > 1:
        b.append(G[n - 1][n - 2])
    return (a, b), y, Reflections(reflectors)


class Reflections:
    """The orthogonal matrix Q, as the product of Householder reflections."""

    def __init__(self, reflectors):
        self._reflectors = reflectors

    def apply(self, x):
        for reflector in reversed(self._reflectors):
            x = _reflect(reflector, x)
        return x

    def apply_transposed(self, x):
        for reflector in self._reflectors:
            x = _reflect(reflector, x)
        return x


def _reflect(reflector, x):
    start, v, beta = reflector
    along = beta * dot(v, x[start:])
    return [*x[:start], *(x_i - along * v_i for x_i, v_i in zip(x[start:], v, strict=True))]


def factor(T, shift):
    """``T + shift = L D L^T``: the subdiagonal of L, and the reciprocals of D."""
    a, b = T
    lower, reciprocal = [], [1.0 / (a[0] + shift)]
    for a_i, b_i in zip(a[1:], b, strict=True):
        lower.append(b_i * reciprocal[-1])
        reciprocal.append(1.0 / (a_i + shift - b_i * lower[-1]))
    return lower, reciprocal


def solve_lower(lower, y):
    x = [y[0]]
    for l_i, y_i in zip(lower, y[1:], strict=True):
        x.append(y_i - l_i * x[-1])
    return x


def solve_tridiagonal(factors, y):
    """``(T + shift)^-1 y``."""
    lower, reciprocal = factors
    u = solve_lower(lower, y)
    x = [u[-1] * reciprocal[-1]]
    for l_i, u_i, r_i in zip(lower[::-1], u[-2::-1], reciprocal[-2::-1], strict=True):
        x.append(u_i * r_i - l_i * x[-1])
    return x[::-1]


def inverse_diagonal(T, factors):
    """The diagonal of ``(T + shift)^-1``."""
    _, b = T
    _, reciprocal = factors
    # Below the first row, each element follows from the next one of the diagonal of L D L^T and of its inverse.
    diagonal = [reciprocal[-1]]
    for b_i, r_i in zip(b[::-1], reciprocal[-2::-1], strict=True):
        diagonal.append(r_i + (b_i * r_i) * (b_i * r_i) * diagonal[-1])
    return diagonal[::-1]


def extreme_eigenvalue(M, T, start, *, largest):
    """
    Extreme eigenvalue of T, by Laguerre's iteration from outside the spectrum, which is monotone and cubic.

    With ``p`` the characteristic polynomial, ``p'/p`` and ``(p'/p)'`` are sums over the pivots of ``T - x`` and
    their derivatives, which neither overflow nor cancel outside the spectrum.
    """
    a, b = T
    n = len(a)
    sign = 1.0 if largest else -1.0

    def step(x, running):
        pivot, first, second = a[0] - x, -1.0, 0.0
        s1, s2 = first / pivot, -1.0 / (pivot * pivot)
        for a_i, b_i in zip(a[1:], b, strict=True):
            inverse = 1.0 / pivot
            q = b_i * b_i * inverse
            ratio = first * inverse
            # d(b^2/pivot) = -q ratio; d2 = q (2 ratio^2 - second / pivot)
            first, second = -1.0 + q * ratio, -(q * (2.0 * ratio * ratio - second * inverse))
            pivot = a_i - x - q
            inverse = 1.0 / pivot
            s1 = s1 + first * inverse
            s2 = s2 + second * inverse - (first * inverse) * (first * inverse)
        root = M.sqrt(M.maximum((n - 1.0) * (-n * s2 - s1 * s1), 0.0))
        move = n / (M.abs(s1) + root)
        # Once rounding has carried x across the eigenvalue, s1 has the other sign: it is found.
        running = running & (sign * s1 > 0.0) & (move > 2.0e-16 * M.abs(x))
        return running, (M.where(running, x - sign * move, x), running)

    return M.iterate(step, (start, start <= start), 60)[0]
