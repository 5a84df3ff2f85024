"""150 lines that import nothing of ours take up an invitation of a real factory, have a job run, and pay for it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Home
from tests.network.conftest import raised
from tests.network.test_two_factories import until
from tests.peering.independent import Json

pytestmark = [pytest.mark.timeout(200), pytest.mark.sandbox]
CLIENT = Path(__file__).parents[1] / "peering" / "small_client.py"


@pytest.fixture
def nairobi(tmp_path: Path) -> Iterator[Home]:
    home = raised(tmp_path / "nairobi", "Nairobi", "KE", "--declare-gpus", "H100:1", "--cpu-hour", "720")
    yield home
    home.end()


def begun(nairobi: Home, script: str) -> tuple[subprocess.Popen[str], str, str]:
    """A client that has joined, the digits that it reads out, and those of the factory."""
    made = nairobi.tawtin("peer", "invite", "--lend", "H100:1", "--lend-cpus", "4", "--json")
    assert made.code == 0, made.err
    words = (sys.executable, "-I", str(CLIENT), made.json["invitation"], script)
    client = subprocess.Popen(words, stdin=-1, stdout=-1, stderr=-1, text=True)
    assert client.stdout is not None
    reads = client.stdout.readline().strip()
    assert re.fullmatch(r"\d{6}", reads), client.communicate(timeout=10)
    (waiting,) = nairobi.tawtin("peer", "invitations", "--json").json["items"]
    assert waiting["party"]["name"] == "Elsewhere"
    return client, reads, waiting["say"].replace(" ", "")


def test_it_is_small_and_knows_nothing_of_ours():
    text = CLIENT.read_text()
    assert len(text.splitlines()) <= 150
    assert not re.search(r"^(from|import) (tawtin|tests)", text, re.MULTILINE)


def test_it_becomes_a_peer_and_its_job_is_run_and_paid_for(nairobi: Home):
    client, reads, hears = begun(nairobi, "echo for somebody else; sleep 2")
    told = nairobi.tawtin("peer", "confirm", "Elsewhere", reads)
    assert told.code == 0, told.err
    out, err = client.communicate(hears + "\n", timeout=120)
    assert client.returncode == 0, err
    receipt: Json = json.loads(out)
    assert (receipt["visited"], receipt["outcome"], receipt.get("exit_code", 0)) == ("Nairobi", "finished", 0)

    def owed() -> list[int]:
        accounts: list[Json] = nairobi.tawtin("usage", "--json").json["items"]
        return [each.get("cost_minor", 0) for each in accounts if each.get("tenant") == "peer-elsewhere"]

    assert receipt["cost_minor"] > 0
    until(lambda: owed() == [receipt["cost_minor"]], 20)


def test_with_wrong_digits_it_stops_before_it_says_anything(nairobi: Home):
    client, _, hears = begun(nairobi, "echo never")
    _, err = client.communicate(f"{(int(hears) + 1) % 10**6:06d}\n", timeout=20)
    assert client.returncode != 0
    assert "somebody may stand in between" in err
    assert nairobi.tawtin("peer", "list", "--json").json["items"] == []
