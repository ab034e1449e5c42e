"""
Links into the documentation of other packages, without their inventories.

Inventories come from the network, which a build must be able to do without. Where a package has the page of an object
follows from its name, and whether there is such an object the installed package tells.
"""

import builtins
import inspect
import sys
from importlib import import_module

from docutils import nodes

_MATPLOTLIB_CLASSES = ("container", "figure", "image")  # modules whose classes share a page


def _api(folder):
    """Pages of one function or class each, as sphinx-automodapi makes them."""
    return lambda name, owner: f"{folder}/{owner}.html#{name}"


def _matplotlib(name, owner):
    module = name.split(".")[1]
    if module in _MATPLOTLIB_CLASSES:
        return f"api/{module}_api.html#{name}"
    own_page = name if module == "axes" else owner  # methods of Axes have pages of their own
    return f"api/_as_gen/{own_page}.html#{name}"


def _python(name, owner):
    module, _, inner = name.rpartition(".")
    if module:
        return f"library/{module}.html#{name}"
    value = getattr(builtins, inner)
    if isinstance(value, type) and issubclass(value, BaseException):
        return f"library/exceptions.html#{inner}"
    is_type = value in (bytes, dict, list, set, str, tuple)
    return f"library/{'stdtypes' if is_type else 'functions'}.html#{inner}"


# None: the name is checked, but has no link.
_PAGES = {
    "aiapy": lambda name, owner: f"reference/{name.split('.')[1]}.html",
    "astropy": _api("api"),
    "dask": None,
    "fiasco": None,
    "matplotlib": _matplotlib,
    "ndcube": _api("api"),
    "numpy": lambda name, owner: f"reference/generated/{name}.html#{name}",
    "sunkit_image": None,
    "sunpy": _api("generated/api"),
    "xarray": lambda name, owner: f"generated/{name}.html#{name}",
}


def find(name):
    """The object of this name, and the name of the class or function that has a page for it."""
    parts = name.split(".")
    # A function may have the name of the module that it is in: the package offers the function.
    for n in (*range(max(len(parts) - 1, 1), 0, -1), len(parts)):
        try:
            value = import_module(".".join(parts[:n]))
        except ImportError:
            continue
        owner = name
        try:
            for i, part in enumerate(parts[n:], start=n + 1):
                if inspect.isclass(value):
                    owner = ".".join(parts[: i - 1])
                value = getattr(value, part)
        except AttributeError:
            continue
        return value, owner
    raise AttributeError(name)


def address(name, packages):
    """
    The address of an object's documentation, or None if that is not known.

    Raises
    ------
    AttributeError
        If there is no such object, or it belongs to none of these packages.
    """
    package = name.partition(".")[0]
    if "." not in name and hasattr(builtins, name):
        return packages["python"] + _python(name, name)
    if package in sys.stdlib_module_names:
        value, owner = find(name)
        return packages["python"] + _python(name, owner)
    if package not in _PAGES:
        raise AttributeError(name)
    value, owner = find(name)
    if inspect.ismodule(value) or _PAGES[package] is None:
        return None
    return packages[package] + _PAGES[package](name, owner)


def resolve(app, env, node, contnode):
    """Make the link; leave a name that does not exist to the warning of nitpicky."""
    if node.get("refdomain") != "py":
        return None
    try:
        uri = address(node["reftarget"], app.config.other_packages)
    except AttributeError:
        return None
    if uri is None:
        return contnode
    return nodes.reference("", "", contnode, internal=False, refuri=uri)


def setup(app):
    app.add_config_value("other_packages", {}, "env")
    app.connect("missing-reference", resolve, priority=600)  # behind intersphinx, before builtins lose their links
    return {"parallel_read_safe": True, "parallel_write_safe": True}
