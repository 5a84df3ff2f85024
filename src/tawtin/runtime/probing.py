"""One readiness probe: a request to a replica, of whose answer only the first line is read."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from typing import Final

from tawtin.model.workload import Probe

LINE_BYTES_MAX: Final = 4_096
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: .*)?")


async def probe(address: str, asked: Probe) -> str:
    """Ask once; empty if the answer was 200 to 299, else what came instead."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(asked.timeout_ms / 1000):
            return await _ask(host, int(port), asked)
    except TimeoutError:
        return f"no answer within {asked.timeout_ms} ms"
    except (OSError, ValueError) as error:
        said = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        return f"{address}: {said.lower()}"


async def _ask(host: str, port: int, asked: Probe) -> str:
    reader, writer = await asyncio.open_connection(host, port, limit=LINE_BYTES_MAX)
    try:
        writer.write(_request(f"{host}:{port}", asked))
        await writer.drain()
        line = await reader.readline()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    found = _STATUS.fullmatch(line.rstrip(b"\r\n"))
    if found is None:
        return "what it answered is no HTTP"
    status = int(found[1])
    return "" if 200 <= status < 300 else f"it answered {status}"


def _request(host: str, asked: Probe) -> bytes:
    body = asked.post_data.encode()
    lines = [f"{'POST' if body else 'GET'} {asked.path} HTTP/1.1", f"Host: {host}", "User-Agent: tawtin"]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join((*lines, "Accept: */*", "Connection: close", "", "")).encode() + body
