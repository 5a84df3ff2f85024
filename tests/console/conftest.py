"""What tests of the console share: a browser, pages that must not complain, and a network of five factories."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser

from demo.network import Network
from tests.console import browser as driven
from tests.console.browser import Watched


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The browser, for one file: its driver has an event loop in this thread, with which others cannot have theirs."""
    if lacks := driven.missing():
        pytest.skip(f"needs {lacks}")
    with driven.chromium() as started:
        yield started


@pytest.fixture
def reader(browser: Browser) -> Iterator[Callable[..., Watched]]:
    """Make readers of pages, by `Watched`'s arguments after the browser. A test fails if a page of theirs complains."""
    made: list[Watched] = []

    def make(origin: str, **how: object) -> Watched:
        made.append(Watched(browser, origin, **how))  # pyright: ignore[reportArgumentType]
        return made[-1]

    yield make
    assert [problem for each in made for problem in each.close()] == []


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Five factories in five countries, introduced, with cables that can be cut: the demonstration's."""
    five = Network(tmp_path_factory.mktemp("five"))
    try:
        five.start()
        yield five
    finally:
        left = five.end()
    assert left == []
