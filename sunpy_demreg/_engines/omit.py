"""
Pixels that lack channels: solved by the same engine, on the problem of the channels that are left.

So chi-squared, its target, errors and resolution are those of the fewer channels by themselves; the intensities of the
missing ones are what the DEM predicts.
"""

import numpy as np
from array_api_compat import array_namespace

from sunpy_demreg._engines.arrays.operations import contract
from sunpy_demreg._engines.base.problem import Pixels
from sunpy_demreg._engines.base.solution import Solution
from sunpy_demreg._engines.base.status import Status, is_unsolved
from sunpy_demreg._engines.base.tables import scale_of

__all__ = ["solve_without"]

_MOST_PIXELS = 2**16  # at once
_MOST_BYTES = 2**26  # of their answer
_CONTRADICTED = int(Status.SATURATION_CONTRADICTED)


def solve_without(solve, problem, pixels, into, omitted, saturated=None):
    """
    Solve pixels without the channels that each of them lacks.

    Parameters
    ----------
    solve : callable
        ``solve(problem, pixels, dtype)`` returns the `Solution` of all of these pixels.
    problem : `sunpy_demreg._engines.base.problem.Problem`
        Of all channels.
    pixels : `Pixels`
        All of them; their status does not matter.
    into : `Solution`
        Gets the answer: before, NaN and ``FAILED``.
    omitted : array of unsigned integers, (N,)
        Bit i is set where channel i is to be left out; zero where the pixel is not to be solved here.
    saturated : array of bool, (n, N), optional
        Where a missing intensity is a lower limit.

    Yields
    ------
    int
        How many pixels were done.
    """
    lanes = np.flatnonzero(omitted)
    patterns = omitted[lanes]
    predicts = saturated is not None or "predicted_intensity" in problem.options.outputs
    for pattern in _distinct(patterns):
        of_pattern = lanes[patterns == patterns.dtype.type(pattern)]
        missing = [i for i in range(len(problem.K)) if pattern >> i & 1]
        left = [i for i in range(len(problem.K)) if i not in missing]
        if not problem.K[left].any():  # what is left sees nothing
            yield of_pattern.size
            continue
        sub = _without(problem, left, predicts)
        size = _chunk(sub)
        for start in range(0, of_pattern.size, size):
            some = of_pattern[start : start + size]
            part = solve(sub, _gathered(pixels, some, left), into.dtype)
            predicted = _predicted(part.dem, problem.K[missing]) if predicts else None
            into.put(some, _whole(part, problem, sub, left, missing, predicted))
            if saturated is not None:
                is_less = [
                    saturated[i][some] & (of_channel < pixels.intensity[i][some])
                    for i, of_channel in zip(missing, predicted, strict=True)
                ]
                is_contradicted = np.stack(is_less).any(axis=0) & ~is_unsolved(part.status)
                into.status[some] |= _CONTRADICTED * is_contradicted.astype(np.int32)
            yield some.size


def _distinct(patterns):
    found = np.unique(patterns)
    return (found if isinstance(found, np.ndarray) else found.get()).tolist()


def _without(problem, left, predicts):
    """The problem of the channels that are left."""
    options = problem.options
    outputs = (*options.outputs, "dem") if predicts and "dem" not in options.outputs else options.outputs
    loci = tuple(left.index(i) for i in options.loci if i in left)
    return problem._replace(K=problem.K[left], options=options._replace(loci=loci, outputs=outputs))


def _chunk(problem):
    values = sum(int(np.prod(shape)) for shape in problem.output_shapes.values())
    return max(min(_MOST_PIXELS, _MOST_BYTES // (8 * max(values, 1))), 1)


def _gathered(pixels, lanes, left):
    intensity, uncertainty = (np.stack([rows[i][lanes] for i in left]) for rows in pixels[:2])
    weight = pixels.weight
    if weight is not None:  # as it is in memory: an index would leave it transposed
        weight = np.ascontiguousarray(weight[:, lanes], like=lanes)
    return Pixels(intensity, uncertainty, np.zeros(lanes.shape, np.int32, like=lanes), weight)


def _predicted(dem, K):
    """What the DEM gives in channels of this response: the sum over its bins, of few digits if it has few."""
    return contract(array_namespace(dem).asarray(np.ascontiguousarray(K.T)), dem.astype(float)).astype(dem.dtype)


def _whole(part, problem, sub, left, missing, predicted):
    """The solution of all channels that follows from that of those that are left."""
    outputs, answer = problem.options.outputs, part._asdict()
    if "dem" not in outputs:
        answer["dem"] = None
    if "predicted_intensity" in outputs:
        rows = dict(zip(left, part.predicted_intensity, strict=True)) | dict(zip(missing, predicted, strict=True))
        answer["predicted_intensity"] = np.stack([rows[i] for i in range(len(problem.K))])
    if "regularization_parameter" in outputs and problem.options.method != "lognormal":
        # Of lognormal it is one of the logarithm; others go with the square of the scale of the response.
        answer["regularization_parameter"] = part.regularization_parameter * (scale_of(problem) / scale_of(sub)) ** 2
    return Solution(**answer)
