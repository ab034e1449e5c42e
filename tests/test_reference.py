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


def with_examples():
    """All public names and their public methods; the kinds of warnings share the example of their base class."""
    for module, name in NAMES:
        value = getattr(module, name)
        if not (
            inspect.isclass(value)
            and issubclass(value, sunpy_demreg.DemregWarning)
            and value is not sunpy_demreg.DemregWarning
        ):
            yield name, value
        if inspect.isclass(value):
            methods = inspect.getmembers(value, lambda of: inspect.isfunction(of) or inspect.ismethod(of))
            own = vars(value)
            yield from ((f"{name}.{key}", of) for key, of in methods if key in own and not key.startswith("_"))


# Shown by the example of their class, or of an error that they rename.
SHOWN_ELSEWHERE = {"ArgumentError.renamed", "Explorer.select", "Explorer.show"}


@pytest.mark.parametrize(("name", "value"), [pytest.param(*each, id=each[0]) for each in with_examples()])
def test_public_name_has_an_example(name, value):
    assert name in SHOWN_ELSEWHERE or ">>> " in inspect.getdoc(value)
