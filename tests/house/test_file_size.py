"""A file that needs more than 500 lines has two subjects."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
LINES_MAX = 500


def test_no_file_is_over_500_lines() -> None:
    sizes = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for folder in ("src", "tests", "bench", "demo", "tools")
        for path in sorted((ROOT / folder).rglob("*.py"))
    }
    assert sizes, "no files were found, so nothing was checked"
    assert {name: size for name, size in sizes.items() if size > LINES_MAX} == {}
