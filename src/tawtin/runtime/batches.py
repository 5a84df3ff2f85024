"""Batches of requests for models: each is a job in the queue, whose program asks one request after the other.

1. A file is looked at; what is no batch fails with its lines.
2. A job is submitted, of low priority, under the key that made the batch. Its program has a key of its own, and with it
   asks the gateway as anybody does, at the price of batches.
3. Each answer is recorded before the next request is asked. A job that ends early is followed by another one, which
   goes on with what has no answer.
4. When the job is over, the answers become files.

What is recorded here is what is true of a batch; every step can be taken again after a crash.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from tawtin.core.keys import PREFIX, read_token
from tawtin.gateway.batches import runner
from tawtin.gateway.batches.check import Checked, check
from tawtin.gateway.batches.records import WINDOW_MS, Batch, File, LineError, Status
from tawtin.gateway.batches.results import Said, answer_of, close_lines, write_results
from tawtin.gateway.batches.shelf import Line, Shelf
from tawtin.gateway.snapshot import BatchPass, Key
from tawtin.model.ids import RANDOM_BITS, make_id
from tawtin.model.resources import Demand, Shape
from tawtin.model.tenant import Scope
from tawtin.model.workload import Data, Phase, WorkloadSpec
from tawtin.runtime.actor import Actor
from tawtin.runtime.errors import Conflict, Invalid, NotFound, Refused, ServiceError
from tawtin.spec.parse import digest as digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from tawtin.gateway.settings import GatewaySettings
    from tawtin.model.workload import Workload
    from tawtin.runtime.service import Service

log = logging.getLogger("tawtin.batches")
VAIN_MAX: Final = 3
"""So many jobs in a row that bring no answer, and a batch has failed."""
_TIDY_MS: Final = 60_000
_SECRET: Final = "TAWTIN_BATCH_KEY"  # noqa: S105 - the name of a variable
_SHAPE: Final = Shape(cpus_milli=100, memory_mib=128)
_HERE: Final = "TAWTIN_BATCH_RUNNER"


class Batches:
    """Files and batches of all tenants."""

    def __init__(
        self,
        service: Service,
        settings: GatewaySettings,
        folder: Path,
        url: Callable[[], str],
        models: Callable[[], Container[str]],
    ) -> None:
        """Wire it; nothing happens before `start`. `url` is where runs reach the gateway."""
        self.service = service
        self.settings = settings
        self.folder = folder
        self.url = url
        self.models = models
        self.shelf: Shelf
        self._open: dict[str, Batch] = {}
        """Those that are not over, by id."""
        self._locks: dict[str, asyncio.Lock] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._script = Path(runner.__file__).read_text("utf-8")
        self._tidied_ms = 0

    async def start(self) -> None:
        """Read what is there, and go on with it. Raises sqlite3.Error, OSError."""
        self.shelf = await self.service.in_thread(Shelf, self.folder)
        for batch in await self.service.in_thread(self.shelf.open_batches):
            completed, failed = await self.service.in_thread(self.shelf.counts, batch.id)
            self._open[batch.id] = msgspec.structs.replace(batch, completed=completed, failed=failed)
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Let go of it; jobs go on, and wait for the gateway."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            await self.service.in_thread(self.shelf.close)

    # --- passes -------------------------------------------------------------------------------------------------

    def passes(self) -> dict[str, Key]:
        """The keys of jobs, for the gateway's workers."""
        return {f"key-{batch.short}": self._pass(batch) for batch in self._open.values() if _has_job(batch)}

    def _pass(self, batch: Batch) -> Key:
        return Key(
            tenant=batch.tenant,
            sha256=hashlib.sha256(self._secret(batch).encode()).hexdigest(),
            batch=BatchPass(
                key=batch.key, model=batch.model, data_class=batch.data_class, purpose=batch.purpose
            ),
        )

    def by_pass(self, token: str) -> Batch | None:
        """The batch whose job has this key, while it may use it."""
        read = read_token(token)
        batch = self._open.get(f"batch_{read[0].removeprefix('key-')}") if read is not None else None
        if read is None or batch is None or not _has_job(batch) or not self._key_valid(batch.key):
            return None
        return batch if hmac.compare_digest(read[1], self._pass(batch).sha256) else None

    def _key_valid(self, id: str) -> bool:
        key = self.service.state.keys.get(id)
        if key is None or key.revoked_ms is not None:
            return False
        return key.expires_ms is None or key.expires_ms > self._now_ms()

    def _secret(self, batch: Batch) -> str:
        return hmac.new(self.shelf.secret, f"{batch.id} pass".encode(), hashlib.sha256).hexdigest()

    # --- files --------------------------------------------------------------------------------------------------

    def new_file_id(self) -> str:
        """An id for a file that comes."""
        return make_id("file", self._now_ms(), self.service.entropy.bits(RANDOM_BITS))

    async def room(self, actor: Actor) -> int:
        """How many bytes the next file may have. Raises Denied, Conflict."""
        actor.need(Scope.SUBMIT)
        held = await self.service.in_thread(self.shelf.held_bytes, actor.tenant)
        if held >= self.settings.files_bytes_max:
            msg = f"this tenant's files are {held} bytes and may be {self.settings.files_bytes_max}: delete some"
            raise Conflict(msg, "StorageFull")
        return min(self.settings.file_bytes_max, self.settings.files_bytes_max - held)

    async def keep(
        self, actor: Actor, id: str, *, name: str, purpose: str, size_bytes: int, seconds: int | None
    ) -> File:
        """Make a draft that was written a file of the caller's tenant. Raises Conflict if others took its room."""
        if size_bytes > await self.room(actor):
            msg = "other files of this tenant took the room for this one meanwhile: delete some"
            raise Conflict(msg, "StorageFull")
        now_ms = self._now_ms()
        seconds = min(seconds or self.settings.file_seconds_max, self.settings.file_seconds_max)
        file = File(
            id=id,
            tenant=actor.tenant,
            name=name,
            purpose=purpose,
            size_bytes=size_bytes,
            created_ms=now_ms,
            expires_ms=now_ms + seconds * 1000,
        )
        await self.service.in_thread(self.shelf.keep, file)
        return file

    async def file(self, actor: Actor, id: str) -> File:
        """One file. Raises NotFound for those of others, and for what is over."""
        found = await self.service.in_thread(self.shelf.file, actor.tenant, id)
        if found is None or (found.expires_ms is not None and found.expires_ms <= self._now_ms()):
            msg = f"no file `{id[:100]}`"
            raise NotFound(msg)
        return found

    async def delete(self, actor: Actor, id: str) -> None:
        """Delete a file. Raises NotFound, and Conflict while a batch reads it."""
        actor.need(Scope.SUBMIT)
        await self.file(actor, id)
        reading = next((each.id for each in self._open.values() if each.input_file == id), None)
        if reading is not None:
            msg = f"batch `{reading}` reads file `{id}`: cancel it first"
            raise Conflict(msg)
        await self.service.in_thread(self.shelf.drop, id)

    # --- what callers do with batches -----------------------------------------------------------------------------

    async def create(self, batch: Batch) -> Batch:
        """Keep a new batch, whose file the caller has."""
        self.service.check()
        await self.service.in_thread(self.shelf.put, batch)
        self._open[batch.id] = batch
        self._wake.set()
        return batch

    def new_batch_id(self) -> str:
        """An id for a batch."""
        return make_id("batch", self._now_ms(), self.service.entropy.bits(RANDOM_BITS)).replace("-", "_")

    async def batch(self, actor: Actor, id: str) -> Batch:
        """One batch. Raises NotFound."""
        known = self._open.get(id)
        if known is None:
            known = await self.service.in_thread(self.shelf.batch, actor.tenant, id)
        if known is None or known.tenant != actor.tenant:
            msg = f"no batch `{id[:100]}`"
            raise NotFound(msg)
        return known

    async def list_batches(self, actor: Actor, after: str, limit: int) -> list[Batch]:
        """Batches of the caller's tenant, newest first."""
        found = await self.service.in_thread(self.shelf.list_batches, actor.tenant, after, limit)
        return [self._open.get(each.id, each) for each in found]

    async def cancel(self, actor: Actor, id: str) -> Batch:
        """Ask for a batch's end. Raises NotFound, and Invalid if it is over or about to be."""
        actor.need(Scope.SUBMIT)
        await self.batch(actor, id)
        async with self._lock(id):
            batch = await self.batch(actor, id)
            if batch.status is Status.CANCELLING:
                return batch
            if batch.status not in {Status.VALIDATING, Status.IN_PROGRESS}:
                msg = f"batch `{id}` is {batch.status.value}: nothing of it is left to be cancelled"
                raise Invalid(msg)
            batch = await self._put(batch.to(Status.CANCELLING, self._now_ms()))
        self._wake.set()
        return batch

    # --- what the job asks ----------------------------------------------------------------------------------------

    def purposes(self) -> frozenset[str]:
        """Those that some rule speaks of."""
        packs = self.service.state.judge.packs.values()
        return frozenset(purpose for pack in packs for rule in pack.rules for purpose in rule.purposes)

    async def lines(self, batch: Batch, after: int, limit: int) -> list[Line]:
        """Requests that have no answer yet."""
        return await self.service.in_thread(self.shelf.unanswered, batch.id, after, limit)

    async def answer(self, batch: Batch, said: Said) -> None:
        """Record an answer, once. Raises Invalid for a line that there is not."""
        line = await self.service.in_thread(self.shelf.line, batch.id, said.line)
        if line is None:
            if 1 <= said.line <= batch.total:
                return  # it has one
            msg = f"there is no line {said.line}"
            raise Invalid(msg)
        answer = answer_of(batch, line.custom_id, said)
        if await self.service.in_thread(self.shelf.answer, batch.id, answer):
            known = self._open[batch.id]
            self._open[batch.id] = msgspec.structs.replace(
                known, completed=known.completed + answer.good, failed=known.failed + (not answer.good)
            )

    # --- the steps ------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        period = self.settings.snapshot_ms / 1000
        while True:
            for id in list(self._open):
                try:
                    async with self._lock(id):
                        await self._advance(id)
                except ServiceError as error:
                    log.warning("batch %s waits: %s", id, error)
                except Exception:
                    log.exception("batch %s could not be looked at; it is tried again", id)
            try:
                await self._tidy()
            except Exception:
                log.exception("files whose time is over could not be deleted; it is tried again")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(period):
                    await self._wake.wait()
            self._wake.clear()

    async def _advance(self, id: str) -> None:
        """Take a batch as far as it goes now."""
        while (batch := self._open.get(id)) is not None:
            match batch.status:
                case Status.VALIDATING:
                    after = await self._validate(batch)
                case Status.FINALIZING:
                    after = await self._finish(batch)
                case _:
                    after = await self._watch(batch)
            if after.status is batch.status:
                return

    async def _validate(self, batch: Batch) -> Batch:
        checked = None
        if await self.service.in_thread(self.shelf.file, batch.tenant, batch.input_file) is not None:
            checked = await self.service.in_thread(self._check, batch)
        if checked is None or checked.errors:
            gone = LineError(code="file_not_found", message="the input file is not there any more")
            errors = tuple(checked.errors) if checked is not None else (gone,)
            return await self._put(batch.to(Status.FAILED, self._now_ms(), errors=errors))
        await self.service.in_thread(self.shelf.put_lines, batch.id, checked.lines)
        return await self._submit(
            msgspec.structs.replace(batch, total=len(checked.lines), model=checked.model)
        )

    def _check(self, batch: Batch) -> Checked:
        with (self.shelf.files / batch.input_file).open("rb") as source:
            return check(
                source,
                batch.endpoint,
                self.models(),
                lines_max=self.settings.batch_requests_max,
                line_bytes_max=self.settings.body_bytes_max,
            )

    async def _submit(self, batch: Batch) -> Batch:
        """Put the next job of a batch into the queue; a repeat finds the same one."""
        number = batch.tries + 1
        spec = self._spec(batch)
        if not self._key_valid(batch.key):
            said = LineError(code="invalid_api_key", message="the key that made it is revoked or expired")
            return await self._end(batch, Status.FAILED, (said,))
        try:
            submitted = await self.service.submit(
                self._actor(batch),
                spec,
                digest_of(spec),
                secrets={_SECRET: f"{PREFIX}_{batch.short}_{self._secret(batch)}"},
                idempotency_key=f"{batch.id}/{number}",
                request_sha256=batch.id,
                house=True,
            )
        except Refused as error:
            said = LineError(code=str(error.token), message=str(error))
            return await self._end(batch, Status.FAILED, (said,))
        return await self._put(
            batch.to(
                Status.IN_PROGRESS,
                self._now_ms(),
                workload=submitted.workloads[0].id,
                tries=number,
                answered_before=batch.completed + batch.failed,
            )
        )

    def _spec(self, batch: Batch) -> WorkloadSpec:
        """The job of a batch."""
        return WorkloadSpec(
            name=batch.id,
            run=f"exec python3 -I - <<'{_HERE}'\n{self._script}\n{_HERE}\n",
            envs={
                "TAWTIN_BATCH": batch.id,
                "TAWTIN_BATCH_URL": self.settings.batch_url or self.url(),
                "TAWTIN_BATCH_AT_ONCE": str(self.settings.batch_at_once),
            },
            secrets=(_SECRET,),
            demand=Demand(options=(_SHAPE,)),
            max_duration_ms=WINDOW_MS,
            priority=self.settings.batch_priority,
            network=True,
            data=Data(data_class=batch.data_class, purpose=batch.purpose),
            labels={"batch": batch.id},
        )

    async def _watch(self, batch: Batch) -> Batch:
        """See how the job of a batch does."""
        now_ms = self._now_ms()
        late = now_ms >= batch.expires_ms
        live = self.service.state.workloads.get(batch.workload)
        if live is not None and not (late or batch.status is Status.CANCELLING or live.phase.final):
            return batch
        workload = await self._workload(batch)
        if workload is not None and not workload.phase.final:
            if (late or batch.status is Status.CANCELLING) and not workload.cancel:
                await self.service.cancel(self._actor(batch), workload.id)
            return self._open[batch.id]
        batch = self._open[batch.id]
        if batch.status is Status.CANCELLING:
            return await self._end(batch, Status.CANCELLED)
        if batch.completed + batch.failed == batch.total:
            return await self._end(batch, Status.COMPLETED)
        if late:
            return await self._end(batch, Status.EXPIRED)
        if workload is not None and workload.phase is Phase.CANCELLED:
            return await self._end(batch, Status.CANCELLED)
        vain = batch.vain + 1 if batch.completed + batch.failed == batch.answered_before else 0
        if vain >= VAIN_MAX:
            why = (
                f"exit code {workload.exit_code}; {workload.message}"
                if workload is not None
                else "it is gone"
            )
            message = f"its job `{batch.workload}` failed ({why}): `tawtin logs` has what it said"
            return await self._end(batch, Status.FAILED, (LineError(code="job_failed", message=message),))
        after = await self._submit(msgspec.structs.replace(batch, vain=vain))
        log.warning("the job %s of batch %s failed; %s goes on", batch.workload, batch.id, after.workload)
        return after

    async def _workload(self, batch: Batch) -> Workload | None:
        if not batch.workload:
            return None
        try:
            return (await self.service.view(self._actor(batch), batch.workload)).workload
        except NotFound:
            return None  # the store was put back from a backup that does not know it

    async def _end(self, batch: Batch, ends_as: Status, errors: tuple[LineError, ...] = ()) -> Batch:
        return await self._put(
            batch.to(Status.FINALIZING, self._now_ms(), ends_as=ends_as, errors=errors or batch.errors)
        )

    async def _finish(self, batch: Batch) -> Batch:
        """Make the answers files, and forget the lines."""
        ends_as = batch.ends_as or Status.COMPLETED
        now_ms = self._now_ms()
        seconds = batch.output_expires_seconds or self.settings.file_seconds_max

        def write() -> tuple[str, str, tuple[int, int]]:
            close_lines(self.shelf, batch, ends_as)
            output, error = (
                write_results(self.shelf, batch, good=good, now_ms=now_ms, expires_ms=now_ms + seconds * 1000)
                for good in (True, False)
            )
            return output, error, self.shelf.counts(batch.id)

        output, error, (completed, failed) = await self.service.in_thread(write)
        done = batch.to(
            ends_as, now_ms, output_file=output, error_file=error, completed=completed, failed=failed
        )
        await self._put(done)
        await self.service.in_thread(self.shelf.drop_lines, batch.id)
        return done

    async def _put(self, batch: Batch) -> Batch:
        """Make it durable. Answers that came meanwhile are not lost, as they are counted at a start."""
        await self.service.in_thread(self.shelf.put, batch)
        if batch.status.final:
            self._open.pop(batch.id, None)
            self._locks.pop(batch.id, None)
        else:
            known = self._open.get(batch.id, batch)
            batch = msgspec.structs.replace(batch, completed=known.completed, failed=known.failed)
            self._open[batch.id] = batch
        return batch

    async def _tidy(self) -> None:
        """Delete files whose time is over, but for those that a batch reads."""
        now_ms = self._now_ms()
        if now_ms - self._tidied_ms < _TIDY_MS:
            return
        self._tidied_ms = now_ms
        read = {each.input_file for each in self._open.values()}
        for id in await self.service.in_thread(self.shelf.expired, now_ms):
            if id not in read:
                await self.service.in_thread(self.shelf.drop, id)

    def _lock(self, id: str) -> asyncio.Lock:
        return self._locks.setdefault(id, asyncio.Lock())

    def _actor(self, batch: Batch) -> Actor:
        return Actor(key=batch.key, tenant=batch.tenant, scope=Scope.SUBMIT)

    def _now_ms(self) -> int:
        return self.service.clock.now_ms()


def _has_job(batch: Batch) -> bool:
    """Whether a job of it may be under way."""
    return bool(batch.workload) and batch.status in {Status.IN_PROGRESS, Status.CANCELLING}
