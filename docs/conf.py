"""Sphinx: the pages of this folder as a website (`make site`)."""

import mminstruct

project = "mminstruct"
release = version = mminstruct.__version__
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
html_theme = "furo"
html_title = f"mminstruct {release}"
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
suppress_warnings = ["myst.header"]  # the log's entries begin where they like
