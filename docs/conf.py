"""Sphinx configuration."""

import os

from sunpy_demreg import __version__

project = "sunpy_demreg"
author = "The sunpy_demreg developers"
copyright = f"2026, {author}"
version = release = __version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx_automodapi.automodapi",
    "sphinx_automodapi.smart_resolver",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "_tables"]
default_role = "obj"

automodapi_toctreedirnm = "api"
automodapi_inheritance_diagram = False
# automodapi makes a page of every name, and lists the members of a class itself.
numpydoc_show_class_members = False

# Links into other projects need their inventories from the network, which a build must be able to do without.
online = bool(os.environ.get("SUNPY_DEMREG_DOCS_ONLINE"))
intersphinx_timeout = 10
intersphinx_mapping = {
    "aiapy": ("https://aiapy.readthedocs.io/en/stable/", None),
    "astropy": ("https://docs.astropy.org/en/stable/", None),
    "matplotlib": ("https://matplotlib.org/stable/", None),
    "ndcube": ("https://docs.sunpy.org/projects/ndcube/en/stable/", None),
    "numpy": ("https://numpy.org/doc/stable/", None),
    "python": ("https://docs.python.org/3/", None),
    "sunpy": ("https://docs.sunpy.org/en/stable/", None),
}
if not online:
    intersphinx_mapping = {}

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "sunpy"
html_title = f"{project} {version}"
html_logo = ""
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
    # Neither count the readers nor search other projects' pages.
    "goatcounter_analytics_url": False,
    "rtd_search": False,
}
