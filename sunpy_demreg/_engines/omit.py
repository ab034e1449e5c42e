"""
Pixels that lack channels: solved by the same engine, on the problem of the channels that are left.

So chi-squared, its target, errors and resolution are those of the fewer channels by themselves. What the DEM predicts
for a missing channel is one more functional of it, as an emission measure is.
"""

from itertools import pairwise

import numpy as np

from sunpy_demreg._engines.base.problem import Pixels
from sunpy_demreg._engines.base.solution import Solution
from sunpy_demreg._engines.base.status import Status
from sunpy_demreg._engines.base.tables import scale_of

__all__ = ["solve_without"]

_MOST_PIXELS = 2**16  # at once
_MOST_BYTES = 2**26  # of their answer
_EM = ("emission_measure", "emission_measure_uncertainty")
_UNSOLVED, _CONTRADICTED = int(Status.UNSOLVED), int(Status.SATURATION_CONTRADICTED)


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
    for pattern in _distinct(patterns):
        of_pattern = lanes[patterns == patterns.dtype.type(pattern)]
        missing = [i for i in range(len(problem.K)) if pattern >> i & 1]
        if not problem.K[_left(problem, missing)].any():  # what is left sees nothing
            yield of_pattern.size
            continue
        predicts = saturated is not None or "predicted_intensity" in problem.options.outputs
        sub = _without(problem, missing, predicts)
        bounds = [*range(0, of_pattern.size, _chunk(sub)), of_pattern.size]
        for start, stop in pairwise(bounds):
            some = of_pattern[start:stop]
            part = solve(sub, _gathered(pixels, some, _left(problem, missing)), into.dtype)
            into.put(some, _whole(part, problem, sub, missing))
            if saturated is not None:
                is_contradicted = _is_contradicted(part, missing, pixels.intensity, saturated, some)
                into.status[some] |= _CONTRADICTED * is_contradicted.astype(np.int32)
            yield stop - start


def _distinct(patterns):
    found = np.unique(patterns)
    return (found if isinstance(found, np.ndarray) else found.get()).tolist()


def _left(problem, missing):
    return [i for i in range(len(problem.K)) if i not in missing]


def _without(problem, missing, predicts):
    """The problem of the channels that are left; the intensities of the missing ones become the last functionals."""
    left, functional, outputs = _left(problem, missing), problem.functional, problem.options.outputs
    if predicts:
        if problem.options.resolved_only:
            raise ValueError("intensities are predicted by all bins, not only by those that are resolved")
        gone, outputs = problem.K[missing], tuple(dict.fromkeys((*outputs, "emission_measure")))
        functional = gone if functional is None else np.concatenate([functional, gone])
    loci = tuple(left.index(i) for i in problem.options.loci if i in left)
    options = problem.options._replace(loci=loci, outputs=outputs)
    return problem._replace(K=problem.K[left], options=options, functional=functional)


def _chunk(problem):
    values = sum(int(np.prod(shape)) for shape in problem.output_shapes.values())
    return max(min(_MOST_PIXELS, _MOST_BYTES // (8 * values)), 1)


def _gathered(pixels, lanes, left):
    intensity, uncertainty = (np.stack([rows[i][lanes] for i in left]) for rows in pixels[:2])
    weight = pixels.weight
    if weight is not None:  # as it is in memory: an index would leave it transposed
        weight = np.ascontiguousarray(weight[:, lanes], like=lanes)
    return Pixels(intensity, uncertainty, np.zeros(lanes.shape, np.int32, like=lanes), weight)


def _predicted(part, missing):
    """Intensities of the missing channels."""
    return part.emission_measure[len(part.emission_measure) - len(missing) :]


def _whole(part, problem, sub, missing):
    """The solution of all channels that follows from that of a part of them."""
    outputs, left = problem.options.outputs, _left(problem, missing)
    n_given = 0 if problem.functional is None else len(problem.functional)
    answer = part._asdict() | {name: getattr(part, name)[:n_given] if name in outputs else None for name in _EM}
    if "predicted_intensity" in outputs:
        rows = dict(zip(missing, _predicted(part, missing), strict=True))
        rows |= dict(zip(left, part.predicted_intensity, strict=True))
        answer["predicted_intensity"] = np.stack([rows[i] for i in range(len(problem.K))])
    if "regularization_parameter" in outputs:
        answer["regularization_parameter"] = part.regularization_parameter * _scale_of_lambda(problem, sub)
    return Solution(**answer)


def _scale_of_lambda(problem, sub):
    """What lambda of the fewer channels is multiplied by, to be one for the response of all of them."""
    if problem.options.method == "lognormal":  # whose lambda is of the logarithm
        return 1.0
    return (scale_of(problem) / scale_of(sub)) ** 2


def _is_contradicted(part, missing, intensity, saturated, lanes):
    """Where the DEM predicts less than what was seen of a channel that is saturated."""
    is_less = [
        saturated[i][lanes] & (predicted < intensity[i][lanes])
        for i, predicted in zip(missing, _predicted(part, missing), strict=True)
    ]
    return np.stack(is_less).any(axis=0) & ((part.status & _UNSOLVED) == 0)
