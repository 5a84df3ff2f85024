"""A request on its way, what is known of its answer, and what that comes to."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tawtin.gateway.ledger.messages import Settle
from tawtin.gateway.worker import meter

if TYPE_CHECKING:
    from collections.abc import Callable

    from tawtin.gateway.snapshot import Model, Replica
    from tawtin.gateway.worker.ask import Ask
    from tawtin.gateway.worker.connection import Connection
    from tawtin.gateway.worker.places import Wish


class Course(NamedTuple):
    """A request that is held by the ledger, and on its way."""

    connection: Connection
    ask: Ask
    model: Model
    wish: Wish
    receipt: str
    factory: str
    percent: int
    """What is paid of the model's price, in per cent."""
    began_s: float = 0.0
    """When the gateway had the request, by the loop's clock."""

    def headers(self, replica: Replica) -> list[tuple[bytes, bytes]]:
        """What the answer says of where it was made, and by whom if that is an external provider."""
        found = [
            (b"x-tawtin-factory", self.factory.encode()),
            (b"x-tawtin-country", replica.country.encode()),
            (b"x-tawtin-receipt", self.receipt.encode()),
        ]
        if replica.provider:
            found.append((b"x-tawtin-provider", replica.provider.encode()))
        return found


class Outcome:
    """What is known so far of an answer, so that it can be charged however it ends."""

    def __init__(self) -> None:
        """Nothing is known, and nothing was sent."""
        self.replica: Replica | None = None
        self.sent = False
        """Whether the replica has the request."""
        self.at: list[str] = []
        """All replicas that had it, whatever became of it there."""
        self.status = 0
        """Of the replica's answer; 0 before it begins."""
        self.said: tuple[object, object] | None = None
        self.guess: Callable[[], int] = lambda: 0
        self.whole = False
        self.cause = "replica_failed"
        self.content: bytearray | None = None
        """What went on of the answer, if the tenant wants it kept."""

    def reached(self, replica: str) -> None:
        """A replica has the request."""
        self.sent = True
        if replica not in self.at:
            self.at.append(replica)


def settlement(course: Course, outcome: Outcome) -> Settle:
    """What to charge: nothing for what no replica took on, or refused."""
    replica = outcome.replica
    cause = "done" if outcome.whole else outcome.cause
    place = Settle(
        receipt=course.receipt,
        replica=replica.id if replica is not None else "",
        country=replica.country if replica is not None else "",
        provider=replica.provider if replica is not None else "",
        also=tuple(each for each in outcome.at if replica is None or each != replica.id),
        cause=cause,
    )
    if outcome.said is None and (
        outcome.status >= 400
        or (cause == "client_gone" and not outcome.sent)
        or (cause not in {"done", "client_gone"} and not outcome.guess())
    ):
        return place
    count = meter.counted(course.ask, course.model, outcome.said, outcome.guess())
    return msgspec.structs.replace(
        place,
        tokens_in=count.tokens_in,
        tokens_out=count.tokens_out,
        micro=meter.micro(course.model, count.tokens_in, count.tokens_out, course.percent),
        estimated=count.estimated,
    )
