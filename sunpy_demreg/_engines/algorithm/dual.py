"""
The dual of the problem with the constraint ``xi >= 0``: a convex function of as many unknowns as there are channels.

Symbols as in `sunpy_demreg._engines.algorithm.invert`. The weight v of the bins is in the storage "weight" of the
machine.
"""

from sunpy_demreg._engines.algorithm.linear_algebra import dot

__all__ = ["Dual"]

_FLAT = 0.1  # slope, of that at the start, at which a search along a line ends
_MOST_PLACES = 40  # that it looks at; a guard only: it takes five


class Dual:
    """
    A function of ``x = (d - A xi) / lam`` that is least where ``xi = v (A^T x)_+`` has the misfit aimed at.

    It is

        psi(x) = 1/2 sum v (A^T x)_+^2 - d . x + sqrt(goal) |x|

    From where ``floor |x|`` is more than ``sqrt(goal)``, the last term goes on as a parabola: so lam is held at a
    floor, and psi has a minimum where no ``xi >= 0`` fits, too.
    """

    def __init__(self, problem):
        self._problem, self._M, self._d = problem, problem.M, problem.d

    def project(self, x, j):
        return self._M.project(self._problem.dual(x), j)

    def put_active(self, name, x):
        """Put the weight into a storage, and zero where a bin is zero."""
        M = self._M

        def put(j):
            M.put(name, j, M.where(self.project(x, j) > 0.0, M.get("weight", j), 0.0))
            return ()

        M.over_bins(put, ())

    def value(self, x, goal, floor):
        M = self._M

        def term(j):
            positive = M.maximum(self.project(x, j), 0.0)
            return (M.get("weight", j) * positive * positive,)

        square = dot(x, x)
        at_floor = 0.5 * (floor * square + goal / floor)
        last = M.where(floor * floor * square > goal, at_floor, M.sqrt(goal * square))
        return 0.5 * M.over_bins(term, ("sum",))[0] - dot(self._d, x) + last

    def least_misfit(self, x):
        """
        A bound below the misfit of any ``xi >= 0``.

        It is at least ``(d . r)^2 / |r|^2`` for each r with ``A^T r <= 0``; where none fits, x is nearly such an r.
        """
        M = self._M

        def excess(j):
            return (M.maximum(self.project(x, j), 0.0) / M.project(self._problem.inverse_sigma, j),)

        (most,) = M.over_bins(excess, ("maximum",))
        r = [x_i - most for x_i in x]
        along = M.maximum(dot(self._d, r), 0.0)
        return along * along / dot(r, r)

    def least_along(self, x, there, goal, floor, running):
        """
        How far along the line from x to another place psi is least, as a fraction; nearly.

        The slope rises along the line, and is nearly straight between the places at which a bin comes or goes: so by
        Newton's steps, within the bracket of what is known. Where rounding hides that psi falls, it is one.
        """
        M, zero = self._M, 0.0 * goal
        slopes = self._slopes(x, [t_i - x_i for x_i, t_i in zip(x, there, strict=True)], goal, floor)
        start, _ = slopes(zero)

        def narrow(place, low, high, running):
            first, second = slopes(place)
            running = running & (M.abs(first) > _FLAT * M.abs(start))
            low, high = M.where(first < 0.0, place, low), M.where(first < 0.0, high, place)
            new = place - first / M.where(second > 0.0, second, 1.0)
            middle = 0.5 * (low + M.minimum(high, 4.0 * low + 1.0))
            new = M.where((second > 0.0) & (new > low) & (new < high), new, middle)
            return running, (M.where(running, new, place), low, high, running)

        state = (zero + 1.0, zero, zero + float("inf"), running & (start < 0.0))
        return M.iterate(narrow, state, _MOST_PLACES)[0]

    def _slopes(self, x, direction, goal, floor):
        """The first and second derivative of psi along a line, as a function of the place on it."""
        M = self._M

        def keep(j):
            M.put("level", j, self.project(x, j))
            M.put("step", j, self.project(direction, j))
            return ()

        M.over_bins(keep, ())
        along_d, root_goal = dot(self._d, direction), M.sqrt(goal)

        def slopes(place):
            def terms(j):
                step = M.get("step", j)
                value = M.get("level", j) + place * step
                slope = M.get("weight", j) * step
                return M.maximum(value, 0.0) * slope, M.where(value > 0.0, slope * step, 0.0)

            first, second = M.over_bins(terms, ("sum", "sum"))
            here = [x_i + place * d_i for x_i, d_i in zip(x, direction, strict=True)]
            size = self._norm(here)
            per_size = 1.0 / M.where(size > 0.0, size, 1.0)
            unit = [h_i * per_size for h_i in here]
            is_at_floor = floor * size > root_goal
            factor = M.where(is_at_floor, floor, root_goal * per_size)
            along = dot(unit, direction)
            across = [d_i - M.where(is_at_floor, 0.0, along) * u_i for d_i, u_i in zip(direction, unit, strict=True)]
            return first - along_d + factor * size * along, second + factor * dot(across, across)

        return slopes

    def _norm(self, x):
        """Of a vector whose squares may overflow."""
        M, largest = self._M, self._M.abs(x[0])
        for x_i in x[1:]:
            largest = M.maximum(largest, M.abs(x_i))
        per_largest = 1.0 / M.where(largest > 0.0, largest, 1.0)
        parts = [x_i * per_largest for x_i in x]
        return largest * M.sqrt(dot(parts, parts))
