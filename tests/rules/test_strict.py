"""What cannot be understood refuses all that it touches, and says where it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tawtin.core.residency import Judge
from tawtin.model.rules import DATA_CLASSES, Authorisation, Broken, Facts, Labels, Pack, Rule
from tawtin.model.site import Site
from tawtin.model.tenant import Tenant, TenantKind
from tawtin.model.workload import Data, Residency
from tawtin.rules.load import load_packs
from tests.core.building import spec
from tests.rules.test_packs import NOW_MS, ask

GOOD = """
country = "MA"
name = { en = "Morocco", fr = "Maroc", ar = "المغرب" }

[[rules]]
id = "one"
classes = ["personal"]
to = ["FR"]
citation = "a law"
from = 2020-01-01
label = { en = "e", fr = "f", ar = "ع" }
"""


TWICE = """
[[rules]]
id = "one"
classes = ["personal"]
citation = "x"
label = { en = "e", fr = "f", ar = "ع" }
"""


@pytest.mark.parametrize(
    ("old", "new", "want"),
    [
        ('country = "MA"', 'country = "Morocco"', "country: `Morocco` is no ISO 3166-1 code"),
        ('country = "MA"', "country = 1", "$.country"),
        ('to = ["FR"]', 'to = ["Frankreich"]', "rules[0].to: `Frankreich` is not"),
        ('to = ["FR"]', 'too = ["FR"]', "unknown field `too` - at `$.rules[0]`"),
        ('to = ["FR"]', "to = []", "rules[0]: `classes` and `to` may not be empty"),
        ('classes = ["personal"]', 'classes = ["private"]', "rules[0].classes: `private` is not a data class"),
        ('to = ["FR"]', 'to = ["FR"]\nbinds = ["king"]', "rules[0].binds: `king` is not"),
        ('to = ["FR"]', 'to = ["FR"]\nneeds = ["site.mood=good"]', "rules[0].needs: `site.mood=good`"),
        ('to = ["FR"]', 'to = ["FR"]\nneeds = ["site.qualifications.dgssi>=high"]', "rules[0].needs"),
        ("from = 2020-01-01", "from = 2020", "rules[0].from: write a date"),
        ("from = 2020-01-01", "from = 2020-01-01\nuntil = 2019-01-01", "rules[0].until: it ends before it begins"),
        ("from = 2020-01-01", "from = 2020-01-01T00:00:00", "a time needs its zone"),
        ("from = 2020-01-01", "from = 2020-13-01", "line"),
        ('ar = "ع" }\n', 'ar = "ع" }\n[[cases]]\nname = "c"\nclass = "personal"\nsite = "XX"\nwant = "allowed"\n',
         "cases[0].site: `XX`"),
        ('ar = "ع" }\n', 'ar = "ع" }\n[[cases]]\nname = "c"\nclass = "personal"\nsite = "FR"\nwant = "yes"\n',
         "cases[0].want: `yes`"),
        ('ar = "ع" }\n', 'ar = "ع" }\n[sets.some]\nmembers = ["FR", "ZZ"]\n', "sets.some.members: `ZZ`"),
        ('ar = "ع" }\n', 'ar = "ع" }\n' + TWICE, "rules[1].id: `one` is there twice"),
    ],
)  # fmt: skip
def test_a_pack_with_a_mistake_refuses_everything_it_touches_and_names_the_place(
    tmp_path: Path, old: str, new: str, want: str
):
    assert old in GOOD
    (tmp_path / "ma.toml").write_text(GOOD.replace(old, new))
    loaded = load_packs(tmp_path)
    (broken,) = loaded.broken
    assert "ma.toml" in broken.why
    assert want in broken.why
    judge = Judge(loaded.packs, loaded.broken)
    for country in ("MA", "FR", "KE"):
        said = ask(judge, Tenant(id="lab"), country)
        assert not said.allowed
        assert "ma.toml" in said.sentence
    assert ask(judge, Tenant(id="lab"), "KE", data=Data()).allowed, "public data is touched by no pack"


def test_an_own_pack_replaces_the_one_that_ships(tmp_path: Path):
    (tmp_path / "ma.toml").write_text(GOOD)
    loaded = load_packs(tmp_path)
    judge = Judge(loaded.packs, loaded.broken)
    assert loaded.broken == ()
    assert ask(judge, Tenant(id="lab"), "FR").rule == "one"
    assert ask(judge, Tenant(id="lab"), "KE").rule == "one"
    before = {pack.country: pack.sha256 for pack in load_packs().packs}
    after = {pack.country: pack.sha256 for pack in loaded.packs}
    assert {country for country in after if after[country] != before[country]} == {"MA"}


def test_two_packs_for_one_country_are_refused_together(tmp_path: Path):
    (tmp_path / "a.toml").write_text(GOOD)
    (tmp_path / "b.toml").write_text(GOOD)
    (broken,) = load_packs(tmp_path).broken
    assert "`b.toml` and `a.toml` are both for MA" in broken.why


@pytest.mark.parametrize("body", [b"\xff\xfe", b"x" * ((1 << 20) + 1), b"country = "])
def test_a_pack_that_cannot_be_read_at_all_refuses_everything_but_public_data(tmp_path: Path, body: bytes):
    (tmp_path / "what.toml").write_bytes(body)
    loaded = load_packs(tmp_path)
    judge = Judge(loaded.packs, loaded.broken)
    assert not ask(judge, Tenant(id="lab"), "MA").allowed
    assert ask(judge, Tenant(id="lab"), "MA", data=Data()).allowed


def test_a_folder_that_is_not_there_refuses(tmp_path: Path):
    loaded = load_packs(tmp_path / "absent")
    assert not ask(Judge(loaded.packs, loaded.broken), Tenant(id="lab"), "MA").allowed


def test_a_country_without_a_pack_is_refused_on_both_sides():
    loaded = load_packs()
    judge = Judge(loaded.packs, loaded.broken)
    out = ask(judge, Tenant(id="lab"), "MA", data=Data(data_class="personal", origin="BR"))
    assert (out.allowed, out.rule) == (False, "pack.missing")
    into = ask(judge, Tenant(id="lab"), "US", data=Data(data_class="internal"))
    assert (into.allowed, into.rule) == (False, "pack.missing")


def test_an_unknown_class_is_refused():
    said = ask(Judge(), Tenant(id="lab"), "MA", data=Data(data_class="private"))
    assert (said.allowed, said.rule) == (False, "data.class")


CLASSES = st.sampled_from([*DATA_CLASSES, "odd"])
COUNTRIES = st.sampled_from(["MA", "KE", "ZA", "NG", "EG", "FR", "US", "xx", ""])
KINDS = [
    "cndp_f118_authorisation",
    "popia_s72_ground",
    "ndpa_basis_record",
    "scc_or_bcr",
    "ma_representative",
]
PAPERS = st.lists(
    st.builds(
        Authorisation,
        kind=st.sampled_from(KINDS),
        number=st.just("1"),
        covers=st.sampled_from([("*",), ("KE",), ("MA", "ZA"), ()]),
        expires_ms=st.sampled_from([None, NOW_MS, NOW_MS + 1]),
    ),
    max_size=4,
).map(tuple)
TENANTS = st.builds(
    Tenant,
    id=st.just("lab"),
    kind=st.sampled_from(list(TenantKind)),
    country=st.sampled_from(["", "MA", "NG", "FR"]),
    sectors=st.sampled_from([(), ("financial",), ("telecom",)]),
    authorisations=PAPERS,
)
WISHES = st.builds(
    Residency,
    allow=st.sampled_from([(), ("MA",), ("KE", "ZA"), ("nowhere",)]),
    deny=st.sampled_from([(), ("KE",), ("MA", "FR")]),
)
ALL = load_packs()


@given(TENANTS, COUNTRIES, CLASSES, st.sampled_from(["", "MA", "KE", "ZA", "FR", "zz"]), WISHES)
def test_an_owner_only_narrows_and_nothing_raises(
    tenant: Tenant, country: str, data_class: str, origin: str, wish: Residency
):
    judge = Judge(ALL.packs, ALL.broken)
    data = Data(data_class=data_class, origin=origin)
    free = ask(judge, tenant, country, data=data)
    narrowed = ask(judge, tenant, country, data=data, residency=wish)
    assert free.rule
    assert free.sentence
    assert free.allowed or not narrowed.allowed


@given(TENANTS, COUNTRIES, CLASSES, st.sampled_from(["MA", "KE", "ZA"]))
def test_one_rule_more_only_narrows(tenant: Tenant, country: str, data_class: str, origin: str):
    """A rule in a group of its own: as an alternative it would be meant to widen."""
    label = Labels(en="e", fr="f", ar="ع")
    extra = Rule(id="extra", classes=tuple(DATA_CLASSES), to=("KE",), inland=True, citation="x", label=label)
    more = tuple(
        replace(pack, rules=(*pack.rules, extra)) if pack.country == origin else pack for pack in ALL.packs
    )
    data = Data(data_class=data_class, origin=origin)
    before = ask(Judge(ALL.packs), tenant, country, data=data)
    after = ask(Judge(more), tenant, country, data=data)
    assert before.allowed or before.rule == "pack.silent" or not after.allowed


@given(TENANTS, COUNTRIES, CLASSES, st.integers(NOW_MS - 2, NOW_MS + 2), st.integers(NOW_MS - 2, NOW_MS + 2))
def test_what_a_judge_remembers_is_what_it_would_find_anew(
    tenant: Tenant, country: str, data_class: str, first_ms: int, then_ms: int
):
    judge = Judge(ALL.packs)
    data = Data(data_class=data_class)
    site = Site(name="s", country=country, facts=Facts())
    wanted = replace(spec(), data=data)
    judge.verdict(wanted, tenant, site, first_ms, home="MA")
    assert judge.verdict(wanted, tenant, site, then_ms, home="MA") == Judge(ALL.packs).verdict(
        wanted, tenant, site, then_ms, home="MA"
    )


def test_a_broken_pack_of_one_country_leaves_the_others_alone():
    packs = tuple(pack for pack in ALL.packs if pack.country != "KE")
    judge = Judge(packs, (Broken(country="KE", why="for a test"),))
    assert ask(judge, Tenant(id="lab"), "MA").allowed
    assert not ask(judge, Tenant(id="lab"), "KE").allowed
    assert not ask(judge, Tenant(id="lab"), "KE", data=Data(data_class="internal")).allowed
    assert isinstance(ALL.packs[0], Pack)
