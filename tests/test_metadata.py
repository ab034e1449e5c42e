"""What other services read about the project says what pyproject.toml says."""

import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
yaml = pytest.importorskip("yaml")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture
def metadata():
    from tools import metadata

    return metadata


def test_files_are_up_to_date(metadata):
    for name, text in metadata.files().items():
        assert (ROOT / name).read_text(encoding="utf-8") == text, f"{name}: run python tools/metadata.py"


def test_version_of_a_release(metadata, capsys):
    import datetime

    texts = metadata.files("1.2.3", datetime.date(2027, 1, 2))
    assert yaml.safe_load(texts["CITATION.cff"])["version"] == "1.2.3"
    assert 'date-released: "2027-01-02"' in texts["CITATION.cff"]
    assert json.loads(texts["codemeta.json"])["version"] == "1.2.3"
    assert metadata.files("1.2.4", datetime.date(2027, 1, 3))["CITATION.cff"].count("version:") == 2  # and cff-version


def test_no_release_with_placeholders(metadata, capsys):
    before = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert metadata.main(["--version", "1.2.3"]) == (1 if "example.org" in str(PROJECT["project"]["urls"]) else 0)
    assert "pyproject.toml" in capsys.readouterr().err
    assert (ROOT / "CITATION.cff").read_text(encoding="utf-8") == before


def test_recipe_has_the_same_dependencies():
    recipe = (ROOT / "tools/conda/meta.yaml").read_text(encoding="utf-8")
    run = recipe[recipe.index("  run:") : recipe.index("test:")]
    listed = set(re.findall(r"- (\S+) (>=\S+)", run))
    declared = {
        tuple(re.fullmatch(r"([a-z-]+)(?:\[.*])?(>=.*)", each).groups()) for each in PROJECT["project"]["dependencies"]
    }
    # conda-forge splits the window systems off.
    declared = {("matplotlib-base" if name == "matplotlib" else name, floor) for name, floor in declared}
    assert listed == declared | {("python", PROJECT["project"]["requires-python"])}
    host = recipe[recipe.index("  host:") : recipe.index("  run:")]
    for each in PROJECT["build-system"]["requires"]:
        assert re.sub(r"(setuptools)_", r"\1-", each).replace(">=", " >=") in host


@pytest.mark.parametrize("path", [p.relative_to(ROOT).as_posix() for p in sorted(ROOT.glob(".github/**/*.yml"))])
def test_forms_and_workflows_are_yaml(path):
    assert yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def test_every_environment_of_the_workflows_exists():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    setup = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    for job in ("tests", "development-dependencies"):
        for env in yaml.safe_load(workflow["jobs"][job]["with"]["envs"]):
            name = next(env[system] for system in ("linux", "macos", "windows") if system in env)
            assert f"[testenv:{name}]" in setup or re.fullmatch(r"py3\d+", name), name
