"""Invitations and digits: what they are made of, and that nobody in between gets the same ones on both sides."""

from __future__ import annotations

import hashlib

import msgspec
import pytest

from tawtin.model.introduction import Invitation, Join, Joined, Party
from tawtin.peering import introduction as intro

SECRET, NONCE = "0123456789abcdef" * 2, "fedcba9876543210" * 2
INVITATION = Invitation(factory="Cape Town", address="https://ct.example:8470", secret=SECRET, ends_ms=1)


def party(name: str, key: str) -> Party:
    return Party(name=name, country="ZA", currency="ZAR", key=key, address="https://ct.example")


def test_an_invitation_is_one_word_that_survives_a_mail():
    word = intro.written(INVITATION)
    assert word.split() == [word]
    assert intro.read_invitation(f"  {word[:40]}\r\n  {word[40:]} ") == INVITATION


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "hello",
        intro.PREFIX,
        intro.PREFIX + "%%%",
        intro.written(INVITATION)[:-3],
        intro.PREFIX + "e30",
        "é" * 9,
    ],
)
def test_what_is_no_invitation_is_said_to_be_none(wrong: str):
    with pytest.raises(intro.NoInvitation, match="whole of it"):
        intro.read_invitation(wrong)


def test_the_digits_are_those_of_the_protocol():
    """Made here from docs/protocol.md alone."""
    join, joined = b'{"step":"join"}', b'{"party":{}}'
    lines = [
        "tawtin-introduction-1",
        hashlib.sha256(join).hexdigest(),
        hashlib.sha256(joined).hexdigest(),
        NONCE,
    ]
    digest = hashlib.sha256("".join(line + "\n" for line in lines).encode()).digest()
    number = int.from_bytes(digest[:8], "big")
    assert intro.digits(join, joined, NONCE) == (f"{number % 10**6:06d}", f"{number // 10**6 % 10**6:06d}")


def test_keys_that_were_exchanged_for_others_give_other_digits():
    host, guest, between = party("Lagos", "l" * 44), party("Cape Town", "c" * 44), "m" * 44

    def digits(joining: Party, hosting: Party) -> tuple[str, str]:
        join = Join(invitation=intro.named(SECRET), party=joining, commitment=intro.promise(NONCE))
        said = Joined(party=hosting, nonce=SECRET)
        return intro.digits(msgspec.json.encode(join), msgspec.json.encode(said), NONCE)

    as_host_sees_it = digits(msgspec.structs.replace(guest, key=between), host)
    as_guest_sees_it = digits(guest, msgspec.structs.replace(host, key=between))
    assert not set(as_host_sees_it) & set(as_guest_sees_it)
    assert digits(guest, host) == digits(guest, host)


def test_only_who_knows_the_secret_can_prove_it():
    proof = intro.prove(SECRET, "request", b"body")
    assert intro.is_proven(SECRET, "request", b"body", proof)
    assert not intro.is_proven(NONCE, "request", b"body", proof)
    assert not intro.is_proven(SECRET, "request", b"bodY", proof)
    assert not intro.is_proven(SECRET, proof, b"body", proof), (
        "an answer is not proven by the proof of its question"
    )
    assert not intro.is_proven(SECRET, "request", b"body", "\u0661\udc80")


@pytest.mark.parametrize(
    ("entered", "meant"),
    [
        ("482907", "482907"), ("482 907", "482907"), ("482-907", "482907"), ("٤٨٢ ٩٠٧", "482907"),
        ("\u200e482907\u200f", "482907"), ("48290", ""), ("4829070", ""), ("48290x", ""), ("", ""), ("½82907", ""),
    ],
)  # fmt: skip
def test_digits_are_understood_as_people_enter_them(entered: str, meant: str):
    assert intro.plain_digits(entered) == meant
