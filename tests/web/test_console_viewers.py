"""Viewers as the benchmark has them: everyone who watches is shown each change, and none is asked to wait for ever."""

from __future__ import annotations

import time

from bench import viewers
from tawtin.model.tenant import Scope
from tests.web.browsing import signed_in
from tests.web.harness import JOB, Factory


def test_each_of_several_viewers_is_shown_every_change(factory: Factory) -> None:
    key = factory.key("watched", Scope.SUBMIT)
    waits = {**JOB, "name": "waits", "resources": {"accelerators": "H100:64", "cpus": 1}}
    with signed_in(factory, key) as browser:
        headers = {"authorization": f"Bearer {key}"}
        with viewers.watching(factory.url, 5, dict(browser.cookies)) as crowd:
            changed: list[float] = []
            for _ in range(2):
                changed.append(time.monotonic())
                sent = browser.post("/api/v1/workloads", json=waits, headers=headers)
                assert sent.status_code in {200, 201}, sent.text
                crowd.wait(len(changed))
            report = crowd.report()
    delays, never = viewers.delays(report, changed)
    assert never == 0
    assert len(delays) == 2 * 5
    assert min(delays) > 0
    assert (report.failed, report.lost) == (0, 0)
