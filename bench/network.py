"""Deciding where among 26 factories, and what a run that roams takes longer than one that does not.

The network has 12,000 GPUs here and 25 peers that say they have some free; 100,000 workloads wait. A pass is `decide`
and the choice of whom peers are asked for. What roams is measured between two real factories with a relay in
between that delays each way by half of a measured round trip.
"""

from __future__ import annotations

import json
import time
from statistics import median
from typing import TYPE_CHECKING, Final

from bench import common
from bench.common import Figure, figure, say
from bench.decide import WAITING, cpu_ms
from bench.factories import SITE, Big
from bench.live import Live, factory, tawtin
from demo.cables import RTT_MS, Cables
from tawtin.core import roam
from tawtin.core.decide import decide
from tawtin.core.residency import Judge
from tawtin.core.state import State
from tawtin.model.events import PeerPut
from tawtin.model.roaming import FreeNodes, Offer, Peer, PeerState
from tawtin.rules.load import load_packs

if TYPE_CHECKING:
    from tawtin.client import Client

PEERS: Final = (
    "ZA", "KE", "NG", "EG", "RW", "SN", "CI", "GH", "TN", "DZ", "FR", "DE", "CM", "ET", "TZ", "UG", "ZM", "MZ", "NA",
    "BW", "MU", "ML", "BF", "BJ", "TG",
)  # fmt: skip
WAYS: Final = (None, ("ZA", "NG"), ("MA", "KE"))
"""Between which countries the relay stands; none at all."""


def large() -> tuple[Big, dict[str, Offer]]:
    """A full factory of 12,000 GPUs with a queue, all packs, and 25 peers that say they have room."""
    packs = load_packs()
    big = Big(shapes=64, state=State(SITE, Judge(packs.packs, packs.broken)))
    big.settle(WAITING)
    offers: dict[str, Offer] = {}
    for country in PEERS:
        big.tell(PeerPut(peer=Peer(name=country, country=country, currency="MAD", state=PeerState.ACTIVE)))
        free = FreeNodes(gpu_model="H100", gpus=8, cpus_milli=192_000, memory_mib=2_000_000, nodes=4)
        offers[country] = Offer(
            factory=country, country=country, seq=1, made_ms=big.now_ms, free=(free,), currency=SITE.currency,
            minor_per_gpu_hour={"*": 2_000}, minor_per_cpu_hour=10,
        )  # fmt: skip
    return big, offers


def passes(big: Big, offers: dict[str, Offer], times: int) -> tuple[list[float], list[float]]:
    """Processor milliseconds of so many passes with the asks, and of one workload held against 26 factories."""
    took: list[float] = []
    explained: list[float] = []
    for _ in range(times):
        big.tell(*big.churn(WAITING // 100))

        def one() -> None:
            decision = decide(big.state, big.now_ms)
            roam.asks(big.state, decision, offers, (), big.now_ms)

        took.append(cpu_ms(one))
        workload = next(iter(big.state.workloads.values()))
        explained.append(
            cpu_ms(lambda workload=workload: roam.considered(big.state, offers, workload, big.now_ms))
        )
        big.follow(decide(big.state, big.now_ms))
    return took, explained


def delays_ms(client: Client, gpus: int, times: int) -> list[float]:
    """From submission to the first start, by the clock of the machine that both factories are on."""
    found: list[float] = []
    for _ in range(times):
        resources = {"cpus": 0.1, "memory": "64MB"} | ({"accelerators": f"H100:{gpus}"} if gpus else {})
        submitted = client.submit({"name": "overhead", "resources": resources, "run": "true"})
        name = submitted.workloads[0].id
        view = client.get(name)
        while not view.workload.phase.final:
            time.sleep(0.02)
            view = client.get(name)
        run = view.run
        if run is None or run.started_ms is None:
            msg = f"it did not run: {view.workload.message}"
            raise RuntimeError(msg)
        found.append(run.started_ms - view.workload.submitted_ms)
    return found


def introduce(here: Live, there: Live, address: str) -> None:
    """Let one know the other."""
    me = json.loads(tawtin(there.environment, "peer", "me", "--json"))
    tawtin(
        here.environment, "peer", "add", me["name"], "--address", address, "--key", me["key"],
        "--country", me["country"], "--lend", "H100:8", "--lend-cpus", "2",
    )  # fmt: skip


def overheads(times: int) -> list[Figure]:
    """Submission to start, here and at a peer, over ways of different lengths."""
    figures: list[Figure] = []
    for ends in WAYS:
        way = RTT_MS[ends] if ends else 0
        say(f"   a round trip of {way} ms")
        cables = Cables()
        with (
            factory(words=("--name", "home")) as home,
            factory(
                words=(
                    "--name",
                    "visited",
                    "--country",
                    "KE",
                    "--currency",
                    "MAD",
                    "--declare-gpus",
                    "H100:8",
                )
            ) as visited,
        ):
            try:
                introduce(home, visited, address(cables, ends, home, visited))
                introduce(visited, home, address(cables, ends, visited, home))
                time.sleep(4)
                local = delays_ms(home.client(), 0, times)
                away = delays_ms(home.client(), 2, times)
            finally:
                cables.close()
        over = median(away) - median(local)
        figures.append(
            figure(
                f"submission to start at a peer, round trip {way} ms", "ms", away,
                peer="the same here", peer_value=median(local),
                note=f"over a local one: {over:.0f} ms, of which three round trips are {3 * way} ms",
            )
        )  # fmt: skip
        figures.append(
            figure(
                f"the same, over a local one and three round trips of {way} ms",
                "ms",
                [over - 3 * way],
                at_most=100,
            )
        )
    return figures


def address(cables: Cables, ends: tuple[str, str] | None, here: Live, there: Live) -> str:
    """Where one reaches the other: through a cable, if there is one."""
    if ends is None:
        return there.url
    return cables.lay(here.url, there.url, ends, lambda: int(there.url.rpartition(":")[2]))


def measure(*, quick: bool) -> list[Figure]:
    """All figures."""
    say("   26 factories")
    big, offers = large()
    took, explained = passes(big, offers, 3 if quick else 10)
    return [
        figure("a pass, with whom peers are asked for", "ms", took, at_most=1_000),
        figure("a workload held against 26 factories", "ms", explained, at_most=20),
        *overheads(8 if quick else 30),
    ]


if __name__ == "__main__":
    raise SystemExit(common.main(measure))
