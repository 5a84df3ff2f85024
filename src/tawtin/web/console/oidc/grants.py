"""Which tenant and role somebody gets by the claims of an identity token.

A session keeps marks of those claims alone that some grant names. What they come to is looked up at each request, so
that changed settings count for sessions that are open too.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

from tawtin.runtime.actor import Actor

if TYPE_CHECKING:
    from tawtin.core.state import State
    from tawtin.web.console.oidc.settings import OidcGrant, OidcSettings
    from tawtin.web.console.session import Person

_MARK_CHARS: Final = 22
MARKS_MAX: Final = 16
SUBJECT_CHARS_MAX: Final = 255


def mark_of(settings: OidcSettings, grant: OidcGrant) -> str:
    """A name for a claim and its value. Another provider, or client, has other ones."""
    parts = (settings.issuer, settings.client_id, grant.claim, grant.value)
    whole = hashlib.sha256(b"".join(b"%d:%s" % (len(each.encode()), each.encode()) for each in parts))
    return whole.hexdigest()[:_MARK_CHARS]


def marks(settings: OidcSettings, claims: dict[str, Any]) -> tuple[str, ...]:
    """The marks of grants that fit these claims, in the order of the settings."""
    fits = [mark_of(settings, each) for each in settings.grants if each.value in _values(claims, each.claim)]
    return tuple(dict.fromkeys(fits))[:MARKS_MAX]


def actor_of(settings: OidcSettings, state: State, person: Person) -> Actor | None:
    """Who somebody is to this factory now; None for nobody."""
    if person.subject in settings.blocked:
        return None
    for grant in settings.grants:
        tenant = state.tenants.get(grant.tenant)
        if mark_of(settings, grant) in person.marks and tenant is not None and not tenant.closed:
            name = f"oidc:{person.subject}@{urlsplit(settings.issuer).netloc}"
            return Actor(key=name, tenant=tenant.id, scope=grant.scope, owner=tenant.owner, person=True)
    return None


def _values(claims: dict[str, Any], name: str) -> tuple[str, ...]:
    """The values of a claim; none of an address that the provider did not verify."""
    if name == "email" and claims.get("email_verified") is not True:
        return ()
    found: Any = claims.get(name)
    if found is None and "." in name:
        found = claims
        for part in name.split("."):
            found = cast("dict[str, Any]", found).get(part) if isinstance(found, dict) else None
    if isinstance(found, str):
        return (found,)
    if isinstance(found, list):
        return tuple(each for each in cast("list[Any]", found) if isinstance(each, str))
    return ()
