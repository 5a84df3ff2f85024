"""The process that watches over a run, from its start token to its exit record.

It is forked by the launcher, outlives the control plane and the launcher, and depends on nothing but the run's folder:
1. say who it is, 2. set up (or take what an earlier set-up left), 3. run, 4. end everything of the run, 5. write the
exit record, and only then 6. let the run go. Asked to stop by a file and a signal. The standard library alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from types import FrameType
from typing import Any, Final

from tawtin.engines.local import mountpoints, orders, setupcache
from tawtin.engines.local.cgroups import Group
from tawtin.engines.local.meter import Meter, boot_ms
from tawtin.engines.local.orders import Exit, Plan, UsageNow
from tawtin.engines.local.output import Output
from tawtin.engines.local.samples import Samples
from tawtin.engines.local.spawn import SpawnError
from tawtin.engines.local.watch import Ended, Stopping, Watch
from tawtin.engines.shared import durable, places

WAKE: Final = signal.SIGUSR1
"""Tells a supervisor to look for `stop.json`."""
_TELL_END_S: Final = 0.5


def make_ready() -> int:
    """Make this process one that supervises; return a descriptor that becomes readable when there is a stop to obey."""
    os.setsid()
    wake, wake_writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(wake_writing, warn_on_full_buffer=False)
    signal.signal(WAKE, _woken)
    for number in (
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGHUP,
    ):  # meant for the control plane's terminal, not for runs
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    durable.adopt_orphans()
    return wake


def supervise(plan: Plan, group: Group, wake: int) -> bool:
    """Carry out `plan` in this process, which is in `group` (if it is one) already. Never raises.

    Returns whether this process may take another run: nothing of this one is left here, and the control plane was told
    of its end, of which it would otherwise hear by the end of this process.
    """
    supervisor = Supervisor(plan, group, wake)
    try:
        supervisor.go()
        supervisor.close()
        told = supervisor.told
    except BaseException as error:  # noqa: BLE001 - the exit record is written whatever happens
        sys.excepthook(type(error), error, error.__traceback__)  # into the launcher's log
        supervisor.fail(f"the supervisor failed: {error}")
        return False
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:  # no child is left, and orphans would have come to us
        return told
    return False


def _woken(_number: int, _frame: FrameType | None) -> None:
    """Nothing: the signal's number is written to the wake descriptor, which is what counts."""


class Supervisor:
    """One run's supervisor."""

    def __init__(self, plan: Plan, group: Group, wake: int) -> None:
        """`wake` is a descriptor that becomes readable when there may be a stop to obey."""
        self._plan = plan
        self._folder = plan["folder"]
        self._files = os.path.join(self._folder, places.FILES)
        self._wake = wake
        self._group = group
        self._started_ms: int | None = None
        self._started_boot_ms = 0
        self._state: dict[str, Any] = {}
        self._slate = durable.Slate(os.path.join(self._folder, orders.STATE))
        self._output: Output | None = None
        self._meter: Meter | None = None
        self._samples = Samples(self._folder, count_max=plan["samples_max"], interval_ms=plan["sample_ms"])
        self.told = False
        """Whether the control plane took the news of the end."""

    def go(self) -> None:
        """Everything, in order."""
        plan = self._plan
        # 1. who it is; a stop asked from here on is seen
        self._identify()
        asked = durable.read_json(os.path.join(self._folder, orders.STOP))
        if asked:
            self._record(Ended(cause=str(asked.get("cause", "Cancelled"))))
            return
        if Stopping(plan).lease_is_over():
            self._record(Ended(cause="LeaseExpired"))
            return
        self._output = Output(
            self._folder, bytes_max=plan["log_bytes_max"], bytes_per_s=plan["log_bytes_per_s"]
        )
        limits = plan["limits"]
        try:
            self._group.limit(
                memory_bytes=limits["memory_bytes"],
                cpus_milli=limits["cpus_milli"],
                processes=limits["processes"],
            )
        except OSError as error:
            self._record(Ended(cause="StartFailed", message=f"its control group takes no limits: {error}"))
            return
        self._meter = Meter(self._group, self._files, plan["gpu_ids"])
        # 2. to 4.
        ended = self._phases()
        self._finish(ended)

    def _identify(self) -> None:
        self._state = {
            "pid": os.getpid(),
            "ticks": durable.start_ticks(os.getpid()),
            "boot": durable.boot_id(),
            "cgroup": self._plan["cgroup"] if self._group else {},
            "group": self._group.name,
            "sandboxed": self._plan["sandboxed"],
        }
        self._slate.write(self._state)

    def _phases(self) -> Ended:
        plan = self._plan
        stopping = Stopping(plan)
        self._started_ms = time.time_ns() // 1_000_000
        self._started_boot_ms = boot_ms()
        self._say_usage("started")
        cache = plan["cache"]
        if plan["setup"]:
            with setupcache.locked(cache, lambda: self._give_up_waiting(stopping)) as claim:
                if claim.stopped is not None:
                    return claim.stopped
                if claim.ready and setupcache.restore(cache, self._files):
                    self._note("set-up taken from an earlier run\n")
                else:
                    ended = self._phase(plan["setup"], stopping)
                    if ended.cause != "Completed" or ended.exit_code != 0:
                        return (
                            ended
                            if ended.cause != "Completed"
                            else Ended(
                                cause="SetupFailed",
                                exit_code=ended.exit_code,
                                message=f"`setup` ended with exit code {ended.exit_code}",
                            )
                        )
                    setupcache.keep(cache, self._files)
        return self._phase(plan["command"], stopping)

    def _give_up_waiting(self, stopping: Stopping) -> Ended | None:
        """Called while another run of the tenant does the same set-up."""
        asked = durable.read_json(os.path.join(self._folder, orders.STOP))
        if asked:
            return Ended(cause=str(asked.get("cause", "Cancelled")))
        if stopping.lease_is_over():
            return Ended(cause="LeaseExpired")
        if stopping.time_is_up(self._started_boot_ms):
            return Ended(cause="TimeLimit")
        return None

    def _phase(self, command: list[str], stopping: Stopping) -> Ended:
        if self._output is None or self._meter is None:
            raise RuntimeError("a phase needs its output and its meter")
        watch = Watch(
            plan=self._plan,
            group=self._group,
            output=self._output,
            meter=self._meter,
            samples=self._samples,
            stopping=stopping,
            wake=self._wake,
            started_boot_ms=self._started_boot_ms,
            on_sandbox=self._know_sandbox,
            on_meter=lambda: self._say_usage("usage"),
        )
        try:
            for name, place, kind in self._plan["mountpoints"]:
                root = os.path.join(self._files, name)
                mountpoints.make(root, place, is_file=kind == "file", owner=self._plan["user"])
            return watch.run(command)
        except mountpoints.MountpointError as error:
            return Ended(cause="StartFailed", message=str(error))
        except SpawnError as error:
            return Ended(cause="StartFailed", message=f"the sandbox could not be started: {error}")

    def _know_sandbox(self, outer: int, inner: int) -> None:
        for name, pid in (("outer", outer), ("inner", inner)):
            if pid:
                self._state[name] = [pid, durable.start_ticks(pid)]
        self._slate.write(self._state)

    def _note(self, text: str) -> None:
        if self._output is not None:
            self._output.note(f"[tawtin] {text}".encode())

    def _finish(self, ended: Ended) -> None:
        if self._group and not self._group.kill(5.0, but=os.getpid()):
            ended = Ended(
                cause=ended.cause, exit_code=ended.exit_code, message="a process of it could not be killed"
            )
        if self._meter is not None:
            self._meter.look([])
            self._meter.look_at_disk([])
            self._meter.settle()
        if self._output is not None:
            self._output.close()
        self._record(ended)
        if not self._plan["keep_files"]:
            durable.remove_tree(self._files)

    def _record(self, ended: Ended) -> None:
        record: Exit = {
            "started_ms": self._started_ms,
            "ended_ms": time.time_ns() // 1_000_000,
            "cause": ended.cause,
            "exit_code": ended.exit_code,
            "message": ended.message,
            "usage": self._usage(),
        }
        durable.write_json(os.path.join(self._folder, orders.EXIT), record)
        self.told = self._tell("exit", wait_s=_TELL_END_S)

    def close(self) -> None:
        """Let go of the run's files."""
        self._slate.close()
        self._samples.close()
        if self._output is not None:
            self._output.close()

    def fail(self, message: str) -> None:
        """End what runs and write an exit record that says that the supervisor itself failed."""
        with contextlib.suppress(Exception):
            for name in ("inner", "outer"):
                if name in self._state:
                    durable.kill_confirmed(self._state[name][0], self._state[name][1], 2.0)
            self._group.kill(2.0, but=os.getpid())
        cause = "StartFailed" if self._started_ms is None else "SupervisorLost"
        with contextlib.suppress(Exception):
            self._record(Ended(cause=cause, message=message))

    def _usage(self) -> UsageNow:
        plan, meter = self._plan, self._meter
        wall = boot_ms() - self._started_boot_ms if self._started_ms is not None else 0
        return {
            "wall_ms": wall,
            "cpu_ms": meter.cpu_ms() if meter else 0,
            "memory_peak_mib": meter.memory_peak_mib() if meter else 0,
            "disk_peak_mib": meter.disk_peak_mib() if meter else 0,
            "gpu_model": plan["gpu_model"],
            "gpu_ms": wall * plan["gpus"],
            "gpus_declared": plan["gpus_declared"],
            "bytes_in": plan["bytes_in"],
            "bytes_out": 0,
            "energy_mj": meter.energy_mj() if meter else None,
        }

    def _say_usage(self, event: str) -> None:
        self._state |= {"started_ms": self._started_ms, "usage": self._usage()}
        self._slate.write(self._state)
        self._tell(event)

    def _tell(self, event: str, wait_s: float = 0.0) -> bool:
        """Tell the control plane, if it listens; it finds out later otherwise. Return whether it was told."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            folder = os.open(os.path.dirname(self._plan["notify"]), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                channel.settimeout(wait_s)
                name = os.path.basename(self._plan["notify"])
                channel.sendto(f"{event} {self._plan['run']}".encode(), f"/proc/self/fd/{folder}/{name}")
                return True
            finally:
                os.close(folder)
        return False
