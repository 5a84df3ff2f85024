"""Five factories in network namespaces of their own, as far apart as the countries are, and the cables between cut.

The cut is that of 14 March 2024, when four cables were lost off Abidjan and West Africa was on its own for hours: here
it lasts seconds, a thousandth of that.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Home
from tests.network.spaces import Spaces, possible, rtt_ms
from tests.network.test_two_factories import first_of, shown, status, until

pytestmark = [pytest.mark.timeout(400), pytest.mark.sandbox, pytest.mark.namespaces]
PLACES = {"ZA": "CapeTown", "MA": "Casablanca", "EG": "Cairo", "KE": "Nairobi", "NG": "Lagos"}
GPUS = {"ZA": 8, "MA": 1, "EG": 1, "KE": 1, "NG": 1}
PORT = 8470
HOURS_MS = 3_600
"""An hour, a thousand times as fast."""
OUTAGE_HOURS = 4


@dataclass
class Site(Home):
    """A factory, and the command, in a namespace."""

    before: tuple[str, ...] = ()

    def begin(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.before, sys.executable, "-m", "tawtin", *words],
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@dataclass
class Network:
    spaces: Spaces
    sites: dict[str, Site]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    base = tmp_path_factory.mktemp("cables")
    spaces = Spaces(tuple(PLACES))
    sites = {
        country: Site(folder=base / country.lower(), before=spaces.inside(country)) for country in PLACES
    }
    try:
        for country, name in PLACES.items():
            gpus = ("--declare-gpus", f"H100:{GPUS[country]}")
            words = ("--name", name, "--country", country, "--currency", "USD", *gpus)
            told = sites[country].tawtin("init", *words, "--port", str(PORT), "--gpu-hour", "3600")
            assert told.code == 0, told.err
            sites[country].up("--set", f"api.host={spaces.address(country)}")
        keys = {country: site.tawtin("peer", "me", "--json").json["key"] for country, site in sites.items()}
        for here, site in sites.items():
            adding = [
                site.begin(
                    "peer", "add", PLACES[there], "--address", f"http://{spaces.address(there)}:{PORT}",
                    "--key", keys[there], "--country", there, "--lend", "H100:8", "--lend-cpus", "2",
                )
                for there in PLACES
                if there != here
            ]  # fmt: skip
            for each in adding:
                _, error = each.communicate(timeout=60)
                assert each.returncode == 0, error
        yield Network(spaces, sites)
    finally:
        for site in sites.values():
            site.end()
        spaces.close()


def submitted(site: Site, gpus: int, script: str, *words: str) -> str:
    told = site.tawtin(
        "run", "-y", "--detach", "--json", "--gpus", f"H100:{gpus}", "--cpus", "0.2", "--memory", "256MB",
        *words, "--", "sh", "-c", script,
    )  # fmt: skip
    assert told.code == 0, told.err
    return first_of(told)


def starts(network: Network, name: str) -> int:
    """How many processes all five factories started for workloads of this name."""
    return sum(
        bool(run.get("started_ms")) and not run.get("factory")
        for site in network.sites.values()
        for view in site.tawtin("ps", "--all", "--json").json["items"]
        if view["workload"]["spec"]["name"] == name
        for run in shown(site, view["workload"]["id"])["runs"]
    )


def test_the_way_between_two_countries_takes_as_long_as_it_does(network: Network):
    """Measured with a connection from within, which takes one round trip."""
    code = (
        "import socket, time, sys; began = time.monotonic();"
        "socket.create_connection((sys.argv[1], int(sys.argv[2])), 2).close(); print(time.monotonic() - began)"
    )
    for here, there in (("ZA", "MA"), ("NG", "EG"), ("MA", "EG")):
        words = (*network.spaces.inside(here), sys.executable, "-c", code)
        target = (network.spaces.address(there), str(PORT))
        took = min(
            float(subprocess.run((*words, *target), capture_output=True, check=True, text=True).stdout)
            for _ in range(3)
        )
        assert took * 1000 >= rtt_ms(here, there) - 1
    network.spaces.set_cut("NG", cut=True)
    words = (
        *network.spaces.inside("ZA"),
        sys.executable,
        "-c",
        code,
        network.spaces.address("NG"),
        str(PORT),
    )
    assert subprocess.run(words, capture_output=True, check=False).returncode != 0
    network.spaces.set_cut("NG", cut=False)


def test_a_country_that_is_cut_off_goes_on_and_nothing_runs_twice(network: Network):
    lagos, cape_town = network.sites["NG"], network.sites["ZA"]
    away = submitted(
        lagos, 4, "i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo $i of $$; sleep 0.2; done", "--name", "away"
    )
    until(lambda: status(lagos, away) == "running")
    assert shown(lagos, away)["runs"][0]["factory"] == "CapeTown"
    network.spaces.set_cut("NG", cut=True)
    began = time.monotonic()
    for country in ("NG", "ZA", "MA"):
        own = submitted(network.sites[country], 1, "echo own", "--name", f"own-{country.lower()}")
        until(lambda country=country, own=own: status(network.sites[country], own) == "succeeded")
        assert not shown(network.sites[country], own)["runs"][0].get("factory")
    until(lambda: reason(lagos, away) == "PeerUnreachable")
    waiting = shown(lagos, away)["view"]["waiting"]
    assert waiting["values"]["silent_ms"] >= 10_000
    assert "CapeTown" in lagos.tawtin("explain", away).out
    guest = f"peer-{PLACES['NG'].lower()}"
    until(
        lambda: all(
            view["status"] == "succeeded"
            for view in cape_town.tawtin("ps", "--all", "--json").json["items"]
            if view["workload"]["tenant"] == guest
        )
    )
    assert status(lagos, away) == "running"
    time.sleep(max(0.0, OUTAGE_HOURS * HOURS_MS / 1000 - (time.monotonic() - began)))
    network.spaces.set_cut("NG", cut=False)
    until(lambda: status(lagos, away) == "succeeded")
    (run,) = shown(lagos, away)["runs"]
    assert (run["epoch"], run["roam"]["close"]) == (1, "finished")
    assert run["roam"]["countersignature"]
    lines = [line.split(" of ") for line in lagos.tawtin("logs", away).out.splitlines() if " of " in line]
    assert [int(number) for number, _ in lines] == list(range(1, 101))
    assert len({process for _, process in lines}) == 1
    assert starts(network, "away") == 1
    until(lambda: billed(cape_town, guest) == [run["cost_minor"]])


def reason(site: Site, workload: str) -> str:
    waiting: dict[str, Any] = shown(site, workload)["view"].get("waiting") or {}
    return str(waiting.get("reason"))


def billed(site: Site, tenant: str) -> list[int]:
    items: list[dict[str, Any]] = site.tawtin("usage", "--json").json["items"]
    return [each["cost_minor"] for each in items if each.get("tenant") == tenant]


SHORT_LEASE = """
import sys
from msgspec.structs import replace
from tawtin.client import Client
from tawtin.model.roaming import Terms

url, key, name = sys.argv[1:]
with Client(url, key) as client:
    (peer,) = [each for each in client.peers() if each.name == name]
    client.put_peer(name, replace(peer, terms=Terms(lease_ms=24_000, ttl_ms=6_000, stop_ms=10_000)))
"""


def agree_on_a_short_lease(network: Network, here: str, there: str) -> None:
    site = network.sites[here]
    key = (site.folder / "data" / "owner.key").read_text().strip()
    url = f"http://{network.spaces.address(here)}:{PORT}"
    words = (*site.before, sys.executable, "-c", SHORT_LEASE, url, key, PLACES[there])
    subprocess.run(words, check=True, capture_output=True, timeout=60)


def test_a_leased_run_that_is_cut_off_ends_there_before_home_starts_it_again(
    network: Network, tmp_path: Path
):
    cairo, cape_town = network.sites["EG"], network.sites["ZA"]
    agree_on_a_short_lease(network, "EG", "ZA")
    agree_on_a_short_lease(network, "ZA", "EG")
    spec = tmp_path / "leased.yaml"
    spec.write_text(
        "name: leased\nresources: {accelerators: 'H100:3', cpus: 0.2, memory: 256MB}\n"
        "on_partition: rerun\nrun: sleep 300\n"
    )
    told = cairo.tawtin("run", "-y", "--detach", "--json", str(spec))
    assert told.code == 0, told.err
    work = first_of(told)
    until(lambda: status(cairo, work) == "running")
    network.spaces.set_cut("EG", cut=True)
    until(lambda: runs_of(cairo, work)[-1]["roam"].get("close") == "expired")
    late: int = runs_of(cairo, work)[-1]["epoch"]
    network.spaces.set_cut("EG", cut=False)
    # A reservation that lapses before its commit arrives costs an epoch, and starts nothing: the next may be any.
    until(lambda: len(runs_of(cairo, work)) > late and status(cairo, work) == "running")
    started = [
        run
        for view in cape_town.tawtin("ps", "--all", "--json").json["items"]
        if view["workload"]["spec"]["name"] == "leased"
        for run in shown(cape_town, view["workload"]["id"])["runs"]
        if run.get("started_ms")
    ]
    started.sort(key=lambda run: run["started_ms"])
    assert len(started) >= 2
    assert all(before["ended_ms"] < after["started_ms"] for before, after in pairwise(started))
    cairo.tawtin("cancel", work)
    until(lambda: status(cairo, work) == "cancelled")
    (cut_off,) = [run for run in runs_of(cairo, work) if run["epoch"] == late]
    assert not cut_off["roam"].get("countersignature"), "what came after the lease is not paid for"
    assert not cut_off.get("cost_minor")


def runs_of(site: Site, workload: str) -> list[dict[str, Any]]:
    return sorted(shown(site, workload)["runs"], key=lambda run: run["epoch"])


def test_when_answers_are_lost_one_way_nothing_is_started_twice(network: Network):
    """Cairo's words reach Cape Town, whose answers are lost, for as long as it takes to reserve and commit."""
    cairo = network.sites["EG"]
    network.spaces.cut.add(("ZA", "EG"))
    work = submitted(cairo, 3, "echo once", "--name", "one-way")
    time.sleep(6)
    assert status(cairo, work) == "queued"
    network.spaces.cut.discard(("ZA", "EG"))
    until(lambda: status(cairo, work) == "succeeded")
    assert starts(network, "one-way") == 1


def test_a_lossy_way_delivers_everything_once(network: Network):
    casablanca = network.sites["MA"]
    network.spaces.loss = 0.1
    works = [submitted(casablanca, 2, f"echo {number}", "--name", "lossy") for number in range(4)]
    try:
        for work in works:
            until(lambda work=work: status(casablanca, work) == "succeeded", 120)
    finally:
        network.spaces.loss = 0.0
    assert starts(network, "lossy") == 4
    assert network.spaces.dropped > 20


def test_everything_that_was_made_is_taken_away():
    assert possible()
    listed = subprocess.run(("ip", "netns"), capture_output=True, text=True, check=True).stdout
    assert f"tawtin-{os.getpid()}-zz" not in listed
