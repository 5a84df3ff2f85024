"""What the gateway settled is in the accounts once, whatever is asked twice, lost, or put back."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tawtin.core import accounts
from tawtin.core.chain import includes, inclusion_proof
from tawtin.core.charges import LINES_MAX, charged_up_to, continues, gathered, leaf
from tawtin.core.fold import FoldError, fold
from tawtin.core.meter import MICRO
from tawtin.core.state import State
from tawtin.model.events import TokensCharged, decode_entry, encode_entry
from tawtin.model.gateway import Settlement
from tawtin.model.tenant import Quota
from tawtin.model.workload import Usage
from tests.core.building import HOUR_MS, Factory, spec

NOW_MS = 1_795_000_000_000
MONTH = "2026-11"
COUNTRIES = ("MA", "EG", "FR", "")


def settled(number: int, ledger: str = "one", seed: int = 0, **more: object) -> Settlement:
    draw = random.Random(f"{seed} {ledger} {number}")
    made = Settlement(
        ledger=ledger,
        seq=number,
        receipt=f"rc-{ledger}-{number}",
        tenant=draw.choice(("lab", "firm")),
        month=draw.choice((MONTH, "2026-12")),
        model=draw.choice(("atlas", "rif")),
        country=draw.choice(COUNTRIES),
        provider="",
        tokens_in=draw.randrange(1_000),
        tokens_out=draw.randrange(1_000),
        estimated=draw.random() < 0.3,
        cost_micro=draw.randrange(3 * MICRO),
    )
    return replace(made, **more)  # pyright: ignore[reportArgumentType]


def counted(settlements: list[Settlement]) -> Counter[tuple[str, ...]]:
    """Every amount, by whatever it is asked for in accounts."""
    sums: Counter[tuple[str, ...]] = Counter()
    for each in settlements:
        account = (each.tenant, each.month)
        sums[*account, "all"] += each.cost_micro
        for what, amount in (
            ("requests", 1),
            ("in", each.tokens_in),
            ("out", each.tokens_out),
            ("estimated", int(each.estimated)),
            ("micro", each.cost_micro),
        ):
            sums[*account, each.model, what] += amount
        if each.country:
            sums[*account, "at", each.country, "requests"] += 1
            sums[*account, "at", each.country, "tokens"] += each.tokens_in + each.tokens_out
    return +sums


def in_accounts(state: State) -> Counter[tuple[str, ...]]:
    sums: Counter[tuple[str, ...]] = Counter()
    for account, each in state.accounts.items():
        sums[*account, "all"] += each.tokens_micro
        for model, asked in each.models.items():
            for what, amount in (
                ("requests", asked.requests),
                ("in", asked.tokens_in),
                ("out", asked.tokens_out),
                ("estimated", asked.estimated),
                ("micro", asked.cost_micro),
            ):
                sums[*account, model, what] += amount
        for country, spent in each.places.items():
            sums[*account, "at", country, "requests"] += spent.requests
            sums[*account, "at", country, "tokens"] += spent.tokens
    return +sums


@given(
    st.integers(0, 2**32),
    st.lists(st.tuples(st.sampled_from(("one", "two")), st.integers(0, 8), st.booleans()), max_size=30),
)
def test_accounts_are_what_was_settled_however_it_is_cut_and_repeated(
    seed: int, cuts: list[tuple[str, int, bool]]
) -> None:
    """Each cut settles some more and charges all that is due; some are told twice, which is refused."""
    factory = Factory()
    factory.now_ms = NOW_MS
    lives: dict[str, list[Settlement]] = {"one": [], "two": []}
    for ledger, count, twice in cuts:
        life = lives[ledger]
        life += [settled(len(life) + each + 1, ledger, seed) for each in range(count)]
        after = charged_up_to(factory.state, ledger)
        charge = gathered(ledger, after, life[after:])
        assert (charge is None) == (after == len(life))
        if charge is None:
            continue
        factory.tell(TokensCharged(charge=charge))
        before = factory.state.digest()
        if twice:
            assert not continues(factory.state, charge)
            with pytest.raises(FoldError, match="does not continue"):
                factory.tell(TokensCharged(charge=charge))
        assert factory.state.digest() == before
    assert in_accounts(factory.state) == counted([*lives["one"], *lives["two"]])
    again = State(factory.state.site)
    for entry in factory.log:
        fold(again, decode_entry(encode_entry(entry)))
    assert again.digest() == factory.state.digest()


def test_a_charge_that_does_not_add_up_is_refused() -> None:
    factory = Factory()
    charge = gathered("one", 0, [settled(1), settled(2)])
    assert charge is not None
    for wrong in (
        replace(charge, up_to=3),
        replace(charge, missing=1),
        replace(charge, after=1),
        replace(charge, up_to=0),
        replace(charge, lines=charge.lines[1:]),
    ):
        with pytest.raises(FoldError):
            factory.tell(TokensCharged(charge=wrong))
    assert not factory.state.accounts
    assert not factory.state.charged


def test_what_a_ledger_gave_up_before_it_was_charged_is_counted_as_missing() -> None:
    factory = Factory()
    first = gathered("one", 0, [settled(4), settled(5)])
    assert first is not None
    assert (first.after, first.up_to, first.missing) == (0, 5, 3)
    second = gathered("one", 5, [], removed=9)
    assert second is not None
    assert (second.after, second.up_to, second.missing, second.lines) == (5, 9, 4, ())
    factory.tell(TokensCharged(charge=first, instead_of="zero"), TokensCharged(charge=second))
    charged = factory.state.charged["one"]
    assert (charged.seq, charged.missing, charged.instead_of) == (9, 7, "zero")
    assert gathered("one", 9, [], removed=9) is None


def test_a_receipt_is_proven_to_be_in_a_charge_and_another_is_not() -> None:
    settlements = [settled(number) for number in range(1, 12)]
    charge = gathered("one", 0, settlements)
    assert charge is not None
    leaves = [leaf(each) for each in settlements]
    root = bytes.fromhex(charge.root)
    for index, each in enumerate(settlements):
        proof = inclusion_proof(leaves, index)
        assert includes(root=root, size=11, index=index, leaf=leaf(each), proof=proof)
        dearer = replace(each, cost_micro=each.cost_micro + 1)
        assert not includes(root=root, size=11, index=index, leaf=leaf(dearer), proof=proof)


def test_a_charge_has_a_bounded_size_and_the_next_one_goes_on() -> None:
    settlements = [settled(number, tenant=f"t{number}") for number in range(1, LINES_MAX + 3)]
    first = gathered("one", 0, settlements)
    assert first is not None
    assert (first.up_to, len(first.lines), first.missing) == (LINES_MAX, LINES_MAX, 0)
    second = gathered("one", first.up_to, settlements[first.up_to :])
    assert second is not None
    assert (second.after, second.up_to, len(second.lines)) == (LINES_MAX, LINES_MAX + 2, 2)


def broke(micro: int, *, gpu_ms: int = 0) -> bool:
    """Whether a run waits for its tenant's budget of 3 minor units, after models cost so much and a run this long."""
    factory = Factory()
    factory.now_ms = NOW_MS
    factory.tenant(quota=Quota(budget_minor_per_month=3))
    factory.node("n1")
    if gpu_ms:
        factory.submit("before", spec())
        factory.tick()
        factory.end("before", usage=Usage(wall_ms=1, gpu_model="H100", gpu_ms=gpu_ms))
    charge = gathered("one", 0, [settled(1, tenant="lab", month=MONTH, country="MA", cost_micro=micro)])
    assert charge is not None
    factory.tell(TokensCharged(charge=charge))
    factory.submit("after", spec())
    factory.tick()
    return not factory.state.runs


def test_runs_see_to_the_millionth_what_models_cost_of_a_budget() -> None:
    second_ms = HOUR_MS // 3_600
    assert not broke(3 * MICRO - 1)
    assert broke(3 * MICRO)
    assert not broke(2 * MICRO - 1, gpu_ms=second_ms)
    assert broke(2 * MICRO, gpu_ms=second_ms)
    assert not broke(0, gpu_ms=2 * second_ms)


def test_a_run_leaves_what_models_cost_in_its_place() -> None:
    factory = Factory()
    factory.now_ms = NOW_MS
    factory.tenant()
    factory.node("n1")
    line = settled(1, tenant="lab", month=MONTH, country="MA", tokens_in=2, tokens_out=3)
    charge = gathered("one", 0, [line])
    assert charge is not None
    factory.tell(TokensCharged(charge=charge))
    factory.submit("w", spec())
    factory.tick()
    factory.end("w", usage=Usage(wall_ms=5, cpu_ms=7))
    (account,) = factory.state.accounts.values()
    place = account.places["MA"]
    assert (place.requests, place.tokens, place.runs, place.cpu_ms) == (1, 5, 1, 7)
    assert accounts.with_tokens(account, charge.lines[0]).tokens_micro == 2 * line.cost_micro
