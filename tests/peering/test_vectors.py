"""Both implementations agree with the test vectors that are published, and these are what the code makes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any, get_args

import jsonschema
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tawtin.core import meter
from tawtin.core.handshake import timing
from tawtin.model.base import canonical
from tawtin.model.roaming import LogAsk, Message, receipt_bytes, receipt_digest
from tawtin.model.views import LogChunk
from tawtin.model.workload import Receipt, WorkloadSpec
from tawtin.peering.identity import Identity
from tawtin.peering.inbox import Envelope, Inbox
from tawtin.peering.signing import Refusal, Request, Token, verify_answer
from tests.peering import independent
from tests.peering.independent_home import Home
from tools import vectors
from tools.vectors_roaming import run_of

FOLDER = Path(__file__).parents[2] / "docs" / "vectors"
Json = dict[str, Any]


def read(name: str) -> Json:
    return json.loads((FOLDER / name).read_text())


ENVELOPE, RECEIPTS, HOMES, TIMES = map(read, ("envelope.json", "receipt.json", "home.json", "timing.json"))
MESSAGES, LOG, SCHEMA, SPECS = map(read, ("messages.json", "log.json", "schema.json", "spec.json"))
SEEDS = {each["name"]: bytes.fromhex(each["seed"]) for each in ENVELOPE["parties"]}
KEYS = {each["name"]: each["key"] for each in ENVELOPE["parties"]}
REQUESTS: dict[str, Json] = {each["name"]: each for each in ENVELOPE["requests"]}


def named(cases: list[Json]) -> Any:  # noqa: ANN401 - what pytest makes of it
    return pytest.mark.parametrize("case", cases, ids=[each["name"] for each in cases])


def body_of(case: Json) -> bytes:
    if "body_of" in case:
        return case["body_of"]["character"].encode() * case["body_of"]["times"]
    return case["body"].encode()


def ours(name: str) -> Identity:
    return Identity(Ed25519PrivateKey.from_private_bytes(SEEDS[name]))


def theirs(name: str, *, began: int = 0, knows: tuple[str, ...] = ()) -> independent.Party:
    party = independent.Party(name, SEEDS[name], began)
    party.keys = {each: KEYS[each] for each in knows}
    return party


@pytest.mark.parametrize("name", sorted(vectors.FILES))
def test_the_committed_vectors_are_what_the_code_makes(name: str):
    assert (FOLDER / name).read_text(encoding="utf-8") == vectors.text_of(name), "python -m tools.vectors"


def test_there_is_no_other_file_among_them():
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(vectors.FILES)


@pytest.mark.parametrize("name", sorted(KEYS))
def test_a_key_is_that_of_its_seed(name: str):
    assert ours(name).key == theirs(name).key == KEYS[name]


def test_every_refusal_of_the_page_has_a_vector_but_the_one_that_takes_100000_requests():
    assert {case["refused"] for case in REQUESTS.values()} == {"", *Token} - {Token.BUSY}


def taken_by_ours(case: Json) -> str:
    recipient = ENVELOPE["recipient"]
    known = {name: KEYS[name] for name in ENVELOPE["known"]}
    began = case.get("began_s", ENVELOPE["began_s"])
    inbox = Inbox(recipient, ours(recipient), lambda name: known.get(name, ""), began)
    for each in [REQUESTS[case["after"]], case] if "after" in case else [case]:
        try:
            inbox.open(
                method=each["method"],
                url=f"http://anywhere{each['path']}",
                headers=each["headers"],
                body=body_of(each),
                now_s=ENVELOPE["now_s"],
            )
        except Refusal as refusal:
            return refusal.token
    return ""


def taken_by_theirs(case: Json) -> str:
    began = case.get("began_s", ENVELOPE["began_s"])
    party = theirs(ENVELOPE["recipient"], began=began, knows=tuple(ENVELOPE["known"]))
    tokens = [
        party.refusal(each["method"], each["path"], each["headers"], body_of(each), ENVELOPE["now_s"])
        for each in ([REQUESTS[case["after"]], case] if "after" in case else [case])
    ]
    assert set(tokens[:-1]) <= {""}
    return tokens[-1]


@named(ENVELOPE["requests"])
def test_both_take_in_or_refuse_a_request_alike(case: Json):
    assert taken_by_ours(case) == case["refused"]
    assert taken_by_theirs(case) == case["refused"]


@named([case for case in ENVELOPE["requests"] if case["signature_base"]])
def test_the_base_that_was_signed_is_written_out(case: Json):
    signer = "Lagos" if "known" in case["name"] or "another key" in case["name"] else "Casablanca"
    signature = case["headers"]["signature"].removeprefix("tawtin=:").removesuffix(":")
    assert independent.holds(KEYS[signer], signature, case["signature_base"].encode())


@named(ENVELOPE["answers"])
def test_both_know_an_answer_from_what_is_none(case: Json):
    asked: Json = REQUESTS[case["of"]]
    status, headers, body = case["status"], case["headers"], body_of(case)
    party = theirs("Casablanca", knows=("Nairobi",))
    assert party.is_answer(asked["headers"], asked["path"], status, headers, body) is case["holds"]
    request = Request("POST", f"http://anywhere{asked['path']}", asked["headers"])
    about = {"sender": "Nairobi", "recipient": "Casablanca", "key": KEYS["Nairobi"]}
    try:
        verify_answer(request, status=status, headers=headers, body=body, **about)
    except Refusal:
        assert not case["holds"]
    else:
        assert case["holds"]


@named(RECEIPTS["receipts"])
def test_both_sign_the_same_bytes_of_a_receipt_and_reckon_the_same_cost(case: Json):
    body, plain = case["canonical"].encode(), case["receipt"]
    receipt = msgspec.json.decode(json.dumps(plain), type=Receipt)
    assert receipt_bytes(receipt) == independent.canonical(plain) == body
    assert receipt_digest(receipt) == hashlib.sha256(body).hexdigest() == case["digest"]
    cost = plain["cost_minor"]
    assert meter.cost_minor(receipt.usage, run_of(receipt)) == independent.cost_minor(plain) == cost
    for name, signature in ((plain["visited"], case["signature"]), (plain["home"], case["countersignature"])):
        assert ours(name).sign(body) == theirs(name).sign(body) == signature
        assert independent.holds(KEYS[name], signature, body)
        assert not independent.holds(KEYS["Lagos"], signature, body)


@named(SPECS["specs"])
def test_both_have_the_same_digest_of_a_spec_however_it_is_written(case: Json):
    body = case["canonical"].encode()
    for spec in (case["spec"], case["written_out"]):
        assert canonical(msgspec.json.decode(json.dumps(spec), type=WorkloadSpec)) == body
    assert independent.canonical(case["spec"]) == body
    assert hashlib.sha256(body).hexdigest() == case["digest"]


def test_the_reserve_among_the_messages_announces_the_spec_of_the_commit():
    said: dict[str, Json] = {each["message"]: each for each in MESSAGES["messages"]}
    want = hashlib.sha256(independent.canonical(said["commit"]["spec"])).hexdigest()
    assert said["reserve"]["spec_digest"] == want


@named(HOMES["conversations"])
def test_a_home_of_another_make_says_the_same(case: Json, monkeypatch: pytest.MonkeyPatch):
    commit, home = HOMES["commit"], Home("Casablanca", SEEDS["Casablanca"])
    home.keys["Nairobi"] = KEYS["Nairobi"]
    job = home.ask("Nairobi", {**commit, "message": "reserve"}, commit)
    stop = "cancelled" if case["cancelled"] else ""
    job |= {"state": "placed", "stop": stop, "at": time.time() - HOMES["away_ms"] / 1000}
    for step in case["steps"]:
        said, want = home.hear(HOMES["peer"], step["hears"]), step["says"]
        assert [without_reason(each) for each in said] == [without_reason(each) for each in want]


def without_reason(message: Json) -> Json:
    """Why something is disputed is for people to read."""
    gone = "reason" if message["message"] == "dispute" else ""
    return {name: value for name, value in message.items() if name != gone}


@pytest.mark.parametrize("case", TIMES["home"], ids=str)
def test_both_wait_as_long_for_a_lease(case: Json):
    lease, home, visited = case["lease_ms"], case["home_ppm"], case["visited_ppm"]
    assert timing.wait_ms(lease, home_ppm=home, visited_ppm=visited) == case["wait_ms"]
    assert independent.wait_ms(lease, home, visited) == case["wait_ms"]
    assert case["wait_ms"] * (1_000_000 - visited) >= lease * (1_000_000 + home), "it is over by both clocks"


@pytest.mark.parametrize("case", TIMES["visited"], ids=str)
def test_a_run_is_ended_and_a_lease_renewed_when_the_vectors_say(case: Json):
    stamp, lease, stop = case["stamp_ms"], case["lease_ms"], case["stop_ms"]
    assert timing.deadline_ms(stamp, lease, stop) == stamp + lease - stop == case["deadline_ms"]
    assert timing.renew_every_ms(lease, stop) == max(1, (lease - stop) // 3) == case["renew_every_ms"]


def valid(value: Json, kind: str = "Envelope") -> bool:
    schema = {**SCHEMA, "$ref": f"#/$defs/{kind}"}
    return jsonschema.Draft202012Validator(schema).is_valid(value)  # pyright: ignore[reportUnknownMemberType]


def test_there_is_a_message_of_each_kind():
    tags = [str(kind.__struct_config__.tag) for kind in get_args(Message)]
    assert sorted(each["message"] for each in MESSAGES["messages"]) == sorted(tags)


@pytest.mark.parametrize("message", MESSAGES["messages"], ids=lambda message: message["message"])
def test_a_message_is_one_by_the_schema_and_reads_back_as_it_was(message: Json):
    sent = {"version": 1, "messages": [message]}
    assert valid(sent)
    read_back = msgspec.json.decode(json.dumps(sent), type=Envelope)
    assert json.loads(msgspec.json.encode(read_back))["messages"] == [message]


@pytest.mark.parametrize("case", MESSAGES["wrong"], ids=lambda case: case["why"])
def test_what_is_no_message_is_none_by_the_schema_nor_by_the_code(case: Json):
    sent = {"version": 1, "messages": [case["message"]]}
    assert not valid(sent)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(json.dumps(sent), type=Envelope)


def test_a_piece_of_a_log_is_asked_for_and_read_by_the_schema():
    assert valid(LOG["ask"], "LogAsk")
    assert valid(LOG["answer"], "LogChunk")
    assert msgspec.json.decode(json.dumps(LOG["ask"]), type=LogAsk).offset == -100
    assert msgspec.json.decode(json.dumps(LOG["answer"]), type=LogChunk).data.decode() == LOG["text"]
    assert not valid({**LOG["ask"], "limit": 0}, "LogAsk")


def test_an_introduction_is_made_again_from_the_page_alone():
    said = read("introduction.json")
    key = bytes.fromhex(said["secret"])

    def mac(way: str, body: str) -> str:
        return hmac.digest(key, f"{way}\n{body}".encode(), "sha256").hex()

    for step in said["steps"]:
        assert step["proof"] == mac("request", step["body"])
        assert step["answer_proof"] == mac(step["proof"], step["answer"])
    join = json.loads(said["steps"][0]["body"])
    assert join["invitation"] == hashlib.sha256(key).hexdigest()
    promised = hashlib.sha256(b"tawtin-nonce-1\n" + bytes.fromhex(said["nonce"]))
    assert join["commitment"] == promised.hexdigest()
    hashed = [hashlib.sha256(said["steps"][0][part].encode()).hexdigest() for part in ("body", "answer")]
    text = "".join(f"{line}\n" for line in ("tawtin-introduction-1", *hashed, said["nonce"]))
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    assert (said["host_reads"], said["guest_reads"]) == (
        f"{number % 1_000_000:06d}",
        f"{number // 1_000_000 % 1_000_000:06d}",
    )
    coded = said["invitation"].removeprefix("tawtin-invitation-")
    held = json.loads(base64.urlsafe_b64decode(coded + "=" * (-len(coded) % 4)))
    assert held["secret"] == said["secret"]
