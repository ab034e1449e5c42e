"""What the package takes from others: declared, by public names where there are any, and what is packed with it."""

import ast
import re
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

import sunpy_demreg

PACKAGE = Path(sunpy_demreg.__file__).parent
PROJECT = PACKAGE.parent / "pyproject.toml"
TREES = {
    path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
}

#: The distribution of a module, where its name is another one.
DISTRIBUTIONS = {"PIL": "pillow", "cupyx": "cupy", "erfa": "pyerfa"}
#: In no index of packages: its module says where it is installed from. And drms, which comes with aiapy.
ELSEWHERE = {"drms", "sunkit-dem"}

#: Private names of other packages that are used, as they have no public one for it.
PRIVATE = {
    # How a cube was sliced since its WCS was made: neither astropy nor ndcube tells, whose own tools read the same.
    ("_common/wcs.py", "_slices_array"),
    ("_common/wcs.py", "_wcs"),
    # The state of a subclass of NDMeta: what its constructor would refuse after a cube was reprojected.
    ("_common/cube.py", "_axes"),
    ("_common/cube.py", "_key_comments"),
    ("_common/cube.py", "_data_shape"),
    # The type of the blocks of a Dask array: under this name in its documentation of other kinds of arrays.
    ("_common/dask_arrays.py", "_meta"),
    # Whether a process is still reading the script that started it: multiprocessing itself looks there.
    ("_batch/where.py", "_inheriting"),
    # The keys of the channels in the order of sunkit-dem's arrays, for a subclass of its model.
    ("sunkit.py", "_keys"),
}
#: Public in spite of the underscore: of named tuples and enumerations.
DOCUMENTED = {"_asdict", "_fields", "_replace", "_missing_"}


@pytest.fixture(scope="module")
def project():
    if not PROJECT.is_file():
        pytest.skip("the package is not in its repository")
    return tomllib.loads(PROJECT.read_text(encoding="utf-8"))


def imported(tree):
    """The modules that a file imports, also by their name as text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("imported", "import_module"):
            yield from (argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant))


def test_all_that_is_imported_is_declared(project):
    project = project["project"]
    runtime = {extra: needs for extra, needs in project["optional-dependencies"].items() if extra not in ("all", "dev")}
    for extra in ("bench", "docs", "tests", "tests-oldest"):  # of the repository
        del runtime[extra]
    needs = [*project["dependencies"], *(need for extra in runtime.values() for need in extra)]
    declared = {re.match(r"[\w-]+", need)[0].lower() for need in needs}
    for need in needs:
        declared |= set(re.findall(r"\[(.*)\]", need.replace(",", " "))[0].split()) if "[" in need else set()
    declared = {re.sub(r"-cuda\d+x$", "", name) for name in declared}
    modules = {name.split(".")[0] for tree in TREES.values() for name in imported(tree)}
    modules -= {*sys.stdlib_module_names, "sunpy_demreg"}
    used = {DISTRIBUTIONS.get(module, module.replace("_", "-")) for module in modules}
    assert used - declared - ELSEWHERE == set()
    # And nothing else is asked for by all who install it.
    always = {re.match(r"[\w-]+", need)[0].lower() for need in project["dependencies"]}
    assert always - used == set()


def private_names(tree):
    """Names with one underscore that a file reads from, or writes to, something else than our own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.ImportFrom) and not node.module.startswith("sunpy_demreg"):
            yield from (part for part in node.module.split("."))
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "setattr", "hasattr"):
            yield from (argument.value for argument in node.args[1:2] if isinstance(argument, ast.Constant))


def own_names(path):
    """Names that a file defines: of functions, of methods and properties, and of what they set on `self`."""
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if getattr(node.value, "id", "") == "self" and (path, node.attr) not in PRIVATE:
                yield node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def test_private_names_of_other_packages_are_those_that_have_a_reason():
    # A name of ours may be theirs too: there it must be defined in the file that uses it.
    own = {path: set(own_names(path)) for path in TREES}
    anywhere = set().union(*own.values()) - {name for _, name in PRIVATE}
    found = {
        (path, name)
        for path, tree in TREES.items()
        for name in private_names(tree)
        if re.match("_[^_]", name) and name not in own[path] | anywhere | DOCUMENTED
    }
    assert found == PRIVATE


def test_all_files_are_packed(project):
    patterns = project["tool"]["setuptools"]["package-data"]["sunpy_demreg"]
    files = [path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*") if path.is_file()]
    files = [name for name in files if not name.endswith((".py", ".pyc"))]
    assert [name for name in files if not any(fnmatch(name, pattern) for pattern in patterns)] == []
    assert [pattern for pattern in patterns if not any(fnmatch(name, pattern) for name in files)] == []
