"""What the proxy asks of the factory: who may go to which workspace."""

from __future__ import annotations

from typing import Protocol

from tawtin.model.base import Record


class Way(Record, frozen=True, kw_only=True):
    """How to reach a workspace."""

    address: str
    """`host:port` of its door."""
    token: str
    """What the door wants to hear."""
    read_only: bool
    """Whether only what changes nothing may be asked."""
    cookie: str = ""
    """The value of the cookie to be set, when a ticket was exchanged."""
    key: str
    """What its traffic is counted under."""


class Denied(Record, frozen=True, kw_only=True):
    """Why somebody does not get there."""

    status: int
    title: str
    text: str
    """What to do next. Plain text."""
    again: bool = False
    """Whether a browser asks again by itself."""


class Ways(Protocol):
    """Knows workspaces and who may enter."""

    async def way(self, label: str, ticket: str, cookie: str, bearer: str) -> Way | Denied:
        """The way to the workspace of `label`, for who has one of a ticket, a cookie and a key; or why not."""
        ...

    def seen(self, key: str) -> None:
        """Bytes come from a client; said at most once a second for each key."""
        ...
