"""A gateway's ledger in virtual time: it settles requests for models, dies, and answers late.

How what it settled gets into the accounts is the real thing: `core.charges` and the factory.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Final

from tawtin.core.charges import charged_up_to, gathered
from tawtin.core.meter import MICRO, month_of
from tawtin.model.gateway import Settlement

if TYPE_CHECKING:
    from tawtin.core.state import State
    from tawtin.model.gateway import Charge
    from tawtin.runtime.factory import Factory
    from tawtin.runtime.simulate.words import SimClock

COUNTRIES: Final = ("MA", "EG", "FR", "")


class SimLedger:
    """All lives of one ledger."""

    def __init__(self, seed: int, clock: SimClock, tenants: list[str]) -> None:
        self.draw = Random(f"models of {seed}")  # noqa: S311 - a simulation has to be repeatable
        """Of its own, so that a history without requests is what it would be if there were no models."""
        self.permille = self.draw.choice((0, 0, 100, 400))
        self.clock = clock
        self.tenants = tenants
        self.lives: dict[str, list[Settlement]] = {"life-0": []}
        self.told: list[Charge] = []
        """Answers on their way; the control plane that asked may be dead when they arrive."""

    def step(self, factory: Factory | None) -> None:
        """Something happens to it, or between it and the control plane."""
        draw = self.draw
        if draw.randrange(1000) >= self.permille:
            return
        what = draw.randrange(8)
        if what < 3:
            self._settle(draw.randrange(1, 5))
        elif what == 3 and draw.randrange(4) == 0:
            self.lives[f"life-{len(self.lives)}"] = []
        elif what < 6 and factory is not None:
            self.told += self.due(factory.state)
        elif self.told and factory is not None:
            late = self.told[draw.randrange(len(self.told))]  # also one that was charged already
            factory.charge(late)

    def charge_all(self, factory: Factory) -> None:
        """Let the control plane ask until all is charged."""
        while due := self.due(factory.state):
            for charge in due:
                factory.charge(charge)

    def due(self, state: State) -> list[Charge]:
        """What is settled and not charged, as the ledger tells it."""
        found: list[Charge] = []
        for life, settlements in self.lives.items():
            after = charged_up_to(state, life)
            charge = gathered(life, after, settlements[after : after + 10])
            if charge is not None:
                found.append(charge)
        return found

    def _settle(self, count: int) -> None:
        life, draw = list(self.lives)[-1], self.draw
        for _ in range(count):
            seq = len(self.lives[life]) + 1
            self.lives[life].append(
                Settlement(
                    ledger=life,
                    seq=seq,
                    receipt=f"rc-{life}-{seq}",
                    tenant=draw.choice(self.tenants),
                    month=month_of(self.clock.now_ms()),
                    model=draw.choice(("atlas", "rif")),
                    country=draw.choice(COUNTRIES),
                    provider="",
                    tokens_in=draw.randrange(1_000),
                    tokens_out=draw.randrange(1_000),
                    estimated=draw.randrange(5) == 0,
                    cost_micro=draw.randrange(20 * MICRO),
                )
            )
