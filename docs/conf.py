"""Sphinx configuration."""

import os
import re
import sys
import tomllib
import warnings
from pathlib import Path

import matplotlib.pyplot as plt

from sunpy_demreg import __version__

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "sunpy_demreg"
author = "The sunpy_demreg developers"
copyright = f"2026, {author}"
version = release = __version__

extensions = [
    "command_line",
    "mathml",
    "matplotlib.sphinxext.plot_directive",
    "myst_parser",
    "numpydoc",
    "other_packages",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
# Where the project is, as pyproject.toml says.
_urls = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
rst_epilog = f"""
.. _repository: {_urls["Repository"]}
.. _issues: {_urls["Issues"]}
"""
exclude_patterns = ["_build", "_ext", "_tables", "gallery/GALLERY_HEADER.rst", "tutorial/GALLERY_HEADER.rst"]
default_role = "obj"

templates_path = ["_templates"]
# The pages list the members of a class themselves.
numpydoc_show_class_members = False
# The types are in the text, in words; those of the signatures are for editors and type checkers.
autodoc_typehints = "none"
# On the margin of a page, members without the name of their class, for which there is no room.
toc_object_entries_show_parents = "hide"
# Of a field without a default it would be the inside of `dataclasses`.
autodoc_default_options = {"no-value": True}

# Where other projects have their documentation. Their inventories come from the network, which a build must be able to
# do without: then `other_packages` makes the links.
other_packages = {
    "aiapy": "https://aiapy.readthedocs.io/en/stable/",
    "astropy": "https://docs.astropy.org/en/stable/",
    "matplotlib": "https://matplotlib.org/stable/",
    "ndcube": "https://docs.sunpy.org/projects/ndcube/en/stable/",
    "numpy": "https://numpy.org/doc/stable/",
    "python": "https://docs.python.org/3/",
    "sunpy": "https://docs.sunpy.org/en/stable/",
    "xarray": "https://docs.xarray.dev/en/stable/",
}
intersphinx_timeout = 10
is_online = bool(os.environ.get("SUNPY_DEMREG_DOCS_ONLINE"))
intersphinx_mapping = {name: (url, None) for name, url in other_packages.items()} if is_online else {}
# Every other name in the text must lead somewhere.
nitpicky = True
nitpick_ignore = [
    ("py:class", "optional"),  # how numpydoc says that an argument may be left out
]
html_math_renderer = "mathml"

# The order of the gallery: what comes first, first.
_EXAMPLES = (
    # of the tutorial
    "quickstart.py",
    "six_images.py",
    "inversion.py",
    "judging.py",
    "products.py",
    # of the gallery
    "which_method.py",
    "quiet_active_flare.py",
    "errors_and_resolution.py",
    "choosing_lambda.py",
    "temperature_maps_and_movies.py",
    "level1_to_dem.py",
    "which_response.py",
    "regions.py",
    "flare_in_time.py",
    "aia_and_xrt.py",
    "spectral_lines.py",
    "larger_than_memory.py",
    "on_a_gpu.py",
)


def by_order(name):
    """Sort the examples as above, and any other behind them."""
    return f"{_EXAMPLES.index(name) if name in _EXAMPLES else len(_EXAMPLES):03} {name}"


def without_margins(_gallery_conf, _name):
    """Save the figures of the next example up to what is drawn, neither more nor less."""
    plt.rcParams["savefig.bbox"] = "tight"


sphinx_gallery_conf = {
    "examples_dirs": ["../tutorial", "../examples"],
    "gallery_dirs": ["tutorial", "gallery"],
    "filename_pattern": r"\.py$",
    "ignore_pattern": r"__init__",
    "within_subsection_order": by_order,
    "abort_on_example_error": True,
    "matplotlib_animations": (True, "jshtml"),
    "remove_config_comments": True,
    "show_memory": False,
    "write_computation_times": False,
    "show_signature": False,
    "backreferences_dir": "gallery/backreferences",
    "doc_module": ("sunpy_demreg",),
    "inspect_global_variables": False,
    "reset_modules": ("matplotlib", without_margins),
}
suppress_warnings = ["config.cache"]  # of a function in the configuration, which Sphinx cannot store
# The examples are drawn without a screen. What they warn of is shown without where it stands on this machine.
warnings.filterwarnings("ignore", message=".*non-interactive.*")
warnings.formatwarning = lambda message, category, *_args, **_options: f"{category.__name__}: {message}\n"

# Figures of the pages.
plot_formats = [("png", 110)]
plot_html_show_formats = False
plot_html_show_source_link = False

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "sunpy"
html_title = f"{project} {version}"
html_logo = ""
html_favicon = "_static/favicon.svg"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_js_files = ["tables.js"]
html_theme_options = {
    # The look is SunPy's; its brand and the links of its site are not this project's.
    "sst_project_name": project,
    "sst_is_root": True,
    "navbar_links": [
        ["aiapy", "https://aiapy.readthedocs.io/", 3],
        ["ndcube", "https://docs.sunpy.org/projects/ndcube/", 3],
        ["sunpy", "https://docs.sunpy.org/", 3],
    ],
    "footer_links": [],
    "icon_links": [{"name": "Repository", "url": _urls["Repository"], "icon": "fa-solid fa-code-branch"}],
    # Neither count the readers nor search other projects' pages.
    "goatcounter_analytics_url": False,
    "rtd_search": False,
}


def readable_signature(app, what, name, obj, options, signature, return_annotation):
    """Defaults as one would type them, instead of what ``repr`` makes of them."""
    signature = re.sub(r"<Quantity ([\d.]+?)\.? (\w+)>", r"\1 * u.\2", signature or "").replace("<factory>", "{}")
    return signature or None, return_annotation


def setup(app):
    app.connect("autodoc-process-signature", readable_signature)
