"""What a notebook shows of a result."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from sunpy.util.exceptions import SunpyUserWarning

from sunpy_demreg import Status, invert, prepare, prepare_series, sample


class Tags(HTMLParser):
    """Every tag that opens is closed, in order; the cells of the table."""

    def __init__(self, text):
        super().__init__()
        self.open, self.cells, self.sources = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.sources.append(dict(attributes)["src"])
        elif tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "td":
            self.cells.append(data)


@pytest.fixture(scope="module")
def result(small, response, edges):
    data = small.data.copy()
    data[:2, 0, 0], data[1, 0, 1], data[1, 0, 2] = np.nan, np.nan, -1
    with pytest.warns(SunpyUserWarning, match="NOT_FINITE 1"):
        return invert(
            data * small.unit, response, edges, uncertainty=small.uncertainty.array * small.unit, mask=small.mask
        )


def test_html_tells_shape_unit_range_and_mask(result):
    text = result._repr_html_()
    tags = Tags(text)
    assert "42 pixels, 1 of them without a DEM" in text
    n_relaxed = int(np.count_nonzero(result["status"].data & int(Status.RELAXED)))
    counts = {"pixels": 42, "NOT_FINITE": 1, "RELAXED": n_relaxed, "NONPOSITIVE_INTENSITY": 1, "MISSING_CHANNEL": 1}
    for name in counts.keys() - {"pixels"}:
        assert f"{counts[name]} {name}" in text
    assert result.meta["status_counts"].items() >= counts.items()
    assert f"Status: 42 pixels, 1 NOT_FINITE, {n_relaxed} RELAXED" in repr(result)
    assert "Status: 7 pixels" in repr(result[2])
    assert "Status: 42 pixels" in str(result)  # what is printed
    assert "log T = 5.60 to 7.40" in text
    for key, cube in result.items():
        at = tags.cells.index(key)
        good = cube.data[~np.broadcast_to(cube.mask if cube.mask is not None else False, cube.data.shape)]
        good = good[np.isfinite(good)]
        assert tags.cells[at + 1] == " × ".join(map(str, cube.data.shape))
        low, high = map(float, re.fullmatch(r"(\S+) to (\S+)", tags.cells[at + 3]).groups())
        assert (low, high) == (pytest.approx(good.min(), rel=5e-3), pytest.approx(good.max(), rel=5e-3))
    assert tags.cells[tags.cells.index("dem") + 4] == "36"
    [source] = tags.sources
    with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as picture:
        assert picture.size == (160, 137)
        assert np.asarray(picture)[-1, 0, 3] == 0  # the pixel without a DEM is clear, at the lower left
        assert np.asarray(picture)[0, 0, 3] == 255


def test_html_tells_date_instrument_and_fit(small, response, edges):
    result = invert(small, response, edges)
    text = result._repr_html_()
    Tags(text)
    assert "AIA<br>2014-01-01 00:00:05 UT<br>" in text
    assert f"median χ² per channel: {np.nanmedian(result['chi_squared'].data):.3g}" in text


def test_html_of_channels_tells_what_of_each_can_be_used():
    maps = sample.aia_maps()
    maps[2].data[:2, :3] = 3e5
    maps[4].data[5, 5] = np.nan
    cube = prepare(maps, n_sample=16)
    tags = Tags(cube._repr_html_())
    assert "AIA<br>2014-01-01 00:00:05 UT<br>6 × 128 × 128, DN pix⁻¹ s⁻¹<br>done: exposure" in cube._repr_html_()
    rows = {tags.cells[i]: tags.cells[i + 1 : i + 6] for i in range(0, 36, 6)}
    assert rows["AIA 94"][2:] == ["0", "0", "0"]
    assert rows["AIA 171"][2:] == ["6", "6", "0"]
    assert rows["AIA 211"][2:] == ["1", "0", "1"]
    assert rows["AIA 171"][0] == "2 s"
    low, high = map(float, rows["AIA 335"][1].split(" to "))
    assert (low, high) == (pytest.approx(cube.data[5].min(), rel=5e-3), pytest.approx(cube.data[5].max(), rel=5e-3))
    assert "AIA 131" in cube[1:3]._repr_html_()
    # A plane, or another cube, is shown as text.
    assert cube[2]._repr_html_() is None


def test_html_of_a_series_computes_nothing(series_folder):
    pytest.importorskip("dask")
    cube = prepare_series(series_folder, n_sample=16)
    text = cube._repr_html_()
    tags = Tags(text)
    assert "2014-01-01 00:00:05 to 2014-01-01 00:04:05 UT, 3 times" in text
    assert tags.cells.count("not computed yet") == 6
    assert "2014-01-01 00:02:05 UT" in cube[:, 1]._repr_html_()


def test_html_of_a_row_and_of_some_outputs_has_no_picture(small, response, edges, result):
    for part in (result[2], invert(small, response, edges, outputs=("chi_squared",))):
        assert not Tags(part._repr_html_()).sources
