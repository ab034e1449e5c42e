"""Temperature responses: against the tables of SolarSoft, and wrong calls."""

import copy
import pickle
import re
import socket
from importlib.resources import as_file, files

import numpy as np
import pytest
from demregpy import tresp

import astropy.units as u
from astropy.io import ascii as text
from astropy.table import QTable
from astropy.time import Time
from astropy.utils.masked import Masked
from astropy.wcs import WCS
from ndcube import NDCube, NDMeta
from sunpy.map import Map
from sunpy.util.exceptions import SunpyUserWarning

from sunpy_demreg import TemperatureResponse, sample
from sunpy_demreg.response._aia import degradation_factors
from sunpy_demreg.response._emissivity import load_emissivity

EUV = [94, 131, 171, 193, 211, 304, 335] * u.AA
V8_TABLE = files("aiapy") / "tests/data/aia_V8_20171210_050627_response_table.txt"
UNIT = u.Unit("DN cm5 / (pix s)")
LOG_T = np.array([6.0, 6.5, 7.0])


def aia_cube(channels=("AIA 94", "AIA 171"), dates=("2014-01-01T00:00:00", "2014-01-01T00:00:12"), **meta):
    meta = {"channels": np.array(channels), "date": Time(list(dates)), **meta}
    meta = NDMeta({k: v for k, v in meta.items() if v is not None}, axes={"channels": 0})
    return NDCube(np.ones((len(channels), 2, 2)), WCS(naxis=3), meta=meta)


def three_nodes(values=((1, 3, 2), (5, 1, 4)), channels=("A", "B"), meta=None):
    return TemperatureResponse.from_arrays(channels, 10**LOG_T * u.K, values * UNIT, meta)


@pytest.fixture(scope="module")
def launch():
    return TemperatureResponse.from_aia(EUV)


@pytest.fixture(scope="module")
def launch_without_eve():
    return TemperatureResponse.from_aia(EUV, eve=False)


# ---- AIA, against tables computed by SolarSoft


@pytest.mark.parametrize("channel", EUV.value.astype(int))
def test_equals_solarsoft_v10(channel, launch_without_eve):
    with as_file(files("sdo") / "aia/data/aia_V10_temperature_response.ecsv") as path:
        table = QTable.read(path)
    log_t = np.log10(table["temperature"].to_value(u.K))
    tested = (log_t > 4.99) & (log_t < 8.01)
    assert tested.sum() == 61
    computed = launch_without_eve.select(f"AIA {channel}").at(table["temperature"][tested])[0]
    np.testing.assert_allclose(computed, table[f"response_{channel}"][tested], rtol=1e-4)


@pytest.mark.parametrize(("table", "crosstalk"), [(tresp.aia_tresp, True), (tresp.aia_tresp_nb, False)])
def test_equals_solarsoft_normalized_to_eve(table, crosstalk):
    names, log_t, expected = tresp.load_aia_response(table)
    tested = (log_t > 4.99) & (log_t < 8.01)
    response = TemperatureResponse.from_aia([int(name[1:]) for name in names] * u.AA, crosstalk=crosstalk)
    computed = response.at(10 ** log_t[tested].astype(float) * u.K)
    np.testing.assert_allclose(computed.value, expected[tested].T, rtol=1e-4)


def test_eve_factors_are_those_of_v10(launch, launch_without_eve):
    factors = launch.response[:, 0] / launch_without_eve.response[:, 0]
    np.testing.assert_allclose(
        factors, [0.95484, 1.04413, 0.96803, 1.20529, 1.08397, 1.63021, 1.27280], rtol=0, atol=1e-5
    )
    np.testing.assert_allclose(list(launch.meta["eve"].values()), factors.value)


def test_degradation_is_that_of_solarsoft(launch):
    # What the tests of aiapy 0.12 expect of the table that it downloads from SolarSoft.
    expected = {94: 0.90317732, 171: 0.78689527, 193: 0.86181854, 211: 0.82998772, 304: 0.14925002, 335: 0.32689207}
    response = TemperatureResponse.from_aia(list(expected) * u.AA, "2015-01-01")
    ratio = response.response / launch.select(response.channels).response
    np.testing.assert_allclose(ratio, np.broadcast_to([[f] for f in expected.values()], ratio.shape), rtol=3e-4)
    np.testing.assert_allclose(list(response.meta["degradation"].values()), ratio[:, 0].value)


@pytest.mark.parametrize("as_table", [True, False])
def test_correction_table_is_used(launch_without_eve, as_table):
    from aiapy.calibrate import degradation
    from aiapy.calibrate.utils import get_correction_table

    with as_file(V8_TABLE) as path:
        table = get_correction_table(path)
        response = TemperatureResponse.from_aia(
            EUV, "2012-06-01", eve=False, correction_table=table if as_table else path
        )
    date = Time("2012-06-01")
    factors = [degradation(c, date, correction_table=table, calibration_version=8)[0] for c in EUV]
    np.testing.assert_allclose(response.response, np.array(factors)[:, None] * launch_without_eve.response)
    assert response.meta["correction_table"] == "V8 of 2017-12-10, given"


def test_eve_follows_the_correction_table(launch, launch_without_eve):
    with as_file(V8_TABLE) as path:
        response = TemperatureResponse.from_aia(EUV, correction_table=path)
    # The first effective areas at 94 Å in V8 and V10 are 0.31656 and 0.29808 cm2.
    np.testing.assert_allclose(response.response[0] / launch.response[0], 0.31656 / 0.29808)


# ---- AIA: channels, dates, metadata


def test_aia_grid_and_metadata(launch):
    assert launch.channels == ("AIA 94", "AIA 131", "AIA 171", "AIA 193", "AIA 211", "AIA 304", "AIA 335")
    np.testing.assert_allclose(np.log10(launch.temperature.value), np.linspace(4, 9, 101), atol=1e-12)
    assert launch.response.unit == UNIT
    assert (launch.response > 0).all()
    assert launch.meta["degradation"] is None
    assert launch.meta["obstime"] is None
    assert launch.meta["crosstalk"] is True
    assert launch.meta["emissivity"].startswith("CHIANTI 9.0.1")


@pytest.mark.parametrize(
    "channels", [[171, 94] * u.AA, [171 * u.AA, 94 * u.AA], [17.1, 9.4] * u.nm, aia_cube(("AIA 171", "AIA 94"))]
)
def test_ways_to_name_channels(launch, channels):
    response = TemperatureResponse.from_aia(channels, degradation=False)
    assert response.channels == ("AIA 171", "AIA 94")
    np.testing.assert_array_equal(response.response, launch.response[[2, 0]])


@pytest.mark.parametrize("obstime", ["2014-01-01 00:00:06", Time("2014-01-01T00:00:06"), None])
def test_cube_is_dated_by_its_mean_date(obstime):
    of_cube = TemperatureResponse.from_aia(aia_cube(), obstime)
    expected = TemperatureResponse.from_aia([94, 171] * u.AA, "2014-01-01 00:00:06")
    assert of_cube.meta == expected.meta
    assert of_cube.meta["obstime"] == "2014-01-01T00:00:06.000"
    np.testing.assert_array_equal(of_cube.response, expected.response)


def test_slice_of_a_cube():
    response = TemperatureResponse.from_aia(aia_cube()[1])
    assert response.channels == ("AIA 171",)
    assert response.response.shape == (1, 101)


def test_degradation_factors_are_those_of_the_response():
    dates = Time(["2011-02-15", "2020-01-01"])
    expected = [
        TemperatureResponse.from_aia(channel * u.AA, date).meta["degradation"][f"AIA {channel}"]
        for channel, date in zip((94, 304), dates, strict=True)
    ]
    assert degradation_factors((94, 304), dates) == expected


@pytest.mark.parametrize(
    ("date", "expected"),
    [("2011-02-15", {94: 0.10}), ("2014-01-01", {335: 0.19}), ("2020-01-01", {211: 0.49, 193: 0.48, 304: 0.91})],
)
def test_how_far_the_older_table_is_off(date, expected):
    """The figures in the documentation of `from_aia`."""
    channels = EUV.value.astype(int)
    dates = Time([date] * 7)
    with as_file(V8_TABLE) as path:
        ratio = np.divide(degradation_factors(channels, dates, path), degradation_factors(channels, dates))
    off = dict(zip(channels, np.round(abs(ratio - 1), 2), strict=True))
    assert {channel: off[channel] for channel in expected} == expected
    assert max(value for channel, value in off.items() if channel != 304) == next(iter(expected.values()))


def test_corrected_data_never_meet_a_dated_response():
    cube = aia_cube(degradation_corrected=True)
    for options in ({"degradation": True}, {"obstime": "2014-01-01"}):
        with pytest.raises(ValueError, match=rf"corrected for degradation.*leave out `{next(iter(options))}`.*both"):
            TemperatureResponse.from_aia(cube, **options)
    for options in ({}, {"degradation": False}):
        assert TemperatureResponse.from_aia(cube, **options).meta["degradation"] is None
    some = aia_cube(degradation_corrected=np.array([True, False]))
    with pytest.raises(ValueError, match="some channels corrected for degradation and some not"):
        TemperatureResponse.from_aia(some)


def test_extrapolated_degradation_warns_once():
    with pytest.warns(SunpyUserWarning, match="2020-10-26.*extrapolated.*2025-01-01.*`correction_table`") as caught:
        TemperatureResponse.from_aia(EUV, "2025-01-01")
    assert len(caught) == 1


def test_works_without_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("tried to use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert TemperatureResponse.from_aia(EUV, "2014-01-01").response.shape == (7, 101)


def test_bundled_data_are_small_and_cannot_be_changed():
    folder = files("sunpy_demreg.response") / "data"
    assert sum(len(file.read_bytes()) for file in folder.iterdir()) < 3e6
    emissivity = load_emissivity()
    for array in (emissivity.temperature, emissivity.spectrum):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0 * array.unit


# ---- the class


def test_interpolation_is_exact_at_nodes(launch):
    np.testing.assert_allclose(launch.at(launch.temperature), launch.response, rtol=1e-12)
    assert launch.at(launch.temperature).unit == launch.response.unit


def test_interpolation_is_linear_in_logarithms():
    response = three_nodes([[1e-20, 1e-24, 1e-26]], ["A"])
    log_r = np.log10(response.at(10 ** np.array([6.1, 6.25, 6.75, 7.0]) * u.K).value)
    np.testing.assert_allclose(log_r, [[-20.8, -22, -25, -26]], rtol=1e-13)


def test_values_not_positive_become_the_smallest_of_the_channel():
    response = three_nodes([[0, 4, 9], [5, -1, 0]])
    np.testing.assert_allclose(response.at(response.temperature).value, [[4, 4, 9], [5, 5, 5]])
    np.testing.assert_array_equal(response.response.value, [[0, 4, 9], [5, -1, 0]])


def test_centers_at_the_ends_but_for_rounding():
    response = three_nodes()
    ends = [1e6 * (1 - 1e-12), 1e7 * (1 + 1e-12)] * u.K
    np.testing.assert_allclose(response.at(ends).value, [[1, 2], [5, 4]])


def test_select_reorders_channels_and_their_metadata():
    response = three_nodes(meta={"factor": {"A": 1.0, "B": 2.0}, "source": "a paper"})
    selected = response.select(["B"])
    assert selected.channels == ("B",)
    assert selected.meta == {"factor": {"B": 2.0}, "source": "a paper"}
    np.testing.assert_array_equal(selected.response, response.response[1:])
    assert response.select(["B", "A"]).channels == ("B", "A")


def test_does_not_share_or_change_arguments():
    values, meta = np.array([[1.0, 2.0, 3.0]]) * UNIT, {"source": "a paper"}
    response = TemperatureResponse.from_arrays(["A"], [1, 2, 3] * u.MK, values, meta)
    values[0, 0], meta["source"] = 7 * UNIT, "another"
    assert response.response[0, 0] == 1 * UNIT
    assert response.meta == {"source": "a paper"}
    assert response.temperature.unit == u.K
    with pytest.raises(ValueError, match="read-only"):
        response.response[0, 0] = 7 * UNIT
    with pytest.raises(AttributeError):
        response.channels = ("B",)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))])
def test_can_be_copied_and_sent(duplicate):
    response = three_nodes(meta={"source": "a paper"})
    twin = duplicate(response)
    assert (twin.channels, twin.meta) == (response.channels, response.meta)
    np.testing.assert_array_equal(twin.response, response.response)


def test_repr_is_a_table():
    shown = repr(TemperatureResponse.from_aia([94, 335] * u.AA, "2014-01-01", crosstalk=False))
    assert re.search(r"2 channels at 101 temperatures, log T \[K\] = 4\.00 to 9\.00", shown)
    assert re.search(r"AIA 94 +\S+ +6\.85 +0\.9548 +0\.9137\n", shown)
    assert "crosstalk: False" in shown
    assert "obstime: 2014-01-01T00:00:00.000" in shown
    assert "1.000e+00" in repr(three_nodes([[0, 1, 0]], ["A"], {"note": {"A": "a text"}}))


# ---- wrong calls


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"channels": ["A"]}, ValueError, r"`response` must have the shape .*\(1, 3\), but has \(2, 3\)"),
        ({"channels": ["A", "A"]}, ValueError, "`channels` must all be different"),
        ({"channels": [94, 171]}, TypeError, "`channels` must be one or more labels"),
        ({"channels": []}, TypeError, "`channels` must be one or more labels"),
        (
            {"temperature": [1e6, 2e6, 3e6]},
            TypeError,
            "`temperature` must be a Quantity in K, for instance `10.*u.K`, but is of type list",
        ),
        (
            {"temperature": [1, 2, 3] * u.s},
            ValueError,
            "`temperature` must be a Quantity in K, .* but has the unit 's'",
        ),
        ({"temperature": [1, 3, 2] * u.MK}, ValueError, "`temperature` must be .*strictly increasing"),
        ({"temperature": [1, 2, 2] * u.MK}, ValueError, "`temperature` must be .*strictly increasing"),
        ({"temperature": [0, 1, 2] * u.MK}, ValueError, "`temperature` must be .*positive"),
        ({"temperature": [1, 2, np.nan] * u.MK}, ValueError, "`temperature` must be finite"),
        ({"temperature": [1] * u.MK}, ValueError, "`temperature` must be .*two or more nodes"),
        ({"temperature": [[1, 2, 3]] * u.MK}, ValueError, "`temperature` must be a one-dimensional"),
        ({"response": np.ones((2, 3))}, TypeError, "`response` must be a Quantity.*attach its unit"),
        ({"response": np.ones((3, 2)) * UNIT}, ValueError, r"`response` must have the shape .*\(3, 2\)"),
        ({"response": [[1, 2, np.inf], [1, 2, 3]] * UNIT}, ValueError, "`response` must be finite"),
        ({"response": [[1, 2, 3], [0, -1, 0]] * UNIT}, ValueError, "`response` must be positive .* for B"),
        ({"response": Masked(np.ones((2, 3)), mask=np.eye(2, 3) > 0) * UNIT}, TypeError, "`response` .*`unmasked`"),
        ({"temperature": Masked([1, 2, 3] * u.MK, mask=[0, 1, 0])}, TypeError, "`temperature` .*`unmasked`"),
        ({"meta": "a paper"}, TypeError, "`meta` must be a dict"),
    ],
)
def test_wrong_arrays(change, error, words):
    good = {"channels": ["A", "B"], "temperature": [1, 2, 3] * u.MK, "response": np.ones((2, 3)) * UNIT}
    TemperatureResponse.from_arrays(**good)
    with pytest.raises(error, match=words):
        TemperatureResponse.from_arrays(**good | change)


@pytest.mark.parametrize(
    ("centers", "error", "words"),
    [
        ([9e5, 2e6] * u.K, ValueError, "`centers` must lie between.*1e\\+06 K and 1e\\+07 K"),
        ([2e6, 1.1e7] * u.K, ValueError, "`centers` must lie between"),
        ([np.nan, 2e6] * u.K, ValueError, "`centers` must lie between"),
        ([-1, 2] * u.MK, ValueError, "`centers` must lie between"),
        (Masked([1, 2] * u.MK, mask=[True, False]), TypeError, "`centers` .*`unmasked`"),
        ([1e6, 2e6], TypeError, "`centers` must be a Quantity"),
        ([1, 2] * u.m, ValueError, "`centers` must be a Quantity in K, .* but has the unit 'm'"),
    ],
)
def test_wrong_centers(centers, error, words):
    with pytest.raises(error, match=words):
        three_nodes().at(centers)


@pytest.mark.parametrize(
    ("channels", "error", "words"),
    [
        (["A", "C"], ValueError, "`channels` names C, but the response has only A, B"),
        (["A", "A"], ValueError, "`channels` must all be different"),
        ([0], TypeError, "`channels` must be one or more labels"),
    ],
)
def test_wrong_selection(channels, error, words):
    with pytest.raises(error, match=words):
        three_nodes().select(channels)


@pytest.mark.parametrize(
    ("channels", "options", "error", "words"),
    [
        ([94, 171], {}, TypeError, r"`cube_or_channels` must be .* wavelengths with their unit"),
        (["AIA 94"], {}, TypeError, r"`cube_or_channels` must be .* wavelengths with their unit"),
        (Masked([94, 171] * u.AA, mask=[0, 1]), {}, TypeError, "`cube_or_channels` .*`unmasked`"),
        (
            171 * u.AA,
            {"emissivity": ([1, 2] * u.MK, Masked([1, 2] * u.AA, mask=[0, 1]), None)},
            TypeError,
            r"`emissivity\[1\]` .*`unmasked`",
        ),
        (171 * u.s, {}, TypeError, r"`cube_or_channels` must be .* wavelengths with their unit"),
        ([94, 1600] * u.AA, {}, ValueError, "`cube_or_channels` must name EUV channels.*has 1600 Å"),
        ([94, 94] * u.AA, {}, ValueError, "`channels` must all be different"),
        (aia_cube(channels=("EIS 195", "AIA 94")), {}, ValueError, "`cube_or_channels` must have channels of AIA"),
        (aia_cube(date=None), {}, ValueError, r"`cube_or_channels` has no `meta\['date'\]`: pass `obstime`"),
        (NDCube(np.ones(3), WCS(naxis=1)), {}, ValueError, r"`cube_or_channels` has no `meta\['channels'\]`"),
        (
            171 * u.AA,
            {"obstime": "2014-01-01", "degradation": False},
            ValueError,
            "`obstime` is the date of the degradation, which `degradation=False` leaves out",
        ),
        (
            aia_cube(),
            {"obstime": "2014-01-01", "degradation": False},
            ValueError,
            "`degradation=False` leaves out: pass only one",
        ),
        (171 * u.AA, {"degradation": "yes"}, TypeError, "`degradation` must be True or False, but is 'yes'"),
        (171 * u.AA, {"obstime": "yesterday"}, ValueError, "`obstime` must be a date.*'yesterday'"),
        (171 * u.AA, {"obstime": ["2014-01-01", "2014-01-02"]}, ValueError, "`obstime` must be one date, but has 2"),
        (
            171 * u.AA,
            {"obstime": "2009-01-01"},
            ValueError,
            "`obstime` must lie within .* 2010-03-24 to 2030-05-01",
        ),
        (
            171 * u.AA,
            {"obstime": "2031-01-01"},
            ValueError,
            "`obstime` must lie within .* 2010-03-24 to 2030-05-01",
        ),
        (171 * u.AA, {"correction_table": 10}, TypeError, "`correction_table` must be a file or a table"),
        (
            171 * u.AA,
            {"correction_table": "SSW"},
            ValueError,
            "`correction_table` .*no file 'SSW'; nothing is downloaded",
        ),
        (171 * u.AA, {"correction_table": __file__}, ValueError, "`correction_table` must be a response table"),
        (171 * u.AA, {"correction_table": QTable({"DATE": ["x"]})}, ValueError, "`correction_table` .*lacks EFFA_P1"),
    ],
)
def test_wrong_aia_calls(channels, options, error, words):
    with pytest.raises(error, match=words):
        TemperatureResponse.from_aia(channels, **options)


def test_maps_instead_of_a_cube_are_named_in_short():
    with pytest.raises(TypeError, match=r"`sunpy_demreg.prepare`.*but is a list of AIAMap$") as caught:
        TemperatureResponse.from_aia(sample.aia_maps())
    assert len(str(caught.value)) < 300
    with pytest.raises(TypeError, match=r"but is a MapSequence$"):
        TemperatureResponse.from_aia(Map(sample.aia_maps(), sequence=True))


def test_a_text_file_that_is_no_response_table(tmp_path):
    text.write(QTable({"a": [1, 2]}), tmp_path / "other.txt")
    with pytest.raises(ValueError, match="`correction_table` must be a response table of SolarSoft"):
        TemperatureResponse.from_aia(EUV, correction_table=tmp_path / "other.txt")
