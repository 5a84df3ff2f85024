"""A home that somebody else wrote, from the page on the protocol alone, has its work done at a real factory of ours."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.cli.conftest import Home as Folder
from tests.network.conftest import raised, url
from tests.peering.independent import Json, canonical, cost_minor, holds
from tests.peering.independent_home import LOG, Home, to

pytestmark = [pytest.mark.timeout(300), pytest.mark.sandbox]
DEMAND = {"options": [{"gpu_model": "H100", "gpus": 1, "memory_mib": 256}]}
ABOUT: Json = {
    "mode": "wait",
    "lease_ms": 0,
    "owner": {"kind": "private", "country": "MA"},
}
DATA = {"origin": "MA"}
Pair = tuple[Home, Folder]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    folder = tmp_path_factory.mktemp("independent") / "nairobi"
    nairobi = raised(folder, "Nairobi", "KE", "--declare-gpus", "H100:4", "--cpu-hour", "720", "--port", port)
    home = Home("Elsewhere", hashlib.sha256(b"a home for tests").digest())
    server = home.listen()
    try:
        me = nairobi.tawtin("peer", "me", "--json").json
        home.keys["Nairobi"], home.addresses["Nairobi"] = me["key"], url(nairobi)
        told = nairobi.tawtin(
            "peer", "add", home.name, "--address", f"http://127.0.0.1:{server.server_port}", "--key", home.key,
            "--country", "MA", "--lend", "H100:4", "--lend-cpus", "16",
        )  # fmt: skip
        assert told.code == 0, told.err
        yield home, nairobi
    finally:
        nairobi.end()
        server.shutdown()
        server.server_close()


def asked(home: Home, workload: str, script: str, *, mode: str = "wait", lease_ms: int = 0) -> Json:
    """Begin an epoch as the page has it: look for room, and commit to what is held."""
    about = {**ABOUT, "mode": mode, "lease_ms": lease_ms, "workload": workload, "epoch": 1}
    spec = {"name": "from-elsewhere", "run": script, "demand": DEMAND, "data": DATA}
    if mode != "wait":  # which is the default, and left out
        spec["on_partition"] = mode
    digest = hashlib.sha256(canonical(spec)).hexdigest()
    reserve = {**about, "message": "reserve", "spec_digest": digest, "demand": DEMAND, "data": DATA}
    return home.ask("Nairobi", reserve, {**about, "message": "commit", "spec": spec})


def until(home: Home, what: Callable[[], Any], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, f"it took too long; the last words: {home.heard[-5:]}"
        home.repeat()
        time.sleep(0.3)


def heard(home: Home, workload: str, kind: str) -> list[Json]:
    return [each for each in home.heard if each["workload"] == workload and each["message"] == kind]


def started(home: Home, workload: str) -> bool:
    return any("started_ms" in each for each in heard(home, workload, "renew"))


def log_of(home: Home, workload: str) -> str:
    body = {"workload": workload, "epoch": 1, "offset": 0, "limit": 65_536}
    return base64.b64decode(home.post("Nairobi", LOG, body)["data"]).decode()


def guest(nairobi: Folder, workload: str) -> Json:
    """The record that the visited factory keeps, as it is on its disk."""
    path = f"file:{nairobi.folder}/data/journal.db?mode=ro"
    wanted = ("guest", f"Elsewhere/{workload}.1")
    with closing(sqlite3.connect(path, uri=True)) as journal:
        (body,) = journal.execute("SELECT body FROM records WHERE kind = ? AND id = ?", wanted).fetchone()
    return json.loads(body)


def charged(nairobi: Folder) -> int:
    items = nairobi.tawtin("usage", "--json").json["items"]
    return sum(each["cost_minor"] for each in items if each["tenant"] == "peer-elsewhere")


def runs_of(nairobi: Folder, name: str) -> list[str]:
    """The runs that there ever were of a guest, by the id under which it ran."""
    path = f"file:{nairobi.folder}/data/journal.db?mode=ro"
    query = "SELECT id FROM records WHERE kind = 'run' AND id LIKE ?"
    with closing(sqlite3.connect(path, uri=True)) as journal:
        return [name for (name,) in journal.execute(query, (f"{guest(nairobi, name)['local']}%",))]


def test_a_job_of_another_implementation_runs_and_is_paid_for(pair: Pair):
    home, nairobi = pair
    before = charged(nairobi)
    job = asked(home, "wl-whole", "echo from elsewhere; sleep 1.2; exit 3")
    until(home, lambda: job["state"] == "settled")
    signed = job["receipt"]
    receipt = signed["receipt"]
    assert "from elsewhere\n" in log_of(home, "wl-whole")
    assert (receipt["outcome"], receipt["cause"], receipt["exit_code"]) == ("finished", "Completed", 3)
    assert holds(home.keys["Nairobi"], signed["signature"], canonical(receipt))
    usage = receipt["usage"]
    assert usage["gpu_ms"] >= 1_200
    exact = usage["gpu_ms"] * 3600 / 3_600_000 + usage["wall_ms"] * 720 / 3_600_000
    assert receipt["cost_minor"] == cost_minor(receipt)
    assert abs(receipt["cost_minor"] - exact) <= 0.5
    kept = guest(nairobi, "wl-whole")
    assert kept["state"] == "settled"
    assert holds(home.key, kept["countersignature"], canonical(receipt))
    assert charged(nairobi) - before == receipt["cost_minor"]


def test_a_second_commit_starts_nothing_and_is_answered_alike(pair: Pair):
    home, nairobi = pair
    job = asked(home, "wl-twice", "echo once; sleep 0.5")
    until(home, lambda: started(home, "wl-twice"))
    home.say("Nairobi", [job["commit"], job["commit"], job["reserve"]])
    until(home, lambda: len(heard(home, "wl-twice", "committed")) >= 4)
    assert {each["state"] for each in heard(home, "wl-twice", "committed")} <= {"committed", "done"}
    until(home, lambda: job["state"] == "settled")
    home.say("Nairobi", [job["commit"]])
    until(home, lambda: heard(home, "wl-twice", "committed")[-1]["state"] == "settled")
    assert len(runs_of(nairobi, "wl-twice")) == 1
    assert log_of(home, "wl-twice") == "once\n"
    assert len({canonical(each["receipt"]) for each in heard(home, "wl-twice", "complete")}) == 1


def test_what_is_cancelled_is_stopped_there_and_paid_until_then(pair: Pair):
    home, nairobi = pair
    job = asked(home, "wl-cancelled", "sleep 300")
    until(home, lambda: started(home, "wl-cancelled"))
    job["stop"] = "cancelled"
    until(home, lambda: job["state"] == "settled")
    receipt = job["receipt"]["receipt"]
    assert (receipt["outcome"], receipt["cause"]) == ("cancelled", "Cancelled")
    assert receipt["cost_minor"] == cost_minor(receipt)
    assert guest(nairobi, "wl-cancelled")["stop"] == "cancelled"
    assert [
        each for each in nairobi.tawtin("ps", "--json").json["items"] if each["status"] == "running"
    ] == []


def test_a_countersignature_that_is_not_the_homes_settles_nothing(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
):
    home, nairobi = pair
    other = Ed25519PrivateKey.from_private_bytes(b"\7" * 32)
    plain = home.money

    def forged(job: Json, said: Json) -> Json:
        body = canonical(said["receipt"]["receipt"])
        return {**plain(job, said), "signature": base64.b64encode(other.sign(body)).decode()}

    monkeypatch.setattr(home, "money", forged)
    job = asked(home, "wl-forged", "echo forged")
    until(home, lambda: len(heard(home, "wl-forged", "receipt")) >= 2)
    assert guest(nairobi, "wl-forged")["state"] == "acked"
    assert heard(home, "wl-forged", "settled") == []
    monkeypatch.undo()
    until(home, lambda: job["state"] == "settled")
    kept = guest(nairobi, "wl-forged")
    assert holds(home.key, kept["countersignature"], canonical(kept["receipt"]["receipt"]))


def test_a_run_outlives_the_control_plane_and_home_goes_on_repeating(pair: Pair):
    home, nairobi = pair
    script = "i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo $i of $$; sleep 0.2; done"
    job = asked(home, "wl-killed", script)
    until(home, lambda: started(home, "wl-killed"))
    os.kill(nairobi.pid(), signal.SIGKILL)
    later = asked(home, "wl-later", "echo later")
    for _ in range(5):
        home.repeat()
        time.sleep(0.2)
    assert (job["state"], later["state"]) == ("heard", "asking"), "silence means nothing"
    nairobi.up()
    until(home, lambda: job["state"] == "settled" == later["state"])
    lines = [line.split(" of ") for line in log_of(home, "wl-killed").splitlines()]
    assert [int(number) for number, _ in lines] == list(range(1, 41))
    assert len({process for _, process in lines}) == 1
    assert job["receipt"]["receipt"]["outcome"] == "finished"
    assert log_of(home, "wl-later") == "later\n"


def test_a_lease_goes_on_while_home_grants_it_and_no_longer(pair: Pair, monkeypatch: pytest.MonkeyPatch):
    home, nairobi = pair
    agree(nairobi, home.name, {"lease_ms": 16_000, "ttl_ms": 4_000, "stop_ms": 10_000})
    job = asked(home, "wl-leased", "sleep 300", mode="rerun", lease_ms=16_000)
    until(home, lambda: started(home, "wl-leased"))
    time.sleep(9)
    assert job["state"] == "heard", "it was to end 6 s after it was reserved"
    plain = home.hear

    def deaf(sender: str, said: Json) -> list[Json]:
        return [] if said["message"] == "renew" else plain(sender, said)

    monkeypatch.setattr(home, "hear", deaf)
    until(home, lambda: job["state"] == "settled", 40)
    receipt = job["receipt"]["receipt"]
    assert (receipt["outcome"], receipt["cause"]) == ("interrupted", "LeaseExpired")
    kept = guest(nairobi, "wl-leased")
    assert (kept["state"], kept.get("countersignature", "")) == ("settled", "")
    assert kept["disputed"] == "not as agreed: its outcome"


def test_what_is_stopped_before_it_was_committed_is_never_taken_on(pair: Pair):
    home, _ = pair
    job = asked(home, "wl-never", "echo never")
    job["state"] = "held"
    home.say("Nairobi", [job["reserve"]])
    until(home, lambda: heard(home, "wl-never", "reserved"), 20)
    (held, *_) = heard(home, "wl-never", "reserved")
    stop = to(held, "stop", resv=held["resv"], reason="cancelled")
    commit = {**job["commit"], **{name: held[name] for name in ("resv", "shape", "rate")}}
    home.say("Nairobi", [stop, commit])
    until(home, lambda: len(heard(home, "wl-never", "not_held")) == 2, 20)
    assert {each["resv"] for each in heard(home, "wl-never", "not_held")} == {held["resv"]}
    other = {**commit, "resv": "0" * 32 + ".ff"}
    home.say("Nairobi", [other])
    until(home, lambda: heard(home, "wl-never", "unknown"), 20)


def agree(nairobi: Folder, peer: str, terms: Json) -> None:
    (known,) = [
        each for each in nairobi.tawtin("peer", "list", "--json").json["items"] if each["name"] == peer
    ]
    key = (nairobi.folder / "data" / "owner.key").read_text().strip()
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    connection = HTTPConnection(url(nairobi).removeprefix("http://"), timeout=10)
    connection.request("PUT", f"/api/v1/peers/{peer}", json.dumps({**known, "terms": terms}), headers)
    assert connection.getresponse().status == 200
    connection.close()
