"""A conversation goes on where it began, conversations are spread, and a replica that is gone hands over its own."""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

from tawtin.gateway.settings import ReplicaSettings
from tests.gateway.harness import Running, running, served
from tests.gateway.stub import Stub

SYSTEM = {
    "role": "system",
    "content": "You answer questions about taxes, in the language of the question. " * 60,
}
CONVERSATIONS = 40


def turns(number: int) -> list[list[dict[str, str]]]:
    """What a client sends, turn by turn."""
    said = [SYSTEM, {"role": "user", "content": f"I am citizen {number}, and this is my question: " * 30}]
    found = [said]
    for more in range(2):
        said = [
            *said,
            {"role": "assistant", "content": "marhaba"},
            {"role": "user", "content": f"and {more}?"},
        ]
        found.append(said)
    return found


def places(gateway: Running, key: str, stubs: list[Stub], numbers: range) -> dict[int, set[str]]:
    """At which replicas each conversation was."""
    found: dict[int, set[str]] = defaultdict(set)
    for turn in range(3):
        for number in numbers:
            before = [len(stub.asked) for stub in stubs]
            assert gateway.ask(key, "plain", messages=turns(number)[turn]).status == 200
            (place,) = [
                stub.url for stub, count in zip(stubs, before, strict=True) if len(stub.asked) > count
            ]
            found[number].add(place)
    return found


def test_turns_of_a_conversation_meet_at_one_replica_and_conversations_part(tmp_path: Path) -> None:
    with ExitStack() as stack:
        stubs = [stack.enter_context(Stub()) for _ in range(3)]
        models = {
            "plain": served(*(ReplicaSettings(url=stub.url) for stub in stubs), context_tokens_max=10_000)
        }
        gateway = stack.enter_context(running(tmp_path, models))
        key = gateway.key()
        places(gateway, key, stubs, range(1_000, 1_030))  # by now a worker knows what all of them share
        found = places(gateway, key, stubs, range(CONVERSATIONS))
        assert all(len(each) == 1 for each in found.values())
        assert {place for each in found.values() for place in each} == {stub.url for stub in stubs}
