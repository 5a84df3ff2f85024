"""The folders of this machine's engine: those of its runs, and what it keeps beside them.

<root>/caches/<tenant>/<key> results of `setup`
<root>/checkpoints/<workload> what an interrupted run had in its folder for checkpoints, for the next one
<root>/homes/<workload> the home of a workspace that rests; it stays until the workspace is deleted
<root>/etc                   what runs see as /etc
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import NamedTuple

from tawtin.engines.local import orders
from tawtin.engines.local.logfile import read_log
from tawtin.engines.local.orders import Exit
from tawtin.engines.local.samples import read_samples
from tawtin.engines.shared import durable, folders, places
from tawtin.model.ids import workload_of
from tawtin.model.reasons import Cause
from tawtin.model.views import LogChunk, UsageSample
from tawtin.ports import RunOrder

_LOG_TRIES = 3


class Kept(NamedTuple):
    """What one run of a workload finds that the run before it had."""

    part: str
    """The engine's folder in which it waits, below the name of the workload."""
    place: str
    """Where a run has it, below its files."""


CHECKPOINT = Kept("checkpoints", "home/checkpoint")
HOME = Kept("homes", "work")


def _kept(*, checkpoint: bool, home: bool) -> list[Kept]:
    return [*([CHECKPOINT] if checkpoint else []), *([HOME] if home else [])]


class Folders(folders.Folders):
    """The engine's folders below one root."""

    def __init__(self, root: str, *, open_to_tenants: bool) -> None:
        """Make them. `open_to_tenants`: other users must be able to pass through (there is no sandbox to bind them)."""
        super().__init__(
            root, open_to_tenants=open_to_tenants, more=("caches", "checkpoints", "homes", "etc")
        )

    def started(self) -> dict[str, bool]:
        """Every run that was started, or that never will be: run -> whether it is over."""
        found = dict.fromkeys(os.listdir(self.part("done")), True)
        for run in os.listdir(self.part("runs")):
            found[run] = os.path.exists(os.path.join(self.live(run), orders.EXIT))
        return found

    def clear_prepared(self) -> None:
        """Take what was prepared by an earlier control plane out of any launcher's reach, then delete it."""
        for name in os.listdir(self.part("prepared")):
            with contextlib.suppress(OSError):
                self._give_back(os.path.join(self.part("prepared"), name))
        super().clear_prepared()

    def lay_out(
        self,
        path: str,
        order: RunOrder,
        scripts: dict[str, str],
        user: tuple[int, int] | None,
        gpus: tuple[str, ...] = (),
    ) -> None:
        """Fill a prepared folder with everything but inputs; also with what the run before this one kept."""
        super().lay_out(path, order, scripts, user, gpus)
        spec = order.spec
        for kept in _kept(checkpoint=spec.checkpoint is not None, home=spec.workspace is not None):
            self._take_up(kept, path, order.workload, user)

    def _take_up(self, kept: Kept, path: str, workload: str, user: tuple[int, int] | None) -> None:
        source = os.path.join(self.part(kept.part), workload)
        target = os.path.join(path, places.FILES, kept.place)
        if os.path.isdir(source) and not os.path.islink(source):
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(target)
            os.rename(source, target)
        elif not os.path.isdir(target):
            os.mkdir(target, 0o700)
            if user:
                os.chown(target, *user)

    def _give_back(self, prepared: str) -> None:
        """Keep what a run that was prepared and never started had taken up, for the next one."""
        run = os.path.basename(prepared).rpartition(".")[0]
        self.keep(prepared, run, instead=False)

    def discard_prepared(self, path: str) -> None:
        """Delete a prepared folder that nothing will start from."""
        with contextlib.suppress(OSError):
            self._give_back(path)
        self.discard(path)

    def keep(self, folder: str, run: str, *, instead: bool = True) -> None:
        """Keep what an interrupted run has for the next one, `instead` of what was kept before, or if nothing was."""
        note = folders.read_note(folder, run)
        for kept in _kept(checkpoint=note.checkpoint, home=note.home):
            source = os.path.join(folder, places.FILES, kept.place)
            target = os.path.join(self.part(kept.part), workload_of(run))
            if os.path.islink(source) or not os.path.isdir(source) or not os.listdir(source):
                continue
            if not instead and os.path.lexists(target):
                continue
            self.discard(target)
            os.rename(source, target)

    def drop(self, run: str) -> None:
        """Delete what was kept: its workload has its answer."""
        for kept in (CHECKPOINT, HOME):
            self.discard(os.path.join(self.part(kept.part), workload_of(run)))

    def purge(self, *, age_ms: int, count_max: int) -> None:
        """Delete done runs that are older than `age_ms`, the oldest beyond `count_max`, and checkpoints of that age."""
        super().purge(age_ms=age_ms, count_max=count_max)
        for name in os.listdir(self.part("checkpoints")):
            path = os.path.join(self.part("checkpoints"), name)
            with contextlib.suppress(OSError):
                if os.lstat(path).st_mtime < time.time() - age_ms / 1000:
                    self.discard(path)

    def clear_etc(self) -> None:
        """Delete what earlier control planes showed to runs as /etc, unless a run may still look at it."""
        if not os.listdir(self.part("runs")):
            for name in os.listdir(self.part("etc")):
                durable.remove_tree(os.path.join(self.part("etc"), name))

    def tombstone(self, run: str, cause: str, message: str = "") -> bool:
        """Record durably that a run ended before it started; False if it was started meanwhile. Raises OSError."""
        path = self.prepare(run)
        now = time.time_ns() // 1_000_000
        record: Exit = {
            "started_ms": None, "ended_ms": now, "cause": cause, "exit_code": None, "message": message,
            "usage": {
                "wall_ms": 0, "cpu_ms": 0, "memory_peak_mib": 0, "disk_peak_mib": 0, "gpu_model": "", "gpu_ms": 0,
                "gpus_declared": False, "bytes_in": 0, "bytes_out": 0, "energy_mj": None,
            },
        }  # fmt: skip
        durable.write_json(os.path.join(path, orders.EXIT), record)
        done = durable.rename_new(path, self.live(run))
        if done:
            durable.sync_folder(self.part("runs"))
        else:
            self.discard(path)
        return done

    def log(self, run: str, offset: int, limit: int) -> LogChunk:
        """At most `limit` bytes of a run's output from `offset`. A negative offset counts from the end."""
        for _ in range(_LOG_TRIES):
            folder = self.find(run)
            if folder is None:
                break
            over = os.path.exists(os.path.join(folder, orders.EXIT))
            at, data, dropped, total = read_log(folder, offset, limit)
            if os.path.isdir(folder):  # else it was put aside meanwhile, and only looked empty
                return LogChunk(offset=at, data=data, dropped=dropped, end=over and at + len(data) >= total)
        return LogChunk(offset=max(0, offset), data=b"")

    def samples(self, run: str) -> tuple[UsageSample, ...]:
        """How much a run used over its time, oldest first; empty where nothing of it is here any more."""
        for _ in range(_LOG_TRIES):
            folder = self.find(run)
            if folder is None:
                break
            looks = read_samples(folder)
            if os.path.isdir(folder):  # as with the log
                return tuple(UsageSample(**look._asdict()) for look in looks)
        return ()

    def bury(self, run: str) -> bool:
        """Record that a run, of which nothing is here, is over: it is not known whether it was ever started."""
        message = "the store was put back from a backup, and nothing here shows that it was ever started"
        return self.tombstone(run, Cause.SUPERVISOR_LOST.value, message)
