"""What all workers together know of the load of services. Each counts since it started, and may be gone at any time."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tawtin.gateway.ledger.messages import ReplicaState
from tawtin.model.services import Load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tawtin.gateway.ledger.messages import Told
    from tawtin.gateway.snapshot import Model


class Sums:
    """Adds up what workers tell, so that no sum goes back when one of them ends."""

    def __init__(self) -> None:
        """Know of nothing."""
        self._last: dict[tuple[str, str], ReplicaState] = {}
        self._service: dict[str, str] = {}
        """Of each replica that is told of, also after it has left the catalogue."""
        self._sums: dict[str, Load] = {}

    def add(self, workers: Mapping[str, Told], models: Mapping[str, Model]) -> dict[str, Load]:
        """Take in what each worker told last; the load of each service that models name."""
        named = {
            each.id: each.service for model in models.values() for each in model.replicas if each.service
        }
        told = {(worker, each.id): each for worker, told in workers.items() for each in told.replicas}
        self._service |= named
        waiting, opened = Counter[str](), dict[str, dict[str, int]]()
        for (worker, id), state in told.items():
            service = self._service.get(id)
            if service is None:
                continue
            self._sums[service] = _more(self._sums.get(service, Load()), state, self._last.get((worker, id)))
            run = id.rpartition("#")[2]
            runs = opened.setdefault(service, {})
            runs[run] = runs.get(run, 0) + state.open
        for each in workers.values():
            for name, count in each.held.items():
                model = models.get(name)
                here = (*model.asleep, *model.replicas) if model is not None else ()
                first = next((replica.service for replica in here if replica.service), "")
                if first:
                    waiting[first] += count
        self._last = told
        self._service = {
            id: self._service[id] for id in {*named, *(id for _, id in told)} if id in self._service
        }
        services = {*self._sums, *waiting, *named.values()}
        services.update(each.service for model in models.values() for each in model.asleep)
        return {each: self._now(each, waiting[each], opened.get(each, {})) for each in sorted(services)}

    def _now(self, service: str, waiting: int, opened: dict[str, int]) -> Load:
        known = self._sums.get(service, Load())
        return Load(
            in_flight=sum(opened.values()) + waiting,
            arrived=known.arrived,
            tokens=known.tokens,
            waited_ms=known.waited_ms,
            began=known.began,
            open=opened,
        )


def _more(known: Load, state: ReplicaState, last: ReplicaState | None) -> Load:
    """What is known, with what a worker counted since it told last; all of it where it began anew."""
    if last is None or state.given < last.given:
        last = ReplicaState(id=state.id)
    return Load(
        arrived=known.arrived + state.given - last.given,
        tokens=known.tokens + state.tokens - last.tokens,
        waited_ms=known.waited_ms + state.waited_ms - last.waited_ms,
        began=known.began + state.began - last.began,
    )
