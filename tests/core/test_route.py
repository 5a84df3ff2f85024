"""Which replica answers: requests that begin alike meet, and none gets more than its share of them."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tawtin.core.route import Beginnings, beginnings, choose, seed

SEEDS = [seed(f"replica-{number}") for number in range(10)]
IDLE = [0] * len(SEEDS)
SYSTEM = b"You answer citizens' questions about taxes. " * 100


def conversation(number: int) -> bytes:
    return SYSTEM + f"I am citizen {number}, and this is my question: ".encode() * 40


@given(st.binary(max_size=5_000), st.binary(max_size=5_000), st.binary(max_size=5_000))
def test_texts_that_begin_alike_have_their_first_numbers_in_common(
    start: bytes, one: bytes, other: bytes
) -> None:
    first, second = beginnings(start + one), beginnings(start + other)
    whole = [
        length for length in (256, 320, 384, 448, 512, 640, 768, 896, 1024, 4096) if length <= len(start)
    ]
    common = min(len(whole), len(first) - 1, len(second) - 1)
    assert first[:common] == second[:common]
    assert len(first) <= 33


def test_turns_of_a_conversation_meet_and_conversations_with_one_system_prompt_part() -> None:
    seen = Beginnings()
    for number in range(100):
        seen.key(beginnings(conversation(number)))
    places: list[int] = []
    for number in range(100, 300):
        turns = [conversation(number) + b"and then? " * turn for turn in (1, 30, 300)]
        keys = {seen.key(beginnings(turn)) for turn in turns}
        assert len(keys) == 1
        places.append(choose(keys.pop(), SEEDS, IDLE))
    count = Counter(places)
    assert len(count) == len(SEEDS)
    assert max(count.values()) <= 2 * len(places) / len(SEEDS)


def test_a_beginning_is_common_no_more_when_it_has_gone_out_of_use() -> None:
    seen = Beginnings(window=200)
    levels = beginnings(SYSTEM + b"x")
    keys = [seen.key(levels) for _ in range(40)]
    assert keys[0] == levels[0]
    assert keys[-1] == levels[-1]
    for number in range(200):
        seen.key(beginnings(f"{number} ".encode() * 200))
    assert seen.key(levels) == levels[0]


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 300), min_size=1, max_size=30))
def test_the_chosen_one_is_within_bounds_and_there_is_always_one(key: int, loads: list[int]) -> None:
    seeds = [seed(f"replica-{number}") for number in range(len(loads))]
    place = choose(key, seeds, loads, over_percent=25)
    assert loads[place] <= 1.25 * (sum(loads) + 1) / len(loads) + 1
    assert loads[choose(key, seeds, loads, over_percent=0, slack=0)] <= (sum(loads) + 1) / len(loads)


@given(st.integers(0, 2**32 - 1), st.integers(0, 9))
def test_a_replica_that_goes_moves_its_own_requests_only(key: int, gone: int) -> None:
    before = choose(key, SEEDS, IDLE)
    left = SEEDS[:gone] + SEEDS[gone + 1 :]
    after = left[choose(key, left, IDLE[1:])]
    assert before == gone or after == SEEDS[before]


def test_a_full_one_hands_on_what_is_its_own_to_several() -> None:
    loads = [50 if place == 3 else 5 for place in range(len(SEEDS))]
    own = [key for key in range(5_000) if choose(key, SEEDS, IDLE) == 3]
    assert 300 < len(own) < 700
    others = Counter(choose(key, SEEDS, loads, over_percent=50) for key in own)
    assert len(others) == len(SEEDS) - 1
    assert 3 not in others
