"""The page of usage: the figures of the accounts, in the reader's language, and nobody else's."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator

import pytest

from tawtin.core.meter import HOUR_MS, month_of
from tawtin.model.tenant import Account, Quota, Scope, Spent, Tenant, Tokens
from tawtin.web.console.pages.figures import COLUMNS, guarded
from tawtin.web.console.words import LANGUAGES
from tests.web.browsing import signed_in, text_of
from tests.web.harness import Factory, running

EVIL = '<script>alert(1)</script>"onload=x'
PAST = "2026-01"


def account(tenant: str, month: str, hours: int, **more: object) -> Account:
    """So many GPU hours at home and a quarter as many in France, at 100.00 each."""
    return Account(
        tenant=tenant,
        month=month,
        runs=3,
        cpu_ms=hours * HOUR_MS,
        gpu_ms={"H100": hours * HOUR_MS * 5 // 4},
        cost_minor=hours * 10_000,
        models={EVIL: Tokens(requests=2, tokens_in=70, tokens_out=30, estimated=1, cost_micro=2_000_000)},
        tokens_micro=2_000_000,
        places={
            "MA": Spent(runs=2, gpu_ms=hours * HOUR_MS, cpu_ms=hours * HOUR_MS, requests=2, tokens=100),
            "FR": Spent(runs=1, gpu_ms=hours * HOUR_MS // 4),
        },
        **more,  # type: ignore[arg-type] - further fields of an account
    )


async def seed(factory: Factory) -> None:
    """Accounts of two months of two tenants, as the core would have counted them."""
    state = factory.service.state
    now = month_of(factory.service.clock.now_ms())
    for tenant, month, hours in (("lab", PAST, 4), ("lab", now, 8), ("bank", PAST, 16), ("bank", now, 4321)):
        state.accounts[tenant, month] = account(tenant, month, hours)


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    with running(tmp_path_factory.mktemp("usage")) as factory:
        for name, budget in (("lab", 200_000), ("bank", None)):
            tenant = Tenant(id=name, name=f"{name} {EVIL}", quota=Quota(budget_minor_per_month=budget))
            factory.do(factory.service.put_tenant(factory.admin, tenant, create=True))
        factory.do(seed(factory))
        yield factory


def test_a_tenant_sees_its_own_figures_in_each_language(used: Factory) -> None:
    key = used.key("lab", Scope.READ)
    figures = {"en": ("800.02", "10.00", "1,199.98"), "fr": ("800,02", "10,00", "1 199,98")}
    for language in LANGUAGES:
        with signed_in(used, key, language) as browser:
            said = browser.get("/console/usage")
        assert said.status_code == 200
        text = text_of(said.text).replace("\u202f", " ").replace("\xa0", " ")
        for figure in figures.get(language, ("800,02", "10,00", "1.199,98")):
            assert figure in text
        assert "80.0" in text.replace(",", ".")
        assert "bank" not in said.text
        assert "4321" not in re.sub(r"[^0-9]", "", text)


def test_another_tenant_is_not_there_for_who_is_no_admin(used: Factory) -> None:
    with signed_in(used, used.key("lab", Scope.TENANT)) as browser:
        page, table = browser.get("/console/usage?tenant=bank"), browser.get("/console/usage.csv?tenant=bank")
        own = browser.get("/console/usage.csv").text
    assert (page.status_code, table.status_code) == (404, 404)
    assert {row["tenant"] for row in csv.DictReader(io.StringIO(own))} == {"lab"}


def test_an_admin_sees_all_and_the_download_says_the_same(used: Factory) -> None:
    with signed_in(used, used.key("casa", Scope.ADMIN)) as browser:
        page = browser.get(f"/console/usage?month={PAST}")
        said = browser.get(f"/console/usage.csv?month={PAST}")
        one = browser.get(f"/console/usage?month={PAST}&tenant=bank").text
    assert "MAD 2,000.04" in text_of(page.text)
    assert "MAD 1,600.02" in text_of(one)
    assert 'value="lab"' in page.text
    rows = list(csv.DictReader(io.StringIO(said.text)))
    assert tuple(rows[0]) == COLUMNS
    assert [(row["tenant"], row["cost"], row["gpu_hours"], row["home_percent"]) for row in rows] == [
        ("bank", "1600.02", "20.0000", "80.00"),
        ("lab", "400.02", "5.0000", "80.00"),
    ]
    assert said.headers["content-type"].startswith("text/csv")
    assert said.headers["content-disposition"] == f'attachment; filename="usage-{PAST}.csv"'


def test_the_plot_has_the_months_that_there_are_accounts_of(used: Factory) -> None:
    with signed_in(used, used.key("lab", Scope.READ)) as browser:
        page = browser.get("/console/usage").text
    found = re.search(r'<script type="application/json">(.*?)</script>', page)
    assert found is not None
    data = json.loads(found[1])
    assert [each["values"] for each in data["series"]] == [[400.02, 800.02], [2000, 2000]]
    assert len(data["x"]) == 2


def test_no_name_becomes_html(used: Factory) -> None:
    with signed_in(used, used.key("casa", Scope.ADMIN)) as browser:
        page = browser.get("/console/usage?tenant=lab").text
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 2
    assert " style=" not in page


def test_what_is_no_month_is_refused_and_an_empty_month_is_empty(used: Factory) -> None:
    with signed_in(used, used.key("lab", Scope.READ)) as browser:
        wrong = browser.get("/console/usage", params={"month": "2026-13"})
        empty = browser.get("/console/usage?month=2020-02")
    assert wrong.status_code == 400
    assert empty.status_code == 200
    assert "Nothing has ended in this month." in empty.text


def test_a_month_far_away_is_no_error(used: Factory) -> None:
    with signed_in(used, used.key("lab", Scope.READ)) as browser:
        assert browser.get("/console/usage?month=0000-01").status_code < 500
        assert browser.get("/console/usage?month=9999-12").status_code == 200


def test_no_cell_of_the_download_is_a_formula() -> None:
    for cell in ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"):
        assert guarded(cell) == f"'{cell}"
    assert guarded("lab-1") == "lab-1"
