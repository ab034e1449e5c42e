"""The house rules, read from the code: which room may import which, and what an import costs."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sunpy_demreg

PACKAGE = Path(sunpy_demreg.__file__).parent
GUIDE = (PACKAGE.parent / "docs" / "developer.rst").read_text(encoding="utf-8")
#: Modules at the top of the package. All else is in a room.
TOP = {"__init__.py", "__main__.py", "_version.py", "sunkit.py"}
#: What each room may import of ours, in the order in which data pass through them: only rooms above it in this list.
ROOMS = {
    "_common": (),
    "_engines/base": (),
    "_engines/algorithm": ("_engines/base",),
    "_engines/arrays": ("_engines/base", "_engines/algorithm"),
    # Of `_common` only what runs on a bare node, see BARE.
    "_engines/cpu": ("_engines/base", "_engines/algorithm", "_engines/arrays", "_common"),
    "_engines/gpu": ("_engines/base", "_engines/algorithm", "_engines/arrays", "_common"),
    # execute.py, which chooses the engine.
    "_engines": ("_common", "_engines/base", "_engines/arrays", "_engines/cpu", "_engines/gpu"),
    "response": ("_common",),
    "_channels": ("response", "_common"),
    "_results": ("_engines", "_engines/base", "response", "_common"),
    "_inversion": ("_channels", "_results", "_engines", "_engines/base", "response", "_common"),
    "_files": ("_results", "_engines/base", "response", "_common"),
    "_analysis": ("_inversion", "_channels", "_results", "_engines/base", "response", "_common"),
    "visualization": ("_analysis", "_results", "_engines/base", "response", "_common"),
    "_batch": ("_files", "_inversion", "_channels", "_results", "response", "_common"),
    "sample": ("_common",),
    "_cli": ("_results", "_common"),  # and the public names
}
#: Rooms that users import; the others have an underscore, and then the files in them have none.
PUBLIC = {"response", "visualization", "sample"}
#: What may import the public names from the package itself.
ABOVE = {"_cli", "sunkit.py", "__main__.py"}
MODULES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
BARE = {"_common/errors.py", "_common/hardware.py"}
NUMERICS = sorted([*(BARE & MODULES.keys()), *(name for name in MODULES if name.startswith("_engines/"))])
DEVICE = {"_engines/gpu/launcher.py", "_engines/gpu/batches.py", "_engines/gpu/page_locked.py"}
MATHEMATICS = [
    *(f"_engines/base/{name}.py" for name in ("options", "problem", "solution", "status", "symbols", "tables")),
    *(name for name in MODULES if name.startswith("_engines/algorithm/")),
    "_engines/arrays/engine.py",
]


def room_of(name):
    """The room of a file, or itself at the top."""
    return name.rpartition("/")[0] or name


def imported(name):
    """All that a file imports, anywhere in it: modules, and the names taken from them."""
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}: imports are absolute"
            yield from ((node.module, alias.name) for alias in node.names)


def own_files(name):
    """The files of ours that a file imports; "" for the package itself."""
    for module, taken in imported(name):
        if module.split(".")[0] != "sunpy_demreg":
            continue
        path = module.replace(".", "/").removeprefix("sunpy_demreg").removeprefix("/")
        candidates = (f"{path}/{taken}.py", f"{path}/{taken}/__init__.py", f"{path}.py", f"{path}/__init__.py")
        yield next((c for c in candidates if path and c in MODULES), ""), taken


def test_every_file_has_a_room():
    assert {name for name in MODULES if "/" not in name} == TOP
    assert {room_of(name) for name in MODULES if "/" in name} == set(ROOMS)
    for name in MODULES:
        room, _, file = name.rpartition("/")
        if room and file != "__init__.py":
            assert file.startswith("_") == (room in PUBLIC), name


@pytest.mark.parametrize("name", sorted(MODULES))
def test_rooms_import_what_is_above_them_in_the_list(name):
    room = room_of(name)
    for path, taken in own_files(name):
        if not path:
            above = {*ABOVE, "__init__.py"}
            assert room in above or taken in ("__version__", None), f"{name} takes {taken} from the package"
        elif name != "__init__.py" and room not in ("__main__.py", "sunkit.py"):
            assert room_of(path) in {room, *ROOMS[room]}, f"{name} imports {path}"


def test_the_developer_page_has_the_list_of_rooms():
    rows = re.findall(r"^   \* - (``.*)\n     - .*\n     - (.*)$", GUIDE, re.MULTILINE)
    table = {room.removesuffix("/"): below for names, below in rows for room in re.findall("``(.+?)``", names)}
    assert list(table) == [*ROOMS, "sunkit.py"]
    for room, below in ROOMS.items():
        assert set(re.findall("``(.+?)``", table[room])) == set(below), room


@pytest.mark.parametrize("name", sorted(set(re.findall(r"``([\w./]*(?:/|\.(?:py|cfg|md|toml)))``", GUIDE))))
def test_files_that_the_developer_page_names_exist(name):
    is_here = any((folder / name).exists() for folder in (PACKAGE.parent, PACKAGE))
    assert is_here or any(path.endswith(f"/{name}") for path in MODULES)


def test_the_list_of_rooms_runs_one_way():
    rooms = list(ROOMS)
    for i, room in enumerate(rooms):
        assert set(ROOMS[room]) <= set(rooms[:i]), room


def test_no_file_imports_itself_by_way_of_others():
    below = {name: {path for path, _ in own_files(name) if path and path != name} for name in MODULES}
    while below:
        lowest = {name for name, paths in below.items() if not paths & below.keys()}
        assert lowest, f"a circle among {sorted(below)}"
        below = {name: paths for name, paths in below.items() if name not in lowest}


@pytest.mark.parametrize("name", NUMERICS)
def test_numerics_run_on_a_bare_node(name):
    allowed = {"array_api_compat", "llvmlite", "numpy", "tqdm", *sys.stdlib_module_names}
    if name in DEVICE:
        allowed |= {"cupy", "cupyx"}
    assert {path for path, _ in own_files(name)} <= set(NUMERICS)
    assert {module.split(".")[0] for module, _ in imported(name)} <= allowed | {"sunpy_demreg"}


@pytest.mark.parametrize("name", MATHEMATICS)
def test_mathematics_knows_no_array_library(name):
    assert {"numpy", "llvmlite"}.isdisjoint(module.split(".")[0] for module, _ in imported(name))


@pytest.mark.parametrize("module", ["sunpy_demreg", "sunpy_demreg._engines.execute"])
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


def test_type_checkers_see_the_names_that_are_loaded_when_used():
    tree = ast.parse(MODULES["__init__.py"].read_text(encoding="utf-8"))
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    homes = {name: f"sunpy_demreg.{home}" if home else "sunpy_demreg" for name, home in sunpy_demreg._HOMES.items()}
    assert seen == homes
    assert {*seen} == {*sunpy_demreg.__all__, "__version__"}


def public_functions():
    """Every function that users call, by its full name, but for those that a class inherits from another package."""
    for module in (sunpy_demreg, sunpy_demreg.sample, sunpy_demreg.visualization):
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isclass(value):
                for key, member in vars(value).items():
                    function = getattr(member, "__func__", getattr(member, "fget", member))
                    if inspect.isfunction(function) and not key.startswith("_"):
                        yield f"{name}.{key}", function
            elif inspect.isfunction(value):
                yield f"{module.__name__}.{name}", value


def test_public_functions_are_annotated():
    functions = dict(public_functions())
    assert {"sunpy_demreg.invert", "TemperatureResponse.from_aia", "sunpy_demreg.sample.aia_maps"} <= functions.keys()
    for name, function in functions.items():
        parameters = {p for p in inspect.signature(function).parameters if p not in ("self", "cls")}
        assert {*parameters, "return"} <= function.__annotations__.keys(), name
    assert (PACKAGE / "py.typed").exists()


def test_library_does_not_print():
    for name, path in MODULES.items():
        if not name.startswith("_cli/"):
            calls = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)]
            assert not any(isinstance(c.func, ast.Name) and c.func.id == "print" for c in calls), name
