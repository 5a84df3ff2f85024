"""The page on the protocol names every message, every field of it, and every reason to refuse one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from msgspec.structs import FieldInfo, fields

from tawtin.core import guests
from tawtin.core.handshake import visited
from tawtin.model.reasons import Refusal
from tawtin.model.roaming import Message, Terms
from tawtin.peering.inbox import MESSAGES_MAX
from tawtin.peering.signing import AGE_S_MAX, BODY_BYTES_MAX, NONCES_MAX, REQUEST_COVERS, SKEW_S, Token
from tawtin.runtime.neighbours import OFFER_S
from tawtin.runtime.roaming import lending
from tawtin.runtime.roaming.asking import ANSWER_MS
from tawtin.runtime.roaming.post import AGAIN_MS, AGAIN_MS_MAX
from tawtin.web import door

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
REASONS = ("NoLawfulFactory", "NoRoom", "NoFuse", "Superseded", "EarlierEpochEnds", "SpecDiffers")
FIELDS = sorted({(kind, name) for kind in get_args(Message) for name in kind.__struct_fields__}, key=str)


@pytest.mark.parametrize(
    ("kind", "field"), FIELDS, ids=[f"{kind.__name__}.{field}" for kind, field in FIELDS]
)
def test_a_message_and_its_fields_are_there(kind: type, field: str):
    tag = kind.__struct_config__.tag  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]
    (row,) = [line for line in PAGE.splitlines() if line.startswith("|") and f"`{tag}`" in line.split("|")[1]]
    assert f"`{field}`" in row or field in {"workload", "epoch"}


@pytest.mark.parametrize("word", [*Token, *REQUEST_COVERS])
def test_a_token_and_a_covered_component_are_there(word: str):
    assert f"`{word}`" in PAGE


def test_the_limits_are_those_of_the_code():
    text = PAGE.replace("\n", " ")
    assert f"the last {AGE_S_MAX} s, with {SKEW_S} s for the clocks" in text
    assert f"`created` is at most {AGE_S_MAX + SKEW_S} s ago and at most {SKEW_S} s ahead" in text
    assert f"1 MiB ({BODY_BYTES_MAX:,} bytes)" in text
    assert f"{NONCES_MAX:,} nonces are remembered" in text
    assert f"At most {MESSAGES_MAX} messages" in text
    assert f"{guests.ENVS_MAX:,} `envs`, {guests.OPTIONS_MAX} options, {guests.NODES_MAX:,} nodes" in text
    assert f"{guests.SCRIPT_CHARS_MAX:,} characters of `run` and `setup`" in text
    assert f"A factory sends one every {OFFER_S:.0f} s" in text
    assert f"after {ANSWER_MS // 1000} s home may ask somebody else" in text
    assert f"after {AGAIN_MS // 1000} s, then after twice that, up to {AGAIN_MS_MAX // 1000} s" in text


@pytest.mark.parametrize("token", list(Token))
def test_a_refusal_has_the_status_that_the_door_gives_it(token: Token):
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{token}` |")]
    assert row.split("|")[2].strip() == str(door.STATUSES.get(token, door.STATUS))


@pytest.mark.parametrize("field", fields(Terms), ids=lambda field: field.name)
def test_a_term_of_leases_has_its_default(field: FieldInfo):
    (row,) = [
        line for line in PAGE.splitlines() if line.startswith("|") and f"`{field.name}`" in line.split("|")[1]
    ]
    assert row.split("|")[2].strip() == str(field.default)


@pytest.mark.parametrize("reason", REASONS)
def test_a_reason_to_hold_no_room_is_there(reason: str):
    assert f"`{reason}`" in PAGE


def test_the_reasons_to_hold_no_room_are_those_of_the_code():
    texts = [Path(part.__file__ or "").read_text() for part in (visited, lending)]
    found = [name for text in texts for name in re.findall(r'refuse\(\s*message, "(\w+)"', text)]
    assert sorted(REASONS) == sorted({*found, Refusal.NO_LAWFUL_FACTORY.value})
