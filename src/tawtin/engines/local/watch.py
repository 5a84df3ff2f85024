"""Watch one command of a run from start to end: its output, its limits, its time, and how it is asked to end."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time
from collections.abc import Callable
from typing import Final, NamedTuple, cast

from tawtin.engines.local import fuse, orders
from tawtin.engines.local.cgroups import Group
from tawtin.engines.local.meter import Meter, boot_ms, descendants
from tawtin.engines.local.orders import Plan
from tawtin.engines.local.output import Output
from tawtin.engines.local.samples import Look, Samples
from tawtin.engines.local.spawn import spawn
from tawtin.engines.shared import durable

_MEMORY_LOOK_MS: Final = 250
_DISK_LOOK_SHARE: Final = 20
"""Counting the disk takes at most one part in so many of a processor."""
_DISK_LOOK_MS_MAX: Final = 5000
_DISK_BYTES_PER_MS: Final = 2 << 20
"""How fast a run may fill its disk: the next look comes before it can have reached its limit at that speed."""
_FIRST_METER_MS: Final = 1000
_CHECKPOINTED: Final = frozenset({"Preempted", "Drained"})


class Ended(NamedTuple):
    """How a command, or the whole run, ended."""

    cause: str = "Completed"
    exit_code: int | None = None
    message: str = ""


class Stopping:
    """How far the end of a run has come: nothing, checkpoint signal, SIGTERM, SIGKILL. Shared by its commands."""

    def __init__(self, plan: Plan) -> None:
        """Nothing is asked yet."""
        self._plan = plan
        self.cause = ""
        self.message = ""
        self.stage = ""
        """Empty, checkpoint, term or kill."""
        self.next_boot_ms = 0
        """When the next, harder stage comes."""
        self._grace_ms = 0
        self.fuse_ms = plan["fuse_ms"]
        """When the lease is over; 0 for none."""

    def lease_is_over(self) -> bool:
        """Whether the run's lease is over, whatever was granted since; nobody else is asked."""
        if not self.fuse_ms or boot_ms() < self.fuse_ms:
            return False
        self.fuse_ms = max(self.fuse_ms, fuse.granted(self._plan["folder"]))
        return boot_ms() >= self.fuse_ms

    def cut(self, cause: str, grace_ms: int) -> None:
        """End it within `grace_ms`, whatever slower end is under way."""
        if not self.cause:
            self.begin(cause, grace_ms)
            self.stage = "term"
            return
        self._grace_ms = min(self._grace_ms, grace_ms)
        if self.stage == "checkpoint":
            self.stage, self.next_boot_ms = "term", 0
        self.next_boot_ms = min(self.next_boot_ms, boot_ms() + grace_ms)

    def time_is_up(self, started_boot_ms: int) -> bool:
        """Whether the run is over its maximum duration."""
        limit = self._plan["max_duration_ms"]
        return bool(limit) and boot_ms() - started_boot_ms >= limit

    def begin(self, cause: str, grace_ms: int, message: str = "") -> None:
        """Ask for the end, if nobody did before; a later asker can only make it come sooner."""
        if self.cause:
            if self.stage == "term":
                self.next_boot_ms = min(self.next_boot_ms, boot_ms() + grace_ms)
            return
        self.cause, self.message, self._grace_ms = cause, message, grace_ms
        self.stage = "checkpoint" if cause in _CHECKPOINTED and self._plan["checkpoint_signal"] else "term"
        self.next_boot_ms = 0  # at once

    def advance(self, send: Callable[[str], bool]) -> None:
        """Do what is due. `send` delivers a stage's signal and returns whether a process was there to take it."""
        if not self.cause or boot_ms() < self.next_boot_ms:
            return
        if self.stage == "checkpoint":
            if self.next_boot_ms == 0 and send("checkpoint"):
                self.next_boot_ms = boot_ms() + self._plan["checkpoint_grace_ms"]
                return
            self.stage, self.next_boot_ms = "term", 0
        if self.stage == "term":
            if self.next_boot_ms == 0 and self._grace_ms > 0:
                send("term")
                self.next_boot_ms = boot_ms() + self._grace_ms
                return
            self.stage = "kill"
        send("kill")
        self.next_boot_ms = boot_ms() + 1000


class Watch:
    """One command under watch."""

    def __init__(  # noqa: PLR0913 - each by its name
        self,
        *,
        plan: Plan,
        group: Group,
        output: Output,
        meter: Meter,
        samples: Samples,
        stopping: Stopping,
        wake: int,
        started_boot_ms: int,
        on_sandbox: Callable[[int, int], None],
        on_meter: Callable[[], None],
    ) -> None:
        """`wake` is readable when a stop may have been asked; `on_sandbox` hears the pids (outer, inner or 0)."""
        self.plan = plan
        self.group = group
        self.output = output
        self.meter = meter
        self.samples = samples
        self.stopping = stopping
        self.wake = wake
        self.started_boot_ms = started_boot_ms
        self.on_sandbox = on_sandbox
        self.on_meter = on_meter
        self._outer = 0
        self._inner = 0
        self._inner_ticks = 0
        self._exit_code: int | None = None
        self._status_text = b""
        self._next_meter = 0
        self._next_disk = 0
        self._fuse_look = 0
        self._next_memory = 0
        self._next_sample = 0

    def run(self, command: list[str]) -> Ended:
        """Start `command`, wait for its end, end whatever it left behind. Raises SpawnError."""
        log = self.output.open()
        try:
            self._outer, status = spawn(self.plan, command, log)
        finally:
            self.output.opened()
        os.set_blocking(status, False)
        ended = os.pidfd_open(self._outer)
        poll = select.poll()
        for fd in (self.wake, status, ended):
            poll.register(fd, select.POLLIN)
        now = boot_ms()
        self._next_meter = now + min(_FIRST_METER_MS, self.plan["meter_interval_ms"])
        self._next_disk = now + self.plan["disk_interval_ms"]
        self._next_memory = now + _MEMORY_LOOK_MS
        self._next_sample = now + self.samples.interval_ms
        if not self.plan["sandboxed"]:
            self.on_sandbox(self._outer, 0)
        self._look_for_stop()
        try:
            self._loop(poll, status, ended)
            self._read_status(status)
        finally:
            self._end_all()
            os.close(ended)
            os.close(status)
        _, raw = os.waitpid(self._outer, 0)
        self._reap_strays()
        self.output.drain()
        return self._verdict(os.waitstatus_to_exitcode(raw))

    def _loop(self, poll: select.poll, status: int, ended: int) -> None:
        listening = -1
        while True:
            pause_s = self.output.wait_s()
            want = self.output.fd if pause_s == 0.0 else -1
            if want != listening:
                if listening >= 0:
                    with contextlib.suppress(KeyError, OSError):
                        poll.unregister(listening)
                if want >= 0:
                    poll.register(want, select.POLLIN)
                listening = want
            timeout = self._until_next()
            ready = dict(poll.poll(min(timeout, pause_s * 1000) if pause_s else timeout))
            if self.wake in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self.wake, 4096)
                self._look_for_stop()
            if status in ready and not self._read_status(status):
                poll.unregister(status)
            if listening in ready and not self.output.pump() and self.output.fd < 0:
                poll.unregister(listening)
                listening = -1
            if ended in ready:
                return
            self._due()

    def _until_next(self) -> float:
        times = [self._next_meter, self._next_disk, self._next_memory]
        if self.samples.interval_ms:
            times.append(self._next_sample)
        if self.stopping.cause:
            times.append(self.stopping.next_boot_ms)
        elif self.plan["max_duration_ms"]:
            times.append(self.started_boot_ms + self.plan["max_duration_ms"])
        if self.stopping.fuse_ms and self.stopping.stage != "kill":
            times.append(max(self.stopping.fuse_ms, self._fuse_look))
        return max(0.0, float(min(times) - boot_ms()))

    def _look_for_stop(self) -> None:
        asked = durable.read_json(os.path.join(self.plan["folder"], orders.STOP))
        if asked:
            self.stopping.begin(str(asked.get("cause", "Cancelled")), int(asked.get("grace_ms", 0)))

    def _read_status(self, status: int) -> bool:
        """Take in what the sandbox program says of itself; return False once it says no more."""
        while True:
            try:
                data = os.read(status, 65536)
            except BlockingIOError:
                return True
            if not data:
                return False
            self._status_text += data
            *lines, self._status_text = self._status_text.split(b"\n")
            for line in lines:
                with contextlib.suppress(ValueError):
                    self._take_status(cast("dict[str, int]", json.loads(line)))

    def _take_status(self, said: dict[str, int]) -> None:
        if "child-pid" in said and not self._inner:
            ticks = durable.start_ticks(said["child-pid"])
            if ticks is not None:
                self._inner, self._inner_ticks = said["child-pid"], ticks
                self.on_sandbox(self._outer, self._inner)
        if "exit-code" in said:
            self._exit_code = said["exit-code"]

    def _due(self) -> None:
        now = boot_ms()
        if self.stopping.time_is_up(self.started_boot_ms) and not self.stopping.cause:
            self.stopping.begin("TimeLimit", self.plan["stop_grace_ms"])
        if self.stopping.lease_is_over():
            self._fuse_look = now + fuse.GRACE_MS
            self.stopping.cut("LeaseExpired", fuse.GRACE_MS)
        if now >= self._next_disk:
            self._look_at_disk()
        if now >= self._next_memory:
            self._look_at_memory()
        if self.samples.interval_ms and now >= self._next_sample:
            self._sample()
        if now >= self._next_meter:
            self._next_meter = now + self.plan["meter_interval_ms"]
            self.meter.look(self.members() if not self.group else [])
            self.on_meter()
        self.stopping.advance(self._send)

    def _sample(self) -> None:
        memory = self.meter.look(self.members() if not self.group else [])
        at_ms = time.time_ns() // 1_000_000
        self.samples.add(Look(at_ms, self.meter.cpu_ms(), memory, self.meter.gpu_permille()))
        self._next_sample = boot_ms() + self.samples.interval_ms

    def _look_at_disk(self) -> None:
        begin = boot_ms()
        limit = self.plan["limits"]["disk_bytes"]
        used = self.meter.look_at_disk(self.members())
        if self.meter.too_deep:
            self.stopping.begin("DiskLimit", 0, "its folders are nested too deep to be counted")
        elif limit and used > limit:
            self.stopping.begin(
                "DiskLimit", 0, f"it used {used >> 20} MiB of disk; its limit is {limit >> 20} MiB"
            )
        least = max(self.plan["disk_interval_ms"], (boot_ms() - begin) * _DISK_LOOK_SHARE)
        far = (limit - used) // _DISK_BYTES_PER_MS if limit else _DISK_LOOK_MS_MAX
        self._next_disk = boot_ms() + max(least, min(far, _DISK_LOOK_MS_MAX))

    def _look_at_memory(self) -> None:
        self._next_memory = boot_ms() + _MEMORY_LOOK_MS
        limit = self.plan["limits"]["memory_bytes"]
        if self.group:
            if self.group.memory_kills():
                self.stopping.begin("OutOfMemory", 0, f"it used more than its {limit >> 20} MiB of memory")
            return
        used = self.meter.look(self.members())
        if limit and used > limit:
            self.stopping.begin(
                "OutOfMemory", 0, f"it used {used >> 20} MiB of memory; its limit is {limit >> 20} MiB"
            )

    def members(self) -> list[int]:
        """The run's own processes, without those of the sandbox program."""
        pids = self.group.pids() if self.group else descendants(os.getpid())
        own = {os.getpid(), *((self._outer, self._inner) if self.plan["sandboxed"] else ())}
        return [pid for pid in pids if pid not in own]

    def _send(self, stage: str) -> bool:
        if stage == "kill":
            self._kill()
            return True
        number = self.plan["checkpoint_signal"] if stage == "checkpoint" else signal.SIGTERM
        sent = False
        for pid in self.members():
            if stage == "checkpoint" and not _catches(pid, number):
                continue
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
                sent = True
        return sent

    def _kill(self) -> None:
        """Kill everything: the sandbox's first process takes all others of it along."""
        if self._inner:
            durable.kill_confirmed(self._inner, self._inner_ticks, 2.0)
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._outer, signal.SIGKILL)
        if not self.plan["sandboxed"]:
            self._kill_strays()

    def _kill_strays(self) -> None:
        """Without a sandbox: kill descendants until none is left; orphans come to us, so none is missed."""
        end = time.monotonic() + 5.0
        while time.monotonic() < end:
            pids = [pid for pid in self.members() if not durable.is_zombie(pid)]
            if not pids:
                return
            for pid in pids:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.002)

    def _end_all(self) -> None:
        if self._inner and durable.still_there(self._inner, self._inner_ticks):
            durable.kill_confirmed(self._inner, self._inner_ticks, 5.0)
        if not self.plan["sandboxed"]:
            self._kill_strays()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._outer, signal.SIGKILL)

    def _reap_strays(self) -> None:
        """Kill and reap until we have no child left, which proves that no descendant is: orphans come to us.

        Looking for descendants alone is no proof, as they move while one looks.
        """
        end = time.monotonic() + 10.0
        while time.monotonic() < end:
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return
            for pid in descendants(os.getpid()):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.002)

    def _verdict(self, outer_code: int) -> Ended:
        stopping = self.stopping
        code = self._exit_code
        if not self.plan["sandboxed"]:
            code = outer_code if outer_code >= 0 else 128 - outer_code
        if stopping.cause in {"DiskLimit", "OutOfMemory"}:
            return Ended(cause=stopping.cause, exit_code=code, message=stopping.message)
        if self.group.memory_kills() and code != 0:
            limit = self.plan["limits"]["memory_bytes"] >> 20
            return Ended(
                cause="OutOfMemory", exit_code=code, message=f"it used more than its {limit} MiB of memory"
            )
        if stopping.stage:
            return Ended(cause=stopping.cause, exit_code=code, message=stopping.message)
        if code is None:
            said = self.output.tail(500)
            return Ended(cause="StartFailed", message=f"the sandbox could not be started: {said}")
        if code == 128 + signal.SIGXFSZ:
            limit = self.plan["limits"]["disk_bytes"] >> 20
            return Ended(
                cause="DiskLimit", exit_code=code, message=f"a file grew beyond the disk limit of {limit} MiB"
            )
        return Ended(exit_code=code)


def _catches(pid: int, number: int) -> bool:
    """Whether process `pid` has a handler for the signal; one without would be killed by it."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status", "rb") as file:
        for line in file:
            if line.startswith(b"SigCgt:"):
                return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False
