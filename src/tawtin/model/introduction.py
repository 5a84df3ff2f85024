"""How two factories that do not know each other yet become peers: what crosses between them, once each."""

from __future__ import annotations

from typing import Annotated

import msgspec

from tawtin.model.base import Record
from tawtin.model.roaming import VERSION, Digest, Terms, Words
from tawtin.model.site import FactoryName

Secret = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}$")]
"""128 bits that were drawn for this and serve once."""


class Party(Record, frozen=True, kw_only=True):
    """What a factory says of itself."""

    name: FactoryName
    country: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{2}$")]
    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}$")]
    key: Words
    """Its public Ed25519 key, base64."""
    address: Words
    """Where it listens."""


class Invitation(Record, frozen=True, kw_only=True):
    """What one operator hands to another: it serves once, and whoever has it may try."""

    version: Annotated[int, msgspec.Meta(ge=1)] = VERSION
    factory: FactoryName
    address: Words
    secret: Secret
    ends_ms: int


class Join(Record, frozen=True, kw_only=True, tag="join", tag_field="step"):
    """Guest to host, first: who it is, and a promise of a nonce that it does not tell yet."""

    version: Annotated[int, msgspec.Meta(ge=1)] = VERSION
    invitation: Digest
    """SHA-256 of the secret."""
    party: Party
    commitment: Digest


class Joined(Record, frozen=True, kw_only=True):
    """The host's answer: who it is, its nonce, and the terms of leases, which are the same on both sides."""

    party: Party
    nonce: Secret
    terms: Terms = Terms()


class Reveal(Record, frozen=True, kw_only=True, tag="reveal", tag_field="step"):
    """Guest to host, second: the nonce that it promised."""

    version: Annotated[int, msgspec.Meta(ge=1)] = VERSION
    invitation: Digest
    nonce: Secret


class Revealed(Record, frozen=True, kw_only=True):
    """The host has it, and its operator is shown the digits."""


class Introduction(Record, frozen=True, kw_only=True):
    """An invitation, or one that was taken up, as its operator sees it."""

    id: str
    ours: bool
    """Whether we invited; else they did."""
    party: Party | None = None
    """Who it is, by its own word; None while nobody took the invitation up."""
    say: str = ""
    """Six digits for us to read to the other operator; empty while they are not known."""
    ends_ms: int
    terms: Terms = Terms()
    """Of leases, for both sides; those of who invited, once they are known."""
