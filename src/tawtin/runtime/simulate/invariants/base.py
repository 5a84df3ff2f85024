"""What a check can watch."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NoReturn

from tawtin.runtime.simulate.words import Invariant, Violation

if TYPE_CHECKING:
    from tawtin.model.events import Entry
    from tawtin.ports import Batch, RunOrder
    from tawtin.runtime.simulate.clients import Request
    from tawtin.runtime.simulate.host import Process
    from tawtin.runtime.simulate.world import World


class Check:
    """One invariant. Each method is called when its thing has happened, and raises Violation if it should not have."""

    invariant: ClassVar[Invariant]

    def __init__(self, world: World) -> None:
        self.world = world
        self.book = world.book

    def fail(self, message: str) -> NoReturn:
        """Say what was seen."""
        raise Violation(self.invariant, message)

    def entry(self, entry: Entry) -> None:
        """An entry became durable; the book does not know of it yet."""

    def batch(self, batch: Batch) -> None:
        """A transaction became durable; the book knows all of it."""

    def token(self, order: RunOrder) -> None:
        """An engine was told to start a run, and wrote its token."""

    def started(self, process: Process) -> None:
        """A program began on a machine."""

    def exited(self, process: Process) -> None:
        """A run ended on a machine."""

    def answered(self, request: Request) -> None:
        """A client has an answer."""

    def checkpoint(self) -> None:
        """Nothing is staged and nothing is in flight."""

    def adopted(self) -> None:
        """The control plane has started again without any fault, and its first transaction was told to the engine."""

    def end(self) -> None:
        """Faults have stopped and the factory has come to rest."""
