"""A browser without scripts: signed in, it asks for pages and sends their forms."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from tests.web.harness import Factory


@contextmanager
def signed_in(factory: Factory, key: str, language: str = "en") -> Generator[httpx.Client]:
    """A client with the cookies of a session, for the time of the block."""
    with httpx.Client(base_url=factory.url, timeout=60, cookies={"tawtin_lang": language}) as browser:
        said = browser.post("/console/sign-in", data={"key": key})
        assert said.status_code == 303, said.text
        yield browser


def text_of(page: str) -> str:
    """What a page says, in one line, without tags and styles."""
    return " ".join(re.sub(r"<style\b.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL).split())
