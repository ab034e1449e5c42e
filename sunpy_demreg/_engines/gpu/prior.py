"""The prior of the log-normal method in CUDA C++: what `sunpy_demreg._engines` lists of it."""

from sunpy_demreg._engines.base.prior import RANK
from sunpy_demreg._engines.base.tables import N_SAMPLES

__all__ = ["PriorOperations"]

_CHANNELS_AT_ONCE = 3  # whose sums with all coefficients are kept in registers


class PriorOperations:
    """The part of a `sunpy_demreg._engines.gpu.machine.CudaMachine` that only the log-normal method needs."""

    def prior(self, r, j):
        return self._shared("prior", f"({j}) * {RANK} + {r}")

    def project_prior(self, a, j):
        result = self.prior(0, j) * a[0]
        for r in range(1, RANK):
            result = result + self.prior(r, j) * a[r]
        return result

    def prior_gram(self, name):
        sums = []
        for first in range(0, self._n, _CHANNELS_AT_ONCE):
            channels = range(first, min(first + _CHANNELS_AT_ONCE, self._n))

            def terms(j, channels=channels):
                value = self.get(name, j)
                scaled, prior = [self.response(i, j) * value for i in channels], [self.prior(r, j) for r in range(RANK)]
                return tuple(s_i * f_r for s_i in scaled for f_r in prior)

            sums += self.over_bins(terms, ("sum",) * (len(channels) * RANK))
        return [sums[i * RANK : (i + 1) * RANK] for i in range(self._n)]

    def start_projection(self, name):
        def terms(j):
            value = self.get(name, j)
            return tuple(self._shared("to_prior", f"({j}) * {RANK} + {r}") * value for r in range(RANK))

        return list(self.over_bins(terms, ("sum",) * RANK))

    def mean(self, name, j):
        n_neighbors, (result, start, k) = self.n_neighbors, (self._name(prefix) for prefix in "xjk")
        offset = self.n_terms * self.n_bins + N_SAMPLES + 2 * self.n_bins
        self._write(f"double {result} = 0.0;")
        self._write(f"const int {start} = ((const int *)(table + SHORT))[{offset} + {j}];")
        share, value = f"table[{self.offset['mean']} + ({j}) * {n_neighbors} + {k}]", f"{name}[{start} + {k}]"
        self._write(f"for (int {k} = 0; {k} < {n_neighbors}; ++{k}) {result} += {share} * {value};")
        return self._symbol(result)

    def round(self, x):
        return self._new("double", f"rint({x.value})")

    def power_of_two(self, k):
        return self._new("double", f"__longlong_as_double(((long long){k.value} + 1023) << 52)")

    def split(self, x):
        bits = f"__double_as_longlong({x.value})"
        mantissa = f"__longlong_as_double(({bits} & 0xfffffffffffffLL) | 0x3ff0000000000000LL)"
        return self._new("double", mantissa), self._new("double", f"(double)(({bits} >> 52) - 1023)")
