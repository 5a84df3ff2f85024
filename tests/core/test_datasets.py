"""What names of datasets come to, and that nothing is judged by less than the law of what it reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tawtin.core.datasets import changed, made_again, resolved
from tawtin.core.keep import restore
from tawtin.core.residency import Judge, unrestricted
from tawtin.core.roam import bytes_to, considered
from tawtin.core.state import State
from tawtin.model.artifact import Artifact, Law
from tawtin.model.events import ArtifactDropped, ArtifactKept, PeerPut
from tawtin.model.roaming import Peer, PeerState
from tawtin.model.rules import DATA_CLASSES, Authorisation
from tawtin.model.site import Site
from tawtin.model.tenant import Tenant
from tawtin.model.workload import Data, Input, Mount, WorkloadSpec
from tawtin.rules.load import load_packs
from tests.core.building import SITE, Factory, spec
from tests.rules.test_packs import NOW_MS, all_packs

CENSUS, SCORES, NEWER = (f"sha256:{letter * 64}" for letter in "abc")
PERSONAL = Law(data_class="personal", origin="MA")
ALL = load_packs()


@pytest.fixture
def factory() -> Factory:
    made = Factory()
    made.state = State(SITE, all_packs())
    made.now_ms = NOW_MS
    made.tenant()
    made.tenant("other")
    return made


def put(factory: Factory, id: str, name: str, law: Law | None = None, *, tenant: str = "lab") -> None:
    law = law or Law()
    new = Artifact(
        id=id, tenant=tenant, data_class=law.data_class, origin=law.origin, size_bytes=1000, files=1
    )
    factory.tell(*(ArtifactKept(artifact=each) for each in changed(factory.state, new, name)))


def reading(*names: str, data_class: str = "public", origin: str = "") -> WorkloadSpec:
    return replace(spec(), data=Data(data_class=data_class, origin=origin, datasets=names))


def found(factory: Factory, wanted: WorkloadSpec, tenant: str = "lab") -> WorkloadSpec:
    got = resolved(factory.state, factory.state.tenants[tenant], wanted)
    assert isinstance(got, WorkloadSpec), got
    return got


def allowed(factory: Factory, wanted: WorkloadSpec, country: str) -> bool:
    site = Site(name="there", country=country)
    return factory.state.judge.verdict(wanted, factory.state.tenants["lab"], site, NOW_MS, home="MA").allowed


def test_a_name_is_recorded_as_a_mount_by_digest_with_the_law_of_the_data(factory: Factory):
    put(factory, CENSUS, "census", PERSONAL)
    got = found(factory, reading("census"))
    assert got.mounts == (Mount(path="/home/run/datasets/census", artifact=CENSUS),)
    assert got.data.inputs == (Input(artifact=CENSUS, name="census", data_class="personal", origin="MA"),)
    assert (got.data.data_class, got.data.datasets) == ("public", ("census",)), "as it was written"


def test_an_origin_that_was_not_said_is_said_once_it_is_read(factory: Factory):
    put(factory, CENSUS, "census", Law(data_class="personal"))
    assert found(factory, reading("census")).data.inputs[0].origin == "MA"
    factory.state.tenants["lab"] = replace(factory.state.tenants["lab"], country="NG")
    assert found(factory, reading("census")).data.inputs[0].origin == "NG"


def test_every_unknown_name_is_told_by_its_place_and_names_of_others_are_unknown(factory: Factory):
    put(factory, CENSUS, "census")
    put(factory, SCORES, "scores", tenant="other")
    lab = factory.state.tenants["lab"]
    assert resolved(factory.state, lab, reading("gone", "census", "scores")) == (0, 2)
    assert found(factory, reading("scores"), "other").mounts[0].artifact == SCORES


def test_a_name_given_to_newer_data_means_that_from_then_on_and_what_was_accepted_stays(factory: Factory):
    put(factory, CENSUS, "census", PERSONAL)
    before = found(factory, reading("census"))
    put(factory, NEWER, "census")
    assert factory.state.artifacts["lab", CENSUS].datasets == ()
    assert found(factory, reading("census")).mounts[0].artifact == NEWER
    again = found(factory, before)
    assert again == before, "tried again, it reads what it read, under the law that it had"


def test_a_law_that_came_to_be_known_is_added_to_what_is_tried_again(factory: Factory):
    put(factory, CENSUS, "census")
    before = found(factory, reading("census"))
    assert allowed(factory, before, "ZA")
    put(factory, CENSUS, "census", PERSONAL)
    again = found(factory, before)
    assert again.mounts == before.mounts
    assert not allowed(factory, again, "ZA")


def test_bytes_may_be_called_more_than_public_and_nothing_less_than_they_are(factory: Factory):
    put(factory, CENSUS, "census")
    put(factory, CENSUS, "people", PERSONAL)
    held = factory.state.artifacts["lab", CENSUS]
    assert (held.data_class, held.origin, held.datasets) == ("personal", "MA", ("census", "people"))
    put(factory, CENSUS, "people", Law(data_class="personal"))
    for law in (Law(), Law(data_class="personal", origin="KE"), Law(data_class="internal", origin="MA")):
        with pytest.raises(ValueError, match=r"here already, as `personal` data of MA"):
            put(factory, CENSUS, "loose", law)
    assert factory.state.artifacts["lab", CENSUS] == held


def test_what_is_known_by_that_name_already_changes_nothing(factory: Factory):
    put(factory, CENSUS, "census", PERSONAL)
    length = len(factory.log)
    put(factory, CENSUS, "census", PERSONAL)
    put(factory, CENSUS, "")
    assert len(factory.log) == length


def test_public_code_that_reads_personal_data_of_morocco_is_judged_as_that(factory: Factory):
    put(factory, CENSUS, "census", PERSONAL)
    put(factory, SCORES, "scores")
    assert allowed(factory, found(factory, reading("scores")), "KE")
    wanted = found(factory, reading("scores", "census"))
    assert allowed(factory, wanted, "MA")
    assert allowed(factory, wanted, "FR"), "Morocco has France on its list"
    assert not allowed(factory, wanted, "KE")
    said = factory.state.judge.verdict(
        wanted, factory.state.tenants["lab"], Site(name="n", country="KE"), NOW_MS, home="MA"
    )
    assert "Law 09-08, art. 44" in said.citation
    assert not unrestricted(wanted, factory.state.tenants["lab"])


def test_data_of_two_origins_may_be_only_where_both_laws_allow_it(factory: Factory):
    put(factory, CENSUS, "census", PERSONAL)
    put(factory, SCORES, "scores", Law(data_class="personal", origin="KE"))
    assert allowed(factory, found(factory, reading("census")), "MA")
    assert allowed(factory, found(factory, reading("scores")), "KE")
    both = found(factory, reading("census", "scores"))
    assert [allowed(factory, both, country) for country in ("MA", "KE")] == [
        allowed(factory, found(factory, reading("scores")), "MA"),
        False,
    ]
    assert {law.origin for law in both.data.restricted} == {"MA", "KE"}


def test_personal_data_is_not_read_as_public_by_its_digest_either(factory: Factory):
    put(factory, CENSUS, "census", PERSONAL)
    for wanted in (
        replace(spec(), workdir=CENSUS),
        replace(spec(), mounts=(Mount(path="/data", artifact=CENSUS),)),
    ):
        assert allowed(factory, wanted, "KE")
        assert not allowed(factory, found(factory, wanted), "KE")


def test_a_spec_that_reads_nothing_under_another_law_stays_as_it_was_written(factory: Factory):
    put(factory, CENSUS, "", PERSONAL)
    put(factory, SCORES, "")
    same = replace(spec(), workdir=CENSUS, data=Data(data_class="personal", origin="MA"))
    for wanted in (spec(), replace(spec(), workdir=SCORES), same):
        assert found(factory, wanted) is wanted


def test_the_bytes_of_datasets_count_where_places_are_weighed_and_each_place_cites_their_law(
    factory: Factory,
):
    factory.tell(PeerPut(peer=Peer(name="nairobi", country="KE", currency="MAD", state=PeerState.ACTIVE)))
    put(factory, CENSUS, "census", PERSONAL)
    workload = factory.submit("wl-1", found(factory, reading("census")))
    assert bytes_to(factory.state, workload, "nairobi") == 1000
    here, there = considered(factory.state, {}, workload, NOW_MS)
    assert (here.allowed, there.allowed) == (True, False)
    assert "Law 09-08" in there.citation


def test_what_is_made_of_personal_data_is_under_its_law_whatever_the_spec_says(factory: Factory):
    put(factory, CENSUS, "census", PERSONAL)
    put(factory, SCORES, "scores")
    assert found(factory, reading("census", "scores")).data.restricted == (PERSONAL,)
    assert found(factory, reading("scores")).data.restricted == (Law(),)
    own = found(factory, reading("census", data_class="financial", origin="KE")).data.restricted
    assert own == (Law(data_class="financial", origin="KE"), PERSONAL)


def test_a_run_that_makes_the_bytes_of_a_dataset_again_takes_neither_its_name_nor_its_law(factory: Factory):
    put(factory, CENSUS, "census", PERSONAL)
    known = factory.state.artifacts["lab", CENSUS]
    made = made_again(known, Artifact(id=CENSUS, tenant="lab", name="out", run="wl-1.1", places=("nairobi",)))
    assert (made.data_class, made.origin, made.more) == ("personal", "MA", ())
    assert (made.datasets, made.places, made.here) == (("census",), ("nairobi",), True)
    factory.tell(ArtifactKept(artifact=made))
    assert found(factory, reading("census")).data.inputs[0].data_class == "personal"


def test_a_state_that_is_restored_knows_the_names_and_one_that_was_dropped_has_none(factory: Factory):
    put(factory, CENSUS, "census")
    put(factory, NEWER, "census")
    again = State(SITE)
    for tenant in factory.state.tenants.values():
        restore(again, tenant)
    for artifact in factory.state.artifacts.values():
        restore(again, artifact)
    assert again.datasets == factory.state.datasets == {"lab": {"census": NEWER}}
    factory.tell(ArtifactDropped(tenant="lab", id=NEWER))
    assert resolved(factory.state, factory.state.tenants["lab"], reading("census")) == (0,)
    assert again.datasets == {"lab": {"census": NEWER}}


LAWS = st.builds(
    Law,
    data_class=st.sampled_from([*DATA_CLASSES, "odd"]),
    origin=st.sampled_from(["MA", "KE", "ZA", "NG", "FR", "zz"]),
)
PAPERS = st.sampled_from(
    [(), (Authorisation(kind="cndp_f118_authorisation", number="1", covers=("KE",), expires_ms=NOW_MS + 5),)]
)


@given(LAWS, st.lists(LAWS, max_size=3), st.sampled_from(["MA", "KE", "ZA", "FR"]), PAPERS)
def test_a_workload_is_allowed_exactly_where_every_law_alone_allows_it_and_no_longer(
    own: Law, read: list[Law], country: str, papers: tuple[Authorisation, ...]
):
    tenant, site = Tenant(id="lab", authorisations=papers), Site(name="s", country=country)
    judge = Judge(ALL.packs, ALL.broken)

    def said(data: Data, now_ms: int = NOW_MS):
        return judge.verdict(replace(spec(), data=data), tenant, site, now_ms, home="MA")

    inputs = tuple(Input(artifact=CENSUS, data_class=law.data_class, origin=law.origin) for law in read)
    together = Data(data_class=own.data_class, origin=own.origin, inputs=inputs)
    alone = [said(Data(data_class=law.data_class, origin=law.origin)) for law in (own, *read)]
    got = said(together)
    assert got.allowed is all(each.allowed for each in alone)
    if got.allowed:
        ends = [each.not_after_ms for each in alone if each.not_after_ms is not None]
        assert got.not_after_ms == min(ends, default=None)
    else:
        assert got in [each for each in alone if not each.allowed]
    later = judge.verdict(replace(spec(), data=together), tenant, site, NOW_MS + 10, home="MA")
    fresh = Judge(ALL.packs, ALL.broken)
    assert later == fresh.verdict(replace(spec(), data=together), tenant, site, NOW_MS + 10, home="MA")
