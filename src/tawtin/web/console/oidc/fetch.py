"""One request to the provider: no redirects are followed, and neither time nor size goes beyond what is set."""

from __future__ import annotations

import base64
import time
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, Final
from urllib.parse import quote_plus, urlencode, urlsplit

if TYPE_CHECKING:
    import ssl

_READ_BYTES: Final = 16 << 10


class Away(Exception):
    """The provider is not reached, or says what cannot be used; the message is for the factory's log."""


def fetch(
    url: str,
    *,
    seconds: float,
    bytes_max: int,
    tls: ssl.SSLContext,
    form: dict[str, str] | None = None,
    basic: tuple[str, str] | None = None,
) -> tuple[int, bytes]:
    """Status and body of a GET, or with `form` of a POST, with the client's id and secret in `basic`. Raises Away."""
    parts = urlsplit(url)
    ends_s = time.monotonic() + seconds
    headers = {"accept": "application/json", "connection": "close", "user-agent": "tawtin"}
    body = None
    if form is not None:
        body = urlencode(form).encode()
        headers["content-type"] = "application/x-www-form-urlencoded"
    if basic is not None:  # RFC 6749, section 2.3.1: each is encoded before they are joined
        pair = ":".join(quote_plus(each) for each in basic)
        headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    host = parts.hostname or ""
    connection = (
        HTTPSConnection(host, parts.port, timeout=seconds, context=tls)
        if parts.scheme == "https"
        else HTTPConnection(host, parts.port, timeout=seconds)
    )
    where = f"{parts.scheme}://{parts.netloc}{parts.path}"
    try:
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        connection.request("GET" if form is None else "POST", path, body, headers)
        answer = connection.getresponse()
        found = bytearray()
        while piece := answer.read1(_READ_BYTES):
            found += piece
            if len(found) > bytes_max:
                msg = f"{where} answers with more than {bytes_max} bytes"
                raise Away(msg)
            if time.monotonic() > ends_s:
                msg = f"{where} did not answer within {seconds:g} s"
                raise Away(msg)
        return answer.status, bytes(found)
    except (OSError, HTTPException, ValueError) as error:
        msg = f"{where} is not reached: {error}"
        raise Away(msg) from error
    finally:
        connection.close()
