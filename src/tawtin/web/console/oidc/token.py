"""Whether an identity token counts: who signed it, for whom, when, for which sign-in (OpenID Connect Core, 3.1.3.7)."""

from __future__ import annotations

import hmac
from typing import Any, Final, Literal, cast

import msgspec
from joserfc import jwt
from joserfc.errors import ClaimError, ExpiredTokenError, InvalidKeyIdError, JoseError, MissingClaimError
from joserfc.jwk import JWKRegistry, Key, KeySet

from tawtin.web.console.oidc.fetch import Away

ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519",
)  # fmt: skip
"""Signatures by a private key that the provider alone has."""
_TYPES: Final = frozenset({"RSA", "EC", "OKP"})
_TIMES: Final = frozenset({"exp", "iat", "nbf"})
_KEYS_MAX: Final = 100
_TOKEN_CHARS_MAX: Final = 64 << 10
Fault = Literal["code", "clock", "nonce", "token"]


class Rejected(Exception):
    """A code or a token does not count; `fault` is the kind of mistake, the message is for the factory's log."""

    def __init__(self, fault: Fault, message: str) -> None:
        """Keep both."""
        super().__init__(message)
        self.fault: Fault = fault


class UnknownKey(Exception):
    """The token was signed by a key that is not known: it may be a new one."""


class _Jwks(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


def keys_of(body: bytes) -> KeySet:
    """The public keys for signatures in a JSON Web Key Set, without those of unknown kinds. Raises Away."""
    try:
        given = msgspec.json.decode(body, type=_Jwks).keys[:_KEYS_MAX]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = f"its keys cannot be read: {error}"
        raise Away(msg) from None
    found: list[Key] = []
    for each in given:
        if each.get("kty") in _TYPES and each.get("use", "sig") == "sig":
            try:
                found.append(JWKRegistry.import_key(each))
            except (JoseError, ValueError, TypeError, KeyError):
                continue
    if not found:
        msg = "it has no key that can be used"
        raise Away(msg)
    return KeySet(found)


def verify(
    token: str, keys: KeySet, *, issuer: str, client: str, nonce: str, now_s: int, skew_s: int
) -> dict[str, Any]:
    """The claims of a token that counts at `now_s`, seconds UTC. Raises Rejected, and UnknownKey."""
    if len(token) > _TOKEN_CHARS_MAX:
        raise Rejected("token", "the token is too long")
    try:
        claims = jwt.decode(token, keys, algorithms=ALGORITHMS).claims
    except InvalidKeyIdError as error:
        raise UnknownKey from error
    except (JoseError, ValueError, TypeError, RecursionError) as error:
        raise Rejected("token", f"the token does not count: {error}") from error
    wanted = jwt.JWTClaimsRegistry(
        now=now_s,
        leeway=skew_s,
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": client},
        sub={"essential": True},
        exp={"essential": True},
        iat={"essential": True},
    )
    try:
        wanted.validate(claims)
    except ExpiredTokenError as error:
        raise Rejected(
            "clock", f"the token is over by this factory's clock: exp {claims.get('exp')}, now {now_s}"
        ) from error
    except ClaimError as error:
        late = error.claim in _TIMES and not isinstance(error, MissingClaimError)
        why = f"{error}: {error.claim} {str(claims.get(error.claim))[:200]}, now {now_s}"
        raise Rejected("clock" if late else "token", why) from error
    audience: Any = claims["aud"]
    if isinstance(audience, list) and len(cast("list[Any]", audience)) > 1 and claims.get("azp") != client:
        raise Rejected("token", "the token is for others as well, and was not made for this client")
    if claims.get("azp", client) != client:
        raise Rejected("token", "the token was made for another client")
    said: Any = claims.get("nonce")
    if not isinstance(said, str) or not hmac.compare_digest(said.encode(), nonce.encode()):
        raise Rejected("nonce", "the token is of another sign-in")
    return claims
