"""The house rules, read from the code: who may import what, and what an import costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sunpy_demreg

PACKAGE = Path(sunpy_demreg.__file__).parent
NUMERICS = [
    "_errors.py",
    "_regularization.py",
    "_execute.py",
    "_status.py",
    *(f"_engines/{p.name}" for p in PACKAGE.glob("_engines/*.py")),
]


def imported(path):
    """Top-level names of all modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


@pytest.mark.parametrize("name", NUMERICS)
def test_numerics_run_on_a_bare_node(name):
    allowed = {"array_api_compat", "llvmlite", "numpy", "tqdm", *sys.stdlib_module_names}
    if name in ("_engines/gpu.py", "_engines/_streams.py", "_engines/_page_locked.py"):
        allowed |= {"cupy"}
    for module in imported(PACKAGE / name):
        if module.startswith("sunpy_demreg."):
            assert f"{module.removeprefix('sunpy_demreg.').replace('.', '/')}.py" in NUMERICS
        else:
            assert module.split(".")[0] in allowed


@pytest.mark.parametrize(
    "name",
    [
        "_regularization.py",
        *(f"_engines/_{name}.py" for name in ("text", "problem", "choice", "lanes", "positivity", "answer", "tables")),
    ],
)
def test_mathematics_knows_no_array_library(name):
    assert {"numpy", "llvmlite"}.isdisjoint(m.split(".")[0] for m in imported(PACKAGE / name))


@pytest.mark.parametrize("module", ["sunpy_demreg", "sunpy_demreg._execute"])
def test_import_is_light(module):
    heavy = {"aiapy", "astropy", "cupy", "dask", "llvmlite", "matplotlib", "ndcube", "numba", "sunpy"}
    code = f"import sys, {module}; print(*{{m.split('.')[0] for m in sys.modules}})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert heavy.isdisjoint(loaded)


def test_public_names_exist_and_are_documented():
    for name in sunpy_demreg.__all__:
        assert getattr(sunpy_demreg, name).__doc__
        assert name in dir(sunpy_demreg)
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        _ = sunpy_demreg.absent
    assert sunpy_demreg.__version__


def test_library_does_not_print():
    for path in PACKAGE.rglob("*.py"):
        if path.name not in ("cli.py", "_cli_batch.py"):
            calls = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)]
            assert not any(isinstance(c.func, ast.Name) and c.func.id == "print" for c in calls), path.name
