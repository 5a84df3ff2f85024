"""The engine for a Ray cluster.

A run is one submitted job, whose submission id names it: Ray refuses a second one of that name, so that submitting
again after a crash, or after an answer that was lost, takes on the job that there is. Ray cannot hold jobs; should it
have forgotten one that still runs, the second one's script finds the start token taken, and does nothing.

A run of one node is a shell script, started on that node with what it asked for. A run of several is `ranks.py`, which
reserves all of its nodes by a placement group before the script and its ranks start. A program of Ray's own is started
once and holds nothing, so that its workers find free what it asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import Any, Final

import msgspec

from tawtin.engines.ray import inventory, states
from tawtin.engines.ray.client import Machine, Ray, RayTwinError
from tawtin.engines.ray.probe import look
from tawtin.engines.ray.settings import RaySettings
from tawtin.engines.ray.ways import guard, ways
from tawtin.engines.shared import probe as shared
from tawtin.engines.shared.book import Known, Note
from tawtin.engines.shared.cluster import Given, Holding, Job
from tawtin.engines.shared.engine import ClusterEngine
from tawtin.engines.shared.folders import PlanError
from tawtin.engines.shared.scripts import cpus_of, scripts, write_signal
from tawtin.model.findings import Finding
from tawtin.model.resources import Node
from tawtin.ports import Engine, EngineParts, RunOrder

Settings = RaySettings
DRIVER: Final = "TAWTIN_RAY_DRIVER"
"""A variable of the spec: the run is one program of Ray's own, whose workers hold what the run asked for."""
_HERE: Final = 0.001
"""So much of a node's own resource, of which it has 1, places a job there."""
_STOP_S: Final = 10
"""Added to the grace that a run has after somebody stopped its job in Ray."""


def make(settings: RaySettings, parts: EngineParts) -> Engine:
    """An engine with these settings. Raises EngineError."""
    return ClusterEngine(RayCluster(settings, parts), settings, parts)


def probe(settings: RaySettings, parts: EngineParts, *, deep: bool) -> Iterator[Finding]:
    """Look at the set-up, see manifest.probe."""
    return shared.probe(
        look(settings, Ray(settings)), RayCluster(settings, parts), settings, parts, deep=deep
    )


class RayCluster:
    """Implements shared.cluster.Cluster."""

    title = "Ray"
    isolated = False
    requeues = False

    def __init__(self, settings: RaySettings, parts: EngineParts) -> None:
        """Nothing is asked yet."""
        self._settings = settings
        self._parts = parts
        self._ray = Ray(settings)
        self._machines: dict[str, Machine] = {}
        self._head = f"tawtin-{parts.mark}-"

    def open(self, root: str, nudge: Callable[[], None]) -> None:
        """Nothing is needed here; that Ray does not answer is no reason not to start."""

    def close(self) -> None:
        """Nothing is held."""

    def notes(self) -> tuple[str, ...]:
        """What an operator should know."""
        name = self._parts.name
        found = [f"on `{name}`, all jobs run as one user of the cluster"]
        if not self._ray.tells_use:
            found.append(
                f"Ray does not say what others use of the nodes of `{name}`: work waits there if they are taken"
            )
        return tuple(found)

    # --- nodes -------------------------------------------------------------------------------------------------------

    def machines(self) -> None:
        """Find out anew which nodes there are. Raises ClusterError."""
        self._machines = {machine.name: machine for machine in self._ray.machines()}

    def nodes(self, ours: Mapping[str, Holding], *, disk_mib: int, answering: bool) -> tuple[Node, ...]:
        """The nodes, less what other users of the cluster have there."""
        return inventory.nodes(
            self._machines.values(),
            ours,
            engine=self._parts.name,
            disk_mib=disk_mib,
            declared=self._settings.gpus_declared,
            answering=answering,
        )

    # --- jobs --------------------------------------------------------------------------------------------------------

    def give(self, order: RunOrder, folder: str) -> Given:
        """Scripts, and the request to the Jobs API. Raises PlanError."""
        machines = self._machines
        lost = [slot.node for slot in order.slots if slot.node not in machines]
        if lost:
            raise PlanError(f"Ray has no node {', '.join(lost)} any more")
        chosen = [machines[slot.node] for slot in order.slots]
        addresses = [machine.address for machine in chosen]
        gpus = max((len(slot.gpus) for slot in order.slots), default=0)
        driver = bool(order.spec.envs.get(DRIVER))
        one = driver or len(chosen) == 1
        texts = scripts(order, ways(addresses, one=one), folder, self._settings.log_bytes_max)
        texts["guard.sh"] = guard(folder)
        meet = "\n".join(addresses)
        environment = {"NODE_IPS": meet, "SKYPILOT_NODE_IPS": meet, "MASTER_ADDR": addresses[0]}
        if not gpus or driver:
            environment["CUDA_VISIBLE_DEVICES"] = ""  # Ray leaves all of them in sight
        holds = {"CPU": cpus_of(order), "GPU": gpus, "memory": max(1, order.shape.memory_mib) << 20}
        if not one:
            texts["ranks.py"] = Path(__file__).with_name("ranks.py").read_text("utf-8")
            plan = {"addresses": addresses, "holds": holds}
            texts["plan.json"] = msgspec.json.encode(plan).decode()
        script, program = ("job.sh", "/bin/bash") if one else ("ranks.py", self._settings.python)
        alone = one and not driver
        request = self._request(order, addresses[0], holds if alone else {}) | {
            "entrypoint": f"exec {quote(program)} {quote(f'{folder}/scripts/{script}')} {quote(folder)}"
        }
        return Given(
            submit=(msgspec.json.encode(request).decode(),),
            gpu_model=chosen[0].gpu_model.upper(),
            environment=environment,
            leaves=() if "PATH" in order.spec.envs else ("PATH",),
            scripts=texts,
        )

    def _request(self, order: RunOrder, address: str, holds: dict[str, int]) -> dict[str, Any]:
        """What the Jobs API is sent beside the command. A gang holds nothing by its job: its placement group does."""
        wait_s = math.ceil(order.spec.stop_grace_ms / 1000) + _STOP_S
        given = self._settings.runtime_env
        variables = {**given.get("env_vars", {}), "RAY_JOB_STOP_WAIT_TIME_S": str(wait_s)}
        return {
            "submission_id": self._head + order.run,
            "entrypoint_num_cpus": holds.get("CPU", 0),
            "entrypoint_num_gpus": holds.get("GPU", 0),
            "entrypoint_memory": holds.get("memory", 0),
            "entrypoint_resources": {f"node:{address}": _HERE},
            "runtime_env": {**given, "env_vars": variables},
            "metadata": {"tawtin_run": order.run, "tawtin_tenant": order.tenant, "name": order.spec.name},
        }

    def submit(self, run: str, folder: str, note: Note) -> str:  # noqa: ARG002 - the request names it
        """Submit its request. A job of that name is the one that was meant. Raises ClusterError."""
        with suppress(RayTwinError):
            self._ray.submit(note.submit[0].encode())
        return self._head + run

    def jobs(self) -> list[Job]:
        """Our jobs, found by their names. Raises ClusterError."""
        head = self._head
        return [
            states.job_of(job, job.name.removeprefix(head))
            for job in self._ray.jobs()
            if job.name.startswith(head)
        ]

    def signal(self, known: Known, name: str) -> None:
        """Have the ranks find it in their folder: Ray sends no signals. Raises OSError."""
        write_signal(known.folder, name)

    def cancel(self, ids: Iterable[str]) -> None:
        """End jobs. Raises ClusterError."""
        for id in ids:
            self._ray.stop(id)
