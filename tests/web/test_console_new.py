"""A new workload without scripts: what is changed in the form is written into the YAML that is sent with it."""

from __future__ import annotations

import re
from html import unescape

import httpx

from tawtin.model.tenant import Scope
from tests.web.browsing import signed_in, text_of
from tests.web.harness import Factory

EVIL = '</textarea><script>alert(1)</script>"onload=x'
TEXT = "# mine\nname: wheat  # its name\nresources: {cpus: 1}\nrun: 'true'\nmax_duration: 10m\n"
FIELD = re.compile(r'<(?:input|textarea|select)[^>]* name="((?:f|was)-[a-z]+)"([^>]*)>([^<]*)')


def fields_of(page: str) -> dict[str, str]:
    """What a browser would send back if nothing was touched, but for choices."""
    found: dict[str, str] = {}
    for name, attributes, inside in FIELD.findall(page):
        value = re.search(r' value="([^"]*)"', attributes)
        if " disabled" not in attributes:
            found[name] = unescape(value[1] if value else inside)
    chosen = re.search(r'<option value="([^"]*)" selected>', page)
    return {**found, "f-class": chosen[1] if chosen else ""}


def send(browser: httpx.Client, path: str = "/console/new", **fields: str) -> httpx.Response:
    page = browser.get("/console/new").text
    csrf = re.search(r'name="csrf" value="([^"]+)"', page)
    assert csrf
    return browser.post(path, data={**fields_of(page), "csrf": csrf[1], **fields})


def spec_in(page: str) -> str:
    found = re.search(r'<textarea id="spec"[^>]*>(.*?)</textarea>', page, re.DOTALL)
    assert found
    return unescape(found[1])


def test_the_form_alone_submits_and_keeps_the_rest_of_the_text(factory: Factory) -> None:
    with signed_in(factory, factory.key("lab", Scope.SUBMIT)) as browser:
        shown = browser.get("/console/new").text
        assert {"f-name", "f-run", "f-cpus", "f-memory", "f-class", "was-countries"} <= set(fields_of(shown))
        changed = {"f-name": "barley", "f-cpus": "2", "f-countries": "MA, SN", "f-accelerators": "H100:1"}
        planned = send(browser, do="plan", spec=TEXT, **{"was-name": "wheat", "was-cpus": "1", **changed})
        want = "# mine\nname: barley  # its name\nresources: {cpus: 2, accelerators: H100:1}\nrun: 'true'\n"
        assert (planned.status_code, spec_in(planned.text)) == (
            200,
            f"{want}max_duration: 10m\nresidency:\n  allow: [MA, SN]\n",
        )
        assert fields_of(planned.text)["f-countries"] == fields_of(planned.text)["was-countries"] == "MA, SN"
        sent = send(browser, do="submit", spec=spec_in(planned.text), **{"f-cpus": "3", "was-cpus": "2"})
        assert sent.status_code == 303, text_of(sent.text)
        work = sent.headers["location"].rpartition("/")[2]
    state = factory.service.state
    assert state.workloads[work].spec.name == "barley"
    assert state.workloads[work].spec.demand.options[0].cpus_milli == 3_000
    assert state.workloads[work].spec.residency.allow == ("MA", "SN")


def test_a_field_that_was_not_touched_leaves_the_text_alone(factory: Factory) -> None:
    with signed_in(factory, factory.key("lab", Scope.SUBMIT)) as browser:
        planned = send(browser, do="plan", spec=TEXT)
    assert spec_in(planned.text) == TEXT
    assert fields_of(planned.text)["f-name"] == "wheat"


def test_a_mistake_stands_at_its_field_and_at_its_line(factory: Factory) -> None:
    with signed_in(factory, factory.key("lab", Scope.SUBMIT)) as browser:
        said = send(browser, do="submit", spec=TEXT, **{"f-memory": "much", "f-name": EVIL})
    assert said.status_code == 422
    assert "<script>alert" not in said.text
    error = re.search(r'id="error-memory"[^>]*>([^<]+)<', said.text)
    assert error
    assert "much" in error[1]
    assert re.search(r'id="f-memory"[^>]* aria-invalid="true"', said.text)
    assert '"line": 3' in said.text
    assert 'id="error-cpus" lang="en" dir="ltr" aria-live="polite" hidden' in said.text


def test_what_has_no_field_is_said_and_cannot_be_changed_from_the_form(factory: Factory) -> None:
    text = "resources:\n  accelerators: {H100: 1}\nrun: 'true'\n"
    with signed_in(factory, factory.key("lab", Scope.SUBMIT)) as browser:
        said = send(browser, do="plan", spec=text)
        assert "f-accelerators" not in fields_of(said.text)
        refused = send(browser, do="submit", spec="a: [", **{"f-cpus": "2"})
        filled = send(browser, "/console/form", spec="a: [", **{"f-cpus": "2"}).json()
    assert refused.status_code == 422
    assert "cannot be read" in text_of(refused.text)
    assert spec_in(refused.text) == "a: ["
    assert filled["spec"] == "a: ["
    assert "cannot be read" in filled["error"]


def test_the_form_is_filled_for_pages_of_this_session_alone(factory: Factory) -> None:
    with signed_in(factory, factory.key("lab", Scope.READ)) as browser:
        assert browser.post("/console/form", data={"spec": TEXT, "csrf": "no"}).status_code == 403
        other = {"sec-fetch-site": "cross-site"}
        assert browser.post("/console/form", data={"spec": TEXT}, headers=other).status_code == 403
    assert httpx.post(f"{factory.url}/console/form", data={"spec": TEXT}).status_code == 401
