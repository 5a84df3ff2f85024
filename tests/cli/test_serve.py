"""The commands of the how-to on services, on a real factory."""

from __future__ import annotations

import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tawtin.cli import exits
from tests.cli.conftest import Home, Told
from tests.docs.pages import ROOT, blocks

pytestmark = pytest.mark.timeout(300)
PAGE = (ROOT / "docs" / "how-to" / "services.md").read_text()
WAIT_S = 60.0


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's own spec."""
    file = tmp_path_factory.mktemp("spec") / "chat.yaml"
    file.write_text(next(block.code for block in blocks(PAGE) if block.kind == "spec"))
    return file


def commands(spec: Path) -> list[list[str]]:
    lines = [line.split() for line in PAGE.splitlines() if line.startswith("tawtin serve ")]
    return [[str(spec) if word == "chat.yaml" else word for word in line[1:]] for line in lines]


def ready(home: Home, count: int) -> list[dict[str, Any]]:
    """Wait until so many replicas are ready and no other is there."""
    until = time.monotonic() + WAIT_S
    while True:
        found: list[dict[str, Any]] = home.tawtin("serve", "status", "chat", "--json").json["replicas"]
        if [each["readiness"] for each in found] == ["ready"] * count:
            return found
        assert time.monotonic() < until, found
        time.sleep(0.2)


def said(home: Home, words: list[str]) -> Told:
    told = home.tawtin(*words)
    assert told.code == exits.OK, told.err
    return told


def test_the_commands_of_the_page_do_what_it_says(factory: Home, spec: Path) -> None:
    up, status, scale, update, down = commands(spec)
    assert "revision 1" in said(factory, up).out
    for each in ready(factory, 2):
        with urllib.request.urlopen(f"http://{each['address']}/", timeout=10) as answer:
            assert answer.status == 200
        assert each["address"] in said(factory, status).out
    assert "has a service `chat`" in factory.tawtin(*up).err
    said(factory, scale)
    before = ready(factory, 3)
    assert "revision 1" in said(factory, update).out, "the same spec changes nothing"
    assert ready(factory, 3) == before
    said(factory, [*update, "--env", "A=b"])
    assert {each["revision"] for each in ready(factory, 2)} == {2}
    assert "chat" in said(factory, ["serve", "status"]).out
    said(factory, down)
    until = time.monotonic() + WAIT_S
    while factory.tawtin("serve", "status", "chat").code != exits.NOT_FOUND:
        assert time.monotonic() < until
        time.sleep(0.2)
    assert "there are no services" in said(factory, ["serve", "status"]).out


def test_a_job_is_no_service(factory: Home, tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text("run: hostname\n")
    told = factory.tawtin("serve", "up", str(job))
    assert told.code != exits.OK
    assert "is no service" in told.err
