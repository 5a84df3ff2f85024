"""Two real factories over real HTTP: what does not fit at one runs at the other, whatever breaks in between."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any

import pytest

from tawtin.cli import exits
from tawtin.engines.shared import durable
from tests.cli.conftest import Home, Told
from tests.network.conftest import introduce, url

pytestmark = [pytest.mark.timeout(300), pytest.mark.sandbox]
Pair = tuple[Home, Home]


def shown(home: Home, workload: str) -> Any:  # noqa: ANN401 - JSON
    told = home.tawtin("show", workload, "--json")
    assert told.code == 0, told.err
    return told.json


def until(what: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, f"it took longer than {seconds:g} s"
        time.sleep(0.2)


def submitted(home: Home, script: str) -> str:
    told = home.tawtin("run", "-y", "--detach", "--json", "--gpus", "H100:1", "--", "sh", "-c", script)
    assert told.code == 0, told.err
    return first_of(told)


def first_of(told: Told) -> str:
    return str(told.json["submitted"]["workloads"][0]["id"])


def status(home: Home, workload: str) -> str:
    return str(shown(home, workload)["view"]["status"])


def test_a_job_that_does_not_fit_runs_at_the_peer_and_its_log_comes_home(pair: Pair):
    casa, nairobi = pair
    told = casa.tawtin("run", "-y", "--gpus", "H100:1", "--", "sh", "-c", "echo from afar; sleep 0.5")
    assert told.code == 0, told.err
    assert "from afar" in told.out
    (mine,) = [each for each in casa.tawtin("ps", "--json").json["items"] if each["status"] == "succeeded"][
        :1
    ]
    run = shown(casa, mine["workload"]["id"])["runs"][0]
    assert (run["factory"], run["country"], run["roam"]["close"]) == ("Nairobi", "KE", "finished")
    assert run["roam"]["countersignature"]
    assert run["roam"]["receipt"]["receipt"]["cost_minor"] == run["cost_minor"]
    theirs = nairobi.tawtin("usage", "--json").json["items"]
    assert [each["cost_minor"] for each in theirs if each.get("tenant") == "peer-casablanca"] == [
        run["cost_minor"]
    ]
    (rate,) = [
        each for each in casa.tawtin("localisation", "--json").json["items"] if each.get("tenant") == "owner"
    ]
    assert rate["runs"]["continent"] == 1


def test_personal_data_stays_at_home_however_long_it_waits(pair: Pair, tmp_path: Any):  # noqa: ANN401 - a path
    casa, _ = pair
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        "name: records\nresources:\n  accelerators: H100:1\ndata:\n  class: personal\nrun: echo never\n"
    )
    told = casa.tawtin("run", "-y", "--detach", "--json", str(spec))
    assert told.code == 0, told.err
    workload = first_of(told)
    time.sleep(4)
    assert status(casa, workload) == "queued"
    casa.tawtin("cancel", workload)


def test_a_cancel_reaches_the_peer(pair: Pair):
    casa, nairobi = pair
    workload = submitted(casa, "sleep 300")
    until(lambda: status(casa, workload) == "running")
    casa.tawtin("cancel", workload)
    until(lambda: status(casa, workload) == "cancelled")
    until(
        lambda: (
            not [each for each in nairobi.tawtin("ps", "--json").json["items"] if each["status"] == "running"]
        )
    )


def test_both_control_planes_are_killed_and_the_run_is_neither_lost_nor_repeated(pair: Pair):
    casa, nairobi = pair
    workload = submitted(casa, "i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo $i of $$; sleep 0.2; done")
    until(lambda: status(casa, workload) == "running")
    for home in (nairobi, casa):
        os.kill(home.pid(), signal.SIGKILL)
    time.sleep(1)
    nairobi.up()
    casa.up()
    introduce(casa, nairobi)
    introduce(nairobi, casa)
    until(lambda: status(casa, workload) == "succeeded")
    runs = shown(casa, workload)["runs"]
    assert [(run["epoch"], run["roam"]["close"]) for run in runs] == [(1, "finished")]
    lines = casa.tawtin("logs", workload).out.split("\n")
    counted = [line.split(" of ") for line in lines if " of " in line]
    assert [int(number) for number, _ in counted] == list(range(1, 61))
    assert len({process for _, process in counted}) == 1


def test_a_run_that_is_declared_lost_is_tried_again_and_only_then(pair: Pair):
    casa, nairobi = pair
    workload = submitted(casa, "sleep 300")
    until(lambda: status(casa, workload) == "running")
    os.kill(nairobi.pid(), signal.SIGKILL)
    time.sleep(3)
    assert status(casa, workload) == "running", "a peer that is silent is waited for"
    told = casa.tawtin("lost", workload, "--why", "for a test")
    assert told.code == 0, told.err
    runs = shown(casa, workload)["runs"]
    assert runs[0]["roam"]["close"] == "lost"
    assert status(casa, workload) == "queued"
    nairobi.up()
    introduce(casa, nairobi)
    introduce(nairobi, casa)
    until(lambda: shown(casa, workload)["view"]["workload"]["epoch"] == 2)
    casa.tawtin("cancel", workload)
    until(lambda: status(casa, workload) == "cancelled")
    again = casa.tawtin("lost", workload, "--why", "again")
    assert again.code == exits.CONFLICT


def test_what_is_not_signed_by_a_peer_is_refused_at_the_door(pair: Pair):
    _, nairobi = pair
    for path in ("/peer/v1/messages", "/peer/v1/log"):
        connection = HTTPConnection(url(nairobi).removeprefix("http://"), timeout=10)
        connection.request("POST", path, b'{"messages":[]}', {"content-type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 401
        assert json.loads(answer.read())["token"] == "Unsigned"
        connection.request("GET", path)
        assert connection.getresponse().status == 405
        connection.close()


def test_a_revoked_peer_is_heard_no_more(pair: Pair):
    casa, nairobi = pair
    assert nairobi.tawtin("peer", "revoke", "Casablanca").code == 0
    workload = submitted(casa, "echo never")
    time.sleep(4)
    assert status(casa, workload) == "queued"
    casa.tawtin("cancel", workload)
    introduce(nairobi, casa)


def test_the_peers_are_listed_and_a_wrong_one_is_refused(pair: Pair):
    casa, _ = pair
    assert "Nairobi" in casa.tawtin("peer", "list").out
    told = casa.tawtin(
        "peer", "add", "Casablanca", "--address", "http://127.0.0.1:1", "--key", "x", "--country", "MA"
    )
    assert told.code == exits.USAGE
    assert "is this factory" in told.err
    assert casa.tawtin("peer", "leave", "Lagos").code == exits.NOT_FOUND


LEASE = {"lease_ms": 22_000, "ttl_ms": 5_000, "stop_ms": 10_000}


def lease(here: Home, there: Home) -> None:
    """Agree on short leases, on both sides."""
    me = there.tawtin("peer", "me", "--json").json
    (known,) = [
        each for each in here.tawtin("peer", "list", "--json").json["items"] if each["name"] == me["name"]
    ]
    key = (here.folder / "data" / "owner.key").read_text().strip()
    connection = HTTPConnection(url(here).removeprefix("http://"), timeout=10)
    body = json.dumps({**known, "terms": LEASE})
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    connection.request("PUT", f"/api/v1/peers/{me['name']}", body, headers)
    assert connection.getresponse().status == 200
    connection.close()


def test_a_leased_run_that_is_cut_off_is_ended_there_before_it_starts_again(pair: Pair, tmp_path: Any):  # noqa: ANN401 - a path
    casa, nairobi = pair
    lease(casa, nairobi)
    lease(nairobi, casa)
    spec = tmp_path / "leased.yaml"
    spec.write_text("name: leased\nresources:\n  accelerators: H100:1\non_partition: rerun\nrun: sleep 300\n")
    told = casa.tawtin("run", "-y", "--detach", "--json", str(spec))
    assert told.code == 0, told.err
    workload = first_of(told)
    until(lambda: status(casa, workload) == "running")
    time.sleep(13)
    assert shown(casa, workload)["view"]["workload"]["epoch"] == 1, "the lease is renewed"
    before = set(sleepers(nairobi))
    assert before
    os.kill(nairobi.pid(), signal.SIGKILL)
    until(lambda: not before & set(sleepers(nairobi)), LEASE["lease_ms"] / 1000)
    assert status(casa, workload) == "running", "home waits until the lease is over by both clocks"
    until(lambda: shown(casa, workload)["runs"][0]["roam"].get("close") == "expired", 40)
    nairobi.up()
    introduce(casa, nairobi)
    introduce(nairobi, casa)
    until(lambda: shown(casa, workload)["view"]["workload"]["epoch"] >= 2)
    casa.tawtin("cancel", workload)
    until(lambda: status(casa, workload) == "cancelled")


def sleepers(home: Home) -> list[int]:
    """Sandboxes of runs of this factory that are alive."""
    found: list[int] = []
    for state in (home.folder / "data" / "engine" / "runs").glob("*/state.json"):
        inner = json.loads(state.read_text()).get("inner")
        if inner and durable.still_there(*inner):
            found.append(inner[0])
    return found


def test_explain_names_every_factory_and_its_rule(pair: Pair, tmp_path: Any):  # noqa: ANN401 - a path
    casa, _ = pair
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        "name: records\nresources:\n  accelerators: H100:1\ndata:\n  class: personal\nrun: echo never\n"
    )
    told = casa.tawtin("explain", str(spec))
    assert told.code == 0, told.err
    assert "Nairobi (KE): REFUSED" in told.out
    assert "Law 09-08, art. 44" in told.out
    workload = submitted(casa, "sleep 300")
    until(lambda: status(casa, workload) == "running")
    told = casa.tawtin("explain", workload)
    assert "on Nairobi since" in told.out
    assert "Nairobi (KE): allowed" in told.out
    assert " ms away" in told.out
    assert "63 g CO2 a kWh" in told.out
    casa.tawtin("cancel", workload)
    until(lambda: status(casa, workload) == "cancelled")
