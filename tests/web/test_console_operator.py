"""The operator's pages without a browser: what they show, who may see them, and what their forms do."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import msgspec
import pytest

from tawtin.model.roaming import Lends, Peer, PeerState
from tawtin.model.tenant import Quota, Scope, Tenant
from tests.web.harness import JOB, NODE, Factory
from tests.web.test_console import HOSTILE, Browser, parsed, signed_in, text_of

PAGES = (
    "/console/operator",
    "/console/operator/events",
    "/console/operator/node?name=node-1",
    "/console/operator/tenants/casa",
)
FORMS = (
    ("/console/operator/node/drain", {"node": "node-1"}),
    ("/console/operator/node/ready", {"node": "node-1"}),
    ("/console/operator/node/quarantine", {"node": "node-1", "gpu-0": "on", "why": "x"}),
    ("/console/operator/node/return", {"node": "node-1", "untested": "on"}),
    ("/console/operator/tenants/casa/quota", {"version": "1", "weight": "7", "priority_max": "1"}),
    ("/console/operator/tenants/casa/keys", {"scope": "admin"}),
    ("/console/operator/tenants/casa/revoke", {"key": "key-x"}),
)


@pytest.fixture
def browsers(factory: Factory) -> Iterator[list[Browser]]:
    made: list[Browser] = []
    yield made
    for each in made:
        each.http.close()


@pytest.fixture
def operator(factory: Factory, browsers: list[Browser]) -> Browser:
    return signed_in(factory, browsers, "casa", Scope.ADMIN)


def put(factory: Factory, tenant: Tenant) -> Tenant:
    return factory.do(factory.service.put_tenant(factory.admin, tenant, create=True))


def send(browser: Browser, path: str, fields: dict[str, str]) -> httpx.Response:
    return browser.http.post(path, data={**fields, "csrf": browser.token()})


def row_of(page: str, name: str) -> str:
    """The text of the row whose header has this name."""
    rows = re.findall(r'<tr role="row">.*?</tr>', page, re.DOTALL)
    found = [text_of(row) for row in rows if name in text_of(row.partition("</th>")[0])]
    assert len(found) == 1, found
    return found[0]


# --- who may ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", [Scope.READ, Scope.SUBMIT, Scope.TENANT])
def test_nothing_of_it_is_reached_with_the_key_of_a_tenant(
    factory: Factory, browsers: list[Browser], scope: Scope
) -> None:
    browser = signed_in(factory, browsers, "lab", scope)
    before = factory.service.state.seq
    for path in (*PAGES, "/console/operator/tenants/lab"):
        page = browser.page(path, 403)
        assert "H100" not in page
    for path, fields in FORMS:
        assert send(browser, path, fields).status_code == 403, path
    assert browser.post("/console/operator/tenants/lab/keys", scope="read").status_code == 403
    assert factory.service.state.seq == before
    assert 'href="/console/operator"' not in browser.page("/console/workloads")


def test_whoever_is_not_signed_in_is_asked_to(factory: Factory, browsers: list[Browser]) -> None:
    browsers.append(Browser(factory))
    for path in PAGES:
        assert browsers[0].http.get(path).headers["location"].startswith("/console/sign-in?next=")
    for path, fields in FORMS:
        assert browsers[0].http.post(path, data=fields).status_code == 401


def test_a_form_without_the_token_of_the_session_changes_nothing(
    factory: Factory, browsers: list[Browser], operator: Browser
) -> None:
    other = signed_in(factory, browsers, "casa", Scope.ADMIN)
    token, theirs, before = operator.token(), other.token(), factory.service.state.seq
    for path, fields in FORMS:
        wrong = [
            operator.http.post(path, data=fields),
            operator.http.post(path, data={**fields, "csrf": theirs}),
            operator.http.post(
                path, data={**fields, "csrf": token}, headers={"origin": "https://evil.example"}
            ),
            operator.http.post(
                path, data={**fields, "csrf": token}, headers={"sec-fetch-site": "cross-site"}
            ),
        ]
        assert [got.status_code for got in wrong] == [403] * 4, path
    assert factory.service.state.seq == before


def test_pages_have_no_styles_scripts_or_addresses_of_their_own(operator: Browser) -> None:
    for path in PAGES:
        got = operator.http.get(path)
        assert got.status_code == 200
        assert "unsafe" not in got.headers["content-security-policy"]
        assert got.headers["cache-control"] == "no-store"
        for name, value in parsed(got.text).attributes:
            assert name != "style"
            assert not name.startswith("on")
            if name in {"href", "src", "action"}:
                assert value is not None
                assert re.match(r"/(?!/)|#", value), value
        ids = [value for name, value in parsed(got.text).attributes if name == "id"]
        assert len(ids) == len(set(ids)), path


# --- nodes --------------------------------------------------------------------------------------------------------


def test_a_node_is_drained_and_brought_back(factory: Factory, operator: Browser) -> None:
    row = row_of(operator.page("/console/operator"), "node-1")
    assert "Ready" in row
    assert "8 / 8" in row
    got = send(operator, "/console/operator/node/drain", {"node": "node-1", "from": "list"})
    assert got.headers["location"] == "/console/operator#nodes"
    assert factory.service.state.nodes["node-1"].health == "draining"
    assert "Draining" in row_of(operator.page("/console/operator"), "node-1")
    got = operator.post("/console/operator/node/ready", node="node-1")
    assert got.headers["location"] == "/console/operator/node?name=node-1"
    assert factory.service.state.nodes["node-1"].health == "ready"
    assert operator.post("/console/operator/node/drain", node="nowhere").status_code == 404
    operator.page("/console/operator/node?name=nowhere", 404)


def test_gpus_go_into_quarantine_with_a_reason_and_come_back(factory: Factory, operator: Browser) -> None:
    path = "/console/operator/node/quarantine"
    fields = {"node": "node-1", "gpu-3": "on", "gpu-5": "on", "why": HOSTILE}
    assert operator.post(path, node="node-1", why="nothing chosen").status_code == 400
    assert send(operator, path, {"node": "node-1", "gpu-8": "on", "why": "x"}).status_code == 400
    assert send(operator, path, fields).status_code == 303
    assert factory.service.state.nodes["node-1"].gpus_sick == (3, 5)
    for page in (operator.page("/console/operator"), operator.page("/console/operator/node?name=node-1")):
        assert HOSTILE in "".join(parsed(page).found)
        assert "alert('x')</script>" not in page
    row = row_of(operator.page("/console/operator"), "node-1")
    assert "6 / 8" in row
    assert "#3 taken out" in row
    returns = "/console/operator/node/return"
    got = send(operator, returns, {"node": "node-1", "gpu-3": "on"})
    assert got.status_code == 409
    assert "there is no burn-in job" in text_of(got.text)
    assert send(operator, returns, {"node": "node-1", "gpu-3": "on", "untested": "on"}).status_code == 303
    assert factory.service.state.nodes["node-1"].gpus_sick == (5,)
    assert operator.post(returns, node="node-1", untested="on").status_code == 303
    assert factory.service.state.nodes["node-1"].gpus_sick == ()


def test_the_whole_of_a_node_with_a_hostile_name_is_declared_and_taken_out(
    factory: Factory, operator: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"a/{HOSTILE}"
    second = msgspec.structs.replace(NODE, name=name, gpus_declared=True)
    monkeypatch.setattr(factory.engine, "nodes", lambda: (NODE, second))
    factory.until(lambda: name in factory.service.state.nodes, "the second node")
    page = operator.page("/console/operator")
    assert "alert('x')</script>" not in page
    assert "declared GPUs, not real ones" in row_of(page, name)
    assert "declared" not in row_of(page, "node-1")
    (link,) = {
        value
        for _, value in parsed(page).attributes
        if value and value.startswith("/console/operator/node?name=a")
    }
    assert name in text_of(operator.page(link))
    got = operator.post("/console/operator/node/quarantine", node=name, whole="on", why="all of it")
    assert operator.http.get(got.headers["location"]).status_code == 200
    assert [each.gpu for each in factory.service.state.quarantines.values() if each.node == name] == [""]
    assert "whole node" in row_of(operator.page("/console/operator"), name)
    assert operator.post("/console/operator/node/return", node=name, untested="on").status_code == 303
    monkeypatch.undo()
    factory.until(lambda: name not in factory.service.state.nodes, "the end of the second node")


def test_runs_are_on_their_nodes_and_hold_their_gpus(factory: Factory, operator: Browser) -> None:
    factory.key("lab")
    body = {**JOB, "name": "holds <b>two</b>", "resources": {"cpus": 1, "accelerators": "H100:2"}}
    with factory.client("lab", Scope.SUBMIT) as client:
        work = client.submit(body).workloads[0].id
    run = factory.started(work)
    row = row_of(operator.page("/console/operator"), "node-1")
    assert "holds <b>two</b> lab" in row
    assert "6 / 8" in row
    page = operator.page("/console/operator/node?name=node-1")
    assert text_of(page).count("In use") == 2
    assert f'href="/console/workloads/{work}"' in page
    tenants = row_of(operator.page("/console/operator?q=lab"), "lab")
    assert "2 / ∞" in tenants
    factory.engine.end(run)
    factory.until(lambda: work not in factory.service.state.workloads)
    assert "In use" not in operator.page("/console/operator/node?name=node-1")


# --- the queue, tenants and their keys ----------------------------------------------------------------------------


def test_what_waits_is_counted_by_reason_and_tenant(factory: Factory, operator: Browser) -> None:
    put(factory, Tenant(id="waits", quota=Quota(gpus=1)))
    body = {**JOB, "name": "large", "resources": {"cpus": 1, "accelerators": "H100:2"}}
    with factory.client("waits", Scope.SUBMIT) as client:
        made = [client.submit(body).workloads[0].id for _ in range(3)]
    page = operator.page("/console/operator")
    queue = page[page.index('id="queue"') : page.index('id="tenants"')]
    assert "The quota is" not in queue
    assert "waits 3 It is larger than the quota ExceedsMaxQuota" in text_of(queue)
    for each in made:
        factory.do(factory.service.cancel(factory.admin, each))
    page = operator.page("/console/operator")
    assert "Nothing waits." in page


def test_a_quota_is_changed_once_and_not_by_an_old_page(factory: Factory, operator: Browser) -> None:
    name = f"<i>{HOSTILE}</i>"
    made = put(factory, Tenant(id="quotas", name=name, quota=Quota(gpus=4, budget_minor_per_month=150_050)))
    page = operator.page("/console/operator?q=quotas")
    assert "0 / 4" in row_of(page, "quotas")
    assert "of MAD 1,500.50" in row_of(page, "quotas")
    assert name in "".join(parsed(page).found)
    path = "/console/operator/tenants/quotas"
    given = dict(
        re.findall(r'<input id="quota-\w+" name="(\w+)" value="([^"]*)"', operator.page(path)),
        version=str(made.version),
    )
    assert given["gpus"] == "4"
    assert given["budget_minor_per_month"] == "1500.5"
    assert given["cpus_milli"] == ""
    wanted = {**given, "gpus": "6", "cpus_milli": "2,5", "budget_minor_per_month": "", "memory_mib": "1024"}
    assert send(operator, f"{path}/quota", wanted).headers["location"] == path
    quota = factory.service.state.tenants["quotas"].quota
    assert quota == Quota(gpus=6, cpus_milli=2_500, memory_mib=1024)
    assert factory.service.state.tenants["quotas"].name == name
    assert send(operator, f"{path}/quota", wanted).status_code == 412
    now = {**wanted, "version": str(made.version + 1)}
    for field, value in (
        ("gpus", "many"),
        ("gpus", "-1"),
        ("gpus", "1.5"),
        ("weight", ""),
        ("weight", "0"),
        ("gpus", "1e9"),
        ("version", ""),
    ):
        got = send(operator, f"{path}/quota", {**now, field: value})
        assert got.status_code == 400, (field, value)
        assert f"{field}" in text_of(got.text)
    assert factory.service.state.tenants["quotas"].quota == quota


def test_a_closed_tenant_is_shown_so_and_others_are_found_by_name(
    factory: Factory, operator: Browser
) -> None:
    put(factory, Tenant(id="closed-one", closed=True))
    put(factory, Tenant(id="other-one", name="Ministry"))
    page = operator.page("/console/operator?q=closed-one")
    assert "Closed" in row_of(page, "closed-one")
    assert "other-one" not in page[page.index('id="tenants"') : page.index('id="peers"')]
    assert "Open" in row_of(operator.page("/console/operator?q=ministry"), "other-one")
    assert "No tenant is called so." in operator.page("/console/operator?q=nobody-at-all")
    operator.page("/console/operator/tenants/nobody-at-all", 404)


def test_a_secret_is_shown_once_and_a_revoked_key_counts_no_more(factory: Factory, operator: Browser) -> None:
    put(factory, Tenant(id="keyed"))
    path = "/console/operator/tenants/keyed"
    got = operator.post(f"{path}/keys", name=HOSTILE, scope="submit", days="30")
    assert got.status_code == 200
    assert got.headers["cache-control"] == "no-store"
    assert "alert('x')</script>" not in got.text
    found = re.search(r"twk_[0-9a-z]+_[0-9a-f]{64}", got.text)
    assert found
    secret = found[0]
    actor = factory.service.authenticate(secret)
    assert actor is not None
    assert (actor.tenant, actor.scope) == ("keyed", Scope.SUBMIT)
    page = operator.page(path)
    assert secret.rpartition("_")[2] not in page
    assert HOSTILE in "".join(parsed(page).found)
    row = row_of(page, actor.key)
    assert "Valid member submit" in row
    (key,) = [each for each in factory.service.state.keys.values() if each.tenant == "keyed"]
    assert key.expires_ms is not None
    assert round((key.expires_ms - key.created_ms) / 86_400_000) == 30
    for fields in ({"scope": "root"}, {"scope": "read", "days": "0"}, {"scope": "read", "days": "soon"}):
        assert send(operator, f"{path}/keys", fields).status_code == 400
    other = "/console/operator/tenants/casa"
    assert operator.post(f"{other}/revoke", key=actor.key).status_code == 404, "it is another tenant's"
    assert factory.service.authenticate(secret) is not None
    assert operator.post(f"{path}/revoke", key=actor.key).headers["location"] == path
    assert factory.service.authenticate(secret) is None
    assert "Revoked" in row_of(operator.page(path), actor.key)


# --- peers and events ---------------------------------------------------------------------------------------------


def test_peers_are_shown_with_what_is_lent_and_hostile_words_as_text(
    factory: Factory, operator: Browser
) -> None:
    assert "This factory knows no others yet." in operator.page("/console/operator")
    peer = Peer(
        name="Lagos",
        state=PeerState.ACTIVE,
        country="NG",
        operator=HOSTILE,
        lends=Lends(gpus={"H100": 4}, cpus_milli=16_000, hours="20:00-06:00"),
    )
    factory.do(factory.service.put_peer(factory.admin, peer))
    page = operator.page("/console/operator")
    peers = page[page.index('id="peers"') : page.index('id="events"')]
    row = row_of(peers, "Lagos")
    assert "Nigeria" in row
    assert "Active" in row
    assert "H100 \u00d7 4 16 CPUs 20:00-06:00 UTC" in row
    assert HOSTILE in "".join(parsed(page).found)
    assert "alert('x')</script>" not in page


def test_the_log_is_read_back_to_its_beginning(factory: Factory, operator: Browser) -> None:
    for place in range(130):
        put(factory, Tenant(id=f"logged-{place}"))
    path = "/console/operator/events"
    seen: list[int] = []
    for _ in range(40):
        page = operator.page(path)
        table = page[page.index("<main") :]
        seen += [
            int(re.sub(r"\D", "", text))
            for text in re.findall(r'data-h="Entry"><bdi dir="ltr">([\d,]+)', table)
        ]
        found = re.search(r'<a href="([^"]+)" rel="next"', page)
        if not found:
            break
        path = found[1]
    assert seen == list(range(len(seen) - 1, -1, -1))
    assert len(seen) > 130
    newest = operator.page("/console/operator/events")
    assert "Tenant changed TenantPut logged-129" in text_of(newest)
    assert operator.http.get("/console/operator/events?before=x").status_code == 200
    assert operator.http.get("/console/operator/events?before=0").status_code == 200


@pytest.mark.parametrize("tag", ["fr", "ar"])
def test_the_pages_are_there_in_each_language(factory: Factory, operator: Browser, tag: str) -> None:
    operator.http.get(f"/console/language?to={tag}")
    for path in PAGES:
        page = operator.page(path)
        assert f'<html lang="{tag}"' in page
        assert "Out of service" not in page
    assert ("الجهات" if tag == "ar" else "Locataires") in operator.page("/console/operator")
