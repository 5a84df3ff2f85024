"""What the demonstration claims: each with what was wanted, what was got, and how to see it again."""

from __future__ import annotations

import json
import sys
import textwrap
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim, and whether it held."""

    claim: str
    want: str
    got: str
    ok: bool
    see: str
    """How to see it again."""


class Claims:
    """Collects claims, prints each when it is made, and in the end all of them."""

    def __init__(self) -> None:
        self.made: list[Claim] = []

    def check(self, claim: str, *, want: object, got: object, see: str, ok: bool | None = None) -> bool:
        """Claim something. Without `ok`, it holds if `got` equals `want`."""
        holds = got == want if ok is None else ok
        self.made.append(Claim(claim=claim, want=str(want), got=str(got), ok=holds, see=see))
        print(
            f"   {'ok ' if holds else 'NOT'}  {claim}: {got}" + ("" if holds else f" (wanted {want})"),
            flush=True,
        )
        return holds

    @property
    def failed(self) -> int:
        """How many do not hold."""
        return sum(not each.ok for each in self.made)

    def write(self, path: Path) -> None:
        """Write them for programs."""
        path.write_text(json.dumps([asdict(each) for each in self.made], indent=2) + "\n")

    def table(self) -> str:
        """Return them for people."""
        widths = (44, 28, 28)
        rows = [("", "claim", "want", "got")]
        rows += [("ok" if each.ok else "NOT", each.claim, each.want, each.got) for each in self.made]
        lines: list[str] = []
        for number, (mark, *cells) in enumerate(rows):
            wrapped = [textwrap.wrap(cell, width) or [""] for cell, width in zip(cells, widths, strict=True)]
            for line in range(max(len(part) for part in wrapped)):
                parts = [part[line] if line < len(part) else "" for part in wrapped]
                padded = "  ".join(part.ljust(width) for part, width in zip(parts, widths, strict=True))
                lines.append(f"{mark if line == 0 else '':<3}  {padded}".rstrip())
            if number == 0:
                lines.append("-" * (5 + sum(widths) + 4))
        return "\n".join(lines)


def say(text: str) -> None:
    """Begin a step."""
    print(f"\n== {text}", flush=True)


def interactive() -> bool:
    """Whether a person looks on."""
    return sys.stdout.isatty()
