"""One GET over a bare socket, for the verb that is called most: http.client alone would double the time of `ps`."""

from __future__ import annotations

import json
import socket
from urllib.parse import urlsplit

from tawtin.cli import exits
from tawtin.cli.target import Target

TYPE_CHECKING = False  # importing typing for it would cost what this module saves
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

TIMEOUT_S = 30
STATUS_CODES = {
    401: exits.DENIED,
    403: exits.DENIED,
    404: exits.NOT_FOUND,
    409: exits.CONFLICT,
    412: exits.CONFLICT,
}


def get(target: Target, path: str) -> Json:
    """Return the JSON object at `path`, such as `/api/v1/workloads?limit=10`. Raises Fault."""
    if target.url.startswith("https://"):
        status, body = _get_https(target, path)
    else:
        parts = urlsplit(target.url)
        address = (parts.hostname or "", parts.port or 80)
        status, body = _get_http(target, address, parts.path + path)
    if status == 200:
        return json.loads(body)
    raise refused(status, body)


def refused(status: int, body: bytes) -> exits.Fault:
    """Return the fault for a problem document."""
    problem: Json = {}
    if body.lstrip().startswith(b"{"):
        try:
            problem = json.loads(body)
        except ValueError:
            problem = {}
    code = STATUS_CODES.get(status, exits.FACTORY if status >= 500 else exits.USAGE)
    message = str(problem.get("detail") or problem.get("title") or f"the factory answered {status}")
    hint = "is that the address of a factory?" if not problem else ""
    if status == 401:
        hint = "name another key: --key-file FILE, or TAWTIN_KEY_FILE"
    return exits.Fault(message, code, token=str(problem.get("token", "")), hint=hint)


def unreachable(target: Target, why: object) -> exits.Fault:
    """Return the fault of a factory that does not answer."""
    hint = "start it: tawtin up" if target.refresh else "check the address, and that it is up"
    return exits.Fault(f"cannot reach the factory at `{target.url}`: {why}", exits.UNREACHABLE, hint=hint)


def _get_http(target: Target, address: tuple[str, int], path: str) -> tuple[int, bytes]:
    request = (
        f"GET {path} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nAuthorization: Bearer {target.key}\r\n"
        "Accept: application/json\r\nConnection: close\r\n\r\n"
    )
    try:
        with socket.create_connection(address, TIMEOUT_S) as connection:
            connection.sendall(request.encode("latin-1"))
            answer = bytearray()
            while piece := connection.recv(65_536):
                answer += piece
    except OSError as error:
        raise unreachable(target, str(error).lower()) from None
    head, gap, body = bytes(answer).partition(b"\r\n\r\n")
    words = head.split(None, 2)
    if not gap or len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise exits.Fault(
            f"what answers at `{target.url}` is no factory", exits.UNREACHABLE, hint="check the address"
        )
    if b"\r\ntransfer-encoding: chunked" in head.lower():
        body = _unchunked(body)
    return int(words[1]), body


def _unchunked(body: bytes) -> bytes:
    pieces: list[bytes] = []
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size.partition(b";")[0] or b"0", 16)
        if not length:
            break
        pieces.append(body[:length])
        body = body[length + 2 :]
    return b"".join(pieces)


def _get_https(target: Target, path: str) -> tuple[int, bytes]:
    from http.client import HTTPException, HTTPSConnection

    parts = urlsplit(target.url)
    connection = HTTPSConnection(parts.hostname or "", parts.port or 443, timeout=TIMEOUT_S)
    try:
        connection.request("GET", parts.path + path, headers={"Authorization": f"Bearer {target.key}"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, HTTPException) as error:
        raise unreachable(target, error) from None
    finally:
        connection.close()
