"""The engine for one machine: a supervisor and a sandbox for each run, none of which needs this process to live.

Starting a run: 1. prepare a folder (inputs, scripts) under a name of its own, 2. hand the plan to the launcher, which
3. renames the folder to the run's own name, durably: the start token, and 4. forks the run's supervisor. A crash
before 3 leaves a folder that nobody looks at, and the run can be ordered again; after 3 it can not.
News comes by datagram from supervisors, by their process descriptors, and by looking again every few seconds.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from tawtin.engines.local import cgroups, fuse, machine, orders, sandbox, seccomp, setupcache, verdict
from tawtin.engines.local.checks import check, limit_notes
from tawtin.engines.local.ending import is_slow, settle, suspects
from tawtin.engines.local.events import Events
from tawtin.engines.local.folders import Folders
from tawtin.engines.local.gpus import Gpu
from tawtin.engines.local.link import LaunchError, Link
from tawtin.engines.local.meter import disk_bytes
from tawtin.engines.local.plan import Ground
from tawtin.engines.local.portbook import PortBook
from tawtin.engines.local.prepare import prepare
from tawtin.engines.local.settings import LocalSettings
from tawtin.engines.local.supervisor import WAKE
from tawtin.engines.local.ward import Ward
from tawtin.engines.shared import durable, folders, places
from tawtin.engines.shared.folders import PlanError, Result
from tawtin.model.reasons import Cause
from tawtin.model.resources import Node
from tawtin.model.views import LogChunk, UsageSample
from tawtin.ports import Artifacts, EngineError, EngineParts, Report, RunOrder

_QUICK_WORKERS: Final = 4
_SLOW_WORKERS: Final = 4
_REPEAT_S: Final = 10.0
_PURGE_S: Final = 600.0


@dataclass(kw_only=True)
class _Known:
    """What this process knows of one run."""

    order: RunOrder | None = None
    request: dict[str, Any] | None = None
    """What the launcher was asked and has not answered."""
    pid: int = 0
    over: bool = False
    """Its exit record was read; what follows is collecting and reporting."""
    losing: bool = False
    report: Report | None = None
    said_at: float = 0.0


Settings = LocalSettings


def make(settings: LocalSettings, parts: EngineParts) -> LocalEngine:
    """An engine with these settings. Raises EngineError."""
    return LocalEngine(msgspec.structs.replace(settings, root=settings.root or parts.root), parts.artifacts)


class LocalEngine:
    """Implements ports.Engine."""

    name = "local"

    def __init__(self, settings: LocalSettings, artifacts: Artifacts) -> None:
        """Check the settings. Raises EngineError if they would show runs what is private."""
        self._settings = settings
        self._artifacts = artifacts
        check(settings)
        self._lock = threading.RLock()
        self._known: dict[str, _Known] = {}
        self._news: dict[str, Report] = {}
        self._wake: Callable[[], None] = lambda: None
        self._notes: list[str] = []
        self._ports = PortBook(settings.ports_first, settings.ports_last)
        self._ward: Ward | None = None
        self._held: int | None = None
        self._closed = True
        self._purged_at = 0.0
        self._gpus_at = 0.0

    # --- life --------------------------------------------------------------------------------------------------------

    def open(self, wake: Callable[[], None]) -> None:
        """Start, and adopt what runs already. Raises EngineError."""
        settings = self._settings
        self._wake = wake
        os.makedirs(settings.root, mode=0o700, exist_ok=True)
        etc = os.path.join(settings.root, "etc", secrets.token_hex(8))
        box, why = sandbox.find(
            wanted=settings.sandbox, expose=settings.expose, etc=etc, seccomp=seccomp.compile_filter()
        )
        self._folders = Folders(settings.root, open_to_tenants=not box)
        self._held = durable.lock_file(os.path.join(settings.root, "engine.lock"))
        if self._held is None:
            raise EngineError(f"`{settings.root}` is in use by another control plane; end that one first")
        groups, limits = (
            cgroups.detect(settings.cgroup) if settings.cgroup else ({}, "control groups are switched off")
        )
        self._notes = limit_notes(box_missing=why if not box else "", groups=bool(groups), limits=limits)
        self._ground = Ground(
            settings=settings,
            box=box,
            cgroup=groups,
            salt=durable.kept(os.path.join(settings.root, "salt"), secrets.token_bytes(32)),
        )
        self._capacity = machine.capacity(settings)
        self._closed = False
        self._quick = ThreadPoolExecutor(_QUICK_WORKERS, "tawtin-run")
        self._slow = ThreadPoolExecutor(_SLOW_WORKERS, "tawtin-files")
        self._link = Link(settings.root, groups, self._on_answer, self._on_lost)
        self._events = Events(
            os.path.join(settings.root, "engine.sock"),
            on_event=self._on_event,
            on_exit=self._on_exit,
            on_tick=self._on_tick,
            tick_ms=settings.rescan_ms,
        )
        self._folders.clear_prepared()
        if box:
            self._folders.clear_etc()
            sandbox.copy_etc(etc)
        cgroups.sweep(groups)
        runs = sorted(os.listdir(self._folders.part("runs")))
        if settings.gpus_real:
            self._ward = Ward(os.path.join(settings.root, "gpus.json"), settings.health)
            self._ward.open(idle=not runs, on_xid=lambda: self._submit(self._quick, self._look_at_gpus))
        self._know_nodes()
        for run in runs:
            with self._lock:
                self._known[run] = _Known()
            self._ports.keep(run, folders.read_note(self._folders.live(run), run).port)
            self._examine(run)
        self._events.start()
        self._submit(self._quick, self._open_link)

    def close(self) -> None:
        """Let go; runs go on, and the launcher stays for a minute."""
        if self._closed:
            return
        self._closed = True
        self._events.stop()
        if self._ward is not None:
            self._ward.close()
        self._link.close()
        self._quick.shutdown(wait=True, cancel_futures=True)
        self._slow.shutdown(wait=True, cancel_futures=True)
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def retire_launcher(self) -> None:
        """Tell the launcher to go now; its runs go on. For upgrades, and for whoever wants nothing left behind."""
        self._link.retire()

    def _open_link(self) -> None:
        with contextlib.suppress(LaunchError):
            self._link.open()  # so that the first run need not wait; tried again with it

    # --- what is here ------------------------------------------------------------------------------------------------

    def isolated(self) -> bool:
        """Whether tenants are kept apart by a sandbox."""
        return bool(self._ground.box)

    def notes(self) -> tuple[str, ...]:
        """What an operator should know."""
        sick = (f"GPU `{gpu.uuid}`: {each.why}" for gpu in self._gpus() for each in gpu.faults)
        amiss = (self._ward.note,) if self._ward is not None and self._ward.note else ()
        return (*self._notes, *amiss, *sick)

    def nodes(self) -> tuple[Node, ...]:
        """The nodes and their health now."""
        return self._know_nodes()

    def _gpus(self) -> tuple[Gpu, ...]:
        return self._ward.gpus if self._ward is not None else ()

    def _know_nodes(self) -> tuple[Node, ...]:
        settings = self._settings
        full = machine.free_mib(settings.root) < settings.reserve_disk_mib // 2
        name, found_gpus = settings.node or sandbox.host_name(), self._gpus()
        found = machine.nodes(name, self._capacity, found_gpus, settings, full=full)
        self._ground.gpu_devices.update({gpu.uuid: gpu.devices for gpu in found_gpus})
        self._ground.nodes.clear()
        self._ground.nodes.update({node.name: node for node in found})
        return found

    def _look_at_gpus(self) -> None:
        """See how GPUs are, and say at once of runs that hold a sick one which nodes are concerned."""
        self._gpus_at = time.monotonic()
        if self._ward is None or not self._ward.look():
            return
        nodes, sick = self._know_nodes(), {gpu.uuid for gpu in self._gpus() if gpu.faults}
        with self._lock:
            open_runs = [run for run, known in self._known.items() if not known.over]
        for run in open_runs:
            folder = self._folders.live(run)
            if sick & set(folders.read_note(folder, run).gpus):
                self._say(msgspec.structs.replace(verdict.report_progress(run, folder), nodes=nodes))

    # --- orders ------------------------------------------------------------------------------------------------------

    def knows(self, run: str) -> bool:
        """Whether this run id was started, or stopped before it could, here."""
        return run in self._known or self._folders.find(run) is not None

    def ensure(self, order: RunOrder) -> None:
        """See to it that the run was started, once."""
        with self._lock:
            if order.run in self._known:
                return
            self._known[order.run] = _Known(order=order)
        slow = bool(order.spec.workdir or order.spec.mounts or order.spec.setup)
        self._submit(self._slow if slow else self._quick, self._start, order)

    def stop(self, run: str, cause: Cause, grace_ms: int) -> None:
        """End the run: signal, wait `grace_ms`, kill."""
        self._submit(self._quick, self._stop, run, cause, grace_ms)

    def _submit(self, pool: ThreadPoolExecutor, work: Callable[..., None], *args: object) -> None:
        def careful() -> None:
            try:
                work(*args)
            except Exception as error:  # noqa: BLE001 - a worker's failure must be seen and must not end the engine
                self._complain(f"{work.__name__.strip('_')}: {error}")

        with contextlib.suppress(
            RuntimeError
        ):  # closed meanwhile: what was not done is done after the next opening
            pool.submit(careful)

    def _complain(self, text: str) -> None:
        note = f"the local engine had trouble: {text}"
        if note not in self._notes:
            self._notes = [*self._notes[-20:], note]

    def _start(self, order: RunOrder) -> None:
        run = order.run
        if self._folders.find(run) is not None or (order.adopt and self._folders.bury(run)):
            self._examine(run)
            return
        prepared = self._folders.prepare(run)
        try:
            request = {"op": "launch", "prepared": prepared, "plan": self._plan(prepared, order)}
            with self._lock:
                known = self._known.get(run)
                if known is None or known.over:
                    self._folders.discard_prepared(prepared)
                    return
                known.request = request
            self._link.send(request)
        except (PlanError, LaunchError, OSError) as error:
            self._folders.discard_prepared(prepared)
            self._folders.tombstone(run, Cause.START_FAILED.value, str(error))
            self._examine(run)

    def _plan(self, prepared: str, order: RunOrder) -> dict[str, Any]:
        with self._lock:
            others = [run for run, known in self._known.items() if not known.over]
        order = self._ports.place(order, others)
        return dict(prepare(prepared, order, self._ground, self._folders, self._artifacts))

    def _stop(self, run: str, cause: Cause, grace_ms: int) -> None:
        if self._folders.find(run) is None and self._folders.tombstone(run, cause.value):
            with self._lock:
                self._known.setdefault(run, _Known())
            self._examine(run)
            return
        folder = self._folders.find(run)
        if folder is None or verdict.read_exit(folder) is not None:
            return
        path = os.path.join(folder, orders.STOP)
        asked = durable.read_json(path)
        if asked is None or int(asked["grace_ms"]) > grace_ms:
            durable.write_json(
                path, {"cause": asked["cause"] if asked else cause.value, "grace_ms": grace_ms}, sync=False
            )
        process = durable.read_json(os.path.join(folder, orders.STATE))
        if process and durable.still_there(
            process["pid"], process["ticks"]
        ):  # else it looks before it starts anything
            with contextlib.suppress(ProcessLookupError):
                os.kill(process["pid"], WAKE)

    def fuse_stop_ms(self) -> int | None:
        """The run's supervisor sees to it; should it be killed as well, the sandbox dies with it. None without one."""
        return fuse.STOP_MS if self.isolated() else None

    def extend(self, run: str, fuse_ms: int) -> None:
        """Let a run go on until then; its supervisor looks when its time has come."""
        fuse.grant(self._folders.live(run), fuse_ms)

    # --- news --------------------------------------------------------------------------------------------------------

    def started(self) -> dict[str, bool]:
        """Every run that has a folder: run -> whether it has its exit record."""
        return self._folders.started()

    def reports(self) -> list[Report]:
        """News since the last call, and at the first call after `open` everything known."""
        with self._lock:
            found = list(self._news.values())
            self._news.clear()
        return found

    def forget(self, run: str) -> None:
        """The outcome is recorded: stop reporting the run."""
        with self._lock:
            self._known.pop(run, None)
            self._news.pop(run, None)
        self._submit(self._quick, self._folders.retire, run)

    def _say(self, report: Report) -> None:
        report = self._ports.with_address(report)
        with self._lock:
            known = self._known.get(report.run)
            if (
                known is None
                or self._closed
                or (known.report and known.report.outcome and not report.outcome)
            ):
                return
            known.report, known.said_at = report, time.monotonic()
            self._news[report.run] = report
        self._wake()

    def _on_event(self, event: str, run: str) -> None:
        """A supervisor said something."""
        with self._lock:
            if run not in self._known:
                return
        if event == "exit":
            self._examine(run)
        elif event in {"started", "usage"}:
            self._say(verdict.report_progress(run, self._folders.live(run)))

    def _on_exit(self, run: str) -> None:
        """A supervisor's process ended."""
        self._examine(run)

    def _on_answer(self, answer: dict[str, Any]) -> None:
        run = str(answer.get("run", ""))
        with self._lock:
            known = self._known.get(run)
            if known is None:
                return
            request, known.request, known.order = known.request, None, None
        if "error" in answer and request is not None:
            self._folders.discard_prepared(request["prepared"])
            self._submit(self._quick, self._start_failed, run, str(answer["error"]))
        elif "pid" in answer:
            self._follow(run, int(answer["pid"]), answer["ticks"])
        else:
            if request is not None:
                self._folders.discard_prepared(request["prepared"])
            self._examine(run)

    def _start_failed(self, run: str, message: str) -> None:
        if not self._folders.tombstone(run, Cause.START_FAILED.value, message):
            folder = self._folders.live(run)  # the token was taken, and then no process could be made
            verdict.record_loss(folder)
        self._examine(run)

    def _on_lost(self) -> None:
        """The launcher went: ask a new one for what this one did not answer."""
        cgroups.sweep(self._ground.cgroup)
        with self._lock:
            waiting = (
                []
                if self._closed
                else [(run, known.request) for run, known in self._known.items() if known.request]
            )
        for run, request in waiting:
            self._submit(self._quick, self._ask_again, run, request)

    def _ask_again(self, run: str, request: dict[str, Any]) -> None:
        if self._folders.find(run) is not None:
            with self._lock:
                if run in self._known:
                    self._known[run].request = None
            self._examine(run)
            return
        try:
            self._link.send(request)
        except LaunchError as error:
            self._on_answer({"run": run, "error": str(error)})

    def _follow(self, run: str, pid: int, ticks: int | None) -> None:
        with self._lock:
            known = self._known.get(run)
            if known is None or known.over:
                return
            known.pid = pid
        if ticks is None or not self._events.follow(run, pid, ticks):
            self._examine(run)

    def _examine(self, run: str) -> None:
        """Find out from its folder how a run is, and act on it."""
        folder = self._folders.find(run)
        with self._lock:
            known = self._known.get(run)
        if folder is None or known is None or known.over:
            return
        record = verdict.read_exit(folder)
        if record is not None:
            with self._lock:
                if known.over:
                    return
                known.over, known.order, known.request = True, None, None
            self._events.unfollow(run)
            if is_slow(record, folders.read_note(folder, run)):
                self._submit(self._slow, self._settle, run, folder)
            else:
                self._say(verdict.report_end(run, record, folders.read_result(folder) or Result()))
        elif durable.lock_held(os.path.join(folder, places.ORDER)):
            process = durable.read_json(os.path.join(folder, orders.STATE))
            if process and not known.pid:
                known.pid = int(process["pid"])
                self._events.follow(run, known.pid, process["ticks"])
            if known.report is None:
                self._say(verdict.report_progress(run, folder))
        elif not known.losing:
            known.losing = True
            self._submit(self._quick, self._lose, run, folder)

    def _lose(self, run: str, folder: str) -> None:
        try:
            settled = verdict.record_loss(folder)
        finally:
            with self._lock:
                if run in self._known:
                    self._known[run].losing = False
        if settled:
            self._examine(run)
        else:
            self._complain(f"run `{run}` has no supervisor, and a process of it could not be ended yet")

    def _settle(self, run: str, folder: str) -> None:
        record = verdict.read_exit(folder)
        if record is not None and suspects(record, folders.read_note(folder, run)):
            self._look_at_gpus()
        report = settle(run, folder, self._folders, self._artifacts, self._gpus())
        if report is not None and report.cause is Cause.GPU_FAILED:
            report = msgspec.structs.replace(report, nodes=self._know_nodes())
        if report is not None:
            self._say(report)

    def _on_tick(self) -> None:
        """Every few seconds: look at every run that is not over, repeat what nobody took up, purge."""
        now = time.monotonic()
        with self._lock:
            open_runs = [
                run for run, known in self._known.items() if not known.over and known.request is None
            ]
            for run, known in self._known.items():
                if known.over and known.report and now - known.said_at > _REPEAT_S:
                    known.said_at = now
                    self._news.setdefault(run, known.report)
        for run in open_runs:
            self._examine(run)
        if self._news:
            self._wake()
        if self._ward is not None and (now - self._gpus_at) * 1000 >= self._settings.health.look_ms:
            self._submit(self._quick, self._look_at_gpus)
        if now - self._purged_at > _PURGE_S:
            self._purged_at = now
            self._submit(self._slow, self._purge)

    def _purge(self) -> None:
        settings = self._settings
        self._folders.purge(age_ms=settings.retention_ms, count_max=settings.retention_runs)
        size = settings.setup_cache_mib << 20
        setupcache.evict(self._folders.part("caches"), self._folders.part("trash"), size, disk_bytes)

    def log(self, run: str, offset: int, limit: int) -> LogChunk:
        """At most `limit` bytes of the run's output from `offset`. A negative offset counts from the end."""
        return self._folders.log(run, offset, limit)

    def samples(self, run: str) -> tuple[UsageSample, ...]:
        """How much a run used over its time, oldest first."""
        return self._folders.samples(run)
