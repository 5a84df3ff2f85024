"""What the ledger settled, taken over into the factory's accounts and log.

The ledger is asked for what was settled after the last number that the state knows, and the answer becomes one event.
Whatever dies in between, the next answer begins where the state is: nothing is charged twice, nothing is left out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from tawtin.core.charges import charged_last, charged_up_to
from tawtin.gateway.ledger.messages import AskCharge, AskLives, Charges, Lives

if TYPE_CHECKING:
    from tawtin.core.state import State
    from tawtin.gateway.ledger.messages import FromLedger, Question
    from tawtin.model.gateway import Charge

log = logging.getLogger("tawtin.gateway")
Charger = Callable[["Charge", str], Awaitable[bool]]
"""Takes a charge, and the life of the ledger in whose place this one is, if it is in one's. True once it is durable;
False if it does not continue what is charged. May raise: then it is not charged."""


class Charging:
    """Asks one ledger, again and again."""

    def __init__(
        self, ask: Callable[[Question], Awaitable[FromLedger]], state: Callable[[], State], charge: Charger
    ) -> None:
        """Wire it. `ask` raises OSError if the ledger does not answer."""
        self.ask = ask
        self.state = state
        self.charge = charge
        self._lost = ""
        """The life of which it was said that it is lost."""
        self._quiet = False
        """Whether it was said that the ledger does not answer."""

    async def run(self, every_ms: int) -> None:
        """Charge what is due, for ever."""
        while True:
            await asyncio.sleep(every_ms / 1000)
            await self.try_once()

    async def try_once(self) -> None:
        """Charge what is due now; what goes wrong is said and tried again."""
        try:
            await self.once()
        except OSError as error:
            if not self._quiet:
                log.warning(
                    "what the gateway charged is not in the accounts yet, its ledger does not answer: %s",
                    error,
                )
            self._quiet = True
        except Exception:
            log.exception("what the gateway charged is not in the accounts yet; it is tried again")
        else:
            self._quiet = False

    async def once(self) -> None:
        """Charge all that is settled now. Raises OSError, and what `charge` raises."""
        latest = charged_last(self.state())
        charged = {each.ledger: each.seq for each in self.state().charged.values()}
        said = await self.ask(AskLives(known=latest.ledger if latest is not None else "", charged=charged))
        if not isinstance(said, Lives):
            return
        lost = latest.ledger if latest is not None and said.known < latest.seq else ""
        if latest is not None and lost not in {"", self._lost}:
            log.error(
                "the gateway's ledger was lost, or an older copy of it was put back: of the %d requests of `%s` that "
                "are charged it knows %d. It goes on under another name and nothing is charged twice; what it had "
                "settled after the last charge is lost",
                latest.seq,
                lost,
                said.known,
            )
        self._lost = lost
        for life in said.lives:
            await self._life(life.ledger, life.settled, lost)

    async def _life(self, ledger: str, settled: int, lost: str) -> None:
        while (after := charged_up_to(self.state(), ledger)) < settled:
            said = await self.ask(AskCharge(ledger=ledger, after=after))
            if not isinstance(said, Charges) or said.charge is None:
                return
            if said.charge.missing:
                log.error(
                    "%d requests of the ledger's life `%s` are in no account: the ledger had removed them when the "
                    "factory's journal was put back to before they were charged",
                    said.charge.missing,
                    ledger,
                )
            if not await self.charge(said.charge, lost if after == 0 else ""):
                return
