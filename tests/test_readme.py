"""The lines that the README shows are run as they are."""

import re
import shutil
from pathlib import Path

import matplotlib as mpl
import pytest

from sunpy_demreg import sample

README = Path(__file__).parent.parent / "README.md"
mpl.use("agg")


def test_code_of_the_readme_runs(tmp_path, monkeypatch):
    [code] = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    for path in sample.aia_files():
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(code, README.name, "exec"), names)
    assert names["result"]["dem"].data.shape == (37, 128, 128)
    assert (tmp_path / "dem.fits").exists()


def test_commands_of_the_readme_exist():
    makefile = (README.parent / "Makefile").read_text(encoding="utf-8")
    commands = re.findall(r"make (\w+)", README.read_text(encoding="utf-8"))
    assert {"demo", "test"} <= set(commands)
    for name in commands:
        assert re.search(rf"^{name}:", makefile, flags=re.MULTILINE), name


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)h][^)]*)\)", README.read_text(encoding="utf-8")))
def test_files_that_the_readme_points_to_exist(link):
    assert (README.parent / link).exists()
