"""The calls about workspaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tawtin.client.calls import Call, quoted

if TYPE_CHECKING:
    from tawtin.model.workspaces import Opened, WorkspaceView


def _one(body: bytes) -> WorkspaceView:
    import msgspec  # noqa: PLC0415 - the records are most of what importing costs

    from tawtin.model.workspaces import WorkspaceView  # noqa: PLC0415 - as above

    return msgspec.json.decode(body, type=WorkspaceView)


def _all(body: bytes) -> tuple[WorkspaceView, ...]:
    import msgspec  # noqa: PLC0415 - as above

    from tawtin.model.views import Items  # noqa: PLC0415 - as above
    from tawtin.model.workspaces import WorkspaceView  # noqa: PLC0415 - as above

    return msgspec.json.decode(body, type=Items[WorkspaceView]).items


def _way_in(body: bytes) -> Opened:
    import msgspec  # noqa: PLC0415 - as above

    from tawtin.model.workspaces import Opened  # noqa: PLC0415 - as above

    return msgspec.json.decode(body, type=Opened)


def workspaces(*, tenant: str | None = None) -> Call[tuple[WorkspaceView, ...]]:
    """All workspaces that the caller may know of: the tenant's, and those of students whom it teaches."""
    return Call("GET", "/workspaces", _all, query={"tenant": tenant})


def workspace(name: str, *, tenant: str | None = None) -> Call[WorkspaceView]:
    """One workspace."""
    return Call("GET", f"/workspaces/{quoted(name)}", _one, query={"tenant": tenant})


def open_workspace(name: str, *, tenant: str | None = None) -> Call[Opened]:
    """An address for one browser, for a minute; a workspace that rests is woken."""
    return Call("POST", f"/workspaces/{quoted(name)}/open", _way_in, query={"tenant": tenant})


def start_workspace(name: str, *, for_ms: int = 0, tenant: str | None = None) -> Call[WorkspaceView]:
    """Wake a workspace, and keep it from resting by itself for `for_ms` milliseconds from now."""
    body = b'{"for_ms": %d}' % for_ms
    return Call("POST", f"/workspaces/{quoted(name)}/start", _one, query={"tenant": tenant}, body=body)


def stop_workspace(name: str, *, tenant: str | None = None) -> Call[WorkspaceView]:
    """Let a workspace rest: its programs end, its home stays."""
    return Call("POST", f"/workspaces/{quoted(name)}/stop", _one, query={"tenant": tenant})


def share_workspace(name: str, *, shared: bool, tenant: str | None = None) -> Call[WorkspaceView]:
    """Let everybody of its tenant look at a workspace, or no longer."""
    body = b'{"shared": true}' if shared else b'{"shared": false}'
    return Call("POST", f"/workspaces/{quoted(name)}/share", _one, query={"tenant": tenant}, body=body)


def delete_workspace(name: str, *, tenant: str | None = None) -> Call[WorkspaceView]:
    """End a workspace for good, with its home."""
    return Call("DELETE", f"/workspaces/{quoted(name)}", _one, query={"tenant": tenant})
