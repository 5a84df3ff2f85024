"""Tells an open page that something on it may have changed; the page then asks for itself again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from tawtin.web.exchange import Answer
from tawtin.web.streams import HEARTBEAT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tawtin.web.console.visit import Visit

_CHANGED: Final = b"event: changed\ndata: {}\n\n"
_QUIET_S: Final = 10.0
"""Ages, estimates and what peers say go on changing, also where nothing happened here."""


async def live(visit: Visit) -> Answer:
    """Follow a workload, or the whole factory."""
    workload, seen = visit.query.get("workload", ""), visit.query.get("seen", "")
    version = visit.service.state.seq
    if workload:
        version = (await visit.service.view(visit.actor, workload)).workload.version  # only its own tenant's
    behind = bool(seen) and seen != str(version)
    return Answer(media=b"text/event-stream", stream=_news(visit, workload or "*", behind=behind))


async def _news(visit: Visit, subject: str, *, behind: bool) -> AsyncIterator[bytes]:
    """`behind`: something happened after the page was rendered and before it listened."""
    exchange, seconds = visit.exchange, visit.console.settings.live_seconds
    yield _CHANGED if behind else HEARTBEAT
    while not exchange.closing.is_set() and visit.service.holder(visit.actor.key) is not None:
        await visit.service.changed(subject, int(_QUIET_S * 1000))
        yield _CHANGED
        await asyncio.sleep(seconds)
