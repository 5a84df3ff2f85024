"""Which files of a factory cross borders, with what right, and what waits for them.

A guest is handed to the engine once its inputs are here. A result that has outputs is taken in once they are here, or
cannot be had. Home gives inputs only to the peer that has the epoch, and only while the verdict stands.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from tawtin.model.events import FilesCrossed, StopOrdered
from tawtin.model.ids import run_id
from tawtin.model.reasons import Cause
from tawtin.model.roaming import Guest, Side, receipt_bytes, receipt_digest
from tawtin.model.workload import Outcome, inputs_of
from tawtin.ports import TransportError
from tawtin.runtime.carriage import Broken, Load
from tawtin.runtime.errors import NotFound
from tawtin.runtime.roaming.asking import Fetched

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

    from tawtin.model.roaming import Complete, FileAsk, Peer, Piece
    from tawtin.model.workload import Run
    from tawtin.ports import RunOrder
    from tawtin.runtime.carriage import Brought, Carriage
    from tawtin.runtime.factory import Factory

log = logging.getLogger("tawtin.freight")


class Freight:
    """The transfers of one factory, over all lives of its state in this process."""

    def __init__(self, carriage: Carriage) -> None:
        """Use `carriage`; nothing happens before `attach`."""
        self.carriage = carriage
        self.factory: Factory
        self._ready: set[str] = set()
        """Guests whose inputs are here."""
        self._fetched: dict[tuple[str, str], Fetched] = {}
        """By run and digest of the receipt: what a result's outputs came to."""
        self._arrived_ms: dict[str, int] = {}
        self._given: set[str] = set()
        """Runs whose files were recorded as leaving, in this process."""
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def attach(self, factory: Factory) -> None:
        """Serve this state machine from now on."""
        self.factory = factory
        if factory.roaming is not None:
            factory.roaming.asking.fetch = self.fetch
            factory.roaming.asking.arrived_ms = self._arrived_ms.get

    async def close(self) -> None:
        """End all transfers; what has arrived is used the next time."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    # --- inputs of guests -----------------------------------------------------------------------------------------

    def hold(self, orders: Iterable[RunOrder]) -> tuple[RunOrder, ...]:
        """Return the orders that can start, and have the files of the others brought."""
        state = self.factory.state
        self._ready &= state.runs.keys()
        can: list[RunOrder] = []
        for order in orders:
            guest = state.guests.get(state.guest_of.get(order.workload, ""))
            wanted = inputs_of(order.spec)
            if guest is None or not wanted or order.run in self._ready:
                can.append(order)
            else:
                self._begin(order.run, self._bring_inputs(order.run, guest, wanted))
        return tuple(can)

    async def _bring_inputs(self, run: str, guest: Guest, wanted: tuple[str, ...]) -> None:
        load = Load(workload=guest.workload, epoch=guest.epoch, side=Side.INPUT, artifacts=wanted)
        try:
            brought = await self.carriage.bring(
                lambda: self._peer_of(run, guest.home, stopping=False), load, _nothing
            )
        except TransportError:
            return  # it was stopped meanwhile
        except Broken as error:
            log.warning("run %s does not start: %s", run, error)
            if self._peer_of(run, guest.home, stopping=False) is not None:
                self.factory.stage(StopOrdered(run=run, cause=Cause.START_FAILED))
            return
        self._came(run, guest.home, wanted, brought)
        self._ready.add(run)
        record = self.factory.state.runs.get(run)
        if record is not None:
            self.factory.tell_again(record)

    # --- outputs of our own ---------------------------------------------------------------------------------------

    def fetch(self, peer: str, message: Complete) -> Fetched | None:
        """What the outputs of a result came to; None while they are on their way. `asking` asks it."""
        state = self.factory.state
        signed = message.receipt
        run = state.runs.get(run_id(message.workload, message.epoch))
        if run is None or run.factory != peer or peer not in state.peers:
            return Fetched()  # the handshake says what that is
        workload = state.workloads[run.workload]
        if message.outcome is not Outcome.FINISHED or not signed.receipt.outputs:
            return Fetched()
        signer = self.factory.roaming.post.signer if self.factory.roaming is not None else None
        if signer is None or not signer.verify(
            state.peers[peer].key, receipt_bytes(signed.receipt), signed.signature
        ):
            return Fetched({each.name: "its receipt is not signed" for each in signed.receipt.outputs})
        if not state.verdict(workload, state.site, self.factory.now_ms()).allowed:
            return Fetched()  # they stay where they are, see `Factory.kept`
        key = (run.id, receipt_digest(signed.receipt))
        if key in self._fetched:
            return self._fetched.pop(key)
        self._begin(run.id, self._bring_outputs(run, message, key))
        return None

    async def _bring_outputs(self, run: Run, message: Complete, key: tuple[str, str]) -> None:
        found: dict[str, str] = {}
        for kept in message.receipt.receipt.outputs:
            load = Load(
                workload=message.workload, epoch=message.epoch, side=Side.OUTPUT, artifacts=(kept.artifact,)
            )
            try:
                brought = await self.carriage.bring(
                    lambda: self._peer_of(run.id, run.factory), load, lambda: self._moved(run.id)
                )
            except TransportError:
                return  # the epoch was closed otherwise
            except Broken as error:
                found[kept.name] = str(error)
            else:
                self._came(run.id, run.factory, (kept.artifact,), brought)
        self._fetched[key] = Fetched(found)
        self._tasks.pop(run.id, None)
        roaming = self.factory.roaming
        if roaming is not None and not roaming.needs(run.factory, message):
            roaming.hear(run.factory, message, {})
        self._arrived_ms.pop(run.id, None)

    # --- giving ---------------------------------------------------------------------------------------------------

    async def give(
        self, sender: str, ask: FileAsk, guest: Guest | None, durable: Callable[[], Awaitable[None]]
    ) -> Piece:
        """A piece of a file for a peer. `guest` is the record that it has here under this name. Raises NotFound."""
        if ask.side is Side.OUTPUT:
            run, wanted, rule = self._outputs_for(guest)
        else:
            run, wanted, rule = self._inputs_for(sender, run_id(ask.workload, ask.epoch))
        if not wanted:
            msg = f"no files of epoch {ask.epoch} of `{ask.workload}` are for you here"
            raise NotFound(msg)
        if run not in self._given:
            country = self.factory.state.peers[sender].country
            for artifact, size in wanted.items():
                crossed = FilesCrossed(
                    run=run,
                    artifact=artifact,
                    peer=sender,
                    country=country,
                    sent=True,
                    size_bytes=size,
                    rule=rule,
                )
                self.factory.stage(crossed)
            await durable()
            self._given.add(run)
        return await self.carriage.give(ask, wanted)

    def _inputs_for(self, sender: str, name: str) -> tuple[str, dict[str, int], str]:
        state = self.factory.state
        run = state.runs.get(name)
        if run is None or run.factory != sender or run.stop is not None:
            return "", {}, ""
        workload = state.workloads[run.workload]
        said = state.verdict(workload, state.sites[sender], self.factory.now_ms())
        if not said.allowed:
            return "", {}, ""
        held = ((each, state.artifacts.get((run.tenant, each))) for each in inputs_of(workload.spec))
        return name, {each: held.size_bytes if held else 0 for each, held in held}, said.rule

    def _outputs_for(self, guest: Guest | None) -> tuple[str, dict[str, int], str]:
        if guest is None or guest.receipt is None:
            return "", {}, ""
        outputs = guest.receipt.receipt.outputs
        return run_id(guest.local, 1), {each.artifact: each.size_bytes for each in outputs}, "home's own"

    # --- both -----------------------------------------------------------------------------------------------------

    def _peer_of(self, run: str, peer: str, *, stopping: bool = True) -> Peer | None:
        """The peer, as long as the run is live, and not `stopping` unless that does not matter."""
        record = self.factory.state.runs.get(run)
        wanted = record is not None and (stopping or record.stop is None)
        return self.factory.state.peers.get(peer) if wanted else None

    def _moved(self, run: str) -> None:
        self._arrived_ms[run] = self.factory.clock.monotonic_ms()

    def _came(self, run: str, peer: str, artifacts: Iterable[str], brought: Iterable[Brought]) -> None:
        """Record what came in."""
        known = self.factory.state.peers.get(peer)
        for artifact, each in zip(artifacts, brought, strict=True):
            self.factory.stage(
                FilesCrossed(
                    run=run,
                    artifact=artifact,
                    peer=peer,
                    country=known.country if known is not None else "",
                    sent=False,
                    size_bytes=each.moved_bytes,
                )
            )

    def _begin(self, run: str, transfer: Coroutine[None, None, None]) -> None:
        """One transfer a run at a time."""
        task = self._tasks.get(run)
        if task is not None and not task.done():
            transfer.close()
            return
        self._tasks = {name: each for name, each in self._tasks.items() if not each.done()}
        self._tasks[run] = asyncio.create_task(transfer)


def _nothing() -> None:
    """Nobody counts on when it arrives."""
