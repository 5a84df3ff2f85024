"""The console without a browser: who may see what, what tenants write is text, and no other site can act."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from tawtin.gateway.secret import open_secret
from tawtin.model.ids import make_id
from tawtin.model.reasons import Cause
from tawtin.model.resources import Demand, Shape
from tawtin.model.tenant import Scope
from tawtin.model.workload import Phase, Workload, WorkloadSpec
from tawtin.ports import Batch, Query
from tawtin.runtime.rows import rows_of
from tawtin.store.memory import MemoryJournal
from tawtin.web.console.session import Sessions
from tawtin.web.console.visit import local
from tests.web.harness import JOB, Factory, running

HOSTILE = "<script>alert('x')</script>\"onload=\"y"
SPEC = "name: {name}\nrun: 'true'\nresources: {{cpus: 1}}\nmax_duration: 5m\n"


class Browser:
    """Keeps cookies, follows nothing by itself, and takes the token for forms out of pages."""

    def __init__(self, factory: Factory, key: str = "") -> None:
        self.http = httpx.Client(base_url=factory.url, headers={"accept-language": "en"})
        if key:
            got = self.http.post("/console/sign-in", data={"key": key, "next": "/console/workloads"})
            assert (got.status_code, got.headers["location"]) == (303, "/console/workloads")

    def page(self, path: str, status: int = 200) -> str:
        got = self.http.get(path)
        assert got.status_code == status, (got.status_code, got.text[:2000])
        return got.text

    def token(self) -> str:
        found = re.search(r'<meta name="csrf" content="([^"]+)">', self.page("/console/new"))
        assert found
        return found[1]

    def post(self, path: str, headers: dict[str, str] | None = None, **fields: str) -> httpx.Response:
        return self.http.post(path, data={"csrf": self.token(), **fields}, headers=headers or {})

    def submit(self, spec: str) -> str:
        got = self.post("/console/new", spec=spec, do="submit")
        assert got.status_code == 303, text_of(got.text)
        return got.headers["location"].rpartition("/")[2]


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self._styles = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self._styles = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._styles = False

    def handle_data(self, data: str) -> None:
        if not self._styles:
            self.found.append(data)


def parsed(html: str) -> _Text:
    reader = _Text()
    reader.feed(html)
    return reader


def text_of(html: str) -> str:
    return " ".join(" ".join(parsed(html).found).split())


@pytest.fixture
def browsers(factory: Factory) -> Iterator[list[Browser]]:
    made: list[Browser] = []
    yield made
    for each in made:
        each.http.close()


def signed_in(factory: Factory, browsers: list[Browser], tenant: str, scope: Scope = Scope.SUBMIT) -> Browser:
    browsers.append(Browser(factory, factory.key(tenant, scope)))
    return browsers[-1]


# --- signing in ---------------------------------------------------------------------------------------------------


def test_whoever_is_not_signed_in_is_asked_to_and_comes_back_to_the_page(
    factory: Factory, browsers: list[Browser]
) -> None:
    browsers.append(Browser(factory))
    got = browsers[0].http.get("/console/workloads?status=failed")
    assert got.headers["location"] == "/console/sign-in?next=%2Fconsole%2Fworkloads%3Fstatus%3Dfailed"
    key = factory.key("lab", Scope.READ)
    got = browsers[0].http.post(
        "/console/sign-in", data={"key": key, "next": "/console/workloads?status=failed"}
    )
    assert got.headers["location"] == "/console/workloads?status=failed"
    assert key.rpartition("_")[2] not in str(got.headers), "the secret of the key is not in the cookie"
    assert "lab" in text_of(browsers[0].page("/console/workloads"))


def test_a_wrong_key_is_told_so(factory: Factory, browsers: list[Browser]) -> None:
    browsers.append(Browser(factory))
    got = browsers[0].http.post("/console/sign-in", data={"key": "twk_wrong_00"})
    assert got.status_code == 401
    assert "This key does not count." in text_of(got.text)
    assert "set-cookie" not in got.headers


def test_a_session_ends_with_its_key(factory: Factory, browsers: list[Browser]) -> None:
    browser = signed_in(factory, browsers, "lab")
    browser.page("/console/workloads")
    session = factory.service.state
    newest = max(session.keys.values(), key=lambda key: key.id)
    factory.do(factory.service.revoke_key(factory.admin, newest.id))
    assert browser.http.get("/console/workloads").status_code == 303


def test_a_cookie_from_before_does_not_become_the_session(factory: Factory, browsers: list[Browser]) -> None:
    one = signed_in(factory, browsers, "lab")
    fixed = dict(one.http.cookies)
    browsers.append(Browser(factory))
    other = browsers[-1]
    other.http.cookies.update(fixed)
    other.http.post("/console/sign-out", data={"csrf": other.token()})
    other.http.cookies.update(fixed)
    other.http.post("/console/sign-in", data={"key": factory.key("other")})
    name = next(iter(fixed))
    assert other.http.cookies.get(name, domain="127.0.0.1") != fixed[name]


def test_a_cookie_that_was_changed_or_is_over_counts_nothing() -> None:
    sessions = Sessions(b"s" * 32, 1_000)
    session, value = sessions.begin("key-1", 0)
    assert sessions.read(value, 999) == session
    assert sessions.read(value, 1_000) is None
    for place in range(0, len(value), 7):
        changed = value[:place] + ("A" if value[place] != "A" else "B") + value[place + 1 :]
        assert sessions.read(changed, 0) in {None, session}, place
    assert Sessions(b"t" * 32, 1_000).read(value, 0) is None
    assert sessions.read("é", 0) is None
    assert sessions.read("A" * 5_000, 0) is None


def test_sessions_survive_a_restart(tmp_path: Path) -> None:
    secret = open_secret(tmp_path / "console.secret")
    _, value = Sessions(secret, 1_000).begin("key-1", 0)
    assert Sessions(open_secret(tmp_path / "console.secret"), 1_000).read(value, 1) is not None
    assert (tmp_path / "console.secret").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example/",
        "//evil.example/console/",
        "/console//evil.example",
        "/\\evil.example",
        "/console/\\evil.example",
        "/consolation",
        "/api/v1/whoami",
        "javascript:alert(1)",
        "/console/\r\nset-cookie: a=b",
        "",
    ],
)
def test_nobody_is_sent_elsewhere(path: str) -> None:
    assert local(path) == "/console/"


# --- other sites, other sessions, other tenants -------------------------------------------------------------------


def test_a_form_of_another_site_or_session_changes_nothing(factory: Factory, browsers: list[Browser]) -> None:
    browser = signed_in(factory, browsers, "lab")
    other = signed_in(factory, browsers, "lab")
    work = browser.submit(SPEC.format(name="kept"))
    path = f"/console/workloads/{work}/cancel"
    wrong = [
        browser.http.post(path),
        browser.http.post(path, data={"csrf": other.token()}),
        browser.post(path, headers={"sec-fetch-site": "cross-site"}),
        browser.post(path, headers={"origin": "https://evil.example"}),
        browser.http.post("/console/new", data={"spec": SPEC.format(name="x"), "do": "submit"}),
        browser.http.post("/console/workloads/cancel", data={"id": work}),
        browser.http.post("/console/plan", content=SPEC.format(name="x")),
    ]
    assert [got.status_code for got in wrong] == [403] * len(wrong)
    assert not factory.service.state.workloads[work].cancel
    assert browser.post(path).status_code == 303


def test_pages_cannot_be_framed_and_load_nothing_from_outside(
    factory: Factory, browsers: list[Browser]
) -> None:
    browser = signed_in(factory, browsers, "lab")
    work = browser.submit(SPEC.format(name="framed"))
    for path in (
        "/console/",
        "/console/workloads",
        f"/console/workloads/{work}",
        "/console/new",
        "/console/x",
    ):
        got = browser.http.get(path)
        policy = got.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert got.headers["x-frame-options"] == "DENY"
        page = parsed(got.text)
        for name, value in page.attributes:
            assert name != "style", "the policy forbids them"
            assert not name.startswith("on")
            if name in {"src", "href", "action"}:
                assert value is not None
                assert value.startswith(("/", "#")), value
                assert not value.startswith("//")


def test_a_tenant_sees_nothing_of_another(factory: Factory, browsers: list[Browser]) -> None:
    mine = signed_in(factory, browsers, "lab")
    theirs = signed_in(factory, browsers, "rival")
    work = mine.submit(SPEC.format(name="very-secret"))
    for path in (
        f"/console/workloads/{work}",
        f"/console/workloads/{work}/log",
        f"/console/live?workload={work}",
    ):
        assert theirs.http.get(path).status_code == 404
    for verb in ("cancel", "retry"):
        assert theirs.post(f"/console/workloads/{work}/{verb}").status_code == 404
    got = theirs.http.post("/console/workloads/cancel", data={"csrf": theirs.token(), "id": work})
    assert got.status_code == 404
    assert "very-secret" not in theirs.page("/console/workloads")
    assert "very-secret" not in theirs.page("/console/workloads?tenant=lab")
    assert not factory.service.state.workloads[work].cancel


def test_a_viewer_changes_nothing(factory: Factory, browsers: list[Browser]) -> None:
    member = signed_in(factory, browsers, "lab")
    work = member.submit(SPEC.format(name="looked-at"))
    viewer = signed_in(factory, browsers, "lab", Scope.READ)
    page = viewer.page(f"/console/workloads/{work}")
    assert "/cancel" not in page
    assert viewer.post(f"/console/workloads/{work}/cancel").status_code == 403
    assert viewer.post("/console/new", spec=SPEC.format(name="x"), do="submit").status_code == 403


# --- what tenants write is text -----------------------------------------------------------------------------------


def test_what_a_tenant_writes_is_shown_as_it_is_and_does_nothing(
    factory: Factory, browsers: list[Browser]
) -> None:
    browser = signed_in(factory, browsers, "lab")
    body = {**JOB, "name": HOSTILE, "project": HOSTILE, "labels": {"a": HOSTILE}}
    with factory.client("lab") as client:
        work = client.submit(body).workloads[0].id
    run = factory.started(work)
    factory.engine.write(run, b"\x1b[31mred\x1b[0m \x1b]0;title\x07<img src=x onerror=alert(1)>\xff\r\n")
    for path in ("/console/workloads?col=project&col=id", f"/console/workloads/{work}"):
        page = parsed(browser.page(path))
        assert "img" not in page.tags
        assert page.tags.count("script") <= 3
        assert HOSTILE in "".join(page.found)
    log = unescape(browser.page(f"/console/workloads/{work}"))
    assert "red title<img" not in log
    assert "<img src=x onerror=alert(1)>" in log
    assert "\x1b" not in log
    found = browser.http.get(f"/console/workloads/{work}/log?download=1")
    assert found.headers["content-type"].startswith("text/plain")
    assert found.headers["content-disposition"].startswith("attachment")
    assert found.content.startswith(b"\x1b[31mred"), "a download is what was written"


def test_what_is_looked_for_is_shown_as_text(factory: Factory, browsers: list[Browser]) -> None:
    browser = signed_in(factory, browsers, "lab")
    page = browser.http.get("/console/workloads", params={"q": HOSTILE, "tenant": HOSTILE}).text
    assert ("value", HOSTILE) in parsed(page).attributes
    assert "alert('x')</script>" not in page
    assert browser.http.get("/console/language", params={"to": "xx"}).status_code == 400


# --- reading, submitting, cancelling without scripts --------------------------------------------------------------


def test_the_plan_comes_before_the_submission(factory: Factory, browsers: list[Browser]) -> None:
    browser = signed_in(factory, browsers, "lab")
    got = browser.post("/console/new", spec=SPEC.format(name="planned"), do="plan")
    assert got.status_code == 200
    said = text_of(got.text)
    assert "It would start now" in said
    assert "casa MA" in said
    assert not any(work.spec.name == "planned" for work in factory.service.state.workloads.values())


def test_a_mistake_is_named_by_line_and_nothing_typed_is_lost(
    factory: Factory, browsers: list[Browser]
) -> None:
    browser = signed_in(factory, browsers, "lab")
    spec = "name: wrong\nrun: 'true'\nresources:\n  acelerators: H100:1\n"
    got = browser.post("/console/new", spec=spec, do="submit")
    assert got.status_code == 422
    said = text_of(got.text)
    assert "Line 4 :" in said or "Line 4:" in said
    assert "resources.acelerators" in said
    assert spec in unescape(got.text)
    part = browser.http.post("/console/plan", content=spec, headers={"x-tawtin-csrf": browser.token()})
    assert '"line": 4' in part.text
    assert "<html" not in part.text


def test_the_list_is_found_filtered_and_kept_in_the_address(
    factory: Factory, browsers: list[Browser]
) -> None:
    browser = signed_in(factory, browsers, "filters")
    names = [f"train-{number}" for number in range(4)] + ["serve-1"]
    made = {name: browser.submit(SPEC.format(name=name)) for name in names}
    page = text_of(browser.page("/console/workloads?q=TRAIN&col=id&col=type"))
    assert all(made[name] in page for name in names[:4])
    assert made["serve-1"] not in page
    assert "job" in page
    assert made["serve-1"] in text_of(browser.page(f"/console/workloads?q={made['serve-1']}&col=id"))
    first = browser.page("/console/workloads?status=nonsense&before=wl-zzzz")
    assert "train-3" in first


def test_the_chosen_ones_are_cancelled(factory: Factory, browsers: list[Browser]) -> None:
    browser = signed_in(factory, browsers, "bulk")
    made = [browser.submit(SPEC.format(name=f"w{number}")) for number in range(3)]
    pairs = [("csrf", browser.token()), ("next", "/console/workloads?q=w"), ("id", made[0]), ("id", made[2])]
    got = browser.http.post(
        "/console/workloads/cancel",
        content="&".join(f"{name}={value}" for name, value in pairs),
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert got.headers["location"] == "/console/workloads?q=w"
    said = [factory.do(factory.service.view(factory.admin, each)).workload.cancel for each in made]
    ended = [factory.do(factory.service.view(factory.admin, each)).workload.phase.final for each in made]
    assert [one or other for one, other in zip(said, ended, strict=True)] == [True, False, True]


def test_an_open_page_is_told_of_changes_and_gets_the_main_part_alone(
    factory: Factory, browsers: list[Browser]
) -> None:
    browser = signed_in(factory, browsers, "lab")
    work = browser.submit(SPEC.format(name="watched"))
    run = factory.started(work)
    with browser.http.stream("GET", f"/console/live?workload={work}") as stream:
        lines = stream.iter_lines()
        factory.engine.end(run)
        assert next(line for line in lines if line.startswith("event:")) == "event: changed"
    factory.until(lambda: work not in factory.service.state.workloads)
    part = browser.http.get(f"/console/workloads/{work}", headers={"x-tawtin-part": "main"}).text
    assert part.lstrip().startswith("<main")
    assert "The program ended by itself" in text_of(part)


def test_a_page_of_the_list_reads_what_it_shows_and_no_more(tmp_path: Path) -> None:
    class Counting(MemoryJournal):
        asked = 0
        rows = 0

        def get(self, kind: str, id: str) -> bytes | None:
            self.asked += 1
            self.rows += 1
            return super().get(kind, id)

        def list(self, query: Query) -> list[bytes]:
            found = super().list(query)
            self.asked += 1
            self.rows += len(found)
            return found

    journal = Counting()
    rows: list[Workload] = []
    for number in range(3_000):
        name = make_id("wl", 1_000 + number, number)
        spec = WorkloadSpec(name=f"job-{number}", run="true", demand=Demand(options=(Shape(),)))
        rows.append(
            Workload(
                id=name, tenant="casa", spec=spec, digest="", submitted_ms=1, queued_ms=1,
                phase=Phase.CANCELLED, finished_ms=2, cause=Cause.CANCELLED,
            )
        )  # fmt: skip
    journal.commit(Batch(rows=rows_of({("workload", each.id): each for each in rows})))
    with running(tmp_path, journal=journal) as factory:
        browser = Browser(factory, factory.key("casa"))
        for path in (
            "",
            "?status=cancelled",
            "?tenant=casa",
            "?status=running",
            "?status=cancelled&tenant=casa",
        ):
            journal.asked = journal.rows = 0
            page = browser.page(f"/console/workloads{path}")
            assert page.count(' id="wl-') == (0 if "running" in path else 100)
            assert journal.rows <= 210, path
        browser.http.close()


def test_languages_follow_the_browser_until_one_is_chosen(factory: Factory, browsers: list[Browser]) -> None:
    browsers.append(Browser(factory))
    browser = browsers[0]
    page = browser.http.get("/console/sign-in", headers={"accept-language": "ar-MA,ar;q=0.9,en;q=0.5"}).text
    assert '<html lang="ar" dir="rtl"' in page
    got = browser.http.get("/console/language?to=fr&next=/console/sign-in")
    assert got.headers["location"] == "/console/sign-in"
    page = browser.http.get("/console/sign-in", headers={"accept-language": "ar"}).text
    assert '<html lang="fr" dir="ltr"' in page


def test_assets_are_kept_for_good_under_a_name_of_their_content(
    factory: Factory, browsers: list[Browser]
) -> None:
    browsers.append(Browser(factory))
    http = browsers[0].http
    (address,) = re.findall(r'<style data-sheet="([^"]+)">', browsers[0].page("/console/sign-in"))
    for sheet in (
        address,
        *re.findall(r'<link rel="icon" href="([^"]+)"', browsers[0].page("/console/sign-in")),
    ):
        got = http.get(sheet)
        assert got.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert got.headers["content-type"] in {"text/css; charset=utf-8", "image/svg+xml"}
        assert got.headers["content-encoding"] == "gzip"
    assert http.get("/console/static/000000000000/base.css").status_code == 404
    assert http.get("/console/static/000000000000/..%2f..%2fapp.py").status_code == 404
    assert http.get("/").headers["location"] == "/console/"
    assert http.get("/console/").headers["cache-control"] == "no-store"


def test_what_is_shared_between_readers_has_the_form_token_of_each(
    factory: Factory, browsers: list[Browser]
) -> None:
    one, two = signed_in(factory, browsers, "shared"), signed_in(factory, browsers, "shared")
    other = signed_in(factory, browsers, "rival")
    work = one.submit(SPEC.format(name="seen-by-two"))
    part = {"x-tawtin-part": "main"}
    pages = [each.http.get("/console/workloads", headers=part).text for each in (one, two, other)]
    assert ["seen-by-two" in page for page in pages] == [True, True, False]
    tokens = [dict(re.findall(r'name="(csrf)" value="([^"]+)"', page))["csrf"] for page in pages]
    assert len(set(tokens)) == 3
    for browser, token, status in ((two, tokens[0], 403), (other, tokens[0], 403), (two, tokens[1], 303)):
        got = browser.http.post(f"/console/workloads/{work}/cancel", data={"csrf": token})
        assert got.status_code == status


def test_nothing_that_happens_while_a_page_is_told_is_missed(
    factory: Factory, browsers: list[Browser]
) -> None:
    """The client gives up after five seconds without news, and a quiet page is told of nothing for ten."""
    browser = signed_in(factory, browsers, "busy")
    with browser.http.stream("GET", "/console/live") as stream:
        told = (line for line in stream.iter_lines() if line.startswith("event:"))
        for number in range(8):
            browser.submit(SPEC.format(name=f"w{number}"))
            page = ""
            while f"w{number}" not in page:
                assert next(told) == "event: changed"
                page = browser.http.get("/console/workloads", headers={"x-tawtin-part": "main"}).text


def test_an_address_with_too_many_parameters_is_refused(factory: Factory, browsers: list[Browser]) -> None:
    browser = signed_in(factory, browsers, "lab")
    assert browser.http.get("/console/workloads?" + "a=1&" * 500).status_code == 400
