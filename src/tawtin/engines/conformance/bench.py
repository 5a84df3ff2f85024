"""One engine on a bench: orders in, reports out, and a control plane that is restarted where a case wants it."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tawtin.model.resources import Demand, NodeHealth, Shape, Slot
from tawtin.model.workload import WorkloadSpec
from tawtin.ports import Artifacts, Engine, Report, RunOrder

WAIT_S: Final = 60.0


class NotMetError(AssertionError):
    """The engine does not do what a case asks for; the message says what it did."""


def expect(holds: object, otherwise: str) -> None:
    """Raise NotMetError unless it holds."""
    if not holds:
        raise NotMetError(otherwise)


@dataclass(kw_only=True)
class Bench:
    """One engine, and what a factory would be to it."""

    make: Callable[[], Engine]
    """The same engine over the same folder each time."""
    artifacts: Artifacts
    folder: Path
    """For files of the case itself."""
    shared: Path
    """A folder that runs can read, at the same path."""
    engine: Engine = field(init=False)
    woken: threading.Event = field(default_factory=threading.Event)
    said: dict[str, list[Report]] = field(default_factory=dict[str, list[Report]])
    number: int = 0
    name: str = ""

    def open(self) -> None:
        """A control plane starts."""
        self.engine = self.make()
        self.engine.open(self.woken.set)

    def restart(self) -> None:
        """It ends, and another one starts, which heard nothing."""
        self.engine.close()
        self.said.clear()
        self.open()

    def run_id(self) -> str:
        """A new run."""
        self.number += 1
        return f"wl-{self.name}-{self.number}.1"

    def order(self, run: str, script: str, *, nodes: int = 1, gpus: int = 0, **spec: Any) -> RunOrder:  # noqa: ANN401
        """An order for a run of this script on the first nodes that are ready."""
        secrets: dict[str, str] = spec.pop("secrets_given", {})
        found = [node for node in self.engine.nodes() if node.health is NodeHealth.READY]
        fitting = [node for node in found if node.gpus >= gpus]
        expect(len(fitting) >= nodes, f"{nodes} nodes with {gpus} GPUs are needed; there are {found}")
        shape = Shape(
            gpu_model=fitting[0].gpu_model if gpus else "", gpus=gpus, cpus_milli=1000, memory_mib=256
        )
        workload, _, epoch = run.rpartition(".")
        return RunOrder(
            run=run,
            workload=workload,
            tenant="conformance",
            tenant_number=1,
            epoch=int(epoch),
            spec=WorkloadSpec(
                name="conformance",
                run=script,
                demand=Demand(nodes=nodes, options=(shape,)),
                secrets=tuple(sorted(secrets)),
                **spec,
            ),
            shape=shape,
            slots=tuple(Slot(node=node.name, gpus=tuple(range(gpus))) for node in fitting[:nodes]),
            gpus_declared=any(node.gpus_declared for node in fitting[:nodes]) and gpus > 0,
            secrets=secrets,
        )

    def start(self, script: str, **spec: Any) -> str:  # noqa: ANN401
        """Start a run; return its id."""
        run = self.run_id()
        self.engine.ensure(self.order(run, script, **spec))
        return run

    def until(self, holds: Callable[[], object], what: str) -> None:
        """Take reports until it holds."""
        end = time.monotonic() + WAIT_S
        while not holds():
            if time.monotonic() > end:
                raise NotMetError(f"{what}: not within {WAIT_S:g} s; said {self.said}; {self.engine.notes()}")
            self.woken.wait(0.1)
            self.woken.clear()
            for report in self.engine.reports():
                self.said.setdefault(report.run, []).append(report)

    def last(self, run: str) -> Report:
        """The latest report of a run; an empty one if there was none."""
        return self.said[run][-1] if self.said.get(run) else Report(run=run)

    def began(self, run: str) -> None:
        """Wait until it is reported to have started."""
        self.until(lambda: self.last(run).started_ms is not None, f"{run} is reported to have started")

    def end(self, run: str) -> Report:
        """Wait for its outcome."""
        self.until(lambda: self.last(run).outcome, f"{run} is reported to have ended")
        return self.last(run)

    def finish(self, script: str, **spec: Any) -> tuple[str, Report]:  # noqa: ANN401
        """Start a run and wait for its outcome."""
        run = self.start(script, **spec)
        return run, self.end(run)

    def text(self, run: str) -> str:
        """All of its output."""
        return self.engine.log(run, 0, 1 << 24).data.decode("utf-8", "replace")

    def says(self, run: str, text: str) -> None:
        """Wait until its output has this."""
        self.until(lambda: text in self.text(run), f"the output of {run} has `{text}`")

    def go(self, run: str) -> None:
        """Let a run go on that waits by `waiting`."""
        (self.shared / run).touch()

    def waiting(self, run: str) -> str:
        """A line of shell that waits until `go`."""
        return f"until [ -e {self.shared / run} ]; do sleep 0.1; done"

    def keep(self, files: dict[str, bytes]) -> str:
        """Keep a folder with these files as an artifact; return its id."""
        return keep(self.artifacts, self.folder, files)

    def fetch(self, artifact: str) -> dict[str, bytes]:
        """The files of an artifact."""
        return fetch(self.artifacts, self.folder, artifact)


def keep(artifacts: Artifacts, folder: Path, files: dict[str, bytes]) -> str:
    """Keep these files as an artifact, by way of a new folder below `folder`; return its id."""
    source = Path(tempfile.mkdtemp(prefix="source-", dir=folder))
    for name, body in files.items():
        path = source / "it" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return artifacts.collect(str(source), "it").artifact


def fetch(artifacts: Artifacts, folder: Path, artifact: str) -> dict[str, bytes]:
    """The files of an artifact, by way of a new folder below `folder`."""
    target = Path(tempfile.mkdtemp(prefix="fetched-", dir=folder))
    artifacts.materialise(artifact, str(target))
    files = (path for path in target.rglob("*") if path.is_file())
    return {str(path.relative_to(target)): path.read_bytes() for path in files}
