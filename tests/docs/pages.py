"""Finds the pages, their links and their runnable blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^(?P<fence>`{3,}|:{3,}).*?^(?P=fence)\s*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!\\)\[[^\]\n]*(?:\n[^\]\n]*)?\]\((?P<target>[^)\s]+)\)")
RUNNABLE = re.compile(
    r"^<!-- runnable(?:: (?P<kind>\w+))? -->\n+```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A code block that is promised to work."""

    kind: str
    line: int
    code: str


def pages() -> list[Path]:
    """All pages, without what is generated or built."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return sorted(path for path in found if not {"_build", "generated"} & set(path.relative_to(ROOT).parts))


def links(text: str) -> Iterator[str]:
    """Targets of links and pictures outside code."""
    for match in LINK.finditer(FENCE.sub("", text)):
        yield match["target"]


def anchors(text: str) -> set[str]:
    """Names that headings can be linked by, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def blocks(text: str) -> list[Block]:
    """Runnable blocks in their order."""
    return [
        Block(
            kind=match["kind"] or match["language"],
            line=text.count("\n", 0, match.start()) + 1,
            code=match["code"],
        )
        for match in RUNNABLE.finditer(text)
    ]
