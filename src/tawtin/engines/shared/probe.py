"""A look at the set-up of an engine on a shared folder: folder, cluster, nodes, and, if asked, a real run."""

from __future__ import annotations

import os
import secrets
import stat
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from tawtin.engines.shared import durable
from tawtin.engines.shared.cluster import Cluster, ClusterError
from tawtin.engines.shared.engine import ClusterEngine
from tawtin.engines.shared.settings import ClusterSettings
from tawtin.model.findings import Finding, fault, ok, warning
from tawtin.model.reasons import Cause
from tawtin.model.resources import Demand, Node, NodeHealth, Shape, Slot
from tawtin.model.workload import WorkloadSpec
from tawtin.ports import Engine, EngineError, EngineParts, Report, RunOrder

RUN_S: Final = 60.0
_SHOWN: Final = 5


def probe(
    first: Iterable[Finding], cluster: Cluster, settings: ClusterSettings, parts: EngineParts, *, deep: bool
) -> Iterator[Finding]:
    """Look at everything that can be wrong, until something is: what is special about a cluster goes `first`.

    `deep` also runs `true`, in a folder of its own below the root.
    """
    for each in first:
        yield each
        if each.state == "fault":
            return
    root = settings.root or parts.root
    found = _folder(root, own=not settings.root)
    yield found
    if found.state == "fault":
        return
    try:
        cluster.open(root, lambda: None)
    except EngineError as error:
        yield fault("cluster", str(error), "mend what the message names, and look again")
        return
    try:
        cluster.machines()
        nodes = cluster.nodes({}, disk_mib=1 << 20, answering=True)
    except ClusterError as error:
        yield fault(
            "cluster", f"{cluster.title} does not answer: {error}", _mend_of(str(error), cluster.title)
        )
        return
    finally:
        cluster.close()
    yield ok("cluster", f"{cluster.title} answers")
    yield from _nodes(nodes, settings)
    if deep and any(node.health is NodeHealth.READY for node in nodes):
        yield from _tried(cluster, settings, parts, root)


def _folder(root: str, *, own: bool) -> Finding:
    if not os.path.isabs(root):
        mend = "write the path from / on; every node must see it there"
        return fault("folder", f"`root` is `{root}`, which is no absolute path", mend)
    if own and not os.path.isdir(root):
        return ok("folder", f"{root} is made at the first start; every node must see it there")
    if not os.path.isdir(root):
        return fault(
            "folder", f"`{root}` is not there, or is no folder", f"make it, or mount it: mkdir -p {root}"
        )
    if not os.access(root, os.W_OK | os.X_OK):
        return fault("folder", f"`{root}` cannot be written to", f"chown {os.geteuid()} {root}")
    mode = os.stat(root).st_mode
    if mode & 0o002:
        return fault(
            "folder", f"{root} is {stat.filemode(mode)}: anybody may change runs", f"chmod o-w {root}"
        )
    return ok("folder", f"{root}; every node must see it there")


def _nodes(nodes: tuple[Node, ...], settings: ClusterSettings) -> Iterator[Finding]:
    ready = [node for node in nodes if node.health is NodeHealth.READY]
    if not ready:
        said = (
            f"{len(nodes)} nodes, none of them takes work" if nodes else "there is no node that may be used"
        )
        yield fault("nodes", said, "resume one in the cluster, or name others in the settings")
        return
    gpus: dict[str, int] = {}
    for node in ready:
        if node.gpus:
            gpus[node.gpu_model] = gpus.get(node.gpu_model, 0) + node.gpus
    have = ", ".join(f"{count} {model or 'GPUs without a model'}" for model, count in sorted(gpus.items()))
    cpus = sum(node.cpus_milli for node in ready) // 1000
    kind = " (declared, not real)" if settings.gpus_declared and gpus else ""
    said = f"{len(ready)} of {len(nodes)} take work, with {cpus} processors and {have or 'no GPUs'}{kind}"
    sick = [node.name for node in nodes if node.health is not NodeHealth.READY]
    if sick:
        names = ", ".join(sick[:_SHOWN]) + (f" and {len(sick) - _SHOWN} more" if len(sick) > _SHOWN else "")
        yield warning(
            "nodes",
            f"{said}; {names} do not",
            "look at them in the cluster; they are used once they are back",
        )
    else:
        yield ok("nodes", said)
    if "" in gpus:
        mend = "name their model in the cluster, as in Gres=gpu:h100:8; specs that ask for a model do not find them"
        yield warning("gpus", f"{gpus['']} GPUs have no model", mend)


def _tried(cluster: Cluster, settings: ClusterSettings, parts: EngineParts, root: str) -> Iterator[Finding]:
    own = os.path.join(root, f"probe.{secrets.token_hex(4)}")
    engine = ClusterEngine(
        cluster,
        msgspec.structs.replace(settings, root=own),
        EngineParts(name=parts.name, root=own, mark=parts.mark, artifacts=parts.artifacts),
    )
    try:
        os.makedirs(own, mode=0o700)
        yield try_run(engine)
    except (EngineError, OSError) as error:
        yield fault(
            "a run", f"the engine does not open: {error}", "mend what the message names, and look again"
        )
    finally:
        durable.remove_tree(own)


def try_run(engine: Engine) -> Finding:
    """Run `true` on the first node that is ready. Raises EngineError."""
    news = threading.Event()
    engine.open(news.set)
    began = time.monotonic()
    run = f"wl-probe{secrets.token_hex(6)}.1"
    try:
        nodes = [node for node in engine.nodes() if node.health is NodeHealth.READY]
        if not nodes:
            return fault("a run", "no node takes work any more", "resume one in the cluster, and look again")
        engine.ensure(_order(run, nodes[0]))
        report = _ended(engine, run, news, RUN_S)
        if report is None:
            engine.stop(run, Cause.CANCELLED, 0)
            _ended(engine, run, news, RUN_S / 4)
    finally:
        notes = "; ".join(engine.notes())
        engine.close()
    where = f"a run of `true` on `{nodes[0].name}`"
    if report is None:
        mend = "see whether the node is busy, or held back; then look again"
        return warning("a run", f"{where} was not over after {RUN_S:g} s: {notes}", mend)
    took_ms = int((time.monotonic() - began) * 1000)
    if report.exit_code == 0:
        return ok("a run", f"{where} took {took_ms} ms")
    mend = "mend what the message names, and look again"
    if report.cause is Cause.NODE_FAILED:
        mend = "see that the node sees `root` at the same path, for the same user"
    return fault("a run", f"{where} ended as {report.cause}: {report.message}", mend)


def _ended(engine: Engine, run: str, news: threading.Event, seconds: float) -> Report | None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for report in engine.reports():
            if report.run == run and report.ended_ms is not None:
                return report
        news.wait(0.2)
        news.clear()
    return None


def _order(run: str, node: Node) -> RunOrder:
    shape = Shape(cpus_milli=1000, memory_mib=64)
    spec = WorkloadSpec(name="probe", run="true", demand=Demand(options=(shape,)), max_duration_ms=60_000)
    return RunOrder(
        run=run,
        workload=run.rpartition(".")[0],
        tenant="probe",
        tenant_number=1,
        epoch=1,
        spec=spec,
        shape=shape,
        slots=(Slot(node=node.name),),
    )


def _mend_of(said: str, title: str) -> str:
    lower = said.lower()
    if "munge" in lower or "authentication" in lower:
        return "start munged here with the cluster's key, and see that clocks agree"
    if "no answer within" in lower:
        return "see whether it is overloaded, or raise `call_ms_max`"
    return f"see whether {title} is up and can be reached from here"
