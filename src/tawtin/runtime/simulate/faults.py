"""What goes wrong, and how often: each seed has its own weather, so that some are full of one kind of fault."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tawtin.model.resources import Node
from tawtin.runtime.simulate.engine import EngineFaults

if TYPE_CHECKING:
    import random


def sites_nodes(source: random.Random) -> list[Node]:
    """A few machines, with GPUs or without."""
    nodes = [
        Node(
            name=f"gpu-{number}",
            gpu_model="H100" if number % 2 else "L40S",
            gpus=source.choice((1, 4, 8)),
            cpus_milli=source.choice((8_000, 64_000)),
            memory_mib=source.choice((16_384, 262_144)),
            disk_mib=100_000,
        )
        for number in range(1, source.randrange(2, 6))
    ]
    if source.randrange(2):
        nodes.append(Node(name="cpu-1", cpus_milli=16_000, memory_mib=65_536, disk_mib=100_000))
    return nodes


class Weather:
    """Chances, drawn once for a seed; `clear` ends all faults."""

    def __init__(self, source: random.Random) -> None:
        self.random = source
        self.begun = False
        """Before it, nothing goes wrong: a site must be set up once."""
        rare = (0, 0, 1, 3)
        self.crash_permille = source.choice((0, 5, 15, 40))
        """Between any two steps of the control plane."""
        self.commit_percent = source.choice((0, 0, 3, 10))
        """Of commits that go wrong in some way."""
        self.full_permille = source.choice((0, 0, 3))
        self.full_until_ms = 0
        self.lost_percent = source.choice((0, 5, 20))
        self.clock_permille = source.choice((0, 0, 5, 15))
        self.supervisor_permille = source.choice((0, 5, 20))
        self.host_permille = source.choice((0, 0, 2))
        self.node_permille = source.choice((0, 5, 20))
        self.engine = EngineFaults()
        for name in vars(self.engine):
            setattr(self.engine, name, source.choice((*rare, 15)))
        if source.randrange(4) == 0:
            # a control plane that never dies by itself: what only a restart would mend must be mended without one
            self.crash_permille = self.commit_percent = self.full_permille = self.host_permille = 0
            self.engine.refuse = 10

    def clear(self) -> None:
        """From now on nothing goes wrong."""
        self.crash_permille = self.commit_percent = self.full_permille = self.full_until_ms = 0
        self.lost_percent = self.clock_permille = self.supervisor_permille = 0
        self.host_permille = self.node_permille = 0
        for name in vars(self.engine):
            setattr(self.engine, name, 0)

    def permille(self, chance: int) -> bool:
        """Whether something of this chance happens now."""
        return chance > 0 and self.random.randrange(1000) < chance

    def commit(self, now_ms: int) -> str:
        """What happens to the next commit."""
        if not self.begun:
            return ""
        if now_ms < self.full_until_ms:
            return "full"
        if self.permille(self.full_permille):
            self.full_until_ms = now_ms + self.random.randrange(100, 8_000)
            return "full"
        if self.commit_percent and self.random.randrange(100) < self.commit_percent:
            return self.random.choice(("fails", "fails after", "dies", "dies after"))
        return ""

    def answer_lost(self) -> bool:
        """Whether the next answer does not reach its client."""
        return self.begun and self.lost_percent > 0 and self.random.randrange(100) < self.lost_percent
