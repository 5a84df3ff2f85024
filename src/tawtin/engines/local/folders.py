"""The folders of this machine's engine: those of its runs, and what it keeps beside them.

<root>/caches/<tenant>/<key> results of `setup`
<root>/etc                   what runs see as /etc
"""

from __future__ import annotations

import os
import time

from tawtin.engines.local import orders
from tawtin.engines.local.logfile import read_log
from tawtin.engines.local.orders import Exit
from tawtin.engines.shared import durable, folders
from tawtin.model.reasons import Cause
from tawtin.model.views import LogChunk

_LOG_TRIES = 3


class Folders(folders.Folders):
    """The engine's folders below one root."""

    def __init__(self, root: str, *, open_to_tenants: bool) -> None:
        """Make them. `open_to_tenants`: other users must be able to pass through (there is no sandbox to bind them)."""
        super().__init__(root, open_to_tenants=open_to_tenants, more=("caches", "etc"))

    def started(self) -> dict[str, bool]:
        """Every run that was started, or that never will be: run -> whether it is over."""
        found = dict.fromkeys(os.listdir(self.part("done")), True)
        for run in os.listdir(self.part("runs")):
            found[run] = os.path.exists(os.path.join(self.live(run), orders.EXIT))
        return found

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

    def bury(self, run: str) -> bool:
        """Record that a run, of which nothing is here, is over: it is not known whether it was ever started."""
        message = "the store was put back from a backup, and nothing here shows that it was ever started"
        return self.tombstone(run, Cause.SUPERVISOR_LOST.value, message)
