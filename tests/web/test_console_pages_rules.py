"""The page of rule packs: every rule that a verdict can name is an anchor on it, and nothing in a pack becomes HTML."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tawtin.core.residency import Judge
from tawtin.model.rules import Broken, Labels, Note, Pack, Rule
from tawtin.model.tenant import Scope
from tawtin.rules.load import load_packs
from tawtin.web.console.pages.rules import BUILT_IN
from tawtin.web.console.words import LANGUAGES, words_of
from tests.web.browsing import signed_in, text_of
from tests.web.harness import Factory, running

EVIL = '<script>alert(1)</script>"onload=x'
HOSTILE = Pack(
    country="TG",
    name=Labels(en=EVIL, fr=EVIL, ar=EVIL),
    rules=(
        Rule(
            id="tg-1",
            classes=("personal",),
            needs=("a_document_nobody_knows",),
            citation=EVIL,
            source="javascript:alert(1) ; https://example.org/a?b=c",
            confidence=EVIL,
            verified=EVIL,
            notes=EVIL,
            label=Labels(en=EVIL, fr=EVIL, ar=EVIL),
        ),
    ),
    notes=(Note(id="tg-note", text=EVIL, citation=EVIL, source="data:text/html,x"),),
)
BROKEN = Broken(country="SN", why=EVIL)


@pytest.fixture(scope="module")
def lawful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    shipped = [pack for pack in load_packs().packs if pack.country != "SN"]
    with running(tmp_path_factory.mktemp("rules"), judge=Judge([*shipped, HOSTILE], [BROKEN])) as factory:
        yield factory


def test_every_rule_is_an_anchor_in_each_language(lawful: Factory) -> None:
    key = lawful.key("reader", Scope.READ)
    packs = lawful.service.state.judge.packs
    for language in LANGUAGES:
        with signed_in(lawful, key, language) as browser:
            said = browser.get("/console/rules")
        assert said.status_code == 200
        for id in (*BUILT_IN, *(rule.id for pack in packs.values() for rule in pack.rules)):
            assert f'id="{id}"' in said.text
        assert getattr(packs["MA"].rules[0].label, language) in said.text.replace("&#39;", "'")


def test_nothing_of_a_pack_becomes_html_or_a_link_that_runs(lawful: Factory) -> None:
    with signed_in(lawful, lawful.key("reader", Scope.READ)) as browser:
        page = browser.get("/console/rules?country=TG").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "a_document_nobody_knows" in page
    assert 'href="https://example.org/a?b=c" rel="noreferrer noopener"' in page
    assert 'href="javascript:' not in page
    assert 'href="data:' not in page


def test_a_broken_pack_is_told_with_what_it_means(lawful: Factory) -> None:
    with signed_in(lawful, lawful.key("reader", Scope.READ)) as browser:
        said = text_of(browser.get("/console/rules").text)
    assert (
        "The rule pack of Senegal cannot be used. Whatever it would have to be asked about is refused" in said
    )


def test_a_country_and_a_word_narrow_the_page(lawful: Factory) -> None:
    with signed_in(lawful, lawful.key("reader", Scope.READ)) as browser:
        kenya = browser.get("/console/rules?country=KE").text
        found = browser.get("/console/rules?q=F118").text
        none = browser.get("/console/rules", params={"q": EVIL + "zzz", "country": "../../etc"}).text
    assert 'id="pack-KE"' in kenya
    assert 'id="pack-MA"' not in kenya
    assert 'id="ma-0908-44"' in found
    assert 'id="ma-0520-11"' not in found
    assert "No rule fits" in none
    assert "<script>alert" not in none


def test_who_is_not_signed_in_is_asked_to(lawful: Factory) -> None:
    with signed_in(lawful, lawful.key("reader", Scope.READ)) as browser:
        browser.cookies.clear()
        said = browser.get("/console/rules?q=a")
    assert said.status_code == 303
    assert said.headers["location"] == "/console/sign-in?next=%2Fconsole%2Frules%3Fq%3Da"


def test_every_document_that_shipped_rules_need_has_words(lawful: Factory) -> None:
    needs = {
        each
        for pack in load_packs().packs
        for rule in pack.rules
        for need in rule.needs
        for each in need.split("|")
        if not each.startswith("site.")
    }
    for language in LANGUAGES:
        words = words_of(language, "MA")
        assert [each for each in sorted(needs) if not words.has(f"rules-need-{each}")] == []
