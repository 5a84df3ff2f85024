"""Mistakes of the handshake, planted one at a time in the real code. Each is found by the ordinary auditor.

The numbers are those of the model in docs/protocol.md, where each mistake was found to break a predicate as well.
"""

# what is planted takes whatever the plain part takes, so that its arguments have no types here
# pyright: reportUnknownLambdaType=none, reportUnknownArgumentType=none, reportUnknownMemberType=none
# pyright: reportUnknownVariableType=none, reportUnknownParameterType=none
from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace as changed
from typing import Any

import pytest
from msgspec.structs import replace

from tawtin.core import fold as folding
from tawtin.core.handshake import home as homes
from tawtin.core.handshake import timing, visited
from tawtin.core.handshake.move import Move
from tawtin.model.events import GuestPut, RunFenced, StopOrdered
from tawtin.model.reasons import Cause
from tawtin.model.roaming import Commit, Complete, GuestState, receipt_bytes
from tawtin.model.workload import CloseKind, OnPartition, Outcome, RunState, SignedReceipt, Usage
from tawtin.ports import Report
from tawtin.runtime.roaming import Roaming
from tawtin.runtime.roaming.asking import Asking
from tawtin.runtime.roaming.lending import Lending
from tawtin.runtime.simulate.network import NetworkFailed, Predicate, simulate_network
from tawtin.runtime.simulate.network.site import NetPlane

Patch = pytest.MonkeyPatch
SEEDS_MAX = 300
P = Predicate
EXECUTION = {P.P1, P.P2, P.P4, P.P5, P.P6, P.P7, P.P9}
MONEY = {P.P8}
LIVENESS = {P.L1, P.L2, P.L3}


def m1(patch: Patch) -> None:
    patch.setattr(timing, "wait_ms", lambda lease_ms, **_: lease_ms)


def m4(patch: Patch) -> None:
    plain = Asking.resume

    def resume(self: Asking) -> None:
        plain(self)
        self._waits = dict.fromkeys(self._waits, 0)

    patch.setattr(Asking, "resume", resume)


def m5(patch: Patch) -> None:
    plain = NetPlane.take

    def take(self: NetPlane) -> None:
        plain(self)
        for peer, message in self.inflight.effects.send if self.inflight else ():
            if isinstance(message, Commit):
                self.send(peer, message)

    patch.setattr(NetPlane, "take", take)


def m6(patch: Patch) -> None:
    plain = NetPlane.take

    def take(self: NetPlane) -> None:
        plain(self)
        for order in self.inflight.effects.ensure if self.inflight else ():
            if order.workload.startswith("gw-"):
                self.site_sim.host.start(order, 0)

    patch.setattr(NetPlane, "take", take)


def m7(patch: Patch) -> None:
    plain = Asking.hear

    def hear(self: Asking, peer: Any, message: Any, rows: Any) -> None:
        workload = self.post.factory.state.workloads.get(message.workload)
        if isinstance(message, Complete) and workload is not None:
            run = self.post.factory.state.runs.get(f"{workload.id}.{workload.epoch}")
            if run is not None and run.factory == peer.name:
                message = replace(message, epoch=workload.epoch)
        plain(self, peer, message, rows)

    patch.setattr(Asking, "hear", hear)


def m8(patch: Patch) -> None:
    plain, numbers = visited._commit, itertools.count()
    names = visited.local_id

    def commit(side: visited.Visited, message: Commit, home: str, build: Any) -> Move:
        if side.guest is None:
            return plain(side, message, home, build)
        if side.guest.receipt is not None or side.held.reservation is None:
            return plain(side, message, home, build)
        return plain(changed(side, guest=None), message, home, build)

    def kept(*given: Any) -> Move:
        return changed(commit(*given), drop=False)

    patch.setattr(visited, "_commit", kept)
    patch.setattr(visited, "local_id", lambda home, message: f"{names(home, message)}{next(numbers) // 2}")


def m9(patch: Patch) -> None:
    plain = homes._complete

    def complete(home: homes.Home, run: Any, roam: Any, message: Complete) -> Move:
        move = plain(home, run, roam, message)
        if not homes.is_open(run) and roam.billed:
            return Move(events=(RunFenced(run=run),), send=move.send)
        return move

    patch.setattr(homes, "_complete", complete)
    patch.setitem(folding._FOLDS, RunFenced, lambda state, event, _at: folding._charge(state, event.run))


def m10(patch: Patch) -> None:
    plain = visited._stop

    def stop(side: visited.Visited, message: Any) -> Move:
        return changed(plain(side, message), drop=False)

    patch.setattr(visited, "_stop", stop)


def m11(patch: Patch) -> None:
    def stop(self: Asking, run: Any) -> None:
        ended = homes.closed(run, CloseKind.CANCELLED, Cause.CANCELLED, self.post.factory.now_ms())
        self.post.factory.stage(replace(ended, outcome=Outcome.CANCELLED))

    patch.setattr(Asking, "stop", stop)


def m12(patch: Patch) -> None:
    plain = visited._commit

    def commit(side: visited.Visited, message: Commit, home: str, build: Any) -> Move:
        held = side.held.reservation
        if held is not None and held.epoch == message.epoch:
            message = replace(message, resv=held.resv)
        return plain(side, message, home, build)

    patch.setattr(visited, "_commit", commit)


def _forgets(patch: Patch, state: GuestState) -> None:
    """The record goes as soon as it has come so far."""
    plain = Lending.due

    def due(self: Lending) -> None:
        plain(self)
        mine = self.post.factory.state
        for key, guest in list(mine.guests.items()):
            if guest.state is state and not self.post.factory.staged:
                mine.guests.pop(key)
                mine.guest_of.pop(guest.local, None)
                mine.changed["guest", key] = None
                self.post.factory._forget.append("nothing")

    patch.setattr(Lending, "due", due)


def m13(patch: Patch) -> None:
    _forgets(patch, GuestState.DONE)


def m14(patch: Patch) -> None:
    plain = Asking.due

    def due(self: Asking) -> None:
        plain(self)
        factory = self.post.factory
        for run in list(factory.state.runs.values()):
            late = factory.now_ms() - run.placed_ms > 4_000
            if run.roam is not None and run.id not in self._known and late:
                factory.stage(homes.closed(run, CloseKind.RELEASED, Cause.NOT_HELD, factory.now_ms()))

    patch.setattr(Asking, "due", due)


def m15(patch: Patch) -> None:
    plain = Lending.due

    def due(self: Lending) -> None:
        plain(self)
        factory = self.post.factory
        for guest in list(factory.state.guests.values()):
            run = self._run_of(guest)
            if run is not None and run.state is RunState.PLACED and factory.now_ms() - run.placed_ms > 2_000:
                factory.report(
                    Report(
                        run=run.id,
                        ended_ms=factory.now_ms(),
                        outcome=Outcome.INTERRUPTED,
                        cause=Cause.SUPERVISOR_LOST,
                        usage=Usage(),
                    )
                )

    patch.setattr(Lending, "due", due)


def m16(patch: Patch) -> None:
    plain = Lending.due

    def due(self: Lending) -> None:
        plain(self)
        factory = self.post.factory
        for run in list(factory.state.runs.values()):
            over = self.fuses.get(run.id, 1 << 62) <= self.post.tick_ms()
            if over and run.stop is None:
                factory.stage(StopOrdered(run=run.id, cause=Cause.LEASE_EXPIRED))

    patch.setattr(Lending, "due", due)
    patch.setattr(Roaming, "fuse_ms", lambda self, run: None)


def m19(patch: Patch) -> None:
    plain = homes._complete

    def complete(home: homes.Home, run: Any, roam: Any, message: Complete) -> Move:
        if homes.is_open(run) or roam.receipt is not None:
            return plain(home, run, roam, message)
        signature = home.sign(receipt_bytes(message.receipt.receipt))
        kept = replace(roam, receipt=message.receipt, countersignature=signature)
        move = plain(home, replace(run, roam=kept), kept, message)
        return Move(events=(RunFenced(run=replace(run, roam=kept)),), send=move.send)

    patch.setattr(homes, "_complete", complete)
    patch.setitem(
        folding._FOLDS,
        RunFenced,
        lambda state, event, _at: state.changed.__setitem__(("run", event.run.id), event.run),
    )


def _any_guest(patch: Patch) -> None:
    patch.setitem(folding._FOLDS, GuestPut, lambda state, event, _at: folding._put(state, event.guest))


def m20(patch: Patch) -> None:
    plain = visited._stop

    def stop(side: visited.Visited, message: Any) -> Move:
        guest = side.guest
        if guest is not None and guest.receipt is not None and guest.state is GuestState.DONE:
            other = replace(guest.receipt.receipt, outcome=Outcome.CANCELLED)
            worse = replace(guest, receipt=SignedReceipt(receipt=other, signature=""))
            return Move(events=(GuestPut(guest=worse),), send=visited.repeat(worse))
        return plain(side, message)

    patch.setattr(visited, "_stop", stop)
    _any_guest(patch)


def m21(patch: Patch) -> None:
    plain = visited.ended

    def ended(guest: Any, run: Any, event: Any, name: str, sign: Callable[[bytes], str]) -> Any:
        done = plain(guest, run, event, name, sign)
        return replace(done, countersignature="posted")

    patch.setattr(visited, "ended", ended)


def m24(patch: Patch) -> None:
    plain = homes._renew

    def renew(home: homes.Home, run: Any, roam: Any, message: Any) -> Move:
        return changed(plain(home, run, roam, message), granted=False)

    patch.setattr(homes, "_renew", renew)


def m27(patch: Patch) -> None:
    plain = visited._settle

    def settle(side: visited.Visited, guest: Any, receipt: Any, message: Any) -> Move:
        if guest.state is GuestState.SETTLED:
            return plain(side, replace(guest, state=GuestState.ACKED), receipt, message)
        return plain(side, guest, receipt, message)

    patch.setattr(visited, "_settle", settle)
    _any_guest(patch)


def m28(patch: Patch) -> None:
    _forgets(patch, GuestState.ACKED)


def m101(patch: Patch) -> None:
    plain = visited._commit

    def commit(*given: Any) -> Move:
        move = plain(*given)
        return move if move.events or not isinstance(move.send[0], visited.NotHeld) else Move(drop=move.drop)

    patch.setattr(visited, "_commit", commit)


def m103(patch: Patch) -> None:
    plain = Lending._look_for_room

    def look(self: Lending, peer: Any, held: Any, message: Any) -> Move:
        move = plain(self, peer, held, message)
        if held.reservation is not None:
            held.reservation = changed(held.reservation, until_ms=1 << 62)
        return move

    patch.setattr(Lending, "_look_for_room", look)


RERUN, WAIT = OnPartition.RERUN.value, OnPartition.WAIT.value
WEATHER: dict[Callable[[Patch], None], dict[str, int]] = {
    m10: {"delay_ms": 3_000, "cancel_percent": 30},
    m12: {"delay_ms": 12_000, "twice": 80},
}
"""What makes a mistake more likely to matter; without a mistake these histories hold as well."""
MUTANTS: list[tuple[Callable[[Patch], None], str, set[Predicate]]] = [
    (m1, RERUN, EXECUTION), (m4, RERUN, EXECUTION),
    (m5, "", EXECUTION), (m6, "", EXECUTION), (m7, RERUN, EXECUTION | MONEY), (m8, "", EXECUTION), (m9, "", MONEY),
    (m10, "", EXECUTION), (m11, "", EXECUTION), (m12, "", EXECUTION), (m13, "", EXECUTION | LIVENESS),
    (m14, "", EXECUTION), (m15, "", EXECUTION), (m16, RERUN, EXECUTION), (m19, RERUN, MONEY),
    (m20, "", {P.P3, P.P5, P.P8}), (m21, "", MONEY), (m24, RERUN, EXECUTION), (m27, "", MONEY), (m28, "", LIVENESS),
    (m101, "", LIVENESS), (m103, "", LIVENESS),
]  # fmt: skip


@pytest.mark.parametrize("weather", WEATHER.values(), ids=[plant.__name__.upper() for plant in WEATHER])
def test_without_a_mistake_the_same_weather_is_survived(weather: dict[str, int]):
    for seed in range(10):
        simulate_network(seed, weather=weather)


@pytest.mark.parametrize(
    ("plant", "bias", "want"), MUTANTS, ids=[plant.__name__.upper() for plant, _, _ in MUTANTS]
)
@pytest.mark.timeout(300)
def test_a_planted_mistake_is_found(
    plant: Callable[[Patch], None],
    bias: str,
    want: set[Predicate],
    monkeypatch: Patch,
    capsys: pytest.CaptureFixture[str],
):
    plant(monkeypatch)
    for seed in range(SEEDS_MAX):
        try:
            simulate_network(seed, bias=bias, weather=WEATHER.get(plant))
        except NetworkFailed as failed:
            with capsys.disabled():
                print(f" {plant.__name__.upper()}: seed {seed}, {failed.predicate} ", end="", flush=True)
            found = failed
            break
    else:
        pytest.fail(f"not found in {SEEDS_MAX} histories")
    assert found.predicate in want, str(found)
