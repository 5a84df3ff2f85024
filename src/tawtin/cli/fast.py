"""The short way to an answer, for the verb that is called most: importing the client takes longer than `ps` may.

It knows the common case alone: a factory at a plain numeric address, a `client.toml` of plain lines, an answer of 200.
Whatever is otherwise gives None, and the caller goes the long way, which also knows all about errors.
"""

from __future__ import annotations

import json
import os
import re
import socket

from tawtin.cli import target

TYPE_CHECKING = False  # typing takes as long to import as the question takes to answer
if TYPE_CHECKING:
    from typing import Any

TIMEOUT_S = 30
_LINE = re.compile(r'\s*(?:(\w+)\s*=\s*"([^"\\]*)"\s*)?(?:#.*)?')
_ADDRESS = re.compile(r"http://(\d+\.\d+\.\d+\.\d+):(\d+)/?")


def get(path: str) -> dict[str, Any] | None:
    """Return the JSON object at `path` of the factory that is named by environment and `client.toml`."""
    try:
        found = _where()
        return found and _ask(*found, path)
    except (OSError, ValueError, KeyError):
        return None


def _where() -> tuple[str, int, str] | None:
    if any(name in os.environ for name in ("TAWTIN_FACTORY", "TAWTIN_KEY", "TAWTIN_KEY_FILE")):
        return None
    home = target.home()
    fields: dict[str, str] = {}
    with open(os.path.join(home, target.CLIENT), encoding="utf-8") as lines:
        for line in lines:
            read = _LINE.fullmatch(line.strip())
            if read is None:
                return None
            if read[1]:
                fields[read[1]] = read[2]
    if not fields.keys() <= {"factory", "address_file", "key_file"}:
        return None
    url = fields.get("factory") or target.read_address(os.path.join(home, fields["address_file"]))["url"]
    address = _ADDRESS.fullmatch(url)
    if address is None or fields["key_file"].startswith("~"):
        return None
    with open(os.path.join(home, fields["key_file"]), encoding="ascii") as source:
        return address[1], int(address[2]), source.read().strip()


def _ask(host: str, port: int, key: str, path: str) -> dict[str, Any] | None:
    request = (
        f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {key}\r\n"
        "Accept: application/json\r\nConnection: close\r\n\r\n"
    )
    with socket.socket() as connection:  # not create_connection, which looks names up
        connection.settimeout(TIMEOUT_S)
        connection.connect((host, port))
        connection.sendall(request.encode("latin-1"))
        pieces: list[bytes] = []
        while piece := connection.recv(65_536):
            pieces.append(piece)
    head, _, body = b"".join(pieces).partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 ") or b"transfer-encoding" in head.lower():
        return None
    return json.loads(body)
