"""Keys with which a page asks models in the name of the key, or the person, that is signed in.

A pass is known to the gateway as long as it is used, and to nobody else: it is made anew after a restart. What is asked
with it counts as if it were asked with the key itself, whose secret nobody here knows: the same tenant, limits, rules
and price. That of a person counts under their name, within the limits of the tenant.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from tawtin.core.keys import PREFIX
from tawtin.model.base import Record
from tawtin.model.ids import RANDOM_BITS, make_id
from tawtin.model.tenant import Scope

if TYPE_CHECKING:
    from tawtin.gateway.snapshot import Key
    from tawtin.runtime.actor import Actor
    from tawtin.runtime.service import Service

IDLE_MS: Final = 3_600_000
"""A pass ends when it was not asked for so long."""
PASSES_MAX: Final = 10_000
"""So many are held at one time; the one that was idle longest goes first."""
_SECRET_BITS: Final = 256


class _Pass(Record, frozen=True, kw_only=True):
    """One of them."""

    id: str
    key: str
    person: bool
    tenant: str
    secret: str
    used_ms: int


class Passes:
    """Those of one factory, in memory."""

    def __init__(self, service: Service) -> None:
        """There are none yet."""
        self.service = service
        self._held: dict[str, _Pass] = {}
        """By the id of the key that is signed in, the one that was used last at the end."""

    def token(self, actor: Actor) -> str:
        """What to send as `Authorization: Bearer`; the gateway knows it within two looks. Raises Denied."""
        actor.need(Scope.SUBMIT)
        now_ms = self.service.clock.now_ms()
        held = self._held.pop(actor.key, None)
        if held is None or held.tenant != actor.tenant or now_ms - held.used_ms > IDLE_MS:
            entropy = self.service.entropy
            held = _Pass(
                id=make_id("key", now_ms, entropy.bits(RANDOM_BITS)),
                key=actor.key,
                person=actor.person,
                tenant=actor.tenant,
                secret=f"{entropy.bits(_SECRET_BITS):064x}",
                used_ms=now_ms,
            )
        self._held[actor.key] = replace(held, used_ms=now_ms)
        while len(self._held) > PASSES_MAX:
            self._held.pop(next(iter(self._held)))
        return f"{PREFIX}_{held.id.removeprefix('key-')}_{held.secret}"

    def held(self) -> dict[str, Key]:
        """All that are in use, for the gateway's workers, which look at the keys that made them themselves."""
        # only here, as most factories serve no models
        from tawtin.gateway.snapshot import Key  # noqa: PLC0415

        now_ms = self.service.clock.now_ms()
        for name, each in list(self._held.items()):
            if now_ms - each.used_ms > IDLE_MS:
                del self._held[name]
        return {
            each.id: Key(
                tenant=each.tenant,
                sha256=hashlib.sha256(each.secret.encode()).hexdigest(),
                of=each.key,
                person=each.person,
            )
            for each in self._held.values()
        }
