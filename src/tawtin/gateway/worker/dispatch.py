"""What happens to a request for a model.

1. The snapshot knows the key, the model, and the replicas where this tenant's data of this class may be now.
2. The ledger holds the most that the request can come to, and has that on disk. If the lawful replicas are those of a
   service that rests or starts, the request waits for one.
3. The lawful replica that has seen its beginning gets it, unless it is busier than others; another one does if that
   fails before any of its answer, or takes long over it.
4. The answer passes through, no faster than the client reads.
5. The ledger is told what was used: by the replica's count, or by an estimate that is marked as one.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING, Final

import msgspec

from tawtin.core import hedge, route
from tawtin.gateway.ledger.messages import Denied, ReplicaState, Reserve
from tawtin.gateway.worker import meter
from tawtin.gateway.worker.ask import PATHS, Ask
from tawtin.gateway.worker.callers import caller_of, denied, now_ms
from tawtin.gateway.worker.catalogue import listed, no_model
from tawtin.gateway.worker.content import Contents
from tawtin.gateway.worker.course import Course, Outcome, settlement
from tawtin.gateway.worker.hold import Holds, NotInTime
from tawtin.gateway.worker.http import JSON, Problem
from tawtin.gateway.worker.link import LedgerAway
from tawtin.gateway.worker.meter import StreamMeter, TooLong
from tawtin.gateway.worker.places import Places, check_any, not_asked, places, waits, wish_of
from tawtin.gateway.worker.race import AGAIN, SSE, Arm, race
from tawtin.gateway.worker.redact import Redaction
from tawtin.gateway.worker.relay import Relay, relayed
from tawtin.gateway.worker.upstream import Pool, UpstreamFailed
from tawtin.model.ids import RANDOM_BITS, make_id

if TYPE_CHECKING:
    from tawtin.gateway.settings import GatewaySettings
    from tawtin.gateway.snapshot import Model, Replica, Snapshot, SnapshotReader
    from tawtin.gateway.worker.callers import Caller
    from tawtin.gateway.worker.connection import Connection
    from tawtin.gateway.worker.http import Head
    from tawtin.gateway.worker.link import Link
    from tawtin.gateway.worker.places import Wish
    from tawtin.gateway.worker.upstream import AnswerHead, Upstream

log = logging.getLogger("tawtin.gateway.worker")
_MAYBE_LATER_MS: Final = 1_000
_KNOWN_MAX: Final = 4_096
"""Wishes whose places are remembered."""


class Dispatch:
    """Answers the requests of one worker."""

    def __init__(self, settings: GatewaySettings, snapshots: SnapshotReader, link: Link) -> None:
        """Wire it."""
        self.settings = settings
        self.snapshots = snapshots
        self.link = link
        self.relay = Relay(settings, link.path.parent)
        self.holds = Holds(settings)
        self.pools: dict[str, Pool] = {}
        self._seen = route.Beginnings()
        self._known: dict[Wish, Places] = {}
        self._known_by: Snapshot | None = None
        self._redaction = Redaction(settings.redact)
        self._contents = Contents(snapshots.path.parent, settings.content_bytes_max)
        self._hedges = hedge.Budget(settings.hedge_percent)

    async def answer(self, connection: Connection, head: Head, body: bytes) -> None:
        """Answer one request. Raises Problem."""
        path = head.path
        if path == "/healthz":
            ready = self.link.connected and self.snapshots.current(now_ms()) is not None
            connection.respond(
                200 if ready else 503, b"ok\n" if ready else b"no ledger, or no snapshot\n", b"text/plain"
            )
            return
        if relayed(path):
            caller_of(self._snapshot(), head)
            await self.relay.answer(connection, head)
            return
        listing = path == "/v1/models" or path.startswith("/v1/models/")
        if not listing and path not in PATHS:
            known = ", ".join(PATHS)
            raise Problem(
                404,
                f"there is nothing at this path: use /v1/models, /v1/files, /v1/batches, {known}",
                code="unknown_url",
            )
        if head.method != ("GET" if listing else "POST"):
            raise Problem(
                405, f"`{head.method}` has no meaning here: use {'GET' if listing else 'POST'}", code="method"
            )
        snapshot = self._snapshot()
        caller = caller_of(snapshot, head)
        if listing:
            connection.respond(200, listed(snapshot, path))
            return
        head.check_media()
        ask = self._redaction(Ask(path, body))
        model = snapshot.models.get(ask.model)
        if model is None or (caller.key.batch is not None and caller.key.batch.model != ask.model):
            raise no_model(ask.model)
        wish = wish_of(snapshot, caller.key, model.name, head)
        check_any(self._places(wish, now_ms()), wish)
        await self._reserve_and_go(connection, head, snapshot, caller, ask, model, wish)

    def admit(self, head: Head) -> None:
        """Refuse a request before its body is read if its key is none. Raises Problem."""
        try:
            caller_of(self._snapshot(), head)
        except Problem as problem:
            problem.close = True
            raise

    def _snapshot(self) -> Snapshot:
        snapshot = self.snapshots.current(now_ms())
        if snapshot is None:
            raise Problem(
                503,
                "the gateway does not know what the factory allows at present, and so allows nothing: try again",
                code="snapshot_stale",
                retry_ms=_MAYBE_LATER_MS,
            )
        return snapshot

    # --- where it may go ------------------------------------------------------------------------------------------

    def _places(self, wish: Wish, at_ms: int) -> Places:
        """Where a request may go now, by the newest snapshot: looked up anew for each one, and when a verdict ends."""
        snapshot = self.snapshots.current(at_ms)
        if snapshot is not self._known_by or len(self._known) > _KNOWN_MAX:
            self._known, self._known_by = {}, snapshot
        found = self._known.get(wish)
        if found is None or at_ms >= found.until_ms:
            found = self._known[wish] = places(snapshot, wish, at_ms)
        return found

    def _choose(self, found: Places, tried: set[str], key: int, *, outside: bool = True) -> Pool | None:
        """Of the first tier that can take it, the one that has seen this beginning, if it is not too busy.

        `outside` says whether it may be an external provider.
        """
        now = asyncio.get_running_loop().time()
        pools: list[Pool] = []
        tiers: list[route.Tier] = []
        for replica, tier in zip(found.replicas, found.tiers, strict=True):
            if tier.external and not outside:
                continue
            if replica.id not in tried and (pool := self._pool(replica)).may(now):
                pools.append(pool)
                tiers.append(tier)
        if not pools:
            return None
        pools = [pools[place] for place in route.first_tier(tiers)]
        seeds, loads = [pool.seed for pool in pools], [pool.open for pool in pools]
        return pools[route.choose(key, seeds, loads, over_percent=self.settings.over_percent)]

    def _pool(self, replica: Replica) -> Pool:
        pool = self.pools.get(replica.id)
        if pool is None or pool.replica != replica:
            if pool is not None:
                pool.close()
            pool = self.pools[replica.id] = Pool(replica, self.settings)
        return pool

    # --- the request ----------------------------------------------------------------------------------------------

    async def _reserve_and_go(
        self,
        connection: Connection,
        head: Head,
        snapshot: Snapshot,
        caller: Caller,
        ask: Ask,
        model: Model,
        wish: Wish,
    ) -> None:
        at_ms, began_s = now_ms(), asyncio.get_running_loop().time()
        receipt = make_id("rc", at_ms, secrets.randbits(RANDOM_BITS))
        tokens_in, out_max = ask.tokens_in(model), ask.tokens_out_max(model)
        percent = 100 if caller.key.batch is None else model.batch_percent
        asked = Reserve(
            receipt=receipt,
            tenant=caller.key.tenant,
            key=caller.charged,
            model=model.name,
            tokens_in=tokens_in,
            tokens_max=tokens_in + out_max,
            micro_in=meter.micro(model, tokens_in, 0, percent),
            micro_max=meter.micro(model, tokens_in, out_max, percent),
            tenant_limits=snapshot.tenants[caller.key.tenant].limits,
            key_limits=caller.key.limits,
        )
        try:
            said = await self.link.reserve(asked)
        except LedgerAway:
            raise Problem(
                503, "what is used cannot be recorded at present, so that nothing is forwarded: try again",
                code="ledger_away", retry_ms=_MAYBE_LATER_MS,
            ) from None  # fmt: skip
        if isinstance(said, Denied):
            raise denied(said, at_ms)
        course = Course(connection, ask, model, wish, receipt, snapshot.factory, percent, began_s)
        outcome = Outcome()
        if snapshot.tenants[caller.key.tenant].log_content:
            outcome.content = bytearray()
        try:
            if waits(self._places(wish, at_ms)):
                outcome.cause = "not_sent"
                await self._hold(connection, head, wish)
                outcome.cause = "replica_failed"
            await self._try(course, outcome)
        except asyncio.CancelledError:
            outcome.cause = "client_gone" if outcome.replica is not None else "not_sent"
            raise
        finally:
            settled = settlement(course, outcome)
            self.link.settle(settled)
            self._contents.note(course, outcome, at_ms)
            if outcome.replica is not None and (pool := self.pools.get(outcome.replica.id)) is not None:
                pool.tokens += settled.tokens_in + settled.tokens_out

    async def _hold(self, connection: Connection, head: Head, wish: Wish) -> None:
        """Wait for a replica of the factory's own. Raises Problem, unless an external provider may have it then."""

        def may_go() -> bool:
            caller_of(self._snapshot(), head)
            found = self._places(wish, now_ms())
            check_any(found, wish)
            return not waits(found)

        connection.hold_up(held_up=True)
        try:
            await self.holds.until(wish.model, may_go)
        except NotInTime:
            if not self._places(wish, now_ms()).replicas:
                raise
        finally:
            connection.hold_up(held_up=False)

    async def _try(self, course: Course, outcome: Outcome) -> None:
        """Ask one replica after the other until one answers. Raises Problem."""
        tried: set[str] = set()
        key = self._seen.key(route.beginnings(course.ask.text()))
        self._hedges.count()
        why = "all of them fail or are full at present"
        status = 503
        while len(tried) < self.settings.tries_max:
            found = self._places(course.wish, now_ms())
            pool = self._choose(found, tried, key)
            if pool is None:
                break
            outcome.replica = pool.replica
            arm = self._arm(pool, course, outcome, tried)
            try:
                arm = await self._begun(arm, tried, key)
                outcome.replica = arm.pool.replica
                last = len(tried) == min(len(found.replicas), self.settings.tries_max)
                if arm.head.status in AGAIN and not last:
                    arm.wrong()
                    arm.end(abort=True)
                    continue
                await self._answer(arm)
            except UpstreamFailed as error:
                arm.wrong(error)
                why, status = f"{arm.pool.replica.id}: {error}", 502
                outcome.sent = False
                if outcome.status:
                    self._broken(course, outcome, why)
                    return
            except asyncio.CancelledError:
                arm.unseen()
                raise
            else:
                return
            finally:
                arm.end(abort=True)
        outcome.status = 0
        why += not_asked(self._places(course.wish, now_ms()))
        raise Problem(status, f"no replica answers: {why}", code="replica_failed", retry_ms=_MAYBE_LATER_MS)

    def _arm(self, pool: Pool, course: Course, outcome: Outcome, tried: set[str]) -> Arm:
        replica = pool.replica
        tried.add(replica.id)
        return Arm(pool, course, outcome, lambda: replica in self._places(course.wish, now_ms()).replicas)

    async def _begun(self, arm: Arm, tried: set[str], key: int) -> Arm:
        """The arm that answers, its answer begun: this one, or a second one if it is slow. Raises UpstreamFailed.

        A second one is never a provider outside, nor is one asked beside such a provider.
        """
        settings, course = self.settings, arm.course
        wait_ms = hedge.patience_ms(
            settings.hedge_ms, settings.hedge_percentile, arm.pool.first_bytes[course.ask.stream]
        )
        if not wait_ms or arm.pool.replica.provider:
            await arm.begin()
            return arm

        def another() -> Arm | None:
            if len(tried) >= settings.tries_max:
                return None
            pool = self._choose(self._places(course.wish, now_ms()), tried, key, outside=False)
            if pool is None or not self._hedges.take():
                return None
            pool.hedges += 1
            return self._arm(pool, course, arm.outcome, tried)

        return await race(arm, wait_ms / 1000, another)

    def _broken(self, course: Course, outcome: Outcome, why: str) -> None:
        """An answer broke off. A stream says so and ends without its end, so that nobody takes it for whole."""
        problem = Problem(502, f"the answer broke off: {why}", code="replica_failed")
        connection = course.connection
        if course.ask.stream and connection.streaming:
            connection.piece(b"data: " + problem.body() + b"\n\n")
            connection.break_off()
        else:
            outcome.status = 0  # the client has nothing of it
            raise problem

    async def _answer(self, arm: Arm) -> None:
        """Pass on an answer that has begun. Raises UpstreamFailed."""
        course, pool, upstream, head, outcome = arm.course, arm.pool, arm.upstream, arm.head, arm.outcome
        try:
            outcome.status = head.status
            if head.status == 200 and head.media == SSE:
                await self._stream(course, pool, upstream, outcome)
            else:
                await self._whole(course, pool, upstream, head, outcome)
            if head.status < 500:
                arm.well()
            else:
                arm.wrong()
            arm.end(abort=False)
        finally:
            course.connection.reader = None

    async def _stream(self, course: Course, pool: Pool, upstream: Upstream, outcome: Outcome) -> None:
        connection = course.connection
        passing = StreamMeter(self.settings.event_bytes_max, strip=course.ask.adds_usage)
        outcome.guess = passing.guess

        def sink(data: bytes) -> None:
            try:
                whole = passing.feed(data)
                connection.piece(whole)
                self._contents.hear(outcome.content, whole)
            except TooLong:
                upstream.fail(f"an event is longer than {self.settings.event_bytes_max} bytes")
            outcome.said = passing.said

        def first(data: bytes) -> None:
            pool.began += 1
            pool.waited_ms += int(1000 * (asyncio.get_running_loop().time() - course.began_s))
            upstream.attach(sink)
            sink(data)

        connection.reader = upstream
        connection.begin(200, b"text/event-stream; charset=utf-8", course.headers(pool.replica))
        upstream.attach(first)
        await upstream.over
        if not passing.done and not upstream.framed:
            raise UpstreamFailed("it closed the connection within its answer")
        outcome.whole = True
        connection.end()

    async def _whole(
        self, course: Course, pool: Pool, upstream: Upstream, head: AnswerHead, outcome: Outcome
    ) -> None:
        held = bytearray()
        most = self.settings.answer_bytes_max

        def sink(data: bytes) -> None:
            held.extend(data)
            if len(held) > most:
                upstream.fail(f"its answer is longer than {most} bytes")

        upstream.attach(sink)
        await upstream.over
        body = bytes(held)
        if head.status in (401, 403):
            raise UpstreamFailed("it does not take the gateway's key")
        if head.status < 400:
            try:
                outcome.said = meter.usage_in(msgspec.json.decode(body))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                raise UpstreamFailed("its answer is not JSON") from None
            outcome.guess = lambda: len(body) // 4
        self._contents.hear(outcome.content, body)
        outcome.whole = True
        media = JSON if head.media == "application/json" else b"text/plain; charset=utf-8"
        course.connection.respond(head.status, body, media, course.headers(pool.replica))

    # --- the worker -----------------------------------------------------------------------------------------------

    def sweep(self, now: float) -> None:
        """Give up on what takes too long."""
        for pool in self.pools.values():
            pool.sweep(now)

    def states(self) -> tuple[ReplicaState, ...]:
        """How the replicas of the snapshot do, and those that have left it and still have requests."""
        held = self.snapshots.held
        known = [] if held is None else [each.id for model in held.models.values() for each in model.replicas]
        for id in [id for id in self.pools if id not in known]:
            if not self.pools[id].open:
                self.pools.pop(id).close()
        return tuple(
            ReplicaState(
                id=id,
                open=pool.open,
                requests=pool.requests,
                failures=pool.failures,
                hedges=pool.hedges,
                shut=pool.shut,
                given=pool.given,
                tokens=pool.tokens,
                waited_ms=pool.waited_ms,
                began=pool.began,
            )
            for id, pool in self.pools.items()
        )
