"""`dn2dem_pos` against demregpy 1.0, and against a dense solution of its own where demregpy's rounding decides."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from demregpy import dn2dem
from synthetic import instrument, pixels

import astropy.units as u

from sunpy_demreg.compat import dn2dem_pos

NAMES = ("dem", "edem", "elogt", "chisq", "dn_reg")
LN10 = np.log(10)


def dense_solution(data, kwargs):
    """
    All pixels by singular values, with what their decisions hung on.

    `gap`: how much farther from its target the second nearest sample of lambda was, relative to that.
    `sign`: the bin nearest to zero where it was asked whether one is negative, relative to the peak.
    """
    options = {"reg_tweak": 1.0, "rgt_fact": 1.5, "max_iter": 10, "nmu": 42, "gloci": 0} | kwargs
    dn, edn, (n_pixels, n), m = data.dn, data.edn, data.dn.shape, data.logt.size
    is_emd, is_squared = options.get("emd_int", False), options.get("emd_int") or options.get("l_emd")
    K = 1e15 * (data.at_centers if is_emd else data.at_centers * data.per_dem)
    A, d = K / edn[:, :, None], dn / edn
    gap, sign = np.full(n_pixels, np.inf), np.full(n_pixels, np.inf)

    def system(v):
        U, s, _ = np.linalg.svd(A * np.sqrt(v)[:, None], full_matrices=False)
        return U, s, np.einsum("pik,pi->pk", U, d), v

    def nearest(system, goal, is_asked):
        _, s, c, _ = system
        lam = np.exp(np.linspace(np.log(s.min(1) ** 2 * 1e-4), np.log(s.max(1)), options["nmu"], axis=1))
        misfit = np.sum((lam[:, :, None] * c[:, None] / (s[:, None] ** 2 + lam[:, :, None])) ** 2, axis=2)
        first, second = np.partition(np.abs(misfit - goal[:, None]), 1, axis=1)[:, :2].T
        gap[is_asked] = np.minimum(gap, (second - first) / second)[is_asked]
        return np.take_along_axis(lam, np.argmin(np.abs(misfit - goal[:, None]), axis=1)[:, None], axis=1)

    def solve(system, lam):
        U, s, c, v = system
        return v * np.einsum("pij,pik,pk->pj", A, U, c / (s**2 + lam), optimize=True)

    goal, everywhere = np.full(n_pixels, n * options["reg_tweak"]), np.ones(n_pixels, bool)
    loci = np.flatnonzero(np.broadcast_to(options["gloci"], n))
    if loci.size:
        model = np.min(dn[:, loci, None] / K[loci], axis=1)
    else:
        first = system(np.broadcast_to(data.dlogt, (n_pixels, m)))
        model = solve(first, nearest(first, goal, everywhere))
        model = np.where(model > 1e-4 * model.max(1, keepdims=True), model, 1.0)
    inner = np.pad(model[:, 1:-1], ((0, 0), (3, 3)))
    w = sum(inner[:, k : k + m] for k in range(5)) / 5 / model.max(1, keepdims=True)
    w = np.maximum(w, 1e-8)
    if "dem_norm0" in options:
        given = np.broadcast_to(options["dem_norm0"], w.shape)
        w = np.where((np.all(given == 1, axis=1) | (given[:, 0] == 0))[:, None], w, given)
    final, lam, is_negative = system(w**2 if is_squared else w / data.dlogt), np.zeros((n_pixels, 1)), everywhere
    for _ in range(1 if options.get("non_pos") else options["max_iter"]):
        lam = np.where(is_negative[:, None], nearest(final, goal, is_negative), lam)
        dem = solve(final, lam)
        sign[is_negative] = np.minimum(sign, np.abs(dem.min(1)) / dem.max(1))[is_negative]
        is_negative = is_negative & (dem.min(1) < 0)
        goal = np.where(is_negative, goal * options["rgt_fact"], goal)
    U, s, _, v = final
    inverse = np.einsum("pik,plk->pil", U / (s**2 + lam)[:, None], U)
    operator = v[:, :, None] * np.einsum("pij,pik->pjk", A, inverse)
    resolution = np.einsum("pjk,pki->pji", operator, A)
    sample = data.logt[0] + 1e-8 + np.ptp(data.logt) * np.arange(51) / 51
    left = np.searchsorted(data.logt, sample, side="right") - 1
    part = ((sample - data.logt[left]) / (data.logt[left + 1] - data.logt[left]))[:, None]
    is_above = resolution[:, left] * (1 - part) + resolution[:, left + 1] * part >= resolution.max(1, keepdims=True) / 2
    width = sample[50 - np.argmax(is_above[:, ::-1], axis=1)] - sample[np.argmax(is_above, axis=1)]
    width = np.where(is_above.any(1), np.where(width > 0, width, data.dlogt), 2 * data.dlogt)
    edem, dn_reg = np.sqrt(np.sum(operator**2, axis=2)), dem @ K.T
    factor = 1e15 * data.per_dem ** (bool(options.get("emd_ret")) - is_emd)
    chisq = np.mean(((dn - dn_reg) / edn) ** 2, axis=1)
    outputs = dem * factor, edem * factor, width / 2 / np.sqrt(8 * np.log(2)), chisq, dn_reg
    return SimpleNamespace(outputs=outputs, gap=gap, sign=sign)


def make_data(dn, edn, tresp, tresp_logt, temps):
    log_edges = np.log10(temps)
    logt, dlogt = 0.5 * (log_edges[1:] + log_edges[:-1]), np.diff(log_edges)
    at_centers = np.array(
        [10 ** np.interp(logt, tresp_logt, np.log10(np.where(r > 0, r, r[r > 0].min()))) for r in tresp.T]
    )
    arrays = {"dn": dn, "edn": edn, "tresp": tresp, "tresp_logt": tresp_logt, "temps": temps}
    return SimpleNamespace(
        **arrays, args=(tresp, tresp_logt, temps), logt=logt, dlogt=dlogt, at_centers=at_centers,
        per_dem=10**logt * LN10 * dlogt,
    )  # fmt: skip


@pytest.fixture(scope="module")
def aia(cube, response, edges):
    """2000 pixels of the sample with counts in all channels."""
    good = np.all(cube.data > 0, axis=0)
    dn, edn = (np.array(a[:, good].T[::8][:2000], dtype=float) for a in (cube.data, cube.uncertainty.array))
    log_t = np.log10(response.temperature.to_value(u.K))
    return make_data(dn, edn, response.response.value.T, log_t, edges.to_value(u.K))


@pytest.fixture(scope="module")
def twelve():
    """300 pixels of twelve synthetic channels."""
    K, dlogt, logt = instrument(12, 36)
    dn, edn = pixels(K, logt, 300)
    return make_data(dn.T, edn.T, (K / (10**logt * LN10 * dlogt)).T, logt, 10 ** np.linspace(5.6, 7.4, 37))


def first(data, n_pixels):
    return make_data(data.dn[:n_pixels], data.edn[:n_pixels], *data.args)


def weights(data, kind):
    """One for all pixels or one each, some of which stand for none."""
    centers = np.random.default_rng(0).uniform(5.9, 6.8, (len(data.dn), 1))
    if kind == "shared":
        return 3 * np.exp(-0.5 * ((data.logt - 6.3) / 0.4) ** 2) + 0.02
    weight = np.exp(-0.5 * ((data.logt - centers) / 0.4) ** 2) + 0.02
    if kind == "mixed":
        weight[::7], weight[3::11, 0], weight[5::13] = 1, 0, 0
    return weight


def with_weights(data, kwargs):
    return kwargs | {"dem_norm0": weights(data, kwargs["dem_norm0"])} if "dem_norm0" in kwargs else kwargs


def theirs(data, kwargs):
    # demregpy forks, with threads of its progress bar about; and divides by zero where a kernel is empty.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dn2dem(data.dn, data.edn, *data.args, **kwargs)


def differences(outputs, expected, data):
    """Of each output and pixel, relative to the pixel's peak: (5, N)."""
    rows = []
    for name, ours, other in zip(NAMES, outputs, expected, strict=True):
        ours, other = (np.reshape(a, (len(data.dn), -1)) for a in (ours, other))
        if name == "elogt":  # the documented departure
            other = np.where(other == 0, data.dlogt / 2 / np.sqrt(8 * np.log(2)), other)
        # A chi-squared far below one is a difference of numbers that agree: it has no digits of its own.
        scale = np.maximum(np.abs(other).max(axis=1), 1e-3 if name == "chisq" else 0)
        rows.append(np.abs(ours - other).max(axis=1) / np.where(scale > 0, scale, 1))
    return np.array(rows)


def assert_parity(data, kwargs, backend="cpu"):
    kwargs = with_weights(data, kwargs)
    ours = dn2dem_pos(data.dn, data.edn, *data.args, **kwargs, backend=backend)
    is_off = differences(ours, theirs(data, kwargs), data).max(axis=0) > 1e-9
    truth = dense_solution(data, kwargs)
    assert differences(ours, truth.outputs, data).max() < 1e-9
    # Only where two samples of lambda are equally near may rounding decide.
    assert not np.any(is_off & (truth.gap > 1e-9))
    assert np.count_nonzero(is_off) <= 1e-4 * len(data.dn)


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"gloci": 1},
        {"dem_norm0": "mixed"},
        {"non_pos": True, "reg_tweak": 0.5},
        {"nmu": 60, "l_emd": True, "gloci": [0, 1, 1, 0, 1, 0], "rgt_fact": 1.2},
        {"emd_int": True, "emd_ret": True, "dem_norm0": "shared"},
    ],
    ids=str,
)
def test_main_options_equal_demregpy(aia, kwargs):
    assert_parity(aia, kwargs)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"reg_tweak": 4.0, "emd_ret": True},
        {"max_iter": 3},
        {"max_iter": 40, "gloci": [0, 1, 1, 0, 1, 0]},
        {"rgt_fact": 1.1},
        {"rgt_fact": 1.0},
        {"rgt_fact": 0.8},
        {"dem_norm0": "shared"},
        {"dem_norm0": "each", "l_emd": True},
        {"dem_norm0": "mixed", "gloci": 1},
        {"nmu": 41},
        {"nmu": 500},
        {"emd_int": True, "gloci": 1},
        {"emd_int": True, "emd_ret": True, "gloci": 1, "non_pos": True},
        {"emd_int": True, "dem_norm0": "each", "rgt_fact": 1.3},
        {"emd_ret": True, "l_emd": True, "dem_norm0": "shared", "nmu": 100, "reg_tweak": 0.7},
    ],
    ids=str,
)
def test_other_options_equal_demregpy(aia, kwargs):
    assert_parity(first(aia, 400), kwargs, backend="numpy" if kwargs.get("emd_int") else "cpu")


@pytest.mark.parametrize(
    ("kwargs", "backend"),
    [
        ({}, "cpu"),
        ({"gloci": [1] * 6 + [0] * 6, "nmu": 80}, "numpy"),
        ({"dem_norm0": "mixed", "gloci": 1}, "numpy"),
        ({"emd_int": True, "gloci": 1, "reg_tweak": 2.0}, "numpy"),
        ({"emd_ret": True, "l_emd": True, "dem_norm0": "shared"}, "numpy"),
        ({"non_pos": True, "nmu": 500}, "numpy"),
    ],
    ids=str,
)
def test_twelve_channels_equal_demregpy(twelve, kwargs, backend):
    assert_parity(twelve, kwargs, backend)
