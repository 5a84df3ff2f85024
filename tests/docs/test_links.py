"""Links in pages lead somewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import ROOT, anchors, links, pages


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_this_repository_resolves(page: Path) -> None:
    dead: list[str] = []
    for link in links(page.read_text()):
        target, _, anchor = link.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path.read_text())):
            dead.append(link)
    assert dead == []


def test_a_dead_link_would_be_noticed() -> None:
    assert list(links("see [here](nowhere.md) and ![there](x.svg)\n```\n[not](this)\n```\n")) == [
        "nowhere.md",
        "x.svg",
    ]
