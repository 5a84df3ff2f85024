"""After the store was put back from a backup: peers and the engine are asked what they know that it does not.

Nothing goes abroad, and nothing that is older than the restore is placed at all, until every peer has said of every
such workload that it runs nothing of it that home does not know, and which epoch is the highest that it knows. Then one
event raises the epochs above all of them. Who has answered is not kept: a new life asks again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tawtin.model.events import EpochsRaised, RecallWaived, StoreRestored
from tawtin.model.ids import made_ms, run_id, workload_of
from tawtin.model.roaming import PeerState, Recall

if TYPE_CHECKING:
    from tawtin.core.handshake.move import Move
    from tawtin.model.roaming import FromVisited, Recalled
    from tawtin.model.workload import Workload
    from tawtin.runtime.roaming.post import Post

ASKED_MAX: Final = 100
"""Of so many workloads a peer is asked at a time."""
ANSWERS: Final = (PeerState.ACTIVE, PeerState.LEAVING)
INCARNATION_BITS: Final = 64


class Recalling:
    """What has been asked, and answered, since this life began."""

    def __init__(self, post: Post) -> None:
        self.post = post
        self._answers: dict[str, dict[str, int]] = {}
        """By peer: workload -> the highest epoch that it knows."""

    def begin(self, by: str, why: str) -> None:
        """The store was put back: from here on it has a new incarnation."""
        incarnation = f"{self.post.entropy.bits(INCARNATION_BITS):016x}"
        self.post.alarm(f"the store was put back from a backup ({by}: {why}); peers are asked what they know")
        self._answers.clear()
        for peer in self.post.factory.state.peers:
            self.post.forget(f"recall {peer}")
        self.post.factory.stage(StoreRestored(incarnation=incarnation, by=by, why=why))

    def suspect(self, sender: str, message: FromVisited, move: Move) -> None:
        """A peer speaks of an epoch that this store never gave out. Remains of an earlier restore are no news."""
        state, now_ms = self.post.factory.state, self.post.factory.now_ms()
        at_ms = made_ms(message.workload)
        if self.post.recalls or at_ms is None or at_ms > now_ms:
            return
        known, restored = message.workload in state.workloads, state.restored
        if not known and restored is not None and at_ms <= restored.at_ms:
            return
        self.begin(sender, move.alarm)

    def waive(self, peer: str, by: str, why: str) -> None:
        """A person says that this peer will never answer."""
        self.post.factory.stage(RecallWaived(peer=peer, by=by, why=why))

    def silent(self) -> tuple[str, ...]:
        """The peers whose answers are waited for."""
        wanted = self._wanted()
        return tuple(peer for peer in self._peers() if self._missing(peer, wanted))

    def hear(self, peer: str, message: Recalled) -> None:
        """Take in what a peer knows."""
        if not self.post.recalls:
            return
        workload = self.post.factory.state.workloads.get(message.workload)
        if workload is None or message.epoch != workload.epoch_last + 1:
            return
        run = self.post.factory.state.runs.get(run_id(message.workload, message.epoch - 1))
        if run is not None and run.factory == peer and message.receipt is not None:
            return  # its files are on their way here: it is asked again
        self._answers.setdefault(peer, {})[message.workload] = message.highest
        asked = f"recall {peer}"
        if len(self._answers[peer]) % ASKED_MAX == 0:
            self.post.forget(asked)

    def due(self) -> None:
        """Ask who has not answered; raise the epochs once all have, and nothing runs here that is not recorded."""
        if not self.post.recalls:
            return
        wanted, silent = self._wanted(), False
        for peer in self._peers():
            missing = self._missing(peer, wanted)
            silent = silent or bool(missing)
            asked = f"recall {peer}"
            if missing and self.post.is_due(asked):
                self.post.outbox.extend(
                    (peer, Recall(workload=each.id, epoch=each.epoch_last + 1))
                    for each in missing[:ASKED_MAX]
                )
                self.post.pause(asked)
        if not silent:
            self._raise(wanted)

    def next_due_ms(self) -> int | None:
        """The earliest time by our monotonic clock at which `due` has something to do."""
        if not self.post.recalls:
            return None
        times = [self.post.due_ms(f"recall {peer}") for peer in self.silent()]
        return min(times, default=0)

    def _peers(self) -> list[str]:
        restored, peers = self.post.factory.state.restored, self.post.factory.state.peers
        waived = restored.waived if restored is not None else ()
        return [name for name in sorted(peers) if peers[name].state in ANSWERS and name not in waived]

    def _wanted(self) -> list[Workload]:
        state = self.post.factory.state
        return [each for each in state.workloads.values() if state.is_recalled(each)]

    def _missing(self, peer: str, wanted: list[Workload]) -> list[Workload]:
        answered = self._answers.get(peer, {})
        return [each for each in wanted if each.id not in answered]

    def _raise(self, wanted: list[Workload]) -> None:
        """Go on, above every epoch that anybody knows."""
        if self.post.unrecorded():
            return
        highest: dict[str, int] = {}
        for run in self.post.started():
            epoch = run.rpartition(".")[2]
            name = workload_of(run)
            highest[name] = max(highest.get(name, 0), int(epoch) if epoch.isdecimal() else 0)
        for answered in self._answers.values():
            for name, epoch in answered.items():
                highest[name] = max(highest.get(name, 0), epoch)
        raised = {each.id: highest[each.id] for each in wanted if highest.get(each.id, 0) > each.epoch_last}
        self.post.factory.stage(EpochsRaised(epochs=raised))
        self._answers.clear()
