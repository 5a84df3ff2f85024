"""One spec on three engines: Casablanca's own machine, a Slurm cluster in Nairobi, a Ray cluster in Lagos."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from demo.claims import Claims, say
from demo.factory import DemoError, Factory
from demo.story import PYTHON, WORK
from tools import ray_cluster, slurm_cluster

if TYPE_CHECKING:
    from demo.network import Network

SPEC: Final = WORK / "anywhere.yaml"
NAME: Final = "on-any-engine"


class Attached(NamedTuple):
    """Which cluster a factory gets, if it is installed here."""

    place: str
    kind: str
    missing: str
    """What is not installed; empty if everything is."""
    make: Any
    """() -> a running cluster, as a context manager."""
    words: Any
    """The cluster -> what `tawtin engine add` has to be told of it."""


def _slurm() -> AbstractContextManager[slurm_cluster.Cluster]:
    return slurm_cluster.cluster(nodes=2, cpus=16, gpus=2)


def _slurm_words(cluster: slurm_cluster.Cluster) -> list[str]:
    return ["--set", f"conf={cluster.conf}"]


def _ray() -> AbstractContextManager[ray_cluster.Cluster]:
    return ray_cluster.cluster(nodes=1, cpus=16, gpus=4)


def _ray_words(cluster: ray_cluster.Cluster) -> list[str]:
    return ["--set", f"address={cluster.url}", "--set", f"token_file={cluster.token_file}"]


def attachable() -> list[Attached]:
    """The clusters of the story."""
    return [
        Attached("Nairobi", "slurm", slurm_cluster.missing(), _slurm, _slurm_words),
        Attached("Lagos", "ray", ray_cluster.missing(), _ray, _ray_words),
    ]


def engines(network: Network, claims: Claims) -> None:
    """Attach what is installed, run the same spec everywhere, and say what ran it."""
    say("one spec, and whatever engine a factory has")
    used = {"Casablanca": "local"}
    for each in attachable():
        if each.missing:
            print(
                f"   {each.place} stays on its own machine: {each.missing}; `make demo-engines` installs it"
            )
            continue
        print(f"   {each.place}: a {each.kind} cluster is started, and attached")
        attach(network.sites[each.place], each, network.clusters.enter_context(each.make()))
        used[each.place] = each.kind
    running = {place: network.sites[place].begin("run", str(SPEC), "-y", *PYTHON) for place in used}
    found: dict[str, str] = {}
    for place, command in running.items():
        if command.wait(180) != 0:
            raise DemoError(f"{place} did not run it: {command.lines[-5:]}")
        found[place] = _fold(network, place)
        ran = _engine(network.sites[place])
        claims.check(f"what ran it at {place}", want=used[place], got=ran, see=f"tawtin show {NAME}")
    claims.check(
        f"what it computed on {', '.join(used.values())}",
        want="the same",
        got="; ".join(sorted(set(found.values()))),
        ok=len(set(found.values())) == 1,
        see=f"tawtin logs {NAME}",
    )


def attach(site: Factory, attached: Attached, cluster: object) -> None:
    """Attach a cluster to a factory, start the factory again, and take its own machine out."""
    (own,) = [each["node"]["name"] for each in site.ask("capacity")["nodes"]]
    site.run("engine", "add", attached.kind, "--set", "gpus_declared=true", *attached.words(cluster))
    site.kill()
    site.up()
    site.run("capacity", "--drain", own)


def _engine(site: Factory) -> str:
    """The engine that has the node on which the run was."""
    node = site.ask("show", NAME)["runs"][0]["slots"][0]["node"]
    engine = {
        each["node"]["name"]: each["node"].get("engine", "local") for each in site.ask("capacity")["nodes"]
    }
    return engine.get(node, f"nobody knows: {node}")


def _fold(network: Network, place: str) -> str:
    (kept,) = network.sites[place].ask("show", NAME)["view"]["workload"]["outputs"]
    folder = network.folder / f"fold-{place.lower()}"
    network.sites[place].run("artifacts", "get", kept["artifact"], str(folder), quiet=True)
    fold = json.loads((folder / "fold.json").read_text())
    return f"{fold['right']} of {fold['tested']} images"
