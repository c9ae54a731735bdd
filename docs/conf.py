"""Sphinx configuration."""

from importlib.metadata import version as installed_version

project = "weightspace"
author = "The weightspace authors"
copyright = "The weightspace authors"
release = version = installed_version("weightspace-graphs")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "myst-nb"}
exclude_patterns = ["_build", "jupyter_execute"]
nb_execution_mode = "off"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
html_theme = "alabaster"
html_title = "weightspace"
html_theme_options = {"description": "Learning on neural-network weights", "page_width": "1060px"}
