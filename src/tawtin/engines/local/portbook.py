"""Which port each replica of a service has on this machine, whose network they share."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from collections.abc import Iterable
from typing import Final

import msgspec

from tawtin.engines.shared.folders import PlanError
from tawtin.ports import Report, RunOrder

HOST: Final = "127.0.0.1"
"""Where replicas are reached, and are told to listen."""


class PortBook:
    """Gives out ports that nobody listens at, in turn, so that one is not soon given to another replica."""

    def __init__(self, first: int, last: int) -> None:
        """Of `first` to `last`, both included."""
        self._first, self._last = first, last
        self._next = first
        self._held: dict[str, int] = {}
        self._lock = threading.Lock()

    def keep(self, run: str, port: int) -> None:
        """Note that a run has a port already."""
        with self._lock:
            if port:
                self._held[run] = port

    def place(self, order: RunOrder, open_runs: Iterable[str]) -> RunOrder:
        """The order of a replica with a port for it, and any other as it is. Raises PlanError."""
        service = order.spec.service
        if service is None:
            return order
        return msgspec.structs.replace(order, port=self._take(order.run, service.port, open_runs))

    def _take(self, run: str, wanted: int, open_runs: Iterable[str]) -> int:
        """A port for `run`: the one that its program listens at anyway (0 for none) if it is free, or the next one.

        What runs that are not open had is free again.
        """
        with self._lock:
            self._held = {each: self._held[each] for each in open_runs if each in self._held}
            taken = set(self._held.values())
            count = self._last - self._first + 1
            turn = (self._first + (self._next - self._first + step) % count for step in range(count))
            for port in (*((wanted,) if wanted else ()), *turn):
                if port not in taken and is_free(port):
                    self._held[run] = port
                    self._next = port + 1 if self._first <= port < self._last else self._first
                    return port
        raise PlanError(
            f"no port of {self._first} to {self._last} is free; end a service, or widen `local.ports_first` and "
            "`local.ports_last`"
        )

    def with_address(self, report: Report) -> Report:
        """The report of a run that began, with where it is reached if it has a port."""
        port = self._held.get(report.run)
        if port is None or report.started_ms is None:
            return report
        return msgspec.structs.replace(report, address=f"{HOST}:{port}")


def is_free(port: int) -> bool:
    """Whether nobody listens at `port` of this machine, at any of its addresses."""
    for family, host in ((socket.AF_INET, ""), (socket.AF_INET6, "::")):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family is socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                    return False
    return True
