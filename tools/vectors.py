"""Write the test vectors of the protocol between factories, and its JSON Schema, into `docs/vectors`.

`python -m tools.vectors` writes them; the same code gives the same bytes, as Ed25519 draws no chance. The keys are
made from seeds that everybody can read: they are for tests, and for nothing else.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tawtin.core.handshake import timing
from tawtin.model.introduction import Invitation, Join, Joined, Party, Reveal, Revealed
from tawtin.model.roaming import FileAsk, LogAsk, Piece, RenewOk
from tawtin.model.views import LogChunk
from tawtin.model.workload import Receipt
from tawtin.peering import introduction
from tawtin.peering.identity import Identity
from tawtin.peering.inbox import PATH, Envelope, Inbox, Taken, encode_envelope
from tawtin.peering.signing import BODY_BYTES_MAX, Request, Token, sign_request
from tools import vectors_roaming as roaming
from tools.vectors_roaming import HOME, HOME_SEED, MESSAGES, VISITED, VISITED_SEED, plain

FOLDER: Final = Path(__file__).resolve().parents[1] / "docs" / "vectors"
NOW_S: Final = 1_795_737_600
BEGAN_S: Final = NOW_S - 140
LAGOS_SEED: Final = b"tawtin test key, worth nothing 3"
URL: Final = f"http://nairobi.example{PATH}"
BODY: Final = encode_envelope((RenewOk(workload="wl-1", epoch=1, req="0" * 32),))
INTRODUCTION: Final = (Invitation, Join, Joined, Reveal, Revealed)
Json = dict[str, Any]
Headers = dict[str, str]


def identity(seed: bytes) -> Identity:
    """The key of a party."""
    return Identity(Ed25519PrivateKey.from_private_bytes(seed))


CASA: Final = identity(HOME_SEED)
NAIROBI: Final = identity(VISITED_SEED)
LAGOS: Final = identity(LAGOS_SEED)


def parties() -> list[Json]:
    """Who speaks here."""
    named = ((HOME, HOME_SEED), (VISITED, VISITED_SEED), ("Lagos", LAGOS_SEED))
    return [{"name": name, "seed": seed.hex(), "key": identity(seed).key} for name, seed in named]


def base_of(headers: Headers, own: Headers) -> tuple[str, str]:
    """The signature parameters in the headers, and the signature base that they give (RFC 9421, 2.5)."""
    found = re.fullmatch(r"tawtin=(\((.*?)\).*)", headers["signature-input"])
    if found is None:
        raise ValueError(headers["signature-input"])
    values = {f'"{name}"': value for name, value in headers.items()} | own
    lines = [f"{name}: {values[name]}" for name in found[2].split(" ")]
    return found[1], "\n".join([*lines, f'"@signature-params": {found[1]}'])


def request(
    name: str,
    *,
    refused: Token | str = "",
    key: Identity = CASA,
    sender: str = HOME,
    recipient: str = VISITED,
    nonce: str = "ab" * 16,
    age_s: int = 1,
) -> Json:
    """A signed request of ours."""
    headers = sign_request(
        key,
        method="POST",
        url=URL,
        body=BODY,
        sender=sender,
        recipient=recipient,
        nonce=nonce,
        now_s=NOW_S - age_s,
    )
    return case(name, headers, refused)


def case(name: str, headers: Headers, refused: Token | str = "", **more: object) -> Json:
    """A request, with the base that was signed."""
    own = {'"@method"': "POST", '"@path"': PATH}
    base = base_of(headers, own)[1] if "signature-input" in headers else ""
    asked: Json = {"name": name, "refused": str(refused), "method": "POST", "path": PATH, "headers": headers}
    return {**asked, "body": BODY.decode(), "signature_base": base, **more}


def signed_otherwise(name: str, refused: Token, change: Callable[[Headers], Headers]) -> Json:
    """A request whose headers were changed before they were signed, with the sender's own key."""
    headers = change(dict(request("")["headers"]))
    own = {'"@method"': "POST", '"@path"': PATH}
    signature = CASA.sign(base_of(headers, own)[1].encode())
    return case(name, {**headers, "signature": f"tawtin=:{signature}:"}, refused)


def input_with(old: str, new: str) -> Callable[[Headers], Headers]:
    """Change the signature input."""
    return lambda headers: {**headers, "signature-input": headers["signature-input"].replace(old, new, 1)}


def requests() -> list[Json]:
    """Requests to Nairobi, which knows the key of Casablanca and no other."""
    good = request("good")
    bare = {name: value for name, value in good["headers"].items() if not name.startswith("signature")}
    unnamed = {name: value for name, value in good["headers"].items() if name != "tawtin-sender"}
    large = {"character": "x", "times": BODY_BYTES_MAX + 1}
    return [
        good,
        request("as old as may be", nonce="01" * 16, age_s=140),
        request("as early as may be", nonce="02" * 16, age_s=-30),
        case("without a signature", bare, Token.UNSIGNED),
        {**case("without a sender", {}, Token.UNSIGNED), "headers": unnamed},
        request("a sender that is not known", refused=Token.UNKNOWN_SENDER, key=LAGOS, sender="Lagos"),
        request("signed by another key than the sender's", refused=Token.BAD_SIGNATURE, key=LAGOS),
        {**good, "name": "another body", "refused": "BadSignature", "body": BODY.decode() + " "},
        {**good, "name": "another path", "refused": "BadSignature", "path": "/peer/v1/log"},
        {**good, "name": "another method", "refused": "BadSignature", "method": "PUT"},
        signed_otherwise("the path is not covered", Token.BAD_SIGNATURE, input_with(' "@path"', "")),
        signed_otherwise("another tag", Token.BAD_SIGNATURE, input_with("tawtin-peer-1", "tawtin-peer-2")),
        request("a nonce of 64 bits", refused=Token.BAD_SIGNATURE, nonce="ab" * 8),
        request("for another factory", refused=Token.WRONG_RECIPIENT, recipient="Lagos"),
        signed_otherwise(
            "another version", Token.WRONG_VERSION, lambda headers: {**headers, "tawtin-version": "2"}
        ),
        {**request("too old", refused=Token.TOO_OLD, age_s=151), "began_s": 0},
        request("from the future", refused=Token.TOO_OLD, age_s=-31),
        request("signed before the recipient started", refused=Token.TOO_OLD, age_s=141),
        {**good, "name": "the same again", "refused": "Replayed", "after": "good"},
        {**case("too large", {}, Token.TOO_LARGE), "body": "", "body_of": large},
    ]


def answers() -> list[Json]:
    """What Nairobi answers to the request `good`, and what is no answer to it."""
    headers: Headers = request("good")["headers"]
    asked = Request("POST", URL, headers)
    body, answered = Inbox(VISITED, NAIROBI, lambda _: "", 0).answer(asked, Taken(taken=1), HOME, NOW_S)
    own = {'"@status"': "200", '"@path";req': PATH, '"signature";req': headers["signature"]}
    good: Json = {"name": "good", "holds": True, "of": "good", "status": 200, "headers": answered}
    good |= {"body": body.decode(), "signature_base": base_of(answered, own)[1]}
    return [
        good,
        {**good, "name": "another status", "holds": False, "status": 202},
        {**good, "name": "another body", "holds": False, "body": '{"taken":2}'},
        {**good, "name": "to another question", "holds": False, "of": "as old as may be"},
        {**good, "name": "not signed", "holds": False, "headers": {"content-type": "application/json"}},
        {**good, "name": "from another factory", "holds": False, "headers": _of_lagos(asked)},
    ]


def _of_lagos(asked: Request) -> Headers:
    return Inbox(VISITED, LAGOS, lambda _: "", 0).answer(asked, Taken(taken=1), HOME, NOW_S)[1]


def envelope() -> Json:
    """Requests and answers."""
    at: Json = {"recipient": VISITED, "known": [HOME], "now_s": NOW_S, "began_s": BEGAN_S}
    return {"parties": parties(), **at, "requests": requests(), "answers": answers()}


def times() -> Json:
    """When a lease is over."""
    leases = [
        (60_000, 10_000, 10_000),
        (60_000, 0, 0),
        (16_000, 10_000, 10_000),
        (1, 0, 1),
        (86_400_000, 1, 500_000),
    ]
    waits: list[Json] = [
        {
            "lease_ms": lease,
            "home_ppm": home,
            "visited_ppm": visited,
            "wait_ms": timing.wait_ms(lease, home_ppm=home, visited_ppm=visited),
        }
        for lease, home, visited in leases
    ]
    runs: list[Json] = [
        {
            "stamp_ms": stamp,
            "lease_ms": lease,
            "stop_ms": stop,
            "deadline_ms": timing.deadline_ms(stamp, lease, stop),
            "renew_every_ms": timing.renew_every_ms(lease, stop),
        }
        for stamp, lease, stop in ((1_000, 60_000, 15_000), (0, 16_000, 10_000), (5, 10_001, 10_000))
    ]
    return {"home": waits, "visited": runs}


def messages() -> Json:
    """One message of each kind, and what is none."""
    first = {"message": "renew_ok", "workload": "wl-1", "epoch": 1, "req": "0" * 32}
    wrong = {
        "an unknown field": {**first, "more": 1},
        "an unknown kind": {**first, "message": "renewed"},
        "no kind": {name: value for name, value in first.items() if name != "message"},
        "no `req`": {name: value for name, value in first.items() if name != "req"},
        "an epoch of 0": {**first, "epoch": 0},
        "an epoch that is text": {**first, "epoch": "1"},
        "an id that is a path": {**first, "workload": "../wl"},
        "a `req` of 64 bits": {**first, "req": "0" * 16},
        "null where a number is due": {**first, "epoch": None},
    }
    return {
        "messages": [plain(each) for each in MESSAGES],
        "wrong": [{"why": why, "message": each} for why, each in wrong.items()],
    }


def log() -> Json:
    """A piece of a log: what is asked, and what is answered."""
    chunk = LogChunk(offset=0, data=b"from afar\n", end=True)
    return {
        "ask": plain(LogAsk(workload="wl-1", epoch=1, offset=-100, limit=100)),
        "answer": plain(chunk),
        "text": chunk.data.decode(),
        "base64": base64.b64encode(chunk.data).decode(),
    }


def introduced() -> Json:
    """An introduction: Casablanca invited, Nairobi joins."""
    secret, host_nonce, guest_nonce = "0123456789abcdef" * 2, "0" * 31 + "1", "0" * 31 + "2"
    casa, nairobi = (
        Party(name=name, country=country, currency=currency, key=whose.key, address=address)
        for name, country, currency, whose, address in (
            (HOME, "MA", "MAD", CASA, "https://casablanca.example:8470"),
            (VISITED, "KE", "KES", NAIROBI, "https://nairobi.example:8470"),
        )
    )
    invitation = Invitation(factory=HOME, address=casa.address, secret=secret, ends_ms=NOW_S * 1000)
    name = introduction.named(secret)
    steps = [
        (
            msgspec.json.encode(
                Join(invitation=name, party=nairobi, commitment=introduction.promise(guest_nonce))
            ),
            msgspec.json.encode(Joined(party=casa, nonce=host_nonce)),
        ),
        (msgspec.json.encode(Reveal(invitation=name, nonce=guest_nonce)), msgspec.json.encode(Revealed())),
    ]
    host, guest = introduction.digits(*steps[0], guest_nonce)
    said: list[Json] = []
    for body, answer in steps:
        proof = introduction.prove(secret, "request", body)
        said.append(
            {
                "body": body.decode(),
                "proof": proof,
                "answer": answer.decode(),
                "answer_proof": introduction.prove(secret, proof, answer),
            }
        )
    return {
        "invitation": introduction.written(invitation),
        "secret": secret,
        "nonce": guest_nonce,
        "steps": said,
        "host_reads": host,
        "guest_reads": guest,
    }


def schema() -> Json:
    """JSON Schema of the bodies that cross."""
    kinds = [Envelope, Taken, LogAsk, LogChunk, FileAsk, Piece, Receipt, *INTRODUCTION]
    _, parts = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The bodies of the protocol between factories, version 1",
        "$ref": "#/$defs/Envelope",
        "$defs": {name: parts[name] for name in sorted(parts)},
    }


FILES: Final[dict[str, Callable[[], Json]]] = {
    "envelope.json": envelope,
    "receipt.json": lambda: {"parties": parties(), **roaming.receipts(CASA, NAIROBI)},
    "home.json": lambda: {"parties": parties(), **roaming.conversations(CASA, NAIROBI)},
    "messages.json": messages,
    "spec.json": roaming.specs,
    "log.json": log,
    "timing.json": times,
    "introduction.json": introduced,
    "schema.json": schema,
}


def text_of(name: str) -> str:
    """The content of a file."""
    return json.dumps(FILES[name](), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write them all."""
    FOLDER.mkdir(exist_ok=True)
    for name in FILES:
        (FOLDER / name).write_text(text_of(name), encoding="utf-8")


if __name__ == "__main__":
    main()
