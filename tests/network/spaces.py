"""Network namespaces joined by a relay in user space: packets are delayed, lost, cut and let through again.

Each namespace has a TUN device; whatever a process in it sends arrives here as an IP packet, and is written to the
device of the namespace that it is for, half a round trip later. Delays are medians that were measured between the
countries over the public internet (milliseconds, round trip). Needs root, and a kernel with namespaces and TUN.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import threading
import time
from typing import Final

RTT_MS: Final = {
    ("ZA", "MA"): 222, ("ZA", "EG"): 209, ("ZA", "KE"): 202, ("ZA", "NG"): 110, ("MA", "EG"): 110,
    ("MA", "KE"): 224, ("MA", "NG"): 161, ("EG", "KE"): 216, ("EG", "NG"): 258, ("KE", "NG"): 228,
}  # fmt: skip
CLONE_NEWNET: Final = 0x40000000
TUNSETIFF: Final = 0x400454CA
IFF_TUN_NO_PI: Final = 0x0001 | 0x1000
PACKET_BYTES: Final = 65_536


def rtt_ms(here: str, there: str) -> int:
    return RTT_MS.get((here, there)) or RTT_MS[there, here]


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=20)


def possible() -> bool:
    """Whether this machine lets us make namespaces with TUN devices."""
    try:
        spaces = Spaces(("ZZ",))
    except (OSError, subprocess.SubprocessError):
        return False
    spaces.close()
    return True


class Spaces:
    """One namespace for each country."""

    def __init__(self, countries: tuple[str, ...], seed: int = 1) -> None:
        self.countries = countries
        self.names = {country: f"tawtin-{os.getpid()}-{country.lower()}" for country in countries}
        self.cut: set[tuple[str, str]] = set()
        """(from, to): packets that way are dropped."""
        self.loss = 0.0
        self.carried = 0
        self.dropped = 0
        self._random = random.Random(seed)
        self._devices: dict[str, int] = {}
        self._ends, self._end = os.pipe()
        try:
            for number, country in enumerate(countries, 1):
                self._make(country, number)
        except BaseException:
            self._remove()
            raise
        self._thread = threading.Thread(target=self._relay, daemon=True)
        self._thread.start()

    def address(self, country: str) -> str:
        return f"10.77.0.{self.countries.index(country) + 1}"

    def inside(self, country: str) -> tuple[str, ...]:
        """What is put before a command to run it there."""
        return ("ip", "netns", "exec", self.names[country])

    def set_cut(self, country: str, *, cut: bool) -> None:
        """Cut a country off, both ways, from all others; or heal that."""
        for other in self.countries:
            if other != country:
                for way in ((country, other), (other, country)):
                    (self.cut.add if cut else self.cut.discard)(way)

    def close(self) -> None:
        os.write(self._end, b"x")
        self._thread.join(10)
        self._remove()

    def _make(self, country: str, number: int) -> None:
        name = self.names[country]
        _run("ip", "netns", "add", name)
        opened: list[int | OSError] = []
        opener = threading.Thread(target=lambda: opened.append(_tun_in(name)))
        opener.start()
        opener.join()
        device = opened[0]
        if isinstance(device, OSError):
            raise device
        self._devices[country] = device
        for words in (
            ("link", "set", "lo", "up"),
            ("addr", "add", f"10.77.0.{number}/24", "dev", "tun0"),
            ("link", "set", "tun0", "mtu", "1400", "up"),
        ):
            _run("ip", "-n", name, *words)

    def _remove(self) -> None:
        for device in (*self._devices.values(), self._ends, self._end):
            os.close(device)
        for name in self.names.values():
            subprocess.run(("ip", "netns", "del", name), check=False, capture_output=True, timeout=20)

    def _relay(self) -> None:
        """Carry packets until something is written to the pipe."""
        by_device = {device: country for country, device in self._devices.items()}
        under_way: list[tuple[float, int, str, str, bytes]] = []
        poll = select.poll()
        for device in (self._ends, *by_device):
            poll.register(device, select.POLLIN)
        number = 0
        while True:
            wait = max(0.0, under_way[0][0] - time.monotonic()) * 1000 if under_way else None
            for device, _ in poll.poll(wait):
                if device == self._ends:
                    return
                packet = os.read(device, PACKET_BYTES)
                here, there = by_device[device], self._meant_for(packet)
                if there is None or there == here:
                    continue
                number += 1
                due = time.monotonic() + rtt_ms(here, there) / 2000
                heapq.heappush(under_way, (due, number, here, there, packet))
            while under_way and under_way[0][0] <= time.monotonic():
                _, _, here, there, packet = heapq.heappop(under_way)
                if (here, there) in self.cut or self._random.random() < self.loss:
                    self.dropped += 1
                    continue
                self.carried += 1
                os.write(self._devices[there], packet)

    def _meant_for(self, packet: bytes) -> str | None:
        if len(packet) < 20 or packet[0] >> 4 != 4 or packet[16:19] != bytes((10, 77, 0)):
            return None
        number = packet[19]
        return self.countries[number - 1] if 1 <= number <= len(self.countries) else None


def _tun_in(name: str) -> int | OSError:
    """A TUN device in a namespace. The thread that calls this stays in there, and is to end."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        space = os.open(f"/var/run/netns/{name}", os.O_RDONLY)
        try:
            if libc.setns(space, CLONE_NEWNET) != 0:
                return OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(space)
        device = os.open("/dev/net/tun", os.O_RDWR)
        try:
            fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", b"tun0", IFF_TUN_NO_PI))
        except OSError:
            os.close(device)
            raise
    except OSError as error:
        return error
    return device
