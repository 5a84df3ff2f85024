"""A real engine for tests: orders in, reports out, and nothing left behind."""

# ruff: noqa: ANN401 - fields of a spec and of settings are handed on
from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tawtin.engines.conformance.bench import fetch, keep
from tawtin.engines.local import cgroups, spawn
from tawtin.engines.local.engine import LocalEngine
from tawtin.engines.local.settings import LocalSettings
from tawtin.engines.shared import durable
from tawtin.model.reasons import Cause
from tawtin.model.resources import Demand, Shape, Slot
from tawtin.model.workload import WorkloadSpec
from tawtin.ports import Report, RunOrder
from tawtin.store.artifacts import BlobArtifacts
from tawtin.store.blobs import LocalBlobs

WAIT_S = 40.0
GO = "until [ -e go ]; do sleep 0.05; done"
"""A run's script waits here until the test says `go_on`."""


@dataclass
class Rig:
    """One engine over one folder. `reopen` is what a restart of the control plane is."""

    folder: Path
    settings: LocalSettings
    engine: LocalEngine = field(init=False)
    artifacts: BlobArtifacts = field(init=False)
    woken: threading.Event = field(default_factory=threading.Event)
    said: dict[str, list[Report]] = field(default_factory=dict[str, list[Report]])

    def __post_init__(self) -> None:
        self.artifacts = BlobArtifacts(LocalBlobs(str(self.folder / "blobs")))
        self.open()

    def open(self) -> None:
        self.engine = LocalEngine(self.settings, self.artifacts)
        self.engine.open(self.woken.set)

    def reopen(self) -> None:
        self.engine.close()
        self.said.clear()
        self.open()

    def order(
        self, run: str, script: str, *, tenant: int = 1, shape: Shape | None = None, **spec: Any
    ) -> RunOrder:
        shape = shape or Shape(memory_mib=256)
        workload, _, epoch = run.rpartition(".")
        extra = {
            name: spec.pop(name)
            for name in ("secrets_given", "array_index", "array_size", "array_id")
            if name in spec
        }
        secrets: dict[str, str] = extra.pop("secrets_given", {})
        return RunOrder(
            run=run,
            workload=workload,
            tenant=f"tenant-{tenant}",
            tenant_number=tenant,
            epoch=int(epoch),
            spec=WorkloadSpec(
                name="test",
                run=script,
                demand=Demand(options=(shape,)),
                secrets=tuple(sorted(secrets)),
                **spec,
            ),
            shape=shape,
            slots=(Slot(node=self.engine.nodes()[0].name, gpus=tuple(range(shape.gpus))),),
            gpus_declared=bool(shape.gpus),
            secrets=secrets,
            **extra,
        )

    def start(self, run: str, script: str, **more: Any) -> None:
        self.engine.ensure(self.order(run, script, **more))

    def until(self, what: Callable[[], object], wait_s: float = WAIT_S) -> None:
        """Take reports until `what` holds."""
        end = time.monotonic() + wait_s
        while not what():
            if time.monotonic() > end:
                raise AssertionError(
                    f"it did not come to pass; reports: {self.said}; notes: {self.engine.notes()}"
                )
            self.woken.wait(0.05)
            self.woken.clear()
            for report in self.engine.reports():
                self.said.setdefault(report.run, []).append(report)

    def last(self, run: str) -> Report | None:
        reports = self.said.get(run)
        return reports[-1] if reports else None

    def end(self, run: str, wait_s: float = WAIT_S) -> Report:
        """Wait for the run's outcome."""
        self.until(lambda: (report := self.last(run)) is not None and report.outcome, wait_s)
        found = self.last(run)
        assert found is not None
        return found

    def finish(self, run: str, script: str, **more: Any) -> Report:
        self.start(run, script, **more)
        return self.end(run)

    def text(self, run: str) -> str:
        return self.engine.log(run, 0, 1 << 24).data.decode()

    def says(self, run: str, text: str) -> None:
        """Wait until the run's log contains `text`."""
        self.until(lambda: text in self.text(run))

    def go_on(self, run: str) -> None:
        """Let a run go on that waits with `GO`."""
        Path(self.settings.root, "runs", run, "files", "work", "go").touch()

    def state(self, run: str) -> dict[str, Any]:
        found = durable.read_json(f"{self.settings.root}/runs/{run}/state.json")
        assert found is not None
        return found

    def supervisor(self, run: str) -> int:
        return int(self.state(run)["pid"])

    def keep(self, files: dict[str, bytes]) -> str:
        """Keep a folder with these files as an artifact; return its id."""
        return keep(self.artifacts, self.folder, files)

    def fetch(self, artifact: str) -> dict[str, bytes]:
        return fetch(self.artifacts, self.folder, artifact)

    def processes(self, run: str) -> list[int]:
        """Everything alive that carries the run's mark."""
        mark = f"{spawn.mark(f'{self.settings.root}/runs/{run}')}\0".encode()
        found: list[int] = []
        for name in _names(Path("/proc")):
            if name.isdigit():
                try:
                    environ = Path("/proc", name, "environ").read_bytes()
                except OSError:
                    continue
                if mark in environ and not durable.is_zombie(int(name)):
                    found.append(int(name))
        return found

    def close(self) -> None:
        """End whatever runs, and the launcher, and remove everything."""
        root = Path(self.settings.root)
        for run in _names(root / "runs"):
            if not (root / "runs" / run / "exit.json").exists():
                self.engine.stop(run, Cause.CANCELLED, 0)
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end and not all(
            (root / "runs" / run / "exit.json").exists() for run in _names(root / "runs")
        ):
            time.sleep(0.05)
        self.engine.retire_launcher()
        self.engine.close()
        groups, _ = cgroups.detect(self.settings.cgroup) if self.settings.cgroup else ({}, "")
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end and any(_groups_in(parent) for parent in groups.values()):
            cgroups.sweep(groups)
            time.sleep(0.02)
        left = [name for parent in groups.values() for name in _groups_in(parent)]
        cgroups.remove_parents(groups)
        durable.remove_tree(str(root))
        assert not left, f"control groups with processes are left: {left}"


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _groups_in(parent: str) -> list[str]:
    try:
        return [str(entry) for entry in Path(parent).iterdir() if entry.is_dir()]
    except FileNotFoundError:
        return []


@contextmanager
def rig(folder: Path, **settings: Any) -> Generator[Rig]:
    """A rig below `folder`, closed at the end."""
    values: dict[str, Any] = {
        "root": str(folder / "engine"),
        "cgroup": f"tawtin-test-{os.getpid()}",
        "rescan_ms": 300,
        "meter_interval_ms": 200,
        "gpus_real": False,
        **settings,
    }
    made = Rig(folder, LocalSettings(**values))
    try:
        yield made
    finally:
        made.close()


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def has(program: str) -> bool:
    return shutil.which(program) is not None
