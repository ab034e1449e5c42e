"""The lines that docstrings and the documentation show do what they show."""

import doctest
import pkgutil
from importlib import import_module
from pathlib import Path

import pytest

import sunpy_demreg

DOCS = Path(__file__).parent.parent / "docs"
MODULES = [
    info.name
    for info in pkgutil.walk_packages(sunpy_demreg.__path__, "sunpy_demreg.")
    if ">>>" in Path(info.module_finder.find_spec(info.name).origin).read_text(encoding="utf-8")
]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    outcome = doctest.testmod(import_module(name), optionflags=FLAGS)
    assert outcome.attempted > 0
    assert outcome.failed == 0


@pytest.mark.parametrize("name", [path.name for path in DOCS.glob("*.rst") if ">>>" in path.read_text("utf-8")])
def test_pages(name):
    outcome = doctest.testfile(str(DOCS / name), module_relative=False, optionflags=FLAGS, encoding="utf-8")
    assert outcome.attempted > 0
    assert outcome.failed == 0
