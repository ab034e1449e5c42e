"""Ours, per engine, beside its peers: on real pixels, and over numbers of pixels and bins."""

from typing import NamedTuple

import numpy as np

import sunpy_demreg as demreg
from sunpy_demreg._bench._peers import PEERS, Demregpy, installed
from sunpy_demreg._bench._timing import alternate, chi_squared_summary, ratios, summary
from sunpy_demreg._bench._workload import edges, load_workload, misfit

__all__ = ["DEM_ONLY", "Ours", "check", "compare_codes", "sweep"]

DEM_ONLY = ("dem", "chi_squared")
_PARITY = 1e-9  # relative to each pixel's peak
_CHI_SQUARED = 1e-6  # relative; what a code reports, and what its DEM gives
_BUDGET = 12.0  # seconds that a code may take, over all rounds


class Setting(NamedTuple):
    """One of our ways: the engine, what is wanted of it, and other arguments of `sunpy_demreg.invert`."""

    name: str
    backend: str
    outputs: str = "all"
    arguments: dict = {}  # noqa: RUF012 - a NamedTuple's default, never changed


GRID = Setting("sunpy_demreg, cpu, grid", "cpu", "all", {"parameter_choice": "grid"})
CPU = Setting("sunpy_demreg, cpu", "cpu")
CPU_DEM = Setting("sunpy_demreg, cpu", "cpu", "DEM")
CONSTRAIN = Setting("sunpy_demreg, cpu, constrain", "cpu", "all", {"positivity": "constrain"})
NUMPY = Setting("sunpy_demreg, numpy", "numpy")
NUMPY_DEM = Setting("sunpy_demreg, numpy", "numpy", "DEM")


class Ours:
    """`sunpy_demreg.invert` with a setting."""

    def __init__(self, setting, workload, n_bins, n_pixels, cores):
        self.name, self.outputs = setting.name, setting.outputs
        self._data = workload.quantities(n_pixels)
        self._K = workload.problem(n_bins).K
        self._arguments = {"backend": setting.backend, "workers": cores, **setting.arguments}
        if setting.outputs == "DEM":
            self._arguments["outputs"] = DEM_ONLY
        self._place = workload.response, edges(n_bins)

    def __call__(self):
        intensity, sigma = self._data
        return demreg.invert(intensity, *self._place, uncertainty=sigma, **self._arguments)

    def chi_squared(self, answer):
        """Recomputed from the DEM, and as it was reported."""
        intensity, sigma = (q.value for q in self._data)
        return misfit(self._K, intensity, sigma, answer["dem"].data), answer["chi_squared"].data


def check(what, difference, limit):
    """A fast wrong answer cannot win."""
    if not difference <= limit:
        raise RuntimeError(f"the answers are wrong, so their times mean nothing: {what} is {difference:.1e}")
    return difference


def compare_codes(*, cores, cases, n_rounds):
    """
    Time all codes on real pixels.

    Parameters
    ----------
    cores : int
    cases : list of dict
        Each with "n_bins", and the numbers of pixels of "cpu", "numpy", and each peer.
    n_rounds : int

    Returns
    -------
    list of dict
        A row per code and number of bins.
    """
    workload = load_workload()
    settings = (CPU, CPU_DEM, GRID, CONSTRAIN, NUMPY, NUMPY_DEM)
    rows = []
    for case in cases:
        rows += _measure(workload, case, settings, cores, n_rounds, part="real")
    return rows


def sweep(*, cores, cases, n_rounds):
    """
    Time ours over numbers of pixels and bins, beside the peers where they have pixels.

    The arguments and what is returned are those of `compare_codes`.
    """
    workload = load_workload()
    rows = []
    for case in cases:
        settings = (CPU, CPU_DEM, GRID) if case.get("demregpy") else (CPU, CPU_DEM)
        rows += _measure(workload, case, settings, cores, n_rounds, part="sweep")
    return rows


def _measure(workload, case, settings, cores, n_rounds, part):
    n_bins = case["n_bins"]
    codes = [
        peer(workload, n_bins, case[peer.name], cores) for peer in PEERS if case.get(peer.name) and installed(peer.name)
    ]
    n_pixels = [case[code.name] for code in codes]
    codes += [Ours(setting, workload, n_bins, case[setting.backend], cores) for setting in settings]
    n_pixels += [case[setting.backend] for setting in settings]
    keys = [f"{code.name}/{code.outputs}" for code in codes]
    codes, n_pixels = (dict(zip(keys, values, strict=True)) for values in (codes, n_pixels))
    for code in codes.values():
        if not isinstance(code, Demregpy):  # it compiles nothing, and is slow
            code()
    seconds, answers = alternate(codes, n_rounds, _BUDGET)
    times = {key: np.array(seconds[key]) / n_pixels[key] for key in codes}
    differences = _check_against_each_other(answers)
    rows = []
    for key, code in codes.items():
        recomputed, reported = code.chi_squared(answers[key])
        error = np.nanmax(np.abs(recomputed - reported) / reported)
        rows.append(
            {
                "part": part,
                "code": code.name,
                "outputs": code.outputs,
                "cores": cores,
                "n_bins": n_bins,
                **summary(seconds[key], n_pixels[key]),
                **{f"times_{peer}": ratios(times[key], times[k]) for peer, k in _peer_keys(codes)},
                **chi_squared_summary(recomputed),
                "chi2_error": check(f"chi-squared of {key}, {n_bins} bins", float(error), _CHI_SQUARED),
                **differences.get(key, {}),
            }
        )
    return rows


def _peer_keys(codes):
    return [(peer.name, f"{peer.name}/{peer.outputs}") for peer in PEERS if f"{peer.name}/{peer.outputs}" in codes]


def _check_against_each_other(answers):
    """The reference with our grid rule, our engines with each other, and what is asked for with all outputs."""
    differences = {}
    grid, peer = answers.get(_key(GRID)), answers.get("demregpy/all")
    if grid is not None and peer is not None:
        found = Demregpy.difference(peer, grid)
        for name, value in found.items():
            check(f"the difference from demregpy of {name}", value, _PARITY)
        differences[_key(GRID)] = {"difference_from_demregpy": max(found.values())}
    whole = answers[_key(CPU)]["dem"].data
    for setting in (CPU_DEM, NUMPY, NUMPY_DEM):
        if _key(setting) in answers:
            dem = answers[_key(setting)]["dem"].data
            here = whole[:, : dem.shape[1]]
            scale = np.abs(here).max(axis=0)
            if not np.array_equal(np.isnan(dem), np.isnan(here)):
                raise RuntimeError(f"{_key(setting)} does not solve the same pixels as {_key(CPU)}")
            difference = float(np.nanmax(np.abs(dem - here).max(axis=0) / scale))
            check(f"the difference of {_key(setting)} from {_key(CPU)}", difference, _PARITY)
            differences[_key(setting)] = {"difference_from_cpu": difference}
    return differences


def _key(setting):
    return f"{setting.name}/{setting.outputs}"
