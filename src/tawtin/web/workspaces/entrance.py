"""Who may go into which workspace of a factory: answers the proxy out of what the factory knows now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tawtin.web.workspaces.ways import Denied, Way

if TYPE_CHECKING:
    from tawtin.runtime.service import Service

HOUR_MS: Final = 3_600_000
_CLOSED: Final = Denied(
    status=403,
    title="Closed",
    text="This way into the workspace does not count, or no longer. Open the workspace from the factory's pages.",
)
_RESTS: Final = Denied(
    status=503,
    title="It rests",
    text="Nobody used this workspace for a while. Open it from the factory's pages again.",
)
_STARTS: Final = Denied(
    status=503,
    title="It starts",
    text="The workspace waits for its place or starts. This page asks again.",
    again=True,
)


class Entrance:
    """The ways into the workspaces of one factory."""

    def __init__(self, service: Service) -> None:
        """Ask `service`."""
        self._service = service

    async def way(self, label: str, ticket: str, cookie: str, bearer: str) -> Way | Denied:
        """The way to a workspace, for who has one of a ticket, a cookie and a key; or why not."""
        service, now_ms, given = self._service, self._service.clock.now_ms(), ""
        if bearer:
            actor = service.authenticate(bearer)
            key = actor.key if actor is not None else ""
        else:
            leave = service.doors.read("ticket" if ticket else "cookie", ticket or cookie, now_ms)
            key = leave.key if leave is not None and leave.workload == label else ""
            if ticket and leave is not None and key:
                if not service.doors.take(leave, now_ms):
                    return _CLOSED
                until_ms = now_ms + service.workspacing.session_hours * HOUR_MS
                given = service.doors.give("cookie", label, key, until_ms)
        entered = service.entered(label, key) if key else "closed"
        if isinstance(entered, str):
            if given and entered == "starts":
                # the browser is let in already, and asks again until the workspace is there
                return Way(address="", token="", read_only=False, cookie=given, key=label)
            return {"rests": _RESTS, "starts": _STARTS}.get(entered, _CLOSED)
        run, read_only = entered
        return Way(
            address=run.address,
            token=service.doors.token(label),
            read_only=read_only,
            cookie=given,
            key=label,
        )

    def seen(self, key: str) -> None:
        """Something came from a client."""
        self._service.used(key)
