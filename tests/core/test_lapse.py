"""An authorisation that ends while its workload waits or runs."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tawtin.core.decide import decide
from tawtin.core.fold import restore
from tawtin.core.state import State
from tawtin.model.events import TenantPut, VerdictsLapsed
from tawtin.model.reasons import Cause
from tawtin.model.rules import Authorisation
from tawtin.model.tenant import Tenant
from tawtin.model.workload import Data
from tests.core.building import SITE, Factory, spec
from tests.rules.test_packs import NOW_MS, all_packs

ENDS_MS = NOW_MS + 1000
PAPERS = (
    Authorisation(kind="popia_s72_ground", number="1", covers=("MA",), expires_ms=ENDS_MS),
    Authorisation(kind="ma_representative", number="2"),
)
FROM_ABROAD = replace(spec(), data=Data(data_class="personal", origin="ZA"))


@pytest.fixture
def factory() -> Factory:
    made = Factory()
    made.state = State(SITE, all_packs())
    made.now_ms = NOW_MS
    made.node("node-1")
    made.tell(TenantPut(tenant=Tenant(id="lab", authorisations=PAPERS)))
    return made


def test_a_run_is_stopped_when_the_authorisation_ends(factory: Factory):
    factory.submit("wl-1", FROM_ABROAD)
    assert [each.workload for each in factory.tick().placements] == ["wl-1"]
    assert not factory.state.lapsed(ENDS_MS - 1)
    assert factory.state.lapsed(ENDS_MS)
    factory.now_ms = ENDS_MS
    factory.tell(VerdictsLapsed())
    assert [(each.run, each.cause) for each in factory.tick().stops] == [("wl-1.1", Cause.RESIDENCY)]
    assert not factory.state.lapsed(ENDS_MS)


def test_a_waiting_workload_does_not_start_after_the_authorisation_ended(factory: Factory):
    factory.submit("wl-1", FROM_ABROAD)
    factory.now_ms = ENDS_MS
    factory.tell(VerdictsLapsed())
    assert factory.tick().placements == ()
    paper = replace(PAPERS[0], expires_ms=ENDS_MS + 5)
    factory.tell(TenantPut(tenant=Tenant(id="lab", authorisations=(paper, PAPERS[1]), version=2)))
    assert [each.workload for each in factory.tick().placements] == ["wl-1"]


def test_rows_give_the_same_verdicts_as_the_log(factory: Factory):
    factory.submit("wl-1", FROM_ABROAD)
    factory.tick()
    factory.submit("wl-2", FROM_ABROAD)
    factory.now_ms = ENDS_MS
    factory.tell(VerdictsLapsed())
    again = State(SITE, all_packs())
    again.seq, again.time_ms = factory.state.seq, factory.state.time_ms
    for table in (factory.state.tenants, factory.state.nodes, factory.state.workloads, factory.state.runs):
        for record in table.values():
            restore(again, record)
    assert again.unlawful_runs == factory.state.unlawful_runs == {"wl-1.1": None}
    assert again.queues.parked == factory.state.queues.parked
    assert decide(again, ENDS_MS) == decide(factory.state, ENDS_MS)
