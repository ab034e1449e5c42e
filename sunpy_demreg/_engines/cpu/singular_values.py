"""The columns of a matrix in each lane made orthogonal, on SIMD registers."""

from llvmlite import ir

from sunpy_demreg._engines.algorithm.linear_algebra import dot
from sunpy_demreg._engines.algorithm.singular_values import MAX_SWEEPS, next_round, rotation
from sunpy_demreg._engines.cpu.recorder import Recorder

__all__ = ["orthogonalize"]

_FUNCTION = "rotate"


def orthogonalize(M, columns):
    """What `sunpy_demreg._engines` says of it."""
    n = len(columns)
    memory = M.slot(M.vector, size=n * (n + 1))
    for p, value in enumerate(value for column in columns for value in column):
        M.builder.store(value.value, _address(M, memory, p))
    M.builder.call(_rotate(M, n), [memory])
    found = [M.lanes(M.builder.load(_address(M, memory, p), typ=M.vector)) for p in range(n * (n + 1))]
    return found[n * n :], [found[i * n : (i + 1) * n] for i in range(n)]


def _address(recorder, memory, position):
    return recorder.builder.gep(memory, [recorder.index(position)], source_etype=recorder.vector)


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
    recorder = Recorder(ir.IRBuilder(function.append_basic_block()), {}, M.n_lanes, is_fused=False)

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
