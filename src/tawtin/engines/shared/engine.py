"""An engine on a cluster whose nodes all see one folder.

Starting a run: 1. lay its folder out, 2. submit its job, 3. write down the job's id. After a crash between 2 and 3 the
job is found by its run's name before anything is submitted again. The script of a job starts only if it can make a file
that nobody made before, so that a second job never does anything; the one that does writes down its id itself.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from tawtin.core.outcome import INTERRUPTIONS, outcome_of
from tawtin.engines.shared import book, durable, folders, scripts, states
from tawtin.engines.shared.book import Known, Note, Stop
from tawtin.engines.shared.cluster import Cluster, ClusterDownError, ClusterError, Phase, holdings
from tawtin.engines.shared.desk import Desk, StartError
from tawtin.engines.shared.folders import Folders, Result
from tawtin.engines.shared.settings import ClusterSettings
from tawtin.engines.shared.states import End
from tawtin.engines.shared.watch import Watch
from tawtin.model.reasons import Cause
from tawtin.model.resources import Node
from tawtin.model.views import LogChunk, UsageSample
from tawtin.model.workload import Usage
from tawtin.ports import EngineError, EngineParts, Report, RunOrder

_REPEAT_S: Final = 10.0
_METER_S: Final = 15.0
_PURGE_S: Final = 600.0
_UNKNOWN: Final = "the store was put back from a backup, and nothing here shows that it was ever started"
_SILENT: Final = 3
"""After so many looks at the nodes without an answer they take no new runs."""


class ClusterEngine:
    """Implements ports.Engine."""

    def __init__(self, cluster: Cluster, settings: ClusterSettings, parts: EngineParts) -> None:
        """Nothing happens before `open`. Raises EngineError."""
        self.name = parts.name
        self._settings = settings
        self._parts = parts
        self._root = settings.root or parts.root
        if not os.path.isabs(self._root):
            raise EngineError(
                f"the folder `{self._root}` must be an absolute path, the same one on all nodes"
            )
        self._cluster = cluster
        self._lock = threading.RLock()
        self._known: dict[str, Known] = {}
        self._news: dict[str, Report] = {}
        self._wake: Callable[[], None] = lambda: None
        self._trouble: dict[str, str] = {}
        """What is wrong, by what it is wrong with."""
        self._answered_at = 0.0
        self._untidy = True
        """There may be jobs that nobody counts on."""
        self._nudged = threading.Event()
        self._closed = threading.Event()
        self._closed.set()
        self._held: int | None = None

    # --- life --------------------------------------------------------------------------------------------------------

    def open(self, wake: Callable[[], None]) -> None:
        """Start, and adopt what runs already. Raises EngineError; that the cluster does not answer is no reason."""
        self._wake = wake
        self._folders = Folders(self._root, open_to_tenants=False)
        self._held = durable.lock_file(os.path.join(self._root, "engine.lock"))
        if self._held is None:
            raise EngineError(f"`{self._root}` is in use by another control plane; end that one first")
        self._folders.clear_prepared()
        try:
            self._cluster.open(self._root, self._nudged.set)
        except EngineError:
            self._unlock()
            raise
        self._desk = Desk(self._cluster, self._folders, self._parts)
        self._watch = Watch(
            self._cluster,
            self._desk,
            self._settings,
            began=self._began,
            ended=self._ended,
            work=self._give,
        )
        self._known = {
            run: book.known_of(run, self._folders.live(run))
            for run in sorted(os.listdir(self._folders.part("runs")))
        }
        self._closed.clear()
        self._pool = ThreadPoolExecutor(self._settings.submitters, f"tawtin-{self.name}")
        self._files = ThreadPoolExecutor(2, f"tawtin-{self.name}-files")
        self._look_at_nodes()
        self._loop = threading.Thread(target=self._look_forever, name=f"tawtin-{self.name}-look", daemon=True)
        self._loop.start()

    def close(self) -> None:
        """Let go; jobs go on."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._nudged.set()
        self._loop.join()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._files.shutdown(wait=True, cancel_futures=True)
        self._cluster.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._held is not None:
            os.close(self._held)
            self._held = None

    # --- what is here ------------------------------------------------------------------------------------------------

    def isolated(self) -> bool:
        """Whether runs of different tenants are kept apart."""
        return self._cluster.isolated

    def notes(self) -> tuple[str, ...]:
        """What an operator should know."""
        with self._lock:
            return (*self._cluster.notes(), *self._trouble.values())

    def nodes(self) -> tuple[Node, ...]:
        """The nodes, less what other users of the cluster have there."""
        info = os.statvfs(self._root)
        with self._lock:
            answering = time.monotonic() - self._answered_at < _SILENT * self._settings.nodes_ms / 1000
            notes = [
                known.note for known in self._known.values() if not known.over and known.phase is Phase.RUNS
            ]
        disk_mib = info.f_bavail * info.f_frsize >> 20
        return self._cluster.nodes(holdings(notes), disk_mib=disk_mib, answering=answering)

    def _look_at_nodes(self) -> None:
        try:
            self._cluster.machines()
        except ClusterError as error:
            self._complain("nodes", f"{self._cluster.title} does not say which nodes it has: {error}")
            return
        self._complain("nodes", "")
        self._answered_at = time.monotonic()

    def _complain(self, about: str, text: str) -> None:
        """Show this to operators until it is taken back with an empty text."""
        with self._lock:
            if text:
                self._trouble[about] = text
            else:
                self._trouble.pop(about, None)

    # --- orders ------------------------------------------------------------------------------------------------------

    def knows(self, run: str) -> bool:
        """Whether this run id was started, or stopped before it could, here."""
        with self._lock:
            return run in self._known or self._folders.find(run) is not None

    def ensure(self, order: RunOrder) -> None:
        """See to it that the run was started, once."""
        with self._lock:
            if order.run in self._known:
                return
            folder = self._folders.live(order.run)
            known = self._known[order.run] = Known(
                run=order.run, folder=folder, note=Note(run=order.run), busy=True
            )
        self._give(known, lambda known: self._start(known, order))

    def _start(self, known: Known, order: RunOrder) -> None:
        if order.adopt and self._folders.find(order.run) is None:
            never = self._desk.never(order.run, Cause.SUPERVISOR_LOST, _UNKNOWN)
            if never is not None:
                raise StartError(never)
        note = self._desk.lay_out(order)
        if note is None:
            found = book.known_of(order.run, known.folder)
            known.note, known.job, known.stop = found.note, found.job, known.stop or found.stop
            return
        known.note = note
        if known.stop is None:
            self._desk.submit(known)

    def stop(self, run: str, cause: Cause, grace_ms: int) -> None:
        """End the run: signal, wait `grace_ms`, kill."""
        with self._lock:
            known = self._known.get(run)
            if known is None:
                known = self._known[run] = Known(run=run, folder=self._folders.live(run), note=Note(run=run))
            if known.over:
                return
            if known.stop is None or known.stop.grace_ms > grace_ms:
                known.stop = Stop(cause=known.cause or cause, grace_ms=grace_ms)
        self._give(known, self._forbid)

    def _forbid(self, known: Known) -> None:
        """See to it that a run which has not begun never does; one that has is ended step by step."""
        if known.stop is None or known.over:
            return
        if os.path.isdir(known.folder):  # first of all, so that a crash from here on leaves it meant to end
            book.write(known.folder, book.STOP, known.stop)
            durable.write_file(os.path.join(known.folder, scripts.ASKED), b"", sync=False)
        never = self._desk.never(known.run, known.stop.cause)
        if never is not None:
            self._ended(known, End(never.cause, None, never.ended_ms, never.message))
            self._untidy = True

    def fuse_stop_ms(self) -> int | None:
        """Nothing here ends a run in time while this control plane is down."""
        return None

    def extend(self, run: str, fuse_ms: int) -> None:
        """No run has a deadline here."""

    # --- workers -----------------------------------------------------------------------------------------------------

    def _give(self, known: Known, work: Callable[[Known], None]) -> None:
        """Have a worker do something with a run; the loop leaves the run alone meanwhile."""
        known.busy = True

        def do() -> None:
            try:
                work(known)
                self._complain(known.run, "")
            except StartError as error:
                self._ended(known, End(error.never.cause, None, error.never.ended_ms, error.never.message))
            except ClusterDownError as error:
                self._complain("cluster", f"{self._cluster.title} does not answer: {error}")
            except Exception as error:  # noqa: BLE001 - a worker's failure must be seen and must not end the engine
                self._complain(known.run, f"run `{known.run}`: {error}")
            finally:
                known.busy = False

        with contextlib.suppress(RuntimeError):  # closed meanwhile: the next control plane does it
            self._pool.submit(do)

    def _look_forever(self) -> None:
        ask_at = nodes_at = purge_at = 0.0
        while True:
            nudged = self._nudged.wait(self._settings.look_ms / 1000)
            if self._closed.is_set():
                return
            self._nudged.clear()
            now = time.monotonic()
            try:
                self._watch.look(self._open())
                if (nudged or now >= ask_at) and (self._open() or self._untidy):
                    self._untidy = False
                    ask_at = now + self._settings.ask_ms / 1000
                    self._watch.ask(self._open, self._known.get)
                    self._complain("cluster", "")
                if now >= nodes_at:
                    nodes_at = now + self._settings.nodes_ms / 1000
                    self._look_at_nodes()
                if now >= purge_at:
                    purge_at = now + _PURGE_S
                    settings = self._settings
                    self._folders.purge(age_ms=settings.retention_ms, count_max=settings.retention_runs)
                self._say_again(now)
                self._complain("look", "")
            except ClusterError as error:
                self._complain("cluster", f"{self._cluster.title} does not answer: {error}")
            except Exception as error:  # noqa: BLE001 - it must be seen, and the loop must go on
                self._complain("look", f"the engine `{self.name}` had trouble: {error}")

    def _open(self) -> list[Known]:
        """Runs that are not over, and that no worker has."""
        with self._lock:
            return [known for known in self._known.values() if not known.over and not known.busy]

    # --- news --------------------------------------------------------------------------------------------------------

    def started(self) -> dict[str, bool]:
        """Every run that has a folder: run -> whether it is over."""
        found = dict.fromkeys(os.listdir(self._folders.part("done")), True)
        for run in os.listdir(self._folders.part("runs")):
            folder, known = self._folders.live(run), self._known.get(run)
            ended = (os.path.exists(os.path.join(folder, name)) for name in (scripts.EXIT, book.NEVER))
            found[run] = (known is not None and known.over) or any(ended)
        return found

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
            self._trouble.pop(run, None)
        with contextlib.suppress(RuntimeError):
            self._files.submit(self._folders.retire, run)

    def log(self, run: str, offset: int, limit: int) -> LogChunk:
        """At most `limit` bytes of the run's output from `offset`. A negative offset counts from the end."""
        folder = self._folders.find(run)
        if folder is None:
            return LogChunk(offset=max(0, offset), data=b"")
        known = self._known.get(run)
        over = known is None or known.over or os.path.exists(os.path.join(folder, scripts.EXIT))
        try:
            with open(os.path.join(folder, scripts.OUTPUT), "rb") as file:
                total = file.seek(0, os.SEEK_END)
                at = min(total, offset) if offset >= 0 else max(0, total + offset)
                file.seek(at)
                data = file.read(max(0, limit))
        except OSError:
            return LogChunk(offset=max(0, offset), data=b"", end=over)
        return LogChunk(offset=at, data=data, end=over and at + len(data) >= total)

    def samples(self, run: str) -> tuple[UsageSample, ...]:
        """Nothing: clusters are asked for totals alone."""
        del run
        return ()

    def _began(self, known: Known) -> None:
        self._say(known, self._progress(known))

    def _progress(self, known: Known) -> Report:
        started_ms = known.started_ms
        if started_ms is None:
            return Report(run=known.run)
        return Report(
            run=known.run,
            started_ms=started_ms,
            usage=self._usage(known, time.time_ns() // 1_000_000 - started_ms),
        )

    def _usage(self, known: Known, wall_ms: int) -> Usage:
        return states.usage(known.folder, known.note, max(0, wall_ms))

    def _ended(self, known: Known, end: End) -> None:
        """How a run ended is known: collect what it made, then report."""
        with self._lock:
            if known.over or self._closed.is_set():
                return
            known.over = True
        with contextlib.suppress(OSError):  # its script does so too, if it comes to that: secrets are in it
            os.unlink(os.path.join(known.folder, scripts.ENVIRONMENT))
        if known.note.outputs and known.began_ms is not None and end.cause not in INTERRUPTIONS:
            with contextlib.suppress(RuntimeError):
                self._files.submit(self._collect, known, end)
        else:
            self._report_end(known, end, Result())

    def _collect(self, known: Known, end: End) -> None:
        note = folders.OrderNote(run=known.run, tenant=known.note.tenant, outputs=known.note.outputs)
        try:
            result = folders.collect_outputs(known.folder, note, self._parts.artifacts)
        except OSError as error:
            result = Result(message=f"outputs were not kept: {error}")
        self._report_end(known, end, result)

    def _report_end(self, known: Known, end: End, result: Result) -> None:
        began_ms, started_ms = known.began_ms, known.started_ms
        wall_ms, ended_ms = 0, end.ended_ms
        if began_ms is not None and started_ms is not None:
            wall_ms = max(0, end.ended_ms - (began_ms if end.by_node else started_ms))
            ended_ms = started_ms + wall_ms
        self._say(
            known,
            Report(
                run=known.run,
                started_ms=started_ms,
                ended_ms=ended_ms,
                outcome=outcome_of(end.cause),
                cause=end.cause,
                exit_code=end.exit_code,
                message="; ".join(part for part in (end.message, result.message) if part),
                usage=states.with_output(self._usage(known, wall_ms), result.bytes_out),
                outputs=result.outputs,
            ),
        )

    def _say(self, known: Known, report: Report) -> None:
        with self._lock:
            if self._closed.is_set() or self._known.get(known.run) is not known:
                return
            known.report, known.said_at = report, time.monotonic()
            self._news[report.run] = report
        self._wake()

    def _say_again(self, now: float) -> None:
        """Repeat what nobody took up, and say what running ones used."""
        with self._lock:
            due = [
                known
                for known in self._known.values()
                if known.report is not None and now - known.said_at > (_REPEAT_S if known.over else _METER_S)
            ]
        for known in due:
            self._say(known, known.report if known.over and known.report else self._progress(known))
