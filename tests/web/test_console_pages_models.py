"""The page of models, and asking one from it: limits, rules and charges are those of the key that is signed in."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import httpx
import msgspec
import pytest

from tawtin.gateway.settings import ModelSettings, ReplicaSettings
from tawtin.gateway.snapshot import Key, models_of
from tawtin.gateway.supervise import Gateway
from tawtin.model.tenant import Quota, Scope, Tenant
from tawtin.runtime.actor import Actor
from tawtin.web.console.words import LANGUAGES
from tests.gateway.harness import SETTINGS, Running, judge, served
from tests.gateway.stub import Stub
from tests.web.browsing import signed_in, text_of
from tests.web.harness import SITE, Factory, running
from tests.web.raw import request

EVIL = '<script>alert(1)</script>"onload=x'
PROMPT = {"model": "plain", "prompt": "salam <b>", "class": "public", "tokens": "16"}
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    folder = tmp_path_factory.mktemp("models")
    with Stub() as stub, running(folder) as factory:
        models: dict[str, ModelSettings] = {
            "plain": served(
                ReplicaSettings(url=stub.url),
                licence=EVIL,
                languages=("ar", EVIL),
                input_minor_per_million=40,
                output_minor_per_million=160,
            ),
            "dies": served(ReplicaSettings(url=stub.url)),
            "abroad": served(ReplicaSettings(url=stub.url, country="US")),
        }
        service = factory.service
        gateway = Gateway(
            folder / "gateway", SETTINGS, lambda: models_of(models, SITE), judge(),
            lambda: service.state, service.passes.held,
        )  # fmt: skip
        service.gateway = gateway
        factory.do(gateway.start())
        try:
            url = gateway.url.removesuffix("/v1")
            Running.until(lambda: request(url, "GET", "/healthz").status == 200, "the gateway")
            yield factory
        finally:
            factory.do(gateway.stop())
            service.gateway = None


def csrf_of(browser: httpx.Client) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', browser.get("/console/models").text)
    assert found is not None
    return found[1]


def ask(browser: httpx.Client, accept: str = "text/html", **fields: str) -> httpx.Response:
    data = {**PROMPT, "csrf": csrf_of(browser), **fields}
    return browser.post("/console/models/ask", data=data, headers={"accept": accept})


def test_where_none_are_served_the_page_says_what_to_do(factory: Factory) -> None:
    with signed_in(factory, factory.key("reader", Scope.READ)) as browser:
        said = browser.get("/console/models")
    assert said.status_code == 200
    assert "No models are served here" in said.text
    assert "factory.toml" in said.text


def test_the_catalogue_in_each_language_without_any_html_of_others(serving: Factory) -> None:
    for language in LANGUAGES:
        with signed_in(serving, serving.key("lab", Scope.READ), language) as browser:
            said = browser.get("/console/models")
        assert said.status_code == 200
        assert "1.60" in said.text.replace(",", ".")
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in said.text
        assert "<script>alert" not in said.text
        assert " style=" not in said.text


def test_servers_of_models_are_for_admins(serving: Factory) -> None:
    with signed_in(serving, serving.key("lab", Scope.TENANT)) as browser:
        assert "plain#0" not in browser.get("/console/models").text
    with signed_in(serving, serving.key("casa", Scope.ADMIN)) as browser:
        assert "plain#0" in browser.get("/console/models").text


def test_an_answer_without_scripts_is_on_the_next_page(serving: Factory) -> None:
    with signed_in(serving, serving.key("school", Scope.SUBMIT)) as browser:
        said = ask(browser)
        again = browser.get("/console/models/ask")
    assert said.status_code == 200
    text = text_of(said.text)
    assert "Answer marhaba" in re.sub(r" Waits for the answer\.", "", text)
    assert "Answered in Morocco Answered by casa Tokens in 7 Tokens out 3" in text
    assert "0.0000076 MAD" in text  # 7 x 40 + 3 x 160 minor units for a million
    assert "salam &lt;b&gt;" in said.text
    assert (again.status_code, again.headers["location"]) == (303, "/console/models")


def test_an_answer_streams_and_is_charged_to_the_key_that_is_signed_in(serving: Factory) -> None:
    service = serving.service
    with signed_in(serving, serving.key("univ", Scope.SUBMIT)) as browser:
        said = ask(browser, accept="text/event-stream")
    assert said.headers["content-type"] == "text/event-stream"
    assert said.text.count("event: text\n") == 3
    assert said.text.count("event: facts\n") == 1
    univ = Actor(key="key-none", tenant="univ", scope=Scope.READ)

    def requests() -> list[tuple[str, int]]:
        return [(each.tenant, each.requests) for each in serving.do(service.tokens(univ))]

    serving.until(lambda: requests() == [("univ", 1)], "the settlement")
    held = serving.do(passes_of(serving))
    keys = {each.id for each in service.state.keys.values() if each.tenant == "univ"}
    assert {each.of for each in held.values() if each.tenant == "univ"} == keys
    with signed_in(serving, serving.key("lab", Scope.READ)) as browser:
        text = text_of(browser.get("/console/models").text)
    assert "MAD 1.60 0 0 0.00 MAD" in text


async def passes_of(factory: Factory) -> dict[str, Key]:
    return factory.service.passes.held()


def test_the_limits_and_the_rules_are_those_of_the_key(serving: Factory) -> None:
    poor = Tenant(id="poor", quota=Quota(budget_minor_per_month=0))
    serving.do(serving.service.put_tenant(serving.admin, poor, create=True))
    with signed_in(serving, serving.key("poor", Scope.SUBMIT)) as browser:
        assert "this tenant may spend 0 minor units" in text_of(ask(browser).text)
    with signed_in(serving, serving.key("lab", Scope.SUBMIT)) as browser:
        said = text_of(ask(browser, **{"model": "abroad", "class": "government_sensitive"}).text)
    assert "marhaba" not in said
    assert "refused" in said or "may not" in said


def test_an_answer_that_breaks_off_says_so(serving: Factory) -> None:
    with signed_in(serving, serving.key("lab", Scope.SUBMIT)) as browser:
        said = ask(browser, accept="text/event-stream", model="dies")
    assert said.text.count("event: problem\n") == 1


def test_who_may_not_or_sends_nonsense_is_refused(serving: Factory) -> None:
    with signed_in(serving, serving.key("lab", Scope.READ)) as browser:
        assert browser.post("/console/models/ask", data=PROMPT).status_code == 403
    with signed_in(serving, serving.key("lab", Scope.SUBMIT)) as browser:
        assert browser.post("/console/models/ask", data=PROMPT).status_code == 403  # without the form's token
        assert ask(browser, model=EVIL).status_code == 404
        wrong = ({"class": "x\r\nx-evil: 1"}, {"tokens": "0"}, {"tokens": "9" * 30}, {"prompt": " "})
        assert [ask(browser, **each).status_code for each in wrong] == [400] * 4


def test_a_pass_ends_with_its_key_and_asks_models_alone(serving: Factory) -> None:
    service = serving.service
    secret = serving.key("brief", Scope.SUBMIT)
    actor = service.authenticate(secret)
    assert actor is not None
    assert service.gateway is not None
    url = service.gateway.url.removesuffix("/v1")

    async def token() -> str:
        return service.passes.token(actor)

    pass_ = serving.do(token())

    def status() -> int:
        return request(url, "GET", "/v1/models", key=pass_).status

    assert service.authenticate(pass_) is None
    serving.until(lambda: status() == 200, "the pass")
    serving.do(service.revoke_key(serving.admin, actor.key))
    serving.until(lambda: status() == 401, "its end")
    assert secret not in msgspec.json.encode(serving.do(passes_of(serving))).decode()


def test_a_person_without_a_key_asks_under_their_own_name_until_their_tenant_closes(serving: Factory) -> None:
    service, gateway = serving.service, serving.service.gateway
    serving.key("sso", Scope.READ)  # makes the tenant, which has no key that may ask
    assert gateway is not None
    url = gateway.url.removesuffix("/v1")
    actor = Actor(key="oidc:s-1@login.example", tenant="sso", scope=Scope.SUBMIT, person=True)

    async def token() -> str:
        return service.passes.token(actor)

    pass_ = serving.do(token())

    def status() -> int:
        return request(url, "GET", "/v1/models", key=pass_).status

    serving.until(lambda: status() == 200, "the pass")
    asked = {"model": "plain", "messages": [{"role": "user", "content": "salam"}]}
    assert request(url, "POST", "/v1/chat/completions", key=pass_, body=asked).status == 200

    def charged() -> list[tuple[str, str]]:
        with closing(sqlite3.connect(f"{(gateway.folder / 'ledger.db').as_uri()}?mode=ro", uri=True)) as db:
            return db.execute(
                "SELECT tenant, key FROM requests WHERE tenant = 'sso' AND settled_ms IS NOT NULL"
            ).fetchall()

    serving.until(lambda: charged() == [("sso", actor.key)], "the settlement")
    tenant = serving.do(service.tenant(serving.admin, "sso"))
    serving.do(service.put_tenant(serving.admin, msgspec.structs.replace(tenant, closed=True), create=False))
    serving.until(lambda: status() == 401, "the end of the pass")
