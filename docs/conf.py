"""Sphinx: MyST pages; reference tables are written from the code at each build."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from tawtin import __version__  # noqa: E402 - the repository's root is put on the path above
from tools.reference import write_all  # noqa: E402

write_all(HERE / "reference" / "generated")

project = "tawtin"
copyright = "the tawtin authors"
version = release = __version__

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "reference/generated"]
nitpicky = True

html_theme = "furo"
html_title = f"tawtin {version}"
html_static_path = ["_static"]
html_copy_source = False
html_show_sphinx = False
