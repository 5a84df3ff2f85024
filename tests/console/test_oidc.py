"""Signing in to the console at a real provider of OpenID Connect: who gets in as whom, and what does not count."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import httpx
import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser, expect

from tawtin.model.tenant import Scope, Tenant
from tawtin.runtime.system import SystemClock
from tawtin.web.console.oidc.fetch import Away
from tawtin.web.console.oidc.provider import Provider as IdentityProvider
from tawtin.web.console.oidc.settings import OidcGrant, OidcSettings
from tests.console.browser import WAIT_MS, Watched, picture, violations
from tests.console.identity import SECRET, Provider, at_provider, begun, missing, sign_in
from tests.console.stage import Answer, Stage
from tests.web.browsing import text_of
from tests.web.harness import CONSOLE, Factory, running

GRANTS: Final = (
    OidcGrant(value="regulators", tenant="casa", scope=Scope.AUDIT),
    OidcGrant(value="lab-members", tenant="lab", scope=Scope.SUBMIT),
    OidcGrant(claim="email", value="karim@lab.example", tenant="lab", scope=Scope.READ),
    OidcGrant(value="everybody", tenant="closed", scope=Scope.READ),
)
HOUR_MS: Final = 3_600_000
SPEC: Final = "name: mine\nrun: 'true'\nresources: {cpus: 1}\nmax_duration: 5m\n"
NEXT: Final = "/console/workloads"


class _Off(SystemClock):
    """A clock that is wrong."""

    def __init__(self, ms: int) -> None:
        self._ms = ms

    def now_ms(self) -> int:
        return super().now_ms() + self._ms


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    if lacks := missing():
        pytest.skip(f"needs {lacks}")
    one = Provider()
    try:
        yield one
    finally:
        one.stop()


@pytest.fixture(scope="module")
def settings(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> OidcSettings:
    secret = tmp_path_factory.mktemp("secret") / "client.secret"
    secret.write_text(f"{SECRET}\n")
    return OidcSettings(
        issuer=provider.issuer,
        client_id="casa",
        client_secret_file=str(secret),
        scopes=("openid", "profile", "email", "groups"),
        grants=GRANTS,
        button="the university",
    )


@pytest.fixture(scope="module")
def factory(
    provider: Provider, settings: OidcSettings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Factory]:
    with running(tmp_path_factory.mktemp("casa"), console=replace(CONSOLE, oidc=settings)) as one:
        one.do(one.service.put_tenant(one.admin, Tenant(id="lab"), create=True))
        one.do(one.service.put_tenant(one.admin, Tenant(id="closed", closed=True), create=True))
        provider.allow(one.url)
        yield one


@pytest.fixture
def someone(factory: Factory) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=factory.url, timeout=60, headers={"accept-language": "en"}) as one:
        yield one


def _refused(got: httpx.Response, status: int, says: str) -> None:
    """Nobody was signed in, and the page says why and what to do next."""
    assert got.status_code == status, got.text
    assert says in text_of(got.text)
    assert "Sign in again" in text_of(got.text)
    assert [each for each in got.headers.get_list("set-cookie") if not re.match(r"\w+_oidc=;", each)] == []


# --- who gets in --------------------------------------------------------------------------------------------------


def test_somebody_signs_in_through_the_pages_of_the_provider(browser: Browser, factory: Factory) -> None:
    context = browser.new_context(base_url=factory.url, locale="en", viewport={"width": 1440, "height": 900})
    context.set_default_timeout(WAIT_MS)
    try:
        page = context.new_page()
        page.goto("/console/workloads?status=failed", wait_until="domcontentloaded")
        assert violations(page) == []
        page.get_by_role("link", name="Sign in with the university").click()
        page.fill('[name="login"]', "amina")
        page.fill('[name="password"]', "any")
        page.get_by_role("button", name="Sign-in").click()
        page.get_by_role("button", name="Continue").click()
        expect(page.get_by_role("heading", name="Workloads")).to_be_visible()
        assert page.url == f"{factory.url}/console/workloads?status=failed"
        page.locator("details.who summary").click()
        expect(page.get_by_text("Amina El Fassi")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url("**/console/sign-in")
        page.goto("/console/workloads", wait_until="domcontentloaded")
        assert "/console/sign-in" in page.url
    finally:
        context.close()


@pytest.mark.parametrize(("language", "theme"), [("fr", "light"), ("ar", "dark")])
def test_the_page_that_says_why_is_for_everybody(
    reader: Callable[..., Watched], factory: Factory, language: str, theme: str
) -> None:
    watched = reader(factory.url, language=language, theme=theme)
    watched.forgive("status of 400")
    page = watched.page("/console/oidc/callback?state=x")
    assert page.locator("html").get_attribute("dir") == ("rtl" if language == "ar" else "ltr")
    assert violations(page) == []
    picture(page, f"oidc.{language}")
    page.get_by_role("main").get_by_role("link").last.click()
    picture(page, f"sign-in.{language}")
    assert violations(page) == []


def test_a_person_acts_for_the_tenant_with_the_role_and_the_log_names_them(
    factory: Factory, someone: httpx.Client, provider: Provider
) -> None:
    got = sign_in(someone, "amina")
    assert (got.status_code, got.headers["location"]) == (303, NEXT)
    page = someone.get("/console/new").text
    token = re.search(r'<meta name="csrf" content="([^"]+)">', page)
    assert token
    made = someone.post("/console/new", data={"csrf": token[1], "spec": SPEC, "do": "submit"})
    assert made.status_code == 303, text_of(made.text)
    workload = factory.service.state.workloads[made.headers["location"].rpartition("/")[2]]
    host = provider.issuer.partition("//")[2]
    assert (workload.tenant, workload.submitted_by) == ("lab", f"oidc:amina@{host}")
    assert someone.get("/console/operator").status_code == 403
    with httpx.Client(base_url=factory.url, timeout=60, headers={"accept-language": "en"}) as auditor:
        assert sign_in(auditor, "nadia").status_code == 303
        assert f"oidc:amina@{host}" in auditor.get("/console/operator/events").text
        assert auditor.get(f"/console/workloads/{workload.id}/log").status_code == 403
        assert auditor.get(f"/console/workloads/{workload.id}").status_code == 200


def test_nobody_gets_in_without_a_grant_or_with_an_address_that_is_not_verified(
    someone: httpx.Client, factory: Factory
) -> None:
    for who in ("omar", "forger"):
        with httpx.Client(base_url=factory.url, timeout=60, headers={"accept-language": "en"}) as one:
            got = sign_in(one, who)
            _refused(got, 403, "the university knows you, and nothing is granted to you here.")
            assert f"`{who}`" in text_of(got.text)
            assert one.get(NEXT).status_code == 303
    assert sign_in(someone, "karim").status_code == 303
    assert "viewer" in text_of(someone.get(NEXT).text)


def test_a_session_ends_when_its_tenant_is_closed(
    factory: Factory, someone: httpx.Client, provider: Provider
) -> None:
    assert sign_in(someone, "amina").status_code == 303
    assert someone.get(NEXT).status_code == 200
    name = f"oidc:amina@{provider.issuer.partition('//')[2]}"
    known = factory.service.holder(name)
    assert known is not None
    assert (known.tenant, known.scope) == ("lab", Scope.SUBMIT)
    lab = factory.do(factory.service.tenant(factory.admin, "lab"))
    factory.do(factory.service.put_tenant(factory.admin, replace(lab, closed=True), create=False))
    try:
        assert someone.get(NEXT).headers["location"].startswith("/console/sign-in")
        assert factory.service.holder(name) is None, "also where they went on from the console"
    finally:
        factory.do(factory.service.put_tenant(factory.admin, replace(lab, closed=False), create=False))


def test_after_signing_in_nobody_is_sent_to_another_site(factory: Factory) -> None:
    for elsewhere in ("https://evil.example/", "//evil.example", "/\\evil.example"):
        with httpx.Client(base_url=factory.url, timeout=60) as one:
            got = one.get(at_provider(one, begun(one, elsewhere), "amina"))
            assert (got.status_code, got.headers["location"]) == (303, "/console/"), elsewhere


# --- what does not count ------------------------------------------------------------------------------------------


def test_an_answer_counts_in_the_browser_that_asked_and_once(factory: Factory, someone: httpx.Client) -> None:
    address = at_provider(someone, begun(someone), "amina")
    with httpx.Client(base_url=factory.url, timeout=60, headers={"accept-language": "en"}) as other:
        _refused(other.get(address), 400, "This browser did not begin this sign-in")
        begun(other)
        _refused(other.get(address), 400, "This browser did not begin this sign-in")
    wrong = re.sub(r"state=[^&]+", "state=another", address)
    _refused(someone.get(wrong), 400, "This browser did not begin this sign-in")
    kept = httpx.Cookies(someone.cookies)
    assert someone.get(address).status_code == 303
    with httpx.Client(base_url=factory.url, timeout=60, cookies=kept) as again:
        _refused(again.get(address), 401, "the university did not confirm the sign-in.")


def test_a_token_that_was_made_for_another_sign_in_does_not_count(someone: httpx.Client) -> None:
    got = sign_in(someone, "amina", lambda url: re.sub(r"nonce=[^&]+", "nonce=another", url))
    _refused(got, 401, "This sign-in belongs to another one.")


def test_a_code_without_its_verifier_does_not_count(someone: httpx.Client) -> None:
    challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    got = sign_in(
        someone, "amina", lambda url: re.sub(r"code_challenge=[^&]+", f"code_challenge={challenge}", url)
    )
    _refused(got, 401, "the university did not confirm the sign-in.")


def test_an_answer_of_another_provider_does_not_count(someone: httpx.Client) -> None:
    address = at_provider(someone, begun(someone), "amina")
    for said in ("iss=http%3A%2F%2Fevil.example", "left=out"):
        begun_again = at_provider(someone, begun(someone), "amina")
        assert "iss=" in address
        got = someone.get(re.sub(r"iss=[^&]+", said, begun_again))
        _refused(got, 401, "What the university says about you does not count.")


def test_whoever_declines_at_the_provider_is_told_what_to_do(someone: httpx.Client) -> None:
    got = someone.get(at_provider(someone, begun(someone), "amina", decline=True))
    _refused(got, 403, "The sign-in was declined at the university")
    assert "next=/console/workloads" in got.text


def test_clocks_that_differ_are_named(provider: Provider, settings: OidcSettings, tmp_path: Path) -> None:
    with ExitStack() as stack:
        for number, off_ms in enumerate((2 * HOUR_MS, -2 * HOUR_MS)):
            console = replace(CONSOLE, oidc=settings)
            one = stack.enter_context(running(tmp_path / str(number), console=console, clock=_Off(off_ms)))
            provider.allow(one.url)
            browser = stack.enter_context(
                httpx.Client(base_url=one.url, timeout=60, headers={"accept-language": "en"})
            )
            _refused(sign_in(browser, "amina"), 401, "The sign-in is out of date by this factory")


# --- the provider -------------------------------------------------------------------------------------------------


def test_new_keys_of_the_provider_are_fetched(
    factory: Factory, someone: httpx.Client, provider: Provider
) -> None:
    assert sign_in(someone, "amina").status_code == 303
    provider.rotate()
    with httpx.Client(base_url=factory.url, timeout=60) as other:
        assert sign_in(other, "amina").status_code == 303


@pytest.mark.parametrize(
    ("language", "says"),
    [("en", "does not answer."), ("fr", "ne répond pas."), ("ar", "لا يجيب")],
)
def test_a_provider_that_is_away_is_said_so_and_keys_still_count(
    settings: OidcSettings, tmp_path: Path, language: str, says: str
) -> None:
    gone = Stage()
    origin = gone.origin
    gone.cut()
    console = replace(CONSOLE, oidc=replace(settings, issuer=origin))
    with running(tmp_path, console=console) as one, httpx.Client(base_url=one.url, timeout=60) as browser:
        browser.cookies.set("tawtin_lang", language)
        got = browser.get("/console/oidc/begin")
        assert (got.status_code, got.headers.get_list("set-cookie")) == (503, [])
        assert says in text_of(got.text)
        assert browser.post("/console/sign-in", data={"key": one.key("lab")}).status_code == 303


def test_many_who_wait_for_a_provider_that_fails_do_not_ask_it_one_after_the_other(
    settings: OidcSettings,
) -> None:
    stage = Stage()  # which has nothing at any path

    async def ask() -> list[str | BaseException]:
        asked = IdentityProvider(replace(settings, issuer=stage.origin), "")
        return await asyncio.gather(*(asked.address({}) for _ in range(20)), return_exceptions=True)

    try:
        with ThreadPoolExecutor(1) as thread:  # as this one has the loop of the browser's driver
            found = thread.submit(lambda: asyncio.run(ask())).result(60)
        assert all(isinstance(each, Away) for each in found)
        assert len(stage.asked) == 1
    finally:
        stage.cut()


def test_a_provider_that_says_what_cannot_be_used_is_not_followed(
    settings: OidcSettings, tmp_path: Path
) -> None:
    stage = Stage()
    well = "/.well-known/openid-configuration"
    sound = {
        "issuer": stage.origin,
        "authorization_endpoint": f"{stage.origin}/a",
        "token_endpoint": f"{stage.origin}/t",
        "jwks_uri": f"{stage.origin}/k",
    }

    def document(**changed: str) -> bytes:
        import json

        return json.dumps({**sound, **changed}).encode()

    cases = [
        Answer(body=b"no JSON"),
        Answer(body=b"[" * 100_000),
        Answer(body=document(issuer="http://127.0.0.1:1")),
        Answer(body=document(authorization_endpoint="http://evil.example/a")),
        Answer(body=document(token_endpoint="javascript:alert(1)")),
        Answer(body=document(), status=302),
        Answer(body=document() + b" " * 300_000),
        Answer(body=document()),  # whose keys are not there
    ]
    console = replace(CONSOLE, oidc=replace(settings, issuer=stage.origin))
    try:
        with running(tmp_path, console=console) as one, httpx.Client(base_url=one.url, timeout=60) as browser:
            for each in cases:
                stage.answers[well] = each
                assert browser.get("/console/oidc/begin").status_code == 503, each
            stage.answers["/k"] = Answer(body=b'{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}')
            assert browser.get("/console/oidc/begin").status_code == 503, "a key that both sides have"
    finally:
        stage.cut()
