"""What an operator can set about the proxy in front of workspaces."""

from __future__ import annotations

from typing import Annotated

import msgspec

from tawtin.model.base import Record

_Count = Annotated[int, msgspec.Meta(ge=1)]
_Seconds = Annotated[int, msgspec.Meta(ge=1, le=86_400)]


class ProxySettings(Record, frozen=True, kw_only=True):
    """`[workspaces.proxy]`: where people reach workspaces."""

    host: str = "127.0.0.1"
    """The address to listen on. TLS belongs to a proxy in front; without one, keep it on loopback."""
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 8490
    """The port; 0 lets the system choose."""
    domain: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([a-z0-9.-]{0,180}[a-z0-9])?$")] = "localhost"
    """Workspaces are at `LABEL.` and this. Serve nothing else below that name: browsers share cookies there."""
    tls: bool = False
    """Whether browsers reach it by `https`, through a proxy in front that keeps the header `host`. Cookies are then
    sent over TLS alone."""
    header_bytes_max: Annotated[int, msgspec.Meta(ge=1024, le=1 << 20)] = 32 << 10
    """Longest request line and headers together, of requests and of answers."""
    headers_max: Annotated[int, msgspec.Meta(ge=8, le=1000)] = 100
    """Headers of a request."""
    header_seconds_max: _Seconds = 10
    """How long a client may take over the headers of a request."""
    body_seconds_max: _Seconds = 60
    """How long a client may pause within a body, or fail to read an answer."""
    idle_seconds_max: _Seconds = 75
    """How long a connection may stay open without a request."""
    half_seconds_max: _Seconds = 30
    """How long nothing may move once a client has ended its side of a connection."""
    connections_max: _Count = 2048
    """Connections at one time; further ones are answered 503."""
    workspace_connections_max: _Count = 200
    """Requests and WebSockets of one workspace at one time; further ones are answered 503."""
    connect_seconds_max: _Seconds = 5
    """How long a workspace may take to accept a connection."""
    answer_seconds_max: _Seconds = 600
    """How long a workspace may take until its answer begins."""
    start_seconds_max: _Seconds = 120
    """How long a browser asks again for an application that does not listen yet."""
