"""The pages as people use them: a real browser, five real factories, in three languages."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from demo.factory import Factory
from demo.network import Network
from tests.console.browser import NARROW, WAIT_MS, Watched, violations

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]
Reader = Callable[..., Watched]
expect.set_options(timeout=WAIT_MS)
LANGUAGES = ("en", "fr", "ar")
SUBMIT = {"en": "Submit", "fr": "Soumettre", "ar": "إرسال"}
CANCEL = {"en": "Cancel", "fr": "Annuler", "ar": "إلغاء"}
WAITS = {"en": "Waits", "fr": "En attente", "ar": "قيد الانتظار"}
CANCELLED = {"en": "Cancelled", "fr": "Annulée", "ar": "أُلغي"}
JOB = """\
name: {name}
resources: {{cpus: 1, memory: 256MB}}
max_duration: 10m
data: {{class: personal, origin: MA}}
run: |
  trap exit TERM
  echo "it began"
  for i in $(seq 1 600); do printf 'step %s \\033[31mred\\033[0m <b>bold</b>\\n' $i; sleep 0.2; done
"""
WAITING = """\
name: {name}
resources: {{accelerators: "H100:64"}}
data: {{class: personal, origin: MA}}
run: 'true'
"""


def key_of(site: Factory) -> str:
    return (site.folder / "data" / "owner.key").read_text().strip()


def signed_in(reader: Reader, site: Factory, language: str = "en", **how: object) -> tuple[Watched, Page]:
    """Sign in as a person does, by typing the key."""
    who = reader(site.address()["url"], language=language, **how)
    page = who.page("/console/workloads")
    page.locator("#key").fill(key_of(site))
    page.locator("#key").press("Enter")
    expect(page).to_have_url(f"{who.origin}/console/workloads")
    return who, page


def typed(page: Page, text: str) -> None:
    """Put a text into the editor in place of what is there."""
    page.locator(".cm-content").click()
    page.keyboard.press("Control+A")
    # what replaces a selection is styled by Chromium itself, which the policy forbids
    page.keyboard.press("Delete")
    page.keyboard.insert_text(text)


def submit(page: Page, spec: str, button: str) -> str:
    """Type a spec over the example, see its plan, submit it; return the workload's id."""
    page.goto("/console/new")
    typed(page, spec)
    expect(page.locator("#plan .tag").first).to_be_visible()
    page.get_by_role("button", name=button, exact=True).click()
    page.wait_for_url("**/console/workloads/wl-*")
    return page.url.rpartition("/")[2]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_job_is_submitted_followed_explained_and_cancelled(
    network: Network, reader: Reader, language: str
) -> None:
    _, page = signed_in(reader, network.home, language)
    expect(page.locator("html")).to_have_attribute("dir", "rtl" if language == "ar" else "ltr")
    submit(page, JOB.format(name=f"run-{language}"), SUBMIT[language])
    log = page.locator("#log")
    expect(log).to_contain_text("step 9 red <b>bold</b>")
    assert log.locator("b").count() == 0
    assert log.evaluate("pre => getComputedStyle(pre).direction") == "ltr"
    expect(page.locator(".verdict tbody tr")).to_have_count(5)
    expect(page.locator(".verdict .tag.no").first).to_be_visible()
    page.reload()  # the page of a run under way comes anew by itself as well, every ten seconds
    expect(page.locator("#metrics figure canvas")).to_have_count(2)
    assert violations(page) == []
    expect(log).to_contain_text("step 9")
    before = log.inner_text()
    page.get_by_role("button", name=CANCEL[language], exact=True).first.click()
    ask = page.locator("[data-confirm-ask] button").first
    expect(ask).to_be_visible()
    ask.click()
    expect(page.locator(".head .tag")).to_have_text(CANCELLED[language])
    assert len(before) > 20


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_page_says_why_a_workload_waits(network: Network, reader: Reader, language: str) -> None:
    _, page = signed_in(reader, network.home, language)
    work = submit(page, WAITING.format(name=f"wait-{language}"), SUBMIT[language])
    expect(page.locator("#why .token")).to_have_text("ExceedsCapacity")
    expect(page.locator(".head .tag")).to_have_text(WAITS[language])
    page.goto(f"/console/workloads?q=wait-{language}&status=queued&col=why&col=id")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.locator("tbody input[type=checkbox]").check()
    page.locator("footer .btn.danger").click()
    expect(page.locator(f"#{work}")).to_have_count(0)


def test_the_sheet_within_the_first_page_is_kept_for_those_to_come(network: Network, reader: Reader) -> None:
    _, page = signed_in(reader, network.home)
    page.wait_for_function("() => document.cookie.includes('tawtin_sheet=')")
    page.goto("/console/")
    expect(page.locator("style[data-sheet]")).to_have_count(0)
    named = page.evaluate(
        "() => performance.getEntriesByType('resource').filter(each => each.name.endsWith('/page.css'))[0].transferSize"
    )
    assert named == 0, "it was fetched again"
    page.context.clear_cookies(name="tawtin_sheet")
    page.goto("/console/")
    expect(page.locator("style[data-sheet]")).to_have_count(1)
    looks = "() => ['.bar', '.map', '.pin', 'h1'].map(each => getComputedStyle(document.querySelector(each)).cssText)"
    within = page.evaluate(looks)
    page.wait_for_function("() => document.cookie.includes('tawtin_sheet=')")
    page.goto("/console/")
    assert page.evaluate(looks) == within


def test_a_cut_link_is_seen_at_once_and_so_is_its_return(network: Network, reader: Reader) -> None:
    _, page = signed_in(reader, network.home)
    page.goto("/console/")
    expect(page.locator(".pin")).to_have_count(5)
    expect(page.locator("#table .tag.ok")).to_have_count(4)
    network.cables.cut("Lagos")
    try:
        expect(
            page.locator(".notice", has_text=re.compile("The link Casablanca . Lagos is cut"))
        ).to_be_visible(timeout=60_000)
        expect(page.locator(".cutl")).to_have_count(1)
        expect(page.locator("#table .tag.no")).to_have_count(1)
    finally:
        network.cables.cut("Lagos", cut=False)
    expect(page.locator(".cutl")).to_have_count(0, timeout=60_000)
    expect(page.locator("#table .tag.ok")).to_have_count(4)


def test_a_factory_that_goes_away_is_said_to_and_comes_back_by_itself(
    network: Network, reader: Reader
) -> None:
    site = network.sites["Cairo"]
    who, page = signed_in(reader, site)
    who.forgive("ERR_CONNECTION|ERR_INCOMPLETE|ERR_EMPTY_RESPONSE|Failed to load resource")
    page.goto("/console/workloads?q=nothing")
    page.locator("#q").fill("being typed")
    address = site.address()
    os.kill(address["pid"], signal.SIGKILL)
    expect(page.locator("#away")).to_be_visible(timeout=60_000)
    settings = site.folder / "factory.toml"
    port = address["url"].rpartition(":")[2]
    settings.write_text(settings.read_text().replace("port = 0 ", f"port = {port} ", 1))
    assert site.up()["url"] == address["url"]
    expect(page.locator("#away")).to_be_hidden(timeout=60_000)
    expect(page.locator("#q")).to_have_value("being typed")


def test_a_page_whose_key_is_revoked_asks_for_another(network: Network, reader: Reader) -> None:
    made = network.home.ask("key", "create", "--name", "short")
    who = reader(network.home.address()["url"])
    who.forgive("401|Failed to load resource|MIME type")
    page = who.page("/console/sign-in")
    page.locator("#key").fill(made["secret"])
    page.locator("#key").press("Enter")
    expect(page.locator(".map")).to_be_visible()
    network.home.ask("key", "revoke", made["id"])
    expect(page.locator("#key")).to_be_visible(timeout=60_000)


def test_pages_are_read_and_used_without_scripts(network: Network, reader: Reader) -> None:
    _, page = signed_in(reader, network.home, scripts=False)
    page.goto("/console/new")
    page.locator("#spec").fill(WAITING.format(name="typed"))
    page.locator("#f-name").fill("plain")
    page.locator("#f-class").select_option("internal")
    page.get_by_role("button", name="Show the plan").click()
    expect(page.locator("#plan .token").first).to_have_text("ExceedsCapacity")
    expect(page.locator("#spec")).to_have_value(
        WAITING.format(name="plain").replace("class: personal", "class: internal")
    )
    page.get_by_role("button", name="Submit", exact=True).click()
    page.wait_for_url("**/console/workloads/wl-*")
    expect(page.locator("#why .token")).to_have_text("ExceedsCapacity")
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.locator(".head .tag")).to_have_text("Cancelled")


def test_a_mistake_is_marked_where_it_was_typed(network: Network, reader: Reader) -> None:
    _, page = signed_in(reader, network.home)
    page.goto("/console/new")
    typed(page, "name: x\nrun: 'true'\nresources:\n  acelerators: H100:1\n")
    expect(page.locator("#plan .errors")).to_contain_text("resources.acelerators")
    expect(page.locator(".cm-lintRange-error, .cm-lint-marker-error").first).to_be_visible()


def test_the_form_and_the_text_follow_each_other(network: Network, reader: Reader) -> None:
    _, page = signed_in(reader, network.home, "ar")
    page.goto("/console/new")
    text = "name: wheat  # its name\nrun: 'true'\nresources: {cpus: 1}\n"
    typed(page, text)
    expect(page.locator("#f-name")).to_have_value("wheat")
    expect(page.locator("#f-memory")).to_have_value("")
    page.locator("#f-name").fill("قمح")
    page.locator("#f-memory").fill("much")
    want = text.replace("wheat", "قمح").replace("cpus: 1", "cpus: 1, memory: much")
    expect(page.locator("#spec")).to_have_value(want)
    expect(page.locator(".cm-content")).to_contain_text("memory: much")
    expect(page.locator("#error-memory")).to_contain_text("much")
    expect(page.locator(".cm-lintRange-error, .cm-lint-marker-error").first).to_be_visible()
    assert violations(page) == []
    typed(page, "resources:\n  accelerators: {H100: 1}\nrun: 'true'\n")
    expect(page.locator("#f-accelerators")).to_be_disabled()
    expect(page.locator("#f-name")).to_have_value("")
    expect(page.locator("#error-memory")).to_be_hidden()
    assert violations(page) == []


def test_the_theme_and_the_language_are_kept(network: Network, reader: Reader) -> None:
    _, page = signed_in(reader, network.home)
    page.locator("[data-theme-toggle]").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.locator(".lang a[lang=ar]").click()
    expect(page.locator("html")).to_have_attribute("dir", "rtl")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def _paths(page: Page, network: Network) -> list[str]:
    works: list[dict[str, Any]] = network.home.ask("ps", "--all")["items"]
    return [
        "/console/",
        "/console/workloads",
        f"/console/workloads/{works[0]['workload']['id']}",
        "/console/new",
        "/console/models",
        "/console/usage",
        "/console/operator",
        "/console/rules",
        "/console/nowhere",
    ]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_no_page_is_hard_to_use(network: Network, reader: Reader, language: str, theme: str) -> None:
    """By axe-core's rules for WCAG 2.2 AA, wide and narrow."""
    if not network.home.ask("ps", "--all")["items"]:
        (network.home.folder / "seen.yaml").write_text(WAITING.format(name="seen"))
        network.home.run("run", str(network.home.folder / "seen.yaml"), "--detach", quiet=True)
    who, page = signed_in(reader, network.home, language, theme=theme)
    who.forgive("404")
    found: list[str] = []
    for path in _paths(page, network):
        page.goto(path)
        found += [f"{path}: {each}" for each in violations(page)]
    page.set_viewport_size({"width": NARROW[0], "height": NARROW[1]})
    for path in _paths(page, network)[:3]:
        page.goto(path)
        found += [f"{path}, narrow: {each}" for each in violations(page)]
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if wide > 0:
            found.append(f"{path}, narrow: {wide} px stand out of the page")
    assert not found, "\n".join(found)
