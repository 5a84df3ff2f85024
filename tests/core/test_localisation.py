"""Which share of what was used was used at home."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tawtin.core.localisation import AFRICA, WHOLE, Ring, rates, ring_of
from tawtin.model.codes import COUNTRIES
from tawtin.model.events import RunPlaced
from tawtin.model.tenant import Account, Spent
from tawtin.model.views import Share
from tawtin.model.workload import Usage
from tests.core.building import HOUR_MS, Factory, spec
from tests.core.test_away import away


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
