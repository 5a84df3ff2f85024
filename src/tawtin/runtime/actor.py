"""Who asks: a key that was recognised, and what it may do."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from tawtin.core.keys import PREFIX, read_token
from tawtin.model.base import Record
from tawtin.model.ids import RANDOM_BITS, make_id
from tawtin.model.tenant import ApiKey, Scope
from tawtin.model.views import NewKey
from tawtin.runtime.errors import Denied, NotFound

if TYPE_CHECKING:
    from tawtin.core.state import State
    from tawtin.ports import Entropy

SECRET_BITS: Final = 256
SCOPES: Final = tuple(Scope)
"""The narrowest first."""


class Actor(Record, frozen=True, kw_only=True):
    """A caller."""

    key: str
    tenant: str
    scope: Scope
    owner: bool = False
    person: bool = False
    """Whether `key` names a person who signed in to the console by themselves, and no key."""

    @property
    def admin(self) -> bool:
        """Whether it operates the factory."""
        return self.scope is Scope.ADMIN

    @property
    def overlooks(self) -> bool:
        """Whether it sees what concerns other tenants as well."""
        return self.scope in {Scope.ADMIN, Scope.AUDIT}

    def may(self, scope: Scope) -> bool:
        """Whether the key has this scope, or a wider one."""
        return SCOPES.index(self.scope) >= SCOPES.index(scope)

    def need(self, scope: Scope) -> None:
        """Raise Denied unless the key has this scope, or a wider one."""
        if not self.may(scope):
            what = "your sign-in" if self.person else "this key"
            then = "the operator for it" if self.person else "for such a key"
            msg = f"{what} has scope `{self.scope}` and this needs `{scope}`: ask {then}"
            raise Denied(msg)

    def about(self, tenant: str | None) -> str:
        """The tenant that a request is about: its own, or another one if it sees all of them. Raises NotFound."""
        if tenant is None or tenant == self.tenant:
            return self.tenant
        if not self.overlooks:
            msg = f"no tenant `{tenant}`"
            raise NotFound(msg)
        return tenant


def new_key(
    *, tenant: str, name: str, scope: Scope, now_ms: int, expires_ms: int | None, entropy: Entropy
) -> tuple[ApiKey, NewKey]:
    """Make a key: the record that is kept, and the secret that is shown once."""
    key_id = make_id("key", now_ms, entropy.bits(RANDOM_BITS))
    secret = f"{entropy.bits(SECRET_BITS):064x}"
    kept = ApiKey(
        id=key_id,
        tenant=tenant,
        name=name,
        scope=scope,
        secret_sha256=hashlib.sha256(secret.encode()).hexdigest(),
        created_ms=now_ms,
        expires_ms=expires_ms,
    )
    token = f"{PREFIX}_{key_id.removeprefix('key-')}_{secret}"
    shown = NewKey(id=key_id, tenant=tenant, name=name, scope=scope, expires_ms=expires_ms, secret=token)
    return kept, shown


def authenticate(state: State, token: str, now_ms: int) -> Actor | None:
    """Return who holds this token, or None if nobody does any more. Takes the same time for any wrong secret."""
    read = read_token(token)
    key = state.keys.get(read[0]) if read is not None else None
    if read is None or key is None or not hmac.compare_digest(read[1], key.secret_sha256):
        return None
    return holder(state, key.id, now_ms)


def holder(state: State, key_id: str, now_ms: int) -> Actor | None:
    """Return who holds the key with this id, or None if nobody does any more."""
    key = state.keys.get(key_id)
    if key is None:
        return None
    tenant = state.tenants.get(key.tenant)
    expired = key.expires_ms is not None and key.expires_ms <= now_ms
    if tenant is None or tenant.closed or expired or key.revoked_ms is not None:
        return None
    return Actor(key=key.id, tenant=key.tenant, scope=key.scope, owner=tenant.owner)
