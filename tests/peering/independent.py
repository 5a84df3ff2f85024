"""A second implementation of the signed envelope, from docs/protocol.md alone: Ed25519, and nothing of ours."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

COVERS = (
    "@method", "@path", "content-digest", "content-type", "tawtin-sender", "tawtin-recipient", "tawtin-version",
)  # fmt: skip
ANSWER_COVERS = (
    '("@status" "content-digest" "content-type" "tawtin-sender" "tawtin-recipient" '
    '"@path";req "signature";req'
)


class Party:
    """Somebody with a name and a key."""

    def __init__(self, name: str, seed: bytes) -> None:
        self.name = name
        self.private = Ed25519PrivateKey.from_private_bytes(seed)
        self.key = base64.b64encode(self.private.public_key().public_bytes_raw()).decode()

    def request(
        self, path: str, recipient: str, messages: list[dict[str, Any]], *, created: int, nonce: str
    ) -> tuple[bytes, dict[str, str]]:
        """The body and headers of a signed POST."""
        body = json.dumps(
            {"messages": messages, "version": 1}, sort_keys=True, separators=(",", ":")
        ).encode()
        values = {
            "@method": "POST",
            "@path": path,
            "content-digest": digest(body),
            "content-type": "application/json",
            "tawtin-sender": self.name,
            "tawtin-recipient": recipient,
            "tawtin-version": "1",
        }
        covered = " ".join(f'"{name}"' for name in COVERS)
        about = f'created={created};keyid="{self.key}";alg="ed25519";nonce="{nonce}";tag="tawtin-peer-1"'
        parameters = f"({covered});{about}"
        lines = [f'"{name}": {values[name]}' for name in COVERS]
        base = "\n".join([*lines, f'"@signature-params": {parameters}'])
        signature = base64.b64encode(self.private.sign(base.encode())).decode()
        headers = {name: value for name, value in values.items() if not name.startswith("@")}
        headers["signature-input"] = f"tawtin={parameters}"
        headers["signature"] = f"tawtin=:{signature}:"
        return body, headers


def answer_holds(
    asked: dict[str, str], path: str, status: int, headers: dict[str, str], body: bytes, key: str
) -> bool:
    """Whether this is the answer of the holder of `key` to the request with the headers `asked`."""
    given = {name.lower(): value for name, value in headers.items()}
    parameters = given["signature-input"].removeprefix("tawtin=")
    if not parameters.startswith(ANSWER_COVERS) or given["content-digest"] != digest(body):
        return False
    values = {
        '"@status"': str(status),
        '"content-digest"': given["content-digest"],
        '"content-type"': given["content-type"],
        '"tawtin-sender"': given["tawtin-sender"],
        '"tawtin-recipient"': given["tawtin-recipient"],
        '"@path";req': path,
        '"signature";req': asked["signature"],
    }
    lines = [f"{name}: {value}" for name, value in values.items()]
    base = "\n".join([*lines, f'"@signature-params": {parameters}'])
    signature = base64.b64decode(given["signature"].removeprefix("tawtin=:").removesuffix(":"))
    try:
        Ed25519PublicKey.from_public_bytes(base64.b64decode(key)).verify(signature, base.encode())
    except Exception:  # noqa: BLE001 - whatever is wrong with it, it does not hold
        return False
    return True


def digest(body: bytes) -> str:
    """RFC 9530."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"
