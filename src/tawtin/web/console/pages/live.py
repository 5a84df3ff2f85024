"""Tells an open page that something on it may have changed; the page then asks for itself again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from tawtin.web.console.pulse import QUIET_MS
from tawtin.web.exchange import Answer
from tawtin.web.streams import HEARTBEAT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tawtin.web.console.visit import Visit

_CHANGED: Final = b"event: changed\ndata: {}\n\n"


async def live(visit: Visit) -> Answer:
    """Follow a workload, or the whole factory. With `seen`, the version that the page shows, nothing is missed."""
    workload, seen = visit.query.get("workload", ""), visit.query.get("seen", "")
    if workload:
        view = await visit.service.view(visit.actor, workload)  # only its own tenant's
        stream = _of_workload(visit, workload, int(seen) if seen.isdecimal() else view.workload.version)
    else:
        stream = _of_factory(visit, behind=bool(seen) and seen != str(visit.service.state.seq))
    return Answer(media=b"text/event-stream", stream=stream)


def _goes_on(visit: Visit) -> bool:
    return not visit.exchange.closing.is_set() and visit.goes_on


async def _of_factory(visit: Visit, *, behind: bool) -> AsyncIterator[bytes]:
    if behind:
        visit.console.pulse.forget()
    yield _CHANGED if behind else HEARTBEAT
    while _goes_on(visit):
        await visit.console.pulse.next()
        yield _CHANGED


async def _of_workload(visit: Visit, workload: str, seen: int) -> AsyncIterator[bytes]:
    """`seen` is the version of the workload that the page shows."""
    yield HEARTBEAT
    while _goes_on(visit):
        version = (await visit.service.view(visit.actor, workload)).workload.version
        if version == seen:
            await visit.service.changed(workload, QUIET_MS)
            version = (await visit.service.view(visit.actor, workload)).workload.version
        seen = version
        visit.console.pulse.forget()
        yield _CHANGED
        await asyncio.sleep(visit.console.settings.live_seconds)
