"""Which engine can do what, as the conformance cases found it: the table of docs/reference/engines.md.

The tests keep what they found in `.cache/engines.json`; `python -m tools.engine_table` writes the page from it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from tawtin.engines.conformance import CASES

PROJECT: Final = Path(__file__).parents[1]
PAGE: Final = PROJECT / "docs/reference/engines.md"
FOUND: Final = PROJECT / ".cache/engines.json"
YES, NO, LEFT_OUT = "yes", "NO", "-"
Found = dict[str, dict[str, str]]
"""Engine -> case -> one of the three words."""
BEGIN: Final = "<!-- made by tools/engine_table.py from here -->\n"


def found() -> Found:
    """What the tests found last; what is in the page for engines that they did not try."""
    known = on_page(PAGE.read_text("utf-8"))
    if FOUND.exists():
        known |= json.loads(FOUND.read_text("utf-8"))
    return known


def on_page(text: str) -> Found:
    """The table of the page."""
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in text.partition(BEGIN)[2].splitlines()
        if line.startswith("|")
    ]
    if not rows:
        return {}
    engines = rows[0][1:]
    return {
        engine: {row[0].replace(" ", "_"): row[place] for row in rows[2:]}
        for place, engine in enumerate(engines, 1)
    }


def table(known: Found) -> str:
    """The table, a case a row and an engine a column."""
    engines = sorted(known, key=lambda name: (name != "local", name))
    lines = [f"| | {' | '.join(engines)} |", f"|---|{'---|' * len(engines)}"]
    for case in CASES:
        cells = " | ".join(known[engine].get(case.name, "?") for engine in engines)
        lines.append(f"| {case.sentence} | {cells} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the page anew."""
    text = PAGE.read_text("utf-8")
    PAGE.write_text(text.partition(BEGIN)[0] + BEGIN + "\n" + table(found()), "utf-8")


if __name__ == "__main__":
    main()
