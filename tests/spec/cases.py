"""Task files written for these tests, in the dialects that users know; `# refused` marks a line to be refused."""

from __future__ import annotations

from pathlib import Path

CASES = Path(__file__).parent / "cases"
ACCEPTED = sorted((CASES / "accepted").glob("*.yaml"))
REFUSED = sorted((CASES / "refused").glob("*.yaml"))
SBATCH = CASES / "sbatch"
MARK = "# refused"


def marked(text: str) -> list[int]:
    """Numbers of the lines that must be refused."""
    return [number for number, line in enumerate(text.split("\n"), start=1) if MARK in line]
