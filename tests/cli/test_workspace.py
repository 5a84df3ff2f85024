"""The commands about workspaces, on a real factory."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import pytest

from tawtin.cli import exits
from tests.cli.conftest import Home, Told

pytestmark = pytest.mark.timeout(300)
WAIT_S = 60.0
PROGRAM = """\
exec python3 -c 'import http.server, os, socketserver
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204)
        self.end_headers()
    def address_string(self):
        return ""
socketserver.ThreadingUnixStreamServer(os.environ["TAWTIN_SOCKET"], Page).serve_forever()'
"""
SMALL = ("--cpus", "0.1", "--memory", "64MB")


def said(told: Told, code: int = exits.OK) -> str:
    assert told.code == code, told.out + told.err
    return told.out


def until(home: Home, state: str) -> None:
    end = time.monotonic() + WAIT_S
    while (found := home.tawtin("workspace", "show", "lab", "--json").json["state"]) != state:
        assert time.monotonic() < end, found
        time.sleep(0.2)


def test_one_is_made_waited_for_kept_awake_let_rest_woken_shared_and_deleted(factory: Home) -> None:
    made = said(factory.tawtin("workspace", "create", "lab", "--run", PROGRAM, "--idle", "30m", *SMALL))
    assert "plan for `lab`" in made
    assert "MAD an hour for processors" in made
    assert "MAD an hour; its ended runs cost 0.00 MAD" in made
    assert "ready since" in made
    assert "a program of its own" in made
    listed = said(factory.tawtin("workspace", "list")).splitlines()
    assert (listed[0].split()[0], listed[1].split()[:3]) == ("NAME", ["lab", "owner", "ready"])
    extended = factory.tawtin("workspace", "extend", "lab", "--by", "2h", "--json").json["awake_until_ms"]
    again = factory.tawtin("workspace", "extend", "lab", "--by", "30m", "--json").json["awake_until_ms"]
    assert 1_795_000 < again - extended <= 1_805_000
    assert factory.tawtin("workspace", "share", "lab", "--json").json["shared"]
    assert "shared:    no" in said(factory.tawtin("workspace", "unshare", "lab"))
    said(factory.tawtin("workspace", "stop", "lab"))
    until(factory, "resting")
    assert "rests" in factory.tawtin("workspace", "extend", "lab", "--by", "1h").err
    assert "ready since" in said(factory.tawtin("workspace", "start", "lab", "--for", "1h"))
    asked = factory.tawtin("workspace", "delete", "lab")
    assert (asked.code, "--yes" in asked.err) == (exits.USAGE, True)
    assert "deleted, with its home" in said(factory.tawtin("workspace", "delete", "lab", "--yes"))
    end = time.monotonic() + WAIT_S
    while "there are no workspaces" not in said(factory.tawtin("workspace", "list")):
        assert time.monotonic() < end
        time.sleep(0.2)
    assert factory.tawtin("workspace", "show", "lab").code == exits.NOT_FOUND


def test_what_does_not_fit_now_says_why_it_waits(factory: Home) -> None:
    words = ("create", "large", "--run", PROGRAM, "--cpus", "4096", "--memory", "64MB", "--timeout", "1")
    told = factory.tawtin("workspace", *words)
    said(told, exits.DETACHED)
    assert "-- waiting: " in told.err
    assert "waits" in told.out
    said(factory.tawtin("workspace", "delete", "large", "--yes"))


def test_a_spec_is_a_workspaces_and_goes_without_flags(factory: Home, tmp_path: Path) -> None:
    spec = tmp_path / "lab.yaml"
    spec.write_text("name: filed\ntype: workspace\nrun: sleep 600\nresources: {cpus: 0.1, memory: 64MB}\n")
    made = factory.tawtin("workspace", "create", "-f", str(spec), "--no-wait", "--json")
    assert made.json["name"] == "filed"
    said(factory.tawtin("workspace", "delete", "filed", "--yes"))
    spec.write_text("run: hostname\n")
    for words, want in (
        (f"-f {spec}", "is no workspace"),
        (f"-f {spec} --cpus 2", "--cpus does not go with -f"),
        (f"-f {spec} lab", "the name `lab` does not go with -f"),
        ("", "needs a name"),
        ("lab --app shell --run true", "remove one"),
        ("lab --idle soon", "workspace.idle"),
    ):
        told = factory.tawtin("workspace", "create", *shlex.split(words))
        assert (told.code, want in told.err) == (exits.USAGE, True), told.err


def test_a_program_that_ends_by_itself_is_said_with_its_log(factory: Home) -> None:
    told = factory.tawtin("workspace", "create", "broken", "--run", "echo no such app; exit 3", *SMALL)
    assert told.code == exits.FAILED, told.err
    assert "with exit code 3" in told.err
    assert "tawtin logs wl-" in told.err
    said(factory.tawtin("workspace", "delete", "broken", "--yes"))
