"""Responses of spectral lines: of arrays here; those of fiasco are in `test_response_fiasco.py`."""

import numpy as np
import pytest

import astropy.units as u

from sunpy_demreg import TemperatureResponse, emission_measure, invert
from sunpy_demreg.response._lines import LINE_UNIT, _parsed

LOG_T = np.arange(5.3, 7.21, 0.05)
EDGES = 10 ** np.arange(5.575, 6.93, 0.05) * u.K
PEAKS = {
    "Fe VIII 185.213": 5.65,
    "Fe IX 197.862": 5.9,
    "Fe X 184.536": 6.05,
    "Fe XI 188.216": 6.15,
    "Fe XII 195.119": 6.2,
    "Fe XIII 202.044": 6.25,
    "Fe XIV 264.787": 6.3,
    "Fe XV 284.160": 6.35,
    "Fe XVI 262.984": 6.45,
}
INTENSITY = u.Unit("erg / (cm2 s sr)")


def functions():
    peaks = np.array(list(PEAKS.values()))[:, None]
    return 1e-24 * np.exp(-0.5 * ((LOG_T - peaks) / 0.12) ** 2) * LINE_UNIT


@pytest.fixture(scope="module")
def lines():
    return TemperatureResponse.from_lines(list(PEAKS), 10**LOG_T * u.K, functions())


def observed(response, noise=0.1):
    """Intensities of a known DEM in 200 pixels, with noise."""
    centers = np.sqrt(EDGES[1:] * EDGES[:-1])
    dem = np.exp(-0.5 * ((np.log10(centers.value) - 6.25) / 0.15) ** 2)
    dem *= 1e27 / np.sum(dem * np.diff(EDGES).value)
    clean = response.at(centers).value @ (dem * np.diff(EDGES).value)
    draws = clean[:, None] * (1 + noise * np.random.default_rng(3).standard_normal((clean.size, 200)))
    return draws * INTENSITY, noise * np.repeat(clean[:, None], 200, 1) * INTENSITY


def test_units_convert(lines):
    assert lines.response.unit == LINE_UNIT
    assert (lines.response.unit * u.cm**-5).is_equivalent(INTENSITY)
    again = TemperatureResponse.from_lines(list(PEAKS), 10**LOG_T * u.K, functions().to("J m3 / (s sr)"))
    np.testing.assert_allclose(again.response, lines.response, rtol=1e-14)
    assert lines.meta["instrument"] == "spectral lines"
    assert TemperatureResponse.from_lines("a", [1, 2] * u.MK, [[1, 2]] * LINE_UNIT, meta={"a": 1}).meta["a"] == 1


def test_labels_stand_in_one_column(lines):
    rows = repr(lines).splitlines()[1:10]
    assert len({len(row) for row in rows}) == 1


@pytest.mark.parametrize("method", ["demreg", "lognormal"])
def test_the_truth_comes_back(lines, method):
    data, error = observed(lines)
    result = invert(data, lines, EDGES, uncertainty=error, method=method)
    assert result["predicted_intensity"].unit == INTENSITY
    em = emission_measure(result, (10**5.8, 10**6.7) * u.K)
    assert em.unit == u.cm**-5
    assert np.median(em.data) == pytest.approx(1e27, rel=0.1 if method == "lognormal" else 0.2)  # it damps


@pytest.mark.parametrize("method", ["demreg", "lognormal"])
def test_a_bad_line_is_left_out_where_it_is_bad(lines, method):
    data, error = observed(lines)
    bad = data.copy()
    bad[4, :50] = np.nan
    options = {"uncertainty": error, "method": method, "missing_channels": "omit"}
    result, whole = (invert(each, lines, EDGES, **options) for each in (bad, data))
    omitted = result["omitted_channels"].data
    assert np.all(omitted[:50] == 1 << 4)
    assert not omitted[50:].any()
    np.testing.assert_array_equal(result["dem"].data[:, 50:], whole["dem"].data[:, 50:])
    em = emission_measure(result, (10**5.8, 10**6.7) * u.K).data
    assert np.median(em[:50]) == pytest.approx(1e27, rel=0.2)
    predicted = result["predicted_intensity"].data[4, :50]  # it is predicted nonetheless
    assert np.median(predicted) == pytest.approx(np.median(data[4].value), rel=0.2)


@pytest.mark.parametrize(
    ("line", "ion", "wavelengths"),
    [
        ("Fe XII 195.119", "Fe 12", [195.119]),
        ("Fe 12 195", "Fe 12", [195.0]),
        ("He II 256.317+256.318", "He 2", [256.317, 256.318]),
        ("Ca XIV 193.874", "Ca 14", [193.874]),
        ("Fe XXIV 192.03", "Fe 24", [192.03]),
        ("Si IX 225.0", "Si 9", [225.0]),
    ],
)
def test_names_of_lines(line, ion, wavelengths):
    assert _parsed(0, line) == (line, ion, wavelengths)


G = [[1.0, 2.0]] * LINE_UNIT
T = [1, 2] * u.MK


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        (("a", T), {}, ValueError, "`contribution` must be given with `temperature`"),
        (("a", None, G), {}, ValueError, "`temperature` must be given with `contribution`"),
        (("a", T, G.value), {}, TypeError, "`contribution` must be a Quantity in .*erg"),
        (("a", T, G.value * u.K), {}, ValueError, "`contribution` must be .* has the unit 'K'"),
        ((["a", "b"], T, G), {}, ValueError, r"`contribution` must have the shape \(`lines`"),
        (("a", T, -G), {}, ValueError, "`contribution` must be positive at some temperature"),
        (("a", T, G), {"density": 1e9 / u.cm**3}, ValueError, "`density` is that of the contribution functions given"),
        (("a", T, G), {"abundance": "coronal"}, ValueError, "`abundance` is that of the contribution functions given"),
        (("Fe XII",), {}, ValueError, r"`lines\[0\]` must be an ion and a wavelength in Å, such as 'Fe XII 195\.119'"),
        ((["Fe XII 195.119", "x"],), {}, ValueError, r"`lines\[1\]` must be an ion"),
        (("Fe XII 195.119",), {"density": 1e9}, TypeError, "`density` must be a Quantity"),
        (("Fe XII 195.119",), {"pressure": -1 * u.Unit("K / cm3")}, ValueError, "`pressure` must be positive"),
        (
            ("Fe XII 195.119",),
            {"density": 1e9 / u.cm**3, "pressure": 1e15 * u.Unit("K / cm3")},
            ValueError,
            "`density` and `pressure` cannot both be given",
        ),
        (("Fe XII 195.119",), {"abundance": "solar"}, ValueError, "`abundance` must be"),
        (("Fe IIX 10.0",), {}, ValueError, r"`lines\[0\]` has 'IIX', which is no Roman numeral"),
        (("a", [5.5, 6.5] * u.K, G), {}, ValueError, "`temperature` must be in kelvin, .* seems to be a logarithm"),
        ((3,), {}, TypeError, "`lines` must be labels"),
    ],
)
def test_wrong_lines(arguments, options, error, words):
    with pytest.raises(error, match=words):
        TemperatureResponse.from_lines(*arguments, **options)
