"""What an operator can set about the factory's face."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from tawtin.model.base import Record

_Seconds = Annotated[int, msgspec.Meta(ge=1, le=86_400)]
_Bytes = Annotated[int, msgspec.Meta(ge=1024)]


class WebSettings(Record, frozen=True, kw_only=True):
    """`[api]`: where the API listens, and how much it takes."""

    host: str = "127.0.0.1"
    """The address to listen on. TLS belongs to a proxy in front; without one, keep it on loopback."""
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 8470
    """The port; 0 lets the system choose."""
    body_bytes_max: _Bytes = 4 << 20
    """Longest body of a request, blobs aside."""
    blob_bytes_max: _Bytes = 64 << 30
    """Largest blob that may be uploaded."""
    spool_dir: str = ""
    """Folder where uploads wait until they are whole; empty is the system's temporary folder."""
    header_bytes_max: Annotated[int, msgspec.Meta(ge=1024, le=1 << 20)] = 32 << 10
    """Longest request line and headers together."""
    header_seconds_max: _Seconds = 10
    """How long a client may take over the headers of a request."""
    body_seconds_max: _Seconds = 30
    """How long a client may pause within a body, or fail to read an answer."""
    idle_seconds_max: _Seconds = 75
    """How long a connection may stay open without a request."""
    connections_max: Annotated[int, msgspec.Meta(ge=1)] = 4096
    """Connections at one time; further ones are answered 503."""
    poll_seconds: Annotated[float, msgspec.Meta(gt=0, le=60)] = 0.25
    """A followed log is looked at again at least this often; while lines come, much more often."""
    heartbeat_seconds: Annotated[float, msgspec.Meta(gt=0, le=600)] = 15.0
    """A stream without news says so this often, so that proxies keep it open."""
    stop_seconds_max: _Seconds = 5
    """How long requests may go on once the factory is told to stop; streams end at once."""
    log_requests: Literal["none", "errors", "all"] = "errors"
    """Which requests are logged: none, those that failed on our side, or all."""
    metrics: Literal["loopback", "admin", "open"] = "loopback"
    """Who may read `/metrics` without an admin's key: nobody (`admin`), callers on this machine that no proxy forwarded
    (`loopback`), everybody (`open`)."""
