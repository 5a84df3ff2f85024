"""A model whose replicas the factory runs itself: they get requests while they are ready, and no longer.

Their program is a few lines of Python that answer as a model server does, and say which run they are.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.cli.conftest import Home, made
from tests.gateway.harness import CHAT, Running
from tests.web.raw import request

pytestmark = pytest.mark.sandbox
PROGRAM = """
import http.server, json, os
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *said): pass
    def do_GET(self): self.say({})
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        said = {"role": "assistant", "content": os.environ["TAWTIN_RUN"] + " as " + asked["model"]}
        self.say({"choices": [{"index": 0, "message": said}], "usage": {"prompt_tokens": 2, "completion_tokens": 3}})
    def say(self, what):
        body = json.dumps(what).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer((os.environ["TAWTIN_HOST"], int(os.environ["PORT"])), Answer).serve_forever()
"""
SPEC = {
    "name": "atlas",
    "type": "service",
    "service": {"readiness_probe": "/", "replicas": 2},
    "resources": {"cpus": "0.05", "memory": "64MB"},
    "run": f"exec python3 -c '{PROGRAM}'",
}
SETTINGS = """
[gateway]
port = 0
snapshot_ms = 100
class_default = "public"
[models.atlas-7b]
[[models.atlas-7b.replicas]]
service = "owner/atlas"
model = "weights"
"""


def test_replicas_of_a_service_answer_while_they_are_ready(tmp_path: Path) -> None:
    home = made(tmp_path / "home")
    settings = home.folder / "factory.toml"
    settings.write_text(settings.read_text() + SETTINGS)
    (tmp_path / "atlas.json").write_text(json.dumps(SPEC))
    try:
        home.up()
        key = (home.folder / "data" / "owner.key").read_text().strip()
        url = json.loads((home.folder / "data" / "address.json").read_text())["gateway"].removesuffix("/v1")

        def who(number: int) -> str:
            """Which run answers a conversation; what is wrong if none does."""
            body = {
                "model": "atlas-7b",
                "messages": [*CHAT["messages"], {"role": "user", "content": f"{number} " * 500}],
            }
            got = request(url, "POST", "/v1/chat/completions", key=key, body=body)
            if got.status != 200:
                return f"{got.status}"
            return str(got.json["choices"][0]["message"]["content"])

        def all_of_them() -> set[str]:
            return {who(number) for number in range(20)}

        Running.until(lambda: who(0) == "403", "the refusal, as there is no replica yet")
        told = home.tawtin("serve", "up", str(tmp_path / "atlas.json"))
        assert told.code == 0, told.err
        Running.until(lambda: len(all_of_them()) == 2 and "403" not in all_of_them(), "two replicas")
        assert all(each.endswith(" as weights") for each in all_of_them())
        (gone, *_) = sorted(all_of_them())
        os.kill(program_of(gone.partition(" ")[0]), signal.SIGKILL)
        answers = [
            who(number) for number in range(20)
        ]  # of which some went to the one that is gone, and then on
        assert all(each.endswith(" as weights") for each in answers)
        Running.until(lambda: len(all_of_them()) == 2 and gone not in all_of_them(), "its next run")
        told = home.tawtin("serve", "down", "atlas")
        assert told.code == 0, told.err
        Running.until(lambda: all_of_them() == {"403"}, "the refusal, as there is none any more")
    finally:
        home.end()


def program_of(run: str) -> int:
    """The process of the program of a run."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if path.joinpath("comm").read_text() != "python3\n":
                continue
            if f"TAWTIN_RUN={run}".encode() in path.joinpath("environ").read_bytes().split(b"\0"):
                return int(path.name)
        except OSError:
            continue
    raise AssertionError(run)


@pytest.mark.parametrize(
    "wrong", ["", 'url = "http://h"\nservice = "owner/atlas"', 'service = "owner/atlas"\ncountry = "MA"']
)
def test_a_replica_is_a_server_or_a_service(tmp_path: Path, wrong: str) -> None:
    home = Home(tmp_path / "home")
    assert home.tawtin("init", "--name", "Lagos", "--port", "0").code == 0
    settings = home.folder / "factory.toml"
    settings.write_text(f"{settings.read_text()}\n[models.m]\n[[models.m.replicas]]\n{wrong}\n")
    told = home.tawtin("doctor")
    assert told.code == 1
    assert "models.m.replicas[0]" in told.out
