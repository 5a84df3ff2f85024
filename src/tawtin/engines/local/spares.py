"""Supervisors in waiting: forked, and moved into a control group of their own, before there is a run for them.

Moving a process between control groups makes the kernel wait for all processors, some 20 ms. Several that move at the
same time wait once, so they are made in batches, and a run finds one ready. A fork costs as much again in pages that
are copied one by one, so a supervisor takes several runs, one after the other, each in a new group. The standard
library alone.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import itertools
import json
import os
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn, cast

from tawtin.engines.local.cgroups import Group
from tawtin.engines.local.orders import Plan
from tawtin.engines.local.supervisor import make_ready, supervise

_READY: Final = 8
"""So many wait for a run when nothing happens."""
_READY_MAX: Final = 64
"""So many may wait between the runs of a busy time."""
_YOUNG_S: Final = 0.1
YOUNG_MAX: Final = 4 * (os.cpu_count() or 1)
"""So many runs may be younger than that: more starts at the same time only take longer, all of them."""
_QUIET_S: Final = 0.2
_REST_S: Final = 3.0
RUNS_MAX: Final = 32
"""A supervisor that had so many runs goes: what its memory gathered, and the groups that this keeps alive, go too."""
_ENTER_TRIES: Final = 5
_GONE_S: Final = 5.0
"""A launcher that goes waits no longer than that for supervisors that had no run."""
_HEAD: Final = struct.Struct(">I")
_NAME_BYTES_MAX: Final = 256


@dataclass
class _Spare:
    """A supervisor, and how to reach it."""

    pid: int
    channel: socket.socket
    parents: dict[str, str]
    group: Group
    handed_at: float = 0.0
    """When it got its run."""
    used: bool = False
    """It had a run already."""


class Spares:
    """All supervisors that this launcher forked."""

    def __init__(
        self,
        close_for_child: Callable[[], None],
        watch: Callable[[socket.socket], None],
        unwatch: Callable[[socket.socket], None],
    ) -> None:
        """`close_for_child` closes, in a forked process, what belongs to the launcher alone.

        `watch` is asked to call `back` when a channel is readable, until `unwatch`.
        """
        self.parents: dict[str, str] = {}
        """Where control groups are made; empty for none."""
        self._close_for_child = close_for_child
        self._watch, self._unwatch = watch, unwatch
        self._waiting: list[_Spare] = []
        self._busy: dict[socket.socket, _Spare] = {}
        self._all: dict[int, _Spare] = {}
        self._count = 0
        self._busy_at = 0.0

    def tidy(self) -> float:
        """Once no run came for a while, have as many as are good to have; return when to call again, in seconds.

        Those that had a run go then, as new ones share their memory with us. Without control groups there are none: a
        fork at the time is as good.
        """
        quiet_s = time.monotonic() - self._busy_at
        if quiet_s < _QUIET_S:
            return _QUIET_S
        used = [spare for spare in self._waiting if spare.used] if quiet_s >= _REST_S else []
        for spare in used:
            self._waiting.remove(spare)
            spare.channel.close()
        with contextlib.suppress(OSError):
            while self.parents and len(self._waiting) < _READY:
                self._waiting.insert(0, self._fork(self.parents))
        return _REST_S

    def room(self) -> int:
        """How many runs may be handed over now."""
        since = time.monotonic() - _YOUNG_S
        young = itertools.takewhile(lambda spare: spare.handed_at > since, reversed(self._busy.values()))
        return YOUNG_MAX - sum(1 for _ in young)

    def hand_over(self, plan: Plan, lock: int) -> int:
        """Give a run to a spare; return its process number. It holds the run's `lock` too then. Raises OSError."""
        body = json.dumps(plan, separators=(",", ":")).encode()
        self._busy_at = now = time.monotonic()
        while True:
            spare = self._waiting.pop() if self._waiting else self._fork(plan["cgroup"])
            try:
                if spare.parents != plan["cgroup"]:
                    spare.channel.close()
                    continue
                rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [lock]))
                spare.channel.sendmsg([_HEAD.pack(len(body))], [rights])
                spare.channel.sendall(body)
            except (BrokenPipeError, ConnectionResetError):
                spare.channel.close()  # that one was killed
            else:
                spare.handed_at = now
                self._busy[spare.channel] = spare
                self._watch(spare.channel)
                return spare.pid

    def is_one(self, channel: socket.socket) -> bool:
        """Whether a channel leads to a supervisor that has a run."""
        return channel in self._busy

    def back(self, channel: socket.socket) -> None:
        """A supervisor that had a run said that it is ready for another one, or went."""
        spare = self._busy.pop(channel)
        self._unwatch(channel)
        try:
            name = channel.recv(_NAME_BYTES_MAX)
        except OSError:
            name = b""
        if name:
            spare.group, spare.used = Group(spare.parents, name.decode()), True
        if name and len(self._waiting) < _READY_MAX:
            self._waiting.append(spare)
        else:
            channel.close()

    def reap(self) -> None:
        """Take note of supervisors that ended, and delete their groups."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, _ = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                spare = self._all.pop(pid, None)
                if spare:
                    spare.group.remove()

    def dismiss(self) -> None:
        """Let those that wait go, and see them and their groups off; those that have a run go on.

        Who asks a launcher to retire waits for its end, and finds nothing of it that comes into being later.
        """
        for spare in self._waiting:
            spare.channel.close()
        end = time.monotonic() + _GONE_S
        while time.monotonic() < end and any(spare.pid in self._all for spare in self._waiting):
            self.reap()
            time.sleep(0.002)

    def _fork(self, parents: dict[str, str]) -> _Spare:
        self._count += 1
        group = Group(parents, f"{os.getpid()}-{self._count}")
        ours, theirs = socket.socketpair()
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            raise
        if pid == 0:
            try:
                ours.close()
                for spare in (*self._waiting, *self._busy.values()):
                    spare.channel.close()
                self._close_for_child()
                _serve(theirs, group)
            finally:
                os._exit(70)
        theirs.close()
        spare = self._all[pid] = _Spare(pid, ours, parents, group)
        return spare


def _serve(channel: socket.socket, group: Group) -> NoReturn:
    """Move into the group, wait for a run, supervise it; again, as long as that leaves nothing behind."""
    wake = make_ready()
    first = group.name
    _enter(group)
    for number in range(1, RUNS_MAX + 1):
        plan, lock = _take(channel)
        clean = supervise(plan, group, wake)
        os.close(lock)
        if not clean or not group or number == RUNS_MAX:
            break
        before, group = group, Group(plan["cgroup"], f"{first}-{number}")
        _enter(group)
        before.remove()
        _say_ready(channel, group)
    os._exit(0)


def _enter(group: Group) -> None:
    for attempt in range(1, _ENTER_TRIES + 1):
        try:
            group.enter()
        except OSError as error:  # somebody swept it away before we were in it
            if attempt == _ENTER_TRIES:
                print(f"a control group could not be entered: {error}", file=sys.stderr)  # noqa: T201 - goes to the launcher's log
                os._exit(71)
        else:
            return


def _say_ready(channel: socket.socket, group: Group) -> None:
    try:
        channel.sendall(group.name.encode())
    except OSError:
        os._exit(0)  # the launcher went


def _take(channel: socket.socket) -> tuple[Plan, int]:
    """Wait for a run; return its plan and the descriptor that holds its lock."""
    head, rights, _, _ = channel.recvmsg(_HEAD.size, socket.CMSG_SPACE(4))
    if len(head) < _HEAD.size or not rights:
        os._exit(0)  # the launcher went
    lock = array.array("i", rights[0][2][:4])[0]
    fcntl.fcntl(lock, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    size = _HEAD.unpack(head)[0]
    body = bytearray()
    while len(body) < size:
        data = channel.recv(size - len(body))
        if not data:
            os._exit(
                0
            )  # the launcher was killed in the middle: the lock goes with us, and the run counts as lost
        body += data
    return cast("Plan", json.loads(body)), lock
