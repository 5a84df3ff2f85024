"""What a run used over its time, on its page: figures in the reader's language, and of who may see them alone."""

from __future__ import annotations

import json
import re

import pytest

from tawtin.model.tenant import Scope
from tawtin.model.views import UsageSample
from tawtin.web.console.words import LANGUAGES
from tests.web.browsing import signed_in, text_of
from tests.web.harness import JOB, Factory

BEGAN_MS = 1_764_500_000_000
JSON = re.compile(r'<script type="application/json">(.*?)</script>')


def submitted(factory: Factory, tenant: str) -> str:
    with factory.client(tenant, Scope.SUBMIT) as client:
        job = {**JOB, "resources": {"cpus": 2, "memory": "1GB"}}
        return client.submit(job).workloads[0].id


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_run_is_drawn_and_said_in_numbers(factory: Factory, language: str) -> None:
    work = submitted(factory, "lab")
    run = factory.started(work)
    factory.engine.used[run] = tuple(
        UsageSample(
            at_ms=BEGAN_MS + 1_000 * at, cpu_ms=1_250 * at, memory_bytes=250_000_000 + at, gpu_permille=busy
        )
        for at, busy in enumerate((None, 0, 955))
    )
    with signed_in(factory, factory.key("lab", Scope.READ), language) as browser:
        page = browser.get(f"/console/workloads/{work}").text
    cpu, memory, gpu = (json.loads(each) for each in JSON.findall(page))
    assert [each["values"] for each in cpu["series"]] == [[1.25, 1.25], [2, 2]]
    assert memory["series"][0]["values"] == [250.0, 250.0]
    assert memory["series"][0]["unit"] == ("Mo" if language == "fr" else "MB")
    assert gpu["series"][0]["values"] == [0, 95.5]
    assert cpu["x"] == [BEGAN_MS + 1_000, BEGAN_MS + 2_000]
    rows = text_of(page.partition('id="metrics"')[2])
    point = "." if language == "en" else ","
    assert f"1{point}25" in rows
    assert f"95{point}5 %" in rows
    with signed_in(factory, factory.key("other", Scope.READ), language) as browser:
        assert browser.get(f"/console/workloads/{work}").status_code == 404


def test_a_run_that_is_not_looked_at_has_no_plot_and_says_so(factory: Factory) -> None:
    work = submitted(factory, "lab")
    run = factory.started(work)
    factory.engine.used[run] = (UsageSample(at_ms=BEGAN_MS, cpu_ms=1, memory_bytes=1),)
    with signed_in(factory, factory.key("lab", Scope.READ)) as browser:
        page = browser.get(f"/console/workloads/{work}").text
    assert "data-plot" not in page
    assert "Nothing is measured of it yet" in text_of(page)
