"""The text run on arrays, with NumPy or any library of the array API: a lane is an element of the last axis."""

from array_api_compat import array_namespace, device

from sunpy_demreg._engines._tables import OUTPUTS
from sunpy_demreg._lanes import total
from sunpy_demreg._regularization import invert_lanes

__all__ = ["solve"]

_ALL = slice(None)
_TABLES = ("response", "response_pair", "shared_gram", "dlogt", "sample", "fraction")


def solve(intensity, sigma, tables, plan):
    """
    Invert a batch of pixels, all of them good.

    Parameters
    ----------
    intensity, sigma : array, (n, N)
    tables : `sunpy_demreg._engines._tables.Tables`
    plan : `sunpy_demreg._regularization.Plan`

    Returns
    -------
    dict of array
        By the names of ``OUTPUTS``, each (length, N); what the plan leaves out is missing.
    """
    machine = _ArrayMachine(intensity, sigma, tables)
    invert_lanes(machine, plan)
    return {name: machine.xp.concat(rows) for name, rows in machine.outputs.items() if rows}


class _ArrayMachine:
    """All bins at once: an index of bins or samples is ``_ALL``, and their axis comes before that of the lanes."""

    def __init__(self, intensity, sigma, tables):
        self.xp = xp = array_namespace(intensity, sigma)
        self._intensity, self._sigma = intensity, sigma
        self._zero = xp.zeros_like(intensity[0, ...])
        self._stored = {}
        self.outputs = {name: [] for name in OUTPUTS}
        self._scalars = tables.scalars
        # A number that all lanes share stays a Python float, which no library has to move to its device.
        self._numbers = {name: getattr(tables, name).tolist() for name in _TABLES}
        self._columns = {
            name: xp.asarray(getattr(tables, name)[..., None], device=device(intensity)) for name in _TABLES
        }
        self._left = xp.asarray(tables.left, device=device(intensity))
        for name in ("abs", "sqrt", "exp", "log", "maximum", "minimum"):
            setattr(self, name, getattr(xp, name))

    def _shared(self, name, *index):
        table = self._columns[name] if index[-1] is _ALL else self._numbers[name]
        for i in index:
            table = table if i is _ALL else table[i, ...] if table is self._columns[name] else table[i]
        return table

    def intensity(self, i):
        return self._intensity[i, ...]

    def sigma(self, i):
        return self._sigma[i, ...]

    def scalar(self, name):
        return self._scalars[name]

    def response(self, i, j):
        return self._shared("response", i, j)

    def response_pair(self, p, j):
        return self._shared("response_pair", p, j)

    def shared_gram(self, p):
        return self._shared("shared_gram", p)

    def dlogt(self, j):
        return self._shared("dlogt", j)

    def sample(self, s):
        return self._shared("sample", s)

    def zero(self):
        return self._zero

    def get(self, name, j):
        return self._stored[name]

    def put(self, name, j, value):
        self._stored[name] = value

    def sum_of_inner_neighbors(self, name, j):
        stored = self._stored[name]
        m = stored.shape[0]
        rows = []
        for k in range(m):
            inner = [stored[i, ...] for i in range(max(k - 2, 1), min(k + 3, m - 1))]
            rows.append(total(inner) if inner else self._zero)
        return self.xp.stack(rows)

    def sampled(self, name, s):
        stored = self._stored[name]
        lower = self.xp.take(stored, self._left, axis=0)
        return lower + self._columns["fraction"] * (self.xp.take(stored, self._left + 1, axis=0) - lower)

    def put_output(self, name, j, value):
        self.outputs[name].append(value if j is _ALL else value[None, ...])

    def over_bins(self, body, reductions):
        values = body(_ALL)
        return tuple(self._reduced(value, how) for value, how in zip(values, reductions, strict=True))

    over_samples = over_bins

    def _reduced(self, value, how):
        if how == "sum":
            # Row by row: the order of a library's own sum may depend on the number of lanes.
            return total([value[j, ...] for j in range(value.shape[0])])
        return {"minimum": self.xp.min, "maximum": self.xp.max}[how](value, axis=0)

    def each_bin(self, body):
        for j in range(len(self._numbers["dlogt"])):
            body(j)

    def iterate(self, body, state, limit):
        for _ in range(limit):
            pending, state = body(*state)
            if not self.xp.any(pending):
                break
        return state

    def where(self, condition, a, b):
        if isinstance(a, float) and isinstance(b, float):
            a = self.xp.asarray(a, dtype=self._zero.dtype, device=device(self._zero))
        return self.xp.where(condition, a, b)
