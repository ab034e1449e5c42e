"""The page "From an event to a DEM in ten lines": its code, with answers of servers that are made up here."""

import re
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pandas import DataFrame

import astropy.units as u
from astropy.table import Table
from sunpy.net import Fido
from sunpy.net import attrs as a
from sunpy.net.dataretriever.sources.aia_synopsis import AIASynopsisClient
from sunpy.net.dataretriever.sources.goes import SUVIClient
from sunpy.net.jsoc import JSOCClient
from sunpy.net.scraper import Scraper
from sunpy.net.vso import VSOClient

import sunpy_demreg as demreg
from sunpy_demreg import sample

PAGE = Path(__file__).parent.parent / "docs" / "event.rst"
CHANNELS = (94, 131, 171, 193, 211, 304, 335, 1600, 4500)


def blocks():
    """The pieces of code of the page."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.findall(r"\.\. code-block:: python\n\n((?:   .*\n|\n)+)", text)
    return [re.sub(r"^   ", "", block, flags=re.MULTILINE) for block in found]


@pytest.fixture
def no_network(monkeypatch):
    """Any attempt to connect fails at once."""

    def refuse(*args, **kwargs):
        raise OSError("no network in tests")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def fetched(monkeypatch):
    """What was asked for of `Fido.fetch`, which returns nothing of its own."""
    asked = []

    def fetch(table, **options):
        asked.append(table)
        return fetch.files

    monkeypatch.setattr(Fido, "fetch", fetch)
    return asked, fetch


def listing(*urls):
    """Make scrapers find these addresses."""
    return lambda self, timerange: [url for url in urls if re.search(r"\.fits", url)]


def test_ten_lines_are_ten():
    lines = [line for line in blocks()[0].splitlines() if line and not line.startswith(("import", "from"))]
    assert len(lines) <= 10


@pytest.mark.usefixtures("no_network")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_from_an_event_to_a_dem(monkeypatch, fetched):
    asked, fetch = fetched
    monkeypatch.delitem(Fido.registry, VSOClient)  # which asks for a mirror even before it searches
    folder = "https://jsoc1.stanford.edu/data/aia/synoptic/2014/01/01/H0000/"
    names = [f"{folder}AIA20140101_0000_{channel:04d}.fits" for channel in CHANNELS]
    monkeypatch.setattr(Scraper, "filelist", listing(*names))
    fetch.files = [str(path) for path in sample.aia_files()]
    space = {}
    exec(blocks()[0], space)
    assert isinstance(space["found"].client, AIASynopsisClient)
    [table] = asked
    assert [int(w) for w in table["Wavelength"]] == [94, 131, 171, 193, 211, 335]
    assert table["url"].tolist() == [names[i] for i in (0, 1, 2, 3, 4, 6)]
    assert space["cube"].shape == (6, 128, 128)
    assert space["result"]["dem"].shape == (37, 128, 128)
    assert space["response"].meta["obstime"].startswith("2014-01-01")


@pytest.mark.usefixtures("no_network")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*still shifted")
def test_cutouts_of_the_jsoc(monkeypatch, fetched):
    asked, fetch = fetched
    keys = ["T_REC", "WAVELNTH"]
    series = SimpleNamespace(primekeys=keys, keywords=DataFrame({"is_time": [True, False]}, index=keys))
    monkeypatch.setattr("drms.Client.info", lambda self, name: series)
    monkeypatch.setattr(JSOCClient, "_lookup_records", lambda self, query: Table({"WAVELNTH": [0]}))
    files = [str(path) for path in sorted(sample.aia_files()[0].parent.glob("aia_flare_*.fits"))]
    space = {"u": u, "np": np, "a": a, "Fido": Fido, "demreg": demreg}
    for block, fetch.files in ((blocks()[1], files[:6]), (blocks()[2], files)):
        exec(block, space)
    assert len(asked) == 2
    assert space["cube"].shape[0] == 6
    assert space["cubes"].shape[:2] == (6, 2)
    ends = ("01:44:45_TAI]", "01:46:45_TAI@120")
    for found, end in zip(asked, ends, strict=True):
        queries = [query for table in found for query in table.query_args]
        assert sorted(query["wavelength"].to_value(u.AA) for query in queries) == [94, 131, 171, 193, 211, 335]
        for query in queries:
            assert query["notify"] == "name@example.org"
            assert (query["cutout"]["width"], query["cutout"]["height"]) == (40, 40)
            assert query["cutout"]["t"] == 0  # tracked
            record = JSOCClient()._make_recordset(**dict(query))  # the request that the JSOC would get
            assert record.startswith(f"aia.lev1_euv_12s[2011.02.15_01:44:34_TAI-2011.02.15_{end}")
            assert record.endswith("{image}")


@pytest.mark.usefixtures("no_network")
def test_images_of_suvi(monkeypatch, fetched):
    _, fetch = fetched
    root = "https://data.ngdc.noaa.gov/platforms/solar-space-observing-satellites/goes/goes16/l1b/"
    names = [
        f"{root}suvi-l1b-{folder}/2021/12/31/OR_SUVI-L1b-{name}_G16_s20213650002109_e20213650002119_c20213650002323.fits.gz"
        for folder, name in (("fe171", "Fe171"), ("he304", "He303"))
    ]
    monkeypatch.setattr(
        Scraper, "filelist", lambda self, timerange: [n for n in names if n.split("/")[8] in self.pattern]
    )
    fetch.files = names
    space = {"a": a, "Fido": Fido}
    exec(blocks()[3], space)
    [table] = space["found"]
    assert isinstance(table.client, SUVIClient)
    assert sorted(table["url"].tolist()) == sorted(names)
    assert space["files"] == names[:1]


@pytest.mark.usefixtures("no_network")
def test_searches_without_a_network_return(monkeypatch):
    monkeypatch.delitem(Fido.registry, VSOClient)
    start = time.monotonic()
    window = a.Time("2014-01-01 00:00", "2014-01-01 00:01")
    for query in (
        (window, a.Instrument.aia, a.Level("1.5s")),
        (window, a.jsoc.Series("aia.lev1_euv_12s"), a.Wavelength(94 * u.AA)),
        (window, a.Instrument.suvi, a.Level("1b"), a.goes.SatelliteNumber(16)),
    ):
        found = Fido.search(*query)
        assert found.file_num == 0
        assert found.errors
    assert time.monotonic() - start < 20
