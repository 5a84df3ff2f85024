"""Supervisors in waiting: forked, and moved into a control group of their own, before there is a run for them.

Moving a process between control groups makes the kernel wait for all processors, some 20 ms. Several that move at the
same time wait once, so they are made in batches, and a run finds one ready. The standard library alone.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import socket
import struct
import sys
from collections.abc import Callable
from typing import Final, NoReturn, cast

from tawtin.engines.local.cgroups import Group
from tawtin.engines.local.orders import Plan
from tawtin.engines.local.supervisor import supervise

_LOW: Final = 4
_HIGH: Final = 8
_ENTER_TRIES: Final = 5
_HEAD: Final = struct.Struct(">I")


class Spares:
    """Supervisors without a run yet."""

    def __init__(self, close_for_child: Callable[[], None]) -> None:
        """`close_for_child` closes, in a forked process, what belongs to the launcher alone."""
        self.parents: dict[str, str] = {}
        """Where control groups are made; empty for none."""
        self._close_for_child = close_for_child
        self._waiting: list[tuple[int, socket.socket, dict[str, str]]] = []
        self._groups: dict[int, Group] = {}
        self._count = 0

    def refill(self) -> None:
        """Have enough of them, if there are control groups; without, a fork at the time is as good."""
        if not self.parents or len(self._waiting) > _LOW:
            return
        while len(self._waiting) < _HIGH:
            try:
                self._waiting.append(self._fork(self.parents))
            except OSError:
                return

    def hand_over(self, plan: Plan, lock: int) -> int:
        """Give a run to a spare; return its process number. It holds the run's `lock` too then. Raises OSError."""
        body = json.dumps(plan, separators=(",", ":")).encode()
        while True:
            pid, channel, parents = self._waiting.pop(0) if self._waiting else self._fork(plan["cgroup"])
            try:
                if parents != plan["cgroup"]:
                    continue
                rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [lock]))
                channel.sendmsg([_HEAD.pack(len(body))], [rights])
                channel.sendall(body)
            except (BrokenPipeError, ConnectionResetError):
                continue  # that one was killed
            else:
                return pid
            finally:
                channel.close()

    def reap(self) -> None:
        """Take note of supervisors that ended, and delete their groups."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, _ = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                group = self._groups.pop(pid, None)
                if group:
                    group.remove()

    def _fork(self, parents: dict[str, str]) -> tuple[int, socket.socket, dict[str, str]]:
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
                for _, channel, _ in self._waiting:
                    channel.close()
                self._close_for_child()
                _wait(theirs, group)
            finally:
                os._exit(70)
        theirs.close()
        if group:
            self._groups[pid] = group
        return pid, ours, parents


def _wait(channel: socket.socket, group: Group) -> NoReturn:
    """Move into the group, wait for a run, supervise it."""
    for attempt in range(1, _ENTER_TRIES + 1):
        try:
            group.enter()
            break
        except OSError as error:  # somebody swept it away before we were in it
            if attempt == _ENTER_TRIES:
                print(f"a control group could not be entered: {error}", file=sys.stderr)  # noqa: T201 - goes to the launcher's log
                os._exit(71)
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
    channel.close()
    supervise(cast("Plan", json.loads(body)), group)
