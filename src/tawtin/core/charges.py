"""What the gateway settled, into the accounts: each settlement once, whatever dies and whatever is put back.

The ledger numbers what it settles, in each of its lives anew. The state knows for each life up to which number it has
charged, and an event that charges more has to continue exactly there. So an event that is made twice is refused, what a
crash took back is asked for again, and a ledger that lost its file, or has an older copy of it, goes on under a new
life, of which nothing is charged yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from tawtin.core import accounts
from tawtin.core.chain import Chain, leaf_hash
from tawtin.core.keep import fail, keep
from tawtin.model.gateway import Charge, Charged, Settlement, TokensUsed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tawtin.core.state import State
    from tawtin.model.base import Record
    from tawtin.model.events import TokensCharged

_Place = tuple[str, str, str, str, str]
LINES_MAX: Final = 1_000
"""So many lines has a charge at most; what is more goes into the next one."""
_encode: Final = msgspec.json.Encoder(order="sorted").encode


def leaf(settlement: Settlement) -> bytes:
    """The hash of a settlement as a leaf of the tree of its charge."""
    return leaf_hash(_encode(settlement))


def gathered(ledger: str, after: int, settlements: Iterable[Settlement], removed: int = 0) -> Charge | None:
    """The charge for these settlements of one life, numbers rising, all above `after`; None if there is nothing.

    Numbers between `after` and the first one that are not there count as missing; without any settlement, those up to
    `removed`, the number of the last one that the ledger has given up.
    """
    up_to = after
    lines: dict[_Place, list[int]] = {}
    leaves: list[bytes] = []
    for each in settlements:
        place = (each.tenant, each.month, each.model, each.country, each.provider)
        sums = lines.get(place)
        if sums is None:
            if len(lines) == LINES_MAX:
                break
            sums = lines[place] = [0, 0, 0, 0, 0]
        amounts = (1, each.tokens_in, each.tokens_out, int(each.estimated), each.cost_micro)
        for at, amount in enumerate(amounts):
            sums[at] += amount
        leaves.append(leaf(each))
        up_to = each.seq
    if not leaves:
        up_to = max(after, removed)
    if up_to == after:
        return None
    return Charge(
        ledger=ledger,
        after=after,
        up_to=up_to,
        missing=up_to - after - len(leaves),
        lines=tuple(_line(place, sums) for place, sums in sorted(lines.items())),
        root=Chain().extended(leaves).root().hex(),
    )


def _line(place: _Place, sums: list[int]) -> TokensUsed:
    tenant, month, model, country, provider = place
    requests, tokens_in, tokens_out, estimated, cost_micro = sums
    return TokensUsed(
        tenant=tenant,
        month=month,
        model=model,
        country=country,
        provider=provider,
        requests=requests,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        estimated=estimated,
        cost_micro=cost_micro,
    )


def charged_up_to(state: State, ledger: str) -> int:
    """The number of the last settlement of this life that is in the accounts; 0 if none is."""
    known = state.charged.get(ledger)
    return known.seq if known is not None else 0


def charged_last(state: State) -> Charged | None:
    """The life that was charged last."""
    return max(state.charged.values(), key=lambda each: each.entry, default=None)


def continues(state: State, charge: Charge) -> bool:
    """Whether a charge begins exactly where the accounts end."""
    return charge.after == charged_up_to(state, charge.ledger) and charge.up_to > charge.after


def tokens_charged(state: State, event: TokensCharged, _at_ms: int) -> None:
    """Add a charge to the accounts. Raises FoldError if it does not continue them, or does not add up."""
    charge = event.charge
    if not continues(state, charge):
        known = charged_up_to(state, charge.ledger)
        fail(
            f"a charge from {charge.after} to {charge.up_to} does not continue what is charged up to {known}"
        )
    settled = sum(line.requests for line in charge.lines)
    if settled + charge.missing != charge.up_to - charge.after:
        fail(f"a charge of {charge.up_to - charge.after} settlements tells of {settled + charge.missing}")
    old = state.charged.get(charge.ledger)
    for line in charge.lines:
        _put(state, accounts.with_tokens(state.accounts.get((line.tenant, line.month)), line))
    charged = Charged(
        ledger=charge.ledger,
        seq=charge.up_to,
        missing=charge.missing + (old.missing if old is not None else 0),
        entry=state.seq,
        instead_of=event.instead_of or (old.instead_of if old is not None else ""),
    )
    _put(state, charged)


def _put(state: State, record: Record) -> None:
    state.changed[keep(state, record)] = record
