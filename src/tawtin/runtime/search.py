"""Looking through a tenant's workloads for a word, without deciding or explaining anything about those that lack it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from tawtin.ports import Query

if TYPE_CHECKING:
    from tawtin.model.views import WorkloadView
    from tawtin.ports import Journal
    from tawtin.runtime.actor import Actor
    from tawtin.runtime.service import Service

_ROWS: Final = 5_000
"""So many rows are read at one time."""


class _Spec(msgspec.Struct, frozen=True):
    name: str
    project: str = ""


class _Row(msgspec.Struct, frozen=True):
    """What of a workload is looked at; the rest is passed over."""

    id: str
    tenant: str
    spec: _Spec


_decode: Final = msgspec.json.Decoder(_Row).decode


async def search(
    service: Service,
    actor: Actor,
    word: str,
    *,
    tenant: str | None = None,
    phases: tuple[str, ...] = (),
    before: str = "",
    limit: int = 100,
    rows_max: int = 100_000,
) -> tuple[list[WorkloadView], str]:
    """Workloads whose name, id, project or tenant holds `word`, newest first, and where to go on; empty at the end.

    Looks through `rows_max` at most. Admins and auditors who name no tenant look through those of all. Raises NotFound.
    """
    about = "" if actor.overlooks and tenant is None else actor.about(tenant)
    await service.settle()
    query = Query(kind="workload", tenant=about, phases=phases, before=before, limit=_ROWS)
    found, following = await service.in_thread(
        _matching, service.journal, query, word.casefold(), limit, rows_max
    )
    return [await service.view(actor, each) for each in found], following


def _matching(journal: Journal, query: Query, word: str, limit: int, rows_max: int) -> tuple[list[str], str]:
    found: list[str] = []
    looked_at = 0
    while looked_at < rows_max:
        bodies = journal.list(query)
        for body in bodies:
            row = _decode(body)
            looked_at += 1
            words = (row.spec.name, row.id, row.spec.project, row.tenant)
            if any(word in each.casefold() for each in words):
                found.append(row.id)
                if len(found) == limit:
                    return found, row.id
        if len(bodies) < query.limit:
            return found, ""
        query = msgspec.structs.replace(query, before=_decode(bodies[-1]).id)
    return found, query.before
