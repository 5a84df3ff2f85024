from __future__ import annotations

import pytest
from msgspec.structs import replace

from tawtin.core.admit import Submission, admit
from tawtin.core.residency import Judge
from tawtin.core.state import State
from tawtin.model.events import PeerPut, SubmissionRefused, TenantPut, WorkloadsSubmitted
from tawtin.model.reasons import Refusal
from tawtin.model.roaming import Peer, PeerState
from tawtin.model.site import Site
from tawtin.model.tenant import Quota, Tenant
from tawtin.model.workload import Residency, WorkloadSpec, WorkloadType
from tests.core.building import SITE, Factory, spec

PLAIN = Tenant(id="lab")


@pytest.fixture
def factory() -> Factory:
    made = Factory()
    made.tenant(quota=Quota(workloads=2, priority_max=10))
    return made


def submission(wanted: WorkloadSpec, *, array: tuple[int, ...] | None = None) -> Submission:
    ids = tuple(f"w{number}" for number in reversed(range(len(array) if array else 1)))
    return Submission(
        tenant="lab", spec=wanted, digest="d", ids=ids, array=array, array_id="ar" if array else ""
    )


def refusal(state: State, wanted: WorkloadSpec, site: Site = SITE) -> Refusal | None:
    event = admit(state, site, submission(wanted), 7)
    return event.refusal if isinstance(event, SubmissionRefused) else None


@pytest.mark.parametrize(
    ("mine", "tenants", "country", "want"),
    [
        (Residency(), Residency(), "MA", True),
        (Residency(allow=("MA",)), Residency(), "MA", True),
        (Residency(allow=("EG",)), Residency(), "MA", False),
        (Residency(), Residency(allow=("EG", "KE")), "MA", False),
        (Residency(deny=("MA",)), Residency(allow=("MA",)), "MA", False),
        (Residency(allow=("MA",)), Residency(deny=("MA",)), "MA", False),
        (Residency(allow=("MA",), deny=("MA",)), Residency(), "MA", False),
        (Residency(allow=("MA", "ma")), Residency(), "MA", False),
        (Residency(deny=("Morocco",)), Residency(), "MA", False),
        (Residency(), Residency(deny=("",)), "MA", False),
        (Residency(), Residency(), "", False),
        (Residency(), Residency(), "ma", False),
    ],
)
def test_residency_the_owner_only_narrows_and_what_is_not_understood_is_refused(
    mine: Residency, tenants: Residency, country: str, want: bool
):
    tenant = replace(PLAIN, residency=tenants)
    said = Judge().verdict(spec(residency=mine), tenant, replace(SITE, country=country), 0)
    assert said.allowed is want
    assert said.rule
    assert said.sentence


def test_residency_is_looked_at_before_a_workload_is_accepted_and_again_before_it_runs(factory: Factory):
    assert refusal(factory.state, spec(residency=Residency(deny=("MA",)))) is Refusal.NO_LAWFUL_FACTORY
    factory.node("a")
    factory.submit("w1", spec(residency=Residency(allow=("MA",))))
    factory.tenant(residency=Residency(allow=("EG",)))
    assert factory.tick().placements == ()
    factory.tenant(residency=Residency())
    assert [each.workload for each in factory.tick().placements] == ["w1"]


def test_an_accepted_submission_says_which_rule_allows_it(factory: Factory):
    event = admit(factory.state, SITE, submission(spec()), 7)
    assert isinstance(event, WorkloadsSubmitted)
    assert event.verdict == "public: public data may be at casablanca: no country here has a rule against it"
    [workload] = event.workloads
    assert (workload.submitted_ms, workload.queued_ms, workload.epoch) == (7, 7, 0)


def test_an_array_is_queued_in_the_order_of_its_indices(factory: Factory):
    event = admit(factory.state, SITE, submission(spec(), array=(3, 7)), 7)
    assert isinstance(event, WorkloadsSubmitted)
    got = [(each.id, each.array.index, each.array.size) for each in event.workloads if each.array]
    assert got == [("w0", 3, 2), ("w1", 7, 2)]


def test_each_check_has_its_token(factory: Factory):
    state = factory.state
    assert refusal(state, replace(spec(), type=WorkloadType.SERVICE)) is Refusal.TYPE_NOT_RUN_HERE
    assert refusal(state, spec(), replace(SITE, isolated=False)) is Refusal.SANDBOX_MISSING
    assert refusal(state, spec(priority=11)) is Refusal.PRIORITY_TOO_HIGH
    assert refusal(state, replace(spec(), workdir="sha256:" + "0" * 64)) is Refusal.UNKNOWN_ARTIFACT
    assert refusal(state, replace(spec(), network=True)) is None
    factory.tell(TenantPut(tenant=Tenant(id="lab", closed=True)))
    assert refusal(state, spec()) is Refusal.TENANT_CLOSED
    factory.tell(TenantPut(tenant=Tenant(id="lab")))
    assert refusal(state, replace(spec(), network=True)) is Refusal.NETWORK_NOT_ALLOWED


def test_a_program_of_the_factory_itself_needs_no_leave_for_the_network_and_has_to_be_here(factory: Factory):
    factory.tell(PeerPut(peer=Peer(name="cairo", country="EG", currency="MAD", state=PeerState.ACTIVE)))
    factory.tell(TenantPut(tenant=Tenant(id="lab")))
    wanted = replace(spec(), network=True)
    mine = replace(submission(wanted), house=True)
    assert isinstance(admit(factory.state, SITE, mine, 7), WorkloadsSubmitted)
    away = replace(wanted, residency=Residency(allow=("EG",)))
    event = admit(factory.state, SITE, replace(mine, spec=away), 7)
    assert isinstance(event, SubmissionRefused)
    assert event.refusal is Refusal.NO_LAWFUL_FACTORY
    assert refusal(factory.state, away) is Refusal.NETWORK_NOT_ALLOWED, "a tenant's own program may be there"


def test_without_a_sandbox_the_owner_may_still_run_work(factory: Factory):
    factory.tell(TenantPut(tenant=Tenant(id="lab", owner=True)))
    assert refusal(factory.state, spec(), replace(SITE, isolated=False)) is None


def test_the_limit_of_unfinished_workloads_counts_the_whole_array(factory: Factory):
    factory.submit("x1", spec())
    assert isinstance(admit(factory.state, SITE, submission(spec()), 7), WorkloadsSubmitted)
    event = admit(factory.state, SITE, submission(spec(), array=(0, 1)), 7)
    assert isinstance(event, SubmissionRefused)
    assert event.refusal is Refusal.TOO_MANY_WORKLOADS
    assert "has 1 unfinished workloads and may have 2; 2 more do not fit" in event.sentence
