"""The localisation rate of a live factory: what its own accounts say, what it tells its peers, and what they told it.

Words of peers are kept in memory, the newest of each, however old it becomes: who shows them shows their age. After a
restart they are heard again within seconds. A run that was at a peer is in the accounts of both factories, so the
tenants under which peers run here are left out: their homes count them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tawtin.core.localisation import (
    rates,
    rates_of_countries,
    rates_of_factory,
    rates_of_network,
    refusal,
    told,
)
from tawtin.model.localisation import By, Heard
from tawtin.model.roaming import PeerState
from tawtin.model.views import Rates, Teller
from tawtin.runtime.roaming.lending import tenant_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tawtin.core.state import State
    from tawtin.model.localisation import Told
    from tawtin.model.tenant import Account
    from tawtin.model.views import Localised
    from tawtin.runtime.factory import Factory

COUNTED_MS: Final = 2_000
"""What peers are told is counted anew after so long."""
KNOWN: Final = (PeerState.ACTIVE, PeerState.LEAVING)


class Hearsay:
    """What is told, and what was heard. It outlives the state machine."""

    def __init__(self) -> None:
        """Nothing was heard yet."""
        self.heard: dict[str, Heard] = {}
        self.refused: dict[str, str] = {}
        """Why the present word of a peer is not taken in."""
        self._counted: tuple[int, Told] | None = None

    def hear(self, sender: str, said: Told | None, now_ms: int) -> None:
        """Take in what a peer says of itself. If it cannot be, its last good word stays, and why is kept beside it.

        A peer that says nothing any more leaves its last word to grow old.
        """
        self.refused.pop(sender, None)
        if said is None:
            return
        why = refusal(said, now_ms)
        if why:
            self.refused[sender] = why
        else:
            self.heard[sender] = Heard(told=said, heard_ms=now_ms)

    def tell(self, factory: Factory) -> Told:
        """What peers are told now, counted at most every `COUNTED_MS`."""
        at_ms = factory.clock.monotonic_ms()
        if self._counted is None or at_ms - self._counted[0] >= COUNTED_MS:
            self._counted = at_ms, told(own_rates(factory.state), factory.now_ms())
        return self._counted[1]


def own_rates(state: State, month: str = "") -> tuple[Localised, ...]:
    """The rate of this factory's own tenants together, by month; of one month if it is given."""
    accounts = (each for each in _own(state) if not month or each.month == month)
    return rates_of_factory(accounts, _homes(state), state.site.country, state.site.name)


def rates_by(
    state: State, hearsay: Hearsay | None, by: By, accounts: Iterable[Account], now_ms: int
) -> Rates:
    """The rates that are asked for, from accounts of any tenants; those of guests are left out."""
    guests = _guests(state)
    accounts = tuple(each for each in accounts if each.tenant not in guests)
    homes, site = _homes(state), state.site
    peers: tuple[Teller, ...] = ()
    match by:
        case By.TENANT:
            items = rates(accounts, homes, site.country)
        case By.COUNTRY:
            items = rates_of_countries(accounts, homes, site.country)
        case By.FACTORY:
            items = rates_of_factory(accounts, homes, site.country, site.name)
        case By.NETWORK:
            known = {each.name: each for each in state.peers.values() if each.state in KNOWN}
            heard = hearsay.heard if hearsay is not None else {}
            refused = hearsay.refused if hearsay is not None else {}
            own = rates_of_factory(accounts, homes, site.country, site.name)
            items = rates_of_network(
                own,
                {name: word for name, word in heard.items() if name in known},
                {name: each.country for name, each in known.items()},
            )
            peers = tuple(
                _teller(name, known[name].country, heard.get(name), refused.get(name, ""), now_ms)
                for name in sorted(known)
            )
    return Rates(by=by, items=items, peers=peers)


def _teller(name: str, country: str, word: Heard | None, refused: str, now_ms: int) -> Teller:
    heard_ms = word.heard_ms if word is not None else None
    age_ms = max(0, now_ms - heard_ms) if heard_ms is not None else None
    return Teller(factory=name, country=country, heard_ms=heard_ms, age_ms=age_ms, refused=refused)


def _own(state: State) -> Iterable[Account]:
    guests = _guests(state)
    return (each for each in list(state.accounts.values()) if each.tenant not in guests)


def _guests(state: State) -> frozenset[str]:
    """The tenants under which peers run here, those that have left included."""
    return frozenset(tenant_of(name) for name in list(state.peers))


def _homes(state: State) -> dict[str, str]:
    return {each.id: each.country for each in list(state.tenants.values()) if each.country}
