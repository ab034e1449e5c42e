"""
Singular values of a matrix whose rows may be of very different size, on lane values.

Squaring the matrix would lose the digits of the small ones.
"""

from sunpy_demreg._engines.algorithm.linear_algebra import total
from sunpy_demreg._engines.base.precision import EPSILON

__all__ = ["MAX_SWEEPS", "next_round", "rotation", "singular_directions"]

MAX_SWEEPS = 30  # of rotations, that each pair of columns takes part in: a guard only, ten are many
_NOTHING = 1e-160  # of the square of a column, that of another one
_LEAST = 1e-150  # row, relative to the largest one: the square of what is smaller underflows


def singular_directions(M, n, element):
    """
    The squares of the singular values of ``element(i, j)``, zero where they are only rounding, and the left vectors.

    Parameters
    ----------
    M
        The machine.
    n : int
        How many rows there are.
    element : callable

    Returns
    -------
    list, list of list
        Of n, and n x n: row i has the element i of each vector.
    """

    def sizes(j):
        row = [M.abs(element(i, j)) for i in range(n)]
        return (*row, total(row))

    *largest, everything = M.over_bins(sizes, ("maximum",) * n + ("sum",))
    is_finite = everything < float("inf")  # a lane of extreme size comes to nothing, and is flagged
    largest = [M.where(is_finite, each, 0.0) for each in largest]
    size = largest[0]
    for each in largest[1:]:
        size = M.maximum(size, each)
    per_size = 1.0 / M.where(size > 0.0, size, 1.0)
    largest = [M.where(each * per_size > _LEAST, each, 0.0) for each in largest]
    R = _triangle(M, n, element, largest, is_finite)
    columns = []
    for i in range(n):
        factor = largest[i] * per_size
        columns.append([R[k, i] * factor if k <= i else 0.0 * factor for k in range(n)])
    s2, rotations = M.orthogonalize(columns)
    most = s2[0]
    for each in s2[1:]:
        most = M.maximum(most, each)
    # Directions that no bin can reach: what the data hold there, no DEM can fit.
    least = most * (n * EPSILON) ** 2
    return [M.where(each > least, each, 0.0) * size * size for each in s2], list(zip(*rotations, strict=True))


def _triangle(M, n, element, largest, is_finite):
    """
    R of the QR decomposition of the transposed matrix, each column in units of its largest element.

    Bin after bin goes into R, by Givens rotations.
    """
    units = [M.where(each > 0.0, 1.0 / M.where(each > 0.0, each, 1.0), 0.0) for each in largest]
    places = [(k, i) for k in range(n) for i in range(k, n)]

    def put_in(j, *state):
        R = dict(zip(places, state, strict=True))
        x = [M.where(is_finite, element(i, j) * unit, 0.0) for i, unit in enumerate(units)]
        for k in range(n):
            r = R[k, k]
            square = r * r + x[k] * x[k]
            per_norm = M.where(square > 0.0, 1.0 / M.sqrt(M.where(square > 0.0, square, 1.0)), 0.0)
            c, s = M.where(square > 0.0, r * per_norm, 1.0), x[k] * per_norm
            for i in range(k, n):
                R[k, i], x[i] = c * R[k, i] + s * x[i], c * x[i] - s * R[k, i]
        return tuple(R.values())

    zero = 0.0 * largest[0]
    return dict(zip(places, M.carry_over_bins(put_in, (zero,) * len(places)), strict=True))


def rotation(M, n, a2, b2, ab):
    """
    Make two columns orthogonal, of the squares a2 and b2 and the product ab: cosine, sine, and whether they were not.

    One-sided Jacobi (Hestenes 1958): the columns become ``c a - s b`` and ``s a + c b``. Until all pairs of columns are
    orthogonal, these are the singular vectors times singular values. Of channels whose uncertainties are of different
    orders of magnitude, the columns are too, and even the small singular values come out with nearly all digits
    (Demmel & Veselic 1992).
    """
    tolerance = n * EPSILON
    is_needed = ab * ab > (tolerance * a2) * (tolerance * b2)
    # A column that is rounding and nothing else, of which there may be, becomes less with each sweep.
    is_needed = is_needed & (M.minimum(a2, b2) > _NOTHING * M.maximum(a2, b2))
    zeta = (b2 - a2) / (2.0 * M.where(is_needed, ab, 1.0))
    t = 1.0 / (M.abs(zeta) + M.sqrt(1.0 + zeta * zeta))
    t = M.where(is_needed, M.where(zeta < 0.0, -t, t), 0.0)
    c = 1.0 / M.sqrt(1.0 + t * t)
    return c, c * t, is_needed


def next_round(n):
    """
    Where the columns of the next round of rotations are in this one, in which the first half meets the second.

    As in a tournament: the first stays, the others go around it, so that n - 1 rounds (n is even) are one sweep, after
    which all are back. The pairs of a round have nothing to do with each other.
    """
    half = n // 2
    first, second = list(range(half)), list(range(half, n))
    return [first[0], second[0], *first[1:-1], *second[1:], first[-1]] if half > 1 else [0, 1]
