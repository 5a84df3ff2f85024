"""A factory's identity: one Ed25519 key, made at its first start and kept for its owner's eyes only.

Peers know the public key, base64 of its 32 bytes. The private one is PEM (PKCS 8) in a file that nobody else may read;
it never appears in a log or an error.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

if TYPE_CHECKING:
    from pathlib import Path

FILE: Final = "factory.key"
_KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64


class IdentityError(Exception):
    """The identity cannot be used; the message says why and what to do."""


class Identity:
    """What this factory signs with, and how it checks the signatures of others: a `ports.Signer`."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.key = base64.b64encode(private.public_key().public_bytes_raw()).decode()
        """Its public key, base64."""

    def __repr__(self) -> str:
        return f"Identity({self.key})"

    @property
    def private(self) -> Ed25519PrivateKey:
        """For the library that signs requests."""
        return self._private

    def sign(self, body: bytes) -> str:
        """The signature over `body`, base64."""
        return base64.b64encode(self._private.sign(body)).decode()

    def verify(self, key: str, body: bytes, signature: str) -> bool:
        """Whether `signature` is that of `key` over `body`. Never raises."""
        public, raw = public_key(key), decoded(signature, _SIGNATURE_BYTES)
        if public is None or raw is None:
            return False
        try:
            public.verify(raw, body)
        except InvalidSignature:
            return False
        return True


def public_key(key: str) -> Ed25519PublicKey | None:
    """The public key in base64; None for what is none."""
    raw = decoded(key, _KEY_BYTES)
    return Ed25519PublicKey.from_public_bytes(raw) if raw is not None else None


def decoded(text: str, size_bytes: int) -> bytes | None:
    """Strict base64 of so many bytes; None for anything else."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == size_bytes and base64.b64encode(raw).decode() == text else None


def fingerprint(key: str) -> str:
    """SHA-256 of a public key, in groups of four that people can compare."""
    digest = hashlib.sha256(key.encode()).hexdigest()[:32]
    return " ".join(digest[at : at + 4] for at in range(0, len(digest), 4))


def open_identity(folder: Path) -> Identity:
    """Read the identity in a data folder, or make it there. Raises IdentityError."""
    path = folder / FILE
    if not path.exists():
        _make(path)
    try:
        if path.stat().st_mode & 0o077:
            msg = f"`{path}` can be read by others: chmod 600 it, or make a new identity if somebody did"
            raise IdentityError(msg)
        private = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
        msg = f"`{path}` holds no private key: restore it from a backup; peers know no other"
        raise IdentityError(msg) from None
    if not isinstance(private, Ed25519PrivateKey):
        msg = f"`{path}` holds a key of another kind than Ed25519: restore it from a backup"
        raise IdentityError(msg)
    return Identity(private)


def _make(path: Path) -> None:
    """Write a new key whole, or not at all."""
    body = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    part = path.with_suffix(".part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        os.link(part, path)
    except FileExistsError:
        pass  # somebody made one at the same time, and that one counts
    except OSError as error:
        msg = f"the identity cannot be written to `{path}`: {error}"
        raise IdentityError(msg) from None
    finally:
        part.unlink(missing_ok=True)
