"""What an operator can set about sign-in by OpenID Connect."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec

from tawtin.model.base import Record
from tawtin.model.tenant import Scope

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class OidcGrant(Record, frozen=True, kw_only=True):
    """`[[console.oidc.grants]]`: what people with one value of one claim get."""

    value: Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
    """The value of the claim, or one of its values if it is a list, letter by letter."""
    claim: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] = "groups"
    """The claim of the identity token; a dot leads into an object, as in `realm_access.roles`."""
    tenant: Annotated[str, msgspec.Meta(min_length=1, max_length=63)]
    """The tenant that they act for; nobody gets in by this grant while there is none of that id."""
    scope: Scope
    """What they may do, as with a key: `audit`, `read`, `submit`, `tenant` or `admin`."""


class OidcSettings(Record, frozen=True, kw_only=True):
    """`console.oidc`: sign-in by OpenID Connect. It needs the extra `oidc`."""

    issuer: str = ""
    """The provider, as its discovery document names itself: `https`, or `http` on loopback. Empty for none."""
    client_id: str = ""
    """What the provider knows this factory as."""
    client_secret_file: str = ""
    """A file with the client's secret, relative to this file; empty for a client without one."""
    address: str = ""
    """Where browsers find this factory, such as `https://ai.example.org`; empty for what each asked for. The provider
    has to know `/console/oidc/callback` below it."""
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    """What the provider is asked for; `openid` has to be among them."""
    grants: tuple[OidcGrant, ...] = ()
    """Who gets in, as `[[console.oidc.grants]]` with `claim` (`groups` unless said), `value`, `tenant` and `scope`. The
    first that fits counts, and nobody gets in whom none fits. A claim `email` counts only with `email_verified`."""
    blocked: tuple[str, ...] = ()
    """Subjects (`sub`) who do not get in, whatever fits them."""
    button: Annotated[str, msgspec.Meta(max_length=80)] = ""
    """What the button calls the provider; empty for the host of the issuer."""
    ca_file: str = ""
    """Authorities for the provider's address, relative to this file; empty for the system's."""
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=60)] = 10.0
    """How long one answer of the provider may take."""
    answer_bytes_max: Annotated[int, msgspec.Meta(ge=1024, le=16 << 20)] = 256 << 10
    """The longest answer that is read from it."""
    keys_seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 3_600
    """How long its discovery document and keys count. A token with a key that is not known has them fetched anew."""
    sign_in_seconds: Annotated[int, msgspec.Meta(ge=30, le=3_600)] = 600
    """How long somebody may take at the provider."""
    skew_seconds: Annotated[int, msgspec.Meta(ge=0, le=300)] = 60
    """How far the provider's clock may be from this factory's."""


def safe_url(url: str) -> bool:
    """Whether an address may be trusted with codes and secrets: over TLS, or on this machine."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    plain = (
        url.isascii() and url.isprintable() and " " not in url and not parts.username and not parts.fragment
    )
    known = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    return plain and known and bool(parts.hostname) and port != 0


def unsound(settings: OidcSettings) -> str:
    """What does not fit, as `field: why`; empty if all does."""
    if not settings.issuer:
        given = [name for name in ("client_id", "grants") if getattr(settings, name)]
        return (
            f"console.oidc.{given[0]}: there is no `issuer` to go with it: name the provider" if given else ""
        )
    if not safe_url(settings.issuer) or "?" in settings.issuer:
        return "console.oidc.issuer: has to be an `https` address without `?` and `#`, or `http` on loopback"
    if settings.address and (not safe_url(settings.address) or urlsplit(settings.address).path.strip("/")):
        return "console.oidc.address: has to be `https://` and a host, without a path, or `http` on loopback"
    if not settings.client_id:
        return "console.oidc.client_id: is missing: give what the provider knows this factory as"
    if not settings.grants:
        return "console.oidc.grants: nobody would get in: say who does, in [[console.oidc.grants]]"
    if "openid" not in settings.scopes:
        return "console.oidc.scopes: `openid` has to be among them"
    return ""
