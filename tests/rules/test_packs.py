"""The packs that ship: each passes its own cases, and the cases of the contract come out right."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tawtin.core.residency import Judge, trial
from tawtin.model.rules import COMMON, Authorisation, Case, Facts, Verdict
from tawtin.model.site import Site
from tawtin.model.tenant import Tenant, TenantKind
from tawtin.model.workload import Data, Residency, WorkloadSpec
from tawtin.rules.load import load_packs
from tests.core.building import spec

NOW_MS = 1_795_737_600_000
"""27 November 2026."""
DAY_MS = 86_400_000
LOADED = load_packs()
BY_COUNTRY = {pack.country: pack for pack in LOADED.packs}
FIVE = ("ZA", "MA", "EG", "KE", "NG")


def all_packs() -> Judge:
    return Judge(LOADED.packs, LOADED.broken)


@pytest.fixture
def judge() -> Judge:
    return all_packs()


def ask(
    judge: Judge,
    tenant: Tenant,
    country: str,
    *,
    home: str = "MA",
    facts: Facts | None = None,
    now_ms: int = NOW_MS,
    data: Data | None = None,
    residency: Residency | None = None,
) -> Verdict:
    wanted: WorkloadSpec = replace(
        spec(residency=residency or Residency()), data=data or Data(data_class="personal")
    )
    site = Site(name=f"factory-{country}", country=country, facts=facts or Facts())
    return judge.verdict(wanted, tenant, site, now_ms, home=home)


def test_every_pack_that_ships_can_be_read():
    assert LOADED.broken == ()
    want = [COMMON, "CI", "DZ", "EG", "EU", "GH", "KE", "MA", "NG", "RW", "SN", "TN", "ZA"]
    assert sorted(BY_COUNTRY) == want


@pytest.mark.parametrize("country", sorted(BY_COUNTRY))
def test_a_pack_passes_its_own_cases(country: str, judge: Judge):
    assert BY_COUNTRY[country].cases, "a pack without cases proves nothing"
    assert trial(judge, BY_COUNTRY[country], NOW_MS) == ()


def test_a_case_that_comes_out_otherwise_is_told(judge: Judge):
    pack = BY_COUNTRY["MA"]
    wrong = replace(pack, cases=(Case(name="wrong", data_class="personal", site="KE", want="allowed"),))
    assert trial(judge, wrong, NOW_MS) == (
        "`wrong`: refused by ma-0908-44, and it should be allowed by any rule",
    )


@pytest.mark.parametrize("country", sorted(BY_COUNTRY))
def test_a_rule_has_its_source_its_confidence_and_its_words_in_three_languages(country: str):
    for rule in BY_COUNTRY[country].rules:
        assert rule.citation, rule.id
        assert rule.confidence, rule.id
        assert rule.verified, rule.id
        assert rule.label.en, rule.id
        assert rule.label.fr, rule.id
        assert any("\u0600" <= character <= "\u06ff" for character in rule.label.ar), rule.id


def test_personal_data_of_a_moroccan_hospital_stays_at_home_and_every_refusal_is_cited(judge: Judge):
    hospital = Tenant(id="hospital", kind=TenantKind.PUBLIC_BODY)
    for country in FIVE:
        said = ask(judge, hospital, country)
        assert said.allowed is (country == "MA"), country
        if country != "MA":
            assert "Law 09-08, art. 44" in said.citation
            assert "Law 09-08, art. 44" in said.sentence
            assert said.packs["MA"] == BY_COUNTRY["MA"].sha256


def test_an_authorisation_counts_where_and_as_long_as_it_says(judge: Judge):
    paper = Authorisation(
        kind="cndp_f118_authorisation", number="T-218", covers=("KE",), expires_ms=NOW_MS + DAY_MS
    )
    tenant = Tenant(id="lab", authorisations=(paper,))
    said = ask(judge, tenant, "KE")
    assert said.allowed
    assert said.not_after_ms == NOW_MS + DAY_MS
    assert ask(judge, tenant, "KE", now_ms=NOW_MS + DAY_MS - 1).allowed
    assert not ask(judge, tenant, "KE", now_ms=NOW_MS + DAY_MS).allowed
    assert not ask(judge, tenant, "EG").allowed


LEVEL_2 = Facts(
    law="MA",
    ownership={"MA": 60, "FR": 40},
    control_plane="MA",
    staff="MA",
    qualifications={"dgssi": 2},
    attested={
        "qualifications.dgssi": "DGSSI",
        "ownership": "DGSSI",
        "control_plane": "DGSSI",
        "staff": "DGSSI",
    },
)


@pytest.mark.parametrize(
    ("facts", "want"),
    [
        (LEVEL_2, True),
        (replace(LEVEL_2, control_plane="FR"), False),
        (replace(LEVEL_2, ownership={"FR": 60, "MA": 40}), False),
        (replace(LEVEL_2, ownership={"FR": 50, "MA": 50}), False),
        (replace(LEVEL_2, qualifications={"dgssi": 1}), False),
        (replace(LEVEL_2, staff=""), False),
        (replace(LEVEL_2, attested={}), False),
        (replace(LEVEL_2, attested={**LEVEL_2.attested, "staff": ""}), False),
        (Facts(), False),
    ],
)
def test_sensitive_data_of_a_vital_operator_needs_level_2_attested_also_in_casablanca(
    facts: Facts, want: bool, judge: Judge
):
    tenant = Tenant(id="grid", kind=TenantKind.VITAL_INFRASTRUCTURE)
    said = ask(judge, tenant, "MA", facts=facts, data=Data(data_class="government_sensitive"))
    assert said.allowed is want


def test_a_private_company_is_not_bound_by_what_binds_public_bodies(judge: Judge):
    assert ask(judge, Tenant(id="shop"), "MA", data=Data(data_class="government_sensitive")).allowed


def test_health_care_data_of_kenya_may_be_abroad_with_a_serving_copy_at_home(judge: Judge):
    data = Data(data_class="internal", origin="KE", purpose="health_care")
    copy = Authorisation(kind="serving_copy_ke", number="nairobi")
    assert ask(judge, Tenant(id="clinic"), "KE", data=data).allowed
    assert not ask(judge, Tenant(id="clinic"), "ZA", data=data).allowed
    assert ask(judge, Tenant(id="clinic", authorisations=(copy,)), "ZA", data=data).allowed


def test_storage_abroad_is_a_transfer_from_egypt(judge: Judge):
    said = ask(judge, Tenant(id="shop"), "ZA", data=Data(data_class="personal", origin="EG"))
    assert not said.allowed
    assert [each.rule for each in said.findings] == ["eg-pdpl-14", "eg-pdpl-15", "eg-pdpl-16"]


def test_foreign_personal_data_meets_the_law_of_morocco_too(judge: Judge):
    papers = [Authorisation(kind=kind, number="1") for kind in ("popia_s72_ground", "ma_representative")]
    data = Data(data_class="personal", origin="ZA")
    assert (
        ask(judge, Tenant(id="a", authorisations=tuple(papers[:1])), "MA", data=data).rule
        == "ma-0908-2-import"
    )
    assert ask(judge, Tenant(id="b", authorisations=tuple(papers)), "MA", data=data).allowed


@pytest.mark.parametrize("country", [*FIVE, "FR", "US", "BR"])
def test_public_data_goes_anywhere(country: str, judge: Judge):
    assert ask(judge, Tenant(id="lab"), country, data=Data()).allowed


def test_the_tenants_own_country_is_the_origin_where_none_is_said(judge: Judge):
    said = ask(judge, Tenant(id="lab", country="NG"), "MA")
    assert not said.allowed
    assert said.rule == "ng-ndpa-41"


def test_an_announced_rule_is_shown_and_does_not_bind(judge: Judge):
    papers = tuple(
        Authorisation(kind=kind, number="1")
        for kind in ("ndpa_basis_record", "ndpa_s43_condition", "ke_safeguards_proof")
    )
    said = ask(
        judge, Tenant(id="lab", authorisations=papers), "KE", data=Data(data_class="sensitive", origin="NG")
    )
    assert said.allowed
    assert [each.rule for each in said.findings if not each.binding] == ["ng-nitda-class-2025"]


def test_secret_data_is_nowhere_where_no_rule_speaks_of_it(judge: Judge):
    said = ask(
        judge,
        Tenant(id="army", kind=TenantKind.PUBLIC_BODY),
        "MA",
        data=Data(data_class="government_classified"),
    )
    assert not said.allowed
    assert said.rule == "pack.silent"
