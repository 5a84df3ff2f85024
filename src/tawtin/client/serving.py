"""The calls about services."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tawtin.client.calls import Call, quoted, written

if TYPE_CHECKING:
    from tawtin.model.services import ServiceView
    from tawtin.spec.job import Job, Parsed


def _one(body: bytes) -> ServiceView:
    import msgspec  # noqa: PLC0415 - the records are most of what importing costs

    from tawtin.model.services import ServiceView  # noqa: PLC0415 - as above

    return msgspec.json.decode(body, type=ServiceView)


def _all(body: bytes) -> tuple[ServiceView, ...]:
    import msgspec  # noqa: PLC0415 - as above

    from tawtin.model.services import ServiceView  # noqa: PLC0415 - as above
    from tawtin.model.views import Items  # noqa: PLC0415 - as above

    return msgspec.json.decode(body, type=Items[ServiceView]).items


def services(*, tenant: str | None = None) -> Call[tuple[ServiceView, ...]]:
    """All services, with their replicas: where each is reached, and whether it is ready."""
    return Call("GET", "/services", _all, query={"tenant": tenant})


def service(name: str, *, tenant: str | None = None) -> Call[ServiceView]:
    """One service."""
    return Call("GET", f"/services/{quoted(name)}", _one, query={"tenant": tenant})


def update_service(
    name: str,
    spec: bytes | str | os.PathLike[str] | Mapping[str, Any] | Job | Parsed,
    *,
    tenant: str | None = None,
) -> Call[ServiceView]:
    """Replace a service's replicas by those of a new spec, new ones first."""
    body, media = written(spec)
    path = f"/services/{quoted(name)}"
    return Call("PUT", path, _one, query={"tenant": tenant}, body=body, media=media)


def scale_service(name: str, replicas: int, *, tenant: str | None = None) -> Call[ServiceView]:
    """Let a service have so many replicas."""
    body = b'{"replicas": %d}' % replicas
    return Call("PATCH", f"/services/{quoted(name)}", _one, query={"tenant": tenant}, body=body)


def end_service(name: str, *, tenant: str | None = None) -> Call[ServiceView]:
    """End a service and all its replicas."""
    return Call("DELETE", f"/services/{quoted(name)}", _one, query={"tenant": tenant})
