"""A second implementation of the signed envelope and of receipts, from docs/protocol.md alone: nothing of ours."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from contextlib import suppress
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ENDS = '"content-digest" "content-type" "tawtin-sender" "tawtin-recipient"'
REQUEST, ANSWER = (
    f'"@method" "@path" {ENDS} "tawtin-version"',
    f'"@status" {ENDS} "@path";req "signature";req',
)
SHAPE = {"gpu_model": "", "gpus": 0, "cpus_milli": 1000, "memory_mib": 1024, "disk_mib": 0}
RATE = {"currency": "MAD", "minor_per_gpu_hour": 0, "minor_per_cpu_hour": 0}
SCALE = 3_600_000_000
Json = dict[str, Any]
Headers = dict[str, str]


def digest(body: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def canonical(value: Json) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def wait_ms(lease_ms: int, home_ppm: int, visited_ppm: int) -> int:
    return -(-lease_ms * (1_000_000 + home_ppm) // (1_000_000 - visited_ppm)) + 1


def full(receipt: Json) -> Json:
    """A receipt with what was left out of its shape and its rate."""
    return {**receipt, "shape": {**SHAPE, **receipt["shape"]}, "rate": {**RATE, **receipt["rate"]}}


def cost_minor(receipt: Json) -> int:
    shape, rate, usage = full(receipt)["shape"], full(receipt)["rate"], receipt["usage"]
    cost = usage.get("gpu_ms", 0) * 1000 * rate["minor_per_gpu_hour"]
    cost += shape["cpus_milli"] * receipt["nodes"] * usage.get("wall_ms", 0) * rate["minor_per_cpu_hour"]
    return (2 * cost + SCALE) // (2 * SCALE)


def covered(headers: Headers, path: str, asked: Headers | None = None, **said: str) -> Headers:
    """What can be signed of a request, or of the answer to the one that was `asked`: component -> value."""
    own = {'"@method"': said.get("method", "POST"), '"@path"': path}
    if asked is not None:
        own = {'"@status"': said["status"], '"@path";req': path, '"signature";req': asked["signature"]}
    return {f'"{name}"': value for name, value in headers.items()} | own


def base_of(values: Headers, components: str, parameters: str) -> bytes:
    lines = [f"{name}: {values[name]}" for name in components.split(" ")]
    return "\n".join([*lines, f'"@signature-params": {parameters}']).encode()


def holds(key: str, signature: str, body: bytes) -> bool:
    with suppress(InvalidSignature, ValueError):
        Ed25519PublicKey.from_public_bytes(base64.b64decode(key)).verify(base64.b64decode(signature), body)
        return True
    return False


def opened(values: Headers, wanted: str, key: str, body: bytes) -> Headers:
    """The parameters of a signature that holds, else nothing."""
    found = re.fullmatch(r"tawtin=(\(([^)]*)\)(.*))", values.get('"signature-input"', ""))
    if found is None or not set(wanted.split(" ")) <= set(found[2].split(" ")) <= set(values):
        return {}
    about = dict(re.findall(r';([a-z]+)="?([^";]*)"?', found[3]))
    signature = values.get('"signature"', "").removeprefix("tawtin=:").removesuffix(":")
    sound = holds(key, signature, base_of(values, found[2], found[1])) and about.get("tag") == "tawtin-peer-1"
    return about if sound and values['"content-digest"'] == digest(body) else {}


class Party:
    """Somebody with a name and a key, who knows the keys of others."""

    def __init__(self, name: str, seed: bytes, began: int = 0) -> None:
        self.name, self.began, self.private = name, began, Ed25519PrivateKey.from_private_bytes(seed)
        self.key = base64.b64encode(self.private.public_key().public_bytes_raw()).decode()
        self.keys: Headers = {}
        self.nonces: set[tuple[str, str]] = set()

    def sign(self, body: bytes) -> str:
        return base64.b64encode(self.private.sign(body)).decode()

    def signed(self, to: str, path: str, body: bytes, about: str, asked: Headers | None = None) -> Headers:
        """The headers of a request, or of the answer to the one that was `asked`."""
        ends = {"tawtin-sender": self.name, "tawtin-recipient": to, "tawtin-version": "1"}
        headers = {"content-type": "application/json", "content-digest": digest(body), **ends}
        covers = ANSWER if asked else REQUEST
        parameters = f'({covers});{about};keyid="{self.key}";alg="ed25519";tag="tawtin-peer-1"'
        signature = self.sign(base_of(covered(headers, path, asked, status="200"), covers, parameters))
        return {**headers, "signature-input": f"tawtin={parameters}", "signature": f"tawtin=:{signature}:"}

    def refusal(self, method: str, path: str, headers: Headers, body: bytes, now: int) -> str:
        """Why a request is not taken in; empty if it is."""
        sender = headers.get("tawtin-sender", "")
        about = opened(covered(headers, path, method=method), REQUEST, self.keys.get(sender, ""), body)
        created, nonce = int(about.get("created", "0")), about.get("nonce", "")
        wrong = {
            "TooLarge": len(body) > 1 << 20,
            "Unsigned": not sender or not headers.keys() >= {"signature", "signature-input"},
            "UnknownSender": sender not in self.keys,
            "BadSignature": not re.fullmatch("[0-9a-f]{32}", nonce),
            "WrongRecipient": headers.get("tawtin-recipient") != self.name,
            "WrongVersion": headers.get("tawtin-version") != "1",
            "TooOld": not -30 <= now - created <= 150 or created < self.began,
            "Replayed": (sender, nonce) in self.nonces,
        }
        self.nonces |= set() if any(wrong.values()) else {(sender, nonce)}
        return next((token for token, is_so in wrong.items() if is_so), "")

    def is_answer(self, asked: Headers, path: str, status: int, headers: Headers, body: bytes) -> bool:
        """Whether this is what the recipient of the request `asked` answered to it."""
        peer = asked["tawtin-recipient"]
        about = opened(covered(headers, path, asked, status=str(status)), ANSWER, self.keys[peer], body)
        return bool(about) and (headers["tawtin-sender"], headers["tawtin-recipient"]) == (peer, self.name)
