"""The style sheet comes within the first page, which the policy allows by its hash, and is named by those to come."""

from __future__ import annotations

import base64
import hashlib
import re

import httpx
import pytest

from tawtin.web.console.assets import Assets, tight
from tests.web.harness import Factory

WITHIN = re.compile(r'<style data-sheet="([^"]+)">(.*?)</style>', re.DOTALL)


def test_a_browser_without_the_sheet_gets_it_within_the_page_and_the_policy_allows_it_alone(
    factory: Factory,
) -> None:
    with httpx.Client(base_url=factory.url) as http:
        got = http.get("/console/sign-in")
        ((address, sheet),) = WITHIN.findall(got.text)
        named = http.get(address).text
    want = base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()
    assert f"style-src 'self' 'sha256-{want}';" in got.headers["content-security-policy"]
    assert sheet == named
    assert '<link rel="stylesheet"' not in got.text


@pytest.mark.parametrize("told", ["this one", "an older one"])
def test_a_browser_that_says_that_it_has_the_sheet_is_told_its_address(factory: Factory, told: str) -> None:
    digest = Assets().sheet_digest
    cookie = f"tawtin_sheet={digest if told == 'this one' else '000000000000'}"
    got = httpx.get(f"{factory.url}/console/sign-in", headers={"cookie": cookie})
    within = WITHIN.findall(got.text)
    if told == "this one":
        assert within == []
        assert re.findall(r'<link rel="stylesheet" href="/console/static/(\w+)/page.css">', got.text) == [
            digest
        ]
        assert "style-src 'self';" in got.headers["content-security-policy"]
    else:
        assert len(within) == 1


def test_a_sheet_is_made_tight_without_a_change_of_what_it_says() -> None:
    sheet = (
        '/* a */\na > b,\nc  d {\n  margin: 0 calc(1px + 2px);\n  content: " <";\n}\n'
        "@media (min-width: 2px) { a { b: c } }\n"
    )
    assert (
        tight(sheet)
        == 'a > b,c d{margin: 0 calc(1px + 2px);content: " <";}@media (min-width: 2px){a{b: c}}\n'
    )
