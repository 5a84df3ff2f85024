"""What one route is. Routing, the OpenAPI document and the reference page are all made from lists of these."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from tawtin.model.base import Record
from tawtin.model.requests import NoQuery
from tawtin.model.tenant import Scope
from tawtin.web.exchange import Answer, Exchange

Handler = Callable[[Exchange], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path."""

    path: str
    """Parameters in braces; `{path:path}` takes slashes as well."""
    handler: Handler
    """Its docstring is what the reference says."""
    methods: tuple[str] | list[str] = ("GET",)
    """Exactly one. `HEAD` comes with `GET`."""
    scope: Scope | None = Scope.READ
    """What the key must be able to do; None needs no key."""
    query: type[Record] | None = NoQuery
    """What its parameters are; None where the handler reads them itself."""
    body: Any = None
    """The record that the body is, if any."""
    bodies: dict[str, Any] = field(default_factory=dict[str, Any])
    """Further media types of the body, each with an example."""
    answers: Any = None
    """The record that the answer is; None for no JSON."""
    status: int = 200
    media: str = "application/json"
    """Of the answer."""
    headers: tuple[str, ...] = ()
    """Request headers that mean something here."""
    etag: bool = False
    """Whether the answer names a version."""
    errors: tuple[int, ...] = ()
    """Statuses of problems beyond those that every route can give."""
    example: Any = None
    """Of the body."""
    access: Literal["key", "metrics"] = "key"

    @property
    def method(self) -> str:
        """Its method."""
        return self.methods[0]

    @property
    def name(self) -> str:
        """Its name in the OpenAPI document: that of the handler."""
        return getattr(self.handler, "__name__", "")

    @property
    def summary(self) -> str:
        """The first line of the handler's docstring."""
        return self.description.partition("\n")[0]

    @property
    def description(self) -> str:
        """The handler's docstring."""
        lines = (self.handler.__doc__ or "").strip().splitlines()
        return "\n".join(line.strip() for line in lines)
