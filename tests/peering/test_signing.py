"""What is taken in from a peer, and everything that is not."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from tawtin.model.roaming import NotHeld, RenewOk
from tawtin.peering import signing
from tawtin.peering.identity import Identity
from tawtin.peering.inbox import PATH, Envelope, Inbox, Malformed, Taken, encode_envelope
from tawtin.peering.signing import (
    AGE_S_MAX,
    BODY_BYTES_MAX,
    NONCES_MAX,
    SKEW_S,
    Refusal,
    Request,
    Token,
    sign_request,
    verify_answer,
)
from tests.peering.independent import Party, canonical

CASA = Identity(Ed25519PrivateKey.from_private_bytes(b"\1" * 32))
NAIROBI = Identity(Ed25519PrivateKey.from_private_bytes(b"\2" * 32))
KEYS = {"casa": CASA.key, "nairobi": NAIROBI.key}
URL = f"https://nairobi.example{PATH}"
MESSAGES = (
    RenewOk(workload="wl-1", epoch=1, req="0" * 32),
    NotHeld(workload="wl-2", epoch=3, resv="1" * 32 + ".0"),
)
BODY = encode_envelope(MESSAGES)
NOW_S = 1_795_737_600
NONCE = "ab" * 16


def inbox(*, began_s: int = 0, keys: dict[str, str] | None = None) -> Inbox:
    return Inbox("nairobi", NAIROBI, lambda name: (KEYS if keys is None else keys).get(name, ""), began_s)


def signed(
    *,
    identity: Identity = CASA,
    recipient: str = "nairobi",
    nonce: str = NONCE,
    now_s: int = NOW_S,
    body: bytes = BODY,
) -> dict[str, str]:
    return sign_request(
        identity,
        method="POST",
        url=URL,
        body=body,
        sender="casa",
        recipient=recipient,
        nonce=nonce,
        now_s=now_s,
    )


def refused(
    box: Inbox, headers: dict[str, str], body: bytes = BODY, *, method: str = "POST", url: str = URL
) -> Token:
    with pytest.raises(Refusal) as refusal:
        box.open(method=method, url=url, headers=headers, body=body, now_s=NOW_S)
    return refusal.value.token


def test_a_signed_request_is_taken_in_and_its_answer_holds():
    box, headers = inbox(), signed()
    assert box.open(method="POST", url=URL, headers=headers, body=BODY, now_s=NOW_S) == (
        "casa",
        Envelope(messages=MESSAGES),
    )
    request = Request("POST", URL, headers)
    body, answered = box.answer(request, Taken(taken=2), "casa", NOW_S)
    assert body == b'{"taken":2}'
    verify_answer(
        request, status=200, headers=answered, body=body, sender="nairobi", recipient="casa", key=NAIROBI.key
    )


def test_the_way_to_us_may_have_another_name_than_the_sender_used():
    """Proxies and tunnels change the authority; path, recipient and body are what is covered."""
    box = inbox()
    box.open(method="POST", url=f"http://127.0.0.1:8470{PATH}", headers=signed(), body=BODY, now_s=NOW_S)


@pytest.mark.parametrize(
    ("name", "value", "want"),
    [
        ("signature", None, Token.UNSIGNED),
        ("signature-input", None, Token.UNSIGNED),
        ("tawtin-sender", None, Token.UNSIGNED),
        ("tawtin-sender", "lagos", Token.UNKNOWN_SENDER),
        ("tawtin-sender", "nairobi", Token.BAD_SIGNATURE),
        ("tawtin-recipient", "lagos", Token.BAD_SIGNATURE),
        ("tawtin-version", "2", Token.BAD_SIGNATURE),
        ("content-type", "text/plain", Token.BAD_SIGNATURE),
        ("content-digest", "sha-256=:AAAA:", Token.BAD_SIGNATURE),
        ("content-digest", None, Token.BAD_SIGNATURE),
        ("signature", "tawtin=:AAAA:", Token.BAD_SIGNATURE),
        ("signature", "tawtin=(", Token.BAD_SIGNATURE),
        ("signature-input", signed()["signature-input"].replace('"@method" ', ""), Token.BAD_SIGNATURE),
        ("signature-input", signed()["signature-input"].replace("peer-1", "peer-2"), Token.BAD_SIGNATURE),
    ],
)
def test_a_request_that_was_changed_is_refused(name: str, value: str | None, want: Token):
    headers = signed()
    if value is None:
        del headers[name]
    else:
        headers[name] = value
    assert refused(inbox(), headers) is want


def test_another_body_method_or_path_is_refused():
    assert refused(inbox(), signed(), BODY + b" ") is Token.BAD_SIGNATURE
    assert refused(inbox(), signed(), method="PUT") is Token.BAD_SIGNATURE
    assert refused(inbox(), signed(), url=URL + "x") is Token.BAD_SIGNATURE


def test_a_request_signed_by_another_key_is_refused():
    assert refused(inbox(), signed(identity=NAIROBI)) is Token.BAD_SIGNATURE


def test_a_key_that_was_revoked_counts_no_more():
    assert refused(inbox(keys={"casa": ""}), signed()) is Token.UNKNOWN_SENDER


def test_a_request_for_another_factory_is_refused():
    assert refused(inbox(), signed(recipient="lagos")) is Token.WRONG_RECIPIENT


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(signing, "VERSION", 2)
    headers = signed()
    monkeypatch.setattr(signing, "VERSION", 1)
    assert refused(inbox(), headers) is Token.WRONG_VERSION


def test_the_same_request_again_is_refused():
    box = inbox()
    box.open(method="POST", url=URL, headers=signed(), body=BODY, now_s=NOW_S)
    assert refused(box, signed()) is Token.REPLAYED


def test_a_request_from_before_our_start_is_refused_as_it_may_have_been_taken_in_then():
    assert refused(inbox(began_s=NOW_S + 1), signed()) is Token.TOO_OLD


@pytest.mark.parametrize("age_s", [AGE_S_MAX + SKEW_S + 1, -SKEW_S - 1])
def test_an_old_request_and_one_from_the_future_are_refused(age_s: int):
    assert refused(inbox(), signed(now_s=NOW_S - age_s)) is Token.TOO_OLD


def test_a_body_that_is_too_large_is_refused_before_it_is_hashed():
    assert refused(inbox(), {}, b"x" * (BODY_BYTES_MAX + 1)) is Token.TOO_LARGE


@pytest.mark.parametrize("nonce", ["", "12", "Z" * 32, "ab" * 17])
def test_a_nonce_is_128_bits(nonce: str):
    assert refused(inbox(), signed(nonce=nonce)) is Token.BAD_SIGNATURE


def test_nonces_are_forgotten_in_time_and_bounded_meanwhile():
    box = inbox()
    for number in range(NONCES_MAX):
        box.seen.take("casa", f"{number:032x}", NOW_S, NOW_S)
    assert refused(box, signed()) is Token.BUSY
    box.seen.take("casa", NONCE, NOW_S, NOW_S + AGE_S_MAX + 2 * SKEW_S)
    assert len(box.seen.nonces) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"messages":[{"message":"renew_ok"}]}',
        b'{"messages":[{"message":"boo","workload":"wl-1","epoch":1}]}',
        b'{"messages":[{"message":"renew_ok","workload":"../x","epoch":1,"req":"' + b"0" * 32 + b'"}]}',
        b'{"messages":[{"message":"renew_ok","workload":"wl-1","epoch":0,"req":"' + b"0" * 32 + b'"}]}',
        b'{"messages":[{"message":"renew_ok","workload":"wl-1","epoch":1,"req":"' + b"0" * 32 + b'","x":1}]}',
        b'{"version":1,"messages":[{"message":"renew_ok","workload":"wl-1","epoch":1,"req":"\xff"}]}',
    ],
)
def test_a_signed_body_that_is_wrong_is_malformed(body: bytes):
    headers = signed(body=body)
    with pytest.raises(Malformed):
        inbox().open(method="POST", url=URL, headers=headers, body=body, now_s=NOW_S)


def test_an_answer_to_another_question_or_from_somebody_else_is_refused():
    box, headers = inbox(), signed()
    request = Request("POST", URL, headers)
    body, answered = box.answer(request, Taken(taken=2), "casa", NOW_S)
    other = Request("POST", URL, signed(nonce="cd" * 16))
    about = {"sender": "nairobi", "recipient": "casa", "key": NAIROBI.key}
    for asked, status, shown, text, change in (
        (other, 200, answered, body, {}),
        (request, 202, answered, body, {}),
        (request, 200, answered, b'{"taken":3}', {}),
        (request, 200, {}, body, {}),
        (request, 200, answered, body, {"key": CASA.key}),
        (request, 200, answered, body, {"key": "nonsense"}),
        (request, 200, answered, body, {"sender": "lagos"}),
        (request, 200, answered, body, {"recipient": "lagos"}),
        (request, 200, answered, b"x" * (BODY_BYTES_MAX + 1), {}),
    ):
        with pytest.raises(Refusal):
            verify_answer(asked, status=status, headers=shown, body=text, **{**about, **change})


def test_a_second_implementation_signs_what_we_take_in_and_checks_what_we_answer():
    other = Party("casa", b"\1" * 32)
    other.keys["nairobi"] = NAIROBI.key
    plain = {"messages": [{"message": "renew_ok", "workload": "wl-1", "epoch": 1, "req": "0" * 32}]}
    body = canonical(plain)
    headers = other.signed("nairobi", PATH, body, f'created={NOW_S};nonce="{NONCE}"')
    box = inbox()
    sender, envelope = box.open(method="POST", url=URL, headers=headers, body=body, now_s=NOW_S)
    assert (sender, envelope.messages) == ("casa", MESSAGES[:1])
    answer, answered = box.answer(Request("POST", URL, headers), Taken(taken=1), "casa", NOW_S)
    assert other.is_answer(headers, PATH, 200, answered, answer)
    assert not other.is_answer(headers, PATH, 200, answered, answer + b" ")
    other.keys["nairobi"] = CASA.key
    assert not other.is_answer(headers, PATH, 200, answered, answer)


def test_a_second_implementation_takes_in_what_we_sign_and_answers_what_we_check():
    other = Party("nairobi", b"\2" * 32)
    other.keys["casa"] = CASA.key
    headers = signed()
    assert other.refusal("POST", PATH, headers, BODY, NOW_S) == ""
    assert other.refusal("POST", PATH, headers, BODY, NOW_S) == Token.REPLAYED
    answered = other.signed("casa", PATH, b'{"taken":2}', f"created={NOW_S}", headers)
    verify_answer(
        Request("POST", URL, headers),
        status=200,
        headers=answered,
        body=b'{"taken":2}',
        sender="nairobi",
        recipient="casa",
        key=NAIROBI.key,
    )


@given(st.data())
def test_no_changed_byte_is_taken_in_and_nothing_but_a_refusal_is_raised(data: st.DataObject):
    headers = signed()
    name = data.draw(st.sampled_from(sorted(headers)))
    text = headers[name]
    at = data.draw(st.integers(0, len(text) - 1))
    character = data.draw(st.characters(min_codepoint=32, max_codepoint=126))
    changed = {**headers, name: text[:at] + character + text[at + 1 :]}
    if changed[name] == text:
        return
    try:
        sender, envelope = inbox().open(method="POST", url=URL, headers=changed, body=BODY, now_s=NOW_S)
    except Refusal:
        return
    assert (sender, envelope.messages) == ("casa", MESSAGES), (
        "white space and labels may differ, what was said may not"
    )


@given(st.dictionaries(st.sampled_from([*signed(), "x"]), st.text(max_size=80)), st.binary(max_size=200))
def test_whatever_arrives_nothing_but_a_refusal_is_raised(headers: dict[str, str], body: bytes):
    with pytest.raises((Refusal, Malformed)):
        inbox().open(method="POST", url=URL, headers=headers, body=body, now_s=NOW_S)
