"""A service that rests while nobody asks: the first request waits for it, and nothing of it is lost meanwhile."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.cli.conftest import made
from tests.gateway.harness import CHAT, Running
from tests.gateway.test_services import PROGRAM, SETTINGS
from tests.web.raw import request

pytestmark = pytest.mark.sandbox
POLICY = {
    "min_replicas": 0,
    "max_replicas": 2,
    "target_in_flight_per_replica": 4,
    "upscale_delay_seconds": 0,
    "downscale_delay_seconds": 1,
}
SPEC = {
    "name": "atlas",
    "type": "service",
    "service": {"readiness_probe": "/", "replica_policy": POLICY},
    "secrets": {"WORD": "sesame"},
    "resources": {"cpus": "0.05", "memory": "64MB"},
    "run": f"test $WORD = sesame; exec python3 -c '{PROGRAM}'",
}
PACE = "\n[services]\nprobe_unready_ms = 100\nscale_ms = 200\nleave_ms = 300\n"


def test_it_rests_while_nobody_asks_and_wakes_for_the_first_request_also_after_a_crash(
    tmp_path: Path,
) -> None:
    home = made(tmp_path / "home")
    settings = home.folder / "factory.toml"
    settings.write_text(settings.read_text() + PACE + SETTINGS)
    (tmp_path / "atlas.json").write_text(json.dumps(SPEC))
    try:
        home.up()
        key = (home.folder / "data" / "owner.key").read_text().strip()

        def address(of: str) -> str:
            said = json.loads((home.folder / "data" / "address.json").read_text())
            return str(said[of]).removesuffix("/v1")

        def ask() -> tuple[int, str]:
            """Status, and the run that answered."""
            body = {"model": "atlas-7b", **CHAT}
            got = request(address("gateway"), "POST", "/v1/chat/completions", key=key, body=body)
            choices = got.json.get("choices")
            return got.status, choices[0]["message"]["content"].split()[0] if choices else ""

        def rests() -> bool:
            got = request(address("url"), "GET", "/api/v1/services/atlas", key=key)
            return [each["readiness"] for each in got.json["replicas"]] == ["resting"]

        told = home.tawtin("serve", "up", str(tmp_path / "atlas.json"))
        assert told.code == 0, told.err
        Running.until(lambda: ask()[0] == 200, "an answer")
        Running.until(rests, "rest, as nobody asks")
        told = home.tawtin("serve", "status", "atlas")
        assert "atlas: 0/0 ready, revision 1, resting\nload: 0 of 0 to 2: nobody asks\n" in told.out
        assert "Resting" in home.tawtin("ps").out
        status, first = ask()
        assert status == 200

        Running.until(rests, "rest again")
        os.kill(home.pid(), signal.SIGKILL)
        home.up()
        assert rests()
        Running.until(lambda: ask()[0] == 200, "an answer after the crash")
        status, second = ask()
        assert (status, second.partition(".")[0]) == (200, first.partition(".")[0])
        assert second != first

        log = request(address("url"), "GET", "/api/v1/events?limit=1000", key=key).json["items"]
        events = [each["event"] for each in log]
        changes = [(each["before"], each["replicas"]) for each in events if each["event"] == "ServiceScaled"]
        assert changes[:4] == [(1, 0), (0, 1), (1, 0), (0, 1)]
        assert home.tawtin("serve", "down", "atlas").code == 0
        Running.until(lambda: ask()[0] == 403, "the refusal, as there is no service any more")
    finally:
        home.end()
