"""Two operators who never met make their factories peers, change what they lend, and part."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection

import pytest

from tawtin.cli import exits
from tests.cli.conftest import Home
from tests.network.conftest import raised, url
from tests.network.test_two_factories import first_of, shown, status, submitted, until

pytestmark = [pytest.mark.timeout(300), pytest.mark.sandbox]
Pair = tuple[Home, Home]


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    base = tmp_path_factory.mktemp("strangers")
    casa = raised(base / "casa", "Casablanca", "MA")
    nairobi = raised(base / "nairobi", "Nairobi", "KE", "--declare-gpus", "H100:4")
    yield casa, nairobi
    casa.end()
    nairobi.end()


def say(home: Home) -> str:
    (each,) = home.tawtin("peer", "invitations", "--json").json["items"]
    return each["say"]


def test_an_invitation_and_digits_make_peers_that_run_each_others_work(strangers: Pair):
    casa, nairobi = strangers
    made = nairobi.tawtin("peer", "invite", "--lend", "H100:4", "--lend-cpus", "8")
    assert made.code == 0, made.err
    (command,) = [line for line in made.out.splitlines() if line.startswith("tawtin peer join")]
    invitation = command.split()[-1]
    joined = casa.tawtin("peer", "join", invitation)
    assert joined.code == 0, joined.err
    assert "Nairobi (KE)" in joined.out
    assert say(casa) in joined.out
    assert casa.tawtin("peer", "list", "--json").json["items"] == [], (
        "nobody is a peer before the digits were heard"
    )
    wrong = casa.tawtin("peer", "confirm", "Nairobi", "000", "000")
    assert wrong.code == exits.CONFLICT
    assert "2 tries are left" in wrong.err
    to_casa, to_nairobi = say(nairobi), say(casa)
    for here, name, heard in ((casa, "Nairobi", to_casa), (nairobi, "Casablanca", to_nairobi)):
        told = here.tawtin("peer", "confirm", name, *heard.split())
        assert told.code == 0, told.err
        assert "active" in told.out
    assert casa.tawtin("peer", "invitations").out.startswith("no invitation")
    again = casa.tawtin("peer", "join", invitation)
    assert again.code != 0
    assert "taken up" in again.err
    work = submitted(casa, "echo from afar")
    until(lambda: status(casa, work) == "succeeded")
    (run,) = shown(casa, work)["runs"]
    assert run["factory"] == "Nairobi"
    assert run["roam"]["countersignature"]


def test_what_is_lent_is_changed_without_the_rest(strangers: Pair):
    _, nairobi = strangers
    (before,) = nairobi.tawtin("peer", "list", "--json").json["items"]
    told = nairobi.tawtin("peer", "set", "Casablanca", "--mbit", "1000", "--lend", "H100:3")
    assert told.code == 0, told.err
    (after,) = nairobi.tawtin("peer", "list", "--json").json["items"]
    assert after["link"]["mbit_per_s"] == 1000
    assert after["lends"]["gpus"] == {"H100": 3}
    for part in ("key", "address", "country", "terms", "state"):
        assert after.get(part) == before.get(part)
    assert after["lends"]["cpus_milli"] == before["lends"]["cpus_milli"] == 8000
    assert nairobi.tawtin("peer", "set", "Casablanca").code == exits.USAGE
    assert nairobi.tawtin("peer", "set", "Casablanca", "--hours", "25:00-06:00").code == exits.USAGE
    assert nairobi.tawtin("peer", "set", "Lagos", "--mbit", "1").code == exits.NOT_FOUND


def test_hours_bound_what_is_taken_in(strangers: Pair):
    casa, nairobi = strangers
    now = datetime.now(UTC)

    def span(begin_min: int, end_min: int) -> str:
        return "-".join((now + timedelta(minutes=each)).strftime("%H:%M") for each in (begin_min, end_min))

    assert nairobi.tawtin("peer", "set", "Casablanca", "--hours", span(120, 180)).code == 0
    work = submitted(casa, "echo at night")
    time.sleep(5)
    assert status(casa, work) == "queued"
    assert nairobi.tawtin("peer", "set", "Casablanca", "--hours", span(-60, 60)).code == 0
    time.sleep(5)
    assert status(casa, work) == "queued", "it does not say for how long it runs"
    casa.tawtin("cancel", work)
    told = casa.tawtin(
        "run",
        "-y",
        "--detach",
        "--json",
        "--gpus",
        "H100:1",
        "--max-duration",
        "10m",
        "--",
        "echo",
        "in time",
    )
    assert told.code == 0, told.err
    until(lambda: status(casa, first_of(told)) == "succeeded")
    assert nairobi.tawtin("peer", "set", "Casablanca", "--hours", "always").code == 0


def test_who_leaves_lets_what_runs_end_and_is_paid(strangers: Pair):
    casa, nairobi = strangers
    work = submitted(casa, "for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 1; done")
    until(lambda: status(casa, work) == "running")
    assert nairobi.tawtin("peer", "leave", "Casablanca").code == 0
    late = submitted(casa, "echo never")
    until(lambda: status(casa, work) == "succeeded")
    (run,) = shown(casa, work)["runs"]
    assert (run["epoch"], run["roam"]["close"]) == (1, "finished")
    assert run["roam"]["countersignature"]
    accounts = nairobi.tawtin("usage", "--json").json["items"]
    owed = sum(each["cost_minor"] for each in accounts if each.get("tenant") == "peer-casablanca")
    assert owed >= run["cost_minor"] > 0
    assert status(casa, late) == "queued"
    assert casa.tawtin("peer", "leave", "Nairobi").code == 0
    own = casa.tawtin("run", "-y", "--", "echo", "own")
    assert own.code == 0, own.err


REVEAL = b'{"step":"reveal","invitation":"%s","nonce":"%s"}' % (b"0" * 64, b"0" * 32)


@pytest.mark.parametrize(("body", "expected"), [(b"", 400), (b"{}", 400), (REVEAL, 404)])
def test_strangers_without_an_invitation_learn_nothing(strangers: Pair, body: bytes, expected: int):
    connection = HTTPConnection(url(strangers[1]).removeprefix("http://"), timeout=10)
    connection.request("POST", "/peer/v1/introduction", body, {"tawtin-proof": "00"})
    answer = connection.getresponse()
    assert answer.status == expected, answer.read()
    connection.close()
