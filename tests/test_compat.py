"""`dn2dem_pos` against demregpy 1.0, and against a dense solution of its own where demregpy's rounding decides."""

import subprocess
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from demregpy import dn2dem
from synthetic import instrument, pixels
from threadpoolctl import threadpool_limits

import astropy.units as u
from astropy.utils.masked import Masked

from sunpy_demreg import dn2dem_pos
from sunpy_demreg._inversion import dn2dem_pos as compat

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
    """250 pixels of twelve synthetic channels."""
    K, dlogt, logt = instrument(12, 36)
    dn, edn = pixels(K, logt, 250)
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
    # demregpy forks, with the thread of its progress bar about. For few pixels it leaves the threads of the linear
    # algebra on, which makes it ten times slower.
    with warnings.catch_warnings(), threadpool_limits(limits=1):
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
        {"non_pos": True, "reg_tweak": 0.5},
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
    assert_parity(first(aia, 250), kwargs, backend="numpy" if kwargs.get("emd_int") else "cpu")


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


@pytest.mark.parametrize("kwargs", [{"emd_int": True, "emd_ret": True}, {"l_emd": True}], ids=str)
def test_signs_are_exact_where_those_of_demregpy_are_rounding(aia, kwargs):
    """Empty bins have a squared weight of 1e-16 there: demregpy relaxes the fit where it finds them negative."""
    data = first(aia, 600)
    ours, other = dn2dem_pos(data.dn, data.edn, *data.args, **kwargs), theirs(data, kwargs)
    truth = dense_solution(data, kwargs)
    assert differences(ours, truth.outputs, data).max() < 1e-9
    is_rounding = truth.sign < 1e-13
    off = np.delete(differences(ours, other, data), 2, axis=0).max(axis=0)
    assert off[~is_rounding].max() < 1e-6
    is_relaxed = off > 1e-2
    assert (is_relaxed.mean() > 0.2) == ("emd_int" in kwargs)
    assert np.all(ours[0][is_relaxed] >= 0)
    assert np.all(ours[3][is_relaxed] < other[3][is_relaxed])


@pytest.mark.parametrize("backend", ["cpu", "numpy"])
@pytest.mark.parametrize(
    "kwargs", [{}, {"dem_norm0": "mixed"}, {"rgt_fact": 0.8}, {"emd_ret": True, "nmu": 60}], ids=str
)
def test_faint_pixels_and_zero_counts_equal_demregpy(aia, kwargs, backend):
    """Pixels with less signal than the target, with no counts in some channels, and with none at all."""
    data, rng = first(aia, 300), np.random.default_rng(3)
    edn = data.edn * 10 ** rng.uniform(-0.5, 2.5, (300, 1))
    dn = np.where(rng.random(data.dn.shape) < 0.1, 0, data.dn)
    dn[::10] = 0
    data = make_data(dn, edn, *data.args)
    kwargs = with_weights(data, kwargs)
    ours = dn2dem_pos(dn, edn, *data.args, **kwargs, backend=backend)
    assert np.count_nonzero(np.sum((dn / edn) ** 2, axis=1) < 6) > 60
    assert np.all(ours[1] > 0)
    assert np.all(ours[3][::10] == 0)
    assert differences(ours, theirs(data, kwargs), data).max() < 1e-9


def test_single_pixel_has_500_samples_and_a_number_for_chi_squared(aia):
    dn, edn = aia.dn[7], aia.edn[7]
    ours, other = dn2dem_pos(dn, edn, *aia.args), theirs(first(aia, 8), {"nmu": 500})
    assert isinstance(ours[3], float)
    for name, mine, others in zip(NAMES, ours, other, strict=True):
        assert np.shape(mine) == others[7].shape
        np.testing.assert_allclose(mine, others[7], atol=1e-9 * np.max(others[7]), err_msg=name)


@pytest.mark.parametrize("shape", [(24,), (4, 6), (2, 3, 4), (2, 3, 2, 2), (1, 2, 1, 3, 4), (0,), (2, 0, 3)])
@pytest.mark.parametrize("kind", [None, "shared", "mixed"])
def test_any_number_of_axes(aia, shape, kind):
    n = int(np.prod(shape))
    flat = first(aia, n)
    weight = None if kind is None else weights(flat, kind)
    reshaped = weight.reshape(*shape, -1 if n else 36) if kind == "mixed" else weight
    whole = dn2dem_pos(flat.dn, flat.edn, *flat.args, dem_norm0=weight)
    ours = dn2dem_pos(flat.dn.reshape(*shape, 6), flat.edn.reshape(*shape, 6), *flat.args, dem_norm0=reshaped)
    for name, array, row, size in zip(NAMES, ours, whole, (36, 36, 36, None, 6), strict=True):
        assert array.shape == (shape if size is None else (*shape, size)), name
        np.testing.assert_array_equal(array.reshape(row.shape), row)
    if n > 0 and len(shape) < 4:
        kwargs = {} if kind is None else {"dem_norm0": reshaped}
        data = SimpleNamespace(dn=flat.dn.reshape(*shape, 6), edn=flat.edn.reshape(*shape, 6), args=flat.args)
        assert differences(ours, theirs(data, kwargs), flat).max() < 1e-9


@pytest.mark.parametrize("backend", ["cpu", "numpy"])
def test_bad_pixels_are_zero_and_leave_the_others_alone(aia, backend):
    data = first(aia, 40)
    dn, edn, weight = data.dn.copy(), data.edn.copy(), weights(data, "each")
    dn[3, 1], dn[5, 0], dn[8, 5], edn[11, 2], edn[13, 2], edn[17, 2], edn[19, 2] = (
        np.nan, np.inf, -1, 0, -1, np.nan, np.inf,
    )  # fmt: skip
    dn[21, :2], dn[22] = 0, 0
    edn[23] = 1e-200
    weight[3, 4] = np.nan  # in a bad pixel it does not matter
    bad = [3, 5, 8, 11, 13, 17, 19]
    for kwargs, is_zero in (
        ({}, [*bad, 23]),
        ({"dem_norm0": weight}, [*bad, 23]),
        ({"gloci": [1, 1, 0, 0, 0, 0]}, [*bad, 21, 22, 23]),
    ):
        good = np.setdiff1d(np.arange(40), is_zero)
        reasons = rf"{len(is_zero) - 1} with bad counts or uncertainties, 1 of extreme size"
        with pytest.warns(UserWarning, match=rf"^{len(is_zero)} of 40 pixels .*zero.*: {reasons}$") as record:
            ours = dn2dem_pos(dn, edn, *data.args, **kwargs, rscl=True, backend=backend)
        assert len(record) == 1
        assert record[0].filename == __file__
        alone = {**kwargs, "dem_norm0": weight[good]} if "dem_norm0" in kwargs else kwargs
        plain = dn2dem_pos(dn[good], edn[good], *data.args, **alone, rscl=True, backend=backend)
        for array, expected in zip(ours, plain, strict=True):
            assert np.all(array[is_zero] == 0)
            np.testing.assert_array_equal(array[good], expected)


def test_masked_values_are_bad(aia):
    dn = np.ma.masked_greater(aia.dn[:20].astype(int), 1000)
    is_masked = np.ma.getmaskarray(dn).any(axis=1)
    assert 0 < is_masked.sum() < 20
    with pytest.warns(UserWarning, match=f"{is_masked.sum()} of 20 pixels"):
        dem = dn2dem_pos(dn, aia.edn[:20], *aia.args)[0]
    np.testing.assert_array_equal(np.all(dem == 0, axis=1), is_masked)


def test_only_bad_pixels(aia):
    with pytest.warns(UserWarning, match="1 of 1 pixels were not solved"):
        dem, edem, elogt, chisq, dn_reg = dn2dem_pos(-aia.dn[0], aia.edn[0], *aia.args)
    assert chisq == 0
    assert not np.any([*dem, *edem, *elogt, *dn_reg])


def test_rescaled_dem_gives_the_counts_on_average(aia):
    data = first(aia, 300)
    plain = dn2dem_pos(data.dn, data.edn, *data.args)
    dem, edem, elogt, chisq, dn_reg = dn2dem_pos(data.dn, data.edn, *data.args, rscl=True)
    ratio = np.mean(data.dn / plain[4], axis=1)
    assert np.abs(ratio - 1).max() > 0.01
    np.testing.assert_allclose(np.mean(data.dn / dn_reg, axis=1), 1, rtol=1e-12)
    for scaled, before in ((dem, plain[0]), (edem, plain[1]), (dn_reg, plain[4])):
        np.testing.assert_allclose(scaled, ratio[:, None] * before, rtol=1e-12)
    np.testing.assert_allclose(dn_reg, dem @ (data.at_centers * data.per_dem).T, rtol=1e-9)
    np.testing.assert_allclose(chisq, np.mean(((data.dn - dn_reg) / data.edn) ** 2, axis=1), rtol=1e-12)
    np.testing.assert_array_equal(elogt, plain[2])


def test_rescaling_leaves_pixels_without_counts_as_they_are(aia):
    dn = np.zeros((2, 6))
    for plain, scaled in zip(*(dn2dem_pos(dn, aia.edn[:2], *aia.args, rscl=r) for r in (False, True)), strict=True):
        np.testing.assert_array_equal(scaled, plain)


@pytest.mark.parametrize("weight", [np.zeros(36), np.full(36, np.nan), np.ones(36), np.r_[0, np.ones(35)]])
def test_weight_that_says_nothing(aia, weight):
    data = first(aia, 20)
    plain = dn2dem_pos(data.dn, data.edn, *data.args)
    for shape in ((36,), (20, 36)):
        given = dn2dem_pos(data.dn, data.edn, *data.args, dem_norm0=np.broadcast_to(weight, shape))
        for ours, expected in zip(given, plain, strict=True):
            np.testing.assert_array_equal(ours, expected)


def test_sign_of_the_weight_does_not_matter(aia):
    data = first(aia, 20)
    weight = weights(data, "each")
    for power in (-1, 1):
        sign = np.where(np.arange(36) % 3, power, 1)
        dem = dn2dem_pos(data.dn, data.edn, *data.args, dem_norm0=weight * sign)[0]
        expected = theirs(data, {"dem_norm0": weight})[0]
        assert np.max(np.abs(dem - expected).max(axis=1) / expected.max(axis=1)) < 1e-9


def test_bins_of_other_widths_have_their_own_centers(aia):
    log_edges = np.r_[5.6 + 0.05 * np.arange(16), np.linspace(6.4, 7.4, 11)]
    data = make_data(aia.dn[::10], aia.edn[::10], *aia.args[:2], 10**log_edges)
    ours, other = dn2dem_pos(data.dn, data.edn, *data.args), theirs(data, {})
    assert differences(ours, dense_solution(data, {}).outputs, data).max() < 1e-9
    assert np.median(other[3]) > 5 * np.median(ours[3])


def test_more_channels_than_bins(aia):
    data = make_data(aia.dn[:50], aia.edn[:50], *aia.args[:2], 10 ** np.linspace(5.8, 6.9, 5))
    dem, edem, elogt, chisq, dn_reg = dn2dem_pos(data.dn, data.edn, *data.args)
    assert np.all(np.isfinite(dem))
    assert np.all(edem > 0)
    assert np.all(elogt > 0)
    np.testing.assert_allclose(dn_reg, dem @ (data.at_centers * data.per_dem).T, rtol=1e-9)
    np.testing.assert_allclose(chisq, np.mean(((data.dn - dn_reg) / data.edn) ** 2, axis=1), rtol=1e-9)


@pytest.mark.parametrize("factor", [1e-14, 1e-12, 1e-10, 1.0])
@pytest.mark.parametrize("backend", ["cpu", "numpy"])
def test_response_of_which_all_samples_are_too_low(factor, backend):
    """
    Two channels, seven bins: a DEM that gives the counts, as the original's.

    It is the same one (measured: 6e-8, 6e-10, 6e-12) as long as demregpy's pseudo-inverse drops nothing.
    """
    tresp = factor * np.random.default_rng(0).uniform(1, 14, (21, 2))
    dn, edn = np.array([[1.0, 2.0]] * 3), np.array([[0.1, 0.2], [1.0, 2.0], [0.1, 2.0]])
    data = make_data(dn, edn, tresp, np.linspace(5.5, 7.5, 21), 10 ** np.linspace(5.6, 7.4, 8))
    ours = dn2dem_pos(dn, edn, *data.args, backend=backend)
    np.testing.assert_allclose(ours[0] @ (data.at_centers * data.per_dem).T, dn, rtol=1e-9)
    np.testing.assert_allclose(ours[4], dn, rtol=1e-9)
    truth = dense_solution(data, {}).outputs if factor == 1 else theirs(data, {})
    assert differences(ours, truth, data)[[0, 1]].max() < (1e-3 if factor == 1 else 1e-6)


def test_response_that_is_not_positive(aia):
    """Replaced by the least positive value of the channel; beyond its ends the table is constant."""
    tresp = aia.tresp.copy()
    tresp[20:25, 1], tresp[40, 3], tresp[50, 2] = 0, -1, -np.inf
    inside = (aia.tresp_logt > 5.8) & (aia.tresp_logt < 7.2)
    data = make_data(aia.dn[:50], aia.edn[:50], tresp[inside], aia.tresp_logt[inside], aia.temps)
    ours = dn2dem_pos(data.dn, data.edn, *data.args)
    assert differences(ours, theirs(data, {}), data).max() < 1e-9


@pytest.mark.parametrize("of", [np.ma.array, Masked])
def test_masked_values_are_not_used(aia, of):
    tables = {"tresp": aia.tresp, "tresp_logt": aia.tresp_logt, "temps": aia.temps}
    for name, table in tables.items():
        masked = of(table, mask=np.arange(table.size).reshape(table.shape) == 5)
        with pytest.raises(ValueError, match=f"`{name}`"):
            dn2dem_pos(aia.dn[0], aia.edn[0], **tables | {name: masked})
    dn = of(aia.dn[:3], mask=np.arange(18).reshape(3, 6) == 7)
    with pytest.warns(UserWarning, match="1 of 3 pixels were not solved"):
        dem = dn2dem_pos(dn, aia.edn[:3], **tables)[0]
    assert dem.any(axis=1).tolist() == [True, False, True]


def test_warnings_are_only_given_when_wanted_and_nothing_is_printed(aia, capsys):
    data = first(aia, 200)
    call = {"max_iter": 2, "rgt_fact": 1.0}
    n_negative = np.count_nonzero(np.any(dn2dem_pos(data.dn, data.edn, *data.args, **call)[0] < 0, axis=1))
    assert n_negative > 0
    match = rf"`rgt_fact` is 1, .*; {n_negative} of 200 DEMs are negative in some bins after 2 solutions"
    with pytest.warns(UserWarning, match=match) as record:
        dn2dem_pos(data.dn, data.edn, *data.args, **call, warn=True)
    assert len(record) == 1
    assert record[0].filename == __file__
    dn2dem_pos(data.dn, data.edn, *data.args, warn=True, non_pos=True)
    dn2dem_pos(data.dn, data.edn, *data.args, warn=True, max_iter=60)
    assert capsys.readouterr() == ("", "")
    dn2dem_pos(data.dn, data.edn, *data.args, progress=True)
    assert "DEM inversion" in capsys.readouterr().err


def test_tables_may_change_between_calls_and_lie_anyhow(aia):
    data = first(aia, 30)
    tresp, tresp_logt, temps = (np.array(a) for a in data.args)
    before = dn2dem_pos(data.dn, data.edn, tresp, tresp_logt, temps)
    tresp *= 2
    after = dn2dem_pos(data.dn, data.edn, tresp, tresp_logt, temps)
    assert np.median(after[0] / before[0]) < 0.6
    strided = np.asfortranarray(tresp), np.repeat(tresp_logt, 2)[::2], temps[::-1].copy()[::-1]
    for array, other in zip(after, dn2dem_pos(data.dn, data.edn, *strided), strict=True):
        np.testing.assert_array_equal(array, other)


def test_what_is_kept_between_calls_cannot_be_changed(aia):
    dn2dem_pos(aia.dn[0], aia.edn[0], *aia.args)
    tables = [np.array(table, dtype=float) for table in (aia.args[2], *aia.args[:2])]
    tables = [(table.shape, table.tobytes()) for table in tables]
    bins, *others = compat.tabulated(6, *tables)
    for array in (*bins, *others):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_lists_are_taken_and_nothing_of_the_caller_is_changed(aia):
    data = first(aia, 30)
    weight = weights(data, "mixed")
    before = [data.dn, data.edn, *data.args, weight, np.array([0, 1, 1, 0, 0, 0])]
    arrays = [a.copy() for a in before]
    for array in arrays:
        array.flags.writeable = False
    names = ("dn_in", "edn_in", "tresp", "tresp_logt", "temps", "dem_norm0", "gloci")
    options = {"emd_ret": True, "rscl": True}
    ours = dn2dem_pos(**dict(zip(names, arrays, strict=True)), **options, workers=3)
    same = dn2dem_pos(**{n: a.tolist() for n, a in zip(names, arrays, strict=True)}, **options, workers=1)
    for array, old in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, old)
    for array, other in zip(ours, same, strict=True):
        np.testing.assert_array_equal(array, other)
        assert array.flags.writeable
        assert not any(np.shares_memory(array, given) for given in arrays)


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"dn_in": 1.0}, ValueError, ["`dn_in`", "last axis", "()"]),
        ({"dn_in": np.ones((3, 6)) * u.ct}, TypeError, ["`dn_in`", "Quantity", "`value`"]),
        ({"dn_in": [["a"] * 6] * 3}, TypeError, ["`dn_in`", "real numbers"]),
        ({"dn_in": np.ones((3, 6), complex) * 1j}, TypeError, ["`dn_in`", "real numbers"]),
        ({"edn_in": np.ones(6)}, ValueError, ["`edn_in`", "(6,)", "(3, 6)"]),
        ({"tresp": np.ones((5, 50))}, ValueError, ["`tresp`", "(5, 50)", "(50, 6)"]),
        ({"tresp": np.ones((6, 50))}, ValueError, ["`tresp`", "transpose"]),
        ({"tresp": np.ones((50, 6)) * [1, 1, 0, 1, 1, 1]}, ValueError, ["`tresp`", "channel 2"]),
        ({"tresp": np.full((50, 6), np.inf)}, ValueError, ["`tresp`", "infinite"]),
        ({"tresp_logt": np.linspace(8, 5, 50)}, ValueError, ["`tresp_logt`", "ascending"]),
        ({"tresp_logt": np.full(50, np.nan)}, ValueError, ["`tresp_logt`", "finite"]),
        ({"tresp_logt": 10 ** np.linspace(5, 8, 50)}, ValueError, ["`temps`", "log10 of K"]),
        ({"temps": [1e6, 2e6, 3e6]}, ValueError, ["`temps`", "four edges", "(3,)"]),
        ({"temps": np.linspace(5.6, 7.4, 10)}, ValueError, ["`temps` in K"]),
        ({"temps": [4e6, 3e6, 2e6, 1e6]}, ValueError, ["`temps`", "ascending"]),
        ({"temps": [-1, 1e6, 2e6, 3e6]}, ValueError, ["`temps`", "positive"]),
        ({"reg_tweak": np.nan}, ValueError, ["`reg_tweak`", "nan"]),
        ({"rgt_fact": -1}, ValueError, ["`rgt_fact`", "-1"]),
        ({"max_iter": 0}, ValueError, ["`max_iter`", "from 1 to 1000", "0"]),
        ({"max_iter": 2.5}, ValueError, ["`max_iter`", "whole number"]),
        ({"nmu": np.inf}, ValueError, ["`nmu`", "whole number"]),
        ({"gloci": 2}, ValueError, ["`gloci`", "0 or 1", "2"]),
        ({"gloci": [1, 0, 1]}, ValueError, ["`gloci`", "6 channels"]),
        ({"dem_norm0": np.ones(12)}, ValueError, ["`dem_norm0`", "(12,)", "(9,)", "(3, 9)"]),
        ({"dem_norm0": [1, 1, np.nan, 1, 1, 1, 1, 1, 1]}, ValueError, ["`dem_norm0`", "finite", "3 pixels"]),
        ({"dem_norm0": [[1] * 9, [2] * 8 + [0], [0] * 9]}, ValueError, ["`dem_norm0`", "zero", "1 pixels"]),
        ({"backend": "gpu"}, ValueError, ["`backend`", "'cpu'", "'gpu'"]),
        ({"workers": 0}, ValueError, ["`workers`", "0"]),
    ],
)
def test_wrong_arguments(wrong, error, words):
    good = {"dn_in": np.ones((3, 6)), "edn_in": np.ones((3, 6)), "tresp": np.full((50, 6), 1e-25)}
    good |= {"tresp_logt": np.linspace(5, 8, 50), "temps": np.geomspace(4e5, 2e7, 10)}
    with pytest.raises(error) as caught:
        dn2dem_pos(**good | wrong)
    for word in words:
        assert word in str(caught.value)


def test_runs_on_a_bare_node():
    """Without astropy and sunpy; what is to be said is then a plain warning."""
    code = """if True:
        import sys, warnings
        for name in ("astropy", "sunpy", "ndcube", "demregpy"):
            sys.modules[name] = None
        import numpy as np
        from sunpy_demreg import dn2dem_pos
        logt = np.linspace(5, 8, 61)
        tresp = 1e-25 * np.exp(-0.5 * ((logt[:, None] - [5.9, 6.3, 6.7]) / 0.2) ** 2) + 1e-28
        dn = np.array([[90.0, 200.0, 50.0], [-1.0, 1.0, 1.0]])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            answers = [dn2dem_pos(dn, 5 + 0 * dn, tresp, logt, 10 ** np.linspace(5.5, 7, 16), backend=b)
                       for b in ("cpu", "numpy")]
        print(len(caught), caught[0].category.__name__, caught[0].message)
        print(max(np.abs(a - b).max() / b.max() for a, b in zip(*answers)) < 1e-9, (answers[0][0][0] != 0).all())
    """
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said, checked = run.stdout.splitlines()
    assert said.startswith("2 UserWarning 1 of 2 pixels were not solved")
    assert checked == "True True"
