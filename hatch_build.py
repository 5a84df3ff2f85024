"""Refuses a wheel without what the console's pages load, which is built and not in git."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUILT = Path("src/tawtin/web/console/static/built")
NEEDED = ("app.js", "plot.js", "plot.css", "editor.js", "coast.svg", "LICENSES.txt")


class BuiltPages(BuildHookInterface):
    """Looks for the files before anything is packed; an editable installation does without."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatch's interface
        """Raise FileNotFoundError if a file is missing, unless TAWTIN_WITHOUT_SCRIPTS is set."""
        missing = [name for name in NEEDED if not (Path(self.root) / BUILT / name).is_file()]
        if version != "editable" and missing and not os.environ.get("TAWTIN_WITHOUT_SCRIPTS"):
            raise FileNotFoundError(
                f"the console's pages lack {', '.join(missing)} in {BUILT}: run `sh tools/bootstrap.sh console`, "
                "or set TAWTIN_WITHOUT_SCRIPTS=1 for pages that are read without scripts"
            )
