"""The definitions of the validation: truths, noise, measures with known answers; and a run of it that takes seconds."""

import sys
from functools import partial
from pathlib import Path

import lognormal_truth
import numpy as np
import pytest

import astropy.units as u

sys.path.insert(0, str(Path(__file__).parents[1]))

from validation import accuracy, figures, instruments, robustness, run, tables_accuracy
from validation.families import CURVES, FAMILIES, SOLAR, TOTALS, draw, gaussian, only_in_bins, solar
from validation.measures import coverage, measures, within
from validation.methods import LOGNORMAL, METHODS, PLOWMAN
from validation.setting import (
    BIN_CENTERS,
    BIN_EDGES,
    BIN_WIDTH,
    CELL_WIDTH,
    CELLS,
    EXPOSURE,
    RANGES,
    SATURATION,
    em_in_bins,
    em_in_ranges,
    intensity_of,
    observe,
    observe_relative,
    response,
)

#: log10 of the least and the largest total emission measure (cm-5) of the families that have one.
TOTAL = {
    "Gaussians": (26.5, 28.5),
    "two components": (27, 29),
    "five components": (27, 29),
    "flat": (27, 28.7),
    "power law": (27, 28.7),
    "two boxes": (27, 28.7),
    "isothermal": (27, 28.5),
    "narrow pairs": (27, 28.7),
    "five components (P&C)": (np.log10(5e27), np.log10(5e28)),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_families(name):
    em = draw(name, 50, np.random.default_rng(3))
    assert em.shape == (CELLS.size, 50)
    assert np.all(em >= 0)
    np.testing.assert_array_equal(em, draw(name, 50, np.random.default_rng(3)))
    assert np.unique(em, axis=1).shape[1] == 50
    total = em.sum(axis=0)
    if name in TOTAL:
        low, high = TOTAL[name]
        assert np.all((np.log10(total) > low - 1e-6) & (np.log10(total) < high + 1e-6))
    # Most of it can be seen.
    assert np.median(em_in_bins(em).sum(axis=0) / total) > 0.8
    if name in SOLAR:
        assert np.max(intensity_of(em) * EXPOSURE[:, None]) <= SATURATION


def test_families_in_detail():
    def drawn(name):
        return draw(name, 40, np.random.default_rng(5))

    for name, total in TOTALS.items():
        em = drawn(f"Gaussians, {name}")
        np.testing.assert_allclose(em_in_bins(em).sum(axis=0), total)
    assert np.all((drawn("isothermal") > 0).sum(axis=0) == 1)
    # A box of 0.05 to 0.5 dex has 10 to 100 cells of one height; where two meet, there is a third.
    boxes = drawn("two boxes")
    assert np.all([np.unique((em[em > 0] / em.max()).round(9)).size <= 3 for em in boxes.T])
    assert np.all(((boxes > 0).sum(axis=0) >= 10) & ((boxes > 0).sum(axis=0) <= 202))
    # Below the peak of a power law the slope is constant, and positive.
    slopes = np.diff(np.log10(drawn("power law")), axis=0) / CELL_WIDTH
    np.testing.assert_allclose(slopes[0], slopes[100])
    assert np.all((slopes[0] > 1) & (slopes[0] < 5) & (slopes[-1] < -4) & (slopes[-1] > -12))
    hot = CELLS > 6.95
    cool = draw("active region", 40, np.random.default_rng(5))
    assert np.all(drawn("active region + hot")[hot].sum(axis=0) > cool[hot].sum(axis=0))
    # The brightest flares are dimmed to 0.8 of what would saturate.
    flares = solar("flare", 0.0, 10 ** np.array([28.0, 31.0]))
    counts = (intensity_of(flares) * EXPOSURE[:, None]).max(axis=0)
    assert counts[0] < counts[1]
    np.testing.assert_allclose(counts[1], 0.8 * SATURATION)


def test_gaussians_have_unit_sum():
    np.testing.assert_allclose(gaussian(np.array([5.8, 6.5, 7.1]), 0.1).sum(axis=0), 1, rtol=1e-9)
    one = gaussian(6.3, 0.2)
    np.testing.assert_allclose(CELLS @ one, 6.3)
    np.testing.assert_allclose(np.sqrt((CELLS - 6.3) ** 2 @ one), 0.2, rtol=1e-6)
    assert only_in_bins(np.ones(CELLS.size)).sum() == 10 * BIN_CENTERS.size


def test_published_curves():
    """At their nodes, where nothing is interpolated: DEM times what a cell is wide in kelvin."""
    for name, log_t, log_dem, factor in (
        ("quiet Sun (EIS)", 6.05, 20.6776, 1.0),
        ("flare (Dere & Cook)", 7.1, 24.646, 0.1),
    ):
        cell = np.searchsorted(CELLS, log_t)
        expected = factor * 10 ** (log_dem + log_t) * np.log(10) * CELL_WIDTH
        # Cells on both sides of a node, whose mean is close to the value there.
        np.testing.assert_allclose(np.sqrt(CURVES[name][cell - 1] * CURVES[name][cell]), expected, rtol=0.03)
    assert np.all(CURVES["quiet Sun (EIS)"][(CELLS < 5.4) | (CELLS > 6.8)] == 0)
    np.testing.assert_array_equal(
        draw("flare (Dere & Cook)", 2, None), np.repeat(CURVES["flare (Dere & Cook)"][:, None], 2, 1)
    )


def test_bins_and_ranges_keep_the_sum():
    em = only_in_bins(np.random.default_rng(0).uniform(size=(CELLS.size, 3)))
    np.testing.assert_allclose(em_in_bins(em).sum(axis=0), em.sum(axis=0))
    np.testing.assert_allclose(em_in_ranges(em_in_bins(em)).sum(axis=0), em.sum(axis=0))
    assert (RANGES[0, 0], RANGES[-1, 1]) == (BIN_EDGES[0], BIN_EDGES[-1])
    inside = (RANGES[2, 0] < CELLS) & (RANGES[2, 1] > CELLS)
    np.testing.assert_allclose(em_in_ranges(em_in_bins(em))[2], em[inside].sum(axis=0))


@pytest.mark.parametrize("watch", [observe, lambda g, rng: observe_relative(g, rng, 0.05)], ids=["AIA", "relative"])
def test_noise_is_as_large_as_it_says(watch):
    clean = np.repeat(intensity_of(solar("active region"))[:, None], 4000, axis=1)
    noisy, sigma = watch(clean, np.random.default_rng(1))
    # Of 4000 draws: good to 3 %, but the uncertainty follows the noise.
    np.testing.assert_allclose(np.std(noisy - clean, axis=1) / np.median(sigma, axis=1), 1, atol=0.08)
    np.testing.assert_allclose((noisy - clean).mean(axis=1) / np.median(sigma, axis=1), 0, atol=0.06)


def _one_bin(index, value=1.0):
    em = np.zeros((BIN_CENTERS.size, 1))
    em[index] = value
    return em


@pytest.mark.parametrize(
    ("em", "expected"),
    [
        (_one_bin(7), {"E": 0, "E_ranges": 0, "distance": 0, "false_hot": 0, "total": 1, "log_T_error": 0}),
        # In the next bin of the same range: all of it is missing here and too much there.
        (_one_bin(8), {"E": 2, "E_ranges": 0, "distance": 0.05, "total": 1, "log_T_bias": 0.05, "log_T_error": 0.05}),
        (_one_bin(5), {"E": 2, "E_ranges": 2, "distance": 0.1, "log_T_bias": -0.1, "log_T_error": 0.1}),
        (_one_bin(7, 1.5), {"E": 0.5, "E_ranges": 0.5, "distance": 0, "false_hot": 0, "total": 1.5}),
        (_one_bin(7) + _one_bin(30, 0.5), {"E": 0.5, "false_hot": 0.5, "total": 1.5, "distance": 23 * 0.05 / 3}),
        (_one_bin(7, 0.0), {"E": 1, "E_ranges": 1, "false_hot": 0, "total": 0}),
    ],
    ids=["same", "next bin", "other range", "too much", "false hot", "nothing"],
)
def test_measures(em, expected):
    with np.errstate(invalid="ignore"):
        found = measures(em, _one_bin(7))
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-12, err_msg=name)


def test_hot_plasma_of_the_truth_is_not_false():
    flare = _one_bin(30, 2.0)
    np.testing.assert_allclose(measures(_one_bin(29, 2.0), flare)["false_hot"], 0)
    np.testing.assert_allclose(measures(_one_bin(29, 3.0), flare)["false_hot"], 0.5)


def test_coverage_of_gaussian_errors():
    rng = np.random.default_rng(2)
    truth = np.repeat([[1.0], [0.1], [0.01], [0.0], [2.0], [0.0]], 5000, axis=1)
    sigma = 0.1 * truth + 0.01
    departures = within(truth + sigma * rng.standard_normal(truth.shape), sigma, truth)
    # Ranges of one or two, of a total of 3.11; 0.1 is less than 5 % of it.
    assert departures.size == 2 * 5000
    shares = coverage(departures)
    assert abs(shares["within_1"] - 0.683) < 0.015
    assert abs(shares["within_2"] - 0.954) < 0.01
    none = within(np.zeros((6, 1)), np.zeros((6, 1)), truth[:, :1])
    assert np.all(np.isinf(none))
    assert coverage(none) == {"within_1": 0.0, "within_2": 0.0, "values": 2}
    assert coverage(np.array([])) == {"within_1": None, "within_2": None, "values": 0}


def test_instruments():
    """Each sees something of a quiet Sun or a flare, of the order of channels that its name says."""
    em = np.stack([solar("quiet Sun"), solar("flare")], axis=1)
    for name in instruments.INSTRUMENTS:
        intensity = instruments.intensity_in(name, em)
        assert intensity.shape[0] == int("".join(c for c in name.split(",")[1] if c.isdigit())), name
        assert np.all(intensity.max(axis=1) > 0), name
    # Lines are named from cool to hot: their peaks are, but for a step.
    its_response, _ = instruments.instrument("EIS, 24 lines")
    peaks = its_response.temperature[np.argmax(its_response.response, axis=1)].to_value(u.K)
    assert np.log10(peaks[0]) < 5.7
    assert np.log10(peaks[-1]) > 7.1


@pytest.mark.parametrize("name", accuracy.TRUTHS)
def test_lognormal_is_as_good_as_its_plain_text(name):
    """Not worse than the method written out in whole matrices, on the same draws, by more than 3 %."""
    rng = np.random.default_rng([9, accuracy.TRUTHS.index(name)])
    em = draw(name, 50, rng)
    observed, truth = observe(intensity_of(em), rng), em_in_bins(em)
    answer = METHODS[LOGNORMAL](*observed, response())
    K = response().at(10**BIN_CENTERS * u.K).value * BIN_WIDTH
    plain = lognormal_truth.invert(observed[0].T, observed[1].T, K, np.full(BIN_CENTERS.size, BIN_WIDTH))
    good = np.isfinite(answer.em).all(axis=0)
    assert good.sum() > 10
    assert answer.converged[good].all()
    found = measures(answer.em[:, good], truth[:, good])
    expected = measures(plain["xi"].T[:, good] * BIN_WIDTH, truth[:, good])
    for key in ("E", "false_hot"):
        assert np.median(found[key]) <= 1.03 * np.median(expected[key]) + 1e-4
    np.testing.assert_allclose(np.median(found["total"]), np.median(expected["total"]), rtol=0.03)
    # The errors in bins are those of whole matrices too.
    ratio = answer.in_bins["posterior"][:, good] / (plain["error"].T[:, good] * BIN_WIDTH)
    np.testing.assert_allclose(np.median(ratio), 1, rtol=1e-6)


def test_quick_run():
    """All of the known truths, of a few cases: it runs, and says what the page says."""
    names = ("active region", "quiet Sun (EIS)", "isothermal")
    methods = tuple(name for name in METHODS if name != PLOWMAN)
    cases, departures, summaries = accuracy.accuracy(30, methods, names)
    for name in names[:2]:
        errors = {m: of["E"] for m, of in summaries[name].items()}
        assert errors[LOGNORMAL] < 0.7 * errors["constrain"]
        assert summaries[name][LOGNORMAL]["false_hot"] < 0.2 * summaries[name]["relax (default)"]["false_hot"]
    assert summaries["isothermal"][LOGNORMAL]["E"] > 1
    # A case that one method did not solve counts for none.
    compared = {m: np.isfinite(of["E"]) for m, of in cases["active region"].items()}
    assert all(np.array_equal(compared["constrain"], of) for of in compared.values())
    shares = accuracy.pooled(departures, names[:1])[LOGNORMAL]
    assert 0.5 < shares["posterior"]["within_1"] <= 1
    assert shares["posterior"]["within_1"] >= shares["noise"]["within_1"]
    assert accuracy.means(summaries, names[:1])[LOGNORMAL]["E"] == summaries["active region"][LOGNORMAL]["E"]


def test_figures_and_tables(monkeypatch):
    """Of a few cases each: the texts name every truth and method, the pictures hold what they are to show."""
    studies = {
        "noise": partial(robustness.noise_levels, levels=(0.05,)),
        "wrong_uncertainty": partial(robustness.wrong_uncertainties, factors=(1.0,)),
        "channels": partial(robustness.channels, instruments=("AIA, 6 channels",)),
    }
    monkeypatch.setattr(run, "OTHERS", ("ignore", "l2"))
    size, results, drawings = dict.fromkeys(run.FULL, 5) | {"gaussian_draws": 1}, {}, {}
    run.known_truths(size, lambda name, function, *args: function(*args), results, drawings, studies)
    texts = tables_accuracy.accuracy_tables(results)
    assert all(f"* - {name}" in texts["validation_accuracy.rst"] for name in accuracy.TRUTHS)
    assert all(f"* - {name}" in texts["validation_coverage.rst"] for name in accuracy.TRUTHS)
    assert f"* - {LOGNORMAL}" in texts["validation_means.rst"]
    assert set(drawings) == {"leading", "robustness", "gaussians"}
    panels = drawings["leading"].axes
    assert [axes.get_title() for axes in panels[:4]] == list(run.EXAMPLES)
    assert [label.get_text() for label in panels[4].get_yticklabels()] == figures._rows()
    assert set(figures._rows()) == {*FAMILIES, *CURVES}
    assert set(SOLAR) <= set(FAMILIES)
