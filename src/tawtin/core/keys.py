"""What a key looks like as its holder sends it: `twk_<26 characters>_<secret>`."""

from __future__ import annotations

import hashlib
from typing import Final

PREFIX: Final = "twk"


def read_token(token: str) -> tuple[str, str] | None:
    """The id of the key and the SHA-256 of the secret, hexadecimal; None for what is no token."""
    prefix, _, rest = token.partition("_")
    short, _, secret = rest.partition("_")
    if prefix != PREFIX or not secret or not secret.isascii():
        return None
    return f"key-{short}", hashlib.sha256(secret.encode()).hexdigest()
