"""The extensions that build the documentation: the command line, formulas, and links into other packages."""

import argparse
import json
import re
import sys
from importlib import import_module
from pathlib import Path

import pytest

from sunpy_demreg._cli.main import _parser

DOCS = Path(__file__).parents[1] / "docs"
if not DOCS.is_dir():
    pytest.skip("the documentation is in the repository", allow_module_level=True)

PACKAGES = {name: f"{name}/" for name in ("aiapy", "astropy", "matplotlib", "ndcube", "numpy", "python", "sunpy")}


def extension(name):
    sys.path.insert(0, str(DOCS / "_ext"))
    try:
        return import_module(name)
    finally:
        sys.path.pop(0)


def test_page_of_the_command_line_has_each_option_with_its_help():
    command_line = extension("command_line")
    commands = command_line.commands_of(_parser())
    assert [name for name, _, _ in commands] == ["demo", "invert", "batch", "info", "explore"]
    text = "\n".join(command_line.page(_parser()))
    of_commands = re.split(r"^\.\. program:: ", text, flags=re.MULTILINE)[1:]
    n_options = 0
    for (name, _, command), section in zip(commands, of_commands, strict=True):
        assert section.startswith(f"sunpy-demreg {name}\n")
        entries = dict(re.findall(r"^\.\. option:: (\S+).*\n\n   (.+)", section, re.MULTILINE))
        for action in command._actions:
            if isinstance(action, argparse._HelpAction):
                continue
            key = action.option_strings[0] if action.option_strings else action.metavar
            assert len(entries.pop(key)) > 10
            n_options += 1
        assert not entries
    assert n_options > 70
    assert "%(" not in text
    assert "Type of the values (default: float32)." in text
    assert ".. option:: --submap X1 Y1 X2 Y2\n" in text
    assert "``--plot`` also" in text
    usage = re.findall(r"^       .*(?:\[--|FILE).*", text, re.MULTILINE)
    assert len(usage) > 40
    assert max(map(len, usage)) < 60  # fits on a phone


def test_help_with_markup_of_the_page_stays_text():
    parser = argparse.ArgumentParser(prog="it")
    command = parser.add_subparsers().add_parser("run", help="does it")
    command.add_argument("--files", metavar="GLOB", help="such as *.fits, or a_b_|c|")
    assert r"   Such as \*.fits, or a\_b\_\|c\|." in extension("command_line").page(parser)


def test_formulas_are_mathml():
    mathml = extension("mathml").mathml
    assert "<msup>" in mathml(r"\lvert A\xi - d\rvert^2")
    assert 'display="block"' in mathml(r"\frac{c_k}{s_k^2 + \lambda}", as_block=True)


@pytest.mark.parametrize(
    ("tex", "n_spaces", "n_small"),
    [(r"\ln x", 1, 0), (r"\log_{10} T", 1, 0), (r"\exp(x)", 0, 0), (r"\lVert x \rVert", 0, 2), (r"|x|", 0, 2)],
)
def test_functions_have_space_and_bars_stay_small(tex, n_spaces, n_small):
    text = extension("mathml").mathml(tex)
    assert (text.count("<mspace"), text.count('stretchy="false" lspace="0"')) == (n_spaces, n_small)


@pytest.mark.parametrize(
    ("name", "link"),
    [
        ("astropy.units.Quantity.to", "astropy/api/astropy.units.Quantity.html#astropy.units.Quantity.to"),
        ("ndcube.NDCube", "ndcube/api/ndcube.NDCube.html#ndcube.NDCube"),
        ("sunpy.map.GenericMap", "sunpy/generated/api/sunpy.map.GenericMap.html#sunpy.map.GenericMap"),
        (
            "matplotlib.axes.Axes.bar",
            "matplotlib/api/_as_gen/matplotlib.axes.Axes.bar.html#matplotlib.axes.Axes.bar",
        ),
        ("matplotlib.figure.Figure", "matplotlib/api/figure_api.html#matplotlib.figure.Figure"),
        ("aiapy.psf.deconvolve", "aiapy/reference/psf.html"),
        ("numpy.ndarray", "numpy/reference/generated/numpy.ndarray.html#numpy.ndarray"),
        ("pathlib.Path", "python/library/pathlib.html#pathlib.Path"),
        ("list", "python/library/stdtypes.html#list"),
        ("int", "python/library/functions.html#int"),
        ("ValueError", "python/library/exceptions.html#ValueError"),
        ("astropy.units", None),
    ],
)
def test_links_into_other_packages(name, link):
    assert extension("other_packages").address(name, PACKAGES) == link


@pytest.mark.parametrize("name", ["astropy.units.Quantities", "ndcube.NDCube.nothing", "somewhere.Else", "nothing"])
def test_names_that_do_not_exist_have_no_link(name):
    with pytest.raises(AttributeError):
        extension("other_packages").address(name, PACKAGES)


def test_numbers_that_lead_are_those_of_the_tables():
    results = DOCS.parent / "benchmarks" / "results"
    rows = json.loads((results / "peers.json").read_text(encoding="utf-8"))["results"]
    [ours] = [row for row in rows if (row["case"], row["bins"], row["cores"]) == ("cpu", 41, 2)]
    disk = json.loads((results / "full_disk.json").read_text(encoding="utf-8"))["results"]
    page = (DOCS / "performance.rst").read_text(encoding="utf-8")
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    cards = re.findall(r"grid-item-card:: ([\d.]+) (.+)", page)
    assert [unit for _, unit in cards] == ["µs", "times", "s"]
    each, times, seconds = (float(number) for number, _ in cards)
    assert each == pytest.approx(ours["us_per_pixel"], rel=0.01)
    assert times == pytest.approx(ours["times_demregpy"], rel=0.01)
    assert seconds == pytest.approx(disk["rules"]["relax"]["total_seconds"], rel=0.03)
    assert f"{each:g} µs per pixel" in readme
    assert f"{times:.0f} times faster" in readme
