"""Which share of what was used was used at home."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tawtin.core.localisation import (
    AFRICA,
    WHOLE,
    Ring,
    months_until,
    rates,
    rates_of_countries,
    rates_of_factory,
    rates_of_network,
    refusal,
    ring_of,
    told,
)
from tawtin.model.base import canonical
from tawtin.model.codes import COUNTRIES
from tawtin.model.events import RunPlaced
from tawtin.model.localisation import AMOUNT_MAX, Heard, MonthTold, Rings, Told
from tawtin.model.tenant import Account, Spent
from tawtin.model.views import Share
from tawtin.model.workload import Usage
from tests.core.building import HOUR_MS, Factory, spec
from tests.core.test_away import away

NOW_MS = 1_795_737_600_000
"""In November 2026."""


def account(tenant: str = "lab", month: str = "2026-11", **places: int) -> Account:
    return Account(
        tenant=tenant, month=month, places={place: Spent(gpu_ms=ms, runs=1) for place, ms in places.items()}
    )


def test_rings_are_home_continent_and_outside():
    assert ring_of("MA", "MA") is Ring.HOME
    assert ring_of("KE", "MA") is Ring.CONTINENT
    assert ring_of("FR", "MA") is Ring.OUTSIDE
    assert ring_of("DE", "FR") is Ring.OUTSIDE
    assert ring_of("FR", "FR") is Ring.HOME


def test_every_african_code_is_a_country():
    assert AFRICA <= COUNTRIES
    assert len(AFRICA) == 58, "54 states, Western Sahara, Réunion, Mayotte, Saint Helena"


def test_shares_add_up_where_they_cannot_be_exact():
    (lab, whole) = rates([account(MA=1, KE=1, FR=1)], {}, "MA")
    got = lab.gpu_ms
    assert (got.home, got.continent, got.outside) == (1, 1, 1)
    assert sorted((got.home_bp, got.continent_bp, got.outside_bp)) == [3333, 3333, 3334]
    assert whole == replace(lab, tenant="")


def test_each_tenant_is_measured_from_its_own_home():
    found = rates([account("a", MA=100), account("b", MA=300)], {"b": "KE"}, "MA")
    by_tenant = {each.tenant: each.gpu_ms for each in found}
    assert by_tenant["a"].home_bp == WHOLE
    assert by_tenant["b"].continent_bp == WHOLE
    assert (by_tenant[""].home_bp, by_tenant[""].continent_bp) == (2500, 7500)


def test_what_was_not_used_has_no_shares():
    (lab, _) = rates([account(MA=0)], {}, "MA")
    assert lab.gpu_ms == Share()


def test_runs_here_and_away_are_counted_where_they_ran():
    factory = Factory()
    factory.tenant()
    factory.node("node-1")
    factory.submit("wl-1", spec())
    factory.tick()
    factory.end("wl-1", usage=Usage(gpu_model="H100", gpu_ms=3 * HOUR_MS, cpu_ms=5, bytes_in=7))
    roamed = factory.submit("wl-2", spec())
    factory.tell(RunPlaced(run=replace(away(roamed), country="KE")))
    factory.end("wl-2", usage=Usage(gpu_model="H100", gpu_ms=HOUR_MS, bytes_out=1))
    (lab, _) = rates(factory.state.accounts.values(), {}, factory.state.site.country)
    assert (lab.gpu_ms.home_bp, lab.gpu_ms.continent_bp, lab.gpu_ms.outside_bp) == (7500, 2500, 0)
    assert (lab.bytes.home, lab.bytes.continent) == (7, 1)
    assert (lab.runs.home, lab.runs.continent) == (1, 1)


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["MA", "KE", "FR", "ZA"]), st.integers(0, 10**15), max_size=4),
        max_size=4,
    )
)
def test_shares_always_add_up(months: list[dict[str, int]]):
    accounts = [account(f"t{at}", "2026-11", **places) for at, places in enumerate(months)]
    for each in rates(accounts, {}, "MA"):
        share = each.gpu_ms
        total = share.home_bp + share.continent_bp + share.outside_bp
        assert total == (WHOLE if share.home + share.continent + share.outside else 0)


def test_tenants_are_grouped_by_the_country_that_is_their_home():
    accounts = [account("a", MA=100), account("b", MA=300, KE=100), account("c", KE=100), account("d", FR=7)]
    found = rates_of_countries(accounts, {"b": "KE", "c": "KE"}, "MA")
    got = {each.country: (each.gpu_ms.home, each.gpu_ms.continent, each.gpu_ms.outside) for each in found}
    assert got == {"KE": (200, 300, 0), "MA": (100, 0, 7)}
    assert {each.tenant for each in found} == {""}


def test_every_view_counts_the_same_in_all():
    accounts = [
        account("a", "2026-10", MA=100, FR=3),
        account("b", "2026-11", MA=300),
        account("c", "2026-11", KE=1),
    ]
    homes = {"b": "KE"}
    whole = [each for each in rates(accounts, homes, "MA") if not each.tenant]
    assert rates_of_factory(accounts, homes, "MA", "casa") == tuple(
        replace(each, factory="casa") for each in whole
    )
    for each in whole:
        countries = [row for row in rates_of_countries(accounts, homes, "MA") if row.month == each.month]
        assert sum(row.gpu_ms.home for row in countries) == each.gpu_ms.home
        assert sum(row.gpu_ms.continent for row in countries) == each.gpu_ms.continent
        assert sum(row.gpu_ms.outside for row in countries) == each.gpu_ms.outside


def test_months_go_back_over_the_turn_of_a_year():
    january_ms = NOW_MS + 60 * 24 * HOUR_MS
    assert months_until(january_ms, 3) == ("2026-11", "2026-12", "2027-01")


def test_peers_are_told_sums_of_the_last_months_and_no_names():
    accounts = [
        account("hospital", month, MA=amount)
        for month, amount in (("2026-08", 1), ("2026-09", 2), ("2026-11", 1 << 60))
    ]
    said = told(rates_of_factory(accounts, {}, "MA", "casa"), NOW_MS)
    assert [each.month for each in said.months] == ["2026-09", "2026-11"]
    assert said.months[0] == MonthTold(month="2026-09", gpu_ms=Rings(home=2), runs=Rings(home=1))
    assert said.months[1].gpu_ms.home == AMOUNT_MAX, "what is too large to be told is bounded"
    body = msgspec.json.encode(said)
    assert b"hospital" not in body
    assert msgspec.json.decode(body, type=Told) == said
    full = MonthTold(
        month="2026-11",
        **dict.fromkeys(
            ("gpu_ms", "cpu_ms", "bytes", "runs"),
            Rings(home=AMOUNT_MAX, continent=AMOUNT_MAX, outside=AMOUNT_MAX),
        ),
    )
    assert len(msgspec.json.encode(Told(months=(full,) * 3))) < 1200, "it goes along every two seconds"


@pytest.mark.parametrize(
    "lie",
    [
        {"months": [{"month": "2026-11", "gpu_ms": {"home": -1}}]},
        {"months": [{"month": "2026-11", "bytes": {"outside": AMOUNT_MAX + 1}}]},
        {"months": [{"month": "2026-11", "runs": {"home": 0.5}}]},
        {"months": [{"month": "2026-11", "runs": {"home": "many"}}]},
        {"months": [{"month": "2026-13"}]},
        {"months": [{"month": "2026-11\n"}]},
        {"months": [{"month": "\u0662\u0660\u0662\u0666-11"}]},
        {"months": [{"month": "2026-11", "tenant": "hospital"}]},
        {"months": [{"month": "2026-11"}] * 4},
        {"version": 0},
    ],
    ids=str,
)
def test_figures_that_cannot_be_are_no_word_of_a_peer(lie: object):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(lie), type=Told)


@pytest.mark.parametrize(
    ("said", "want"),
    [
        (Told(), ""),
        (Told(months=(MonthTold(month="2026-09"), MonthTold(month="2026-11"))), ""),
        (Told(months=(MonthTold(month="2026-12"),)), "`2026-12`, which is none of the last 3 months"),
        (Told(months=(MonthTold(month="2026-08"),)), "`2026-08`, which is none of the last 3 months"),
        (Told(months=(MonthTold(month="9999-12"),)), "`9999-12`, which is none of the last 3 months"),
        (Told(months=(MonthTold(month="2026-11"),) * 2), "`2026-11` twice"),
        (Told(version=2), "version 2, and this factory reads version 1"),
    ],
)
def test_months_that_cannot_be_are_refused_and_why_is_said(said: Told, want: str):
    got = refusal(said, NOW_MS)
    assert want in got if want else got == ""


def test_clocks_may_differ_a_little_at_the_turn_of_a_month():
    day_ms = 24 * HOUR_MS
    turn_ms = next(
        at for at in range(NOW_MS, NOW_MS + 40 * day_ms, day_ms) if months_until(at, 1) == ("2026-12",)
    )
    ahead = Told(months=(MonthTold(month="2026-12"),))
    behind = Told(months=(MonthTold(month="2026-09"),))
    assert refusal(ahead, turn_ms - HOUR_MS) == ""
    assert refusal(behind, turn_ms + HOUR_MS) == ""
    assert refusal(ahead, turn_ms - 2 * day_ms) != ""
    assert refusal(behind, turn_ms + 2 * day_ms) != ""


def test_a_network_is_ours_then_what_each_peer_says_then_the_sum_and_says_whose_word_it_is():
    own = rates_of_factory([account("lab", "2026-11", MA=50, KE=50)], {}, "MA", "casa")
    heard = {
        "nairobi": Heard(told=Told(months=(MonthTold(month="2026-11", gpu_ms=Rings(home=300)),)), heard_ms=7),
        "cairo": Heard(told=Told(months=(MonthTold(month="2026-10", gpu_ms=Rings(outside=1)),)), heard_ms=5),
        "lagos": Heard(told=Told(months=(MonthTold(month="2026-11", gpu_ms=Rings(home=1)),)), heard_ms=3),
    }
    found = rates_of_network(own, heard, {"nairobi": "KE", "cairo": "EG", "lagos": "NG"})
    got = [(each.month, each.factory, each.country, each.said_by, each.heard_ms) for each in found]
    assert got == [
        ("2026-10", "cairo", "EG", ("cairo",), 5),
        ("2026-10", "", "", ("cairo",), 5),
        ("2026-11", "casa", "MA", (), None),
        ("2026-11", "lagos", "NG", ("lagos",), 3),
        ("2026-11", "nairobi", "KE", ("nairobi",), 7),
        ("2026-11", "", "", ("lagos", "nairobi"), 3),
    ]
    assert found[2] == own[0]
    whole = found[-1].gpu_ms
    assert (whole.home, whole.continent, whole.outside) == (351, 50, 0)
    assert (whole.home_bp, whole.continent_bp) == (8753, 1247)


def test_many_peers_that_say_the_most_that_can_be_said_do_not_break_the_view():
    most = Rings(home=AMOUNT_MAX, continent=AMOUNT_MAX, outside=AMOUNT_MAX)
    word = Heard(told=Told(months=(MonthTold(month="2026-11", gpu_ms=most, bytes=most),)), heard_ms=1)
    found = rates_of_network((), {f"f{number}": word for number in range(1000)}, {})
    whole = found[-1].gpu_ms
    assert whole.home == 1000 * AMOUNT_MAX
    assert whole.home_bp + whole.continent_bp + whole.outside_bp == WHOLE
    assert msgspec.json.decode(msgspec.json.encode(found[-1]))["gpu_ms"]["home"] == whole.home


def test_tokens_have_a_rate_of_their_own_by_where_requests_were_answered():
    places = {
        "MA": Spent(gpu_ms=HOUR_MS, runs=1, requests=1, tokens=900),
        "KE": Spent(requests=2, tokens=75),
        "FR": Spent(requests=1, tokens=25),
    }
    (lab, _) = rates([Account(tenant="lab", month="2026-11", places=places)], {}, "MA")
    assert (lab.tokens.home_bp, lab.tokens.continent_bp, lab.tokens.outside_bp) == (9_000, 750, 250)
    assert (lab.requests.home, lab.requests.continent, lab.requests.outside) == (1, 2, 1)
    assert (lab.gpu_ms.home_bp, lab.runs.home_bp) == (WHOLE, WHOLE), "runs are what they would be without"


def test_tokens_are_told_to_peers_and_left_out_where_there_were_none():
    asked = Account(tenant="lab", month="2026-11", places={"FR": Spent(requests=1, tokens=5)})
    (month,) = told(rates_of_factory([asked], {}, "MA", "Casablanca"), NOW_MS).months
    assert month.tokens == Rings(outside=5)
    heard = {"Lagos": Heard(told=Told(months=(month,)), heard_ms=1)}
    (theirs, whole) = rates_of_network((), heard, {"Lagos": "NG"})
    assert theirs.tokens.outside == whole.tokens.outside == 5
    (silent,) = told(rates_of_factory([account(MA=1)], {}, "MA", "Casablanca"), NOW_MS).months
    assert b"tokens" not in canonical(silent)
    assert b"requests" not in canonical(silent)
