"""Several engines as one: each order goes to the engine whose nodes it names, everything else to who knows the run."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from tawtin.model.reasons import Cause
from tawtin.model.resources import Node
from tawtin.model.views import LogChunk, UsageSample
from tawtin.ports import Engine, EngineError, Report, RunOrder

log = logging.getLogger("tawtin.engines")


class Fleet:
    """Implements ports.Engine by others of different names."""

    name = "fleet"

    def __init__(self, engines: Sequence[Engine]) -> None:
        """Take at least one. Raises EngineError if two have the same name."""
        self._engines = {engine.name: engine for engine in engines}
        if len(self._engines) != len(engines):
            raise EngineError("two engines have the same name")
        self._first = engines[0]
        self._lock = threading.Lock()
        self._by_node: dict[str, Engine] = {}
        self._by_run: dict[str, Engine] = {}
        self._twice: dict[str, str] = {}

    def open(self, wake: Callable[[], None]) -> None:
        """Open all, or none. Raises EngineError."""
        with ExitStack() as opened:
            for engine in self._engines.values():
                engine.open(wake)
                opened.callback(engine.close)
            opened.pop_all()

    def isolated(self) -> bool:
        """Whether tenants are kept apart wherever a run may be put."""
        return all(engine.isolated() for engine in self._engines.values())

    def notes(self) -> tuple[str, ...]:
        """What an operator should know."""
        with self._lock:
            twice = tuple(self._twice.values())
        return (*twice, *(note for engine in self._engines.values() for note in engine.notes()))

    def nodes(self) -> tuple[Node, ...]:
        """The nodes of all. Of two that have the same name, the first engine's is used."""
        found: dict[str, Node] = {}
        by_node: dict[str, Engine] = {}
        twice: dict[str, str] = {}
        for engine in self._engines.values():
            for node in engine.nodes():
                if node.name in found:
                    other = found[node.name].engine
                    twice[node.name] = (
                        f"node `{node.name}` of `{engine.name}` is left out: `{other}` has one of that name"
                    )
                    continue
                found[node.name], by_node[node.name] = node, engine
        with self._lock:
            self._by_node, self._twice = by_node, twice
        return tuple(found.values())

    def _of(self, run: str) -> Engine | None:
        """Who has the run."""
        with self._lock:
            known = self._by_run.get(run)
        return known or next((engine for engine in self._engines.values() if engine.knows(run)), None)

    def knows(self, run: str) -> bool:
        """Whether any of them does."""
        return self._of(run) is not None

    def ensure(self, order: RunOrder) -> None:
        """Hand the order to the engine that has its nodes, unless another one knows the run already."""
        engine = self._of(order.run)
        if engine is None:
            with self._lock:
                engines = [self._by_node.get(slot.node) for slot in order.slots]
            engine = engines[0] if engines else None
            if engine is None or any(each is not engine for each in engines):
                names = ", ".join(slot.node for slot in order.slots)
                raise EngineError(f"the nodes {names} are not, or not all, those of one engine")
            with self._lock:
                self._by_run[order.run] = engine
        engine.ensure(order)

    def stop(self, run: str, cause: Cause, grace_ms: int) -> None:
        """End the run where it is; one that nobody knows is ended by the first engine, and never starts elsewhere."""
        engine = self._of(run) or self._first
        with self._lock:
            self._by_run[run] = engine
        engine.stop(run, cause, grace_ms)

    def fuse_stop_ms(self) -> int | None:
        """The longest of all bounds; None if one has none, as nobody knows yet where a leased run will be put."""
        bounds = [engine.fuse_stop_ms() for engine in self._engines.values()]
        known = [bound for bound in bounds if bound is not None]
        return max(known) if len(known) == len(bounds) else None

    def extend(self, run: str, fuse_ms: int) -> None:
        """Let the run go on until then."""
        engine = self._of(run)
        if engine is not None:
            engine.extend(run, fuse_ms)

    def started(self) -> dict[str, bool]:
        """What all of them remember."""
        found: dict[str, bool] = {}
        for engine in self._engines.values():
            found |= engine.started()
        return found

    def reports(self) -> list[Report]:
        """The news of all."""
        found: list[Report] = []
        for engine in self._engines.values():
            news = engine.reports()
            with self._lock:
                self._by_run.update((report.run, engine) for report in news)
            found += news
        return found

    def forget(self, run: str) -> None:
        """The outcome is recorded: stop reporting it."""
        engine = self._of(run)
        if engine is not None:
            engine.forget(run)
            with self._lock:
                self._by_run.pop(run, None)

    def log(self, run: str, offset: int, limit: int) -> LogChunk:
        """A piece of the run's output."""
        return (self._of(run) or self._first).log(run, offset, limit)

    def samples(self, run: str) -> tuple[UsageSample, ...]:
        """How much a run used over its time."""
        return (self._of(run) or self._first).samples(run)

    def close(self) -> None:
        """Let go of all."""
        for engine in self._engines.values():
            try:
                engine.close()
            except Exception:
                log.exception("engine `%s` could not be closed", engine.name)
