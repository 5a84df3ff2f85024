"""After a restore, a peer that is gone for good is waited for until an operator says otherwise, and then no more."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from tawtin.cli import exits
from tests.cli.conftest import Home

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(200)]
NOBODY = "http://127.0.0.1:9"
"""The discard port: nothing listens there."""


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, "it took longer than 60 s"
        time.sleep(0.2)


def down(home: Home) -> None:
    pid = home.pid()
    os.kill(pid, signal.SIGTERM)
    until(lambda: not Path(f"/proc/{pid}").exists())


def silent_metric(home: Home) -> str:
    url = json.loads((home.folder / "data" / "address.json").read_text())["url"]
    key = (home.folder / "data" / "owner.key").read_text().strip()
    request = Request(f"{url}/metrics", headers={"authorization": f"Bearer {key}"})  # noqa: S310 - our own factory
    with urlopen(request) as answer:  # noqa: S310 - the same
        found = re.search(r"^tawtin_recall_silent (\S+)", answer.read().decode(), re.MULTILINE)
    assert found is not None
    return found.group(1)


def test_work_that_waits_for_a_peer_that_is_gone_goes_on_when_the_peer_is_waived(
    home: Home, tmp_path: Path
) -> None:
    home.up()
    key = base64.b64encode(bytes(range(32))).decode()
    told = home.tawtin(
        "peer", "add", "Nairobi", "--address", NOBODY, "--key", key, "--country", "KE"
    )  # fmt: skip
    assert told.code == 0, told.err
    told = home.tawtin("peer", "waive", "Nairobi", "--why", "gone")
    assert told.code == exits.CONFLICT
    assert "not asked for anything" in told.err
    spec = tmp_path / "job.yaml"
    for script in ("sleep 2", "echo it goes on"):  # the second has no room beside the first
        spec.write_text(
            f"name: job\nresources: {{accelerators: 'H100:4', cpus: 0.5, memory: 256MB}}\nrun: {script}\n"
        )
        told = home.tawtin("run", "-y", "--detach", "--json", str(spec))
        assert told.code == 0, told.err
    waiting = str(told.json["submitted"]["workloads"][0]["id"])
    down(home)
    home.up("--restored", "a drill")
    assert "Nairobi" in home.tawtin("peer", "list").out.partition("until these say")[2]
    assert silent_metric(home) == "1.0"
    time.sleep(4)  # the first is over by now, and there is room
    status = home.tawtin("show", waiting, "--json").json["view"]["status"]
    assert status == "queued"
    assert home.tawtin("peer", "waive", "Lagos", "--why", "gone").code == exits.NOT_FOUND
    told = home.tawtin("peer", "waive", "Nairobi", "--why", "its site burned down")
    assert told.code == 0, told.err
    assert "still silent: nobody" in told.out
    until(lambda: home.tawtin("show", waiting, "--json").json["view"]["status"] == "succeeded")
    assert silent_metric(home) == "0.0"
    assert "until these say" not in home.tawtin("peer", "list").out
