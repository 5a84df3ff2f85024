"""The engine for a Kubernetes cluster.

A run is one Indexed Job, with a name that follows from the run's, so that making it twice is refused by the API server:
after a crash, or an answer that was lost, it is simply made again. Jobs, pods and nodes are watched, not polled.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Final, cast

import msgspec

from tawtin.engines.kubernetes import inventory, rights, states, ways
from tawtin.engines.kubernetes.client import Api, RefusedError
from tawtin.engines.kubernetes.manifests import VOLUMES, Makes
from tawtin.engines.kubernetes.probe import look
from tawtin.engines.kubernetes.settings import KubernetesSettings
from tawtin.engines.kubernetes.things import Object, key_of, labels_of, name_of, rows, table, text
from tawtin.engines.kubernetes.watcher import Watcher
from tawtin.engines.shared import scripts
from tawtin.engines.shared.book import Known, Note
from tawtin.engines.shared.cluster import ClusterDownError, ClusterError, Given, Holding, Job, Phase
from tawtin.engines.shared.engine import ClusterEngine
from tawtin.engines.shared.folders import PlanError
from tawtin.engines.shared.probe import probe as shared_probe
from tawtin.model.findings import Finding
from tawtin.model.reasons import Cause
from tawtin.model.resources import Node
from tawtin.ports import Engine, EngineError, EngineParts, RunOrder

Settings = KubernetesSettings
_FIRST_S: Final = 10.0
"""So long `open` waits for the first list; the API server may be down all the same."""
_NUDGE_S: Final = 0.1
"""Changes within this time are looked at together."""
_SILENT_S: Final = 3.0
"""A Job that has no pod after this time is asked about."""
_DELETED_S: Final = 600.0
"""So long it is remembered that somebody deleted a Job."""
_KILL_S: Final = 1
_VOLUME_S: Final = 5.0
_ENDING_S: Final = 30.0


def make(settings: KubernetesSettings, parts: EngineParts) -> Engine:
    """An engine with these settings. Raises EngineError."""
    return ClusterEngine(KubernetesCluster(settings, parts), settings, parts)


def probe(settings: KubernetesSettings, parts: EngineParts, *, deep: bool) -> Iterator[Finding]:
    """Look at the set-up, with the mend for what is wrong; `deep` also runs `true`. Raises EngineError."""
    return shared_probe(look(settings), KubernetesCluster(settings, parts), settings, parts, deep=deep)


class KubernetesCluster:
    """Implements shared.cluster.Cluster."""

    title = "Kubernetes"
    isolated = False
    requeues = False

    def __init__(self, settings: KubernetesSettings, parts: EngineParts) -> None:
        """Nothing is asked yet. Raises EngineError."""
        self._settings = settings
        self._parts = parts
        own = os.geteuid()
        self._uid = own or settings.uid
        try:
            self._makes = Makes(settings, parts.mark, settings.root or parts.root, self._uid)
        except PlanError as error:
            raise EngineError(str(error)) from None
        self._lock = threading.Lock()
        self._around: set[str] = set()
        """Namespaces that have been seen to."""
        self._ran: set[str] = set()
        """Jobs of which a pod was seen running."""
        self._deleted: dict[str, tuple[str, float]] = {}
        """Jobs that are gone: (run, since when)."""
        self._waiting: dict[str, tuple[str, float]] = {}
        """Runs that do not come up: (why, since when)."""
        self._ending: dict[str, float] = {}
        """Jobs of runs that have ended, and since when somebody wants them gone."""
        self._changed = threading.Event()
        self._closed = threading.Event()

    # --- life --------------------------------------------------------------------------------------------------------

    def open(self, root: str, nudge: Callable[[], None]) -> None:
        """Read the credentials, see to the rights, and start to watch. Raises EngineError."""
        self._root = root
        self._api = Api(self._settings)
        self._check_rights()
        self._closed.clear()
        ours = {"labelSelector": self._makes.selector}
        self._jobs = Watcher(self._api, "/apis/batch/v1/jobs", ours, self._see_job)
        self._pods = Watcher(self._api, "/api/v1/pods", {}, self._see_pod)
        self._machines = Watcher(self._api, "/api/v1/nodes", {}, self._see_node)
        self._watchers = (self._jobs, self._pods, self._machines)
        for watcher in self._watchers:
            watcher.start()
        until = time.monotonic() + _FIRST_S
        with suppress(ClusterError):
            for watcher in self._watchers:
                watcher.ready(until - time.monotonic())
        self._nudger = threading.Thread(
            target=self._nudge, args=(nudge,), name="tawtin-kubernetes", daemon=True
        )
        self._nudger.start()

    def _check_rights(self) -> None:
        try:
            lost = rights.missing(self._api, self._settings)
        except ClusterError:
            return  # it is down: what is missing is said when it is missed
        if lost:
            self._api.close()
            raise EngineError(
                f"the account at {self._api.server} may not {', '.join(map(str, lost))}: "
                "give it what deploy/kubernetes/rbac.yaml has"
            )

    def close(self) -> None:
        """Let go."""
        self._closed.set()
        self._changed.set()
        for watcher in self._watchers:
            watcher.close()
        self._nudger.join()
        self._api.close()

    def notes(self) -> tuple[str, ...]:
        """What an operator should know."""
        note = f"on `{self._parts.name}`, pods of all tenants run as user {self._uid}"
        with self._lock:
            waiting = sorted(self._waiting.items())
        return (note, *(f"run `{run}` waits in Kubernetes: {why}" for run, (why, _) in waiting if why))

    def _nudge(self, nudge: Callable[[], None]) -> None:
        while True:
            self._changed.wait()
            if self._closed.is_set():
                return
            self._changed.clear()
            nudge()
            self._closed.wait(_NUDGE_S)

    # --- what is seen ------------------------------------------------------------------------------------------------

    def _see_job(self, job: Object, gone: bool) -> None:  # noqa: FBT001 - as watchers say it
        if gone:
            with self._lock:
                self._deleted[key_of(job)] = (states.run_of(job), time.monotonic())
        self._changed.set()

    def _see_pod(self, pod: Object, gone: bool) -> None:  # noqa: ARG002, FBT001 - the same
        if not self._makes.is_ours(pod):
            return
        if text(pod, "status", "phase") == "Running":
            with self._lock:
                self._ran.add(_job_key(pod))
        self._changed.set()

    def _see_node(self, node: Object, gone: bool) -> None:  # noqa: FBT001 - the same
        if gone or inventory.sickness(node, self._settings.tolerate):
            self._changed.set()

    # --- nodes -------------------------------------------------------------------------------------------------------

    def machines(self) -> None:
        """See that what is known of nodes is new. Raises ClusterError."""
        self._machines.items()
        self._pods.items()

    def nodes(self, ours: Mapping[str, Holding], *, disk_mib: int, answering: bool) -> tuple[Node, ...]:
        """Nodes, less what pods of others have there."""
        try:
            machines, pods = self._machines.items(), self._pods.items()
        except ClusterError:
            machines, pods, answering = self._machines.known(), self._pods.known(), False
        return inventory.nodes(
            machines,
            pods,
            ours,
            self._settings,
            engine=self._parts.name,
            disk_mib=disk_mib,
            answering=answering,
            is_ours=self._makes.is_ours,
        )

    # --- jobs --------------------------------------------------------------------------------------------------------

    def give(self, order: RunOrder, folder: str) -> Given:
        """Scripts, and the Job as JSON. Raises PlanError."""
        job = self._makes.job(order, folder)
        limit = self._settings.log_bytes_max
        texts = scripts.scripts(order, ways.ways(order), folder, limit) | ways.scripts(order, folder, limit)
        machine = self._machines.get(order.slots[0].node) if order.slots else None
        model = inventory.model_of(machine, self._settings.gpu_label) if machine else ""
        return Given(submit=(msgspec.json.encode(job).decode(),), gpu_model=model, scripts=texts)

    def submit(self, run: str, folder: str, note: Note) -> str:
        """Make its Job, or find that it was made. Raises ClusterError."""
        job = cast("Object", msgspec.json.decode(note.submit[0]))
        namespace, key = text(job, "metadata", "namespace"), key_of(job)
        self._hand_over(folder)
        self._see_to(namespace)
        try:
            made = self._api.call("POST", _jobs_of(namespace), job)
        except RefusedError as error:
            if error.status == 404:
                with self._lock:
                    self._around.discard(namespace)  # somebody deleted it: it is made again next time
                raise ClusterDownError(f"namespace `{namespace}` is not there") from error
            if error.reason != "AlreadyExists":
                raise
            made = self._api.call("GET", f"{_jobs_of(namespace)}/{name_of(job)}")
            if states.run_of(made) != run:
                raise
        self._jobs.enter(made)
        return key

    def _hand_over(self, folder: str) -> None:
        """Give a run's folder to the user that its pods have. Raises OSError."""
        if os.geteuid() == self._uid:
            return
        for path, folders, files in os.walk(folder):
            for name in (*folders, *files):
                os.chown(os.path.join(path, name), self._uid, self._uid, follow_symlinks=False)
        os.chown(folder, self._uid, self._uid)

    def _see_to(self, namespace: str) -> None:
        """Make a tenant's namespace and what it has, once for each control plane. Raises ClusterError."""
        with self._lock:
            if namespace in self._around:
                return
        for path, thing in self._makes.around(namespace):
            try:
                self._api.call("POST", path, thing)
            except RefusedError as error:
                if error.reason != "AlreadyExists":
                    raise
            if path == VOLUMES:
                self._await_volume(name_of(thing))
        with self._lock:
            self._around.add(namespace)

    def _await_volume(self, name: str) -> None:
        """A claim that is made before its volume is known waits for long. Raises ClusterError."""
        until = time.monotonic() + _VOLUME_S
        while time.monotonic() < until:
            phase = text(self._api.call("GET", f"{VOLUMES}/{name}"), "status", "phase")
            if phase not in {"", "Pending"}:
                return
            time.sleep(0.05)

    def jobs(self) -> list[Job]:
        """Our Jobs, as they are watched. Raises ClusterError."""
        jobs, pods, machines = self._jobs.items(), self._pods.items(), self._machines.items()
        ready = {name_of(each): states.condition(each, "Ready") is not None for each in machines}
        grouped = states.group(jobs, (pod for pod in pods if self._makes.is_ours(pod)))
        found = [self._job(run, job, own, ready) for run, (job, own) in grouped.items()]
        return [*found, *self._gone(grouped)]

    def _gone(self, there: Mapping[str, object]) -> list[Job]:
        """Jobs that somebody deleted, and of which nothing is left."""
        now = time.monotonic()
        with self._lock:
            self._deleted = {key: at for key, at in self._deleted.items() if now - at[1] < _DELETED_S}
            gone = {key: run for key, (run, _) in self._deleted.items() if run not in there}
        cause, _, message = states.why(None, [])
        return [
            Job(id=key, run=run, phase=Phase.OVER, cause=cause, message=message) for key, run in gone.items()
        ]

    def _job(self, run: str, job: Object | None, pods: list[Object], ready: Mapping[str, bool]) -> Job:
        key = key_of(job) if job is not None else _job_key(pods[0])
        found = states.job_of(run, key, job, pods, ran=key in self._ran, ready=ready)
        if found.phase is Phase.WAITS and job is not None:
            return self._come_up(found, job, pods)
        with self._lock:
            self._waiting.pop(run, None)
        return found

    def _come_up(self, found: Job, job: Object, pods: list[Object]) -> Job:
        """Look at why it does not come up; one that never will is given up."""
        reason, hopeless = found.reason, False
        now = time.monotonic()
        with self._lock:
            _, since = self._waiting.get(found.run, ("", now))
        if not pods and not table(job, "spec").get("suspend") and now - since > _SILENT_S:
            reason, hopeless = self._refusal(job)
        trouble = next((each for each in map(states.trouble, pods) if each), None)
        if trouble is not None and trouble.reason != "Unschedulable":
            hopeless = trouble.hopeless or now - since > self._settings.image_ms_max / 1000
        with self._lock:
            self._waiting[found.run] = (reason, since)
        if not hopeless:
            return msgspec.structs.replace(found, reason=reason)
        self.cancel([found.id])
        return msgspec.structs.replace(found, phase=Phase.OVER, cause=Cause.START_FAILED, message=reason)

    def _refusal(self, job: Object) -> tuple[str, bool]:
        """Why a Job has no pods, from its events, and whether it will stay so. Raises ClusterError."""
        namespace, uid = text(job, "metadata", "namespace"), text(job, "metadata", "uid")
        query = {"fieldSelector": f"involvedObject.uid={uid},reason=FailedCreate"}
        events = self._api.call("GET", f"/api/v1/namespaces/{namespace}/events", query=query)
        words = [text(event, "message") for event in rows(events, "items")]
        last = words[-1] if words else ""
        return last, states.lasts(last)

    def signal(self, known: Known, name: str) -> None:
        """Kubernetes sends no signals: ranks find it in the folder. Raises OSError."""
        scripts.write_signal(known.folder, name)

    def cancel(self, ids: Iterable[str]) -> None:
        """Delete Jobs and their pods, at once: they were asked before. Raises ClusterError."""
        for key in ids:
            if self._ends_itself(key):
                continue
            namespace, _, name = key.partition("/")
            query = {"propagationPolicy": "Background"}
            with suppress(RefusedError):  # it is gone
                self._api.call("DELETE", f"{_jobs_of(namespace)}/{name}", query=query)
            query = {
                "labelSelector": f"batch.kubernetes.io/job-name={name}",
                "gracePeriodSeconds": str(_KILL_S),
            }
            with suppress(RefusedError):
                self._api.call("DELETE", f"/api/v1/namespaces/{namespace}/pods", query=query)

    def _ends_itself(self, key: str) -> bool:
        """Whether its script has written down its end a moment ago: its pods are about to end."""
        job, now = self._jobs.get(key), time.monotonic()
        run = states.run_of(job) if job is not None else ""
        written = (os.path.join(self._root, part, run, scripts.EXIT) for part in ("runs", "done"))
        if not run or not any(map(os.path.exists, written)):
            return False
        with self._lock:
            self._ending = {each: at for each, at in self._ending.items() if now - at < 2 * _ENDING_S}
            return now - self._ending.setdefault(key, now) < _ENDING_S


def _jobs_of(namespace: str) -> str:
    return f"/apis/batch/v1/namespaces/{namespace}/jobs"


def _job_key(pod: Object) -> str:
    """The Job of a pod."""
    namespace = text(pod, "metadata", "namespace")
    return f"{namespace}/{labels_of(pod).get('batch.kubernetes.io/job-name', '')}"
