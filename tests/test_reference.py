"""Every public name is in the reference, and its docstring says what it should."""

import inspect
import re
from pathlib import Path

import pytest

import sunpy_demreg
from sunpy_demreg import sample, visualization

REFERENCE = (Path(__file__).parents[1] / "docs" / "reference.rst").read_text(encoding="utf-8")
MODULES = (sunpy_demreg, sample, visualization)
NAMES = [(m, name) for m in MODULES for name in m.__all__ if not inspect.ismodule(getattr(m, name))]


def sections(text):
    """The names in the reference, by the module that is current."""
    found, module = {}, None
    for line in text.splitlines():
        if line.startswith(".. currentmodule::"):
            module = line.split()[-1]
        elif match := re.fullmatch(r"   (\w+)", line):
            found.setdefault(module, []).append(match.group(1))
    return found


def test_reference_lists_each_public_name_once():
    listed = sections(REFERENCE)
    for module in MODULES:
        public = [name for owner, name in NAMES if owner is module]
        assert sorted(listed[module.__name__]) == sorted(public), module.__name__


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_public_name_is_documented(module, name):
    value = getattr(module, name)
    text = inspect.getdoc(value)
    assert text
    if inspect.isfunction(value):
        is_procedure = inspect.signature(value).return_annotation in (None, "None")
        assert is_procedure or "Returns\n-------" in text or "Yields\n------" in text
        arguments = [a for a in inspect.signature(value).parameters if a not in ("args", "kwargs")]
        missing = [a for a in arguments if not re.search(rf"^[*\w, ]*\b{a}\b.*(:|$)", text, re.MULTILINE)]
        assert not missing, missing
