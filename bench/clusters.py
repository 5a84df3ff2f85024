"""A factory on Ray and on Kubernetes, each beside the same cluster driven by hand through its own API, in turns.

By hand, a job is one POST to the API of the cluster and nothing else. That is quicker than `ray job submit` and
`kubectl create`, which start a program for each.

A factory knows that a run is over when its script has written that down, which both clusters say of a job a second or
more later: that it is ahead of them is no speed of its own.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import common, jobs, live
from tools import kubernetes_cluster, kubernetes_nodes, ray_cluster

SUBMITTERS: Final = 4
GOAL: Final = 0.95
ADDED_MS_MAX: Final = 20


@dataclass(frozen=True, kw_only=True)
class Side:
    """One cluster: how a factory is attached to it, and how it is driven by hand."""

    title: str
    settings: tuple[str, ...]
    submit: Callable[[str], None]
    """Submit `true` under this name."""
    finished: Callable[[], int]
    """How many of those that were submitted by hand have finished."""
    count: int
    """Jobs in a round."""
    rounds: int


def wait(side: Side, count: int) -> float:
    """Wait until so many have finished by hand; return the time, monotonic."""
    until = time.monotonic() + 600
    while side.finished() < count:
        if time.monotonic() > until:
            raise TimeoutError(f"{side.title}: {count} jobs by hand did not finish")
        time.sleep(0.05)
    return time.monotonic()


def by_hand(side: Side, label: str, count: int) -> float:
    """Seconds that so many jobs take, submitted by a few at the same time."""
    before = side.finished()
    began = time.monotonic()
    with ThreadPoolExecutor(SUBMITTERS) as pool:
        list(pool.map(side.submit, [f"{label}-{number}" for number in range(count)]))
    return wait(side, before + count) - began


def figures(side: Side) -> list[common.Figure]:
    """Throughput, and what one job alone takes more."""
    ours: list[float] = []
    theirs: list[float] = []
    with live.factory(*side.settings) as factory, factory.client() as client:
        jobs.single_rate(factory, SUBMITTERS)
        by_hand(side, "warm", SUBMITTERS)
        for number in range(side.rounds):
            common.say(f"clusters: {side.title}, round {number + 1} of {side.rounds}")
            theirs.append(side.count / by_hand(side, f"round{number}", side.count))
            ours.append(jobs.single_rate(factory, side.count))
        alone = [1000 * by_hand(side, f"alone{number}", 1) for number in range(5)]
        through: list[float] = []
        for _ in range(5):
            began = time.monotonic()
            client.submit(jobs.TRUE)
            jobs.wait_idle(client, 120)
            through.append((time.monotonic() - began) * 1000)
    hand = common.percentile(alone, 50)
    peer = f"{side.title}'s API by hand, one call a job, on the same cluster"
    return [
        common.figure(f"finished `true` jobs through a factory on {side.title}", "/s", ours, peer=peer,
                      peer_value=common.percentile(theirs, 50), at_least=GOAL, judge="ratio",
                      note=f"{side.count} jobs a round, {SUBMITTERS} submitters each"),
        common.figure(f"{side.title}, idle: submit to finished, added to the API by hand", "ms",
                      [each - hand for each in through], at_most=ADDED_MS_MAX,
                      note=f"through: {common.percentile(through, 50):.0f} ms; by hand: {hand:.0f} ms"),
    ]  # fmt: skip


def table(use: str, fields: dict[str, str]) -> tuple[str, ...]:
    """A factory that has this engine and nothing else."""
    return (
        "local.enabled=false",
        f'engines.there.use="{use}"',
        *(f"engines.there.{k}={v}" for k, v in fields.items()),
    )


def on_ray(*, quick: bool) -> list[common.Figure]:
    """Its Jobs API."""
    lost = ray_cluster.missing()
    if lost:
        return [common.skipped("finished `true` jobs through a factory on Ray", "/s", lost)]
    with ray_cluster.cluster(nodes=1, cpus=16) as made:

        def submit(name: str) -> None:
            code, said = made.ask(
                "POST", "/api/jobs/", {"entrypoint": "true", "submission_id": f"hand-{name}"}
            )
            if code != 200:
                raise RuntimeError(f"Ray answered {code}: {said}")

        def finished() -> int:
            _, said = made.ask("GET", "/api/jobs/")
            return sum(
                each["status"] == "SUCCEEDED"
                for each in said or ()
                if str(each["submission_id"]).startswith("hand-")
            )

        settings = table("ray", {"address": f'"{made.url}"', "token_file": f'"{made.token_file}"'})
        return figures(
            Side(title="Ray", settings=settings, submit=submit, finished=finished, count=4 if quick else 16,
                 rounds=1 if quick else 2)
        )  # fmt: skip


def on_kubernetes(*, quick: bool) -> list[common.Figure]:
    """Jobs by its API, in a namespace of their own."""
    lost = kubernetes_cluster.missing()
    if lost:
        return [common.skipped("finished `true` jobs through a factory on Kubernetes", "/s", lost)]
    with (
        kubernetes_cluster.cluster(nodes=1) as made,
        tempfile.TemporaryDirectory(prefix="tawtin-bench-", ignore_cleanup_errors=True) as folder,
    ):
        Path(folder).chmod(0o755)
        (Path(folder) / "runs").mkdir()
        made.call("POST", "/api/v1/namespaces", {"metadata": {"name": "hand"}})
        there = "/apis/batch/v1/namespaces/hand/jobs"

        def submit(name: str) -> None:
            container = {"name": "run", "image": kubernetes_nodes.IMAGE, "imagePullPolicy": "Never"}
            container |= {"command": ["/bin/bash", "-c", "true"]}
            spec: dict[str, Any] = {"restartPolicy": "Never", "containers": [container]}
            body = {"metadata": {"name": name}, "spec": {"backoffLimit": 0, "template": {"spec": spec}}}
            if made.call("POST", there, body) is None:
                raise RuntimeError(f"the API server refused `{name}`")

        def finished() -> int:
            items: list[dict[str, Any]] = made.call("GET", there)["items"]
            return sum(bool(each["status"].get("succeeded")) for each in items)

        fields = {
            "kubeconfig": f'"{made.kubeconfig}"',
            "volume_path": f'"{folder}"',
            "root": f'"{folder}/runs"',
        }
        fields |= {"volume": f'{{hostPath={{path="{folder}"}}}}', "image_pull": '"Never"'}
        fields |= {"image": f'"{kubernetes_nodes.IMAGE}"'}
        return figures(
            Side(title="Kubernetes", settings=table("kubernetes", fields), submit=submit, finished=finished,
                 count=6 if quick else 40, rounds=1 if quick else 2)
        )  # fmt: skip


def measure(*, quick: bool) -> list[common.Figure]:
    """All figures."""
    return [*on_kubernetes(quick=quick), *on_ray(quick=quick)]


if __name__ == "__main__":
    sys.exit(common.main(measure))
