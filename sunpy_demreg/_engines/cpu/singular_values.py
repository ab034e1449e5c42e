"""Singular values of a matrix in each lane, whose rows may be of very different size, on SIMD registers."""

from llvmlite import ir

from sunpy_demreg._engines.algorithm.linear_algebra import MAX_SWEEPS, dot, next_round, rotation, total
from sunpy_demreg._engines.base.precision import EPSILON
from sunpy_demreg._engines.cpu.recorder import Recorder

__all__ = ["singular_directions"]

_FUNCTION = "rotate"
_LEAST = 1e-150  # row, relative to the largest one


def singular_directions(M, n, element):
    """What `sunpy_demreg._engines` says of ``diagonalize``, for no more channels than bins."""

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
    # The square of what is so small underflows.
    largest = [M.where(each * per_size > _LEAST, each, 0.0) for each in largest]
    R = _triangle(M, n, element, largest, is_finite)
    memory = M.slot(M.vector, size=n * (n + 1))
    for i in range(n):
        factor = largest[i] * per_size
        for k in range(n):
            value = R[k, i] * factor if k <= i else 0.0 * factor
            M.builder.store(value.value, _address(M, memory, i * n + k))
    M.builder.call(_rotate(M, n), [memory])
    found = [M.lanes(M.builder.load(_address(M, memory, p), typ=M.vector)) for p in range(n * (n + 1))]
    s2, columns = found[n * n :], [found[i * n : (i + 1) * n] for i in range(n)]
    most = s2[0]
    for each in s2[1:]:
        most = M.maximum(most, each)
    # Directions that no bin can reach: what the data hold there, no DEM can fit.
    least = most * (n * EPSILON) ** 2
    return [M.where(each > least, each, 0.0) * size * size for each in s2], list(zip(*columns, strict=True))


def _address(recorder, memory, position):
    return recorder.builder.gep(memory, [recorder.index(position)], source_etype=recorder.vector)


def _triangle(M, n, element, largest, is_finite):
    """
    R of the QR decomposition of the transposed matrix, each column in units of its largest element.

    Bin after bin goes into R, by Givens rotations.
    """
    units = [M.where(each > 0.0, 1.0 / M.where(each > 0.0, each, 1.0), 0.0) for each in largest]
    slots = {(k, i): M.slot(M.vector, 0.0) for k in range(n) for i in range(k, n)}

    def put_in(j):
        x = [M.where(is_finite, element(i, j) * unit, 0.0) for i, unit in enumerate(units)]
        for k in range(n):
            row = [M.value_of(slots[k, i]) for i in range(k, n)]
            square = row[0] * row[0] + x[k] * x[k]
            per_norm = M.where(square > 0.0, 1.0 / M.sqrt(M.where(square > 0.0, square, 1.0)), 0.0)
            c, s = M.where(square > 0.0, row[0] * per_norm, 1.0), x[k] * per_norm
            for i, r in enumerate(row, k):
                M.builder.store((c * r + s * x[i]).value, slots[k, i])
                x[i] = c * x[i] - s * r

    M.loop(0, M.argument["n_bins"], put_in)
    return {place: M.value_of(slot) for place, slot in slots.items()}


def _rotate(M, n):
    """
    The function that rotates the columns of an n x n matrix until they are orthogonal.

    It leaves the rotations where the columns were, and the squares of the columns behind them. It is a function because
    there are several systems, and this is the most code.
    """
    module = M.builder.module
    if _FUNCTION in module.globals:
        return module.globals[_FUNCTION]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [ir.PointerType()]), _FUNCTION)
    function.linkage = "internal"
    for attribute in ("nounwind", "noinline"):
        function.attributes.add(attribute)
    function.attributes.alignstack = 64
    (memory,) = function.args
    recorder = Recorder(ir.IRBuilder(function.append_basic_block()), {}, M.n_lanes)

    def load(position):
        return recorder.lanes(recorder.builder.load(_address(recorder, memory, position), typ=recorder.vector))

    def sweep(*values):
        places = [values[i * 2 * n : (i + 1) * 2 * n] for i in range(n)] + [None] * (n % 2)
        half, pending = len(places) // 2, values[0] < values[0]
        for _ in range(len(places) - 1):
            for p in range(half):
                a, b = places[p], places[p + half]
                if a is not None and b is not None:
                    products = dot(a[:n], a[:n]), dot(b[:n], b[:n]), dot(a[:n], b[:n])
                    c, s, is_needed = rotation(recorder, n, *products)
                    pending = pending | is_needed
                    places[p] = [c * x - s * y for x, y in zip(a, b, strict=True)]
                    places[p + half] = [s * x + c * y for x, y in zip(a, b, strict=True)]
            places = [places[k] for k in next_round(len(places))]
        return pending, tuple(x for column in places if column is not None for x in column)

    unit = [[recorder.number(float(i == k)) for k in range(n)] for i in range(n)]
    state = tuple(x for i in range(n) for x in (*(load(i * n + k) for k in range(n)), *unit[i]))
    state = recorder.iterate(sweep, state, MAX_SWEEPS)
    for i in range(n):
        column, rotations = state[2 * n * i : 2 * n * i + n], state[2 * n * i + n : 2 * n * (i + 1)]
        recorder.builder.store(dot(column, column).value, _address(recorder, memory, n * n + i))
        for k, value in enumerate(rotations):
            recorder.builder.store(value.value, _address(recorder, memory, i * n + k))
    recorder.builder.ret_void()
    return function
