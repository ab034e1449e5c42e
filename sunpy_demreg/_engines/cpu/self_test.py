"""
A few pixels that each compiled program has to solve correctly, in each process, before it is used.

Programs are compiled for the processor at hand by whichever llvmlite is installed, one for each choice of options. The
pixels are fixed; the expected answer of a program is computed once, on plain arrays, and stored with its machine code.
"""

from functools import cached_property

import numpy as np

from sunpy_demreg._engines.algorithm.invert import DIFFICULT
from sunpy_demreg._engines.arrays.machine import invert_arrays
from sunpy_demreg._engines.base.options import Options
from sunpy_demreg._engines.base.problem import Bins, Pixels, Problem
from sunpy_demreg._engines.base.solution import Solution
from sunpy_demreg._engines.base.status import Status
from sunpy_demreg._engines.base.tables import make_tables

__all__ = ["SelfTest"]

_TOLERANCE, _FLAT_TOLERANCE = 1e-9, 1e-4  # of the peak of each output; the minimum of "gcv" is flat: 2.5e-6 was seen
_SINGLE_TOLERANCE = 2.0**-23
_FAILED = int(Status.FAILED)
_SCALE = 1e-17  # of the response: the outputs fit into single precision, and "grid" has useful samples


class SelfTest:
    """
    The test of a program.

    Parameters
    ----------
    plan : `sunpy_demreg._engines.base.options.Plan`
    n_pixels : int
    is_careful : bool
        Whether the program is the one for difficult pixels.

    Attributes
    ----------
    problem : `sunpy_demreg._engines.base.problem.Problem`
    pixels : `sunpy_demreg._engines.base.problem.Pixels`
    """

    def __init__(self, plan, n_pixels, *, is_careful=False):
        self._plan, self._n_pixels, self._is_careful = plan, n_pixels, is_careful
        K, bins, *pixels = _pixels(plan.n_channels, n_pixels, 1e-5 if is_careful else 1e-15)
        m = K.shape[1]
        weight = 1.0 + 0.5 * np.sin(np.arange(m)[:, None] + np.arange(n_pixels)) if plan.weighting == "given" else None
        functional = np.array([np.arange(m) < m // 2, np.linspace(0.5, 2.0, m)], dtype=float)
        options = Options(
            parameter_choice=plan.parameter_choice,
            positivity=plan.positivity,
            weighting="uniform" if plan.weighting == "shared" else plan.weighting,
            loci=plan.loci,
            n_refinements=plan.n_refinements,
            is_squared=plan.is_squared,
            is_noise_locus=plan.is_noise_locus,
            outputs=plan.outputs,
            method=plan.method,
            solve_for=plan.solve_for,
            dem_error=plan.dem_error,
            resolved_only=plan.resolved_only,
        )
        self.problem, self.pixels = Problem(bins, K, options, weight, functional), Pixels(*pixels, weight)
        self._shapes = self.problem.output_shapes | {"status": ()}

    @cached_property
    def _tables(self):
        return make_tables(self.problem)

    def given(self):
        """Everything but the program that the expected answer depends on, as bytes."""
        return b"".join(np.ascontiguousarray(a).tobytes() for a in (*self._tables, *self.pixels) if a is not None)

    def expected(self):
        """The answer of the plain arrays: rows of float64, those of `DIFFICULT` lanes and of bad ones as they come."""
        intensity, sigma, status, weight = self.pixels
        good = status == 0
        intensity, sigma = np.where(good, intensity, 0.0), np.where(good, sigma, 1.0)
        solution = invert_arrays(intensity, sigma, self._tables, self._plan, weight, is_careful=self._is_careful)
        rows = [np.reshape(getattr(solution, n), (-1, self._n_pixels)) for n in self._shapes]
        return np.concatenate(rows, dtype=float)  # also if the status is the only output

    def new_solution(self):
        """Arrays for the answer of a program."""
        n_pixels, kinds = self._n_pixels, {"status": np.int32}
        into = {n: np.full((*s, n_pixels), -1, kinds.get(n, self._plan.dtype)) for n, s in self._shapes.items()}
        return Solution(**dict.fromkeys(Solution._fields) | into)

    def find_fault(self, solution, expected):
        """
        Compare the answer of a program, as it leaves it, with what is expected.

        Parameters
        ----------
        solution : `sunpy_demreg._engines.base.solution.Solution`
        expected : array

        Returns
        -------
        str or None
            What is wrong.
        """
        n_pixels, into = self._n_pixels, {name: getattr(solution, name) for name in self._shapes}
        intensity, sigma, status, _ = self.pixels
        good = status == 0
        starts = np.cumsum([0, *(int(np.prod(shape)) for shape in self._shapes.values())])
        truths = {name: expected[a:b] for name, a, b in zip(into, starts[:-1], starts[1:], strict=True)}
        # Of lanes that are left to the plain arrays, only that mark is used.
        ours, truth = (np.minimum(s, DIFFICULT) for s in (into.pop("status"), truths.pop("status")[0]))
        is_hard = (ours >= DIFFICULT) != (good & (truth >= DIFFICULT))
        # Whether a pixel needs care may turn on rounding: whoever marks it has it solved with care.
        if is_hard.sum() > n_pixels // 8 or not np.array_equal(ours[~is_hard], np.where(good, truth, 0)[~is_hard]):
            return "the status of pixels differs"
        taken = good & (truth < DIFFICULT) & ~is_hard & ((truth.astype(int) & _FAILED) == 0)
        tolerance = _FLAT_TOLERANCE if self._plan.parameter_choice == "gcv" else _TOLERANCE
        tolerance = max(tolerance, _SINGLE_TOLERANCE if self._plan.dtype == "float32" else 0.0)
        for name, truth in truths.items():
            ours = into[name].reshape(-1, n_pixels)
            if not np.all(np.isnan(ours[:, ~good])):
                return f"{name} of a bad pixel is not NaN"
            difference, scale = (np.abs(a)[:, taken].max(axis=0) for a in (ours - truth, truth))
            if name == "chi_squared":  # a difference of nearly equal numbers
                scale = np.maximum(scale, 1e-6 * np.sum((intensity / sigma) ** 2, axis=0)[taken])
            if not np.all(difference <= tolerance * scale):
                return f"{name} is off by {np.max(difference / scale):.2g} of its peak"
        return None


def _pixels(n, n_pixels, difficult):
    """
    Pixels of an instrument with well separated channels: ordinary, faint, ill-fitting, difficult and bad ones.

    One channel of the difficult ones has an uncertainty that is smaller by a factor.
    """
    m = n + 5
    bin_, channel, pixel = np.arange(m), np.arange(n)[:, None], np.arange(n_pixels)
    dlogt = 0.05 + 0.01 * np.sin(3.0 * bin_)
    logt = 5.6 + np.cumsum(dlogt) - 0.5 * dlogt
    distance = (bin_ - (channel + 0.4) * m / n) / (0.6 * m / n)
    response = np.exp(-0.5 * distance**2) + 0.003 * (2.0 + np.sin(1.0 + bin_ + 5.0 * channel))
    center = m * (0.5 + 0.4 * np.sin(2.0 * pixel))
    dem = np.exp(-0.5 * ((bin_[:, None] - center) / (1.0 + pixel % 4)) ** 2) + 0.05
    intensity = np.einsum("ij,jp->ip", response, dem) * 10.0 ** -(1 + pixel % 3)
    sigma = intensity * (0.03 + 0.01 * np.cos(channel + pixel))
    intensity = intensity + sigma * np.sin(7.0 * channel + 11.0 * pixel)
    intensity[0, pixel % 5 == 1] *= 3.0  # no positive DEM fits
    sigma[:, pixel % 10 == 2] *= 50.0  # the signal does not stand out
    sigma[-1, pixel % 10 == 4] *= difficult
    status = np.where(pixel % 10 == 7, 1, 0).astype(np.int32)
    intensity[0, status != 0] = np.nan
    return _SCALE * response * dlogt, Bins(dlogt, logt), intensity, sigma, status
